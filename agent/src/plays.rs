//! Plays: the deeds around `core::play`. What moves a play is stored with what it follows from: the decision that proposes its
//! step, the change that settles its action, or a timer.

mod waiting;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use perennial_core::action::ActionState;
use perennial_core::decide::{Decision, Proposal};
use perennial_core::ids::{AccountId, ActionId, PlayId};
use perennial_core::play::{
    Asked, Definition, Event, Life, Move, Outcome, Running, Shape, Standing, Walk, Wants, wants,
};
use perennial_core::policy::Policies;
use perennial_core::policy::approvals::next_role;
use perennial_core::replay::{Hash, canonical};
use perennial_core::signal::OwnerRole;
use perennial_core::time::{Day, Timestamp};
use perennial_store::{LedgerDraft, NewAction, PlayChange, PlayRow, Store, StoreError};

use crate::cycle::tier_of;
pub(crate) use waiting::Waiting;

/// Plays that time moves in one go.
const ROWS: u32 = 5_000;

/// A running play as decisions are given it.
pub(crate) struct RunningPlay {
    /// Day of the decision that began it.
    pub(crate) begun_on: Day,
    /// Where it stands.
    pub(crate) running: Running,
}

/// Running plays of some accounts, as decisions under `policies` are given them.
pub(crate) async fn running(
    store: &Store,
    policies: &Policies,
    accounts: &[AccountId],
) -> Result<BTreeMap<AccountId, Vec<RunningPlay>>, StoreError> {
    let rows = store.running_plays(accounts).await?;
    let others: BTreeSet<Hash> = rows
        .values()
        .flatten()
        .filter(|row| in_force(policies, row).is_none())
        .map(|row| row.definition)
        .collect();
    let stored = store.play_definitions(&others).await?;
    let found = rows.into_iter().map(|(account, rows)| {
        let of = rows.into_iter().filter_map(|row| {
            let pinned = in_force(policies, &row)
                .or_else(|| stored.get(&row.definition))?
                .clone();
            running_of(row, pinned)
        });
        (account, of.collect())
    });
    Ok(found.collect())
}

fn running_of(row: PlayRow, pinned: Definition) -> Option<RunningPlay> {
    let Life::Running(standing) = row.life else { return None };
    Some(RunningPlay {
        begun_on: row.begun_on,
        running: Running {
            play: row.id,
            playbook: row.playbook,
            subject: row.subject,
            health: row.health,
            pinned,
            standing,
        },
    })
}

/// The shape of a play's playbook, where the one in force is still the one it began with.
fn in_force<'a>(policies: &'a Policies, row: &PlayRow) -> Option<&'a Definition> {
    let plan = policies.playbooks.get(row.playbook.as_str())?.plan.as_ref()?;
    (plan.hash == row.definition).then_some(&plan.definition)
}

/// Definitions of plays, as they are stored.
async fn definitions<'a>(
    store: &Store,
    rows: impl Iterator<Item = &'a PlayRow>,
) -> Result<BTreeMap<Hash, Definition>, StoreError> {
    store.play_definitions(&rows.map(|row| row.definition).collect()).await
}

/// Where a play was before a change.
struct Before<'a> {
    standing: &'a Standing,
    row: &'a PlayRow,
}

/// The change of a play that went through events.
fn change(before: &Before<'_>, shape: &Shape, walk: Walk<'_>, now: Timestamp) -> PlayChange {
    let Before { standing, row } = before;
    let mut ledger: Vec<LedgerDraft> = Vec::new();
    let mut entry = |kind: &str, body: serde_json::Value| {
        ledger.push(LedgerDraft {
            kind: kind.to_owned(),
            reference: row.id.as_str().to_owned(),
            body: canonical(&body),
        });
    };
    for left in &walk.left {
        entry(
            "play_step",
            serde_json::json!({ "outcome": left.outcome, "step": left.step, "turn": left.turn }),
        );
    }
    let moved = !walk.left.is_empty();
    match &walk.life {
        Life::Ended { turn, .. } => entry("play_ended", serde_json::json!({ "turn": turn })),
        Life::Running(now) if now.overdue && (moved || !standing.overdue) => {
            entry(
                "play_overdue",
                serde_json::json!({ "step": now.step, "turn": now.turn }),
            );
        }
        Life::Running(_) => {}
    }
    let fell = standing.asked.is_some() && walk.life.standing().is_some_and(|now| now.asked.is_none());
    let wanting = walk
        .life
        .standing()
        .is_some_and(|s| !matches!(wants(shape, s), Wants::Time));
    PlayChange {
        action: match &standing.asked {
            Some(Asked::Action { action, .. }) => Some(action.clone()),
            Some(Asked::Task { .. }) | None => None,
        },
        decide: wanting && (moved || fell),
        definition: None,
        ledger,
        row: PlayRow {
            asked_role: row.asked_role.filter(|_| !moved),
            life: walk.life,
            updated_at: now,
            ..(*row).clone()
        },
        left: walk.left,
    }
}

/// Puts a running play through an event; none where it changes nothing.
fn changed_by(row: &PlayRow, shape: &Shape, event: &Event, now: Timestamp) -> Option<PlayChange> {
    let standing = row.life.standing()?;
    let mut walk = Walk::from(shape, standing.clone());
    walk.take(event, now)
        .then(|| change(&Before { standing, row }, shape, walk, now))
}

/// What the new state of an action is to the play that waits for it.
fn event_of(action: &ActionId, state: ActionState, conflict: bool) -> Option<Event> {
    let action = action.clone();
    let settled = |outcome| {
        Some(Event::Settled {
            action: action.clone(),
            outcome,
        })
    };
    match state {
        ActionState::Executed => settled(Outcome::Executed),
        ActionState::Rejected => settled(Outcome::Rejected),
        ActionState::Failed => settled(Outcome::Failed),
        ActionState::Expired => settled(Outcome::Unanswered),
        ActionState::Pending if conflict => settled(Outcome::Conflict),
        ActionState::Denied | ActionState::Superseded | ActionState::Advised => Some(Event::Fell { action }),
        ActionState::Pending
        | ActionState::Edited
        | ActionState::Snoozed
        | ActionState::Deferred
        | ActionState::Permitted => None,
    }
}

/// What a new state of an action does to the play that waits for it: part of the same transaction.
///
/// # Errors
/// What reading brings.
pub(crate) async fn following(
    store: &Store,
    action: &ActionId,
    state: ActionState,
    conflict: bool,
    now: Timestamp,
) -> Result<Option<PlayChange>, StoreError> {
    if event_of(action, state, conflict).is_none() {
        return Ok(None);
    }
    let row = store.play_of_action(action).await?.map(|row| (action.clone(), row));
    let waiting = Waiting::over(store, row.into_iter().collect()).await?;
    Ok(waiting.follow(action, state, conflict, now))
}

/// Moves what time alone moves: waits that are over, tasks nobody did, steps that are overdue. How many plays moved.
///
/// # Errors
/// What the database brings.
pub async fn advance(store: &Store, now: Timestamp) -> Result<u64, StoreError> {
    let mut moved = 0;
    let mut known: BTreeMap<Hash, Definition> = BTreeMap::new();
    loop {
        let rows = store.due_plays(now, ROWS).await?;
        let new: BTreeSet<Hash> = rows
            .iter()
            .map(|row| row.definition)
            .filter(|hash| !known.contains_key(hash))
            .collect();
        known.extend(store.play_definitions(&new).await?);
        let changes: Vec<PlayChange> = rows
            .iter()
            .filter_map(|row| {
                let shape = &known.get(&row.definition)?.shape;
                let standing = row.life.standing()?;
                let mut walk = Walk::from(shape, standing.clone());
                walk.pass(now)
                    .then(|| change(&Before { standing, row }, shape, walk, now))
            })
            .collect();
        let applied = store.change_plays(&changes, now).await?.len();
        moved += applied as u64;
        // What could not be moved is somebody else's at this moment, or stays for a person.
        if rows.len() < ROWS as usize || applied == 0 {
            return Ok(moved);
        }
    }
}

/// Takes up what plays were not told of: actions that gave way to others, or were denied. How many plays moved.
///
/// # Errors
/// What the database brings.
pub async fn catch_up(store: &Store, now: Timestamp) -> Result<u64, StoreError> {
    let rows = store.fallen_plays(ROWS).await?;
    let known = definitions(store, rows.iter().map(|(row, _)| row)).await?;
    let changes: Vec<PlayChange> = rows
        .iter()
        .filter_map(|(row, state)| {
            let shape = &known.get(&row.definition)?.shape;
            let Some(Asked::Action { action, .. }) = &row.life.standing()?.asked else {
                return None;
            };
            let event = event_of(action, ActionState::from_word(state)?, false)?;
            changed_by(row, shape, &event, now)
        })
        .collect();
    Ok(store.change_plays(&changes, now).await?.len() as u64)
}

/// Asks the next role about what is overdue, once a step: about its action where it waits for a yes, else about the step.
/// How many were asked.
///
/// # Errors
/// What the database brings.
pub async fn ask_next(store: &Store, policies: &Policies, now: Timestamp) -> Result<u64, StoreError> {
    let named = policies.gate.vocabulary();
    let mut changes = Vec::new();
    for row in store.overdue_plays(ROWS).await? {
        let Some(standing) = row.life.standing() else { continue };
        let next = match &standing.asked {
            Some(Asked::Action { action, .. }) => {
                let action = store.action(action.as_str()).await?;
                if action.asked_since.is_some() {
                    crate::queue::escalate(store, &action, policies, now).await?;
                }
                next_role(action.asked_role.or(action.role).unwrap_or(OwnerRole::CSM), named)
            }
            Some(Asked::Task { .. }) | None => next_role(OwnerRole::CSM, named),
        };
        let asked = next.unwrap_or(OwnerRole::CSM);
        let body = serde_json::json!({ "asked": asked, "step": standing.step, "turn": standing.turn });
        changes.push(PlayChange {
            left: Vec::new(),
            action: None,
            definition: None,
            decide: false,
            ledger: vec![LedgerDraft {
                kind: "play_escalated".to_owned(),
                reference: row.id.as_str().to_owned(),
                body: canonical(&body),
            }],
            row: PlayRow {
                asked_role: Some(asked),
                updated_at: now,
                ..row.clone()
            },
        });
    }
    Ok(store.change_plays(&changes, now).await?.len() as u64)
}

/// Why a person's word to a play is not taken.
#[derive(Debug, thiserror::Error)]
pub enum PlayError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is over.
    #[error("{play} has ended: {reason}")]
    Ended {
        /// Which.
        play: PlayId,
        /// Why.
        reason: String,
    },
    /// It stands at something else than a task.
    #[error("{play} is at step `{step}`, which is no task for a person")]
    NoTask {
        /// Which.
        play: PlayId,
        /// Where.
        step: String,
    },
    /// Somebody or something moved it at the same moment.
    #[error("{play} has moved meanwhile: look at it again")]
    Moved {
        /// Which.
        play: PlayId,
    },
    /// Who may not approve anything may not move plays either.
    #[error("`{person}` may not move plays: it takes the role csm or one that includes it")]
    NotAllowed {
        /// Who.
        person: String,
    },
    /// A person must say why.
    #[error("an exit needs a reason, so that others can tell later why the play ended")]
    NoReason,
}

/// What a person says to a play.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// Its task is done.
    Done,
    /// It is to end.
    Exit {
        /// Why.
        reason: String,
    },
}

/// Takes a person's word to a play, with an entry of the ledger. Gives the play as it is afterwards.
///
/// # Errors
/// [`PlayError`]; nothing changes then.
pub async fn say(
    store: &Store,
    row: &PlayRow,
    word: &Word,
    person: &str,
    now: Timestamp,
) -> Result<PlayRow, PlayError> {
    let standing = match &row.life {
        Life::Running(standing) => standing,
        Life::Ended { reason, .. } => {
            return Err(PlayError::Ended {
                play: row.id.clone(),
                reason: reason.clone(),
            });
        }
    };
    let event = match word {
        Word::Done => Event::Done { turn: standing.turn },
        Word::Exit { reason } if reason.trim().is_empty() => return Err(PlayError::NoReason),
        Word::Exit { reason } => Event::Exit {
            reason: format!("{} ({person})", reason.trim()),
        },
    };
    let known = definitions(store, std::iter::once(row)).await?;
    let shape = known
        .get(&row.definition)
        .map(|d| d.shape.clone())
        .unwrap_or_else(Shape::single);
    let Some(mut change) = changed_by(row, &shape, &event, now) else {
        return Err(PlayError::NoTask {
            play: row.id.clone(),
            step: standing.step.clone(),
        });
    };
    let kind = match word {
        Word::Done => "play_done",
        Word::Exit { .. } => "play_exit",
    };
    let body = serde_json::json!({ "by": person, "step": standing.step, "turn": standing.turn });
    change.ledger.insert(
        0,
        LedgerDraft {
            kind: kind.to_owned(),
            reference: row.id.as_str().to_owned(),
            body: canonical(&body),
        },
    );
    let after = change.row.clone();
    if store.change_plays(&[change], now).await?.is_empty() {
        return Err(PlayError::Moved { play: row.id.clone() });
    }
    Ok(after)
}

/// The moves of plays that decisions bring, against the plays as they stand.
pub(crate) struct Moves {
    policies: Arc<Policies>,
    rows: BTreeMap<PlayId, PlayRow>,
    pinned: BTreeMap<Hash, Definition>,
}

impl Moves {
    /// Reads the plays that some decisions are about.
    pub(crate) async fn load<'a>(
        store: &Store,
        policies: &Arc<Policies>,
        decisions: impl Iterator<Item = &'a Decision>,
    ) -> Result<Moves, StoreError> {
        let ids: BTreeSet<(AccountId, PlayId)> = decisions
            .flat_map(|decision| {
                let of_proposals = decision
                    .proposals
                    .iter()
                    .filter_map(|p| p.play.as_ref())
                    .map(|of| &of.moves);
                let all = decision.plays.iter().chain(of_proposals);
                all.map(|moves| (decision.account.clone(), moves.play.clone()))
            })
            .collect();
        let rows = store.plays_by_id(&ids).await?;
        let others: BTreeSet<Hash> = rows
            .values()
            .filter(|row| in_force(policies, row).is_none())
            .map(|row| row.definition)
            .collect();
        Ok(Moves {
            policies: Arc::clone(policies),
            pinned: store.play_definitions(&others).await?,
            rows,
        })
    }

    fn shape(&self, row: &PlayRow) -> Option<&Shape> {
        let definition = in_force(&self.policies, row).or_else(|| self.pinned.get(&row.definition));
        definition.map(|definition| &definition.shape)
    }

    /// What plays do beside what they propose. A play that has moved since the decision was made is left alone.
    pub(crate) fn of_decision(&mut self, decision: &Decision, now: Timestamp) -> Vec<PlayChange> {
        let changes: Vec<PlayChange> = decision
            .plays
            .iter()
            .filter_map(|moves| self.moved(moves, now))
            .collect();
        for change in &changes {
            // The next change of the same play is made from this one.
            let mut row = change.row.clone();
            row.version += 1;
            self.rows.insert(row.id.clone(), row);
        }
        changes
    }

    fn moved(&self, moves: &Move, now: Timestamp) -> Option<PlayChange> {
        let row = self.rows.get(&moves.play)?;
        let standing = row.life.standing().filter(|s| s.turn == moves.from_turn)?;
        let shape = self.shape(row)?;
        let life = match &moves.life {
            Life::Ended { turn, reason, .. } => Life::Ended {
                turn: *turn,
                reason: reason.clone(),
                at: now,
            },
            // The same step: only what it asks for and the date it waits for are new.
            Life::Running(next) if next.turn == standing.turn => Life::Running(Standing {
                until: next.until,
                asked: standing.asked.clone().or_else(|| next.asked.clone()),
                ..standing.clone()
            }),
            Life::Running(next) => {
                let mut next = next.clone();
                shape.arm(&mut next, now);
                Life::Running(next)
            }
        };
        if life == row.life {
            return None;
        }
        let mut walk = Walk::from(shape, standing.clone());
        walk.life = life;
        walk.left.clone_from(&moves.left);
        let mut change = change(&Before { standing, row }, shape, walk, now);
        // The decision that it would ask for is the one that is being stored.
        change.decide = false;
        Some(change)
    }

    /// An action with the play it is a step of; none where the play has gone on without it.
    pub(crate) fn with_play(
        &self,
        decision: &Decision,
        proposal: &Proposal,
        action: NewAction,
        now: Timestamp,
    ) -> Option<NewAction> {
        let Some(of) = &proposal.play else {
            return Some(action);
        };
        let Some(next) = of.moves.life.standing().filter(|next| next.asked.is_some()) else {
            // It may not happen, so the play does not wait for it.
            return Some(action);
        };
        let (row, begins) = match self.rows.get(&of.moves.play) {
            // An earlier run of the day began it: the action is there.
            Some(_) if of.moves.from_turn == 0 => return Some(action),
            Some(row) => {
                let standing = row.life.standing().filter(|s| s.turn == of.moves.from_turn)?;
                match &standing.asked {
                    None => {}
                    asked if *asked == next.asked => return Some(action),
                    Some(_) => return None,
                }
                let life = Life::Running(Standing {
                    asked: next.asked.clone(),
                    ..standing.clone()
                });
                (PlayRow { life, ..row.clone() }, None)
            }
            None if of.moves.from_turn == 0 => {
                let plan = self.policies.playbooks.get(of.moves.playbook.as_str())?.plan.as_ref()?;
                let mut standing = next.clone();
                plan.definition.shape.arm(&mut standing, now);
                let row = PlayRow {
                    account: decision.account.clone(),
                    id: of.moves.play.clone(),
                    playbook: of.moves.playbook.clone(),
                    subject: of.moves.subject.clone(),
                    definition: plan.hash,
                    owner: proposal.owner.clone(),
                    tier: tier_of(decision),
                    begun_at: now,
                    begun_on: decision.as_of.day(),
                    health: of.moves.health,
                    version: 0,
                    life: Life::Running(standing),
                    asked_role: None,
                    updated_at: now,
                };
                (row, Some(plan.definition.clone()))
            }
            None => return None,
        };
        let shape = self.shape(&row)?;
        let standing = row.life.standing()?;
        let mut walk = Walk::from(shape, standing.clone());
        // What is done when it is decided moves the play at once.
        if let Some(event) = event_of(&action.row.id, action.row.state, false) {
            walk.take(&event, now);
        }
        let mut change = change(&Before { standing, row: &row }, shape, walk, now);
        change.row.updated_at = now;
        if let Some(definition) = begins {
            let body = serde_json::json!({
                "definition": row.definition,
                "playbook": row.playbook,
                "step": standing.step,
            });
            change.ledger.insert(
                0,
                LedgerDraft {
                    kind: "play_begun".to_owned(),
                    reference: row.id.as_str().to_owned(),
                    body: canonical(&body),
                },
            );
            change.definition = Some(definition);
        }
        Some(NewAction {
            play: Some(change),
            ..action
        })
    }
}
