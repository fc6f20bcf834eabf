use proptest::prelude::*;

use super::*;
use crate::policy::Discount;

fn terms() -> ValueTerms {
    ValueTerms {
        margin: 0.8,
        expansion_margin: 0.8,
        minute_minor: 150.0,
        fatigue_minor: 0.0,
        act_from: 0.8,
    }
}

fn economics() -> Economics {
    Economics {
        shift: 0.40,
        shift_sd: 0.2,
        prior_shift: None,
        expansion: 0.0,
        decay: 0.75,
        minutes: 45,
        discount: None,
    }
}

#[test]
fn value_and_order_equal_the_reference_figures() {
    let economics = economics();
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
    let mut later = economics;
    later.shift *= later.decay;
    let later = super::worth(
        Some(4_800_000),
        Currency::USD,
        Some(Micro(300_000)),
        &later,
        &terms(),
        false,
    )
    .expect("known");
    assert_eq!((later.risk_fall_micro, later.value_minor), (Micro(59_017), 219_875));
}

#[test]
fn a_missing_fact_is_named_and_not_zero() {
    let economics = economics();
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

#[test]
fn a_discount_costs_its_share_as_often_as_it_is_taken_and_does_not_change_the_order() {
    let given = Economics {
        discount: Some(Discount {
            share: 0.10,
            accept: 0.5,
        }),
        ..economics()
    };
    let value = |e: &Economics| {
        let found = worth(Some(4_800_000), Currency::USD, Some(Micro(300_000)), e, &terms(), false);
        found.expect("known")
    };
    let (with, without) = (value(&given), value(&economics()));
    // 10 % of 48,000 in half of the cases: 2,400.
    assert_eq!(with.discount_minor, Some(240_000));
    assert_eq!(with.value_minor, 288_284 - 240_000);
    assert_eq!(with.next_minor, 219_875 - 240_000);
    assert_eq!(with.per_minute_micro, without.per_minute_micro);
    assert_eq!(without.discount_minor, None);
}

#[test]
fn every_factor_of_the_value_can_be_read_and_leads_to_it_again() {
    let given = Economics {
        expansion: 0.02,
        prior_shift: Some(0.15),
        discount: Some(Discount {
            share: 0.05,
            accept: 0.4,
        }),
        ..economics()
    };
    let tired = ValueTerms {
        fatigue_minor: 4_000.0,
        ..terms()
    };
    let w = worth(
        Some(4_800_000),
        Currency::USD,
        Some(Micro(300_000)),
        &given,
        &tired,
        true,
    )
    .expect("known");
    assert_eq!(w.prior_shift_micro, Some(Micro(150_000)));
    let gain = w.arr_minor as f64 * 0.8 * (w.risk_fall_micro.to_f64() + w.expansion_micro.to_f64());
    let costs = w.discount_minor.unwrap_or(0) + w.cost_minor + w.fatigue_minor;
    assert!((gain - costs as f64 - w.value_minor as f64).abs() < 5.0, "{w:?}");
}

/// The best value of at most one item an account within the slots, by trying all.
fn by_enumeration(groups: &[Vec<(usize, i64)>], slots: usize) -> i64 {
    let Some((first, rest)) = groups.split_first() else {
        return 0;
    };
    let taken = first.iter().filter(|(need, _)| *need <= slots);
    let best = taken
        .map(|(need, gain)| gain + by_enumeration(rest, slots - need))
        .max();
    best.unwrap_or(0).max(by_enumeration(rest, slots))
}

proptest! {
    #[test]
    fn the_plan_of_a_day_is_the_best_of_all_plans(
        groups in prop::collection::vec(prop::collection::vec((1_usize..7, -20_i64..200), 0..4), 0..7),
        slots in 0_usize..20,
    ) {
        let items: Vec<DayItem> = groups
            .iter()
            .enumerate()
            .flat_map(|(account, group)| {
                group.iter().enumerate().map(move |(i, (need, gain))| DayItem {
                    action: ActionId::new(format!("{account}-{i}")),
                    account: AccountId::new(format!("{account}")),
                    gain_minor: Some(*gain),
                    per_minute_micro: Some(Micro(*gain)),
                    // A minute less than whole slots, so that rounding up is tried too.
                    minutes: *need as i64 * 15 - (i as i64 % 2),
                })
            })
            .collect();
        let capacity = slots as i64 * 15 + 7;
        let day = plan_day(None, capacity, 15, &items);
        prop_assert_eq!(day.gain_minor, by_enumeration(&groups, slots));
        let taken: Vec<&DayItem> = items.iter().filter(|i| day.actions.contains(&i.action)).collect();
        let gains: i64 = taken.iter().filter_map(|i| i.gain_minor).filter(|g| *g > 0).sum();
        prop_assert_eq!(gains, day.gain_minor);
        prop_assert!(day.planned_minutes <= capacity);
        let accounts: std::collections::BTreeSet<_> = taken.iter().map(|i| &i.account).collect();
        prop_assert_eq!(accounts.len(), taken.len());
    }
}
