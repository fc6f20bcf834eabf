//! One account over time, and all accounts by person: `account diff`, `account set`, `account show`, `coverage`.

use perennial_tests::{Database, Said};
use serde_json::Value;

use crate::world::World;

const ACCOUNT: &str = "ACC-000003";

fn world() -> World {
    let temp = tempfile::tempdir().unwrap();
    let db = Database::sqlite(temp.path());
    World::new(db, temp)
}

trait Refused {
    fn refused(self) -> Said;
}

impl Refused for Said {
    /// Bad usage or input, said so.
    #[track_caller]
    fn refused(self) -> Said {
        assert_eq!(self.code, 2, "{}{}", self.out, self.err);
        self
    }
}

fn terms(score: &Value) -> f64 {
    let terms = score["terms"].as_array().unwrap();
    terms.iter().map(|t| t["change"].as_f64().unwrap()).sum()
}

#[test]
fn a_change_between_any_two_dates_is_the_sum_of_its_terms() {
    let world = world();
    let mut seen = 0;
    for n in 1..=12 {
        let id = format!("ACC-{n:06}");
        let diff = world
            .go(&["account", "diff", &id, "2026-06-01", "2026-09-01"])
            .ok()
            .json();
        for name in ["health", "expansion"] {
            let score = &diff["scores"][name];
            if let (Some(before), Some(after)) = (score["before"].as_f64(), score["after"].as_f64()) {
                assert!((after - before - terms(score)).abs() < 1e-9, "{id} {name}: {score}");
                seen += 1;
            }
        }
    }
    assert!(seen > 12, "{seen}");
    let health = world
        .go(&["account", "diff", ACCOUNT, "2026-07-01", "2026-09-15"])
        .ok()
        .json();
    let drop = &health["scores"]["health"]["terms"][0];
    assert_eq!(drop["fact"], "activity_log_ratio", "{drop}");
    let record = drop["new_records"][0]["external_id"].as_str().unwrap();
    assert!(record.contains("2026-09"), "{record}");
    let none = world
        .go(&["account", "diff", "NOBODY", "2026-07-01", "2026-09-15"])
        .refused();
    assert!(none.err.contains("there is no account `NOBODY`"), "{}", none.err);
    world.end();
}

#[test]
fn a_score_set_by_a_person_holds_through_runs_and_stands_in_the_ledger() {
    let world = world();
    world.set_clock("2026-09-15T09:00:00Z");
    let set = |args: &[&str]| world.go(&[&["account", "set", ACCOUNT, "--as", "OWN-01"], args].concat());
    let until = "2026-10-15";
    let early = set(&[
        "--score",
        "health",
        "--value",
        "30",
        "--reason",
        "CIO leaves",
        "--until",
        "2026-09-01",
    ])
    .refused();
    assert!(early.err.contains("must lie between"), "{}", early.err);
    let wild = set(&[
        "--score",
        "health",
        "--value",
        "130",
        "--reason",
        "CIO leaves",
        "--until",
        until,
    ])
    .refused();
    assert!(wild.err.contains("from 0 to 100"), "{}", wild.err);
    set(&[
        "--score",
        "health",
        "--value",
        "30",
        "--reason",
        "CIO leaves",
        "--until",
        until,
    ])
    .ok();
    for as_of in ["2026-09-16", "2026-09-30", "2026-10-15"] {
        world.go(&["run", "--once", "--as-of", as_of]).ok();
        let health = &world.go(&["account", "show", ACCOUNT]).ok().json()["scores"]["health"];
        assert_eq!(health["score"], 30.0, "{as_of}: {health}");
        assert_eq!(health["overridden"]["reason"], "CIO leaves");
    }
    world.go(&["run", "--once", "--as-of", "2026-10-16"]).ok();
    let health = &world.go(&["account", "show", ACCOUNT]).ok().json()["scores"]["health"];
    assert_eq!(health["overridden"], Value::Null, "{health}");
    let ledger = world.go(&["audit", "export"]).ok().out;
    assert_eq!(
        ledger.matches("\"override\"").count(),
        1,
        "the override stands in the ledger once"
    );
    world.go(&["audit", "verify"]).ok();
    world.end();
}

#[test]
fn coverage_adds_up_and_says_who_would_take_over() {
    let world = world();
    world.run().ok();
    let all = world.go(&["coverage", "--without", "OWN-09"]).ok().json();
    let sum = |key: &str| -> f64 {
        let people = all["people"].as_array().unwrap().iter();
        people.map(|p| p["book"][key].as_f64().unwrap()).sum::<f64>() + all["unowned"][key].as_f64().unwrap()
    };
    for key in ["accounts", "arr_minor", "load", "past_touch"] {
        let total = all["total"][key].as_f64().unwrap();
        assert!((sum(key) - total).abs() < 1e-6, "{key}: {} and {total}", sum(key));
        let tiers: f64 = all["tiers"]
            .as_object()
            .unwrap()
            .values()
            .map(|t| t[key].as_f64().unwrap())
            .sum();
        assert!((tiers - total).abs() < 1e-6, "{key} by tier");
    }
    let leaving = &all["without"];
    let taken = leaving["taken_by"].as_array().unwrap();
    let accounts: u64 = taken.iter().map(|t| t["accounts"].as_u64().unwrap()).sum();
    assert_eq!(
        accounts + leaving["homeless"].as_u64().unwrap(),
        leaving["book"]["accounts"].as_u64().unwrap()
    );
    assert!(taken.iter().all(|t| t["person"] != "OWN-09"), "{leaving}");
    let unknown = world.go(&["coverage", "--without", "Nobody"]).refused();
    assert!(unknown.err.contains("`Nobody`"), "{}", unknown.err);
    world.end();
}

#[test]
fn signals_are_listed_by_account_and_counted_by_detector() {
    let world = world();
    let early = world.go(&["signals"]).refused();
    assert!(early.err.contains("perennial run --once"), "{}", early.err);
    world.run().ok();
    let all = world.go(&["signals"]).ok().json();
    let list = all.as_array().unwrap();
    // In the table under the list each detector has its number of what is open and what cleared lately.
    let table = world.text(&["signals"]);
    let (_, counts) = table.split_once("accounts by detector").unwrap();
    let active = |name: &str| {
        let of_it = list.iter().filter(|s| s["kind"] == name);
        of_it.filter(|s| s["state"] != "cleared").count()
    };
    for (name, shown) in [("usage_drop", "usage drop"), ("silence", "silence")] {
        let line = counts.lines().find(|l| l.trim().starts_with(shown)).unwrap();
        let numbers: Vec<&str> = line.trim().trim_start_matches(shown).split_whitespace().collect();
        assert_eq!(numbers[0], active(name).to_string(), "{line}");
        assert_eq!(numbers.len(), 3, "{line}");
    }
    let drops = world.go(&["signals", "--detector", "usage_drop"]).ok().json();
    let drops = drops.as_array().unwrap();
    // The demo's story has an account whose use halves.
    assert!(drops.iter().any(|s| s["account"] == ACCOUNT), "{drops:?}");
    assert!(drops.iter().all(|s| s["kind"] == "usage_drop"));
    let wrong = world.go(&["signals", "--detector", "mood"]).refused();
    assert!(wrong.err.contains("usage_drop"), "{}", wrong.err);
    world.end();
}
