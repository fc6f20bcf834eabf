//! Whether a text that is about to be written looks as if somebody put orders for a program into it.
//!
//! Detection only lowers autonomy: what is suspected waits for a person. It finds the crude cases; what it does not find is held by
//! the rules, which no text can change.

use crate::action::Write;

/// Phrases that speak to a program and not to a person, in lower case.
const ORDERS: &[&str] = &[
    "ignore previous instructions",
    "ignore all previous",
    "ignore the above",
    "disregard previous",
    "disregard all previous",
    "disregard the above",
    "forget your instructions",
    "new instructions:",
    "system prompt",
    "you are now a",
    "<|im_start|>",
    "[inst]",
];

/// Characters that hide or turn around text: zero-width, direction-changing and tag characters. Joiners and variation selectors
/// stay out: names with emoji have them.
fn hides(c: char) -> bool {
    matches!(u32::from(c),
        0xAD | 0x200B | 0x202A..=0x202E | 0x2060..=0x2064 | 0x2066..=0x2069 | 0xFEFF | 0xE0000..=0xE007F)
}

/// Whether one of the texts to be written is suspect.
pub(super) fn suspected<'a>(writes: impl Iterator<Item = &'a Write>) -> bool {
    let bad = |text: &str| text.chars().any(hides) || speaks_to_a_program(text);
    let mut writes = writes;
    writes.any(|write| match write {
        Write::UpdateAccount { fields } => fields.values().any(|text| bad(text)),
        Write::CreateTask { subject, body, .. } => bad(subject) || bad(body),
        Write::CreateNote { title, body } => bad(title) || bad(body),
        Write::UpdateOpportunity { next_step, stage, .. } => {
            next_step.as_deref().is_some_and(bad) || stage.as_deref().is_some_and(bad)
        }
        // What is written is a word of ours; the name is only shown, and a card shows it to people.
        Write::SetContactRole { contact_name, .. } => contact_name.as_deref().is_some_and(bad),
    })
}

fn speaks_to_a_program(text: &str) -> bool {
    let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
    let line = words.join(" ");
    ORDERS.iter().any(|order| line.contains(order))
}
