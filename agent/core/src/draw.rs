//! Repeatable draws: a seeded generator that is given to whatever needs chance, so that chance is an argument too.
//!
//! Promises: the same seed and purpose give the same draws on every machine and with every version of every crate
//! (SplitMix64, Steele, Lea and Flood 2014, written out here for that reason), and streams of different purposes have
//! nothing in common. Does not: resist guessing.

use crate::replay::Hash;

/// A stream of draws for one purpose.
#[derive(Debug, Clone)]
pub struct Stream(u64);

/// Odd fraction of 2^64 by the golden ratio: the step of SplitMix64.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Stream {
    /// The stream of a stored seed for a purpose, which is named by parts, such as `["holdout", "1", "SMB"]`.
    #[must_use]
    pub fn new(seed: u64, purpose: &[&str]) -> Stream {
        let seed = seed.to_string();
        let mut parts = vec![seed.as_str()];
        parts.extend_from_slice(purpose);
        let hash = Hash::of_parts(&parts);
        let first = hash.bytes().iter().take(8);
        Stream(first.fold(0, |state, byte| (state << 8) | u64::from(*byte)))
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    /// A whole number from 0 up to, but without, `bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        // The high half of a 128-bit product: uneven by less than bound / 2^64.
        ((u128::from(self.bits()) * bound as u128) >> 64) as usize
    }

    /// A fraction from 0 up to, but without, 1, evenly spread.
    pub fn fraction(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A standard normal draw (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - self.fraction()));
        radius * libm::cos(2.0 * std::f64::consts::PI * self.fraction())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_the_published_one() {
        // First outputs of SplitMix64 from the state 1234567, as published with the generator.
        let mut stream = Stream(1_234_567);
        assert_eq!(stream.bits(), 6_457_827_717_110_365_317);
        assert_eq!(stream.bits(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn purposes_do_not_share_draws() {
        let draw = |seed, purpose: &[&str]| Stream::new(seed, purpose).bits();
        assert_eq!(draw(7, &["a", "b"]), draw(7, &["a", "b"]));
        assert_ne!(draw(7, &["a", "b"]), draw(7, &["ab"]));
        assert_ne!(draw(7, &["a"]), draw(8, &["a"]));
    }

    #[test]
    fn normal_draws_have_mean_zero_and_variance_one() {
        let mut stream = Stream::new(1, &["normal"]);
        let draws: Vec<f64> = (0..20_000).map(|_| stream.normal()).collect();
        let mean = draws.iter().sum::<f64>() / 20_000.0;
        let variance = draws.iter().map(|d| (d - mean) * (d - mean)).sum::<f64>() / 20_000.0;
        assert!(mean.abs() < 0.03, "{mean}");
        assert!((variance - 1.0).abs() < 0.05, "{variance}");
    }

    #[test]
    fn every_number_below_the_bound_is_drawn_alike() {
        let mut stream = Stream::new(1, &["below"]);
        let mut seen = [0; 5];
        for _ in 0..10_000 {
            seen[stream.below(5)] += 1;
        }
        assert!(seen.iter().all(|n| (1_850..2_150).contains(n)), "{seen:?}");
        assert_eq!(stream.below(0), 0);
    }
}
