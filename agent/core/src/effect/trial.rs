//! The shift that randomised choices show, at equal risk: a logistic regression of renewing on the action and on the
//! log odds that the engine gave before, each row weighted by the inverse of the chance of what was done (Robins,
//! Hernán and Brumback 2000).
//!
//! Why at equal risk: the value of an action shifts the log odds of one account. The difference of two shares' log odds
//! is smaller than that shift wherever risks differ, because log odds do not average.

use std::collections::BTreeMap;

use super::{EffectError, Observed};

/// Rows that each arm needs.
pub const ARM_MIN: usize = 50;
/// Rows of each outcome that each arm needs.
pub const EVENTS_MIN: usize = 10;
/// Effective sample size, (Σ w)² / Σ w², that both arms together need.
const ESS_MIN: f64 = 100.0;
/// Largest weight allowed, in mean weights.
const WEIGHT_MAX: f64 = 50.0;
/// Steps of the fit before it is given up.
const STEPS: usize = 50;

/// One randomised choice between an action and nothing, with what became of the account.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// Whose: rows of one account are taken as dependent.
    pub account: String,
    /// The action was executed; else nothing was.
    pub executed: bool,
    /// The chance, before the draw, of what was done: above 0, below 1.
    pub chance: f64,
    /// The account renewed.
    pub renewed: bool,
    /// Log odds of not renewing that the engine gave before; positive and negative, finite.
    pub log_odds: f64,
}

/// An estimate with what it rests on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimated {
    /// Shift of the log odds of renewing, and its standard error, which is robust and takes the rows of an account as one
    /// cluster (Liang and Zeger 1986).
    pub observed: Observed,
    /// Effective sample size of the weights.
    pub ess: f64,
}

/// How many rows there are, and how many of them were lost, in one arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ArmCount {
    /// Rows.
    pub rows: usize,
    /// Of these, accounts that did not renew.
    pub lost: usize,
}

/// The counts with the action, and without.
#[must_use]
pub fn arms(rows: &[Trial]) -> (ArmCount, ArmCount) {
    let count = |executed: bool| {
        let arm = || rows.iter().filter(|r| r.executed == executed);
        ArmCount {
            rows: arm().count(),
            lost: arm().filter(|r| !r.renewed).count(),
        }
    };
    (count(true), count(false))
}

/// The shift at equal risk.
///
/// # Errors
/// When a chance is not between 0 and 1 or a number is not finite; when an arm has fewer than [`ARM_MIN`] rows or fewer
/// than [`EVENTS_MIN`] of an outcome; when the weights count for too few or one of them for too much; when the fit does
/// not converge.
pub fn shift_at_equal_risk(rows: &[Trial]) -> Result<Estimated, EffectError> {
    if let Some(row) = rows.iter().find(|r| !(r.chance > 0.0 && r.chance < 1.0)) {
        return Err(EffectError::Propensity(row.chance));
    }
    if let Some(row) = rows.iter().find(|r| !r.log_odds.is_finite()) {
        return Err(EffectError::NotFinite(row.log_odds));
    }
    let (with, without) = arms(rows);
    if with.rows < ARM_MIN || without.rows < ARM_MIN {
        return Err(EffectError::FewRows {
            treated: with.rows,
            untreated: without.rows,
            least: ARM_MIN,
        });
    }
    for (arm, count) in [("with", with), ("without", without)] {
        let fewest = count.lost.min(count.rows - count.lost);
        if fewest < EVENTS_MIN {
            return Err(EffectError::FewEvents {
                arm,
                lost: count.lost,
                renewed: count.rows - count.lost,
                least: EVENTS_MIN,
            });
        }
    }
    let weights: Vec<f64> = rows.iter().map(|r| 1.0 / r.chance).collect();
    let (sum, squares) = (weights.iter().sum::<f64>(), weights.iter().map(|w| w * w).sum::<f64>());
    let (ess, mean) = (sum * sum / squares, sum / rows.len() as f64);
    let max = weights.iter().copied().fold(0.0, f64::max);
    if ess < ESS_MIN || max > WEIGHT_MAX * mean {
        return Err(EffectError::Overlap { ess, max, mean });
    }
    // Weights of mean 1 and risk about its mean, so that steps are of the same size whatever the log.
    let risk_mean = rows.iter().zip(&weights).map(|(r, w)| w * r.log_odds).sum::<f64>() / sum;
    let spread = rows.iter().map(|r| (r.log_odds - risk_mean).abs()).fold(0.0, f64::max);
    let inputs: Vec<[f64; 3]> = rows
        .iter()
        .map(|r| [1.0, f64::from(u8::from(r.executed)), risk_mean - r.log_odds])
        .collect();
    // Where all risks are alike there is nothing to hold equal, and the column would make the fit singular.
    let width = if spread > 1e-9 { 3 } else { 2 };
    let mut beta = [0.0; 3];
    for _ in 0..STEPS {
        let (mut gradient, mut bread) = ([0.0; 3], [[0.0; 3]; 3]);
        for ((x, row), w) in inputs.iter().zip(rows).zip(&weights) {
            let p = fitted(&beta, x);
            let off = w / mean * (f64::from(u8::from(row.renewed)) - p);
            for ((total, line), xi) in gradient.iter_mut().zip(&mut bread).zip(x) {
                *total += off * xi;
                for (cell, xj) in line.iter_mut().zip(x) {
                    *cell += w / mean * p * (1.0 - p) * xi * xj;
                }
            }
        }
        let inverse = inverse(bread, width).ok_or(EffectError::NotConverged)?;
        let mut moved = 0.0_f64;
        for (b, line) in beta.iter_mut().zip(&inverse).take(width) {
            let step: f64 = line.iter().zip(&gradient).take(width).map(|(a, g)| a * g).sum();
            *b += step;
            moved = moved.max(step.abs());
        }
        if !beta.iter().all(|b| b.is_finite() && b.abs() < 50.0) {
            return Err(EffectError::NotConverged);
        }
        if moved < 1e-10 {
            let variance = sandwich(&beta, &inputs, rows, &weights, mean, &inverse, width);
            return Ok(Estimated {
                observed: Observed {
                    shift: beta[1],
                    se: libm::sqrt(variance),
                },
                ess,
            });
        }
    }
    Err(EffectError::NotConverged)
}

fn fitted(beta: &[f64; 3], x: &[f64; 3]) -> f64 {
    crate::score::sigmoid(beta.iter().zip(x).map(|(b, x)| b * x).sum())
}

/// The variance of the second coefficient, with the rows of an account as one cluster, times k / (k - 1) for k accounts.
fn sandwich(
    beta: &[f64; 3],
    inputs: &[[f64; 3]],
    rows: &[Trial],
    weights: &[f64],
    mean: f64,
    inverse: &[[f64; 3]; 3],
    width: usize,
) -> f64 {
    let mut clusters: BTreeMap<&str, f64> = BTreeMap::new();
    for ((x, row), w) in inputs.iter().zip(rows).zip(weights) {
        let off = w / mean * (f64::from(u8::from(row.renewed)) - fitted(beta, x));
        let influence: f64 = inverse[1].iter().zip(x).take(width).map(|(a, x)| a * x * off).sum();
        *clusters.entry(&row.account).or_default() += influence;
    }
    let k = clusters.len() as f64;
    clusters.values().map(|c| c * c).sum::<f64>() * k / (k - 1.0)
}

/// The inverse of the leading `width` rows and columns, by Gauss and Jordan with pivots; `None` when it is singular.
fn inverse(matrix: [[f64; 3]; 3], width: usize) -> Option<[[f64; 3]; 3]> {
    let mut left = matrix;
    let mut right = [[0.0; 3]; 3];
    for (i, row) in right.iter_mut().enumerate() {
        row[i] = 1.0;
    }
    for column in 0..width {
        let pivot = (column..width).max_by(|a, b| left[*a][column].abs().total_cmp(&left[*b][column].abs()))?;
        if left[pivot][column].abs() < 1e-12 {
            return None;
        }
        left.swap(column, pivot);
        right.swap(column, pivot);
        let scale = left[column][column];
        for j in 0..width {
            left[column][j] /= scale;
            right[column][j] /= scale;
        }
        for i in (0..width).filter(|i| *i != column) {
            let factor = left[i][column];
            for j in 0..width {
                left[i][j] -= factor * left[column][j];
                right[i][j] -= factor * right[column][j];
            }
        }
    }
    Some(right)
}

#[cfg(test)]
mod tests;
