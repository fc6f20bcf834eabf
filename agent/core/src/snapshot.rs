//! A snapshot: everything known of one account as of a time.
//!
//! Promises: the same set of signals gives the same snapshot whatever their order or number; nothing that was first
//! observed after the as-of time is in it, and dates inside a fact that lie after it are hidden.
//!
//! Not here: what it means (see `feature`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::action::{ActionKind, ActionState};
use crate::ids::{AccountId, ActionId, PlaybookId};
use crate::signal::{
    Account, Assignment, ChurnEvent, Contact, Contract, Fact, Interaction, Invoice, Movement, Opportunity,
    OpportunityState, Owner, Product, RecordRef, ScoreName, ScoreOverride, Signal, SignalKey, Subscription, Survey,
    Ticket, Treatment, Usage,
};
use crate::time::{Day, Timestamp};

/// A fact with the record it came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held<T> {
    /// Its record.
    pub record: RecordRef,
    /// When it happened.
    pub at: Timestamp,
    /// What it says.
    pub fact: T,
}

/// An action of ours that the account has seen before the as-of day.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PriorAction {
    /// Which.
    pub action: ActionId,
    /// Playbook it came from.
    pub playbook: PlaybookId,
    /// What it was about.
    pub subject: String,
    /// Kind.
    pub kind: ActionKind,
    /// Where it stands.
    pub state: ActionState,
    /// Day it was decided for.
    pub day: Day,
    /// Asleep until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snoozed_until: Option<Timestamp>,
}

/// One account as of a time. Lists are sorted by record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Which account.
    pub account_id: AccountId,
    /// Nothing later is in it.
    pub as_of: Timestamp,
    /// The account's own record; `None` when only other facts name the account.
    pub account: Option<Held<Account>>,
    /// Agreements.
    pub contracts: Vec<Held<Contract>>,
    /// Products bought.
    pub subscriptions: Vec<Held<Subscription>>,
    /// Changes of recurring revenue.
    pub movements: Vec<Held<Movement>>,
    /// People.
    pub contacts: Vec<Held<Contact>>,
    /// Versions of people's records that exports brought one after the other, the present one too, where there is more
    /// than one; `at` is when the export was taken. In the order of record and export.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contact_history: Vec<Held<Contact>>,
    /// Measured use, no older than the history the scoring policy asks for.
    pub usage: Vec<Held<Usage>>,
    /// Support cases.
    pub tickets: Vec<Held<Ticket>>,
    /// Touches.
    pub interactions: Vec<Held<Interaction>>,
    /// Surveys.
    pub surveys: Vec<Held<Survey>>,
    /// Bills.
    pub invoices: Vec<Held<Invoice>>,
    /// Deals.
    pub opportunities: Vec<Held<Opportunity>>,
    /// Notices of leaving.
    pub churn_events: Vec<Held<ChurnEvent>>,
    /// Arms of experiments.
    pub assignments: Vec<Held<Assignment>>,
    /// Actions logged by earlier tools.
    pub treatments: Vec<Held<Treatment>>,
    /// Scores set by people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<Held<ScoreOverride>>,
    /// Our own earlier actions.
    pub prior: Vec<PriorAction>,
}

/// Our people and products, as of a time: the same for every account of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Portfolio {
    /// Our people by id.
    pub owners: BTreeMap<String, Owner>,
    /// What we sell, by id.
    pub products: BTreeMap<String, Product>,
}

impl Snapshot {
    /// The snapshot of `account_id` as of `as_of`. Usage older than `usage_days` days is left out.
    ///
    /// `prior` may hold actions of any day; those of the as-of day and later are left out, so that a second run on the
    /// same day sees what the first one saw.
    #[must_use]
    pub fn of(
        account_id: AccountId,
        as_of: Timestamp,
        signals: Vec<Signal>,
        prior: Vec<PriorAction>,
        usage_days: i64,
    ) -> Snapshot {
        let mut snapshot = Snapshot {
            account_id,
            as_of,
            account: None,
            contracts: Vec::new(),
            subscriptions: Vec::new(),
            movements: Vec::new(),
            contacts: Vec::new(),
            contact_history: versions(&signals, as_of),
            usage: Vec::new(),
            tickets: Vec::new(),
            interactions: Vec::new(),
            surveys: Vec::new(),
            invoices: Vec::new(),
            opportunities: Vec::new(),
            churn_events: Vec::new(),
            assignments: Vec::new(),
            treatments: Vec::new(),
            overrides: Vec::new(),
            prior: prior.into_iter().filter(|p| p.day < as_of.day()).collect(),
        };
        snapshot.prior.sort();
        snapshot.prior.dedup();
        let today = as_of.day();
        let oldest_use = today.plus(-usage_days);
        for signal in current(signals, as_of) {
            let record = RecordRef {
                kind: signal.fact.kind(),
                source: signal.source,
                external_id: signal.external_id,
            };
            let at = signal.event_at;
            match signal.fact {
                Fact::Account(fact) => {
                    // Two sources may both describe the account; the first by record name speaks for it.
                    let held = Held { record, at, fact };
                    let earlier = snapshot.account.as_ref().is_none_or(|now| held.record < now.record);
                    if earlier {
                        snapshot.account = Some(held);
                    }
                }
                Fact::Contract(mut fact) => {
                    hide(&mut fact.ended, today);
                    snapshot.contracts.push(Held { record, at, fact });
                }
                Fact::Subscription(mut fact) => {
                    hide(&mut fact.ended, today);
                    snapshot.subscriptions.push(Held { record, at, fact });
                }
                Fact::Movement(fact) => snapshot.movements.push(Held { record, at, fact }),
                Fact::Contact(mut fact) => {
                    hide(&mut fact.left, today);
                    hide(&mut fact.bounced, today);
                    snapshot.contacts.push(Held { record, at, fact });
                }
                Fact::Usage(fact) => {
                    if fact.start >= oldest_use {
                        snapshot.usage.push(Held { record, at, fact });
                    }
                }
                Fact::Ticket(mut fact) => {
                    if fact.closed.is_some_and(|closed| closed > as_of) {
                        fact.closed = None;
                        fact.csat = None;
                    }
                    snapshot.tickets.push(Held { record, at, fact });
                }
                Fact::Interaction(fact) => snapshot.interactions.push(Held { record, at, fact }),
                Fact::Survey(fact) => snapshot.surveys.push(Held { record, at, fact }),
                Fact::Invoice(mut fact) => {
                    hide(&mut fact.paid, today);
                    snapshot.invoices.push(Held { record, at, fact });
                }
                Fact::Opportunity(mut fact) => {
                    if fact.closed.is_some_and(|closed| closed > today) {
                        fact.closed = None;
                        fact.state = Some(OpportunityState::Open);
                        fact.stage = None;
                    }
                    snapshot.opportunities.push(Held { record, at, fact });
                }
                Fact::ChurnEvent(fact) => snapshot.churn_events.push(Held { record, at, fact }),
                Fact::Assignment(fact) => snapshot.assignments.push(Held { record, at, fact }),
                Fact::Treatment(fact) => snapshot.treatments.push(Held { record, at, fact }),
                Fact::ScoreOverride(fact) => snapshot.overrides.push(Held { record, at, fact }),
                Fact::Owner(_) | Fact::Product(_) | Fact::Gone(_) => {}
            }
        }
        snapshot.settle_roles();
        snapshot.sort();
        snapshot
    }

    /// Whom a CRM knows only by their roles in deals has the role that they have in open ones.
    fn settle_roles(&mut self) {
        let open: Vec<&RecordRef> = self
            .opportunities
            .iter()
            .filter(|deal| deal.fact.state == Some(OpportunityState::Open))
            .map(|deal| &deal.record)
            .collect();
        for person in &mut self.contacts {
            let source = &person.record.source;
            let is_open = |deal: &str| {
                open.iter()
                    .any(|o| o.source == *source && o.external_id.as_str() == deal)
            };
            person.fact.settle_role(is_open);
        }
        // Which deals are open now says nothing about then.
        for version in &mut self.contact_history {
            version.fact.settle_role(|_| true);
        }
    }

    /// The last moment up to `now` at which something became known of an account, but not before the day of `now` began:
    /// what is decided as of then holds until the next such moment or the next day, because nothing in a snapshot changes
    /// in between. Times inside a fact that lie between the two show from the next of these moments on.
    #[must_use]
    pub fn last_known(signals: &[Signal], now: Timestamp) -> Timestamp {
        let known = signals.iter().map(|s| s.observed_at).filter(|at| *at <= now).max();
        known.map_or(now.day().start(), |at| at.max(now.day().start()))
    }

    /// The first moment after `now` on its day at which something that is stored becomes known.
    #[must_use]
    pub fn next_known(signals: &[Signal], now: Timestamp) -> Option<Timestamp> {
        let later = signals.iter().map(|s| s.observed_at).filter(|at| *at > now);
        later.min().filter(|at| at.day() == now.day())
    }

    fn sort(&mut self) {
        fn by_record<T>(list: &mut [Held<T>]) {
            list.sort_by(|a, b| a.record.cmp(&b.record));
        }
        by_record(&mut self.contracts);
        by_record(&mut self.subscriptions);
        by_record(&mut self.movements);
        by_record(&mut self.contacts);
        self.usage
            .sort_by(|a, b| (a.fact.start, &a.record).cmp(&(b.fact.start, &b.record)));
        by_record(&mut self.tickets);
        by_record(&mut self.interactions);
        by_record(&mut self.surveys);
        by_record(&mut self.invoices);
        by_record(&mut self.opportunities);
        by_record(&mut self.churn_events);
        by_record(&mut self.assignments);
        by_record(&mut self.treatments);
        by_record(&mut self.overrides);
    }

    /// The account's own fact.
    #[must_use]
    pub fn account_fact(&self) -> Option<&Account> {
        self.account.as_ref().map(|held| &held.fact)
    }

    /// The override of a score that holds on the as-of day; of several the latest.
    #[must_use]
    pub fn override_of(&self, score: ScoreName) -> Option<&Held<ScoreOverride>> {
        let today = self.as_of.day();
        self.overrides
            .iter()
            .filter(|held| held.fact.score == Some(score) && held.fact.value.is_some())
            .filter(|held| held.fact.until.is_some_and(|until| today <= until))
            .max_by(|a, b| (a.at, &a.record).cmp(&(b.at, &b.record)))
    }

    /// What is known of one product alone: its use, and the subscriptions to it. Use that names no product is that of the
    /// account's `only` product.
    #[must_use]
    pub fn of_product(&self, product: &str, only: bool) -> Snapshot {
        let usage = self.usage.iter().filter(|u| match u.fact.product.as_deref() {
            Some(named) => named == product,
            None => only,
        });
        let subscriptions = self
            .subscriptions
            .iter()
            .filter(|s| s.fact.product.as_deref() == Some(product));
        Snapshot {
            usage: usage.cloned().collect(),
            subscriptions: subscriptions.cloned().collect(),
            ..Snapshot::of(self.account_id.clone(), self.as_of, Vec::new(), Vec::new(), 0)
        }
    }

    /// The account's name, or its id where no name is known.
    #[must_use]
    pub fn name(&self) -> &str {
        self.account_fact()
            .and_then(|fact| fact.name.as_deref())
            .unwrap_or(self.account_id.as_str())
    }
}

impl Portfolio {
    /// People and products as of a time.
    #[must_use]
    pub fn of(as_of: Timestamp, signals: Vec<Signal>) -> Portfolio {
        let mut portfolio = Portfolio::default();
        let mut sorted = current(signals, as_of);
        sorted.sort_by(|a, b| (&a.external_id, &a.source).cmp(&(&b.external_id, &b.source)));
        for signal in sorted {
            let id = signal.external_id.as_str().to_owned();
            match signal.fact {
                Fact::Owner(owner) => {
                    portfolio.owners.entry(id).or_insert(owner);
                }
                Fact::Product(product) => {
                    portfolio.products.entry(id).or_insert(product);
                }
                Fact::Account(_)
                | Fact::Contract(_)
                | Fact::Subscription(_)
                | Fact::Movement(_)
                | Fact::Contact(_)
                | Fact::Usage(_)
                | Fact::Ticket(_)
                | Fact::Interaction(_)
                | Fact::Survey(_)
                | Fact::Invoice(_)
                | Fact::Opportunity(_)
                | Fact::ChurnEvent(_)
                | Fact::Assignment(_)
                | Fact::Treatment(_)
                | Fact::ScoreOverride(_)
                | Fact::Gone(_) => {}
            }
        }
        portfolio
    }
}

/// Versions of people's records, each as its export had it, where exports taken by `as_of` differ.
fn versions(signals: &[Signal], as_of: Timestamp) -> Vec<Held<Contact>> {
    let mut by_record: BTreeMap<RecordRef, BTreeMap<Timestamp, &Contact>> = BTreeMap::new();
    for signal in signals {
        if let Fact::Contact(fact) = &signal.fact
            && signal.observed_at <= as_of
            && signal.revision_at <= as_of
        {
            let record = RecordRef {
                kind: signal.fact.kind(),
                source: signal.source.clone(),
                external_id: signal.external_id.clone(),
            };
            by_record.entry(record).or_default().insert(signal.revision_at, fact);
        }
    }
    let mut versions = Vec::new();
    for (record, facts) in by_record.into_iter().filter(|(_, facts)| facts.len() > 1) {
        for (at, fact) in facts {
            let mut fact = fact.clone();
            hide(&mut fact.left, as_of.day());
            hide(&mut fact.bounced, as_of.day());
            let record = record.clone();
            versions.push(Held { record, at, fact });
        }
    }
    versions
}

/// One signal a record: observed by `as_of`, and of its revisions the latest taken by then, else the earliest later one
/// (a backfill: the fact is dated before the export that brought it).
fn current(signals: Vec<Signal>, as_of: Timestamp) -> Vec<Signal> {
    let mut latest: BTreeMap<SignalKey, Signal> = BTreeMap::new();
    for signal in signals {
        if signal.observed_at > as_of {
            continue;
        }
        match latest.entry(signal.key()) {
            std::collections::btree_map::Entry::Vacant(place) => {
                place.insert(signal);
            }
            std::collections::btree_map::Entry::Occupied(mut place) => {
                if supersedes(&signal, place.get(), as_of) {
                    place.insert(signal);
                }
            }
        }
    }
    latest.into_values().collect()
}

fn supersedes(new: &Signal, old: &Signal, as_of: Timestamp) -> bool {
    match (new.revision_at <= as_of, old.revision_at <= as_of) {
        (true, false) => true,
        (false, true) => false,
        (true, true) => new.revision_at > old.revision_at,
        (false, false) => new.revision_at < old.revision_at,
    }
}

fn hide(date: &mut Option<Day>, today: Day) {
    if date.is_some_and(|date| date > today) {
        *date = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ExternalId, SourceId};

    fn signal(id: &str, observed: &str, revision: &str, fact: Fact) -> Signal {
        Signal {
            source: SourceId::new("test"),
            external_id: ExternalId::new(id),
            event_at: observed.parse().expect("a time"),
            observed_at: observed.parse().expect("a time"),
            revision_at: revision.parse().expect("a time"),
            fact,
        }
    }

    fn contract(ended: Option<&str>) -> Fact {
        Fact::Contract(Contract {
            ended: ended.map(|d| d.parse().expect("a day")),
            ..Contract::default()
        })
    }

    fn snapshot(as_of: &str, signals: Vec<Signal>) -> Snapshot {
        Snapshot::of(
            AccountId::new("a"),
            as_of.parse().expect("a time"),
            signals,
            Vec::new(),
            280,
        )
    }

    #[test]
    fn order_and_repetition_do_not_matter() {
        let one = signal("1", "2026-01-01", "1970-01-01", contract(None));
        let two = signal("2", "2026-01-02", "1970-01-01", contract(Some("2026-01-05")));
        let a = snapshot("2026-02-01", vec![one.clone(), two.clone()]);
        let b = snapshot("2026-02-01", vec![two.clone(), one, two]);
        assert_eq!(a, b);
        assert_eq!(a.contracts.len(), 2);
    }

    #[test]
    fn what_was_observed_later_is_not_there() {
        let later = signal("1", "2026-03-01", "1970-01-01", contract(None));
        assert!(snapshot("2026-02-28", vec![later.clone()]).contracts.is_empty());
        assert_eq!(snapshot("2026-03-01", vec![later]).contracts.len(), 1);
    }

    #[test]
    fn who_has_roles_only_in_deals_has_that_of_the_open_ones() {
        use crate::signal::ContactRole;
        let deal = |id: &str, state| {
            let fact = Opportunity {
                state: Some(state),
                ..Opportunity::default()
            };
            signal(id, "2026-01-01", "1970-01-01", Fact::Opportunity(fact))
        };
        let person = |own: Option<ContactRole>, deals: &[(&str, ContactRole)]| {
            let roles = deals.iter().map(|(deal, role)| ((*deal).to_owned(), *role));
            let fact = Contact {
                role: own,
                deal_roles: Some(roles.collect()),
                ..Contact::default()
            };
            signal("c", "2026-01-01", "1970-01-01", Fact::Contact(fact))
        };
        let (buyer, champion, user) = (ContactRole::EconomicBuyer, ContactRole::Champion, ContactRole::User);
        let role = |person: Signal| {
            let deals = [
                deal("won", OpportunityState::Won),
                deal("open", OpportunityState::Open),
                deal("too", OpportunityState::Open),
            ];
            let all = deals.into_iter().chain([person]).collect();
            snapshot("2026-02-01", all).contacts[0].fact.role
        };
        assert_eq!(
            role(person(None, &[("won", champion), ("open", buyer), ("too", user)])),
            Some(buyer)
        );
        assert_eq!(
            role(person(None, &[("won", champion)])),
            Some(champion),
            "none in an open one"
        );
        assert_eq!(
            role(person(Some(user), &[("open", buyer)])),
            Some(user),
            "their own record comes first"
        );
        assert_eq!(role(person(None, &[])), None);
    }

    #[test]
    fn an_end_in_the_future_is_hidden() {
        let ended = signal("1", "2026-01-01", "1970-01-01", contract(Some("2026-06-30")));
        assert_eq!(
            snapshot("2026-06-29", vec![ended.clone()]).contracts[0].fact.ended,
            None
        );
        assert!(snapshot("2026-06-30", vec![ended]).contracts[0].fact.ended.is_some());
    }

    #[test]
    fn the_latest_export_by_then_speaks() {
        let first = signal("1", "2026-01-01", "2026-02-01", contract(None));
        let second = signal("1", "2026-01-01", "2026-04-01", contract(Some("2026-01-15")));
        let both = vec![second, first];
        assert_eq!(snapshot("2026-03-01", both.clone()).contracts[0].fact.ended, None);
        assert!(snapshot("2026-04-01", both.clone()).contracts[0].fact.ended.is_some());
        // Before either export was taken the earliest one is the best there is.
        assert_eq!(snapshot("2026-01-20", both).contracts[0].fact.ended, None);
    }
}
