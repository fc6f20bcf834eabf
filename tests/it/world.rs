//! The demo's portfolio with CRMs around it, for tests of the whole program.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use perennial::demo::portfolio::{PortfolioOptions, crm_seed, write_csv};
use perennial_sandbox::{ChangeKind, Options, Sandbox};
use perennial_tests::{Database, Said, command, root, run};
use serde_json::Value;

use crate::PROGRAM;

/// Facts of the demo end before this moment.
pub(crate) const DEMO_TIME: &str = "2026-09-15T08:00:00Z";

/// Short waits, so that tests of order do not wait for time.
const LIMITS: &str = "[limits]\nsettle_ms = 50\nlease_ms = 1500\nrun_lease_ms = 300\n";

fn mapping(name: &str) -> String {
    root()
        .join(format!("examples/mappings/{name}.toml"))
        .display()
        .to_string()
}

/// The demo's files in a folder.
pub(crate) fn demo_data(folder: &Path) -> PathBuf {
    let data = folder.join("data");
    std::fs::create_dir_all(&data).unwrap();
    write_csv(&PortfolioOptions::default(), &data).unwrap();
    data
}

/// Imports a folder by a shipped mapping.
pub(crate) fn import(folder: &Path, data: &Path, mapping_name: &str, db: &str) -> Value {
    let data = data.display().to_string();
    run(
        PROGRAM,
        folder,
        &[
            "import",
            &data,
            "--mapping",
            &mapping(mapping_name),
            "--db",
            db,
            "--json",
        ],
    )
    .ok()
    .json()
}

/// The demo's portfolio imported, with CRMs that hold the same accounts.
pub(crate) struct World {
    temp: tempfile::TempDir,
    pub(crate) crms: Sandbox,
    runtime: tokio::runtime::Runtime,
    db: Database,
}

impl World {
    pub(crate) fn new(db: Database, temp: tempfile::TempDir) -> World {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let seed = crm_seed(&PortfolioOptions::default());
        let crms = runtime
            .block_on(Sandbox::start(Options {
                seed,
                ..Options::default()
            }))
            .unwrap();
        let data = demo_data(temp.path());
        std::fs::write(temp.path().join("perennial.toml"), LIMITS).unwrap();
        import(temp.path(), &data, "demo", &db.url);
        World {
            temp,
            crms,
            runtime,
            db,
        }
    }

    /// Lets the program's clock start at a time.
    pub(crate) fn set_clock(&self, at: &str) {
        let text = format!("clock = \"{at}\"\n{LIMITS}");
        std::fs::write(self.temp.path().join("perennial.toml"), text).unwrap();
    }

    /// Lets the program read this configuration.
    pub(crate) fn configure(&self, text: &str) {
        // A key of the top stands before the first table.
        let (keys, tables) = text.split_at(text.find('[').unwrap_or(text.len()));
        std::fs::write(
            self.temp.path().join("perennial.toml"),
            format!("{keys}{LIMITS}{tables}"),
        )
        .unwrap();
    }

    /// Its folder.
    pub(crate) fn folder(&self) -> &Path {
        self.temp.path()
    }

    pub(crate) fn command(&self, args: &[&str]) -> std::process::Command {
        let mut command = command(PROGRAM, self.temp.path(), args);
        command
            .arg("--db")
            .arg(&self.db.url)
            .arg("--json")
            .env("PERENNIAL_SALESFORCE_URL", &self.crms.salesforce().url)
            .env("PERENNIAL_SALESFORCE_TOKEN", &self.crms.salesforce().token)
            .env("PERENNIAL_HUBSPOT_URL", &self.crms.hubspot().url)
            .env("PERENNIAL_HUBSPOT_TOKEN", &self.crms.hubspot().token);
        command
    }

    /// Address of the database.
    pub(crate) fn database(&self) -> &str {
        &self.db.url
    }

    /// Statements in the database, where it is PostgreSQL.
    pub(crate) fn sql(&self, text: &str) {
        self.db.sql(text);
    }

    pub(crate) fn go(&self, args: &[&str]) -> Said {
        self.command(args).output().unwrap().into()
    }

    /// What a command says to a person.
    pub(crate) fn text(&self, args: &[&str]) -> String {
        let command = self.command(args);
        let all: Vec<_> = command
            .get_args()
            .filter(|a| *a != "--json")
            .map(ToOwned::to_owned)
            .collect();
        let mut plain = std::process::Command::new(PROGRAM);
        plain.args(all).current_dir(self.temp.path());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => plain.env(name, value),
                None => plain.env_remove(name),
            };
        }
        let said: Said = plain.output().unwrap().into();
        said.ok().out
    }

    pub(crate) fn run(&self) -> Said {
        self.go(&["run", "--once", "--as-of", DEMO_TIME])
    }

    /// How often each idempotency key created a record, by the sandbox's own history.
    pub(crate) fn created(&self) -> BTreeMap<String, u32> {
        let mut count = BTreeMap::new();
        for change in self.crms.changes() {
            if let (ChangeKind::Create, Some(marker)) = (change.kind, change.marker) {
                *count.entry(marker).or_default() += 1;
            }
        }
        count
    }

    /// Changes of account fields that altered something.
    pub(crate) fn updates(&self) -> usize {
        let changes = self.crms.changes();
        changes
            .iter()
            .filter(|c| c.kind == ChangeKind::Update && !c.fields.is_empty())
            .count()
    }

    #[track_caller]
    pub(crate) fn everything_happened_once(&self, tasks: usize) {
        let created = self.created();
        assert_eq!(created.len(), tasks, "{created:?}");
        assert!(created.values().all(|n| *n == 1), "{created:?}");
        let verified = self.go(&["audit", "verify"]).ok().json();
        assert_eq!(verified["intact"], true, "{verified}");
    }

    pub(crate) fn end(self) {
        self.runtime.block_on(self.crms.shutdown());
    }
}

/// One world for each database there is.
pub(crate) fn worlds(test: &str) -> Vec<World> {
    let temp = tempfile::tempdir().unwrap();
    let sqlite = Database::sqlite(temp.path());
    let mut list = vec![World::new(sqlite, temp)];
    if let Some(db) = Database::postgres(test) {
        list.push(World::new(db, tempfile::tempdir().unwrap()));
    }
    list
}
