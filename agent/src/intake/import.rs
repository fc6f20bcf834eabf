//! The deed: read the files of a folder on one thread while the store writes on another.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use perennial_core::ids::{AccountId, SourceId};
use perennial_core::replay::Hash;
use perennial_core::signal::FactKind;
use perennial_core::time::Timestamp;
use perennial_store::{Kept, LinkReport, SignalRow, Store, StoreError, Stored};
use serde::Serialize;
use tokio::sync::mpsc;

use super::folder::{self, Ready};
use super::mapping::Mapping;
use super::problem::Problem;
use super::record::{self, Context, Reject};
use super::rejects::{Outcome, Refused, Rejects};
use super::rows::Next;
use super::text::Encoding;

/// Accounts of which the first row is remembered, for examples in warnings: about 40 bytes each.
const REMEMBERED_ACCOUNTS: usize = 500_000;

/// Orphan accounts that a warning names.
pub(super) const ORPHAN_EXAMPLES: u32 = 5;

/// How to import. Every limit with its default in [`ImportOptions::new`].
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// When the exports were taken; a later export of a record becomes its newer version.
    pub as_of: Option<Timestamp>,
    /// Where the file of rejected rows goes.
    pub rejects_dir: PathBuf,
    /// Rows of one transaction.
    pub batch_rows: usize,
    /// Bytes of rows of one transaction.
    pub batch_bytes: usize,
    /// Batches that wait for the store.
    pub queue_batches: usize,
    /// Bytes of one row.
    pub max_row_bytes: usize,
}

impl ImportOptions {
    /// The defaults: 20,000 rows or 8 MiB a batch, one batch waiting, 1 MiB a row.
    #[must_use]
    pub fn new(rejects_dir: impl Into<PathBuf>) -> ImportOptions {
        ImportOptions {
            as_of: None,
            rejects_dir: rejects_dir.into(),
            batch_rows: 20_000,
            batch_bytes: 8 * 1024 * 1024,
            queue_batches: 1,
            max_row_bytes: 1024 * 1024,
        }
    }
}

/// How far an import is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// File that is being read.
    pub file: &'a str,
    /// Rows so far, of all files.
    pub rows: u64,
    /// Bytes so far, of all files.
    pub bytes: u64,
    /// Bytes of all files; one that is mapped several times counts as often.
    pub bytes_total: u64,
}

/// What an import did. `read == stored + duplicate + rejected`, always.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImportReport {
    /// Rows read; a file that is mapped several times is read as often.
    pub read: u64,
    /// Rows that were new.
    pub stored: u64,
    /// Rows that were there, in the store or in the files; conflicts are among them.
    pub duplicate: u64,
    /// Rows that were refused.
    pub rejected: u64,
    /// Rows with the id of another row and different content; one of the two was kept.
    pub conflicts: u64,
    /// Signals whose account is not known yet, in the whole store.
    pub unlinked: u64,
    /// Accounts with signals and no account record, in the whole store.
    pub orphans: u64,
    /// File with the rejected rows and the conflicts, if there were any.
    pub rejects_file: Option<PathBuf>,
    /// Hash of everything the store knows now.
    pub state_hash: Hash,
    /// The same counts for each `[[file]]`, in the order of the mapping.
    pub files: Vec<FileReport>,
    /// What a person should look at.
    pub warnings: Vec<String>,
}

/// What became of the rows of one `[[file]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileReport {
    /// File.
    pub path: String,
    /// What its rows were read as.
    pub kind: FactKind,
    /// Rows read.
    pub read: u64,
    /// Rows that were new.
    pub stored: u64,
    /// Rows that were there.
    pub duplicate: u64,
    /// Rows that were refused.
    pub rejected: u64,
    /// Duplicates with different content.
    pub conflicts: u64,
}

/// Why an import did not happen, or stopped.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum ImportError {
    /// Something must be mended first; nothing was stored.
    #[error("the import cannot start: {} to mend, nothing was stored", count(.problems.len()))]
    NotReady {
        /// Everything that must be mended.
        #[related]
        problems: Vec<Problem>,
    },
    /// A file could not be read to its end. What was stored before stands; repeat the import.
    #[error("`{}` could not be read to its end: repeat the import when it can", .path.display())]
    Read {
        /// File.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The rejects file could not be written. What was stored before stands; repeat the import.
    #[error("`{}` could not be written: make room, then repeat the import", .path.display())]
    Rejects {
        /// File.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: csv::Error,
    },
    /// The store refused. Batches stored before stand; repeat the import.
    #[error("the import stopped: what was stored before stands, repeat it when this is mended")]
    Store(#[source] StoreError),
    /// The reading thread ended before its time: a defect of this program.
    #[error("the reading of the files stopped unexpectedly: repeat the import, and report this if it happens again")]
    Stopped,
}

fn count(problems: usize) -> String {
    match problems {
        1 => "1 problem".to_owned(),
        many => format!("{many} problems"),
    }
}

/// Rows on their way from the reading thread to the store.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) file: usize,
    pub(super) read: u64,
    pub(super) bytes: u64,
    pub(super) signals: Vec<SignalRow>,
    /// Line and raw bytes of each signal.
    pub(super) places: Vec<(u64, Range<usize>)>,
    pub(super) raw: Vec<u8>,
    pub(super) refused: Vec<Refused>,
    /// Rows that only say what we wrote ourselves; they count as duplicates.
    pub(super) own: u64,
    /// Keys that no row of the file had; known with its last batch.
    pub(super) unseen: Vec<String>,
}

impl Batch {
    /// Takes in a row: its signal, or why it is refused.
    pub(super) fn push(&mut self, found: Result<SignalRow, Reject>, line: u64, raw: &[u8]) {
        self.read += 1;
        match found {
            Ok(signal) => {
                let start = self.raw.len();
                self.raw.extend_from_slice(raw);
                self.places.push((line, start..self.raw.len()));
                self.signals.push(signal);
            }
            Err(reject) => self.refused.push(Refused {
                outcome: Outcome::Rejected,
                line,
                reject,
                raw: raw[..raw.len().min(64 * 1024)].to_vec(),
            }),
        }
    }
}

/// Imports the files of a folder.
///
/// Nothing is stored before all files are there and fit the mapping. An import that was interrupted can be repeated:
/// what is there counts as duplicate, and the state is the same as if it had not been interrupted.
///
/// # Errors
/// [`ImportError`]; every variant says whether something was stored.
pub async fn import(
    store: &Store,
    dir: &Path,
    mapping: &Mapping,
    options: &ImportOptions,
    progress: impl FnMut(Progress<'_>),
) -> Result<ImportReport, ImportError> {
    prepare(dir, mapping, options)?.import(store, progress).await
}

/// Looks for everything that can be known to be wrong before the first row. No database is needed for it.
///
/// # Errors
/// [`ImportError::NotReady`], with every problem.
pub fn prepare(dir: &Path, mapping: &Mapping, options: &ImportOptions) -> Result<Prepared, ImportError> {
    let not_ready = |problems| ImportError::NotReady { problems };
    if mapping.entries.is_empty() {
        let help = Some("read it with `perennial pull`, or add a [[file]]".to_owned());
        let problem = Problem::of_file(&mapping.file, "the mapping has queries and no file", help);
        return Err(not_ready(vec![problem]));
    }
    let checked = folder::check(dir, mapping, options).map_err(not_ready)?;
    let rejects = Rejects::create(&options.rejects_dir, &mapping.source).map_err(not_ready)?;
    let names = checked
        .files
        .iter()
        .map(|ready| (ready.entry.path.clone(), ready.entry.kind, ready.entry.format.encoding))
        .collect::<Vec<_>>();
    let bytes_total = checked.files.iter().map(|ready| ready.bytes).sum();
    Ok(Prepared {
        source: mapping.source.clone(),
        options: options.clone(),
        dir: dir.to_owned(),
        files: checked.files,
        tally: Tally::new(names, checked.warnings, rejects),
        bytes_total,
    })
}

/// Files that are open and fit their mapping.
pub struct Prepared {
    source: SourceId,
    options: ImportOptions,
    dir: PathBuf,
    files: Vec<Ready>,
    tally: Tally,
    bytes_total: u64,
}

impl Prepared {
    /// Stores the rows.
    ///
    /// # Errors
    /// [`ImportError`]; every variant says whether something was stored.
    pub async fn import(
        self,
        store: &Store,
        mut progress: impl FnMut(Progress<'_>),
    ) -> Result<ImportReport, ImportError> {
        let (mut tally, files) = (self.tally, self.files);
        let (sender, mut batches) = mpsc::channel(self.options.queue_batches.max(1));
        let reader = Reader {
            source: self.source,
            options: self.options,
            dir: self.dir,
            sender,
        };
        let reading = tokio::task::spawn_blocking(move || reader.read_all(files));
        while let Some(mut batch) = batches.recv().await {
            let stored = store
                .insert_signals(&mut batch.signals)
                .await
                .map_err(ImportError::Store)?;
            tally.add(&batch, &stored)?;
            progress(Progress {
                file: &tally.files[batch.file].0.path,
                rows: tally.rows(),
                bytes: tally.bytes,
                bytes_total: self.bytes_total,
            });
        }
        reading.await.map_err(|_| ImportError::Stopped)??;

        let linked = store.link_signals().await.map_err(ImportError::Store)?;
        let (orphans, examples) = store.orphans(ORPHAN_EXAMPLES).await.map_err(ImportError::Store)?;
        let state_hash = store.state_hash().await.map_err(ImportError::Store)?;
        tally.report(&linked, orphans, &examples, state_hash)
    }
}

/// The reading thread.
struct Reader {
    source: SourceId,
    options: ImportOptions,
    dir: PathBuf,
    sender: mpsc::Sender<Batch>,
}

impl Reader {
    fn read_all(self, files: Vec<Ready>) -> Result<(), ImportError> {
        for (index, ready) in files.into_iter().enumerate() {
            let path = self.dir.join(&ready.entry.path);
            match self.read_file(index, ready) {
                Ok(true) => {}
                // Nobody waits for the rest: the import was given up.
                Ok(false) => return Ok(()),
                Err(source) => return Err(ImportError::Read { path, source }),
            }
        }
        Ok(())
    }

    /// Reads one file; false when nobody listens any more.
    fn read_file(&self, file: usize, mut ready: Ready) -> io::Result<bool> {
        let entry = ready.entry;
        let context = Context {
            entry: &entry,
            source: &self.source,
            revision_at: self.options.as_of.unwrap_or(Timestamp::EPOCH),
            width: ready.width,
        };
        let mut before = 0;
        loop {
            let mut batch = Batch {
                file,
                ..Batch::default()
            };
            let mut at_end = false;
            let mut bytes = 0;
            while batch.read < self.options.batch_rows as u64 && bytes < self.options.batch_bytes {
                let rows = &mut ready.rows;
                let found = match rows.next()? {
                    Next::End => {
                        at_end = true;
                        break;
                    }
                    Next::Row => record::read(context, rows),
                    Next::Bad(reason) => Err(Reject::of_row(reason)),
                };
                bytes += rows.raw().len();
                batch.push(found.map(SignalRow::of), rows.line(), rows.raw());
            }
            if at_end {
                batch.unseen = ready.rows.unseen();
            }
            batch.bytes = ready.rows.bytes() - before;
            before = ready.rows.bytes();
            if self.sender.blocking_send(batch).is_err() {
                return Ok(false);
            }
            if at_end {
                return Ok(true);
            }
        }
    }
}

/// Counts, rejects and what the warnings need.
pub(super) struct Tally {
    files: Vec<(FileReport, Encoding)>,
    bytes: u64,
    warnings: Vec<String>,
    rejects: Rejects,
    /// Hash of an account to the first row that named it, other than its own record.
    seen: HashMap<u64, (usize, u64)>,
}

impl Tally {
    pub(super) fn new(names: Vec<(String, FactKind, Encoding)>, warnings: Vec<String>, rejects: Rejects) -> Tally {
        let report = |(path, kind, encoding)| {
            let report = FileReport {
                path,
                kind,
                read: 0,
                stored: 0,
                duplicate: 0,
                rejected: 0,
                conflicts: 0,
            };
            (report, encoding)
        };
        Tally {
            files: names.into_iter().map(report).collect(),
            bytes: 0,
            warnings,
            rejects,
            seen: HashMap::new(),
        }
    }

    pub(super) fn rows(&self) -> u64 {
        self.files.iter().map(|(file, _)| file.read).sum()
    }

    pub(super) fn add(&mut self, batch: &Batch, stored: &[Stored]) -> Result<(), ImportError> {
        let (file, encoding) = &mut self.files[batch.file];
        self.bytes += batch.bytes;
        file.read += batch.read;
        file.rejected += batch.refused.len() as u64;
        file.duplicate += batch.own;
        if file.read > 0 {
            self.warnings.extend(batch.unseen.iter().map(|key| {
                format!(
                    "`{}` has no `{key}` in any row: mend the mapping, or leave the key out",
                    file.path
                )
            }));
        }
        let mut conflicts = Vec::new();
        for ((new, outcome), (line, raw)) in batch.signals.iter().zip(stored).zip(&batch.places) {
            let kept = match outcome {
                Stored::New => {
                    file.stored += 1;
                    None
                }
                Stored::Duplicate => {
                    file.duplicate += 1;
                    None
                }
                Stored::Conflict { kept } => {
                    file.duplicate += 1;
                    file.conflicts += 1;
                    Some(kept)
                }
            };
            if let Some(kept) = kept {
                let kept = match kept {
                    Kept::Existing => "the other",
                    Kept::Incoming => "this one",
                };
                let reason = format!("same id as another row with different content; kept {kept}");
                conflicts.push(Refused {
                    outcome: Outcome::Conflict,
                    line: *line,
                    reject: Reject::new("key", new.external_id().as_str(), reason),
                    raw: batch.raw[raw.clone()].to_vec(),
                });
            }
            if let Some(account) = new.account()
                && file.kind != FactKind::Account
                && self.seen.len() < REMEMBERED_ACCOUNTS
            {
                self.seen.entry(short_hash(account)).or_insert((batch.file, *line));
            }
        }
        let mut refused = batch.refused.iter().chain(&conflicts).collect::<Vec<_>>();
        refused.sort_by_key(|refused| refused.line);
        for refused in refused {
            self.rejects
                .write(&file.path, *encoding, refused)
                .map_err(|source| ImportError::Rejects {
                    path: self.rejects.path().to_owned(),
                    source,
                })?;
        }
        Ok(())
    }

    pub(super) fn report(
        mut self,
        linked: &LinkReport,
        orphans: u64,
        examples: &[AccountId],
        state_hash: Hash,
    ) -> Result<ImportReport, ImportError> {
        for (file, _) in &self.files {
            if file.read == 0 {
                self.warnings.push(format!("`{}` has no rows", file.path));
            }
        }
        if orphans > 0 {
            let examples = examples
                .iter()
                .map(|account| match self.seen.get(&short_hash(account.as_str())) {
                    Some((file, line)) => format!("`{account}` ({}:{line})", self.files[*file].0.path),
                    None => format!("`{account}`"),
                })
                .collect::<Vec<_>>();
            self.warnings.push(format!(
                "{orphans} accounts have facts but no account record, such as {}: import their accounts too",
                examples.join(", ")
            ));
        }
        if linked.unlinked > 0 {
            self.warnings.push(format!(
                "{} rows name a record that is not known, such as {}: they count once it is imported",
                linked.unlinked,
                linked.examples.join(", ")
            ));
        }
        let path = self.rejects.path().to_owned();
        let rejects_file = self
            .rejects
            .finish()
            .map_err(|source| ImportError::Rejects { path, source })?;
        let files = self.files.into_iter().map(|(file, _)| file).collect::<Vec<_>>();
        let sum = |of: fn(&FileReport) -> u64| files.iter().map(of).sum();
        Ok(ImportReport {
            read: sum(|file| file.read),
            stored: sum(|file| file.stored),
            duplicate: sum(|file| file.duplicate),
            rejected: sum(|file| file.rejected),
            conflicts: sum(|file| file.conflicts),
            unlinked: linked.unlinked,
            orphans,
            rejects_file,
            state_hash,
            files,
            warnings: self.warnings,
        })
    }
}

fn short_hash(account: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    account.hash(&mut hasher);
    hasher.finish()
}
