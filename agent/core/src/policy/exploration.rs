//! The table `[exploration]` of `scoring.toml`: whether chance may choose between near-ties, and how.

use serde::Deserialize;
use toml::Spanned;

use super::scoring::Check;
use crate::explore::{FLOOR, WORTH_MIN};

/// How near-ties are drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Exploration {
    /// Share of the choices that chance decides, evenly among near-ties; in the others the best is taken.
    pub share: f64,
    /// Share of the best from which an action is a near-tie.
    pub worth_from: f64,
    /// Least chance of the draw of a near-tie.
    pub floor: f64,
    /// Days for which what was not drawn rests, so that the account does not get both.
    pub rest_days: i64,
    /// Seed of all draws.
    pub seed: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExplorationTable {
    on: bool,
    share: Spanned<f64>,
    worth_from: Spanned<f64>,
    floor: Spanned<f64>,
    rest_days: Spanned<i64>,
    seed: Spanned<i64>,
}

/// `None` where it is off; what is off is checked all the same.
pub(super) fn exploration(check: &mut Check<'_>, raw: &ExplorationTable) -> Option<Exploration> {
    let found = Exploration {
        share: check.range("share", &raw.share, 0.01, 1.0),
        worth_from: check.range("worth_from", &raw.worth_from, WORTH_MIN, 1.0),
        floor: check.range("floor", &raw.floor, FLOOR, 0.5),
        rest_days: check.range("rest_days", &raw.rest_days, 0, 365),
        seed: check.range("seed", &raw.seed, 0, i64::MAX).unsigned_abs(),
    };
    raw.on.then_some(found)
}
