//! A walk through past time: at each step the whole book is decided with what was known by then, and nothing is written.
//! What it says of scores, signals and order of work can be held against what followed.
//!
//! Promises: a step depends on nothing that was first known after it: not on later signals, corrections, overrides,
//! accounts, people or peers, and on none of our own actions, whose past states nobody knows. Policies are those of today.
//! The same walk over the same data gives the same rows, whatever the number of threads.
//!
//! An account's signals are read once for all steps. What is held: a short row for each account and step, what changed, and
//! the first actions of each step.

mod episodes;

use std::sync::Arc;

use futures_util::StreamExt as _;
use perennial_core::candidate::worst_posture;
use perennial_core::decide::Decision;
use perennial_core::ids::AccountId;
use perennial_core::money::Currency;
use perennial_core::number::Micro;
use perennial_core::policy::{Level, Policies};
use perennial_core::score::Band;
use perennial_core::time::{Day, Timestamp};
use perennial_store::Store;
use serde::Serialize;

use crate::changes::{self, ChangeRow, Stand};
use crate::config::Config;
use crate::cycle::{Considered, OwnActions, Pages, RunError};
use crate::ranking::{self, RankedAction};
use episodes::Episodes;

/// Steps of one walk at the most: more than seven years of weeks. A number for each peer, week and step is held at once.
pub const STEPS_MAX: usize = 400;

/// Which times, and how much of each.
#[derive(Debug, Clone)]
pub struct WalkOptions {
    /// First time.
    pub from: Timestamp,
    /// No step is later.
    pub to: Timestamp,
    /// Microseconds from one step to the next.
    pub every_us: i64,
    /// Actions kept of each step's order of work.
    pub top: usize,
}

/// Why there is no walk of these times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WalkError {
    /// The end is before the beginning.
    #[error("--from {0} lies after --to {1}: give the earlier time first")]
    Backwards(Timestamp, Timestamp),
    /// Too many steps.
    #[error("that is more than {STEPS_MAX} steps: take a longer --every, or walk in parts")]
    TooLong,
}

impl WalkOptions {
    /// The times of the steps, the oldest first.
    ///
    /// # Errors
    /// [`WalkError`].
    pub fn times(&self) -> Result<Vec<Timestamp>, WalkError> {
        if self.from > self.to {
            return Err(WalkError::Backwards(self.from, self.to));
        }
        let every = self.every_us.max(1);
        let span = self.to.us().saturating_sub(self.from.us());
        let last = usize::try_from(span / every).unwrap_or(usize::MAX);
        if last >= STEPS_MAX {
            return Err(WalkError::TooLong);
        }
        let steps = (0..).take(last + 1);
        Ok(steps
            .map(|k: i64| Timestamp::from_us(self.from.us().saturating_add(every.saturating_mul(k))))
            .collect())
    }
}

/// An account at one step. `None` is not known.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScoreRow {
    /// Account.
    pub account: AccountId,
    /// Health, 0 to 100, higher is healthier.
    pub health: Option<f64>,
    /// Its band.
    pub band: Option<Band>,
    /// Share of the weight of health that is known, 1 is all.
    pub confidence: f64,
    /// Probability of not renewing, 0 to 1.
    pub risk: Option<f64>,
    /// Expansion, 0 to 100, higher is readier.
    pub expansion: Option<f64>,
    /// The worst judgement of its coming renewals.
    pub posture: &'static str,
    /// Next end of an agreement.
    pub renewal_date: Option<Day>,
    /// Yearly revenue, minor units.
    pub arr_minor: Option<i64>,
    /// Its currency.
    pub currency: Option<Currency>,
}

/// The whole book at one time.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// Facts up to here.
    pub as_of: Timestamp,
    /// Accounts that were known by then.
    pub accounts: u64,
    /// Of these, those whose health could be assessed.
    pub assessed: u64,
    /// Actions that policy does not forbid.
    pub proposals: u64,
    /// Signals that are open since the step before.
    pub opened: u64,
    /// Signals that were confirmed since.
    pub confirmed: u64,
    /// Signals that cleared since.
    pub cleared: u64,
    /// Every account.
    pub scores: Vec<ScoreRow>,
    /// What changed since the step before, at the first step all that stands.
    pub signals: Vec<ChangeRow>,
    /// The first actions in the order of work.
    pub ranking: Vec<RankedAction>,
}

impl Step {
    fn new(as_of: Timestamp) -> Step {
        Step {
            as_of,
            accounts: 0,
            assessed: 0,
            proposals: 0,
            opened: 0,
            confirmed: 0,
            cleared: 0,
            scores: Vec::new(),
            signals: Vec::new(),
            ranking: Vec::new(),
        }
    }

    fn take(&mut self, seen: Seen, top: usize) {
        self.accounts += 1;
        self.assessed += u64::from(seen.score.health.is_some());
        self.proposals += seen.proposals;
        for change in &seen.changes {
            match change.state {
                Stand::Open => self.opened += 1,
                Stand::Confirmed => self.confirmed += 1,
                Stand::Cleared => self.cleared += 1,
            }
        }
        self.scores.push(seen.score);
        self.signals.extend(seen.changes);
        self.ranking.extend(seen.ranked);
        // What is behind the first ones now stays behind them.
        if self.ranking.len() > top.saturating_mul(4).max(64) {
            self.cut(top);
        }
    }

    fn cut(&mut self, top: usize) {
        ranking::place(&mut self.ranking);
        self.ranking.truncate(top);
    }
}

/// All steps, and every episode of the walk.
#[derive(Debug, Clone)]
pub struct Walk {
    /// In the order of time.
    pub steps: Vec<Step>,
    /// Each episode once, as it stood when it was last seen, with the gravest severity that it had; in the order of
    /// accounts, detectors and days.
    pub episodes: Vec<ChangeRow>,
}

/// An account at one step, with what comes of it.
struct Seen {
    step: usize,
    score: ScoreRow,
    proposals: u64,
    changes: Vec<ChangeRow>,
    ranked: Vec<RankedAction>,
}

fn score_row(decision: &Decision) -> ScoreRow {
    let (scores, features) = (&decision.scores, &decision.features);
    let arr = features.money("arr");
    ScoreRow {
        account: decision.account.clone(),
        health: scores.health.score_micro.map(Micro::to_f64),
        band: scores.health.band,
        confidence: scores.health.confidence_micro.to_f64(),
        risk: scores.risk.probability_micro.map(Micro::to_f64),
        expansion: scores.expansion.score_micro.map(Micro::to_f64),
        posture: worst_posture(&scores.postures),
        renewal_date: features.day("renewal_date"),
        arr_minor: arr.map(|a| a.minor),
        currency: arr.map(|a| a.currency),
    }
}

fn see(step: usize, considered: &Considered, base: Currency, episodes: &mut Episodes) -> Seen {
    let decision = &considered.decision;
    let ranked: Vec<RankedAction> = ranking::rows(considered, base, false).collect();
    let allowed = decision.proposals.iter().filter(|p| p.verdict.level != Level::Never);
    Seen {
        step,
        score: score_row(decision),
        proposals: allowed.count() as u64,
        changes: episodes.see(decision, changes::rows(decision)),
        ranked,
    }
}

/// Walks. Writes nothing; `progress` is told how many accounts have been walked with.
///
/// # Errors
/// [`RunError`], and [`RunError::Empty`] where there are no accounts.
pub async fn walk(
    config: &Config,
    store: &Store,
    policies: &Arc<Policies>,
    times: &[Timestamp],
    top: usize,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<Walk, RunError> {
    let pages = Pages::open(config, store, policies, times, OwnActions::None).await?;
    let base = policies.settings.base;
    let quiet_days = policies.scoring.signals.as_ref().map_or(0, |s| s.quiet_days);
    let walked = pages.decide(store, move |_, at_all_times| {
        let mut episodes = Episodes::new(quiet_days);
        let seen: Vec<Seen> = at_all_times
            .enumerate()
            .filter(|(_, considered)| considered.is_known())
            .map(|(step, considered)| see(step, &considered, base, &mut episodes))
            .collect();
        (seen, episodes.finish())
    });
    let mut walked = std::pin::pin!(walked);
    let mut steps: Vec<Step> = times.iter().map(|as_of| Step::new(*as_of)).collect();
    let (mut episodes, mut accounts) = (Vec::new(), 0);
    while let Some(page) = walked.next().await {
        for (seen, ended) in page? {
            accounts += 1;
            episodes.extend(ended);
            for seen in seen {
                if let Some(step) = steps.get_mut(seen.step) {
                    step.take(seen, top);
                }
            }
        }
        progress(accounts);
    }
    if accounts == 0 {
        return Err(RunError::Empty);
    }
    steps.iter_mut().for_each(|step| step.cut(top));
    Ok(Walk { steps, episodes })
}

#[cfg(test)]
mod tests;
