//! Figures, thresholds, and random lives of a promotion held against a judge that counts for itself.

use proptest::prelude::*;

use super::*;
use crate::signal::OwnerRole;
use crate::time::DAY_US;

fn day(number: i64) -> Timestamp {
    Timestamp::from_us(number * DAY_US)
}

fn earning() -> Earning {
    Earning {
        line: 1,
        decisions: 10,
        unedited: Micro(900_000),
        unedited_lower: None,
        undone_at_most: Micro(100_000),
        window_days: 30,
        demote_unedited: Micro(800_000),
        demote_undone: Micro(200_000),
        demote_last: 10,
        by: OwnerRole::CSM_MANAGER,
    }
}

/// An action that a person approved as it was, and that ran, on a day.
fn approved(number: usize, on: i64) -> Ended {
    Ended {
        action: ActionId::new(format!("act_{number:04}")),
        kinds: [ActionKind::UPDATE_FIELD].into(),
        end: End::Executed,
        at: day(on),
        decided: Some(day(on)),
        changed: false,
        undone: None,
        conflict: false,
    }
}

/// One that ran by itself.
fn alone(number: usize, on: i64) -> Ended {
    Ended {
        decided: None,
        ..approved(number, on)
    }
}

fn granted(on: i64) -> Promotion {
    Promotion::NEW
        .becomes(Standing::Proposed, day(on))
        .becomes(Standing::Granted, day(on))
}

#[test]
fn the_lower_end_of_a_share_is_that_of_wilson() {
    let lower = |part, of| wilson_lower(part, of).map(|share| share.display(4));
    // Newcombe, Statistics in Medicine 17 (1998), table I, method 3: 81 of 263 and 15 of 148.
    assert_eq!(lower(81, 263).as_deref(), Some("0.2553"));
    assert_eq!(lower(15, 148).as_deref(), Some("0.0624"));
    assert_eq!(lower(0, 20).as_deref(), Some("0.0000"));
    assert_eq!(
        lower(5, 5).as_deref(),
        Some("0.5655"),
        "five of five is not a hundred percent"
    );
    assert_eq!(lower(50, 50).as_deref(), Some("0.9287"));
    assert_eq!(lower(0, 0), None);
}

#[test]
fn an_edit_is_an_edit_whoever_approves_it_and_what_nobody_answered_counts_for_nothing() {
    let all = [
        approved(1, 5),
        Ended {
            changed: true,
            ..approved(2, 5)
        },
        Ended {
            end: End::Rejected,
            ..approved(3, 5)
        },
        Ended {
            end: End::Expired,
            ..alone(4, 5)
        },
        // One yes of two was said before it expired.
        Ended {
            end: End::Expired,
            ..approved(5, 5)
        },
        Ended {
            undone: Some(day(6)),
            conflict: true,
            ..alone(6, 5)
        },
    ];
    let figures = measure(&all, day(0));
    let expected = Figures {
        ended: 6,
        decided: 3,
        unedited: 1,
        edited: 1,
        refused: 1,
        expired: 2,
        executed: 3,
        alone: 1,
        undone: 1,
        conflicts: 1,
    };
    assert_eq!(figures, expected);
    assert_eq!(figures.acceptance(), Some(Micro(666_666)));
    assert_eq!(figures.unedited_share(), Some(Micro(333_333)));
    assert_eq!(figures.undone_share(), Some(Micro(333_333)));
    assert_eq!(Figures::default().acceptance(), None, "nothing is not known, not zero");
}

#[test]
fn a_promotion_needs_every_threshold_and_says_what_is_missing() {
    let now = day(20);
    let look = |all: &[Ended], earning: &Earning| judge(earning, Promotion::NEW, all, now);
    let nine: Vec<Ended> = (0..9).map(|n| approved(n, 10)).collect();
    let judged = look(&nine, &earning());
    assert_eq!(judged.finding, Finding::Stays);
    assert_eq!(judged.missing, ["1 more decisions of people (9 of 10)"]);
    let ten: Vec<Ended> = (0..10).map(|n| approved(n, 10)).collect();
    assert_eq!(look(&ten, &earning()).finding, Finding::Propose);
    // Exactly at the threshold is enough, one more edit is too many.
    let edited = |upto: usize| -> Vec<Ended> {
        let edit = |(n, one): (usize, Ended)| Ended {
            changed: n < upto,
            ..one
        };
        ten.iter().cloned().enumerate().map(edit).collect()
    };
    assert_eq!(look(&edited(1), &earning()).finding, Finding::Propose);
    let judged = look(&edited(2), &earning());
    assert_eq!((judged.finding, judged.missing.len()), (Finding::Stays, 1));
    assert_eq!(judged.missing[0], "8 of 10 approved unedited, 90 % needed");
    let undone: Vec<Ended> = ten
        .iter()
        .enumerate()
        .map(|(n, one)| Ended {
            undone: (n < 2).then_some(day(11)),
            ..one.clone()
        })
        .collect();
    assert_eq!(
        look(&undone, &earning()).missing,
        ["2 of 10 undone, at most 10 % allowed"]
    );
    // Ten of ten is at least 72 % with 95 % confidence, and no more.
    let sure = Earning {
        unedited_lower: Some(Micro(800_000)),
        ..earning()
    };
    assert_eq!(
        look(&ten, &sure).missing,
        ["unedited at least 72.2 % with 95 % confidence, 80 % needed"]
    );
    // What lies before the window counts for nothing, nor does what ran by itself.
    assert_eq!(judge(&earning(), Promotion::NEW, &ten, day(41)).finding, Finding::Stays);
    let by_itself: Vec<Ended> = (0..50).map(|n| alone(n, 10)).collect();
    assert_eq!(look(&by_itself, &earning()).figures.decided, 0);
}

#[test]
fn what_was_proposed_lapses_when_it_does_not_hold_any_more() {
    let ten: Vec<Ended> = (0..10).map(|n| approved(n, 10)).collect();
    let proposed = Promotion::NEW.becomes(Standing::Proposed, day(11));
    assert_eq!(judge(&earning(), proposed, &ten, day(12)).finding, Finding::Stays);
    assert_eq!(judge(&earning(), proposed, &ten, day(60)).finding, Finding::Lapse);
}

#[test]
fn after_a_no_a_demotion_or_a_withdrawal_only_later_decisions_count() {
    let ten: Vec<Ended> = (0..10).map(|n| approved(n, 10)).collect();
    for ends in [Standing::Refused, Standing::Demoted, Standing::Withdrawn] {
        let over = granted(11).becomes(ends, day(12));
        let judged = judge(&earning(), over, &ten, day(13));
        assert_eq!((judged.finding, judged.figures.decided), (Finding::Stays, 0), "{ends}");
        // Approved before, carried out after: the decision is what counts.
        let late: Vec<Ended> = ten
            .iter()
            .map(|one| Ended {
                at: day(13),
                ..one.clone()
            })
            .collect();
        assert_eq!(judge(&earning(), over, &late, day(14)).figures.decided, 0, "{ends}");
        let anew: Vec<Ended> = (0..10).map(|n| approved(n, 14)).collect();
        assert_eq!(
            judge(&earning(), over, &anew, day(15)).finding,
            Finding::Propose,
            "{ends}"
        );
    }
}

#[test]
fn undos_and_edits_since_the_promotion_demote_and_what_was_before_does_not() {
    let look = |all: &[Ended]| judge(&earning(), granted(10), all, day(20)).finding;
    let run: Vec<Ended> = (0..8).map(|n| alone(n, 12)).collect();
    let undone = |many: usize, all: &[Ended]| -> Vec<Ended> {
        let undo = |(n, one): (usize, &Ended)| Ended {
            undone: (n < many).then_some(day(13)),
            ..one.clone()
        };
        all.iter().enumerate().map(undo).collect()
    };
    assert_eq!(look(&undone(1, &run)), Finding::Stays, "1 of 8 is not above 20 %");
    let Finding::Demote(why) = look(&undone(2, &run)) else {
        panic!("2 of 8 is above 20 %");
    };
    assert_eq!(why, "2 of 8 that ran were undone, more than 20 %");
    // It ran before the promotion, and was undone since.
    let before: Vec<Ended> = (0..4).map(|n| approved(n, 9)).collect();
    assert!(matches!(look(&undone(1, &before)), Finding::Demote(_)));
    let long_ago: Vec<Ended> = before
        .iter()
        .map(|one| Ended {
            undone: Some(day(9)),
            ..one.clone()
        })
        .collect();
    assert_eq!(look(&long_ago), Finding::Stays);
    let mut asked = vec![approved(1, 12), approved(2, 12), approved(3, 12)];
    assert_eq!(look(&asked), Finding::Stays);
    asked[0].changed = true;
    assert!(matches!(look(&asked), Finding::Demote(_)), "2 of 3 is below 80 %");
    // A long good past hides nothing: only the last ten are looked at.
    let mut long: Vec<Ended> = (0..500).map(|n| alone(n, 11)).collect();
    long.extend((500..503).map(|n| Ended {
        undone: Some(day(15)),
        ..alone(n, 14)
    }));
    assert!(matches!(look(&long), Finding::Demote(_)), "3 of the last 10");
}

#[test]
fn what_is_promoted_for_another_tier_or_action_is_not_promoted_here() {
    let one = Ended {
        kinds: [ActionKind::CREATE_TASK, ActionKind::UPDATE_FIELD].into(),
        ..approved(1, 5)
    };
    let counted = |kind| with_kind(std::slice::from_ref(&one), kind).len();
    assert_eq!(
        (counted(ActionKind::UPDATE_FIELD), counted(ActionKind::CREATE_NOTE)),
        (1, 0)
    );
    let segment = |action, tier| Segment { action, tier };
    let all = [
        segment(ActionKind::UPDATE_FIELD, Tier::MID_TOUCH),
        segment(ActionKind::CREATE_NOTE, Tier::LOW_TOUCH),
    ];
    let named = Vocabulary::default();
    let of = |tier: Option<&str>| {
        let mut features = Features::default();
        if let Some(tier) = tier {
            let state = crate::feature::State::Known(crate::feature::Value::Text(tier.to_owned()));
            let found = crate::feature::Found::computed(state, Timestamp::EPOCH);
            features.insert(&crate::ids::AccountId::new("a"), "tier", found);
        }
        kinds_of(&all, &features, &named)
    };
    assert_eq!(of(Some("low_touch")), [ActionKind::CREATE_NOTE]);
    assert_eq!(of(Some("mid_touch")), [ActionKind::UPDATE_FIELD]);
    assert!(of(Some("strategic")).is_empty() && of(Some("no_such_tier")).is_empty() && of(None).is_empty());
}

/// What happens to one action, drawn.
fn happening() -> impl Strategy<Value = (u8, bool, Option<i64>)> {
    (
        0_u8..10,
        prop::bool::weighted(0.12),
        prop::option::weighted(0.15, 0_i64..20),
    )
}

proptest! {
    /// A year of some actions a day. People decide while nothing is promoted, and of every tenth one after; each proposal is granted
    /// at once. The judge counts by its own words: in whole numbers, from the list as it stands, for each day.
    #[test]
    fn no_promotion_below_the_thresholds_and_no_regression_outlives_a_look(
        days in prop::collection::vec(prop::collection::vec(happening(), 0..4), 60..160)
    ) {
        let earning = earning();
        let (mut promotion, mut all) = (Promotion::NEW, Vec::<Ended>::new());
        let mut undos: Vec<(usize, i64)> = Vec::new();
        let mut number = 0;
        for (today, happened) in (1_i64..).zip(&days) {
            for (kind, changed, undone) in happened {
                number += 1;
                let asked = promotion.standing != Standing::Granted || *kind == 0;
                let end = match (asked, kind) {
                    (true, 1) => End::Rejected,
                    (true, 2) => End::Expired,
                    _ => End::Executed,
                };
                let decided = asked && end != End::Expired;
                all.push(Ended {
                    end,
                    decided: decided.then(|| day(today)),
                    changed: decided && *changed,
                    ..approved(number, today)
                });
                if let (Some(after), End::Executed) = (undone, end) {
                    undos.push((all.len() - 1, today + after));
                }
            }
            for (at, on) in &undos {
                if *on == today {
                    all[*at].undone = Some(day(today));
                }
            }
            let now = day(today + 1);
            let before = promotion;
            match judge(&earning, promotion, &all, now).finding {
                Finding::Stays => {}
                Finding::Propose => {
                    let fresh = all.iter().filter(|one| {
                        one.decided.is_some_and(|at| at > before.counts_after) && one.at > now.plus_days(-30)
                    });
                    let fresh: Vec<&Ended> = fresh.collect();
                    let good = fresh.iter().filter(|one| one.end == End::Executed && !one.changed).count();
                    prop_assert!(fresh.len() >= 10, "{} decisions", fresh.len());
                    prop_assert!(good * 10 >= fresh.len() * 9, "{good} of {}", fresh.len());
                    promotion = promotion.becomes(Standing::Proposed, now);
                    prop_assert_eq!(judge(&earning, promotion, &all, now).finding, Finding::Stays);
                    promotion = promotion.becomes(Standing::Granted, now);
                }
                Finding::Lapse => promotion = promotion.becomes(Standing::Open, now),
                Finding::Demote(_) => promotion = promotion.becomes(Standing::Demoted, now),
            }
            if before.standing == Standing::Granted {
                let after = before.since.max(now.plus_days(-30));
                let mut ran: Vec<&Ended> = all
                    .iter()
                    .filter(|one| one.end == End::Executed && (one.at > after || one.undone.is_some_and(|at| at > after)))
                    .collect();
                ran.sort_by_key(|one| (one.at, one.action.clone()));
                let last: Vec<&&Ended> = ran.iter().rev().take(10).collect();
                let bad = last.iter().filter(|one| one.undone.is_some()).count();
                if bad * 10 > last.len() * 2 {
                    prop_assert_eq!(promotion.standing, Standing::Demoted, "{} of {} were undone", bad, last.len());
                }
                let mut decided: Vec<&Ended> = all.iter().filter(|one| one.decided.is_some_and(|at| at > after)).collect();
                decided.sort_by_key(|one| (one.at, one.action.clone()));
                let last: Vec<&&Ended> = decided.iter().rev().take(10).collect();
                let good = last.iter().filter(|one| one.end == End::Executed && !one.changed).count();
                if good * 10 < last.len() * 8 {
                    prop_assert_eq!(promotion.standing, Standing::Demoted, "{} of {} were approved as they were", good, last.len());
                }
            }
        }
    }
}
