//! HubSpot's JSON, as far as we read it, and its words for failure. Keys that we do not read are kept in `rest`, so that a
//! recorded body can be written again without losing one.

use std::time::Duration;

use reqwest::StatusCode;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::fields::Live;
use crate::http::{Dialect, Fault};
use perennial_core::signal::Crm;

/// How we understand HubSpot's failures.
pub(super) const DIALECT: Dialect = Dialect {
    crm: Crm::HubSpot,
    fault,
    remedy,
    sign_in: "/oauth/2026-09/token",
    token_remedy: "HubSpot does not accept the token: put a valid service key or private app token into the configuration",
};

/// The daily budget is renewed at midnight of the account's time zone, which we do not know: look every hour.
const DAILY_WAIT: Duration = Duration::from_secs(60 * 60);
/// The burst window.
const BURST_WAIT: Duration = Duration::from_secs(10);
/// The second-by-second window.
const SECOND_WAIT: Duration = Duration::from_secs(1);
/// The least that HubSpot asks for a locked record.
const LOCK_WAIT: Duration = Duration::from_secs(2);
/// The account is being moved; HubSpot usually names a time itself.
const MIGRATION_WAIT: Duration = Duration::from_secs(60);

/// An error answer. Every field may be missing.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ErrorBody {
    pub(super) status: Option<String>,
    pub(super) category: Option<String>,
    pub(super) error_type: Option<String>,
    pub(super) policy_name: Option<String>,
    pub(super) message: Option<String>,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

impl ErrorBody {
    /// The most telling code there is.
    pub(super) fn code(&self) -> &str {
        let code = self.category.as_deref().or(self.error_type.as_deref());
        code.or(self.policy_name.as_deref()).unwrap_or("ERROR")
    }
}

/// One record.
#[derive(Debug, Default, Clone, Deserialize, Serialize)]
pub(super) struct Record {
    #[serde(deserialize_with = "id")]
    pub(super) id: String,
    #[serde(default)]
    pub(super) properties: Live,
    #[serde(default)]
    pub(super) archived: bool,
    /// Of an upsert only: whether it made the record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) new: Option<bool>,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

/// The answer to a batch. Failures of single inputs stand in here even when the status is 200.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Batch {
    #[serde(default)]
    pub(super) results: Vec<Record>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) num_errors: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) errors: Vec<ErrorBody>,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

/// The answer to a batch read of associations.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct Associations {
    #[serde(default)]
    pub(super) results: Vec<AssociationsOf>,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

/// The associations of one record.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct AssociationsOf {
    #[serde(default)]
    pub(super) from: Option<AssociatedTo>,
    #[serde(default)]
    pub(super) to: Vec<AssociatedTo>,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

/// One associated record.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct AssociatedTo {
    #[serde(rename = "id", alias = "toObjectId", deserialize_with = "id")]
    pub(super) id: String,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

/// What the account says about itself.
#[derive(Debug, Default, Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Details {
    #[serde(deserialize_with = "id")]
    pub(super) portal_id: String,
    #[serde(default)]
    pub(super) account_type: String,
    #[serde(default)]
    pub(super) ui_domain: Option<String>,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

impl Details {
    /// Whether records may be made up here.
    pub(super) fn is_sandbox(&self) -> bool {
        matches!(self.account_type.as_str(), "SANDBOX" | "DEVELOPER_TEST")
    }
}

/// The properties of an object.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct Properties {
    pub(super) results: Vec<Property>,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

/// One property.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Property {
    pub(super) name: String,
    #[serde(default)]
    pub(super) has_unique_value: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) modification_metadata: Option<Modification>,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

/// What may be done to a property.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Modification {
    #[serde(default)]
    pub(super) read_only_value: bool,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A page of a list or a search.
#[derive(Debug, Deserialize, Serialize)]
struct Page {
    results: Vec<Record>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// The pipelines of an object, or its owners: rows that are read by their id.
#[derive(Debug, Deserialize, Serialize)]
struct Rows {
    results: Vec<Row>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// One of them.
#[derive(Debug, Deserialize, Serialize)]
struct Row {
    id: String,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// The answer to associations by name (v3).
#[derive(Debug, Deserialize, Serialize)]
struct NamedTies {
    status: String,
    results: Vec<NamedTie>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// One of them.
#[derive(Debug, Deserialize, Serialize)]
struct NamedTie {
    from: AssociatedTo,
    to: AssociatedTo,
    #[serde(rename = "type")]
    name: String,
}

/// Kinds of answers, for the check against recorded bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One record.
    Record,
    /// A page of records.
    Page,
    /// A batch of records.
    Batch,
    /// Properties.
    Properties,
    /// Pipelines or owners.
    Rows,
    /// Associations by name.
    NamedTies,
}

/// Reads a body as the adapter does and writes it again, to show that no key is lost on the way.
pub fn reencoded(shape: Shape, body: &[u8]) -> Result<Value, serde_json::Error> {
    fn again<T: serde::de::DeserializeOwned + Serialize>(body: &[u8]) -> Result<Value, serde_json::Error> {
        serde_json::to_value(serde_json::from_slice::<T>(body)?)
    }
    match shape {
        Shape::Record => again::<Record>(body),
        Shape::Page => again::<Page>(body),
        Shape::Batch => again::<Batch>(body),
        Shape::Properties => again::<Properties>(body),
        Shape::Rows => again::<Rows>(body),
        Shape::NamedTies => again::<NamedTies>(body),
    }
}

/// Ids are texts of digits; in some answers they are numbers.
fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Id {
        Text(String),
        Number(u64),
    }
    Ok(match Id::deserialize(deserializer)? {
        Id::Text(text) => text,
        Id::Number(number) => number.to_string(),
    })
}

fn fault(status: StatusCode, body: &[u8]) -> Option<Fault> {
    let number = status.as_u16();
    let read: Option<ErrorBody> = serde_json::from_slice(body).ok();
    // Any JSON object would do as an error body, so it must name itself as one.
    let read = read.filter(|body| {
        let named = body.category.is_some() || body.error_type.is_some() || body.policy_name.is_some();
        named || body.status.as_deref() == Some("error")
    });
    let wait = match (number, read.as_ref().and_then(|body| body.policy_name.as_deref())) {
        (429, Some("DAILY")) => Some(DAILY_WAIT),
        (429, Some("SECONDLY")) => Some(SECOND_WAIT),
        (429, _) => Some(BURST_WAIT),
        (423, _) => Some(LOCK_WAIT),
        (477, _) => Some(MIGRATION_WAIT),
        _ => None,
    };
    match read {
        Some(body) => Some(Fault {
            code: body.code().to_owned(),
            message: body.message.clone().unwrap_or_default(),
            day_spent: number == 429 && body.policy_name.as_deref() == Some("DAILY"),
            wait,
        }),
        None => wait.map(|wait| Fault {
            wait: Some(wait),
            ..Fault::default()
        }),
    }
}

/// How long to wait for a record of a batch, for the codes that mean waiting.
pub(super) fn wait(code: &str) -> Option<Duration> {
    match code {
        "RATE_LIMITS" | "RATE_LIMIT" => Some(BURST_WAIT),
        "LOCKED" | "RECORD_LOCKED" => Some(LOCK_WAIT),
        _ => None,
    }
}

/// What a person can do about a code.
pub(super) fn remedy(code: &str) -> &'static str {
    match code {
        "VALIDATION_ERROR" | "INVALID_INPUT" | "PROPERTY_DOESNT_EXIST" => {
            "create Perennial's properties (`perennial doctor` lists them), or relax the rule of the portal that rejects the value"
        }
        "MISSING_SCOPES" | "FORBIDDEN" => "give the token the scopes to read and write this object",
        "OBJECT_NOT_FOUND" | "NOT_FOUND" | "HTTP_404" => {
            "the record is gone or was merged: correct its id in the import"
        }
        "CONFLICT" => "another record already has this value: merge the two, or correct the id",
        _ => "look the code up in HubSpot's documentation, mend the cause, then retry the action",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, body: &str) -> Option<Fault> {
        fault(StatusCode::from_u16(status).expect("a status"), body.as_bytes())
    }

    #[test]
    fn each_budget_has_its_own_wait() {
        let wait = |body| read(429, body).expect("a fault").wait;
        assert_eq!(wait(r#"{"status":"error","policyName":"DAILY"}"#), Some(DAILY_WAIT));
        assert_eq!(wait(r#"{"status":"error","policyName":"SECONDLY"}"#), Some(SECOND_WAIT));
        assert_eq!(
            wait(r#"{"status":"error","policyName":"TEN_SECONDLY_ROLLING"}"#),
            Some(BURST_WAIT)
        );
        assert_eq!(wait("<html>"), Some(BURST_WAIT));
        assert_eq!(read(423, "").expect("a fault").wait, Some(LOCK_WAIT));
    }

    #[test]
    fn only_the_vendors_own_words_count() {
        assert_eq!(read(404, "<html>"), None);
        assert_eq!(read(404, "{}"), None);
        let fault = read(404, r#"{"status":"error","category":"OBJECT_NOT_FOUND"}"#).expect("a fault");
        assert_eq!((fault.code.as_str(), fault.wait), ("OBJECT_NOT_FOUND", None));
    }

    #[test]
    fn ids_are_read_as_text_or_number() {
        let read: AssociatedTo = serde_json::from_str(r#"{"toObjectId": 421355332816}"#).expect("an id");
        assert_eq!(read.id, "421355332816");
        let read: AssociatedTo = serde_json::from_str(r#"{"id": "7"}"#).expect("an id");
        assert_eq!(read.id, "7");
    }
}
