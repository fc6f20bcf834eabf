//! `perennial holdout`.

use std::collections::BTreeMap;

use clap::Subcommand;
use perennial_core::holdout::{Balance, LeftOut, Places, REVENUE, SampleRatio, Share, Unit, balance, sample_ratio};
use perennial_core::money::Currency;
use perennial_core::signal::Arm;
use perennial_core::time::Timestamp;
use serde_json::{Value, json};

use super::output::{Need, amount, open};
use super::{Failure, Output, time_argument};
use crate::config::Config;
use crate::content;
use crate::holdout::{AssignError, Book, Cohort};

#[derive(Debug, Subcommand)]
pub(super) enum HoldoutCommand {
    /// Draw who is left untreated, before the first run; later accounts form a later cohort, and nobody moves
    Assign {
        /// Percent of the families that are left untreated: 50, 25, 20, 10, 5, 4, 2 or 1
        #[arg(long, default_value_t = 20)]
        share: u32,
        /// Seed of the draw; it is stored with it
        #[arg(long, value_parser = clap::value_parser!(i64).range(0..))]
        seed: i64,
        /// Draw with what was known then [default: now]
        #[arg(long, value_name = "TIME", value_parser = time_argument)]
        as_of: Option<Timestamp>,
        /// Draw and show, store nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// The arms, their balance, and whether they are still those that were drawn
    Show,
}

impl From<AssignError> for Failure {
    fn from(error: AssignError) -> Failure {
        match error {
            AssignError::Store(error) => error.into(),
            AssignError::Refused(_) | AssignError::Fixed(_) | AssignError::Split(_) => Failure::input(error),
            AssignError::Overtaken => Failure::failed(error),
        }
    }
}

pub(super) async fn holdout(config: &Config, command: HoldoutCommand, output: &Output) -> Result<(), Failure> {
    match command {
        HoldoutCommand::Assign {
            share,
            seed,
            as_of,
            dry_run,
        } => {
            let share = Share::percent(share).map_err(Failure::input)?;
            let as_of = as_of.unwrap_or_else(|| config.clock.now());
            draw(config, share, seed, as_of, dry_run, output).await
        }
        HoldoutCommand::Show => show(config, output).await,
    }
}

async fn draw(
    config: &Config,
    share: Share,
    seed: i64,
    as_of: Timestamp,
    dry_run: bool,
    output: &Output,
) -> Result<(), Failure> {
    let store = open(config, Need::Existing).await?;
    let (_, policies) = content::compile(config)?;
    let currency = policies.settings.base;
    let book = Book::read(&store, &policies, as_of).await?;
    let drawn = match book.draw(share, seed, as_of) {
        // The same command again: what it would store is there.
        Err(AssignError::Fixed(_)) if book.cohorts().iter().any(|c| c.is_of(share, seed)) => {
            store.close().await;
            return print_show(&book, currency, output);
        }
        other => other?,
    };
    let mut left_out: BTreeMap<LeftOut, usize> = BTreeMap::new();
    for why in book.families.left_out.values() {
        *left_out.entry(*why).or_default() += 1;
    }
    let report = json!({
        "cohort": drawn.cohort,
        "seed": seed,
        "share_percent": 100 / share.block(),
        "as_of": as_of,
        "hash": drawn.hash,
        "accounts": drawn.accounts(),
        "joined": drawn.joined,
        "left_out": left_out.iter().map(|(why, n)| (why.as_str(), n)).collect::<BTreeMap<_, _>>(),
        "dry_run": dry_run,
        "arms": arms(&book.families.units, &drawn.places, Some(share), currency),
    });
    if !output.json() {
        output.line(&format!(
            "cohort {}: {} families, seed {seed}, one of every {} held out",
            drawn.cohort,
            drawn.places.len(),
            share.block()
        ));
        if drawn.joined > 0 {
            output.line(&format!(
                "{} accounts get the arm that their family has already",
                drawn.joined
            ));
        }
        for (why, n) in &left_out {
            output.line(&format!("! {n} families are left out: {}", reason(*why)));
        }
        print_arms(&book.families.units, &drawn.places, Some(share), currency, output);
        output.line(&format!("\nassignment {}", drawn.hash));
    }
    if !dry_run {
        drawn.store(&store, config.clock.now()).await?;
    }
    store.close().await;
    if output.json() {
        output.document(&report);
    } else if dry_run {
        output.line("nothing was stored (--dry-run)");
    } else {
        output.line("stored; from now on nothing is proposed for the holdout, and nobody moves");
    }
    Ok(())
}

fn reason(why: LeftOut) -> &'static str {
    match why {
        LeftOut::Treated => "something was proposed or done for them already, so a draw would come too late",
        LeftOut::RevenueUnknown => "their revenue is not known",
        LeftOut::NoRevenue => "they pay nothing",
    }
}

async fn show(config: &Config, output: &Output) -> Result<(), Failure> {
    let store = open(config, Need::Existing).await?;
    let (_, policies) = content::compile(config)?;
    let currency = policies.settings.base;
    let book = Book::read(&store, &policies, config.clock.now()).await?;
    store.close().await;
    print_show(&book, currency, output)
}

fn print_show(book: &Book, currency: Currency, output: &Output) -> Result<(), Failure> {
    let (units, places) = book.assigned();
    let cohorts = book.cohorts();
    let share = one_share(&cohorts);
    if output.json() {
        output.document(&json!({
            "cohorts": cohorts,
            "split": book.families.split,
            "arms": arms(&units, &places, share, currency),
        }));
        return Ok(());
    }
    if places.is_empty() {
        output.line("no account has an arm: `perennial holdout assign --seed N` draws them");
        return Ok(());
    }
    for cohort in &cohorts {
        let state = match cohort.unchanged {
            Some(true) => "as it was drawn",
            Some(false) => "NOT as it was drawn: arms were changed, added or lost since",
            None => "imported, without a hash to compare with",
        };
        output.line(&format!("cohort {}: {} families, {state}", cohort.cohort, cohort.units));
        output.line(&output.dim(&format!("  assignment {}", cohort.hash)));
    }
    for split in &book.families.split {
        output.line(&format!("! accounts of the family {split} stand in different arms"));
    }
    print_arms(&units, &places, share, currency, output);
    Ok(())
}

/// The share that all cohorts were drawn with; nothing when they differ or one does not say.
fn one_share(cohorts: &[Cohort]) -> Option<Share> {
    let first = cohorts.first()?.share_micro?;
    let same = cohorts.iter().all(|c| c.share_micro == Some(first));
    let percent = u32::try_from((first.0 + 5_000) / 10_000).ok()?;
    same.then(|| Share::percent(percent).ok()).flatten()
}

fn revenue(units: &[Unit], places: &Places, arm: Arm) -> i64 {
    let of_arm = |u: &&Unit| places.get(&u.account).is_some_and(|p| p.arm == arm);
    units.iter().filter(of_arm).map(|u| u.arr_minor).sum()
}

fn arms(units: &[Unit], places: &Places, share: Option<Share>, currency: Currency) -> Value {
    let count = |arm: Arm| places.values().filter(|p| p.arm == arm).count();
    let ratio = share.and_then(|s| sample_ratio(places, s));
    json!({
        "engine": { "families": count(Arm::Engine), "arr_minor": revenue(units, places, Arm::Engine) },
        "holdout": { "families": count(Arm::Holdout), "arr_minor": revenue(units, places, Arm::Holdout) },
        "currency": currency.code(),
        "sample_ratio": ratio.map(|r| json!({ "chi_square": r.chi_square, "p": r.p })),
        "balance": balance(units, places).iter().map(balance_json).collect::<Vec<_>>(),
    })
}

fn balance_json(line: &Balance) -> Value {
    let mut value = json!({ "what": line.what, "engine": line.engine, "holdout": line.holdout });
    match &line.difference {
        Ok(difference) => value["difference"] = json!(difference),
        Err(why) => value["cannot"] = json!(why.to_string()),
    }
    value
}

fn print_arms(units: &[Unit], places: &Places, share: Option<Share>, currency: Currency, output: &Output) {
    output.heading("arms");
    let rows = [Arm::Engine, Arm::Holdout].map(|arm| {
        vec![
            arm.as_str().to_owned(),
            places.values().filter(|p| p.arm == arm).count().to_string(),
            amount(Some(revenue(units, places, arm)), Some(currency.code())),
        ]
    });
    output.table(&["arm", "families", "revenue a year"], rows);
    if let Some(SampleRatio { chi_square, p, .. }) = share.and_then(|s| sample_ratio(places, s)) {
        output.line(&format!("sample ratio: chi-square {chi_square:.3}, p {p:.3}"));
    }
    output.heading("balance (difference of the means in standard deviations)");
    let cell = |line: &Balance, value: Option<f64>| match value {
        None => "not known".to_owned(),
        Some(v) if line.what == REVENUE => amount(Some(v as i64), Some(currency.code())),
        Some(v) => format!("{v:.3}"),
    };
    output.table(
        &["", "engine", "holdout", "difference"],
        balance(units, places).iter().map(|line| {
            vec![
                line.what.clone(),
                cell(line, line.engine),
                cell(line, line.holdout),
                match &line.difference {
                    Ok(difference) => format!("{difference:+.3}"),
                    Err(why) => why.to_string(),
                },
            ]
        }),
    );
}
