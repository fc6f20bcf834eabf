//! `perennial measure fit`.

use clap::Args;
use perennial_core::backtest::{FittedRisk, FittedWeight, fitted};
use perennial_core::feature::label;
use perennial_core::fit::Floor;
use perennial_core::time::Timestamp;
use serde_json::json;

use crate::cli::output::{Need, open, progress_bar};
use crate::cli::{Failure, Output, time_argument};
use crate::config::Config;
use crate::content;
use crate::measure::backtest::{GatherOptions, gather};

use super::backtest::leaked;

#[derive(Debug, Args)]
pub(in crate::cli) struct FitArgs {
    /// Weeks before the decision at which the risk is to be right
    #[arg(long, value_name = "WEEKS", default_value_t = 13, value_parser = clap::value_parser!(i64).range(1..=104))]
    lead_weeks: i64,
    /// Use what was observed by then [default: now]
    #[arg(long, value_name = "TIME", value_parser = time_argument)]
    as_of: Option<Timestamp>,
    /// Days after the end of a term in which a late renewal counts as one
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(i64).range(0..=365))]
    grace_days: i64,
    /// Churned renewals, and renewed ones, that a fit needs
    #[arg(long, value_name = "N", default_value_t = Floor::default().events)]
    min_events: usize,
    /// A field that tells the outcome and is rightly known before it, such as a notice; repeatable
    #[arg(long, value_name = "FIELD")]
    accept: Vec<String>,
}

pub(super) async fn run(config: &Config, args: &FitArgs, output: &Output) -> Result<(), Failure> {
    let (_, policies) = content::compile(config)?;
    let store = open(config, Need::Existing).await?;
    let bar = progress_bar(output, "looking back");
    let page = config.limits.accounts_per_batch.max(1);
    let as_of = args.as_of.unwrap_or_else(|| config.clock.now());
    let options = GatherOptions {
        leads_weeks: Vec::new(),
        main_lead_weeks: args.lead_weeks,
        grace_days: args.grace_days,
        as_of,
        accepted: args.accept.clone(),
    };
    let found = gather(&store, &policies, page, &options, &mut |n| {
        bar.set_message(format!("{n} accounts"));
    })
    .await?;
    bar.finish_and_clear();
    store.close().await;
    leaked(&found.leaks, || json!({ "until": found.until, "leaks": found.leaks }))?;
    let floor = Floor {
        events: args.min_events.max(1),
    };
    let risk = &policies.scoring.risk;
    let result = fitted(&found.landmarks, args.lead_weeks, risk, floor);
    let result = result.map_err(|why| Failure::failed(format!("the risk cannot be fitted: {why}")))?;
    let toml = result.toml(risk);
    if output.json() {
        output.document(&json!({ "until": found.until, "lead_weeks": args.lead_weeks, "fit": result, "toml": toml }));
    } else {
        print(&result, args.lead_weeks, &toml, output);
    }
    Ok(())
}

fn print(fit: &FittedRisk, lead_weeks: i64, toml: &str, output: &Output) {
    let tau = fit
        .tau
        .map_or_else(String::new, |tau| format!(", prior deviation {tau}"));
    output.line(&format!(
        "fitted on {} renewals {lead_weeks} weeks before their decision, {} of them churned{tau}",
        fit.rows, fit.events
    ));
    let cells = |name: String, w: &FittedWeight| {
        vec![
            name,
            format!("{:+.3}", w.before),
            format!("{:+.3}", w.fitted),
            format!("{:.3}", w.deviation),
        ]
    };
    let inputs = fit.inputs.iter().map(|input| {
        let name = match &input.equals {
            Some(word) => format!("{} is {}", label(&input.fact), word.replace('_', "-")),
            None => label(&input.fact),
        };
        cells(name, &input.weight)
    });
    output.table(
        &["input", "in the policy", "fitted", "give or take"],
        std::iter::once(cells("intercept".to_owned(), &fit.intercept)).chain(inputs),
    );
    output.heading("to use it, put this in place of the [risk] table of scoring.toml");
    output.line(toml.trim_end());
    output.line("");
    output.line(&output.dim(
        "first see with `perennial measure backtest` whether prior_mean beats the scorecard on renewals it was not fitted on",
    ));
}
