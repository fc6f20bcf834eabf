//! `perennial import`.

use std::path::PathBuf;

use clap::Args;
use perennial_core::time::Timestamp;

use super::output::{Need, open, progress_bar};
use super::{Failure, Output, time_argument};
use crate::config::Config;
use crate::content;
use crate::intake::{ImportError, ImportOptions, ImportReport, Mapping, prepare};

#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// Folder with the files: CSV, or JSON Lines where the name ends in .jsonl or .ndjson
    dir: PathBuf,
    /// Mapping that says what the files and columns are
    #[arg(long, value_name = "FILE")]
    mapping: PathBuf,
    /// When the export was taken; a later export of the same records becomes their newer version
    #[arg(long, value_name = "TIME", value_parser = time_argument)]
    as_of: Option<Timestamp>,
    /// Folder for the file of rejected rows [default: the data directory]
    #[arg(long, value_name = "DIR")]
    rejects: Option<PathBuf>,
}

pub(super) async fn import(config: &Config, args: &ImportArgs, output: &Output) -> Result<(), Failure> {
    let mapping = Mapping::load_with(&args.mapping, &content::vocabulary(config)?)
        .map_err(|problems| ImportError::NotReady { problems })?;
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
    // Nothing half done: files that do not fit the mapping are found before a database is made for them.
    let prepared = prepare(&args.dir, &mapping, &options)?;
    let store = open(config, Need::Create).await?;
    let bar = progress_bar(output, "importing");
    let report = prepared
        .import(&store, |p| {
            let percent = (p.bytes * 100).checked_div(p.bytes_total).unwrap_or(100);
            bar.set_message(format!("{percent} %  {} rows  {}", p.rows, p.file));
        })
        .await?;
    bar.finish_and_clear();
    store.close().await;
    if output.json() {
        output.document(&report);
        return Ok(());
    }
    print(&report, "file", output);
    Ok(())
}

/// Shows what an import did; `what` heads the names of what was read.
pub(super) fn print(report: &ImportReport, what: &str, output: &Output) {
    output.table(
        &[what, "as", "read", "stored", "duplicate", "rejected"],
        report.files.iter().map(|f| {
            let counts = [f.read, f.stored, f.duplicate, f.rejected].map(|n| n.to_string());
            std::iter::once(f.path.clone())
                .chain([f.kind.as_str().to_owned()])
                .chain(counts)
                .collect()
        }),
    );
    output.line(&format!(
        "\n{} rows read = {} stored + {} duplicate + {} rejected",
        report.read, report.stored, report.duplicate, report.rejected
    ));
    if let Some(file) = &report.rejects_file {
        output.line(&format!(
            "rejected rows, with line, field and reason: {}",
            file.display()
        ));
    }
    for warning in &report.warnings {
        output.line(&format!("! {warning}"));
    }
    output.line(&output.dim(&format!("state {}", report.state_hash)));
}
