//! Off-policy evaluation: what another way of choosing would have brought, from a log of randomised choices.
//!
//! Every row needs the probability with which its action was *finally executed*, fixed before the draw. Nothing here
//! fits propensities afterwards, clips weights, or answers when the log cannot carry the question: a refusal is typed
//! and names its figures.

mod log;
mod own;

use std::collections::{BTreeMap, BTreeSet};

pub use log::{
    Choice, Done, Eligible, LeftOut, LogProblem, Occasion, Preference, REWARD_WEEKS, choices, complete_from, evaluated,
    logged, occasions,
};
pub use own::{OwnLeftOut, no_choices, own_choices, randomised};

/// One logged choice.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Logged {
    /// Probability p(a|x) with which the logged action was executed.
    pub propensity: f64,
    /// Probability π(a|x) with which the policy under test would have taken it.
    pub target: f64,
    /// Reward r that followed.
    pub reward: f64,
    /// Expected reward q(x, a) of the logged action, from a model that has not seen this row.
    pub predicted: f64,
    /// Expected reward of the policy under test at x: `Σ_a π(a|x) q(x, a)`.
    pub value: f64,
}

/// Why the log cannot answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// There are no rows.
    #[error("cannot estimate: no rows")]
    NoRows,
    /// A probability that is none, or a propensity of zero.
    #[error("cannot estimate: row {row} has propensity {propensity} and target {target}")]
    Probability {
        /// Number of the row, from 0.
        row: usize,
        /// Its propensity.
        propensity: f64,
        /// Its target.
        target: f64,
    },
    /// A reward or prediction that is no number.
    #[error("cannot estimate: row {row} has a value that is not a number")]
    NotFinite {
        /// Number of the row, from 0.
        row: usize,
    },
    /// The policy under test would take none of the logged actions.
    #[error("cannot estimate: the policy would have taken none of the logged actions")]
    NoOverlap,
    /// The rows count for too few.
    #[error("refused: {rows} rows count for only {ess:.1}; at least {least} are needed")]
    Few {
        /// Rows.
        rows: usize,
        /// Effective sample size.
        ess: f64,
        /// What is asked.
        least: f64,
    },
    /// One row carries too much.
    #[error("refused: the largest weight {max:.2} is more than {limit} times the mean weight {mean:.3}")]
    Heavy {
        /// Largest weight.
        max: f64,
        /// Mean weight.
        mean: f64,
        /// What is allowed.
        limit: f64,
    },
    /// The logged propensities do not fit the log.
    #[error(
        "refused: the mean weight {mean:.3} is {away:.1} standard errors from 1: the propensities are not those of this log"
    )]
    Propensities {
        /// Mean weight.
        mean: f64,
        /// Distance from 1 in standard errors.
        away: f64,
    },
}

/// Effective sample size below which nothing is said.
pub const ESS_MIN: f64 = 100.0;
/// Largest weight allowed, in mean weights.
pub const WEIGHT_MAX: f64 = 50.0;
/// Distance of the mean weight from 1 allowed, in standard errors.
pub const MEAN_SE_MAX: f64 = 3.0;

/// An estimate with its standard error over rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The mean reward of a row under the policy.
    pub mean: f64,
    /// Standard error; rows are taken as independent.
    pub se: f64,
}

/// What the estimators say, with what they rest on. Weights are never clipped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluation {
    /// Rows.
    pub rows: usize,
    /// Inverse propensity scoring (Horvitz and Thompson 1952): `mean(w r)`, `w = π / p`.
    pub ips: Estimate,
    /// Self-normalised (Swaminathan and Joachims 2015): `Σ w r / Σ w`.
    pub snips: Estimate,
    /// Direct method: `mean(v)`.
    pub dm: Estimate,
    /// Doubly robust (Dudík, Langford and Li 2011): `mean(v + w (r - q))`.
    pub dr: Estimate,
    /// Effective sample size (Kish 1965): `(Σ w)² / Σ w²`.
    pub ess: f64,
    /// Mean weight; 1 is expected.
    pub weight_mean: f64,
    /// Its standard error.
    pub weight_se: f64,
    /// Largest weight.
    pub weight_max: f64,
}

/// All estimators and what they rest on, without judging whether the log can carry them: for that see [`evaluate`].
///
/// # Errors
/// When there are no rows, a value is no number or no probability, or the policy takes none of the logged actions.
pub fn estimators(rows: &[Logged]) -> Result<Evaluation, Refusal> {
    if rows.is_empty() {
        return Err(Refusal::NoRows);
    }
    for (row, r) in rows.iter().enumerate() {
        if !(r.propensity > 0.0 && r.propensity <= 1.0 && (0.0..=1.0).contains(&r.target)) {
            return Err(Refusal::Probability {
                row,
                propensity: r.propensity,
                target: r.target,
            });
        }
        if !(r.reward.is_finite() && r.predicted.is_finite() && r.value.is_finite()) {
            return Err(Refusal::NotFinite { row });
        }
    }
    let weight = |r: &Logged| r.target / r.propensity;
    let weights: Vec<f64> = rows.iter().map(weight).collect();
    let sum: f64 = weights.iter().sum();
    if sum <= 0.0 {
        return Err(Refusal::NoOverlap);
    }
    let over_rows = |value: &dyn Fn(&Logged) -> f64| estimate(&rows.iter().map(value).collect::<Vec<_>>());
    let mass = over_rows(&weight);
    let snips = rows.iter().map(|r| weight(r) * r.reward).sum::<f64>() / sum;
    // Linearised: the ratio's influence of a row is w (r - ratio) / mean w.
    let influence = over_rows(&|r| weight(r) * (r.reward - snips) / mass.mean);
    Ok(Evaluation {
        rows: rows.len(),
        ips: over_rows(&|r| weight(r) * r.reward),
        snips: Estimate {
            mean: snips,
            se: influence.se,
        },
        dm: over_rows(&|r| r.value),
        dr: over_rows(&|r| r.value + weight(r) * (r.reward - r.predicted)),
        ess: sum * sum / weights.iter().map(|w| w * w).sum::<f64>(),
        weight_mean: mass.mean,
        weight_se: mass.se,
        weight_max: weights.iter().copied().fold(0.0, f64::max),
    })
}

fn estimate(values: &[f64]) -> Estimate {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - mean) * (v - mean)).sum();
    // With one row there is no spread to see; infinite says so, and every refusal that compares with it holds.
    let se = if values.len() < 2 {
        f64::INFINITY
    } else {
        libm::sqrt(squares / (n - 1.0) / n)
    };
    Estimate { mean, se }
}

/// What the policy would have brought, when the log can carry the answer.
///
/// # Errors
/// As [`estimators`]; and refused when the effective sample size is below [`ESS_MIN`], one weight is above
/// [`WEIGHT_MAX`] mean weights, or the mean weight is more than [`MEAN_SE_MAX`] standard errors from 1.
pub fn evaluate(rows: &[Logged]) -> Result<Evaluation, Refusal> {
    let found = estimators(rows)?;
    if found.ess < ESS_MIN {
        return Err(Refusal::Few {
            rows: found.rows,
            ess: found.ess,
            least: ESS_MIN,
        });
    }
    if found.weight_max > WEIGHT_MAX * found.weight_mean {
        return Err(Refusal::Heavy {
            max: found.weight_max,
            mean: found.weight_mean,
            limit: WEIGHT_MAX,
        });
    }
    let off = (found.weight_mean - 1.0).abs();
    // A policy that equals the logging one has weights of exactly 1 and no spread: the rounding of sums is no distance.
    if off > MEAN_SE_MAX * found.weight_se && off > 1e-9 {
        return Err(Refusal::Propensities {
            mean: found.weight_mean,
            away: off / found.weight_se,
        });
    }
    Ok(found)
}

/// Expected rewards by action, cross-fitted: the prediction for a row is the mean reward of its action over the rows of
/// the other folds. A row whose action occurs in no other fold has no prediction.
#[must_use]
pub fn cross_fitted_means<A: Ord>(rows: &[(usize, A, f64)]) -> Vec<BTreeMap<&A, f64>> {
    let folds: BTreeSet<usize> = rows.iter().map(|(fold, _, _)| *fold).collect();
    let mut by_fold: BTreeMap<usize, BTreeMap<&A, f64>> = BTreeMap::new();
    for fold in folds {
        let mut sums: BTreeMap<&A, (f64, f64)> = BTreeMap::new();
        for (_, action, reward) in rows.iter().filter(|(of, _, _)| *of != fold) {
            let sum = sums.entry(action).or_default();
            *sum = (sum.0 + reward, sum.1 + 1.0);
        }
        let means = sums.into_iter().map(|(action, (sum, n))| (action, sum / n));
        by_fold.insert(fold, means.collect());
    }
    rows.iter()
        .map(|(fold, _, _)| by_fold.get(fold).cloned().unwrap_or_default())
        .collect()
}

/// One account of a randomised trial, with the score that would order the work.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    /// Score; the largest is worked first. Equal scores are one group.
    pub score: f64,
    /// Was treated.
    pub treated: bool,
    /// Outcome, 1 for success.
    pub outcome: f64,
}

/// Raw Qini curve (Radcliffe 2007, in counts): `q(k) = Y_t - Y_c N_t / N_c` over the k accounts with the largest
/// scores, at the ends of groups of equal score.
#[derive(Debug, Clone, PartialEq)]
pub struct Qini {
    /// `(k, q(k))`, beginning with `(0, 0)`. Ends of groups before the first untreated account are left out, because
    /// there q is not known.
    pub points: Vec<(usize, f64)>,
    /// Area under the curve, by trapezoids.
    pub area: f64,
    /// The area less that of a random order, `n q(n) / 2`: the raw Qini coefficient.
    pub coefficient: f64,
}

/// Why there is no Qini curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoQini {
    /// An arm is empty.
    #[error("cannot estimate: both arms are needed")]
    OneArm,
    /// A score or an outcome is no number.
    #[error("cannot estimate: a score or an outcome is not a number")]
    NotFinite,
}

/// The raw Qini curve of a score on a randomised trial. Other variants normalise differently; do not compare across.
///
/// # Errors
/// When an arm is empty or a value is no number.
pub fn qini(rows: &[Scored]) -> Result<Qini, NoQini> {
    if rows.iter().any(|r| !(r.score.is_finite() && r.outcome.is_finite())) {
        return Err(NoQini::NotFinite);
    }
    if rows.iter().all(|r| r.treated) || rows.iter().all(|r| !r.treated) {
        return Err(NoQini::OneArm);
    }
    let mut sorted = rows.to_vec();
    sorted.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut points = vec![(0, 0.0)];
    let (mut k, mut treated, mut control) = (0, (0.0, 0.0), (0.0, 0.0));
    for group in sorted.chunk_by(|a, b| a.score == b.score) {
        for row in group {
            let arm = if row.treated { &mut treated } else { &mut control };
            *arm = (arm.0 + row.outcome, arm.1 + 1.0);
        }
        k += group.len();
        if control.1 > 0.0 {
            points.push((k, treated.0 - control.0 * treated.1 / control.1));
        }
    }
    let area = points
        .windows(2)
        .map(|pair| (pair[1].0 - pair[0].0) as f64 * (pair[0].1 + pair[1].1) / 2.0)
        .sum();
    let end = points.last().map_or(0.0, |p| p.1);
    Ok(Qini {
        points,
        area,
        coefficient: area - rows.len() as f64 * end / 2.0,
    })
}

#[cfg(test)]
mod tests;
