//! Exploration and what it teaches, through the program itself.

use std::path::{Path, PathBuf};

use perennial_tests::{Database, Said, copy_folder, data_set, root, run};
use serde_json::Value;

use crate::PROGRAM;
use crate::world::{DEMO_TIME, demo_data, import};

/// A copy of the shipped policies, with exploration on or off.
fn policies(folder: &Path, on: bool) -> PathBuf {
    let to = folder.join(format!("policies-{on}"));
    copy_folder(&root().join("policies"), &to);
    if on {
        let path = to.join("scoring.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        let (before, after) = text.split_once("[exploration]\non = false").unwrap();
        let after = after.replacen("share = 0.10", "share = 1.0", 1);
        std::fs::write(path, format!("{before}[exploration]\non = true{after}")).unwrap();
        // Each playbook once more under another name: near-ties of all that there is to do.
        let playbooks: Vec<PathBuf> = std::fs::read_dir(to.join("playbooks"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        for path in playbooks {
            let text = std::fs::read_to_string(&path)
                .unwrap()
                .replacen("= \"", "= \"Second ", 1);
            let name = path.file_stem().unwrap().to_str().unwrap();
            std::fs::write(path.with_file_name(format!("{name}-second.toml")), text).unwrap();
        }
    }
    to
}

struct World {
    temp: tempfile::TempDir,
    db: Database,
    policies: String,
}

impl World {
    fn new(on: bool) -> World {
        let temp = tempfile::tempdir().unwrap();
        let data = demo_data(temp.path());
        let db = Database::sqlite(temp.path());
        import(temp.path(), &data, "demo", &db.url);
        let policies = policies(temp.path(), on).display().to_string();
        World { temp, db, policies }
    }

    fn go(&self, args: &[&str]) -> Said {
        let mut all = args.to_vec();
        all.extend(["--db", &self.db.url, "--policies", &self.policies, "--json"]);
        run(PROGRAM, self.temp.path(), &all)
    }

    fn run_at(&self, at: &str) -> Value {
        self.go(&["run", "--once", "--as-of", at]).ok().json()
    }

    /// The choices that stand behind what ran by itself, by account.
    fn choices(&self) -> Vec<Value> {
        let ran = self
            .go(&[
                "queue",
                "list",
                "--state",
                "permitted",
                "--state",
                "executed",
                "--state",
                "failed",
            ])
            .ok()
            .json();
        let ids: Vec<String> = ran
            .as_array()
            .unwrap()
            .iter()
            .filter(|a| a["minutes"].as_i64().unwrap() > 0)
            .map(|a| a["id"].as_str().unwrap().to_owned())
            .collect();
        ids.iter()
            .map(|id| {
                let card = self.go(&["queue", "show", id, "--offline"]).ok().json();
                assert!(!card["choice"].is_null(), "{id} ran without a place in the log");
                card["choice"].clone()
            })
            .collect()
    }
}

fn options(choice: &Value) -> &Vec<Value> {
    choice["options"].as_array().unwrap()
}

#[test]
fn without_exploration_what_runs_is_logged_with_propensity_1_and_the_log_refuses_to_judge() {
    let world = World::new(false);
    world.run_at(DEMO_TIME);
    let choices = world.choices();
    assert!(!choices.is_empty());
    for choice in &choices {
        assert!(choice["seed"].is_null());
        let executed: Vec<f64> = options(choice)
            .iter()
            .filter(|o| o["executed"] == true)
            .map(|o| o["propensity"].as_f64().unwrap())
            .collect();
        assert_eq!(executed, [1.0], "{choice}");
    }
    let own = world
        .go(&["measure", "ope", "--log", "own", "--prefer", "highest-value"])
        .ok()
        .json();
    assert!(own["refused"].as_str().unwrap().contains("propensity of 1"), "{own}");
    assert_eq!(own["left_out"]["certain"].as_u64().unwrap(), choices.len() as u64);
    let effects = world.go(&["measure", "effects"]).ok().json();
    assert_eq!(
        (effects["used"].as_u64(), effects["excluded"]["certain"].as_u64()),
        (Some(0), Some(choices.len() as u64))
    );
}

#[test]
fn with_exploration_near_ties_are_drawn_once_a_day_and_the_chance_of_the_whole_day_is_logged() {
    let world = World::new(true);
    world.run_at(DEMO_TIME);
    let choices = world.choices();
    let (mut drawn, mut uncertain) = (0, 0);
    for choice in &choices {
        assert_eq!(choice["seed"], 1);
        let sum: f64 = options(choice).iter().map(|o| o["propensity"].as_f64().unwrap()).sum();
        assert!(sum <= 1.0 + 1e-9, "one action an account: {choice}");
        let executed = options(choice).iter().filter(|o| o["executed"] == true).count();
        assert_eq!(executed, 1, "{choice}");
        drawn += usize::from(options(choice).iter().any(|o| o["drawn"] == true));
        uncertain += usize::from(options(choice).iter().any(|o| {
            let p = o["propensity"].as_f64().unwrap();
            p > 0.0 && p < 1.0
        }));
        for o in options(choice).iter().filter(|o| o["drawn"] == false) {
            assert_eq!(o["executed"], false, "what was not drawn does not run: {choice}");
        }
    }
    assert!(
        drawn > 0 && uncertain > 0,
        "{drawn} drawn, {uncertain} uncertain of {}",
        choices.len()
    );
    // Again on the day: nothing else runs, and the log stands.
    let again = world.run_at(DEMO_TIME);
    assert_eq!(again["decisions_new"], 0);
    assert_eq!(world.choices(), choices);
    // The ranking says the chance of the draw.
    let rank = world.go(&["rank", "--as-of", DEMO_TIME]).ok().json();
    let of_draws = rank.as_array().unwrap().iter().filter_map(|r| r["propensity"].as_f64());
    assert!(of_draws.clone().any(|p| p < 1.0) && of_draws.clone().all(|p| (0.05..=1.0).contains(&p)));
    // Too little has come of it: refused by its own reason.
    let own = world
        .go(&["measure", "ope", "--log", "own", "--prefer", "highest-value"])
        .ok()
        .json();
    assert!(own["refused"].as_str().unwrap().contains("cannot estimate"), "{own}");
    assert_eq!(own["log"], "own");
}

#[test]
fn the_planted_log_gives_effects_or_says_why_not_and_counts_what_it_leaves_out() {
    let Some(data) = data_set("effects_of_planted", "planted-42") else {
        return;
    };
    let temp = tempfile::tempdir().unwrap();
    let db = Database::sqlite(temp.path());
    import(temp.path(), &data, "planted", &db.url);
    let order = "champion_rebuild,enablement,exec_outreach,expansion_offer,commercial_review";
    let args = [
        "measure",
        "effects",
        "--log",
        "imported",
        "--priority",
        order,
        "--as-of",
        "2026-11-20",
        "--json",
    ];
    let mut all = args.to_vec();
    all.extend(["--db", &db.url]);
    let found = run(PROGRAM, temp.path(), &all).ok().json();
    let excluded: u64 = found["excluded"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(name, _)| *name != "holdout_accounts")
        .map(|(_, n)| n.as_u64().unwrap())
        .sum();
    assert_eq!(
        found["choices"].as_u64().unwrap(),
        found["used"].as_u64().unwrap() + excluded,
        "every choice counts or is named: {found}"
    );
    assert_eq!(found["excluded"]["holdout_accounts"], 331);
    let effects = found["effects"].as_array().unwrap();
    let over_all: Vec<&Value> = effects.iter().filter(|e| e["tier"].is_null()).collect();
    assert_eq!(over_all.len(), 5, "{found}");
    for effect in effects {
        assert_eq!(
            effect["shift"].is_null(),
            effect["cannot_estimate"].is_string(),
            "{effect}"
        );
    }
    let keys = found["toml"].as_str().unwrap().matches("observed_shift = ").count();
    assert_eq!(keys, over_all.iter().filter(|e| e["shift"].is_number()).count());
    // The rule of priority is part of the chance: an order that leaves an action out is refused.
    all[5] = "enablement";
    assert_ne!(run(PROGRAM, temp.path(), &all).code, 0);
}
