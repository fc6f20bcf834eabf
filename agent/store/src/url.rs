//! Where the database is, and the limits of using it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Place of a database.
///
/// `sqlite:PATH` names a file; `postgres://..` or `postgresql://..` a server. Debug and Display never show a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// A SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL server.
    Postgres(Secret),
}

/// A text that is not shown by Debug. Take it with [`Secret::expose`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text itself. Never log it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A text that does not name a database.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is not the place of a database: write `sqlite:PATH` or `postgres://USER:PASSWORD@HOST/NAME`")]
pub struct NotADatabase;

impl FromStr for DatabaseUrl {
    type Err = NotADatabase;

    fn from_str(text: &str) -> Result<DatabaseUrl, NotADatabase> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            // `sqlite:///abs` and `sqlite://rel` are customary elsewhere; both mean what follows the two slashes.
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() {
                Err(NotADatabase)
            } else {
                Ok(DatabaseUrl::Sqlite(PathBuf::from(path)))
            };
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(DatabaseUrl::Postgres(Secret::new(text)));
        }
        Err(NotADatabase)
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DatabaseUrl::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            DatabaseUrl::Postgres(url) => f.write_str(&without_secrets(url.expose())),
        }
    }
}

/// Scheme, host and database name only: user, password and parameters (which may hold a password) are left out.
fn without_secrets(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("postgres", ""));
    let rest = rest.split(['?', '#']).next().unwrap_or("");
    let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    format!("{scheme}://{place}")
}

/// Limits of using a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How long a write waits for another process, in milliseconds. SQLite: `busy_timeout`; PostgreSQL: `lock_timeout`.
    pub busy_timeout_ms: u64,
    /// Largest size of the SQLite file in bytes (`max_page_count`), rounded down to pages; none is no limit.
    /// Ignored on PostgreSQL.
    pub max_bytes: Option<u64>,
    /// Connections that read at the same time (SQLite), or connections altogether (PostgreSQL). At least 1.
    pub readers: u32,
}

impl Default for Options {
    /// 5 seconds, no limit, 4 connections.
    fn default() -> Options {
        Options {
            busy_timeout_ms: 5_000,
            max_bytes: None,
            readers: 4,
        }
    }
}
