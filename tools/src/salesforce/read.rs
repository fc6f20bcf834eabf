//! Reading records in the order of their changes.
//!
//! By SystemModstamp, not LastModifiedDate, which automated changes do not move; with `queryAll`, which alone shows what was
//! deleted, in the same pages and so without a call of its own (the lists of changes and deletions give ids only, which then had to be
//! read). A page may be short and is not the last for it: only `done` says so, and the number of all must fit.
//!
//! Pages hold 2,000 records, the most there are. Where all of many records are asked for, a job reads them: see `bulk`.

use std::collections::BTreeMap;

use perennial_core::time::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::roles::{self, Changed};
use super::stages::STAGE_FIELDS;
use super::{Salesforce, data, ids, wire};
use crate::SendError;
use crate::budget::Lane;
use crate::http::Call;
use crate::http::path::encode;
use crate::reading::{Ask, ReadPage, ReadRow, STAGE, is_made, known_name, plain_names};
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
    #[serde(default)]
    total_size: u64,
    done: bool,
    next_records_url: Option<String>,
    records: Vec<Map<String, Value>>,
}

/// Where a reading stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cursor {
    /// Before the first page: what comes before the records themselves has been read.
    Begin,
    /// At a page of changed roles.
    Roles(Changed),
    /// At a page of a query, with so many of all its records behind it.
    Query { read: u64, total: u64, locator: String },
    /// At a job that is under way and was looked at so often.
    Job { id: String, looks: u32 },
    /// At a page of the results of a job.
    Results {
        id: String,
        read: u64,
        total: u64,
        at_once: u64,
        locator: String,
    },
}

impl Cursor {
    pub(super) fn text(&self) -> String {
        match self {
            Cursor::Begin => "b:".to_owned(),
            Cursor::Roles(changed) => changed.text(),
            Cursor::Query { read, total, locator } => format!("q:{read}:{total}:{locator}"),
            Cursor::Job { id, looks } => format!("j:{id}:{looks}"),
            Cursor::Results {
                id,
                read,
                total,
                at_once,
                locator,
            } => format!("r:{id}:{read}:{total}:{at_once}:{locator}"),
        }
    }

    pub(super) fn read(text: &str) -> Option<Cursor> {
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        Some(match parts.as_slice() {
            ["b", ""] => Cursor::Begin,
            ["c", locator] => Cursor::Roles(Changed::read(locator)),
            ["q", read, total, locator] => Cursor::Query {
                read: read.parse().ok()?,
                total: total.parse().ok()?,
                locator: (*locator).to_owned(),
            },
            ["j", id, looks] => Cursor::Job {
                id: (*id).to_owned(),
                looks: looks.parse().ok()?,
            },
            ["r", id, read, total, at_once, locator] => Cursor::Results {
                id: (*id).to_owned(),
                read: read.parse().ok()?,
                total: total.parse().ok()?,
                at_once: at_once.parse().ok()?,
                locator: (*locator).to_owned(),
            },
            _ => return None,
        })
    }
}

impl Salesforce {
    pub(super) async fn read_page(&self, ask: &Ask, cursor: Option<&str>) -> Result<ReadPage, SendError> {
        plain_names(ask)?;
        let with_roles = roles::are_asked(ask)?;
        // Roles change without the people: first those whose roles have changed, then those who have changed themselves.
        let changed = match (cursor.map(Cursor::read), with_roles, ask.since) {
            (None, true, Some(_)) => Some(Changed::First),
            (Some(Some(Cursor::Roles(changed))), true, _) => Some(changed),
            (_, _, _) => None,
        };
        if let Some(changed) = changed {
            return self.changed_roles(ask, &changed).await;
        }
        let begins = cursor.is_none();
        let cursor = cursor.filter(|text| Cursor::read(text) != Some(Cursor::Begin));
        let mut page = self.read_as_it_is(ask, cursor).await?;
        self.staged(ask, begins, &mut page.rows).await?;
        self.with_roles(ask, &mut page.rows).await?;
        Ok(page)
    }

    async fn read_as_it_is(&self, ask: &Ask, cursor: Option<&str>) -> Result<ReadPage, SendError> {
        let bad = || SendError::refused(&ask.object, "BAD_CURSOR", "the cursor cannot be read", "read it again");
        match cursor {
            None => {
                if self.is_many(ask).await? {
                    return self.begin_query(ask).await;
                }
                let question = question(ask, Order::ByChange)?;
                let page = self
                    .query(ask, format!("{}/queryAll?q={}", data(), encode(&question)))
                    .await?;
                // The count that was asked for was old, or was refused to us.
                if !page.done && ask.since.is_none() && page.total_size >= self.bulk_reading.from_records {
                    return self.begin_query(ask).await;
                }
                let total = page.total_size;
                queried(ask, page, 0, total)
            }
            Some(text) => match Cursor::read(text).ok_or_else(bad)? {
                Cursor::Query { read, total, locator } => {
                    let path = format!("{}/query/{}", data(), encode(&locator));
                    queried(ask, self.query(ask, path).await?, read, total)
                }
                Cursor::Job { id, looks } => self.look_at_job(ask, id, looks).await,
                Cursor::Results {
                    id,
                    read,
                    total,
                    at_once,
                    locator,
                } => self.job_page(ask, id, (read, total), at_once, locator).await,
                Cursor::Begin | Cursor::Roles(_) => Err(bad()),
            },
        }
    }

    async fn query(&self, ask: &Ask, path: String) -> Result<Page, SendError> {
        let call = Call::get(known_name(&ask.object), path).on(Lane::Bulk);
        self.http.send(&call).await?.ok()?.json()
    }

    /// Whether all records are asked for, and they are so many that a job reads them with fewer calls.
    async fn is_many(&self, ask: &Ask) -> Result<bool, SendError> {
        if ask.since.is_some() {
            return Ok(false);
        }
        let counted = self.counts.get_or_try_init(|| self.count_records()).await?;
        let count = counted.get(&ask.object).copied().unwrap_or(0);
        Ok(count >= self.bulk_reading.from_records)
    }

    /// About how many records each object has; nothing where that is not told us. One call for all objects.
    async fn count_records(&self) -> Result<BTreeMap<String, u64>, SendError> {
        let call = Call::get("limits", format!("{}/limits/recordCount", data())).on(Lane::Bulk);
        let reply = self.http.send(&call).await?;
        match reply.ok().and_then(|reply| reply.json::<wire::Counts>()) {
            Ok(counts) => Ok(counts.objects.into_iter().map(|of| (of.name, of.count)).collect()),
            Err(SendError::Refused { code, .. }) => {
                tracing::info!(
                    code,
                    "how many records there are is not told; the first page of each object will"
                );
                Ok(BTreeMap::new())
            }
            Err(error) => Err(error),
        }
    }

    /// The records with these ids as they are now; one that is not there comes as deleted.
    pub(super) async fn by_ids(&self, ask: &Ask, ids: &[String]) -> Result<Vec<ReadRow>, SendError> {
        plain_names(ask)?;
        if let Some(bad) = ids.iter().find(|id| !ids::is_whole(id)) {
            return Err(unexpected(&ask.object, &format!("`{bad}` is no id")));
        }
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let quoted: Vec<String> = ids.iter().map(|id| format!("'{id}'")).collect();
        let fields = fields(ask).join(", ");
        let question = format!(
            "SELECT {fields} FROM {} WHERE Id IN ({})",
            ask.object,
            quoted.join(", ")
        );
        let path = format!("{}/queryAll?q={}", data(), encode(&question));
        let page = self.query(ask, path).await?;
        let total = page.total_size;
        let mut rows = queried(ask, page, 0, total)?.rows;
        self.staged(ask, false, &mut rows).await?;
        self.with_roles(ask, &mut rows).await?;
        for id in ids {
            let is_same = |row: &ReadRow| row.id.get(..15) == id.get(..15);
            if !rows.iter().any(is_same) {
                rows.push(ReadRow::gone("Id", id));
            }
        }
        Ok(rows)
    }
}

/// A page of a query as rows, and where it goes on.
fn queried(ask: &Ask, page: Page, before: u64, total: u64) -> Result<ReadPage, SendError> {
    let object = ask.object.as_str();
    let read = before + page.records.len() as u64;
    let next = match (page.done, page.next_records_url) {
        (true, _) if read < total => return Err(incomplete(object, read, total)),
        (true, _) => None,
        (false, Some(url)) => Some(Cursor::Query {
            read,
            total,
            locator: locator(object, &url)?,
        }),
        (false, None) => return Err(unexpected(object, "a page that is not the last names no next one")),
    };
    let rows = page
        .records
        .into_iter()
        .map(|record| row(object, &record))
        .collect::<Result<Vec<ReadRow>, _>>()?;
    let reached = rows.last().and_then(|row| row.modified);
    Ok(ReadPage {
        rows,
        next: next.map(|next| next.text()),
        reached,
        pause: None,
    })
}

/// In which order records come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// That of their changes, so that a reading that breaks goes on where it was.
    ByChange,
    /// Any: a job that sorts cannot be split by the org.
    Any,
}

pub(super) fn fields(ask: &Ask) -> Vec<&str> {
    let mut fields = vec!["Id", MODIFIED];
    if !NEVER_DELETED.contains(&ask.object.as_str()) {
        fields.push(DELETED);
    }
    let staged = ask.fields.iter().any(|field| field.starts_with(STAGE));
    let stage: &[&str] = if staged { &STAGE_FIELDS } else { &[] };
    let own = ask.fields.iter().map(String::as_str).filter(|field| !is_made(field));
    for field in own.chain(stage.iter().copied()) {
        if !fields.contains(&field) {
            fields.push(field);
        }
    }
    fields
}

/// The question in SOQL.
pub(super) fn question(ask: &Ask, order: Order) -> Result<String, SendError> {
    plain_names(ask)?;
    let since = ask.since.map_or_else(String::new, |since| {
        // Whole seconds downwards: the CRM keeps no finer ones.
        let seconds = Timestamp::from_us(since.us().div_euclid(1_000_000) * 1_000_000);
        format!(" WHERE {MODIFIED} >= {seconds}")
    });
    let order = match order {
        Order::ByChange => format!(" ORDER BY {MODIFIED}, Id"),
        Order::Any => String::new(),
    };
    Ok(format!(
        "SELECT {} FROM {}{since}{order}",
        fields(ask).join(", "),
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
    of_cells(object, cells)
}

/// The record of these cells. Its id must be whole and its time of change readable: all that is read later hangs on both.
pub(super) fn of_cells(object: &str, cells: BTreeMap<String, String>) -> Result<ReadRow, SendError> {
    let id = cells
        .get("Id")
        .cloned()
        .ok_or_else(|| unexpected(object, "a record without an Id"))?;
    if !ids::is_whole(&id) {
        return Err(unexpected(object, "an id whose letters have lost their case"));
    }
    let modified = cells.get(MODIFIED).and_then(|text| text.parse().ok());
    if modified.is_none() {
        return Err(unexpected(object, "a record without a time of change"));
    }
    Ok(ReadRow {
        id,
        modified,
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

/// Fewer records than the org said there are.
pub(super) fn incomplete(object: &str, read: u64, total: u64) -> SendError {
    SendError::refused(
        object,
        "INCOMPLETE",
        &format!("the answers ended after {read} of {total} records"),
        "read again; if it stays so, something between us and the org shortens its answers",
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
            deleted: true,
        };
        assert_eq!(
            question(&ask, Order::ByChange).expect("a question"),
            "SELECT Id, SystemModstamp, IsDeleted, Account.Name FROM Contact \
             WHERE SystemModstamp >= 2026-11-29T10:00:00Z ORDER BY SystemModstamp, Id"
        );
        ask.fields.push("Name FROM User".to_owned());
        assert!(question(&ask, Order::ByChange).is_err());
    }

    #[test]
    fn parents_and_times_are_read() {
        let Value::Object(record) = json!({"attributes": {"type": "Contact"}, "Id": "003000000000001AAA", "IsDeleted": true,
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

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let id = "750000000000001AAA".to_owned();
        let all = [
            Cursor::Query {
                read: 2_000,
                total: 4_100,
                locator: "0r8x-2000".to_owned(),
            },
            Cursor::Job {
                id: id.clone(),
                looks: 3,
            },
            Cursor::Begin,
            Cursor::Roles(Changed::First),
            Cursor::Roles(Changed::Page {
                locator: "0r8x-2000".to_owned(),
            }),
            Cursor::Results {
                id,
                read: 5,
                total: 9,
                at_once: 4,
                locator: "M:5=".to_owned(),
            },
        ];
        for cursor in all {
            assert_eq!(Cursor::read(&cursor.text()), Some(cursor));
        }
        assert_eq!(Cursor::read("q:1:x:0r8"), None);
        assert_eq!(Cursor::read("0r8x-2000"), None);
    }

    #[test]
    fn an_answer_that_ends_before_its_own_number_is_refused() {
        let ask = Ask {
            object: "Contact".to_owned(),
            fields: Vec::new(),
            since: None,
            deleted: true,
        };
        let page = |done, next: Option<&str>| Page {
            total_size: 3,
            done,
            next_records_url: next.map(str::to_owned),
            records: Vec::new(),
        };
        assert!(queried(&ask, page(true, None), 3, 3).expect("the last").next.is_none());
        assert!(queried(&ask, page(true, None), 2, 3).is_err());
        assert!(queried(&ask, page(false, None), 0, 3).is_err());
        assert!(
            queried(&ask, page(false, Some("/x/0r8-2")), 2, 3)
                .expect("a page")
                .next
                .is_some()
        );
    }

    #[test]
    fn a_record_whose_id_or_time_is_broken_is_refused() {
        let cells = |id: &str, at: &str| {
            let pairs = [("Id", id), (MODIFIED, at)];
            pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
        };
        assert!(of_cells("x", cells("00Dx0000000BV7zEAG", "2026-05-01T07:25:37.000Z")).is_ok());
        assert!(of_cells("x", cells("00dx0000000bv7zeag", "2026-05-01T07:25:37.000Z")).is_err());
        assert!(of_cells("x", cells("00Dx0000000BV7zEAG", "2026-05-01T07:25:37")).is_err());
    }

    #[test]
    fn a_stage_is_asked_of_the_record_itself() {
        let ask = |object: &str, field: &str| Ask {
            object: object.to_owned(),
            fields: vec!["Name".to_owned(), field.to_owned()],
            since: None,
            deleted: true,
        };
        let asked = ask("Opportunity", "stage.state");
        let question = question(&asked, Order::Any).expect("a question");
        assert!(
            question.contains("Name, StageName, IsClosed, IsWon, Probability FROM"),
            "{question}"
        );
        assert!(plain_names(&ask("Opportunity", "stage.other")).is_err());
    }
}
