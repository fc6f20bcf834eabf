//! Undoing an effect: old values go back as they came; tasks and notes of ours are archived, which HubSpot can take back for
//! 90 days.

use perennial_core::action::{Done, Effect, Receipt};
use perennial_core::signal::Crm;
use perennial_core::time::Timestamp;
use reqwest::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::map::Place;
use super::wire::Record;
use super::{HubSpot, objects};
use crate::budget::Lane;
use crate::fields::Live;
use crate::http::Call;
use crate::http::path::segment;
use crate::{SendError, UndoBy, Undoing, proof, undo};

impl HubSpot {
    /// The record as it is, and what undoing would do to it.
    pub(super) async fn look_back(
        &self,
        effect: &Effect,
        receipt: &Receipt,
    ) -> Result<(Option<Record>, Undoing), SendError> {
        let method = undo::method(effect, receipt)?;
        let object = object_of(receipt)?;
        let place = Place::Id(super::map::record_id(object, &receipt.record)?);
        let names: Vec<&str> = std::iter::once("hs_object_id").chain(undo::names(receipt)).collect();
        let record = self.fetch_named(effect, object, &place, &names.join(",")).await?;
        let undoing = undo::judge(receipt, method, record.as_ref().map(|record| &record.properties));
        Ok((record, undoing))
    }

    pub(super) async fn take_back(
        &self,
        effect: &Effect,
        receipt: &Receipt,
        at: Timestamp,
    ) -> Result<Receipt, SendError> {
        let object = object_of(receipt)?;
        let (record, undoing) = self.look_back(effect, receipt).await?;
        let (Some(record), false) = (record, undoing.how == UndoBy::Nothing) else {
            let record = &receipt.record;
            return Ok(self.receipt(Done::NoChange, object, record, record, at).await);
        };
        if !undoing.changed.is_empty() {
            return Err(SendError::Conflict {
                object: object.to_owned(),
                record: record.id,
                fields: undoing.changed,
            });
        }
        let path = format!("{}/{}", objects(object), segment(object, &record.id)?);
        let before = undo::values_of(&undoing);
        if undoing.how == UndoBy::Deleting {
            let call = Call {
                body: None,
                ..Call::write(Method::DELETE, object, path, Value::Null)
                    .serving(effect)
                    .on(Lane::Urgent)
            };
            let reply = self.http.send(&call).await?;
            if reply.status != StatusCode::NOT_FOUND {
                reply.ok()?;
                let place = Place::Id(record.id.clone());
                let left = self.fetch_named(effect, object, &place, "hs_object_id").await;
                if left.map_err(|error| error.after("the record was deleted"))?.is_some() {
                    return Err(proof::not_deleted(Crm::HubSpot, object));
                }
            }
            return Ok(Receipt {
                before,
                ..self.receipt(Done::Deleted, object, &record.id, &record.id, at).await
            });
        }
        let after = undo::values_after(&undoing);
        let text = |(name, value): (&String, &String)| (name.clone(), Value::String(value.clone()));
        let properties: Map<String, Value> = after.iter().map(text).collect();
        let call = Call::write(Method::PATCH, object, path, json!({ "properties": properties }))
            .serving(effect)
            .on(Lane::Urgent);
        self.http.send(&call).await?.ok()?;
        let names: Vec<&str> = std::iter::once("hs_object_id").chain(undo::names(receipt)).collect();
        let place = Place::Id(record.id.clone());
        let now = self.fetch_named(effect, object, &place, &names.join(",")).await;
        let now = now.map_err(|error| error.after("the old values were sent"))?;
        let now: Live = now.map(|record| record.properties).unwrap_or_default();
        proof::back(Crm::HubSpot, object, &after, &now)?;
        Ok(Receipt {
            before,
            after,
            ..self.receipt(Done::Updated, object, &record.id, &record.id, at).await
        })
    }
}

/// The object of a receipt, among those that we write.
fn object_of(receipt: &Receipt) -> Result<&'static str, SendError> {
    use super::map::{COMPANIES, DEALS, NOTES, TASKS};
    let known = [COMPANIES, DEALS, TASKS, NOTES];
    let found = known.into_iter().find(|object| *object == receipt.object);
    found.ok_or_else(|| undo::not_ours(receipt))
}
