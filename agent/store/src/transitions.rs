//! Changing an action's state with all that goes with it; drafts; the day plan.

use std::collections::{BTreeMap, BTreeSet};

use perennial_core::ids::{AccountId, ActionId, OwnerId, RunId};
use perennial_core::signal::OwnerRole;
use perennial_core::time::Timestamp;

use crate::Store;
use crate::canaries;
use crate::conflicts;
use crate::convert::{hash, time};
use crate::db::{Col, Column, Durability, Statement, args};
use crate::due;
use crate::error::{Result, StoreError};
use crate::ledger;
use crate::outbox::{self, Enqueued};
use crate::planned;
use crate::plays;
use crate::reservations::{self, Wanted};
use crate::rows::{ApprovalRow, DraftRow, Transition};

pub(crate) static CHANGE: Statement = Statement::same(
    "changing an action",
    "update action set state = $6, version = version + 1, effects = coalesce($7, effects),
         last_editor = coalesce($8, last_editor), snoozed_us = $9, updated_us = $10,
         owner_id = coalesce(cast($11 as text), owner_id), reassigned = case when cast($11 as text) is null then reassigned else 1 end,
         asked_role = case when state = $6 then coalesce(cast($12 as text), asked_role) else cast($12 as text) end,
         asked_us = case when $6 not in ('pending', 'edited') then null when state = $6 and cast($12 as text) is null then asked_us
             else cast($10 as bigint) end
     where tenant_id = $1 and account_id = $2 and action_id = $3 and state = $4 and version = $5
     returning seq, run_id, as_of_us",
);
pub(crate) static INSERT_APPROVAL: Statement = Statement::same(
    "recording an approval",
    "insert into approval (tenant_id, account_id, action_id, version, at_us, person, verb, roles, reason, seen, content,
         authority, waited_us)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
);
pub(crate) static ASKED: Statement = Statement::same(
    "reading since when an action waits",
    "select asked_us from action where tenant_id = $1 and account_id = $2 and action_id = $3",
);
pub(crate) static APPROVALS: Statement = Statement::same(
    "reading approvals",
    "select p.person, p.verb, p.roles, p.reason, p.seen, p.content, p.at_us, p.authority, p.version from action a
     join approval p on p.tenant_id = $1 and p.account_id = a.account_id and p.action_id = a.action_id
     where a.tenant_id = $1 and a.action_id = $2 order by p.version",
);
pub(crate) static PUT_DRAFTS: Statement = Statement::rows(
    "storing drafts",
    "insert into draft (tenant_id, account_id, action_id, kind, format, hash, body)
     select $1, e.account_id, e.action_id, e.kind, e.format, e.hash, e.body from {rows} where true
     on conflict (tenant_id, account_id, action_id, kind, format) do update
         set hash = excluded.hash, body = excluded.body",
    2,
    &[
        Col::Text("account_id"),
        Col::Text("action_id"),
        Col::Text("kind"),
        Col::Text("format"),
        Col::Text("hash"),
        Col::Text("body"),
    ],
);
pub(crate) static DRAFTS: Statement = Statement::same(
    "reading drafts",
    "select d.account_id, d.action_id, d.kind, d.format, d.body, d.hash from action a
     join draft d on d.tenant_id = $1 and d.account_id = a.account_id and d.action_id = a.action_id
     where a.tenant_id = $1 and a.action_id = $2 order by d.kind, d.format",
);
pub(crate) static CLEAR_PLAN: Statement =
    Statement::same("clearing the day plan", "delete from day_plan where tenant_id = $1");
pub(crate) static CLEAR_PLAN_OF: Statement = Statement::rows(
    "clearing the day plan of some people",
    "delete from day_plan where tenant_id = $1 and owner_id in (select e.owner_id from {rows})",
    2,
    &[Col::Text("owner_id")],
);
pub(crate) static SET_PLAN: Statement = Statement::rows(
    "storing the day plan",
    "insert into day_plan (tenant_id, account_id, action_id, run_id, as_of_us, owner_id, position)
     select $1, a.account_id, e.action_id, $2, $3, e.owner_id, e.position
     from {rows} cross join action a where a.tenant_id = $1 and a.action_id = e.action_id
     on conflict (tenant_id, account_id, action_id) do nothing",
    4,
    &[Col::Text("owner_id"), Col::Text("action_id"), Col::Int("position")],
);

#[cfg(test)]
pub(crate) static ALL: &[&Statement] = &[
    &CHANGE,
    &ASKED,
    &INSERT_APPROVAL,
    &APPROVALS,
    &PUT_DRAFTS,
    &DRAFTS,
    &CLEAR_PLAN,
    &CLEAR_PLAN_OF,
    &SET_PLAN,
];

impl Store {
    /// Changes the state of an action with all that goes with it, in one transaction: the action, what the person did,
    /// the effects that may run now, the entries of the ledger.
    ///
    /// # Errors
    /// [`StoreError::Stale`] when the action is not in the state and version the caller saw, [`StoreError::NoRoom`] when a limit
    /// is used up, [`StoreError::Begun`] when it is too late to take its effects back; nothing changes then. What writing
    /// brings.
    pub async fn transition(&self, transition: &Transition) -> Result<()> {
        let t = transition;
        let mut tx = self.db.write(Durability::Full).await?;
        let head = ledger::lock_head(&mut tx, self.tenant).await?;
        let (account, action) = (t.account.as_str(), t.action.as_str());
        let wanted = [Wanted {
            account: &t.account,
            action: &t.action,
            holds: &t.holds,
        }];
        let no_room = reservations::check(&mut tx, self.tenant, &wanted, t.at).await?;
        if let Some(refused) = no_room.into_iter().next() {
            // Nothing was written; ending it here frees the ledger's head at once.
            tx.commit().await?;
            return Err(StoreError::NoRoom {
                action: refused.action,
                hold: refused.hold,
            });
        }
        let asked = match &t.approval {
            Some(_) => tx.fetch(&ASKED, args![self.tenant.0, account, action], None).await?,
            None => Vec::new(),
        };
        let asked = asked.first().map(|row| row.opt_int(0)).transpose()?.flatten();
        let changed = tx
            .fetch(
                &CHANGE,
                args![
                    self.tenant.0,
                    account,
                    action,
                    t.from.as_str(),
                    t.version,
                    t.to.as_str(),
                    t.effects.as_deref(),
                    t.last_editor.as_deref(),
                    t.snoozed_until.map(Timestamp::us),
                    t.at.us(),
                    t.reassign.as_ref().map(OwnerId::as_str),
                    t.asked_role.map(OwnerRole::as_str),
                ],
                None,
            )
            .await?;
        let Some(row) = changed.first() else {
            // Nothing was written; ending it here frees the ledger's head at once.
            tx.commit().await?;
            return Err(StoreError::Stale {
                action: t.action.clone(),
            });
        };
        let (action_seq, run) = (row.int(0)?, RunId::new(row.text(1)?));
        // A decision sees what became of the actions of earlier days.
        if time(row.int(2)?).day() < t.at.day() {
            due::mark(&mut tx, self.tenant.0, std::iter::once((account, t.at.us()))).await?;
        }
        if let Some(approval) = &t.approval {
            let (seen, content) = (approval.seen.map(|seen| seen.to_string()), approval.content.to_string());
            tx.execute(
                &INSERT_APPROVAL,
                args![
                    self.tenant.0,
                    account,
                    action,
                    t.version + 1,
                    approval.at.us(),
                    approval.person.as_str(),
                    approval.verb.as_str(),
                    approval.roles.as_str(),
                    approval.reason.as_deref(),
                    seen.as_deref(),
                    content.as_str(),
                    approval.authority.as_deref(),
                    asked.map(|since| approval.at.us().saturating_sub(since)),
                ],
                None,
            )
            .await?;
            canaries::settle(&mut tx, self.tenant.0, (account, &t.action), approval).await?;
        }
        if let Some(approval) = &t.approval {
            conflicts::settle(&mut tx, self.tenant.0, &t.action, approval).await?;
        }
        let effects: Vec<Enqueued<'_>> = t
            .outbox
            .iter()
            .map(|row| Enqueued {
                action_seq,
                run: &run,
                row,
            })
            .collect();
        outbox::enqueue(&mut tx, self.tenant, &effects).await?;
        reservations::take(&mut tx, self.tenant, &wanted).await?;
        if let Some(why) = &t.withdraw {
            planned::withdraw(&mut tx, self.tenant.0, &t.account, &t.action, why).await?;
            reservations::release(&mut tx, self.tenant, &t.account, &t.action).await?;
        }
        let mut drafts: Vec<_> = t.ledger.iter().map(|draft| (Some(&t.account), t.at, draft)).collect();
        if let Some(play) = &t.play {
            let applied = plays::apply(&mut tx, self.tenant, &[play], t.at).await?;
            if applied.is_empty() {
                // Somebody moved the play at the same moment. Dropped, the transaction leaves nothing.
                return Err(StoreError::Stale {
                    action: t.action.clone(),
                });
            }
            drafts.extend(plays::entries(&[play], &applied, t.at));
        }
        ledger::append(&mut tx, self.tenant, &head, &drafts).await?;
        tx.commit().await
    }

    /// What people did with an action, in order.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn approvals_of(&self, action: &ActionId) -> Result<Vec<ApprovalRow>> {
        let rows = self
            .db
            .fetch(&APPROVALS, args![self.tenant.0, action.as_str()], None)
            .await?;
        rows.iter()
            .map(|row| {
                Ok(ApprovalRow {
                    person: row.text(0)?,
                    verb: row.text(1)?,
                    roles: row.text(2)?,
                    reason: row.opt_text(3)?,
                    seen: row.opt_text(4)?.map(|text| hash(&text)).transpose()?,
                    content: hash(&row.text(5)?)?,
                    at: time(row.int(6)?),
                    authority: row.opt_text(7)?,
                    version: row.int(8)?,
                })
            })
            .collect()
    }

    /// Stores drafts. One that is there for the same action, kind and format is replaced.
    ///
    /// # Errors
    /// What writing brings.
    pub async fn put_drafts(&self, drafts: &[DraftRow]) -> Result<()> {
        // The last one of several with the same key.
        let drafts: BTreeMap<_, &DraftRow> = drafts
            .iter()
            .map(|d| {
                (
                    (
                        d.account.as_str(),
                        d.action.as_str(),
                        d.kind.as_str(),
                        d.format.as_str(),
                    ),
                    d,
                )
            })
            .collect();
        if drafts.is_empty() {
            return Ok(());
        }
        let hashes: Vec<String> = drafts.values().map(|draft| draft.hash.to_string()).collect();
        let rows = [
            Column::text(drafts.keys().map(|key| key.0)),
            Column::text(drafts.keys().map(|key| key.1)),
            Column::text(drafts.keys().map(|key| key.2)),
            Column::text(drafts.keys().map(|key| key.3)),
            Column::text(hashes.iter().map(String::as_str)),
            Column::text(drafts.values().map(|draft| draft.text.as_str())),
        ];
        let mut tx = self.db.write(Durability::Full).await?;
        tx.execute(&PUT_DRAFTS, args![self.tenant.0], Some(&rows)).await?;
        tx.commit().await
    }

    /// Drafts of an action, by kind and format.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn drafts_of(&self, action: &ActionId) -> Result<Vec<DraftRow>> {
        let rows = self
            .db
            .fetch(&DRAFTS, args![self.tenant.0, action.as_str()], None)
            .await?;
        rows.iter()
            .map(|row| {
                Ok(DraftRow {
                    account: AccountId::new(row.text(0)?),
                    action: ActionId::new(row.text(1)?),
                    kind: row.text(2)?,
                    format: row.text(3)?,
                    text: row.text(4)?,
                    hash: hash(&row.text(5)?)?,
                })
            })
            .collect()
    }

    /// Sets the plan of the day in place of the one before: owner (empty for nobody), action, and its place from 0. With
    /// `whose`, the days of these people only. An action that is not stored is left out; of an action named twice the
    /// first place counts.
    ///
    /// # Errors
    /// What writing brings.
    pub async fn set_day_plan(
        &self,
        run: &RunId,
        as_of: Timestamp,
        whose: Option<&BTreeSet<String>>,
        plan: &[(String, ActionId, u32)],
    ) -> Result<()> {
        let mut tx = self.db.write(Durability::Full).await?;
        // Two plans at once would each clear the one before and then both stand.
        ledger::lock_head(&mut tx, self.tenant).await?;
        match whose {
            None => tx.execute(&CLEAR_PLAN, args![self.tenant.0], None).await?,
            Some(whose) => {
                let rows = [Column::text(whose.iter().map(String::as_str))];
                tx.execute(&CLEAR_PLAN_OF, args![self.tenant.0], Some(&rows)).await?
            }
        };
        if !plan.is_empty() {
            let rows = [
                Column::text(plan.iter().map(|(owner, ..)| owner.as_str())),
                Column::text(plan.iter().map(|(_, action, _)| action.as_str())),
                Column::int(plan.iter().map(|(.., position)| i64::from(*position))),
            ];
            tx.execute(&SET_PLAN, args![self.tenant.0, run.as_str(), as_of.us()], Some(&rows))
                .await?;
        }
        tx.commit().await
    }
}
