//! People at the customer, and touches.

use super::{Found, Put, Value};
use crate::signal::{Contact, ContactRole, InteractionKind};
use crate::snapshot::{Held, Snapshot};

/// Days for which a departure is news.
const DEPARTURE_DAYS: i64 = 90;
/// Days for which a reference counts as given.
const ADVOCACY_DAYS: i64 = 365;

fn gone(contact: &Contact) -> Option<crate::time::Day> {
    contact.left.or(contact.bounced)
}

fn is_sponsor(contact: &Contact) -> bool {
    matches!(
        contact.role,
        Some(ContactRole::Champion | ContactRole::ExecutiveSponsor)
    )
}

pub(super) fn compute(snapshot: &Snapshot, put: &mut Put<'_>) {
    let today = snapshot.as_of.day();
    let contacts = &snapshot.contacts;
    if contacts.is_empty() {
        for name in ["contacts_live", "sponsor_gap", "sponsor_left_days", "single_threaded"] {
            put(name, Found::unknown("contact"));
        }
    } else {
        let live: Vec<&Held<Contact>> = contacts.iter().filter(|c| gone(&c.fact).is_none()).collect();
        // The same person under two ids is one thread, not two.
        let mut people: Vec<String> = live.iter().map(|c| identity(c)).collect();
        people.sort();
        people.dedup();
        put(
            "contacts_live",
            Found::number(people.len() as f64).from(live.iter().copied()),
        );
        put(
            "single_threaded",
            Found::known(Value::Flag(people.len() == 1)).from(live.iter().copied()),
        );
        let replaced = live.iter().any(|c| is_sponsor(&c.fact));
        let departed = contacts
            .iter()
            .filter(|c| is_sponsor(&c.fact))
            .filter_map(|c| gone(&c.fact).map(|day| (day, c)))
            .filter(|(day, _)| day.days_until(today) <= DEPARTURE_DAYS)
            .max_by(|a, b| (a.0, &a.1.record).cmp(&(b.0, &b.1.record)));
        let gap = departed.filter(|_| !replaced);
        put(
            "sponsor_gap",
            Found::known(Value::Flag(gap.is_some())).from(gap.map(|g| g.1)),
        );
        put(
            "sponsor_left_days",
            match gap {
                Some((day, held)) => Found::number(day.days_until(today) as f64).from(Some(held)),
                None => Found::unknown("no champion or sponsor left without a successor"),
            },
        );
    }
    touches(snapshot, put);
}

fn identity(held: &Held<Contact>) -> String {
    let mail = held.fact.email.as_deref().map(str::trim).filter(|m| !m.is_empty());
    mail.map_or_else(|| held.record.external_id.as_str().to_owned(), str::to_lowercase)
}

fn touches(snapshot: &Snapshot, put: &mut Put<'_>) {
    let today = snapshot.as_of.day();
    let newest = snapshot
        .interactions
        .iter()
        .max_by(|a, b| (a.at, &a.record).cmp(&(b.at, &b.record)));
    let treated = snapshot
        .treatments
        .iter()
        .filter(|t| t.fact.executed == Some(true))
        .max_by(|a, b| (a.at, &a.record).cmp(&(b.at, &b.record)));
    let touched = newest.map(|n| n.at).max(treated.map(|t| t.at));
    put(
        "days_since_touch",
        match touched {
            Some(at) => Found::number(at.day().days_until(today) as f64)
                .from(newest)
                .from(treated),
            None => Found::unknown("interaction"),
        },
    );
    let review = snapshot
        .interactions
        .iter()
        .filter(|i| matches!(i.fact.kind, Some(InteractionKind::Qbr | InteractionKind::Ebr)))
        .max_by(|a, b| (a.at, &a.record).cmp(&(b.at, &b.record)));
    let since = snapshot.account_fact().and_then(|f| f.since);
    put(
        "days_since_qbr",
        match (review, since) {
            (Some(review), _) => Found::number(review.at.day().days_until(today) as f64).from(Some(review)),
            // Without any record of touches we cannot say that no review took place.
            (None, Some(since)) if !snapshot.interactions.is_empty() => {
                Found::number(since.days_until(today) as f64).from(snapshot.account.as_ref())
            }
            (None, _) => Found::unknown("interaction of kind qbr"),
        },
    );
    let advocacy: Vec<_> = snapshot
        .interactions
        .iter()
        .filter(|i| i.fact.kind == Some(InteractionKind::Advocacy))
        .filter(|i| i.at.day().days_until(today) <= ADVOCACY_DAYS)
        .collect();
    put(
        "advocated",
        Found::known(Value::Flag(!advocacy.is_empty())).from(advocacy),
    );
}
