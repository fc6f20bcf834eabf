//! Many effects in few requests: sObject collections, and bulk jobs for very many.
//!
//! INVARIANT (each for itself): each record is compared with what is there now, by one reading for all; what somebody else has put
//! there is a conflict of that record alone; each has its own before-image and its own result, whatever the status of the
//! request says. What a collection answers is not believed: all records are read back, and only what they hold counts.
//!
//! Collections know no condition, so what touches a field that people share with us goes alone, and so does what a collection
//! cannot settle.

use std::collections::{BTreeMap, BTreeSet};

use perennial_core::action::{AccountField, DealField, Done, Effect, Receipt, Write};
use perennial_core::signal::Crm;
use perennial_core::time::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use super::gather::is_same;
use super::ingest::{By, Rows};
use super::map::{self, ACCOUNT, EFFECT_KEY, NOTE, OPPORTUNITY, Place, Plan, TASK};
use super::wire::SaveResult;
use super::{Record, Salesforce, data, key_of, missing, result_of};
use crate::fields::{self, Wanted};
use crate::http::Call;
use crate::many::{Fuse, Said, Slots, allowed, held_back, lane, may_one, put_unless_refused};
use crate::proof::{self, Sent};
use crate::{FieldOwner, Go, Job, Known, Lane, LookUp, SendError, WriteMap, covered, ownership};

/// Records that one collection writes, the vendor's limit.
const WRITE_MAX: usize = 200;

/// What goes into collections together, by object; none for what needs a condition.
pub(super) fn together(effect: &Effect, writes: &WriteMap) -> Option<&'static str> {
    let account = |field: &AccountField| writes.account.get(field).map(|rule| rule.owner);
    let deal = |field: &DealField| writes.deal.get(field).map(|rule| rule.owner);
    let is_shared = |owner: Option<FieldOwner>| owner == Some(FieldOwner::Shared);
    match &effect.write {
        Write::UpdateAccount { fields } => (!fields.keys().any(|field| is_shared(account(field)))).then_some(ACCOUNT),
        Write::UpdateOpportunity { next_step, stage, .. } => {
            let shared = (next_step.is_some() && is_shared(deal(&DealField::NextStep)))
                || (stage.is_some() && is_shared(deal(&DealField::Stage)));
            (!shared).then_some(OPPORTUNITY)
        }
        Write::CreateTask { .. } => Some(TASK),
        Write::CreateNote { .. } => Some(NOTE),
        // A row is looked for by deal and person, and made by itself.
        Write::SetContactRole { .. } => None,
    }
}

/// The place of an effect in the batch, where its record is found, and what is wanted of it.
type Asked = (usize, Place, Vec<Wanted>);

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
    parent: &'static str,
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
            before: &self.record.live,
        }
    }
}

impl Salesforce {
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
            let plan = covered(Crm::Salesforce, &job.permit, effect).and_then(|()| map::plan(effect, &self.writes));
            let plan = match plan {
                Ok(plan) => self.check_stage(effect).await.map(|()| plan),
                Err(error) => Err(error),
            };
            match plan {
                Err(error) => slots.put(slot, Err(error)),
                Ok(Plan::Change { object, place, wanted }) => changes.entry(object).or_default().push(Change {
                    slot,
                    effect,
                    known,
                    place,
                    wanted,
                }),
                Ok(Plan::Keyed { object, parent, wanted }) => makings.entry(object).or_default().push(Making {
                    slot,
                    effect,
                    key: key_of(effect),
                    wanted,
                    parent,
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
                Ok(Some(record)) => record,
                Ok(None) if object == ACCOUNT => continue,
                Ok(None) => {
                    slots.put(change.slot, Err(missing(object)));
                    continue;
                }
                Err(error) => {
                    put_unless_refused(slots, change.slot, error);
                    continue;
                }
            };
            let differing = fields::differing(&change.wanted, &record.live);
            if differing.is_empty() {
                slots.put(change.slot, Ok(self.receipt(Done::NoChange, object, &record.id, at)));
                continue;
            }
            let may = ownership::guard(object, &record.id, &differing, &record.live, change.known);
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
        let mut written: Vec<(Ready<'_>, Option<SendError>)> = Vec::new();
        let mut rest = ready;
        if self.is_bulk(rest.len()) {
            rest = allowed(go, rest, |ready| (ready.of.effect, ready.of.slot), slots).await;
            let rows = rest
                .iter()
                .map(|ready| (ready.record.id.as_str(), ready.differing.clone()));
            if let Some(rows) = Rows::of(By::Id, rows) {
                let bulk = std::mem::take(&mut rest);
                let effects: Vec<&Effect> = bulk.iter().map(|ready| ready.of.effect).collect();
                match self.ingest(object, &rows, &effects, go, lane).await {
                    Ok(said) => {
                        for (ready, said) in bulk.into_iter().zip(said) {
                            match said {
                                Said::Yes(_) => written.push((ready, None)),
                                Said::Unclear(error) => written.push((ready, Some(error))),
                                Said::No(error) => slots.put(ready.of.slot, Err(error)),
                            }
                        }
                    }
                    Err(error) => {
                        for ready in &bulk {
                            let error = error.again().with_image(ready.sent().image());
                            put_unless_refused(slots, ready.of.slot, &error);
                        }
                    }
                }
            }
        }
        while !rest.is_empty() {
            let later = rest.split_off(rest.len().min(WRITE_MAX));
            let chunk = std::mem::replace(&mut rest, later);
            let chunk = allowed(go, chunk, |ready| (ready.of.effect, ready.of.slot), slots).await;
            if chunk.is_empty() {
                continue;
            }
            let rows: Vec<Value> = chunk
                .iter()
                .map(|ready| row(object, &ready.record.id, &ready.differing))
                .collect();
            let path = format!("{}/composite/sobjects", data());
            let ids: Vec<Option<&str>> = chunk.iter().map(|ready| Some(ready.record.id.as_str())).collect();
            match self.save_many(object, path, &rows, &ids, lane).await {
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
            let answer = match now {
                Err(error) => Err(error.after("the fields were sent").with_image(ready.sent().image())),
                Ok(None) => Err(missing(object)),
                Ok(Some(now)) => match (
                    proof::changed(Crm::Salesforce, object, ready.sent(), &now.live),
                    unclear,
                ) {
                    (Ok(image), _) => Ok(Receipt {
                        before: image.before,
                        after: image.after,
                        ..self.receipt(Done::Updated, object, &ready.record.id, at)
                    }),
                    (Err(_), Some(unclear)) => Err(unclear.with_image(ready.sent().image())),
                    (Err(refused), None) => Err(refused),
                },
            };
            slots.put(ready.of.slot, answer);
        }
    }

    /// Makes records of one object. What is left without an answer goes alone.
    async fn make_many(
        &self,
        object: &'static str,
        makings: &[Making<'_>],
        go: &dyn Go,
        at: Timestamp,
        slots: &mut Slots<Receipt>,
    ) {
        let lane = lane(makings.iter().map(|making| making.effect));
        let keys: Vec<&Place> = makings.iter().map(|making| &making.key).collect();
        let found = self.read_many(object, &keys, &["Id"], lane).await;
        let mut absent = Vec::new();
        for (making, found) in makings.iter().zip(found) {
            match found {
                Ok(Some(record)) => slots.put(making.slot, Ok(self.found(object, &record.id, &making.wanted, at))),
                Ok(None) => absent.push(making),
                Err(error) => put_unless_refused(slots, making.slot, &error),
            }
        }
        let accounts = self.accounts_of(&absent, lane).await;
        let mut rest: Vec<(&Making<'_>, Vec<Wanted>)> = Vec::new();
        for (making, account) in absent.into_iter().zip(accounts) {
            match account {
                Ok(Some(id)) => {
                    let mut wanted = making.wanted.clone();
                    wanted.push(Wanted::text(making.parent, id));
                    rest.push((making, wanted));
                }
                // It may have to be made, which is done alone.
                Ok(None) => {}
                Err(error) => put_unless_refused(slots, making.slot, &error),
            }
        }
        let mut sent: Vec<(&Making<'_>, Vec<Wanted>, Said)> = Vec::new();
        if self.is_bulk(rest.len()) {
            rest = allowed(go, rest, |(making, _)| (making.effect, making.slot), slots).await;
            let rows = rest
                .iter()
                .map(|(making, wanted)| (making.effect.id.as_str(), wanted.iter().collect()));
            if let Some(rows) = Rows::of(By::Key(EFFECT_KEY), rows) {
                let bulk = std::mem::take(&mut rest);
                let effects: Vec<&Effect> = bulk.iter().map(|(making, _)| making.effect).collect();
                match self.ingest(object, &rows, &effects, go, lane).await {
                    Ok(said) => {
                        let with = bulk.into_iter().zip(said);
                        sent.extend(with.map(|((making, wanted), said)| (making, wanted, said)));
                    }
                    Err(error) => {
                        for (making, _) in &bulk {
                            put_unless_refused(slots, making.slot, &error);
                        }
                    }
                }
            }
        }
        while !rest.is_empty() {
            let later = rest.split_off(rest.len().min(WRITE_MAX));
            let chunk = std::mem::replace(&mut rest, later);
            let chunk = allowed(go, chunk, |(making, _)| (making.effect, making.slot), slots).await;
            if chunk.is_empty() {
                continue;
            }
            let rows: Vec<Value> = chunk
                .iter()
                .map(|(making, wanted)| new_row(object, making.effect, wanted))
                .collect();
            let path = format!("{}/composite/sobjects/{object}/{EFFECT_KEY}", data());
            match self.save_many(object, path, &rows, &vec![None; rows.len()], lane).await {
                Ok(said) => {
                    let with = chunk.into_iter().zip(said);
                    sent.extend(with.map(|((making, wanted), said)| (making, wanted, said)));
                }
                Err(error) => {
                    for (making, _) in &chunk {
                        put_unless_refused(slots, making.slot, &error);
                    }
                }
            }
        }
        let names = names(sent.iter().flat_map(|(_, wanted, _)| wanted));
        let keys: Vec<&Place> = sent.iter().map(|(making, ..)| &making.key).collect();
        let now = self.read_many(object, &keys, &names, lane).await;
        // An answer that gives a record another id than it has is not in the order of the request.
        let is_other = |said: &Said, record: &Record| match said {
            Said::Yes(Some(id)) => !is_same(id, &record.id),
            Said::Yes(None) | Said::No(_) | Said::Unclear(_) => false,
        };
        let is_mixed = sent.iter().zip(&now).any(|((_, _, said), now)| {
            now.as_ref()
                .is_ok_and(|now| now.as_ref().is_some_and(|now| is_other(said, now)))
        });
        for ((making, wanted, said), now) in sent.into_iter().zip(now) {
            let answer = match (now, said) {
                (Err(error), Said::Yes(_) | Said::Unclear(_)) => Err(error.after("the record was sent")),
                (Err(_) | Ok(None), Said::No(error)) if !is_mixed => Err(error),
                (Ok(None), Said::Yes(_)) if !is_mixed => Err(proof::not_made(Crm::Salesforce, object)),
                (Ok(None), Said::Unclear(error)) => Err(error),
                (Err(_) | Ok(None), Said::Yes(_) | Said::No(_)) => Err(out_of_order()),
                // It was not there before, and it carries our key.
                (Ok(Some(record)), _) => Ok(Receipt {
                    after: proof::made(Crm::Salesforce, &wanted, &record.live),
                    ..self.receipt(Done::Created, object, &record.id, at)
                }),
            };
            slots.put(making.slot, answer);
        }
    }

    /// The ids of the accounts that records are made on; nothing where there is none yet.
    async fn accounts_of(&self, makings: &[&Making<'_>], lane: Lane) -> Vec<Result<Option<String>, SendError>> {
        let places: Vec<Result<Place, SendError>> =
            makings.iter().map(|making| map::account_place(making.effect)).collect();
        let asked: Vec<&Place> = places
            .iter()
            .flatten()
            .filter(|place| matches!(place, Place::Key(..)))
            .collect();
        let mut found = self.read_many(ACCOUNT, &asked, &["Id"], lane).await.into_iter();
        places
            .into_iter()
            .map(|place| match place? {
                Place::Id(id) => Ok(Some(id)),
                Place::Key(..) => Ok(found.next().transpose()?.flatten().map(|record| record.id)),
            })
            .collect()
    }

    pub(super) async fn find_many<'a>(
        &'a self,
        effects: Vec<&'a Effect>,
        at: Timestamp,
    ) -> Vec<Result<LookUp, SendError>> {
        let mut slots = Slots::new(effects.len());
        let mut asked: BTreeMap<&'static str, Vec<Asked>> = BTreeMap::new();
        for (slot, effect) in effects.iter().enumerate() {
            match map::plan(effect, &self.writes) {
                Err(error) => slots.put(slot, Err(error)),
                Ok(Plan::Change { object, place, wanted }) => {
                    asked.entry(object).or_default().push((slot, place, wanted));
                }
                Ok(Plan::Keyed { object, wanted, .. }) => {
                    asked.entry(object).or_default().push((slot, key_of(effect), wanted));
                }
                Ok(Plan::Role(_)) => {}
            }
        }
        let lane = lane(effects.iter().copied());
        for (object, asked) in &asked {
            let names = names(asked.iter().flat_map(|(.., wanted)| wanted));
            let places: Vec<&Place> = asked.iter().map(|(_, place, _)| place).collect();
            let found = self.read_many(object, &places, &names, lane).await;
            for ((slot, place, wanted), found) in asked.iter().zip(found) {
                match found {
                    Ok(Some(record)) => slots.put(*slot, Ok(self.took_place(object, place, wanted, &record, at))),
                    Ok(None) => slots.put(*slot, Ok(LookUp::Absent)),
                    Err(error) => put_unless_refused(&mut slots, *slot, &error),
                }
            }
        }
        let mut fuse = Fuse::default();
        for slot in slots.open() {
            let Some(effect) = effects.get(slot) else { continue };
            let answer = match fuse.refusal() {
                Some(refusal) => Err(refusal),
                None => self.find(effect, at).await,
            };
            fuse.hear(&answer);
            slots.put(slot, answer);
        }
        slots.close()
    }

    /// Sends rows as a job; what it says of each. It is asked once more what may be sent before the job is closed: one that may not
    /// holds all back, as nothing can be taken out of a file.
    ///
    /// # Errors
    /// Those of the whole job.
    async fn ingest(
        &self,
        object: &'static str,
        rows: &Rows,
        effects: &[&Effect],
        go: &dyn Go,
        lane: Lane,
    ) -> Result<Vec<Said>, SendError> {
        let job = self.begin_ingest(object, rows, lane).await?;
        if go.may(effects).await.iter().any(|may| !may) {
            self.abort_job(object, &job, lane).await;
            return Err(held_back());
        }
        self.close_job(object, &job, rows, (effects, go), lane).await
    }

    /// Sends rows as a collection; what the answer says of each.
    ///
    /// # Errors
    /// Those of the whole request.
    async fn save_many(
        &self,
        object: &'static str,
        path: String,
        rows: &[Value],
        ids: &[Option<&str>],
        lane: Lane,
    ) -> Result<Vec<Said>, SendError> {
        let body = json!({ "allOrNone": false, "records": rows });
        let call = Call::write(Method::PATCH, object, path, body).on(lane);
        let results: Vec<SaveResult> = self.http.send(&call).await?.ok()?.json()?;
        let unclear = || Said::Unclear(out_of_order());
        let is_mixed = results.len() != rows.len()
            || results.iter().zip(ids).any(|(result, id)| {
                let said = result.id.as_deref();
                said.zip(*id).is_some_and(|(said, id)| !is_same(said, id))
            });
        if is_mixed {
            return Ok(rows.iter().map(|_| unclear()).collect());
        }
        let said = results
            .into_iter()
            .zip(rows)
            .map(|(result, row)| match result_of(object, result, Some(row)) {
                Ok(result) => Said::Yes(result.id),
                Err(error @ SendError::Unknown { .. }) => Said::Unclear(error),
                Err(error) => Said::No(error),
            });
        Ok(said.collect())
    }
}

/// The id and the fields to ask for.
fn names<'a>(wanted: impl Iterator<Item = &'a Wanted>) -> Vec<&'a str> {
    let names: BTreeSet<&str> = wanted.map(|field| field.name.as_ref()).collect();
    std::iter::once("Id").chain(names).collect()
}

fn row(object: &str, id: &str, differing: &[&Wanted]) -> Value {
    let mut row = fields::body(differing.iter().copied());
    row.insert("attributes".to_owned(), json!({ "type": object }));
    row.insert("id".to_owned(), Value::from(id));
    Value::Object(row)
}

fn new_row(object: &str, effect: &Effect, wanted: &[Wanted]) -> Value {
    let mut row = fields::body(wanted);
    row.insert("attributes".to_owned(), json!({ "type": object }));
    row.insert(EFFECT_KEY.to_owned(), Value::from(effect.id.as_str()));
    Value::Object(row)
}

fn out_of_order() -> SendError {
    SendError::unreadable("the results of a collection are not those of its records")
}
