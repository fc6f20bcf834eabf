//! The rows of a CSV file, one after the other, in bounded memory.
//!
//! RFC 4180 with the tolerance that exports need: a byte order mark, CRLF or LF, blank lines, and quotes inside a field
//! that does not begin with one. What is wrong with one row costs that row only: a quote that is never closed does not
//! swallow the rest of the file, reading goes on with the line after the one on which the quote was opened.

use std::borrow::Cow;
use std::io::{self, Read};
use std::ops::Range;

const CHUNK: usize = 256 * 1024;

/// What a file may hold at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowLimits {
    pub field_bytes: usize,
    pub row_bytes: usize,
}

/// What comes next in a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A row; read its cells with [`Rows::cell`].
    Row,
    /// A row that cannot be read.
    Bad(String),
    /// Nothing.
    End,
}

pub(super) struct Rows<R> {
    input: R,
    buffer: Vec<u8>,
    start: usize,
    filled: usize,
    at_end: bool,
    delimiter: u8,
    limits: RowLimits,
    cells: Vec<(Range<usize>, bool)>,
    /// Bytes of the row after its start, with its line end.
    length: usize,
    row_line: u64,
    next_line: u64,
    bytes: u64,
}

/// How the scan of one row ended; positions count from the start of the row.
enum Scan {
    Row {
        end: usize,
        lines: u64,
    },
    End,
    Bad {
        reason: String,
        quote: Option<usize>,
        lines_before: u64,
    },
}

impl<R: Read> Rows<R> {
    pub(super) fn new(input: R, delimiter: u8, limits: RowLimits) -> Rows<R> {
        Rows {
            input,
            buffer: Vec::new(),
            start: 0,
            filled: 0,
            at_end: false,
            delimiter,
            limits,
            cells: Vec::new(),
            length: 0,
            row_line: 0,
            next_line: 1,
            bytes: 0,
        }
    }

    /// The first bytes of the file, before anything else is read.
    pub(super) fn peek(&mut self, bytes: usize) -> io::Result<&[u8]> {
        while self.filled - self.start < bytes && self.fill()? {}
        let end = self.filled.min(self.start + bytes);
        Ok(&self.buffer[self.start..end])
    }

    /// Leaves out bytes at the start of the file, such as a byte order mark.
    pub(super) fn skip_bytes(&mut self, bytes: usize) {
        self.start += bytes;
        self.bytes += bytes as u64;
    }

    /// Line on which the present row starts, counted from 1.
    pub(super) fn line(&self) -> u64 {
        self.row_line
    }

    /// Bytes read so far, up to the end of the present row.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Number of cells of the present row.
    pub(super) fn width(&self) -> usize {
        self.cells.len()
    }

    /// A cell of the present row; nothing beyond its end.
    pub(super) fn cell(&self, index: usize) -> Cow<'_, [u8]> {
        let Some((range, doubled)) = self.cells.get(index) else {
            return Cow::Borrowed(&[]);
        };
        let bytes = &self.buffer[self.start + range.start..self.start + range.end];
        if !doubled {
            return Cow::Borrowed(bytes);
        }
        let mut plain = Vec::with_capacity(bytes.len());
        let mut after_quote = false;
        for &byte in bytes {
            after_quote = byte == b'"' && !after_quote;
            if !after_quote {
                plain.push(byte);
            }
        }
        Cow::Owned(plain)
    }

    /// The present row as it stands in the file, without its line end.
    pub(super) fn raw(&self) -> &[u8] {
        let row = &self.buffer[self.start..self.start + self.length];
        let row = row.strip_suffix(b"\n").unwrap_or(row);
        row.strip_suffix(b"\r").unwrap_or(row)
    }

    /// Goes to the next row. Blank lines are no rows.
    pub(super) fn next(&mut self) -> io::Result<Next> {
        loop {
            self.start += self.length;
            self.length = 0;
            self.row_line = self.next_line;
            match self.scan()? {
                Scan::End => return Ok(Next::End),
                Scan::Row { end, lines } => {
                    self.take(end, lines);
                    let blank = self.cells.len() == 1 && self.raw().trim_ascii().is_empty();
                    if !blank {
                        return Ok(Next::Row);
                    }
                }
                Scan::Bad {
                    reason,
                    quote,
                    lines_before,
                } => {
                    self.cells.clear();
                    self.resume_after_line_of(quote.unwrap_or(0), lines_before)?;
                    return Ok(Next::Bad(reason));
                }
            }
        }
    }

    fn take(&mut self, length: usize, lines: u64) {
        self.length = length;
        self.bytes += length as u64;
        self.next_line += lines;
    }

    /// Ends a bad row with the line that holds the byte `at`. Of a line longer than the limit the end is left out
    /// without being kept.
    fn resume_after_line_of(&mut self, at: usize, lines_before: u64) -> io::Result<()> {
        let mut from = at;
        loop {
            let seen = &self.buffer[self.start..self.filled];
            if let Some(found) = seen[from..].iter().position(|&byte| byte == b'\n') {
                let end = from + found + 1;
                self.take(end, lines_before + 1);
                return Ok(());
            }
            from = seen.len();
            if from > self.limits.row_bytes {
                // Keep the start of the row for the rejects file, forget the middle.
                let kept = from.min(1024);
                self.bytes += (from - kept) as u64;
                self.filled = self.start + kept;
                from = kept;
            }
            if !self.fill()? {
                self.take(from, lines_before);
                return Ok(());
            }
        }
    }

    fn scan(&mut self) -> io::Result<Scan> {
        self.cells.clear();
        if self.filled == self.start && !self.fill()? {
            return Ok(Scan::End);
        }
        let mut at = 0;
        let mut lines = 0;
        loop {
            let (next, over) = if self.byte(at)? == Some(b'"') {
                match self.quoted(at, lines)? {
                    Ok((next, over, newlines)) => {
                        lines += newlines;
                        (next, over)
                    }
                    Err(bad) => return Ok(bad),
                }
            } else {
                match self.unquoted(at, lines)? {
                    Ok(done) => done,
                    Err(bad) => return Ok(bad),
                }
            };
            at = next;
            if over {
                let closed = at > 0 && self.buffer[self.start + at - 1] == b'\n';
                return Ok(Scan::Row {
                    end: at,
                    lines: lines + u64::from(closed),
                });
            }
        }
    }

    /// A cell that does not begin with a quote: where the next begins, and whether the row is over.
    fn unquoted(&mut self, from: usize, lines_before: u64) -> io::Result<Result<(usize, bool), Scan>> {
        let delimiter = self.delimiter;
        let mut at = from;
        loop {
            let seen = &self.buffer[self.start..self.filled];
            let found = seen[at..].iter().position(|&byte| byte == delimiter || byte == b'\n');
            at = found.map_or(seen.len(), |found| at + found);
            if let Some(reason) = self.over_limit(from, at) {
                return Ok(Err(Scan::Bad {
                    reason,
                    quote: Some(from),
                    lines_before,
                }));
            }
            if found.is_some() {
                let ends_row = self.buffer[self.start + at] == b'\n';
                let before = self.buffer[self.start + from..self.start + at].last();
                let end = at - usize::from(ends_row && before == Some(&b'\r'));
                self.cells.push((from..end, false));
                return Ok(Ok((at + 1, ends_row)));
            }
            if !self.fill()? {
                self.cells.push((from..at, false));
                return Ok(Ok((at, true)));
            }
        }
    }

    /// A cell in quotes: where the next begins, whether the row is over, and the line ends inside.
    fn quoted(&mut self, open: usize, lines_before: u64) -> io::Result<Result<(usize, bool, u64), Scan>> {
        let line = self.row_line + lines_before;
        let bad = |reason: String| {
            Ok(Err(Scan::Bad {
                reason,
                quote: Some(open),
                lines_before,
            }))
        };
        let mut at = open + 1;
        let mut lines = 0;
        let mut doubled = false;
        loop {
            let seen = &self.buffer[self.start..self.filled];
            let found = seen[at..].iter().position(|&byte| byte == b'"' || byte == b'\n');
            at = found.map_or(seen.len(), |found| at + found);
            if at - open - 1 > self.limits.field_bytes {
                return bad(format!(
                    "the quote opened on line {line} is not closed within {} bytes: close it, or raise `max_field_bytes`",
                    self.limits.field_bytes
                ));
            }
            if let Some(reason) = self.over_limit(open + 1, at) {
                return bad(reason);
            }
            if found.is_none() {
                if !self.fill()? {
                    return bad(format!(
                        "the quote opened on line {line} is not closed before the end of the file: close it"
                    ));
                }
                continue;
            }
            if self.buffer[self.start + at] == b'\n' {
                lines += 1;
                at += 1;
                continue;
            }
            let after = match self.byte(at + 1)? {
                Some(b'\r') if matches!(self.byte(at + 2)?, Some(b'\n') | None) => (2, true),
                Some(b'\n') => (1, true),
                None => (0, true),
                Some(b'"') => {
                    doubled = true;
                    at += 2;
                    continue;
                }
                Some(byte) if byte == self.delimiter => (1, false),
                Some(_) => {
                    return bad(format!(
                        "text follows the closing quote of the field that opened on line {line}: double the quotes \
                         inside a quoted field"
                    ));
                }
            };
            self.cells.push((open + 1..at, doubled));
            let (skipped, over) = after;
            let next = (at + 1 + skipped).min(self.filled - self.start);
            return Ok(Ok((next, over, lines)));
        }
    }

    fn over_limit(&self, from: usize, to: usize) -> Option<String> {
        if to - from > self.limits.field_bytes {
            return Some(format!(
                "a field is longer than {} bytes: shorten it, or raise `max_field_bytes`",
                self.limits.field_bytes
            ));
        }
        (to > self.limits.row_bytes).then(|| format!("the row is longer than {} bytes", self.limits.row_bytes))
    }

    fn byte(&mut self, at: usize) -> io::Result<Option<u8>> {
        while self.start + at >= self.filled {
            if !self.fill()? {
                return Ok(None);
            }
        }
        Ok(Some(self.buffer[self.start + at]))
    }

    /// Reads more; false at the end of the file. The present row moves to the front of the buffer.
    fn fill(&mut self) -> io::Result<bool> {
        if self.at_end {
            return Ok(false);
        }
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.filled, 0);
            self.filled -= self.start;
            self.start = 0;
        }
        if self.buffer.len() - self.filled < CHUNK {
            self.buffer.resize(self.filled + CHUNK, 0);
        }
        loop {
            match self.input.read(&mut self.buffer[self.filled..]) {
                Ok(0) => {
                    self.at_end = true;
                    return Ok(false);
                }
                Ok(read) => {
                    self.filled += read;
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
