//! Leasing effects to workers, and settling them.

mod statements;

use std::collections::{BTreeMap, BTreeSet};

use perennial_core::action::{ActionKind, Effect, EffectState, PermitRecord};
use perennial_core::ids::{AccountId, ActionId, DecisionId, EffectId, RunId};
use perennial_core::replay::canonical;
use perennial_core::signal::{Crm, Tier};
use perennial_core::stop::StopScope;
use perennial_core::time::Timestamp;

use crate::Store;
use crate::conflicts;
use crate::convert::{json, limit, time, word};
use crate::db::{Column, Durability, Row, Tx, args};
use crate::error::{Result, StoreError};
use crate::ledger;
use crate::rows::{EffectOutcome, EffectResult, LeasedEffect, SettleReport, SettledAction};
use crate::{planned, reservations, stops};
#[cfg(test)]
pub(crate) use statements::ALL;
use statements::{
    BEGIN_ATTEMPTS, BLOCK, EXTEND, EXTEND_LANES, HEADS, HEADS_ALLOWED, HOLD_LANES, INSERT_RECEIPTS, LEASED, LEASED_BY,
    LOCK_LANES, RELEASE, SETTLE, SETTLED, SETTLED_OF,
};
pub(crate) use statements::{END_ATTEMPTS, FREE_LANES, LOCK_READY, TAKE};

/// How long a lane is left alone in which nothing may be begun because of a stop.
const STOPPED_US: i64 = 60_000_000;

/// How much a worker has room for.
#[derive(Clone, Copy)]
pub struct Room<'a> {
    /// Effects at most.
    pub rows: u32,
    /// Of those that go alone at most.
    pub alone: u32,
    /// Whether an effect goes alone, in a request of its own.
    pub is_alone: &'a (dyn Fn(&Effect) -> bool + Sync),
}

/// What was leased.
#[derive(Debug, Clone, Default)]
pub struct Leased {
    /// The effects, in the order in which their lanes were ready.
    pub effects: Vec<LeasedEffect>,
    /// Effects that were ready and for which there was no room among those that go alone.
    pub left_out: usize,
}

/// The head of a lane, read while the lane is locked.
struct Claim {
    account: String,
    effect_id: String,
    unsure: bool,
    lease: LeasedEffect,
}

/// A lane after a claim: what it holds (empty for nothing) and when it is looked at again.
struct Lane {
    account: String,
    tool: String,
    held: String,
    ready_us: Option<i64>,
}

impl Store {
    /// Leases up to `rows` effects to `worker` until `now` plus `lease_us` (microseconds): of each account and tool the
    /// earliest unfinished effect, if it is due and nobody holds it. An effect whose lease ran out comes back as
    /// `Unknown`: its attempt was begun, so it must be looked up first. Records the begin of each attempt.
    ///
    /// # Errors
    /// What writing brings.
    pub async fn lease_effects(
        &self,
        worker: &str,
        tools: &[Crm],
        rows: u32,
        now: Timestamp,
        lease_us: i64,
    ) -> Result<Vec<LeasedEffect>> {
        let all = Room {
            rows,
            alone: rows,
            is_alone: &|_| false,
        };
        Ok(self.lease_within(worker, tools, all, now, lease_us).await?.effects)
    }

    /// The same as [`Store::lease_effects`], with fewer of those that go alone than of those that go together.
    ///
    /// # Errors
    /// What writing brings.
    pub async fn lease_within(
        &self,
        worker: &str,
        tools: &[Crm],
        room: Room<'_>,
        now: Timestamp,
        lease_us: i64,
    ) -> Result<Leased> {
        let mut tools: BTreeSet<Crm> = tools.iter().copied().collect();
        let until = now.us().saturating_add(lease_us);
        let mut tx = self.db.write(Durability::Full).await?;
        // INVARIANT (a stop holds): read here, where nothing is leased yet.
        let stops = stops::read(&mut tx, self.tenant.0).await?;
        let mut within_lanes = false;
        for stop in &stops {
            match &stop.scope {
                StopScope::All => tools.clear(),
                StopScope::Tool(tool) => {
                    tools.remove(tool);
                }
                StopScope::Tier(_) | StopScope::Kind(_) | StopScope::Account(_) => within_lanes = true,
            }
        }
        let mut ready = Vec::new();
        let mut left = room.rows;
        for (i, tool) in tools.iter().enumerate() {
            // Each tool gets its share, and what the ones before it left over.
            let share = left.div_ceil(u32::try_from(tools.len() - i).unwrap_or(1));
            let args = args![self.tenant.0, tool.as_str(), now.us(), limit(share)];
            let found = tx.fetch(&LOCK_READY, args, None).await?;
            left = left.saturating_sub(u32::try_from(found.len()).unwrap_or(share));
            for row in &found {
                ready.push((row.text(0)?, row.text(1)?, row.text(2)?));
            }
        }
        if ready.is_empty() {
            tx.commit().await?;
            return Ok(Leased::default());
        }
        let lanes = [
            Column::text(ready.iter().map(|lane| lane.0.as_str())),
            Column::text(ready.iter().map(|lane| lane.1.as_str())),
            Column::text(ready.iter().map(|lane| lane.2.as_str())),
        ];
        let heads = if within_lanes { &HEADS_ALLOWED } else { &HEADS };
        let heads = tx.fetch(heads, args![self.tenant.0, now.us()], Some(&lanes)).await?;
        let (mut claims, mut lanes) = (Vec::new(), Vec::new());
        let (mut alone, mut left_out) = (room.alone, 0);
        for row in &heads {
            let (mut lane, claim) = claim(row, now, until)?;
            if claim.as_ref().is_some_and(|claim| (room.is_alone)(&claim.lease.effect)) {
                let Some(left) = alone.checked_sub(1) else {
                    // Its lane stays as it is: ready, for whoever has room.
                    left_out += 1;
                    continue;
                };
                alone = left;
            }
            if within_lanes && claim.is_none() {
                // It may hold something stopped. Whoever lets that go on has it looked at again; should that pass
                // unseen between two transactions, it is looked at after a while anyway.
                let later = now.us().saturating_add(STOPPED_US);
                lane.ready_us = Some(lane.ready_us.unwrap_or(later).min(later));
            }
            lanes.push(lane);
            claims.extend(claim);
        }
        if lanes.is_empty() {
            tx.commit().await?;
            return Ok(Leased {
                left_out,
                ..Leased::default()
            });
        }
        self.take(&mut tx, worker, &claims, now, until).await?;
        let rows = [
            Column::text(lanes.iter().map(|lane| lane.account.as_str())),
            Column::text(lanes.iter().map(|lane| lane.tool.as_str())),
            Column::text(lanes.iter().map(|lane| lane.held.as_str())),
            Column::opt_int(lanes.iter().map(|lane| lane.ready_us)),
        ];
        tx.execute(&HOLD_LANES, args![self.tenant.0], Some(&rows)).await?;
        tx.commit().await?;
        Ok(Leased {
            effects: claims.into_iter().map(|claim| claim.lease).collect(),
            left_out,
        })
    }

    async fn take(&self, tx: &mut Tx<'_>, worker: &str, claims: &[Claim], now: Timestamp, until: i64) -> Result<()> {
        if claims.is_empty() {
            return Ok(());
        }
        let key = || {
            [
                Column::text(claims.iter().map(|claim| claim.account.as_str())),
                Column::text(claims.iter().map(|claim| claim.effect_id.as_str())),
            ]
        };
        let [account, effect] = key();
        let rows = [
            account,
            effect,
            Column::int(claims.iter().map(|claim| i64::from(claim.unsure))),
            Column::int(claims.iter().map(|claim| claim.lease.fence)),
        ];
        let taken = tx
            .execute(&TAKE, args![self.tenant.0, until, worker], Some(&rows))
            .await?;
        if taken != claims.len() as u64 {
            return Err(StoreError::Corrupt {
                what: "outbox",
                detail: "an effect was leased although its lane was locked".to_owned(),
            });
        }
        let [account, effect] = key();
        let rows = [
            account,
            effect,
            Column::int(claims.iter().map(|claim| claim.lease.fence)),
        ];
        tx.execute(&BEGIN_ATTEMPTS, args![self.tenant.0, worker, now.us()], Some(&rows))
            .await?;
        Ok(())
    }

    /// Records what came of leased effects, in one transaction: attempts, receipts or errors, next states, entries of
    /// the ledger. An outcome whose lease is no longer the effect's is refused: reported, not an error.
    ///
    /// # Errors
    /// What writing brings; nothing is recorded then.
    pub async fn settle_effects(&self, outcomes: &[EffectOutcome]) -> Result<SettleReport> {
        let mut report = SettleReport::default();
        if outcomes.is_empty() {
            return Ok(report);
        }
        let mut tx = self.db.write(Durability::Full).await?;
        // INVARIANT (order of locks): the head first, then lanes.
        let head = ledger::lock_head(&mut tx, self.tenant).await?;
        lock_lanes(
            &mut tx,
            self.tenant.0,
            outcomes.iter().map(|outcome| outcome.account.as_str()),
        )
        .await?;
        let rows = [
            Column::text(outcomes.iter().map(|outcome| outcome.account.as_str())),
            Column::text(outcomes.iter().map(|outcome| outcome.effect.as_str())),
        ];
        let mut leased: BTreeMap<(String, String), (i64, String, i64)> = BTreeMap::new();
        for row in tx.fetch(&LEASED, args![self.tenant.0], Some(&rows)).await? {
            if row.text(2)? == EffectState::Leased.as_str() {
                leased.insert((row.text(0)?, row.text(1)?), (row.int(3)?, row.text(4)?, row.int(5)?));
            }
        }
        let mut settled = Vec::new();
        for outcome in outcomes {
            let key = (outcome.account.as_str().to_owned(), outcome.effect.as_str().to_owned());
            if leased.get(&key).is_some_and(|(fence, ..)| *fence == outcome.fence) {
                // Taken out, so that a second outcome of the same effect is refused.
                settled.extend(leased.remove(&key).map(|(_, action, step)| (outcome, action, step)));
            } else {
                report.refused.push(outcome.effect.clone());
            }
        }
        if settled.is_empty() {
            // Nothing was written. Ending it here frees the locks now; a dropped transaction frees them some time later,
            // and a worker that skips locked lanes would find nothing to do meanwhile.
            tx.commit().await?;
            return Ok(report);
        }
        self.record(&mut tx, &settled).await?;
        let rows = [
            Column::text(settled.iter().map(|(outcome, ..)| outcome.account.as_str())),
            Column::text(settled.iter().map(|(outcome, ..)| outcome.effect.as_str())),
        ];
        tx.execute(&FREE_LANES, args![self.tenant.0], Some(&rows)).await?;
        let rows = [
            Column::text(settled.iter().map(|(outcome, ..)| outcome.account.as_str())),
            Column::text(settled.iter().map(|(_, action, _)| action.as_str())),
        ];
        let rows = tx.fetch(&SETTLED_OF, args![self.tenant.0], Some(&rows)).await?;
        report.actions = rows.iter().map(settled_action).collect::<Result<_>>()?;
        let outcomes: Vec<&EffectOutcome> = settled.iter().map(|(outcome, ..)| *outcome).collect();
        reservations::settle(&mut tx, self.tenant, &report.actions, &outcomes).await?;
        let drafts: Vec<_> = settled
            .iter()
            .flat_map(|(outcome, ..)| {
                let of = |draft| (Some(&outcome.account), outcome.at, draft);
                outcome.ledger.iter().map(of)
            })
            .collect();
        ledger::append(&mut tx, self.tenant, &head, &drafts).await?;
        tx.commit().await?;
        Ok(report)
    }

    async fn record(&self, tx: &mut Tx<'_>, settled: &[(&EffectOutcome, String, i64)]) -> Result<()> {
        let each = || settled.iter().map(|(outcome, ..)| *outcome);
        let rows = [
            Column::text(each().map(|o| o.account.as_str())),
            Column::text(each().map(|o| o.effect.as_str())),
            Column::text(each().map(|o| next(o).0.as_str())),
            Column::int(each().map(|o| i64::from(next(o).0 == EffectState::Unknown))),
            Column::opt_int(each().map(|o| next(o).1.map(Timestamp::us))),
            Column::opt_text(each().map(|o| next(o).2)),
            Column::int(each().map(|o| i64::from(matches!(o.result, EffectResult::NotNow { .. })))),
        ];
        tx.execute(&SETTLE, args![self.tenant.0], Some(&rows)).await?;
        let rows = [
            Column::text(each().map(|o| o.account.as_str())),
            Column::text(each().map(|o| o.effect.as_str())),
            Column::int(each().map(|o| o.fence)),
            Column::int(each().map(|o| o.at.us())),
            Column::text(each().map(|o| next(o).0.as_str())),
            Column::opt_text(each().map(|o| next(o).2)),
        ];
        let begun = || each().map(|o| o.begun_at.us());
        let bounds = (begun().min().unwrap_or(i64::MIN), begun().max().unwrap_or(i64::MAX));
        tx.execute(&END_ATTEMPTS, args![self.tenant.0, bounds.0, bounds.1], Some(&rows))
            .await?;
        let receipts: Vec<(&EffectOutcome, i64, String)> = each()
            .filter_map(|outcome| match &outcome.result {
                EffectResult::Done(receipt) => Some((outcome, receipt.at.us(), canonical(receipt))),
                EffectResult::Again { .. }
                | EffectResult::NotNow { .. }
                | EffectResult::Withdrawn { .. }
                | EffectResult::Unknown { .. }
                | EffectResult::Conflict { .. }
                | EffectResult::Failed { .. } => None,
            })
            .collect();
        if !receipts.is_empty() {
            let rows = [
                Column::text(receipts.iter().map(|(o, ..)| o.account.as_str())),
                Column::text(receipts.iter().map(|(o, ..)| o.effect.as_str())),
                Column::int(receipts.iter().map(|(o, ..)| o.fence)),
                Column::int(receipts.iter().map(|(_, at, _)| *at)),
                Column::text(receipts.iter().map(|(.., body)| body.as_str())),
            ];
            tx.execute(&INSERT_RECEIPTS, args![self.tenant.0], Some(&rows)).await?;
        }
        // One row an action, its earliest failed step, so that each later step has one reason.
        let mut failed: BTreeMap<(&str, &str), i64> = BTreeMap::new();
        for (outcome, action, step) in settled {
            if matches!(
                outcome.result,
                EffectResult::Failed { .. } | EffectResult::Conflict { .. }
            ) {
                let first = failed
                    .entry((outcome.account.as_str(), action.as_str()))
                    .or_insert(*step);
                *first = (*first).min(*step);
            }
        }
        if !failed.is_empty() {
            let rows = [
                Column::text(failed.keys().map(|key| key.0)),
                Column::text(failed.keys().map(|key| key.1)),
                Column::int(failed.values().copied()),
            ];
            tx.execute(&BLOCK, args![self.tenant.0], Some(&rows)).await?;
        }
        conflicts::learn(tx, self.tenant.0, settled).await?;
        conflicts::record(tx, self.tenant.0, settled).await?;
        planned::follow(tx, self.tenant.0, settled).await
    }

    /// Permitted actions that have no unfinished effect: what a crash between settling and the action's next state
    /// left behind. In order of their ids.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn settled_actions(&self) -> Result<Vec<SettledAction>> {
        let rows = self.db.fetch(&SETTLED, args![self.tenant.0], None).await?;
        let mut actions: Vec<SettledAction> = rows.iter().map(settled_action).collect::<Result<_>>()?;
        actions.sort();
        Ok(actions)
    }

    /// Extends leases of a worker to `until`, those that ran out and that nobody took over too; what is not its own any more is
    /// left alone. How many were extended.
    ///
    /// # Errors
    /// What writing brings.
    pub async fn extend_leases(&self, worker: &str, held: &[(AccountId, EffectId)], until: Timestamp) -> Result<u64> {
        if held.is_empty() {
            return Ok(0);
        }
        let mut tx = self.db.write(Durability::Full).await?;
        lock_lanes(&mut tx, self.tenant.0, held.iter().map(|(account, _)| account.as_str())).await?;
        let rows = [
            Column::text(held.iter().map(|(account, _)| account.as_str())),
            Column::text(held.iter().map(|(_, effect)| effect.as_str())),
        ];
        let mut ours = Vec::new();
        for row in &tx.fetch(&LEASED, args![self.tenant.0], Some(&rows)).await? {
            if row.text(2)? == EffectState::Leased.as_str() && row.opt_text(6)?.as_deref() == Some(worker) {
                ours.push((row.text(0)?, row.text(1)?));
            }
        }
        let rows = || {
            [
                Column::text(ours.iter().map(|(account, _)| account.as_str())),
                Column::text(ours.iter().map(|(_, effect)| effect.as_str())),
            ]
        };
        let extended = tx
            .execute(&EXTEND, args![self.tenant.0, until.us(), worker], Some(&rows()))
            .await?;
        tx.execute(&EXTEND_LANES, args![self.tenant.0, until.us()], Some(&rows()))
            .await?;
        tx.commit().await?;
        Ok(extended)
    }

    /// Gives back all leases of a worker that sends nothing any more: only what was surely not sent may be left. An
    /// effect whose earlier answer is missing stays unknown. How many were given back.
    ///
    /// # Errors
    /// What writing brings.
    pub async fn release_leases(&self, worker: &str) -> Result<u64> {
        let mut tx = self.db.write(Durability::Full).await?;
        ledger::lock_head(&mut tx, self.tenant).await?;
        let leased = tx.fetch(&LEASED_BY, args![self.tenant.0, worker], None).await?;
        if leased.is_empty() {
            return Ok(0);
        }
        let leased = leased
            .iter()
            .map(|row| Ok((row.text(0)?, row.text(1)?)))
            .collect::<Result<Vec<_>>>()?;
        lock_lanes(
            &mut tx,
            self.tenant.0,
            leased.iter().map(|(account, _)| account.as_str()),
        )
        .await?;
        let rows = || {
            [
                Column::text(leased.iter().map(|(account, _)| account.as_str())),
                Column::text(leased.iter().map(|(_, effect)| effect.as_str())),
            ]
        };
        let released = tx
            .execute(&RELEASE, args![self.tenant.0, worker], Some(&rows()))
            .await?;
        tx.execute(&FREE_LANES, args![self.tenant.0], Some(&rows())).await?;
        tx.commit().await?;
        Ok(released)
    }
}

pub(crate) async fn lock_lanes(tx: &mut Tx<'_>, tenant: i64, accounts: impl Iterator<Item = &str>) -> Result<()> {
    let accounts: BTreeSet<&str> = accounts.collect();
    let rows = [Column::text(accounts.into_iter())];
    tx.fetch(&LOCK_LANES, args![tenant], Some(&rows)).await?;
    Ok(())
}

/// What a lane's head gives: the lane as it is afterwards, and the lease when the head may be taken.
fn claim(row: &Row, begun_at: Timestamp, until: i64) -> Result<(Lane, Option<Claim>)> {
    let now = begun_at.us();
    let (account, tool) = (row.text(0)?, row.text(1)?);
    let idle = |ready_us| Lane {
        account: account.clone(),
        tool: tool.clone(),
        held: String::new(),
        ready_us,
    };
    let Some(effect_id) = row.opt_text(2)? else {
        return Ok((idle(None), None));
    };
    let leased = row.text(3)? == EffectState::Leased.as_str();
    let ready = if leased {
        row.opt_int(5)?.unwrap_or(now)
    } else {
        row.int(4)?
    };
    if ready > now {
        return Ok((idle(Some(ready)), None));
    }
    // A lease that ran out: its attempt was begun, and nobody said how it ended.
    let unsure = leased || row.int(6)? == 1;
    let effect: Effect = json("effect", &row.text(9)?)?;
    let permit: PermitRecord = json("permit", &row.text(10)?)?;
    let all = row.opt_text(11)?;
    let lease = LeasedEffect {
        effect,
        permit,
        all: all.map_or(Ok(Vec::new()), |text| json("effects", &text))?,
        kind: word("kind of action", &row.text(12)?, ActionKind::from_word)?,
        tier: row
            .opt_text(14)?
            .map(|tier| word("tier", &tier, Tier::from_word))
            .transpose()?,
        verdict: row.text(13)?,
        attempts: row.int(7)? + 1,
        fence: row.int(8)? + 1,
        begun_at,
        state: if unsure {
            EffectState::Unknown
        } else {
            EffectState::Waiting
        },
        decided_at: time(row.int(15)?),
        image: row.opt_text(16)?,
        decision: DecisionId::new(row.text(17)?),
        run: RunId::new(row.text(18)?),
        permitted_at: time(row.int(19)?),
    };
    let lane = Lane {
        held: effect_id.clone(),
        ..idle(Some(until))
    };
    Ok((
        lane,
        Some(Claim {
            account,
            effect_id,
            unsure,
            lease,
        }),
    ))
}

/// Next state, next due time and error of an outcome.
fn next(outcome: &EffectOutcome) -> (EffectState, Option<Timestamp>, Option<&str>) {
    match &outcome.result {
        EffectResult::Done(_) => (EffectState::Done, None, None),
        EffectResult::Again { error, due_at } => (EffectState::Waiting, Some(*due_at), Some(error)),
        EffectResult::Unknown { error, due_at, .. } => (EffectState::Unknown, Some(*due_at), Some(error)),
        EffectResult::NotNow { why, due_at } => (EffectState::Waiting, Some(*due_at), Some(why)),
        EffectResult::Withdrawn { why } => (EffectState::Withdrawn, None, Some(why)),
        EffectResult::Failed { error } => (EffectState::Failed, None, Some(error)),
        EffectResult::Conflict { error, .. } => (EffectState::Conflict, None, Some(error)),
    }
}

fn settled_action(row: &Row) -> Result<SettledAction> {
    Ok(SettledAction {
        action: ActionId::new(row.text(0)?),
        account: AccountId::new(row.text(1)?),
        any_failed: row.int(2)? > 0,
        withdrawn: row.int(3)? == 0,
        conflict: row.int(4)? > 0,
    })
}
