//! The back-test of the renewal risk: what would have been said before renewals that have been decided since.
//!
//! Promises: a row holds what was known at its landmark and nothing later, with the end of the term frozen there; only
//! renewals with full follow-up count; training outcomes were known before the first landmark that is tested, and no
//! account is forecast by a model that was fitted on it.
//!
//! Deliberately not here: reading accounts (the engine pages through them), and changing the policy.

mod coldstart;
mod evaluate;
mod fitted;
mod landmark;
mod leak;

#[cfg(test)]
mod tests;

pub use coldstart::{
    COLDSTART_DEFINITION, ColdstartModel, ColdstartReport, ColdstartSize, ColdstartTerms, DrawMean, Labelled, Learn,
    Rival, SIZES, TimeOrder, coldstart, coldstart_against, labelled,
};
pub use evaluate::{Curve, DEFINITION, Measured, Model, Report, Terms, evaluate};
pub use fitted::{FittedInput, FittedRisk, FittedWeight, fitted};
pub use landmark::{Design, Landmark, LeadRow, NextOutcome, NoOutcome, landmarks, next_outcome};
pub use leak::{Finding, LeakCheck};
