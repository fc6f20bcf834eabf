//! What the integration tests share: databases, the program as a process, data sets that may be absent.

pub mod batches;
pub mod economy;
pub mod gate;
pub mod hands;
pub mod postgres;
#[cfg(unix)]
pub mod sink;
pub mod work;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The parts of a tool that one which only carries out effects does not need: nothing is read, compared or undone with it.
#[macro_export]
macro_rules! carries_out_only {
    () => {
        fn writes(&self) -> &perennial_tools::WriteMap {
            static NONE: perennial_tools::WriteMap = perennial_tools::WriteMap {
                account: std::collections::BTreeMap::new(),
                deal: std::collections::BTreeMap::new(),
                roles: std::collections::BTreeMap::new(),
            };
            &NONE
        }

        fn read<'a>(
            &'a self,
            _effect: &'a perennial_core::action::Effect,
        ) -> perennial_tools::Answer<'a, perennial_tools::Diff> {
            panic!("nothing is compared here")
        }

        fn page<'a>(
            &'a self,
            _ask: &'a perennial_tools::Ask,
            _cursor: Option<&'a str>,
        ) -> perennial_tools::Answer<'a, perennial_tools::ReadPage> {
            panic!("nothing is read here")
        }

        fn fields<'a>(&'a self, _object: &'a str) -> perennial_tools::Answer<'a, std::collections::BTreeSet<String>> {
            panic!("nothing is described here")
        }

        fn written_objects(&self) -> (&'static str, &'static str) {
            ("Account", "Opportunity")
        }

        fn own_key(&self, _object: &str) -> Option<&'static str> {
            None
        }

        fn undoing<'a>(
            &'a self,
            _effect: &'a perennial_core::action::Effect,
            _receipt: &'a perennial_core::action::Receipt,
        ) -> perennial_tools::Answer<'a, perennial_tools::Undoing> {
            panic!("nothing is undone here")
        }

        fn undo<'a>(
            &'a self,
            _permit: perennial_core::action::Permit,
            _effect: &'a perennial_core::action::Effect,
            _receipt: &'a perennial_core::action::Receipt,
            _at: perennial_core::time::Timestamp,
        ) -> perennial_tools::Answer<'a, perennial_core::action::Receipt> {
            panic!("nothing is undone here")
        }

        fn check<'a>(&'a self) -> perennial_tools::Answer<'a, Vec<perennial_tools::Finding>> {
            Box::pin(async { Ok(Vec::new()) })
        }
    };
}

/// Copies a folder with all that lies in it.
///
/// # Panics
/// When it cannot be done.
pub fn copy_folder(from: &Path, to: &Path) {
    let wrong = |error: std::io::Error| -> ! { panic!("{} to {}: {error}", from.display(), to.display()) };
    std::fs::create_dir_all(to).unwrap_or_else(|error| wrong(error));
    for entry in std::fs::read_dir(from).unwrap_or_else(|error| wrong(error)) {
        let entry = entry.unwrap_or_else(|error| wrong(error));
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap_or_else(|error| wrong(error));
        }
    }
}

/// Root of the repository.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A folder of the shared data sets, or `None` after saying that `test` is skipped.
///
/// The folder is named by `PERENNIAL_SHARED` (default `../shared` beside the repository).
#[must_use]
pub fn data_set(test: &str, name: &str) -> Option<PathBuf> {
    let shared = std::env::var_os("PERENNIAL_SHARED").map_or_else(|| root().join("../shared"), PathBuf::from);
    let folder = shared.join("datasets").join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    skipped(test, &format!("no data set at {}", folder.display()));
    None
}

/// Says by name that a test, or a part of it, is skipped; CI counts these lines.
pub fn skipped(test: &str, why: &str) {
    eprintln!("SKIPPED {test}: {why}");
}

/// A database for one test: SQLite in a temporary folder, or a fresh PostgreSQL database.
pub struct Database {
    /// What `--db` takes.
    pub url: String,
    /// Word for messages.
    pub kind: &'static str,
    admin: Option<(String, String)>,
}

impl Database {
    /// SQLite in a file of `folder`.
    #[must_use]
    pub fn sqlite(folder: &Path) -> Database {
        Database {
            url: format!("sqlite:{}", folder.join("perennial.db").display()),
            kind: "sqlite",
            admin: None,
        }
    }

    /// A new database on the server that `PERENNIAL_TEST_PG` names, or `None` after saying that `test` is skipped there.
    ///
    /// # Panics
    /// When the server is named and cannot be used.
    #[must_use]
    pub fn postgres(test: &str) -> Option<Database> {
        let Ok(admin) = std::env::var("PERENNIAL_TEST_PG") else {
            skipped(test, "not run on PostgreSQL, PERENNIAL_TEST_PG is not set");
            return None;
        };
        let name = format!(
            "it_{}_{}",
            std::process::id(),
            test.replace(|c: char| !c.is_ascii_alphanumeric(), "_")
        );
        let name: String = name.to_lowercase().chars().take(60).collect();
        psql(&admin, &format!("drop database if exists {name} with (force)"));
        psql(&admin, &format!("create database {name}"));
        let url = match admin.rsplit_once('/') {
            Some((server, rest)) => {
                let options = rest.split_once('?').map_or_else(String::new, |(_, o)| format!("?{o}"));
                format!("{server}/{name}{options}")
            }
            None => panic!("PERENNIAL_TEST_PG is no postgres:// address"),
        };
        Some(Database {
            url,
            kind: "postgres",
            admin: Some((admin, name)),
        })
    }

    /// Both databases, the second only where there is a server.
    #[must_use]
    pub fn both(test: &str, folder: &Path) -> Vec<Database> {
        std::iter::once(Database::sqlite(folder))
            .chain(Database::postgres(test))
            .collect()
    }
}

impl Database {
    /// Runs statements in a PostgreSQL database, as another program would.
    ///
    /// # Panics
    /// When they cannot be run.
    pub fn sql(&self, text: &str) {
        psql(&self.url, text);
    }

    /// Takes a PostgreSQL database away from whoever uses it.
    ///
    /// # Panics
    /// When it cannot be done.
    pub fn gone(&self) {
        if let Some((admin, name)) = &self.admin {
            psql(admin, &format!("drop database if exists {name} with (force)"));
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some((admin, name)) = &self.admin {
            psql(admin, &format!("drop database if exists {name} with (force)"));
        }
    }
}

fn psql(admin: &str, sql: &str) {
    let output = Command::new("psql")
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", admin, "-c", sql])
        .output();
    match output {
        Ok(output) if output.status.success() => {}
        Ok(output) => panic!("psql: {}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => panic!("psql cannot be started: {error}; install the PostgreSQL client"),
    }
}

/// What a started program said and how it ended.
#[derive(Debug)]
pub struct Said {
    /// Exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Said {
        Said {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Said {
    /// The JSON document on standard output.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// The same, after success only.
    ///
    /// # Panics
    /// When the program failed.
    #[track_caller]
    pub fn ok(self) -> Said {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        self
    }
}

/// A command of the program, without anything of this machine's environment.
#[must_use]
pub fn command(program: &str, folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).args(args).env("NO_COLOR", "1");
    for name in [
        "PERENNIAL_DB",
        "PERENNIAL_USER",
        "PERENNIAL_LOG",
        "PERENNIAL_EVENTS_TOKEN",
        "PERENNIAL_SALESFORCE_URL",
        "PERENNIAL_SALESFORCE_TOKEN",
        "PERENNIAL_HUBSPOT_URL",
        "PERENNIAL_HUBSPOT_TOKEN",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_EXPORTER_OTLP_HEADERS",
        "OTEL_SERVICE_NAME",
        "OTEL_RESOURCE_ATTRIBUTES",
        "OTEL_TRACES_SAMPLER",
        "OTEL_TRACES_SAMPLER_ARG",
        "OTEL_SDK_DISABLED",
    ] {
        command.env_remove(name);
    }
    command
}

/// Starts the program in a folder and waits for its end.
///
/// # Panics
/// When it cannot be started.
#[must_use]
pub fn run(program: &str, folder: &Path, args: &[&str]) -> Said {
    match command(program, folder, args).output() {
        Ok(output) => output.into(),
        Err(error) => panic!("{program} cannot be started: {error}"),
    }
}
