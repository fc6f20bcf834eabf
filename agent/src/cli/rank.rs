//! `perennial rank`: what to do next over the whole book, the most valuable minute first.

use std::sync::Arc;

use perennial_core::ids::OwnerId;
use perennial_core::time::Timestamp;

use super::output::{Need, amount, open, progress_bar};
use super::{Failure, Output, time_argument};
use crate::config::Config;
use crate::content;
use crate::ranking::{RankOptions, RankedAction, Ranking, rank};

/// Rows that the table shows where nobody asks for another number.
const SHOWN: usize = 50;
/// People whom a message names before it stops.
const NAMED: usize = 10;

#[derive(Debug, clap::Args)]
pub(super) struct RankArgs {
    /// Decide with what was known then [default: now]
    #[arg(long, value_name = "TIME", value_parser = time_argument)]
    as_of: Option<Timestamp>,
    /// Only accounts of this person, by id or name; places stay those of the whole book
    #[arg(long, value_name = "PERSON")]
    owner: Option<String>,
    /// At most so many [default: 50 in a table, all with --json]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Also what policy forbids, at the end and without a place
    #[arg(long)]
    denied: bool,
}

pub(super) async fn ranked(config: &Config, args: &RankArgs, output: &Output) -> Result<(), Failure> {
    let (_, policies) = content::compile(config)?;
    let store = open(config, Need::Existing).await?;
    let options = RankOptions {
        as_of: args.as_of.unwrap_or_else(|| config.clock.now()),
        past: args.as_of.is_some(),
        denied: args.denied,
    };
    let bar = progress_bar(output, "deciding");
    let mut progress = |n: u64| bar.set_message(format!("{n} accounts decided"));
    let ranking = rank(config, &store, &Arc::new(policies), &options, &mut progress).await;
    bar.finish_and_clear();
    store.close().await;
    let mut ranking = ranking?;
    if let Some(owner) = &args.owner {
        let owner = person(&ranking, owner)?;
        ranking.actions.retain(|a| a.owner.as_ref() == Some(&owner));
    }
    let total = ranking.actions.len();
    if output.json() {
        ranking.actions.truncate(args.limit.unwrap_or(usize::MAX));
        output.document(&ranking.actions);
        return Ok(());
    }
    let limit = args.limit.unwrap_or(SHOWN);
    ranking.actions.truncate(limit);
    if total == 0 {
        output.line("there is nothing to do");
        return Ok(());
    }
    output.table(
        &[
            "rank",
            "account",
            "what to do",
            "value",
            "min",
            "risk",
            "by",
            "who decides",
            "owner",
        ],
        ranking.actions.iter().map(cells),
    );
    if total > limit {
        eprintln!("! the first {limit} of {total}; --limit shows more");
    }
    Ok(())
}

/// The person that an id or a name means.
fn person(ranking: &Ranking, word: &str) -> Result<OwnerId, Failure> {
    let named = |name: &Option<String>| name.as_deref() == Some(word);
    let mut found = ranking
        .people
        .iter()
        .filter(|(id, name)| id.as_str() == word || named(name));
    match (found.next(), found.next()) {
        (Some((id, _)), None) => Ok(id.clone()),
        (Some(_), Some(_)) => Err(Failure::input(format!(
            "several people are called `{word}`: give the id of one"
        ))),
        (None, _) => {
            let known: Vec<&str> = ranking.people.iter().map(|(id, _)| id.as_str()).take(NAMED).collect();
            Err(Failure::input(format!(
                "`{word}` is nobody we know and looks after no account; known are {}",
                known.join(", ")
            )))
        }
    }
}

fn cells(action: &RankedAction) -> Vec<String> {
    let risk = |p: f64| format!("{:.0} %", p * 100.0);
    vec![
        action.rank.map_or_else(String::new, |rank| rank.to_string()),
        format!("{} ({})", action.account_name, action.account),
        action.title.clone(),
        amount(action.value_minor, Some(action.currency.code())),
        action.minutes.to_string(),
        action.probability.map_or_else(|| "not known".to_owned(), risk),
        action.due.to_string(),
        action.verdict.replace("approve:", ""),
        action
            .owner
            .as_ref()
            .map_or_else(|| "nobody".to_owned(), |o| o.as_str().to_owned()),
    ]
}
