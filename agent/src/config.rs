//! The configuration: one struct, read once, every limit with its default and its reason.
//!
//! Long because each key is read, and each default given, in one place.

mod access;
mod crm;
mod error;
mod policy;
mod reading;
mod telemetry;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use perennial_core::ids::TenantId;
use perennial_core::policy::gate::Vocabulary;
use perennial_core::signal::{Crm, OwnerRole};
use perennial_core::time::Timestamp;
use perennial_store::{CallRules, DatabaseUrl, Store};
use perennial_tools::hubspot::HubSpot;
use perennial_tools::salesforce::Salesforce;
use perennial_tools::{
    Budget, BulkReading, BulkWriting, Connection, ConnectionError, CreateMissing, Registry, TokenKeeper,
};
use serde::Deserialize;
use toml::Spanned;

use crate::calls::StoreBudget;
use crate::clock::Clock;
use crate::intake::{Problem, help_with_words};
use crate::tokens::{StoreTokens, TokenKey};
pub use access::{EventAccess, SourceAccess};
use access::{EventsTable, SourceTable};
pub use crm::CrmAccess;
use crm::{AccessTable, access, token_key};
pub use error::ConfigError;
pub use policy::{PolicyAccess, PolicySource};
pub use reading::WebhookAccess;
use reading::{SyncTable, WebhookTable};
pub use telemetry::TelemetryAccess;
use telemetry::{BUILT_IN, TelemetryTable, telemetry};

/// Everything that can be set.
#[derive(Debug, Clone)]
pub struct Config {
    /// Database.
    pub database: DatabaseUrl,
    /// Whose data of it. Several companies can share one PostgreSQL; each has its own configuration.
    pub tenant: TenantId,
    /// Folder of the policies; `None` means the ones built into the program.
    pub policies: Option<PathBuf>,
    /// Where the policies in force come from.
    pub policy: PolicyAccess,
    /// Folder of the prompts; `None` means the ones built into the program.
    pub prompts: Option<PathBuf>,
    /// Folder for files we make: rejects, drafts.
    pub data_dir: PathBuf,
    /// Name of our company, for documents.
    pub our_name: Option<String>,
    /// Who decides at this terminal.
    pub user: Option<String>,
    /// People who may decide and whom no owner record names, with their roles.
    pub people: BTreeMap<String, Vec<OwnerRole>>,
    /// CRM of accounts whose record names none.
    pub default_crm: Crm,
    /// Whether an account that the CRM does not know may be made there.
    pub create_missing: CreateMissing,
    /// Salesforce.
    pub salesforce: Option<CrmAccess>,
    /// HubSpot.
    pub hubspot: Option<CrmAccess>,
    /// Key that seals tokens of CRMs in the database; without one they are not kept.
    pub token_key: Option<TokenKey>,
    /// Other databases that records are read from, by name.
    pub sources: BTreeMap<String, SourceAccess>,
    /// Events over HTTP.
    pub events: Option<EventAccess>,
    /// Webhooks of HubSpot.
    pub webhook: Option<WebhookAccess>,
    /// Seconds between the beginnings of two readings of a CRM by the worker that leads; none where CRMs are read by hand only.
    pub sync_every_s: Option<u64>,
    /// Seconds from one listing of everything deleted to the next within those readings, where the CRM has no shorter way to say it.
    pub deleted_every_s: i64,
    /// Collector that spans are sent to.
    pub telemetry: Option<TelemetryAccess>,
    /// Where the present comes from.
    pub clock: Clock,
    /// Limits.
    pub limits: Limits,
    /// File it was read from.
    pub file: Option<PathBuf>,
}

/// Every limit, with its reason.
#[derive(Debug, Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Accounts decided and committed together: large enough to share a commit, small enough to hold in memory.
    pub accounts_per_batch: u32,
    /// Threads that decide; 0 means as many as there are cores.
    pub threads: usize,
    /// Milliseconds to wait for another program that holds the database.
    pub busy_timeout_ms: u64,
    /// Bytes that the SQLite file may take; 0 means no limit of ours.
    pub database_max_bytes: u64,
    /// Connections that read.
    pub readers: u32,
    /// Effects leased at once of those that go alone: more would wait here while other workers have nothing to do.
    pub effects_per_lease: u32,
    /// Effects leased at once where they go in common requests: the larger, the fewer calls, up to what one job should hold.
    pub batched_per_lease: u32,
    /// Attempts of a worker that go on at once, a batch counting as one: more would only wait for each other's requests.
    pub effects_at_once: u32,
    /// Changes of one object of Salesforce, leased together, from which on they go as one bulk job instead of batches; 0 for never.
    pub bulk_write_records: usize,
    /// Milliseconds that a lease of effects holds without a sign of life: a worker extends its leases three times meanwhile, and
    /// another looks an effect up `settle_ms` after the lease has ended.
    pub lease_ms: i64,
    /// Milliseconds after a lost answer before it is looked up: a request may commit after its caller gave up.
    pub settle_ms: i64,
    /// Attempts of an effect before a person has to look.
    pub effect_attempts: i64,
    /// Milliseconds between two attempts of an effect at most: waits double until then, so that a CRM in trouble is left alone.
    pub retry_most_ms: i64,
    /// Milliseconds that `run --once` waits for effects that a CRM asked to come back to.
    pub drain_ms: i64,
    /// Requests a second to each CRM; 0 means half of the smallest budget a vendor gives, and 500 to this machine.
    pub requests_per_second: u32,
    /// Requests at once beyond that rate.
    pub request_burst: u32,
    /// Milliseconds for one request.
    pub request_timeout_ms: u64,
    /// Attempts of one request, where nothing can have been written.
    pub request_attempts: u32,
    /// Bytes of an answer that we read at most.
    pub body_max_bytes: usize,
    /// Records of an object of Salesforce from which on all of them are read by a bulk job instead of pages of 2,000: from about 12,000
    /// on that is fewer calls, and a job takes its time to begin.
    pub bulk_reading_records: u64,
    /// Records that a CRM said to be changed and that are read in one go: between two of them the worker looks whether to stop.
    pub due_records: u32,
    /// Items that `queue list` shows at most; it says so when there are more.
    pub queue_rows: u32,
    /// Milliseconds without a sign of life after which another run may start.
    pub run_lease_ms: i64,
    /// Bytes of a request with many events: the limit that senders of this interface keep to.
    pub event_body_bytes: usize,
    /// Bytes of one event: the limit that senders of this interface keep to.
    pub event_bytes: usize,
    /// Bytes of requests that are being read or wait for the database; when they are used up, senders are asked to wait.
    pub event_queue_bytes: usize,
    /// Events of one commit: large enough to share its cost, small enough to keep others waiting only shortly.
    pub event_batch: usize,
    /// Milliseconds that an event waits for others to share its commit.
    pub event_batch_ms: u64,
    /// Milliseconds for the body of a request to come in: a sender that stops must not hold its room.
    pub event_read_ms: u64,
    /// Days after which an event is too late, and its key forgotten: until then a repetition is known as one.
    pub event_days: u32,
    /// Milliseconds between two countings of the days that late events changed.
    pub event_fold_ms: u64,
    /// Rows in the file of refused events of one server: a sender in error must not fill the disk.
    pub event_rejects: u64,
    /// Milliseconds to connect to the database of a source.
    pub source_connect_ms: u64,
    /// Milliseconds that a query of a source may take, with storing its rows.
    pub source_statement_ms: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            accounts_per_batch: 250,
            threads: 0,
            busy_timeout_ms: 5_000,
            database_max_bytes: 0,
            readers: 4,
            effects_per_lease: 200,
            batched_per_lease: 5_000,
            effects_at_once: 16,
            bulk_write_records: 2_000,
            lease_ms: 10_000,
            settle_ms: 2_000,
            effect_attempts: 8,
            retry_most_ms: 3_600_000,
            drain_ms: 15_000,
            requests_per_second: 0,
            request_burst: 10,
            request_timeout_ms: 20_000,
            request_attempts: 4,
            body_max_bytes: 8 * 1024 * 1024,
            bulk_reading_records: BulkReading::FROM_RECORDS,
            due_records: 500,
            queue_rows: 1_000,
            run_lease_ms: 60_000,
            event_body_bytes: 500 * 1024,
            event_bytes: 32 * 1024,
            event_queue_bytes: 32 * 1024 * 1024,
            event_batch: 2_000,
            event_batch_ms: 5,
            event_read_ms: 10_000,
            event_days: 35,
            event_fold_ms: 60_000,
            event_rejects: 100_000,
            source_connect_ms: 10_000,
            source_statement_ms: 600_000,
        }
    }
}

impl Limits {
    /// What the store needs to know.
    #[must_use]
    pub fn store(&self) -> perennial_store::Options {
        perennial_store::Options {
            busy_timeout_ms: self.busy_timeout_ms,
            max_bytes: (self.database_max_bytes > 0).then_some(self.database_max_bytes),
            readers: self.readers,
        }
    }

    /// Threads that decide.
    #[must_use]
    pub fn decide_threads(&self) -> usize {
        if self.threads > 0 {
            return self.threads;
        }
        std::thread::available_parallelism().map_or(1, usize::from)
    }
}

/// What the command line says about the configuration.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--db`.
    pub db: Option<String>,
    /// `--policies`.
    pub policies: Option<PathBuf>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    database: Option<Spanned<String>>,
    tenant: Option<Spanned<i64>>,
    policies: Option<PathBuf>,
    prompts: Option<PathBuf>,
    data_dir: Option<PathBuf>,
    our_name: Option<String>,
    user: Option<String>,
    clock: Option<Spanned<String>>,
    #[serde(default)]
    policy: policy::PolicyTable,
    #[serde(default)]
    people: BTreeMap<String, Vec<Spanned<String>>>,
    #[serde(default)]
    crm: CrmTable,
    salesforce: Option<AccessTable>,
    hubspot: Option<AccessTable>,
    #[serde(default)]
    sources: BTreeMap<Spanned<String>, SourceTable>,
    events: Option<EventsTable>,
    webhook: Option<WebhookTable>,
    #[serde(default)]
    sync: SyncTable,
    telemetry: Option<TelemetryTable>,
    #[serde(default)]
    limits: Limits,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct CrmTable {
    default: Option<Spanned<String>>,
    create_missing_accounts: Option<Spanned<String>>,
    token_key_file: Option<PathBuf>,
}

/// Name of the configuration file that is looked for in the present folder.
pub const FILE_NAME: &str = "perennial.toml";

impl Config {
    /// Reads the configuration: defaults, then the file, then the environment, then the command line.
    ///
    /// # Errors
    /// [`ConfigError`]; every problem of the file at once.
    pub fn load(overrides: &Overrides) -> Result<Config, ConfigError> {
        let path = overrides
            .config
            .clone()
            .or_else(|| Path::new(FILE_NAME).exists().then(|| PathBuf::from(FILE_NAME)));
        let text = match &path {
            Some(path) => std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
                path: path.clone(),
                source,
            })?,
            None => String::new(),
        };
        let name = path
            .as_ref()
            .map_or_else(|| FILE_NAME.to_owned(), |p| p.display().to_string());
        let text: Arc<str> = text.into();
        let raw: ConfigFile = toml::from_str(&text).map_err(|error| {
            let span = error.span().unwrap_or(0..0);
            let (message, help) = unknown_key(error.message()).unwrap_or_else(|| {
                let help = "see docs/operator/configuration, or `perennial init` for a commented file";
                (error.message().to_owned(), help.to_owned())
            });
            // INVARIANT (no secret is shown): any line may hold one, so a problem names its place and shows no line.
            let problem = Problem::at(Path::new(&name), &text, span, message, Some(help)).without_text();
            ConfigError::Invalid {
                problems: vec![problem],
            }
        })?;
        let home = path
            .as_ref()
            .and_then(|p| p.parent())
            .map_or_else(PathBuf::new, Path::to_path_buf);
        Config::from_file(raw, &name, &text, &home, overrides, path.clone())
    }

    /// The database that the command line or the environment names, whatever a file says.
    ///
    /// # Errors
    /// [`ConfigError::Database`].
    pub fn given_database(overrides: &Overrides) -> Result<Option<DatabaseUrl>, ConfigError> {
        let given = overrides.db.clone().or_else(|| std::env::var("PERENNIAL_DB").ok());
        let parsed = given.map(|url| url.parse().map_err(|_| ConfigError::Database { given: redact(&url) }));
        parsed.transpose()
    }

    fn from_file(
        raw: ConfigFile,
        name: &str,
        text: &Arc<str>,
        home: &Path,
        overrides: &Overrides,
        file: Option<PathBuf>,
    ) -> Result<Config, ConfigError> {
        let mut problems = Vec::new();
        let mut wrong = |span: std::ops::Range<usize>, message: String, help: &str| {
            let problem = Problem::at(Path::new(name), text, span, message, Some(help.to_owned()));
            problems.push(problem.without_text());
        };
        let data_dir = raw.data_dir.map_or_else(|| home.to_path_buf(), |dir| home.join(dir));
        let database = match (Config::given_database(overrides)?, &raw.database) {
            (Some(url), _) => url,
            (None, Some(url)) => match relative(url.get_ref(), home).parse() {
                Ok(url) => url,
                Err(_) => {
                    let message = format!("`{}` is no database", redact(url.get_ref()));
                    wrong(url.span(), message, "write sqlite:PATH or postgres://USER@HOST/NAME");
                    DatabaseUrl::Sqlite(data_dir.join("perennial.db"))
                }
            },
            (None, None) => DatabaseUrl::Sqlite(data_dir.join("perennial.db")),
        };
        let tenant = match &raw.tenant {
            None => TenantId::DEFAULT,
            Some(number) if *number.get_ref() > 0 => TenantId(*number.get_ref()),
            Some(number) => {
                let message = format!("`{}` is no tenant", number.get_ref());
                wrong(
                    number.span(),
                    message,
                    "write a number from 1 on, or leave `tenant` out",
                );
                TenantId::DEFAULT
            }
        };
        let clock = match &raw.clock {
            None => Clock::System,
            Some(at) => match at.get_ref().parse::<Timestamp>() {
                Ok(at) => Clock::starting(at),
                Err(_) => {
                    let message = format!("`{}` is no time", at.get_ref());
                    wrong(
                        at.span(),
                        message,
                        "write it like 2026-09-15T08:00:00Z, or leave `clock` out",
                    );
                    Clock::System
                }
            },
        };
        let policies = overrides
            .policies
            .clone()
            .or_else(|| raw.policies.clone().map(|p| home.join(p)));
        let policies = policies.or_else(|| Some(home.join("policies")).filter(|p| p.is_dir()));
        // Which roles there are, say the policies that lie there; whether they are right otherwise is no question of this file.
        let table = policies
            .as_ref()
            .and_then(|p| std::fs::read_to_string(p.join("autonomy.toml")).ok());
        let named = Vocabulary::of_table(&table.unwrap_or_default());
        let mut people = BTreeMap::new();
        for (person, roles) in &raw.people {
            let mut known = Vec::new();
            for role in roles {
                match named.role(role.get_ref()) {
                    Some(role) => known.push(role),
                    None => {
                        let roles: Vec<&str> = named.roles().map(OwnerRole::as_str).collect();
                        let help = format!("roles are {}; [roles] of autonomy.toml adds more", roles.join(", "));
                        wrong(role.span(), format!("unknown role `{}`", role.get_ref()), &help);
                    }
                }
            }
            people.insert(person.clone(), known);
        }
        let default_crm = match &raw.crm.default {
            None => Crm::Salesforce,
            Some(word) => Crm::from_word(word.get_ref()).unwrap_or_else(|| {
                wrong(
                    word.span(),
                    format!("unknown CRM `{}`", word.get_ref()),
                    "write salesforce or hubspot",
                );
                Crm::Salesforce
            }),
        };
        let create_missing = match raw
            .crm
            .create_missing_accounts
            .as_ref()
            .map(|w| (w.get_ref().as_str(), w.span()))
        {
            None | Some(("in_sandbox", _)) => CreateMissing::InSandbox,
            Some(("never", _)) => CreateMissing::Never,
            Some((other, span)) => {
                wrong(
                    span,
                    format!("`{other}` is not a choice"),
                    "write \"never\" or \"in_sandbox\"",
                );
                CreateMissing::Never
            }
        };
        for access in [&raw.salesforce, &raw.hubspot].into_iter().flatten() {
            let url = access.base_url.get_ref();
            if !url.starts_with("http://") && !url.starts_with("https://") {
                wrong(
                    access.base_url.span(),
                    format!("`{}` is no address", redact(url)),
                    "write it like https://example.my.salesforce.com",
                );
            }
        }
        let sources = access::sources(raw.sources, home, &mut wrong);
        let events = access::events(raw.events, home, &mut wrong);
        let webhook = reading::webhook(raw.webhook, home, &mut wrong);
        let sync_every_s = raw.sync.every(&mut wrong);
        let deleted_every_s = raw.sync.deleted_every(&mut wrong);
        let policy = policy::policy(raw.policy, &mut wrong);
        let telemetry = telemetry(raw.telemetry, BUILT_IN, &|name| std::env::var(name).ok(), &mut wrong)?;
        if !problems.is_empty() {
            return Err(ConfigError::Invalid { problems });
        }
        // Prompts lie beside the policies they belong to.
        let beside = policies
            .as_ref()
            .and_then(|p| p.parent())
            .map(|p| p.join("prompts"))
            .filter(|p| p.is_dir());
        let prompts = raw.prompts.map(|p| home.join(p)).or(beside);
        Ok(Config {
            database,
            tenant,
            policies,
            policy,
            prompts,
            data_dir,
            our_name: raw.our_name,
            user: std::env::var("PERENNIAL_USER").ok().or(raw.user),
            people,
            default_crm,
            create_missing,
            salesforce: access(Crm::Salesforce, raw.salesforce, home)?,
            hubspot: access(Crm::HubSpot, raw.hubspot, home)?,
            token_key: token_key(raw.crm.token_key_file, home)?,
            sources,
            events,
            webhook,
            sync_every_s,
            deleted_every_s,
            telemetry,
            clock,
            limits: raw.limits,
            file,
        })
    }
}

impl Config {
    /// The tools for the CRMs that are configured.
    ///
    /// # Errors
    /// An address or a token that cannot be used.
    pub fn tools(&self) -> Result<Registry, ConnectionError> {
        self.tools_by(None)
    }

    /// The same, counting their calls together with all other processes of this store.
    ///
    /// # Errors
    /// An address or a token that cannot be used.
    pub fn tools_of(&self, store: &Store) -> Result<Registry, ConnectionError> {
        self.tools_by(Some(store))
    }

    fn tools_by(&self, store: Option<&Store>) -> Result<Registry, ConnectionError> {
        let mut registry = Registry::new();
        let connection = |crm, access: &CrmAccess| {
            let budget = |store: &Store| -> Arc<dyn Budget> {
                Arc::new(StoreBudget::new(store.clone(), self.clock, self.call_rules(access)))
            };
            let keeper = |store: &Store| -> Arc<dyn TokenKeeper> {
                Arc::new(StoreTokens::new(store.clone(), crm, self.clock, self.token_key.clone()))
            };
            Connection {
                budget: store.map(budget),
                keeper: store.map(keeper),
                ..self.connection(access)
            }
        };
        if let Some(access) = &self.salesforce {
            registry = registry.with(Arc::new(Salesforce::new(connection(Crm::Salesforce, access))?));
        }
        if let Some(access) = &self.hubspot {
            registry = registry.with(Arc::new(HubSpot::new(connection(Crm::HubSpot, access))?));
        }
        Ok(registry)
    }

    /// What holds for the calls to a CRM, where there is one.
    pub(crate) fn call_rules_of(&self, crm: Crm) -> Option<CallRules> {
        let access = match crm {
            Crm::Salesforce => &self.salesforce,
            Crm::HubSpot => &self.hubspot,
        };
        access.as_ref().map(|access| self.call_rules(access))
    }

    fn call_rules(&self, access: &CrmAccess) -> CallRules {
        let connection = self.connection(access);
        CallRules {
            daily: access.daily_calls,
            assumed: access.crm_daily_calls,
            per_second: connection.requests_per_second,
            burst: connection.burst.max(1),
        }
    }

    fn connection(&self, access: &CrmAccess) -> Connection {
        let local = ["http://127.0.0.1", "http://localhost", "http://[::1]"]
            .iter()
            .any(|l| access.base_url.starts_with(l));
        let rate = match (self.limits.requests_per_second, local) {
            (0, true) => LOCAL_REQUESTS_PER_SECOND,
            (0, false) => Connection::REQUESTS_PER_SECOND,
            (given, _) => given,
        };
        Connection {
            requests_per_second: rate,
            burst: self.limits.request_burst,
            bulk_writing: BulkWriting {
                from_records: self.limits.bulk_write_records,
                ..BulkWriting::default()
            },
            timeout_ms: self.limits.request_timeout_ms,
            max_attempts: self.limits.request_attempts,
            create_missing_accounts: self.create_missing,
            max_body_bytes: self.limits.body_max_bytes,
            writes: access.writes.clone(),
            bulk_reading: BulkReading {
                from_records: self.limits.bulk_reading_records,
                ..BulkReading::default()
            },
            ..Connection::with(access.base_url.clone(), access.credentials.clone())
        }
    }
}

/// Requests a second to a server on this machine: no vendor counts them.
const LOCAL_REQUESTS_PER_SECOND: u32 = 500;

/// What serde says about a key that it does not know, as message and help.
fn unknown_key(message: &str) -> Option<(String, String)> {
    let words = message
        .strip_prefix("unknown field ")?
        .split('`')
        .skip(1)
        .step_by(2)
        .collect::<Vec<_>>();
    let (wrong, known) = words.split_first()?;
    Some((format!("unknown key `{wrong}`"), help_with_words(wrong, known)))
}

/// A relative SQLite path of the file is relative to the file.
fn relative(url: &str, home: &Path) -> String {
    match url.strip_prefix("sqlite:") {
        Some(path) => format!("sqlite:{}", home.join(path).display()),
        None => url.to_owned(),
    }
}

/// A database address without its password.
fn redact(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => format!("{}://…{}", &url[..scheme], &url[at..]),
        _ => url.to_owned(),
    }
}
