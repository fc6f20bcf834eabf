//! Measured use by calendar week, Monday to Sunday: what the detectors of use read.
//!
//! Promises: only complete weeks are there; a week without a row, or a value that was not measured, is unknown.

use crate::feature::most;
use crate::signal::{Grain, RecordRef};
use crate::snapshot::Snapshot;
use crate::time::Day;

/// Use in one calendar week; `None` is unknown.
#[derive(Debug, Clone, Default)]
pub(super) struct Week<'a> {
    pub(super) active: Option<f64>,
    pub(super) seats: Option<f64>,
    pub(super) features: Option<f64>,
    pub(super) events: Option<f64>,
    pub(super) champion: Option<f64>,
    pub(super) records: Vec<&'a RecordRef>,
}

/// All complete weeks of a snapshot, without a gap in the calendar.
#[derive(Debug, Clone)]
pub(super) struct Weeks<'a> {
    first: Day,
    weeks: Vec<Week<'a>>,
}

/// Days of a week.
pub(super) const WEEK_DAYS: i64 = 7;

impl<'a> Weeks<'a> {
    pub(super) fn of(snapshot: &'a Snapshot) -> Weeks<'a> {
        let end = snapshot.as_of.day().week_start();
        let first = snapshot.usage.iter().map(|u| u.fact.start).min();
        let first = first.map_or(end, Day::week_start).min(end);
        let count = usize::try_from(first.days_until(end) / WEEK_DAYS).unwrap_or(0);
        let mut weeks = Weeks {
            first,
            weeks: vec![Week::default(); count],
        };
        for held in &snapshot.usage {
            let usage = &held.fact;
            let last_day = match usage.grain {
                Grain::Day => usage.start,
                Grain::Week => usage.start.plus(6),
            };
            if last_day >= snapshot.as_of.day() {
                continue;
            }
            let index = usize::try_from(first.days_until(usage.start) / WEEK_DAYS).ok();
            let Some(week) = index.and_then(|i| weeks.weeks.get_mut(i)) else {
                continue;
            };
            let value = |name: &str| usage.values.get(name).map(|v| v.to_f64());
            // As in the features: people who use two products, or on two days, are one.
            most(&mut week.active, value("active_users"));
            most(&mut week.seats, value("seats"));
            most(&mut week.features, value("features_used"));
            most(&mut week.events, value("core_events"));
            most(&mut week.champion, value("champion_seen"));
            week.records.push(&held.record);
        }
        weeks
    }

    /// The week that starts on a Monday.
    pub(super) fn at(&self, monday: Day) -> Option<&Week<'a>> {
        let index = usize::try_from(self.first.days_until(monday).div_euclid(WEEK_DAYS)).ok()?;
        self.weeks.get(index)
    }

    /// The log odds of a seat being active, week by week.
    pub(super) fn log_odds(&self) -> LogOdds {
        LogOdds {
            first: self.first,
            weeks: self
                .weeks
                .iter()
                .map(|w| w.active.zip(w.seats).map(|(active, seats)| log_odds(active, seats)))
                .collect(),
        }
    }

    /// What the usage drop reads, week by week.
    pub(super) fn measures(&self) -> UseSeries {
        let week = |w: &Week<'a>| UseWeek::of(w.active, w.seats, w.events, w.features, w.champion);
        UseSeries {
            first: self.first,
            weeks: self.weeks.iter().map(week).collect(),
        }
    }

    /// Known values of the `count` weeks before `before`, the newest `skip` of them left out; the oldest first.
    pub(super) fn values(&self, before: Day, skip: i64, count: i64, pick: fn(&Week<'a>) -> Option<f64>) -> Vec<f64> {
        let newest = before.week_start().plus(-WEEK_DAYS * (skip + 1));
        (0..count)
            .rev()
            .filter_map(|k| pick(self.at(newest.plus(-WEEK_DAYS * k))?))
            .collect()
    }

    /// Records of the `count` weeks before `before`, the newest first.
    pub(super) fn records(&self, before: Day, count: i64) -> Vec<&'a RecordRef> {
        let newest = before.week_start().plus(-WEEK_DAYS);
        (0..count)
            .filter_map(|k| self.at(newest.plus(-WEEK_DAYS * k)))
            .flat_map(|w| w.records.iter().copied())
            .collect()
    }
}

/// l = ln((a + .5) / (s - a + .5)), the empirical logit (Haldane 1956, Anscombe 1956): a active users of s seats. More
/// active users than seats count as all seats.
#[must_use]
pub fn log_odds(active: f64, seats: f64) -> f64 {
    let seats = seats.max(active);
    libm::log((active + 0.5) / (seats - active + 0.5))
}

/// An account's log odds of a seat being active, a value for each week from a Monday on; `None` is unknown.
#[derive(Debug, Clone, PartialEq)]
pub struct LogOdds {
    /// Monday of the first week.
    pub first: Day,
    /// Weeks in order.
    pub weeks: Vec<Option<f64>>,
}

impl LogOdds {
    /// The log odds that a snapshot's measured use gives.
    #[must_use]
    pub fn of(snapshot: &Snapshot) -> LogOdds {
        Weeks::of(snapshot).log_odds()
    }

    /// The value of the week that starts on a Monday.
    #[must_use]
    pub fn at(&self, monday: Day) -> Option<f64> {
        let index = usize::try_from(self.first.days_until(monday).div_euclid(WEEK_DAYS)).ok()?;
        self.weeks.get(index).copied().flatten()
    }
}

/// What the usage drop reads of one week, each `None` where it was not measured.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct UseWeek {
    /// Log odds of a seat being active; see [`log_odds`].
    pub active: Option<f64>,
    /// Natural logarithm of features in use, plus 1.
    pub breadth: Option<f64>,
    /// Natural logarithm of (events + 1) by (active users + 1).
    pub depth: Option<f64>,
    /// 1 where the champion did not log in, else 0.
    pub unseen: Option<f64>,
}

impl UseWeek {
    /// From what was counted.
    #[must_use]
    pub fn of(
        active: Option<f64>,
        seats: Option<f64>,
        events: Option<f64>,
        features: Option<f64>,
        champion: Option<f64>,
    ) -> UseWeek {
        UseWeek {
            active: active.zip(seats).map(|(active, seats)| log_odds(active, seats)),
            breadth: features.map(|features| libm::log(features + 1.0)),
            depth: events
                .zip(active)
                .map(|(events, active)| libm::log((events + 1.0) / (active + 1.0))),
            unseen: champion.map(|seen| if seen > 0.0 { 0.0 } else { 1.0 }),
        }
    }
}

/// An account's use, a value for each week from a Monday on.
#[derive(Debug, Clone, PartialEq)]
pub struct UseSeries {
    /// Monday of the first week.
    pub first: Day,
    /// Weeks in order.
    pub weeks: Vec<UseWeek>,
}

impl UseSeries {
    /// The log odds alone.
    #[must_use]
    pub fn log_odds(&self) -> LogOdds {
        LogOdds {
            first: self.first,
            weeks: self.weeks.iter().map(|w| w.active).collect(),
        }
    }
}

impl From<&LogOdds> for UseSeries {
    /// Active seats alone: nothing else was measured.
    fn from(series: &LogOdds) -> UseSeries {
        let week = |active: &Option<f64>| UseWeek {
            active: *active,
            ..UseWeek::default()
        };
        UseSeries {
            first: series.first,
            weeks: series.weeks.iter().map(week).collect(),
        }
    }
}

/// The middle value, the mean of the two middle ones of an even number; `None` of nothing.
pub(super) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    values.get(middle.wrapping_sub(1)).map(|lower| (lower + upper) / 2.0)
}

/// The mean, when at least `enough` values are known.
pub(super) fn mean(values: &[f64], enough: usize) -> Option<f64> {
    (values.len() >= enough.max(1)).then(|| values.iter().sum::<f64>() / values.len() as f64)
}
