//! What actions bring: randomised choices, from our own log or an imported one, with what became of each account at its
//! next renewal, for core to estimate from.
//!
//! Promises: only what chance decided counts, and what is left out is counted by reason; an outcome is that of the first
//! term that ends after the choice, and the risk is what was known on its day.

use std::collections::{BTreeMap, BTreeSet};

use perennial_core::backtest::{NoOutcome, next_outcome};
use perennial_core::effect::{ArmCount, Estimated, Trial, arms, shift_at_equal_risk};
use perennial_core::explore::LoggedChoice;
use perennial_core::ids::AccountId;
use perennial_core::ope::{Choice, LeftOut, LogProblem, OwnLeftOut, choices, complete_from, occasions, randomised};
use perennial_core::policy::Policies;
use perennial_core::signal::{Arm, FactKind, Signal};
use perennial_core::snapshot::Snapshot;
use perennial_core::time::{Day, Timestamp};
use perennial_store::Store;
use serde::Serialize;

use super::backtest::{BacktestError, last_day, next_page};

/// Which log is asked.
#[derive(Debug, Clone)]
pub enum Log {
    /// Our own log of choices.
    Own,
    /// Imported actions (`treatment`), with the order in which draws were let through; empty: each row by itself.
    Imported {
        /// The order, see [`perennial_core::ope::logged`].
        priority: Vec<String>,
    },
}

/// How to estimate.
#[derive(Debug, Clone)]
pub struct EffectsOptions {
    /// Which log.
    pub log: Log,
    /// Days of grace for a late renewal.
    pub grace_days: i64,
    /// Facts observed up to here.
    pub as_of: Timestamp,
}

/// Choices that teach nothing, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Excluded {
    /// Chance had no say.
    pub certain: usize,
    /// The chance of what was done is not known.
    pub chance_unknown: usize,
    /// Doing nothing had no chance: they compare actions with each other only.
    pub no_nothing: usize,
    /// Imported: before the log was complete.
    pub before: usize,
    /// Imported: not to be used for another reason, see [`LeftOut`].
    pub incomplete: usize,
    /// No end of a term was known on the day.
    pub no_term: usize,
    /// The term, or the follow-up of an imported action, is not over.
    pub not_over: usize,
    /// Too little was known on the day for a risk.
    pub no_risk: usize,
    /// Revenue is not known.
    pub no_revenue: usize,
    /// Accounts of the untreated arm: nothing is proposed to them, so that the log does not say what they would have had.
    pub holdout_accounts: usize,
}

/// The effect of one playbook, or of one imported action.
#[derive(Debug, Clone, PartialEq)]
pub struct Effect {
    /// Its name.
    pub action: String,
    /// In which tier; `None` over all.
    pub tier: Option<String>,
    /// Choices in which it was done.
    pub with: ArmCount,
    /// Choices in which it could have been, and nothing was.
    pub without: ArmCount,
    /// The shift, or why there is none.
    pub found: Result<Estimated, String>,
}

/// What the log shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Effects {
    /// Last day of the history.
    pub until: Day,
    /// Accounts looked at.
    pub accounts: u64,
    /// Choices in the log.
    pub choices: usize,
    /// Choices that count.
    pub used: usize,
    /// The others.
    pub excluded: Excluded,
    /// By action, first over all tiers, then by tier.
    pub effects: Vec<Effect>,
}

/// Estimates the effect of every action of a log.
///
/// # Errors
/// [`BacktestError`]; a rule of priority that does not fit the log as the inner error.
pub async fn effects(
    store: &Store,
    policies: &Policies,
    page: u32,
    options: &EffectsOptions,
) -> Result<Result<Effects, LogProblem>, BacktestError> {
    let (until, accounts) = last_day(store, page, options.as_of).await?;
    let from = match &options.log {
        Log::Own => None,
        Log::Imported { .. } => first_complete(store, page, options.as_of).await?,
    };
    let mut gathered = Gathered::default();
    let mut after = None;
    while let Some(facts) = next_page(store, page, &mut after).await? {
        let ids: BTreeSet<&AccountId> = facts.iter().map(|(id, _)| id).collect();
        let mut own: BTreeMap<AccountId, Vec<LoggedChoice>> = BTreeMap::new();
        if matches!(options.log, Log::Own) {
            for choice in store
                .choices_of(&ids, Day::from_number(0), options.as_of.day().plus(1))
                .await?
            {
                own.entry(choice.account.clone()).or_default().push(choice);
            }
        }
        for (id, signals) in &facts {
            let known: Vec<Signal> = signals
                .iter()
                .filter(|s| s.observed_at <= options.as_of)
                .cloned()
                .collect();
            gathered.excluded.holdout_accounts += usize::from(is_held_out(id, &known, options.as_of));
            let list = match &options.log {
                Log::Own => gathered.of_own(own.get(id).map_or(&[], Vec::as_slice)),
                Log::Imported { priority } => {
                    match gathered.of_imported(id, &known, policies, (from, until), priority, options.as_of) {
                        Ok(list) => list,
                        Err(problem) => return Ok(Err(problem)),
                    }
                }
            };
            for (day, choice) in list {
                gathered.take(id, &known, day, &choice, policies, (options.grace_days, until));
            }
        }
    }
    Ok(Ok(Effects {
        until,
        accounts,
        choices: gathered.choices,
        used: gathered.used,
        excluded: gathered.excluded,
        effects: gathered.trials.into_iter().map(effect).collect(),
    }))
}

fn effect(((action, tier), rows): ((String, Option<String>), Vec<Trial>)) -> Effect {
    let (with, without) = arms(&rows);
    Effect {
        action,
        tier,
        with,
        without,
        found: shift_at_equal_risk(&rows).map_err(|error| error.to_string()),
    }
}

/// Actions of an imported log, and what revenue needs.
fn of_log(id: &AccountId, signals: &[Signal], as_of: Timestamp) -> Snapshot {
    let kept = signals
        .iter()
        .filter(|s| matches!(s.fact.kind(), FactKind::Treatment | FactKind::Movement));
    Snapshot::of(id.clone(), as_of, kept.cloned().collect(), Vec::new(), 0)
}

async fn first_complete(store: &Store, page: u32, as_of: Timestamp) -> Result<Option<Day>, BacktestError> {
    let (mut after, mut first) = (None, None);
    while let Some(facts) = next_page(store, page, &mut after).await? {
        for (id, mut signals) in facts {
            signals.retain(|s| s.observed_at <= as_of);
            let found = complete_from(&of_log(&id, &signals, as_of));
            first = [first, found].into_iter().flatten().min();
        }
    }
    Ok(first)
}

fn is_held_out(id: &AccountId, signals: &[Signal], as_of: Timestamp) -> bool {
    let kept = signals.iter().filter(|s| s.fact.kind() == FactKind::Assignment);
    let snapshot = Snapshot::of(id.clone(), as_of, kept.cloned().collect(), Vec::new(), 0);
    snapshot.assignments.iter().any(|a| a.fact.arm == Some(Arm::Holdout))
}

#[derive(Default)]
struct Gathered {
    choices: usize,
    used: usize,
    excluded: Excluded,
    /// By action and tier; `None`, which is first, over all.
    trials: BTreeMap<(String, Option<String>), Vec<Trial>>,
}

impl Gathered {
    fn of_own(&mut self, log: &[LoggedChoice]) -> Vec<(Day, Choice<()>)> {
        self.choices += log.len();
        let mut found = Vec::new();
        for logged in log {
            match randomised(logged) {
                Ok(choice) => found.push((logged.day, choice)),
                Err(OwnLeftOut {
                    certain,
                    chance_unknown,
                    ..
                }) => {
                    self.excluded.certain += certain;
                    self.excluded.chance_unknown += chance_unknown;
                }
            }
        }
        found
    }

    fn of_imported(
        &mut self,
        id: &AccountId,
        signals: &[Signal],
        policies: &Policies,
        (from, until): (Option<Day>, Day),
        priority: &[String],
        as_of: Timestamp,
    ) -> Result<Vec<(Day, Choice<()>)>, LogProblem> {
        let snapshot = of_log(id, signals, as_of);
        let Some(from) = from else {
            // Every logged action was executed.
            self.choices += snapshot.treatments.len();
            self.excluded.certain += snapshot.treatments.len();
            return Ok(Vec::new());
        };
        let (list, out) = occasions(&snapshot, &policies.settings, from, until);
        let LeftOut {
            before,
            too_recent,
            no_revenue,
            incomplete,
        } = out;
        self.choices += before + too_recent + no_revenue + incomplete;
        self.excluded.before += before;
        self.excluded.not_over += too_recent;
        self.excluded.no_revenue += no_revenue;
        self.excluded.incomplete += incomplete;
        let mut found = Vec::new();
        for occasion in &list {
            for choice in choices(std::slice::from_ref(occasion), priority)? {
                self.choices += 1;
                let choice = Choice {
                    account: choice.account,
                    chances: choice.chances,
                    done: choice.done,
                    reward: (),
                };
                found.push((occasion.day, choice));
            }
        }
        Ok(found)
    }

    fn take(
        &mut self,
        id: &AccountId,
        signals: &[Signal],
        day: Day,
        choice: &Choice<()>,
        policies: &Policies,
        follow_up: (i64, Day),
    ) {
        let told: Vec<(&str, bool, f64)> = choice.against_nothing().collect();
        if told.iter().any(|(.., chance)| *chance >= 1.0) {
            self.excluded.certain += 1;
            return;
        }
        if told.is_empty() {
            self.excluded.no_nothing += 1;
            return;
        }
        let (settings, risk) = (&policies.settings, &policies.scoring.risk);
        let outcome = match next_outcome(id, signals, day, follow_up, settings, risk) {
            Ok(outcome) => outcome,
            Err(why) => {
                let count = match why {
                    NoOutcome::NoTerm => &mut self.excluded.no_term,
                    NoOutcome::NotOver => &mut self.excluded.not_over,
                    NoOutcome::NoRisk => &mut self.excluded.no_risk,
                    NoOutcome::NoRevenue => &mut self.excluded.no_revenue,
                };
                *count += 1;
                return;
            }
        };
        self.used += 1;
        for (action, executed, chance) in told {
            let trial = Trial {
                account: id.as_str().to_owned(),
                executed,
                chance,
                renewed: !outcome.churned,
                log_odds: outcome.log_odds,
            };
            if outcome.tier.is_some() {
                let key = (action.to_owned(), outcome.tier.clone());
                self.trials.entry(key).or_default().push(trial.clone());
            }
            self.trials.entry((action.to_owned(), None)).or_default().push(trial);
        }
    }
}

#[cfg(test)]
mod tests;
