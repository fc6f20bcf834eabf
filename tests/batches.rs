//! Many changed records on their way into a CRM, and the calls that this takes: for the test and the benchmark of call economy.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use perennial::config::{Config, Overrides};
use perennial::cycle::Engine;
use perennial::dispatch::{Drained, drain};
use perennial_core::action::{AccountField, ActionKind, Write};
use perennial_core::ids::TenantId;
use perennial_core::signal::Crm;
use perennial_core::time::Timestamp;
use perennial_sandbox::{Options, Sandbox, Seed, SeedRecord, System};
use perennial_store::Store;
use perennial_tools::hubspot::HubSpot;
use perennial_tools::salesforce::Salesforce;
use perennial_tools::{BulkWriting, Connection, Registry, Tool};
use secrecy::SecretString;

use crate::work;

/// Actions of one transaction when they are committed.
const COMMIT: usize = 250;

/// The Salesforce id of the account with a number. Its last three characters are the checksum of capital letters, of which it has
/// none.
#[must_use]
pub fn account_id(n: usize) -> String {
    format!("001{n:012}AAA")
}

/// The HubSpot id of the company with a number.
#[must_use]
pub fn company_id(n: usize) -> String {
    format!("9{n:09}")
}

/// Both CRMs with so many accounts and companies, whose health is 50.
///
/// # Panics
/// When no port is free.
pub async fn book(records: usize) -> Sandbox {
    let account = |n: usize| {
        SeedRecord::new("Account")
            .id(account_id(n))
            .field("Name", format!("Customer {n}").as_str())
            .field("Perennial_Health__c", 50)
    };
    let company = |n: usize| {
        SeedRecord::new("companies")
            .id(company_id(n))
            .field("name", format!("Customer {n}").as_str())
            .field("perennial_health", "50")
    };
    let seed = Seed {
        salesforce: (0..records).map(account).collect(),
        hubspot: (0..records).map(company).collect(),
    };
    let options = Options {
        seed,
        ..Options::default()
    };
    Sandbox::start(options).await.unwrap_or_else(|error| panic!("{error}"))
}

/// The server of a CRM.
#[must_use]
pub fn system(crm: Crm) -> System {
    match crm {
        Crm::Salesforce => System::Salesforce,
        Crm::HubSpot => System::Hubspot,
    }
}

/// A tool for a CRM whose own limits are out of the way, and which begins no bulk job.
///
/// # Panics
/// When the address is none.
#[must_use]
pub fn tool(crms: &Sandbox, crm: Crm) -> Arc<dyn Tool> {
    bulk_tool(crms, crm, 0)
}

/// The same, with bulk jobs from so many records on.
///
/// # Panics
/// When the address is none.
#[must_use]
pub fn bulk_tool(crms: &Sandbox, crm: Crm, from_records: usize) -> Arc<dyn Tool> {
    let address = match crm {
        Crm::Salesforce => crms.salesforce(),
        Crm::HubSpot => crms.hubspot(),
    };
    let connection = Connection {
        requests_per_second: 10_000,
        burst: 10_000,
        bulk_writing: BulkWriting {
            from_records,
            first_pause_ms: 100,
        },
        ..Connection::new(address.url.clone(), SecretString::from(address.token.clone()))
    };
    match crm {
        Crm::Salesforce => Arc::new(Salesforce::new(connection).unwrap_or_else(|error| panic!("{error}"))),
        Crm::HubSpot => Arc::new(HubSpot::new(connection).unwrap_or_else(|error| panic!("{error}"))),
    }
}

/// A change of the health of the account with a number.
#[must_use]
pub fn health(crm: Crm, n: usize, value: &str) -> (Crm, Option<String>, Write) {
    let id = match crm {
        Crm::Salesforce => account_id(n),
        Crm::HubSpot => company_id(n),
    };
    let fields = [(AccountField::Health, value.to_owned())].into();
    (crm, Some(id), Write::UpdateAccount { fields })
}

/// The least calls in which records can be compared, written and read back: each with the largest request that there is.
#[must_use]
pub fn least(crm: Crm, records: usize, by: By) -> usize {
    match (crm, by) {
        // A collection reads 2,000 and writes 200.
        (Crm::Salesforce, By::Batches) => 2 * records.div_ceil(2_000) + records.div_ceil(200),
        // A job is made, filled, closed, and looked at once when it has ended.
        (Crm::Salesforce, By::Job) => 2 * records.div_ceil(2_000) + 4,
        // A batch has 100 of either.
        (Crm::HubSpot, _) => 3 * records.div_ceil(100),
    }
}

/// How records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Some in each request.
    Batches,
    /// All in one bulk job.
    Job,
}

/// What it took to write records.
pub struct Took {
    /// What became of the effects.
    pub drained: Drained,
    /// Calls by method and kind of path.
    pub calls: BTreeMap<String, usize>,
    /// Time.
    pub time: Duration,
}

impl Took {
    /// All calls.
    #[must_use]
    pub fn all(&self) -> usize {
        self.calls.values().sum()
    }
}

/// A configuration with so many effects a lease, or as many as it ships with, and its database.
///
/// # Panics
/// When the database cannot be opened.
pub async fn opened(url: &str, folder: &Path, lease: Option<u32>) -> (Config, Store) {
    let file = folder.join("perennial.toml");
    std::fs::write(&file, "[limits]\nsettle_ms = 1\ndrain_ms = 0\n").unwrap_or_else(|error| panic!("{error}"));
    let overrides = Overrides {
        config: Some(file),
        db: Some(url.to_owned()),
        policies: None,
    };
    let mut config = Config::load(&overrides).unwrap_or_else(|error| panic!("{error}"));
    if let Some(lease) = lease {
        config.limits.effects_per_lease = lease;
        config.limits.batched_per_lease = lease;
    }
    let options = config.limits.store();
    let store = Store::open(&config.database, TenantId::DEFAULT, &options).await;
    let store = store.unwrap_or_else(|error| panic!("{error}"));
    store.migrate().await.unwrap_or_else(|error| panic!("{error}"));
    (config, store)
}

/// Decides a change of each of `records` records and carries all out as a run does, so many effects a lease, or as many as it ships with.
///
/// # Panics
/// When the database fails.
pub async fn change_all(
    crms: &Sandbox,
    tool: Arc<dyn Tool>,
    url: &str,
    folder: &Path,
    records: usize,
    lease: Option<u32>,
) -> Took {
    let crm = tool.crm();
    let (config, store) = opened(url, folder, lease).await;
    let due = Timestamp::from_us(0);
    let commits: Vec<_> = (0..records)
        .map(|n| work::writing(n, "health", vec![health(crm, n, "71")], ActionKind::UPDATE_FIELD, due))
        .collect();
    for some in commits.chunks(COMMIT) {
        let committed = store.commit_decisions(&work::run(), some, due).await;
        committed.unwrap_or_else(|error| panic!("{error}"));
    }
    let tools = Registry::new().with(tool);
    let (_keep, stop) = tokio::sync::watch::channel(false);
    let engine = Engine {
        config: &config,
        store: &store,
        tools: &tools,
        stop,
    };
    let before = crms.calls().len();
    #[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
    let begun = std::time::Instant::now();
    let drained = drain(&engine, &work::run(), None, &mut |_| {}).await;
    let drained = drained.unwrap_or_else(|error| panic!("{error}"));
    let time = begun.elapsed();
    let mut calls = BTreeMap::new();
    for call in crms.calls().split_off(before) {
        *calls.entry(call.route()).or_default() += 1;
    }
    store.close().await;
    Took { drained, calls, time }
}
