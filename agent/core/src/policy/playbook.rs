//! `playbooks/*.toml`: what could be done, when, what it is expected to bring, and what it writes.

mod steps;
mod writes;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::file::{Problem, did_you_mean, parse, place};
use super::gate::Vocabulary;
use super::text::Pattern;
use crate::action::{AccountField, ActionKind, Priority};
use crate::draft::DocumentKind;
use crate::effect::{Belief, Observed, chance_above_zero};
use crate::ids::PlaybookId;
use crate::signal::{ContactRole, OpportunityKind, word_enum};
pub use steps::{ActionText, Plan, StepText};
pub(crate) use steps::{TRIGGER, condition_of, exit_id, read_span};
use writes::{StepTable, step};

word_enum! {
    /// What an action is about. The same playbook proposes one action a subject.
    Subject {
        /// The account as a whole.
        Account = "account",
        /// The agreement with the next end, and that end.
        Renewal = "renewal",
        /// The calendar quarter.
        Quarter = "quarter",
        /// The oldest open escalation.
        Escalation = "escalation",
        /// The sponsor who left.
        Sponsor = "sponsor",
    }
}

/// A compiled playbook.
#[derive(Debug, Clone)]
pub struct Playbook {
    /// Name of its file without the ending.
    pub id: PlaybookId,
    /// Name for people.
    pub name: String,
    /// Path and line of its condition.
    pub file: String,
    /// Line of `when`.
    pub line: usize,
    /// Condition, in Cedar, over the facts of the account.
    pub when: String,
    /// Byte of the condition in the file, for messages.
    pub(crate) when_offset: usize,
    /// Kind of action, the row of the autonomy table.
    pub kind: ActionKind,
    /// What it is about.
    pub subject: Subject,
    /// Not proposed again about the same subject for so many days.
    pub cooldown_days: i64,
    /// Playbooks that are not to follow it, nor it them, within `excludes_days`, about the same account.
    pub excludes: BTreeSet<String>,
    /// For how many days; 0 where it excludes none.
    pub excludes_days: i64,
    /// Line of `excludes`; 1 where there is none.
    pub excludes_line: usize,
    /// Where and what each of `excludes` is, for the check that it exists.
    pub(crate) excludes_at: Vec<(usize, String)>,
    /// Days in which it should be done.
    pub due_days: i64,
    /// Unanswered, it expires after so many days.
    pub expires_days: i64,
    /// What it is expected to bring and to cost.
    pub economics: Economics,
    /// One line: what to do, to whom, by when.
    pub title: Pattern,
    /// Why, in a sentence.
    pub because: Pattern,
    /// Facts that the card shows as evidence.
    pub evidence: Vec<String>,
    /// Document to draft.
    pub document: Option<DocumentKind>,
    /// What it writes; nothing where it has a plan.
    pub steps: Vec<Step>,
    /// Its steps, where it is more than one action.
    pub plan: Option<Plan>,
}

/// Expected effect and cost. The shift is a conservative prior, drawn towards what randomised outcomes show where the
/// file has them.
#[derive(Debug, Clone, Copy)]
pub struct Economics {
    /// Mean of the shift of the log odds of renewing, after what was observed.
    pub shift: f64,
    /// Its standard deviation.
    pub shift_sd: f64,
    /// Mean of the prior, where something was observed.
    pub prior_shift: Option<f64>,
    /// Expected expansion as a share of the yearly revenue.
    pub expansion: f64,
    /// Share of the effect that is left at the next review.
    pub decay: f64,
    /// Minutes of a person.
    pub minutes: i64,
    /// What it gives away.
    pub discount: Option<Discount>,
}

/// A price below the list.
#[derive(Debug, Clone, Copy)]
pub struct Discount {
    /// Share of the yearly revenue, 0 to 1.
    pub share: f64,
    /// Probability that the customer takes it, 0 to 1.
    pub accept: f64,
}

/// One write of a playbook.
#[derive(Debug, Clone)]
pub enum Step {
    /// Fields of the account.
    UpdateField(BTreeMap<AccountField, Pattern>),
    /// A task.
    CreateTask {
        /// One line.
        subject: Pattern,
        /// What the person needs.
        body: Pattern,
        /// Urgency.
        priority: Priority,
    },
    /// A note.
    CreateNote {
        /// One line.
        title: Pattern,
        /// Text; with `None` the drafted document.
        body: Option<Pattern>,
    },
    /// Next step or stage of an open deal; left out where there is none.
    UpdateOpportunity {
        /// Kind of the deal.
        which: OpportunityKind,
        /// New next step.
        next_step: Option<Pattern>,
        /// New stage.
        stage: Option<String>,
    },
    /// Role of a person in an open deal; left out where there is no such deal or nobody who is known to have the role.
    SetContactRole {
        /// Kind of the deal.
        which: OpportunityKind,
        /// The role.
        role: ContactRole,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlaybookFile {
    name: String,
    #[serde(rename = "owner")]
    _owner: String,
    when: Spanned<String>,
    action: Spanned<String>,
    subject: Spanned<String>,
    cooldown_days: Spanned<i64>,
    #[serde(default)]
    excludes: Vec<Spanned<String>>,
    excludes_days: Option<Spanned<i64>>,
    due_days: Spanned<i64>,
    expires_days: Spanned<i64>,
    title: Spanned<String>,
    because: Spanned<String>,
    evidence: Vec<Spanned<String>>,
    document: Option<Spanned<String>>,
    effect: EffectTable,
    #[serde(default)]
    step: Vec<StepTable>,
    #[serde(default)]
    steps: Vec<steps::StepsTable>,
    #[serde(default)]
    exits: Vec<steps::ExitTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EffectTable {
    shift: Spanned<f64>,
    shift_sd: Spanned<f64>,
    expansion: Spanned<f64>,
    decay: Spanned<f64>,
    minutes: Spanned<i64>,
    observed_shift: Option<Spanned<f64>>,
    observed_se: Option<Spanned<f64>>,
    discount: Option<Spanned<f64>>,
    accept: Option<Spanned<f64>>,
}

struct Check<'a> {
    file: &'a str,
    text: &'a str,
    problems: &'a mut Vec<Problem>,
}

impl Check<'_> {
    fn wrong(&mut self, offset: usize, message: String, help: impl Into<String>) {
        self.problems
            .push(Problem::at(self.file, self.text, offset, message, help.into()));
    }

    fn pattern(&mut self, text: &Spanned<String>) -> Option<Pattern> {
        match Pattern::parse(text.get_ref()) {
            Ok(pattern) => Some(pattern),
            Err((inside, message, help)) => {
                // A text begins after its quotes; for one on a single line the column is exact.
                let raw = &self.text[text.span()];
                let quotes = if raw.starts_with("\"\"\"") || raw.starts_with("'''") {
                    3
                } else {
                    1
                };
                self.wrong(text.span().start + quotes + inside, message, help);
                None
            }
        }
    }

    fn word<T: Copy>(
        &mut self,
        what: &str,
        text: &Spanned<String>,
        all: &[T],
        word: fn(T) -> &'static str,
    ) -> Option<T> {
        let found = all.iter().copied().find(|v| word(*v) == text.get_ref());
        if found.is_none() {
            let known = || all.iter().map(|v| word(*v));
            let help = did_you_mean(text.get_ref(), known())
                .unwrap_or_else(|| format!("use one of {}", known().collect::<Vec<_>>().join(", ")));
            self.wrong(text.span().start, format!("unknown {what} `{}`", text.get_ref()), help);
        }
        found
    }

    fn range<T: PartialOrd + Copy + std::fmt::Display>(
        &mut self,
        name: &str,
        value: &Spanned<T>,
        low: T,
        high: T,
    ) -> T {
        let given = *value.get_ref();
        if !(given >= low && given <= high) {
            let message = format!("`{name}` is {given}, which is out of range");
            self.wrong(
                value.span().start,
                message,
                format!("give a number from {low} to {high}"),
            );
        }
        given
    }
}

pub(super) fn compile(
    id: &str,
    file: &str,
    text: &str,
    (act_from, named): (f64, &Vocabulary),
    problems: &mut Vec<Problem>,
) -> Option<Playbook> {
    let raw: PlaybookFile = parse(file, text, problems)?;
    let before = problems.len();
    let mut check = Check { file, text, problems };
    let actions: Vec<ActionKind> = named.actions().collect();
    let kind = check.word("action", &raw.action, &actions, ActionKind::as_str);
    let subject = check.word("subject", &raw.subject, Subject::ALL, Subject::as_str);
    let document = raw
        .document
        .as_ref()
        .and_then(|d| check.word("document", d, DocumentKind::ALL, DocumentKind::as_str));
    let title = check.pattern(&raw.title);
    let because = check.pattern(&raw.because);
    for fact in &raw.evidence {
        if crate::feature::definition(fact.get_ref()).is_none() {
            let help = did_you_mean(fact.get_ref(), crate::feature::CATALOGUE.iter().map(|d| d.name))
                .unwrap_or_else(|| "docs/reference/facts lists the names".to_owned());
            check.wrong(fact.span().start, format!("unknown fact `{}`", fact.get_ref()), help);
        }
    }
    let economics = economics(&mut check, &raw.effect, kind);
    let sure = chance_of_good(&economics);
    if sure < act_from {
        let (says, help) = match economics.prior_shift {
            None => (
                "the prior says",
                "lower `shift_sd`, raise `shift`, or lower `act_from` in scoring.toml: as it is, this playbook never acts",
            ),
            Some(_) => (
                "the prior and what was observed say",
                "take the playbook away: outcomes do not show that it helps, so it never acts",
            ),
        };
        let message = format!("{says} the effect is good with a chance of {sure:.2}, below {act_from:.2}");
        check.wrong(raw.effect.shift.span().start, message, help);
    }
    match (raw.step.first(), raw.steps.is_empty()) {
        (None, true) => check.wrong(0, "a playbook without a step does nothing".to_owned(), "add a [[step]]"),
        (Some(step), false) => {
            let message = "`[[step]]` beside `[[steps]]` belongs to no step".to_owned();
            let help = "move it below the step that writes it, as [[steps.step]]";
            check.wrong(step.write.span().start, message, help);
        }
        (Some(_), true) | (None, false) => {}
    }
    if let (Some(exit), true) = (raw.exits.first(), raw.steps.is_empty()) {
        let message =
            "`[[exits]]` end a play, and a playbook without `[[steps]]` is over with its one action".to_owned();
        check.wrong(exit.at(), message, "add [[steps]], or take the exits away");
    }
    let mut steps = Vec::new();
    for s in &raw.step {
        if let Some(step) = step(&mut check, s, document.is_some()) {
            steps.push(step);
        }
    }
    let plan = if raw.steps.is_empty() {
        None
    } else {
        let written = (actions.as_slice(), document.is_some());
        steps::plan(&mut check, &raw.steps, &raw.exits, &raw.when, written)
    };
    if let (Some(discount), false) = (&raw.effect.discount, raw.steps.is_empty()) {
        let message = "a play of several steps gives no discount".to_owned();
        let help =
            "give it in a playbook of one action: what a running play is pinned to must not say how much is given away";
        check.wrong(discount.span().start, message, help);
    }
    let cooldown_days = check.range("cooldown_days", &raw.cooldown_days, 1, 3650);
    let excludes_days = match (&raw.excludes_days, raw.excludes.first()) {
        (Some(days), Some(_)) => check.range("excludes_days", days, 1, 3650),
        (None, Some(first)) => {
            let message = "`excludes` does not say for how long".to_owned();
            check.wrong(first.span().start, message, "add excludes_days = 30 beside it");
            0
        }
        (Some(days), None) => {
            let message = "`excludes_days` without `excludes` does nothing".to_owned();
            check.wrong(days.span().start, message, "name playbooks in excludes = [\"...\"]");
            0
        }
        (None, None) => 0,
    };
    let due_days = check.range("due_days", &raw.due_days, 0, 365);
    let expires_days = check.range("expires_days", &raw.expires_days, 1, 365);
    if check.problems.len() != before {
        return None;
    }
    Some(Playbook {
        id: PlaybookId::new(id),
        name: raw.name,
        file: file.to_owned(),
        line: place(text, raw.when.span().start).0,
        when_offset: raw.when.span().start + 1,
        when: raw.when.into_inner(),
        kind: kind?,
        subject: subject?,
        cooldown_days,
        excludes: raw.excludes.iter().map(|e| e.get_ref().clone()).collect(),
        excludes_days,
        excludes_line: raw.excludes.first().map_or(1, |e| place(text, e.span().start).0),
        excludes_at: raw
            .excludes
            .iter()
            .map(|e| (e.span().start, e.get_ref().clone()))
            .collect(),
        due_days,
        expires_days,
        economics,
        title: title?,
        because: because?,
        evidence: raw.evidence.into_iter().map(Spanned::into_inner).collect(),
        document,
        steps,
        plan,
    })
}

fn economics(check: &mut Check<'_>, raw: &EffectTable, kind: Option<ActionKind>) -> Economics {
    let shift = check.range("shift", &raw.shift, 0.0, 5.0);
    let shift_sd = check.range("shift_sd", &raw.shift_sd, 0.0, 5.0);
    let prior = Economics {
        shift,
        shift_sd,
        prior_shift: None,
        expansion: check.range("expansion", &raw.expansion, 0.0, 5.0),
        decay: check.range("decay", &raw.decay, 0.0, 1.0),
        minutes: check.range("minutes", &raw.minutes, 1, 480),
        discount: discount(check, raw, kind),
    };
    match observed(check, raw, shift, shift_sd) {
        Some(belief) => Economics {
            shift: belief.mean(),
            shift_sd: belief.sd(),
            prior_shift: Some(shift),
            ..prior
        },
        None => prior,
    }
}

/// The belief after what randomised outcomes showed, where the file gives both numbers.
fn observed(check: &mut Check<'_>, raw: &EffectTable, shift: f64, shift_sd: f64) -> Option<Belief> {
    let (seen, se) = match (&raw.observed_shift, &raw.observed_se) {
        (None, None) => return None,
        (Some(seen), Some(se)) => (seen, se),
        (Some(one), None) | (None, Some(one)) => {
            let message = "an observation needs `observed_shift` and `observed_se`".to_owned();
            check.wrong(one.span().start, message, "give both, or neither");
            return None;
        }
    };
    let shown = Observed {
        shift: check.range("observed_shift", seen, -5.0, 5.0),
        se: check.range("observed_se", se, 0.0, 5.0),
    };
    let updated = Belief::new(shift, shift_sd).and_then(|prior| prior.updated(shown));
    if updated.is_err() {
        let message = "nothing can be learned from what was observed".to_owned();
        check.wrong(se.span().start, message, "`shift_sd` and `observed_se` must be above 0");
    }
    updated.ok()
}

/// A price below the list is given by `offerDiscount` and by nothing else, so that its row of the autonomy table holds.
fn discount(check: &mut Check<'_>, raw: &EffectTable, kind: Option<ActionKind>) -> Option<Discount> {
    match (&raw.discount, &raw.accept, kind == Some(ActionKind::OFFER_DISCOUNT)) {
        (None, None, false) => None,
        (Some(share), Some(accept), true) => Some(Discount {
            share: check.range("discount", share, 0.0, 1.0),
            accept: check.range("accept", accept, 0.0, 1.0),
        }),
        (Some(wrong), _, false) | (None, Some(wrong), false) => {
            let message = "only an `offerDiscount` gives a discount".to_owned();
            check.wrong(
                wrong.span().start,
                message,
                "set action = \"offerDiscount\", or leave `discount` and `accept` out",
            );
            None
        }
        (Some(_), None, true) | (None, Some(_) | None, true) => {
            let message = "an `offerDiscount` needs `discount` and `accept`".to_owned();
            let help =
                "give the share of the revenue a year that is given away, and the chance that the customer takes it";
            check.wrong(raw.shift.span().start, message, help);
            None
        }
    }
}

/// P(effect > 0) of a normal prior; an expansion without a shift counts as sure.
fn chance_of_good(e: &Economics) -> f64 {
    if e.shift == 0.0 && e.expansion > 0.0 || e.shift_sd == 0.0 && e.shift > 0.0 {
        return 1.0;
    }
    if e.shift_sd == 0.0 {
        return 0.5;
    }
    chance_above_zero(e.shift, e.shift_sd)
}
