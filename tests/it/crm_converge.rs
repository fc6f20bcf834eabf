//! People and Perennial edit the same records of a CRM that fails: nothing is lost, doubled or written over, and all that was
//! written can be taken back. Salesforce and HubSpot, on SQLite and, where there is a server, on PostgreSQL.
//!
//! Long because both tests live in one world, with its faults and its people.
//!
//! `PERENNIAL_EDITS` says how many edits there are (2,000 for the figures in the book; a few by default).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use perennial::clock::Clock;
use perennial::config::{Config, Overrides};
use perennial::cycle::Engine;
use perennial::dispatch::drain;
use perennial::intake::{ImportOptions, Mapping, SyncOptions, sync};
use perennial_core::action::{
    AccountField, ActionKind, ActionState, Done, Effect, Permit, PermitRecord, Priority, Receipt, Target, Write,
    effects_hash,
};
use perennial_core::draw::Stream;
use perennial_core::ids::{AccountId, ActionId, DecisionId, EffectId, PlaybookId, RunId, TenantId};
use perennial_core::replay::{Hash, canonical};
use perennial_core::signal::Crm;
use perennial_core::time::{Day, Timestamp};
use perennial_sandbox::{Fault, FaultKind, Options, RouteMatch, Sandbox, Seed, SeedRecord, System};
use perennial_store::{ActionRow, DecisionCommit, DecisionRow, NewAction, OutboxRow, Packed, Store};
use perennial_tests::Database;
use perennial_tools::hubspot::HubSpot;
use perennial_tools::salesforce::Salesforce;
use perennial_tools::{Connection, Known, Registry, Tool};
use secrecy::SecretString;
use serde_json::Value;

const ACCOUNTS: usize = 6;
const FIELDS: [(AccountField, &str); 2] = [
    (AccountField::Posture, "Perennial_Posture__c"),
    (AccountField::NextStep, "Perennial_Next_Step__c"),
];
const HUBSPOT_FIELDS: [(AccountField, &str); 2] = [
    (AccountField::Posture, "perennial_posture"),
    (AccountField::NextStep, "perennial_next_step"),
];
const MINUTE: i64 = 60_000_000;

const MAPPING: &str = r#"
source = "salesforce"
[[object]]
name = "Account"
kind = "account"
key = "Id"
[object.fields]
name = "Name"
attributes = { posture = "Perennial_Posture__c", next_step = "Perennial_Next_Step__c" }
"#;

const HUBSPOT_MAPPING: &str = r#"
source = "hubspot"
[[object]]
name = "companies"
kind = "account"
key = "hs_object_id"
[object.fields]
name = "name"
attributes = { posture = "perennial_posture", next_step = "perennial_next_step" }
"#;

fn edits(default: usize) -> usize {
    std::env::var("PERENNIAL_EDITS").map_or(default, |text| text.parse().expect("a number"))
}

fn account(n: usize) -> String {
    // The last three characters are the checksum of capital letters, of which these ids have none.
    format!("00100000000000{n}AAA")
}

fn record_id(crm: Crm, n: usize) -> String {
    match crm {
        Crm::Salesforce => account(n),
        Crm::HubSpot => format!("900000000{n}"),
    }
}

fn fields(crm: Crm) -> [(AccountField, &'static str); 2] {
    match crm {
        Crm::Salesforce => FIELDS,
        Crm::HubSpot => HUBSPOT_FIELDS,
    }
}

fn objects(crm: Crm) -> [&'static str; 3] {
    match crm {
        Crm::Salesforce => ["Account", "Task", "Note"],
        Crm::HubSpot => ["companies", "tasks", "notes"],
    }
}

struct World {
    crm: Crm,
    system: System,
    crms: Sandbox,
    store: Store,
    config: Config,
    mapping: Mapping,
    folder: tempfile::TempDir,
    now: Timestamp,
    random: Stream,
}

impl World {
    async fn new(seed: u64) -> World {
        World::of(Crm::Salesforce, seed, None).await
    }

    /// A world around one CRM; on SQLite where no database is given.
    async fn of(crm: Crm, seed: u64, url: Option<&str>) -> World {
        let named = |n: usize| format!("Customer {n}");
        let accounts = (0..ACCOUNTS).map(|n| {
            SeedRecord::new("Account")
                .id(account(n))
                .field("Name", named(n).as_str())
        });
        let companies = (0..ACCOUNTS).map(|n| {
            let id = record_id(Crm::HubSpot, n);
            SeedRecord::new("companies").id(id).field("name", named(n).as_str())
        });
        let crms = Sandbox::start(Options {
            seed: Seed {
                salesforce: accounts.collect(),
                hubspot: companies.collect(),
            },
            ..Options::default()
        })
        .await
        .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("perennial.toml");
        let text = "[limits]\nsettle_ms = 1\neffect_attempts = 1000\ndrain_ms = 0\n";
        std::fs::write(&file, text).unwrap();
        let overrides = Overrides {
            config: Some(file),
            db: Some(url.map_or_else(
                || format!("sqlite:{}", folder.path().join("test.db").display()),
                str::to_owned,
            )),
            policies: None,
        };
        let config = Config::load(&overrides).unwrap();
        let store = Store::open(
            &config.database,
            TenantId::DEFAULT,
            &perennial_store::Options::default(),
        )
        .await
        .unwrap();
        store.migrate().await.unwrap();
        let (system, mapping) = match crm {
            Crm::Salesforce => (System::Salesforce, MAPPING),
            Crm::HubSpot => (System::Hubspot, HUBSPOT_MAPPING),
        };
        World {
            crm,
            system,
            store,
            config,
            mapping: Mapping::parse(Path::new("mapping.toml"), mapping).unwrap(),
            now: Clock::System.now(),
            random: Stream::new(seed, &["crm"]),
            folder,
            crms,
        }
    }

    fn tool(&self) -> Arc<dyn Tool> {
        let address = match self.crm {
            Crm::Salesforce => self.crms.salesforce(),
            Crm::HubSpot => self.crms.hubspot(),
        };
        let connection = Connection {
            requests_per_second: 5_000,
            burst: 1_000,
            max_attempts: 1,
            ..Connection::new(address.url.clone(), SecretString::from(address.token.clone()))
        };
        match self.crm {
            Crm::Salesforce => Arc::new(Salesforce::new(connection).unwrap()),
            Crm::HubSpot => Arc::new(HubSpot::new(connection).unwrap()),
        }
    }

    fn below(&mut self, n: usize) -> usize {
        self.random.below(n)
    }

    fn live(&self, n: usize, field: &str) -> String {
        let record = self
            .crms
            .record(self.system, objects(self.crm)[0], &record_id(self.crm, n));
        let value = record
            .unwrap()
            .fields
            .get(field)
            .and_then(Value::as_str)
            .map(str::to_owned);
        value.unwrap_or_default()
    }

    /// A person edits a field of a record.
    fn edit(&self, n: usize, field: &str, value: &str) {
        let fields = [(field.to_owned(), Value::from(value))].into();
        let (object, id) = (objects(self.crm)[0], record_id(self.crm, n));
        self.crms.edit(self.system, object, &id, fields, "Ann").unwrap();
    }

    /// Reads the CRM; whether it could be read.
    async fn read(&self, tool: &dyn Tool) -> bool {
        let options = SyncOptions::new(ImportOptions::new(self.folder.path()));
        sync(&self.store, tool, &self.mapping, &options, self.now).await.is_ok()
    }

    /// Carries out what is due, some minutes later: whatever was put off is due then, and a new connection has forgotten its
    /// failures.
    async fn carry_out(&mut self) {
        self.now = Timestamp::from_us(self.now.us() + 120 * MINUTE);
        let config = Config {
            clock: Clock::starting(self.now),
            ..self.config.clone()
        };
        let tools = Registry::new().with(self.tool());
        let (_keep, stop) = tokio::sync::watch::channel(false);
        let engine = Engine {
            config: &config,
            store: &self.store,
            tools: &tools,
            stop,
        };
        let worker = RunId::derive(self.now, self.now);
        drain(&engine, &worker, None, &mut |_| {}).await.unwrap();
    }

    fn fail_some(&mut self, percent: usize, calls: usize) -> usize {
        let kinds = [
            FaultKind::ServerError,
            FaultKind::Unavailable,
            FaultKind::DropBeforeCommit,
            FaultKind::DropAfterCommit,
            FaultKind::TruncatedJson,
            FaultKind::TooManyRequests { retry_after_s: None },
        ];
        let mut injected = 0;
        for _ in 0..calls {
            if self.below(100) < percent {
                let method = ["GET", "PATCH", "POST"][self.below(3)];
                let kind = kinds[self.below(kinds.len())].clone();
                self.crms.inject(Fault {
                    system: self.system,
                    route: RouteMatch::route(method, "/"),
                    kind,
                    times: 1,
                });
                injected += 1;
            }
        }
        injected
    }

    /// Stores a decision that changes a field, permitted.
    async fn decide(&mut self, number: usize, n: usize, field: AccountField) -> ActionId {
        self.now = Timestamp::from_us(self.now.us() + MINUTE);
        let owner = AccountId::new(record_id(self.crm, n));
        let action = ActionId::new(format!("act_{number:06}"));
        let write = Write::UpdateAccount {
            fields: [(field, format!("ours {number}"))].into(),
        };
        let effect = effect(self.crm, &action, &owner, write);
        let effects = vec![effect.clone()];
        let inputs = format!("{{\"n\":{number}}}");
        let decision = DecisionId::derive(&owner, &Hash::of(inputs.as_bytes()));
        let run = RunId::derive(self.now, self.now);
        let row = ActionRow {
            account: owner.clone(),
            id: action.clone(),
            decision: decision.clone(),
            kind: ActionKind::UPDATE_FIELD,
            playbook: PlaybookId::new("p"),
            subject: number.to_string(),
            state: ActionState::Permitted,
            version: 1,
            title: "t".to_owned(),
            owner: None,
            tier: None,
            role: None,
            verdict: "auto".to_owned(),
            value_minor: None,
            currency: None,
            minutes: 0,
            rank_micro: None,
            due: Day::from_number(20_000),
            as_of: self.now,
            expires_at: None,
            snoozed_until: None,
            last_editor: None,
            asked_role: None,
            asked_since: None,
            day_position: None,
            card: "{}".to_owned(),
            effects: canonical(&effects),
            updated_at: self.now,
        };
        let commit = DecisionCommit {
            plays: Vec::new(),
            decision: DecisionRow {
                account: owner,
                id: decision,
                run: run.clone(),
                as_of: self.now,
                inputs_hash: Hash::of(inputs.as_bytes()),
                inputs: Packed::of(&inputs),
                output: Packed::of("{}"),
                output_hash: Hash::of(b"{}"),
                content: Hash::of(b"c"),
                engine: "t".to_owned(),
            },
            actions: vec![NewAction {
                play: None,
                row,
                outbox: vec![OutboxRow {
                    permit: record(&action, &effects),
                    effect,
                    due_at: self.now,
                }],
                holds: Vec::new(),
            }],
            supersede: Vec::new(),
            ledger: Vec::new(),
        };
        self.store.commit_decisions(&run, &[commit], self.now).await.unwrap();
        action
    }
}

fn effect(tool: Crm, action: &ActionId, account: &AccountId, write: Write) -> Effect {
    Effect {
        id: EffectId::derive(action, 0),
        action: action.clone(),
        step: 0,
        tool,
        target: Target {
            account: account.clone(),
            account_name: "Customer".to_owned(),
            crm_id: Some(account.as_str().to_owned()),
        },
        write,
    }
}

fn record(action: &ActionId, effects: &[Effect]) -> PermitRecord {
    let text = format!(
        r#"{{"action":"{action}","effects":"{}","ground":{{"verdict":{{"content":"{}","rule":"a:1"}}}}}}"#,
        effects_hash(effects),
        Hash::ZERO
    );
    serde_json::from_str(&text).unwrap()
}

fn permit(effect: &Effect) -> Permit {
    let effects = vec![effect.clone()];
    record(&effect.action, &effects).verify(effect, &effects).unwrap()
}

fn wait<F: Future<Output = ()>>(test: F) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(test);
}

/// A decision of ours.
struct Ours {
    action: ActionId,
    n: usize,
    field: &'static str,
    /// What the last reading before it had seen. A HubSpot reading has several parts, and one that breaks off may have seen what
    /// was there then.
    seen: Vec<String>,
}

#[test]
fn people_and_we_edit_the_same_records_and_nothing_is_lost_doubled_or_written_over() {
    wait(async {
        for crm in [Crm::Salesforce, Crm::HubSpot] {
            converges(crm, "sqlite", World::of(crm, 7, None).await).await;
            if let Some(db) = Database::postgres(&format!("converge_{crm}")) {
                converges(crm, db.kind, World::of(crm, 7, Some(&db.url)).await).await;
            }
        }
    });
}

async fn converges(crm: Crm, database: &str, mut world: World) {
    let total = edits(120);
    let mut ours: Vec<Ours> = Vec::new();
    let mut seen: BTreeMap<(usize, &str), Vec<String>> = BTreeMap::new();
    let (mut people, mut faults) = (0, 0);
    while ours.len() + people < total {
        for _ in 0..=world.below(3) {
            let n = world.below(ACCOUNTS);
            let (field, name) = fields(crm)[world.below(2)];
            if world.below(2) == 0 {
                people += 1;
                world.edit(n, name, &format!("theirs {people}"));
            } else {
                let number = ours.len();
                let action = world.decide(number, n, field).await;
                let seen = seen.get(&(n, name)).cloned().unwrap_or_default();
                ours.push(Ours {
                    action,
                    n,
                    field: name,
                    seen,
                });
            }
        }
        if world.below(3) == 0 {
            faults += world.fail_some(20, 1);
            let tool = world.tool();
            world.now = Timestamp::from_us(world.now.us() + MINUTE);
            let is_whole = world.read(tool.as_ref()).await;
            for (n, (_, name)) in (0..ACCOUNTS).flat_map(|n| fields(crm).map(|field| (n, field))) {
                let known = seen.entry((n, name)).or_default();
                if is_whole {
                    known.clear();
                }
                if is_whole || crm == Crm::HubSpot {
                    known.push(world.live(n, name));
                }
            }
        }
        faults += world.fail_some(20, 6);
        world.carry_out().await;
    }
    world.crms.clear_faults();
    let calls = world.crms.calls().len();
    // Two cycles after the faults have stopped.
    for _ in 0..2 {
        world.carry_out().await;
        let tool = world.tool();
        assert!(world.read(tool.as_ref()).await);
    }
    let counts = world.store.effect_counts(None).await.unwrap();
    assert_eq!((counts.waiting, counts.unknown), (0, 0), "{counts:?}");
    let mut writes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for change in world.crms.changes() {
        for field in change
            .fields
            .iter()
            .filter(|field| fields(crm).iter().any(|(_, name)| *name == field.field))
        {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            if change.by != "Ann" {
                writes.entry(text(&field.after)).or_default().push(text(&field.before));
            }
        }
    }
    let (mut executed, mut conflicts) = (0, 0);
    for (number, decided) in ours.iter().enumerate() {
        let value = format!("ours {number}");
        let row = world.store.action(decided.action.as_str()).await.unwrap();
        let written = writes.remove(&value).unwrap_or_default();
        match row.state {
            ActionState::Executed => {
                executed += 1;
                assert_eq!(written.len(), 1, "{value}: written once, neither lost nor doubled");
                let over = &written[0];
                let may = !over.starts_with("theirs") || decided.seen.contains(over);
                // What was there before our first write of a field is not known to be anybody's edit.
                let first = !ours[..number]
                    .iter()
                    .any(|o| (o.n, o.field) == (decided.n, decided.field));
                assert!(
                    may || (first && decided.seen.iter().all(String::is_empty)),
                    "{value} went over `{over}`"
                );
            }
            ActionState::Pending => {
                conflicts += 1;
                // Written once at most: its answer was lost, and somebody changed the field before it was looked up.
                assert!(written.len() <= 1, "{value}: {written:?}");
                let met = world.store.conflicts_of(&decided.action).await.unwrap();
                assert!(met[0].field.theirs.starts_with("theirs"), "{met:?}");
            }
            other => panic!("{value} is {other}"),
        }
    }
    assert!(writes.is_empty(), "written and never decided: {writes:?}");
    let accounts: Vec<AccountId> = (0..ACCOUNTS).map(|n| AccountId::new(record_id(crm, n))).collect();
    for known in world.store.known_fields(accounts.iter()).await.unwrap() {
        let n = accounts.iter().position(|account| *account == known.account).unwrap();
        assert_eq!(known.what.value, world.live(n, &known.what.field), "both sides agree");
    }
    assert!(executed > 0 && conflicts > 0);
    println!(
        "{crm}, {database}: {people} edits of people, {} of ours: {executed} written, {conflicts} conflicts; {faults} faults in \
             {calls} calls",
        ours.len()
    );
    world.store.close().await;
}

#[test]
fn what_one_decision_ran_into_the_next_one_does_not_write_over_either() {
    wait(async {
        let mut world = World::new(3).await;
        let (field, name) = FIELDS[0];
        let first = world.decide(0, 0, field).await;
        world.crms.inject(Fault {
            system: System::Salesforce,
            route: RouteMatch::route("PATCH", "/"),
            kind: FaultKind::ServerError,
            times: 1_000,
        });
        world.carry_out().await;
        world.crms.clear_faults();
        let fields = [(name.to_owned(), Value::from("theirs"))].into();
        let edited = world
            .crms
            .edit(System::Salesforce, "Account", &account(0), fields, "Ann");
        edited.unwrap();
        world.carry_out().await;
        let second = world.decide(1, 0, field).await;
        world.carry_out().await;
        for action in [first, second] {
            let row = world.store.action(action.as_str()).await.unwrap();
            assert_eq!(row.state, ActionState::Pending, "{action} waits for a person");
        }
        assert_eq!(world.live(0, name), "theirs");
    });
}

/// Everything in the CRM but the times of changes.
fn state(world: &World) -> Hash {
    let mut text = String::new();
    for object in objects(world.crm) {
        let mut records = world.crms.records(world.system, object);
        records.sort_by(|a, b| a.id.cmp(&b.id));
        for record in records {
            let plain = |name: &&String| !["odified", "odstamp", "Viewed"].iter().any(|part| name.contains(part));
            let fields: BTreeMap<&String, &Value> = record.fields.iter().filter(|(name, _)| plain(name)).collect();
            text.push_str(&format!("{object} {} {}\n", record.id, canonical(&fields)));
        }
    }
    Hash::of(text.as_bytes())
}

#[test]
fn undoing_all_of_many_random_writes_restores_the_exact_state() {
    wait(async {
        for crm in [Crm::Salesforce, Crm::HubSpot] {
            undoes_all(World::of(crm, 11, None).await).await;
        }
    });
}

async fn undoes_all(mut world: World) {
    let total = edits(60).min(1_000);
    let tool = world.tool();
    for n in 0..ACCOUNTS {
        world.edit(n, fields(world.crm)[0].1, &format!("as it was {n}"));
    }
    let before = state(&world);
    let mut done: Vec<(Effect, Receipt)> = Vec::new();
    for number in 0..total {
        let owner = AccountId::new(record_id(world.crm, world.below(ACCOUNTS)));
        let write = match world.below(4) {
            0 => Write::CreateTask {
                subject: format!("task {number}"),
                body: "b".to_owned(),
                due: Day::from_number(20_500),
                priority: Priority::Normal,
                assignee: None,
            },
            1 => Write::CreateNote {
                title: format!("note {number}"),
                body: "b".to_owned(),
            },
            _ => {
                let (posture, health) = (format!("ours {number}"), world.below(100).to_string());
                Write::UpdateAccount {
                    fields: [(AccountField::Posture, posture), (AccountField::Health, health)].into(),
                }
            }
        };
        let effect = effect(world.crm, &ActionId::new(format!("act_{number:06}")), &owner, write);
        let at = world.now;
        let receipt = tool
            .execute(permit(&effect), &effect, &Known::nothing(), at)
            .await
            .unwrap();
        done.push((effect, receipt));
    }
    assert_ne!(state(&world), before);
    let mut kinds: BTreeSet<&str> = BTreeSet::new();
    for (effect, receipt) in done.iter().rev() {
        let undone = tool.undo(permit(effect), effect, receipt, world.now).await.unwrap();
        kinds.insert(undone.done.as_str());
        let again = tool.undo(permit(effect), effect, receipt, world.now).await.unwrap();
        assert_eq!(again.done, Done::NoChange, "{effect:?}");
    }
    assert_eq!(state(&world), before);
    assert!(kinds.contains("updated") && kinds.contains("deleted"), "{kinds:?}");
    println!("{}: {total} writes undone, the state is as before", world.crm);
}
