//! Canary drafts: a draft with a mistake that was planted in it, to see whether people read what they approve.
//!
//! A canary stands in for the draft of an action that waits, and is never sent: whatever the answer, the true draft comes back and
//! waits. Which actions get one, and which mistake, follows from their ids. Nothing here knows whether a draft was answered well for
//! other reasons: only mistakes that nobody who has read the draft can take for right are planted.

use serde::{Deserialize, Serialize};

use crate::action::{Effect, Write};
use crate::ids::ActionId;
use crate::replay::Hash;

/// Names of customers that are nobody's.
const NOBODY: [&str; 5] = [
    "Alderpike Freight",
    "Brightwater Foods",
    "Corvane Systems",
    "Delmark Clinics",
    "Eastgate Looms",
];
/// Digits of the smallest amount that is made ten times as large.
const AMOUNT_DIGITS: usize = 4;

/// What is wrong with a canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mistake {
    /// It names another customer.
    OtherCustomer,
    /// An amount is ten times what it was.
    TenTimes,
    /// A date is a year later than it was.
    YearLater,
}

impl Mistake {
    const ALL: [Mistake; 3] = [Mistake::OtherCustomer, Mistake::TenTimes, Mistake::YearLater];
}

/// A mistake in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Defect {
    /// Of which kind.
    pub mistake: Mistake,
    /// Place of the effect in the action, from 0.
    pub step: usize,
    /// Field of its write.
    pub field: String,
    /// What stood there.
    pub was: String,
    /// What stands there now.
    pub is: String,
}

impl Defect {
    /// Whether an edit has taken the mistake out.
    #[must_use]
    pub fn is_mended(&self, effects: &[Effect]) -> bool {
        effects
            .get(self.step)
            .and_then(|effect| texts(&effect.write).into_iter().find(|(name, _)| *name == self.field))
            .is_none_or(|(_, text)| !text.contains(&self.is))
    }
}

/// A draft with a mistake in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canary {
    /// The effects as a person sees them.
    pub effects: Vec<Effect>,
    /// What is wrong with them.
    pub defect: Defect,
}

/// Whether an action is among the `share` (0 to 1) of those whose draft is made a canary once.
#[must_use]
pub fn is_chosen(action: &ActionId, share: f64) -> bool {
    let hash = Hash::of_parts(&["canary", action.as_str()]);
    let number = hash
        .bytes()
        .iter()
        .take(4)
        .fold(0_u32, |n, byte| (n << 8) | u32::from(*byte));
    f64::from(number) < share * f64::from(u32::MAX)
}

/// The draft with one mistake; nothing where it holds nothing that can be got wrong plainly.
#[must_use]
pub fn plant(action: &ActionId, effects: &[Effect]) -> Option<Canary> {
    let hash = Hash::of_parts(&["mistake", action.as_str()]);
    let pick = |place: usize| usize::from(hash.bytes().get(place).copied().unwrap_or(0));
    (0..Mistake::ALL.len()).find_map(|turn| {
        let mistake = Mistake::ALL[(pick(0) + turn) % Mistake::ALL.len()];
        effects.iter().enumerate().find_map(|(step, effect)| {
            // The body is read last, and decides.
            texts(&effect.write).into_iter().rev().find_map(|(field, text)| {
                let (was, is) = mistaken(mistake, text, &effect.target.account_name, pick(1))?;
                let text = match mistake {
                    Mistake::OtherCustomer => text.replace(&was, &is),
                    Mistake::TenTimes | Mistake::YearLater => text.replacen(&was, &is, 1),
                };
                let mut effects = effects.to_vec();
                put(&mut effects.get_mut(step)?.write, field, text);
                Some(Canary {
                    effects,
                    defect: Defect {
                        mistake,
                        step,
                        field: field.to_owned(),
                        was,
                        is,
                    },
                })
            })
        })
    })
}

/// What is replaced in a text, and by what.
fn mistaken(mistake: Mistake, text: &str, customer: &str, pick: usize) -> Option<(String, String)> {
    match mistake {
        Mistake::OtherCustomer => {
            let named = !customer.is_empty() && text.contains(customer);
            let other = NOBODY[pick % NOBODY.len()];
            (named && !customer.contains(other)).then(|| (customer.to_owned(), other.to_owned()))
        }
        Mistake::TenTimes => {
            let was = amount(text)?;
            Some((was.to_owned(), ten_times(was)))
        }
        Mistake::YearLater => {
            let was = date(text)?;
            let (year, rest) = was.split_at(4);
            let year: u32 = year.parse().ok()?;
            Some((was.to_owned(), format!("{}{rest}", year + 1)))
        }
    }
}

/// The first amount of four digits and more that is neither a year nor a part of a date or a word.
fn amount(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if !bytes[at].is_ascii_digit() {
            at += 1;
            continue;
        }
        let begin = at;
        while at < bytes.len() && (bytes[at].is_ascii_digit() || bytes[at] == b',') {
            at += 1;
        }
        let found = text.get(begin..at)?.trim_end_matches(',');
        let end = begin + found.len();
        let joined =
            |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'/'));
        let before = begin.checked_sub(1).and_then(|at| bytes.get(at));
        let digits = found.bytes().filter(u8::is_ascii_digit).count();
        let is_year = !found.contains(',') && digits == 4 && (found.starts_with("19") || found.starts_with("20"));
        let is_part = joined(before) || before == Some(&b'.') || joined(bytes.get(end));
        if digits >= AMOUNT_DIGITS && !is_year && !is_part {
            return Some(found);
        }
    }
    None
}

fn ten_times(amount: &str) -> String {
    let digits: String = amount.chars().filter(char::is_ascii_digit).chain(['0']).collect();
    if !amount.contains(',') {
        return digits;
    }
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// The first date written as `2027-03-14`.
fn date(text: &str) -> Option<&str> {
    (0..text.len()).find_map(|at| {
        let found = text.get(at..at + 10)?;
        let fits = found.bytes().enumerate().all(|(place, byte)| match place {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
        (fits && found.starts_with("20")).then_some(found)
    })
}

/// Texts of a write that a person reads, by field.
fn texts(write: &Write) -> Vec<(&'static str, &str)> {
    match write {
        Write::CreateTask { subject, body, .. } => vec![("subject", subject), ("body", body)],
        Write::CreateNote { title, body } => vec![("title", title), ("body", body)],
        Write::UpdateOpportunity { next_step, .. } => {
            next_step.iter().map(|text| ("next_step", text.as_str())).collect()
        }
        // What a value of a field should be, its text does not say.
        Write::UpdateAccount { .. } | Write::SetContactRole { .. } => Vec::new(),
    }
}

fn put(write: &mut Write, field: &str, text: String) {
    match (write, field) {
        (Write::CreateTask { subject, .. }, "subject") => *subject = text,
        (Write::CreateTask { body, .. } | Write::CreateNote { body, .. }, "body") => *body = text,
        (Write::CreateNote { title, .. }, "title") => *title = text,
        (Write::UpdateOpportunity { next_step, .. }, "next_step") => *next_step = Some(text),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::Target;
    use crate::ids::{AccountId, EffectId};
    use crate::signal::Crm;

    fn note(body: &str) -> Vec<Effect> {
        let action = ActionId::new("act_1");
        vec![Effect {
            id: EffectId::derive(&action, 0),
            action,
            step: 0,
            tool: Crm::Salesforce,
            target: Target {
                account: AccountId::new("A-1"),
                account_name: "Northwind Traders".to_owned(),
                crm_id: None,
            },
            write: Write::CreateNote {
                title: "Renewal".to_owned(),
                body: body.to_owned(),
            },
        }]
    }

    fn body(effects: &[Effect]) -> &str {
        texts(&effects[0].write)[1].1
    }

    #[test]
    fn one_mistake_is_planted_that_an_edit_can_mend() {
        let text = "Northwind Traders renews on 2027-03-14 at 12,400 EUR, 300 seats.";
        let mut seen = std::collections::BTreeSet::new();
        for n in 0..60 {
            let action = ActionId::new(format!("act_{n}"));
            let true_draft = note(text);
            let canary = plant(&action, &true_draft).expect("a mistake");
            assert_eq!(plant(&action, &true_draft), Some(canary.clone()), "the same each time");
            assert_ne!(canary.effects, true_draft);
            assert_eq!(canary.effects[0].id, true_draft[0].id);
            assert!(!canary.defect.is_mended(&canary.effects));
            assert!(canary.defect.is_mended(&true_draft));
            seen.insert(body(&canary.effects).to_owned());
        }
        assert!(
            seen.contains("Northwind Traders renews on 2028-03-14 at 12,400 EUR, 300 seats."),
            "{seen:?}"
        );
        assert!(
            seen.contains("Northwind Traders renews on 2027-03-14 at 124,000 EUR, 300 seats."),
            "{seen:?}"
        );
        assert!(seen.iter().any(|text| !text.contains("Northwind")), "{seen:?}");
    }

    #[test]
    fn what_cannot_be_got_wrong_plainly_is_left_alone() {
        let action = ActionId::new("act_1");
        for text in ["Call them.", "Since 2019, see case-12345 and v1.20000.", ""] {
            assert_eq!(plant(&action, &note(text)), None, "{text}");
        }
        assert_eq!(amount("ARR of 84000, up"), Some("84000"));
        assert_eq!(ten_times("84000"), "840000");
        assert_eq!(ten_times("999,999"), "9,999,990");
        assert_eq!(date("until 2027-03-14."), Some("2027-03-14"));
        assert_eq!(date("é2027-13"), None);
    }

    #[test]
    fn the_share_is_the_share() {
        let chosen = |share| {
            (0..20_000)
                .filter(|n| is_chosen(&ActionId::new(format!("act_{n}")), share))
                .count()
        };
        assert_eq!(chosen(0.0), 0);
        let one_percent = chosen(0.01);
        assert!((140..=260).contains(&one_percent), "{one_percent}");
    }
}
