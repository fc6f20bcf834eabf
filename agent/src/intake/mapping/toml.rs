//! Walks over the TOML of a mapping and gathers problems instead of stopping at the first.

use perennial_core::policy::gate::Vocabulary;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::super::problem::{Problem, help_with_words};

pub(super) type Node<'t> = Spanned<DeValue<'t>>;

/// A table with the place it begins at and the words for it in messages.
pub(super) struct Section<'t> {
    pub table: &'t DeTable<'t>,
    pub span: Range<usize>,
    pub what: String,
}

impl<'t> Section<'t> {
    pub(super) fn get(&self, key: &str) -> Option<&'t Node<'t>> {
        self.table
            .iter()
            .find(|(name, _)| name.get_ref().as_ref() == key)
            .map(|(_, node)| node)
    }

    /// The entries in the order of the text.
    pub(super) fn pairs(&self) -> Vec<(&'t str, Range<usize>, &'t Node<'t>)> {
        let mut pairs = self
            .table
            .iter()
            .map(|(name, node)| (name.get_ref().as_ref(), name.span(), node))
            .collect::<Vec<_>>();
        pairs.sort_by_key(|(_, span, _)| span.start);
        pairs
    }
}

/// The text being read, and what is wrong with it so far.
pub(super) struct Reading<'p> {
    pub file: &'p Path,
    pub text: Arc<str>,
    /// Which tiers and roles there are.
    pub named: Arc<Vocabulary>,
    pub problems: Vec<Problem>,
}

impl Reading<'_> {
    pub(super) fn problem(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        let help = Some(help.into()).filter(|help| !help.is_empty());
        let problem = Problem::at(self.file, &self.text, span, message, help);
        self.problems.push(problem);
    }

    /// Refuses keys that mean nothing here.
    pub(super) fn only(&mut self, section: &Section<'_>, known: &[&str]) {
        for (name, span, _) in section.pairs() {
            if !known.contains(&name) {
                let message = format!("unknown key `{name}` in {}", section.what);
                self.problem(span, message, help_with_words(name, known));
            }
        }
    }

    pub(super) fn required<'t>(&mut self, section: &Section<'t>, key: &str, help: &str) -> Option<&'t Node<'t>> {
        let found = section.get(key);
        if found.is_none() {
            let message = format!("{} has no `{key}`", section.what);
            self.problem(section.span.clone(), message, help);
        }
        found
    }

    fn expected(&mut self, node: &Node<'_>, key: &str, what: &str) {
        let message = format!("`{key}` must be {what}, not {}", kind_of(node.get_ref()));
        self.problem(node.span(), message, "");
    }

    pub(super) fn table<'t>(&mut self, node: &'t Node<'t>, key: &str, what: String) -> Option<Section<'t>> {
        match node.get_ref().as_table() {
            Some(table) => Some(Section {
                table,
                span: node.span(),
                what,
            }),
            None => {
                self.expected(node, key, "a table");
                None
            }
        }
    }

    /// A text that is not empty.
    pub(super) fn text(&mut self, node: &Node<'_>, key: &str) -> Option<String> {
        match node.get_ref().as_str() {
            Some("") => {
                self.problem(node.span(), format!("`{key}` is empty"), "");
                None
            }
            Some(text) => Some(text.to_owned()),
            None => {
                self.expected(node, key, "a text");
                None
            }
        }
    }

    /// One text or a list of texts, each with its place.
    pub(super) fn texts(&mut self, node: &Node<'_>, key: &str) -> Option<Vec<(String, Range<usize>)>> {
        if let Some(text) = node.get_ref().as_str() {
            return Some(vec![(text.to_owned(), node.span())]);
        }
        let Some(list) = node.get_ref().as_array() else {
            self.expected(node, key, "a text or a list of texts");
            return None;
        };
        let mut texts = Vec::new();
        for item in list {
            match item.get_ref().as_str() {
                Some(text) => texts.push((text.to_owned(), item.span())),
                None => self.expected(item, key, "a list of texts"),
            }
        }
        Some(texts)
    }

    /// The items of a list.
    pub(super) fn list<'t>(&mut self, node: &'t Node<'t>, key: &str) -> &'t [Node<'t>] {
        match node.get_ref().as_array() {
            Some(list) => list.as_ref(),
            None => {
                self.expected(node, key, "a list");
                &[]
            }
        }
    }

    /// A single value as text: `12`, `0.5`, `true` and `"word"` alike.
    pub(super) fn scalar(&mut self, node: &Node<'_>, key: &str) -> Option<String> {
        match node.get_ref() {
            DeValue::String(text) => Some(text.clone().into_owned()),
            DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
            DeValue::Float(number) => Some(number.as_str().to_owned()),
            DeValue::Boolean(truth) => Some(truth.to_string()),
            DeValue::Datetime(moment) => Some(moment.to_string()),
            DeValue::Integer(_) | DeValue::Array(_) | DeValue::Table(_) => {
                self.expected(node, key, "a text, a decimal number, true, false or a date");
                None
            }
        }
    }

    pub(super) fn integer(&mut self, node: &Node<'_>, key: &str, low: i64, high: i64) -> Option<i64> {
        let number = node
            .get_ref()
            .as_integer()
            .filter(|number| number.radix() == 10)
            .and_then(|number| number.as_str().parse::<i64>().ok())
            .filter(|number| (low..=high).contains(number));
        if number.is_none() {
            self.expected(node, key, &format!("a whole number from {low} to {high}"));
        }
        number
    }
}

fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "this text",
        DeValue::Integer(_) | DeValue::Float(_) => "this number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
