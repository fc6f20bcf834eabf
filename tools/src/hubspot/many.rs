//! Many effects in few requests: batches of up to 100 records.
//!
//! INVARIANT (each for itself): each record is compared with what is there now, by one reading for all; what somebody else has put
//! there is a conflict of that record alone; each has its own before-image and its own result, whatever the status of the
//! request says. What a batch answers is not believed: all records are read back, and only what they hold counts.
//!
//! HubSpot knows no condition: an edit between our reading and our writing is not seen. What a batch cannot settle goes alone.

use std::collections::{BTreeMap, BTreeSet};

use perennial_core::action::{Done, Effect, Receipt, Write};
use perennial_core::signal::Crm;
use perennial_core::time::Timestamp;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::gather::{Found, INPUTS_MAX, ids_of};
use super::map::{self, COMPANIES, DEALS, EFFECT_KEY, NOTES, Place, Plan, TASKS};
use super::wire::{self, Associations, Batch, ErrorBody, Record};
use super::{HubSpot, VERSION, key_of, missing, objects, unassociated};
use crate::fields::{self, Wanted};
use crate::http::Call;
use crate::http::scrub::scrub;
use crate::many::{Fuse, Said, Slots, allowed, held_back, lane, may_one, put_unless_refused};
use crate::proof::{self, Sent};
use crate::{Go, Job, Known, Lane, SendError, covered, ownership};

/// The object that an effect writes, where its effects go in batches.
pub(super) fn object_of(effect: &Effect) -> Option<&'static str> {
    match &effect.write {
        Write::UpdateAccount { .. } => Some(COMPANIES),
        Write::UpdateOpportunity { .. } => Some(DEALS),
        Write::CreateTask { .. } => Some(TASKS),
        Write::CreateNote { .. } => Some(NOTES),
        // Labels of an association are given and taken for one pair of records.
        Write::SetContactRole { .. } => None,
    }
}

/// A change of one record.
struct Change<'a> {
    slot: usize,
    effect: &'a Effect,
    known: &'a Known,
    place: Place,
    wanted: Vec<Wanted>,
}

/// A record to be made.
struct Making<'a> {
    slot: usize,
    effect: &'a Effect,
    key: Place,
    wanted: Vec<Wanted>,
}

/// A change of a record that was read.
struct Ready<'a> {
    of: &'a Change<'a>,
    record: &'a Record,
    differing: Vec<&'a Wanted>,
}

impl Ready<'_> {
    fn sent(&self) -> Sent<'_> {
        Sent {
            wanted: &self.of.wanted,
            differing: &self.differing,
            before: &self.record.properties,
        }
    }
}

/// A record of ours that is there.
struct There<'a> {
    of: &'a Making<'a>,
    company: String,
    record: String,
    done: Done,
    after: BTreeMap<String, String>,
}

/// The answer to a batch of associations, as far as we read it: whether they are there is looked up.
#[derive(Deserialize)]
struct Ties {
    #[serde(default)]
    errors: Vec<ErrorBody>,
}

impl HubSpot {
    pub(super) async fn run_many<'a>(
        &'a self,
        jobs: Vec<Job<'a>>,
        go: &'a dyn Go,
        at: Timestamp,
    ) -> Vec<Result<Receipt, SendError>> {
        let mut slots = Slots::new(jobs.len());
        let mut changes: BTreeMap<&'static str, Vec<Change<'_>>> = BTreeMap::new();
        let mut makings: BTreeMap<&'static str, Vec<Making<'_>>> = BTreeMap::new();
        for (slot, job) in jobs.iter().enumerate() {
            let (effect, known) = (job.effect, job.known);
            let plan = covered(Crm::HubSpot, &job.permit, effect).and_then(|()| map::plan(effect, &self.writes, at));
            match plan {
                Err(error) => slots.put(slot, Err(error)),
                Ok(Plan::Change { object, place, wanted }) => changes.entry(object).or_default().push(Change {
                    slot,
                    effect,
                    known,
                    place,
                    wanted,
                }),
                Ok(Plan::Keyed { object, wanted }) => makings.entry(object).or_default().push(Making {
                    slot,
                    effect,
                    key: key_of(effect),
                    wanted,
                }),
                Ok(Plan::Role(_)) => {}
            }
        }
        for (object, changes) in &changes {
            self.change_many(object, changes, go, at, &mut slots).await;
        }
        for (object, makings) in &makings {
            self.make_many(object, makings, go, at, &mut slots).await;
        }
        let mut fuse = Fuse::default();
        for slot in slots.open() {
            let Some(job) = jobs.get(slot) else { continue };
            let answer = match fuse.refusal() {
                Some(refusal) => Err(refusal),
                None if may_one(go, job.effect).await => self.run(job.effect, job.known, at).await,
                None => Err(held_back()),
            };
            fuse.hear(&answer);
            slots.put(slot, answer);
        }
        slots.close()
    }

    /// Changes records of one object. What is left without an answer goes alone.
    async fn change_many(
        &self,
        object: &'static str,
        changes: &[Change<'_>],
        go: &dyn Go,
        at: Timestamp,
        slots: &mut Slots<Receipt>,
    ) {
        let lane = lane(changes.iter().map(|change| change.effect));
        let names = names(changes.iter().flat_map(|change| &change.wanted));
        let places: Vec<&Place> = changes.iter().map(|change| &change.place).collect();
        let found = self.read_many(object, &places, &names, lane).await;
        let mut ready = Vec::new();
        let mut seen = BTreeSet::new();
        for (change, found) in changes.iter().zip(&found) {
            let record = match found {
                Found::One(record) => record,
                Found::Absent if object != COMPANIES => {
                    slots.put(change.slot, Err(missing(object)));
                    continue;
                }
                // It may have to be made, which is done alone.
                Found::Absent | Found::Unsaid => continue,
                Found::Failed(error) => {
                    put_unless_refused(slots, change.slot, error);
                    continue;
                }
            };
            let differing = fields::differing(&change.wanted, &record.properties);
            if differing.is_empty() {
                let receipt = self.receipt(Done::NoChange, object, &record.id, &record.id, at).await;
                slots.put(change.slot, Ok(receipt));
                continue;
            }
            let may = ownership::guard(object, &record.id, &differing, &record.properties, change.known);
            match may {
                Err(conflict) => slots.put(change.slot, Err(conflict)),
                // Of two changes of one record the second one waits for what the first one does.
                Ok(()) if !seen.insert(record.id.as_str()) => {}
                Ok(()) => ready.push(Ready {
                    of: change,
                    record,
                    differing,
                }),
            }
        }
        let ready = allowed(go, ready, |ready| (ready.of.effect, ready.of.slot), slots).await;
        let mut written: Vec<(Ready<'_>, Option<SendError>)> = Vec::new();
        let mut rest = ready;
        while !rest.is_empty() {
            let later = rest.split_off(rest.len().min(INPUTS_MAX));
            let chunk = std::mem::replace(&mut rest, later);
            let inputs: Vec<(&str, Value)> = chunk
                .iter()
                .map(|ready| {
                    let properties = fields::body(ready.differing.iter().copied());
                    let id = ready.record.id.as_str();
                    (id, json!({ "id": id, "properties": properties }))
                })
                .collect();
            match self.write_many(object, "update", &inputs, lane).await {
                Ok(said) => {
                    for (ready, said) in chunk.into_iter().zip(said) {
                        match said {
                            Said::Yes(_) => written.push((ready, None)),
                            Said::Unclear(error) => written.push((ready, Some(error))),
                            Said::No(error) => slots.put(ready.of.slot, Err(error)),
                        }
                    }
                }
                Err(error) => {
                    for ready in &chunk {
                        let error = error.again().with_image(ready.sent().image());
                        put_unless_refused(slots, ready.of.slot, &error);
                    }
                }
            }
        }
        let places: Vec<Place> = written
            .iter()
            .map(|(ready, _)| Place::Id(ready.record.id.clone()))
            .collect();
        let now = self
            .read_many(object, &places.iter().collect::<Vec<_>>(), &names, lane)
            .await;
        for ((ready, unclear), now) in written.into_iter().zip(now) {
            let image = || ready.sent().image();
            let answer = match now {
                Found::Failed(error) => Err(error.again().after("the properties were sent").with_image(image())),
                Found::Unsaid => Err(unread().after("the properties were sent").with_image(image())),
                Found::Absent => Err(missing(object)),
                Found::One(now) => match (
                    proof::changed(Crm::HubSpot, object, ready.sent(), &now.properties),
                    unclear,
                ) {
                    (Ok(image), _) => Ok(Receipt {
                        before: image.before,
                        after: image.after,
                        ..self.receipt(Done::Updated, object, &now.id, &now.id, at).await
                    }),
                    (Err(_), Some(unclear)) => Err(unclear.with_image(image())),
                    (Err(refused), None) => Err(refused),
                },
            };
            slots.put(ready.of.slot, answer);
        }
    }

    /// Makes records of one object and hangs them on their companies. What is left without an answer goes alone.
    async fn make_many(
        &self,
        object: &'static str,
        makings: &[Making<'_>],
        go: &dyn Go,
        at: Timestamp,
        slots: &mut Slots<Receipt>,
    ) {
        let lane = lane(makings.iter().map(|making| making.effect));
        let companies = self
            .companies_of(makings.iter().map(|making| making.effect), lane)
            .await;
        let keys: Vec<&Place> = makings.iter().map(|making| &making.key).collect();
        let found = self.read_many(object, &keys, &["hs_object_id", EFFECT_KEY], lane).await;
        let (mut there, mut absent) = (Vec::new(), Vec::new());
        for ((making, found), company) in makings.iter().zip(found).zip(companies) {
            let company = match company {
                Ok(Some(company)) => company,
                // It may have to be made, which is done alone.
                Ok(None) => continue,
                Err(error) => {
                    put_unless_refused(slots, making.slot, &error);
                    continue;
                }
            };
            match found {
                Found::One(record) => there.push(There {
                    of: making,
                    company,
                    record: record.id,
                    done: Done::AlreadyDone,
                    after: fields::after(&making.wanted),
                }),
                Found::Absent => absent.push((making, company)),
                Found::Unsaid => {}
                Found::Failed(error) => put_unless_refused(slots, making.slot, &error),
            }
        }
        let absent = allowed(go, absent, |(making, _)| (making.effect, making.slot), slots).await;
        let mut sent = Vec::new();
        let mut rest = absent;
        while !rest.is_empty() {
            let later = rest.split_off(rest.len().min(INPUTS_MAX));
            let chunk = std::mem::replace(&mut rest, later);
            let inputs: Vec<(&str, Value)> = chunk
                .iter()
                .map(|(making, _)| {
                    let key = making.effect.id.as_str();
                    let input = json!({
                        "idProperty": EFFECT_KEY,
                        "id": key,
                        "objectWriteTraceId": key,
                        "properties": fields::body(&making.wanted),
                    });
                    (key, input)
                })
                .collect();
            match self.write_many(object, "upsert", &inputs, lane).await {
                Ok(said) => sent.extend(chunk.into_iter().zip(said)),
                Err(error) => {
                    for (making, _) in &chunk {
                        put_unless_refused(slots, making.slot, &error);
                    }
                }
            }
        }
        there.extend(self.made(object, sent, lane, slots).await);
        self.hang_many(object, there, at, lane, slots).await;
    }

    /// Reads back records that were sent; what is there is given on.
    async fn made<'m>(
        &self,
        object: &'static str,
        sent: Vec<((&'m Making<'m>, String), Said)>,
        lane: Lane,
        slots: &mut Slots<Receipt>,
    ) -> Vec<There<'m>> {
        let names = names(sent.iter().flat_map(|((making, _), _)| &making.wanted));
        // By id where the answer says one, else by our key.
        let places: Vec<Place> = sent
            .iter()
            .map(|((making, _), said)| match said {
                Said::Yes(Some(id)) => Place::Id(id.clone()),
                Said::Yes(None) | Said::No(_) | Said::Unclear(_) => making.key.clone(),
            })
            .collect();
        let now = self
            .read_many(object, &places.iter().collect::<Vec<_>>(), &names, lane)
            .await;
        let mut there = Vec::new();
        for (((making, company), said), now) in sent.into_iter().zip(now) {
            let answer = match (now, said) {
                // Whatever was said: it was not there before, and it carries our key.
                (Found::One(record), _) => {
                    let key = record.properties.get(EFFECT_KEY).and_then(Value::as_str);
                    if key.is_some_and(|key| key != making.effect.id.as_str()) {
                        slots.put(making.slot, Err(unread()));
                        continue;
                    }
                    there.push(There {
                        of: making,
                        company,
                        after: proof::made(Crm::HubSpot, &making.wanted, &record.properties),
                        record: record.id,
                        done: Done::Created,
                    });
                    continue;
                }
                (_, Said::No(error)) | (Found::Absent, Said::Unclear(error)) => error,
                (Found::Absent, Said::Yes(_)) => proof::not_made(Crm::HubSpot, object),
                (Found::Failed(error), Said::Yes(_) | Said::Unclear(_)) => error.again().after("the record was sent"),
                (Found::Unsaid, Said::Yes(_) | Said::Unclear(_)) => unread(),
            };
            slots.put(making.slot, Err(answer));
        }
        there
    }

    /// Associates records with their companies and looks whether they are. The same association twice is one.
    async fn hang_many(
        &self,
        object: &'static str,
        there: Vec<There<'_>>,
        at: Timestamp,
        lane: Lane,
        slots: &mut Slots<Receipt>,
    ) {
        if there.is_empty() {
            return;
        }
        let half = |error: &SendError| error.again().after("the record exists, but not on the company");
        let pairs: Vec<Value> = there
            .iter()
            .map(|one| json!({ "from": { "id": one.record }, "to": { "id": one.company } }))
            .collect();
        let path = format!("/crm/associations/{VERSION}/{object}/{COMPANIES}/batch/associate/default");
        let call = Call::write(Method::POST, object, path, json!({ "inputs": pairs }));
        let hung = async {
            let reply = self.http.send(&call.harmless().on(lane)).await?.ok()?;
            reply.json::<Ties>()
        };
        let refused = match hung.await {
            Ok(ties) => ties.errors,
            Err(error) => {
                for one in &there {
                    slots.put(one.of.slot, Err(half(&error)));
                }
                return;
            }
        };
        let records: Vec<&str> = there.iter().map(|one| one.record.as_str()).collect();
        let on = self.associations(object, &records, lane).await;
        for one in there {
            let answer = match &on {
                Err(error) => Err(half(error)),
                Ok(on) if on.contains(&(one.record.clone(), one.company.clone())) => Ok(Receipt {
                    after: one.after,
                    ..self.receipt(one.done, object, &one.record, &one.company, at).await
                }),
                Ok(_) => match refused
                    .iter()
                    .find(|error| ids_of(error).contains(&one.record.as_str()))
                {
                    Some(error) => Err(half(&refusal(object, error, None))),
                    None => Err(unassociated()),
                },
            };
            slots.put(one.of.slot, answer);
        }
    }

    /// Which of the records hang on which companies.
    pub(super) async fn associations(
        &self,
        object: &'static str,
        records: &[&str],
        lane: Lane,
    ) -> Result<BTreeSet<(String, String)>, SendError> {
        let inputs: Vec<Value> = records.iter().map(|id| json!({ "id": id })).collect();
        let path = format!("/crm/associations/{VERSION}/{object}/{COMPANIES}/batch/read");
        let call = Call::write(Method::POST, object, path, json!({ "inputs": inputs }));
        let reply = self.http.send(&call.harmless().on(lane)).await?;
        if reply.status == StatusCode::NOT_FOUND {
            return Ok(BTreeSet::new());
        }
        let read: Associations = reply.ok()?.json()?;
        let of = |of: &wire::AssociationsOf| {
            let from = of.from.as_ref().map(|from| from.id.clone()).unwrap_or_default();
            of.to.iter().map(|to| (from.clone(), to.id.clone())).collect::<Vec<_>>()
        };
        Ok(read.results.iter().flat_map(of).collect())
    }

    /// The ids of the companies that records are made on; nothing where there is none yet.
    pub(super) async fn companies_of<'e>(
        &self,
        effects: impl Iterator<Item = &'e Effect>,
        lane: Lane,
    ) -> Vec<Result<Option<String>, SendError>> {
        let places: Vec<Result<Place, SendError>> = effects.map(map::company_place).collect();
        let asked: Vec<&Place> = places
            .iter()
            .flatten()
            .filter(|place| matches!(place, Place::Key(..)))
            .collect();
        let mut found = self
            .read_many(COMPANIES, &asked, &["hs_object_id"], lane)
            .await
            .into_iter();
        places
            .into_iter()
            .map(|place| match place? {
                Place::Id(id) => Ok(Some(id)),
                Place::Key(..) => match found.next() {
                    Some(Found::One(company)) => Ok(Some(company.id)),
                    Some(Found::Failed(error)) => Err(error.again()),
                    Some(Found::Absent | Found::Unsaid) | None => Ok(None),
                },
            })
            .collect()
    }

    /// Sends a batch; what the answer says of each input. `inputs` have the id that the answer names them by.
    ///
    /// # Errors
    /// Those of the whole request.
    async fn write_many(
        &self,
        object: &'static str,
        verb: &str,
        inputs: &[(&str, Value)],
        lane: Lane,
    ) -> Result<Vec<Said>, SendError> {
        let path = format!("{}/batch/{verb}", objects(object));
        let all: Vec<&Value> = inputs.iter().map(|(_, input)| input).collect();
        let call = Call::write(Method::POST, object, path, json!({ "inputs": all })).on(lane);
        let batch: Batch = self.http.send(&call).await?.ok()?.json()?;
        let mut written: BTreeMap<&str, &str> = BTreeMap::new();
        for record in &batch.results {
            let trace = record.rest.get("objectWriteTraceId").and_then(Value::as_str);
            let key = trace.or_else(|| record.properties.get(EFFECT_KEY).and_then(Value::as_str));
            written.insert(record.id.as_str(), record.id.as_str());
            if let Some(key) = key {
                written.insert(key, record.id.as_str());
            }
        }
        let mut failed: BTreeMap<&str, &ErrorBody> = BTreeMap::new();
        for error in &batch.errors {
            for id in ids_of(error) {
                failed.insert(id, error);
            }
        }
        let nameless = batch.errors.iter().find(|error| ids_of(error).is_empty());
        let said = inputs
            .iter()
            .map(|(id, input)| match (written.get(id), failed.get(id)) {
                (_, Some(error)) => Said::No(refusal(object, error, Some(input))),
                (Some(record), None) => Said::Yes(Some((*record).to_owned())),
                // One input, so one error speaks for all of it.
                (None, None) if inputs.len() == 1 && batch.num_errors > 0 => {
                    Said::No(refusal(object, nameless.unwrap_or(&ErrorBody::default()), Some(input)))
                }
                (None, None) => Said::Unclear(SendError::unreadable("a batch that says nothing of one of its records")),
            });
        Ok(said.collect())
    }
}

/// An error inside a batch as an error of ours.
fn refusal(object: &str, error: &ErrorBody, sent: Option<&Value>) -> SendError {
    let code = error.code();
    if let Some(retry_after) = wire::wait(code) {
        return SendError::Busy {
            retry_after,
            why: code.to_owned(),
        };
    }
    let message = scrub(error.message.as_deref().unwrap_or_default(), sent);
    SendError::refused(object, code, &message, wire::remedy(code))
}

/// The id and the properties to ask for.
pub(super) fn names<'a>(wanted: impl Iterator<Item = &'a Wanted>) -> Vec<&'a str> {
    let names: BTreeSet<&str> = wanted.map(|field| field.name.as_ref()).collect();
    std::iter::once("hs_object_id").chain(names).collect()
}

fn unread() -> SendError {
    SendError::unreadable("a batch that was read back says nothing of one of its records")
}
