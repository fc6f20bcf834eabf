//! Texts of others as parts of an address, so that no id can change which address it is.

use crate::error::SendError;

/// Longest external id, in bytes: what a text field used as external id holds in Salesforce.
const SEGMENT_MAX_BYTES: usize = 255;

/// One segment of a path. Everything but letters, digits, `-`, `_`, `~` and `.` is percent-encoded.
///
/// # Errors
/// Empty, overlong, and the texts `.` and `..`, which an address cannot hold as a segment however they are encoded.
pub(crate) fn segment(object: &str, value: &str) -> Result<String, SendError> {
    if value.is_empty() || value == "." || value == ".." || value.len() > SEGMENT_MAX_BYTES {
        return Err(SendError::refused(
            object,
            "BAD_ID",
            "the id is empty, too long or cannot stand in an address",
            "correct the id of this record in the import",
        ));
    }
    Ok(encode(value))
}

/// A value of a query.
pub(crate) fn encode(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~' | b'.') {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_characters_stay_inside_their_segment() {
        let odd = "a/b?c#d%2e e\té&=+;..\\";
        let encoded = segment("Account", odd).expect("an id");
        assert_eq!(encoded, "a%2Fb%3Fc%23d%252e%20e%09%C3%A9%26%3D%2B%3B..%5C");
        let url = reqwest::Url::parse(&format!("https://x.example/sobjects/Account/{encoded}/tail")).expect("a URL");
        assert_eq!(url.path_segments().expect("segments").count(), 4);
        assert_eq!(url.query(), None);
    }

    #[test]
    fn ids_that_an_address_cannot_hold_are_refused() {
        for bad in ["", ".", "..", &"x".repeat(256)] {
            assert!(segment("Account", bad).is_err(), "{bad}");
        }
    }
}
