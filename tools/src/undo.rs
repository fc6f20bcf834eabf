//! Undoing an effect by its receipt: what is the same for every system. Pure.

use std::collections::BTreeMap;

use perennial_core::action::{Done, Effect, Receipt, Write};
use perennial_core::time::Timestamp;

use crate::error::{FieldConflict, SendError};
use crate::fields::Live;
use crate::text::{same, shown};
use crate::{Change, Diff, UndoBy, Undoing};

/// Whether a receipt can be undone, and how.
///
/// # Errors
/// [`SendError::Refused`] with the reason why not.
pub(crate) fn method(effect: &Effect, receipt: &Receipt) -> Result<UndoBy, SendError> {
    let refused = |code, message| {
        Err(SendError::refused(
            &receipt.object,
            code,
            message,
            "look at the record and correct it by hand",
        ))
    };
    let is_creation = match &effect.write {
        Write::CreateTask { .. } | Write::CreateNote { .. } => true,
        Write::UpdateAccount { .. } | Write::UpdateOpportunity { .. } => false,
        Write::SetContactRole { .. } => tied(receipt),
    };
    match (receipt.done, is_creation) {
        // What carries our key was made by us, also where the answer to its making was lost.
        (Done::Created | Done::AlreadyDone, true) => Ok(UndoBy::Deleting),
        // A look-up found it, and the attempt whose answer was lost had found nothing there.
        (Done::Updated, true) if matches!(&effect.write, Write::SetContactRole { .. }) => Ok(UndoBy::Deleting),
        (Done::Updated, false) => Ok(UndoBy::Writing),
        (Done::NoChange, _) => refused("NOTHING_TO_UNDO", "the effect changed nothing"),
        (Done::Deleted, _) => refused("NOTHING_TO_UNDO", "the record was deleted"),
        (Done::AlreadyDone | Done::Created | Done::Updated, _) => refused(
            "BEFORE_UNKNOWN",
            "what the fields held before is not known: the answer to this write was lost",
        ),
    }
}

/// Fields that stand in the receipt of a role where the person was not in the deal before.
pub(crate) const TIES: [&str; 2] = ["ContactId", "association"];

/// Whether a role was given to somebody who was not in the deal: then undoing takes them out again.
pub(crate) fn tied(receipt: &Receipt) -> bool {
    let made = |name: &&str| receipt.after.contains_key(*name) && !receipt.before.contains_key(*name);
    TIES.iter().any(made)
}

/// What undoing would do to a record as it is now; `None` where it is gone.
pub(crate) fn judge(receipt: &Receipt, method: UndoBy, live: Option<&Live>) -> Undoing {
    let diff = |fields| Diff {
        object: receipt.object.clone(),
        record: live.map(|_| receipt.record.clone()),
        url: live.map(|_| receipt.url.clone()),
        fields,
    };
    let Some(live) = live else {
        return Undoing {
            diff: diff(BTreeMap::new()),
            how: UndoBy::Nothing,
            changed: Vec::new(),
        };
    };
    let now = |name: &str| live.get(name).and_then(shown).unwrap_or_default();
    let before = |name: &str| match method {
        UndoBy::Writing | UndoBy::Nothing => receipt.before.get(name).cloned().unwrap_or_default(),
        UndoBy::Deleting => String::new(),
    };
    let mut fields = BTreeMap::new();
    let mut changed = Vec::new();
    for (name, written) in receipt.values_after() {
        let (theirs, after) = (now(name), before(name));
        let is_back = matches!(method, UndoBy::Writing) && alike(&after, &theirs);
        if is_back {
            continue;
        }
        if !alike(written, &theirs) {
            changed.push(FieldConflict {
                field: name.to_owned(),
                known: Some(written.to_owned()),
                theirs: theirs.clone(),
                ours: after.clone(),
            });
        }
        let before = Some(theirs).filter(|text| !text.is_empty());
        fields.insert(name.to_owned(), Change { before, after });
    }
    let how = match method {
        UndoBy::Writing if fields.is_empty() => UndoBy::Nothing,
        method => method,
    };
    Undoing {
        diff: diff(fields),
        how,
        changed,
    }
}

/// The fields of a receipt, for the question to the CRM.
pub(crate) fn names(receipt: &Receipt) -> Vec<&str> {
    receipt.values_after().map(|(name, _)| name).collect()
}

/// What the fields hold now.
pub(crate) fn values_of(undoing: &Undoing) -> BTreeMap<String, String> {
    let pair = |(name, change): (&String, &Change)| Some((name.clone(), change.before.clone()?));
    undoing.diff.fields.iter().filter_map(pair).collect()
}

/// What the fields will hold.
pub(crate) fn values_after(undoing: &Undoing) -> BTreeMap<String, String> {
    let pair = |(name, change): (&String, &Change)| (name.clone(), change.after.clone());
    undoing.diff.fields.iter().map(pair).collect()
}

/// The refusal of a receipt for an object that we do not write.
pub(crate) fn not_ours(receipt: &Receipt) -> SendError {
    SendError::refused(
        &receipt.object,
        "NOT_OURS",
        "the receipt is for an object that is not written from here",
        "report this: it is a defect",
    )
}

/// Whether a CRM gives back what was sent: ids come in two lengths, moments as numbers or as text.
pub(crate) fn alike(sent: &str, live: &str) -> bool {
    same(sent, live) || is_same_id(sent, live) || matches!((moment(sent), moment(live)), (Some(a), Some(b)) if a == b)
}

fn is_same_id(a: &str, b: &str) -> bool {
    let (short, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric());
    (short.len(), long.len()) == (15, 18) && plain(short) && plain(long) && long.starts_with(short)
}

/// A moment written as milliseconds since 1970 or as RFC 3339.
fn moment(text: &str) -> Option<i64> {
    if text.len() == 13 && text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().ok();
    }
    let at: Timestamp = text.parse().ok()?;
    Some(at.us() / 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_crm_writes_its_own_way_is_alike() {
        assert!(alike("1798110000000", "2026-12-24T11:00:00Z") && alike("1798110000000", "2026-12-24T11:00:00.000Z"));
        assert!(alike("001000000000001", "001000000000001AAA") && alike("72", "72.0"));
        assert!(!alike("001000000000001", "001000000000002AAA") && !alike("1798110000000", "2026-12-24T11:00:01Z"));
    }
}
