//! Committing decisions with all that follows from them, and reading them back.
//!
//! INVARIANT (commit, then act): the transaction that stores a permitted action also stores its effects and the entry
//! of the ledger that announces them. Committing again changes nothing.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use perennial_core::ids::{AccountId, DecisionId, RunId};
use perennial_core::replay::Hash;
use perennial_core::time::Timestamp;

use crate::Store;
use crate::actions;
use crate::convert::{hash, limit, time};
use crate::db::{Col, Column, Durability, Row, Statement, Tx, args};
use crate::error::Result;
use crate::ledger;
use crate::outbox;
use crate::packed::Packed;
use crate::plays::{self, PlayChange};
use crate::reservations::{self, Wanted};
use crate::rows::{CommitReport, DecisionCommit, DecisionRow, NewAction, NoRoom};

macro_rules! decision_columns {
    () => {
        "d.account_id, d.decision_id, d.run_id, d.as_of_us, d.inputs, d.inputs_hash, d.output, d.output_hash, d.content,
         d.engine"
    };
}

pub(crate) static INSERT: Statement = Statement::rows(
    "storing decisions",
    "insert into decision (tenant_id, account_id, decision_id, run_id, as_of_us, committed_us, content, engine, inputs_hash,
         output_hash, inputs, output)
     select $1, e.account_id, e.decision_id, e.run_id, e.as_of_us, $2, e.content, e.engine, e.inputs_hash, e.output_hash,
         e.inputs, e.output
     from {rows} where true on conflict do nothing returning decision_id",
    3,
    &[
        Col::Text("account_id"),
        Col::Text("decision_id"),
        Col::Text("run_id"),
        Col::Int("as_of_us"),
        Col::Text("content"),
        Col::Text("engine"),
        Col::Text("inputs_hash"),
        Col::Text("output_hash"),
        Col::Bytes("inputs"),
        Col::Bytes("output"),
    ],
);
pub(crate) static INSERT_RUN: Statement = Statement::rows(
    "storing the decisions of a run",
    "insert into run_decision (tenant_id, account_id, run_id, decision_id)
     select $1, e.account_id, $2, e.decision_id from {rows} where true on conflict do nothing",
    3,
    &[Col::Text("account_id"), Col::Text("decision_id")],
);
pub(crate) static BY_ID: Statement = Statement::same(
    "reading a decision",
    concat!(
        "select ",
        decision_columns!(),
        " from decision d where d.tenant_id = $1 and d.decision_id = $2"
    ),
);
pub(crate) static LATEST: Statement = Statement::rows(
    "reading the latest decisions",
    concat!(
        "select ",
        decision_columns!(),
        " from {rows} cross join decision d where d.tenant_id = $1 and d.account_id = e.account_id and d.decision_id = (
             select l.decision_id from decision l where l.tenant_id = $1 and l.account_id = e.account_id
             order by l.as_of_us desc, l.committed_us desc, l.decision_id desc limit 1)"
    ),
    2,
    &[Col::Text("account_id")],
);
pub(crate) static OF_ACCOUNT: Statement = Statement::same(
    "reading the decisions of an account",
    concat!(
        "select ",
        decision_columns!(),
        " from decision d where d.tenant_id = $1 and d.account_id = $2
         order by d.as_of_us desc, d.committed_us desc, d.decision_id desc limit $3"
    ),
);
pub(crate) static OF_ACCOUNTS_SINCE: Statement = Statement::rows(
    "reading the decisions of a time",
    concat!(
        "select ",
        decision_columns!(),
        " from {rows} cross join decision d where d.tenant_id = $1 and d.account_id = e.account_id and d.as_of_us >= $2
         order by d.account_id, d.as_of_us, d.committed_us, d.decision_id"
    ),
    3,
    &[Col::Text("account_id")],
);
pub(crate) static OF_RUN: Statement = Statement::same(
    "reading the decisions of a run",
    "select r.decision_id, d.output_hash from run_decision r
     join decision d on d.tenant_id = $1 and d.account_id = r.account_id and d.decision_id = r.decision_id
     where r.tenant_id = $1 and r.run_id = $2 and r.decision_id > $3 order by r.decision_id limit $4",
);

#[cfg(test)]
pub(crate) static ALL: &[&Statement] = &[
    &INSERT,
    &INSERT_RUN,
    &BY_ID,
    &LATEST,
    &OF_ACCOUNT,
    &OF_ACCOUNTS_SINCE,
    &OF_RUN,
];

impl Store {
    /// Stores decisions with their actions, effects and entries of the ledger, in one transaction. A decision that is
    /// there stays as it is, and so does an action, unless it waits untouched and would now be another: then it follows.
    /// Only what is new brings effects and entries. A new action that finds no room in a limit is not stored, and the report names
    /// it. A new action that is a step of a play which has moved meanwhile is not stored either. Some hundreds at a time are fastest.
    ///
    /// # Errors
    /// What writing brings; nothing of the batch is stored then.
    pub async fn commit_decisions(
        &self,
        run: &RunId,
        batch: &[DecisionCommit],
        now: Timestamp,
    ) -> Result<CommitReport> {
        let mut report = CommitReport::default();
        if batch.is_empty() {
            return Ok(report);
        }
        let mut tx = self.db.write(Durability::Full).await?;
        let new_decisions = self.insert_decisions(&mut tx, run, batch, now).await?;
        // INVARIANT (order of locks): the head first, then lanes.
        let head = ledger::lock_head(&mut tx, self.tenant).await?;
        let mut drafted: Vec<(&RunId, &NewAction)> = batch
            .iter()
            .flat_map(|commit| commit.actions.iter().map(|action| (&commit.decision.run, action)))
            .collect();
        report.no_room = self.without_room(&mut tx, &drafted, now).await?;
        drafted.retain(|(_, action)| report.no_room.iter().all(|refused| refused.action != action.row.id));
        let moves: Vec<&PlayChange> = batch.iter().flat_map(|commit| &commit.plays).collect();
        let moved = plays::apply(&mut tx, self.tenant, &moves, now).await?;
        let new = drafted.iter().map(|(_, action)| *action);
        let asked: Vec<&PlayChange> = new.filter_map(|action| action.play.as_ref()).collect();
        let taken = plays::apply(&mut tx, self.tenant, &asked, now).await?;
        drafted.retain(|(_, action)| action.play.as_ref().is_none_or(|play| taken.contains(&play.row.id)));
        let new_actions = actions::insert(&mut tx, self.tenant, &head, &drafted, now).await?;
        let effects: Vec<outbox::Enqueued<'_>> = drafted
            .iter()
            .filter_map(|(run, action)| {
                let seq = *new_actions.get(action.row.id.as_str())?;
                Some((seq, run, action))
            })
            .flat_map(|(action_seq, run, action)| {
                action
                    .outbox
                    .iter()
                    .map(move |row| outbox::Enqueued { action_seq, run, row })
            })
            .collect();
        report.effects_new = outbox::enqueue(&mut tx, self.tenant, &effects).await?;
        let permitted: Vec<Wanted<'_>> = drafted
            .iter()
            .filter(|(_, action)| new_actions.contains_key(action.row.id.as_str()))
            .map(|(_, action)| wanted(action))
            .collect();
        reservations::take(&mut tx, self.tenant, &permitted).await?;
        let gone: Vec<(&str, &str)> = batch
            .iter()
            .flat_map(|commit| {
                let account = commit.decision.account.as_str();
                commit.supersede.iter().map(move |action| (account, action.as_str()))
            })
            .collect();
        report.superseded = actions::supersede(&mut tx, self.tenant, &gone, now).await?;
        let mut drafts = drafts(batch, &new_decisions, &new_actions, now);
        drafts.extend(plays::entries(&moves, &moved, now));
        drafts.extend(plays::entries(&asked, &taken, now));
        ledger::append(&mut tx, self.tenant, &head, &drafts).await?;
        tx.commit().await?;

        let begins = |play: &&&PlayChange| play.row.version == 0 && taken.contains(&play.row.id);
        report.plays_begun = asked.iter().filter(begins).count() as u64;
        report.decisions_new = new_decisions.len() as u64;
        report.decisions_known = batch.len() as u64 - report.decisions_new;
        report.actions_new = new_actions.len() as u64;
        report.actions_known = drafted.len() as u64 - report.actions_new;
        Ok(report)
    }

    /// The new actions that find no room. What is stored already keeps what it has.
    async fn without_room(
        &self,
        tx: &mut Tx<'_>,
        drafted: &[(&RunId, &NewAction)],
        now: Timestamp,
    ) -> Result<Vec<NoRoom>> {
        let asking: Vec<&NewAction> = drafted
            .iter()
            .map(|(_, action)| *action)
            .filter(|action| !action.holds.is_empty())
            .collect();
        let ids: Vec<_> = asking.iter().map(|a| (&a.row.account, &a.row.id)).collect();
        let known = reservations::known(tx, self.tenant, &ids).await?;
        let new = asking.into_iter().filter(|a| !known.contains(a.row.id.as_str()));
        let asking: Vec<Wanted<'_>> = new.map(wanted).collect();
        reservations::check(tx, self.tenant, &asking, now).await
    }

    async fn insert_decisions(
        &self,
        tx: &mut Tx<'_>,
        run: &RunId,
        batch: &[DecisionCommit],
        now: Timestamp,
    ) -> Result<HashSet<String>> {
        let each = || batch.iter().map(|commit| &commit.decision);
        let hashes: Vec<[String; 3]> = each()
            .map(|d| {
                [
                    d.content.to_string(),
                    d.inputs_hash.to_string(),
                    d.output_hash.to_string(),
                ]
            })
            .collect();
        let rows = [
            Column::text(each().map(|d| d.account.as_str())),
            Column::text(each().map(|d| d.id.as_str())),
            Column::text(each().map(|d| d.run.as_str())),
            Column::int(each().map(|d| d.as_of.us())),
            Column::text(hashes.iter().map(|h| h[0].as_str())),
            Column::text(each().map(|d| d.engine.as_str())),
            Column::text(hashes.iter().map(|h| h[1].as_str())),
            Column::text(hashes.iter().map(|h| h[2].as_str())),
            Column::bytes(each().map(|d| d.inputs.as_bytes())),
            Column::bytes(each().map(|d| d.output.as_bytes())),
        ];
        let stored = tx.fetch(&INSERT, args![self.tenant.0, now.us()], Some(&rows)).await?;
        let rows = [
            Column::text(each().map(|d| d.account.as_str())),
            Column::text(each().map(|d| d.id.as_str())),
        ];
        tx.execute(&INSERT_RUN, args![self.tenant.0, run.as_str()], Some(&rows))
            .await?;
        stored.iter().map(|row| row.text(0)).collect()
    }

    /// A decision.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn decision(&self, id: &DecisionId) -> Result<Option<DecisionRow>> {
        let row = self.db.fetch_one(&BY_ID, args![self.tenant.0, id.as_str()]).await?;
        row.as_ref().map(decision_row).transpose()
    }

    /// The latest decision about each of some accounts; accounts without one are absent. Latest is the one with the
    /// latest facts, of these the one that was stored last.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn latest_decisions(&self, accounts: &[AccountId]) -> Result<BTreeMap<AccountId, DecisionRow>> {
        let ids: BTreeSet<&str> = accounts.iter().map(AccountId::as_str).collect();
        let rows = [Column::text(ids.into_iter())];
        let rows = self.db.fetch(&LATEST, args![self.tenant.0], Some(&rows)).await?;
        rows.iter()
            .map(|row| decision_row(row).map(|decision| (decision.account.clone(), decision)))
            .collect()
    }

    /// Decisions about an account, latest first, at most `rows`.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn decisions_of(&self, account: &AccountId, rows: u32) -> Result<Vec<DecisionRow>> {
        let args = args![self.tenant.0, account.as_str(), limit(rows)];
        let rows = self.db.fetch(&OF_ACCOUNT, args, None).await?;
        rows.iter().map(decision_row).collect()
    }

    /// All decisions about some accounts with facts from a time on; each account's in the order of their facts, then of
    /// when they were stored. Some dozens of accounts at a time: every decision is held with its inputs.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn decisions_since(&self, accounts: &[AccountId], since: Timestamp) -> Result<Vec<DecisionRow>> {
        let ids: BTreeSet<&str> = accounts.iter().map(AccountId::as_str).collect();
        let rows = [Column::text(ids.into_iter())];
        let args = args![self.tenant.0, since.us()];
        let rows = self.db.fetch(&OF_ACCOUNTS_SINCE, args, Some(&rows)).await?;
        rows.iter().map(decision_row).collect()
    }

    /// Decisions that a run came to, with the hashes of what was decided, in the order of their ids, after `after`, at
    /// most `rows`. Includes those that an earlier run had come to before.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn decisions_of_run(
        &self,
        run: &RunId,
        after: Option<&DecisionId>,
        rows: u32,
    ) -> Result<Vec<(DecisionId, Hash)>> {
        let after = after.map_or("", DecisionId::as_str);
        let args = args![self.tenant.0, run.as_str(), after, limit(rows)];
        let rows = self.db.fetch(&OF_RUN, args, None).await?;
        rows.iter()
            .map(|row| Ok((DecisionId::new(row.text(0)?), hash(&row.text(1)?)?)))
            .collect()
    }
}

fn wanted(action: &NewAction) -> Wanted<'_> {
    Wanted {
        account: &action.row.account,
        action: &action.row.id,
        holds: &action.holds,
    }
}

/// The entries that are to be written: those about what is new.
fn drafts<'a>(
    batch: &'a [DecisionCommit],
    new_decisions: &HashSet<String>,
    new_actions: &BTreeMap<String, i64>,
    now: Timestamp,
) -> Vec<(Option<&'a AccountId>, Timestamp, &'a crate::rows::LedgerDraft)> {
    let mut drafts = Vec::new();
    for commit in batch {
        let mut about: BTreeMap<&str, &str> = BTreeMap::new();
        for action in &commit.actions {
            let id = action.row.id.as_str();
            about.insert(id, id);
            about.extend(action.outbox.iter().map(|row| (row.effect.id.as_str(), id)));
        }
        let decision_is_new = new_decisions.contains(commit.decision.id.as_str());
        for draft in &commit.ledger {
            let new = match about.get(draft.reference.as_str()) {
                Some(action) => new_actions.contains_key(*action),
                None => decision_is_new,
            };
            if new {
                drafts.push((Some(&commit.decision.account), now, draft));
            }
        }
    }
    drafts
}

fn decision_row(row: &Row) -> Result<DecisionRow> {
    Ok(DecisionRow {
        account: AccountId::new(row.text(0)?),
        id: DecisionId::new(row.text(1)?),
        run: RunId::new(row.text(2)?),
        as_of: time(row.int(3)?),
        inputs: Packed::stored(row.bytes(4)?),
        inputs_hash: hash(&row.text(5)?)?,
        output: Packed::stored(row.bytes(6)?),
        output_hash: hash(&row.text(7)?)?,
        content: hash(&row.text(8)?)?,
        engine: row.text(9)?,
    })
}
