//! Orders of work against each other, on worlds where both outcomes of every account are known.
//!
//! A world is 3,000 accounts. Segments SMB, MM and ENT come with 54, 35 and 11 %; yearly revenue is lognormal around
//! 6,000, 30,000 and 140,000 (sd of the logarithm .6, .6, .7). The true log odds of churn are -1.0, -1.9 or -2.3 by
//! segment, plus .9 times signs that can be seen, plus .6 times something that cannot. The risk score sees the segment and
//! the signs with an error (sd .3); health sees the signs alone, with an error (sd .8). The action lowers the log odds by
//! δ: on average .30, .40 or .45 by segment, with a spread of .35 between accounts, and .15 less for every unit of signs
//! beyond 1. So some of the riskiest are lost whatever one does, and for about one in six the action does harm.
//!
//! What an order saves is exact: the sum of revenue times the fall of the true probability over the accounts worked,
//! as a share of all revenue. The constants are chosen by hand, not fitted to any result; trust the order of the rows and
//! their size, not their digits.

use std::collections::BTreeMap;

use perennial_core::draw::Stream;
use perennial_core::money::Currency;
use perennial_core::number::Micro;
use perennial_core::policy::{Economics, ValueTerms};
use perennial_core::rank::worth;
use perennial_core::score::sigmoid;
use serde::Serialize;

/// Accounts of a world.
pub const ACCOUNTS: usize = 3_000;
/// Shares of the accounts that are worked, in percent.
pub const SHARES: [usize; 3] = [10, 20, 40];

/// One segment: share of the accounts, median revenue, sd of its logarithm, log odds of churn, mean effect.
struct Segment {
    up_to: f64,
    revenue: f64,
    spread: f64,
    log_odds: f64,
    effect: f64,
}

const SEGMENTS: [Segment; 3] = [
    Segment {
        up_to: 0.54,
        revenue: 6_000.0,
        spread: 0.6,
        log_odds: -1.0,
        effect: 0.30,
    },
    Segment {
        up_to: 0.89,
        revenue: 30_000.0,
        spread: 0.6,
        log_odds: -1.9,
        effect: 0.40,
    },
    Segment {
        up_to: 1.0,
        revenue: 140_000.0,
        spread: 0.7,
        log_odds: -2.3,
        effect: 0.45,
    },
];

/// An account with what is seen of it and what would happen.
struct Account {
    arr_minor: i64,
    /// Risk as the score says it.
    seen_risk: f64,
    health: f64,
    /// True fall of the probability of churn when it is worked.
    fall: f64,
}

impl Account {
    fn drawn(draws: &mut Stream) -> Account {
        let place = draws.fraction();
        let segment = SEGMENTS.iter().find(|s| place < s.up_to).unwrap_or(&SEGMENTS[2]);
        let revenue = segment.revenue * exp(segment.spread * draws.normal());
        let (signs, unseen) = (draws.normal(), draws.normal());
        let log_odds = segment.log_odds + 0.9 * signs + 0.6 * unseen;
        let effect = segment.effect + 0.35 * draws.normal() - 0.15 * (signs - 1.0).max(0.0);
        Account {
            arr_minor: (revenue * 100.0).round() as i64,
            seen_risk: sigmoid(segment.log_odds + 0.9 * signs + 0.3 * draws.normal()),
            health: 70.0 - 12.0 * (signs + 0.8 * draws.normal()),
            fall: sigmoid(log_odds) - sigmoid(log_odds - effect),
        }
    }
}

/// e^x by core's sigmoid, which is the same on every machine: `s / (1 - s)`.
fn exp(x: f64) -> f64 {
    let s = sigmoid(x);
    s / (1.0 - s)
}

/// A way to order the accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// By chance.
    Random,
    /// The riskiest first.
    Risk,
    /// The least healthy first.
    LowHealth,
    /// The largest first.
    Revenue,
    /// The most revenue at risk first.
    RevenueAtRisk,
    /// Revenue times p(1-p).
    Movable,
    /// The engine's own value per minute.
    Engine,
    /// The true savings first: what nobody can know.
    Oracle,
}

impl Order {
    /// Every order, as they are printed.
    pub const ALL: [Order; 8] = [
        Order::Random,
        Order::Risk,
        Order::LowHealth,
        Order::Revenue,
        Order::RevenueAtRisk,
        Order::Movable,
        Order::Engine,
        Order::Oracle,
    ];

    /// What it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Order::Random => "random",
            Order::Risk => "P(churn)",
            Order::LowHealth => "low health",
            Order::Revenue => "revenue",
            Order::RevenueAtRisk => "P(churn) x revenue",
            Order::Movable => "p(1-p) x revenue",
            Order::Engine => "value per minute (shipped)",
            Order::Oracle => "oracle",
        }
    }

    /// What is worked first has the largest score; `None` where the engine cannot say, which comes last.
    fn score(self, account: &Account, choice: &Choice<'_>) -> Option<f64> {
        let (p, arr) = (account.seen_risk, account.arr_minor as f64);
        match self {
            // The order of ties is by chance, so a constant score is a random order.
            Order::Random => Some(0.0),
            Order::Risk => Some(p),
            Order::LowHealth => Some(-account.health),
            Order::Revenue => Some(arr),
            Order::RevenueAtRisk => Some(p * arr),
            Order::Movable => Some(p * (1.0 - p) * arr),
            Order::Engine => {
                let risk = Some(Micro::from_f64(p));
                let arr = Some(account.arr_minor);
                worth(arr, choice.currency, risk, choice.economics, choice.terms, false)
                    .ok()
                    .map(|w| w.per_minute_micro.to_f64())
            }
            Order::Oracle => Some(account.fall * arr),
        }
    }
}

/// What the engine chooses by.
#[derive(Debug, Clone, Copy)]
pub struct Choice<'a> {
    /// Expected effect and cost of the playbook.
    pub economics: &'a Economics,
    /// Money terms.
    pub terms: &'a ValueTerms,
    /// Currency of the amounts.
    pub currency: Currency,
}

/// Mean over worlds with its standard error.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Saved {
    /// Percent of the accounts that are worked.
    pub share_percent: usize,
    /// Points of net revenue retention saved.
    pub points: f64,
    /// Standard error over worlds; `None` for a single world.
    pub se: Option<f64>,
}

/// What one order saves.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Name of the order.
    pub order: &'static str,
    /// For each share of the accounts.
    pub saved: Vec<Saved>,
}

/// Measures every order on so many worlds.
#[must_use]
pub fn measure(worlds: u32, seed: u64, choice: &Choice<'_>) -> Vec<Row> {
    let mut points: BTreeMap<(Order, usize), Vec<f64>> = BTreeMap::new();
    for world in 0..worlds {
        let number = world.to_string();
        let mut draws = Stream::new(seed, &["measure rank", "accounts", &number]);
        let accounts: Vec<Account> = (0..ACCOUNTS).map(|_| Account::drawn(&mut draws)).collect();
        // A stream of its own: a random order that shared the draws of the accounts would look skilled.
        let mut ties = Stream::new(seed, &["measure rank", "ties", &number]);
        let ties: Vec<u64> = accounts.iter().map(|_| ties.bits()).collect();
        let all: f64 = accounts.iter().map(|a| a.arr_minor as f64).sum();
        for order in Order::ALL {
            let mut list: Vec<(Option<f64>, u64, &Account)> = accounts
                .iter()
                .zip(&ties)
                .map(|(a, tie)| (order.score(a, choice), *tie, a))
                .collect();
            list.sort_by(|a, b| match (a.0, b.0) {
                (Some(x), Some(y)) => y.total_cmp(&x).then(a.1.cmp(&b.1)),
                (x, y) => y.is_some().cmp(&x.is_some()).then(a.1.cmp(&b.1)),
            });
            for share in SHARES {
                let worked = &list[..ACCOUNTS * share / 100];
                let saved: f64 = worked.iter().map(|(_, _, a)| a.arr_minor as f64 * a.fall).sum();
                points.entry((order, share)).or_default().push(100.0 * saved / all);
            }
        }
    }
    let row = |order: Order| {
        let saved = SHARES.iter().filter_map(|share| {
            let values = points.get(&(order, *share))?;
            Some(mean(*share, values))
        });
        Row {
            order: order.name(),
            saved: saved.collect(),
        }
    };
    Order::ALL.iter().map(|order| row(*order)).collect()
}

fn mean(share_percent: usize, values: &[f64]) -> Saved {
    let n = values.len() as f64;
    let points = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - points) * (v - points)).sum();
    Saved {
        share_percent,
        points,
        se: (values.len() > 1).then(|| (squares / (n - 1.0) / n).sqrt()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(worlds: u32, seed: u64) -> Vec<Row> {
        let economics = Economics {
            shift: 0.4,
            shift_sd: 0.2,
            prior_shift: None,
            expansion: 0.0,
            decay: 0.8,
            minutes: 45,
            discount: None,
        };
        let terms = ValueTerms {
            margin: 0.8,
            expansion_margin: 0.8,
            minute_minor: 150.0,
            fatigue_minor: 0.0,
            act_from: 0.8,
        };
        let choice = Choice {
            economics: &economics,
            terms: &terms,
            currency: Currency::USD,
        };
        measure(worlds, seed, &choice)
    }

    fn points(rows: &[Row], order: Order, share: usize) -> f64 {
        let row = rows.iter().find(|r| r.order == order.name()).unwrap();
        row.saved.iter().find(|s| s.share_percent == share).unwrap().points
    }

    #[test]
    fn the_shipped_order_saves_more_than_risk_health_or_chance_and_less_than_the_oracle() {
        let rows = measured(6, 1);
        for share in SHARES {
            let of = |order| points(&rows, order, share);
            for worse in [Order::Random, Order::Risk, Order::LowHealth] {
                assert!(of(Order::Engine) > of(worse), "{} at {share} %", worse.name());
            }
            assert!(Order::ALL.iter().all(|o| of(*o) <= of(Order::Oracle)));
            // To first order the value is the effect times p(1-p) times revenue.
            assert!((of(Order::Engine) - of(Order::Movable)).abs() < 0.1);
        }
    }

    #[test]
    fn working_at_random_saves_in_proportion_to_the_work() {
        let rows = measured(12, 2);
        let (some, more) = (points(&rows, Order::Random, 10), points(&rows, Order::Random, 40));
        assert!((more / some - 4.0).abs() < 0.6, "{some} {more}");
    }

    #[test]
    fn the_same_seed_gives_the_same_table_and_one_world_has_no_error() {
        assert_eq!(measured(2, 3), measured(2, 3));
        assert_ne!(measured(2, 3), measured(2, 4));
        assert!(measured(1, 3).iter().all(|r| r.saved.iter().all(|s| s.se.is_none())));
    }
}
