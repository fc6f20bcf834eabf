//! Which of our fields go into which field of a CRM, and who owns that field. Pure.
//!
//! INVARIANT (nobody's edit is overwritten): a field is written only where its live value is one that the decision knew of, or
//! where a field of ours was never known here. Any other value is somebody's edit: a conflict that a person settles.

use std::collections::BTreeMap;

use perennial_core::action::{AccountField, DealField};
use perennial_core::signal::{ContactRole, Crm};
use serde_json::Value;

use crate::error::{FieldConflict, SendError};
use crate::fields::{Live, Wanted};
use crate::text::{same, shown};

/// Who says what a field of the CRM holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FieldOwner {
    /// We do: written, also over a value that was there before we came. A later edit by others is a conflict.
    Ours,
    /// People and we do: written over an empty value or one that the decision knew of; anything else is a conflict.
    Shared,
    /// The CRM does: never written.
    Crm,
}

impl FieldOwner {
    /// Every owner.
    pub const ALL: [FieldOwner; 3] = [FieldOwner::Ours, FieldOwner::Shared, FieldOwner::Crm];

    /// The word for it in a mapping.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            FieldOwner::Ours => "ours",
            FieldOwner::Shared => "shared",
            FieldOwner::Crm => "crm",
        }
    }

    /// The owner that a word stands for.
    #[must_use]
    pub fn from_word(word: &str) -> Option<FieldOwner> {
        FieldOwner::ALL.into_iter().find(|owner| owner.as_str() == word)
    }
}

/// Where one of our fields goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldRule {
    /// Field of the CRM.
    pub field: String,
    /// Who owns it.
    pub owner: FieldOwner,
}

/// Where our fields go: the part of a mapping that says what is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteMap {
    /// Fields of accounts.
    pub account: BTreeMap<AccountField, FieldRule>,
    /// Fields of deals.
    pub deal: BTreeMap<DealField, FieldRule>,
    /// The CRM's words for roles of people in deals: of Salesforce values of a picklist, of HubSpot labels. They are shared with people,
    /// always; a role without a word is not written.
    pub roles: BTreeMap<ContactRole, String>,
}

/// Name of the field that says what a person is to a deal, in receipts, conflicts and knowledge.
#[must_use]
pub fn role_field(crm: Crm, contact: &str) -> String {
    match crm {
        Crm::Salesforce => "Role".to_owned(),
        Crm::HubSpot => format!("associations.contacts.{contact}"),
    }
}

impl WriteMap {
    pub(crate) fn of(account: [&str; 5], deal: [&str; 2], roles: &[(ContactRole, &str)]) -> WriteMap {
        let rule = |field: &&str, owner| FieldRule {
            field: (*field).to_owned(),
            owner,
        };
        let ours = account.iter().map(|field| rule(field, FieldOwner::Ours));
        let shared = deal.iter().map(|field| rule(field, FieldOwner::Shared));
        WriteMap {
            account: AccountField::ALL.iter().copied().zip(ours).collect(),
            deal: DealField::ALL.iter().copied().zip(shared).collect(),
            roles: roles.iter().map(|(role, word)| (*role, (*word).to_owned())).collect(),
        }
    }

    /// The CRM's word for a role.
    ///
    /// # Errors
    /// [`SendError::Refused`] where the mapping has none.
    pub(crate) fn word(&self, object: &str, role: ContactRole) -> Result<&str, SendError> {
        self.roles.get(&role).map(String::as_str).ok_or_else(|| {
            SendError::refused(
                object,
                "ROLE_NOT_MAPPED",
                &format!("the mapping has no word of the CRM for the role {role}"),
                format!("add {role} = \"..\" to [write.role] of the mapping, as people see the role in the CRM"),
            )
        })
    }

    /// Fields of the CRM on accounts that are written.
    pub fn account_fields(&self) -> impl Iterator<Item = &str> {
        written(self.account.values())
    }

    /// Fields of the CRM on deals that are written.
    pub fn deal_fields(&self) -> impl Iterator<Item = &str> {
        written(self.deal.values())
    }
}

fn written<'a>(rules: impl Iterator<Item = &'a FieldRule>) -> impl Iterator<Item = &'a str> {
    rules
        .filter(|rule| rule.owner != FieldOwner::Crm)
        .map(|rule| rule.field.as_str())
}

/// Values that the decision may take for granted, by field of the CRM: what we wrote last, what was read before it was
/// made, what a person was shown and decided to write over. The empty text is an empty field.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Known {
    fields: BTreeMap<String, Vec<String>>,
    unsure: bool,
}

impl Known {
    /// Nothing is known.
    #[must_use]
    pub fn nothing() -> Known {
        Known::default()
    }

    /// An earlier attempt may have written: what is there now and is not known may be somebody's edit of that, also in a field of
    /// ours.
    #[must_use]
    pub fn after_an_attempt(self) -> Known {
        Known { unsure: true, ..self }
    }

    /// Adds a value that may be written over.
    pub fn accept(&mut self, field: impl Into<String>, value: impl Into<String>) {
        self.fields.entry(field.into()).or_default().push(value.into());
    }

    /// The values that are known of a field.
    #[must_use]
    pub fn of(&self, field: &str) -> &[String] {
        self.fields.get(field).map_or(&[], Vec::as_slice)
    }
}

/// Whether `differing` may be written over `live`.
///
/// # Errors
/// [`SendError::Conflict`] with every field that somebody else changed.
pub(crate) fn guard(
    object: &str,
    record: &str,
    differing: &[&Wanted],
    live: &Live,
    known: &Known,
) -> Result<(), SendError> {
    let fields: Vec<FieldConflict> = differing
        .iter()
        .filter_map(|wanted| {
            let theirs = live.get(wanted.name.as_ref()).and_then(shown).unwrap_or_default();
            let values = known.of(&wanted.name);
            let may = match (values, wanted.owner) {
                ([], FieldOwner::Ours) if !known.unsure => true,
                ([], FieldOwner::Ours | FieldOwner::Shared | FieldOwner::Crm) => theirs.trim().is_empty(),
                (known, _) => known.iter().any(|value| same(value, &theirs)),
            };
            (!may).then(|| FieldConflict {
                field: wanted.name.clone().into_owned(),
                known: values.first().cloned(),
                theirs,
                ours: wanted.text.clone(),
            })
        })
        .collect();
    if fields.is_empty() {
        return Ok(());
    }
    Err(SendError::Conflict {
        object: object.to_owned(),
        record: record.to_owned(),
        fields,
    })
}

/// What a later look at a record takes for granted: the values that an earlier look in the same call found.
pub(crate) fn as_read(known: &Known, wanted: &[Wanted], live: &Live) -> Known {
    let mut next = known.clone();
    for field in wanted {
        let value = live.get(field.name.as_ref()).and_then(shown).unwrap_or_default();
        next.fields.insert(field.name.clone().into_owned(), vec![value]);
    }
    next
}

/// A value of a before-image as it is sent: numbers stay numbers where the field holds one, empty is `empty`.
pub(crate) fn sent(text: &str, live: Option<&Value>, empty: Value) -> Value {
    if text.is_empty() {
        return empty;
    }
    match live {
        Some(Value::Number(_)) => serde_json::from_str(text)
            .ok()
            .filter(Value::is_number)
            .unwrap_or_else(|| Value::String(text.to_owned())),
        Some(Value::Bool(_)) => Value::Bool(text == "true"),
        _ => Value::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn live(value: Value) -> Live {
        let Value::Object(live) = value else {
            unreachable!("an object")
        };
        live
    }

    #[test]
    fn an_edit_that_the_decision_did_not_see_is_a_conflict_with_both_values() {
        let wanted = |owner| Wanted {
            owner,
            ..Wanted::text("NextStep", "Call Ana")
        };
        let record = live(json!({"NextStep": "Wait for legal"}));
        let judge = |owner, known: &Known| guard("Opportunity", "006", &[&wanted(owner)], &record, known);
        let nothing = Known::nothing();
        assert!(judge(FieldOwner::Ours, &nothing).is_ok(), "ours, and never known here");
        assert!(judge(FieldOwner::Shared, &nothing).is_err(), "nobody here ever saw it");
        let unsure = Known::nothing().after_an_attempt();
        assert!(
            judge(FieldOwner::Ours, &unsure).is_err(),
            "perhaps an edit of what we wrote"
        );
        let mut known = Known::nothing();
        known.accept("NextStep", "Send the offer");
        for owner in [FieldOwner::Ours, FieldOwner::Shared] {
            let Err(SendError::Conflict { fields, .. }) = judge(owner, &known) else {
                panic!("somebody's edit");
            };
            let [field] = &fields[..] else { panic!("one field") };
            assert_eq!(
                (field.theirs.as_str(), field.ours.as_str()),
                ("Wait for legal", "Call Ana")
            );
            assert_eq!(field.known.as_deref(), Some("Send the offer"));
        }
        known.accept("NextStep", "Wait for legal");
        assert!(judge(FieldOwner::Shared, &known).is_ok(), "a person saw it and decided");
        let empty = live(json!({ "NextStep": null }));
        assert!(guard("Opportunity", "006", &[&wanted(FieldOwner::Shared)], &empty, &nothing).is_ok());
    }

    #[test]
    fn values_go_back_in_the_type_that_the_field_has() {
        assert_eq!(sent("60", Some(&json!(72)), Value::Null), json!(60));
        assert_eq!(sent("60", Some(&json!("72")), Value::Null), json!("60"));
        assert_eq!(sent("", Some(&json!(72)), Value::Null), Value::Null);
        assert_eq!(sent("true", Some(&json!(false)), Value::Null), json!(true));
    }
}
