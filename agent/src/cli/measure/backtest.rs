//! `perennial measure backtest`.

use clap::Args;
use perennial_core::backtest::{Curve, Finding, Measured, Model, Terms};
use perennial_core::fit::Floor;
use perennial_core::time::{Day, Timestamp};
use serde_json::{Value as Json, json};

use crate::cli::output::{Need, open, progress_bar};
use crate::cli::{Failure, Output, time_argument};
use crate::config::Config;
use crate::content;
use crate::measure::backtest::{Backtest, BacktestError, BacktestOptions, backtest};

/// Leads of the curve, weeks.
const LEADS: [i64; 4] = [4, 8, 13, 26];

#[derive(Debug, Args)]
pub(in crate::cli) struct BacktestArgs {
    /// Weeks before the decision at which the main result forecasts it
    #[arg(long, value_name = "WEEKS", default_value_t = 13, value_parser = clap::value_parser!(i64).range(1..=104))]
    lead_weeks: i64,
    /// Use what was observed by then [default: now]
    #[arg(long, value_name = "TIME", value_parser = time_argument)]
    as_of: Option<Timestamp>,
    /// Days after the end of a term in which a late renewal counts as one
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(i64).range(0..=365))]
    grace_days: i64,
    /// Train on outcomes known by this day, test landmarks from it on [default: when half of the churn was known]
    #[arg(long, value_name = "DAY", value_parser = day)]
    split: Option<Day>,
    /// Churn of the book over the horizon, in percent, to set the scorecard's intercept by [default: as written]
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    stated_churn: Option<f64>,
    /// Churned renewals, and renewed ones, that training and test each need
    #[arg(long, value_name = "N", default_value_t = Floor::default().events)]
    min_events: usize,
    /// Seed of the bootstrap
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Draws of the bootstrap
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = draws)]
    draws: usize,
    /// A field that tells the outcome and is rightly known before it, such as a notice; repeatable
    #[arg(long, value_name = "FIELD")]
    accept: Vec<String>,
}

pub(super) fn day(text: &str) -> Result<Day, String> {
    text.parse::<Day>().map_err(|error| error.to_string())
}

pub(super) fn percent(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(percent) if percent > 0.0 && percent < 100.0 => Ok(percent / 100.0),
        Ok(_) | Err(_) => Err("give a percentage between 0 and 100, such as 12".to_owned()),
    }
}

fn draws(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(n) if (20..=100_000).contains(&n) => Ok(n),
        Ok(_) | Err(_) => Err("give a number from 20 to 100000".to_owned()),
    }
}

impl From<BacktestError> for Failure {
    fn from(error: BacktestError) -> Failure {
        match error {
            BacktestError::Store(error) => error.into(),
            BacktestError::Empty => Failure::input(BacktestError::Empty),
            BacktestError::Stopped => Failure::failed(BacktestError::Stopped),
        }
    }
}

pub(super) async fn run(config: &Config, args: &BacktestArgs, output: &Output) -> Result<(), Failure> {
    let (_, policies) = content::compile(config)?;
    let store = open(config, Need::Existing).await?;
    let options = BacktestOptions {
        leads_weeks: LEADS.to_vec(),
        grace_days: args.grace_days,
        as_of: args.as_of.unwrap_or_else(|| config.clock.now()),
        accepted: args.accept.clone(),
        terms: Terms {
            split: args.split,
            floor: Floor {
                events: args.min_events.max(1),
            },
            stated_churn: args.stated_churn,
            flag_from: policies.scoring.posture.watch_from / 100.0,
            lead_weeks: args.lead_weeks,
            draws: args.draws,
            seed: args.seed,
        },
    };
    let bar = progress_bar(output, "looking back");
    let page = config.limits.accounts_per_batch.max(1);
    let found = backtest(&store, &policies, page, &options, &mut |n| {
        bar.set_message(format!("{n} accounts"));
    })
    .await?;
    bar.finish_and_clear();
    store.close().await;
    let document = json!({
        "until": found.until,
        "accounts": found.accounts,
        "leaks": found.leaks,
        "backtest": found.report,
    });
    leaked(&found.leaks, || document.clone())?;
    if output.json() {
        output.document(&document);
    } else {
        print(&found, output);
    }
    Ok(())
}

/// Refuses figures of a history that gives its outcomes away.
pub(super) fn leaked(leaks: &[Finding], results: impl Fn() -> Json) -> Result<(), Failure> {
    if leaks.is_empty() {
        return Ok(());
    }
    let fields: Vec<String> = leaks.iter().map(|l| format!("`{}`: {}", l.field, l.why)).collect();
    let text = format!(
        "the history gives its outcomes away, so that no figure would mean anything: {}; correct when the mapping says it was observed, or vouch for a field with --accept",
        fields.join("; ")
    );
    Err(Failure::failed(text).with_results(results()))
}

fn print(found: &Backtest, output: &Output) {
    let report = &found.report;
    output.line(&format!(
        "{}: {} renewals of {} accounts with full follow-up by {}, {} of them churned",
        report.definition, report.decisions, report.accounts, found.until, report.churned
    ));
    match report.split {
        Some(split) => output.line(&format!(
            "fitted on outcomes known by {split}, tested on landmarks from then on; no account is forecast by a model fitted on it"
        )),
        None => output.line("cannot estimate: insufficient history, no renewal was lost"),
    }
    if let Some(main) = &report.main {
        output.heading(&format!(
            "{} weeks ahead: {} renewals tested, {} churned; {} trained on, {} churned",
            main.lead_weeks, main.rows, main.events, main.training_rows, main.training_events
        ));
        table(main, output);
        if main.not_assessable > 0 {
            output.line(&format!(
                "{} more could not be assessed: too little was known",
                main.not_assessable
            ));
        }
    }
    if let Some(main) = report
        .main
        .as_ref()
        .filter(|main| main.base_rate_log_loss.value.is_some())
    {
        output.line(&output.dim(&format!(
            "log loss of the training base rate {}; flagged means a risk from {:.0} % on at least 60 days before the decision;\n\
             intervals 95 %, accounts redrawn {} times, seed {}",
            text(&main.base_rate_log_loss, 4),
            report.flag_from * 100.0,
            report.draws,
            report.seed
        )));
    }
    if report
        .leads
        .iter()
        .any(|curve| curve.base_rate_log_loss.value.is_some())
    {
        output.heading("By weeks ahead");
        let cell = |curve: &Curve, name: &str| {
            curve
                .models
                .iter()
                .find(|m| m.model == name && m.cannot_estimate.is_none())
                .map_or_else(
                    || "-".to_owned(),
                    |m| format!("{} / {}", text(&m.auc, 3), text(&m.log_loss, 4)),
                )
        };
        output.table(
            &[
                "weeks",
                "tested",
                "churned",
                "base rate",
                "scorecard",
                "prior mean",
                "zero mean",
            ],
            report.leads.iter().map(|curve| {
                vec![
                    curve.lead_weeks.to_string(),
                    curve.rows.to_string(),
                    curve.events.to_string(),
                    if curve.base_rate_log_loss.value.is_some() {
                        text(&curve.base_rate_log_loss, 4)
                    } else {
                        "-".to_owned()
                    },
                    cell(curve, "scorecard"),
                    cell(curve, "prior_mean"),
                    cell(curve, "zero_mean"),
                ]
            }),
        );
        output.line(&output.dim("AUC / log loss"));
    }
}

/// Measures of a model in the order of the table.
type Column = (&'static str, fn(&Model) -> (&Measured, usize));

const COLUMNS: [Column; 13] = [
    ("AUC", |m| (&m.auc, 3)),
    ("ARR-weighted AUC", |m| (&m.arr_auc, 3)),
    ("log loss", |m| (&m.log_loss, 4)),
    (" less the base rate's", |m| (&m.log_loss_vs_base_rate, 3)),
    (" less the scorecard's", |m| (&m.log_loss_vs_scorecard, 3)),
    ("Brier", |m| (&m.brier, 4)),
    ("calibration slope", |m| (&m.slope, 2)),
    ("calibration intercept", |m| (&m.intercept, 2)),
    ("calibration error", |m| (&m.ece, 3)),
    ("precision at k", |m| (&m.precision_at_k, 3)),
    ("lift of the top tenth", |m| (&m.decile_lift, 2)),
    ("churned ARR flagged", |m| (&m.churned_arr_flagged, 3)),
    ("all ARR flagged", |m| (&m.arr_flagged, 3)),
];

fn table(curve: &Curve, output: &Output) {
    let reasons: Vec<String> = curve
        .models
        .iter()
        .filter_map(|m| {
            Some(format!(
                "{}: cannot estimate: {}",
                name(m.model),
                m.cannot_estimate.as_ref()?
            ))
        })
        .collect();
    let shown: Vec<&Model> = curve.models.iter().filter(|m| m.cannot_estimate.is_none()).collect();
    if !shown.is_empty() {
        let mut header = vec![""];
        header.extend(shown.iter().map(|m| name(m.model)));
        let rows = COLUMNS.iter().map(|(label, of)| {
            let label = if *label == "precision at k" {
                format!("precision at {}", curve.k)
            } else {
                (*label).to_owned()
            };
            std::iter::once(label)
                .chain(shown.iter().map(|m| {
                    let (measured, places) = of(m);
                    // Four places and an interval do not fit beside each other; `--json` has all.
                    if places > 3 {
                        text(measured, places)
                    } else {
                        with_interval(measured, places)
                    }
                }))
                .collect()
        });
        output.table(&header, rows);
    }
    for reason in reasons {
        output.line(&reason);
    }
}

fn name(model: &'static str) -> &'static str {
    match model {
        "scorecard_platt" => "scorecard, Platt",
        "prior_mean" => "prior mean",
        "zero_mean" => "zero mean",
        other => other,
    }
}

fn text(measured: &Measured, places: usize) -> String {
    measured
        .value
        .map_or_else(|| "cannot estimate".to_owned(), |value| format!("{value:.places$}"))
}

fn with_interval(measured: &Measured, places: usize) -> String {
    match (measured.value, measured.low, measured.high) {
        (Some(value), Some(low), Some(high)) => format!("{value:.places$} ({low:.places$} to {high:.places$})"),
        (Some(value), _, _) => format!("{value:.places$}"),
        (None, _, _) if measured.cannot_estimate.is_none() => "-".to_owned(),
        (None, _, _) => "cannot estimate".to_owned(),
    }
}
