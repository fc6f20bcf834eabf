//! What is held back: by a stop that comes while a batch is on its way, and by a CRM whose calls are used up.

use std::collections::BTreeMap;
use std::sync::Arc;

use perennial::StoreBudget;
use perennial::clock::Clock;
use perennial::cycle::Engine;
use perennial::dispatch::drain;
use perennial_core::action::{ActionKind, Done, Effect, EffectState, Permit, Receipt, Write};
use perennial_core::signal::Crm;
use perennial_core::stop::{Stop, StopScope};
use perennial_core::time::Timestamp;
use perennial_sandbox::Limits;
use perennial_store::{CallRules, LedgerDraft, Store};
use perennial_tests::batches::{book, health, opened, tool};
use perennial_tests::{Database, work};
use perennial_tools::hubspot::HubSpot;
use perennial_tools::salesforce::Salesforce;
use perennial_tools::{Answer, Answers, Connection, Go, Job, Known, LookUp, Registry, SendError, Tool};

use tokio::sync::Mutex;

use super::{CRMS, effect, live, task, word};
use crate::crms::{NOW, permit, wait};

/// Salesforce, with a stop that comes when everything is leased and nothing is sent.
struct Stopping {
    inner: Arc<dyn Tool>,
    store: Store,
}

impl Tool for Stopping {
    fn crm(&self) -> Crm {
        self.inner.crm()
    }

    perennial_tests::carries_out_only!();

    fn execute<'a>(
        &'a self,
        permit: Permit,
        effect: &'a Effect,
        known: &'a Known,
        at: Timestamp,
    ) -> Answer<'a, Receipt> {
        self.inner.execute(permit, effect, known, at)
    }

    fn look_up<'a>(&'a self, effect: &'a Effect, at: Timestamp) -> Answer<'a, LookUp> {
        self.inner.look_up(effect, at)
    }

    fn together(&self, effect: &Effect) -> Option<&'static str> {
        self.inner.together(effect)
    }

    fn batch_max(&self) -> usize {
        self.inner.batch_max()
    }

    fn execute_many<'a>(&'a self, jobs: Vec<Job<'a>>, go: &'a dyn Go, at: Timestamp) -> Answers<'a, Receipt> {
        Box::pin(async move {
            let stopped = work::account(3);
            let stop = Stop {
                scope: StopScope::Account(stopped.clone()),
                since: at,
                person: "mia".to_owned(),
                reason: "escalation".to_owned(),
            };
            let entry = LedgerDraft {
                kind: "stop".to_owned(),
                reference: "stop".to_owned(),
                body: "{}".to_owned(),
            };
            self.store.stop(&stop, &entry).await.unwrap();
            let its: Vec<&Effect> = jobs
                .iter()
                .map(|job| job.effect)
                .filter(|e| e.target.account == stopped)
                .collect();
            // A stop is felt within a second.
            for _ in 0..500 {
                if go.may(&its).await == [false] {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
            self.inner.execute_many(jobs, go, at).await
        })
    }
}

#[test]
fn what_is_stopped_while_a_batch_is_read_is_put_off_and_not_sent() {
    wait(async {
        let count = 10;
        let crms = book(count).await;
        let temp = tempfile::tempdir().unwrap();
        for db in Database::both("batch_stopped", temp.path()) {
            let (config, store) = opened(&db.url, temp.path(), Some(100)).await;
            let due = Timestamp::from_us(0);
            let value = if db.kind == "sqlite" { "71" } else { "72" };
            let change = |n: usize| {
                let writes = vec![health(Crm::Salesforce, n, value)];
                work::writing(n, "health", writes, ActionKind::UPDATE_FIELD, due)
            };
            let commits: Vec<_> = (0..count).map(change).collect();
            store.commit_decisions(&work::run(), &commits, due).await.unwrap();
            let tools = Registry::new().with(Arc::new(Stopping {
                inner: tool(&crms, Crm::Salesforce),
                store: store.clone(),
            }));
            let (_keep, stop) = tokio::sync::watch::channel(false);
            let engine = Engine {
                config: &config,
                store: &store,
                tools: &tools,
                stop,
            };
            let drained = drain(&engine, &work::run(), None, &mut |_| {}).await.unwrap();
            assert_eq!((drained.done, drained.failed), (count as u64 - 1, 0), "{}", db.kind);
            for n in 0..count {
                assert_eq!(live(&crms, Crm::Salesforce, n) == value, n != 3, "{n}");
            }
            let effects = store.effects_of(&commits[3].actions[0].row.id).await.unwrap();
            assert_eq!(effects[0].state, EffectState::Waiting, "{effects:?}");
            store.close().await;
        }
    });
}

/// A CRM in which tasks go alone and changes together. When it carries out its first task, it counts what another worker could have.
struct Counting {
    store: Store,
    left: Mutex<Option<BTreeMap<bool, usize>>>,
}

fn is_task(effect: &Effect) -> bool {
    matches!(effect.write, Write::CreateTask { .. })
}

fn receipt(effect: &Effect, at: Timestamp) -> Receipt {
    Receipt {
        tool: effect.tool,
        done: Done::Created,
        object: "Task".to_owned(),
        record: effect.id.as_str().to_owned(),
        url: String::new(),
        at,
        before: BTreeMap::new(),
        after: BTreeMap::new(),
    }
}

impl Tool for Counting {
    fn crm(&self) -> Crm {
        Crm::Salesforce
    }

    perennial_tests::carries_out_only!();

    fn execute<'a>(&'a self, _: Permit, effect: &'a Effect, _: &'a Known, at: Timestamp) -> Answer<'a, Receipt> {
        Box::pin(async move {
            let mut left = self.left.lock().await;
            if left.is_none() {
                let now = self.store.clock().await.unwrap().unwrap_or(at);
                let others = self
                    .store
                    .lease_effects("other", &[Crm::Salesforce], 1_000, now, 60_000_000)
                    .await;
                let mut counts = BTreeMap::from([(true, 0), (false, 0)]);
                for lease in others.unwrap() {
                    *counts.entry(is_task(&lease.effect)).or_default() += 1;
                }
                self.store.release_leases("other").await.unwrap();
                *left = Some(counts);
            }
            Ok(receipt(effect, at))
        })
    }

    fn look_up<'a>(&'a self, _: &'a Effect, _: Timestamp) -> Answer<'a, LookUp> {
        Box::pin(async { Ok(LookUp::Absent) })
    }

    fn together(&self, effect: &Effect) -> Option<&'static str> {
        (!is_task(effect)).then_some("Account")
    }

    fn batch_max(&self) -> usize {
        1_000
    }

    fn execute_many<'a>(&'a self, jobs: Vec<Job<'a>>, _: &'a dyn Go, at: Timestamp) -> Answers<'a, Receipt> {
        Box::pin(async move { jobs.iter().map(|job| Ok(receipt(job.effect, at))).collect() })
    }
}

#[test]
fn a_worker_holds_what_goes_together_and_leaves_what_goes_alone_to_others() {
    wait(async {
        let temp = tempfile::tempdir().unwrap();
        for db in Database::both("lease_room", temp.path()) {
            let (mut config, store) = opened(&db.url, temp.path(), None).await;
            config.limits.effects_per_lease = 4;
            let due = Timestamp::from_us(0);
            let commits: Vec<_> = (0..300)
                .map(|n| {
                    let (write, kind) = match n % 3 {
                        0 => ((Crm::Salesforce, None, task()), ActionKind::CREATE_TASK),
                        _ => (health(Crm::Salesforce, n, "71"), ActionKind::UPDATE_FIELD),
                    };
                    work::writing(n, "room", vec![write], kind, due)
                })
                .collect();
            store.commit_decisions(&work::run(), &commits, due).await.unwrap();
            let counting = Arc::new(Counting {
                store: store.clone(),
                left: Mutex::new(None),
            });
            let tools = Registry::new().with(counting.clone());
            let (_keep, stop) = tokio::sync::watch::channel(false);
            let engine = Engine {
                config: &config,
                store: &store,
                tools: &tools,
                stop,
            };
            let drained = drain(&engine, &work::run(), None, &mut |_| {}).await.unwrap();
            assert_eq!((drained.done, drained.failed), (300, 0), "{}", db.kind);
            let left = counting.left.lock().await.take().unwrap();
            assert_eq!(left, BTreeMap::from([(true, 96), (false, 0)]), "{}", db.kind);
            store.close().await;
        }
    });
}

#[test]
fn a_crm_that_says_its_calls_are_used_up_is_called_by_nobody_for_a_while() {
    wait(async {
        for crm in CRMS {
            let crms = book(1).await;
            let temp = tempfile::tempdir().unwrap();
            for db in Database::both(&format!("spent_{crm}"), temp.path()) {
                let (_, store) = opened(&db.url, temp.path(), Some(100)).await;
                let rules = CallRules {
                    daily: None,
                    assumed: 100_000,
                    per_second: 1_000,
                    burst: 1_000,
                };
                let clock = Clock::System;
                let worker = || {
                    let budget = Arc::new(StoreBudget::new(store.clone(), clock, rules));
                    let address = if crm == Crm::Salesforce {
                        crms.salesforce()
                    } else {
                        crms.hubspot()
                    };
                    let connection = Connection {
                        budget: Some(budget),
                        ..crate::crms::connection(&address.url, &address.token)
                    };
                    let tool: Box<dyn Tool> = match crm {
                        Crm::Salesforce => Box::new(Salesforce::new(connection).unwrap()),
                        Crm::HubSpot => Box::new(HubSpot::new(connection).unwrap()),
                    };
                    tool
                };
                let (one, other) = (worker(), worker());
                crms.set_limits(Limits {
                    salesforce_daily: 0,
                    hubspot_daily: Some(0),
                    ..Limits::default()
                });
                let effect = effect(crm, "spent", 0, task());
                let before = crms.calls().len();
                let first = one.execute(permit(&effect), &effect, &Known::nothing(), NOW).await;
                assert_eq!(word(&first), "busy", "{crm}");
                assert_eq!(crms.calls().len() - before, 1, "{crm}: asked once");
                for tool in [&one, &other] {
                    let next = tool.execute(permit(&effect), &effect, &Known::nothing(), NOW).await;
                    let Err(SendError::Busy { why, retry_after }) = next else {
                        panic!("{crm}: {next:?}");
                    };
                    assert!(why.contains("used up") && retry_after.as_secs() > 500, "{why}");
                }
                assert_eq!(crms.calls().len() - before, 1, "{crm}: and nobody asks again");
                crms.set_limits(Limits::default());
                store.close().await;
            }
        }
    });
}
