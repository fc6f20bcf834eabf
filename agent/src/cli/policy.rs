//! `perennial policy`: check, test and prove the policies, ask them, and help to write them, without a database; and how they come
//! into force, with one.

mod decide;
mod fmt;
mod prove;
mod schema;

use clap::{Args, Subcommand};
use perennial_core::policy::{Policies, Problem, run_cases, unknown_rules};

use super::{Failure, Output, bundle};
use crate::config::Config;
use crate::content;
pub use schema::json_schemas;

#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Name every mistake in every file at once; no solver and no database are needed
    Check,
    /// Ask the tests of tests/*.toml, and say which cells and rules none of them touches
    Test,
    /// Prove the promises of promises/*.cedar for every request there can be; needs the solver cvc5
    Prove(prove::ProveArgs),
    /// Answer requests from standard input, one JSON object a line, with one verdict a line
    Decide(decide::DecideArgs),
    /// Print the schemas that editors complete the files by
    Schema(schema::SchemaArgs),
    /// Format the *.cedar files of the folder
    Fmt(fmt::FmtArgs),
    /// Why an action was proposed, and why it may or may not run; the same as `perennial explain`
    Explain(ExplainArgs),
    #[command(flatten)]
    Bundle(bundle::BundleCommand),
}

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// Action id, or the beginning of one
    action: String,
}

pub(super) async fn policy(config: &Config, command: PolicyCommand, output: &Output) -> Result<(), Failure> {
    match command {
        PolicyCommand::Check => check(config, output),
        PolicyCommand::Test => test(config, output),
        PolicyCommand::Prove(args) => prove::prove(config, &args, output),
        PolicyCommand::Decide(args) => decide::decide(config, &args, output),
        PolicyCommand::Schema(args) => schema::schema(config, &args, output),
        PolicyCommand::Fmt(args) => fmt::fmt(config, &args, output),
        PolicyCommand::Bundle(command) => bundle::bundle(config, command, output).await,
        PolicyCommand::Explain(args) => super::card::explain(config, &args.action, output).await,
    }
}

fn folder(config: &Config) -> String {
    config
        .policies
        .as_ref()
        .map_or_else(|| "the program".to_owned(), |folder| folder.display().to_string())
}

fn check(config: &Config, output: &Output) -> Result<(), Failure> {
    let texts = content::load(config)?;
    let compiled = Policies::compile(&texts).and_then(|policies| match unknown_rules(&policies) {
        problems if problems.is_empty() => Ok(policies),
        problems => Err(problems),
    });
    let policies = match compiled {
        Ok(policies) => policies,
        Err(problems) => return Err(wrong(config, &problems)),
    };
    let warnings = policies.gate.expired(config.clock.now().day());
    if output.json() {
        output.document(&serde_json::json!({ "ok": true, "problems": [], "warnings": warnings }));
        return Ok(());
    }
    for warning in &warnings {
        output.line(&format!("warning: {warning}"));
    }
    output.line(&format!(
        "the policies in `{}` are right: {} rules, {} promises, {} tests, {} playbooks",
        folder(config),
        policies.gate.rules().len(),
        policies.gate.promises().len(),
        policies.cases.len(),
        policies.playbooks.len()
    ));
    Ok(())
}

fn wrong(config: &Config, problems: &[Problem]) -> Failure {
    let results = serde_json::json!({ "ok": false, "problems": problems, "warnings": [] });
    let lines: Vec<String> = problems.iter().map(|problem| format!("  {problem}")).collect();
    let many = if problems.len() == 1 { "problem" } else { "problems" };
    let text = format!(
        "{} {many} in the policies in `{}`:\n{}",
        lines.len(),
        folder(config),
        lines.join("\n")
    );
    Failure::input(text).with_results(results)
}

fn test(config: &Config, output: &Output) -> Result<(), Failure> {
    let (_, policies) = content::compile(config)?;
    let report = run_cases(&policies);
    let ok = report.failed.is_empty() && report.passed > 0;
    let results = serde_json::json!({
        "ok": ok,
        "passed": report.passed,
        "failed": report.failed,
        "uncovered": report.uncovered,
    });
    if output.json() {
        if ok {
            output.document(&results);
        }
    } else {
        for failed in &report.failed {
            output.line(&format!("FAILED {}:{}: {}", failed.file, failed.line, failed.name));
            output.line(&format!("  expected {}, got {}", failed.expected, failed.got));
            for rule in &failed.rules {
                output.line(&format!("  by {} ({}:{}): {}", rule.id, rule.file, rule.line, rule.why));
            }
        }
        for cell in &report.uncovered.cells {
            output.line(&format!(
                "no test touches the cell {} ({}:{})",
                cell.cell, cell.file, cell.line
            ));
        }
        for rule in &report.uncovered.rules {
            output.line(&format!(
                "no test touches the rule {} ({}:{})",
                rule.id, rule.file, rule.line
            ));
        }
        output.line(&format!("{} passed, {} failed", report.passed, report.failed.len()));
    }
    if ok {
        return Ok(());
    }
    let text = match report.failed.len() {
        0 => "there is no test: add one to tests/NAME.toml; `perennial init` writes the shipped ones".to_owned(),
        1 => "1 test failed: mend the rules, or say in the test what is wanted now".to_owned(),
        many => format!("{many} tests failed: mend the rules, or say in the tests what is wanted now"),
    };
    Err(Failure::failed(text).with_results(results))
}
