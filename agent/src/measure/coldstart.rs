//! Labels for the cold-start curve from a simulated tenant, where the true probabilities are known.
//!
//! Its facts pass through the risk policy as the facts of a real account do; what the tenant does not have, such as a sponsor,
//! is not known and counts as average.

use perennial_core::backtest::Labelled;
use perennial_core::feature::{Feature, Features, State, Value};
use perennial_core::number::Micro;
use perennial_core::policy::Risk;
use perennial_core::score::risk_input;

use crate::simulate::{Renewal, Segment, Simulation, SimulationOptions};

/// Every renewal decision of a simulated tenant as the risk policy sees it.
#[must_use]
pub fn simulated(simulation: &Simulation, options: &SimulationOptions, risk: &Risk) -> Vec<Labelled> {
    let mut rows = Vec::new();
    for account in &simulation.accounts {
        for renewal in &account.renewals {
            let features = features(account.segment, renewal);
            let input = |input: &perennial_core::policy::RiskInput| {
                risk_input(&features, input).map_or(0.0, |x| (x - input.mean) / input.sd)
            };
            rows.push(Labelled {
                account: account.id.clone(),
                at: options.monday(renewal.landmark),
                known_by: options.monday(renewal.week),
                inputs: risk.inputs.iter().map(input).collect(),
                event: renewal.churned,
                truth: Some(renewal.probability),
            });
        }
    }
    rows
}

fn features(segment: Segment, renewal: &Renewal) -> Features {
    let facts = &renewal.facts;
    let tier = match segment {
        Segment::Smb => "low_touch",
        Segment::Mm => "mid_touch",
        Segment::Ent => "strategic",
    };
    let number = |value: f64| Value::Number(Micro::from_f64(value));
    let known = [
        ("seat_share", number(facts.seat_share)),
        ("activity_log_ratio", number(facts.activity_log_ratio)),
        ("champion_absent", number(facts.champion_absent)),
        ("days_late", number(facts.days_late)),
        ("ticket_pressure", number(facts.ticket_pressure)),
        ("feature_breadth", number(facts.feature_breadth)),
        ("tenure_days", number(facts.tenure_days)),
        ("auto_renew", Value::Flag(facts.auto_renew)),
        ("tier", Value::Text(tier.to_owned())),
    ];
    let feature = |value: Value| Feature {
        evidence: String::new(),
        state: State::Known(value),
        as_of: None,
        records: Vec::new(),
        records_total: 0,
        stale: None,
    };
    Features(
        known
            .into_iter()
            .map(|(name, value)| (name.to_owned(), feature(value)))
            .collect(),
    )
}

#[cfg(test)]
mod tests;
