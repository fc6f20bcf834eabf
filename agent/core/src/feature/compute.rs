//! From a snapshot to features. Each block computes one family; the catalogue says what every name means.

mod money;
mod people;
mod support;
mod usage;

pub(crate) use usage::most;

pub use money::Renewal;

use super::{Features, Found, Value};
use crate::number::Micro;
use crate::policy::Settings;
use crate::signal::{Arm, ScoreName};
use crate::snapshot::Snapshot;

/// Features of a snapshot, and the agreements whose end lies ahead, the nearest first.
///
/// Scores are added to the features later, by `score`.
#[must_use]
pub fn compute(snapshot: &Snapshot, settings: &Settings) -> (Features, Vec<Renewal>) {
    let mut out = Features::default();
    let mut put = |name: &str, found: Found| out.insert(&snapshot.account_id, name, found);
    account(snapshot, &mut put);
    let renewals = money::compute(snapshot, settings, &mut put);
    let seats = usage::compute(snapshot, &mut put);
    people::compute(snapshot, &mut put);
    support::compute(snapshot, seats, &mut put);
    (out, renewals)
}

/// Features of use alone, for a part of a snapshot such as one product.
#[must_use]
pub fn compute_use(snapshot: &Snapshot) -> Features {
    let mut out = Features::default();
    usage::compute(snapshot, &mut |name: &str, found: Found| {
        out.insert(&snapshot.account_id, name, found);
    });
    out
}

/// Receives one feature.
type Put<'a> = dyn FnMut(&str, Found) + 'a;

fn account(snapshot: &Snapshot, put: &mut Put<'_>) {
    let held = snapshot.account.as_ref();
    let fact = snapshot.account_fact();
    let flag = |field: Option<bool>, name: &str| match field {
        Some(value) => Found::known(Value::Flag(value)).from(held),
        None => Found::unknown(name),
    };
    // A source that has no such column cannot say that somebody opted out, so absence reads as "not asked".
    put(
        "do_not_contact",
        flag(fact.map(|f| f.do_not_contact.unwrap_or(false)), "account.name"),
    );
    put(
        "legal_hold",
        flag(fact.map(|f| f.legal_hold.unwrap_or(false)), "account.name"),
    );
    put("trial", flag(fact.map(|f| f.trial.unwrap_or(false)), "account.name"));
    let today = snapshot.as_of.day();
    let since = fact.and_then(|f| f.since).map(|day| (day, true));
    let first_start = snapshot
        .contracts
        .iter()
        .filter_map(|c| c.fact.start)
        .chain(snapshot.subscriptions.iter().filter_map(|s| s.fact.start))
        .min()
        .map(|day| (day, false));
    put(
        "tenure_days",
        match since.or(first_start) {
            Some((day, from_account)) => {
                let found = Found::number(day.days_until(today) as f64);
                if from_account {
                    found.from(held)
                } else {
                    found.from(&snapshot.contracts).from(&snapshot.subscriptions)
                }
            }
            None => Found::unknown("account.since"),
        },
    );
    let overridden = |score: ScoreName| match snapshot.override_of(score) {
        Some(held) => Found::number(held.fact.value.map_or(0.0, Micro::to_f64)).from([held]),
        None => Found::unknown("an override by a person"),
    };
    put("health_override", overridden(ScoreName::Health));
    put("risk_override", overridden(ScoreName::Risk));
    put("expansion_override", overridden(ScoreName::Expansion));
    let holdout = snapshot.assignments.iter().any(|a| a.fact.arm == Some(Arm::Holdout));
    put(
        "holdout",
        Found::known(Value::Flag(holdout)).from(&snapshot.assignments),
    );
}
