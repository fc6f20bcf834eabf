//! Times of steps, and episodes over steps.

use perennial_core::detect::Detector;

use super::*;

fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn options(from: &str, to: &str, days: i64) -> WalkOptions {
    WalkOptions {
        from: time(from),
        to: time(to),
        every_us: days * perennial_core::time::DAY_US,
        top: 20,
    }
}

#[test]
fn steps_begin_at_the_first_time_and_never_pass_the_last() {
    let times = options("2026-01-05", "2026-01-20", 7).times().expect("times");
    assert_eq!(times, ["2026-01-05", "2026-01-12", "2026-01-19"].map(time));
    assert_eq!(options("2026-01-05", "2026-01-05", 7).times().expect("times").len(), 1);
    assert_eq!(options("2026-01-05", "2026-01-12", 7).times().expect("times").len(), 2);
}

#[test]
fn a_walk_backwards_or_of_too_many_steps_is_refused() {
    let (late, early) = (time("2026-01-06"), time("2026-01-05"));
    assert_eq!(
        options("2026-01-06", "2026-01-05", 7).times(),
        Err(WalkError::Backwards(late, early))
    );
    let days = i64::try_from(STEPS_MAX).expect("a number");
    let walk = |steps: i64| WalkOptions {
        to: early.plus_days(steps - 1),
        ..options("2026-01-05", "2026-01-05", 1)
    };
    assert_eq!(walk(days).times().expect("times").len(), STEPS_MAX);
    assert_eq!(walk(days + 1).times(), Err(WalkError::TooLong));
}

/// A late bill as a step sees it.
fn seen(as_of: &str, state: Stand, opened: &str, cleared: Option<&str>) -> ChangeRow {
    ChangeRow {
        account: AccountId::new("a"),
        kind: Detector::LatePayment,
        state,
        opened_at: opened.parse().expect("a day"),
        confirmed_at: None,
        cleared_at: cleared.map(|day| day.parse().expect("a day")),
        severity: 0.5,
        evidence: Vec::new(),
        evidence_total: 0,
        value: 8.0,
        baseline: None,
        unit: "days",
        parts: Vec::new(),
        subject: None,
        owner: None,
        arr_minor: None,
        currency: None,
        as_of: time(as_of),
    }
}

/// First days of the episodes that come of some steps, and how many changes there were.
fn followed(steps: &[ChangeRow]) -> (Vec<String>, usize) {
    let mut episodes = Episodes::new(14);
    let changes = steps.iter().filter_map(|row| episodes.follow(row.clone())).count();
    let days = episodes.finish().iter().map(|row| row.opened_at.to_string()).collect();
    (days, changes)
}

#[test]
fn an_episode_whose_first_day_moves_along_with_the_weeks_stays_one() {
    let steps = [
        seen("2026-01-07", Stand::Open, "2026-01-07", None),
        // Weeks are looked at on Mondays and on the day of the step.
        seen("2026-01-14", Stand::Open, "2026-01-12", None),
        seen("2026-01-28", Stand::Confirmed, "2026-01-12", None),
        seen("2026-08-28", Stand::Confirmed, "2026-03-23", None),
        seen("2026-09-04", Stand::Cleared, "2026-03-23", Some("2026-08-31")),
        seen("2026-09-11", Stand::Cleared, "2026-03-30", Some("2026-08-31")),
    ];
    // Open, confirmed, cleared; the step half a year later shows an episode that opened long after the one before.
    let (days, changes) = followed(&steps[..3]);
    assert_eq!((days, changes), (vec!["2026-01-07".to_owned()], 2));
    let (days, changes) = followed(&steps[3..]);
    assert_eq!((days, changes), (vec!["2026-03-23".to_owned()], 2));
}

#[test]
fn what_opens_after_the_old_one_was_over_is_a_new_episode() {
    let steps = [
        seen("2026-01-05", Stand::Open, "2026-01-05", None),
        seen("2026-01-12", Stand::Cleared, "2026-01-05", Some("2026-01-12")),
        seen("2026-02-02", Stand::Open, "2026-02-02", None),
    ];
    let both = vec!["2026-01-05".to_owned(), "2026-02-02".to_owned()];
    assert_eq!(followed(&steps), (both.clone(), 3));
    // The same, with steps so far apart that the end was not seen.
    let far = [steps[0].clone(), steps[2].clone()];
    assert_eq!(followed(&far), (both, 2));
}

#[test]
fn a_drop_that_falls_again_after_eight_weeks_is_a_new_episode() {
    let drop = |as_of: &str, opened: &str| ChangeRow {
        kind: Detector::UsageDrop,
        ..seen(as_of, Stand::Open, opened, None)
    };
    let steps = [drop("2026-01-05", "2026-01-05"), drop("2026-03-02", "2026-03-02")];
    let both = vec!["2026-01-05".to_owned(), "2026-03-02".to_owned()];
    assert_eq!(followed(&steps), (both, 2));
    // A first day that only moved along was there at the step before.
    let moved = [
        drop("2026-01-05", "2026-01-05"),
        drop("2026-06-29", "2026-01-05"),
        drop("2026-07-06", "2026-03-09"),
    ];
    assert_eq!(followed(&moved), (vec!["2026-01-05".to_owned()], 1));
}
