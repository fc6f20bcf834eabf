//! The part of the scenario that reads: everything, by a job and by pages; then what a person changed and what they deleted; then, of
//! HubSpot, what its webhooks say.

use std::collections::BTreeSet;
use std::path::Path;

use perennial::clock::Clock;
use perennial::intake::{ImportOptions, Mapping, SyncError, SyncOptions, Synced, sync};
use perennial::reading::read_due;
use perennial::webhooks::{WebhookOptions, Webhooks};
use perennial_core::ids::{AccountId, TenantId};
use perennial_core::replay::canonical;
use perennial_core::time::Timestamp;
use perennial_sandbox::{self as sandbox, Limits, Mutation, Options, Sandbox, Seed, SeedRecord, System};
use perennial_store::{DatabaseUrl, Store};
use perennial_tools::hubspot::HubSpot;
use perennial_tools::salesforce::Salesforce;
use perennial_tools::{BulkReading, Connection, Tool};
use secrecy::SecretString;

use super::{Outcome, PATIENCE, kind};
use crate::crms::connection;

const MAPPING: &str = r#"
source = "SYSTEM"
[[object]]
name = "ACCOUNTS"
kind = "account"
key = "ID"
[object.fields]
name = "NAME"

[[object]]
name = "CONTACTS"
kind = "contact"
key = "ID"
account = "OWNER"
[object.fields]
name = "LASTNAME"
"#;

/// Rows on a page of the Salesforce of this scenario: a page may be short.
const PAGE: usize = 8;
const SECRET: &str = "the secret of the app";

/// The words of a CRM for the same things.
struct Words {
    source: &'static str,
    accounts: &'static str,
    contacts: &'static str,
    id: &'static str,
    name: &'static str,
    owner: &'static str,
    last_name: &'static str,
    account: &'static str,
    gone: &'static str,
    people: usize,
}

fn words(system: System) -> Words {
    match system {
        System::Salesforce => Words {
            source: "salesforce",
            accounts: "Account",
            contacts: "Contact",
            id: "Id",
            name: "Name",
            owner: "AccountId",
            last_name: "LastName",
            account: "001000000000001AAA",
            gone: "003000000000001AAA",
            people: 20,
        },
        System::Hubspot => Words {
            source: "hubspot",
            accounts: "companies",
            contacts: "contacts",
            id: "hs_object_id",
            name: "name",
            owner: "associations.companies",
            last_name: "lastname",
            account: "9000000001",
            gone: "8000000001",
            people: 203,
        },
    }
}

fn seed(system: System, words: &Words) -> Seed {
    let account = SeedRecord::new(words.accounts)
        .id(words.account)
        .field(words.name, "One");
    let people = (1..=words.people).map(|n| {
        let person = SeedRecord::new(words.contacts).field(words.last_name, format!("Person {n}"));
        match system {
            System::Salesforce => person.id(format!("003{n:012}")).field("AccountId", words.account),
            System::Hubspot => person
                .id((8_000_000_000 + n).to_string())
                .associated_with("companies", words.account),
        }
    });
    let all = std::iter::once(account).chain(people).collect();
    match system {
        System::Salesforce => Seed {
            salesforce: all,
            ..Seed::default()
        },
        System::Hubspot => Seed {
            hubspot: all,
            ..Seed::default()
        },
    }
}

fn mapping(words: &Words) -> Mapping {
    let text = MAPPING
        .replace("SYSTEM", words.source)
        .replace("LASTNAME", words.last_name)
        .replace("ACCOUNTS", words.accounts)
        .replace("CONTACTS", words.contacts)
        .replace("NAME", words.name)
        .replace("OWNER", words.owner)
        .replace("ID", words.id);
    Mapping::parse(Path::new("mapping.toml"), &text).unwrap()
}

struct Desk {
    store: Store,
    tool: Box<dyn Tool>,
    mapping: Mapping,
    options: SyncOptions,
}

impl Desk {
    async fn new(crms: &Sandbox, system: System, folder: &Path, name: &str, job_from: u64) -> Desk {
        let url = DatabaseUrl::Sqlite(folder.join(name));
        let store = Store::open(&url, TenantId::DEFAULT, &perennial_store::Options::default())
            .await
            .unwrap();
        store.migrate().await.unwrap();
        let address = match system {
            System::Salesforce => crms.salesforce(),
            System::Hubspot => crms.hubspot(),
        };
        let connection = Connection {
            max_attempts: 1,
            bulk_reading: BulkReading {
                from_records: job_from,
                page_records: 8,
                first_pause_ms: 1,
            },
            ..connection(&address.url, &address.token)
        };
        let tool: Box<dyn Tool> = match system {
            System::Salesforce => Box::new(Salesforce::new(connection).unwrap()),
            System::Hubspot => Box::new(HubSpot::new(connection).unwrap()),
        };
        Desk {
            store,
            tool,
            mapping: mapping(&words(system)),
            options: SyncOptions::new(ImportOptions::new(folder)),
        }
    }

    async fn read(&self) -> String {
        let now = Clock::System.now();
        let reading = sync(&self.store, self.tool.as_ref(), &self.mapping, &self.options, now);
        match tokio::time::timeout(PATIENCE, reading).await {
            Ok(Ok(Synced { report, deleted, .. })) => format!(
                "{} stored, {} rejected, {} unlinked, {deleted} deleted",
                report.stored, report.rejected, report.unlinked
            ),
            Ok(Err(error)) => failed(&error),
            Err(_) => "no answer".to_owned(),
        }
    }

    /// What is known of the account and all that hangs on it, whenever it was read.
    async fn known(&self, account: &str) -> Vec<String> {
        let account = AccountId::new(account);
        let signals = self
            .store
            .account_signals(std::slice::from_ref(&account))
            .await
            .unwrap();
        let facts: BTreeSet<String> = signals
            .into_values()
            .flatten()
            .map(|signal| format!("{} {}", signal.external_id.as_str(), canonical(&signal.fact)))
            .collect();
        facts.into_iter().collect()
    }
}

fn failed(error: &SyncError) -> String {
    match error {
        SyncError::Crm { source, .. } => format!("error {}", kind(source)),
        other => format!("error {other}"),
    }
}

fn hours_ago(hours: i64) -> sandbox::Clock {
    let at = Timestamp::from_us(Clock::System.now().us() - hours * 3_600_000_000);
    sandbox::Clock::Fixed(at.to_string().parse().unwrap())
}

/// Reads, and says what came of it.
pub(super) async fn scenario(system: System, mutation: Option<Mutation>, outcome: &mut Outcome) {
    let words = words(system);
    // What there is has not changed for two hours, so that only its time says that it has.
    let crms = Sandbox::start(Options {
        seed: seed(system, &words),
        clock: hours_ago(2),
        ..Options::default()
    })
    .await
    .unwrap();
    crms.set_clock(hours_ago(1));
    let another = [(words.name.to_owned(), "Another".into())].into();
    crms.make(system, words.accounts, &another, "Ann").unwrap();
    crms.set_clock(sandbox::Clock::System);
    crms.set_limits(Limits {
        salesforce_page: PAGE,
        ..Limits::default()
    });
    let folder = tempfile::tempdir().unwrap();
    crms.mutate(mutation);
    let mut say = |what: &str, said: String| outcome.said.push(format!("{what}: {said}"));
    if system == System::Salesforce {
        let by_job = Desk::new(&crms, system, folder.path(), "job.db", 5).await;
        say("read by a job", by_job.read().await);
    }
    let desk = Desk::new(&crms, system, folder.path(), "pages.db", 1_000_000).await;
    say("read", desk.read().await);
    let renamed = [(words.name.to_owned(), "Two".into())].into();
    crms.edit(system, words.accounts, words.account, renamed, "Ann")
        .unwrap();
    say("read after an edit", desk.read().await);
    crms.remove(system, words.contacts, words.gone, "Ann").unwrap();
    say("read after a deletion", desk.read().await);
    if system == System::Hubspot {
        say("webhooks", webhooks(&crms, &desk, &words).await);
    }
    outcome.state.extend(desk.known(words.account).await);
}

/// Three edits of one record, and what their webhooks bring.
async fn webhooks(crms: &Sandbox, desk: &Desk, words: &Words) -> String {
    const URL: &str = "https://hooks.example.com/hubspot";
    let options = WebhookOptions {
        address: "127.0.0.1:0".parse().unwrap(),
        public_url: URL.to_owned(),
        secret: SecretString::from(SECRET),
        objects: [words.accounts.to_owned(), words.contacts.to_owned()].into(),
        clock: Clock::System,
    };
    let receiver = Webhooks::start(desk.store.clone(), options).await.unwrap();
    let target = format!("http://{}/hubspot", receiver.address());
    crms.set_webhooks(sandbox::Webhooks {
        public_url: Some(URL.to_owned()),
        ..sandbox::Webhooks::new(target, SECRET)
    })
    .unwrap();
    for name in ["Three", "Four", "Five"] {
        let renamed = [(words.name.to_owned(), name.into())].into();
        crms.edit(System::Hubspot, words.accounts, words.account, renamed, "Ann")
            .unwrap();
    }
    let statuses: BTreeSet<Option<u16>> = crms.deliver_webhooks().await.iter().map(|one| one.status).collect();
    let delivered = receiver.stop().await;
    let due = desk.store.due_records(desk.tool.crm(), 100).await.unwrap().len();
    let (tool, mapping) = (desk.tool.as_ref(), &desk.mapping);
    let reading = read_due(&desk.store, tool, mapping, &desk.options, 100, Clock::System);
    let read = match tokio::time::timeout(PATIENCE, reading).await {
        Ok(Ok(read)) => format!("{read} read"),
        Ok(Err(error)) => failed(&error),
        Err(_) => "no answer".to_owned(),
    };
    format!("{statuses:?}, refused {:?}, {due} due, {read}", delivered.refused)
}
