//! The one place that knows there are two databases: connections, transactions, statements, arguments, rows.
//!
//! A [`Statement`] is constant text. Most have one text for both databases; a batch comes in through the hole `{rows}`,
//! which is `json_each` on SQLite and `unnest` on PostgreSQL, so that a batch of any size is one statement.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use sqlx::postgres::PgRow;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments as _, Executor as _, PgPool, Postgres, Row as _, Sqlite, SqlitePool};

pub(crate) use crate::args::{Arg, Column, args};
use crate::args::{add_sqlite, postgres_args, sqlite_args};
use crate::dialect::{self, Dialect};
use crate::error::{Result, StoreError};

/// A column of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Col {
    /// Text.
    Text(&'static str),
    /// Integer of 64 bits.
    Int(&'static str),
    /// Bytes.
    Bytes(&'static str),
}

impl Col {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Col::Text(name) | Col::Int(name) | Col::Bytes(name) => name,
        }
    }
}

/// A constant statement.
#[derive(Debug)]
pub(crate) struct Statement {
    pub(crate) doing: &'static str,
    text: Text,
    built: OnceLock<[String; 2]>,
    /// Whether PostgreSQL plans it each time instead of keeping the plan.
    anew: bool,
}

#[derive(Debug)]
enum Text {
    Same(&'static str),
    Rows {
        text: [&'static str; 2],
        first: usize,
        columns: &'static [Col],
    },
    Differ([&'static str; 2]),
}

impl Statement {
    /// One text for both databases. `doing` completes "the database refused ..".
    pub(crate) const fn same(doing: &'static str, text: &'static str) -> Statement {
        Statement {
            doing,
            text: Text::Same(text),
            built: OnceLock::new(),
            anew: false,
        }
    }

    /// One text with the hole `{rows}`: a table `e` with the columns and `at`, the place in the batch. Its parameters
    /// begin at `$first` and must be the last ones.
    pub(crate) const fn rows(
        doing: &'static str,
        text: &'static str,
        first: usize,
        columns: &'static [Col],
    ) -> Statement {
        Statement::rows_differ(doing, text, text, first, columns)
    }

    /// Two texts with the hole `{rows}`.
    pub(crate) const fn rows_differ(
        doing: &'static str,
        sqlite: &'static str,
        postgres: &'static str,
        first: usize,
        columns: &'static [Col],
    ) -> Statement {
        Statement {
            doing,
            text: Text::Rows {
                text: [sqlite, postgres],
                first,
                columns,
            },
            built: OnceLock::new(),
            anew: false,
        }
    }

    /// Two texts.
    pub(crate) const fn differ(doing: &'static str, sqlite: &'static str, postgres: &'static str) -> Statement {
        Statement {
            doing,
            text: Text::Differ([sqlite, postgres]),
            built: OnceLock::new(),
            anew: false,
        }
    }

    /// The same, planned by PostgreSQL each time it runs. A plan that is kept is one for how many rows the tables had when it was
    /// made, and for batches of ten; where a table grows from nothing while a process lives, it goes through all of it from then on.
    /// Planning anew costs a round trip and a fraction of a millisecond: for what runs once for many accounts.
    pub(crate) const fn anew(mut self) -> Statement {
        self.anew = true;
        self
    }

    /// The text for a database.
    pub(crate) fn text(&'static self, dialect: Dialect) -> &'static str {
        match &self.text {
            Text::Same(text) => text,
            Text::Differ(texts) => texts[dialect as usize],
            Text::Rows { text, first, columns } => &self.built.get_or_init(|| {
                [
                    text[0].replace("{rows}", &dialect::rows_sqlite(*first, columns)),
                    text[1].replace("{rows}", &dialect::rows_postgres(*first, columns)),
                ]
            })[dialect as usize],
        }
    }
}

/// An insert of many rows for SQLite, one parameter a value: twice as fast as `json_each` where rows are small.
#[derive(Debug)]
pub(crate) struct Many {
    doing: &'static str,
    /// `insert into .. values`; the first column is the tenant.
    head: &'static str,
    /// Columns, the tenant included.
    width: usize,
    built: OnceLock<String>,
}

impl Many {
    /// Rows of one statement. More bring nothing, and SQLite has a limit of 32,766 parameters.
    pub(crate) const ROWS: usize = 500;

    pub(crate) const fn new(doing: &'static str, head: &'static str, width: usize) -> Many {
        Many {
            doing,
            head,
            width,
            built: OnceLock::new(),
        }
    }

    /// The text for [`Many::ROWS`] rows. Parameters have no numbers here: SQLite finds numbered ones by a list.
    pub(crate) fn text(&'static self) -> &'static str {
        self.built.get_or_init(|| {
            let row = format!("({}?)", "?, ".repeat(self.width - 1));
            let rows = vec![row.as_str(); Many::ROWS].join(", ");
            format!("{} {rows}", self.head)
        })
    }
}

/// A row that was read.
#[derive(Debug)]
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

macro_rules! getter {
    ($(#[$doc:meta])* $name:ident, $type:ty) => {
        $(#[$doc])*
        pub(crate) fn $name(&self, column: usize) -> Result<$type> {
            match self {
                Row::Sqlite(row) => row.try_get_unchecked(column),
                Row::Postgres(row) => row.try_get_unchecked(column),
            }
            .map_err(|source| StoreError::Other { doing: "reading a row", source })
        }
    };
}

impl Row {
    getter!(
        /// An integer.
        int, i64
    );
    getter!(
        /// An integer or null.
        opt_int, Option<i64>
    );
    getter!(
        /// A text.
        text, String
    );
    getter!(
        /// A text or null.
        opt_text, Option<String>
    );
    getter!(
        /// Bytes.
        bytes, Vec<u8>
    );
}

/// How a write is made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Durability {
    /// Survives a power cut once committed.
    Full = 2,
    /// Survives a crash of the program; a power cut may lose the last commits, never a part of one. For imports, which
    /// are repeatable.
    Normal = 1,
}

/// Connections of one database.
#[derive(Debug)]
pub(crate) struct Db {
    pub(crate) pools: Pools,
    /// File or server, for messages.
    pub(crate) place: String,
}

#[derive(Debug)]
pub(crate) enum Pools {
    Sqlite {
        read: SqlitePool,
        write: SqlitePool,
        /// One writer at a time, in the order of asking. Also guards `durability`.
        gate: Arc<tokio::sync::Mutex<()>>,
        /// `synchronous` of the one writing connection as it stands.
        durability: Arc<AtomicU8>,
    },
    Postgres(PgPool),
}

/// A transaction that writes. Dropped without a commit, it leaves nothing.
pub(crate) struct Tx<'a> {
    db: &'a Db,
    inner: TxInner,
    // Declared last: released after the transaction was rolled back.
    _gate: Option<tokio::sync::OwnedMutexGuard<()>>,
}

enum TxInner {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Postgres(sqlx::Transaction<'static, Postgres>),
}

impl Db {
    pub(crate) fn dialect(&self) -> Dialect {
        match &self.pools {
            Pools::Sqlite { .. } => Dialect::Sqlite,
            Pools::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Turns an error of the driver into one of ours.
    pub(crate) fn fail(&self, doing: &'static str, source: sqlx::Error) -> StoreError {
        dialect::classify(self.dialect(), &self.place, doing, source)
    }

    /// Reads with one statement.
    pub(crate) async fn fetch(
        &self,
        statement: &'static Statement,
        args: &[Arg<'_>],
        rows: Option<&[Column<'_>]>,
    ) -> Result<Vec<Row>> {
        let fail = |source| self.fail(statement.doing, source);
        let text = statement.text(self.dialect());
        Ok(match &self.pools {
            Pools::Sqlite { read, .. } => {
                let args = sqlite_args(args, rows).map_err(fail)?;
                let rows = sqlx::query_with(text, args).fetch_all(read).await.map_err(fail)?;
                rows.into_iter().map(Row::Sqlite).collect()
            }
            Pools::Postgres(pool) => {
                let args = postgres_args(args, rows).map_err(fail)?;
                let query = sqlx::query_with(text, args).persistent(!statement.anew);
                let rows = query.fetch_all(pool).await.map_err(fail)?;
                rows.into_iter().map(Row::Postgres).collect()
            }
        })
    }

    /// Reads the first row of one statement.
    pub(crate) async fn fetch_one(&self, statement: &'static Statement, args: &[Arg<'_>]) -> Result<Option<Row>> {
        Ok(self.fetch(statement, args, None).await?.into_iter().next())
    }

    /// Opens a transaction that writes.
    pub(crate) async fn write(&self, durability: Durability) -> Result<Tx<'_>> {
        let fail = |source| self.fail("opening a transaction", source);
        let (inner, gate) = match &self.pools {
            Pools::Sqlite {
                write,
                gate,
                durability: current,
                ..
            } => {
                let gate = Arc::clone(gate).lock_owned().await;
                if current.load(Ordering::Relaxed) != durability as u8 {
                    let pragma = match durability {
                        Durability::Full => dialect::SYNCHRONOUS_FULL,
                        Durability::Normal => dialect::SYNCHRONOUS_NORMAL,
                    };
                    write.execute(pragma).await.map_err(fail)?;
                    current.store(durability as u8, Ordering::Relaxed);
                }
                let tx = write.begin_with(dialect::BEGIN_IMMEDIATE).await.map_err(fail)?;
                (TxInner::Sqlite(tx), Some(gate))
            }
            Pools::Postgres(pool) => (TxInner::Postgres(pool.begin().await.map_err(fail)?), None),
        };
        Ok(Tx {
            db: self,
            inner,
            _gate: gate,
        })
    }
}

impl Tx<'_> {
    pub(crate) fn dialect(&self) -> Dialect {
        self.db.dialect()
    }

    /// Runs a statement; rows it changed.
    pub(crate) async fn execute(
        &mut self,
        statement: &'static Statement,
        args: &[Arg<'_>],
        rows: Option<&[Column<'_>]>,
    ) -> Result<u64> {
        let db = self.db;
        let fail = |source| db.fail(statement.doing, source);
        let text = statement.text(db.dialect());
        match &mut self.inner {
            TxInner::Sqlite(tx) => {
                let args = sqlite_args(args, rows).map_err(fail)?;
                let done = sqlx::query_with(text, args).execute(&mut **tx).await;
                done.map(|done| done.rows_affected()).map_err(fail)
            }
            TxInner::Postgres(tx) => {
                let args = postgres_args(args, rows).map_err(fail)?;
                let query = sqlx::query_with(text, args).persistent(!statement.anew);
                let done = query.execute(&mut **tx).await;
                done.map(|done| done.rows_affected()).map_err(fail)
            }
        }
    }

    /// Inserts a batch: with `many` as far as that goes on SQLite, with `statement` else.
    pub(crate) async fn insert(
        &mut self,
        many: &'static Many,
        statement: &'static Statement,
        tenant: i64,
        columns: &[Column<'_>],
    ) -> Result<()> {
        let db = self.db;
        let rows = columns.first().map_or(0, Column::len);
        let mut done = 0;
        if let TxInner::Sqlite(tx) = &mut self.inner {
            debug_assert_eq!(columns.len() + 1, many.width);
            let fail = |source| db.fail(many.doing, source);
            while rows - done >= Many::ROWS {
                let mut args = SqliteArguments::default();
                args.reserve(Many::ROWS * many.width, 0);
                for row in done..done + Many::ROWS {
                    add_sqlite(&mut args, Arg::Int(tenant)).map_err(fail)?;
                    for column in columns {
                        add_sqlite(&mut args, column.cell(row)).map_err(fail)?;
                    }
                }
                sqlx::query_with(many.text(), args)
                    .execute(&mut **tx)
                    .await
                    .map_err(fail)?;
                done += Many::ROWS;
            }
        }
        if done < rows {
            let rest: Vec<Column<'_>> = columns.iter().map(|column| column.from(done)).collect();
            self.execute(statement, args![tenant], Some(&rest)).await?;
        }
        Ok(())
    }

    /// Runs a statement that gives rows.
    pub(crate) async fn fetch(
        &mut self,
        statement: &'static Statement,
        args: &[Arg<'_>],
        rows: Option<&[Column<'_>]>,
    ) -> Result<Vec<Row>> {
        let db = self.db;
        let fail = |source| db.fail(statement.doing, source);
        let text = statement.text(db.dialect());
        Ok(match &mut self.inner {
            TxInner::Sqlite(tx) => {
                let args = sqlite_args(args, rows).map_err(fail)?;
                let rows = sqlx::query_with(text, args).fetch_all(&mut **tx).await.map_err(fail)?;
                rows.into_iter().map(Row::Sqlite).collect()
            }
            TxInner::Postgres(tx) => {
                let args = postgres_args(args, rows).map_err(fail)?;
                let query = sqlx::query_with(text, args).persistent(!statement.anew);
                let rows = query.fetch_all(&mut **tx).await.map_err(fail)?;
                rows.into_iter().map(Row::Postgres).collect()
            }
        })
    }

    /// Runs several statements without parameters, as in a migration.
    pub(crate) async fn script(&mut self, doing: &'static str, text: &'static str) -> Result<()> {
        let db = self.db;
        let done = match &mut self.inner {
            TxInner::Sqlite(tx) => sqlx::raw_sql(text).execute(&mut **tx).await.map(drop),
            TxInner::Postgres(tx) => sqlx::raw_sql(text).execute(&mut **tx).await.map(drop),
        };
        done.map_err(|source| db.fail(doing, source))
    }

    pub(crate) async fn commit(self) -> Result<()> {
        let fail = |source| self.db.fail("committing", source);
        match self.inner {
            TxInner::Sqlite(tx) => tx.commit().await.map_err(fail),
            TxInner::Postgres(tx) => tx.commit().await.map_err(fail),
        }
    }
}
