//! Promotions, and what they are judged by.

use perennial_core::action::{ActionKind, ActionState, Write};
use perennial_core::earned::{End, Figures, Promotion, Segment, Standing};
use perennial_core::ids::TenantId;
use perennial_core::replay::{Hash, canonical};
use perennial_core::signal::{Crm, Tier};
use perennial_core::time::{Day, Timestamp};

use super::bed::{account_id, action, at, commit, run_id};
use super::decisions::transition;
use super::effects::done;
use super::{Bed, both};
use crate::*;

both!(
    what_has_ended_is_told_by_tier_with_all_that_it_wrote_and_what_people_made_of_it,
    a_promotion_changes_only_from_where_it_was_judged_and_each_change_is_in_the_ledger,
);

const SF: &[Crm] = &[Crm::Salesforce];
const MINUTE: i64 = 60_000_000;

fn of_tier(number: usize, subject: &str, state: ActionState, tier: Tier) -> NewAction {
    let mut new = action(number, subject, state, SF);
    new.row.tier = Some(tier);
    new
}

async fn put(bed: &Bed, new: NewAction) -> ActionRow {
    let id = new.row.id.clone();
    let inputs = new.row.subject.clone();
    bed.store
        .commit_decisions(&run_id(), &[commit(1, &inputs, vec![new])], at(0))
        .await
        .expect("commits");
    bed.store.action(id.as_str()).await.expect("reads")
}

/// A person does something with an action.
async fn does(bed: &Bed, row: &ActionRow, verb: &str, to: ActionState, now: Timestamp) -> ActionRow {
    let outbox = match to {
        ActionState::Permitted => action(1, &row.subject, to, SF).outbox,
        _ => Vec::new(),
    };
    let step = Transition {
        approval: Some(ApprovalRow {
            person: "eva".to_owned(),
            verb: verb.to_owned(),
            authority: None,
            version: row.version + 1,
            roles: "csm".to_owned(),
            reason: None,
            seen: None,
            content: Hash::ZERO,
            at: now,
        }),
        outbox,
        at: now,
        ..transition(row, to)
    };
    bed.store.transition(&step).await.expect("changes");
    bed.store.action(row.id.as_str()).await.expect("reads")
}

/// Everything that waits to be sent is sent, and what it belongs to has ended.
async fn sent(bed: &Bed, now: Timestamp) {
    loop {
        let leased = bed
            .store
            .lease_effects("w", Crm::ALL, 100, now, MINUTE)
            .await
            .expect("leases");
        if leased.is_empty() {
            return;
        }
        for lease in leased {
            bed.store.settle_effects(&[done(&lease)]).await.expect("settles");
            let row = bed.store.action(lease.effect.action.as_str()).await.expect("reads");
            let ended = Transition {
                at: now,
                ..transition(&row, ActionState::Executed)
            };
            bed.store.transition(&ended).await.expect("ends");
        }
    }
}

async fn what_has_ended_is_told_by_tier_with_all_that_it_wrote_and_what_people_made_of_it(bed: Bed) {
    let low = Tier::LOW_TOUCH;
    let plain = put(&bed, of_tier(1, "plain", ActionState::Pending, low)).await;
    let plain = does(&bed, &plain, "approve", ActionState::Permitted, at(1)).await;
    sent(&bed, at(2)).await;
    // Edited by one, approved by another.
    let edited = put(&bed, of_tier(1, "edited", ActionState::Pending, low)).await;
    let edited = does(&bed, &edited, "edit", ActionState::Edited, at(3)).await;
    let edited = does(&bed, &edited, "approve", ActionState::Permitted, at(4)).await;
    sent(&bed, at(5)).await;
    let refused = put(&bed, of_tier(1, "refused", ActionState::Pending, low)).await;
    does(&bed, &refused, "reject", ActionState::Rejected, at(6)).await;
    // One that nobody was asked about, whose text looks as if it wrote a task, and that was undone.
    let mut alone = of_tier(1, "alone", ActionState::Permitted, low);
    alone.row.effects = alone.row.effects.replace("step 0", r#"\"write\":{\"create_task\":{"#);
    let alone = put(&bed, alone).await;
    sent(&bed, at(8)).await;
    let effect = alone_effect(&bed, &alone).await;
    let undone = UndoRow {
        person: "dana".to_owned(),
        at: at(9),
        receipt: effect.receipt.clone().expect("a receipt"),
    };
    bed.store
        .put_undone((&account_id(1), &effect.effect.id), &undone, &[], &[])
        .await
        .expect("undoes");
    // Another tier's, another tenant's, and one that has not ended.
    let other = put(&bed, of_tier(1, "other", ActionState::Pending, Tier::MID_TOUCH)).await;
    does(&bed, &other, "reject", ActionState::Rejected, at(10)).await;
    put(&bed, of_tier(1, "open", ActionState::Pending, low)).await;
    let stranger = Store::open(&bed.url, TenantId(2), &Options::default())
        .await
        .expect("opens");
    assert!(stranger.ended_actions(low, at(0), 100).await.expect("reads").is_empty());
    stranger.close().await;

    let ended = bed.store.ended_actions(low, at(0), 100).await.expect("reads");
    let found: Vec<_> = ended
        .iter()
        .map(|one| {
            (
                one.action.clone(),
                one.end,
                one.at,
                one.decided,
                one.changed,
                one.undone,
            )
        })
        .collect();
    let expected = [
        (alone.id.clone(), End::Executed, at(8), None, false, Some(at(9))),
        (refused.id.clone(), End::Rejected, at(6), Some(at(6)), false, None),
        (edited.id.clone(), End::Executed, at(5), Some(at(4)), true, None),
        (plain.id.clone(), End::Executed, at(2), Some(at(1)), false, None),
    ];
    assert_eq!(found, expected);
    assert!(
        ended.iter().all(|one| one.kinds == [ActionKind::CREATE_NOTE].into()),
        "a text that speaks of tasks writes none: {ended:?}"
    );
    assert_eq!(bed.store.ended_actions(low, at(5), 100).await.expect("reads").len(), 2);
    assert_eq!(bed.store.ended_actions(low, at(0), 1).await.expect("reads").len(), 1);

    let write = Write::CreateTask {
        subject: "s".to_owned(),
        body: "b".to_owned(),
        due: Day::from_number(1),
        priority: perennial_core::action::Priority::Normal,
        assignee: None,
    };
    let fields = Write::UpdateAccount { fields: [].into() };
    let deal = Write::UpdateOpportunity {
        opportunity: "o".to_owned(),
        crm_id: None,
        next_step: None,
        stage: None,
        seen: [].into(),
    };
    let role = Write::SetContactRole {
        opportunity: "o".to_owned(),
        crm_id: None,
        contact: "c".to_owned(),
        contact_name: None,
        role: perennial_core::signal::ContactRole::Champion,
        seen: None,
    };
    for (subject, write) in [("task", write), ("field", fields), ("deal", deal), ("role", role)] {
        let kind = write.kind();
        let mut new = of_tier(1, subject, ActionState::Pending, Tier::STRATEGIC);
        let mut effects: Vec<perennial_core::action::Effect> =
            perennial_core::replay::read("effects", &new.row.effects).expect("reads");
        effects[0].write = write;
        new.row.effects = canonical(&effects);
        let row = put(&bed, new).await;
        does(&bed, &row, "reject", ActionState::Rejected, at(11)).await;
        let ended = bed
            .store
            .ended_actions(Tier::STRATEGIC, at(0), 100)
            .await
            .expect("reads");
        let one = ended.iter().find(|one| one.action == row.id).expect("ended");
        assert_eq!(one.kinds, [ActionKind::CREATE_NOTE, kind].into());
    }
}

async fn alone_effect(bed: &Bed, row: &ActionRow) -> SentEffect {
    let effects = bed.store.effects_of(&row.id).await.expect("reads");
    bed.store.sent_effect(effects[0].effect.id.as_str()).await.expect("one")
}

async fn a_promotion_changes_only_from_where_it_was_judged_and_each_change_is_in_the_ledger(bed: Bed) {
    let segment = Segment {
        action: ActionKind::UPDATE_FIELD,
        tier: Tier::LOW_TOUCH,
    };
    let row = |promotion: Promotion, person: Option<&str>| PromotionRow {
        segment,
        promotion,
        person: person.map(str::to_owned),
        reason: Some("because".to_owned()),
        content: Hash::of(b"content"),
        figures: Figures {
            decided: 50,
            unedited: 49,
            ..Figures::default()
        },
    };
    let entry = |kind: &str| LedgerDraft {
        kind: kind.to_owned(),
        reference: segment.to_string(),
        body: "{}".to_owned(),
    };
    let change = async |from, to: &PromotionRow, kind: &str| {
        let changed = bed.store.change_promotion(from, to, &entry(kind)).await;
        changed.expect("answers")
    };
    let proposed = row(Promotion::NEW.becomes(Standing::Proposed, at(1)), None);
    assert!(change(Promotion::NEW, &proposed, "promotion_proposed").await);
    assert!(!change(Promotion::NEW, &proposed, "promotion_proposed").await, "once");
    let granted = row(proposed.promotion.becomes(Standing::Granted, at(2)), Some("vera"));
    let refused = row(proposed.promotion.becomes(Standing::Refused, at(2)), Some("max"));
    assert!(change(proposed.promotion, &granted, "promotion_granted").await);
    assert!(
        !change(proposed.promotion, &refused, "promotion_refused").await,
        "vera was first"
    );
    assert_eq!(
        bed.store.promotions().await.expect("reads"),
        std::slice::from_ref(&granted)
    );
    let demoted = row(granted.promotion.becomes(Standing::Demoted, at(3)), None);
    // Two engines look at the same moment.
    let ending = entry("demoted");
    let (one, two) = tokio::join!(
        bed.store.change_promotion(granted.promotion, &demoted, &ending),
        bed.store.change_promotion(granted.promotion, &demoted, &ending),
    );
    assert!(one.expect("answers") ^ two.expect("answers"));
    let standings = bed.store.standings().await.expect("reads");
    assert_eq!(standings[&segment].standing, Standing::Demoted);
    assert_eq!(standings[&segment].counts_after, at(3));
    let ledger = bed.store.ledger_page(0, 100).await.expect("reads");
    let kinds: Vec<&str> = ledger.iter().map(|entry| entry.kind.as_str()).collect();
    assert_eq!(kinds, ["promotion_proposed", "promotion_granted", "demoted"]);
    let stranger = Store::open(&bed.url, TenantId(2), &Options::default())
        .await
        .expect("opens");
    assert!(stranger.promotions().await.expect("reads").is_empty());
    stranger.close().await;
}
