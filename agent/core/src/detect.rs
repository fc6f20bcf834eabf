//! Detectors: what has changed at an account, since when, how strongly, and by which records.
//!
//! Promises: every state follows from the snapshot, the peer index and the policy alone: the detectors are run through
//! the weeks of the snapshot, nothing is remembered between runs. What cannot be judged is unknown and names the field
//! that is missing; it is never calm.
//!
//! Not here: what to do about it (see `policy` and `candidate`).

mod breadth;
mod expansion;
mod life;
mod peers;
mod service;
mod stakeholder;
mod usage_drop;
mod weeks;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use expansion::OUT_OF_SIGHT_DAYS;
pub use life::{cusum, decayed};
pub use peers::{PEERS_MAX, PEERS_MIN, Peers, PeersSoFar, sample};
pub use stakeholder::{Change, ChangeKind, changes};
pub use usage_drop::{
    Contribution, PartWeight, PeerAdjusted, REARM_WEEKS, UseDrop, UseEvidence, UsePart, alarms, alarms_of,
};
pub use weeks::{LogOdds, UseSeries, UseWeek, log_odds};

use crate::feature::{Features, Found, MAX_RECORDS, Value};
use crate::number::Micro;
use crate::policy::{Limits, SignalsPolicy};
use crate::score::Scores;
use crate::signal::{RecordRef, word_enum};
use crate::snapshot::Snapshot;
use crate::time::Day;
use life::{Level, Stage, Waits};
use stakeholder::Person;
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
        /// No touch between us and the customer for long.
        Silence = "silence",
        /// Few seats are active some weeks after the start.
        OnboardingStall = "onboarding_stall",
        /// A case of severity 1, or an escalated one, is open.
        TicketEscalation = "ticket_escalation",
        /// An answer to a survey is far below the one before.
        SurveyDrop = "survey_drop",
        /// The mood in cases and touches, as their source judges it, has become worse.
        SentimentDrop = "sentiment_drop",
        /// A bill is due and not paid.
        LatePayment = "late_payment",
        /// Somebody left, fell silent, has another title or role, or a new executive is there.
        StakeholderChange = "stakeholder_change",
        /// One person carries the relationship.
        SingleThreaded = "single_threaded",
        /// Active users will reach the seats.
        SeatLimit = "seat_limit",
        /// The share of active seats rose, against peers.
        UsageGrowth = "usage_growth",
        /// Uses so much of what it has that another module fits.
        ModuleReadiness = "module_readiness",
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
    /// Day on which it was confirmed; `None` where it is only open, or cleared before it was confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<Day>,
    /// How strongly: 1 is just at the limit. After the last alarm it decays by the half-life of the policy.
    pub strength_micro: Micro,
    /// What was measured last, in the unit of the detector.
    pub value_micro: Micro,
    /// What it is held against, in the same unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline_micro: Option<Micro>,
    /// What adds up to the value, where it has parts; they sum to it exactly.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Contribution>,
    /// Who or what, where there is a name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Records behind it, the newest first, at most [`MAX_RECORDS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<RecordRef>,
    /// How many records there were in all.
    pub records_total: u32,
}

impl Episode {
    /// How grave it is, from 0 to 1: s / (1 + s) of the strength s. At its limit it is 0.5, three times as far beyond it
    /// 0.75, and after the last alarm it falls towards 0 as the strength decays.
    #[must_use]
    pub fn severity_micro(&self) -> Micro {
        let strength = self.strength_micro.to_f64().max(0.0);
        Micro::from_f64(strength / (1.0 + strength))
    }
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
    weeks: Weeks<'a>,
    adjusted: PeerAdjusted,
    evidence: UseEvidence,
    people: Vec<Person<'a>>,
    /// By the number of the person.
    changes: Vec<(usize, Change<'a>)>,
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
    parts: Vec<Contribution>,
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
            parts: Vec::new(),
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
            Detector::Silence => service::silence,
            Detector::OnboardingStall => service::onboarding,
            Detector::TicketEscalation => service::escalation,
            Detector::SurveyDrop => service::survey,
            Detector::SentimentDrop => service::sentiment,
            Detector::LatePayment => service::payment,
            Detector::StakeholderChange => stakeholder::read,
            Detector::SingleThreaded => stakeholder::read_single,
            Detector::SeatLimit => expansion::seat_limit,
            Detector::UsageGrowth => usage_drop::read_growth,
            Detector::ModuleReadiness => expansion::module,
        }
    }

    /// Days after which a value beyond the limit is a new episode, though the last one is not over; 0 where it never is.
    #[must_use]
    pub fn rearm_days(self) -> i64 {
        match self {
            Detector::UsageDrop | Detector::UsageGrowth => REARM_WEEKS * WEEK_DAYS,
            Detector::BreadthLoss
            | Detector::SeatContraction
            | Detector::Silence
            | Detector::OnboardingStall
            | Detector::TicketEscalation
            | Detector::SurveyDrop
            | Detector::SentimentDrop
            | Detector::LatePayment
            | Detector::StakeholderChange
            | Detector::SingleThreaded
            | Detector::SeatLimit
            | Detector::ModuleReadiness => 0,
        }
    }

    /// Whether it speaks for selling more.
    #[must_use]
    pub fn is_expansion(self) -> bool {
        matches!(
            self,
            Detector::SeatLimit | Detector::UsageGrowth | Detector::ModuleReadiness
        )
    }

    /// What its value and its limits are measured in.
    #[must_use]
    pub fn unit(self) -> &'static str {
        match self {
            Detector::UsageDrop | Detector::UsageGrowth => "log odds",
            Detector::BreadthLoss
            | Detector::SeatContraction
            | Detector::OnboardingStall
            | Detector::SingleThreaded
            | Detector::ModuleReadiness => "share",
            Detector::Silence | Detector::LatePayment | Detector::SeatLimit => "days",
            Detector::TicketEscalation => "cases",
            Detector::SurveyDrop => "points of 10",
            Detector::SentimentDrop => "sentiment",
            Detector::StakeholderChange => "changes",
        }
    }

    /// Whether lower values are worse, so that the limit that opens lies below the one that clears.
    #[must_use]
    pub fn falls(self) -> bool {
        match self {
            Detector::UsageDrop | Detector::OnboardingStall | Detector::SentimentDrop | Detector::SeatLimit => true,
            Detector::BreadthLoss
            | Detector::SeatContraction
            | Detector::Silence
            | Detector::TicketEscalation
            | Detector::SurveyDrop
            | Detector::LatePayment
            | Detector::StakeholderChange
            | Detector::SingleThreaded
            | Detector::UsageGrowth
            | Detector::ModuleReadiness => false,
        }
    }
}

/// What the detectors say of an account, in their order; facts for conditions are added to the features.
#[must_use]
pub fn detect(
    snapshot: &Snapshot,
    peers: &Peers,
    features: &mut Features,
    scores: &Scores,
    at_risk_from: f64,
    policy: &SignalsPolicy,
) -> Vec<Detection> {
    let weeks = Weeks::of(snapshot);
    let people = stakeholder::people(snapshot);
    let known = Known {
        snapshot,
        adjusted: PeerAdjusted::of(&weeks.measures(), peers),
        evidence: policy.evidence,
        changes: stakeholder::of(snapshot, &people, &weeks),
        people,
        weeks,
    };
    let mut found = Vec::new();
    for (detector, limits) in &policy.detectors {
        found.extend(run(*detector, limits, policy, &known).map(|state| Detection {
            detector: *detector,
            state,
        }));
    }
    let risk = high_risk(&found, features, scores, at_risk_from);
    if risk.is_some() {
        found.retain(|d| !d.detector.is_expansion() || d.active().is_none());
    }
    facts(&found, snapshot, features, policy, risk);
    found
}

/// The name of a high risk that is open: nobody is offered more while it is.
fn high_risk(found: &[Detection], features: &Features, scores: &Scores, at_risk_from: f64) -> Option<&'static str> {
    let open = |detector: Detector| found.iter().any(|d| d.detector == detector && d.active().is_some());
    let likely = scores
        .risk
        .probability_micro
        .is_some_and(|p| p.to_f64() * 100.0 >= at_risk_from);
    if open(Detector::UsageDrop) {
        Some("usage_drop")
    } else if open(Detector::TicketEscalation) {
        Some("ticket_escalation")
    } else if features.flag("churn_notice") == Some(true) {
        Some("churn_notice")
    } else {
        likely.then_some("risk")
    }
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
        if stage.active_since().is_some_and(|opened| before != Some(opened)) {
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
    let episode = |opened: Day, since: Day, confirmed: Option<Day>| Episode {
        opened,
        since,
        confirmed,
        strength_micro: Micro::from_f64(strength),
        value_micro: Micro::from_f64(reading.value),
        baseline_micro: reading.baseline.map(Micro::from_f64),
        parts: reading.parts.clone(),
        subject: reading.subject.clone(),
        records: reading.records.iter().take(MAX_RECORDS).map(|r| (*r).clone()).collect(),
        records_total: u32::try_from(reading.records.len()).unwrap_or(u32::MAX),
    };
    match stage {
        Stage::Quiet => None,
        Stage::Open { opened } => Some(State::Open(episode(opened, opened, None))),
        Stage::Confirmed { opened, since } => Some(State::Confirmed(episode(opened, since, Some(since)))),
        Stage::Cleared {
            opened,
            confirmed,
            since,
        } => (since.days_until(today) <= policy.shown_days).then(|| State::Cleared(episode(opened, since, confirmed))),
    }
}

/// Adds the facts that conditions of playbooks can read.
fn facts(
    found: &[Detection],
    snapshot: &Snapshot,
    features: &mut Features,
    policy: &SignalsPolicy,
    risk: Option<&'static str>,
) {
    let today = snapshot.as_of.day();
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
    put("breadth_loss_open", Detector::BreadthLoss, &is_open, "");
    put("seat_contraction_open", Detector::SeatContraction, &is_open, "");
    put("survey_drop_open", Detector::SurveyDrop, &is_open, "");
    put("sentiment_drop_open", Detector::SentimentDrop, &is_open, "");
    put("single_threaded_open", Detector::SingleThreaded, &is_open, "");
    let age = |episode: Option<&Episode>| {
        let days = episode?.opened.days_until(today);
        Some(Value::Number(Micro::whole(days)))
    };
    let gap = "a change among the people at the customer in the last 60 days";
    put("stakeholder_change_days", Detector::StakeholderChange, &age, gap);
    let days = |episode: Option<&Episode>| Some(Value::Number(episode?.value_micro));
    let date = |episode: Option<&Episode>| Some(Value::Day(episode?.subject.as_deref()?.parse().ok()?));
    let held_back = risk.map(|risk| format!("a limit of seats while no high risk is open: `{risk}`"));
    let gap = held_back.as_deref().unwrap_or("a limit of seats in sight");
    put("seat_limit_days", Detector::SeatLimit, &days, gap);
    put("seat_limit_date", Detector::SeatLimit, &date, gap);
}
