//! Actions and their effects: what we do, and the life of doing it.
//!
//! An action is one card: one verdict, one or more effects. An effect is exactly one change outside, with an
//! idempotency key fixed when it was decided.
//!
//! INVARIANT (nothing acts without a permit): a [`Permit`] has no public constructor. It comes from a verdict of `auto`
//! ([`crate::policy::Verdict::permit`]), from a recorded approval, or from a stored permit that still
//! matches its effect.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{AccountId, ActionId, EffectId, OwnerId};
use crate::replay::{Hash, canonical};
use crate::signal::{ContactRole, Crm, word_enum};
use crate::time::{Day, Timestamp};
use crate::word::open_words;

open_words! {
    /// Kind of an action, the rows of `policies/autonomy.toml`.
    ActionKind {
        /// A task for one of our people in the CRM.
        CREATE_TASK = "createTask",
        /// A change of fields of the account in the CRM.
        UPDATE_FIELD = "updateField",
        /// A change of a deal in the CRM, of the roles of people in it too.
        UPDATE_OPPORTUNITY = "updateOpportunity",
        /// A note on the account in the CRM.
        CREATE_NOTE = "createNote",
        /// A mail to the customer.
        SEND_EMAIL = "sendEmail",
        /// A quarterly business review for the customer.
        SEND_QBR = "sendQbr",
        /// A renewal proposal for the customer.
        SEND_RENEWAL = "sendRenewal",
        /// A price below the list.
        OFFER_DISCOUNT = "offerDiscount",
    }
}

word_enum! {
    /// Fields of an account that we may own in a CRM.
    AccountField {
        /// Health score, 0 to 100, higher is healthier.
        Health = "health",
        /// Renewal risk in percent.
        RenewalRisk = "renewal_risk",
        /// Renewal posture in a word.
        Posture = "posture",
        /// What comes next, in a sentence.
        NextStep = "next_step",
        /// What the engine last saw, in a paragraph.
        Summary = "summary",
    }
}

word_enum! {
    /// Fields of a deal that we may write in a CRM.
    DealField {
        /// What comes next, in a sentence.
        NextStep = "next_step",
        /// Stage in the words of the CRM.
        Stage = "stage",
    }
}

word_enum! {
    /// How urgent a task is.
    Priority {
        /// Today.
        High = "high",
        /// This week.
        Normal = "normal",
        /// When there is time.
        Low = "low",
    }
}

/// One change outside, in words that hold for every CRM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Write {
    /// Sets fields of the account. Values are plain text; the adapter knows the type each CRM wants.
    UpdateAccount {
        /// New values by field.
        fields: BTreeMap<AccountField, String>,
    },
    /// Opens a task on the account.
    CreateTask {
        /// One line.
        subject: String,
        /// Everything the person needs, plain text.
        body: String,
        /// Day by which it should be done.
        due: Day,
        /// Urgency.
        priority: Priority,
        /// Person it is for, by our id; the adapter maps it or leaves the CRM's default.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        assignee: Option<OwnerId>,
    },
    /// Puts a note on the account.
    CreateNote {
        /// One line.
        title: String,
        /// Text, plain or Markdown.
        body: String,
    },
    /// Sets next step or stage of a deal.
    UpdateOpportunity {
        /// External id of the deal in its source.
        opportunity: String,
        /// Its record in the CRM, where known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        crm_id: Option<String>,
        /// New next step.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next_step: Option<String>,
        /// New stage, in the words of the CRM.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stage: Option<String>,
        /// What these fields said when it was decided, where the facts knew it: another value is somebody's edit.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        seen: BTreeMap<DealField, String>,
    },
    /// Says what a person at the customer is to a deal.
    SetContactRole {
        /// External id of the deal in its source.
        opportunity: String,
        /// Its record in the CRM, where known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        crm_id: Option<String>,
        /// The person's record in the CRM.
        contact: String,
        /// Their name, for whoever reads the card.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        contact_name: Option<String>,
        /// What they are from now on; the adapter knows the CRM's word for it.
        role: ContactRole,
        /// What they were to this deal when it was decided, where the facts knew it: another value is somebody's edit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seen: Option<ContactRole>,
    },
}

impl Write {
    /// The row of the autonomy table that governs this write.
    #[must_use]
    pub fn kind(&self) -> ActionKind {
        match self {
            Write::UpdateAccount { .. } => ActionKind::UPDATE_FIELD,
            Write::CreateTask { .. } => ActionKind::CREATE_TASK,
            Write::CreateNote { .. } => ActionKind::CREATE_NOTE,
            Write::UpdateOpportunity { .. } | Write::SetContactRole { .. } => ActionKind::UPDATE_OPPORTUNITY,
        }
    }
}

/// The account an effect is about, as the CRM knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Our account.
    pub account: AccountId,
    /// Name, for messages and for a record that has to be made in a sandbox.
    pub account_name: String,
    /// Record id in the CRM, where the account's facts say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crm_id: Option<String>,
}

/// One change outside. One row of the outbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// Idempotency key.
    pub id: EffectId,
    /// Action it belongs to.
    pub action: ActionId,
    /// Place in the action, from 0.
    pub step: u32,
    /// System that it goes to.
    pub tool: Crm,
    /// Account it is about.
    pub target: Target,
    /// What changes.
    pub write: Write,
}

/// Why an effect may run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ground {
    /// Policy lets it run without a person.
    Verdict {
        /// Hash of the policy that said so.
        content: Hash,
        /// Rule, as `file:line`.
        rule: String,
    },
    /// A person approved it.
    Approval {
        /// Who said the last yes that was needed.
        by: String,
        /// Whose roles they used, where not their own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        authority: Option<String>,
        /// Whose roles the yeses before it used, where several had to say it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        with: Vec<String>,
        /// When.
        at: Timestamp,
        /// Hash of the policy it was given under.
        content: Hash,
    },
}

/// The right to carry out one action exactly as it was decided, used once.
#[derive(Debug, PartialEq, Eq)]
pub struct Permit {
    record: PermitRecord,
}

/// A permit as it is stored beside its effect. Turn it back with [`PermitRecord::verify`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PermitRecord {
    action: ActionId,
    /// Hash of the effects it covers.
    effects: Hash,
    ground: Ground,
}

/// A stored permit that does not cover the effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PermitError {
    /// The permit is for another action.
    #[error("the permit is for `{permit}`, the effect belongs to `{effect}`")]
    OtherAction {
        /// Action of the permit.
        permit: ActionId,
        /// Action of the effect.
        effect: ActionId,
    },
    /// What would run is not what was permitted.
    #[error("the effect is not what was permitted: it was changed after the permit was given")]
    Changed,
}

/// Hash of what a permit covers: every effect of the action, in order.
#[must_use]
pub fn effects_hash(effects: &[Effect]) -> Hash {
    Hash::of(canonical(&effects).as_bytes())
}

impl Permit {
    /// Crate-only: the verdict and the approval call it, nothing else.
    pub(crate) fn new(action: ActionId, effects: &[Effect], ground: Ground) -> Permit {
        Permit {
            record: PermitRecord {
                action,
                effects: effects_hash(effects),
                ground,
            },
        }
    }

    /// The permit as it is stored.
    #[must_use]
    pub fn record(&self) -> &PermitRecord {
        &self.record
    }

    /// Action it is for.
    #[must_use]
    pub fn action(&self) -> &ActionId {
        &self.record.action
    }
}

impl PermitRecord {
    /// Why the effects may run.
    #[must_use]
    pub fn ground(&self) -> &Ground {
        &self.ground
    }

    /// Turns a stored permit into the right to carry out `effect`, one of `all` effects of its action.
    ///
    /// # Errors
    /// [`PermitError`] when the effect is not exactly one of those that were permitted.
    pub fn verify(self, effect: &Effect, all: &[Effect]) -> Result<Permit, PermitError> {
        if self.action != effect.action {
            return Err(PermitError::OtherAction {
                permit: self.action,
                effect: effect.action.clone(),
            });
        }
        if self.effects != effects_hash(all) || !all.contains(effect) {
            return Err(PermitError::Changed);
        }
        Ok(Permit { record: self })
    }
}

word_enum! {
    /// What a tool did.
    Done {
        /// Made a record.
        Created = "created",
        /// Changed a record.
        Updated = "updated",
        /// Nothing to change: the record already said so.
        NoChange = "no_change",
        /// Found its own earlier work by the idempotency key.
        AlreadyDone = "already_done",
        /// Took away a record of its own, when a person undid its making.
        Deleted = "deleted",
    }
}

/// What a tool answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// System.
    pub tool: Crm,
    /// What it did.
    pub done: Done,
    /// Object of the CRM, such as `Task` or `companies`.
    pub object: String,
    /// Record id there.
    pub record: String,
    /// Where a person can see it.
    pub url: String,
    /// Values before the write, by field of the CRM; absent means empty.
    pub before: BTreeMap<String, String>,
    /// Values written, by field of the CRM.
    pub after: BTreeMap<String, String>,
    /// When the answer came.
    pub at: Timestamp,
}

impl Receipt {
    /// Values written by field, without the remarks about cut and untouched fields (`<field> (..)`).
    pub fn values_after(&self) -> impl Iterator<Item = (&str, &str)> {
        self.after
            .iter()
            .filter(|(name, _)| !name.ends_with(')'))
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

word_enum! {
    /// Where an action stands.
    ActionState {
        /// Policy says no.
        Denied = "denied",
        /// Shown as advice; a person may do it by hand.
        Advised = "advised",
        /// Waits for a person.
        Pending = "pending",
        /// A person changed it; waits for an approval of the change.
        Edited = "edited",
        /// Comes back on a date.
        Snoozed = "snoozed",
        /// Waits for the answer to a question.
        Deferred = "deferred",
        /// May run; its effects are in the outbox.
        Permitted = "permitted",
        /// All effects done.
        Executed = "executed",
        /// An effect was refused for good, or given up.
        Failed = "failed",
        /// A person said no.
        Rejected = "rejected",
        /// Nobody answered in time.
        Expired = "expired",
        /// A newer action took its place.
        Superseded = "superseded",
    }
}

impl ActionState {
    /// Whether the action can still change.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(
            self,
            ActionState::Pending
                | ActionState::Edited
                | ActionState::Snoozed
                | ActionState::Deferred
                | ActionState::Permitted
                | ActionState::Failed
        )
    }

    /// Whether a person has to do something.
    #[must_use]
    pub fn waits(self) -> bool {
        matches!(self, ActionState::Pending | ActionState::Edited)
    }
}

word_enum! {
    /// Where an effect stands.
    EffectState {
        /// Waits for a worker, a CRM or its time.
        Waiting = "waiting",
        /// A worker has it.
        Leased = "leased",
        /// Done, with a receipt.
        Done = "done",
        /// Sent, the answer was lost: look it up before anything else.
        Unknown = "unknown",
        /// Refused for good, or given up after the written number of attempts.
        Failed = "failed",
        /// Taken back before it was sent.
        Withdrawn = "withdrawn",
        /// Not written: somebody else changed the record meanwhile, and a person says whose value stays.
        Conflict = "conflict",
    }
}
