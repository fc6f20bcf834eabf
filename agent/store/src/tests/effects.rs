//! The outbox: order, fences, leases that run out, failures.

use perennial_core::action::{ActionState, Done, EffectState, Receipt};
use perennial_core::signal::Crm;
use perennial_core::time::Timestamp;

use super::bed::{action, at, commit, run_id};
use super::{Bed, both};
use crate::*;

both!(
    effects_of_a_lane_go_out_one_after_the_other,
    a_lease_that_ran_out_is_unknown_and_its_fence_is_stale,
    a_failed_step_blocks_later_steps_but_not_later_actions,
    released_leases_wait_again,
    tools_are_leased_apart,
    a_failed_action_may_try_again,
);

const MINUTE: i64 = 60_000_000;
const SF: &[Crm] = &[Crm::Salesforce];

fn receipt() -> Receipt {
    Receipt {
        tool: Crm::Salesforce,
        done: Done::Created,
        object: "Task".to_owned(),
        record: "00T1".to_owned(),
        url: "http://localhost/00T1".to_owned(),
        before: std::collections::BTreeMap::new(),
        after: [("Subject".to_owned(), "Note".to_owned())].into(),
        at: at(3),
    }
}

pub(crate) fn outcome(lease: &LeasedEffect, result: EffectResult) -> EffectOutcome {
    EffectOutcome {
        learned: Vec::new(),
        account: lease.effect.target.account.clone(),
        effect: lease.effect.id.clone(),
        fence: lease.fence,
        begun_at: lease.begun_at,
        result,
        ledger: vec![LedgerDraft {
            kind: "receipt".to_owned(),
            reference: lease.effect.id.to_string(),
            body: "{}".to_owned(),
        }],
        at: at(3),
    }
}

pub(crate) fn done(lease: &LeasedEffect) -> EffectOutcome {
    outcome(lease, EffectResult::Done(receipt()))
}

async fn lease(bed: &Bed, worker: &str, now: Timestamp) -> Vec<LeasedEffect> {
    bed.store
        .lease_effects(worker, Crm::ALL, 100, now, MINUTE)
        .await
        .expect("leases")
}

async fn put(bed: &Bed, number: usize, actions: Vec<NewAction>) {
    bed.store
        .commit_decisions(&run_id(), &[commit(number, "a", actions)], at(0))
        .await
        .expect("commits");
}

async fn effects_of_a_lane_go_out_one_after_the_other(bed: Bed) {
    let two = [Crm::Salesforce, Crm::Salesforce];
    let first = action(1, "first", ActionState::Permitted, &two);
    let second = action(1, "second", ActionState::Permitted, SF);
    let expected: Vec<_> = first
        .outbox
        .iter()
        .chain(&second.outbox)
        .map(|row| row.effect.id.clone())
        .collect();
    let actions = [first.row.id.clone(), second.row.id.clone()];
    put(&bed, 1, vec![first, second]).await;
    let mut order = Vec::new();
    let mut settled = Vec::new();
    for _ in 0..3 {
        let leases = lease(&bed, "w", at(1)).await;
        assert_eq!(leases.len(), 1);
        assert_eq!(lease(&bed, "v", at(1)).await, [], "nobody else gets in");
        assert_eq!((leases[0].state, leases[0].attempts), (EffectState::Waiting, 1));
        leases[0]
            .permit
            .clone()
            .verify(&leases[0].effect, &leases[0].all)
            .expect("a permit");
        order.push(leases[0].effect.id.clone());
        let report = bed.store.settle_effects(&[done(&leases[0])]).await.expect("settles");
        assert_eq!(report.refused, []);
        settled.extend(report.actions);
    }
    assert_eq!(order, expected);
    assert_eq!(settled.iter().map(|s| s.action.clone()).collect::<Vec<_>>(), actions);
    assert!(settled.iter().all(|action| !action.any_failed));
    assert_eq!(lease(&bed, "w", at(90)).await, []);
    let effects = bed.store.effects_of(&actions[0]).await.expect("reads");
    assert_eq!(effects.len(), 2);
    assert_eq!(
        (effects[0].state, effects[0].receipt.clone()),
        (EffectState::Done, Some(receipt()))
    );
    let mut found = bed.store.settled_actions().await.expect("reads");
    found.sort();
    settled.sort();
    assert_eq!(found, settled);
    assert_eq!(bed.store.ledger_head().await.expect("reads").seq, 3 + 3);
}

async fn a_lease_that_ran_out_is_unknown_and_its_fence_is_stale(bed: Bed) {
    put(&bed, 1, vec![action(1, "x", ActionState::Permitted, SF)]).await;
    let old = lease(&bed, "w", at(0)).await;
    assert_eq!(lease(&bed, "v", at(0)).await, []);
    let new = lease(&bed, "v", at(1)).await;
    assert_eq!((new[0].state, new[0].attempts), (EffectState::Unknown, 2));
    assert!(new[0].fence > old[0].fence);
    let report = bed.store.settle_effects(&[done(&old[0])]).await.expect("settles");
    assert_eq!(
        (report.actions, report.refused),
        (vec![], vec![old[0].effect.id.clone()])
    );
    let lost = EffectResult::Unknown {
        error: "no answer".to_owned(),
        due_at: at(5),
        image: None,
    };
    let again = [outcome(&new[0], lost), done(&new[0])];
    let report = bed.store.settle_effects(&again).await.expect("settles");
    assert_eq!(report.refused.len(), 1, "one outcome an attempt");
    assert_eq!(bed.store.effect_counts(None).await.expect("reads").unknown, 1);
    assert_eq!(lease(&bed, "w", at(4)).await, [], "not yet due");
    let third = lease(&bed, "w", at(5)).await;
    assert_eq!(third[0].state, EffectState::Unknown);
    let nothing_there = EffectResult::Again {
        error: "not found".to_owned(),
        due_at: at(6),
    };
    bed.store
        .settle_effects(&[outcome(&third[0], nothing_there)])
        .await
        .expect("settles");
    let fourth = lease(&bed, "w", at(6)).await;
    assert_eq!(fourth[0].state, EffectState::Waiting, "looked up: it was not done");
    let report = bed.store.settle_effects(&[done(&fourth[0])]).await.expect("settles");
    assert_eq!(report.actions.len(), 1);
}

async fn a_failed_step_blocks_later_steps_but_not_later_actions(bed: Bed) {
    let three = [Crm::Salesforce, Crm::Salesforce, Crm::HubSpot];
    let first = action(1, "first", ActionState::Permitted, &three);
    let second = action(1, "second", ActionState::Permitted, SF);
    let id = first.row.id.clone();
    put(&bed, 1, vec![first, second]).await;
    let leases = bed
        .store
        .lease_effects("w", SF, 10, at(1), MINUTE)
        .await
        .expect("leases");
    let refused = EffectResult::Failed {
        error: "no such record".to_owned(),
    };
    let report = bed
        .store
        .settle_effects(&[outcome(&leases[0], refused)])
        .await
        .expect("settles");
    assert_eq!(report.actions.len(), 1);
    assert!(report.actions[0].any_failed);
    let errors: Vec<Option<String>> = bed
        .store
        .effects_of(&id)
        .await
        .expect("reads")
        .into_iter()
        .map(|effect| effect.error)
        .collect();
    let given_up = Some("not attempted, step 0 failed".to_owned());
    assert_eq!(errors, [Some("no such record".to_owned()), given_up.clone(), given_up]);
    let next = lease(&bed, "w", at(1)).await;
    assert_eq!(next.len(), 1, "the later action goes on");
    assert_ne!(next[0].effect.action, id);
}

async fn released_leases_wait_again(bed: Bed) {
    put(&bed, 1, vec![action(1, "x", ActionState::Permitted, SF)]).await;
    let first = lease(&bed, "w", at(0)).await;
    assert_eq!(bed.store.release_leases("v").await.expect("releases"), 0);
    assert_eq!(bed.store.release_leases("w").await.expect("releases"), 1);
    assert_eq!(
        bed.store
            .settle_effects(&[done(&first[0])])
            .await
            .expect("settles")
            .refused
            .len(),
        1
    );
    let second = lease(&bed, "v", at(0)).await;
    assert_eq!((second[0].state, second[0].attempts), (EffectState::Waiting, 1));
    assert!(second[0].fence > first[0].fence);
}

async fn tools_are_leased_apart(bed: Bed) {
    for number in 0..6 {
        put(
            &bed,
            number,
            vec![action(
                number,
                "x",
                ActionState::Permitted,
                &[Crm::Salesforce, Crm::HubSpot],
            )],
        )
        .await;
    }
    let some = bed
        .store
        .lease_effects("w", Crm::ALL, 4, at(1), MINUTE)
        .await
        .expect("leases");
    let hubspot = some.iter().filter(|lease| lease.effect.tool == Crm::HubSpot).count();
    assert_eq!((some.len(), hubspot), (4, 2), "each tool its share");
    let rest = bed
        .store
        .lease_effects("w", &[Crm::HubSpot], 100, at(1), MINUTE)
        .await
        .expect("leases");
    assert_eq!(rest.len(), 4);
    assert!(rest.iter().all(|lease| lease.effect.tool == Crm::HubSpot));
}

async fn a_failed_action_may_try_again(bed: Bed) {
    let first = action(1, "x", ActionState::Permitted, SF);
    let id = first.row.id.clone();
    put(&bed, 1, vec![first.clone()]).await;
    let leases = lease(&bed, "w", at(0)).await;
    let failed = EffectResult::Failed { error: "no".to_owned() };
    bed.store
        .settle_effects(&[outcome(&leases[0], failed)])
        .await
        .expect("settles");
    for (to, outbox) in [
        (ActionState::Failed, vec![]),
        (ActionState::Pending, vec![]),
        (ActionState::Permitted, first.outbox),
    ] {
        let row = bed.store.action(id.as_str()).await.expect("reads");
        let transition = Transition {
            play: None,
            account: row.account,
            action: row.id,
            from: row.state,
            version: row.version,
            to,
            effects: None,
            last_editor: None,
            snoozed_until: None,
            reassign: None,
            asked_role: None,
            approval: None,
            holds: Vec::new(),
            withdraw: None,
            outbox,
            ledger: Vec::new(),
            at: at(5),
        };
        bed.store.transition(&transition).await.expect("changes");
    }
    let again = lease(&bed, "w", at(1)).await;
    assert_eq!((again[0].state, again[0].attempts), (EffectState::Waiting, 1));
    assert!(again[0].fence > leases[0].fence, "the fence only grows");
    let report = bed.store.settle_effects(&[done(&again[0])]).await.expect("settles");
    assert!(!report.actions[0].any_failed);
}
