//! The action card: what, who, why, evidence, the change of each record, the draft, the verdict. And `explain`.

mod conflicts;
mod explain;

use perennial_core::action::{Effect, Write};
use perennial_core::decide::{Decision, Proposal};
use perennial_core::explore::LoggedChoice;
use perennial_core::replay::read;
use perennial_core::score::Contribution;
use perennial_core::signal::OwnerRole;
use perennial_store::{ActionRow, ApprovalRow, AttemptRow, ConflictRow, DecisionRow, DraftRow, EffectRow, Store};
use perennial_tools::Diff;
use serde_json::{Value, json};

use super::output::amount;
use super::people_queue::{account_name, attempt_json, item};
use super::{Failure, Output};
use crate::bundles;
use crate::config::Config;
use crate::people::People;
use crate::queue;

pub(super) use explain::explain;

/// Everything a card shows.
pub(super) struct Detail {
    row: ActionRow,
    proposal: Proposal,
    decision: Decision,
    stored: DecisionRow,
    effects: Vec<Effect>,
    outbox: Vec<EffectRow>,
    attempts: Vec<AttemptRow>,
    drafts: Vec<DraftRow>,
    approvals: Vec<ApprovalRow>,
    still_needed: Vec<OwnerRole>,
    live: Vec<Live>,
    choice: Option<LoggedChoice>,
    conflicts: Vec<ConflictRow>,
}

/// What the CRM says now about what an effect would change.
enum Live {
    Read(Diff),
    NotRead(String),
}

impl Detail {
    /// Reads a card; with `live` also the records of the CRM it would change.
    pub(super) async fn read(config: &Config, store: &Store, row: ActionRow, live: bool) -> Result<Detail, Failure> {
        let stored = store
            .decision(&row.decision)
            .await?
            .ok_or_else(|| Failure::failed(format!("the decision {} of this action is not stored", row.decision)))?;
        let effects: Vec<Effect> = read("list of effects", &row.effects)?;
        let tools = config.tools_of(store).map_err(Failure::input)?;
        let mut read_live = Vec::new();
        for effect in &effects {
            read_live.push(match tools.get(effect.tool) {
                _ if !live => Live::NotRead("not read (--offline)".to_owned()),
                None => Live::NotRead(format!("{} is not configured", effect.tool)),
                Some(tool) => match tool.read(effect).await {
                    Ok(diff) => Live::Read(diff),
                    Err(error) => Live::NotRead(error.to_string()),
                },
            });
        }
        let day = row.as_of.day();
        let of_account = std::collections::BTreeSet::from([&row.account]);
        let choices = store.choices_of(&of_account, day, day.plus(1)).await?;
        let of_action = |c: &LoggedChoice| c.options.iter().any(|o| o.action == row.id);
        Ok(Detail {
            choice: choices.into_iter().find(of_action),
            proposal: read("card", &row.card)?,
            decision: read("decision", &stored.output.text()?)?,
            outbox: store.effects_of(&row.id).await?,
            attempts: store.attempts_of(&row.id).await?,
            drafts: store.drafts_of(&row.id).await?,
            approvals: store.approvals_of(&row.id).await?,
            still_needed: still_needed(config, store, &row).await?,
            live: read_live,
            conflicts: store.conflicts_of(&row.id).await?,
            stored,
            effects,
            row,
        })
    }

    fn json(&self) -> Value {
        let mut document = item(&self.row);
        let p = &self.proposal;
        document["card"] = json!({
            "because": p.because,
            "rule": p.rule,
            "playbook_name": p.playbook_name,
            "worth": p.worth,
            "worth_missing": p.worth_missing,
            "evidence": p.evidence,
            "verdict": p.verdict,
            "document": p.document,
        });
        document["play"] = p.play.as_ref().map_or(Value::Null, |of| {
            let turn = of.moves.life.turn();
            json!({
                "id": of.moves.play,
                "playbook": of.moves.playbook,
                "step": of.step,
                "steps": of.steps,
                "turn": turn,
                "asks_a_person": of.approve,
            })
        });
        document["choice"] = self.choice.as_ref().map_or(Value::Null, |choice| {
            let options = choice.options.iter().map(|o| {
                json!({
                    "action": o.action,
                    "playbook": o.playbook,
                    "propensity": o.propensity_micro.to_f64(),
                    "executed": o.executed,
                    "drawn": o.drawn,
                })
            });
            json!({ "day": choice.day, "seed": choice.seed, "options": options.collect::<Vec<_>>() })
        });
        document["contributions"] = json!({
            "health": contributions(&self.decision.scores.health.contributions),
            "risk": contributions(&self.decision.scores.risk.contributions),
            "expansion": contributions(&self.decision.scores.expansion.contributions),
        });
        document["scores"] = json!({
            "health": self.decision.scores.health.score_micro.map(perennial_core::number::Micro::to_f64),
            "risk": self.decision.scores.risk.probability_micro.map(perennial_core::number::Micro::to_f64),
            "risk_log_odds": self.decision.scores.risk.log_odds_micro.to_f64(),
            "risk_intercept": self.decision.scores.risk.intercept_micro.to_f64(),
            "expansion": self.decision.scores.expansion.score_micro.map(perennial_core::number::Micro::to_f64),
        });
        document["evidence"] = json!(p.evidence);
        document["writes"] = self
            .effects
            .iter()
            .zip(&self.live)
            .map(|(e, l)| write_json(e, l))
            .collect();
        document["conflicts"] = self.conflicts.iter().map(conflicts::json).collect();
        document["effects"] = self.outbox.iter().map(effect_json).collect();
        document["history"] = self.attempts.iter().map(attempt_json).collect();
        document["drafts"] = self
            .drafts
            .iter()
            .map(|d| json!({ "kind": d.kind, "format": d.format, "text": d.text }))
            .collect();
        document["approvals"] = self
            .approvals
            .iter()
            .map(|a| {
                json!({
                    "by": a.person,
                    "in_place_of": a.authority,
                    "verb": a.verb,
                    "roles": a.roles,
                    "reason": a.reason,
                    "at": a.at,
                })
            })
            .collect();
        document["still_needed"] = json!(self.still_needed);
        document["alternatives"] = self
            .alternatives()
            .map(|o| json!({ "action": o.action, "title": o.title, "verdict": o.verdict.word() }))
            .collect();
        document["decision"] = json!({
            "id": self.stored.id,
            "as_of": self.stored.as_of,
            "policies": self.stored.content,
            "inputs": self.stored.inputs_hash,
            "output": self.stored.output_hash,
            "engine": self.stored.engine,
        });
        document["notes"] = json!(self.decision.notes);
        document["due"] = json!(p.due);
        document
    }

    fn alternatives(&self) -> impl Iterator<Item = &Proposal> {
        self.decision.proposals.iter().filter(|o| o.action != self.row.id)
    }
}

/// Whose yes an action that waits still needs, by the policies in force; what has ended needs nobody's.
async fn still_needed(config: &Config, store: &Store, row: &ActionRow) -> Result<Vec<OwnerRole>, Failure> {
    if !row.state.is_open() {
        return Ok(Vec::new());
    }
    let (_, policies) = bundles::in_force(config, store).await?;
    let people = People::read(config, store).await?;
    Ok(queue::still_needed(store, row, &policies, &people).await?)
}

fn contributions(list: &[Contribution]) -> Vec<Value> {
    list.iter()
        .map(|c| {
            json!({
                "fact": c.fact,
                "value": c.value,
                "evidence": c.evidence,
                "points": c.points_micro.map(perennial_core::number::Micro::to_f64),
                "adds": c.adds_micro.to_f64(),
            })
        })
        .collect()
}

fn write_json(effect: &Effect, live: &Live) -> Value {
    let changes = match live {
        Live::Read(diff) => json!({
            "object": diff.object,
            "record": diff.record,
            "url": diff.url,
            "fields": diff.fields.iter().map(|(field, c)| (field.clone(), json!({ "before": c.before, "after": c.after }))).collect::<serde_json::Map<_, _>>(),
        }),
        Live::NotRead(why) => json!({ "not_read": why }),
    };
    json!({ "step": effect.step, "effect": effect.id, "tool": effect.tool, "write": effect.write, "live": changes })
}

pub(super) fn effect_json(effect: &EffectRow) -> Value {
    json!({
        "effect": effect.effect.id,
        "tool": effect.tool,
        "state": effect.state,
        "attempts": effect.attempts,
        "receipt": effect.receipt,
        "error": effect.error,
    })
}

/// One effect in a line.
pub(super) fn effect_line(effect: &EffectRow) -> String {
    let what = what(&effect.effect.write);
    match (&effect.receipt, &effect.error) {
        (Some(receipt), _) => {
            let done = receipt.done.as_str().replace('_', " ");
            format!("{what}: {done} {} {}  {}", receipt.object, receipt.record, receipt.url)
        }
        (None, Some(error)) => format!("{what}: {} after {} attempts: {error}", effect.state, effect.attempts),
        (None, None) => format!("{what}: {}", effect.state),
    }
}

fn what(write: &Write) -> &'static str {
    match write {
        Write::UpdateAccount { .. } => "account fields",
        Write::CreateTask { .. } => "task",
        Write::CreateNote { .. } => "note",
        Write::UpdateOpportunity { .. } => "deal",
        Write::SetContactRole { .. } => "role in the deal",
    }
}

/// Lines of a draft that a card shows; the whole draft is in the file that `demo` writes and in `--json`.
const DRAFT_LINES: usize = 40;

/// Prints the card.
pub(super) fn show(detail: &Detail, output: &Output) {
    if output.json() {
        output.document(&detail.json());
        return;
    }
    let (row, p) = (&detail.row, &detail.proposal);
    output.line(&output.bold(&row.title));
    output.line(&p.because);
    output.line("");
    let f = &detail.decision.features;
    let owner = row.owner.as_ref().map_or("nobody", |o| o.as_str());
    output.line(&format!(
        "account   {} ({}), {}, {} a year",
        account_name(row),
        row.account,
        row.tier.map_or("tier not known", |t| t.as_str()),
        f.display("arr")
    ));
    output.line(&format!(
        "renewal   {} ({} left)",
        f.display("renewal_date"),
        f.display("days_to_renewal")
    ));
    output.line(&format!(
        "owner     {owner}    due {}    state {}    id {}",
        p.due, row.state, row.id
    ));
    if row.state.waits() {
        let roles: Vec<&str> = detail.still_needed.iter().map(|role| role.as_str()).collect();
        let asked = row
            .asked_role
            .map_or_else(String::new, |role| format!("; asked now: {role}"));
        output.line(&format!("needs     a yes of {}{asked}", roles.join(" and ")));
    }
    if let Some(of) = &p.play {
        output.line(&format!(
            "play      {}, step `{}` (number {} of this play); `perennial play show {}` shows all of it",
            p.playbook_name,
            of.step,
            of.moves.life.turn(),
            of.moves.play
        ));
    }
    worth(p, output);
    choice(detail, output);
    verdict(p, output);
    evidence(p, output);
    scores(&detail.decision, output);
    writes(detail, output);
    conflicts::show(&detail.conflicts, output);
    drafts(detail, output);
    history(detail, output);
    others(detail, output);
    output.line("");
    output.line(&output.dim(&format!(
        "decision {} as of {}, policies {}; `perennial replay {}` rebuilds it",
        detail.stored.id,
        detail.stored.as_of,
        &detail.stored.content.to_string()[..12],
        detail.stored.id
    )));
}

fn worth(p: &Proposal, output: &Output) {
    match (&p.worth, &p.worth_missing) {
        (Some(w), _) => {
            let code = Some(w.currency.code());
            output.line(&format!(
                "worth     {} for {} minutes ({} a minute is lost by waiting for the next review)",
                amount(Some(w.value_minor), code),
                w.minutes,
                w.per_minute_micro.display(2)
            ));
        }
        (None, Some(missing)) => output.line(&format!("worth     cannot be said: {missing} is not known")),
        (None, None) => {}
    }
}

/// With which probability it ran, where a plan of the day chose it.
fn choice(detail: &Detail, output: &Output) {
    let ran = |c: &LoggedChoice| {
        c.options
            .iter()
            .find(|o| o.executed && o.action == detail.row.id)
            .cloned()
    };
    let Some((logged, option)) = detail.choice.as_ref().and_then(|c| Some((c, ran(c)?))) else {
        return;
    };
    let drawn = logged.options.iter().filter(|o| o.drawn.is_some()).count();
    let how = match option.drawn {
        Some(true) => format!("drawn among {drawn} near-ties"),
        Some(false) => format!("another of {drawn} near-ties was drawn first"),
        None => "not drawn".to_owned(),
    };
    output.line(&format!(
        "chance    ran by itself with a probability of {} ({how})",
        option.propensity_micro.display(3)
    ));
}

fn verdict(p: &Proposal, output: &Output) {
    output.heading("policy");
    output.line(&format!(
        "{}  (playbook {} at {})",
        p.verdict.word(),
        p.playbook,
        p.rule
    ));
    for rule in &p.verdict.rules {
        output.line(&format!("  {}:{}  {}: {}", rule.file, rule.line, rule.id, rule.why));
    }
}

fn evidence(p: &Proposal, output: &Output) {
    output.heading("evidence");
    output.table(
        &["fact", "value", "as of", "records", "evidence"],
        p.evidence.iter().map(|e| {
            let records = match (e.records.first(), e.records_total) {
                (None, _) => String::new(),
                (Some(first), 1) => first.to_string(),
                (Some(first), n) => format!("{first} and {} more", n - 1),
            };
            let as_of = e.as_of.map_or_else(String::new, |at| at.day().to_string());
            vec![
                perennial_core::feature::label(&e.fact),
                e.value.clone(),
                as_of,
                records,
                e.evidence.clone(),
            ]
        }),
    );
}

fn scores(decision: &Decision, output: &Output) {
    let s = &decision.scores;
    let health = s
        .health
        .score_micro
        .map_or_else(|| "cannot assess".to_owned(), |v| v.display(1));
    output.heading(&format!(
        "why health is {health} of 100 (higher is healthier; {} % of its weight is known)",
        perennial_core::number::Micro(s.health.confidence_micro.0 * 100).display(0)
    ));
    adds(&s.health.contributions, output, "adds points");
    missing(&s.health.missing, output);
    let risk = s.risk.probability_micro.map_or_else(
        || "cannot assess".to_owned(),
        |v| format!("{} %", perennial_core::number::Micro(v.0 * 100).display(0)),
    );
    output.heading(&format!(
        "why the risk of not renewing is {risk} (policy estimate, not yet calibrated)"
    ));
    output.line(&format!(
        "log odds {} = {} for an average account, plus:",
        s.risk.log_odds_micro.display(3),
        s.risk.intercept_micro.display(3)
    ));
    adds(&s.risk.contributions, output, "adds log odds");
    missing(&s.risk.missing, output);
}

fn adds(list: &[Contribution], output: &Output, header: &str) {
    output.table(
        &[header, "fact", "value"],
        list.iter().map(|c| {
            let sign = if c.adds_micro.0 >= 0 { "+" } else { "" };
            vec![
                format!("{sign}{}", c.adds_micro.display(3)),
                perennial_core::feature::label(&c.fact),
                c.value.clone(),
            ]
        }),
    );
}

fn missing(list: &[perennial_core::score::Missing], output: &Output) {
    if !list.is_empty() {
        let names: Vec<String> = list
            .iter()
            .map(|m| format!("{} ({})", perennial_core::feature::label(&m.fact), m.field))
            .collect();
        output.line(&output.dim(&format!("not known: {}", names.join("; "))));
    }
}

fn writes(detail: &Detail, output: &Output) {
    output.heading("what it writes");
    for (effect, live) in detail.effects.iter().zip(&detail.live) {
        let place = match live {
            Live::Read(diff) => match (&diff.record, &diff.url) {
                (Some(record), Some(url)) => format!("{} {record}  {url}", diff.object),
                (Some(record), None) => format!("{} {record}", diff.object),
                (None, _) => format!("new {}", diff.object),
            },
            Live::NotRead(why) => format!("live record not read: {why}"),
        };
        output.line(&format!(
            "step {}  {} in {}: {place}",
            effect.step,
            what(&effect.write),
            effect.tool
        ));
        match live {
            Live::Read(diff) => output.table(
                &["", "field", "before", "after"],
                diff.fields.iter().map(|(field, change)| {
                    let before = change.before.clone().unwrap_or_else(|| "(empty)".to_owned());
                    vec!["  ".to_owned(), field.clone(), shorten(&before), shorten(&change.after)]
                }),
            ),
            Live::NotRead(_) => planned(&effect.write, output),
        }
    }
}

fn planned(write: &Write, output: &Output) {
    let line = |name: &str, text: &str| output.line(&format!("    {name}: {}", shorten(text)));
    match write {
        Write::UpdateAccount { fields } => fields.iter().for_each(|(field, text)| line(field.as_str(), text)),
        Write::CreateTask {
            subject,
            body,
            due,
            priority,
            ..
        } => {
            line("subject", subject);
            line("body", body);
            line("due", &due.to_string());
            line("priority", priority.as_str());
        }
        Write::CreateNote { title, body } => {
            line("title", title);
            line("body", body);
        }
        Write::UpdateOpportunity { next_step, stage, .. } => {
            if let Some(text) = next_step {
                line("next step", text);
            }
            if let Some(text) = stage {
                line("stage", text);
            }
        }
        Write::SetContactRole {
            contact,
            contact_name,
            role,
            ..
        } => {
            line("person", contact_name.as_deref().unwrap_or(contact));
            line("role", role.as_str());
        }
    }
}

/// Characters of a value that a card shows.
const VALUE_CHARS: usize = 240;

fn shorten(text: &str) -> String {
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if flat.chars().count() <= VALUE_CHARS {
        return flat;
    }
    let cut: String = flat.chars().take(VALUE_CHARS).collect();
    format!("{cut}… ({} characters)", flat.chars().count())
}

fn drafts(detail: &Detail, output: &Output) {
    for draft in detail.drafts.iter().filter(|d| d.format == "md") {
        output.heading(&format!("draft ({})", draft.kind.replace('_', " ")));
        let lines: Vec<&str> = draft.text.lines().collect();
        lines
            .iter()
            .take(DRAFT_LINES)
            .for_each(|line| output.line(&format!("  {line}")));
        if lines.len() > DRAFT_LINES {
            output.line(&output.dim(&format!(
                "  … {} more lines; the whole text is in --json",
                lines.len() - DRAFT_LINES
            )));
        }
    }
}

fn history(detail: &Detail, output: &Output) {
    if detail.approvals.is_empty() && detail.outbox.is_empty() {
        return;
    }
    output.heading("what has happened");
    for a in &detail.approvals {
        let reason = a.reason.as_ref().map_or_else(String::new, |r| format!(": {r}"));
        let place = a
            .authority
            .as_ref()
            .map_or_else(String::new, |whose| format!(" for {whose}"));
        output.line(&format!(
            "{}  {}{place} ({}) {}{reason}",
            a.at, a.person, a.roles, a.verb
        ));
    }
    for effect in &detail.outbox {
        output.line(&effect_line(effect));
    }
}

fn others(detail: &Detail, output: &Output) {
    let others: Vec<&Proposal> = detail.alternatives().collect();
    if !others.is_empty() {
        output.heading("other things proposed for this account");
        for o in others {
            output.line(&format!(
                "{}  {} ({})",
                &o.action.as_str()[..12],
                o.title,
                o.verdict.word()
            ));
        }
    }
}
