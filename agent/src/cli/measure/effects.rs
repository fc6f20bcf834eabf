//! `perennial measure effects`.

use clap::{Args, ValueEnum};
use perennial_core::time::Timestamp;
use serde_json::{Value as Json, json};

use crate::cli::output::{Need, open};
use crate::cli::{Failure, Output, time_argument};
use crate::config::Config;
use crate::content;
use crate::measure::effects::{Effect, Effects, EffectsOptions, Log, effects};

/// Which log of choices is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LogChoice {
    /// Our own: what runs put into people's days
    Own,
    /// Imported actions of an earlier tool
    Imported,
}

impl LogChoice {
    pub(super) fn name(self) -> &'static str {
        match self {
            LogChoice::Own => "own",
            LogChoice::Imported => "imported",
        }
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct EffectsArgs {
    /// Which log
    #[arg(long, value_enum, default_value_t = LogChoice::Own)]
    log: LogChoice,
    /// Imported log: order in which it let draws through, one action an account and day; lists every action [default: each
    /// row stands by itself]
    #[arg(long, value_name = "ACTION", num_args = 1.., value_delimiter = ',')]
    priority: Vec<String>,
    /// Days after the end of a term in which a late renewal still counts as one
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(i64).range(0..=365))]
    grace_days: i64,
    /// Use what was observed by then [default: now]
    #[arg(long, value_name = "TIME", value_parser = time_argument)]
    as_of: Option<Timestamp>,
}

pub(super) async fn run(config: &Config, args: &EffectsArgs, output: &Output) -> Result<(), Failure> {
    let log = match (args.log, args.priority.is_empty()) {
        (LogChoice::Own, true) => Log::Own,
        (LogChoice::Own, false) => {
            return Err(Failure::input(
                "our own log has its chances after all rules: leave --priority out",
            ));
        }
        (LogChoice::Imported, _) => Log::Imported {
            priority: args.priority.clone(),
        },
    };
    let (_, policies) = content::compile(config)?;
    let store = open(config, Need::Existing).await?;
    let options = EffectsOptions {
        log,
        grace_days: args.grace_days,
        as_of: args.as_of.unwrap_or_else(|| config.clock.now()),
    };
    let page = config.limits.accounts_per_batch.max(1);
    let found = effects(&store, &policies, page, &options).await?;
    store.close().await;
    let found = found.map_err(Failure::input)?;
    let toml = toml(&found);
    if output.json() {
        output.document(&document(&found, &toml));
    } else {
        print(&found, &toml, output);
    }
    Ok(())
}

/// Keys to take over into the `[effect]` of playbooks, for what could be estimated over all tiers.
fn toml(found: &Effects) -> String {
    let keys = found.effects.iter().filter(|e| e.tier.is_none()).filter_map(|e| {
        let shown = e.found.as_ref().ok()?.observed;
        Some(format!(
            "# {}\n[effect]\nobserved_shift = {:.3}\nobserved_se = {:.3}\n",
            e.action, shown.shift, shown.se
        ))
    });
    keys.collect::<Vec<_>>().join("\n")
}

fn document(found: &Effects, toml: &str) -> Json {
    let effect = |e: &Effect| {
        let shown = e.found.as_ref().ok();
        json!({
            "action": e.action,
            "tier": e.tier,
            "with": { "rows": e.with.rows, "lost": e.with.lost },
            "without": { "rows": e.without.rows, "lost": e.without.lost },
            "shift": shown.map(|s| s.observed.shift),
            "se": shown.map(|s| s.observed.se),
            "ess": shown.map(|s| s.ess),
            "cannot_estimate": e.found.as_ref().err(),
        })
    };
    json!({
        "until": found.until,
        "accounts": found.accounts,
        "choices": found.choices,
        "used": found.used,
        "excluded": found.excluded,
        "effects": found.effects.iter().map(effect).collect::<Vec<_>>(),
        "toml": toml,
    })
}

fn print(found: &Effects, toml: &str, output: &Output) {
    let out = found.excluded;
    output.line(&format!(
        "{} logged choices up to {}, {} count. Left out: {} without chance, {} of unknown chance, {} that compare actions only, \
         {} before the log was complete, {} incomplete, {} without a term, {} whose term is not over, {} without a risk, {} without \
         known revenue",
        found.choices,
        found.until,
        found.used,
        out.certain,
        out.chance_unknown,
        out.no_nothing,
        out.before,
        out.incomplete,
        out.no_term,
        out.not_over,
        out.no_risk,
        out.no_revenue
    ));
    if out.holdout_accounts > 0 {
        output.line(&format!(
            "{} accounts of the holdout teach nothing here: what they would have had is not in the log",
            out.holdout_accounts
        ));
    }
    if found.effects.is_empty() {
        output.line("cannot estimate: no randomised choice between an action and nothing has an outcome");
        return;
    }
    output.table(
        &[
            "action",
            "tier",
            "with",
            "lost",
            "without",
            "lost",
            "shift",
            "standard error",
        ],
        found.effects.iter().map(|e| {
            let (shift, se) = match &e.found {
                Ok(found) => (
                    format!("{:+.3}", found.observed.shift),
                    format!("{:.3}", found.observed.se),
                ),
                Err(why) => (why.clone(), String::new()),
            };
            let count = |n: usize| n.to_string();
            vec![
                e.action.clone(),
                e.tier.clone().unwrap_or_else(|| "all".to_owned()),
                count(e.with.rows),
                count(e.with.lost),
                count(e.without.rows),
                count(e.without.lost),
                shift,
                se,
            ]
        }),
    );
    output.line(&output.dim("shift: of the log odds of renewing, at equal risk; rows of one account are one cluster"));
    if !toml.is_empty() {
        output.line("to take over into the playbook's file:");
        output.line(toml.trim_end());
    }
}
