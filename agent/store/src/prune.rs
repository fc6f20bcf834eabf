//! Removing what is old and over: attempts and receipts of effects that are settled, and the inputs of decisions.
//!
//! Promises: the ledger is never touched; an effect that is not settled keeps its attempts; the latest decision of an account, and one
//! with an action that is open, keep their inputs. A month of attempts that holds nothing else goes as a whole; rows go a few at a
//! time, so that nobody waits long.

use perennial_core::time::Timestamp;

use crate::Store;
use crate::convert::limit;
use crate::db::{Durability, Statement, args};
use crate::error::Result;
use crate::ledger;
use crate::rows::LedgerDraft;

/// Rows of one transaction.
const CHUNK: u32 = 1_000;

pub(crate) static ATTEMPTS: Statement = Statement::same(
    "removing old attempts",
    // The limit is said twice, so that no later month is looked into.
    "delete from attempt where tenant_id = $1 and begun_us < $2 and (account_id, effect_id, fence) in (
         select a.account_id, a.effect_id, a.fence from attempt a
         where a.tenant_id = $1 and a.begun_us < $2 and exists (
             select 1 from outbox o where o.tenant_id = $1 and o.account_id = a.account_id and o.effect_id = a.effect_id
                 and o.state in ('done', 'failed', 'withdrawn'))
         order by a.begun_us limit $3)",
);
pub(crate) static RECEIPTS: Statement = Statement::same(
    "removing old receipts",
    "delete from receipt where tenant_id = $1 and (account_id, effect_id) in (
         select r.account_id, r.effect_id from receipt r where r.tenant_id = $1 and r.at_us < $2
         order by r.at_us limit $3)",
);
macro_rules! inputs {
    ($length:literal) => {
        concat!(
            "update decision set inputs = '' where tenant_id = $1 and decision_id in (
                 select d.decision_id from decision d
                 where d.tenant_id = $1 and d.committed_us < $2 and ",
            $length,
            "(d.inputs) > 0
                     and exists (select 1 from decision n where n.tenant_id = $1 and n.account_id = d.account_id
                         and n.as_of_us > d.as_of_us)
                     and not exists (select 1 from action a where a.tenant_id = $1 and a.account_id = d.account_id
                         and a.decision_id = d.decision_id
                         and a.state in ('pending', 'edited', 'snoozed', 'permitted', 'failed', 'advised'))
                 order by d.committed_us limit $3)"
        )
    };
}
pub(crate) static INPUTS: Statement =
    Statement::differ("removing old inputs", inputs!("length"), inputs!("octet_length"));

#[cfg(test)]
pub(crate) static ALL: &[&Statement] = &[&ATTEMPTS, &RECEIPTS, &INPUTS];

/// Before when what is removed; `None` keeps all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Prune {
    /// Attempts that began before.
    pub attempts: Option<Timestamp>,
    /// Receipts from before.
    pub receipts: Option<Timestamp>,
    /// Inputs of decisions stored before.
    pub inputs: Option<Timestamp>,
}

/// How much was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pruned {
    /// Attempts.
    pub attempts: u64,
    /// Receipts.
    pub receipts: u64,
    /// Decisions whose inputs went.
    pub inputs: u64,
}

impl Store {
    /// Removes what is old and over, and says so in the ledger. Interrupted, it has removed a part and may be repeated.
    ///
    /// # Errors
    /// What writing brings.
    pub async fn prune(&self, prune: &Prune, now: Timestamp) -> Result<Pruned> {
        let pruned = Pruned {
            attempts: self.drop_months(prune.attempts).await? + self.remove(&ATTEMPTS, prune.attempts).await?,
            receipts: self.remove(&RECEIPTS, prune.receipts).await?,
            inputs: self.remove(&INPUTS, prune.inputs).await?,
        };
        if pruned != Pruned::default() {
            let body = serde_json::json!({
                "attempts": pruned.attempts, "inputs": pruned.inputs, "receipts": pruned.receipts,
            });
            let entry = LedgerDraft {
                kind: "prune".to_owned(),
                reference: String::new(),
                body: perennial_core::replay::canonical(&body),
            };
            self.append_ledger(None, &[entry], now).await?;
        }
        Ok(pruned)
    }

    async fn remove(&self, statement: &'static Statement, before: Option<Timestamp>) -> Result<u64> {
        let Some(before) = before else { return Ok(0) };
        let mut all = 0;
        loop {
            let mut tx = self.db.write(Durability::Normal).await?;
            // INVARIANT (order of locks): the head first.
            ledger::lock_head(&mut tx, self.tenant).await?;
            let args = args![self.tenant.0, before.us(), limit(CHUNK)];
            let removed = tx.execute(statement, args, None).await?;
            tx.commit().await?;
            all += removed;
            if removed < u64::from(CHUNK) {
                return Ok(all);
            }
        }
    }
}
