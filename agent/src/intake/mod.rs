//! Intake: files of a source become signals.
//!
//! `perennial import DIR --mapping FILE` reads files of CSV or JSON Lines by a mapping, which says for each file what its rows are and
//! which column or key fills which field. `perennial pull NAME` does the same with queries of another database, `perennial sync` with the records of a CRM. The work streams: one thread reads rows while the store writes, with a bounded queue
//! between them, so memory does not grow with the files.
//!
//! Promises: all that can be known to be wrong before the first row is found before the first row, and all of it at
//! once; a bad row costs that row only and is written down with its place and the reason; every row read is either
//! stored, a duplicate or rejected, and the sums say so; importing again, in any order, changes nothing.
//!
//! Deliberately not here: choices about what the facts mean, and SQL of ours.

mod bounds;
mod catalog;
mod folder;
mod import;
mod input;
mod lines;
mod mapping;
mod problem;
mod pull;
mod record;
mod rejects;
mod rows;
mod sync;
mod text;
mod value;

#[cfg(test)]
mod tests;

pub use import::{FileReport, ImportError, ImportOptions, ImportReport, Prepared, Progress, import, prepare};
pub use mapping::Mapping;
pub use problem::Problem;
pub(crate) use problem::help_with_words;
pub use pull::{PullError, Pulled, check_queries, pull};
pub(crate) use record::Reject;
pub(crate) use rejects::{Outcome, Refused, Rejects};
pub use sync::{SyncError, SyncOptions, Synced, sync, sync_due};
pub(crate) use text::Encoding;
