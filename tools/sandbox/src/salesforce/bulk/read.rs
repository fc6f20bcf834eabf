//! Jobs that read a query as CSV, in pages.

use serde_json::{Value, json};

use super::super::body_fields;
use super::super::errors::Refusal;
use super::super::query::{self, Graves};
use super::super::select::Column;
use super::{Head, State, head};
use crate::wire::{Call, Reply};
use crate::world::World;

/// Rows of one page of results, unless the client asks for fewer.
const PAGE_ROWS: usize = 50_000;

#[derive(Debug)]
pub(super) struct Read {
    pub(super) head: Head,
    text: String,
    graves: Graves,
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// `POST /jobs/query`.
pub(super) fn ask(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    let body = body_fields(call)?;
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
    let graves = match text("operation").as_str() {
        "query" => Graves::Hidden,
        "queryAll" => Graves::Shown,
        other => return Err(Refusal::bad("INVALIDJOB", format!("unknown operation `{other}`"))),
    };
    let query = text("query");
    let object = {
        let (found, _) = query::run(world, &query, graves)?;
        let found = found.filter(|found| {
            !found.plan.is_aggregate()
                && found
                    .plan
                    .columns
                    .iter()
                    .all(|column| matches!(column, Column::Path(_)))
        });
        let message = "aggregates, child queries and TYPEOF are not supported in Bulk Query";
        found
            .ok_or_else(|| Refusal::bad("INVALIDJOB", message))?
            .plan
            .object
            .name
    };
    let job = Read {
        head: head(world, &body, object, State::UploadComplete)?,
        text: query,
        graves,
        header: Vec::new(),
        rows: Vec::new(),
    };
    let info = job.info();
    world.jobs.query.insert(job.head.id.clone(), job);
    Ok(Reply::json(200, info))
}

/// Runs the query of a job.
pub(super) fn collect(world: &mut World, id: &str) {
    let Some(mut job) = world.jobs.query.remove(id) else {
        return;
    };
    let now = world.now();
    match query::run(world, &job.text, job.graves) {
        Ok((Some(found), _)) => {
            let paths: Vec<_> = found
                .plan
                .columns
                .iter()
                .filter_map(|column| match column {
                    Column::Path(path) => Some(path),
                    Column::Children { .. } | Column::TypeOf { .. } | Column::Aggregate { .. } => None,
                })
                .collect();
            job.header = paths.iter().map(|path| path.header()).collect();
            job.rows = found
                .rows
                .iter()
                .map(|(id, row)| {
                    paths
                        .iter()
                        .map(|path| cell(&path.value(found.place, id, row)))
                        .collect()
                })
                .collect();
            job.head.go(State::JobComplete, now);
        }
        Ok((None, _)) => job.head.go(State::Failed, now),
        Err(refusal) => {
            job.head.error = Some(format!("{}: {}", refusal.code, refusal.message));
            job.head.go(State::Failed, now);
        }
    }
    world.jobs.query.insert(id.to_owned(), job);
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

impl Read {
    pub(super) fn info(&self) -> Value {
        let mut info = self.head.info();
        info["jobType"] = json!("V2Query");
        if self.head.state == State::JobComplete {
            info["numberRecordsProcessed"] = json!(self.rows.len());
            info["retries"] = json!(0);
            info["totalProcessingTime"] = json!(0);
        }
        if let Some(error) = &self.head.error {
            info["errorMessage"] = json!(error);
        }
        info
    }

    pub(super) fn page(&self, call: &Call) -> Result<Reply, Refusal> {
        if self.head.state != State::JobComplete {
            let message = format!("the job is {}, so it has no results", self.head.state.word());
            return Err(Refusal::bad("INVALIDJOBSTATE", message));
        }
        let bad = |name: &str| Refusal::bad("INVALID_REQUEST", format!("{name} cannot be read"));
        let most = match call.parameter("maxRecords") {
            None => PAGE_ROWS,
            Some(text) => text
                .parse::<usize>()
                .ok()
                .filter(|most| *most > 0)
                .ok_or_else(|| bad("maxRecords"))?,
        };
        let start = match call.parameter("locator") {
            None => 0,
            Some(text) => place(text)
                .filter(|at| *at < self.rows.len())
                .ok_or_else(|| bad("locator"))?,
        };
        let end = self.rows.len().min(start.saturating_add(most));
        let rows = self.rows.get(start..end).unwrap_or_default();
        let header: Vec<&str> = self.header.iter().map(String::as_str).collect();
        let lines = rows.iter().map(|row| row.iter().map(String::as_str).collect());
        let text = self.head.csv([header].into_iter().chain(lines));
        let locator = if end == self.rows.len() {
            "null".to_owned()
        } else {
            locator(end)
        };
        Ok(Reply::csv(text)
            .with("sforce-locator", locator)
            .with("sforce-numberofrecords", rows.len().to_string()))
    }
}

/// A place in the results. Opaque to clients.
fn locator(at: usize) -> String {
    format!("M{at:x}z")
}

fn place(locator: &str) -> Option<usize> {
    usize::from_str_radix(locator.strip_prefix('M')?.strip_suffix('z')?, 16).ok()
}
