//! Many effects in few requests: each with its own comparison, its own before-image and its own answer, and no more calls than
//! the API asks for.

mod held;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use futures_util::future::BoxFuture;
use perennial_core::action::{AccountField, Done, Effect, Priority, Receipt, Target, Write};
use perennial_core::ids::{AccountId, ActionId, EffectId};
use perennial_core::signal::Crm;
use perennial_core::time::Day;
use perennial_sandbox::{Access, ChangeKind, Fault, FaultKind, RouteMatch, Sandbox};
use perennial_tests::Database;
use perennial_tests::batches::{By, account_id, book, bulk_tool, change_all, company_id, health, least, system, tool};
use perennial_tools::{Always, Go, Job, Known, LookUp, SendError, Tool};
use serde_json::Value;

use crate::crms::{NOW, permit, wait};

const CRMS: [Crm; 2] = [Crm::Salesforce, Crm::HubSpot];

fn record_id(crm: Crm, n: usize) -> String {
    match crm {
        Crm::Salesforce => account_id(n),
        Crm::HubSpot => company_id(n),
    }
}

fn names(crm: Crm) -> (&'static str, &'static str, &'static str) {
    match crm {
        Crm::Salesforce => ("Account", "Perennial_Health__c", "Task"),
        Crm::HubSpot => ("companies", "perennial_health", "tasks"),
    }
}

fn effect(crm: Crm, key: &str, n: usize, write: Write) -> Effect {
    let action = ActionId::new(format!("act_{key}_{n}"));
    Effect {
        id: EffectId::derive(&action, 0),
        action,
        step: 0,
        tool: crm,
        target: Target {
            account: AccountId::new(format!("A-{n}")),
            account_name: format!("Customer {n}"),
            crm_id: Some(record_id(crm, n)),
        },
        write,
    }
}

fn changes(crm: Crm, key: &str, count: usize, value: &str) -> Vec<Effect> {
    (0..count)
        .map(|n| effect(crm, key, n, health(crm, n, value).2))
        .collect()
}

fn task() -> Write {
    Write::CreateTask {
        subject: "Call Ann".to_owned(),
        body: "Ask why".to_owned(),
        due: Day::from_ymd(2026, 9, 18).unwrap(),
        priority: Priority::Normal,
        assignee: None,
    }
}

fn tasks(crm: Crm, key: &str, count: usize) -> Vec<Effect> {
    (0..count).map(|n| effect(crm, key, n, task())).collect()
}

async fn run_going(tool: &dyn Tool, effects: &[Effect], known: &Known, go: &dyn Go) -> Vec<Result<Receipt, SendError>> {
    let job = |effect| Job {
        permit: permit(effect),
        effect,
        known,
    };
    let answers = tool.execute_many(effects.iter().map(job).collect(), go, NOW).await;
    assert_eq!(answers.len(), effects.len(), "one answer each");
    answers
}

async fn run(tool: &dyn Tool, effects: &[Effect]) -> Vec<Result<Receipt, SendError>> {
    run_going(tool, effects, &Known::nothing(), &Always).await
}

fn text(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(value) => value.to_string().trim_end_matches(".0").to_owned(),
    }
}

fn live(crms: &Sandbox, crm: Crm, n: usize) -> String {
    let (object, field, _) = names(crm);
    let record = crms.record(system(crm), object, &record_id(crm, n)).unwrap();
    text(record.fields.get(field))
}

fn word(answer: &Result<Receipt, SendError>) -> String {
    match answer {
        Ok(receipt) => receipt.done.as_str().to_owned(),
        Err(SendError::Refused { code, .. }) => code.clone(),
        Err(SendError::Conflict { .. }) => "conflict".to_owned(),
        Err(SendError::Busy { .. }) => "busy".to_owned(),
        Err(SendError::Unknown { image, .. }) => format!("unknown, image {}", image.is_some()),
        Err(other) => format!("{other:?}"),
    }
}

fn words(answers: &[Result<Receipt, SendError>]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for answer in answers {
        *counts.entry(word(answer)).or_default() += 1;
    }
    counts
}

fn edit(crms: &Sandbox, crm: Crm, n: usize, value: &str) {
    let (object, field, _) = names(crm);
    let value = match crm {
        Crm::Salesforce => Value::from(value.parse::<i64>().unwrap()),
        Crm::HubSpot => Value::from(value),
    };
    let fields = [(field.to_owned(), value)].into();
    crms.edit(system(crm), object, &record_id(crm, n), fields, "Ann")
        .unwrap();
}

#[test]
fn many_changed_records_take_the_least_calls_and_keep_their_before_images() {
    wait(async {
        for crm in CRMS {
            let count = 450;
            let crms = book(count).await;
            let temp = tempfile::tempdir().unwrap();
            for db in Database::both(&format!("batches_{crm}"), temp.path()) {
                let took = change_all(&crms, tool(&crms, crm), &db.url, temp.path(), count, None).await;
                assert_eq!(took.drained.done, count as u64);
                if db.kind == "sqlite" {
                    assert_eq!(took.all(), least(crm, count, By::Batches), "{:?}", took.calls);
                    assert!((0..count).all(|n| live(&crms, crm, n) == "71"));
                } else {
                    // They hold the value by now: one reading for all, and nothing is sent.
                    assert_eq!(
                        took.all(),
                        least(crm, count, By::Batches) - crms_written(crm, count),
                        "{:?}",
                        took.calls
                    );
                }
            }
        }
    });
}

/// Calls that write and read back.
fn crms_written(crm: Crm, count: usize) -> usize {
    match crm {
        Crm::Salesforce => count.div_ceil(2_000) + count.div_ceil(200),
        Crm::HubSpot => 2 * count.div_ceil(100),
    }
}

#[test]
fn each_record_of_a_batch_has_its_own_answer() {
    wait(async {
        for crm in CRMS {
            let crms = book(8).await;
            let tool = tool(&crms, crm);
            let (object, field, _) = names(crm);
            edit(&crms, crm, 1, "71");
            edit(&crms, crm, 2, "33");
            assert!(crms.set_locked(system(crm), object, &record_id(crm, 3), true));
            crms.set_busy(system(crm), object, &record_id(crm, 4), 1);
            let mut effects = changes(crm, "each", 6, "71");
            effects.push(effect(crm, "each", 7, health(crm, 7, "71").2));
            effects[6].target.crm_id = Some(record_id(crm, 999));
            let mut known = Known::nothing();
            known.accept(field, "50");
            let before = crms.changes().len();
            let answers = run_going(tool.as_ref(), &effects, &known, &Always).await;
            let said: Vec<String> = answers.iter().map(word).collect();
            let locked = match crm {
                Crm::Salesforce => "ENTITY_IS_LOCKED",
                // HubSpot has one answer for both.
                Crm::HubSpot => "busy",
            };
            let expected = [
                "updated",
                "no_change",
                "conflict",
                locked,
                "busy",
                "updated",
                "RECORD_NOT_FOUND",
            ];
            assert_eq!(said, expected, "{crm}");
            let Ok(receipt) = &answers[0] else { panic!("written") };
            assert_eq!(
                (receipt.before[field].as_str(), receipt.after[field].as_str()),
                ("50", "71")
            );
            let lives: Vec<String> = (0..6).map(|n| live(&crms, crm, n)).collect();
            assert_eq!(lives, ["71", "71", "33", "50", "50", "71"], "{crm}");
            let written: BTreeSet<String> = crms
                .changes()
                .split_off(before)
                .into_iter()
                .map(|c| c.record_id)
                .collect();
            assert_eq!(
                written,
                BTreeSet::from([record_id(crm, 0), record_id(crm, 5)]),
                "{crm}: nothing else"
            );
        }
    });
}

#[test]
fn the_answer_to_a_batch_that_is_lost_is_unknown_for_each_and_looked_up_at_once() {
    wait(async {
        for crm in CRMS {
            let crms = book(60).await;
            let tool = tool(&crms, crm);
            let (_, field, _) = names(crm);
            let (method, path) = match crm {
                Crm::Salesforce => ("PATCH", "/services/data/v68.0/composite/sobjects"),
                Crm::HubSpot => ("POST", "/crm/objects/2026-09/companies/batch/update"),
            };
            for (kind, value, happened) in [
                (FaultKind::DropAfterCommit, "71", true),
                (FaultKind::DropBeforeCommit, "72", false),
            ] {
                let effects = changes(crm, value, 60, value);
                crms.inject(Fault {
                    system: system(crm),
                    route: RouteMatch::route(method, path),
                    kind,
                    times: 1,
                });
                let answers = run(tool.as_ref(), &effects).await;
                assert_eq!(
                    words(&answers),
                    [("unknown, image true".to_owned(), 60)].into(),
                    "{crm}"
                );
                let Err(SendError::Unknown { image: Some(image), .. }) = &answers[7] else {
                    panic!("an image");
                };
                assert_eq!(image.after[field], value);
                let before = crms.calls().len();
                let looked = tool.look_up_many(effects.iter().collect(), NOW).await;
                assert_eq!(crms.calls().len() - before, 1, "{crm}: one question for all");
                let done = looked.iter().filter(|l| matches!(l, Ok(LookUp::Done(_)))).count();
                assert_eq!((done, looked.len()), (if happened { 60 } else { 0 }, 60), "{crm}");
            }
        }
    });
}

#[test]
fn many_tasks_are_made_once_in_few_calls_however_often_they_are_sent() {
    wait(async {
        for crm in CRMS {
            let count = 90;
            let crms = book(count).await;
            let tool = tool(&crms, crm);
            let (.., object) = names(crm);
            let effects = tasks(crm, "make", count);
            let answers = run(tool.as_ref(), &effects).await;
            assert_eq!(words(&answers), [("created".to_owned(), count)].into(), "{crm}");
            // Look, make, read back; and HubSpot: hang on the company, look whether it hangs.
            let least = if crm == Crm::Salesforce { 3 } else { 5 };
            let routes: Vec<String> = crms.calls().iter().map(|call| call.route()).collect();
            assert_eq!(routes.len(), least, "{crm}: {routes:?}");
            for answer in answers.iter().flatten() {
                let record = crms.record(system(crm), object, &answer.record).unwrap();
                assert!(record.fields.values().any(|value| value == "Call Ann"), "{record:?}");
                assert!(
                    answer.after.keys().all(|name| !name.ends_with(')')),
                    "{:?}",
                    answer.after
                );
            }
            let looked = tool.look_up_many(effects.iter().collect(), NOW).await;
            assert!(looked.iter().all(|l| matches!(l, Ok(LookUp::Done(_)))), "{crm}");
            let changes = crms.changes().len();
            let again = run(tool.as_ref(), &effects).await;
            assert_eq!(words(&again), [("already_done".to_owned(), count)].into(), "{crm}");
            let more = crms.changes().split_off(changes);
            assert!(
                more.iter().all(|c| c.fields.is_empty() && c.kind != ChangeKind::Create),
                "{crm}: {more:?}"
            );
            let ids: BTreeSet<&String> = answers.iter().chain(&again).flatten().map(|r| &r.record).collect();
            assert_eq!(ids.len(), count, "{crm}: the same records");
            // A lost answer: found by key, and not made again.
            let effects = tasks(crm, "lost", count);
            let path = if crm == Crm::Salesforce {
                "/services/data/v68.0/composite"
            } else {
                "/crm/objects/2026-09/tasks/batch/upsert"
            };
            crms.inject(Fault {
                system: system(crm),
                route: RouteMatch::route(if crm == Crm::Salesforce { "PATCH" } else { "POST" }, path),
                kind: FaultKind::DropAfterCommit,
                times: 1,
            });
            let lost = run(tool.as_ref(), &effects).await;
            assert_eq!(
                words(&lost),
                [("unknown, image false".to_owned(), count)].into(),
                "{crm}"
            );
            run(tool.as_ref(), &effects).await;
            let looked = tool.look_up_many(effects.iter().collect(), NOW).await;
            assert!(looked.iter().all(|l| matches!(l, Ok(LookUp::Done(_)))), "{crm}");
            assert_eq!(crms.records(system(crm), object).len(), 2 * count, "{crm}: each once");
        }
    });
}

#[test]
fn what_is_refused_for_all_is_tried_alone_but_not_for_ever() {
    wait(async {
        for crm in CRMS {
            let crms = book(50).await;
            let tool = tool(&crms, crm);
            let (object, field, _) = names(crm);
            assert!(crms.set_access(system(crm), object, field, Access::Hidden));
            let answers = run(tool.as_ref(), &changes(crm, "hidden", 50, "71")).await;
            assert!(
                answers.iter().all(|a| matches!(a, Err(SendError::Refused { .. }))),
                "{crm}: {:?}",
                words(&answers)
            );
            assert!(crms.calls().len() < 20, "{crm}: {} calls", crms.calls().len());
        }
    });
}

/// Lets through what it is told to.
struct Only<'a> {
    may: &'a str,
    asked: Mutex<usize>,
}

impl Go for Only<'_> {
    fn may<'a>(&'a self, effects: &'a [&'a Effect]) -> BoxFuture<'a, Vec<bool>> {
        *self.asked.lock().unwrap() += 1;
        let may = |effect: &&Effect| effect.target.account.as_str() == self.may;
        Box::pin(std::future::ready(effects.iter().map(may).collect()))
    }

    fn halted<'a>(&'a self, _: &'a [&'a Effect]) -> BoxFuture<'a, bool> {
        Box::pin(std::future::ready(false))
    }
}

#[test]
fn what_is_held_back_before_the_writing_request_is_not_sent() {
    wait(async {
        for crm in CRMS {
            let crms = book(20).await;
            let tool = tool(&crms, crm);
            for effects in [changes(crm, "held", 20, "71"), tasks(crm, "held", 20)] {
                let only = Only {
                    may: "A-3",
                    asked: Mutex::new(0),
                };
                let changes = crms.changes().len();
                let answers = run_going(tool.as_ref(), &effects, &Known::nothing(), &only).await;
                assert!(*only.asked.lock().unwrap() >= 1);
                assert_eq!(
                    answers.iter().filter(|a| a.is_ok()).count(),
                    1,
                    "{crm}: {:?}",
                    words(&answers)
                );
                assert!(answers[3].is_ok());
                let records: BTreeSet<String> = crms
                    .changes()
                    .split_off(changes)
                    .into_iter()
                    .map(|c| c.record_id)
                    .collect();
                // A task is tied to its company, which stands in the history of both.
                assert!(records.len() <= 2, "{crm}: {records:?}");
            }
        }
    });
}

/// Halts what goes on in the CRM, when it has come to some records.
struct Halting<'a> {
    crms: &'a Sandbox,
    written: &'a [usize],
}

impl Go for Halting<'_> {
    fn may<'a>(&'a self, effects: &'a [&'a Effect]) -> BoxFuture<'a, Vec<bool>> {
        Box::pin(std::future::ready(vec![true; effects.len()]))
    }

    fn halted<'a>(&'a self, _: &'a [&'a Effect]) -> BoxFuture<'a, bool> {
        for n in self.written {
            edit(self.crms, Crm::Salesforce, *n, "71");
        }
        Box::pin(std::future::ready(true))
    }
}

#[test]
fn a_stop_ends_a_job_that_runs_and_the_records_say_what_it_has_written() {
    wait(async {
        let (crm, count) = (Crm::Salesforce, 60);
        let crms = book(count).await;
        let tool = bulk_tool(&crms, crm, 50);
        let effects = changes(crm, "halted", count, "71");
        let halting = Halting {
            crms: &crms,
            written: &[4, 40],
        };
        let before = crms.calls().len();
        let answers = run_going(tool.as_ref(), &effects, &Known::nothing(), &halting).await;
        let expected = [("updated", 2), ("unknown, image true", count - 2)];
        let expected = expected.into_iter().map(|(word, n)| (word.to_owned(), n)).collect();
        assert_eq!(words(&answers), expected);
        assert!(answers[4].is_ok() && answers[40].is_ok());
        // It goes on no more, however often it is looked at.
        let jobs: Vec<_> = crms.calls().split_off(before);
        assert!(
            jobs.iter().any(|call| call.route().contains("/jobs/ingest")),
            "{jobs:?}"
        );
        for _ in 0..5 {
            let looked = tool.look_up_many(effects.iter().collect(), NOW).await;
            let absent = looked.iter().filter(|l| matches!(l, Ok(LookUp::Absent))).count();
            assert_eq!(absent, count - 2, "what was not written is sent when it may be");
        }
    });
}

#[test]
fn a_permit_of_another_effect_stops_only_its_own() {
    wait(async {
        for crm in CRMS {
            let crms = book(3).await;
            let tool = tool(&crms, crm);
            let effects = changes(crm, "permit", 3, "71");
            let known = Known::nothing();
            let jobs = effects.iter().map(|effect| Job {
                permit: permit(if effect == &effects[1] { &effects[0] } else { effect }),
                effect,
                known: &known,
            });
            let answers = tool.execute_many(jobs.collect(), &Always, NOW).await;
            let said: Vec<String> = answers.iter().map(word).collect();
            assert_eq!(said, ["updated", "WRONG_PERMIT", "updated"], "{crm}");
            assert_eq!(live(&crms, crm, 1), "50");
        }
    });
}

#[test]
fn two_changes_of_one_record_in_a_batch_are_made_one_after_the_other() {
    wait(async {
        for crm in CRMS {
            let crms = book(2).await;
            let tool = tool(&crms, crm);
            let mut effects = changes(crm, "same", 2, "71");
            effects[1].target.crm_id = Some(record_id(crm, 0));
            effects[1].write = Write::UpdateAccount {
                fields: [(AccountField::Posture, "at risk".to_owned())].into(),
            };
            let answers = run(tool.as_ref(), &effects).await;
            assert!(
                answers
                    .iter()
                    .all(|a| a.as_ref().is_ok_and(|r| r.done == Done::Updated)),
                "{crm}"
            );
            assert_eq!(live(&crms, crm, 0), "71");
        }
    });
}

#[test]
fn only_what_needs_no_condition_goes_together() {
    wait(async {
        let crms = book(1).await;
        let deal = Write::UpdateOpportunity {
            opportunity: "OPP-1".to_owned(),
            crm_id: None,
            next_step: Some("Send it".to_owned()),
            stage: None,
            seen: BTreeMap::new(),
        };
        let together = |crm: Crm, write: &Write| tool(&crms, crm).together(&effect(crm, "t", 0, write.clone()));
        let change = health(Crm::Salesforce, 0, "71").2;
        assert_eq!(together(Crm::Salesforce, &change), Some("Account"));
        assert_eq!(together(Crm::Salesforce, &task()), Some("Task"));
        // People share these fields with us, and Salesforce knows a condition for single writes.
        assert_eq!(together(Crm::Salesforce, &deal), None);
        assert_eq!(together(Crm::HubSpot, &deal), Some("deals"));
    });
}

#[test]
fn very_many_records_go_as_one_job_and_each_has_its_own_answer() {
    wait(async {
        let crm = Crm::Salesforce;
        let count = 60;
        let crms = book(count).await;
        let tool = bulk_tool(&crms, crm, 50);
        assert!(crms.set_locked(system(crm), "Account", &record_id(crm, 5), true));
        edit(&crms, crm, 6, "71");
        let before = crms.calls().len();
        let answers = run(tool.as_ref(), &changes(crm, "bulk", count, "71")).await;
        let expected = [("updated", count - 2), ("no_change", 1), ("ENTITY_IS_LOCKED", 1)];
        let expected = expected.into_iter().map(|(word, n)| (word.to_owned(), n)).collect();
        assert_eq!(words(&answers), expected);
        assert!((0..count).all(|n| n == 5 || live(&crms, crm, n) == "71"));
        let routes: BTreeSet<String> = crms.calls().split_off(before).iter().map(|call| call.route()).collect();
        assert!(routes.iter().any(|route| route.contains("/jobs/ingest")), "{routes:?}");
        assert!(
            !routes.contains("PATCH /services/data/v68.0/composite/sobjects"),
            "{routes:?}"
        );
        // Made by key, and a job that is lost when it is closed is looked at before anything is said of it.
        crms.inject(Fault {
            system: system(crm),
            route: RouteMatch::route("PATCH", "/services/data/v68.0/jobs/ingest"),
            kind: FaultKind::DropAfterCommit,
            times: 1,
        });
        let effects = tasks(crm, "bulk", count);
        let answers = run(tool.as_ref(), &effects).await;
        assert_eq!(words(&answers), [("created".to_owned(), count)].into());
        let again = run(tool.as_ref(), &effects).await;
        assert_eq!(words(&again), [("already_done".to_owned(), count)].into());
        // Not closed: nothing was written, and it is tried again later.
        crms.inject(Fault {
            system: system(crm),
            route: RouteMatch::route("PATCH", "/services/data/v68.0/jobs/ingest"),
            kind: FaultKind::DropBeforeCommit,
            times: 1,
        });
        let answers = run(tool.as_ref(), &changes(crm, "open", 55, "72")).await;
        let busy = answers
            .iter()
            .filter(|a| matches!(a, Err(SendError::Busy { .. })))
            .count();
        assert_eq!(busy, 55, "{:?}", words(&answers));
        assert!((0..55).all(|n| live(&crms, crm, n) != "72"));
    });
}
