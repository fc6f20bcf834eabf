//! A seeded history of a whole tenant with the truth that was planted in it: what the detectors are judged by.
//!
//! Promises: the same seed gives the same history on every machine; each purpose of each account draws from its own
//! stream, so that more of one thing moves nothing else. Does not: stand for any real tenant. Shape and noise are those
//! of business software sold by the seat. No row comes from a data set, but the columns, the sizes of effects and the
//! noise were chosen after looking at planted-42, another maker's simulated tenant.
//!
//! The model, in log odds of a seat being active: the account's level, a slow wave of its own (autoregressive, order 1),
//! the calendar (two holiday weeks a year, a summer dip), incidents of its industry, departures of its champion until a
//! successor is there, and other shocks. Active users are a binomial draw from the seats; features in use and events a
//! user follow wave, departures and shocks with noise of their own. Unlike in planted-42, a champion who has not left is
//! on leave now and then, and misses a week. What decides about renewals stands in `renewal`, the tables of an export in
//! `export`.

mod account;
mod export;
mod renewal;

use perennial_core::time::Day;

use crate::demo::portfolio::stream::Stream;

use account::simulate_account;
pub use export::export;
pub use renewal::{LEAD_WEEKS, Renewal, RenewalFacts};

/// How large a tenant and how long a history.
#[derive(Debug, Clone)]
pub struct SimulationOptions {
    /// Seed of every stream.
    pub seed: u64,
    /// Accounts.
    pub accounts: u32,
    /// Weeks of history.
    pub weeks: u32,
    /// Monday of the first week.
    pub first: Day,
}

impl SimulationOptions {
    /// 800 accounts over 130 weeks from May 2024.
    #[must_use]
    pub fn new(seed: u64) -> SimulationOptions {
        SimulationOptions {
            seed,
            accounts: 800,
            weeks: 130,
            first: Day::from_number(19_849),
        }
    }

    /// Monday of a week of the history.
    #[must_use]
    pub fn monday(&self, week: usize) -> Day {
        self.first.plus(7 * i64::try_from(week).unwrap_or(i64::MAX / 7))
    }
}

/// Segment of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Segment {
    /// Small business.
    Smb,
    /// Middle market.
    Mm,
    /// Enterprise.
    Ent,
}

/// One measured week.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsageWeek {
    /// Seats bought.
    pub seats: i64,
    /// People who used the product.
    pub active_users: i64,
    /// Events in the product.
    pub core_events: i64,
    /// Features in use.
    pub features_used: i64,
    /// Whether the champion logged in.
    pub champion_seen: bool,
    /// Support cases opened.
    pub tickets: i64,
    /// Days by which the bill of the week is late; `None` in weeks without a bill.
    pub invoice_days_late: Option<i64>,
}

/// A planted departure of the champion.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Departure {
    /// Week in which it begins.
    pub week: usize,
    /// Weeks until a successor is there.
    pub weeks: usize,
    /// What it does to the log odds; below zero.
    pub effect: f64,
}

/// One account with its history and the planted truth.
#[derive(Debug, Clone, PartialEq)]
pub struct SimulatedAccount {
    /// Id.
    pub id: String,
    /// Segment.
    pub segment: Segment,
    /// Number of its industry.
    pub industry: usize,
    /// Weeks in order; `None` before the account was a customer and where the feed lost the row.
    pub usage: Vec<Option<UsageWeek>>,
    /// Departures of its champion.
    pub departures: Vec<Departure>,
    /// Weeks of the first row of a shock that no person caused.
    pub shocks: Vec<usize>,
    /// Decisions about its renewal, in order; after one that was lost there is none, though the use goes on.
    pub renewals: Vec<Renewal>,
}

/// A tenant with its planted truth.
#[derive(Debug, Clone, PartialEq)]
pub struct Simulation {
    /// Accounts in the order of their ids.
    pub accounts: Vec<SimulatedAccount>,
    /// By week, whether it is a holiday week.
    pub holidays: Vec<bool>,
}

/// Purposes of the streams.
#[derive(Debug, Clone, Copy)]
enum Purpose {
    Profile,
    Wave,
    Noise,
    Champion,
    Shock,
    Gap,
    Incident,
    Agreement,
    Renewal,
    Leave,
    Bill,
}

fn stream(seed: u64, number: u32, purpose: Purpose) -> Stream {
    // Purposes of the demo portfolio are below 64: no stream is drawn twice.
    Stream::salted(seed, number, 64 + purpose as u8)
}

/// Features that the product has.
const FULL_BREADTH: f64 = 20.0;
/// Industries that accounts and incidents belong to.
const INDUSTRIES: usize = 8;

/// What moves all accounts, or all of an industry, in a week.
struct Calendar {
    holidays: Vec<bool>,
    season: Vec<f64>,
    incidents: Vec<Vec<f64>>,
}

impl Calendar {
    fn new(options: &SimulationOptions) -> Calendar {
        let weeks = options.weeks as usize;
        let mut holidays = Vec::with_capacity(weeks);
        let mut season = Vec::with_capacity(weeks);
        for week in 0..weeks {
            let (_, month, day) = options.monday(week).ymd();
            let holiday = matches!((month, day), (12, 20..) | (1, ..=2));
            let summer = matches!((month, day), (7, 10..) | (8, ..=20));
            holidays.push(holiday);
            season.push(if holiday {
                -0.65
            } else if summer {
                -0.1
            } else {
                0.0
            });
        }
        let mut incidents = vec![vec![0.0; weeks]; INDUSTRIES];
        for (industry, effect) in (0_u32..).zip(&mut incidents) {
            let mut draw = stream(options.seed, industry, Purpose::Incident);
            for week in 0..weeks {
                // Depth and length are drawn in any case, so that one incident does not move the next.
                let (happens, depth, length) = (draw.chance(12), 0.3 + 0.4 * draw.fraction(), draw.between(1, 3));
                if happens {
                    let last = week.saturating_add(usize::try_from(length).unwrap_or(1)).min(weeks);
                    effect[week..last].iter_mut().for_each(|e| *e -= depth);
                }
            }
        }
        Calendar {
            holidays,
            season,
            incidents,
        }
    }
}

/// The history of a seed.
#[must_use]
pub fn simulate(options: &SimulationOptions) -> Simulation {
    let calendar = Calendar::new(options);
    Simulation {
        accounts: (0..options.accounts)
            .map(|number| simulate_account(options, &calendar, number))
            .collect(),
        holidays: calendar.holidays,
    }
}

#[cfg(test)]
mod tests;
