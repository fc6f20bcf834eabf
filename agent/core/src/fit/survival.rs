//! How long customers stay: Kaplan-Meier, log-rank, and the hazard in discrete time.

use super::{CannotEstimate, Floor, Logit, Table, maximum_likelihood};

/// A customer's time under observation, in whole periods from 1 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spell {
    /// Last period in which the customer was seen.
    pub periods: u32,
    /// Left in that period; otherwise the observation ended there.
    pub event: bool,
}

/// Survival after every period with an event.
#[derive(Debug, Clone, PartialEq)]
pub struct KaplanMeier {
    steps: Vec<(u32, f64)>,
    last: u32,
    /// Customers.
    pub rows: usize,
    /// Events among them.
    pub events: usize,
}

impl KaplanMeier {
    /// Share that stays longer than `period`.
    ///
    /// # Errors
    /// [`CannotEstimate::NotObserved`] after the longest observation.
    pub fn at(&self, period: u32) -> Result<f64, CannotEstimate> {
        if period > self.last {
            return Err(CannotEstimate::NotObserved("nobody was observed for that long"));
        }
        Ok(self
            .steps
            .iter()
            .take_while(|s| s.0 <= period)
            .last()
            .map_or(1.0, |s| s.1))
    }

    /// The first period after which no more than half stay.
    ///
    /// # Errors
    /// [`CannotEstimate::NotObserved`] where more than half stay to the end.
    pub fn median(&self) -> Result<u32, CannotEstimate> {
        self.steps
            .iter()
            .find(|s| s.1 <= 0.5)
            .map(|s| s.0)
            .ok_or(CannotEstimate::NotObserved(
                "more than half stay to the end of the observation",
            ))
    }
}

/// Periods with an event: customers at risk in it, and events.
fn risk_sets(spells: &[Spell]) -> std::collections::BTreeMap<u32, (usize, usize)> {
    let mut ends: std::collections::BTreeMap<u32, (usize, usize)> = std::collections::BTreeMap::new();
    for spell in spells {
        let end = ends.entry(spell.periods).or_default();
        end.0 += 1;
        end.1 += usize::from(spell.event);
    }
    let mut at_risk = spells.len();
    for (leaving, _) in ends.values_mut() {
        let gone = *leaving;
        *leaving = at_risk;
        at_risk -= gone;
    }
    ends
}

/// Survival by the product of 1 - events / at risk (Kaplan and Meier 1958). Who is censored in a period was at risk in it.
///
/// # Errors
/// [`CannotEstimate::NoRows`].
pub fn kaplan_meier(spells: &[Spell]) -> Result<KaplanMeier, CannotEstimate> {
    let last = spells.iter().map(|s| s.periods).max().ok_or(CannotEstimate::NoRows)?;
    let mut share = 1.0;
    let mut steps = Vec::new();
    for (period, (at_risk, events)) in risk_sets(spells) {
        if events > 0 {
            share *= 1.0 - events as f64 / at_risk as f64;
            steps.push((period, share));
        }
    }
    Ok(KaplanMeier {
        steps,
        last,
        rows: spells.len(),
        events: spells.iter().filter(|s| s.event).count(),
    })
}

/// Log-rank statistic of two groups, chi-square with one degree of freedom (Mantel 1966).
///
/// # Errors
/// [`CannotEstimate::NoRows`] where a group is empty; [`CannotEstimate::OneOutcome`] without events.
pub fn log_rank(one: &[Spell], other: &[Spell]) -> Result<f64, CannotEstimate> {
    if one.is_empty() || other.is_empty() {
        return Err(CannotEstimate::NoRows);
    }
    let all: Vec<Spell> = one.iter().chain(other).copied().collect();
    let ours = risk_sets(one);
    let (mut excess, mut variance) = (0.0, 0.0);
    for (period, (at_risk, events)) in risk_sets(&all) {
        if events == 0 {
            continue;
        }
        // At risk in a period without an end of our own: those of the next period that has one.
        let n1 = ours.range(period..).next().map_or(0, |(_, set)| set.0) as f64;
        let d1 = ours.get(&period).map_or(0, |set| set.1) as f64;
        let (n, d) = (at_risk as f64, events as f64);
        excess += d1 - d * n1 / n;
        if at_risk > 1 {
            variance += d * (n1 / n) * (1.0 - n1 / n) * (n - d) / (n - 1.0);
        }
    }
    if variance > 0.0 {
        Ok(excess * excess / variance)
    } else {
        Err(CannotEstimate::OneOutcome("events while both groups were at risk"))
    }
}

/// One row for every customer and period: the inputs there, and whether the customer left in it. Only what was known at
/// the beginning of a period belongs into its inputs.
///
/// # Errors
/// [`CannotEstimate::Shape`], [`CannotEstimate::OutOfRange`].
pub fn person_periods(
    spells: &[Spell],
    inputs: usize,
    mut x: impl FnMut(usize, u32, &mut Vec<f64>),
) -> Result<Table, CannotEstimate> {
    let mut table = Table::new(inputs);
    let mut row = Vec::with_capacity(inputs);
    for (customer, spell) in spells.iter().enumerate() {
        for period in 1..=spell.periods {
            row.clear();
            x(customer, period, &mut row);
            table.push(&row, spell.event && period == spell.periods)?;
        }
    }
    Ok(table)
}

/// The hazard in discrete time: logit of the probability to leave in a period, given that one stayed until then (Cox 1972,
/// Allison 1982).
#[derive(Debug, Clone, PartialEq)]
pub struct Hazard {
    /// Fitted on person-periods.
    pub logit: Logit,
}

impl Hazard {
    /// Maximum likelihood on a table of [`person_periods`]; with a prior, fit a [`Logit`] and wrap it.
    ///
    /// # Errors
    /// As [`maximum_likelihood`].
    pub fn fit(table: &Table, floor: Floor) -> Result<Hazard, CannotEstimate> {
        maximum_likelihood(table, floor).map(|logit| Hazard { logit })
    }

    /// Probability to stay through all the periods whose inputs are given.
    ///
    /// # Errors
    /// [`CannotEstimate::Shape`].
    pub fn stays<'a>(&self, periods: impl IntoIterator<Item = &'a [f64]>) -> Result<f64, CannotEstimate> {
        let hazards = periods
            .into_iter()
            .map(|x| self.logit.probability(x))
            .collect::<Result<Vec<f64>, CannotEstimate>>()?;
        Ok(survival(&hazards))
    }
}

/// S(H): the product of 1 - hazard over the periods. The probability to leave is 1 - S.
#[must_use]
pub fn survival(hazards: &[f64]) -> f64 {
    hazards.iter().map(|h| 1.0 - h).product()
}
