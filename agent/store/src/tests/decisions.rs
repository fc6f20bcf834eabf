//! Decisions, actions, transitions, drafts, plans, runs, the ledger.

use std::collections::BTreeSet;

use perennial_core::action::{ActionKind, ActionState};
use perennial_core::explore::{LoggedChoice, LoggedOption};
use perennial_core::ids::{AccountId, ActionId, OwnerId, PlaybookId, RunId};
use perennial_core::number::Micro;
use perennial_core::replay::Hash;
use perennial_core::signal::Crm;

use super::bed::{account_id, action, at, commit, run_id, run_row};
use super::{Bed, both};
use crate::*;

both!(
    committing_twice_changes_nothing,
    a_newer_action_takes_the_place_of_a_waiting_one,
    an_action_that_changed_meanwhile_is_stale,
    a_snoozed_action_comes_back_and_an_old_one_expires,
    a_prefix_must_stand_for_one_action,
    the_queue_is_ordered_by_rank,
    the_ledger_is_a_chain_and_shows_an_altered_entry,
    a_second_run_waits_for_the_first,
    a_day_plan_and_drafts_replace_the_ones_before,
    decisions_are_read_by_account_and_run,
    the_first_choice_of_a_day_stands_and_is_read_by_account_and_day,
);

async fn committing_twice_changes_nothing(bed: Bed) {
    let batch = [
        commit(
            1,
            "a",
            vec![action(1, "x", ActionState::Permitted, &[Crm::Salesforce, Crm::HubSpot])],
        ),
        commit(2, "b", vec![action(2, "x", ActionState::Pending, &[Crm::Salesforce])]),
    ];
    let report = bed
        .store
        .commit_decisions(&run_id(), &batch, at(1))
        .await
        .expect("commits");
    let expected = CommitReport {
        decisions_new: 2,
        actions_new: 2,
        effects_new: 2,
        ..CommitReport::default()
    };
    assert_eq!(report, expected);
    let before = (
        bed.store.stats().await.expect("reads").rows,
        bed.store.ledger_head().await.expect("reads"),
    );
    let report = bed
        .store
        .commit_decisions(&run_id(), &batch, at(2))
        .await
        .expect("commits");
    let expected = CommitReport {
        decisions_known: 2,
        actions_known: 2,
        ..CommitReport::default()
    };
    assert_eq!(report, expected);
    let after = (
        bed.store.stats().await.expect("reads").rows,
        bed.store.ledger_head().await.expect("reads"),
    );
    assert_eq!(before, after);
    assert_eq!(after.1.seq, 4, "two decisions, two intents");
    let stored = bed
        .store
        .action(batch[0].actions[0].row.id.as_str())
        .await
        .expect("reads");
    assert_eq!(stored.updated_at, at(1));
    assert_eq!(
        ActionRow {
            updated_at: at(0),
            asked_since: None,
            ..stored
        },
        batch[0].actions[0].row
    );
}

async fn a_newer_action_takes_the_place_of_a_waiting_one(bed: Bed) {
    let waiting = action(1, "old", ActionState::Pending, &[Crm::Salesforce]);
    let running = action(1, "running", ActionState::Permitted, &[Crm::Salesforce]);
    let ids = vec![waiting.row.id.clone(), running.row.id.clone()];
    bed.store
        .commit_decisions(&run_id(), &[commit(1, "a", vec![waiting, running])], at(1))
        .await
        .expect("commits");
    let mut next = commit(1, "b", vec![action(1, "new", ActionState::Pending, &[Crm::Salesforce])]);
    next.supersede = ids;
    let report = bed
        .store
        .commit_decisions(&run_id(), &[next], at(2))
        .await
        .expect("commits");
    assert_eq!(report.superseded, 1);
    let states: Vec<ActionState> = bed.store.actions_of(&[account_id(1)]).await.expect("reads")[&account_id(1)]
        .iter()
        .map(|a| a.state)
        .collect();
    assert_eq!(
        states,
        [ActionState::Superseded, ActionState::Permitted, ActionState::Pending]
    );
}

pub(crate) fn transition(row: &ActionRow, to: ActionState) -> Transition {
    Transition {
        play: None,
        account: row.account.clone(),
        action: row.id.clone(),
        from: row.state,
        version: row.version,
        to,
        effects: None,
        last_editor: None,
        snoozed_until: None,
        reassign: None,
        asked_role: None,
        approval: None,
        outbox: Vec::new(),
        holds: Vec::new(),
        withdraw: None,
        ledger: Vec::new(),
        at: at(5),
    }
}

async fn one_pending(bed: &Bed) -> ActionRow {
    let pending = action(1, "x", ActionState::Pending, &[Crm::Salesforce]);
    let id = pending.row.id.clone();
    bed.store
        .commit_decisions(&run_id(), &[commit(1, "a", vec![pending])], at(1))
        .await
        .expect("commits");
    bed.store.action(id.as_str()).await.expect("reads")
}

async fn an_action_that_changed_meanwhile_is_stale(bed: Bed) {
    let row = one_pending(&bed).await;
    let permitted = action(1, "x", ActionState::Permitted, &[Crm::Salesforce]);
    let approve = Transition {
        approval: Some(ApprovalRow {
            person: "eva".to_owned(),
            verb: "approve".to_owned(),
            authority: None,
            version: 2,
            roles: "csm".to_owned(),
            reason: None,
            seen: Some(Hash::of(b"seen")),
            content: Hash::of(b"content"),
            at: at(5),
        }),
        outbox: permitted.outbox.clone(),
        ledger: vec![LedgerDraft {
            kind: "intent".to_owned(),
            reference: row.id.to_string(),
            body: "{}".to_owned(),
        }],
        last_editor: Some("eva".to_owned()),
        ..transition(&row, ActionState::Permitted)
    };
    let seq = bed.store.ledger_head().await.expect("reads").seq;
    bed.store.transition(&approve).await.expect("changes");
    let stale = bed.store.transition(&approve).await.expect_err("a second approval");
    assert!(matches!(stale, StoreError::Stale { .. }), "{stale}");
    let now = bed.store.action(row.id.as_str()).await.expect("reads");
    assert_eq!((now.state, now.version), (ActionState::Permitted, 2));
    assert_eq!((now.last_editor.as_deref(), now.updated_at), (Some("eva"), at(5)));
    assert_eq!(
        bed.store.ledger_head().await.expect("reads").seq,
        seq + 1,
        "the stale one wrote nothing"
    );
    let approvals = bed.store.approvals_of(&row.id).await.expect("reads");
    assert_eq!(approvals, [approve.approval.clone().expect("an approval")]);
    assert_eq!(bed.store.effects_of(&row.id).await.expect("reads").len(), 1);
    assert_eq!(
        bed.store.effect_counts(Some(&run_id())).await.expect("reads").waiting,
        1
    );
}

async fn a_snoozed_action_comes_back_and_an_old_one_expires(bed: Bed) {
    let row = one_pending(&bed).await;
    let snooze = Transition {
        snoozed_until: Some(at(60)),
        ..transition(&row, ActionState::Snoozed)
    };
    bed.store.transition(&snooze).await.expect("changes");
    assert_eq!(bed.store.due_wakes(at(59), 10).await.expect("reads"), []);
    let due = bed.store.due_wakes(at(60), 10).await.expect("reads");
    assert_eq!(due.len(), 1);
    bed.store
        .transition(&transition(&due[0], ActionState::Pending))
        .await
        .expect("changes");
    assert_eq!(bed.store.due_wakes(at(60), 10).await.expect("reads"), []);
    assert_eq!(
        bed.store.action(row.id.as_str()).await.expect("reads").snoozed_until,
        None
    );

    let mut old = action(2, "x", ActionState::Pending, &[]);
    old.row.expires_at = Some(at(30));
    bed.store
        .commit_decisions(&run_id(), &[commit(2, "a", vec![old])], at(1))
        .await
        .expect("commits");
    assert_eq!(bed.store.due_expiries(at(29), 10).await.expect("reads"), []);
    assert_eq!(bed.store.due_expiries(at(30), 10).await.expect("reads").len(), 1);
}

async fn a_prefix_must_stand_for_one_action(bed: Bed) {
    let actions: Vec<NewAction> = (0..20)
        .map(|i| action(1, &format!("{i}"), ActionState::Pending, &[]))
        .collect();
    let ids: Vec<String> = actions.iter().map(|action| action.row.id.to_string()).collect();
    bed.store
        .commit_decisions(&run_id(), &[commit(1, "a", actions)], at(1))
        .await
        .expect("commits");
    for id in &ids {
        assert_eq!(bed.store.action(id).await.expect("exact").id.as_str(), id);
        assert_eq!(bed.store.action(&id[..20]).await.expect("unique").id.as_str(), id);
    }
    let ambiguous = bed.store.action("act_").await.expect_err("twenty");
    assert!(
        matches!(&ambiguous, StoreError::Ambiguous { matches, .. } if matches.len() == 5),
        "{ambiguous}"
    );
    let unknown = bed.store.action("act_zz").await.expect_err("none");
    assert!(matches!(unknown, StoreError::NotFound { .. }), "{unknown}");
}

async fn the_queue_is_ordered_by_rank(bed: Bed) {
    let mut actions = Vec::new();
    for (i, rank) in [Some(5), None, Some(9), Some(5), Some(-3)].into_iter().enumerate() {
        let state = if i % 2 == 0 {
            ActionState::Pending
        } else {
            ActionState::Edited
        };
        let mut action = action(i, "x", state, &[]);
        action.row.rank_micro = rank;
        action.row.owner = Some(OwnerId::new(if i == 2 { "eva" } else { "ben" }));
        actions.push(commit(i, "a", vec![action]));
    }
    bed.store
        .commit_decisions(&run_id(), &actions, at(1))
        .await
        .expect("commits");
    let waiting = QueueFilter {
        states: vec![ActionState::Pending, ActionState::Edited],
        ..QueueFilter::default()
    };
    let all = bed.store.queue(&waiting).await.expect("reads");
    let ranks: Vec<Option<i64>> = all.iter().map(|action| action.rank_micro).collect();
    assert_eq!(ranks, [Some(9), Some(5), Some(5), Some(-3), None]);
    assert!(all[1].id < all[2].id);
    let count = async |filter: QueueFilter| bed.store.queue(&filter).await.expect("reads").len();
    assert_eq!(
        count(QueueFilter {
            owner: Some(OwnerId::new("ben")),
            ..waiting.clone()
        })
        .await,
        4
    );
    assert_eq!(
        count(QueueFilter {
            account: Some(account_id(3)),
            ..waiting.clone()
        })
        .await,
        1
    );
    let both = QueueFilter {
        account: Some(account_id(3)),
        owner: Some(OwnerId::new("eva")),
        ..waiting.clone()
    };
    assert_eq!(count(both).await, 0);
    assert_eq!(
        count(QueueFilter {
            limit: 2,
            ..waiting.clone()
        })
        .await,
        2
    );
    let kinds = vec![perennial_core::action::ActionKind::SEND_EMAIL];
    assert_eq!(count(QueueFilter { kinds, ..waiting }).await, 0);
}

async fn verify(store: &Store) -> std::result::Result<i64, i64> {
    let (mut previous, mut seq) = (Hash::ZERO, 0);
    loop {
        let page = store.ledger_page(seq, 3).await.expect("reads");
        if page.is_empty() {
            assert_eq!(
                store.ledger_head().await.expect("reads"),
                LedgerHead { seq, hash: previous }
            );
            return Ok(seq);
        }
        for entry in page {
            if entry.seq != seq + 1 || entry.previous != previous || entry_hash(&entry) != entry.hash {
                return Err(entry.seq);
            }
            (previous, seq) = (entry.hash, entry.seq);
        }
    }
}

async fn the_ledger_is_a_chain_and_shows_an_altered_entry(bed: Bed) {
    assert_eq!(verify(&bed.store).await, Ok(0));
    for number in 0..4 {
        let action = action(number, "x", ActionState::Permitted, &[Crm::Salesforce]);
        bed.store
            .commit_decisions(&run_id(), &[commit(number, "a", vec![action])], at(1))
            .await
            .expect("commits");
    }
    let policy = LedgerDraft {
        kind: "policy".to_owned(),
        reference: "content".to_owned(),
        body: "{\"ü\":\"\\u0000\"}".to_owned(),
    };
    bed.store.append_ledger(None, &[policy], at(2)).await.expect("appends");
    assert_eq!(verify(&bed.store).await, Ok(9));
    bed.tamper("update ledger set body = '{} ' where seq = 5").await;
    assert_eq!(verify(&bed.store).await, Err(5));
}

async fn a_second_run_waits_for_the_first(bed: Bed) {
    let (one, two) = (RunId::new("run_1"), RunId::new("run_2"));
    bed.store.start_run(&run_row(one.clone(), at(0))).await.expect("starts");
    bed.store
        .start_run(&run_row(one.clone(), at(0)))
        .await
        .expect("is taken up again");
    let busy = bed
        .store
        .start_run(&run_row(two.clone(), at(0)))
        .await
        .expect_err("one at a time");
    assert!(
        matches!(&busy, StoreError::RunInProgress { run, .. } if *run == one),
        "{busy}"
    );
    bed.store.heartbeat_run(&one, at(3)).await.expect("lives");
    bed.store
        .start_run(&run_row(two.clone(), at(3)))
        .await
        .expect_err("one at a time");
    bed.store
        .start_run(&run_row(two.clone(), at(4)))
        .await
        .expect("the first is dead");
    bed.store.finish_run(&two, "{}", at(5)).await.expect("finishes");
    let last = bed.store.last_run().await.expect("reads").expect("a run");
    assert_eq!(
        (last.id, last.summary.as_deref(), last.finished_at),
        (two.clone(), Some("{}"), Some(at(5)))
    );
    assert!(matches!(
        bed.store.heartbeat_run(&two, at(6)).await,
        Err(StoreError::NotFound { .. })
    ));
}

async fn a_day_plan_and_drafts_replace_the_ones_before(bed: Bed) {
    let row = one_pending(&bed).await;
    let plan = |position| vec![("eva".to_owned(), row.id.clone(), position)];
    bed.store
        .set_day_plan(&run_id(), at(0), None, &plan(3))
        .await
        .expect("plans");
    bed.store
        .set_day_plan(&run_id(), at(1), None, &plan(1))
        .await
        .expect("plans");
    assert_eq!(
        bed.store.action(row.id.as_str()).await.expect("reads").day_position,
        Some(1)
    );
    bed.store
        .set_day_plan(&run_id(), at(2), None, &[])
        .await
        .expect("plans");
    assert_eq!(
        bed.store.action(row.id.as_str()).await.expect("reads").day_position,
        None
    );

    let draft = |text: &str| DraftRow {
        account: row.account.clone(),
        action: row.id.clone(),
        kind: "qbr".to_owned(),
        format: "md".to_owned(),
        text: text.to_owned(),
        hash: Hash::of(text.as_bytes()),
    };
    bed.store
        .put_drafts(&[draft("one"), draft("two")])
        .await
        .expect("stores");
    bed.store.put_drafts(&[draft("three")]).await.expect("stores");
    assert_eq!(bed.store.drafts_of(&row.id).await.expect("reads"), [draft("three")]);
}

async fn decisions_are_read_by_account_and_run(bed: Bed) {
    let (one, two) = (commit(1, "a", vec![]), commit(1, "b", vec![]));
    bed.store
        .commit_decisions(&run_id(), std::slice::from_ref(&one), at(1))
        .await
        .expect("commits");
    let later = RunId::new("run_later");
    bed.store
        .commit_decisions(&later, &[one.clone(), two.clone(), commit(2, "a", vec![])], at(2))
        .await
        .expect("commits");
    assert_eq!(
        bed.store.decision(&one.decision.id).await.expect("reads"),
        Some(one.decision.clone())
    );
    let latest = bed
        .store
        .latest_decisions(&[account_id(1), account_id(2), account_id(3)])
        .await
        .expect("reads");
    assert_eq!(latest.len(), 2);
    assert_eq!(latest[&account_id(1)], two.decision);
    assert_eq!(
        bed.store.decisions_of(&account_id(1), 10).await.expect("reads").len(),
        2
    );
    let page = bed.store.decisions_of_run(&later, None, 2).await.expect("reads");
    let rest = bed
        .store
        .decisions_of_run(&later, page.last().map(|(id, _)| id), 2)
        .await
        .expect("reads");
    assert_eq!(
        (page.len(), rest.len()),
        (2, 1),
        "a decision that was there counts for the later run too"
    );
}

async fn the_first_choice_of_a_day_stands_and_is_read_by_account_and_day(bed: Bed) {
    let choice = |number: usize, day: i64, propensity: i64| LoggedChoice {
        account: account_id(number),
        day: at(0).day().plus(day),
        owner: None,
        as_of: at(0),
        content: Hash::of(b"content"),
        seed: Some(7),
        tier: None,
        risk_micro: None,
        options: vec![LoggedOption {
            action: ActionId::new("act"),
            playbook: PlaybookId::new("a"),
            kind: ActionKind::CREATE_TASK,
            subject: "account".to_owned(),
            propensity_micro: Micro(propensity),
            executed: true,
            drawn: Some(true),
        }],
    };
    let first = [choice(1, 0, 900_000), choice(1, 1, 500_000), choice(2, 0, 100_000)];
    bed.store.log_choices(&run_id(), &first).await.expect("logs");
    // A later plan of the day does not change what was logged; another account's is added.
    let later = [choice(1, 0, 1_000_000), choice(3, 0, 1)];
    bed.store.log_choices(&run_id(), &later).await.expect("logs");
    bed.store.log_choices(&run_id(), &[]).await.expect("logs nothing");
    let (one, two) = (account_id(1), account_id(2));
    let read = |accounts: BTreeSet<&AccountId>, from: i64, to: i64| {
        let (store, days) = (bed.store.clone(), at(0).day());
        let accounts: BTreeSet<AccountId> = accounts.into_iter().cloned().collect();
        async move {
            let accounts = accounts.iter().collect();
            store
                .choices_of(&accounts, days.plus(from), days.plus(to))
                .await
                .expect("reads")
        }
    };
    assert_eq!(read(BTreeSet::from([&one, &two]), 0, 2).await, first);
    assert_eq!(read(BTreeSet::from([&one]), 1, 2).await, first[1..2]);
    assert_eq!(read(BTreeSet::from([&one]), 2, 9).await, []);
    assert_eq!(read(BTreeSet::new(), 0, 9).await, []);
}
