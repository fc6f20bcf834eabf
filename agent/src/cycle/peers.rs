//! The peer index of a run: computed once, before the first account is decided.

use perennial_core::detect::{LogOdds, Peers, sample};
use perennial_core::ids::AccountId;
use perennial_core::policy::Policies;
use perennial_core::snapshot::Snapshot;
use perennial_core::time::Timestamp;
use perennial_store::{Store, StoreError};

/// Days of use before the first week of the index: the base of an account reaches 28 weeks back.
const BASE_DAYS: i64 = 203;
/// Accounts whose use is read at once.
const PAGE: usize = 250;

/// The accounts that the index is made of, in the order of their hashes; none where the policy has no detectors.
pub(super) async fn peer_accounts(store: &Store, policies: &Policies, page: u32) -> Result<Vec<AccountId>, StoreError> {
    if policies.scoring.signals.is_none() {
        return Ok(Vec::new());
    }
    let mut ids: Vec<AccountId> = Vec::new();
    loop {
        let next = store.account_ids(ids.last(), page).await?;
        if next.is_empty() {
            break;
        }
        ids.extend(next);
    }
    Ok(sample(ids))
}

/// The index of every week that a snapshot holds, as it was known when the day of `as_of` began, so that it is the same
/// all day. The same accounts give the same index, whatever the number of threads.
pub(super) async fn peers(
    store: &Store,
    policies: &Policies,
    as_of: Timestamp,
    accounts: &[AccountId],
) -> Result<Peers, StoreError> {
    if accounts.is_empty() {
        return Ok(Peers::default());
    }
    let today = as_of.day();
    let (from, usage_days) = (today.plus(-policies.settings.usage_days), policies.settings.usage_days);
    let mut shares = Vec::new();
    for chosen in accounts.chunks(PAGE) {
        let mut found = store.account_use(chosen).await?;
        let chosen: Vec<(AccountId, Vec<_>)> = chosen
            .iter()
            .filter_map(|id| found.remove(id).map(|signals| (id.clone(), signals)))
            .collect();
        shares.extend(chosen.into_iter().map(|(id, signals)| {
            LogOdds::of(&Snapshot::of(
                id,
                today.start(),
                signals,
                Vec::new(),
                usage_days + BASE_DAYS,
            ))
        }));
    }
    Ok(Peers::of(&shares, from, today.week_start()))
}
