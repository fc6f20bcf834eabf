//! What people do with actions that wait: the deeds around `core::approval`.

use perennial_core::action::{ActionState, Effect};
use perennial_core::approval::{Asks, Assignee, Event, Item, Need, Person, Refused, Said, Vote, apply, unmet, votes};
use perennial_core::ids::RunId;
use perennial_core::policy::approvals::next_role;
use perennial_core::policy::gate::{Approval, Human};
use perennial_core::policy::{Level, Policies};
use perennial_core::replay::{Hash, UnreadableText, canonical, read};
use perennial_core::signal::OwnerRole;
use perennial_core::time::Timestamp;
use perennial_store::{ActionRow, ApprovalRow, LedgerDraft, OutboxRow, Store, StoreError, Transition};
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use crate::canaries;
use crate::config::Config;
use crate::content::ContentError;
use crate::limits::{Known, KnownError, asked, permitting, shown};
use crate::people::{People, PeopleError};

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The database failed, or the item changed meanwhile.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The rules of approvals refuse.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The policies cannot be read.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// A stored text cannot be read.
    #[error(transparent)]
    Unreadable(#[from] UnreadableText),
    /// It cannot be told who decides, or who is meant.
    #[error(transparent)]
    People(#[from] PeopleError),
    /// A limit across actions is used up; the action still waits.
    #[error("{why}; it still waits: approve it again later")]
    NotNow {
        /// The limit, with its file and line.
        why: String,
    },
    /// A role that may not approve.
    #[error("{role} may not approve this: ask {least} or a role that includes it")]
    TooJunior {
        /// Who was to be asked.
        role: OwnerRole,
        /// The least role that may approve.
        least: OwnerRole,
    },
    /// Policy would not allow the action any more.
    #[error("policy has changed: this is now `{now}` ({why}); the next run proposes it anew")]
    PolicyChanged {
        /// Verdict now.
        now: String,
        /// Deciding rule.
        why: String,
    },
}

impl From<KnownError> for QueueError {
    fn from(error: KnownError) -> QueueError {
        match error {
            KnownError::Store(error) => QueueError::Store(error),
            KnownError::Unreadable(error) => QueueError::Unreadable(error),
        }
    }
}

/// Items that housekeeping changes in one go.
const HOUSEKEEPING_ROWS: u32 = 10_000;

/// What the rules need of a stored action for events of the engine itself, which nobody approves.
pub(crate) fn item_of(row: &ActionRow) -> Result<Item, UnreadableText> {
    Ok(Item {
        action: row.id.clone(),
        state: row.state,
        effects: read("list of effects", &row.effects)?,
        needs: Vec::new(),
        votes: Vec::new(),
        own_roles_only: true,
        asks: Asks::default(),
        last_editor: row.last_editor.clone(),
        expires_at: row.expires_at,
        content: Hash::ZERO,
    })
}

/// The same with whose yes is needed by the policies in force, and who has said it.
pub(crate) fn item_for_people(row: &ActionRow, policies: &Policies, votes: Vec<Vote>) -> Result<Item, UnreadableText> {
    let named = policies.gate.vocabulary();
    let least = row.role.unwrap_or(OwnerRole::CSM);
    let needs = policies.approvals.needs(row.kind, row.tier, least, named);
    Ok(Item {
        needs: needs
            .into_iter()
            .map(|role| Need {
                role,
                sufficient: named.covering(role),
            })
            .collect(),
        votes,
        own_roles_only: !policies.approvals.lent_roles_count(row.tier),
        asks: Asks {
            reason: policies.approvals.yes_needs_reason(row.tier),
            yeses_left: None,
        },
        content: policies.content,
        ..item_of(row)?
    })
}

/// Who has said yes to an action as it stands.
async fn votes_of(store: &Store, row: &ActionRow, people: &People) -> Result<Vec<Vote>, StoreError> {
    let history: Vec<Said> = store
        .approvals_of(&row.id)
        .await?
        .into_iter()
        .map(|row| Said {
            by: row.person,
            authority: row.authority,
            verb: row.verb,
            seen: row.seen,
            version: row.version,
        })
        .collect();
    Ok(votes(&history, row.version, |id| {
        people.roles(id).unwrap_or_default().to_vec()
    }))
}

/// Whose yes an action still needs.
///
/// # Errors
/// [`QueueError`].
pub async fn still_needed(
    store: &Store,
    row: &ActionRow,
    policies: &Policies,
    people: &People,
) -> Result<Vec<OwnerRole>, QueueError> {
    let item = item_for_people(row, policies, votes_of(store, row, people).await?)?;
    let seen = perennial_core::action::effects_hash(&item.effects);
    let said: Vec<&[OwnerRole]> = item
        .votes
        .iter()
        .filter(|vote| vote.seen == seen)
        .map(|vote| vote.roles.as_slice())
        .collect();
    Ok(unmet(&item.needs, &said))
}

/// What came of a person's event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// New state.
    pub state: ActionState,
    /// Whose yes is still needed.
    pub still: Vec<OwnerRole>,
    /// Whose roles were used, where not the person's own.
    pub authority: Option<String>,
    /// What the person is told where the draft was a canary.
    pub canary: Option<String>,
}

/// Over how long the yeses of a person are counted.
const YESES_US: i64 = 24 * 60 * 60 * 1_000_000;

/// Applies an event of a person to an action, in one transaction with all that follows.
///
/// An approval is judged again by the present policy: it counts only while the policy would still ask for it.
///
/// # Errors
/// [`QueueError`]; nothing changes then.
pub async fn decide(
    config: &Config,
    store: &Store,
    row: &ActionRow,
    event: &Event,
    whom: (&Person, &People),
    policies: &Policies,
) -> Result<Decided, QueueError> {
    let span = approval_span(store, row, event).await?;
    let decided = decide_within(config, store, row, event, whom, policies)
        .instrument(span.clone())
        .await;
    let result = match &decided {
        Ok(decided) if decided.still.is_empty() => decided.state.as_str(),
        Ok(_) => "another_yes_needed",
        Err(QueueError::PolicyChanged { .. }) => "policy_changed",
        Err(QueueError::NotNow { .. }) => "not_now",
        Err(QueueError::Refused(_) | QueueError::TooJunior { .. } | QueueError::People(_)) => "not_allowed",
        Err(QueueError::Store(_) | QueueError::Content(_) | QueueError::Unreadable(_)) => "failed",
    };
    span.record("result", result);
    decided
}

/// The span of what a person does with an action: below the decision that proposed it.
async fn approval_span(store: &Store, row: &ActionRow, event: &Event) -> Result<Span, StoreError> {
    if !tracing::span_enabled!(tracing::Level::INFO) {
        return Ok(Span::none());
    }
    let run = store.run_of(&row.id).await?;
    Ok(tracing::info_span!(
        "approval",
        action = row.id.as_str(),
        kind = row.kind.as_str(),
        verb = verb_of(event),
        decision = row.decision.as_str(),
        run = run.as_ref().map(RunId::as_str),
        result = Empty
    ))
}

/// The word for an event of a person.
fn verb_of(event: &Event) -> &'static str {
    match event {
        Event::Approve { .. } => "approve",
        Event::Edit { .. } => "edit",
        Event::Reject { .. } => "reject",
        Event::Hold { .. } => "hold",
        Event::Withdraw => "withdraw",
        Event::Snooze { .. } => "snooze",
        Event::Ask { .. } => "ask",
        Event::Answer { .. } => "answer",
        Event::Reassign { .. } => "reassign",
        Event::Return => "return",
        Event::Retry => "retry",
        Event::Wake => "wake",
        Event::Expire => "expire",
        Event::Executed => "executed",
        Event::Failed => "failed",
        Event::Conflict => "conflict",
    }
}

async fn decide_within(
    config: &Config,
    store: &Store,
    row: &ActionRow,
    event: &Event,
    (person, people): (&Person, &People),
    policies: &Policies,
) -> Result<Decided, QueueError> {
    let now = config.clock.now();
    let mut item = item_for_people(row, policies, votes_of(store, row, people).await?)?;
    if let (Event::Approve { .. }, Some(most)) = (event, policies.approvals.yeses_a_day()) {
        let since = Timestamp::from_us(now.us().saturating_sub(YESES_US));
        let said = store.yeses_of(&person.id, since).await?;
        item.asks.yeses_left = Some(most.saturating_sub(u32::try_from(said).unwrap_or(u32::MAX)));
    }
    if let Event::Reassign {
        to: Assignee::Role(role),
        ..
    } = event
    {
        let least = row.role.unwrap_or(OwnerRole::CSM);
        if !policies.gate.vocabulary().covers(*role, least) {
            return Err(QueueError::TooJunior { role: *role, least });
        }
    }
    let step = apply(&item, event, Some(person), now)?;
    if let Some(canary) = store.open_canary(row).await?
        && let Some(verb) = canaries::verb(event, &canary.defect)
    {
        return canaries::answer(store, row, event, person, (&canary, verb), policies.content, now).await;
    }
    let effects = step.effects.as_deref().unwrap_or(&item.effects);
    let mut permitted = None;
    if matches!(event, Event::Approve { .. } | Event::Edit { .. }) {
        let known = Known::of(store, row, policies, now).await?;
        let authority = step.authority.as_deref().unwrap_or(&person.id);
        let mut givers = vec![giver(authority, people.roles(authority).unwrap_or_default())];
        givers.extend(item.votes.iter().map(|vote| giver(&vote.authority, &vote.roles)));
        let editor = matches!(event, Event::Edit { .. }).then_some(person.id.as_str());
        tracing::debug_span!("validation").in_scope(|| {
            still_allowed(&known, row, effects, policies, editor, now)?;
            match step.permit {
                Some(_) => holds(&known, row, effects, policies, &givers, now),
                None => Ok(()),
            }
        })?;
        if step.permit.is_some() {
            let asked = asked(row, effects, &known.whom);
            permitted = Some(permitting(policies, &asked, None, now));
        }
    }
    let due_at = permitted.as_ref().map_or(now, |p| p.due_at);
    let verb = verb_of(event);
    let (reason, seen) = match event {
        Event::Approve { seen, reason } => (reason.clone(), Some(*seen)),
        Event::Edit { effects } => (None, Some(perennial_core::action::effects_hash(effects))),
        Event::Reject { reason }
        | Event::Hold { reason }
        | Event::Snooze { reason, .. }
        | Event::Reassign { reason, .. } => (Some(reason.clone()), None),
        Event::Ask { question } => (Some(question.clone()), None),
        Event::Answer { text } => (Some(text.clone()), None),
        Event::Withdraw
        | Event::Return
        | Event::Retry
        | Event::Wake
        | Event::Expire
        | Event::Executed
        | Event::Failed
        | Event::Conflict => (None, None),
    };
    let outbox: Vec<OutboxRow> = step.permit.as_ref().map_or_else(Vec::new, |permit| {
        effects
            .iter()
            .map(|effect| OutboxRow {
                effect: effect.clone(),
                permit: permit.record().clone(),
                due_at,
            })
            .collect()
    });
    let authority = step.authority.clone().filter(|whose| *whose != person.id);
    let mut body = serde_json::json!({
        "by": person.id,
        "content": policies.content,
        "seen": seen,
        "state": step.state,
        "verb": verb,
    });
    if let Some(whose) = &authority {
        body["in_place_of"] = serde_json::json!(whose);
    }
    if !step.still.is_empty() {
        body["still_needed"] = serde_json::json!(step.still);
    }
    let (mut reassign, mut asked_role) = (None, None);
    if let Event::Reassign { to, .. } = event {
        body["to"] = serde_json::json!(to);
        match to {
            Assignee::Person(owner) => reassign = Some(owner.clone()),
            Assignee::Role(role) => asked_role = Some(*role),
        }
    }
    let mut ledger = vec![LedgerDraft {
        kind: verb.to_owned(),
        reference: row.id.as_str().to_owned(),
        body: canonical(&body),
    }];
    ledger.extend(outbox.iter().map(crate::cycle::intent));
    let snoozed_until = match event {
        Event::Snooze { until, .. } => Some(*until),
        Event::Approve { .. }
        | Event::Edit { .. }
        | Event::Reject { .. }
        | Event::Hold { .. }
        | Event::Withdraw
        | Event::Ask { .. }
        | Event::Answer { .. }
        | Event::Reassign { .. }
        | Event::Return
        | Event::Retry
        | Event::Wake
        | Event::Expire
        | Event::Executed
        | Event::Failed
        | Event::Conflict => None,
    };
    let stopped = reason.clone();
    let roles: Vec<&str> = person.roles.iter().map(|r| r.as_str()).collect();
    let rules = permitted.as_ref().map(|p| p.rules.clone()).unwrap_or_default();
    let play = crate::plays::following(store, &row.id, step.state, false, now).await?;
    let done = store
        .transition(&Transition {
            account: row.account.clone(),
            action: row.id.clone(),
            from: row.state,
            version: row.version,
            to: step.state,
            holds: permitted.map(|p| p.holds).unwrap_or_default(),
            withdraw: step
                .withdraw
                .then(|| format!("stopped by {}: {}", person.id, stopped.unwrap_or_default())),
            effects: step.effects.as_ref().map(canonical),
            last_editor: matches!(event, Event::Edit { .. }).then(|| person.id.clone()),
            snoozed_until,
            reassign,
            asked_role,
            approval: Some(ApprovalRow {
                person: person.id.clone(),
                verb: verb.to_owned(),
                authority: authority.clone(),
                version: row.version + 1,
                roles: roles.join(","),
                reason,
                seen,
                content: policies.content,
                at: now,
            }),
            outbox,
            play,
            ledger,
            at: now,
        })
        .await;
    match done {
        Ok(()) => {}
        Err(StoreError::NoRoom { hold, .. }) => {
            return Err(QueueError::NotNow {
                why: rules.get(hold).map_or_else(String::new, shown),
            });
        }
        Err(error) => return Err(error.into()),
    }
    if matches!(event, Event::Edit { .. }) && nobody_else(&item.needs, people, &person.id) {
        let edited = store.action(row.id.as_str()).await?;
        escalate(store, &edited, policies, now).await?;
    }
    Ok(Decided {
        state: step.state,
        still: step.still,
        authority,
        canary: None,
    })
}

/// Whether everybody who could say one of the yeses is the one person who may not.
fn nobody_else(needs: &[Need], people: &People, editor: &str) -> bool {
    needs
        .iter()
        .any(|need| people.with(&need.sufficient).all(|id| id == editor))
}

/// Somebody as the rules see them.
pub(crate) fn giver(id: &str, roles: &[OwnerRole]) -> Human {
    Human {
        id: id.to_owned(),
        roles: roles.iter().copied().collect(),
        active: true,
    }
}

/// Asks the present policy whether it would still let a person say yes to the effects as they stand.
fn still_allowed(
    known: &Known,
    row: &ActionRow,
    effects: &[Effect],
    policies: &Policies,
    editor: Option<&str>,
    now: Timestamp,
) -> Result<(), QueueError> {
    let request = known.asked_now(row, effects, policies, editor.or(row.last_editor.as_deref()), now);
    let verdict = policies.gate.verdict(&request, &policies.settings);
    let allowed = match verdict.level {
        Level::Auto => true,
        // A stricter role than the one that was asked for needs a new look.
        Level::Approve => verdict.role.is_none_or(|now| {
            row.role
                .is_some_and(|then| policies.gate.vocabulary().covers(then, now))
        }),
        Level::Advise | Level::Never => false,
    };
    if allowed {
        return Ok(());
    }
    Err(QueueError::PolicyChanged {
        now: verdict.word(),
        why: verdict.rules.first().map_or_else(String::new, shown),
    })
}

/// Asks the rules about the approvals as they are: the roles of those who gave them, what they saw, when it ends. One that the rules
/// accept is enough: that the others were given too, [`apply`] has seen to.
pub(crate) fn holds(
    known: &Known,
    row: &ActionRow,
    effects: &[Effect],
    policies: &Policies,
    givers: &[Human],
    now: Timestamp,
) -> Result<(), QueueError> {
    let request = known.asked_now(row, effects, policies, row.last_editor.as_deref(), now);
    let mut refused = None;
    for by in givers {
        let approval = Approval {
            by: by.clone(),
            draft_hash: perennial_core::action::effects_hash(effects).to_string(),
            // An action without an end does not expire.
            expires_at: row.expires_at.unwrap_or_else(|| now.plus_days(1)).us().div_euclid(1000),
        };
        match policies.gate.permits(&request, &approval, &policies.settings) {
            Ok(()) => return Ok(()),
            Err(rule) => {
                refused.get_or_insert(rule);
            }
        }
    }
    Err(QueueError::PolicyChanged {
        now: Level::Never.to_string(),
        why: refused.as_ref().map_or_else(String::new, shown),
    })
}

/// Asks the next role about an action. When nobody more senior is left, it waits until it expires.
pub(crate) async fn escalate(
    store: &Store,
    row: &ActionRow,
    policies: &Policies,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let asked = row.asked_role.or(row.role).unwrap_or(OwnerRole::CSM);
    let next = next_role(asked, policies.gate.vocabulary());
    let body = serde_json::json!({ "asked": asked, "next": next });
    let entry = LedgerDraft {
        kind: "escalated".to_owned(),
        reference: row.id.as_str().to_owned(),
        body: canonical(&body),
    };
    store.escalate(row, next, now, &entry).await
}

/// Asks the next role about what nobody answered within the time of `approvals.toml`, and about steps of plays that are overdue; how
/// many times.
///
/// # Errors
/// What the database brings.
pub async fn ask_next(store: &Store, policies: &Policies, now: Timestamp) -> Result<u64, StoreError> {
    let mut asked = 0;
    for (tier, minutes) in policies.approvals.ask_next_tiers() {
        let since = Timestamp::from_us(now.us().saturating_sub(minutes.saturating_mul(60_000_000)));
        for row in store.unanswered(Some(tier), since, HOUSEKEEPING_ROWS).await? {
            if escalate(store, &row, policies, now).await? {
                asked += 1;
            }
        }
    }
    crate::plays::catch_up(store, now).await?;
    asked += crate::plays::ask_next(store, policies, now).await?;
    Ok(asked)
}

/// Wakes what was snoozed until now, expires what nobody answered in time, and moves plays whose time has come.
///
/// # Errors
/// What the database brings.
pub async fn housekeeping(store: &Store, now: Timestamp) -> Result<(), StoreError> {
    let wakes = store.due_wakes(now, HOUSEKEEPING_ROWS).await?;
    let expiries = store.due_expiries(now, HOUSEKEEPING_ROWS).await?;
    let events = wakes
        .iter()
        .map(|r| (r, Event::Wake))
        .chain(expiries.iter().map(|r| (r, Event::Expire)));
    for (row, event) in events {
        let Ok(item) = item_of(row) else { continue };
        let Ok(step) = apply(&item, &event, None, now) else {
            continue;
        };
        let play = crate::plays::following(store, &row.id, step.state, false, now).await?;
        let done = store
            .transition(&Transition {
                account: row.account.clone(),
                action: row.id.clone(),
                from: row.state,
                version: row.version,
                to: step.state,
                play,
                effects: None,
                last_editor: None,
                snoozed_until: None,
                reassign: None,
                asked_role: None,
                approval: None,
                outbox: Vec::new(),
                holds: Vec::new(),
                withdraw: None,
                ledger: vec![LedgerDraft {
                    kind: step.state.as_str().to_owned(),
                    reference: row.id.as_str().to_owned(),
                    body: "{}".to_owned(),
                }],
                at: now,
            })
            .await;
        match done {
            // Somebody decided at the same moment: theirs counts.
            Ok(()) | Err(StoreError::Stale { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    crate::plays::advance(store, now).await?;
    Ok(())
}
