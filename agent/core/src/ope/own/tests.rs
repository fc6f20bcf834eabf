use super::*;
use crate::action::ActionKind;
use crate::draw::Stream;
use crate::explore::{DayOption, DayTerms, LoggedOption, explored_day};
use crate::ids::{AccountId, ActionId, PlaybookId};
use crate::ope::{Preference, evaluate, evaluated};
use crate::policy::Exploration;
use crate::rank::DayItem;
use crate::replay::Hash;
use crate::time::Timestamp;

fn option(playbook: &str, propensity: i64, executed: bool, drawn: Option<bool>) -> LoggedOption {
    LoggedOption {
        action: ActionId::new(playbook),
        playbook: PlaybookId::new(playbook),
        kind: ActionKind::CREATE_TASK,
        subject: "account".to_owned(),
        propensity_micro: Micro(propensity),
        executed,
        drawn,
    }
}

fn logged(account: &str, day: i32, options: Vec<LoggedOption>) -> LoggedChoice {
    LoggedChoice {
        account: AccountId::new(account),
        day: Day::from_number(day),
        owner: None,
        as_of: Timestamp::EPOCH,
        content: Hash::ZERO,
        seed: Some(1),
        tier: None,
        risk_micro: None,
        options,
    }
}

#[test]
fn nothing_has_the_chance_that_is_left_and_a_choice_without_chance_is_left_out() {
    let both = logged(
        "x",
        1,
        vec![
            option("a", 700_000, false, Some(false)),
            option("b", 200_000, true, Some(true)),
        ],
    );
    let choice = randomised(&both).unwrap();
    assert_eq!(choice.done.as_deref(), Some("b"));
    let expected = [(Some("a".to_owned()), 0.7), (Some("b".to_owned()), 0.2), (None, 0.1)];
    assert_eq!(choice.chances, expected);
    // `a` was not done, and neither was nothing: only `b` is told of against nothing.
    assert_eq!(choice.against_nothing().collect::<Vec<_>>(), [("b", true, 0.2)]);

    let certain = logged("x", 1, vec![option("a", 1_000_000, true, None)]);
    assert_eq!(randomised(&certain).unwrap_err().certain, 1);
    let unknown = logged(
        "x",
        1,
        vec![
            option("a", 999_000, false, Some(false)),
            option("b", 0, true, Some(true)),
        ],
    );
    assert_eq!(randomised(&unknown).unwrap_err().chance_unknown, 1);
    let left = OwnLeftOut {
        certain: 3,
        ..OwnLeftOut::default()
    };
    assert_eq!(no_choices(0, left), Some(LogProblem::Certain { choices: 3 }));
    assert_eq!(no_choices(0, OwnLeftOut::default()), Some(LogProblem::Empty));
    assert_eq!(no_choices(1, left), None);
}

#[test]
fn an_action_that_leaves_nothing_no_chance_tells_nothing_against_it() {
    let only = logged(
        "x",
        1,
        vec![
            option("a", 900_000, true, Some(true)),
            option("b", 100_000, false, Some(false)),
        ],
    );
    assert_eq!(randomised(&only).unwrap().against_nothing().count(), 0);
}

/// Days as they are planned and logged; `a` succeeds with .3, `b`, which is worth a little less, with .6.
fn log_of_days(days: i32) -> Vec<Choice> {
    let exploration = Exploration {
        share: 0.5,
        worth_from: 0.8,
        floor: 0.05,
        rest_days: 0,
        seed: 3,
    };
    let draws = &mut Stream::new(5, &["rewards"]);
    let mut found = Vec::new();
    for day in 0..days {
        let options: Vec<DayOption> = (0..12)
            .flat_map(|i| {
                [("a", 100), ("b", 90)].map(|(playbook, gain_minor)| DayOption {
                    item: DayItem {
                        action: ActionId::new(format!("{playbook}-{i:02}")),
                        account: AccountId::new(format!("acc-{i:02}")),
                        gain_minor: Some(gain_minor),
                        per_minute_micro: None,
                        minutes: 30,
                    },
                    forbidden: None,
                })
            })
            .collect();
        let terms = DayTerms {
            owner: None,
            capacity_minutes: 360,
            slot_minutes: 30,
            day: Day::from_number(day),
            content: Hash::ZERO,
            exploration: Some(&exploration),
        };
        let planned = explored_day(&terms, &options);
        for two in options.chunks(2) {
            let log = two.iter().map(|o| {
                let chance = planned.chances[&o.item.action];
                let executed = planned.day.actions.contains(&o.item.action);
                let name = &o.item.action.as_str()[..1];
                option(name, Micro::from_f64(chance.executed).0, executed, chance.drawn)
            });
            let choice = randomised(&logged(two[0].item.account.as_str(), day, log.collect())).unwrap();
            let success = if choice.done.as_deref() == Some("b") { 0.6 } else { 0.3 };
            found.push(Choice {
                account: format!("{}-{day}", choice.account),
                chances: choice.chances,
                done: choice.done,
                reward: f64::from(u8::from(draws.fraction() < success)),
            });
        }
    }
    found
}

#[test]
fn our_own_log_of_drawn_days_says_what_the_other_choice_would_have_brought() {
    let choices = log_of_days(80);
    for (action, truth) in [("a", 0.3), ("b", 0.6)] {
        let rows = evaluated(&choices, &Preference::Actions(vec![action.to_owned()])).unwrap();
        let found = evaluate(&rows).unwrap();
        for estimate in [found.ips, found.snips, found.dr] {
            assert!((estimate.mean - truth).abs() < 3.0 * estimate.se, "{action} {found:?}");
        }
    }
    let unknown = evaluated(&choices, &Preference::Actions(vec!["c".to_owned()]));
    assert!(matches!(unknown, Err(LogProblem::UnknownAction { .. })));
}
