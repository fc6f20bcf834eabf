//! Another database that records are read from: its queries are the customer's, and it is only ever read.
//!
//! Promises: rows stream, no more than a few are held; the transaction there is read-only and has a time limit; an
//! address is never shown with its password.

mod value;

use std::time::Duration;

use futures_util::TryStreamExt as _;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgConnectOptions, PgErrorPosition, PgRow, PgTypeInfo};
use sqlx::{
    Arguments as _, AssertSqlSafe, Column as _, ConnectOptions as _, Connection as _, Either, Encode, Executor as _,
    PgConnection, Postgres, Row as _, SqlSafeStr as _, Statement as _, Type, TypeInfo as _,
};
use tokio::sync::mpsc;

use crate::url::DatabaseUrl;
use crate::watermark::{Watermark, WatermarkKind};

const SET_TIMEOUT: &str = "select set_config('statement_timeout', $1, true)";
const READ_ONLY: &str = "begin transaction isolation level repeatable read read only";

/// Why another database was not read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The address is not one of PostgreSQL.
    #[error(
        "the address of the source is not of the form postgres://USER:PASSWORD@HOST/NAME: mend it where it is given"
    )]
    NotAnAddress,
    /// It does not answer, or does not let us in.
    #[error("the source at `{place}` cannot be reached: check its address, user and password, and that it runs")]
    Unreachable {
        /// Server and database, without secrets.
        place: String,
        /// What the driver said.
        #[source]
        source: sqlx::Error,
    },
    /// It did not answer in time.
    #[error(
        "the source at `{place}` did not answer within {ms} ms: check that it runs, or raise limits.source_connect_ms"
    )]
    Slow {
        /// Server and database, without secrets.
        place: String,
        /// How long we waited.
        ms: u64,
    },
    /// PostgreSQL does not understand the query, or may not run it.
    #[error("PostgreSQL refuses the query `{query}`{place}: {message}{hint}")]
    Refused {
        /// Name of the query.
        query: String,
        /// Line and column in the query, as words; empty when it names none.
        place: String,
        /// What PostgreSQL says.
        message: String,
        /// What it advises, as words; empty when nothing.
        hint: String,
    },
    /// The query took too long.
    #[error("the query `{query}` took longer than {ms} ms: make it faster, or raise limits.source_statement_ms")]
    Timeout {
        /// Name of the query.
        query: String,
        /// Limit.
        ms: u64,
    },
    /// The query has other parameters than it should.
    #[error("the query `{query}` has {found} parameters: {remedy}")]
    Parameters {
        /// Name of the query.
        query: String,
        /// How many there are.
        found: usize,
        /// What to do.
        remedy: &'static str,
    },
    /// The connection broke, or gave what it cannot give.
    #[error(
        "the source at `{place}` stopped while the query `{query}` was read: what was stored stands, read it again"
    )]
    Lost {
        /// Server and database, without secrets.
        place: String,
        /// Name of the query.
        query: String,
        /// What the driver said.
        #[source]
        source: sqlx::Error,
    },
}

/// A column of a query's result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceColumn {
    /// Name.
    pub name: String,
    /// PostgreSQL's word for its type.
    pub type_name: String,
    /// Whether values of this type are read.
    pub readable: bool,
    /// Type of a watermark, where it can be one.
    pub watermark: Option<WatermarkKind>,
}

/// A query to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceQuery {
    /// Name for messages.
    pub name: String,
    /// Its text.
    pub sql: String,
    /// Place of the column that says how far it has been read, its type, and the value from which on rows are asked for;
    /// bound to `$1`.
    pub from: Option<(usize, Watermark)>,
}

/// A row as texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRow {
    /// One text a column; nothing where it is null or cannot be read.
    pub cells: Vec<Option<String>>,
    /// Its place in the order of the watermark, where it has one.
    pub watermark: Option<i64>,
}

/// A connection to another database.
#[derive(Debug)]
pub struct SourceDatabase {
    connection: PgConnection,
    place: String,
}

impl SourceDatabase {
    /// Connects.
    ///
    /// # Errors
    /// [`SourceError::NotAnAddress`], [`SourceError::Unreachable`], [`SourceError::Slow`].
    pub async fn connect(url: &str, ms: u64) -> Result<SourceDatabase, SourceError> {
        let Ok(DatabaseUrl::Postgres(secret)) = url.parse::<DatabaseUrl>() else {
            return Err(SourceError::NotAnAddress);
        };
        let place = DatabaseUrl::Postgres(secret.clone()).to_string();
        let options: PgConnectOptions = secret.expose().parse().map_err(|_| SourceError::NotAnAddress)?;
        // Nothing kept: a query is described without the type of its parameter and read with it.
        let options = options
            .application_name("perennial")
            .statement_cache_capacity(0)
            .disable_statement_logging();
        match tokio::time::timeout(Duration::from_millis(ms), PgConnection::connect_with(&options)).await {
            Ok(Ok(connection)) => Ok(SourceDatabase { connection, place }),
            Ok(Err(source)) => Err(SourceError::Unreachable { place, source }),
            Err(_) => Err(SourceError::Slow { place, ms }),
        }
    }

    /// Server and database, without secrets.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The columns of a query, without running it. With `incremental` it must have the one parameter `$1`, else none.
    ///
    /// # Errors
    /// [`SourceError::Refused`], [`SourceError::Parameters`], [`SourceError::Lost`].
    pub async fn describe(
        &mut self,
        name: &str,
        sql: &str,
        incremental: bool,
    ) -> Result<Vec<SourceColumn>, SourceError> {
        let prepared = self
            .connection
            .prepare(AssertSqlSafe(sql.to_owned()).into_sql_str())
            .await;
        let statement = prepared.map_err(|error| fail(&self.place, name, sql, 0, error))?;
        let found = match statement.parameters() {
            Some(Either::Left(types)) => types.len(),
            Some(Either::Right(count)) => count,
            None => 0,
        };
        if found != usize::from(incremental) {
            let remedy = if incremental {
                "with `watermark` it must have one, $1, such as `where updated_at > $1`"
            } else {
                "without `watermark` it must have none; name the `watermark` column to make it incremental"
            };
            let query = name.to_owned();
            return Err(SourceError::Parameters { query, found, remedy });
        }
        let columns = statement.columns().iter().map(|column| SourceColumn {
            name: column.name().to_owned(),
            type_name: column.type_info().name().to_lowercase(),
            readable: value::readable(column.type_info()),
            watermark: value::watermark_kind(column.type_info()),
        });
        Ok(columns.collect())
    }

    /// Reads all rows of a query into `rows`, in one transaction that cannot write. Ends early, without an error, when
    /// nobody listens any more.
    ///
    /// # Errors
    /// [`SourceError::Refused`], [`SourceError::Timeout`], [`SourceError::Lost`].
    pub async fn read(
        &mut self,
        query: &SourceQuery,
        statement_ms: u64,
        rows: mpsc::Sender<SourceRow>,
    ) -> Result<(), SourceError> {
        let SourceDatabase { connection, place } = self;
        let failed = |error| fail(place, &query.name, &query.sql, statement_ms, error);
        let mut tx = connection.begin_with(READ_ONLY).await.map_err(failed)?;
        sqlx::query(SET_TIMEOUT)
            .bind(statement_ms.to_string())
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
        let mut arguments = PgArguments::default();
        if let Some((_, from)) = query.from {
            let bound = arguments.add(Bound(from)).map_err(sqlx::Error::Encode);
            bound.map_err(failed)?;
        }
        let mut stream = sqlx::query_with(AssertSqlSafe(query.sql.clone()).into_sql_str(), arguments).fetch(&mut *tx);
        while let Some(row) = stream.try_next().await.map_err(failed)? {
            let row = source_row(&row, query.from.map(|(index, _)| index)).map_err(failed)?;
            if rows.send(row).await.is_err() {
                break;
            }
        }
        drop(stream);
        // Nothing was written; a transaction that is not ended well ends with the connection.
        let _ = tx.rollback().await;
        Ok(())
    }
}

fn source_row(row: &PgRow, watermark: Option<usize>) -> Result<SourceRow, sqlx::Error> {
    let mut cells = Vec::with_capacity(row.len());
    let mut at = None;
    for index in 0..row.len() {
        let raw = row.try_get_raw(index)?;
        if watermark == Some(index) {
            at = value::watermark(&raw);
        }
        cells.push(value::text(&raw));
    }
    Ok(SourceRow { cells, watermark: at })
}

/// What an error of the driver asks of the caller.
fn fail(place: &str, query: &str, sql: &str, ms: u64, source: sqlx::Error) -> SourceError {
    let refused = match &source {
        sqlx::Error::Database(error) => error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>(),
        _ => None,
    };
    let query = query.to_owned();
    let Some(refused) = refused else {
        return SourceError::Lost {
            place: place.to_owned(),
            query,
            source,
        };
    };
    if refused.code() == "57014" {
        return SourceError::Timeout { query, ms };
    }
    let at = match refused.position() {
        Some(PgErrorPosition::Original(at)) => {
            let before: String = sql.chars().take(at.saturating_sub(1)).collect();
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            format!(" at line {line}, column {column}")
        }
        Some(PgErrorPosition::Internal { .. }) | None => String::new(),
    };
    SourceError::Refused {
        query,
        place: at,
        message: refused.message().to_owned(),
        hint: refused.hint().map_or_else(String::new, |hint| format!(" ({hint})")),
    }
}

/// A watermark as a parameter of its own type.
struct Bound(Watermark);

impl Type<Postgres> for Bound {
    fn type_info() -> PgTypeInfo {
        <i64 as Type<Postgres>>::type_info()
    }
}

impl Encode<'_, Postgres> for Bound {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(&value::encode(self.0));
        Ok(IsNull::No)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(value::type_info(self.0.kind))
    }
}
