use super::super::{Refusal, evaluate};
use super::*;
use crate::draw::Stream;
use crate::ids::{AccountId, ExternalId, SourceId};
use crate::money::{Currency, Money};
use crate::number::Micro;
use crate::signal::{Fact, Movement, MovementKind, Signal, Treatment};
use crate::time::Timestamp;

fn priority() -> Vec<String> {
    vec!["call".to_owned(), "offer".to_owned()]
}

/// Three thousand occasions of 300 accounts, each eligible for both; the first that is drawn is executed. A call brings .05,
/// an offer .02.
fn log() -> Vec<Occasion> {
    let mut draws = Stream::new(3, &["log"]);
    (0..3_000)
        .map(|n| {
            let (call, offer) = (draws.fraction() < 0.3, draws.fraction() < 0.4);
            let offer = offer && !call;
            let gain = if call {
                0.05
            } else if offer {
                0.02
            } else {
                0.0
            };
            let eligible = |action: &str, executed: bool, draw: f64| Eligible {
                action: action.to_owned(),
                executed,
                draw,
            };
            Occasion {
                account: format!("a{:03}", n % 300),
                day: Day::from_number(20_000 + n / 300 * 7),
                // Not in the order of priority: the rule sorts.
                eligible: vec![eligible("offer", offer, 0.4), eligible("call", call, 0.3)],
                reward: gain + 0.01 * draws.normal(),
            }
        })
        .collect()
}

#[test]
fn what_was_executed_has_the_probability_of_the_rule_of_priority() {
    let occasions = log();
    let choice = in_order(&occasions[0], &priority()).unwrap();
    let chance = |done: Option<&str>| {
        let found = choice.chances.iter().find(|(d, _)| d.as_deref() == done);
        found.unwrap().1
    };
    assert!((chance(Some("call")) - 0.3).abs() < 1e-12);
    assert!((chance(Some("offer")) - 0.7 * 0.4).abs() < 1e-12);
    assert!((chance(None) - 0.7 * 0.6).abs() < 1e-12);
}

#[test]
fn a_preference_is_worth_what_its_action_brings() {
    for (preference, brings) in [
        (Preference::Actions(vec!["call".to_owned()]), 0.05),
        (Preference::Actions(vec!["offer".to_owned(), "call".to_owned()]), 0.02),
        (Preference::Actions(Vec::new()), 0.0),
        (Preference::HighestValue, 0.05),
    ] {
        let found = evaluate(&logged(&log(), &priority(), &preference).unwrap()).unwrap();
        for estimate in [found.snips, found.dr] {
            assert!((estimate.mean - brings).abs() < 0.002, "{preference:?} {estimate:?}");
        }
    }
}

#[test]
fn without_the_rule_the_log_does_not_fit_its_propensities_and_is_refused() {
    let offers = Preference::Actions(vec!["offer".to_owned()]);
    let rows: Vec<Logged> = logged(&log(), &[], &offers).unwrap();
    assert_eq!(rows.len(), 6_000, "each row is a choice by itself");
    let refused = evaluate(&rows).unwrap_err();
    assert!(matches!(refused, Refusal::Propensities { .. }), "{refused}");
}

#[test]
fn a_log_that_breaks_the_rule_or_a_name_that_is_not_in_it_is_refused_by_name() {
    let none = Preference::Actions(Vec::new());
    let mut broken = log();
    broken[0].eligible.iter_mut().for_each(|e| e.executed = true);
    assert!(matches!(
        logged(&broken, &priority(), &none),
        Err(LogProblem::Two { .. })
    ));
    let unknown = logged(&log(), &priority(), &Preference::Actions(vec!["visit".to_owned()])).unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "there is no action `visit` in the log: there are call, offer"
    );
    let half = logged(&log(), &["call".to_owned()], &none).unwrap_err();
    assert_eq!(
        half.to_string(),
        "the priority does not name `offer`, which is in the log"
    );
    assert_eq!(logged(&[], &[], &none), Err(LogProblem::Empty));
    let one = &log()[..1];
    assert!(matches!(
        logged(one, &priority(), &none),
        Err(LogProblem::NoPrediction { .. })
    ));
}

fn signal(id: &str, day: Day, fact: Fact) -> Signal {
    Signal {
        source: SourceId::new("test"),
        external_id: ExternalId::new(id),
        event_at: day.start(),
        observed_at: day.start(),
        revision_at: Timestamp::from_us(0),
        fact,
    }
}

fn movement(id: &str, day: Day, dollars: i64) -> Signal {
    let fact = Movement {
        kind: Some(MovementKind::Expansion),
        delta: Some(Money::new(dollars * 100, Currency::USD)),
    };
    signal(id, day, Fact::Movement(fact))
}

fn treatment(id: &str, day: Day, executed: Option<bool>) -> Signal {
    let fact = Treatment {
        action: Some(id.split(' ').next().unwrap_or_default().to_owned()),
        executed,
        propensity: Some(Micro::from_f64(0.25)),
        engine_arm: Some(true),
    };
    signal(id, day, Fact::Treatment(fact))
}

#[test]
fn the_reward_is_the_relative_change_of_revenue_and_what_cannot_be_judged_is_counted() {
    let day = |number| Day::from_number(20_000 + number);
    let settings = Settings {
        base: Currency::USD,
        rates: BTreeMap::new(),
        strategic_from_minor: 10_000_000,
        mid_touch_from_minor: 2_000_000,
        usage_days: 280,
    };
    let signals = vec![
        movement("new", day(0), 1_000),
        // Dated on the day of the occasion, and on the day on which the reward ends: neither is before it.
        movement("same day", day(100), 500),
        movement("last day", day(100 + 91), 7_000),
        movement("inside", day(150), -300),
        treatment("call before", day(50), Some(true)),
        treatment("call", day(100), Some(true)),
        treatment("offer", day(100), Some(false)),
        treatment("call gap", day(107), None),
        treatment("call late", day(400), Some(false)),
        treatment("call first", day(0), Some(false)),
    ];
    let snapshot = Snapshot::of(AccountId::new("a"), day(450).start(), signals, Vec::new(), 280);
    assert_eq!(complete_from(&snapshot), Some(day(0)));
    let (found, out) = occasions(&snapshot, &settings, day(60), day(450));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].day, day(100));
    // 1,000 before the day; 500 more and 300 less before the end.
    assert!((found[0].reward - 0.2).abs() < 1e-12, "{}", found[0].reward);
    let names: Vec<(&str, bool)> = found[0]
        .eligible
        .iter()
        .map(|e| (e.action.as_str(), e.executed))
        .collect();
    assert_eq!(names, [("call", true), ("offer", false)]);
    let wanted = LeftOut {
        before: 2,
        too_recent: 1,
        no_revenue: 0,
        incomplete: 1,
    };
    assert_eq!(out, wanted);
    let (_, out) = occasions(&snapshot, &settings, day(0), day(450));
    assert_eq!(
        (out.before, out.no_revenue),
        (0, 1),
        "nothing was paid before the first day"
    );
}
