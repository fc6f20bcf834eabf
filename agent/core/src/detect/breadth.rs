//! Loss of breadth (features out of use) and of seats.

use super::weeks::{mean, median};
use super::{Known, Reading};
use crate::time::Day;

/// Share of the features in use over the 12 weeks before that the last 4 weeks lack: 1 - mean now / mean before.
pub(super) fn read<'a>(known: &Known<'a>, day: Day, _opened: Option<Day>) -> Result<Reading<'a>, String> {
    let now = mean(&known.weeks.values(day, 0, 4, |w| w.features), 3);
    let before = mean(&known.weeks.values(day, 4, 12, |w| w.features), 8);
    match (now, before.filter(|before| *before > 0.0)) {
        (Some(now), Some(before)) => Ok(Reading {
            baseline: Some(before),
            records: known.weeks.records(day, 16),
            ..Reading::of(1.0 - now / before)
        }),
        (None, _) => Err("usage.features_used of 3 of the last 4 weeks".to_owned()),
        (_, None) => Err("usage.features_used above zero of 8 of the 12 weeks before".to_owned()),
    }
}

/// Share of seats that are gone: 1 - newest known seats of the last 4 weeks / median of the 12 weeks before.
pub(super) fn read_seats<'a>(known: &Known<'a>, day: Day, _opened: Option<Day>) -> Result<Reading<'a>, String> {
    let now = known.weeks.values(day, 0, 4, |w| w.seats).last().copied();
    let before = median(known.weeks.values(day, 4, 12, |w| w.seats));
    match (now, before.filter(|before| *before > 0.0)) {
        (Some(now), Some(before)) => Ok(Reading {
            baseline: Some(before),
            records: known.weeks.records(day, 16),
            ..Reading::of(1.0 - now / before)
        }),
        (None, _) => Err("usage.seats of the last 4 weeks".to_owned()),
        (_, None) => Err("usage.seats of the 12 weeks before".to_owned()),
    }
}
