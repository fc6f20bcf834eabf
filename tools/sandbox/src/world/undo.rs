//! Savepoints: a log of rows before their writes, kept while a batch may still fail as a whole.
//!
//! A log, not a copy of the tables: a batch costs what it writes, however many records there are.

use super::{Id, Row, World};
use crate::record::System;

/// A place to return to when a batch fails as a whole.
pub(crate) struct Savepoint {
    system: System,
    undo: usize,
    changes: usize,
    records: usize,
}

/// A row as it stood before a write, absent when there was none.
pub(super) struct Undo {
    system: System,
    object: String,
    id: String,
    before: Option<Row>,
}

impl World {
    /// Opens a savepoint. It ends with [`World::roll_back`] or [`World::keep`].
    pub(crate) fn save(&mut self, system: System) -> Savepoint {
        self.savepoints += 1;
        Savepoint {
            system,
            undo: self.undo.len(),
            changes: self.changes.len(),
            records: self.crm(system).records,
        }
    }

    /// INVARIANT (whole or nothing): returns to the savepoint, records and history alike.
    pub(crate) fn roll_back(&mut self, savepoint: Savepoint) {
        self.changes.truncate(savepoint.changes);
        self.hooks.forget_after(savepoint.changes as u64);
        // Ids that were given out are not given out again, as at the vendors.
        for undo in self.undo.split_off(savepoint.undo).into_iter().rev() {
            let Some(table) = self.crm_mut(undo.system).tables.get_mut(undo.object.as_str()) else {
                continue;
            };
            table.unindex(&undo.id);
            let id = Id(undo.id.clone());
            match undo.before {
                Some(row) => {
                    let deleted = row.deleted;
                    table.rows.insert(id, row);
                    if !deleted {
                        table.reindex(&undo.id);
                    }
                }
                None => {
                    table.rows.remove(&id);
                }
            }
        }
        self.crm_mut(savepoint.system).records = savepoint.records;
        self.close();
    }

    /// Ends a savepoint whose writes stay.
    pub(crate) fn keep(&mut self, savepoint: Savepoint) {
        // The rows are remembered on while an outer savepoint is open.
        let Savepoint { .. } = savepoint;
        self.close();
    }

    fn close(&mut self) {
        self.savepoints = self.savepoints.saturating_sub(1);
        if self.savepoints == 0 {
            self.undo.clear();
        }
    }

    /// Remembers a row before it changes, while a savepoint is open.
    pub(super) fn remember(&mut self, system: System, object: &str, id: &str) {
        if self.savepoints == 0 {
            return;
        }
        let before = self.crm(system).table(object).and_then(|table| table.get(id)).cloned();
        self.undo.push(Undo {
            system,
            object: object.to_owned(),
            id: id.to_owned(),
            before,
        });
    }
}
