//! Figures: a value, where it comes from, and the one way it is written for people.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::text::clean;
use crate::money::Money;
use crate::number::Micro;
use crate::signal::word_enum;
use crate::time::{Day, Timestamp};

word_enum! {
    /// What a figure measures, and so how it is written.
    FigureKind {
        /// A number of things: `1,240`.
        Count = "count",
        /// A share or a change: `12.4%`.
        Percent = "percent",
        /// An amount: `EUR 12,345.60`.
        Money = "money",
        /// Points on a scale of its own: `72`, `4.3`.
        Score = "score",
        /// A calendar day: `30 September 2026`.
        Date = "date",
        /// A number of days: `45 days`.
        Days = "days",
        /// A length of time: `38 minutes`, `2 h 5 min`.
        Minutes = "minutes",
        /// A number of months: `12 months`.
        Months = "months",
        /// Words of a record, such as the name of a plan.
        Text = "text",
    }
}

/// The value of a figure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FigureValue {
    /// A number of things.
    Count(i64),
    /// A ratio: 0.124 (124,000 millionths) is written `12.4%`.
    Percent(Micro),
    /// An amount.
    Money(Money),
    /// Points.
    Score(Micro),
    /// A calendar day.
    Date(Day),
    /// A number of days.
    Days(i64),
    /// Minutes.
    Minutes(Micro),
    /// A number of months.
    Months(i64),
    /// Words of a record.
    Text(String),
}

/// How a signed figure is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Show {
    /// As it is: `-3.2%`.
    Plain,
    /// Without its sign, beside a word that says the direction: `3.2%`.
    Size,
    /// With its sign even when it is positive: `+12%`.
    Signed,
}

impl FigureValue {
    /// What it measures.
    #[must_use]
    pub fn kind(&self) -> FigureKind {
        match self {
            FigureValue::Count(_) => FigureKind::Count,
            FigureValue::Percent(_) => FigureKind::Percent,
            FigureValue::Money(_) => FigureKind::Money,
            FigureValue::Score(_) => FigureKind::Score,
            FigureValue::Date(_) => FigureKind::Date,
            FigureValue::Days(_) => FigureKind::Days,
            FigureValue::Minutes(_) => FigureKind::Minutes,
            FigureValue::Months(_) => FigureKind::Months,
            FigureValue::Text(_) => FigureKind::Text,
        }
    }

    /// The value for people. This is the only place that decides how a figure looks.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            FigureValue::Count(count) => grouped(*count),
            FigureValue::Percent(ratio) => format!("{}%", decimal(i128::from(ratio.0) * 100)),
            FigureValue::Money(money) => money.to_string(),
            FigureValue::Score(points) => decimal(i128::from(points.0)),
            FigureValue::Date(day) => day_text(*day),
            FigureValue::Days(days) => counted(*days, "day"),
            FigureValue::Minutes(minutes) => duration(*minutes),
            FigureValue::Months(months) => counted(*months, "month"),
            FigureValue::Text(words) => clean(words),
        }
    }

    /// The value as [`FigureValue::text`] writes it, with its sign shown, hidden or as it is.
    #[must_use]
    pub fn show(&self, show: Show) -> String {
        shown(self.kind(), &self.text(), show)
    }

    /// The value for machines, as in `<data value="…">`: no grouping, dates as `YYYY-MM-DD`, ratios as decimals.
    #[must_use]
    pub fn machine(&self) -> String {
        match self {
            FigureValue::Count(count) | FigureValue::Days(count) | FigureValue::Months(count) => count.to_string(),
            FigureValue::Percent(value) | FigureValue::Score(value) | FigureValue::Minutes(value) => value.to_string(),
            FigureValue::Money(money) => {
                format!(
                    "{} {}",
                    money.currency,
                    Decimal::new(money.minor, money.currency.exponent())
                )
            }
            FigureValue::Date(day) => day.to_string(),
            FigureValue::Text(words) => clean(words),
        }
    }

    /// Below, at or above zero; nothing for values without a sign.
    #[must_use]
    pub fn sign(&self) -> Option<std::cmp::Ordering> {
        match self {
            FigureValue::Count(n) | FigureValue::Days(n) | FigureValue::Months(n) => Some(n.cmp(&0)),
            FigureValue::Percent(n) | FigureValue::Score(n) | FigureValue::Minutes(n) => Some(n.cmp(&Micro::ZERO)),
            FigureValue::Money(money) => Some(money.minor.cmp(&0)),
            FigureValue::Date(_) | FigureValue::Text(_) => None,
        }
    }
}

/// A formatted value with its sign shown, hidden or as it is.
pub(super) fn shown(kind: FigureKind, text: &str, show: Show) -> String {
    let signed = match kind {
        FigureKind::Count
        | FigureKind::Percent
        | FigureKind::Money
        | FigureKind::Score
        | FigureKind::Days
        | FigureKind::Months => true,
        FigureKind::Date | FigureKind::Minutes | FigureKind::Text => false,
    };
    match show {
        Show::Size if signed => text.replacen('-', "", 1),
        Show::Signed if signed && !text.contains('-') => {
            // An amount has its currency first, and the sign belongs to the number.
            let at = text.find(|c: char| c.is_ascii_digit()).unwrap_or(0);
            format!("{}+{}", &text[..at], &text[at..])
        }
        Show::Plain | Show::Size | Show::Signed => text.to_owned(),
    }
}

/// One figure with where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// Evidence id such as `ev_3f9a2c11d0`: `ev_` and letters, digits, `_` or `-`, 64 characters at most.
    pub evidence: String,
    /// The value.
    pub value: FigureValue,
    /// The moment up to which the source was read.
    pub as_of: Timestamp,
    /// Where it comes from, for people: `usage:demo/daily, 12 records`.
    pub source: String,
}

/// A figure, or what is missing to know it. Unknown is never zero.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FigureSlot {
    /// Known.
    Known(Figure),
    /// Not known.
    Unknown {
        /// What is missing, as it completes "missing: …" for a person: `survey answers in this period`.
        missing: String,
    },
}

impl FigureSlot {
    /// A slot that nothing fills, with what is missing.
    #[must_use]
    pub fn unknown(missing: impl Into<String>) -> FigureSlot {
        FigureSlot::Unknown {
            missing: missing.into(),
        }
    }

    /// The figure, when it is known.
    #[must_use]
    pub fn known(&self) -> Option<&Figure> {
        match self {
            FigureSlot::Known(figure) => Some(figure),
            FigureSlot::Unknown { .. } => None,
        }
    }
}

/// Whether an id may stand in a document: it is written into Markdown and HTML as it is.
pub(super) fn is_evidence_id(id: &str) -> bool {
    id.len() > 3
        && id.len() <= 64
        && id.starts_with("ev_")
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A day for people: `30 September 2026`.
#[must_use]
pub fn day_text(day: Day) -> String {
    let (year, month, number) = day.ymd();
    let name = usize::try_from(month).ok().and_then(|m| MONTHS.get(m.wrapping_sub(1)));
    format!("{number} {} {year}", name.copied().unwrap_or("?"))
}

fn counted(count: i64, unit: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {unit}{plural}", grouped(count))
}

fn grouped(count: i64) -> String {
    let digits = count.unsigned_abs().to_string();
    let mut out = String::from(if count < 0 { "-" } else { "" });
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Millionths with one decimal at most, rounded half away from zero.
fn decimal(micro: i128) -> String {
    let tenths = (micro.abs() + 50_000) / 100_000;
    let sign = if micro < 0 && tenths > 0 { "-" } else { "" };
    let whole = grouped(i64::try_from(tenths / 10).unwrap_or(i64::MAX));
    match tenths % 10 {
        0 => format!("{sign}{whole}"),
        tenth => format!("{sign}{whole}.{tenth}"),
    }
}

fn duration(minutes: Micro) -> String {
    let all = (minutes.0.max(0) + 500_000) / 1_000_000;
    let (hours, rest) = (all / 60, all % 60);
    match (hours, rest) {
        (0, 1) => "1 minute".to_owned(),
        (0, rest) => format!("{rest} minutes"),
        (hours, _) if hours >= 48 => counted((hours + 12) / 24, "day"),
        (hours, 0) => format!("{hours} h"),
        (hours, rest) => format!("{hours} h {rest} min"),
    }
}
