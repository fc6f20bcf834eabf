//! Fitting on outcomes: logistic regression with a prior mean, survival in discrete time, calibration, and the measures
//! by which a probability is judged.
//!
//! Promises: plain functions of their arguments, the same on every machine; a seed where draws are needed; a result that
//! cannot be had is a [`CannotEstimate`] with its reason, never zero and never NaN. Ties are treated as a group.
//!
//! Deliberately not here: where rows come from (see `backtest`), and models with interactions.

mod calibrate;
mod draws;
mod explain;
mod linear;
mod logit;
mod metric;
mod split;
mod survival;
mod table;

pub use calibrate::{Calibration, Calibrator, ISOTONIC_FROM, calibration, pool_adjacent_violators};
pub use draws::{Interval, bootstrap, paired_bootstrap};
pub use explain::{SHAPLEY_TERMS, log_odds_parts, shapley};
pub use logit::{Logit, Prior, TAUS, evidences, fit, fit_by_evidence, intercept_for, maximum_likelihood};
pub use metric::{
    BINS, Forecast, auc, base_rate, brier, calibration_error, constant, decile_lift, log_loss, precision_at,
    weighted_auc,
};
pub use split::{fnv1a64, fold};
pub use survival::{Hazard, KaplanMeier, Spell, kaplan_meier, log_rank, person_periods, survival};
pub use table::{Floor, Table};

#[cfg(test)]
mod tests;

/// Why there is no estimate.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CannotEstimate {
    /// Fewer outcomes than the data floor asks for.
    #[error(
        "insufficient history: {events} of {rows} outcomes are events; {events_min} events and {events_min} others are needed"
    )]
    InsufficientHistory {
        /// Outcomes there are.
        rows: usize,
        /// Events among them.
        events: usize,
        /// Events, and others, that the floor asks for.
        events_min: usize,
    },
    /// There is nothing to estimate from.
    #[error("there are no rows")]
    NoRows,
    /// All outcomes are alike.
    #[error("all outcomes are the same: there are no {0}")]
    OneOutcome(&'static str),
    /// The inputs separate the outcomes, or depend on each other: there is no finite, single best estimate.
    #[error("the estimate does not converge: inputs separate the outcomes or depend on each other")]
    NotConverged,
    /// A row or a parameter has the wrong number of values.
    #[error("{given} values where {wanted} belong")]
    Shape {
        /// How many were given.
        given: usize,
        /// How many belong there.
        wanted: usize,
    },
    /// A number is infinite, not a number, or outside its range.
    #[error("`{0}` is out of range")]
    OutOfRange(&'static str),
    /// An exact explanation would take too long.
    #[error("{given} terms are too many for an exact Shapley value, at most {limit}")]
    TooManyTerms {
        /// How many were given.
        given: usize,
        /// How many there may be.
        limit: usize,
    },
    /// Higher forecasts go with fewer events, so that calibration would turn the order around.
    #[error("events do not become more frequent as the forecast rises")]
    NotIncreasing,
    /// The weights add up to nothing.
    #[error("the weights add up to zero")]
    NoWeight,
    /// The follow-up is too short for the question.
    #[error("{0}")]
    NotObserved(&'static str),
}
