//! What can go wrong, by what the caller must do about it.

use std::path::PathBuf;

use perennial_core::ids::{ActionId, RunId};
use perennial_core::time::Timestamp;

/// Result of everything in this crate.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Why the store could not do what was asked. Each variant asks something different of the caller.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process is writing and did not finish in time: wait and try again.
    #[error("`{place}` is locked by another process: wait for it to finish or stop it, then try again")]
    Locked {
        /// File or server.
        place: String,
        /// What the database said.
        #[source]
        source: sqlx::Error,
    },
    /// Another run of this tenant is alive: wait for it.
    #[error("the run `{run}` is still going (started {started_at}, last sign of life {heartbeat_at})")]
    RunInProgress {
        /// Which.
        run: RunId,
        /// When it started.
        started_at: Timestamp,
        /// When it last said that it lives.
        heartbeat_at: Timestamp,
    },
    /// No room: make room, then try again. What was written before stands, the failed write left nothing.
    #[error("`{place}` has no room left: free some disk space or raise the limit, then try again")]
    Full {
        /// File or server.
        place: String,
        /// What the database said.
        #[source]
        source: sqlx::Error,
    },
    /// The database cannot be written: mend its permissions.
    #[error("`{place}` cannot be written: check the permissions of the file, its directory and its disk")]
    ReadOnly {
        /// File or server.
        place: String,
        /// What the database said.
        #[source]
        source: sqlx::Error,
    },
    /// There is no such thing.
    #[error("there is no {what} `{name}`")]
    NotFound {
        /// Kind of thing.
        what: &'static str,
        /// What was asked for.
        name: String,
    },
    /// An abbreviated id stands for several: write more of it.
    #[error("`{prefix}` stands for several, such as {}: write more of the id", .matches.join(", "))]
    Ambiguous {
        /// What was asked for.
        prefix: String,
        /// Some that it stands for, in order.
        matches: Vec<String>,
    },
    /// The database does not answer, or there is none at this place.
    #[error("the database `{place}` cannot be reached")]
    Unreachable {
        /// File or server, without secrets.
        place: String,
        /// What the driver said.
        #[source]
        source: sqlx::Error,
    },
    /// The directory in which the database file should lie does not exist.
    #[error("the directory `{}` does not exist: create it, or give another place for the database", .directory.display())]
    NoDirectory {
        /// The missing directory.
        directory: PathBuf,
    },
    /// The schema is older than this program: migrate it.
    #[error("the database has schema version {found}, this program needs {needed}: run `perennial db migrate`")]
    NotMigrated {
        /// Version in the database; 0 when it is empty.
        found: i64,
        /// Version of this program.
        needed: i64,
    },
    /// The schema is newer than this program, and does not allow for it: use a newer program.
    #[error(
        "the database has schema version {found}, this program knows {known} and cannot work with it: use a newer version of perennial"
    )]
    Version {
        /// Version in the database.
        found: i64,
        /// Version of this program.
        known: i64,
    },
    /// A text that was removed because of its age: nothing brings it back but a backup.
    #[error("it was removed because of its age (`perennial db prune`): choose something later")]
    Pruned,
    /// The database that something is to be copied into holds something: name an empty one.
    #[error("`{place}` is not empty ({rows} rows in {table}): copy into an empty database")]
    NotEmpty {
        /// Which database.
        place: String,
        /// A table with rows.
        table: &'static str,
        /// How many.
        rows: u64,
    },
    /// The action changed since it was read, or is gone: read it again and decide anew.
    #[error("the action `{action}` changed meanwhile: read it again")]
    Stale {
        /// Which.
        action: ActionId,
    },
    /// A limit that holds across actions has no room now: later there may be.
    #[error("the action `{action}` finds no room in a limit now")]
    NoRoom {
        /// Which.
        action: ActionId,
        /// Position of the hold in the action's holds.
        hold: usize,
    },
    /// An effect of the action was begun, so it cannot be taken back: see what became of it.
    #[error("an effect of the action `{action}` was begun, so it cannot be stopped any more: see what became of it")]
    Begun {
        /// Which.
        action: ActionId,
    },
    /// What is stored cannot be right: stop and look.
    #[error("the stored {what} is not what was written: {detail}")]
    Corrupt {
        /// Kind of thing.
        what: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// Anything else the database says. A defect of ours unless the source says otherwise.
    #[error("the database refused {doing}")]
    Other {
        /// What was being done.
        doing: &'static str,
        /// What the database said.
        #[source]
        source: sqlx::Error,
    },
}

impl StoreError {
    /// Whether it passes by itself: the database is away, or busy.
    #[must_use]
    pub fn passes(&self) -> bool {
        matches!(self, StoreError::Unreachable { .. } | StoreError::Locked { .. })
    }
}
