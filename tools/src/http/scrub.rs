//! Takes out of a vendor's message what the vendor quotes from our request, so that errors hold no customer text.
//!
//! Vendors quote values in full, cut short, in another case, or inside other quoting. So we do not look for whole values
//! but for runs of characters that also stand in what we sent.

use std::collections::HashSet;

use serde_json::Value;

use crate::error::MESSAGE_MAX_CHARS;

/// Letters and digits in a row that count as a quotation: shorter runs meet by chance in most English sentences.
const RUN: usize = 10;

/// Longest message that is looked at, in characters: several times what is kept.
const LOOK_MAX_CHARS: usize = 2_000;

/// Stands where something was taken out.
const GAP: char = '…';

/// Keys whose values name fields, not customers.
const NAMES: [&str; 1] = ["idProperty"];

/// The message on one line, at most [`MESSAGE_MAX_CHARS`] long, without texts of the request and without mail addresses.
pub(crate) fn scrub(message: &str, sent: Option<&Value>) -> String {
    let line: Vec<char> = message
        .chars()
        .map(|c| if c.is_control() || c.is_whitespace() { ' ' } else { c })
        .take(LOOK_MAX_CHARS)
        .collect();
    // Only letters and digits are compared: quoting and escaping change everything else.
    let solid: Vec<(usize, char)> = line
        .iter()
        .enumerate()
        .filter(|(_, c)| c.is_alphanumeric())
        .map(|(at, c)| (at, fold(*c)))
        .collect();
    let letters: Vec<char> = solid.iter().map(|(_, c)| *c).collect();
    let mut runs: HashSet<Vec<char>> = HashSet::new();
    let mut short: HashSet<Vec<char>> = HashSet::new();
    if let Some(sent) = sent {
        each_text(sent, &mut |text| {
            let chars: Vec<char> = text.chars().filter(|c| c.is_alphanumeric()).map(fold).collect();
            if chars.len() >= RUN {
                runs.extend(chars.windows(RUN).map(<[char]>::to_vec));
            } else if !chars.is_empty() {
                short.insert(chars);
            }
        });
    }
    let mut hidden = vec![false; line.len()];
    let mut hide = |first: usize, length: usize| hidden[solid[first].0..=solid[first + length - 1].0].fill(true);
    for (first, run) in letters.windows(RUN).enumerate() {
        if runs.contains(run) {
            hide(first, RUN);
        }
    }
    for word in &short {
        for (first, run) in letters.windows(word.len()).enumerate() {
            if run == word.as_slice() && stands_alone(&line, solid[first].0, solid[first + word.len() - 1].0) {
                hide(first, word.len());
            }
        }
    }
    for (start, end) in words(&line) {
        if line[start..end].contains(&'@') {
            hidden[start..end].fill(true);
        }
    }
    let mut text = String::new();
    for (c, hidden) in line.iter().zip(hidden) {
        let c = if hidden { GAP } else { *c };
        if !(matches!(c, GAP | ' ') && text.ends_with(c)) {
            text.push(c);
        }
    }
    text.trim().chars().take(MESSAGE_MAX_CHARS).collect()
}

fn fold(c: char) -> char {
    c.to_lowercase().next().unwrap_or(c)
}

/// Whether no letter or digit touches the part from `first` to `last`.
fn stands_alone(line: &[char], first: usize, last: usize) -> bool {
    let touches = |at: Option<usize>| at.and_then(|at| line.get(at)).is_some_and(|c| c.is_alphanumeric());
    !touches(first.checked_sub(1)) && !touches(last.checked_add(1))
}

/// Calls `with` for every text and number among the values of a request; names of fields are not values.
fn each_text(value: &Value, with: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => with(text),
        Value::Array(values) => values.iter().for_each(|value| each_text(value, with)),
        Value::Object(fields) => fields
            .iter()
            .filter(|(name, _)| !NAMES.contains(&name.as_str()))
            .for_each(|(_, value)| each_text(value, with)),
        Value::Number(number) => with(&number.to_string()),
        Value::Null | Value::Bool(_) => {}
    }
}

/// Words as in mail addresses, from and to.
fn words(chars: &[char]) -> Vec<(usize, usize)> {
    let inside = |c: char| c.is_alphanumeric() || matches!(c, '@' | '.' | '-' | '_' | '+');
    let mut bounds = Vec::new();
    let mut start = None;
    for (i, c) in chars.iter().chain(std::iter::once(&' ')).enumerate() {
        match (start, inside(*c)) {
            (None, true) => start = Some(i),
            (Some(from), false) => {
                bounds.push((from, i));
                start = None;
            }
            (None, false) | (Some(_), true) => {}
        }
    }
    bounds
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn quoted_values_disappear_and_the_reason_stays() {
        let sent = json!({"Subject": "Call Maria Lopez about the late invoice", "Priority": "High"});
        let text = scrub(
            "Subject: data value too large: CALL MARIA LOPEZ about the la (max length=255)",
            Some(&sent),
        );
        assert_eq!(text, "Subject: data value too large: … (max length=255)");
        assert_eq!(
            scrub("bad value for restricted picklist field: High", Some(&sent)),
            "bad value for restricted picklist field: …"
        );
    }

    #[test]
    fn a_value_inside_other_quoting_disappears() {
        let sent = json!({"inputs": [{"properties": {"hs_task_subject": "Ana said \"no\" to the price"}}]});
        let text = scrub(r#"[{\"value\":\"Ana said \\\"no\\\" to the price\"}]"#, Some(&sent));
        assert!(!text.contains("Ana said") && !text.contains("the price"), "{text}");
    }

    #[test]
    fn mail_addresses_and_length_are_cut() {
        assert_eq!(scrub("owner bob@acme.example is gone\n^", None), "owner … is gone ^");
        let cut = scrub(&"é ".repeat(500), None);
        assert!(cut.chars().count() <= MESSAGE_MAX_CHARS);
    }
}
