//! When the sources last delivered, as known when the day of each of some times began, so that it is the same all day.

use perennial_core::feature::Feeds;
use perennial_core::policy::Policies;
use perennial_core::time::Timestamp;
use perennial_store::{Store, StoreError};

/// For each time, by kind and source, the newest day on which a record became known; nothing of kinds that the policy does
/// not limit. One pass over the signals serves all times, and there is none where the policy limits no kind.
pub(super) async fn feeds(store: &Store, policies: &Policies, times: &[Timestamp]) -> Result<Vec<Feeds>, StoreError> {
    let limits = &policies.scoring.feeds.max_age_days;
    if limits.is_empty() {
        return Ok(vec![Feeds::default(); times.len()]);
    }
    let deliveries = store.deliveries().await?;
    let at = |as_of: &Timestamp| {
        let mut feeds = Feeds::default();
        let known = deliveries
            .iter()
            .filter(|d| limits.contains_key(&d.kind) && d.first <= as_of.day().start());
        for delivery in known {
            let day = delivery.first.day();
            let sources = feeds.0.entry(delivery.kind).or_default();
            let newest = sources.entry(delivery.source.clone()).or_insert(day);
            *newest = day.max(*newest);
        }
        feeds
    };
    Ok(times.iter().map(at).collect())
}
