//! The arithmetic of a renewal offer: the same price, or the price with the rise the contract provides for.

use rust_decimal::prelude::ToPrimitive;
use rust_decimal::{Decimal, RoundingStrategy};

use crate::money::Money;
use crate::number::Micro;

/// The yearly price we propose: today's price with the contractual rise (0.03 = 30,000 millionths), or today's price
/// where there is none. Rounded half to even to the minor unit; nothing when out of range.
#[must_use]
pub fn proposed_arr(arr: Money, escalator: Option<Micro>) -> Option<Money> {
    let rise = Decimal::new(escalator.unwrap_or(Micro::ZERO).0, 6);
    let factor = Decimal::ONE.checked_add(rise)?;
    round(Decimal::from(arr.minor).checked_mul(factor)?, arr)
}

/// What a term of `months` costs at a yearly price. Rounded half to even to the minor unit; nothing when out of range.
#[must_use]
pub fn term_total(arr: Money, months: i64) -> Option<Money> {
    let months = Decimal::from(months);
    round(
        Decimal::from(arr.minor)
            .checked_mul(months)?
            .checked_div(Decimal::from(12))?,
        arr,
    )
}

/// The rise from one amount to another as a ratio; nothing for other currencies or from zero.
#[must_use]
pub fn uplift(from: Money, to: Money) -> Option<Micro> {
    if from.currency != to.currency || from.minor == 0 {
        return None;
    }
    let ratio = Decimal::from(to.minor)
        .checked_sub(Decimal::from(from.minor))?
        .checked_mul(Decimal::from(1_000_000))?
        .checked_div(Decimal::from(from.minor))?;
    ratio
        .round_dp_with_strategy(0, RoundingStrategy::MidpointNearestEven)
        .to_i64()
        .map(Micro)
}

fn round(minor: Decimal, like: Money) -> Option<Money> {
    minor
        .round_dp_with_strategy(0, RoundingStrategy::MidpointNearestEven)
        .to_i64()
        .map(|minor| Money::new(minor, like.currency))
}
