//! Use of the product: weekly buckets counted back from the as-of day.

use std::collections::{BTreeMap, BTreeSet};

use super::{Found, Put};
use crate::signal::{Grain, Usage};
use crate::snapshot::{Held, Snapshot};
use crate::time::Day;

/// Weeks that "now" means.
const NOW_WEEKS: usize = 4;
/// Weeks that "before" means, right before "now".
const BEFORE_WEEKS: usize = 12;
/// Of the weeks of now, so many must be known.
const NOW_KNOWN: usize = 3;
/// Of the weeks before, so many must be known.
const BEFORE_KNOWN: usize = 8;
/// Features that a full adoption would use; the risk policy's breadth is the share of it.
const FULL_BREADTH: f64 = 20.0;

#[derive(Default)]
struct Week<'a> {
    active: Option<f64>,
    seats: Option<f64>,
    events: Option<f64>,
    features: Option<f64>,
    champion: Option<f64>,
    products: BTreeSet<&'a str>,
    held: Vec<&'a Held<Usage>>,
}

/// Puts the features of use and returns the seats, which others divide by.
pub(super) fn compute(snapshot: &Snapshot, put: &mut Put<'_>) -> Option<f64> {
    let today = snapshot.as_of.day();
    let weeks = weeks(snapshot, today);
    let now: Vec<&Week<'_>> = (0..NOW_WEEKS).filter_map(|k| weeks.get(&k)).collect();
    let before: Vec<&Week<'_>> = (NOW_WEEKS..NOW_WEEKS + BEFORE_WEEKS)
        .filter_map(|k| weeks.get(&k))
        .collect();
    let (held_now, held_before) = (held(&now), held(&before));
    let both = |found: Found| found.from(held_now.iter().copied()).from(held_before.iter().copied());
    let mean_now = |pick: fn(&Week<'_>) -> Option<f64>| mean(&now, pick, NOW_KNOWN);
    let mean_before = |pick: fn(&Week<'_>) -> Option<f64>| mean(&before, pick, BEFORE_KNOWN);

    let seats = seats(snapshot, &weeks, today, put);
    let active_now = mean_now(|w| w.active);
    let active_before = mean_before(|w| w.active);
    let gap_now = "usage.active_users of 3 of the last 4 weeks";
    let gap_before = "usage.active_users of 8 of the 12 weeks before";
    put(
        "active_users",
        found(active_now, gap_now).from(held_now.iter().copied()),
    );
    put(
        "active_users_before",
        found(active_before, gap_before).from(held_before.iter().copied()),
    );
    let change = active_now
        .zip(active_before)
        .filter(|(_, b)| *b > 0.0)
        .map(|(a, b)| (a / b - 1.0) * 100.0);
    put(
        "active_users_change",
        both(found(change, if active_now.is_none() { gap_now } else { gap_before })),
    );
    put(
        "usage_shift",
        both(found(
            shift(&now, &before),
            if active_now.is_none() { gap_now } else { gap_before },
        )),
    );
    let share = active_now.zip(seats).filter(|(_, s)| *s > 0.0).map(|(a, s)| a / s);
    let gap_share = if active_now.is_none() {
        gap_now
    } else {
        "usage.seats, subscription.seats or account.seats"
    };
    put("seat_share", found(share, gap_share).from(held_now.iter().copied()));
    put(
        "seat_utilisation",
        found(share.map(|s| s * 100.0), gap_share).from(held_now.iter().copied()),
    );

    let events_now = mean_now(|w| w.events);
    let events_before = mean_before(|w| w.events);
    let events_change = events_now
        .zip(events_before)
        .filter(|(_, b)| *b > 0.0)
        .map(|(a, b)| (a / b - 1.0) * 100.0);
    let gap_events = "usage.core_events or usage.events of 3 of the last 4 and 8 of the 12 weeks before";
    put("events_change", both(found(events_change, gap_events)));
    let log_ratio = active_now.zip(active_before).or_else(|| events_now.zip(events_before));
    put(
        "activity_log_ratio",
        both(found(log_ratio.map(|(a, b)| libm::log((a + 1.0) / (b + 1.0))), gap_now)),
    );

    let breadth_now = mean_now(breadth);
    let breadth_before = mean_before(breadth);
    let gap_breadth = "usage.features_used, or use by product, of 3 of the last 4 weeks";
    put(
        "features_used",
        found(breadth_now, gap_breadth).from(held_now.iter().copied()),
    );
    put(
        "features_used_before",
        found(breadth_before, gap_breadth).from(held_before.iter().copied()),
    );
    put(
        "feature_breadth",
        found(breadth_now.map(|f| f / FULL_BREADTH), gap_breadth).from(held_now.iter().copied()),
    );
    let lost = breadth_now.zip(breadth_before).map(|(a, b)| (b - a).max(0.0));
    put("features_lost", both(found(lost, gap_breadth)));

    let champion = mean_now(|w| w.champion);
    put(
        "champion_absent",
        found(
            champion.map(|seen| 1.0 - seen.clamp(0.0, 1.0)),
            "usage.champion_seen of 3 of the last 4 weeks",
        )
        .from(held_now.iter().copied()),
    );
    last_use(snapshot, today, put);
    seats
}

fn held<'a>(list: &[&Week<'a>]) -> Vec<&'a Held<Usage>> {
    list.iter().flat_map(|w| w.held.iter().copied()).collect()
}

fn found(value: Option<f64>, missing: &str) -> Found {
    value.map_or_else(|| Found::unknown(missing), Found::number)
}

fn breadth(week: &Week<'_>) -> Option<f64> {
    week.features
        .or_else(|| (!week.products.is_empty()).then_some(week.products.len() as f64))
}

/// Mean over the known weeks, when enough are known.
fn mean(weeks: &[&Week<'_>], pick: fn(&Week<'_>) -> Option<f64>, enough: usize) -> Option<f64> {
    let known: Vec<f64> = weeks.iter().filter_map(|w| pick(w)).collect();
    (known.len() >= enough).then(|| known.iter().sum::<f64>() / known.len() as f64)
}

/// Mean logit of a seat being active, now minus before: l = ln((a + .5) / (s - a + .5)), weekly.
///
/// The peer index that would take out holidays is zero in this version.
fn shift(now: &[&Week<'_>], before: &[&Week<'_>]) -> Option<f64> {
    let logit = |w: &Week<'_>| {
        let (active, seats) = w.active.zip(w.seats)?;
        let seats = seats.max(active);
        Some(libm::log((active + 0.5) / (seats - active + 0.5)))
    };
    let now = mean(now, logit, NOW_KNOWN)?;
    let before = mean(before, logit, BEFORE_KNOWN)?;
    Some(now - before)
}

/// Weeks counted back from the as-of day: 0 is the last complete one. A week without a row is unknown, not zero.
fn weeks(snapshot: &Snapshot, today: Day) -> BTreeMap<usize, Week<'_>> {
    let mut weeks: BTreeMap<usize, Week<'_>> = BTreeMap::new();
    for held in &snapshot.usage {
        let usage = &held.fact;
        let last_day = match usage.grain {
            Grain::Day => usage.start,
            Grain::Week => usage.start.plus(6),
        };
        let age = last_day.days_until(today) - 1;
        let Ok(age) = usize::try_from(age) else { continue };
        let week = weeks.entry(age / 7).or_default();
        let value = |names: &[&str]| names.iter().find_map(|n| usage.values.get(*n)).map(|v| v.to_f64());
        // People who use two products are one: the largest count is a safe lower bound of the whole.
        most(&mut week.active, value(&["active_users"]));
        most(&mut week.seats, value(&["seats"]));
        most(&mut week.features, value(&["features_used"]));
        most(&mut week.champion, value(&["champion_seen"]));
        if let Some(events) = value(&["core_events", "events"]) {
            *week.events.get_or_insert(0.0) += events;
            if events > 0.0 {
                week.products.extend(usage.product.as_deref());
            }
        }
        week.held.push(held);
    }
    weeks
}

/// Keeps the larger of two values; a value that is not known gives way.
pub(crate) fn most(now: &mut Option<f64>, value: Option<f64>) {
    *now = match (*now, value) {
        (Some(a), Some(b)) => Some(a.max(b)),
        (a, b) => a.or(b),
    };
}

fn seats(snapshot: &Snapshot, weeks: &BTreeMap<usize, Week<'_>>, today: Day, put: &mut Put<'_>) -> Option<f64> {
    let measured = weeks
        .range(..NOW_WEEKS)
        .find_map(|(_, w)| w.seats.map(|s| (s, w.held.clone())));
    if let Some((seats, held)) = measured {
        put("seats", Found::number(seats).from(held));
        return Some(seats);
    }
    let live: Vec<_> = snapshot
        .subscriptions
        .iter()
        .filter(|s| s.fact.seats.is_some() && s.fact.ended.is_none_or(|d| d > today))
        .filter(|s| s.fact.start.is_none_or(|d| d <= today))
        .collect();
    if !live.is_empty() {
        let seats = live.iter().filter_map(|s| s.fact.seats).sum::<i64>() as f64;
        put("seats", Found::number(seats).from(live));
        return Some(seats);
    }
    let seats = snapshot.account_fact().and_then(|f| f.seats).map(|s| s as f64);
    put(
        "seats",
        found(seats, "usage.seats, subscription.seats or account.seats").from(snapshot.account.as_ref()),
    );
    seats
}

fn last_use(snapshot: &Snapshot, today: Day, put: &mut Put<'_>) {
    let end = |u: &Held<Usage>| match u.fact.grain {
        Grain::Day => u.fact.start,
        Grain::Week => u.fact.start.plus(6),
    };
    let used = |u: &&Held<Usage>| {
        ["active_users", "core_events", "events"]
            .iter()
            .any(|m| u.fact.values.get(*m).is_some_and(|v| v.0 > 0))
    };
    let newest = snapshot.usage.iter().max_by_key(|u| (end(u), &u.record));
    let last = snapshot.usage.iter().filter(used).max_by_key(|u| (end(u), &u.record));
    let days = |u: &Held<Usage>| end(u).days_until(today).max(0) as f64;
    put("usage_age_days", found(newest.map(days), "usage").from(newest));
    put(
        "days_since_use",
        match (last, newest) {
            (Some(last), _) => Found::number(days(last)).from(Some(last)),
            (None, Some(_)) => Found::unknown("a period with use above zero"),
            (None, None) => Found::unknown("usage"),
        },
    );
}
