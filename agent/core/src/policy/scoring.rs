//! `scoring.toml`: weights, limits and prices. It can reorder work; it can never permit anything.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;
use serde::Deserialize;
use toml::Spanned;

use super::Settings;
use super::exploration::{Exploration, ExplorationTable, exploration};
use super::file::{Problem, did_you_mean, parse};
use super::scorecard::{
    FamilyTerms, Index, IndexTable, RollUpTable, Scorecard, ScorecardTable, family_terms, index, scorecards,
};
use super::signals::{SignalsPolicy, SignalsTable, signals};
use crate::feature::{CATALOGUE, Unit, definition};
use crate::money::{Currency, Money};
use crate::signal::{FactKind, Tier};

/// The compiled file.
#[derive(Debug, Clone)]
pub struct Scoring {
    /// Health index.
    pub health: Index,
    /// Expansion index.
    pub expansion: Index,
    /// Further indices.
    pub scorecards: Vec<Scorecard>,
    /// Scores of families; none in a file without `[rollup]`.
    pub rollup: Option<FamilyTerms>,
    /// Renewal risk.
    pub risk: Risk,
    /// Renewal posture.
    pub posture: PostureLimits,
    /// Money terms of the ranking.
    pub value: ValueTerms,
    /// A person's day.
    pub capacity: Capacity,
    /// How near-ties are drawn; `None` where nothing is.
    pub exploration: Option<Exploration>,
    /// When a source stands still.
    pub feeds: FeedLimits,
    /// Days over which a trend is told.
    pub trend_days: i64,
    /// When a book is covered.
    pub coverage: CoverageTerms,
    /// Detectors; none in a file of before there were any.
    pub signals: Option<SignalsPolicy>,
}

/// Logistic scorecard of not renewing.
#[derive(Debug, Clone)]
pub struct Risk {
    /// Log odds with every input at its mean.
    pub intercept: f64,
    /// Inputs.
    pub inputs: Vec<RiskInput>,
}

/// One input of the scorecard: contributes `weight * (x - mean) / sd` log odds.
#[derive(Debug, Clone)]
pub struct RiskInput {
    /// Feature; for `equals` a word of it.
    pub fact: String,
    /// For a feature that is a word: the input is 1 when it equals this.
    pub equals: Option<String>,
    /// Value is replaced by ln(1 + value / `log_scale`).
    pub log_scale: Option<f64>,
    /// Value is 1 from this on, else 0.
    pub at_least: Option<f64>,
    /// Constant of policy, never fitted.
    pub mean: f64,
    /// Constant of policy, never fitted.
    pub sd: f64,
    /// Log odds a standard deviation.
    pub weight: f64,
}

/// When a coming renewal is watched.
#[derive(Debug, Clone)]
pub struct PostureLimits {
    /// Days before the end at which the judgement is renewed, the longest first.
    pub windows: Vec<i64>,
    /// From this risk on, in percent, it is on watch.
    pub watch_from: f64,
    /// From this risk on, in percent, it is at risk.
    pub at_risk_from: f64,
}

/// Money terms of the ranking.
#[derive(Debug, Clone)]
pub struct ValueTerms {
    /// Margin-weighted contract value left in the horizon, per unit of yearly revenue.
    pub margin: f64,
    /// The same for expansion.
    pub expansion_margin: f64,
    /// Cost of a person's minute, minor units of the base currency.
    pub minute_minor: f64,
    /// Cost of one more action on an account that has seen one in the last 30 days, minor units.
    pub fatigue_minor: f64,
    /// A playbook acts only if its prior says P(effect > 0) at least this.
    pub act_from: f64,
}

/// A person's day.
#[derive(Debug, Clone, Copy)]
pub struct Capacity {
    /// Minutes for customers a day, for people whose record does not say.
    pub default_minutes: i64,
    /// Planning slot, minutes.
    pub slot_minutes: i64,
}

/// When a source stands still.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FeedLimits {
    /// Greatest age in days of the newest record of a source, by kind of record; a kind that is not here has no limit.
    pub max_age_days: BTreeMap<FactKind, i64>,
    /// Sources that deliver no more and are not expected to.
    pub retired: BTreeSet<String>,
}

/// When a book of accounts is covered, by tier.
#[derive(Debug, Clone, PartialEq)]
pub struct CoverageTerms {
    /// Days within which an account of a tier should be touched.
    pub touch_days: BTreeMap<Tier, i64>,
    /// How much of a person an account of a tier takes; a mid-touch account is 1.
    pub load: BTreeMap<Tier, f64>,
    /// More accounts than this are too many for one person.
    pub accounts_max: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScoringFile {
    currency: CurrencyTable,
    tiers: TiersTable,
    history: HistoryTable,
    health: IndexTable,
    expansion: IndexTable,
    #[serde(default)]
    scorecard: Vec<ScorecardTable>,
    rollup: Option<RollUpTable>,
    risk: RiskTable,
    posture: PostureTable,
    value: ValueTable,
    capacity: CapacityTable,
    exploration: Option<ExplorationTable>,
    signals: Option<SignalsTable>,
    #[serde(default)]
    feeds: FeedsTable,
    trend: TrendTable,
    coverage: CoverageTable,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct FeedsTable {
    usage: Option<Spanned<i64>>,
    ticket: Option<Spanned<i64>>,
    invoice: Option<Spanned<i64>>,
    survey: Option<Spanned<i64>>,
    interaction: Option<Spanned<i64>>,
    #[serde(default)]
    retired: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TrendTable {
    days: Spanned<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CoverageTable {
    accounts_max: Spanned<i64>,
    touch_days: BTreeMap<Spanned<String>, Spanned<i64>>,
    load: BTreeMap<Spanned<String>, Spanned<f64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CurrencyTable {
    base: Spanned<String>,
    rates: BTreeMap<Spanned<String>, Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TiersTable {
    mid_touch_from: Spanned<String>,
    strategic_from: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HistoryTable {
    usage_days: Spanned<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RiskTable {
    intercept: f64,
    input: Vec<InputTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InputTable {
    fact: Spanned<String>,
    equals: Option<String>,
    log_scale: Option<Spanned<f64>>,
    at_least: Option<f64>,
    mean: f64,
    sd: Spanned<f64>,
    weight: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PostureTable {
    windows: Spanned<Vec<i64>>,
    watch_from: Spanned<f64>,
    at_risk_from: Spanned<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ValueTable {
    margin: Spanned<f64>,
    expansion_margin: Spanned<f64>,
    cost_per_minute: Spanned<String>,
    fatigue: Spanned<String>,
    act_from: Spanned<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CapacityTable {
    default_minutes: Spanned<i64>,
    slot_minutes: Spanned<i64>,
}

/// Collects problems of one file.
pub(super) struct Check<'a> {
    file: &'a str,
    text: &'a str,
    problems: &'a mut Vec<Problem>,
}

impl Check<'_> {
    pub(super) fn wrong(&mut self, offset: usize, message: String, help: impl Into<String>) {
        self.problems
            .push(Problem::at(self.file, self.text, offset, message, help.into()));
    }

    pub(super) fn range<T: PartialOrd + Copy + std::fmt::Display>(
        &mut self,
        name: &str,
        value: &Spanned<T>,
        low: T,
        high: T,
    ) -> T {
        let given = *value.get_ref();
        if !(given >= low && given <= high) {
            let message = format!("`{name}` is {given}, which is out of range");
            self.wrong(
                value.span().start,
                message,
                format!("give a number from {low} to {high}"),
            );
        }
        given
    }

    fn amount(&mut self, name: &str, value: &Spanned<String>, base: Currency) -> i64 {
        match Money::parse(value.get_ref(), base) {
            Ok(money) if money.minor >= 0 => money.minor,
            Ok(_) | Err(_) => {
                let message = format!("`{name}` is `{}`, which is no amount of {base}", value.get_ref());
                self.wrong(
                    value.span().start,
                    message,
                    "write a plain amount such as \"1.50\" or \"120000\"",
                );
                0
            }
        }
    }

    pub(super) fn fact(&mut self, fact: &Spanned<String>) -> Option<&'static crate::feature::Definition> {
        let found = definition(fact.get_ref());
        if found.is_none() {
            let help = did_you_mean(fact.get_ref(), CATALOGUE.iter().map(|d| d.name))
                .unwrap_or_else(|| "docs/reference/facts lists the names".to_owned());
            self.wrong(fact.span().start, format!("unknown fact `{}`", fact.get_ref()), help);
        }
        found
    }
}

pub(super) fn compile(file: &str, text: &str, problems: &mut Vec<Problem>) -> Option<(Scoring, Settings)> {
    let raw: ScoringFile = parse(file, text, problems)?;
    let before = problems.len();
    let mut check = Check { file, text, problems };
    let base = currency(&mut check, &raw.currency.base)?;
    let mut rates = BTreeMap::new();
    for (code, rate) in &raw.currency.rates {
        let parsed = rate.get_ref().parse::<Decimal>().ok().filter(|r| *r > Decimal::ZERO);
        match (currency(&mut check, code), parsed) {
            (Some(code), Some(rate)) => {
                rates.insert(code, rate);
            }
            (None, _) => {}
            (Some(code), None) => {
                let message = format!("`{}` is no exchange rate", rate.get_ref());
                check.wrong(
                    rate.span().start,
                    message,
                    format!("write how many {base} one {code} is, such as \"1.08\""),
                );
            }
        }
    }
    let settings = Settings {
        base,
        rates,
        strategic_from_minor: check.amount("strategic_from", &raw.tiers.strategic_from, base),
        mid_touch_from_minor: check.amount("mid_touch_from", &raw.tiers.mid_touch_from, base),
        usage_days: check.range("usage_days", &raw.history.usage_days, 120, 3650),
    };
    if settings.mid_touch_from_minor > settings.strategic_from_minor {
        let at = raw.tiers.mid_touch_from.span().start;
        check.wrong(
            at,
            "`mid_touch_from` is above `strategic_from`".to_owned(),
            "exchange the two",
        );
    }
    if let Some(width) = &raw.expansion.band_width {
        let at = width.span().start;
        check.wrong(at, "`band_width` is for health alone".to_owned(), "remove it here");
    }
    let scoring = Scoring {
        health: index(&mut check, &raw.health),
        expansion: index(&mut check, &raw.expansion),
        scorecards: scorecards(&mut check, raw.scorecard),
        rollup: raw.rollup.as_ref().and_then(|table| family_terms(&mut check, table)),
        risk: risk(&mut check, &raw.risk),
        posture: posture(&mut check, &raw.posture),
        value: ValueTerms {
            margin: check.range("margin", &raw.value.margin, 0.0, 10.0),
            expansion_margin: check.range("expansion_margin", &raw.value.expansion_margin, 0.0, 10.0),
            minute_minor: check.amount("cost_per_minute", &raw.value.cost_per_minute, base) as f64,
            fatigue_minor: check.amount("fatigue", &raw.value.fatigue, base) as f64,
            act_from: check.range("act_from", &raw.value.act_from, 0.5, 0.999),
        },
        capacity: Capacity {
            default_minutes: check.range("default_minutes", &raw.capacity.default_minutes, 0, 1440),
            slot_minutes: check.range("slot_minutes", &raw.capacity.slot_minutes, 1, 240),
        },
        exploration: raw
            .exploration
            .as_ref()
            .and_then(|table| exploration(&mut check, table)),
        feeds: feeds(&mut check, &raw.feeds),
        trend_days: check.range("days", &raw.trend.days, 1, 365),
        coverage: CoverageTerms {
            touch_days: by_tier(&mut check, &raw.coverage.touch_days, 1, 3650),
            load: by_tier(&mut check, &raw.coverage.load, 0.0, 1000.0),
            accounts_max: check.range("accounts_max", &raw.coverage.accounts_max, 1, 100_000),
        },
        signals: raw.signals.as_ref().map(|table| signals(&mut check, table)),
    };
    (check.problems.len() == before).then_some((scoring, settings))
}

fn feeds(check: &mut Check<'_>, table: &FeedsTable) -> FeedLimits {
    let named = [
        (FactKind::Usage, "usage", &table.usage),
        (FactKind::Ticket, "ticket", &table.ticket),
        (FactKind::Invoice, "invoice", &table.invoice),
        (FactKind::Survey, "survey", &table.survey),
        (FactKind::Interaction, "interaction", &table.interaction),
    ];
    let limits = named.into_iter().filter_map(|(kind, name, days)| {
        let days = days.as_ref()?;
        Some((kind, check.range(name, days, 1, 3650)))
    });
    FeedLimits {
        max_age_days: limits.collect(),
        retired: table.retired.iter().cloned().collect(),
    }
}

/// A value for every tier.
fn by_tier<T: PartialOrd + Copy + std::fmt::Display>(
    check: &mut Check<'_>,
    table: &BTreeMap<Spanned<String>, Spanned<T>>,
    low: T,
    high: T,
) -> BTreeMap<Tier, T> {
    let mut found = BTreeMap::new();
    for (word, value) in table {
        let value_in = check.range(word.get_ref(), value, low, high);
        match Tier::from_word(word.get_ref()) {
            Some(tier) => {
                found.insert(tier, value_in);
            }
            None => {
                let help = did_you_mean(word.get_ref(), Tier::ALL.iter().map(|t| t.as_str()))
                    .unwrap_or_else(|| "tiers are low_touch, mid_touch and strategic".to_owned());
                check.wrong(word.span().start, format!("unknown tier `{}`", word.get_ref()), help);
            }
        }
    }
    found
}

fn currency(check: &mut Check<'_>, code: &Spanned<String>) -> Option<Currency> {
    match code.get_ref().parse() {
        Ok(currency) => Some(currency),
        Err(_) => {
            let message = format!("`{}` is no ISO 4217 currency code", code.get_ref());
            check.wrong(code.span().start, message, "write a code such as USD, EUR or GBP");
            None
        }
    }
}

fn risk(check: &mut Check<'_>, raw: &RiskTable) -> Risk {
    let mut inputs = Vec::new();
    for i in &raw.input {
        if let Some(found) = check.fact(&i.fact) {
            let word = matches!(found.unit, Unit::Text);
            if word != i.equals.is_some() || matches!(found.unit, Unit::Date | Unit::Money) || found.name == "risk" {
                let message = format!("`{}` ({}) cannot be used like this", found.name, found.unit.as_str());
                check.wrong(
                    i.fact.span().start,
                    message,
                    "a word needs `equals`, numbers and yes/no facts must not have it",
                );
            }
        }
        if i.sd.get_ref() <= &0.0 {
            check.wrong(
                i.sd.span().start,
                "`sd` must be above 0".to_owned(),
                "give the spread of the value",
            );
        }
        if let Some(scale) = &i.log_scale {
            check.range("log_scale", scale, 1e-6, 1e9);
        }
        inputs.push(RiskInput {
            fact: i.fact.get_ref().clone(),
            equals: i.equals.clone(),
            log_scale: i.log_scale.as_ref().map(|s| *s.get_ref()),
            at_least: i.at_least,
            mean: i.mean,
            sd: *i.sd.get_ref(),
            weight: i.weight,
        });
    }
    Risk {
        intercept: raw.intercept,
        inputs,
    }
}

fn posture(check: &mut Check<'_>, raw: &PostureTable) -> PostureLimits {
    let windows = raw.windows.get_ref().clone();
    if windows.is_empty() || !windows.windows(2).all(|w| w[0] > w[1]) || windows.last().is_some_and(|w| *w <= 0) {
        let help = "write them like [180, 120, 90, 60, 30]";
        check.wrong(
            raw.windows.span().start,
            "`windows` must be falling numbers of days".to_owned(),
            help,
        );
    }
    let limits = PostureLimits {
        windows,
        watch_from: check.range("watch_from", &raw.watch_from, 0.0, 100.0),
        at_risk_from: check.range("at_risk_from", &raw.at_risk_from, 0.0, 100.0),
    };
    if limits.watch_from > limits.at_risk_from {
        check.wrong(
            raw.watch_from.span().start,
            "`watch_from` is above `at_risk_from`".to_owned(),
            "exchange the two",
        );
    }
    limits
}
