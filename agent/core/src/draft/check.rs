//! Grounding: whether every number of a draft is one of the figures it was given, and nothing else crept in.
//!
//! This reads the finished text, not the template, so it judges an edited draft as well. A number passes when it is
//! the value in front of a footnote mark whose evidence the input has, or lies within a text of the closed list: names
//! from records, the days of the input, the words for what is missing. Everything else is a finding.
//!
//! Deliberately not here: whether the words are right. "Rose" beside a fall is for a person to see.

use pulldown_cmark::{Event, Parser, Tag, TextMergeWithOffset};
use serde::{Deserialize, Serialize};

use super::figure::{Figure, FigureValue};
use super::input::DraftInput;
use super::page::{options, page, value_before};
use super::render::{Draft, EVIDENCE_HEADING, EvidenceLine, body_of, evidence_section};
use super::scan::position;
use super::text::{clean, is_hidden};
use crate::money::Money;
use crate::signal::word_enum;

word_enum! {
    /// What a check found.
    FindingKind {
        /// A number that is not a figure of the input.
        Number = "number",
        /// A figure whose text is not the value of its evidence.
        Value = "value",
        /// An evidence id that the input does not have.
        Evidence = "evidence",
        /// The document says nothing.
        Empty = "empty",
        /// HTML, a link, an image or code.
        Markup = "markup",
        /// A web or mail address: programs that show the text would make a link of it.
        Address = "address",
        /// A character nobody can see.
        Hidden = "hidden",
        /// A total that is not the sum of its lines.
        Sum = "sum",
        /// Page, title or list of evidence are not those of the text.
        Stale = "stale",
    }
}

/// Something a draft must not go out with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub kind: FindingKind,
    /// Line of the Markdown, from 1.
    pub line: usize,
    /// What is wrong, for a person.
    pub message: String,
}

/// Checks a draft against the input it was made from: that every figure is grounded, and that its page and its list of
/// evidence are made from its text. For a draft that was stored or came from elsewhere.
#[must_use]
pub fn check_stored(draft: &Draft, input: &DraftInput) -> Vec<Finding> {
    let mut findings = check(draft, input);
    if draft.html != page(draft.kind, &draft.title, &draft.markdown, &draft.evidence) {
        findings.push(Finding {
            kind: FindingKind::Stale,
            line: 1,
            message: "the page is not made from this text".to_owned(),
        });
    }
    findings
}

/// Checks a draft, fresh from its template, against the input it was made from. No finding means that every figure is
/// grounded.
#[must_use]
pub fn check(draft: &Draft, input: &DraftInput) -> Vec<Finding> {
    let mut check = Check {
        draft,
        closed: input.closed_list(),
        findings: Vec::new(),
        words: 0,
    };
    check.evidence(input);
    check.text();
    check.sums(input);
    check.whole();
    check.findings
}

struct Check<'a> {
    draft: &'a Draft,
    closed: Vec<String>,
    findings: Vec<Finding>,
    /// Letters and digits outside headings.
    words: usize,
}

/// The text of one paragraph, heading or cell.
#[derive(Default)]
struct Block {
    at: usize,
    text: String,
    heading: bool,
    /// Parts that are values of evidence.
    grounded: Vec<(usize, usize)>,
}

impl Check<'_> {
    fn finding(&mut self, kind: FindingKind, at: usize, message: String) {
        let (line, _) = position(&self.draft.markdown, at);
        self.findings.push(Finding { kind, line, message });
    }

    /// Each evidence line is a figure of the input, as it is there.
    fn evidence(&mut self, input: &DraftInput) {
        let known: Vec<&Figure> = input.known().collect();
        for line in &self.draft.evidence {
            let same_id: Vec<&&Figure> = known.iter().filter(|figure| figure.evidence == line.id).collect();
            if same_id.is_empty() {
                self.finding(
                    FindingKind::Evidence,
                    0,
                    format!("the input has no evidence `{}`", line.id),
                );
            } else if !same_id.iter().any(|figure| same(figure, line)) {
                let message = format!(
                    "`{}` is given as {}, which is not what the input has",
                    line.id, line.value
                );
                self.finding(FindingKind::Value, 0, message);
            }
        }
    }

    fn text(&mut self) {
        let markdown = &self.draft.markdown;
        let end = body_of(markdown).len();
        let mut block = Block::default();
        for (event, range) in TextMergeWithOffset::new(Parser::new_ext(markdown, options()).into_offset_iter()) {
            if range.start >= end {
                break;
            }
            match event {
                Event::Text(text) => block.text.push_str(&text),
                Event::SoftBreak | Event::HardBreak => block.text.push(' '),
                Event::FootnoteReference(id) => self.reference(&mut block, &id, range.start),
                Event::Start(tag) => {
                    if let Tag::Link { .. } | Tag::Image { .. } | Tag::HtmlBlock | Tag::CodeBlock(_) = tag {
                        self.finding(
                            FindingKind::Markup,
                            range.start,
                            "a link, an image, HTML or code".to_owned(),
                        );
                    }
                    if !is_inline(&tag) {
                        self.block(std::mem::take(&mut block));
                        block.at = range.start;
                        block.heading = matches!(tag, Tag::Heading { .. });
                    }
                }
                Event::End(tag) => {
                    use pulldown_cmark::TagEnd::{Emphasis, Image, Link, Strikethrough, Strong};
                    if !matches!(tag, Emphasis | Strong | Strikethrough | Link | Image) {
                        self.block(std::mem::take(&mut block));
                        block.at = range.end;
                    }
                }
                Event::Html(text) | Event::InlineHtml(text) | Event::Code(text) => {
                    self.finding(FindingKind::Markup, range.start, "HTML or code".to_owned());
                    block.text.push_str(&text);
                }
                // Not written by our options; their digits count as text.
                Event::InlineMath(text) | Event::DisplayMath(text) => block.text.push_str(&text),
                Event::Rule | Event::TaskListMarker(_) => {}
            }
        }
        self.block(block);
        if self.words == 0 {
            self.finding(FindingKind::Empty, 0, "the document says nothing".to_owned());
        }
    }

    fn reference(&mut self, block: &mut Block, id: &str, at: usize) {
        if !self.draft.evidence.iter().any(|line| line.id == id) {
            self.finding(FindingKind::Evidence, at, format!("the list of evidence has no `{id}`"));
            return;
        }
        match value_before(&block.text, id, &self.draft.evidence) {
            Some((_, length)) => block.grounded.push((block.text.len() - length, block.text.len())),
            None => {
                let message = format!("the text in front of `[^{id}]` is not the value of this evidence");
                self.finding(FindingKind::Value, at, message);
            }
        }
    }

    /// One paragraph, heading or cell.
    fn block(&mut self, block: Block) {
        let text = &block.text;
        if !block.heading {
            self.words += text.chars().filter(|c| c.is_alphanumeric()).count();
        }
        if text.contains("[^") {
            let message = "a footnote mark without a footnote in the list of evidence".to_owned();
            if !self.in_name(text, text.find("[^").unwrap_or_default(), 2) {
                self.finding(FindingKind::Evidence, block.at, message);
            }
        }
        if let Some(c) = text.chars().find(|c| is_hidden(*c)) {
            self.finding(
                FindingKind::Hidden,
                block.at,
                format!("an invisible character (U+{:04X})", u32::from(c)),
            );
        }
        if let Some(address) = text.split(' ').find(|word| is_address(word)) {
            self.finding(
                FindingKind::Address,
                block.at,
                format!("`{}` is an address", shorten(address)),
            );
        }
        for (start, end) in numbers(text) {
            let grounded = block.grounded.iter().any(|(from, to)| *from <= start && end <= *to);
            if !grounded && !self.closed.iter().any(|name| stands_in(text, name, start, end)) {
                let number = shorten(&text[start..end]);
                self.finding(
                    FindingKind::Number,
                    block.at,
                    format!("`{number}` is not a figure with evidence"),
                );
            }
        }
    }

    fn in_name(&self, text: &str, at: usize, length: usize) -> bool {
        self.closed.iter().any(|name| stands_in(text, name, at, at + length))
    }

    /// A proposed total is the sum of its lines, where all of them are known and of one currency.
    fn sums(&mut self, input: &DraftInput) {
        for (name, total, lines) in [
            (
                "arr",
                input.figures.get("arr"),
                input.contracts.iter().map(|c| &c.arr).collect::<Vec<_>>(),
            ),
            (
                "arr_proposed",
                input.figures.get("arr_proposed"),
                input.contracts.iter().map(|c| &c.arr_proposed).collect(),
            ),
        ] {
            let Some(total) = total.and_then(|slot| slot.known()).and_then(money) else {
                continue;
            };
            let amounts: Option<Vec<Money>> = lines.iter().map(|slot| slot.known().and_then(money)).collect();
            let Some(amounts) = amounts.filter(|all| !all.is_empty()) else {
                continue;
            };
            if amounts.iter().any(|amount| amount.currency != total.currency) {
                continue;
            }
            let sum = amounts.iter().map(|amount| i128::from(amount.minor)).sum::<i128>();
            if sum != i128::from(total.minor) {
                let message = format!("`{name}` is {total}, but its lines do not add up to it");
                self.finding(FindingKind::Sum, 0, message);
            }
        }
    }

    /// The parts of the draft belong together.
    fn whole(&mut self) {
        let draft = self.draft;
        let at = body_of(&draft.markdown).len();
        if draft.markdown[at..] != evidence_section(&draft.evidence) {
            let message = format!(
                "the list of evidence below `{}` is not the one of this draft",
                EVIDENCE_HEADING.trim()
            );
            self.finding(FindingKind::Stale, at, message);
        }
    }
}

fn same(figure: &Figure, line: &EvidenceLine) -> bool {
    figure.value.text() == line.value
        && figure.value.machine() == line.machine
        && figure.value.kind() == line.kind
        && figure.as_of == line.as_of
        && clean(&figure.source) == line.source
}

fn money(figure: &Figure) -> Option<Money> {
    match &figure.value {
        FigureValue::Money(money) => Some(*money),
        FigureValue::Count(_)
        | FigureValue::Percent(_)
        | FigureValue::Score(_)
        | FigureValue::Date(_)
        | FigureValue::Days(_)
        | FigureValue::Minutes(_)
        | FigureValue::Months(_)
        | FigureValue::Text(_) => None,
    }
}

fn is_inline(tag: &Tag<'_>) -> bool {
    matches!(
        tag,
        Tag::Emphasis | Tag::Strong | Tag::Strikethrough | Tag::Link { .. } | Tag::Image { .. }
    )
}

/// Numbers of a text, in any script, with their decimals and groups.
fn numbers(text: &str) -> Vec<(usize, usize)> {
    let mut all: Vec<(usize, usize)> = Vec::new();
    for (at, c) in text.char_indices().filter(|(_, c)| c.is_numeric()) {
        let end = at + c.len_utf8();
        match all.last_mut() {
            Some((_, last)) if *last == at || matches!(&text[*last..at], "." | ",") => *last = end,
            _ => all.push((at, end)),
        }
    }
    all
}

/// Whether `start..end` lies inside `name` where the text has it as a whole word.
fn stands_in(text: &str, name: &str, start: usize, end: usize) -> bool {
    // Only occurrences that reach over `start` matter.
    let mut from = start.saturating_sub(name.len());
    while !text.is_char_boundary(from) {
        from += 1;
    }
    let mut to = (end + name.len()).min(text.len());
    while !text.is_char_boundary(to) {
        to -= 1;
    }
    text[from..to].match_indices(name).map(|(at, _)| from + at).any(|at| {
        let after = at + name.len();
        at <= start
            && end <= after
            && !text[..at].ends_with(char::is_alphanumeric)
            && !text[after..].starts_with(char::is_alphanumeric)
    })
}

/// Whether a program that shows the text would make a link of this word.
fn is_address(word: &str) -> bool {
    let word = word.to_lowercase();
    let mail = word
        .split_once('@')
        .is_some_and(|(user, host)| user.ends_with(char::is_alphanumeric) && host.trim_end_matches('.').contains('.'));
    mail || word.contains("://") || word.contains("www.") || word.contains("mailto:")
}

fn shorten(text: &str) -> String {
    let short: String = text.chars().take(60).collect();
    if short.len() < text.len() {
        format!("{short}…")
    } else {
        short
    }
}
