//! The whole pipeline on one page: from inputs to a decision, with no other input than its arguments.

mod again;
mod plays;

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::action::{ActionKind, ActionState, Effect, Write, effects_hash};
use crate::candidate::{Candidate, Due, EvidenceLine, Known, LeftOut, candidates};
use crate::detect::{Detection, Peers, detect};
use crate::draft::{DocumentKind, Draft};
use crate::earned::{Segment, kinds_of};
use crate::feature::{self, Features, Feeds, Renewal};
use crate::ids::{AccountId, ActionId, OwnerId, PlaybookId, TenantId};
use crate::number::Micro;
use crate::play::{Asked, Life, Move, OfPlay, Running};
use crate::policy::gate::limits::excludes;
use crate::policy::gate::{Addressee, Before, Sending, Vocabulary};
use crate::policy::{Level, Policies, Request, RuleRef, Verdict};
use crate::rank::{DayItem, Worth};
use crate::replay::Hash;
use crate::score::{self, Scores};
use crate::signal::{Crm, Owner, OwnerRole};
use crate::snapshot::{PriorAction, Snapshot};
use crate::time::{Day, Timestamp};

pub use again::{Again, verdicts_again};
pub(crate) use plays::Book;

/// Version of the rules in this crate: a stored decision replays only with the version that made it. The number behind the
/// plus sign rises with every change that lets the same inputs come to another decision.
pub const ENGINE: &str = concat!("perennial-core ", env!("CARGO_PKG_VERSION"), "+rules.2");

/// Everything a decision depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inputs {
    /// Whose.
    pub tenant: TenantId,
    /// Hash of the policies and prompts.
    pub content: Hash,
    /// CRM of accounts whose record names none.
    pub default_crm: Crm,
    /// Name of our company, for documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub our_name: Option<String>,
    /// What is known of the account.
    pub snapshot: Snapshot,
    /// Our person in charge, where their record is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// What moved the use of all accounts at once.
    #[serde(default, skip_serializing_if = "Peers::is_empty")]
    pub peers: Peers,
    /// When the sources last delivered, for kinds whose age the policy limits.
    #[serde(default, skip_serializing_if = "Feeds::is_empty")]
    pub feeds: Feeds,
    /// Health at the starts of the weeks before, where it was known, the newest first: as far back as the band needs it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub health_before: Vec<Micro>,
    /// Plays of the account that run since an earlier day, in the order of their ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plays: Vec<Running>,
    /// What people have promoted for the account's tier, and nothing has taken back: it may run by itself where the table says
    /// `if earned`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earned: Vec<Segment>,
}

/// What follows for one account at one time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Version of the rules.
    pub engine: String,
    /// Hash of the policies and prompts.
    pub content: Hash,
    /// Account.
    pub account: AccountId,
    /// Facts up to here.
    pub as_of: Timestamp,
    /// Our person in charge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<OwnerId>,
    /// What the facts mean.
    pub features: Features,
    /// Agreements with an end ahead.
    pub renewals: Vec<Renewal>,
    /// Scores.
    pub scores: Scores,
    /// What has changed; what is calm is absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signals: Vec<Detection>,
    /// What is proposed, the most valuable minute first.
    pub proposals: Vec<Proposal>,
    /// What plays do beside what they propose, in the order of their ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plays: Vec<Move>,
    /// What was left out, and why.
    pub notes: Vec<Note>,
    /// Drafted documents by action; their texts are part of the effects, so they are not written twice.
    #[serde(skip)]
    pub drafts: BTreeMap<ActionId, Draft>,
}

/// One proposed action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// Its id.
    pub action: ActionId,
    /// Playbook.
    pub playbook: PlaybookId,
    /// Playbook's name for people.
    pub playbook_name: String,
    /// Where its condition stands, as `file:line`.
    pub rule: String,
    /// Kind.
    pub kind: ActionKind,
    /// What it is about.
    pub subject: String,
    /// What to do, to whom, by when.
    pub title: String,
    /// Why.
    pub because: String,
    /// Our person in charge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<OwnerId>,
    /// What it is worth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worth: Option<Worth>,
    /// The fact without which the worth cannot be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worth_missing: Option<String>,
    /// Minutes of a person; 0 when nobody has to do anything.
    pub minutes: i64,
    /// Facts that speak for it.
    pub evidence: Vec<EvidenceLine>,
    /// What policy says.
    pub verdict: Verdict,
    /// Where it stands when it is decided.
    pub state: ActionState,
    /// By when.
    pub due: Day,
    /// Unanswered, it ends so many days after it was decided.
    pub expires_days: i64,
    /// What it writes.
    pub effects: Vec<Effect>,
    /// Drafted document, by hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<DocumentRef>,
    /// The play it is a step of, where it is one of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub play: Option<OfPlay>,
}

/// A drafted document, named by its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentRef {
    /// Kind.
    pub kind: DocumentKind,
    /// Hash of its text.
    pub hash: Hash,
}

/// Why something was left out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Note {
    /// What kind of reason.
    pub kind: NoteKind,
    /// Playbook concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub playbook: Option<PlaybookId>,
    /// The reason, for people.
    pub text: String,
}

crate::signal::word_enum! {
    /// Kind of a note.
    NoteKind {
        /// The account has left.
        Churned = "churned",
        /// The account is in the untreated arm.
        Holdout = "holdout",
        /// A fact is missing.
        CannotAssess = "cannot_assess",
        /// The same was proposed lately.
        Suppressed = "suppressed",
        /// A rule forbids it.
        Denied = "denied",
        /// It costs more than it brings.
        NotWorth = "not_worth",
        /// One step of an action has nothing to write to.
        StepLeftOut = "step_left_out",
        /// A document could not be drafted.
        Draft = "draft",
        /// Nobody owns the account.
        NoOwner = "no_owner",
    }
}

impl Note {
    pub(crate) fn about(kind: NoteKind, playbook: &str, text: String) -> Note {
        Note {
            kind,
            playbook: Some(PlaybookId::new(playbook)),
            text,
        }
    }
}

/// Decides about one account. The same inputs and policies give the same bytes, anywhere, any time.
#[must_use]
pub fn decide(inputs: &Inputs, policies: &Policies) -> Decision {
    let snapshot = &inputs.snapshot;
    let (account, as_of) = (&snapshot.account_id, snapshot.as_of);
    let (mut features, renewals) = feature::compute(snapshot, &policies.settings);
    feature::mark_stale(snapshot, &mut features, &inputs.feeds, &policies.scoring.feeds);
    let mut scores = score::score(
        snapshot,
        &mut features,
        &renewals,
        &policies.scoring,
        &policies.settings,
    );
    scores
        .health
        .hold_band(&inputs.health_before, policies.scoring.health.bands);
    let signals = match &policies.scoring.signals {
        Some(policy) => {
            let at_risk_from = policies.scoring.posture.at_risk_from;
            detect(snapshot, &inputs.peers, &mut features, &scores, at_risk_from, policy)
        }
        None => Vec::new(),
    };
    let mut notes = Vec::new();
    let treated = may_treat(&features, &mut notes);
    let books = if treated {
        plays::books(inputs, policies, &mut notes)
    } else {
        Vec::new()
    };
    let moves: Vec<Move>;
    let (mut candidates, left_out) = if treated {
        let matched = policies.triggers.matches(&features);
        notes.extend(matched.cannot_assess.iter().map(|(playbook, missing)| {
            Note::about(
                NoteKind::CannotAssess,
                playbook,
                format!("cannot assess: {}", missing.join(", ")),
            )
        }));
        let holds = matched.holds.iter().filter_map(|id| policies.playbooks.get(id));
        let known = Known {
            inputs,
            features: &features,
            renewals: &renewals,
            scores: &scores,
        };
        let (moved, mut due) = plays::go_on(&known, &books, &mut notes);
        moves = moved;
        due.extend(holds.filter_map(Due::of_trigger));
        candidates(&known, due, policies, &mut notes)
    } else {
        let reason = notes.first().map_or("", |note| note.text.as_str());
        moves = plays::end_all(inputs, reason);
        (Vec::new(), Vec::new())
    };
    candidates.sort_by_key(order);
    let (candidates, conflicting) = apart(candidates, policies);
    let left_out: Vec<LeftOut> = left_out.into_iter().chain(conflicting).collect();
    let owner = snapshot.account_fact().and_then(|a| a.owner.clone());
    if owner.is_none() && !candidates.is_empty() {
        notes.push(Note {
            kind: NoteKind::NoOwner,
            playbook: None,
            text: "nobody owns this account".to_owned(),
        });
    }
    let contacts_7_days = contacts(snapshot.prior.iter(), as_of.day(), policies.gate.vocabulary());
    let (whom, before) = (Addressee::of(snapshot), Before::of(snapshot));
    let earned = kinds_of(&inputs.earned, &features, policies.gate.vocabulary());
    let mut drafts = BTreeMap::new();
    let mut proposals = Vec::new();
    for candidate in candidates {
        let asking = Asking {
            kind: candidate.kind,
            playbook: candidate.playbook.id.as_str(),
            discount: candidate.playbook.economics.discount.map(|d| d.share),
            effects: &candidate.effects,
            features: &features,
            snapshot,
            whom: &whom,
            before: &before,
            contacts_7_days,
            earned: &earned,
        };
        let mut verdict = verdict_of(&asking, policies);
        if candidate.approve {
            ask_a_person(&mut verdict, &candidate.rule);
        }
        let document = candidate.draft.as_ref().map(|d| DocumentRef {
            kind: d.kind,
            hash: d.hash,
        });
        let proposal = proposal(&candidate, verdict, owner.clone(), document);
        if let Some(draft) = candidate.draft {
            drafts.insert(proposal.action.clone(), draft);
        }
        proposals.push(proposal);
    }
    why_not(left_out, &proposals, &mut notes);
    notes.sort();
    Decision {
        engine: ENGINE.to_owned(),
        content: inputs.content,
        account: account.clone(),
        as_of,
        owner,
        features,
        renewals,
        scores,
        signals,
        proposals,
        plays: moves,
        notes,
        drafts,
    }
}

/// A step that asks a person narrows what the table says, and never widens it.
pub(crate) fn ask_a_person(verdict: &mut Verdict, step: &(String, usize)) {
    if verdict.level == Level::Auto {
        verdict.level = Level::Approve;
        verdict.role = Some(OwnerRole::CSM);
        verdict.delay_minutes = None;
        let rule = RuleRef {
            id: "step:approve".to_owned(),
            file: step.0.clone(),
            line: step.1,
            why: "this step of the playbook asks a person".to_owned(),
        };
        verdict.rules.insert(0, rule);
    }
}

impl Decision {
    /// Whether the band of the health depends on what the health was before, which [`Inputs::health_before`] tells.
    #[must_use]
    pub fn band_needs_past(&self, policies: &Policies) -> bool {
        self.scores.health.band_needs_past(policies.scoring.health.bands)
    }

    /// Takes up [`Inputs::health_before`] that was not there when [`decide`] was asked: the decision is then the one that
    /// `decide` would give, because nothing but the band depends on it.
    pub fn hold_band(&mut self, inputs: &Inputs, policies: &Policies) {
        let bands = policies.scoring.health.bands;
        self.scores.health.hold_band(&inputs.health_before, bands);
    }
}

/// Customers who have left and accounts of the untreated arm get nothing proposed.
fn may_treat(features: &Features, notes: &mut Vec<Note>) -> bool {
    let stop = [
        ("churned", NoteKind::Churned, "the customer has left"),
        (
            "holdout",
            NoteKind::Holdout,
            "the account is in the untreated arm of an experiment",
        ),
    ];
    for (fact, kind, text) in stop {
        if features.flag(fact) == Some(true) {
            notes.push(Note {
                kind,
                playbook: None,
                text: text.to_owned(),
            });
        }
    }
    notes.is_empty()
}

/// Place in the order: more per minute first, unknown worth last, ties by id.
type Order = (Reverse<Option<Micro>>, ActionId);

fn order(candidate: &Candidate<'_>) -> Order {
    let per_minute = candidate.worth.as_ref().ok().map(|w| w.per_minute_micro);
    (Reverse(per_minute), candidate.action.clone())
}

/// Of playbooks that exclude each other, only the one with the more valuable minute.
fn apart<'a>(candidates: Vec<Candidate<'a>>, policies: &Policies) -> (Vec<Candidate<'a>>, Vec<LeftOut>) {
    let (mut kept, mut left_out): (Vec<Candidate<'a>>, Vec<LeftOut>) = (Vec::new(), Vec::new());
    for candidate in candidates {
        let id = candidate.playbook.id.as_str();
        let days = |other: &Candidate<'_>| excludes(policies, id, other.playbook.id.as_str());
        match kept.iter().find_map(|k| Some((k.playbook.id.clone(), days(k)?))) {
            None => kept.push(candidate),
            Some((other, days)) => left_out.push(LeftOut {
                note: Note::about(
                    NoteKind::Suppressed,
                    id,
                    format!("not within {days} days of `{other}`, which is proposed now"),
                ),
                action: candidate.action,
                worth: Some(candidate.worth),
            }),
        }
    }
    (kept, left_out)
}

/// Notes on what was left out or denied, with the place it would have had among what may happen.
fn why_not(left_out: Vec<LeftOut>, proposals: &[Proposal], notes: &mut Vec<Note>) {
    let per_minute = |worth: Option<&Worth>| Reverse(worth.map(|w| w.per_minute_micro));
    let place = |worth: Option<&Worth>, action: &ActionId| {
        let ahead = proposals
            .iter()
            .filter(|p| p.verdict.level != Level::Never)
            .filter(|p| (per_minute(p.worth.as_ref()), &p.action) < (per_minute(worth), action));
        ordinal(ahead.count() + 1)
    };
    for LeftOut {
        mut note,
        action,
        worth,
    } in left_out
    {
        if let Some(worth) = worth {
            let place = place(worth.as_ref().ok(), &action);
            note.text = format!("would have been {place}, left out: {}", note.text);
        }
        notes.push(note);
    }
    for p in proposals.iter().filter(|p| p.verdict.level == Level::Never) {
        let place = place(p.worth.as_ref(), &p.action);
        let rules = p.verdict.rules.first().map_or_else(String::new, |rule| {
            format!(" by {}:{} ({}: {})", rule.file, rule.line, rule.id, rule.why)
        });
        let text = format!("would have been {place}, denied{rules}");
        notes.push(Note::about(NoteKind::Denied, p.playbook.as_str(), text));
    }
}

/// `first` to `tenth`, then `number 11` and so on.
fn ordinal(place: usize) -> String {
    const WORDS: [&str; 10] = [
        "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth",
    ];
    let word = place.checked_sub(1).and_then(|i| WORDS.get(i));
    word.map_or_else(|| format!("number {place}"), |w| (*w).to_owned())
}

/// Days that count for the limit of contacts with a customer.
const CONTACT_DAYS: i64 = 7;

/// How many actions towards the customer ran in the last seven days before `today`.
#[must_use]
pub fn contacts<'a>(prior: impl Iterator<Item = &'a PriorAction>, today: Day, named: &Vocabulary) -> u32 {
    let sent = |s: ActionState| matches!(s, ActionState::Permitted | ActionState::Executed);
    let count = prior
        .filter(|p| named.is_customer_facing(p.kind) && sent(p.state) && p.day.days_until(today) <= CONTACT_DAYS)
        .count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// When an action that may run from `at` on reaches the customer: what they see within contact hours, anything else at
/// once. None where contact hours allow no moment within a year.
#[must_use]
pub fn sending(policies: &Policies, kind: ActionKind, at: Timestamp, whom: &Addressee) -> Option<Sending> {
    let calendar = &policies.gate.table().calendar;
    if policies.gate.vocabulary().is_customer_facing(kind) {
        calendar.sending(at, whom)
    } else {
        let local = calendar.local(at, whom);
        Some(Sending { at, local })
    }
}

/// What is asked about one action.
struct Asking<'a> {
    kind: ActionKind,
    playbook: &'a str,
    discount: Option<f64>,
    effects: &'a [Effect],
    features: &'a Features,
    snapshot: &'a Snapshot,
    whom: &'a Addressee,
    before: &'a Before,
    contacts_7_days: u32,
    earned: &'a [ActionKind],
}

fn verdict_of(asking: &Asking<'_>, policies: &Policies) -> Verdict {
    let snapshot = asking.snapshot;
    let sending = sending(policies, asking.kind, snapshot.as_of, asking.whom);
    let request = Request {
        account: &snapshot.account_id,
        kind: asking.kind,
        writes: asking.effects.iter().map(|e| &e.write).collect(),
        features: asking.features,
        playbook: Some(asking.playbook),
        local: sending.and_then(|s| s.local),
        contacts_7_days: asking.contacts_7_days,
        contact_role: asking.whom.role,
        before: Some(asking.before),
        discount: asking.discount,
        draft: effects_hash(asking.effects),
        now: snapshot.as_of,
        last_editor: None,
        earned: asking.earned,
    };
    policies.gate.verdict(&request, &policies.settings)
}

fn proposal(
    candidate: &Candidate<'_>,
    verdict: Verdict,
    owner: Option<OwnerId>,
    document: Option<DocumentRef>,
) -> Proposal {
    let playbook = candidate.playbook;
    let state = match verdict.level {
        Level::Auto => ActionState::Permitted,
        Level::Approve => ActionState::Pending,
        Level::Advise => ActionState::Advised,
        Level::Never => ActionState::Denied,
    };
    let for_a_person = candidate
        .effects
        .iter()
        .any(|e| matches!(e.write, Write::CreateTask { .. }));
    let minutes = if verdict.level == Level::Auto && !for_a_person {
        0
    } else {
        candidate.minutes
    };
    let taken = matches!(state, ActionState::Permitted | ActionState::Pending);
    let play = candidate.play.clone().map(|mut of| {
        if let (Life::Running(standing), true) = (&mut of.moves.life, taken) {
            standing.asked = Some(Asked::Action {
                action: candidate.action.clone(),
                day: candidate.today,
            });
        }
        of
    });
    Proposal {
        action: candidate.action.clone(),
        playbook: playbook.id.clone(),
        playbook_name: playbook.name.clone(),
        rule: format!("{}:{}", candidate.rule.0, candidate.rule.1),
        kind: candidate.kind,
        subject: candidate.subject.clone(),
        title: candidate.title.clone(),
        because: candidate.because.clone(),
        owner,
        worth: candidate.worth.as_ref().ok().cloned(),
        worth_missing: candidate.worth.as_ref().err().cloned(),
        minutes,
        evidence: candidate.evidence.clone(),
        verdict,
        state,
        due: candidate.due,
        expires_days: candidate.expires_days,
        effects: candidate.effects.clone(),
        document,
        play,
    }
}

impl Proposal {
    /// The proposal as something that takes a person's time; `None` when it takes none or may not happen.
    #[must_use]
    pub fn day_item(&self, account: &AccountId) -> Option<DayItem> {
        let takes_time = match self.verdict.level {
            Level::Auto | Level::Approve => self.minutes > 0,
            Level::Advise | Level::Never => false,
        };
        takes_time.then(|| DayItem {
            action: self.action.clone(),
            account: account.clone(),
            gain_minor: self.worth.as_ref().map(|w| w.value_minor - w.next_minor),
            per_minute_micro: self.worth.as_ref().map(|w| w.per_minute_micro),
            minutes: self.minutes,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests;
