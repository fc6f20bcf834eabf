//! `perennial measure coldstart`.

use clap::Args;
use perennial_core::backtest::{
    ColdstartModel, ColdstartReport, ColdstartTerms, DrawMean, Labelled, SIZES, TimeOrder, coldstart, labelled,
};
use perennial_core::fit::Floor;
use perennial_core::time::{Day, Timestamp};
use serde_json::{Value as Json, json};

use super::backtest::{day, leaked, percent};
use crate::cli::output::{Need, open, progress_bar};
use crate::cli::{Failure, Output, time_argument};
use crate::config::Config;
use crate::content;
use crate::measure::backtest::{BacktestError, GatherOptions, gather};
use crate::measure::coldstart::simulated;
use crate::simulate::{LEAD_WEEKS, SimulationOptions, simulate};

#[derive(Debug, Args)]
pub(in crate::cli) struct ColdstartArgs {
    /// Draws of accounts and labels
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(2..=1000))]
    draws: u32,
    /// Seed of the draws, and of the simulated tenant
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Learn from outcomes of any time, not only from before the test; kinder than life, but more labels
    #[arg(long, conflicts_with = "split")]
    any_time: bool,
    /// Learn from outcomes known by this day, test landmarks from it on [default: when half of the churn was known]
    #[arg(long, value_name = "DAY", value_parser = day)]
    split: Option<Day>,
    /// Churn of the book over the horizon, in percent, to set the scorecard's intercept by [default: as written]
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    stated_churn: Option<f64>,
    /// Churned renewals, and renewed ones, that the test needs
    #[arg(long, value_name = "N", default_value_t = Floor::default().events)]
    min_events: usize,
    /// Measure on a simulated tenant, whose true probabilities are known, instead of the database
    #[arg(long)]
    simulated: bool,
    /// Accounts of the simulated tenant
    #[arg(long, value_name = "N", default_value_t = 4000, requires = "simulated", value_parser = clap::value_parser!(u32).range(50..=100_000))]
    accounts: u32,
    /// Weeks before the decision at which it is forecast
    #[arg(long, value_name = "WEEKS", default_value_t = 13, conflicts_with = "simulated", value_parser = clap::value_parser!(i64).range(1..=104))]
    lead_weeks: i64,
    /// Use what was observed by then [default: now]
    #[arg(long, value_name = "TIME", conflicts_with = "simulated", value_parser = time_argument)]
    as_of: Option<Timestamp>,
    /// Days after the end of a term in which a late renewal counts as one
    #[arg(long, value_name = "DAYS", default_value_t = 30, conflicts_with = "simulated", value_parser = clap::value_parser!(i64).range(0..=365))]
    grace_days: i64,
    /// A field that tells the outcome and is rightly known before it, such as a notice; repeatable
    #[arg(long, value_name = "FIELD", conflicts_with = "simulated")]
    accept: Vec<String>,
}

impl ColdstartArgs {
    fn terms(&self) -> ColdstartTerms {
        ColdstartTerms {
            sizes: SIZES.to_vec(),
            draws: self.draws,
            seed: self.seed,
            order: match (self.any_time, self.split) {
                (true, _) => Some(TimeOrder::AnyTime),
                (false, Some(_)) => Some(TimeOrder::Forward),
                (false, None) => None,
            },
            split: self.split,
            floor: Floor {
                events: self.min_events.max(1),
            },
            stated_churn: self.stated_churn,
        }
    }
}

pub(super) async fn run(config: &Config, args: &ColdstartArgs, output: &Output) -> Result<(), Failure> {
    let (_, policies) = content::compile(config)?;
    let risk = policies.scoring.risk.clone();
    let (rows, lead_weeks): (Vec<Labelled>, i64) = if args.simulated {
        let options = SimulationOptions {
            accounts: args.accounts,
            ..SimulationOptions::new(args.seed)
        };
        let policy = risk.clone();
        let rows = tokio::task::spawn_blocking(move || simulated(&simulate(&options), &options, &policy));
        let rows = rows.await.map_err(|_| BacktestError::Stopped)?;
        (rows, i64::try_from(LEAD_WEEKS).unwrap_or(i64::MAX))
    } else {
        let store = open(config, Need::Existing).await?;
        let options = GatherOptions {
            leads_weeks: Vec::new(),
            main_lead_weeks: args.lead_weeks,
            grace_days: args.grace_days,
            as_of: args.as_of.unwrap_or_else(|| config.clock.now()),
            accepted: args.accept.clone(),
        };
        let bar = progress_bar(output, "looking back");
        let page = config.limits.accounts_per_batch.max(1);
        let found = gather(&store, &policies, page, &options, &mut |n| {
            bar.set_message(format!("{n} accounts"));
        })
        .await?;
        bar.finish_and_clear();
        store.close().await;
        leaked(&found.leaks, || json!({ "leaks": found.leaks }))?;
        (labelled(&found.landmarks, args.lead_weeks), args.lead_weeks)
    };
    let terms = args.terms();
    let report = tokio::task::spawn_blocking(move || coldstart(&rows, &risk, &terms))
        .await
        .map_err(|_| BacktestError::Stopped)?;
    if output.json() {
        output.document(&match &report {
            Ok(report) => json!({ "simulated": args.simulated, "lead_weeks": lead_weeks, "coldstart": report }),
            Err(why) => json!({
                "simulated": args.simulated, "lead_weeks": lead_weeks,
                "coldstart": Json::Null, "cannot_estimate": why.to_string(),
            }),
        });
        return Ok(());
    }
    match &report {
        Ok(report) => print(report, lead_weeks, output),
        Err(why) => output.line(&format!("cannot estimate: {why}")),
    }
    Ok(())
}

fn print(report: &ColdstartReport, lead_weeks: i64, output: &Output) {
    output.line(&format!(
        "{}: {} renewals of {} accounts, {} of them churned, forecast {lead_weeks} weeks ahead",
        report.definition, report.rows, report.accounts, report.events
    ));
    output.line(&match (report.order, report.split) {
        (TimeOrder::Forward, Some(split)) => {
            format!("labels known by {split}, tested on landmarks from then on, of other accounts")
        }
        (TimeOrder::Forward, None) => "labels from before the test, of other accounts".to_owned(),
        (TimeOrder::AnyTime, _) => {
            "labels of any time, of other accounts than those tested: kinder than a forecast of the future".to_owned()
        }
    });
    output.line(&format!(
        "mean of {} draws (standard error over draws), seed {}; {:.0} renewals tested in a draw, {:.0} churned",
        report.draws, report.seed, report.tested, report.tested_events
    ));
    if let (Some(loss), Some(area)) = (report.truth_log_loss, report.truth_auc) {
        output.line(&format!(
            "the true probabilities: AUC {}, log loss {}",
            shown(area, 3),
            shown(loss, 4)
        ));
    }
    output.heading("Log loss");
    table(report, output, |m| shown(m.log_loss, 4));
    output.heading("AUC");
    table(report, output, |m| shown(m.auc, 3));
    output.heading("Log loss less that of the prior mean in the same draw: above 0, the prior mean is better");
    table(report, output, |m| {
        if m.model == "prior_mean" {
            "-".to_owned()
        } else {
            signed(m.log_loss_vs_prior_mean)
        }
    });
    for size in &report.sizes {
        if let Some(why) = &size.cannot_estimate {
            output.line(&format!("{} labels: cannot estimate: {why}", size.labels));
        }
        for model in size.models.iter().filter(|m| m.as_written > 0) {
            output.line(&output.dim(&format!(
                "{} labels: in {} of {} draws they could not calibrate the scorecard, which then stands as written",
                size.labels, model.as_written, report.draws
            )));
        }
    }
}

fn table(report: &ColdstartReport, output: &Output, cell: impl Fn(&ColdstartModel) -> String) {
    let held = report.sizes.iter().filter(|s| s.cannot_estimate.is_none());
    output.table(
        &[
            "labels",
            "churned",
            "scorecard",
            "scorecard, Platt",
            "zero mean",
            "prior mean",
        ],
        held.map(|size| {
            let first = [
                size.labels.to_string(),
                size.events.map_or_else(|| "-".to_owned(), |e| format!("{e:.1}")),
            ];
            first.into_iter().chain(size.models.iter().map(&cell)).collect()
        }),
    );
}

fn shown(mean: DrawMean, places: usize) -> String {
    match mean.se {
        Some(se) => format!("{:.places$} ({se:.places$})", mean.mean),
        None => format!("{:.places$}", mean.mean),
    }
}

fn signed(mean: DrawMean) -> String {
    match mean.se {
        Some(se) => format!("{:+.4} ({se:.4})", mean.mean),
        None => format!("{:+.4}", mean.mean),
    }
}
