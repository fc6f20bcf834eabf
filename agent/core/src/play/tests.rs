use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::ids::{PlayId, PlaybookId};
use crate::policy::Policies;
use crate::policy::tests::shipped;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The shape of the shipped playbook that has steps.
fn onboarding() -> Shape {
    let policies = Policies::compile(&shipped()).unwrap();
    let plan = policies.playbooks["onboarding-stalled"].plan.clone().unwrap();
    plan.definition.shape
}

fn action(turn: u32) -> ActionId {
    ActionId::new(format!("act_{turn}"))
}

fn asked(standing: &Standing) -> Event {
    Event::Asked {
        turn: standing.turn,
        asked: Asked::Action {
            action: action(standing.turn),
            day: standing.entered.day(),
        },
    }
}

fn settled(turn: u32, outcome: Outcome) -> Event {
    Event::Settled {
        action: action(turn),
        outcome,
    }
}

fn begun(shape: &Shape, now: Timestamp) -> Walk<'_> {
    let mut walk = Walk::from(shape, shape.begin(now).unwrap());
    let first = walk.life.standing().unwrap().clone();
    assert!(walk.take(&asked(&first), now));
    walk
}

fn stands<'a>(walk: &'a Walk<'_>) -> &'a str {
    walk.life.standing().map_or("ended", |s| s.step.as_str())
}

#[test]
fn the_branch_on_failure_is_taken_and_others_are_not() {
    let (shape, now) = (onboarding(), at("2026-03-02T09:00:00Z"));
    for (outcome, to) in [
        (Outcome::Executed, "give-time"),
        (Outcome::Failed, "by-hand"),
        (Outcome::Unanswered, "escalate"),
        (Outcome::Rejected, "ended"),
    ] {
        let mut walk = begun(&shape, now);
        assert!(walk.take(&settled(1, outcome), now), "{outcome}");
        assert_eq!(stands(&walk), to, "{outcome}");
    }
}

#[test]
fn a_conflict_without_a_branch_leaves_the_play_where_it_is_and_with_one_moves_it() {
    let (mut shape, now) = (onboarding(), at("2026-03-02T09:00:00Z"));
    let mut walk = begun(&shape, now);
    assert!(!walk.take(&settled(1, Outcome::Conflict), now));
    assert!(
        walk.take(&settled(1, Outcome::Executed), now),
        "the person's answer moves it"
    );
    shape.steps[0]
        .on
        .insert(Outcome::Conflict, Target::Step("by-hand".to_owned()));
    let mut walk = begun(&shape, now);
    assert!(walk.take(&settled(1, Outcome::Conflict), now));
    assert_eq!(stands(&walk), "by-hand");
}

#[test]
fn business_days_leave_out_weekends_and_holidays() {
    let mut shape = Shape::single();
    // A Thursday.
    let from = at("2026-12-24T15:30:00Z");
    let after = |shape: &Shape, days| shape.after(from, Span::BusinessDays(days)).to_string();
    assert_eq!(after(&shape, 1), "2026-12-25T15:30:00Z");
    assert_eq!(after(&shape, 2), "2026-12-28T15:30:00Z");
    shape.holidays = ["2026-12-25", "2027-01-01"]
        .iter()
        .map(|d| d.parse().unwrap())
        .collect();
    assert_eq!(after(&shape, 1), "2026-12-28T15:30:00Z");
    assert_eq!(after(&shape, 5), "2027-01-04T15:30:00Z");
    // From a weekend the count begins with Monday.
    let sunday = at("2026-12-27T08:00:00Z");
    assert_eq!(
        shape.after(sunday, Span::BusinessDays(1)).to_string(),
        "2026-12-28T08:00:00Z"
    );
    assert_eq!(shape.after(sunday, Span::Days(1)).to_string(), "2026-12-28T08:00:00Z");
}

#[test]
fn time_ends_a_wait_at_its_moment_and_not_before() {
    let (shape, now) = (onboarding(), at("2026-03-02T09:00:00Z"));
    let mut walk = begun(&shape, now);
    walk.take(&settled(1, Outcome::Executed), now);
    assert_eq!(walk.life.due(), Some(at("2026-03-09T09:00:00Z")));
    assert!(!walk.pass(at("2026-03-09T08:59:59Z")));
    assert!(walk.pass(at("2026-03-09T09:00:00Z")));
    assert_eq!(stands(&walk), "look");
    assert!(
        !walk.pass(at("2027-03-09T09:00:00Z")),
        "a check waits for a look at the facts"
    );
}

#[test]
fn a_step_that_takes_too_long_is_overdue_once_and_the_next_begins_in_time() {
    let (shape, now) = (onboarding(), at("2026-03-02T09:00:00Z"));
    let mut walk = begun(&shape, now);
    let late = at("2026-03-09T09:00:00Z");
    assert!(walk.pass(late));
    let standing = walk.life.standing().unwrap();
    assert!(standing.overdue && standing.sla.is_none() && walk.left.is_empty());
    assert!(!walk.pass(late), "it is said once");
    walk.take(&settled(1, Outcome::Failed), late);
    let standing = walk.life.standing().unwrap();
    assert!(!standing.overdue);
    assert_eq!(standing.sla, Some(at("2026-03-11T09:00:00Z")));
}

#[test]
fn an_event_about_another_turn_or_action_changes_nothing() {
    let (shape, now) = (onboarding(), at("2026-03-02T09:00:00Z"));
    let mut walk = begun(&shape, now);
    let before = walk.clone();
    for event in [
        settled(2, Outcome::Executed),
        Event::Fell { action: action(7) },
        Event::Done { turn: 1 },
        Event::Seen {
            turn: 1,
            outcome: Outcome::Holds,
        },
        Event::Dated { turn: 1, until: now },
        asked(&Standing {
            turn: 1,
            ..shape.begin(now).unwrap()
        }),
    ] {
        assert!(!walk.take(&event, now), "{event:?}");
    }
    assert_eq!(walk, before);
}

#[test]
fn what_gave_way_is_asked_again_at_the_same_turn() {
    let (shape, now) = (onboarding(), at("2026-03-02T09:00:00Z"));
    let mut walk = begun(&shape, now);
    assert!(walk.take(&Event::Fell { action: action(1) }, now));
    let standing = walk.life.standing().unwrap();
    assert!(matches!(wants(&shape, standing), Wants::Action(_)));
    assert_eq!((standing.turn, walk.left.len()), (1, 0));
}

#[test]
fn an_exit_ends_it_anywhere_and_nothing_moves_it_afterwards() {
    let (shape, now) = (onboarding(), at("2026-03-02T09:00:00Z"));
    let mut walk = begun(&shape, now);
    let reason = "the customer has left".to_owned();
    assert!(walk.take(&Event::Exit { reason: reason.clone() }, now));
    assert_eq!(
        walk.life,
        Life::Ended {
            turn: 1,
            reason,
            at: now
        }
    );
    assert!(!walk.take(&settled(1, Outcome::Executed), now));
    assert!(!walk.pass(at("2030-01-01T00:00:00Z")));
}

#[test]
fn a_playbook_without_steps_is_a_play_of_one() {
    let (shape, now) = (Shape::single(), at("2026-03-02T09:00:00Z"));
    for outcome in [
        Outcome::Executed,
        Outcome::Rejected,
        Outcome::Failed,
        Outcome::Unanswered,
    ] {
        let mut walk = begun(&shape, now);
        assert!(walk.take(&settled(1, outcome), now));
        let reason = outcome.as_str().to_owned();
        assert_eq!(
            walk.life,
            Life::Ended {
                turn: 1,
                reason,
                at: now
            }
        );
    }
}

#[test]
fn a_running_play_hides_what_it_asked_for_today_and_shows_what_it_asked_for_before() {
    let shape = onboarding();
    let now = at("2026-03-02T09:00:00Z");
    let walk = begun(&shape, now);
    let running = Running {
        play: PlayId::new("ply_1"),
        playbook: PlaybookId::new("onboarding-stalled"),
        subject: "account".to_owned(),
        health: None,
        pinned: Definition {
            text: String::new(),
            shape: shape.clone(),
        },
        standing: walk.life.standing().unwrap().clone(),
    };
    assert!(
        running
            .clone()
            .as_of("2026-03-02".parse().unwrap())
            .standing
            .asked
            .is_none()
    );
    assert!(running.as_of("2026-03-03".parse().unwrap()).standing.asked.is_some());
}

/// A word of the test: what may happen, in terms of turns.
fn happening() -> impl Strategy<Value = (u8, u32, i64)> {
    (0_u8..12, 0_u32..8, 0_i64..20)
}

fn event(kind: u8, turn: u32, now: Timestamp) -> Event {
    let outcomes = [
        Outcome::Executed,
        Outcome::Failed,
        Outcome::Rejected,
        Outcome::Unanswered,
        Outcome::Conflict,
    ];
    let seen = [Outcome::Holds, Outcome::Improved, Outcome::Otherwise, Outcome::Cleared];
    match kind {
        0..=4 => settled(turn, outcomes[kind as usize]),
        5 => Event::Fell { action: action(turn) },
        6 => Event::Done { turn },
        7 | 8 => Event::Seen {
            turn,
            outcome: seen[(turn as usize + kind as usize) % 4],
        },
        9 => Event::Asked {
            turn,
            asked: Asked::Action {
                action: action(turn),
                day: now.day(),
            },
        },
        10 => Event::Asked {
            turn,
            asked: Asked::Task {
                text: "call".to_owned(),
                day: now.day(),
            },
        },
        _ => Event::Due,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Events in any order, late, early and repeated.
    #[test]
    fn no_order_of_events_takes_a_step_twice_or_loses_a_play(happenings in prop::collection::vec(happening(), 1..60)) {
        let shape = onboarding_once();
        let mut now = at("2026-03-02T09:00:00Z");
        let mut walk = Walk::from(shape, shape.begin(now).unwrap());
        let mut taken: BTreeSet<u32> = BTreeSet::new();
        for (kind, turn, days) in happenings {
            now = now.plus_days(days);
            // Most events are about the step that there is, so that plays get far.
            let turn = if days % 3 == 0 { turn } else { walk.life.turn() };
            let event = event(kind, turn, now);
            let before = walk.clone();
            let changed = walk.take(&event, now);
            prop_assert_eq!(changed, walk != before, "{:?}", event);
            if !matches!(event, Event::Due) {
                let once = walk.clone();
                walk.take(&event, now);
                prop_assert_eq!(&walk.left, &once.left, "the same event again takes no other step: {:?}", event);
            }
            for left in &walk.left[before.left.len()..] {
                prop_assert!(taken.insert(left.turn), "turn {} was left twice", left.turn);
                prop_assert!(shape.step(&left.step).is_some());
            }
            match &walk.life {
                Life::Running(standing) => {
                    prop_assert!(shape.step(&standing.step).is_some());
                    prop_assert_eq!(standing.turn as usize, walk.left.len() + 1);
                }
                Life::Ended { turn, reason, .. } => {
                    prop_assert_eq!(*turn as usize, walk.left.len());
                    prop_assert!(!reason.is_empty());
                }
            }
        }
    }
}

/// Compiling the policies for each case would take longer than the cases.
fn onboarding_once() -> &'static Shape {
    static SHAPE: std::sync::OnceLock<Shape> = std::sync::OnceLock::new();
    SHAPE.get_or_init(onboarding)
}
