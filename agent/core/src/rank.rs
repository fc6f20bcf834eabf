//! Value and order: what an action is worth, and whose day it fits into.
//!
//! The value of action a for account i with yearly revenue A and risk p is
//! `V = A [Δp m + Δe m'] - discount A P(accept) - minutes c - fatigue` with `Δp = p - σ(logit p - δ)`; the order is by
//! `(V now - V at the next review) / minutes`. Urgency enters only through the decay of the effect until the next
//! review.

use serde::{Deserialize, Serialize};

use crate::ids::{AccountId, ActionId, OwnerId};
use crate::money::Currency;
use crate::number::Micro;
use crate::policy::{Economics, ValueTerms};
use crate::score::sigmoid;

/// What an action is worth, with every factor of the formula.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worth {
    /// Value now, minor units of the policy's currency.
    pub value_minor: i64,
    /// Value if done at the next review instead.
    pub next_minor: i64,
    /// What is lost by waiting, per minute of a person: the order.
    pub per_minute_micro: Micro,
    /// Currency of the amounts.
    pub currency: Currency,
    /// Yearly revenue.
    pub arr_minor: i64,
    /// Probability of not renewing before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk_micro: Option<Micro>,
    /// Fall of that probability.
    pub risk_fall_micro: Micro,
    /// Expected expansion as a share of the yearly revenue.
    pub expansion_micro: Micro,
    /// Shift of the log odds that is expected of the playbook: its prior, drawn towards what was observed.
    pub shift_micro: Micro,
    /// Shift that the prior alone expects, where something was observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prior_shift_micro: Option<Micro>,
    /// Minutes of a person.
    pub minutes: i64,
    /// Cost of those minutes.
    pub cost_minor: i64,
    /// Cost of one more action on the customer.
    pub fatigue_minor: i64,
    /// Expected cost of the discount, where the playbook gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discount_minor: Option<i64>,
}

/// The value of a playbook for an account.
///
/// # Errors
/// Names the fact without which nothing can be said.
pub fn worth(
    arr_minor: Option<i64>,
    currency: Currency,
    risk: Option<Micro>,
    economics: &Economics,
    terms: &ValueTerms,
    tired: bool,
) -> Result<Worth, String> {
    let arr = arr_minor.ok_or_else(|| "the yearly revenue".to_owned())? as f64;
    if risk.is_none() && economics.expansion == 0.0 {
        return Err("the renewal risk".to_owned());
    }
    let cost = economics.minutes as f64 * terms.minute_minor;
    let fatigue = if tired { terms.fatigue_minor } else { 0.0 };
    let discount = economics.discount.map(|d| arr * d.share * d.accept);
    let costs = cost + fatigue + discount.unwrap_or(0.0);
    let value = |share: f64| {
        let fall = risk.map_or(0.0, |p| risk_fall(p.to_f64(), economics.shift * share));
        arr * (fall * terms.margin + economics.expansion * share * terms.expansion_margin) - costs
    };
    let (now, next) = (value(1.0), value(economics.decay));
    Ok(Worth {
        value_minor: libm::round(now) as i64,
        next_minor: libm::round(next) as i64,
        per_minute_micro: Micro::from_f64(
            (now - next) / economics.minutes as f64 / 10_i64.pow(currency.exponent()) as f64,
        ),
        currency,
        arr_minor: arr as i64,
        risk_micro: risk,
        risk_fall_micro: Micro::from_f64(risk.map_or(0.0, |p| risk_fall(p.to_f64(), economics.shift))),
        expansion_micro: Micro::from_f64(economics.expansion),
        shift_micro: Micro::from_f64(economics.shift),
        prior_shift_micro: economics.prior_shift.map(Micro::from_f64),
        minutes: economics.minutes,
        cost_minor: libm::round(cost) as i64,
        fatigue_minor: libm::round(fatigue) as i64,
        discount_minor: discount.map(|d| libm::round(d) as i64),
    })
}

/// Δp = p - σ(logit p - δ).
fn risk_fall(p: f64, shift: f64) -> f64 {
    if p <= 0.0 || p >= 1.0 {
        return 0.0;
    }
    p - sigmoid(libm::log(p / (1.0 - p)) - shift)
}

/// One action that would take a person's time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayItem {
    /// Which.
    pub action: ActionId,
    /// Account: at most one action an account is planned for a day.
    pub account: AccountId,
    /// What is lost by waiting, minor units; `None` ranks after everything known.
    pub gain_minor: Option<i64>,
    /// The order, see [`Worth::per_minute_micro`].
    pub per_minute_micro: Option<Micro>,
    /// Minutes.
    pub minutes: i64,
}

/// The day of one person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Day {
    /// Whose; `None` for accounts that nobody owns.
    pub owner: Option<OwnerId>,
    /// Minutes there are.
    pub capacity_minutes: i64,
    /// Minutes planned.
    pub planned_minutes: i64,
    /// What to do, the most valuable minute first.
    pub actions: Vec<ActionId>,
    /// Value that the plan saves from being lost, minor units.
    pub gain_minor: i64,
}

/// Order of two items: more per minute first, unknown value last, ties by id.
#[must_use]
pub fn order(a: &DayItem, b: &DayItem) -> std::cmp::Ordering {
    order_of((a.per_minute_micro, &a.action), (b.per_minute_micro, &b.action))
}

/// The same order of two actions, each given by what waiting loses a minute and by its id.
#[must_use]
pub fn order_of(a: (Option<Micro>, &ActionId), b: (Option<Micro>, &ActionId)) -> std::cmp::Ordering {
    b.0.cmp(&a.0).then_with(|| a.1.cmp(b.1))
}

/// The best day: an exact multiple-choice knapsack over slots, at most one action an account, then what fits of the
/// items without a known value. Ties go to the earlier account id, then to the earlier action id.
#[must_use]
pub fn plan_day(owner: Option<OwnerId>, capacity_minutes: i64, slot_minutes: i64, items: &[DayItem]) -> Day {
    let slot = slot_minutes.max(1);
    let slots = usize::try_from(capacity_minutes.max(0) / slot).unwrap_or(0);
    let mut sorted: Vec<&DayItem> = items.iter().collect();
    sorted.sort_by(|a, b| (&a.account, &a.action).cmp(&(&b.account, &b.action)));
    let groups: Vec<&[&DayItem]> = sorted.chunk_by(|a, b| a.account == b.account).collect();
    // best[s]: the value of the best choice so far that takes at most s slots.
    let mut best = vec![0_i64; slots + 1];
    let mut choices: Vec<Vec<u8>> = Vec::with_capacity(groups.len());
    for group in &groups {
        let mut next = best.clone();
        let mut chosen = vec![0_u8; slots + 1];
        for (i, item) in group.iter().enumerate().take(usize::from(u8::MAX) - 1) {
            let Some(gain) = item.gain_minor.filter(|g| *g > 0) else {
                continue;
            };
            let need = need_slots(item.minutes, slot);
            for s in need..=slots {
                if best[s - need] + gain > next[s] {
                    next[s] = best[s - need] + gain;
                    chosen[s] = u8::try_from(i + 1).unwrap_or(0);
                }
            }
        }
        best = next;
        choices.push(chosen);
    }
    let mut left = slots;
    let mut taken: Vec<&DayItem> = Vec::new();
    for (group, chosen) in groups.iter().zip(&choices).rev() {
        if let Some(item) = usize::from(chosen[left]).checked_sub(1).and_then(|i| group.get(i)) {
            taken.push(item);
            left -= need_slots(item.minutes, slot);
        }
    }
    let gain_minor = best[slots];
    let mut rest: Vec<&DayItem> = items.iter().filter(|i| i.gain_minor.is_none_or(|g| g <= 0)).collect();
    rest.sort_by(|a, b| order(a, b));
    for item in rest {
        let need = need_slots(item.minutes, slot);
        if need <= left && !taken.iter().any(|t| t.account == item.account) {
            left -= need;
            taken.push(item);
        }
    }
    taken.sort_by(|a, b| order(a, b));
    Day {
        owner,
        capacity_minutes,
        planned_minutes: taken.iter().map(|t| t.minutes).sum(),
        actions: taken.into_iter().map(|t| t.action.clone()).collect(),
        gain_minor,
    }
}

fn need_slots(minutes: i64, slot: i64) -> usize {
    usize::try_from(slot_minutes(minutes, slot) / slot).unwrap_or(usize::MAX)
}

/// The minutes of a day that something takes: whole slots, at least one.
#[must_use]
pub fn slot_minutes(minutes: i64, slot_minutes: i64) -> i64 {
    let slot = slot_minutes.max(1);
    ((minutes.max(0) + slot - 1) / slot).max(1) * slot
}

#[cfg(test)]
mod tests;
