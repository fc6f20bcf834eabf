//! `perennial policy diff, plan, apply, confirm, rollback, shadow, status`: what other policies would do, and how they come into
//! force.

use std::sync::Arc;

use clap::Subcommand;
use perennial_core::policy::{Content, Policies, run_cases};
use perennial_core::time::Timestamp;
use perennial_prove::{Example, KindChange, Prover, TIMEOUT_MS, program};
use perennial_store::{OfferKind, Store};
use serde_json::{Value, json};

use super::output::{Need, open, progress_bar};
use super::run::duration;
use super::{Failure, Output};
use crate::bundles::{self, Outcome, Width};
use crate::config::{Config, PolicySource};
use crate::content;
use crate::queue::person;
use crate::whatif::{self, Difference};

#[derive(Debug, Subcommand)]
pub(super) enum BundleCommand {
    /// What the edited policies would have made of the past: stored decisions made again, nothing written
    Diff {
        /// How far back, such as 30d
        #[arg(long, default_value = "30d", value_parser = duration)]
        since: std::time::Duration,
        /// Changed actions shown one by one
        #[arg(long, default_value_t = 20)]
        examples: usize,
    },
    /// What would happen if the edited policies came into force: files, width, and the last month
    Plan {
        /// How far back, such as 30d
        #[arg(long, default_value = "30d", value_parser = duration)]
        since: std::time::Duration,
    },
    /// Put the edited policies in force; what may be wider waits for a second person
    Apply {
        /// Why
        #[arg(long)]
        why: String,
        /// Who you are [default: the user of the configuration]
        #[arg(long = "as", value_name = "PERSON")]
        person: Option<String>,
    },
    /// Put what another person proposed in force
    Confirm {
        /// Hash of the policies that wait, or its beginning
        hash: String,
        /// Who you are [default: the user of the configuration]
        #[arg(long = "as", value_name = "PERSON")]
        person: Option<String>,
    },
    /// Put policies back that were in force before, after the same checks
    Rollback {
        /// Their hash, or its beginning
        hash: String,
        /// Why
        #[arg(long)]
        why: String,
        /// Who you are [default: the user of the configuration]
        #[arg(long = "as", value_name = "PERSON")]
        person: Option<String>,
    },
    /// Withdraw what waits for a second person
    Withdraw {
        /// Who you are [default: the user of the configuration]
        #[arg(long = "as", value_name = "PERSON")]
        person: Option<String>,
    },
    /// Try the edited policies out beside those in force, silently
    #[command(subcommand)]
    Shadow(ShadowCommand),
    /// Which policies are in force, since when, by whom, and what waits
    Status,
}

#[derive(Debug, Subcommand)]
pub(super) enum ShadowCommand {
    /// Begin to try the edited policies out
    On {
        /// How long, such as 14d
        #[arg(long = "for", value_name = "DURATION", default_value = "14d", value_parser = duration)]
        time: std::time::Duration,
        /// Why
        #[arg(long)]
        why: String,
        /// Who you are [default: the user of the configuration]
        #[arg(long = "as", value_name = "PERSON")]
        person: Option<String>,
    },
    /// What they would have decided since
    Show,
    /// End it
    Off {
        /// Who you are [default: the user of the configuration]
        #[arg(long = "as", value_name = "PERSON")]
        person: Option<String>,
    },
}

/// Bundles that `status` lists.
const LISTED: u32 = 10;
/// Changed actions that `plan` and `shadow show` name.
const EXAMPLES: usize = 10;

pub(super) async fn bundle(config: &Config, command: BundleCommand, output: &Output) -> Result<(), Failure> {
    let store = open(config, Need::Existing).await?;
    let done = match command {
        BundleCommand::Diff { since, examples } => {
            let new = content::compile(config)?;
            let from = before(config.clock.now(), since);
            let meaning = meaning(config, &store, &new.1).await?;
            let found = replayed(config, &store, from, new, examples, output).await?;
            if output.json() {
                let mut document = serde_json::to_value(&found).map_err(Failure::failed)?;
                document["kinds"] = json!(meaning);
                output.document(&document);
            } else {
                print_meaning(meaning.as_deref(), output);
                print_difference(&found, from, output);
            }
            Ok(())
        }
        BundleCommand::Plan { since } => plan(config, &store, since, output).await,
        BundleCommand::Apply { why, person } => {
            let new = match content::compile(config) {
                Ok(new) => new,
                Err(error) => {
                    let hash = content::load(config)?.hash();
                    let (who, now) = (person.as_deref(), config.clock.now());
                    bundles::note_refused(&store, hash, &error.to_string(), who, now).await?;
                    return Err(error.into());
                }
            };
            change(config, &store, &new, &why, person.as_deref(), output).await
        }
        BundleCommand::Confirm { hash, person: name } => {
            let who = person(config, &store, name.as_deref()).await?;
            bundles::may_change(config, &who.id)?;
            let hash = bundles::confirm(&store, &hash, &who.id, config.clock.now()).await?;
            said(output, "in_force", &hash.to_string(), "in force");
            Ok(())
        }
        BundleCommand::Rollback { hash, why, person } => {
            let hash = bundles::formerly(&store, &hash).await?;
            let new = bundles::stored(&store, hash).await?;
            change(config, &store, &new, &why, person.as_deref(), output).await
        }
        BundleCommand::Withdraw { person: name } => {
            let who = person(config, &store, name.as_deref()).await?;
            bundles::may_change(config, &who.id)?;
            let hash = bundles::withdraw(&store, OfferKind::Proposal, &who.id, config.clock.now()).await?;
            said(output, "withdrawn", &hash.to_string(), "withdrawn");
            Ok(())
        }
        BundleCommand::Shadow(command) => shadow(config, &store, command, output).await,
        BundleCommand::Status => status(config, &store, output).await,
    };
    store.close().await;
    done
}

fn before(now: Timestamp, time: std::time::Duration) -> Timestamp {
    let us = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_us(now.us().saturating_sub(us))
}

fn said(output: &Output, outcome: &str, hash: &str, text: &str) {
    if output.json() {
        output.document(&json!({ "outcome": outcome, "hash": hash }));
    } else {
        output.line(&format!("policies {hash}: {text}"));
    }
}

async fn replayed(
    config: &Config,
    store: &Store,
    from: Timestamp,
    (content, policies): (Content, Policies),
    examples: usize,
    output: &Output,
) -> Result<Difference, Failure> {
    let bar = progress_bar(output, "comparing");
    let threads = config.limits.decide_threads();
    let policies = Arc::new(policies);
    let mut tell = |n| bar.set_message(format!("{n} decisions looked at"));
    let found = whatif::difference(store, from, (&content, &policies), threads, examples, &mut tell).await?;
    bar.finish_and_clear();
    Ok(found)
}

/// Which kinds of request gain or lose against what is in force; nothing where nothing is.
async fn meaning(config: &Config, store: &Store, policies: &Policies) -> Result<Option<Vec<KindChange>>, Failure> {
    let former = former(config, store).await?;
    Ok(former.map(|(_, former)| prover(config).difference(&former.gate, &policies.gate)))
}

fn print_meaning(meaning: Option<&[KindChange]>, output: &Output) {
    let Some(kinds) = meaning else { return };
    if kinds.is_empty() {
        output.line("no kind of request gains or loses, whatever the account");
        return;
    }
    output.heading("which requests gain or lose, whatever happened so far");
    let example = |what: &str, example: &Example| {
        let rules = example
            .rules
            .iter()
            .map(|r| format!("{} ({}:{})", r.id, r.file, r.line));
        let by = rules.collect::<Vec<_>>().join(", ");
        output.line(&format!("{what}, by {by}: for example {}", example.told));
    };
    for kind in kinds {
        if let Some(gains) = &kind.gains {
            example(&format!("+ {} is allowed where it was not", kind.action), gains);
        }
        if let Some(loses) = &kind.loses {
            example(&format!("- {} is no longer allowed everywhere", kind.action), loses);
        }
        if let Some(why) = &kind.not_known {
            output.line(&format!("? {}: {why}", kind.action));
        }
    }
}

fn print_difference(found: &Difference, from: Timestamp, output: &Output) {
    output.line(&format!(
        "{} of {} actions change, at {} accounts ({} decisions since {})",
        found.changed,
        found.actions,
        found.accounts.len(),
        found.decisions,
        from.day()
    ));
    if found.replayed > 0 {
        output.line(&format!("{} decided anew from what was known then", found.replayed));
    }
    if found.asked_again > 0 {
        output.line(&format!(
            "{} asked about again without deciding anew, because only files of the gate differ",
            found.asked_again
        ));
    }
    if found.decisions == 0 {
        output.line("! nothing was decided in that time, so this says nothing");
    }
    if !found.ways.is_empty() {
        output.heading("what changes");
        output.table(
            &["was", "would be", "actions"],
            found
                .ways
                .iter()
                .map(|w| vec![w.was.clone(), w.now.clone(), w.actions.to_string()]),
        );
    }
    if !found.approvals.is_empty() {
        output.heading("approvals");
        output.table(
            &["who", "was", "would be"],
            found
                .approvals
                .iter()
                .map(|l| vec![l.role.clone(), l.was.to_string(), l.now.to_string()]),
        );
    }
    if !found.examples.is_empty() {
        output.heading("for example");
        output.table(
            &["day", "account", "what", "was", "would be", "rule"],
            found.examples.iter().map(|c| {
                vec![
                    c.day.to_string(),
                    c.account.as_str().to_owned(),
                    c.title.clone(),
                    c.was.clone(),
                    c.now.clone(),
                    c.rule.clone().unwrap_or_default(),
                ]
            }),
        );
    }
}

/// What is in force, or the bundle that a change is measured against; nothing before the first one.
async fn former(config: &Config, store: &Store) -> Result<Option<(Content, Policies)>, Failure> {
    match store.live_content().await? {
        Some(live) => Ok(Some(bundles::stored(store, live.hash).await?)),
        None => match (config.policy.source, store.last_run().await?) {
            // In the folder's way, the last run says what was in force.
            (PolicySource::Folder, Some(run)) => Ok(Some(bundles::stored(store, run.content).await?)),
            _ => Ok(None),
        },
    }
}

fn prover(config: &Config) -> Prover {
    Prover {
        program: program(),
        threads: config.limits.decide_threads(),
        timeout_ms: TIMEOUT_MS,
        now: config.clock.now(),
    }
}

/// How wide a change is, measured against what is in force.
fn width_of(config: &Config, former: Option<&(Content, Policies)>, new: &Content, policies: &Policies) -> Width {
    let Some((content, before)) = former else {
        return Width::Narrower("nothing was in force".to_owned());
    };
    bundles::width(content, new, || {
        prover(config)
            .narrower(&before.gate, &policies.gate)
            .map_err(|why| format!("the rules are changed: {why}"))
    })
}

/// What comes into force has passed its tests, and, unless the configuration says otherwise, its promises are proved.
fn sound(config: &Config, policies: &Policies) -> Result<(), Failure> {
    let tests = run_cases(policies);
    if let Some(first) = tests.failed.first() {
        return Err(Failure::failed(format!(
            "{} tests of the policies fail, the first at {}:{} ({}): nothing was put in force; see `perennial policy test`",
            tests.failed.len(),
            first.file,
            first.line,
            first.name
        )));
    }
    if !config.policy.prove {
        return Ok(());
    }
    let report = prover(config).prove(&policies.gate);
    if report.holds() {
        return Ok(());
    }
    let broken = report.broken.iter().map(|b| format!("{} is broken", b.promise));
    let unproved = report
        .not_proved
        .iter()
        .map(|n| format!("{} is not proved: {}", n.promise, n.why));
    let rules = report.erroring_rules.iter().chain(&report.unchecked_rules);
    let rules = rules.map(|r| format!("the rule {} may fail", r.rule));
    let first = broken.chain(unproved).chain(rules).next();
    Err(Failure::failed(format!(
        "nothing was put in force: {}; see `perennial policy prove`",
        first.unwrap_or_else(|| "there are no promises".to_owned())
    )))
}

fn width_lines(width: &Width) -> Vec<String> {
    match width {
        Width::Same => vec!["nothing is changed".to_owned()],
        Width::Narrower(why) => vec![format!("one person is enough: {why}")],
        Width::Wider(why) => std::iter::once("a second person has to confirm:".to_owned())
            .chain(why.iter().map(|why| format!("  {why}")))
            .collect(),
    }
}

async fn plan(config: &Config, store: &Store, since: std::time::Duration, output: &Output) -> Result<(), Failure> {
    let (new, policies) = content::compile(config)?;
    let former = former(config, store).await?;
    let files = former.as_ref().map(|(former, _)| bundles::changed_files(former, &new));
    let width = width_of(config, former.as_ref(), &new, &policies);
    let from = before(config.clock.now(), since);
    let meaning = meaning(config, store, &policies).await?;
    let hash = new.hash();
    let found = replayed(config, store, from, (new, policies), EXAMPLES, output).await?;
    if output.json() {
        output.document(&json!({
            "kinds": meaning,
            "hash": hash,
            "files": files,
            "width": width,
            "difference": found,
        }));
        return Ok(());
    }
    output.line(&format!("policies {hash}"));
    match &files {
        None => output.line("nothing is in force yet"),
        Some(files) => {
            for file in files {
                output.line(&format!("  changed: {file}"));
            }
        }
    }
    for line in width_lines(&width) {
        output.line(&line);
    }
    print_meaning(meaning.as_deref(), output);
    print_difference(&found, from, output);
    Ok(())
}

async fn change(
    config: &Config,
    store: &Store,
    (new, policies): &(Content, Policies),
    why: &str,
    name: Option<&str>,
    output: &Output,
) -> Result<(), Failure> {
    let who = person(config, store, name).await?;
    bundles::may_change(config, &who.id)?;
    if let Err(failure) = sound(config, policies) {
        let why = failure.to_string();
        bundles::note_refused(store, new.hash(), &why, Some(&who.id), config.clock.now()).await?;
        return Err(failure);
    }
    let former = former(config, store).await?;
    let width = width_of(config, former.as_ref(), new, policies);
    let outcome = bundles::apply(store, new, &width, &who.id, why, config.clock.now()).await?;
    let hash = new.hash().to_string();
    if output.json() {
        let word = match outcome {
            Outcome::InForce => "in_force",
            Outcome::Proposed => "proposed",
            Outcome::Unchanged => "unchanged",
        };
        output.document(&json!({ "outcome": word, "hash": hash, "width": width }));
        return Ok(());
    }
    match outcome {
        Outcome::Unchanged => output.line(&format!("policies {hash} are in force already")),
        Outcome::InForce => output.line(&format!("policies {hash} are in force")),
        Outcome::Proposed => {
            for line in width_lines(&width) {
                output.line(&line);
            }
            let short: String = hash.chars().take(12).collect();
            output.line(&format!(
                "proposed; in force once somebody else runs `perennial policy confirm {short} --as PERSON`"
            ));
        }
    }
    if config.policy.source == PolicySource::Folder {
        output
            .line("! the configuration says policy.source = \"folder\": runs still decide by the folder as it stands");
    }
    Ok(())
}

async fn shadow(config: &Config, store: &Store, command: ShadowCommand, output: &Output) -> Result<(), Failure> {
    let now = config.clock.now();
    match command {
        ShadowCommand::On {
            time,
            why,
            person: name,
        } => {
            let who = person(config, store, name.as_deref()).await?;
            bundles::may_change(config, &who.id)?;
            let (new, _) = content::compile(config)?;
            let until = Timestamp::from_us(now.us().saturating_add(i64::try_from(time.as_micros()).unwrap_or(0)));
            bundles::try_out(store, &new, &who.id, &why, now, until).await?;
            said(
                output,
                "shadow",
                &new.hash().to_string(),
                &format!("tried out until {until}"),
            );
            Ok(())
        }
        ShadowCommand::Off { person: name } => {
            let who = person(config, store, name.as_deref()).await?;
            bundles::may_change(config, &who.id)?;
            let hash = bundles::withdraw(store, OfferKind::Shadow, &who.id, now).await?;
            said(output, "withdrawn", &hash.to_string(), "not tried out any more");
            Ok(())
        }
        ShadowCommand::Show => {
            let offer = store.offered_content(OfferKind::Shadow).await?.ok_or_else(|| {
                Failure::input("nothing is tried out: begin with `perennial policy shadow on --why TEXT`")
            })?;
            let tried = bundles::stored(store, offer.hash).await?;
            let found = replayed(config, store, offer.at, tried, EXAMPLES, output).await?;
            if output.json() {
                output.document(&json!({
                    "hash": offer.hash, "since": offer.at, "until": offer.until, "by": offer.person, "why": offer.why,
                    "difference": found,
                }));
                return Ok(());
            }
            output.line(&format!(
                "policies {} since {} by {}: {}",
                offer.hash, offer.at, offer.person, offer.why
            ));
            if offer.until.is_some_and(|until| until < now) {
                output.line("! the time it was meant for is over");
            }
            print_difference(&found, offer.at, output);
            Ok(())
        }
    }
}

async fn status(config: &Config, store: &Store, output: &Output) -> Result<(), Failure> {
    let history = store.live_history(LISTED).await?;
    let (proposal, shadow) = (
        store.offered_content(OfferKind::Proposal).await?,
        store.offered_content(OfferKind::Shadow).await?,
    );
    let refused = bundles::last_refused(store).await?;
    let folder = content::compile(config).map(|(content, _)| content.hash());
    let source = match config.policy.source {
        PolicySource::Folder => "folder",
        PolicySource::Applied => "applied",
    };
    let in_force = match (config.policy.source, &folder) {
        (PolicySource::Folder, Ok(hash)) => Some(*hash),
        (PolicySource::Folder, Err(_)) => None,
        (PolicySource::Applied, _) => history.first().map(|live| live.hash),
    };
    let offered = |offer: &Option<perennial_store::OfferedContent>| -> Value {
        offer.as_ref().map_or(
            Value::Null,
            |o| json!({ "hash": o.hash, "at": o.at, "by": o.person, "why": o.why, "until": o.until }),
        )
    };
    if output.json() {
        let history: Vec<Value> = history
            .iter()
            .map(|l| json!({ "hash": l.hash, "at": l.at, "by": l.proposed_by, "confirmed_by": l.confirmed_by, "why": l.why }))
            .collect();
        let folder = match &folder {
            Ok(hash) => json!({ "hash": hash }),
            Err(error) => json!({ "error": error.to_string() }),
        };
        output.document(&json!({
            "source": source, "in_force": in_force, "folder": folder, "history": history,
            "proposal": offered(&proposal), "shadow": offered(&shadow), "refused": offered(&refused),
        }));
        return Ok(());
    }
    match in_force {
        Some(hash) => output.line(&format!("in force: {hash} ({source})")),
        None => output.line("✗ nothing is in force"),
    }
    match (&folder, in_force) {
        (Ok(hash), Some(live)) if *hash == live => output.line("the folder holds the same"),
        (Ok(hash), _) => output.line(&format!("the folder holds {hash}: see `perennial policy plan`")),
        (Err(error), _) => output.line(&format!(
            "✗ the folder is not right, and does not come into force: {error}"
        )),
    }
    for (word, offer) in [
        ("waits for a second person", &proposal),
        ("tried out", &shadow),
        ("last refused", &refused),
    ] {
        if let Some(o) = offer {
            output.line(&format!("{word}: {} since {} by {}: {}", o.hash, o.at, o.person, o.why));
        }
    }
    if !history.is_empty() {
        output.heading("put in force");
        output.table(
            &["when", "policies", "by", "confirmed by", "why"],
            history.iter().map(|l| {
                vec![
                    l.at.to_string(),
                    l.hash.to_string().chars().take(16).collect(),
                    l.proposed_by.clone(),
                    l.confirmed_by.clone().unwrap_or_default(),
                    l.why.clone(),
                ]
            }),
        );
    }
    Ok(())
}
