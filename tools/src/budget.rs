//! The budget of calls that a CRM allows, shared with every other process that uses it.
//!
//! Calls are taken in blocks, so that the shared count costs one question for many calls. What is urgent may use what is left
//! when everything else has to wait.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use perennial_core::action::{Effect, Priority, Write};
use perennial_core::signal::Crm;
use reqwest::header::HeaderMap;
use tokio::sync::Mutex;

/// Calls of a block. Two of them in one process can be lost when it ends: few against any daily budget.
const BLOCK: u32 = 20;
/// Calls of a block of the urgent lane, which must not lie about unused when little is left.
const URGENT_BLOCK: u32 = 2;
/// Answers between two tellings of what a CRM says it has counted.
const TELL_EVERY: u32 = 20;

/// How long a call may wait for budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// A person waits, or the day of a person depends on it.
    Urgent,
    /// Everything else that writes or looks up.
    Normal,
    /// Reading many records.
    Bulk,
}

impl Lane {
    /// The lane of what an effect needs: urgent tasks are urgent.
    #[must_use]
    pub fn of(effect: &Effect) -> Lane {
        match &effect.write {
            Write::CreateTask {
                priority: Priority::High,
                ..
            } => Lane::Urgent,
            Write::CreateTask { .. }
            | Write::CreateNote { .. }
            | Write::UpdateAccount { .. }
            | Write::UpdateOpportunity { .. }
            | Write::SetContactRole { .. } => Lane::Normal,
        }
    }

    /// All lanes.
    pub const ALL: [Lane; 3] = [Lane::Urgent, Lane::Normal, Lane::Bulk];

    /// The lane in a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Lane::Urgent => "urgent",
            Lane::Normal => "normal",
            Lane::Bulk => "bulk",
        }
    }

    /// Share of the daily budget in percent up to which the lane is served.
    #[must_use]
    pub fn share_percent(self) -> u64 {
        match self {
            Lane::Urgent => 100,
            Lane::Normal | Lane::Bulk => 95,
        }
    }
}

/// No calls were given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoCalls {
    /// How long to wait.
    pub retry_after: Duration,
    /// Why, for people.
    pub why: String,
}

/// The shared count of calls.
pub trait Budget: Send + Sync + fmt::Debug {
    /// Takes from one to `most` calls; how many.
    fn take(&self, crm: Crm, lane: Lane, most: u32) -> BoxFuture<'_, Result<u32, NoCalls>>;

    /// Tells what the CRM says it has counted in its day, of everyone's calls, and what it allows.
    fn heard(&self, crm: Crm, used: u64, limit: u64) -> BoxFuture<'_, ()>;

    /// Tells that the CRM refused a call because its calls are used up: nobody calls it before `wait` has passed.
    fn spent(&self, crm: Crm, wait: Duration) -> BoxFuture<'_, ()> {
        let _ = (crm, wait);
        Box::pin(std::future::ready(()))
    }
}

/// What one client has taken and not used yet.
pub(crate) struct Allowance {
    crm: Crm,
    budget: Option<Arc<dyn Budget>>,
    /// Of the urgent lane, and of the others.
    left: Mutex<[u32; 2]>,
    answers: AtomicU32,
}

impl Allowance {
    pub(crate) fn new(crm: Crm, budget: Option<Arc<dyn Budget>>) -> Allowance {
        Allowance {
            crm,
            budget,
            left: Mutex::new([0, 0]),
            answers: AtomicU32::new(0),
        }
    }

    /// Takes the right to one call.
    pub(crate) async fn one(&self, lane: Lane) -> Result<(), NoCalls> {
        let Some(budget) = &self.budget else { return Ok(()) };
        // Held while the shared count is asked: others of this process wait for the same block.
        let mut left = self.left.lock().await;
        let [urgent, other] = &mut *left;
        let (own, block) = match lane {
            Lane::Urgent if *urgent > 0 => (urgent, URGENT_BLOCK),
            Lane::Urgent if *other > 0 => (other, BLOCK),
            Lane::Urgent => (urgent, URGENT_BLOCK),
            Lane::Normal | Lane::Bulk => (other, BLOCK),
        };
        if *own == 0 {
            *own = budget.take(self.crm, lane, block).await?;
        }
        *own = own.saturating_sub(1);
        Ok(())
    }

    /// Passes on that the CRM has no calls left, and gives up those that were taken.
    pub(crate) async fn spent(&self, wait: Duration) {
        let Some(budget) = &self.budget else { return };
        *self.left.lock().await = [0, 0];
        budget.spent(self.crm, wait).await;
    }

    /// Passes on what an answer says about the day's calls, now and then.
    pub(crate) async fn hear(&self, headers: &HeaderMap) {
        let (Some(budget), Some((used, limit))) = (&self.budget, daily(headers)) else {
            return;
        };
        if self.answers.fetch_add(1, Ordering::Relaxed).is_multiple_of(TELL_EVERY) {
            budget.heard(self.crm, used, limit).await;
        }
    }
}

/// Calls of the day as headers say it: used and allowed. Salesforce tells on most answers, HubSpot only private apps.
pub(crate) fn daily(headers: &HeaderMap) -> Option<(u64, u64)> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    if let Some(info) = text("sforce-limit-info") {
        let usage = info
            .split(',')
            .find_map(|part| part.trim().strip_prefix("api-usage="))?;
        let (used, limit) = usage.split_once('/')?;
        return Some((used.trim().parse().ok()?, limit.trim().parse().ok()?));
    }
    let limit: u64 = text("x-hubspot-ratelimit-daily")?.trim().parse().ok()?;
    let remaining: u64 = text("x-hubspot-ratelimit-daily-remaining")?.trim().parse().ok()?;
    Some((limit.saturating_sub(remaining), limit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::{HeaderName, HeaderValue};

    #[test]
    fn both_vendors_words_for_the_days_calls_are_read() {
        let headers = |pairs: &[(&'static str, &'static str)]| {
            let pair = |(name, value): &(&'static str, &'static str)| {
                (HeaderName::from_static(name), HeaderValue::from_static(value))
            };
            pairs.iter().map(pair).collect::<HeaderMap>()
        };
        let salesforce = headers(&[(
            "sforce-limit-info",
            "api-usage=22/15000, per-app-api-usage=1/250(appName=x)",
        )]);
        assert_eq!(daily(&salesforce), Some((22, 15_000)));
        let hubspot = headers(&[
            ("x-hubspot-ratelimit-daily", "650000"),
            ("x-hubspot-ratelimit-daily-remaining", "649990"),
        ]);
        assert_eq!(daily(&hubspot), Some((10, 650_000)));
        assert_eq!(daily(&headers(&[("x-hubspot-ratelimit-max", "110")])), None);
    }
}
