//! `perennial account set`: a person's own judgement in place of a score, with reason and end.

use std::collections::BTreeMap;

use perennial_core::ids::{AccountId, ExternalId, OwnerId, SourceId};
use perennial_core::number::Micro;
use perennial_core::replay::canonical;
use perennial_core::signal::{Fact, ScoreName, ScoreOverride, Signal};
use perennial_core::time::Day;
use perennial_store::{Belongs, LedgerDraft, NewSignal, SignalRow, Store};

use super::no_account;
use crate::cli::{Failure, Output};
use crate::config::Config;
use crate::people::person;

/// Source of the records that people make by hand.
const BY_HAND: &str = "perennial";
/// Days that an override may hold: longer than a year nobody remembers why.
const MAX_DAYS: i64 = 366;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct SetArgs {
    /// Account id
    id: String,
    /// Which score: health, risk or expansion
    #[arg(long, value_parser = score_argument)]
    score: ScoreName,
    /// Its value: points from 0 to 100, for risk percent
    #[arg(long, required_unless_present = "clear")]
    value: Option<Micro>,
    /// Why
    #[arg(long)]
    reason: String,
    /// Last day on which it holds
    #[arg(long, required_unless_present = "clear")]
    until: Option<Day>,
    /// Take the override back
    #[arg(long, conflicts_with_all = ["value", "until"])]
    clear: bool,
    /// Who says so: id, name or mail address [default: `user` of the configuration, or PERENNIAL_USER]
    #[arg(long = "as", value_name = "PERSON")]
    person: Option<String>,
}

fn score_argument(word: &str) -> Result<ScoreName, String> {
    ScoreName::from_word(word).ok_or_else(|| "scores are health, risk and expansion".to_owned())
}

pub(super) async fn set(config: &Config, store: &Store, args: SetArgs, output: &Output) -> Result<(), Failure> {
    let id = AccountId::new(args.id);
    let known = store.account_signals(std::slice::from_ref(&id)).await?;
    if !known.contains_key(&id) {
        return Err(no_account(&id));
    }
    let by = person(config, store, args.person.as_deref()).await?;
    let now = config.clock.now();
    let reason = args.reason.trim().to_owned();
    if reason.is_empty() {
        return Err(Failure::input(
            "an override needs a --reason that others will understand",
        ));
    }
    let value = args.value.unwrap_or_default();
    if !(0..=100_000_000).contains(&value.0) {
        return Err(Failure::input(format!(
            "--value {value} is out of range: from 0 to 100"
        )));
    }
    // Taken back: its last day is yesterday.
    let until = if args.clear {
        now.day().plus(-1)
    } else {
        args.until.unwrap_or(now.day())
    };
    let days = now.day().days_until(until);
    if !args.clear && !(0..=MAX_DAYS).contains(&days) {
        return Err(Failure::input(format!(
            "--until {until} must lie between today and {}",
            now.day().plus(MAX_DAYS)
        )));
    }
    let fact = ScoreOverride {
        score: Some(args.score),
        value: Some(value),
        reason: Some(reason.clone()),
        by: Some(OwnerId::new(by.id.clone())),
        until: Some(until),
    };
    let reference = format!("{id}/{}", args.score);
    let signal = Signal {
        source: SourceId::new(BY_HAND),
        external_id: ExternalId::new(reference.clone()),
        event_at: now,
        observed_at: now,
        revision_at: now,
        fact: Fact::ScoreOverride(fact),
    };
    let body = BTreeMap::from([
        ("by", by.id),
        ("reason", reason),
        ("score", args.score.to_string()),
        ("until", until.to_string()),
        ("value", value.to_string()),
    ]);
    let entry = LedgerDraft {
        kind: if args.clear { "override_cleared" } else { "override" }.to_owned(),
        reference,
        body: canonical(&body),
    };
    let mut rows = [SignalRow::of(NewSignal {
        owner: Belongs::Account(id.clone()),
        signal,
    })];
    store.insert_signals_with(&mut rows, Some(&id), &[entry], now).await?;
    if output.json() {
        output.document(&body);
    } else if args.clear {
        output.line(&format!(
            "{} of {id} is the engine's own again from the next run on",
            args.score
        ));
    } else {
        output.line(&format!(
            "{} of {id} is {value} until {until}, whatever the engine computes; it counts from the next run on",
            args.score
        ));
    }
    Ok(())
}
