//! Canaries: planting them, and what becomes of one when somebody answers.
//!
//! INVARIANT (a canary is never sent): an answer to one makes no permit and puts nothing into the outbox; its action waits again with the
//! true draft.

use perennial_core::action::{ActionState, Effect};
use perennial_core::approval::canary::{Defect, Mistake, is_chosen, plant as planted};
use perennial_core::approval::{Event, Person};
use perennial_core::policy::Policies;
use perennial_core::replay::{Hash, UnreadableText, canonical, read};
use perennial_core::time::Timestamp;
use perennial_store::{ActionRow, ApprovalRow, CAUGHT, LedgerDraft, MISSED, OpenCanary, Store, StoreError, Transition};

use crate::queue::{Decided, QueueError};

/// Drafts that are looked at in one go.
const ROWS: u32 = 10_000;
/// How long ago a draft may have begun to wait: later, people may have read it.
const FRESH_US: i64 = 60 * 60 * 1_000_000;

/// Why nothing was planted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlantError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Unreadable(#[from] UnreadableText),
}

/// Plants canaries among the drafts that began to wait within the last hour, as many as the policies ask for; how many.
pub(crate) async fn plant(store: &Store, policies: &Policies, now: Timestamp) -> Result<u64, PlantError> {
    let share = policies.approvals.canaries();
    if share <= 0.0 {
        return Ok(0);
    }
    let since = Timestamp::from_us(now.us().saturating_sub(FRESH_US));
    let mut count = 0;
    for row in store.untouched_since(since, ROWS).await? {
        if !is_chosen(&row.id, share) {
            continue;
        }
        let effects: Vec<Effect> = read("list of effects", &row.effects)?;
        let Some(canary) = planted(&row.id, &effects) else {
            continue;
        };
        let text = canonical(&canary.effects);
        let body = serde_json::json!({
            "draft": Hash::of(row.effects.as_bytes()),
            "mistake": canary.defect.mistake,
            "shown": Hash::of(text.as_bytes()),
        });
        let entry = LedgerDraft {
            kind: "canary".to_owned(),
            reference: row.id.as_str().to_owned(),
            body: canonical(&body),
        };
        count += u64::from(store.plant_canary(&row, &text, &canary.defect, &entry, now).await?);
    }
    Ok(count)
}

/// What an answer says of a canary: the word that is kept; none for what is no answer.
pub(crate) fn verb(event: &Event, defect: &Defect) -> Option<&'static str> {
    match event {
        Event::Approve { .. } => Some(MISSED),
        Event::Reject { .. } => Some(CAUGHT),
        Event::Edit { effects } => Some(if defect.is_mended(effects) { CAUGHT } else { MISSED }),
        Event::Hold { .. }
        | Event::Withdraw
        | Event::Snooze { .. }
        | Event::Ask { .. }
        | Event::Answer { .. }
        | Event::Reassign { .. }
        | Event::Return
        | Event::Wake
        | Event::Expire
        | Event::Executed
        | Event::Failed
        | Event::Conflict
        | Event::Retry => None,
    }
}

/// What the person is told.
fn sentence(defect: &Defect, caught: bool) -> String {
    let what = match defect.mistake {
        Mistake::OtherCustomer => "it named a customer that does not exist",
        Mistake::TenTimes => "an amount was ten times what it should be",
        Mistake::YearLater => "a date was a year late",
    };
    let well = if caught { "well caught" } else { "it was missed" };
    format!(
        "this draft was a canary, planted to be refused: {what} (`{}` for `{}`); {well}. Nothing was sent, and the true draft waits now",
        defect.is, defect.was
    )
}

/// An answer to a canary, by somebody who could have given it to the true draft: that one comes back, and nothing is sent.
pub(crate) async fn answer(
    store: &Store,
    row: &ActionRow,
    event: &Event,
    person: &Person,
    (canary, verb): (&OpenCanary, &str),
    content: Hash,
    now: Timestamp,
) -> Result<Decided, QueueError> {
    let reason = match event {
        Event::Reject { reason } => Some(reason.clone()),
        _ => None,
    };
    let roles: Vec<&str> = person.roles.iter().map(|r| r.as_str()).collect();
    let body = serde_json::json!({
        "by": person.id,
        "mistake": canary.defect.mistake,
        "verb": verb,
    });
    store
        .transition(&Transition {
            account: row.account.clone(),
            action: row.id.clone(),
            from: row.state,
            version: row.version,
            to: ActionState::Pending,
            effects: Some(canary.original.clone()),
            play: None,
            last_editor: None,
            snoozed_until: None,
            reassign: None,
            asked_role: None,
            holds: Vec::new(),
            withdraw: None,
            outbox: Vec::new(),
            approval: Some(ApprovalRow {
                person: person.id.clone(),
                verb: verb.to_owned(),
                authority: None,
                version: row.version + 1,
                roles: roles.join(","),
                reason,
                seen: None,
                content,
                at: now,
            }),
            ledger: vec![LedgerDraft {
                kind: verb.to_owned(),
                reference: row.id.as_str().to_owned(),
                body: canonical(&body),
            }],
            at: now,
        })
        .await?;
    Ok(Decided {
        state: ActionState::Pending,
        still: Vec::new(),
        authority: None,
        canary: Some(sentence(&canary.defect, verb == CAUGHT)),
    })
}
