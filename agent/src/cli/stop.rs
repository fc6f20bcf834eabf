//! `perennial stop` and `perennial resume`.

use clap::Args;
use perennial_core::action::ActionKind;
use perennial_core::ids::AccountId;
use perennial_core::signal::{Crm, Tier};
use perennial_core::stop::{Stop, StopScope};
use perennial_store::Store;
use serde_json::{Value, json};

use super::output::{Need, open};
use super::{Failure, Output};
use crate::config::Config;
use crate::content;
use crate::people::person;
use crate::stopping::{self, StoppingError};

#[derive(Debug, Args)]
pub(super) struct StopArgs {
    #[command(flatten)]
    scope: ScopeArgs,
    /// Why; others read it who find things stopped
    #[arg(long)]
    reason: String,
    /// Who you are [default: `user` of the configuration, or PERENNIAL_USER]
    #[arg(long = "as", value_name = "PERSON")]
    person: Option<String>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct ScopeArgs {
    /// Everything
    #[arg(long)]
    all: bool,
    /// Accounts of a tier
    #[arg(long, value_parser = tier)]
    tier: Option<Tier>,
    /// Actions of a kind, such as createTask
    #[arg(long, value_parser = kind)]
    kind: Option<ActionKind>,
    /// Everything that goes to a CRM
    #[arg(long, value_parser = tool)]
    tool: Option<Crm>,
    /// One account
    #[arg(long)]
    account: Option<String>,
}

impl ScopeArgs {
    /// The one that was given; clap has seen to it that there is one.
    fn scope(&self) -> StopScope {
        let given = self.tier.map(StopScope::Tier);
        let given = given.or_else(|| self.kind.map(StopScope::Kind));
        let given = given.or_else(|| self.tool.map(StopScope::Tool));
        let account = self.account.as_ref().map(|a| StopScope::Account(AccountId::new(a)));
        given.or(account).unwrap_or(StopScope::All)
    }
}

fn known<T: Copy>(word: &str, all: &[T], name: fn(T) -> &'static str) -> Result<T, String> {
    let found = all.iter().copied().find(|value| name(*value) == word);
    found.ok_or_else(|| {
        let words: Vec<&str> = all.iter().map(|value| name(*value)).collect();
        format!("known are {}", words.join(", "))
    })
}

const FORM: &str = "it is a small letter, then letters, digits and `_`";

fn tier(word: &str) -> Result<Tier, String> {
    Tier::from_word(&word.replace('-', "_")).ok_or_else(|| FORM.to_owned())
}

fn kind(word: &str) -> Result<ActionKind, String> {
    ActionKind::from_word(word).ok_or_else(|| FORM.to_owned())
}

fn tool(word: &str) -> Result<Crm, String> {
    known(word, Crm::ALL, Crm::as_str)
}

pub(super) async fn stop(config: &Config, args: &StopArgs, output: &Output) -> Result<(), Failure> {
    let store = open(config, Need::Existing).await?;
    let who = person(config, &store, args.person.as_deref()).await?;
    let scope = args.scope.scope();
    reaches_something(config, &store, &scope).await?;
    let stop = stopping::stop(&store, scope, &who, &args.reason, config.clock.now()).await?;
    store.close().await;
    if output.json() {
        output.document(&document(&stop));
    } else {
        output.line(&format!("stopped: {} (by {})", stop.scope, stop.person));
        output.line("effects that were begun are ended; all others wait and nothing is lost");
    }
    Ok(())
}

pub(super) async fn resume(config: &Config, args: &StopArgs, output: &Output) -> Result<(), Failure> {
    let store = open(config, Need::Existing).await?;
    let who = person(config, &store, args.person.as_deref()).await?;
    let scope = args.scope.scope();
    let named = content::vocabulary(config)?;
    stopping::resume(&store, &scope, (&who, &named), &args.reason, config.clock.now()).await?;
    store.close().await;
    if output.json() {
        let (word, subject) = scope.words();
        output.document(&json!({ "scope": word, "subject": subject, "stopped": false, "by": who.id }));
    } else {
        output.line(&format!("goes on: {scope} (by {})", who.id));
    }
    Ok(())
}

/// A stop of what nobody knows would reach nothing and look as if it did.
async fn reaches_something(config: &Config, store: &Store, scope: &StopScope) -> Result<(), Failure> {
    let unknown = |what: &str, known: Vec<&str>| {
        Err(Failure::input(format!(
            "there is no {what}; known are {}",
            known.join(", ")
        )))
    };
    match scope {
        StopScope::All | StopScope::Tool(_) => Ok(()),
        StopScope::Tier(tier) => {
            let named = content::vocabulary(config)?;
            if named.tiers().contains(tier) {
                return Ok(());
            }
            unknown(
                &format!("tier `{tier}`"),
                named.tiers().iter().map(|tier| tier.as_str()).collect(),
            )
        }
        StopScope::Kind(kind) => {
            let named = content::vocabulary(config)?;
            if named.action(kind.as_str()).is_some() {
                return Ok(());
            }
            unknown(
                &format!("kind `{kind}`"),
                named.actions().map(ActionKind::as_str).collect(),
            )
        }
        StopScope::Account(account) => {
            let signals = store.account_signals(std::slice::from_ref(account)).await?;
            if signals.values().all(Vec::is_empty) {
                return Err(Failure::input(format!(
                    "there is no account `{account}`: `perennial account list` shows those there are"
                )));
            }
            Ok(())
        }
    }
}

pub(super) fn document(stop: &Stop) -> Value {
    let (word, subject) = stop.scope.words();
    json!({
        "scope": word,
        "subject": subject,
        "stopped": true,
        "since": stop.since,
        "by": stop.person,
        "reason": stop.reason,
    })
}

impl From<StoppingError> for Failure {
    fn from(error: StoppingError) -> Failure {
        match error {
            StoppingError::Store(error) => Failure::from(error),
            StoppingError::NoReason => Failure::input(error),
            StoppingError::Already { .. } | StoppingError::NotStopped { .. } | StoppingError::NotAllowed { .. } => {
                Failure::failed(error)
            }
        }
    }
}
