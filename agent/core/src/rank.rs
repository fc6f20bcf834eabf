//! Value and order: what an action is worth, and whose day it fits into.
//!
//! The value of action a for account i with yearly revenue A and risk p is
//! `V = A [Δp m + Δe m'] - minutes c - fatigue` with `Δp = p - σ(logit p - δ)`; the order is by
//! `(V now - V at the next review) / minutes`. Urgency enters only through the decay of the effect until the next
//! review. A discount has no term yet: no shipped playbook gives one.

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
    /// Shift of the log odds that the playbook's prior expects.
    pub shift_micro: Micro,
    /// Minutes of a person.
    pub minutes: i64,
    /// Cost of those minutes.
    pub cost_minor: i64,
    /// Cost of one more action on the customer.
    pub fatigue_minor: i64,
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
    let value = |share: f64| {
        let fall = risk.map_or(0.0, |p| risk_fall(p.to_f64(), economics.shift * share));
        arr * (fall * terms.margin + economics.expansion * share * terms.expansion_margin) - cost - fatigue
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
        minutes: economics.minutes,
        cost_minor: libm::round(cost) as i64,
        fatigue_minor: libm::round(fatigue) as i64,
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
    b.per_minute_micro
        .cmp(&a.per_minute_micro)
        .then_with(|| a.action.cmp(&b.action))
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
    usize::try_from((minutes.max(0) + slot - 1) / slot)
        .unwrap_or(usize::MAX)
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms() -> ValueTerms {
        ValueTerms {
            margin: 0.8,
            expansion_margin: 0.8,
            minute_minor: 150.0,
            fatigue_minor: 0.0,
            act_from: 0.8,
        }
    }

    #[test]
    fn value_and_order_equal_the_reference_figures() {
        let economics = Economics {
            shift: 0.40,
            shift_sd: 0.2,
            expansion: 0.0,
            decay: 0.75,
            minutes: 45,
        };
        let worth = worth(
            Some(4_800_000),
            Currency::USD,
            Some(Micro(300_000)),
            &economics,
            &terms(),
            false,
        )
        .expect("known");
        assert_eq!(worth.risk_fall_micro, Micro(76_832));
        assert_eq!(worth.value_minor, 288_284);
        assert_eq!(worth.next_minor, 219_875);
        assert_eq!(worth.per_minute_micro.display(4), "15.2019");
    }

    #[test]
    fn a_missing_fact_is_named_and_not_zero() {
        let economics = Economics {
            shift: 0.4,
            shift_sd: 0.2,
            expansion: 0.0,
            decay: 0.75,
            minutes: 45,
        };
        let none = worth(None, Currency::USD, Some(Micro(300_000)), &economics, &terms(), false);
        assert_eq!(none, Err("the yearly revenue".to_owned()));
        let none = worth(Some(1), Currency::USD, None, &economics, &terms(), false);
        assert_eq!(none, Err("the renewal risk".to_owned()));
    }

    fn item(account: &str, minutes: i64, gain: i64) -> DayItem {
        DayItem {
            action: ActionId::new(format!("{account}-{minutes}")),
            account: AccountId::new(account),
            gain_minor: Some(gain),
            per_minute_micro: Some(Micro::from_f64(gain as f64 / minutes as f64)),
            minutes,
        }
    }

    #[test]
    fn a_day_is_the_exact_optimum_not_the_greedy_one() {
        let items = [
            item("k1", 2, 30),
            item("k1", 5, 66),
            item("k2", 2, 26),
            item("k2", 3, 51),
            item("k3", 1, 14),
            item("k3", 3, 35),
            item("k4", 2, 29),
            item("k4", 4, 52),
        ];
        let day = plan_day(None, 9, 1, &items);
        assert_eq!(day.gain_minor, 133);
        let mut names: Vec<&str> = day.actions.iter().map(ActionId::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["k1-2", "k2-3", "k4-4"]);
        assert_eq!(day.planned_minutes, 9);
    }

    #[test]
    fn a_day_never_exceeds_its_minutes() {
        let items: Vec<DayItem> = (0..50).map(|i| item(&format!("a{i}"), 10 + i % 40, 100 + i)).collect();
        for capacity in [0, 10, 59, 240] {
            assert!(plan_day(None, capacity, 15, &items).planned_minutes <= capacity);
        }
    }

    #[test]
    fn equal_value_goes_to_the_earlier_id() {
        let items = [item("b", 30, 100), item("a", 30, 100)];
        assert_eq!(plan_day(None, 30, 15, &items).actions[0].as_str(), "a-30");
        let reversed = [items[1].clone(), items[0].clone()];
        assert_eq!(plan_day(None, 30, 15, &reversed).actions[0].as_str(), "a-30");
    }
}
