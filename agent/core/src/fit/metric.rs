//! How good probabilities are: order, sharpness, honesty.

use super::CannotEstimate;

/// A probability that was said, and what came.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Forecast {
    /// Probability of an event, 0 to 1.
    pub probability: f64,
    /// Whether it came.
    pub event: bool,
    /// Yearly recurring revenue at stake, in any one unit.
    pub arr: f64,
}

/// Bins of the expected calibration error.
pub const BINS: usize = 10;
/// Probabilities are kept this far from 0 and 1 before a logarithm is taken.
const EDGE: f64 = 1e-12;

fn outcome(forecast: &Forecast) -> f64 {
    if forecast.event { 1.0 } else { 0.0 }
}

fn mean(forecasts: &[Forecast], of: impl Fn(&Forecast) -> f64) -> Result<f64, CannotEstimate> {
    if forecasts.is_empty() {
        return Err(CannotEstimate::NoRows);
    }
    let sum: f64 = forecasts.iter().map(of).sum();
    Ok(sum / forecasts.len() as f64)
}

/// Forecasts in groups of equal probability, the highest first.
pub(super) fn tied(forecasts: &[Forecast]) -> Vec<Vec<Forecast>> {
    let mut sorted = forecasts.to_vec();
    sorted.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    sorted
        .chunk_by(|a, b| a.probability == b.probability)
        .map(<[Forecast]>::to_vec)
        .collect()
}

/// Share of events.
///
/// # Errors
/// [`CannotEstimate::NoRows`].
pub fn base_rate(forecasts: &[Forecast]) -> Result<f64, CannotEstimate> {
    mean(forecasts, outcome)
}

/// The same outcomes, all forecast with one probability: what a model has to beat.
#[must_use]
pub fn constant(forecasts: &[Forecast], probability: f64) -> Vec<Forecast> {
    forecasts.iter().map(|f| Forecast { probability, ..*f }).collect()
}

/// Area under the ROC curve: the probability that an event was forecast higher than a non-event, a tie counting half
/// (Mann and Whitney 1947).
///
/// # Errors
/// [`CannotEstimate::OneOutcome`].
pub fn auc(forecasts: &[Forecast]) -> Result<f64, CannotEstimate> {
    area(forecasts, |_| 1.0)
}

/// The same, each pair weighted by the product of both recurring revenues.
///
/// # Errors
/// [`CannotEstimate::OneOutcome`], [`CannotEstimate::NoWeight`].
pub fn weighted_auc(forecasts: &[Forecast]) -> Result<f64, CannotEstimate> {
    area(forecasts, |f| f.arr)
}

fn area(forecasts: &[Forecast], weight: impl Fn(&Forecast) -> f64) -> Result<f64, CannotEstimate> {
    let events = forecasts.iter().filter(|f| f.event).count();
    if events == 0 {
        return Err(CannotEstimate::OneOutcome("events"));
    }
    if events == forecasts.len() {
        return Err(CannotEstimate::OneOutcome("rows without an event"));
    }
    let (mut above, mut pairs, mut others) = (0.0, 0.0, 0.0);
    let mut seen = 0.0;
    for group in tied(forecasts) {
        let of = |event: bool| group.iter().filter(|f| f.event == event).map(&weight).sum::<f64>();
        let (hits, misses) = (of(true), of(false));
        // Every non-event of a lower group is beaten by the events seen so far; those of this group by half of its own.
        above += misses * (seen + 0.5 * hits);
        seen += hits;
        others += misses;
    }
    pairs += seen * others;
    if pairs > 0.0 {
        Ok(above / pairs)
    } else {
        Err(CannotEstimate::NoWeight)
    }
}

/// Mean negative log likelihood, natural logarithm.
///
/// # Errors
/// [`CannotEstimate::NoRows`].
pub fn log_loss(forecasts: &[Forecast]) -> Result<f64, CannotEstimate> {
    mean(forecasts, |f| {
        let p = f.probability.clamp(EDGE, 1.0 - EDGE);
        -libm::log(if f.event { p } else { 1.0 - p })
    })
}

/// Mean squared error of the probability (Brier 1950).
///
/// # Errors
/// [`CannotEstimate::NoRows`].
pub fn brier(forecasts: &[Forecast]) -> Result<f64, CannotEstimate> {
    mean(forecasts, |f| {
        (f.probability - outcome(f)) * (f.probability - outcome(f))
    })
}

/// Expected calibration error over [`BINS`] bins of equal count: the mean distance between what was forecast and what
/// came, bins weighted by their rows. Equal forecasts stay in one bin.
///
/// # Errors
/// [`CannotEstimate::NoRows`].
pub fn calibration_error(forecasts: &[Forecast]) -> Result<f64, CannotEstimate> {
    if forecasts.is_empty() {
        return Err(CannotEstimate::NoRows);
    }
    let n = forecasts.len();
    let mut bins = [(0.0, 0.0); BINS];
    let mut before = 0;
    for group in tied(forecasts) {
        // The middle of the group says where it belongs.
        let bin = ((2 * before + group.len()) * BINS / (2 * n)).min(BINS - 1);
        for forecast in &group {
            bins[bin].0 += forecast.probability;
            bins[bin].1 += outcome(forecast);
        }
        before += group.len();
    }
    Ok(bins.iter().map(|(said, came)| (said - came).abs()).sum::<f64>() / n as f64)
}

/// Share of events among the `k` highest forecasts. Where the k-th is tied, the group counts in proportion.
///
/// # Errors
/// [`CannotEstimate::NoRows`], or [`CannotEstimate::OutOfRange`] unless 0 < k <= rows.
pub fn precision_at(forecasts: &[Forecast], k: usize) -> Result<f64, CannotEstimate> {
    if forecasts.is_empty() {
        return Err(CannotEstimate::NoRows);
    }
    if k == 0 || k > forecasts.len() {
        return Err(CannotEstimate::OutOfRange("k"));
    }
    let (mut left, mut hits) = (k as f64, 0.0);
    for group in tied(forecasts) {
        let taken = left.min(group.len() as f64);
        hits += base_rate(&group)? * taken;
        left -= taken;
        if left <= 0.0 {
            break;
        }
    }
    Ok(hits / k as f64)
}

/// Events among the highest tenth of forecasts, relative to the share of events in all.
///
/// # Errors
/// [`CannotEstimate::NoRows`], [`CannotEstimate::OneOutcome`].
pub fn decile_lift(forecasts: &[Forecast]) -> Result<f64, CannotEstimate> {
    let all = base_rate(forecasts)?;
    if all <= 0.0 {
        return Err(CannotEstimate::OneOutcome("events"));
    }
    Ok(precision_at(forecasts, forecasts.len().div_ceil(10))? / all)
}
