//! Benchmarks of the main job: import, decide, the full cycle.
//!
//! `cargo bench -p perennial-tests --bench pipeline -- [ACCOUNTS] [WEEKS]` (default 10,000 accounts, 26 weeks of use), on SQLite, and
//! on PostgreSQL where `PERENNIAL_TEST_PG` names a server. Each stage is a process of its own, so that its peak memory is its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use perennial::config::{Config, Overrides};
use perennial::cycle::{Engine, RunOptions, run_once};
use perennial::demo::portfolio::{PortfolioOptions, write_csv};
use perennial::intake::{ImportOptions, Mapping, import};
use perennial_core::decide::{Inputs, decide};
use perennial_core::ids::TenantId;
use perennial_core::signal::Crm;
use perennial_core::snapshot::Snapshot;
use perennial_core::time::Timestamp;
use perennial_store::Store;
use perennial_tests::{Database, root};
use perennial_tools::Registry;

/// Accounts that the decide-only stage holds in memory.
const DECIDE_ACCOUNTS: u32 = 2_000;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    if let [stage, folder, url] = args.as_slice() {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(stage_of(stage, Path::new(folder), url));
        return;
    }
    let accounts: u32 = args
        .first()
        .map_or(10_000, |a| a.parse().expect("a number of accounts"));
    let weeks: u32 = args.get(1).map_or(26, |a| a.parse().expect("a number of weeks"));
    let temp = tempfile::tempdir().expect("a temporary folder");
    let data = temp.path().join("data");
    std::fs::create_dir_all(&data).expect("a folder");
    let options = PortfolioOptions {
        accounts,
        usage_weeks: weeks,
        ..PortfolioOptions::default()
    };
    let start = clock();
    let summary = write_csv(&options, &data).expect("a portfolio");
    let rows: u64 = summary.rows.values().sum();
    println!(
        "generated {accounts} accounts, {rows} rows in {:.1} s",
        start.elapsed().as_secs_f64()
    );
    for db in Database::both("bench", temp.path()) {
        println!("-- {}", db.kind);
        for stage in ["import", "decide", "cycle"] {
            let program = std::env::current_exe().expect("this program");
            let folder: PathBuf = temp.path().to_owned();
            let status = Command::new(program)
                .args([stage])
                .arg(folder)
                .arg(&db.url)
                .status()
                .expect("a stage starts");
            assert!(status.success(), "{stage} failed");
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn clock() -> Instant {
    Instant::now()
}

/// Peak resident memory of this process in megabytes.
fn peak_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok())
        .unwrap_or(0)
        / 1024
}

fn report(stage: &str, count: u64, unit: &str, seconds: f64) {
    println!(
        "{stage:<8} {count} {unit} in {seconds:.1} s = {:.0} {unit}/s, peak memory {} MB",
        count as f64 / seconds,
        peak_mb()
    );
}

async fn stage_of(stage: &str, folder: &Path, url: &str) {
    let overrides = Overrides {
        config: None,
        db: Some(url.to_owned()),
        policies: Some(root().join("policies")),
    };
    let config = Config::load(&overrides).expect("a configuration");
    let store = Store::open(&config.database, TenantId::DEFAULT, &config.limits.store())
        .await
        .expect("a database");
    store.migrate().await.expect("a schema");
    let as_of: Timestamp = "2026-09-15T08:00:00Z".parse().expect("a time");
    match stage {
        "import" => {
            let mapping = Mapping::load(&root().join("examples/mappings/demo.toml")).expect("a mapping");
            let start = clock();
            let result = import(
                &store,
                &folder.join("data"),
                &mapping,
                &ImportOptions::new(folder),
                |_| {},
            )
            .await;
            let result = result.expect("an import");
            assert_eq!(result.read, result.stored + result.duplicate + result.rejected);
            report("import", result.read, "rows", start.elapsed().as_secs_f64());
        }
        "decide" => {
            let (_, policies) = perennial::content::compile(&config).expect("policies");
            let ids = store.account_ids(None, DECIDE_ACCOUNTS).await.expect("accounts");
            let signals = store.account_signals(&ids).await.expect("signals");
            let inputs: Vec<Inputs> = signals
                .into_iter()
                .map(|(id, signals)| Inputs {
                    plays: Vec::new(),
                    earned: Vec::new(),
                    tenant: TenantId::DEFAULT,
                    content: policies.content,
                    default_crm: Crm::Salesforce,
                    our_name: None,
                    snapshot: Snapshot::of(id, as_of, signals, Vec::new(), policies.settings.usage_days),
                    owner: None,
                    peers: Default::default(),
                    feeds: perennial_core::feature::Feeds::default(),
                    health_before: Vec::new(),
                })
                .collect();
            let start = clock();
            let proposals: usize = inputs.iter().map(|i| decide(i, &policies).proposals.len()).sum();
            let seconds = start.elapsed().as_secs_f64();
            report("decide", inputs.len() as u64, "accounts", seconds);
            println!("         on one core, {proposals} proposals");
        }
        "cycle" => {
            let tools = Registry::new();
            let (_keep, stop) = tokio::sync::watch::channel(false);
            let engine = Engine {
                config: &config,
                store: &store,
                tools: &tools,
                stop,
            };
            let start = clock();
            let run = run_once(
                &engine,
                &RunOptions {
                    as_of,
                    live: false,
                    dry_run: false,
                },
                &mut |_| {},
            )
            .await
            .expect("a run");
            report("cycle", run.accounts, "accounts", start.elapsed().as_secs_f64());
        }
        other => panic!("there is no stage `{other}`"),
    }
    store.close().await;
}
