//! Backup and restore: a backup that is taken while a worker writes is whole, and going on from it sends nothing twice.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use perennial::clock::Clock;
use perennial_sandbox::{Options, Sandbox, Seed, SeedRecord, System};
use perennial_tests::{Database, Said};

use crate::PROGRAM;
use crate::workers::{commit, many, opened, said, started_as, until};

const ACCOUNTS: usize = 40;

fn notes(sandbox: &Sandbox) -> Vec<String> {
    let records = sandbox.records(System::Salesforce, "Note");
    let key = |record: &perennial_sandbox::Record| record.fields["Perennial_Key__c"].as_str().unwrap().to_owned();
    records.iter().map(key).collect()
}

fn pg(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output();
    let said = Said::from(output.unwrap_or_else(|error| panic!("{program}: {error}; install the PostgreSQL client")));
    said.ok();
}

/// Takes a backup as the book says.
fn back_up(db: &Database, folder: &Path, file: &Path) {
    let file = file.to_str().unwrap();
    let backup = said(folder, &db.url, &["db", "backup", "--to", file]);
    if db.kind == "sqlite" {
        let backup = backup.ok();
        assert!(backup.out.contains("intact, head"), "{backup:?}");
        let again = said(folder, &db.url, &["db", "backup", "--to", file]);
        assert!(again.code != 0 && again.err.contains("is there already"), "{again:?}");
    } else {
        assert!(backup.code != 0 && backup.err.contains("pg_dump"), "{backup:?}");
        pg("pg_dump", &["--format=custom", "--file", file, &db.url]);
    }
}

#[test]
fn a_backup_taken_under_load_is_whole_and_what_was_sent_after_it_is_not_sent_again() {
    let temp = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for db in Database::both("backup", temp.path()) {
        let file = temp.path().join(format!("{}.backup", db.kind));
        let restored = match db.kind {
            "sqlite" => None,
            _ => Database::postgres("restored"),
        };
        runtime.block_on(restore(temp.path(), &db, &file, restored.as_ref()));
    }
}

async fn restore(folder: &Path, db: &Database, file: &Path, other: Option<&Database>) {
    let config = "[limits]\neffects_per_lease = 4\nbatched_per_lease = 4\nlease_ms = 1000\nsettle_ms = 200\n";
    std::fs::write(folder.join("perennial.toml"), config).unwrap();
    let account = |number: usize| {
        SeedRecord::new("Account")
            .id(format!("001{number:012}"))
            .field("Name", format!("Customer {number}"))
            .field(
                "Perennial_Account_Id__c",
                perennial_tests::work::account(number).as_str(),
            )
    };
    let options = Options {
        seed: Seed {
            salesforce: (0..ACCOUNTS).map(account).collect(),
            ..Seed::default()
        },
        ..Options::default()
    };
    let sandbox = Sandbox::start(options).await.unwrap();
    let store = opened(&db.url).await;
    let commits = many(ACCOUNTS, 5, Clock::System.now());
    commit(&store, &commits).await;
    let mut worker = started_as(PROGRAM, folder, &db.url, &sandbox, &["worker"]);
    until("some notes", async || notes(&sandbox).len() > 20).await;
    back_up(db, folder, file);
    let sent = notes(&sandbox).len();
    until("notes after the backup", async || notes(&sandbox).len() > sent).await;
    worker.kill().unwrap();
    worker.wait().unwrap();
    store.close().await;

    let url = match other {
        None => format!("sqlite:{}", file.display()),
        Some(other) => {
            pg(
                "pg_restore",
                &["--no-owner", "--dbname", &other.url, file.to_str().unwrap()],
            );
            other.url.clone()
        }
    };
    said(folder, &url, &["audit", "verify"]).ok();
    let store = opened(&url).await;
    let done = store.effect_counts(None).await.unwrap().done;
    let sent = notes(&sandbox).len() as u64;
    assert!(done < sent, "the backup is older than what was sent: {done} of {sent}");
    let mut worker = started_as(PROGRAM, folder, &url, &sandbox, &["worker"]);
    until("everything", async || {
        store.effect_counts(None).await.unwrap().done == commits.len() as u64
    })
    .await;
    worker.kill().unwrap();
    worker.wait().unwrap();
    let found = notes(&sandbox);
    assert_eq!(found.len(), commits.len(), "each once");
    assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), commits.len());
    println!(
        "{}: {done} done in the backup, {sent} sent, {} notes in the end",
        db.kind,
        found.len()
    );
    said(folder, &url, &["audit", "verify"]).ok();
    store.close().await;
    sandbox.shutdown().await;
}
