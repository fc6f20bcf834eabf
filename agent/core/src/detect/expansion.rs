//! Room to grow: the day on which seats run out, and readiness for another module.

use super::weeks::{WEEK_DAYS, mean, median};
use super::{Known, Reading};
use crate::number::Micro;
use crate::time::Day;

/// Weeks that a trend is taken over, and how many of them must be known.
const TREND: (i64, usize) = (16, 12);
/// Further ahead than this no date is named: the days of a limit that is out of sight.
pub const OUT_OF_SIGHT_DAYS: f64 = 730.0;
/// Features that a full adoption would use.
const FULL_BREADTH: f64 = 20.0;
/// Below this share of active seats an account is not ready for more.
const ACTIVE_SHARE: f64 = 0.7;

/// Days from `day` until weekly active users reach the seats: trend by the median of all pairwise slopes (Theil 1950,
/// Sen 1968), level by the median residual; 0 where they have reached them.
pub(super) fn seat_limit<'a>(known: &Known<'a>, day: Day, _opened: Option<Day>) -> Result<Reading<'a>, String> {
    let newest = day.week_start().plus(-WEEK_DAYS);
    // A week's users are counted over the week, so they stand for its middle.
    let at = |k: i64| day.days_until(newest.plus(3 - WEEK_DAYS * k)) as f64;
    let points: Vec<(f64, f64)> = (0..TREND.0)
        .rev()
        .filter_map(|k| Some((at(k), known.weeks.at(newest.plus(-WEEK_DAYS * k))?.active?)))
        .collect();
    if points.len() < TREND.1 {
        return Err("usage.active_users of 12 of the last 16 weeks".to_owned());
    }
    let seats = known.weeks.values(day, 0, 4, |w| w.seats).last().copied();
    let seats = seats.ok_or("usage.seats of the last 4 weeks")?;
    let slopes = points.iter().enumerate().flat_map(|(i, a)| {
        let later = points.get(i + 1..).unwrap_or_default();
        later.iter().map(move |b| (b.1 - a.1) / (b.0 - a.0))
    });
    let slope = median(slopes.collect()).ok_or("usage.active_users")?;
    let level = median(points.iter().map(|(x, y)| y - slope * x).collect()).ok_or("usage.active_users")?;
    let days = if level >= seats {
        0.0
    } else if slope > 0.0 {
        ((seats - level) / slope).min(OUT_OF_SIGHT_DAYS)
    } else {
        OUT_OF_SIGHT_DAYS
    };
    // In millionths, as it is stored, so that the date and the days never disagree.
    let days = Micro::from_f64(days).to_f64();
    let date = day.plus(libm::ceil(days) as i64);
    Ok(Reading {
        baseline: Some(seats),
        subject: Some(date.to_string()),
        records: known.weeks.records(day, TREND.0),
        ..Reading::of(days)
    })
}

/// Features in use by 20, where at least 70 % of the seats are active; 0 where they are not.
pub(super) fn module<'a>(known: &Known<'a>, day: Day, _opened: Option<Day>) -> Result<Reading<'a>, String> {
    let breadth = mean(&known.weeks.values(day, 0, 4, |w| w.features), 3)
        .ok_or("usage.features_used of 3 of the last 4 weeks")?;
    let shares = known.weeks.values(day, 0, 4, |w| {
        let (active, seats) = w.active.zip(w.seats)?;
        (seats > 0.0).then(|| active / seats)
    });
    let share = mean(&shares, 3).ok_or("usage.active_users and usage.seats of 3 of the last 4 weeks")?;
    let ready = if share >= ACTIVE_SHARE {
        breadth / FULL_BREADTH
    } else {
        0.0
    };
    Ok(Reading {
        records: known.weeks.records(day, 4),
        ..Reading::of(ready)
    })
}
