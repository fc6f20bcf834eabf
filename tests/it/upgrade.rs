//! An upgrade without stopping: workers of the old program go on while the schema becomes newer, work beside those of the new program,
//! and end when a schema leaves them behind.
//!
//! `PERENNIAL_OLD_PROGRAM` names the program under test of an older checkout (`tests/upgrade/run COMMIT` builds and names it). Without it
//! this build takes the old one's part, and the newer schema is one made up here.

use std::io::Read as _;
use std::process::Child;

use perennial::clock::Clock;
use perennial_sandbox::{Options, Sandbox};
use perennial_store::Store;
use perennial_tests::{Database, Said, command};

use crate::PROGRAM;
use crate::workers::{commit, many, opened, said, started_as, tasks, until};

/// Adds to the schema what a later migration could, and says so.
async fn later(db: &Database, store: &Store, works_with: Option<i64>) {
    let version = store.schema_version().await.unwrap();
    let oldest = works_with.map_or("null".to_owned(), |version| version.to_string());
    db.sql(&format!(
        "alter table outbox add column later_{version} text; create table later_{version} (x bigint); \
         insert into schema_version (version, name, hash, works_with) values ({}, 'later', '', {oldest})",
        version + 1
    ));
}

async fn alive(store: &Store) -> usize {
    let now = store.clock().await.unwrap().unwrap_or_else(|| Clock::System.now());
    let since = perennial::worker::earlier(now, perennial::worker::ALIVE);
    store.workers(since, 10).await.unwrap().len()
}

fn ended(mut worker: Child) -> Said {
    let code = worker.wait().unwrap().code().unwrap_or(-1);
    let mut err = String::new();
    worker.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    Said {
        code,
        out: String::new(),
        err,
    }
}

#[test]
fn old_workers_go_on_beside_new_ones_and_end_when_a_schema_leaves_them_behind() {
    // A SQLite file is for one worker: there the old one stops before the new one starts.
    let Some(db) = Database::postgres("upgrade") else {
        return;
    };
    let temp = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(upgraded(temp.path(), &db));
}

async fn upgraded(folder: &std::path::Path, db: &Database) {
    let file = folder.join("perennial.toml");
    std::fs::write(
        &file,
        "[limits]\neffects_per_lease = 4\nlease_ms = 1000\nsettle_ms = 200\n",
    )
    .unwrap();
    let older = std::env::var("PERENNIAL_OLD_PROGRAM").ok();
    let old = older.as_deref().unwrap_or(PROGRAM);
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let migrated: Said = command(old, folder, &["db", "migrate", "--db", &db.url])
        .output()
        .unwrap()
        .into();
    migrated.ok();
    let first = started_as(old, folder, &db.url, &sandbox, &[]);
    let commits = many(60, 4, Clock::System.now());
    let (now, rest) = commits.split_at(120);
    let store = if older.is_some() {
        let migrated = said(folder, &db.url, &["db", "migrate"]).ok();
        println!("an older program; {}", migrated.out.trim());
        let store = opened(&db.url).await;
        commit(&store, now).await;
        store
    } else {
        println!(
            "this build in the old program's place, on a schema that becomes one newer than its own while it works"
        );
        let store = opened(&db.url).await;
        commit(&store, now).await;
        until("work of the old one", async || tasks(&sandbox).len() > 2).await;
        let version = store.schema_version().await.unwrap();
        later(db, &store, Some(version)).await;
        store
    };
    let there = tasks(&sandbox).len();
    until("more work of the old one", async || tasks(&sandbox).len() > there).await;
    let second = started_as(PROGRAM, folder, &db.url, &sandbox, &[]);
    until("both", async || alive(&store).await == 2).await;
    commit(&store, rest).await;
    until("everything", async || {
        store.effect_counts(None).await.unwrap().done == commits.len() as u64
    })
    .await;
    let mut found = tasks(&sandbox);
    found.sort_unstable();
    found.dedup();
    assert_eq!(
        (found.len(), tasks(&sandbox).len()),
        (commits.len(), commits.len()),
        "each once"
    );

    // What works with nothing older ends both, and they say why.
    later(db, &store, None).await;
    for worker in [first, second] {
        let said = ended(worker);
        assert!(said.code != 0 && said.err.contains("cannot work with it"), "{said:?}");
    }
    let refused = said(folder, &db.url, &["queue", "list"]);
    assert!(
        refused.code != 0 && refused.err.contains("use a newer version"),
        "{refused:?}"
    );
    store.close().await;
    sandbox.shutdown().await;
}
