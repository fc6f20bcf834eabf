//! Workers that are killed at random, calls that fail at random, a database that is cut off: nothing is lost, nothing is done
//! twice, nothing is done without a permit. The sandbox's own history is the judge.
//!
//! `PERENNIAL_CRASH_KILLS=2000 cargo test -p perennial-tests --test it crash:: -- --nocapture` makes it large.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use perennial::clock::Clock;
use perennial::config::Limits;
use perennial_core::action::{ActionKind, ActionState};
use perennial_core::draw::Stream;
use perennial_core::ids::TenantId;
use perennial_core::signal::Crm;
use perennial_core::time::Timestamp;
use perennial_sandbox::{Chance, Chances, FaultKind, Options, RouteMatch, Sandbox, Seed, SeedRecord, System};
use perennial_store::{DecisionCommit, LedgerEntry, QueueFilter, Store, StoreError};
use perennial_tests::postgres::PostgresServer;
use perennial_tests::sink::{MarkerSink, SINK, WORKING};
use perennial_tests::{command, work};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::PROGRAM;

/// Accounts with work.
const ACCOUNTS: usize = 200;
/// Unfinished effects below which more are committed.
const LOW: u64 = 200;
/// A worker is killed so many milliseconds after it has begun to work, drawn anew each time.
const LIFE_MS: usize = 350;
/// One in five calls fails, half of them after they took effect.
fn unreliable() -> Chances {
    let chance = |kind, per_mille| Chance {
        system: System::Salesforce,
        route: RouteMatch::Any,
        kind,
        per_mille,
    };
    let list = vec![
        chance(FaultKind::DropAfterCommit, 100),
        chance(FaultKind::DropBeforeCommit, 50),
        chance(FaultKind::Unavailable, 50),
    ];
    Chances::new(6, list)
}
/// Short waits; a settle time above what a local server takes; attempts enough that nothing is given up, because every kill counts as one.
const LIMITS: &str = "[limits]\nsettle_ms = 400\nlease_ms = 600\neffect_attempts = 60\nretry_most_ms = 1500\neffects_per_lease = 8\nbatched_per_lease = 8\n";

/// Kills of all arms together.
fn kills() -> u32 {
    std::env::var("PERENNIAL_CRASH_KILLS").map_or(200, |n| n.parse().unwrap())
}

struct Arm<'a> {
    name: &'static str,
    url: String,
    folder: &'a Path,
    kills: u32,
    workers: u64,
    server: Option<&'a PostgresServer>,
}

impl Arm<'_> {
    fn worker(&self, sandbox: &Sandbox) -> Command {
        let mut command = command(PROGRAM, self.folder, &[]);
        command
            .env(SINK, "marker")
            .env("PERENNIAL_DB", &self.url)
            .env("PERENNIAL_SALESFORCE_URL", &sandbox.salesforce().url)
            .env("PERENNIAL_SALESFORCE_TOKEN", &sandbox.salesforce().token)
            .env("PERENNIAL_HUBSPOT_URL", &sandbox.hubspot().url)
            .env("PERENNIAL_HUBSPOT_TOKEN", &sandbox.hubspot().token)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut command = Command::from(command);
        command.kill_on_drop(true);
        command
    }
}

/// A worker that has begun to work; none when it ended before (its database was just away).
async fn begun(command: &mut Command) -> Option<Child> {
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap();
    (line.as_deref() == Some(WORKING)).then_some(child)
}

fn seed() -> Seed {
    let company = |n| {
        SeedRecord::new("companies")
            .field("name", format!("Customer {n}"))
            .field("perennial_account_id", work::account(n).as_str())
    };
    Seed {
        salesforce: Vec::new(),
        hubspot: (0..ACCOUNTS).map(company).collect(),
    }
}

/// Commits the next actions; a database that is away is asked again until it took them, once.
async fn feed(store: &Store, next: &mut usize, fed: &mut Vec<DecisionCommit>) {
    let both = [Crm::Salesforce, Crm::HubSpot];
    let now = Clock::System.now();
    let commits: Vec<DecisionCommit> = (*next..*next + 20)
        .map(|n| work::permitted(n % ACCOUNTS, &n.to_string(), &both, ActionKind::CREATE_NOTE, now))
        .collect();
    loop {
        match store.commit_decisions(&work::run(), &commits, now).await {
            Ok(_) => break,
            Err(error) if error.passes() => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(error) => panic!("{error:?}"),
        }
    }
    *next += commits.len();
    fed.extend(commits);
}

async fn unfinished(store: &Store) -> Result<u64, StoreError> {
    let state = store.queue_state(Clock::System.now()).await?;
    Ok(state.waiting + state.leased + state.unknown)
}

async fn arm(arm: Arm<'_>) {
    std::fs::write(arm.folder.join("perennial.toml"), LIMITS).unwrap();
    let options = Options {
        seed: seed(),
        ..Options::default()
    };
    let sandbox = Sandbox::start(options).await.unwrap();
    sandbox.set_chances(Some(unreliable()));
    let store = Store::open(&arm.url.parse().unwrap(), TenantId::DEFAULT, &Limits::default().store())
        .await
        .unwrap();
    store.migrate().await.unwrap();
    let (killed, over) = (AtomicU32::new(0), AtomicBool::new(false));
    let killing = async {
        let slots = (0..arm.workers).map(|slot| {
            let (arm, killed, sandbox) = (&arm, &killed, &sandbox);
            let mut draw = Stream::new(slot, &["kill", arm.name]);
            async move {
                while killed.load(Ordering::Relaxed) < arm.kills {
                    let Some(mut child) = begun(&mut arm.worker(sandbox)).await else {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    };
                    tokio::time::sleep(Duration::from_millis(draw.below(LIFE_MS) as u64)).await;
                    // SIGKILL: nothing is cleaned up.
                    child.kill().await.unwrap();
                    let n = killed.fetch_add(1, Ordering::Relaxed) + 1;
                    if n.is_multiple_of(50) {
                        eprintln!("{}: {n} kills", arm.name);
                    }
                }
            }
        });
        futures_util::future::join_all(slots).await;
        over.store(true, Ordering::Relaxed);
    };
    let mut fed = Vec::new();
    let feeding = async {
        let mut next = 0;
        while !over.load(Ordering::Relaxed) {
            if unfinished(&store).await.is_ok_and(|n| n < LOW) {
                feed(&store, &mut next, &mut fed).await;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let cutting = async {
        let Some(server) = arm.server else { return 0 };
        for third in [1, 2] {
            while killed.load(Ordering::Relaxed) < arm.kills * third / 3 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            tokio::task::block_in_place(|| server.restart());
        }
        2
    };
    let ((), (), cuts) = tokio::join!(killing, feeding, cutting);
    // What the dead left behind is ended by two that live, and that end gracefully.
    let mut last = Vec::new();
    for _ in 0..2 {
        last.extend(begun(&mut arm.worker(&sandbox)).await);
    }
    while unfinished(&store).await.unwrap() > 0 || !store.settled_actions().await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for mut child in last {
        let pid = child.id().unwrap().to_string();
        assert!(
            std::process::Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        assert!(child.wait().await.unwrap().success(), "{}: a graceful end", arm.name);
    }
    let judged = judge(&arm, &sandbox, &store, &fed).await;
    eprintln!(
        "{}: {} kills, {cuts} cuts of the database, {judged}",
        arm.name,
        killed.into_inner()
    );
    store.close().await;
    sandbox.shutdown().await;
}

/// How often each marker is in the sandbox, and when it came first.
fn found(sandbox: &Sandbox) -> BTreeMap<String, (u32, Timestamp)> {
    let tasks = sandbox
        .records(System::Salesforce, "Task")
        .into_iter()
        .map(|r| (r, "Subject"));
    let notes = sandbox
        .records(System::Hubspot, "notes")
        .into_iter()
        .map(|r| (r, "perennial_key"));
    let mut found: BTreeMap<String, (u32, Timestamp)> = BTreeMap::new();
    for (record, field) in tasks.chain(notes) {
        let marker = record.fields[field].as_str().unwrap().to_owned();
        let at = Timestamp::from_us(record.history[0].at.as_microsecond());
        let known = found.entry(marker).or_insert((0, at));
        *known = (known.0 + 1, known.1.min(at));
    }
    found
}

async fn ledger(store: &Store) -> Vec<LedgerEntry> {
    let mut entries: Vec<LedgerEntry> = Vec::new();
    loop {
        let page = store.ledger_page(entries.len() as i64, 5_000).await.unwrap();
        if page.is_empty() {
            return entries;
        }
        entries.extend(page);
    }
}

async fn judge(arm: &Arm<'_>, sandbox: &Sandbox, store: &Store, fed: &[DecisionCommit]) -> String {
    let name = arm.name;
    let wanted: BTreeSet<String> = fed
        .iter()
        .flat_map(|commit| &commit.actions)
        .flat_map(|action| &action.outbox)
        .map(|row| row.effect.id.as_str().to_owned())
        .collect();
    let found = found(sandbox);
    let lost: Vec<&String> = wanted.iter().filter(|marker| !found.contains_key(*marker)).collect();
    assert!(lost.is_empty(), "{name}: lost {lost:?}");
    let doubled: Vec<_> = found.iter().filter(|(_, (times, _))| *times > 1).collect();
    assert!(doubled.is_empty(), "{name}: doubled {doubled:?}");
    let mut intents: BTreeMap<&str, &LedgerEntry> = BTreeMap::new();
    let entries = ledger(store).await;
    let (mut lost_answers, mut found_again) = (0, 0);
    for entry in &entries {
        match entry.kind.as_str() {
            "intent" => {
                let body: serde_json::Value = serde_json::from_str(&entry.body).unwrap();
                assert!(body["ground"]["verdict"].is_object(), "{name}: {body}");
                intents.insert(&entry.reference, entry);
            }
            "receipt" => {
                let before = intents.get(entry.reference.as_str());
                assert!(before.is_some(), "{name}: a receipt before its intent: {entry:?}");
                found_again += u32::from(entry.body.contains("already_done"));
            }
            "unknown" => lost_answers += 1,
            _ => {}
        }
    }
    for (marker, (_, at)) in &found {
        let intent = intents.get(marker.as_str());
        assert!(
            intent.is_some_and(|intent| intent.at <= *at),
            "{name}: {marker} without a prior intent"
        );
    }
    assert!(
        lost_answers > 0 && found_again > 0,
        "{name}: the faults do not bite: {lost_answers} {found_again}"
    );
    let counts = store.effect_counts(None).await.unwrap();
    assert_eq!((counts.done, counts.failed), (wanted.len() as u64, 0), "{name}");
    let filter = QueueFilter {
        states: ActionState::ALL
            .iter()
            .copied()
            .filter(|s| *s != ActionState::Executed)
            .collect(),
        ..QueueFilter::default()
    };
    assert_eq!(
        store.queue(&filter).await.unwrap(),
        [],
        "{name}: every action is executed"
    );
    let verified = command(PROGRAM, arm.folder, &["audit", "verify", "--json", "--db", &arm.url])
        .output()
        .unwrap();
    assert!(
        verified.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&verified.stderr)
    );
    assert!(
        wanted.len() as u32 > arm.kills,
        "{name}: little was done: {}",
        wanted.len()
    );
    format!(
        "{} effects, 0 lost, 0 doubled; {lost_answers} answers lost, {found_again} found again by their marker",
        wanted.len()
    )
}

#[test]
fn killed_workers_lose_and_double_nothing() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = PostgresServer::start("crash: PostgreSQL restarted in the middle");
    let temp = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let sqlite = Arm {
        name: "sqlite",
        url: format!("sqlite:{}", temp[0].path().join("crash.db").display()),
        folder: temp[0].path(),
        kills: if server.is_some() { kills() / 4 } else { kills() },
        workers: 1,
        server: None,
    };
    runtime.block_on(arm(sqlite));
    let Some(server) = server else { return };
    let postgres = Arm {
        name: "postgres",
        url: server.url(),
        folder: temp[1].path(),
        kills: kills() - kills() / 4,
        workers: 3,
        server: Some(&server),
    };
    runtime.block_on(arm(postgres));
}

/// Effects of the naive arm.
const NAIVE: u32 = 1_000;

/// The faults bite: whoever sends again after any error, and whose crash forgets what it had sent, doubles.
#[test]
fn a_naive_worker_doubles_more_than_a_tenth_under_the_same_faults() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let sandbox = Sandbox::start(Options::default()).await.unwrap();
        sandbox.set_chances(Some(unreliable()));
        let sink = MarkerSink::new(&sandbox.salesforce().url, &sandbox.salesforce().token);
        for n in 0..NAIVE {
            while sink.post(&format!("naive-{n}")).await.is_err() {}
        }
        let found = found(&sandbox);
        let doubled = found.values().filter(|(times, _)| *times > 1).count() as u32;
        eprintln!("naive: {NAIVE} effects, {doubled} doubled");
        assert_eq!(found.len() as u32, NAIVE);
        assert!(doubled * 10 > NAIVE, "{doubled} of {NAIVE}");
        sandbox.shutdown().await;
    });
}
