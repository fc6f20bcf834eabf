//! The curve on simulated tenants, with the policy that is shipped.

use perennial_core::backtest::{ColdstartTerms, coldstart};
use perennial_core::fit::Floor;
use perennial_core::policy::{Content, Policies};

use super::*;
use crate::content::{POLICIES, PROMPTS};
use crate::simulate::simulate;

fn shipped() -> Risk {
    let texts = |files: &[(&str, &str)]| {
        let text = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        files.iter().map(text).collect()
    };
    let content = Content {
        policies: texts(POLICIES),
        prompts: texts(PROMPTS),
    };
    Policies::compile(&content).unwrap().scoring.risk
}

#[test]
fn with_25_to_200_labels_the_prior_mean_beats_the_card_alone_and_the_zero_mean() {
    let risk = shipped();
    let options = SimulationOptions {
        accounts: 1_500,
        ..SimulationOptions::new(1)
    };
    let rows = simulated(&simulate(&options), &options, &risk);
    let terms = ColdstartTerms {
        sizes: vec![25, 50, 100, 200],
        draws: 8,
        seed: 1,
        order: None,
        split: None,
        floor: Floor::default(),
        stated_churn: None,
    };
    let report = coldstart(&rows, &risk, &terms).unwrap();
    let truth = report.truth_log_loss.unwrap().mean;
    for size in &report.sizes {
        for model in &size.models {
            let more = model.log_loss_vs_prior_mean.mean;
            println!("{} {} {:.4} {more:+.4}", size.labels, model.model, model.log_loss.mean);
            assert!(model.log_loss.mean > truth);
            if ["scorecard", "zero_mean"].contains(&model.model) {
                assert!(more > 0.0, "{} labels: {}", size.labels, model.model);
            }
        }
    }
}

#[test]
fn facts_enter_by_the_policy_and_what_is_not_known_counts_as_average() {
    let risk = shipped();
    let options = SimulationOptions {
        accounts: 60,
        ..SimulationOptions::new(3)
    };
    let simulation = simulate(&options);
    let rows = simulated(&simulation, &options, &risk);
    let renewals = simulation.accounts.iter().flat_map(|a| &a.renewals);
    let place = |fact: &str| risk.inputs.iter().position(|i| i.fact == fact).unwrap();
    assert!(rows.len() > 20);
    for (row, renewal) in rows.iter().zip(renewals) {
        let share = (renewal.facts.seat_share - 0.55) / 0.2;
        assert!((row.inputs[place("seat_share")] - share).abs() < 1e-4);
        assert_eq!(row.inputs[place("sponsor_gap")], 0.0);
        assert_eq!((row.event, row.truth), (renewal.churned, Some(renewal.probability)));
    }
}
