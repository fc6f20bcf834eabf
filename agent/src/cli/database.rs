//! `perennial db`.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use perennial_store::{DatabaseUrl, Prune, Store};

use super::output::{Need, open, progress_bar};
use super::{Failure, Output};
use crate::config::Config;

#[derive(Debug, Subcommand)]
pub(super) enum DbCommand {
    /// Bring the schema to the version of this program, unless a worker that runs could not go on with it
    Migrate {
        /// Migrate all the same; workers that are too old end by themselves
        #[arg(long)]
        anyway: bool,
    },
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
    /// Write what a SQLite database holds now into a new file, while others go on working with it
    Backup {
        /// File that does not exist yet
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
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
        DbCommand::Migrate { anyway } => {
            let store = Store::open(&config.database, config.tenant, &config.limits.store()).await?;
            let now = store.clock().await?.unwrap_or_else(|| config.clock.now());
            let too_old = store
                .workers_too_old(crate::worker::earlier(now, crate::worker::ALIVE))
                .await?;
            if !too_old.is_empty() && !anyway {
                return Err(Failure::input(format!(
                    "nothing was migrated: {} could not go on with the new schema; stop it first, or say --anyway",
                    too_old.join(", ")
                )));
            }
            let report = store.migrate().await?;
            // Where workers do not own the tables, this is where months come from.
            let months = store.make_months(now).await?;
            store.close().await;
            if months > 0 {
                tracing::info!(months, "made ahead");
            }
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
        DbCommand::Backup { to } => backup(config, to, output).await,
        DbCommand::Copy { from, to } => copy(config, from, to, output).await,
    }
}

async fn backup(config: &Config, to: &Path, output: &Output) -> Result<(), Failure> {
    if to.exists() {
        return Err(Failure::input(format!(
            "`{}` is there already: name a new file",
            to.display()
        )));
    }
    let store = open(config, Need::Existing).await?;
    let was_written = store.backup(to).await?;
    store.close().await;
    if !was_written {
        return Err(Failure::input(
            "this is for SQLite; PostgreSQL brings its own: pg_dump --format=custom --file FILE DATABASE",
        ));
    }
    // A backup that cannot be read is none.
    let written = Config {
        database: DatabaseUrl::Sqlite(to.to_path_buf()),
        ..config.clone()
    };
    let store = open(&written, Need::Existing).await?;
    let (entries, head, broken) = super::audit::chain(&store).await?;
    store.close().await;
    if let Some((entry, why)) = broken {
        let text = format!("the backup was written, but its ledger is broken at entry {entry}: {why}");
        return Err(Failure::failed(text));
    }
    if output.json() {
        output.document(&serde_json::json!({ "file": to, "entries": entries, "head": head }));
    } else {
        let file = to.display();
        output.line(&format!("{file}: ledger of {entries} entries intact, head {head}"));
    }
    Ok(())
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
    let source = Store::open_migrated(&from, config.tenant, &options).await?;
    let target = Store::open(&to, config.tenant, &options).await?;
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
