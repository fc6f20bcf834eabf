//! One account of a simulated history.

use super::renewal::renewals;
use super::{
    Calendar, Departure, INDUSTRIES, Purpose, Segment, SimulatedAccount, SimulationOptions, UsageWeek, stream,
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
    features: f64,
}

/// Correlation of the account's own wave from one week to the next, and its spread in log odds.
const WAVE: (f64, f64) = (0.94, 0.36);
/// Spread of the week-to-week noise beside the binomial draw.
const WEEK_NOISE: f64 = 0.08;

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
    Profile {
        segment,
        industry,
        first_week: if late { start } else { 0 },
        seats: (libm::round(seats) as i64).max(5),
        level: 0.05 + 0.6 * draw.noise(),
        events_per_user: 3.0 + 2.0 * draw.fraction(),
        features: 6.0 + 6.0 * draw.fraction(),
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
        let away = 3 + usize::try_from(draw.below(10)).unwrap_or(0) + usize::try_from(draw.below(10)).unwrap_or(0);
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
    let mut wave = WAVE.1 * wave_draw.noise();
    let usage: Vec<Option<UsageWeek>> = (0..weeks)
        .map(|week| {
            wave = WAVE.0 * wave + WAVE.1 * libm::sqrt(1.0 - WAVE.0 * WAVE.0) * wave_draw.noise();
            let away = departures.iter().find(|d| (d.week..d.week + d.weeks).contains(&week));
            // Use falls when the champion leaves, and comes back by and by once somebody else takes over.
            let pull: f64 = departures
                .iter()
                .map(|d| match week.checked_sub(d.week + d.weeks) {
                    _ if week < d.week => 0.0,
                    None => d.effect,
                    Some(after) => d.effect * libm::exp2(-(after as f64 + 1.0) / 2.0),
                })
                .sum();
            let log_odds = profile.level
                + wave
                + calendar.season[week]
                + calendar.incidents[profile.industry][week]
                + pull
                + shock[week]
                + WEEK_NOISE * noise.noise();
            let active = binomial(&mut noise, profile.seats, probability(log_odds));
            let events = (active as f64 * profile.events_per_user * (1.0 + 0.1 * noise.noise())).max(0.0);
            let features = profile.features + 0.6 * noise.noise() + pull;
            let tickets = i64::from(noise.fraction() < 0.15) + i64::from(noise.fraction() < 0.05);
            let seen = away.is_none();
            let row = UsageWeek {
                seats: profile.seats,
                active_users: active,
                core_events: libm::round(events) as i64,
                features_used: (libm::round(features) as i64).clamp(1, 20),
                champion_seen: seen,
                tickets,
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
