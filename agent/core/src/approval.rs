//! What a person may do with an action that waits, and what follows. `apply` is the only way an action's state changes.

use serde::{Deserialize, Serialize};

use crate::action::{ActionState, Effect, Ground, Permit};
use crate::ids::ActionId;
use crate::replay::Hash;
use crate::signal::OwnerRole;
use crate::time::Timestamp;

/// A person who decides, with roles read fresh from the people's records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// Id or name.
    pub id: String,
    /// Roles.
    pub roles: Vec<OwnerRole>,
}

/// What happens to an action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A person says yes to exactly this content.
    Approve {
        /// Hash of the effects that the person saw.
        seen: Hash,
    },
    /// A person changes what would be written.
    Edit {
        /// The effects as changed; ids and steps stay.
        effects: Vec<Effect>,
    },
    /// A person says no.
    Reject {
        /// Why; required.
        reason: String,
    },
    /// A person stops what would run by itself later: it waits for an approval instead.
    Hold {
        /// Why; required.
        reason: String,
    },
    /// When its time had come, the policy did not allow it any more.
    Withdraw,
    /// A person wants to see it later.
    Snooze {
        /// When it returns.
        until: Timestamp,
        /// Why; required.
        reason: String,
    },
    /// A snooze has passed.
    Wake,
    /// Nobody answered in time.
    Expire,
    /// All effects have their receipts.
    Executed,
    /// An effect was refused for good.
    Failed,
    /// Somebody else changed a record meanwhile: whose value stays is for a person to say.
    Conflict,
    /// A person lets a failed action try again.
    Retry,
}

/// What the rules need to know of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Which.
    pub action: ActionId,
    /// Where it stands.
    pub state: ActionState,
    /// Its effects as they stand, edited or not.
    pub effects: Vec<Effect>,
    /// Role that may approve.
    pub role: Option<OwnerRole>,
    /// Who changed it last.
    pub last_editor: Option<String>,
    /// Unanswered, it ends then.
    pub expires_at: Option<Timestamp>,
    /// Hash of the policy in force now.
    pub content: Hash,
}

/// What follows from an event.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    /// New state.
    pub state: ActionState,
    /// New effects, when they changed.
    pub effects: Option<Vec<Effect>>,
    /// The right to run, when it was given.
    pub permit: Option<Permit>,
    /// Its effects wait to run and are to be taken back, which is possible while none of them was begun.
    pub withdraw: bool,
}

/// Why an event does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The state does not allow it.
    #[error("this action is {state}; {verb} needs one that {needs}")]
    State {
        /// Where it stands.
        state: ActionState,
        /// What was tried.
        verb: &'static str,
        /// What it would have to be.
        needs: &'static str,
    },
    /// The person's roles do not suffice.
    #[error("{person} may not approve this: it needs the role {needs}")]
    Role {
        /// Who tried.
        person: String,
        /// The least role that may.
        needs: OwnerRole,
    },
    /// The person changed it last.
    #[error("{person} changed this last and may not also approve it; another person with the role must")]
    FourEyes {
        /// Who tried.
        person: String,
    },
    /// The content is not what the person saw.
    #[error("the action changed since it was shown; look at it again, then approve")]
    Stale,
    /// The time is over.
    #[error("the action expired at {at}; the next run proposes it again if it still holds")]
    Expired {
        /// When.
        at: Timestamp,
    },
    /// A reason is missing.
    #[error("{verb} needs a reason")]
    Reason {
        /// What was tried.
        verb: &'static str,
    },
    /// An edit may change texts and values, not which effects there are.
    #[error("an edit may change what is written, not add, remove or redirect effects")]
    EditShape,
    /// A snooze must end in the future.
    #[error("a snooze must end after now ({now})")]
    SnoozePast {
        /// Present time.
        now: Timestamp,
    },
}

/// Whether a role suffices where `needed` is asked for. Senior roles include the junior ones:
/// csm < csm_manager < vp_cs, deal_desk < vp_cs.
#[must_use]
pub fn covers(role: OwnerRole, needed: OwnerRole) -> bool {
    match needed {
        OwnerRole::Csm => matches!(role, OwnerRole::Csm | OwnerRole::CsmManager | OwnerRole::VpCs),
        OwnerRole::CsmManager => matches!(role, OwnerRole::CsmManager | OwnerRole::VpCs),
        OwnerRole::DealDesk => matches!(role, OwnerRole::DealDesk | OwnerRole::VpCs),
        OwnerRole::VpCs => matches!(role, OwnerRole::VpCs),
    }
}

/// The only way an action changes: `person` does `event` at `now`. Events of the engine itself (wake, expire, executed, failed) pass no person.
///
/// # Errors
/// [`Refused`] says what does not fit; nothing changes then.
pub fn apply(item: &Item, event: &Event, person: Option<&Person>, now: Timestamp) -> Result<Step, Refused> {
    let plain = |state| {
        Ok(Step {
            state,
            effects: None,
            permit: None,
            withdraw: item.state == ActionState::Permitted && stops(event),
        })
    };
    let waiting = |verb| {
        if item.state.waits() || item.state == ActionState::Snoozed {
            Ok(())
        } else {
            Err(Refused::State {
                state: item.state,
                verb,
                needs: "waits for a person",
            })
        }
    };
    match event {
        Event::Approve { seen } => {
            waiting("approving")?;
            let person = person.ok_or(Refused::Stale)?;
            expired(item, now)?;
            let needed = item.role.unwrap_or(OwnerRole::Csm);
            if !person.roles.iter().any(|role| covers(*role, needed)) {
                return Err(Refused::Role {
                    person: person.id.clone(),
                    needs: needed,
                });
            }
            if item.last_editor.as_deref() == Some(person.id.as_str()) {
                return Err(Refused::FourEyes {
                    person: person.id.clone(),
                });
            }
            if *seen != crate::action::effects_hash(&item.effects) {
                return Err(Refused::Stale);
            }
            let ground = Ground::Approval {
                by: person.id.clone(),
                at: now,
                content: item.content,
            };
            let permit = Permit::new(item.action.clone(), &item.effects, ground);
            Ok(Step {
                state: ActionState::Permitted,
                effects: None,
                permit: Some(permit),
                withdraw: false,
            })
        }
        Event::Edit { effects } => {
            waiting("editing")?;
            expired(item, now)?;
            if !same_shape(&item.effects, effects) {
                return Err(Refused::EditShape);
            }
            Ok(Step {
                state: ActionState::Edited,
                effects: Some(effects.clone()),
                permit: None,
                withdraw: false,
            })
        }
        Event::Reject { reason } => {
            if item.state != ActionState::Permitted {
                waiting("rejecting")?;
            }
            reasoned("rejecting", reason)?;
            plain(ActionState::Rejected)
        }
        Event::Hold { reason } => {
            let step = from(
                item,
                &[ActionState::Permitted],
                "holding",
                "is permitted and not begun",
                ActionState::Pending,
            )?;
            reasoned("holding", reason)?;
            Ok(Step { withdraw: true, ..step })
        }
        Event::Withdraw => from(
            item,
            &[ActionState::Permitted],
            "withdrawing",
            "is permitted",
            ActionState::Denied,
        ),
        Event::Snooze { until, reason } => {
            waiting("snoozing")?;
            reasoned("snoozing", reason)?;
            if *until <= now {
                return Err(Refused::SnoozePast { now });
            }
            plain(ActionState::Snoozed)
        }
        Event::Wake => from(
            item,
            &[ActionState::Snoozed],
            "waking",
            "is snoozed",
            ActionState::Pending,
        ),
        Event::Expire => {
            let open = [ActionState::Pending, ActionState::Edited, ActionState::Snoozed];
            from(item, &open, "expiring", "waits for a person", ActionState::Expired)
        }
        Event::Executed => from(
            item,
            &[ActionState::Permitted],
            "finishing",
            "is permitted",
            ActionState::Executed,
        ),
        Event::Failed => from(
            item,
            &[ActionState::Permitted],
            "failing",
            "is permitted",
            ActionState::Failed,
        ),
        Event::Conflict => from(
            item,
            &[ActionState::Permitted],
            "asking about a conflict",
            "is permitted",
            ActionState::Pending,
        ),
        Event::Retry => from(item, &[ActionState::Failed], "retrying", "failed", ActionState::Pending),
    }
}

/// The right to undo one effect: a person asks for it whose role would have sufficed to approve its action.
///
/// # Errors
/// [`Refused::Role`].
pub fn undo(
    effect: &Effect,
    role: Option<OwnerRole>,
    person: &Person,
    content: Hash,
    now: Timestamp,
) -> Result<Permit, Refused> {
    let needs = role.unwrap_or(OwnerRole::Csm);
    if !person.roles.iter().any(|role| covers(*role, needs)) {
        return Err(Refused::Role {
            person: person.id.clone(),
            needs,
        });
    }
    let ground = Ground::Approval {
        by: person.id.clone(),
        at: now,
        content,
    };
    Ok(Permit::new(effect.action.clone(), std::slice::from_ref(effect), ground))
}

/// Whether a person stops an action by it.
fn stops(event: &Event) -> bool {
    match event {
        Event::Reject { .. } | Event::Hold { .. } => true,
        Event::Approve { .. }
        | Event::Edit { .. }
        | Event::Withdraw
        | Event::Snooze { .. }
        | Event::Wake
        | Event::Expire
        | Event::Executed
        | Event::Failed
        | Event::Conflict
        | Event::Retry => false,
    }
}

fn from(
    item: &Item,
    allowed: &[ActionState],
    verb: &'static str,
    needs: &'static str,
    to: ActionState,
) -> Result<Step, Refused> {
    if allowed.contains(&item.state) {
        Ok(Step {
            state: to,
            effects: None,
            permit: None,
            withdraw: false,
        })
    } else {
        Err(Refused::State {
            state: item.state,
            verb,
            needs,
        })
    }
}

fn expired(item: &Item, now: Timestamp) -> Result<(), Refused> {
    match item.expires_at {
        Some(at) if at <= now => Err(Refused::Expired { at }),
        Some(_) | None => Ok(()),
    }
}

fn reasoned(verb: &'static str, reason: &str) -> Result<(), Refused> {
    if reason.trim().is_empty() {
        Err(Refused::Reason { verb })
    } else {
        Ok(())
    }
}

/// Same effects to the same records with the same kind of write; only texts and values may differ.
fn same_shape(before: &[Effect], after: &[Effect]) -> bool {
    before.len() == after.len()
        && before.iter().zip(after).all(|(a, b)| {
            a.id == b.id
                && a.action == b.action
                && a.step == b.step
                && a.tool == b.tool
                && a.target == b.target
                && same_write(&a.write, &b.write)
        })
}

fn same_write(a: &crate::action::Write, b: &crate::action::Write) -> bool {
    use crate::action::Write;
    match (a, b) {
        (Write::UpdateAccount { fields: a }, Write::UpdateAccount { fields: b }) => a.keys().eq(b.keys()),
        (Write::CreateTask { .. }, Write::CreateTask { .. }) | (Write::CreateNote { .. }, Write::CreateNote { .. }) => {
            true
        }
        (
            Write::UpdateOpportunity {
                opportunity: a,
                crm_id: ai,
                seen: a_seen,
                ..
            },
            Write::UpdateOpportunity {
                opportunity: b,
                crm_id: bi,
                seen: b_seen,
                ..
            },
        ) => a == b && ai == bi && a_seen == b_seen,
        (
            Write::UpdateAccount { .. }
            | Write::CreateTask { .. }
            | Write::CreateNote { .. }
            | Write::UpdateOpportunity { .. },
            _,
        ) => false,
    }
}

#[cfg(test)]
mod tests;
