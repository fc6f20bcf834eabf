//! How a CRM is read, what came of it, and why it was not read to its end.

use perennial_core::signal::Crm;
use perennial_store::StoreError;
use perennial_tools::SendError;
use serde::Serialize;
use tokio::sync::watch;

use crate::intake::import::{ImportError, ImportOptions, ImportReport};

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
    /// It was told to stop. What was stored before stands, and the next reading goes on from there.
    #[error("the reading of {crm} was stopped; what was read before is stored, run it again")]
    Stopped {
        /// Which CRM.
        crm: Crm,
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
    /// Turns true when the reading should end at the next page; none for one that goes on to its end.
    pub stop: Option<watch::Receiver<bool>>,
    /// Whether it is one of many readings that nobody looks at: the file of its rejected rows takes the place of the one before.
    pub standing: bool,
    /// Microseconds from one listing of everything that was ever deleted to the next, where the CRM has no shorter way to say it; none
    /// for one at each reading.
    pub deleted_every_us: Option<i64>,
}

impl SyncOptions {
    /// A reading that somebody asks for: of what changed, to its end.
    #[must_use]
    pub fn new(import: ImportOptions) -> SyncOptions {
        SyncOptions {
            import,
            full: false,
            stop: None,
            standing: false,
            deleted_every_us: None,
        }
    }
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
