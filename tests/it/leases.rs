//! Two workers never have the same effect: random sequences held against a model, and workers that race for leases.
//!
//! `PERENNIAL_LEASES=10000000` makes the race large, `PERENNIAL_LEASE_CASES=5000` the sequences many.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use perennial_core::action::{ActionKind, EffectState};
use perennial_core::ids::{EffectId, TenantId};
use perennial_core::signal::Crm;
use perennial_core::stop::{Stop, StopScope};
use perennial_core::time::Timestamp;
use perennial_store::{EffectOutcome, EffectResult, LeasedEffect, LedgerDraft, Options, Store};
use perennial_tests::{Database, work};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

const SF: &[Crm] = &[Crm::Salesforce];
const ACCOUNTS: usize = 3;
const EACH: usize = 3;
const KINDS: [ActionKind; 2] = [ActionKind::CREATE_TASK, ActionKind::CREATE_NOTE];
/// Microseconds that a lease holds here.
const LEASE: i64 = 10;
const WORKERS: [&str; 3] = ["a", "b", "c"];
/// More than there can be.
const ALL_ROWS: u32 = 100;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |n| n.parse().unwrap())
}

fn us(n: i64) -> Timestamp {
    Timestamp::from_us(n)
}

async fn opened(url: &str, tenant: i64) -> Store {
    let store = Store::open(&url.parse().unwrap(), TenantId(tenant), &Options::default())
        .await
        .unwrap();
    store.migrate().await.unwrap();
    store
}

fn entry(kind: &str) -> LedgerDraft {
    LedgerDraft {
        kind: kind.to_owned(),
        reference: "test".to_owned(),
        body: "{}".to_owned(),
    }
}

fn outcome(lease: &LeasedEffect, result: EffectResult) -> EffectOutcome {
    EffectOutcome {
        account: lease.effect.target.account.clone(),
        effect: lease.effect.id.clone(),
        fence: lease.fence,
        begun_at: lease.begun_at,
        result,
        ledger: Vec::new(),
        learned: Vec::new(),
        at: us(0),
    }
}

#[derive(Debug, Clone)]
enum Op {
    Lease {
        worker: usize,
        rows: u32,
    },
    /// Settles one of the leases a worker ever had, also one that is not its own any more.
    Settle {
        worker: usize,
        which: usize,
        how: usize,
        wait: i64,
    },
    Extend {
        worker: usize,
    },
    Release {
        worker: usize,
    },
    Tick {
        by: i64,
    },
    Stop {
        scope: usize,
    },
    Resume {
        scope: usize,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let worker = 0..WORKERS.len();
    prop_oneof![
        4 => (worker.clone(), 1..4_u32).prop_map(|(worker, rows)| Op::Lease { worker, rows }),
        2 => worker.clone().prop_map(|worker| Op::Lease { worker, rows: ALL_ROWS }),
        5 => (worker.clone(), 0..8_usize, 0..4_usize, 0..9_i64)
            .prop_map(|(worker, which, how, wait)| Op::Settle { worker, which, how, wait }),
        1 => worker.clone().prop_map(|worker| Op::Extend { worker }),
        1 => worker.prop_map(|worker| Op::Release { worker }),
        3 => (1..12_i64).prop_map(|by| Op::Tick { by }),
        1 => (0..5_usize).prop_map(|scope| Op::Stop { scope }),
        2 => (0..5_usize).prop_map(|scope| Op::Resume { scope }),
    ]
}

fn scope(n: usize) -> StopScope {
    match n {
        0 => StopScope::All,
        1 => StopScope::Tool(Crm::Salesforce),
        2 => StopScope::Kind(KINDS[0]),
        3 => StopScope::Kind(KINDS[1]),
        _ => StopScope::Account(work::account(1)),
    }
}

/// An effect as the model knows it.
#[derive(Debug, Clone)]
struct Known {
    account: usize,
    kind: ActionKind,
    due: i64,
    attempts: i64,
    fence: i64,
    /// An attempt was begun, and nobody said how it ended.
    unsure: bool,
    held: Option<(usize, i64)>,
    finished: bool,
}

#[derive(Default)]
struct Model {
    now: i64,
    /// In the order of each lane.
    effects: Vec<(String, Known)>,
    stops: BTreeSet<usize>,
}

impl Model {
    fn is_stopped(&self, known: &Known) -> bool {
        let account = work::account(known.account);
        let mut stops = self.stops.iter().map(|n| scope(*n));
        stops.any(|s| s.reaches(&account, None, known.kind, Crm::Salesforce))
    }

    /// What may be leased now: of each account at most one.
    fn ready(&self) -> BTreeSet<String> {
        if self
            .stops
            .iter()
            .any(|n| matches!(scope(*n), StopScope::All | StopScope::Tool(_)))
        {
            return BTreeSet::new();
        }
        (0..ACCOUNTS).filter_map(|account| self.head(account)).collect()
    }

    fn head(&self, account: usize) -> Option<String> {
        let lane = || self.effects.iter().filter(|(_, k)| k.account == account && !k.finished);
        if let Some((id, known)) = lane().find(|(_, k)| k.held.is_some()) {
            let (_, until) = known.held?;
            return (until <= self.now).then(|| id.clone());
        }
        let mut allowed = lane().filter(|(_, k)| k.unsure || !self.is_stopped(k));
        let begun_or_due = allowed.find(|(_, k)| k.attempts > 0 || k.due <= self.now);
        begun_or_due
            .filter(|(_, k)| k.due <= self.now)
            .map(|(id, _)| id.clone())
    }

    fn known(&mut self, id: &str) -> &mut Known {
        &mut self.effects.iter_mut().find(|(known, _)| known == id).unwrap().1
    }

    /// A lease that the store gave.
    fn leased(&mut self, worker: usize, lease: &LeasedEffect) {
        let ready = self.ready();
        let now = self.now;
        assert!(
            ready.contains(lease.effect.id.as_str()),
            "{} is not free: {ready:?}",
            lease.effect.id
        );
        let known = self.known(lease.effect.id.as_str());
        assert_eq!(lease.fence, known.fence + 1, "the fence grows by one");
        let unsure = known.unsure || known.held.is_some();
        assert_eq!(
            lease.state == EffectState::Unknown,
            unsure,
            "what was begun is looked up"
        );
        known.unsure = unsure;
        known.fence = lease.fence;
        known.attempts += 1;
        known.held = Some((worker, now + LEASE));
    }
}

/// One sequence against the store and the model.
async fn sequence(url: &str, tenant: i64, ops: &[Op]) {
    let store = opened(url, tenant).await;
    let mut model = Model::default();
    for account in 0..ACCOUNTS {
        for n in 0..EACH {
            let due = if n == 1 { 15 } else { 0 };
            let mut commit = work::permitted(account, &format!("{tenant}-{n}"), SF, KINDS[n % 2], us(due));
            commit.actions[0].row.tier = None;
            let id = commit.actions[0].outbox[0].effect.id.as_str().to_owned();
            store.commit_decisions(&work::run(), &[commit], us(0)).await.unwrap();
            let known = Known {
                account,
                kind: KINDS[n % 2],
                due,
                attempts: 0,
                fence: 0,
                unsure: false,
                held: None,
                finished: false,
            };
            model.effects.push((id, known));
        }
    }
    let mut had: BTreeMap<usize, Vec<LeasedEffect>> = BTreeMap::new();
    for op in ops {
        step(&store, &mut model, &mut had, op).await;
    }
    // Nothing is stranded: let go on, with time enough, all of it is done.
    for n in std::mem::take(&mut model.stops) {
        store.resume(&scope(n), &entry("resume"), us(model.now)).await.unwrap();
    }
    for _ in 0..ACCOUNTS * EACH * 2 {
        model.now += 1_000;
        let leases = store
            .lease_effects("z", SF, ALL_ROWS, us(model.now), LEASE)
            .await
            .unwrap();
        for lease in &leases {
            model.leased(9, lease);
            model.known(lease.effect.id.as_str()).finished = true;
        }
        let done = |lease: &LeasedEffect| {
            outcome(
                lease,
                EffectResult::Failed {
                    error: "over".to_owned(),
                },
            )
        };
        let outcomes: Vec<EffectOutcome> = leases.iter().map(done).collect();
        store.settle_effects(&outcomes).await.unwrap();
    }
    let counts = store.effect_counts(None).await.unwrap();
    assert_eq!((counts.waiting, counts.unknown), (0, 0), "nothing is stranded");
    store.close().await;
}

async fn step(store: &Store, model: &mut Model, had: &mut BTreeMap<usize, Vec<LeasedEffect>>, op: &Op) {
    match op {
        Op::Lease { worker, rows } => {
            let ready = model.ready();
            let leases = store
                .lease_effects(WORKERS[*worker], SF, *rows, us(model.now), LEASE)
                .await
                .unwrap();
            for lease in &leases {
                model.leased(*worker, lease);
            }
            assert!(leases.len() <= *rows as usize);
            if *rows == ALL_ROWS {
                let found: BTreeSet<String> = leases.iter().map(|l| l.effect.id.to_string()).collect();
                assert_eq!(found, ready, "all that is free is found");
            }
            had.entry(*worker).or_default().extend(leases);
        }
        Op::Settle {
            worker,
            which,
            how,
            wait,
        } => {
            let Some(lease) = had.get(worker).and_then(|l| l.iter().rev().nth(*which)).cloned() else {
                return;
            };
            let due_at = us(model.now + wait);
            let error = String::new();
            let result = match how {
                0 => EffectResult::Again { error, due_at },
                1 => EffectResult::Unknown {
                    error,
                    due_at,
                    image: None,
                },
                2 => EffectResult::NotNow { why: error, due_at },
                _ => EffectResult::Failed { error },
            };
            let report = store.settle_effects(&[outcome(&lease, result.clone())]).await.unwrap();
            let known = model.known(lease.effect.id.as_str());
            let ours = known.held.is_some() && known.fence == lease.fence;
            assert_eq!(
                report.refused.is_empty(),
                ours,
                "an outcome counts with the present lease only"
            );
            if ours {
                known.held = None;
                known.unsure = matches!(result, EffectResult::Unknown { .. });
                match result {
                    EffectResult::Failed { .. } => known.finished = true,
                    EffectResult::NotNow { .. } => {
                        known.attempts -= 1;
                        known.due = due_at.us();
                    }
                    _ => known.due = due_at.us(),
                }
            }
        }
        Op::Extend { worker } => {
            let until = model.now + LEASE;
            let mine = model
                .effects
                .iter()
                .filter(|(_, k)| k.held.is_some_and(|(by, _)| by == *worker));
            let mine: Vec<_> = mine
                .map(|(id, k)| (work::account(k.account), EffectId::new(id)))
                .collect();
            let extended = store.extend_leases(WORKERS[*worker], &mine, us(until)).await.unwrap();
            assert_eq!(extended, mine.len() as u64);
            for (_, known) in &mut model.effects {
                known.held = known
                    .held
                    .map(|(by, end)| (by, if by == *worker { until } else { end }));
            }
        }
        Op::Release { worker } => {
            store.release_leases(WORKERS[*worker]).await.unwrap();
            for (_, known) in &mut model.effects {
                if known.held.is_some_and(|(by, _)| by == *worker) {
                    known.held = None;
                    known.attempts -= 1;
                }
            }
        }
        Op::Tick { by } => model.now += by,
        Op::Stop { scope: n } => {
            let stop = Stop {
                scope: scope(*n),
                since: us(model.now),
                person: "ada".to_owned(),
                reason: "test".to_owned(),
            };
            assert_eq!(store.stop(&stop, &entry("stop")).await.unwrap(), model.stops.insert(*n));
        }
        Op::Resume { scope: n } => {
            let went_on = store.resume(&scope(*n), &entry("resume"), us(model.now)).await.unwrap();
            assert_eq!(went_on, model.stops.remove(n));
        }
    }
}

#[test]
fn leases_do_what_the_model_says_on_random_sequences() {
    let temp = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let cases = u32::try_from(number("PERENNIAL_LEASE_CASES", 24)).unwrap();
    for db in Database::both("lease_model", temp.path()) {
        let tenant = std::cell::Cell::new(0);
        let config = Config {
            cases,
            failure_persistence: None,
            max_shrink_iters: 200,
            rng_algorithm: proptest::test_runner::RngAlgorithm::ChaCha,
            ..Config::default()
        };
        let mut runner = TestRunner::new_with_rng(
            config,
            proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
        );
        let ops = proptest::collection::vec(op(), 1..60);
        runner
            .run(&ops, |ops| {
                // A tenant of its own is as good as a database of its own.
                tenant.set(tenant.get() + 1);
                runtime.block_on(sequence(&db.url, tenant.get(), &ops));
                Ok(())
            })
            .unwrap_or_else(|error| panic!("{}: {error}", db.kind));
    }
}

#[test]
fn workers_that_race_never_hold_the_same_effect() {
    let temp = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let wanted = number("PERENNIAL_LEASES", 3_000);
    for db in Database::both("lease_race", temp.path()) {
        let leases = runtime.block_on(race(&db.url, wanted));
        eprintln!("{}: {leases} leases by 8 workers, none shared", db.kind);
    }
}

async fn race(url: &str, wanted: u64) -> u64 {
    let store = opened(url, 1).await;
    let commits: Vec<_> = (0..200)
        .map(|n| work::permitted(n % 50, &n.to_string(), SF, ActionKind::CREATE_NOTE, us(0)))
        .collect();
    store.commit_decisions(&work::run(), &commits, us(0)).await.unwrap();
    // Who has what, and how often anything was leased.
    let held: Arc<Mutex<(HashMap<String, i64>, u64)>> = Arc::default();
    let workers: Vec<_> = (0..8)
        .map(|n| {
            let (store, held) = (store.clone(), Arc::clone(&held));
            tokio::spawn(async move {
                let name = format!("w{n}");
                loop {
                    let leases = store.lease_effects(&name, SF, 8, us(1), 1_000_000).await.unwrap();
                    {
                        let mut held = held.lock().unwrap();
                        for lease in &leases {
                            let other = held.0.insert(lease.effect.id.to_string(), lease.fence);
                            assert_eq!(other, None, "{} is held already", lease.effect.id);
                            // One of an account at a time, too.
                            let lane = lease.effect.target.account.to_string();
                            assert_eq!(held.0.insert(lane, lease.fence), None, "its account is busy");
                        }
                        held.1 += leases.len() as u64;
                        if held.1 >= wanted {
                            return;
                        }
                    }
                    tokio::task::yield_now().await;
                    {
                        let mut held = held.lock().unwrap();
                        for lease in &leases {
                            held.0.remove(lease.effect.id.as_str());
                            held.0.remove(lease.effect.target.account.as_str());
                        }
                    }
                    let again = |lease: &LeasedEffect| {
                        let (error, due_at) = (String::new(), us(0));
                        outcome(lease, EffectResult::Again { error, due_at })
                    };
                    let outcomes: Vec<EffectOutcome> = leases.iter().map(again).collect();
                    let report = store.settle_effects(&outcomes).await.unwrap();
                    assert_eq!(report.refused, [], "nobody else settled it");
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    let leases = held.lock().unwrap().1;
    store.close().await;
    leases
}
