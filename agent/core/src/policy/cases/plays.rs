//! `[[play]]` of `tests/*.toml`: what admins expect of the steps of a playbook, event by event.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::super::file::{Problem, did_you_mean, place};
use super::super::{Playbook, read_span};
use super::{Failed, NOW, Reading};
use crate::ids::ActionId;
use crate::play::{Asked, Event, Life, Outcome, Shape, Span, Walk, Wants, wants};
use crate::time::Timestamp;

/// A play as it should go.
#[derive(Debug, Clone)]
pub struct PlayCase {
    /// Its name, unique in its file.
    pub name: String,
    /// File inside the policies folder.
    pub file: String,
    /// Line of its name.
    pub line: usize,
    /// Playbook, and the line and column where it is named.
    pub playbook: (String, (usize, usize)),
    /// What happens, in order.
    events: Vec<Happens>,
    /// A step, `end` or `end: REASON`.
    pub expect: String,
}

#[derive(Debug, Clone)]
enum Happens {
    Outcome(Outcome),
    Time(Span),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PlayTable {
    pub(super) name: Spanned<String>,
    playbook: Spanned<String>,
    events: Vec<Spanned<String>>,
    expect: Spanned<String>,
}

pub(super) fn read(reading: &mut Reading<'_>, table: &PlayTable) -> Option<PlayCase> {
    let before = reading.problems.len();
    let mut events = Vec::new();
    for event in &table.events {
        let word = event.get_ref();
        let known = Outcome::from_word(word).map(Happens::Outcome);
        match known.or_else(|| read_span(word).map(Happens::Time)) {
            Some(event) => events.push(event),
            None => {
                let words = || Outcome::ALL.iter().map(|o| o.as_str());
                let help = did_you_mean(word, words()).unwrap_or_else(|| {
                    let words: Vec<&str> = words().collect();
                    format!(
                        "use {}, or a length of time such as \"5 business days\"",
                        words.join(", ")
                    )
                });
                reading.wrong(event.span().start, format!("nothing happens by `{word}`"), help);
            }
        }
    }
    let at = |offset: usize| place(reading.text, offset);
    let case = PlayCase {
        name: table.name.get_ref().clone(),
        file: reading.file.to_owned(),
        line: at(table.name.span().start).0,
        playbook: (table.playbook.get_ref().clone(), at(table.playbook.span().start)),
        events,
        expect: table.expect.get_ref().trim().to_owned(),
    };
    (reading.problems.len() == before).then_some(case)
}

/// Cases of playbooks that are not there, or that are no plays of several steps.
pub(in crate::policy) fn unknown(
    cases: &[PlayCase],
    playbooks: &BTreeMap<String, Playbook>,
    written: impl Fn(&str) -> bool,
    problems: &mut Vec<Problem>,
) {
    for case in cases {
        let (name, (line, column)) = &case.playbook;
        let (message, help) = match playbooks.get(name) {
            Some(playbook) if playbook.plan.is_some() => continue,
            None if written(name) => continue,
            Some(_) => (
                format!("`{name}` has no [[steps]]: its one action is asked about by a [[test]]"),
                "name a playbook with steps".to_owned(),
            ),
            None => {
                let names = || playbooks.keys().map(String::as_str);
                let help = did_you_mean(name, names())
                    .unwrap_or_else(|| format!("playbooks are {}", names().collect::<Vec<_>>().join(", ")));
                (format!("there is no playbook `{name}`"), help)
            }
        };
        problems.push(Problem {
            file: case.file.clone(),
            line: *line,
            column: *column,
            message,
            help,
        });
    }
}

/// Plays a case; none where it went as expected.
pub(super) fn run(case: &PlayCase, playbooks: &BTreeMap<String, Playbook>) -> Option<Failed> {
    let plan = playbooks.get(&case.playbook.0)?.plan.as_ref()?;
    let got = played(&plan.definition.shape, &case.events);
    let ended = got.starts_with("end: ") && case.expect == "end";
    (got != case.expect && !ended).then(|| Failed {
        name: case.name.clone(),
        file: case.file.clone(),
        line: case.line,
        expected: case.expect.clone(),
        got,
        rules: Vec::new(),
    })
}

fn played(shape: &Shape, events: &[Happens]) -> String {
    let mut now: Timestamp = NOW.parse().unwrap_or(Timestamp::EPOCH);
    let Some(first) = shape.begin(now) else {
        return "no step".to_owned();
    };
    let mut walk = Walk::from(shape, first);
    for (i, event) in events.iter().enumerate() {
        ask(shape, &mut walk, now);
        let Some(standing) = walk.life.standing().cloned() else {
            return format!("ended before event {}", i + 1);
        };
        let turn = standing.turn;
        let changed = match event {
            Happens::Time(span) => {
                now = shape.after(now, *span);
                walk.pass(now);
                true
            }
            Happens::Outcome(
                outcome @ (Outcome::Executed
                | Outcome::Rejected
                | Outcome::Failed
                | Outcome::Conflict
                | Outcome::Unanswered),
            ) if matches!(standing.asked, Some(Asked::Action { .. })) => {
                let settled = Event::Settled {
                    action: action(turn),
                    outcome: *outcome,
                };
                walk.take(&settled, now)
            }
            Happens::Outcome(Outcome::Done) => walk.take(&Event::Done { turn }, now),
            Happens::Outcome(outcome) => walk.take(
                &Event::Seen {
                    turn,
                    outcome: *outcome,
                },
                now,
            ),
        };
        if !changed {
            return format!("step `{}`, which event {} does not concern", standing.step, i + 1);
        }
    }
    match &walk.life {
        Life::Running(standing) => standing.step.clone(),
        Life::Ended { reason, .. } => format!("end: {reason}"),
    }
}

fn action(turn: u32) -> ActionId {
    ActionId::new(format!("act_{turn}"))
}

/// Puts the action or task of the step before people, as a decision would.
fn ask(shape: &Shape, walk: &mut Walk<'_>, now: Timestamp) {
    let Some(standing) = walk.life.standing().cloned() else {
        return;
    };
    let (turn, day) = (standing.turn, now.day());
    let asked = match wants(shape, &standing) {
        Wants::Action(_) => Asked::Action {
            action: action(turn),
            day,
        },
        Wants::Task(step) => Asked::Task {
            text: step.id.clone(),
            day,
        },
        Wants::Facts(_) | Wants::Time => return,
    };
    walk.take(&Event::Asked { turn, asked }, now);
}
