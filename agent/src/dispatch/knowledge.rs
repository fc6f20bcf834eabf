//! What a decision knew of the fields that its effects write, and what attempts learn of them. Pure but for one reading.
//!
//! A value may be written over when we wrote it, when it was seen before the decision was made, when the decision itself
//! says that it saw it, or when a person was shown it in a conflict and decided for ours.

use std::borrow::Cow;

use perennial_core::action::{DealField, Done, Effect, EffectState, Receipt, Write};
use perennial_core::signal::ContactRole;
use perennial_store::{ConflictField, EffectResult, KnownField, Learned, LeasedEffect, Store, StoreError};
use perennial_tools::{FieldConflict, Image, Known, Registry, role_field};

/// What is known for each of some effects, in their order.
pub(super) async fn of(store: &Store, tools: &Registry, leased: &[LeasedEffect]) -> Result<Vec<Known>, StoreError> {
    let changes: Vec<&LeasedEffect> = leased.iter().filter(|l| subject(&l.effect.write).is_some()).collect();
    if changes.is_empty() {
        return Ok(leased.iter().map(|_| Known::nothing()).collect());
    }
    let fields = store
        .known_fields(changes.iter().map(|l| &l.effect.target.account))
        .await?;
    let over = store
        .decided_over(changes.iter().map(|l| (&l.effect.target.account, &l.effect.id)))
        .await?;
    let known = |leased: &LeasedEffect| {
        let mut known = Known::nothing();
        let Some(subject) = subject(&leased.effect.write) else {
            return known;
        };
        for field in fields.iter().filter(|field| is_of(field, &leased.effect, &subject)) {
            let seen_later = !field.what.ours && field.since > leased.decided_at;
            let value = if seen_later { &field.before } else { &field.what.value };
            known.accept(field.what.field.as_str(), value.as_str());
        }
        for (_, field, theirs) in over.iter().filter(|(effect, ..)| *effect == leased.effect.id) {
            known.accept(field.as_str(), theirs.as_str());
        }
        // An attempt whose answer was lost found these: what is there now and is neither is somebody's edit of what it wrote.
        if let Some(image) = image(leased.image.as_deref()) {
            for field in image.after.keys() {
                known.accept(field.as_str(), image.before.get(field).map_or("", String::as_str));
            }
        }
        if leased.state == EffectState::Unknown {
            known = known.after_an_attempt();
        }
        let tool = tools.get(leased.effect.tool);
        for (field, value) in seen(&leased.effect.write) {
            if let Some(rule) = tool.as_ref().and_then(|tool| tool.writes().deal.get(&field)) {
                known.accept(rule.field.as_str(), value.as_str());
            }
        }
        if let (Some((field, role)), Some(tool)) = (seen_role(&leased.effect), &tool)
            && let Some(word) = tool.writes().roles.get(&role)
        {
            known.accept(field, word.as_str());
        }
        known
    };
    Ok(leased.iter().map(known).collect())
}

fn is_of(field: &KnownField, effect: &Effect, subject: &str) -> bool {
    field.account == effect.target.account && field.what.tool == effect.tool && field.what.subject == subject
}

fn seen(write: &Write) -> impl Iterator<Item = (DealField, &String)> {
    let seen = match write {
        Write::UpdateOpportunity { seen, .. } => Some(seen),
        Write::UpdateAccount { .. }
        | Write::CreateTask { .. }
        | Write::CreateNote { .. }
        | Write::SetContactRole { .. } => None,
    };
    seen.into_iter().flatten().map(|(field, value)| (*field, value))
}

/// The role that a decision saw where it says another one, with the name that its field has in the CRM.
fn seen_role(effect: &Effect) -> Option<(String, ContactRole)> {
    match &effect.write {
        Write::SetContactRole { contact, seen, .. } => Some((role_field(effect.tool, contact), (*seen)?)),
        Write::UpdateAccount { .. }
        | Write::UpdateOpportunity { .. }
        | Write::CreateTask { .. }
        | Write::CreateNote { .. } => None,
    }
}

/// Whose fields a change is about: empty for the account itself, else the deal, or a person in a deal; none for what makes a
/// record.
pub(crate) fn subject(write: &Write) -> Option<Cow<'_, str>> {
    match write {
        Write::UpdateAccount { .. } => Some(Cow::Borrowed("")),
        Write::UpdateOpportunity { opportunity, .. } => Some(Cow::Borrowed(opportunity)),
        Write::SetContactRole {
            opportunity, contact, ..
        } => Some(Cow::Owned(format!("{opportunity}/{contact}"))),
        Write::CreateTask { .. } | Write::CreateNote { .. } => None,
    }
}

/// What an attempt learned.
pub(super) fn learned(effect: &Effect, result: &EffectResult) -> Vec<Learned> {
    match result {
        EffectResult::Done(receipt) => learned_by(effect, receipt),
        // What stands against it is not known to a decision: the next one must not go over it either, until somebody has said whose
        // value stays or a reading has brought it. A field of which nothing is stored counts from now on as known to be empty:
        // otherwise the next decision would take its value for one from before our time.
        EffectResult::Conflict { fields, .. } => {
            let subject = subject(&effect.write).unwrap_or_default();
            let learned = |field: &ConflictField| Learned {
                tool: effect.tool,
                subject: subject.clone().into_owned(),
                field: field.field.clone(),
                value: String::new(),
                ours: false,
            };
            fields.iter().map(learned).collect()
        }
        EffectResult::Again { .. }
        | EffectResult::Unknown { .. }
        | EffectResult::NotNow { .. }
        | EffectResult::Withdrawn { .. }
        | EffectResult::Failed { .. } => Vec::new(),
    }
}

/// The values that a receipt says we wrote.
pub(crate) fn learned_by(effect: &Effect, receipt: &Receipt) -> Vec<Learned> {
    let Some(subject) = subject(&effect.write) else {
        return Vec::new();
    };
    let learned = |(field, value): (&str, &str)| Learned {
        tool: effect.tool,
        subject: subject.clone().into_owned(),
        field: field.to_owned(),
        value: value.to_owned(),
        ours: true,
    };
    receipt.values_after().map(learned).collect()
}

/// A conflict as it is stored.
pub(super) fn stored(field: FieldConflict) -> ConflictField {
    ConflictField {
        field: field.field,
        known: field.known,
        theirs: field.theirs,
        ours: field.ours,
    }
}

fn image(text: Option<&str>) -> Option<Image> {
    text.and_then(|text| serde_json::from_str(text).ok())
}

/// The receipt of a change that was looked up, with what the attempt found whose answer was lost.
pub(super) fn completed(receipt: Receipt, image: Option<&str>) -> Receipt {
    match (receipt.done, self::image(image)) {
        (Done::AlreadyDone, Some(Image { before, after })) => Receipt {
            done: Done::Updated,
            before,
            after,
            ..receipt
        },
        (_, _) => receipt,
    }
}
