//! Salesforce's JSON, as far as we read it, and its words for failure. Keys that we do not read are kept in `rest`, so that
//! a recorded body can be written again without losing one.

use std::time::Duration;

use perennial_core::time::Timestamp;
use reqwest::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::http::{Dialect, Fault};
use perennial_core::signal::Crm;

/// How we understand Salesforce's failures.
pub(super) const DIALECT: Dialect = Dialect {
    crm: Crm::Salesforce,
    fault,
    remedy,
    sign_in: "/services/oauth2/token",
    token_remedy: "the Salesforce session has ended or was revoked: put a fresh access token into the configuration",
};

/// The daily budget comes back call by call over a rolling day; asking again sooner only spends what is left.
const BUDGET_WAIT: Duration = Duration::from_secs(15 * 60);
/// Maintenance takes minutes.
const MAINTENANCE_WAIT: Duration = Duration::from_secs(5 * 60);
/// A record lock is held for the length of someone else's write.
const LOCK_WAIT: Duration = Duration::from_secs(2);
/// The org is overloaded for the moment.
const LOAD_WAIT: Duration = Duration::from_secs(20);

/// One row of an error answer.
#[derive(Debug, Default, Deserialize, Serialize)]
struct ErrorRow {
    #[serde(rename = "errorCode", default)]
    code: String,
    #[serde(default)]
    message: String,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

/// An error of the sign-in endpoints.
#[derive(Debug, Default, Deserialize, Serialize)]
struct SignInError {
    error: String,
    #[serde(default)]
    error_description: String,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

/// The answer to a create or an upsert.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct SaveResult {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    pub(super) success: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) created: Option<bool>,
    #[serde(default)]
    pub(super) errors: Vec<RowError>,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

/// Why a row was not saved. Here the code is called `statusCode`.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct RowError {
    #[serde(rename = "statusCode", default)]
    pub(super) code: String,
    #[serde(default)]
    pub(super) message: String,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

/// One page of a query.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct QueryPage<T> {
    #[serde(default)]
    pub(super) total_size: u64,
    #[serde(default)]
    pub(super) done: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) next_records_url: Option<String>,
    pub(super) records: Vec<T>,
}

/// The one row of Organization.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct Organization {
    #[serde(rename = "IsSandbox")]
    pub(super) is_sandbox: bool,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

/// What the org says about its limits, as far as we read it.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct Limits {
    #[serde(rename = "DailyApiRequests", skip_serializing_if = "Option::is_none")]
    pub(super) daily: Option<Budget>,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

/// A limit and what is left of it.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct Budget {
    #[serde(rename = "Max")]
    pub(super) max: i64,
    #[serde(rename = "Remaining")]
    pub(super) remaining: i64,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

/// What an object looks like to the integration user.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct Describe {
    #[serde(default)]
    pub(super) createable: bool,
    pub(super) fields: Vec<DescribedField>,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

/// One field of it.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DescribedField {
    pub(super) name: String,
    #[serde(default)]
    pub(super) updateable: bool,
    #[serde(default)]
    pub(super) createable: bool,
    #[serde(default)]
    pub(super) external_id: bool,
    #[serde(default)]
    pub(super) unique: bool,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

/// The version list: one row of it.
#[derive(Debug, Deserialize, Serialize)]
struct Version {
    version: String,
    url: String,
    label: String,
}

/// The answer of the token endpoint.
#[derive(Debug, Deserialize, Serialize)]
struct Token {
    access_token: String,
    instance_url: String,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// Ids of records that changed.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Updated {
    ids: Vec<String>,
    latest_date_covered: String,
}

/// Records that were deleted.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Deleted {
    deleted_records: Vec<Grave>,
    earliest_date_available: String,
    latest_date_covered: String,
}

/// One of them.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Grave {
    id: String,
    deleted_date: String,
}

/// The answer to several requests in one.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Composite {
    composite_response: Vec<Part>,
}

/// One of its parts.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Part {
    body: Value,
    http_headers: Map<String, Value>,
    http_status_code: u16,
    reference_id: String,
}

/// Approximate numbers of records.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Counts {
    #[serde(rename = "sObjects")]
    pub(super) objects: Vec<CountOf>,
}

/// One of them.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct CountOf {
    pub(super) count: u64,
    pub(super) name: String,
}

/// Every object the user can see.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Objects {
    encoding: String,
    max_batch_size: u64,
    #[serde(rename = "sobjects")]
    objects: Vec<ObjectRow>,
}

/// One of them.
#[derive(Debug, Deserialize, Serialize)]
struct ObjectRow {
    name: String,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// Kinds of answers, for the check against recorded bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A refused request.
    Errors,
    /// A refused sign-in.
    SignInError,
    /// A token.
    Token,
    /// The version list.
    Versions,
    /// The save of one record.
    Save,
    /// The saves of a collection.
    Saves,
    /// Addresses of the records that an upsert matched.
    Choices,
    /// A page of a query.
    Query,
    /// One record.
    Record,
    /// Changed ids.
    Updated,
    /// Deleted ids.
    Deleted,
    /// Several requests in one.
    Composite,
    /// Numbers of records.
    Counts,
    /// The description of an object.
    Describe,
    /// The list of objects.
    Objects,
}

/// Reads a body as the adapter does and writes it again, to show that no key is lost on the way.
pub fn reencoded(shape: Shape, body: &[u8]) -> Result<Value, serde_json::Error> {
    fn again<T: serde::de::DeserializeOwned + Serialize>(body: &[u8]) -> Result<Value, serde_json::Error> {
        serde_json::to_value(serde_json::from_slice::<T>(body)?)
    }
    match shape {
        Shape::Errors => again::<Vec<ErrorRow>>(body),
        Shape::SignInError => again::<SignInError>(body),
        Shape::Token => again::<Token>(body),
        Shape::Versions => again::<Vec<Version>>(body),
        Shape::Save => again::<SaveResult>(body),
        Shape::Saves => again::<Vec<SaveResult>>(body),
        Shape::Choices => again::<Vec<String>>(body),
        Shape::Query => again::<QueryPage<crate::fields::Live>>(body),
        Shape::Record => again::<crate::fields::Live>(body),
        Shape::Updated => again::<Updated>(body),
        Shape::Deleted => again::<Deleted>(body),
        Shape::Composite => again::<Composite>(body),
        Shape::Counts => again::<Counts>(body),
        Shape::Describe => again::<Describe>(body),
        Shape::Objects => again::<Objects>(body),
    }
}

fn fault(_status: StatusCode, body: &[u8]) -> Option<Fault> {
    if let Ok(rows) = serde_json::from_slice::<Vec<ErrorRow>>(body) {
        let row = rows.into_iter().find(|row| !row.code.is_empty())?;
        return Some(Fault {
            wait: wait(&row.code),
            day_spent: row.code == "REQUEST_LIMIT_EXCEEDED",
            code: row.code,
            message: row.message,
        });
    }
    let error: SignInError = serde_json::from_slice(body).ok()?;
    Some(Fault {
        code: error.error,
        message: error.error_description,
        ..Fault::default()
    })
}

/// How long the org asks us to wait, for the codes that mean waiting.
pub(super) fn wait(code: &str) -> Option<Duration> {
    Some(match code {
        "REQUEST_LIMIT_EXCEEDED" => BUDGET_WAIT,
        "UNABLE_TO_LOCK_ROW" | "RECORD_IN_USE_BY_WORKFLOW" => LOCK_WAIT,
        "SERVER_UNAVAILABLE" | "TOO_MANY_APEX_REQUESTS" | "QUERY_TIMEOUT" | "REQUEST_RUNNING_TOO_LONG" => LOAD_WAIT,
        "ORG_IN_MAINTENANCE" | "INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE" => MAINTENANCE_WAIT,
        _ => return None,
    })
}

/// What a person can do about a code. Codes, never messages: those are in the language of the org.
pub(super) fn remedy(code: &str) -> &'static str {
    match code {
        "INVALID_FIELD" | "INVALID_FIELD_FOR_INSERT_UPDATE" | "INVALID_TYPE" => {
            "create Perennial's custom fields and let the integration user see and edit them (`perennial doctor` lists them)"
        }
        "NOT_FOUND" | "ENTITY_IS_DELETED" => {
            "the record or the external id field is gone or not shared with the integration user: check both (`perennial doctor`)"
        }
        "INSUFFICIENT_ACCESS_OR_READONLY" | "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY" => {
            "give the integration user access to this record and object"
        }
        "API_DISABLED_FOR_ORG" | "API_CURRENTLY_DISABLED" => "turn on API access for the org and the integration user",
        "STORAGE_LIMIT_EXCEEDED" => "free data storage in the org",
        "DUPLICATES_DETECTED" | "DUPLICATE_VALUE" | "MULTIPLE_CHOICES" => {
            "several records share this id or match a duplicate rule: merge them, or correct the external id"
        }
        "REQUIRED_FIELD_MISSING" | "FIELD_CUSTOM_VALIDATION_EXCEPTION" | "CANNOT_EXECUTE_FLOW_TRIGGER" => {
            "a rule of the org rejects this write: exempt the integration user or fill what the rule asks for"
        }
        "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST" => "add the value to the picklist, or use one that it has",
        "INVALID_CROSS_REFERENCE_KEY" | "MALFORMED_ID" => "correct the record id in the import",
        "ENTITY_IS_LOCKED" => {
            "an approval process locks the record: finish it, or let the integration user edit locked records"
        }
        _ => "look the code up in Salesforce's documentation, mend the cause, then retry the action",
    }
}

/// A moment as headers have it: whole seconds, downwards.
pub(super) fn http_date(at: Timestamp) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]; // 1970-01-01 was a Thursday
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let day = at.day();
    let (year, month, of_month) = day.ymd();
    let second = (at.us() - day.start().us()) / 1_000_000;
    let named =
        |names: &[&'static str], place: i64| usize::try_from(place).ok().and_then(|place| names.get(place).copied());
    format!(
        "{}, {of_month:02} {} {year:04} {:02}:{:02}:{:02} GMT",
        named(&DAYS, i64::from(day.number()).rem_euclid(7)).unwrap_or_default(),
        named(&MONTHS, i64::from(month) - 1).unwrap_or_default(),
        second / 3_600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_read_by_code_in_both_shapes() {
        let body = br#"[{"message":"TotalRequests Limit exceeded.","errorCode":"REQUEST_LIMIT_EXCEEDED"}]"#;
        let read = fault(StatusCode::FORBIDDEN, body).expect("a fault");
        assert_eq!(
            (read.code.as_str(), read.wait),
            ("REQUEST_LIMIT_EXCEEDED", Some(BUDGET_WAIT))
        );
        let body = br#"{"error":"invalid_grant","error_description":"expired"}"#;
        assert_eq!(
            fault(StatusCode::BAD_REQUEST, body).expect("a fault").code,
            "invalid_grant"
        );
        assert_eq!(fault(StatusCode::NOT_FOUND, b"<html>not found</html>"), None);
        assert_eq!(fault(StatusCode::NOT_FOUND, b"[]"), None);
    }
}
