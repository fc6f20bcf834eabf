//! Undoing an effect: old values go back as they came, guarded like any change; tasks and notes of ours go to the recycle bin.

use perennial_core::action::{Done, Effect, Receipt};
use perennial_core::signal::Crm;
use perennial_core::time::Timestamp;
use reqwest::{Method, StatusCode};
use serde_json::{Map, Value};

use super::map::Place;
use super::{CONTENTION_WAIT, MODIFIED, Record, Salesforce, place_path, saved};
use crate::budget::Lane;
use crate::http::Call;
use crate::ownership::sent;
use crate::{SendError, UndoBy, Undoing, proof, undo};

impl Salesforce {
    /// The record as it is, and what undoing would do to it.
    pub(super) async fn look_back(
        &self,
        effect: &Effect,
        receipt: &Receipt,
    ) -> Result<(Option<Record>, Undoing), SendError> {
        let method = undo::method(effect, receipt)?;
        let object = object_of(receipt)?;
        let place = Place::Id(super::map::record_id(object, &receipt.record)?);
        let names = [&["Id", MODIFIED], &undo::names(receipt)[..]].concat();
        let record = self.fetch_named(effect, object, &place, &names.join(",")).await?;
        let undoing = undo::judge(receipt, method, record.as_ref().map(|record| &record.live));
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
            return Ok(self.receipt(Done::NoChange, object, &receipt.record, at));
        };
        if !undoing.changed.is_empty() {
            return Err(SendError::Conflict {
                object: object.to_owned(),
                record: record.id,
                fields: undoing.changed,
            });
        }
        let path = place_path(object, &Place::Id(record.id.clone()))?;
        if undoing.how == UndoBy::Deleting {
            let call = Call {
                method: Method::DELETE,
                body: None,
                ..Call::write(Method::DELETE, object, path, Value::Null)
                    .serving(effect)
                    .on(Lane::Urgent)
            };
            let reply = self.http.send(&call).await?;
            if reply.status != StatusCode::NOT_FOUND {
                reply.ok()?;
                let left = self.fetch(effect, object, &Place::Id(record.id.clone()), &[]).await;
                if left.map_err(|error| error.after("the record was deleted"))?.is_some() {
                    return Err(proof::not_deleted(Crm::Salesforce, object));
                }
            }
            return Ok(Receipt {
                before: undo::values_of(&undoing),
                ..self.receipt(Done::Deleted, object, &record.id, at)
            });
        }
        let body: Map<String, Value> = undoing
            .diff
            .fields
            .iter()
            .map(|(name, change)| (name.clone(), sent(&change.after, record.live.get(name), Value::Null)))
            .collect();
        let unmodified_since = record.unmodified_since();
        let guarded = record.etag.is_some() || unmodified_since.is_some();
        let call = Call {
            if_match: record.etag.clone(),
            unmodified_since,
            ..Call::write(Method::PATCH, object, path, Value::Object(body))
                .serving(effect)
                .on(Lane::Urgent)
        };
        let reply = self.http.send(&call).await?;
        if guarded && reply.status == StatusCode::PRECONDITION_FAILED {
            return Err(SendError::Busy {
                retry_after: CONTENTION_WAIT,
                why: "the record changed while we wrote; look at it again".to_owned(),
            });
        }
        let reply = reply.ok()?;
        if !reply.body.is_empty() {
            saved(object, &reply, call.body.as_ref())?;
        }
        let after = undo::values_after(&undoing);
        let names = [&["Id"], &undo::names(receipt)[..]].concat();
        let place = Place::Id(record.id.clone());
        let now = self.fetch_named(effect, object, &place, &names.join(",")).await;
        let now = now.map_err(|error| error.after("the old values were sent"))?;
        proof::back(
            Crm::Salesforce,
            object,
            &after,
            &now.map(|record| record.live).unwrap_or_default(),
        )?;
        Ok(Receipt {
            before: undo::values_of(&undoing),
            after,
            ..self.receipt(Done::Updated, object, &record.id, at)
        })
    }
}

/// The object of a receipt, among those that we write.
fn object_of(receipt: &Receipt) -> Result<&'static str, SendError> {
    use super::map::{ACCOUNT, NOTE, OPPORTUNITY, TASK};
    let known = [ACCOUNT, OPPORTUNITY, TASK, NOTE, super::roles::CONTACT_ROLE];
    let found = known.into_iter().find(|object| *object == receipt.object);
    found.ok_or_else(|| undo::not_ours(receipt))
}
