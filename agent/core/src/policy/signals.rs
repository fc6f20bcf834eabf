//! The table `[signals]` of `scoring.toml`: which detectors run, and their limits.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::file::did_you_mean;
use super::scoring::Check;
use crate::detect::{Detector, PartWeight, UseEvidence};

/// Which detectors run, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct SignalsPolicy {
    /// Days between two changes of a state at the least.
    pub quiet_days: i64,
    /// Days for which what has cleared is still shown.
    pub shown_days: i64,
    /// Detectors that are on.
    pub detectors: BTreeMap<Detector, Limits>,
    /// What counts for the usage drop beside the active seats; nothing in a file without `[signals.detector.evidence]`.
    pub evidence: UseEvidence,
}

/// Limits of one detector, in its own unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Beyond it the condition opens.
    pub open: f64,
    /// Back within it the condition clears; between the two nothing changes.
    pub clear: f64,
    /// Weeks in which the strength of what was seen halves.
    pub half_life_weeks: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SignalsTable {
    quiet_days: Spanned<i64>,
    shown_days: Spanned<i64>,
    detector: Vec<DetectorTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DetectorTable {
    name: Spanned<String>,
    on: bool,
    open: Spanned<f64>,
    clear: Spanned<f64>,
    half_life_weeks: Spanned<f64>,
    evidence: Option<Spanned<EvidenceTable>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EvidenceTable {
    features: Option<PartTable>,
    events_per_user: Option<PartTable>,
    champion: Option<Spanned<f64>>,
    agreement: Spanned<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PartTable {
    scale: Spanned<f64>,
    weight: Spanned<f64>,
}

/// What counts for the usage drop beside the active seats.
fn evidence(check: &mut Check<'_>, raw: &EvidenceTable) -> UseEvidence {
    let mut part = |table: &Option<PartTable>| {
        table.as_ref().map(|table| PartWeight {
            scale: check.range("scale", &table.scale, 0.001, 1000.0),
            weight: check.range("weight", &table.weight, 0.0, 100.0),
        })
    };
    let (features, events_per_user) = (part(&raw.features), part(&raw.events_per_user));
    UseEvidence {
        features,
        events_per_user,
        champion: raw
            .champion
            .as_ref()
            .map_or(0.0, |weight| check.range("champion", weight, 0.0, 100.0)),
        agreement: check.range("agreement", &raw.agreement, 0.0, 1.0),
    }
}

pub(super) fn signals(check: &mut Check<'_>, raw: &SignalsTable) -> SignalsPolicy {
    let mut detectors = BTreeMap::new();
    let mut named = BTreeMap::new();
    let mut counted = UseEvidence::default();
    for table in &raw.detector {
        let at = table.name.span().start;
        let name = table.name.get_ref().as_str();
        let Some(detector) = Detector::from_word(name) else {
            let help = did_you_mean(name, Detector::ALL.iter().map(|d| d.as_str()))
                .unwrap_or_else(|| "the shipped file lists all detectors".to_owned());
            check.wrong(at, format!("unknown detector `{name}`"), help);
            continue;
        };
        if named.insert(detector, ()).is_some() {
            check.wrong(
                at,
                format!("detector `{name}` stands here twice"),
                "keep one of the two",
            );
        }
        let limits = Limits {
            open: check.range("open", &table.open, -1e6, 1e6),
            clear: check.range("clear", &table.clear, -1e6, 1e6),
            half_life_weeks: check.range("half_life_weeks", &table.half_life_weeks, 0.1, 520.0),
        };
        let falls = limits.open < limits.clear;
        if limits.open.to_bits() == limits.clear.to_bits() || falls != detector.falls() {
            let (message, help) = if detector.falls() {
                ("`open` of `{}` must be below `clear`", "lower values are worse here")
            } else {
                ("`open` of `{}` must be above `clear`", "higher values are worse here")
            };
            let help = format!("{help}; exchange the two, or set them apart");
            check.wrong(table.open.span().start, message.replace("{}", name), help);
        }
        if let Some(table) = &table.evidence {
            if detector != Detector::UsageDrop {
                let help = "only `usage_drop` reads more than one measure; remove the table here";
                check.wrong(table.span().start, format!("`{name}` has no `evidence`"), help);
            }
            counted = evidence(check, table.get_ref());
        }
        if table.on {
            detectors.insert(detector, limits);
        }
    }
    SignalsPolicy {
        quiet_days: check.range("quiet_days", &raw.quiet_days, 1, 365),
        shown_days: check.range("shown_days", &raw.shown_days, 0, 365),
        detectors,
        evidence: counted,
    }
}
