//! How far the query of another database has been read.
//!
//! INVARIANT (nothing is skipped): a watermark moves in the transaction that stores the last signals it stands for.

use perennial_core::time::Timestamp;

use crate::Store;
use crate::convert::word;
use crate::db::{Durability, Statement, args};
use crate::error::Result;
use crate::rows::Stored;
use crate::signals::{self, SignalRow};

pub(crate) static READ: Statement = Statement::same(
    "reading a watermark",
    "select kind, value from watermark where tenant_id = $1 and source = $2 and query = $3",
);
pub(crate) static WRITE: Statement = Statement::same(
    "moving a watermark",
    "insert into watermark (tenant_id, source, query, kind, value, updated_us) values ($1, $2, $3, $4, $5, $6)
     on conflict (tenant_id, source, query) do update set kind = excluded.kind, value = excluded.value,
         updated_us = excluded.updated_us",
);

#[cfg(test)]
pub(crate) static ALL: &[&Statement] = &[&READ, &WRITE];

/// Type of a column by which rows can be asked for from a point on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatermarkKind {
    /// A whole number of any size.
    Number,
    /// A day.
    Date,
    /// A time without an offset.
    Timestamp,
    /// A time with an offset.
    TimestampTz,
}

impl WatermarkKind {
    /// Every kind.
    pub const ALL: [WatermarkKind; 4] = [
        WatermarkKind::Number,
        WatermarkKind::Date,
        WatermarkKind::Timestamp,
        WatermarkKind::TimestampTz,
    ];

    /// The name of the type.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            WatermarkKind::Number => "bigint",
            WatermarkKind::Date => "date",
            WatermarkKind::Timestamp => "timestamp",
            WatermarkKind::TimestampTz => "timestamptz",
        }
    }

    fn from_word(text: &str) -> Option<WatermarkKind> {
        WatermarkKind::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// How far a query has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermark {
    /// Type of the column.
    pub kind: WatermarkKind,
    /// The greatest value seen: the number itself, days since 1970-01-01, or microseconds since then.
    pub value: i64,
}

impl Store {
    /// How far a query of a source has been read; nothing before the first time.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn watermark(&self, source: &str, query: &str) -> Result<Option<Watermark>> {
        let row = self.db.fetch_one(&READ, args![self.tenant.0, source, query]).await?;
        row.map(|row| {
            Ok(Watermark {
                kind: word("watermark", &row.text(0)?, WatermarkKind::from_word)?,
                value: row.int(1)?,
            })
        })
        .transpose()
    }

    /// Stores the last signals of a query as [`Store::insert_signals`] does, and moves its watermark, both or neither.
    ///
    /// # Errors
    /// What writing brings; nothing is stored then.
    pub async fn insert_signals_and_move(
        &self,
        batch: &mut [SignalRow],
        (source, query): (&str, &str),
        to: Watermark,
        now: Timestamp,
    ) -> Result<Vec<Stored>> {
        let mut tx = self.db.write(Durability::Full).await?;
        let stored = match batch {
            [] => Vec::new(),
            batch => signals::insert(&mut tx, self.tenant.0, batch).await?,
        };
        tx.execute(
            &WRITE,
            args![self.tenant.0, source, query, to.kind.as_str(), to.value, now.us()],
            None,
        )
        .await?;
        tx.commit().await?;
        Ok(stored)
    }
}
