//! The usage drop with its parts: by hand, with gaps, in weeks in which everybody is away.

use super::*;

const START: &str = "2025-01-06";

fn evidence() -> UseEvidence {
    UseEvidence {
        features: Some(PartWeight {
            scale: 3.0,
            weight: 1.0,
        }),
        events_per_user: Some(PartWeight {
            scale: 3.0,
            weight: 0.5,
        }),
        champion: 0.7,
        agreement: 0.65,
    }
}

/// 20 weeks of 100 seats, of which the last four are as `now` says and the others as `before` does.
fn series(before: UseWeek, now: UseWeek) -> UseSeries {
    UseSeries {
        first: day(START),
        weeks: (0..20).map(|week| if week < 16 { before } else { now }).collect(),
    }
}

fn week(active: f64, events: f64, features: f64, seen: f64) -> UseWeek {
    UseWeek::of(Some(active), Some(100.0), Some(events), Some(features), Some(seen))
}

fn peers(index: f64) -> Peers {
    Peers(
        (0..20)
            .map(|k| (day(START).plus(7 * k), Micro::from_f64(index)))
            .collect(),
    )
}

fn newest() -> Day {
    day(START).plus(7 * 19)
}

fn of(series: &UseSeries, peers: &Peers) -> UseDrop {
    let adjusted = PeerAdjusted::of(series, peers);
    adjusted.usage_drop(newest(), &evidence()).expect("enough is known")
}

fn parts(drop: &UseDrop) -> Vec<(&'static str, i64)> {
    drop.parts.iter().map(|p| (p.part.as_str(), p.value_micro.0)).collect()
}

#[test]
fn the_value_is_the_sum_of_its_parts_as_computed_by_hand() {
    // Active seats: ln(40.5 / 60.5) - ln(60.5 / 40.5) = -0.802683. Features: 3 (ln 7 - ln 11) = -1.355955. Events a user:
    // 3 (ln(121/41) - ln(241/61)) = -0.875114, times 0.5. Spread: 2.25 + 0.65 (6.25 - 2.25) = 4.85, its root 2.202272.
    let drop = of(
        &series(week(60.0, 240.0, 10.0, 1.0), week(40.0, 120.0, 6.0, 1.0)),
        &peers(0.0),
    );
    let spread = 4.85_f64.sqrt();
    let by_hand = [-0.802_683 / spread, -1.355_955 / spread, -0.437_557 / spread, 0.0];
    for (part, wanted) in drop.parts.iter().zip(by_hand) {
        assert!((part.value_micro.to_f64() - wanted).abs() < 2e-6, "{part:?} {wanted}");
    }
    let names: Vec<&str> = drop.parts.iter().map(|p| p.part.as_str()).collect();
    assert_eq!(names, ["active_seats", "features", "events_per_user", "champion"]);
    let sum: i64 = drop.parts.iter().map(|p| p.value_micro.0).sum();
    assert_eq!(Micro::from_f64(drop.value).0, sum);
}

#[test]
fn a_part_that_is_not_known_is_left_out_and_the_rest_keeps_its_spread() {
    let known = |features: Option<f64>, events: Option<f64>, active: f64| {
        UseWeek::of(Some(active), Some(100.0), events, features, None)
    };
    let with = |f: Option<f64>, e: Option<f64>| series(known(f, e, 60.0), known(f, e, 40.0));
    // With nothing else the value is the reference, whatever the policy counts.
    let alone = of(&with(None, None), &peers(0.0));
    assert_eq!(parts(&alone), [("active_seats", -802_683)]);
    let (reference, _) = PeerAdjusted::of(&with(None, None), &peers(0.0))
        .shift(newest())
        .expect("enough");
    assert!((reference - alone.value).abs() < 1e-6);
    // Features that stay speak against a drop: 1 / sqrt(2 + 0.65 (4 - 2)).
    let steady = of(&with(Some(10.0), None), &peers(0.0));
    let wanted = -0.802_683 / 3.3_f64.sqrt();
    assert!((steady.value - wanted).abs() < 2e-6, "{steady:?}");
    assert_eq!(parts(&steady).len(), 2, "the unknown champion and events are not there");
    // Active seats are needed.
    let blind = series(known(Some(10.0), None, 60.0), UseWeek::default());
    assert_eq!(
        PeerAdjusted::of(&blind, &peers(0.0)).usage_drop(newest(), &evidence()),
        Err("usage.active_users and usage.seats of 3 of the last 4 weeks")
    );
}

#[test]
fn two_weeks_without_the_champion_are_leave_and_each_one_more_counts_half() {
    let away = |weeks: usize| {
        let mut series = series(week(60.0, 240.0, 10.0, 1.0), week(60.0, 240.0, 10.0, 1.0));
        let absent = week(60.0, 240.0, 10.0, 0.0);
        series.weeks.iter_mut().rev().take(weeks).for_each(|w| *w = absent);
        of(&series, &peers(0.0)).value
    };
    assert_eq!([away(1), away(2), away(3), away(4)], [0.0, 0.0, -0.35, -0.7]);
    // Who was hardly ever there is not missed.
    let mut rare = series(week(60.0, 240.0, 10.0, 0.0), week(60.0, 240.0, 10.0, 0.0));
    rare.weeks
        .iter_mut()
        .step_by(2)
        .for_each(|w| *w = week(60.0, 240.0, 10.0, 1.0));
    rare.weeks
        .iter_mut()
        .rev()
        .take(4)
        .for_each(|w| *w = week(60.0, 240.0, 10.0, 0.0));
    assert!(
        parts(&of(&rare, &peers(0.0)))
            .iter()
            .all(|(part, _)| *part != "champion")
    );
}

#[test]
fn weeks_in_which_everybody_is_away_are_read_for_active_seats_alone() {
    let mut holiday = peers(0.0);
    for k in [18, 19] {
        holiday.0.insert(day(START).plus(7 * k), Micro::from_f64(-1.0));
    }
    let usual = week(60.0, 240.0, 10.0, 1.0);
    let mut away = series(usual, usual);
    // As all peers do: ln odds lower by 1 in two weeks, few features, no champion.
    let odds = libm::exp(log_odds(60.0, 100.0) - 1.0);
    let active = (100.5 * odds - 0.5) / (1.0 + odds);
    away.weeks[18] = week(active, 20.0, 2.0, 0.0);
    away.weeks[19] = week(active, 20.0, 2.0, 0.0);
    let drop = of(&away, &holiday);
    assert!(drop.value.abs() < 1e-3, "{drop:?}");
    // In an ordinary week the same is a fall of everything.
    assert!(of(&away, &peers(0.0)).value < -0.7);
}

#[test]
fn a_signal_names_its_parts_and_a_file_without_the_table_has_none() {
    let rows: Vec<Option<f64>> = weeks(&[(24, 60.0), (6, 20.0)]);
    let signals = use_of("active_users", &rows, 100.0);
    let episode = |content: &Content| {
        let policies = Policies::compile(content).expect("policies");
        let found = detections(&policies, day(MONDAY), signals.clone());
        let drop = found.into_iter().find(|d| d.detector == Detector::UsageDrop);
        drop.and_then(|d| d.active().cloned()).expect("an open drop")
    };
    let mut content = crate::policy::tests::shipped();
    let shipped = episode(&content);
    assert_eq!(shipped.parts.len(), 1);
    assert_eq!(shipped.parts[0].value_micro, shipped.value_micro);
    let text = content.policies.get_mut("scoring.toml").expect("shipped");
    let start = text.find("[signals.detector.evidence]").expect("the table");
    let end = start + text[start..].find("[[signals.detector]]").expect("the next");
    text.replace_range(start..end, "");
    let before = episode(&content);
    assert!(before.parts.is_empty());
    assert_eq!(before.value_micro, shipped.value_micro);
}

#[test]
fn only_the_usage_drop_has_other_evidence_and_its_numbers_are_checked() {
    let wrong = |from: &str, to: &str| {
        let mut content = crate::policy::tests::shipped();
        let text = content.policies.get_mut("scoring.toml").expect("shipped");
        assert!(text.contains(from));
        *text = text.replace(from, to);
        let problems = Policies::compile(&content).err().expect("a mistake");
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let said = wrong("agreement = 0.65", "agreement = 1.5");
    assert!(said.contains("`agreement` is 1.5"), "{said}");
    let said = wrong(
        "features = { scale = 3, weight = 1 }",
        "features = { scale = 0, weight = 1 }",
    );
    assert!(said.contains("`scale` is 0"), "{said}");
    let said = wrong(
        "[[signals.detector]]\nname = \"seat_contraction\"",
        "[signals.detector.evidence]\nagreement = 0.5\n\n[[signals.detector]]\nname = \"seat_contraction\"",
    );
    assert!(said.contains("`breadth_loss` has no `evidence`"), "{said}");
}
