//! A file of an import, whatever its form.

use std::borrow::Cow;
use std::fs::File;
use std::io;

use super::lines::Lines;
use super::mapping::Column;
use super::record::{Cells, Reject};
use super::rows::{Next, Rows};
use super::text::Encoding;

/// The rows of one file.
pub(super) enum Input {
    Csv(Rows<File>),
    Json(Lines<File>),
}

impl Input {
    /// Goes to the next row.
    pub(super) fn next(&mut self) -> io::Result<Next> {
        match self {
            Input::Csv(rows) => rows.next(),
            Input::Json(lines) => lines.next(),
        }
    }

    /// Line on which the present row starts, counted from 1.
    pub(super) fn line(&self) -> u64 {
        match self {
            Input::Csv(rows) => rows.line(),
            Input::Json(lines) => lines.line(),
        }
    }

    /// Bytes read so far.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Input::Csv(rows) => rows.bytes(),
            Input::Json(lines) => lines.bytes(),
        }
    }

    /// The present row as it stands in the file, without its line end.
    pub(super) fn raw(&self) -> &[u8] {
        match self {
            Input::Csv(rows) => rows.raw(),
            Input::Json(lines) => lines.raw(),
        }
    }

    /// Keys that the mapping asks for and no row so far had. Columns of a CSV file are looked for before.
    pub(super) fn unseen(&self) -> Vec<String> {
        match self {
            Input::Csv(_) => Vec::new(),
            Input::Json(lines) => lines.unseen(),
        }
    }
}

impl Cells for Input {
    fn width(&self) -> usize {
        match self {
            Input::Csv(rows) => Cells::width(rows),
            Input::Json(lines) => lines.width(),
        }
    }

    fn text(&self, column: &Column, encoding: Encoding) -> Result<Cow<'_, str>, Reject> {
        match self {
            Input::Csv(rows) => rows.text(column, encoding),
            Input::Json(lines) => lines.text(column, encoding),
        }
    }
}
