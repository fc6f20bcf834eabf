//! Money: minor units with a currency code. Never a float.

use std::fmt;
use std::str::FromStr;

use rust_decimal::prelude::ToPrimitive;
use rust_decimal::{Decimal, RoundingStrategy};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An ISO 4217 currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Currency(iso_currency::Currency);

impl Currency {
    /// United States dollar, the base of the shipped policy.
    pub const USD: Currency = Currency(iso_currency::Currency::USD);

    /// Three-letter code.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.0.code()
    }

    /// Decimals of the minor unit: 2 for USD, 0 for JPY, 3 for KWD.
    #[must_use]
    pub fn exponent(self) -> u32 {
        self.0.exponent().map_or(2, u32::from)
    }
}

impl PartialOrd for Currency {
    fn partial_cmp(&self, other: &Currency) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Currency {
    fn cmp(&self, other: &Currency) -> std::cmp::Ordering {
        self.code().cmp(other.code())
    }
}

impl FromStr for Currency {
    type Err = MoneyError;

    fn from_str(code: &str) -> Result<Currency, MoneyError> {
        iso_currency::Currency::from_code(code)
            .map(Currency)
            .ok_or_else(|| MoneyError::UnknownCurrency(code.to_owned()))
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Currency, D::Error> {
        let code = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        code.parse().map_err(D::Error::custom)
    }
}

/// An amount in minor units (cents) of one currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Money {
    /// Minor units: 12345 is 123.45 in a currency with two decimals.
    pub minor: i64,
    /// Currency of the amount.
    pub currency: Currency,
}

/// Why a text is not an amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not an ISO 4217 code.
    #[error("`{0}` is not an ISO 4217 currency code such as USD or EUR")]
    UnknownCurrency(String),
    /// Not a decimal amount.
    #[error("`{0}` is not an amount")]
    NotAnAmount(String),
    /// Finer than the minor unit, or beyond the range.
    #[error("`{amount}` cannot be held in {currency}: at most {places} decimals and 19 digits")]
    NotRepresentable {
        /// What was read.
        amount: String,
        /// The currency it was read for.
        currency: Currency,
        /// Decimals the currency has.
        places: u32,
    },
}

impl Money {
    /// An amount of `minor` units.
    #[must_use]
    pub fn new(minor: i64, currency: Currency) -> Money {
        Money { minor, currency }
    }

    /// Reads a decimal amount in major units, such as `1100.04`. More decimals than the currency has are refused.
    ///
    /// # Errors
    /// [`MoneyError::NotAnAmount`] or [`MoneyError::NotRepresentable`].
    pub fn parse(text: &str, currency: Currency) -> Result<Money, MoneyError> {
        let decimal = Decimal::from_str_exact(text).map_err(|_| MoneyError::NotAnAmount(text.to_owned()))?;
        let places = currency.exponent();
        let refused = || MoneyError::NotRepresentable {
            amount: text.to_owned(),
            currency,
            places,
        };
        let scaled = decimal
            .checked_mul(Decimal::from(10_i64.pow(places)))
            .ok_or_else(refused)?;
        if !scaled.fract().is_zero() {
            return Err(refused());
        }
        scaled
            .to_i64()
            .map(|minor| Money { minor, currency })
            .ok_or_else(refused)
    }

    /// The amount in another currency at `rate` (units of `to` for one unit of this currency), rounded half to even.
    /// `None` when the result is out of range.
    #[must_use]
    pub fn convert(self, to: Currency, rate: Decimal) -> Option<Money> {
        let major = Decimal::new(self.minor, self.currency.exponent());
        let scaled = major
            .checked_mul(rate)?
            .checked_mul(Decimal::from(10_i64.pow(to.exponent())))?;
        let minor = scaled
            .round_dp_with_strategy(0, RoundingStrategy::MidpointNearestEven)
            .to_i64()?;
        Some(Money { minor, currency: to })
    }
}

impl fmt::Display for Money {
    /// `EUR 12,345.60`, for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = self.currency.exponent();
        let unit = 10_u64.pow(places);
        let all = self.minor.unsigned_abs();
        let sign = if self.minor < 0 { "-" } else { "" };
        let whole = (all / unit).to_string();
        let grouped = whole
            .as_bytes()
            .rchunks(3)
            .rev()
            .map(|chunk| std::str::from_utf8(chunk).unwrap_or_default())
            .collect::<Vec<_>>()
            .join(",");
        if places == 0 || all.is_multiple_of(unit) {
            write!(f, "{} {sign}{grouped}", self.currency)
        } else {
            write!(
                f,
                "{} {sign}{grouped}.{:0width$}",
                self.currency,
                all % unit,
                width = places as usize
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eur() -> Currency {
        "EUR".parse().expect("EUR is a currency")
    }

    #[test]
    fn amounts_are_read_to_the_minor_unit() {
        assert_eq!(Money::parse("1100.04", eur()), Ok(Money::new(110_004, eur())));
        assert_eq!(Money::parse("101590.0", eur()), Ok(Money::new(10_159_000, eur())));
        let yen: Currency = "JPY".parse().expect("JPY is a currency");
        assert_eq!(Money::parse("500", yen), Ok(Money::new(500, yen)));
        assert!(matches!(
            Money::parse("0.5", yen),
            Err(MoneyError::NotRepresentable { .. })
        ));
        assert!(matches!(
            Money::parse("1.005", eur()),
            Err(MoneyError::NotRepresentable { .. })
        ));
    }

    #[test]
    fn a_wrong_currency_is_named() {
        assert_eq!(
            "EURO".parse::<Currency>(),
            Err(MoneyError::UnknownCurrency("EURO".to_owned()))
        );
    }

    #[test]
    fn amounts_print_for_people() {
        assert_eq!(Money::new(123_456_700, eur()).to_string(), "EUR 1,234,567");
        assert_eq!(Money::new(-123_456, eur()).to_string(), "EUR -1,234.56");
    }

    #[test]
    fn conversion_crosses_exponents() {
        let yen: Currency = "JPY".parse().expect("JPY is a currency");
        assert_eq!(
            Money::new(15_000, yen).convert(eur(), Decimal::new(6, 3)),
            Some(Money::new(9_000, eur()))
        );
    }
}
