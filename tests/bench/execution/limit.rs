//! Eight workers that share one limit of calls, which the CRM enforces: calls above it, and how much of it they use.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use perennial::clock::Clock;
use perennial::config::{Config, Overrides};
use perennial::cycle::Engine;
use perennial::worker;
use perennial_core::action::ActionKind;
use perennial_core::signal::Crm;
use perennial_sandbox::{Enforcement, Limits, Options, Sandbox, Seed, SeedRecord};
use perennial_tests::work;

use crate::rows::Rows;
use crate::server::Server;
use crate::work::opened;

const WORKERS: usize = 8;
/// Calls in ten seconds that HubSpot allows here.
const ALLOWED: u32 = 2_000;
/// Calls a second and at once that we allow ourselves of it, so that no ten seconds have more.
const PER_SECOND: u32 = 195;
const AT_ONCE: u32 = 20;
/// How long it goes on: three of those windows.
const SECONDS: u64 = 30;
const ACCOUNTS: usize = 1_000;
const EACH: usize = 8;

/// Runs it.
pub(crate) async fn all(rows: &mut Rows, server: &Server, folder: &Path) {
    let company = |n| {
        SeedRecord::new("companies")
            .field("name", format!("Customer {n}"))
            .field("perennial_account_id", work::account(n).as_str())
    };
    let options = Options {
        seed: Seed {
            hubspot: (0..ACCOUNTS).map(company).collect(),
            ..Seed::default()
        },
        ..Options::default()
    };
    let sandbox = Sandbox::start(options).await.expect("servers");
    sandbox.set_limits(Limits {
        hubspot_burst: ALLOWED,
        hubspot_burst_rule: Enforcement::Enforced,
        ..Limits::default()
    });
    let url = server.fresh("bench_limit").await;
    let config = config(&url, folder, &sandbox);
    let store = opened(&url, 1, 4).await;
    let now = Clock::System.now();
    let one = |n: usize| {
        work::permitted(
            n % ACCOUNTS,
            &n.to_string(),
            &[Crm::HubSpot],
            ActionKind::CREATE_NOTE,
            now,
        )
    };
    let commits: Vec<_> = (0..ACCOUNTS * EACH).map(one).collect();
    for some in commits.chunks(500) {
        store.commit_decisions(&work::run(), some, now).await.expect("commits");
    }
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let config = Arc::new(config);
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        let (config, stop, url) = (Arc::clone(&config), stopped.clone(), url.clone());
        workers.push(tokio::spawn(async move {
            let store = opened(&url, 1, 3).await;
            let tools = config.tools_of(&store).expect("tools");
            let engine = Engine {
                config: &config,
                store: &store,
                tools: &tools,
                stop,
            };
            worker::work(&engine).await.expect("works");
            store.close().await;
        }));
    }
    tokio::time::sleep(Duration::from_secs(SECONDS)).await;
    let calls = sandbox.calls();
    stop.send(true).expect("they listen");
    for worker in workers {
        worker.await.expect("ends");
    }
    let unfinished = store.effect_counts(None).await.expect("counts").waiting;
    assert!(unfinished > 0, "there was too little to do");
    let above = calls.iter().filter(|call| call.status == Some(429)).count();
    let made = calls.len() - above;
    let most = f64::from(ALLOWED) * f64::from(u32::try_from(SECONDS).expect("few")) / 10.0;
    #[expect(clippy::cast_precision_loss, reason = "a share for people")]
    let (above, used) = (above as f64, made as f64 / most * 100.0);
    let what = format!("{ALLOWED} calls in 10 s allowed, {SECONDS} s");
    let workers = format!("{WORKERS} in 1 process");
    rows.add(
        "ours.limit.above",
        "PostgreSQL",
        &format!("{what}: calls refused"),
        &workers,
        (above, "calls"),
    );
    rows.add(
        "ours.limit.used",
        "PostgreSQL",
        &format!("{what}: share used"),
        &workers,
        (used, "%"),
    );
    store.close().await;
    sandbox.shutdown().await;
    server.gone("bench_limit").await;
}

fn config(url: &str, folder: &Path, sandbox: &Sandbox) -> Config {
    let folder = folder.join("limit");
    std::fs::create_dir_all(&folder).expect("a folder");
    let hubspot = sandbox.hubspot();
    std::fs::write(folder.join("token"), &hubspot.token).expect("writes");
    let text = format!(
        "[crm]\ndefault = \"hubspot\"\n[hubspot]\nbase_url = \"{}\"\ntoken_file = \"token\"\n[limits]\n\
         requests_per_second = {PER_SECOND}\nrequest_burst = {AT_ONCE}\neffects_per_lease = 1\nbatched_per_lease = 1\n",
        hubspot.url
    );
    let file = folder.join("perennial.toml");
    std::fs::write(&file, text).expect("writes");
    let overrides = Overrides {
        config: Some(file),
        db: Some(url.to_owned()),
        policies: None,
    };
    Config::load(&overrides).expect("a configuration")
}
