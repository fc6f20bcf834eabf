//! Points in time and calendar days, in UTC. Nothing here reads a clock.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Microseconds in a day.
pub const DAY_US: i64 = 86_400_000_000;

/// A moment: microseconds since 1970-01-01T00:00:00Z. Written as RFC 3339 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// A calendar day, as days since 1970-01-01. Written as `YYYY-MM-DD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(i32);

/// Why a text is not a time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// Not a moment.
    #[error("`{0}` is not a time: write it like 2026-01-31 or 2026-01-31T08:00:00Z")]
    NotATime(String),
    /// Not a day.
    #[error("`{0}` is not a date: write it like 2026-01-31")]
    NotADay(String),
}

impl Timestamp {
    /// 1970-01-01T00:00:00Z: "always known" for facts without a date of their own.
    pub const EPOCH: Timestamp = Timestamp(0);

    /// From microseconds since the epoch. The range is that of four-digit years.
    #[must_use]
    pub fn from_us(us: i64) -> Timestamp {
        Timestamp(us.clamp(-62_135_596_800_000_000, 253_402_207_200_000_000))
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub fn us(self) -> i64 {
        self.0
    }

    /// The UTC day this moment lies in.
    #[must_use]
    pub fn day(self) -> Day {
        Day(i32::try_from(self.0.div_euclid(DAY_US)).unwrap_or(i32::MAX))
    }

    /// This moment moved by whole days.
    #[must_use]
    pub fn plus_days(self, days: i64) -> Timestamp {
        Timestamp::from_us(self.0.saturating_add(days.saturating_mul(DAY_US)))
    }
}

impl Day {
    /// From days since 1970-01-01.
    #[must_use]
    pub fn from_number(days: i32) -> Day {
        Day(days.clamp(-719_162, 2_932_896))
    }

    /// Days since 1970-01-01.
    #[must_use]
    pub fn number(self) -> i32 {
        self.0
    }

    /// A day of the calendar, or nothing when there is no such day.
    #[must_use]
    pub fn from_ymd(year: i16, month: i8, day: i8) -> Option<Day> {
        Date::new(year, month, day).ok().map(Day::from_date)
    }

    fn from_date(date: Date) -> Day {
        let epoch = Date::constant(1970, 1, 1);
        Day(date.since(epoch).map_or(0, |span| span.get_days()))
    }

    fn to_date(self) -> Date {
        Date::constant(1970, 1, 1)
            .checked_add(jiff::Span::new().days(i64::from(self.0)))
            .unwrap_or(Date::MAX)
    }

    /// Midnight at the start of this day, UTC.
    #[must_use]
    pub fn start(self) -> Timestamp {
        Timestamp(i64::from(self.0) * DAY_US)
    }

    /// This day moved by whole days.
    #[must_use]
    pub fn plus(self, days: i64) -> Day {
        Day::from_number(
            i32::try_from(i64::from(self.0).saturating_add(days)).unwrap_or(if days < 0 { i32::MIN } else { i32::MAX }),
        )
    }

    /// This day moved by calendar months, kept inside the month (31 January plus one month is 28 or 29 February).
    #[must_use]
    pub fn plus_months(self, months: i32) -> Day {
        self.to_date()
            .checked_add(jiff::Span::new().months(i64::from(months)))
            .map_or(self, Day::from_date)
    }

    /// Days from `self` to `later`; negative when `later` is earlier.
    #[must_use]
    pub fn days_until(self, later: Day) -> i64 {
        i64::from(later.0) - i64::from(self.0)
    }

    /// The Monday of this day's week.
    #[must_use]
    pub fn week_start(self) -> Day {
        // 1970-01-01 was a Thursday.
        Day(self.0 - (self.0 + 3).rem_euclid(7))
    }

    /// Quarter such as `2026-Q1`.
    #[must_use]
    pub fn quarter(self) -> String {
        let date = self.to_date();
        format!("{}-Q{}", date.year(), (date.month() - 1) / 3 + 1)
    }

    /// Year, month, day.
    #[must_use]
    pub fn ymd(self) -> (i16, i8, i8) {
        let date = self.to_date();
        (date.year(), date.month(), date.day())
    }
}

impl FromStr for Timestamp {
    type Err = TimeError;

    /// RFC 3339, or a plain day which means its midnight in UTC.
    fn from_str(text: &str) -> Result<Timestamp, TimeError> {
        if let Ok(moment) = text.parse::<jiff::Timestamp>() {
            return Ok(Timestamp(moment.as_microsecond()));
        }
        text.parse::<Day>()
            .map(Day::start)
            .map_err(|_| TimeError::NotATime(text.to_owned()))
    }
}

impl FromStr for Day {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Day, TimeError> {
        let wrong = || TimeError::NotADay(text.to_owned());
        let bytes = text.as_bytes();
        if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
            return Err(wrong());
        }
        let number = |range: std::ops::Range<usize>| -> Option<i16> {
            bytes[range]
                .iter()
                .try_fold(0_i16, |n, b| b.is_ascii_digit().then(|| n * 10 + i16::from(b - b'0')))
        };
        let (year, month, day) = (number(0..4), number(5..7), number(8..10));
        match (year, month, day) {
            (Some(y), Some(m), Some(d)) => Day::from_ymd(y, m as i8, d as i8).ok_or_else(wrong),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(moment) => write!(f, "{moment}"),
            Err(_) => write!(f, "{} us", self.0),
        }
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.ymd();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

macro_rules! as_text {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(D::Error::custom)
            }
        }
    };
}
as_text!(Timestamp);
as_text!(Day);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_moments_round_trip() {
        for text in [
            "1970-01-01",
            "2024-02-29",
            "2026-11-21",
            "1969-12-31",
            "0001-01-01",
            "9999-12-31",
        ] {
            assert_eq!(text.parse::<Day>().expect("a day").to_string(), text);
        }
        let moment: Timestamp = "2026-11-21T08:00:00.5Z".parse().expect("a moment");
        assert_eq!(moment.to_string(), "2026-11-21T08:00:00.5Z");
        assert_eq!(moment.day().to_string(), "2026-11-21");
    }

    #[test]
    fn days_that_do_not_exist_are_refused() {
        for text in ["2025-02-29", "2026-13-01", "2026-1-01", "20260101", "", "2026-01-0x"] {
            assert!(text.parse::<Day>().is_err(), "{text}");
        }
    }

    #[test]
    fn calendar_arithmetic_stays_in_the_month() {
        let day: Day = "2026-01-31".parse().expect("a day");
        assert_eq!(day.plus_months(1).to_string(), "2026-02-28");
        assert_eq!(day.plus(1).to_string(), "2026-02-01");
        assert_eq!(day.quarter(), "2026-Q1");
        assert_eq!(
            "2026-11-21".parse::<Day>().expect("a day").week_start().to_string(),
            "2026-11-16"
        );
        assert_eq!(day.days_until(day.plus(-3)), -3);
    }
}
