//! The state of both CRMs: tables of rows, an index for unique fields, and the list of changes.
//!
//! Promises: every write goes through [`World::write`], [`World::insert`], [`World::delete`] or [`World::link`], so no
//! value changes without a line in the history. Does not: check values or know either vendor's rules.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

use crate::fault::{Fault, Unreliable};
use crate::hubspot::Windows;
use crate::limits::{Clock, Limits};
use crate::record::{Association, CallLine, Change, ChangeKind, FieldChange, Record, System};
use crate::salesforce::Cursors;

/// Records of one CRM. A demo has thousands; beyond this the process would eat the machine's memory.
pub(crate) const RECORDS_MAX: usize = 500_000;

/// Changes that are kept. When the list is full the CRMs refuse writes, because a history with holes would lie.
pub(crate) const CHANGES_MAX: usize = 1_000_000;

/// Answered requests that are kept for looking at; older ones are forgotten.
pub(crate) const CALLS_KEPT: usize = 20_000;

pub(crate) type Fields = BTreeMap<String, Value>;

/// One record and what surrounds it. A field without a value is absent.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) fields: Fields,
    pub(crate) created: Timestamp,
    pub(crate) modified: Timestamp,
    /// Counts writes; part of the ETag.
    pub(crate) version: u64,
    pub(crate) locked: bool,
    pub(crate) deleted: bool,
    /// Positions in the list of changes.
    history: Vec<usize>,
    pub(crate) links: BTreeMap<(String, String), BTreeSet<u32>>,
}

impl Row {
    pub(crate) fn get(&self, field: &str) -> &Value {
        self.fields.get(field).unwrap_or(&Value::Null)
    }

    pub(crate) fn text(&self, field: &str) -> &str {
        self.get(field).as_str().unwrap_or("")
    }
}

/// Whether two values of a unique field are the same when only the case differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    Matters,
    Folds,
}

#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) rows: BTreeMap<String, Row>,
    indexed: Vec<&'static str>,
    index: BTreeMap<(&'static str, String), BTreeSet<String>>,
    case: Case,
}

impl Table {
    fn key(&self, value: &Value) -> Option<String> {
        let text = match value {
            Value::Null => return None,
            Value::String(text) => text.clone(),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
        };
        Some(match self.case {
            Case::Matters => text,
            Case::Folds => text.to_lowercase(),
        })
    }

    /// Ids of the living rows with this value in an indexed field.
    pub(crate) fn find(&self, field: &str, value: &str) -> Vec<String> {
        let Some(name) = self.indexed.iter().find(|name| **name == field) else {
            return Vec::new();
        };
        let Some(key) = self.key(&Value::from(value)) else {
            return Vec::new();
        };
        self.index
            .get(&(*name, key))
            .map(|ids| ids.iter().cloned().collect())
            .unwrap_or_default()
    }

    /// The row, unless it is missing or deleted.
    pub(crate) fn living(&self, id: &str) -> Option<&Row> {
        self.rows.get(id).filter(|row| !row.deleted)
    }

    fn unindex(&mut self, id: &str) {
        let Some(row) = self.rows.get(id) else { return };
        let keys: Vec<_> = self
            .indexed
            .iter()
            .filter_map(|name| Some((*name, self.key(row.get(name))?)))
            .collect();
        for key in keys {
            if let Some(ids) = self.index.get_mut(&key) {
                ids.remove(id);
            }
        }
    }

    fn reindex(&mut self, id: &str) {
        let Some(row) = self.rows.get(id) else { return };
        let keys: Vec<_> = self
            .indexed
            .iter()
            .filter_map(|name| Some((*name, self.key(row.get(name))?)))
            .collect();
        for key in keys {
            self.index.entry(key).or_default().insert(id.to_owned());
        }
    }
}

/// The tables of one CRM. Cloned to undo a batch that must succeed as a whole.
#[derive(Debug, Clone)]
pub(crate) struct Crm {
    pub(crate) system: System,
    tables: BTreeMap<&'static str, Table>,
    /// Counts ids given out.
    pub(crate) next_id: u64,
    records: usize,
}

impl Crm {
    pub(crate) fn new(system: System) -> Crm {
        Crm {
            system,
            tables: BTreeMap::new(),
            next_id: 0,
            records: 0,
        }
    }

    pub(crate) fn add_table(&mut self, object: &'static str, indexed: Vec<&'static str>, case: Case) {
        self.tables.insert(
            object,
            Table {
                rows: BTreeMap::new(),
                indexed,
                index: BTreeMap::new(),
                case,
            },
        );
    }

    pub(crate) fn table(&self, object: &str) -> Option<&Table> {
        self.tables.get(object)
    }

    pub(crate) fn objects(&self) -> impl Iterator<Item = (&'static str, &Table)> {
        self.tables.iter().map(|(name, table)| (*name, table))
    }

    pub(crate) fn row(&self, object: &str, id: &str) -> Option<&Row> {
        self.table(object)?.living(id)
    }

    /// The row itself, for seeding and locking, which are not changes.
    pub(crate) fn row_mut(&mut self, object: &str, id: &str) -> Option<&mut Row> {
        self.tables.get_mut(object)?.rows.get_mut(id)
    }

    pub(crate) fn set_locked(&mut self, object: &str, id: &str, locked: bool) -> bool {
        match self.row_mut(object, id) {
            Some(row) => {
                row.locked = locked;
                true
            }
            None => false,
        }
    }
}

/// Who writes, and with which key.
#[derive(Debug, Clone)]
pub(crate) struct Author {
    pub(crate) by: String,
    pub(crate) marker: Option<String>,
}

/// A place to return to when a batch fails as a whole.
pub(crate) struct Savepoint {
    crm: Crm,
    changes: usize,
}

/// Everything the two servers know.
pub(crate) struct World {
    pub(crate) clock: Clock,
    pub(crate) limits: Limits,
    pub(crate) salesforce: Crm,
    pub(crate) hubspot: Crm,
    changes: Vec<Change>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) unreliable: Option<Unreliable>,
    pub(crate) calls: Vec<CallLine>,
    /// Salesforce requests counted against the daily budget.
    pub(crate) salesforce_used: u32,
    pub(crate) cursors: Cursors,
    pub(crate) windows: Windows,
    /// Counts HubSpot errors, for their correlation ids.
    pub(crate) correlation: u64,
}

impl World {
    pub(crate) fn new(clock: Clock) -> World {
        World {
            clock,
            limits: Limits::default(),
            salesforce: crate::salesforce::empty_crm(),
            hubspot: crate::hubspot::empty_crm(),
            changes: Vec::new(),
            faults: Vec::new(),
            unreliable: None,
            calls: Vec::new(),
            salesforce_used: 0,
            cursors: Cursors::default(),
            windows: Windows::default(),
            correlation: 0,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn crm(&self, system: System) -> &Crm {
        match system {
            System::Salesforce => &self.salesforce,
            System::Hubspot => &self.hubspot,
        }
    }

    pub(crate) fn crm_mut(&mut self, system: System) -> &mut Crm {
        match system {
            System::Salesforce => &mut self.salesforce,
            System::Hubspot => &mut self.hubspot,
        }
    }

    pub(crate) fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Whether one more write would break a limit.
    pub(crate) fn is_full(&self, system: System) -> bool {
        self.crm(system).records >= RECORDS_MAX || self.changes.len() >= CHANGES_MAX
    }

    /// Puts a record in place. `author` is absent for the seed, which is not a change.
    pub(crate) fn insert(&mut self, system: System, object: &str, id: &str, fields: Fields, author: Option<&Author>) {
        let now = self.now();
        let fields: Fields = fields.into_iter().filter(|(_, value)| !value.is_null()).collect();
        let differences = fields
            .iter()
            .map(|(name, value)| FieldChange {
                field: name.clone(),
                before: Value::Null,
                after: value.clone(),
            })
            .collect();
        let crm = self.crm_mut(system);
        crm.records += 1;
        if let Some(table) = crm.tables.get_mut(object) {
            let row = Row {
                fields,
                created: now,
                modified: now,
                version: 1,
                locked: false,
                deleted: false,
                history: Vec::new(),
                links: BTreeMap::new(),
            };
            table.rows.insert(id.to_owned(), row);
            table.reindex(id);
        }
        if let Some(author) = author {
            self.note(system, object, id, ChangeKind::Create, differences, author);
        }
    }

    /// Writes fields of a record; null clears. Values that are already there are not a difference.
    pub(crate) fn write(&mut self, system: System, object: &str, id: &str, fields: Fields, author: &Author) {
        let now = self.now();
        let mut differences = Vec::new();
        let Some(table) = self.crm_mut(system).tables.get_mut(object) else {
            return;
        };
        table.unindex(id);
        if let Some(row) = table.rows.get_mut(id) {
            for (name, after) in fields {
                let before = row.get(&name).clone();
                if before != after {
                    differences.push(FieldChange {
                        field: name.clone(),
                        before,
                        after: after.clone(),
                    });
                }
                if after.is_null() {
                    row.fields.remove(&name);
                } else {
                    row.fields.insert(name, after);
                }
            }
            row.modified = now;
            row.version += 1;
        }
        table.reindex(id);
        self.note(system, object, id, ChangeKind::Update, differences, author);
    }

    /// Deletes a record. The row stays as a grave, so that its history can still be read.
    pub(crate) fn delete(&mut self, system: System, object: &str, id: &str, author: &Author) {
        let now = self.now();
        let Some(table) = self.crm_mut(system).tables.get_mut(object) else {
            return;
        };
        table.unindex(id);
        if let Some(row) = table.rows.get_mut(id) {
            row.deleted = true;
            row.modified = now;
            row.version += 1;
        }
        self.note(system, object, id, ChangeKind::Delete, Vec::new(), author);
    }

    /// Ties a record to another one, in this direction only. Answers whether the tie is new.
    pub(crate) fn link(
        &mut self,
        system: System,
        from: (&str, &str),
        to: &Association,
        author: Option<&Author>,
    ) -> bool {
        let Some(row) = self.crm_mut(system).row_mut(from.0, from.1) else {
            return false;
        };
        let key = (to.object.clone(), to.id.clone());
        if !row.links.entry(key).or_default().insert(to.type_id) {
            return false;
        }
        if let Some(author) = author {
            let after = Value::from(format!("{} (type {})", to.id, to.type_id));
            let difference = FieldChange {
                field: to.object.clone(),
                before: Value::Null,
                after,
            };
            self.note(system, from.0, from.1, ChangeKind::Associate, vec![difference], author);
        }
        true
    }

    /// Unties two records in this direction. Answers whether there was a tie.
    pub(crate) fn unlink(&mut self, system: System, from: (&str, &str), to: (&str, &str), author: &Author) -> bool {
        let Some(row) = self.crm_mut(system).row_mut(from.0, from.1) else {
            return false;
        };
        let Some(types) = row.links.remove(&(to.0.to_owned(), to.1.to_owned())) else {
            return false;
        };
        let numbers: Vec<String> = types.iter().map(u32::to_string).collect();
        let before = Value::from(format!("{} (type {})", to.1, numbers.join(", ")));
        let difference = FieldChange {
            field: to.0.to_owned(),
            before,
            after: Value::Null,
        };
        self.note(system, from.0, from.1, ChangeKind::Associate, vec![difference], author);
        true
    }

    fn note(
        &mut self,
        system: System,
        object: &str,
        id: &str,
        kind: ChangeKind,
        fields: Vec<FieldChange>,
        author: &Author,
    ) {
        let at = self.now();
        let position = self.changes.len();
        self.changes.push(Change {
            number: position as u64 + 1,
            system,
            object: object.to_owned(),
            record_id: id.to_owned(),
            kind,
            fields,
            at,
            by: author.by.clone(),
            marker: author.marker.clone(),
        });
        if let Some(row) = self.crm_mut(system).row_mut(object, id) {
            row.history.push(position);
        }
    }

    pub(crate) fn save(&self, system: System) -> Savepoint {
        Savepoint {
            crm: self.crm(system).clone(),
            changes: self.changes.len(),
        }
    }

    /// INVARIANT (whole or nothing): returns to the savepoint, records and history alike.
    pub(crate) fn roll_back(&mut self, savepoint: Savepoint) {
        self.changes.truncate(savepoint.changes);
        let system = savepoint.crm.system;
        // Ids that were given out are not given out again, as at the vendors.
        let next_id = self.crm(system).next_id;
        *self.crm_mut(system) = savepoint.crm;
        self.crm_mut(system).next_id = next_id;
    }

    pub(crate) fn history(&self, row: &Row) -> Vec<Change> {
        row.history
            .iter()
            .filter_map(|at| self.changes.get(*at))
            .cloned()
            .collect()
    }

    pub(crate) fn record(&self, id: &str, row: &Row) -> Record {
        let associations = row
            .links
            .iter()
            .flat_map(|((object, id), types)| {
                types.iter().map(|type_id| Association {
                    object: object.clone(),
                    id: id.clone(),
                    type_id: *type_id,
                })
            })
            .collect();
        Record {
            id: id.to_owned(),
            fields: row.fields.clone(),
            associations,
            history: self.history(row),
        }
    }

    pub(crate) fn note_call(&mut self, line: CallLine) {
        if self.calls.len() >= CALLS_KEPT {
            self.calls.drain(..CALLS_KEPT / 2);
        }
        self.calls.push(line);
    }
}
