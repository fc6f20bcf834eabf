//! Effects of actions: a conservative normal prior for each playbook, shrunk towards what randomised outcomes show.
//!
//! An effect is the shift of the log odds of renewing that an action brings. A belief about it is a normal
//! distribution; evidence comes only from the randomised log of decisions, where the chance of each action is known.
//! An action is taken only when the belief says with at least the policy's `act_from` that the shift is above zero, so
//! that customers who are better left alone are left alone.
//!
//! Not here: effects by account. A per-account estimate has to beat these on held-out randomised data first.

mod trial;

use std::collections::BTreeMap;

pub use trial::{ARM_MIN, ArmCount, EVENTS_MIN, Estimated, Trial, arms, shift_at_equal_risk};

/// Why an effect cannot be estimated.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EffectError {
    /// A spread that is no positive number.
    #[error("cannot estimate: the spread {0} is not a positive number")]
    Spread(f64),
    /// A value that is no number.
    #[error("cannot estimate: {0} is not a finite number")]
    NotFinite(f64),
    /// Nobody got the action, or everybody did.
    #[error("cannot estimate: {treated} rows with the action and {untreated} without; both are needed")]
    OneArm {
        /// Rows in which it was executed.
        treated: usize,
        /// Rows in which it was not.
        untreated: usize,
    },
    /// In one arm all stayed or all left, so that its log odds are infinite.
    #[error("cannot estimate: separation, {arm} the action all outcomes are the same")]
    Separation {
        /// `with` or `without`.
        arm: &'static str,
    },
    /// A row that says it was certain either way tells nothing about the other way.
    #[error("cannot estimate: the propensity {0} is not between 0 and 1")]
    Propensity(f64),
    /// Too few rows in an arm.
    #[error("cannot estimate: {treated} choices with the action and {untreated} without; {least} of each are needed")]
    FewRows {
        /// Rows in which it was executed.
        treated: usize,
        /// Rows in which it was not.
        untreated: usize,
        /// What each arm needs.
        least: usize,
    },
    /// Too few of one outcome in an arm.
    #[error("cannot estimate: {arm} the action {lost} were lost and {renewed} renewed; {least} of each are needed")]
    FewEvents {
        /// `with` or `without`.
        arm: &'static str,
        /// Rows of accounts that did not renew.
        lost: usize,
        /// Rows of accounts that did.
        renewed: usize,
        /// What is needed of each.
        least: usize,
    },
    /// The weights count for too few rows, or one for too much.
    #[error(
        "cannot estimate: too little overlap, the choices count for {ess:.1} and the largest weight is {max:.1} (mean {mean:.2})"
    )]
    Overlap {
        /// Effective sample size.
        ess: f64,
        /// Largest weight.
        max: f64,
        /// Mean weight.
        mean: f64,
    },
    /// The fit does not come to an end.
    #[error("cannot estimate: the fit does not converge")]
    NotConverged,
    /// Too few groups for their spread to be told from noise.
    #[error("cannot estimate: {0} groups; shrinkage needs at least 4")]
    TooFewGroups(usize),
    /// All groups have the same value.
    #[error("cannot estimate: all groups have the same value")]
    NoSpread,
}

/// A normal belief about a shift of the log odds of renewing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Belief {
    mean: f64,
    sd: f64,
}

/// What randomised outcomes show: an estimate of the shift with its standard error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observed {
    /// Estimated shift of the log odds.
    pub shift: f64,
    /// Its standard error.
    pub se: f64,
}

fn finite(value: f64) -> Result<f64, EffectError> {
    if value.is_finite() {
        Ok(value)
    } else {
        Err(EffectError::NotFinite(value))
    }
}

fn spread(value: f64) -> Result<f64, EffectError> {
    if value.is_finite() && value > 0.0 {
        Ok(value)
    } else {
        Err(EffectError::Spread(value))
    }
}

impl Belief {
    /// A belief with a mean and a standard deviation above zero.
    ///
    /// # Errors
    /// When either is no such number.
    pub fn new(mean: f64, sd: f64) -> Result<Belief, EffectError> {
        Ok(Belief {
            mean: finite(mean)?,
            sd: spread(sd)?,
        })
    }

    /// Mean of the shift.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// Standard deviation of the shift.
    #[must_use]
    pub fn sd(&self) -> f64 {
        self.sd
    }

    /// The belief after an observation: normal with known variance, conjugate (Gelman and others, Bayesian Data
    /// Analysis, 2.5). Mean `(m0/s0² + d/se²) / (1/s0² + 1/se²)`, variance `1 / (1/s0² + 1/se²)`.
    ///
    /// # Errors
    /// When the observation has no standard error above zero.
    pub fn updated(&self, seen: Observed) -> Result<Belief, EffectError> {
        let (d, se) = (finite(seen.shift)?, spread(seen.se)?);
        let (before, new) = (1.0 / (self.sd * self.sd), 1.0 / (se * se));
        Belief::new(
            (self.mean * before + d * new) / (before + new),
            libm::sqrt(1.0 / (before + new)),
        )
    }

    /// P(shift > 0).
    #[must_use]
    pub fn chance_of_good(&self) -> f64 {
        chance_above_zero(self.mean, self.sd)
    }

    /// Whether the belief is sure enough to act: P(shift > 0) is at least `act_from`.
    #[must_use]
    pub fn may_act(&self, act_from: f64) -> bool {
        self.chance_of_good() >= act_from
    }
}

/// P(x > 0) for x normal with this mean and this standard deviation above zero.
#[must_use]
pub fn chance_above_zero(mean: f64, sd: f64) -> f64 {
    0.5 * libm::erfc(-mean / sd / std::f64::consts::SQRT_2)
}

/// Beliefs about one action: over all segments, and in each.
#[derive(Debug, Clone, PartialEq)]
pub struct Segmented {
    overall: Belief,
    tau: f64,
    segments: BTreeMap<String, Belief>,
}

/// Beliefs by segment: `δ_seg ~ N(δ, tau²)`, `δ ~ N(prior)`, and each observation normal around its segment's shift
/// (the normal hierarchical model of Lindley and Smith 1972, with `tau` given by policy). A segment borrows from all
/// others, the more the less it has seen itself.
///
/// # Errors
/// When `tau` or a standard error is not above zero.
pub fn by_segment(prior: Belief, tau: f64, seen: &BTreeMap<String, Observed>) -> Result<Segmented, EffectError> {
    let tau2 = spread(tau)? * tau;
    let mut overall = prior;
    for observed in seen.values() {
        let se = libm::sqrt(tau2 + spread(observed.se)? * observed.se);
        overall = overall.updated(Observed {
            shift: observed.shift,
            se,
        })?;
    }
    let mut segments = BTreeMap::new();
    for (name, observed) in seen {
        let se2 = observed.se * observed.se;
        // Given the overall shift the segment lies between it and its own estimate; the overall shift is then
        // averaged over what is believed of it.
        let pull = se2 / (se2 + tau2);
        let mean = pull * overall.mean + (1.0 - pull) * observed.shift;
        let variance = pull * tau2 + pull * pull * overall.sd * overall.sd;
        segments.insert(name.clone(), Belief::new(mean, libm::sqrt(variance))?);
    }
    Ok(Segmented { overall, tau, segments })
}

impl Segmented {
    /// The belief over all segments.
    #[must_use]
    pub fn overall(&self) -> Belief {
        self.overall
    }

    /// The belief in a segment. One that nothing was seen of has the overall mean and the wider spread
    /// `sqrt(sd² + tau²)`.
    #[must_use]
    pub fn of(&self, segment: &str) -> Belief {
        self.segments.get(segment).copied().unwrap_or(Belief {
            mean: self.overall.mean,
            sd: libm::sqrt(self.overall.sd * self.overall.sd + self.tau * self.tau),
        })
    }
}

/// One row of the randomised log with what became of the account.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// The action was executed.
    pub executed: bool,
    /// The chance, before the draw, that it would be executed; strictly between 0 and 1.
    pub propensity: f64,
    /// The account renewed.
    pub renewed: bool,
}

/// The shift of the log odds that a randomised log shows: the difference of the logits of the shares renewed with and
/// without the action, each row weighted by the inverse of the chance of what was drawn (Hájek 1971). The standard
/// error is the linearised one, by the delta method.
///
/// # Errors
/// When an arm is missing, a propensity is not between 0 and 1, or an arm has only one outcome.
pub fn observed_shift(rows: &[Outcome]) -> Result<Observed, EffectError> {
    if let Some(row) = rows.iter().find(|r| !(r.propensity > 0.0 && r.propensity < 1.0)) {
        return Err(EffectError::Propensity(row.propensity));
    }
    let treated = rows.iter().filter(|r| r.executed).count();
    let untreated = rows.len() - treated;
    if treated == 0 || untreated == 0 {
        return Err(EffectError::OneArm { treated, untreated });
    }
    let (with, with_variance) = arm_logit(rows, true)?;
    let (without, without_variance) = arm_logit(rows, false)?;
    Ok(Observed {
        shift: with - without,
        se: libm::sqrt(with_variance + without_variance),
    })
}

/// Logit of the weighted share renewed in one arm, and the variance of that logit.
fn arm_logit(rows: &[Outcome], executed: bool) -> Result<(f64, f64), EffectError> {
    let weight = |r: &Outcome| 1.0 / if executed { r.propensity } else { 1.0 - r.propensity };
    let arm = || rows.iter().filter(|r| r.executed == executed);
    let total: f64 = arm().map(weight).sum();
    let share = arm().filter(|r| r.renewed).map(weight).sum::<f64>() / total;
    if arm().all(|r| r.renewed) || arm().all(|r| !r.renewed) {
        let arm = if executed { "with" } else { "without" };
        return Err(EffectError::Separation { arm });
    }
    let spread: f64 = arm()
        .map(|r| {
            let off = weight(r) * (f64::from(u8::from(r.renewed)) - share);
            off * off
        })
        .sum();
    let slope = share * (1.0 - share);
    Ok((
        libm::log(share / (1.0 - share)),
        spread / (total * total) / (slope * slope),
    ))
}

/// Values of groups drawn towards their mean.
#[derive(Debug, Clone, PartialEq)]
pub struct Shrunk {
    /// Mean of all groups.
    pub mean: f64,
    /// Share of its distance from the mean that a group keeps, 0 to 1.
    pub keep: f64,
    /// The values, in the order given.
    pub values: Vec<f64>,
}

/// Shrinks group values of one common variance towards their mean (Efron and Morris 1975, positive part):
/// `keep = 1 - (k - 3) variance / Σ(y - mean)²`, never below 0.
///
/// # Errors
/// With fewer than 4 groups, a variance that is not above zero, or groups that do not differ.
pub fn efron_morris(values: &[f64], variance: f64) -> Result<Shrunk, EffectError> {
    spread(variance)?;
    shrink(values, |_| variance)
}

/// The same for shares of groups that each counted `trials` times: the variance is `mean (1 - mean) / trials`.
///
/// # Errors
/// As [`efron_morris`]; also when the mean share is 0 or 1, or `trials` is 0.
pub fn efron_morris_shares(shares: &[f64], trials: u32) -> Result<Shrunk, EffectError> {
    let trials = spread(f64::from(trials))?;
    shrink(shares, |mean| mean * (1.0 - mean) / trials)
}

fn shrink(values: &[f64], variance: impl Fn(f64) -> f64) -> Result<Shrunk, EffectError> {
    if values.len() < 4 {
        return Err(EffectError::TooFewGroups(values.len()));
    }
    for value in values {
        finite(*value)?;
    }
    let groups = values.len() as f64;
    let mean = values.iter().sum::<f64>() / groups;
    let squares: f64 = values.iter().map(|y| (y - mean) * (y - mean)).sum();
    if squares <= 0.0 {
        return Err(EffectError::NoSpread);
    }
    let keep = (1.0 - (groups - 3.0) * spread(variance(mean))? / squares).max(0.0);
    Ok(Shrunk {
        mean,
        keep,
        values: values.iter().map(|y| mean + keep * (y - mean)).collect(),
    })
}

#[cfg(test)]
mod tests;
