//! The page: the Markdown of a draft as HTML that reads and prints well and needs nothing from outside.
//!
//! Each figure becomes a `<data>` element with its value, evidence id and origin. HTML, links and images in the
//! Markdown (there are none unless a person typed them) become plain text, and the result passes a sanitiser that
//! knows only the elements used here: no `a`, no `img`, no `script` can be in a page.

use std::collections::{BTreeMap, HashMap, HashSet};

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd, TextMergeWithOffset, html};

use super::figure::{Show, shown};
use super::input::DocumentKind;
use super::render::{EVIDENCE_HEADING, EvidenceLine};
use super::text::{clean, escape_html, is_right_to_left};
use crate::time::Timestamp;

/// Language of the shipped templates, of month names and of the words for unknown values.
const LANGUAGE: &str = "en";
const STYLE: &str = include_str!("page.css");

/// What our Markdown is: tables and footnotes, nothing else.
pub(super) fn options() -> Options {
    Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES
}

/// The text of the first heading.
pub(super) fn title(markdown: &str) -> Option<String> {
    let mut title: Option<String> = None;
    for event in Parser::new_ext(markdown, options()) {
        match (event, title.as_mut()) {
            (Event::Start(Tag::Heading { .. }), None) => title = Some(String::new()),
            (Event::End(TagEnd::Heading(_)), Some(_)) => break,
            (Event::Text(text) | Event::Code(text), Some(title)) => title.push_str(&text),
            (Event::SoftBreak | Event::HardBreak, Some(title)) => title.push(' '),
            _ => {}
        }
    }
    title.map(|title| clean(&title)).filter(|title| !title.is_empty())
}

/// The three ways the value of an evidence line may stand in the text.
pub(super) fn forms(line: &EvidenceLine) -> [String; 3] {
    [Show::Plain, Show::Size, Show::Signed].map(|show| shown(line.kind, &line.value, show))
}

/// The evidence line, and the length of its value, that a text in front of the mark `id` ends with.
pub(super) fn value_before<'e>(
    text: &str,
    id: &str,
    evidence: &'e [EvidenceLine],
) -> Option<(&'e EvidenceLine, usize)> {
    evidence
        .iter()
        .filter(|line| line.id == id)
        .flat_map(|line| forms(line).map(|form| (line, form)))
        .filter(|(_, form)| {
            let before = text.strip_suffix(form.as_str());
            before
                .is_some_and(|before| !before.ends_with(|c: char| c.is_alphanumeric() || matches!(c, '.' | ',' | '-')))
        })
        .map(|(line, form)| (line, form.len()))
        .max_by_key(|(_, length)| *length)
}

/// The whole page.
pub(super) fn page(kind: DocumentKind, title: &str, markdown: &str, evidence: &[EvidenceLine]) -> String {
    let body = sanitise(&format!("{}{}", body(markdown, evidence), evidence_table(evidence)));
    let title = escape_html(&clean(title));
    format!(
        "<!doctype html>\n<html lang=\"{LANGUAGE}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<main class=\"{kind}\">\n{body}</main>\n</body>\n</html>\n"
    )
}

// The enum belongs to the Markdown parser; what is not named here passes as it is and then the sanitiser.
#[expect(clippy::wildcard_enum_match_arm)]
fn body(markdown: &str, evidence: &[EvidenceLine]) -> String {
    let end = markdown.rfind(EVIDENCE_HEADING).unwrap_or(markdown.len());
    let numbers = numbers(evidence);
    let mut events: Vec<Event<'_>> = Vec::new();
    let parser = Parser::new_ext(markdown, options()).into_offset_iter();
    for (event, range) in TextMergeWithOffset::new(parser) {
        if range.start >= end {
            continue;
        }
        match event {
            Event::FootnoteReference(id) => {
                let tail = match events.last() {
                    Some(Event::Text(text)) => {
                        value_before(text, &id, evidence).map(|(line, n)| (line, text.to_string(), n))
                    }
                    _ => None,
                };
                if let Some((line, text, length)) = tail {
                    let (before, value) = text.split_at(text.len() - length);
                    events.pop();
                    events.push(Event::Text(before.to_owned().into()));
                    events.push(Event::InlineHtml(data(line, value).into()));
                }
                let number = numbers.get(&*id).map_or_else(|| "?".to_owned(), usize::to_string);
                events.push(Event::InlineHtml(
                    format!("<sup class=\"mark\">[{number}]</sup>").into(),
                ));
            }
            // Typed by a person: shown as what they typed.
            Event::Html(text) | Event::InlineHtml(text) => events.push(Event::Text(text)),
            Event::Start(Tag::HtmlBlock) => events.push(Event::Start(Tag::Paragraph)),
            Event::End(TagEnd::HtmlBlock) => events.push(Event::End(TagEnd::Paragraph)),
            Event::Start(Tag::Link { .. } | Tag::Image { .. } | Tag::FootnoteDefinition(_))
            | Event::End(TagEnd::Link | TagEnd::Image | TagEnd::FootnoteDefinition) => {}
            other => events.push(other),
        }
    }
    let mut out = String::new();
    html::push_html(&mut out, events.into_iter().flat_map(isolate));
    out
}

/// Text in a right-to-left script stands in an element of its own, so that it does not move the figures beside it.
fn isolate(event: Event<'_>) -> Vec<Event<'_>> {
    let Event::Text(text) = &event else { return vec![event] };
    let (Some(first), Some(last)) = (text.find(is_right_to_left), text.rfind(is_right_to_left)) else {
        return vec![event];
    };
    let end = last + text[last..].chars().next().map_or(0, char::len_utf8);
    let bdi = format!("<bdi>{}</bdi>", escape_html(&text[first..end]));
    vec![
        Event::Text(text[..first].to_owned().into()),
        Event::InlineHtml(bdi.into()),
        Event::Text(text[end..].to_owned().into()),
    ]
}

fn data(line: &EvidenceLine, text: &str) -> String {
    format!(
        "<data class=\"figure\" value=\"{}\" data-evidence=\"{}\" title=\"{}\">{}</data>",
        escape_html(&line.machine),
        escape_html(&line.id),
        escape_html(&line.origin()),
        escape_html(text),
    )
}

/// Number of each evidence id in the list.
fn numbers(evidence: &[EvidenceLine]) -> BTreeMap<&str, usize> {
    let mut numbers = BTreeMap::new();
    for line in evidence {
        let next = numbers.len() + 1;
        numbers.entry(line.id.as_str()).or_insert(next);
    }
    numbers
}

fn evidence_table(evidence: &[EvidenceLine]) -> String {
    let mut out = String::from("<section class=\"evidence\">\n<h2>Evidence</h2>\n");
    if evidence.is_empty() {
        out.push_str("<p>This document states no figures.</p>\n</section>\n");
        return out;
    }
    out.push_str(
        "<table>\n<thead><tr><th>No.</th><th>Figure</th><th>Value</th><th>Source</th><th>As of</th><th>Id</th></tr></thead>\n<tbody>\n",
    );
    let numbers = numbers(evidence);
    let mut seen: HashSet<&str> = HashSet::new();
    for line in evidence {
        let number = numbers.get(line.id.as_str()).copied().unwrap_or_default();
        let anchor = if seen.insert(&line.id) {
            format!(" id=\"{}\"", escape_html(&line.id))
        } else {
            String::new()
        };
        out.push_str(&format!(
            "<tr{anchor}><td>{number}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
            escape_html(&line.label),
            escape_html(&line.value),
            escape_html(&line.source),
            day(line.as_of),
            escape_html(&line.id),
        ));
    }
    out.push_str("</tbody>\n</table>\n</section>\n");
    out
}

fn day(as_of: Timestamp) -> String {
    super::figure::day_text(as_of.day())
}

/// Lets through the elements and attributes that this module writes, and nothing else.
fn sanitise(html: &str) -> String {
    let tags = [
        "bdi",
        "blockquote",
        "br",
        "code",
        "data",
        "em",
        "h1",
        "h2",
        "h3",
        "h4",
        "hr",
        "li",
        "ol",
        "p",
        "pre",
        "section",
        "strong",
        "sup",
        "table",
        "tbody",
        "td",
        "th",
        "thead",
        "tr",
        "ul",
    ];
    let attributes: HashMap<&str, HashSet<&str>> = HashMap::from([
        ("data", HashSet::from(["value", "data-evidence", "title"])),
        ("td", HashSet::from(["style"])),
        ("th", HashSet::from(["style"])),
        ("tr", HashSet::from(["id"])),
    ]);
    let classes: HashMap<&str, HashSet<&str>> = HashMap::from([
        ("data", HashSet::from(["figure"])),
        ("section", HashSet::from(["evidence"])),
        ("sup", HashSet::from(["mark"])),
    ]);
    ammonia::Builder::empty()
        .tags(tags.into_iter().collect())
        .tag_attributes(attributes)
        .allowed_classes(classes)
        .filter_style_properties(HashSet::from(["text-align"]))
        .clean(html)
        .to_string()
}
