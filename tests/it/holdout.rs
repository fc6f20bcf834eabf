//! The holdout through the program itself: drawn before the first run, left alone by it, and never moved.

use std::path::Path;

use perennial_tests::{Database, Said, data_set, run};
use serde_json::Value;

use crate::PROGRAM;
use crate::world::{DEMO_TIME, demo_data, import};

fn go(folder: &Path, db: &str, args: &[&str]) -> Said {
    let mut all = args.to_vec();
    all.extend(["--db", db, "--json"]);
    run(PROGRAM, folder, &all)
}

fn assign(folder: &Path, db: &str, seed: &str, more: &[&str]) -> Said {
    let mut args = vec!["holdout", "assign", "--share", "20", "--seed", seed];
    args.extend(more);
    go(folder, db, &args)
}

fn families(report: &Value, arm: &str) -> u64 {
    report["arms"][arm]["families"].as_u64().unwrap()
}

#[test]
fn a_holdout_is_drawn_once_left_alone_by_runs_and_never_moved() {
    let temp = tempfile::tempdir().unwrap();
    let data = demo_data(temp.path());
    for db in Database::both("holdout", temp.path()) {
        let folder = temp.path();
        let at = ["--as-of", DEMO_TIME];
        let state = import(folder, &data, "demo", &db.url)["state_hash"].clone();
        let dry = assign(folder, &db.url, "7", &[at[0], at[1], "--dry-run"]).ok().json();
        assert_eq!(
            import(folder, &data, "demo", &db.url)["state_hash"],
            state,
            "a dry run stores nothing"
        );
        let drawn = assign(folder, &db.url, "7", &at).ok().json();
        assert_eq!(dry["hash"], drawn["hash"]);
        let (engine, held) = (families(&drawn, "engine"), families(&drawn, "holdout"));
        let all = engine + held;
        assert!(held > 0 && held * 3 < all && all < held * 8, "{held} of {all}");
        let shown = go(folder, &db.url, &["holdout", "show"]).ok().json();
        assert_eq!(shown["cohorts"][0]["hash"], drawn["hash"]);
        assert_eq!(shown["cohorts"][0]["unchanged"], true);
        assert_eq!(shown["arms"]["balance"], drawn["arms"]["balance"]);
        let ledger = go(folder, &db.url, &["audit", "export"]).ok().out;
        assert_eq!(
            ledger.matches("\"kind\": \"holdout\"").count() + ledger.matches("\"kind\":\"holdout\"").count(),
            1
        );

        let report = go(folder, &db.url, &["run", "--once", "--as-of", DEMO_TIME])
            .ok()
            .json();
        let left_alone = report["notes"]["holdout"].as_u64().unwrap();
        assert!(left_alone >= held, "{left_alone} accounts of {held} families");

        // The same again changes nothing and says so; another seed is refused.
        let again = assign(folder, &db.url, "7", &at).ok().json();
        assert_eq!(again["cohorts"][0]["hash"], drawn["hash"]);
        let other = assign(folder, &db.url, "8", &at);
        assert_eq!(other.code, 2);
        assert!(other.err.contains("nobody moves"), "{}", other.err);
        assert_eq!(
            go(folder, &db.url, &["holdout", "show"]).ok().json()["cohorts"],
            shown["cohorts"]
        );
    }
}

#[test]
fn accounts_that_a_run_has_worked_on_are_not_drawn_afterwards() {
    let temp = tempfile::tempdir().unwrap();
    let data = demo_data(temp.path());
    let db = Database::sqlite(temp.path());
    import(temp.path(), &data, "demo", &db.url);
    let at = ["--as-of", DEMO_TIME];
    let before = assign(temp.path(), &db.url, "7", &[at[0], at[1], "--dry-run"])
        .ok()
        .json();
    go(temp.path(), &db.url, &["run", "--once", "--as-of", DEMO_TIME]).ok();
    let after = assign(temp.path(), &db.url, "7", &at).ok().json();
    let treated = after["left_out"]["treated"].as_u64().unwrap();
    assert!(treated > 0);
    let all = |report: &Value| families(report, "engine") + families(report, "holdout");
    assert_eq!(all(&after) + treated, all(&before));
}

#[test]
fn an_imported_assignment_stands_and_the_others_form_a_later_cohort() {
    let Some(data) = data_set("holdout_of_planted", "planted-42") else {
        return;
    };
    let temp = tempfile::tempdir().unwrap();
    let db = Database::sqlite(temp.path());
    import(temp.path(), &data, "planted", &db.url);
    let shown = go(temp.path(), &db.url, &["holdout", "show"]).ok().json();
    assert_eq!((families(&shown, "engine"), families(&shown, "holdout")), (331, 331));
    assert_eq!(shown["arms"]["engine"]["arr_minor"], 1_545_917_700_i64);
    assert_eq!(shown["arms"]["holdout"]["arr_minor"], 1_453_882_500_i64);
    let drawn = assign(temp.path(), &db.url, "1", &["--as-of", "2026-06-01"])
        .ok()
        .json();
    assert_eq!(drawn["cohort"], 2);
    let after = go(temp.path(), &db.url, &["holdout", "show"]).ok().json();
    assert_eq!(after["cohorts"][0], shown["cohorts"][0], "nobody moved");
    assert_eq!(after["cohorts"][1]["hash"], drawn["hash"]);
}
