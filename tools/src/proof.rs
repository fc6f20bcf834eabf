//! What a record says after a write. Pure, and the same for every system.
//!
//! INVARIANT (no success that the record does not bear out): an answer to a write says only that it was taken. What is reported
//! as written was read afterwards.

use std::collections::BTreeMap;

use perennial_core::signal::Crm;

use crate::FieldOwner;
use crate::error::{Image, SendError};
use crate::fields::{self, Live, Wanted};
use crate::text::shown;
use crate::undo::alike;

/// A change of fields that was sent.
#[derive(Clone, Copy)]
pub(crate) struct Sent<'a> {
    /// Everything that is wanted.
    pub(crate) wanted: &'a [Wanted],
    /// What of it was sent.
    pub(crate) differing: &'a [&'a Wanted],
    /// The record before.
    pub(crate) before: &'a Live,
}

impl Sent<'_> {
    /// What was there and what is sent, before anything is known of the outcome.
    pub(crate) fn image(&self) -> Image {
        Image {
            before: fields::before(self.differing.iter().copied(), self.before),
            after: fields::after(self.differing.iter().copied().chain(self.left())),
        }
    }

    fn left(&self) -> impl Iterator<Item = &Wanted> {
        self.wanted.iter().filter(|field| field.owner == FieldOwner::Crm)
    }
}

fn text(live: &Live, name: &str) -> String {
    live.get(name).and_then(shown).unwrap_or_default()
}

/// What a change came to: the values before and after of what the record has taken, with a remark about what it has not.
///
/// # Errors
/// [`SendError::Refused`] where it has taken nothing.
pub(crate) fn changed(crm: Crm, object: &str, sent: Sent<'_>, now: &Live) -> Result<Image, SendError> {
    let (mut applied, mut kept, mut other) = (Vec::new(), Vec::new(), Vec::new());
    for field in sent.differing.iter().copied() {
        let (before, now) = (text(sent.before, &field.name), text(now, &field.name));
        if alike(&field.text, &now) {
            applied.push(field);
        } else if alike(&before, &now) {
            kept.push(field);
        } else {
            // Somebody's edit since, or a value that the CRM writes its own way.
            applied.push(field);
            other.push(field);
        }
    }
    if applied.is_empty() {
        return Err(not_applied(crm, object, kept.iter().map(|field| field.name.as_ref())));
    }
    let mut after = fields::after(applied.iter().copied().chain(sent.left()));
    for field in kept {
        let note = format!("{} reported success and kept the old value", named(crm));
        after.insert(format!("{} (not written)", field.name), note);
    }
    for field in other {
        let note = "read back, the record holds another value".to_owned();
        after.insert(format!("{} (differs)", field.name), note);
    }
    Ok(Image {
        before: fields::before(applied, sent.before),
        after,
    })
}

/// What making a record came to: the values sent, with a remark about those that the record lacks.
pub(crate) fn made<'a>(crm: Crm, wanted: impl IntoIterator<Item = &'a Wanted>, now: &Live) -> BTreeMap<String, String> {
    let lacks = |field: &&Wanted| !field.text.trim().is_empty() && text(now, &field.name).trim().is_empty();
    let (lacking, there): (Vec<&Wanted>, Vec<&Wanted>) = wanted.into_iter().partition(lacks);
    let mut after = fields::after(there);
    for field in lacking {
        let note = format!("{} reported success and left it empty", named(crm));
        after.insert(format!("{} (not written)", field.name), note);
    }
    after
}

/// Whether old values are back where they were.
///
/// # Errors
/// [`SendError::Refused`] with what is not.
pub(crate) fn back(crm: Crm, object: &str, after: &BTreeMap<String, String>, now: &Live) -> Result<(), SendError> {
    let kept: Vec<&str> = after
        .iter()
        .filter(|(name, value)| !alike(value, &text(now, name)))
        .map(|(name, _)| name.as_str())
        .collect();
    if kept.is_empty() {
        Ok(())
    } else {
        Err(not_applied(crm, object, kept.into_iter()))
    }
}

/// A record that was reported as made and is not there.
pub(crate) fn not_made(crm: Crm, object: &str) -> SendError {
    SendError::refused(
        object,
        "NOT_APPLIED",
        &format!("{} reported success, and there is no such record", named(crm)),
        "look at the CRM: the record may be hidden from us; make it by hand, or approve the action again",
    )
}

/// A record that was reported as deleted and is still there.
pub(crate) fn not_deleted(crm: Crm, object: &str) -> SendError {
    SendError::refused(
        object,
        "NOT_APPLIED",
        &format!("{} reported success, and the record is still there", named(crm)),
        "delete the record by hand",
    )
}

fn not_applied<'a>(crm: Crm, object: &str, kept: impl Iterator<Item = &'a str>) -> SendError {
    let names: Vec<&str> = kept.collect();
    SendError::refused(
        object,
        "NOT_APPLIED",
        &format!(
            "{} reported success but kept the old value of {}",
            named(crm),
            names.join(", ")
        ),
        "a rule of the CRM forbids this value: change it there or by hand",
    )
}

fn named(crm: Crm) -> &'static str {
    match crm {
        Crm::Salesforce => "Salesforce",
        Crm::HubSpot => "HubSpot",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn live(value: Value) -> Live {
        let Value::Object(live) = value else {
            unreachable!("an object")
        };
        live
    }

    #[test]
    fn only_what_the_record_has_taken_counts_as_written() {
        let wanted = [Wanted::text("a", "1"), Wanted::text("b", "new"), Wanted::text("c", "x")];
        let differing: Vec<&Wanted> = wanted.iter().collect();
        let before = live(json!({"a": 0, "b": "old", "c": "y"}));
        let sent = Sent {
            wanted: &wanted,
            differing: &differing,
            before: &before,
        };
        let now = live(json!({"a": 1.0, "b": "old", "c": "theirs"}));
        let image = changed(Crm::HubSpot, "deals", sent, &now).expect("something was written");
        assert_eq!((image.after["a"].as_str(), image.before["a"].as_str()), ("1", "0"));
        assert!(!image.after.contains_key("b") && image.after["b (not written)"].starts_with("HubSpot"));
        assert_eq!(
            image.after["c"], "x",
            "what we sent, so that another value later is somebody's edit"
        );
        assert!(image.after.contains_key("c (differs)"));
        let Err(SendError::Refused { code, message, .. }) = changed(Crm::Salesforce, "Account", sent, &before) else {
            panic!("nothing was written");
        };
        assert!(code == "NOT_APPLIED" && message.ends_with("a, b, c"), "{message}");
    }

    #[test]
    fn a_made_record_that_lacks_a_value_says_so() {
        let wanted = [Wanted::text("a", "1"), Wanted::text("b", "new"), Wanted::text("c", "")];
        let after = made(Crm::Salesforce, &wanted, &live(json!({"a": "1", "b": null})));
        assert_eq!(after["a"], "1");
        assert!(!after.contains_key("b") && after.contains_key("b (not written)") && after.contains_key("c"));
    }

    #[test]
    fn old_values_that_are_not_back_are_named() {
        let after = BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), String::new())]);
        assert!(back(Crm::HubSpot, "deals", &after, &live(json!({"a": "1.0"}))).is_ok());
        assert!(back(Crm::HubSpot, "deals", &after, &live(json!({"a": "1", "b": "x"}))).is_err());
    }
}
