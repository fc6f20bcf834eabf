use super::*;
use crate::score::sigmoid;

/// Golden rows: two inputs and the outcome.
const ROWS: [([f64; 2], bool); 10] = [
    ([-1.2, 0.4], true),
    ([-0.5, 0.0], false),
    ([0.3, 1.1], true),
    ([0.9, -0.6], false),
    ([-0.1, 0.8], false),
    ([1.4, 0.2], false),
    ([-1.6, 1.3], true),
    ([0.6, -1.0], false),
    ([0.0, -0.3], false),
    ([-0.8, -0.9], true),
];
const MEAN: [f64; 3] = [-1.4, -0.6, 0.5];

fn golden() -> Table {
    let mut table = Table::new(2);
    for (x, y) in ROWS {
        table.push(&x, y).expect("two inputs");
    }
    table
}

#[track_caller]
fn near(found: f64, wanted: f64, digits: i32) {
    let half = 0.5 * libm::pow(10.0, f64::from(-digits));
    assert!((found - wanted).abs() <= half * 1.000_001, "{found} is not {wanted}");
}

fn forecasts(rows: &[(f64, bool)]) -> Vec<Forecast> {
    rows.iter()
        .map(|(probability, event)| Forecast {
            probability: *probability,
            event: *event,
            arr: 1.0,
        })
        .collect()
}

#[test]
fn the_evidence_of_every_prior_strength_is_the_golden_one_and_one_is_chosen() {
    let wanted = [-5.690_813, -5.678_361, -5.650_515, -5.603_811, -5.580_651, -6.252_472];
    let all = evidences(&golden(), &MEAN, Floor::NONE).expect("fits");
    for (fit, wanted) in all.iter().zip(wanted) {
        near(fit.log_evidence.expect("a proper prior"), wanted, 6);
    }
    let best = fit_by_evidence(&golden(), &MEAN, Floor::NONE).expect("fits");
    assert_eq!(best.tau, Some(1.0));
}

#[test]
fn weights_interval_and_both_explanations_are_the_golden_ones() {
    let fit = fit_by_evidence(&golden(), &MEAN, Floor::NONE).expect("fits");
    for (found, wanted) in fit.weights.iter().zip([-0.999_404, -1.360_926, 0.721_075]) {
        near(*found, wanted, 6);
    }
    let x = [-0.7, 0.9];
    near(fit.probability(&x).expect("two inputs"), 0.646_162, 6);
    near(fit.deviation(&x).expect("two inputs"), 0.913_522, 6);
    let (low, high) = fit.interval(&x, 1.281_551_565_545).expect("two inputs");
    near(low, 0.361_580, 6);
    near(high, 0.854_823, 6);
    let peers = [0.1, 0.2];
    near(fit.probability(&peers).expect("two inputs"), 0.270_659, 6);
    let parts = log_odds_parts(&fit.weights, &x, &peers).expect("two inputs");
    near(parts[0], 1.088_741, 6);
    near(parts[1], 0.504_753, 6);
    let points = shapley(fit.log_odds(&peers).expect("two inputs"), &parts).expect("two terms");
    near(points[0], 25.9569, 4);
    near(points[1], 11.5935, 4);
}

#[test]
fn parts_of_the_probability_add_up_for_twelve_terms_and_thirteen_are_refused() {
    let parts: Vec<f64> = (0..12).map(|j| 0.1 * f64::from(j) - 0.4).collect();
    let points = shapley(-1.0, &parts).expect("twelve terms");
    let whole = 100.0 * (sigmoid(-1.0 + parts.iter().sum::<f64>()) - sigmoid(-1.0));
    assert!((points.iter().sum::<f64>() - whole).abs() < 1e-9);
    assert_eq!(
        shapley(-1.0, &[0.1; 13]),
        Err(CannotEstimate::TooManyTerms { given: 13, limit: 12 })
    );
}

#[test]
fn twenty_outcomes_are_insufficient_history() {
    let mut table = Table::new(1);
    for i in 0..20 {
        table.push(&[f64::from(i % 7)], i % 2 == 0).expect("one input");
    }
    let refused = fit_by_evidence(&table, &[0.0, 0.0], Floor::default()).expect_err("too few");
    assert!(matches!(
        refused,
        CannotEstimate::InsufficientHistory {
            rows: 20,
            events: 10,
            ..
        }
    ));
    assert!(
        refused.to_string().starts_with("insufficient history: 10 of 20"),
        "{refused}"
    );
}

#[test]
fn without_events_without_rows_and_with_a_separating_input_there_is_no_estimate() {
    let mut calm = Table::new(1);
    assert_eq!(maximum_likelihood(&calm, Floor::NONE), Err(CannotEstimate::NoRows));
    for i in 0..30 {
        calm.push(&[f64::from(i)], false).expect("one input");
    }
    assert_eq!(
        maximum_likelihood(&calm, Floor::NONE),
        Err(CannotEstimate::OneOutcome("events"))
    );
    let mut parted = Table::new(1);
    for i in 0..30 {
        parted.push(&[f64::from(i)], i >= 15).expect("one input");
    }
    assert_eq!(
        maximum_likelihood(&parted, Floor::NONE),
        Err(CannotEstimate::NotConverged)
    );
    // The prior keeps the same rows finite.
    let held = fit(&parted, &Prior::around(&[0.0, 0.0], 1.0), Floor::NONE).expect("a proper prior");
    assert!(held.weights.iter().all(|w| w.is_finite()));
    let mut doubled = Table::new(2);
    for i in 0..30 {
        doubled
            .push(&[f64::from(i), f64::from(i)], i % 3 == 0)
            .expect("two inputs");
    }
    assert_eq!(
        maximum_likelihood(&doubled, Floor::NONE),
        Err(CannotEstimate::NotConverged)
    );
}

#[test]
fn rows_of_the_wrong_shape_or_without_a_number_are_refused() {
    let mut table = Table::new(2);
    assert_eq!(
        table.push(&[1.0], true),
        Err(CannotEstimate::Shape { given: 1, wanted: 2 })
    );
    assert_eq!(
        table.push(&[1.0, f64::NAN], true),
        Err(CannotEstimate::OutOfRange("input"))
    );
    assert_eq!(table.rows(), 0);
    assert!(matches!(
        fit(&golden(), &Prior::around(&[0.0], 1.0), Floor::NONE),
        Err(CannotEstimate::Shape { given: 1, wanted: 3 })
    ));
}

#[test]
fn a_strong_prior_keeps_its_mean_and_the_rival_of_zeros_forgets_it() {
    let held = fit(&golden(), &Prior::around(&MEAN, 1e-4), Floor::NONE).expect("fits");
    assert!((held.weights[1] + 0.6).abs() < 1e-4 && (held.weights[2] - 0.5).abs() < 1e-4);
    let zero = Prior::zero(2);
    assert_eq!((zero.mean, zero.deviation), (vec![0.0; 3], vec![5.0, 1.0, 1.0]));
}

#[test]
fn the_solved_intercept_gives_the_stated_churn() {
    let book = [-2.0, -0.5, 0.0, 0.3, 1.7];
    let a = intercept_for(0.122, &book).expect("a book");
    let mean = book.iter().map(|z| sigmoid(a + z)).sum::<f64>() / 5.0;
    assert!((mean - 0.122).abs() < 1e-12, "{mean}");
    assert_eq!(
        intercept_for(1.0, &book),
        Err(CannotEstimate::OutOfRange("stated churn"))
    );
    assert_eq!(intercept_for(0.1, &[]), Err(CannotEstimate::NoRows));
}

#[test]
fn adjacent_violators_are_pooled_as_in_the_golden_row() {
    let pooled = pool_adjacent_violators(&[0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0], &[1.0; 8]).expect("equal lengths");
    let third = 2.0 / 3.0;
    for (found, wanted) in pooled.iter().zip([0.0, 0.0, 0.5, 0.5, third, third, third, 1.0]) {
        assert!((found - wanted).abs() < 1e-12, "{pooled:?}");
    }
}

/// Rows whose probability is what it says, a share of them events.
fn honest(n: usize, distort: impl Fn(f64) -> f64) -> Vec<Forecast> {
    let mut draws = crate::draw::Stream::new(7, &["rows"]);
    (0..n)
        .map(|_| {
            let p = 0.05 + 0.9 * (draws.below(1_000_000) as f64 / 1e6);
            let event = (draws.below(1_000_000) as f64 / 1e6) < p;
            Forecast {
                probability: distort(p),
                event,
                arr: 1.0,
            }
        })
        .collect()
}

fn overdone(p: f64) -> f64 {
    sigmoid(2.0 * libm::log(p / (1.0 - p)) + 0.5)
}

#[test]
fn calibration_finds_what_is_wrong_and_mends_it_by_platt_and_isotonic() {
    let right = calibration(&honest(4_000, |p| p), Floor::default()).expect("enough rows");
    assert!(
        (right.slope - 1.0).abs() < 0.1 && right.intercept.abs() < 0.1,
        "{right:?}"
    );
    let wrong = calibration(&honest(4_000, overdone), Floor::default()).expect("enough rows");
    assert!(
        (wrong.slope - 0.5).abs() < 0.05 && (wrong.intercept + 0.25).abs() < 0.1,
        "{wrong:?}"
    );
    for (rows, isotonic) in [(900, false), (1_000, true)] {
        let raw = honest(rows, overdone);
        let calibrator = Calibrator::fit(&raw, Floor::default()).expect("enough rows");
        assert_eq!(matches!(calibrator, Calibrator::Isotonic(_)), isotonic);
        let mended: Vec<Forecast> = raw
            .iter()
            .map(|f| Forecast {
                probability: calibrator.apply(f.probability),
                ..*f
            })
            .collect();
        assert!(calibration_error(&mended).expect("rows") < 0.5 * calibration_error(&raw).expect("rows"));
        let rising: Vec<f64> = (0..=100).map(|i| calibrator.apply(f64::from(i) / 100.0)).collect();
        assert!(rising.windows(2).all(|w| w[0] <= w[1]), "{rising:?}");
        assert!(rising.iter().all(|p| *p > 0.0 && *p < 1.0));
    }
}

#[test]
fn a_forecast_that_points_the_wrong_way_is_not_calibrated_but_refused() {
    let turned = honest(500, |p| 1.0 - p);
    assert_eq!(
        Calibrator::fit(&turned, Floor::default()),
        Err(CannotEstimate::NotIncreasing)
    );
}

#[test]
fn ties_count_half_and_a_constant_forecast_has_no_skill() {
    let rows = forecasts(&[(0.9, true), (0.6, true), (0.6, false), (0.2, false)]);
    // Pairs: (.9 over .6), (.9 over .2), (.6 against .6: half), (.6 over .2).
    assert!((auc(&rows).expect("both") - 3.5 / 4.0).abs() < 1e-12);
    assert_eq!(auc(&constant(&rows, 0.3)), Ok(0.5));
    assert_eq!(
        auc(&rows[..2]),
        Err(CannotEstimate::OneOutcome("rows without an event"))
    );
    let mut turned = rows.clone();
    turned.reverse();
    assert_eq!(auc(&turned), auc(&rows));
}

#[test]
fn revenue_weighs_pairs_of_the_weighted_area() {
    let mut rows = forecasts(&[(0.9, true), (0.5, false), (0.1, true)]);
    rows[2].arr = 3.0;
    assert_eq!(auc(&rows), Ok(0.5));
    assert_eq!(weighted_auc(&rows), Ok(0.25));
    rows.iter_mut().for_each(|r| r.arr = 0.0);
    assert_eq!(weighted_auc(&rows), Err(CannotEstimate::NoWeight));
}

#[test]
fn losses_and_calibration_error_are_what_their_definitions_say() {
    let rows = forecasts(&[(0.8, true), (0.4, false)]);
    near(log_loss(&rows).expect("rows"), 0.366_984_6, 7);
    near(brier(&rows).expect("rows"), 0.1, 12);
    assert_eq!(base_rate(&rows), Ok(0.5));
    // All alike: one bin, so the error is the distance to the base rate.
    near(calibration_error(&constant(&rows, 0.7)).expect("rows"), 0.2, 12);
    assert_eq!(log_loss(&[]), Err(CannotEstimate::NoRows));
    let sure = log_loss(&forecasts(&[(0.0, true)])).expect("a row");
    assert!(sure.is_finite() && sure > 20.0);
}

#[test]
fn precision_and_lift_take_a_tied_group_in_proportion() {
    let rows = forecasts(&[(0.9, true), (0.5, true), (0.5, false), (0.5, false), (0.1, false)]);
    assert_eq!(precision_at(&rows, 1), Ok(1.0));
    assert!((precision_at(&rows, 2).expect("k") - (1.0 + 1.0 / 3.0) / 2.0).abs() < 1e-12);
    assert_eq!(precision_at(&rows, 6), Err(CannotEstimate::OutOfRange("k")));
    assert!((decile_lift(&rows).expect("rows") - 2.5).abs() < 1e-12);
    assert!((decile_lift(&constant(&rows, 0.4)).expect("rows") - 1.0).abs() < 1e-12);
}

#[test]
fn the_paired_bootstrap_repeats_by_its_seed_and_sees_the_better_forecast() {
    let ours = honest(600, |p| p);
    let theirs = constant(&ours, base_rate(&ours).expect("rows"));
    let groups: Vec<u64> = (0..600).collect();
    let run = |seed| paired_bootstrap(&ours, &theirs, &groups, 400, seed, 0.95).expect("rows");
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
    assert!(run(1).high < 0.0 && run(1).low < run(1).estimate, "{:?}", run(1));
    assert!(matches!(
        paired_bootstrap(&ours, &theirs[1..], &groups, 10, 1, 0.95),
        Err(CannotEstimate::Shape { .. })
    ));
    // One account only: whatever is drawn is the same, so there is no spread to report wrongly.
    let one = paired_bootstrap(&ours, &theirs, &[0; 600], 50, 1, 0.95).expect("rows");
    assert!((one.high - one.low).abs() < 1e-12);
}

#[test]
fn the_interval_of_an_area_holds_the_area() {
    let rows = honest(400, |p| p);
    let groups: Vec<u64> = (0..400).collect();
    let found = bootstrap(&rows, &groups, 300, 5, 0.95, auc).expect("rows");
    assert!(found.low < found.estimate && found.estimate < found.high, "{found:?}");
    assert!(found.high - found.low < 0.15, "{found:?}");
}

#[test]
fn the_hash_is_fnv_1a_of_64_bits() {
    assert_eq!(fnv1a64(""), 0xcbf2_9ce4_8422_2325);
    assert_eq!(fnv1a64("a"), 0xaf63_dc4c_8601_ec8c);
    assert_eq!(fnv1a64("foobar"), 0x8594_4171_f739_67e8);
    assert!(fold("foobar", 5) < 5);
}

fn spells(list: &[(u32, bool)]) -> Vec<Spell> {
    list.iter()
        .map(|(periods, event)| Spell {
            periods: *periods,
            event: *event,
        })
        .collect()
}

#[test]
fn survival_counts_the_censored_as_at_risk_until_they_go() {
    let curve = kaplan_meier(&spells(&[(1, true), (2, false), (3, true), (3, false), (4, false)])).expect("rows");
    assert_eq!(curve.at(0), Ok(1.0));
    assert_eq!(curve.at(2), Ok(0.8));
    assert!((curve.at(3).expect("observed") - 0.8 * 2.0 / 3.0).abs() < 1e-12);
    assert!(matches!(curve.at(5), Err(CannotEstimate::NotObserved(_))));
    assert!(matches!(curve.median(), Err(CannotEstimate::NotObserved(_))));
    assert_eq!(kaplan_meier(&[]), Err(CannotEstimate::NoRows));
}

#[test]
fn the_log_rank_of_two_groups_follows_its_definition() {
    let one = spells(&[(1, true), (2, true), (4, false)]);
    let other = spells(&[(3, true), (4, false), (5, false)]);
    // Period 1: 3 of 6 at risk; 2: 2 of 5; 3: 1 of 4.
    let excess = (1.0 - 0.5) + (1.0 - 0.4) + (0.0 - 0.25);
    let variance = 0.25 + 0.24 + 0.1875;
    let found = log_rank(&one, &other).expect("both groups");
    assert!((found - excess * excess / variance).abs() < 1e-12, "{found}");
    assert_eq!(log_rank(&one, &[]), Err(CannotEstimate::NoRows));
}

#[test]
fn a_hazard_without_inputs_is_events_by_person_periods_and_survival_its_product() {
    let list = spells(&[(2, true), (3, false), (1, true), (4, false)]);
    let table = person_periods(&list, 0, |_, _, _| {}).expect("no inputs");
    assert_eq!((table.rows(), table.events()), (10, 2));
    let hazard = Hazard::fit(&table, Floor::NONE).expect("both outcomes");
    let none: &[f64] = &[];
    let stays = hazard.stays([none, none]).expect("no inputs");
    assert!((stays - 0.64).abs() < 1e-9, "{stays}");
    assert!((survival(&[0.2, 0.2]) - 0.64).abs() < 1e-12);
}
