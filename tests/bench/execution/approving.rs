//! Approvals that wait in a made-up book, and a person who says yes to one after the other.

use std::collections::{BTreeMap, HashMap};
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
use perennial_core::action::{ActionKind, ActionState, Done, Effect, Permit, Receipt, effects_hash};
use perennial_core::approval::Event;
use perennial_core::ids::TenantId;
use perennial_core::signal::{Crm, OwnerRole};
use perennial_core::time::Timestamp;
use perennial_store::{ActionRow, QueueFilter, Store};
use perennial_tests::{copy_folder, root};
use perennial_tools::{Answer, Known, LookUp, Registry, Tool};

/// When the book was looked at.
const AS_OF: &str = "2026-09-15T08:00:00Z";
/// Of two approvals the second comes so much later.
pub(crate) const APART: Duration = Duration::from_millis(20);

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
pub(crate) fn clock() -> Instant {
    Instant::now()
}

/// A CRM that notes when it was called, and for which action, and takes its time to answer.
pub(crate) struct Called {
    answers_after: Duration,
    first: Mutex<HashMap<String, Instant>>,
}

impl Called {
    /// One whose answers take so long.
    pub(crate) fn answering_after(answers_after: Duration) -> Called {
        Called {
            answers_after,
            first: Mutex::default(),
        }
    }

    /// When it was called first for an action.
    pub(crate) fn at(&self, action: &str) -> Option<Instant> {
        self.first.lock().expect("nobody panicked").get(action).copied()
    }
}

impl Tool for Called {
    fn crm(&self) -> Crm {
        Crm::Salesforce
    }

    perennial_tests::carries_out_only!();

    fn execute<'a>(
        &'a self,
        _permit: Permit,
        effect: &'a Effect,
        _known: &'a Known,
        at: Timestamp,
    ) -> Answer<'a, Receipt> {
        let mut first = self.first.lock().expect("nobody panicked");
        first.entry(effect.action.to_string()).or_insert_with(clock);
        drop(first);
        Box::pin(async move {
            if !self.answers_after.is_zero() {
                tokio::time::sleep(self.answers_after).await;
            }
            Ok(Receipt {
                tool: Crm::Salesforce,
                done: Done::Created,
                object: "Task".to_owned(),
                record: effect.id.to_string(),
                url: String::new(),
                before: BTreeMap::new(),
                after: BTreeMap::new(),
                at,
            })
        })
    }

    fn look_up<'a>(&'a self, _effect: &'a Effect, _at: Timestamp) -> Answer<'a, LookUp> {
        Box::pin(async { Ok(LookUp::Absent) })
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

/// A book in which tasks wait for a CSM.
pub(crate) struct Book {
    pub(crate) config: Config,
    pub(crate) store: Store,
    /// Those for Salesforce, which the tool above carries out.
    pub(crate) waiting: Vec<ActionRow>,
    /// How many wait in all.
    pub(crate) all: usize,
}

impl Book {
    /// A book of four times so many accounts in an empty database, read and decided.
    pub(crate) async fn of(url: &str, folder: &Path, pending: usize) -> Book {
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
        let (_stop, stopped) = tokio::sync::watch::channel(false);
        let tools = Registry::new().with(Arc::new(Called::answering_after(Duration::ZERO)) as Arc<dyn Tool>);
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
        Book {
            config,
            store,
            waiting,
            all,
        }
    }

    /// Approves one after the other.
    pub(crate) async fn approve_all(&self) -> Vec<Approved> {
        let Book { config, store, .. } = self;
        let (_, policies) = content::compile(config).expect("the policies");
        let people = People::read(config, store).await.expect("people");
        let person = people.person(config, store, Some("ana")).await.expect("ana");
        let mut approved = Vec::new();
        for row in &self.waiting {
            let effects: Vec<Effect> = serde_json::from_str(&row.effects).expect("effects");
            let event = Event::Approve {
                seen: effects_hash(&effects),
                reason: None,
            };
            let said = clock();
            decide(config, store, row, &event, (&person, &people), &policies)
                .await
                .expect("is approved");
            approved.push(Approved {
                action: row.id.to_string(),
                said,
                committed: clock(),
            });
            tokio::time::sleep(APART).await;
        }
        approved
    }
}

fn for_salesforce(row: &ActionRow) -> bool {
    let effects: Vec<Effect> = serde_json::from_str(&row.effects).expect("effects");
    effects.iter().all(|effect| effect.tool == Crm::Salesforce)
}

/// A yes.
pub(crate) struct Approved {
    action: String,
    said: Instant,
    committed: Instant,
}

/// Waits until the CRM was called for all of them: milliseconds from the yes, and from its commit, both sorted.
pub(crate) async fn waits(called: &Called, approved: &[Approved]) -> [Vec<f64>; 2] {
    while approved.iter().any(|yes| called.at(&yes.action).is_none()) {
        tokio::time::sleep(APART).await;
    }
    let from = |since: fn(&Approved) -> Instant| {
        let wait = |yes: &Approved| {
            let at = called.at(&yes.action).expect("was called");
            // The call may begin before whoever committed hears of it.
            at.saturating_duration_since(since(yes)).as_secs_f64() * 1_000.0
        };
        let mut waits: Vec<f64> = approved.iter().map(wait).collect();
        waits.sort_by(f64::total_cmp);
        waits
    };
    [from(|yes| yes.said), from(|yes| yes.committed)]
}
