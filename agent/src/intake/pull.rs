//! Records of another database: its rows stream through the mapping into the store, and a watermark remembers how far.
//!
//! INVARIANT (nothing is skipped): the watermark of a query moves with its last batch, in one transaction. Whatever stops
//! a reading before, the next one starts where the last whole one ended; what is there counts as duplicate.

use std::borrow::Cow;

use perennial_core::replay::canonical;
use perennial_core::time::Timestamp;
use perennial_store::{
    SignalRow, SourceDatabase, SourceError, SourceQuery, SourceRow, Store, StoreError, Watermark, WatermarkKind,
};
use serde::Serialize;
use tokio::sync::mpsc;

use super::import::{Batch, ImportError, ImportOptions, ImportReport, ORPHAN_EXAMPLES, Tally};
use super::mapping::{Column, Entry, Mapping, Query};
use super::problem::{Problem, help_with_words};
use super::record::{self, Cells, Context, Reject};
use super::rejects::Rejects;
use super::text::{Encoding, plain};

/// Rows between the source and the mapping.
const WAITING_ROWS: usize = 1_000;
/// Seconds of a day.
const DAY_SECONDS: i64 = 86_400;

/// Why a source was not read, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The source refused.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Something must be mended first, or the store refused.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The column that said how far the query was read has another type now.
    #[error(
        "the watermark of the query `{query}` was a {was} and is a {is} now: read it from the beginning once, with --full"
    )]
    WatermarkChanged {
        /// Query.
        query: String,
        /// Type at the last reading.
        was: &'static str,
        /// Type now.
        is: &'static str,
    },
}

impl From<StoreError> for PullError {
    fn from(error: StoreError) -> PullError {
        PullError::Import(ImportError::Store(error))
    }
}

/// What reading a source did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pulled {
    /// Counts, rejects and warnings, as an import has them; a file is a query here.
    #[serde(flatten)]
    pub report: ImportReport,
    /// How far each query with a watermark has been read now: name and value.
    pub watermarks: Vec<(String, String)>,
}

/// A query that is understood and fits its mapping.
struct Ready {
    entry: Entry,
    query: SourceQuery,
    width: usize,
}

/// Whether all queries of a mapping are understood by their database and give the columns that it asks for. Reads no
/// row and needs no store; says how many there are.
///
/// # Errors
/// [`PullError::Import`] with every problem of the columns; [`PullError::Source`].
pub async fn check_queries(database: &mut SourceDatabase, mapping: &Mapping) -> Result<usize, PullError> {
    Ok(prepare(database, mapping).await?.len())
}

async fn prepare(database: &mut SourceDatabase, mapping: &Mapping) -> Result<Vec<Ready>, PullError> {
    let not_ready = |problems| Err(PullError::Import(ImportError::NotReady { problems }));
    if mapping.queries.is_empty() {
        let help = Some("add a [[query]] with `name`, `sql`, `kind` and `key`".to_owned());
        return not_ready(vec![Problem::of_file(&mapping.file, "the mapping has no query", help)]);
    }
    let mut ready = Vec::new();
    let mut problems = Vec::new();
    for entry in &mapping.queries {
        let Some(query) = &entry.query else { continue };
        let columns = database
            .describe(&entry.path, &query.sql, query.watermark.is_some())
            .await?;
        let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
        if let Some(twice) = (1..names.len()).find(|at| names[..*at].contains(&names[*at])) {
            let message = format!(
                "the column `{}` stands twice in the result of `{}`",
                names[twice], entry.path
            );
            let help = Some("name one of them otherwise: `as`".to_owned());
            problems.push(mapping.problem(query.span.clone(), message, help));
            continue;
        }
        let bound = match entry.bind(&names) {
            Ok(bound) => bound,
            Err(missing) => {
                let known: Vec<&str> = names.iter().map(String::as_str).collect();
                problems.extend(missing.into_iter().map(|column| {
                    let message = format!("the query `{}` gives no column `{}`", entry.path, column.name);
                    mapping.problem(column.span, message, Some(help_with_words(&column.name, &known)))
                }));
                continue;
            }
        };
        for column in bound.columns() {
            if let Some(found) = columns.get(column.index).filter(|found| !found.readable) {
                let message = format!(
                    "the column `{}` of the query `{}` has the type {}, which is not read",
                    found.name, entry.path, found.type_name
                );
                let help = Some(format!("make it a text in the query: \"{}\"::text", found.name));
                problems.push(mapping.problem(column.span.clone(), message, help));
            }
        }
        let mut from = None;
        if let Some(Query {
            watermark: Some(column),
            ..
        }) = &bound.query
        {
            match columns.get(column.index).and_then(|found| found.watermark) {
                Some(kind) => from = Some((column.index, beginning(kind))),
                None => {
                    let type_name = columns.get(column.index).map_or("", |found| found.type_name.as_str());
                    let message = format!("a column of type {type_name} cannot be a watermark");
                    let help = "take a whole number, a date or a timestamp that grows when a row is new or changes";
                    problems.push(mapping.problem(column.span.clone(), message, Some(help.to_owned())));
                }
            }
        }
        ready.push(Ready {
            query: SourceQuery {
                name: entry.path.clone(),
                sql: query.sql.clone(),
                from,
            },
            width: names.len(),
            entry: bound,
        });
    }
    if problems.is_empty() {
        Ok(ready)
    } else {
        problems.sort_by_key(|problem| (problem.line, problem.column));
        problems.dedup_by(|a, b| a.to_string() == b.to_string());
        not_ready(problems)
    }
}

/// Before every value of a type: its minus infinity, where it has one.
fn beginning(kind: WatermarkKind) -> Watermark {
    let value = match kind {
        WatermarkKind::Number | WatermarkKind::Timestamp | WatermarkKind::TimestampTz => i64::MIN,
        WatermarkKind::Date => i64::from(i32::MIN),
    };
    Watermark { kind, value }
}

/// The value from which on rows are asked for.
fn earlier(reached: Watermark, overlap: i64) -> Watermark {
    let by = match reached.kind {
        WatermarkKind::Number => overlap,
        WatermarkKind::Date => overlap.saturating_add(DAY_SECONDS - 1) / DAY_SECONDS,
        WatermarkKind::Timestamp | WatermarkKind::TimestampTz => overlap.saturating_mul(1_000_000),
    };
    let value = reached.value.saturating_sub(by);
    Watermark { value, ..reached }
}

/// A watermark for people.
pub(super) fn shown(watermark: Watermark) -> String {
    match watermark.kind {
        WatermarkKind::Number => watermark.value.to_string(),
        WatermarkKind::Date => {
            let day = i32::try_from(watermark.value).unwrap_or(i32::MAX);
            perennial_core::time::Day::from_number(day).to_string()
        }
        WatermarkKind::Timestamp | WatermarkKind::TimestampTz => Timestamp::from_us(watermark.value).to_string(),
    }
}

/// Reads the queries of a mapping. Each asks from its watermark on, less the overlap; with `full` from the beginning.
///
/// The versions of the records are those of `now`: a record is stored when it differs from the version that is there.
///
/// # Errors
/// [`PullError`]. What was stored before stands; read the source again.
pub async fn pull(
    store: &Store,
    database: &mut SourceDatabase,
    mapping: &Mapping,
    options: &ImportOptions,
    statement_ms: u64,
    full: bool,
    now: Timestamp,
) -> Result<Pulled, PullError> {
    let source = mapping.source().as_str();
    let mut all = prepare(database, mapping).await?;
    for ready in &mut all {
        let Some((_, from)) = &mut ready.query.from else {
            continue;
        };
        let reached = store.watermark(source, &ready.query.name).await?.filter(|_| !full);
        if let Some(reached) = reached {
            if reached.kind != from.kind {
                return Err(PullError::WatermarkChanged {
                    query: ready.query.name.clone(),
                    was: reached.kind.as_str(),
                    is: from.kind.as_str(),
                });
            }
            let overlap = ready.entry.query.as_ref().map_or(0, |query| query.overlap);
            *from = earlier(reached, overlap);
        }
    }
    let rejects = Rejects::create(&options.rejects_dir, mapping.source())
        .map_err(|problems| ImportError::NotReady { problems })?;
    let names = all
        .iter()
        .map(|ready| (ready.query.name.clone(), ready.entry.kind, Encoding::Utf8))
        .collect();
    let mut tally = Tally::new(names, Vec::new(), rejects);
    let mut watermarks = Vec::new();
    for (index, ready) in all.iter().enumerate() {
        let (sender, rows) = mpsc::channel(WAITING_ROWS);
        let revision_at = options.as_of.unwrap_or(now);
        // Both at once, so that neither holds more than what is between them.
        let (read, stored) = tokio::join!(
            database.read(&ready.query, statement_ms, sender),
            take_in(store, mapping, ready, index, rows, options, revision_at, &mut tally)
        );
        // What the source says comes first: the store only saw the rows end.
        let last = match (read, stored) {
            (Err(error), _) => return Err(error.into()),
            (Ok(()), Err(error)) => return Err(error),
            (Ok(()), Ok(last)) => last,
        };
        let Last { mut batch, reached } = last;
        let stored = match to_keep(store, source, ready, reached).await? {
            Some(to) => {
                watermarks.push((ready.query.name.clone(), shown(to)));
                let key = (source, ready.query.name.as_str());
                store.insert_signals_and_move(&mut batch.signals, key, to, now).await?
            }
            None => store.insert_signals(&mut batch.signals).await?,
        };
        tally.add(&batch, &stored)?;
    }
    let linked = store.link_signals().await?;
    let (orphans, examples) = store.orphans(ORPHAN_EXAMPLES).await?;
    let state_hash = store.state_hash().await?;
    Ok(Pulled {
        report: tally.report(&linked, orphans, &examples, state_hash)?,
        watermarks,
    })
}

/// Where the watermark of a query goes: forward only, and not where no row had one.
async fn to_keep(
    store: &Store,
    source: &str,
    ready: &Ready,
    reached: Option<i64>,
) -> Result<Option<Watermark>, StoreError> {
    let (Some((_, from)), Some(value)) = (ready.query.from, reached) else {
        return Ok(None);
    };
    let there = store.watermark(source, &ready.query.name).await?;
    let there = there.filter(|there| there.kind == from.kind).map(|there| there.value);
    Ok(Some(Watermark {
        kind: from.kind,
        value: there.map_or(value, |there| there.max(value)),
    }))
}

/// The rows that are not stored yet when a query ends, and the greatest watermark of all its rows.
struct Last {
    batch: Batch,
    reached: Option<i64>,
}

#[expect(
    clippy::too_many_arguments,
    reason = "the parts of one loop, which is split from `pull` to run beside the reading"
)]
async fn take_in(
    store: &Store,
    mapping: &Mapping,
    ready: &Ready,
    file: usize,
    mut rows: mpsc::Receiver<SourceRow>,
    options: &ImportOptions,
    revision_at: Timestamp,
    tally: &mut Tally,
) -> Result<Last, PullError> {
    let context = Context {
        entry: &ready.entry,
        source: mapping.source(),
        revision_at,
        width: ready.width,
    };
    let fresh = || Batch {
        file,
        ..Batch::default()
    };
    let (mut batch, mut reached, mut number, mut bytes) = (fresh(), None, 0, 0);
    while let Some(row) = rows.recv().await {
        if batch.read >= options.batch_rows as u64 || bytes >= options.batch_bytes {
            let stored = store.insert_signals(&mut batch.signals).await?;
            tally.add(&batch, &stored)?;
            (batch, bytes) = (fresh(), 0);
        }
        number += 1;
        reached = reached.max(row.watermark);
        let raw = canonical(&row.cells);
        bytes += raw.len();
        let found = if raw.len() > options.max_row_bytes {
            Err(Reject::of_row(format!(
                "the row is longer than {} bytes",
                options.max_row_bytes
            )))
        } else {
            record::read(context, &RowCells(&row.cells))
        };
        batch.push(found.map(|new| SignalRow::of(new).restating()), number, raw.as_bytes());
    }
    Ok(Last { batch, reached })
}

/// The cells of a row of a query.
pub(super) struct RowCells<'a>(pub(super) &'a [Option<String>]);

impl Cells for RowCells<'_> {
    fn width(&self) -> usize {
        self.0.len()
    }

    fn text(&self, column: &Column, _: Encoding) -> Result<Cow<'_, str>, Reject> {
        match self.0.get(column.index) {
            Some(Some(text)) => plain(text).map_err(|reason| Reject::new(&column.name, text, reason)),
            Some(None) | None => Ok(Cow::Borrowed("")),
        }
    }
}
