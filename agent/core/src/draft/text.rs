//! Customer text on its way into a document: cleaned, then escaped, so that it shows as text and as nothing else.
//!
//! Cleaning drops what a reader cannot see (control, format, bidi-control, tag and private-use characters, joiners
//! included) and turns every run of white space into one space. It never shortens: a long name stays long.

/// First of the two marks that enclose the number of a figure between rendering and finishing. Both are private-use
/// characters: cleaning removes them from customer text and the template lint refuses them in templates.
pub(super) const MARK_OPEN: char = '\u{E000}';
/// Second of the two marks.
pub(super) const MARK_CLOSE: char = '\u{E001}';

/// Whether a reader cannot see this character (Unicode default-ignorable, control, private use, not a character).
pub(super) fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(u32::from(c),
            0xAD | 0x34F | 0x61C | 0x115F | 0x1160 | 0x17B4 | 0x17B5 | 0x180B..=0x180F | 0x200B..=0x200F
            | 0x202A..=0x202E | 0x2060..=0x206F | 0x3164 | 0xE000..=0xF8FF | 0xFDD0..=0xFDEF | 0xFE00..=0xFE0F
            | 0xFEFF | 0xFFA0 | 0xFFF0..=0xFFFB | 0x1BCA0..=0x1BCA3 | 0x1D173..=0x1D17A | 0xE0000..=0xE0FFF
            | 0xF0000..=0x10_FFFF)
        || u32::from(c) & 0xFFFE == 0xFFFE
}

/// The visible part of a text, on one line.
#[must_use]
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_whitespace() {
            if !out.is_empty() && !out.ends_with(' ') {
                out.push(' ');
            }
        } else if !is_hidden(c) {
            out.push(c);
        }
    }
    out.truncate(out.trim_end().len());
    out
}

/// Cleaned text as Markdown that reads as exactly this text: no emphasis, heading, list, table cell, link, image,
/// code, footnote, entity or element comes out of it, and no `https://` or `www.` that a reader would link by itself.
#[must_use]
pub fn escape_markdown(text: &str) -> String {
    let text = clean(text);
    let mut out = String::with_capacity(text.len() + 8);
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    for (at, c) in text.char_indices() {
        let rest = &text[at + c.len_utf8()..];
        // `12. x` would begin a list, `12.4` would not.
        let after_number = digits > 0 && at == digits && (rest.is_empty() || rest.starts_with(' '));
        let special = match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '~' | '&' | '{' | '}' | '@' | '$' | '^' => {
                true
            }
            // These mean something at the start of a line only.
            '-' | '+' | '=' => at == 0,
            ')' => after_number,
            ':' => at == 0 || rest.starts_with('/'),
            '.' => after_number || ends_with_www(&text[..at]),
            _ => false,
        };
        if special {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn ends_with_www(before: &str) -> bool {
    before.len() >= 3 && before.as_bytes()[before.len() - 3..].eq_ignore_ascii_case(b"www")
}

/// Text for HTML content and quoted attributes.
#[must_use]
pub fn escape_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}

/// Whether a character belongs to a script written from right to left.
pub(super) fn is_right_to_left(c: char) -> bool {
    matches!(u32::from(c), 0x590..=0x8FF | 0xFB1D..=0xFDFF | 0xFE70..=0xFEFE | 0x10800..=0x10FFF | 0x1E800..=0x1EFFF)
}

/// The candidate most like `word`, when one is near enough to be what was meant.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// `did you mean` for the candidate most like `word`.
pub(super) fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(word, candidates).map(|name| format!("did you mean `{name}`?"))
}
