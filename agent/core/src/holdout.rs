//! The holdout: which accounts are left untreated, so that what the engine brings can be told from what would have
//! happened anyway.
//!
//! The unit is a parent account with all that belongs to it. Units are stratified by segment and by the window of the
//! next contract end, sorted by yearly revenue and cut into blocks of neighbours; of each block one unit, drawn from a
//! stored seed, is held out (stratified block randomisation; Imbens and Rubin 2015, chapter 9). The assignment is made
//! before any treatment. INVARIANT (nobody moves): units with an arm keep it; later units form a later cohort.
//!
//! Promises: the order of the input changes nothing. Not here: the lift, which compares the arms at the end.

mod family;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::draw::Stream;
use crate::ids::AccountId;
use crate::replay::Hash;
use crate::signal::{Arm, word_enum};

pub use family::{Families, LeftOut, Member, families};

word_enum! {
    /// How soon the contract of a unit ends, counted from the day of the assignment.
    DueWindow {
        /// Within 13 weeks, or already past.
        Weeks13 = "13w",
        /// Within 26 weeks.
        Weeks26 = "26w",
        /// Within 52 weeks.
        Weeks52 = "52w",
        /// Later.
        Later = "later",
        /// No end is known.
        Unknown = "unknown",
    }
}

impl DueWindow {
    /// The window of an end that lies `days` ahead.
    #[must_use]
    pub fn of(days: Option<i64>) -> DueWindow {
        match days {
            None => DueWindow::Unknown,
            Some(days) if days <= 13 * 7 => DueWindow::Weeks13,
            Some(days) if days <= 26 * 7 => DueWindow::Weeks26,
            Some(days) if days <= 52 * 7 => DueWindow::Weeks52,
            Some(_) => DueWindow::Later,
        }
    }
}

/// Why no assignment can be made or judged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HoldoutError {
    /// A share that no whole block gives.
    #[error("a share of {0} % cannot be drawn in blocks: use 50, 25, 20, 10, 5, 4, 2 or 1")]
    Share(u32),
    /// One account came twice, as different things.
    #[error("account `{0}` is given twice, with different facts")]
    Twice(AccountId),
    /// There is nobody to assign.
    #[error("there is no account without an arm")]
    Nobody,
}

/// Share of units that is held out: one of each block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    block: usize,
}

impl Share {
    /// A share of so many percent: one of a block of `100 / percent`, at most a half.
    ///
    /// # Errors
    /// When no block of whole units gives that share.
    pub fn percent(percent: u32) -> Result<Share, HoldoutError> {
        if percent == 0 || percent > 50 || 100 % percent != 0 {
            return Err(HoldoutError::Share(percent));
        }
        Ok(Share {
            block: (100 / percent) as usize,
        })
    }

    /// Units of a block: 2 for a half, 5 for 20 %.
    #[must_use]
    pub fn block(self) -> usize {
        self.block
    }

    /// The share as a number between 0 and 1.
    #[must_use]
    pub fn fraction(self) -> f64 {
        1.0 / self.block as f64
    }
}

/// What is randomised: a parent account, with what is known of it before any treatment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// The parent account.
    pub account: AccountId,
    /// Market segment or tier; a stratum.
    pub segment: String,
    /// Days to the nearest contract end; `None` where no end is known.
    pub due_days: Option<i64>,
    /// Yearly revenue of the whole family, minor units of one currency.
    pub arr_minor: i64,
}

impl Unit {
    /// The stratum: segment, then window.
    #[must_use]
    pub fn stratum(&self) -> (&str, DueWindow) {
        (&self.segment, DueWindow::of(self.due_days))
    }
}

/// The arm of a unit, and the cohort it came with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Arm.
    pub arm: Arm,
    /// Number of the cohort, from 1.
    pub cohort: u32,
}

/// Arms of all units, by parent account.
pub type Places = BTreeMap<AccountId, Place>;

/// Gives an arm to every unit that has none; the new ones, as a cohort after those there are.
///
/// In each stratum units are sorted by yearly revenue, the largest first, then by id, and cut into blocks. In a last
/// block that is not full one of the full block's places is drawn all the same, so that every unit has exactly the same
/// chance; the place may fall outside, and then nobody of it is held out.
///
/// # Errors
/// When a unit is given twice with different facts, or every unit has an arm.
pub fn assign(units: &[Unit], placed: &Places, share: Share, seed: u64) -> Result<Places, HoldoutError> {
    let mut by_id: BTreeMap<&AccountId, &Unit> = BTreeMap::new();
    for unit in units {
        if by_id.insert(&unit.account, unit).is_some_and(|other| other != unit) {
            return Err(HoldoutError::Twice(unit.account.clone()));
        }
    }
    let cohort = 1 + placed.values().map(|p| p.cohort).max().unwrap_or(0);
    let mut strata: BTreeMap<(&str, DueWindow), Vec<&Unit>> = BTreeMap::new();
    // INVARIANT (nobody moves): who has an arm is not drawn again.
    for unit in by_id.into_values().filter(|u| !placed.contains_key(&u.account)) {
        strata.entry(unit.stratum()).or_default().push(unit);
    }
    if strata.is_empty() {
        return Err(HoldoutError::Nobody);
    }
    let mut new = Places::new();
    for ((segment, window), mut members) in strata {
        members.sort_by(|a, b| (b.arr_minor, &a.account).cmp(&(a.arr_minor, &b.account)));
        let purpose = ["holdout", &cohort.to_string(), segment, window.as_str()];
        let mut draws = Stream::new(seed, &purpose);
        for block in members.chunks(share.block) {
            let held = draws.below(share.block);
            for (place, unit) in block.iter().enumerate() {
                let arm = if place == held { Arm::Holdout } else { Arm::Engine };
                new.insert(unit.account.clone(), Place { arm, cohort });
            }
        }
    }
    Ok(new)
}

/// The name of a full assignment: a hash over account, arm and cohort of every unit. Stored before the first
/// treatment, it shows later that nobody moved.
#[must_use]
pub fn hash(places: &Places) -> Hash {
    let lines: Vec<String> = places
        .iter()
        .map(|(account, place)| format!("{}\t{}\t{account}", place.cohort, place.arm))
        .collect();
    let parts: Vec<&str> = lines.iter().map(String::as_str).collect();
    Hash::of_parts(&parts)
}

/// Why two arms cannot be compared in something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoDifference {
    /// An arm has fewer than two known values.
    #[error("cannot estimate: fewer than 2 known values in an arm")]
    TooFew,
    /// The value is the same everywhere.
    #[error("cannot estimate: no variance")]
    NoVariance,
}

/// One line of the balance table.
#[derive(Debug, Clone, PartialEq)]
pub struct Balance {
    /// What is compared.
    pub what: String,
    /// Mean over the known values of the engine's arm; for a stratum the share of units in it.
    pub engine: Option<f64>,
    /// The same in the holdout.
    pub holdout: Option<f64>,
    /// Difference of the means in standard deviations, engine less holdout.
    pub difference: Result<f64, NoDifference>,
}

/// The line of the balance table whose means are minor units.
pub const REVENUE: &str = "revenue a year";

/// Standardised differences of the arms: `(m1 - m0) / sqrt((v1 + v0) / 2)` (Rosenbaum and Rubin 1985), for yearly
/// revenue, its logarithm, days to the contract end, and membership of each segment and window.
#[must_use]
pub fn balance(units: &[Unit], places: &Places) -> Vec<Balance> {
    let members: BTreeMap<&AccountId, (&Unit, Arm)> = units
        .iter()
        .filter_map(|u| Some((&u.account, (u, places.get(&u.account)?.arm))))
        .collect();
    let line = |what: String, value: &dyn Fn(&Unit) -> Option<f64>| {
        let of = |arm: Arm| -> Vec<f64> {
            let arm = members.values().filter(|(_, a)| *a == arm);
            arm.filter_map(|(u, _)| value(u)).collect()
        };
        let (engine, holdout) = (of(Arm::Engine), of(Arm::Holdout));
        Balance {
            what,
            engine: mean(&engine),
            holdout: mean(&holdout),
            difference: standardised(&engine, &holdout),
        }
    };
    let mut lines = vec![
        line(REVENUE.to_owned(), &|u| Some(u.arr_minor as f64)),
        line("ln revenue".to_owned(), &|u| {
            (u.arr_minor > 0).then(|| libm::log(u.arr_minor as f64))
        }),
        line("days to the contract end".to_owned(), &|u| u.due_days.map(|d| d as f64)),
    ];
    let share = |held: bool| Some(f64::from(u8::from(held)));
    let segments: BTreeSet<&str> = members.values().map(|(u, _)| u.segment.as_str()).collect();
    for segment in segments {
        lines.push(line(format!("segment {segment}"), &|u| share(u.segment == segment)));
    }
    let windows: BTreeSet<DueWindow> = members.values().map(|(u, _)| u.stratum().1).collect();
    for window in windows {
        lines.push(line(format!("due {window}"), &|u| share(u.stratum().1 == window)));
    }
    lines
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn standardised(engine: &[f64], holdout: &[f64]) -> Result<f64, NoDifference> {
    let (Some(m1), Some(m0)) = (mean(engine), mean(holdout)) else {
        return Err(NoDifference::TooFew);
    };
    if engine.len() < 2 || holdout.len() < 2 {
        return Err(NoDifference::TooFew);
    }
    let variance = |list: &[f64], m: f64| {
        let squares: f64 = list.iter().map(|v| (v - m) * (v - m)).sum();
        squares / (list.len() - 1) as f64
    };
    let pooled = (variance(engine, m1) + variance(holdout, m0)) / 2.0;
    if pooled <= 0.0 {
        return Err(NoDifference::NoVariance);
    }
    Ok((m1 - m0) / libm::sqrt(pooled))
}

/// Whether the arms have the sizes they were drawn with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampleRatio {
    /// Units in the engine's arm.
    pub engine: usize,
    /// Units in the holdout.
    pub holdout: usize,
    /// Pearson's chi-square against the share, 1 degree of freedom.
    pub chi_square: f64,
    /// Chance of so large a value if the arms were drawn with that share unit by unit. Blocks keep the true ratio
    /// nearer than that, so a small value means that units were lost or moved.
    pub p: f64,
}

/// Pearson's chi-square test of the sizes of the arms; `None` for an assignment of nobody.
#[must_use]
pub fn sample_ratio(places: &Places, share: Share) -> Option<SampleRatio> {
    let holdout = places.values().filter(|p| p.arm == Arm::Holdout).count();
    let engine = places.len() - holdout;
    if places.is_empty() {
        return None;
    }
    let all = places.len() as f64;
    let expected = [all * (1.0 - share.fraction()), all * share.fraction()];
    let chi_square = [engine, holdout]
        .iter()
        .zip(expected)
        .map(|(n, e)| (*n as f64 - e) * (*n as f64 - e) / e)
        .sum();
    Some(SampleRatio {
        engine,
        holdout,
        chi_square,
        p: libm::erfc(libm::sqrt(chi_square / 2.0)),
    })
}

#[cfg(test)]
mod tests;
