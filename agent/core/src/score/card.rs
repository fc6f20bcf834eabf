//! Further scorecards: one index for the account or for each of its products, rolled up to one number.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Band, IndexScore, band, index};
use crate::feature::{Features, compute_use};
use crate::money::Money;
use crate::number::Micro;
use crate::policy::{Per, RollUp, Scorecard, Settings};
use crate::snapshot::Snapshot;

/// A scorecard of one account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// Its name in the policy.
    pub name: String,
    /// How its parts became one number.
    pub roll_up: RollUp,
    /// 0 to 100, the exact sum of what the parts add; `None` when it cannot be said.
    pub score_micro: Option<Micro>,
    /// Band of the score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub band: Option<Band>,
    /// What it is made of: the account itself, or its products.
    pub parts: Vec<CardPart>,
    /// Why there is no score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

/// One part of a scorecard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardPart {
    /// Product; empty for the account.
    pub subject: String,
    /// Yearly revenue of the part, in the policy's currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arr: Option<Money>,
    /// What it adds to the card's score.
    pub adds_micro: Micro,
    /// Its index.
    pub index: IndexScore,
}

/// The scorecards of an account.
#[must_use]
pub fn cards(snapshot: &Snapshot, features: &Features, policy: &[Scorecard], settings: &Settings) -> Vec<Card> {
    if policy.is_empty() {
        return Vec::new();
    }
    let products = products(snapshot, features, settings);
    policy
        .iter()
        .map(|card| {
            let parts = match card.per {
                Per::Account => vec![CardPart {
                    subject: String::new(),
                    arr: features.money("arr"),
                    adds_micro: Micro::ZERO,
                    index: index(features, &card.index, snapshot.as_of),
                }],
                Per::Product => products
                    .iter()
                    .map(|(product, (own, arr))| CardPart {
                        subject: product.clone(),
                        arr: *arr,
                        adds_micro: Micro::ZERO,
                        index: index(own, &card.index, snapshot.as_of),
                    })
                    .collect(),
            };
            roll_up(card, parts)
        })
        .collect()
}

/// The products that an account has bought or uses, with their features of use and the revenue of their live subscriptions.
fn products(
    snapshot: &Snapshot,
    features: &Features,
    settings: &Settings,
) -> BTreeMap<String, (Features, Option<Money>)> {
    let today = snapshot.as_of.day();
    let live: Vec<_> = snapshot
        .subscriptions
        .iter()
        .filter(|s| s.fact.ended.is_none_or(|day| day > today) && s.fact.start.is_none_or(|day| day <= today))
        .collect();
    let names = live
        .iter()
        .filter_map(|s| s.fact.product.as_deref())
        .chain(snapshot.usage.iter().filter_map(|u| u.fact.product.as_deref()));
    let names: BTreeSet<&str> = names.collect();
    let only = names.len() == 1;
    let mut found = BTreeMap::new();
    for name in names {
        found.entry(name.to_owned()).or_insert_with(|| {
            let mut amounts = live
                .iter()
                .filter(|s| s.fact.product.as_deref() == Some(name))
                .map(|s| s.fact.arr)
                .peekable();
            let arr = amounts
                .peek()
                .is_some()
                .then(|| amounts.collect::<Option<Vec<Money>>>())
                .flatten();
            let arr = arr.and_then(|all| settings.sum(all.into_iter()).ok());
            let mut own = compute_use(&snapshot.of_product(name, only));
            // A feed that stands still does so for every product.
            for (fact, feature) in &mut own.0 {
                feature.stale = features.stale(fact).map(str::to_owned);
            }
            (own, arr)
        });
    }
    found
}

/// The share of each part, given by score and revenue, in the score of all; they add up to 1. A part whose score is not
/// known has none.
///
/// # Errors
/// Names what is missing where no shares can be had.
pub(super) fn shares(
    roll_up: RollUp,
    parts: impl Iterator<Item = (Option<Micro>, Option<i64>)>,
) -> Result<Vec<f64>, String> {
    let parts: Vec<(Option<Micro>, Option<i64>)> = parts.collect();
    let known = parts.iter().filter(|(score, _)| score.is_some());
    let each = |share: &dyn Fn(usize, Option<i64>) -> f64| {
        let share = |(at, (score, arr)): (usize, &(Option<Micro>, Option<i64>))| score.map_or(0.0, |_| share(at, *arr));
        parts.iter().enumerate().map(share).collect()
    };
    match roll_up {
        RollUp::Mean => {
            let one = 1.0 / known.count().max(1) as f64;
            Ok(each(&|_, _| one))
        }
        RollUp::ArrWeighted => {
            let total = known.map(|(_, arr)| arr.map(|a| a as f64)).sum::<Option<f64>>();
            let total = total.filter(|total| *total > 0.0);
            let total = total.ok_or_else(|| "the yearly revenue of its parts".to_owned())?;
            Ok(each(&|_, arr| arr.map_or(0.0, |a| a as f64 / total)))
        }
        RollUp::Worst => {
            let scores = parts
                .iter()
                .enumerate()
                .filter_map(|(at, (score, _))| Some(((*score)?, at)));
            let worst = scores.min().map(|(_, at)| at);
            Ok(each(&|at, _| if Some(at) == worst { 1.0 } else { 0.0 }))
        }
    }
}

fn roll_up(card: &Scorecard, mut parts: Vec<CardPart>) -> Card {
    let mut missing = parts.iter().all(|p| p.index.score_micro.is_none()).then(|| {
        if parts.is_empty() {
            "a product".to_owned()
        } else {
            "enough known measures of any part".to_owned()
        }
    });
    let known = parts.iter().map(|p| (p.index.score_micro, p.arr.map(|a| a.minor)));
    let shares = shares(card.roll_up, known).unwrap_or_else(|gap| {
        missing.get_or_insert(gap);
        vec![0.0; parts.len()]
    });
    for (part, share) in parts.iter_mut().zip(&shares) {
        let score = part.index.score_micro.unwrap_or_default();
        part.adds_micro = Micro::from_f64(score.to_f64() * share);
    }
    // INVARIANT (a score is the sum of its contributions).
    let score_micro = missing
        .is_none()
        .then(|| Micro(parts.iter().map(|p| p.adds_micro.0).sum()));
    Card {
        name: card.name.clone(),
        roll_up: card.roll_up,
        score_micro,
        band: score_micro.map(|score| band(score, &card.index)),
        parts,
        missing,
    }
}
