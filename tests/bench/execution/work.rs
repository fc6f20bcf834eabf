//! Work that is made up and done: permitted actions, and the part of a worker that keeps the books.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use perennial_core::action::{ActionKind, Done, Receipt};
use perennial_core::ids::TenantId;
use perennial_core::replay::{Hash, canonical};
use perennial_core::signal::Crm;
use perennial_core::time::Timestamp;
use perennial_store::{DecisionCommit, EffectOutcome, EffectResult, LeasedEffect, LedgerDraft, Options, Store};
use perennial_tests::work;
use sqlx::Connection as _;

pub(crate) const SF: &[Crm] = &[Crm::Salesforce];
/// Effects of an account: they go out one after the other.
pub(crate) const EACH: usize = 4;
/// Actions of one transaction when they are committed, as a run does it.
const COMMIT: usize = 250;
/// The same when they are only to be there.
const FILL: usize = 2_000;

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
pub(crate) fn clock() -> Instant {
    Instant::now()
}

pub(crate) fn us(n: i64) -> Timestamp {
    Timestamp::from_us(n)
}

/// A store of a tenant, with so many connections.
pub(crate) async fn opened(url: &str, tenant: i64, connections: u32) -> Store {
    let options = Options {
        readers: connections,
        ..Options::default()
    };
    let url = url.parse().expect("a database");
    let store = Store::open(&url, TenantId(tenant), &options).await.expect("opens");
    store.migrate().await.expect("migrates");
    store
}

/// Has PostgreSQL count what its tables hold, as a server in use does by itself every minute: a plan that was made while they were
/// empty is kept until then.
pub(crate) async fn counted(url: &str) {
    if url.starts_with("postgres") {
        let mut connection = sqlx::PgConnection::connect(url).await.expect("the server answers");
        sqlx::query("analyze").execute(&mut connection).await.expect("counts");
        connection.close().await.expect("closes");
    }
}

fn commits(from: usize, to: usize) -> Vec<DecisionCommit> {
    let one = |n: usize| work::permitted(n / EACH, &n.to_string(), SF, ActionKind::CREATE_NOTE, us(0));
    (from..to).map(one).collect()
}

/// Commits decisions with intents, and how long that took without making them up.
pub(crate) async fn intend(store: &Store, from: usize, to: usize) -> Duration {
    let mut took = Duration::ZERO;
    for begin in (from..to).step_by(COMMIT) {
        let batch = commits(begin, (begin + COMMIT).min(to));
        let begun = clock();
        store
            .commit_decisions(&work::run(), &batch, us(0))
            .await
            .expect("commits");
        took += begun.elapsed();
    }
    took
}

/// Commits what `make` makes of numbers below `many`, as fast as it goes: the next ones are made up while some are committed.
pub(crate) async fn fill(store: &Store, many: usize, make: fn(usize) -> DecisionCommit) {
    let (give, mut take) = tokio::sync::mpsc::channel::<Vec<DecisionCommit>>(2);
    let making = tokio::task::spawn_blocking(move || {
        for begin in (0..many).step_by(FILL) {
            let batch = (begin..(begin + FILL).min(many)).map(make).collect();
            give.blocking_send(batch).expect("somebody takes it");
        }
    });
    while let Some(batch) = take.recv().await {
        store
            .commit_decisions(&work::run(), &batch, us(0))
            .await
            .expect("commits");
    }
    making.await.expect("makes");
}

/// A permitted action that waits.
pub(crate) fn waiting(n: usize) -> DecisionCommit {
    work::permitted(n / EACH, &n.to_string(), SF, ActionKind::CREATE_NOTE, us(0))
}

/// Leases and settles `most` effects, or a few more, with a store for each worker; how many, and how long it took.
pub(crate) async fn execute(stores: Vec<Store>, batch: u32, most: u64) -> (u64, Duration) {
    let done = Arc::new(AtomicU64::new(0));
    let begun = clock();
    let workers: Vec<_> = stores
        .into_iter()
        .enumerate()
        .map(|(n, store)| {
            let done = Arc::clone(&done);
            tokio::spawn(async move {
                let name = format!("w{n}");
                while done.load(Ordering::Relaxed) < most {
                    let leased = store.lease_effects(&name, SF, batch, us(1), 60_000_000).await;
                    let leased = leased.expect("leases");
                    if leased.is_empty() {
                        // The others have what there is.
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        continue;
                    }
                    let outcomes: Vec<EffectOutcome> = leased.iter().map(outcome).collect();
                    store.settle_effects(&outcomes).await.expect("settles");
                    done.fetch_add(outcomes.len() as u64, Ordering::Relaxed);
                }
                store
            })
        })
        .collect();
    let mut stores = Vec::new();
    for worker in workers {
        stores.push(worker.await.expect("works"));
    }
    let took = begun.elapsed();
    for store in stores {
        store.close().await;
    }
    (done.load(Ordering::Relaxed), took)
}

/// What a tool that does nothing answers.
fn outcome(lease: &LeasedEffect) -> EffectOutcome {
    let receipt = Receipt {
        tool: Crm::Salesforce,
        done: Done::Created,
        object: "Note".to_owned(),
        record: lease.effect.id.to_string(),
        url: String::new(),
        before: BTreeMap::new(),
        after: BTreeMap::new(),
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
