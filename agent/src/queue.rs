//! What people do with actions that wait: the deeds around `core::approval`.

use perennial_core::action::{ActionState, Effect};
use perennial_core::approval::{Event, Item, Person, Refused, apply};
use perennial_core::policy::gate::{Approval, Human};
use perennial_core::policy::{Level, Policies};
use perennial_core::replay::{Hash, UnreadableText, canonical, read};
use perennial_core::signal::Fact;
use perennial_core::time::Timestamp;
use perennial_store::{ActionRow, ApprovalRow, LedgerDraft, OutboxRow, Store, StoreError, Transition};

use crate::config::Config;
use crate::content::ContentError;
use crate::limits::{Known, KnownError, asked, permitting, shown};

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
    /// Nobody said who decides.
    #[error("who decides? give --as NAME, set `user` in the configuration, or PERENNIAL_USER")]
    NoPerson,
    /// Nobody is known by this name.
    #[error(
        "`{name}` is nobody we know: use the id or name of an owner record, or add them to [people] in the configuration; known: {known}"
    )]
    UnknownPerson {
        /// Who was named.
        name: String,
        /// Some who are known.
        known: String,
    },
    /// A limit across actions is used up; the action still waits.
    #[error("{why}; it still waits: approve it again later")]
    NotNow {
        /// The limit, with its file and line.
        why: String,
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

/// How many names an unknown person's error lists.
const NAMES_SHOWN: usize = 8;
/// Items that housekeeping changes in one go.
const HOUSEKEEPING_ROWS: u32 = 10_000;

/// The person who decides, with the roles that records and configuration give now.
///
/// # Errors
/// [`QueueError::NoPerson`], [`QueueError::UnknownPerson`].
pub async fn person(config: &Config, store: &Store, name: Option<&str>) -> Result<Person, QueueError> {
    let name = name
        .map(str::to_owned)
        .or_else(|| config.user.clone())
        .ok_or(QueueError::NoPerson)?;
    if let Some(roles) = config.people.get(&name) {
        return Ok(Person {
            id: name,
            roles: roles.clone(),
        });
    }
    let mut known = Vec::new();
    for signal in store.portfolio_signals().await? {
        let Fact::Owner(owner) = signal.fact else { continue };
        let id = signal.external_id.as_str();
        let matches = id == name || owner.name.as_deref() == Some(&name) || owner.email.as_deref() == Some(&name);
        if matches {
            return Ok(Person {
                id: id.to_owned(),
                roles: owner.role.into_iter().collect(),
            });
        }
        known.push(owner.name.unwrap_or_else(|| id.to_owned()));
    }
    known.extend(config.people.keys().cloned());
    known.sort();
    known.dedup();
    let more = known.len().saturating_sub(NAMES_SHOWN);
    let mut text = known.into_iter().take(NAMES_SHOWN).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    Err(QueueError::UnknownPerson {
        name,
        known: if text.is_empty() { "nobody".to_owned() } else { text },
    })
}

/// What the rules need of a stored action.
pub(crate) fn item_of(row: &ActionRow, content: Hash) -> Result<Item, UnreadableText> {
    Ok(Item {
        action: row.id.clone(),
        state: row.state,
        effects: read("list of effects", &row.effects)?,
        role: row.role,
        last_editor: row.last_editor.clone(),
        expires_at: row.expires_at,
        content,
    })
}

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
    person: &Person,
    policies: &Policies,
) -> Result<ActionState, QueueError> {
    let now = config.clock.now();
    let item = item_of(row, policies.content)?;
    let step = apply(&item, event, Some(person), now)?;
    let effects = step.effects.as_deref().unwrap_or(&item.effects);
    let mut permitted = None;
    if matches!(event, Event::Approve { .. } | Event::Edit { .. }) {
        let known = Known::of(store, row, now).await?;
        still_allowed(&known, row, effects, policies, (event, person), now)?;
        if step.permit.is_some() {
            let asked = asked(row, effects, &known.whom);
            permitted = Some(permitting(policies, &asked, None, now));
        }
    }
    let due_at = permitted.as_ref().map_or(now, |p| p.due_at);
    let (verb, reason, seen) = match event {
        Event::Approve { seen } => ("approve", None, Some(*seen)),
        Event::Edit { effects } => ("edit", None, Some(perennial_core::action::effects_hash(effects))),
        Event::Reject { reason } => ("reject", Some(reason.clone()), None),
        Event::Hold { reason } => ("hold", Some(reason.clone()), None),
        Event::Withdraw => ("withdraw", None, None),
        Event::Snooze { reason, .. } => ("snooze", Some(reason.clone()), None),
        Event::Retry => ("retry", None, None),
        Event::Wake => ("wake", None, None),
        Event::Expire => ("expire", None, None),
        Event::Executed => ("executed", None, None),
        Event::Failed => ("failed", None, None),
        Event::Conflict => ("conflict", None, None),
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
    let body = serde_json::json!({
        "by": person.id,
        "content": policies.content,
        "seen": seen,
        "state": step.state,
        "verb": verb,
    });
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
            approval: Some(ApprovalRow {
                person: person.id.clone(),
                verb: verb.to_owned(),
                roles: roles.join(","),
                reason,
                seen,
                content: policies.content,
                at: now,
            }),
            outbox,
            ledger,
            at: now,
        })
        .await;
    match done {
        Ok(()) => Ok(step.state),
        Err(StoreError::NoRoom { hold, .. }) => Err(QueueError::NotNow {
            why: rules.get(hold).map_or_else(String::new, shown),
        }),
        Err(error) => Err(error.into()),
    }
}

/// Asks the present policy about the effects as they stand, with the facts the decision was made from. An approval is asked about as
/// it is: its giver's roles, what they saw, when it ends.
fn still_allowed(
    known: &Known,
    row: &ActionRow,
    effects: &[Effect],
    policies: &Policies,
    (event, person): (&Event, &Person),
    now: Timestamp,
) -> Result<(), QueueError> {
    let editing = matches!(event, Event::Edit { .. }).then_some(person.id.as_str());
    let last_editor = editing.or(row.last_editor.as_deref());
    let sending = perennial_core::decide::sending(policies, row.kind, now, &known.whom);
    let local = sending.and_then(|s| s.local);
    let request = known.request(row, effects, policies, last_editor, (now, local));
    let verdict = policies.gate.verdict(&request, &policies.settings);
    let allowed = match verdict.level {
        Level::Auto => true,
        // A stricter role than the one that was asked for needs a new look.
        Level::Approve => verdict
            .role
            .is_none_or(|now| row.role.is_some_and(|then| perennial_core::approval::covers(then, now))),
        Level::Advise | Level::Never => false,
    };
    if !allowed {
        return Err(QueueError::PolicyChanged {
            now: verdict.word(),
            why: verdict.rules.first().map_or_else(String::new, shown),
        });
    }
    let Event::Approve { seen } = event else {
        return Ok(());
    };
    let approval = Approval {
        by: Human {
            id: person.id.clone(),
            roles: person.roles.iter().copied().collect(),
            active: true,
        },
        draft_hash: seen.to_string(),
        // An action without an end does not expire.
        expires_at: row.expires_at.unwrap_or_else(|| now.plus_days(1)).us().div_euclid(1000),
    };
    let permits = policies.gate.permits(&request, &approval, &policies.settings);
    permits.map_err(|rule| QueueError::PolicyChanged {
        now: Level::Never.to_string(),
        why: shown(&rule),
    })
}

/// Wakes what was snoozed until now, and expires what nobody answered in time.
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
        let Ok(item) = item_of(row, Hash::ZERO) else { continue };
        let Ok(step) = apply(&item, &event, None, now) else {
            continue;
        };
        let done = store
            .transition(&Transition {
                account: row.account.clone(),
                action: row.id.clone(),
                from: row.state,
                version: row.version,
                to: step.state,
                effects: None,
                last_editor: None,
                snoozed_until: None,
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
    Ok(())
}
