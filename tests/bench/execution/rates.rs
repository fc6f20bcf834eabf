//! Effects a second, with little and with much that waits, against what the database does at all; and the wait for one commit.

use std::path::Path;
use std::time::Duration;

use perennial_store::Store;
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};

use crate::rows::{Rows, percentile};
use crate::server::Server;
use crate::work::{clock, counted, execute, fill, intend, opened, waiting};

/// Commits of one row each that the database's own rate is taken from.
const RAW: u64 = 4_000;
/// Single commits that the wait of one is taken from.
const SINGLE: usize = 1_000;
/// Effects measured beside a backlog.
const BESIDE: usize = 6_000;
/// Effects of a batch beside a backlog.
const BATCH: u32 = 128;
const SQLITE: &str = "SQLite, synchronous = full";
const POSTGRES: &str = "PostgreSQL";

fn sqlite_url(folder: &Path, name: &str) -> String {
    format!("sqlite:{}", folder.join(format!("{name}.db")).display())
}

/// Commits a second of one small row each, through the same driver, synced at every commit.
pub(crate) async fn raw(rows: &mut Rows, folder: &Path) {
    let options = SqliteConnectOptions::new()
        .filename(folder.join("raw.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let mut database = SqliteConnection::connect_with(&options).await.expect("opens");
    let run = async |database: &mut SqliteConnection, text: &'static str| {
        sqlx::query(text).execute(database).await.expect("writes");
    };
    run(
        &mut database,
        "create table t (id integer primary key, body text not null)",
    )
    .await;
    let body = "x".repeat(200);
    let begun = clock();
    for _ in 0..RAW {
        let mut transaction = database.begin().await.expect("begins");
        let insert = sqlx::query("insert into t (body) values ($1)").bind(&body);
        insert.execute(&mut *transaction).await.expect("writes");
        transaction.commit().await.expect("commits");
    }
    let what = "commits of one row through sqlx, nothing else";
    rows.rate("ours.sqlite.raw", SQLITE, what, "1", RAW, begun.elapsed());
    database.close().await.expect("closes");
}

/// One figure for the intents, one for what a worker does, one for both.
struct Arms<'a> {
    on: &'a str,
    arm: &'a str,
}

async fn measure(rows: &mut Rows, arms: &Arms<'_>, url: &str, tenant: i64, workers: usize, batch: u32, effects: usize) {
    let store = opened(url, tenant, 4).await;
    let intending = intend(&store, 0, effects).await;
    store.close().await;
    counted(url).await;
    let mut stores = Vec::new();
    for _ in 0..workers {
        stores.push(opened(url, tenant, 3).await);
    }
    let (done, executing) = execute(stores, batch, effects as u64).await;
    assert_eq!(done, effects as u64, "all of it is done");
    let Arms { on, arm } = arms;
    let workers = workers.to_string();
    let what = |part: &str| format!("{part}, {batch} together");
    let drain = if batch == 1 { ".single" } else { ".drain" };
    rows.rate(
        &format!("{arm}{drain}"),
        on,
        &what("lease and outcome"),
        &workers,
        done,
        executing,
    );
    if batch > 1 {
        let what = what("the same with the intents before, 250 together");
        rows.rate(arm, on, &what, &workers, done, intending + executing);
    }
}

/// One worker on a file.
pub(crate) async fn sqlite(rows: &mut Rows, folder: &Path, effects: usize) {
    let arms = Arms {
        on: SQLITE,
        arm: "ours.sqlite",
    };
    for batch in [1, 16, 128] {
        let url = sqlite_url(folder, &format!("rates-{batch}"));
        // One by one takes long; its rate does not depend on how many there are.
        let effects = if batch == 1 { effects / 8 } else { effects };
        measure(rows, &arms, &url, 1, 1, batch, effects).await;
    }
}

/// Several workers on a server.
pub(crate) async fn postgres(rows: &mut Rows, server: &Server, effects: usize) {
    let url = server.fresh("bench_rates").await;
    let arms = Arms {
        on: POSTGRES,
        arm: "ours.postgres",
    };
    let mut tenant = 0;
    for workers in [1, 2, 4, 8] {
        for batch in [1, 16, 128] {
            tenant += 1;
            let effects = if batch == 1 { effects / 8 } else { effects };
            measure(rows, &arms, &url, tenant, workers, batch, effects).await;
        }
    }
    server.gone("bench_rates").await;
}

/// The rate of a worker while much waits.
pub(crate) async fn backlog(rows: &mut Rows, folder: &Path, server: Option<&Server>, most: usize) {
    for (name, many) in [("3000", 3_000), ("20000", 20_000), ("most", most)] {
        let url = sqlite_url(folder, "backlog");
        beside(rows, &format!("ours.sqlite.waiting.{name}"), SQLITE, &url, many).await;
        for file in ["backlog.db", "backlog.db-wal", "backlog.db-shm"] {
            let _ = std::fs::remove_file(folder.join(file));
        }
    }
    let Some(server) = server else { return };
    for (name, many) in [("3000", 3_000), ("20000", 20_000), ("most", most)] {
        let url = server.fresh("bench_backlog").await;
        beside(rows, &format!("ours.postgres.waiting.{name}"), POSTGRES, &url, many).await;
    }
    server.gone("bench_backlog").await;
}

async fn beside(rows: &mut Rows, arm: &str, on: &str, url: &str, many: usize) {
    let store = opened(url, 1, 4).await;
    let begun = clock();
    fill(&store, many + BESIDE, waiting).await;
    eprintln!("{on}: {} made in {:.0?}", many + BESIDE, begun.elapsed());
    counted(url).await;
    let (done, took) = execute(vec![store], BATCH, BESIDE as u64).await;
    let what = format!("lease and outcome, {BATCH} together, while {many} wait");
    rows.rate(arm, on, &what, "1", done, took);
}

/// How long one action takes to its committed intent when nothing else goes on.
pub(crate) async fn idle(rows: &mut Rows, folder: &Path, server: Option<&Server>) {
    let store = opened(&sqlite_url(folder, "idle"), 1, 4).await;
    single(rows, "ours.sqlite.intent", SQLITE, store).await;
    let Some(server) = server else { return };
    let store = opened(&server.fresh("bench_idle").await, 1, 4).await;
    single(rows, "ours.postgres.intent", POSTGRES, store).await;
    server.gone("bench_idle").await;
}

async fn single(rows: &mut Rows, arm: &str, on: &str, store: Store) {
    // The first ones only warm up.
    intend(&store, 0, 50).await;
    let mut waits: Vec<f64> = Vec::with_capacity(SINGLE);
    for n in 50..SINGLE + 50 {
        waits.push(intend(&store, n, n + 1).await.as_secs_f64() * 1_000.0);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    waits.sort_by(f64::total_cmp);
    for (name, percent) in [("p50", 50), ("p99", 99)] {
        let what = format!("one action to its committed intent, idle, {name}");
        rows.add(
            &format!("{arm}.{name}"),
            on,
            &what,
            "1",
            (percentile(&waits, percent), "ms"),
        );
    }
    store.close().await;
}
