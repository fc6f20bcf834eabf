//! From columns to core types.

use perennial_core::replay::Hash;
use perennial_core::time::{Day, Timestamp};
use serde::de::DeserializeOwned;

use crate::error::{Result, StoreError};

pub(crate) fn time(us: i64) -> Timestamp {
    Timestamp::from_us(us)
}

pub(crate) fn day(number: i64) -> Day {
    Day::from_number(i32::try_from(number).unwrap_or(i32::MAX))
}

pub(crate) fn hash(text: &str) -> Result<Hash> {
    text.parse().map_err(|_| corrupt("hash", text))
}

/// A word of one of our enums.
pub(crate) fn word<T>(what: &'static str, text: &str, from: impl Fn(&str) -> Option<T>) -> Result<T> {
    from(text).ok_or_else(|| corrupt(what, text))
}

/// Canonical JSON of one of our types.
pub(crate) fn json<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| StoreError::Corrupt {
        what,
        detail: error.to_string(),
    })
}

/// A value that cannot be what was written. Shows no more than its beginning: it may be personal data.
pub(crate) fn corrupt(what: &'static str, text: &str) -> StoreError {
    StoreError::Corrupt {
        what,
        detail: format!("`{}`", text.chars().take(40).collect::<String>()),
    }
}

/// An error unless exactly this thing was changed.
pub(crate) fn count(what: &'static str, name: &str, changed: u64) -> Result<()> {
    if changed == 0 {
        return Err(StoreError::NotFound {
            what,
            name: name.to_owned(),
        });
    }
    Ok(())
}

/// A limit as a parameter.
pub(crate) fn limit(rows: u32) -> i64 {
    i64::from(rows)
}

/// A count that was read.
pub(crate) fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}
