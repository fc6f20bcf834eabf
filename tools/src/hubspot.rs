//! HubSpot over its dated API: company and deal properties, tasks and notes, and what people are to deals.
//!
//! Promises: a property is written only where the live value differs; a task or note goes by the effect's id as a unique
//! property, so that doing it twice makes one record, and one that a person has since worked on is left alone. The
//! association that makes it visible on the company is part of the effect: without it the effect counts as absent, and
//! doing it again adds what is missing. What is reported as written was read back. Many effects of one kind go as batches
//! ([`many`]).
//!
//! Deliberately not here: search for a look-up (it lags), mapping people to owners.

mod check;
mod find;
mod gather;
mod many;
mod map;
mod read;
mod roles;
mod stages;
#[cfg(test)]
mod tests;
mod undo;
pub mod webhook;
#[doc(hidden)]
pub mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use perennial_core::action::{Done, Effect, Permit, Receipt};
use perennial_core::signal::Crm;
use perennial_core::time::Timestamp;
use reqwest::{Method, StatusCode};
use serde_json::json;
use tokio::sync::OnceCell;

use crate::error::Lost;
use crate::fields::{self, Wanted};
use crate::http::path::segment;
use crate::http::scrub::scrub;
use crate::http::{Call, Http, Reply};
use crate::proof::{self, Sent};
use crate::{
    Answer, Answers, Ask, Connection, ConnectionError, CreateMissing, Diff, Finding, Go, Job, Known, LookUp, ReadPage,
    ReadRow, SendError, Tool, Undoing, WriteMap, ownership,
};
use map::{ACCOUNT_KEY, COMPANIES, DEALS, EFFECT_KEY, Place, Plan};
use roles::Kinds;
use stages::Stages;
use wire::{Associations, Batch, Details, Record};

/// The API version this adapter was written against.
const VERSION: &str = "2026-09";

/// Where people work when the account does not say otherwise.
const APP_HOST: &str = "app.hubspot.com";

/// A change of properties that is wanted.
#[derive(Clone, Copy)]
struct Change<'a> {
    object: &'static str,
    place: &'a Place,
    wanted: &'a [Wanted],
    known: &'a Known,
}

/// HubSpot.
pub struct HubSpot {
    http: Http,
    create_missing: CreateMissing,
    writes: WriteMap,
    details: OnceCell<Details>,
    /// Stages by object, as last asked.
    stages: Mutex<BTreeMap<String, Arc<Stages>>>,
    /// Labels between deals and contacts, as last asked.
    labels: Mutex<Option<Arc<Kinds>>>,
}

impl HubSpot {
    /// Sets up the connection; sends nothing.
    ///
    /// # Errors
    /// [`ConnectionError`] when address, token or a limit is not usable.
    pub fn new(connection: Connection) -> Result<HubSpot, ConnectionError> {
        Ok(HubSpot {
            http: Http::new(&connection, wire::DIALECT)?,
            create_missing: connection.create_missing_accounts,
            writes: connection.writes.unwrap_or_else(map::writes),
            details: OnceCell::new(),
            stages: Mutex::new(BTreeMap::new()),
            labels: Mutex::new(None),
        })
    }

    async fn run(&self, effect: &Effect, known: &Known, at: Timestamp) -> Result<Receipt, SendError> {
        match map::plan(effect, &self.writes, at)? {
            Plan::Change { object, place, wanted } => {
                let change = Change {
                    object,
                    place: &place,
                    wanted: &wanted,
                    known,
                };
                self.change(effect, change, at).await
            }
            Plan::Keyed { object, wanted } => self.create(effect, object, &wanted, at).await,
            Plan::Role(plan) => self.set_role(effect, &plan, known, at).await,
        }
    }

    async fn find(&self, effect: &Effect, at: Timestamp) -> Result<LookUp, SendError> {
        match map::plan(effect, &self.writes, at)? {
            Plan::Change { object, place, wanted } => {
                let Some(record) = self.fetch(effect, object, &place, &wanted).await? else {
                    return Ok(LookUp::Absent);
                };
                if !fields::differing(&wanted, &record.properties).is_empty() {
                    return Ok(LookUp::Absent);
                }
                let after = fields::after(&wanted);
                let receipt = self
                    .receipt(Done::AlreadyDone, object, &record.id, &record.id, at)
                    .await;
                Ok(LookUp::Done(Receipt { after, ..receipt }))
            }
            Plan::Keyed { object, wanted } => {
                let Some(record) = self.fetch(effect, object, &key_of(effect), &wanted).await? else {
                    return Ok(LookUp::Absent);
                };
                let company = match map::company_place(effect)? {
                    Place::Id(id) => id,
                    place @ Place::Key(..) => match self.fetch(effect, COMPANIES, &place, &[]).await? {
                        Some(company) => company.id,
                        None => return Ok(LookUp::Absent),
                    },
                };
                if !self.is_associated(effect, object, &record.id, &company).await? {
                    return Ok(LookUp::Absent);
                }
                let after = fields::after(&wanted);
                let receipt = self.receipt(Done::AlreadyDone, object, &record.id, &company, at).await;
                Ok(LookUp::Done(Receipt { after, ..receipt }))
            }
            Plan::Role(plan) => self.find_role(effect, &plan, at).await,
        }
    }

    async fn live(&self, effect: &Effect) -> Result<Diff, SendError> {
        let (object, place, wanted) = match map::plan(effect, &self.writes, Timestamp::EPOCH)? {
            Plan::Change { object, place, wanted } => (object, place, wanted),
            Plan::Keyed { object, mut wanted } => {
                if object == map::NOTES {
                    // A note's time is that of its writing, which has not come.
                    wanted.retain(|field| field.name != "hs_timestamp");
                }
                (object, key_of(effect), wanted)
            }
            Plan::Role(plan) => return self.live_role(effect, &plan).await,
        };
        let record = self.fetch(effect, object, &place, &wanted).await?;
        let url = match &record {
            Some(record) => Some(self.url(object, &record.id, &record.id).await),
            None => None,
        };
        Ok(Diff {
            object: object.to_owned(),
            url,
            fields: fields::changes(&wanted, record.as_ref().map(|record| &record.properties)),
            record: record.map(|record| record.id),
        })
    }

    /// Reads, compares, writes what differs, and sees what came of it. INVARIANT (compare first): nothing is written over a value
    /// that was not read just before, and nothing over one that somebody else has put there; see [`crate::ownership`].
    /// HubSpot has no conditional request: an edit between our reading and our writing is not seen.
    async fn change(&self, effect: &Effect, change: Change<'_>, at: Timestamp) -> Result<Receipt, SendError> {
        let Change {
            object,
            place,
            wanted,
            known,
        } = change;
        let record = match self.fetch(effect, object, place, wanted).await? {
            Some(record) => record,
            None if object == COMPANIES => {
                let id = self.make_company(effect).await?;
                let made = self.fetch(effect, object, &Place::Id(id), wanted).await?;
                made.ok_or_else(|| missing(object))?
            }
            None => return Err(missing(object)),
        };
        let differing = fields::differing(wanted, &record.properties);
        if differing.is_empty() {
            return Ok(self.receipt(Done::NoChange, object, &record.id, &record.id, at).await);
        }
        ownership::guard(object, &record.id, &differing, &record.properties, known)?;
        let sent = Sent {
            wanted,
            differing: &differing,
            before: &record.properties,
        };
        let path = format!("{}/{}", objects(object), segment(object, &record.id)?);
        let body = json!({ "properties": fields::body(differing.iter().copied()) });
        let call = Call::write(Method::PATCH, object, path, body).serving(effect);
        // What the answer says of the properties is what was sent, not what the record holds.
        let written = self.http.send(&call).await.and_then(Reply::ok);
        written.map_err(|error| error.with_image(sent.image()))?;
        let now = self.fetch(effect, object, &Place::Id(record.id.clone()), wanted).await;
        let now = now.map_err(|error| error.after("the properties were sent").with_image(sent.image()))?;
        let now = now.ok_or_else(|| missing(object))?;
        let image = proof::changed(Crm::HubSpot, object, sent, &now.properties)?;
        Ok(Receipt {
            before: image.before,
            after: image.after,
            ..self.receipt(Done::Updated, object, &record.id, &record.id, at).await
        })
    }

    /// Makes a task or note once and hangs it on the company.
    async fn create(
        &self,
        effect: &Effect,
        object: &'static str,
        wanted: &[Wanted],
        at: Timestamp,
    ) -> Result<Receipt, SendError> {
        let found = self.fetch(effect, object, &key_of(effect), wanted).await?;
        let company = self.company_id(effect).await?;
        let (id, done, after) = match found {
            Some(record) => (record.id, Done::AlreadyDone, fields::after(wanted)),
            None => {
                let made = self
                    .upsert(effect, object, EFFECT_KEY, effect.id.as_str(), wanted)
                    .await?;
                let now = self.fetch(effect, object, &Place::Id(made.id.clone()), wanted).await;
                let now = now.map_err(|error| error.after("the record was sent"))?;
                let now = now.ok_or_else(|| proof::not_made(Crm::HubSpot, object))?;
                if made.new == Some(false) {
                    (made.id, Done::AlreadyDone, fields::after(wanted))
                } else {
                    (
                        made.id,
                        Done::Created,
                        proof::made(Crm::HubSpot, wanted, &now.properties),
                    )
                }
            }
        };
        let path = format!(
            "{}/{}/associations/default/{COMPANIES}/{}",
            objects(object),
            segment(object, &id)?,
            segment(COMPANIES, &company)?
        );
        // The same association twice is one association, so a lost answer here may be repeated.
        let call = Call {
            method: Method::PUT,
            ..Call::get(object, path).harmless().serving(effect)
        };
        let half = |error: SendError| error.after("the record exists, but not on the company");
        self.http.send(&call).await.and_then(Reply::ok).map_err(half)?;
        if !self.is_associated(effect, object, &id, &company).await.map_err(half)? {
            return Err(unassociated());
        }
        let receipt = self.receipt(done, object, &id, &company, at).await;
        Ok(Receipt { after, ..receipt })
    }

    /// The id of the effect's company. With a known CRM id this costs no request.
    async fn company_id(&self, effect: &Effect) -> Result<String, SendError> {
        match map::company_place(effect)? {
            Place::Id(id) => Ok(id),
            place @ Place::Key(..) => match self.fetch(effect, COMPANIES, &place, &[]).await? {
                Some(company) => Ok(company.id),
                None => self.make_company(effect).await,
            },
        }
    }

    /// Makes the company, where that is allowed. Not part of the effect: a later failure leaves it, and it is found again.
    async fn make_company(&self, effect: &Effect) -> Result<String, SendError> {
        let Place::Key(..) = map::company_place(effect)? else {
            return Err(missing(COMPANIES));
        };
        match self.create_missing {
            CreateMissing::Never => return Err(missing(COMPANIES)),
            CreateMissing::InSandbox if !self.details().await?.is_sandbox() => return Err(missing(COMPANIES)),
            CreateMissing::InSandbox => {}
        }
        let key = effect.target.account.as_str();
        let made = self
            .upsert(effect, COMPANIES, ACCOUNT_KEY, key, &map::new_company(effect))
            .await?;
        Ok(made.id)
    }

    /// One record by a unique property: made, or changed when it exists.
    async fn upsert(
        &self,
        effect: &Effect,
        object: &'static str,
        key: &'static str,
        value: &str,
        wanted: &[Wanted],
    ) -> Result<Record, SendError> {
        let input = json!({
            "idProperty": key,
            "id": value,
            "objectWriteTraceId": effect.id.as_str(),
            "properties": fields::body(wanted),
        });
        let path = format!("{}/batch/upsert", objects(object));
        let call = Call::write(Method::POST, object, path, json!({ "inputs": [input] })).serving(effect);
        let reply = self.http.send(&call).await?.ok()?;
        let batch: Batch = reply.json()?;
        if batch.num_errors > 0 || !batch.errors.is_empty() {
            // One input, so one error speaks for all of it.
            let error = batch.errors.into_iter().next().unwrap_or_default();
            let message = scrub(error.message.as_deref().unwrap_or_default(), call.body.as_ref());
            return Err(SendError::refused(
                object,
                error.code(),
                &message,
                wire::remedy(error.code()),
            ));
        }
        let mut results = batch.results.into_iter();
        match (results.next(), results.next()) {
            (Some(record), None) => Ok(record),
            _ => Err(SendError::unreadable("a batch of one without one result")),
        }
    }

    async fn is_associated(
        &self,
        effect: &Effect,
        object: &'static str,
        record: &str,
        company: &str,
    ) -> Result<bool, SendError> {
        let path = format!("/crm/associations/{VERSION}/{object}/{COMPANIES}/batch/read");
        let body = json!({ "inputs": [{ "id": record }] });
        let call = Call::write(Method::POST, object, path, body).harmless().serving(effect);
        // A record without associations is reported as an error inside a success, or as not found.
        let reply = self.http.send(&call).await?;
        if reply.status == StatusCode::NOT_FOUND {
            return Ok(false);
        }
        let read: Associations = reply.ok()?.json()?;
        Ok(read.results.iter().flat_map(|of| &of.to).any(|to| to.id == company))
    }

    async fn details(&self) -> Result<&Details, SendError> {
        let ask = || async {
            let call = Call::get("account", format!("/account-info/{VERSION}/details"));
            self.http.send(&call).await?.ok()?.json::<Details>()
        };
        self.details.get_or_try_init(ask).await
    }

    /// Reads a record; `None` when there is none.
    async fn fetch(
        &self,
        effect: &Effect,
        object: &'static str,
        place: &Place,
        wanted: &[Wanted],
    ) -> Result<Option<Record>, SendError> {
        self.fetch_named(effect, object, place, &fields::names(&["hs_object_id"], wanted))
            .await
    }

    async fn fetch_named(
        &self,
        effect: &Effect,
        object: &'static str,
        place: &Place,
        names: &str,
    ) -> Result<Option<Record>, SendError> {
        let (value, by) = match place {
            Place::Id(id) => (id, String::new()),
            Place::Key(property, value) => (value, format!("&idProperty={property}")),
        };
        let path = format!("{}/{}?properties={names}{by}", objects(object), segment(object, value)?);
        let reply = self.http.send(&Call::get(object, path).serving(effect)).await?;
        if reply.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let record: Record = reply.ok()?.json()?;
        Ok((!record.archived).then_some(record))
    }

    async fn receipt(&self, done: Done, object: &str, record: &str, company: &str, at: Timestamp) -> Receipt {
        Receipt {
            tool: Crm::HubSpot,
            done,
            object: object.to_owned(),
            record: record.to_owned(),
            url: self.url(object, record, company).await,
            before: BTreeMap::new(),
            after: BTreeMap::new(),
            at,
        }
    }

    /// Where a person sees a record. Tasks and notes are seen on the timeline of their company.
    async fn url(&self, object: &str, record: &str, company: &str) -> String {
        let base = self.http.base();
        if base.is_loopback() {
            return base.sandbox_page(object, record);
        }
        // Only for the address: a write that has passed must not fail for want of it.
        let Ok(details) = self.details().await else {
            return format!("https://{APP_HOST}/");
        };
        let host = details
            .ui_domain
            .as_deref()
            .filter(|host| is_hubspot(host))
            .unwrap_or(APP_HOST);
        let portal = &details.portal_id;
        match object {
            COMPANIES => format!("https://{host}/contacts/{portal}/record/0-2/{record}"),
            DEALS => format!("https://{host}/contacts/{portal}/record/0-3/{record}"),
            _ if record == company => format!("https://{host}/contacts/{portal}/"),
            _ => format!("https://{host}/contacts/{portal}/record/0-2/{company}/?engagement={record}"),
        }
    }
}

impl Tool for HubSpot {
    fn crm(&self) -> Crm {
        Crm::HubSpot
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
            crate::covered(Crm::HubSpot, &permit, effect)?;
            self.run(effect, known, at).await
        })
    }

    fn together(&self, effect: &Effect) -> Option<&'static str> {
        many::object_of(effect)
    }

    fn batch_max(&self) -> usize {
        gather::INPUTS_MAX
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

    fn fields<'a>(&'a self, object: &'a str) -> Answer<'a, BTreeSet<String>> {
        Box::pin(self.visible(object))
    }

    fn written_objects(&self) -> (&'static str, &'static str) {
        (COMPANIES, DEALS)
    }

    fn own_key(&self, object: &str) -> Option<&'static str> {
        matches!(object, map::TASKS | map::NOTES).then_some(EFFECT_KEY)
    }

    fn undoing<'a>(&'a self, effect: &'a Effect, receipt: &'a Receipt) -> Answer<'a, Undoing> {
        Box::pin(async move {
            match map::role_plan(effect, &self.writes)? {
                Some(plan) => self.undoing_role(effect, &plan, receipt).await,
                None => Ok(self.look_back(effect, receipt).await?.1),
            }
        })
    }

    fn undo<'a>(
        &'a self,
        permit: Permit,
        effect: &'a Effect,
        receipt: &'a Receipt,
        at: Timestamp,
    ) -> Answer<'a, Receipt> {
        Box::pin(async move {
            crate::covered(Crm::HubSpot, &permit, effect)?;
            match map::role_plan(effect, &self.writes)? {
                Some(plan) => self.take_role_back(effect, &plan, receipt, at).await,
                None => self.take_back(effect, receipt, at).await,
            }
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

fn objects(object: &str) -> String {
    format!("/crm/objects/{VERSION}/{object}")
}

fn key_of(effect: &Effect) -> Place {
    Place::Key(EFFECT_KEY, effect.id.as_str().to_owned())
}

fn is_hubspot(host: &str) -> bool {
    let plain = host
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
    plain && host.ends_with(".hubspot.com")
}

/// A record whose association was reported as made and is not there: a later look says whether it has come.
fn unassociated() -> SendError {
    SendError::lost(Lost::Half {
        what: "the record exists, but not on the company, although HubSpot reported success".to_owned(),
    })
}

fn missing(object: &str) -> SendError {
    let remedy = if object == COMPANIES {
        format!(
            "link the company: set {ACCOUNT_KEY} on the right HubSpot company to our account id, or give the HubSpot record \
             id of the account in the import"
        )
    } else {
        format!(
            "link the deal: set {} on the right HubSpot deal, or give its record id in the import",
            map::OPPORTUNITY_KEY
        )
    };
    SendError::refused(
        object,
        "RECORD_NOT_FOUND",
        "HubSpot shows no such record to this token",
        remedy,
    )
}
