//! Short texts with slots, such as `Call {champion} before {notice_date}`.
//!
//! Every slot is checked when the file is loaded. A slot whose fact is not known prints `not known`, never a zero.

use std::collections::BTreeMap;

use super::file::did_you_mean;
use crate::feature::CATALOGUE;

/// Slots beside the features of the catalogue.
pub(crate) const NAMES: &[&str] = &[
    "account", "owner", "contact", "contract", "quarter", "today", "drivers", "tickets", "posture",
];

/// A text with slots, ready to fill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Slot(String),
}

/// What is wrong with a text, and where: a byte inside it, a message and a remedy.
pub(crate) type Wrong = (usize, String, String);

impl Pattern {
    /// Splits a text into words and slots.
    pub(crate) fn parse(text: &str) -> Result<Pattern, Wrong> {
        let mut pieces = Vec::new();
        let mut rest = text;
        let mut at = 0;
        while let Some(open) = rest.find(['{', '}']) {
            if rest[open..].starts_with('}') {
                return Err((
                    at + open,
                    "a `}` without its `{`".to_owned(),
                    "a slot is written {name}".to_owned(),
                ));
            }
            pieces.push(Piece::Text(rest[..open].to_owned()));
            let Some(length) = rest[open + 1..].find('}') else {
                return Err((
                    at + open,
                    "a `{` without its `}`".to_owned(),
                    "a slot is written {name}".to_owned(),
                ));
            };
            let name = &rest[open + 1..open + 1 + length];
            if name.contains('{') {
                return Err((
                    at + open,
                    "a `{` without its `}`".to_owned(),
                    "a slot is written {name}".to_owned(),
                ));
            }
            if !NAMES.contains(&name) && !CATALOGUE.iter().any(|d| d.name == name) {
                let known = NAMES.iter().copied().chain(CATALOGUE.iter().map(|d| d.name));
                let help =
                    did_you_mean(name, known).unwrap_or_else(|| "docs/reference/facts lists the names".to_owned());
                return Err((at + open + 1, format!("unknown slot `{name}`"), help));
            }
            pieces.push(Piece::Slot(name.to_owned()));
            let used = open + length + 2;
            at += used;
            rest = &rest[used..];
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Ok(Pattern { pieces })
    }

    /// Fills the slots.
    #[must_use]
    pub fn fill(&self, values: &BTreeMap<String, String>) -> String {
        self.pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.as_str(),
                Piece::Slot(name) => values.get(name).map_or("not known", String::as_str),
            })
            .collect()
    }

    /// Names of the slots, in order.
    pub fn slots(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Slot(name) => Some(name.as_str()),
        })
    }
}
