//! `perennial policy prove`.

use std::path::PathBuf;

use clap::Args;
use perennial_prove::{Prover, Report, RuleFinding, TIMEOUT_MS, program};

use super::super::{Failure, Output};
use crate::config::Config;
use crate::content;

#[derive(Debug, Args)]
pub(in crate::cli) struct ProveArgs {
    /// Only these promises, without the rules by themselves [default: everything]
    #[arg(value_name = "PROMISE")]
    only: Vec<String>,
    /// The solver's program [default: the variable CVC5, else cvc5 on the path]
    #[arg(long, value_name = "PROGRAM")]
    solver: Option<PathBuf>,
    /// Longest time for one question to the solver, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = TIMEOUT_MS / 1000, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
}

pub(super) fn prove(config: &Config, args: &ProveArgs, output: &Output) -> Result<(), Failure> {
    let (_, policies) = content::compile(config)?;
    let started = config.clock.now();
    let prover = Prover {
        program: args.solver.clone().unwrap_or_else(program),
        threads: std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get),
        timeout_ms: args.timeout * 1000,
        now: started,
    };
    let known: Vec<&str> = policies.gate.promises().iter().map(|p| p.id.as_str()).collect();
    if let Some(other) = args.only.iter().find(|name| !known.contains(&name.as_str())) {
        let text = format!("there is no promise `{other}`; there are {}", known.join(", "));
        return Err(Failure::input(text));
    }
    let report = if args.only.is_empty() {
        prover.prove(&policies.gate)
    } else {
        prover.prove_only(&policies.gate, &args.only.iter().cloned().collect())
    };
    let took_ms = (config.clock.now().us() - started.us()) / 1000;
    let proved: Vec<&str> = report.proved.iter().map(|p| p.promise.as_str()).collect();
    let results = serde_json::json!({
        "ok": report.holds(),
        "proved": proved,
        "broken": report.broken,
        "not_proved": report.not_proved,
        "controls": report.proved,
        "erroring_rules": report.erroring_rules,
        "dead_rules": report.dead_rules,
        "unchecked_rules": report.unchecked_rules,
        "questions": report.questions,
        "took_ms": took_ms,
    });
    if output.json() {
        if report.holds() {
            output.document(&results);
        }
    } else {
        print(&report, took_ms, output);
    }
    if report.holds() {
        return Ok(());
    }
    Err(Failure::failed(why_not(&report)).with_results(results))
}

fn print(report: &Report, took_ms: i64, output: &Output) {
    for proved in &report.proved {
        output.line(&format!("proved {} | control: {}", proved.promise, proved.control));
    }
    for broken in &report.broken {
        let rule = broken.rule.as_deref().unwrap_or("no rule that permits it");
        output.line(&format!(
            "BROKEN {} by {rule} ({}:{}) | {} | replay: {}",
            broken.promise, broken.file, broken.line, broken.counterexample, broken.replay
        ));
        output.line(&format!("  promised: {}", broken.sentence));
    }
    for open in &report.not_proved {
        output.line(&format!("NOT PROVED {}: {}", open.promise, open.why));
    }
    let rules = |word: &str, list: &[RuleFinding]| {
        for rule in list {
            output.line(&format!(
                "{word} {} ({}:{}): {}",
                rule.rule, rule.file, rule.line, rule.why
            ));
        }
    };
    rules("FAILING RULE", &report.erroring_rules);
    rules("UNCHECKED RULE", &report.unchecked_rules);
    rules("dead rule", &report.dead_rules);
    output.line(&format!(
        "{} proved, {} broken, {} not proved; {} questions in {}.{} s",
        report.proved.len(),
        report.broken.len(),
        report.not_proved.len(),
        report.questions,
        took_ms / 1000,
        took_ms % 1000 / 100
    ));
}

/// Why a report does not hold, with what to do.
fn why_not(report: &Report) -> String {
    let mut parts = Vec::new();
    let mut say = |many: usize, one: &str, more: &str| match many {
        0 => {}
        1 => parts.push(format!("1 {one}")),
        _ => parts.push(format!("{many} {more}")),
    };
    say(report.broken.len(), "promise is broken", "promises are broken");
    say(
        report.not_proved.len(),
        "promise is not proved",
        "promises are not proved",
    );
    say(report.erroring_rules.len(), "rule can fail", "rules can fail");
    say(
        report.unchecked_rules.len(),
        "rule is not checked",
        "rules are not checked",
    );
    if parts.is_empty() {
        return "there is no promise: add one to promises/NAME.cedar; `perennial init` writes the shipped ones"
            .to_owned();
    }
    format!(
        "{}: mend the rules that are named, or change the promise",
        parts.join(", ")
    )
}
