//! What a person may do with an action that waits, and what follows. `apply` is the only way an action's state changes.

pub mod canary;
mod refused;
mod votes;

use serde::{Deserialize, Serialize};

use crate::action::{ActionState, Effect, Ground, Permit};
use crate::ids::{ActionId, OwnerId};
use crate::replay::Hash;
use crate::signal::OwnerRole;
use crate::time::Timestamp;

pub use refused::Refused;
pub use votes::{Need, Said, Vote, unmet, votes};

/// A person who decides, with roles read fresh from the people's records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// Id or name.
    pub id: String,
    /// Roles.
    pub roles: Vec<OwnerRole>,
    /// What others lent them for now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lent: Vec<Lent>,
}

/// Roles that somebody lent for a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lent {
    /// Whose roles.
    pub giver: String,
    /// Roles that the giver has now.
    pub roles: Vec<OwnerRole>,
}

/// Whom something is handed to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Assignee {
    /// Into this person's queue.
    Person(OwnerId),
    /// Whoever has this role is asked.
    Role(OwnerRole),
}

/// What happens to an action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A person says yes to exactly this content.
    Approve {
        /// Hash of the effects that the person saw.
        seen: Hash,
        /// Why, where the policies ask for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
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
    /// A person wants to know something first.
    Ask {
        /// What; required.
        question: String,
    },
    /// A person answers, or takes the question back.
    Answer {
        /// What is known now; required.
        text: String,
    },
    /// A person hands it to somebody else, or asks another role.
    Reassign {
        /// To whom.
        to: Assignee,
        /// Why; required.
        reason: String,
    },
    /// When it was to be sent, its approval did not hold any more: it is a person's again.
    Return,
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
    /// Whose yes is needed, each by another person. Where the list is empty, nobody can approve.
    pub needs: Vec<Need>,
    /// Who has said yes already, to whatever they saw then.
    pub votes: Vec<Vote>,
    /// Lent roles do not count.
    pub own_roles_only: bool,
    /// What else the policies ask of a yes.
    pub asks: Asks,
    /// Who changed it last.
    pub last_editor: Option<String>,
    /// Unanswered, it ends then.
    pub expires_at: Option<Timestamp>,
    /// Hash of the policy in force now.
    pub content: Hash,
}

/// What the policies ask of a yes besides the role. Nothing by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Asks {
    /// It needs a reason.
    pub reason: bool,
    /// Yeses that the person has left for now; none for as many as they like.
    pub yeses_left: Option<u32>,
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
    /// Whose roles an approval used.
    pub authority: Option<String>,
    /// Whose yes is still needed after this one.
    pub still: Vec<OwnerRole>,
    /// Its effects wait to run and are to be taken back, which is possible while none of them was begun.
    pub withdraw: bool,
}

/// The only way an action changes: `person` does `event` at `now`. Events of the engine itself (wake, expire, executed, failed) pass no person.
///
/// # Errors
/// [`Refused`] says what does not fit; nothing changes then.
pub fn apply(item: &Item, event: &Event, person: Option<&Person>, now: Timestamp) -> Result<Step, Refused> {
    let plain = |state| {
        Ok(Step {
            withdraw: item.state == ActionState::Permitted && stops(event),
            ..Step::to(state)
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
        Event::Approve { seen, reason } => {
            waiting("approving")?;
            let person = person.ok_or(Refused::Stale)?;
            expired(item, now)?;
            let step = approve(item, *seen, person, now)?;
            if item.asks.reason {
                reasoned("approving this", reason.as_deref().unwrap_or_default())?;
            }
            if item.asks.yeses_left == Some(0) {
                return Err(Refused::Budget {
                    person: person.id.clone(),
                });
            }
            Ok(step)
        }
        Event::Edit { effects } => {
            waiting("editing")?;
            expired(item, now)?;
            if !same_shape(&item.effects, effects) {
                return Err(Refused::EditShape);
            }
            Ok(Step {
                effects: Some(effects.clone()),
                ..Step::to(ActionState::Edited)
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
        Event::Ask { question } => {
            waiting("asking")?;
            reasoned("asking", question)?;
            plain(ActionState::Deferred)
        }
        Event::Answer { text } => {
            let step = from(
                item,
                &[ActionState::Deferred],
                "answering",
                "waits for an answer",
                ActionState::Pending,
            )?;
            reasoned("answering", text)?;
            Ok(step)
        }
        Event::Reassign { reason, .. } => {
            waiting("reassigning")?;
            reasoned("reassigning", reason)?;
            plain(item.state)
        }
        Event::Return => from(
            item,
            &[ActionState::Permitted],
            "returning",
            "is permitted",
            ActionState::Pending,
        ),
        Event::Wake => from(
            item,
            &[ActionState::Snoozed],
            "waking",
            "is snoozed",
            ActionState::Pending,
        ),
        Event::Expire => {
            let open = [
                ActionState::Pending,
                ActionState::Edited,
                ActionState::Snoozed,
                ActionState::Deferred,
            ];
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

impl Step {
    /// To a state, and nothing else.
    fn to(state: ActionState) -> Step {
        Step {
            state,
            effects: None,
            permit: None,
            authority: None,
            still: Vec::new(),
            withdraw: false,
        }
    }
}

/// A yes: the last one that was needed makes the permit, an earlier one is counted.
fn approve(item: &Item, seen: Hash, person: &Person, now: Timestamp) -> Result<Step, Refused> {
    // INVARIANT (four eyes): whoever changed it last does not approve it, nor does anybody in their place.
    if item.last_editor.as_deref() == Some(person.id.as_str()) {
        return Err(Refused::FourEyes {
            person: person.id.clone(),
        });
    }
    let present = crate::action::effects_hash(&item.effects);
    if seen != present {
        return Err(Refused::Stale);
    }
    // INVARIANT (bound to the content): a yes to something else is none.
    let votes: Vec<&Vote> = item
        .votes
        .iter()
        .filter(|vote| vote.seen == present && item.last_editor.as_deref() != Some(vote.authority.as_str()))
        .filter(|vote| item.last_editor.as_deref() != Some(vote.by.as_str()))
        .collect();
    let counted: Vec<&[OwnerRole]> = votes.iter().map(|vote| vote.roles.as_slice()).collect();
    let open = unmet(&item.needs, &counted);
    let role = |needs: &[OwnerRole]| Refused::Role {
        person: person.id.clone(),
        needs: needs.first().copied().unwrap_or(OwnerRole::VP_CS),
    };
    let said_yes = |who: &str| votes.iter().any(|vote| vote.by == who || vote.authority == who);
    if said_yes(&person.id) {
        return Err(Refused::Twice {
            person: person.id.clone(),
            needs: open,
        });
    }
    let own = (person.id.as_str(), person.roles.as_slice());
    let lent = person
        .lent
        .iter()
        .map(|lent| (lent.giver.as_str(), lent.roles.as_slice()));
    let lent = lent
        .filter(|(giver, _)| !item.own_roles_only && item.last_editor.as_deref() != Some(giver) && !said_yes(giver));
    // One's own roles come first: somebody else's are used only where they make the difference.
    let used = std::iter::once(own).chain(lent).find_map(|(whose, roles)| {
        let mut all = counted.clone();
        all.push(roles);
        let still = unmet(&item.needs, &all);
        (still.len() < open.len()).then_some((whose, still))
    });
    let Some((authority, still)) = used else {
        return Err(role(&open));
    };
    if !still.is_empty() {
        return Ok(Step {
            authority: Some(authority.to_owned()),
            still,
            // What was snoozed is looked at now.
            ..Step::to(if item.state == ActionState::Snoozed {
                ActionState::Pending
            } else {
                item.state
            })
        });
    }
    let ground = Ground::Approval {
        by: person.id.clone(),
        authority: (authority != person.id).then(|| authority.to_owned()),
        with: votes.iter().map(|vote| vote.authority.clone()).collect(),
        at: now,
        content: item.content,
    };
    Ok(Step {
        permit: Some(Permit::new(item.action.clone(), &item.effects, ground)),
        authority: Some(authority.to_owned()),
        ..Step::to(ActionState::Permitted)
    })
}

fn roles(needs: &[OwnerRole]) -> String {
    needs.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(", ")
}

/// The right to undo one effect: a person asks for it whose role would have sufficed to approve its action.
///
/// # Errors
/// [`Refused::Role`].
pub fn undo(effect: &Effect, need: &Need, person: &Person, content: Hash, now: Timestamp) -> Result<Permit, Refused> {
    if !person.roles.iter().any(|role| need.sufficient.contains(role)) {
        return Err(Refused::Role {
            person: person.id.clone(),
            needs: need.role,
        });
    }
    let ground = Ground::Approval {
        by: person.id.clone(),
        authority: None,
        with: Vec::new(),
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
        | Event::Return
        | Event::Ask { .. }
        | Event::Answer { .. }
        | Event::Reassign { .. }
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
        Ok(Step::to(to))
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
            Write::SetContactRole {
                role: _,
                opportunity: a,
                crm_id: ai,
                contact: ac,
                contact_name: an,
                seen: a_seen,
            },
            Write::SetContactRole {
                role: _,
                opportunity: b,
                crm_id: bi,
                contact: bc,
                contact_name: bn,
                seen: b_seen,
            },
        ) => a == b && ai == bi && ac == bc && an == bn && a_seen == b_seen,
        (
            Write::UpdateAccount { .. }
            | Write::CreateTask { .. }
            | Write::CreateNote { .. }
            | Write::UpdateOpportunity { .. }
            | Write::SetContactRole { .. },
            _,
        ) => false,
    }
}

#[cfg(test)]
mod tests;
