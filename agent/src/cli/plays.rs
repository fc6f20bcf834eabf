//! `perennial plays` and `perennial play`.

use std::collections::BTreeSet;

use clap::{Args, Subcommand};
use perennial_core::ids::AccountId;
use perennial_core::play::{Asked, Definition, Life, StepKind, Target, WaitTime};
use perennial_core::signal::OwnerRole;
use perennial_store::{PlayFilter, PlayRow, PlayStepRow, Store, StoreError};
use serde_json::{Value, json};

use super::output::{Need, open};
use super::{Failure, Output};
use crate::bundles;
use crate::config::Config;
use crate::people::person;
use crate::plays::{PlayError, Word, say};
use crate::queue::{ask_next, housekeeping};

#[derive(Debug, Args)]
pub(super) struct PlaysArgs {
    /// Those of this account, ended ones too
    #[arg(long)]
    account: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum PlayCommand {
    /// Where a play stands, what it did so far, and what it is pinned to
    Show {
        /// Play id, or the beginning of one
        id: String,
    },
    /// Say that the task at which a play stands is done
    Done {
        /// Play id, or the beginning of one
        id: String,
        /// Who did it: id, name or mail address [default: `user` of the configuration, or PERENNIAL_USER]
        #[arg(long = "as", value_name = "PERSON")]
        person: Option<String>,
    },
    /// End a play; what it has put into the queue stays there
    Exit {
        /// Play id, or the beginning of one
        id: String,
        /// Why
        #[arg(long)]
        reason: String,
        /// Who ends it: id, name or mail address [default: `user` of the configuration, or PERENNIAL_USER]
        #[arg(long = "as", value_name = "PERSON")]
        person: Option<String>,
    },
}

impl From<PlayError> for Failure {
    fn from(error: PlayError) -> Failure {
        match error {
            PlayError::Store(error) => of_store(error),
            PlayError::NoReason => Failure::input(error),
            PlayError::Ended { .. }
            | PlayError::NoTask { .. }
            | PlayError::Moved { .. }
            | PlayError::NotAllowed { .. } => Failure::failed(error),
        }
    }
}

fn of_store(error: StoreError) -> Failure {
    if matches!(error, StoreError::NotFound { .. }) {
        return Failure::input(error).remedy("`perennial plays` shows those that run");
    }
    error.into()
}

/// Plays that a list shows.
const ROWS: u32 = 1_000;

pub(super) async fn plays(config: &Config, args: &PlaysArgs, output: &Output) -> Result<(), Failure> {
    let store = current(config).await?;
    let rows = store
        .plays(&PlayFilter {
            account: args.account.as_ref().map(AccountId::new),
            limit: ROWS + 1,
        })
        .await?;
    store.close().await;
    let shown = &rows[..rows.len().min(ROWS as usize)];
    if output.json() {
        output.document(&shown.iter().map(document).collect::<Vec<_>>());
    } else if shown.is_empty() {
        output.line("no play runs here");
    } else {
        table(shown, output);
        output.line(&format!(
            "\n{} plays; `perennial play show ID` shows one in full",
            shown.len()
        ));
    }
    if rows.len() > shown.len() {
        eprintln!("! only the first {ROWS} are shown: narrow the list with --account");
    }
    Ok(())
}

pub(super) async fn play(config: &Config, command: &PlayCommand, output: &Output) -> Result<(), Failure> {
    let store = current(config).await?;
    match command {
        PlayCommand::Show { id } => {
            let row = store.play(id).await.map_err(of_store)?;
            let steps = store.play_steps(&row).await?;
            let pinned = store.play_definitions(&BTreeSet::from([row.definition])).await?;
            store.close().await;
            show(&row, &steps, pinned.get(&row.definition), output);
            Ok(())
        }
        PlayCommand::Done { id, person } => said(config, &store, id, &Word::Done, person.as_deref(), output).await,
        PlayCommand::Exit { id, reason, person } => {
            let word = Word::Exit { reason: reason.clone() };
            said(config, &store, id, &word, person.as_deref(), output).await
        }
    }
}

/// The database, with plays where they stand by now.
async fn current(config: &Config) -> Result<Store, Failure> {
    let store = open(config, Need::Existing).await?;
    housekeeping(&store, config.clock.now()).await?;
    match bundles::in_force(config, &store).await {
        Ok((_, policies)) => {
            ask_next(&store, &policies, config.clock.now()).await?;
        }
        Err(error) => eprintln!("! nobody else is asked about what is overdue: {error}"),
    }
    Ok(store)
}

async fn said(
    config: &Config,
    store: &Store,
    id: &str,
    word: &Word,
    name: Option<&str>,
    output: &Output,
) -> Result<(), Failure> {
    let who = person(config, store, name).await?;
    let row = store.play(id).await.map_err(of_store)?;
    let (_, policies) = bundles::in_force(config, store).await?;
    let may = policies.gate.vocabulary().covering(OwnerRole::CSM);
    let lent = who.lent.iter().flat_map(|lent| &lent.roles);
    if !who.roles.iter().chain(lent).any(|role| may.contains(role)) {
        return Err(PlayError::NotAllowed { person: who.id }.into());
    }
    let after = say(store, &row, word, &who.id, config.clock.now()).await?;
    if output.json() {
        output.document(&document(&after));
    } else {
        output.line(&format!("{}: {} (by {})", after.id, standing(&after), who.id));
    }
    Ok(())
}

/// Where it stands, in a few words.
fn standing(row: &PlayRow) -> String {
    match &row.life {
        Life::Running(standing) => format!("at step `{}`", standing.step),
        Life::Ended { reason, .. } => format!("ended: {reason}"),
    }
}

/// Whom or what it waits for.
fn waits_for(row: &PlayRow) -> String {
    let Life::Running(standing) = &row.life else {
        return String::new();
    };
    let late = match (standing.overdue, row.asked_role) {
        (true, Some(role)) => format!("overdue, asked {role}: "),
        (true, None) => "overdue: ".to_owned(),
        (false, _) => String::new(),
    };
    let what = match (&standing.asked, standing.until) {
        (Some(Asked::Action { action, .. }), _) => format!("action {action}"),
        (Some(Asked::Task { text, .. }), _) => text.clone(),
        (None, Some(until)) => format!("until {until}"),
        (None, None) => "the next decision about the account".to_owned(),
    };
    format!("{late}{what}")
}

/// A play as a JSON document.
pub(super) fn document(row: &PlayRow) -> Value {
    let running = row.life.standing();
    let (ended_at, reason) = match &row.life {
        Life::Running(_) => (None, None),
        Life::Ended { reason, at, .. } => (Some(at), Some(reason)),
    };
    json!({
        "id": row.id,
        "account": row.account,
        "playbook": row.playbook,
        "subject": row.subject,
        "owner": row.owner,
        "tier": row.tier,
        "begun_at": row.begun_at,
        "begun_on": row.begun_on,
        "definition": row.definition,
        "turn": row.life.turn(),
        "step": running.map(|s| &s.step),
        "entered_at": running.map(|s| s.entered),
        "until": running.and_then(|s| s.until),
        "overdue": running.is_some_and(|s| s.overdue),
        "overdue_at": running.and_then(|s| s.sla),
        "waits_for": running.and_then(|s| s.asked.as_ref()),
        "asked_role": row.asked_role,
        "ended_at": ended_at,
        "reason": reason,
    })
}

/// A list of plays as a table.
pub(super) fn table(rows: &[PlayRow], output: &Output) {
    output.table(
        &["id", "account", "playbook", "since", "step", "waits for", "owner"],
        rows.iter().map(|row| {
            vec![
                row.id.as_str().chars().take(12).collect(),
                row.account.as_str().to_owned(),
                row.playbook.as_str().to_owned(),
                row.begun_on.to_string(),
                match &row.life {
                    Life::Running(standing) => standing.step.clone(),
                    Life::Ended { .. } => standing(row),
                },
                waits_for(row),
                row.owner
                    .as_ref()
                    .map_or_else(|| "nobody".to_owned(), |o| o.as_str().to_owned()),
            ]
        }),
    );
}

/// What is overdue or a task of somebody: the end of a list of the queue.
pub(super) async fn to_do(store: &Store, owner: Option<&str>, output: &Output) -> Result<(), Failure> {
    let rows = store.plays(&PlayFilter::default()).await?;
    let rows: Vec<PlayRow> = rows
        .into_iter()
        .filter(|row| owner.is_none_or(|owner| row.owner.as_ref().is_some_and(|o| o.as_str() == owner)))
        .filter(|row| {
            let standing = row.life.standing();
            standing.is_some_and(|s| s.overdue || matches!(s.asked, Some(Asked::Task { .. })))
        })
        .collect();
    if !rows.is_empty() {
        output.heading("steps of plays that wait for a person, or are overdue");
        table(&rows, output);
        output.line("`perennial play done ID` says that a task is done");
    }
    Ok(())
}

fn show(row: &PlayRow, steps: &[PlayStepRow], pinned: Option<&Definition>, output: &Output) {
    if output.json() {
        let mut document = document(row);
        let taken = steps.iter().map(|s| {
            json!({
                "turn": s.turn,
                "step": s.step,
                "entered_at": s.entered_at,
                "left_at": s.left_at,
                "outcome": s.outcome,
                "action": s.action,
            })
        });
        document["steps"] = taken.collect();
        document["pinned"] = json!(pinned);
        output.document(&document);
        return;
    }
    output.line(&output.bold(&format!("{} of {}, about {}", row.playbook, row.account, row.subject)));
    output.line(&format!("id        {}", row.id));
    output.line(&format!("since     {}    {}", row.begun_on, standing(row)));
    let waits = waits_for(row);
    if !waits.is_empty() {
        output.line(&format!("waits     {waits}"));
    }
    if let Some(standing) = row.life.standing() {
        if let Some(sla) = standing.sla {
            output.line(&format!("overdue   from {sla} on"));
        }
        if let Some(step) = pinned.and_then(|d| d.shape.step(&standing.step)) {
            output.line(&format!("then      {}", ways(step)));
        }
    }
    output.heading("steps so far");
    output.table(
        &["no", "step", "entered", "left", "outcome", "action"],
        steps.iter().map(|s| {
            vec![
                s.turn.to_string(),
                s.step.clone(),
                s.entered_at.to_string(),
                s.left_at.map_or_else(String::new, |at| at.to_string()),
                s.outcome.map_or_else(String::new, |o| o.as_str().to_owned()),
                s.action.as_ref().map_or_else(String::new, |a| a.as_str().to_owned()),
            ]
        }),
    );
    output.line("");
    output.line(&output.dim(&format!(
        "pinned to version {} of the playbook; a changed file is for new plays",
        &row.definition.to_string()[..12]
    )));
}

/// Where a step leads.
fn ways(step: &perennial_core::play::StepShape) -> String {
    let to = |target: &Target| match target {
        Target::Step(step) => format!("`{step}`"),
        Target::End(reason) => format!("the end ({reason})"),
    };
    let when = match &step.kind {
        StepKind::Action => "executed",
        StepKind::Task { .. } => "done",
        StepKind::Check => "otherwise",
        StepKind::Wait {
            time: WaitTime::For(_) | WaitTime::Until(_) | WaitTime::Before { .. },
        } => "elapsed",
    };
    let mut ways = vec![format!("{when}: {}", to(&step.next))];
    ways.extend(
        step.on
            .iter()
            .map(|(outcome, target)| format!("{outcome}: {}", to(target))),
    );
    ways.join("; ")
}
