//! What a template may use: the names the engine offers, and the declaration of a document that picks from them.
//!
//! A declaration (`qbr.toml`) lists each slot with its kind, whether the document needs it, and what it means. A name
//! the engine does not offer, or offers with another kind, is refused: it would stay empty for ever without a word.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::figure::FigureKind;
use super::input::DocumentKind;
use super::scan::position;
use super::template::TemplateProblem;
use super::text::did_you_mean;
use crate::signal::word_enum;

word_enum! {
    /// Kind of a slot that is not a figure.
    SlotKind {
        /// A name or a word from a record, shown as text.
        Text = "text",
        /// A day of the input, such as the day of the document.
        Day = "day",
        /// True or false, for `{{#if}}`.
        Flag = "flag",
        /// A group of slots, such as `contact`; for `{{#if}}`.
        Record = "record",
        /// Lines, for `{{#each}}` and `{{#if}}`.
        List = "list",
        /// A sentence with figures, for `{{say}}`.
        Statement = "statement",
    }
}

/// Slots the engine offers, with their kind. A dot leads into a record or into the lines of a list.
pub const SLOTS: &[(&str, SlotKind)] = &[
    ("account_name", SlotKind::Text),
    ("contact", SlotKind::Record),
    ("contact.name", SlotKind::Text),
    ("contact.title", SlotKind::Text),
    ("contracts", SlotKind::List),
    ("contracts.needs_signature", SlotKind::Flag),
    ("contracts.product", SlotKind::Text),
    ("contracts.renews_itself", SlotKind::Flag),
    ("dates", SlotKind::List),
    ("dates.text", SlotKind::Statement),
    ("goals", SlotKind::List),
    ("goals.state", SlotKind::Text),
    ("goals.text", SlotKind::Statement),
    ("highlights", SlotKind::List),
    ("highlights.text", SlotKind::Statement),
    ("next_steps", SlotKind::List),
    ("next_steps.text", SlotKind::Statement),
    ("next_steps.who", SlotKind::Text),
    ("our_name", SlotKind::Text),
    ("owner_name", SlotKind::Text),
    ("period", SlotKind::Record),
    ("period.from", SlotKind::Day),
    ("period.name", SlotKind::Text),
    ("period.to", SlotKind::Day),
    ("prepared_on", SlotKind::Day),
    ("products", SlotKind::List),
    ("products.name", SlotKind::Text),
    ("questions", SlotKind::List),
    ("questions.text", SlotKind::Statement),
    ("risks", SlotKind::List),
    ("risks.proposal", SlotKind::Statement),
    ("risks.text", SlotKind::Statement),
    ("tier", SlotKind::Text),
    ("valid_until", SlotKind::Day),
];

/// Figures the engine offers, with their kind. Those with a dot belong to the lines of a list.
pub const FIGURES: &[(&str, FigureKind)] = &[
    ("active_users_before", FigureKind::Count),
    ("active_users_change", FigureKind::Percent),
    ("active_users_now", FigureKind::Count),
    ("arr", FigureKind::Money),
    ("arr_change", FigureKind::Money),
    ("arr_proposed", FigureKind::Money),
    ("contracts.arr", FigureKind::Money),
    ("contracts.arr_proposed", FigureKind::Money),
    ("contracts.end", FigureKind::Date),
    ("contracts.escalator", FigureKind::Percent),
    ("contracts.notice_date", FigureKind::Date),
    ("contracts.seats", FigureKind::Count),
    ("contracts.start", FigureKind::Date),
    ("contracts.term", FigureKind::Months),
    ("csat", FigureKind::Score),
    ("csat_answers", FigureKind::Count),
    ("customer_since", FigureKind::Date),
    ("dates.on", FigureKind::Date),
    ("days_to_renewal", FigureKind::Days),
    ("features_used_before", FigureKind::Count),
    ("features_used_now", FigureKind::Count),
    ("first_response_minutes", FigureKind::Minutes),
    ("health", FigureKind::Score),
    ("health_before", FigureKind::Score),
    ("interactions", FigureKind::Count),
    ("last_qbr", FigureKind::Date),
    ("next_steps.due", FigureKind::Date),
    ("notice_date", FigureKind::Date),
    ("nps", FigureKind::Score),
    ("nps_answers", FigureKind::Count),
    ("renewal_date", FigureKind::Date),
    ("seat_utilisation", FigureKind::Percent),
    ("seats", FigureKind::Count),
    ("term_end", FigureKind::Date),
    ("term_months", FigureKind::Months),
    ("term_start", FigureKind::Date),
    ("tickets_closed", FigureKind::Count),
    ("tickets_escalated", FigureKind::Count),
    ("tickets_open", FigureKind::Count),
    ("tickets_opened", FigureKind::Count),
    ("total_proposed", FigureKind::Money),
    ("uplift", FigureKind::Percent),
];

/// A declared slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Kind.
    pub kind: SlotKind,
    /// Whether the document cannot be made without it.
    pub required: bool,
    /// What it means.
    pub meaning: String,
}

/// A declared figure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FigureLine {
    /// Kind.
    pub kind: FigureKind,
    /// Whether the document cannot be made without it.
    pub required: bool,
    /// What it is called in the list of evidence.
    pub label: String,
    /// What it means.
    pub meaning: String,
}

/// The declared inputs of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declaration {
    /// The document.
    pub document: DocumentKind,
    /// Slots by name.
    pub slots: BTreeMap<String, Slot>,
    /// Figures by name.
    pub figures: BTreeMap<String, FigureLine>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    document: Spanned<String>,
    #[serde(default)]
    slot: Vec<SlotEntry>,
    #[serde(default)]
    figure: Vec<FigureEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SlotEntry {
    name: Spanned<String>,
    kind: Spanned<String>,
    required: bool,
    meaning: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FigureEntry {
    name: Spanned<String>,
    kind: Spanned<String>,
    required: bool,
    label: Spanned<String>,
    meaning: String,
}

struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    problems: &'a mut Vec<TemplateProblem>,
}

impl Reader<'_> {
    fn problem(&mut self, span: Range<usize>, message: String, help: Option<String>) {
        let (line, column) = position(self.text, span.start);
        self.problems.push(TemplateProblem {
            file: self.file.to_owned(),
            line,
            column,
            message,
            help,
        });
    }

    /// The kind the engine offers a name with, when the declaration agrees.
    fn kind<K: Copy + PartialEq + std::fmt::Display>(
        &mut self,
        what: &str,
        name: &Spanned<String>,
        kind: &Spanned<String>,
        offered: &[(&str, K)],
    ) -> Option<K> {
        let Some((_, expected)) = offered.iter().find(|(offer, _)| offer == name.get_ref()) else {
            let help = did_you_mean(name.get_ref(), offered.iter().map(|(offer, _)| *offer));
            self.problem(
                name.span(),
                format!("the engine offers no {what} `{}`", name.get_ref()),
                help,
            );
            return None;
        };
        if kind.get_ref() != &expected.to_string() {
            self.problem(
                kind.span(),
                format!(
                    "`{}` is a {what} of kind `{expected}`, not `{}`",
                    name.get_ref(),
                    kind.get_ref()
                ),
                Some(format!("write kind = \"{expected}\"")),
            );
            return None;
        }
        Some(*expected)
    }
}

/// Reads a declaration; nothing when the text is not one at all.
pub(super) fn read_declaration(
    document: DocumentKind,
    file: &str,
    text: &str,
    problems: &mut Vec<TemplateProblem>,
) -> Option<Declaration> {
    let mut reader = Reader { file, text, problems };
    let parsed: File = match toml::from_str(text) {
        Ok(parsed) => parsed,
        Err(error) => {
            let message = error.message().to_owned();
            reader.problem(error.span().unwrap_or(0..0), message, None);
            return None;
        }
    };
    if parsed.document.get_ref() != document.as_str() {
        reader.problem(
            parsed.document.span(),
            format!(
                "this file declares `{}` but its name says `{document}`",
                parsed.document.get_ref()
            ),
            Some(format!("write document = \"{document}\"")),
        );
    }
    let mut declaration = Declaration {
        document,
        slots: BTreeMap::new(),
        figures: BTreeMap::new(),
    };
    for entry in parsed.slot {
        let Some(kind) = reader.kind("slot", &entry.name, &entry.kind, SLOTS) else {
            continue;
        };
        let slot = Slot {
            kind,
            required: entry.required,
            meaning: entry.meaning,
        };
        let span = entry.name.span();
        let name = entry.name.into_inner();
        if declaration.slots.insert(name.clone(), slot).is_some() {
            reader.problem(span, format!("the slot `{name}` is declared twice"), None);
        }
    }
    for entry in parsed.figure {
        let Some(kind) = reader.kind("figure", &entry.name, &entry.kind, FIGURES) else {
            continue;
        };
        if entry.label.get_ref().trim().is_empty() {
            reader.problem(
                entry.label.span(),
                "a figure needs a label for the list of evidence".to_owned(),
                None,
            );
        }
        let span = entry.name.span();
        let name = entry.name.into_inner();
        let line = FigureLine {
            kind,
            required: entry.required,
            label: entry.label.into_inner(),
            meaning: entry.meaning,
        };
        if declaration.figures.insert(name.clone(), line).is_some() {
            reader.problem(span, format!("the figure `{name}` is declared twice"), None);
        }
    }
    Some(declaration)
}

impl Declaration {
    /// What a figure is called in the list of evidence: its declared label, or its name in words.
    pub(super) fn label(&self, name: &str) -> String {
        if let Some(line) = self.figures.get(name) {
            return line.label.clone();
        }
        let words = name.replace(['_', '.'], " ");
        let mut letters = words.chars();
        letters
            .next()
            .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
    }
}
