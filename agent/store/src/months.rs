//! Months: the parts that attempts and the ledger are kept in on PostgreSQL.
//!
//! Promises: nothing is ever refused because its month is missing: there is a part for all else, and what it took moves when the month
//! is made. Any number of processes may make months at once. Only the owner of the tables makes or drops months; for others these
//! functions do nothing.

use perennial_core::time::Timestamp;

use crate::Store;
use crate::convert::unsigned;
use crate::db::{Durability, Statement, args};
use crate::dialect::Dialect;
use crate::error::Result;

/// Months that are made ahead, the present one included.
const AHEAD: i64 = 4;

pub(crate) static MAKE: Statement = Statement::differ(
    "making the months to come",
    "select 0 where $1 > $2",
    "select perennial_months($1, $2)",
);
pub(crate) static DROP: Statement = Statement::differ(
    "dropping months of attempts",
    "select 0 where $1 > $2",
    "select perennial_drop_attempts($1, $2)",
);

#[cfg(test)]
pub(crate) static ALL: &[&Statement] = &[&MAKE, &DROP];

impl Store {
    /// Makes the month of a moment and those to come, where they are not there yet; how many. None on SQLite.
    ///
    /// # Errors
    /// [`crate::StoreError::Locked`] when what goes on does not let it; what writing brings. Nothing is made then.
    pub async fn make_months(&self, now: Timestamp) -> Result<u64> {
        self.in_months(&MAKE, now.us(), AHEAD).await
    }

    /// Drops the months of attempts before a moment in which there is nothing but what this tenant may remove; how many attempts went.
    /// Whatever else is old goes row by row.
    pub(crate) async fn drop_months(&self, before: Option<Timestamp>) -> Result<u64> {
        let Some(before) = before else { return Ok(0) };
        match self.in_months(&DROP, self.tenant.0, before.us()).await {
            Err(error) if error.passes() => {
                tracing::warn!(error = %error, "months could not be dropped now; their rows are removed one by one");
                Ok(0)
            }
            dropped => dropped,
        }
    }

    async fn in_months(&self, statement: &'static Statement, first: i64, second: i64) -> Result<u64> {
        if self.db.dialect() == Dialect::Sqlite {
            return Ok(0);
        }
        let mut tx = self.db.write(Durability::Full).await?;
        let rows = tx.fetch(statement, args![first, second], None).await?;
        tx.commit().await?;
        rows.first().map_or(Ok(0), |row| row.int(0).map(unsigned))
    }
}
