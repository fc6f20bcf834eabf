//! Repeatable draws: one stream for each purpose of each account, so that a change in one place moves nothing elsewhere.
//!
//! Promises: the same seed, account and purpose give the same draws on every machine and with every version of every
//! crate (SplitMix64, written out here for that reason). Does not: resist guessing.

/// What a stream is drawn for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Profile,
    Agreements,
    People,
    Usage,
    Tickets,
    Interactions,
    Surveys,
    Invoices,
    Deals,
}

/// A stream of draws.
#[derive(Debug, Clone)]
pub(crate) struct Stream(u64);

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

impl Stream {
    pub(super) fn new(seed: u64, account: u32, purpose: Purpose) -> Stream {
        Stream::salted(seed, account, purpose as u8)
    }

    /// The stream of a numbered purpose of an account.
    pub(crate) fn salted(seed: u64, account: u32, purpose: u8) -> Stream {
        let salt = (u64::from(account) << 8) | u64::from(purpose);
        Stream(mix(
            mix(seed.wrapping_add(STEP)) ^ mix(salt.wrapping_mul(STEP).wrapping_add(1))
        ))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// A whole number from 0 up to, but without, `bound`; 0 when `bound` is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        // The high half of a 128-bit product: even enough for any bound used here, and without a division.
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// A whole number from `low` to `high`, both included; `low` when the range is empty.
    pub(crate) fn between(&mut self, low: i64, high: i64) -> i64 {
        if high <= low {
            return low;
        }
        let width = high.abs_diff(low) + 1;
        low + i64::try_from(self.below(width)).unwrap_or(0)
    }

    /// Whether something happens that happens `per_mille` times in a thousand.
    pub(crate) fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// One of `from`.
    pub(super) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let at = usize::try_from(self.below(from.len() as u64)).unwrap_or(0);
        &from[at]
    }

    /// A fraction from 0 up to, but without, 1.
    pub(crate) fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// About standard normal: four fractions, centred and scaled. Only sums and products, so no machine differs.
    pub(crate) fn noise(&mut self) -> f64 {
        const SPREAD: f64 = 1.732_050_807_568_877_2;
        (self.fraction() + self.fraction() + self.fraction() + self.fraction() - 2.0) * SPREAD
    }
}
