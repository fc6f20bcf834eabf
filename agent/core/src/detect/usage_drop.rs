//! Usage drop: peer-adjusted difference of log odds, with what else speaks for it.
//!
//! u = l - P; D(t) = mean of u over the weeks t-3 to t, less its mean over t-15 to t-4. Of the 4 and the 12 weeks at
//! least 3 and 8 must be known. Alarm where the value is below the limit, the next at the earliest 8 weeks later.
//!
//! The value is D where the policy counts nothing else. Where it does, the same difference of features in use and of
//! events a user, each times its scale and weight, is added to D, and the sum is divided by what keeps its spread that of
//! D: the square root of the sum over all pairs of known parts of w(i) w(j) r, r being 1 for a part with itself, else the
//! policy's agreement. So a limit means the same whichever parts are known. What is not known is not in the sum. A
//! champion who used to log in and is away for more than half of the 4 weeks adds to it after that division, because it has
//! no noise of its own: half of its weight for three weeks, all of it for four. Two weeks are leave.
//!
//! Weeks in which peers as a whole are away say nothing about features, events and the champion: only active seats are
//! adjusted for them. So that a holiday of two weeks does not silence features and events, two of the 4 weeks are enough for them.

use serde::{Deserialize, Serialize};

use super::peers::Peers;
use super::weeks::{UseSeries, UseWeek, WEEK_DAYS};
use super::{Known, Reading};
use crate::number::Micro;
use crate::signal::word_enum;
use crate::time::Day;

/// Weeks that "now" means, and how many of them must be known.
const NOW: (i64, usize) = (4, 3);
/// Weeks that "before" means, right before "now", and how many of them must be known.
const BEFORE: (i64, usize) = (12, 8);
/// Weeks from one alarm to the next at the earliest; so long an episode keeps the base it began with.
pub const REARM_WEEKS: i64 = 8;

/// As [`NOW`], for features and events.
const NOW_OF_PARTS: (i64, usize) = (4, 2);
/// A week whose peer index lies below this is one in which everybody is away, such as a holiday. In log odds.
const AWAY_BELOW: f64 = -0.3;
/// Share of the weeks before in which the champion logged in at the least, so that absence now says something.
const REGULAR_CHAMPION: f64 = 0.75;

/// Share of the weeks now that a champion may be on leave.
const LEAVE: f64 = 0.5;

word_enum! {
    /// What a usage drop can be seen by.
    UsePart {
        /// The share of active seats.
        ActiveSeats = "active_seats",
        /// Features in use.
        Features = "features",
        /// Events by active user.
        EventsPerUser = "events_per_user",
        /// The champion's log-ins.
        Champion = "champion",
    }
}

/// What one part adds to a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contribution {
    /// Which.
    pub part: UsePart,
    /// What it adds, in the unit of the value; all of them sum to it exactly.
    pub value_micro: Micro,
}

/// How one part counts beside the active seats, whose scale and weight are 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PartWeight {
    /// Log odds of active seats that a difference of 1 is worth: the spread of those by the spread of this.
    pub scale: f64,
    /// How much it counts.
    pub weight: f64,
}

/// What counts beside the active seats.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct UseEvidence {
    /// Natural logarithm of features in use.
    pub features: Option<PartWeight>,
    /// Natural logarithm of events by active user.
    pub events_per_user: Option<PartWeight>,
    /// Log odds that a champion adds who is away in all 4 weeks.
    pub champion: f64,
    /// How closely the parts go together where nothing happens, 0 to 1: a correlation.
    pub agreement: f64,
}

/// A value of the usage drop with its parts.
#[derive(Debug, Clone, PartialEq)]
pub struct UseDrop {
    /// The value, in log odds.
    pub value: f64,
    /// The mean peer-adjusted log odds of active seats before.
    pub baseline: f64,
    /// What the known parts add; they sum to the value.
    pub parts: Vec<Contribution>,
}

/// An account's use against its peers, week by week, ready to be compared.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerAdjusted {
    first: Day,
    weeks: Vec<AdjustedWeek>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct AdjustedWeek {
    /// Log odds of active seats as they were measured.
    measured: Option<f64>,
    /// The same less those of the peers.
    adjusted: Option<f64>,
    breadth: Option<f64>,
    depth: Option<f64>,
    unseen: Option<f64>,
}

impl PeerAdjusted {
    /// Takes away what all peers did. Of a week in which they are away as a whole only the active seats are left.
    #[must_use]
    pub fn of(series: &UseSeries, peers: &Peers) -> PeerAdjusted {
        let mondays = (0..).map(|week| series.first.plus(WEEK_DAYS * week));
        let week = |(week, monday): (&UseWeek, Day)| {
            let index = peers.at(monday);
            let present = index.is_some_and(|index| index >= AWAY_BELOW);
            AdjustedWeek {
                measured: week.active,
                adjusted: week.active.zip(index).map(|(active, index)| active - index),
                breadth: week.breadth.filter(|_| present),
                depth: week.depth.filter(|_| present),
                unseen: week.unseen.filter(|_| present),
            }
        };
        PeerAdjusted {
            first: series.first,
            weeks: series.weeks.iter().zip(mondays).map(week).collect(),
        }
    }

    /// Of the `count` weeks that end with the week of `newest`, the newest first.
    fn back(&self, newest: Day, count: i64) -> impl Iterator<Item = &AdjustedWeek> {
        let newest = self.first.days_until(newest).div_euclid(WEEK_DAYS);
        let at = move |k: i64| usize::try_from(newest - k).ok();
        (0..count).filter_map(move |k| self.weeks.get(at(k)?))
    }

    fn mean(
        &self,
        newest: Day,
        (count, enough): (i64, usize),
        pick: impl Fn(&AdjustedWeek) -> Option<f64>,
    ) -> Option<f64> {
        let (mut sum, mut known) = (0.0, 0);
        for value in self.back(newest, count).filter_map(pick) {
            sum += value;
            known += 1;
        }
        (known >= enough).then(|| sum / known as f64)
    }

    /// D of the week that starts on a Monday, and the mean before it, both in log odds of active seats.
    ///
    /// # Errors
    /// Names what is missing.
    pub fn shift(&self, monday: Day) -> Result<(f64, f64), &'static str> {
        self.shift_against(monday, monday)
    }

    /// As [`PeerAdjusted::shift`], with the base of the week `anchor`.
    fn shift_against(&self, monday: Day, anchor: Day) -> Result<(f64, f64), &'static str> {
        let before_anchor = anchor.plus(-WEEK_DAYS * NOW.0);
        let measured = |newest: Day, count: i64| self.back(newest, count).filter(|w| w.measured.is_some()).count();
        let now = self.mean(monday, NOW, |w| w.adjusted);
        let before = self.mean(before_anchor, BEFORE, |w| w.adjusted);
        match (now, before) {
            (Some(now), Some(before)) => Ok((now - before, before)),
            (_, _) if measured(monday, NOW.0) < NOW.1 => {
                Err("usage.active_users and usage.seats of 3 of the last 4 weeks")
            }
            (_, _) if measured(before_anchor, BEFORE.0) < BEFORE.1 => {
                Err("usage.active_users and usage.seats of 8 of the 12 weeks before")
            }
            (_, _) => Err("the peer index: use of 10 accounts or more over 28 weeks"),
        }
    }

    /// The value of the week that starts on a Monday.
    ///
    /// # Errors
    /// Names what is missing of the active seats. Other parts that are not known are left out.
    pub fn usage_drop(&self, monday: Day, evidence: &UseEvidence) -> Result<UseDrop, &'static str> {
        self.drop_against(monday, monday, evidence)
    }

    /// As [`PeerAdjusted::usage_drop`], with the base of the week `anchor`.
    fn drop_against(&self, monday: Day, anchor: Day, evidence: &UseEvidence) -> Result<UseDrop, &'static str> {
        type Pick = fn(&AdjustedWeek) -> Option<f64>;
        let (active, baseline) = self.shift_against(monday, anchor)?;
        let before_anchor = anchor.plus(-WEEK_DAYS * NOW.0);
        let now_and_before =
            |now: (i64, usize), pick: Pick| self.mean(monday, now, pick).zip(self.mean(before_anchor, BEFORE, pick));
        let difference = |weight: Option<PartWeight>, pick: Pick| {
            let weight = weight.filter(|w| w.weight > 0.0)?;
            let (now, before) = now_and_before(NOW_OF_PARTS, pick)?;
            Some((weight.weight, weight.scale * (now - before)))
        };
        let known: Vec<(UsePart, f64, f64)> = [
            (UsePart::ActiveSeats, Some((1.0, active))),
            (UsePart::Features, difference(evidence.features, |w| w.breadth)),
            (
                UsePart::EventsPerUser,
                difference(evidence.events_per_user, |w| w.depth),
            ),
        ]
        .into_iter()
        .filter_map(|(part, found)| found.map(|(weight, x)| (part, weight, x)))
        .collect();
        let weights: f64 = known.iter().map(|p| p.1).sum();
        let squares: f64 = known.iter().map(|p| p.1 * p.1).sum();
        // The variance of the weighted sum, when each part has that of the active seats.
        let spread = libm::sqrt(squares + evidence.agreement * (weights * weights - squares));
        let mut parts: Vec<Contribution> = known
            .iter()
            .map(|(part, weight, x)| Contribution {
                part: *part,
                value_micro: Micro::from_f64(weight * x / spread),
            })
            .collect();
        let champion = (evidence.champion > 0.0)
            .then(|| now_and_before(NOW, |w| w.unseen))
            .flatten()
            .filter(|(_, unseen_before)| 1.0 - unseen_before >= REGULAR_CHAMPION);
        parts.extend(champion.map(|(unseen, _)| Contribution {
            part: UsePart::Champion,
            value_micro: Micro::from_f64(-evidence.champion * ((unseen - LEAVE) / (1.0 - LEAVE)).max(0.0)),
        }));
        // INVARIANT (the value is the sum of its parts): made by adding, never computed beside them.
        let value = Micro(parts.iter().map(|p| p.value_micro.0).sum());
        Ok(UseDrop {
            value: value.to_f64(),
            baseline,
            parts,
        })
    }
}

/// Mondays of the weeks in which D alone would have raised an alarm, over the whole series.
#[must_use]
pub fn alarms(series: &PeerAdjusted, limit: f64) -> Vec<Day> {
    let mondays = (0..)
        .map(|week| series.first.plus(WEEK_DAYS * week))
        .take(series.weeks.len());
    let values = mondays.map(|monday| (monday, series.shift(monday).ok().map(|(d, _)| d)));
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

/// The last complete week before a day, and the week whose base counts: in the first 8 weeks of an episode use is held
/// against the base it fell from, afterwards against the weeks right before: what has stayed low so long is the new usual.
fn newest_and_anchor(day: Day, opened: Option<Day>) -> (Day, Day) {
    let newest = day.week_start().plus(-WEEK_DAYS);
    let anchor = opened
        .map(|opened| opened.week_start().plus(-WEEK_DAYS))
        .filter(|anchor| anchor.days_until(newest) < REARM_WEEKS * WEEK_DAYS)
        .unwrap_or(newest);
    (newest, anchor)
}

/// The value as of a day, with its parts where there are several.
pub(super) fn read<'a>(known: &Known<'a>, day: Day, opened: Option<Day>) -> Result<Reading<'a>, String> {
    let (newest, anchor) = newest_and_anchor(day, opened);
    let evidence = &known.evidence;
    let drop = known
        .adjusted
        .drop_against(newest, anchor, evidence)
        .map_err(str::to_owned)?;
    Ok(Reading {
        baseline: Some(drop.baseline),
        parts: if *evidence == UseEvidence::default() {
            Vec::new()
        } else {
            drop.parts
        },
        records: known.weeks.records(day, NOW.0 + BEFORE.0),
        ..Reading::of(drop.value)
    })
}

/// Growth: the difference of active seats alone, upwards.
pub(super) fn read_growth<'a>(known: &Known<'a>, day: Day, opened: Option<Day>) -> Result<Reading<'a>, String> {
    let (newest, anchor) = newest_and_anchor(day, opened);
    let (value, baseline) = known.adjusted.shift_against(newest, anchor).map_err(str::to_owned)?;
    Ok(Reading {
        baseline: Some(baseline),
        records: known.weeks.records(day, NOW.0 + BEFORE.0),
        ..Reading::of(value)
    })
}
