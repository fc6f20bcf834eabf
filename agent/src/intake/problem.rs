//! A problem that keeps an import from starting: where it is, what is wrong and what to do about it.
//!
//! All problems of a mapping and a folder are gathered and shown together, each with the lines it is about.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One thing that must be mended before an import can start.
#[derive(Clone)]
pub struct Problem {
    /// File it is in: the mapping, or a file or folder of the import.
    pub file: PathBuf,
    /// Line, counted from 1; 0 when it is about the file as a whole.
    pub line: usize,
    /// Column in characters, counted from 1; 0 when it is about the file as a whole.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
    source: Option<miette::NamedSource<Arc<str>>>,
    span: Range<usize>,
}

impl Problem {
    /// A problem of a file as a whole.
    #[must_use]
    pub fn of_file(file: &Path, message: impl Into<String>, help: Option<String>) -> Problem {
        Problem {
            file: file.to_owned(),
            line: 0,
            column: 0,
            message: message.into(),
            help,
            source: None,
            span: 0..0,
        }
    }

    /// A problem of the bytes `span` of `text`, which is what `file` holds.
    #[must_use]
    pub fn at(
        file: &Path,
        text: &Arc<str>,
        span: Range<usize>,
        message: impl Into<String>,
        help: Option<String>,
    ) -> Problem {
        let before = text.get(..span.start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Problem {
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message: message.into(),
            help,
            source: Some(miette::NamedSource::new(file.to_string_lossy(), Arc::clone(text))),
            span,
        }
    }
}

impl Problem {
    /// The same without the lines of the file: for files in which a secret may stand on any line.
    #[must_use]
    pub(crate) fn without_text(self) -> Problem {
        Problem { source: None, ..self }
    }
}

impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} (help: {})", self.help.as_deref().unwrap_or("none"))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for Problem {}

impl miette::Diagnostic for Problem {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        self.source.as_ref().map(|source| source as &dyn miette::SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = miette::LabeledSpan> + '_>> {
        self.source.as_ref()?;
        let label = miette::LabeledSpan::new_with_span(Some("here".to_owned()), self.span.clone());
        Some(Box::new(std::iter::once(label)))
    }
}

/// The known word that `wrong` was probably meant to be.
pub(super) fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|word| {
            (
                strsim::damerau_levenshtein(&wrong.to_lowercase(), &word.to_lowercase()),
                word,
            )
        })
        .filter(|(distance, word)| *distance <= (word.chars().count() / 3).max(1))
        .min()
        .map(|(_, word)| word)
}

/// Help for a word that is not known: the nearest one, and all that there are.
pub(crate) fn help_with_words(wrong: &str, known: &[&str]) -> String {
    let all = quoted(known);
    match nearest(wrong, known.iter().copied()) {
        Some(word) => format!("did you mean `{word}`? known: {all}"),
        None => format!("known: {all}"),
    }
}

/// Words for a message, at most 40 of them.
pub(super) fn quoted(words: &[&str]) -> String {
    let mut shown = words
        .iter()
        .take(40)
        .map(|word| format!("`{word}`"))
        .collect::<Vec<_>>();
    if words.len() > shown.len() {
        shown.push(format!("and {} more", words.len() - shown.len()));
    }
    shown.join(", ")
}
