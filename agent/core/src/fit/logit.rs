//! Logistic regression whose weights are drawn towards a prior mean: a Gaussian prior, its mode by Newton's method, its
//! strength by the Laplace approximation of the evidence (MacKay 1992), its spread by the inverse Hessian.

use super::linear::Cholesky;
use super::{CannotEstimate, Floor, Table};
use crate::score::sigmoid;

/// Standard deviations of the prior that are tried, in log odds a unit of the input.
pub const TAUS: [f64; 6] = [0.1, 0.2, 0.35, 0.6, 1.0, 2.0];
/// Steps after which Newton's method is given up.
const STEPS_MAX: usize = 60;
/// Halvings of one step that does not improve.
const HALVINGS_MAX: usize = 30;
/// A step that changes no weight by more is the last one.
const STEP_MIN: f64 = 1e-6;
/// Log odds that no honest fit reaches: beyond them the inputs separate the outcomes.
const LOG_ODDS_MAX: f64 = 500.0;
/// Outcomes that are predicted this surely, every one of them, are separated.
const SEPARATED: f64 = 1e-6;

/// A Gaussian prior of the weights, the intercept first. An infinite deviation leaves a weight free.
#[derive(Debug, Clone, PartialEq)]
pub struct Prior {
    /// Means: log odds, and log odds a unit of each input.
    pub mean: Vec<f64>,
    /// Standard deviations.
    pub deviation: Vec<f64>,
}

impl Prior {
    /// Around given weights: one deviation for all, at least 1 for the intercept.
    #[must_use]
    pub fn around(mean: &[f64], tau: f64) -> Prior {
        let mut deviation = vec![tau; mean.len()];
        if let Some(first) = deviation.first_mut() {
            *first = tau.max(1.0);
        }
        Prior {
            mean: mean.to_vec(),
            deviation,
        }
    }

    /// The rival that knows nothing: means of 0, deviation 1, of the intercept 5.
    #[must_use]
    pub fn zero(inputs: usize) -> Prior {
        let mut deviation = vec![1.0; inputs + 1];
        deviation[0] = 5.0;
        Prior {
            mean: vec![0.0; inputs + 1],
            deviation,
        }
    }

    fn flat(inputs: usize) -> Prior {
        Prior {
            mean: vec![0.0; inputs + 1],
            deviation: vec![f64::INFINITY; inputs + 1],
        }
    }

    fn precision(&self, j: usize) -> f64 {
        1.0 / (self.deviation[j] * self.deviation[j])
    }

    fn check(&self, inputs: usize) -> Result<(), CannotEstimate> {
        for given in [self.mean.len(), self.deviation.len()] {
            if given != inputs + 1 {
                return Err(CannotEstimate::Shape {
                    given,
                    wanted: inputs + 1,
                });
            }
        }
        if self.mean.iter().any(|m| !m.is_finite()) {
            return Err(CannotEstimate::OutOfRange("prior mean"));
        }
        // Written so that NaN fails too.
        if !self.deviation.iter().all(|d| *d > 0.0) {
            return Err(CannotEstimate::OutOfRange("prior deviation"));
        }
        Ok(())
    }
}

/// A fitted logistic regression.
#[derive(Debug, Clone, PartialEq)]
pub struct Logit {
    /// Intercept and weights, log odds.
    pub weights: Vec<f64>,
    /// Posterior covariance of the weights, row by row: the inverse Hessian at the mode.
    pub covariance: Vec<f64>,
    /// Log likelihood of the outcomes at the mode, natural logarithm.
    pub log_likelihood: f64,
    /// Laplace evidence up to a constant; `None` where a weight is free.
    pub log_evidence: Option<f64>,
    /// Deviation of the prior, where it was one for all.
    pub tau: Option<f64>,
    /// Rows it was fitted on.
    pub rows: usize,
    /// Events among them.
    pub events: usize,
}

impl Logit {
    /// Log odds of a row.
    ///
    /// # Errors
    /// [`CannotEstimate::Shape`].
    pub fn log_odds(&self, x: &[f64]) -> Result<f64, CannotEstimate> {
        self.check(x)?;
        Ok(dot(&self.weights, x))
    }

    /// Probability of an event, 0 to 1.
    ///
    /// # Errors
    /// [`CannotEstimate::Shape`].
    pub fn probability(&self, x: &[f64]) -> Result<f64, CannotEstimate> {
        self.log_odds(x).map(sigmoid)
    }

    /// Standard deviation of a row's log odds: sqrt(x' H^-1 x).
    ///
    /// # Errors
    /// [`CannotEstimate::Shape`].
    pub fn deviation(&self, x: &[f64]) -> Result<f64, CannotEstimate> {
        self.check(x)?;
        let n = self.weights.len();
        let at = |j: usize| if j == 0 { 1.0 } else { x[j - 1] };
        let mut variance = 0.0;
        for i in 0..n {
            for j in 0..n {
                variance += at(i) * self.covariance[i * n + j] * at(j);
            }
        }
        Ok(libm::sqrt(variance.max(0.0)))
    }

    /// Interval of the probability: the log odds and `z` standard deviations to both sides. `z` is 1.2816 for 80 % and
    /// 1.9600 for 95 %.
    ///
    /// # Errors
    /// [`CannotEstimate::Shape`].
    pub fn interval(&self, x: &[f64], z: f64) -> Result<(f64, f64), CannotEstimate> {
        let (middle, spread) = (self.log_odds(x)?, z * self.deviation(x)?);
        Ok((sigmoid(middle - spread), sigmoid(middle + spread)))
    }

    fn check(&self, x: &[f64]) -> Result<(), CannotEstimate> {
        if x.len() + 1 == self.weights.len() {
            return Ok(());
        }
        Err(CannotEstimate::Shape {
            given: x.len(),
            wanted: self.weights.len().saturating_sub(1),
        })
    }
}

fn dot(weights: &[f64], x: &[f64]) -> f64 {
    weights[0] + weights[1..].iter().zip(x).map(|(w, v)| w * v).sum::<f64>()
}

/// ln(1 + e^z) without overflow.
pub(super) fn softplus(z: f64) -> f64 {
    z.max(0.0) + libm::log1p(libm::exp(-z.abs()))
}

fn log_likelihood(table: &Table, weights: &[f64]) -> f64 {
    table
        .iter()
        .map(|(x, y)| {
            let z = dot(weights, x);
            y * z - softplus(z)
        })
        .sum()
}

fn log_prior(prior: &Prior, weights: &[f64]) -> f64 {
    (0..weights.len())
        .map(|j| -0.5 * (weights[j] - prior.mean[j]) * (weights[j] - prior.mean[j]) * prior.precision(j))
        .sum()
}

/// Gradient and Hessian of the negative log posterior.
fn derivatives(table: &Table, prior: &Prior, weights: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let n = weights.len();
    let mut gradient: Vec<f64> = (0..n)
        .map(|j| (weights[j] - prior.mean[j]) * prior.precision(j))
        .collect();
    let mut hessian = vec![0.0; n * n];
    for (j, row) in hessian.chunks_exact_mut(n).enumerate() {
        row[j] = prior.precision(j);
    }
    for (x, y) in table.iter() {
        let p = sigmoid(dot(weights, x));
        let (residual, spread) = (p - y, p * (1.0 - p));
        gradient[0] += residual;
        hessian[0] += spread;
        for (i, a) in x.iter().enumerate() {
            gradient[i + 1] += residual * a;
            let row = &mut hessian[(i + 1) * n..];
            row[0] += spread * a;
            for (cell, b) in row[1..=i + 1].iter_mut().zip(x) {
                *cell += spread * a * b;
            }
        }
    }
    for i in 0..n {
        for j in i + 1..n {
            hessian[i * n + j] = hessian[j * n + i];
        }
    }
    (gradient, hessian)
}

/// The posterior mode under a prior, by Newton's method with halved steps.
///
/// # Errors
/// The floor's refusals, [`CannotEstimate::Shape`], [`CannotEstimate::OutOfRange`], [`CannotEstimate::NotConverged`].
pub fn fit(table: &Table, prior: &Prior, floor: Floor) -> Result<Logit, CannotEstimate> {
    floor.check(table.rows(), table.events())?;
    mode(table, prior)
}

/// The same without a floor: for smoothed outcomes of calibration.
pub(super) fn mode(table: &Table, prior: &Prior) -> Result<Logit, CannotEstimate> {
    prior.check(table.inputs())?;
    let n = prior.mean.len();
    let mut weights = prior.mean.clone();
    let mut height = log_likelihood(table, &weights) + log_prior(prior, &weights);
    for _ in 0..STEPS_MAX {
        let (gradient, hessian) = derivatives(table, prior, &weights);
        let factor = Cholesky::of(&hessian, n).ok_or(CannotEstimate::NotConverged)?;
        let step = factor.solve(&gradient);
        let largest = step.iter().fold(0.0_f64, |max, s| max.max(s.abs()));
        if largest < STEP_MIN {
            // Newton's steps shrink quadratically: after this one the rest is below what a float can hold.
            weights.iter_mut().zip(&step).for_each(|(w, s)| *w -= s);
            let (_, hessian) = derivatives(table, prior, &weights);
            let factor = Cholesky::of(&hessian, n).ok_or(CannotEstimate::NotConverged)?;
            return finished(table, prior, weights, &factor);
        }
        let mut share = 1.0;
        let mut improved = None;
        for _ in 0..HALVINGS_MAX {
            let next: Vec<f64> = weights.iter().zip(&step).map(|(w, s)| w - share * s).collect();
            let reached = log_likelihood(table, &next) + log_prior(prior, &next);
            if reached > height {
                improved = Some((next, reached));
                break;
            }
            share *= 0.5;
        }
        (weights, height) = improved.ok_or(CannotEstimate::NotConverged)?;
    }
    Err(CannotEstimate::NotConverged)
}

fn finished(table: &Table, prior: &Prior, weights: Vec<f64>, factor: &Cholesky) -> Result<Logit, CannotEstimate> {
    let free = prior.deviation.iter().any(|d| d.is_infinite());
    let (mut surest, mut largest) = (0.0_f64, 0.0_f64);
    for (x, y) in table.iter() {
        let z = dot(&weights, x);
        largest = largest.max(z.abs());
        surest = surest.max((sigmoid(z) - y).abs());
    }
    if !largest.is_finite() || largest > LOG_ODDS_MAX || (free && surest < SEPARATED) {
        return Err(CannotEstimate::NotConverged);
    }
    let log_likelihood = log_likelihood(table, &weights);
    let log_evidence = (!free).then(|| {
        let spread: f64 = prior.deviation.iter().map(|d| libm::log(*d)).sum();
        log_likelihood + log_prior(prior, &weights) - spread - 0.5 * factor.log_determinant()
    });
    Ok(Logit {
        covariance: factor.inverse(),
        weights,
        log_likelihood,
        log_evidence,
        tau: None,
        rows: table.rows(),
        events: table.events(),
    })
}

/// Every [`TAUS`] around given weights, in that order.
///
/// # Errors
/// As [`fit`].
pub fn evidences(table: &Table, mean: &[f64], floor: Floor) -> Result<Vec<Logit>, CannotEstimate> {
    TAUS.iter()
        .map(|tau| {
            let fitted = fit(table, &Prior::around(mean, *tau), floor)?;
            Ok(Logit {
                tau: Some(*tau),
                ..fitted
            })
        })
        .collect()
}

/// The fit whose prior deviation has the highest Laplace evidence, the smaller one on a tie.
///
/// # Errors
/// As [`fit`].
pub fn fit_by_evidence(table: &Table, mean: &[f64], floor: Floor) -> Result<Logit, CannotEstimate> {
    let mut best: Option<Logit> = None;
    for candidate in evidences(table, mean, floor)? {
        if best.as_ref().is_none_or(|b| candidate.log_evidence > b.log_evidence) {
            best = Some(candidate);
        }
    }
    best.ok_or(CannotEstimate::NotConverged)
}

/// Maximum likelihood: no prior at all. Refused where the inputs separate the outcomes.
///
/// # Errors
/// As [`fit`].
pub fn maximum_likelihood(table: &Table, floor: Floor) -> Result<Logit, CannotEstimate> {
    fit(table, &Prior::flat(table.inputs()), floor)
}

/// The intercept with which the mean probability of a book is `stated`, given every account's log odds without it.
///
/// # Errors
/// [`CannotEstimate::NoRows`], or [`CannotEstimate::OutOfRange`] unless 0 < `stated` < 1.
pub fn intercept_for(stated: f64, log_odds: &[f64]) -> Result<f64, CannotEstimate> {
    if log_odds.is_empty() {
        return Err(CannotEstimate::NoRows);
    }
    if !(stated > 0.0 && stated < 1.0) {
        return Err(CannotEstimate::OutOfRange("stated churn"));
    }
    if log_odds.iter().any(|z| !z.is_finite()) {
        return Err(CannotEstimate::OutOfRange("log odds"));
    }
    let middle = libm::log(stated / (1.0 - stated));
    let (low, high) = log_odds
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), z| {
            (low.min(*z), high.max(*z))
        });
    // With the intercept at these ends no account is above, or none below, the stated churn; the mean rises in between.
    let (mut low, mut high) = (middle - high, middle - low);
    for _ in 0..200 {
        let at = 0.5 * (low + high);
        let mean = log_odds.iter().map(|z| sigmoid(at + z)).sum::<f64>() / log_odds.len() as f64;
        if mean < stated {
            low = at;
        } else {
            high = at;
        }
    }
    Ok(0.5 * (low + high))
}
