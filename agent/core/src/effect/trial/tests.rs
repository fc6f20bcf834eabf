use super::*;
use crate::draw::Stream;
use crate::score::sigmoid;

/// Accounts with risks of their own, an action drawn at two chances, and a shift that is known.
fn planted(seed: u64, accounts: usize, shift: f64) -> Vec<Trial> {
    let draws = &mut Stream::new(seed, &["trial"]);
    (0..accounts)
        .map(|i| {
            let log_odds = -1.0 + 1.5 * draws.normal();
            // The riskier are treated more often: without weights and risk this would look like harm.
            let treat = if log_odds > -1.0 { 0.7 } else { 0.3 };
            let executed = draws.fraction() < treat;
            let lost = sigmoid(log_odds - if executed { shift } else { 0.0 });
            Trial {
                account: format!("{i}"),
                executed,
                chance: if executed { treat } else { 1.0 - treat },
                renewed: draws.fraction() >= lost,
                log_odds,
            }
        })
        .collect()
}

#[test]
fn the_interval_covers_the_planted_shift_as_often_as_it_says() {
    for shift in [0.0, 0.5] {
        let covered = (0..100).filter(|seed| {
            let found = shift_at_equal_risk(&planted(*seed, 1_500, shift)).unwrap().observed;
            (found.shift - shift).abs() <= 1.96 * found.se
        });
        let covered = covered.count();
        // 95 of 100 expected; below 88 has a chance under .002.
        assert!((88..=100).contains(&covered), "{shift}: {covered}");
    }
}

#[test]
fn at_equal_risk_the_shift_is_larger_than_the_difference_of_the_shares() {
    let rows = planted(1, 20_000, 1.0);
    let marginal: Vec<super::super::Outcome> = rows
        .iter()
        .map(|r| super::super::Outcome {
            executed: r.executed,
            propensity: if r.executed { r.chance } else { 1.0 - r.chance },
            renewed: r.renewed,
        })
        .collect();
    let of_shares = super::super::observed_shift(&marginal).unwrap();
    let found = shift_at_equal_risk(&rows).unwrap().observed;
    assert!((found.shift - 1.0).abs() < 3.0 * found.se, "{found:?}");
    assert!(of_shares.shift + 3.0 * of_shares.se < 1.0, "{of_shares:?}");
}

#[test]
fn rows_of_one_account_count_as_one_cluster() {
    let once = planted(3, 800, 0.5);
    let twice: Vec<Trial> = once.iter().flat_map(|r| [r.clone(), r.clone()]).collect();
    let (a, b) = (
        shift_at_equal_risk(&once).unwrap(),
        shift_at_equal_risk(&twice).unwrap(),
    );
    assert!((a.observed.shift - b.observed.shift).abs() < 1e-8);
    assert!(
        (a.observed.se - b.observed.se).abs() < 1e-8,
        "writing a row twice must not make it surer"
    );
}

#[test]
fn too_few_rows_events_or_overlap_are_refused_with_the_figures() {
    let rows = planted(1, 2_000, 0.3);
    assert!(matches!(
        shift_at_equal_risk(&[]),
        Err(EffectError::FewRows {
            treated: 0,
            untreated: 0,
            ..
        })
    ));
    assert!(matches!(
        shift_at_equal_risk(&rows[..60]),
        Err(EffectError::FewRows { .. })
    ));
    let kept: Vec<Trial> = rows.iter().filter(|r| r.renewed || !r.executed).cloned().collect();
    assert!(matches!(
        shift_at_equal_risk(&kept),
        Err(EffectError::FewEvents {
            arm: "with",
            lost: 0,
            ..
        })
    ));
    let mut heavy = rows.clone();
    heavy[0].chance = 1e-4;
    assert!(matches!(shift_at_equal_risk(&heavy), Err(EffectError::Overlap { .. })));
    let mut certain = rows;
    certain[0].chance = 1.0;
    assert!(matches!(shift_at_equal_risk(&certain), Err(EffectError::Propensity(_))));
}

#[test]
fn where_all_risks_are_alike_the_shift_is_the_difference_of_log_odds() {
    let row = |i: usize, executed: bool, renewed: bool| Trial {
        account: format!("{i}"),
        executed,
        chance: 0.5,
        renewed,
        log_odds: -1.0,
    };
    // 80 of 100 with the action, 60 of 100 without.
    let rows: Vec<Trial> = (0..200)
        .map(|i| row(i, i < 100, i % 100 < if i < 100 { 80 } else { 60 }))
        .collect();
    let found = shift_at_equal_risk(&rows).unwrap().observed;
    let by_hand = libm::log(0.8 / 0.2) - libm::log(0.6 / 0.4);
    assert!((found.shift - by_hand).abs() < 1e-9, "{found:?} {by_hand}");
    // The delta method, with the correction for 200 clusters.
    let se = ((1.0 / 80.0 + 1.0 / 20.0 + 1.0 / 60.0 + 1.0 / 40.0) * 200.0 / 199.0_f64).sqrt();
    assert!((found.se - se).abs() < 1e-9, "{found:?} {se}");
}
