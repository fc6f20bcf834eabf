//! The count of calls to CRMs that all processes of one store share.

use std::time::Duration;

use futures_util::future::BoxFuture;
use perennial_core::signal::Crm;
use perennial_store::{CallRules, Store};
use perennial_tools::{Budget, Lane, NoCalls};

use crate::clock::Clock;

/// Wait when the count cannot be asked: a database that is busy is soon free.
const TROUBLE_WAIT: Duration = Duration::from_secs(5);
/// Longest wait for a moment's room inside one call; a longer one is the caller's.
const MOMENT_MAX: Duration = Duration::from_secs(5);

/// Calls counted in the store.
#[derive(Debug, Clone)]
pub struct StoreBudget {
    store: Store,
    clock: Clock,
    rules: CallRules,
}

impl StoreBudget {
    /// A count by these rules.
    #[must_use]
    pub fn new(store: Store, clock: Clock, rules: CallRules) -> StoreBudget {
        StoreBudget { store, clock, rules }
    }

    async fn taken(&self, crm: Crm, lane: Lane, most: u32) -> Result<u32, NoCalls> {
        loop {
            let now = self.clock.now();
            let share = lane.share_percent();
            let taken = self.store.take_calls(crm, share, most, &self.rules, now).await;
            let taken = taken.map_err(|error| {
                tracing::warn!(%crm, %error, "calls cannot be counted");
                NoCalls {
                    retry_after: TROUBLE_WAIT,
                    why: "the shared count of calls cannot be read".to_owned(),
                }
            })?;
            if taken.warn {
                tracing::warn!(
                    %crm, used = taken.used, limit = taken.limit,
                    "80 % of the day's calls are used; from 95 % on only urgent ones are made"
                );
            }
            if taken.calls > 0 {
                return Ok(taken.calls);
            }
            let wait = Duration::from_micros(u64::try_from(taken.wait_us).unwrap_or(0));
            if taken.day_spent {
                let why = format!("{} of {} calls of the day are used", taken.used, taken.limit);
                return Err(NoCalls { retry_after: wait, why });
            }
            if wait > MOMENT_MAX {
                let why = "other processes use the calls of this moment".to_owned();
                return Err(NoCalls { retry_after: wait, why });
            }
            tokio::time::sleep(wait).await;
        }
    }
}

impl Budget for StoreBudget {
    fn take(&self, crm: Crm, lane: Lane, most: u32) -> BoxFuture<'_, Result<u32, NoCalls>> {
        Box::pin(self.taken(crm, lane, most))
    }

    fn heard(&self, crm: Crm, used: u64, limit: u64) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let now = self.clock.now();
            let heard = self.store.hear_calls(crm, used, limit, &self.rules, now).await;
            if let Err(error) = heard {
                tracing::warn!(%crm, %error, "what the CRM counted cannot be noted");
            }
        })
    }
}
