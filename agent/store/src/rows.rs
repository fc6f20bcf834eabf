//! What goes in and comes out: one struct per row, in core types. Long because they are all here.

use crate::conflicts::{ConflictField, Learned};
use perennial_core::action::{ActionKind, ActionState, Effect, EffectState, PermitRecord, Receipt};
use perennial_core::ids::{AccountId, ActionId, DecisionId, EffectId, OwnerId, PlaybookId, RunId};
use perennial_core::replay::Hash;
use perennial_core::signal::{Crm, OwnerRole, Signal, SignalKey, Tier};
use perennial_core::time::{Day, Timestamp};

use crate::packed::Packed;
use crate::plays::PlayChange;

/// A signal on its way in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSignal {
    /// Whom it is about.
    pub owner: Belongs,
    /// What it says.
    pub signal: Signal,
}

/// Whom a signal is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Belongs {
    /// This account.
    Account(AccountId),
    /// The account of that other record, which may not be known yet (usage of a subscription).
    Via(SignalKey),
    /// The whole portfolio.
    Portfolio,
}

/// What became of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// It is new and was stored.
    New,
    /// The same revision of the same record with the same content was there.
    Duplicate,
    /// The same revision of the same record was there with other content. The one with the greater content hash is
    /// kept, so that the order of arrival does not matter.
    Conflict {
        /// Which one was kept.
        kept: Kept,
    },
}

/// Which of two contents of one revision was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// What was there.
    Existing,
    /// What came in.
    Incoming,
}

/// What linking did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LinkReport {
    /// Signals that found their account now.
    pub linked: u64,
    /// Signals whose other record is still not known (or has no account itself).
    pub unlinked: u64,
    /// Some of the unlinked ones, as `kind:source/external id`, in order, at most ten.
    pub examples: Vec<String>,
}

/// What a migration did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationReport {
    /// Names of the migrations that were applied now, in order.
    pub applied: Vec<String>,
    /// Version afterwards.
    pub version: i64,
}

/// One run of the cycle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRow {
    /// Which.
    pub id: RunId,
    /// Facts as of.
    pub as_of: Timestamp,
    /// When it started. `start_run` takes this as the present.
    pub started_at: Timestamp,
    /// Last sign of life.
    pub heartbeat_at: Timestamp,
    /// A run without a sign of life for this long (microseconds) counts as dead.
    pub lease_us: i64,
    /// Hash of policies and prompts.
    pub content: Hash,
    /// Version of the engine.
    pub engine: String,
    /// When it finished; none while it goes, or when it died.
    pub finished_at: Option<Timestamp>,
    /// What it did, as text (JSON), once finished.
    pub summary: Option<String>,
}

/// One decision as it is stored. Never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionRow {
    /// About whom.
    pub account: AccountId,
    /// Which.
    pub id: DecisionId,
    /// The run that made it first.
    pub run: RunId,
    /// Facts as of.
    pub as_of: Timestamp,
    /// Canonical text of the inputs.
    pub inputs: Packed,
    /// Its hash.
    pub inputs_hash: Hash,
    /// Canonical text of what was decided.
    pub output: Packed,
    /// Its hash.
    pub output_hash: Hash,
    /// Hash of policies and prompts.
    pub content: Hash,
    /// Version of the engine.
    pub engine: String,
}

/// One decision with everything that follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionCommit {
    /// The decision.
    pub decision: DecisionRow,
    /// Actions it takes or proposes, all of the decision's account.
    pub actions: Vec<NewAction>,
    /// Earlier actions of the account whose place is taken. Only those that are pending, edited, snoozed or advised change.
    pub supersede: Vec<ActionId>,
    /// Entries for the ledger. One whose reference is an action, or an effect of an action, of this commit is written
    /// only if that action is new; any other only if the decision is new.
    pub ledger: Vec<LedgerDraft>,
    /// What plays of the account do beside what their actions bring.
    pub plays: Vec<PlayChange>,
}

/// A new action, with its effects if it may run at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAction {
    /// The action. `version`, `day_position`, `asked_role` and `asked_since` are not read: a new action has version 1 and no
    /// place, and one that waits is asked about from its storing on.
    pub row: ActionRow,
    /// Effects to carry out; empty unless the action is permitted.
    pub outbox: Vec<OutboxRow>,
    /// Limits it must find room in, and places it takes, if it is new; empty unless the action is permitted.
    pub holds: Vec<Hold>,
    /// The play it is a step of, as it is with it. Where the play has moved meanwhile, the action is not stored.
    pub play: Option<PlayChange>,
}

/// A limit that holds across actions: room that must be there, a place that is taken, or both.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hold {
    /// What is counted, such as `account` or `tier`.
    pub counter: String,
    /// Of whom or what.
    pub subject: String,
    /// There is no room once so many other actions have a place; none: a place is taken without asking.
    pub room: Option<u32>,
    /// How long the place counts after the last effect, microseconds; none: no place is taken.
    pub window_us: Option<i64>,
}

/// An action that found no room. Nothing of it was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoRoom {
    /// Which action.
    pub action: ActionId,
    /// Position of the hold in the action's holds.
    pub hold: usize,
}

/// One action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionRow {
    /// About whom.
    pub account: AccountId,
    /// Which.
    pub id: ActionId,
    /// The decision that proposed it.
    pub decision: DecisionId,
    /// Kind.
    pub kind: ActionKind,
    /// Playbook that proposed it.
    pub playbook: PlaybookId,
    /// What it is about: a contract, a contact, a quarter.
    pub subject: String,
    /// Where it stands.
    pub state: ActionState,
    /// Grows by one with every change.
    pub version: i64,
    /// One line for people.
    pub title: String,
    /// In whose queue it is.
    pub owner: Option<OwnerId>,
    /// Tier of the account when decided.
    pub tier: Option<Tier>,
    /// Role that may approve.
    pub role: Option<OwnerRole>,
    /// The verdict in a word.
    pub verdict: String,
    /// Expected value in minor units of `currency`.
    pub value_minor: Option<i64>,
    /// ISO 4217 code.
    pub currency: Option<String>,
    /// Minutes it takes a person.
    pub minutes: i64,
    /// Rank, higher first, in millionths.
    pub rank_micro: Option<i64>,
    /// Day by which it should be done.
    pub due: Day,
    /// Facts as of.
    pub as_of: Timestamp,
    /// Unanswered, it ends then.
    pub expires_at: Option<Timestamp>,
    /// Snoozed, it comes back then.
    pub snoozed_until: Option<Timestamp>,
    /// Who changed it last.
    pub last_editor: Option<String>,
    /// Role that is asked beyond the least one that may approve, since nobody answered or a person said so.
    pub asked_role: Option<OwnerRole>,
    /// Since when the present role is asked; none while nobody is.
    pub asked_since: Option<Timestamp>,
    /// Place in its owner's day by the latest plan, from 0; none when it is in nobody's day.
    pub day_position: Option<i64>,
    /// What is shown to people: JSON text.
    pub card: String,
    /// Canonical JSON of its effects, a `Vec<Effect>`.
    pub effects: String,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// One effect to be carried out, with the permit that lets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// What.
    pub effect: Effect,
    /// Why it may run.
    pub permit: PermitRecord,
    /// Not before.
    pub due_at: Timestamp,
}

/// What a commit of decisions did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CommitReport {
    /// Decisions stored now.
    pub decisions_new: u64,
    /// Decisions that were there.
    pub decisions_known: u64,
    /// Actions stored now.
    pub actions_new: u64,
    /// Actions that were there, left as they are.
    pub actions_known: u64,
    /// Effects put into the outbox now.
    pub effects_new: u64,
    /// Actions that gave way.
    pub superseded: u64,
    /// New actions that found no room in a limit, in the order of the batch.
    pub no_room: Vec<NoRoom>,
    /// Plays that began now.
    pub plays_begun: u64,
}

/// Which actions to list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QueueFilter {
    /// States; empty means all.
    pub states: Vec<ActionState>,
    /// Kinds; empty means all.
    pub kinds: Vec<ActionKind>,
    /// Only this person's.
    pub owner: Option<OwnerId>,
    /// Only this account's.
    pub account: Option<AccountId>,
    /// At most so many; 0 means 1,000.
    pub limit: u32,
}

/// A change of an action's state, with all that goes with it. The caller got it from `perennial_core::approval::apply`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// Account of the action.
    pub account: AccountId,
    /// Which action.
    pub action: ActionId,
    /// State in which the caller saw it.
    pub from: ActionState,
    /// Version in which the caller saw it.
    pub version: i64,
    /// New state.
    pub to: ActionState,
    /// New canonical effects text; none leaves it.
    pub effects: Option<String>,
    /// New last editor; none leaves it.
    pub last_editor: Option<String>,
    /// When it comes back; none clears it.
    pub snoozed_until: Option<Timestamp>,
    /// Whose queue it is in from now on; none leaves it.
    pub reassign: Option<OwnerId>,
    /// Role that is asked from now on; none leaves it while the state stays.
    pub asked_role: Option<OwnerRole>,
    /// What a person did, for the record.
    pub approval: Option<ApprovalRow>,
    /// Effects that may run now. An effect that is there and failed starts again; any other that is there stays.
    pub outbox: Vec<OutboxRow>,
    /// Limits it must find room in, and places it takes.
    pub holds: Vec<Hold>,
    /// Takes its effects back, for this reason; only while none of them was begun.
    pub withdraw: Option<String>,
    /// The play that waits for it, moved by this change.
    pub play: Option<PlayChange>,
    /// Entries for the ledger.
    pub ledger: Vec<LedgerDraft>,
    /// When it happens.
    pub at: Timestamp,
}

/// What a person did with an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalRow {
    /// Who.
    pub person: String,
    /// What, in a word: `approve`, `edit`, `reject`, `hold`, `snooze`, `retry`, `ask`, `answer`, `reassign`.
    pub verb: String,
    /// Whose roles were used, where not the person's own.
    pub authority: Option<String>,
    /// Roles the person had, as text.
    pub roles: String,
    /// Why, where asked for.
    pub reason: Option<String>,
    /// Hash of the effects the person saw.
    pub seen: Option<Hash>,
    /// Hash of the policy in force.
    pub content: Hash,
    /// When.
    pub at: Timestamp,
    /// Version of the action after it; not read when it is stored.
    pub version: i64,
}

/// Somebody's roles, lent to somebody else for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelegationRow {
    /// Which.
    pub id: String,
    /// Whose roles.
    pub giver: String,
    /// Who may use them.
    pub receiver: String,
    /// From when on.
    pub from: Timestamp,
    /// Until when, this moment not included.
    pub until: Timestamp,
    /// Why.
    pub reason: String,
    /// When it was given.
    pub at: Timestamp,
    /// When it was taken back.
    pub revoked_at: Option<Timestamp>,
}

/// A drafted document of an action. There is one per action, kind and format; putting it again replaces it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DraftRow {
    /// Account.
    pub account: AccountId,
    /// Action.
    pub action: ActionId,
    /// Kind of document.
    pub kind: String,
    /// Format, such as `md` or `html`.
    pub format: String,
    /// The document. Personal data.
    pub text: String,
    /// Its hash.
    pub hash: Hash,
}

/// An effect that a worker may carry out now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeasedEffect {
    /// What.
    pub effect: Effect,
    /// Why it may run; verify it against `all`.
    pub permit: PermitRecord,
    /// All effects of the action as they stand in the action.
    pub all: Vec<Effect>,
    /// Kind of the action.
    pub kind: ActionKind,
    /// Tier of the account when the action was decided.
    pub tier: Option<Tier>,
    /// Verdict of the action in a word.
    pub verdict: String,
    /// Attempts begun, this one included.
    pub attempts: i64,
    /// Number of this lease; give it back with the outcome.
    pub fence: i64,
    /// When this attempt began; give it back with the outcome.
    pub begun_at: Timestamp,
    /// `Waiting`: do it. `Unknown`: an earlier attempt was begun and its answer is missing, look it up first.
    pub state: EffectState,
    /// When the decision was stored that the effect follows from.
    pub decided_at: Timestamp,
    /// What an attempt found and sent whose answer is missing, as text.
    pub image: Option<String>,
    /// The decision that it follows from.
    pub decision: DecisionId,
    /// The run in which its action came to be.
    pub run: RunId,
    /// When its action was permitted.
    pub permitted_at: Timestamp,
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectOutcome {
    /// Account of the effect.
    pub account: AccountId,
    /// Which effect.
    pub effect: EffectId,
    /// Number of the lease.
    pub fence: i64,
    /// When the attempt began, as the lease says: it tells the month that the attempt's row is in.
    pub begun_at: Timestamp,
    /// What came of it.
    pub result: EffectResult,
    /// What became known of fields on the way; from a [`EffectResult::Conflict`] it is kept only where nothing is known of a field.
    pub learned: Vec<Learned>,
    /// Entries for the ledger; not written when the fence is stale.
    pub ledger: Vec<LedgerDraft>,
    /// When.
    pub at: Timestamp,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EffectResult {
    /// Done, with what the tool answered.
    Done(Receipt),
    /// Nothing happened outside; try again at `due_at`.
    Again {
        /// Why.
        error: String,
        /// Not before.
        due_at: Timestamp,
    },
    /// Sent, the answer was lost; look it up at `due_at`.
    Unknown {
        /// Why.
        error: String,
        /// Not before.
        due_at: Timestamp,
        /// What was found and sent, as text, where a change of fields was under way.
        image: Option<String>,
    },
    /// Not sent: somebody else changed the record. Later steps of the action wait with it for a person.
    Conflict {
        /// Why.
        error: String,
        /// Object of the CRM.
        object: String,
        /// Record id there.
        record: String,
        /// What was changed.
        fields: Vec<ConflictField>,
    },
    /// Not sent: this is no moment for it. It counts as no attempt, and the other steps that wait are put off with it.
    NotNow {
        /// Why.
        why: String,
        /// Not before.
        due_at: Timestamp,
    },
    /// Not sent: it may not happen any more. The other steps that wait are taken back with it.
    Withdrawn {
        /// Why.
        why: String,
    },
    /// Refused for good, or given up. Later steps of the action that still wait fail with it.
    Failed {
        /// Why.
        error: String,
    },
}

/// What settling did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SettleReport {
    /// Actions that now have no unfinished effect, in order of their ids.
    pub actions: Vec<SettledAction>,
    /// Effects whose outcome was not taken, because the lease has gone to somebody else or was settled before.
    pub refused: Vec<EffectId>,
}

/// An action all of whose effects are done or failed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SettledAction {
    /// Which.
    pub action: ActionId,
    /// Its account.
    pub account: AccountId,
    /// Whether an effect failed.
    pub any_failed: bool,
    /// Whether none was sent and all were taken back.
    pub withdrawn: bool,
    /// Whether a person has to settle a conflict.
    pub conflict: bool,
}

/// How many effects stand where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EffectCounts {
    /// Done.
    pub done: u64,
    /// Waiting or leased.
    pub waiting: u64,
    /// Answer lost, to be looked up.
    pub unknown: u64,
    /// Failed for good, or somebody else's edit stands against it.
    pub failed: u64,
}

/// One effect as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectRow {
    /// What.
    pub effect: Effect,
    /// System.
    pub tool: Crm,
    /// Where it stands.
    pub state: EffectState,
    /// Attempts begun.
    pub attempts: i64,
    /// Not before.
    pub due_at: Timestamp,
    /// What the tool answered, once done.
    pub receipt: Option<Receipt>,
    /// Last error.
    pub error: Option<String>,
}

/// One attempt of an effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRow {
    /// Which effect.
    pub effect: EffectId,
    /// Number of its lease.
    pub fence: i64,
    /// Who had it.
    pub worker: String,
    /// Begin.
    pub begun_at: Timestamp,
    /// End; none while it goes on, or when its worker died.
    pub ended_at: Option<Timestamp>,
    /// State of the effect after it.
    pub result: Option<String>,
    /// What went wrong.
    pub error: Option<String>,
}

/// An entry for the ledger, before it has its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerDraft {
    /// What it records, in a word, such as `intent` or `receipt`.
    pub kind: String,
    /// What it is about: id of a decision, an action or an effect.
    pub reference: String,
    /// Canonical text.
    pub body: String,
}

/// An entry of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerEntry {
    /// Account; none for the whole portfolio.
    pub account: Option<AccountId>,
    /// Place in the chain, from 1.
    pub seq: i64,
    /// When.
    pub at: Timestamp,
    /// What it records.
    pub kind: String,
    /// What it is about.
    pub reference: String,
    /// Canonical text.
    pub body: String,
    /// Hash of the entry before; [`Hash::ZERO`] for the first.
    pub previous: Hash,
    /// Its own hash, see [`crate::entry_hash`].
    pub hash: Hash,
}

/// Where the ledger ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerHead {
    /// Last place; 0 when it is empty.
    pub seq: i64,
    /// Hash of the last entry; [`Hash::ZERO`] when it is empty.
    pub hash: Hash,
}

/// How big the store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// Rows of this tenant by table, in order of the names.
    pub rows: Vec<(&'static str, u64)>,
    /// Bytes of the whole database on disk.
    pub bytes: u64,
    /// Version of the schema.
    pub schema_version: i64,
    /// The database and how it is set, for people.
    pub database: String,
}
