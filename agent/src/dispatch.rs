//! Dispatch: lease effects, call the tools, record what they answered. It chooses nothing: what a customer sees, and what was
//! to wait, it lets the gate be asked about once more ([`crate::limits`]). What may be
//! written over is in [`knowledge`].
//!
//! Promises: an effect runs only with its permit, and only as it was permitted; one whose answer was lost is looked up
//! before it is sent again; a lease that ran out is somebody else's. No transaction is open while a tool is called.

mod batch;
mod knowledge;
mod pump;
mod stops;

use std::time::Duration;

use perennial_core::action::{ActionState, EffectState};
use perennial_core::approval::{Event, apply};
use perennial_core::ids::RunId;
use perennial_core::replay::{Hash, canonical};
use perennial_core::stop::{Stop, StopScope};
use perennial_core::time::Timestamp;
use perennial_store::{
    EffectOutcome, EffectResult, LeasedEffect, LedgerDraft, SettledAction, Store, StoreError, Transition,
};
use perennial_tools::{Known, LookUp, Registry, SendError};

use crate::config::Limits;
use crate::cycle::{Engine, Progress};
use crate::queue::item_of;
pub(crate) use pump::Pump;

/// Why dispatch stopped.
#[derive(Debug, thiserror::Error)]
pub enum DispatchError {
    /// The database failed. Leased effects are taken over when their lease ends.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stored action cannot be read.
    #[error(transparent)]
    Unreadable(#[from] perennial_core::replay::UnreadableText),
    /// CRMs are to be read by schedule, and the mapping of one is not right.
    #[error("a CRM cannot be read by schedule")]
    Mapping(#[source] crate::intake::ImportError),
}

/// What was settled for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drained {
    /// Done.
    pub done: u64,
    /// Refused for good, or given up.
    pub failed: u64,
    /// Not written over somebody else's edit: a person says whose value stays.
    pub conflicts: u64,
}

pub(crate) use knowledge::learned_by;

/// Pause between looks for work that is not due yet.
const POLL: Duration = Duration::from_millis(200);

/// Carries out what is due until nothing is left, or until the written time for waiting is over. `worker` names who
/// does it; `run` is the run that it is part of, if it is.
///
/// # Errors
/// [`DispatchError`].
pub async fn drain(
    engine: &Engine<'_>,
    worker: &RunId,
    run: Option<&RunId>,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Drained, DispatchError> {
    let limits = &engine.config.limits;
    let name = format!("{}-{}", worker.as_str(), std::process::id());
    finish_settled(engine.store, engine.config.clock.now()).await?;
    let mut pump = Pump::new(engine, name);
    if pump.crms().is_empty() {
        return Ok(pump.drained);
    }
    let mut idle_since: Option<Timestamp> = None;
    while !*engine.stop.borrow() {
        let begun = pump.fill().await?;
        if begun == 0 && pump.is_empty() {
            // What was busy or unknown becomes due soon; what is not ours to wait for stays.
            let now = pump.clock().await?.now();
            let counts = engine.store.effect_counts(None).await?;
            let since = *idle_since.get_or_insert(now);
            if counts.waiting + counts.unknown == 0 || now.us() - since.us() > limits.drain_ms.saturating_mul(1000) {
                break;
            }
            let until = now.us().saturating_add(limits.drain_ms * 1000);
            if !engine.store.has_due_before(pump.crms(), until).await?
                || engine.store.stops().await?.iter().any(stops_all)
            {
                break;
            }
            tokio::time::sleep(POLL).await;
            continue;
        }
        idle_since = None;
        pump.settle(std::future::pending()).await?;
        if let Some(run) = run {
            let now = engine.config.clock.now();
            pump.beside(engine.store.heartbeat_run(run, now)).await?;
        }
        let drained = &pump.drained;
        progress(Progress::Effects(drained.done + drained.failed + drained.conflicts));
    }
    pump.end().await?;
    Ok(pump.drained)
}

/// Nothing becomes due while everything is stopped.
fn stops_all(stop: &Stop) -> bool {
    stop.scope == StopScope::All
}

/// One attempt: look up if an earlier answer was lost, else carry out.
/// `instead` is what happens where the gate does not let it be sent now.
async fn attempt(
    tools: &Registry,
    limits: &Limits,
    clock: crate::clock::Clock,
    leased: LeasedEffect,
    known: Known,
    instead: Option<EffectResult>,
) -> EffectOutcome {
    let effect = &leased.effect;
    let result = match tools.get(effect.tool) {
        None => EffectResult::Again {
            error: format!("{} is not configured", effect.tool),
            due_at: clock.now().plus_days(1),
        },
        Some(tool) => {
            let looked = match leased.state {
                EffectState::Unknown => Some(tool.look_up(effect, clock.now()).await),
                EffectState::Waiting
                | EffectState::Leased
                | EffectState::Done
                | EffectState::Failed
                | EffectState::Withdrawn
                | EffectState::Conflict => None,
            };
            match looked {
                Some(Ok(LookUp::Done(receipt))) => {
                    EffectResult::Done(knowledge::completed(receipt, leased.image.as_deref()))
                }
                Some(Err(error)) => after_look_up(error, leased.attempts, limits, clock.now()),
                Some(Ok(LookUp::Absent)) | None => match (instead, leased.permit.clone().verify(effect, &leased.all)) {
                    (Some(instead), _) => instead,
                    (None, Err(wrong)) => EffectResult::Failed {
                        error: wrong.to_string(),
                    },
                    (None, Ok(permit)) => match tool.execute(permit, effect, &known, clock.now()).await {
                        Ok(receipt) => EffectResult::Done(receipt),
                        Err(error) => after(error, leased.attempts, limits, clock.now()),
                    },
                },
            }
        }
    };
    outcome(&leased, result, clock)
}

/// What is recorded of an attempt.
fn outcome(leased: &LeasedEffect, result: EffectResult, clock: crate::clock::Clock) -> EffectOutcome {
    let (at, effect) = (clock.now(), &leased.effect);
    tracing::info!(
        effect = effect.id.as_str(),
        tool = effect.tool.as_str(),
        attempt = leased.attempts,
        result = word(&result),
        "effect"
    );
    EffectOutcome {
        account: effect.target.account.clone(),
        effect: effect.id.clone(),
        fence: leased.fence,
        begun_at: leased.begun_at,
        ledger: vec![receipt_entry(leased, &result)],
        learned: knowledge::learned(effect, &result),
        result,
        at,
    }
}

fn word(result: &EffectResult) -> &'static str {
    match result {
        EffectResult::Done(_) => "receipt",
        EffectResult::Again { .. } => "again",
        EffectResult::NotNow { .. } => "put_off",
        EffectResult::Withdrawn { .. } => "withdrawn",
        EffectResult::Unknown { .. } => "unknown",
        EffectResult::Conflict { .. } => "conflict",
        EffectResult::Failed { .. } => "refused",
    }
}

/// The ledger's entry after an attempt. It holds no customer text: ids and hashes only.
fn receipt_entry(leased: &LeasedEffect, result: &EffectResult) -> LedgerDraft {
    let body = match result {
        EffectResult::Done(receipt) => serde_json::json!({
            "done": receipt.done,
            "object": receipt.object,
            "receipt": Hash::of(canonical(receipt).as_bytes()),
            "record": receipt.record,
        }),
        EffectResult::Conflict {
            object, record, fields, ..
        } => serde_json::json!({
            "fields": fields.iter().map(|field| field.field.as_str()).collect::<Vec<_>>(),
            "object": object,
            "record": record,
        }),
        EffectResult::Again { .. }
        | EffectResult::NotNow { .. }
        | EffectResult::Withdrawn { .. }
        | EffectResult::Unknown { .. }
        | EffectResult::Failed { .. } => {
            serde_json::json!({ "attempt": leased.attempts })
        }
    };
    LedgerDraft {
        kind: word(result).to_owned(),
        reference: leased.effect.id.as_str().to_owned(),
        body: canonical(&body),
    }
}

/// An effect whose outcome nobody could find out is a person's: it is never sent again by itself.
fn parked(attempts: i64, error: &str) -> EffectResult {
    crate::meters::parked();
    EffectResult::Failed {
        error: format!(
            "given up after {attempts} attempts without knowing whether it happened; look at the record: {error}"
        ),
    }
}

/// What follows from an error of a call that may have written.
fn after(error: SendError, attempts: i64, limits: &Limits, now: Timestamp) -> EffectResult {
    let text = chain(&error);
    match error {
        SendError::Refused { .. } => EffectResult::Failed { error: text },
        SendError::Conflict { object, record, fields } => EffectResult::Conflict {
            error: text,
            object,
            record,
            fields: fields.into_iter().map(knowledge::stored).collect(),
        },
        SendError::Unknown { .. } if attempts >= limits.effect_attempts => parked(attempts, &text),
        SendError::Unknown { image, .. } => EffectResult::Unknown {
            error: text,
            due_at: later(now, limits.settle_ms, attempts, limits),
            image: image.map(|image| canonical(&image)),
        },
        SendError::Busy { retry_after, .. } => again(text, attempts, limits, now, retry_after),
        // A person mends the credentials; the effect waits and is not used up.
        SendError::Unauthorised { .. } | SendError::NotConfigured { .. } => EffectResult::Again {
            error: text,
            due_at: now.plus_days(1),
        },
    }
}

/// What follows from an error of a look-up: the effect stays unknown until somebody can look.
fn after_look_up(error: SendError, attempts: i64, limits: &Limits, now: Timestamp) -> EffectResult {
    let text = chain(&error);
    let due_at = later(now, limits.settle_ms, attempts, limits);
    match error {
        SendError::Refused { .. } | SendError::Conflict { .. } => EffectResult::Failed { error: text },
        _ if attempts >= limits.effect_attempts => parked(attempts, &text),
        SendError::Unknown { .. }
        | SendError::Busy { .. }
        | SendError::Unauthorised { .. }
        | SendError::NotConfigured { .. } => EffectResult::Unknown {
            error: text,
            due_at,
            image: None,
        },
    }
}

fn again(error: String, attempts: i64, limits: &Limits, now: Timestamp, retry_after: Duration) -> EffectResult {
    if attempts >= limits.effect_attempts {
        return EffectResult::Failed {
            error: format!("given up after {attempts} attempts: {error}"),
        };
    }
    let asked = i64::try_from(retry_after.as_millis()).unwrap_or(i64::MAX);
    EffectResult::Again {
        error,
        due_at: later(now, asked.max(limits.settle_ms / 4), attempts, limits),
    }
}

/// `base` milliseconds, doubled with every attempt, at most what the limits say.
fn later(now: Timestamp, base_ms: i64, attempts: i64, limits: &Limits) -> Timestamp {
    let doublings = u32::try_from(attempts.clamp(1, 12) - 1).unwrap_or(0);
    let wait_ms = base_ms
        .max(1)
        .saturating_mul(1_i64 << doublings)
        .min(limits.retry_most_ms.max(1));
    Timestamp::from_us(now.us().saturating_add(wait_ms.saturating_mul(1000)))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

/// Finishes actions whose effects had all settled when a process died.
pub(crate) async fn finish_settled(store: &Store, now: Timestamp) -> Result<(), DispatchError> {
    finish_all(store, &store.settled_actions().await?, now).await
}

/// Brings actions whose effects have all settled to their end, each in its own transaction.
async fn finish_all(store: &Store, settled: &[SettledAction], now: Timestamp) -> Result<(), DispatchError> {
    let actions: Vec<perennial_core::ids::ActionId> = settled.iter().map(|settled| settled.action.clone()).collect();
    let waiting = crate::plays::Waiting::for_actions(store, &actions).await?;
    for settled in settled {
        finish(store, settled, &waiting, now).await?;
    }
    Ok(())
}

async fn finish(
    store: &Store,
    settled: &SettledAction,
    waiting: &crate::plays::Waiting,
    now: Timestamp,
) -> Result<(), DispatchError> {
    let row = store.action(settled.action.as_str()).await?;
    if row.state != ActionState::Permitted {
        return Ok(());
    }
    let event = if settled.withdrawn {
        // What a person had approved is a person's again.
        let said = store.approvals_of(&row.id).await?;
        if said.last().is_some_and(|last| last.verb == "approve") {
            Event::Return
        } else {
            Event::Withdraw
        }
    } else if settled.conflict {
        Event::Conflict
    } else if settled.any_failed {
        Event::Failed
    } else {
        Event::Executed
    };
    let Ok(step) = apply(&item_of(&row)?, &event, None, now) else {
        return Ok(());
    };
    let conflict = matches!(event, Event::Conflict);
    let play = waiting.follow(&row.id, step.state, conflict, now);
    let done = store
        .transition(&Transition {
            play,
            account: row.account,
            action: row.id.clone(),
            from: row.state,
            version: row.version,
            to: step.state,
            effects: None,
            last_editor: None,
            snoozed_until: None,
            reassign: None,
            asked_role: None,
            approval: None,
            outbox: Vec::new(),
            holds: Vec::new(),
            withdraw: None,
            ledger: vec![LedgerDraft {
                kind: step.state.as_str().to_owned(),
                reference: row.id.as_str().to_owned(),
                body: "{}".to_owned(),
            }],
            at: now,
        })
        .await;
    match done {
        // Another worker finished it at the same moment.
        Ok(()) | Err(StoreError::Stale { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
