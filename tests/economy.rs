//! API calls of a first reading of a whole book, counted at the local servers, against the least that the API allows.
//!
//! How the least is counted. Every record is read once, and of every contact the account it belongs to. Signing in, and asking again
//! after a failure, are not in it.
//!
//! * Salesforce: of each object the smaller of two ways. Pages of a query hold 2,000 records. A job of Bulk 2.0 is one call to begin,
//!   two looks at its state (the local server's jobs take two steps, and how many a real one takes is up to the org) and a call for
//!   each page of results of 50,000 records, the server's own page.
//! * HubSpot: pages of search hold 200 records, twice what a list holds. The companies of contacts are read for 1,000 contacts at once.
//!   A list that names them with its records has 100 of those, so 10 calls for what search and associations read with 6.
//!
//! What we make beyond it: Salesforce is asked once how many records there are, because that decides which way is the smaller;
//! HubSpot's archived records are listed, because search never shows them.

use std::collections::BTreeMap;
use std::path::Path;

use perennial::intake::{ImportOptions, Mapping, SyncOptions, Synced, sync};
use perennial_core::ids::TenantId;
use perennial_core::signal::Crm;
use perennial_sandbox::{Options, Sandbox, Seed, SeedRecord, System};
use perennial_store::{DatabaseUrl, Store};
use perennial_tools::hubspot::HubSpot;
use perennial_tools::salesforce::Salesforce;
use perennial_tools::{BulkReading, Connection, Tool};
use secrecy::SecretString;

/// Records of a page of a query of Salesforce.
const QUERIED: u64 = 2_000;
/// Records of a page of results of a job.
const JOB_PAGE: u64 = 50_000;
/// Looks at a job of the local server until it is done.
const LOOKS: u64 = 2;
/// Records of a page of search of HubSpot.
const SEARCHED: u64 = 200;
/// Records whose associations are read at once.
const ASSOCIATED: u64 = 1_000;

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

[[object]]
name = "Contact"
kind = "contact"
key = "Id"
account = "AccountId"
[object.fields]
name = "LastName"
email = "Email"
"#;

const HUBSPOT: &str = r#"
source = "hubspot"
[defaults]
currency = "USD"

[[object]]
name = "companies"
kind = "account"
key = "hs_object_id"
[object.fields]
name = "name"
industry = "industry"

[[object]]
name = "contacts"
kind = "contact"
key = "hs_object_id"
account = "associations.companies"
[object.fields]
name = "lastname"
email = "email"
"#;

/// A book of so many accounts and contacts.
#[derive(Debug, Clone, Copy)]
pub struct Book {
    /// Accounts, or companies.
    pub accounts: u64,
    /// Contacts, spread evenly over them.
    pub contacts: u64,
}

fn pages(records: u64, of: u64) -> u64 {
    records.div_ceil(of).max(1)
}

impl Book {
    /// Fewest calls that read it.
    #[must_use]
    pub fn least(self, crm: Crm) -> u64 {
        match crm {
            Crm::Salesforce => {
                let job = |records| 1 + LOOKS + pages(records, JOB_PAGE);
                let of = |records| pages(records, QUERIED).min(job(records));
                of(self.accounts) + of(self.contacts)
            }
            Crm::HubSpot => {
                let searched = pages(self.accounts, SEARCHED) + pages(self.contacts, SEARCHED);
                searched + pages(self.contacts, ASSOCIATED)
            }
        }
    }

    /// Calls that we make.
    #[must_use]
    pub fn ours(self, crm: Crm) -> u64 {
        match crm {
            Crm::Salesforce => {
                let of = |records: u64| {
                    if records >= BulkReading::FROM_RECORDS {
                        1 + LOOKS + pages(records, JOB_PAGE)
                    } else {
                        pages(records, QUERIED)
                    }
                };
                1 + of(self.accounts) + of(self.contacts)
            }
            // The list of archived records of each object.
            Crm::HubSpot => self.least(crm) + 2,
        }
    }

    fn seed(self, crm: Crm) -> Seed {
        let account_of = |n: u64| n % self.accounts.max(1);
        match crm {
            Crm::Salesforce => {
                let id = |n: u64| format!("001{n:012}");
                let accounts = (0..self.accounts).map(|n| {
                    SeedRecord::new("Account")
                        .id(id(n))
                        .field("Name", format!("Customer {n}"))
                        .field("Industry", "Shipping")
                });
                let contacts = (0..self.contacts).map(|n| {
                    SeedRecord::new("Contact")
                        .id(format!("003{n:012}"))
                        .field("LastName", format!("Person {n}"))
                        .field("Email", format!("p{n}@customer.example"))
                        .field("AccountId", id(account_of(n)))
                });
                Seed {
                    salesforce: accounts.chain(contacts).collect(),
                    ..Seed::default()
                }
            }
            Crm::HubSpot => {
                let id = |n: u64| (9_000_000_000 + n).to_string();
                let accounts = (0..self.accounts).map(|n| {
                    SeedRecord::new("companies")
                        .id(id(n))
                        .field("name", format!("Customer {n}"))
                });
                let contacts = (0..self.contacts).map(|n| {
                    SeedRecord::new("contacts")
                        .id((20_000_000_000 + n).to_string())
                        .field("lastname", format!("Person {n}"))
                        .field("email", format!("p{n}@customer.example"))
                        .associated_with("companies", id(account_of(n)))
                });
                Seed {
                    hubspot: accounts.chain(contacts).collect(),
                    ..Seed::default()
                }
            }
        }
    }
}

/// A CRM that holds a book, and an empty store to read it into.
pub struct Shelf {
    /// The local servers.
    pub crms: Sandbox,
    /// Where it is read to.
    pub store: Store,
    tool: Box<dyn Tool>,
    mapping: Mapping,
    folder: tempfile::TempDir,
}

impl Shelf {
    /// Fills a CRM with a book.
    ///
    /// # Panics
    /// When the servers or the store do not start.
    #[must_use]
    pub async fn of(crm: Crm, book: Book) -> Shelf {
        let options = Options {
            seed: book.seed(crm),
            ..Options::default()
        };
        let crms = Sandbox::start(options).await.expect("servers");
        let (address, mapping) = match crm {
            Crm::Salesforce => (crms.salesforce(), SALESFORCE),
            Crm::HubSpot => (crms.hubspot(), HUBSPOT),
        };
        let connection = Connection {
            requests_per_second: 100_000,
            burst: 100_000,
            bulk_reading: BulkReading {
                first_pause_ms: 1,
                ..BulkReading::default()
            },
            ..Connection::new(address.url.clone(), SecretString::from(address.token.clone()))
        };
        let tool: Box<dyn Tool> = match crm {
            Crm::Salesforce => Box::new(Salesforce::new(connection).expect("a tool")),
            Crm::HubSpot => Box::new(HubSpot::new(connection).expect("a tool")),
        };
        let folder = tempfile::tempdir().expect("a folder");
        let url = DatabaseUrl::Sqlite(folder.path().join("economy.db"));
        let store = Store::open(&url, TenantId::DEFAULT, &perennial_store::Options::default())
            .await
            .expect("a store");
        store.migrate().await.expect("migrates");
        Shelf {
            mapping: Mapping::parse(Path::new("economy.toml"), mapping).expect("a mapping"),
            crms,
            store,
            tool,
            folder,
        }
    }

    /// Reads what there is to read.
    ///
    /// # Panics
    /// When it cannot be read.
    pub async fn read(&self) -> Synced {
        let options = SyncOptions::new(ImportOptions::new(self.folder.path()));
        let now = perennial::clock::Clock::System.now();
        sync(&self.store, self.tool.as_ref(), &self.mapping, &options, now)
            .await
            .expect("reads")
    }

    /// Calls so far, by method and kind of path, without the ids.
    #[must_use]
    pub fn calls(&self) -> BTreeMap<String, u64> {
        let system = match self.tool.crm() {
            Crm::Salesforce => System::Salesforce,
            Crm::HubSpot => System::Hubspot,
        };
        self.crms.tally(system)
    }
}
