//! What people have stopped.
//!
//! INVARIANT (a stop holds): what is stopped is read in the transaction of every lease, so that nothing is leased within a
//! stop that was committed before. What had been leased by then is asked about again before it is sent.

use perennial_core::stop::{Stop, StopScope};
use perennial_core::time::Timestamp;

use crate::Store;
use crate::convert::{corrupt, time};
use crate::db::{Durability, Row, Statement, Tx, args};
use crate::error::Result;
use crate::ledger;
use crate::rows::LedgerDraft;
use crate::workers;

/// The reading of stops ends here: they are a few, made by people.
const STOPS_MAX: i64 = 10_000;

pub(crate) static STOPS: Statement = Statement::same(
    "reading what is stopped",
    "select scope, subject, at_us, person, reason from stop where tenant_id = $1 order by scope, subject limit $2",
);
pub(crate) static PUT: Statement = Statement::same(
    "stopping",
    "insert into stop (tenant_id, scope, subject, at_us, person, reason) values ($1, $2, $3, $4, $5, $6)
     on conflict (tenant_id, scope, subject) do nothing",
);
pub(crate) static TAKE_BACK: Statement = Statement::same(
    "letting go on",
    "delete from stop where tenant_id = $1 and scope = $2 and subject = $3",
);
/// Every lane that waits for a later moment is looked at once more: which of them waited for the stop is not known.
pub(crate) static LOOK_AGAIN: Statement = Statement::same(
    "looking at stopped lanes again",
    "update account_lane set ready_us = $2 where tenant_id = $1 and ready_us > $2 and held = ''",
);

#[cfg(test)]
pub(crate) static ALL: &[&Statement] = &[&STOPS, &PUT, &TAKE_BACK, &LOOK_AGAIN];

/// What is stopped, within a transaction.
pub(crate) async fn read(tx: &mut Tx<'_>, tenant: i64) -> Result<Vec<Stop>> {
    let rows = tx.fetch(&STOPS, args![tenant, STOPS_MAX], None).await?;
    rows.iter().map(stop).collect()
}

impl Store {
    /// What is stopped now, in order of the words.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn stops(&self) -> Result<Vec<Stop>> {
        let rows = self.db.fetch(&STOPS, args![self.tenant.0, STOPS_MAX], None).await?;
        rows.iter().map(stop).collect()
    }

    /// Stops a scope, with an entry of the ledger. Says whether it did: not when the same scope is stopped already.
    ///
    /// # Errors
    /// What writing brings; nothing changes then.
    pub async fn stop(&self, stop: &Stop, entry: &LedgerDraft) -> Result<bool> {
        let mut tx = self.db.write(Durability::Full).await?;
        let head = ledger::lock_head(&mut tx, self.tenant).await?;
        let (scope, subject) = stop.scope.words();
        let (at, person, reason) = (stop.since.us(), stop.person.as_str(), stop.reason.as_str());
        let args = args![self.tenant.0, scope, subject, at, person, reason];
        let is_new = tx.execute(&PUT, args, None).await? > 0;
        if is_new {
            ledger::append(&mut tx, self.tenant, &head, &[(None, stop.since, entry)]).await?;
            workers::wake(&mut tx, self.tenant).await?;
        }
        tx.commit().await?;
        Ok(is_new)
    }

    /// Lets a scope go on, with an entry of the ledger. Says whether it did: not when it is not stopped.
    ///
    /// # Errors
    /// What writing brings; nothing changes then.
    pub async fn resume(&self, scope: &StopScope, entry: &LedgerDraft, now: Timestamp) -> Result<bool> {
        let mut tx = self.db.write(Durability::Full).await?;
        let head = ledger::lock_head(&mut tx, self.tenant).await?;
        let (word, subject) = scope.words();
        let was = tx
            .execute(&TAKE_BACK, args![self.tenant.0, word, subject], None)
            .await?
            > 0;
        if was {
            ledger::append(&mut tx, self.tenant, &head, &[(None, now, entry)]).await?;
            tx.execute(&LOOK_AGAIN, args![self.tenant.0, now.us()], None).await?;
            workers::wake(&mut tx, self.tenant).await?;
        }
        tx.commit().await?;
        Ok(was)
    }
}

fn stop(row: &Row) -> Result<Stop> {
    let (scope, subject) = (row.text(0)?, row.text(1)?);
    Ok(Stop {
        // One that this program does not know cannot be kept: it says so, and nothing is leased.
        scope: StopScope::from_words(&scope, &subject).ok_or_else(|| corrupt("scope of a stop", &scope))?,
        since: time(row.int(2)?),
        person: row.text(3)?,
        reason: row.text(4)?,
    })
}
