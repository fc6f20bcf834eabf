//! Reading CRMs, and writing beside people who edit the same records: against the local servers, with the whole program.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use perennial::intake::{ImportOptions, Mapping, SyncOptions, Synced, sync};
use perennial_core::action::{AccountField, ActionKind, Effect, Priority, Target, Write};
use perennial_core::ids::{AccountId, ActionId, EffectId, TenantId};
use perennial_core::signal::{Crm, Fact};
use perennial_core::time::{Day, Timestamp};
use perennial_sandbox::{Options, Sandbox, Seed, SeedRecord, System};
use perennial_store::{CallRules, DatabaseUrl, Learned, Store};
use perennial_tools::hubspot::HubSpot;
use perennial_tools::salesforce::Salesforce;
use perennial_tools::{Budget, Connection, FieldOwner, Known, Lane, NoCalls, SendError, Tool};
use secrecy::SecretString;

use crate::crms::permit;

const ACCOUNT: &str = "001000000000001AAA";

fn connection(url: &str, token: &str) -> Connection {
    Connection {
        requests_per_second: 2_000,
        burst: 500,
        ..Connection::new(url, SecretString::from(token.to_owned()))
    }
}

fn seed() -> Seed {
    Seed {
        salesforce: vec![
            SeedRecord::new("Account")
                .id("001000000000001")
                .field("Name", "One")
                .field("Industry", "Shipping"),
            SeedRecord::new("Contact")
                .field("LastName", "Berg")
                .field("Email", "ann@one.example")
                .field("AccountId", "001000000000001"),
            SeedRecord::new("Opportunity")
                .id("006000000000001")
                .field("Name", "Renewal")
                .field("StageName", "Prospecting")
                .field("CloseDate", "2026-12-31")
                .field("NextStep", "Ask for a date")
                .field("AccountId", "001000000000001"),
        ],
        hubspot: vec![
            SeedRecord::new("companies").id("9000000001").field("name", "One"),
            SeedRecord::new("deals").id("9000000009").field("dealname", "Renewal"),
        ],
    }
}

const SALESFORCE: &str = r#"
source = "salesforce"
[defaults]
currency = "USD"

[[object]]
name = "Account"
kind = "account"
key = "Id"
[object.fields]
name = "Name"
industry = "Industry"
crm = { column = "Id", system = "salesforce" }

[[object]]
name = "Contact"
kind = "contact"
key = "Id"
account = "AccountId"
[object.fields]
name = "LastName"
email = "Email"

[[object]]
name = "Opportunity"
kind = "opportunity"
key = "Id"
account = "AccountId"
event = "CreatedDate"
[object.fields]
name = "Name"
stage = "StageName"
next_step = "NextStep"
crm = { column = "Id", system = "salesforce" }
"#;

struct Bed {
    crms: Sandbox,
    store: Store,
    folder: tempfile::TempDir,
    salesforce: Arc<Salesforce>,
    mapping: Mapping,
}

impl Bed {
    async fn new() -> Bed {
        let crms = Sandbox::start(Options {
            seed: seed(),
            ..Options::default()
        })
        .await
        .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let url = DatabaseUrl::Sqlite(folder.path().join("test.db"));
        let store = Store::open(&url, TenantId::DEFAULT, &perennial_store::Options::default())
            .await
            .unwrap();
        store.migrate().await.unwrap();
        let address = crms.salesforce();
        let salesforce = Arc::new(Salesforce::new(connection(&address.url, &address.token)).unwrap());
        let mapping = Mapping::parse(Path::new("salesforce.toml"), SALESFORCE).unwrap();
        Bed {
            store,
            folder,
            salesforce,
            mapping,
            crms,
        }
    }

    async fn sync(&self) -> Synced {
        let options = SyncOptions::new(ImportOptions::new(self.folder.path()));
        let at = perennial::clock::Clock::System.now();
        sync(&self.store, self.salesforce.as_ref(), &self.mapping, &options, at)
            .await
            .unwrap()
    }

    /// Deletes a record as another integration would.
    fn delete(&self, record: &str) {
        let address = self.crms.salesforce();
        let host = address.url.strip_prefix("http://").unwrap();
        let mut stream = std::net::TcpStream::connect(host).unwrap();
        let request = format!(
            "DELETE /services/data/v68.0/sobjects/{record} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {}\r\n\
             connection: close\r\n\r\n",
            address.token
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    }

    fn edit(&self, object: &str, id: &str, field: &str, value: &str) {
        let fields = [(field.to_owned(), value.into())].into();
        self.crms.edit(System::Salesforce, object, id, fields, "Ann").unwrap();
    }
}

fn wait<F: Future<Output = ()>>(test: F) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(test);
}

#[test]
fn what_changed_is_read_once_and_what_was_deleted_is_gone() {
    wait(async {
        let bed = Bed::new().await;
        let first = bed.sync().await;
        let r = &first.report;
        assert_eq!((r.read, r.stored, r.duplicate, r.rejected), (3, 3, 0, 0), "{first:?}");
        assert_eq!(first.watermarks.len(), 3, "{first:?}");
        let again = bed.sync().await;
        let r = &again.report;
        assert_eq!(r.read, r.stored + r.duplicate + r.rejected);
        assert_eq!((r.stored, r.state_hash), (0, first.report.state_hash), "{again:?}");
        bed.edit("Account", ACCOUNT, "Industry", "Rail");
        let third = bed.sync().await;
        assert_eq!(third.report.stored, 1, "{third:?}");
        let account = AccountId::new(ACCOUNT);
        let contact = bed.crms.records(System::Salesforce, "Contact").swap_remove(0);
        bed.delete(&format!("Contact/{}", contact.id));
        let fourth = bed.sync().await;
        assert_eq!((fourth.deleted, fourth.report.stored), (1, 1), "{fourth:?}");
        let signals = bed.store.account_signals(&[account]).await.unwrap().into_values();
        let gone = signals.flatten().any(|s| matches!(s.fact, Fact::Gone(_)));
        assert!(gone);
        assert_eq!(bed.sync().await.deleted, 0);
    });
}

fn effect(name: &str, account: &str, write: Write) -> Effect {
    let action = ActionId::new(format!("act_{name}"));
    Effect {
        id: EffectId::derive(&action, 0),
        action,
        step: 0,
        tool: Crm::Salesforce,
        target: Target {
            account: AccountId::new(account),
            account_name: "One".to_owned(),
            crm_id: Some(account.to_owned()),
        },
        write,
    }
}

fn now() -> Timestamp {
    Timestamp::from_us(1_795_000_000_000_000)
}

#[test]
fn what_we_wrote_is_no_news_when_it_comes_back() {
    wait(async {
        let bed = Bed::new().await;
        bed.sync().await;
        let deal = Write::UpdateOpportunity {
            opportunity: "006000000000001AAA".to_owned(),
            crm_id: Some("006000000000001AAA".to_owned()),
            next_step: Some("Send the paper".to_owned()),
            stage: None,
            seen: [(perennial_core::action::DealField::NextStep, "Ask for a date".to_owned())].into(),
        };
        let task = Write::CreateTask {
            subject: "Call".to_owned(),
            body: String::new(),
            due: Day::from_ymd(2026, 12, 1).unwrap(),
            priority: Priority::Normal,
            assignee: None,
        };
        let mut known = Known::nothing();
        known.accept("NextStep", "Ask for a date");
        for (name, write) in [("deal", deal), ("task", task)] {
            let effect = effect(name, ACCOUNT, write);
            let receipt = bed
                .salesforce
                .execute(permit(&effect), &effect, &known, now())
                .await
                .unwrap();
            let learned = receipt.values_after().map(|(field, value)| Learned {
                tool: Crm::Salesforce,
                subject: "006000000000001AAA".to_owned(),
                field: field.to_owned(),
                value: value.to_owned(),
                ours: true,
            });
            let learned: Vec<_> = learned.map(|l| (AccountId::new(ACCOUNT), l)).collect();
            let at = perennial::clock::Clock::System.now();
            bed.store.learn_fields(&learned, at).await.unwrap();
        }
        let back = bed.sync().await;
        assert_eq!(back.report.stored, 0, "{back:?}");
        // A person's edit of the same field is news.
        bed.edit("Opportunity", "006000000000001AAA", "NextStep", "Wait for legal");
        assert_eq!(bed.sync().await.report.stored, 1);
    });
}

/// Must-show 6: a daily limit of 1,000 calls, work for 5,000, two workers.
#[test]
fn two_workers_never_exceed_the_day_urgent_work_is_served_and_the_warning_comes_first() {
    const LIMIT: u64 = 1_000;
    const EACH: usize = 2_500;
    wait(async {
        let bed = Bed::new().await;
        let rules = CallRules {
            daily: Some(LIMIT),
            assumed: LIMIT,
            per_second: 100_000,
            burst: 100_000,
        };
        let address = bed.crms.salesforce();
        let worker = async || {
            // A process of its own: its own connections to the same database.
            let url = DatabaseUrl::Sqlite(bed.folder.path().join("test.db"));
            let store = Store::open(&url, TenantId::DEFAULT, &perennial_store::Options::default())
                .await
                .unwrap();
            let clock = perennial::clock::Clock::System;
            let budget = Arc::new(perennial::StoreBudget::new(store, clock, rules));
            Salesforce::new(Connection {
                budget: Some(budget),
                ..connection(&address.url, &address.token)
            })
            .unwrap()
        };
        let (one, two) = (worker().await, worker().await);
        let ask = perennial_tools::Ask {
            object: "Account".to_owned(),
            fields: vec!["Id".to_owned()],
            // Changes: before everything is read it is asked how much there is, which is a call more.
            since: Some(Timestamp::EPOCH),
            deleted: true,
        };
        let work = async |tool: &Salesforce| {
            let mut refused = 0_usize;
            for _ in 0..EACH {
                match tool.page(&ask, None).await {
                    Ok(_) => {}
                    Err(SendError::Busy { why, .. }) => {
                        assert!(why.contains("of the day"), "{why}");
                        let budgets = bed.store.call_budgets().await.unwrap();
                        assert!(
                            budgets[0].warned_at.is_some(),
                            "the warning comes before the first refusal"
                        );
                        refused += 1;
                    }
                    Err(other) => panic!("{other:?}"),
                }
            }
            refused
        };
        let (a, b) = tokio::join!(work(&one), work(&two));
        let made = bed.crms.calls().len() as u64;
        assert_eq!(a + b + made as usize, 2 * EACH);
        assert!(made <= LIMIT * 95 / 100, "{made}");
        // Blocks of twenty: each worker may leave less than one unused.
        assert!(made > LIMIT * 95 / 100 - 40, "{made}");
        let urgent = Write::CreateTask {
            subject: "Call today".to_owned(),
            body: String::new(),
            due: Day::from_ymd(2026, 12, 1).unwrap(),
            priority: Priority::High,
            assignee: None,
        };
        let mut served = 0;
        for n in 0..100 {
            let effect = effect(&format!("urgent-{n}"), ACCOUNT, urgent.clone());
            match one.execute(permit(&effect), &effect, &Known::nothing(), now()).await {
                Ok(_) => served += 1,
                // The last call may be missing between the writing and the reading back.
                Err(SendError::Busy { .. } | SendError::Unknown { .. }) => break,
                Err(other) => panic!("{other:?}"),
            }
        }
        assert!(served >= 15, "{served}");
        let all = bed.crms.calls().len() as u64;
        assert!(all <= LIMIT, "{all}");
        println!(
            "limit {LIMIT}: {made} calls of {} before urgent ones, {served} urgent tasks, {all} calls in all",
            2 * EACH
        );
    });
}

/// The sandbox has the calls of the day and of the moment; a budget that gives nothing sends nothing.
#[derive(Debug)]
struct Nothing;

impl Budget for Nothing {
    fn take(&self, _: Crm, _: Lane, _: u32) -> futures_util::future::BoxFuture<'_, Result<u32, NoCalls>> {
        Box::pin(async {
            Err(NoCalls {
                retry_after: Duration::from_secs(60),
                why: "none".to_owned(),
            })
        })
    }

    fn heard(&self, _: Crm, _: u64, _: u64) -> futures_util::future::BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

#[test]
fn without_calls_nothing_is_sent() {
    wait(async {
        let bed = Bed::new().await;
        let address = bed.crms.hubspot();
        let tool = HubSpot::new(Connection {
            budget: Some(Arc::new(Nothing)),
            ..connection(&address.url, &address.token)
        })
        .unwrap();
        assert_eq!(tool.writes().account[&AccountField::Health].owner, FieldOwner::Ours);
        let ask = perennial_tools::Ask {
            object: "companies".to_owned(),
            fields: Vec::new(),
            since: None,
            deleted: true,
        };
        assert!(matches!(tool.page(&ask, None).await, Err(SendError::Busy { .. })));
        assert!(bed.crms.calls().is_empty());
        assert_eq!(ActionKind::CREATE_TASK.as_str(), "createTask");
    });
}
