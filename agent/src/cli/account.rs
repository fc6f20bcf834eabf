//! `perennial account`.

use std::collections::BTreeMap;

use clap::Subcommand;
use perennial_core::decide::Decision;
use perennial_core::detect::{Detection, State as SignalState};
use perennial_core::feature::State;
use perennial_core::ids::AccountId;
use perennial_core::number::Micro;
use perennial_core::replay::read;
use perennial_core::score::Contribution;
use perennial_store::{DecisionRow, Store};
use serde_json::{Value, json};

use super::output::{Need, amount, open};
use super::people_queue::item;
use super::{Failure, Output};
use crate::config::Config;

#[derive(Debug, Subcommand)]
pub(super) enum AccountCommand {
    /// Every account with its scores, the highest revenue at risk first
    List {
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// One account: scores with contributions, renewals, facts, actions
    Show {
        /// Account id
        id: String,
    },
}

/// Accounts read at once.
const PAGE: u32 = 500;
/// Past decisions that `show` lists.
const HISTORY: u32 = 12;

pub(super) async fn account(config: &Config, command: AccountCommand, output: &Output) -> Result<(), Failure> {
    let store = open(config, Need::Existing).await?;
    match command {
        AccountCommand::List { limit } => list(&store, limit, output).await,
        AccountCommand::Show { id } => show(&store, &AccountId::new(id), output).await,
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

async fn show(store: &Store, id: &AccountId, output: &Output) -> Result<(), Failure> {
    let history = store.decisions_of(id, HISTORY).await?;
    let Some(latest) = history.first() else {
        let known = store.account_signals(std::slice::from_ref(id)).await?;
        return Err(Failure::input(if known.contains_key(id) {
            format!("nothing was decided about `{id}` yet: `perennial run --once`")
        } else {
            format!("there is no account `{id}`: `perennial account list` shows those there are")
        }));
    };
    let d: Decision = read("decision", &latest.output.text()?)?;
    let actions = store
        .actions_of(std::slice::from_ref(id))
        .await?
        .remove(id)
        .unwrap_or_default();
    let past = past_scores(&history)?;
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
                (name, json!({ "state": value, "evidence": f.evidence, "records": f.records, "records_total": f.records_total, "as_of": f.as_of }))
            })
            .collect();
        let s = &d.scores;
        output.document(&json!({
            "account": id,
            "as_of": d.as_of,
            "decision": latest.id,
            "scores": {
                "health": { "score": s.health.score_micro.map(Micro::to_f64), "band": s.health.band, "confidence": s.health.confidence_micro.to_f64(), "contributions": contributions(&s.health.contributions), "missing": s.health.missing },
                "risk": { "probability": s.risk.probability_micro.map(Micro::to_f64), "log_odds": s.risk.log_odds_micro.to_f64(), "intercept": s.risk.intercept_micro.to_f64(), "contributions": contributions(&s.risk.contributions), "missing": s.risk.missing },
                "expansion": { "score": s.expansion.score_micro.map(Micro::to_f64), "contributions": contributions(&s.expansion.contributions), "missing": s.expansion.missing },
            },
            "signals": d.signals,
            "postures": s.postures,
            "features": features,
            "actions": actions.iter().map(item).collect::<Vec<_>>(),
            "notes": d.notes,
            "history": past.iter().map(|(at, h, r)| json!({ "as_of": at, "health": h.map(Micro::to_f64), "risk": r.map(Micro::to_f64) })).collect::<Vec<_>>(),
        }));
        return Ok(());
    }
    print(id, &d, &past, output);
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
    if !d.notes.is_empty() {
        output.heading("left out, and why");
        for note in &d.notes {
            let playbook = note.playbook.as_ref().map_or_else(String::new, |p| format!("{p}: "));
            output.line(&format!("{playbook}{}", note.text));
        }
    }
    Ok(())
}

type Past = Vec<(String, Option<Micro>, Option<Micro>)>;

fn past_scores(history: &[DecisionRow]) -> Result<Past, Failure> {
    history
        .iter()
        .map(|row| {
            let d: Decision = read("decision", &row.output.text()?)?;
            Ok((
                row.as_of.to_string(),
                d.scores.health.score_micro,
                d.scores.risk.probability_micro,
            ))
        })
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

fn print(id: &AccountId, d: &Decision, past: &Past, output: &Output) {
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
    if past.len() > 1 {
        let trend: Vec<String> = past
            .iter()
            .rev()
            .map(|(at, h, _)| format!("{} {}", &at[..10], points(*h)))
            .collect();
        output.line(&format!("health so far: {}", trend.join("  ")));
    }
    output.heading("health, by what adds to it");
    output.table(
        &["adds", "of", "fact", "value"],
        s.health.contributions.iter().map(|c| {
            let points = c
                .points_micro
                .map_or_else(String::new, |p| format!("{} points", p.display(0)));
            vec![
                format!("+{}", c.adds_micro.display(2)),
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
