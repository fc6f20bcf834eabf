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

/// The index of every week that a snapshot holds; empty where the policy has no detectors. The same accounts give the
/// same index, whatever the number of threads: they are chosen by hash and read in that order.
pub(super) async fn peers(
    store: &Store,
    policies: &Policies,
    as_of: Timestamp,
    page: u32,
) -> Result<Peers, StoreError> {
    if policies.scoring.signals.is_none() {
        return Ok(Peers::default());
    }
    let mut ids: Vec<AccountId> = Vec::new();
    loop {
        let next = store.account_ids(ids.last(), page).await?;
        if next.is_empty() {
            break;
        }
        ids.extend(next);
    }
    let (from, usage_days) = (
        as_of.day().plus(-policies.settings.usage_days),
        policies.settings.usage_days,
    );
    let mut accounts = Vec::new();
    for chosen in sample(ids).chunks(PAGE) {
        let mut found = store.account_use(chosen).await?;
        let chosen: Vec<(AccountId, Vec<_>)> = chosen
            .iter()
            .filter_map(|id| found.remove(id).map(|signals| (id.clone(), signals)))
            .collect();
        accounts.extend(
            chosen.into_iter().map(|(id, signals)| {
                LogOdds::of(&Snapshot::of(id, as_of, signals, Vec::new(), usage_days + BASE_DAYS))
            }),
        );
    }
    Ok(Peers::of(&accounts, from, as_of.day().week_start()))
}
