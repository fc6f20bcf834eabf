//! Benchmark of the standing run: how long from a signal that is stored to the decision and the ranked actions that follow.
//!
//! `cargo bench -p perennial-tests --bench incremental -- [ACCOUNTS] [SIGNALS_A_SECOND] [SECONDS] [WEEKS]` (default 100,000
//! accounts, 200 signals a second for 60 seconds, 13 weeks of use), on SQLite, and on PostgreSQL where `PERENNIAL_TEST_PG` names a
//! server.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use perennial::clock::Clock;
use perennial::config::{Config, Overrides};
use perennial::cycle::{Engine, Step, Watch};
use perennial::demo::portfolio::{PortfolioOptions, write_csv};
use perennial::intake::{ImportOptions, Mapping, import};
use perennial_core::draw::Stream;
use perennial_core::ids::{AccountId, ExternalId, SourceId, TenantId};
use perennial_core::number::Micro;
use perennial_core::signal::{Fact, Grain, Signal, Ticket, Usage};
use perennial_core::time::Timestamp;
use perennial_store::{Belongs, NewSignal, SignalRow, Store};
use perennial_tests::{Database, root};
use perennial_tools::Registry;

/// Signals are sent in groups, so many groups a second.
const GROUPS: u64 = 20;

fn main() {
    let args: Vec<u64> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .map(|a| a.parse().expect("a number"))
        .collect();
    let arg = |place: usize, default: u64| args.get(place).copied().unwrap_or(default);
    let (accounts, rate, seconds, weeks) = (arg(0, 100_000), arg(1, 200), arg(2, 60), arg(3, 13));
    let temp = tempfile::tempdir().expect("a temporary folder");
    let data = temp.path().join("data");
    std::fs::create_dir_all(&data).expect("a folder");
    let options = PortfolioOptions {
        accounts: u32::try_from(accounts).expect("a number of accounts"),
        usage_weeks: u32::try_from(weeks).expect("a number of weeks"),
        ..PortfolioOptions::default()
    };
    write_csv(&options, &data).expect("a portfolio");
    println!("{accounts} accounts, {weeks} weeks of use, {rate} signals/s for {seconds} s");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for db in Database::both("incremental", temp.path()) {
        runtime.block_on(measure(&db, temp.path(), rate, seconds));
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn clock() -> Instant {
    Instant::now()
}

/// Signals that are stored and not yet decided about: by account, when they were accepted.
type Open = Arc<Mutex<BTreeMap<AccountId, Vec<Instant>>>>;

async fn measure(db: &Database, folder: &std::path::Path, rate: u64, seconds: u64) {
    let overrides = Overrides {
        config: None,
        db: Some(db.url.clone()),
        policies: Some(root().join("policies")),
    };
    let mut config = Config::load(&overrides).expect("a configuration");
    let store = Store::open(&config.database, TenantId::DEFAULT, &config.limits.store())
        .await
        .expect("a database");
    store.migrate().await.expect("a schema");
    let mapping = Mapping::load(&root().join("examples/mappings/demo.toml")).expect("a mapping");
    let data = folder.join("data");
    import(&store, &data, &mapping, &ImportOptions::new(folder), |_| {})
        .await
        .expect("an import");
    config.clock = Clock::starting("2026-09-15T08:00:00Z".parse().expect("a time"));
    let tools = Registry::new();
    let (_keep, stop) = tokio::sync::watch::channel(false);
    let engine = Engine {
        config: &config,
        store: &store,
        tools: &tools,
        stop,
    };
    let start = clock();
    let mut watch = Watch::begin(&engine, config.clock.now()).await.expect("begins");
    while !matches!(watch.step(config.clock.now()).await.expect("a step"), Step::Idle) {}
    println!(
        "-- {}: first pass over all accounts in {:.1} s",
        db.kind,
        start.elapsed().as_secs_f64()
    );
    let ids = all_accounts(&store).await;
    let open = Open::default();
    let sending = tokio::spawn(send(store.clone(), config.clock, ids, Arc::clone(&open), rate, seconds));
    let mut taken: Vec<Duration> = Vec::new();
    let (mut steps, mut decided) = (0_u64, 0_u64);
    let end = clock() + Duration::from_secs(seconds + 30);
    while clock() < end {
        let began = clock();
        match watch.step(config.clock.now()).await.expect("a step") {
            Step::Due { accounts, .. } => {
                (steps, decided) = (steps + 1, decided + accounts.len() as u64);
                let still_due: BTreeSet<AccountId> = store
                    .due_accounts(config.clock.now(), 100_000)
                    .await
                    .expect("a list")
                    .into_iter()
                    .filter_map(|d| d.account)
                    .collect();
                let now = clock();
                let mut open = open.lock().expect("nobody panicked");
                for account in accounts {
                    let waiting = open.remove(&account).unwrap_or_default();
                    let (done, later): (Vec<Instant>, Vec<Instant>) = waiting
                        .into_iter()
                        .partition(|at| *at <= began || !still_due.contains(&account));
                    taken.extend(done.into_iter().map(|at| now.duration_since(at)));
                    if !later.is_empty() {
                        open.insert(account, later);
                    }
                }
            }
            Step::Idle if sending.is_finished() => break,
            Step::Idle => tokio::time::sleep(Duration::from_millis(20)).await,
            Step::Pass { .. } | Step::PassDone(_) => {}
        }
    }
    let sent = sending.await.expect("the sender ends");
    taken.sort();
    let left: usize = open.lock().expect("nobody panicked").values().map(Vec::len).sum();
    assert_eq!(
        (taken.len() as u64, left),
        (sent, 0),
        "every signal leads to a decision"
    );
    let at = |share: f64| taken[((taken.len() - 1) as f64 * share) as usize].as_millis();
    println!(
        "   {sent} signals, {decided} decisions in {steps} steps; from accepted to committed: median {} ms, p95 {} ms, p99 {} ms, \
         longest {} ms",
        at(0.5),
        at(0.95),
        at(0.99),
        at(1.0)
    );
    watch.finish(config.clock.now()).await.expect("ends");
    store.close().await;
}

async fn all_accounts(store: &Store) -> Vec<AccountId> {
    let mut ids: Vec<AccountId> = Vec::new();
    loop {
        let page = store.account_ids(ids.last(), 10_000).await.expect("accounts");
        if page.is_empty() {
            return ids;
        }
        ids.extend(page);
    }
}

/// Sends signals at an even rate: use of the day and new tickets, of accounts drawn from all.
async fn send(store: Store, now: Clock, ids: Vec<AccountId>, open: Open, rate: u64, seconds: u64) -> u64 {
    let mut draw = Stream::new(42, &["signals"]);
    let begin = tokio::time::Instant::now();
    let mut sent = 0;
    for group in 0..seconds * GROUPS {
        tokio::time::sleep_until(begin + Duration::from_millis(1_000 / GROUPS) * u32::try_from(group).unwrap_or(0))
            .await;
        let count = rate * (group + 1) / GROUPS - rate * group / GROUPS;
        let mut accounts = Vec::new();
        let mut rows: Vec<SignalRow> = (0..count)
            .map(|_| {
                sent += 1;
                let account = ids[draw.below(ids.len())].clone();
                accounts.push(account.clone());
                SignalRow::of(signal(account, sent, now.now(), draw.below(2) == 0))
            })
            .collect();
        store.insert_signals(&mut rows).await.expect("stores");
        let accepted = clock();
        let mut open = open.lock().expect("nobody panicked");
        for account in accounts {
            open.entry(account).or_default().push(accepted);
        }
    }
    sent
}

fn signal(account: AccountId, number: u64, at: Timestamp, is_use: bool) -> NewSignal {
    let fact = if is_use {
        Fact::Usage(Usage {
            product: None,
            grain: Grain::Day,
            start: at.day(),
            values: [("active_users".to_owned(), Micro::whole(7))].into(),
        })
    } else {
        Fact::Ticket(Ticket::default())
    };
    NewSignal {
        owner: Belongs::Account(account),
        signal: Signal {
            source: SourceId::new("live"),
            external_id: ExternalId::new(format!("L-{number}")),
            event_at: at,
            observed_at: at,
            revision_at: at,
            fact,
        },
    }
}
