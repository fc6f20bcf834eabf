//! Reading records in the order of their changes.
//!
//! By SystemModstamp, not LastModifiedDate, which automated changes do not move; with `queryAll`, which alone shows what was
//! deleted. A page may be short and is not the last for it: only `done` says so.

use std::collections::BTreeMap;

use perennial_core::time::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Salesforce, data};
use crate::SendError;
use crate::budget::Lane;
use crate::http::Call;
use crate::http::path::encode;
use crate::reading::{Ask, ReadPage, ReadRow, known_name, plain_names};
use crate::text::shown;

const MODIFIED: &str = "SystemModstamp";
const DELETED: &str = "IsDeleted";

/// Objects without the field that says whether a record was deleted.
const NEVER_DELETED: &[&str] = &["User", "Organization"];

/// Longest locator of a page that we follow.
const LOCATOR_MAX: usize = 200;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    done: bool,
    next_records_url: Option<String>,
    records: Vec<Map<String, Value>>,
}

impl Salesforce {
    pub(super) async fn read_page(&self, ask: &Ask, cursor: Option<&str>) -> Result<ReadPage, SendError> {
        let path = match cursor {
            Some(locator) => format!("{}/query/{}", data(), encode(locator)),
            None => format!("{}/queryAll?q={}", data(), encode(&question(ask)?)),
        };
        let reply = self
            .http
            .send(&Call::get(known_name(&ask.object), path).on(Lane::Bulk))
            .await?;
        let page: Page = reply.ok()?.json()?;
        let next = match (page.done, page.next_records_url) {
            (true, _) => None,
            (false, Some(url)) => Some(locator(&ask.object, &url)?),
            (false, None) => return Err(unexpected(&ask.object, "a page that is not the last names no next one")),
        };
        let rows = page
            .records
            .into_iter()
            .map(|record| row(&ask.object, &record))
            .collect::<Result<Vec<ReadRow>, _>>()?;
        let reached = rows.last().and_then(|row| row.modified);
        Ok(ReadPage { rows, next, reached })
    }
}

/// The question in SOQL.
fn question(ask: &Ask) -> Result<String, SendError> {
    plain_names(ask)?;
    let mut fields = vec!["Id", MODIFIED];
    if !NEVER_DELETED.contains(&ask.object.as_str()) {
        fields.push(DELETED);
    }
    for field in &ask.fields {
        if !fields.contains(&field.as_str()) {
            fields.push(field);
        }
    }
    let since = ask.since.map_or_else(String::new, |since| {
        // Whole seconds downwards: the CRM keeps no finer ones.
        let seconds = Timestamp::from_us(since.us().div_euclid(1_000_000) * 1_000_000);
        format!(" WHERE {MODIFIED} >= {seconds}")
    });
    Ok(format!(
        "SELECT {} FROM {}{since} ORDER BY {MODIFIED}, Id",
        fields.join(", "),
        ask.object
    ))
}

/// The locator at the end of the address of a next page. Only that is followed, never the address.
pub(super) fn locator(object: &str, url: &str) -> Result<String, SendError> {
    let last = url.rsplit('/').next().unwrap_or_default();
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if last.is_empty() || last.len() > LOCATOR_MAX || !last.bytes().all(fits) {
        return Err(unexpected(object, "the address of the next page cannot be read"));
    }
    Ok(last.to_owned())
}

fn row(object: &str, record: &Map<String, Value>) -> Result<ReadRow, SendError> {
    let mut cells = BTreeMap::new();
    flatten("", record, &mut cells);
    let id = cells
        .get("Id")
        .cloned()
        .ok_or_else(|| unexpected(object, "a record without an Id"))?;
    Ok(ReadRow {
        id,
        modified: cells.get(MODIFIED).and_then(|text| text.parse().ok()),
        deleted: cells.get(DELETED).is_some_and(|text| text == "true"),
        cells,
    })
}

/// Fields of parents get their parent's name before a point.
fn flatten(before: &str, record: &Map<String, Value>, cells: &mut BTreeMap<String, String>) {
    for (name, value) in record {
        if name == "attributes" {
            continue;
        }
        let name = format!("{before}{name}");
        match value {
            Value::Object(parent) => flatten(&format!("{name}."), parent, cells),
            value => {
                if let Some(text) = shown(value) {
                    cells.insert(name, moment(text));
                }
            }
        }
    }
}

/// Times as RFC 3339 has them: Salesforce writes `+0000` without the colon.
pub(super) fn moment(text: String) -> String {
    let bytes = text.as_bytes();
    let is_time = bytes.len() == 28 && bytes[10] == b'T' && text.ends_with("+0000");
    if is_time { format!("{}Z", &text[..23]) } else { text }
}

pub(super) fn unexpected(object: &str, what: &str) -> SendError {
    SendError::refused(
        object,
        "UNEXPECTED_ANSWER",
        what,
        "check that base_url is the Salesforce API",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_question_asks_from_the_second_on_and_refuses_what_is_no_name() {
        let mut ask = Ask {
            object: "Contact".to_owned(),
            fields: vec!["Id".to_owned(), "Account.Name".to_owned()],
            since: "2026-11-29T10:00:00.9Z".parse().ok(),
        };
        assert_eq!(
            question(&ask).expect("a question"),
            "SELECT Id, SystemModstamp, IsDeleted, Account.Name FROM Contact \
             WHERE SystemModstamp >= 2026-11-29T10:00:00Z ORDER BY SystemModstamp, Id"
        );
        ask.fields.push("Name FROM User".to_owned());
        assert!(question(&ask).is_err());
    }

    #[test]
    fn parents_and_times_are_read() {
        let Value::Object(record) = json!({"attributes": {"type": "Contact"}, "Id": "003", "IsDeleted": true,
            "SystemModstamp": "2026-05-01T07:25:37.000+0000", "Account": {"attributes": {}, "Name": "One"}, "Email": null})
        else {
            unreachable!("an object");
        };
        let row = row("Contact", &record).expect("a row");
        assert!(row.deleted && row.modified == "2026-05-01T07:25:37Z".parse().ok());
        assert_eq!(row.cells["Account.Name"], "One");
        assert!(!row.cells.contains_key("Email"));
    }

    #[test]
    fn only_a_locator_is_followed() {
        assert_eq!(
            locator("x", "/services/data/v68.0/query/0r8x-2000").expect("one"),
            "0r8x-2000"
        );
        assert!(locator("x", "https://elsewhere.example/a?b").is_err());
    }
}
