//! Indices and scorecards of `scoring.toml`: trees of weighted measures.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::file::did_you_mean;
use super::scoring::Check;
use crate::feature::{USE_FACTS, Unit};
use crate::signal::word_enum;

/// A weighted index of 0 to 100.
#[derive(Debug, Clone)]
pub struct Index {
    /// Below this share of known weight, in percent, the index is unknown.
    pub unknown_below: f64,
    /// What it is made of; weights add up to 100.
    pub measures: Vec<Measure>,
    /// Names of the bands.
    pub bands: Bands,
}

/// One measure of an index.
#[derive(Debug, Clone)]
pub struct Measure {
    /// Feature.
    pub fact: String,
    /// Group, with the groups around it: `product/adoption`.
    pub group: String,
    /// Weight of 100, after the weights of its groups.
    pub weight: f64,
    /// Points at values: piecewise linear, flat outside.
    pub points: Vec<(f64, f64)>,
    /// Older than this it counts as unknown.
    pub max_age_days: Option<i64>,
    /// Points while it is unknown; without it the measure is left out and the others carry its weight.
    pub when_missing: Option<f64>,
}

/// Limits of the bands, in points.
#[derive(Debug, Clone, Copy)]
pub struct Bands {
    /// Below it red.
    pub red_below: f64,
    /// From it green; yellow between.
    pub green_from: f64,
    /// A band is left only when the score is so many points beyond its limit; 0 leaves it at once.
    pub width: f64,
}

/// How the health of a parent account and all that belongs to it becomes one score.
#[derive(Debug, Clone, Copy)]
pub struct FamilyTerms {
    /// How the accounts become one number.
    pub roll_up: RollUp,
    /// Below this share of known revenue, in percent, the score is unknown.
    pub unknown_below: f64,
}

/// A further index beside health and expansion.
#[derive(Debug, Clone)]
pub struct Scorecard {
    /// Its name.
    pub name: String,
    /// What gets a score.
    pub per: Per,
    /// How the parts become one number.
    pub roll_up: RollUp,
    /// What it is made of.
    pub index: Index,
}

word_enum! {
    /// What a scorecard scores.
    Per {
        /// The account as a whole.
        Account = "account",
        /// Each product that the account has bought or uses.
        Product = "product",
    }
}

word_enum! {
    /// How the scores of parts become one.
    RollUp {
        /// Every part counts the same.
        Mean = "mean",
        /// Parts count by their yearly revenue.
        ArrWeighted = "arr_weighted",
        /// The lowest part speaks.
        Worst = "worst",
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IndexTable {
    unknown_below: Spanned<f64>,
    red_below: Spanned<f64>,
    green_from: Spanned<f64>,
    /// For health alone.
    pub(super) band_width: Option<Spanned<f64>>,
    groups: Option<BTreeMap<Spanned<String>, Spanned<f64>>>,
    measure: Vec<MeasureTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RollUpTable {
    health: Spanned<String>,
    unknown_below: Spanned<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ScorecardTable {
    name: Spanned<String>,
    per: Spanned<String>,
    roll_up: Spanned<String>,
    unknown_below: Spanned<f64>,
    red_below: Spanned<f64>,
    green_from: Spanned<f64>,
    groups: Option<BTreeMap<Spanned<String>, Spanned<f64>>>,
    measure: Vec<MeasureTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MeasureTable {
    fact: Spanned<String>,
    group: Spanned<String>,
    weight: Spanned<f64>,
    points: Spanned<Vec<[f64; 2]>>,
    max_age_days: Option<Spanned<i64>>,
    when_missing: Option<Spanned<f64>>,
}

pub(super) fn family_terms(check: &mut Check<'_>, raw: &RollUpTable) -> Option<FamilyTerms> {
    let roll_up = word(
        check,
        "health",
        &raw.health,
        RollUp::ALL,
        RollUp::from_word,
        RollUp::as_str,
    );
    let unknown_below = check.range("unknown_below", &raw.unknown_below, 0.0, 100.0);
    roll_up.map(|roll_up| FamilyTerms { roll_up, unknown_below })
}

pub(super) fn scorecards(check: &mut Check<'_>, raw: Vec<ScorecardTable>) -> Vec<Scorecard> {
    let mut names = BTreeSet::new();
    let mut cards = Vec::new();
    for table in raw {
        let at = table.name.span().start;
        let name = table.name.into_inner();
        if !names.insert(name.clone()) {
            check.wrong(
                at,
                format!("there are two scorecards `{name}`"),
                "give one another name",
            );
        }
        let per = word(check, "per", &table.per, Per::ALL, Per::from_word, Per::as_str);
        let roll_up = word(
            check,
            "roll_up",
            &table.roll_up,
            RollUp::ALL,
            RollUp::from_word,
            RollUp::as_str,
        );
        if per == Some(Per::Product) {
            for measure in &table.measure {
                if !USE_FACTS.contains(&measure.fact.get_ref().as_str()) {
                    let message = format!("`{}` is not known by product", measure.fact.get_ref());
                    let help = format!("use one of {}", USE_FACTS.join(", "));
                    check.wrong(measure.fact.span().start, message, help);
                }
            }
        }
        let index = index(
            check,
            &IndexTable {
                unknown_below: table.unknown_below,
                red_below: table.red_below,
                green_from: table.green_from,
                band_width: None,
                groups: table.groups,
                measure: table.measure,
            },
        );
        if let (Some(per), Some(roll_up)) = (per, roll_up) {
            cards.push(Scorecard {
                name,
                per,
                roll_up,
                index,
            });
        }
    }
    cards
}

fn word<T: Copy>(
    check: &mut Check<'_>,
    key: &str,
    given: &Spanned<String>,
    all: &[T],
    from: fn(&str) -> Option<T>,
    name: fn(T) -> &'static str,
) -> Option<T> {
    let found = from(given.get_ref());
    if found.is_none() {
        let words: Vec<&str> = all.iter().map(|w| name(*w)).collect();
        check.wrong(
            given.span().start,
            format!("`{key}` cannot be `{}`", given.get_ref()),
            format!("write one of {}", words.join(", ")),
        );
    }
    found
}

pub(super) fn index(check: &mut Check<'_>, raw: &IndexTable) -> Index {
    let mut measures: Vec<Measure> = raw.measure.iter().map(|m| measure(check, m)).collect();
    match &raw.groups {
        Some(groups) => tree(check, raw, groups, &mut measures),
        None => {
            let sum: f64 = measures.iter().map(|m| m.weight).sum();
            if (sum - 100.0).abs() > 1e-9 {
                check.wrong(
                    raw.unknown_below.span().start,
                    format!("the weights of this index add up to {sum}, not to 100"),
                    "change the weights below, or give the groups weights with a table `groups`",
                );
            }
        }
    }
    let bands = Bands {
        red_below: check.range("red_below", &raw.red_below, 0.0, 100.0),
        green_from: check.range("green_from", &raw.green_from, 0.0, 100.0),
        width: raw
            .band_width
            .as_ref()
            .map_or(0.0, |width| check.range("band_width", width, 0.0, 25.0)),
    };
    if bands.red_below > bands.green_from {
        check.wrong(
            raw.red_below.span().start,
            "`red_below` is above `green_from`".to_owned(),
            "exchange the two",
        );
    }
    if let Some(width) = &raw.band_width
        && bands.width > 0.0
        && bands.red_below + bands.width > bands.green_from - bands.width
    {
        check.wrong(
            width.span().start,
            format!(
                "`band_width` is {}, so that no score would be yellow for certain",
                bands.width
            ),
            "give at most half of what lies between `red_below` and `green_from`",
        );
    }
    Index {
        unknown_below: check.range("unknown_below", &raw.unknown_below, 0.0, 100.0),
        measures,
        bands,
    }
}

fn measure(check: &mut Check<'_>, m: &MeasureTable) -> Measure {
    if let Some(found) = check.fact(&m.fact) {
        let scored = ["health", "health_confidence", "risk", "expansion"].contains(&found.name)
            || found.name.ends_with("_override");
        if matches!(found.unit, Unit::Text | Unit::Date | Unit::Money) || scored {
            let message = format!("`{}` ({}) cannot be a measure", found.name, found.unit.as_str());
            check.wrong(
                m.fact.span().start,
                message,
                "use a number or a yes/no fact that is not itself a score",
            );
        }
    }
    let weight = check.range("weight", &m.weight, 0.0, 100.0);
    let points: Vec<(f64, f64)> = m.points.get_ref().iter().map(|p| (p[0], p[1])).collect();
    let rising = points.windows(2).all(|w| w[0].0 < w[1].0);
    let inside = points.iter().all(|p| (0.0..=100.0).contains(&p.1));
    if points.len() < 2 || !rising || !inside {
        let message = format!("`points` of `{}` do not make a curve", m.fact.get_ref());
        let help = "give at least two pairs [value, points] with rising values and points from 0 to 100";
        check.wrong(m.points.span().start, message, help);
    }
    Measure {
        fact: m.fact.get_ref().clone(),
        group: m.group.get_ref().clone(),
        weight,
        points,
        max_age_days: m
            .max_age_days
            .as_ref()
            .map(|age| check.range("max_age_days", age, 1, 3650)),
        when_missing: m
            .when_missing
            .as_ref()
            .map(|points| check.range("when_missing", points, 0.0, 100.0)),
    }
}

/// Turns weights among siblings into shares of 100: a measure's weight times those of the groups around it, each by the
/// sum of its siblings.
fn tree(
    check: &mut Check<'_>,
    raw: &IndexTable,
    groups: &BTreeMap<Spanned<String>, Spanned<f64>>,
    measures: &mut [Measure],
) {
    let mut weights: BTreeMap<&str, f64> = BTreeMap::new();
    for (path, weight) in groups {
        weights.insert(path.get_ref(), check.range("weight of a group", weight, 0.0, 1e6));
    }
    // Sum of the weights of everything directly inside a group; "" is the index itself.
    let mut inside: BTreeMap<&str, f64> = BTreeMap::new();
    let mut sound = true;
    for path in groups.keys() {
        let name = path.get_ref().as_str();
        *inside.entry(parent(name)).or_default() += weights.get(name).copied().unwrap_or(0.0);
        let used = measures
            .iter()
            .any(|m| m.group == name || m.group.strip_prefix(name).is_some_and(|rest| rest.starts_with('/')));
        if !used {
            sound = false;
            check.wrong(
                path.span().start,
                format!("no measure is in the group `{name}`"),
                "remove it, or put a measure into it",
            );
        }
    }
    for table in &raw.measure {
        *inside.entry(table.group.get_ref()).or_default() += *table.weight.get_ref();
        for ancestor in ancestors(table.group.get_ref()) {
            if !weights.contains_key(ancestor) {
                sound = false;
                let help = did_you_mean(ancestor, weights.keys().copied())
                    .unwrap_or_else(|| format!("add \"{ancestor}\" with its weight to `groups`"));
                check.wrong(
                    table.group.span().start,
                    format!("the group `{ancestor}` has no weight"),
                    help,
                );
            }
        }
    }
    for (group, sum) in &inside {
        if *sum <= 0.0 {
            sound = false;
            let name = if group.is_empty() { "the index" } else { group };
            check.wrong(
                raw.unknown_below.span().start,
                format!("the weights inside `{name}` add up to 0"),
                "give at least one of them a weight",
            );
        }
    }
    if !sound {
        return;
    }
    let share = |weight: f64, around: &str| weight / inside.get(around).copied().unwrap_or(1.0);
    for measure in measures {
        let mut of = share(measure.weight, &measure.group);
        for ancestor in ancestors(&measure.group) {
            of *= share(weights.get(ancestor).copied().unwrap_or(0.0), parent(ancestor));
        }
        measure.weight = of * 100.0;
    }
}

/// The group around a group; of the outermost, the index itself.
fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// A group and all groups around it.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path).filter(|p| !p.is_empty()), |p| {
        Some(parent(p)).filter(|p| !p.is_empty())
    })
}
