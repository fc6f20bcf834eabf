//! Reading records of a CRM: what is asked, and the rows that come. The same for every system.

use std::collections::BTreeMap;

use perennial_core::time::Timestamp;

use crate::error::SendError;

/// What is asked of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Object of the CRM, such as `Opportunity` or `deals`.
    pub object: String,
    /// Fields of the CRM.
    pub fields: Vec<String>,
    /// Only records that changed at or after this moment; `None` for all.
    pub since: Option<Timestamp>,
}

/// A page of records.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReadPage {
    /// The records.
    pub rows: Vec<ReadRow>,
    /// Where to go on; `None` after the last page.
    pub next: Option<String>,
    /// Everything that had changed before this moment has been read; `None` where the order of this page does not say so.
    pub reached: Option<Timestamp>,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadRow {
    /// Its id.
    pub id: String,
    /// When it last changed, where the CRM says so.
    pub modified: Option<Timestamp>,
    /// Whether it was deleted.
    pub deleted: bool,
    /// Values by field; a field without a value is absent.
    pub cells: BTreeMap<String, String>,
}

/// Names that may stand in a question: letters, digits, `_`, and points between the names of parents.
pub(crate) fn plain_names(ask: &Ask) -> Result<(), SendError> {
    let plain = |name: &str| {
        let fits = |part: &str| {
            let mut bytes = part.bytes();
            bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
                && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        name.len() <= 255 && name.split('.').all(fits)
    };
    match std::iter::once(&ask.object)
        .chain(&ask.fields)
        .find(|name| !plain(name))
    {
        None => Ok(()),
        Some(name) => Err(SendError::refused(
            &ask.object,
            "BAD_NAME",
            &format!(
                "`{}` is no name of an object or field",
                name.chars().take(60).collect::<String>()
            ),
            "correct the mapping",
        )),
    }
}

/// The name of an object for messages and logs, where it is a common one.
pub(crate) fn known_name(object: &str) -> &'static str {
    const KNOWN: &[&str] = &[
        "Account",
        "Contact",
        "Opportunity",
        "Case",
        "Task",
        "Note",
        "Contract",
        "User",
        "companies",
        "contacts",
        "deals",
        "tickets",
        "tasks",
        "notes",
        "owners",
    ];
    KNOWN
        .iter()
        .find(|known| **known == object)
        .copied()
        .unwrap_or("records")
}
