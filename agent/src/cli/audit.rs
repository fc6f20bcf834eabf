//! `perennial audit`.

use std::path::PathBuf;

use clap::Subcommand;
use perennial_core::replay::Hash;
use perennial_store::Store;

use super::output::{Need, open};
use super::{Failure, Output};
use crate::config::Config;
use crate::ledger::Chain;

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Follow the chain from its first entry; any altered, missing or moved entry is found
    Verify,
    /// Write the entries, one JSON object a line
    Export {
        /// File to write [default: standard output]
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },
}

/// Entries read at once.
const PAGE: u32 = 5_000;

pub(super) async fn audit(config: &Config, command: AuditCommand, output: &Output) -> Result<(), Failure> {
    let store = open(config, Need::Existing).await?;
    match command {
        AuditCommand::Verify => verify(&store, output).await,
        AuditCommand::Export { to } => export(&store, to, output).await,
    }
}

/// How far the chain of the ledger holds, its head there, and where and why it is broken.
pub(super) async fn chain(store: &Store) -> Result<(i64, Hash, Option<(i64, String)>), Failure> {
    let mut chain = Chain::new();
    while chain.follow(store, PAGE).await? {}
    Ok((chain.seq, chain.hash, chain.broken))
}

async fn verify(store: &Store, output: &Output) -> Result<(), Failure> {
    let (seq, previous, broken) = chain(store).await?;
    let place = broken
        .as_ref()
        .map(|(seq, why)| serde_json::json!({ "seq": seq, "why": why }));
    let results = serde_json::json!({ "entries": seq, "head": previous, "intact": broken.is_none(), "broken": place });
    match broken {
        None if output.json() => output.document(&results),
        None => output.line(&format!("{seq} entries, chain intact, head {previous}")),
        Some((seq, why)) => {
            let text = format!("the ledger is broken at entry {seq}: {why}");
            return Err(Failure::failed(text).with_results(results));
        }
    }
    Ok(())
}

async fn export(store: &Store, to: Option<PathBuf>, output: &Output) -> Result<(), Failure> {
    use std::io::Write as _;
    let unwritable = |path: &PathBuf, error: std::io::Error| {
        Failure::failed(format!(
            "`{}` cannot be written: {error}; name another file with --to",
            path.display()
        ))
    };
    let mut file = match &to {
        Some(path) => Some((
            path,
            std::io::BufWriter::new(std::fs::File::create(path).map_err(|e| unwritable(path, e))?),
        )),
        None => None,
    };
    let mut seq = 0;
    loop {
        let page = store.ledger_page(seq, PAGE).await?;
        if page.is_empty() {
            break;
        }
        for entry in page {
            seq = entry.seq;
            let line = serde_json::json!({
                "seq": entry.seq,
                "at": entry.at,
                "account": entry.account,
                "kind": entry.kind,
                "reference": entry.reference,
                "body": entry.body,
                "previous": entry.previous,
                "hash": entry.hash,
            })
            .to_string();
            match &mut file {
                Some((path, writer)) => writeln!(writer, "{line}").map_err(|e| unwritable(path, e))?,
                None => output.line(&line),
            }
        }
    }
    if let Some((path, mut writer)) = file {
        writer.flush().map_err(|e| unwritable(path, e))?;
        if output.json() {
            output.document(&serde_json::json!({ "entries": seq, "file": path }));
        } else {
            output.line(&format!("{seq} entries written to {}", path.display()));
        }
    }
    Ok(())
}
