//! What a decision does with plays: which of them go on, wait, end or ask for an action.

use std::ops::Deref;
use std::sync::Arc;

use super::{Inputs, Note, NoteKind};
use crate::candidate::{Due, Known, slots};
use crate::ids::PlaybookId;
use crate::number::Micro;
use crate::play::{Asked, Event, Life, Move, Outcome, Running, StepKind, StepShape, WaitTime, Walk, Wants, wants};
use crate::policy::{Plan, Playbook, Policies, TRIGGER, condition_of, exit_id};

/// The playbook that a running play follows.
pub(crate) enum Book<'a> {
    /// The one in force.
    InForce(&'a Playbook),
    /// As it was when the play began.
    Pinned(Arc<Playbook>),
}

impl Deref for Book<'_> {
    type Target = Playbook;

    fn deref(&self) -> &Playbook {
        match self {
            Book::InForce(playbook) => playbook,
            Book::Pinned(playbook) => playbook,
        }
    }
}

/// Running plays with the playbooks they follow. One whose playbook cannot be read stays where it is, and a note says so.
pub(crate) fn books<'a>(
    inputs: &'a Inputs,
    policies: &'a Policies,
    notes: &mut Vec<Note>,
) -> Vec<(&'a Running, Book<'a>)> {
    let mut books = Vec::new();
    for running in &inputs.plays {
        match policies.playbook_of(running) {
            Some(book) => books.push((running, book)),
            None => {
                let text = format!(
                    "cannot assess: the version of the playbook that {} follows names what the policies do not know",
                    running.play
                );
                notes.push(Note::about(NoteKind::CannotAssess, running.playbook.as_str(), text));
            }
        }
    }
    books
}

/// Every running play ends, for this reason.
pub(crate) fn end_all(inputs: &Inputs, reason: &str) -> Vec<Move> {
    let now = inputs.snapshot.as_of;
    let ended = inputs.plays.iter().map(|running| {
        let life = Life::Ended {
            turn: running.standing.turn,
            reason: reason.to_owned(),
            at: now,
        };
        moved(running, life, Vec::new())
    });
    ended.collect()
}

fn moved(running: &Running, life: Life, left: Vec<crate::play::Left>) -> Move {
    Move {
        play: running.play.clone(),
        playbook: running.playbook.clone(),
        subject: running.subject.clone(),
        from_turn: running.standing.turn,
        health: None,
        left,
        life,
    }
}

/// What running plays come to by the facts: the moves, and the actions that are to be proposed.
pub(crate) fn go_on<'a>(
    known: &Known<'_>,
    books: &'a [(&'a Running, Book<'a>)],
    notes: &mut Vec<Note>,
) -> (Vec<Move>, Vec<Due<'a>>) {
    let now = known.inputs.snapshot.as_of;
    let (mut moves, mut due) = (Vec::new(), Vec::new());
    for (running, book) in books {
        let Some(plan) = &book.plan else { continue };
        let shape = &plan.definition.shape;
        let mut walk = Walk::from(shape, running.standing.clone());
        let mut reached = None;
        let held = plan.conditions.matches(known.features);
        let exit = plan
            .exits
            .iter()
            .enumerate()
            .find(|(at, _)| held.holds.contains(&exit_id(*at)));
        if let Some((_, reason)) = exit {
            let reason = reason.clone();
            walk.take(&Event::Exit { reason }, now);
        }
        // As often as a way without a wait can be long.
        for _ in 0..=shape.steps.len() {
            let Life::Running(standing) = walk.life.clone() else {
                break;
            };
            match wants(shape, &standing) {
                Wants::Facts(step) => {
                    if let Some(dated) = date(known, &running.playbook, step, standing.turn, notes) {
                        walk.take(&dated, now);
                    }
                    let Some(outcome) = seen(known, running, plan, step, &held.holds) else {
                        break;
                    };
                    let turn = standing.turn;
                    if !walk.take(&Event::Seen { turn, outcome }, now) {
                        break;
                    }
                }
                Wants::Task(step) => {
                    let text = plan.steps.get(&step.id).and_then(|text| text.task.as_ref());
                    let asked = Asked::Task {
                        text: text.map_or_else(String::new, |text| text.fill(&slots(known))),
                        day: now.day(),
                    };
                    let turn = standing.turn;
                    walk.take(&Event::Asked { turn, asked }, now);
                    break;
                }
                Wants::Action(step) => {
                    reached = Some((step, standing));
                    break;
                }
                Wants::Time => break,
            }
        }
        if walk.life != Life::Running(running.standing.clone()) {
            moves.push(moved(running, walk.life, walk.left));
        }
        if let Some((step, standing)) = reached {
            due.extend(Due::of_play(book, step, running, standing));
        }
    }
    (moves, due)
}

/// The date that a wait is for, as the facts know it now.
fn date(known: &Known<'_>, playbook: &PlaybookId, step: &StepShape, turn: u32, notes: &mut Vec<Note>) -> Option<Event> {
    let StepKind::Wait {
        time: WaitTime::Before { days, fact },
    } = &step.kind
    else {
        return None;
    };
    let Some(day) = known.features.day(fact) else {
        let text = format!("cannot assess: step `{}` waits for {fact}, which is not known", step.id);
        notes.push(Note::about(NoteKind::CannotAssess, playbook.as_str(), text));
        return None;
    };
    let until = day.plus(-days).start();
    Some(Event::Dated { turn, until })
}

/// What the facts say to a step; none while a wait goes on.
fn seen(
    known: &Known<'_>,
    running: &Running,
    plan: &Plan,
    step: &StepShape,
    holds: &std::collections::BTreeSet<String>,
) -> Option<Outcome> {
    if step.asks && holds.contains(&condition_of(&step.id)) {
        return Some(Outcome::Holds);
    }
    if step.on.contains_key(&Outcome::Cleared) {
        let trigger = plan.trigger.matches(known.features);
        // What cannot be told is not over.
        if !trigger.holds.contains(TRIGGER) && !trigger.cannot_assess.contains_key(TRIGGER) {
            return Some(Outcome::Cleared);
        }
    }
    if step.on.contains_key(&Outcome::Improved) {
        let by = plan.steps.get(&step.id).and_then(|text| text.improved_by);
        let now = known.features.number("health").map(Micro::from_f64);
        if let (Some(by), Some(then), Some(now)) = (by, running.health, now)
            && now.0.saturating_sub(then.0) >= by.0
        {
            return Some(Outcome::Improved);
        }
    }
    (step.kind == StepKind::Check).then_some(Outcome::Otherwise)
}
