use super::super::tests::terms;
use super::*;
use crate::number::Micro;
use crate::rank::plan_day;

fn option(account: &str, action: &str, gain: i64, minutes: i64, forbidden: Option<Forbidden>) -> DayOption {
    DayOption {
        item: DayItem {
            action: ActionId::new(action),
            account: AccountId::new(account),
            gain_minor: Some(gain),
            per_minute_micro: Some(Micro(gain * 1_000_000 / minutes)),
            minutes,
        },
        forbidden,
    }
}

fn day_terms(capacity: i64, exploration: Option<&Exploration>) -> DayTerms<'_> {
    DayTerms {
        owner: None,
        capacity_minutes: capacity,
        slot_minutes: 15,
        day: Day::from_number(20_000),
        content: Hash::of(b"content"),
        exploration,
    }
}

/// Many accounts with near-ties of 30 and 45 minutes, and room for some of them.
fn book(accounts: usize) -> Vec<DayOption> {
    (0..accounts)
        .flat_map(|i| {
            let (account, gain) = (format!("acc-{i:02}"), 1_000 + 10 * i64::try_from(i).unwrap());
            [
                option(&account, &format!("a{i:02}"), gain, 30, None),
                option(&account, &format!("b{i:02}"), gain * 9 / 10, 45, None),
            ]
        })
        .collect()
}

#[test]
fn without_exploration_the_plan_is_the_best_one_and_its_chances_are_one_and_zero() {
    let options = book(12);
    let items: Vec<DayItem> = options.iter().map(|o| o.item.clone()).collect();
    let found = explored_day(&day_terms(120, None), &options);
    assert_eq!(found.day, plan_day(None, 120, 15, &items));
    for (action, chance) in &found.chances {
        let planned = found.day.actions.contains(action);
        assert_eq!((chance.executed, chance.drawn), (f64::from(u8::from(planned)), None));
    }
}

#[test]
fn the_chance_of_an_option_is_that_of_a_place_in_the_day_and_not_that_of_its_draw() {
    let exploration = terms(0.4);
    let options = book(12);
    let found = explored_day(&day_terms(120, Some(&exploration)), &options);
    // Four half hours and no more: the draw of the least valuable account is won by its best in .8 of the cases, and it
    // hardly ever has a place.
    assert!(found.chances[&ActionId::new("a00")].executed < 0.2, "{found:?}");
    let best = found.chances[&ActionId::new("a11")].executed;
    assert!((best - 0.8).abs() < 0.05, "{best}");
    // The plan of the day that is done has its draws among those that the chances speak of.
    for action in &found.day.actions {
        assert!(found.chances[action].executed > 0.0, "{action}");
        assert_eq!(found.chances[action].drawn, Some(true));
    }
    assert_eq!(found, explored_day(&day_terms(120, Some(&exploration)), &options));
}

#[test]
fn over_many_seeds_options_are_executed_as_often_as_their_chances_say() {
    let options = book(6);
    let (mut expected, mut seen) = (BTreeMap::new(), BTreeMap::new());
    let seeds = 300;
    for seed in 0..seeds {
        let exploration = Exploration { seed, ..terms(0.4) };
        let found = explored_day(&day_terms(90, Some(&exploration)), &options);
        for (action, chance) in found.chances {
            *expected.entry(action).or_insert(0.0) += chance.executed;
        }
        for action in found.day.actions {
            *seen.entry(action).or_insert(0.0) += 1.0;
        }
    }
    for (action, expected) in expected {
        let (p, n) = (expected / seeds as f64, seeds as f64);
        let seen = seen.get(&action).copied().unwrap_or(0.0) / n;
        // Four standard errors, and one for the draws that the chance itself comes from.
        assert!(
            (seen - p).abs() < 4.0 * (p * (1.0 - p) / n).sqrt() + 0.01,
            "{action} {p} {seen}"
        );
    }
}

#[test]
fn another_account_in_the_day_moves_no_draw() {
    let exploration = terms(1.0);
    let drawn = |options: &[DayOption]| -> Vec<ActionId> {
        let found = explored_day(&day_terms(10_000, Some(&exploration)), options);
        found
            .chances
            .into_iter()
            .filter(|(_, c)| c.drawn == Some(true))
            .map(|(id, _)| id)
            .collect()
    };
    let few = drawn(&book(8));
    let many = drawn(&book(20));
    assert!(few.iter().all(|action| many.contains(action)), "{few:?} {many:?}");
    assert!(
        few.iter().any(|a| a.as_str().starts_with('b')),
        "some draw must be won by what is not the best"
    );
}

#[test]
fn what_a_person_decides_or_policy_excludes_is_never_drawn() {
    let exploration = terms(1.0);
    for why in Forbidden::ALL.iter().copied() {
        let options = [option("x", "a", 100, 30, Some(why)), option("x", "b", 99, 30, None)];
        let found = explored_day(&day_terms(60, Some(&exploration)), &options);
        assert_eq!(found.day.actions, [ActionId::new("a")], "{why:?}");
        let options = [option("x", "a", 100, 30, None), option("x", "b", 99, 30, Some(why))];
        let found = explored_day(&day_terms(60, Some(&exploration)), &options);
        assert_eq!(found.day.actions, [ActionId::new("a")], "{why:?}");
        assert!(found.chances.values().all(|c| c.drawn.is_none()), "{why:?}");
    }
}
