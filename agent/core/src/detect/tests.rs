//! Golden values, the life of a signal, and what a detector does with gaps.

mod drop;
mod records;

use std::collections::BTreeMap;

use super::*;
use crate::ids::{AccountId, ExternalId, SourceId};
use crate::policy::{Content, Policies};
use crate::signal::{Fact, Grain, Signal, Usage};

pub(super) const MONDAY: &str = "2026-09-14";

pub(super) fn day(text: &str) -> Day {
    text.parse().expect("a day")
}

pub(super) fn signal(id: &str, at: Day, fact: Fact) -> Signal {
    Signal {
        source: SourceId::new("test"),
        external_id: ExternalId::new(id),
        event_at: at.start(),
        observed_at: at.start(),
        revision_at: crate::time::Timestamp::EPOCH,
        fact,
    }
}

/// Rows of use, one a week, the last one the newest complete week before [`MONDAY`]; `None` leaves the row out.
pub(super) fn use_of(metric: &str, values: &[Option<f64>], seats: f64) -> Vec<Signal> {
    let weeks = i64::try_from(values.len()).expect("few");
    values
        .iter()
        .zip(0..)
        .filter_map(|(value, week)| {
            let start = day(MONDAY).plus(-7 * (weeks - week));
            let values = BTreeMap::from([
                (metric.to_owned(), Micro::from_f64((*value)?)),
                ("seats".to_owned(), Micro::from_f64(seats)),
            ]);
            let usage = Usage {
                product: None,
                grain: Grain::Week,
                start,
                values,
            };
            Some(signal(&format!("{metric}-{start}"), start.plus(7), Fact::Usage(usage)))
        })
        .collect()
}

pub(super) fn snapshot_on(today: Day, signals: Vec<Signal>) -> Snapshot {
    Snapshot::of(AccountId::new("a"), today.start(), signals, Vec::new(), 280)
}

/// An index of zero for every week that a snapshot can hold.
pub(super) fn no_peer_effect() -> Peers {
    Peers((0..60).map(|k| (day(MONDAY).plus(-7 * k), Micro::ZERO)).collect())
}

pub(super) fn policies() -> Policies {
    Policies::compile(&crate::policy::tests::shipped()).expect("the shipped policies compile")
}

/// What all detectors say by some policies.
pub(super) fn detections(policies: &Policies, today: Day, signals: Vec<Signal>) -> Vec<Detection> {
    let snapshot = snapshot_on(today, signals);
    let (mut features, renewals) = crate::feature::compute(&snapshot, &policies.settings);
    let scores = crate::score::score(
        &snapshot,
        &mut features,
        &renewals,
        &policies.scoring,
        &policies.settings,
    );
    let policy = policies.scoring.signals.as_ref().expect("the shipped table");
    let at_risk_from = policies.scoring.posture.at_risk_from;
    detect(
        &snapshot,
        &no_peer_effect(),
        &mut features,
        &scores,
        at_risk_from,
        policy,
    )
}

/// State and first day of one detector by the shipped limits.
pub(super) fn state(detector: Detector, today: Day, signals: Vec<Signal>) -> (&'static str, String) {
    let found = detections(&policies(), today, signals);
    match found.into_iter().find(|d| d.detector == detector).map(|d| d.state) {
        None => ("calm", String::new()),
        Some(State::Open(e)) => ("open", e.opened.to_string()),
        Some(State::Confirmed(e)) => ("confirmed", e.opened.to_string()),
        Some(State::Cleared(e)) => ("cleared", e.since.to_string()),
        Some(State::Unknown { missing }) => ("unknown", missing),
    }
}

fn weeks(blocks: &[(usize, f64)]) -> Vec<Option<f64>> {
    blocks
        .iter()
        .flat_map(|(count, value)| std::iter::repeat_n(Some(*value), *count))
        .collect()
}

#[test]
fn strength_decays_by_half_lives() {
    // 1.0 three weeks old at half-life 8, and 0.6 one week old at half-life 6.
    let sum = decayed([(1.0, 3.0, 8.0), (0.6, 1.0, 6.0)]);
    assert!((sum - 1.305_645).abs() < 5e-7, "{sum}");
}

#[test]
fn the_log_odds_count_half_a_user_on_each_side() {
    assert!((log_odds(10.0, 20.0)).abs() < 1e-12);
    assert!((log_odds(0.0, 10.0) - libm::log(0.5 / 10.5)).abs() < 1e-12);
    assert!(
        (log_odds(12.0, 10.0) - libm::log(12.5 / 0.5)).abs() < 1e-12,
        "more users than seats"
    );
}

#[test]
fn a_fall_opens_is_confirmed_and_clears_when_use_comes_back() {
    let drop = |down: usize| weeks(&[(24, 60.0), (down, 25.0)]);
    let on = |rows: &[Option<f64>]| state(Detector::UsageDrop, day(MONDAY), use_of("active_users", rows, 100.0));
    assert_eq!(on(&drop(1)).0, "calm");
    // Four weeks, of which two are 1.486 below the base, are 0.743 below it.
    assert_eq!(on(&drop(2)), ("open", "2026-09-14".to_owned()));
    assert_eq!(on(&drop(3)), ("open", "2026-09-07".to_owned()));
    assert_eq!(on(&drop(6)).0, "confirmed");
    let mut back = drop(8);
    back.extend(weeks(&[(4, 60.0)]));
    assert_eq!(on(&back).0, "cleared");
    // Seven weeks later it is history.
    back.extend(weeks(&[(7, 60.0)]));
    assert_eq!(on(&back).0, "calm");
}

#[test]
fn what_stays_low_for_good_becomes_the_new_usual() {
    let rows = weeks(&[(16, 60.0), (20, 25.0)]);
    let (state, _) = state(Detector::UsageDrop, day(MONDAY), use_of("active_users", &rows, 100.0));
    assert!(["cleared", "calm"].contains(&state), "{state}");
}

#[test]
fn too_few_known_weeks_are_unknown_and_the_field_is_named() {
    let on = |rows: &[Option<f64>]| state(Detector::UsageDrop, day(MONDAY), use_of("active_users", rows, 100.0));
    let mut rows = weeks(&[(26, 60.0)]);
    rows.extend([None, None]);
    assert_eq!(
        on(&rows).1,
        "usage.active_users and usage.seats of 3 of the last 4 weeks"
    );
    let mut rows = vec![Some(60.0); 7];
    rows.extend(weeks(&[(4, 25.0)]));
    assert_eq!(
        on(&rows).1,
        "usage.active_users and usage.seats of 8 of the 12 weeks before"
    );
    // Three of four and eight of twelve are enough.
    let mut rows = vec![Some(60.0); 8];
    rows.extend([Some(20.0), None, Some(20.0), Some(20.0)]);
    assert_eq!(on(&rows).0, "open");
}

#[test]
fn noise_changes_a_state_at_most_once_in_14_days() {
    // A value that jumps over both limits every day.
    let waits = Waits { quiet: 14, rearm: 14 };
    let mut stage = Stage::Quiet;
    let mut changes: Vec<Day> = Vec::new();
    for k in 0..200 {
        let today = day("2026-01-05").plus(k);
        let level = if k % 2 == 0 { Level::Alarm } else { Level::Calm };
        let next = stage.step(today, level, None, waits);
        if next != stage {
            changes.push(today);
        }
        stage = next;
    }
    assert!(changes.len() > 3);
    assert!(changes.windows(2).all(|w| w[0].days_until(w[1]) >= 14), "{changes:?}");
}

#[test]
fn what_falls_again_after_eight_weeks_is_a_new_episode_of_a_detector_that_rearms() {
    let opened = day("2026-01-05");
    let after = |rearm: i64, days: i64| {
        let waits = Waits { quiet: 14, rearm };
        let stage = Stage::Quiet.step(opened, Level::Alarm, None, waits);
        let stage = stage.step(opened.plus(14), Level::Alarm, None, waits);
        stage.step(opened.plus(days), Level::Alarm, None, waits).active_since()
    };
    assert_eq!(after(56, 49), Some(opened));
    assert_eq!(after(56, 56), Some(opened.plus(56)));
    assert_eq!(after(0, 56), Some(opened));
}

#[test]
fn what_its_record_ends_clears_at_once() {
    let waits = Waits { quiet: 14, rearm: 14 };
    let opened = day("2026-01-05");
    let open = Stage::Quiet.step(opened, Level::Alarm, None, waits);
    let cleared = open.step(opened.plus(1), Level::Gone, None, waits);
    assert_eq!(
        cleared,
        Stage::Cleared {
            opened,
            confirmed: None,
            since: opened.plus(1)
        }
    );
}

#[test]
fn what_has_cleared_still_says_when_it_was_confirmed() {
    let waits = Waits { quiet: 14, rearm: 56 };
    let opened = day("2026-01-05");
    let (confirmed, over) = (opened.plus(14), opened.plus(28));
    let stage = Stage::Quiet
        .step(opened, Level::Alarm, None, waits)
        .step(confirmed, Level::Alarm, None, waits);
    for level in [Level::Calm, Level::Gone] {
        let cleared = Stage::Cleared {
            opened,
            confirmed: Some(confirmed),
            since: over,
        };
        assert_eq!(stage.step(over, level, None, waits), cleared);
    }
}

#[test]
fn severity_is_a_half_at_the_limit_and_stays_below_one() {
    let today = day("2026-01-05");
    let severity = |strength: f64| {
        let episode = Episode {
            opened: today,
            since: today,
            confirmed: None,
            strength_micro: Micro::from_f64(strength),
            value_micro: Micro::ZERO,
            baseline_micro: None,
            parts: Vec::new(),
            subject: None,
            records: Vec::new(),
            records_total: 0,
        };
        episode.severity_micro().to_f64()
    };
    assert_eq!([severity(0.0), severity(1.0), severity(3.0)], [0.0, 0.5, 0.75]);
    assert!(severity(1e5) < 1.0);
}

#[test]
fn an_alarm_is_followed_by_eight_weeks_of_silence() {
    let series = LogOdds {
        first: day("2025-01-06"),
        weeks: (0..60)
            .map(|k| Some(if k < 20 { 1.0 } else { 1.0 - 0.5 * f64::from(k - 19) }))
            .collect(),
    };
    let peers = Peers((0..60).map(|k| (day("2025-01-06").plus(7 * k), Micro::ZERO)).collect());
    let found = alarms(&PeerAdjusted::of(&(&series).into(), &peers), -0.74);
    assert!(found.len() > 2);
    assert!(found.windows(2).all(|w| w[0].days_until(w[1]) == 56), "{found:?}");
}

#[test]
fn what_all_peers_do_is_no_fall_of_one() {
    let start = day("2025-01-06");
    let account = |own: f64| LogOdds {
        first: start,
        // From week 50 on everybody is on holiday.
        weeks: (0..56).map(|k| Some(own + if k >= 50 { -1.2 } else { 0.0 })).collect(),
    };
    let all: Vec<LogOdds> = (0..12).map(|k| account(f64::from(k) / 10.0)).collect();
    let peers = Peers::of(&all, start, start.plus(7 * 56));
    assert_eq!(peers.at(start.plus(7 * 27)), None, "nobody is 28 weeks old");
    assert_eq!(peers.at(start.plus(7 * 28)), Some(0.0));
    assert_eq!(peers.at(start.plus(7 * 50)), Some(-1.2));
    let newest = start.plus(7 * 55);
    let shift = |peers: &Peers| {
        let shift = PeerAdjusted::of(&(&all[0]).into(), peers).shift(newest);
        shift.expect("enough weeks").0
    };
    assert!(shift(&peers).abs() < 1e-9, "{}", shift(&peers));
    // Against an index of zero the same weeks are a fall.
    let none = Peers((0..60).map(|k| (start.plus(7 * k), Micro::ZERO)).collect());
    assert!(shift(&none) < -0.9);
    // Nine accounts are no peer group.
    assert!(Peers::of(&all[..9], start, newest).is_empty());
}

#[test]
fn the_index_and_the_sample_do_not_depend_on_the_order_of_accounts() {
    let ids: Vec<AccountId> = (0..2_500).map(|k| AccountId::new(format!("acc-{k}"))).collect();
    let mut turned = ids.clone();
    turned.reverse();
    let chosen = sample(ids.clone());
    assert_eq!(chosen.len(), PEERS_MAX);
    assert_eq!(chosen, sample(turned.into_iter().chain(ids)));
}

#[test]
fn features_and_seats_that_are_lost_are_found() {
    let rows = weeks(&[(14, 12.0), (4, 6.0)]);
    let (found, _) = state(
        Detector::BreadthLoss,
        day(MONDAY),
        use_of("features_used", &rows, 100.0),
    );
    assert_eq!(found, "open");
    let rows = weeks(&[(14, 50.0), (2, 40.0)]);
    let (found, _) = state(Detector::SeatContraction, day(MONDAY), use_of("seats", &rows, 0.0));
    assert_eq!(found, "unknown", "seats of zero are no base");
}

#[test]
fn without_the_table_nothing_is_detected_and_nothing_is_added() {
    let mut content: Content = crate::policy::tests::shipped();
    let text = content.policies.get_mut("scoring.toml").expect("shipped");
    let end = text.find("[signals]").expect("the table");
    text.truncate(end);
    let policies = Policies::compile(&content).expect("a file of before there were detectors");
    let rows = weeks(&[(24, 60.0), (6, 20.0)]);
    let inputs = crate::decide::Inputs {
        plays: Vec::new(),
        earned: Vec::new(),
        tenant: crate::ids::TenantId::DEFAULT,
        content: policies.content,
        default_crm: crate::signal::Crm::Salesforce,
        our_name: None,
        snapshot: snapshot_on(day(MONDAY), use_of("active_users", &rows, 100.0)),
        owner: None,
        peers: no_peer_effect(),
        feeds: crate::feature::Feeds::default(),
        health_before: Vec::new(),
    };
    let decision = crate::decide::decide(&inputs, &policies);
    assert!(decision.signals.is_empty());
    assert!(!decision.features.0.contains_key("usage_drop_open"));
    let before = crate::decide::Inputs {
        peers: Peers::default(),
        feeds: crate::feature::Feeds::default(),
        health_before: Vec::new(),
        ..inputs
    };
    assert!(
        !crate::replay::canonical(&before).contains("peers"),
        "stored inputs keep their bytes"
    );
}

#[test]
fn a_decision_carries_signals_and_their_facts_and_reads_back() {
    let policies = policies();
    let rows = weeks(&[(24, 60.0), (6, 20.0)]);
    let inputs = crate::decide::Inputs {
        plays: Vec::new(),
        earned: Vec::new(),
        tenant: crate::ids::TenantId::DEFAULT,
        content: policies.content,
        default_crm: crate::signal::Crm::Salesforce,
        our_name: None,
        snapshot: snapshot_on(day(MONDAY), use_of("active_users", &rows, 100.0)),
        owner: None,
        peers: no_peer_effect(),
        feeds: crate::feature::Feeds::default(),
        health_before: Vec::new(),
    };
    let text = crate::replay::canonical(&inputs);
    let read: crate::decide::Inputs = crate::replay::read("inputs", &text).expect("inputs read back");
    let decision = crate::decide::decide(&read, &policies);
    assert_eq!(decision.features.flag("usage_drop_open"), Some(true));
    let drop = decision.signals.iter().find(|d| d.detector == Detector::UsageDrop);
    let episode = drop.and_then(Detection::active).expect("an open signal");
    assert!(episode.strength_micro > Micro::ONE && episode.records_total == 16 && episode.records.len() == MAX_RECORDS);
    let text = crate::replay::canonical(&decision);
    let back: crate::decide::Decision = crate::replay::read("decision", &text).expect("a decision reads back");
    assert_eq!(crate::replay::canonical(&back), text);
}

/// Mean number of steps to the first alarm, by the Markov chain of Brook and Evans (1972) with `cells` states.
fn run_length(k: f64, h: f64, shift: f64, cells: usize) -> f64 {
    let below = |x: f64| 0.5 * libm::erfc(-x / std::f64::consts::SQRT_2);
    let width = 2.0 * h / (2.0 * cells as f64 - 1.0);
    let mut rows: Vec<Vec<f64>> = (0..cells)
        .map(|from| {
            let mut row: Vec<f64> = (0..cells)
                .map(|to| {
                    let upper = (to as f64 - from as f64 + 0.5) * width + k - shift;
                    let lower = (to as f64 - from as f64 - 0.5) * width + k - shift;
                    let lower = if to == 0 { 0.0 } else { below(lower) };
                    f64::from(u8::from(from == to)) - (below(upper) - lower)
                })
                .collect();
            row.push(1.0);
            row
        })
        .collect();
    for pivot in 0..cells {
        for row in pivot + 1..cells {
            let factor = rows[row][pivot] / rows[pivot][pivot];
            let from = rows[pivot].clone();
            rows[row]
                .iter_mut()
                .zip(&from)
                .for_each(|(to, from)| *to -= factor * from);
        }
    }
    let mut solved = vec![0.0; cells];
    for row in (0..cells).rev() {
        let rest: f64 = (row + 1..cells).map(|c| rows[row][c] * solved[c]).sum();
        solved[row] = (rows[row][cells] - rest) / rows[row][row];
    }
    solved[0]
}

#[test]
fn the_cumulative_sum_has_the_published_run_lengths() {
    for (h, shift, expected) in [
        (4.0, 0.0, 335.4),
        (4.0, 1.0, 8.38),
        (5.0, 0.0, 930.9),
        (5.0, 1.0, 10.38),
    ] {
        let found = run_length(0.5, h, shift, 80);
        assert!((found / expected - 1.0).abs() < 0.004, "h {h}, shift {shift}: {found}");
    }
    // A sum to each side alarms at the first of the two: rates add up, so that without a shift the run is half as long.
    for (h, expected) in [(4.0, 167.7), (5.0, 465.4)] {
        let one_sided = run_length(0.5, h, 0.0, 80);
        let found = 1.0 / (2.0 / one_sided);
        assert!((found / expected - 1.0).abs() < 0.004, "h {h}: {found}");
    }
    // What the chain describes is what the function does: alarm above h, then from zero.
    assert_eq!(cusum(&[-2.0, -2.0, -2.0, 0.0, -5.0], 0.5, 4.0), [2, 4]);
}
