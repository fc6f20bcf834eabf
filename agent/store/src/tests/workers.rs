//! Stops, leases that are extended, and the lead.

use perennial_core::action::{ActionKind, ActionState, Effect};
use perennial_core::signal::{Crm, Tier};
use perennial_core::stop::{Stop, StopScope};

use super::bed::{account_id, action, at, commit, run_id};
use super::effects::done;
use super::{Bed, both};
use crate::*;

both!(
    what_is_stopped_is_not_leased_and_lets_others_pass,
    what_was_begun_is_looked_up_under_a_stop,
    what_goes_alone_is_leased_as_far_as_there_is_room_for_it,
    a_stop_is_written_once_and_ends_once,
    leases_that_are_extended_do_not_run_out,
    one_leads_until_its_time_is_over,
    workers_are_seen_until_they_end,
    what_is_old_and_over_is_removed_and_nothing_else,
);

const MINUTE: i64 = 60_000_000;

fn stop(scope: StopScope) -> Stop {
    Stop {
        scope,
        since: at(0),
        person: "ada".to_owned(),
        reason: "a test".to_owned(),
    }
}

fn entry(kind: &str) -> LedgerDraft {
    LedgerDraft {
        kind: kind.to_owned(),
        reference: "scope".to_owned(),
        body: "{}".to_owned(),
    }
}

async fn put(bed: &Bed, number: usize, subject: &str, kind: ActionKind, tier: Option<Tier>, tools: &[Crm]) {
    let mut action = action(number, subject, ActionState::Permitted, tools);
    action.row.kind = kind;
    action.row.tier = tier;
    bed.store
        .commit_decisions(&run_id(), &[commit(number, subject, vec![action])], at(0))
        .await
        .expect("commits");
}

/// What a worker gets at a minute, as account, kind and tool; it is given back at once.
async fn leased(bed: &Bed, minute: i64) -> Vec<String> {
    let leases = bed
        .store
        .lease_effects("w", Crm::ALL, 100, at(minute), MINUTE)
        .await
        .expect("leases");
    bed.store.release_leases("w").await.expect("releases");
    let mut found: Vec<String> = leases
        .iter()
        .map(|l| format!("{} {} {}", l.effect.target.account, l.kind, l.effect.tool))
        .collect();
    found.sort();
    found
}

async fn what_is_stopped_is_not_leased_and_lets_others_pass(bed: Bed) {
    let strategic = Some(Tier::STRATEGIC);
    put(&bed, 1, "a", ActionKind::CREATE_TASK, strategic, &[Crm::Salesforce]).await;
    put(&bed, 1, "b", ActionKind::CREATE_NOTE, strategic, &[Crm::Salesforce]).await;
    put(&bed, 2, "c", ActionKind::CREATE_NOTE, None, &[Crm::HubSpot]).await;
    let [first, behind, other] = [
        "A-0001 createTask salesforce",
        "A-0001 createNote salesforce",
        "A-0002 createNote hubspot",
    ];
    assert_eq!(leased(&bed, 1).await, [first, other]);
    for (minute, (scope, expected)) in (1..).zip([
        (StopScope::All, vec![]),
        (StopScope::Tool(Crm::Salesforce), vec![other]),
        (StopScope::Tier(Tier::STRATEGIC), vec![other]),
        (StopScope::Account(account_id(1)), vec![other]),
        (StopScope::Account(account_id(2)), vec![first]),
        // The order of an account is kept among what may go out.
        (StopScope::Kind(ActionKind::CREATE_TASK), vec![behind, other]),
        (StopScope::Kind(ActionKind::CREATE_NOTE), vec![first]),
    ]) {
        let stop = stop(scope);
        assert!(bed.store.stop(&stop, &entry("stop")).await.expect("stops"));
        assert_eq!(leased(&bed, minute).await, expected, "{}", stop.scope);
        assert_eq!(leased(&bed, minute).await, expected, "{} again", stop.scope);
        let on = bed.store.resume(&stop.scope, &entry("resume"), at(minute)).await;
        assert!(on.expect("goes on"));
        assert_eq!(leased(&bed, minute).await, [first, other], "after {}", stop.scope);
    }
}

async fn what_goes_alone_is_leased_as_far_as_there_is_room_for_it(bed: Bed) {
    for n in 1..=5 {
        put(&bed, n, "a", ActionKind::CREATE_NOTE, None, &[Crm::Salesforce]).await;
    }
    for n in 6..=9 {
        put(&bed, n, "a", ActionKind::CREATE_NOTE, None, &[Crm::HubSpot]).await;
    }
    let is_alone = |effect: &Effect| effect.tool == Crm::Salesforce;
    let room = |alone| Room {
        rows: 100,
        alone,
        is_alone: &is_alone,
    };
    let lease = async |worker, alone| {
        let leased = bed
            .store
            .lease_within(worker, Crm::ALL, room(alone), at(1), MINUTE)
            .await;
        let leased = leased.expect("leases");
        let alone = leased.effects.iter().filter(|leased| is_alone(&leased.effect)).count();
        (alone, leased.effects.len() - alone, leased.left_out)
    };
    assert_eq!(lease("u", 2).await, (2, 4, 3));
    assert_eq!(lease("v", 0).await, (0, 0, 3), "nothing of it is held up");
    assert_eq!(lease("w", 9).await, (3, 0, 0));
    assert_eq!(lease("w", 9).await, (0, 0, 0));
}

async fn what_was_begun_is_looked_up_under_a_stop(bed: Bed) {
    put(&bed, 1, "a", ActionKind::CREATE_NOTE, None, &[Crm::Salesforce]).await;
    let first = bed
        .store
        .lease_effects("w", Crm::ALL, 9, at(0), MINUTE)
        .await
        .expect("leases");
    assert_eq!(first.len(), 1);
    let stop = stop(StopScope::Kind(ActionKind::CREATE_NOTE));
    bed.store.stop(&stop, &entry("stop")).await.expect("stops");
    let again = bed
        .store
        .lease_effects("v", Crm::ALL, 9, at(2), MINUTE)
        .await
        .expect("leases");
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].state, perennial_core::action::EffectState::Unknown);
    // It was not there, and is not sent now: it waits as if it had not been tried.
    let waits = EffectResult::NotNow {
        why: "stopped".to_owned(),
        due_at: at(2),
    };
    let settled = super::effects::outcome(&again[0], waits);
    bed.store.settle_effects(&[settled]).await.expect("settles");
    assert_eq!(leased(&bed, 4).await, [] as [&str; 0]);
    bed.store
        .resume(&stop.scope, &entry("resume"), at(4))
        .await
        .expect("goes on");
    assert_eq!(leased(&bed, 4).await, ["A-0001 createNote salesforce"]);
}

async fn a_stop_is_written_once_and_ends_once(bed: Bed) {
    let stop = stop(StopScope::Tool(Crm::HubSpot));
    let resume = entry("resume");
    assert!(!bed.store.resume(&stop.scope, &resume, at(1)).await.expect("answers"));
    assert!(bed.store.stop(&stop, &entry("stop")).await.expect("stops"));
    assert!(!bed.store.stop(&stop, &entry("stop")).await.expect("answers"));
    assert_eq!(bed.store.stops().await.expect("reads"), std::slice::from_ref(&stop));
    assert!(bed.store.resume(&stop.scope, &resume, at(1)).await.expect("goes on"));
    assert!(!bed.store.resume(&stop.scope, &resume, at(1)).await.expect("answers"));
    assert_eq!(bed.store.stops().await.expect("reads"), []);
    let entries = bed.store.ledger_page(0, 10).await.expect("reads");
    let kinds: Vec<&str> = entries.iter().map(|e| e.kind.as_str()).collect();
    assert_eq!(kinds, ["stop", "resume"]);
}

async fn leases_that_are_extended_do_not_run_out(bed: Bed) {
    for number in 1..=3 {
        put(&bed, number, "a", ActionKind::CREATE_NOTE, None, &[Crm::Salesforce]).await;
    }
    let lease = |worker: &'static str, minute| {
        let store = bed.store.clone();
        async move {
            store
                .lease_effects(worker, Crm::ALL, 9, at(minute), MINUTE)
                .await
                .expect("leases")
        }
    };
    let mine = lease("w", 0).await;
    assert_eq!(mine.len(), 3);
    let held: Vec<_> = mine
        .iter()
        .map(|l| (l.effect.target.account.clone(), l.effect.id.clone()))
        .collect();
    bed.store.settle_effects(&[done(&mine[0])]).await.expect("settles");
    assert_eq!(bed.store.extend_leases("w", &[], at(5)).await.expect("extends"), 0);
    assert_eq!(bed.store.extend_leases("w", &held, at(5)).await.expect("extends"), 2);
    assert_eq!(bed.store.extend_leases("v", &held, at(9)).await.expect("extends"), 0);
    assert_eq!(lease("v", 4).await, []);
    // The last one runs out; its worker does not take it back from whoever has it then.
    let theirs = lease("v", 5).await;
    assert_eq!(theirs.len(), 2);
    assert_eq!(bed.store.extend_leases("w", &held, at(9)).await.expect("extends"), 0);
    let report = bed.store.settle_effects(&[done(&mine[1])]).await.expect("settles");
    assert_eq!(report.refused, [mine[1].effect.id.clone()]);
    assert_eq!(
        bed.store
            .settle_effects(&[done(&theirs[0])])
            .await
            .expect("settles")
            .refused,
        []
    );
}

async fn one_leads_until_its_time_is_over(bed: Bed) {
    let lead = |who: &'static str, minute| {
        let store = bed.store.clone();
        async move {
            store
                .lead("schedules", who, at(minute), at(minute + 2))
                .await
                .expect("answers")
        }
    };
    assert_eq!(lead("a", 0).await, Some(1));
    assert_eq!(lead("b", 1).await, None);
    assert_eq!(lead("a", 1).await, Some(1), "it goes on");
    assert_eq!(
        bed.store.leader("schedules", at(1)).await.expect("reads").as_deref(),
        Some("a")
    );
    assert_eq!(lead("b", 2).await, None);
    assert_eq!(lead("b", 3).await, Some(2), "its time is over");
    assert_eq!(lead("a", 4).await, None);
    bed.store.resign("schedules", "a").await.expect("is no leader");
    assert_eq!(lead("a", 4).await, None);
    bed.store.resign("schedules", "b").await.expect("resigns");
    assert_eq!(lead("a", 4).await, Some(1));
    assert_eq!(bed.store.leader("schedules", at(9)).await.expect("reads"), None);
}

async fn workers_are_seen_until_they_end(bed: Bed) {
    for (minute, ahead_us) in [(0, 5), (1, 7)] {
        bed.store
            .see_worker("w", ahead_us, "0.1.0", at(minute))
            .await
            .expect("writes");
    }
    let seen = bed.store.workers(at(0), 10).await.expect("reads");
    assert_eq!(
        seen.iter()
            .map(|w| (w.worker.as_str(), w.begun_at, w.seen_at, w.ahead_us))
            .collect::<Vec<_>>(),
        [("w", at(0), at(1), 7)]
    );
    assert_eq!(bed.store.workers(at(1), 10).await.expect("reads"), []);
    bed.store.see_worker("v", 0, "0.1.0", at(2)).await.expect("writes");
    bed.store.forget_dead_workers(at(1)).await.expect("writes");
    bed.store.forget_worker("v").await.expect("writes");
    assert_eq!(bed.store.workers(at(-9), 10).await.expect("reads"), []);
    let own = bed.store.clock().await.expect("reads");
    assert_eq!(own.is_some(), bed.store.sends_word());
}

async fn what_is_old_and_over_is_removed_and_nothing_else(bed: Bed) {
    // Account 1: an effect that is done, and a later decision. Account 2: an effect that was lost, and its only decision.
    for number in [1, 2] {
        put(&bed, number, "a", ActionKind::CREATE_NOTE, None, &[Crm::Salesforce]).await;
    }
    let leases = bed
        .store
        .lease_effects("w", Crm::ALL, 9, at(0), MINUTE)
        .await
        .expect("leases");
    let lost = EffectResult::Unknown {
        error: "no answer".to_owned(),
        due_at: at(9),
        image: None,
    };
    let outcomes = [done(&leases[0]), super::effects::outcome(&leases[1], lost)];
    bed.store.settle_effects(&outcomes).await.expect("settles");
    let mut later = commit(1, "later", Vec::new());
    later.decision.as_of = at(5);
    bed.store
        .commit_decisions(&run_id(), &[later], at(5))
        .await
        .expect("commits");
    let first = action(1, "a", ActionState::Permitted, &[Crm::Salesforce]).row.id;
    let second = action(2, "a", ActionState::Permitted, &[Crm::Salesforce]).row.id;
    let entries = bed.store.ledger_head().await.expect("reads").seq;
    let nothing = bed.store.prune(&Prune::default(), at(10)).await.expect("prunes");
    assert_eq!(nothing, Pruned::default());
    let all = Prune {
        attempts: Some(at(10)),
        receipts: Some(at(10)),
        inputs: Some(at(10)),
    };
    let pruned = bed.store.prune(&all, at(10)).await.expect("prunes");
    // The action of account 1 is still permitted, so its decision keeps its inputs.
    let expected = Pruned {
        attempts: 1,
        receipts: 1,
        inputs: 0,
    };
    assert_eq!(pruned, expected);
    assert_eq!(bed.store.attempts_of(&first).await.expect("reads"), []);
    assert_eq!(bed.store.attempts_of(&second).await.expect("reads").len(), 1);
    bed.tamper("update action set state = 'executed'").await;
    assert_eq!(bed.store.prune(&all, at(10)).await.expect("prunes").inputs, 1);
    let row = bed.store.action(first.as_str()).await.expect("reads");
    let decision = bed
        .store
        .decision(&row.decision)
        .await
        .expect("reads")
        .expect("is there");
    assert!(matches!(decision.inputs.text(), Err(StoreError::Pruned)));
    assert!(decision.output.text().is_ok());
    let row = bed.store.action(second.as_str()).await.expect("reads");
    let only = bed
        .store
        .decision(&row.decision)
        .await
        .expect("reads")
        .expect("is there");
    assert!(
        only.inputs.text().is_ok(),
        "the latest decision of an account keeps its inputs"
    );
    assert_eq!(bed.store.prune(&all, at(10)).await.expect("prunes"), Pruned::default());
    assert_eq!(
        bed.store.ledger_head().await.expect("reads").seq,
        entries + 2,
        "it is written that it was done"
    );
}
