//! Exploration: trying what is nearly as good as the best, so that the log can tell what actions bring.
//!
//! Only among actions worth at least a share of the best (policy, 80 % or more), never with a chance of the draw below .05,
//! and never where it could cost a customer: discounts and prices, a renewal in under 30 days, an open case of severity 1,
//! a legal hold, somebody who opted out. A fact that is not known forbids, and what a person decides is not drawn. What is
//! logged is not the chance of the draw but of what was *finally executed*, after priorities and the day's capacity, by
//! repeating the plan of the whole day with the stored seed.

mod day;
mod log;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::draw::Stream;
use crate::feature::Features;
use crate::ids::ActionId;
use crate::policy::Exploration;
use crate::signal::word_enum;

pub use day::{DayOption, DayTerms, ExploredDay, OptionChance, account_chances, explored_day};
pub use log::{LoggedChoice, LoggedOption, Resting, resting};

/// Least share of the best value from which a policy may explore.
pub const WORTH_MIN: f64 = 0.8;
/// Least chance of the draw that a policy may give an explored action.
pub const FLOOR: f64 = 0.05;
/// Draws by which the chance of what is executed is found.
pub const DRAWS: usize = 1_000;
/// Days before a renewal in which nothing is explored.
pub const RENEWAL_DAYS: f64 = 30.0;

word_enum! {
    /// Why nothing is explored for an account, or with an action.
    Forbidden {
        /// It gives a price away.
        Price = "price",
        /// The renewal is less than 30 days away.
        RenewalNear = "renewal_near",
        /// A case of severity 1 is open.
        Severity1 = "severity_1",
        /// The account is under a legal hold.
        LegalHold = "legal_hold",
        /// The customer asked not to be contacted.
        OptedOut = "opted_out",
        /// One of these facts is not known.
        Unknown = "unknown",
        /// A person decides about it.
        ByPerson = "by_person",
    }
}

/// Why nothing may be explored for an account; `None` where it may.
///
/// An account without any renewal date is not known to be far from one, so it is not explored on.
#[must_use]
pub fn account_forbids(features: &Features) -> Option<Forbidden> {
    let flags = [
        ("legal_hold", Forbidden::LegalHold),
        ("do_not_contact", Forbidden::OptedOut),
    ];
    for (fact, why) in flags {
        if features.flag(fact) == Some(true) {
            return Some(why);
        }
    }
    let (open, days) = (features.number("sev1_open"), features.number("days_to_renewal"));
    if open.is_some_and(|n| n > 0.0) {
        return Some(Forbidden::Severity1);
    }
    if days.is_some_and(|d| d < RENEWAL_DAYS) {
        return Some(Forbidden::RenewalNear);
    }
    let known = flags.iter().all(|(fact, _)| features.flag(fact).is_some()) && open.is_some() && days.is_some();
    (!known).then_some(Forbidden::Unknown)
}

/// Why an action may not be drawn for an account; `None` where it may. What is `about_money` never is: a renewal proposal carries a
/// price, as a discount does.
#[must_use]
pub fn forbids(features: &Features, about_money: bool) -> Option<Forbidden> {
    account_forbids(features).or_else(|| about_money.then_some(Forbidden::Price))
}

/// An action that could be taken for an account.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// Which.
    pub action: ActionId,
    /// Value, in any unit.
    pub value: f64,
    /// Why it may not be drawn.
    pub forbidden: Option<Forbidden>,
}

/// The chances with which actions are drawn; they sum to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Chances {
    /// By action, in the order of ids.
    pub by_action: BTreeMap<ActionId, f64>,
    /// Why there is only the best, where that is so.
    pub forbidden: Option<Forbidden>,
}

/// Chances of ε-greedy choice: the best gets `1 - epsilon` and its part of `epsilon`, which is spread evenly over all
/// that may be explored; epsilon is the policy's `share`. A chance below the policy's `floor` is raised to it, at the cost
/// of the best. Where the best may not be drawn it is certain. No actions, no chances.
#[must_use]
pub fn chances(options: &[Choice], terms: &Exploration) -> Chances {
    let mut sorted: Vec<&Choice> = options.iter().filter(|o| o.value.is_finite()).collect();
    sorted.sort_by(|a, b| b.value.total_cmp(&a.value).then_with(|| a.action.cmp(&b.action)));
    let Some(best) = sorted.first() else {
        return Chances {
            by_action: BTreeMap::new(),
            forbidden: None,
        };
    };
    let certain = |forbidden| Chances {
        by_action: BTreeMap::from([(best.action.clone(), 1.0)]),
        forbidden,
    };
    if best.forbidden.is_some() {
        return certain(best.forbidden);
    }
    // More would not leave every one of them the floor.
    let most = (1.0 / terms.floor) as usize;
    let others: Vec<&ActionId> = sorted[1..]
        .iter()
        .filter(|o| best.value > 0.0 && o.value >= terms.worth_from * best.value && o.forbidden.is_none())
        .map(|o| &o.action)
        .take(most.saturating_sub(1))
        .collect();
    if others.is_empty() || terms.share <= 0.0 {
        return certain(None);
    }
    let share = (terms.share.min(1.0) / (others.len() + 1) as f64).max(terms.floor);
    let mut by_action: BTreeMap<ActionId, f64> = others.iter().map(|id| ((*id).clone(), share)).collect();
    by_action.insert(best.action.clone(), 1.0 - share * others.len() as f64);
    Chances {
        by_action,
        forbidden: None,
    }
}

impl Chances {
    /// One draw; `None` when there is nothing to draw.
    pub fn draw(&self, draws: &mut Stream) -> Option<&ActionId> {
        let mut left = draws.fraction();
        for (action, chance) in &self.by_action {
            if left < *chance {
                return Some(action);
            }
            left -= chance;
        }
        // Rounding may leave a crumb of probability: it belongs to the last.
        self.by_action.keys().next_back()
    }
}

/// The chance with which each action is finally executed: the whole choice, with priorities and caps, is repeated
/// [`DRAWS`] times, each time with a stream of its own from the stored seed. `choose` draws and returns what is executed.
/// An action that was executed in none of them is absent; its chance is unknown and below about .003.
pub fn executed(
    seed: u64,
    purpose: &[&str],
    mut choose: impl FnMut(&mut Stream) -> Vec<ActionId>,
) -> BTreeMap<ActionId, f64> {
    let mut counts: BTreeMap<ActionId, usize> = BTreeMap::new();
    for number in 0..DRAWS {
        let number = number.to_string();
        let mut parts = purpose.to_vec();
        parts.push(&number);
        let taken: std::collections::BTreeSet<ActionId> = choose(&mut Stream::new(seed, &parts)).into_iter().collect();
        for action in taken {
            *counts.entry(action).or_default() += 1;
        }
    }
    counts
        .into_iter()
        .map(|(action, n)| (action, n as f64 / DRAWS as f64))
        .collect()
}

#[cfg(test)]
mod tests;
