//! Scores: health, expansion, renewal risk and renewal posture.
//!
//! Every score is the exact sum of its contributions: both are whole millionths, and the score is made by adding the
//! contributions up. Health and expansion are indices of 0 to 100 (higher is healthier, readier), not probabilities;
//! risk is a probability estimated from policy constants, not yet calibrated on outcomes.

mod card;
mod change;
mod family;
mod held;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use card::{Card, CardPart, cards};
pub use change::{Change, ChangeTerm, change};
pub use family::{Family, FamilyCoverage, FamilyFault, FamilyFaultKind, FamilyMember, FamilyPart, FamilyTree};
pub use held::{BAND_WEEKS, held_band, settles};

use crate::feature::{Features, Renewal, Value, display, label};
use crate::ids::{AccountId, OwnerId};
use crate::money::Money;
use crate::number::Micro;
use crate::policy::{Bands, Index, PostureLimits, Risk, RiskInput, Scoring, Settings};
use crate::signal::{RecordRef, ScoreName, word_enum};
use crate::snapshot::Snapshot;
use crate::time::{Day, Timestamp};

/// One term of a score.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contribution {
    /// Feature; for a word `feature=word`.
    pub fact: String,
    /// Category, where the policy has them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Evidence id of the feature.
    pub evidence: String,
    /// The feature's value as a person reads it.
    pub value: String,
    /// Points of 100 that the value earns, for an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub points_micro: Option<Micro>,
    /// What it adds to the score: points for an index, log odds for risk.
    pub adds_micro: Micro,
}

/// A weighted index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexScore {
    /// 0 to 100; `None` when too little is known.
    pub score_micro: Option<Micro>,
    /// Share of the weight that is known, 1 is all.
    pub confidence_micro: Micro,
    /// Band of the score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub band: Option<Band>,
    /// Terms, the largest first; they sum exactly to the score.
    pub contributions: Vec<Contribution>,
    /// Measures that are not known, with the field that is missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Missing>,
    /// Set by a person; the contribution of that name is what it changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overridden: Option<Overridden>,
}

/// A score that a person set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overridden {
    /// What the engine had computed; `None` when it could not assess.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub computed_micro: Option<Micro>,
    /// Why.
    pub reason: String,
    /// Who.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<OwnerId>,
    /// Last day on which it holds.
    pub until: Day,
}

/// A measure without a value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Missing {
    /// Feature.
    pub fact: String,
    /// What would make it known.
    pub field: String,
}

word_enum! {
    /// Band of an index.
    Band {
        /// Needs somebody now.
        Red = "red",
        /// Needs watching.
        Yellow = "yellow",
        /// Well.
        Green = "green",
    }
}

/// Renewal risk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RiskScore {
    /// Probability of not renewing, 1 is certain; `None` when less than half of the inputs' weight is known.
    pub probability_micro: Option<Micro>,
    /// Log odds: the intercept plus the contributions, exactly.
    pub log_odds_micro: Micro,
    /// Log odds with every input at its mean.
    pub intercept_micro: Micro,
    /// Share of the inputs' weight that is known, 1 is all.
    pub confidence_micro: Micro,
    /// Terms, the largest first.
    pub contributions: Vec<Contribution>,
    /// Inputs that are not known; they count as average.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Missing>,
    /// Set by a person; the contribution of that name is what it changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overridden: Option<Overridden>,
}

word_enum! {
    /// Judgement of a coming renewal.
    PostureState {
        /// Nothing speaks against it.
        OnTrack = "on_track",
        /// Needs watching.
        Watch = "watch",
        /// In danger.
        AtRisk = "at_risk",
        /// A fact is missing.
        CannotAssess = "cannot_assess",
    }
}

/// Judgement of one agreement's coming end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posture {
    /// The agreement's record.
    pub record: RecordRef,
    /// Product or contract, for people.
    pub label: String,
    /// Judgement.
    pub state: PostureState,
    /// End of the term.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Day>,
    /// The end was derived from start and term.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub derived: bool,
    /// Days left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days_left: Option<i64>,
    /// Last day for notice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<Day>,
    /// The smallest window of the policy that it lies in, in days; `None` when it is further away than all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<i64>,
    /// Yearly revenue it carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arr: Option<Money>,
    /// What drives the judgement, the strongest first.
    pub drivers: Vec<String>,
    /// The field that is missing, when it cannot be assessed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

/// All scores of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scores {
    /// Health index.
    pub health: IndexScore,
    /// Expansion index.
    pub expansion: IndexScore,
    /// Renewal risk.
    pub risk: RiskScore,
    /// One judgement an agreement.
    pub postures: Vec<Posture>,
    /// Further scorecards of the policy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cards: Vec<Card>,
}

/// Share of the risk inputs' weight below which no probability is given.
pub(crate) const RISK_FLOOR: f64 = 0.5;
/// Drivers that a posture names.
const DRIVERS: usize = 3;

/// Scores an account, and adds `health`, `health_confidence`, `risk` and `expansion` to its features.
#[must_use]
pub fn score(
    snapshot: &Snapshot,
    features: &mut Features,
    renewals: &[Renewal],
    scoring: &Scoring,
    settings: &Settings,
) -> Scores {
    let (account, as_of) = (&snapshot.account_id, snapshot.as_of);
    let mut health = index(features, &scoring.health, as_of);
    override_index(snapshot, ScoreName::Health, &mut health, features, &scoring.health);
    add(features, account, as_of, "health", health.score_micro, &health.missing);
    let confidence = Micro(health.confidence_micro.0 * 100);
    add(features, account, as_of, "health_confidence", Some(confidence), &[]);
    let mut risk = risk(features, &scoring.risk);
    override_risk(snapshot, &mut risk, features);
    let percent = risk.probability_micro.map(|p| Micro(p.0 * 100));
    add(features, account, as_of, "risk", percent, &risk.missing);
    let mut expansion = index(features, &scoring.expansion, as_of);
    override_index(
        snapshot,
        ScoreName::Expansion,
        &mut expansion,
        features,
        &scoring.expansion,
    );
    add(
        features,
        account,
        as_of,
        "expansion",
        expansion.score_micro,
        &expansion.missing,
    );
    let postures = renewals
        .iter()
        .map(|r| posture(r, &risk, &scoring.posture, as_of.day()))
        .collect();
    Scores {
        health,
        expansion,
        risk,
        postures,
        cards: cards(snapshot, features, &scoring.scorecards, settings),
    }
}

/// Health as the engine computes it from features, whatever a person has set; `None` when it cannot be assessed.
#[must_use]
pub fn computed_health(features: &Features, scoring: &Scoring, as_of: Timestamp) -> Option<Micro> {
    index(features, &scoring.health, as_of).score_micro
}

/// An override as a score carries it, with the feature that is its evidence.
fn override_of<'a>(
    snapshot: &'a Snapshot,
    score: ScoreName,
    features: &'a Features,
    computed_micro: Option<Micro>,
) -> Option<(Micro, Contribution, Overridden)> {
    let fact = &snapshot.override_of(score)?.fact;
    let (value, until) = fact.value.zip(fact.until)?;
    let name = format!("{score}_override");
    let contribution = Contribution {
        evidence: features.0.get(&name)?.evidence.clone(),
        value: features.display(&name),
        fact: name,
        group: String::new(),
        points_micro: None,
        adds_micro: Micro::ZERO,
    };
    let overridden = Overridden {
        computed_micro,
        reason: fact.reason.clone().unwrap_or_default(),
        by: fact.by.clone(),
        until,
    };
    Some((value, contribution, overridden))
}

fn override_index(snapshot: &Snapshot, name: ScoreName, score: &mut IndexScore, features: &Features, policy: &Index) {
    let Some((value, mut term, overridden)) = override_of(snapshot, name, features, score.score_micro) else {
        return;
    };
    let sum: i64 = score.contributions.iter().map(|c| c.adds_micro.0).sum();
    term.adds_micro = Micro(value.0 - sum);
    score.contributions.push(term);
    largest_first(&mut score.contributions);
    score.score_micro = Some(value);
    score.band = Some(band(value, policy));
    score.overridden = Some(overridden);
}

/// Percent that a set risk may at most have, and 100 less it at least: certainty has no log odds.
const RISK_SET_MAX: f64 = 99.9;

fn override_risk(snapshot: &Snapshot, score: &mut RiskScore, features: &Features) {
    let computed = score.probability_micro.map(|p| Micro(p.0 * 100));
    let Some((value, mut term, overridden)) = override_of(snapshot, ScoreName::Risk, features, computed) else {
        return;
    };
    let p = value.to_f64().clamp(100.0 - RISK_SET_MAX, RISK_SET_MAX) / 100.0;
    let log_odds = Micro::from_f64(libm::log(p / (1.0 - p)));
    term.adds_micro = Micro(log_odds.0 - score.log_odds_micro.0);
    score.contributions.push(term);
    largest_first(&mut score.contributions);
    score.log_odds_micro = log_odds;
    score.probability_micro = Some(Micro::from_f64(p));
    score.overridden = Some(overridden);
}

fn band(score: Micro, index: &Index) -> Band {
    band_of(score, index.bands)
}

fn band_of(score: Micro, bands: Bands) -> Band {
    if score.to_f64() < bands.red_below {
        Band::Red
    } else if score.to_f64() < bands.green_from {
        Band::Yellow
    } else {
        Band::Green
    }
}

fn add(
    features: &mut Features,
    account: &AccountId,
    as_of: Timestamp,
    name: &str,
    value: Option<Micro>,
    missing: &[Missing],
) {
    let gap = missing
        .first()
        .map_or_else(|| "its inputs".to_owned(), |m| m.field.clone());
    features.insert_score(account, name, value, as_of, &gap);
}

pub(super) fn index(features: &Features, index: &Index, as_of: Timestamp) -> IndexScore {
    // Measure, points, whether they are known, the feature.
    let mut counted = Vec::new();
    let mut missing = Vec::new();
    for measure in &index.measures {
        let feature = features.0.get(&measure.fact);
        let too_old = measure.max_age_days.and_then(|max| {
            let age = feature?.as_of?.day().days_until(as_of.day());
            (age > max).then(|| format!("newer than {age} days old (limit {max})"))
        });
        let too_old = too_old.or_else(|| features.stale(&measure.fact).map(str::to_owned));
        let gap = match (features.number(&measure.fact), feature, too_old) {
            (Some(value), Some(feature), None) => {
                counted.push((measure, curve(&measure.points, value), true, feature));
                continue;
            }
            (Some(_), Some(_), Some(stale)) => stale,
            (Some(_) | None, _, _) => features.missing(&measure.fact).unwrap_or("not computed").to_owned(),
        };
        if let Some((points, feature)) = measure.when_missing.zip(feature) {
            counted.push((measure, points, false, feature));
        }
        missing.push(Missing {
            fact: measure.fact.clone(),
            field: gap,
        });
    }
    let weight: f64 = counted.iter().map(|c| c.0.weight).sum();
    let known: f64 = counted.iter().filter(|c| c.2).map(|c| c.0.weight).sum();
    let mut contributions: Vec<Contribution> = counted
        .iter()
        .map(|(measure, points, known, feature)| Contribution {
            fact: measure.fact.clone(),
            group: measure.group.clone(),
            evidence: feature.evidence.clone(),
            value: if *known {
                features.display(&measure.fact)
            } else {
                "not known, counted as the policy says".to_owned()
            },
            points_micro: Some(Micro::from_f64(*points)),
            adds_micro: Micro::from_f64(if weight > 0.0 {
                points * measure.weight / weight
            } else {
                0.0
            }),
        })
        .collect();
    largest_first(&mut contributions);
    // The shares of nested groups are quotients: a sum of them may miss its limit by a rounding.
    let enough = known > 0.0 && known + 1e-9 >= index.unknown_below;
    // INVARIANT (a score is the sum of its contributions): made by adding, never computed beside them.
    let sum = Micro(contributions.iter().map(|c| c.adds_micro.0).sum());
    IndexScore {
        score_micro: enough.then_some(sum),
        confidence_micro: Micro::from_f64(known / 100.0),
        band: enough.then(|| band(sum, index)),
        contributions,
        missing,
        overridden: None,
    }
}

/// Piecewise linear through the knots, flat outside.
fn curve(points: &[(f64, f64)], x: f64) -> f64 {
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return 0.0;
    };
    if x <= first.0 {
        return first.1;
    }
    for pair in points.windows(2) {
        let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
        if x <= x1 {
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0);
        }
    }
    last.1
}

fn risk(features: &Features, policy: &Risk) -> RiskScore {
    let intercept_micro = Micro::from_f64(policy.intercept);
    let mut contributions = Vec::new();
    let mut missing = Vec::new();
    let (mut known, mut all) = (0.0, 0.0);
    for input in &policy.inputs {
        all += input.weight.abs();
        let stale = features.stale(&input.fact);
        let value = risk_input(features, input).filter(|_| stale.is_none());
        let Some(feature) = features.0.get(&input.fact) else {
            continue;
        };
        let Some(x) = value else {
            let field = stale
                .or_else(|| features.missing(&input.fact))
                .unwrap_or("not computed");
            missing.push(Missing {
                fact: input.fact.clone(),
                field: field.to_owned(),
            });
            continue;
        };
        known += input.weight.abs();
        let adds_micro = Micro::from_f64(input.weight * (x - input.mean) / input.sd);
        let fact = input
            .equals
            .as_ref()
            .map_or_else(|| input.fact.clone(), |word| format!("{}={word}", input.fact));
        contributions.push(Contribution {
            fact,
            group: String::new(),
            evidence: feature.evidence.clone(),
            value: features.display(&input.fact),
            points_micro: None,
            adds_micro,
        });
    }
    largest_first(&mut contributions);
    // INVARIANT (a score is the sum of its contributions).
    let log_odds_micro = Micro(intercept_micro.0 + contributions.iter().map(|c| c.adds_micro.0).sum::<i64>());
    let share = if all > 0.0 { known / all } else { 0.0 };
    RiskScore {
        probability_micro: (share >= RISK_FLOOR).then(|| Micro::from_f64(sigmoid(log_odds_micro.to_f64()))),
        log_odds_micro,
        intercept_micro,
        confidence_micro: Micro::from_f64(share),
        contributions,
        missing,
        overridden: None,
    }
}

/// The value that an input of the risk enters with, in the units of its mean and deviation; `None` where it is not known.
#[must_use]
pub fn risk_input(features: &Features, input: &RiskInput) -> Option<f64> {
    let raw = match &input.equals {
        Some(word) => features.text(&input.fact).map(|w| if w == word { 1.0 } else { 0.0 }),
        None => features.number(&input.fact),
    }?;
    let scaled = input
        .log_scale
        .map_or(raw, |scale| libm::log(1.0 + raw.max(0.0) / scale));
    Some(
        input
            .at_least
            .map_or(scaled, |limit| if scaled >= limit { 1.0 } else { 0.0 }),
    )
}

/// 1 / (1 + e^-z).
#[must_use]
pub fn sigmoid(z: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-z))
}

fn largest_first(contributions: &mut [Contribution]) {
    contributions.sort_by(|a, b| (b.adds_micro.0.abs(), &a.fact).cmp(&(a.adds_micro.0.abs(), &b.fact)));
}

fn posture(renewal: &Renewal, risk: &RiskScore, limits: &PostureLimits, today: Day) -> Posture {
    let mut judged = Posture {
        record: renewal.record.clone(),
        label: renewal.label.clone(),
        state: PostureState::CannotAssess,
        end: None,
        derived: renewal.derived,
        days_left: None,
        notice: renewal.notice,
        window: None,
        arr: renewal.arr,
        drivers: Vec::new(),
        missing: None,
    };
    let end = match &renewal.end {
        Ok(end) => *end,
        Err(field) => {
            judged.missing = Some(field.clone());
            return judged;
        }
    };
    let days_left = today.days_until(end);
    judged.end = Some(end);
    judged.days_left = Some(days_left);
    judged.window = limits.windows.iter().copied().filter(|w| days_left <= *w).min();
    let Some(probability) = risk.probability_micro else {
        judged.missing = Some(
            risk.missing
                .first()
                .map_or_else(|| "inputs of the risk".to_owned(), |m| m.field.clone()),
        );
        return judged;
    };
    let percent = probability.to_f64() * 100.0;
    judged.state = if percent >= limits.at_risk_from {
        PostureState::AtRisk
    } else if percent >= limits.watch_from {
        PostureState::Watch
    } else {
        PostureState::OnTrack
    };
    judged.drivers = risk
        .contributions
        .iter()
        .filter(|c| (judged.state == PostureState::OnTrack) != (c.adds_micro.0 > 0) && c.adds_micro.0 != 0)
        .take(DRIVERS)
        .map(|c| format!("{} {}", label(&c.fact), c.value))
        .collect();
    judged
}

impl Features {
    fn insert_score(&mut self, account: &AccountId, name: &str, value: Option<Micro>, as_of: Timestamp, gap: &str) {
        let state = value.map_or_else(
            || crate::feature::State::Unknown(gap.to_owned()),
            |v| crate::feature::State::Known(Value::Number(v)),
        );
        self.insert(account, name, crate::feature::Found::computed(state, as_of));
    }
}

/// A score as a person reads it.
#[must_use]
pub fn display_score(score: Option<Micro>) -> String {
    score.map_or_else(|| "cannot assess".to_owned(), |s| display("health", &Value::Number(s)))
}
