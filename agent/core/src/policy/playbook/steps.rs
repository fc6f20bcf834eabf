//! `[[steps]]` and `[[exits]]` of a playbook: read, checked, and compiled to the shape of a play and the texts of its steps.

mod paths;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use toml::Spanned;

use super::super::file::{did_you_mean, place};
use super::super::trigger::{Condition, Triggers};
use super::{Check, Pattern, Step, StepTable, step};
use crate::action::ActionKind;
use crate::feature::{CATALOGUE, Unit};
use crate::number::Micro;
use crate::play::{
    BUSINESS_DAYS_MOST, DAYS_MOST, Definition, Outcome, Shape, Span, StepKind, StepShape, Target, WaitTime,
};
use crate::replay::Hash;
use crate::time::Day;
use paths::paths;

/// Most steps of a playbook.
const STEPS_MOST: usize = 40;
/// The id under which the trigger of the playbook is asked again.
pub(crate) const TRIGGER: &str = "when";

/// The steps of a playbook, compiled.
#[derive(Clone)]
pub struct Plan {
    /// What a play of it is pinned to.
    pub definition: Definition,
    /// Its name.
    pub hash: Hash,
    /// What the steps say, by their names.
    pub steps: BTreeMap<String, StepText>,
    /// What ends a play from outside, in the order of the file: the reasons.
    pub exits: Vec<String>,
    /// Conditions of steps by [`condition_of`] and of exits by [`exit_id`].
    pub(crate) conditions: Arc<Triggers>,
    /// The condition of the playbook itself, by [`TRIGGER`].
    pub(crate) trigger: Arc<Triggers>,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("hash", &self.hash)
            .field("shape", &self.definition.shape)
            .finish_non_exhaustive()
    }
}

impl Plan {
    /// The same with these days off, which are part of what a play is pinned to.
    #[must_use]
    pub(crate) fn with_holidays(mut self, holidays: BTreeSet<Day>) -> Plan {
        self.definition.shape.holidays = holidays;
        self.hash = self.definition.hash();
        self
    }
}

/// What a step says.
#[derive(Debug, Clone)]
pub struct StepText {
    /// Line of its name.
    pub line: usize,
    /// Its action.
    pub action: Option<ActionText>,
    /// Its task.
    pub task: Option<Pattern>,
    /// By how much the health must be better for `improved`.
    pub improved_by: Option<Micro>,
}

/// The action of a step. What it leaves out is that of the playbook.
#[derive(Debug, Clone)]
pub struct ActionText {
    /// Kind.
    pub kind: ActionKind,
    /// One line.
    pub title: Option<Pattern>,
    /// Why.
    pub because: Option<Pattern>,
    /// What it writes.
    pub writes: Vec<Step>,
    /// Whether a person is asked, whatever the table says.
    pub approve: bool,
    /// Days in which it should be done.
    pub due_days: Option<i64>,
    /// Days after which it counts as unanswered.
    pub expires_days: Option<i64>,
    /// Minutes of a person.
    pub minutes: Option<i64>,
}

/// Under which name the condition of a step is asked.
pub(crate) fn condition_of(step: &str) -> String {
    format!("step:{step}")
}

/// Under which name the condition of an exit is asked.
pub(crate) fn exit_id(at: usize) -> String {
    format!("exit:{at}")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StepsTable {
    id: Spanned<String>,
    action: Option<Spanned<String>>,
    wait: Option<Spanned<String>>,
    check: Option<Spanned<String>>,
    task: Option<Spanned<String>>,
    until: Option<Spanned<String>>,
    title: Option<Spanned<String>>,
    because: Option<Spanned<String>>,
    approve: Option<Spanned<bool>>,
    due_days: Option<Spanned<i64>>,
    expires_days: Option<Spanned<i64>>,
    minutes: Option<Spanned<i64>>,
    #[serde(default)]
    step: Vec<StepTable>,
    within: Option<Spanned<String>>,
    sla: Option<Spanned<String>>,
    next: Option<Spanned<String>>,
    #[serde(default)]
    on: BTreeMap<Spanned<String>, Spanned<String>>,
    improved_by: Option<Spanned<f64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExitTable {
    when: Spanned<String>,
    reason: Spanned<String>,
}

impl ExitTable {
    /// Byte at which it begins.
    pub(super) fn at(&self) -> usize {
        self.when.span().start
    }
}

/// What a step is, by the key that says so.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Is {
    Action,
    Wait,
    Check,
    Task,
}

impl Is {
    fn word(self) -> &'static str {
        match self {
            Is::Action => "action",
            Is::Wait => "wait",
            Is::Check => "check",
            Is::Task => "task",
        }
    }

    /// Keys beside `id`, `next`, `on` and the one that says what it is.
    fn keys(self) -> &'static [&'static str] {
        match self {
            Is::Action => &[
                "title",
                "because",
                "approve",
                "due_days",
                "expires_days",
                "minutes",
                "step",
                "sla",
            ],
            Is::Wait => &["until", "improved_by"],
            Is::Check => &["improved_by"],
            Is::Task => &["within", "sla"],
        }
    }

    /// Outcomes that it may name in `on`.
    fn outcomes(self) -> &'static [Outcome] {
        match self {
            Is::Action => &[
                Outcome::Rejected,
                Outcome::Failed,
                Outcome::Unanswered,
                Outcome::Conflict,
            ],
            Is::Wait | Is::Check => &[Outcome::Holds, Outcome::Cleared, Outcome::Improved],
            Is::Task => &[Outcome::Unanswered],
        }
    }
}

/// Compiles the steps; what is wrong goes to the problems of the check.
pub(super) fn plan(
    check: &mut Check<'_>,
    raw: &[StepsTable],
    exits: &[ExitTable],
    trigger: &Spanned<String>,
    (actions, has_document): (&[ActionKind], bool),
) -> Option<Plan> {
    let before = check.problems.len();
    if raw.len() > STEPS_MOST {
        let at = raw[STEPS_MOST].id.span().start;
        let message = format!("a playbook has at most {STEPS_MOST} steps");
        check.wrong(at, message, "split it into two playbooks");
    }
    let mut at: BTreeMap<&str, usize> = BTreeMap::new();
    for table in raw {
        let id = table.id.get_ref().as_str();
        let offset = table.id.span().start;
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if id.is_empty() || !id.chars().all(plain) || id == "end" {
            let message = format!("`{id}` is no name for a step");
            check.wrong(offset, message, "use small letters, digits and hyphens, and not `end`");
        }
        if let Some(first) = at.insert(id, offset) {
            let line = place(check.text, first).0;
            let message = format!("two steps are named `{id}`; the other stands on line {line}");
            check.wrong(offset, message, "give one of the two another name");
        }
    }
    if let Some(first) = raw.first().filter(|first| first.action.is_none()) {
        let message = format!(
            "a play begins with an action, and step `{}` is none",
            first.id.get_ref()
        );
        let help = "put an action first: what a play begins with is ranked and held back like any action";
        check.wrong(first.id.span().start, message, help);
    }
    let mut steps = Vec::new();
    let mut texts = BTreeMap::new();
    for (i, table) in raw.iter().enumerate() {
        let following = raw.get(i + 1).map(|next| next.id.get_ref().as_str());
        if let Some((shape, text)) = one(check, table, following, &at, (actions, has_document)) {
            texts.insert(shape.id.clone(), text);
            steps.push(shape);
        }
    }
    if check.problems.len() == before {
        paths(check, &steps, &at, !exits.is_empty());
    }
    let ids: Vec<(String, &'static str, &Spanned<String>)> = raw
        .iter()
        .filter_map(|t| {
            let (key, condition) = match (&t.check, &t.until) {
                (Some(condition), _) => ("check", condition),
                (None, Some(condition)) => ("until", condition),
                (None, None) => return None,
            };
            Some((condition_of(t.id.get_ref()), key, condition))
        })
        .chain(exits.iter().enumerate().map(|(i, e)| (exit_id(i), "when", &e.when)))
        .collect();
    for exit in exits.iter().filter(|e| e.reason.get_ref().trim().is_empty()) {
        let message = "an exit without a reason tells nobody why the play ended".to_owned();
        check.wrong(exit.reason.span().start, message, "add reason = \"...\"");
    }
    let (file, text) = (check.file, check.text);
    let of_file = ids.iter().map(|(id, key, condition)| Condition {
        id,
        key,
        when: condition.get_ref(),
        file,
        text,
        offset: condition.span().start + 1,
    });
    let conditions = Triggers::compile(of_file, check.problems);
    let trigger = Condition {
        id: TRIGGER,
        key: "when",
        when: trigger.get_ref(),
        file,
        text,
        offset: trigger.span().start + 1,
    };
    // A playbook with a mistake here is not compiled any further, so that it is told once.
    let trigger = Triggers::compile(std::iter::once(trigger), check.problems)?;
    if check.problems.len() != before {
        return None;
    }
    let definition = Definition {
        text: check.text.to_owned(),
        shape: Shape {
            steps,
            holidays: BTreeSet::new(),
        },
    };
    Some(Plan {
        hash: definition.hash(),
        definition,
        steps: texts,
        exits: exits.iter().map(|e| e.reason.get_ref().clone()).collect(),
        conditions: Arc::new(conditions?),
        trigger: Arc::new(trigger),
    })
}

fn one(
    check: &mut Check<'_>,
    raw: &StepsTable,
    following: Option<&str>,
    known: &BTreeMap<&str, usize>,
    (actions, has_document): (&[ActionKind], bool),
) -> Option<(StepShape, StepText)> {
    let before = check.problems.len();
    let id = raw.id.get_ref();
    let at = raw.id.span().start;
    let said: Vec<Is> = [
        (Is::Action, raw.action.is_some()),
        (Is::Wait, raw.wait.is_some()),
        (Is::Check, raw.check.is_some()),
        (Is::Task, raw.task.is_some()),
    ]
    .into_iter()
    .filter_map(|(is, there)| there.then_some(is))
    .collect();
    let is = match said.as_slice() {
        [is] => *is,
        [] => {
            let message = format!("step `{id}` does not say what it is");
            check.wrong(at, message, "add one of action, wait, check, task");
            return None;
        }
        [first, second, ..] => {
            let message = format!("step `{id}` is both `{}` and `{}`", first.word(), second.word());
            check.wrong(at, message, "make two steps of it");
            return None;
        }
    };
    let present = [
        ("title", raw.title.as_ref().map(|v| v.span().start)),
        ("because", raw.because.as_ref().map(|v| v.span().start)),
        ("approve", raw.approve.as_ref().map(|v| v.span().start)),
        ("due_days", raw.due_days.as_ref().map(|v| v.span().start)),
        ("expires_days", raw.expires_days.as_ref().map(|v| v.span().start)),
        ("minutes", raw.minutes.as_ref().map(|v| v.span().start)),
        ("step", raw.step.first().map(|v| v.write.span().start)),
        ("until", raw.until.as_ref().map(|v| v.span().start)),
        ("improved_by", raw.improved_by.as_ref().map(|v| v.span().start)),
        ("within", raw.within.as_ref().map(|v| v.span().start)),
        ("sla", raw.sla.as_ref().map(|v| v.span().start)),
    ];
    for (key, offset) in present {
        if let Some(offset) = offset.filter(|_| !is.keys().contains(&key)) {
            let message = format!("a step with `{}` has no `{key}`", is.word());
            let help = format!("beside id, next and on it takes {}", is.keys().join(", "));
            check.wrong(offset, message, help);
        }
    }
    let mut on = BTreeMap::new();
    for (word, target) in &raw.on {
        let outcome = Outcome::from_word(word.get_ref()).filter(|o| is.outcomes().contains(o));
        let Some(outcome) = outcome else {
            let words = || is.outcomes().iter().map(|o| o.as_str());
            let help = did_you_mean(word.get_ref(), words()).unwrap_or_else(|| {
                format!(
                    "use {}; `next` is where it leads else",
                    words().collect::<Vec<_>>().join(", ")
                )
            });
            let message = format!("a step with `{}` has no outcome `{}`", is.word(), word.get_ref());
            check.wrong(word.span().start, message, help);
            continue;
        };
        if let Some(target) = target_of(check, target, known) {
            on.insert(outcome, target);
        }
    }
    let next = match &raw.next {
        Some(next) => target_of(check, next, known),
        None => Some(following.map_or_else(
            || Target::End(format!("`{id}` was the last step")),
            |f| Target::Step(f.to_owned()),
        )),
    };
    let need = |check: &mut Check<'_>, outcome: Outcome, why: &str| {
        if !raw.on.keys().any(|word| word.get_ref() == outcome.as_str()) {
            let message = format!("step `{id}` does not say where `{outcome}` leads: {why}");
            check.wrong(
                at,
                message,
                format!("add on = {{ {outcome} = \"STEP\" }}, or \"end: REASON\""),
            );
        }
    };
    match is {
        Is::Action => {
            need(check, Outcome::Rejected, "a person may say no");
            need(check, Outcome::Failed, "the CRM may refuse");
            need(check, Outcome::Unanswered, "nobody may answer");
        }
        Is::Task if raw.within.is_some() => need(check, Outcome::Unanswered, "its time may run out"),
        Is::Task => {}
        Is::Check => need(check, Outcome::Holds, "that is what it checks"),
        Is::Wait if raw.until.is_some() => need(check, Outcome::Holds, "that is what `until` waits for"),
        Is::Wait => {}
    }
    let has = |outcome: Outcome| raw.on.iter().find(|(word, _)| word.get_ref() == outcome.as_str());
    let without = |check: &mut Check<'_>, outcome: Outcome, key: &str| {
        if let Some((word, _)) = has(outcome) {
            let message = format!("`{outcome}` cannot happen without `{key}`");
            check.wrong(
                word.span().start,
                message,
                format!("add {key}, or take the branch away"),
            );
        }
    };
    if is == Is::Task && raw.within.is_none() {
        without(check, Outcome::Unanswered, "within");
    }
    if is == Is::Wait && raw.until.is_none() {
        without(check, Outcome::Holds, "until");
    }
    let improved_by = match &raw.improved_by {
        None => {
            without(check, Outcome::Improved, "improved_by");
            None
        }
        Some(by) => {
            need(check, Outcome::Improved, "that is what `improved_by` asks for");
            Some(Micro::from_f64(check.range("improved_by", by, 0.1, 100.0)))
        }
    };
    let kind = match is {
        Is::Action => Some(StepKind::Action),
        Is::Check => Some(StepKind::Check),
        Is::Wait => raw
            .wait
            .as_ref()
            .and_then(|wait| wait_time(check, wait))
            .map(|time| StepKind::Wait { time }),
        Is::Task => match &raw.within {
            None => Some(StepKind::Task { within: None }),
            Some(within) => span(check, within).map(|span| StepKind::Task { within: Some(span) }),
        },
    };
    let sla = raw.sla.as_ref().and_then(|sla| span(check, sla));
    let action = raw
        .action
        .as_ref()
        .and_then(|kind| action(check, raw, kind, actions, has_document));
    let task = raw.task.as_ref().and_then(|task| check.pattern(task));
    if check.problems.len() != before {
        return None;
    }
    let shape = StepShape {
        id: id.clone(),
        kind: kind?,
        asks: raw.check.is_some() || raw.until.is_some(),
        next: next?,
        on,
        sla,
    };
    let text = StepText {
        line: place(check.text, at).0,
        action,
        task,
        improved_by,
    };
    Some((shape, text))
}

fn action(
    check: &mut Check<'_>,
    raw: &StepsTable,
    kind: &Spanned<String>,
    actions: &[ActionKind],
    has_document: bool,
) -> Option<ActionText> {
    let found = check.word("action", kind, actions, ActionKind::as_str);
    if found == Some(ActionKind::OFFER_DISCOUNT) {
        let message = "a step of a play gives no discount".to_owned();
        check.wrong(kind.span().start, message, "give it in a playbook of one action");
    }
    if raw.step.is_empty() {
        let message = format!("step `{}` is an action that writes nothing", raw.id.get_ref());
        check.wrong(raw.id.span().start, message, "add a [[steps.step]] below it");
    }
    let writes: Vec<Step> = raw.step.iter().filter_map(|s| step(check, s, has_document)).collect();
    let title = raw.title.as_ref().and_then(|t| check.pattern(t));
    let because = raw.because.as_ref().and_then(|t| check.pattern(t));
    Some(ActionText {
        kind: found?,
        title,
        because,
        writes,
        approve: raw.approve.as_ref().is_some_and(|a| *a.get_ref()),
        due_days: raw.due_days.as_ref().map(|d| check.range("due_days", d, 0, 365)),
        expires_days: raw
            .expires_days
            .as_ref()
            .map(|d| check.range("expires_days", d, 1, 365)),
        minutes: raw.minutes.as_ref().map(|m| check.range("minutes", m, 1, 480)),
    })
}

/// `STEP`, `end` or `end: REASON`.
fn target_of(check: &mut Check<'_>, raw: &Spanned<String>, known: &BTreeMap<&str, usize>) -> Option<Target> {
    let word = raw.get_ref().trim();
    if word == "end" {
        return Some(Target::End("the playbook ends here".to_owned()));
    }
    if let Some(reason) = word.strip_prefix("end:") {
        return Some(Target::End(reason.trim().to_owned()));
    }
    if known.contains_key(word) {
        return Some(Target::Step(word.to_owned()));
    }
    let help = did_you_mean(word, known.keys().copied()).unwrap_or_else(|| {
        let names: Vec<&str> = known.keys().copied().collect();
        format!("steps are {}; an end is written \"end: REASON\"", names.join(", "))
    });
    check.wrong(raw.span().start, format!("there is no step `{word}`"), help);
    None
}

/// `5 days`, `5 business days`.
fn span(check: &mut Check<'_>, raw: &Spanned<String>) -> Option<Span> {
    let read = read_span(raw.get_ref());
    if read.is_none() {
        let message = format!("`{}` is no length of time", raw.get_ref());
        let help = format!(
            "write it like \"5 days\" (at most {DAYS_MOST}) or \"5 business days\" (at most {BUSINESS_DAYS_MOST})"
        );
        check.wrong(raw.span().start, message, help);
    }
    read
}

/// A length of time as people write it, within its limits.
pub(crate) fn read_span(text: &str) -> Option<Span> {
    let (count, what) = text.trim().split_once(' ')?;
    let count: i64 = count.parse().ok()?;
    match what.trim() {
        "day" | "days" if (1..=DAYS_MOST).contains(&count) => Some(Span::Days(count)),
        "business day" | "business days" if (1..=BUSINESS_DAYS_MOST).contains(&count) => {
            Some(Span::BusinessDays(count))
        }
        _ => None,
    }
}

/// A length of time, `until 2027-01-31`, or `30 days before renewal_date`.
fn wait_time(check: &mut Check<'_>, raw: &Spanned<String>) -> Option<WaitTime> {
    let text = raw.get_ref().trim();
    let at = raw.span().start;
    if let Some(day) = text.strip_prefix("until ") {
        let Ok(day) = day.trim().parse::<Day>() else {
            check.wrong(
                at,
                format!("`{}` is no date", day.trim()),
                "write it like \"until 2027-01-31\"",
            );
            return None;
        };
        return Some(WaitTime::Until(day));
    }
    if let Some((days, fact)) = text.split_once(" before ") {
        let days = match read_span(days) {
            Some(Span::Days(days)) => days,
            Some(Span::BusinessDays(_)) | None => {
                check.wrong(
                    at,
                    format!("`{days}` is no number of days"),
                    "write it like \"30 days before renewal_date\"",
                );
                return None;
            }
        };
        let dates = || CATALOGUE.iter().filter(|d| d.unit == Unit::Date).map(|d| d.name);
        if !dates().any(|name| name == fact.trim()) {
            let help = did_you_mean(fact.trim(), dates())
                .unwrap_or_else(|| format!("dates are {}", dates().collect::<Vec<_>>().join(", ")));
            check.wrong(
                at,
                format!("`{}` is no date that is known of an account", fact.trim()),
                help,
            );
            return None;
        }
        return Some(WaitTime::Before {
            days,
            fact: fact.trim().to_owned(),
        });
    }
    span(check, raw).map(WaitTime::For)
}
