//! Reading by a job of Bulk 2.0: asked for once, looked at until it is done, read page by page as CSV.
//!
//! Promises: nothing waits in here, because whoever reads decides how long (a page says for how long it is too early); a job that
//! fails is an error with the org's reason; the number of records that the job says it found must have come. Records come in no order.
//!
//! Unverified, because no organisation has been seen: the order of states, and whether every page has a header. Both are read as
//! they come.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::read::{Cursor, Order, incomplete, moment, of_cells, question, unexpected};
use super::{Salesforce, data, ids};
use crate::SendError;
use crate::budget::Lane;
use crate::http::path::encode;
use crate::http::{Call, Reply};
use crate::reading::{Ask, ReadPage, ReadRow, known_name};

/// Longest pause between two looks.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Looks before a job is given up: about two hours.
const LOOKS_MAX: u32 = 240;
/// Fewest records of a page: below that a page that is too large has records that are.
const AT_ONCE_LEAST: u64 = 100;
/// Longest locator that we follow.
const LOCATOR_MAX: usize = 200;

/// What a job says of itself.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Job {
    id: String,
    state: String,
    number_records_processed: Option<u64>,
    #[serde(default)]
    error_message: String,
}

fn jobs() -> String {
    format!("{}/jobs/query", data())
}

impl Salesforce {
    /// Asks for a job.
    pub(super) async fn begin_query(&self, ask: &Ask) -> Result<ReadPage, SendError> {
        let body = json!({ "operation": "queryAll", "query": question(ask, Order::Any)?, "contentType": "CSV",
            "columnDelimiter": "COMMA", "lineEnding": "LF" });
        // A second job of the same would cost time of the org and nothing else.
        let call = Call::write(Method::POST, known_name(&ask.object), jobs(), body)
            .harmless()
            .on(Lane::Bulk);
        let job: Job = self.http.send(&call).await?.ok()?.json()?;
        if !ids::is_whole(&job.id) {
            return Err(unexpected(&ask.object, "a job without an id"));
        }
        Ok(self.later(job.id, 0))
    }

    /// Nothing yet; look at the job after a while.
    fn later(&self, id: String, looks: u32) -> ReadPage {
        let first = Duration::from_millis(self.bulk_reading.first_pause_ms);
        ReadPage {
            next: Some(Cursor::Job { id, looks }.text()),
            pause: Some(first.saturating_mul(1 << looks.min(10)).min(PAUSE_MAX)),
            ..ReadPage::default()
        }
    }

    /// Looks at a job; its first page of results when it is done.
    pub(super) async fn look_at_job(&self, ask: &Ask, id: String, looks: u32) -> Result<ReadPage, SendError> {
        let call = Call::get(known_name(&ask.object), format!("{}/{}", jobs(), encode(&id))).on(Lane::Bulk);
        let job: Job = self.http.send(&call).await?.ok()?.json()?;
        match job.state.as_str() {
            "UploadComplete" | "InProgress" if looks < LOOKS_MAX => Ok(self.later(id, looks + 1)),
            "UploadComplete" | "InProgress" => Err(SendError::refused(
                &ask.object,
                "BULK_TOO_SLOW",
                "the job of the org that reads all records does not end",
                "read again when the org has less to do, or raise bulk_reading_records so that pages are read instead",
            )),
            "JobComplete" => match job.number_records_processed {
                Some(0) => Ok(ReadPage::default()),
                Some(total) => {
                    let at_once = self.bulk_reading.page_records.max(1);
                    self.job_page(ask, id, (0, total), at_once, String::new()).await
                }
                None => Err(unexpected(
                    &ask.object,
                    "a job that is complete does not say how many records it found",
                )),
            },
            "Failed" => Err(failed(&ask.object, &job.error_message)),
            "Aborted" => Err(SendError::refused(
                &ask.object,
                "BULK_ABORTED",
                "somebody in the org ended the job that reads all records",
                "ask who did, then read again",
            )),
            other => Err(unexpected(
                &ask.object,
                &format!(
                    "a job in the unknown state `{}`",
                    other.chars().take(40).collect::<String>()
                ),
            )),
        }
    }

    /// A page of results.
    pub(super) async fn job_page(
        &self,
        ask: &Ask,
        id: String,
        (before, total): (u64, u64),
        at_once: u64,
        locator: String,
    ) -> Result<ReadPage, SendError> {
        let object = ask.object.as_str();
        let mut path = format!("{}/{}/results?maxRecords={at_once}", jobs(), encode(&id));
        if !locator.is_empty() {
            path.push_str(&format!("&locator={}", encode(&locator)));
        }
        let call = Call::get(known_name(object), path).on(Lane::Bulk).csv();
        let reply = match self.http.send(&call).await {
            // Records that are wide: fewer of them at once.
            Err(SendError::Refused { code, .. }) if code == "ANSWER_TOO_LARGE" && at_once > AT_ONCE_LEAST => {
                let cursor = Cursor::Results {
                    id,
                    read: before,
                    total,
                    at_once: (at_once / 2).max(AT_ONCE_LEAST),
                    locator,
                };
                return Ok(ReadPage {
                    next: Some(cursor.text()),
                    ..ReadPage::default()
                });
            }
            other => other?.ok()?,
        };
        let rows = rows(ask, &reply.body)?;
        let says: Option<u64> = reply
            .header("sforce-numberofrecords")
            .and_then(|text| text.trim().parse().ok());
        let count = rows.len() as u64;
        if let Some(says) = says.filter(|says| *says != count) {
            return Err(incomplete(object, before + count, before + says));
        }
        let read = before + count;
        let next = match following(object, &reply)? {
            Some(_) if count == 0 => return Err(unexpected(object, "an empty page of results that is not the last")),
            Some(locator) => Some(Cursor::Results {
                id,
                read,
                total,
                at_once,
                locator,
            }),
            None if read < total => return Err(incomplete(object, read, total)),
            None => None,
        };
        Ok(ReadPage {
            rows,
            next: next.map(|next| next.text()),
            reached: None,
            pause: None,
        })
    }

    /// Ends the job of a reading that nobody goes on with.
    pub(super) async fn give_up(&self, ask: &Ask, cursor: &str) -> Result<(), SendError> {
        let Some(Cursor::Job { id, .. }) = Cursor::read(cursor) else {
            return Ok(());
        };
        let path = format!("{}/{}", jobs(), encode(&id));
        let call = Call::write(
            Method::PATCH,
            known_name(&ask.object),
            path,
            json!({ "state": "Aborted" }),
        )
        .harmless()
        .on(Lane::Normal);
        self.http.send(&call).await?.ok()?;
        Ok(())
    }
}

/// Where the next page is; nothing after the last one.
fn following(object: &str, reply: &Reply) -> Result<Option<String>, SendError> {
    match reply.header("sforce-locator").map(str::trim) {
        None | Some("" | "null") => Ok(None),
        Some(text) if text.len() <= LOCATOR_MAX => Ok(Some(text.to_owned())),
        Some(_) => Err(unexpected(object, "the locator of the next page cannot be read")),
    }
}

/// Why a job failed: the code of the org where its message begins with one.
fn failed(object: &str, message: &str) -> SendError {
    let is_code = |word: &&str| word.len() > 3 && word.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    let code = message
        .split([':', ' '])
        .next()
        .filter(is_code)
        .unwrap_or("BULK_FAILED");
    let message = if message.is_empty() {
        "the org gives no reason"
    } else {
        message
    };
    SendError::refused(object, code, message, super::wire::remedy(code))
}

/// The rows of a page of CSV. A first row of names is the header; without one the columns are in the order of the question.
fn rows(ask: &Ask, body: &[u8]) -> Result<Vec<ReadRow>, SendError> {
    let object = ask.object.as_str();
    let broken = |_: csv::Error| unexpected(object, "results that are not CSV");
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(body);
    let mut names: Vec<String> = super::read::fields(ask).into_iter().map(str::to_owned).collect();
    let mut rows = Vec::new();
    for (place, record) in reader.records().enumerate() {
        let record = record.map_err(broken)?;
        // No value of an id is the word.
        if place == 0 && record.iter().any(|cell| cell == "Id") {
            names = record.iter().map(str::to_owned).collect();
            continue;
        }
        if record.len() != names.len() {
            return Err(unexpected(object, "a row of results with another number of columns"));
        }
        let cells: BTreeMap<String, String> = names
            .iter()
            .zip(&record)
            .filter(|(_, cell)| !cell.is_empty())
            .map(|(name, cell)| (name.clone(), moment(cell.to_owned())))
            .collect();
        rows.push(of_cells(object, cells)?);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::Connection;
    use crate::reading::BulkReading;
    use crate::test_kit::{Say, Server};
    use crate::{Tool as _, salesforce};

    const ID: &str = "750000000000001AAA";

    fn ask() -> Ask {
        Ask {
            object: "Contact".to_owned(),
            fields: vec!["Email".to_owned(), "Account.Name".to_owned()],
            since: None,
            deleted: true,
        }
    }

    fn tool(server: &Server) -> Salesforce {
        let bulk_reading = BulkReading {
            from_records: 2,
            page_records: 200,
            first_pause_ms: 100,
        };
        salesforce::Salesforce::new(Connection {
            bulk_reading,
            ..server.connection()
        })
        .expect("a tool")
    }

    fn job(state: &str, more: serde_json::Value) -> Say {
        let mut body = json!({ "id": ID, "state": state });
        for (key, value) in more.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        Say::Json(200, body)
    }

    fn results(locator: &str, body: &str) -> Say {
        let headers = vec![
            ("content-type", "text/csv".to_owned()),
            ("sforce-locator", locator.to_owned()),
        ];
        Say::Raw(200, headers, body.to_owned())
    }

    fn count(n: u64) -> Say {
        Say::Json(200, json!({ "sObjects": [{ "count": n, "name": "Contact" }] }))
    }

    const HEAD: &str = "\"Id\",\"SystemModstamp\",\"IsDeleted\",\"Email\",\"Account.Name\"\n";
    const FIRST: &str =
        "\"003000000000001AAA\",\"2026-05-01T07:25:37.000+0000\",\"false\",\"a@one.example\",\"One, \"\"Ltd\"\"\"\n";
    const SECOND: &str = "\"003000000000002AAA\",\"2026-05-01T07:25:38.000Z\",\"true\",\"\",\"\"\n";

    #[tokio::test]
    async fn a_job_is_asked_for_once_looked_at_later_each_time_and_read_to_its_end() {
        let server = Server::script(vec![
            count(2),
            job("UploadComplete", json!({})),
            job("InProgress", json!({})),
            job("JobComplete", json!({ "numberRecordsProcessed": 2 })),
            results("next", &format!("{HEAD}{FIRST}")),
            results("null", SECOND),
        ])
        .await;
        let (tool, ask) = (tool(&server), ask());
        let mut page = tool.page(&ask, None).await.expect("a job");
        let (mut rows, mut pauses) = (Vec::new(), Vec::new());
        while let Some(next) = page.next.take() {
            pauses.extend(page.pause);
            page = tool.page(&ask, Some(&next)).await.expect("a page");
            rows.append(&mut page.rows);
        }
        let ms = |pause: &Duration| u64::try_from(pause.as_millis()).unwrap_or(0);
        assert_eq!(pauses.iter().map(ms).collect::<Vec<_>>(), [100, 200]);
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].cells["Account.Name"], "One, \"Ltd\"");
        assert_eq!(rows[0].modified, "2026-05-01T07:25:37Z".parse().ok());
        // The second page had no header.
        assert!(rows[1].deleted && !rows[1].cells.contains_key("Email"));
        let lines = server.lines();
        assert_eq!(lines.len(), 6);
        assert!(
            lines[5].ends_with("/results?maxRecords=200&locator=next"),
            "{}",
            lines[5]
        );
        let asked = server.seen()[1].body["query"].as_str().unwrap_or_default().to_owned();
        assert!(!asked.contains("ORDER BY"), "{asked}");
    }

    #[tokio::test]
    async fn a_job_that_fails_or_shows_too_few_is_an_error_with_the_reason() {
        let cursor = Cursor::Job {
            id: ID.to_owned(),
            looks: 0,
        }
        .text();
        let said = async |answers: Vec<Say>| {
            let server = Server::script(answers).await;
            match tool(&server).page(&ask(), Some(&cursor)).await {
                Err(SendError::Refused { code, message, .. }) => format!("{code}: {message}"),
                other => panic!("{other:?}"),
            }
        };
        let failed = said(vec![job(
            "Failed",
            json!({ "errorMessage": "INVALID_FIELD: no such column" }),
        )])
        .await;
        assert!(failed.starts_with("INVALID_FIELD"), "{failed}");
        let aborted = said(vec![job("Aborted", json!({}))]).await;
        assert!(aborted.starts_with("BULK_ABORTED"), "{aborted}");
        let done = || job("JobComplete", json!({ "numberRecordsProcessed": 2 }));
        let short = said(vec![done(), results("null", &format!("{HEAD}{FIRST}"))]).await;
        assert!(short.starts_with("INCOMPLETE"), "{short}");
        let half = said(vec![done(), results("null", &HEAD[..20])]).await;
        assert!(
            half.starts_with("UNEXPECTED") || half.starts_with("INCOMPLETE"),
            "{half}"
        );
    }

    #[tokio::test]
    async fn a_page_that_is_too_large_is_asked_for_in_smaller_ones() {
        let wide = "x".repeat(4_000);
        let server = Server::script(vec![results("null", &wide), results("null", &format!("{HEAD}{FIRST}"))]).await;
        let bulk_reading = BulkReading {
            from_records: 1,
            page_records: 400,
            first_pause_ms: 1,
        };
        let tool = salesforce::Salesforce::new(Connection {
            bulk_reading,
            max_body_bytes: 100,
            ..server.connection()
        })
        .expect("a tool");
        let page = tool.job_page(&ask(), ID.to_owned(), (0, 1), 400, String::new()).await;
        let next = page.expect("too large is no error").next.expect("smaller pages");
        let page = tool.page(&ask(), Some(&next)).await.expect("a page");
        assert_eq!((page.rows.len(), page.next), (1, None));
        assert!(server.lines()[1].contains("maxRecords=200"), "{:?}", server.lines());
    }

    #[tokio::test]
    async fn a_reading_that_is_given_up_ends_its_job_and_nothing_else() {
        let server = Server::script(vec![job("Aborted", json!({}))]).await;
        let tool = tool(&server);
        let under_way = Cursor::Job {
            id: ID.to_owned(),
            looks: 2,
        };
        tool.abandon(&ask(), &under_way.text()).await.expect("ended");
        let query = Cursor::Query {
            read: 1,
            total: 2,
            locator: "0r8-1".to_owned(),
        };
        tool.abandon(&ask(), &query.text()).await.expect("nothing to end");
        assert_eq!(server.lines(), [format!("PATCH /services/data/v68.0/jobs/query/{ID}")]);
        assert_eq!(server.seen()[0].body, json!({ "state": "Aborted" }));
    }

    #[tokio::test]
    async fn few_records_and_changes_are_read_by_pages() {
        let empty = || Say::Json(200, json!({ "totalSize": 0, "done": true, "records": [] }));
        let server = Server::script(vec![count(1), empty(), empty()]).await;
        let tool = tool(&server);
        tool.page(&ask(), None).await.expect("a page");
        let since = Ask {
            since: "2026-11-29T10:00:00Z".parse().ok(),
            ..ask()
        };
        tool.page(&since, None).await.expect("a page");
        let lines = server.lines();
        assert!(lines[0].contains("recordCount") && lines[1].contains("queryAll") && lines[2].contains("queryAll"));
        assert_eq!(lines.len(), 3);
    }
}
