//! Bulk 2.0: jobs that write the rows of a CSV, and jobs that read a query as one.
//!
//! A job goes on by itself, not by being asked: each request to the server brings every waiting job one step further, so
//! that a test without sleeps sees every state. Bodies, headers and the order of states are unverified.

mod read;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::check::stamp;
use super::errors::Refusal;
use super::records::{self, MayCreate, Upserted, Via};
use super::schema::{Kind, Object};
use super::{VERSION, body_fields, ids, user_id};
use crate::wire::{Call, Reply};
use crate::world::{Fields, World};
use read::{Read, ask, collect};

/// Jobs that are kept. The vendor keeps them for seven days.
const JOBS_MAX: usize = 1_000;
/// What stands in a cell to clear the field. An empty cell leaves it as it is.
const NOTHING: &str = "#N/A";

/// All jobs.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    made: u64,
    ingest: BTreeMap<String, Ingest>,
    query: BTreeMap<String, Read>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    UploadComplete,
    InProgress,
    JobComplete,
    Failed,
    Aborted,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            State::Open => "Open",
            State::UploadComplete => "UploadComplete",
            State::InProgress => "InProgress",
            State::JobComplete => "JobComplete",
            State::Failed => "Failed",
            State::Aborted => "Aborted",
        }
    }
}

/// What both kinds of job say of themselves.
#[derive(Debug)]
struct Head {
    id: String,
    operation: String,
    object: String,
    state: State,
    created: jiff::Timestamp,
    changed: jiff::Timestamp,
    delimiter: (&'static str, u8),
    line: &'static str,
    error: Option<String>,
}

#[derive(Debug)]
struct Ingest {
    head: Head,
    object: &'static Object,
    key: Option<String>,
    via: Via,
    data: String,
    header: Vec<String>,
    done: Vec<Done>,
}

/// One row of a job that was tried.
#[derive(Debug)]
struct Done {
    row: Vec<String>,
    /// Id and whether it is new, or the error.
    outcome: Result<(String, bool), String>,
}

const DELIMITERS: &[(&str, u8)] = &[
    ("COMMA", b','),
    ("SEMICOLON", b';'),
    ("TAB", b'\t'),
    ("PIPE", b'|'),
    ("CARET", b'^'),
    ("BACKQUOTE", b'`'),
];

/// Answers a request below `/jobs`.
pub(super) fn answer(world: &mut World, call: &Call, path: &[&str]) -> Result<Reply, Refusal> {
    match (call.method.as_str(), path) {
        ("POST", ["ingest"]) => create(world, call),
        ("PUT", ["ingest", id, "batches"]) => upload(world, call, id),
        ("PATCH", ["ingest", id]) => close(world, call, id),
        ("GET", ["ingest", id]) => Ok(Reply::json(200, ingest(world, id)?.info())),
        ("DELETE", ["ingest", id]) => {
            ingest(world, id)?.head.ended()?;
            world.jobs.ingest.remove(*id);
            Ok(Reply::empty(204))
        }
        ("GET", ["ingest", id, "successfulResults"]) => Ok(ingest(world, id)?.successful()),
        ("GET", ["ingest", id, "failedResults"]) => Ok(ingest(world, id)?.failed()),
        ("GET", ["ingest", id, "unprocessedrecords"]) => Ok(ingest(world, id)?.unprocessed()),
        ("POST", ["query"]) => ask(world, call),
        ("GET", ["query", id]) => Ok(Reply::json(200, asked(world, id)?.info())),
        ("GET", ["query", id, "results"]) => asked(world, id)?.page(call),
        ("PATCH", ["query", id]) => {
            asked(world, id)?;
            let now = world.now();
            let job = world.jobs.query.get_mut(*id).ok_or_else(Refusal::not_found)?;
            job.head.go(State::Aborted, now);
            Ok(Reply::json(200, job.info()))
        }
        ("DELETE", ["query", id]) => {
            asked(world, id)?.head.ended()?;
            world.jobs.query.remove(*id);
            Ok(Reply::empty(204))
        }
        _ => Err(Refusal::not_found()),
    }
}

/// Brings every waiting job one step further.
pub(super) fn advance(world: &mut World) {
    let now = world.now();
    let mut due = Vec::new();
    for (id, job) in &mut world.jobs.ingest {
        match job.head.state {
            State::UploadComplete => job.head.go(State::InProgress, now),
            State::InProgress => due.push(id.clone()),
            State::Open | State::JobComplete | State::Failed | State::Aborted => {}
        }
    }
    for id in due {
        process(world, &id);
    }
    let mut due = Vec::new();
    for (id, job) in &mut world.jobs.query {
        match job.head.state {
            State::UploadComplete => job.head.go(State::InProgress, now),
            State::InProgress => due.push(id.clone()),
            State::Open | State::JobComplete | State::Failed | State::Aborted => {}
        }
    }
    for id in due {
        collect(world, &id);
    }
}

fn ingest<'a>(world: &'a World, id: &str) -> Result<&'a Ingest, Refusal> {
    world.jobs.ingest.get(id).ok_or_else(Refusal::not_found)
}

fn asked<'a>(world: &'a World, id: &str) -> Result<&'a Read, Refusal> {
    world.jobs.query.get(id).ok_or_else(Refusal::not_found)
}

fn head(world: &mut World, body: &Fields, object: &str, state: State) -> Result<Head, Refusal> {
    if world.jobs.ingest.len() + world.jobs.query.len() >= JOBS_MAX {
        return Err(Refusal::bad("LIMIT_EXCEEDED", "there are too many jobs; delete some"));
    }
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or("");
    let asked = text("columnDelimiter");
    let delimiter = DELIMITERS
        .iter()
        .find(|(name, _)| *name == asked || (asked.is_empty() && *name == "COMMA"));
    let delimiter = *delimiter.ok_or_else(|| Refusal::bad("INVALIDJOB", format!("unknown columnDelimiter {asked}")))?;
    if !matches!(text("contentType"), "" | "CSV") {
        return Err(Refusal::bad("INVALIDJOB", "contentType must be CSV"));
    }
    world.jobs.made += 1;
    let now = world.now();
    Ok(Head {
        id: ids::make("750", world.jobs.made),
        operation: text("operation").to_owned(),
        object: object.to_owned(),
        state,
        created: now,
        changed: now,
        delimiter,
        line: if text("lineEnding") == "CRLF" { "CRLF" } else { "LF" },
        error: None,
    })
}

fn create(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    let body = body_fields(call)?;
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or("");
    let object = world.schema.object(text("object")).ok_or_else(|| {
        let message = format!("InvalidEntity : Object {} not found", text("object"));
        Refusal::bad("INVALIDENTITY", message)
    })?;
    let key = match text("operation") {
        "insert" | "update" | "delete" => None,
        "upsert" => {
            let name = text("externalIdFieldName");
            let field = object
                .field(name)
                .filter(|field| field.key != super::schema::Key::No || field.name == "Id");
            let message = format!("InvalidBatch : Field name not found : {name}");
            Some(
                field
                    .ok_or_else(|| Refusal::bad("INVALIDJOB", message))?
                    .name
                    .to_owned(),
            )
        }
        other => return Err(Refusal::bad("INVALIDJOB", format!("unknown operation `{other}`"))),
    };
    let head = head(world, &body, object.name, State::Open)?;
    let job = Ingest {
        head,
        object,
        key,
        via: Via::of(call),
        data: String::new(),
        header: Vec::new(),
        done: Vec::new(),
    };
    let info = job.info();
    world.jobs.ingest.insert(job.head.id.clone(), job);
    Ok(Reply::json(200, info))
}

fn upload(world: &mut World, call: &Call, id: &str) -> Result<Reply, Refusal> {
    let now = world.now();
    let job = world.jobs.ingest.get_mut(id).ok_or_else(Refusal::not_found)?;
    if job.head.state != State::Open || !job.data.is_empty() {
        return Err(Refusal::bad(
            "INVALIDJOBSTATE",
            "the data of this job was uploaded already",
        ));
    }
    let kind = call.header("content-type").unwrap_or("");
    if !kind.starts_with("text/csv") {
        let message = format!("the content type must be text/csv, not {kind}");
        return Err(Refusal::new(415, "UNSUPPORTED_MEDIA_TYPE", message));
    }
    job.data = String::from_utf8_lossy(&call.body).into_owned();
    job.head.changed = now;
    Ok(Reply::empty(201))
}

fn close(world: &mut World, call: &Call, id: &str) -> Result<Reply, Refusal> {
    let body = body_fields(call)?;
    let now = world.now();
    let job = world.jobs.ingest.get_mut(id).ok_or_else(Refusal::not_found)?;
    let wanted = body.get("state").and_then(Value::as_str).unwrap_or("");
    let next = match (wanted, job.head.state) {
        ("UploadComplete", State::Open) => State::UploadComplete,
        ("Aborted", State::Open | State::UploadComplete | State::InProgress) => State::Aborted,
        _ => {
            let message = format!("a job that is {} cannot become {wanted}", job.head.state.word());
            return Err(Refusal::bad("INVALIDJOBSTATE", message));
        }
    };
    job.head.go(next, now);
    Ok(Reply::json(200, job.info()))
}

fn process(world: &mut World, id: &str) {
    // The job is taken out, so that its rows can be written into the world it lives in.
    let Some(mut job) = world.jobs.ingest.remove(id) else {
        return;
    };
    let now = world.now();
    match rows(&job.data, job.head.delimiter.1) {
        Err(message) => {
            job.head.error = Some(format!("InvalidBatch : {message}"));
            job.head.go(State::Failed, now);
        }
        Ok((header, rows)) => {
            let unknown = header.iter().find(|name| !known(job.object, name)).cloned();
            job.header = header;
            if let Some(name) = unknown {
                job.head.error = Some(format!("InvalidBatch : Field name not found : {name}"));
                job.head.go(State::Failed, now);
            } else {
                for row in rows {
                    let outcome = write(world, &job, &row).map_err(|refusal| {
                        let fields = if refusal.fields.is_empty() {
                            "--".to_owned()
                        } else {
                            format!("{} --", refusal.fields.join(", "))
                        };
                        format!("{}:{}:{fields}", refusal.code, refusal.message)
                    });
                    job.done.push(Done { row, outcome });
                }
                job.head.go(State::JobComplete, now);
            }
        }
    }
    world.jobs.ingest.insert(id.to_owned(), job);
}

fn known(object: &'static Object, name: &str) -> bool {
    let first = name.split('.').next().unwrap_or("");
    object.field(name).is_some()
        || (name.contains('.') && object.all().any(|field| field.relationship().as_deref() == Some(first)))
}

fn write(world: &mut World, job: &Ingest, row: &[String]) -> Result<(String, bool), Refusal> {
    let mut fields = Fields::new();
    let mut id = None;
    let mut key = None;
    for (name, cell) in job.header.iter().zip(row) {
        if name.eq_ignore_ascii_case("Id") {
            id = Some(cell.clone()).filter(|id| !id.is_empty());
        } else if job.key.as_ref().is_some_and(|key| key.eq_ignore_ascii_case(name)) {
            key = Some(cell.clone()).filter(|key| !key.is_empty());
        } else if !cell.is_empty() {
            cell_into(&mut fields, job.object, name, cell);
        }
    }
    let missing = |name: &str| Refusal::bad("MISSING_ARGUMENT", format!("{name} not specified"));
    let located = |world: &World| records::locate(world, job.object, id.as_deref().unwrap_or(""));
    match job.head.operation.as_str() {
        "insert" => Ok((records::create(world, job.object, &fields, &job.via)?, true)),
        "update" => {
            let id = located(world)?;
            records::update(world, job.object, &id, &fields, &job.via)?;
            Ok((id, false))
        }
        "delete" => {
            let id = located(world)?;
            records::remove(world, job.object, &id, &job.via)?;
            Ok((id, false))
        }
        _ => {
            let name = job.key.as_deref().unwrap_or("Id");
            if name == "Id" {
                if id.is_none() {
                    return Ok((records::create(world, job.object, &fields, &job.via)?, true));
                }
                let id = located(world)?;
                records::update(world, job.object, &id, &fields, &job.via)?;
                return Ok((id, false));
            }
            let value = key.ok_or_else(|| missing(name))?;
            match records::upsert(world, job.object, name, &value, &fields, MayCreate::Yes, &job.via)? {
                Upserted::Created(id) => Ok((id, true)),
                Upserted::Updated(id) => Ok((id, false)),
                Upserted::Several(ids) => {
                    let message = format!(
                        "{name}: more than one record found for external id field: [{}]",
                        ids.join(", ")
                    );
                    Err(Refusal::bad("DUPLICATE_EXTERNAL_ID", message))
                }
            }
        }
    }
}

/// Puts a cell among the fields, in the type of its field.
fn cell_into(fields: &mut Fields, object: &'static Object, name: &str, cell: &str) {
    if let Some((relation, key)) = name.split_once('.') {
        fields.insert(relation.to_owned(), json!({ key: cell }));
        return;
    }
    let kind = object.field(name).map(|field| field.kind);
    let value = match kind {
        _ if cell == NOTHING => Value::Null,
        Some(Kind::Boolean) => match cell.to_ascii_lowercase().as_str() {
            "true" | "1" => Value::from(true),
            "false" | "0" => Value::from(false),
            _ => Value::from(cell),
        },
        Some(_) | None => Value::from(cell),
    };
    fields.insert(name.to_owned(), value);
}

type Parsed = (Vec<String>, Vec<Vec<String>>);

fn rows(data: &str, delimiter: u8) -> Result<Parsed, String> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .from_reader(data.as_bytes());
    let header: Vec<String> = match reader.headers() {
        Ok(header) => header.iter().map(str::to_owned).collect(),
        Err(source) => return Err(source.to_string()),
    };
    if header.is_empty() {
        return Err("the file has no header".to_owned());
    }
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|source| source.to_string())?;
        rows.push(record.iter().map(str::to_owned).collect());
    }
    Ok((header, rows))
}

impl Head {
    fn go(&mut self, state: State, now: jiff::Timestamp) {
        self.state = state;
        self.changed = now;
    }

    /// Refuses to delete a job that still runs.
    fn ended(&self) -> Result<(), Refusal> {
        match self.state {
            State::JobComplete | State::Failed | State::Aborted => Ok(()),
            State::Open | State::UploadComplete | State::InProgress => {
                Err(Refusal::bad("INVALIDJOBSTATE", "only a job that ended can be deleted"))
            }
        }
    }

    fn info(&self) -> Value {
        json!({
            "id": self.id, "operation": self.operation, "object": self.object, "createdById": user_id(),
            "createdDate": stamp(self.created), "systemModstamp": stamp(self.changed), "state": self.state.word(),
            "concurrencyMode": "Parallel", "contentType": "CSV", "apiVersion": 68.0, "lineEnding": self.line,
            "columnDelimiter": self.delimiter.0,
        })
    }

    fn csv<'a>(&self, rows: impl Iterator<Item = Vec<&'a str>>) -> String {
        let mut writer = csv::WriterBuilder::new()
            .delimiter(self.delimiter.1)
            .quote_style(csv::QuoteStyle::Always)
            .terminator(if self.line == "CRLF" {
                csv::Terminator::CRLF
            } else {
                csv::Terminator::Any(b'\n')
            })
            .from_writer(Vec::new());
        for row in rows {
            // Writing into memory cannot fail.
            let _ = writer.write_record(row);
        }
        String::from_utf8(writer.into_inner().unwrap_or_default()).unwrap_or_default()
    }
}

impl Ingest {
    fn info(&self) -> Value {
        let mut info = self.head.info();
        info["jobType"] = json!("V2Ingest");
        if let Some(key) = &self.key {
            info["externalIdFieldName"] = json!(key);
        }
        if self.head.state == State::Open {
            info["contentUrl"] = json!(format!("services/data/{VERSION}/jobs/ingest/{}/batches", self.head.id));
            return info;
        }
        let failed = self.done.iter().filter(|done| done.outcome.is_err()).count();
        let numbers = json!({
            "numberRecordsProcessed": self.done.len(), "numberRecordsFailed": failed, "retries": 0,
            "totalProcessingTime": 0, "apiActiveProcessingTime": 0, "apexProcessingTime": 0,
        });
        for (key, value) in numbers.as_object().into_iter().flatten() {
            info[key] = value.clone();
        }
        if let Some(error) = &self.head.error {
            info["errorMessage"] = json!(error);
        }
        info
    }

    fn columns<'a>(&'a self, first: &[&'a str]) -> Vec<&'a str> {
        first
            .iter()
            .copied()
            .chain(self.header.iter().map(String::as_str))
            .collect()
    }

    fn successful(&self) -> Reply {
        let rows = self.done.iter().filter_map(|done| {
            let (id, new) = done.outcome.as_ref().ok()?;
            let first = [id.as_str(), if *new { "true" } else { "false" }];
            Some(first.into_iter().chain(done.row.iter().map(String::as_str)).collect())
        });
        let header = self.columns(&["sf__Id", "sf__Created"]);
        Reply::csv(self.head.csv([header].into_iter().chain(rows)))
    }

    fn failed(&self) -> Reply {
        let rows = self.done.iter().filter_map(|done| {
            let error = done.outcome.as_ref().err()?;
            let first = ["", error.as_str()];
            Some(first.into_iter().chain(done.row.iter().map(String::as_str)).collect())
        });
        let header = self.columns(&["sf__Id", "sf__Error"]);
        Reply::csv(self.head.csv([header].into_iter().chain(rows)))
    }

    fn unprocessed(&self) -> Reply {
        let ended = matches!(self.head.state, State::Failed | State::Aborted);
        let (header, rows) = rows(&self.data, self.head.delimiter.1).unwrap_or_default();
        let header: Vec<&str> = header.iter().map(String::as_str).collect();
        let rest = rows.iter().skip(self.done.len()).filter(|_| ended);
        let rest = rest.map(|row| row.iter().map(String::as_str).collect());
        Reply::csv(
            self.head
                .csv([header].into_iter().filter(|header| !header.is_empty()).chain(rest)),
        )
    }
}
