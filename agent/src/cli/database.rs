//! `perennial db`.

use clap::Subcommand;
use perennial_core::ids::TenantId;
use perennial_store::{DatabaseUrl, Prune, Store};

use super::output::{Need, open, progress_bar};
use super::{Failure, Output};
use crate::config::Config;

#[derive(Debug, Subcommand)]
pub(super) enum DbCommand {
    /// Bring the schema to the version of this program
    Migrate,
    /// Remove what is old and over; never the ledger, and nothing that is open
    #[command(group(clap::ArgGroup::new("what").required(true).multiple(true)))]
    Prune {
        /// Attempts of settled effects that are older than so many days
        #[arg(long, value_name = "DAYS", group = "what", value_parser = clap::value_parser!(u32).range(1..))]
        attempts_days: Option<u32>,
        /// Receipts older than so many days; without its receipt a change cannot be undone
        #[arg(long, value_name = "DAYS", group = "what", value_parser = clap::value_parser!(u32).range(1..))]
        receipts_days: Option<u32>,
        /// Inputs of decisions older than so many days; without them a decision cannot be replayed
        #[arg(long, value_name = "DAYS", group = "what", value_parser = clap::value_parser!(u32).range(1..))]
        inputs_days: Option<u32>,
    },
    /// Copy everything into an empty database of either kind, and check counts and ledger; stop all else first
    Copy {
        /// Database to copy: sqlite:PATH or postgres://USER@HOST/NAME
        #[arg(long, value_name = "URL")]
        from: String,
        /// Empty database to copy into
        #[arg(long, value_name = "URL")]
        to: String,
    },
}

pub(super) async fn db(config: &Config, command: &DbCommand, output: &Output) -> Result<(), Failure> {
    match command {
        DbCommand::Migrate => {
            let store = Store::open(&config.database, TenantId::DEFAULT, &config.limits.store()).await?;
            let report = store.migrate().await?;
            store.close().await;
            if output.json() {
                output.document(&serde_json::json!({ "applied": report.applied, "version": report.version }));
            } else if report.applied.is_empty() {
                output.line(&format!("nothing to do: the schema has version {}", report.version));
            } else {
                output.line(&format!(
                    "applied {}; the schema has version {}",
                    report.applied.join(", "),
                    report.version
                ));
            }
            Ok(())
        }
        DbCommand::Prune {
            attempts_days,
            receipts_days,
            inputs_days,
        } => {
            let store = open(config, Need::Existing).await?;
            let now = config.clock.now();
            let before = |days: &Option<u32>| days.map(|days| now.plus_days(-i64::from(days)));
            let prune = Prune {
                attempts: before(attempts_days),
                receipts: before(receipts_days),
                inputs: before(inputs_days),
            };
            let pruned = store.prune(&prune, now).await?;
            store.close().await;
            if output.json() {
                output.document(&serde_json::json!({
                    "attempts": pruned.attempts, "receipts": pruned.receipts, "inputs": pruned.inputs,
                }));
            } else {
                output.line(&format!(
                    "removed: {} attempts, {} receipts, the inputs of {} decisions",
                    pruned.attempts, pruned.receipts, pruned.inputs
                ));
            }
            Ok(())
        }
        DbCommand::Copy { from, to } => copy(config, from, to, output).await,
    }
}

async fn copy(config: &Config, from: &str, to: &str, output: &Output) -> Result<(), Failure> {
    if from == to {
        return Err(Failure::input("--from and --to are the same database"));
    }
    let parse = |name: &str, url: &str| {
        url.parse::<DatabaseUrl>().map_err(|_| {
            Failure::input(format!(
                "{name} is no database: write sqlite:PATH or postgres://USER@HOST/NAME"
            ))
        })
    };
    let (from, to) = (parse("--from", from)?, parse("--to", to)?);
    if let DatabaseUrl::Sqlite(path) = &from
        && !path.exists()
    {
        return Err(Failure::input(format!("there is no database at `{}`", path.display())));
    }
    let options = config.limits.store();
    let source = Store::open_migrated(&from, TenantId::DEFAULT, &options).await?;
    let target = Store::open(&to, TenantId::DEFAULT, &options).await?;
    target.migrate().await?;
    let bar = progress_bar(output, "copying");
    let copied = target
        .copy_from(&source, &mut |copied| {
            bar.set_message(format!("{}: {} rows", copied.table, copied.rows))
        })
        .await?;
    bar.finish_and_clear();
    let head = target.ledger_head().await?;
    source.close().await;
    target.close().await;
    let rows: u64 = copied.iter().map(|c| c.rows).sum();
    if output.json() {
        let tables: std::collections::BTreeMap<&str, u64> = copied.iter().map(|c| (c.table, c.rows)).collect();
        output.document(&serde_json::json!({ "rows": rows, "tables": tables, "entries": head.seq, "head": head.hash }));
    } else {
        output.line(&format!(
            "{rows} rows copied, counts equal, ledger of {} entries intact, head {}",
            head.seq, head.hash
        ));
    }
    Ok(())
}
