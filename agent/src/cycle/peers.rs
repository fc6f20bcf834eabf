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

/// What peers did at each of some times.
pub(super) struct PeersAt {
    /// For each time the index of every week that a snapshot holds; empty where the policy has no detectors.
    pub(super) indices: Vec<Peers>,
    /// Accounts whose use is in one of them.
    pub(super) accounts: BTreeSet<AccountId>,
}

/// What peers did, for each time as it was known when its day began, so that it is the same all day. The same accounts
/// give the same index, whatever the number of threads: they are chosen by hash, from those known by then alone, so that
/// an account that comes later displaces none. An account's use is read once for all times.
pub(super) async fn peers(
    store: &Store,
    policies: &Policies,
    times: &[Timestamp],
    page: u32,
) -> Result<PeersAt, StoreError> {
    if policies.scoring.signals.is_none() {
        return Ok(PeersAt {
            indices: vec![Peers::default(); times.len()],
            accounts: BTreeSet::new(),
        });
    }
    let times: Vec<Timestamp> = times.iter().map(|as_of| as_of.day().start()).collect();
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
    let chosen: Vec<(AccountId, BTreeSet<usize>)> = choose(&known, &times).into_iter().collect();
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
    Ok(PeersAt {
        indices: indices.into_iter().map(PeersSoFar::finish).collect(),
        accounts: chosen.into_iter().map(|(id, _)| id).collect(),
    })
}

/// By account, the numbers of the times at which it is one of the peers.
fn choose(known: &[(AccountId, Timestamp)], times: &[Timestamp]) -> BTreeMap<AccountId, BTreeSet<usize>> {
    let mut chosen: BTreeMap<AccountId, BTreeSet<usize>> = BTreeMap::new();
    for (number, as_of) in times.iter().enumerate() {
        let by_then = known.iter().filter(|(_, since)| since <= as_of);
        for id in sample(by_then.map(|(id, _)| id.clone())) {
            chosen.entry(id).or_default().insert(number);
        }
    }
    chosen
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

#[cfg(test)]
mod tests {
    use perennial_core::detect::PEERS_MAX;

    use super::*;

    #[test]
    fn an_account_that_comes_later_displaces_no_earlier_peer() {
        let (then, now) = (Timestamp::EPOCH.plus_days(100), Timestamp::EPOCH.plus_days(200));
        let account = |k: usize, since| (AccountId::new(format!("acc-{k}")), since);
        let early: Vec<_> = (0..PEERS_MAX + 300).map(|k| account(k, then)).collect();
        let late = (PEERS_MAX + 300..PEERS_MAX + 1_000).map(|k| account(k, now));
        let all: Vec<_> = early.iter().cloned().chain(late).collect();
        let at = |known: &[_], number: usize| -> BTreeSet<AccountId> {
            let chosen = choose(known, &[then, now]).into_iter();
            chosen
                .filter(|(_, numbers)| numbers.contains(&number))
                .map(|(id, _)| id)
                .collect()
        };
        assert_eq!(at(&all, 0), at(&early, 0));
        assert_eq!(at(&all, 0).len(), PEERS_MAX);
        assert_ne!(
            at(&all, 1),
            at(&early, 1),
            "those that came later are peers once they are known"
        );
    }
}
