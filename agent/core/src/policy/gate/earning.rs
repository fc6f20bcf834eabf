//! `[[earned]]` of `autonomy.toml`: what has to be shown before a person may promote a kind of action for a tier, and what takes the
//! promotion back.
//!
//! The cell says what is earned (`auto if earned, else approve:csm`), a row here says how. Either without the other is a mistake, so
//! nothing is earned by accident.

use std::collections::BTreeMap;

use cedar_policy::PolicySet;
use serde::Deserialize;
use toml::Spanned;

use super::super::file::{Problem, did_you_mean, place};
use super::facts::EARNED;
use super::named::Vocabulary;
use super::promises::{Promise, PromiseKind};
use super::table::{Cell, Limit};
use super::vocabulary::{Kind, TERMS};
use super::{Ask, Engine, FactError, Facts, Gate, Value};
use crate::action::ActionKind;
use crate::ids::AccountId;
use crate::number::Micro;
use crate::signal::{OwnerRole, Tier};

/// Longest window, days.
const WINDOW_DAYS_MAX: i64 = 730;

/// How a cell is earned, and lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Earning {
    /// Line of its row.
    pub line: usize,
    /// Decisions of people that are needed at the least.
    pub decisions: u32,
    /// Least share of them that was approved as proposed.
    pub unedited: Micro,
    /// Least lower end of the 95 % interval of that share; none does not ask.
    pub unedited_lower: Option<Micro>,
    /// Greatest share of the executed ones that was undone.
    pub undone_at_most: Micro,
    /// Days that are looked back.
    pub window_days: i64,
    /// Once promoted: the share approved as proposed below which the promotion ends.
    pub demote_unedited: Micro,
    /// Once promoted: the share undone above which it ends.
    pub demote_undone: Micro,
    /// Once promoted: how many of the last ones are looked at.
    pub demote_last: u32,
    /// Who may promote.
    pub by: OwnerRole,
}

/// A row as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EarnedTable {
    actions: Spanned<Vec<Spanned<String>>>,
    tiers: Spanned<Vec<Spanned<String>>>,
    decisions: Spanned<u32>,
    unedited: Spanned<f64>,
    unedited_lower: Option<Spanned<f64>>,
    undone_at_most: Spanned<f64>,
    window_days: Spanned<i64>,
    demote_unedited: Spanned<f64>,
    demote_undone: Spanned<f64>,
    demote_last: Option<Spanned<u32>>,
    by: Spanned<String>,
}

/// Says a problem: byte, what is wrong, what to do.
type Wrong<'w> = dyn FnMut(usize, String, String) + 'w;

type Cells = BTreeMap<(ActionKind, Tier), Limit<Cell>>;

/// Reads the rows, against the cells and the bytes at which they stand.
pub(super) fn read(
    rows: &[EarnedTable],
    text: &str,
    (cells, offsets): (&Cells, &BTreeMap<(ActionKind, Tier), usize>),
    named: &Vocabulary,
    wrong: &mut Wrong<'_>,
) -> BTreeMap<(ActionKind, Tier), Earning> {
    let mut found: BTreeMap<(ActionKind, Tier), Earning> = BTreeMap::new();
    for row in rows {
        let actions = words(
            &row.actions,
            "actions",
            |word| named.action(word),
            wrong,
            || named.actions().map(ActionKind::as_str).collect(),
        );
        let tiers = words(
            &row.tiers,
            "tiers",
            |word| named.tier(word),
            wrong,
            || named.tiers().iter().map(|tier| tier.as_str()).collect(),
        );
        let Some(earning) = earning(row, text, named, wrong) else {
            continue;
        };
        for (kind, at) in &actions {
            for (tier, _) in &tiers {
                let Some(cell) = cells.get(&(*kind, *tier)) else {
                    continue;
                };
                let Cell::EarnedElse(otherwise) = cell.value else {
                    let message =
                        format!("`{kind}` for {tier} accounts has nothing to earn: its cell does not say `if earned`");
                    let help =
                        "write \"auto if earned, else approve:ROLE\" there, or take it out of this row".to_owned();
                    wrong(*at, message, help);
                    continue;
                };
                if !named.covers(earning.by, otherwise) {
                    let message = format!(
                        "{} may promote `{kind}` for {tier} accounts, and may not approve it",
                        earning.by
                    );
                    let help = format!("name {otherwise} or a role that includes it");
                    wrong(row.by.span().start, message, help);
                }
                if let Some(first) = found.insert((*kind, *tier), earning.clone()) {
                    let message = format!("a second row about `{kind}` for {tier} accounts");
                    wrong(
                        *at,
                        message,
                        format!("keep one of the two; the first stands on line {}", first.line),
                    );
                }
            }
        }
    }
    for (at, cell) in cells {
        if matches!(cell.value, Cell::EarnedElse(_)) && !rows_are_about(rows, *at) {
            let message = format!(
                "no row of [[earned]] says how `{}` is earned for {} accounts",
                at.0, at.1
            );
            let help = "add one with its actions and tiers; docs/admin/autonomy shows how".to_owned();
            wrong(offsets.get(at).copied().unwrap_or_default(), message, help);
        }
    }
    found
}

/// Whether a row names a cell, whatever else is wrong with it.
fn rows_are_about(rows: &[EarnedTable], (kind, tier): (ActionKind, Tier)) -> bool {
    let names =
        |list: &Spanned<Vec<Spanned<String>>>, word: &str| list.get_ref().iter().any(|one| one.get_ref() == word);
    rows.iter()
        .any(|row| names(&row.actions, kind.as_str()) && names(&row.tiers, tier.as_str()))
}

/// The words of a list, each with its byte.
fn words<T>(
    list: &Spanned<Vec<Spanned<String>>>,
    what: &str,
    find: impl Fn(&str) -> Option<T>,
    wrong: &mut Wrong<'_>,
    known: impl Fn() -> Vec<&'static str>,
) -> Vec<(T, usize)> {
    let mut found = Vec::new();
    for word in list.get_ref() {
        match find(word.get_ref()) {
            Some(one) => found.push((one, word.span().start)),
            None => {
                let help = did_you_mean(word.get_ref(), known().into_iter())
                    .unwrap_or_else(|| format!("{what} are {}", known().join(", ")));
                let message = format!("`{}` is none of the {what}", word.get_ref());
                wrong(word.span().start, message, help);
            }
        }
    }
    if list.get_ref().is_empty() {
        let help = "name at least one".to_owned();
        wrong(
            list.span().start,
            format!("`{what}` is empty, so nothing is earned by this row"),
            help,
        );
    }
    found
}

fn earning(row: &EarnedTable, text: &str, named: &Vocabulary, wrong: &mut Wrong<'_>) -> Option<Earning> {
    let mut right = true;
    let mut share = |key: &str, value: &Spanned<f64>| {
        if !(0.0..=1.0).contains(value.get_ref()) {
            right = false;
            let message = format!("`{key}` is {}, which is no share", value.get_ref());
            let help = "give a number from 0 to 1, such as 0.95 for 95 %".to_owned();
            wrong(value.span().start, message, help);
        }
        Micro::from_f64(*value.get_ref())
    };
    let unedited = share("unedited", &row.unedited);
    let unedited_lower = row.unedited_lower.as_ref().map(|value| share("unedited_lower", value));
    let undone_at_most = share("undone_at_most", &row.undone_at_most);
    let demote_unedited = share("demote_unedited", &row.demote_unedited);
    let demote_undone = share("demote_undone", &row.demote_undone);
    // What is promoted must not be a regression at once.
    if demote_unedited > unedited {
        right = false;
        let help = format!("give at most {}", row.unedited.get_ref());
        let message = "`demote_unedited` is above `unedited`: what was just promoted would end at once".to_owned();
        wrong(row.demote_unedited.span().start, message, help);
    }
    if demote_undone < undone_at_most {
        right = false;
        let help = format!("give at least {}", row.undone_at_most.get_ref());
        let message = "`demote_undone` is below `undone_at_most`: what was just promoted would end at once".to_owned();
        wrong(row.demote_undone.span().start, message, help);
    }
    let decisions = *row.decisions.get_ref();
    if decisions == 0 {
        right = false;
        let help = "give how many decisions of people are needed, such as 50".to_owned();
        wrong(
            row.decisions.span().start,
            "`decisions` is 0: nothing would have to be shown".to_owned(),
            help,
        );
    }
    let demote_last = row.demote_last.as_ref().map_or(decisions, |last| *last.get_ref());
    if let Some(last) = row.demote_last.as_ref().filter(|last| *last.get_ref() == 0) {
        right = false;
        let help = "give how many of the last ones are looked at, such as 20".to_owned();
        wrong(
            last.span().start,
            "`demote_last` is 0: no regression would be seen".to_owned(),
            help,
        );
    }
    if !(1..=WINDOW_DAYS_MAX).contains(row.window_days.get_ref()) {
        right = false;
        let message = format!("`window_days` is {}", row.window_days.get_ref());
        wrong(
            row.window_days.span().start,
            message,
            format!("give a number of days from 1 to {WINDOW_DAYS_MAX}, such as 90"),
        );
    }
    let by = named.role(row.by.get_ref());
    if by.is_none() {
        let known = || named.roles().map(OwnerRole::as_str);
        let help = did_you_mean(row.by.get_ref(), known())
            .unwrap_or_else(|| format!("roles are {}", known().collect::<Vec<_>>().join(", ")));
        wrong(
            row.by.span().start,
            format!("unknown role `{}`", row.by.get_ref()),
            help,
        );
    }
    let by = by.filter(|_| right)?;
    Some(Earning {
        line: place(text, row.actions.span().start).0,
        decisions,
        unedited,
        unedited_lower,
        undone_at_most,
        window_days: *row.window_days.get_ref(),
        demote_unedited,
        demote_undone,
        demote_last,
        by,
    })
}

/// Cells that, once earned, would do what a promise says never happens. Each is asked about one account of which all is known and
/// nothing speaks against it: what happens there happens, so a problem is one. That no other account breaks a promise is for
/// `policy prove` to say.
pub(super) fn against_promises(gate: &Gate, problems: &mut Vec<Problem>) {
    let table = gate.table();
    for at in table.earned.keys() {
        let Some(cell) = table.cells.get(at) else { continue };
        let broken = gate.promises().iter().find(|promise| {
            promise.kind == PromiseKind::Never
                && promise.kinds().contains(&at.0)
                && questions(gate, at.0)
                    .into_iter()
                    .any(|ask| breaks(gate, promise, *at, ask) == Ok(true))
        });
        if let Some(promise) = broken {
            problems.push(Problem {
                file: table.file.clone(),
                line: cell.line,
                column: 1,
                message: format!(
                    "`{}` for {} accounts would run by itself once it is earned, and {}:{} promises: {}",
                    at.0, at.1, promise.file, promise.line, promise.sentence
                ),
                help: "write approve:ROLE there, or change the promise first".to_owned(),
            });
        }
    }
}

fn questions(gate: &Gate, action: ActionKind) -> Vec<Ask> {
    let fields = gate
        .table()
        .fields
        .value
        .iter()
        .filter(|_| action == ActionKind::UPDATE_FIELD);
    let mut asks: Vec<Ask> = fields
        .map(|field| Ask {
            action,
            field: Some(*field),
        })
        .collect();
    if asks.is_empty() {
        asks.push(Ask { action, field: None });
    }
    asks
}

/// Whether what a promise says never happens does happen without an approval.
fn breaks(gate: &Gate, promise: &Promise, at: (ActionKind, Tier), ask: Ask) -> Result<bool, FactError> {
    let facts = spotless(gate, at)?;
    if !gate.answer(&facts, ask, None, Engine::Cedar)?.allowed {
        return Ok(false);
    }
    let Ok(promised) = PolicySet::from_policies([promise.policy().clone()]) else {
        return Ok(false);
    };
    Ok(gate.ask_policies(&promised, &facts, ask, None)?.allowed)
}

/// The facts of an account for which the cell is earned, with nothing against it.
fn spotless(gate: &Gate, (kind, tier): (ActionKind, Tier)) -> Result<Facts, FactError> {
    let mut facts = Facts::unknown(AccountId::new("account"));
    for term in TERMS.iter().filter(|term| term.only.is_none_or(|only| only == kind)) {
        let value = match (term.kind, term.name) {
            (Kind::Flag, EARNED) => Value::Flag(true),
            (Kind::Flag, _) => Value::Flag(false),
            (Kind::Number { max, .. }, "confidence") => Value::Number(max),
            (Kind::Number { .. }, "local_minute") => {
                let hours = gate.table().calendar.hours.as_ref();
                Value::Number(hours.map_or(12 * 60, |hours| hours.from_minute))
            }
            (Kind::Number { min, .. }, "local_weekday" | "discount_pm" | "discount_minor") => Value::Number(min.max(1)),
            (Kind::Number { min, .. }, "arr_minor" | "contacts_last_7d" | "usage_age_days" | "stale_feeds") => {
                Value::Number(min.max(0))
            }
            (Kind::Word, "draft_hash") => Value::Word("draft".to_owned()),
            (Kind::Tier, _) => Value::Tier(tier),
            (Kind::Moment, _) => Value::Moment(0),
            (Kind::Number { .. } | Kind::Word, _) => continue,
        };
        facts.set(term.place, term.name, value)?;
    }
    Ok(facts)
}
