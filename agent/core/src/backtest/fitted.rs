//! The risk policy fitted to the renewals that have been decided: the policy's own weights are where the fit starts from, and
//! how far it goes from them is chosen by the evidence of the data. The result is a policy again, for a person to take over.

use serde::Serialize;

use super::Landmark;
use crate::fit::{CannotEstimate, Floor, Table, fit_by_evidence};
use crate::policy::Risk;

/// A risk policy with fitted weights. Means and deviations are those of the policy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FittedRisk {
    /// Renewals fitted on.
    pub rows: usize,
    /// Of these churned.
    pub events: usize,
    /// Prior deviation of the weights that the evidence chose: small keeps close to the policy.
    pub tau: Option<f64>,
    /// Log odds with every input at its mean.
    pub intercept: FittedWeight,
    /// Inputs in the order of the policy.
    pub inputs: Vec<FittedInput>,
}

/// One weight.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct FittedWeight {
    /// In the policy.
    pub before: f64,
    /// Posterior mean.
    pub fitted: f64,
    /// Posterior standard deviation.
    pub deviation: f64,
}

/// An input with its weight.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FittedInput {
    /// Feature.
    pub fact: String,
    /// The word that it is compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub equals: Option<String>,
    /// Log odds a standard deviation.
    #[serde(flatten)]
    pub weight: FittedWeight,
}

/// Fits the risk policy to the landmarks at one lead: logistic regression with the policy as prior mean, deviation chosen
/// by Laplace evidence. Rows of which too little was known to give a probability are left out.
///
/// # Errors
/// [`CannotEstimate`], above all when there are fewer outcomes of either kind than `floor`.
pub fn fitted(
    landmarks: &[Landmark],
    lead_weeks: i64,
    risk: &Risk,
    floor: Floor,
) -> Result<FittedRisk, CannotEstimate> {
    let mut table = Table::new(risk.inputs.len());
    for landmark in landmarks {
        let row = landmark
            .rows
            .iter()
            .find(|r| r.lead_weeks == lead_weeks && r.assessable);
        if let Some(row) = row {
            table.push(&row.inputs, landmark.churned)?;
        }
    }
    let mut before = vec![risk.intercept];
    before.extend(risk.inputs.iter().map(|input| input.weight));
    let logit = fit_by_evidence(&table, &before, floor)?;
    let size = before.len();
    let weight = |at: usize| FittedWeight {
        before: before[at],
        fitted: logit.weights[at],
        deviation: libm::sqrt(logit.covariance[at * size + at].max(0.0)),
    };
    Ok(FittedRisk {
        rows: logit.rows,
        events: logit.events,
        tau: logit.tau,
        intercept: weight(0),
        inputs: risk
            .inputs
            .iter()
            .enumerate()
            .map(|(i, input)| FittedInput {
                fact: input.fact.clone(),
                equals: input.equals.clone(),
                weight: weight(i + 1),
            })
            .collect(),
    })
}

impl FittedRisk {
    /// The `[risk]` table of `scoring.toml` with the fitted weights, everything else as in the policy.
    #[must_use]
    pub fn toml(&self, risk: &Risk) -> String {
        let mut text = format!(
            "[risk]\nintercept = {:.4}                # fitted on {} renewals, {} churned; was {}\n",
            self.intercept.fitted, self.rows, self.events, self.intercept.before
        );
        for (input, fitted) in risk.inputs.iter().zip(&self.inputs) {
            text.push_str(&format!("\n[[risk.input]]\nfact = \"{}\"\n", input.fact));
            if let Some(word) = &input.equals {
                text.push_str(&format!("equals = \"{word}\"\n"));
            }
            if let Some(scale) = input.log_scale {
                text.push_str(&format!("log_scale = {scale}\n"));
            }
            if let Some(limit) = input.at_least {
                text.push_str(&format!("at_least = {limit}\n"));
            }
            text.push_str(&format!(
                "mean = {}\nsd = {}\nweight = {:.4}                    # was {}\n",
                input.mean, input.sd, fitted.weight.fitted, fitted.weight.before
            ));
        }
        text
    }
}
