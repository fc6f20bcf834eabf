//! Detectors that read records: people, cases, bills, surveys, touches, and the room for growth.

use super::*;
use crate::number::Micro;
use crate::signal::{Account, Contact, ContactRole, Interaction, InteractionKind, Invoice, Survey, SurveyKind, Ticket};

const TODAY: &str = "2026-09-16";

fn ago(days: i64) -> Day {
    day(TODAY).plus(-days)
}

fn contact(id: &str, name: &str, title: &str, edit: fn(&mut Contact)) -> Signal {
    let mut fact = Contact {
        name: Some(name.to_owned()),
        email: Some(format!("{id}@customer.example")),
        title: Some(title.to_owned()),
        since: Some(ago(400)),
        ..Contact::default()
    };
    edit(&mut fact);
    signal(id, ago(400), Fact::Contact(fact))
}

/// The same record as an export taken some days ago had it.
fn exported(mut signal: Signal, days: i64, edit: fn(&mut Contact)) -> Signal {
    signal.revision_at = ago(days).start();
    if let Fact::Contact(fact) = &mut signal.fact {
        edit(fact);
    }
    signal
}

fn touches(contact: &str, days_ago: impl Iterator<Item = i64>) -> Vec<Signal> {
    days_ago
        .map(|days| {
            let fact = Interaction {
                kind: Some(InteractionKind::Email),
                contact: Some(contact.to_owned()),
                by: None,
                inbound: Some(true),
                sentiment: None,
            };
            signal(&format!("touch-{contact}-{days}"), ago(days), Fact::Interaction(fact))
        })
        .collect()
}

fn found(signals: Vec<Signal>) -> Vec<(ChangeKind, String)> {
    let snapshot = snapshot_on(day(TODAY), signals);
    changes(&snapshot).into_iter().map(|c| (c.kind, c.person)).collect()
}

/// Two people who were always there.
fn staff() -> Vec<Signal> {
    vec![
        contact("c1", "Ana Lima", "Team lead", |c| c.role = Some(ContactRole::Admin)),
        contact("c2", "Ben Roth", "Analyst", |_| {}),
    ]
}

fn champion_weeks(away: usize) -> Vec<Signal> {
    let mut seen = vec![Some(1.0); 20];
    seen.extend(vec![Some(0.0); away]);
    use_of("champion_seen", &seen, 50.0)
}

#[test]
fn twelve_scripted_changes_are_all_found_and_nothing_else() {
    let plain = |_: &mut Contact| {};
    let with = |more: Vec<Signal>| staff().into_iter().chain(more).collect::<Vec<_>>();
    let kim = |edit| contact("c3", "Kim Sato", "Operations manager", edit);
    let versions = |before: fn(&mut Contact), after: fn(&mut Contact)| {
        with(vec![exported(kim(plain), 40, before), exported(kim(plain), 20, after)])
    };
    let silent = |id: &str| {
        let others = touches("c2", [3, 40, 77].into_iter());
        touches(id, (0..10).map(|k| 45 + 7 * k))
            .into_iter()
            .chain(others)
            .collect::<Vec<_>>()
    };
    let cases: Vec<(&str, Vec<Signal>, ChangeKind, &str)> = vec![
        (
            "a champion left",
            with(vec![kim(|c| {
                c.role = Some(ContactRole::Champion);
                c.left = Some(ago(10));
            })]),
            ChangeKind::Left,
            "Kim Sato",
        ),
        (
            "somebody without a role left",
            with(vec![kim(|c| c.left = Some(ago(30)))]),
            ChangeKind::Left,
            "Kim Sato",
        ),
        (
            "mail bounces",
            with(vec![kim(|c| c.bounced = Some(ago(5)))]),
            ChangeKind::MailBounced,
            "Kim Sato",
        ),
        (
            "a new title in a later export",
            versions(|_| {}, |c| c.title = Some("Director of operations".to_owned())),
            ChangeKind::TitleChanged,
            "Kim Sato",
        ),
        (
            "a role that ended",
            versions(|c| c.role = Some(ContactRole::Champion), |c| c.role = None),
            ChangeKind::RoleEnded,
            "Kim Sato",
        ),
        (
            "a sponsor who is a detractor now",
            versions(
                |c| c.role = Some(ContactRole::ExecutiveSponsor),
                |c| c.role = Some(ContactRole::Detractor),
            ),
            ChangeKind::RoleEnded,
            "Kim Sato",
        ),
        (
            "a regular who went silent",
            with(std::iter::once(kim(plain)).chain(silent("c3")).collect()),
            ChangeKind::WentSilent,
            "Kim Sato",
        ),
        (
            "a new executive by role",
            with(vec![kim(|c| {
                c.role = Some(ContactRole::EconomicBuyer);
                c.since = Some(ago(12));
            })]),
            ChangeKind::NewExecutive,
            "Kim Sato",
        ),
        (
            "a new executive by title, without a role",
            with(vec![kim(|c| {
                c.title = Some("VP, Finance".to_owned());
                c.since = Some(ago(25));
            })]),
            ChangeKind::NewExecutive,
            "Kim Sato",
        ),
        (
            "the same person under two records, with a new title",
            with(vec![
                kim(plain),
                contact("c4", "kim  SATO", "Head of operations", |c| c.since = Some(ago(15))),
            ]),
            ChangeKind::TitleChanged,
            "Kim Sato",
        ),
        (
            "a champion away for three weeks",
            with(
                std::iter::once(kim(|c| c.role = Some(ContactRole::Champion)))
                    .chain(champion_weeks(3))
                    .collect(),
            ),
            ChangeKind::ChampionAway,
            "Kim Sato",
        ),
        (
            "a champion away for three weeks, of whom there is no record",
            champion_weeks(4),
            ChangeKind::ChampionAway,
            "the champion",
        ),
    ];
    assert_eq!(cases.len(), 12);
    for (case, signals, kind, person) in cases {
        assert_eq!(found(signals), [(kind, person.to_owned())], "{case}");
    }
}

#[test]
fn what_is_no_change_among_people_raises_none() {
    let plain = |_: &mut Contact| {};
    let with = |more: Vec<Signal>| staff().into_iter().chain(more).collect::<Vec<_>>();
    let kim = |edit| contact("c3", "Kim Sato", "Operations manager", edit);
    let control: Vec<(&str, Vec<Signal>)> = vec![
        ("nothing", staff()),
        ("a departure of long ago", with(vec![kim(|c| c.left = Some(ago(100)))])),
        (
            "a departure that lies ahead",
            with(vec![kim(|c| c.left = Some(ago(-5)))]),
        ),
        (
            "the old record of somebody whose mail has another address now",
            with(vec![
                kim(|c| c.bounced = Some(ago(5))),
                contact("c4", "Kim Sato", "Operations manager", plain),
            ]),
        ),
        (
            "the same title in other letters",
            with(vec![
                exported(kim(plain), 40, plain),
                exported(kim(plain), 20, |c| c.title = Some("operations  Manager".to_owned())),
            ]),
        ),
        (
            "a title that was not known before",
            with(vec![
                exported(kim(plain), 40, |c| c.title = None),
                exported(kim(plain), 20, plain),
            ]),
        ),
        (
            "three weeks of leave of a regular",
            with(
                std::iter::once(kim(plain))
                    .chain(touches("c3", (0..10).map(|k| 21 + 7 * k)))
                    .chain(touches("c2", [3].into_iter()))
                    .collect(),
            ),
        ),
        (
            "somebody who is in touch twice a year",
            with(
                std::iter::once(kim(plain))
                    .chain(touches("c3", [200, 380, 560, 740].into_iter()))
                    .chain(touches("c2", [3].into_iter()))
                    .collect(),
            ),
        ),
        (
            "nobody is in touch: that is silence of all",
            with(
                std::iter::once(kim(plain))
                    .chain(touches("c3", (0..10).map(|k| 60 + 7 * k)))
                    .collect(),
            ),
        ),
        (
            "a newcomer who is not senior",
            with(vec![kim(|c| c.since = Some(ago(12)))]),
        ),
        (
            "an executive who was always there",
            with(vec![kim(|c| {
                c.title = Some("Chief data officer".to_owned());
            })]),
        ),
        ("a champion on leave for two weeks", champion_weeks(2)),
        (
            "a champion who was hardly ever there",
            use_of("champion_seen", &[Some(0.0); 20], 50.0),
        ),
    ];
    for (case, signals) in control {
        assert_eq!(found(signals), [], "{case}");
    }
}

#[test]
fn a_change_opens_a_signal_with_its_day_and_the_names() {
    let left = contact("c3", "Kim Sato", "Operations manager", |c| c.left = Some(ago(10)));
    let signals: Vec<Signal> = staff().into_iter().chain([left]).collect();
    let on = |days| state(Detector::StakeholderChange, ago(days), signals.clone());
    assert_eq!(on(0), ("open", ago(10).to_string()));
    assert_eq!(on(-10).0, "confirmed");
    // After 60 days it is no news any more.
    assert_eq!(on(-51).0, "cleared");
    assert_eq!(
        state(Detector::StakeholderChange, day(TODAY), Vec::new()),
        ("unknown", "contact".to_owned())
    );
}

#[test]
fn one_person_with_most_of_the_touches_is_a_single_thread() {
    let with = |c1: i64, c2: i64| {
        let mut signals = staff();
        signals.extend(touches("c1", (0..c1).map(|k| 3 + 5 * k)));
        signals.extend(touches("c2", (0..c2).map(|k| 4 + 5 * k)));
        state(Detector::SingleThreaded, day(TODAY), signals).0
    };
    assert!(["open", "confirmed"].contains(&with(9, 2)));
    assert_eq!(with(6, 6), "calm");
    assert_eq!(with(2, 1), "unknown");
    // The same person twice is one thread.
    let twice = vec![
        contact("c1", "Ana Lima", "Team lead", |_| {}),
        contact("c9", "ana lima", "Team lead", |_| {}),
    ];
    assert_eq!(state(Detector::SingleThreaded, day(TODAY), twice).0, "confirmed");
}

fn ticket(id: &str, opened: i64, closed: Option<i64>) -> Signal {
    let fact = Ticket {
        opened: Some(ago(opened).start()),
        closed: closed.map(|days| ago(days).start()),
        severity: Some(1),
        ..Ticket::default()
    };
    signal(id, ago(opened), Fact::Ticket(fact))
}

#[test]
fn an_escalation_opens_with_its_case_and_clears_in_the_cycle_after_it_is_closed() {
    let on = |signals| state(Detector::TicketEscalation, day(TODAY), signals);
    assert_eq!(on(vec![ticket("t", 3, None)]), ("open", ago(3).to_string()));
    assert_eq!(on(vec![ticket("t", 20, None)]), ("confirmed", ago(20).to_string()));
    assert_eq!(on(vec![ticket("t", 20, Some(1))]).0, "cleared");
    assert_eq!(on(vec![ticket("t", 90, Some(80))]).0, "calm");
    assert_eq!(on(Vec::new()), ("unknown", "ticket".to_owned()));
}

#[test]
fn a_bill_is_late_from_the_eighth_day_until_it_is_paid() {
    let on = |due: i64, paid: Option<i64>| {
        let fact = Invoice {
            due: Some(ago(due)),
            paid: paid.map(ago),
            ..Invoice::default()
        };
        state(
            Detector::LatePayment,
            day(TODAY),
            vec![signal("i", ago(due + 30), Fact::Invoice(fact))],
        )
        .0
    };
    assert_eq!(on(7, None), "calm");
    assert_eq!(on(8, None), "open");
    assert_eq!(on(40, None), "confirmed");
    assert_eq!(on(40, Some(1)), "cleared");
    assert_eq!(on(40, Some(38)), "calm");
    assert_eq!(state(Detector::LatePayment, day(TODAY), Vec::new()).1, "invoice.due");
}

#[test]
fn a_far_lower_answer_is_a_drop_and_one_answer_is_none() {
    let answer = |id: &str, kind: SurveyKind, days: i64, score: i64| {
        let fact = Survey {
            kind: Some(kind),
            score: Some(Micro::whole(score)),
            contact: None,
        };
        signal(id, ago(days), Fact::Survey(fact))
    };
    let on = |signals| state(Detector::SurveyDrop, day(TODAY), signals);
    let nps = |before, now| {
        on(vec![
            answer("1", SurveyKind::Nps, 200, before),
            answer("2", SurveyKind::Nps, 5, now),
        ])
    };
    assert_eq!(nps(9, 5), ("open", ago(5).to_string()));
    assert_eq!(nps(9, 8).0, "calm");
    // Two points of five weigh as four of ten.
    let csat = on(vec![
        answer("1", SurveyKind::Csat, 60, 5),
        answer("2", SurveyKind::Csat, 20, 3),
    ]);
    assert_eq!(csat.0, "confirmed");
    assert_eq!(on(vec![answer("1", SurveyKind::Nps, 5, 2)]).0, "unknown");
}

#[test]
fn sixty_days_without_a_touch_are_silence_and_a_touch_ends_it() {
    let on = |days: &[i64]| state(Detector::Silence, day(TODAY), touches("c1", days.iter().copied())).0;
    assert_eq!(on(&[50, 90]), "calm");
    assert_eq!(on(&[61, 90]), "open");
    assert_eq!(on(&[2, 90]), "cleared");
    assert_eq!(on(&[]), "unknown");
}

#[test]
fn an_onboarding_stalls_only_between_30_and_120_days() {
    let on = |since: i64, active: f64| {
        let account = Account {
            since: Some(ago(since)),
            ..Account::default()
        };
        let mut signals = use_of("active_users", &[Some(active); 12], 100.0);
        signals.push(signal("a", ago(since), Fact::Account(account)));
        state(Detector::OnboardingStall, day(TODAY), signals).0
    };
    assert_eq!(on(35, 10.0), "open");
    assert_eq!(on(80, 10.0), "confirmed");
    assert_eq!(on(80, 60.0), "calm");
    assert_eq!(on(20, 10.0), "calm");
    assert_eq!(on(300, 10.0), "calm");
}

/// Rising use with a known day on which it reaches the seats, and noise of up to one and a half people.
fn rising(slope: f64, now: f64, seed: u64) -> Vec<Option<f64>> {
    let mut state = seed;
    (0..20)
        .map(|week| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let noise = ((state >> 33) % 301) as f64 / 100.0 - 1.5;
            Some(libm::round(now - slope * f64::from(19 - week) + noise))
        })
        .collect()
}

#[test]
fn the_day_on_which_seats_run_out_is_right_within_seven_days() {
    let policies = policies();
    for seed in 1..=12 {
        let (slope, now, seats) = (3.0 + (seed % 4) as f64, 170.0, 200.0);
        let signals = use_of("active_users", &rising(slope, now, seed), seats);
        let snapshot = snapshot_on(day(MONDAY), signals);
        let inputs = crate::decide::Inputs {
            plays: Vec::new(),
            earned: Vec::new(),
            tenant: crate::ids::TenantId::DEFAULT,
            content: policies.content,
            default_crm: crate::signal::Crm::Salesforce,
            our_name: None,
            snapshot,
            owner: None,
            peers: no_peer_effect(),
            feeds: crate::feature::Feeds::default(),
            health_before: Vec::new(),
        };
        let decision = crate::decide::decide(&inputs, &policies);
        // The middle of the newest week is four days before the as-of day.
        let truth = (seats - now) / slope * 7.0 - 4.0;
        let days = decision.features.number("seat_limit_days").expect("a limit in sight");
        assert!((days - truth).abs() <= 7.0, "seed {seed}: {days} instead of {truth}");
        let date = decision.features.day("seat_limit_date").expect("its day");
        assert_eq!(day(MONDAY).days_until(date), libm::ceil(days) as i64);
    }
}

#[test]
fn no_limit_of_seats_is_named_while_a_high_risk_is_open() {
    let rows = rising(4.0, 180.0, 3);
    let on = |more: Vec<Signal>| {
        let mut signals = use_of("active_users", &rows, 200.0);
        signals.extend(more);
        state(Detector::SeatLimit, day(TODAY), signals).0
    };
    assert!(["open", "confirmed"].contains(&on(Vec::new())));
    assert_eq!(on(vec![ticket("t", 3, None)]), "calm");
    assert_eq!(on(vec![ticket("t", 60, Some(50))]), on(Vec::new()));
    let flat = use_of("active_users", &[Some(120.0); 20], 200.0);
    assert_eq!(state(Detector::SeatLimit, day(TODAY), flat).0, "calm");
    let few = use_of("active_users", &[Some(120.0); 11], 200.0);
    assert_eq!(state(Detector::SeatLimit, day(TODAY), few).0, "unknown");
}

#[test]
fn another_module_fits_where_much_is_used_by_many() {
    let on = |features: f64, active: f64| {
        let mut signals = use_of("active_users", &[Some(active); 12], 100.0);
        signals.extend(use_of("features_used", &[Some(features); 12], 100.0));
        state(Detector::ModuleReadiness, day(TODAY), signals).0
    };
    assert_eq!(on(14.0, 85.0), "confirmed");
    assert_eq!(on(14.0, 50.0), "calm");
    assert_eq!(on(6.0, 85.0), "calm");
}

#[test]
fn a_mood_that_became_worse_opens_and_too_few_moods_are_unknown() {
    let mood = |id: usize, days: i64, mood: i64| {
        let fact = Ticket {
            sentiment: Some(Micro(mood * 100_000)),
            ..Ticket::default()
        };
        signal(&format!("mood-{id}"), ago(days), Fact::Ticket(fact))
    };
    let on = |moods: &[(i64, i64)]| {
        let all = moods
            .iter()
            .enumerate()
            .map(|(id, (days, value))| mood(id, *days, *value));
        state(Detector::SentimentDrop, day(TODAY), all.collect())
    };
    // 0.5 before, -0.2 now: 0.7 lower, since the Monday on which the second of them was known.
    let worse = [(300, 5), (200, 5), (100, 5), (20, -1), (10, -3)];
    assert_eq!(on(&worse), ("open", "2026-09-07".to_owned()));
    assert_eq!(on(&[(300, 5), (200, 5), (100, 5), (20, 5), (10, 3)]).0, "calm");
    let one = on(&worse[..4]);
    assert_eq!(
        one,
        (
            "unknown",
            "ticket.sentiment or interaction.sentiment, two of 8 weeks".to_owned()
        )
    );
    let few = on(&worse[1..]);
    assert!(few.1.contains("three of the 44 weeks before"), "{few:?}");
}
