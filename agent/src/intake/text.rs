//! Bytes of a cell to text.

use std::borrow::Cow;

/// How the bytes of a file stand for characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Utf8,
    Latin1,
    Windows1252,
}

impl Encoding {
    pub(super) const WORDS: &'static [&'static str] = &["utf-8", "latin-1", "windows-1252"];

    pub(super) fn from_word(word: &str) -> Option<Encoding> {
        match word.to_ascii_lowercase().as_str() {
            "utf-8" | "utf8" => Some(Encoding::Utf8),
            "latin-1" | "latin1" | "iso-8859-1" => Some(Encoding::Latin1),
            "windows-1252" | "cp1252" => Some(Encoding::Windows1252),
            _ => None,
        }
    }

    /// The text of a cell, without white space around it.
    pub(super) fn decode(self, bytes: &[u8]) -> Result<Cow<'_, str>, String> {
        let bytes = bytes.trim_ascii();
        let text = if bytes.is_ascii() || self == Encoding::Utf8 {
            let text = std::str::from_utf8(bytes).map_err(|error| {
                format!(
                    "byte {} of this cell is not UTF-8: set `encoding` to \"latin-1\" or \"windows-1252\", or save the \
                     file as UTF-8",
                    error.valid_up_to() + 1
                )
            })?;
            Cow::Borrowed(text.trim())
        } else {
            let text: String = bytes
                .iter()
                .map(|&byte| self.character(byte))
                .collect::<Result<_, String>>()?;
            Cow::Owned(text.trim().to_owned())
        };
        match text {
            Cow::Borrowed(text) => plain(text),
            Cow::Owned(text) => Ok(Cow::Owned(plain(&text)?.into_owned())),
        }
    }

    fn character(self, byte: u8) -> Result<char, String> {
        match (self, byte) {
            (Encoding::Windows1252, 0x80..=0x9f) => match WINDOWS_1252[usize::from(byte - 0x80)] {
                '\0' => Err(format!("byte {byte:#04x} stands for nothing in windows-1252")),
                character => Ok(character),
            },
            (Encoding::Utf8 | Encoding::Latin1 | Encoding::Windows1252, _) => Ok(char::from(byte)),
        }
    }
}

/// A text without white space around it, unless no database could hold it.
pub(super) fn plain(text: &str) -> Result<Cow<'_, str>, String> {
    if text.contains('\0') {
        return Err("contains the character U+0000: remove it from the export".to_owned());
    }
    Ok(Cow::Borrowed(text.trim()))
}

/// Characters of the bytes 0x80 to 0x9f; five of them are not used.
const WINDOWS_1252: [char; 32] = [
    '€', '\0', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\0', 'Ž', '\0', '\0', '‘', '’', '“', '”', '•',
    '–', '—', '˜', '™', 'š', '›', 'œ', '\0', 'ž', 'Ÿ',
];

/// The first characters of a text, for messages.
pub(super) fn cut(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
