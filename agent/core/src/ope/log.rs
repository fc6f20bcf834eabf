//! From logged actions to rows of an off-policy evaluation.
//!
//! The reward of an occasion is the change of the account's recurring revenue from the day of the occasion to a number of weeks
//! later, relative to the revenue on that day. Revenue at a day is the sum of movements dated before it.
//!
//! Promises: the probability of what was executed follows from the draws by the rule that is stated, and is not fitted;
//! what cannot be judged is counted, not guessed; no action's expected reward comes from the account it is used for.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Logged, cross_fitted_means};
use crate::fit::fold;
use crate::policy::Settings;
use crate::snapshot::Snapshot;
use crate::time::Day;

/// Weeks over which the reward is counted.
pub const REWARD_WEEKS: i64 = 13;
/// Parts of the accounts for cross-fitting.
const FOLDS: u64 = 5;

/// An action that an account was eligible for.
#[derive(Debug, Clone, PartialEq)]
pub struct Eligible {
    /// Its name in the log.
    pub action: String,
    /// Whether it was carried out.
    pub executed: bool,
    /// Probability of its own draw, before any rule between actions, 0 to 1.
    pub draw: f64,
}

/// A moment at which something could be done about an account.
#[derive(Debug, Clone, PartialEq)]
pub struct Occasion {
    /// Whom it is about.
    pub account: String,
    /// The day.
    pub day: Day,
    /// What could be done.
    pub eligible: Vec<Eligible>,
    /// What followed.
    pub reward: f64,
}

/// Occasions that cannot be used, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct LeftOut {
    /// Before the log was complete.
    pub before: usize,
    /// Follow-up not over.
    pub too_recent: usize,
    /// No recurring revenue on the day, or not known by movements.
    pub no_revenue: usize,
    /// A row without action, word on execution, or propensity.
    pub incomplete: usize,
}

/// Recurring revenue on a day, minor units: the sum of movements dated before it. `None` where there are no movements or one
/// cannot be converted.
pub(super) fn revenue(snapshot: &Snapshot, settings: &Settings, day: Day) -> Option<f64> {
    let before = snapshot.movements.iter().filter(|m| m.at.day() < day);
    let sum = settings.sum(before.filter_map(|m| m.fact.delta)).ok()?;
    Some(sum.minor as f64).filter(|_| !snapshot.movements.is_empty())
}

/// First day on which an action was logged that was not executed; before it a log of executed actions alone says nothing
/// of what else could have been done. `None` where there is no such day.
#[must_use]
pub fn complete_from(snapshot: &Snapshot) -> Option<Day> {
    let idle = snapshot.treatments.iter().filter(|t| t.fact.executed == Some(false));
    idle.map(|t| t.at.day()).min()
}

/// The occasions of an account from a day on, the earliest first. Nothing after `until` is known.
#[must_use]
pub fn occasions(snapshot: &Snapshot, settings: &Settings, from: Day, until: Day) -> (Vec<Occasion>, LeftOut) {
    let mut days: BTreeMap<Day, Vec<_>> = BTreeMap::new();
    for held in &snapshot.treatments {
        days.entry(held.at.day()).or_default().push(&held.fact);
    }
    let revenue = |day: Day| revenue(snapshot, settings, day);
    let (mut found, mut out) = (Vec::new(), LeftOut::default());
    for (day, rows) in days {
        let end = day.plus(7 * REWARD_WEEKS);
        if day < from {
            out.before += 1;
            continue;
        }
        // Movements of the last day are known when it is over.
        if end > until {
            out.too_recent += 1;
            continue;
        }
        let (Some(now), Some(later)) = (revenue(day).filter(|r| *r > 0.0), revenue(end)) else {
            out.no_revenue += 1;
            continue;
        };
        let eligible: Option<Vec<Eligible>> = rows
            .iter()
            .map(|row| {
                Some(Eligible {
                    action: row.action.clone()?,
                    executed: row.executed?,
                    draw: row.propensity?.to_f64(),
                })
            })
            .collect();
        let Some(eligible) = eligible else {
            out.incomplete += 1;
            continue;
        };
        found.push(Occasion {
            account: snapshot.account_id.as_str().to_owned(),
            day,
            eligible,
            reward: (later - now) / now,
        });
    }
    (found, out)
}

/// What the policy under test does.
#[derive(Debug, Clone, PartialEq)]
pub enum Preference {
    /// What has the highest mean reward over other accounts, doing nothing included.
    HighestValue,
    /// The first of these that the account is eligible for, else nothing.
    Actions(Vec<String>),
}

/// Why a log gives no rows.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LogProblem {
    /// There are no occasions.
    #[error("cannot estimate: no logged occasion can be used")]
    Empty,
    /// A preference is for an action that does not occur.
    #[error("there is no action `{action}` in the log: there are {known}")]
    UnknownAction {
        /// Its name.
        action: String,
        /// Those that occur.
        known: String,
    },
    /// The rule of priority says nothing about an action.
    #[error("the priority does not name `{action}`, which is in the log")]
    NotInPriority {
        /// Its name.
        action: String,
    },
    /// The rule of priority lets through one action at most.
    #[error("cannot estimate: `{account}` has two executed actions on {day}, which the priority does not allow")]
    Two {
        /// Whose.
        account: String,
        /// The day.
        day: Day,
    },
    /// Nothing was left to chance.
    #[error(
        "cannot estimate: in all {choices} logged choices what was done had a propensity of 1, so the log does not say what \
         else would have brought: turn on [exploration] in scoring.toml"
    )]
    Certain {
        /// Choices.
        choices: usize,
    },
    /// Too few accounts had an action for its reward to be expected from others.
    #[error("cannot estimate: {what} was executed in too few accounts to expect a reward from the others")]
    NoPrediction {
        /// What was done.
        what: String,
    },
}

/// What was done: an action by name, or nothing.
pub type Done = Option<String>;

/// One choice: what could be done, with the probability that it was, and what was.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice<R = f64> {
    /// Whom it is about.
    pub account: String,
    /// Probability of each thing that could be done, nothing included.
    pub chances: Vec<(Done, f64)>,
    /// What was done.
    pub done: Done,
    /// What followed.
    pub reward: R,
}

impl<R> Choice<R> {
    /// Probability with which something is done.
    #[must_use]
    pub fn chance(&self, done: &Done) -> f64 {
        self.chances
            .iter()
            .find(|(what, _)| what == done)
            .map_or(0.0, |(_, p)| *p)
    }

    /// What the choice tells of actions against nothing: each action that was done, or could have been where nothing was;
    /// whether it was done; and the chance of what was. Nothing where doing nothing had no chance.
    pub fn against_nothing(&self) -> impl Iterator<Item = (&str, bool, f64)> {
        let nothing = self.chance(&None);
        let chances = self.chances.iter().filter(move |_| nothing > 0.0);
        chances.filter_map(move |(what, chance)| {
            let name = what.as_deref()?;
            if self.done.is_none() {
                (*chance > 0.0).then_some((name, false, nothing))
            } else {
                (self.done == *what).then_some((name, true, *chance))
            }
        })
    }
}

/// Rows for [`super::evaluate`].
///
/// With a `priority` an occasion is one choice: draws are made for every eligible action, and the first of them in the
/// order that succeeds is executed, so that an action's probability is its own draw's times the product of
/// (1 - draw) over those before it. Without one each row is a choice by itself, between its action and nothing.
///
/// # Errors
/// [`LogProblem`].
pub fn logged(occasions: &[Occasion], priority: &[String], preference: &Preference) -> Result<Vec<Logged>, LogProblem> {
    let known: BTreeSet<&str> = occasions
        .iter()
        .flat_map(|o| &o.eligible)
        .map(|e| e.action.as_str())
        .collect();
    if known.is_empty() {
        return Err(LogProblem::Empty);
    }
    let preferred = preferred(preference);
    if let Some(action) = preferred.iter().chain(priority).find(|a| !known.contains(a.as_str())) {
        return Err(LogProblem::UnknownAction {
            action: action.clone(),
            known: known.into_iter().collect::<Vec<_>>().join(", "),
        });
    }
    evaluated(&choices(occasions, priority)?, preference)
}

/// The choices that occasions are: see [`logged`] for `priority`.
///
/// # Errors
/// [`LogProblem::NotInPriority`], [`LogProblem::Two`].
pub fn choices(occasions: &[Occasion], priority: &[String]) -> Result<Vec<Choice>, LogProblem> {
    let mut choices = Vec::new();
    for occasion in occasions {
        if priority.is_empty() {
            choices.extend(occasion.eligible.iter().map(|e| single(occasion, e)));
        } else {
            choices.push(in_order(occasion, priority)?);
        }
    }
    Ok(choices)
}

fn preferred(preference: &Preference) -> &[String] {
    match preference {
        Preference::HighestValue => &[],
        Preference::Actions(list) => list,
    }
}

/// Rows for [`super::evaluate`], of choices whose chances are known.
///
/// # Errors
/// [`LogProblem`].
pub fn evaluated(choices: &[Choice], preference: &Preference) -> Result<Vec<Logged>, LogProblem> {
    let preferred = preferred(preference);
    let known: BTreeSet<&str> = choices
        .iter()
        .flat_map(|c| c.chances.iter().filter_map(|(done, _)| done.as_deref()))
        .collect();
    if known.is_empty() {
        return Err(LogProblem::Empty);
    }
    if let Some(action) = preferred.iter().find(|a| !known.contains(a.as_str())) {
        return Err(LogProblem::UnknownAction {
            action: action.clone(),
            known: known.into_iter().collect::<Vec<_>>().join(", "),
        });
    }
    let rows: Vec<(usize, &Done, f64)> = choices
        .iter()
        .map(|c| (fold(&c.account, FOLDS) as usize, &c.done, c.reward))
        .collect();
    let expected = cross_fitted_means(&rows);
    choices
        .iter()
        .zip(&expected)
        .map(|(choice, means)| {
            let mean = |done: &Done| {
                means.get(&done).copied().ok_or_else(|| LogProblem::NoPrediction {
                    what: done
                        .as_ref()
                        .map_or_else(|| "doing nothing".to_owned(), |a| format!("`{a}`")),
                })
            };
            let chosen = choose(choice, preferred, preference, &mean)?;
            Ok(Logged {
                propensity: choice.chance(&choice.done),
                target: if chosen == choice.done { 1.0 } else { 0.0 },
                reward: choice.reward,
                predicted: mean(&choice.done)?,
                value: mean(&chosen)?,
            })
        })
        .collect()
}

fn single(occasion: &Occasion, eligible: &Eligible) -> Choice {
    Choice {
        account: occasion.account.clone(),
        chances: vec![
            (None, 1.0 - eligible.draw),
            (Some(eligible.action.clone()), eligible.draw),
        ],
        done: eligible.executed.then(|| eligible.action.clone()),
        reward: occasion.reward,
    }
}

fn in_order(occasion: &Occasion, priority: &[String]) -> Result<Choice, LogProblem> {
    let place = |e: &Eligible| {
        let place = priority.iter().position(|a| *a == e.action);
        place.ok_or_else(|| LogProblem::NotInPriority {
            action: e.action.clone(),
        })
    };
    let mut sorted = Vec::with_capacity(occasion.eligible.len());
    for eligible in &occasion.eligible {
        sorted.push((place(eligible)?, eligible));
    }
    sorted.sort_by_key(|(place, _)| *place);
    let mut nothing = 1.0;
    let (mut chances, mut done) = (Vec::new(), None);
    for (_, eligible) in sorted {
        chances.push((Some(eligible.action.clone()), nothing * eligible.draw));
        nothing *= 1.0 - eligible.draw;
        if eligible.executed && done.replace(eligible.action.clone()).is_some() {
            return Err(LogProblem::Two {
                account: occasion.account.clone(),
                day: occasion.day,
            });
        }
    }
    chances.push((None, nothing));
    Ok(Choice {
        account: occasion.account.clone(),
        chances,
        done,
        reward: occasion.reward,
    })
}

fn choose(
    choice: &Choice,
    preferred: &[String],
    preference: &Preference,
    mean: &impl Fn(&Done) -> Result<f64, LogProblem>,
) -> Result<Done, LogProblem> {
    let can = |action: &&String| choice.chances.iter().any(|(done, _)| done.as_ref() == Some(*action));
    match preference {
        Preference::Actions(_) => Ok(preferred.iter().find(can).cloned()),
        Preference::HighestValue => {
            let mut best: Option<(f64, &Done)> = None;
            // By name on a tie, nothing before any action.
            let sorted: BTreeSet<&Done> = choice.chances.iter().map(|(done, _)| done).collect();
            for done in sorted {
                let value = mean(done)?;
                if best.is_none_or(|(so_far, _)| value > so_far) {
                    best = Some((value, done));
                }
            }
            Ok(best.and_then(|(_, done)| done.clone()))
        }
    }
}

#[cfg(test)]
mod tests;
