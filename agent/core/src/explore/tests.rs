use super::{Chances, Choice, FLOOR, Forbidden, WORTH_MIN, executed, forbids};
use crate::action::ActionKind;
use crate::draw::Stream;
use crate::feature::{Features, Found, State, Value};
use crate::ids::{AccountId, ActionId};
use crate::number::Micro;
use crate::policy::Exploration;
use crate::policy::gate::Vocabulary;
use crate::time::Timestamp;

fn facts(change: &[(&str, Option<Value>)]) -> Features {
    let mut features = Features::default();
    let mut put = |name: &str, value: Option<Value>| {
        let state = value.map_or_else(|| State::Unknown("a field".to_owned()), State::Known);
        features.insert(&AccountId::new("a"), name, Found::computed(state, Timestamp::EPOCH));
    };
    put("legal_hold", Some(Value::Flag(false)));
    put("do_not_contact", Some(Value::Flag(false)));
    put("sev1_open", Some(Value::Number(Micro::ZERO)));
    put("days_to_renewal", Some(Value::Number(Micro::whole(90))));
    for (name, value) in change {
        put(name, value.clone());
    }
    features
}

pub(super) fn terms(share: f64) -> Exploration {
    Exploration {
        share,
        worth_from: WORTH_MIN,
        floor: FLOOR,
        rest_days: 28,
        seed: 1,
    }
}

/// The chances of options of an account.
fn chances(features: &Features, options: &[(ActionId, ActionKind, f64)], share: f64) -> Chances {
    let options: Vec<Choice> = options
        .iter()
        .map(|(action, kind, value)| Choice {
            action: action.clone(),
            value: *value,
            forbidden: forbids(features, Vocabulary::default().is_commercial(*kind)),
        })
        .collect();
    super::chances(&options, &terms(share))
}

fn choice(id: &str, kind: ActionKind, value: f64) -> (ActionId, ActionKind, f64) {
    (ActionId::new(id), kind, value)
}

fn tasks(values: &[(&str, f64)]) -> Vec<(ActionId, ActionKind, f64)> {
    values
        .iter()
        .map(|(id, v)| choice(id, ActionKind::CREATE_TASK, *v))
        .collect()
}

fn of(chances: &Chances) -> Vec<(&str, f64)> {
    chances.by_action.iter().map(|(id, c)| (id.as_str(), *c)).collect()
}

#[test]
fn only_what_is_worth_80_percent_of_the_best_is_explored() {
    let found = chances(&facts(&[]), &tasks(&[("a", 80.0), ("b", 100.0), ("c", 79.9)]), 0.2);
    assert_eq!(of(&found), [("a", 0.1), ("b", 0.9)]);
}

#[test]
fn no_explored_action_has_a_chance_below_the_floor_and_all_sum_to_one() {
    for count in 1..30_u32 {
        for epsilon in [0.01, 0.2, 1.0] {
            let list: Vec<_> = (0..count)
                .map(|i| choice(&format!("{i:02}"), ActionKind::CREATE_TASK, 100.0 - f64::from(i) * 0.1))
                .collect();
            let found = chances(&facts(&[]), &list, epsilon);
            let sum: f64 = found.by_action.values().sum();
            assert!((sum - 1.0).abs() < 1e-12);
            assert!(
                found.by_action.values().all(|c| *c >= FLOOR - 1e-12),
                "{count} {epsilon} {found:?}"
            );
        }
    }
}

#[test]
fn nothing_is_explored_where_it_could_cost_a_customer_or_a_fact_is_not_known() {
    let list = tasks(&[("a", 100.0), ("b", 99.0)]);
    let number = |n| Some(Value::Number(Micro::whole(n)));
    let yes = || Some(Value::Flag(true));
    let cases = [
        ("legal_hold", yes(), Forbidden::LegalHold),
        ("do_not_contact", yes(), Forbidden::OptedOut),
        ("sev1_open", number(1), Forbidden::Severity1),
        ("days_to_renewal", number(29), Forbidden::RenewalNear),
        ("legal_hold", None, Forbidden::Unknown),
        ("do_not_contact", None, Forbidden::Unknown),
        ("sev1_open", None, Forbidden::Unknown),
        ("days_to_renewal", None, Forbidden::Unknown),
    ];
    for (fact, value, why) in cases {
        let found = chances(&facts(&[(fact, value)]), &list, 0.5);
        assert_eq!(of(&found), [("a", 1.0)], "{fact}");
        assert_eq!(found.forbidden, Some(why), "{fact}");
    }
    assert_eq!(
        chances(&facts(&[("days_to_renewal", number(30))]), &list, 0.5).forbidden,
        None
    );
}

#[test]
fn prices_and_discounts_are_not_explored() {
    let priced = [ActionKind::OFFER_DISCOUNT, ActionKind::SEND_RENEWAL];
    for kind in priced {
        let list = [choice("a", ActionKind::CREATE_TASK, 100.0), choice("b", kind, 99.0)];
        assert_eq!(of(&chances(&facts(&[]), &list, 0.5)), [("a", 1.0)]);
        let list = [choice("a", ActionKind::CREATE_TASK, 99.0), choice("b", kind, 100.0)];
        let found = chances(&facts(&[]), &list, 0.5);
        assert_eq!(
            (of(&found), found.forbidden),
            (vec![("b", 1.0)], Some(Forbidden::Price))
        );
    }
}

#[test]
fn what_costs_more_than_it_brings_is_not_explored_and_no_action_has_no_chance() {
    assert_eq!(
        of(&chances(&facts(&[]), &tasks(&[("a", -1.0), ("b", -1.1)]), 0.5)),
        [("a", 1.0)]
    );
    let none = chances(&facts(&[]), &[], 0.5);
    assert!(none.by_action.is_empty());
    assert_eq!(none.draw(&mut Stream::new(1, &["t"])), None);
}

#[test]
fn the_logged_chance_is_that_of_what_is_executed_after_the_rule_of_one_action() {
    // Two independent draws at .5 and .4, of which only the first in order is executed: .5 and .5 x .4.
    let (first, second) = (ActionId::new("first"), ActionId::new("second"));
    let choose = |draws: &mut Stream| {
        let drawn = [(&first, draws.fraction() < 0.5), (&second, draws.fraction() < 0.4)];
        drawn
            .iter()
            .filter(|(_, on)| *on)
            .map(|(id, _)| (*id).clone())
            .take(1)
            .collect()
    };
    let found = executed(11, &["account", "a"], choose);
    assert!((found[&first] - 0.5).abs() < 0.05, "{found:?}");
    assert!((found[&second] - 0.2).abs() < 0.04, "{found:?}");
    assert_eq!(
        found,
        executed(11, &["account", "a"], choose),
        "the seed is stored, so the figure can be made again"
    );
    assert_ne!(found, executed(12, &["account", "a"], choose));
}

#[test]
fn draws_follow_the_chances() {
    let drawn = chances(&facts(&[]), &tasks(&[("a", 100.0), ("b", 95.0), ("c", 90.0)]), 0.3);
    let found = executed(1, &["t"], |draws| drawn.draw(draws).cloned().into_iter().collect());
    for (action, chance) in &drawn.by_action {
        assert!((found[action] - chance).abs() < 0.05, "{action} {chance} {found:?}");
    }
}
