//! Days that are over become facts of use, and facts again whenever a late event changes them.

use std::collections::BTreeMap;

use perennial_core::ids::ExternalId;
use perennial_core::number::Micro;
use perennial_core::signal::{Fact, Grain, Signal, Usage};
use perennial_core::time::Timestamp;
use perennial_store::{Belongs, EventDay, NewSignal, Store, StoreError};

use super::mapping::EventMapping;

/// Account days of one transaction.
const DAYS_PER_BATCH: u32 = 500;
/// Days that events are kept longer than late ones are taken: two servers' clocks may differ.
const SPARE_DAYS: i64 = 2;

/// Counts every day before today that changed, then forgets events that are too old to be changed any more. Says how
/// many facts were made.
pub(super) async fn fold(
    store: &Store,
    mapping: &EventMapping,
    now: Timestamp,
    event_days: i64,
) -> Result<u64, StoreError> {
    let mut facts = 0;
    loop {
        // A day is known when it is over, so a fact of today would be read by nobody.
        let done = store
            .fold_event_days(now.day(), DAYS_PER_BATCH, now, |day| fact(mapping, day))
            .await?;
        facts += done;
        if done < u64::from(DAYS_PER_BATCH) {
            break;
        }
    }
    store.forget_events(now.day().plus(-event_days - SPARE_DAYS)).await?;
    Ok(facts)
}

/// The fact of a day. What the mapping does not measure is left out: unknown, not zero.
fn fact(mapping: &EventMapping, day: EventDay) -> NewSignal {
    let count = |n: u64| Micro::whole(i64::try_from(n).unwrap_or(i64::MAX / 1_000_000));
    let mut values = BTreeMap::from([
        ("active_users".to_owned(), count(day.active_users)),
        ("events".to_owned(), count(day.events)),
    ]);
    if mapping.has_features() {
        values.insert("core_events".to_owned(), count(day.feature_events));
        values.insert("features_used".to_owned(), count(day.features_used));
    }
    let over = day.day.plus(1).start();
    NewSignal {
        signal: Signal {
            source: mapping.source().clone(),
            external_id: ExternalId::new(format!("{}|{}", day.account, day.day)),
            event_at: day.day.start(),
            // What a late event brought was not known before it came.
            observed_at: over.max(day.received_at),
            revision_at: day.revision_at,
            fact: Fact::Usage(Usage {
                product: None,
                grain: Grain::Day,
                start: day.day,
                values,
            }),
        },
        owner: Belongs::Account(day.account),
    }
}
