//! Many records read in few requests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::map::Place;
use super::wire::{Batch, ErrorBody, Record};
use super::{HubSpot, objects};
use crate::http::Call;
use crate::{Lane, SendError};

/// Records of one batch, the vendor's limit.
pub(super) const INPUTS_MAX: usize = 100;

/// What a batch says of a record that was looked for.
#[derive(Clone)]
pub(super) enum Found {
    One(Record),
    Absent,
    /// Nothing: it goes alone.
    Unsaid,
    Failed(Arc<SendError>),
}

impl HubSpot {
    /// Reads records, wherever they are found; one answer each, in the order of the places.
    pub(super) async fn read_many(
        &self,
        object: &'static str,
        places: &[&Place],
        names: &[&str],
        lane: Lane,
    ) -> Vec<Found> {
        let mut answers = vec![Found::Unsaid; places.len()];
        let mut by: BTreeMap<Option<&'static str>, Vec<(usize, &str)>> = BTreeMap::new();
        for (slot, place) in places.iter().enumerate() {
            match place {
                Place::Id(id) => by.entry(None).or_default().push((slot, id.as_str())),
                Place::Key(property, value) => by.entry(Some(*property)).or_default().push((slot, value.as_str())),
            }
        }
        for (property, asked) in by {
            // Parts that are still to be asked; one whose answer is too large is asked in halves.
            let mut parts: Vec<&[(usize, &str)]> = asked.chunks(INPUTS_MAX).collect();
            while let Some(part) = parts.pop() {
                let found = self.read_part(object, property, part, names, lane).await;
                let is_large = matches!(&found, Err(SendError::Refused { code, .. }) if code == "ANSWER_TOO_LARGE");
                if part.len() > 1 && is_large {
                    let (one, other) = part.split_at(part.len() / 2);
                    parts.extend([one, other]);
                    continue;
                }
                let found = found.unwrap_or_else(|error| {
                    let error = Arc::new(error);
                    part.iter().map(|_| Found::Failed(error.clone())).collect()
                });
                for ((slot, _), found) in part.iter().zip(found) {
                    if let Some(answer) = answers.get_mut(*slot) {
                        *answer = found;
                    }
                }
            }
        }
        answers
    }

    async fn read_part(
        &self,
        object: &'static str,
        property: Option<&'static str>,
        part: &[(usize, &str)],
        names: &[&str],
        lane: Lane,
    ) -> Result<Vec<Found>, SendError> {
        let asked: BTreeSet<&str> = part.iter().map(|(_, value)| *value).collect();
        let inputs: Vec<Value> = asked.iter().map(|value| json!({ "id": value })).collect();
        let names: BTreeSet<&str> = names.iter().copied().chain(property).collect();
        let mut body = json!({ "inputs": inputs, "properties": names });
        if let Some(property) = property {
            body["idProperty"] = Value::from(property);
        }
        let path = format!("{}/batch/read", objects(object));
        let call = Call::write(Method::POST, object, path, body).harmless().on(lane);
        let reply = self.http.send(&call).await?;
        if reply.status == StatusCode::NOT_FOUND {
            return Ok(part.iter().map(|_| Found::Absent).collect());
        }
        let batch: Batch = reply.ok()?.json()?;
        let missing: BTreeSet<String> = batch.errors.iter().flat_map(ids_of).map(str::to_lowercase).collect();
        let mut by: BTreeMap<String, Record> = BTreeMap::new();
        for record in batch.results {
            let value = match property {
                None => record.id.clone(),
                Some(property) => match record.properties.get(property) {
                    Some(Value::String(value)) => value.to_lowercase(),
                    Some(_) | None => continue,
                },
            };
            by.insert(value, record);
        }
        let found = part.iter().map(|(_, value)| {
            let value = value.to_lowercase();
            match by.get(&value) {
                Some(record) if record.archived => Found::Absent,
                Some(record) => Found::One(record.clone()),
                None if missing.contains(&value) => Found::Absent,
                None => Found::Unsaid,
            }
        });
        Ok(found.collect())
    }
}

/// The records that an error of a batch is about.
pub(super) fn ids_of(error: &ErrorBody) -> Vec<&str> {
    let context = error.rest.get("context").and_then(Value::as_object);
    let values = context.into_iter().flat_map(|context| context.values());
    values
        .filter_map(Value::as_array)
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}
