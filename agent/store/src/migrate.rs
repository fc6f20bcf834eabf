//! Migrations: numbered pairs, one text per database, embedded in the program, forward only.

use perennial_core::replay::Hash;

use crate::Store;
use crate::db::{Durability, Statement, Tx, args};
use crate::error::{Result, StoreError};
use crate::rows::MigrationReport;

/// One migration. Its number is its place in [`MIGRATIONS`], from 1.
pub(crate) struct Migration {
    pub(crate) name: &'static str,
    /// Texts for SQLite and PostgreSQL.
    pub(crate) texts: [&'static str; 2],
}

macro_rules! migration {
    ($name:literal) => {
        Migration {
            name: $name,
            texts: [
                include_str!(concat!("../migrations/sqlite/", $name, ".sql")),
                include_str!(concat!("../migrations/postgres/", $name, ".sql")),
            ],
        }
    };
}

/// All migrations. Only ever appended to: a migration never edits an older one.
pub(crate) const MIGRATIONS: &[Migration] = &[
    migration!("0001_first"),
    migration!("0002_planner"),
    migration!("0003_packed"),
    migration!("0004_due"),
    migration!("0005_sources"),
    migration!("0006_live"),
    migration!("0007_choices"),
    migration!("0008_reservation"),
    migration!("0009_write_safety"),
    migration!("0010_crm_access"),
    migration!("0011_people"),
    migration!("0012_workers"),
    migration!("0013_retention"),
    migration!("0016_plays"),
];

/// Version of the schema this program works with.
#[allow(clippy::cast_possible_wrap)]
pub(crate) const VERSION: i64 = MIGRATIONS.len() as i64;

static CREATE: Statement = Statement::same(
    "making the table of versions",
    "create table if not exists schema_version (version bigint not null primary key, name text not null, hash text not null)",
);
pub(crate) static LOCK: Statement = Statement::differ(
    "locking the schema",
    // The transaction holds the only write lock already.
    "select 1",
    // One migration at a time; the number is ours alone.
    "select 1 from (select pg_advisory_xact_lock(7305808869230450021)) as locked",
);
pub(crate) static EXISTS: Statement = Statement::differ(
    "looking for the table of versions",
    "select count(*) from sqlite_master where type = 'table' and name = 'schema_version'",
    "select count(*) from information_schema.tables where table_schema = current_schema() and table_name = 'schema_version'",
);
pub(crate) static APPLIED: Statement = Statement::same(
    "reading the schema's version",
    "select version, name, hash from schema_version order by version",
);
pub(crate) static RECORD: Statement = Statement::same(
    "recording a migration",
    "insert into schema_version (version, name, hash) values ($1, $2, $3)",
);

/// All but [`CREATE`], which is for the first time only.
#[cfg(test)]
pub(crate) static ALL: &[&Statement] = &[&LOCK, &EXISTS, &APPLIED, &RECORD];

impl Store {
    /// Brings the schema up to the version of this program, each migration in its own transaction. Several processes
    /// may do so at once: one works, the others find it done.
    ///
    /// # Errors
    /// [`StoreError::Version`] when the schema is newer than this program; [`StoreError::Corrupt`] when an applied
    /// migration is not the one this program knows; what writing brings.
    pub async fn migrate(&self) -> Result<MigrationReport> {
        let mut applied = Vec::new();
        loop {
            let mut tx = self.db.write(Durability::Full).await?;
            tx.execute(&LOCK, args![], None).await?;
            tx.execute(&CREATE, args![], None).await?;
            let done = applied_in(&mut tx).await?;
            let found = check(&done, self)?;
            let Some(next) = usize::try_from(found).ok().and_then(|found| MIGRATIONS.get(found)) else {
                tx.commit().await?;
                return Ok(MigrationReport {
                    applied,
                    version: found,
                });
            };
            let text = next.texts[tx.dialect() as usize];
            tx.script("migrating", text).await?;
            let hash = Hash::of(text.as_bytes()).to_string();
            tx.execute(&RECORD, args![found + 1, next.name, hash.as_str()], None)
                .await?;
            tx.commit().await?;
            tracing::info!(migration = next.name, "schema migrated");
            applied.push(next.name.to_owned());
        }
    }

    /// Version of the schema; 0 when the database is empty.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn schema_version(&self) -> Result<i64> {
        let exists = self.db.fetch_one(&EXISTS, args![]).await?;
        if exists.map_or(Ok(0), |row| row.int(0))? == 0 {
            return Ok(0);
        }
        let rows = self.db.fetch(&APPLIED, args![], None).await?;
        rows.last().map_or(Ok(0), |row| row.int(0))
    }

    /// Refuses a schema that is not exactly the one of this program.
    pub(crate) async fn check_version(&self) -> Result<()> {
        let found = self.schema_version().await?;
        if found < VERSION {
            return Err(StoreError::NotMigrated { found, needed: VERSION });
        }
        if found > VERSION {
            return Err(StoreError::Version { found, known: VERSION });
        }
        Ok(())
    }
}

async fn applied_in(tx: &mut Tx<'_>) -> Result<Vec<(i64, String)>> {
    let rows = tx.fetch(&APPLIED, args![], None).await?;
    rows.iter().map(|row| Ok((row.int(0)?, row.text(2)?))).collect()
}

/// The version, when what was applied is what this program knows.
fn check(done: &[(i64, String)], store: &Store) -> Result<i64> {
    let found = done.last().map_or(0, |(version, _)| *version);
    if found > VERSION {
        return Err(StoreError::Version { found, known: VERSION });
    }
    for ((version, hash), known) in done.iter().zip(MIGRATIONS) {
        let text = known.texts[store.db.dialect() as usize];
        if *hash != Hash::of(text.as_bytes()).to_string() {
            return Err(StoreError::Corrupt {
                what: "schema",
                detail: format!("migration {version} (`{}`) was applied with another text", known.name),
            });
        }
    }
    Ok(found)
}
