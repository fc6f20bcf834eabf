//! One account of a simulated history.

use super::renewal::renewals;
use super::{
    Calendar, Departure, FULL_BREADTH, INDUSTRIES, Purpose, Segment, SimulatedAccount, SimulationOptions, UsageWeek,
    stream,
};
use crate::demo::portfolio::stream::Stream;

/// What an account is before anything happens.
struct Profile {
    segment: Segment,
    industry: usize,
    first_week: usize,
    seats: i64,
    level: f64,
    events_per_user: f64,
    /// Features in use, in log odds of those the product has.
    features: f64,
    slow_payer: bool,
}

/// Correlation of the account's own wave from one week to the next, and its spread in log odds.
const WAVE: (f64, f64) = (0.94, 0.36);
/// Spread of the week-to-week noise beside the binomial draw.
const WEEK_NOISE: f64 = 0.08;
/// How far features in use, in log odds, and events a user, in logarithms, follow what moves the active seats.
const FEATURES_FOLLOW: f64 = 0.7;
const EVENTS_FOLLOW: f64 = 0.3;
/// Spread of the noise of features in use, and of the logarithm of events a user.
const FEATURES_NOISE: f64 = 0.8;
const EVENTS_NOISE: f64 = 0.15;
/// Support cases a week by the square root of seats, and how many times as many there are without a champion.
const TICKETS: (f64, f64) = (0.046, 1.7);
/// Weeks from one bill to the next.
const BILLING_WEEKS: usize = 4;

fn profile(options: &SimulationOptions, number: u32) -> Profile {
    let mut draw = stream(options.seed, number, Purpose::Profile);
    let (segment, seats) = match draw.below(1000) {
        0..544 => (Segment::Smb, libm::exp(2.95 + 0.55 * draw.noise())),
        544..891 => (Segment::Mm, libm::exp(4.35 + 0.5 * draw.noise())),
        _ => (Segment::Ent, libm::exp(5.55 + 0.6 * draw.noise())),
    };
    let industry = usize::try_from(draw.below(INDUSTRIES as u64)).unwrap_or(0);
    // Two thirds are there from the start; the others come later.
    let late = draw.chance(333);
    let start = usize::try_from(draw.below(u64::from(options.weeks))).unwrap_or(0);
    let level_noise = draw.noise();
    Profile {
        segment,
        industry,
        first_week: if late { start } else { 0 },
        seats: (libm::round(seats) as i64).max(5),
        level: 0.05 + 0.6 * level_noise,
        events_per_user: libm::exp(2.0 + 0.2 * level_noise + 0.4 * draw.noise()),
        features: -0.45 + 0.5 * level_noise,
        slow_payer: draw.chance(250),
    }
}

/// Departures of the champion: about one in six years of an account, at least 26 weeks after the last one was settled.
fn departures(options: &SimulationOptions, number: u32) -> Vec<Departure> {
    let mut draw = stream(options.seed, number, Purpose::Champion);
    let weeks = options.weeks as usize;
    let mut found: Vec<Departure> = Vec::new();
    for week in 0..weeks {
        let leaves = draw.fraction() < 1.0 / 260.0;
        let effect = -(1.0 + 0.3 * draw.noise()).max(0.3);
        // A successor comes after three weeks at the earliest, and then in one of eight weeks.
        let away = 3 + libm::floor(libm::log(1.0 - draw.fraction()) / libm::log(0.875)).min(28.0) as usize;
        let free = found.last().is_none_or(|d| week >= d.week + d.weeks + 26);
        if leaves && free {
            found.push(Departure {
                week,
                weeks: away,
                effect,
            });
        }
    }
    found
}

/// Other shocks: a reorganisation or a rival tool, that takes use down for some weeks and fades.
fn shocks(options: &SimulationOptions, number: u32) -> (Vec<usize>, Vec<f64>) {
    let mut draw = stream(options.seed, number, Purpose::Shock);
    let weeks = options.weeks as usize;
    let mut effect = vec![0.0; weeks];
    let mut begins = Vec::new();
    for week in 0..weeks {
        let (happens, depth) = (draw.fraction() < 1.0 / 180.0, 0.3 + 0.6 * draw.fraction());
        if happens {
            begins.push(week);
            let mut left = -depth;
            for e in &mut effect[week..] {
                *e += left;
                left *= 0.75;
            }
        }
    }
    (begins, effect)
}

/// Weeks in which a champion who has not left is not seen: leave of one to three weeks about twice a year, most of the
/// holidays, and now and then a week without a log-in.
fn not_seen(options: &SimulationOptions, calendar: &Calendar, number: u32) -> Vec<bool> {
    let mut draw = stream(options.seed, number, Purpose::Leave);
    let mut leave = 0_i64;
    let week = |holiday: &bool| {
        let (goes, length) = (draw.fraction() < 1.0 / 24.0, draw.between(1, 3));
        let (misses, at_home) = (draw.chance(30), draw.chance(600));
        leave = if leave == 0 && goes { length } else { (leave - 1).max(0) };
        leave > 0 || misses || (*holiday && at_home)
    };
    calendar.holidays.iter().map(week).collect()
}

/// How many come in a week when `mean` do on average (Knuth's product of fractions): only for small means.
fn poisson(draw: &mut Stream, mean: f64) -> i64 {
    let limit = libm::exp(-mean);
    let (mut product, mut count) = (draw.fraction(), 0);
    while product > limit {
        product *= draw.fraction();
        count += 1;
    }
    count
}

/// Days by which the bill of a week is late; `None` in weeks without a bill.
fn days_late(draw: &mut Stream, week: usize, slow_payer: bool) -> Option<i64> {
    let (late, days) = (draw.fraction(), draw.fraction());
    let (chance, least, most) = if slow_payer {
        (0.25, 3.0, 30.0)
    } else {
        (0.04, 1.0, 10.0)
    };
    let late = if late < chance {
        least + (most - least) * days
    } else {
        0.0
    };
    week.is_multiple_of(BILLING_WEEKS).then_some(libm::round(late) as i64)
}

/// What a departure adds to the log odds in a week. Use falls when the champion leaves, and half of it comes back while
/// nobody has taken over; a successor brings it back and for some weeks a little more.
fn pull(departure: &Departure, week: usize) -> f64 {
    let Some(since) = week.checked_sub(departure.week) else {
        return 0.0;
    };
    match since.checked_sub(departure.weeks) {
        None => departure.effect * (0.5 + 0.5 * libm::exp2(-(since as f64) / 4.0)),
        Some(after) => -0.3 * departure.effect * libm::exp2(-(after as f64) / 8.0),
    }
}

/// How many of `n` succeed when each does with probability `p`: drawn one by one.
fn binomial(draw: &mut Stream, n: i64, p: f64) -> i64 {
    (0..n).map(|_| i64::from(draw.fraction() < p)).sum()
}

fn probability(log_odds: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-log_odds))
}

/// The history of one account and what was planted in it.
pub(super) fn simulate_account(options: &SimulationOptions, calendar: &Calendar, number: u32) -> SimulatedAccount {
    let profile = profile(options, number);
    let weeks = options.weeks as usize;
    let mut wave_draw = stream(options.seed, number, Purpose::Wave);
    let mut noise = stream(options.seed, number, Purpose::Noise);
    let mut gap = stream(options.seed, number, Purpose::Gap);
    // Three in a hundred accounts lack three weeks somewhere.
    let lost = gap
        .chance(30)
        .then(|| usize::try_from(gap.below(u64::from(options.weeks))).unwrap_or(0));
    let departures: Vec<Departure> = departures(options, number)
        .into_iter()
        .filter(|d| d.week >= profile.first_week)
        .collect();
    let (begins, shock) = shocks(options, number);
    let not_seen = not_seen(options, calendar, number);
    let mut bills = stream(options.seed, number, Purpose::Bill);
    let mut wave = WAVE.1 * wave_draw.noise();
    let usage: Vec<Option<UsageWeek>> = (0..weeks)
        .map(|week| {
            wave = WAVE.0 * wave + WAVE.1 * libm::sqrt(1.0 - WAVE.0 * WAVE.0) * wave_draw.noise();
            let away = departures.iter().find(|d| (d.week..d.week + d.weeks).contains(&week));
            let moved = wave + departures.iter().map(|d| pull(d, week)).sum::<f64>() + shock[week];
            let log_odds = profile.level
                + moved
                + calendar.season[week]
                + calendar.incidents[profile.industry][week]
                + WEEK_NOISE * noise.noise();
            let active = binomial(&mut noise, profile.seats, probability(log_odds));
            let per_user = profile.events_per_user * libm::exp(EVENTS_FOLLOW * moved + EVENTS_NOISE * noise.noise());
            let events = active as f64 * per_user;
            // About Poisson around that.
            let events = (events + libm::sqrt(events) * noise.noise()).max(0.0);
            let features = FULL_BREADTH * probability(profile.features + FEATURES_FOLLOW * moved);
            let features = features + FEATURES_NOISE * noise.noise();
            let cases = TICKETS.0 * libm::sqrt(profile.seats as f64) * if away.is_some() { TICKETS.1 } else { 1.0 };
            let row = UsageWeek {
                seats: profile.seats,
                active_users: active,
                core_events: libm::round(events) as i64,
                features_used: (libm::round(features) as i64).clamp(1, FULL_BREADTH as i64),
                champion_seen: away.is_none() && !not_seen[week],
                tickets: poisson(&mut noise, cases),
                invoice_days_late: days_late(&mut bills, week, profile.slow_payer),
            };
            let missing = lost.is_some_and(|from| (from..from + 3).contains(&week));
            (week >= profile.first_week && !missing).then_some(row)
        })
        .collect();
    SimulatedAccount {
        id: format!("sim-{number:05}"),
        segment: profile.segment,
        industry: profile.industry,
        renewals: renewals(options, number, profile.segment, profile.first_week, &usage),
        usage,
        departures,
        shocks: begins.into_iter().filter(|week| *week >= profile.first_week).collect(),
    }
}
