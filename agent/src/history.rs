//! One account at any dates: facts and scores made anew from its signals, by the policies as they are now. What was first
//! observed after a date is not in it, so a past score is what the engine would have said then.

use perennial_core::feature::{self, Features};
use perennial_core::ids::AccountId;
use perennial_core::policy::Policies;
use perennial_core::score::{Scores, score};
use perennial_core::signal::Signal;
use perennial_core::snapshot::Snapshot;
use perennial_core::time::Timestamp;
use perennial_store::{Store, StoreError};

/// All that is known of one account.
pub struct History {
    account: AccountId,
    signals: Vec<Signal>,
}

/// An account at one date.
#[derive(Debug, Clone)]
pub struct Past {
    /// The date.
    pub as_of: Timestamp,
    /// What was known.
    pub features: Features,
    /// What it meant.
    pub scores: Scores,
}

impl History {
    /// Reads what is known; `None` when there is no such account.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn read(store: &Store, account: &AccountId) -> Result<Option<History>, StoreError> {
        let mut found = store.account_signals(std::slice::from_ref(account)).await?;
        Ok(found.remove(account).map(|signals| History {
            account: account.clone(),
            signals,
        }))
    }

    /// The account as of a time.
    #[must_use]
    pub fn at(&self, as_of: Timestamp, policies: &Policies) -> Past {
        let days = policies.settings.usage_days;
        let snapshot = Snapshot::of(self.account.clone(), as_of, self.signals.clone(), Vec::new(), days);
        let (mut features, renewals) = feature::compute(&snapshot, &policies.settings);
        let scores = score(
            &snapshot,
            &mut features,
            &renewals,
            &policies.scoring,
            &policies.settings,
        );
        Past {
            as_of,
            features,
            scores,
        }
    }

    /// The account every seven days up to a time, the oldest first.
    #[must_use]
    pub fn weekly(&self, until: Timestamp, weeks: u32, policies: &Policies) -> Vec<Past> {
        (0..=i64::from(weeks))
            .rev()
            .map(|week| self.at(until.plus_days(-7 * week), policies))
            .collect()
    }
}
