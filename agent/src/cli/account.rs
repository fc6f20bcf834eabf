//! `perennial account`.

mod diff;
mod families;
mod set;

use std::collections::BTreeMap;

use clap::Subcommand;
use perennial_core::decide::Decision;
use perennial_core::detect::{Detection, State as SignalState};
use perennial_core::feature::State;
use perennial_core::ids::AccountId;
use perennial_core::number::Micro;
use perennial_core::replay::read;
use perennial_core::score::Contribution;
use perennial_core::time::Timestamp;
use perennial_store::{PlayFilter, Store};
use serde_json::{Value, json};

use super::output::{Need, amount, open};
use super::people_queue::item;
use super::{Failure, Output, time_argument};
use crate::config::Config;
use crate::content;
use crate::history::{History, Past};

#[derive(Debug, Subcommand)]
pub(super) enum AccountCommand {
    /// Every account with its scores, the highest revenue at risk first
    List {
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// Parent accounts with all that belong to them instead, the lowest health first
        #[arg(long)]
        families: bool,
    },
    /// One account: scores with contributions, renewals, facts, actions
    Show {
        /// Account id
        id: String,
        /// Weeks of past scores
        #[arg(long, default_value_t = 26, value_parser = clap::value_parser!(u32).range(1..=260))]
        weeks: u32,
    },
    /// Why the scores of an account moved between two dates: exact terms, and the records that are new
    Diff {
        /// Account id
        id: String,
        /// First date
        #[arg(value_parser = time_argument)]
        from: Timestamp,
        /// Second date
        #[arg(value_parser = time_argument)]
        to: Timestamp,
    },
    /// Put your own judgement in place of a score, with a reason and a last day
    Set(set::SetArgs),
}

/// Accounts read at once.
const PAGE: u32 = 500;

fn no_account(id: &AccountId) -> Failure {
    Failure::input(format!(
        "there is no account `{id}`: `perennial account list` shows those there are"
    ))
}

pub(super) async fn account(config: &Config, command: AccountCommand, output: &Output) -> Result<(), Failure> {
    let store = open(config, Need::Existing).await?;
    match command {
        AccountCommand::List { limit, families: false } => list(&store, limit, output).await,
        AccountCommand::List { limit, families: true } => families::list(config, &store, limit, output).await,
        AccountCommand::Show { id, weeks } => show(config, &store, &AccountId::new(id), weeks, output).await,
        AccountCommand::Diff { id, from, to } => {
            diff::diff(config, &store, &AccountId::new(id), (from, to), output).await
        }
        AccountCommand::Set(args) => set::set(config, &store, args, output).await,
    }
}

struct Line {
    json: Value,
    at_risk_minor: i64,
    cells: Vec<String>,
}

async fn list(store: &Store, limit: usize, output: &Output) -> Result<(), Failure> {
    let mut lines = Vec::new();
    let mut after: Option<AccountId> = None;
    loop {
        let page = store.account_ids(after.as_ref(), PAGE).await?;
        let Some(last) = page.last().cloned() else { break };
        let latest = store.latest_decisions(&page).await?;
        for id in &page {
            lines.push(match latest.get(id) {
                Some(row) => line(id, Some(read("decision", &row.output.text()?)?)),
                None => line(id, None),
            });
        }
        after = Some(last);
    }
    lines.sort_by_key(|l| std::cmp::Reverse(l.at_risk_minor));
    let total = lines.len();
    lines.truncate(limit);
    if output.json() {
        output.document(&lines.into_iter().map(|l| l.json).collect::<Vec<_>>());
    } else {
        output.table(
            &[
                "account",
                "tier",
                "revenue a year",
                "health",
                "risk",
                "renewal",
                "proposed",
            ],
            lines.into_iter().map(|l| l.cells),
        );
    }
    if total > limit {
        eprintln!("! the first {limit} of {total}; --limit shows more");
    }
    Ok(())
}

fn percent(value: Option<Micro>) -> String {
    value.map_or_else(
        || "cannot assess".to_owned(),
        |v| format!("{} %", Micro(v.0 * 100).display(0)),
    )
}

fn points(value: Option<Micro>) -> String {
    value.map_or_else(|| "cannot assess".to_owned(), |v| v.display(0))
}

fn line(id: &AccountId, decision: Option<Decision>) -> Line {
    let Some(d) = decision else {
        let json = json!({ "account": id, "decided": false });
        let cells = vec![
            id.as_str().to_owned(),
            "not decided yet: `perennial run --once`".to_owned(),
        ];
        return Line {
            json,
            at_risk_minor: -1,
            cells,
        };
    };
    let f = &d.features;
    let arr = f.money("arr");
    let risk = d.scores.risk.probability_micro;
    let at_risk = arr.zip(risk).map_or(0.0, |(a, r)| a.minor as f64 * r.to_f64());
    let actions: Vec<&str> = d.proposals.iter().map(|p| p.playbook.as_str()).collect();
    let json = json!({
        "account": id,
        "decided": true,
        "as_of": d.as_of,
        "tier": f.text("tier"),
        "arr_minor": arr.map(|a| a.minor),
        "currency": arr.map(|a| a.currency.code()),
        "health": d.scores.health.score_micro.map(Micro::to_f64),
        "health_confidence": d.scores.health.confidence_micro.to_f64(),
        "band": d.scores.health.band,
        "risk": risk.map(Micro::to_f64),
        "expansion": d.scores.expansion.score_micro.map(Micro::to_f64),
        "renewal_date": f.day("renewal_date"),
        "proposed": actions,
    });
    let cells = vec![
        id.as_str().to_owned(),
        f.text("tier").unwrap_or("not known").replace('_', "-"),
        amount(arr.map(|a| a.minor), arr.map(|a| a.currency.code())),
        points(d.scores.health.score_micro),
        percent(risk),
        f.display("renewal_date"),
        actions.join(", "),
    ];
    Line {
        json,
        at_risk_minor: at_risk as i64,
        cells,
    }
}

fn contributions(list: &[Contribution]) -> Vec<Value> {
    list.iter()
        .map(|c| {
            json!({
                "fact": c.fact,
                "group": c.group,
                "value": c.value,
                "evidence": c.evidence,
                "points": c.points_micro.map(Micro::to_f64),
                "adds": c.adds_micro.to_f64(),
            })
        })
        .collect()
}

/// Plays of an account that are shown, the latest.
const PLAYS: u32 = 50;

async fn show(config: &Config, store: &Store, id: &AccountId, weeks: u32, output: &Output) -> Result<(), Failure> {
    let Some(history) = History::read(store, id).await? else {
        return Err(no_account(id));
    };
    let decided = store.decisions_of(id, 1).await?;
    let Some(latest) = decided.first() else {
        return Err(Failure::input(format!(
            "nothing was decided about `{id}` yet: `perennial run --once`"
        )));
    };
    let d: Decision = read("decision", &latest.output.text()?)?;
    let actions = store
        .actions_of(std::slice::from_ref(id))
        .await?
        .remove(id)
        .unwrap_or_default();
    let plays = store
        .plays(&PlayFilter {
            account: Some(id.clone()),
            limit: PLAYS,
        })
        .await?;
    let (_, policies) = content::compile(config)?;
    let past = history.weekly(latest.as_of, weeks, &policies);
    let trend = (
        history.at(latest.as_of.plus_days(-policies.scoring.trend_days), &policies),
        policies.scoring.trend_days,
    );
    let family = families::of_account(store, id, latest.as_of, &policies).await?;
    if output.json() {
        let features: BTreeMap<&String, Value> = d
            .features
            .0
            .iter()
            .map(|(name, f)| {
                let value = match &f.state {
                    State::Known(v) => json!({ "value": v, "text": d.features.display(name) }),
                    State::Unknown(field) => json!({ "missing": field }),
                };
                (name, json!({ "state": value, "evidence": f.evidence, "records": f.records, "records_total": f.records_total, "as_of": f.as_of, "stale": f.stale }))
            })
            .collect();
        let s = &d.scores;
        output.document(&json!({
            "account": id,
            "as_of": d.as_of,
            "decision": latest.id,
            "scores": {
                "health": { "score": s.health.score_micro.map(Micro::to_f64), "band": s.health.band, "confidence": s.health.confidence_micro.to_f64(), "contributions": contributions(&s.health.contributions), "missing": s.health.missing, "overridden": s.health.overridden },
                "risk": { "probability": s.risk.probability_micro.map(Micro::to_f64), "log_odds": s.risk.log_odds_micro.to_f64(), "intercept": s.risk.intercept_micro.to_f64(), "contributions": contributions(&s.risk.contributions), "missing": s.risk.missing, "overridden": s.risk.overridden },
                "expansion": { "score": s.expansion.score_micro.map(Micro::to_f64), "contributions": contributions(&s.expansion.contributions), "missing": s.expansion.missing, "overridden": s.expansion.overridden },
            },
            "signals": d.signals,
            "postures": s.postures,
            "features": features,
            "actions": actions.iter().map(item).collect::<Vec<_>>(),
            "plays": plays.iter().map(super::plays::document).collect::<Vec<_>>(),
            "notes": d.notes,
            "cards": s.cards,
            "family": family.as_ref().and_then(|f| f.score.as_ref()),
            "family_fault": family.as_ref().and_then(|f| f.fault.as_ref()),
            "trend_days": trend.1,
            "trend": { "health": trend.0.scores.health.score_micro.map(Micro::to_f64), "risk": trend.0.scores.risk.probability_micro.map(Micro::to_f64) },
            "history": past.iter().map(|p| json!({ "as_of": p.as_of, "health": p.scores.health.score_micro.map(Micro::to_f64), "risk": p.scores.risk.probability_micro.map(Micro::to_f64) })).collect::<Vec<_>>(),
        }));
        return Ok(());
    }
    print(id, &d, &past, &trend, output);
    if let Some(family) = &family {
        families::print(family, d.features.money("arr").map(|a| a.currency.code()), output);
    }
    if !actions.is_empty() {
        output.heading("actions");
        output.table(
            &["id", "day", "state", "what"],
            actions.iter().rev().map(|a| {
                vec![
                    a.id.as_str().chars().take(12).collect(),
                    a.as_of.day().to_string(),
                    a.state.as_str().to_owned(),
                    a.title.clone(),
                ]
            }),
        );
    }
    if !plays.is_empty() {
        output.heading("plays");
        super::plays::table(&plays, output);
    }
    if !d.notes.is_empty() {
        output.heading("left out, and why");
        for note in &d.notes {
            let playbook = note.playbook.as_ref().map_or_else(String::new, |p| format!("{p}: "));
            output.line(&format!("{playbook}{}", note.text));
        }
    }
    Ok(())
}

/// Health and risk week by week, each week a column, so that a slow decline is seen at a glance.
fn charts(d: &Decision, past: &[Past], (before, days): &(Past, i64), output: &Output) {
    let health: Vec<Option<f64>> = past
        .iter()
        .map(|p| p.scores.health.score_micro.map(Micro::to_f64))
        .collect();
    let risk: Vec<Option<f64>> = past
        .iter()
        .map(|p| p.scores.risk.probability_micro.map(|v| v.to_f64() * 100.0))
        .collect();
    let moved = |now: Option<Micro>, then: Option<Micro>, scale: f64| match now.zip(then) {
        Some((now, then)) => format!("{:+.0} in {days} days", (now.to_f64() - then.to_f64()) * scale),
        None => format!("{days} days ago: cannot assess"),
    };
    let (s, b) = (&d.scores, &before.scores);
    output.heading(&format!(
        "the last {} weeks, by the policies as they are now",
        past.len().saturating_sub(1)
    ));
    output.line(&format!(
        "health {} {}",
        sparkline(&health),
        moved(s.health.score_micro, b.health.score_micro, 1.0)
    ));
    output.line(&format!(
        "risk   {} {}",
        sparkline(&risk),
        moved(s.risk.probability_micro, b.risk.probability_micro, 100.0)
    ));
    for card in &s.cards {
        let parts: Vec<String> = card
            .parts
            .iter()
            .filter(|p| !p.subject.is_empty())
            .map(|p| format!("{} {}", p.subject, points(p.index.score_micro)))
            .collect();
        let why = card
            .missing
            .as_ref()
            .map_or_else(String::new, |m| format!(" (missing: {m})"));
        let parts = if parts.is_empty() {
            String::new()
        } else {
            format!("  {}", parts.join(", "))
        };
        output.line(&format!(
            "{} {}{why}{parts}",
            card.name.replace('_', " "),
            points(card.score_micro)
        ));
    }
}

fn signed(value: Micro, places: usize) -> String {
    let text = value.display(places);
    if value.0 < 0 { text } else { format!("+{text}") }
}

/// A value from 0 to 100 a column; a point where it is not known.
fn sparkline(values: &[Option<f64>]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    values
        .iter()
        .map(|value| value.map_or('·', |v| BARS[((v.clamp(0.0, 99.999) / 100.0) * 8.0) as usize]))
        .collect()
}

/// What has changed; what cannot be judged is in the JSON form.
fn signals(found: &[Detection], output: &Output) {
    let rows: Vec<Vec<String>> = found
        .iter()
        .filter_map(|d| {
            let (state, episode) = match &d.state {
                SignalState::Open(episode) => ("open", episode),
                SignalState::Confirmed(episode) => ("confirmed", episode),
                SignalState::Cleared(episode) => ("cleared", episode),
                SignalState::Unknown { .. } => return None,
            };
            Some(vec![
                d.detector.as_str().replace('_', " "),
                state.to_owned(),
                episode.opened.to_string(),
                format!("{} {}", episode.value_micro.display(2), d.detector.unit()),
                episode.subject.clone().unwrap_or_default(),
            ])
        })
        .collect();
    if !rows.is_empty() {
        output.heading("signals");
        output.table(&["what changed", "state", "since", "value", "who or what"], rows);
    }
}

fn print(id: &AccountId, d: &Decision, past: &[Past], trend: &(Past, i64), output: &Output) {
    let f = &d.features;
    output.line(&output.bold(&format!(
        "{id}  {}  {} a year  as of {}",
        f.display("tier"),
        f.display("arr"),
        d.as_of
    )));
    let s = &d.scores;
    output.line(&format!(
        "health {} of 100 (higher is healthier)   risk of not renewing {}   expansion {} of 100",
        points(s.health.score_micro),
        percent(s.risk.probability_micro),
        points(s.expansion.score_micro)
    ));
    charts(d, past, trend, output);
    for (name, overridden) in [
        ("health", &s.health.overridden),
        ("risk", &s.risk.overridden),
        ("expansion", &s.expansion.overridden),
    ] {
        if let Some(o) = overridden {
            let by = o.by.as_ref().map_or("somebody", |by| by.as_str());
            let computed = o
                .computed_micro
                .map_or_else(|| "cannot assess".to_owned(), |v| v.display(0));
            output.line(&format!(
                "! {name} was set by {by} until {}: {} (the engine says {computed})",
                o.until, o.reason
            ));
        }
    }
    output.heading("health, by what adds to it");
    output.table(
        &["adds", "of", "fact", "value"],
        s.health.contributions.iter().map(|c| {
            let points = c
                .points_micro
                .map_or_else(String::new, |p| format!("{} points", p.display(0)));
            vec![
                signed(c.adds_micro, 2),
                points,
                perennial_core::feature::label(&c.fact),
                c.value.clone(),
            ]
        }),
    );
    for m in &s.health.missing {
        output.line(&output.dim(&format!(
            "not known: {} (missing: {})",
            perennial_core::feature::label(&m.fact),
            m.field
        )));
    }
    signals(&d.signals, output);
    if !s.postures.is_empty() {
        output.heading("renewals");
        output.table(
            &["what", "end", "days", "window", "posture", "drivers"],
            s.postures.iter().map(|p| {
                let state = match &p.missing {
                    Some(field) => format!("cannot assess (missing: {field})"),
                    None => p.state.as_str().replace('_', " "),
                };
                vec![
                    p.label.clone(),
                    p.end.map_or_else(
                        || "not known".to_owned(),
                        |e| {
                            if p.derived {
                                format!("{e} (derived)")
                            } else {
                                e.to_string()
                            }
                        },
                    ),
                    p.days_left.map_or_else(String::new, |d| d.to_string()),
                    p.window.map_or_else(String::new, |w| w.to_string()),
                    state,
                    p.drivers.join(", "),
                ]
            }),
        );
    }
}
