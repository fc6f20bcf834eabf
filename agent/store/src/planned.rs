//! Effects that wait for a later moment: taking them back, putting them off, and showing them.
//!
//! INVARIANT (stopped in time): an action is withdrawn only while none of its effects was begun, in one transaction with
//! its new state, while the lanes of its account are locked. So what a person stops is never sent, and what was begun is
//! not said to be stopped.

use perennial_core::action::EffectState;
use perennial_core::ids::{AccountId, ActionId};
use perennial_core::time::Timestamp;

use crate::Store;
use crate::convert::{limit, time};
use crate::db::{Col, Column, Statement, Tx, args};
use crate::error::{Result, StoreError};
use crate::leases::{FREE_LANES, lock_lanes};
use crate::rows::{EffectOutcome, EffectResult};

pub(crate) static BEGUN: Statement = Statement::same(
    "looking whether an action was begun",
    "select effect_id, state, attempts from outbox where tenant_id = $1 and action_id = $2",
);
/// All steps of an action that nobody has begun.
pub(crate) static WITHDRAW: Statement = Statement::rows(
    "withdrawing effects",
    "update outbox set state = 'withdrawn', error = e.why from {rows}
     where outbox.tenant_id = $1 and outbox.account_id = e.account_id and outbox.action_id = e.action_id
         and outbox.state = 'waiting'",
    2,
    &[Col::Text("account_id"), Col::Text("action_id"), Col::Text("why")],
);
/// The steps of an action stay together: what is not begun waits for the same moment.
pub(crate) static PUT_OFF: Statement = Statement::rows(
    "putting effects off",
    "update outbox set due_us = e.due_us from {rows}
     where outbox.tenant_id = $1 and outbox.account_id = e.account_id and outbox.action_id = e.action_id
         and outbox.state = 'waiting' and outbox.due_us < e.due_us",
    2,
    &[Col::Text("account_id"), Col::Text("action_id"), Col::Int("due_us")],
);
pub(crate) static PLANNED: Statement = Statement::same(
    "reading planned effects",
    "select action_id, min(due_us) from outbox
     where tenant_id = $1 and state = 'waiting' and attempts = 0 and due_us > $2
     group by action_id order by action_id limit $3",
);

#[cfg(test)]
pub(crate) static ALL: &[&Statement] = &[&BEGUN, &WITHDRAW, &PUT_OFF, &PLANNED];

/// Takes back all effects of an action.
pub(crate) async fn withdraw(
    tx: &mut Tx<'_>,
    tenant: i64,
    account: &AccountId,
    action: &ActionId,
    why: &str,
) -> Result<()> {
    lock_lanes(tx, tenant, std::iter::once(account.as_str())).await?;
    let mut effects = Vec::new();
    for row in &tx.fetch(&BEGUN, args![tenant, action.as_str()], None).await? {
        if row.text(1)? != EffectState::Waiting.as_str() || row.int(2)? > 0 {
            return Err(StoreError::Begun { action: action.clone() });
        }
        effects.push(row.text(0)?);
    }
    let row = || std::iter::once(account.as_str());
    let rows = [
        Column::text(row()),
        Column::text(std::iter::once(action.as_str())),
        Column::text(std::iter::once(why)),
    ];
    tx.execute(&WITHDRAW, args![tenant], Some(&rows)).await?;
    let rows = [
        Column::text(effects.iter().map(|_| account.as_str())),
        Column::text(effects.iter().map(String::as_str)),
    ];
    tx.execute(&FREE_LANES, args![tenant], Some(&rows)).await?;
    Ok(())
}

/// What the other steps of an action do when one of them is put off or withdrawn.
pub(crate) async fn follow(tx: &mut Tx<'_>, tenant: i64, settled: &[(&EffectOutcome, String, i64)]) -> Result<()> {
    let (mut off, mut back) = (Vec::new(), Vec::new());
    for (outcome, action, _) in settled {
        match &outcome.result {
            EffectResult::NotNow { due_at, .. } => off.push((outcome.account.as_str(), action.as_str(), due_at.us())),
            EffectResult::Withdrawn { why } => back.push((outcome.account.as_str(), action.as_str(), why.as_str())),
            EffectResult::Done(_)
            | EffectResult::Again { .. }
            | EffectResult::Unknown { .. }
            | EffectResult::Conflict { .. }
            | EffectResult::Failed { .. } => {}
        }
    }
    if !off.is_empty() {
        let rows = [
            Column::text(off.iter().map(|row| row.0)),
            Column::text(off.iter().map(|row| row.1)),
            Column::int(off.iter().map(|row| row.2)),
        ];
        tx.execute(&PUT_OFF, args![tenant], Some(&rows)).await?;
    }
    if !back.is_empty() {
        let rows = [
            Column::text(back.iter().map(|row| row.0)),
            Column::text(back.iter().map(|row| row.1)),
            Column::text(back.iter().map(|row| row.2)),
        ];
        tx.execute(&WITHDRAW, args![tenant], Some(&rows)).await?;
    }
    Ok(())
}

impl Store {
    /// Actions whose effects wait for a moment after `now`, with the earliest such moment, by id, at most `rows`.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn planned_actions(&self, now: Timestamp, rows: u32) -> Result<Vec<(ActionId, Timestamp)>> {
        let args = args![self.tenant.0, now.us(), limit(rows)];
        let rows = self.db.fetch(&PLANNED, args, None).await?;
        rows.iter()
            .map(|row| Ok((ActionId::new(row.text(0)?), time(row.int(1)?))))
            .collect()
    }
}
