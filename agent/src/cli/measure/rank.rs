//! `perennial measure rank`.

use serde_json::json;

use crate::cli::{Failure, Output};
use crate::config::Config;
use crate::content;
use crate::measure::rank;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct RankArgs {
    /// Worlds of 3,000 accounts
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=1000))]
    worlds: u32,
    /// Seed of the worlds
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Playbook whose expected effect the engine ranks by
    #[arg(long, default_value = "renewal-at-risk")]
    playbook: String,
}

pub(super) fn run(config: &Config, args: &RankArgs, output: &Output) -> Result<(), Failure> {
    let (worlds, seed, playbook) = (args.worlds, args.seed, args.playbook.as_str());
    let (_, policies) = content::compile(config)?;
    let Some(chosen) = policies.playbooks.get(playbook) else {
        let known: Vec<&str> = policies.playbooks.keys().map(String::as_str).collect();
        return Err(Failure::input(format!(
            "there is no playbook `{playbook}`: there are {}",
            known.join(", ")
        )));
    };
    let choice = rank::Choice {
        economics: &chosen.economics,
        terms: &policies.scoring.value,
        currency: policies.settings.base,
    };
    let rows = rank::measure(worlds, seed, &choice);
    if output.json() {
        output.document(&json!({
            "worlds": worlds, "seed": seed, "accounts": rank::ACCOUNTS, "playbook": playbook, "orders": rows,
        }));
        return Ok(());
    }
    output.line(&format!(
        "points of net revenue retention saved by working the first accounts of an order;\n\
         {worlds} made-up worlds of {} accounts, seed {seed}: mean (standard error)\n",
        rank::ACCOUNTS
    ));
    let header: Vec<String> = rank::SHARES.iter().map(|s| format!("first {s} %")).collect();
    let header: Vec<&str> = std::iter::once("order")
        .chain(header.iter().map(String::as_str))
        .collect();
    output.table(
        &header,
        rows.iter().map(|row| {
            let saved = row.saved.iter().map(|s| match s.se {
                Some(se) => format!("{:.2} ({se:.2})", s.points),
                None => format!("{:.2}", s.points),
            });
            std::iter::once(row.order.to_owned()).chain(saved).collect()
        }),
    );
    Ok(())
}
