//! Canaries: that the database sends none, and what is kept of the answers.

use perennial_core::action::{ActionState, Effect};
use perennial_core::approval::canary::{Defect, Mistake};
use perennial_core::replay::{Hash, canonical, read};
use perennial_core::signal::Crm;

use super::bed::{action, at, commit, permit, run_id};
use super::{Bed, both};
use crate::*;

both!(
    a_canary_is_never_sent_by_any_program,
    a_canary_ends_with_its_answer_or_when_the_facts_change,
);

fn defect() -> Defect {
    Defect {
        mistake: Mistake::OtherCustomer,
        step: 0,
        field: "body".to_owned(),
        was: "Customer".to_owned(),
        is: "Nobody".to_owned(),
    }
}

fn entry(kind: &str) -> LedgerDraft {
    LedgerDraft {
        kind: kind.to_owned(),
        reference: "act".to_owned(),
        body: "{}".to_owned(),
    }
}

/// An action that waits, with a canary in the place of its draft; and the two texts.
async fn planted(bed: &Bed) -> (ActionRow, String, String) {
    let new = action(1, "a", ActionState::Pending, &[Crm::Salesforce]);
    let id = new.row.id.clone();
    bed.store
        .commit_decisions(&run_id(), &[commit(1, "a", vec![new])], at(1))
        .await
        .expect("commits");
    let waiting = bed.store.untouched_since(at(0), 9).await.expect("reads");
    assert_eq!(waiting.iter().map(|row| &row.id).collect::<Vec<_>>(), [&id]);
    assert_eq!(
        bed.store.untouched_since(at(1), 9).await.expect("reads"),
        [],
        "it waits for longer than that"
    );
    let row = &waiting[0];
    let original = row.effects.clone();
    let shown = original.replace("step 0", "for Nobody");
    let put = bed
        .store
        .plant_canary(row, &shown, &defect(), &entry("canary"), at(1))
        .await;
    assert!(put.expect("plants"));
    let again = bed
        .store
        .plant_canary(row, &shown, &defect(), &entry("canary"), at(1))
        .await;
    assert!(!again.expect("does not plant"), "the action is another since");
    assert_eq!(
        bed.store.untouched_since(at(0), 9).await.expect("reads"),
        [],
        "one canary in a life"
    );
    (bed.store.action(id.as_str()).await.expect("reads"), original, shown)
}

fn transition(row: &ActionRow, to: ActionState, effects: Option<&str>, verb: &str) -> Transition {
    Transition {
        account: row.account.clone(),
        action: row.id.clone(),
        from: row.state,
        version: row.version,
        to,
        effects: effects.map(str::to_owned),
        play: None,
        last_editor: None,
        snoozed_until: None,
        reassign: None,
        asked_role: None,
        holds: Vec::new(),
        withdraw: None,
        approval: Some(ApprovalRow {
            person: "ana".to_owned(),
            verb: verb.to_owned(),
            authority: None,
            version: row.version + 1,
            roles: "csm".to_owned(),
            reason: None,
            seen: None,
            content: Hash::ZERO,
            at: at(5),
        }),
        outbox: Vec::new(),
        ledger: vec![entry(verb)],
        at: at(5),
    }
}

async fn a_canary_is_never_sent_by_any_program(bed: Bed) {
    let (row, _, shown) = planted(&bed).await;
    let effects: Vec<Effect> = read("effects", &shown).expect("effects");
    // What a program does that knows nothing of canaries.
    let mut sent = transition(&row, ActionState::Permitted, None, "approve");
    sent.outbox = effects
        .iter()
        .map(|effect| OutboxRow {
            effect: effect.clone(),
            permit: permit(&row.id, &effects),
            due_at: at(5),
        })
        .collect();
    let error = bed.store.transition(&sent).await.expect_err("is refused");
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    assert!(text.contains("canary"), "{text}");
    let now = bed.store.action(row.id.as_str()).await.expect("reads");
    assert_eq!(
        (now.state, now.version),
        (ActionState::Pending, row.version),
        "nothing is left of it"
    );
    assert_eq!(bed.store.effects_of(&row.id).await.expect("reads"), []);
}

async fn a_canary_ends_with_its_answer_or_when_the_facts_change(bed: Bed) {
    let (row, original, _) = planted(&bed).await;
    let open = bed.store.open_canary(&row).await.expect("reads").expect("is open");
    assert_eq!((open.original.as_str(), open.defect), (original.as_str(), defect()));
    let answer = transition(&row, ActionState::Pending, Some(&original), CAUGHT);
    bed.store.transition(&answer).await.expect("answers");
    let now = bed.store.action(row.id.as_str()).await.expect("reads");
    assert_eq!(now.effects, original);
    assert_eq!(bed.store.open_canary(&now).await.expect("reads"), None);
    let again = transition(&now, ActionState::Pending, None, MISSED);
    let error = bed.store.transition(&again).await.expect_err("is over");
    assert!(matches!(error, StoreError::Stale { .. }), "{error}");
    let said = bed.store.answers_since(at(0)).await.expect("reads");
    let expected = Answer {
        person: "ana".to_owned(),
        verb: CAUGHT.to_owned(),
        waited_us: Some(at(5).us() - at(1).us()),
        edited: false,
    };
    assert_eq!(said, [expected]);
    assert_eq!(bed.store.answers_since(at(5)).await.expect("reads"), []);
    assert_eq!(
        bed.store.yeses_of("ana", at(0)).await.expect("reads"),
        0,
        "it was no yes"
    );
    let miss = transition(&now, ActionState::Pending, None, "approve");
    bed.store.transition(&miss).await.expect("says yes");
    assert_eq!(bed.store.yeses_of("ana", at(0)).await.expect("reads"), 1);
    assert_eq!(bed.store.yeses_of("ben", at(0)).await.expect("reads"), 0);

    // Facts that change bring the draft of the new facts, and the canary is gone.
    let mut new = action(2, "b", ActionState::Pending, &[Crm::Salesforce]);
    bed.store
        .commit_decisions(&run_id(), &[commit(2, "b", vec![new.clone()])], at(6))
        .await
        .expect("commits");
    let waiting = bed.store.untouched_since(at(5), 9).await.expect("reads").remove(0);
    let shown = waiting.effects.replace("step 0", "for Nobody");
    bed.store
        .plant_canary(&waiting, &shown, &defect(), &entry("canary"), at(6))
        .await
        .expect("plants");
    new.row.card = "{\"other\":1}".to_owned();
    bed.store
        .commit_decisions(&run_id(), &[commit(2, "c", vec![new.clone()])], at(7))
        .await
        .expect("commits");
    let now = bed.store.action(new.row.id.as_str()).await.expect("reads");
    assert_eq!(now.effects, new.row.effects);
    assert_eq!(bed.store.open_canary(&now).await.expect("reads"), None);
    let effects: Vec<Effect> = read("effects", &now.effects).expect("effects");
    let mut sent = transition(&now, ActionState::Permitted, None, "approve");
    sent.outbox = vec![OutboxRow {
        effect: effects[0].clone(),
        permit: permit(&now.id, &effects),
        due_at: at(8),
    }];
    bed.store.transition(&sent).await.expect("is sent");
    assert_eq!(canonical(&effects), now.effects);
}
