//! What a supervisor and a monitor are told: when a process is ready, and that the documents name every metric there is.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use perennial::config::{Config, Overrides};
use perennial::probes::Probes;
use perennial_core::ids::TenantId;
use perennial_store::Store;
use perennial_tests::{Database, root};
use tokio::runtime::Runtime;

use crate::workers::until;
use crate::world::{World, worlds};

/// Metrics that are there only once something has happened, as the document says of them.
const LATER: &[&str] = &["perennial_read_age_seconds", "perennial_reading_failed"];

async fn get(url: &str) -> (u16, String) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.get(url).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// Starts a command with a port and gives where it answers.
fn watched(world: &World, args: &[&str]) -> (Child, String) {
    let mut command = world.command(&[args, &["--metrics-port", "0"]].concat());
    let command = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let url = line.trim().strip_prefix("metrics at ").unwrap();
    (child, url.strip_suffix("/metrics").unwrap().to_owned())
}

/// Metrics by name: their kind and the names of their labels.
type Metrics = BTreeMap<String, (String, BTreeSet<String>)>;

/// What an endpoint serves.
fn served(text: &str) -> Metrics {
    let mut found = Metrics::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            found.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
        } else if !line.starts_with('#') && !line.is_empty() {
            let (series, _) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let of_histogram = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end))
                .filter(|name| found.contains_key(*name));
            let (_, known) = found
                .get_mut(of_histogram.unwrap_or(name))
                .unwrap_or_else(|| panic!("{line}"));
            for label in labels
                .trim_end_matches('}')
                .split(',')
                .filter(|label| !label.is_empty())
            {
                let label = label.split_once('=').unwrap().0;
                if label != "le" {
                    known.insert(label.to_owned());
                }
            }
        }
    }
    found
}

/// What the document says there is.
fn documented() -> Metrics {
    let page = std::fs::read_to_string(root().join("docs/src/operator/observability.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `perennial_"));
    let rows = rows.map(|row| {
        let (name, rest) = row.split_once('`').unwrap();
        let (name, labels) = name.trim_end_matches('}').split_once('{').unwrap_or((name, ""));
        let labels = labels.split(',').filter(|label| !label.is_empty());
        let kind = rest.split('|').nth(1).unwrap().trim();
        let name = format!("perennial_{name}");
        (name, (kind.to_owned(), labels.map(ToOwned::to_owned).collect()))
    });
    rows.collect()
}

#[test]
fn every_metric_is_documented_and_every_documented_metric_is_there_from_the_start() {
    let documented = documented();
    assert!(documented.len() > 30, "{documented:?}");
    for world in worlds("metrics_documented") {
        let runtime = Runtime::new().unwrap();
        let (mut child, url) = watched(&world, &["worker"]);
        let text = runtime.block_on(async {
            until("workers", async || {
                get(&format!("{url}/metrics")).await.1.contains("perennial_leader 1")
            })
            .await;
            get(&format!("{url}/metrics")).await.1
        });
        child.kill().unwrap();
        child.wait().unwrap();
        let served = served(&text);
        for (name, (kind, labels)) in &served {
            let (said, named) = documented
                .get(name)
                .unwrap_or_else(|| panic!("{name} is served and not documented"));
            assert_eq!((kind, labels), (said, named), "{name}");
            let counts = name.ends_with("_total");
            assert_eq!(
                counts,
                kind == "counter",
                "{name}: a counter ends with _total, and nothing else does"
            );
        }
        for name in documented.keys() {
            let expected = !LATER.contains(&name.as_str());
            assert_eq!(served.contains_key(name), expected, "{name}");
        }
        let help = text.lines().filter(|line| line.starts_with("# HELP ")).count();
        assert_eq!(help, served.len(), "every metric has a sentence");
        world.end();
    }
}

#[test]
fn what_waits_is_told_by_age_and_the_ledger_is_followed() {
    for world in worlds("metrics_of_a_run") {
        world.run().ok();
        let waiting = world.go(&["queue", "list"]).ok().json().as_array().unwrap().len();
        assert!(waiting > 3);
        let entries = world.go(&["audit", "verify"]).ok().json()["entries"].as_i64().unwrap();
        let runtime = Runtime::new().unwrap();
        let (mut child, url) = watched(&world, &["worker"]);
        let (_, text) = runtime.block_on(get(&format!("{url}/metrics")));
        child.kill().unwrap();
        child.wait().unwrap();
        let value = |series: &str| -> f64 {
            let found = text
                .lines()
                .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
            found
                .unwrap_or_else(|| panic!("{series} is not in {text}"))
                .parse()
                .unwrap()
        };
        #[allow(clippy::cast_precision_loss, reason = "small counts")]
        let (waiting, entries) = (waiting as f64, entries as f64);
        assert!(value("perennial_approvals{age=\"1h\"}") > 0.0 && value("perennial_approvals{age=\"1h\"}") <= waiting);
        for age in ["4h", "1d", "3d", "7d", "older"] {
            assert!(
                value(&format!("perennial_approvals{{age=\"{age}\"}}")).abs() < 0.5,
                "{age}: {text}"
            );
        }
        assert!(value("perennial_approval_age_seconds") > 0.0, "{text}");
        assert!((value("perennial_ledger_entries") - entries).abs() < 0.5, "{text}");
        assert!(
            (value("perennial_ledger_verified_entries") - entries.min(5_000.0)).abs() < 0.5,
            "{text}"
        );
        assert!(value("perennial_ledger_broken").abs() < 0.5, "{text}");
        for tool in ["salesforce", "hubspot"] {
            let left = |lane: &str| value(&format!("perennial_calls_left{{tool=\"{tool}\",lane=\"{lane}\"}}"));
            assert!(left("urgent") > left("normal") && left("normal") > 0.0, "{text}");
            assert!(value(&format!("perennial_breaker_open{{tool=\"{tool}\"}}")).abs() < 0.5);
        }
        world.end();
    }
}

#[test]
fn a_broken_ledger_shows_without_anybody_asking() {
    let Some(db) = Database::postgres("metrics_of_a_broken_ledger") else {
        return;
    };
    let world = World::new(db, tempfile::tempdir().unwrap());
    world.run().ok();
    // A head that was set back: what stands behind it is one thing too many.
    let set_back =
        "update ledger_head set seq = seq - 2, hash = (select l.hash from ledger l where l.seq = ledger_head.seq - 2)";
    world.sql(set_back);
    let verified = world.go(&["audit", "verify"]);
    let why = verified.json()["broken"]["why"].to_string();
    assert!(verified.code == 1 && why.contains("the head says"), "{verified:?}");
    world.sql("update ledger set body = '{\"altered\":true}' where seq = 7");
    let runtime = Runtime::new().unwrap();
    let (mut child, url) = watched(&world, &["worker"]);
    let (_, text) = runtime.block_on(get(&format!("{url}/metrics")));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(text.contains("\nperennial_ledger_broken 1\n"), "{text}");
    assert!(text.contains("\nperennial_ledger_verified_entries 6\n"), "{text}");
    world.end();
}

#[test]
fn a_process_is_not_ready_without_its_database_or_with_an_old_schema_and_lives_all_the_same() {
    let temp = tempfile::tempdir().unwrap();
    let runtime = Runtime::new().unwrap();
    for db in Database::both("ready", temp.path()) {
        runtime.block_on(async {
            let config = Config::load(&Overrides {
                db: Some(db.url.clone()),
                ..Overrides::default()
            })
            .unwrap();
            let url = db.url.parse().unwrap();
            let store = Store::open(&url, TenantId::DEFAULT, &config.limits.store())
                .await
                .unwrap();
            let probes = Probes::start(0, store.clone(), &config).await.unwrap();
            let at = format!("http://{}", probes.address());
            let alive = async || assert_eq!(get(&format!("{at}/healthz")).await, (200, "alive\n".to_owned()));
            // Nothing has been migrated yet: a schema that is too old.
            let (status, why) = get(&format!("{at}/readyz")).await;
            assert_eq!(status, 503, "{why}");
            assert!(why.contains("schema") && why.contains("migrate"), "{why}");
            alive().await;
            store.migrate().await.unwrap();
            let (status, said) = get(&format!("{at}/readyz")).await;
            assert_eq!(status, 200, "{said}");
            assert!(said.starts_with("ready, schema "), "{said}");
            if db.kind == "postgres" {
                db.gone();
                let (status, why) = get(&format!("{at}/readyz")).await;
                assert_eq!(status, 503, "{why}");
                alive().await;
                let (status, text) = get(&format!("{at}/metrics")).await;
                assert_eq!(status, 200, "metrics are there in any case");
                // Which recorder this process has depends on which test began first.
                assert!(text.is_empty() || text.contains("perennial_database_up 0"), "{text}");
            }
            drop(probes);
            store.close().await;
        });
    }
}
