//! The outbox: effects that may run, leased to workers and settled with what came of them.
//!
//! INVARIANT (order): the effects of one account and tool go out one after the other, by the order in which their
//! actions were created, then by step. Only what nobody has begun and what waits for a later moment lets others pass. The
//! row of the lane (account and tool) is the lock: who holds it may lease, settle or release in the lane, nobody else.
//! Claiming costs little whatever waits: lanes are found by when they are ready, and each has one head.
//!
//! INVARIANT (fence): the number of an effect's leases only grows; an outcome with an older number is not taken.

use perennial_core::ids::{ActionId, EffectId, RunId, TenantId};
use perennial_core::replay::canonical;

use crate::Store;
use crate::convert::{json, time, unsigned, word};
use crate::db::{Col, Column, Statement, Tx, args};
use crate::error::Result;
use crate::rows::{AttemptRow, EffectCounts, EffectRow, OutboxRow};
use crate::workers;
use perennial_core::action::EffectState;

pub(crate) static ENQUEUE: Statement = Statement::rows(
    "storing effects",
    "insert into outbox (tenant_id, account_id, effect_id, action_id, action_seq, step, tool, run_id, state, unsure, due_us,
         fence, attempts, effect, permit)
     select $1, e.account_id, e.effect_id, e.action_id, e.action_seq, e.step, e.tool, e.run_id, 'waiting', 0, e.due_us, 0, 0,
         e.effect, e.permit
     from {rows} where true
     on conflict (tenant_id, account_id, effect_id) do update set state = 'waiting', unsure = 0, due_us = excluded.due_us,
         attempts = 0, error = null, effect = excluded.effect, permit = excluded.permit
     where outbox.state in ('failed', 'withdrawn', 'conflict')",
    2,
    &[
        Col::Text("account_id"),
        Col::Text("effect_id"),
        Col::Text("action_id"),
        Col::Int("action_seq"),
        Col::Int("step"),
        Col::Text("tool"),
        Col::Text("run_id"),
        Col::Int("due_us"),
        Col::Text("effect"),
        Col::Text("permit"),
    ],
);
/// A lane that is held keeps its time: it is looked at again when its effect is settled or the lease runs out.
pub(crate) static OPEN_LANES: Statement = Statement::rows(
    "opening lanes",
    "insert into account_lane (tenant_id, account_id, tool, ready_us, held)
     select $1, e.account_id, e.tool, min(e.due_us), '' from {rows} where true group by e.account_id, e.tool
     on conflict (tenant_id, account_id, tool) do update set ready_us = excluded.ready_us
     where account_lane.held = '' and (account_lane.ready_us is null or excluded.ready_us < account_lane.ready_us)",
    2,
    &[Col::Text("account_id"), Col::Text("tool"), Col::Int("due_us")],
);
pub(crate) static COUNTS: Statement = Statement::same(
    "counting effects",
    "select state, count(*) from outbox where tenant_id = $1 group by state",
);
pub(crate) static COUNTS_OF_RUN: Statement = Statement::same(
    "counting the effects of a run",
    "select state, count(*) from outbox where tenant_id = $1 and run_id = $2 group by state",
);
pub(crate) static OF_ACTION: Statement = Statement::same(
    "reading the effects of an action",
    "select o.effect, o.state, o.attempts, o.due_us, r.body, o.error from outbox o
     left join receipt r on r.tenant_id = o.tenant_id and r.account_id = o.account_id and r.effect_id = o.effect_id
     where o.tenant_id = $1 and o.action_id = $2 order by o.step, o.effect_id",
);

pub(crate) static ATTEMPTS: Statement = Statement::same(
    "reading the attempts of an action",
    "select a.effect_id, a.fence, a.worker, a.begun_us, a.ended_us, a.result, a.error from outbox o
     join attempt a on a.tenant_id = o.tenant_id and a.account_id = o.account_id and a.effect_id = o.effect_id
     where o.tenant_id = $1 and o.action_id = $2 order by o.step, a.fence",
);

#[cfg(test)]
pub(crate) static ALL: &[&Statement] = &[&ENQUEUE, &OPEN_LANES, &COUNTS, &COUNTS_OF_RUN, &OF_ACTION, &ATTEMPTS];

/// An effect on its way into the outbox.
pub(crate) struct Enqueued<'a> {
    pub(crate) action_seq: i64,
    pub(crate) run: &'a RunId,
    pub(crate) row: &'a OutboxRow,
}

/// Stores effects and opens their lanes; how many are new or start again.
pub(crate) async fn enqueue(tx: &mut Tx<'_>, tenant: TenantId, effects: &[Enqueued<'_>]) -> Result<u64> {
    if effects.is_empty() {
        return Ok(0);
    }
    let texts: Vec<(String, String)> = effects
        .iter()
        .map(|e| (canonical(&e.row.effect), canonical(&e.row.permit)))
        .collect();
    let each = || effects.iter().map(|e| &e.row.effect);
    let rows = [
        Column::text(each().map(|e| e.target.account.as_str())),
        Column::text(each().map(|e| e.id.as_str())),
        Column::text(each().map(|e| e.action.as_str())),
        Column::int(effects.iter().map(|e| e.action_seq)),
        Column::int(each().map(|e| i64::from(e.step))),
        Column::text(each().map(|e| e.tool.as_str())),
        Column::text(effects.iter().map(|e| e.run.as_str())),
        Column::int(effects.iter().map(|e| e.row.due_at.us())),
        Column::text(texts.iter().map(|(effect, _)| effect.as_str())),
        Column::text(texts.iter().map(|(_, permit)| permit.as_str())),
    ];
    let stored = tx.execute(&ENQUEUE, args![tenant.0], Some(&rows)).await?;
    let rows = [
        Column::text(each().map(|e| e.target.account.as_str())),
        Column::text(each().map(|e| e.tool.as_str())),
        Column::int(effects.iter().map(|e| e.row.due_at.us())),
    ];
    tx.execute(&OPEN_LANES, args![tenant.0], Some(&rows)).await?;
    workers::wake(tx, tenant).await?;
    Ok(stored)
}

impl Store {
    /// How many effects stand where: those of the actions of one run, or all.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn effect_counts(&self, run: Option<&RunId>) -> Result<EffectCounts> {
        let rows = match run {
            Some(run) => {
                self.db
                    .fetch(&COUNTS_OF_RUN, args![self.tenant.0, run.as_str()], None)
                    .await?
            }
            None => self.db.fetch(&COUNTS, args![self.tenant.0], None).await?,
        };
        let mut counts = EffectCounts::default();
        for row in &rows {
            let count = unsigned(row.int(1)?);
            match word("state of an effect", &row.text(0)?, EffectState::from_word)? {
                EffectState::Waiting | EffectState::Leased => counts.waiting += count,
                EffectState::Done => counts.done += count,
                EffectState::Unknown => counts.unknown += count,
                EffectState::Failed | EffectState::Conflict => counts.failed += count,
                // Nothing came of them, and nothing will.
                EffectState::Withdrawn => {}
            }
        }
        Ok(counts)
    }

    /// Every attempt of the effects of an action, by step and in their order.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn attempts_of(&self, action: &ActionId) -> Result<Vec<AttemptRow>> {
        let args = args![self.tenant.0, action.as_str()];
        let rows = self.db.fetch(&ATTEMPTS, args, None).await?;
        rows.iter()
            .map(|row| {
                Ok(AttemptRow {
                    effect: EffectId::new(row.text(0)?),
                    fence: row.int(1)?,
                    worker: row.text(2)?,
                    begun_at: time(row.int(3)?),
                    ended_at: row.opt_int(4)?.map(time),
                    result: row.opt_text(5)?,
                    error: row.opt_text(6)?,
                })
            })
            .collect()
    }

    /// The effects of an action that were permitted, by step, with their receipts and last errors.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn effects_of(&self, action: &ActionId) -> Result<Vec<EffectRow>> {
        let rows = self
            .db
            .fetch(&OF_ACTION, args![self.tenant.0, action.as_str()], None)
            .await?;
        rows.iter()
            .map(|row| {
                let effect: perennial_core::action::Effect = json("effect", &row.text(0)?)?;
                Ok(EffectRow {
                    tool: effect.tool,
                    effect,
                    state: word("state of an effect", &row.text(1)?, EffectState::from_word)?,
                    attempts: row.int(2)?,
                    due_at: time(row.int(3)?),
                    receipt: row.opt_text(4)?.map(|text| json("receipt", &text)).transpose()?,
                    error: row.opt_text(5)?,
                })
            })
            .collect()
    }
}
