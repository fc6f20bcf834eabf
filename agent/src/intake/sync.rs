//! Records of a CRM: what changed streams through the mapping into the store, and a watermark remembers how far.
//!
//! INVARIANT (nothing is skipped): a watermark moves in the transaction that stores the last signals it stands for, never past
//! the moment at which the reading began, and each reading goes back by an overlap: records change while they are read.
//!
//! INVARIANT (no echo): a record that we made is no signal, and a record that differs only by what we wrote is none.

mod options;

use std::collections::BTreeMap;
use std::time::Duration;

use perennial_core::ids::AccountId;
use perennial_core::replay::canonical;
use perennial_core::signal::{Crm, FactKind};
use perennial_core::time::Timestamp;
use perennial_store::{
    Belongs, DueRecord, KnownField, Learned, SignalRow, Store, StoreError, Stored, Watermark, WatermarkKind,
};
use perennial_tools::{Ask, ReadPage, ReadRow, SendError, Tool};
use tokio::sync::watch;

pub use self::options::{SyncError, SyncOptions, Synced};
use super::import::{Batch, ImportError, ORPHAN_EXAMPLES, Tally};
use super::mapping::{Entry, Mapping};
use super::problem::Problem;
use super::pull::{RowCells, shown};
use super::record::{self, Context, Reject};
use super::rejects::Rejects;
use super::text::Encoding;

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
    let mut reading = Reading::new(store, tool, mapping, options, ("latest", now))?;
    let mut watermarks = Vec::new();
    for (index, entry) in mapping.objects.iter().enumerate() {
        if let Some(reached) = reading.object(index, entry, options).await? {
            watermarks.push((name_of(entry), shown(reached)));
        }
    }
    reading.end(watermarks).await
}

/// Reads records that the CRM itself says have changed, as they are now. No watermark moves: what was not said is still found by
/// the next [`sync`].
///
/// # Errors
/// [`SyncError`]. What was stored before stands, and what was not read stays due.
pub async fn sync_due(
    store: &Store,
    tool: &dyn Tool,
    mapping: &Mapping,
    options: &SyncOptions,
    due: &[DueRecord],
    now: Timestamp,
) -> Result<Synced, SyncError> {
    let mut reading = Reading::new(store, tool, mapping, options, ("due", now))?;
    let mut of: BTreeMap<&str, Vec<&DueRecord>> = BTreeMap::new();
    for record in due {
        of.entry(&record.object).or_default().push(record);
    }
    for (object, records) in of {
        for some in records.chunks(tool.records_most().max(1)) {
            let ids: Vec<String> = some.iter().map(|due| due.record.clone()).collect();
            for (index, entry) in mapping.objects.iter().enumerate() {
                if entry.path == object {
                    reading.records(index, entry, &ids).await?;
                }
            }
            let some: Vec<DueRecord> = some.iter().copied().cloned().collect();
            store.settle_due_records(tool.crm(), &some).await?;
        }
    }
    reading.end(Vec::new()).await
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
    stop: Option<watch::Receiver<bool>>,
    batch_rows: usize,
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

impl<'a> Reading<'a> {
    fn new(
        store: &'a Store,
        tool: &'a dyn Tool,
        mapping: &'a Mapping,
        options: &SyncOptions,
        (what, now): (&str, Timestamp),
    ) -> Result<Reading<'a>, SyncError> {
        let (folder, source) = (&options.import.rejects_dir, mapping.source());
        let rejects = if options.standing {
            Rejects::latest(folder, source, what)
        } else {
            Rejects::create(folder, source)
        };
        let rejects = rejects.map_err(|problems| ImportError::NotReady { problems })?;
        let names = mapping
            .objects
            .iter()
            .map(|entry| (entry.path.clone(), entry.kind, Encoding::Utf8))
            .collect();
        Ok(Reading {
            store,
            tool,
            mapping,
            now,
            stop: options.stop.clone(),
            batch_rows: options.import.batch_rows.max(1),
            tally: Tally::new(names, Vec::new(), rejects),
            own: 0,
            deleted: 0,
            pages: 0,
        })
    }

    async fn end(self, watermarks: Vec<(String, String)>) -> Result<Synced, SyncError> {
        let linked = self.store.link_signals().await?;
        let (orphans, examples) = self.store.orphans(ORPHAN_EXAMPLES).await?;
        let state_hash = self.store.state_hash().await?;
        Ok(Synced {
            crm: self.tool.crm(),
            report: self.tally.report(&linked, orphans, &examples, state_hash)?,
            own: self.own,
            deleted: self.deleted,
            pages: self.pages,
            watermarks,
        })
    }

    /// An object that is to be read; `bound` is its entry with the places of the columns.
    fn opened<'e>(&self, file: usize, entry: &Entry, bound: &'e Entry, columns: Vec<String>) -> Object<'e> {
        let (accounts, deals) = self.tool.written_objects();
        let written = match entry.kind {
            FactKind::Account if entry.path == accounts => fields(self.tool.writes().account_fields()),
            FactKind::Opportunity if entry.path == deals => fields(self.tool.writes().deal_fields()),
            _ => Vec::new(),
        };
        Object {
            entry: bound,
            columns,
            written,
            own_key: self.tool.own_key(&entry.path),
            file,
        }
    }

    fn refused(&self, entry: &Entry, source: SendError) -> SyncError {
        SyncError::Crm {
            crm: self.tool.crm(),
            object: entry.path.clone(),
            source,
        }
    }

    /// Some records by their ids.
    async fn records(&mut self, file: usize, entry: &Entry, ids: &[String]) -> Result<(), SyncError> {
        let (bound, columns) = entry.bind_all();
        let object = self.opened(file, entry, &bound, columns);
        let rows = self.tool.records(&object.ask(None, true), ids).await;
        let rows = rows.map_err(|source| self.refused(entry, source))?;
        self.pages += 1;
        self.take_in(&object, rows, &mut 0, None).await
    }

    /// Waits as long as a page asks for. Whether the reading goes on.
    async fn goes_on(&mut self, pause: Option<Duration>) -> bool {
        let wait = async {
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
        };
        let Some(stop) = &mut self.stop else {
            wait.await;
            return true;
        };
        let told = async {
            // Whoever could tell being gone is a word too.
            while !*stop.borrow_and_update() && stop.changed().await.is_ok() {}
        };
        tokio::select! {
            biased;
            () = told => false,
            () = wait => true,
        }
    }

    /// Ends what the CRM still does for a reading that does not go on. What it says to that changes nothing.
    async fn abandon(&self, ask: &Ask, cursor: &str) {
        if let Err(error) = self.tool.abandon(ask, cursor).await {
            tracing::debug!(crm = %self.tool.crm(), %error, "a reading was given up, and the CRM was not told");
        }
    }

    /// Whether what was deleted is due to be listed.
    async fn lists_deleted(&self, listed: &str, options: &SyncOptions) -> Result<bool, SyncError> {
        let Some(every) = options.deleted_every_us.filter(|_| !options.full) else {
            return Ok(true);
        };
        let last = self.store.watermark(self.mapping.source().as_str(), listed).await?;
        Ok(last.is_none_or(|last| self.now.us().saturating_sub(last.value) >= every))
    }

    async fn object(
        &mut self,
        file: usize,
        entry: &Entry,
        options: &SyncOptions,
    ) -> Result<Option<Watermark>, SyncError> {
        let (bound, columns) = entry.bind_all();
        let mut object = self.opened(file, entry, &bound, columns);
        let (source, name) = (self.mapping.source().as_str(), name_of(entry));
        let reached = self.store.watermark(source, &name).await?.filter(|_| !options.full);
        let listed = format!("{name}/deleted");
        let deleted = self.lists_deleted(&listed, options).await?;
        let since =
            reached.map(|to| Timestamp::from_us(to.value.saturating_sub(entry.overlap_s.saturating_mul(1_000_000))));
        let tool = self.tool;
        let mut ask = object.ask(since, deleted);
        let mut latest = reached.map(|to| to.value);
        let mut number = 0;
        let mut page = tool.page(&ask, None).await;
        loop {
            let ReadPage {
                rows,
                next,
                reached,
                pause,
            } = match page {
                // Fields of ours that the CRM does not have yet must not stop the reading of everything else.
                Err(SendError::Refused { code, .. }) if code == "INVALID_FIELD" && object.has_extras() => {
                    object.written.clear();
                    object.own_key = None;
                    ask = object.ask(since, deleted);
                    page = tool.page(&ask, None).await;
                    continue;
                }
                page => page.map_err(|source| self.refused(entry, source))?,
            };
            self.pages += 1;
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
            let Some(next) = next else {
                self.take_page(&object, rows, &mut number, to).await?;
                break;
            };
            if !self.goes_on(pause).await {
                self.take_page(&object, rows, &mut number, to).await?;
                self.abandon(&ask, &next).await;
                return Err(SyncError::Stopped { crm: tool.crm() });
            }
            // The next page comes while this one is stored.
            let (stored, following) = tokio::join!(
                self.take_page(&object, rows, &mut number, to),
                tool.page(&ask, Some(&next))
            );
            if stored.is_err() || following.is_err() {
                self.abandon(&ask, &next).await;
            }
            stored?;
            page = following;
        }
        if deleted {
            let to = Watermark {
                kind: WatermarkKind::TimestampTz,
                value: self.now.us(),
            };
            let nothing: &mut [SignalRow] = &mut [];
            self.store
                .insert_signals_and_move(nothing, (source, listed.as_str()), to, self.now)
                .await?;
        }
        Ok(self.store.watermark(source, &name).await?)
    }

    /// Stores a page, of which a large one is several batches; the watermark moves with the last.
    async fn take_page(
        &mut self,
        object: &Object<'_>,
        mut rows: Vec<ReadRow>,
        number: &mut u64,
        to: Option<i64>,
    ) -> Result<(), SyncError> {
        while rows.len() > self.batch_rows {
            let rest = rows.split_off(self.batch_rows);
            self.take_in(object, rows, number, None).await?;
            rows = rest;
        }
        self.take_in(object, rows, number, to).await
    }

    /// Stores records, with what became known of written fields, and moves the watermark.
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
        // What is left of a deleted record says least of all whom it belonged to.
        if row.deleted {
            let id = record::external_id(context, &RowCells(cells))?;
            return Ok(Row {
                signal: SignalRow::gone(context.source, object.entry.kind, &id, self.now),
                subject: None,
            });
        }
        let new = record::read(context, &RowCells(cells))?;
        let subject = match (&new.owner, object.entry.kind) {
            _ if object.written.is_empty() => None,
            (Belongs::Account(account), FactKind::Account) => Some((account.clone(), String::new())),
            (Belongs::Account(account), _) => Some((account.clone(), new.signal.external_id.as_str().to_owned())),
            (Belongs::Via(_) | Belongs::Portfolio, _) => None,
        };
        Ok(Row {
            signal: SignalRow::of(new).restating(),
            subject,
        })
    }

    async fn known(&self, read: &[(u64, ReadRow, String, Result<Row, Reject>)]) -> Result<Vec<KnownField>, StoreError> {
        let accounts = read
            .iter()
            .filter_map(|(.., found)| Some(&found.as_ref().ok()?.subject.as_ref()?.0));
        let accounts: Vec<&AccountId> = accounts.collect();
        if accounts.is_empty() {
            return Ok(Vec::new());
        }
        let known = self.store.known_fields(accounts.into_iter()).await?;
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

    fn ask(&self, since: Option<Timestamp>, deleted: bool) -> Ask {
        let extras = self.written.iter().cloned().chain(self.own_key.map(str::to_owned));
        Ask {
            object: self.entry.path.clone(),
            fields: self.columns.iter().cloned().chain(extras).collect(),
            since,
            deleted,
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
