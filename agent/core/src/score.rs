//! Scores: health, expansion, renewal risk and renewal posture.
//!
//! Every score is the exact sum of its contributions: both are whole millionths, and the score is made by adding the
//! contributions up. Health and expansion are indices of 0 to 100 (higher is healthier, readier), not probabilities;
//! risk is a probability estimated from policy constants, not yet calibrated on outcomes.

use serde::{Deserialize, Serialize};

use crate::feature::{Features, Renewal, Value, display, label};
use crate::ids::AccountId;
use crate::money::Money;
use crate::number::Micro;
use crate::policy::{Index, PostureLimits, Risk, RiskInput, Scoring};
use crate::signal::{RecordRef, word_enum};
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
}

/// Share of the risk inputs' weight below which no probability is given.
pub(crate) const RISK_FLOOR: f64 = 0.5;
/// Drivers that a posture names.
const DRIVERS: usize = 3;

/// Scores an account, and adds `health`, `health_confidence`, `risk` and `expansion` to its features.
#[must_use]
pub fn score(
    account: &AccountId,
    as_of: Timestamp,
    features: &mut Features,
    renewals: &[Renewal],
    scoring: &Scoring,
) -> Scores {
    let health = index(features, &scoring.health, as_of);
    add(features, account, as_of, "health", health.score_micro, &health.missing);
    let confidence = Micro(health.confidence_micro.0 * 100);
    add(features, account, as_of, "health_confidence", Some(confidence), &[]);
    let risk = risk(features, &scoring.risk);
    let percent = risk.probability_micro.map(|p| Micro(p.0 * 100));
    add(features, account, as_of, "risk", percent, &risk.missing);
    let expansion = index(features, &scoring.expansion, as_of);
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

fn index(features: &Features, index: &Index, as_of: Timestamp) -> IndexScore {
    let mut known = Vec::new();
    let mut missing = Vec::new();
    for measure in &index.measures {
        let feature = features.0.get(&measure.fact);
        let too_old = measure.max_age_days.and_then(|max| {
            let age = feature?.as_of?.day().days_until(as_of.day());
            (age > max).then(|| format!("newer than {age} days old (limit {max})"))
        });
        match (features.number(&measure.fact), feature, too_old) {
            (Some(value), Some(feature), None) => known.push((measure, value, feature)),
            (Some(_), Some(_), Some(stale)) => missing.push(Missing {
                fact: measure.fact.clone(),
                field: stale,
            }),
            (Some(_) | None, _, _) => {
                let field = features.missing(&measure.fact).unwrap_or("not computed").to_owned();
                missing.push(Missing {
                    fact: measure.fact.clone(),
                    field,
                });
            }
        }
    }
    let weight: f64 = known.iter().map(|k| k.0.weight).sum();
    let confidence_micro = Micro::from_f64(weight / 100.0);
    let mut contributions: Vec<Contribution> = known
        .iter()
        .map(|(measure, value, feature)| {
            let points = curve(&measure.points, *value);
            Contribution {
                fact: measure.fact.clone(),
                group: measure.group.clone(),
                evidence: feature.evidence.clone(),
                value: features.display(&measure.fact),
                points_micro: Some(Micro::from_f64(points)),
                adds_micro: Micro::from_f64(if weight > 0.0 {
                    points * measure.weight / weight
                } else {
                    0.0
                }),
            }
        })
        .collect();
    largest_first(&mut contributions);
    let enough = weight > 0.0 && weight >= index.unknown_below;
    // INVARIANT (a score is the sum of its contributions): made by adding, never computed beside them.
    let sum = Micro(contributions.iter().map(|c| c.adds_micro.0).sum());
    let band = enough.then(|| {
        if sum.to_f64() < index.bands.red_below {
            Band::Red
        } else if sum.to_f64() < index.bands.green_from {
            Band::Yellow
        } else {
            Band::Green
        }
    });
    IndexScore {
        score_micro: enough.then_some(sum),
        confidence_micro,
        band,
        contributions,
        missing,
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
        let value = risk_input(features, input);
        let Some(feature) = features.0.get(&input.fact) else {
            continue;
        };
        let Some(x) = value else {
            let field = features.missing(&input.fact).unwrap_or("not computed").to_owned();
            missing.push(Missing {
                fact: input.fact.clone(),
                field,
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
