//! The rows of a file of JSON Lines: one object a line, in bounded memory.
//!
//! What is wrong with one line costs that line only. Numbers stay as they are written: nothing is rounded on the way.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, BufRead as _, BufReader, Read};

use serde_json::value::RawValue;

use super::mapping::Column;
use super::record::{Cells, Reject};
use super::rows::{Next, RowLimits};
use super::text::{Encoding, plain};

const CHUNK: usize = 256 * 1024;

type Object<'a> = HashMap<Cow<'a, str>, &'a RawValue>;

/// What stands at one path of the present line.
enum Cell {
    Text(String),
    /// Why it is no single value, and the beginning of what it is.
    Not(String, String),
}

/// The lines of a file, with the paths that a mapping asks for.
pub(super) struct Lines<R> {
    input: BufReader<R>,
    limits: RowLimits,
    paths: Vec<String>,
    seen: Vec<bool>,
    cells: Vec<Cell>,
    raw: Vec<u8>,
    line: u64,
    bytes: u64,
}

impl<R: Read> Lines<R> {
    /// Lines of `input`, of which the values at `paths` are asked for: keys with points between them.
    pub(super) fn new(input: R, limits: RowLimits, paths: Vec<String>) -> Lines<R> {
        Lines {
            input: BufReader::with_capacity(CHUNK, input),
            limits,
            seen: vec![false; paths.len()],
            paths,
            cells: Vec::new(),
            raw: Vec::new(),
            line: 0,
            bytes: 0,
        }
    }

    pub(super) fn line(&self) -> u64 {
        self.line
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// Paths that no line so far had.
    pub(super) fn unseen(&self) -> Vec<String> {
        let unseen = self.paths.iter().zip(&self.seen).filter(|(_, seen)| !**seen);
        unseen.map(|(path, _)| path.clone()).collect()
    }

    /// Goes to the next row. Blank lines are no rows.
    pub(super) fn next(&mut self) -> io::Result<Next> {
        loop {
            self.raw.clear();
            self.cells.clear();
            let Some(whole) = self.read_line()? else {
                return Ok(Next::End);
            };
            if self.line == 1 && self.raw.starts_with(&[0xef, 0xbb, 0xbf]) {
                self.raw.drain(..3);
            }
            if !whole {
                return Ok(Next::Bad(format!(
                    "the row is longer than {} bytes",
                    self.limits.row_bytes
                )));
            }
            if self.raw.trim_ascii().is_empty() {
                continue;
            }
            return Ok(match self.read_object() {
                Ok(()) => Next::Row,
                Err(reason) => Next::Bad(reason),
            });
        }
    }

    /// Reads to the end of the line; false when it is longer than the limit, nothing at the end of the file.
    fn read_line(&mut self) -> io::Result<Option<bool>> {
        let mut any = false;
        let mut whole = true;
        loop {
            let seen = match self.input.fill_buf() {
                Ok(seen) => seen,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if seen.is_empty() {
                self.line += u64::from(any);
                return Ok(any.then_some(whole));
            }
            any = true;
            let end = seen.iter().position(|byte| *byte == b'\n');
            let part = seen.get(..end.unwrap_or(seen.len())).unwrap_or_default();
            let room = self.limits.row_bytes.saturating_sub(self.raw.len());
            whole &= part.len() <= room;
            self.raw
                .extend_from_slice(part.get(..part.len().min(room)).unwrap_or_default());
            let taken = part.len() + usize::from(end.is_some());
            self.input.consume(taken);
            self.bytes += taken as u64;
            if end.is_some() {
                self.line += 1;
                return Ok(Some(whole));
            }
        }
    }

    fn read_object(&mut self) -> Result<(), String> {
        let object: Object<'_> = serde_json::from_slice(&self.raw).map_err(not_json)?;
        for (path, seen) in self.paths.iter().zip(&mut self.seen) {
            let found = find(&object, path);
            *seen |= found.is_some();
            let cell = match found {
                None => Cell::Text(String::new()),
                Some(raw) => cell(raw, self.limits.field_bytes),
            };
            self.cells.push(cell);
        }
        Ok(())
    }
}

fn not_json(error: serde_json::Error) -> String {
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or_default();
    format!("not a JSON object: {message} at column {}", error.column())
}

/// The value at a path: the key of that very name, else the way through the objects that its points part.
fn find<'a>(object: &Object<'a>, path: &str) -> Option<&'a RawValue> {
    if let Some(found) = object.get(path) {
        return Some(found);
    }
    let (first, rest) = path.split_once('.')?;
    let inner: Object<'a> = serde_json::from_str(object.get(first)?.get()).ok()?;
    find(&inner, rest)
}

fn cell(raw: &RawValue, field_bytes: usize) -> Cell {
    let text = raw.get();
    let not = |reason: &str| Cell::Not(reason.to_owned(), text.chars().take(100).collect());
    if text.len() > field_bytes {
        return not("longer than `max_field_bytes` allows: shorten it, or raise the limit");
    }
    match text.as_bytes().first() {
        Some(b'n') => Cell::Text(String::new()),
        Some(b'"') => match serde_json::from_str::<String>(text) {
            Ok(text) => Cell::Text(text),
            Err(_) => not("not a text that can be read"),
        },
        Some(b'{') => not("an object, not a single value: name a key inside it, with a point before it"),
        Some(b'[') => not("a list, not a single value"),
        _ => Cell::Text(text.to_owned()),
    }
}

impl<R> Cells for Lines<R> {
    fn width(&self) -> usize {
        self.paths.len()
    }

    fn text(&self, column: &Column, _: Encoding) -> Result<Cow<'_, str>, Reject> {
        match self.cells.get(column.index) {
            Some(Cell::Text(text)) => plain(text).map_err(|reason| Reject::new(&column.name, text, reason)),
            Some(Cell::Not(reason, text)) => Err(Reject::new(&column.name, text, reason.clone())),
            None => Ok(Cow::Borrowed("")),
        }
    }
}
