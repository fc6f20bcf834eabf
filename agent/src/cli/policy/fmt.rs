//! `perennial policy fmt`: one form for the *.cedar files. TOML is left as people wrote it.

use cedar_policy_formatter::{Config as Form, policies_str_to_pretty};
use clap::Args;

use super::super::{Failure, Output};
use crate::config::Config;
use crate::content;

#[derive(Debug, Args)]
pub(in crate::cli) struct FmtArgs {
    /// Change nothing; fail where a file would change
    #[arg(long)]
    check: bool,
}

/// Columns of a line, as in the shipped files.
const WIDTH: usize = 110;
const INDENT: isize = 4;

/// A file in its form; nothing where it holds no rule (a file of comments stays as it is).
///
/// # Errors
/// What the formatter says.
fn formatted(text: &str) -> Result<Option<String>, String> {
    let code = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
    if !text.lines().any(code) {
        return Ok(None);
    }
    let form = Form {
        line_width: WIDTH,
        indent_width: INDENT,
    };
    let pretty = policies_str_to_pretty(text, &form).map_err(|error| format!("{error:?}"))?;
    Ok(Some(format!("{}\n", pretty.trim_end())))
}

pub(super) fn fmt(config: &Config, args: &FmtArgs, output: &Output) -> Result<(), Failure> {
    let Some(folder) = &config.policies else {
        return Err(Failure::input(
            "the policies are built into the program: name a folder with --policies, or write one with `perennial init`",
        ));
    };
    let texts = content::load(config)?.policies;
    let rules = texts.iter().filter(|(name, _)| name.ends_with(".cedar"));
    let mut changed = Vec::new();
    let mut wrong = Vec::new();
    for (name, text) in rules {
        match formatted(text) {
            Ok(Some(pretty)) if pretty != *text => changed.push((name, pretty)),
            Ok(Some(_) | None) => {}
            Err(_) => wrong.push(name.as_str()),
        }
    }
    if !wrong.is_empty() {
        let text = format!(
            "{} cannot be read as Cedar, and nothing was changed: `perennial policy check` names the lines",
            wrong.join(", ")
        );
        return Err(Failure::input(text));
    }
    let names: Vec<&str> = changed.iter().map(|(name, _)| name.as_str()).collect();
    let results = serde_json::json!({ "files": names });
    if !args.check {
        for (name, pretty) in &changed {
            let path = folder.join(name.as_str());
            std::fs::write(&path, pretty)
                .map_err(|error| Failure::failed(format!("`{}` cannot be written: {error}", path.display())))?;
        }
    }
    if !output.json() {
        let word = if args.check { "would change" } else { "formatted" };
        for name in &names {
            output.line(&format!("{word} {name}"));
        }
    }
    if args.check && !names.is_empty() {
        let text = format!("{} would change: `perennial policy fmt` formats them", names.join(", "));
        return Err(Failure::failed(text).with_results(results));
    }
    if output.json() {
        output.document(&results);
    }
    Ok(())
}
