//! Who is asked, since when, and who may answer in whose place.

use perennial_core::action::ActionState;
use perennial_core::ids::OwnerId;
use perennial_core::signal::{Crm, OwnerRole};

use super::bed::{action, at, commit, run_id};
use super::decisions::transition;
use super::{Bed, both};
use crate::*;

both!(
    the_time_of_asking_begins_with_the_state_and_ends_with_it,
    asking_the_next_role_leaves_the_content_as_it_was_read,
    what_a_person_reassigned_stays_theirs_when_facts_change,
    a_delegation_holds_from_its_first_moment_until_its_end_or_until_it_is_taken_back,
);

fn entry(kind: &str) -> LedgerDraft {
    LedgerDraft {
        kind: kind.to_owned(),
        reference: "x".to_owned(),
        body: "{}".to_owned(),
    }
}

async fn pending(bed: &Bed) -> ActionRow {
    let action = action(1, "x", ActionState::Pending, &[Crm::Salesforce]);
    let id = action.row.id.clone();
    bed.store
        .commit_decisions(&run_id(), &[commit(1, "a", vec![action])], at(1))
        .await
        .expect("commits");
    bed.store.action(id.as_str()).await.expect("reads")
}

async fn the_time_of_asking_begins_with_the_state_and_ends_with_it(bed: Bed) {
    let row = pending(&bed).await;
    assert_eq!(row.asked_since, Some(at(1)));
    let now = async |row: &ActionRow| bed.store.action(row.id.as_str()).await.expect("reads");
    // A first of several approvals leaves it where it is.
    bed.store
        .transition(&transition(&row, ActionState::Pending))
        .await
        .expect("changes");
    let row = now(&row).await;
    assert_eq!((row.version, row.asked_since), (2, Some(at(1))));
    bed.store
        .transition(&transition(&row, ActionState::Deferred))
        .await
        .expect("changes");
    let row = now(&row).await;
    assert_eq!(row.asked_since, None);
    let late = Transition {
        at: at(9),
        ..transition(&row, ActionState::Pending)
    };
    bed.store.transition(&late).await.expect("changes");
    assert_eq!(now(&row).await.asked_since, Some(at(9)));
}

async fn asking_the_next_role_leaves_the_content_as_it_was_read(bed: Bed) {
    let row = pending(&bed).await;
    let before = bed.store.ledger_head().await.expect("reads").seq;
    let tier = row.tier;
    let unanswered = async |minute| bed.store.unanswered(tier, at(minute), 10).await.expect("reads").len();
    assert_eq!((unanswered(0).await, unanswered(1).await), (0, 1));
    let role = Some(OwnerRole::VP_CS);
    assert!(
        bed.store
            .escalate(&row, role, at(5), &entry("escalated"))
            .await
            .expect("asks")
    );
    let asked = bed.store.action(row.id.as_str()).await.expect("reads");
    assert_eq!(
        (asked.version, &asked.asked_role, asked.asked_since),
        (row.version, &role, Some(at(5)))
    );
    assert_eq!((unanswered(4).await, unanswered(5).await), (0, 1));
    // Nobody is left to ask: it waits until it expires, and is not looked at again.
    assert!(
        bed.store
            .escalate(&asked, None, at(7), &entry("escalated"))
            .await
            .expect("ends")
    );
    let asked = bed.store.action(row.id.as_str()).await.expect("reads");
    assert_eq!((&asked.asked_role, asked.asked_since), (&role, None));
    assert_eq!(unanswered(100).await, 0);
    assert!(
        !bed.store
            .escalate(&asked, role, at(8), &entry("escalated"))
            .await
            .expect("nothing")
    );
    let head = bed.store.ledger_head().await.expect("reads").seq;
    assert_eq!(head, before + 2, "two times of asking");
}

async fn what_a_person_reassigned_stays_theirs_when_facts_change(bed: Bed) {
    let row = pending(&bed).await;
    let to_ben = Transition {
        reassign: Some(OwnerId::new("ben")),
        ..transition(&row, ActionState::Pending)
    };
    bed.store.transition(&to_ben).await.expect("changes");
    let mut newer = action(1, "x", ActionState::Pending, &[Crm::Salesforce]);
    newer.row.owner = Some(OwnerId::new("eva"));
    newer.row.card = "{\"new\":1}".to_owned();
    bed.store
        .commit_decisions(&run_id(), &[commit(1, "b", vec![newer])], at(3))
        .await
        .expect("commits");
    let after = bed.store.action(row.id.as_str()).await.expect("reads");
    assert_eq!(after.card, "{\"new\":1}", "the facts follow");
    assert_eq!(after.owner, Some(OwnerId::new("ben")), "the owner does not");
}

async fn a_delegation_holds_from_its_first_moment_until_its_end_or_until_it_is_taken_back(bed: Bed) {
    let lent = DelegationRow {
        id: "del_1".to_owned(),
        giver: "eva".to_owned(),
        receiver: "ben".to_owned(),
        from: at(10),
        until: at(20),
        reason: "on leave".to_owned(),
        at: at(1),
        revoked_at: None,
    };
    bed.store.delegate(&lent, &entry("delegate")).await.expect("stores");
    bed.store.delegate(&lent, &entry("delegate")).await.expect("once");
    let holds = async |who: &str, minute| bed.store.delegations_to(who, at(minute)).await.expect("reads");
    assert_eq!(holds("ben", 9).await, []);
    assert_eq!(holds("ben", 10).await, std::slice::from_ref(&lent));
    assert_eq!(holds("ben", 19).await.len(), 1);
    assert_eq!(holds("ben", 20).await, []);
    assert_eq!(holds("eva", 12).await, []);
    assert_eq!(
        bed.store.delegations(at(2), 10).await.expect("reads"),
        std::slice::from_ref(&lent)
    );
    assert!(
        bed.store
            .revoke_delegation("del_1", at(12), &entry("undelegate"))
            .await
            .expect("ends")
    );
    assert!(
        !bed.store
            .revoke_delegation("del_1", at(13), &entry("undelegate"))
            .await
            .expect("once")
    );
    assert_eq!(holds("ben", 12).await, []);
    assert_eq!(bed.store.ledger_head().await.expect("reads").seq, 2);
}
