//! Whether the sources of a tenant still deliver: what tells a quiet account from a feed that stands still.
//!
//! Promises: what is said follows from the inputs of the decision and the policy alone. A quiet account makes no feed
//! stale: the newest record of the whole source counts, of whatever account.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Features, Found, USE_FACTS};
use crate::number::Micro;
use crate::policy::FeedLimits;
use crate::signal::FactKind;
use crate::snapshot::{Held, Snapshot};
use crate::time::Day;

/// By kind of record and source, the day on which its newest record became known, over all accounts. Only kinds whose
/// age the policy limits are there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Feeds(pub BTreeMap<FactKind, BTreeMap<String, Day>>);

impl Feeds {
    /// Whether nothing is known of any source.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The facts that are made of records of a kind whose age can be limited.
fn facts(kind: FactKind) -> impl Iterator<Item = &'static str> {
    let (some, more): (&[&str], &[&str]) = match kind {
        FactKind::Usage => (USE_FACTS, &["champion_absent"]),
        FactKind::Ticket => (
            &["escalation_days", "escalations_open", "sev1_open", "tickets_open"],
            &["csat", "ticket_pressure", "tickets_13w"],
        ),
        FactKind::Invoice => (&["days_late"], &[]),
        FactKind::Survey => (&["nps", "nps_age_days"], &["csat"]),
        FactKind::Interaction => (&["days_since_qbr", "days_since_touch"], &[]),
        FactKind::Account
        | FactKind::Owner
        | FactKind::Product
        | FactKind::Contract
        | FactKind::Subscription
        | FactKind::Movement
        | FactKind::Contact
        | FactKind::Opportunity
        | FactKind::ChurnEvent
        | FactKind::Assignment
        | FactKind::Treatment
        | FactKind::ScoreOverride => (&[], &[]),
    };
    some.iter().chain(more).copied()
}

/// Sources of a kind that the account's own records came from.
fn sources(snapshot: &Snapshot, kind: FactKind) -> BTreeSet<&str> {
    fn of<T>(list: &[Held<T>]) -> BTreeSet<&str> {
        list.iter().map(|h| h.record.source.as_str()).collect()
    }
    match kind {
        FactKind::Usage => of(&snapshot.usage),
        FactKind::Ticket => of(&snapshot.tickets),
        FactKind::Invoice => of(&snapshot.invoices),
        FactKind::Survey => of(&snapshot.surveys),
        FactKind::Interaction => of(&snapshot.interactions),
        FactKind::Account
        | FactKind::Owner
        | FactKind::Product
        | FactKind::Contract
        | FactKind::Subscription
        | FactKind::Movement
        | FactKind::Contact
        | FactKind::Opportunity
        | FactKind::ChurnEvent
        | FactKind::Assignment
        | FactKind::Treatment
        | FactKind::ScoreOverride => BTreeSet::new(),
    }
}

/// Why a kind of record is stale for an account: of the sources that its records came from one has delivered nothing for
/// longer than the limit; of an account without such records, every source. Retired sources are not asked.
fn stale(snapshot: &Snapshot, kind: FactKind, newest: &BTreeMap<String, Day>, limits: &FeedLimits) -> Option<String> {
    let limit = *limits.max_age_days.get(&kind)?;
    let today = snapshot.as_of.day();
    let own = sources(snapshot, kind);
    let concerned: Vec<(&String, Day)> = newest
        .iter()
        .filter(|(source, _)| !limits.retired.contains(*source))
        .filter(|(source, _)| own.is_empty() || own.contains(source.as_str()))
        .map(|(source, day)| (source, *day))
        .collect();
    let silent = |(_, day): &&(&String, Day)| day.days_until(today) > limit;
    let frozen: Vec<&(&String, Day)> = concerned.iter().filter(silent).collect();
    let (source, day) = frozen.iter().min_by_key(|(source, day)| (*day, *source))?;
    (!own.is_empty() || frozen.len() == concerned.len())
        .then(|| format!("newer {kind} records: `{source}` has sent none since {day} (limit {limit} days)"))
}

/// Marks the facts of kinds whose feed stands still, and counts these kinds in the fact `stale_feeds`. Facts keep their
/// values: what is known to be open is still open.
pub(crate) fn mark(snapshot: &Snapshot, features: &mut Features, feeds: &Feeds, limits: &FeedLimits) {
    let mut count = 0;
    for (kind, newest) in &feeds.0 {
        let Some(why) = stale(snapshot, *kind, newest, limits) else {
            continue;
        };
        count += 1;
        for fact in facts(*kind) {
            if let Some(feature) = features.0.get_mut(fact) {
                feature.stale = Some(why.clone());
            }
        }
    }
    if !limits.max_age_days.is_empty() {
        let found = Found::concluded(
            Ok(super::Value::Number(Micro::whole(count))),
            snapshot.as_of,
            Vec::new(),
        );
        features.insert(&snapshot.account_id, "stale_feeds", found);
    }
}
