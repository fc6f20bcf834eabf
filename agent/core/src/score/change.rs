//! Why a score moved between two dates: an exact difference, term by term, with the records that are new.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Contribution;
use crate::feature::{Feature, Features};
use crate::number::Micro;
use crate::signal::RecordRef;

/// How one score moved. For an index in points, for risk in log odds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Score at the first date; `None` when it could not be assessed.
    pub before_micro: Option<Micro>,
    /// Score at the second date.
    pub after_micro: Option<Micro>,
    /// Terms, the largest move first. They sum exactly to the sum of all contributions after less that before, which is
    /// the move of the score where both dates have one.
    pub terms: Vec<ChangeTerm>,
}

/// How one term moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeTerm {
    /// Feature.
    pub fact: String,
    /// Value at the first date; `None` when it was not known.
    pub before: Option<String>,
    /// Value at the second date.
    pub after: Option<String>,
    /// What it added at the first date.
    pub adds_before_micro: Micro,
    /// What it adds at the second.
    pub adds_after_micro: Micro,
    /// The difference of the two.
    pub change_micro: Micro,
    /// Records behind the value after that were not behind it before, the newest first.
    pub new_records: Vec<RecordRef>,
}

/// The move of a score, given as its value and contributions at two dates.
#[must_use]
pub fn change(
    before: (Option<Micro>, &[Contribution], &Features),
    after: (Option<Micro>, &[Contribution], &Features),
) -> Change {
    let by_fact = |list: &[Contribution]| -> BTreeMap<String, Contribution> {
        list.iter().map(|c| (c.fact.clone(), c.clone())).collect()
    };
    let (first, second) = (by_fact(before.1), by_fact(after.1));
    let facts: BTreeSet<&String> = first.keys().chain(second.keys()).collect();
    let mut terms: Vec<ChangeTerm> = facts
        .into_iter()
        .map(|fact| {
            let (a, b) = (first.get(fact), second.get(fact));
            let adds = |c: Option<&Contribution>| c.map_or(Micro::ZERO, |c| c.adds_micro);
            ChangeTerm {
                fact: fact.clone(),
                before: a.map(|c| c.value.clone()),
                after: b.map(|c| c.value.clone()),
                adds_before_micro: adds(a),
                adds_after_micro: adds(b),
                change_micro: Micro(adds(b).0 - adds(a).0),
                new_records: new_records(fact, before.2, after.2),
            }
        })
        .filter(|term| term.change_micro.0 != 0 || term.before != term.after)
        .collect();
    terms.sort_by(|a, b| {
        let size = |t: &ChangeTerm| std::cmp::Reverse(t.change_micro.0.abs());
        size(a).cmp(&size(b)).then_with(|| a.fact.cmp(&b.fact))
    });
    Change {
        before_micro: before.0,
        after_micro: after.0,
        terms,
    }
}

fn new_records(fact: &str, before: &Features, after: &Features) -> Vec<RecordRef> {
    // A word as an input is named `feature=word`.
    let name = fact.split_once('=').map_or(fact, |(name, _)| name);
    let records = |features: &'_ Features| -> Vec<RecordRef> {
        let of = |f: &Feature| f.records.clone();
        features.0.get(name).map(of).unwrap_or_default()
    };
    let known: BTreeSet<RecordRef> = records(before).into_iter().collect();
    records(after).into_iter().filter(|r| !known.contains(r)).collect()
}
