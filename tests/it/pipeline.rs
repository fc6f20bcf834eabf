//! The main job through the program itself: import, run, effects, approval, replay, audit.

use std::path::Path;

use perennial_sandbox::{Fault, FaultKind, RouteMatch, System};
use perennial_tests::{Database, data_set, run};
use serde_json::Value;

use crate::PROGRAM;
use crate::world::{DEMO_TIME, World, demo_data, import, worlds};

fn run_once(folder: &Path, db: &str, as_of: &str, more: &[&str]) -> Value {
    let mut args = vec!["run", "--once", "--as-of", as_of, "--db", db, "--json"];
    args.extend(more);
    run(PROGRAM, folder, &args).ok().json()
}

/// `read == stored + duplicate + rejected`.
#[track_caller]
fn sums(report: &Value) -> [u64; 4] {
    let [read, stored, duplicate, rejected] =
        ["read", "stored", "duplicate", "rejected"].map(|key| report[key].as_u64().unwrap());
    assert_eq!(read, stored + duplicate + rejected, "{report}");
    [read, stored, duplicate, rejected]
}

/// One real shape: exact sums, the same state and decisions on both databases, and again after a second import.
fn shape(test: &str, set: &str, mapping_name: &str, as_of: &str, expected: [u64; 4], accounts: u64) {
    let Some(data) = data_set(test, set) else { return };
    let mut seen: Option<(Value, Value)> = None;
    for (i, kind) in ["sqlite", "postgres"].iter().enumerate() {
        let temp = tempfile::tempdir().unwrap();
        let db = match i {
            0 => Database::sqlite(temp.path()),
            _ => match Database::postgres(test) {
                Some(db) => db,
                None => continue,
            },
        };
        let first = import(temp.path(), &data, mapping_name, &db.url);
        assert_eq!(sums(&first), expected, "{kind}");
        let again = import(temp.path(), &data, mapping_name, &db.url);
        let [read, stored, duplicate, rejected] = sums(&again);
        assert_eq!(
            (read, stored, duplicate, rejected),
            (expected[0], 0, expected[1] + expected[2], expected[3]),
            "{kind}"
        );
        assert_eq!(first["state_hash"], again["state_hash"], "{kind}");
        let report = run_once(temp.path(), &db.url, as_of, &[]);
        assert_eq!(report["accounts"], accounts, "{kind}");
        assert_eq!(report["decisions"], accounts, "{kind}");
        let now = (first["state_hash"].clone(), report["decisions_hash"].clone());
        match &seen {
            None => seen = Some(now),
            Some(before) => assert_eq!(*before, now, "both databases hold and decide the same"),
        }
    }
}

#[test]
fn ravenstack_is_imported_and_decided_the_same_on_both_databases() {
    // 21 usage ids stand twice; the second is a conflict, kept in the rejects file.
    shape(
        "ravenstack",
        "ravenstack",
        "ravenstack",
        "2024-12-31",
        [33_100, 33_079, 21, 0],
        500,
    );
}

#[test]
fn planted_is_imported_and_decided_the_same_on_both_databases() {
    // Owners are read from the accounts file: 800 rows, 39 people... counted by the import itself.
    let Some(data) = data_set("planted", "planted-42") else {
        return;
    };
    let temp = tempfile::tempdir().unwrap();
    let db = Database::sqlite(temp.path());
    let [read, stored, duplicate, rejected] = sums(&import(temp.path(), &data, "planted", &db.url));
    assert_eq!(rejected, 0);
    shape(
        "planted",
        "planted-42",
        "planted",
        "2025-11-03",
        [read, stored, duplicate, rejected],
        // 48 of the 800 accounts were not there yet.
        752,
    );
}

#[test]
fn crm_opps_is_imported_and_decided_the_same_on_both_databases() {
    // 1,425 opportunities have no account and are refused with that reason.
    shape(
        "crm_opps",
        "crm_opps",
        "crm_opps",
        "2017-12-31",
        [8_927, 7_502, 0, 1_425],
        85,
    );
}

/// A deterministic shuffle of the rows of every file, each row written `times` times.
fn reshape(from: &Path, to: &Path, times: usize, keep: impl Fn(usize) -> bool) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let mut reader = csv::ReaderBuilder::new().has_headers(true).from_path(&path).unwrap();
        let header = reader.headers().unwrap().clone();
        let mut rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        rows = rows
            .into_iter()
            .enumerate()
            .filter(|(i, _)| keep(*i))
            .map(|(_, r)| r)
            .collect();
        let mut rows: Vec<csv::StringRecord> = rows.iter().cycle().take(rows.len() * times).cloned().collect();
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for i in (1..rows.len()).rev() {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            rows.swap(i, usize::try_from(state >> 33).unwrap() % (i + 1));
        }
        let mut writer = csv::Writer::from_path(to.join(path.file_name().unwrap())).unwrap();
        writer.write_record(&header).unwrap();
        rows.iter().for_each(|row| writer.write_record(row).unwrap());
        writer.flush().unwrap();
    }
}

#[test]
fn shuffled_doubled_and_split_data_give_the_same_state_and_decisions_with_one_and_eight_threads() {
    let temp = tempfile::tempdir().unwrap();
    let data = demo_data(temp.path());
    let (shuffled, one, two) = (
        temp.path().join("shuffled"),
        temp.path().join("one"),
        temp.path().join("two"),
    );
    reshape(&data, &shuffled, 2, |_| true);
    reshape(&data, &one, 1, |i| i % 3 == 0);
    reshape(&data, &two, 1, |i| i % 3 != 0);
    let mut results = Vec::new();
    for (name, folders, threads) in [
        ("plain", vec![&data], "1"),
        ("plain8", vec![&data], "8"),
        ("shuffled", vec![&shuffled], "8"),
        ("split", vec![&two, &one], "1"),
    ] {
        let folder = temp.path().join(format!("db-{name}"));
        std::fs::create_dir_all(&folder).unwrap();
        let databases = if name == "shuffled" {
            Database::both("shuffled", &folder)
        } else {
            vec![Database::sqlite(&folder)]
        };
        for db in databases {
            let mut state = Value::Null;
            for part in &folders {
                let report = import(&folder, part, "demo", &db.url);
                sums(&report);
                state = report["state_hash"].clone();
            }
            let report = run_once(&folder, &db.url, DEMO_TIME, &["--threads", threads]);
            results.push((name, state, report["decisions_hash"].clone(), report["actions"].clone()));
        }
    }
    let first = &results[0];
    for other in &results {
        assert_eq!(
            (&first.1, &first.2, &first.3),
            (&other.1, &other.2, &other.3),
            "{}",
            other.0
        );
    }
}

#[test]
fn a_dry_run_writes_nothing_and_decides_the_same() {
    let temp = tempfile::tempdir().unwrap();
    let data = demo_data(temp.path());
    let db = Database::sqlite(temp.path());
    import(temp.path(), &data, "demo", &db.url);
    let dry = run_once(temp.path(), &db.url, DEMO_TIME, &["--dry-run"]);
    let none = run(
        PROGRAM,
        temp.path(),
        &["queue", "list", "--all", "--db", &db.url, "--json"],
    )
    .ok()
    .json();
    assert_eq!(none.as_array().unwrap().len(), 0);
    let real = run_once(temp.path(), &db.url, DEMO_TIME, &[]);
    assert_eq!(dry["decisions_hash"], real["decisions_hash"]);
    assert_eq!(dry["actions"], real["actions"]);
    assert_eq!(dry["days"], real["days"]);
}

#[test]
fn repeated_runs_reach_the_crm_once() {
    for world in worlds("repeated_runs") {
        let first = world.run().ok().json();
        let done = first["effects"]["done"].as_u64().unwrap();
        assert!(done >= 8, "{first}");
        assert_eq!(first["effects"]["failed"], 0, "{first}");
        // What is left of the calls: the count of the database, by the blocks that were taken.
        let calls = first["calls"].as_array().unwrap();
        let counts = |of: &serde_json::Value| of["used"].as_u64().zip(of["left"].as_u64());
        assert!(
            !calls.is_empty()
                && calls
                    .iter()
                    .all(|of| counts(of).is_some_and(|(used, left)| used > 0 && left > 0)),
            "{first}"
        );
        let (tasks, updates) = (world.created().len(), world.updates());
        assert!(tasks >= 4 && updates >= 3, "{tasks} tasks, {updates} updates");
        for _ in 0..2 {
            let again = world.run().ok().json();
            assert_eq!(again["decisions_hash"], first["decisions_hash"]);
            assert_eq!(again["decisions_new"], 0);
        }
        assert_eq!(world.updates(), updates);
        world.everything_happened_once(tasks);
        world.end();
    }
}

#[test]
fn the_next_day_does_not_repeat_what_is_open_or_done() {
    for world in worlds("next_day") {
        world.run().ok();
        let tasks = world.created();
        let next = world
            .go(&["run", "--once", "--as-of", "2026-09-16T08:00:00Z"])
            .ok()
            .json();
        assert!(next["notes"]["suppressed"].as_u64().unwrap() > 0, "{next}");
        // What did not fit into the first day may be done now; nothing is done again.
        let after = world.created();
        assert!(tasks.iter().all(|(key, n)| after[key] == *n));
        let mut seen = std::collections::BTreeSet::new();
        let all = world.go(&["queue", "list", "--all"]).ok().json();
        // What policy denies is judged anew every day, so that it comes back once the reason is gone.
        for item in all.as_array().unwrap().iter().filter(|i| i["state"] != "denied") {
            let key = format!("{} {} {}", item["account"], item["playbook"], item["title"]);
            assert!(seen.insert(key), "{item}");
        }
        world.end();
    }
}

#[test]
fn lost_answers_are_looked_up_and_never_doubled() {
    for world in worlds("lost_answers") {
        for (system, method, prefix) in [
            (System::Salesforce, "PATCH", "/services/data/v68.0/sobjects/Task"),
            (System::Hubspot, "POST", "/crm/objects/2026-09/tasks/batch/upsert"),
        ] {
            let route = RouteMatch::route(method, prefix);
            world.crms.inject(Fault {
                system,
                route,
                kind: FaultKind::DropAfterCommit,
                times: 2,
            });
        }
        world.crms.inject(Fault {
            system: System::Salesforce,
            route: RouteMatch::route("PATCH", "/services/data/v68.0/sobjects/Account"),
            kind: FaultKind::Unavailable,
            times: 1,
        });
        let report = world.run().ok().json();
        assert_eq!(report["effects"]["unknown"], 0, "{report}");
        assert_eq!(report["effects"]["failed"], 0, "{report}");
        assert_eq!(report["effects"]["waiting"], 0, "{report}");
        let tasks = world.created().len();
        assert!(tasks >= 4);
        world.everything_happened_once(tasks);
        world.end();
    }
}

#[cfg(unix)]
#[test]
fn an_interrupted_or_killed_run_goes_on_where_it_stopped() {
    for world in worlds("killed_run") {
        let whole = {
            let temp = tempfile::tempdir().unwrap();
            let db = Database::sqlite(temp.path());
            let other = World::new(db, temp);
            other.run().ok();
            let tasks = other.created();
            other.end();
            tasks
        };
        // Slow answers keep the run busy with effects while the signals arrive.
        for system in [System::Salesforce, System::Hubspot] {
            let kind = FaultKind::Slow {
                delay: std::time::Duration::from_millis(150),
            };
            world.crms.inject(Fault {
                system,
                route: RouteMatch::Any,
                kind,
                times: 12,
            });
        }
        for (signal, wait_for_calls) in [("-INT", 1), ("-KILL", 3), ("-KILL", 6), ("-TERM", 9)] {
            let mut child = world
                .command(&["run", "--once", "--as-of", DEMO_TIME])
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .spawn()
                .unwrap();
            let mut ended = false;
            while world.crms.calls().len() < wait_for_calls && !ended {
                ended = child.try_wait().unwrap().is_some();
                std::thread::yield_now();
            }
            let _ = std::process::Command::new("kill")
                .args([signal, &child.id().to_string()])
                .status()
                .unwrap();
            child.wait().unwrap();
        }
        // A killed run's lease has to run out first: 300 ms in this configuration.
        let mut last = world.run();
        let mut tries = 0;
        while last.code != 0 && tries < 200 {
            assert!(last.err.contains("still going"), "{last:?}");
            last = world.run();
            tries += 1;
        }
        let report = last.ok().json();
        assert_eq!(report["interrupted"], false);
        assert_eq!(
            world.created().keys().collect::<Vec<_>>(),
            whole.keys().collect::<Vec<_>>()
        );
        world.everything_happened_once(whole.len());
        world.end();
    }
}

#[test]
fn an_approved_action_is_written_once_and_an_edited_one_needs_a_second_person() {
    for world in worlds("approved") {
        world.run().ok();
        let before = world.created().len();
        let list = world.go(&["queue", "list"]).ok().json();
        let item = list
            .as_array()
            .unwrap()
            .iter()
            .find(|i| i["verdict"] == "approve:csm")
            .unwrap()
            .clone();
        let id = item["id"].as_str().unwrap();
        let card = world.go(&["queue", "show", id]).ok().json();
        for key in [
            "title",
            "owner",
            "due",
            "verdict",
            "evidence",
            "contributions",
            "writes",
            "card",
            "decision",
        ] {
            assert!(!card[key].is_null(), "{key} is missing");
        }
        assert!(card["writes"][0]["live"]["fields"].is_object(), "{}", card["writes"]);
        let refused = world
            .go(&[
                "queue",
                "edit",
                id,
                "--set",
                "0.subject=Changed by a person",
                "--as",
                "OWN-04",
            ])
            .ok()
            .json();
        assert_eq!(refused["state"], "edited");
        let own = world.go(&["queue", "approve", id, "--as", "OWN-04"]);
        assert_eq!(own.code, 1);
        assert!(own.err.contains("another person"), "{}", own.err);
        let done = world.go(&["queue", "approve", id, "--as", "OWN-01"]).ok().json();
        assert_eq!(done["state"], "executed", "{done}");
        assert!(world.created().len() > before);
        let subjects: Vec<Value> = [
            (System::Salesforce, "Task", "Subject"),
            (System::Hubspot, "tasks", "hs_task_subject"),
        ]
        .iter()
        .flat_map(|(system, object, field)| {
            world
                .crms
                .records(*system, object)
                .into_iter()
                .map(|r| r.fields[*field].clone())
        })
        .collect();
        assert!(subjects.contains(&Value::from("Changed by a person")), "{subjects:?}");
        let twice = world.go(&["queue", "approve", id, "--as", "OWN-01"]);
        assert_eq!(twice.code, 1);
        let tasks = world.created().len();
        world.everything_happened_once(tasks);
        world.end();
    }
}

#[test]
fn every_decision_replays_to_the_byte_and_an_altered_one_does_not() {
    for world in worlds("replays") {
        world.run().ok();
        let list = world.go(&["queue", "list", "--all"]).ok().json();
        let items = list.as_array().unwrap();
        assert!(items.len() >= 15);
        for item in items.iter().take(5) {
            let report = world.go(&["replay", item["id"].as_str().unwrap()]).ok().json();
            assert_eq!(report["identical"], true, "{report}");
        }
        world.end();
    }
}

#[test]
fn contributions_sum_exactly_to_the_scores_of_every_account() {
    let temp = tempfile::tempdir().unwrap();
    let db = Database::sqlite(temp.path());
    let world = World::new(db, temp);
    world.run().ok();
    let mut assessed = 0;
    for n in 1..=40 {
        let account = world.go(&["account", "show", &format!("ACC-{n:06}")]).ok().json();
        let scores = &account["scores"];
        for (score, total, base) in [
            ("health", "score", 0.0),
            ("expansion", "score", 0.0),
            ("risk", "log_odds", scores["risk"]["intercept"].as_f64().unwrap()),
        ] {
            let parts = scores[score]["contributions"].as_array().unwrap();
            let sum: f64 = base + parts.iter().map(|c| c["adds"].as_f64().unwrap()).sum::<f64>();
            if let Some(whole) = scores[score][total].as_f64() {
                assert!((whole - sum).abs() < 1e-9, "{n} {score}: {whole} and {sum}");
                assessed += 1;
            }
        }
    }
    assert!(assessed > 60, "{assessed}");
    world.end();
}
