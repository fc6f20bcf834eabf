//! Records of a CRM: what changed streams through the mapping into the store, and a watermark remembers how far.
//!
//! INVARIANT (nothing is skipped): a watermark moves in the transaction that stores the last signals it stands for, never past
//! the moment at which the reading began, and each reading goes back by an overlap: records change while they are read.
//!
//! INVARIANT (no echo): a record that we made is no signal, and a record that differs only by what we wrote is none.

use std::collections::BTreeMap;

use perennial_core::ids::AccountId;
use perennial_core::replay::canonical;
use perennial_core::signal::{Crm, Fact, FactKind, Signal};
use perennial_core::time::Timestamp;
use perennial_store::{
    Belongs, KnownField, Learned, NewSignal, SignalRow, Store, StoreError, Stored, Watermark, WatermarkKind,
};
use perennial_tools::{Ask, ReadPage, ReadRow, SendError, Tool};
use serde::Serialize;

use super::import::{Batch, ImportError, ImportOptions, ImportReport, ORPHAN_EXAMPLES, Tally};
use super::mapping::{Entry, Mapping};
use super::problem::Problem;
use super::pull::{RowCells, shown};
use super::record::{self, Context, Reject};
use super::rejects::Rejects;
use super::text::Encoding;

/// Why a CRM was not read, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The CRM refused. What was stored before stands, and the next reading goes on from there.
    #[error("`{object}` of {crm} could not be read to its end; what was read before is stored, run it again")]
    Crm {
        /// Which CRM.
        crm: Crm,
        /// Object.
        object: String,
        /// What it said.
        #[source]
        source: SendError,
    },
    /// Something must be mended first, or the store refused.
    #[error(transparent)]
    Import(#[from] ImportError),
}

impl From<StoreError> for SyncError {
    fn from(error: StoreError) -> SyncError {
        SyncError::Import(ImportError::Store(error))
    }
}

/// How to read.
#[derive(Debug, Clone)]
pub struct SyncOptions {
    /// As for an import.
    pub import: ImportOptions,
    /// Ask for everything, whatever has been read before.
    pub full: bool,
}

/// What reading a CRM did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Synced {
    /// Which CRM.
    pub crm: Crm,
    /// Counts, rejects and warnings, as an import has them; a file is an object here.
    #[serde(flatten)]
    pub report: ImportReport,
    /// Rows among the duplicates that only say what we wrote ourselves.
    pub own: u64,
    /// Records that were deleted there since they were last read.
    pub deleted: u64,
    /// Pages read.
    pub pages: u64,
    /// How far each object has been read now: object, kind and moment.
    pub watermarks: Vec<(String, String)>,
}

/// Reads the objects of a mapping. Each asks from its watermark on, less the overlap; with `full` from the beginning.
///
/// # Errors
/// [`SyncError`]. What was stored before stands; read again.
pub async fn sync(
    store: &Store,
    tool: &dyn Tool,
    mapping: &Mapping,
    options: &SyncOptions,
    now: Timestamp,
) -> Result<Synced, SyncError> {
    if mapping.objects.is_empty() {
        let help = Some("add an [[object]] with `name`, `kind` and `key`".to_owned());
        let problems = vec![Problem::of_file(
            &mapping.file,
            "the mapping reads no object of the CRM",
            help,
        )];
        return Err(ImportError::NotReady { problems }.into());
    }
    let rejects = Rejects::create(&options.import.rejects_dir, mapping.source())
        .map_err(|problems| ImportError::NotReady { problems })?;
    let names = mapping
        .objects
        .iter()
        .map(|entry| (entry.path.clone(), entry.kind, Encoding::Utf8))
        .collect();
    let mut reading = Reading {
        store,
        tool,
        mapping,
        now,
        tally: Tally::new(names, Vec::new(), rejects),
        own: 0,
        deleted: 0,
        pages: 0,
    };
    let mut watermarks = Vec::new();
    for (index, entry) in mapping.objects.iter().enumerate() {
        if let Some(reached) = reading.object(index, entry, options.full).await? {
            watermarks.push((name_of(entry), shown(reached)));
        }
    }
    let linked = store.link_signals().await?;
    let (orphans, examples) = store.orphans(ORPHAN_EXAMPLES).await?;
    let state_hash = store.state_hash().await?;
    let Reading {
        tally,
        own,
        deleted,
        pages,
        ..
    } = reading;
    Ok(Synced {
        crm: tool.crm(),
        report: tally.report(&linked, orphans, &examples, state_hash)?,
        own,
        deleted,
        pages,
        watermarks,
    })
}

/// Under which name it is kept how far an object was read: one may be read as several kinds.
fn name_of(entry: &Entry) -> String {
    format!("{}/{}", entry.path, entry.kind)
}

struct Reading<'a> {
    store: &'a Store,
    tool: &'a dyn Tool,
    mapping: &'a Mapping,
    now: Timestamp,
    tally: Tally,
    own: u64,
    deleted: u64,
    pages: u64,
}

/// An object that is being read.
struct Object<'a> {
    entry: &'a Entry,
    /// Columns of the rows, in the order of the bound entry.
    columns: Vec<String>,
    /// Fields that we write there, where its records are accounts or deals.
    written: Vec<String>,
    own_key: Option<&'static str>,
    /// Place of the object in the mapping.
    file: usize,
}

/// What a row became.
struct Row {
    signal: SignalRow,
    /// Account and subject that its written fields are of.
    subject: Option<(AccountId, String)>,
}

impl Reading<'_> {
    async fn object(&mut self, file: usize, entry: &Entry, full: bool) -> Result<Option<Watermark>, SyncError> {
        let (bound, columns) = entry.bind_all();
        let (accounts, deals) = self.tool.written_objects();
        let written = match entry.kind {
            FactKind::Account if entry.path == accounts => fields(self.tool.writes().account_fields()),
            FactKind::Opportunity if entry.path == deals => fields(self.tool.writes().deal_fields()),
            _ => Vec::new(),
        };
        let mut object = Object {
            entry: &bound,
            columns,
            written,
            own_key: self.tool.own_key(&entry.path),
            file,
        };
        let (source, name) = (self.mapping.source().as_str(), name_of(entry));
        let reached = self.store.watermark(source, &name).await?.filter(|_| !full);
        let since =
            reached.map(|to| Timestamp::from_us(to.value.saturating_sub(entry.overlap_s.saturating_mul(1_000_000))));
        let mut ask = object.ask(since);
        let mut cursor: Option<String> = None;
        let mut latest = reached.map(|to| to.value);
        let mut number = 0;
        loop {
            let page = match self.tool.page(&ask, cursor.as_deref()).await {
                // Fields of ours that the CRM does not have yet must not stop the reading of everything else.
                Err(SendError::Refused { code, .. }) if code == "INVALID_FIELD" && object.has_extras() => {
                    object.written.clear();
                    object.own_key = None;
                    ask = object.ask(since);
                    continue;
                }
                Err(source) => {
                    return Err(SyncError::Crm {
                        crm: self.tool.crm(),
                        object: entry.path.clone(),
                        source,
                    });
                }
                Ok(page) => page,
            };
            self.pages += 1;
            let ReadPage { rows, next, reached } = page;
            let seen = rows.iter().filter_map(|row| row.modified).map(Timestamp::us).max();
            let is_last = next.is_none();
            let to = match reached {
                Some(reached) => Some(reached.us()),
                None if is_last => latest.max(seen),
                None => None,
            };
            if reached.is_none() {
                latest = latest.max(seen);
            }
            let to = to.map(|to| to.min(self.now.us()));
            self.take_in(&object, rows, &mut number, to).await?;
            match next {
                Some(next) => cursor = Some(next),
                None => break,
            }
        }
        Ok(self.store.watermark(source, &name).await?)
    }

    /// Stores a page, with what became known of written fields, and moves the watermark.
    async fn take_in(
        &mut self,
        object: &Object<'_>,
        rows: Vec<ReadRow>,
        number: &mut u64,
        to: Option<i64>,
    ) -> Result<(), SyncError> {
        let mut batch = Batch {
            file: object.file,
            ..Batch::default()
        };
        let mut read = Vec::with_capacity(rows.len());
        for row in rows {
            *number += 1;
            let is_ours = object.own_key.is_some_and(|key| row.cells.contains_key(key));
            if is_ours {
                batch.read += 1;
                batch.own += 1;
                continue;
            }
            let cells = object.cells(&row.cells);
            let found = self.row(object, &row, &cells);
            read.push((*number, row, canonical(&cells), found));
        }
        self.own += batch.own;
        let known = self.known(&read).await?;
        let mut learned: Vec<(AccountId, Learned)> = Vec::new();
        let mut deleted = Vec::new();
        for (number, row, raw, found) in read {
            deleted.extend(found.is_ok().then_some(row.deleted));
            let found = found.map(|mut new| {
                if let (Some((account, subject)), false) = (&new.subject, row.deleted) {
                    let of = |known: &&KnownField| known.account == *account && known.what.subject == *subject;
                    let known: Vec<&KnownField> = known.iter().filter(of).collect();
                    if let Some(before) = without_ours(&known, &row.cells) {
                        let cells = object.cells(&before);
                        if let Ok(without) = self.row(object, &row, &cells) {
                            new.signal = new.signal.no_echo(&without.signal);
                        }
                    }
                    let news = news(self.tool.crm(), object, subject, &known, &row.cells);
                    learned.extend(news.into_iter().map(|news| (account.clone(), news)));
                }
                new.signal
            });
            batch.push(found, number, raw.as_bytes());
        }
        let (source, name) = (self.mapping.source().as_str(), name_of(object.entry));
        let there = self.store.watermark(source, &name).await?.map(|there| there.value);
        let to = to.map(|to| Watermark {
            kind: WatermarkKind::TimestampTz,
            value: there.map_or(to, |there| there.max(to)),
        });
        if !learned.is_empty() {
            self.store.learn_fields(&learned, self.now).await?;
        }
        let stored = match to {
            Some(to) => {
                let key = (source, name.as_str());
                self.store
                    .insert_signals_and_move(&mut batch.signals, key, to, self.now)
                    .await?
            }
            None => self.store.insert_signals(&mut batch.signals).await?,
        };
        let gone = stored
            .iter()
            .zip(&deleted)
            .filter(|(s, gone)| **gone && **s == Stored::New);
        self.deleted += gone.count() as u64;
        self.tally.add(&batch, &stored)?;
        Ok(())
    }

    /// The signal of a record.
    fn row(&self, object: &Object<'_>, row: &ReadRow, cells: &[Option<String>]) -> Result<Row, Reject> {
        let context = Context {
            entry: object.entry,
            source: self.mapping.source(),
            revision_at: self.now,
            width: object.columns.len(),
        };
        let new = record::read(context, &RowCells(cells))?;
        let subject = match (&new.owner, object.entry.kind) {
            _ if object.written.is_empty() => None,
            (Belongs::Account(account), FactKind::Account) => Some((account.clone(), String::new())),
            (Belongs::Account(account), _) => Some((account.clone(), new.signal.external_id.as_str().to_owned())),
            (Belongs::Via(_) | Belongs::Portfolio, _) => None,
        };
        let signal = if row.deleted {
            SignalRow::of(NewSignal {
                owner: new.owner,
                signal: Signal {
                    fact: Fact::Gone(object.entry.kind),
                    ..new.signal
                },
            })
            .restating()
            .only_of_known()
        } else {
            SignalRow::of(new).restating()
        };
        Ok(Row { signal, subject })
    }

    async fn known(&self, read: &[(u64, ReadRow, String, Result<Row, Reject>)]) -> Result<Vec<KnownField>, StoreError> {
        let accounts = read
            .iter()
            .filter_map(|(.., found)| Some(&found.as_ref().ok()?.subject.as_ref()?.0));
        let mut accounts = accounts.peekable();
        if accounts.peek().is_none() {
            return Ok(Vec::new());
        }
        let known = self.store.known_fields(accounts).await?;
        Ok(known
            .into_iter()
            .filter(|known| known.what.tool == self.tool.crm())
            .collect())
    }
}

impl Object<'_> {
    fn has_extras(&self) -> bool {
        !self.written.is_empty() || self.own_key.is_some()
    }

    fn ask(&self, since: Option<Timestamp>) -> Ask {
        let extras = self.written.iter().cloned().chain(self.own_key.map(str::to_owned));
        Ask {
            object: self.entry.path.clone(),
            fields: self.columns.iter().cloned().chain(extras).collect(),
            since,
        }
    }

    /// The cells of the columns, in their order.
    fn cells(&self, of: &BTreeMap<String, String>) -> Vec<Option<String>> {
        self.columns.iter().map(|column| of.get(column).cloned()).collect()
    }
}

fn fields<'a>(of: impl Iterator<Item = &'a str>) -> Vec<String> {
    of.map(str::to_owned).collect()
}

/// The record as it was before our writes, where it holds any.
fn without_ours(known: &[&KnownField], cells: &BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
    let ours = known
        .iter()
        .filter(|known| known.what.ours && cells.get(&known.what.field).map_or("", String::as_str) == known.what.value);
    let mut before = cells.clone();
    let mut any = false;
    for known in ours {
        any = true;
        if known.before.is_empty() {
            before.remove(&known.what.field);
        } else {
            before.insert(known.what.field.clone(), known.before.clone());
        }
    }
    any.then_some(before)
}

/// Values of written fields that differ from what is known of them.
fn news(
    tool: Crm,
    object: &Object<'_>,
    subject: &str,
    known: &[&KnownField],
    cells: &BTreeMap<String, String>,
) -> Vec<Learned> {
    let learned = |field: &String| {
        let value = cells.get(field).map_or("", String::as_str);
        let known = known.iter().find(|known| known.what.field == *field);
        let is_news = known.map_or(!value.is_empty(), |known| known.what.value != value);
        is_news.then(|| Learned {
            tool,
            subject: subject.to_owned(),
            field: field.clone(),
            value: value.to_owned(),
            ours: false,
        })
    };
    object.written.iter().filter_map(learned).collect()
}
