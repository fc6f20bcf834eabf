//! Why an effect did not come about, sorted by what the caller must do about it.
//!
//! INVARIANT (no customer text in errors): `message` and `why` hold the vendor's codes and words with everything that we
//! sent blotted out; values live only in [`FieldConflict`] and [`Image`], which no `Display` shows.

use std::collections::BTreeMap;
use std::time::Duration;

use perennial_core::signal::Crm;
use serde::{Deserialize, Serialize};

/// What went wrong with an effect.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Permanent: a person must look. Nothing was written, except where `message` says what was.
    #[error("the CRM refused `{object}`: {code}: {message}")]
    Refused {
        /// Object of the CRM.
        object: String,
        /// The vendor's code, or one of ours in capitals.
        code: String,
        /// The vendor's words without customer text, at most 200 characters.
        message: String,
        /// What a person can do.
        remedy: String,
    },
    /// Someone else changed the record since what we do was decided. Nothing was written.
    #[error("{} of `{object}` `{record}` was changed by someone else", names(.fields))]
    Conflict {
        /// Object of the CRM.
        object: String,
        /// Record id.
        record: String,
        /// What was changed, at least one field.
        fields: Vec<FieldConflict>,
    },
    /// It is certain that nothing of the effect was written: try again, not sooner than `retry_after`.
    #[error("the CRM asked us to wait {} s: {why}", .retry_after.as_secs())]
    Busy {
        /// How long to wait.
        retry_after: Duration,
        /// Why, without customer text.
        why: String,
    },
    /// Sent, and no usable answer came, or a later part of the effect failed: look before retrying.
    #[error("sent, but no usable answer")]
    Unknown {
        /// What happened to the answer.
        #[source]
        source: Lost,
        /// What a change of fields found and sent, where one was under way: it is what undoing it needs.
        image: Option<Box<Image>>,
    },
    /// The credentials are not accepted. Nothing was written.
    #[error("the CRM does not accept our credentials")]
    Unauthorised {
        /// What a person can do.
        remedy: String,
    },
    /// There is no connection to this system.
    #[error("{crm} is not configured")]
    NotConfigured {
        /// Which system.
        crm: Crm,
        /// What a person can do.
        remedy: String,
    },
}

/// A field that someone else changed. Its values may be customer text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldConflict {
    /// Field of the CRM.
    pub field: String,
    /// What we took it to hold; `None` where we never knew.
    pub known: Option<String>,
    /// What it holds now; empty for nothing.
    pub theirs: String,
    /// What we would write.
    pub ours: String,
}

/// A change of fields: what was there and what was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Values before, by field of the CRM; absent means empty.
    pub before: BTreeMap<String, String>,
    /// Values sent, by field of the CRM.
    pub after: BTreeMap<String, String>,
}

fn names(fields: &[FieldConflict]) -> String {
    let names: Vec<String> = fields.iter().map(|field| format!("`{}`", field.field)).collect();
    names.join(", ")
}

/// What happened to an answer.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// The connection broke after the request had left.
    #[error("the connection broke before the answer was complete")]
    Transport(#[source] reqwest::Error),
    /// A status that says nothing about whether the write happened, such as 500 or 503.
    #[error("the answer was status {status}, which does not say whether the write happened")]
    Status {
        /// HTTP status.
        status: u16,
    },
    /// An answer that is cut short, of the wrong kind, or not what the vendor documents.
    #[error("the answer cannot be read: {what}")]
    Unreadable {
        /// What was expected and not found. No part of the answer itself.
        what: String,
    },
    /// The answer is larger than the limit.
    #[error("the answer is larger than {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// It is the answer to a batch, of which the effect was a part.
    #[error("the answer to a batch: {what}")]
    Batch {
        /// What happened to it.
        what: String,
    },
    /// The first part of the effect is done, a later one is not.
    #[error("done by half: {what}")]
    Half {
        /// What is done, what is missing, and why.
        what: String,
    },
}

/// Longest `message` of [`SendError::Refused`], in characters: one line on a screen and in the ledger.
pub(crate) const MESSAGE_MAX_CHARS: usize = 200;

impl SendError {
    /// The outcome in a word, for spans.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            SendError::Refused { .. } => "refused",
            SendError::Conflict { .. } => "conflict",
            SendError::Busy { .. } => "busy",
            SendError::Unknown { .. } => "unknown",
            SendError::Unauthorised { .. } => "unauthorised",
            SendError::NotConfigured { .. } => "not_configured",
        }
    }

    /// A refusal of our own making.
    pub(crate) fn refused(object: &str, code: &str, message: &str, remedy: impl Into<String>) -> SendError {
        SendError::Refused {
            object: object.to_owned(),
            code: code.to_owned(),
            message: message.chars().take(MESSAGE_MAX_CHARS).collect(),
            remedy: remedy.into(),
        }
    }

    pub(crate) fn lost(source: Lost) -> SendError {
        SendError::Unknown { source, image: None }
    }

    /// The same error, with what a change found and sent where its answer is lost.
    pub(crate) fn with_image(self, image: Image) -> SendError {
        match self {
            SendError::Unknown { source, .. } => SendError::Unknown {
                source,
                image: Some(Box::new(image)),
            },
            SendError::Refused { .. }
            | SendError::Conflict { .. }
            | SendError::Busy { .. }
            | SendError::Unauthorised { .. }
            | SendError::NotConfigured { .. } => self,
        }
    }

    /// The same error for another effect of the same batch.
    pub(crate) fn again(&self) -> SendError {
        match self {
            SendError::Refused {
                object,
                code,
                message,
                remedy,
            } => SendError::Refused {
                object: object.clone(),
                code: code.clone(),
                message: message.clone(),
                remedy: remedy.clone(),
            },
            SendError::Conflict { object, record, fields } => SendError::Conflict {
                object: object.clone(),
                record: record.clone(),
                fields: fields.clone(),
            },
            SendError::Busy { retry_after, why } => SendError::Busy {
                retry_after: *retry_after,
                why: why.clone(),
            },
            SendError::Unknown { source, .. } => SendError::lost(match source {
                Lost::TimedOut => Lost::TimedOut,
                Lost::Status { status } => Lost::Status { status: *status },
                Lost::TooLarge { limit } => Lost::TooLarge { limit: *limit },
                Lost::Transport(_) | Lost::Unreadable { .. } | Lost::Batch { .. } | Lost::Half { .. } => Lost::Batch {
                    what: source.to_string(),
                },
            }),
            SendError::Unauthorised { remedy } => SendError::Unauthorised { remedy: remedy.clone() },
            SendError::NotConfigured { crm, remedy } => SendError::NotConfigured {
                crm: *crm,
                remedy: remedy.clone(),
            },
        }
    }

    pub(crate) fn unreadable(what: impl Into<String>) -> SendError {
        SendError::lost(Lost::Unreadable { what: what.into() })
    }

    /// What an error means once an earlier part of the same effect has been written: "nothing was written" no longer
    /// holds, so everything but a refusal becomes unknown.
    pub(crate) fn after(self, done: &str) -> SendError {
        let half = |why: String| {
            SendError::lost(Lost::Half {
                what: format!("{done}; then: {why}"),
            })
        };
        match self {
            SendError::Refused {
                object,
                code,
                message,
                remedy,
            } => SendError::refused(&object, &code, &format!("{done}; then: {message}"), remedy),
            SendError::Unknown { .. } => self,
            SendError::Conflict { .. }
            | SendError::Busy { .. }
            | SendError::Unauthorised { .. }
            | SendError::NotConfigured { .. } => half(self.to_string()),
        }
    }
}
