//! What is known of fields, conflicts with people's edits, what was undone, the calls of a day, sealed tokens, and signals that
//! are no news.

use perennial_core::action::{ActionState, EffectState};
use perennial_core::replay::Hash;
use perennial_core::signal::{Account, Crm, Fact, FactKind};
use perennial_core::time::Timestamp;

use super::bed::{account_id, action, at, commit, run_id, signal};
use super::decisions::transition;
use super::effects::outcome;
use super::{Bed, both};
use crate::*;

both!(
    a_conflict_waits_for_a_person_and_their_word_is_what_may_be_written_over,
    what_is_known_of_a_field_remembers_the_value_before_and_who_put_it_there,
    an_effect_is_found_by_the_beginning_of_its_id_and_undone_once,
    calls_are_counted_by_all_and_the_warning_is_due_once,
    many_at_once_take_no_more_than_the_day_has,
    a_crm_that_has_no_calls_left_gives_none_until_the_wait_is_over,
    a_sealed_token_takes_the_place_of_the_one_before,
    an_echo_is_no_news_and_what_was_never_there_cannot_go,
    a_record_goes_where_it_belonged,
    a_record_that_a_crm_says_has_changed_is_due_until_it_was_read_after_that,
    when_a_crm_was_read_is_kept_and_a_failure_does_not_hide_the_last_success,
);

const SF: &[Crm] = &[Crm::Salesforce];
const MINUTE: i64 = 60_000_000;

async fn leased(bed: &Bed) -> LeasedEffect {
    let new = action(1, "x", ActionState::Permitted, SF);
    bed.store
        .commit_decisions(&run_id(), &[commit(1, "a", vec![new])], at(0))
        .await
        .expect("commits");
    let leases = bed
        .store
        .lease_effects("w", SF, 10, at(1), MINUTE)
        .await
        .expect("leases");
    leases.into_iter().next().expect("an effect")
}

fn learned(value: &str, ours: bool) -> Learned {
    Learned {
        tool: Crm::Salesforce,
        subject: String::new(),
        field: "NextStep".to_owned(),
        value: value.to_owned(),
        ours,
    }
}

async fn a_conflict_waits_for_a_person_and_their_word_is_what_may_be_written_over(bed: Bed) {
    let lease = leased(&bed).await;
    assert_eq!(lease.decided_at, at(0));
    let field = ConflictField {
        field: "NextStep".to_owned(),
        known: Some("a".to_owned()),
        theirs: "b".to_owned(),
        ours: "c".to_owned(),
    };
    let met = EffectOutcome {
        learned: vec![learned("b", false)],
        ..outcome(
            &lease,
            EffectResult::Conflict {
                error: "changed".to_owned(),
                object: "Opportunity".to_owned(),
                record: "006".to_owned(),
                fields: vec![field.clone()],
            },
        )
    };
    let report = bed.store.settle_effects(&[met]).await.expect("settles");
    assert!(report.actions[0].conflict && !report.actions[0].any_failed);
    let known = || async {
        let accounts = std::iter::once(&lease.effect.target.account);
        bed.store.known_fields(accounts).await.expect("reads")
    };
    assert_eq!(known().await[0].what.value, "b", "nothing was known of the field");
    let id = &lease.effect.action;
    let effects = bed.store.effects_of(id).await.expect("reads");
    assert_eq!(effects[0].state, EffectState::Conflict);
    let conflicts = bed.store.conflicts_of(id).await.expect("reads");
    assert_eq!(
        (&conflicts[0].field, conflicts[0].resolution.as_deref()),
        (&field, None)
    );
    let over = || async {
        let effects = std::iter::once((&lease.effect.target.account, &lease.effect.id));
        bed.store.decided_over(effects).await.expect("reads")
    };
    assert!(over().await.is_empty(), "nobody has decided");

    // It waits, a person approves, and it goes out again.
    let row = bed.store.action(id.as_str()).await.expect("reads");
    let pending = transition(&row, ActionState::Pending);
    bed.store.transition(&pending).await.expect("waits");
    let row = bed.store.action(id.as_str()).await.expect("reads");
    let approve = Transition {
        approval: Some(ApprovalRow {
            person: "dana".to_owned(),
            verb: "approve".to_owned(),
            authority: None,
            version: 0,
            roles: "csm".to_owned(),
            reason: None,
            seen: None,
            content: Hash::ZERO,
            at: at(6),
        }),
        outbox: vec![OutboxRow {
            effect: lease.effect.clone(),
            permit: lease.permit.clone(),
            due_at: at(6),
        }],
        ..transition(&row, ActionState::Permitted)
    };
    bed.store.transition(&approve).await.expect("permits");
    let conflicts = bed.store.conflicts_of(id).await.expect("reads");
    assert_eq!(conflicts[0].resolution.as_deref(), Some("ours"));
    assert_eq!(conflicts[0].person.as_deref(), Some("dana"));
    assert_eq!(over().await[0].2, "b");
    let again = bed
        .store
        .lease_effects("w", SF, 10, at(7), MINUTE)
        .await
        .expect("leases");
    assert_eq!((again.len(), again[0].state), (1, EffectState::Waiting));

    // The answer is lost: what was found is kept for the look-up.
    let lost = EffectResult::Unknown {
        error: "lost".to_owned(),
        due_at: at(8),
        image: Some("{\"x\":1}".to_owned()),
    };
    bed.store
        .settle_effects(&[outcome(&again[0], lost)])
        .await
        .expect("settles");
    let third = bed
        .store
        .lease_effects("w", SF, 10, at(9), MINUTE)
        .await
        .expect("leases");
    assert_eq!(third[0].image.as_deref(), Some("{\"x\":1}"));
}

async fn what_is_known_of_a_field_remembers_the_value_before_and_who_put_it_there(bed: Bed) {
    let account = account_id(1);
    let learn = async |value: &str, ours: bool, minute: i64| {
        let seen = [(account.clone(), learned(value, ours))];
        bed.store.learn_fields(&seen, at(minute)).await.expect("learns");
        let known = bed.store.known_fields(std::iter::once(&account)).await.expect("reads");
        let [known] = &known[..] else { panic!("one field") };
        (
            known.what.value.clone(),
            known.what.ours,
            known.since,
            known.before.clone(),
        )
    };
    let text = |text: &str| text.to_owned();
    assert_eq!(learn("a", true, 1).await, (text("a"), true, at(1), text("")));
    assert_eq!(
        learn("a", false, 2).await,
        (text("a"), true, at(1), text("")),
        "seen again, still ours"
    );
    assert_eq!(learn("b", false, 3).await, (text("b"), false, at(3), text("a")));
    assert_eq!(learn("b", true, 4).await, (text("b"), true, at(3), text("a")));
    let other = bed.store.known_fields(std::iter::once(&account_id(2))).await;
    assert!(other.expect("reads").is_empty());
}

async fn an_effect_is_found_by_the_beginning_of_its_id_and_undone_once(bed: Bed) {
    let lease = leased(&bed).await;
    let (account, id) = (&lease.effect.target.account, &lease.effect.id);
    bed.store
        .settle_effects(&[super::effects::done(&lease)])
        .await
        .expect("settles");
    let sent = bed.store.sent_effect(&id.as_str()[..8]).await.expect("one");
    assert!(sent.effect == lease.effect && sent.receipt.is_some() && sent.undone.is_none());
    let undone = UndoRow {
        person: "dana".to_owned(),
        at: at(9),
        receipt: sent.receipt.clone().expect("a receipt"),
    };
    let entry = LedgerDraft {
        kind: "undone".to_owned(),
        reference: id.to_string(),
        body: "{}".to_owned(),
    };
    let put = || {
        bed.store
            .put_undone((account, id), &undone, &[], std::slice::from_ref(&entry))
    };
    put().await.expect("stores");
    assert_eq!(
        bed.store.sent_effect(id.as_str()).await.expect("one").undone,
        Some(undone.clone())
    );
    assert!(matches!(
        bed.store.sent_effect("no such").await,
        Err(StoreError::NotFound { .. })
    ));
}

fn rules(daily: u64) -> CallRules {
    CallRules {
        daily: Some(daily),
        assumed: 7,
        per_second: 10,
        burst: 50,
    }
}

async fn calls_are_counted_by_all_and_the_warning_is_due_once(bed: Bed) {
    let take = async |share, most, at: Timestamp| {
        let taken = bed.store.take_calls(Crm::HubSpot, share, most, &rules(100), at).await;
        taken.expect("counts")
    };
    let first = take(95, 40, at(0)).await;
    assert_eq!((first.calls, first.used, first.limit, first.warn), (40, 40, 100, false));
    // The bucket has ten left, and ten more each second.
    let second = take(95, 40, at(0)).await;
    assert_eq!(second.calls, 10);
    let third = take(95, 40, at(0)).await;
    assert_eq!((third.calls, third.wait_us, third.day_spent), (0, 100_001, false));
    let fourth = take(95, 40, at(1)).await;
    assert_eq!((fourth.calls, fourth.used, fourth.warn), (40, 90, true));
    let fifth = take(95, 40, at(2)).await;
    assert_eq!((fifth.calls, fifth.warn), (5, false), "once");
    let sixth = take(95, 40, at(3)).await;
    assert!(sixth.calls == 0 && sixth.day_spent && sixth.wait_us > 0);
    assert_eq!(
        take(100, 40, at(3)).await.calls,
        5,
        "what is urgent is served to the last"
    );
    // Others use the same account: the CRM knows.
    let day = at(24 * 60 + 5);
    assert_eq!(take(95, 10, day).await.used, 10, "a new day");
    let heard = bed.store.hear_calls(Crm::HubSpot, 60, 80, &rules(100), day).await;
    heard.expect("notes");
    let taken = take(95, 40, at(24 * 60 + 6)).await;
    assert_eq!((taken.calls, taken.used, taken.limit), (16, 76, 80), "95 % of 80");
    let budgets = bed.store.call_budgets().await.expect("reads");
    assert_eq!((budgets.len(), budgets[0].told), (1, Some(80)));
}

async fn a_crm_that_has_no_calls_left_gives_none_until_the_wait_is_over(bed: Bed) {
    let take = async |share, at: Timestamp| {
        let taken = bed.store.take_calls(Crm::HubSpot, share, 5, &rules(100), at).await;
        taken.expect("counts")
    };
    assert_eq!(take(95, at(0)).await.calls, 5);
    let minutes_10 = 600_000_000;
    let refused = bed
        .store
        .refuse_calls(Crm::HubSpot, minutes_10, &rules(100), at(1))
        .await;
    refused.expect("notes");
    let budget = &bed.store.call_budgets().await.expect("reads")[0];
    let until = budget.refused_until(&rules(100)).expect("refused");
    assert!((until.us() - at(11).us()).abs() <= 1_000_000, "{until}");
    assert_eq!(
        (budget.used, budget.left(&rules(100))),
        (5, 95),
        "the count of the day goes on"
    );
    for share in [95, 100] {
        let taken = take(share, at(6)).await;
        assert!(taken.calls == 0 && taken.refused && !taken.day_spent, "{taken:?}");
        assert_eq!(taken.wait_us / 1_000_000, 300, "half of it is over");
    }
    // A second refusal meanwhile makes it no shorter.
    let again = bed
        .store
        .refuse_calls(Crm::HubSpot, 1_000_000, &rules(100), at(6))
        .await;
    again.expect("notes");
    assert_eq!(take(95, at(10)).await.calls, 0);
    let after = take(95, at(12)).await;
    assert!(after.calls > 0 && !after.refused, "{after:?}");
    assert_eq!(
        bed.store.call_budgets().await.expect("reads")[0].refused_until(&rules(100)),
        None
    );
}

async fn many_at_once_take_no_more_than_the_day_has(bed: Bed) {
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let store = bed.store.clone();
            tokio::spawn(async move {
                let wide = CallRules {
                    burst: 10_000,
                    ..rules(100)
                };
                let mut taken = 0;
                for _ in 0..5 {
                    let calls = store.take_calls(Crm::Salesforce, 95, 7, &wide, at(0)).await;
                    taken += calls.expect("counts").calls;
                }
                taken
            })
        })
        .collect();
    let mut all = 0;
    for task in tasks {
        all += task.await.expect("a task");
    }
    assert_eq!(all, 95);
}

async fn a_sealed_token_takes_the_place_of_the_one_before(bed: Bed) {
    assert_eq!(bed.store.sealed_token(Crm::HubSpot).await.expect("reads"), None);
    for (sealed, expires_at) in [("one", None), ("two", Some(at(30)))] {
        let token = SealedToken {
            sealed: sealed.to_owned(),
            expires_at,
        };
        bed.store
            .put_sealed_token(Crm::HubSpot, &token, at(1))
            .await
            .expect("stores");
        assert_eq!(bed.store.sealed_token(Crm::HubSpot).await.expect("reads"), Some(token));
    }
}

async fn an_echo_is_no_news_and_what_was_never_there_cannot_go(bed: Bed) {
    let named = |name: &str, revision: i64| {
        let fact = Fact::Account(Account {
            name: Some(name.to_owned()),
            ..Account::default()
        });
        SignalRow::of(signal(Belongs::Account(account_id(1)), "A-0001", revision, fact)).restating()
    };
    let gone = |account: usize, revision: i64| {
        let id = format!("A-{account:04}");
        let fact = Fact::Gone(FactKind::Account);
        let row = SignalRow::of(signal(Belongs::Account(account_id(account)), &id, revision, fact));
        row.restating().only_of_known()
    };
    let put = async |row: SignalRow| bed.store.insert_signals(&mut [row]).await.expect("stores")[0];
    assert_eq!(put(named("as it was", 1)).await, Stored::New);
    let echo = named("as we wrote it", 2).no_echo(&named("as it was", 2));
    assert_eq!(put(echo).await, Stored::Duplicate);
    let edited = named("as they wrote it", 3).no_echo(&named("something else", 3));
    assert_eq!(put(edited).await, Stored::New);
    assert_eq!(put(gone(2, 4)).await, Stored::Duplicate);
    assert_eq!(put(gone(1, 5)).await, Stored::New);
    assert_eq!(put(gone(1, 6)).await, Stored::Duplicate);
}

async fn a_record_goes_where_it_belonged(bed: Bed) {
    let fact = Fact::Contact(perennial_core::signal::Contact::default());
    let held = signal(Belongs::Account(account_id(7)), "C-1", 1, fact);
    let (source, id) = (held.signal.source.clone(), held.signal.external_id.clone());
    bed.store
        .insert_signals(&mut [SignalRow::of(held).restating()])
        .await
        .expect("stores");
    let gone = |id: &_, n: i64| SignalRow::gone(&source, FactKind::Contact, id, at(n));
    let put = async |row: SignalRow| bed.store.insert_signals(&mut [row]).await.expect("stores")[0];
    assert_eq!(
        put(gone(&perennial_core::ids::ExternalId::new("C-2"), 2)).await,
        Stored::Duplicate
    );
    assert_eq!(put(gone(&id, 2)).await, Stored::New);
    assert_eq!(put(gone(&id, 3)).await, Stored::Duplicate);
    bed.store.link_signals().await.expect("links");
    let account = account_id(7);
    let signals = bed
        .store
        .account_signals(std::slice::from_ref(&account))
        .await
        .expect("reads");
    let facts: Vec<&Fact> = signals[&account].iter().map(|signal| &signal.fact).collect();
    assert_eq!(facts.len(), 2);
    assert!(facts.contains(&&Fact::Gone(FactKind::Contact)));
}

async fn a_record_that_a_crm_says_has_changed_is_due_until_it_was_read_after_that(bed: Bed) {
    let named = |ids: &[&str]| {
        ids.iter()
            .map(|id| ("companies".to_owned(), (*id).to_owned()))
            .collect()
    };
    let due = async || bed.store.due_records(Crm::HubSpot, 10).await.expect("reads");
    let mark = async |ids: &[&str], n| {
        let marked = bed.store.mark_due_records(Crm::HubSpot, &named(ids), at(n)).await;
        marked.expect("marks");
    };
    mark(&["1", "2"], 1).await;
    mark(&["2"], 2).await;
    let read = due().await;
    let ids: Vec<&str> = read.iter().map(|due| due.record.as_str()).collect();
    assert_eq!(ids, ["1", "2"]);
    // A word that comes while they are read.
    mark(&["1"], 3).await;
    bed.store
        .settle_due_records(Crm::HubSpot, &read)
        .await
        .expect("settles");
    let left = due().await;
    assert_eq!(left.iter().map(|due| due.record.as_str()).collect::<Vec<_>>(), ["1"]);
    bed.store
        .settle_due_records(Crm::HubSpot, &left)
        .await
        .expect("settles");
    assert_eq!(due().await, []);
    assert_eq!(bed.store.due_records(Crm::Salesforce, 10).await.expect("reads"), []);
}

async fn when_a_crm_was_read_is_kept_and_a_failure_does_not_hide_the_last_success(bed: Bed) {
    let store = &bed.store;
    let reading = async || store.crm_readings().await.expect("reads").pop();
    assert_eq!(reading().await, None);
    store.begin_reading(Crm::HubSpot, at(1)).await.expect("begins");
    store.end_reading(Crm::HubSpot, at(1), None).await.expect("ends");
    store.begin_reading(Crm::HubSpot, at(2)).await.expect("begins");
    // What began before has nothing more to say.
    store
        .end_reading(Crm::HubSpot, at(1), Some("late"))
        .await
        .expect("ends");
    let under_way = reading().await.expect("one");
    assert_eq!(
        (under_way.begun_at, under_way.read_at, under_way.failed),
        (at(2), Some(at(1)), None)
    );
    store
        .end_reading(Crm::HubSpot, at(2), Some("the CRM"))
        .await
        .expect("ends");
    let failed = reading().await.expect("one");
    assert_eq!(
        (failed.read_at, failed.failed.as_deref()),
        (Some(at(1)), Some("the CRM"))
    );
}
