use perennial_core::draw::Stream;
use perennial_core::effect::{Trial, shift_at_equal_risk};
use perennial_core::score::sigmoid;

use crate::simulate::{SimulationOptions, simulate};

/// Renewals of a simulated tenant, each with an action drawn at an even chance and its outcome drawn anew.
fn planted(seed: u64, shift: f64) -> Vec<Trial> {
    let options = SimulationOptions {
        accounts: 1_200,
        ..SimulationOptions::new(seed)
    };
    let draws = &mut Stream::new(seed, &["effects of a simulated tenant"]);
    let tenant = simulate(&options);
    let renewals = tenant
        .accounts
        .iter()
        .flat_map(|a| a.renewals.iter().map(move |r| (a.id.clone(), r.probability)));
    renewals
        .map(|(account, p)| {
            let log_odds = libm::log(p / (1.0 - p));
            let executed = draws.fraction() < 0.5;
            let lost = sigmoid(log_odds - if executed { shift } else { 0.0 });
            Trial {
                account,
                executed,
                chance: 0.5,
                renewed: draws.fraction() >= lost,
                log_odds,
            }
        })
        .collect()
}

#[test]
fn the_intervals_cover_the_effect_that_was_planted_in_simulated_tenants() {
    let found: Vec<_> = (1..=10)
        .map(|seed| shift_at_equal_risk(&planted(seed, 0.6)).unwrap().observed)
        .collect();
    let covered = found.iter().filter(|o| (o.shift - 0.6).abs() <= 1.96 * o.se).count();
    // 9.5 of 10 expected; below 8 has a chance of about .01, and the seeds are fixed.
    assert!(covered >= 8, "{covered}: {found:?}");
    // Together they tell it from nothing, so that an estimator that always says 0 would fail.
    let weight: f64 = found.iter().map(|o| 1.0 / (o.se * o.se)).sum();
    let mean = found.iter().map(|o| o.shift / (o.se * o.se)).sum::<f64>() / weight;
    assert!((mean - 0.6).abs() < 3.0 / weight.sqrt(), "{mean} {}", weight.sqrt());
    assert!(mean > 5.0 / weight.sqrt());
}
