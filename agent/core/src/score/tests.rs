//! Scores by hand: nested weights, missing values, overrides, roll-ups, and exact changes.

use proptest::prelude::*;

use super::*;
use crate::feature;
use crate::ids::{AccountId, ExternalId, SourceId};
use crate::policy::{Content, Policies, tests::shipped};
use crate::signal::{Fact, Grain, ScoreOverride, Signal, Subscription, Survey, SurveyKind, Usage};
use crate::snapshot::Snapshot;

const NOW: &str = "2026-09-14T08:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn signal(id: &str, when: &str, fact: Fact) -> Signal {
    Signal {
        source: SourceId::new("test"),
        external_id: ExternalId::new(id),
        event_at: at(when),
        observed_at: at(when),
        revision_at: Timestamp::EPOCH,
        fact,
    }
}

/// Weekly use of a product for 20 weeks: active users of `seats`, `features` in use.
fn usage(product: &str, seats: i64, active: impl Fn(i64) -> i64, features: i64) -> Vec<Signal> {
    (0..20)
        .map(|week| {
            let start = at(NOW).day().plus(-7 * (week + 1));
            let values = [
                ("active_users".to_owned(), Micro::whole(active(week))),
                ("features_used".to_owned(), Micro::whole(features)),
                ("seats".to_owned(), Micro::whole(seats)),
            ];
            let fact = Fact::Usage(Usage {
                product: Some(product.to_owned()),
                grain: Grain::Week,
                start,
                values: values.into(),
            });
            signal(&format!("{product}-{week}"), &start.plus(6).to_string(), fact)
        })
        .collect()
}

fn subscription(product: &str, arr: &str) -> Signal {
    let fact = Fact::Subscription(Subscription {
        product: Some(product.to_owned()),
        start: Some("2025-01-01".parse().expect("a day")),
        arr: Some(Money::parse(arr, crate::money::Currency::USD).expect("an amount")),
        ..Subscription::default()
    });
    signal(&format!("sub-{product}"), "2025-01-01", fact)
}

fn nps(score: i64, day: &str) -> Signal {
    let fact = Fact::Survey(Survey {
        kind: Some(SurveyKind::Nps),
        score: Some(Micro::whole(score)),
        contact: None,
    });
    signal(&format!("nps-{day}"), day, fact)
}

fn set(score: ScoreName, value: i64, until: &str) -> Signal {
    let fact = Fact::ScoreOverride(ScoreOverride {
        score: Some(score),
        value: Some(Micro::whole(value)),
        reason: Some("the sponsor told me".to_owned()),
        by: None,
        until: Some(until.parse().expect("a day")),
    });
    signal(&format!("set-{score}"), "2026-09-01", fact)
}

fn policies(edit: impl Fn(&mut String)) -> Policies {
    let mut content: Content = shipped();
    edit(content.policies.get_mut("scoring.toml").expect("shipped"));
    Policies::compile(&content).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn assess(signals: &[Signal], as_of: Timestamp, policies: &Policies) -> (Features, Scores) {
    let snapshot = Snapshot::of(AccountId::new("a"), as_of, signals.to_vec(), Vec::new(), 280);
    let (mut features, renewals) = feature::compute(&snapshot, &policies.settings);
    let scores = score(
        &snapshot,
        &mut features,
        &renewals,
        &policies.scoring,
        &policies.settings,
    );
    (features, scores)
}

fn two_products() -> Vec<Signal> {
    let mut all = usage("core", 100, |_| 90, 12);
    all.extend(usage("reports", 10, |_| 1, 3));
    all.push(subscription("core", "30000"));
    all.push(subscription("reports", "10000"));
    all
}

#[test]
fn nested_groups_weigh_as_computed_by_hand() {
    let policies = policies(|_| {});
    let card = &policies.scoring.scorecards[0].index;
    let weights: Vec<(&str, f64)> = card.measures.iter().map(|m| (m.fact.as_str(), m.weight)).collect();
    // use 70 of 100, in it depth 60 and breadth 40 of 100; trend 30 of 100.
    let expected = [
        ("seat_utilisation", 42.0),
        ("features_used", 28.0),
        ("activity_log_ratio", 30.0),
    ];
    for ((name, weight), (wanted, by_hand)) in weights.iter().zip(expected) {
        assert_eq!(*name, wanted);
        assert!((weight - by_hand).abs() < 1e-9, "{name}: {weight}");
    }
}

#[test]
fn a_product_gets_its_own_score_and_the_roll_up_is_exact() {
    let by = |word: &str| policies(|text| *text = text.replace("\"arr_weighted\"", &format!("\"{word}\"")));
    let (_, scores) = assess(&two_products(), at(NOW), &by("arr_weighted"));
    let card = &scores.cards[0];
    let points: Vec<(&str, &str)> = card
        .parts
        .iter()
        .map(|p| {
            (
                p.subject.as_str(),
                if p.index.band == Some(Band::Green) {
                    "green"
                } else {
                    "not green"
                },
            )
        })
        .collect();
    assert_eq!(points, [("core", "green"), ("reports", "not green")]);
    // core: .9 seats 100 points, 12 features 100, no change 80: 94. reports: .1 seats 0, 3 features 50, no change 80: 38.
    let part = |i: usize| card.parts[i].index.score_micro.expect("known");
    assert_eq!((part(0), part(1)), (Micro(94_000_000), Micro(38_000_000)));
    // 30,000 and 10,000 a year: three quarters and one.
    assert_eq!(card.score_micro, Some(Micro(80_000_000)));
    let mean = &assess(&two_products(), at(NOW), &by("mean")).1.cards[0];
    assert_eq!(mean.score_micro, Some(Micro(66_000_000)));
    let worst = &assess(&two_products(), at(NOW), &by("worst")).1.cards[0];
    assert_eq!(worst.score_micro, Some(Micro(38_000_000)));
    for card in [card, mean, worst] {
        assert_eq!(
            card.score_micro.map(|s| s.0),
            Some(card.parts.iter().map(|p| p.adds_micro.0).sum())
        );
    }
}

#[test]
fn a_part_without_data_does_not_count_and_without_any_there_is_no_score() {
    let policies = policies(|_| {});
    let mut signals = usage("core", 100, |_| 90, 12);
    signals.push(subscription("core", "30000"));
    signals.push(subscription("reports", "10000"));
    let card = &assess(&signals, at(NOW), &policies).1.cards[0];
    assert_eq!(card.parts.len(), 2);
    assert_eq!(card.score_micro, card.parts[0].index.score_micro);
    let none = &assess(&[subscription("core", "30000")], at(NOW), &policies).1.cards[0];
    assert_eq!(none.score_micro, None);
    assert_eq!(none.missing.as_deref(), Some("enough known measures of any part"));
    let unpriced: Vec<Signal> = usage("core", 100, |_| 90, 12);
    let card = &assess(&unpriced, at(NOW), &policies).1.cards[0];
    assert_eq!(card.missing.as_deref(), Some("the yearly revenue of its parts"));
}

#[test]
fn a_missing_value_counts_as_the_policy_says_and_never_as_known() {
    let silent = policies(|_| {});
    let counted = policies(|text| {
        let from = "fact = \"nps\"\nweight = 8\n";
        assert!(text.contains(from));
        *text = text.replacen(from, "fact = \"nps\"\nweight = 8\nwhen_missing = 0\n", 1);
    });
    let signals = two_products();
    let (a, b) = (
        assess(&signals, at(NOW), &silent).1,
        assess(&signals, at(NOW), &counted).1,
    );
    assert_eq!(a.health.confidence_micro, b.health.confidence_micro);
    assert_eq!(a.health.missing, b.health.missing);
    assert!(b.health.score_micro < a.health.score_micro);
    let sum: i64 = b.health.contributions.iter().map(|c| c.adds_micro.0).sum();
    assert_eq!(b.health.score_micro, Some(Micro(sum)));
}

#[test]
fn an_override_survives_thirty_runs_and_lapses_on_its_date() {
    let policies = policies(|_| {});
    let mut signals = two_products();
    let own = assess(&signals, at(NOW), &policies).1;
    signals.push(set(ScoreName::Health, 25, "2026-10-14"));
    signals.push(set(ScoreName::Risk, 60, "2026-10-14"));
    for day in 0..=30 {
        let scores = assess(&signals, at(NOW).plus_days(day), &policies).1;
        assert_eq!(scores.health.score_micro, Some(Micro(25_000_000)), "day {day}");
        assert_eq!(scores.health.band, Some(Band::Red));
        assert_eq!(scores.risk.probability_micro, Some(Micro(600_000)));
        let sum: i64 = scores.health.contributions.iter().map(|c| c.adds_micro.0).sum();
        assert_eq!(sum, 25_000_000);
        let odds: i64 = scores.risk.contributions.iter().map(|c| c.adds_micro.0).sum();
        assert_eq!(scores.risk.log_odds_micro.0, scores.risk.intercept_micro.0 + odds);
    }
    let first = assess(&signals, at(NOW), &policies)
        .1
        .health
        .overridden
        .expect("overridden");
    assert_eq!(
        (first.computed_micro, first.reason.as_str()),
        (own.health.score_micro, "the sponsor told me")
    );
    let after = assess(&signals, at(NOW).plus_days(31), &policies).1;
    assert_eq!((after.health.overridden, after.risk.overridden), (None, None));
}

#[test]
fn a_change_between_two_dates_sums_exactly_and_names_the_new_records() {
    let policies = policies(|_| {});
    let mut signals = two_products();
    signals.push(nps(9, "2026-05-04"));
    signals.push(nps(2, "2026-09-10"));
    let (early, late) = (
        assess(&signals, at("2026-09-01"), &policies),
        assess(&signals, at(NOW), &policies),
    );
    let moved = change(
        (early.1.health.score_micro, &early.1.health.contributions, &early.0),
        (late.1.health.score_micro, &late.1.health.contributions, &late.0),
    );
    let (before, after) = (moved.before_micro.expect("known"), moved.after_micro.expect("known"));
    let sum: i64 = moved.terms.iter().map(|t| t.change_micro.0).sum();
    assert_eq!(after.0 - before.0, sum);
    let nps = moved.terms.iter().find(|t| t.fact == "nps").expect("moved");
    assert_eq!((nps.before.as_deref(), nps.after.as_deref()), (Some("9"), Some("2")));
    assert!(nps.change_micro.0 < 0);
    let records: Vec<String> = nps.new_records.iter().map(ToString::to_string).collect();
    assert_eq!(records, ["survey:test/nps-2026-09-10"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_value_less_never_raises_the_confidence_and_sums_stay_exact(
        keep in proptest::collection::vec(any::<bool>(), 42),
        drop in 0_usize..42,
    ) {
        let policies = policies(|_| {});
        let mut signals = two_products();
        signals.push(nps(7, "2026-08-01"));
        let some: Vec<Signal> = signals.iter().zip(keep.iter().chain(std::iter::repeat(&true))).filter(|(_, k)| **k).map(|(s, _)| s.clone()).collect();
        let fewer: Vec<Signal> = some.iter().enumerate().filter(|(i, _)| *i != drop).map(|(_, s)| s.clone()).collect();
        let (a, b) = (assess(&some, at(NOW), &policies).1, assess(&fewer, at(NOW), &policies).1);
        prop_assert!(b.health.confidence_micro <= a.health.confidence_micro);
        prop_assert!(b.risk.confidence_micro <= a.risk.confidence_micro);
        for scores in [&a, &b] {
            let sum: i64 = scores.health.contributions.iter().map(|c| c.adds_micro.0).sum();
            prop_assert!(scores.health.score_micro.is_none_or(|s| s.0 == sum));
        }
    }
}
