//! `perennial pull`.

use std::path::PathBuf;

use clap::Args;
use perennial_core::time::Timestamp;
use perennial_store::SourceDatabase;
use secrecy::ExposeSecret as _;

use super::import::print;
use super::output::{Need, open};
use super::{Failure, Output, time_argument};
use crate::config::Config;
use crate::content;
use crate::intake::{ImportError, ImportOptions, Mapping, check_queries, help_with_words, pull};

#[derive(Debug, Args)]
pub(super) struct PullArgs {
    /// Name of the source: a table [sources.NAME] of perennial.toml
    name: String,
    /// Ask from the beginning, whatever has been read before
    #[arg(long)]
    full: bool,
    /// Time of the versions that are read [default: now]
    #[arg(long, value_name = "TIME", value_parser = time_argument)]
    as_of: Option<Timestamp>,
    /// Folder for the file of rejected rows [default: the data directory]
    #[arg(long, value_name = "DIR")]
    rejects: Option<PathBuf>,
}

pub(super) async fn run(config: &Config, args: &PullArgs, output: &Output) -> Result<(), Failure> {
    let Some(access) = config.sources.get(&args.name) else {
        let known: Vec<&str> = config.sources.keys().map(String::as_str).collect();
        let help = if known.is_empty() {
            "add [sources.NAME] with `mapping` to perennial.toml".to_owned()
        } else {
            help_with_words(&args.name, &known)
        };
        return Err(Failure::input(format!("there is no source `{}`: {help}", args.name)));
    };
    let mapping = Mapping::load_with(&access.mapping, &content::vocabulary(config)?)
        .map_err(|problems| ImportError::NotReady { problems })?;
    let url = access.url()?;
    let rejects = args.rejects.clone().unwrap_or_else(|| config.data_dir.clone());
    let rejects = if rejects.as_os_str().is_empty() {
        PathBuf::from(".")
    } else {
        rejects
    };
    let options = ImportOptions {
        as_of: args.as_of,
        ..ImportOptions::new(rejects)
    };
    let mut database = SourceDatabase::connect(url.expose_secret(), config.limits.source_connect_ms).await?;
    // Nothing half done: queries that do not fit the mapping are found before a database is made for them.
    check_queries(&mut database, &mapping).await?;
    let store = open(config, Need::Create).await?;
    let ms = config.limits.source_statement_ms;
    let now = config.clock.now();
    let pulled = pull(&store, &mut database, &mapping, &options, ms, args.full, now).await?;
    store.close().await;
    if output.json() {
        output.document(&pulled);
        return Ok(());
    }
    print(&pulled.report, "query", output);
    for (query, reached) in &pulled.watermarks {
        output.line(&format!("{query} has been read up to {reached}"));
    }
    Ok(())
}
