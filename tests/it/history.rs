//! The order of work, and walks through past time: `rank`, `run --shadow`, `signals --as-of` and over a walk.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use perennial_tests::{Database, run};
use serde_json::Value;

use crate::PROGRAM;
use crate::world::{DEMO_TIME, World, worlds};

/// Rows that come after the walks of these tests: a new account, and much that happened at one that is there.
const LATER: &str = r#"
source = "later"

[defaults]
currency = "USD"
dates = "%Y-%m-%d"

[[file]]
path = "accounts.csv"
kind = "account"
key = "id"
event = "since"

[file.fields]
name = "name"
tier = { value = "strategic" }
owner = { value = "OWN-04" }
since = "since"

[[file]]
path = "tickets.csv"
kind = "ticket"
key = "id"
account = "account"
event = "opened"

[file.fields]
opened = "opened"
severity = "severity"

[[file]]
path = "usage.csv"
kind = "usage"
key = ["account", "week"]
account = "account"

[file.usage]
grain = "week"
start = "week"

[file.usage.values]
seats = "seats"
active_users = "active"
"#;

/// Last step of the walks that must not change, and a walk that goes on behind it.
const UNTIL: &str = "2026-08-03";
const BEYOND: &str = "2026-09-07";

fn sqlite() -> (World, std::path::PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let db = Database::sqlite(temp.path());
    let folder = temp.path().to_path_buf();
    (World::new(db, temp), folder)
}

fn import_later(folder: &Path, db: &str) {
    let data = folder.join("later");
    std::fs::create_dir_all(&data).unwrap();
    let mut usage = "account,week,seats,active\n".to_owned();
    for week in ["2026-08-03", "2026-08-10", "2026-08-17", "2026-08-24"] {
        usage.push_str(&format!("ACC-000005,{week},4000,3900\n"));
        usage.push_str(&format!("NEW-1,{week},100,90\n"));
    }
    std::fs::write(data.join("accounts.csv"), "id,name,since\nNEW-1,Newcomer,2026-08-05\n").unwrap();
    std::fs::write(
        data.join("tickets.csv"),
        "id,account,opened,severity\nT-1,ACC-000005,2026-08-05,1\nT-2,NEW-1,2026-08-06,1\n",
    )
    .unwrap();
    std::fs::write(data.join("usage.csv"), usage).unwrap();
    std::fs::write(folder.join("later.toml"), LATER).unwrap();
    let (data, mapping) = (
        data.display().to_string(),
        folder.join("later.toml").display().to_string(),
    );
    let said = run(
        PROGRAM,
        folder,
        &["import", &data, "--mapping", &mapping, "--db", db, "--json"],
    )
    .ok()
    .json();
    assert_eq!(said["stored"], 11, "{said}");
}

/// A later export that tells of the past otherwise: in July nobody had used the product at one account.
fn import_correction(folder: &Path, db: &str) {
    let file = folder.join("data/usage_weekly.csv");
    let text = std::fs::read_to_string(&file).unwrap();
    let mut corrected = 0;
    let lines: Vec<String> = text
        .lines()
        .map(|line| match line.split_once(",2026-07-") {
            Some(("ACC-000006", rest)) => {
                corrected += 1;
                let mut cells: Vec<&str> = rest.split(',').collect();
                cells[2] = "0";
                format!("ACC-000006,2026-07-{}", cells.join(","))
            }
            Some(_) | None => line.to_owned(),
        })
        .collect();
    assert_eq!(corrected, 4);
    std::fs::write(&file, lines.join("\n")).unwrap();
    let data = folder.join("data").display().to_string();
    let mapping = perennial_tests::root()
        .join("examples/mappings/demo.toml")
        .display()
        .to_string();
    run(
        PROGRAM,
        folder,
        &[
            "import",
            &data,
            "--mapping",
            &mapping,
            "--as-of",
            "2026-08-25",
            "--db",
            db,
            "--json",
        ],
    )
    .ok();
}

fn walk_args(to: &str) -> [&str; 10] {
    [
        "run",
        "--shadow",
        "--from",
        "2026-05-04",
        "--to",
        to,
        "--every",
        "7d",
        "--top",
        "5",
    ]
}

/// The lines of a walk.
fn walk(world: &World, to: &str) -> String {
    world.go(&walk_args(to)).ok().out
}

fn steps(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap()
}

const RANKED: [&str; 21] = [
    "account",
    "account_name",
    "action",
    "action_id",
    "arr_minor",
    "currency",
    "due",
    "level",
    "minutes",
    "next_value_minor",
    "owner",
    "per_minute",
    "playbook",
    "probability",
    "rank",
    "reasons",
    "subject",
    "title",
    "uplift",
    "value_minor",
    "verdict",
];

const CHANGED: [&str; 18] = [
    "account",
    "arr_minor",
    "as_of",
    "baseline",
    "cleared_at",
    "confirmed_at",
    "currency",
    "evidence",
    "evidence_total",
    "kind",
    "opened_at",
    "owner",
    "parts",
    "severity",
    "state",
    "subject",
    "unit",
    "value",
];

#[test]
fn a_ranking_is_one_array_in_the_order_of_value_per_minute() {
    let (world, _) = sqlite();
    let ranking = world.go(&["rank", "--as-of", DEMO_TIME, "--denied"]).ok().json();
    let all = list(&ranking);
    let expected: BTreeSet<&str> = RANKED.into_iter().chain(["waiting", "propensity"]).collect();
    assert!(all.iter().all(|a| keys(a) == expected), "{}", all[0]);
    let (placed, denied): (Vec<&Value>, Vec<&Value>) = all.iter().partition(|a| a["level"] != "never");
    assert!(placed.len() >= 15, "{}", placed.len());
    assert!(denied.iter().all(|a| a["rank"].is_null()));
    let mut before: Option<(f64, &str)> = None;
    for (place, action) in (1..).zip(&placed) {
        assert_eq!(action["rank"], place, "{action}");
        let number = |key: &str| action[key].as_f64();
        let id = action["action_id"].as_str().unwrap();
        // What waiting loses, by the amounts themselves, in major units a minute.
        let loses = (number("value_minor").unwrap() - number("next_value_minor").unwrap()) / 100.0;
        let per_minute = loses / number("minutes").unwrap();
        assert!((per_minute - number("per_minute").unwrap()).abs() < 0.01, "{action}");
        let now = (number("per_minute").unwrap(), id);
        assert!(
            before.is_none_or(|b| b.0 > now.0 || (b.0 == now.0 && b.1 < now.1)),
            "{action}"
        );
        before = Some(now);
        assert!((0.0..=1.0).contains(&number("probability").unwrap()), "{action}");
        assert!(
            (0.0..=number("probability").unwrap()).contains(&number("uplift").unwrap()),
            "{action}"
        );
        let reasons: Vec<&str> = list(&action["reasons"]).iter().map(|r| r.as_str().unwrap()).collect();
        for file in [
            format!("{}.toml:", action["playbook"].as_str().unwrap()),
            "autonomy.toml:".to_owned(),
        ] {
            assert!(reasons.iter().any(|r| r.contains(&file)), "no {file} in {reasons:?}");
        }
    }
    // A person's part keeps the places of the whole book; the rest is a beginning of the same list.
    let hers = world
        .go(&["rank", "--as-of", DEMO_TIME, "--owner", "OWN-04"])
        .ok()
        .json();
    let of_all: Vec<&Value> = placed.iter().filter(|a| a["owner"] == "OWN-04").copied().collect();
    assert!(!of_all.is_empty() && of_all.len() < placed.len());
    assert_eq!(list(&hers).iter().collect::<Vec<_>>(), of_all);
    let three = world.go(&["rank", "--as-of", DEMO_TIME, "--limit", "3"]).ok().json();
    assert_eq!(list(&three).iter().collect::<Vec<_>>(), placed[..3]);
    let nobody = world.go(&["rank", "--as-of", DEMO_TIME, "--owner", "Nobody"]);
    assert_eq!(nobody.code, 2);
    assert!(nobody.err.contains("OWN-01"), "{}", nobody.err);
    world.end();
}

#[test]
fn a_ranking_proposes_what_a_run_decides_and_keeps_what_waits() {
    let (world, _) = sqlite();
    world.set_clock(DEMO_TIME);
    let ranked = |ranking: &Value| -> BTreeMap<String, (Value, Value)> {
        let rows = list(ranking).iter();
        rows.map(|a| {
            let key = format!("{} {} {}", a["account"], a["playbook"], a["subject"]);
            (key, (a["action_id"].clone(), a["waiting"].clone()))
        })
        .collect()
    };
    let before = ranked(&world.go(&["rank"]).ok().json());
    world.run().ok();
    let proposed: BTreeSet<String> = list(&world.go(&["queue", "list", "--all"]).ok().json())
        .iter()
        .map(|a| a["id"].as_str().unwrap().to_owned())
        .collect();
    let ids: BTreeSet<String> = before.values().map(|(id, _)| id.as_str().unwrap().to_owned()).collect();
    assert!(
        proposed.is_superset(&ids) || ids.is_superset(&proposed),
        "{proposed:?} {ids:?}"
    );
    let waiting: BTreeSet<String> = list(&world.go(&["queue", "list"]).ok().json())
        .iter()
        .map(|a| a["id"].as_str().unwrap().to_owned())
        .collect();
    assert!(waiting.len() > 5, "{waiting:?}");
    // The next day a run proposes none of it again; a ranking still has it, and says what waits.
    world.set_clock("2026-09-16T08:00:00Z");
    let after = ranked(&world.go(&["rank"]).ok().json());
    let named: BTreeSet<String> = after
        .values()
        .filter_map(|(_, waiting)| waiting.as_str().map(str::to_owned))
        .collect();
    assert_eq!(named, waiting);
    world.end();
}

#[test]
fn what_cannot_be_valued_comes_last_and_names_the_missing_field() {
    let temp = tempfile::tempdir().unwrap();
    let db = Database::sqlite(temp.path());
    let folder = temp.path().to_path_buf();
    let url = db.url.clone();
    let world = World::new(db, temp);
    import_later(&folder, &url);
    let ranking = world.go(&["rank", "--as-of", "2026-08-20"]).ok().json();
    let all = list(&ranking);
    // Nothing says what the newcomer pays, and its case of severity 1 is open.
    let unknown: Vec<&Value> = all.iter().filter(|a| a["account"] == "NEW-1").collect();
    assert!(!unknown.is_empty(), "{all:?}");
    for action in &unknown {
        for key in ["value_minor", "next_value_minor", "per_minute", "uplift", "arr_minor"] {
            assert!(action[key].is_null(), "{key} of {action}");
        }
        let reasons = action["reasons"].to_string();
        assert!(reasons.contains("yearly revenue is missing"), "{reasons}");
    }
    let tail = &all[all.len() - unknown.len()..];
    assert_eq!(tail.iter().collect::<Vec<_>>(), unknown);
    assert!(
        all[..all.len() - unknown.len()]
            .iter()
            .all(|a| a["value_minor"].is_i64())
    );
    world.end();
}

#[test]
fn a_walk_gives_a_line_a_step_with_scores_changes_and_the_order_of_work() {
    let (world, folder) = sqlite();
    let out = folder.join("walk");
    let out_text = out.display().to_string();
    let mut args = walk_args(UNTIL).to_vec();
    args.extend(["--out", out_text.as_str()]);
    let text = world.go(&args).ok().out;
    let steps = steps(&text);
    assert_eq!(steps.len(), 14);
    let fields = BTreeSet::from([
        "accounts",
        "as_of",
        "assessed",
        "cleared",
        "confirmed",
        "opened",
        "proposals",
        "ranking",
        "scores",
        "signals",
    ]);
    let (mut scores, mut signals, mut ranking) = (1, 1, 1);
    for step in &steps {
        assert_eq!(keys(step), fields);
        assert_eq!(step["accounts"].as_u64().unwrap(), list(&step["scores"]).len() as u64);
        let changes = list(&step["signals"]);
        for state in ["opened", "confirmed", "cleared"] {
            let word = state.replace("opened", "open");
            let count = changes.iter().filter(|s| s["state"] == word.as_str()).count();
            assert_eq!(
                step[state].as_u64().unwrap(),
                count as u64,
                "{state} at {}",
                step["as_of"]
            );
        }
        assert!(changes.iter().all(|s| keys(s) == CHANGED.into_iter().collect()));
        assert!(list(&step["ranking"]).len() <= 5);
        scores += list(&step["scores"]).len();
        signals += changes.len();
        ranking += list(&step["ranking"]).len();
    }
    assert!(signals > 20 && ranking > 20, "{signals} {ranking}");
    for (file, rows) in [("scores", scores), ("signals", signals), ("ranking", ranking)] {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .from_path(out.join(format!("{file}.csv")))
            .unwrap();
        assert_eq!(reader.records().map(Result::unwrap).count(), rows, "{file}");
    }
    // A step of a walk is what was known then, asked about alone.
    let last = steps.last().unwrap();
    let alone = world.go(&["rank", "--as-of", UNTIL, "--limit", "5"]).ok().json();
    assert_eq!(alone, last["ranking"]);
    let table = world.text(&walk_args(UNTIL));
    assert!(
        table.contains("2026-05-04") && table.contains("nothing was written"),
        "{table}"
    );
    world.end();
}

#[test]
fn what_comes_later_changes_no_earlier_step_and_the_same_walk_gives_the_same_bytes() {
    let temp = tempfile::tempdir().unwrap();
    let db = Database::sqlite(temp.path());
    let folder = temp.path().to_path_buf();
    let url = db.url.clone();
    let world = World::new(db, temp);
    let (early, beyond) = (walk(&world, UNTIL), walk(&world, BEYOND));
    let alone = world.go(&["rank", "--as-of", UNTIL]).ok().out;
    let changed = world.go(&["signals", "--as-of", UNTIL]).ok().out;
    assert_eq!(walk(&world, UNTIL), early, "the same bytes again");
    let mut one_thread = walk_args(UNTIL).to_vec();
    one_thread.extend(["--threads", "1"]);
    assert_eq!(world.go(&one_thread).ok().out, early, "with one thread");
    // The beginning of a longer walk is the shorter one.
    assert!(beyond.starts_with(&early));
    // Later records, an account that did not exist, a score set by a person, and actions of ours for an earlier day.
    import_later(&folder, &url);
    world.set_clock("2026-09-15T09:00:00Z");
    world
        .go(&[
            "account",
            "set",
            "ACC-000003",
            "--score",
            "health",
            "--value",
            "1",
            "--until",
            "2026-10-15",
            "--reason",
            "a test",
            "--as",
            "OWN-01",
        ])
        .ok();
    world.go(&["run", "--once", "--as-of", "2026-06-02"]).ok();
    assert_eq!(walk(&world, UNTIL), early);
    let newcomer = steps(&walk(&world, BEYOND)).pop().unwrap();
    import_correction(&folder, &url);
    assert_eq!(walk(&world, UNTIL), early);
    let corrected = steps(&walk(&world, BEYOND)).pop().unwrap();
    assert_ne!(newcomer, corrected, "a later step knows of the correction");
    assert_eq!(world.go(&["rank", "--as-of", UNTIL]).ok().out, alone);
    assert_eq!(world.go(&["signals", "--as-of", UNTIL]).ok().out, changed);
    // What was planted does change what comes after it.
    let after = walk(&world, BEYOND);
    assert_ne!(after, beyond);
    let (first, last) = (&steps(&after)[0], steps(&after).pop().unwrap());
    let accounts = |step: &Value| step["accounts"].as_u64().unwrap();
    assert_eq!(accounts(&last), accounts(first) + 1, "the newcomer");
    world.end();
}

#[test]
fn rankings_walks_and_signals_of_the_past_write_nothing() {
    let (world, folder) = sqlite();
    world.run().ok();
    let bytes = || std::fs::read(folder.join("perennial.db")).unwrap();
    let (before, changes) = (bytes(), world.crms.changes().len());
    world.go(&["rank"]).ok();
    world.go(&["rank", "--as-of", "2026-08-20"]).ok();
    world.go(&walk_args(UNTIL)).ok();
    world.go(&["signals", "--as-of", "2026-08-20"]).ok();
    world
        .go(&["signals", "--from", "2026-08-03", "--to", "2026-08-31", "--every", "7d"])
        .ok();
    assert!(before == bytes(), "the database has other bytes");
    assert_eq!(world.crms.changes().len(), changes);
    // The comparison would see a write.
    world.go(&["run", "--once", "--as-of", "2026-09-16"]).ok();
    assert!(before != bytes(), "a run leaves no trace in the file");
    world.end();
}

#[test]
fn both_databases_rank_and_walk_the_same() {
    let mut said: Vec<[String; 2]> = Vec::new();
    for world in worlds("rank_walk") {
        said.push([world.go(&["rank", "--as-of", DEMO_TIME]).ok().out, walk(&world, UNTIL)]);
        world.end();
    }
    assert!(said.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn signals_are_an_array_with_state_dates_severity_and_evidence() {
    let (world, _) = sqlite();
    let episodes = world
        .go(&["signals", "--from", "2026-05-04", "--to", "2026-09-14", "--every", "7d"])
        .ok()
        .json();
    let then = world.go(&["signals", "--as-of", DEMO_TIME]).ok().json();
    world.run().ok();
    let now = world.go(&["signals"]).ok().json();
    assert_eq!(now, then, "a run at that time says the same");
    for rows in [&episodes, &now] {
        let mut states = BTreeSet::new();
        for row in list(rows) {
            assert_eq!(keys(row), CHANGED.into_iter().collect());
            let state = row["state"].as_str().unwrap();
            states.insert(state);
            let severity = row["severity"].as_f64().unwrap();
            assert!(severity > 0.0 && severity < 1.0, "{row}");
            assert_eq!(row["cleared_at"].is_string(), state == "cleared", "{row}");
            assert!(state != "confirmed" || row["confirmed_at"].is_string(), "{row}");
            assert!(state != "open" || row["confirmed_at"].is_null(), "{row}");
            let day = |key: &str| row[key].as_str().map(str::to_owned);
            let opened = day("opened_at").unwrap();
            assert!(day("confirmed_at").is_none_or(|confirmed| confirmed > opened), "{row}");
            assert!(day("cleared_at").is_none_or(|cleared| cleared >= opened), "{row}");
            let fields = BTreeSet::from(["external_id", "kind", "source"]);
            assert!(list(&row["evidence"]).iter().all(|record| keys(record) == fields));
            assert!(row["evidence_total"].as_u64().unwrap() >= list(&row["evidence"]).len() as u64);
        }
        assert_eq!(states, BTreeSet::from(["cleared", "confirmed", "open"]));
    }
    assert!(list(&episodes).len() > list(&now).len());
    // An episode stands once in a walk, and no detector has two at once.
    let mut by_detector: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for row in list(&episodes) {
        by_detector
            .entry(format!("{} {}", row["account"], row["kind"]))
            .or_default()
            .push(row);
    }
    for (name, rows) in by_detector {
        let open = rows.iter().filter(|r| r["state"] != "cleared").count();
        assert!(open <= 1, "{name}: {rows:?}");
    }
    let two = world.go(&["signals", "--limit", "2"]).ok().json();
    assert_eq!(list(&two)[..], list(&now)[..2]);
    world.end();
}

#[test]
fn a_walk_without_shadow_or_without_its_times_is_bad_usage() {
    let (world, _) = sqlite();
    let bad = |args: &[&str], word: &str| {
        let said = world.go(args);
        assert_eq!(said.code, 2, "{args:?}: {}", said.out);
        assert!(said.err.contains(word), "{args:?}: {}", said.err);
    };
    let times = ["--from", "2026-05-04", "--to", "2026-06-01", "--every", "7d"];
    bad(&[&["run"], &times[..]].concat(), "--shadow");
    bad(&["run", "--shadow", "--every", "7d"], "--from");
    bad(&["run", "--once", "--shadow"], "--shadow");
    bad(&["signals", "--from", "2026-05-04"], "--every");
    bad(&[&["run", "--shadow", "--dry-run"], &times[..]].concat(), "--dry-run");
    let backwards = [
        "run",
        "--shadow",
        "--from",
        "2026-06-01",
        "--to",
        "2026-05-04",
        "--every",
        "7d",
    ];
    bad(&backwards, "lies after");
    let long = [
        "run",
        "--shadow",
        "--from",
        "2020-01-01",
        "--to",
        "2026-05-04",
        "--every",
        "1d",
    ];
    bad(&long, "400 steps");
    world.end();
}
