//! From our own log of choices to rows of an off-policy evaluation.

use serde::Serialize;

use super::log::{Choice, Done, LogProblem, REWARD_WEEKS, revenue};
use crate::explore::LoggedChoice;
use crate::number::Micro;
use crate::policy::Settings;
use crate::snapshot::Snapshot;
use crate::time::Day;

/// Choices of our own log that cannot be used, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct OwnLeftOut {
    /// Chance had no say: what was executed had a propensity of 1.
    pub certain: usize,
    /// What was executed was so in none of the repeated plans, so that its chance is not known.
    pub chance_unknown: usize,
    /// Follow-up not over.
    pub too_recent: usize,
    /// No recurring revenue on the day, or not known by movements.
    pub no_revenue: usize,
}

impl OwnLeftOut {
    /// Adds the counts of other choices.
    pub fn add(&mut self, other: OwnLeftOut) {
        self.certain += other.certain;
        self.chance_unknown += other.chance_unknown;
        self.too_recent += other.too_recent;
        self.no_revenue += other.no_revenue;
    }
}

/// A logged choice with its chances by playbook, and that of nothing; what followed is for the caller to say.
///
/// # Errors
/// Counts, in place of the choice, why it cannot be used.
pub fn randomised(logged: &LoggedChoice) -> Result<Choice<()>, OwnLeftOut> {
    if !logged.by_chance() {
        return Err(OwnLeftOut {
            certain: 1,
            ..OwnLeftOut::default()
        });
    }
    let mut chances: Vec<(Done, f64)> = Vec::new();
    let mut nothing = Micro::ONE.0;
    for option in &logged.options {
        nothing -= option.propensity_micro.0;
        if option.propensity_micro > Micro::ZERO {
            let name = option.playbook.as_str().to_owned();
            chances.push((Some(name), option.propensity_micro.to_f64()));
        }
    }
    if nothing > 0 {
        chances.push((None, Micro(nothing).to_f64()));
    }
    let done = logged.options.iter().find(|o| o.executed);
    let choice = Choice {
        account: logged.account.as_str().to_owned(),
        chances,
        done: done.map(|o| o.playbook.as_str().to_owned()),
        reward: (),
    };
    if choice.chance(&choice.done) > 0.0 {
        Ok(choice)
    } else {
        Err(OwnLeftOut {
            chance_unknown: 1,
            ..OwnLeftOut::default()
        })
    }
}

/// The choices of an account that an evaluation can use, with the reward of [`REWARD_WEEKS`]. Nothing after `until` is known.
#[must_use]
pub fn own_choices(
    snapshot: &Snapshot,
    settings: &Settings,
    log: &[LoggedChoice],
    until: Day,
) -> (Vec<Choice>, OwnLeftOut) {
    let (mut found, mut out) = (Vec::new(), OwnLeftOut::default());
    for logged in log {
        let choice = match randomised(logged) {
            Ok(choice) => choice,
            Err(left_out) => {
                out.add(left_out);
                continue;
            }
        };
        let end = logged.day.plus(7 * REWARD_WEEKS);
        if end > until {
            out.too_recent += 1;
            continue;
        }
        let now = revenue(snapshot, settings, logged.day).filter(|r| *r > 0.0);
        let (Some(now), Some(later)) = (now, revenue(snapshot, settings, end)) else {
            out.no_revenue += 1;
            continue;
        };
        found.push(Choice {
            account: choice.account,
            chances: choice.chances,
            done: choice.done,
            reward: (later - now) / now,
        });
    }
    (found, out)
}

/// Why our own log gives no rows at all; `None` where it has some.
#[must_use]
pub fn no_choices(used: usize, out: OwnLeftOut) -> Option<LogProblem> {
    if used > 0 {
        return None;
    }
    let others = out.chance_unknown + out.too_recent + out.no_revenue;
    Some(if out.certain > 0 && others == 0 {
        LogProblem::Certain { choices: out.certain }
    } else {
        LogProblem::Empty
    })
}

#[cfg(test)]
mod tests;
