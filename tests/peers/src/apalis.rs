//! The crates `apalis-sqlite` and `apalis-postgres`: jobs of a filled queue, their results stored.

use std::path::Path;
use std::time::Duration;

use apalis::prelude::*;
use apalis_postgres::PostgresStorage;
use apalis_sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteStorage};
use sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};

use crate::pace::{Counted, Size};
use crate::row::Of;
use crate::{Measured, WORKERS, postgres};

async fn nothing(_n: u64, counted: Data<Counted>) -> Result<(), BoxDynError> {
    counted.one();
    Ok(())
}

/// Jobs that are pushed together.
const TOGETHER: u64 = 1_000;

/// Pushes jobs, then lets workers do `measured` of them: the same for both databases, whose storages share traits but no name.
macro_rules! drain {
    ($storage:ty, $config:expr, $pool:expr, $stored:expr, $workers:expr, $jobs:expr, $measured:expr) => {{
        let (pool, measured): (_, Measured) = ($pool, $measured);
        let jobs: u64 = $jobs;
        let mut storage = <$storage>::new(&pool).with_config($config);
        for begin in (0..jobs).step_by(TOGETHER as usize) {
            let some: Vec<u64> = (begin..jobs.min(begin + TOGETHER)).collect();
            storage.push_bulk(some).await.expect("fills");
        }
        let counted = Counted::default();
        let mut tasks = Vec::new();
        for n in 0..$workers {
            let worker = WorkerBuilder::new(format!("worker-{n}"))
                .backend(<$storage>::new(&pool).with_config($config))
                .data(counted.clone())
                .build(nothing);
            tasks.push(tokio::spawn(async move { worker.run().await }));
        }
        let all = measured.wanted == jobs;
        let stored = $stored;
        let settled = async |wanted: u64| !all || stored(pool.clone()).await == wanted;
        let result = counted.wait(measured.wanted, measured.most, settled).await;
        for task in tasks {
            task.abort();
        }
        pool.close().await;
        result
    }};
}

/// On SQLite: one file, write-ahead log, synced at every commit.
pub async fn sqlite(folder: &Path, size: Size, waiting: &[u64]) {
    let of = Of {
        system: "apalis-sqlite",
        version: "1.0.0",
        on: "SQLite, synchronous = full",
    };
    let measure = async |name: &str, batch: usize, jobs: u64, measured: Measured| {
        let options = SqliteConnectOptions::new()
            .filename(folder.join(name))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5));
        let pool = SqlitePoolOptions::new()
            .max_connections(5)
            .connect_with(options)
            .await
            .expect("opens");
        // Not `setup`: it turns syncing off on one of the connections.
        SqliteStorage::migrations().run(&pool).await.expect("a schema");
        let config = apalis_sqlite::Config::default().queue("work").batch_size(batch);
        let stored = async |pool: sqlx::SqlitePool| -> u64 {
            let done = "select count(*) from Jobs where status = 'Done'";
            let done: i64 = sqlx::query_scalar(done).fetch_one(&pool).await.expect("a number");
            u64::try_from(done).unwrap_or(0)
        };
        drain!(SqliteStorage<u64>, config.clone(), pool, stored, 1, jobs, measured)
    };
    for batch in [10, 100] {
        let few = Size {
            jobs: size.jobs / 8,
            ..size
        };
        let (done, took) = measure(&format!("apalis-{batch}.db"), batch, few.jobs, Measured::all(few)).await;
        of.rate(
            "apalis.sqlite",
            &format!("jobs of a filled queue, fetched {batch} at a time"),
            "1",
            done,
            took,
        );
    }
    for &waiting in waiting {
        let measured = Measured::beside(size);
        let name = format!("apalis-waiting-{waiting}.db");
        let (done, took) = measure(&name, 10, waiting + measured.wanted, measured).await;
        of.rate(
            &format!("apalis.sqlite.{waiting}"),
            &format!("jobs while {waiting} wait, fetched 10 at a time"),
            "1",
            done,
            took,
        );
    }
}

/// On PostgreSQL.
pub async fn postgres(server: &str, size: Size, waiting: &[u64]) {
    let of = Of {
        system: "apalis-postgres",
        version: "1.0.0",
        on: "PostgreSQL",
    };
    let measure = async |batch: usize, workers: usize, jobs: u64, measured: Measured| {
        let url = postgres::fresh(server, "peer_apalis").await;
        let connections = u32::try_from(workers * 2 + 4).expect("few");
        let pool = sqlx::postgres::PgPoolOptions::new()
            .max_connections(connections)
            .connect(&url)
            .await
            .expect("connects");
        PostgresStorage::setup(&pool).await.expect("a schema");
        let config = apalis_postgres::Config::default().queue("work").batch_size(batch);
        let stored = async |pool: sqlx::PgPool| -> u64 {
            u64::try_from(postgres::number(&pool, "select count(*) from apalis.jobs where status = 'Done'").await)
                .unwrap_or(0)
        };
        // Jobs become due in the second after the one in which they were pushed.
        drain!(
            PostgresStorage<u64>,
            config.clone(),
            pool,
            stored,
            workers,
            jobs,
            measured
        )
    };
    for batch in [10, 100] {
        for workers in WORKERS {
            let (done, took) = measure(batch, workers, size.jobs, Measured::all(size)).await;
            let work = format!("jobs of a filled queue, fetched {batch} at a time");
            of.rate("apalis.postgres", &work, &format!("{workers}, 1 process"), done, took);
        }
    }
    for &waiting in waiting {
        let measured = Measured::beside(size);
        let (done, took) = measure(10, 1, waiting + measured.wanted, measured).await;
        of.rate(
            "apalis.postgres.waiting",
            &format!("jobs while {waiting} wait, fetched 10 at a time"),
            "1, 1 process",
            done,
            took,
        );
    }
    postgres::gone(server, "peer_apalis").await;
}
