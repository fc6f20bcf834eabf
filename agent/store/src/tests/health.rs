//! Opening, versions, full disks, other processes.

use perennial_core::ids::TenantId;

use super::bed::{account, account_id, usage};
use super::{Bed, both};
use crate::migrate::{MIGRATIONS, Migration, VERSION};
use crate::*;

both!(
    an_empty_database_asks_for_a_migration,
    a_newer_schema_is_refused,
    a_newer_schema_is_worked_with_where_it_says_so,
    workers_that_a_migration_would_strand_are_named,
    an_altered_migration_is_noticed,
    another_tenant_sees_nothing,
    sizes_are_told,
);

async fn again(bed: &Bed) -> Result<Store> {
    Store::open_migrated(&bed.url, TenantId::DEFAULT, &Options::default()).await
}

async fn an_empty_database_asks_for_a_migration(bed: Bed) {
    let report = bed.store.migrate().await.expect("migrates");
    assert_eq!((report.applied, report.version), (vec![], VERSION));
    again(&bed).await.expect("opens").close().await;
    bed.tamper("drop table schema_version").await;
    let empty = again(&bed).await.expect_err("no version");
    assert!(empty.to_string().contains("perennial db migrate"), "{empty}");
}

async fn a_newer_schema_is_refused(bed: Bed) {
    bed.tamper("insert into schema_version (version, name, hash) values (99, 'later', '')")
        .await;
    assert!(matches!(again(&bed).await, Err(StoreError::Version { found: 99, .. })));
    assert!(matches!(
        bed.store.migrate().await,
        Err(StoreError::Version { found: 99, .. })
    ));
}

/// The migrations of this program and others after them.
fn with(next: Vec<Migration>) -> Vec<Migration> {
    let known = MIGRATIONS.iter().map(|m| Migration { ..*m });
    known.chain(next).collect()
}

fn next(name: &'static str, works_with: Option<i64>) -> Migration {
    let text = match works_with {
        Some(_) => "alter table worker add column later text",
        None => "alter table worker rename column engine to build",
    };
    Migration {
        name,
        texts: [text, text],
        works_with,
    }
}

async fn a_newer_schema_is_worked_with_where_it_says_so(bed: Bed) {
    let mine = VERSION;
    bed.store.check_as(mine).await.expect("its own");
    let adds = with(vec![next("adds", Some(mine))]);
    bed.store.apply(&adds).await.expect("migrates");
    bed.store.check_as(mine).await.expect("the next allows for it");
    bed.store.check_as(mine + 1).await.expect("its own");
    let before = bed.store.check_as(mine - 1).await;
    assert!(
        matches!(before, Err(StoreError::Version { .. })),
        "one before is too old"
    );
    again(&bed).await.expect("opens").close().await;
    bed.store
        .see_worker("w", 0, "1", super::bed::at(1))
        .await
        .expect("an old worker is seen");
    let breaks = with(vec![next("adds", Some(mine)), next("breaks", None)]);
    bed.store.apply(&breaks).await.expect("migrates");
    let error = bed.store.check_as(mine).await.expect_err("refused");
    assert!(matches!(error, StoreError::Version { found, known } if (found, known) == (mine + 2, mine)));
    bed.store.check_as(mine + 1).await.expect_err("refused");
    bed.store.check_as(mine + 2).await.expect("its own");
}

async fn workers_that_a_migration_would_strand_are_named(bed: Bed) {
    let at = super::bed::at;
    let (adds, breaks) = (
        with(vec![next("adds", Some(VERSION))]),
        with(vec![next("breaks", None)]),
    );
    bed.store.see_worker("w", 0, "1", at(9)).await.expect("is seen");
    let too_old = async |list: &[Migration], after| bed.store.too_old(list, at(after)).await.expect("reads");
    assert_eq!(too_old(MIGRATIONS, 0).await, Vec::<String>::new(), "nothing to migrate");
    assert_eq!(too_old(&adds, 0).await, Vec::<String>::new(), "it can go on");
    assert_eq!(too_old(&breaks, 0).await, ["w"]);
    assert_eq!(
        too_old(&breaks, 9).await,
        Vec::<String>::new(),
        "it does not live any more"
    );
    bed.tamper("update worker set knows = 0").await;
    assert_eq!(
        too_old(&adds, 0).await,
        ["w"],
        "one from before programs said what they know"
    );
}

async fn an_altered_migration_is_noticed(bed: Bed) {
    bed.tamper("update schema_version set hash = 'other'").await;
    assert!(matches!(bed.store.migrate().await, Err(StoreError::Corrupt { .. })));
}

async fn another_tenant_sees_nothing(bed: Bed) {
    bed.store.insert_new(&[account(1)]).await.expect("stores");
    let other = Store::open_migrated(&bed.url, TenantId(2), &Options::default())
        .await
        .expect("opens");
    assert_eq!(other.account_ids(None, 10).await.expect("reads"), []);
    assert_eq!(other.insert_new(&[account(1)]).await.expect("stores"), [Stored::New]);
    other.close().await;
}

async fn sizes_are_told(bed: Bed) {
    bed.store.insert_new(&[account(1), account(2)]).await.expect("stores");
    bed.store.write_check().await.expect("can be written");
    let stats = bed.store.stats().await.expect("reads");
    assert!(stats.rows.contains(&("signal", 2)), "{stats:?}");
    assert!(
        stats.rows.contains(&("content", 0)),
        "the check leaves nothing: {stats:?}"
    );
    assert_eq!(stats.rows.len(), crate::health::TABLES.len());
    assert!(stats.bytes > 0 && stats.schema_version == VERSION, "{stats:?}");
}

#[tokio::test]
async fn a_full_disk_leaves_nothing_of_the_batch() {
    let bed = Bed::sqlite().await;
    let options = Options {
        max_bytes: Some(1 << 20),
        ..Options::default()
    };
    let store = Store::open(&bed.url, TenantId::DEFAULT, &options).await.expect("opens");
    let batch: Vec<NewSignal> = (0..20_000)
        .map(|i| usage(Belongs::Account(account_id(i)), &format!("U-{i}"), 0, 1))
        .collect();
    let full = store.insert_new(&batch).await.expect_err("too much");
    assert!(matches!(full, StoreError::Full { .. }), "{full:?}");
    assert!(full.to_string().contains("test.db"), "{full}");
    assert_eq!(
        store.insert_new(&batch[..10]).await.expect("stores"),
        vec![Stored::New; 10]
    );
}

#[tokio::test]
async fn a_lock_held_by_another_process_is_named() {
    let bed = Bed::sqlite().await;
    let options = Options {
        busy_timeout_ms: 20,
        ..Options::default()
    };
    let other = Store::open(&bed.url, TenantId::DEFAULT, &options).await.expect("opens");
    let tx = bed.store.db.write(crate::db::Durability::Full).await.expect("opens");
    let locked = other.insert_new(&[account(1)]).await.expect_err("locked");
    assert!(matches!(locked, StoreError::Locked { .. }), "{locked:?}");
    assert!(locked.to_string().contains("test.db"), "{locked}");
    drop(tx);
    other.insert_new(&[account(1)]).await.expect("free again");
}

#[tokio::test]
async fn a_place_that_is_no_database_is_told_clearly() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let open = async |place: std::path::PathBuf| {
        Store::open(&DatabaseUrl::Sqlite(place), TenantId::DEFAULT, &Options::default()).await
    };
    let missing = open(directory.path().join("none/test.db"))
        .await
        .expect_err("no directory");
    assert!(matches!(missing, StoreError::NoDirectory { .. }), "{missing:?}");
    let text = directory.path().join("text.db");
    std::fs::write(&text, "this is not a database, it is a text of some length".repeat(40)).expect("writes");
    let text = open(text).await.expect_err("a text");
    assert!(matches!(text, StoreError::Corrupt { .. }), "{text:?}");
    let refused = "postgres://eva:secret@127.0.0.1:1/perennial?password=secret"
        .parse::<DatabaseUrl>()
        .expect("a place");
    assert_eq!(refused.to_string(), "postgres://127.0.0.1:1/perennial");
    assert!(!format!("{refused:?}").contains("secret"));
    let refused = Store::open(&refused, TenantId::DEFAULT, &Options::default())
        .await
        .expect_err("nobody there");
    assert!(matches!(refused, StoreError::Unreachable { .. }), "{refused:?}");
    assert!(!format!("{refused:?} {refused}").contains("secret"), "{refused:?}");
    for wrong in ["", "sqlite:", "mysql://x", "perennial.db"] {
        let error = wrong.parse::<DatabaseUrl>().expect_err("not a place");
        assert!(error.to_string().contains("sqlite:PATH"));
    }
}
