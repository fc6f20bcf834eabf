//! `perennial init`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Failure, Output};
use crate::content::{POLICIES, PROMPTS};

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// Folder to write into
    #[arg(default_value = ".")]
    dir: PathBuf,
}

/// The configuration as `init` writes it.
pub(crate) const CONFIG: &str = include_str!("init/perennial.toml");

/// What the files of policies are, for people. It is no part of them.
const README: &str = include_str!("../../../policies/README.md");

pub(super) fn init(args: &InitArgs, output: &Output) -> Result<(), Failure> {
    let files = std::iter::once(("perennial.toml".to_owned(), CONFIG))
        .chain(std::iter::once(("policies/README.md".to_owned(), README)))
        .chain(POLICIES.iter().map(|(name, text)| (format!("policies/{name}"), *text)))
        .chain(PROMPTS.iter().map(|(name, text)| (format!("prompts/{name}"), *text)));
    let files: Vec<(PathBuf, &str)> = files.map(|(name, text)| (args.dir.join(name), text)).collect();
    // Nothing half done: an edited file is never overwritten, and then nothing else is written either.
    if let Some((path, _)) = files.iter().find(|(path, _)| path.exists()) {
        let text = format!(
            "`{}` exists already: init overwrites nothing; choose an empty folder",
            path.display()
        );
        return Err(Failure::input(text));
    }
    for (path, text) in &files {
        write(path, text)?;
    }
    if output.json() {
        output.document(&serde_json::json!({ "files": files.iter().map(|f| &f.0).collect::<Vec<_>>() }));
        return Ok(());
    }
    output.line(&format!("{} files written to {}", files.len(), args.dir.display()));
    output.line("next: edit perennial.toml, map your export (docs/admin/mapping), then");
    output.line("  perennial doctor");
    output.line("  perennial import DIR --mapping FILE");
    output.line("  perennial run --once --dry-run");
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::failed(format!(
            "`{}` cannot be written: {error}; check the folder and its disk",
            path.display()
        ))
    };
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    std::fs::write(path, text).map_err(failed)
}
