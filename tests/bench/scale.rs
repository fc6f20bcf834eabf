//! Benchmark of deciding alone: time and memory against the number of accounts.
//!
//! `cargo bench -p perennial-tests --bench scale -- [ACCOUNTS...]` (default 10,000, 100,000 and 1,000,000): the snapshots of 2,000 made-up
//! accounts with 26 weeks of use, again and again under other ids, in batches in memory, on all cores. Twenty playbooks hold for
//! every account. Beside it a plain pass that only computes the features of the same snapshots.

use std::path::Path;
use std::time::Instant;

use perennial::config::{Config, Overrides};
use perennial::demo::portfolio::{PortfolioOptions, write_csv};
use perennial::intake::{ImportOptions, Mapping, import};
use perennial_core::decide::{Inputs, decide};
use perennial_core::feature;
use perennial_core::ids::{AccountId, TenantId};
use perennial_core::policy::Policies;
use perennial_core::signal::Crm;
use perennial_core::snapshot::Snapshot;
use perennial_core::time::Timestamp;
use perennial_store::Store;
use perennial_tests::{Database, root};

/// Different accounts.
const DIFFERENT: u32 = 2_000;
/// Playbooks that hold for every account.
const PLAYBOOKS: usize = 20;

fn main() {
    let sizes: Vec<usize> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .map(|a| a.parse().expect("a number of accounts"))
        .collect();
    let sizes = if sizes.is_empty() {
        vec![10_000, 100_000, 1_000_000]
    } else {
        sizes
    };
    let temp = tempfile::tempdir().expect("a temporary folder");
    let policies = write_policies(temp.path());
    let overrides = Overrides {
        config: None,
        db: Some(Database::sqlite(temp.path()).url.clone()),
        policies: Some(policies),
    };
    let config = Config::load(&overrides).expect("a configuration");
    let (_, policies) = perennial::content::compile(&config).expect("policies");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let inputs = runtime.block_on(inputs(&config, &policies, temp.path()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    println!("{PLAYBOOKS} playbooks that hold for every account, {threads} threads");
    for accounts in sizes {
        let plain = timed(&inputs, accounts, threads, |inputs| {
            feature::compute(&inputs.snapshot, &policies.settings).0.0.len()
        });
        let full = timed(&inputs, accounts, threads, |inputs| {
            let decision = decide(inputs, &policies);
            decision.proposals.len() + decision.notes.len()
        });
        println!(
            "{accounts:>9} accounts: decided in {:.1} s = {:.0}/s, {:.1} proposals and notes each; plain pass {:.1} s, ratio {:.1}; peak \
             memory {} MB",
            full.0,
            accounts as f64 / full.0,
            full.1 as f64 / accounts as f64,
            plain.0,
            full.0 / plain.0,
            peak_mb()
        );
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

/// Seconds, and the sum of what `work` gives, over so many accounts on so many threads.
fn timed(inputs: &[Inputs], accounts: usize, threads: usize, work: impl Fn(&Inputs) -> usize + Sync) -> (f64, usize) {
    let start = clock();
    let sum = std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|part| {
                let work = &work;
                scope.spawn(move || {
                    let mut sum = 0;
                    for number in (part..accounts).step_by(threads) {
                        let mut one = inputs[number % inputs.len()].clone();
                        one.snapshot.account_id =
                            AccountId::new(format!("{}-{number}", one.snapshot.account_id.as_str()));
                        sum += work(&one);
                    }
                    sum
                })
            })
            .collect();
        parts.into_iter().map(|part| part.join().expect("a thread ends")).sum()
    });
    (start.elapsed().as_secs_f64(), sum)
}

/// The shipped policies with twenty playbooks that always hold in place of the shipped ones.
fn write_policies(folder: &Path) -> std::path::PathBuf {
    let (from, to) = (root().join("policies"), folder.join("policies"));
    copy(&from, &to);
    // Their cases are about the playbooks that go.
    std::fs::remove_dir_all(to.join("tests")).expect("removes");
    std::fs::remove_dir_all(to.join("playbooks")).expect("removes");
    std::fs::create_dir_all(to.join("playbooks")).expect("a folder");
    let shipped = std::fs::read_to_string(from.join("playbooks/silent-account.toml")).expect("a playbook");
    for number in 0..PLAYBOOKS {
        let text: String = shipped
            .lines()
            .map(|line| {
                if line.starts_with("when ") {
                    "when = 'resource.tier == \"low_touch\" || resource.tier != \"low_touch\"'\n".to_owned()
                } else {
                    format!("{line}\n")
                }
            })
            .collect();
        std::fs::write(to.join(format!("playbooks/playbook-{number:02}.toml")), text).expect("writes");
    }
    copy(&root().join("prompts"), &folder.join("prompts"));
    to
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).expect("copies");
        }
    }
}

async fn inputs(config: &Config, policies: &Policies, folder: &Path) -> Vec<Inputs> {
    let data = folder.join("data");
    std::fs::create_dir_all(&data).expect("a folder");
    let options = PortfolioOptions {
        accounts: DIFFERENT,
        usage_weeks: 26,
        ..PortfolioOptions::default()
    };
    write_csv(&options, &data).expect("a portfolio");
    let store = Store::open(&config.database, TenantId::DEFAULT, &config.limits.store())
        .await
        .expect("a database");
    store.migrate().await.expect("a schema");
    let mapping = Mapping::load(&root().join("examples/mappings/demo.toml")).expect("a mapping");
    import(&store, &data, &mapping, &ImportOptions::new(folder), |_| {})
        .await
        .expect("an import");
    let ids = store.account_ids(None, DIFFERENT).await.expect("accounts");
    let signals = store.account_signals(&ids).await.expect("signals");
    store.close().await;
    let as_of: Timestamp = "2026-09-15T08:00:00Z".parse().expect("a time");
    signals
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
        .collect()
}
