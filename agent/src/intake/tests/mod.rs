//! Tests of the import. Fixtures are written by hand; the real data sets are used where they are at hand.

mod lines;
mod mapping;
mod rejects;
mod rows;
mod shipped;
mod store;

use std::path::{Path, PathBuf};

use perennial_core::ids::TenantId;
use perennial_core::signal::{Fact, Signal};
use perennial_store::{DatabaseUrl, Options, Store};

use super::{ImportError, ImportOptions, ImportReport, Mapping, Problem};

/// A folder with files, a database and a place for rejects, gone at the end of the test.
pub(super) struct Bench {
    pub root: tempfile::TempDir,
}

impl Bench {
    pub(super) fn new(files: &[(&str, &[u8])]) -> Bench {
        let bench = Bench {
            root: tempfile::tempdir().expect("a directory"),
        };
        std::fs::create_dir(bench.dir()).expect("a folder");
        for (name, content) in files {
            bench.file(name, content);
        }
        bench
    }

    pub(super) fn dir(&self) -> PathBuf {
        self.root.path().join("in")
    }

    pub(super) fn file(&self, name: &str, content: &[u8]) {
        std::fs::write(self.dir().join(name), content).expect("a file");
    }

    pub(super) async fn store(&self) -> Store {
        let url = DatabaseUrl::Sqlite(self.root.path().join("test.db"));
        let store = Store::open(&url, TenantId::DEFAULT, &Options::default())
            .await
            .expect("a store");
        store.migrate().await.expect("a schema");
        store
    }

    pub(super) fn options(&self) -> ImportOptions {
        ImportOptions::new(self.root.path().join("rejects"))
    }

    pub(super) async fn import(&self, mapping: &str) -> Result<ImportReport, ImportError> {
        self.import_into(&self.store().await, mapping).await
    }

    pub(super) async fn import_into(&self, store: &Store, mapping: &str) -> Result<ImportReport, ImportError> {
        super::import(store, &self.dir(), &parsed(mapping), &self.options(), |_| {}).await
    }
}

pub(super) fn parsed(text: &str) -> Mapping {
    Mapping::parse(Path::new("map.toml"), text).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

pub(super) fn problems_of(text: &str) -> Vec<Problem> {
    match Mapping::parse(Path::new("map.toml"), text) {
        Ok(_) => panic!("the mapping has no problem"),
        Err(problems) => problems,
    }
}

pub(super) fn sums(report: &ImportReport) -> (u64, u64, u64, u64, u64) {
    assert_eq!(report.read, report.stored + report.duplicate + report.rejected);
    (
        report.read,
        report.stored,
        report.duplicate,
        report.rejected,
        report.conflicts,
    )
}

/// Rows of the rejects file without its header.
pub(super) fn rejects(report: &ImportReport) -> Vec<Vec<String>> {
    let Some(path) = &report.rejects_file else {
        return Vec::new();
    };
    let mut reader = csv::Reader::from_path(path).expect("a rejects file");
    let rows = reader.records().map(|row| {
        let row = row.expect("a row");
        row.iter().map(str::to_owned).collect()
    });
    rows.collect()
}

/// The signals of one account, or of the portfolio for an empty id.
pub(super) async fn signals(store: &Store, account: &str) -> Vec<Signal> {
    if account.is_empty() {
        return store.portfolio_signals().await.expect("signals");
    }
    let account = perennial_core::ids::AccountId::new(account);
    let mut all = store
        .account_signals(std::slice::from_ref(&account))
        .await
        .expect("signals");
    all.remove(&account).unwrap_or_default()
}

pub(super) fn facts(signals: &[Signal]) -> Vec<&Fact> {
    signals.iter().map(|signal| &signal.fact).collect()
}
