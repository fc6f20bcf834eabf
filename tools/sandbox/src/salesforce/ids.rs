//! Salesforce ids: 15 characters that tell case apart, and three more that make them safe where case is lost.

/// Letters of an id, in ASCII order, so that later ids sort later.
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Letters of the checksum: one for each pattern of five capital or other characters.
const CHECK: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";

/// The 18-character form of a 15- or 18-character id, or nothing when it is neither or the checksum is wrong.
pub(crate) fn canonical(text: &str) -> Option<String> {
    if !text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    match text.len() {
        15 => Some(complete(text)),
        18 => {
            let whole = complete(text.get(..15)?);
            // The vendor takes the checksum in either case.
            whole.eq_ignore_ascii_case(text).then_some(whole)
        }
        _ => None,
    }
}

/// The id number `number` of the objects with this prefix.
pub(crate) fn make(prefix: &str, number: u64) -> String {
    let mut tail = [b'0'; 9];
    let mut rest = number;
    for slot in tail.iter_mut().rev() {
        *slot = DIGITS.get((rest % 62) as usize).copied().unwrap_or(b'0');
        rest /= 62;
    }
    // "Sb" stands where the vendor puts the server that made the record, "0" is reserved.
    complete(&format!("{prefix}Sb0{}", String::from_utf8_lossy(&tail)))
}

fn complete(short: &str) -> String {
    let mut whole = short.to_owned();
    for chunk in short.as_bytes().chunks(5) {
        let pattern = chunk
            .iter()
            .enumerate()
            .filter(|(_, byte)| byte.is_ascii_uppercase())
            .fold(0_usize, |pattern, (at, _)| pattern | (1 << at));
        whole.push(char::from(CHECK.get(pattern).copied().unwrap_or(b'A')));
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::{canonical, make};

    #[test]
    fn fifteen_characters_become_the_eighteen_that_salesforce_shows() {
        assert_eq!(canonical("001A0000006Vm9r").as_deref(), Some("001A0000006Vm9rIAC"));
        assert_eq!(canonical("001A0000006Vm9rIAC").as_deref(), Some("001A0000006Vm9rIAC"));
    }

    #[test]
    fn a_wrong_checksum_or_length_is_no_id() {
        assert_eq!(canonical("001A0000006Vm9rIAD"), None);
        assert_eq!(canonical("001A0000006Vm9r1"), None);
        assert_eq!(canonical("001A000000-Vm9r"), None);
    }

    #[test]
    fn later_ids_sort_later() {
        let ids: Vec<String> = [1, 9, 10, 35, 36, 61, 62, 4_000]
            .iter()
            .map(|number| make("001", *number))
            .collect();
        assert!(ids.is_sorted());
        assert!(ids.iter().all(|id| canonical(id).as_deref() == Some(id)));
    }
}
