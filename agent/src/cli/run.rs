//! `perennial run`.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use perennial_core::time::Timestamp;
use tokio::sync::watch;

use super::output::{Need, open, progress_bar};
use super::worker::ProbeArgs;
use super::{Failure, Output, time_argument, walk};
use crate::config::Config;
use crate::cycle::{Engine, Progress, RunOptions, RunReport, Step, run_once, watch};

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Run once and end
    #[arg(long, conflicts_with = "every", required_unless_present_any = ["every", "watch"])]
    once: bool,
    /// Go through all accounts once a day, and take up what is new about an account within seconds
    #[arg(long, conflicts_with_all = ["once", "every", "as_of", "dry_run", "shadow"])]
    watch: bool,
    #[command(flatten)]
    probes: ProbeArgs,
    /// Run again and again, such as 15m, 1h, 1d; with --shadow from one step to the next
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    every: Option<Duration>,
    /// Decide with what was known then [default: now]
    #[arg(long, value_name = "TIME", value_parser = time_argument)]
    as_of: Option<Timestamp>,
    /// Decide and report, write nothing to database or CRM
    #[arg(long)]
    dry_run: bool,
    /// Threads that decide; the result is the same with any number [default: all cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Walk through past time: at each step decide about the whole book with what was known by then, and write nothing
    #[arg(long, requires_all = ["from", "to", "every"], conflicts_with_all = ["once", "as_of", "dry_run"])]
    shadow: bool,
    /// First step of a walk
    #[arg(long, value_name = "TIME", value_parser = time_argument, requires = "shadow")]
    from: Option<Timestamp>,
    /// No step of a walk is later
    #[arg(long, value_name = "TIME", value_parser = time_argument, requires = "shadow")]
    to: Option<Timestamp>,
    /// Actions shown of each step's order of work [default: 20]
    #[arg(long, value_name = "N", requires = "shadow")]
    top: Option<usize>,
    /// Write a walk into scores.csv, signals.csv and ranking.csv of this folder too
    #[arg(long, value_name = "DIR", requires = "shadow")]
    out: Option<PathBuf>,
}

/// Actions of a step's order of work where nobody asks for another number.
const TOP: usize = 20;

/// `90s`, `15m`, `1h`, `1d`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no duration: write a number with s, m, h or d, such as 15m");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - unit.len_utf8()].parse().map_err(|_| wrong())?;
    match number.checked_mul(seconds) {
        Some(0) | None => Err(wrong()),
        Some(total) => Ok(Duration::from_secs(total)),
    }
}

pub(super) async fn run(config: &Config, args: &RunArgs, output: &Output) -> Result<(), Failure> {
    let mut config = config.clone();
    if let Some(threads) = args.threads {
        config.limits.threads = threads;
    }
    if let (true, Some(from), Some(to), Some(every)) = (args.shadow, args.from, args.to, args.every) {
        let steps = walk::options(from, to, every, args.top.unwrap_or(TOP));
        return walk::shadow(&config, &steps, args.out.as_deref(), output).await;
    }
    let store = open(&config, Need::Existing).await?;
    // First, so that what the tools tell is recorded from the beginning.
    let probes = args.probes.start(&config, &store).await?;
    let tools = config.tools_of(&store).map_err(Failure::input)?;
    let stop = stop_signal();
    let engine = Engine {
        config: &config,
        store: &store,
        tools: &tools,
        stop: stop.clone(),
    };
    if args.watch {
        let outcome = watch(&engine, &mut |step| told(output, &config, step)).await;
        drop(probes);
        store.close().await;
        return outcome.map_err(Failure::from);
    }
    loop {
        let as_of = args.as_of.unwrap_or_else(|| config.clock.now());
        let options = RunOptions {
            as_of,
            live: args.as_of.is_none(),
            dry_run: args.dry_run,
        };
        let bar = progress_bar(output, "deciding");
        let report = run_once(&engine, &options, &mut |p| match p {
            Progress::Accounts(n) => bar.set_message(format!("{n} accounts decided")),
            Progress::Effects(n) => bar.set_message(format!("{n} effects carried out")),
        })
        .await?;
        bar.finish_and_clear();
        print(output, &report, tools.crms().next().is_some());
        if report.interrupted {
            store.close().await;
            return Err(Failure::interrupted());
        }
        let Some(every) = args.every else {
            break;
        };
        let mut stop = stop.clone();
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            _ = stop.changed() => break,
        }
    }
    store.close().await;
    Ok(())
}

/// Says what a step of the standing run did: nothing when it changed nothing.
fn told(output: &Output, config: &Config, step: &Step) {
    let now = config.clock.now();
    match step {
        Step::Idle | Step::Pass { .. } => {}
        Step::PassDone(report) if output.json() => {
            output.line(&serde_json::json!({ "at": now, "pass": report }).to_string());
        }
        Step::PassDone(report) => print(output, report, true),
        Step::Due {
            accounts,
            decisions_new,
            actions,
        } => {
            if output.json() {
                let due =
                    serde_json::json!({ "accounts": accounts, "decisions_new": decisions_new, "actions": actions });
                output.line(&serde_json::json!({ "at": now, "due": due }).to_string());
            } else if *decisions_new > 0 {
                let a = actions;
                output.line(&format!(
                    "{now}: {} accounts with something new, {decisions_new} decided anew: {} actions run by themselves, \
                     {} wait for a person, {} advised, {} denied",
                    accounts.len(),
                    a.auto,
                    a.waiting,
                    a.advised,
                    a.denied
                ));
            }
        }
    }
}

/// Turns true at the first Ctrl-C or termination signal; a second one ends the program at once.
pub(crate) fn stop_signal() -> watch::Receiver<bool> {
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        interrupted().await;
        // Nobody may read it any more: a print that fails must not keep the word from those who wait for it.
        let _ = std::io::stderr().write_all(b"stopping at the next safe point; once more to end at once\n");
        // Nobody listens any more when the command has just ended.
        let _ = sender.send(true);
        interrupted().await;
        std::process::exit(130);
    });
    receiver
}

async fn interrupted() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    // Without a signal handler there is nothing to wait for: the signal ends the program by itself.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn print(output: &Output, report: &RunReport, connected: bool) {
    if output.json() {
        output.document(report);
        return;
    }
    let a = &report.actions;
    if report.interrupted {
        output.line("stopped before the end; run again to continue from here");
    }
    output.line(&format!(
        "{} accounts as of {}{}",
        report.accounts,
        report.as_of,
        if report.dry_run {
            " (dry run: nothing was written)"
        } else {
            ""
        }
    ));
    output.line(&format!(
        "actions: {} run by themselves, {} wait for a person, {} advised, {} denied, {} put off because the day is full",
        a.auto, a.waiting, a.advised, a.denied, a.deferred
    ));
    for stop in &report.stopped {
        output.line(&format!("! stopped: {stop}"));
    }
    for line in &report.autonomy {
        output.line(&format!("! {line}"));
    }
    let e = &report.effects;
    output.line(&format!(
        "effects in CRMs: {} done, {} waiting, {} unknown, {} failed, {} in conflict with somebody's edit",
        e.done, e.waiting, e.unknown, e.failed, e.conflicts
    ));
    for calls in &report.calls {
        let mark = if calls.refused_until.is_some() { "! " } else { "" };
        output.line(&format!("{mark}{}", calls.sentence()));
    }
    if !report.playbooks.is_empty() {
        output.heading("proposed, by playbook");
        output.table(
            &["playbook", "accounts"],
            report.playbooks.iter().map(|(k, v)| vec![k.clone(), v.to_string()]),
        );
    }
    if !report.days.is_empty() {
        output.heading("each person's day");
        output.table(
            &["person", "planned", "minutes", "of", "left over"],
            report.days.iter().map(|d| {
                let name = d
                    .name
                    .clone()
                    .or_else(|| d.owner.as_ref().map(|o| o.as_str().to_owned()));
                vec![
                    name.unwrap_or_else(|| "(nobody owns these accounts)".to_owned()),
                    d.planned.to_string(),
                    d.planned_minutes.to_string(),
                    d.capacity_minutes.to_string(),
                    d.left_over.to_string(),
                ]
            }),
        );
    }
    if e.waiting > 0 && !connected {
        output.line("\n! no CRM is configured, so the effects wait: see docs/operator/configuration, or try `perennial sandbox`");
    }
    output.line(&output.dim(&format!("decisions {}", report.decisions_hash)));
}
