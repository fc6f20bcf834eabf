//! Opening a database.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use perennial_core::ids::TenantId;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};

use crate::Store;
use crate::db::{Db, Durability, Pools};
use crate::dialect::{self, Dialect};
use crate::error::{Result, StoreError};
use crate::url::{DatabaseUrl, Options};

/// Bytes of a page of a new SQLite file. Larger pages make random inserts write more, smaller ones make big rows spill.
pub(crate) const PAGE_BYTES: u32 = 4096;
/// Memory for pages of the writing connection, in KiB: holds the hot part of the indexes during an import.
const WRITE_CACHE_KIB: u32 = 196_608;
/// Memory for pages of each reading connection, in KiB.
const READ_CACHE_KIB: u32 = 16_384;
/// Pages in the write-ahead log before they are copied into the file: 256 MiB. An import writes the same pages of an
/// index with every batch; the later they are copied, the fewer times.
const CHECKPOINT_PAGES: u32 = 65_536;
/// How long a server may take to answer a new connection.
const CONNECT_MS: u64 = 10_000;

impl Store {
    /// Opens a database for one tenant. A SQLite file is created when its directory exists. Does not look at the
    /// schema: see [`Store::migrate`] and [`Store::open_migrated`].
    ///
    /// # Errors
    /// [`StoreError::NoDirectory`], [`StoreError::Unreachable`], [`StoreError::ReadOnly`], [`StoreError::Locked`],
    /// [`StoreError::Corrupt`] when the file is not a database.
    pub async fn open(url: &DatabaseUrl, tenant: TenantId, options: &Options) -> Result<Store> {
        let place = url.to_string();
        let pools = match url {
            DatabaseUrl::Sqlite(path) => open_sqlite(path, &place, options).await?,
            DatabaseUrl::Postgres(secret) => open_postgres(secret.expose(), &place, tenant, options).await?,
        };
        Ok(Store {
            db: Arc::new(Db { pools, place }),
            tenant,
        })
    }

    /// Opens a database whose schema must be exactly that of this program.
    ///
    /// # Errors
    /// As [`Store::open`]; [`StoreError::NotMigrated`] when the schema is older or the database empty,
    /// [`StoreError::Version`] when it is newer.
    pub async fn open_migrated(url: &DatabaseUrl, tenant: TenantId, options: &Options) -> Result<Store> {
        let store = Store::open(url, tenant, options).await?;
        store.check_version().await?;
        Ok(store)
    }

    /// Writes what a SQLite database holds at this moment into a new file, while others go on writing. False for PostgreSQL, which
    /// has means of its own.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::ReadOnly`], what reading brings; a half-written file stays.
    pub async fn backup(&self, to: &Path) -> Result<bool> {
        let Pools::Sqlite { write, .. } = &self.db.pools else {
            return Ok(false);
        };
        let fail = |source| self.db.fail("writing a backup", source);
        // A connection of its own: the readers may not write anything, and the writer would hold up everybody.
        let options = write.connect_options();
        let mut own = SqliteConnectOptions::clone(&options).connect().await.map_err(fail)?;
        let name = to.display().to_string();
        sqlx::query("vacuum into ?")
            .bind(name)
            .execute(&mut own)
            .await
            .map_err(fail)?;
        own.close().await.map_err(fail)?;
        Ok(true)
    }

    /// Tenant whose data this store reads and writes.
    #[must_use]
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Closes all connections and waits for it. Other clones of this store cannot be used afterwards.
    pub async fn close(self) {
        match &self.db.pools {
            Pools::Sqlite { read, write, .. } => {
                read.close().await;
                write.close().await;
            }
            Pools::Postgres(pool) => pool.close().await,
        }
    }
}

async fn open_sqlite(path: &Path, place: &str, options: &Options) -> Result<Pools> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(directory) = directory
        && !directory.is_dir()
    {
        return Err(StoreError::NoDirectory {
            directory: directory.to_path_buf(),
        });
    }
    let common = SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(Duration::from_millis(options.busy_timeout_ms))
        .foreign_keys(true)
        .pragma("temp_store", "memory")
        .disable_statement_logging();
    let mut writer = common
        .clone()
        .create_if_missing(true)
        .page_size(PAGE_BYTES)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("cache_size", format!("-{WRITE_CACHE_KIB}"))
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES.to_string())
        .pragma("journal_size_limit", "67108864");
    if let Some(bytes) = options.max_bytes {
        writer = writer.pragma("max_page_count", (bytes / u64::from(PAGE_BYTES)).max(1).to_string());
    }
    let durability = Arc::new(AtomicU8::new(Durability::Full as u8));
    let fresh = Arc::clone(&durability);
    let fail = |source| dialect::classify(Dialect::Sqlite, place, "opening the database", source);
    let write = SqlitePoolOptions::new()
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .after_connect(move |_, _| {
            // A new connection starts with the setting above, whatever the last one had.
            fresh.store(Durability::Full as u8, Ordering::Relaxed);
            Box::pin(async { Ok(()) })
        })
        .connect_with(writer)
        .await
        .map_err(fail)?;
    let read = SqlitePoolOptions::new()
        .max_connections(options.readers.max(1))
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .connect_lazy_with(
            common
                .create_if_missing(false)
                .pragma("query_only", "on")
                .pragma("cache_size", format!("-{READ_CACHE_KIB}")),
        );
    Ok(Pools::Sqlite {
        read,
        write,
        gate: Arc::new(tokio::sync::Mutex::new(())),
        durability,
    })
}

async fn open_postgres(url: &str, place: &str, tenant: TenantId, options: &Options) -> Result<Pools> {
    let unreachable = |source| StoreError::Unreachable {
        place: place.to_owned(),
        source,
    };
    let connect: PgConnectOptions = url.parse().map_err(unreachable)?;
    let connect = connect
        .application_name("perennial")
        .options([
            ("lock_timeout", format!("{}ms", options.busy_timeout_ms)),
            // INVARIANT (tenants apart): the server shows a connection the rows of this tenant only.
            ("perennial.tenant", tenant.0.to_string()),
        ])
        .disable_statement_logging();
    // The pool tries again until its time is up and then only says so; one try tells at once what is wrong.
    let one = sqlx::postgres::PgConnection::connect_with(&connect);
    let one = match tokio::time::timeout(Duration::from_millis(CONNECT_MS), one).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(source)) => {
            return Err(dialect::classify(
                Dialect::Postgres,
                place,
                "opening the database",
                source,
            ));
        }
        Err(_) => return Err(unreachable(sqlx::Error::PoolTimedOut)),
    };
    one.close().await.map_err(unreachable)?;
    let pool = PgPoolOptions::new()
        .max_connections(options.readers.max(1))
        .acquire_timeout(Duration::from_millis(CONNECT_MS))
        .connect_with(connect)
        .await
        .map_err(|source| dialect::classify(Dialect::Postgres, place, "opening the database", source))?;
    Ok(Pools::Postgres(pool))
}
