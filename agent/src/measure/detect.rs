//! How many planted departures of champions the usage-drop detector finds, and how often it is wrong.
//!
//! Limits are chosen on the tuning seeds, so that a detector raises a given number of false alarms an account and year,
//! and then applied to held-out seeds that had no part in it. Beside the detector as the policy has it stand the same
//! without the champion's log-ins, the reference (active seats alone), and the naive ratio (mean active users of the last
//! 4 weeks by that of the 12 before), so that what each brings shows.

use std::path::PathBuf;

use clap::Args;
use perennial_core::detect::{LogOdds, PeerAdjusted, Peers, UseEvidence, UseSeries, UseWeek, alarms_of};
use perennial_core::time::Day;
use serde::Serialize;

use crate::cli::Output;
use crate::simulate::{SimulatedAccount, Simulation, SimulationOptions, export, simulate};

#[derive(Debug, Args)]
pub(crate) struct DetectArgs {
    /// Held-out seeds
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=100))]
    seeds: u64,
    /// Write a tenant there instead, as tables to import with examples/mappings/planted.toml, and its planted departures as
    /// truth.csv
    #[arg(long, value_name = "FOLDER")]
    export: Option<PathBuf>,
    /// Seed of the tenant to write
    #[arg(long, value_name = "N", default_value_t = HELD_OUT, requires = "export")]
    seed: u64,
}

impl DetectArgs {
    /// The folder that a tenant is to be written to, and its seed.
    pub(crate) fn export(&self) -> Option<(&PathBuf, u64)> {
        self.export.as_ref().map(|folder| (folder, self.seed))
    }
}

/// False alarms an account and year at which recall is measured.
pub const RATES: [f64; 3] = [0.25, 0.5, 1.0];
/// Seeds on which limits are chosen.
const TUNING: std::ops::RangeInclusive<u64> = 1..=3;
/// First seed that is held out.
pub const HELD_OUT: u64 = 1001;
/// Before this week the peer index is not old enough for any detector to be known.
const FIRST_WEEK: usize = 44;
/// Weeks after a departure in which an alarm finds it.
const FOUND_WITHIN: usize = 6;
/// Weeks after a departure in which an alarm is not false.
const EXPLAINED_WITHIN: usize = 12;
/// Weeks of use that an account needs before a departure counts.
const HISTORY: usize = 16;
/// Weeks after a holiday week in which the mean of four weeks still feels it most.
const AFTER_HOLIDAY: usize = 2;

/// A way to detect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// As the policy has it.
    Policy,
    /// The same without the champion's log-ins.
    WithoutChampion,
    /// Peer-adjusted difference of log odds of active seats alone: the reference.
    PeerAdjusted,
    /// Mean active users of 4 weeks by those of the 12 before, less 1.
    NaiveRatio,
}

impl Method {
    const ALL: [Method; 4] = [
        Method::Policy,
        Method::WithoutChampion,
        Method::PeerAdjusted,
        Method::NaiveRatio,
    ];

    fn name(self) -> &'static str {
        match self {
            Method::Policy => "as the policy has it",
            Method::WithoutChampion => "... without the champion",
            Method::PeerAdjusted => "reference: active seats alone",
            Method::NaiveRatio => "naive ratio 4 w / 12 w",
        }
    }
}

/// What a method did on one history.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Outcome {
    /// Planted departures that count.
    pub departures: usize,
    /// Of these, found within six weeks.
    pub found: usize,
    /// Alarms that no departure explains.
    pub false_alarms: usize,
    /// Of these, in or right after a holiday week.
    pub in_holidays: usize,
    /// Years over all accounts in which the method could judge.
    pub account_years: f64,
}

impl Outcome {
    /// Share of departures found; `None` where there were none.
    #[must_use]
    pub fn recall(&self) -> Option<f64> {
        (self.departures > 0).then(|| self.found as f64 / self.departures as f64)
    }

    /// False alarms an account and year; `None` where nothing could be judged.
    #[must_use]
    pub fn false_rate(&self) -> Option<f64> {
        (self.account_years > 0.0).then(|| self.false_alarms as f64 / self.account_years)
    }

    /// Share of the false alarms that holidays brought; `None` where there was no false alarm.
    #[must_use]
    pub fn holiday_share(&self) -> Option<f64> {
        (self.false_alarms > 0).then(|| self.in_holidays as f64 / self.false_alarms as f64)
    }

    fn plus(self, other: Outcome) -> Outcome {
        Outcome {
            departures: self.departures + other.departures,
            found: self.found + other.found,
            false_alarms: self.false_alarms + other.false_alarms,
            in_holidays: self.in_holidays + other.in_holidays,
            account_years: self.account_years + other.account_years,
        }
    }
}

const NOTHING: Outcome = Outcome {
    departures: 0,
    found: 0,
    false_alarms: 0,
    in_holidays: 0,
    account_years: 0.0,
};

/// A history with the value of each method in each week of each account.
pub struct History {
    simulation: Simulation,
    mondays: Vec<Day>,
    /// By method, in the order of [`Method::ALL`], a value for each account and week.
    values: Vec<Vec<Vec<Option<f64>>>>,
}

impl History {
    /// Simulates a seed and computes the values of all methods.
    #[must_use]
    pub fn of(options: &SimulationOptions, evidence: &UseEvidence) -> History {
        let simulation = simulate(options);
        let mondays: Vec<Day> = (0..options.weeks as usize).map(|week| options.monday(week)).collect();
        let series: Vec<UseSeries> = simulation
            .accounts
            .iter()
            .map(|a| use_series(a, options.first))
            .collect();
        let active: Vec<LogOdds> = series.iter().map(UseSeries::log_odds).collect();
        let end = options.monday(options.weeks as usize);
        let peers = Peers::of(&active, options.first, end);
        let adjusted: Vec<PeerAdjusted> = series.iter().map(|s| PeerAdjusted::of(s, &peers)).collect();
        let each = |value: &dyn Fn(&PeerAdjusted, Day) -> Option<f64>| {
            let account = |account: &PeerAdjusted| mondays.iter().map(|monday| value(account, *monday)).collect();
            adjusted.iter().map(account).collect()
        };
        let drops = |evidence: UseEvidence| {
            each(&|account, monday| account.usage_drop(monday, &evidence).ok().map(|drop| drop.value))
        };
        let values = Method::ALL.map(|method| match method {
            Method::Policy => drops(*evidence),
            Method::WithoutChampion => drops(UseEvidence {
                champion: 0.0,
                ..*evidence
            }),
            Method::PeerAdjusted => each(&|account, monday| account.shift(monday).ok().map(|(d, _)| d)),
            Method::NaiveRatio => simulation.accounts.iter().map(ratios).collect(),
        });
        History {
            values: values.into(),
            simulation,
            mondays,
        }
    }

    /// What a method does with a limit.
    #[must_use]
    pub fn outcome(&self, method: Method, limit: f64) -> Outcome {
        let number = Method::ALL.iter().position(|m| *m == method);
        let values = number.and_then(|number| self.values.get(number)).into_iter().flatten();
        let accounts = self.simulation.accounts.iter().zip(values);
        accounts.fold(NOTHING, |sum, (account, values)| {
            sum.plus(self.outcome_of(account, values, limit))
        })
    }

    fn outcome_of(&self, account: &SimulatedAccount, values: &[Option<f64>], limit: f64) -> Outcome {
        let weeks = self.mondays.len();
        // Where no peer index is known yet, no method may raise an alarm: all are judged over the same weeks.
        let judged = (FIRST_WEEK..weeks).filter_map(|week| Some((*self.mondays.get(week)?, *values.get(week)?)));
        let alarms: Vec<usize> = alarms_of(judged, limit)
            .into_iter()
            .filter_map(|monday| self.mondays.binary_search(&monday).ok())
            .collect();
        let first = account.usage.iter().position(Option::is_some).unwrap_or(weeks);
        let counted: Vec<usize> = account
            .departures
            .iter()
            .map(|d| d.week)
            .filter(|week| *week >= FIRST_WEEK.max(first + HISTORY) && week + FOUND_WITHIN < weeks)
            .collect();
        let found = counted
            .iter()
            .filter(|week| alarms.iter().any(|a| (**week..=**week + FOUND_WITHIN).contains(a)))
            .count();
        let unexplained: Vec<usize> = alarms
            .into_iter()
            .filter(|a| {
                let explains = |week: usize| (week..=week + EXPLAINED_WITHIN).contains(a);
                !account.departures.iter().any(|d| explains(d.week))
            })
            .collect();
        Outcome {
            departures: counted.len(),
            found,
            false_alarms: unexplained.len(),
            in_holidays: unexplained.iter().filter(|week| self.feels_holiday(**week)).count(),
            account_years: values.iter().skip(FIRST_WEEK).flatten().count() as f64 / 52.0,
        }
    }

    fn feels_holiday(&self, week: usize) -> bool {
        let from = week.saturating_sub(AFTER_HOLIDAY);
        self.simulation
            .holidays
            .iter()
            .skip(from)
            .take(week - from + 1)
            .any(|holiday| *holiday)
    }

    /// Share of the judged weeks that are or follow holidays.
    #[must_use]
    pub fn holiday_calendar(&self) -> f64 {
        let judged = FIRST_WEEK..self.mondays.len();
        let count = judged.clone().filter(|week| self.feels_holiday(*week)).count();
        count as f64 / judged.len().max(1) as f64
    }
}

fn use_series(account: &SimulatedAccount, first: Day) -> UseSeries {
    let week = |w: &Option<crate::simulate::UsageWeek>| {
        w.map_or_else(UseWeek::default, |w| {
            UseWeek::of(
                Some(w.active_users as f64),
                Some(w.seats as f64),
                Some(w.core_events as f64),
                Some(w.features_used as f64),
                Some(f64::from(u8::from(w.champion_seen))),
            )
        })
    };
    UseSeries {
        first,
        weeks: account.usage.iter().map(week).collect(),
    }
}

/// Mean active users of the last 4 weeks by the mean of the 12 before, less 1; 3 and 8 must be known.
fn ratios(account: &SimulatedAccount) -> Vec<Option<f64>> {
    let mean = |from: usize, to: usize, enough: usize| {
        let known: Vec<f64> = account.usage[from..to]
            .iter()
            .flatten()
            .map(|w| w.active_users as f64)
            .collect();
        (known.len() >= enough).then(|| known.iter().sum::<f64>() / known.len() as f64)
    };
    (0..account.usage.len())
        .map(|week| {
            let start = week.checked_sub(15)?;
            let (now, before) = (mean(week - 3, week + 1, 3)?, mean(start, week - 3, 8)?);
            (before > 0.0).then(|| now / before - 1.0)
        })
        .collect()
}

/// The limit at which a method raises at most `rate` false alarms an account and year over some histories.
#[must_use]
pub fn limit_for(histories: &[History], method: Method, rate: f64) -> f64 {
    let (mut low, mut high) = (-4.0, 0.0);
    for _ in 0..24 {
        let middle = (low + high) / 2.0;
        let outcome = histories
            .iter()
            .fold(NOTHING, |sum, h| sum.plus(h.outcome(method, middle)));
        if outcome.false_rate().is_some_and(|found| found <= rate) {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

/// One line of the report.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    /// How it was detected.
    pub method: Method,
    /// False alarms an account and year that the limit was chosen for on the tuning seeds; `None` for the limit of the
    /// policy.
    pub rate: Option<f64>,
    /// The limit.
    pub limit: f64,
    /// Held-out seed; `None` for all of them together.
    pub seed: Option<u64>,
    /// Counts.
    pub outcome: Outcome,
    /// Share of departures found.
    pub recall: Option<f64>,
    /// False alarms an account and year on this seed.
    pub false_rate: Option<f64>,
    /// Share of the false alarms that holidays brought.
    pub holiday_share: Option<f64>,
}

/// What is printed.
#[derive(Debug, Clone, Serialize)]
pub struct DetectReport {
    /// Share of the judged weeks that are or follow holidays.
    pub holiday_calendar: f64,
    /// One for each method, rate and seed, and one over all seeds.
    pub lines: Vec<Line>,
}

/// Measures on so many held-out seeds what the policy counts, and alarms at its limit `open`.
#[must_use]
pub fn measure(seeds: u64, evidence: &UseEvidence, open: f64) -> DetectReport {
    let history = |seed: u64| History::of(&SimulationOptions::new(seed), evidence);
    let tuning: Vec<History> = TUNING.map(history).collect();
    let held_out: Vec<(u64, History)> = (HELD_OUT..HELD_OUT + seeds).map(|seed| (seed, history(seed))).collect();
    let chosen = Method::ALL.into_iter().flat_map(|method| {
        let tuning = &tuning;
        RATES.map(|rate| (method, Some(rate), limit_for(tuning, method, rate)))
    });
    let mut lines = Vec::new();
    for (method, rate, limit) in std::iter::once((Method::Policy, None, open)).chain(chosen) {
        let line = |seed: Option<u64>, outcome: Outcome| Line {
            method,
            rate,
            limit,
            seed,
            outcome,
            recall: outcome.recall(),
            false_rate: outcome.false_rate(),
            holiday_share: outcome.holiday_share(),
        };
        let mut all = NOTHING;
        for (seed, history) in &held_out {
            let outcome = history.outcome(method, limit);
            all = all.plus(outcome);
            lines.push(line(Some(*seed), outcome));
        }
        lines.push(line(None, all));
    }
    DetectReport {
        holiday_calendar: held_out.first().map_or(0.0, |(_, history)| history.holiday_calendar()),
        lines,
    }
}

/// Writes a simulated tenant as tables, and what was planted in it as `truth.csv`: `account_id`, `week_start` of the
/// departure of a champion, `weeks` until a successor was there. Those after the account was lost are left out.
///
/// # Errors
/// What writing brings.
pub fn write_tenant(folder: &std::path::Path, options: &SimulationOptions) -> Result<Simulation, csv::Error> {
    let simulation = simulate(options);
    export(folder, options, &simulation)?;
    let mut truth = csv::Writer::from_path(folder.join("truth.csv"))?;
    truth.write_record(["account_id", "week_start", "weeks"])?;
    for account in &simulation.accounts {
        let lost = account.renewals.iter().find(|r| r.churned).map(|r| r.week);
        for d in account
            .departures
            .iter()
            .filter(|d| lost.is_none_or(|lost| d.week < lost))
        {
            let (monday, weeks) = (options.monday(d.week).to_string(), d.weeks.to_string());
            truth.write_record([account.id.as_str(), &monday, &weeks])?;
        }
    }
    truth.flush()?;
    Ok(simulation)
}

/// Measures and prints.
pub(crate) fn print(args: &DetectArgs, evidence: &UseEvidence, open: f64, output: &Output) {
    let report = measure(args.seeds, evidence, open);
    if output.json() {
        output.document(&report);
        return;
    }
    let share = |value: Option<f64>| value.map_or_else(|| "not known".to_owned(), |v| format!("{v:.3}"));
    output.line(
        "Usage drops after planted departures of champions, found within 6 weeks (800 accounts, 130 weeks a seed).",
    );
    output.line("Limits are chosen on seeds 1 to 3 and applied to seeds that had no part in it; the first is that of the policy.");
    output.table(
        &[
            "method",
            "for rate",
            "limit",
            "seed",
            "recall",
            "departures",
            "false a year",
            "in holidays",
        ],
        report.lines.iter().map(|line| {
            vec![
                line.method.name().to_owned(),
                line.rate
                    .map_or_else(|| "policy".to_owned(), |rate| format!("{rate:.2}")),
                format!("{:.2}", line.limit),
                line.seed.map_or_else(|| "all".to_owned(), |seed| seed.to_string()),
                share(line.recall),
                line.outcome.departures.to_string(),
                share(line.false_rate),
                share(line.holiday_share),
            ]
        }),
    );
    output.line(&format!(
        "Weeks in or right after holidays are {:.1} % of those judged.",
        report.holiday_calendar * 100.0
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_out_departures_are_found_more_often_than_by_the_reference_and_holidays_raise_no_alarms() {
        let texts = |files: &[(&str, &str)]| {
            let text = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
            files.iter().map(text).collect()
        };
        let shipped = perennial_core::policy::Content {
            policies: texts(crate::content::POLICIES),
            prompts: texts(crate::content::PROMPTS),
        };
        let policies = perennial_core::policy::Policies::compile(&shipped).unwrap_or_else(|p| panic!("{p:?}"));
        let signals = policies.scoring.signals.expect("the shipped table");
        let small = |seed| {
            let options = SimulationOptions {
                accounts: 400,
                ..SimulationOptions::new(seed)
            };
            History::of(&options, &signals.evidence)
        };
        let (tuning, held_out) = ([small(1)], small(HELD_OUT));
        let outcome = |method| held_out.outcome(method, limit_for(&tuning, method, 0.5));
        let [ours, blind, reference, naive] = Method::ALL.map(outcome);
        println!("{ours:?} {blind:?} {reference:?} {naive:?}");
        assert!(ours.recall() > blind.recall() && blind.recall() > reference.recall());
        assert!(ours.recall() > Some(0.8));
        for outcome in [ours, blind, reference] {
            assert!(outcome.false_rate() < Some(0.65));
            assert!(outcome.holiday_share() <= Some(0.10));
        }
        assert!(
            naive.holiday_share() > Some(0.10),
            "the ratio mistakes holidays for falls"
        );
    }
}
