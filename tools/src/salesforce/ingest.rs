//! Very many records in one job: Bulk 2.0 ingest.
//!
//! INVARIANT (nothing is written before a job is closed): whatever fails before that is no lost answer. Afterwards a job is looked
//! at until it has ended; what it says of its rows is not believed, the records are read back like those of a collection.
//!
//! Bodies, headers and the order of states are unverified: nobody here has an org.

use std::collections::BTreeMap;
use std::time::Duration;

use perennial_core::action::Effect;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::{Salesforce, data, read, wire};
use crate::error::Lost;
use crate::fields::Wanted;
use crate::http::path::segment;
use crate::http::scrub::scrub;
use crate::http::{Call, Reply};
use crate::many::Said;
use crate::{Go, Lane, SendError};

/// Records of one job that we send: few against what a job takes, so that a lost answer is looked up in a few requests.
pub(super) const ROWS_MAX: usize = 10_000;
/// Largest file that we send, in bytes; the vendor advises to stay below a hundred million.
const FILE_MAX: usize = 90_000_000;
/// Longest time that a job is waited for. Then it is ended, and its records are looked up.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// Longest pause between two looks.
const PAUSE_MAX: Duration = Duration::from_secs(20);
/// Pause between two looks whether the job is to be halted: a stop is felt within a second.
const HALT_LOOK: Duration = Duration::from_millis(400);
/// What we ask the caller to wait when a job could not be begun.
const BEGIN_WAIT: Duration = Duration::from_secs(15);
/// What stands in a cell to clear the field. An empty cell leaves it as it is.
const NOTHING: &str = "#N/A";

/// What a job says of itself.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Job {
    id: String,
    state: String,
    number_records_processed: u64,
    number_records_failed: u64,
    error_message: String,
}

/// How rows find their records.
#[derive(Debug, Clone, Copy)]
pub(super) enum By {
    /// They exist, by their id.
    Id,
    /// By an external id: made where there is none.
    Key(&'static str),
}

impl By {
    fn column(self) -> &'static str {
        match self {
            By::Id => "Id",
            By::Key(field) => field,
        }
    }
}

/// Rows for a job.
pub(super) struct Rows {
    by: By,
    columns: Vec<String>,
    ids: Vec<String>,
    file: Vec<u8>,
}

impl Rows {
    /// The rows as a file; none where they do not fit into one, or hold a text that means something else in it.
    pub(super) fn of<'a>(by: By, rows: impl Iterator<Item = (&'a str, Vec<&'a Wanted>)>) -> Option<Rows> {
        let rows: Vec<(&str, BTreeMap<&str, String>)> = rows
            .map(|(id, wanted)| {
                let cells = wanted
                    .into_iter()
                    .map(|field| Some((field.name.as_ref(), cell(&field.send)?)));
                Some((id, cells.collect::<Option<BTreeMap<_, _>>>()?))
            })
            .collect::<Option<_>>()?;
        let names: std::collections::BTreeSet<&str> =
            rows.iter().flat_map(|(_, cells)| cells.keys().copied()).collect();
        let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
        let columns: Vec<String> = std::iter::once(by.column())
            .chain(names.iter().copied())
            .map(str::to_owned)
            .collect();
        writer.write_record(&columns).ok()?;
        for (id, cells) in &rows {
            let cells = names.iter().map(|name| cells.get(name).map_or("", String::as_str));
            writer.write_record(std::iter::once(*id).chain(cells)).ok()?;
        }
        let file = writer.into_inner().ok()?;
        (file.len() <= FILE_MAX && rows.len() <= ROWS_MAX).then(|| Rows {
            by,
            columns,
            ids: rows.iter().map(|(id, _)| (*id).to_owned()).collect(),
            file,
        })
    }
}

/// A value as it stands in a file; none for a text that would be read as another value.
fn cell(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(NOTHING.to_owned()),
        Value::String(text) if text == NOTHING || text.is_empty() => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

impl Salesforce {
    /// Whether so many records go as a job.
    pub(super) fn is_bulk(&self, records: usize) -> bool {
        self.bulk_writing.from_records > 0 && records >= self.bulk_writing.from_records
    }

    /// Has rows uploaded; nothing is written by that. The id of the job.
    ///
    /// # Errors
    /// [`SendError`]; nothing was written.
    pub(super) async fn begin_ingest(
        &self,
        object: &'static str,
        rows: &Rows,
        lane: Lane,
    ) -> Result<String, SendError> {
        let mut body = json!({
            "object": object, "contentType": "CSV", "lineEnding": "LF",
            "operation": match rows.by { By::Id => "update", By::Key(_) => "upsert" },
        });
        if let By::Key(field) = rows.by {
            body["externalIdFieldName"] = Value::from(field);
        }
        // A job that is made twice is an empty one that nobody closes.
        let call = Call::write(Method::POST, object, jobs(), body).harmless().on(lane);
        let job: Job = self.http.send(&call).await?.ok()?.json()?;
        let path = format!("{}/batches", path_of(object, &job.id)?);
        let upload = Call {
            method: Method::PUT,
            body: None,
            rows: Some(rows.file.clone()),
            ..Call::write(Method::PUT, object, path, Value::Null).on(lane)
        };
        match self.http.send(&upload).await.and_then(Reply::ok) {
            Ok(_) => Ok(job.id),
            Err(error) => {
                self.abort_job(object, &job.id, lane).await;
                Err(not_begun(error))
            }
        }
    }

    /// Ends a job that was not closed, or not in time. What it says to that changes nothing.
    pub(super) async fn abort_job(&self, object: &'static str, id: &str, lane: Lane) {
        let Ok(path) = path_of(object, id) else { return };
        let call = Call::write(Method::PATCH, object, path, json!({ "state": "Aborted" }))
            .harmless()
            .on(lane);
        if let Err(error) = self.http.send(&call).await.and_then(Reply::ok) {
            tracing::debug!(%error, "a bulk job could not be ended");
        }
    }

    /// Closes a job, which begins the writing, and waits for its end; what it says of each row. When what it writes is halted, the
    /// job is ended, and it says nothing of any row.
    ///
    /// # Errors
    /// [`SendError::Unknown`] where some rows may have been written and nobody knows which; else nothing was written.
    pub(super) async fn close_job(
        &self,
        object: &'static str,
        id: &str,
        rows: &Rows,
        (effects, go): (&[&Effect], &dyn Go),
        lane: Lane,
    ) -> Result<Vec<Said>, SendError> {
        let path = path_of(object, id)?;
        let close = Call::write(
            Method::PATCH,
            object,
            path.clone(),
            json!({ "state": "UploadComplete" }),
        )
        .on(lane);
        match self.http.send(&close).await.and_then(Reply::ok) {
            Ok(_) => {}
            // It may be closed: its state says so.
            Err(SendError::Unknown { .. }) => {}
            Err(error) => {
                self.abort_job(object, id, lane).await;
                return Err(error);
            }
        }
        let Some(job) = self.await_job(object, &path, (effects, go), lane).await else {
            self.abort_job(object, id, lane).await;
            let ended = || Said::Unclear(lost("a bulk job that was ended because of a stop"));
            return Ok(rows.ids.iter().map(|_| ended()).collect());
        };
        match job.state.as_str() {
            "JobComplete" => {}
            "Open" => {
                self.abort_job(object, id, lane).await;
                return Err(SendError::Busy {
                    retry_after: BEGIN_WAIT,
                    why: "a bulk job could not be closed".to_owned(),
                });
            }
            "Failed" if job.number_records_processed == 0 => return Err(failed(object, &job.error_message)),
            _ => {
                self.abort_job(object, id, lane).await;
                return Err(lost(&format!(
                    "a bulk job that did not end, last seen as `{}`",
                    job.state.chars().take(40).collect::<String>()
                )));
            }
        }
        let mut errors = BTreeMap::new();
        if job.number_records_failed > 0 {
            let call = Call::get(object, format!("{path}/failedResults")).csv().on(lane);
            let failed = self.http.send(&call).await.and_then(Reply::ok);
            // Without them the records themselves say which were written.
            errors = failed
                .and_then(|reply| failures(object, rows, &reply.body))
                .unwrap_or_default();
        }
        let is_whole =
            job.number_records_processed == rows.ids.len() as u64 && job.number_records_failed == errors.len() as u64;
        let said = rows.ids.iter().map(|id| match errors.remove(id) {
            Some(error) => Said::No(error),
            None if is_whole => Said::Yes(None),
            None => Said::Unclear(lost("a bulk job that does not say what became of a record")),
        });
        Ok(said.collect())
    }

    /// Looks at a job until it has ended, or for as long as it is waited for; nothing when it is halted. What could not be read says
    /// nothing.
    async fn await_job(
        &self,
        object: &'static str,
        path: &str,
        (effects, go): (&[&Effect], &dyn Go),
        lane: Lane,
    ) -> Option<Job> {
        let begun = Instant::now();
        let mut pause = Duration::from_millis(self.bulk_writing.first_pause_ms.max(1));
        let mut last = Job::default();
        loop {
            let until = Instant::now() + pause;
            while Instant::now() < until {
                if go.halted(effects).await {
                    return None;
                }
                sleep_until(until.min(Instant::now() + HALT_LOOK)).await;
            }
            pause = (pause * 2).min(PAUSE_MAX);
            let looked = self.http.send(&Call::get(object, path.to_owned()).on(lane)).await;
            if let Ok(job) = looked.and_then(Reply::ok).and_then(|reply| reply.json::<Job>()) {
                last = job;
                let goes_on = matches!(last.state.as_str(), "UploadComplete" | "InProgress");
                if !goes_on {
                    return Some(last);
                }
            }
            if begun.elapsed() >= WAIT_MAX {
                return Some(last);
            }
        }
    }
}

/// Errors by the id or key of the row. Their text is `CODE:message:fields`.
fn failures(object: &str, rows: &Rows, body: &[u8]) -> Result<BTreeMap<String, SendError>, SendError> {
    let broken = || read::unexpected(object, "results that are not CSV");
    let mut reader = csv::ReaderBuilder::new().from_reader(body);
    let header = reader.headers().map_err(|_| broken())?.clone();
    let place = |name: &str| {
        header
            .iter()
            .position(|column| column.eq_ignore_ascii_case(name))
            .ok_or_else(broken)
    };
    let (error, id) = (place("sf__Error")?, place(rows.by.column())?);
    let mut errors = BTreeMap::new();
    for record in reader.records() {
        let record = record.map_err(|_| broken())?;
        let (Some(text), Some(id)) = (record.get(error), record.get(id)) else {
            return Err(broken());
        };
        let (code, message) = text.split_once(':').unwrap_or((text, ""));
        let sent: Vec<Value> = rows
            .columns
            .iter()
            .filter_map(|column| header.iter().position(|name| name == column))
            .filter_map(|place| record.get(place).map(Value::from))
            .collect();
        let error = match wire::wait(code) {
            Some(retry_after) => SendError::Busy {
                retry_after,
                why: code.to_owned(),
            },
            None => SendError::refused(
                object,
                code,
                &scrub(message, Some(&Value::Array(sent))),
                wire::remedy(code),
            ),
        };
        errors.insert(id.to_owned(), error);
    }
    Ok(errors)
}

/// A job that failed as a whole.
fn failed(object: &str, message: &str) -> SendError {
    let code = message
        .split([':', ' '])
        .next()
        .filter(|code| !code.is_empty())
        .unwrap_or("BULK_FAILED");
    SendError::refused(object, code, message, wire::remedy(code))
}

/// Nothing is written before a job is closed.
fn not_begun(error: SendError) -> SendError {
    match error {
        SendError::Unknown { .. } => SendError::Busy {
            retry_after: BEGIN_WAIT,
            why: "a bulk job could not be begun".to_owned(),
        },
        error => error,
    }
}

fn lost(what: &str) -> SendError {
    SendError::lost(Lost::Batch { what: what.to_owned() })
}

fn jobs() -> String {
    format!("{}/jobs/ingest", data())
}

fn path_of(object: &'static str, id: &str) -> Result<String, SendError> {
    let is_id = matches!(id.len(), 15 | 18) && id.bytes().all(|b| b.is_ascii_alphanumeric());
    if !is_id {
        return Err(read::unexpected(object, "a bulk job without an id"));
    }
    Ok(format!("{}/{}", jobs(), segment(object, id)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(name: &'static str, send: Value) -> Wanted {
        Wanted {
            send,
            ..Wanted::text(name, "x")
        }
    }

    #[test]
    fn rows_have_all_columns_and_leave_alone_what_is_not_sent() {
        let (a, b) = (wanted("A__c", json!("one, \"two\"")), wanted("B__c", json!(72)));
        let cleared = wanted("B__c", Value::Null);
        let rows = [("001", vec![&a, &b]), ("002", vec![&cleared])];
        let rows = Rows::of(By::Id, rows.into_iter()).expect("rows");
        let text = String::from_utf8(rows.file).expect("text");
        assert_eq!(text, "Id,A__c,B__c\n001,\"one, \"\"two\"\"\",72\n002,,#N/A\n");
        let misread = wanted("A__c", json!("#N/A"));
        assert!(Rows::of(By::Id, [("001", vec![&misread])].into_iter()).is_none());
    }

    #[test]
    fn failures_are_found_by_their_rows() {
        let a = wanted("Name", json!("Northwind Traders"));
        let rows = Rows::of(By::Id, [("001", vec![&a]), ("002", vec![&a])].into_iter()).expect("rows");
        let body = "\"sf__Id\",\"sf__Error\",\"Id\",\"Name\"\n\
            \"\",\"STRING_TOO_LONG:Northwind Traders is too long:Name --\",\"002\",\"Northwind Traders\"\n\
            \"\",\"UNABLE_TO_LOCK_ROW:busy:--\",\"001\",\"Northwind Traders\"\n";
        let errors = failures("Account", &rows, body.as_bytes()).expect("errors");
        let SendError::Refused { code, message, .. } = &errors["002"] else {
            panic!("refused")
        };
        assert!(code == "STRING_TOO_LONG" && !message.contains("Northwind"), "{message}");
        assert!(matches!(errors["001"], SendError::Busy { .. }));
        assert!(failures("Account", &rows, b"<html>").is_err());
    }
}
