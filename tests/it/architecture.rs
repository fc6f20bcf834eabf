//! The arrows between the crates and the invariants that can be read from the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use perennial_tests::root;
use serde_json::Value;

/// The arrows there may be, beside those of the tests.
const ARROWS: &[(&str, &[&str])] = &[
    ("perennial-core", &[]),
    ("perennial-prove", &["perennial-core"]),
    ("perennial-store", &["perennial-core"]),
    ("perennial-tools", &["perennial-core"]),
    ("perennial-sandbox", &[]),
    (
        "perennial",
        &[
            "perennial-core",
            "perennial-prove",
            "perennial-sandbox",
            "perennial-store",
            "perennial-tools",
        ],
    ),
    (
        "perennial-tests",
        &[
            "perennial",
            "perennial-core",
            "perennial-prove",
            "perennial-sandbox",
            "perennial-store",
            "perennial-tools",
        ],
    ),
];

/// What the mind must not pull in, not even through others.
const NOT_IN_CORE: &[&str] = &[
    "tokio",
    "sqlx",
    "sqlx-core",
    "reqwest",
    "hyper",
    "axum",
    "mio",
    "socket2",
];

fn metadata() -> Value {
    // Only what this machine builds: crates for other systems need not have been fetched.
    let version = Command::new("rustc").arg("-vV").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    let host = version.lines().find_map(|l| l.strip_prefix("host: ")).unwrap();
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--offline",
            "--filter-platform",
            host,
        ])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Every arrow between crates of the workspace, as `cargo metadata` tells them: normal, build and test alike.
fn arrows(metadata: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let members: BTreeSet<&str> = metadata["workspace_members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m.as_str().unwrap())
        .collect();
    let packages = metadata["packages"].as_array().unwrap();
    let own: Vec<&Value> = packages
        .iter()
        .filter(|p| members.contains(p["id"].as_str().unwrap()))
        .collect();
    let names: BTreeSet<&str> = own.iter().map(|p| p["name"].as_str().unwrap()).collect();
    own.iter()
        .map(|package| {
            let to = package["dependencies"]
                .as_array()
                .unwrap()
                .iter()
                .map(|d| d["name"].as_str().unwrap());
            let to = to.filter(|name| names.contains(name)).map(str::to_owned).collect();
            (package["name"].as_str().unwrap().to_owned(), to)
        })
        .collect()
}

/// What is wrong with a set of arrows; empty when nothing is.
fn wrong(arrows: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let allowed: BTreeMap<&str, BTreeSet<&str>> = ARROWS
        .iter()
        .map(|(from, to)| (*from, to.iter().copied().collect()))
        .collect();
    let mut problems = Vec::new();
    for (from, to) in arrows {
        match allowed.get(from.as_str()) {
            None => problems.push(format!("{from} has no place in the plan of the house")),
            Some(may) => {
                problems.extend(
                    to.iter()
                        .filter(|t| !may.contains(t.as_str()))
                        .map(|t| format!("{from} -> {t}")),
                );
            }
        }
    }
    problems
}

#[test]
fn there_are_no_other_arrows_between_the_crates() {
    assert_eq!(wrong(&arrows(&metadata())), Vec::<String>::new());
}

#[test]
fn an_added_arrow_is_found() {
    let real = arrows(&metadata());
    for (from, to) in [
        ("perennial-core", "perennial-store"),
        ("perennial-store", "perennial-tools"),
        ("perennial-tools", "perennial-sandbox"),
    ] {
        let mut bent = real.clone();
        bent.get_mut(from).unwrap().insert(to.to_owned());
        assert_eq!(wrong(&bent), [format!("{from} -> {to}")]);
    }
}

#[test]
fn the_mind_pulls_in_no_runtime_no_database_and_no_network() {
    let metadata = metadata();
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let by_id: BTreeMap<&str, &Value> = nodes.iter().map(|n| (n["id"].as_str().unwrap(), n)).collect();
    let name_of: BTreeMap<&str, &str> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| (p["id"].as_str().unwrap(), p["name"].as_str().unwrap()))
        .collect();
    let core = name_of.iter().find(|(_, name)| **name == "perennial-core").unwrap().0;
    let mut seen = BTreeSet::from([*core]);
    let mut open = vec![*core];
    while let Some(id) = open.pop() {
        for dep in by_id[id]["deps"].as_array().unwrap() {
            let normal = dep["dep_kinds"].as_array().unwrap().iter().any(|k| k["kind"].is_null());
            let to = dep["pkg"].as_str().unwrap();
            if normal && seen.insert(to) {
                open.push(to);
            }
        }
    }
    let names: BTreeSet<&str> = seen.iter().map(|id| name_of[id]).collect();
    let found: Vec<&&str> = NOT_IN_CORE.iter().filter(|n| names.contains(**n)).collect();
    assert!(found.is_empty(), "core pulls in {found:?}");
    assert!(names.len() > 20, "the walk found only {} crates", names.len());
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') && name != "perennial-demo" {
                sources(&path, found);
            }
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

fn all_sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    sources(&root(), &mut found);
    found.sort();
    let root = root();
    found
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(&path).unwrap())
        })
        .collect()
}

#[test]
fn only_the_store_has_sql_only_tools_have_sockets_and_only_the_agent_starts_tasks() {
    let sql = ["sqlx::", "insert into ", "select * from", "delete from "];
    let sockets = ["reqwest::", "TcpStream::connect"];
    let tasks = ["tokio::spawn(", "std::thread::spawn", "spawn_blocking("];
    let mut problems = Vec::new();
    for (name, text) in all_sources() {
        if name.starts_with("tests/") || name.contains("/tests") || name.contains("test_kit") {
            continue;
        }
        let code: String = text
            .lines()
            .filter(|l| !l.trim_start().starts_with("//"))
            .collect::<Vec<_>>()
            .join("\n")
            .to_lowercase();
        let mut look = |words: &[&str], allowed: &[&str]| {
            if !allowed.iter().any(|a| name.starts_with(a)) {
                problems.extend(
                    words
                        .iter()
                        .filter(|w| code.contains(&w.to_lowercase()))
                        .map(|w| format!("{name}: `{w}`")),
                );
            }
        };
        look(&sql, &["agent/store/"]);
        // A collector of spans is no system that anything is done in.
        look(&sockets, &["tools/", "agent/src/telemetry/export.rs"]);
        look(&tasks, &["agent/src/", "tools/sandbox/"]);
    }
    assert_eq!(problems, Vec::<String>::new());
}

#[test]
fn no_source_file_is_long_without_a_reason() {
    let long: Vec<String> = all_sources()
        .into_iter()
        .filter(|(_, text)| {
            let lines = text.lines().count();
            lines > 800 || (lines > 600 && !text.lines().take(20).any(|l| l.to_lowercase().contains("long because")))
        })
        .map(|(name, text)| format!("{name}: {} lines", text.lines().count()))
        .collect();
    assert_eq!(long, Vec::<String>::new());
}

#[test]
fn permits_have_no_public_constructor() {
    let text = std::fs::read_to_string(root().join("agent/core/src/action.rs")).unwrap();
    let body = text
        .split("impl Permit {")
        .nth(1)
        .unwrap()
        .split("\nimpl ")
        .next()
        .unwrap();
    assert!(body.contains("pub(crate) fn new("), "the constructor is where it was");
    assert!(
        !body.contains("pub fn new("),
        "a permit may only come from a verdict or an approval"
    );
}

#[test]
fn content_folders_hold_no_rust() {
    for folder in ["policies", "prompts", "examples"] {
        let mut found = Vec::new();
        sources(&root().join(folder), &mut found);
        assert!(found.is_empty(), "{found:?}");
    }
}
