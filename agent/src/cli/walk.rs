//! `perennial run --shadow`: the whole book step by step through past time, as lines, as JSON or as files.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use perennial_core::time::Timestamp;
use serde::Serialize;

use super::output::{Need, open, progress_bar};
use super::{Failure, Output};
use crate::changes::ChangeRow;
use crate::config::Config;
use crate::content;
use crate::ranking::RankedAction;
use crate::walk::{ScoreRow, Step, Walk, WalkOptions, walk};

/// Walks, with progress for a person who watches.
pub(super) async fn walked(config: &Config, options: &WalkOptions, output: &Output) -> Result<Walk, Failure> {
    let times = options.times().map_err(Failure::input)?;
    let (_, policies) = content::compile(config)?;
    let store = open(config, Need::Existing).await?;
    let bar = progress_bar(output, "walking");
    let mut progress = |n: u64| bar.set_message(format!("{n} accounts, {} steps each", times.len()));
    let walked = walk(config, &store, &Arc::new(policies), &times, options.top, &mut progress).await;
    bar.finish_and_clear();
    store.close().await;
    Ok(walked?)
}

pub(super) async fn shadow(
    config: &Config,
    options: &WalkOptions,
    out: Option<&Path>,
    output: &Output,
) -> Result<(), Failure> {
    let Walk { steps, .. } = walked(config, options, output).await?;
    if let Some(folder) = out {
        files(folder, &steps).map_err(|error| {
            Failure::failed(format!(
                "the walk cannot be written to `{}`: {error}; name a folder that can be written to",
                folder.display()
            ))
        })?;
    }
    if output.json() {
        for step in &steps {
            let line = serde_json::to_string(step).map_err(Failure::failed)?;
            output.line(&line);
        }
        return Ok(());
    }
    output.table(
        &[
            "as of",
            "accounts",
            "assessed",
            "signals opened",
            "confirmed",
            "cleared",
            "proposals",
            "first in the order of work",
        ],
        steps.iter().map(|step| {
            vec![
                step.as_of.to_string(),
                step.accounts.to_string(),
                step.assessed.to_string(),
                step.opened.to_string(),
                step.confirmed.to_string(),
                step.cleared.to_string(),
                step.proposals.to_string(),
                step.ranking
                    .first()
                    .map_or_else(String::new, |a| format!("{}: {}", a.account, a.title)),
            ]
        }),
    );
    output.line(&output.dim("in the shadow: nothing was written to database or CRM"));
    Ok(())
}

/// A row of a file: the time of the step before the rest. Lists stand in one cell, with `; ` between.
fn files(folder: &Path, steps: &[Step]) -> Result<(), csv::Error> {
    std::fs::create_dir_all(folder)?;
    let of = |name: &str| -> PathBuf { folder.join(name) };
    write(&of("scores.csv"), steps, |s| &s.scores, SCORES, score_cells)?;
    write(&of("signals.csv"), steps, |s| &s.signals, SIGNALS, signal_cells)?;
    write(&of("ranking.csv"), steps, |s| &s.ranking, RANKING, ranking_cells)
}

fn write<T>(
    path: &Path,
    steps: &[Step],
    list: fn(&Step) -> &Vec<T>,
    header: &[&str],
    cells: fn(&T) -> Vec<String>,
) -> Result<(), csv::Error> {
    let mut writer = csv::Writer::from_writer(std::io::BufWriter::new(File::create(path)?));
    writer.write_record(header)?;
    for step in steps {
        for row in list(step) {
            let time = std::iter::once(step.as_of.to_string());
            writer.write_record(time.chain(cells(row)))?;
        }
    }
    writer.flush()?;
    Ok(())
}

/// A value as its JSON has it, without quotation marks; nothing where it is not known.
fn cell(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        Ok(serde_json::Value::Null) | Err(_) => String::new(),
        Ok(other) => other.to_string(),
    }
}

const SCORES: &[&str] = &[
    "as_of",
    "account",
    "health",
    "band",
    "confidence",
    "risk",
    "expansion",
    "posture",
    "renewal_date",
    "arr_minor",
    "currency",
];

fn score_cells(row: &ScoreRow) -> Vec<String> {
    vec![
        cell(&row.account),
        cell(&row.health),
        cell(&row.band),
        cell(&row.confidence),
        cell(&row.risk),
        cell(&row.expansion),
        cell(&row.posture),
        cell(&row.renewal_date),
        cell(&row.arr_minor),
        cell(&row.currency),
    ]
}

const SIGNALS: &[&str] = &[
    "as_of",
    "account",
    "kind",
    "state",
    "opened_at",
    "confirmed_at",
    "cleared_at",
    "severity",
    "value",
    "baseline",
    "unit",
    "subject",
    "owner",
    "arr_minor",
    "currency",
    "evidence",
    "evidence_total",
];

fn signal_cells(row: &ChangeRow) -> Vec<String> {
    let records: Vec<String> = row.evidence.iter().map(ToString::to_string).collect();
    vec![
        cell(&row.account),
        cell(&row.kind),
        cell(&row.state),
        cell(&row.opened_at),
        cell(&row.confirmed_at),
        cell(&row.cleared_at),
        cell(&row.severity),
        cell(&row.value),
        cell(&row.baseline),
        cell(&row.unit),
        cell(&row.subject),
        cell(&row.owner),
        cell(&row.arr_minor),
        cell(&row.currency),
        records.join("; "),
        cell(&row.evidence_total),
    ]
}

const RANKING: &[&str] = &[
    "as_of",
    "rank",
    "account",
    "action",
    "value_minor",
    "minutes",
    "probability",
    "uplift",
    "per_minute",
    "next_value_minor",
    "currency",
    "arr_minor",
    "owner",
    "playbook",
    "subject",
    "title",
    "level",
    "verdict",
    "due",
    "reasons",
];

fn ranking_cells(row: &RankedAction) -> Vec<String> {
    vec![
        cell(&row.rank),
        cell(&row.account),
        cell(&row.action),
        cell(&row.value_minor),
        cell(&row.minutes),
        cell(&row.probability),
        cell(&row.uplift),
        cell(&row.per_minute),
        cell(&row.next_value_minor),
        cell(&row.currency),
        cell(&row.arr_minor),
        cell(&row.owner),
        cell(&row.playbook),
        cell(&row.subject),
        cell(&row.title),
        cell(&row.level),
        cell(&row.verdict),
        cell(&row.due),
        row.reasons.join("; "),
    ]
}

/// The steps that three arguments name.
pub(super) fn options(from: Timestamp, to: Timestamp, every: std::time::Duration, top: usize) -> WalkOptions {
    WalkOptions {
        from,
        to,
        every_us: i64::try_from(every.as_micros()).unwrap_or(i64::MAX),
        top,
    }
}
