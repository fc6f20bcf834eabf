//! Salesforce over its REST API: account and opportunity fields, tasks and notes, and what people are to deals.
//!
//! Promises: a field is written only where the live value differs, guarded by the record's ETag where Salesforce gives
//! one and by the second of its last change where it does not; a task or note goes by the effect's id as external id, so that
//! doing it twice makes one record, and one that a person has since worked on is left alone. What is reported as written was
//! read back. Many effects of one kind go as collections ([`many`]) and very many as a bulk job ([`ingest`]); neither knows a
//! condition.
//!
//! Deliberately not here: sign-in flows (the token comes in), mapping people to users.

mod bulk;
mod check;
mod gather;
mod ids;
mod ingest;
mod many;
mod map;
mod read;
mod roles;
mod stages;
#[cfg(test)]
mod tests;
mod undo;
#[doc(hidden)]
pub mod wire;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use perennial_core::action::{Done, Effect, Permit, Receipt};
use perennial_core::signal::Crm;
use perennial_core::time::Timestamp;
use reqwest::header::{self, HeaderValue};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::fields::{self, Live, Wanted};
use crate::http::path::{encode, segment};
use crate::http::scrub::scrub;
use crate::http::{Call, Http, Reply};
use crate::proof::{self, Sent};
use crate::{
    Answer, Answers, Ask, BulkReading, BulkWriting, Connection, ConnectionError, CreateMissing, Diff, Finding, Go, Job,
    Known, LookUp, ReadPage, ReadRow, SendError, Tool, Undoing, WriteMap, ownership,
};
use gather::several_of;
use map::{ACCOUNT, ACCOUNT_KEY, EFFECT_KEY, Place, Plan};
use stages::Stages;
use wire::{Organization, QueryPage, SaveResult};

/// The API version this adapter was written against.
const VERSION: &str = "v68.0";

/// How often a change is decided anew when the record changes under it.
const ROUNDS: u32 = 2;

/// Wait when the record still changes: longer than a person's or another integration's burst of saves.
const CONTENTION_WAIT: Duration = Duration::from_secs(10);

/// Salesforce.
pub struct Salesforce {
    http: Http,
    create_missing: CreateMissing,
    writes: WriteMap,
    bulk_writing: BulkWriting,
    is_sandbox: OnceCell<bool>,
    bulk_reading: BulkReading,
    /// About how many records each object has, as last asked.
    counts: OnceCell<BTreeMap<String, u64>>,
    /// Stages of deals, as last asked.
    stages: Mutex<Option<Arc<Stages>>>,
}

/// A change of fields that is wanted.
#[derive(Clone, Copy)]
struct Change<'a> {
    object: &'static str,
    place: &'a Place,
    wanted: &'a [Wanted],
    known: &'a Known,
}

/// When a record last changed, whoever changed it.
const MODIFIED: &str = "SystemModstamp";

/// A record as it is now.
#[derive(Clone)]
struct Record {
    id: String,
    etag: Option<HeaderValue>,
    live: Live,
}

impl Record {
    /// The second of its last change, for a record without a tag: only accounts have tags. It is the weaker condition.
    fn unmodified_since(&self) -> Option<HeaderValue> {
        if self.etag.is_some() {
            return None;
        }
        let modified = self.live.get(MODIFIED)?.as_str()?;
        let modified: Timestamp = read::moment(modified.to_owned()).parse().ok()?;
        HeaderValue::from_str(&wire::http_date(modified)).ok()
    }
}

impl Salesforce {
    /// Sets up the connection; sends nothing.
    ///
    /// # Errors
    /// [`ConnectionError`] when address, token or a limit is not usable.
    pub fn new(connection: Connection) -> Result<Salesforce, ConnectionError> {
        Ok(Salesforce {
            http: Http::new(&connection, wire::DIALECT)?,
            create_missing: connection.create_missing_accounts,
            bulk_writing: connection.bulk_writing,
            bulk_reading: connection.bulk_reading,
            writes: connection.writes.unwrap_or_else(map::writes),
            is_sandbox: OnceCell::new(),
            counts: OnceCell::new(),
            stages: Mutex::new(None),
        })
    }

    async fn run(&self, effect: &Effect, known: &Known, at: Timestamp) -> Result<Receipt, SendError> {
        self.check_stage(effect).await?;
        match map::plan(effect, &self.writes)? {
            Plan::Change { object, place, wanted } => {
                let change = Change {
                    object,
                    place: &place,
                    wanted: &wanted,
                    known,
                };
                self.change(effect, change, at).await
            }
            Plan::Keyed { object, parent, wanted } => self.create(effect, object, parent, &wanted, at).await,
            Plan::Role(plan) => self.set_role(effect, &plan, known, at).await,
        }
    }

    async fn find(&self, effect: &Effect, at: Timestamp) -> Result<LookUp, SendError> {
        let (object, place, wanted) = match map::plan(effect, &self.writes)? {
            Plan::Change { object, place, wanted } => (object, place, wanted),
            Plan::Keyed { object, wanted, .. } => (object, key_of(effect), wanted),
            Plan::Role(plan) => return self.find_role(effect, &plan, at).await,
        };
        let Some(record) = self.fetch(effect, object, &place, &wanted).await? else {
            return Ok(LookUp::Absent);
        };
        Ok(self.took_place(object, &place, &wanted, &record, at))
    }

    /// Whether an effect took place, by the record as it is.
    fn took_place(&self, object: &str, place: &Place, wanted: &[Wanted], record: &Record, at: Timestamp) -> LookUp {
        let is_keyed = matches!(place, Place::Key(EFFECT_KEY, _));
        if is_keyed || fields::differing(wanted, &record.live).is_empty() {
            return LookUp::Done(self.found(object, &record.id, wanted, at));
        }
        LookUp::Absent
    }

    async fn live(&self, effect: &Effect) -> Result<Diff, SendError> {
        let (object, place, wanted) = match map::plan(effect, &self.writes)? {
            Plan::Change { object, place, wanted } => (object, place, wanted),
            Plan::Keyed { object, wanted, .. } => (object, key_of(effect), wanted),
            Plan::Role(plan) => return self.live_role(effect, &plan).await,
        };
        let record = self.fetch(effect, object, &place, &wanted).await?;
        Ok(Diff {
            object: object.to_owned(),
            url: record.as_ref().map(|record| self.url(object, &record.id)),
            fields: fields::changes(&wanted, record.as_ref().map(|record| &record.live)),
            record: record.map(|record| record.id),
        })
    }

    /// Reads, compares, writes what differs, and sees what came of it. INVARIANT (compare first): nothing is written over a value
    /// that was not read in the same round, and nothing over one that somebody else has put there; see [`crate::ownership`].
    async fn change(&self, effect: &Effect, change: Change<'_>, at: Timestamp) -> Result<Receipt, SendError> {
        let Change {
            object, place, wanted, ..
        } = change;
        let names = fields::names(&["Id", MODIFIED], wanted);
        let mut known = Cow::Borrowed(change.known);
        for _ in 0..ROUNDS {
            let record = match self.fetch_named(effect, object, place, &names).await? {
                Some(record) => record,
                None if object == ACCOUNT => {
                    let id = self.make_account(effect).await?;
                    let made = self.fetch_named(effect, object, &Place::Id(id), &names).await?;
                    made.ok_or_else(|| missing(object))?
                }
                None => return Err(missing(object)),
            };
            let differing = fields::differing(wanted, &record.live);
            if differing.is_empty() {
                return Ok(self.receipt(Done::NoChange, object, &record.id, at));
            }
            ownership::guard(object, &record.id, &differing, &record.live, &known)?;
            let sent = Sent {
                wanted,
                differing: &differing,
                before: &record.live,
            };
            let path = format!("{}/{}", sobject(object), segment(object, &record.id)?);
            let body = Value::Object(fields::body(differing.iter().copied()));
            let unmodified_since = record.unmodified_since();
            let guarded = record.etag.is_some() || unmodified_since.is_some();
            let call = Call {
                if_match: record.etag.clone(),
                unmodified_since,
                ..Call::write(Method::PATCH, object, path, body).serving(effect)
            };
            let reply = match self.http.send(&call).await {
                Ok(reply) => reply,
                Err(error) => return Err(error.with_image(sent.image())),
            };
            if guarded && reply.status == StatusCode::PRECONDITION_FAILED {
                // What changed meanwhile is somebody's edit, unless it is a field that we do not write.
                known = Cow::Owned(ownership::as_read(&known, wanted, &record.live));
                continue;
            }
            let written = reply.ok().and_then(|reply| {
                let says = (!reply.body.is_empty()).then(|| saved(object, &reply, call.body.as_ref()));
                says.transpose()
            });
            if let Err(error) = written {
                return Err(error.with_image(sent.image()));
            }
            let now = self.fetch(effect, object, &Place::Id(record.id.clone()), wanted).await;
            let now = now.map_err(|error| error.after("the fields were sent").with_image(sent.image()))?;
            let now = now.ok_or_else(|| missing(object))?;
            let image = proof::changed(Crm::Salesforce, object, sent, &now.live)?;
            return Ok(Receipt {
                before: image.before,
                after: image.after,
                ..self.receipt(Done::Updated, object, &record.id, at)
            });
        }
        Err(SendError::Busy {
            retry_after: CONTENTION_WAIT,
            why: "the record changes while we write".to_owned(),
        })
    }

    /// Makes a task or note once.
    async fn create(
        &self,
        effect: &Effect,
        object: &'static str,
        parent: &'static str,
        wanted: &[Wanted],
        at: Timestamp,
    ) -> Result<Receipt, SendError> {
        let key = key_of(effect);
        let found = |id: &str| self.found(object, id, wanted, at);
        if let Some(record) = self.fetch(effect, object, &key, wanted).await? {
            return Ok(found(&record.id));
        }
        let account = self.account_id(effect).await?;
        let mut wanted_there = wanted.to_vec();
        wanted_there.push(Wanted::text(parent, account));
        let path = place_path(object, &key)?;
        let call = Call::write(Method::PATCH, object, path, Value::Object(fields::body(&wanted_there))).serving(effect);
        let reply = self.http.send(&call).await?;
        if reply.status == StatusCode::MULTIPLE_CHOICES {
            return Err(several_of(object, &reply));
        }
        let reply = reply.ok()?;
        // Older versions answer a match without a body.
        let result = (!reply.body.is_empty()).then(|| saved(object, &reply, call.body.as_ref()));
        let result = result.transpose()?;
        if result.as_ref().is_some_and(|result| result.id.is_none()) {
            return Err(SendError::unreadable("success without an id"));
        }
        let record = self.fetch(effect, object, &key, &wanted_there).await;
        let record = record.map_err(|error| error.after("the record was written"))?;
        let record = record.ok_or_else(|| proof::not_made(Crm::Salesforce, object))?;
        let is_new = result.is_some_and(|result| result.created.unwrap_or(reply.status == StatusCode::CREATED));
        if !is_new {
            return Ok(found(&record.id));
        }
        Ok(Receipt {
            after: proof::made(Crm::Salesforce, &wanted_there, &record.live),
            ..self.receipt(Done::Created, object, &record.id, at)
        })
    }

    /// The receipt of a record of ours that was there already.
    fn found(&self, object: &str, id: &str, wanted: &[Wanted], at: Timestamp) -> Receipt {
        Receipt {
            after: fields::after(wanted),
            ..self.receipt(Done::AlreadyDone, object, id, at)
        }
    }

    /// The record id of the effect's account. With a known CRM id this costs no request.
    async fn account_id(&self, effect: &Effect) -> Result<String, SendError> {
        match map::account_place(effect)? {
            Place::Id(id) => Ok(id),
            place @ Place::Key(..) => match self.fetch(effect, ACCOUNT, &place, &[]).await? {
                Some(record) => Ok(record.id),
                None => self.make_account(effect).await,
            },
        }
    }

    /// Makes the account, where that is allowed. Not part of the effect: a later failure leaves it, and it is found again.
    async fn make_account(&self, effect: &Effect) -> Result<String, SendError> {
        let place = map::account_place(effect)?;
        let Place::Key(..) = place else {
            return Err(missing(ACCOUNT));
        };
        match self.create_missing {
            CreateMissing::Never => return Err(missing(ACCOUNT)),
            CreateMissing::InSandbox if !self.is_sandbox().await? => return Err(missing(ACCOUNT)),
            CreateMissing::InSandbox => {}
        }
        let body = Value::Object(fields::body([&map::account_name(effect)]));
        let call = Call::write(Method::PATCH, ACCOUNT, place_path(ACCOUNT, &place)?, body).serving(effect);
        let reply = self.http.send(&call).await?;
        if reply.status == StatusCode::MULTIPLE_CHOICES {
            return Err(several_of(ACCOUNT, &reply));
        }
        let result = saved(ACCOUNT, &reply.ok()?, call.body.as_ref())?;
        result.id.ok_or_else(|| SendError::unreadable("success without an id"))
    }

    async fn is_sandbox(&self) -> Result<bool, SendError> {
        let ask = || async {
            let query = encode("SELECT IsSandbox FROM Organization");
            let call = Call::get("Organization", format!("{}/query?q={query}", data()));
            let page: QueryPage<Organization> = self.http.send(&call).await?.ok()?.json()?;
            Ok(page.records.first().is_some_and(|row| row.is_sandbox))
        };
        self.is_sandbox.get_or_try_init(ask).await.copied()
    }

    /// Reads a record; `None` when there is none.
    async fn fetch(
        &self,
        effect: &Effect,
        object: &'static str,
        place: &Place,
        wanted: &[Wanted],
    ) -> Result<Option<Record>, SendError> {
        self.fetch_named(effect, object, place, &fields::names(&["Id"], wanted))
            .await
    }

    async fn fetch_named(
        &self,
        effect: &Effect,
        object: &'static str,
        place: &Place,
        names: &str,
    ) -> Result<Option<Record>, SendError> {
        let path = format!("{}?fields={names}", place_path(object, place)?);
        let reply = self.http.send(&Call::get(object, path).serving(effect)).await?;
        match reply.status {
            StatusCode::NOT_FOUND => return Ok(None),
            StatusCode::MULTIPLE_CHOICES => return Err(several_of(object, &reply)),
            _ => {}
        }
        let reply = reply.ok()?;
        let live: Live = reply.json()?;
        let Some(Value::String(id)) = live.get("Id").cloned() else {
            return Err(SendError::refused(
                object,
                "UNEXPECTED_ANSWER",
                "the record has no Id",
                "check that base_url is the Salesforce API",
            ));
        };
        if !ids::is_whole(&id) {
            return Err(SendError::refused(
                object,
                "UNEXPECTED_ANSWER",
                "the letters of the record's id have lost their case",
                "see what changes answers between us and the Salesforce API",
            ));
        }
        // A weak tag never matches, so it would stop every write.
        let etag = reply
            .headers
            .get(header::ETAG)
            .filter(|tag| !tag.as_bytes().starts_with(b"W/"))
            .cloned();
        Ok(Some(Record { id, etag, live }))
    }

    fn receipt(&self, done: Done, object: &str, record: &str, at: Timestamp) -> Receipt {
        Receipt {
            tool: Crm::Salesforce,
            done,
            object: object.to_owned(),
            record: record.to_owned(),
            url: self.url(object, record),
            before: BTreeMap::new(),
            after: BTreeMap::new(),
            at,
        }
    }

    fn url(&self, object: &str, record: &str) -> String {
        let base = self.http.base();
        if base.is_loopback() {
            base.sandbox_page(object, record)
        } else {
            format!("{}/{record}", base.as_str())
        }
    }
}

impl Tool for Salesforce {
    fn crm(&self) -> Crm {
        Crm::Salesforce
    }

    fn writes(&self) -> &WriteMap {
        &self.writes
    }

    fn execute<'a>(
        &'a self,
        permit: Permit,
        effect: &'a Effect,
        known: &'a Known,
        at: Timestamp,
    ) -> Answer<'a, Receipt> {
        Box::pin(async move {
            crate::covered(Crm::Salesforce, &permit, effect)?;
            self.run(effect, known, at).await
        })
    }

    fn together(&self, effect: &Effect) -> Option<&'static str> {
        many::together(effect, &self.writes)
    }

    fn batch_max(&self) -> usize {
        if self.bulk_writing.from_records > 0 {
            ingest::ROWS_MAX
        } else {
            gather::READ_MAX
        }
    }

    fn execute_many<'a>(&'a self, jobs: Vec<Job<'a>>, go: &'a dyn Go, at: Timestamp) -> Answers<'a, Receipt> {
        Box::pin(self.run_many(jobs, go, at))
    }

    fn look_up_many<'a>(&'a self, effects: Vec<&'a Effect>, at: Timestamp) -> Answers<'a, LookUp> {
        Box::pin(self.find_many(effects, at))
    }

    fn page<'a>(&'a self, ask: &'a Ask, cursor: Option<&'a str>) -> Answer<'a, ReadPage> {
        Box::pin(self.read_page(ask, cursor))
    }

    fn records<'a>(&'a self, ask: &'a Ask, ids: &'a [String]) -> Answer<'a, Vec<ReadRow>> {
        Box::pin(self.by_ids(ask, ids))
    }

    fn abandon<'a>(&'a self, ask: &'a Ask, cursor: &'a str) -> Answer<'a, ()> {
        Box::pin(self.give_up(ask, cursor))
    }

    fn fields<'a>(&'a self, object: &'a str) -> Answer<'a, BTreeSet<String>> {
        Box::pin(self.visible(object))
    }

    fn written_objects(&self) -> (&'static str, &'static str) {
        (map::ACCOUNT, map::OPPORTUNITY)
    }

    fn own_key(&self, object: &str) -> Option<&'static str> {
        matches!(object, map::TASK | map::NOTE).then_some(EFFECT_KEY)
    }

    fn undoing<'a>(&'a self, effect: &'a Effect, receipt: &'a Receipt) -> Answer<'a, Undoing> {
        Box::pin(async move { Ok(self.look_back(effect, receipt).await?.1) })
    }

    fn undo<'a>(
        &'a self,
        permit: Permit,
        effect: &'a Effect,
        receipt: &'a Receipt,
        at: Timestamp,
    ) -> Answer<'a, Receipt> {
        Box::pin(async move {
            crate::covered(Crm::Salesforce, &permit, effect)?;
            self.take_back(effect, receipt, at).await
        })
    }

    fn look_up<'a>(&'a self, effect: &'a Effect, at: Timestamp) -> Answer<'a, LookUp> {
        Box::pin(self.find(effect, at))
    }

    fn read<'a>(&'a self, effect: &'a Effect) -> Answer<'a, Diff> {
        Box::pin(self.live(effect))
    }

    fn check<'a>(&'a self) -> Answer<'a, Vec<Finding>> {
        Box::pin(async { Ok(self.findings().await) })
    }
}

fn data() -> String {
    format!("/services/data/{VERSION}")
}

fn sobject(object: &str) -> String {
    format!("/services/data/{VERSION}/sobjects/{object}")
}

fn key_of(effect: &Effect) -> Place {
    Place::Key(EFFECT_KEY, effect.id.as_str().to_owned())
}

fn place_path(object: &str, place: &Place) -> Result<String, SendError> {
    Ok(match place {
        Place::Id(id) => format!("{}/{}", sobject(object), segment(object, id)?),
        Place::Key(field, value) => format!("{}/{field}/{}", sobject(object), segment(object, value)?),
    })
}

/// Reads a save result: a 200 or 201 alone proves nothing.
fn saved(object: &str, reply: &Reply, sent: Option<&Value>) -> Result<SaveResult, SendError> {
    result_of(object, reply.json()?, sent)
}

/// What the save of one record says.
fn result_of(object: &str, result: SaveResult, sent: Option<&Value>) -> Result<SaveResult, SendError> {
    if result.success {
        return match &result.id {
            Some(id) if !ids::is_whole(id) => Err(SendError::unreadable("an id whose letters have lost their case")),
            Some(_) | None => Ok(result),
        };
    }
    match result.errors.first() {
        Some(error) => match wire::wait(&error.code) {
            Some(retry_after) => Err(SendError::Busy {
                retry_after,
                why: error.code.clone(),
            }),
            None => {
                let message = scrub(&error.message, sent);
                Err(SendError::refused(
                    object,
                    &error.code,
                    &message,
                    wire::remedy(&error.code),
                ))
            }
        },
        None => Err(SendError::unreadable("neither success nor an error")),
    }
}

fn missing(object: &str) -> SendError {
    let remedy = if object == ACCOUNT {
        format!(
            "link the account: set {ACCOUNT_KEY} on the right Salesforce account to our account id, or give the Salesforce \
             record id of the account in the import"
        )
    } else {
        format!(
            "link the deal: set {} on the right opportunity, or give its record id in the import",
            map::OPPORTUNITY_KEY
        )
    };
    SendError::refused(
        object,
        "RECORD_NOT_FOUND",
        "Salesforce shows no such record to the integration user",
        remedy,
    )
}
