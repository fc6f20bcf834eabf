//! The peer index: what moves the use of all accounts at once, such as holidays and incidents.
//!
//! Promises: trailing windows only, so an index of week t never changes when later weeks come; the order of accounts
//! changes nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::weeks::{LogOdds, WEEK_DAYS, median};
use crate::fit::fnv1a64;
use crate::ids::AccountId;
use crate::number::Micro;
use crate::time::Day;

/// An account counts as a peer from this age on, in weeks since its first row of use.
const AGE_WEEKS: i64 = 28;
/// The account's own base is the median over the weeks t-28 to t-3.
const BASE_WEEKS: std::ops::RangeInclusive<i64> = 3..=28;
/// Of these weeks so many must be known.
const BASE_KNOWN: usize = 8;
/// Fewer accounts than this are no peer group: the index is unknown.
pub const PEERS_MIN: usize = 10;
/// A run computes the index from at most so many accounts: the median of 2,000 is within 0.02 of that of any number.
pub const PEERS_MAX: usize = 2_000;

/// Peer index by week, keyed by its Monday: the median over accounts aged 28 weeks or more of l - m, l the account's
/// log odds of a seat being active and m its own median over the weeks t-28 to t-3. Unit: log odds. A week without
/// enough peers is absent, and that is unknown.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Peers(pub BTreeMap<Day, Micro>);

impl Peers {
    /// The index of the weeks from `from` up to, but without, `to`.
    #[must_use]
    pub fn of(accounts: &[LogOdds], from: Day, to: Day) -> Peers {
        let mut so_far = PeersSoFar::new(from, to);
        accounts.iter().for_each(|account| so_far.add(account));
        so_far.finish()
    }

    /// Whether there is no index of any week.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The index of the week that starts on a Monday.
    #[must_use]
    pub fn at(&self, monday: Day) -> Option<f64> {
        self.0.get(&monday).map(|index| index.to_f64())
    }
}

/// A peer index in the making: accounts come one by one, and of each only a number a week is kept.
#[derive(Debug, Clone)]
pub struct PeersSoFar {
    /// By Monday, what each account differs from its own base.
    weeks: Vec<(Day, Vec<f64>)>,
}

impl PeersSoFar {
    /// For the weeks from `from` up to, but without, `to`.
    #[must_use]
    pub fn new(from: Day, to: Day) -> PeersSoFar {
        let mondays = std::iter::successors(Some(from.week_start()), |monday| Some(monday.plus(WEEK_DAYS)));
        PeersSoFar {
            weeks: mondays.take_while(|m| *m < to).map(|m| (m, Vec::new())).collect(),
        }
    }

    /// Takes an account in.
    pub fn add(&mut self, account: &LogOdds) {
        for (monday, differences) in &mut self.weeks {
            differences.extend(against_own_base(account, *monday));
        }
    }

    /// The index of all accounts that were taken in, in whatever order.
    #[must_use]
    pub fn finish(self) -> Peers {
        let enough = self.weeks.into_iter().filter(|(_, d)| d.len() >= PEERS_MIN);
        Peers(
            enough
                .filter_map(|(monday, d)| Some((monday, Micro::from_f64(median(d)?))))
                .collect(),
        )
    }
}

fn against_own_base(account: &LogOdds, monday: Day) -> Option<f64> {
    let now = account.at(monday)?;
    let first_known = account.weeks.iter().position(Option::is_some)?;
    let first = account.first.plus(WEEK_DAYS * i64::try_from(first_known).ok()?);
    if first.days_until(monday) < AGE_WEEKS * WEEK_DAYS {
        return None;
    }
    let base: Vec<f64> = BASE_WEEKS
        .filter_map(|k| account.at(monday.plus(-WEEK_DAYS * k)))
        .collect();
    if base.len() < BASE_KNOWN {
        return None;
    }
    median(base).map(|base| now - base)
}

/// The accounts whose use makes the index: the first [`PEERS_MAX`] in the order of [`fnv1a64`], ties by id. The same
/// accounts whatever their order.
#[must_use]
pub fn sample(accounts: impl IntoIterator<Item = AccountId>) -> Vec<AccountId> {
    let mut keyed: Vec<(u64, AccountId)> = accounts.into_iter().map(|id| (fnv1a64(id.as_str()), id)).collect();
    keyed.sort();
    keyed.dedup();
    keyed.truncate(PEERS_MAX);
    keyed.into_iter().map(|(_, id)| id).collect()
}
