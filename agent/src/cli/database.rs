//! `perennial db`.

use clap::Subcommand;
use perennial_core::ids::TenantId;
use perennial_store::Store;

use super::{Failure, Output};
use crate::config::Config;

#[derive(Debug, Subcommand)]
pub(super) enum DbCommand {
    /// Bring the schema to the version of this program
    Migrate,
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
    }
}
