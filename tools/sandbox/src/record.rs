//! What the sandbox holds and tells: records, and the changes made to them.
//!
//! Promises: a change names who made it, when, and every field before and after. Does not: know what any field means.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde_json::Value;

/// The CRM a record lives in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum System {
    /// The server that behaves like Salesforce.
    Salesforce,
    /// The server that behaves like HubSpot.
    Hubspot,
}

impl fmt::Display for System {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            System::Salesforce => "Salesforce",
            System::Hubspot => "HubSpot",
        })
    }
}

/// One record as it stands now.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The id of the vendor's kind: 18 characters in Salesforce, decimal digits in HubSpot.
    pub id: String,
    /// Every field that has a value. An empty field is absent.
    pub fields: BTreeMap<String, Value>,
    /// The records this one is associated with (HubSpot only).
    pub associations: Vec<Association>,
    /// Changes since the start, oldest first. Seeding is not a change.
    pub history: Vec<Change>,
}

/// One association, seen from the record that holds it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Association {
    /// Type of the other record, such as `companies`.
    pub object: String,
    /// Id of the other record.
    pub id: String,
    /// The vendor's number for this kind of association in this direction.
    pub type_id: u32,
}

/// What kind of write a change was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// The record came into being.
    Create,
    /// Fields were written; `fields` is empty when every value was already there.
    Update,
    /// The record was deleted or archived.
    Delete,
    /// The record was tied to another one.
    Associate,
}

impl ChangeKind {
    /// The word shown to people.
    pub fn word(self) -> &'static str {
        match self {
            ChangeKind::Create => "create",
            ChangeKind::Update => "update",
            ChangeKind::Delete => "delete",
            ChangeKind::Associate => "associate",
        }
    }
}

/// One field of one change.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldChange {
    /// Name of the field.
    pub field: String,
    /// The value before, null when there was none.
    pub before: Value,
    /// The value after, null when it was cleared.
    pub after: Value,
}

/// One write to one record.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Position among all writes of this sandbox, from 1.
    pub number: u64,
    /// The CRM written to.
    pub system: System,
    /// The object written to, such as `Account` or `companies`.
    pub object: String,
    /// The record written to.
    pub record_id: String,
    /// The kind of write.
    pub kind: ChangeKind,
    /// What was different afterwards.
    pub fields: Vec<FieldChange>,
    /// When.
    pub at: Timestamp,
    /// Who: the `User-Agent` of the request, or the name given to [`crate::Sandbox::edit`].
    pub by: String,
    /// The idempotency key, when this write carried one.
    pub marker: Option<String>,
}

/// One answered API request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallLine {
    /// The server asked.
    pub system: System,
    /// The method, such as `PATCH`.
    pub method: String,
    /// The path with its query, as sent.
    pub path: String,
    /// The status answered; `None` when an injected fault cut the connection.
    pub status: Option<u16>,
}

impl CallLine {
    /// Method and kind of path: ids, values and the query are left out, so that calls can be counted by what they are.
    pub fn route(&self) -> String {
        let path = self.path.split('?').next().unwrap_or("");
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let mut shown = Vec::with_capacity(parts.len());
        for (at, part) in parts.iter().enumerate() {
            let before = at.checked_sub(1).and_then(|at| parts.get(at)).copied().unwrap_or("");
            let digits = part.bytes().filter(u8::is_ascii_digit).count();
            let is_id = (part.len() > 4 && digits == part.len()) || (matches!(part.len(), 15 | 18) && digits > 2);
            let is_locator = matches!(before, "query" | "queryAll") && digits > 2;
            // Behind an object and a field of it stands a value.
            let is_value = at >= 3 && parts.get(at - 3) == Some(&"sobjects") && !before.is_empty();
            let hidden = is_id || is_locator || is_value;
            shown.push(if hidden { "{id}" } else { part });
        }
        format!("{} /{}", self.method, shown.join("/"))
    }
}
