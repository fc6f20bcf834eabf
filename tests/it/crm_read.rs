//! Reading HubSpot, its webhooks, and reading by schedule: against the local servers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use perennial::clock::Clock;
use perennial::config::{Config, Overrides};
use perennial::cycle::Engine;
use perennial::intake::{ImportOptions, Mapping, SyncError, SyncOptions, Synced, sync};
use perennial::reading::{read, read_due};
use perennial::webhooks::{WebhookOptions, Webhooks};
use perennial::worker;
use perennial_core::ids::{AccountId, TenantId};
use perennial_core::signal::{Crm, Fact, OpportunityState};
use perennial_core::time::Timestamp;
use perennial_sandbox::{self as sandbox, Limits, Options, Sandbox, Seed, SeedRecord, System};
use perennial_store::Store;
use perennial_tests::{Database, Said, command};
use perennial_tools::hubspot::HubSpot;
use perennial_tools::salesforce::Salesforce;
use perennial_tools::{BulkReading, Connection, Tool};
use secrecy::SecretString;
use serde_json::Value;

use crate::PROGRAM;
use crate::crms::{connection, wait};

const COMPANY: &str = "9000000001";
const PEOPLE: usize = 250;
const SECRET: &str = "the secret of the app";
const URL: &str = "https://hooks.example.com/hubspot";

const MAPPING: &str = r#"
source = "hubspot"
[defaults]
currency = "USD"

[[object]]
name = "owners"
kind = "owner"
key = "id"
[object.fields]
name = "email"
email = "email"

[[object]]
name = "companies"
kind = "account"
key = "hs_object_id"
[object.fields]
name = "name"
industry = "industry"
crm = { column = "hs_object_id", system = "hubspot" }

[[object]]
name = "contacts"
kind = "contact"
key = "hs_object_id"
account = "associations.companies"
[object.fields]
name = "lastname"
email = "email"

[[object]]
name = "deals"
kind = "opportunity"
key = "hs_object_id"
account = "associations.companies"
event = "createdate"
[object.fields]
name = "dealname"
stage = "dealstage"
state = "stage.state"
"#;

fn seed() -> Seed {
    let person = |n: usize| {
        SeedRecord::new("contacts")
            .id((8_000_000_000 + n).to_string())
            .field("lastname", format!("Person {n}"))
            .field("email", format!("p{n}@one.example"))
            .associated_with("companies", COMPANY)
    };
    let others = [
        SeedRecord::new("companies").id(COMPANY).field("name", "One"),
        SeedRecord::new("companies").id("9000000002").field("name", "Two"),
        SeedRecord::new("deals")
            .id("9000000009")
            .field("dealname", "Renewal")
            .field("dealstage", "qualifiedtobuy")
            .associated_with("companies", COMPANY),
    ];
    Seed {
        hubspot: others.into_iter().chain((1..=PEOPLE).map(person)).collect(),
        ..Seed::default()
    }
}

async fn opened(url: &str) -> Store {
    let store = Store::open(
        &url.parse().unwrap(),
        TenantId::DEFAULT,
        &perennial_store::Options::default(),
    )
    .await
    .unwrap();
    store.migrate().await.unwrap();
    store
}

struct Bed {
    crms: Sandbox,
    store: Store,
    tool: Arc<dyn Tool>,
    mapping: Mapping,
    options: SyncOptions,
    _folder: tempfile::TempDir,
}

impl Bed {
    async fn new(url: &str) -> Bed {
        let crms = Sandbox::start(Options {
            seed: seed(),
            ..Options::default()
        })
        .await
        .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let address = crms.hubspot();
        let tool = HubSpot::new(connection(&address.url, &address.token)).unwrap();
        Bed {
            store: opened(url).await,
            tool: Arc::new(tool),
            mapping: Mapping::parse(Path::new("hubspot.toml"), MAPPING).unwrap(),
            options: SyncOptions::new(ImportOptions::new(folder.path())),
            crms,
            _folder: folder,
        }
    }

    async fn sync(&self) -> Synced {
        let now = Clock::System.now();
        sync(&self.store, self.tool.as_ref(), &self.mapping, &self.options, now)
            .await
            .unwrap()
    }

    async fn read_due(&self) -> u64 {
        let (tool, clock) = (self.tool.as_ref(), Clock::System);
        read_due(&self.store, tool, &self.mapping, &self.options, 100, clock)
            .await
            .unwrap()
    }

    fn edit(&self, object: &str, id: &str, field: &str, value: &str) {
        let fields = [(field.to_owned(), value.into())].into();
        self.crms.edit(System::Hubspot, object, id, fields, "Ann").unwrap();
    }

    /// The present facts of the company's records, by id.
    async fn facts(&self) -> BTreeMap<String, Fact> {
        let account = AccountId::new(COMPANY);
        let found = self
            .store
            .account_signals(std::slice::from_ref(&account))
            .await
            .unwrap();
        let mut latest = BTreeMap::new();
        for signal in found.into_values().flatten() {
            let id = signal.external_id.as_str().to_owned();
            let held = latest.entry(id).or_insert_with(|| signal.clone());
            if signal.revision_at >= held.revision_at {
                *held = signal;
            }
        }
        latest.into_iter().map(|(id, signal)| (id, signal.fact)).collect()
    }

    async fn receiver(&self) -> Webhooks {
        let options = WebhookOptions {
            address: "127.0.0.1:0".parse().unwrap(),
            public_url: URL.to_owned(),
            secret: SecretString::from(SECRET),
            objects: ["companies", "contacts", "deals"].map(str::to_owned).into(),
            clock: Clock::System,
        };
        let receiver = Webhooks::start(self.store.clone(), options).await.unwrap();
        self.crms.set_webhooks(self.rule(&receiver)).unwrap();
        receiver
    }

    fn rule(&self, receiver: &Webhooks) -> sandbox::Webhooks {
        let target = format!("http://{}/hubspot", receiver.address());
        sandbox::Webhooks {
            public_url: Some(URL.to_owned()),
            ..sandbox::Webhooks::new(target, SECRET)
        }
    }
}

/// On SQLite, and on PostgreSQL where there is one.
fn on_both<F: AsyncFn(&str)>(name: &str, test: F) {
    let temp = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for db in Database::both(name, temp.path()) {
        runtime.block_on(test(&db.url));
    }
}

#[test]
fn hubspot_is_read_past_a_page_what_changed_once_and_what_was_archived_is_gone() {
    on_both("read_hubspot", async |url| {
        let bed = Bed::new(url).await;
        let first = bed.sync().await;
        let owners = first.report.files[0].stored;
        assert!(owners > 0, "{first:?}");
        let people = PEOPLE as u64;
        assert_eq!(
            (first.report.stored, first.report.rejected, first.report.unlinked),
            (owners + 3 + people, 0, 0),
            "{first:?}"
        );
        let facts = bed.facts().await;
        assert_eq!(facts.len(), 2 + PEOPLE, "the company, its deal and its people");
        let again = bed.sync().await;
        assert_eq!((again.report.stored, again.deleted), (0, 0), "{again:?}");
        match &facts["9000000009"] {
            Fact::Opportunity(deal) => {
                let is = (deal.stage.as_deref(), deal.state);
                assert_eq!(is, (Some("qualifiedtobuy"), Some(OpportunityState::Open)));
            }
            other => panic!("{other:?}"),
        }
        bed.edit("contacts", "8000000007", "lastname", "Berg");
        let third = bed.sync().await;
        assert_eq!(third.report.stored, 1, "{third:?}");
        match &bed.facts().await["8000000007"] {
            Fact::Contact(contact) => assert_eq!(contact.name.as_deref(), Some("Berg")),
            other => panic!("{other:?}"),
        }
        bed.crms
            .remove(System::Hubspot, "contacts", "8000000008", "Ann")
            .unwrap();
        let fourth = bed.sync().await;
        assert_eq!((fourth.deleted, fourth.report.stored), (1, 1), "{fourth:?}");
        assert!(matches!(bed.facts().await["8000000008"], Fact::Gone(_)));
        assert_eq!(bed.sync().await.deleted, 0);
        // Which stage is the won one, the pipeline says.
        bed.edit("deals", "9000000009", "dealstage", "closedwon");
        bed.sync().await;
        match &bed.facts().await["9000000009"] {
            Fact::Opportunity(deal) => assert_eq!(deal.state, Some(OpportunityState::Won)),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn by_schedule_what_was_archived_is_listed_now_and_then() {
    on_both("read_archived", async |url| {
        let mut bed = Bed::new(url).await;
        bed.options.standing = true;
        bed.options.deleted_every_us = Some(3_600_000_000);
        let begun = Clock::System.now();
        // How many objects were listed, and how many records were gone.
        let read = async |bed: &Bed, minutes: i64| {
            let now = Timestamp::from_us(begun.us() + minutes * 60_000_000);
            let before = bed.crms.calls().len();
            let done = sync(&bed.store, bed.tool.as_ref(), &bed.mapping, &bed.options, now).await;
            let calls = bed.crms.calls().split_off(before);
            let lists = calls.iter().filter(|call| call.path.contains("archived=true"));
            (lists.count(), done.unwrap().deleted)
        };
        assert_eq!(read(&bed, 0).await, (3, 0), "companies, contacts and deals");
        bed.crms
            .remove(System::Hubspot, "contacts", "8000000008", "Ann")
            .unwrap();
        assert_eq!(read(&bed, 59).await, (0, 0));
        assert_eq!(read(&bed, 60).await, (3, 1));
        assert_eq!(read(&bed, 61).await, (0, 0));
        bed.options.full = true;
        assert_eq!(read(&bed, 62).await.0, 3, "a reading of everything leaves nothing out");
    });
}

#[test]
fn what_a_webhook_names_is_read_as_it_is_past_an_index_that_lags() {
    on_both("read_webhooks", async |url| {
        let bed = Bed::new(url).await;
        bed.sync().await;
        bed.crms.set_limits(Limits {
            hubspot_search_lag: Some(Duration::from_secs(3_600)),
            ..Limits::default()
        });
        let receiver = bed.receiver().await;
        // Twice each, in another order than they happened, and of more records than one batch holds.
        bed.crms
            .set_webhooks(sandbox::Webhooks {
                repeat_every: 1,
                reorder: true,
                ..bed.rule(&receiver)
            })
            .unwrap();
        for industry in ["Rail", "Shipping"] {
            bed.edit("companies", COMPANY, "name", industry);
        }
        for n in 1..=120 {
            bed.edit("contacts", &(8_000_000_000_u64 + n).to_string(), "lastname", "Berg");
        }
        bed.crms
            .remove(System::Hubspot, "contacts", "8000000200", "Ann")
            .unwrap();
        let deliveries = bed.crms.deliver_webhooks().await;
        assert!(deliveries.len() >= 3, "{deliveries:?}");
        assert!(deliveries.iter().all(|one| one.status == Some(200)), "{deliveries:?}");
        // The index has nothing of it.
        let lagging = bed.sync().await;
        assert_eq!(lagging.report.stored - lagging.deleted, 0, "{lagging:?}");
        assert_eq!(bed.read_due().await, 122);
        let facts = bed.facts().await;
        match &facts[COMPANY] {
            Fact::Account(account) => assert_eq!(account.name.as_deref(), Some("Shipping")),
            other => panic!("{other:?}"),
        }
        let renamed = facts
            .values()
            .filter(|fact| matches!(fact, Fact::Contact(contact) if contact.name.as_deref() == Some("Berg")));
        assert_eq!(renamed.count(), 120);
        assert!(matches!(facts["8000000200"], Fact::Gone(_)));
        let state = bed.store.state_hash().await.unwrap();
        // The same deliveries once more, after everything else: nothing is new.
        bed.edit("companies", COMPANY, "name", "Rail");
        bed.edit("companies", COMPANY, "name", "Shipping");
        bed.crms.deliver_webhooks().await;
        assert_eq!(bed.read_due().await, 1);
        assert_eq!(bed.store.state_hash().await.unwrap(), state);
        assert_eq!(bed.read_due().await, 0);
        let delivered = receiver.stop().await;
        assert!(delivered.refused.is_empty() && delivered.taken >= 4, "{delivered:?}");
    });
}

#[test]
fn a_webhook_that_hubspot_did_not_sign_lately_is_refused_and_counted() {
    use perennial_sandbox::Mutation;
    on_both("read_forged", async |url| {
        let bed = Bed::new(url).await;
        let receiver = bed.receiver().await;
        for (mutation, reason) in [
            (Mutation::HsWebhookForged, "wrong"),
            (Mutation::HsWebhookStale, "stale"),
            (Mutation::HsWebhookSeconds, "stale"),
        ] {
            bed.crms.mutate(Some(mutation));
            bed.edit("companies", COMPANY, "name", mutation.name());
            let before = receiver.delivered().refused.get(reason).copied().unwrap_or(0);
            let deliveries = bed.crms.deliver_webhooks().await;
            let statuses: BTreeSet<Option<u16>> = deliveries.iter().map(|one| one.status).collect();
            assert_eq!(statuses, [Some(401)].into(), "{mutation:?}");
            let refused = receiver.delivered().refused[reason] - before;
            assert_eq!(refused, deliveries.len() as u64, "{mutation:?}");
        }
        assert_eq!(bed.store.due_records(Crm::HubSpot, 10).await.unwrap(), []);
        // Signed for another address than ours.
        bed.crms.mutate(None);
        bed.crms
            .set_webhooks(sandbox::Webhooks {
                public_url: Some("https://elsewhere.example.com/hubspot".to_owned()),
                ..bed.rule(&receiver)
            })
            .unwrap();
        let deliveries = bed.crms.deliver_webhooks().await;
        assert!(!deliveries.is_empty() && deliveries.iter().all(|one| one.status == Some(401)));
        // What was refused is sent again, and taken when it is signed right: nothing was lost.
        bed.crms.set_webhooks(bed.rule(&receiver)).unwrap();
        let deliveries = bed.crms.deliver_webhooks().await;
        assert!(!deliveries.is_empty() && deliveries.iter().all(|one| one.status == Some(200)));
        assert_eq!(bed.store.due_records(Crm::HubSpot, 10).await.unwrap().len(), 1);
        receiver.stop().await;
    });
}

/// A Salesforce with one account and so many contacts, read by a job from ten records on.
async fn salesforce(contacts: u64) -> (Sandbox, Salesforce, Mapping) {
    let account = SeedRecord::new("Account").id("001000000000001").field("Name", "One");
    let people = (0..contacts).map(|n| {
        SeedRecord::new("Contact")
            .field("LastName", format!("Person {n}"))
            .field("AccountId", "001000000000001")
    });
    let crms = Sandbox::start(Options {
        seed: Seed {
            salesforce: std::iter::once(account).chain(people).collect(),
            ..Seed::default()
        },
        ..Options::default()
    })
    .await
    .unwrap();
    let address = crms.salesforce();
    let tool = Salesforce::new(Connection {
        bulk_reading: BulkReading {
            from_records: 10,
            page_records: 30,
            first_pause_ms: 5,
        },
        ..connection(&address.url, &address.token)
    })
    .unwrap();
    let text = "source = \"salesforce\"\n[[object]]\nname = \"Contact\"\nkind = \"contact\"\nkey = \"Id\"\naccount = \"AccountId\"\n\
                [object.fields]\nname = \"LastName\"\n";
    let mapping = Mapping::parse(Path::new("salesforce.toml"), text).unwrap();
    (crms, tool, mapping)
}

#[test]
fn a_job_brings_what_pages_bring_and_a_broken_one_is_begun_again() {
    on_both("read_bulk", async |url| {
        let (crms, tool, mapping) = salesforce(100).await;
        let store = opened(url).await;
        let folder = tempfile::tempdir().unwrap();
        let options = SyncOptions::new(ImportOptions::new(folder.path()));
        // The job says that there is nothing behind its first page.
        crms.mutate(Some(sandbox::Mutation::SfLocatorLost));
        let broken = read(&store, &tool, &mapping, &options, Clock::System.now()).await;
        let broken = broken.expect_err("fewer than the job found");
        assert!(
            matches!(&broken, SyncError::Crm { object, .. } if object == "Contact"),
            "{broken:?}"
        );
        let reading = store.crm_readings().await.unwrap().remove(0);
        assert!(reading.failed.is_some_and(|why| why.contains("30 of 100")) && reading.read_at.is_none());
        crms.mutate(None);
        let whole = read(&store, &tool, &mapping, &options, Clock::System.now())
            .await
            .unwrap();
        assert_eq!(whole.report.stored + whole.report.duplicate, 100, "{whole:?}");
        assert_eq!(whole.watermarks.len(), 1);
        let reading = store.crm_readings().await.unwrap().remove(0);
        assert!(reading.failed.is_none() && reading.read_at.is_some(), "{reading:?}");
        // Pages bring the same: everything is known.
        let address = crms.salesforce();
        let by_pages = Salesforce::new(connection(&address.url, &address.token)).unwrap();
        let full = SyncOptions { full: true, ..options };
        let again = sync(&store, &by_pages, &mapping, &full, Clock::System.now())
            .await
            .unwrap();
        assert_eq!((again.report.stored, again.report.duplicate), (0, 100), "{again:?}");
    });
}

#[test]
fn a_reading_that_is_told_to_stop_ends_its_job_in_the_org() {
    wait(async {
        let temp = tempfile::tempdir().unwrap();
        let (crms, tool, mapping) = salesforce(20).await;
        let store = opened(&Database::sqlite(temp.path()).url).await;
        let (stop, told) = tokio::sync::watch::channel(true);
        let options = SyncOptions {
            stop: Some(told),
            ..SyncOptions::new(ImportOptions::new(temp.path()))
        };
        let stopped = sync(&store, &tool, &mapping, &options, Clock::System.now()).await;
        assert!(
            matches!(stopped, Err(SyncError::Stopped { crm: Crm::Salesforce })),
            "{stopped:?}"
        );
        let calls: Vec<String> = crms
            .calls()
            .iter()
            .map(|call| format!("{} {}", call.method, call.path))
            .collect();
        assert!(
            calls
                .last()
                .is_some_and(|last| last.starts_with("PATCH ") && last.contains("/jobs/query/")),
            "{calls:?}"
        );
        drop(stop);
    });
}

/// Waits until something holds; what is waited for must come by itself.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..3_000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("waited in vain: {what}");
}

fn doctor(folder: &Path, url: &str) -> String {
    let said: Said = command(PROGRAM, folder, &["doctor", "--json", "--db", url])
        .output()
        .unwrap()
        .into();
    let document: Value = said.json();
    let checks = document["checks"]
        .as_array()
        .or(document["results"]["checks"].as_array());
    let line = |check: &Value| format!("{} {}", check["subject"], check["message"]);
    checks.unwrap().iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_worker_that_leads_reads_by_schedule_and_what_webhooks_name() {
    on_both("read_schedule", async |url| {
        let bed = Bed::new(url).await;
        let folder = tempfile::tempdir().unwrap();
        let address = bed.crms.hubspot();
        std::fs::write(folder.path().join("hubspot.toml"), MAPPING).unwrap();
        std::fs::write(folder.path().join("hubspot.token"), &address.token).unwrap();
        std::fs::write(folder.path().join("webhook.secret"), SECRET).unwrap();
        let text = format!(
            "[hubspot]\nbase_url = \"{}\"\ntoken_file = \"hubspot.token\"\nmapping = \"hubspot.toml\"\n\
             [sync]\nevery_s = 3600\n[webhook]\npublic_url = \"{URL}\"\nsecret_file = \"webhook.secret\"\n",
            address.url
        );
        let file = folder.path().join("perennial.toml");
        std::fs::write(&file, text).unwrap();
        let before = doctor(folder.path(), url);
        assert!(before.contains("never read"), "{before}");
        let config = Config::load(&Overrides {
            config: Some(file),
            db: Some(url.to_owned()),
            policies: None,
        })
        .unwrap();
        let tools = config.tools_of(&bed.store).unwrap();
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let engine = Engine {
            config: &config,
            store: &bed.store,
            tools: &tools,
            stop: stopped,
        };
        let watching = async {
            until("the first reading", async || {
                let readings = bed.store.crm_readings().await.unwrap();
                readings.iter().any(|reading| reading.read_at.is_some())
            })
            .await;
            assert_eq!(bed.facts().await.len(), 2 + PEOPLE);
            let receiver = bed.receiver().await;
            bed.edit("companies", COMPANY, "name", "Renamed");
            bed.crms.deliver_webhooks().await;
            until("what the webhook named", async || {
                matches!(&bed.facts().await[COMPANY], Fact::Account(account) if account.name.as_deref() == Some("Renamed"))
            })
            .await;
            receiver.stop().await;
            stop.send_replace(true);
        };
        let (worked, ()) = tokio::join!(worker::work(&engine), watching);
        worked.unwrap();
        let after = doctor(folder.path(), url);
        assert!(
            after.contains("last read 2") && !after.contains("never read"),
            "{after}"
        );
        assert!(after.contains("received at 127.0.0.1:8018"), "{after}");
        // A reading by schedule leaves no file behind where nothing was rejected.
        let left: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.contains("rejects"))
            .collect();
        assert_eq!(left, Vec::<String>::new());
    });
}
