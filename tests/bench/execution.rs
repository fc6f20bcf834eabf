//! Benchmark of execution without a CRM: what the bookkeeping of an effect costs, with intent, lease, attempt, outcome, receipt and
//! ledger, everything synced to disk.
//!
//! `cargo bench -p perennial-tests --bench execution -- [EFFECTS] [BACKLOG]` (default 20,000 effects and a backlog of 1,000,000), on
//! SQLite with `synchronous = full`, and on a PostgreSQL of its own with `fsync` on where its programs are installed. There also what
//! row-level security costs, and what the tenants of one server feel of each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use perennial_core::action::{ActionKind, Done, Receipt};
use perennial_core::ids::TenantId;
use perennial_core::replay::{Hash, canonical};
use perennial_core::signal::Crm;
use perennial_core::time::Timestamp;
use perennial_store::{DecisionCommit, EffectOutcome, EffectResult, LeasedEffect, LedgerDraft, Options, Store};
use perennial_tests::Database;
use perennial_tests::postgres::PostgresServer;
use perennial_tests::work;

const SF: &[Crm] = &[Crm::Salesforce];
/// Effects of an account: they go out one after the other.
const EACH: usize = 4;
/// Actions of one transaction when they are committed, as a run does it.
const COMMIT: usize = 250;
/// Single commits that the wait of one is taken from.
const SINGLE: usize = 1_000;
/// Turns in which two ways of doing the same are measured.
const TURNS: i64 = 5;
/// What waits at most at the other tenant.
const CROWD: usize = 100_000;
/// Effects measured beside a backlog.
const BESIDE: u64 = 3_000;

fn main() {
    let args: Vec<usize> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .map(|a| a.parse().expect("a number"))
        .collect();
    let arg = |place: usize, default: usize| args.get(place).copied().unwrap_or(default);
    let (effects, backlog) = (arg(0, 20_000), arg(1, 1_000_000));
    let temp = tempfile::tempdir().expect("a temporary folder");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    println!("| database | what | workers | batch | effects/s |\n|---|---|---|---|---|");
    let sqlite = Database::sqlite(temp.path());
    runtime.block_on(all("SQLite", &sqlite.url, effects, backlog, &[1]));
    if let Some(server) = PostgresServer::start("bench execution") {
        runtime.block_on(all("PostgreSQL", &server.url(), effects, backlog, &[1, 2, 4, 8]));
        runtime.block_on(apart(&server, effects));
        runtime.block_on(beside(&server.url(), backlog.min(CROWD)));
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn clock() -> Instant {
    Instant::now()
}

fn us(n: i64) -> Timestamp {
    Timestamp::from_us(n)
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn rate(n: u64, time: Duration) -> f64 {
    n as f64 / time.as_secs_f64()
}

async fn opened(url: &str, tenant: i64) -> Store {
    let options = Options {
        readers: 10,
        ..Options::default()
    };
    let url = url.parse().expect("a database");
    let store = Store::open(&url, TenantId(tenant), &options).await.expect("opens");
    store.migrate().await.expect("migrates");
    store
}

fn commits(from: usize, to: usize, due: i64) -> Vec<DecisionCommit> {
    let one = |n: usize| work::permitted(n / EACH, &n.to_string(), SF, ActionKind::CREATE_NOTE, us(due));
    (from..to).map(one).collect()
}

/// Commits decisions with intents, and how long that took.
async fn intend(store: &Store, from: usize, to: usize, due: i64) -> Duration {
    let mut took = Duration::ZERO;
    for begin in (from..to).step_by(COMMIT) {
        let batch = commits(begin, (begin + COMMIT).min(to), due);
        let begun = clock();
        store
            .commit_decisions(&work::run(), &batch, us(0))
            .await
            .expect("commits");
        took += begun.elapsed();
    }
    took
}

/// Leases and settles `most` effects, or all that there are, and how long that took.
async fn execute(store: &Store, workers: usize, batch: u32, most: u64) -> (u64, Duration) {
    let done = Arc::new(AtomicU64::new(0));
    let begun = clock();
    let workers: Vec<_> = (0..workers)
        .map(|n| {
            let (store, done) = (store.clone(), Arc::clone(&done));
            tokio::spawn(async move {
                let name = format!("w{n}");
                let mut idle = 0;
                while done.load(Ordering::Relaxed) < most && idle < 20 {
                    let leases = store
                        .lease_effects(&name, SF, batch, us(1), 60_000_000)
                        .await
                        .expect("leases");
                    idle = if leases.is_empty() { idle + 1 } else { 0 };
                    let outcomes: Vec<EffectOutcome> = leases.iter().map(outcome).collect();
                    store.settle_effects(&outcomes).await.expect("settles");
                    done.fetch_add(outcomes.len() as u64, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.expect("works");
    }
    (done.load(Ordering::Relaxed), begun.elapsed())
}

/// What a tool that does nothing answers.
fn outcome(lease: &LeasedEffect) -> EffectOutcome {
    let receipt = Receipt {
        tool: Crm::Salesforce,
        done: Done::Created,
        object: "Note".to_owned(),
        record: lease.effect.id.to_string(),
        url: String::new(),
        before: std::collections::BTreeMap::new(),
        after: std::collections::BTreeMap::new(),
        at: us(1),
    };
    let body = serde_json::json!({ "done": receipt.done, "receipt": Hash::of(canonical(&receipt).as_bytes()) });
    EffectOutcome {
        account: lease.effect.target.account.clone(),
        effect: lease.effect.id.clone(),
        fence: lease.fence,
        begun_at: lease.begun_at,
        learned: Vec::new(),
        ledger: vec![LedgerDraft {
            kind: "receipt".to_owned(),
            reference: lease.effect.id.to_string(),
            body: canonical(&body),
        }],
        result: EffectResult::Done(receipt),
        at: us(1),
    }
}

async fn all(name: &str, url: &str, effects: usize, backlog: usize, workers: &[usize]) {
    let mut tenant = 0;
    for &workers in workers {
        for batch in [1, 16, 128] {
            tenant += 1;
            let store = opened(url, tenant).await;
            // One by one takes long; its rate does not depend on how many there are.
            let effects = if batch == 1 { effects / 8 } else { effects };
            let intending = intend(&store, 0, effects, 0).await;
            let (done, executing) = execute(&store, workers, batch, u64::MAX).await;
            assert_eq!(done, effects as u64, "all of it is done");
            println!("| {name} | intent | 1 | {COMMIT} | {:.0} |", rate(done, intending));
            println!(
                "| {name} | lease and outcome | {workers} | {batch} | {:.0} |",
                rate(done, executing)
            );
            println!(
                "| {name} | intent and outcome | {workers} | {batch} | {:.0} |",
                rate(done, intending + executing)
            );
            store.close().await;
        }
    }
    for waiting in [3_000, backlog] {
        tenant += 1;
        let store = opened(url, tenant).await;
        intend(&store, 0, waiting.max(BESIDE as usize + 200), 0).await;
        let (done, took) = execute(&store, 1, 16, BESIDE).await;
        println!(
            "| {name} | lease and outcome, {waiting} waiting | 1 | 16 | {:.0} |",
            rate(done, took)
        );
        store.close().await;
    }
    tenant += 1;
    let store = opened(url, tenant).await;
    let mut waits = Vec::with_capacity(SINGLE);
    for n in 0..SINGLE {
        waits.push(intend(&store, n, n + 1, 0).await);
    }
    waits.sort_unstable();
    let at = |share: usize| waits[(SINGLE * share / 100).min(SINGLE - 1)].as_secs_f64() * 1_000.0;
    println!(
        "{name}: one action to its committed intent, idle: p50 {:.2} ms, p99 {:.2} ms",
        at(50),
        at(99)
    );
    store.close().await;
}

/// What row-level security costs: the same work as the superuser, whom it does not hold, and as a role that owns nothing, in turns, each
/// time as a tenant that is new. The figure is the middle one of the ratios of the turns.
async fn apart(server: &PostgresServer, effects: usize) {
    server.sql(
        "create role perennial_app login; grant usage on schema public to perennial_app; \
         grant select, insert, update, delete on all tables in schema public to perennial_app",
    );
    for batch in [16, 128] {
        let mut ratios = Vec::new();
        for turn in 0..TURNS {
            let mut took = [Duration::ZERO; 2];
            // Who goes first changes, so that neither always finds the warmer server.
            for arm in [turn % 2, 1 - turn % 2] {
                let url = if arm == 0 {
                    server.url()
                } else {
                    server.url_as("perennial_app")
                };
                let tenant = 1_000 + i64::from(batch) * 100 + turn * 2 + arm;
                let options = Options {
                    readers: 10,
                    ..Options::default()
                };
                let url = url.parse().expect("a database");
                let store = Store::open_migrated(&url, TenantId(tenant), &options)
                    .await
                    .expect("opens");
                let held = store.tenants_not_apart().await.expect("reads").is_none();
                assert_eq!(held, arm == 1, "who is held by row-level security");
                let intending = intend(&store, 0, effects, 0).await;
                let (done, executing) = execute(&store, 1, batch, u64::MAX).await;
                assert_eq!(done, effects as u64, "all of it is done");
                took[usize::from(arm == 1)] = intending + executing;
                store.close().await;
            }
            ratios.push(took[1].as_secs_f64() / took[0].as_secs_f64());
        }
        ratios.sort_by(f64::total_cmp);
        println!(
            "row-level security in force, batch {batch}: {:.2} times the time without it (between {:.2} and {:.2})",
            ratios[ratios.len() / 2],
            ratios[0],
            ratios[ratios.len() - 1]
        );
    }
}

/// How long a tenant's single effects take from the intent to the receipt: alone on the server, beside another tenant with many waiting,
/// and beside that tenant's worker at work on them.
async fn beside(url: &str, waiting: usize) {
    let crowd = opened(url, 3_001).await;
    let store = opened(url, 3_002).await;
    let mut first = 0;
    let mut measure = async || {
        let mut waits = Vec::with_capacity(SINGLE);
        for n in first..first + SINGLE {
            let begun = clock();
            intend(&store, n, n + 1, 0).await;
            let leases = store
                .lease_effects("b", SF, 1, us(1), 60_000_000)
                .await
                .expect("leases");
            let outcomes: Vec<EffectOutcome> = leases.iter().map(outcome).collect();
            assert_eq!(outcomes.len(), 1, "its own, at once");
            store.settle_effects(&outcomes).await.expect("settles");
            waits.push(begun.elapsed());
        }
        first += SINGLE;
        waits.sort_unstable();
        let at = |share: usize| waits[(SINGLE * share / 100).min(SINGLE - 1)].as_secs_f64() * 1_000.0;
        (at(50), at(99))
    };
    let say = |what: &str, (p50, p99): (f64, f64), alone: (f64, f64)| {
        println!(
            "one tenant's effects, {what}: p50 {p50:.2} ms, p99 {p99:.2} ms ({:.2} and {:.2} times alone)",
            p50 / alone.0,
            p99 / alone.1
        );
    };
    measure().await;
    let alone = measure().await;
    say("alone", alone, alone);
    intend(&crowd, 0, waiting, 0).await;
    say(
        &format!("beside {waiting} that wait at another"),
        measure().await,
        alone,
    );
    let busy = {
        let crowd = crowd.clone();
        tokio::spawn(async move { execute(&crowd, 1, 16, u64::MAX).await })
    };
    let found = measure().await;
    let went_on = !busy.is_finished();
    busy.abort();
    say("beside that tenant's worker at work", found, alone);
    assert!(went_on, "the other tenant had work all the time");
    crowd.close().await;
    store.close().await;
}
