//! The life of a condition: quiet, open, confirmed, cleared.
//!
//! Promises: under noise at most one change in the quiet time of the policy (14 days as shipped); what is removed by
//! its record (a case closed, a bill paid) clears at once; a value that is not known changes nothing. A detector that rearms
//! takes a value beyond its limit, so long after the opening, for a new episode: it is held against a new base then.

use crate::time::Day;

/// What a detector sees on one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// Beyond the limit that opens.
    Alarm,
    /// Between the two limits.
    Between,
    /// Back within the limit that clears.
    Calm,
    /// The record of the cause says that it is over.
    Gone,
    /// Not known.
    Unknown,
}

/// Where a condition stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Quiet,
    Open {
        opened: Day,
    },
    Confirmed {
        opened: Day,
        since: Day,
    },
    Cleared {
        opened: Day,
        confirmed: Option<Day>,
        since: Day,
    },
}

/// Waiting times, in days.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waits {
    /// Between two changes.
    pub(super) quiet: i64,
    /// From one opening to the next; 0 where a condition that stays is one episode however long it lasts.
    pub(super) rearm: i64,
}

impl Stage {
    /// First day of the episode that is not over.
    pub(super) fn active_since(self) -> Option<Day> {
        match self {
            Stage::Open { opened } | Stage::Confirmed { opened, .. } => Some(opened),
            Stage::Quiet | Stage::Cleared { .. } => None,
        }
    }

    /// What follows from what is seen on `day`; `cause` is the day on which it began, where a record says so.
    pub(super) fn step(self, day: Day, level: Level, cause: Option<Day>, waits: Waits) -> Stage {
        let rested = |since: Day| since.days_until(day) >= waits.quiet;
        let rearmed = |opened: Day| waits.rearm > 0 && opened.days_until(day) >= waits.rearm;
        let begin = Stage::Open {
            opened: cause.unwrap_or(day).min(day),
        };
        match (self, level) {
            (Stage::Quiet, Level::Alarm) => begin,
            (Stage::Cleared { opened, since, .. }, Level::Alarm)
                if rested(since) && opened.days_until(day) >= waits.rearm =>
            {
                begin
            }
            (Stage::Open { opened }, Level::Alarm) if rearmed(opened) => begin,
            (Stage::Confirmed { opened, since }, Level::Alarm) if rearmed(opened) && rested(since) => begin,
            (Stage::Open { opened }, Level::Alarm) if rested(opened) => Stage::Confirmed { opened, since: day },
            (Stage::Open { opened }, Level::Calm) if rested(opened) => Stage::Cleared {
                opened,
                confirmed: None,
                since: day,
            },
            (Stage::Confirmed { opened, since }, Level::Calm) if rested(since) => Stage::Cleared {
                opened,
                confirmed: Some(since),
                since: day,
            },
            (Stage::Open { opened }, Level::Gone) => Stage::Cleared {
                opened,
                confirmed: None,
                since: day,
            },
            (Stage::Confirmed { opened, since }, Level::Gone) => Stage::Cleared {
                opened,
                confirmed: Some(since),
                since: day,
            },
            (
                Stage::Quiet | Stage::Open { .. } | Stage::Confirmed { .. } | Stage::Cleared { .. },
                Level::Alarm | Level::Between | Level::Calm | Level::Gone | Level::Unknown,
            ) => self,
        }
    }
}

/// The strength that is left of past readings: the sum of s 2^-(age / half-life), ages and half-lives in the same unit
/// (exponential decay). A half-life of zero or less forgets at once.
#[must_use]
pub fn decayed(readings: impl IntoIterator<Item = (f64, f64, f64)>) -> f64 {
    readings
        .into_iter()
        .map(|(strength, age, half_life)| {
            if half_life > 0.0 {
                strength * libm::exp2(-age / half_life)
            } else if age <= 0.0 {
                strength
            } else {
                0.0
            }
        })
        .sum()
}

/// One-sided cumulative sum for a fall (Page 1954): C(t) = max(0, C(t-1) - z(t) - k); an alarm where C exceeds h resets
/// C to zero. Gives the positions of the alarms; the caller renews the base that z is taken against.
#[must_use]
pub fn cusum(z: &[f64], k: f64, h: f64) -> Vec<usize> {
    let mut sum = 0.0_f64;
    let mut alarms = Vec::new();
    for (at, z) in z.iter().enumerate() {
        sum = (sum - z - k).max(0.0);
        if sum > h {
            alarms.push(at);
            sum = 0.0;
        }
    }
    alarms
}
