//! The first reading of a template: its tags and the text between them, with exact places.
//!
//! This finds what the template engine reports late or not at all: an unclosed block at the place where it was opened,
//! `{{{`, a digit typed into the text. What a tag means is judged in [`super::lint`].

use super::template::TemplateProblem;
use super::text::is_hidden;

/// A tag with the place of its `{{` and the text inside.
#[derive(Debug, Clone)]
pub(super) struct Tag {
    pub(super) line: usize,
    pub(super) column: usize,
    /// Offset of the `{{`.
    at: usize,
    /// Offset behind the `}}`.
    end: usize,
}

/// A template that was read once.
#[derive(Debug, Clone)]
pub(super) struct Scan {
    text: String,
    tags: Vec<Tag>,
}

/// Line and column, both from 1, of a byte offset; columns count characters.
pub(super) fn position(text: &str, at: usize) -> (usize, usize) {
    let mut end = at.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = &text[..end];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

impl Scan {
    /// The place of `word` inside the tag that starts at a place, or that place when it cannot be found.
    pub(super) fn locate(&self, line: usize, column: usize, word: &str) -> (usize, usize) {
        let Some(tag) = self.tags.iter().find(|t| t.line == line && t.column == column) else {
            return (line, column);
        };
        let inside = &self.text[tag.at..tag.end];
        match find_word(inside, word) {
            Some(at) => position(&self.text, tag.at + at),
            None => (line, column),
        }
    }

    /// The first tag at or behind a place that names `word`: blocks behind `else` carry no place of their own.
    pub(super) fn locate_after(&self, line: usize, column: usize, word: &str) -> (usize, usize) {
        self.tags
            .iter()
            .filter(|t| (t.line, t.column) >= (line, column))
            .find_map(|t| find_word(&self.text[t.at..t.end], word).map(|at| position(&self.text, t.at + at)))
            .unwrap_or((line, column))
    }
}

fn find_word(inside: &str, word: &str) -> Option<usize> {
    let part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    inside
        .match_indices(word)
        .map(|(at, _)| at)
        .find(|&at| !inside[..at].ends_with(part) && !inside[at + word.len()..].starts_with(part))
}

/// Reads a template. Problems are added in the order of the text.
pub(super) fn scan(file: &str, text: &str, problems: &mut Vec<TemplateProblem>) -> Scan {
    let mut reader = Reader {
        file,
        text,
        problems,
        open: Vec::new(),
        tags: Vec::new(),
    };
    reader.read();
    let tags = reader.tags;
    Scan {
        text: text.to_owned(),
        tags,
    }
}

struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    problems: &'a mut Vec<TemplateProblem>,
    /// Blocks that wait for their end, with the offset of their tag.
    open: Vec<(&'a str, usize)>,
    tags: Vec<Tag>,
}

impl<'a> Reader<'a> {
    fn problem(&mut self, at: usize, message: impl Into<String>, help: Option<&str>) {
        let (line, column) = position(self.text, at);
        self.problems.push(TemplateProblem {
            file: self.file.to_owned(),
            line,
            column,
            message: message.into(),
            help: help.map(str::to_owned),
        });
    }

    fn read(&mut self) {
        let mut at = 0;
        while let Some(found) = self.text[at..].find("{{") {
            let start = at + found;
            self.words(at, start);
            if self.text[..start].ends_with('\\') {
                self.problem(
                    start - 1,
                    "`\\{{` would print the tag itself",
                    Some("take the `\\` away"),
                );
            }
            match self.tag(start) {
                Some(end) => at = end,
                None => return,
            }
        }
        self.words(at, self.text.len());
        for (name, at) in std::mem::take(&mut self.open) {
            self.problem(
                at,
                format!("the block `{{{{#{name}}}}}` is never closed"),
                Some(&format!("add `{{{{/{name}}}}}` where it should end")),
            );
        }
    }

    /// Text outside tags: neither digits nor characters that nobody can see.
    fn words(&mut self, from: usize, to: usize) {
        let mut in_number = false;
        for (at, c) in self.text[from..to].char_indices() {
            if c.is_numeric() && !in_number {
                self.problem(
                    from + at,
                    "a digit is typed into the template",
                    Some("a number in a document is a figure with evidence: write `{{fig \"…\"}}`, or say it in words"),
                );
            }
            in_number = c.is_numeric() || (in_number && matches!(c, '.' | ','));
            if is_hidden(c) && !c.is_whitespace() {
                self.problem(
                    from + at,
                    format!("an invisible character (U+{:04X})", u32::from(c)),
                    Some("delete it"),
                );
            }
            if c == '<'
                && self.text[from + at + 1..].starts_with(|n: char| n.is_ascii_alphabetic() || matches!(n, '/' | '!'))
            {
                self.problem(
                    from + at,
                    "HTML in a template",
                    Some("templates are Markdown; the page is made from it"),
                );
            }
        }
    }

    /// One tag; gives the offset behind it, or nothing when it never ends.
    fn tag(&mut self, start: usize) -> Option<usize> {
        let text = self.text;
        let rest = &text[start..];
        let (line, column) = position(text, start);
        for comment in ["{{!--", "{{~!--"] {
            if rest.starts_with(comment) {
                return self
                    .end(start, "--", "a comment is never closed", "end it with `--}}`")
                    .and_then(|end| self.end(end, "}}", "a comment is never closed", "end it with `--}}`"));
            }
        }
        let unescaped = ["{{{", "{{~{", "{{&", "{{~&"].iter().any(|open| rest.starts_with(open));
        if unescaped {
            self.problem(
                start,
                "`{{{` and `{{&` print text as markup, which is refused",
                Some("write `{{…}}`: customer text is always shown as text"),
            );
        }
        let mut end = self.end(start, "}}", "a tag is never closed", "end it with `}}`")?;
        while unescaped && text[end..].starts_with('}') {
            end += 1;
        }
        self.tags.push(Tag {
            line,
            column,
            at: start,
            end,
        });
        let inside = text[start + 2..end].trim_end_matches('}').trim_matches('~').trim();
        let named = |skip: usize| inside[skip..].split_whitespace().next().unwrap_or_default();
        match inside.as_bytes().first() {
            _ if unescaped => {}
            Some(b'#') if matches!(inside.as_bytes().get(1), Some(b'*' | b'>')) => {
                self.problem(
                    start,
                    "blocks that define or fill partials are not used here",
                    Some("put the text into a file of `partials/` and write `{{> name}}`"),
                );
                self.open.push((named(2), start));
            }
            Some(b'#') => {
                let name = named(1);
                self.open.push((name, start));
            }
            Some(b'/') => self.close(start, named(1)),
            Some(b'*') => self.problem(start, "decorators are not used here", None),
            Some(b'^') => self.problem(start, "`{{^}}` is hard to read", Some("write `{{else}}`")),
            Some(b'!') => {}
            _ if named(0) == "else" && self.open.is_empty() => {
                self.problem(start, "`{{else}}` stands outside any block", None);
            }
            _ => {}
        }
        Some(end)
    }

    fn close(&mut self, start: usize, name: &'a str) {
        match self.open.pop() {
            None => self.problem(
                start,
                format!("`{{{{/{name}}}}}` closes a block that was never opened"),
                None,
            ),
            Some((opened, at)) if opened != name => {
                let (line, _) = position(self.text, at);
                self.problem(
                    start,
                    format!("`{{{{/{name}}}}}` stands where `{{{{/{opened}}}}}` should: `{{{{#{opened}}}}}` was opened on line {line}"),
                    Some(&format!("close `{opened}` first")),
                );
                // When the block that is named here is open further out, close up to it and report only once.
                if let Some(outer) = self.open.iter().rposition(|(open, _)| *open == name) {
                    self.open.truncate(outer);
                }
            }
            Some(_) => {}
        }
    }

    fn end(&mut self, start: usize, close: &str, message: &str, help: &str) -> Option<usize> {
        // A comment `{{!--` contains its own `--`: look behind the opening.
        let skip = if close == "--" {
            self.text[start..].find("!--").map_or(0, |at| at + 3)
        } else {
            0
        };
        match self.text[start + skip..].find(close) {
            Some(at) => Some(start + skip + at + close.len()),
            None => {
                self.problem(start, message, Some(help));
                None
            }
        }
    }
}
