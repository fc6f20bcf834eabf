//! The file of rows that were not imported, each with its place and the reason, made to be mended and imported again.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use perennial_core::ids::SourceId;

use super::problem::Problem;
use super::record::Reject;
use super::text::{Encoding, cut};

/// Most characters of a row that are repeated.
const ROW_CHARACTERS: usize = 10_000;

/// Most rejects files of one source in one directory.
const MAX_FILES: u32 = 9_999;

/// Why a row stands in the rejects file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was not stored.
    Rejected,
    /// Another row with the same id says something else, and one of the two was kept.
    Conflict,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Outcome::Rejected => "rejected",
            Outcome::Conflict => "conflict",
        }
    }
}

/// A row of the rejects file.
#[derive(Debug, Clone)]
pub(crate) struct Refused {
    pub outcome: Outcome,
    pub line: u64,
    pub reject: Reject,
    pub raw: Vec<u8>,
}

/// The rejects file of one import. Made before the first row is stored and removed again when nothing was refused.
#[derive(Debug)]
pub(crate) struct Rejects {
    path: PathBuf,
    /// Directory that did not exist before.
    made: Option<PathBuf>,
    writer: csv::Writer<BufWriter<File>>,
    rows: u64,
}

/// However the import ends: a file without a row tells nothing and is not left behind.
impl Drop for Rejects {
    fn drop(&mut self) {
        if self.rows > 0 {
            return;
        }
        // Best effort: an empty file does no harm, and a directory that others use meanwhile is not empty and stays.
        let _ = std::fs::remove_file(&self.path);
        if let Some(made) = &self.made {
            let _ = std::fs::remove_dir(made);
        }
    }
}

impl Rejects {
    /// Makes the file, under a name that is not taken: an earlier one is never overwritten.
    pub(crate) fn create(dir: &Path, source: &SourceId) -> Result<Rejects, Vec<Problem>> {
        let refused = |error: &dyn std::fmt::Display| {
            let help = "name a directory that this user may write".to_owned();
            vec![Problem::of_file(
                dir,
                format!("rejected rows cannot be written here: {error}"),
                Some(help),
            )]
        };
        let made = Rejects::folder(dir).map_err(|error| refused(&error))?;
        for number in 1..=MAX_FILES {
            let name = match number {
                1 => format!("{source}-rejects.csv"),
                _ => format!("{source}-rejects-{number}.csv"),
            };
            let path = dir.join(name);
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => {
                    let writer = csv::Writer::from_writer(BufWriter::new(file));
                    return Ok(Rejects {
                        path,
                        made,
                        writer,
                        rows: 0,
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(refused(&error)),
            }
        }
        Err(refused(&"there are too many rejects files, remove the old ones"))
    }

    /// Makes the file of a reading that comes again and again: it takes the place of the one before.
    pub(crate) fn latest(dir: &Path, source: &SourceId, what: &str) -> Result<Rejects, Vec<Problem>> {
        let path = dir.join(format!("{source}-rejects-{what}.csv"));
        let made = || {
            let made = Rejects::folder(dir)?;
            let file = File::create(&path)?;
            Ok::<_, io::Error>((made, file))
        };
        match made() {
            Ok((made, file)) => Ok(Rejects {
                writer: csv::Writer::from_writer(BufWriter::new(file)),
                path,
                made,
                rows: 0,
            }),
            Err(error) => {
                let help = "make `data_dir` a directory that this user may write".to_owned();
                let what = format!("rejected rows cannot be written here: {error}");
                Err(vec![Problem::of_file(dir, what, Some(help))])
            }
        }
    }

    /// Makes a directory; it, where it was not there.
    fn folder(dir: &Path) -> io::Result<Option<PathBuf>> {
        let made = (!dir.exists()).then(|| dir.to_owned());
        std::fs::create_dir_all(dir)?;
        Ok(made)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn write(&mut self, file: &str, encoding: Encoding, refused: &Refused) -> Result<(), csv::Error> {
        if self.rows == 0 {
            self.writer
                .write_record(["outcome", "file", "line", "field", "value", "reason", "row"])?;
        }
        self.rows += 1;
        let row = encoding
            .decode(&refused.raw)
            .unwrap_or_else(|_| String::from_utf8_lossy(&refused.raw));
        self.writer.write_record([
            refused.outcome.as_str(),
            file,
            &refused.line.to_string(),
            &refused.reject.field,
            &refused.reject.value,
            &refused.reject.reason,
            &cut(&row, ROW_CHARACTERS),
        ])
    }

    /// Hands everything written so far to the system.
    pub(crate) fn flush(&mut self) -> Result<(), csv::Error> {
        Ok(self.writer.flush()?)
    }

    /// Ends the file; its path when it holds a row.
    pub(crate) fn finish(mut self) -> Result<Option<PathBuf>, csv::Error> {
        self.writer.flush()?;
        Ok((self.rows > 0).then(|| self.path.clone()))
    }
}
