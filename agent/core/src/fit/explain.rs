//! Why one account's probability differs from its peers': exactly, on both scales.

use super::CannotEstimate;
use crate::score::sigmoid;

/// Terms up to which a Shapley value is computed exactly: 2^12 coalitions.
pub const SHAPLEY_TERMS: usize = 12;

/// Parts of the log odds: weight times distance from the peers' mean. Their sum is the account's log odds less those at
/// the peers' mean. `weights` has the intercept first.
///
/// # Errors
/// [`CannotEstimate::Shape`].
pub fn log_odds_parts(weights: &[f64], x: &[f64], peer_mean: &[f64]) -> Result<Vec<f64>, CannotEstimate> {
    for given in [x.len(), peer_mean.len()] {
        if given + 1 != weights.len() {
            return Err(CannotEstimate::Shape {
                given,
                wanted: weights.len().saturating_sub(1),
            });
        }
    }
    Ok((0..x.len()).map(|j| weights[j + 1] * (x[j] - peer_mean[j])).collect())
}

/// Parts of the probability in percentage points (Shapley 1953): the mean, over all orders in which the parts of the log
/// odds may be added to the peers' log odds, of what each adds to the probability. Their sum is the account's
/// probability less the peers', exactly; rounding them is the reader's business.
///
/// # Errors
/// [`CannotEstimate::TooManyTerms`].
pub fn shapley(peer_log_odds: f64, parts: &[f64]) -> Result<Vec<f64>, CannotEstimate> {
    let n = parts.len();
    if n > SHAPLEY_TERMS {
        return Err(CannotEstimate::TooManyTerms {
            given: n,
            limit: SHAPLEY_TERMS,
        });
    }
    // Probability of every coalition; bit j says whether part j is in.
    let worth: Vec<f64> = (0_usize..1 << n)
        .map(|coalition| {
            let sum: f64 = (0..n).filter(|j| coalition >> j & 1 == 1).map(|j| parts[j]).sum();
            sigmoid(peer_log_odds + sum)
        })
        .collect();
    // Weight of a coalition of size s without j: s! (n - s - 1)! / n!
    let mut weight = vec![0.0; n];
    for (size, weight) in weight.iter_mut().enumerate() {
        let mut choose = 1.0;
        for k in 0..size {
            choose = choose * (n - 1 - k) as f64 / (k + 1) as f64;
        }
        *weight = 1.0 / (n as f64 * choose);
    }
    Ok((0..n)
        .map(|j| {
            (0_usize..1 << n)
                .filter(|coalition| coalition >> j & 1 == 0)
                .map(|coalition| {
                    let size = coalition.count_ones() as usize;
                    weight[size] * (worth[coalition | 1 << j] - worth[coalition])
                })
                .sum::<f64>()
                * 100.0
        })
        .collect())
}
