//! Plays as rows: they begin and move once, with what they follow from, or not at all.

use std::collections::{BTreeMap, BTreeSet};

use perennial_core::action::ActionState;
use perennial_core::draw::Stream;
use perennial_core::ids::{PlayId, PlaybookId};
use perennial_core::play::{
    Asked, Definition, Event, Life, Outcome, Shape, Span, StepKind, StepShape, Target, WaitTime, Walk, Wants, wants,
};
use perennial_core::time::{Day, Timestamp};

use super::bed::{account_id, action, at, commit, run_id};
use super::decisions::transition;
use super::{Bed, both};
use crate::*;

both!(
    a_play_begins_with_its_action_and_moves_with_what_becomes_of_it,
    a_change_from_another_version_changes_nothing,
    only_one_play_runs_of_a_playbook_about_a_subject,
    a_play_that_has_moved_keeps_its_old_action_from_being_stored,
    what_gave_way_is_found,
    random_events_of_several_hands_take_no_step_twice_and_lose_no_play,
);

/// Ask, wait, ask again; a failure goes to a person.
fn shape() -> Shape {
    let to = |step: &str| Target::Step(step.to_owned());
    let end = |reason: &str| Target::End(reason.to_owned());
    let step = |id: &str, kind, next, on: &[(Outcome, Target)]| StepShape {
        id: id.to_owned(),
        kind,
        asks: false,
        next,
        on: on.iter().cloned().collect(),
        sla: None,
    };
    let wait = StepKind::Wait {
        time: WaitTime::For(Span::Days(2)),
    };
    let others = |target: Target| {
        [
            (Outcome::Rejected, end("rejected")),
            (Outcome::Failed, to("task")),
            (Outcome::Unanswered, target),
        ]
    };
    Shape {
        steps: vec![
            step("ask", StepKind::Action, to("rest"), &others(to("rest"))),
            step("rest", wait, to("look"), &[]),
            step("look", StepKind::Check, to("again"), &[(Outcome::Holds, end("held"))]),
            step("again", StepKind::Action, to("rest"), &others(end("nobody answered"))),
            step(
                "task",
                StepKind::Task {
                    within: Some(Span::Days(3)),
                },
                to("rest"),
                &[(Outcome::Unanswered, to("again"))],
            ),
        ],
        holidays: BTreeSet::new(),
    }
}

fn definition() -> Definition {
    Definition {
        text: "text".to_owned(),
        shape: shape(),
    }
}

fn beginning(number: usize, id: &str, asked: &NewAction, now: Timestamp) -> PlayChange {
    let shape = shape();
    let mut walk = Walk::from(&shape, shape.begin(now).expect("a step"));
    assert!(walk.take(
        &Event::Asked {
            turn: 1,
            asked: Asked::Action {
                action: asked.row.id.clone(),
                day: Day::from_number(20_000),
            },
        },
        now,
    ));
    PlayChange {
        row: PlayRow {
            account: account_id(number),
            id: PlayId::new(id),
            playbook: PlaybookId::new("adoption"),
            subject: asked.row.subject.clone(),
            definition: definition().hash(),
            owner: None,
            tier: None,
            begun_at: now,
            begun_on: Day::from_number(20_000),
            health: None,
            version: 0,
            life: walk.life,
            asked_role: None,
            updated_at: now,
        },
        left: Vec::new(),
        action: None,
        definition: Some(definition()),
        decide: false,
        ledger: vec![entry("play_begun", id)],
    }
}

fn entry(kind: &str, reference: &str) -> LedgerDraft {
    LedgerDraft {
        kind: kind.to_owned(),
        reference: reference.to_owned(),
        body: "{}".to_owned(),
    }
}

/// The change that an event brings; none where it does not concern the play.
fn moved(row: &PlayRow, event: &Event, now: Timestamp) -> Option<PlayChange> {
    let shape = shape();
    let standing = row.life.standing()?;
    let mut walk = Walk::from(&shape, standing.clone());
    if !walk.take(event, now) {
        return None;
    }
    let action = match &standing.asked {
        Some(Asked::Action { action, .. }) => Some(action.clone()),
        Some(Asked::Task { .. }) | None => None,
    };
    Some(PlayChange {
        row: PlayRow {
            life: walk.life,
            updated_at: now,
            ..row.clone()
        },
        ledger: walk.left.iter().map(|_| entry("play_step", row.id.as_str())).collect(),
        left: walk.left,
        action,
        definition: None,
        decide: true,
    })
}

async fn begin(bed: &Bed, number: usize, id: &str, state: ActionState) -> ActionRow {
    let new = action(number, "x", state, &[]);
    let play = beginning(number, id, &new, at(1));
    let new = NewAction {
        play: Some(play),
        ..new
    };
    let action_id = new.row.id.clone();
    let report = bed
        .store
        .commit_decisions(&run_id(), &[commit(number, id, vec![new])], at(1))
        .await
        .expect("commits");
    assert_eq!((report.actions_new, report.plays_begun), (1, 1));
    bed.store.action(action_id.as_str()).await.expect("reads")
}

async fn a_play_begins_with_its_action_and_moves_with_what_becomes_of_it(bed: Bed) {
    let store = &bed.store;
    let row = begin(&bed, 1, "ply_1", ActionState::Permitted).await;
    let play = store.play_of_action(&row.id).await.expect("reads").expect("a play");
    assert_eq!((play.version, play.life.turn()), (1, 1));
    let pinned = store
        .play_definitions(&BTreeSet::from([play.definition]))
        .await
        .expect("reads");
    assert_eq!(pinned[&play.definition], definition());
    // The same decision again brings nothing new.
    let again = action(1, "x", ActionState::Permitted, &[]);
    let again = NewAction {
        play: Some(beginning(1, "ply_1", &again, at(2))),
        ..again
    };
    let report = store
        .commit_decisions(&run_id(), &[commit(1, "ply_1", vec![again])], at(2))
        .await
        .expect("commits");
    assert_eq!((report.actions_new, report.plays_begun), (0, 0));
    let settled = Event::Settled {
        action: row.id.clone(),
        outcome: Outcome::Failed,
    };
    let change = moved(&play, &settled, at(5)).expect("moves");
    let seq = store.ledger_head().await.expect("reads").seq;
    let failing = Transition {
        play: Some(change),
        ..transition(&row, ActionState::Failed)
    };
    store.transition(&failing).await.expect("changes");
    let play = store.play("ply_1").await.expect("reads");
    assert_eq!(play.version, 2);
    let standing = play.life.standing().expect("runs");
    assert_eq!(
        (standing.step.as_str(), standing.turn),
        ("task", 2),
        "the branch on failure"
    );
    assert_eq!(store.ledger_head().await.expect("reads").seq, seq + 1);
    assert_eq!(store.play_of_action(&row.id).await.expect("reads"), None);
    let due: Vec<_> = store.due_accounts(at(6), 10).await.expect("reads");
    assert!(
        due.iter().any(|d| d.account == Some(account_id(1))),
        "the task is to be opened"
    );
    let steps = store.play_steps(&play).await.expect("reads");
    let taken: Vec<_> = steps.iter().map(|s| (s.turn, s.step.as_str(), s.outcome)).collect();
    assert_eq!(taken, [(1, "ask", Some(Outcome::Failed)), (2, "task", None)]);
    assert_eq!(steps[0].action.as_ref(), Some(&row.id));
    assert_eq!((steps[0].left_at, steps[1].entered_at), (Some(at(5)), at(5)));
    // Time moves what nobody does.
    let until = standing.until.expect("a limit");
    assert!(
        store
            .due_plays(Timestamp::from_us(until.us() - 1), 10)
            .await
            .expect("reads")
            .is_empty()
    );
    let due = store.due_plays(until, 10).await.expect("reads");
    assert_eq!(due.len(), 1);
    let change = moved(&due[0], &Event::Due, until).expect("moves");
    assert_eq!(
        store
            .change_plays(std::slice::from_ref(&change), until)
            .await
            .expect("writes")
            .len(),
        1
    );
    assert_eq!(
        store.change_plays(&[change], until).await.expect("writes").len(),
        0,
        "twice is once"
    );
    assert_eq!(store.plays(&PlayFilter::default()).await.expect("reads").len(), 1);
}

async fn a_change_from_another_version_changes_nothing(bed: Bed) {
    let row = begin(&bed, 1, "ply_1", ActionState::Pending).await;
    let play = bed.store.play("ply_1").await.expect("reads");
    let exit = Event::Exit {
        reason: "enough".to_owned(),
    };
    let ended = moved(&play, &exit, at(3)).expect("moves");
    bed.store.change_plays(&[ended], at(3)).await.expect("writes");
    // Somebody rejects its action, and saw the play before it was ended.
    let settled = Event::Settled {
        action: row.id.clone(),
        outcome: Outcome::Rejected,
    };
    let stale = Transition {
        play: moved(&play, &settled, at(4)),
        ..transition(&row, ActionState::Rejected)
    };
    let error = bed.store.transition(&stale).await.expect_err("the play has moved");
    assert!(matches!(error, StoreError::Stale { .. }), "{error}");
    let now = bed.store.action(row.id.as_str()).await.expect("reads");
    assert_eq!(now.state, ActionState::Pending, "nothing of it was stored");
    let play = bed.store.play("ply_1").await.expect("reads");
    assert_eq!(
        play.life,
        Life::Ended {
            turn: 1,
            reason: "enough".to_owned(),
            at: at(3)
        }
    );
}

async fn only_one_play_runs_of_a_playbook_about_a_subject(bed: Bed) {
    begin(&bed, 1, "ply_1", ActionState::Permitted).await;
    let second = action(1, "x", ActionState::Permitted, &[]);
    let mut second = NewAction {
        play: Some(beginning(1, "ply_2", &second, at(2))),
        ..second
    };
    second.row.id = perennial_core::ids::ActionId::new("act_second");
    let report = bed
        .store
        .commit_decisions(&run_id(), &[commit(1, "b", vec![second.clone()])], at(2))
        .await
        .expect("commits");
    assert_eq!(
        (report.actions_new, report.plays_begun),
        (0, 0),
        "nor is its action stored"
    );
    let play = bed.store.play("ply_1").await.expect("reads");
    let exit = Event::Exit {
        reason: "enough".to_owned(),
    };
    let ended = moved(&play, &exit, at(3)).expect("moves");
    bed.store.change_plays(&[ended], at(3)).await.expect("writes");
    let report = bed
        .store
        .commit_decisions(&run_id(), &[commit(1, "b", vec![second])], at(4))
        .await
        .expect("commits");
    assert_eq!(
        (report.actions_new, report.plays_begun),
        (1, 1),
        "once the first one has ended"
    );
}

async fn a_play_that_has_moved_keeps_its_old_action_from_being_stored(bed: Bed) {
    let store = &bed.store;
    begin(&bed, 1, "ply_1", ActionState::Pending).await;
    let seen = store.play("ply_1").await.expect("reads");
    let fell = Event::Fell {
        action: match &seen.life.standing().expect("runs").asked {
            Some(Asked::Action { action, .. }) => action.clone(),
            other => panic!("{other:?}"),
        },
    };
    store
        .change_plays(&[moved(&seen, &fell, at(2)).expect("moves")], at(2))
        .await
        .expect("writes");
    let seen = store.play("ply_1").await.expect("reads");
    let new = action(1, "y", ActionState::Permitted, &[]);
    let asked = Event::Asked {
        turn: 1,
        asked: Asked::Action {
            action: new.row.id.clone(),
            day: Day::from_number(20_001),
        },
    };
    let late = NewAction {
        play: moved(&seen, &asked, at(4)),
        ..new
    };
    let exit = Event::Exit {
        reason: "enough".to_owned(),
    };
    store
        .change_plays(&[moved(&seen, &exit, at(3)).expect("moves")], at(3))
        .await
        .expect("writes");
    let report = store
        .commit_decisions(&run_id(), &[commit(1, "c", vec![late])], at(4))
        .await
        .expect("commits");
    assert_eq!(
        report.actions_new, 0,
        "its play has ended between the look and the writing"
    );
}

async fn what_gave_way_is_found(bed: Bed) {
    let row = begin(&bed, 1, "ply_1", ActionState::Pending).await;
    assert!(bed.store.fallen_plays(10).await.expect("reads").is_empty());
    let mut next = commit(1, "d", Vec::new());
    next.supersede = vec![row.id.clone()];
    bed.store
        .commit_decisions(&run_id(), &[next], at(2))
        .await
        .expect("commits");
    let fallen = bed.store.fallen_plays(10).await.expect("reads");
    assert_eq!(fallen.len(), 1);
    assert_eq!(fallen[0].1, "superseded");
}

/// Plays of the random test.
const PLAYS: usize = 12;
/// What happens to them, by each of the hands.
const HAPPENINGS: usize = 250;

/// What a hand does next with a play it sees.
fn happening(row: &PlayRow, draw: &mut Stream, now: Timestamp) -> Option<Event> {
    let standing = row.life.standing()?;
    let shape = shape();
    let turn = standing.turn;
    let day = now.day();
    if let Some(Asked::Action { action, .. }) = &standing.asked {
        let outcomes = [
            Outcome::Executed,
            Outcome::Failed,
            Outcome::Unanswered,
            Outcome::Conflict,
        ];
        return Some(match draw.below(6) {
            n @ 0..4 => Event::Settled {
                action: action.clone(),
                outcome: outcomes[n],
            },
            4 => Event::Fell { action: action.clone() },
            _ => Event::Due,
        });
    }
    Some(match (wants(&shape, standing), draw.below(8)) {
        (_, 0) => Event::Due,
        (_, 1) => Event::Done { turn },
        (_, 2) if draw.below(40) == 0 => Event::Exit {
            reason: "a person".to_owned(),
        },
        (Wants::Action(_), _) => Event::Asked {
            turn,
            asked: Asked::Action {
                action: perennial_core::ids::ActionId::new(format!("act_{}_{turn}_{}", row.id, draw.below(1 << 30))),
                day,
            },
        },
        (Wants::Task(_), _) => Event::Asked {
            turn,
            asked: Asked::Task {
                text: "call".to_owned(),
                day,
            },
        },
        (Wants::Facts(_), _) => Event::Seen {
            turn,
            outcome: Outcome::Otherwise,
        },
        (Wants::Time, _) => Event::Due,
    })
}

async fn random_events_of_several_hands_take_no_step_twice_and_lose_no_play(bed: Bed) {
    for number in 0..PLAYS {
        begin(&bed, number, &format!("ply_{number:02}"), ActionState::Pending).await;
    }
    // Hands that read, are held up, and write: each offers what it read twice, and some of it late.
    let hand = |seed: u64| {
        let store = bed.store.clone();
        async move {
            let mut draw = Stream::new(seed, &["plays"]);
            let mut late: Vec<PlayChange> = Vec::new();
            let mut applied: BTreeMap<PlayId, Vec<u32>> = BTreeMap::new();
            for n in 0..HAPPENINGS {
                let now = Timestamp::from_us(at(10).us() + i64::try_from(n).expect("small") * 43_200_000_000);
                let id = format!("ply_{:02}", draw.below(PLAYS));
                let row = store.play(&id).await.expect("reads");
                let Some(event) = happening(&row, &mut draw, now) else {
                    continue;
                };
                let Some(change) = moved(&row, &event, now) else {
                    continue;
                };
                let mut offered = vec![change.clone(), change];
                if draw.below(4) == 0 {
                    late.extend(offered.pop());
                }
                if !late.is_empty() && draw.below(3) == 0 {
                    offered.push(late.swap_remove(draw.below(late.len())));
                }
                for change in offered {
                    let left: Vec<u32> = change.left.iter().map(|l| l.turn).collect();
                    let done = store.change_plays(&[change], now).await.expect("writes");
                    for play in done {
                        applied.entry(play).or_default().extend(&left);
                    }
                }
            }
            applied
        }
    };
    let (one, two, three) = tokio::join!(tokio::spawn(hand(1)), tokio::spawn(hand(2)), tokio::spawn(hand(3)));
    let mut left: BTreeMap<PlayId, Vec<u32>> = BTreeMap::new();
    for applied in [one, two, three] {
        for (play, turns) in applied.expect("ends") {
            left.entry(play).or_default().extend(turns);
        }
    }
    let mut most = 0;
    for number in 0..PLAYS {
        let row = bed
            .store
            .play(&format!("ply_{number:02}"))
            .await
            .expect("no play is lost");
        let mut turns = left.remove(&row.id).unwrap_or_default();
        turns.sort_unstable();
        let steps = bed.store.play_steps(&row).await.expect("reads");
        let last = row.life.turn();
        let done = match &row.life {
            Life::Running(_) => last - 1,
            Life::Ended { .. } => last,
        };
        assert_eq!(
            turns,
            (1..=done).collect::<Vec<_>>(),
            "{}: every turn was left once",
            row.id
        );
        let stored: Vec<u32> = steps.iter().map(|s| s.turn).collect();
        assert_eq!(
            stored,
            (1..=last).collect::<Vec<_>>(),
            "{}: every turn has one row",
            row.id
        );
        for pair in steps.windows(2) {
            let shape = shape();
            let from = shape.step(&pair[0].step).expect("a step");
            let outcome = pair[0].outcome.expect("an outcome");
            assert_eq!(from.target(outcome), Some(&Target::Step(pair[1].step.clone())));
        }
        most = most.max(last);
    }
    assert!(most > 10, "plays went far: {most}");
    let entries = bed.store.ledger_page(0, 100_000).await.expect("reads");
    let taken = entries.iter().filter(|e| e.kind == "play_step").count();
    let steps: usize = {
        let mut all = 0;
        for number in 0..PLAYS {
            let row = bed.store.play(&format!("ply_{number:02}")).await.expect("reads");
            all += bed
                .store
                .play_steps(&row)
                .await
                .expect("reads")
                .iter()
                .filter(|s| s.left_at.is_some())
                .count();
        }
        all
    };
    assert_eq!(taken, steps, "an entry of the ledger for every step that was left");
}
