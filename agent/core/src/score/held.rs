//! Bands with hysteresis: a score that wobbles about a limit does not change its band each time.
//!
//! A band is left when the score is `width` points beyond its limit. So the band depends on where the score came from: on its
//! values at the starts of the weeks before. A value that is not near a limit settles the band whatever came before it, so
//! the path ends there. Where no value within reach settles it, the lower band counts: then a wobble that goes on for
//! longer than the path is one band too.

use super::{Band, IndexScore};
use crate::number::Micro;
use crate::policy::Bands;

/// Weeks that the path of a band goes back at most.
pub const BAND_WEEKS: i64 = 8;

/// Whether a score has one band whatever came before it.
#[must_use]
pub fn settles(score: Micro, bands: Bands) -> bool {
    let near = |limit: f64| (limit - bands.width..limit + bands.width).contains(&score.to_f64());
    !near(bands.red_below) && !near(bands.green_from)
}

/// The band of a score, given what it was at the starts of the weeks before, the newest first. With a width of 0 it is the
/// band of the score alone.
#[must_use]
pub fn held_band(now: Micro, before: &[Micro], bands: Bands) -> Band {
    let path = before.iter().rev().chain(std::iter::once(&now));
    path.fold(Band::Red, |band, score| step(band, score.to_f64(), bands))
}

fn step(band: Band, score: f64, bands: Bands) -> Band {
    let Bands {
        red_below,
        green_from,
        width,
    } = bands;
    if score >= green_from + width {
        Band::Green
    } else if score < red_below - width {
        Band::Red
    } else {
        match band {
            Band::Green if score >= green_from - width => Band::Green,
            Band::Green | Band::Yellow => Band::Yellow,
            Band::Red if score >= red_below + width => Band::Yellow,
            Band::Red => Band::Red,
        }
    }
}

impl IndexScore {
    /// Gives the score its band by what it was before. What a person has set stands by itself.
    pub(crate) fn hold_band(&mut self, before: &[Micro], bands: Bands) {
        if let Some(score) = self.score_micro
            && self.overridden.is_none()
        {
            self.band = Some(held_band(score, before, bands));
        }
    }

    /// Whether the band depends on what the score was before.
    #[must_use]
    pub fn band_needs_past(&self, bands: Bands) -> bool {
        bands.width > 0.0 && self.overridden.is_none() && self.score_micro.is_some_and(|score| !settles(score, bands))
    }
}

#[cfg(test)]
mod tests;
