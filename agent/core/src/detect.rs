//! Detectors: what has changed at an account, since when, how strongly, and by which records.
//!
//! Promises: every state follows from the snapshot, the peer index and the policy alone: the detectors are run through
//! the weeks of the snapshot, nothing is remembered between runs. What cannot be judged is unknown and names the field
//! that is missing; it is never calm.
//!
//! Not here: what to do about it (see `policy` and `candidate`).

mod breadth;
mod life;
mod peers;
mod usage_drop;
mod weeks;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use life::{cusum, decayed};
pub use peers::{PEERS_MAX, PEERS_MIN, Peers, fnv1a64, sample};
pub use usage_drop::{REARM_WEEKS, alarms, alarms_of, shift};
pub use weeks::{LogOdds, log_odds};

use crate::feature::{Features, Found, MAX_RECORDS, Value};
use crate::number::Micro;
use crate::policy::{Limits, SignalsPolicy};
use crate::score::Scores;
use crate::signal::{RecordRef, word_enum};
use crate::snapshot::Snapshot;
use crate::time::Day;
use life::{Level, Stage, Waits};
use weeks::{WEEK_DAYS, Weeks};

word_enum! {
    /// What is watched.
    Detector {
        /// The share of active seats fell, against peers.
        UsageDrop = "usage_drop",
        /// Features went out of use.
        BreadthLoss = "breadth_loss",
        /// Seats were given back.
        SeatContraction = "seat_contraction",
        /// The share of active seats rose, against peers.
        UsageGrowth = "usage_growth",
    }
}

/// What a detector says of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detection {
    /// Which.
    pub detector: Detector,
    /// Where it stands.
    #[serde(flatten)]
    pub state: State,
}

/// Where a condition stands. What is calm is not mentioned at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// Beyond its limit.
    Open(Episode),
    /// Beyond its limit for longer than the quiet time.
    Confirmed(Episode),
    /// Over, and lately.
    Cleared(Episode),
    /// Cannot be judged.
    Unknown {
        /// The field that is missing.
        missing: String,
    },
}

/// One episode of a condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Episode {
    /// First day.
    pub opened: Day,
    /// In its present state since.
    pub since: Day,
    /// How strongly: 1 is just at the limit. After the last alarm it decays by the half-life of the policy.
    pub strength_micro: Micro,
    /// What was measured last, in the unit of the detector.
    pub value_micro: Micro,
    /// What it is held against, in the same unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline_micro: Option<Micro>,
    /// Who or what, where there is a name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Records behind it, the newest first, at most [`MAX_RECORDS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<RecordRef>,
    /// How many records there were in all.
    pub records_total: u32,
}

impl Detection {
    /// The episode that is open or confirmed.
    #[must_use]
    pub fn active(&self) -> Option<&Episode> {
        match &self.state {
            State::Open(episode) | State::Confirmed(episode) => Some(episode),
            State::Cleared(_) | State::Unknown { .. } => None,
        }
    }
}

/// What detectors read.
pub(crate) struct Known<'a> {
    snapshot: &'a Snapshot,
    peers: &'a Peers,
    weeks: Weeks<'a>,
    log_odds: LogOdds,
}

/// What a detector measures as of a day.
#[derive(Debug, Clone)]
pub(crate) struct Reading<'a> {
    value: f64,
    baseline: Option<f64>,
    /// Day on which it began, where a record says so.
    cause: Option<Day>,
    /// A record says that the cause is over.
    gone: bool,
    subject: Option<String>,
    records: Vec<&'a RecordRef>,
}

impl Reading<'_> {
    fn of(value: f64) -> Self {
        Reading {
            value,
            baseline: None,
            cause: None,
            gone: false,
            subject: None,
            records: Vec::new(),
        }
    }
}

/// Measures as of a day; `opened` is the first day of the episode that is not over.
type Read = for<'a> fn(&Known<'a>, Day, Option<Day>) -> Result<Reading<'a>, String>;

/// Weeks through which the detectors are run.
const RUN_WEEKS: i64 = 24;
/// A condition whose value has not been known for so many days is unknown.
const STALE_DAYS: i64 = 28;

impl Detector {
    fn read(self) -> Read {
        match self {
            Detector::UsageDrop => usage_drop::read,
            Detector::BreadthLoss => breadth::read,
            Detector::SeatContraction => breadth::read_seats,
            Detector::UsageGrowth => usage_drop::read_growth,
        }
    }

    fn rearm_days(self) -> i64 {
        match self {
            Detector::UsageDrop | Detector::UsageGrowth => REARM_WEEKS * WEEK_DAYS,
            Detector::BreadthLoss | Detector::SeatContraction => 0,
        }
    }

    /// What its value and its limits are measured in.
    #[must_use]
    pub fn unit(self) -> &'static str {
        match self {
            Detector::UsageDrop | Detector::UsageGrowth => "log odds",
            Detector::BreadthLoss | Detector::SeatContraction => "share",
        }
    }

    /// Whether lower values are worse, so that the limit that opens lies below the one that clears.
    #[must_use]
    pub fn falls(self) -> bool {
        match self {
            Detector::UsageDrop => true,
            Detector::UsageGrowth | Detector::BreadthLoss | Detector::SeatContraction => false,
        }
    }
}

/// What the detectors say of an account, in their order; facts for conditions are added to the features.
#[must_use]
pub fn detect(
    snapshot: &Snapshot,
    peers: &Peers,
    features: &mut Features,
    _scores: &Scores,
    policy: &SignalsPolicy,
) -> Vec<Detection> {
    let weeks = Weeks::of(snapshot);
    let known = Known {
        snapshot,
        peers,
        log_odds: weeks.log_odds(),
        weeks,
    };
    let mut found = Vec::new();
    for (detector, limits) in &policy.detectors {
        found.extend(run(*detector, limits, policy, &known).map(|state| Detection {
            detector: *detector,
            state,
        }));
    }
    facts(&found, snapshot, features, policy);
    found
}

fn level(reading: &Result<Reading<'_>, String>, limits: &Limits) -> Level {
    let Ok(reading) = reading else {
        return Level::Unknown;
    };
    let beyond = |limit: f64| {
        if limits.open < limits.clear {
            reading.value < limit
        } else {
            reading.value > limit
        }
    };
    if reading.gone {
        Level::Gone
    } else if beyond(limits.open) {
        Level::Alarm
    } else if beyond(limits.clear) {
        Level::Between
    } else {
        Level::Calm
    }
}

/// Runs one detector through the weeks of the snapshot: every Monday, and the as-of day.
fn run(detector: Detector, limits: &Limits, policy: &SignalsPolicy, known: &Known<'_>) -> Option<State> {
    let today = known.snapshot.as_of.day();
    let waits = Waits {
        quiet: policy.quiet_days,
        rearm: detector.rearm_days(),
    };
    let mondays = (0..RUN_WEEKS).rev().map(|k| today.week_start().plus(-WEEK_DAYS * k));
    let days = mondays.filter(|day| *day < today).chain(std::iter::once(today));
    let mut stage = Stage::Quiet;
    let mut strongest: Vec<(Day, f64)> = Vec::new();
    let mut last: Option<(Day, Reading<'_>)> = None;
    let mut missing = None;
    for day in days {
        let before = stage.active_since();
        let reading = detector.read()(known, day, before);
        let level = level(&reading, limits);
        stage = stage.step(day, level, reading.as_ref().ok().and_then(|r| r.cause), waits);
        if before.is_none() && stage.active_since().is_some() {
            strongest.clear();
        }
        match reading {
            Ok(reading) => {
                if level == Level::Alarm {
                    strongest.push((day, (reading.value - limits.clear) / (limits.open - limits.clear)));
                }
                // A record that tells of the end has nothing more to say about the cause.
                if level != Level::Gone || last.is_none() {
                    last = Some((day, reading));
                }
                missing = None;
            }
            Err(field) => missing = Some(field),
        }
    }
    let known_lately = last
        .as_ref()
        .is_some_and(|(day, _)| day.days_until(today) <= STALE_DAYS);
    if let Some(missing) = missing
        && (stage.active_since().is_none() || !known_lately)
    {
        return Some(State::Unknown { missing });
    }
    let (_, reading) = last?;
    let strength = strongest
        .iter()
        .map(|(day, strength)| {
            decayed([(
                *strength,
                day.days_until(today) as f64,
                limits.half_life_weeks * WEEK_DAYS as f64,
            )])
        })
        .fold(0.0, f64::max);
    let episode = |opened: Day, since: Day| Episode {
        opened,
        since,
        strength_micro: Micro::from_f64(strength),
        value_micro: Micro::from_f64(reading.value),
        baseline_micro: reading.baseline.map(Micro::from_f64),
        subject: reading.subject.clone(),
        records: reading.records.iter().take(MAX_RECORDS).map(|r| (*r).clone()).collect(),
        records_total: u32::try_from(reading.records.len()).unwrap_or(u32::MAX),
    };
    match stage {
        Stage::Quiet => None,
        Stage::Open { opened } => Some(State::Open(episode(opened, opened))),
        Stage::Confirmed { opened, since } => Some(State::Confirmed(episode(opened, since))),
        Stage::Cleared { opened, since } => {
            (since.days_until(today) <= policy.shown_days).then(|| State::Cleared(episode(opened, since)))
        }
    }
}

/// Adds the facts that conditions of playbooks can read.
fn facts(found: &[Detection], snapshot: &Snapshot, features: &mut Features, policy: &SignalsPolicy) {
    let of = |detector: Detector| found.iter().find(|d| d.detector == detector);
    let mut put = |name: &str, detector: Detector, value: &dyn Fn(Option<&Episode>) -> Option<Value>, gap: &str| {
        let said = of(detector);
        let state = match said.map(|d| &d.state) {
            _ if !policy.detectors.contains_key(&detector) => {
                Err(format!("detector `{detector}`, which is off in scoring.toml [signals]"))
            }
            Some(State::Unknown { missing }) => Err(missing.clone()),
            Some(State::Open(_) | State::Confirmed(_) | State::Cleared(_)) | None => {
                value(said.and_then(Detection::active)).ok_or_else(|| gap.to_owned())
            }
        };
        let records = said
            .and_then(Detection::active)
            .map(|e| e.records.clone())
            .unwrap_or_default();
        let found = Found::concluded(state, snapshot.as_of, records);
        features.insert(&snapshot.account_id, name, found);
    };
    let is_open = |episode: Option<&Episode>| Some(Value::Flag(episode.is_some()));
    put("usage_drop_open", Detector::UsageDrop, &is_open, "");
}
