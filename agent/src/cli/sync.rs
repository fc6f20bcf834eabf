//! `perennial sync`.

use std::path::PathBuf;

use clap::Args;
use perennial_core::signal::Crm;

use super::import::print;
use super::output::{Need, open};
use super::{Failure, Output};
use crate::config::Config;
use crate::intake::{ImportError, ImportOptions, Mapping, SyncOptions, Synced};
use crate::reading;

#[derive(Debug, Args)]
pub(super) struct SyncArgs {
    /// Only this CRM: salesforce or hubspot [default: all that are configured]
    #[arg(value_parser = crm_argument)]
    crm: Option<Crm>,
    /// Ask for everything, whatever has been read before
    #[arg(long)]
    full: bool,
    /// Folder for the file of rejected rows [default: the data directory]
    #[arg(long, value_name = "DIR")]
    rejects: Option<PathBuf>,
}

fn crm_argument(text: &str) -> Result<Crm, String> {
    Crm::from_word(text).ok_or_else(|| "write salesforce or hubspot".to_owned())
}

pub(super) async fn run(config: &Config, args: &SyncArgs, output: &Output) -> Result<(), Failure> {
    let configured = [(Crm::Salesforce, &config.salesforce), (Crm::HubSpot, &config.hubspot)];
    let mut mappings = Vec::new();
    for (crm, access) in configured {
        if access.is_some() && args.crm.is_none_or(|only| only == crm) {
            mappings.push((crm, mapping(config, crm)?));
        }
    }
    if mappings.is_empty() {
        let what = args.crm.map_or("no CRM".to_owned(), |crm| crm.to_string());
        let help = "add [salesforce] or [hubspot] with `base_url` and `token_file` to perennial.toml";
        return Err(Failure::input(format!("{what} is not configured: {help}")));
    }
    let rejects = args.rejects.clone().unwrap_or_else(|| reading::rejects_dir(config));
    let options = SyncOptions {
        full: args.full,
        stop: Some(super::stop_signal()),
        ..SyncOptions::new(ImportOptions::new(rejects))
    };
    let store = open(config, Need::Create).await?;
    let tools = config.tools_of(&store).map_err(Failure::input)?;
    let mut all: Vec<Synced> = Vec::new();
    for (crm, mapping) in &mappings {
        let tool = tools.require(*crm).map_err(Failure::failed)?;
        let (tool, most) = (tool.as_ref(), config.limits.due_records.max(1));
        let due = reading::read_due(&store, tool, mapping, &options, most, config.clock).await;
        due.map_err(Failure::failed)?;
        let done = reading::read(&store, tool, mapping, &options, config.clock.now()).await;
        all.push(done.map_err(Failure::failed)?);
    }
    store.close().await;
    if output.json() {
        output.document(&serde_json::json!({ "crms": all }));
        return Ok(());
    }
    for synced in &all {
        output.heading(synced.crm.as_str());
        print(&synced.report, "object", output);
        output.line(&format!(
            "{} of the duplicates only say what we wrote, {} records were deleted there, {} pages",
            synced.own, synced.deleted, synced.pages
        ));
        for (object, reached) in &synced.watermarks {
            output.line(&format!("{object} has been read up to {reached}"));
        }
    }
    Ok(())
}

/// The mapping of a CRM.
pub(super) fn mapping(config: &Config, crm: Crm) -> Result<Mapping, Failure> {
    reading::mapping(config, crm).map_err(|problems| Failure::from(ImportError::NotReady { problems }))
}
