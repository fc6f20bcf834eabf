//! Signals: idempotent, free of order, linked, hashed.

use perennial_core::ids::AccountId;
use perennial_core::replay::Hash;
use perennial_core::signal::{Fact, Owner, Signal, Subscription};

use super::bed::{account, account_id, signal, usage};
use super::{Bed, both};
use crate::*;

both!(
    any_order_and_any_batches_give_the_same_state,
    a_conflict_keeps_the_greater_content_whichever_came_first,
    a_signal_by_way_of_another_ends_the_same_whichever_came_first,
    a_record_that_moves_takes_its_followers_along_in_any_order,
    accounts_are_listed_by_bytes_and_orphans_are_found,
    what_was_stored_comes_back,
    an_unknown_record_is_reported,
    records_that_must_be_new_are_stored_with_their_entry_or_not_at_all,
);

/// A small xorshift, so that a test's shuffle is the same every time.
fn shuffle<T>(items: &mut [T], mut seed: u64) {
    for i in (1..items.len()).rev() {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        items.swap(i, (seed % (i as u64 + 1)) as usize);
    }
}

fn subscription(number: usize, revision: i64) -> NewSignal {
    signal(
        Belongs::Account(account_id(number)),
        &format!("S-{number}"),
        revision,
        Fact::Subscription(Subscription::default()),
    )
}

fn sample() -> Vec<NewSignal> {
    let mut all = Vec::new();
    for number in 0..20 {
        all.push(account(number));
        let subscription = subscription(number, 0);
        for day in 0..5 {
            let owner = Belongs::Via(subscription.signal.key());
            all.push(usage(owner, &format!("U-{number}-{day}"), 0, day));
        }
        // Two contents of one revision, and a second revision.
        all.push(usage(Belongs::Account(account_id(number)), "U-x", number as i64, 1));
        all.push(usage(Belongs::Account(account_id(number)), "U-x", number as i64, 2));
        all.push(subscription);
    }
    all.push(signal(Belongs::Portfolio, "O-1", 0, Fact::Owner(Owner::default())));
    all
}

async fn import(bed: &Bed, signals: &[NewSignal], batch: usize) -> Hash {
    bed.tamper("delete from signal").await;
    bed.tamper("delete from signal_moved").await;
    for part in signals.chunks(batch) {
        bed.store.insert_new(part).await.expect("stores");
    }
    bed.store.link_signals().await.expect("links");
    bed.store.state_hash().await.expect("hashes")
}

async fn any_order_and_any_batches_give_the_same_state(bed: Bed) {
    let mut signals = sample();
    let first = import(&bed, &signals, 1_000).await;
    // The same on every database: any change of what is stored shows here.
    assert_eq!(
        first.to_string(),
        "295ac22c7f617422a01bdfd6d2e7892d67537c2fbaf610445f9f3dcd25e57f1f"
    );
    for (seed, batch) in [(1, 1_000), (2, 7), (3, 1)] {
        shuffle(&mut signals, seed);
        assert_eq!(import(&bed, &signals, batch).await, first, "seed {seed}");
    }
    let again = bed.store.insert_new(&signals).await.expect("stores");
    assert!(again.iter().all(|stored| !matches!(stored, Stored::New)));
    let doubled: Vec<NewSignal> = signals.iter().chain(&signals).cloned().collect();
    assert_eq!(import(&bed, &doubled, 50).await, first);
}

async fn a_conflict_keeps_the_greater_content_whichever_came_first(bed: Bed) {
    let one = usage(Belongs::Account(account_id(1)), "U", 5, 1);
    let two = usage(Belongs::Account(account_id(2)), "U", 5, 2);
    let kept = |stored: &[Stored]| match stored {
        [Stored::Conflict { kept }] => *kept,
        other => panic!("{other:?}"),
    };
    let mut states = Vec::new();
    for (a, b) in [(&one, &two), (&two, &one)] {
        bed.tamper("delete from signal").await;
        let stored = bed.store.insert_new(std::slice::from_ref(a)).await.expect("stores");
        assert_eq!(stored, [Stored::New]);
        let first = kept(&bed.store.insert_new(std::slice::from_ref(b)).await.expect("stores"));
        let back = kept(
            &bed.store
                .insert_new(std::slice::from_ref(if first == Kept::Incoming { a } else { b }))
                .await
                .expect("stores"),
        );
        assert_eq!(back, Kept::Existing, "the loser loses again");
        let winner = if first == Kept::Incoming { b } else { a };
        let stored = bed
            .store
            .insert_new(std::slice::from_ref(winner))
            .await
            .expect("stores");
        assert_eq!(stored, [Stored::Duplicate]);
        states.push((first, bed.store.state_hash().await.expect("hashes")));
    }
    assert_eq!(states[0].1, states[1].1);
    assert_ne!(states[0].0, states[1].0, "the other one came first");
    let together = bed
        .store
        .insert_new(&[
            usage(Belongs::Account(account_id(1)), "V", 5, 1),
            usage(Belongs::Account(account_id(1)), "V", 5, 1),
        ])
        .await;
    assert_eq!(together.expect("stores"), [Stored::New, Stored::Duplicate]);
}

async fn a_signal_by_way_of_another_ends_the_same_whichever_came_first(bed: Bed) {
    let target = subscription(1, 0);
    let follower = usage(Belongs::Via(target.signal.key()), "U", 0, 1);
    let third = usage(Belongs::Via(follower.signal.key()), "V", 0, 1);
    let mut hashes = Vec::new();
    for order in [
        [&target, &follower, &third],
        [&third, &follower, &target],
        [&follower, &target, &third],
    ] {
        let signals: Vec<NewSignal> = order.into_iter().cloned().collect();
        hashes.push(import(&bed, &signals, 1).await);
        hashes.push(import(&bed, &signals, 3).await);
        let found = bed.store.account_signals(&[account_id(1)]).await.expect("reads");
        assert_eq!(found[&account_id(1)].len(), 3);
    }
    assert!(hashes.iter().all(|hash| *hash == hashes[0]));
}

async fn a_record_that_moves_takes_its_followers_along_in_any_order(bed: Bed) {
    let old = subscription(1, 1);
    let mut new = subscription(1, 2);
    new.owner = Belongs::Account(account_id(2));
    let follower = usage(Belongs::Via(old.signal.key()), "U", 0, 1);
    let third = usage(Belongs::Via(follower.signal.key()), "V", 0, 1);
    let mut signals = vec![old, new, follower, third];
    let first = import(&bed, &signals, 1).await;
    for seed in 1..12 {
        shuffle(&mut signals, seed);
        assert_eq!(
            import(&bed, &signals, 1 + (seed % 3) as usize).await,
            first,
            "seed {seed}"
        );
        let found = bed.store.account_signals(&[account_id(2)]).await.expect("reads");
        assert_eq!(found[&account_id(2)].len(), 3);
    }
}

async fn accounts_are_listed_by_bytes_and_orphans_are_found(bed: Bed) {
    let names = ["b", "B", "a", "Z", "é", "_"];
    for name in names {
        let mut signal = account(1);
        signal.owner = Belongs::Account(AccountId::new(name));
        signal.signal.external_id = perennial_core::ids::ExternalId::new(name);
        bed.store.insert_new(&[signal]).await.expect("stores");
    }
    let orphan = usage(Belongs::Account(AccountId::new("c")), "U", 0, 1);
    bed.store.insert_new(&[orphan]).await.expect("stores");
    let mut listed = Vec::new();
    let mut after: Option<AccountId> = None;
    loop {
        let page = bed.store.account_ids(after.as_ref(), 4).await.expect("reads");
        listed.extend(page.iter().map(|id| id.as_str().to_owned()));
        after = page.last().cloned();
        if page.len() < 4 {
            break;
        }
    }
    let mut expected = names.map(str::to_owned).to_vec();
    expected.sort();
    assert_eq!(listed, expected);
    // A later export of a record changes nothing about since when the account is known.
    let mut again = account(1);
    let first = again.signal.observed_at;
    again.owner = Belongs::Account(AccountId::new("Z"));
    again.signal.external_id = perennial_core::ids::ExternalId::new("Z");
    again.signal.observed_at = first.plus_days(30);
    again.signal.revision_at = first.plus_days(30);
    bed.store.insert_new(&[again]).await.expect("stores");
    let mut known = bed.store.accounts_known(None, 4).await.expect("reads");
    let after = known.last().map(|(id, _)| id.clone());
    known.extend(bed.store.accounts_known(after.as_ref(), 4).await.expect("reads"));
    let expected: Vec<_> = expected.into_iter().map(|id| (AccountId::new(id), first)).collect();
    assert_eq!(known, expected);
    assert_eq!(
        bed.store.orphans(5).await.expect("reads"),
        (1, vec![AccountId::new("c")])
    );
}

async fn what_was_stored_comes_back(bed: Bed) {
    let signals = [
        account(1),
        subscription(1, 3),
        signal(Belongs::Portfolio, "O-1", 0, Fact::Owner(Owner::default())),
    ];
    bed.store.insert_new(&signals).await.expect("stores");
    let found = bed
        .store
        .account_signals(&[account_id(1), account_id(9), account_id(1)])
        .await
        .expect("reads");
    assert_eq!(found.len(), 1);
    let expected: Vec<Signal> = signals[..2].iter().map(|new| new.signal.clone()).collect();
    assert_eq!(found[&account_id(1)], expected);
    assert_eq!(
        bed.store.portfolio_signals().await.expect("reads"),
        [signals[2].signal.clone()]
    );
}

async fn an_unknown_record_is_reported(bed: Bed) {
    let follower = usage(Belongs::Via(subscription(1, 0).signal.key()), "U", 0, 1);
    bed.store.insert_new(&[follower]).await.expect("stores");
    let report = bed.store.link_signals().await.expect("links");
    assert_eq!((report.linked, report.unlinked), (0, 1));
    assert_eq!(report.examples, ["usage:test/U"]);
    bed.store.insert_new(&[subscription(1, 0)]).await.expect("stores");
    let report = bed.store.link_signals().await.expect("links");
    assert_eq!((report.linked, report.unlinked), (1, 0));
    assert_eq!(bed.store.link_signals().await.expect("links"), LinkReport::default());
}

impl Store {
    /// Stores signals as they come.
    pub(crate) async fn insert_new(&self, signals: &[NewSignal]) -> Result<Vec<Stored>> {
        let mut rows: Vec<SignalRow> = signals.iter().cloned().map(SignalRow::of).collect();
        self.insert_signals(&mut rows).await
    }
}

async fn records_that_must_be_new_are_stored_with_their_entry_or_not_at_all(bed: Bed) {
    let entry = LedgerDraft {
        kind: "holdout".to_owned(),
        reference: "hash".to_owned(),
        body: "{}".to_owned(),
    };
    let rows = |numbers: [usize; 2]| numbers.map(|n| SignalRow::of(account(n)));
    let now = perennial_core::time::Timestamp::from_us(5);
    assert!(
        bed.store
            .insert_new_signals(&mut rows([1, 2]), &entry, now)
            .await
            .expect("stores")
    );
    let state = bed.store.state_hash().await.expect("hashes");
    // One of the two is known: neither is stored, and the ledger says nothing of it.
    assert!(
        !bed.store
            .insert_new_signals(&mut rows([2, 3]), &entry, now)
            .await
            .expect("stores")
    );
    assert_eq!(bed.store.state_hash().await.expect("hashes"), state);
    let entries = bed.store.ledger_page(0, 10).await.expect("reads");
    assert_eq!(
        entries.iter().map(|e| e.reference.as_str()).collect::<Vec<_>>(),
        ["hash"]
    );
    assert!(
        bed.store
            .insert_new_signals(&mut rows([3, 4]), &entry, now)
            .await
            .expect("stores")
    );
}
