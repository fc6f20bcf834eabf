//! Reading records of a CRM: what is asked, and the rows that come. The same for every system.

use std::collections::BTreeMap;
use std::time::Duration;

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
    /// Whether deleted records are asked for even where the CRM can only list all that ever were (HubSpot); elsewhere they come with
    /// what changed, whatever this says.
    pub deleted: bool,
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
    /// How long to wait before the next page is asked for: the CRM is still making it.
    pub pause: Option<Duration>,
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

impl ReadRow {
    /// A record that is not there any more, of which nothing but the id is known.
    pub(crate) fn gone(key: &str, id: &str) -> ReadRow {
        ReadRow {
            id: id.to_owned(),
            modified: None,
            deleted: true,
            cells: [(key.to_owned(), id.to_owned())].into(),
        }
    }
}

/// How objects with many records are read where the CRM has jobs for that (Salesforce, Bulk 2.0).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BulkReading {
    /// Records of an object from which on a reading of all of them is a job.
    pub from_records: u64,
    /// Records of one page of results.
    pub page_records: u64,
    /// Milliseconds before the job is looked at for the first time; doubles with each look.
    pub first_pause_ms: u64,
}

impl BulkReading {
    /// A job costs a call to begin, some to look at it and one for each page of results: fewer than pages of 2,000 from about six of
    /// those on. Twice that, because a job also takes time to begin.
    pub const FROM_RECORDS: u64 = 20_000;
    /// What one page of results may hold before memory counts more than calls.
    pub const PAGE_RECORDS: u64 = 50_000;
    /// A small job is done within seconds.
    pub const FIRST_PAUSE_MS: u64 = 2_000;
}

impl Default for BulkReading {
    fn default() -> BulkReading {
        BulkReading {
            from_records: BulkReading::FROM_RECORDS,
            page_records: BulkReading::PAGE_RECORDS,
            first_pause_ms: BulkReading::FIRST_PAUSE_MS,
        }
    }
}

/// Columns that stand for what the stage of a record means in its CRM.
pub(crate) const STAGE: &str = "stage.";
/// What people call it.
pub(crate) const STAGE_LABEL: &str = "stage.label";
/// `open`, `won` or `lost`; of cases `open` or `closed`.
pub(crate) const STAGE_STATE: &str = "stage.state";
/// The chance that it ends well, as the CRM has it.
pub(crate) const STAGE_PROBABILITY: &str = "stage.probability";

/// Columns that stand for roles of people.
pub(crate) const ROLES: &str = "roles.";
/// What a person is to which deals: one a line, the deal's id before `=`, behind it the CRM's word.
pub(crate) const ROLES_DEALS: &str = "roles.deals";

/// Whether a column is made by the adapter and is no field of the CRM.
pub(crate) fn is_made(field: &str) -> bool {
    field.starts_with(STAGE) || field.starts_with(ROLES)
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
    const MADE: [&str; 4] = [STAGE_LABEL, STAGE_STATE, STAGE_PROBABILITY, ROLES_DEALS];
    let known = |name: &str| !is_made(name) || MADE.contains(&name);
    match std::iter::once(&ask.object)
        .chain(&ask.fields)
        .find(|name| !plain(name) || !known(name))
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
        "OpportunityContactRole",
        "OpportunityStage",
    ];
    KNOWN
        .iter()
        .find(|known| **known == object)
        .copied()
        .unwrap_or("records")
}
