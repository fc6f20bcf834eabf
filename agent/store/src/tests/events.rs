//! Events count once, on the right day, whoever delivers them; watermarks move with their signals.

use std::collections::BTreeMap;

use perennial_core::ids::{AccountId, ExternalId, SourceId};
use perennial_core::number::Micro;
use perennial_core::signal::{Fact, Grain, Signal, Usage};
use perennial_core::time::{Day, Timestamp};

use super::{Bed, both};
use crate::*;

both!(
    a_message_counts_once_and_its_day_is_counted_again_only_when_it_changed,
    an_event_without_an_account_takes_that_of_its_person,
    days_that_are_forgotten_keep_their_facts,
    two_writers_of_the_same_events_count_them_once,
    a_watermark_moves_with_its_signals,
    the_key_of_the_hashes_is_made_once,
);

const DAY: i32 = 20_000;

fn at(day: i32) -> Timestamp {
    Day::from_number(day).start()
}

fn event(message: &str, account: Option<&str>, person: &str, day: i32, feature: Option<&str>) -> NewEvent {
    NewEvent {
        message: message.to_owned(),
        account: account.map(AccountId::new),
        person: person.to_owned(),
        at: at(day),
        usage: Some(EventUse {
            feature: feature.map(str::to_owned),
            active: true,
        }),
    }
}

fn fact(day: EventDay) -> NewSignal {
    let count = |n: u64| Micro::whole(i64::try_from(n).unwrap());
    let values = BTreeMap::from([
        ("active_users".to_owned(), count(day.active_users)),
        ("core_events".to_owned(), count(day.feature_events)),
        ("events".to_owned(), count(day.events)),
        ("features_used".to_owned(), count(day.features_used)),
    ]);
    NewSignal {
        owner: Belongs::Account(day.account.clone()),
        signal: Signal {
            source: SourceId::new("product"),
            external_id: ExternalId::new(format!("{}|{}", day.account, day.day)),
            event_at: day.day.start(),
            observed_at: day.day.plus(1).start().max(day.received_at),
            revision_at: day.revision_at,
            fact: Fact::Usage(Usage {
                product: None,
                grain: Grain::Day,
                start: day.day,
                values,
            }),
        },
    }
}

/// Active users, core events, events and features of each revision of an account's only day.
async fn revisions(store: &Store, account: &str) -> Vec<[i64; 4]> {
    let id = AccountId::new(account);
    let mut signals = store
        .account_signals(std::slice::from_ref(&id))
        .await
        .unwrap()
        .remove(&id)
        .unwrap_or_default();
    signals.sort_by_key(|signal| signal.revision_at);
    let counts = signals.iter().map(|signal| match &signal.fact {
        Fact::Usage(usage) => {
            let values: Vec<i64> = usage.values.values().map(|v| v.0 / 1_000_000).collect();
            values.try_into().unwrap()
        }
        other => panic!("{other:?}"),
    });
    counts.collect()
}

async fn fold(store: &Store, before: i32, now: Timestamp) -> u64 {
    store
        .fold_event_days(Day::from_number(before), 100, now, fact)
        .await
        .unwrap()
}

async fn a_message_counts_once_and_its_day_is_counted_again_only_when_it_changed(bed: Bed) {
    use EventStored::{Duplicate, New};
    let store = &bed.store;
    let events = [
        event("m1", Some("a"), "p1", DAY, Some("reports")),
        event("m2", Some("a"), "p1", DAY, Some("reports")),
        event("m3", Some("a"), "p2", DAY, None),
        event("m1", Some("a"), "p9", DAY, Some("other")),
    ];
    let stored = store.insert_events(&events, at(DAY)).await.unwrap();
    assert_eq!(stored, [New, New, New, Duplicate]);
    assert_eq!(
        fold(store, DAY, at(DAY)).await,
        0,
        "a day that is not over is not counted"
    );
    assert_eq!(fold(store, DAY + 1, at(DAY + 1)).await, 1);
    assert_eq!(fold(store, DAY + 1, at(DAY + 2)).await, 0, "nothing changed");
    let again = store.insert_events(&events, at(DAY + 2)).await.unwrap();
    assert_eq!(again, [Duplicate; 4]);
    assert_eq!(
        fold(store, DAY + 1, at(DAY + 2)).await,
        0,
        "a repetition changes nothing"
    );
    assert_eq!(revisions(store, "a").await, [[2, 2, 3, 1]]);
    // A late event, and a clock that was set back: the later fact is the newer one all the same.
    store
        .insert_events(&[event("m4", Some("a"), "p3", DAY, Some("exports"))], at(DAY + 3))
        .await
        .unwrap();
    assert_eq!(fold(store, DAY + 1, at(DAY - 5)).await, 1);
    assert_eq!(revisions(store, "a").await, [[2, 2, 3, 1], [3, 3, 4, 2]]);
}

async fn an_event_without_an_account_takes_that_of_its_person(bed: Bed) {
    use EventStored::{New, NoAccount};
    let store = &bed.store;
    let joins = |account: &str, day: i32| NewEvent {
        usage: None,
        ..event(&format!("g-{account}-{day}"), Some(account), "p1", day, None)
    };
    let track = |message: &str| event(message, None, "p1", DAY, None);
    assert_eq!(store.insert_events(&[track("m1")], at(DAY)).await.unwrap(), [NoAccount]);
    // In one batch the order does not matter, and between batches the later one stands.
    let stored = store
        .insert_events(&[track("m1"), joins("new", DAY)], at(DAY))
        .await
        .unwrap();
    assert_eq!(stored, [New, New]);
    store.insert_events(&[joins("old", DAY - 9)], at(DAY)).await.unwrap();
    assert_eq!(store.insert_events(&[track("m2")], at(DAY)).await.unwrap(), [New]);
    assert_eq!(fold(store, DAY + 1, at(DAY + 1)).await, 1);
    assert_eq!(revisions(store, "new").await, [[1, 0, 2, 0]]);
}

async fn days_that_are_forgotten_keep_their_facts(bed: Bed) {
    let store = &bed.store;
    let events = [
        event("m1", Some("a"), "p1", DAY, None),
        event("m2", Some("b"), "p1", DAY + 1, None),
    ];
    store.insert_events(&events, at(DAY + 1)).await.unwrap();
    assert_eq!(fold(store, DAY + 2, at(DAY + 2)).await, 2);
    assert_eq!(store.forget_events(Day::from_number(DAY + 1)).await.unwrap(), 1);
    assert_eq!(fold(store, DAY + 2, at(DAY + 3)).await, 0);
    assert_eq!(revisions(store, "a").await, [[1, 0, 1, 0]]);
    let known = store.insert_events(&events[1..], at(DAY + 3)).await.unwrap();
    assert_eq!(known, [EventStored::Duplicate], "the other day is still known");
}

async fn two_writers_of_the_same_events_count_them_once(bed: Bed) {
    let other = Store::open(&bed.url, bed.store.tenant(), &Options::default())
        .await
        .unwrap();
    let batch = |from: usize| -> Vec<NewEvent> {
        let names = (0..200).map(|i| (from + i * 7) % 200);
        names
            .map(|n| {
                event(
                    &format!("m{n}"),
                    Some("a"),
                    &format!("p{}", n % 40),
                    DAY,
                    Some("reports"),
                )
            })
            .collect()
    };
    let (one, two) = (batch(0), batch(50));
    let (one, two) = tokio::join!(
        bed.store.insert_events(&one, at(DAY)),
        other.insert_events(&two, at(DAY))
    );
    let new = |stored: Vec<EventStored>| stored.iter().filter(|s| **s == EventStored::New).count();
    assert_eq!(new(one.unwrap()) + new(two.unwrap()), 200);
    let (one, two) = tokio::join!(
        fold(&bed.store, DAY + 1, at(DAY + 1)),
        fold(&other, DAY + 1, at(DAY + 1))
    );
    assert_eq!(one + two, 1, "the day is counted by one of the two");
    assert_eq!(revisions(&bed.store, "a").await, [[40, 200, 200, 1]]);
    other.close().await;
}

async fn a_watermark_moves_with_its_signals(bed: Bed) {
    let store = &bed.store;
    assert_eq!(store.watermark("dwh", "usage").await.unwrap(), None);
    let to = |kind, value| Watermark { kind, value };
    for mark in [
        to(WatermarkKind::Number, 7),
        to(WatermarkKind::Date, 20_000),
        to(WatermarkKind::Timestamp, -5),
        to(WatermarkKind::TimestampTz, i64::MAX),
    ] {
        store
            .insert_signals_and_move(&mut [], ("dwh", "usage"), mark, at(DAY))
            .await
            .unwrap();
        assert_eq!(store.watermark("dwh", "usage").await.unwrap(), Some(mark));
    }
    assert_eq!(store.watermark("dwh", "other").await.unwrap(), None);
    // A batch that the database refuses moves nothing.
    let mut bad = vec![SignalRow::of(fact(EventDay {
        account: AccountId::new("a"),
        day: Day::from_number(DAY),
        events: 1,
        active_users: 1,
        feature_events: 0,
        features_used: 0,
        received_at: at(DAY),
        revision_at: at(DAY),
    }))];
    bed.tamper("alter table signal rename to signal_away").await;
    let refused = store
        .insert_signals_and_move(&mut bad, ("dwh", "usage"), to(WatermarkKind::Number, 8), at(DAY))
        .await;
    assert!(refused.is_err());
    bed.tamper("alter table signal_away rename to signal").await;
    let mark = store.watermark("dwh", "usage").await.unwrap().unwrap();
    assert_eq!(mark.value, i64::MAX);
}

async fn the_key_of_the_hashes_is_made_once(bed: Bed) {
    let first = bed.store.event_salt().await.unwrap();
    assert!(first.expose().len() >= 64 && !format!("{first:?}").contains(first.expose()));
    assert_eq!(bed.store.event_salt().await.unwrap(), first);
}
