//! `perennial queue`.

mod delegation;
mod edit;
mod several;

use std::collections::BTreeMap;

use clap::Subcommand;
use perennial_core::action::{ActionState, Effect, effects_hash};
use perennial_core::approval::{Assignee, Event, Person};
use perennial_core::ids::{AccountId, ActionId, OwnerId, RunId};
use perennial_core::policy::Policies;
use perennial_core::replay::read;
use perennial_core::signal::OwnerRole;
use perennial_core::time::Timestamp;
use perennial_store::{ActionRow, AttemptRow, QueueFilter, Store};
use serde_json::{Value, json};

use super::card::{self, Detail};
use super::output::{Need, amount, open};
use super::run::stop_signal;
use super::{Failure, Output, plays, time_argument};
use crate::bundles;
use crate::config::Config;
use crate::cycle::Engine;
use crate::dispatch;
use crate::people::People;
use crate::queue::{Decided, ask_next, decide, housekeeping};
use edit::edited;

#[derive(Debug, Subcommand)]
pub(super) enum QueueCommand {
    /// What waits, the most valuable minute first
    List {
        /// Only this person's
        #[arg(long)]
        owner: Option<String>,
        /// Only this account's
        #[arg(long)]
        account: Option<String>,
        /// Only in this state; may be given several times [default: pending and edited, and what will run by itself later]
        #[arg(long, value_parser = state_argument)]
        state: Vec<ActionState>,
        /// All states
        #[arg(long, conflicts_with = "state")]
        all: bool,
        /// Only what has a place in somebody's day today
        #[arg(long)]
        today: bool,
    },
    /// The whole card of an action
    Show {
        /// Action id, or the beginning of one
        id: String,
        /// Do not read the live CRM records for the before/after
        #[arg(long)]
        offline: bool,
    },
    /// Say yes to exactly what `show` shows; it runs at once when everybody who has to has said yes
    Approve {
        /// Action id, or the beginning of one; several for items of one rule, with --count
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
        #[command(flatten)]
        by: By,
        /// How many items these are, to approve several
        #[arg(long, value_name = "N")]
        count: Option<usize>,
        /// Put the effects into the outbox and leave them to the next run
        #[arg(long)]
        later: bool,
    },
    /// Change texts or values; another person then approves
    Edit {
        /// Action id, or the beginning of one
        id: String,
        /// What to change: STEP.FIELD=TEXT, such as 0.subject="…"; a text beginning with @ is read from a file
        #[arg(long = "set", required = true, value_name = "STEP.FIELD=TEXT")]
        set: Vec<String>,
        #[command(flatten)]
        by: By,
    },
    /// Say no, also to what would run by itself later
    Reject {
        /// Action id, or the beginning of one
        id: String,
        /// Why
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        by: By,
    },
    /// Stop what would run by itself later; it then waits for an approval
    Hold {
        /// Action id, or the beginning of one
        id: String,
        /// Why
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        by: By,
    },
    /// See it again later
    Snooze {
        /// Action id, or the beginning of one
        id: String,
        /// When it returns
        #[arg(long, value_parser = time_argument)]
        until: Timestamp,
        /// Why
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        by: By,
    },
    /// Ask something first; it waits for the answer and cannot be approved meanwhile
    Ask {
        /// Action id, or the beginning of one
        id: String,
        /// The question
        question: String,
        /// Who should answer: id, name or mail address
        #[arg(long, value_name = "PERSON")]
        of: Option<String>,
        #[command(flatten)]
        by: By,
    },
    /// Answer what was asked, or take the question back; it waits for an approval again
    Answer {
        /// Action id, or the beginning of one
        id: String,
        /// The answer
        text: String,
        #[command(flatten)]
        by: By,
    },
    /// Hand it to somebody else, or ask a more senior role
    Reassign {
        /// Action id, or the beginning of one
        id: String,
        /// Into whose queue: id, name or mail address
        #[arg(long, value_name = "PERSON", required_unless_present = "role")]
        to: Option<String>,
        /// Which role is asked
        #[arg(long, conflicts_with = "to", value_parser = role_argument)]
        role: Option<OwnerRole>,
        /// Why
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        by: By,
    },
    /// Lend your roles to somebody for a time
    Delegate(delegation::DelegateArgs),
    /// Roles that are lent, or will be
    Delegations,
    /// Take back what was lent
    Undelegate {
        /// Id of the delegation
        id: String,
        #[command(flatten)]
        by: By,
    },
    /// Let a failed action wait for an approval again
    Retry {
        /// Action id, or the beginning of one
        id: String,
        #[command(flatten)]
        by: By,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct By {
    /// Who decides: id, name or mail address [default: `user` of the configuration, or PERENNIAL_USER]
    #[arg(long = "as", value_name = "PERSON")]
    person: Option<String>,
}

fn role_argument(word: &str) -> Result<OwnerRole, String> {
    OwnerRole::from_word(word).ok_or_else(|| "a role is a small letter, then letters, digits and `_`".to_owned())
}

fn state_argument(word: &str) -> Result<ActionState, String> {
    ActionState::from_word(word).ok_or_else(|| {
        let known: Vec<&str> = ActionState::ALL.iter().map(|s| s.as_str()).collect();
        format!("states are {}", known.join(", "))
    })
}

pub(super) async fn queue(config: &Config, command: QueueCommand, output: &Output) -> Result<(), Failure> {
    let store = open(config, Need::Existing).await?;
    housekeeping(&store, config.clock.now()).await?;
    // Who is asked follows the clock; a list that cannot say so is still a list.
    match bundles::in_force(config, &store).await {
        Ok((_, policies)) => {
            ask_next(&store, &policies, config.clock.now()).await?;
        }
        Err(error) => eprintln!("! nobody else is asked about what waits too long: {error}"),
    }
    match command {
        QueueCommand::List {
            owner,
            account,
            state,
            all,
            today,
        } => {
            let waiting_only = !all && state.is_empty();
            let states = match (all, state.is_empty()) {
                (true, _) => Vec::new(),
                (false, true) => vec![ActionState::Pending, ActionState::Edited, ActionState::Permitted],
                (false, false) => state,
            };
            let limit = config.limits.queue_rows;
            let whose = owner.clone();
            let filter = QueueFilter {
                states,
                kinds: Vec::new(),
                owner: owner.map(OwnerId::new),
                account: account.map(AccountId::new),
                limit: limit.saturating_add(1),
            };
            let planned = planned(&store, config.clock.now()).await?;
            let mut rows = store.queue(&filter).await?;
            if waiting_only {
                rows.retain(|r| r.state != ActionState::Permitted || planned.contains_key(&r.id));
            }
            list(&rows, &planned, limit, today, output)?;
            if waiting_only && filter.account.is_none() && !output.json() {
                plays::to_do(&store, whose.as_deref(), output).await?;
            }
            for stop in store.stops().await? {
                eprintln!("! stopped: {}", crate::stopping::sentence(&stop));
            }
            for promotion in crate::earned::waiting(&store).await? {
                eprintln!("! {promotion}");
            }
            Ok(())
        }
        QueueCommand::Show { id, offline } => {
            let row = store.action(&id).await?;
            let detail = Detail::read(config, &store, row, !offline).await?;
            card::show(&detail, output);
            Ok(())
        }
        QueueCommand::Approve { ids, by, later, count } => match ids.as_slice() {
            [id] if count.is_none_or(|count| count == 1) => {
                let row = store.action(id).await?;
                let event = yes(&row)?;
                apply(config, &store, row, event, &by, !later, output).await
            }
            ids => several::approve(config, &store, ids, count, (&by, !later), output).await,
        },
        QueueCommand::Edit { id, set, by } => {
            let row = store.action(&id).await?;
            let effects = edited(&row, &set)?;
            apply(config, &store, row, Event::Edit { effects }, &by, false, output).await
        }
        QueueCommand::Reject { id, reason, by } => {
            let row = store.action(&id).await?;
            apply(config, &store, row, Event::Reject { reason }, &by, false, output).await
        }
        QueueCommand::Hold { id, reason, by } => {
            let row = store.action(&id).await?;
            apply(config, &store, row, Event::Hold { reason }, &by, false, output).await
        }
        QueueCommand::Snooze { id, until, reason, by } => {
            let row = store.action(&id).await?;
            apply(config, &store, row, Event::Snooze { until, reason }, &by, false, output).await
        }
        QueueCommand::Ask { id, question, of, by } => {
            let row = store.action(&id).await?;
            let question = match of {
                Some(name) if !question.trim().is_empty() => {
                    let whom = People::read(config, &store).await?.id(&name)?;
                    format!("to {whom}: {question}")
                }
                Some(_) | None => question,
            };
            apply(config, &store, row, Event::Ask { question }, &by, false, output).await
        }
        QueueCommand::Answer { id, text, by } => {
            let row = store.action(&id).await?;
            apply(config, &store, row, Event::Answer { text }, &by, false, output).await
        }
        QueueCommand::Reassign {
            id,
            to,
            role,
            reason,
            by,
        } => {
            let row = store.action(&id).await?;
            let to = match (to, role) {
                (Some(name), _) => Assignee::Person(OwnerId::new(People::read(config, &store).await?.id(&name)?)),
                (None, Some(role)) => Assignee::Role(role),
                (None, None) => return Err(Failure::input("give --to PERSON or --role ROLE")),
            };
            apply(config, &store, row, Event::Reassign { to, reason }, &by, false, output).await
        }
        QueueCommand::Delegate(args) => delegation::delegate(config, &store, &args, output).await,
        QueueCommand::Delegations => delegation::list(config, &store, output).await,
        QueueCommand::Undelegate { id, by } => delegation::revoke(config, &store, &id, &by, output).await,
        QueueCommand::Retry { id, by } => {
            let row = store.action(&id).await?;
            apply(config, &store, row, Event::Retry, &by, false, output).await
        }
    }
}

/// The account's name as the action's effects carry it.
pub(super) fn account_name(row: &ActionRow) -> String {
    let effects: Result<Vec<Effect>, _> = read("list of effects", &row.effects);
    let name = effects
        .ok()
        .and_then(|e| e.first().map(|e| e.target.account_name.clone()));
    name.unwrap_or_else(|| row.account.as_str().to_owned())
}

pub(super) fn item(row: &ActionRow) -> Value {
    json!({
        "id": row.id,
        "account": row.account,
        "account_name": account_name(row),
        "tier": row.tier,
        "kind": row.kind,
        "playbook": row.playbook,
        "title": row.title,
        "value_minor": row.value_minor,
        "currency": row.currency,
        "minutes": row.minutes,
        "owner": row.owner,
        "state": row.state,
        "verdict": row.verdict,
        "due": row.due,
        "day_position": row.day_position,
        "expires_at": row.expires_at,
        "snoozed_until": row.snoozed_until,
        "asked_role": row.asked_role,
        "asked_since": row.asked_since,
    })
}

pub(super) fn attempt_json(attempt: &AttemptRow) -> Value {
    json!({
        "effect": attempt.effect,
        "worker": attempt.worker,
        "begun_at": attempt.begun_at,
        "ended_at": attempt.ended_at,
        "result": attempt.result,
        "error": attempt.error,
    })
}

/// What will run by itself later, with the time.
type Planned = BTreeMap<ActionId, Timestamp>;

/// Most of it that is read.
const PLANNED_ROWS: u32 = 100_000;

async fn planned(store: &Store, now: Timestamp) -> Result<Planned, Failure> {
    Ok(store.planned_actions(now, PLANNED_ROWS).await?.into_iter().collect())
}

fn planned_item(row: &ActionRow, planned: &Planned) -> Value {
    let mut document = item(row);
    document["runs_at"] = json!(planned.get(&row.id));
    document
}

fn list(rows: &[ActionRow], planned: &Planned, limit: u32, today: bool, output: &Output) -> Result<(), Failure> {
    let shown: Vec<&ActionRow> = rows
        .iter()
        .take(limit as usize)
        .filter(|r| !today || r.day_position.is_some())
        .collect();
    if output.json() {
        output.document(&shown.iter().map(|r| planned_item(r, planned)).collect::<Vec<_>>());
    } else if shown.is_empty() {
        output.line("nothing waits here");
    } else {
        output.table(
            &[
                "id",
                "value",
                "account",
                "tier",
                "what to do",
                "who may approve",
                "due",
                "owner",
                "day",
            ],
            shown.iter().map(|r| {
                vec![
                    r.id.as_str().chars().take(12).collect(),
                    amount(r.value_minor, r.currency.as_deref()),
                    account_name(r),
                    r.tier.map_or_else(String::new, |t| t.as_str().replace('_', "-")),
                    r.title.clone(),
                    if r.state.waits() {
                        let least = r.verdict.replace("approve:", "");
                        r.asked_role
                            .map_or(least.clone(), |role| format!("{least}, asked {role}"))
                    } else if let Some(at) = planned.get(&r.id) {
                        format!("runs {at}")
                    } else {
                        r.state.as_str().to_owned()
                    },
                    r.due.to_string(),
                    r.owner
                        .as_ref()
                        .map_or_else(|| "nobody".to_owned(), |o| o.as_str().to_owned()),
                    r.day_position.map_or_else(String::new, |p| (p + 1).to_string()),
                ]
            }),
        );
        output.line(&format!(
            "\n{} items; `perennial queue show ID` shows one in full",
            shown.len()
        ));
    }
    if rows.len() > limit as usize {
        eprintln!(
            "! only the first {limit} are shown: narrow the list with --owner or --account, or raise limits.queue_rows"
        );
    }
    Ok(())
}

/// A yes to an action as it stands.
fn yes(row: &ActionRow) -> Result<Event, Failure> {
    let effects: Vec<Effect> = read("list of effects", &row.effects)?;
    Ok(Event::Approve {
        seen: effects_hash(&effects),
    })
}

/// Who decides, everybody who is known, and the policies they decide by.
async fn deciding(config: &Config, store: &Store, by: &By) -> Result<(Person, People, Policies), Failure> {
    let people = People::read(config, store).await?;
    let who = people.person(config, store, by.person.as_deref()).await?;
    let (_, policies) = bundles::in_force(config, store).await?;
    Ok((who, people, policies))
}

/// Carries out what is due.
async fn carry_out(config: &Config, store: &Store, as_of: Timestamp) -> Result<(), Failure> {
    let tools = config.tools_of(store).map_err(Failure::input)?;
    let engine = Engine {
        config,
        store,
        tools: &tools,
        stop: stop_signal(),
    };
    let worker = RunId::derive(config.clock.now(), as_of);
    dispatch::drain(&engine, &worker, None, &mut |_| {})
        .await
        .map_err(Failure::failed)?;
    Ok(())
}

async fn apply(
    config: &Config,
    store: &Store,
    row: ActionRow,
    event: Event,
    by: &By,
    run_now: bool,
    output: &Output,
) -> Result<(), Failure> {
    let (who, people, policies) = deciding(config, store, by).await?;
    let decided = decide(config, store, &row, &event, (&who, &people), &policies).await?;
    if run_now && decided.state == ActionState::Permitted {
        carry_out(config, store, row.as_of).await?;
    }
    let after = store.action(row.id.as_str()).await?;
    let effects = store.effects_of(&row.id).await?;
    if output.json() {
        let mut document = planned_item(&after, &planned(store, config.clock.now()).await?);
        document["by"] = json!(who.id);
        document["in_place_of"] = json!(decided.authority);
        document["still_needed"] = json!(decided.still);
        document["effects"] = effects.iter().map(card::effect_json).collect();
        output.document(&document);
        return refused_by_crm(&after);
    }
    output.line(&format!(
        "{} is now {} ({})",
        after.id,
        after.state,
        said_by(&who, &decided)
    ));
    for effect in &effects {
        output.line(&format!("  {}", card::effect_line(effect)));
    }
    if after.state == ActionState::Permitted && config.salesforce.is_none() && config.hubspot.is_none() {
        output.line("  no CRM is configured: its effects wait until one is");
    }
    refused_by_crm(&after)
}

/// Who said it, in whose place, and whose yes is still needed.
fn said_by(who: &Person, decided: &Decided) -> String {
    let place = decided
        .authority
        .as_ref()
        .map_or_else(String::new, |whose| format!(" for {whose}"));
    let still = match decided.still.as_slice() {
        [] => String::new(),
        roles => {
            let roles: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
            format!("; still needed: {}", roles.join(", "))
        }
    };
    format!("by {}{place}{still}", who.id)
}

/// An approval that the CRM did not carry out is no success; what it said has been printed.
fn refused_by_crm(row: &ActionRow) -> Result<(), Failure> {
    if row.state == ActionState::Failed {
        Err(Failure::said())
    } else {
        Ok(())
    }
}
