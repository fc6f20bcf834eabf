//! How fast a day is planned. Run by hand: `cargo bench -p perennial-core --bench rank -- [candidates] [capacity in minutes]`.
//!
//! Prints the time of one plan: the median and the slowest of many.

// A benchmark is the one thing that has to look at a clock.
#![allow(clippy::disallowed_methods, missing_docs)]

use std::time::{Duration, Instant};

use perennial_core::draw::Stream;
use perennial_core::ids::{AccountId, ActionId};
use perennial_core::number::Micro;
use perennial_core::rank::{DayItem, plan_day};

const ROUNDS: usize = 1_000;

fn items(count: usize, draws: &mut Stream) -> Vec<DayItem> {
    (0..count)
        .map(|i| {
            let minutes = 15 * (1 + draws.below(6) as i64);
            let gain = 1_000 + draws.below(500_000) as i64;
            DayItem {
                action: ActionId::new(format!("act_{i:05}")),
                // Three candidates an account.
                account: AccountId::new(format!("A-{:05}", i / 3)),
                gain_minor: Some(gain),
                per_minute_micro: Some(Micro(gain * 1_000_000 / minutes)),
                minutes,
            }
        })
        .collect()
}

fn main() {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let count = numbers.first().copied().unwrap_or(200);
    let capacity = numbers.get(1).copied().unwrap_or(240) as i64;
    let mut draws = Stream::new(1, &["bench"]);
    let mut times: Vec<Duration> = Vec::with_capacity(ROUNDS);
    let mut gained = 0;
    for _ in 0..ROUNDS {
        let items = items(count, &mut draws);
        let begun = Instant::now();
        let day = plan_day(None, capacity, 15, &items);
        times.push(begun.elapsed());
        gained += day.gain_minor;
    }
    times.sort();
    println!(
        "{count} candidates, {capacity} minutes: median {:?}, 99 of 100 within {:?}, slowest {:?} (checked: {gained})",
        times[ROUNDS / 2],
        times[ROUNDS * 99 / 100],
        times[ROUNDS - 1]
    );
}
