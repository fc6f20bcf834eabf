//! The hands of Perennial: one module per outside system.
//!
//! Promises: a write happens only against a [`Permit`]; every request first asks the rate limit; a write whose answer
//! is lost is [`SendError::Unknown`] and is never sent again from here; no secret and no customer text reaches a log
//! or an error.
//!
//! Deliberately not here: choosing what to write (core), leases, attempts and settle times (agent and store). A tool
//! carries out one effect, says what it did, and forgets it.

mod auth;
mod budget;
mod connection;
mod error;
mod fields;
mod http;
pub mod hubspot;
mod many;
mod ownership;
mod proof;
mod reading;
pub mod salesforce;
mod text;
mod undo;

#[cfg(test)]
mod test_kit;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use perennial_core::action::{Effect, Permit, Receipt};
use perennial_core::signal::Crm;
use perennial_core::time::Timestamp;

pub use auth::{Credentials, Kept, TokenKeeper};
pub use budget::{Budget, Lane, NoCalls};
pub use connection::{BulkWriting, Connection, ConnectionError, CreateMissing};
pub use error::{FieldConflict, Image, Lost, SendError};
pub use many::{Always, Go, Job};
pub use ownership::{FieldOwner, FieldRule, Known, WriteMap, role_field};
pub use reading::{Ask, BulkReading, ReadPage, ReadRow};

/// What a tool answers, later.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, SendError>>;

/// What a tool answers to several questions, later: one answer each, in their order.
pub type Answers<'a, T> = BoxFuture<'a, Vec<Result<T, SendError>>>;

/// One outside system.
pub trait Tool: Send + Sync {
    /// The system this tool speaks to.
    fn crm(&self) -> Crm;

    /// Where our fields go there, and who owns them.
    fn writes(&self) -> &WriteMap;

    /// Carries out one effect. The permit is consumed. `at` is the present, for the receipt.
    ///
    /// Carrying out the same effect again is safe: creations go by the effect's id, changes are compared with the live
    /// record first. A change goes only over values in `known`; see [`FieldOwner`].
    ///
    /// # Errors
    /// [`SendError`]; its variants say what the caller must do. After [`SendError::Unknown`] ask [`Tool::look_up`].
    fn execute<'a>(
        &'a self,
        permit: Permit,
        effect: &'a Effect,
        known: &'a Known,
        at: Timestamp,
    ) -> Answer<'a, Receipt>;

    /// With which others an effect may go in one request: those for which this says the same word; none where it goes alone.
    fn together(&self, effect: &Effect) -> Option<&'static str> {
        let _ = effect;
        None
    }

    /// Effects that one call of [`Tool::execute_many`] or [`Tool::look_up_many`] takes at most.
    fn batch_max(&self) -> usize {
        1
    }

    /// Carries out effects that go together, each as [`Tool::execute`] would, with as few requests as the API allows; one
    /// answer for each, in their order. `go` is asked before each request that writes: what it holds back is
    /// [`SendError::Busy`].
    ///
    /// A request for many knows no condition: an edit between reading and writing is not seen, or only when the record is read
    /// back.
    fn execute_many<'a>(&'a self, jobs: Vec<Job<'a>>, go: &'a dyn Go, at: Timestamp) -> Answers<'a, Receipt> {
        Box::pin(async move {
            let mut answers = Vec::with_capacity(jobs.len());
            for Job { permit, effect, known } in jobs {
                answers.push(if many::may_one(go, effect).await {
                    self.execute(permit, effect, known, at).await
                } else {
                    Err(many::held_back())
                });
            }
            answers
        })
    }

    /// Looks up effects that go together, each as [`Tool::look_up`] would; one answer for each, in their order.
    fn look_up_many<'a>(&'a self, effects: Vec<&'a Effect>, at: Timestamp) -> Answers<'a, LookUp> {
        Box::pin(async move {
            let mut answers = Vec::with_capacity(effects.len());
            for effect in effects {
                answers.push(self.look_up(effect, at).await);
            }
            answers
        })
    }

    /// Whether an effect whose answer was lost took place: creations by idempotency key, changes by comparing the live
    /// record with what was wanted. Never writes.
    ///
    /// An effect that took place by half (a task that hangs on no company) is absent: carrying it out again repairs it.
    /// [`LookUp::Absent`] right after a time-out may still change; wait longer than the system may take to commit.
    ///
    /// # Errors
    /// [`SendError`], except that nothing was sent that could change a record.
    fn look_up<'a>(&'a self, effect: &'a Effect, at: Timestamp) -> Answer<'a, LookUp>;

    /// Live values of what the effect would change, for a before/after picture. Never writes.
    ///
    /// # Errors
    /// [`SendError`]. A record that does not exist yet is no error: its `record` is `None`.
    fn read<'a>(&'a self, effect: &'a Effect) -> Answer<'a, Diff>;

    /// The next page of records of an object, deleted ones too. Begin without a cursor and go on until a page has none.
    ///
    /// Where the records come in the order of their changes, a page says how far that is ([`ReadPage::reached`]).
    ///
    /// # Errors
    /// [`SendError`], except that nothing was sent that could change a record.
    fn page<'a>(&'a self, ask: &'a Ask, cursor: Option<&'a str>) -> Answer<'a, ReadPage>;

    /// The records with these ids as they are now, at most [`Tool::records_most`] of them; one that is not there any more comes as
    /// deleted, with its id as the only value. No index stands between: what was just written is seen.
    ///
    /// # Errors
    /// [`SendError`], except that nothing was sent that could change a record.
    fn records<'a>(&'a self, ask: &'a Ask, ids: &'a [String]) -> Answer<'a, Vec<ReadRow>> {
        let _ = ids;
        let crm = self.crm();
        Box::pin(async move {
            Err(SendError::refused(
                &ask.object,
                "NOT_READ_BY_ID",
                &format!("records of {crm} are not read by their ids"),
                "read what changed with `perennial sync`",
            ))
        })
    }

    /// Records that [`Tool::records`] takes at once.
    fn records_most(&self) -> usize {
        100
    }

    /// Gives up a reading whose next page would be at `cursor`: what the CRM still does for it is ended. Best effort.
    ///
    /// # Errors
    /// [`SendError`]; the CRM then ends it by itself, later.
    fn abandon<'a>(&'a self, ask: &'a Ask, cursor: &'a str) -> Answer<'a, ()> {
        let _ = (ask, cursor);
        Box::pin(async { Ok(()) })
    }

    /// The fields of an object that we may see there. Never writes.
    ///
    /// # Errors
    /// [`SendError`]; [`SendError::Refused`] where there is no such object, or none that we may see.
    fn fields<'a>(&'a self, object: &'a str) -> Answer<'a, BTreeSet<String>>;

    /// Object whose records are accounts, and object whose records are deals.
    fn written_objects(&self) -> (&'static str, &'static str);

    /// Field that carries our key on records of an object that we make ourselves; `None` where we make none.
    fn own_key(&self, object: &str) -> Option<&'static str>;

    /// What undoing an effect would do now, by the receipt it left. Never writes.
    ///
    /// # Errors
    /// [`SendError`]; [`SendError::Refused`] where there is nothing to undo, or what was there before is not known.
    fn undoing<'a>(&'a self, effect: &'a Effect, receipt: &'a Receipt) -> Answer<'a, Undoing>;

    /// Undoes an effect: puts the values before it back, or takes away the record that it made. Doing it again changes nothing.
    ///
    /// # Errors
    /// [`SendError::Conflict`] with the fields that no longer hold what the effect wrote; nothing is written then.
    fn undo<'a>(
        &'a self,
        permit: Permit,
        effect: &'a Effect,
        receipt: &'a Receipt,
        at: Timestamp,
    ) -> Answer<'a, Receipt>;

    /// Connection, credentials, permissions, fields and budget. Never writes.
    ///
    /// # Errors
    /// Trouble with the system is a [`Finding`]; an error is left for what a finding cannot say.
    fn check<'a>(&'a self) -> Answer<'a, Vec<Finding>>;
}

/// Whether the permit and the effect belong together and to this tool.
pub(crate) fn covered(crm: Crm, permit: &Permit, effect: &Effect) -> Result<(), SendError> {
    let wrong = |what| {
        Err(SendError::refused(
            "effect",
            "WRONG_PERMIT",
            what,
            "report this: it is a defect",
        ))
    };
    if *permit.action() != effect.action {
        return wrong("the permit is for another action");
    }
    if effect.tool != crm {
        return wrong("the effect is for another system");
    }
    Ok(())
}

/// Whether an effect took place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LookUp {
    /// It did, wholly. The receipt has no before-image: that was lost with the answer.
    Done(Receipt),
    /// It did not, or only by half.
    Absent,
}

/// What an effect would change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diff {
    /// Object of the CRM, such as `Account` or `companies`.
    pub object: String,
    /// Record id there, when it exists.
    pub record: Option<String>,
    /// Where a person can see it.
    pub url: Option<String>,
    /// By field of the CRM. Holds every field the effect names, also those that already have the wanted value.
    pub fields: BTreeMap<String, Change>,
}

/// What undoing an effect would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undoing {
    /// The change: what the fields hold now and what they will hold. Without fields where the record goes.
    pub diff: Diff,
    /// How.
    pub how: UndoBy,
    /// Fields that no longer hold what the effect wrote: while there are any, it is not undone.
    pub changed: Vec<FieldConflict>,
}

/// How an effect is undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UndoBy {
    /// The values before it are written.
    Writing,
    /// The record that it made is deleted.
    Deleting,
    /// There is nothing left to do: the record is as it was before.
    Nothing,
}

/// One field before and after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The live value; `None` when empty or when there is no record yet.
    pub before: Option<String>,
    /// The value that would be written, already cut to what the field holds.
    pub after: String,
}

impl Change {
    /// Whether the write would alter the field.
    #[must_use]
    pub fn is_change(&self) -> bool {
        !text::same(self.before.as_deref().unwrap_or_default(), &self.after)
    }
}

/// One line of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad.
    pub level: Level,
    /// What was looked at, such as `Task fields`.
    pub subject: String,
    /// What was found.
    pub message: String,
    /// What to do; `None` when there is nothing to do.
    pub remedy: Option<String>,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Ok,
    /// Works, but will not for long, or not for everything.
    Warn,
    /// Does not work.
    Bad,
}

impl Finding {
    pub(crate) fn ok(subject: &str, message: impl Into<String>) -> Finding {
        Finding {
            level: Level::Ok,
            subject: subject.to_owned(),
            message: message.into(),
            remedy: None,
        }
    }

    pub(crate) fn warn(subject: &str, message: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding {
            level: Level::Warn,
            subject: subject.to_owned(),
            message: message.into(),
            remedy: Some(remedy.into()),
        }
    }

    pub(crate) fn bad(subject: &str, message: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding {
            level: Level::Bad,
            subject: subject.to_owned(),
            message: message.into(),
            remedy: Some(remedy.into()),
        }
    }
}

/// An error as a line of a check.
pub(crate) fn trouble(subject: &str, error: &SendError) -> Finding {
    let message = match error {
        SendError::Unknown { source, .. } => source.to_string(),
        SendError::Refused { .. }
        | SendError::Conflict { .. }
        | SendError::Busy { .. }
        | SendError::Unauthorised { .. }
        | SendError::NotConfigured { .. } => error.to_string(),
    };
    let remedy = match error {
        SendError::Refused { remedy, .. }
        | SendError::Unauthorised { remedy }
        | SendError::NotConfigured { remedy, .. } => remedy.as_str(),
        SendError::Busy { .. } | SendError::Unknown { .. } | SendError::Conflict { .. } => {
            "check base_url, the network and the status page of the CRM, then try again"
        }
    };
    Finding::bad(subject, message, remedy)
}

/// The tools of this installation, at most one per system.
#[derive(Default, Clone)]
pub struct Registry {
    tools: BTreeMap<Crm, Arc<dyn Tool>>,
}

impl Registry {
    /// No tools.
    #[must_use]
    pub fn new() -> Registry {
        Registry::default()
    }

    /// Adds a tool; it takes the place of an earlier one for the same system.
    #[must_use]
    pub fn with(mut self, tool: Arc<dyn Tool>) -> Registry {
        self.tools.insert(tool.crm(), tool);
        self
    }

    /// The tool for a system, where there is one.
    #[must_use]
    pub fn get(&self, crm: Crm) -> Option<Arc<dyn Tool>> {
        self.tools.get(&crm).cloned()
    }

    /// The tool for a system.
    ///
    /// # Errors
    /// [`SendError::NotConfigured`] when there is none.
    pub fn require(&self, crm: Crm) -> Result<Arc<dyn Tool>, SendError> {
        self.get(crm).ok_or_else(|| SendError::NotConfigured {
            crm,
            remedy: format!("add a [{crm}] section with base_url and a token to the configuration"),
        })
    }

    /// The systems there are tools for, in the order of [`Crm`].
    pub fn crms(&self) -> impl Iterator<Item = Crm> + '_ {
        self.tools.keys().copied()
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.tools.keys()).finish()
    }
}
