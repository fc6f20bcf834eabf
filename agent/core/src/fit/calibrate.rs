//! Calibration: probabilities that come as often as they say.

use super::logit::mode;
use super::metric::tied;
use super::{CannotEstimate, Floor, Forecast, Prior, Table, maximum_likelihood};
use crate::score::sigmoid;

/// Rows from which on isotonic regression is used instead of Platt's two parameters: below it steps follow noise.
pub const ISOTONIC_FROM: usize = 1_000;
/// Probabilities are kept this far from 0 and 1 before log odds are taken.
const EDGE: f64 = 1e-9;

fn log_odds(p: f64) -> f64 {
    let p = p.clamp(EDGE, 1.0 - EDGE);
    libm::log(p / (1.0 - p))
}

/// Logistic regression of the outcome on the forecast's log odds (Cox 1958): 1 and 0 are perfect.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Calibration {
    /// Below 1 the forecasts are too extreme, above 1 too timid.
    pub slope: f64,
    /// Standard error of the slope.
    pub slope_error: f64,
    /// Log odds at a forecast of one half.
    pub intercept: f64,
}

/// Slope and intercept of forecasts.
///
/// # Errors
/// The refusals of [`maximum_likelihood`]: few or one-sided outcomes, all forecasts alike, separation.
pub fn calibration(forecasts: &[Forecast], floor: Floor) -> Result<Calibration, CannotEstimate> {
    let mut table = Table::new(1);
    for forecast in forecasts {
        table.push(&[log_odds(forecast.probability)], forecast.event)?;
    }
    let fitted = maximum_likelihood(&table, floor)?;
    Ok(Calibration {
        slope: fitted.weights[1],
        slope_error: libm::sqrt(fitted.covariance[3]),
        intercept: fitted.weights[0],
    })
}

/// What turns a raw probability into a calibrated one; never changes the order of two probabilities.
#[derive(Debug, Clone, PartialEq)]
pub enum Calibrator {
    /// Straight line on the log odds (Platt 1999).
    Platt {
        /// Log odds at a forecast of one half.
        intercept: f64,
        /// Log odds a unit of log odds; above 0.
        slope: f64,
    },
    /// Rising curve through knots of raw and calibrated probability, linear between them and flat outside (isotonic
    /// regression, Barlow and others 1972).
    Isotonic(Vec<(f64, f64)>),
}

impl Calibrator {
    /// Platt under [`ISOTONIC_FROM`] rows, isotonic from there on.
    ///
    /// # Errors
    /// The floor's refusals, [`CannotEstimate::NotConverged`], [`CannotEstimate::NotIncreasing`].
    pub fn fit(forecasts: &[Forecast], floor: Floor) -> Result<Calibrator, CannotEstimate> {
        if forecasts.len() < ISOTONIC_FROM {
            Calibrator::platt(forecasts, floor)
        } else {
            Calibrator::isotonic(forecasts, floor)
        }
    }

    /// Platt 1999, with his smoothed targets (N+ + 1)/(N+ + 2) and 1/(N- + 2).
    ///
    /// # Errors
    /// As [`Calibrator::fit`].
    pub fn platt(forecasts: &[Forecast], floor: Floor) -> Result<Calibrator, CannotEstimate> {
        let events = forecasts.iter().filter(|f| f.event).count();
        floor.check(forecasts.len(), events)?;
        let (yes, no) = (events as f64, (forecasts.len() - events) as f64);
        let mut table = Table::new(1);
        for forecast in forecasts {
            let target = if forecast.event {
                (yes + 1.0) / (yes + 2.0)
            } else {
                1.0 / (no + 2.0)
            };
            table.push_share(&[log_odds(forecast.probability)], target)?;
        }
        let free = Prior {
            mean: vec![0.0; 2],
            deviation: vec![f64::INFINITY; 2],
        };
        let fitted = mode(&table, &free)?;
        if fitted.weights[1] <= 0.0 {
            return Err(CannotEstimate::NotIncreasing);
        }
        Ok(Calibrator::Platt {
            intercept: fitted.weights[0],
            slope: fitted.weights[1],
        })
    }

    /// Isotonic regression by pool adjacent violators, equal forecasts pooled first. Values of 0 and 1 are drawn in by
    /// half an event, since no number of rows shows that something never happens.
    ///
    /// # Errors
    /// As [`Calibrator::fit`].
    pub fn isotonic(forecasts: &[Forecast], floor: Floor) -> Result<Calibrator, CannotEstimate> {
        let events = forecasts.iter().filter(|f| f.event).count();
        floor.check(forecasts.len(), events)?;
        let mut groups = tied(forecasts);
        groups.reverse();
        let at: Vec<f64> = groups.iter().map(|g| g[0].probability).collect();
        let weights: Vec<f64> = groups.iter().map(|g| g.len() as f64).collect();
        let shares: Vec<f64> = groups
            .iter()
            .map(|g| g.iter().filter(|f| f.event).count() as f64 / g.len() as f64)
            .collect();
        let pooled = pool_adjacent_violators(&shares, &weights)?;
        let edge = 0.5 / forecasts.len() as f64;
        if pooled.first() == pooled.last() {
            return Err(CannotEstimate::NotIncreasing);
        }
        // A knot at both ends of every step is enough.
        let last = at.len() - 1;
        let knots = (0..at.len())
            .filter(|i| *i == 0 || *i == last || pooled[*i] != pooled[*i - 1] || pooled[*i] != pooled[*i + 1])
            .map(|i| (at[i], pooled[i].clamp(edge, 1.0 - edge)))
            .collect();
        Ok(Calibrator::Isotonic(knots))
    }

    /// The calibrated probability.
    #[must_use]
    pub fn apply(&self, probability: f64) -> f64 {
        match self {
            Calibrator::Platt { intercept, slope } => sigmoid(intercept + slope * log_odds(probability)),
            Calibrator::Isotonic(knots) => {
                let (Some(first), Some(last)) = (knots.first(), knots.last()) else {
                    return probability;
                };
                if probability <= first.0 {
                    return first.1;
                }
                for pair in knots.windows(2) {
                    let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
                    if probability <= x1 {
                        return y0 + (y1 - y0) * (probability - x0) / (x1 - x0);
                    }
                }
                last.1
            }
        }
    }
}

/// The rising sequence nearest to `values` by weighted least squares: pool adjacent violators (Ayer and others 1955).
///
/// # Errors
/// [`CannotEstimate::Shape`]; [`CannotEstimate::NoWeight`] unless every weight is above 0.
pub fn pool_adjacent_violators(values: &[f64], weights: &[f64]) -> Result<Vec<f64>, CannotEstimate> {
    if values.len() != weights.len() {
        return Err(CannotEstimate::Shape {
            given: weights.len(),
            wanted: values.len(),
        });
    }
    // Written so that NaN fails too.
    if !weights.iter().all(|w| *w > 0.0) {
        return Err(CannotEstimate::NoWeight);
    }
    // Blocks of weighted sum, weight and length.
    let mut blocks: Vec<(f64, f64, usize)> = Vec::new();
    for (value, weight) in values.iter().zip(weights) {
        let mut block = (value * weight, *weight, 1);
        while let Some(before) = blocks.last() {
            if before.0 / before.1 < block.0 / block.1 {
                break;
            }
            block = (before.0 + block.0, before.1 + block.1, before.2 + block.2);
            blocks.pop();
        }
        blocks.push(block);
    }
    Ok(blocks
        .iter()
        .flat_map(|(sum, weight, n)| std::iter::repeat_n(sum / weight, *n))
        .collect())
}
