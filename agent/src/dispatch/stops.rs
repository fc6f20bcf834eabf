//! What is stopped, asked before every sending.

use std::time::Duration;

use perennial_core::stop::Stop;
use perennial_core::time::Timestamp;
use perennial_store::{EffectResult, LeasedEffect, Store, StoreError};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How old what was read may be: a stop is felt this long after its commit, well within a second.
const FRESH: Duration = Duration::from_millis(100);

/// What is stopped, read anew when it is older than [`FRESH`].
pub(crate) struct Stops {
    store: Store,
    known: Mutex<Option<(Instant, Vec<Stop>)>>,
}

impl Stops {
    pub(crate) fn new(store: Store) -> Stops {
        Stops {
            store,
            known: Mutex::new(None),
        }
    }

    /// What is to happen instead of sending where a stop reaches the effect: it waits, and counts as not tried.
    pub(crate) async fn instead(
        &self,
        leased: &LeasedEffect,
        now: Timestamp,
    ) -> Result<Option<EffectResult>, StoreError> {
        let mut known = self.known.lock().await;
        let fresh = known.as_ref().filter(|(at, _)| at.elapsed() < FRESH);
        if fresh.is_none() {
            let asked_at = Instant::now();
            *known = Some((asked_at, self.store.stops().await?));
        }
        let effect = &leased.effect;
        let reaches = |stop: &&Stop| {
            let account = &effect.target.account;
            stop.scope.reaches(account, leased.tier, leased.kind, effect.tool)
        };
        let stop = known.iter().flat_map(|(_, stops)| stops).find(reaches);
        Ok(stop.map(|stop| EffectResult::NotNow {
            why: format!("{} stopped by {}: {}", stop.scope, stop.person, stop.reason),
            due_at: now,
        }))
    }
}
