//! A play on its way: several events one after the other, what a decision is given of it, and what the decision does with it.

use serde::{Deserialize, Serialize};

use super::{Asked, Definition, Event, Life, Outcome, Shape, Standing, StepKind, StepShape, WaitTime, step};
use crate::ids::{PlayId, PlaybookId};
use crate::number::Micro;
use crate::time::{Day, Timestamp};

/// What a step waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wants<'a> {
    /// Its action is to be proposed.
    Action(&'a StepShape),
    /// Its task is to be opened.
    Task(&'a StepShape),
    /// The facts are to be looked at.
    Facts(&'a StepShape),
    /// Time, or the answer of a person or a CRM.
    Time,
}

/// What a play stands at.
#[must_use]
pub fn wants<'a>(shape: &'a Shape, standing: &Standing) -> Wants<'a> {
    let Some(step) = shape.step(&standing.step) else {
        return Wants::Time;
    };
    match &step.kind {
        StepKind::Check => Wants::Facts(step),
        StepKind::Wait { time } => {
            let facts = step.asks || step.looks() || matches!(time, WaitTime::Before { .. });
            if facts { Wants::Facts(step) } else { Wants::Time }
        }
        StepKind::Action if standing.asked.is_none() => Wants::Action(step),
        StepKind::Task { .. } if standing.asked.is_none() => Wants::Task(step),
        StepKind::Action | StepKind::Task { .. } => Wants::Time,
    }
}

/// A step that was left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// Its number.
    pub turn: u32,
    /// Its name.
    pub step: String,
    /// How it ended; none where the play was ended from outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// A running play on its way through events, with the steps it leaves behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walk<'a> {
    shape: &'a Shape,
    /// Where it stands now.
    pub life: Life,
    /// What it left, in order.
    pub left: Vec<Left>,
}

impl<'a> Walk<'a> {
    /// From where it stands.
    #[must_use]
    pub fn from(shape: &'a Shape, standing: Standing) -> Walk<'a> {
        Walk {
            shape,
            life: Life::Running(standing),
            left: Vec::new(),
        }
    }

    /// Applies an event; whether it changed anything.
    pub fn take(&mut self, event: &Event, now: Timestamp) -> bool {
        let Life::Running(standing) = &self.life else {
            return false;
        };
        let Some(taken) = step(self.shape, standing, event, now) else {
            return false;
        };
        let moved = taken.life.standing().is_none_or(|next| next.turn != standing.turn);
        if moved {
            self.left.push(Left {
                turn: standing.turn,
                step: standing.step.clone(),
                outcome: taken.outcome,
            });
        }
        self.life = taken.life;
        true
    }

    /// Applies what the time alone brings, as often as it brings something; whether it changed anything.
    pub fn pass(&mut self, now: Timestamp) -> bool {
        let mut any = false;
        // A loop has a wait in it, and a wait that begins now is not over now, unless it is for a day that has passed.
        for _ in 0..=self.shape.steps.len() * 2 {
            if !self.take(&Event::Due, now) {
                break;
            }
            any = true;
        }
        any
    }
}

/// What a running play is to a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// Which.
    pub play: PlayId,
    /// Playbook.
    pub playbook: PlaybookId,
    /// What it is about.
    pub subject: String,
    /// Health when it began, where it was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Micro>,
    /// The playbook as it stood when the play began.
    pub pinned: Definition,
    /// Where it stands. What it put before people on the day of the decision is not in it, so that a second decision on the
    /// same day puts the same before them.
    pub standing: Standing,
}

impl Running {
    /// The play as a decision for `today` sees it: without what it put before people on that day, and without what is of no
    /// matter to a decision.
    #[must_use]
    pub fn as_of(mut self, today: Day) -> Running {
        self.standing.sla = None;
        self.standing.overdue = false;
        let day = match &self.standing.asked {
            Some(Asked::Action { day, .. } | Asked::Task { day, .. }) => Some(*day),
            None => None,
        };
        if day.is_some_and(|day| day >= today) {
            self.standing.asked = None;
        }
        self
    }
}

/// What a decision does with a play.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// Which play.
    pub play: PlayId,
    /// Playbook.
    pub playbook: PlaybookId,
    /// What it is about.
    pub subject: String,
    /// Turn at which it stood; 0 for a play that begins.
    pub from_turn: u32,
    /// Health when it begins, where it is known; only of one that begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Micro>,
    /// Steps it leaves, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<Left>,
    /// The play afterwards. Timers of a step that is entered now count from when it is stored.
    pub life: Life,
}

/// Of which play and step a proposal is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfPlay {
    /// Name of the step.
    pub step: String,
    /// Steps there are.
    pub steps: u32,
    /// The step asks a person, whatever the table says.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub approve: bool,
    /// What happens to the play when it is stored.
    pub moves: Move,
}
