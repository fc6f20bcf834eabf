//! Salesforce's JSON, as far as we read it, and its words for failure.

use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;

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
#[derive(Debug, Deserialize)]
struct ErrorRow {
    #[serde(rename = "errorCode", default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// An error of the sign-in endpoints.
#[derive(Debug, Deserialize)]
struct SignInError {
    error: String,
    #[serde(default)]
    error_description: String,
}

/// The answer to a create or an upsert.
#[derive(Debug, Deserialize)]
pub(super) struct SaveResult {
    pub(super) id: Option<String>,
    pub(super) success: bool,
    pub(super) created: Option<bool>,
    #[serde(default)]
    pub(super) errors: Vec<RowError>,
}

/// Why a row was not saved. Here the code is called `statusCode`.
#[derive(Debug, Deserialize)]
pub(super) struct RowError {
    #[serde(rename = "statusCode", default)]
    pub(super) code: String,
    #[serde(default)]
    pub(super) message: String,
}

/// One page of a query.
#[derive(Debug, Deserialize)]
pub(super) struct QueryPage<T> {
    pub(super) records: Vec<T>,
}

/// The one row of Organization.
#[derive(Debug, Deserialize)]
pub(super) struct Organization {
    #[serde(rename = "IsSandbox")]
    pub(super) is_sandbox: bool,
}

/// What the org says about its limits, as far as we read it.
#[derive(Debug, Deserialize)]
pub(super) struct Limits {
    #[serde(rename = "DailyApiRequests")]
    pub(super) daily: Option<Budget>,
}

/// A limit and what is left of it.
#[derive(Debug, Deserialize)]
pub(super) struct Budget {
    #[serde(rename = "Max")]
    pub(super) max: i64,
    #[serde(rename = "Remaining")]
    pub(super) remaining: i64,
}

/// What an object looks like to the integration user.
#[derive(Debug, Deserialize)]
pub(super) struct Describe {
    #[serde(default)]
    pub(super) createable: bool,
    pub(super) fields: Vec<DescribedField>,
}

/// One field of it.
#[derive(Debug, Deserialize)]
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
}

fn fault(_status: StatusCode, body: &[u8]) -> Option<Fault> {
    if let Ok(rows) = serde_json::from_slice::<Vec<ErrorRow>>(body) {
        let row = rows.into_iter().find(|row| !row.code.is_empty())?;
        return Some(Fault {
            wait: wait(&row.code),
            code: row.code,
            message: row.message,
        });
    }
    let error: SignInError = serde_json::from_slice(body).ok()?;
    Some(Fault {
        code: error.error,
        message: error.error_description,
        wait: None,
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
