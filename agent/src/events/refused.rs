//! Refused messages go where the refused rows of imports go, without what they say about people.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use perennial_core::ids::SourceId;
use serde_json::{Value, json};

use super::message::{Refusal, text_of};
use crate::intake::{Encoding, Outcome, Problem, Refused, Reject, Rejects};

/// A refused message for the answer and for the file.
#[derive(Debug, Clone)]
pub(super) struct Turned {
    /// Place in the request, from 0.
    pub index: usize,
    /// Its `messageId`.
    pub message: Option<String>,
    /// The message without anything about people.
    pub row: String,
    pub refusal: Refusal,
}

impl Turned {
    pub(super) fn new(index: usize, message: &Value, refusal: Refusal) -> Turned {
        let keep = |key: &str| text_of(message.get(key));
        let id = keep("messageId");
        let row = json!({
            "type": keep("type"), "event": keep("event"), "messageId": id, "timestamp": keep("timestamp"),
        });
        Turned {
            index,
            message: id,
            row: row.to_string(),
            refusal,
        }
    }

    pub(super) fn answer(&self) -> Value {
        json!({
            "index": self.index, "messageId": self.message, "field": self.refusal.field, "reason": self.refusal.reason,
        })
    }
}

/// The file of refused messages of one server.
pub(super) struct RefusedFile {
    rejects: Mutex<Option<(Rejects, u64)>>,
    max: u64,
    path: PathBuf,
}

impl RefusedFile {
    pub(super) fn create(dir: &Path, source: &SourceId, max: u64) -> Result<RefusedFile, Vec<Problem>> {
        let rejects = Rejects::create(dir, source)?;
        let path = rejects.path().to_owned();
        Ok(RefusedFile {
            rejects: Mutex::new(Some((rejects, 0))),
            max,
            path,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes messages to the end of the file, and out of this program.
    pub(super) fn write(&self, route: &str, turned: &[Turned]) -> Result<(), csv::Error> {
        if turned.is_empty() {
            return Ok(());
        }
        let mut held = self.rejects.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((rejects, rows)) = held.as_mut() else {
            return Ok(());
        };
        for message in turned {
            if *rows == self.max {
                tracing::warn!(
                    file = %self.path.display(),
                    rows = self.max,
                    "the file of refused events is full (limits.event_rejects): further ones are named only to their senders"
                );
            }
            *rows += 1;
            if *rows > self.max {
                continue;
            }
            let refused = Refused {
                outcome: Outcome::Rejected,
                line: message.index as u64 + 1,
                reject: Reject::new(&message.refusal.field, "", message.refusal.reason.clone()),
                raw: message.row.clone().into_bytes(),
            };
            rejects.write(route, Encoding::Utf8, &refused)?;
        }
        rejects.flush()
    }

    /// Ends the file; its path when it holds a row.
    pub(super) fn finish(&self) -> Result<Option<PathBuf>, csv::Error> {
        let held = self.rejects.lock().unwrap_or_else(PoisonError::into_inner).take();
        held.map_or(Ok(None), |(rejects, _)| rejects.finish())
    }
}
