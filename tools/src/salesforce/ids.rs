//! Ids of Salesforce: 15 characters in which the case counts, and three more that say it again.

/// Letters of the last three characters: each stands for five of the first fifteen, a bit for every capital.
const CHECK: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";

/// Whether a text can be an id: 15 letters and digits, or 18 of which the last three fit the others.
pub(super) fn is_whole(id: &str) -> bool {
    let bytes = id.as_bytes();
    if !bytes.iter().all(u8::is_ascii_alphanumeric) {
        return false;
    }
    match bytes.split_at_checked(15) {
        Some((_, [])) => true,
        Some((own, check)) if check.len() == 3 => own.chunks(5).zip(check).all(|(five, letter)| {
            let capitals = five.iter().enumerate().filter(|(_, byte)| byte.is_ascii_uppercase());
            let bits: usize = capitals.map(|(place, _)| 1 << place).sum();
            CHECK.get(bits) == Some(letter)
        }),
        Some(_) | None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::is_whole;

    #[test]
    fn an_id_whose_case_was_lost_does_not_fit_its_last_three_characters() {
        for good in [
            "001000000000001",
            "001000000000001AAA",
            "001A0000006Vm9rIAC",
            "00Dx0000000BV7zEAG",
        ] {
            assert!(is_whole(good), "{good}");
        }
        assert!(!is_whole("00dx0000000bv7zeag"));
        assert!(!is_whole("00DX0000000BV7ZEAG"));
        for bad in [
            "",
            "001",
            "001000000000001AA",
            "001000000000001AA-",
            "0010000000000010000",
        ] {
            assert!(!is_whole(bad), "{bad}");
        }
    }
}
