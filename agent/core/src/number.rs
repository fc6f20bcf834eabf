//! Fixed-point numbers. Anything that is hashed or compared is an integer, so that no machine rounds it differently.

use std::fmt;
use std::str::FromStr;

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde::{Deserialize, Serialize};

/// A number in millionths: `Micro(2_500_000)` is 2.5. Range about ±9.2e12.
///
/// Used for usage values, scores (points of 100), probabilities (1.0 = 1_000_000) and ratios.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Micro(pub i64);

impl Micro {
    /// Zero.
    pub const ZERO: Micro = Micro(0);
    /// One.
    pub const ONE: Micro = Micro(1_000_000);

    /// The nearest millionth of `value`, ties away from zero; values out of range saturate, NaN becomes zero.
    #[must_use]
    pub fn from_f64(value: f64) -> Micro {
        // `as` saturates and maps NaN to 0, and `libm::round` is the same on every machine.
        Micro(libm::round(value * 1e6) as i64)
    }

    /// The value as a float, for formulas.
    #[must_use]
    pub fn to_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// A whole number.
    #[must_use]
    pub fn whole(value: i64) -> Micro {
        Micro(value.saturating_mul(1_000_000))
    }

    /// The number rounded to `places` decimals, for people.
    #[must_use]
    pub fn display(self, places: usize) -> String {
        format!("{:.*}", places, self.to_f64())
    }
}

/// Why a text is not a number we can hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    /// Not a decimal number.
    #[error("`{0}` is not a number")]
    NotANumber(String),
    /// More than six decimals or beyond the range.
    #[error("`{0}` is out of range: at most 6 decimals and about 9 million million")]
    OutOfRange(String),
}

impl FromStr for Micro {
    type Err = NumberError;

    /// Reads a plain decimal such as `-3`, `0.25` or `27.0`. Digits beyond the sixth decimal are refused, not dropped.
    fn from_str(text: &str) -> Result<Micro, NumberError> {
        // Whole numbers are most of what an import reads, so they take the short way.
        if text.len() <= 12
            && !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_digit())
            && let Ok(whole) = text.parse::<i64>()
        {
            return Ok(Micro::whole(whole));
        }
        let decimal = Decimal::from_str_exact(text).map_err(|_| NumberError::NotANumber(text.to_owned()))?;
        let scaled = decimal
            .checked_mul(Decimal::from(1_000_000))
            .ok_or_else(|| NumberError::OutOfRange(text.to_owned()))?;
        if !scaled.fract().is_zero() {
            return Err(NumberError::OutOfRange(text.to_owned()));
        }
        scaled
            .to_i64()
            .map(Micro)
            .ok_or_else(|| NumberError::OutOfRange(text.to_owned()))
    }
}

impl fmt::Display for Micro {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Decimal::new(self.0, 6).normalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_read_exactly() {
        assert_eq!("27.0".parse(), Ok(Micro::whole(27)));
        assert_eq!("-0.000001".parse(), Ok(Micro(-1)));
        assert_eq!("5004".parse(), Ok(Micro::whole(5004)));
        assert_eq!("0".parse(), Ok(Micro::ZERO));
    }

    #[test]
    fn what_cannot_be_held_is_refused_not_rounded() {
        assert!(matches!("0.0000001".parse::<Micro>(), Err(NumberError::OutOfRange(_))));
        assert!(matches!(
            "99999999999999".parse::<Micro>(),
            Err(NumberError::OutOfRange(_))
        ));
        assert!(matches!("twelve".parse::<Micro>(), Err(NumberError::NotANumber(_))));
        assert!(matches!("".parse::<Micro>(), Err(NumberError::NotANumber(_))));
        assert!(matches!("NaN".parse::<Micro>(), Err(NumberError::NotANumber(_))));
    }

    #[test]
    fn numbers_print_without_trailing_zeros() {
        assert_eq!(Micro(2_500_000).to_string(), "2.5");
        assert_eq!(Micro::whole(30).to_string(), "30");
        assert_eq!(Micro(333_333).display(2), "0.33");
    }
}
