//! Features: what a snapshot means, each value with the records it came from.
//!
//! A feature that cannot be had is *unknown* and names the missing field; it is never zero. The catalogue below is the
//! vocabulary of `policies/scoring.toml` and of the triggers in `policies/playbooks`.

mod catalogue;
mod compute;
mod feeds;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use catalogue::{CATALOGUE, Definition, USE_FACTS, Unit, definition, label};
pub(crate) use compute::most;
pub use compute::{Renewal, compute, compute_use};
pub use feeds::Feeds;
pub(crate) use feeds::mark as mark_stale;

use crate::ids::AccountId;
use crate::money::Money;
use crate::number::Micro;
use crate::replay::Hash;
use crate::signal::RecordRef;
use crate::time::{Day, Timestamp};

/// A known value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// A number in the feature's unit.
    Number(Micro),
    /// Yes or no.
    Flag(bool),
    /// A word.
    Text(String),
    /// A calendar day.
    Day(Day),
    /// An amount.
    Money(Money),
}

/// A feature of one account as of a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feature {
    /// Evidence id: `ev_` and ten hexadecimal digits that stand for account, name, value and time.
    pub evidence: String,
    /// The value, or why there is none.
    #[serde(flatten)]
    pub state: State,
    /// Time of the newest record behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Timestamp>,
    /// Records behind it, the newest first, at most [`MAX_RECORDS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<RecordRef>,
    /// How many records there were in all.
    pub records_total: u32,
    /// Why it cannot be relied on although it is known: the feed it comes from stands still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale: Option<String>,
}

/// How many records a feature names. The count beside them is always complete.
pub const MAX_RECORDS: usize = 5;

/// Known or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The value.
    Known(Value),
    /// The field that is missing.
    Unknown(String),
}

/// All features of an account by name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Features(pub BTreeMap<String, Feature>);

impl Features {
    /// A feature's known value.
    #[must_use]
    pub fn known(&self, name: &str) -> Option<&Value> {
        match &self.0.get(name)?.state {
            State::Known(value) => Some(value),
            State::Unknown(_) => None,
        }
    }

    /// A known number, as a float for formulas.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<f64> {
        match self.known(name)? {
            Value::Number(number) => Some(number.to_f64()),
            Value::Flag(flag) => Some(if *flag { 1.0 } else { 0.0 }),
            Value::Text(_) | Value::Day(_) | Value::Money(_) => None,
        }
    }

    /// A known flag.
    #[must_use]
    pub fn flag(&self, name: &str) -> Option<bool> {
        match self.known(name)? {
            Value::Flag(flag) => Some(*flag),
            Value::Number(_) | Value::Text(_) | Value::Day(_) | Value::Money(_) => None,
        }
    }

    /// A known day.
    #[must_use]
    pub fn day(&self, name: &str) -> Option<Day> {
        match self.known(name)? {
            Value::Day(day) => Some(*day),
            Value::Number(_) | Value::Text(_) | Value::Flag(_) | Value::Money(_) => None,
        }
    }

    /// A known amount.
    #[must_use]
    pub fn money(&self, name: &str) -> Option<Money> {
        match self.known(name)? {
            Value::Money(money) => Some(*money),
            Value::Number(_) | Value::Text(_) | Value::Flag(_) | Value::Day(_) => None,
        }
    }

    /// A known word.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.known(name)? {
            Value::Text(text) => Some(text),
            Value::Number(_) | Value::Money(_) | Value::Flag(_) | Value::Day(_) => None,
        }
    }

    /// Why a feature cannot be relied on although it is known.
    #[must_use]
    pub fn stale(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.stale.as_deref()
    }

    /// The field whose absence makes a feature unknown.
    #[must_use]
    pub fn missing(&self, name: &str) -> Option<&str> {
        match &self.0.get(name)?.state {
            State::Known(_) => None,
            State::Unknown(field) => Some(field),
        }
    }

    /// The value as a person reads it, with its unit; `not known` where it is not.
    #[must_use]
    pub fn display(&self, name: &str) -> String {
        match self.known(name) {
            Some(value) => display(name, value),
            None => "not known".to_owned(),
        }
    }

    pub(crate) fn insert(&mut self, account: &AccountId, name: &str, found: Found) {
        let value_text = match &found.state {
            State::Known(value) => crate::replay::canonical(value),
            State::Unknown(field) => format!("unknown:{field}"),
        };
        let as_of_text = found.as_of.map_or_else(String::new, |at| at.us().to_string());
        let hash = Hash::of_parts(&[account.as_str(), name, &value_text, &as_of_text]).to_string();
        let records_total = u32::try_from(found.records.len()).unwrap_or(u32::MAX);
        let records = found.records.into_iter().take(MAX_RECORDS).collect();
        let evidence = format!("ev_{}", &hash[..10]);
        self.0.insert(
            name.to_owned(),
            Feature {
                evidence,
                state: found.state,
                as_of: found.as_of,
                records,
                records_total,
                stale: None,
            },
        );
    }
}

/// A value as a person reads it.
#[must_use]
pub fn display(name: &str, value: &Value) -> String {
    match value {
        Value::Number(number) => match definition(name).map(|d| d.unit) {
            Some(Unit::Percent) => format!("{} %", number.display(0)),
            Some(Unit::Days) => format!("{} days", number.display(0)),
            Some(Unit::Score) => number.display(0),
            Some(Unit::Count) if number.0 % 1_000_000 == 0 => number.to_string(),
            // A mean of people is easier to read without decimals; small ones keep one.
            Some(Unit::Count) if number.0.abs() >= 10_000_000 => number.display(0),
            Some(Unit::Count) => number.display(1),
            Some(Unit::Points) if number.0 % 1_000_000 == 0 => number.to_string(),
            Some(Unit::Points) => number.display(1),
            Some(Unit::Ratio | Unit::Logit) => number.display(2),
            Some(Unit::Share) => format!("{} %", Micro(number.0.saturating_mul(100)).display(0)),
            Some(Unit::LogRatio) => {
                let change = libm::round((libm::exp(number.to_f64()) - 1.0) * 100.0) as i64;
                format!("{change:+} %")
            }
            Some(Unit::Flag | Unit::Text | Unit::Date | Unit::Money) | None => number.to_string(),
        },
        Value::Flag(flag) => if *flag { "yes" } else { "no" }.to_owned(),
        Value::Text(text) => text.clone(),
        Value::Day(day) => day.to_string(),
        Value::Money(money) => money.to_string(),
    }
}

/// A feature as it was found, before it has an id.
#[derive(Debug)]
pub(crate) struct Found {
    state: State,
    as_of: Option<Timestamp>,
    records: Vec<RecordRef>,
}

impl Found {
    fn unknown(field: &str) -> Found {
        Found {
            state: State::Unknown(field.to_owned()),
            as_of: None,
            records: Vec::new(),
        }
    }

    fn known(value: Value) -> Found {
        Found {
            state: State::Known(value),
            as_of: None,
            records: Vec::new(),
        }
    }

    fn number(value: f64) -> Found {
        Found::known(Value::Number(Micro::from_f64(value)))
    }

    /// Adds the records behind the value, newest first.
    fn from<'a, T: 'a>(mut self, held: impl IntoIterator<Item = &'a crate::snapshot::Held<T>>) -> Found {
        let mut list: Vec<_> = held.into_iter().map(|h| (h.at, &h.record)).collect();
        list.sort_by(|a, b| (b.0, b.1).cmp(&(a.0, a.1)));
        if let Some((newest, _)) = list.first() {
            self.as_of = Some(self.as_of.map_or(*newest, |at| at.max(*newest)));
        }
        self.records.extend(list.into_iter().map(|(_, record)| record.clone()));
        self
    }
}

impl Found {
    /// A value concluded from records, the newest first, or the field that is missing.
    pub(crate) fn concluded(state: Result<Value, String>, as_of: Timestamp, records: Vec<RecordRef>) -> Found {
        Found {
            state: state.map_or_else(State::Unknown, State::Known),
            as_of: Some(as_of),
            records,
        }
    }

    /// A value computed from other features.
    pub(crate) fn computed(state: State, as_of: Timestamp) -> Found {
        Found {
            state,
            as_of: Some(as_of),
            records: Vec::new(),
        }
    }
}
