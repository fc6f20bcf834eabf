use super::*;
use crate::draw::Stream;

#[track_caller]
fn near(found: f64, expected: f64, tolerance: f64) {
    assert!((found - expected).abs() <= tolerance, "{found} is not {expected}");
}

fn reference() -> Vec<Logged> {
    let p = [0.5, 0.25, 0.25, 0.5, 0.1, 0.9];
    let target = [0.25, 0.5, 0.25, 0.5, 0.4, 0.3];
    let reward = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0];
    let q = [0.6, 0.3, 0.5, 0.7, 0.2, 0.6];
    let v = [0.5, 0.4, 0.45, 0.55, 0.3, 0.5];
    (0..6)
        .map(|i| Logged {
            propensity: p[i],
            target: target[i],
            reward: reward[i],
            predicted: q[i],
            value: v[i],
        })
        .collect()
}

#[test]
fn the_estimators_equal_the_reference_figures() {
    let found = estimators(&reference()).unwrap();
    near(found.ips.mean, 0.472_222, 5e-7);
    near(found.snips.mean, 0.320_755, 5e-7);
    near(found.dm.mean, 0.45, 5e-7);
    near(found.dr.mean, 0.405_556, 5e-7);
    near(found.ess, 3.489_441, 5e-7);
}

#[test]
fn rows_that_count_for_too_few_are_refused() {
    let refused = evaluate(&reference()).unwrap_err();
    assert!(
        matches!(
            refused,
            Refusal::Few {
                rows: 6,
                least: 100.0,
                ..
            }
        ),
        "{refused:?}"
    );
}

/// A log in which action 1 is taken with `chance` and succeeds with .6, the other with .4; the policy always takes 1.
fn log(rows: usize, chance: f64, logged: f64, seed: u64) -> Vec<Logged> {
    let mut draws = Stream::new(seed, &["log"]);
    (0..rows)
        .map(|_| {
            let taken = draws.fraction() < chance;
            let success = draws.fraction() < if taken { 0.6 } else { 0.4 };
            Logged {
                propensity: if taken { logged } else { 1.0 - logged },
                target: f64::from(u8::from(taken)),
                reward: f64::from(u8::from(success)),
                predicted: if taken { 0.5 } else { 0.3 },
                value: 0.5,
            }
        })
        .collect()
}

#[test]
fn the_estimators_find_the_truth_and_their_errors_cover_it() {
    let (mut dr, mut ips) = (0, 0);
    for seed in 0..200 {
        let found = evaluate(&log(2_000, 0.3, 0.3, seed)).unwrap();
        dr += u32::from((found.dr.mean - 0.6).abs() < 1.96 * found.dr.se);
        ips += u32::from((found.ips.mean - 0.6).abs() < 1.96 * found.ips.se);
        // The model is wrong by .1 and the direct method believes it; the doubly robust one does not.
        near(found.dm.mean, 0.5, 1e-9);
        assert!(found.dr.se < found.ips.se);
    }
    assert!(
        (182..=198).contains(&dr) && (182..=198).contains(&ips),
        "{dr} {ips} of 200"
    );
}

#[test]
fn propensities_that_are_not_those_of_the_log_are_refused() {
    let refused = evaluate(&log(2_000, 0.3, 0.2, 1)).unwrap_err();
    assert!(
        matches!(refused, Refusal::Propensities { away, .. } if away > 3.0),
        "{refused:?}"
    );
}

#[test]
fn one_row_that_carries_too_much_is_refused() {
    let even = Logged {
        propensity: 0.5,
        target: 0.5,
        reward: 1.0,
        predicted: 0.5,
        value: 0.5,
    };
    let mut rows = vec![even; 20_000];
    rows.push(Logged {
        propensity: 0.01,
        target: 0.6,
        ..even
    });
    let refused = evaluate(&rows).unwrap_err();
    assert!(
        matches!(refused, Refusal::Heavy { max, .. } if max > 59.0),
        "{refused:?}"
    );
}

#[test]
fn the_policy_that_logged_is_its_own_mean() {
    let even = Logged {
        propensity: 0.1,
        target: 0.1,
        reward: 1.0,
        predicted: 0.5,
        value: 0.5,
    };
    let mut rows = vec![even; 300];
    rows.extend(vec![Logged { reward: 0.0, ..even }; 100]);
    let found = evaluate(&rows).unwrap();
    near(found.ips.mean, 0.75, 1e-12);
    near(found.snips.mean, 0.75, 1e-12);
    near(found.ess, 400.0, 1e-6);
}

#[test]
fn rows_without_sense_are_refused_by_number() {
    assert_eq!(evaluate(&[]), Err(Refusal::NoRows));
    let mut rows = reference();
    rows[3].propensity = 0.0;
    assert!(matches!(evaluate(&rows), Err(Refusal::Probability { row: 3, .. })));
    let mut rows = reference();
    rows[2].reward = f64::NAN;
    assert_eq!(evaluate(&rows), Err(Refusal::NotFinite { row: 2 }));
    let rows: Vec<Logged> = reference().into_iter().map(|r| Logged { target: 0.0, ..r }).collect();
    assert_eq!(evaluate(&rows), Err(Refusal::NoOverlap));
}

#[test]
fn a_prediction_has_not_seen_its_own_fold() {
    let rows = [(0, "a", 1.0), (0, "b", 5.0), (1, "a", 3.0), (2, "a", 5.0)];
    let found = cross_fitted_means(&rows);
    assert_eq!(found[0].get(&"a"), Some(&4.0));
    assert_eq!(found[2].get(&"a"), Some(&3.0));
    assert_eq!(found[1].get(&"b"), None, "b occurs in no other fold");
    assert_eq!(found[3].get(&"b"), Some(&5.0));
}

fn trial() -> Vec<Scored> {
    let y = [1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0];
    let score = [0.9, 0.9, 0.6, 0.6, 0.4, 0.3, 0.3, 0.1];
    (0..8)
        .map(|i| Scored {
            score: score[i],
            treated: i % 2 == 0,
            outcome: y[i],
        })
        .collect()
}

#[test]
fn the_raw_qini_equals_the_reference_figures() {
    let found = qini(&trial()).unwrap();
    let expected = [(0, 0.0), (2, 1.0), (4, 1.0), (5, 1.5), (7, 1.0 / 3.0), (8, 1.0)];
    assert_eq!(found.points.len(), expected.len());
    for (point, (k, q)) in found.points.iter().zip(expected) {
        assert_eq!(point.0, k);
        near(point.1, q, 1e-12);
    }
    near(found.area, 6.75, 1e-12);
    near(found.coefficient, 2.75, 1e-12);
}

#[test]
fn ties_are_one_group_in_any_order_and_a_constant_score_gains_nothing() {
    let mut rows = trial();
    rows.reverse();
    assert_eq!(qini(&rows), qini(&trial()));
    let constant: Vec<Scored> = trial().into_iter().map(|r| Scored { score: 0.5, ..r }).collect();
    near(qini(&constant).unwrap().coefficient, 0.0, 1e-12);
}

#[test]
fn a_curve_without_both_arms_is_refused() {
    let treated: Vec<Scored> = trial().into_iter().map(|r| Scored { treated: true, ..r }).collect();
    assert_eq!(qini(&treated), Err(NoQini::OneArm));
    assert_eq!(qini(&[]), Err(NoQini::OneArm));
    let mut rows = trial();
    rows[0].score = f64::NAN;
    assert_eq!(qini(&rows), Err(NoQini::NotFinite));
    // Before the first untreated account the curve is not known, so it does not begin there.
    let late = [(0.9, true), (0.8, true), (0.7, false)].map(|(score, treated)| Scored {
        score,
        treated,
        outcome: 1.0,
    });
    assert_eq!(qini(&late).unwrap().points, [(0, 0.0), (3, 0.0)]);
}
