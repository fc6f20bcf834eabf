//! The state of both CRMs: tables of rows, an index for unique fields, and the list of changes.
//!
//! Promises: every write goes through [`World::write`], [`World::insert`], [`World::delete`] or [`World::link`], so no
//! value changes without a line in the history. Does not: check values or know either vendor's rules.

mod look;
mod undo;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::custom::Rule;
use crate::fault::{Chances, Fault};
use crate::hubspot::{Types, Windows};
use crate::limits::{Clock, Limits};
use crate::mutation::Mutation;
use crate::record::{Association, CallLine, Change, ChangeKind, FieldChange, System};
use crate::salesforce::{Cursors, Jobs, Schema};
use crate::token::{App, Tokens};
use crate::webhook::Hooks;

/// Records of one CRM. A benchmark has half a million; beyond this the process would eat the machine's memory.
pub(crate) const RECORDS_MAX: usize = 1_000_000;

/// Changes that are kept. When the list is full the CRMs refuse writes, because a history with holes would lie.
pub(crate) const CHANGES_MAX: usize = 1_000_000;

/// Answered requests that are kept for looking at; older ones are forgotten.
pub(crate) const CALLS_KEPT: usize = 20_000;

/// An id as a key: shorter ones first, so that decimal ids sort as numbers and ids of one length as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Id(pub(crate) String);

impl Ord for Id {
    fn cmp(&self, other: &Id) -> Ordering {
        (self.0.len(), &self.0).cmp(&(other.0.len(), &other.0))
    }
}

impl PartialOrd for Id {
    fn partial_cmp(&self, other: &Id) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

use undo::Undo;

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
    /// A row that is nowhere, to be looked at only.
    pub(crate) fn draft(fields: Fields, at: Timestamp) -> Row {
        Row {
            fields,
            created: at,
            modified: at,
            version: 1,
            locked: false,
            deleted: false,
            history: Vec::new(),
            links: BTreeMap::new(),
        }
    }

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

#[derive(Debug)]
pub(crate) struct Table {
    rows: BTreeMap<Id, Row>,
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

    /// The row, also a deleted one.
    pub(crate) fn get(&self, id: &str) -> Option<&Row> {
        self.rows.get(&Id(id.to_owned()))
    }

    /// The row, unless it is missing or deleted.
    pub(crate) fn living(&self, id: &str) -> Option<&Row> {
        self.get(id).filter(|row| !row.deleted)
    }

    /// All rows in the order of their ids, deleted ones too.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (&str, &Row)> {
        self.rows.iter().map(|(id, row)| (id.0.as_str(), row))
    }

    /// The living rows behind this id, or from the first one on.
    pub(crate) fn after(&self, id: Option<&str>) -> impl Iterator<Item = (&str, &Row)> {
        self.beyond(id).filter(|(_, row)| !row.deleted)
    }

    pub(crate) fn graves_after(&self, id: Option<&str>) -> impl Iterator<Item = (&str, &Row)> {
        self.beyond(id).filter(|(_, row)| row.deleted)
    }

    fn beyond(&self, id: Option<&str>) -> impl Iterator<Item = (&str, &Row)> {
        let start = match id {
            Some(id) => Bound::Excluded(Id(id.to_owned())),
            None => Bound::Unbounded,
        };
        self.rows
            .range((start, Bound::Unbounded))
            .map(|(id, row)| (id.0.as_str(), row))
    }

    fn get_mut(&mut self, id: &str) -> Option<&mut Row> {
        self.rows.get_mut(&Id(id.to_owned()))
    }

    fn unindex(&mut self, id: &str) {
        let Some(row) = self.get(id) else { return };
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
        let Some(row) = self.get(id) else { return };
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

/// The tables of one CRM.
#[derive(Debug)]
pub(crate) struct Crm {
    tables: BTreeMap<&'static str, Table>,
    /// Counts ids given out.
    pub(crate) next_id: u64,
    records: usize,
}

impl Crm {
    pub(crate) fn new() -> Crm {
        Crm {
            tables: BTreeMap::new(),
            next_id: 0,
            records: 0,
        }
    }

    /// Makes a table, or changes what an existing one finds its rows by.
    pub(crate) fn add_table(&mut self, object: &'static str, indexed: Vec<&'static str>, case: Case) {
        let table = self.tables.entry(object).or_insert(Table {
            rows: BTreeMap::new(),
            indexed: Vec::new(),
            index: BTreeMap::new(),
            case,
        });
        if table.indexed == indexed {
            return;
        }
        table.indexed = indexed;
        table.index.clear();
        let ids: Vec<String> = table.after(None).map(|(id, _)| id.to_owned()).collect();
        for id in ids {
            table.reindex(&id);
        }
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
        self.tables.get_mut(object)?.get_mut(id)
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

/// Everything the two servers know.
pub(crate) struct World {
    pub(crate) clock: Clock,
    pub(crate) limits: Limits,
    pub(crate) salesforce: Crm,
    pub(crate) hubspot: Crm,
    changes: Vec<Change>,
    /// Rows before the writes since the first open savepoint; empty while none is open.
    undo: Vec<Undo>,
    savepoints: usize,
    pub(crate) faults: Vec<Fault>,
    pub(crate) calls: Vec<CallLine>,
    /// Salesforce requests counted against the daily budget.
    pub(crate) salesforce_used: u32,
    pub(crate) cursors: Cursors,
    pub(crate) windows: Windows,
    /// Counts HubSpot errors, for their correlation ids.
    pub(crate) correlation: u64,
    /// The objects and fields of Salesforce, and when they last changed.
    pub(crate) schema: Schema,
    pub(crate) schema_changed: Timestamp,
    /// The object types and properties of HubSpot.
    pub(crate) types: Types,
    pub(crate) rules: Vec<Rule>,
    /// Records that somebody else is writing, and for how many more writes.
    busy: BTreeMap<(System, String, String), u32>,
    pub(crate) jobs: Jobs,
    pub(crate) salesforce_tokens: Tokens,
    pub(crate) hubspot_tokens: Tokens,
    pub(crate) salesforce_app: Option<App>,
    pub(crate) hubspot_app: Option<App>,
    /// HubSpot requests counted against the daily budget.
    pub(crate) hubspot_used: u32,
    pub(crate) hooks: Hooks,
    /// Requests by system, method and kind of path.
    pub(crate) tally: BTreeMap<(System, String), u64>,
    pub(crate) latency: Duration,
    pub(crate) chances: Option<Chances>,
    pub(crate) mutation: Option<Mutation>,
    /// While a request meets a partial failure: every so many rows fail, and how many were tried.
    pub(crate) failing: Option<(u32, u32)>,
}

impl World {
    pub(crate) fn new(clock: Clock) -> World {
        World {
            clock,
            limits: Limits::default(),
            salesforce: crate::salesforce::empty_crm(),
            hubspot: crate::hubspot::empty_crm(),
            changes: Vec::new(),
            undo: Vec::new(),
            savepoints: 0,
            faults: Vec::new(),
            calls: Vec::new(),
            salesforce_used: 0,
            cursors: Cursors::default(),
            windows: Windows::default(),
            correlation: 0,
            schema: Schema::new(),
            schema_changed: clock.now(),
            types: Types::new(),
            rules: Vec::new(),
            busy: BTreeMap::new(),
            jobs: Jobs::default(),
            salesforce_tokens: Tokens::new("00D"),
            hubspot_tokens: Tokens::new("pat-"),
            salesforce_app: None,
            hubspot_app: None,
            hubspot_used: 0,
            hooks: Hooks::default(),
            tally: BTreeMap::new(),
            latency: Duration::ZERO,
            chances: None,
            mutation: None,
            failing: None,
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

    /// Says that a record is being written by somebody else, for so many more writes.
    pub(crate) fn set_busy(&mut self, system: System, object: &str, id: &str, times: u32) {
        self.busy.insert((system, object.to_owned(), id.to_owned()), times);
    }

    /// Whether somebody else is writing the record just now. Counts the try.
    pub(crate) fn busy(&mut self, system: System, object: &str, id: &str) -> bool {
        if self.busy.is_empty() {
            return false;
        }
        match self.busy.get_mut(&(system, object.to_owned(), id.to_owned())) {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            Some(_) | None => false,
        }
    }

    /// Whether the next row of a request with a partial failure fails.
    pub(crate) fn row_fails(&mut self) -> bool {
        let Some((every, tried)) = &mut self.failing else {
            return false;
        };
        *tried += 1;
        *tried % (*every).max(1) == 0
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
        self.remember(system, object, id);
        let crm = self.crm_mut(system);
        crm.records += 1;
        if let Some(table) = crm.tables.get_mut(object) {
            table.rows.insert(Id(id.to_owned()), Row::draft(fields, now));
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
        let frozen = matches!(
            (self.mutation, system),
            (Some(Mutation::SfStampFrozen), System::Salesforce) | (Some(Mutation::HsModifiedFrozen), System::Hubspot)
        );
        self.remember(system, object, id);
        let Some(table) = self.crm_mut(system).tables.get_mut(object) else {
            return;
        };
        table.unindex(id);
        if let Some(row) = table.get_mut(id) {
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
            if !frozen {
                row.modified = now;
            }
            row.version += 1;
        }
        table.reindex(id);
        self.note(system, object, id, ChangeKind::Update, differences, author);
    }

    /// Deletes a record. The row stays as a grave, so that its history can still be read.
    pub(crate) fn delete(&mut self, system: System, object: &str, id: &str, author: &Author) {
        let now = self.now();
        self.remember(system, object, id);
        let Some(table) = self.crm_mut(system).tables.get_mut(object) else {
            return;
        };
        table.unindex(id);
        if let Some(row) = table.get_mut(id) {
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
        self.remember(system, from.0, from.1);
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
        self.remember(system, from.0, from.1);
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

    /// Takes one kind of tie away, in this direction. The others stay.
    pub(crate) fn unlink_one(
        &mut self,
        system: System,
        from: (&str, &str),
        to: (&str, &str),
        type_id: u32,
        author: &Author,
    ) {
        self.remember(system, from.0, from.1);
        let Some(row) = self.crm_mut(system).row_mut(from.0, from.1) else {
            return;
        };
        let key = (to.0.to_owned(), to.1.to_owned());
        let Some(types) = row.links.get_mut(&key).filter(|types| types.contains(&type_id)) else {
            return;
        };
        types.remove(&type_id);
        if types.is_empty() {
            row.links.remove(&key);
        }
        let difference = FieldChange {
            field: to.0.to_owned(),
            before: Value::from(format!("{} (type {type_id})", to.1)),
            after: Value::Null,
        };
        self.note(system, from.0, from.1, ChangeKind::Associate, vec![difference], author);
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
        if let (System::Hubspot, Some(change)) = (system, self.changes.last()) {
            self.hooks.note(change);
        }
        if let Some(row) = self.crm_mut(system).row_mut(object, id) {
            row.history.push(position);
        }
    }

    pub(crate) fn note_call(&mut self, line: CallLine) {
        *self.tally.entry((line.system, line.route())).or_default() += 1;
        if self.calls.len() >= CALLS_KEPT {
            self.calls.drain(..CALLS_KEPT / 2);
        }
        self.calls.push(line);
    }
}
