//! How the store is: sizes, versions, and whether it can be written.

use crate::Store;
use crate::content;
use crate::convert::unsigned;
use crate::db::{Durability, Statement, args};
use crate::error::Result;

use crate::rows::Stats;

macro_rules! tables {
    ($($table:literal),* $(,)?) => {
        /// Rows of this tenant, by table in order of the names.
        pub(crate) static ROWS: Statement = Statement::same(
            "counting rows",
            concat!("select '' as name, 0 as rows where 1 = 0", $(
                " union all select '", $table, "', count(*) from ", $table, " where tenant_id = $1"
            ),*),
        );
        /// All tables of the product, in order of the names.
        pub(crate) const TABLES: &[&str] = &[$($table),*];
    };
}
tables!(
    "account_due",
    "account_lane",
    "action",
    "approval",
    "attempt",
    "canary",
    "choice",
    "conflict",
    "content",
    "crm_budget",
    "crm_due",
    "crm_reading",
    "crm_token",
    "day_plan",
    "decision",
    "delegation",
    "draft",
    "event_day",
    "event_key",
    "event_person",
    "event_salt",
    "known_field",
    "leader",
    "ledger",
    "ledger_head",
    "live_content",
    "offered_content",
    "outbox",
    "play",
    "play_definition",
    "play_step",
    "promotion",
    "receipt",
    "reservation",
    "run",
    "run_decision",
    "signal",
    "signal_moved",
    "stop",
    "undone",
    "watermark",
    "worker",
    "write_image",
);

pub(crate) static SIZE: Statement = Statement::differ(
    "measuring the database",
    "select page_count * page_size, 'SQLite ' || sqlite_version() || ', journal ' || journal_mode || ', page ' || page_size
     from pragma_page_count(), pragma_page_size(), pragma_journal_mode()",
    "select pg_database_size(current_database()), 'PostgreSQL ' || current_setting('server_version')
         || ', synchronous_commit ' || current_setting('synchronous_commit')",
);

/// Whether the server shows us the rows of every tenant, and how many tenants there are then.
pub(crate) static SEES_ALL: Statement = Statement::differ(
    "asking whether tenants are kept apart",
    "select 0, 1",
    "select cast(max(case when rolsuper or rolbypassrls then 1 else 0 end) as bigint),
         (select count(distinct tenant_id) from ledger_head)
     from pg_roles where rolname = current_user",
);

#[cfg(test)]
pub(crate) static ALL: &[&Statement] = &[&ROWS, &SIZE, &SEES_ALL];

impl Store {
    /// How many tenants share this database, where the role that we connect with is one that row-level security does not hold
    /// (a superuser, or one with BYPASSRLS); none where it is held.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn tenants_not_apart(&self) -> Result<Option<u64>> {
        let row = self.db.fetch_one(&SEES_ALL, args![]).await?;
        let seen = row.map(|row| Ok((row.opt_int(0)? == Some(1), unsigned(row.int(1)?))));
        Ok(seen.transpose()?.and_then(|(all, tenants)| all.then_some(tenants)))
    }

    /// How big the store is and what it runs on.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn stats(&self) -> Result<Stats> {
        let mut rows = Vec::with_capacity(TABLES.len());
        let counts = self.db.fetch(&ROWS, args![self.tenant.0], None).await?;
        for table in TABLES {
            for row in &counts {
                if row.text(0)? == *table {
                    rows.push((*table, unsigned(row.int(1)?)));
                }
            }
        }
        let size = self.db.fetch_one(&SIZE, args![]).await?;
        let (bytes, database) = match size {
            Some(row) => (unsigned(row.int(0)?), row.text(1)?),
            None => (0, String::new()),
        };
        Ok(Stats {
            rows,
            bytes,
            schema_version: self.schema_version().await?,
            database,
        })
    }

    /// Whether the store can be written: writes a row and takes it back.
    ///
    /// # Errors
    /// What writing brings: [`crate::StoreError::ReadOnly`], [`crate::StoreError::Locked`], [`crate::StoreError::Full`].
    pub async fn write_check(&self) -> Result<()> {
        self.check_version().await?;
        let mut tx = self.db.write(Durability::Full).await?;
        tx.execute(&content::PUT_CONTENT, args![self.tenant.0, "write check", ""], None)
            .await?;
        // Not committed.
        drop(tx);
        Ok(())
    }
}

/// Every constant statement of the product, for the test that both databases understand them.
#[cfg(test)]
pub(crate) fn all_statements() -> impl Iterator<Item = &'static Statement> {
    [
        crate::due::ALL,
        crate::budget::ALL,
        crate::conflicts::ALL,
        crate::tokens::ALL,
        crate::canaries::ALL,
        crate::undone::ALL,
        crate::planned::ALL,
        crate::plays::ALL,
        crate::promotions::ALL,
        crate::reservations::ALL,
        crate::migrate::ALL,
        crate::months::ALL,
        crate::signals::ALL,
        crate::slim::ALL,
        crate::snapshots::ALL,
        content::ALL,
        crate::decisions::ALL,
        crate::actions::ALL,
        crate::asked::ALL,
        crate::transitions::ALL,
        crate::outbox::ALL,
        crate::leases::ALL,
        crate::ledger::ALL,
        crate::live::ALL,
        crate::events::ALL,
        crate::watched::ALL,
        crate::watermark::ALL,
        crate::choices::ALL,
        crate::copy::ALL,
        crate::prune::ALL,
        crate::reading::ALL,
        crate::stops::ALL,
        crate::workers::ALL,
        ALL,
    ]
    .into_iter()
    .flat_map(|family| family.iter().copied())
}
