//! Benchmark of approvals: how long from a person's yes to the moment at which the CRM's adapter is called.
//!
//! `cargo bench -p perennial-tests --bench approve -- [PENDING]` (default 1,000; at least so many actions wait): a worker stands by while one after the other
//! is approved, on SQLite, and on PostgreSQL where `PERENNIAL_TEST_PG` names a server.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use perennial::clock::Clock;
use perennial::config::{Config, Overrides};
use perennial::content;
use perennial::cycle::{Engine, RunOptions, run_once};
use perennial::demo::portfolio::{PortfolioOptions, write_csv};
use perennial::intake::{ImportOptions, Mapping, import};
use perennial::people::People;
use perennial::queue::decide;
use perennial::worker::work;
use perennial_core::action::{ActionKind, ActionState, Effect, Receipt, effects_hash};
use perennial_core::approval::Event;
use perennial_core::ids::TenantId;
use perennial_core::signal::{Crm, OwnerRole};
use perennial_core::time::Timestamp;
use perennial_store::{ActionRow, QueueFilter, Store};
use perennial_tests::hands::{CarryOut, InProcess, created};
use perennial_tests::{Database, copy_folder, root};
use perennial_tools::{Registry, SendError};

/// When the portfolio was looked at.
const AS_OF: &str = "2026-09-15T08:00:00Z";
/// Of two approvals the second comes so much later.
const APART: Duration = Duration::from_millis(20);

fn main() {
    let args: Vec<usize> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .map(|a| a.parse().expect("a number"))
        .collect();
    let pending = args.first().copied().unwrap_or(1_000);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    println!("| database | waiting | approved | p50, ms | p99, ms | longest, ms |\n|---|---|---|---|---|---|");
    for kind in ["SQLite", "PostgreSQL"] {
        let temp = tempfile::tempdir().expect("a temporary folder");
        let database = match kind {
            "SQLite" => Some(Database::sqlite(temp.path())),
            _ => Database::postgres("approve"),
        };
        if let Some(database) = database {
            runtime.block_on(measure(kind, &database.url, temp.path(), pending));
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn clock() -> Instant {
    Instant::now()
}

/// A CRM that notes when it was called, and for what.
#[derive(Default)]
struct Called(Mutex<BTreeMap<String, Instant>>);

impl CarryOut for Called {
    fn carry_out(&self, effect: &Effect, at: Timestamp) -> Result<Receipt, SendError> {
        let action = effect.action.to_string();
        // The first effect of an action counts.
        self.0
            .lock()
            .expect("nobody panicked")
            .entry(action)
            .or_insert_with(clock);
        Ok(created(effect, "Task", at))
    }
}

/// The shipped policies, except that a CSM approves every task.
fn policies(at: &Path) {
    copy_folder(&root().join("policies"), at);
    let file = at.join("autonomy.toml");
    let text = std::fs::read_to_string(&file).expect("the table");
    let row = |level: &str| {
        let cells = ["low_touch", "mid_touch", "strategic"].map(|tier| format!("{tier} = \"{level}\""));
        format!("createTask        = {{ {} }}", cells.join(", "))
    };
    assert!(text.contains(&row("auto")), "the row of tasks has changed");
    std::fs::write(file, text.replace(&row("auto"), &row("approve:csm"))).expect("writes");
}

async fn measure(kind: &str, url: &str, folder: &Path, pending: usize) {
    let own = folder.join("policies");
    policies(&own);
    let overrides = Overrides {
        config: None,
        db: Some(url.to_owned()),
        policies: Some(own),
    };
    let mut config = Config::load(&overrides).expect("a configuration");
    config.clock = Clock::starting(AS_OF.parse().expect("a time"));
    config.people.insert("ana".to_owned(), vec![OwnerRole::CSM]);
    let store = Store::open(&config.database, TenantId::DEFAULT, &config.limits.store())
        .await
        .expect("a database");
    store.migrate().await.expect("a schema");
    let data = folder.join("data");
    std::fs::create_dir_all(&data).expect("a folder");
    let options = PortfolioOptions {
        accounts: u32::try_from(pending * 4).expect("a number of accounts"),
        ..PortfolioOptions::default()
    };
    write_csv(&options, &data).expect("a portfolio");
    let mapping = Mapping::load(&root().join("examples/mappings/demo.toml")).expect("a mapping");
    import(&store, &data, &mapping, &ImportOptions::new(folder), |_| {})
        .await
        .expect("an import");
    let called = Arc::new(Called::default());
    let tools = Registry::new().with(Arc::new(InProcess(Arc::clone(&called))));
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let engine = Engine {
        config: &config,
        store: &store,
        tools: &tools,
        stop: stopped,
    };
    let run = RunOptions {
        as_of: AS_OF.parse().expect("a time"),
        live: false,
        dry_run: false,
    };
    run_once(&engine, &run, &mut |_| {}).await.expect("a run");
    let filter = QueueFilter {
        states: vec![ActionState::Pending],
        kinds: vec![ActionKind::CREATE_TASK],
        limit: 1_000_000,
        ..QueueFilter::default()
    };
    let waiting: Vec<ActionRow> = store.queue(&filter).await.expect("a queue");
    let all = waiting.len();
    let waiting: Vec<ActionRow> = waiting.into_iter().filter(for_salesforce).take(pending).collect();
    assert!(waiting.len() >= pending.min(100), "only {} tasks wait", waiting.len());
    called.0.lock().expect("nobody panicked").clear();
    let approving = async {
        let asked = approve_all(&config, &store, &waiting).await;
        while called.0.lock().expect("nobody panicked").len() < asked.len() {
            tokio::time::sleep(APART).await;
        }
        stop.send(true).expect("the worker listens");
        asked
    };
    let (worked, asked) = tokio::join!(work(&engine), approving);
    worked.expect("works");
    let mut took: Vec<f64> = {
        let called = called.0.lock().expect("nobody panicked");
        let wait = |(action, at): &(String, Instant)| called[action].duration_since(*at).as_secs_f64() * 1_000.0;
        asked.iter().map(wait).collect()
    };
    took.sort_by(f64::total_cmp);
    let at = |share: usize| took[(took.len() * share / 100).min(took.len() - 1)];
    println!(
        "| {kind} | {all} | {} | {:.0} | {:.0} | {:.0} |",
        took.len(),
        at(50),
        at(99),
        at(100)
    );
    store.close().await;
}

fn for_salesforce(row: &ActionRow) -> bool {
    let effects: Vec<Effect> = serde_json::from_str(&row.effects).expect("effects");
    effects.iter().all(|effect| effect.tool == Crm::Salesforce)
}

/// Approves one after the other; when each was asked for.
async fn approve_all(config: &Config, store: &Store, waiting: &[ActionRow]) -> Vec<(String, Instant)> {
    let (_, policies) = content::compile(config).expect("the policies");
    let people = People::read(config, store).await.expect("people");
    let person = people.person(config, store, Some("ana")).await.expect("ana");
    let mut asked = Vec::new();
    for row in waiting {
        let effects: Vec<Effect> = serde_json::from_str(&row.effects).expect("effects");
        let event = Event::Approve {
            seen: effects_hash(&effects),
            reason: None,
        };
        let at = clock();
        decide(config, store, row, &event, (&person, &people), &policies)
            .await
            .expect("is approved");
        asked.push((row.id.to_string(), at));
        tokio::time::sleep(APART).await;
    }
    asked
}
