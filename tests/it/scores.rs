//! Signals and scores as the page about them says, families, and bands that do not flicker.

use std::collections::BTreeMap;
use std::path::Path;

use perennial::content::{POLICIES, PROMPTS};
use perennial_core::policy::{Content, Index, Policies};
use perennial_tests::{Database, root, run};
use serde_json::Value;

use crate::PROGRAM;
use crate::world::{World, worlds};

fn page() -> String {
    std::fs::read_to_string(root().join("docs/src/admin/signals-and-scores.md")).unwrap()
}

/// The cells of the rows of all tables under a heading, without the marks of code.
fn table(page: &str, heading: &str) -> Vec<Vec<String>> {
    let from = page.find(&format!("\n{heading}\n")).expect(heading) + heading.len() + 2;
    let until = page[from..].find("\n#").map_or(page.len(), |at| from + at);
    let rows = page[from..until].lines().filter(|line| line.starts_with('|')).skip(2);
    rows.map(|line| {
        let cells = line.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
    })
    .collect()
}

/// The files that the page shows: each a name in code, and the block after it.
fn files(page: &str, folder: &Path) -> usize {
    let mut lines = page.lines();
    let mut written = 0;
    while let Some(line) = lines.next() {
        let name = line.strip_prefix('`').and_then(|rest| rest.split('`').next());
        let Some(name) = name.filter(|n| n.ends_with(".csv") || n.ends_with(".toml")) else {
            continue;
        };
        if lines.next() != Some("") || !lines.next().is_some_and(|fence| fence.starts_with("```")) {
            continue;
        }
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        std::fs::write(folder.join(name), block.join("\n") + "\n").unwrap();
        written += 1;
    }
    written
}

#[track_caller]
fn close(what: &str, program: f64, page: &str, within: f64) {
    let page: f64 = page.parse().unwrap_or_else(|_| panic!("{what}: `{page}` is no number"));
    assert!(
        (program - page).abs() <= within,
        "{what}: the program says {program}, the page {page}"
    );
}

/// Half of the last of six decimals.
const DECIMALS: f64 = 0.500_001e-6;

#[test]
fn the_account_computed_by_hand_in_the_book_is_what_the_program_prints() {
    let temp = tempfile::tempdir().unwrap();
    let page = page();
    assert_eq!(files(&page, temp.path()), 9);
    let go = |args: &[&str]| {
        let args = [args, &["--db", "sqlite:page.db", "--json"]].concat();
        run(PROGRAM, temp.path(), &args).ok().json()
    };
    let imported = go(&["import", ".", "--mapping", "mapping.toml"]);
    assert_eq!(imported["stored"], 24, "{imported}");
    go(&["run", "--once", "--as-of", "2026-06-01T08:00:00Z"]);
    let account = go(&["account", "show", "A-1"]);

    let facts = table(&page, "### The facts");
    assert_eq!(facts.len(), 15);
    for row in &facts {
        let number = account["features"][&row[0]]["state"]["value"]["number"].as_f64();
        close(&row[0], number.expect(&row[0]) / 1e6, &row[2], DECIMALS);
    }
    for unknown in ["csat", "champion_absent"] {
        assert!(
            account["features"][unknown]["state"]["missing"].is_string(),
            "{unknown}"
        );
    }

    let (health, risk) = (&account["scores"]["health"], &account["scores"]["risk"]);
    assert_eq!(health["confidence"], 0.95);
    assert_eq!(health["band"], "yellow");
    let rows = table(&page, "### Health");
    let (sum, terms) = rows.split_last().unwrap();
    close("health", health["score"].as_f64().unwrap(), &sum[3], DECIMALS);
    let by_fact = |score: &Value| -> BTreeMap<String, Value> {
        let list = score["contributions"].as_array().unwrap().iter();
        list.map(|c| (c["fact"].as_str().unwrap().to_owned(), c.clone()))
            .collect()
    };
    let computed = by_fact(health);
    assert_eq!(computed.len(), terms.len());
    for row in terms {
        close(
            &row[0],
            computed[&row[0]]["points"].as_f64().unwrap(),
            &row[2],
            DECIMALS,
        );
        close(&row[0], computed[&row[0]]["adds"].as_f64().unwrap(), &row[3], DECIMALS);
    }

    let rows = table(&page, "### Risk");
    let (sum, terms) = rows.split_last().unwrap();
    close("log odds", risk["log_odds"].as_f64().unwrap(), &sum[2], DECIMALS);
    let computed = by_fact(risk);
    assert_eq!(computed.len(), terms.len());
    for row in terms {
        close(&row[0], computed[&row[0]]["adds"].as_f64().unwrap(), &row[2], DECIMALS);
    }
    assert!(page.contains("= 0.433054."));
    close("risk", risk["probability"].as_f64().unwrap(), "0.433054", DECIMALS);
    assert_eq!(account["postures"][0]["state"], "at_risk");

    let ranked = go(&["rank", "--as-of", "2026-06-01T08:00:00Z"]);
    let ranked = ranked.as_array().unwrap().iter();
    let action = ranked.clone().find(|a| a["playbook"] == "renewal-at-risk").unwrap();
    let steps: BTreeMap<String, String> = table(&page, "### The place of one action")
        .into_iter()
        .map(|row| (row[0].clone(), row[2].clone()))
        .collect();
    let of = |field: &str| action[field].as_f64().unwrap();
    close("uplift", of("uplift"), &steps["uplift"], DECIMALS);
    close(
        "risk after",
        of("probability") - of("uplift"),
        &steps["risk after"],
        1e-6,
    );
    close("value now", of("value_minor") / 100.0, &steps["value now"], 0.001);
    let next = &steps["value at the next review"];
    close("value at the next review", of("next_value_minor") / 100.0, next, 0.001);
    close("per minute", of("per_minute"), &steps["per minute"], DECIMALS);
}

#[test]
fn the_tables_of_the_book_have_the_numbers_of_the_shipped_policy() {
    let page = page();
    let texts = |files: &[(&str, &str)]| {
        let texts = files
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        texts.collect()
    };
    let content = Content {
        policies: texts(POLICIES),
        prompts: texts(PROMPTS),
    };
    let policies = Policies::compile(&content).unwrap();
    let scoring = &policies.scoring;
    let detectors = &scoring.signals.as_ref().unwrap().detectors;
    let rows = table(&page, "## Signals");
    assert_eq!(rows.len(), detectors.len());
    for (row, (detector, limits)) in rows.iter().zip(detectors) {
        assert_eq!(row[0], detector.as_str());
        close(&row[0], limits.open, &row[1], 0.0);
        close(&row[0], limits.clear, &row[2], 0.0);
        close(&row[0], limits.half_life_weeks, &row[3], 0.0);
    }
    let Index { measures, bands, .. } = &scoring.health;
    let rows = table(&page, "## Health");
    assert_eq!(rows.len(), measures.len());
    for (row, measure) in rows.iter().zip(measures) {
        assert_eq!(row[0], measure.fact);
        close(&row[0], measure.weight, &row[1], 0.0);
        let age = measure.max_age_days.map_or_else(String::new, |days| days.to_string());
        assert_eq!(row[4], age, "{}", row[0]);
        for (_, points) in &measure.points {
            assert!(row[2].contains(&points.to_string()), "{}: {points}", row[0]);
        }
    }
    for limit in [
        bands.red_below,
        bands.green_from,
        bands.green_from - bands.width,
        bands.green_from + bands.width,
    ] {
        assert!(page.contains(&format!(" {limit}")), "{limit}");
    }
    let rows = table(&page, "## Risk of not renewing");
    assert_eq!(rows.len(), scoring.risk.inputs.len());
    for (row, input) in rows.iter().zip(&scoring.risk.inputs) {
        let word = input
            .equals
            .as_ref()
            .map_or_else(String::new, |word| format!("={word}"));
        assert_eq!(row[0], format!("{}{word}", input.fact));
        close(&row[0], input.mean, &row[2], 0.0);
        close(&row[0], input.sd, &row[3], 0.0);
        close(&row[0], input.weight, &row[4], 0.0);
    }
    assert!(page.contains(&format!("the intercept is {}", scoring.risk.intercept)));
}

#[test]
fn the_health_of_a_family_is_the_sum_of_what_its_accounts_add() {
    for world in worlds("families") {
        world.run().ok();
        let list = world.go(&["account", "list", "--families"]).ok().json();
        let families = list["families"].as_array().unwrap();
        assert!(families.len() >= 2, "{list}");
        let mut scored = 0;
        for family in families {
            let parts = family["parts"].as_array().unwrap();
            let sum: i64 = parts.iter().map(|p| p["adds_micro"].as_i64().unwrap()).sum();
            let coverage = &family["coverage"];
            let live = parts.iter().filter(|p| p["churned"] == false);
            assert_eq!(coverage["accounts"], live.clone().count());
            assert_eq!(
                coverage["known"],
                live.clone().filter(|p| !p["health_micro"].is_null()).count()
            );
            if let Some(score) = family["score_micro"].as_i64() {
                assert_eq!(score, sum, "{family}");
                // By hand: health by revenue over the accounts whose health is known.
                let known: Vec<(f64, f64)> = live
                    .filter_map(|p| Some((p["health_micro"].as_f64()?, p["arr_minor"].as_f64()?)))
                    .collect();
                let revenue: f64 = known.iter().map(|k| k.1).sum();
                let by_hand = known.iter().map(|k| k.0 * k.1).sum::<f64>() / revenue;
                assert!((by_hand - score as f64).abs() <= parts.len() as f64, "{family}");
                scored += 1;
            }
        }
        assert!(scored >= 2, "{list}");
        let family = &families[0];
        // The head, and an account that belongs to it, show the same family.
        let head = family["account"].as_str().unwrap();
        let parts = family["parts"].as_array().unwrap();
        let below = parts.iter().find(|p| p["account"] != family["account"]).unwrap();
        for id in [head, below["account"].as_str().unwrap()] {
            let shown = world.go(&["account", "show", id]).ok().json();
            assert_eq!(&shown["family"], family, "{id}");
        }
        let text = world.text(&["account", "show", head]);
        assert!(text.contains(&format!("family of {head}")), "{text}");
        world.end();
    }
}

#[test]
fn parents_that_cannot_be_followed_are_named() {
    let temp = tempfile::tempdir().unwrap();
    assert_eq!(files(&page(), temp.path()), 9);
    let mapping = std::fs::read_to_string(temp.path().join("mapping.toml")).unwrap();
    let mapping = mapping.replace(
        "since = \"since\"\n\n[[file]]\npath = \"contracts.csv\"",
        "since = \"since\"\nparent = \"parent\"\n\n[[file]]\npath = \"contracts.csv\"",
    );
    std::fs::write(temp.path().join("mapping.toml"), mapping).unwrap();
    let rows = "account,name,since,parent\nA-1,Ashgrove Ltd,2024-06-01,\nA-2,Ashgrove North,2024-06-01,A-1\n\
                R-1,One,2024-06-01,R-2\nR-2,Two,2024-06-01,R-1\nR-3,Three,2024-06-01,R-1\nL-1,Left,2024-06-01,NOBODY\n";
    std::fs::write(temp.path().join("accounts.csv"), rows).unwrap();
    let go = |args: &[&str]| run(PROGRAM, temp.path(), &[args, &["--db", "sqlite:page.db"]].concat());
    go(&["import", ".", "--mapping", "mapping.toml"]).ok();
    let early = go(&["account", "list", "--families"]);
    assert_eq!(early.code, 2);
    assert!(early.err.contains("perennial run --once"), "{}", early.err);
    go(&["run", "--once", "--as-of", "2026-06-01T08:00:00Z"]).ok();
    let list = go(&["account", "list", "--families", "--json"]).ok().json();
    let faults: Vec<(&str, &str)> = list["faults"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| (f["account"].as_str().unwrap(), f["kind"].as_str().unwrap()))
        .collect();
    assert_eq!(
        faults,
        [
            ("L-1", "parent_missing"),
            ("R-1", "circle"),
            ("R-2", "circle"),
            ("R-3", "below_circle")
        ]
    );
    // The revenue of A-2 is not known, nor its health: the half of the accounts that is known is enough.
    let family = &list["families"][0];
    assert_eq!(list["families"].as_array().unwrap().len(), 1);
    assert_eq!(family["score_micro"], 60_182_466);
    assert_eq!(family["coverage"]["arr_minor"], Value::Null);
    assert_eq!(family["coverage"]["share_micro"], 500_000);
    let text = go(&["account", "list", "--families"]).ok().out;
    assert!(text.contains("! L-1 names NOBODY as its parent"), "{text}");
    let shown = go(&["account", "show", "R-3", "--json"]).ok().json();
    assert_eq!(shown["family"], Value::Null);
    assert_eq!(shown["family_fault"]["kind"], "below_circle");
}

#[test]
fn bands_change_less_often_than_the_limits_are_crossed_and_are_those_of_a_run() {
    let temp = tempfile::tempdir().unwrap();
    let db = Database::sqlite(temp.path());
    let world = World::new(db, temp);
    let walk = world
        .go(&[
            "run",
            "--shadow",
            "--from",
            "2026-06-01T08:00:00Z",
            "--to",
            "2026-09-14T08:00:00Z",
            "--every",
            "7d",
        ])
        .ok();
    let steps: Vec<Value> = walk
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(steps.len(), 16);
    let alone = |health: f64| match health {
        h if h < 50.0 => "red",
        h if h < 70.0 => "yellow",
        _ => "green",
    };
    let mut paths: BTreeMap<String, Vec<(f64, String)>> = BTreeMap::new();
    for step in &steps {
        for row in step["scores"].as_array().unwrap() {
            if let (Some(health), Some(band)) = (row["health"].as_f64(), row["band"].as_str()) {
                let path = paths.entry(row["account"].as_str().unwrap().to_owned()).or_default();
                path.push((health, band.to_owned()));
            }
        }
    }
    let (mut crossed, mut changed, mut held) = (0, 0, 0);
    for pair in paths.values().flat_map(|path| path.windows(2)) {
        crossed += usize::from(alone(pair[0].0) != alone(pair[1].0));
        changed += usize::from(pair[0].1 != pair[1].1);
    }
    for (health, band) in paths.values().flatten() {
        let margin = (health - 50.0).abs().min((health - 70.0).abs());
        if margin > 2.5 {
            assert_eq!(band, alone(*health), "{health} is far from every limit");
        }
        held += usize::from(band != alone(*health));
    }
    println!("{crossed} crossings, {changed} changes of a band, {held} held");
    assert!(changed < crossed && held > 0, "{crossed} {changed} {held}");
    // A run as of the last step with an account near a limit says the same, and its decision replays with the points it holds.
    let near = |row: &Value| {
        let health = row["health"].as_f64();
        health.is_some_and(|h| (h - 50.0).abs().min((h - 70.0).abs()) < 2.5)
    };
    let rows = |step: &Value| -> Vec<Value> {
        let scores = step["scores"].as_array().unwrap();
        scores.iter().filter(|row| near(row)).cloned().collect()
    };
    let step = steps.iter().rev().find(|step| !rows(step).is_empty()).unwrap();
    world
        .go(&["run", "--once", "--as-of", step["as_of"].as_str().unwrap()])
        .ok();
    let mut replayed = 0;
    for row in rows(step) {
        let shown = world
            .go(&["account", "show", row["account"].as_str().unwrap()])
            .ok()
            .json();
        assert_eq!(shown["scores"]["health"]["band"], row["band"], "{row}");
        let report = world.go(&["replay", shown["decision"].as_str().unwrap()]).ok().json();
        assert_eq!(report["identical"], true, "{report}");
        replayed += 1;
    }
    assert!(replayed > 0, "no account is near a limit");
    world.end();
}
