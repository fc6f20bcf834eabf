//! Benchmark of `policy diff`: stored decisions under edited policies.
//!
//! `cargo bench -p perennial-tests --bench whatif -- [ACCOUNTS] [DAYS]` (default 10,000 accounts and 90 days) decides about a made-up
//! portfolio once a day on SQLite, and measures how long it takes to go through all of it when only the table was edited, and when a
//! playbook was edited too, so that everything is decided anew.

use std::sync::Arc;
use std::time::Instant;

use perennial::clock::Clock;
use perennial::config::{Config, Overrides};
use perennial::content;
use perennial::cycle::{Engine, RunOptions, run_once};
use perennial::demo::portfolio::{PortfolioOptions, write_csv};
use perennial::intake::{ImportOptions, Mapping, import};
use perennial::whatif::difference;
use perennial_core::ids::TenantId;
use perennial_core::policy::{Content, Policies};
use perennial_core::time::Timestamp;
use perennial_store::Store;
use perennial_tests::{Database, root};
use perennial_tools::Registry;

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn clock() -> Instant {
    Instant::now()
}

fn main() {
    let args: Vec<u32> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .map(|a| a.parse().expect("a number"))
        .collect();
    let accounts = args.first().copied().unwrap_or(10_000);
    let days = args.get(1).copied().unwrap_or(90);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(measure(accounts, days));
}

async fn measure(accounts: u32, days: u32) {
    let temp = tempfile::tempdir().expect("a temporary folder");
    let data = temp.path().join("data");
    std::fs::create_dir_all(&data).expect("a folder");
    let options = PortfolioOptions {
        accounts,
        usage_weeks: 26,
        ..PortfolioOptions::default()
    };
    write_csv(&options, &data).expect("a portfolio");
    let db = Database::sqlite(temp.path());
    let overrides = Overrides {
        config: None,
        db: Some(db.url.clone()),
        policies: Some(root().join("policies")),
    };
    let mut config = Config::load(&overrides).expect("a configuration");
    let store = Store::open(&config.database, TenantId::DEFAULT, &config.limits.store())
        .await
        .expect("a database");
    store.migrate().await.expect("a schema");
    let mapping = Mapping::load(&root().join("examples/mappings/demo.toml")).expect("a mapping");
    import(&store, &data, &mapping, &ImportOptions::new(temp.path()), |_| {})
        .await
        .expect("an import");
    let tools = Registry::new();
    let (_keep, stop) = tokio::sync::watch::channel(false);
    let last: Timestamp = "2026-09-15T08:00:00Z".parse().expect("a time");
    let start = clock();
    for day in (0..i64::from(days)).rev() {
        let as_of = last.plus_days(-day);
        config.clock = Clock::starting(as_of);
        let engine = Engine {
            config: &config,
            store: &store,
            tools: &tools,
            stop: stop.clone(),
        };
        let options = RunOptions {
            as_of,
            live: false,
            dry_run: false,
        };
        run_once(&engine, &options, &mut |_| {}).await.expect("a run");
    }
    println!(
        "{accounts} accounts, {days} days, decided in {:.0} s",
        start.elapsed().as_secs_f64()
    );
    let mut edited = content::load(&config).expect("the policies");
    let table = edited.policies.get_mut("autonomy.toml").expect("a table");
    *table = table.replacen(
        "createTask        = { low_touch = \"auto\"",
        "createTask        = { low_touch = \"approve:csm\"",
        1,
    );
    through(&config, &store, &edited, "only the table").await;
    let playbook = edited.policies.get_mut("playbooks/qbr-due.toml").expect("a playbook");
    playbook.push('\n');
    through(&config, &store, &edited, "a playbook too").await;
    store.close().await;
}

async fn through(config: &Config, store: &Store, edited: &Content, what: &str) {
    let policies = Arc::new(Policies::compile(edited).expect("right"));
    let threads = config.limits.decide_threads();
    let start = clock();
    let found = difference(store, Timestamp::EPOCH, (edited, &policies), threads, 10, &mut |_| {})
        .await
        .expect("compared");
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{what}: {} decisions in {seconds:.1} s, {:.0} a second on {threads} threads; {} asked about again, {} decided anew; {} of {} \
         actions change",
        found.decisions,
        found.decisions as f64 / seconds,
        found.asked_again,
        found.replayed,
        found.changed,
        found.actions
    );
}
