//! `perennial measure ope`.

use clap::Args;
use perennial_core::ope::{
    Estimate, Evaluation, LogProblem, Logged, Preference, REWARD_WEEKS, estimators, evaluate, evaluated, logged,
    no_choices,
};
use perennial_core::time::{Day, Timestamp};
use serde_json::{Value as Json, json};

use super::backtest::day;
use super::effects::LogChoice;
use crate::cli::output::{Need, open};
use crate::cli::{Failure, Output, time_argument};
use crate::config::Config;
use crate::content;
use crate::measure::ope::{action_log, own_log};

/// The preference that is no action.
const HIGHEST_VALUE: &str = "highest-value";

#[derive(Debug, Args)]
pub(in crate::cli) struct OpeArgs {
    /// Which log
    #[arg(long, value_enum, default_value_t = LogChoice::Imported)]
    log: LogChoice,
    /// Policy to evaluate: `highest-value`, or actions of the log, of which the first that an account is eligible for is
    /// taken, and none where it is eligible for none of them
    #[arg(long, value_name = "ACTION", required = true, num_args = 1.., value_delimiter = ',')]
    prefer: Vec<String>,
    /// Imported log: order in which it let draws through, one action an account and day: lists every action [default: each row
    /// stands by itself]
    #[arg(long, value_name = "ACTION", num_args = 1.., value_delimiter = ',')]
    priority: Vec<String>,
    /// First day of the log [default: the first on which an action was logged that was not executed]
    #[arg(long, value_name = "DAY", value_parser = day)]
    from: Option<Day>,
    /// Use what was observed by then [default: now]
    #[arg(long, value_name = "TIME", value_parser = time_argument)]
    as_of: Option<Timestamp>,
}

pub(super) async fn run(config: &Config, args: &OpeArgs, output: &Output) -> Result<(), Failure> {
    let preference = if args.prefer.iter().any(|p| p == HIGHEST_VALUE) {
        if args.prefer.len() > 1 {
            return Err(Failure::input("give either `highest-value` or actions to --prefer"));
        }
        Preference::HighestValue
    } else {
        Preference::Actions(args.prefer.clone())
    };
    let (_, policies) = content::compile(config)?;
    let store = open(config, Need::Existing).await?;
    let page = config.limits.accounts_per_batch.max(1);
    let as_of = args.as_of.unwrap_or_else(|| config.clock.now());
    let (log, rows) = match args.log {
        LogChoice::Imported => {
            let log = action_log(&store, &policies, page, as_of, args.from).await?;
            let rows = logged(&log.occasions, &args.priority, &preference);
            let out = log.left_out;
            let told = Told {
                until: log.until,
                from: log.from,
                accounts: log.accounts,
                occasions: log.occasions.len(),
                left_out: json!(out),
                line: format!(
                    "{} before, {} with less than {REWARD_WEEKS} weeks after them, {} without known revenue, {} incomplete",
                    out.before, out.too_recent, out.no_revenue, out.incomplete
                ),
            };
            (told, rows)
        }
        LogChoice::Own => {
            if !args.priority.is_empty() {
                return Err(Failure::input(
                    "our own log has its chances after all rules: leave --priority out",
                ));
            }
            let log = own_log(&store, &policies, page, as_of, args.from).await?;
            let out = log.left_out;
            let rows = match no_choices(log.choices.len(), out) {
                Some(problem) => Err(problem),
                None => evaluated(&log.choices, &preference),
            };
            let told = Told {
                until: log.until,
                from: log.from,
                accounts: log.accounts,
                occasions: log.choices.len(),
                left_out: json!(out),
                line: format!(
                    "{} without chance, {} of unknown chance, {} with less than {REWARD_WEEKS} weeks after them, {} without known \
                     revenue",
                    out.certain, out.chance_unknown, out.too_recent, out.no_revenue
                ),
            };
            (told, rows)
        }
    };
    store.close().await;
    let rows = match rows {
        Ok(rows) => Ok(rows),
        Err(problem @ (LogProblem::UnknownAction { .. } | LogProblem::NotInPriority { .. })) => {
            return Err(Failure::input(problem));
        }
        Err(problem) => Err(problem.to_string()),
    };
    let found = rows
        .as_ref()
        .map_err(Clone::clone)
        .and_then(|rows| evaluate(rows).map_err(|refusal| refusal.to_string()));
    // What the refusal rests on, where it can be had.
    let basis = rows.as_ref().ok().and_then(|rows| estimators(rows).ok());
    if output.json() {
        output.document(&document(args, &log, rows.as_deref().ok(), &found, basis.as_ref()));
    } else {
        print(args, &log, rows.as_deref().ok(), &found, basis.as_ref(), output);
    }
    Ok(())
}

/// What there is to tell of either log.
struct Told {
    until: Day,
    from: Option<Day>,
    accounts: u64,
    occasions: usize,
    left_out: Json,
    line: String,
}

fn mean_reward(rows: &[Logged]) -> f64 {
    rows.iter().map(|r| r.reward).sum::<f64>() / rows.len().max(1) as f64
}

fn document(
    args: &OpeArgs,
    log: &Told,
    rows: Option<&[Logged]>,
    found: &Result<Evaluation, String>,
    basis: Option<&Evaluation>,
) -> Json {
    let estimate = |e: &Estimate| json!({ "mean": e.mean, "se": e.se });
    json!({
        "log": args.log.name(),
        "prefer": args.prefer,
        "priority": args.priority,
        "reward": format!("change of recurring revenue over {REWARD_WEEKS} weeks by recurring revenue"),
        "from": log.from,
        "until": log.until,
        "accounts": log.accounts,
        "occasions": log.occasions,
        "left_out": log.left_out,
        "rows": rows.map(<[Logged]>::len),
        "logged_mean": rows.map(mean_reward),
        "refused": found.as_ref().err(),
        "ess": basis.map(|b| b.ess),
        "weight_mean": basis.map(|b| b.weight_mean),
        "weight_se": basis.map(|b| b.weight_se),
        "weight_max": basis.map(|b| b.weight_max),
        "estimates": found.as_ref().ok().map(|e| json!({
            "ips": estimate(&e.ips), "snips": estimate(&e.snips), "dm": estimate(&e.dm), "dr": estimate(&e.dr),
        })),
    })
}

fn print(
    args: &OpeArgs,
    log: &Told,
    rows: Option<&[Logged]>,
    found: &Result<Evaluation, String>,
    basis: Option<&Evaluation>,
    output: &Output,
) {
    output.line(&format!("policy: prefer {}", args.prefer.join(", then ")));
    output.line(&match (log.from, args.priority.is_empty()) {
        (None, _) if args.log == LogChoice::Own => "our own log is empty: nothing has run by itself yet".to_owned(),
        (Some(from), _) if args.log == LogChoice::Own => {
            format!("our own log from {from}; one choice an account and day")
        }
        (None, _) => {
            "every logged action was executed, so that the log does not say what else could have been done".to_owned()
        }
        (Some(from), true) => format!("log from {from}; each row a choice by itself"),
        (Some(from), false) => format!(
            "log from {from}; one action an account and day, in the order {}",
            args.priority.join(", ")
        ),
    });
    output.line(&format!(
        "reward: change of recurring revenue over {REWARD_WEEKS} weeks, by the recurring revenue on the day"
    ));
    output.line(&format!("{} occasions; left out: {}", log.occasions, log.line));
    if let (Some(rows), Some(basis)) = (rows, basis) {
        output.line(&format!(
            "{} choices count for {:.1} (effective sample size); mean weight {:.3} (standard error {:.3}), largest {:.1}, none clipped",
            rows.len(),
            basis.ess,
            basis.weight_mean,
            basis.weight_se,
            basis.weight_max
        ));
        output.line(&format!("mean reward as logged: {:+.5}", mean_reward(rows)));
    }
    match found {
        Err(refusal) => output.line(refusal),
        Ok(found) => {
            output.table(
                &["estimator", "mean reward", "standard error"],
                [
                    ("inverse propensity", found.ips),
                    ("self-normalised", found.snips),
                    ("direct method", found.dm),
                    ("doubly robust", found.dr),
                ]
                .map(|(name, e)| vec![name.to_owned(), format!("{:+.5}", e.mean), format!("{:.5}", e.se)]),
            );
            output.line(&output.dim(
                "choices are taken as independent; those of one account share revenue, so the true errors are larger",
            ));
        }
    }
}
