use super::*;
use crate::policy::RiskInput;

/// Weights of the made-up truth: the policy has the right signs and half of the size.
const TRUTH: [f64; 4] = [-1.8, 1.0, -0.8, 0.6];

fn risk() -> Risk {
    let input = |weight: f64| RiskInput {
        fact: "seat_share".to_owned(),
        equals: None,
        log_scale: None,
        at_least: None,
        mean: 0.0,
        sd: 1.0,
        weight,
    };
    Risk {
        intercept: -1.2,
        inputs: vec![input(0.5), input(-0.4), input(0.3)],
    }
}

/// Two decisions of each account, a year apart.
fn world(accounts: u32) -> Vec<Labelled> {
    let mut draws = Stream::new(5, &["test"]);
    let mut rows = Vec::new();
    for account in 0..accounts {
        for year in 0..2 {
            let inputs: Vec<f64> = (0..3).map(|_| draws.normal()).collect();
            let truth = sigmoid(log_odds(&TRUTH, &inputs));
            let at = Day::from_number(18_000 + i32::try_from(account % 300 + 365 * year).unwrap());
            rows.push(Labelled {
                account: format!("a{account:04}"),
                at,
                known_by: at.plus(120),
                inputs,
                event: draws.fraction() < truth,
                truth: Some(truth),
            });
        }
    }
    rows
}

fn terms() -> ColdstartTerms {
    ColdstartTerms {
        sizes: vec![25, 100, 5_000],
        draws: 6,
        seed: 1,
        order: None,
        split: None,
        floor: Floor::default(),
        stated_churn: None,
    }
}

fn of<'a>(size: &'a ColdstartSize, name: &str) -> &'a ColdstartModel {
    size.models.iter().find(|m| m.model == name).unwrap()
}

#[test]
fn with_few_labels_a_prior_of_the_right_signs_beats_none_and_the_truth_beats_all() {
    let report = coldstart(&world(900), &risk(), &terms()).unwrap();
    assert_eq!(report.order, TimeOrder::Forward);
    let truth = report.truth_log_loss.unwrap().mean;
    for (at, size) in report.sizes[..2].iter().enumerate() {
        let zero = of(size, "zero_mean").log_loss_vs_prior_mean;
        // Ahead while labels are few; later the two meet, which six draws of one history tell up to their error.
        let noise = if at == 0 { 0.0 } else { 3.0 * zero.se.unwrap() };
        assert!(zero.mean > -noise, "{size:?}");
        assert!(size.models.iter().all(|m| m.log_loss.mean > truth), "{size:?}");
    }
    // The card's intercept is nearly right here, which 25 labels cannot better; a hundred can.
    assert!(of(&report.sizes[1], "scorecard").log_loss_vs_prior_mean.mean > 0.0);
    let gain = |size: usize| of(&report.sizes[size], "prior_mean").log_loss.mean;
    assert!(gain(1) < gain(0), "labels help");
}

#[test]
fn a_size_that_the_history_does_not_hold_is_refused_and_the_others_are_not() {
    let report = coldstart(&world(900), &risk(), &terms()).unwrap();
    let large = &report.sizes[2];
    assert!(large.models.is_empty());
    let why = large.cannot_estimate.as_deref().unwrap();
    assert!(why.starts_with("insufficient history: 5000 labels"), "{why}");
    assert!(report.sizes[..2].iter().all(|s| s.cannot_estimate.is_none()));
}

#[test]
fn no_account_that_gives_a_label_is_tested_and_every_label_was_known_before_the_test() {
    let rows = world(200);
    let split = half_known(&rows).unwrap();
    for draw in draws(&rows, &terms(), Some(split)) {
        assert!(!draw.labels.is_empty() && !draw.tested.is_empty());
        let tested: std::collections::BTreeSet<&str> = draw.tested.iter().map(|r| r.account.as_str()).collect();
        assert!(draw.labels.iter().all(|r| !tested.contains(r.account.as_str())));
        assert!(draw.labels.iter().all(|r| r.known_by <= split));
        assert!(draw.tested.iter().all(|r| r.at >= split));
    }
}

#[test]
fn a_history_too_short_for_a_split_in_time_is_split_by_account_alone_and_says_so() {
    let few = ColdstartTerms {
        sizes: vec![25],
        floor: Floor { events: 5 },
        ..terms()
    };
    // Every outcome is known on one day, after every landmark.
    let rows: Vec<Labelled> = world(60)
        .into_iter()
        .map(|r| Labelled {
            known_by: Day::from_number(20_000),
            ..r
        })
        .collect();
    let report = coldstart(&rows, &risk(), &few).unwrap();
    assert_eq!((report.order, report.split), (TimeOrder::AnyTime, None));
    let forced = ColdstartTerms {
        order: Some(TimeOrder::Forward),
        ..few
    };
    assert_eq!(
        coldstart(&rows, &risk(), &forced),
        Err(CannotEstimate::InsufficientHistory {
            rows: 0,
            events: 0,
            events_min: 5
        })
    );
}

#[test]
fn the_order_of_rows_changes_nothing_and_another_seed_does() {
    let mut rows = world(200);
    let small = ColdstartTerms {
        sizes: vec![25],
        draws: 3,
        floor: Floor { events: 5 },
        ..terms()
    };
    let first = coldstart(&rows, &risk(), &small).unwrap();
    rows.reverse();
    assert_eq!(coldstart(&rows, &risk(), &small).unwrap(), first);
    let other = ColdstartTerms { seed: 2, ..small };
    assert_ne!(coldstart(&rows, &risk(), &other).unwrap().sizes, first.sizes);
}

#[test]
fn labels_without_churn_leave_the_scorecard_as_written_and_the_fits_finite() {
    let rows: Vec<Labelled> = world(400);
    let calm: Vec<&Labelled> = rows.iter().filter(|r| !r.event).take(30).collect();
    let tested: Vec<&Labelled> = rows.iter().skip(400).collect();
    let draw = Draw { labels: calm, tested };
    let judged = judge(&draw, 25, &risk(), None, &[]).unwrap();
    assert!(judged.as_written);
    assert_eq!(judged.loss[0], judged.loss[1]);
    assert!(judged.loss.iter().all(|l| l.is_finite()));
    let point = size(25, &[draw], &risk(), None, &[]);
    assert_eq!(
        (
            of(&point, "scorecard_platt").as_written,
            of(&point, "scorecard").as_written
        ),
        (1, 0)
    );
    assert_eq!(of(&point, "prior_mean").log_loss.se, None, "one draw has no error");
}

#[test]
fn a_stated_churn_moves_the_intercept_alone() {
    let rows = world(200);
    let book: Vec<&Labelled> = rows.iter().collect();
    let weights = scorecard(&book, &risk(), Some(0.12)).unwrap();
    assert_eq!(&weights[1..], &[0.5, -0.4, 0.3]);
    let mean = rows.iter().map(|r| sigmoid(log_odds(&weights, &r.inputs))).sum::<f64>() / rows.len() as f64;
    assert!((mean - 0.12).abs() < 1e-9, "{mean}");
}

#[test]
fn a_rival_is_judged_on_the_same_draws_and_learns_from_the_same_labels() {
    let rows = world(400);
    let knows = |labels: &[&Labelled], tested: &[&Labelled]| {
        assert!([25, 100].contains(&labels.len()));
        let own: std::collections::BTreeSet<&str> = labels.iter().map(|r| r.account.as_str()).collect();
        assert!(tested.iter().all(|r| !own.contains(r.account.as_str())));
        Ok(tested.iter().map(|r| r.truth.expect("made up")).collect())
    };
    let rivals = [Rival {
        name: "knows the truth",
        learn: &knows,
    }];
    let report = coldstart_against(&rows, &risk(), &terms(), &rivals).expect("a curve");
    let without = coldstart(&rows, &risk(), &terms()).expect("a curve");
    for (size, before) in report.sizes.iter().zip(&without.sizes).take(2) {
        let rival = of(size, "knows the truth");
        assert_eq!(Some(rival.log_loss), report.truth_log_loss);
        assert_eq!(Some(rival.auc), report.truth_auc);
        assert_eq!(
            size.models[..4],
            before.models[..],
            "a rival changes nothing of the others"
        );
        assert!(rival.log_loss_vs_prior_mean.mean < 0.0);
    }
}
