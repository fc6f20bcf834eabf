//! What has changed at an account, a row for each episode, as `perennial signals` and a walk through time give it.

use perennial_core::decide::Decision;
use perennial_core::detect::{Contribution, Detector, Episode, State};
use perennial_core::ids::{AccountId, OwnerId};
use perennial_core::money::Currency;
use perennial_core::number::Micro;
use perennial_core::signal::RecordRef;
use perennial_core::time::{Day, Timestamp};
use serde::Serialize;

/// Where an episode stands, in the order of lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stand {
    /// Beyond its limit for longer than the quiet time.
    Confirmed,
    /// Beyond its limit.
    Open,
    /// Over, and lately.
    Cleared,
}

impl Stand {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Stand::Confirmed => "confirmed",
            Stand::Open => "open",
            Stand::Cleared => "cleared",
        }
    }
}

/// One episode of one detector at one account.
#[derive(Debug, Clone, Serialize)]
pub struct ChangeRow {
    /// Account.
    pub account: AccountId,
    /// Detector.
    pub kind: Detector,
    /// Where it stands.
    pub state: Stand,
    /// First day.
    pub opened_at: Day,
    /// Day on which it was confirmed.
    pub confirmed_at: Option<Day>,
    /// Day on which it was over.
    pub cleared_at: Option<Day>,
    /// How grave it is, 0 to 1; see [`Episode::severity_micro`].
    pub severity: f64,
    /// Records behind it, the newest first.
    pub evidence: Vec<RecordRef>,
    /// How many records there are in all.
    pub evidence_total: u32,
    /// What was measured last, in `unit`.
    pub value: f64,
    /// What it is held against.
    pub baseline: Option<f64>,
    /// What adds up to the value, where it has parts.
    pub parts: Vec<Contribution>,
    /// What value and baseline are measured in.
    pub unit: &'static str,
    /// Who or what, where there is a name for it.
    pub subject: Option<String>,
    /// Our person in charge.
    pub owner: Option<OwnerId>,
    /// Yearly revenue, minor units.
    pub arr_minor: Option<i64>,
    /// Its currency.
    pub currency: Option<Currency>,
    /// Facts up to here.
    pub as_of: Timestamp,
}

/// The episodes of a decision, in the order of the detectors. What cannot be judged is none.
pub(crate) fn rows(decision: &Decision) -> impl Iterator<Item = ChangeRow> + '_ {
    decision.signals.iter().filter_map(|found| {
        let (state, episode) = match &found.state {
            State::Open(episode) => (Stand::Open, episode),
            State::Confirmed(episode) => (Stand::Confirmed, episode),
            State::Cleared(episode) => (Stand::Cleared, episode),
            State::Unknown { .. } => return None,
        };
        Some(row(decision, found.detector, state, episode))
    })
}

fn row(decision: &Decision, kind: Detector, state: Stand, episode: &Episode) -> ChangeRow {
    let arr = decision.features.money("arr");
    ChangeRow {
        account: decision.account.clone(),
        kind,
        state,
        opened_at: episode.opened,
        confirmed_at: episode.confirmed,
        cleared_at: (state == Stand::Cleared).then_some(episode.since),
        severity: episode.severity_micro().to_f64(),
        evidence: episode.records.clone(),
        evidence_total: episode.records_total,
        value: episode.value_micro.to_f64(),
        baseline: episode.baseline_micro.map(Micro::to_f64),
        parts: episode.parts.clone(),
        unit: kind.unit(),
        subject: episode.subject.clone(),
        owner: decision.owner.clone(),
        arr_minor: arr.map(|a| a.minor),
        currency: arr.map(|a| a.currency),
        as_of: decision.as_of,
    }
}

/// Confirmed before open before cleared; the largest account first, ties by account and detector.
pub(crate) fn sort(rows: &mut [ChangeRow]) {
    rows.sort_by(|a, b| {
        a.state
            .cmp(&b.state)
            .then_with(|| b.arr_minor.cmp(&a.arr_minor))
            .then_with(|| (&a.account, a.kind, a.opened_at).cmp(&(&b.account, b.kind, b.opened_at)))
    });
}
