//! The count of calls to CRMs that all processes of one store share.

use std::time::Duration;

use futures_util::future::BoxFuture;
use perennial_core::signal::Crm;
use perennial_core::time::Timestamp;
use perennial_store::{CallRules, Store, StoreError};
use perennial_tools::{Budget, Lane, NoCalls};
use serde::Serialize;

use crate::clock::Clock;
use crate::config::Config;

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
            if taken.refused {
                let why = "the CRM has said that its calls are used up".to_owned();
                return Err(NoCalls { retry_after: wait, why });
            }
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

/// What is left of the calls that a CRM allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CallsLeft {
    /// CRM.
    pub tool: Crm,
    /// Used of the day, by everyone whose calls we know of.
    pub used: u64,
    /// Left of it.
    pub left: u64,
    /// When the day ends.
    pub until: Timestamp,
    /// Until when nobody calls the CRM, because it has said that its calls are used up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused_until: Option<Timestamp>,
}

impl CallsLeft {
    /// As a sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        let CallsLeft {
            tool,
            used,
            left,
            until,
            ..
        } = self;
        let day = format!("calls to {tool}: {used} used, {left} left until {until}");
        match self.refused_until {
            Some(at) => format!("{day}; it says that its calls are used up, so nobody calls it before {at}"),
            None => day,
        }
    }
}

/// What is left of the calls to the CRMs that were called today.
///
/// # Errors
/// What reading brings.
pub(crate) async fn left(config: &Config, store: &Store) -> Result<Vec<CallsLeft>, StoreError> {
    let now = config.clock.now();
    let budgets = store.call_budgets().await?;
    let left = budgets
        .iter()
        .filter(|budget| budget.resets_at > now)
        .filter_map(|budget| {
            let rules = config.call_rules_of(budget.tool)?;
            Some(CallsLeft {
                tool: budget.tool,
                used: budget.used,
                left: budget.left(&rules),
                until: budget.resets_at,
                refused_until: budget.refused_until(&rules).filter(|until| *until > now),
            })
        });
    Ok(left.collect())
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

    fn spent(&self, crm: Crm, wait: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            tracing::warn!(%crm, wait_s = wait.as_secs(), "the CRM says that its calls are used up; nobody calls it meanwhile");
            let wait_us = i64::try_from(wait.as_micros()).unwrap_or(i64::MAX);
            let noted = self
                .store
                .refuse_calls(crm, wait_us, &self.rules, self.clock.now())
                .await;
            if let Err(error) = noted {
                tracing::warn!(%crm, %error, "that the CRM has no calls left cannot be noted");
            }
        })
    }
}
