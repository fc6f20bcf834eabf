//! The log of choices: what could have run by itself, with which chance, and what did.
//!
//! INVARIANT (logged once): the first plan of an account's day writes its row, before anything of it runs, and no later
//! plan of the day changes it.

use std::collections::BTreeSet;

use perennial_core::explore::LoggedChoice;
use perennial_core::ids::{AccountId, RunId};
use perennial_core::replay::canonical;
use perennial_core::time::Day;

use crate::Store;
use crate::db::{Col, Column, Durability, Statement, args};
use crate::error::{Result, StoreError};

pub(crate) static LOG: Statement = Statement::rows(
    "logging choices",
    "insert into choice (tenant_id, account_id, day, run_id, body)
     select $1, e.account_id, e.day, $2, e.body from {rows} where true on conflict do nothing",
    3,
    &[Col::Text("account_id"), Col::Int("day"), Col::Text("body")],
);
pub(crate) static OF_ACCOUNTS: Statement = Statement::rows(
    "reading the choices of accounts",
    "select c.body from choice c
     where c.tenant_id = $1 and c.account_id in (select e.account_id from {rows}) and c.day >= $2 and c.day < $3
     order by c.account_id, c.day",
    4,
    &[Col::Text("account_id")],
);

#[cfg(test)]
pub(crate) static ALL: &[&Statement] = &[&LOG, &OF_ACCOUNTS];

impl Store {
    /// Logs choices. One of the same account and day that is there stays as it is.
    ///
    /// # Errors
    /// What writing brings; nothing is logged then.
    pub async fn log_choices(&self, run: &RunId, choices: &[LoggedChoice]) -> Result<()> {
        if choices.is_empty() {
            return Ok(());
        }
        let bodies: Vec<String> = choices.iter().map(canonical).collect();
        let rows = [
            Column::text(choices.iter().map(|c| c.account.as_str())),
            Column::int(choices.iter().map(|c| i64::from(c.day.number()))),
            Column::text(bodies.iter().map(String::as_str)),
        ];
        let mut tx = self.db.write(Durability::Full).await?;
        tx.execute(&LOG, args![self.tenant.0, run.as_str()], Some(&rows))
            .await?;
        tx.commit().await
    }

    /// Logged choices of some accounts from one day up to, but without, another, in the order of accounts and days.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when a row is not what was written; what reading brings.
    pub async fn choices_of(&self, accounts: &BTreeSet<&AccountId>, from: Day, to: Day) -> Result<Vec<LoggedChoice>> {
        if accounts.is_empty() {
            return Ok(Vec::new());
        }
        let rows = [Column::text(accounts.iter().map(|a| a.as_str()))];
        let days = args![self.tenant.0, i64::from(from.number()), i64::from(to.number())];
        let rows = self.db.fetch(&OF_ACCOUNTS, days, Some(&rows)).await?;
        rows.iter()
            .map(|row| {
                perennial_core::replay::read("choice", &row.text(0)?).map_err(|error| StoreError::Corrupt {
                    what: "choice",
                    detail: error.to_string(),
                })
            })
            .collect()
    }
}
