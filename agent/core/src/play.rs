//! Plays: the steps of a playbook as a state machine that lasts for weeks.
//!
//! [`step`] is the only way a running play changes: from its shape, its state, an event and a time follows the next state.
//! What is to be done at the state is told by [`wants`]. There is no clock here, no database and no rule of the gate: an
//! action of a step is proposed like any other, and comes back as an event when it is settled.
//!
//! INVARIANT (no step twice): every step that is taken has a number, its turn, which only grows. An event names the turn or
//! the action it is about, and one that is about another changes nothing. So events may come twice, late and in any order.

mod moves;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use moves::{Left, Move, OfPlay, Running, Walk, Wants, wants};

use crate::ids::ActionId;
use crate::replay::{Hash, canonical};
use crate::signal::word_enum;
use crate::time::{Day, Timestamp};

word_enum! {
    /// How a step ended.
    Outcome {
        /// Its action was carried out.
        Executed = "executed",
        /// A person said no to its action.
        Rejected = "rejected",
        /// Its action could not be carried out.
        Failed = "failed",
        /// Somebody else had changed the record, and a person is asked whose value stays.
        Conflict = "conflict",
        /// Nobody answered in time.
        Unanswered = "unanswered",
        /// A person marked it as done.
        Done = "done",
        /// The time of a wait was over.
        Elapsed = "elapsed",
        /// The condition of a wait or a check holds.
        Holds = "holds",
        /// What began the play is over: the condition of the playbook does not hold any more.
        Cleared = "cleared",
        /// The health is better than when the play began, by what the playbook asks for.
        Improved = "improved",
        /// Nothing that a check asks for.
        Otherwise = "otherwise",
    }
}

/// A length of time as people write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Span {
    /// Days of the calendar.
    Days(i64),
    /// Days from Monday to Friday that are no holidays.
    BusinessDays(i64),
}

impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (count, what) = match self {
            Span::Days(count) => (*count, "day"),
            Span::BusinessDays(count) => (*count, "business day"),
        };
        write!(f, "{count} {what}{}", if count == 1 { "" } else { "s" })
    }
}

/// How long a step waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitTime {
    /// So long from when the step is entered.
    For(Span),
    /// Until the start of a day.
    Until(Day),
    /// Until so many days before a date that the facts know.
    Before {
        /// Days before it.
        days: i64,
        /// The fact.
        fact: String,
    },
}

/// What a step is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// An action is proposed, and the step ends when it is settled.
    Action,
    /// Time passes, or a condition comes to hold.
    Wait {
        /// How long at most.
        time: WaitTime,
    },
    /// The facts are looked at once.
    Check,
    /// A person does something and says so.
    Task {
        /// For how long they are waited for; without it, as long as it takes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        within: Option<Span>,
    },
}

/// Where a step leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// To another step.
    Step(String),
    /// To the end, with a reason.
    End(String),
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepShape {
    /// Its name, one of a kind in its playbook.
    pub id: String,
    /// What it is.
    pub kind: StepKind,
    /// Whether a condition is asked about it (`Holds`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub asks: bool,
    /// Where it leads when nothing else is said: after execution, when done, when time is over, when a check finds nothing.
    pub next: Target,
    /// Where single outcomes lead.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub on: BTreeMap<Outcome, Target>,
    /// After which it is overdue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sla: Option<Span>,
}

/// The steps of a playbook without their texts: all that the state machine needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Steps; a play begins with the first.
    pub steps: Vec<StepShape>,
    /// Days that are no business days, beside weekends.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub holidays: BTreeSet<Day>,
}

/// What a play is pinned to: the playbook as it stood when the play began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// The file.
    pub text: String,
    /// Its steps.
    pub shape: Shape,
}

impl Definition {
    /// Its name: the hash of all of it.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Hash::of(canonical(self).as_bytes())
    }
}

/// What a step has put before people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// Its action.
    Action {
        /// Which.
        action: ActionId,
        /// Day it was proposed for.
        day: Day,
    },
    /// Its task.
    Task {
        /// What is to be done.
        text: String,
        /// Day it was opened for.
        day: Day,
    },
}

/// Where a running play stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Step.
    pub step: String,
    /// Number of the step among those taken, from 1.
    pub turn: u32,
    /// When it was entered.
    pub entered: Timestamp,
    /// When its wait is over, or its task counts as unanswered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// When it becomes overdue; none once it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sla: Option<Timestamp>,
    /// It has taken longer than it should.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub overdue: bool,
    /// What it has put before people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asked>,
}

/// A play, running or ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Life {
    /// It stands at a step.
    Running(Standing),
    /// It is over.
    Ended {
        /// Steps it took.
        turn: u32,
        /// Why it is over.
        reason: String,
        /// Since when.
        at: Timestamp,
    },
}

impl Life {
    /// Steps taken so far.
    #[must_use]
    pub fn turn(&self) -> u32 {
        match self {
            Life::Running(standing) => standing.turn,
            Life::Ended { turn, .. } => *turn,
        }
    }

    /// Where it stands, while it runs.
    #[must_use]
    pub fn standing(&self) -> Option<&Standing> {
        match self {
            Life::Running(standing) => Some(standing),
            Life::Ended { .. } => None,
        }
    }

    /// The next moment at which [`Event::Due`] changes it.
    #[must_use]
    pub fn due(&self) -> Option<Timestamp> {
        let standing = self.standing()?;
        match (standing.until, standing.sla) {
            (Some(until), Some(sla)) => Some(until.min(sla)),
            (one, other) => one.or(other),
        }
    }
}

/// Something that may move a play.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A step's action came to an end.
    Settled {
        /// Which.
        action: ActionId,
        /// How: executed, rejected, failed, conflict or unanswered.
        outcome: Outcome,
    },
    /// A step's action gave way without an answer: what denied it may go, and then the step is proposed again.
    Fell {
        /// Which.
        action: ActionId,
    },
    /// A person marked a task as done.
    Done {
        /// At which turn they saw it.
        turn: u32,
    },
    /// The facts were looked at: holds, cleared, improved or otherwise.
    Seen {
        /// At which turn.
        turn: u32,
        /// What was found.
        outcome: Outcome,
    },
    /// The date that a wait is for is this.
    Dated {
        /// At which turn.
        turn: u32,
        /// When the wait is over.
        until: Timestamp,
    },
    /// The action or task of a step was put before people.
    Asked {
        /// At which turn.
        turn: u32,
        /// What.
        asked: Asked,
    },
    /// It is as late as the time that comes with the event.
    Due,
    /// It is to end: a condition says so, or a person.
    Exit {
        /// Why.
        reason: String,
    },
}

/// What an event did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The play afterwards.
    pub life: Life,
    /// How the step ended, where it did.
    pub outcome: Option<Outcome>,
}

impl StepShape {
    /// Whether facts of the account can end it.
    #[must_use]
    pub fn looks(&self) -> bool {
        [Outcome::Holds, Outcome::Cleared, Outcome::Improved]
            .iter()
            .any(|outcome| self.on.contains_key(outcome))
    }

    /// Where an outcome leads; none where the step knows nothing of it.
    #[must_use]
    pub fn target(&self, outcome: Outcome) -> Option<&Target> {
        if let Some(target) = self.on.get(&outcome) {
            return Some(target);
        }
        let follows = matches!(
            (&self.kind, outcome),
            (StepKind::Action, Outcome::Executed)
                | (StepKind::Wait { .. }, Outcome::Elapsed)
                | (StepKind::Check, Outcome::Otherwise)
                | (StepKind::Task { .. }, Outcome::Done)
        );
        follows.then_some(&self.next)
    }

    /// Every place it leads to.
    pub fn targets(&self) -> impl Iterator<Item = &Target> {
        std::iter::once(&self.next).chain(self.on.values())
    }
}

impl Shape {
    /// The shape of a playbook without steps: one action, and the play is over when it is settled.
    #[must_use]
    pub fn single() -> Shape {
        let end = |reason: &str| Target::End(reason.to_owned());
        let others = [Outcome::Rejected, Outcome::Failed, Outcome::Unanswered];
        Shape {
            steps: vec![StepShape {
                id: "act".to_owned(),
                kind: StepKind::Action,
                asks: false,
                next: end("executed"),
                on: others.into_iter().map(|o| (o, end(o.as_str()))).collect(),
                sla: None,
            }],
            holidays: BTreeSet::new(),
        }
    }

    /// A step by its name.
    #[must_use]
    pub fn step(&self, id: &str) -> Option<&StepShape> {
        self.steps.iter().find(|step| step.id == id)
    }

    /// A new play at its first step. None without steps.
    #[must_use]
    pub fn begin(&self, now: Timestamp) -> Option<Standing> {
        let first = self.steps.first()?;
        Some(self.enter(first, 1, now))
    }

    fn enter(&self, step: &StepShape, turn: u32, now: Timestamp) -> Standing {
        let mut standing = Standing {
            step: step.id.clone(),
            turn,
            entered: now,
            until: None,
            sla: None,
            overdue: false,
            asked: None,
        };
        self.arm(&mut standing, now);
        standing
    }

    /// Sets the timers of a step as of a moment at which it counts as entered.
    pub fn arm(&self, standing: &mut Standing, now: Timestamp) {
        let Some(step) = self.step(&standing.step) else { return };
        standing.entered = now;
        standing.sla = step.sla.map(|span| self.after(now, span));
        standing.overdue = false;
        standing.until = match &step.kind {
            StepKind::Wait {
                time: WaitTime::For(span),
            } => Some(self.after(now, *span)),
            StepKind::Wait {
                time: WaitTime::Until(day),
            } => Some(day.start().max(now)),
            // The date is found when the facts are looked at, and may be known already.
            StepKind::Wait {
                time: WaitTime::Before { .. },
            } => standing.until,
            StepKind::Task { within } => within.map(|span| self.after(now, span)),
            StepKind::Action | StepKind::Check => None,
        };
    }

    /// The moment a span after another: business days keep the time of day.
    #[must_use]
    pub fn after(&self, now: Timestamp, span: Span) -> Timestamp {
        match span {
            Span::Days(days) => now.plus_days(days),
            Span::BusinessDays(count) => {
                let today = now.day();
                let mut day = today;
                let mut left = count.clamp(0, BUSINESS_DAYS_MOST);
                // Holidays without end would never let a business day come.
                for _ in 0..BUSINESS_DAYS_MOST * 4 {
                    if left == 0 {
                        break;
                    }
                    day = day.plus(1);
                    if self.is_business_day(day) {
                        left -= 1;
                    }
                }
                now.plus_days(today.days_until(day))
            }
        }
    }

    fn is_business_day(&self, day: Day) -> bool {
        day.week_start().days_until(day) < 5 && !self.holidays.contains(&day)
    }
}

/// Most days that a step may wait.
pub const DAYS_MOST: i64 = 730;
/// Most business days that a step may wait.
pub const BUSINESS_DAYS_MOST: i64 = 500;

/// What an event does to a running play; none where it does not concern it.
#[must_use]
pub fn step(shape: &Shape, standing: &Standing, event: &Event, now: Timestamp) -> Option<Taken> {
    if let Event::Exit { reason } = event {
        return Some(Taken {
            life: end(standing, reason.clone(), now),
            outcome: None,
        });
    }
    // A step that is not in the shape: stored by a program that knew more. It stays, and a person may end it.
    let at = shape.step(&standing.step)?;
    let of_action =
        |action: &ActionId| matches!(&standing.asked, Some(Asked::Action { action: ours, .. }) if ours == action);
    let stay = |standing: Standing| {
        Some(Taken {
            life: Life::Running(standing),
            outcome: None,
        })
    };
    match event {
        Event::Settled { action, outcome } if of_action(action) => leave(shape, standing, at, *outcome, now),
        Event::Fell { action } if of_action(action) => stay(Standing {
            asked: None,
            ..standing.clone()
        }),
        Event::Done { turn } if *turn == standing.turn && matches!(at.kind, StepKind::Task { .. }) => {
            leave(shape, standing, at, Outcome::Done, now)
        }
        Event::Seen { turn, outcome } if *turn == standing.turn => {
            let of_facts = match at.kind {
                StepKind::Check => matches!(
                    outcome,
                    Outcome::Holds | Outcome::Cleared | Outcome::Improved | Outcome::Otherwise
                ),
                StepKind::Wait { .. } => matches!(outcome, Outcome::Holds | Outcome::Cleared | Outcome::Improved),
                StepKind::Action | StepKind::Task { .. } => false,
            };
            if of_facts {
                leave(shape, standing, at, *outcome, now)
            } else {
                None
            }
        }
        Event::Dated { turn, until } if *turn == standing.turn => {
            let dated = matches!(
                at.kind,
                StepKind::Wait {
                    time: WaitTime::Before { .. }
                }
            );
            if !dated || standing.until == Some(*until) {
                return None;
            }
            stay(Standing {
                until: Some(*until),
                ..standing.clone()
            })
        }
        Event::Asked { turn, asked } if *turn == standing.turn && standing.asked.is_none() => {
            let fits = match (asked, &at.kind) {
                (Asked::Action { .. }, StepKind::Action) | (Asked::Task { .. }, StepKind::Task { .. }) => true,
                (Asked::Action { .. } | Asked::Task { .. }, _) => false,
            };
            if !fits {
                return None;
            }
            stay(Standing {
                asked: Some(asked.clone()),
                ..standing.clone()
            })
        }
        Event::Due => {
            if standing.until.is_some_and(|until| until <= now) {
                let outcome = match at.kind {
                    StepKind::Wait { .. } => Outcome::Elapsed,
                    StepKind::Task { .. } | StepKind::Action => Outcome::Unanswered,
                    StepKind::Check => Outcome::Otherwise,
                };
                if let Some(taken) = leave(shape, standing, at, outcome, now) {
                    return Some(taken);
                }
            }
            if standing.sla.is_some_and(|sla| sla <= now) {
                return stay(Standing {
                    sla: None,
                    overdue: true,
                    ..standing.clone()
                });
            }
            None
        }
        Event::Settled { .. }
        | Event::Fell { .. }
        | Event::Done { .. }
        | Event::Seen { .. }
        | Event::Dated { .. }
        | Event::Asked { .. }
        | Event::Exit { .. } => None,
    }
}

fn leave(shape: &Shape, standing: &Standing, at: &StepShape, outcome: Outcome, now: Timestamp) -> Option<Taken> {
    let life = match at.target(outcome)? {
        Target::End(reason) => end(standing, reason.clone(), now),
        Target::Step(next) => match shape.step(next) {
            Some(next) => Life::Running(shape.enter(next, standing.turn.saturating_add(1), now)),
            // Never in a shape that was checked. What cannot go on ends, so that it is seen.
            None => end(standing, format!("there is no step `{next}`"), now),
        },
    };
    Some(Taken {
        life,
        outcome: Some(outcome),
    })
}

fn end(standing: &Standing, reason: String, now: Timestamp) -> Life {
    Life::Ended {
        turn: standing.turn,
        reason,
        at: now,
    }
}

#[cfg(test)]
mod tests;
