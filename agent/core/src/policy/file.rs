//! Reading TOML strictly, and saying where it is wrong.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Something wrong in a file an admin wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Path inside the folder.
    pub file: String,
    /// Line from 1; 0 when it is about the whole file.
    pub line: usize,
    /// Column from 1, in characters.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl Problem {
    /// About a whole file.
    pub(crate) fn whole(file: &str, message: String, help: &str) -> Problem {
        Problem {
            file: file.to_owned(),
            line: 0,
            column: 0,
            message,
            help: help.to_owned(),
        }
    }

    /// At a byte of a file's text.
    pub(crate) fn at(file: &str, text: &str, offset: usize, message: String, help: String) -> Problem {
        let (line, column) = place(text, offset);
        Problem {
            file: file.to_owned(),
            line,
            column,
            message,
            help,
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.line == 0 {
            write!(f, "{}: {}; {}", self.file, self.message, self.help)
        } else {
            write!(
                f,
                "{}:{}:{}: {}; {}",
                self.file, self.line, self.column, self.message, self.help
            )
        }
    }
}

/// Line and column, from 1, of a byte.
pub(crate) fn place(text: &str, offset: usize) -> (usize, usize) {
    let mut end = offset.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = &text[..end];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (line, column)
}

/// Reads a whole file into `T`, or reports why not.
pub(crate) fn parse<T: DeserializeOwned>(file: &str, text: &str, problems: &mut Vec<Problem>) -> Option<T> {
    match toml::from_str::<T>(text) {
        Ok(value) => Some(value),
        Err(error) => {
            let offset = error.span().map_or(0, |span| span.start);
            let message = error.message().lines().next().unwrap_or("not valid TOML").to_owned();
            let help = suggest_from_message(&message);
            problems.push(Problem::at(file, text, offset, message, help));
            None
        }
    }
}

/// serde says "unknown field `x`, expected one of `a`, `b`": turn that into a suggestion.
fn suggest_from_message(message: &str) -> String {
    let words: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    match words.split_first() {
        Some((wrong, known)) if message.starts_with("unknown") && !known.is_empty() => {
            did_you_mean(wrong, known.iter().copied()).unwrap_or_else(|| "remove it, or use one of these".to_owned())
        }
        _ if message.starts_with("missing field") => "add it; the shipped file shows how".to_owned(),
        _ if message.contains("duplicate key") => "keep one of the two".to_owned(),
        _ => "see the shipped file for the form that is expected".to_owned(),
    }
}

/// The nearest known word, when one is near.
pub(crate) fn did_you_mean<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    known
        .map(|word| {
            (
                strsim::damerau_levenshtein(&wrong.to_lowercase(), &word.to_lowercase()),
                word,
            )
        })
        .filter(|(distance, word)| *distance <= 2.max(word.len() / 3))
        .min()
        .map(|(_, word)| format!("did you mean `{word}`?"))
}
