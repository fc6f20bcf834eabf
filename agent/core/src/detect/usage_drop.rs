//! Usage drop: peer-adjusted difference of log odds.
//!
//! u = l - P; D(t) = mean of u over the weeks t-3 to t, less its mean over t-15 to t-4. Of the 4 and the 12 weeks at
//! least 3 and 8 must be known. Alarm where D is below the limit, the next at the earliest 8 weeks later.

use super::peers::Peers;
use super::weeks::{LogOdds, WEEK_DAYS, mean};
use super::{Known, Reading};
use crate::time::Day;

/// Weeks that "now" means, and how many of them must be known.
const NOW: (i64, usize) = (4, 3);
/// Weeks that "before" means, right before "now", and how many of them must be known.
const BEFORE: (i64, usize) = (12, 8);
/// Weeks from one alarm to the next at the earliest; so long an episode keeps the base it began with.
pub const REARM_WEEKS: i64 = 8;

/// Mean peer-adjusted log odds of the `count` weeks that end with the week of `newest`.
fn adjusted(series: &LogOdds, peers: &Peers, newest: Day, (count, enough): (i64, usize)) -> Option<f64> {
    let known: Vec<f64> = (0..count)
        .map(|k| newest.plus(-WEEK_DAYS * k))
        .filter_map(|monday| Some(series.at(monday)? - peers.at(monday)?))
        .collect();
    mean(&known, enough)
}

/// D of the week that starts on a Monday, and the mean before it, both in log odds.
///
/// # Errors
/// Names what is missing.
pub fn shift(series: &LogOdds, peers: &Peers, monday: Day) -> Result<(f64, f64), &'static str> {
    against(series, peers, monday, monday)
}

/// As [`shift`], with the base of the week `anchor`.
fn against(series: &LogOdds, peers: &Peers, monday: Day, anchor: Day) -> Result<(f64, f64), &'static str> {
    let known = |count: i64, newest: Day| {
        (0..count)
            .filter(|k| series.at(newest.plus(-WEEK_DAYS * k)).is_some())
            .count()
    };
    let before_anchor = anchor.plus(-WEEK_DAYS * NOW.0);
    match (
        adjusted(series, peers, monday, NOW),
        adjusted(series, peers, before_anchor, BEFORE),
    ) {
        (Some(now), Some(before)) => Ok((now - before, before)),
        (_, _) if known(NOW.0, monday) < NOW.1 => Err("usage.active_users and usage.seats of 3 of the last 4 weeks"),
        (_, _) if known(BEFORE.0, before_anchor) < BEFORE.1 => {
            Err("usage.active_users and usage.seats of 8 of the 12 weeks before")
        }
        (_, _) => Err("the peer index: use of 10 accounts or more over 28 weeks"),
    }
}

/// Mondays of the weeks in which the detector would have raised an alarm, over the whole series.
#[must_use]
pub fn alarms(series: &LogOdds, peers: &Peers, limit: f64) -> Vec<Day> {
    let weeks = i64::try_from(series.weeks.len()).unwrap_or(0);
    let values = (0..weeks).map(|week| {
        let monday = series.first.plus(WEEK_DAYS * week);
        (monday, shift(series, peers, monday).ok().map(|(d, _)| d))
    });
    alarms_of(values, limit)
}

/// Weeks whose value is below the limit, each at least 8 weeks after the one before. Values come in the order of weeks.
#[must_use]
pub fn alarms_of(values: impl IntoIterator<Item = (Day, Option<f64>)>, limit: f64) -> Vec<Day> {
    let mut found: Vec<Day> = Vec::new();
    for (monday, value) in values {
        let armed = found
            .last()
            .is_none_or(|last| last.days_until(monday) >= REARM_WEEKS * WEEK_DAYS);
        if armed && value.is_some_and(|d| d < limit) {
            found.push(monday);
        }
    }
    found
}

/// D as of a day. In the first 8 weeks of an episode use is held against the base it fell from, afterwards against the
/// weeks right before: what has stayed low so long is the new usual.
pub(super) fn read<'a>(known: &Known<'a>, day: Day, opened: Option<Day>) -> Result<Reading<'a>, String> {
    let newest = day.week_start().plus(-WEEK_DAYS);
    let anchor = opened
        .map(|opened| opened.week_start().plus(-WEEK_DAYS))
        .filter(|anchor| anchor.days_until(newest) < REARM_WEEKS * WEEK_DAYS)
        .unwrap_or(newest);
    let (value, baseline) = against(&known.log_odds, known.peers, newest, anchor).map_err(str::to_owned)?;
    Ok(Reading {
        baseline: Some(baseline),
        records: known.weeks.records(day, NOW.0 + BEFORE.0),
        ..Reading::of(value)
    })
}

/// Growth: the same difference, upwards.
pub(super) fn read_growth<'a>(known: &Known<'a>, day: Day, opened: Option<Day>) -> Result<Reading<'a>, String> {
    read(known, day, opened)
}
