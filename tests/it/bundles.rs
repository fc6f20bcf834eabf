//! Other policies: what they would have made of the past, and how they come into force.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use perennial::config::{Config, Overrides};
use perennial::cycle::{Engine, Step, Watch};
use perennial::demo::portfolio::{PortfolioOptions, write_csv};
use perennial_core::decide::{Decision, Inputs, decide};
use perennial_core::ids::{AccountId, TenantId};
use perennial_core::policy::Policies;
use perennial_core::replay::{Hash, canonical, read};
use perennial_core::time::Timestamp;
use perennial_store::{DecisionRow, Store};
use perennial_tests::{Database, Said, copy_folder, root, run};
use perennial_tools::Registry;

use crate::PROGRAM;
use crate::world::{DEMO_TIME, demo_data, import};

/// The shipped policies and prompts in a folder, to be edited.
fn policies(folder: &Path) -> PathBuf {
    copy_folder(&root().join("policies"), &folder.join("policies"));
    copy_folder(&root().join("prompts"), &folder.join("prompts"));
    folder.join("policies")
}

fn edit(file: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{from} in {}", file.display());
    std::fs::write(file, text.replacen(from, to, 1)).unwrap();
}

const TASKS: &str = "createTask        = { low_touch = \"auto\", mid_touch = \"auto\", strategic = \"auto\" }";
const TASKS_ASKED: &str =
    "createTask        = { low_touch = \"approve:csm\", mid_touch = \"auto\", strategic = \"auto\" }";

fn go(folder: &Path, args: &[&str]) -> Said {
    let mut all = args.to_vec();
    all.push("--json");
    run(PROGRAM, folder, &all)
}

async fn latest(url: &str) -> BTreeMap<AccountId, DecisionRow> {
    let overrides = Overrides {
        db: Some(url.to_owned()),
        ..Overrides::default()
    };
    let config = Config::load(&overrides).unwrap();
    let store = Store::open(&config.database, TenantId::DEFAULT, &config.limits.store())
        .await
        .unwrap();
    let ids = store.account_ids(None, 10_000).await.unwrap();
    let found = store.latest_decisions(&ids).await.unwrap();
    store.close().await;
    found
}

/// Verdicts by action.
fn verdicts(rows: &BTreeMap<AccountId, DecisionRow>) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for row in rows.values() {
        let decision: Decision = read("decision", &row.output.text().unwrap()).unwrap();
        for p in decision.proposals {
            found.insert(p.action.as_str().to_owned(), p.verdict.word());
        }
    }
    found
}

#[test]
fn what_a_diff_says_is_what_a_run_comes_to() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path();
    let data = demo_data(folder);
    let policies = policies(folder);
    let (a, b) = (folder.join("a"), folder.join("b"));
    let [a, b] = [&a, &b].map(|f| {
        std::fs::create_dir_all(f).unwrap();
        Database::sqlite(f)
    });
    for db in [&a, &b] {
        import(folder, &data, "demo", &db.url);
    }
    go(folder, &["run", "--once", "--as-of", DEMO_TIME, "--db", &a.url]).ok();
    let same = go(folder, &["policy", "diff", "--since", "3650d", "--db", &a.url])
        .ok()
        .json();
    assert_eq!(same["changed"], 0);
    assert!(same["actions"].as_u64().unwrap() > 10);
    let diff = || {
        let all = [
            "policy",
            "diff",
            "--since",
            "3650d",
            "--examples",
            "1000",
            "--db",
            &a.url,
        ];
        go(folder, &all).ok().json()
    };
    // Another table: asked about again without deciding anew, and the same as deciding anew, which an edit of a playbook makes it do
    // that changes nothing.
    edit(&policies.join("autonomy.toml"), TASKS, TASKS_ASKED);
    let quick = diff();
    edit(
        &policies.join("playbooks/qbr-due.toml"),
        "\n\n[effect]",
        "\n\n# The same.\n[effect]",
    );
    let whole = diff();
    for of_both in [
        "changed",
        "actions",
        "decisions",
        "accounts",
        "ways",
        "approvals",
        "examples",
    ] {
        assert_eq!(quick[of_both], whole[of_both], "{of_both}");
    }
    assert!(quick["changed"].as_u64().unwrap() > 0, "{quick}");
    assert_eq!((&quick["replayed"], &whole["asked_again"]), (&0.into(), &0.into()));
    assert_eq!(quick["asked_again"], whole["replayed"]);
    // And a playbook that asks for more.
    edit(&policies.join("playbooks/silent-account.toml"), ">= 90", ">= 9000");
    let found = diff();
    go(folder, &["run", "--once", "--as-of", DEMO_TIME, "--db", &b.url]).ok();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (was, now) = (
        verdicts(&runtime.block_on(latest(&a.url))),
        verdicts(&runtime.block_on(latest(&b.url))),
    );
    let mut expected: BTreeMap<(String, String), u64> = BTreeMap::new();
    let none = "not proposed".to_owned();
    for id in was.keys().chain(now.keys().filter(|id| !was.contains_key(*id))) {
        let (w, n) = (was.get(id).unwrap_or(&none), now.get(id).unwrap_or(&none));
        if w != n {
            *expected.entry((w.clone(), n.clone())).or_default() += 1;
        }
    }
    let said: BTreeMap<(String, String), u64> = found["ways"]
        .as_array()
        .unwrap()
        .iter()
        .map(|w| {
            let word = |key: &str| w[key].as_str().unwrap().to_owned();
            ((word("was"), word("now")), w["actions"].as_u64().unwrap())
        })
        .collect();
    assert_eq!(said, expected);
    assert!(
        expected.contains_key(&("auto".to_owned(), "approve:csm".to_owned())),
        "{expected:?}"
    );
    assert!(expected.keys().any(|(_, now)| now == "not proposed"), "{expected:?}");
    assert_eq!(found["changed"], expected.values().sum::<u64>());
    assert_eq!(
        found["examples"].as_array().unwrap().len() as u64,
        expected.values().sum::<u64>()
    );
}

#[test]
fn policies_come_into_force_by_people_and_only_two_of_them_widen() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path();
    let data = demo_data(folder);
    let policies = policies(folder);
    let db = Database::sqlite(folder);
    import(folder, &data, "demo", &db.url);
    std::fs::write(
        folder.join("perennial.toml"),
        format!(
            "database = \"{}\"\n[people]\nana = [\"vp_cs\"]\nben = [\"csm_manager\"]\ncarl = [\"csm\"]\n\
             [policy]\nsource = \"applied\"\nprove = false\nadmins = [\"ana\", \"ben\"]\n",
            db.url
        ),
    )
    .unwrap();
    let content = || go(folder, &["run", "--once", "--as-of", DEMO_TIME]).ok().json()["content"].clone();
    let before = go(folder, &["run", "--once", "--as-of", DEMO_TIME]);
    assert_eq!(before.code, 1);
    assert!(before.out.contains("perennial policy apply"), "{}", before.out);
    let carl = go(folder, &["policy", "apply", "--why", "first", "--as", "carl"]);
    assert_eq!(carl.code, 2);
    assert!(carl.out.contains("ana, ben"), "{}", carl.out);
    let first = go(folder, &["policy", "apply", "--why", "first", "--as", "ana"])
        .ok()
        .json();
    assert_eq!(first["outcome"], "in_force");
    assert_eq!(content(), first["hash"]);

    // Numbers reorder work: one person.
    edit(&policies.join("scoring.toml"), "slot_minutes", "slot_minutes ");
    let numbers = go(folder, &["policy", "apply", "--why", "numbers", "--as", "ben"])
        .ok()
        .json();
    assert_eq!(numbers["outcome"], "in_force");
    // A table that allows more: two people, and nothing changes before.
    edit(
        &policies.join("autonomy.toml"),
        "createNote        = { low_touch = \"auto\", mid_touch = \"auto\", strategic = \"approve:csm\" }",
        "createNote        = { low_touch = \"auto\", mid_touch = \"auto\", strategic = \"auto\" }",
    );
    let failing = go(folder, &["policy", "apply", "--why", "trust", "--as", "ana"]);
    assert_eq!(
        failing.code, 1,
        "a test of the policies stands against it: {}",
        failing.out
    );
    assert_eq!(content(), numbers["hash"]);
    edit(
        &policies.join("tests/table.toml"),
        "action  = \"createNote\"\naccount = { tier = \"strategic\" }\nexpect  = \"approve:csm\"",
        "action  = \"createNote\"\naccount = { tier = \"strategic\" }\nexpect  = \"auto\"",
    );
    let wide = go(folder, &["policy", "apply", "--why", "trust", "--as", "ana"])
        .ok()
        .json();
    assert_eq!(wide["outcome"], "proposed");
    assert_eq!(content(), numbers["hash"]);
    let hash = wide["hash"].as_str().unwrap().to_owned();
    let own = go(folder, &["policy", "confirm", &hash[..12], "--as", "ana"]);
    assert_eq!(own.code, 2, "{}", own.out);
    let other = go(folder, &["policy", "confirm", "0000", "--as", "ben"]);
    assert_eq!(other.code, 2, "{}", other.out);
    go(folder, &["policy", "confirm", &hash[..12], "--as", "ben"]).ok();
    assert_eq!(content(), wide["hash"]);

    // A folder that is not right changes nothing, and says so.
    edit(&policies.join("autonomy.toml"), "low_touch", "low_tuoch");
    assert_eq!(go(folder, &["policy", "apply", "--why", "typo", "--as", "ana"]).code, 2);
    assert_eq!(content(), wide["hash"]);
    let status = go(folder, &["policy", "status"]).ok().json();
    assert_eq!(status["in_force"], wide["hash"]);
    assert!(
        status["refused"]["why"].as_str().unwrap().contains("low_touch"),
        "{status}"
    );
    let doctor = run(PROGRAM, folder, &["doctor"]).out;
    let live = &wide["hash"].as_str().unwrap()[..12];
    assert!(doctor.contains(&format!("in force       {live} since ")), "{doctor}");
    assert!(doctor.contains(", by ana and ben: trust"), "{doctor}");
    assert!(
        doctor.contains("last refused") && doctor.contains("autonomy.toml:") && doctor.contains("low_touch"),
        "{doctor}"
    );
    assert!(
        status["folder"]["error"].as_str().unwrap().contains("low_touch"),
        "{status}"
    );
    assert_eq!(status["history"].as_array().unwrap().len(), 3);
    assert_eq!(status["history"][0]["confirmed_by"], "ben");

    // Back to what was: the same rules of people apply.
    let first = first["hash"].as_str().unwrap();
    let never = go(
        folder,
        &["policy", "rollback", "ffffffffffff", "--why", "x", "--as", "ana"],
    );
    assert_eq!(never.code, 2, "{}", never.out);
    let back = go(
        folder,
        &["policy", "rollback", &first[..12], "--why", "worse", "--as", "ana"],
    )
    .ok()
    .json();
    if back["outcome"] == "proposed" {
        go(folder, &["policy", "confirm", &first[..12], "--as", "ben"]).ok();
    }
    assert_eq!(content(), first);
    let ledger = go(folder, &["audit", "export"]).ok().out;
    for kind in ["policy_in_force", "policy_proposed", "policy_refused"] {
        assert!(ledger.contains(kind), "{kind}");
    }
    go(folder, &["audit", "verify"]).ok();
}

#[test]
fn what_is_tried_out_is_shown_and_has_no_effect() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path();
    let data = demo_data(folder);
    let policies = policies(folder);
    let db = Database::sqlite(folder);
    import(folder, &data, "demo", &db.url);
    std::fs::write(
        folder.join("perennial.toml"),
        format!(
            "database = \"{}\"\nclock = \"2026-09-14T08:00:00Z\"\n[people]\nana = [\"vp_cs\"]\n[policy]\nsource = \"applied\"\nprove = false\n",
            db.url
        ),
    )
    .unwrap();
    go(folder, &["policy", "apply", "--why", "first", "--as", "ana"]).ok();
    edit(&policies.join("autonomy.toml"), TASKS, TASKS_ASKED);
    go(folder, &["policy", "shadow", "on", "--why", "try", "--as", "ana"]).ok();
    let plain = go(folder, &["run", "--once", "--as-of", DEMO_TIME]).ok().json();
    let shown = go(folder, &["policy", "shadow", "show"]).ok().json();
    assert!(shown["difference"]["changed"].as_u64().unwrap() > 0, "{shown}");
    let again = go(folder, &["run", "--once", "--as-of", DEMO_TIME]).ok().json();
    assert_eq!(plain["decisions_hash"], again["decisions_hash"]);
    go(folder, &["policy", "shadow", "off", "--as", "ana"]).ok();
    assert_eq!(go(folder, &["policy", "shadow", "show"]).code, 2);
}

/// The page that teaches a change shows what the program prints. What is not compared: the name of the policies, which any edit
/// changes, and the example, which is the solver's choice.
#[test]
fn the_page_about_changing_policies_shows_what_plan_prints() {
    if crate::prove::prover("the_page_about_changing_policies_shows_what_plan_prints").is_none() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path();
    let data = demo_data(folder);
    let policies = policies(folder);
    let db = Database::sqlite(folder);
    import(folder, &data, "demo", &db.url);
    let config = format!("database = \"{}\"\nclock = \"{DEMO_TIME}\"\n", db.url);
    std::fs::write(folder.join("perennial.toml"), config).unwrap();
    run(PROGRAM, folder, &["run", "--once", "--as-of", DEMO_TIME]).ok();
    edit(&policies.join("autonomy.toml"), TASKS, TASKS_ASKED);
    let said = run(PROGRAM, folder, &["policy", "plan", "--since", "30d"]).ok().out;
    let lines: Vec<&str> = said.lines().map(str::trim_end).collect();
    let path = root().join("docs/src/admin/changing-policies.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once("```text\npolicies ").unwrap();
    let (shown, after) = rest.split_once("\n```\n").unwrap();
    let compared = |line: &str| line.split(": for example ").next().unwrap_or_default().to_owned();
    let shown: Vec<String> = shown.lines().skip(1).map(compared).collect();
    let said: Vec<String> = lines[1..].iter().copied().map(compared).collect();
    if shown != said && std::env::var_os("PERENNIAL_BLESS").is_some() {
        std::fs::write(&path, format!("{before}```text\n{}\n```\n{after}", lines.join("\n"))).unwrap();
        return;
    }
    assert_eq!(shown, said, "PERENNIAL_BLESS=1 writes the page");
    assert!(
        lines
            .iter()
            .any(|line| line.contains(": for example createTask, account {")),
        "{lines:?}"
    );
}

/// Folders swapped under a standing run.
const SWAPS: usize = 500;

#[test]
fn a_storm_of_folders_never_mixes_two_and_loses_no_decision() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(storm());
}

async fn storm() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path();
    let data = folder.join("data");
    std::fs::create_dir_all(&data).unwrap();
    let options = PortfolioOptions {
        accounts: 5,
        usage_weeks: 8,
        ..PortfolioOptions::default()
    };
    write_csv(&options, &data).unwrap();
    let policies = policies(folder);
    let db = Database::sqlite(folder);
    import(folder, &data, "demo", &db.url);
    let overrides = Overrides {
        config: None,
        db: Some(db.url.clone()),
        policies: Some(policies.clone()),
    };
    let config = Config::load(&overrides).unwrap();
    let store = Store::open(&config.database, TenantId::DEFAULT, &config.limits.store())
        .await
        .unwrap();
    let tools = Registry::new();
    let (_keep, stop) = tokio::sync::watch::channel(false);
    let engine = Engine {
        config: &config,
        store: &store,
        tools: &tools,
        stop,
    };
    let mut now: Timestamp = DEMO_TIME.parse().unwrap();
    let mut watch = Watch::begin(&engine, now).await.unwrap();
    let table = std::fs::read_to_string(policies.join("autonomy.toml")).unwrap();
    let (mut taken, mut passes) = (std::collections::BTreeSet::new(), 0);
    for swap in 0..SWAPS {
        // Three in four are right; the others are broken in one way or another.
        let text = match swap % 8 {
            3 => table.replace("strategic", "strategc"),
            7 => table[..table.len() / 2].to_owned(),
            _ => format!("{table}\n# {swap}\n"),
        };
        std::fs::write(policies.join("autonomy.toml"), text).unwrap();
        now = Timestamp::from_us(now.us() + 21_000_000);
        for _ in 0..3 {
            match watch.step(now).await.unwrap() {
                Step::PassDone(report) => {
                    passes += 1;
                    taken.insert(report.content);
                }
                Step::Pass { .. } | Step::Due { .. } | Step::Idle => {}
            }
        }
    }
    assert!(
        passes > 200 && taken.len() > 200,
        "{passes} passes, {} bundles",
        taken.len()
    );
    watch.finish(now).await.unwrap();
    let ids = store.account_ids(None, 1_000).await.unwrap();
    let mut compiled: BTreeMap<Hash, Policies> = BTreeMap::new();
    let mut seen = 0;
    for id in ids.iter().take(3) {
        for row in store.decisions_of(id, 50).await.unwrap() {
            if let std::collections::btree_map::Entry::Vacant(place) = compiled.entry(row.content) {
                let text = store.content(&row.content).await.unwrap().expect("the bundle is kept");
                let content = read("content", &text).unwrap();
                let policies = Policies::compile(&content);
                place.insert(policies.unwrap_or_else(|p| panic!("only what is right comes into force: {p:?}")));
            }
            let inputs: Inputs = read("inputs", &row.inputs.text().unwrap()).unwrap();
            assert_eq!(inputs.content, row.content);
            let again = canonical(&decide(&inputs, &compiled[&row.content]));
            assert_eq!(again, row.output.text().unwrap(), "one bundle made it, and only one");
            seen += 1;
        }
    }
    assert!(seen >= 100, "{seen}");
    assert_eq!(store.latest_decisions(&ids).await.unwrap().len(), ids.len());
    store.close().await;
}
