//! The standing cycle: what is new about an account is taken up within seconds, and a new day is gone through once.
//!
//! Promises: after a step that found nothing to do, the latest decision about every account is, byte for byte, what a
//! full run at that moment would come to; nobody's day holds more than fits.
//!
//! What time alone changes (a renewal that comes nearer, a signal that fades, a feed that falls silent) changes with the
//! day, because every figure counts in days: a new day makes every account due. Within a day an account is due when a
//! signal of it is stored or becomes known, or when an action of an earlier day changes. People, products, the index
//! of peers and the age of feeds concern all accounts: when they change, or the policies do, every account is due.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use perennial_core::ids::{AccountId, OwnerId, RunId};
use perennial_core::policy::Policies;
use perennial_core::replay::{Hash, canonical};
use perennial_core::time::Timestamp;
use perennial_store::{DueAccount, StoreError};

use super::plan::Deferred;
use super::{
    ActionCounts, Cycle, Decided, Effects, Engine, OwnActions, Pages, RunError, RunOptions, RunReport, feeds, peers,
    start,
};
use crate::bundles::{self, BundleError};
use crate::worker;

/// What a step did.
#[derive(Debug, Clone)]
pub enum Step {
    /// Decided about accounts that were due.
    Due {
        /// Which.
        accounts: Vec<AccountId>,
        /// Decisions that are new: the rest came to what was known.
        decisions_new: u64,
        /// Actions, by what became of them.
        actions: ActionCounts,
    },
    /// Decided about a page of the day's pass over all accounts.
    Pass {
        /// Accounts of the pass so far.
        accounts: u64,
    },
    /// The day's pass is over: all accounts are decided about, and all days planned.
    PassDone(Box<RunReport>),
    /// Nothing to do.
    Idle,
}

/// Decides about what is due, step by step. It holds the run of the tenant as long as it lives.
pub struct Watch<'a> {
    cycle: Cycle<'a>,
    /// The book as the pass found it.
    pages: Pages,
    /// Where the day's pass is: `Some` with the last account that is done while it goes on.
    pass: Option<Option<AccountId>>,
    book: Book,
    beaten: Timestamp,
}

/// What today's decisions would take of people's time.
#[derive(Default)]
struct Book {
    accounts: BTreeMap<AccountId, Vec<Deferred>>,
    owners: BTreeMap<Option<OwnerId>, BTreeSet<AccountId>>,
}

impl Book {
    /// Puts new proposals in place of the earlier ones of some accounts; says whose days change.
    fn replace(&mut self, accounts: &[AccountId], new: Vec<Deferred>) -> BTreeSet<Option<OwnerId>> {
        let mut concerned = BTreeSet::new();
        for account in accounts {
            for earlier in self.accounts.remove(account).unwrap_or_default() {
                if let Some(held) = self.owners.get_mut(&earlier.owner) {
                    held.remove(account);
                }
                concerned.insert(earlier.owner);
            }
        }
        for deferred in new {
            let account = deferred.item.account.clone();
            self.owners
                .entry(deferred.owner.clone())
                .or_default()
                .insert(account.clone());
            concerned.insert(deferred.owner.clone());
            self.accounts.entry(account).or_default().push(deferred);
        }
        concerned
    }

    /// What concerns some people.
    fn of(&self, people: &BTreeSet<Option<OwnerId>>) -> Vec<Deferred> {
        let accounts = people.iter().filter_map(|person| self.owners.get(person)).flatten();
        let accounts: BTreeSet<&AccountId> = accounts.collect();
        let all = accounts
            .into_iter()
            .filter_map(|account| self.accounts.get(account))
            .flatten();
        all.filter(|d| people.contains(&d.owner)).cloned().collect()
    }

    fn all(&self) -> Vec<Deferred> {
        self.accounts.values().flatten().cloned().collect()
    }
}

impl<'a> Watch<'a> {
    /// Begins the day of `now`; every account is due.
    ///
    /// # Errors
    /// [`RunError`], also when another run goes on.
    pub async fn begin(engine: &'a Engine<'a>, now: Timestamp) -> Result<Watch<'a>, RunError> {
        let (texts, policies) = bundles::in_force(engine.config, engine.store).await?;
        engine.store.put_content(&policies.content, &canonical(&texts)).await?;
        Watch::day(engine, Arc::new(policies), now).await
    }

    async fn day(engine: &'a Engine<'a>, policies: Arc<Policies>, now: Timestamp) -> Result<Watch<'a>, RunError> {
        let run = RunId::derive(now, now);
        let options = RunOptions {
            as_of: now,
            live: true,
            dry_run: false,
        };
        start(engine, &run, policies.content, now, now).await?;
        let mut cycle = Cycle::new(engine, options, run, policies, now);
        match opening(&mut cycle).await {
            Ok(pages) => Ok(Watch {
                cycle,
                pages,
                pass: Some(None),
                book: Book::default(),
                beaten: now,
            }),
            Err(error) => {
                let summary = canonical(&BTreeMap::from([("error", error.to_string())]));
                engine.store.finish_run(&cycle.run, &summary, now).await?;
                Err(error)
            }
        }
    }

    /// Does the next thing there is to do at `now`: accounts that are due come before the day's pass.
    ///
    /// # Errors
    /// [`RunError`]. What was committed stands, and what was due stays due.
    pub async fn step(&mut self, now: Timestamp) -> Result<Step, RunError> {
        let engine = self.cycle.engine;
        // A clock that was set back does not take back what is known.
        let now = now.max(self.cycle.options.as_of);
        if now.day() != self.cycle.options.as_of.day() {
            self.finish(now).await?;
            let policies = Arc::clone(&self.cycle.policies);
            *self = Watch::day(engine, policies, now).await?;
            self.reload().await?;
        }
        self.cycle.options.as_of = now;
        self.cycle.started = now;
        self.cycle.step_at = Some(now);
        let limits = &engine.config.limits;
        if now.us() - self.beaten.us() > limits.run_lease_ms.saturating_mul(1000) / 3 {
            engine.store.heartbeat_run(&self.cycle.run, now).await?;
            self.beaten = now;
            crate::queue::housekeeping(engine.store, now).await?;
            crate::queue::ask_next(engine.store, &self.cycle.policies, now).await?;
            self.reload().await?;
            self.look_at_promotions(now).await?;
        }
        let size = limits.accounts_per_batch.max(1);
        let due = engine.store.due_accounts(now, size).await?;
        let (of_all, due): (Vec<DueAccount>, Vec<DueAccount>) = due.into_iter().partition(|d| d.account.is_none());
        if !of_all.is_empty() {
            let settled: Vec<_> = of_all.into_iter().map(|d| (d, None)).collect();
            engine.store.settle_due(&settled).await?;
            self.begin_pass().await?;
        }
        if self.book_moved(&due, now).await? {
            self.begin_pass().await?;
        }
        if !due.is_empty() {
            return self.decide_due(due).await;
        }
        match self.pass.clone() {
            Some(after) => self.go_on(after, size).await,
            None => Ok(Step::Idle),
        }
    }

    /// Ends the run.
    ///
    /// # Errors
    /// What writing brings.
    pub async fn finish(&mut self, now: Timestamp) -> Result<(), StoreError> {
        self.cycle.interrupted = self.pass.is_some();
        let report = self.cycle.report(Effects::default());
        self.cycle
            .engine
            .store
            .finish_run(&self.cycle.run, &canonical(&report), now)
            .await
    }

    /// Every account is due again.
    async fn begin_pass(&mut self) -> Result<(), RunError> {
        self.pages = opening(&mut self.cycle).await?;
        self.pass = Some(None);
        self.cycle.accounts = 0;
        self.cycle.chain = Hash::ZERO;
        Ok(())
    }

    /// Takes back what was not deserved, and takes up what people have promoted or taken back: every account is due then.
    async fn look_at_promotions(&mut self, now: Timestamp) -> Result<(), RunError> {
        self.cycle.review(now).await?;
        let promoted = crate::earned::promoted(self.cycle.engine.store, &self.cycle.policies).await?;
        if promoted != self.pages.promoted() {
            self.begin_pass().await?;
        }
        Ok(())
    }

    /// Takes up policies and prompts that were changed. What is wrong does not come into force: the former ones stay.
    async fn reload(&mut self) -> Result<(), RunError> {
        let engine = self.cycle.engine;
        let seen = match bundles::hash_in_force(engine.config, engine.store).await {
            Ok(hash) if hash == self.cycle.policies.content => return Ok(()),
            Ok(hash) => hash,
            Err(BundleError::Store(error)) => return Err(error.into()),
            Err(error) => {
                tracing::warn!(error = %error, "the policies cannot be read; the former ones stay in force");
                return Ok(());
            }
        };
        let (texts, policies) = match bundles::in_force(engine.config, engine.store).await {
            // Somebody is writing: the files of two moments are not a bundle. The next look finds it finished.
            Ok((_, policies)) if policies.content != seen => return Ok(()),
            Ok(compiled) => compiled,
            Err(BundleError::Store(error)) => return Err(error.into()),
            Err(error) => {
                tracing::warn!(error = %error, "the policies were changed and are not right; the former ones stay in force");
                let now = engine.config.clock.now();
                let noted = bundles::note_refused(engine.store, seen, &error.to_string(), None, now).await;
                if let Err(error) = noted {
                    tracing::warn!(error = %error, "that the policies were refused could not be noted");
                }
                return Ok(());
            }
        };
        engine.store.put_content(&policies.content, &canonical(&texts)).await?;
        self.cycle.policies = Arc::new(policies);
        self.begin_pass().await
    }

    /// Whether something that was known before today, and comes only now, has changed the age of feeds or the index of
    /// peers.
    async fn book_moved(&mut self, due: &[DueAccount], now: Timestamp) -> Result<bool, RunError> {
        let late = due.iter().filter(|d| d.due_at <= now.day().start());
        let mut late = late.filter_map(|d| d.account.as_ref()).peekable();
        let engine = self.cycle.engine;
        if late.peek().is_some() {
            let feeds = feeds::feeds(engine.store, &self.cycle.policies, &[now]).await?;
            if feeds.last() != self.pages.feeds() {
                return Ok(true);
            }
        }
        if !late.any(|account| self.pages.is_peer(account)) {
            return Ok(false);
        }
        let page = engine.config.limits.accounts_per_batch.max(1);
        let index = peers::peers(engine.store, &self.cycle.policies, &[now], page).await?;
        Ok(index.indices.last() != self.pages.peers())
    }

    /// Decides about some accounts as things stand; says which of them have something that becomes known later on the day.
    async fn decide(&mut self, accounts: Vec<AccountId>) -> Result<Vec<(AccountId, Timestamp)>, RunError> {
        let pages = self.pages.live(self.cycle.options.as_of);
        let page = pages.decide_page(self.cycle.engine.store, accounts, |id, at| {
            let considered = at.next()?;
            let next = considered.next.map(|next| (id.clone(), next));
            Some((Decided::of(considered), next))
        });
        let (clock, count) = (self.cycle.engine.config.clock, self.cycle.accounts);
        let begun = clock.now();
        let (decided, next): (Vec<_>, Vec<_>) = page.await?.into_iter().flatten().unzip();
        let took = clock.now().us() - begun.us();
        self.cycle.commit(decided.into_iter().flatten().collect()).await?;
        crate::meters::decided(self.cycle.accounts - count, took);
        Ok(next.into_iter().flatten().collect())
    }

    async fn decide_due(&mut self, due: Vec<DueAccount>) -> Result<Step, RunError> {
        let store = self.cycle.engine.store;
        let ids: Vec<AccountId> = due.iter().filter_map(|d| d.account.clone()).collect();
        let before = (self.cycle.decisions_new, self.cycle.actions);
        let next: BTreeMap<AccountId, Timestamp> = self.decide(ids.clone()).await?.into_iter().collect();
        let concerned = self.take_up(&ids);
        if self.pass.is_none() {
            self.cycle.days.clear();
            self.cycle.plan(self.book.of(&concerned), Some(&concerned)).await?;
        }
        let done: Vec<(DueAccount, Option<Timestamp>)> = due
            .into_iter()
            .map(|d| {
                let next = d.account.as_ref().and_then(|account| next.get(account).copied());
                (d, next)
            })
            .collect();
        store.settle_due(&done).await?;
        let now = self.cycle.actions;
        Ok(Step::Due {
            accounts: ids,
            decisions_new: self.cycle.decisions_new - before.0,
            actions: ActionCounts {
                auto: now.auto - before.1.auto,
                waiting: now.waiting - before.1.waiting,
                advised: now.advised - before.1.advised,
                denied: now.denied - before.1.denied,
                deferred: now.deferred - before.1.deferred,
            },
        })
    }

    /// The next page of the day's pass; after the last one the days are planned.
    async fn go_on(&mut self, after: Option<AccountId>, size: u32) -> Result<Step, RunError> {
        let store = self.cycle.engine.store;
        let page = store.account_ids(after.as_ref(), size).await?;
        let Some(last) = page.last().cloned() else {
            self.cycle.days.clear();
            self.cycle.plan(self.book.all(), None).await?;
            self.pass = None;
            self.cycle.stopped = super::stopped(store).await?;
            self.cycle.autonomy.extend(crate::earned::waiting(store).await?);
            self.cycle.calls = crate::calls::left(self.cycle.engine.config, store).await?;
            return Ok(Step::PassDone(Box::new(self.cycle.report(Effects::default()))));
        };
        let later = self.decide(page.clone()).await?;
        // The pass began by taking all marks away, those of the coming hours too.
        store.mark_due(&later).await?;
        self.take_up(&page);
        self.pass = Some(Some(last));
        Ok(Step::Pass {
            accounts: self.cycle.accounts,
        })
    }

    /// Takes what was just decided into the book; says whose days change.
    fn take_up(&mut self, accounts: &[AccountId]) -> BTreeSet<Option<OwnerId>> {
        let new = std::mem::take(&mut self.cycle.deferred);
        self.book.replace(accounts, new)
    }
}

/// What a pass begins with. All marks up to now go first: the pass reads what they stand for.
async fn opening(cycle: &mut Cycle<'_>) -> Result<Pages, RunError> {
    let (engine, now) = (cycle.engine, cycle.options.as_of);
    crate::queue::housekeeping(engine.store, now).await?;
    crate::queue::ask_next(engine.store, &cycle.policies, now).await?;
    cycle.review(now).await?;
    engine.store.settle_all_due(now).await?;
    let own = OwnActions::AsTheyStand;
    let pages = Pages::open(engine.config, engine.store, &cycle.policies, &[now], own).await?;
    cycle.portfolio = pages.portfolio();
    Ok(pages)
}

/// Pause before the next look for what is due when there was nothing.
const POLL: Duration = Duration::from_millis(50);
/// Pause before the next attempt when the database is away.
const RETRY: Duration = Duration::from_secs(1);

/// Decides about what is due, and carries out what may run, until it is told to stop. `tell` hears of each step.
///
/// # Errors
/// [`RunError`]. What was committed stands; beginning again goes on from there.
pub async fn watch(engine: &Engine<'_>, tell: &mut (dyn FnMut(&Step) + Send)) -> Result<(), RunError> {
    let broken = AtomicBool::new(false);
    let (done, ended) = tokio::sync::watch::channel(false);
    let sending = async {
        let outcome = send_on(engine, ended).await;
        broken.store(outcome.is_err(), Ordering::Relaxed);
        outcome
    };
    let deciding = async {
        let outcome = decide_on(engine, &broken, tell).await;
        // The other half has gone when this cannot be told.
        let _ = done.send(true);
        outcome
    };
    let (decided, sent) = tokio::join!(deciding, sending);
    decided.and(sent)
}

async fn decide_on(
    engine: &Engine<'_>,
    broken: &AtomicBool,
    tell: &mut (dyn FnMut(&Step) + Send),
) -> Result<(), RunError> {
    let clock = engine.config.clock;
    let mut watch = Watch::begin(engine, clock.now()).await?;
    let outcome = loop {
        if *engine.stop.borrow() || broken.load(Ordering::Relaxed) {
            break Ok(());
        }
        match watch.step(clock.now()).await {
            Ok(step) => {
                tell(&step);
                if matches!(step, Step::Idle) {
                    pause(engine, POLL).await;
                }
            }
            Err(error) if passes(&error) => {
                tracing::warn!(error = %error, "what is due stays due; trying again");
                pause(engine, RETRY).await;
            }
            Err(error) => break Err(error),
        }
    };
    // The run ends either way, so that the next one may start at once.
    let finished = watch.finish(clock.now()).await;
    outcome.and(finished.map_err(RunError::from))
}

/// Carries out what may run, until deciding has ended.
async fn send_on(engine: &Engine<'_>, ended: tokio::sync::watch::Receiver<bool>) -> Result<(), RunError> {
    let sending = Engine { stop: ended, ..*engine };
    worker::work(&sending).await?;
    Ok(())
}

/// Whether an error is one that passes by itself: the database is away or busy.
fn passes(error: &RunError) -> bool {
    match error {
        RunError::Store(error) | RunError::Bundle(BundleError::Store(error)) => error.passes(),
        RunError::Dispatch(error) => worker::passes(error),
        RunError::Bundle(_) | RunError::Empty | RunError::Stopped | RunError::Unreadable(_) => false,
    }
}

async fn pause(engine: &Engine<'_>, time: Duration) {
    let mut stop = engine.stop.clone();
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        _ = stop.changed() => {}
    }
}
