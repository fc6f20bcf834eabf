//! What the engine says about the ravenstack accounts, as a page of the documentation that is made from a real run.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use perennial_tests::{Database, data_set, root, run};
use serde_json::Value;

use crate::PROGRAM;

const AS_OF: &str = "2024-12-31";

fn percent(value: &Value) -> String {
    value
        .as_f64()
        .map_or_else(|| "cannot assess".to_owned(), |v| format!("{:.0} %", v * 100.0))
}

fn count<K: Ord>(map: &mut BTreeMap<K, u64>, key: K) {
    *map.entry(key).or_default() += 1;
}

fn page() -> Option<String> {
    let data = data_set("ravenstack_page", "ravenstack")?;
    let temp = tempfile::tempdir().unwrap();
    let db = Database::sqlite(temp.path());
    let mapping = root().join("examples/mappings/ravenstack.toml").display().to_string();
    let data = data.display().to_string();
    let go = |args: &[&str]| {
        let mut all = args.to_vec();
        all.extend(["--db", &db.url, "--json"]);
        run(PROGRAM, temp.path(), &all).ok().json()
    };
    let imported = go(&["import", &data, "--mapping", &mapping]);
    let report = go(&["run", "--once", "--as-of", AS_OF]);
    let accounts = go(&["account", "list", "--limit", "1000"]);
    let accounts = accounts.as_array().unwrap();
    let queue = go(&["queue", "list", "--all"]);
    let mut text = String::from(
        "# What the engine said about ravenstack\n\n<!-- Made by a test from a real run: PERENNIAL_BLESS=1 cargo test -p perennial-tests --test it ravenstack -->\n\n\
         RavenStack (data set by River @ Rivalytics) is a synthetic set of 500 accounts with contradictions on purpose. It is a test of\n\
         import and of honesty, not of prediction: there is no signal in it to find. This page shows what the shipped policies\n\
         say about it, and why.\n\n",
    );
    writeln!(
        text,
        "Imported with `examples/mappings/ravenstack.toml`: {} rows read = {} stored + {} duplicate + {} rejected.\nDecided as of {AS_OF}: {} accounts.\n",
        imported["read"], imported["stored"], imported["duplicate"], imported["rejected"], report["accounts"]
    )
    .unwrap();
    let (mut bands, mut tiers, mut renewals) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut risk: BTreeMap<(String, &str), u64> = BTreeMap::new();
    for account in accounts {
        let tier = account["tier"].as_str().unwrap_or("not known").to_owned();
        count(&mut tiers, tier.clone());
        count(
            &mut bands,
            account["band"].as_str().unwrap_or("cannot assess").to_owned(),
        );
        let known = if account["renewal_date"].is_null() {
            "no renewal date"
        } else {
            "renewal date known or derived"
        };
        count(&mut renewals, known);
        let band = match account["risk"].as_f64() {
            None => "cannot assess",
            Some(r) if r < 0.1 => "below 10 %",
            Some(r) if r < 0.2 => "10 to 20 %",
            Some(r) if r < 0.35 => "20 to 35 %",
            Some(_) => "35 % and more",
        };
        count(&mut risk, (tier, band));
    }
    text.push_str("## All 500 accounts\n\n| what | said | accounts |\n|---|---|---|\n");
    for (what, map) in [("tier", &tiers), ("health", &bands)] {
        for (said, n) in map {
            writeln!(text, "| {what} | {} | {n} |", said.replace('_', "-")).unwrap();
        }
    }
    for (said, n) in &renewals {
        writeln!(text, "| renewal | {said} | {n} |").unwrap();
    }
    for ((tier, said), n) in &risk {
        writeln!(text, "| risk, {} | {said} | {n} |", tier.replace('_', "-")).unwrap();
    }
    text.push_str("\n## Why so much is `cannot assess`\n\n| what is missing | accounts |\n|---|---|\n");
    let mut gaps: BTreeMap<String, u64> = BTreeMap::new();
    let mut notes: BTreeMap<(String, String), u64> = BTreeMap::new();
    for account in accounts {
        let shown = go(&["account", "show", account["account"].as_str().unwrap()]);
        for score in ["health", "risk"] {
            for missing in shown["scores"][score]["missing"].as_array().unwrap() {
                let field = missing["field"].as_str().unwrap();
                // Ages differ by account; the reason is the same.
                let field = if field.starts_with("newer than") {
                    "a newer measurement (the last one is too old)"
                } else {
                    field
                };
                count(
                    &mut gaps,
                    format!(
                        "{score}: {} needs {field}",
                        missing["fact"].as_str().unwrap().replace('_', " ")
                    ),
                );
            }
        }
        for note in shown["notes"].as_array().unwrap() {
            let kind = note["kind"].as_str().unwrap().replace('_', " ");
            count(
                &mut notes,
                (kind, note["playbook"].as_str().unwrap_or("the account").to_owned()),
            );
        }
    }
    for (gap, n) in &gaps {
        writeln!(text, "| {gap} | {n} |").unwrap();
    }
    text.push_str(
        "\nUse is sparse here (25,000 rows over two years, one account in two weeks), so three of the last four weeks are rarely known, and a\n\
         week without a row is unknown, not zero. The set has no contacts, no surveys, no bills and no record of touches.\n",
    );
    text.push_str("\n## What was left out, and why\n\n| reason | playbook | accounts |\n|---|---|---|\n");
    for ((kind, playbook), n) in &notes {
        writeln!(text, "| {kind} | {playbook} | {n} |").unwrap();
    }
    text.push_str("\n## What was proposed\n\n| account | tier | playbook | verdict | worth | risk | health | why |\n|---|---|---|---|---|---|---|---|\n");
    let by_id: BTreeMap<&str, &Value> = accounts.iter().map(|a| (a["account"].as_str().unwrap(), a)).collect();
    for item in queue.as_array().unwrap() {
        let card = go(&["queue", "show", item["id"].as_str().unwrap(), "--offline"]);
        let id = item["account"].as_str().unwrap();
        let account = by_id[id];
        let worth = item["value_minor"].as_i64().map_or_else(
            || "not known".to_owned(),
            |v| format!("{} {}", item["currency"].as_str().unwrap(), v / 100),
        );
        let health = account["health"]
            .as_f64()
            .map_or_else(|| "cannot assess".to_owned(), |h| format!("{h:.0}"));
        writeln!(
            text,
            "| {id} | {} | {} | {} | {worth} | {} | {health} | {} |",
            item["tier"].as_str().unwrap_or("not known").replace('_', "-"),
            item["playbook"].as_str().unwrap(),
            item["verdict"].as_str().unwrap(),
            percent(&account["risk"]),
            card["card"]["because"].as_str().unwrap()
        )
        .unwrap();
    }
    let put_off = &report["actions"]["deferred"];
    writeln!(text, "\n{put_off} more would have run by themselves and were put off because nobody's day has room: no account of this set has an owner, so one default day serves all.").unwrap();
    Some(text)
}

#[test]
fn the_page_says_what_a_run_says() {
    let Some(page) = page() else { return };
    let path = root().join("docs/src/admin/ravenstack.md");
    if std::env::var_os("PERENNIAL_BLESS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        stored == page,
        "docs/src/admin/ravenstack.md is not what a run says: PERENNIAL_BLESS=1 cargo test -p perennial-tests --test it ravenstack"
    );
}
