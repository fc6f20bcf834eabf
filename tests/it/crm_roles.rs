//! What people are to deals, with the whole engine: a playbook names the economic buyer of an open renewal. Salesforce and HubSpot, on
//! SQLite and, where there is a server, on PostgreSQL.
//!
//! Long because the book that both CRMs are read and written by is here too.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use perennial::clock::Clock;
use perennial::config::{Config, Overrides};
use perennial::content::POLICIES;
use perennial::cycle::{Engine, RunOptions, run_once};
use perennial::dispatch::drain;
use perennial::intake::{ImportOptions, Mapping, SyncOptions, sync};
use perennial::people::People;
use perennial::queue::decide;
use perennial_core::action::{ActionState, Done, Effect, EffectState, Receipt, Write, effects_hash};
use perennial_core::approval::{Event, Person};
use perennial_core::ids::{AccountId, ExternalId, RunId, SourceId, TenantId};
use perennial_core::money::Money;
use perennial_core::number::Micro;
use perennial_core::replay::read;
use perennial_core::signal::{ContactRole, Crm, Fact, Grain, OwnerRole, Signal, Subscription, Usage};
use perennial_core::snapshot::Snapshot;
use perennial_core::time::Timestamp;
use perennial_sandbox::{Fault, FaultKind, Options, RouteMatch, Sandbox, Seed, SeedRecord, System};
use perennial_store::{ActionRow, Belongs, NewSignal, QueueFilter, SignalRow, Store};
use perennial_tests::Database;
use perennial_tools::hubspot::HubSpot;
use perennial_tools::salesforce::Salesforce;
use perennial_tools::{Connection, Registry, Tool, UndoBy};
use serde_json::Value;

use crate::crms::{connection, permit, wait};

const DAY: i64 = 24 * 3_600 * 1_000_000;

/// Ids of the account, the person, the old deal and the open one.
struct Ids {
    account: &'static str,
    person: &'static str,
    old: &'static str,
    open: &'static str,
}

const SALESFORCE: Ids = Ids {
    account: "001000000000001AAA",
    person: "003000000000001AAA",
    old: "006000000000001AAA",
    open: "006000000000002AAA",
};
const HUBSPOT: Ids = Ids {
    account: "9000000001",
    person: "8000000001",
    old: "9100000001",
    open: "9100000002",
};

const ROLES: &str = r#"
[write.role]
economic_buyer = "Economic Buyer"
champion = "Influencer"
"#;

const SALESFORCE_MAPPING: &str = r#"
[[object]]
name = "Account"
kind = "account"
key = "Id"
[object.fields]
name = "Name"
tier = "Rating"
legal_hold = { value = false }
crm = { column = "Id", system = "salesforce" }

[[object]]
name = "Contact"
kind = "contact"
key = "Id"
account = "AccountId"
[object.fields]
name = "LastName"
email = "Email"
deal_roles = { column = "roles.deals", values = { "Economic Buyer" = "economic_buyer", "Influencer" = "champion" } }
crm = { column = "Id", system = "salesforce" }

[[object]]
name = "Opportunity"
kind = "opportunity"
key = "Id"
account = "AccountId"
event = "CreatedDate"
[object.fields]
name = "Name"
kind = { value = "renewal" }
stage = "stage.label"
state = "stage.state"
crm = { column = "Id", system = "salesforce" }
"#;

const HUBSPOT_MAPPING: &str = r#"
[[object]]
name = "companies"
kind = "account"
key = "hs_object_id"
[object.fields]
name = "name"
tier = "industry"
legal_hold = { value = false }
crm = { column = "hs_object_id", system = "hubspot" }

[[object]]
name = "contacts"
kind = "contact"
key = "hs_object_id"
account = "associations.companies"
[object.fields]
name = "lastname"
email = "email"
deal_roles = { column = "roles.deals", values = { "Economic Buyer" = "economic_buyer", "Influencer" = "champion" } }
crm = { column = "hs_object_id", system = "hubspot" }

[[object]]
name = "deals"
kind = "opportunity"
key = "hs_object_id"
account = "associations.companies"
event = "createdate"
[object.fields]
name = "dealname"
kind = { value = "renewal" }
state = "stage.state"
crm = { column = "hs_object_id", system = "hubspot" }
"#;

const PLAYBOOK: &str = r#"
name = "Economic buyer"
owner = "o"
when = 'resource.seats > 0'
action = "updateOpportunity"
subject = "account"
cooldown_days = 1
due_days = 3
expires_days = 5
title = "Name the economic buyer of {account}"
because = "b"
evidence = ["seats"]

[effect]
shift = 3.0
shift_sd = 0.1
expansion = 2.0
decay = 0.1
minutes = 1

[[step]]
write = "setContactRole"
which = "renewal"
role = "economic_buyer"
"#;

fn seed(tier: &str) -> Seed {
    let deal = |id: &str, name: &str, stage: &str| {
        SeedRecord::new("Opportunity")
            .id(id)
            .field("Name", name)
            .field("StageName", stage)
            .field("CloseDate", "2020-12-31")
            .field("AccountId", SALESFORCE.account)
            .field("CreatedDate", "2020-01-01T00:00:00.000+0000")
    };
    let hubspot_deal = |id: &str, name: &str, stage: &str| {
        SeedRecord::new("deals")
            .id(id)
            .field("dealname", name)
            .field("dealstage", stage)
            .field("createdate", "2020-01-01T00:00:00Z")
            .associated_with("companies", HUBSPOT.account)
    };
    Seed {
        salesforce: vec![
            SeedRecord::new("Account")
                .id(SALESFORCE.account)
                .field("Name", "One")
                .field("Rating", tier),
            SeedRecord::new("Contact")
                .id(SALESFORCE.person)
                .field("LastName", "Ana")
                .field("Email", "ana@one.example")
                .field("AccountId", SALESFORCE.account),
            deal(SALESFORCE.old, "Old", "Closed Won"),
            deal(SALESFORCE.open, "Renewal", "Prospecting"),
            SeedRecord::new("OpportunityContactRole")
                .field("OpportunityId", SALESFORCE.old)
                .field("ContactId", SALESFORCE.person)
                .field("Role", "Economic Buyer"),
        ],
        hubspot: vec![
            SeedRecord::new("companies")
                .id(HUBSPOT.account)
                .field("name", "One")
                .field("industry", tier),
            SeedRecord::new("contacts")
                .id(HUBSPOT.person)
                .field("lastname", "Ana")
                .field("email", "ana@one.example")
                .associated_with("companies", HUBSPOT.account),
            hubspot_deal(HUBSPOT.old, "Old", "closedwon"),
            hubspot_deal(HUBSPOT.open, "Renewal", "qualifiedtobuy"),
        ],
    }
}

fn policies(folder: &Path) -> PathBuf {
    let folder = folder.join("policies");
    std::fs::create_dir_all(folder.join("playbooks")).unwrap();
    std::fs::create_dir_all(folder.join("rules")).unwrap();
    let text = |name: &str| POLICIES.iter().find(|(file, _)| *file == name).unwrap().1;
    let mut table = "[matrix]\n".to_owned();
    for kind in [
        "createTask",
        "createNote",
        "updateField",
        "sendEmail",
        "sendQbr",
        "sendRenewal",
        "offerDiscount",
    ] {
        table.push_str(&format!(
            "{kind} = {{ low_touch = \"never\", mid_touch = \"never\", strategic = \"never\" }}\n"
        ));
    }
    table.push_str(
        "updateOpportunity = { low_touch = \"auto\", mid_touch = \"auto\", strategic = \"approve:csm\" }\n[auto]\n\
         min_confidence = 0\nmax_arr = \"100k EUR\"\nmax_usage_age_days = 100000\n[limits]\n\
         contacts_per_account_7_days = 1000\nfields_agent_may_write = []\n",
    );
    for (name, text) in [
        ("autonomy.toml", table.as_str()),
        ("scoring.toml", text("scoring.toml")),
        ("rules/90-never.cedar", text("rules/90-never.cedar")),
        ("playbooks/economic-buyer.toml", PLAYBOOK),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    folder
}

struct Bed {
    crm: Crm,
    ids: Ids,
    crms: Sandbox,
    config: Config,
    store: Store,
    mapping: Mapping,
    now: Timestamp,
    temp: tempfile::TempDir,
    _db: Database,
}

impl Bed {
    /// One for each CRM and database.
    async fn all(test: &str, tier: &str) -> Vec<Bed> {
        let mut beds = Vec::new();
        for crm in [Crm::Salesforce, Crm::HubSpot] {
            beds.push(Bed::of(crm, None, tier).await);
            if let Some(db) = Database::postgres(&format!("{test}_{crm}")) {
                beds.push(Bed::of(crm, Some(db), tier).await);
            }
        }
        beds
    }

    async fn of(crm: Crm, db: Option<Database>, tier: &str) -> Bed {
        let temp = tempfile::tempdir().unwrap();
        let db = db.unwrap_or_else(|| Database::sqlite(temp.path()));
        let crms = Sandbox::start(Options {
            seed: seed(tier),
            ..Options::default()
        })
        .await
        .unwrap();
        for label in ["Economic Buyer", "Influencer", "Billing"] {
            crms.define_label("deals", "contacts", label).unwrap();
        }
        crms.set_labels(
            ("deals", HUBSPOT.old),
            ("contacts", HUBSPOT.person),
            &["Economic Buyer", "Billing"],
            "Ann",
        )
        .unwrap();
        let file = temp.path().join("perennial.toml");
        std::fs::write(&file, "[limits]\nsettle_ms = 1\neffect_attempts = 1000\ndrain_ms = 0\n").unwrap();
        let overrides = Overrides {
            config: Some(file),
            db: Some(db.url.clone()),
            policies: Some(policies(temp.path())),
        };
        let mut config = Config::load(&overrides).unwrap();
        config.people.insert("eva".to_owned(), vec![OwnerRole::CSM]);
        let store = Store::open(&config.database, TenantId::DEFAULT, &config.limits.store())
            .await
            .unwrap();
        store.migrate().await.unwrap();
        let (ids, objects) = match crm {
            Crm::Salesforce => (SALESFORCE, SALESFORCE_MAPPING),
            Crm::HubSpot => (HUBSPOT, HUBSPOT_MAPPING),
        };
        let text = format!("source = \"{crm}\"\n[defaults]\ncurrency = \"EUR\"\n{ROLES}{objects}");
        let bed = Bed {
            crm,
            ids,
            crms,
            config,
            store,
            mapping: Mapping::parse(Path::new("mapping.toml"), &text).unwrap(),
            now: Clock::System.now(),
            temp,
            _db: db,
        };
        bed.buys().await;
        bed
    }

    /// What is bought and used, from another source.
    async fn buys(&self) {
        let since: Timestamp = "2020-01-01T00:00:00Z".parse().unwrap();
        let signal = |id: &str, at: Timestamp, fact: Fact| {
            SignalRow::of(NewSignal {
                owner: Belongs::Account(AccountId::new(self.ids.account)),
                signal: Signal {
                    source: SourceId::new("test"),
                    external_id: ExternalId::new(id),
                    event_at: at,
                    observed_at: at,
                    revision_at: at,
                    fact,
                },
            })
        };
        let bought = Fact::Subscription(Subscription {
            product: Some("p".to_owned()),
            start: Some(since.day()),
            arr: Some(Money::new(2_000_000, "EUR".parse().unwrap())),
            seats: Some(100),
            ..Subscription::default()
        });
        let used = Fact::Usage(Usage {
            product: None,
            grain: Grain::Day,
            start: self.now.day().plus(-1),
            values: [("active_users".to_owned(), Micro::whole(5))].into(),
        });
        let mut rows = vec![signal("bought", since, bought), signal("used", since, used)];
        self.store.insert_signals(&mut rows).await.unwrap();
    }

    fn tool(&self) -> Arc<dyn Tool> {
        let address = match self.crm {
            Crm::Salesforce => self.crms.salesforce(),
            Crm::HubSpot => self.crms.hubspot(),
        };
        let connection = Connection {
            writes: self.mapping.writes(),
            max_attempts: 1,
            ..connection(&address.url, &address.token)
        };
        match self.crm {
            Crm::Salesforce => Arc::new(Salesforce::new(connection).unwrap()),
            Crm::HubSpot => Arc::new(HubSpot::new(connection).unwrap()),
        }
    }

    async fn sync(&mut self, full: bool) {
        self.now = Timestamp::from_us(self.now.us() + 1_000_000);
        let options = SyncOptions {
            full,
            ..SyncOptions::new(ImportOptions::new(self.temp.path()))
        };
        sync(&self.store, self.tool().as_ref(), &self.mapping, &options, self.now)
            .await
            .unwrap();
    }

    fn config(&self) -> Config {
        Config {
            clock: Clock::starting(self.now),
            ..self.config.clone()
        }
    }

    /// A run some days from now, with what is due in it.
    async fn run(&mut self, days: i64) {
        self.now = Timestamp::from_us(self.now.us() + days * DAY);
        let (config, tools) = (self.config(), Registry::new().with(self.tool()));
        let (_keep, stop) = tokio::sync::watch::channel(false);
        let engine = Engine {
            config: &config,
            store: &self.store,
            tools: &tools,
            stop,
        };
        let options = RunOptions {
            as_of: self.now,
            live: false,
            dry_run: false,
        };
        run_once(&engine, &options, &mut |_| {}).await.unwrap();
    }

    async fn carry_out(&mut self) {
        self.now = Timestamp::from_us(self.now.us() + 3_600_000_000);
        let (config, tools) = (self.config(), Registry::new().with(self.tool()));
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

    async fn actions(&self) -> Vec<ActionRow> {
        let filter = QueueFilter {
            states: ActionState::ALL.to_vec(),
            ..QueueFilter::default()
        };
        self.store.queue(&filter).await.unwrap()
    }

    async fn approve(&self, row: &ActionRow) {
        let effects: Vec<Effect> = read("effects", &row.effects).unwrap();
        let event = Event::Approve {
            seen: effects_hash(&effects),
            reason: None,
        };
        let eva = Person {
            id: "eva".to_owned(),
            roles: vec![OwnerRole::CSM],
            lent: Vec::new(),
        };
        let config = self.config();
        let people = People::read(&config, &self.store).await.unwrap();
        let compiled = perennial::content::compile(&config).unwrap().1;
        decide(&config, &self.store, row, &event, (&eva, &people), &compiled)
            .await
            .unwrap();
    }

    /// What the person is to the open deal in the CRM, each time they stand in it.
    fn roles(&self) -> Vec<String> {
        match self.crm {
            Crm::Salesforce => {
                let rows = self.crms.records(System::Salesforce, "OpportunityContactRole");
                let of_open = rows.into_iter().filter(|row| {
                    row.fields["OpportunityId"] == self.ids.open && row.fields["ContactId"] == self.ids.person
                });
                let role =
                    |row: perennial_sandbox::Record| row.fields.get("Role").and_then(Value::as_str).map(str::to_owned);
                of_open.map(|row| role(row).unwrap_or_default()).collect()
            }
            Crm::HubSpot => {
                let labels = self
                    .crms
                    .labels(("deals", self.ids.open), ("contacts", self.ids.person));
                labels.map(|labels| labels.join("; ")).into_iter().collect()
            }
        }
    }

    /// A person gives a role in the open deal; none puts the person into the deal without one.
    fn edit(&self, role: Option<&str>) {
        match self.crm {
            Crm::Salesforce => {
                let rows = self.crms.records(System::Salesforce, "OpportunityContactRole");
                let row = rows.iter().find(|row| row.fields["OpportunityId"] == self.ids.open);
                let fields = [("Role".to_owned(), role.map_or(Value::Null, Value::from))].into();
                let (system, object) = (System::Salesforce, "OpportunityContactRole");
                self.crms.edit(system, object, &row.unwrap().id, fields, "Ann").unwrap();
            }
            Crm::HubSpot => {
                let (deal, person) = (("deals", self.ids.open), ("contacts", self.ids.person));
                self.crms.set_labels(deal, person, role.as_slice(), "Ann").unwrap();
            }
        }
    }

    async fn effect(&self, row: &ActionRow) -> (Effect, EffectState, Option<Receipt>) {
        let effects = self.store.effects_of(&row.id).await.unwrap();
        assert_eq!(effects.len(), 1);
        let effect = effects.into_iter().next().unwrap();
        (effect.effect, effect.state, effect.receipt)
    }

    fn calls_that_write(&self) -> usize {
        self.crms.changes().len()
    }

    async fn end(self) {
        self.store.close().await;
    }
}

#[test]
fn a_playbook_names_the_economic_buyer_of_a_renewal_once_and_it_is_undone_once() {
    wait(async {
        for mut bed in Bed::all("role_once", "low_touch").await {
            bed.sync(false).await;
            let account = AccountId::new(bed.ids.account);
            let signals = bed.store.account_signals(std::slice::from_ref(&account)).await.unwrap();
            let signals = signals.into_values().flatten().collect();
            let snapshot = Snapshot::of(account, bed.now, signals, Vec::new(), 100);
            let ana = &snapshot.contacts[0].fact;
            assert_eq!(ana.role, Some(ContactRole::EconomicBuyer), "{}: from a deal", bed.crm);
            assert_eq!(
                ana.roles_in_deals().collect::<Vec<_>>(),
                [(bed.ids.old, ContactRole::EconomicBuyer)]
            );

            bed.run(0).await;
            let actions = bed.actions().await;
            assert_eq!(actions.len(), 1, "{}: {actions:?}", bed.crm);
            assert_eq!(actions[0].state, ActionState::Executed, "{}", bed.crm);
            let (effect, _, receipt) = bed.effect(&actions[0]).await;
            let Write::SetContactRole {
                contact,
                contact_name,
                role,
                ..
            } = &effect.write
            else {
                panic!("{:?}", effect.write);
            };
            assert_eq!((contact.as_str(), *role), (bed.ids.person, ContactRole::EconomicBuyer));
            assert_eq!(contact_name.as_deref(), Some("Ana"));
            let receipt = receipt.unwrap();
            assert_eq!(receipt.done, Done::Created, "{}: {receipt:?}", bed.crm);
            assert_eq!(bed.roles(), ["Economic Buyer"], "{}", bed.crm);
            let written = bed.calls_that_write();
            bed.run(0).await;
            bed.carry_out().await;
            assert_eq!((bed.roles().len(), bed.calls_that_write()), (1, written), "{}", bed.crm);
            // When it has been read there is nothing left to propose.
            bed.sync(true).await;
            bed.run(3).await;
            assert_eq!(bed.actions().await.len(), 1, "{}", bed.crm);

            let tool = bed.tool();
            let undoing = tool.undoing(&effect, &receipt).await.unwrap();
            assert_eq!(undoing.how, UndoBy::Deleting, "{}", bed.crm);
            let undone = tool.undo(permit(&effect), &effect, &receipt, bed.now).await.unwrap();
            assert_eq!(undone.done, Done::Deleted, "{}", bed.crm);
            assert!(bed.roles().is_empty(), "{}: {:?}", bed.crm, bed.roles());
            let again = tool.undo(permit(&effect), &effect, &receipt, bed.now).await.unwrap();
            assert_eq!(again.done, Done::NoChange, "{}", bed.crm);
            bed.end().await;
        }
    });
}

#[test]
fn a_role_that_somebody_gives_meanwhile_is_a_conflict_and_what_a_person_says_then_is_done_and_undone() {
    wait(async {
        for mut bed in Bed::all("role_conflict", "strategic").await {
            if bed.crm == Crm::Salesforce {
                // A person who stands in the deal already, without a role.
                let row = serde_json::json!({ "OpportunityId": bed.ids.open, "ContactId": bed.ids.person });
                let address = bed.crms.salesforce();
                let url = format!("{}/services/data/v68.0/sobjects/OpportunityContactRole", address.url);
                let client = reqwest::Client::builder().no_proxy().build().unwrap();
                let made = client
                    .post(url)
                    .bearer_auth(&address.token)
                    .json(&row)
                    .send()
                    .await
                    .unwrap();
                assert_eq!(made.status().as_u16(), 201);
            } else {
                bed.edit(None);
            }
            bed.sync(false).await;
            bed.run(0).await;
            let waiting = bed.actions().await.swap_remove(0);
            assert_eq!(waiting.state, ActionState::Pending, "{}: a person is asked", bed.crm);
            bed.edit(Some("Influencer"));
            bed.approve(&waiting).await;
            bed.carry_out().await;
            assert_eq!(bed.roles(), ["Influencer"], "{}: not written over", bed.crm);
            let (effect, state, _) = bed.effect(&waiting).await;
            assert_eq!(state, EffectState::Conflict, "{}", bed.crm);
            let met = bed.store.conflicts_of(&waiting.id).await.unwrap();
            assert_eq!(
                (met[0].field.theirs.as_str(), met[0].field.ours.as_str()),
                ("Influencer", "Economic Buyer")
            );
            let row = bed.store.action(waiting.id.as_str()).await.unwrap();
            assert_eq!(row.state, ActionState::Pending, "{}", bed.crm);

            bed.approve(&row).await;
            bed.carry_out().await;
            assert_eq!(
                bed.roles(),
                ["Economic Buyer"],
                "{}: a person decided for ours",
                bed.crm
            );
            let (_, _, receipt) = bed.effect(&row).await;
            let receipt = receipt.unwrap();
            assert_eq!(receipt.done, Done::Updated, "{}", bed.crm);
            let tool = bed.tool();
            tool.undo(permit(&effect), &effect, &receipt, bed.now).await.unwrap();
            assert_eq!(bed.roles(), ["Influencer"], "{}: as it was", bed.crm);
            // What somebody has changed since stays.
            let undoing = tool.undo(permit(&effect), &effect, &receipt, bed.now).await.unwrap();
            assert_eq!(undoing.done, Done::NoChange, "{}", bed.crm);
            bed.end().await;
        }
    });
}

#[test]
fn a_lost_answer_gives_no_second_role() {
    wait(async {
        for kind in [FaultKind::DropAfterCommit, FaultKind::DropBeforeCommit] {
            for mut bed in Bed::all("role_lost", "low_touch").await {
                bed.sync(false).await;
                let (system, route) = match bed.crm {
                    Crm::Salesforce => (
                        System::Salesforce,
                        RouteMatch::route("POST", "/services/data/v68.0/sobjects/"),
                    ),
                    Crm::HubSpot => (System::Hubspot, RouteMatch::route("PUT", "/crm/objects/")),
                };
                bed.crms.inject(Fault {
                    system,
                    route,
                    kind: kind.clone(),
                    times: 1,
                });
                bed.run(0).await;
                let row = bed.actions().await.swap_remove(0);
                for _ in 0..3 {
                    bed.carry_out().await;
                }
                let (effect, state, receipt) = bed.effect(&row).await;
                assert_eq!(state, EffectState::Done, "{} {kind:?}", bed.crm);
                assert_eq!(bed.roles(), ["Economic Buyer"], "{} {kind:?}", bed.crm);
                // What undoing needs is kept although its answer was lost.
                let (tool, receipt) = (bed.tool(), receipt.unwrap());
                let undone = tool.undo(permit(&effect), &effect, &receipt, bed.now).await.unwrap();
                assert_eq!(undone.done, Done::Deleted, "{} {kind:?}: {receipt:?}", bed.crm);
                assert!(bed.roles().is_empty(), "{} {kind:?}", bed.crm);
                bed.end().await;
            }
        }
    });
}
