//! Who is asked about actions that wait, for how long, and whose roles somebody may use for a time.

use perennial_core::signal::{OwnerRole, Tier};
use perennial_core::time::Timestamp;

use crate::Store;
use crate::actions::{action_row, select_actions};
use crate::convert::{limit, time};
use crate::db::{Durability, Row, Statement, args};
use crate::error::Result;
use crate::ledger;
use crate::rows::{ActionRow, DelegationRow, LedgerDraft};

pub(crate) static UNANSWERED: Statement = Statement::same(
    "looking for what nobody answered",
    concat!(
        select_actions!(),
        "a.asked_us is not null and a.asked_us <= $2 and coalesce(a.tier, '') = $3 order by a.asked_us, a.action_id limit $4"
    ),
);
/// The content stays as it is, and so does the version: what somebody read is still what they may approve.
pub(crate) static ESCALATE: Statement = Statement::same(
    "asking the next role",
    "update action set asked_role = coalesce($5, asked_role), asked_us = $6
     where tenant_id = $1 and account_id = $2 and action_id = $3 and version = $4 and asked_us is not null",
);
pub(crate) static INSERT: Statement = Statement::same(
    "storing a delegation",
    "insert into delegation (tenant_id, delegation_id, giver, receiver, from_us, until_us, reason, at_us)
     values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict do nothing",
);
pub(crate) static REVOKE: Statement = Statement::same(
    "taking a delegation back",
    "update delegation set revoked_us = $3 where tenant_id = $1 and delegation_id = $2 and revoked_us is null",
);
pub(crate) static TO: Statement = Statement::same(
    "reading delegations",
    "select delegation_id, giver, receiver, from_us, until_us, reason, at_us, revoked_us from delegation
     where tenant_id = $1 and receiver = $2 and until_us > $3 and from_us <= $3 and revoked_us is null
     order by delegation_id",
);
pub(crate) static LATEST: Statement = Statement::same(
    "listing delegations",
    "select delegation_id, giver, receiver, from_us, until_us, reason, at_us, revoked_us from delegation
     where tenant_id = $1 and until_us > $2 order by from_us, delegation_id limit $3",
);

#[cfg(test)]
pub(crate) static ALL: &[&Statement] = &[&UNANSWERED, &ESCALATE, &INSERT, &REVOKE, &TO, &LATEST];

impl Store {
    /// Actions of accounts of this tier that wait and about which the same role has been asked since `since` or longer, the
    /// longest first, at most `rows`.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn unanswered(&self, tier: Option<Tier>, since: Timestamp, rows: u32) -> Result<Vec<ActionRow>> {
        let tier = tier.map_or("", Tier::as_str);
        let args = args![self.tenant.0, since.us(), tier, limit(rows)];
        let rows = self.db.fetch(&UNANSWERED, args, None).await?;
        rows.iter().map(action_row).collect()
    }

    /// Asks `role` from now on, with an entry of the ledger; without a role nobody more senior is asked any more. Says whether it
    /// did: not when the action has changed meanwhile.
    ///
    /// # Errors
    /// What writing brings; nothing changes then.
    pub async fn escalate(
        &self,
        row: &ActionRow,
        role: Option<OwnerRole>,
        at: Timestamp,
        entry: &LedgerDraft,
    ) -> Result<bool> {
        let mut tx = self.db.write(Durability::Full).await?;
        let head = ledger::lock_head(&mut tx, self.tenant).await?;
        let args = args![
            self.tenant.0,
            row.account.as_str(),
            row.id.as_str(),
            row.version,
            role.map(OwnerRole::as_str),
            role.map(|_| at.us()),
        ];
        let changed = tx.execute(&ESCALATE, args, None).await?;
        if changed == 1 {
            ledger::append(&mut tx, self.tenant, &head, &[(Some(&row.account), at, entry)]).await?;
        }
        tx.commit().await?;
        Ok(changed == 1)
    }

    /// Lends somebody's roles, with an entry of the ledger. The same delegation twice is one.
    ///
    /// # Errors
    /// What writing brings; nothing changes then.
    pub async fn delegate(&self, delegation: &DelegationRow, entry: &LedgerDraft) -> Result<()> {
        let mut tx = self.db.write(Durability::Full).await?;
        let head = ledger::lock_head(&mut tx, self.tenant).await?;
        let d = delegation;
        let args = args![
            self.tenant.0,
            d.id.as_str(),
            d.giver.as_str(),
            d.receiver.as_str(),
            d.from.us(),
            d.until.us(),
            d.reason.as_str(),
            d.at.us(),
        ];
        if tx.execute(&INSERT, args, None).await? == 1 {
            ledger::append(&mut tx, self.tenant, &head, &[(None, d.at, entry)]).await?;
        }
        tx.commit().await
    }

    /// Takes a delegation back, with an entry of the ledger. Says whether it did: not when there is none, or it was taken back.
    ///
    /// # Errors
    /// What writing brings; nothing changes then.
    pub async fn revoke_delegation(&self, id: &str, at: Timestamp, entry: &LedgerDraft) -> Result<bool> {
        let mut tx = self.db.write(Durability::Full).await?;
        let head = ledger::lock_head(&mut tx, self.tenant).await?;
        let changed = tx.execute(&REVOKE, args![self.tenant.0, id, at.us()], None).await?;
        if changed == 1 {
            ledger::append(&mut tx, self.tenant, &head, &[(None, at, entry)]).await?;
        }
        tx.commit().await?;
        Ok(changed == 1)
    }

    /// Delegations to a person that hold now.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn delegations_to(&self, receiver: &str, now: Timestamp) -> Result<Vec<DelegationRow>> {
        let rows = self
            .db
            .fetch(&TO, args![self.tenant.0, receiver, now.us()], None)
            .await?;
        rows.iter().map(delegation_row).collect()
    }

    /// Delegations that have not ended by `now`, also those that are still to come or were taken back, at most `rows`.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn delegations(&self, now: Timestamp, rows: u32) -> Result<Vec<DelegationRow>> {
        let args = args![self.tenant.0, now.us(), limit(rows)];
        let rows = self.db.fetch(&LATEST, args, None).await?;
        rows.iter().map(delegation_row).collect()
    }
}

fn delegation_row(row: &Row) -> Result<DelegationRow> {
    Ok(DelegationRow {
        id: row.text(0)?,
        giver: row.text(1)?,
        receiver: row.text(2)?,
        from: time(row.int(3)?),
        until: time(row.int(4)?),
        reason: row.text(5)?,
        at: time(row.int(6)?),
        revoked_at: row.opt_int(7)?.map(time),
    })
}
