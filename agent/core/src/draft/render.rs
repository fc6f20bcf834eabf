//! From an input to a document: Markdown by the template, HTML from the Markdown.

use std::collections::BTreeMap;

use handlebars::{Context, RenderErrorReason};
use serde::{Deserialize, Serialize};

use super::figure::{FigureKind, day_text};
use super::input::{DocumentKind, DraftInput};
use super::page;
use super::template::Templates;
use super::text::{MARK_CLOSE, MARK_OPEN, escape_markdown};
use super::view::view;
use crate::replay::Hash;
use crate::time::Timestamp;

/// Longest Markdown of a document.
pub const MARKDOWN_BYTES_MAX: usize = 1024 * 1024;

/// How the list of evidence begins, at the end of the Markdown.
pub(super) const EVIDENCE_HEADING: &str = "\n## Evidence\n\n";

/// Why a document was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DraftError {
    /// The document cannot be made without these.
    #[error("the document needs {}", .names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))]
    Missing {
        /// Declared names.
        names: Vec<String>,
    },
    /// A figure is of the wrong kind.
    #[error("the figure `{figure}` is of kind `{found}` where `{expected}` is declared")]
    Kind {
        /// Key of the figure.
        figure: String,
        /// Kind that templates count on.
        expected: FigureKind,
        /// Kind it has.
        found: FigureKind,
    },
    /// An evidence id that cannot stand in a document.
    #[error("the figure `{figure}` carries `{id}`, which is not an evidence id such as `ev_3f9a2c11d0`")]
    EvidenceId {
        /// Key of the figure.
        figure: String,
        /// What it carries.
        id: String,
    },
    /// A text figure with nothing to show.
    #[error("the figure `{figure}` is blank: a figure that is not known is given as unknown")]
    Blank {
        /// Key of the figure.
        figure: String,
    },
    /// A number in our own words.
    #[error("the words `{words}` of `{statement}` hold a number without evidence")]
    Digits {
        /// Key of the statement.
        statement: String,
        /// The words.
        words: String,
    },
    /// A statement refers to a figure that the input does not have.
    #[error("the statement `{statement}` refers to a figure `{figure}` that the input does not have")]
    NoFigure {
        /// Key of the statement.
        statement: String,
        /// Name it refers to.
        figure: String,
    },
    /// The template could not be followed.
    #[error("{template}:{line}:{column}: {message}")]
    Template {
        /// Template or partial.
        template: String,
        /// Line, from 1; 0 when the engine does not say.
        line: usize,
        /// Column, from 1; 0 when the engine does not say.
        column: usize,
        /// What is wrong.
        message: String,
    },
    /// The document is too long.
    #[error("the document has {bytes} bytes, more than {MARKDOWN_BYTES_MAX}")]
    TooLong {
        /// Bytes it has.
        bytes: usize,
    },
}

/// One line of the list of evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceLine {
    /// Evidence id.
    pub id: String,
    /// What the figure is called.
    pub label: String,
    /// What it measures.
    pub kind: FigureKind,
    /// The value as people read it.
    pub value: String,
    /// The value as machines read it.
    pub machine: String,
    /// The moment up to which the source was read.
    pub as_of: Timestamp,
    /// Where it comes from.
    pub source: String,
}

impl EvidenceLine {
    /// `usage:demo/daily, 12 records, as of 30 September 2026`.
    #[must_use]
    pub fn origin(&self) -> String {
        let day = day_text(self.as_of.day());
        if self.source.is_empty() {
            format!("as of {day}")
        } else {
            format!("{}, as of {day}", self.source)
        }
    }
}

/// A document with its evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draft {
    /// Kind.
    pub kind: DocumentKind,
    /// The text of its first heading.
    pub title: String,
    /// The document, with a footnote for each figure.
    pub markdown: String,
    /// The same document as a page that needs nothing from outside.
    pub html: String,
    /// Evidence in the order of first use.
    pub evidence: Vec<EvidenceLine>,
    /// Hash of kind, Markdown and HTML: what an approval binds to.
    pub hash: Hash,
}

impl Draft {
    fn finish(kind: DocumentKind, body: &str, evidence: Vec<EvidenceLine>) -> Draft {
        let markdown = format!("{}\n{}", body.trim(), evidence_section(&evidence));
        let title = page::title(&markdown).unwrap_or_else(|| kind.title().to_owned());
        let html = page::page(kind, &title, &markdown, &evidence);
        let hash = Hash::of_parts(&[kind.as_str(), &markdown, &html]);
        Draft {
            kind,
            title,
            markdown,
            html,
            evidence,
            hash,
        }
    }

    /// The Markdown without the list of evidence: what a person edits.
    #[must_use]
    pub fn body(&self) -> &str {
        body_of(&self.markdown)
    }

    /// The draft after a person has edited its text. Figures keep their footnote marks (`[^ev_…]`); the list of
    /// evidence and the page are made anew. Check the result: an edit can take a figure from its evidence.
    #[must_use]
    pub fn edited(&self, markdown: &str) -> Draft {
        let body = body_of(markdown);
        let used = |line: &&EvidenceLine| body.contains(&format!("[^{}]", line.id));
        let evidence = self.evidence.iter().filter(used).cloned().collect();
        Draft::finish(self.kind, body, evidence)
    }
}

/// Renders a document. The result is what the inputs say, to the byte, on every machine.
///
/// # Errors
/// [`DraftError`] when the input lacks what the document needs, or holds what cannot stand in it.
pub fn render(templates: &Templates, kind: DocumentKind, input: &DraftInput) -> Result<Draft, DraftError> {
    let declaration = templates.declaration(kind).ok_or_else(|| DraftError::Template {
        template: kind.to_string(),
        line: 0,
        column: 0,
        message: "there is no such template".to_owned(),
    })?;
    let view = view(input, declaration)?;
    let context = Context::wraps(&view.data).map_err(|error| reworded(kind, &error))?;
    let marked = templates
        .registry
        .engine
        .render_with_context(kind.as_str(), &context)
        .map_err(|error| reworded(kind, &error))?;
    let (body, evidence) = settle(&marked, &view.lines);
    if body.len() > MARKDOWN_BYTES_MAX {
        return Err(DraftError::TooLong { bytes: body.len() });
    }
    Ok(Draft::finish(kind, &tidy(&body), evidence))
}

/// Turns the marks behind figures into footnote references, and collects the evidence in the order of first use.
fn settle(marked: &str, lines: &[EvidenceLine]) -> (String, Vec<EvidenceLine>) {
    let mut body = String::with_capacity(marked.len());
    let mut used: Vec<EvidenceLine> = Vec::new();
    let mut rest = marked;
    while let Some((before, after)) = rest.split_once(MARK_OPEN) {
        body.push_str(before);
        let (index, after) = after.split_once(MARK_CLOSE).unwrap_or((after, ""));
        if let Some(line) = index.parse::<usize>().ok().and_then(|index| lines.get(index)) {
            body.push_str(&format!("[^{}]", line.id));
            if !used.contains(line) {
                used.push(line.clone());
            }
        }
        rest = after;
    }
    body.push_str(rest);
    (body, used)
}

/// No white space at the end of a line, at most one empty line in a row.
fn tidy(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut empty = 0;
    for line in text.lines().map(str::trim_end) {
        empty = if line.is_empty() { empty + 1 } else { 0 };
        if empty < 2 {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

/// The list of evidence as Markdown: one footnote for each id.
pub(super) fn evidence_section(evidence: &[EvidenceLine]) -> String {
    let mut notes: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut order: Vec<&str> = Vec::new();
    for line in evidence {
        if !notes.contains_key(line.id.as_str()) {
            order.push(&line.id);
        }
        notes.entry(&line.id).or_default().push(format!(
            "{}: {} ({})",
            escape_markdown(&line.label),
            escape_markdown(&line.value),
            escape_markdown(&line.origin()),
        ));
    }
    let mut out = EVIDENCE_HEADING.to_owned();
    if order.is_empty() {
        out.push_str("This document states no figures.\n");
    }
    for id in order {
        let notes = notes.get(id).map(|notes| notes.join("; ")).unwrap_or_default();
        out.push_str(&format!("[^{id}]: {notes}, evidence `{id}`\n"));
    }
    out
}

/// The Markdown before the list of evidence.
pub(super) fn body_of(markdown: &str) -> &str {
    markdown.rfind(EVIDENCE_HEADING).map_or(markdown, |at| &markdown[..at])
}

/// The words of the template engine, for people. The checks of [`Templates::compile`] leave little to happen here.
// The enum belongs to the template engine and may grow.
#[expect(clippy::wildcard_enum_match_arm)]
fn reworded(kind: DocumentKind, error: &handlebars::RenderError) -> DraftError {
    let message = match error.reason() {
        RenderErrorReason::MissingVariable(Some(path)) => format!("`{path}` has no value"),
        RenderErrorReason::MissingVariable(None) => "a name has no value".to_owned(),
        RenderErrorReason::HelperNotFound(name) => format!("there is no helper `{name}`"),
        RenderErrorReason::PartialNotFound(name) => format!("there is no partial `{name}`"),
        RenderErrorReason::Other(message) => message.clone(),
        _ => "the template cannot be followed".to_owned(),
    };
    DraftError::Template {
        template: error.template_name.clone().unwrap_or_else(|| kind.to_string()),
        line: error.line_no.unwrap_or(0),
        column: error.column_no.unwrap_or(0),
        message,
    }
}
