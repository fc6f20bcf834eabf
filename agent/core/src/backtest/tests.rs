use std::collections::BTreeMap;

use super::*;
use crate::draw::Stream;
use crate::fit::{Floor, fold};
use crate::ids::{AccountId, ExternalId, SourceId};
use crate::money::{Currency, Money};
use crate::policy::{Policies, Risk, RiskInput, Settings};
use crate::score::sigmoid;
use crate::signal::{Account, ChurnEvent, Contract, Fact, Movement, MovementKind, Signal, Subscription};
use crate::time::Day;

fn settings() -> Settings {
    Settings {
        base: Currency::USD,
        rates: BTreeMap::new(),
        strategic_from_minor: 10_000_000,
        mid_touch_from_minor: 2_000_000,
        usage_days: 280,
    }
}

fn risk() -> Risk {
    let input = |fact: &str, mean, sd, weight| RiskInput {
        fact: fact.to_owned(),
        equals: None,
        log_scale: None,
        at_least: None,
        mean,
        sd,
        weight,
    };
    Risk {
        intercept: -1.0,
        inputs: vec![
            input("tenure_days", 700.0, 300.0, -0.2),
            input("auto_renew", 0.5, 0.5, -0.5),
        ],
    }
}

fn day(text: &str) -> Day {
    text.parse().expect("a day")
}

fn design(until: &str) -> Design {
    Design {
        leads_weeks: vec![13, 4],
        main_lead_weeks: 13,
        grace_days: 30,
        until: day(until),
    }
}

fn signal(id: &str, observed: Day, fact: Fact) -> Signal {
    Signal {
        source: SourceId::new("test"),
        external_id: ExternalId::new(id),
        event_at: observed.start(),
        observed_at: observed.start(),
        revision_at: crate::time::Timestamp::from_us(0),
        fact,
    }
}

fn movement(id: &str, date: Day, kind: MovementKind, dollars: i64) -> Signal {
    let mut held = signal(
        id,
        date.plus(1),
        Fact::Movement(Movement {
            kind: Some(kind),
            delta: Some(Money::new(dollars * 100, Currency::USD)),
        }),
    );
    held.event_at = date.start();
    held
}

fn customer(start: &str, auto_renew: bool) -> Vec<Signal> {
    let start = day(start);
    vec![
        signal(
            "a",
            start,
            Fact::Account(Account {
                since: Some(start),
                ..Account::default()
            }),
        ),
        signal(
            "c",
            start,
            Fact::Contract(Contract {
                start: Some(start),
                term_months: Some(12),
                auto_renew: Some(auto_renew),
                ..Contract::default()
            }),
        ),
        movement("m0", start, MovementKind::New, 12_000),
    ]
}

fn found(signals: &[Signal], until: &str) -> Vec<Landmark> {
    landmarks(&AccountId::new("acme"), signals, &design(until), &settings(), &risk())
}

#[test]
fn a_renewal_is_seen_from_its_landmarks_and_churn_within_the_term_is_its_outcome() {
    let mut signals = customer("2023-01-01", true);
    signals.push(movement("m1", day("2024-12-20"), MovementKind::Churn, -12_000));
    let list = found(&signals, "2026-06-30");
    let ends: Vec<(String, bool)> = list.iter().map(|l| (l.end.to_string(), l.churned)).collect();
    assert_eq!(
        ends,
        [("2023-12-31".to_owned(), false), ("2024-12-31".to_owned(), true)]
    );
    let leads: Vec<(i64, String)> = list[1].rows.iter().map(|r| (r.lead_weeks, r.at.to_string())).collect();
    assert_eq!(leads, [(13, "2024-10-01".to_owned()), (4, "2024-12-03".to_owned())]);
    assert_eq!(list[1].rows[0].arr_minor, 1_200_000);
    // Tenure of 639 days: (639 - 700) / 300; auto-renewal: (1 - .5) / .5.
    assert!((list[1].rows[0].inputs[0] + 61.0 / 300.0).abs() < 1e-6);
    assert!((list[1].rows[0].inputs[1] - 1.0).abs() < 1e-9);
}

#[test]
fn a_renewal_without_full_follow_up_does_not_count() {
    let signals = customer("2023-01-01", true);
    assert_eq!(found(&signals, "2024-01-30").len(), 0);
    assert_eq!(found(&signals, "2024-01-31").len(), 1);
}

#[test]
fn who_comes_back_within_the_days_of_grace_has_renewed() {
    let mut signals = customer("2023-01-01", true);
    signals.push(movement("m1", day("2023-12-31"), MovementKind::Churn, -12_000));
    signals.push(movement("m2", day("2024-01-25"), MovementKind::Reactivation, 9_000));
    assert!(!found(&signals, "2024-06-30")[0].churned);
    signals[4] = movement("m2", day("2024-02-15"), MovementKind::Reactivation, 9_000);
    assert!(found(&signals, "2024-06-30")[0].churned);
}

#[test]
fn where_notice_is_agreed_its_last_day_is_the_decision() {
    let mut signals = customer("2023-01-01", true);
    if let Fact::Contract(contract) = &mut signals[1].fact {
        contract.notice_days = Some(60);
    }
    let list = found(&signals, "2024-06-30");
    assert_eq!(list[0].end, day("2023-12-31"));
    assert_eq!(list[0].decision, day("2023-11-01"));
    assert_eq!(list[0].rows[0].at, day("2023-11-01").plus(-91));
}

#[test]
fn without_movements_the_end_of_a_subscription_or_a_churn_event_is_the_outcome() {
    let start = day("2023-01-01");
    let subscription = |ended: Option<Day>| {
        let fact = Subscription {
            start: Some(start),
            term_months: Some(12),
            auto_renew: Some(true),
            arr: Some(Money::new(1_200_000, Currency::USD)),
            ended,
            ..Subscription::default()
        };
        vec![signal("s", start, Fact::Subscription(fact))]
    };
    assert!(!found(&subscription(None), "2024-06-30")[0].churned);
    assert!(found(&subscription(Some(day("2024-01-10"))), "2024-06-30")[0].churned);
    let said = |date: Day, reactivation| {
        let fact = ChurnEvent {
            date: Some(date),
            reactivation: Some(reactivation),
            ..ChurnEvent::default()
        };
        signal(&format!("e{date}"), date, Fact::ChurnEvent(fact))
    };
    let mut left = subscription(None);
    left.push(said(day("2023-12-20"), false));
    assert!(found(&left, "2024-06-30")[0].churned);
    left.push(said(day("2024-01-20"), true));
    assert!(!found(&left, "2024-06-30")[0].churned);
}

#[test]
fn a_term_that_ended_before_there_was_revenue_is_no_renewal() {
    let mut signals = customer("2020-01-01", true);
    signals[2] = movement("m0", day("2023-03-01"), MovementKind::Opening, 12_000);
    let list = found(&signals, "2024-06-30");
    assert_eq!(list.len(), 1);
    assert_eq!(list[0].end, day("2023-12-31"));
}

/// Seventy customers with one observed renewal each; who leaves does so shortly before it.
fn book(plant: impl Fn(&mut Vec<Signal>, bool)) -> Vec<Landmark> {
    let mut all = Vec::new();
    for n in 0..70_i64 {
        let (auto_renew, leaves) = (n % 3 == 0, n % 4 == 0);
        let start = day("2024-01-01").plus(n);
        let mut signals = customer(&start.to_string(), auto_renew);
        if leaves {
            signals.push(movement("m1", start.plus(360), MovementKind::Churn, -12_000));
        }
        plant(&mut signals, leaves);
        let id = AccountId::new(format!("acc-{n:04}"));
        all.extend(landmarks(&id, &signals, &design("2025-06-30"), &settings(), &risk()));
    }
    assert_eq!(all.len(), 70);
    all
}

/// Decisions over four years, forecast by two inputs whose true weights are not those of the policy.
fn history(decisions: usize) -> Vec<Landmark> {
    let mut draws = Stream::new(11, &["renewals"]);
    let mut share = || draws.below(1_000_000) as f64 / 1e6;
    (0..decisions)
        .map(|n| {
            let inputs = vec![4.0 * share() - 2.0, 4.0 * share() - 2.0];
            let churned = share() < sigmoid(-1.8 + 1.2 * inputs[0] - 0.5 * inputs[1]);
            let decision = day("2022-01-01").plus((n * 1_460 / decisions) as i64);
            let row = |lead_weeks: i64| LeadRow {
                lead_weeks,
                at: decision.plus(-7 * lead_weeks),
                arr_minor: 100_000 + 1_000 * (n as i64 % 50),
                inputs: inputs.clone(),
                assessable: n % 40 != 0,
                numbers: Vec::new(),
                fields: std::collections::BTreeSet::new(),
            };
            Landmark {
                account: AccountId::new(format!("acc-{:04}", n % 400)),
                decision,
                end: decision,
                known_by: decision.plus(30),
                churned,
                rows: vec![row(13), row(4)],
            }
        })
        .collect()
}

fn terms() -> Terms {
    Terms {
        split: None,
        floor: Floor::default(),
        stated_churn: None,
        flag_from: 0.2,
        lead_weeks: 13,
        draws: 50,
        seed: 1,
    }
}

#[test]
fn the_fit_beats_the_scorecard_forward_in_time_and_says_so_with_an_interval() {
    let report = evaluate(&history(900), &risk(), &terms());
    let main = report.main.expect("enough history");
    assert!(main.training_events >= 25 && main.events >= 25, "{main:?}");
    let by_name: BTreeMap<&str, &Model> = main.models.iter().map(|m| (m.model, m)).collect();
    let fitted = by_name["prior_mean"];
    assert!(
        fitted.log_loss_vs_scorecard.high.expect("an interval") < 0.0,
        "{fitted:?}"
    );
    assert!(fitted.auc.value.expect("an area") > 0.6, "{fitted:?}");
    assert!((fitted.slope.value.expect("a slope") - 1.0).abs() < 0.4, "{fitted:?}");
    assert_eq!(fitted.tau.len(), 5);
    assert_eq!(main.not_assessable, 23);
    // A lead of 4 weeks is too late for a flag 60 days ahead.
    let late = report.leads.iter().find(|c| c.lead_weeks == 4).expect("a lead");
    assert!(late.models[0].churned_arr_flagged.cannot_estimate.is_some());
    assert!(main.models[0].churned_arr_flagged.value.is_some());
}

#[test]
fn the_same_history_and_seed_give_the_same_report() {
    let landmarks = history(500);
    assert_eq!(
        evaluate(&landmarks, &risk(), &terms()),
        evaluate(&landmarks, &risk(), &terms())
    );
}

#[test]
fn no_training_outcome_was_known_after_the_first_tested_landmark() {
    let landmarks = history(500);
    let report = evaluate(&landmarks, &risk(), &terms());
    let split = report.split.expect("some churned");
    let main = report.main.expect("a lead");
    let row = |l: &Landmark| l.rows.iter().find(|r| r.lead_weeks == 13 && r.assessable).map(|r| r.at);
    let known = landmarks
        .iter()
        .filter(|l| row(l).is_some() && l.known_by <= split)
        .count();
    let tested = landmarks
        .iter()
        .filter(|l| row(l).is_some_and(|at| at >= split))
        .count();
    assert_eq!((main.training_rows, main.rows), (known, tested));
    assert!(known + tested < landmarks.iter().filter(|l| row(l).is_some()).count());
}

#[test]
fn no_account_is_forecast_by_a_model_that_was_fitted_on_it() {
    let split = day("2024-06-01");
    let terms = Terms {
        split: Some(split),
        floor: Floor { events: 5 },
        draws: 20,
        ..terms()
    };
    let part = |l: &Landmark| fold(l.account.as_str(), 5);
    let mut landmarks = history(1_500);
    // All that is tested belongs to accounts of one part.
    landmarks.retain(|l| l.known_by <= split || part(l) == 0);
    let loss = |changed: u64| {
        let mut turned = landmarks.clone();
        for l in turned.iter_mut().filter(|l| l.known_by <= split && part(l) == changed) {
            l.churned = !l.churned;
        }
        let main = evaluate(&turned, &risk(), &terms).main.expect("a lead");
        main.models[2].log_loss.value.expect("enough history")
    };
    assert_eq!(loss(0), loss(99));
    assert_ne!(loss(1), loss(99));
}

#[test]
fn twenty_renewals_are_insufficient_history_for_every_model_and_measure() {
    let report = evaluate(&history(20), &risk(), &terms());
    let main = report.main.expect("a lead");
    for model in &main.models {
        let why = model.cannot_estimate.as_deref().expect("no forecasts");
        assert!(why.starts_with("insufficient history"), "{why}");
        assert_eq!(
            (model.auc.value, model.log_loss.value, model.slope.value),
            (None, None, None)
        );
    }
    let none = evaluate(&[], &risk(), &terms());
    assert_eq!((none.split, none.main), (None, None));
}

#[test]
fn a_stated_churn_moves_the_scorecard_to_it() {
    let landmarks = history(900);
    let stated = Terms {
        stated_churn: Some(0.05),
        ..terms()
    };
    let loss = |terms: &Terms| {
        evaluate(&landmarks, &risk(), terms).main.expect("a lead").models[0]
            .log_loss
            .value
    };
    assert_ne!(loss(&terms()), loss(&stated));
}

fn leaks(landmarks: Vec<Landmark>, accepted: &[String]) -> Vec<String> {
    let mut check = LeakCheck::default();
    for mut landmark in landmarks {
        check.take(&mut landmark);
        assert!(
            landmark
                .rows
                .iter()
                .all(|r| r.fields.is_empty() && r.numbers.is_empty())
        );
    }
    check.findings(accepted).into_iter().map(|f| f.field).collect()
}

fn attribute(signals: &mut [Signal], name: &str) {
    if let Fact::Account(account) = &mut signals[0].fact {
        account.attributes = Some(BTreeMap::from([(name.to_owned(), "price".to_owned())]));
    }
}

#[test]
fn an_honest_history_has_no_leak() {
    assert_eq!(leaks(book(|_, _| {}), &[]), Vec::<String>::new());
    assert_eq!(
        leaks(book(|s, _| attribute(s, "industry_code")), &[]),
        Vec::<String>::new()
    );
}

#[test]
fn a_field_that_is_only_filled_after_churn_is_named_unless_somebody_vouches_for_it() {
    let reason = |signals: &mut Vec<Signal>, leaves: bool| {
        if leaves {
            attribute(signals, "churn_reason");
        }
    };
    let name = "account.attributes.churn_reason".to_owned();
    assert_eq!(leaks(book(reason), &[]), std::slice::from_ref(&name));
    assert_eq!(leaks(book(reason), &[name]), Vec::<String>::new());
}

#[test]
fn a_flag_without_a_date_is_named_and_does_not_hide_the_renewals() {
    let flagged = |signals: &mut Vec<Signal>, leaves: bool| {
        if leaves && let Fact::Account(account) = &mut signals[0].fact {
            account.churned = Some(true);
        }
    };
    assert_eq!(leaks(book(flagged), &[]), ["account.churned"]);
}

#[test]
fn a_feature_that_alone_tells_the_outcome_is_named() {
    // Who leaves has a contract that renews by itself, nobody else has.
    let telling = |signals: &mut Vec<Signal>, leaves: bool| {
        if let Fact::Contract(contract) = &mut signals[1].fact {
            contract.auto_renew = Some(leaves);
        }
        if leaves {}
    };
    let names = leaks(book(telling), &[]);
    assert!(names.contains(&"auto_renew".to_owned()), "{names:?}");
}

#[test]
fn the_policy_fitted_to_history_finds_the_true_weights_and_is_a_policy_again() {
    let fit = fitted(&history(900), 13, &risk(), Floor::default()).expect("enough history");
    // The truth of `history`: -1.8, 1.2, -0.5.
    for (weight, truth) in std::iter::once(&fit.intercept)
        .chain(fit.inputs.iter().map(|i| &i.weight))
        .zip([-1.8, 1.2, -0.5])
    {
        assert!(
            (weight.fitted - truth).abs() < 3.0 * weight.deviation,
            "{weight:?} and {truth}"
        );
        assert!(weight.deviation > 0.0 && weight.deviation < 0.2, "{weight:?}");
    }
    // A tenth is not assessable in `history`, and does not count.
    assert!(fit.rows < 900, "{}", fit.rows);
    let few = fitted(&history(40), 13, &risk(), Floor::default());
    assert!(few.is_err(), "{few:?}");
    let mut content = crate::policy::tests::shipped();
    let text = content.policies.get_mut("scoring.toml").expect("shipped");
    let shipped = Policies::compile(&crate::policy::tests::shipped())
        .expect("compiles")
        .scoring
        .risk;
    let of = |w: f64| FittedWeight {
        before: w,
        fitted: w / 2.0,
        deviation: 0.1,
    };
    let halved = FittedRisk {
        rows: 100,
        events: 30,
        tau: Some(0.6),
        intercept: of(shipped.intercept),
        inputs: shipped
            .inputs
            .iter()
            .map(|i| FittedInput {
                fact: i.fact.clone(),
                equals: i.equals.clone(),
                weight: of(i.weight),
            })
            .collect(),
    };
    let from = text.find("[risk]\n").expect("the table");
    let to = from + text[from..].find("# ---").expect("the next part");
    text.replace_range(from..to, &halved.toml(&shipped));
    let again = Policies::compile(&content)
        .unwrap_or_else(|p| panic!("{p:?}"))
        .scoring
        .risk;
    assert_eq!(again.inputs.len(), shipped.inputs.len());
    for (a, b) in again.inputs.iter().zip(&shipped.inputs) {
        assert!((a.weight - b.weight / 2.0).abs() < 1e-4, "{a:?}");
        assert_eq!(
            (&a.fact, &a.equals, a.log_scale, a.at_least),
            (&b.fact, &b.equals, b.log_scale, b.at_least)
        );
        assert!((a.mean - b.mean).abs() < 1e-12 && (a.sd - b.sd).abs() < 1e-12);
    }
}
