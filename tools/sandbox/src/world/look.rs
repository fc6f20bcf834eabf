//! Looking at rows: as they stood, with their history, as records for whoever runs the sandbox.

use jiff::Timestamp;

use super::{Row, World};
use crate::record::{Association, Change, ChangeKind, Record};

impl World {
    /// A row as it stood at a time, absent when it was not there yet.
    pub(crate) fn as_of(&self, row: &Row, at: Timestamp) -> Option<Row> {
        if row.modified <= at {
            return Some(row.clone());
        }
        if row.created > at {
            return None;
        }
        let mut earlier = row.clone();
        let later = row.history.iter().rev().filter_map(|place| self.changes.get(*place));
        for change in later.take_while(|change| change.at > at) {
            if change.kind != ChangeKind::Update {
                continue;
            }
            for field in &change.fields {
                if field.before.is_null() {
                    earlier.fields.remove(&field.field);
                } else {
                    earlier.fields.insert(field.field.clone(), field.before.clone());
                }
            }
        }
        earlier.modified = at.min(earlier.modified);
        Some(earlier)
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
}
