//! Limits that hold across actions, effects that wait for later, and stopping them.

use perennial_core::action::{ActionState, EffectState};
use perennial_core::signal::Crm;
use perennial_core::time::Timestamp;

use super::bed::{account_id, action, at, commit, run_id};
use super::decisions::transition;
use super::effects::{done, outcome};
use super::{Bed, both};
use crate::*;

both!(
    no_interleaving_of_commits_and_approvals_exceeds_a_limit,
    without_the_reservation_the_limit_is_exceeded,
    a_place_is_held_while_an_effect_is_open_and_for_its_window,
    an_action_finds_no_room_beside_one_that_it_excludes,
    what_waits_for_later_lets_others_pass,
    an_action_is_stopped_only_while_nothing_of_it_was_begun,
    what_is_put_off_counts_as_no_attempt_and_its_steps_wait_together,
    what_is_withdrawn_when_its_time_has_come_takes_its_steps_and_its_place_along,
);

const SF: &[Crm] = &[Crm::Salesforce];
const MINUTE: i64 = 60_000_000;
/// Room of the limit in these tests.
const ROOM: u32 = 3;

fn contact(room: Option<u32>) -> Hold {
    Hold {
        counter: "account".to_owned(),
        subject: account_id(1).to_string(),
        room,
        window_us: Some(10 * MINUTE),
    }
}

fn permitted(subject: &str, holds: Vec<Hold>) -> NewAction {
    let action = action(1, subject, ActionState::Permitted, SF);
    NewAction { holds, ..action }
}

/// Permits an action that waits, as an approval does.
async fn approve(store: &Store, subject: &str, holds: Vec<Hold>, now: Timestamp) -> Result<()> {
    let wanted = permitted(subject, holds);
    let row = store.action(wanted.row.id.as_str()).await?;
    let approval = Transition {
        outbox: wanted.outbox,
        holds: wanted.holds,
        at: now,
        ..transition(&row, ActionState::Permitted)
    };
    store.transition(&approval).await
}

async fn put(bed: &Bed, inputs: &str, actions: Vec<NewAction>, now: Timestamp) -> CommitReport {
    bed.store
        .commit_decisions(&run_id(), &[commit(1, inputs, actions)], now)
        .await
        .expect("commits")
}

async fn lease(bed: &Bed, now: Timestamp) -> Vec<LeasedEffect> {
    bed.store
        .lease_effects("w", Crm::ALL, 100, now, MINUTE)
        .await
        .expect("leases")
}

/// How many of many actions are permitted when runs and people permit them all at once.
async fn permitted_at_once(bed: &Bed, room: Option<u32>) -> usize {
    let waiting = (0..8).map(|n| action(1, &format!("waits {n}"), ActionState::Pending, SF));
    put(bed, "waits", waiting.collect(), at(0)).await;
    let tasks: Vec<_> = (0..8)
        .flat_map(|n| {
            let hold = || vec![contact(room)];
            let (runs, people, holds, held) = (bed.store.clone(), bed.store.clone(), hold(), hold());
            let run = tokio::spawn(async move {
                let inputs = format!("run {n}");
                let new = permitted(&inputs, holds);
                let report = runs
                    .commit_decisions(&run_id(), &[commit(1, &inputs, vec![new])], at(0))
                    .await;
                assert!(report.expect("commits").no_room.len() <= 1);
            });
            let person = tokio::spawn(async move {
                match approve(&people, &format!("waits {n}"), held, at(0)).await {
                    Ok(()) | Err(StoreError::NoRoom { hold: 0, .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            });
            [run, person]
        })
        .collect();
    for task in tasks {
        task.await.expect("a task");
    }
    let actions = bed.store.actions_of(&[account_id(1)]).await.expect("reads");
    let permitted = actions[&account_id(1)]
        .iter()
        .filter(|a| a.state == ActionState::Permitted)
        .count();
    let effects = bed.store.effect_counts(None).await.expect("reads").waiting;
    assert_eq!(effects, permitted as u64, "one effect each");
    permitted
}

async fn no_interleaving_of_commits_and_approvals_exceeds_a_limit(bed: Bed) {
    assert_eq!(permitted_at_once(&bed, Some(ROOM)).await, ROOM as usize);
}

async fn without_the_reservation_the_limit_is_exceeded(bed: Bed) {
    assert_eq!(permitted_at_once(&bed, None).await, 16);
}

async fn a_place_is_held_while_an_effect_is_open_and_for_its_window(bed: Bed) {
    let hold = || vec![contact(Some(1))];
    assert_eq!(
        put(&bed, "a", vec![permitted("first", hold())], at(0)).await.no_room,
        []
    );
    // Long after it was permitted it still waits, so it counts.
    let late = put(&bed, "b", vec![permitted("second", hold())], at(600)).await;
    assert_eq!((late.no_room.len(), late.actions_new), (1, 0));
    let leases = lease(&bed, at(600)).await;
    let mut sent = done(&leases[0]);
    sent.at = at(600);
    bed.store.settle_effects(&[sent]).await.expect("settles");
    let inside = put(&bed, "c", vec![permitted("second", hold())], at(609)).await;
    assert_eq!(inside.no_room.len(), 1);
    let after = put(&bed, "d", vec![permitted("second", hold())], at(610)).await;
    assert_eq!((after.no_room.len(), after.actions_new), (0, 1));
    // What is stored keeps its place and is not counted against itself.
    let again = put(&bed, "e", vec![permitted("second", hold())], at(610)).await;
    assert_eq!((again.no_room.len(), again.actions_known), (0, 1));
}

async fn an_action_finds_no_room_beside_one_that_it_excludes(bed: Bed) {
    let place = |of: &str, room, window_us| Hold {
        counter: "playbook".to_owned(),
        subject: of.to_owned(),
        room,
        window_us,
    };
    let pair = |own: &str, other: &str| vec![place(own, None, Some(MINUTE)), place(other, Some(1), None)];
    let both = vec![permitted("x", pair("x/y", "y/x")), permitted("y", pair("y/x", "x/y"))];
    let y = both[1].row.id.clone();
    let report = put(&bed, "a", both, at(0)).await;
    assert_eq!(report.no_room, [NoRoom { action: y, hold: 1 }], "in one batch too");
    let more = put(&bed, "b", vec![permitted("x again", pair("x/y", "y/x"))], at(0)).await;
    assert_eq!(more.no_room, [], "the same playbook does not exclude itself");
}

async fn what_waits_for_later_lets_others_pass(bed: Bed) {
    let mut later = permitted("later", Vec::new());
    later.outbox[0].due_at = at(100);
    let now = permitted("now", Vec::new());
    let ids = [later.row.id.clone(), now.row.id.clone()];
    put(&bed, "a", vec![later, now], at(0)).await;
    let planned = bed.store.planned_actions(at(0), 10).await.expect("reads");
    assert_eq!(planned, [(ids[0].clone(), at(100))]);
    let first = lease(&bed, at(1)).await;
    assert_eq!(first[0].effect.action, ids[1], "it does not wait behind the other");
    bed.store.settle_effects(&[done(&first[0])]).await.expect("settles");
    assert_eq!(lease(&bed, at(99)).await, []);
    assert_eq!(lease(&bed, at(100)).await[0].effect.action, ids[0]);
}

async fn an_action_is_stopped_only_while_nothing_of_it_was_begun(bed: Bed) {
    let hold = || vec![contact(Some(1))];
    let mut later = permitted("later", hold());
    later.outbox[0].due_at = at(100);
    let id = later.row.id.clone();
    put(&bed, "a", vec![later], at(0)).await;
    let row = bed.store.action(id.as_str()).await.expect("reads");
    let stop = |row: &ActionRow| Transition {
        withdraw: Some("stopped by eva".to_owned()),
        ..transition(row, ActionState::Pending)
    };
    bed.store.transition(&stop(&row)).await.expect("stops");
    assert_eq!(lease(&bed, at(200)).await, [], "nothing is sent");
    let effects = bed.store.effects_of(&id).await.expect("reads");
    assert_eq!(effects[0].state, EffectState::Withdrawn);
    let other = put(&bed, "b", vec![permitted("other", hold())], at(1)).await;
    assert_eq!(other.no_room, [], "its place is free");
    // Approved later it runs, once the other's window is over.
    let refused = approve(&bed.store, "later", hold(), at(2)).await;
    assert!(matches!(refused, Err(StoreError::NoRoom { .. })), "{refused:?}");
    let begun = lease(&bed, at(2)).await;
    let row = bed.store.action(begun[0].effect.action.as_str()).await.expect("reads");
    let refused = bed.store.transition(&stop(&row)).await;
    assert!(matches!(refused, Err(StoreError::Begun { .. })), "{refused:?}");
    let after = bed.store.action(row.id.as_str()).await.expect("reads");
    assert_eq!(
        (after.state, after.version),
        (ActionState::Permitted, 1),
        "nothing changed"
    );
    bed.store.settle_effects(&[done(&begun[0])]).await.expect("settles");
    approve(&bed.store, "later", hold(), at(60))
        .await
        .expect("there is room");
    assert_eq!(lease(&bed, at(61)).await[0].effect.action, id);
}

async fn what_is_put_off_counts_as_no_attempt_and_its_steps_wait_together(bed: Bed) {
    let two = [Crm::Salesforce, Crm::Salesforce];
    let first = action(1, "first", ActionState::Permitted, &two);
    let second = action(1, "second", ActionState::Permitted, SF);
    let (id, other) = (first.row.id.clone(), second.row.id.clone());
    put(&bed, "a", vec![first, second], at(0)).await;
    let head = lease(&bed, at(1)).await;
    assert_eq!(head[0].effect.action, id);
    let off = EffectResult::NotNow {
        why: "night".to_owned(),
        due_at: at(50),
    };
    bed.store
        .settle_effects(&[outcome(&head[0], off)])
        .await
        .expect("settles");
    let next = lease(&bed, at(2)).await;
    assert_eq!(
        next[0].effect.action, other,
        "neither of its steps, but the next action"
    );
    bed.store.settle_effects(&[done(&next[0])]).await.expect("settles");
    assert_eq!(lease(&bed, at(49)).await, []);
    let morning = lease(&bed, at(50)).await;
    assert_eq!((morning[0].effect.step, morning[0].attempts), (0, 1));
}

async fn what_is_withdrawn_when_its_time_has_come_takes_its_steps_and_its_place_along(bed: Bed) {
    let two = [Crm::Salesforce, Crm::Salesforce];
    let first = NewAction {
        holds: vec![contact(Some(1))],
        ..action(1, "first", ActionState::Permitted, &two)
    };
    let id = first.row.id.clone();
    put(&bed, "a", vec![first], at(0)).await;
    let head = lease(&bed, at(1)).await;
    let back = EffectResult::Withdrawn {
        why: "the table changed".to_owned(),
    };
    let report = bed
        .store
        .settle_effects(&[outcome(&head[0], back)])
        .await
        .expect("settles");
    let settled = &report.actions[0];
    assert_eq!(
        (settled.action.clone(), settled.withdrawn, settled.any_failed),
        (id, true, false)
    );
    assert_eq!(lease(&bed, at(2)).await, []);
    let next = put(&bed, "b", vec![permitted("next", vec![contact(Some(1))])], at(2)).await;
    assert_eq!(next.no_room, []);
}
