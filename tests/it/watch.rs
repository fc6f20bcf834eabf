//! The standing run: what it comes to is what a full run comes to, and nobody's day overflows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use perennial::clock::Clock;
use perennial::config::{Config, Overrides};
use perennial::content::POLICIES;
use perennial::cycle::{Engine, RunOptions, RunReport, Step, Watch, run_once};
use perennial::demo::portfolio::{PortfolioOptions, write_csv};
use perennial::intake::{ImportOptions, Mapping};
use perennial_core::action::ActionState;
use perennial_core::approval::{Event, Person};
use perennial_core::decide::Decision;
use perennial_core::draw::Stream;
use perennial_core::ids::{AccountId, TenantId};
use perennial_core::replay::{Hash, read};
use perennial_core::signal::{Fact, OwnerRole, Signal};
use perennial_core::time::Timestamp;
use perennial_store::{Belongs, DecisionRow, NewSignal, QueueFilter, SignalRow, Store};
use perennial_tests::{Database, root};
use perennial_tools::Registry;

/// Histories that the standing and the full run must agree on.
const HISTORIES: u64 = 1_000;
/// Accounts of a history.
const ACCOUNTS: usize = 4;
const MINUTE: i64 = 60_000_000;
const BEGIN: &str = "2026-09-14T20:00:00Z";

fn config(url: &str) -> Config {
    config_with(url, root().join("policies"))
}

fn config_with(url: &str, policies: PathBuf) -> Config {
    let overrides = Overrides {
        config: None,
        db: Some(url.to_owned()),
        policies: Some(policies),
    };
    Config::load(&overrides).unwrap()
}

/// The shipped policies with limits of feeds that the signals of a history often reach, in one direction or the other.
fn with_limited_feeds(folder: &Path) -> PathBuf {
    let policies = folder.join("limited");
    for (name, text) in POLICIES {
        let path = policies.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = match *name {
            "scoring.toml" => {
                format!("{text}\n[feeds]\nusage = 10\nticket = 2\ninvoice = 2\nsurvey = 2\ninteraction = 1\n")
            }
            "autonomy.toml" => text.replace(
                "max_usage_age_days = 14",
                "max_usage_age_days = 14\nmax_stale_feeds = 0",
            ),
            _ => (*text).to_owned(),
        };
        std::fs::write(path, text).unwrap();
    }
    policies
}

/// The configuration with a clock that shows `now`.
fn at(config: &Config, now: Timestamp) -> Config {
    Config {
        clock: Clock::starting(now),
        ..config.clone()
    }
}

async fn open(config: &Config, tenant: i64) -> Store {
    let store = Store::open(&config.database, TenantId(tenant), &config.limits.store())
        .await
        .unwrap();
    store.migrate().await.unwrap();
    store
}

/// Signals that histories are made of.
struct Pool {
    accounts: Vec<(AccountId, Vec<Signal>)>,
    people: Vec<Signal>,
}

async fn pool(folder: &Path) -> Pool {
    let data = folder.join("data");
    std::fs::create_dir_all(&data).unwrap();
    let options = PortfolioOptions {
        usage_weeks: 8,
        ..PortfolioOptions::default()
    };
    write_csv(&options, &data).unwrap();
    let config = config(&format!("sqlite:{}", folder.join("pool.db").display()));
    let store = open(&config, 1).await;
    let mapping = Mapping::load(&root().join("examples/mappings/demo.toml")).unwrap();
    perennial::intake::import(&store, &data, &mapping, &ImportOptions::new(folder), |_| {})
        .await
        .unwrap();
    let ids = store.account_ids(None, 1_000).await.unwrap();
    Pool {
        accounts: store.account_signals(&ids).await.unwrap().into_iter().collect(),
        people: store.portfolio_signals().await.unwrap(),
    }
}

fn of_account(account: &AccountId, signal: Signal) -> NewSignal {
    NewSignal {
        owner: Belongs::Account(account.clone()),
        signal,
    }
}

async fn deliver(store: &Store, signals: Vec<NewSignal>) {
    let mut rows: Vec<SignalRow> = signals.into_iter().map(SignalRow::of).collect();
    store.insert_signals(&mut rows).await.unwrap();
    store.link_signals().await.unwrap();
}

/// Steps until there is nothing to do.
async fn settle(watch: &mut Watch<'_>, now: Timestamp) {
    for _ in 0..1_000 {
        if matches!(watch.step(now).await.unwrap(), Step::Idle) {
            return;
        }
    }
    panic!("there is always something to do");
}

struct Told {
    latest: BTreeMap<AccountId, DecisionRow>,
    run: RunReport,
    people_changed: bool,
    days: usize,
    now: Timestamp,
    everything: Vec<NewSignal>,
}

/// One random history, decided about as it comes; then a full run over the same store.
async fn history(pool: &Pool, config: &Config, seed: u64) -> Told {
    let draw = &mut Stream::new(seed, &["history"]);
    let tools = Registry::new();
    let (_keep, stop) = tokio::sync::watch::channel(false);
    let store = open(config, i64::try_from(seed).unwrap() + 1).await;
    let engine = Engine {
        config,
        store: &store,
        tools: &tools,
        stop,
    };
    let first = draw.below(pool.accounts.len() - ACCOUNTS);
    let mut waiting: Vec<NewSignal> = pool.accounts[first..first + ACCOUNTS]
        .iter()
        .flat_map(|(id, signals)| signals.iter().map(|s| of_account(id, s.clone())))
        .collect();
    for i in (1..waiting.len()).rev() {
        waiting.swap(i, draw.below(i + 1));
    }
    let people = pool.people.iter().cloned().map(|signal| NewSignal {
        owner: Belongs::Portfolio,
        signal,
    });
    let mut everything: Vec<NewSignal> = people.collect();
    // A run needs at least one account that is known as one.
    let known = waiting
        .iter()
        .position(|s| matches!(s.signal.fact, Fact::Account(_)))
        .unwrap();
    waiting.swap(0, known);
    let late = waiting.split_off(waiting.len() * (5 + draw.below(5)) / 10);
    everything.extend(waiting);
    deliver(&store, everything.clone()).await;
    let mut now: Timestamp = BEGIN.parse().unwrap();
    let begun = now.day();
    let mut people_changed = false;
    let mut watch = Watch::begin(&engine, now).await.unwrap();
    let turns = 2 + draw.below(3);
    for turn in 0..turns {
        // Most turns are minutes apart, some cross midnight.
        let pause = if draw.below(4) == 0 { 600 } else { 20 };
        now = Timestamp::from_us(now.us() + MINUTE * i64::try_from(1 + draw.below(pause)).unwrap());
        let share = late.len() / turns;
        let mut batch: Vec<NewSignal> = late[turn * share..(turn + 1) * share].to_vec();
        batch.truncate(1 + draw.below(batch.len().max(1)));
        for signal in &mut batch {
            // Known for long and stored only now, known now, or known in a while.
            let known = match draw.below(4) {
                0 => continue,
                1 => now.us() + MINUTE * i64::try_from(draw.below(90)).unwrap(),
                _ => now.us(),
            };
            signal.signal.observed_at = Timestamp::from_us(known);
            if draw.below(3) == 0 {
                signal.signal.revision_at = signal.signal.observed_at;
            }
        }
        if draw.below(8) == 0 {
            people_changed = true;
            let mut signal = pool.people[draw.below(pool.people.len())].clone();
            if let Fact::Owner(owner) = &mut signal.fact {
                owner.name = Some(format!("Renamed {turn}"));
            }
            (signal.observed_at, signal.revision_at) = (now, now);
            batch.push(NewSignal {
                owner: Belongs::Portfolio,
                signal,
            });
        }
        deliver(&store, batch.clone()).await;
        everything.extend(batch);
        if draw.below(3) == 0 {
            reject_something(config, &store, now, draw).await;
        }
        // Sometimes the next signals come while accounts are still due.
        for _ in 0..draw.below(6) {
            watch.step(now).await.unwrap();
        }
    }
    // Later than all that the clock of a person's decision may have shown meanwhile.
    now = Timestamp::from_us(now.us() + MINUTE);
    settle(&mut watch, now).await;
    watch.finish(now).await.unwrap();
    let options = RunOptions {
        as_of: now,
        live: true,
        dry_run: false,
    };
    let config = at(config, now);
    let engine = Engine {
        config: &config,
        ..engine
    };
    let ids = store.account_ids(None, 1_000).await.unwrap();
    let stood = store.latest_decisions(&ids).await.unwrap();
    let run = run_once(&engine, &options, &mut |_| {}).await.unwrap();
    assert_eq!(
        stood.len() as u64,
        run.accounts,
        "history {seed}: accounts without a decision"
    );
    let latest = store.latest_decisions(&ids).await.unwrap();
    let of_run: BTreeSet<Hash> = store
        .decisions_of_run(&run.run, None, 1_000)
        .await
        .unwrap()
        .into_iter()
        .map(|(_, hash)| hash)
        .collect();
    for row in latest.values() {
        assert!(
            of_run.contains(&row.output_hash),
            "history {seed}: {} is stale",
            row.account
        );
    }
    let days = usize::try_from(begun.days_until(now.day())).unwrap();
    store.close().await;
    Told {
        latest,
        run,
        people_changed,
        days,
        now,
        everything,
    }
}

/// A person says no to something that waits.
async fn reject_something(config: &Config, store: &Store, now: Timestamp, draw: &mut Stream) {
    let filter = QueueFilter {
        states: vec![ActionState::Pending],
        ..QueueFilter::default()
    };
    let waits = store.queue(&filter).await.unwrap();
    if waits.is_empty() {
        return;
    }
    let config = at(config, now);
    let (_, policies) = perennial::content::compile(&config).unwrap();
    let person = Person {
        id: "vp".to_owned(),
        roles: vec![OwnerRole::VpCs],
    };
    let event = Event::Reject {
        reason: "not now".to_owned(),
    };
    let row = &waits[draw.below(waits.len())];
    perennial::queue::decide(&config, store, row, &event, &person, &policies)
        .await
        .unwrap();
}

#[test]
fn a_standing_run_and_a_full_one_agree_on_a_thousand_random_histories() {
    let temp = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let pool = runtime.block_on(pool(temp.path()));
    let (mut afresh, mut over_midnight, mut changed, mut stale) = (0, 0, 0, [0, 0]);
    // Half of the histories have limits of feeds.
    let configs = |name: &str, half: u64| {
        let url = format!("sqlite:{}", temp.path().join(format!("{name}-{half}.db")).display());
        match half {
            0 => config(&url),
            _ => config_with(&url, with_limited_feeds(temp.path())),
        }
    };
    let halves: Vec<Vec<(u64, Told)>> = std::thread::scope(|scope| {
        let work = (0..2_u64).map(|half| {
            let pool = &pool;
            let config = configs("watch", half);
            scope.spawn(move || {
                let runtime = tokio::runtime::Runtime::new().unwrap();
                let seeds = (0..HISTORIES).filter(|seed| seed % 2 == half);
                seeds
                    .map(|seed| (seed, runtime.block_on(history(pool, &config, seed))))
                    .collect()
            })
        });
        let work: Vec<_> = work.collect();
        work.into_iter().map(|half| half.join().unwrap()).collect()
    });
    let fresh = [configs("fresh", 0), configs("fresh", 1)];
    for (seed, told) in halves.into_iter().flatten() {
        assert_eq!(
            told.run.decisions_new, 0,
            "history {seed}: a full run finds something new"
        );
        for day in told.run.days.iter().filter(|_| !told.people_changed) {
            assert!(day.planned_minutes <= day.capacity_minutes, "history {seed}: {day:?}");
        }
        changed += u32::from(told.people_changed);
        over_midnight += u32::from(told.days > 0);
        for row in told.latest.values().filter(|_| seed % 2 == 1) {
            let decision: Decision = read("decision", &row.output.text().unwrap()).unwrap();
            let found = decision.features.number("stale_feeds").unwrap();
            stale[usize::from(found > 0.0)] += 1;
        }
        // What was done on an earlier day is an input too, so only one-day histories can be told anew.
        if told.days == 0 && (afresh < 50 || seed % 2 == 1 && afresh < 100) {
            afresh += 1;
            runtime.block_on(told_anew(&fresh[usize::from(seed % 2 == 1)], seed, &told));
        }
    }
    assert!(
        afresh == 100 && over_midnight > 100 && changed > 100,
        "{afresh} {over_midnight} {changed}"
    );
    assert!(stale.iter().all(|decisions| *decisions > 50), "{stale:?}");
}

/// The same signals, all at once, in a store that knows nothing else, lead to the same bytes.
async fn told_anew(config: &Config, seed: u64, told: &Told) {
    let tools = Registry::new();
    let (_keep, stop) = tokio::sync::watch::channel(false);
    let store = open(config, i64::try_from(seed).unwrap() + 1).await;
    deliver(&store, told.everything.clone()).await;
    let engine = Engine {
        config,
        store: &store,
        tools: &tools,
        stop,
    };
    let options = RunOptions {
        as_of: told.now,
        live: true,
        dry_run: false,
    };
    run_once(&engine, &options, &mut |_| {}).await.unwrap();
    let ids = store.account_ids(None, 1_000).await.unwrap();
    let latest = store.latest_decisions(&ids).await.unwrap();
    let bytes = |rows: &BTreeMap<AccountId, DecisionRow>| -> Vec<(Hash, Hash)> {
        rows.values().map(|row| (row.inputs_hash, row.output_hash)).collect()
    };
    assert_eq!(bytes(&latest), bytes(&told.latest), "history {seed}");
    store.close().await;
}

#[test]
fn what_is_new_reaches_the_queue_and_no_day_overflows() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let temp = tempfile::tempdir().unwrap();
    let pool = runtime.block_on(pool(temp.path()));
    for db in Database::both("watch", temp.path()) {
        runtime.block_on(arriving_one_by_one(&pool, &config(&db.url)));
    }
}

/// All accounts of the pool arrive one after the other, each while the run stands.
async fn arriving_one_by_one(pool: &Pool, config: &Config) {
    let tools = Registry::new();
    let (_keep, stop) = tokio::sync::watch::channel(false);
    let store = open(config, 1).await;
    let engine = Engine {
        config,
        store: &store,
        tools: &tools,
        stop,
    };
    let people = pool.people.iter().cloned().map(|signal| NewSignal {
        owner: Belongs::Portfolio,
        signal,
    });
    deliver(&store, people.collect()).await;
    let mut now: Timestamp = BEGIN.parse().unwrap();
    let mut watch = Watch::begin(&engine, now).await.unwrap();
    settle(&mut watch, now).await;
    for (account, signals) in &pool.accounts {
        now = Timestamp::from_us(now.us() + MINUTE);
        deliver(&store, signals.iter().map(|s| of_account(account, s.clone())).collect()).await;
        settle(&mut watch, now).await;
        let decided = store.latest_decisions(std::slice::from_ref(account)).await.unwrap();
        assert!(decided.contains_key(account), "{account}");
    }
    watch.finish(now).await.unwrap();
    let options = RunOptions {
        as_of: now,
        live: true,
        dry_run: false,
    };
    let run = run_once(&engine, &options, &mut |_| {}).await.unwrap();
    assert_eq!(run.decisions_new, 0);
    let (mut planned, mut left) = (0, 0);
    for day in &run.days {
        assert!(day.planned_minutes <= day.capacity_minutes, "{day:?}");
        planned += day.planned;
        left += day.left_over;
    }
    assert!(planned > 0 && left > 0, "some must fit and some not: {planned} {left}");
    store.close().await;
}
