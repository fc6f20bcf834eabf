//! The cycle: due accounts, their snapshots, decisions, commit; then each person's day, and what runs by itself.
//!
//! Promises: repeating a run for the same time with the same facts and policies changes nothing; a run that was stopped
//! anywhere can be run again. Order of accounts and number of threads do not change a byte.

mod feeds;
mod pages;
mod peers;
mod plan;
mod rows;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt as _;
use perennial_core::action::Write;
use perennial_core::decide::{Decision, ENGINE, NoteKind, Proposal};
use perennial_core::ids::{ActionId, DecisionId, RunId};
use perennial_core::policy::gate::Addressee;
use perennial_core::policy::{Level, Policies, RuleRef};
use perennial_core::replay::{Hash, canonical};
use perennial_core::score::Band;
use perennial_core::snapshot::Portfolio;
use perennial_core::time::Timestamp;
use perennial_store::{DecisionCommit, NoRoom, Packed, RunRow, Store, StoreError};
use perennial_tools::Registry;
use serde::Serialize;

use crate::bundles::{self, BundleError};
use crate::calls::{self, CallsLeft};
use crate::config::Config;
use crate::dispatch::{self, DispatchError};
use crate::plays::Moves;

pub(crate) use pages::{Considered, OwnActions, Pages, each_at};
pub use plan::DaySummary;
use plan::Deferred;
pub(crate) use plan::draw_chances;
use rows::{commit_of, denied, draft_rows, new_action, permitting_of};
pub(crate) use rows::{intent, tier_of};
pub use watch::{Step, Watch, watch};

/// How to run.
#[derive(Debug, Clone, Copy)]
pub struct RunOptions {
    /// Facts up to here.
    pub as_of: Timestamp,
    /// That is the present: each account is decided about as of the last moment at which something became known of it, so
    /// that two runs on one day come to the same decision where nothing did.
    pub live: bool,
    /// Decide and report, write nothing.
    pub dry_run: bool,
}

/// Counts of actions by what became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct ActionCounts {
    /// Run without a person.
    pub auto: u64,
    /// Wait for a person.
    pub waiting: u64,
    /// Shown as advice.
    pub advised: u64,
    /// Policy says no.
    pub denied: u64,
    /// Would run by themselves, but the person's day is full; proposed again at the next run.
    pub deferred: u64,
}

/// Effects: what this run settled, and what is open now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Effects {
    /// Done by this run.
    pub done: u64,
    /// Wait for a CRM or their time, of this run or an earlier one.
    pub waiting: u64,
    /// Sent, the answer was lost, of this run or an earlier one.
    pub unknown: u64,
    /// Refused for good in this run.
    pub failed: u64,
    /// Not written over somebody else's edit in this run: they wait in the queue with both values.
    pub conflicts: u64,
}

/// What a run did.
#[derive(Debug, Clone, Serialize)]
pub struct RunReport {
    /// Run.
    pub run: RunId,
    /// Facts up to here.
    pub as_of: Timestamp,
    /// Accounts looked at.
    pub accounts: u64,
    /// Decisions made, one an account.
    pub decisions: u64,
    /// Of these, new ones: the rest had been made before from the same facts.
    pub decisions_new: u64,
    /// Actions.
    pub actions: ActionCounts,
    /// Effects.
    pub effects: Effects,
    /// What people have stopped, as sentences.
    pub stopped: Vec<String>,
    /// Promotions that wait for a person, and what this run proposed or took back, as sentences.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub autonomy: Vec<String>,
    /// What is left of the calls that the CRMs allow.
    pub calls: Vec<CallsLeft>,
    /// Hash over all decisions, in the order of accounts.
    pub decisions_hash: Hash,
    /// Hash of policies and prompts.
    pub content: Hash,
    /// How often each playbook was proposed.
    pub playbooks: BTreeMap<String, u64>,
    /// How often something was left out, by reason.
    pub notes: BTreeMap<&'static str, u64>,
    /// Accounts by band of health; `cannot assess` where too little is known.
    pub health: BTreeMap<&'static str, u64>,
    /// Each person's day.
    pub days: Vec<DaySummary>,
    /// Stopped before the end by a signal; run again to continue.
    pub interrupted: bool,
    /// Nothing was written.
    pub dry_run: bool,
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There are no policies to decide by.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Dispatch failed.
    #[error(transparent)]
    Dispatch(#[from] DispatchError),
    /// There is nothing to decide about.
    #[error("there are no accounts: import some first, for example `perennial import DIR --mapping FILE`")]
    Empty,
    /// A thread that decides ended before its time: a defect.
    #[error("a deciding thread stopped unexpectedly: run again, and report this if it happens again")]
    Stopped,
    /// A decision that was just stored cannot be read: a defect.
    #[error(transparent)]
    Unreadable(#[from] perennial_core::replay::UnreadableText),
}

/// What is told while a run goes on.
#[derive(Debug, Clone, Copy)]
pub enum Progress {
    /// Accounts decided so far.
    Accounts(u64),
    /// Effects settled so far.
    Effects(u64),
}

/// Everything a run needs.
pub struct Engine<'a> {
    /// Configuration.
    pub config: &'a Config,
    /// Database.
    pub store: &'a Store,
    /// CRMs.
    pub tools: &'a Registry,
    /// Turns true when the run should stop at the next safe point.
    pub stop: tokio::sync::watch::Receiver<bool>,
}

/// Runs the cycle once.
///
/// # Errors
/// [`RunError`]; what was committed before stands and a repeated run continues from there.
pub async fn run_once(
    engine: &Engine<'_>,
    options: &RunOptions,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<RunReport, RunError> {
    let (texts, policies) = bundles::in_force(engine.config, engine.store).await?;
    let policies = Arc::new(policies);
    let started = engine.config.clock.now();
    let run = RunId::derive(started, options.as_of);
    let mut cycle = Cycle::new(engine, *options, run.clone(), Arc::clone(&policies), started);
    if options.dry_run {
        cycle.decide_all(progress).await?;
        let deferred = std::mem::take(&mut cycle.deferred);
        cycle.plan(deferred, None).await?;
        return Ok(cycle.report(Effects::default()));
    }
    engine.store.put_content(&policies.content, &canonical(&texts)).await?;
    start(engine, &run, policies.content, options.as_of, started).await?;
    let outcome = cycle.carry_out(progress).await;
    // Even a failed run is finished, so that the next one may start at once.
    let summary = match &outcome {
        Ok(report) => canonical(report),
        Err(error) => canonical(&BTreeMap::from([("error", error.to_string())])),
    };
    let finished = engine.store.finish_run(&run, &summary, engine.config.clock.now()).await;
    let report = outcome?;
    finished?;
    Ok(report)
}

/// Enters a run, if no other one is going on.
async fn start(
    engine: &Engine<'_>,
    run: &RunId,
    content: Hash,
    as_of: Timestamp,
    started: Timestamp,
) -> Result<(), StoreError> {
    let row = RunRow {
        id: run.clone(),
        as_of,
        started_at: started,
        heartbeat_at: started,
        lease_us: engine.config.limits.run_lease_ms.saturating_mul(1000),
        content,
        engine: ENGINE.to_owned(),
        finished_at: None,
        summary: None,
    };
    engine.store.start_run(&row).await
}

struct Cycle<'a> {
    engine: &'a Engine<'a>,
    options: RunOptions,
    run: RunId,
    policies: Arc<Policies>,
    started: Timestamp,
    /// The moment of a step of the standing run; a single run asks the clock.
    step_at: Option<Timestamp>,
    portfolio: Arc<Portfolio>,
    accounts: u64,
    decisions_new: u64,
    actions: ActionCounts,
    chain: Hash,
    playbooks: BTreeMap<String, u64>,
    notes: BTreeMap<&'static str, u64>,
    health: BTreeMap<&'static str, u64>,
    deferred: Vec<Deferred>,
    days: Vec<DaySummary>,
    stopped: Vec<String>,
    autonomy: Vec<String>,
    calls: Vec<CallsLeft>,
    interrupted: bool,
}

/// A decision with its texts, ready to commit.
struct Decided {
    decision: Decision,
    inputs: Packed,
    inputs_hash: Hash,
    output: Packed,
    output_hash: Hash,
    /// Actions of the same day that wait and are not proposed any more.
    gone: Vec<ActionId>,
    /// Whom its actions address.
    whom: Addressee,
}

impl Decided {
    /// The decision about an account, if its own record is known: what other records say of it waits for that.
    fn of(considered: Considered) -> Option<Decided> {
        if !considered.is_known() {
            return None;
        }
        let Considered {
            inputs, decision, gone, ..
        } = considered;
        let whom = Addressee::of(&inputs.snapshot);
        let (inputs, output) = (canonical(&inputs), canonical(&decision));
        Some(Decided {
            inputs_hash: Hash::of(inputs.as_bytes()),
            output_hash: Hash::of(output.as_bytes()),
            decision,
            inputs: Packed::of(&inputs),
            output: Packed::of(&output),
            gone,
            whom,
        })
    }
}

impl<'a> Cycle<'a> {
    fn new(
        engine: &'a Engine<'a>,
        options: RunOptions,
        run: RunId,
        policies: Arc<Policies>,
        started: Timestamp,
    ) -> Cycle<'a> {
        Cycle {
            engine,
            options,
            run,
            policies,
            started,
            step_at: None,
            portfolio: Arc::new(Portfolio::default()),
            accounts: 0,
            decisions_new: 0,
            actions: ActionCounts::default(),
            chain: Hash::ZERO,
            playbooks: BTreeMap::new(),
            notes: BTreeMap::new(),
            health: BTreeMap::new(),
            deferred: Vec::new(),
            days: Vec::new(),
            stopped: Vec::new(),
            autonomy: Vec::new(),
            calls: Vec::new(),
            interrupted: false,
        }
    }

    async fn carry_out(&mut self, progress: &mut (dyn FnMut(Progress) + Send)) -> Result<RunReport, RunError> {
        let now = self.engine.config.clock.now();
        crate::queue::housekeeping(self.engine.store, now).await?;
        crate::queue::ask_next(self.engine.store, &self.policies, now).await?;
        self.review(now).await?;
        self.decide_all(progress).await?;
        let deferred = std::mem::take(&mut self.deferred);
        if !self.interrupted {
            self.plan(deferred, None).await?;
        }
        let drained = dispatch::drain(self.engine, &self.run, Some(&self.run), progress).await?;
        self.interrupted |= *self.engine.stop.borrow();
        let open = self.engine.store.effect_counts(None).await?;
        self.stopped = stopped(self.engine.store).await?;
        self.autonomy.extend(crate::earned::waiting(self.engine.store).await?);
        self.calls = calls::left(self.engine.config, self.engine.store).await?;
        let effects = Effects {
            done: drained.done,
            waiting: open.waiting,
            unknown: open.unknown,
            failed: drained.failed,
            conflicts: drained.conflicts,
        };
        Ok(self.report(effects))
    }

    /// Looks at what was earned and what was lost, before anything is decided by it. Says whether less may run by itself now.
    async fn review(&mut self, now: Timestamp) -> Result<bool, RunError> {
        let moved = crate::earned::review(self.engine.store, &self.policies, now).await?;
        self.autonomy.extend(moved.iter().map(crate::earned::Moved::sentence));
        Ok(crate::earned::alters(&moved))
    }

    /// Decides about every account, in order, and commits batch by batch. Reading and deciding run ahead of committing.
    async fn decide_all(&mut self, progress: &mut (dyn FnMut(Progress) + Send)) -> Result<(), RunError> {
        let (store, own) = (self.engine.store, OwnActions::AsTheyStand);
        let times = [self.options.as_of];
        let pages = Pages::open(self.engine.config, store, &self.policies, &times, own).await?;
        let pages = if self.options.live {
            pages.live(self.options.as_of)
        } else {
            pages
        };
        self.portfolio = pages.portfolio();
        let decided = pages.decide(store, |_, at_all_times| at_all_times.next().and_then(Decided::of));
        let mut decided = std::pin::pin!(decided);
        let mut begun = self.engine.config.clock.now();
        while let Some(batch) = decided.next().await {
            let batch = batch?.into_iter().flatten().collect();
            let (known, now) = (self.accounts, self.engine.config.clock.now());
            self.commit(batch).await?;
            crate::meters::decided(self.accounts - known, now.us() - begun.us());
            begun = self.engine.config.clock.now();
            progress(Progress::Accounts(self.accounts));
            if *self.engine.stop.borrow() {
                self.interrupted = true;
                break;
            }
        }
        if self.accounts == 0 && !self.interrupted {
            return Err(RunError::Empty);
        }
        Ok(())
    }

    async fn commit(&mut self, batch: Vec<Decided>) -> Result<(), RunError> {
        let mut commits = Vec::with_capacity(batch.len());
        let mut drafts = Vec::new();
        let mut rules = BTreeMap::new();
        let decisions = batch.iter().map(|decided| &decided.decision);
        let mut plays = Moves::load(self.engine.store, &self.policies, decisions).await?;
        for decided in batch {
            self.count(&decided);
            if self.options.dry_run {
                continue;
            }
            let now = self.started;
            let moved = plays.of_decision(&decided.decision, now);
            let mut actions = Vec::new();
            for proposal in &decided.decision.proposals {
                if is_deferrable(proposal) {
                    continue;
                }
                let permitting = permitting_of(&self.policies, &decided.decision, proposal, &decided.whom, now);
                let action = new_action(&decided.decision, decided.inputs_hash, proposal, &permitting, now);
                let Some(action) = plays.with_play(&decided.decision, proposal, action, now) else {
                    continue;
                };
                actions.push(action);
                rules.insert(proposal.action.clone(), permitting.rules);
                drafts.extend(draft_rows(&decided.decision, proposal));
            }
            commits.push(commit_of(&self.run, decided, actions, moved));
        }
        if commits.is_empty() {
            return Ok(());
        }
        let now = self.now();
        let report = self.engine.store.commit_decisions(&self.run, &commits, now).await?;
        self.decisions_new += report.decisions_new;
        self.deny(&commits, &report.no_room, &rules, now).await?;
        if !drafts.is_empty() {
            self.engine.store.put_drafts(&drafts).await?;
        }
        self.engine.store.heartbeat_run(&self.run, now).await?;
        Ok(())
    }

    /// Stores what found no room as denied, with the rule of the limit. A run that is stopped before comes to the same again.
    async fn deny(
        &mut self,
        commits: &[DecisionCommit],
        no_room: &[NoRoom],
        rules: &BTreeMap<ActionId, Vec<RuleRef>>,
        now: Timestamp,
    ) -> Result<(), RunError> {
        let mut again = Vec::with_capacity(no_room.len());
        for refused in no_room {
            let rule = rules.get(&refused.action).and_then(|rules| rules.get(refused.hold));
            let of = |c: &&DecisionCommit| c.actions.iter().any(|a| a.row.id == refused.action);
            let (Some(rule), Some(commit)) = (rule, commits.iter().find(of)) else {
                continue;
            };
            for action in commit.actions.iter().filter(|a| a.row.id == refused.action) {
                let (action, entry) = denied(action, rule)?;
                again.push(DecisionCommit {
                    decision: commit.decision.clone(),
                    actions: vec![action],
                    supersede: Vec::new(),
                    ledger: vec![entry],
                    plays: Vec::new(),
                });
            }
            self.actions.auto = self.actions.auto.saturating_sub(1);
            self.actions.denied += 1;
        }
        self.engine.store.commit_decisions(&self.run, &again, now).await?;
        Ok(())
    }

    fn now(&self) -> Timestamp {
        self.step_at.unwrap_or_else(|| self.engine.config.clock.now())
    }

    /// Takes note of a decision for the report and the plan of the day.
    fn count(&mut self, decided: &Decided) {
        let decision = &decided.decision;
        self.accounts += 1;
        self.chain = Hash::of_parts(&[
            &self.chain.to_string(),
            decision.account.as_str(),
            &decided.output_hash.to_string(),
        ]);
        let band = decision.scores.health.band.map_or("cannot assess", Band::as_str);
        *self.health.entry(band).or_default() += 1;
        for note in &decision.notes {
            *self.notes.entry(NoteKind::as_str(note.kind)).or_default() += 1;
        }
        for proposal in &decision.proposals {
            *self.playbooks.entry(proposal.playbook.as_str().to_owned()).or_default() += 1;
            match proposal.verdict.level {
                Level::Auto if is_deferrable(proposal) => {}
                Level::Auto => self.actions.auto += 1,
                Level::Approve => self.actions.waiting += 1,
                Level::Advise => self.actions.advised += 1,
                Level::Never => self.actions.denied += 1,
            }
            let id = DecisionId::derive(&decision.account, &decided.inputs_hash);
            self.deferred.extend(Deferred::of(
                decision,
                proposal,
                id,
                is_deferrable(proposal),
                self.policies.gate.vocabulary(),
            ));
        }
    }

    fn report(&mut self, effects: Effects) -> RunReport {
        RunReport {
            run: self.run.clone(),
            as_of: self.options.as_of,
            accounts: self.accounts,
            decisions: self.accounts,
            decisions_new: self.decisions_new,
            actions: self.actions,
            effects,
            stopped: std::mem::take(&mut self.stopped),
            autonomy: std::mem::take(&mut self.autonomy),
            calls: std::mem::take(&mut self.calls),
            decisions_hash: self.chain,
            content: self.policies.content,
            playbooks: std::mem::take(&mut self.playbooks),
            notes: std::mem::take(&mut self.notes),
            health: std::mem::take(&mut self.health),
            days: std::mem::take(&mut self.days),
            interrupted: self.interrupted,
            dry_run: self.options.dry_run,
        }
    }
}

/// What is stopped, as sentences.
async fn stopped(store: &Store) -> Result<Vec<String>, StoreError> {
    Ok(store.stops().await?.iter().map(crate::stopping::sentence).collect())
}

/// Runs by itself but puts a task on a person's desk: whether it fits is known when the whole book is decided.
fn is_deferrable(proposal: &Proposal) -> bool {
    proposal.verdict.level == Level::Auto
        && proposal.minutes > 0
        && proposal
            .effects
            .iter()
            .any(|e| matches!(e.write, Write::CreateTask { .. }))
}
