//! Canary drafts: where they stand, and what people said to them.
//!
//! INVARIANT (a canary is never sent): a trigger of the database refuses effects of an action whose draft is one.

use perennial_core::approval::canary::Defect;
use perennial_core::ids::ActionId;
use perennial_core::replay::canonical;
use perennial_core::time::Timestamp;

use crate::Store;
use crate::actions::{action_row, select_actions};
use crate::convert::{json, limit, unsigned};
use crate::db::{Durability, Statement, Tx, args};
use crate::error::{Result, StoreError};
use crate::ledger;
use crate::rows::{ActionRow, ApprovalRow, LedgerDraft};

/// Verb of a yes, or an edit that left the mistake in.
pub const MISSED: &str = "canary_missed";
/// Verb of a no, or an edit that took the mistake out.
pub const CAUGHT: &str = "canary_caught";

pub(crate) static WAITING: Statement = Statement::same(
    "reading drafts that began to wait",
    concat!(
        select_actions!(),
        "a.state = 'pending' and a.last_editor is null and a.asked_us > $2
         and not exists (select 1 from canary c where c.tenant_id = $1 and c.account_id = a.account_id
             and c.action_id = a.action_id)
         and not exists (select 1 from approval y where y.tenant_id = $1 and y.account_id = a.account_id
             and y.action_id = a.action_id)
         and not exists (select 1 from outbox o where o.tenant_id = $1 and o.account_id = a.account_id
             and o.action_id = a.action_id)
         order by a.asked_us, a.action_id limit $3"
    ),
);
pub(crate) static PUT_EFFECTS: Statement = Statement::same(
    "planting a canary",
    "update action set effects = $5, version = version + 1
     where tenant_id = $1 and account_id = $2 and action_id = $3 and version = $4 and state = 'pending' and last_editor is null
     returning version",
);
pub(crate) static PUT: Statement = Statement::same(
    "storing a canary",
    "insert into canary (tenant_id, account_id, action_id, planted_us, planted, original, defect)
     values ($1, $2, $3, $4, $5, $6, $7)",
);
pub(crate) static OPEN: Statement = Statement::same(
    "reading a canary",
    "select c.original, c.defect from canary c
     join action a on a.tenant_id = c.tenant_id and a.account_id = c.account_id and a.action_id = c.action_id
     where c.tenant_id = $1 and c.account_id = $2 and c.action_id = $3 and c.answered_us is null and a.effects = c.planted",
);
pub(crate) static ANSWER: Statement = Statement::same(
    "recording the answer to a canary",
    "update canary set answered_us = $4, person = $5, caught = $6
     where tenant_id = $1 and account_id = $2 and action_id = $3 and answered_us is null",
);
pub(crate) static YESES: Statement = Statement::same(
    "counting the yeses of a person",
    "select count(*) from approval where tenant_id = $1 and person = $2 and at_us > $3 and verb in ('approve', 'canary_missed')",
);
pub(crate) static ANSWERS: Statement = Statement::same(
    "reading the answers of people",
    "select p.person, p.verb, p.waited_us,
         case when p.verb = 'approve' and exists (select 1 from approval e where e.tenant_id = $1
             and e.account_id = p.account_id and e.action_id = p.action_id and e.verb = 'edit' and e.version < p.version)
         then 1 else 0 end
     from approval p where p.tenant_id = $1 and p.at_us > $2
         and p.verb in ('approve', 'edit', 'reject', 'canary_missed', 'canary_caught')
     order by p.person, p.at_us, p.action_id, p.version",
);

#[cfg(test)]
pub(crate) static ALL: &[&Statement] = &[&WAITING, &PUT_EFFECTS, &PUT, &OPEN, &ANSWER, &YESES, &ANSWERS];

/// A canary that nobody has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenCanary {
    /// Effects as they were decided, as text.
    pub original: String,
    /// What is wrong with what people see.
    pub defect: Defect,
}

/// An answer of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Who.
    pub person: String,
    /// What, in a word: `approve`, `edit`, `reject`, [`CAUGHT`] or [`MISSED`].
    pub verb: String,
    /// How long it had waited, in microseconds, where that is known.
    pub waited_us: Option<i64>,
    /// Of a yes, whether the draft had been edited before.
    pub edited: bool,
}

impl Store {
    /// Actions that began to wait after a moment and that nobody has touched, that have no canary and never had one, in the order in
    /// which they began to wait, at most `rows`.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn untouched_since(&self, since: Timestamp, rows: u32) -> Result<Vec<ActionRow>> {
        let args = args![self.tenant.0, since.us(), limit(rows)];
        let rows = self.db.fetch(&WAITING, args, None).await?;
        rows.iter().map(action_row).collect()
    }

    /// Puts a canary in the place of a draft. Whether it is there now: not where somebody has touched the action since it was read.
    ///
    /// # Errors
    /// What writing brings.
    pub async fn plant_canary(
        &self,
        row: &ActionRow,
        effects: &str,
        defect: &Defect,
        entry: &LedgerDraft,
        now: Timestamp,
    ) -> Result<bool> {
        let mut tx = self.db.write(Durability::Full).await?;
        let head = ledger::lock_head(&mut tx, self.tenant).await?;
        let (account, action) = (row.account.as_str(), row.id.as_str());
        let changed = tx
            .fetch(
                &PUT_EFFECTS,
                args![self.tenant.0, account, action, row.version, effects],
                None,
            )
            .await?;
        if changed.is_empty() {
            tx.commit().await?;
            return Ok(false);
        }
        let defect = canonical(defect);
        tx.execute(
            &PUT,
            args![
                self.tenant.0,
                account,
                action,
                now.us(),
                effects,
                row.effects.as_str(),
                defect.as_str()
            ],
            None,
        )
        .await?;
        ledger::append(&mut tx, self.tenant, &head, &[(Some(&row.account), now, entry)]).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// The canary that stands in the place of an action's draft; none where the draft is a true one.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn open_canary(&self, row: &ActionRow) -> Result<Option<OpenCanary>> {
        let args = args![self.tenant.0, row.account.as_str(), row.id.as_str()];
        let found = self.db.fetch_one(&OPEN, args).await?;
        found
            .map(|found| {
                Ok(OpenCanary {
                    original: found.text(0)?,
                    defect: json("defect", &found.text(1)?)?,
                })
            })
            .transpose()
    }

    /// How often a person has said yes since a moment, canaries among it.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn yeses_of(&self, person: &str, since: Timestamp) -> Result<u64> {
        let row = self
            .db
            .fetch_one(&YESES, args![self.tenant.0, person, since.us()])
            .await?;
        row.map_or(Ok(0), |row| Ok(unsigned(row.int(0)?)))
    }

    /// What people answered after a moment, by person and time.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn answers_since(&self, since: Timestamp) -> Result<Vec<Answer>> {
        let rows = self.db.fetch(&ANSWERS, args![self.tenant.0, since.us()], None).await?;
        rows.iter()
            .map(|row| {
                Ok(Answer {
                    person: row.text(0)?,
                    verb: row.text(1)?,
                    waited_us: row.opt_int(2)?,
                    edited: row.int(3)? == 1,
                })
            })
            .collect()
    }
}

/// Records what an answer says of the canary that it answered, in its own transaction. Any other answer says nothing.
pub(crate) async fn settle(
    tx: &mut Tx<'_>,
    tenant: i64,
    (account, action): (&str, &ActionId),
    answer: &ApprovalRow,
) -> Result<()> {
    let caught = match answer.verb.as_str() {
        CAUGHT => 1,
        MISSED => 0,
        _ => return Ok(()),
    };
    let settled = tx
        .execute(
            &ANSWER,
            args![
                tenant,
                account,
                action.as_str(),
                answer.at.us(),
                answer.person.as_str(),
                caught
            ],
            None,
        )
        .await?;
    if settled == 0 {
        return Err(StoreError::Stale { action: action.clone() });
    }
    Ok(())
}
