use super::*;

#[track_caller]
fn near(found: f64, expected: f64, tolerance: f64) {
    assert!((found - expected).abs() <= tolerance, "{found} is not {expected}");
}

fn seen(shift: f64, se: f64) -> Observed {
    Observed { shift, se }
}

#[test]
fn a_belief_after_an_observation_equals_the_reference_figures() {
    let belief = Belief::new(0.15, 0.20).unwrap().updated(seen(0.50, 0.25)).unwrap();
    near(belief.mean(), 0.286_585, 5e-7);
    near(belief.sd(), 0.156_174, 5e-7);
    near(belief.chance_of_good(), 0.966_750, 5e-7);
}

#[test]
fn two_observations_are_one_with_their_joint_precision() {
    let prior = Belief::new(0.1, 0.3).unwrap();
    let apart = prior.updated(seen(0.4, 0.2)).unwrap().updated(seen(0.4, 0.2)).unwrap();
    let joint = prior.updated(seen(0.4, 0.2 / libm::sqrt(2.0))).unwrap();
    near(apart.mean(), joint.mean(), 1e-12);
    near(apart.sd(), joint.sd(), 1e-12);
}

#[test]
fn an_action_that_may_harm_is_not_taken() {
    let prior = Belief::new(0.15, 0.20).unwrap();
    assert!(!prior.may_act(0.8), "P is {}", prior.chance_of_good());
    assert!(prior.updated(seen(0.50, 0.25)).unwrap().may_act(0.8));
    assert!(!prior.updated(seen(-0.3, 0.1)).unwrap().may_act(0.5));
}

#[test]
fn an_observation_without_spread_is_refused() {
    let prior = Belief::new(0.15, 0.20).unwrap();
    for se in [0.0, -1.0, f64::INFINITY] {
        assert_eq!(prior.updated(seen(0.5, se)), Err(EffectError::Spread(se)));
    }
    assert!(matches!(
        prior.updated(seen(f64::NAN, 0.1)),
        Err(EffectError::NotFinite(_))
    ));
    assert_eq!(Belief::new(0.1, 0.0), Err(EffectError::Spread(0.0)));
}

/// The joint posterior of (overall, one shift a segment) by its precision matrix, as a check that shares no code.
fn by_matrix(prior: Belief, tau: f64, seen: &[Observed]) -> Vec<(f64, f64)> {
    let n = seen.len() + 1;
    let mut rows = vec![vec![0.0; 2 * n + 1]; n];
    let link = 1.0 / (tau * tau);
    rows[0][0] = 1.0 / (prior.sd() * prior.sd());
    rows[0][2 * n] = prior.mean() / (prior.sd() * prior.sd());
    for (i, s) in seen.iter().enumerate() {
        rows[0][0] += link;
        rows[0][i + 1] -= link;
        rows[i + 1][0] -= link;
        rows[i + 1][i + 1] += link + 1.0 / (s.se * s.se);
        rows[i + 1][2 * n] = s.shift / (s.se * s.se);
    }
    for (i, row) in rows.iter_mut().enumerate() {
        row[n + i] = 1.0;
    }
    for i in 0..n {
        let pivot = rows[i].clone();
        for (k, row) in rows.iter_mut().enumerate() {
            let factor = if k == i {
                1.0 - 1.0 / pivot[i]
            } else {
                row[i] / pivot[i]
            };
            row.iter_mut().zip(&pivot).for_each(|(x, p)| *x -= factor * p);
        }
    }
    (0..n).map(|i| (rows[i][2 * n], libm::sqrt(rows[i][n + i]))).collect()
}

#[test]
fn beliefs_by_segment_are_the_joint_posterior() {
    let prior = Belief::new(0.15, 0.20).unwrap();
    let list = [seen(0.5, 0.25), seen(0.1, 0.1), seen(-0.2, 0.6)];
    let names = ["ENT", "MM", "SMB"];
    let map = names.iter().map(|n| (*n).to_owned()).zip(list).collect();
    let found = by_segment(prior, 0.1, &map).unwrap();
    let expected = by_matrix(prior, 0.1, &list);
    near(found.overall().mean(), expected[0].0, 1e-12);
    near(found.overall().sd(), expected[0].1, 1e-12);
    for (name, (mean, sd)) in names.iter().zip(&expected[1..]) {
        near(found.of(name).mean(), *mean, 1e-12);
        near(found.of(name).sd(), *sd, 1e-12);
    }
    let unseen = found.of("nobody");
    near(unseen.mean(), found.overall().mean(), 0.0);
    near(
        unseen.sd(),
        libm::sqrt(found.overall().sd() * found.overall().sd() + 0.01),
        1e-12,
    );
}

#[test]
fn without_observations_the_prior_stands() {
    let prior = Belief::new(0.15, 0.20).unwrap();
    assert_eq!(by_segment(prior, 0.1, &BTreeMap::new()).unwrap().overall(), prior);
    assert_eq!(by_segment(prior, 0.0, &BTreeMap::new()), Err(EffectError::Spread(0.0)));
}

fn outcomes(cells: [(bool, bool, usize); 4], propensity: f64) -> Vec<Outcome> {
    let rows = cells.into_iter().flat_map(|(executed, renewed, times)| {
        let row = Outcome {
            executed,
            propensity,
            renewed,
        };
        std::iter::repeat_n(row, times)
    });
    rows.collect()
}

#[test]
fn with_one_propensity_the_shift_is_the_log_odds_ratio_with_the_error_of_woolf() {
    let rows = outcomes(
        [
            (true, true, 80),
            (true, false, 20),
            (false, true, 60),
            (false, false, 40),
        ],
        0.5,
    );
    let found = observed_shift(&rows).unwrap();
    near(found.shift, libm::log(80.0 * 40.0 / (20.0 * 60.0)), 1e-12);
    near(
        found.se,
        libm::sqrt(1.0 / 80.0 + 1.0 / 20.0 + 1.0 / 60.0 + 1.0 / 40.0),
        1e-12,
    );
}

#[test]
fn propensities_undo_an_action_that_goes_to_the_safe_ones() {
    // No effect in either group; the safe group got the action eight times in ten, the other two times in ten.
    let mut rows = outcomes(
        [(true, true, 72), (true, false, 8), (false, true, 18), (false, false, 2)],
        0.8,
    );
    rows.extend(outcomes(
        [
            (true, true, 10),
            (true, false, 10),
            (false, true, 40),
            (false, false, 40),
        ],
        0.2,
    ));
    near(observed_shift(&rows).unwrap().shift, 0.0, 1e-12);
}

#[test]
fn a_shift_that_cannot_be_known_is_refused_with_its_reason() {
    let rows = outcomes(
        [(true, true, 8), (true, false, 2), (false, true, 0), (false, false, 0)],
        0.5,
    );
    assert_eq!(
        observed_shift(&rows),
        Err(EffectError::OneArm {
            treated: 10,
            untreated: 0
        })
    );
    let rows = outcomes(
        [(true, true, 8), (true, false, 0), (false, true, 5), (false, false, 5)],
        0.5,
    );
    assert_eq!(observed_shift(&rows), Err(EffectError::Separation { arm: "with" }));
    let rows = outcomes(
        [(true, true, 8), (true, false, 2), (false, true, 5), (false, false, 5)],
        1.0,
    );
    assert_eq!(observed_shift(&rows), Err(EffectError::Propensity(1.0)));
    assert!(matches!(observed_shift(&[]), Err(EffectError::OneArm { .. })));
}

#[test]
fn shares_are_shrunk_as_efron_and_morris_did() {
    let shares = [
        0.400, 0.378, 0.356, 0.333, 0.311, 0.311, 0.289, 0.267, 0.244, 0.244, 0.222, 0.222, 0.222, 0.222, 0.222, 0.200,
        0.178, 0.156,
    ];
    let shrunk = efron_morris_shares(&shares, 45).unwrap();
    near(shrunk.mean, 0.2654, 5e-5);
    near(shrunk.keep, 0.2124, 5e-5);
    near(shrunk.values[0], 0.2940, 5e-5);
    near(shrunk.values[17], 0.2422, 5e-5);
    let same = efron_morris(&shares, shrunk.mean * (1.0 - shrunk.mean) / 45.0).unwrap();
    assert_eq!(same, shrunk);
}

#[test]
fn shrinkage_stops_at_the_mean_and_needs_groups_that_differ() {
    let shrunk = efron_morris(&[0.1, 0.2, 0.3, 0.4], 10.0).unwrap();
    assert_eq!(shrunk.keep, 0.0);
    assert!(shrunk.values.iter().all(|v| (v - 0.25).abs() < 1e-12));
    assert_eq!(efron_morris(&[0.1, 0.2, 0.3], 0.1), Err(EffectError::TooFewGroups(3)));
    assert_eq!(efron_morris(&[0.5; 5], 0.1), Err(EffectError::NoSpread));
    assert_eq!(efron_morris(&[0.1, 0.2, 0.3, 0.4], 0.0), Err(EffectError::Spread(0.0)));
}
