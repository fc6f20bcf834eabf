//! `perennial undo`.

use std::io::{BufRead as _, IsTerminal as _};

use clap::Args;
use perennial_core::action::{Effect, Receipt};
use perennial_core::approval;
use perennial_core::replay::{Hash, canonical};
use perennial_core::signal::OwnerRole;
use perennial_store::{LedgerDraft, SentEffect, Store, UndoRow};
use perennial_tools::{UndoBy, Undoing};
use serde_json::{Value, json};

use super::output::{Need, open};
use super::{Failure, Output};
use crate::bundles;
use crate::config::Config;
use crate::dispatch::learned_by;
use crate::earned;
use crate::people::person;

#[derive(Debug, Args)]
pub(super) struct UndoArgs {
    /// Effect id, or the beginning of one; `queue show` and `audit` name them
    effect: String,
    /// Undo without asking; without a terminal nothing is undone otherwise
    #[arg(long)]
    yes: bool,
    /// Who undoes [default: `user` of the configuration]
    #[arg(long = "as", value_name = "NAME")]
    by: Option<String>,
}

pub(super) async fn undo(config: &Config, args: &UndoArgs, output: &Output) -> Result<(), Failure> {
    let store = open(config, Need::Existing).await?;
    let done = undo_in(config, &store, args, output).await;
    store.close().await;
    done
}

async fn undo_in(config: &Config, store: &Store, args: &UndoArgs, output: &Output) -> Result<(), Failure> {
    let sent = store.sent_effect(&args.effect).await?;
    if let Some(undone) = &sent.undone {
        let said = format!("already undone by {} at {}", undone.person, undone.at);
        say(output, &sent, "already_undone", None, Some(undone), &said);
        return Ok(());
    }
    let receipt = sent.receipt.clone().ok_or_else(|| {
        Failure::failed(format!(
            "{} was not carried out, so there is nothing to undo; `perennial queue show {}` says where it stands",
            sent.effect.id, sent.action
        ))
    })?;
    let tools = config.tools_of(store).map_err(Failure::input)?;
    let tool = tools.require(sent.effect.tool).map_err(Failure::failed)?;
    let undoing = tool.undoing(&sent.effect, &receipt).await.map_err(Failure::failed)?;
    if !undoing.changed.is_empty() {
        say(output, &sent, "changed_since", Some(&undoing), None, &changed(&undoing));
        return Err(Failure::said());
    }
    if !args.yes && !(confirmed(output, &sent, &undoing)?) {
        let said = "nothing was undone: say --yes to undo";
        say(output, &sent, "not_confirmed", Some(&undoing), None, said);
        return Ok(());
    }
    let who = person(config, store, args.by.as_deref()).await?;
    let row = store.action(sent.action.as_str()).await?;
    let (_, policies) = bundles::in_force(config, store).await?;
    let now = config.clock.now();
    let least = row.role.unwrap_or(OwnerRole::CSM);
    let need = approval::Need {
        role: least,
        sufficient: policies.gate.vocabulary().covering(least),
    };
    let permit = approval::undo(&sent.effect, &need, &who, policies.content, now)
        .map_err(|refused| Failure::failed(refused.to_string()))?;
    // INVARIANT (the intent stands first): what is about to be taken back is in the ledger before the CRM is asked.
    let intent = entry(
        "undo",
        &sent.effect,
        &json!({ "by": who.id, "receipt": hash(&receipt) }),
    );
    store
        .append_ledger(Some(&sent.effect.target.account), &[intent], now)
        .await?;
    let undone = tool
        .undo(permit, &sent.effect, &receipt, now)
        .await
        .map_err(Failure::failed)?;
    let body = json!({ "by": who.id, "done": undone.done, "object": undone.object, "receipt": hash(&undone), "record": undone.record });
    let row = UndoRow {
        person: who.id,
        at: config.clock.now(),
        receipt: undone,
    };
    store
        .put_undone(
            (&sent.effect.target.account, &sent.effect.id),
            &row,
            &learned_by(&sent.effect, &row.receipt),
            &[entry("undone", &sent.effect, &body)],
        )
        .await?;
    // What was undone may be one too many.
    for moved in earned::review(store, &policies, config.clock.now()).await? {
        eprintln!("! {}", moved.sentence());
    }
    let said = match undoing.how {
        UndoBy::Writing => "the old values are back",
        UndoBy::Deleting => "the record is in the recycle bin of the CRM",
        UndoBy::Nothing => "there was nothing left to undo: the record is as it was before",
    };
    say(output, &sent, "undone", Some(&undoing), Some(&row), said);
    Ok(())
}

fn hash(receipt: &Receipt) -> Hash {
    Hash::of(canonical(receipt).as_bytes())
}

fn entry(kind: &str, effect: &Effect, body: &Value) -> LedgerDraft {
    LedgerDraft {
        kind: kind.to_owned(),
        reference: effect.id.as_str().to_owned(),
        body: canonical(body),
    }
}

fn changed(undoing: &Undoing) -> String {
    let names: Vec<&str> = undoing.changed.iter().map(|field| field.field.as_str()).collect();
    format!(
        "nothing was undone: {} changed since this was written; correct the record by hand if it must be",
        names.join(", ")
    )
}

/// Asks at a terminal, after the change was shown.
fn confirmed(output: &Output, sent: &SentEffect, undoing: &Undoing) -> Result<bool, Failure> {
    if output.json() || !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    show(output, sent, undoing);
    eprint!("Undo this? [y/N] ");
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(Failure::failed)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

fn show(output: &Output, sent: &SentEffect, undoing: &Undoing) {
    let diff = &undoing.diff;
    let record = diff.record.as_deref().unwrap_or("(gone)");
    output.line(&format!("{} {record}  {}", diff.object, sent.effect.id));
    if undoing.how == UndoBy::Deleting {
        output.line("  the record is deleted; it held:");
    }
    for (field, change) in &diff.fields {
        let before = change.before.as_deref().unwrap_or("(empty)");
        let after = if change.after.is_empty() {
            "(empty)"
        } else {
            &change.after
        };
        output.line(&match undoing.how {
            UndoBy::Deleting => format!("  {field}: {before}"),
            UndoBy::Writing | UndoBy::Nothing => format!("  {field}: {before} -> {after}"),
        });
    }
}

/// One document, or the change and what became of it.
fn say(
    output: &Output,
    sent: &SentEffect,
    result: &str,
    undoing: Option<&Undoing>,
    undone: Option<&UndoRow>,
    text: &str,
) {
    if !output.json() {
        if let Some(undoing) = undoing {
            show(output, sent, undoing);
        }
        output.line(text);
        return;
    }
    let fields = undoing.map(|undoing| {
        let pair = |(field, c): (&String, &perennial_tools::Change)| {
            (field.clone(), json!({ "now": c.before, "then": c.after }))
        };
        undoing.diff.fields.iter().map(pair).collect::<serde_json::Map<_, _>>()
    });
    let changed = undoing.map(|undoing| {
        let each = undoing.changed.iter();
        each.map(|f| json!({ "field": f.field, "written": f.known, "now": f.theirs }))
            .collect::<Vec<_>>()
    });
    output.document(&json!({
        "effect": sent.effect.id,
        "action": sent.action,
        "result": result,
        "deletes": undoing.map(|undoing| undoing.how == UndoBy::Deleting),
        "fields": fields,
        "changed": changed,
        "by": undone.map(|undone| undone.person.as_str()),
        "at": undone.map(|undone| undone.at),
        "receipt": undone.map(|undone| &undone.receipt),
    }));
}
