//! The memory of Perennial: all SQL and nothing but SQL.
//!
//! Promises: one [`Store`] for SQLite and PostgreSQL with the same results on both; every statement is bound to the
//! store's tenant; what must hold together is one transaction; no transaction waits for anything but the database.
//!
//! Deliberately not here: choices. The store is told what is new, what follows and what time it is.

use std::sync::Arc;

use perennial_core::ids::TenantId;

mod actions;
mod args;
mod asked;
mod budget;
mod choices;
mod conflicts;
mod content;
mod convert;
mod copy;
mod db;
mod decisions;
mod dialect;
mod due;
mod error;
mod events;
mod fields;
mod health;
mod leases;
mod ledger;
mod live;
mod migrate;
mod open;
mod outbox;
mod packed;
mod planned;
mod plays;
mod promotions;
mod prune;
mod reading;
mod reservations;
mod rows;
mod signals;
mod slim;
mod snapshots;
mod source;
mod stops;
mod tokens;
mod transitions;
mod undone;
mod url;
mod watermark;
mod workers;

pub use budget::{CallBudget, CallRules, CallsTaken};
pub use conflicts::{ConflictField, ConflictRow, KnownField, Learned};
pub use copy::Copied;
pub use due::DueAccount;
pub use error::{Result, StoreError};
pub use events::{EventDay, EventStored, EventUse, NewEvent};
pub use ledger::entry_hash;
pub use live::{LiveContent, OfferKind, OfferedContent};
pub use packed::Packed;
pub use plays::{PlayChange, PlayFilter, PlayRow, PlayStepRow};
pub use promotions::PromotionRow;
pub use prune::{Prune, Pruned};
pub use reading::{CrmReading, DueRecord};
pub use rows::*;
pub use signals::SignalRow;
pub use slim::WaitingItem;
pub use snapshots::Delivery;
pub use source::{SourceColumn, SourceDatabase, SourceError, SourceQuery, SourceRow};
pub use tokens::SealedToken;
pub use undone::{SentEffect, UndoRow};
pub use url::{DatabaseUrl, NotADatabase, Options, Secret};
pub use watermark::{Watermark, WatermarkKind};
pub use workers::{QueueState, Wakes, WorkerRow};

/// The store of one tenant. Cheap to clone; all clones share their connections.
#[derive(Debug, Clone)]
pub struct Store {
    db: Arc<db::Db>,
    tenant: TenantId,
}

#[cfg(test)]
mod tests;
