//! Texts of cells to typed values. Nothing is guessed: a text that does not fit the format is refused with the reason.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::TimeZone;
use perennial_core::ids::{AccountId, OwnerId};
use perennial_core::money::{Currency, Money};
use perennial_core::number::Micro;
use perennial_core::policy::gate::Vocabulary;
use perennial_core::signal::{
    Arm, ContactRole, Crm, CrmRef, InteractionKind, MovementKind, OpportunityKind, OpportunityState, OwnerRole,
    ScoreName, SurveyKind, Tier,
};
use perennial_core::time::{Day, Timestamp};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use super::text::Encoding;

/// Longest id of an account, a person or a record part, in characters.
pub(super) const ID_CHARACTERS: usize = 200;

/// What kind of value a field holds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    Text,
    Account,
    Owner,
    Integer,
    Number,
    Money,
    Day,
    Moment,
    Bool,
    Word(fn() -> Vec<&'static str>),
    /// A tier: the policies say which there are.
    Tier,
    /// A role of our people: the policies say which there are.
    Role,
    Crm,
    Attributes,
    /// Roles of a person in deals.
    DealRoles,
}

impl Shape {
    /// What the guide and the messages call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Shape::Text => "text",
            Shape::Account | Shape::Owner => "id",
            Shape::Integer => "whole number",
            Shape::Number => "number",
            Shape::Money => "amount",
            Shape::Day => "date",
            Shape::Moment => "time",
            Shape::Bool => "true or false",
            Shape::Word(_) | Shape::Tier | Shape::Role => "word",
            Shape::Crm => "CRM record id",
            Shape::Attributes => "table of names",
            Shape::DealRoles => "list of roles in deals",
        }
    }
}

/// A typed value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Number(Micro),
    Money(Money),
    Day(Day),
    Moment(Timestamp),
    Bool(bool),
    Word(&'static str),
    Crm(CrmRef),
    Attributes(BTreeMap<String, String>),
    DealRoles(BTreeMap<String, ContactRole>),
}

/// A type that a fact holds: the shape of its value, and how it is made from one.
pub(super) trait Held: Sized {
    const SHAPE: Shape;
    /// The value as this type; nothing when it has another shape, which the mapping rules out.
    fn from_value(value: Value) -> Option<Self>;
}

macro_rules! held {
    ($($type:ty, $shape:expr, $pattern:pat => $made:expr;)+) => {
        $(impl Held for $type {
            const SHAPE: Shape = $shape;
            fn from_value(value: Value) -> Option<$type> {
                if let $pattern = value { Some($made) } else { None }
            }
        })+
    };
}

held! {
    String, Shape::Text, Value::Text(text) => text;
    AccountId, Shape::Account, Value::Text(text) => AccountId::new(text);
    OwnerId, Shape::Owner, Value::Text(text) => OwnerId::new(text);
    i64, Shape::Integer, Value::Integer(number) => number;
    Micro, Shape::Number, Value::Number(number) => number;
    Money, Shape::Money, Value::Money(money) => money;
    Day, Shape::Day, Value::Day(day) => day;
    Timestamp, Shape::Moment, Value::Moment(moment) => moment;
    bool, Shape::Bool, Value::Bool(truth) => truth;
    CrmRef, Shape::Crm, Value::Crm(reference) => reference;
    BTreeMap<String, String>, Shape::Attributes, Value::Attributes(all) => all;
    BTreeMap<String, ContactRole>, Shape::DealRoles, Value::DealRoles(all) => all;
}

macro_rules! held_words {
    ($($name:ident),+) => {
        $(impl Held for $name {
            const SHAPE: Shape = Shape::Word(|| $name::ALL.iter().map(|value| value.as_str()).collect());
            fn from_value(value: Value) -> Option<$name> {
                if let Value::Word(word) = value { $name::from_word(word) } else { None }
            }
        })+
    };
}

held_words!(
    Arm,
    ScoreName,
    ContactRole,
    InteractionKind,
    MovementKind,
    OpportunityKind,
    OpportunityState,
    SurveyKind
);

macro_rules! held_names {
    ($($name:ident, $shape:expr;)+) => {
        $(impl Held for $name {
            const SHAPE: Shape = $shape;
            fn from_value(value: Value) -> Option<$name> {
                if let Value::Word(word) = value { $name::from_word(word) } else { None }
            }
        })+
    };
}

held_names! {
    Tier, Shape::Tier;
    OwnerRole, Shape::Role;
}

/// A way to write dates or times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TimeFormat {
    /// `2026-01-31`, read by hand because nearly every export uses it.
    IsoDay,
    /// RFC 3339.
    Rfc3339,
    /// Like strftime.
    Pattern(String),
}

impl TimeFormat {
    /// A format as written in a mapping.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn from_text(text: &str, with_time: bool) -> Result<TimeFormat, String> {
        match text {
            "%Y-%m-%d" | "%F" if !with_time => return Ok(TimeFormat::IsoDay),
            "rfc3339" if with_time => return Ok(TimeFormat::Rfc3339),
            _ => {}
        }
        let sample = jiff::civil::date(2021, 11, 23).at(14, 35, 46, 0);
        let zoned = sample
            .to_zoned(TimeZone::UTC)
            .map_err(|error| format!("cannot be checked: {error}"))?;
        let written = BrokenDownTime::from(&zoned)
            .to_string(text)
            .map_err(|error| format!("not a format: {error}"))?;
        let read = BrokenDownTime::parse(text, &written).map_err(|error| format!("cannot be read back: {error}"))?;
        let date = read
            .to_date()
            .map_err(|_| "does not name a day, month and year".to_owned())?;
        if date != sample.date() {
            return Err("does not name a day, month and year".to_owned());
        }
        if with_time && read.hour().is_none() {
            return Err("names no hour: put formats without a time of day under `dates`".to_owned());
        }
        Ok(TimeFormat::Pattern(text.to_owned()))
    }

    fn read(&self, text: &str) -> Option<Timestamp> {
        match self {
            TimeFormat::IsoDay => Day::from_str(text).ok().map(Day::start),
            TimeFormat::Rfc3339 => text
                .parse::<jiff::Timestamp>()
                .ok()
                .map(|moment| Timestamp::from_us(moment.as_microsecond())),
            TimeFormat::Pattern(pattern) => {
                let parsed = BrokenDownTime::parse(pattern, text).ok()?;
                if parsed.offset().is_some() {
                    return parsed
                        .to_timestamp()
                        .ok()
                        .map(|moment| Timestamp::from_us(moment.as_microsecond()));
                }
                let date = parsed.to_date().ok()?;
                let moment = match parsed.to_time() {
                    Ok(time) => date.to_datetime(time),
                    Err(_) => date.at(0, 0, 0, 0),
                };
                let zoned = moment.to_zoned(TimeZone::UTC).ok()?;
                Some(Timestamp::from_us(zoned.timestamp().as_microsecond()))
            }
        }
    }

    fn name(&self) -> &str {
        match self {
            TimeFormat::IsoDay => "%Y-%m-%d",
            TimeFormat::Rfc3339 => "rfc3339",
            TimeFormat::Pattern(pattern) => pattern,
        }
    }
}

/// How a file writes its values.
#[derive(Debug, Clone)]
pub(super) struct Format {
    pub dates: Vec<TimeFormat>,
    pub datetimes: Vec<TimeFormat>,
    pub yes: Vec<String>,
    pub no: Vec<String>,
    pub decimal: char,
    pub thousands: Option<char>,
    pub encoding: Encoding,
    pub delimiter: u8,
    pub empty: Vec<String>,
    pub max_field_bytes: usize,
    pub account_prefix: String,
    /// Which tiers and roles there are.
    pub named: Arc<Vocabulary>,
}

impl Default for Format {
    fn default() -> Format {
        let words = |all: &[&str]| all.iter().map(|word| (*word).to_owned()).collect();
        Format {
            dates: vec![TimeFormat::IsoDay],
            datetimes: vec![TimeFormat::Rfc3339, TimeFormat::Pattern("%Y-%m-%d %H:%M:%S".to_owned())],
            yes: words(&["true", "True", "TRUE"]),
            no: words(&["false", "False", "FALSE"]),
            decimal: '.',
            thousands: None,
            encoding: Encoding::Utf8,
            delimiter: b',',
            empty: words(&[""]),
            max_field_bytes: 64 * 1024,
            account_prefix: String::new(),
            named: Arc::default(),
        }
    }
}

/// What turns the texts of one field into values.
#[derive(Debug, Clone)]
pub(super) struct Converter {
    pub shape: Shape,
    pub format: Arc<Format>,
    pub currency: Option<Currency>,
    pub times: Option<Decimal>,
    pub plus_days: i64,
    pub system: Option<Crm>,
}

impl Converter {
    /// The value that a text stands for.
    ///
    /// # Errors
    /// Why it stands for none.
    pub(super) fn convert(&self, text: &str) -> Result<Value, String> {
        match self.shape {
            Shape::Text => Ok(Value::Text(text.to_owned())),
            Shape::Account => {
                let account = format!("{}{text}", self.format.account_prefix);
                if account == "?" {
                    return Err("`?` stands for an account that is not known yet and cannot be an id".to_owned());
                }
                checked_id(&account).map(|()| Value::Text(account))
            }
            Shape::Owner => checked_id(text).map(|()| Value::Text(text.to_owned())),
            Shape::Integer => self.integer(text).map(Value::Integer),
            Shape::Number => self.number(text).map(Value::Number),
            Shape::Money => {
                let currency = self.currency.ok_or("an amount without a currency: set `currency`")?;
                self.money(text, currency).map(Value::Money)
            }
            Shape::Day => self.moment(text).map(|moment| Value::Day(moment.day())),
            Shape::Moment => self.moment(text).map(Value::Moment),
            Shape::Bool => self.truth(text).map(Value::Bool),
            Shape::Word(_) | Shape::Tier | Shape::Role | Shape::DealRoles => {
                let words = self.words();
                match words.iter().find(|word| **word == text) {
                    Some(word) => Ok(Value::Word(word)),
                    None => Err(format!("not one of: {}", words.join(", "))),
                }
            }
            Shape::Crm => {
                checked_id(text)?;
                let crm = self.system.ok_or("a CRM record id without `system`")?;
                Ok(Value::Crm(CrmRef {
                    crm,
                    id: text.to_owned(),
                }))
            }
            Shape::Attributes => Err("attributes are a table of names, each with its column".to_owned()),
        }
    }

    /// The words that there are, for a field that holds one of a list.
    pub(super) fn words(&self) -> Vec<&'static str> {
        match self.shape {
            Shape::Word(words) => words(),
            Shape::Tier => self.format.named.tiers().iter().map(|tier| tier.as_str()).collect(),
            Shape::Role => self.format.named.roles().map(OwnerRole::as_str).collect(),
            Shape::DealRoles => ContactRole::ALL.iter().map(|role| role.as_str()).collect(),
            Shape::Text
            | Shape::Account
            | Shape::Owner
            | Shape::Integer
            | Shape::Number
            | Shape::Money
            | Shape::Day
            | Shape::Moment
            | Shape::Bool
            | Shape::Crm
            | Shape::Attributes => Vec::new(),
        }
    }

    /// The roles that a list stands for: one deal a line, its id before the first `=`, behind it the word for the role. A word
    /// that stands for no role of ours says nothing, as does a role of which the CRM knows no deal; of several in one deal the first
    /// in the order of roles counts.
    pub(super) fn deal_roles(&self, text: &str, values: &BTreeMap<String, Value>) -> Result<Option<Value>, String> {
        let mut roles: BTreeMap<String, ContactRole> = BTreeMap::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (deal, word) = line.split_once('=').ok_or("a line without `=` between deal and role")?;
            let (deal, word) = (deal.trim(), word.trim());
            checked_id(deal)?;
            let role = match values.get(word) {
                Some(Value::Word(word)) => ContactRole::from_word(word),
                Some(_) => None,
                None => ContactRole::from_word(word),
            };
            if let Some(role) = role {
                let first = roles.entry(deal.to_owned()).or_insert(role);
                *first = role.min(*first);
            }
        }
        Ok((!roles.is_empty()).then_some(Value::DealRoles(roles)))
    }

    /// The amount that a text stands for in a currency.
    pub(super) fn money(&self, text: &str, currency: Currency) -> Result<Money, String> {
        let plain = self.plain(text)?;
        let plain = match self.times {
            Some(times) => Cow::Owned(multiplied(&plain, times)?.to_string()),
            None => plain,
        };
        Money::parse(&plain, currency).map_err(|error| error.to_string())
    }

    fn number(&self, text: &str) -> Result<Micro, String> {
        let plain = self.plain(text)?;
        let plain = match self.times {
            Some(times) => Cow::Owned(multiplied(&plain, times)?.to_string()),
            None => plain,
        };
        plain.parse().map_err(|error| format!("{error}"))
    }

    fn integer(&self, text: &str) -> Result<i64, String> {
        let plain = self.plain(text)?;
        if self.times.is_none()
            && let Ok(whole) = plain.parse()
        {
            return Ok(whole);
        }
        let number = multiplied(&plain, self.times.unwrap_or(Decimal::ONE))?;
        if !number.fract().is_zero() {
            return Err("not a whole number".to_owned());
        }
        number.to_i64().ok_or_else(|| "too large".to_owned())
    }

    /// The number as Rust writes it: digits with a point, without marks between thousands.
    fn plain<'t>(&self, text: &'t str) -> Result<Cow<'t, str>, String> {
        let wrong = || {
            let mut shape = format!("not a number with `{}` before the decimals", self.format.decimal);
            if let Some(mark) = self.format.thousands {
                shape.push_str(&format!(" and `{mark}` between thousands"));
            }
            shape
        };
        let sign = usize::from(text.starts_with(['-', '+']));
        let (whole, fraction) = match text[sign..].split_once(self.format.decimal) {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (&text[sign..], None),
        };
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !fraction.is_none_or(digits) {
            return Err(wrong());
        }
        if digits(whole) {
            let text = text.strip_prefix('+').unwrap_or(text);
            return Ok(match (self.format.decimal, fraction) {
                ('.', _) | (_, None) => Cow::Borrowed(text),
                (mark, Some(_)) => Cow::Owned(text.replace(mark, ".")),
            });
        }
        // Groups must be whole: `1,5` under a mark `,` is a decimal comma in the wrong file, not fifteen.
        let mark = self.format.thousands.ok_or_else(wrong)?;
        let mut groups = whole.split(mark);
        let first = groups.next().unwrap_or_default();
        if !digits(first) || first.len() > 3 || !groups.clone().all(|group| digits(group) && group.len() == 3) {
            return Err(wrong());
        }
        let mut plain = if text.starts_with('-') { "-" } else { "" }.to_owned();
        plain.push_str(first);
        groups.for_each(|group| plain.push_str(group));
        if let Some(fraction) = fraction {
            plain.push('.');
            plain.push_str(fraction);
        }
        Ok(Cow::Owned(plain))
    }

    fn truth(&self, text: &str) -> Result<bool, String> {
        if self.format.yes.iter().any(|word| word == text) {
            Ok(true)
        } else if self.format.no.iter().any(|word| word == text) {
            Ok(false)
        } else {
            let all = [&self.format.yes[..], &self.format.no[..]].concat();
            Err(format!("not one of: {}", all.join(", ")))
        }
    }

    fn moment(&self, text: &str) -> Result<Timestamp, String> {
        let (first, second) = match self.shape {
            Shape::Moment => (&self.format.datetimes, &self.format.dates),
            _ => (&self.format.dates, &self.format.datetimes),
        };
        // The likelier list first, only to save time: no text fits both a date and a time.
        let (first, second) = if text.len() <= 10 {
            (&self.format.dates, &self.format.datetimes)
        } else {
            (first, second)
        };
        let moment = first
            .iter()
            .chain(second)
            .find_map(|format| format.read(text))
            .ok_or_else(|| {
                let formats = first.iter().chain(second).map(TimeFormat::name).collect::<Vec<_>>();
                format!("fits none of the formats {}", formats.join(" | "))
            })?;
        let (year, _, _) = moment.day().ymd();
        if !(1900..=2199).contains(&year) {
            return Err(format!(
                "lies in the year {year}, outside 1900 to 2199: look at the date format"
            ));
        }
        Ok(moment.plus_days(self.plus_days))
    }
}

fn multiplied(plain: &str, times: Decimal) -> Result<Decimal, String> {
    let number = Decimal::from_str_exact(plain).map_err(|_| "a number of too many digits".to_owned())?;
    number.checked_mul(times).ok_or_else(|| "too large".to_owned())
}

/// Refuses ids that are empty or longer than what the store keys hold.
pub(super) fn checked_id(id: &str) -> Result<(), String> {
    if id.is_empty() {
        return Err("an id is empty".to_owned());
    }
    if id.len() > ID_CHARACTERS && id.chars().count() > ID_CHARACTERS {
        return Err(format!("an id is longer than {ID_CHARACTERS} characters"));
    }
    Ok(())
}
