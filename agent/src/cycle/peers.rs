//! What peers did, as known by each of some times: computed once, before the first account is decided.

use std::collections::{BTreeMap, BTreeSet};

use perennial_core::detect::{LogOdds, Peers, PeersSoFar, sample};
use perennial_core::ids::AccountId;
use perennial_core::policy::Policies;
use perennial_core::signal::Signal;
use perennial_core::snapshot::Snapshot;
use perennial_core::time::Timestamp;
use perennial_store::{Store, StoreError};

/// Days of use before the first week of the index: the base of an account reaches 28 weeks back.
const BASE_DAYS: i64 = 203;
/// Accounts whose use is read at once.
const PAGE: usize = 250;

/// For each time the index of every week that a snapshot holds; empty where the policy has no detectors. The same accounts
/// give the same index, whatever the number of threads: they are chosen by hash, from those known by that time alone, so
/// that an account that comes later displaces none. An account's use is read once for all times.
pub(super) async fn peers(
    store: &Store,
    policies: &Policies,
    times: &[Timestamp],
    page: u32,
) -> Result<Vec<Peers>, StoreError> {
    if policies.scoring.signals.is_none() {
        return Ok(vec![Peers::default(); times.len()]);
    }
    let mut known: Vec<(AccountId, Timestamp)> = Vec::new();
    loop {
        let next = store.accounts_known(known.last().map(|(id, _)| id), page).await?;
        if next.is_empty() {
            break;
        }
        known.extend(next);
    }
    let usage_days = policies.settings.usage_days;
    let mut indices: Vec<PeersSoFar> = times
        .iter()
        .map(|as_of| PeersSoFar::new(as_of.day().plus(-usage_days), as_of.day().week_start()))
        .collect();
    // By account, at which of the times it is one of the peers.
    let mut chosen: BTreeMap<AccountId, BTreeSet<usize>> = BTreeMap::new();
    for (number, as_of) in times.iter().enumerate() {
        let by_then = known.iter().filter(|(_, since)| since <= as_of);
        for id in sample(by_then.map(|(id, _)| id.clone())) {
            chosen.entry(id).or_default().insert(number);
        }
    }
    let chosen: Vec<(AccountId, BTreeSet<usize>)> = chosen.into_iter().collect();
    for some in chosen.chunks(PAGE) {
        let ids: Vec<AccountId> = some.iter().map(|(id, _)| id.clone()).collect();
        let mut found = store.account_use(&ids).await?;
        for (id, numbers) in some {
            let Some(use_of_it) = found.remove(id) else { continue };
            for number in numbers {
                if let (Some(as_of), Some(index)) = (times.get(*number), indices.get_mut(*number)) {
                    index.add(&log_odds(id, *as_of, &use_of_it, usage_days));
                }
            }
        }
    }
    Ok(indices.into_iter().map(PeersSoFar::finish).collect())
}

fn log_odds(id: &AccountId, as_of: Timestamp, use_of_it: &[Signal], usage_days: i64) -> LogOdds {
    let known = use_of_it.iter().filter(|s| s.observed_at <= as_of).cloned().collect();
    LogOdds::of(&Snapshot::of(
        id.clone(),
        as_of,
        known,
        Vec::new(),
        usage_days + BASE_DAYS,
    ))
}
