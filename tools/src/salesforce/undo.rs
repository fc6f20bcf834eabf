//! Undoing an effect: old values go back as they came, guarded like any change; tasks and notes of ours go to the recycle bin.

use perennial_core::action::{Done, Effect, Receipt};
use perennial_core::time::Timestamp;
use reqwest::{Method, StatusCode};
use serde_json::{Map, Value};

use super::map::Place;
use super::{CONTENTION_WAIT, Record, Salesforce, place_path, saved};
use crate::budget::Lane;
use crate::http::Call;
use crate::ownership::sent;
use crate::{SendError, UndoBy, Undoing, undo};

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
        let names = std::iter::once("Id").chain(undo::names(receipt)).collect::<Vec<_>>();
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
        let guarded = record.etag.is_some();
        let call = Call {
            if_match: record.etag,
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
        Ok(Receipt {
            before: undo::values_of(&undoing),
            after: undo::values_after(&undoing),
            ..self.receipt(Done::Updated, object, &record.id, at)
        })
    }
}

/// The object of a receipt, among those that we write.
fn object_of(receipt: &Receipt) -> Result<&'static str, SendError> {
    use super::map::{ACCOUNT, NOTE, OPPORTUNITY, TASK};
    let known = [ACCOUNT, OPPORTUNITY, TASK, NOTE];
    let found = known.into_iter().find(|object| *object == receipt.object);
    found.ok_or_else(|| undo::not_ours(receipt))
}
