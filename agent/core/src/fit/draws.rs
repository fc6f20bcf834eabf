//! Draws from a stored seed, and what the bootstrap (Efron 1979) makes of them.

use crate::draw::Stream;

use super::{CannotEstimate, Forecast, log_loss};

/// An estimate with its percentile interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// From the data itself.
    pub estimate: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Draws that gave a value.
    pub draws: usize,
}

/// Share of draws that must give a value for an interval to be believed.
const DRAWS_GIVEN: f64 = 0.9;

/// Percentile interval of a measure, accounts drawn with replacement. `groups` names the account of every forecast, so
/// that an account's forecasts stay together; `level` is 0.95 for a 95 % interval.
///
/// # Errors
/// The measure's own refusal; [`CannotEstimate::Shape`]; [`CannotEstimate::NotConverged`] when more than a tenth of the
/// draws have no value.
pub fn bootstrap(
    forecasts: &[Forecast],
    groups: &[u64],
    draws: usize,
    seed: u64,
    level: f64,
    measure: impl Fn(&[Forecast]) -> Result<f64, CannotEstimate>,
) -> Result<Interval, CannotEstimate> {
    let estimate = measure(forecasts)?;
    let drawn = resample(forecasts.len(), groups, draws, seed, |rows| {
        let rows: Vec<Forecast> = rows.iter().map(|i| forecasts[*i]).collect();
        measure(&rows).ok()
    })?;
    interval(estimate, drawn, draws, level)
}

/// Percentile interval of a difference in mean log loss, `ours` less `theirs`, on the same draws for both: below 0 is in
/// our favour. The two lists forecast the same outcomes in the same order.
///
/// # Errors
/// As [`bootstrap`].
pub fn paired_bootstrap(
    ours: &[Forecast],
    theirs: &[Forecast],
    groups: &[u64],
    draws: usize,
    seed: u64,
    level: f64,
) -> Result<Interval, CannotEstimate> {
    if ours.len() != theirs.len() {
        return Err(CannotEstimate::Shape {
            given: theirs.len(),
            wanted: ours.len(),
        });
    }
    let estimate = log_loss(ours)? - log_loss(theirs)?;
    let loss = |f: &Forecast| log_loss(std::slice::from_ref(f));
    let differences = ours
        .iter()
        .zip(theirs)
        .map(|(a, b)| Ok(loss(a)? - loss(b)?))
        .collect::<Result<Vec<f64>, CannotEstimate>>()?;
    let drawn = resample(ours.len(), groups, draws, seed, |rows| {
        (!rows.is_empty()).then(|| rows.iter().map(|i| differences[*i]).sum::<f64>() / rows.len() as f64)
    })?;
    interval(estimate, drawn, draws, level)
}

fn resample(
    rows: usize,
    groups: &[u64],
    draws: usize,
    seed: u64,
    measure: impl Fn(&[usize]) -> Option<f64>,
) -> Result<Vec<f64>, CannotEstimate> {
    if groups.len() != rows {
        return Err(CannotEstimate::Shape {
            given: groups.len(),
            wanted: rows,
        });
    }
    let mut members: std::collections::BTreeMap<u64, Vec<usize>> = std::collections::BTreeMap::new();
    for (row, group) in groups.iter().enumerate() {
        members.entry(*group).or_default().push(row);
    }
    let members: Vec<Vec<usize>> = members.into_values().collect();
    let mut stream = Stream::new(seed, &["bootstrap"]);
    let mut values = Vec::with_capacity(draws);
    for _ in 0..draws {
        let mut drawn = Vec::with_capacity(rows);
        for _ in 0..members.len() {
            drawn.extend_from_slice(&members[stream.below(members.len())]);
        }
        values.extend(measure(&drawn));
    }
    Ok(values)
}

fn interval(estimate: f64, mut drawn: Vec<f64>, draws: usize, level: f64) -> Result<Interval, CannotEstimate> {
    if !(level > 0.0 && level < 1.0) {
        return Err(CannotEstimate::OutOfRange("level"));
    }
    if draws == 0 || (drawn.len() as f64) < DRAWS_GIVEN * draws as f64 {
        return Err(CannotEstimate::NotConverged);
    }
    drawn.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let place = libm::round(share * (drawn.len() - 1) as f64) as usize;
        drawn[place.min(drawn.len() - 1)]
    };
    Ok(Interval {
        estimate,
        low: at(0.5 * (1.0 - level)),
        high: at(0.5 * (1.0 + level)),
        draws: drawn.len(),
    })
}
