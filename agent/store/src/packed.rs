//! Long texts that are kept for every account and every run: compressed, so that a portfolio's history fits a disk.

use std::io::Read as _;

use crate::error::{Result, StoreError};

/// First bytes of a Zstandard frame (RFC 8878, 3.1.1). No text of ours begins with them: the second is not UTF-8.
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Fastest of the usual levels: a run compresses every decision.
const LEVEL: i32 = 1;
/// Bytes that a stored text may have. A decision has tens of thousands.
const MAX_BYTES: u64 = 1 << 30;

/// A text, compressed with Zstandard. Hashes are of the text, never of this.
#[derive(Clone, PartialEq, Eq)]
pub struct Packed(Vec<u8>);

impl Packed {
    /// Compresses a text.
    #[must_use]
    pub fn of(text: &str) -> Packed {
        // Compressing into memory fails only where there is none; the text itself can be stored as well.
        Packed(zstd::bulk::compress(text.as_bytes(), LEVEL).unwrap_or_else(|_| text.as_bytes().to_vec()))
    }

    /// What a column held: compressed, or the text itself where an older version wrote it.
    pub(crate) fn stored(bytes: Vec<u8>) -> Packed {
        Packed(bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text.
    ///
    /// # Errors
    /// [`StoreError::Pruned`] when it was removed; [`StoreError::Corrupt`] when the bytes are not what was written.
    pub fn text(&self) -> Result<String> {
        let corrupt = |detail: String| StoreError::Corrupt {
            what: "compressed text",
            detail,
        };
        if self.0.is_empty() {
            return Err(StoreError::Pruned);
        }
        let bytes = if self.0.starts_with(&MAGIC) {
            let mut bytes = Vec::with_capacity(self.0.len() * 8);
            let decoder = zstd::Decoder::new(self.0.as_slice()).map_err(|error| corrupt(error.to_string()))?;
            let read = decoder.take(MAX_BYTES + 1).read_to_end(&mut bytes);
            read.map_err(|error| corrupt(error.to_string()))?;
            if bytes.len() as u64 > MAX_BYTES {
                return Err(corrupt(format!("more than {MAX_BYTES} bytes")));
            }
            bytes
        } else {
            self.0.clone()
        };
        String::from_utf8(bytes).map_err(|_| corrupt("not UTF-8".to_owned()))
    }
}

impl std::fmt::Debug for Packed {
    // Customer data: not shown.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Packed({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_comes_back_and_is_smaller() {
        let text = "{\"account\":\"Ü-1\",\"value\":1}".repeat(200);
        let packed = Packed::of(&text);
        assert!(packed.as_bytes().len() * 6 < text.len());
        assert_eq!(packed.text().expect("reads"), text);
        assert_eq!(Packed::of("").text().expect("reads"), "");
    }

    #[test]
    fn text_of_an_older_version_is_read_as_it_is() {
        assert_eq!(
            Packed::stored(b"{\"a\":1}".to_vec()).text().expect("reads"),
            "{\"a\":1}"
        );
    }

    #[test]
    fn altered_bytes_are_told() {
        let mut bytes = Packed::of(&"a text of a decision ".repeat(50)).as_bytes().to_vec();
        bytes.truncate(bytes.len() - 3);
        assert!(matches!(Packed::stored(bytes).text(), Err(StoreError::Corrupt { .. })));
        assert!(matches!(
            Packed::stored(vec![0xff, 0xfe]).text(),
            Err(StoreError::Corrupt { .. })
        ));
    }
}
