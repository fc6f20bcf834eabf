//! Migrations: numbered pairs, one text per database, embedded in the program, forward only.
//!
//! INVARIANT (old beside new): a program works with a newer schema only where every migration that it does not know says that
//! programs of its schema can; in all other cases it refuses, and a worker that is running ends.

use perennial_core::replay::Hash;
use perennial_core::time::Timestamp;

use crate::Store;
use crate::db::{Durability, Statement, Tx, args};
use crate::error::{Result, StoreError};
use crate::rows::MigrationReport;

/// One migration. Its number is its place in [`MIGRATIONS`], from 1.
pub(crate) struct Migration {
    pub(crate) name: &'static str,
    /// Texts for SQLite and PostgreSQL.
    pub(crate) texts: [&'static str; 2],
    /// The oldest schema whose programs can work with the schema after this migration, where they can: it only adds tables, indexes,
    /// and columns with a default, and what programs of that schema write means the same to those that know this one.
    pub(crate) works_with: Option<i64>,
}

macro_rules! migration {
    ($name:literal) => {
        migration!($name, None)
    };
    ($name:literal, works with $oldest:literal) => {
        migration!($name, Some($oldest))
    };
    ($name:literal, $works_with:expr) => {
        Migration {
            name: $name,
            works_with: $works_with,
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
    migration!("0014_upgrade"),
    migration!("0015_crm_reading", works with 14),
    migration!("0016_plays"),
    migration!("0017_tenants"),
    migration!("0018_earned", works with 17),
];

/// The migration that made the table of workers.
const WORKERS: i64 = 12;
/// The migration that made the column for [`Migration::works_with`].
const TELLS_WORKS_WITH: i64 = 14;

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
pub(crate) static TELL: Statement = Statement::same(
    "recording what works with a migration",
    "update schema_version set works_with = $2 where version = $1",
);
/// The newest version, and the oldest program that all migrations after a version let work on.
pub(crate) static NEWER: Statement = Statement::same(
    "reading who can work with the schema",
    "select max(version), max(coalesce(works_with, version)) from schema_version where version > $1",
);
pub(crate) static OLD_WORKERS: Statement = Statement::same(
    "reading which workers are older",
    "select worker from worker where seen_us > $1 and knows < $2 order by worker",
);
pub(crate) static ALL_WORKERS: Statement = Statement::same(
    "reading which workers live",
    "select worker from worker where seen_us > $1 order by worker",
);

/// All but [`CREATE`], which is for the first time only.
#[cfg(test)]
pub(crate) static ALL: &[&Statement] = &[
    &LOCK,
    &EXISTS,
    &APPLIED,
    &RECORD,
    &TELL,
    &NEWER,
    &OLD_WORKERS,
    &ALL_WORKERS,
];

impl Store {
    /// Brings the schema up to the version of this program, each migration in its own transaction. Several processes
    /// may do so at once: one works, the others find it done.
    ///
    /// # Errors
    /// [`StoreError::Version`] when the schema is newer than this program; [`StoreError::Corrupt`] when an applied
    /// migration is not the one this program knows; what writing brings.
    pub async fn migrate(&self) -> Result<MigrationReport> {
        self.apply(MIGRATIONS).await
    }

    pub(crate) async fn apply(&self, migrations: &[Migration]) -> Result<MigrationReport> {
        let mut applied = Vec::new();
        loop {
            let mut tx = self.db.write(Durability::Full).await?;
            tx.execute(&LOCK, args![], None).await?;
            tx.execute(&CREATE, args![], None).await?;
            let done = applied_in(&mut tx).await?;
            let found = check(&done, migrations, self)?;
            let Some(next) = usize::try_from(found).ok().and_then(|found| migrations.get(found)) else {
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
            if let (Some(oldest), true) = (next.works_with, found + 1 >= TELLS_WORKS_WITH) {
                tx.execute(&TELL, args![found + 1, oldest], None).await?;
            }
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

    /// Refuses a schema that this program cannot work with. What works for a long time asks again from time to time.
    ///
    /// # Errors
    /// [`StoreError::NotMigrated`] when it is older, [`StoreError::Version`] when it is newer and does not allow for programs as
    /// old as this one; what reading brings.
    pub async fn check_version(&self) -> Result<()> {
        self.check_as(VERSION).await
    }

    /// The same for a program that knows the schema of some version.
    pub(crate) async fn check_as(&self, known: i64) -> Result<()> {
        let found = self.schema_version().await?;
        if found < known {
            return Err(StoreError::NotMigrated { found, needed: known });
        }
        if found > known && !self.allows_for(known).await? {
            return Err(StoreError::Version { found, known });
        }
        Ok(())
    }

    /// Whether every migration after a version allows for programs that know no more than it.
    async fn allows_for(&self, known: i64) -> Result<bool> {
        let row = self.db.fetch_one(&NEWER, args![known]).await?;
        let oldest = row.map(|row| row.opt_int(1)).transpose()?.flatten();
        Ok(oldest.is_none_or(|oldest| oldest <= known))
    }

    /// Workers, of every tenant, seen after a time, whose programs will not work with the schema that [`Store::migrate`] would make.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn workers_too_old(&self, after: Timestamp) -> Result<Vec<String>> {
        self.too_old(MIGRATIONS, after).await
    }

    pub(crate) async fn too_old(&self, migrations: &[Migration], after: Timestamp) -> Result<Vec<String>> {
        let found = self.schema_version().await?;
        let pending = usize::try_from(found).ok().and_then(|found| migrations.get(found..));
        let oldest = pending
            .unwrap_or_default()
            .iter()
            .zip(found + 1..)
            .map(|(migration, version)| migration.works_with.unwrap_or(version))
            .max();
        let rows = match oldest {
            None => return Ok(Vec::new()),
            // No table of workers yet.
            Some(_) if found < WORKERS => return Ok(Vec::new()),
            Some(_) if found < TELLS_WORKS_WITH => self.db.fetch(&ALL_WORKERS, args![after.us()], None).await?,
            Some(oldest) => self.db.fetch(&OLD_WORKERS, args![after.us(), oldest], None).await?,
        };
        rows.iter().map(|row| row.text(0)).collect()
    }
}

async fn applied_in(tx: &mut Tx<'_>) -> Result<Vec<(i64, String)>> {
    let rows = tx.fetch(&APPLIED, args![], None).await?;
    rows.iter().map(|row| Ok((row.int(0)?, row.text(2)?))).collect()
}

/// The version, when what was applied is what this program knows.
fn check(done: &[(i64, String)], migrations: &[Migration], store: &Store) -> Result<i64> {
    let found = done.last().map_or(0, |(version, _)| *version);
    let known = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(StoreError::Version { found, known });
    }
    for ((version, hash), known) in done.iter().zip(migrations) {
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
