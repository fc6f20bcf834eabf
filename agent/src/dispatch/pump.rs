//! The pump: leases effects, has them carried out side by side, and settles what came of them, over and over.
//!
//! Promises: no more effects are under way than may be; what a tool takes together goes together; those that end within a few
//! milliseconds are settled in one transaction, and none waits for a slower one outside its batch; leases are extended while
//! attempts go on; an outcome that the database could not take is kept and offered again. It chooses nothing:
//! [`super::attempt`] does one attempt, [`super::batch`] one of many effects.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use perennial_core::action::Effect;
use perennial_core::ids::{AccountId, EffectId};
use perennial_core::replay::Hash;
use perennial_core::signal::Crm;
use perennial_core::time::Timestamp;
use perennial_store::{EffectOutcome, EffectResult, Leased, LeasedEffect, Room};
use perennial_tools::{Lane, Registry};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use super::batch::{Gate, Part, attempt_many};
use super::stops::Stops;
use super::{DispatchError, Drained, attempt, finish_all, knowledge, word};
use crate::clock::Clock;
use crate::cycle::Engine;
use crate::limits::Sender;
use crate::meters;

/// How long an outcome waits for others to share its transaction.
const GATHER: Duration = Duration::from_millis(5);
/// Extensions of a lease within its time: two may fail before it ends.
const BEATS_PER_LEASE: u64 = 3;

/// What became of an attempt; nothing where nothing was sent.
type Landed = (EffectId, Option<EffectOutcome>);

/// Attempts under way, and those that ended and were not looked at yet.
#[derive(Default)]
struct Air<'a> {
    flying: FuturesUnordered<BoxFuture<'a, Vec<Landed>>>,
    landed: Vec<Landed>,
}

impl Air<'_> {
    fn is_empty(&self) -> bool {
        self.flying.is_empty() && self.landed.is_empty()
    }

    /// Goes on with the attempts while `other` goes on.
    ///
    /// INVARIANT (nothing waits for what stands still): an attempt may hold the one connection that writes, for a call that it takes
    /// from the budget. Whoever waits for the database must let it go on meanwhile.
    async fn beside<T>(&mut self, other: impl Future<Output = T>) -> T {
        let mut other = std::pin::pin!(other);
        loop {
            tokio::select! {
                biased;
                done = &mut other => return done,
                Some(landed) = self.flying.next(), if !self.flying.is_empty() => self.landed.extend(landed),
            }
        }
    }
}

/// An effect that is under way or waits to be settled.
struct Held {
    account: AccountId,
    tool: Crm,
    permitted_at: Timestamp,
    is_alone: bool,
    /// From the lease until what came of it is recorded.
    span: Span,
}

/// The span of an attempt: below the decision that the effect follows from, whoever made it.
fn effect_span(leased: &LeasedEffect) -> Span {
    tracing::info_span!(
        "effect",
        effect = leased.effect.id.as_str(),
        tool = leased.effect.tool.as_str(),
        attempt = leased.attempts,
        action = leased.effect.action.as_str(),
        kind = leased.kind.as_str(),
        decision = leased.decision.as_str(),
        run = leased.run.as_str(),
        result = Empty
    )
}

/// Effects under way of one worker.
pub(crate) struct Pump<'a> {
    engine: &'a Engine<'a>,
    worker: String,
    crms: Vec<Crm>,
    sender: Arc<Mutex<Sender<'a>>>,
    stops: Arc<Stops>,
    air: Air<'a>,
    /// What is under way or waits to be settled: only its leases are extended. What was leased and never got here, because the
    /// answer of the database was lost, runs out.
    held: BTreeMap<EffectId, Held>,
    /// Whether so many are leased as go together: until one comes along that goes alone and finds no room.
    wide: bool,
    /// Outcomes that the database has not taken yet.
    ended: Vec<EffectOutcome>,
    /// What was settled for good.
    pub(crate) drained: Drained,
    /// Microseconds that the machine's clock is before the database's.
    ahead_us: i64,
    beat: Interval,
    /// Until when the leases of what is under way are surely ours.
    ours_until: Arc<std::sync::Mutex<Instant>>,
    /// Attempts that go on at once: what has no turn yet has sent nothing.
    turns: Arc<Semaphore>,
    /// What has no turn yet is not sent any more.
    ending: Arc<AtomicBool>,
}

/// What an attempt needs besides its effects.
#[derive(Clone)]
struct With<'a> {
    engine: &'a Engine<'a>,
    sender: Arc<Mutex<Sender<'a>>>,
    stops: Arc<Stops>,
    ours_until: Arc<std::sync::Mutex<Instant>>,
    turns: Arc<Semaphore>,
    ending: Arc<AtomicBool>,
    clock: Clock,
}

impl<'a> Pump<'a> {
    pub(crate) fn new(engine: &'a Engine<'a>, worker: String) -> Pump<'a> {
        let lease = lease_time(engine);
        let mut beat = tokio::time::interval(lease / u32::try_from(BEATS_PER_LEASE).unwrap_or(1));
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Pump {
            engine,
            worker,
            crms: engine.tools.crms().collect(),
            sender: Arc::new(Mutex::new(Sender::new(engine.config, engine.store))),
            stops: Arc::new(Stops::new(engine.store.clone())),
            air: Air::default(),
            held: BTreeMap::new(),
            wide: true,
            ended: Vec::new(),
            drained: Drained::default(),
            ahead_us: 0,
            beat,
            ours_until: Arc::new(std::sync::Mutex::new(Instant::now())),
            turns: Arc::new(Semaphore::new(engine.config.limits.effects_at_once.max(1) as usize)),
            ending: Arc::new(AtomicBool::new(false)),
        }
    }

    pub(crate) fn worker(&self) -> &str {
        &self.worker
    }

    pub(crate) fn crms(&self) -> &[Crm] {
        &self.crms
    }

    /// Microseconds that the machine's clock is before the database's, as last compared.
    pub(crate) fn ahead_us(&self) -> i64 {
        self.ahead_us
    }

    /// Has the policies read anew before the next effect that they are asked about.
    pub(crate) fn reload(&mut self) {
        self.sender = Arc::new(Mutex::new(Sender::new(self.engine.config, self.engine.store)));
    }

    /// Whether nothing is under way and nothing waits to be settled.
    pub(crate) fn is_empty(&self) -> bool {
        self.air.is_empty() && self.ended.is_empty()
    }

    /// Goes on with what is under way while `other` goes on, which may wait for the database.
    pub(crate) async fn beside<T>(&mut self, other: impl Future<Output = T>) -> T {
        self.air.beside(other).await
    }

    /// A clock that goes on from what the database's shows now; where it has none, or another clock was given, that one.
    pub(crate) async fn clock(&mut self) -> Result<Clock, DispatchError> {
        let clock = self.engine.config.clock;
        if !matches!(clock, Clock::System) {
            return Ok(clock);
        }
        let Some(shown) = self.air.beside(self.engine.store.clock()).await? else {
            return Ok(clock);
        };
        self.ahead_us = clock.now().us() - shown.us();
        Ok(Clock::starting(shown))
    }

    /// Leases what there is room for and begins it. How many; none when less than half the room is free, so that leases
    /// stay batches.
    ///
    /// What goes in common requests is leased by the thousand, so that the requests are full. What goes alone is not: it would wait
    /// here while other workers have nothing to do.
    pub(crate) async fn fill(&mut self) -> Result<usize, DispatchError> {
        let limits = &self.engine.config.limits;
        let alone_most = limits.effects_per_lease.max(1) as usize;
        let most = match self.wide {
            true => alone_most.max(limits.batched_per_lease as usize),
            false => alone_most,
        };
        let room = most.saturating_sub(self.held.len());
        if room * 2 < most || self.crms.is_empty() {
            return Ok(0);
        }
        let held_alone = self.held.values().filter(|held| held.is_alone).count();
        let clock = self.clock().await?;
        // Another worker looks an effect up only when its request can no longer be on the way.
        let hold = lease_time(self.engine) + settle_time(self.engine);
        let asked_at = Instant::now();
        let (store, tools) = (self.engine.store, self.engine.tools);
        let is_alone = |effect: &Effect| kind_of(tools, effect).is_none();
        let free = Room {
            rows: u32::try_from(room).unwrap_or(u32::MAX),
            alone: u32::try_from(alone_most.saturating_sub(held_alone)).unwrap_or(u32::MAX),
            is_alone: &is_alone,
        };
        let leasing = store.lease_within(&self.worker, &self.crms, free, clock.now(), micros(hold));
        let Leased {
            effects: leased,
            left_out,
        } = self.air.beside(leasing).await?;
        // Only a lease that leaves nothing behind says that nobody is kept waiting.
        if left_out > 0 {
            self.wide = false;
        } else if leased.len() < room || !leased.iter().any(|leased| is_alone(&leased.effect)) {
            self.wide = true;
        }
        if leased.is_empty() {
            return Ok(0);
        }
        self.ours_from(asked_at);
        let begun = leased.len();
        let known = self.air.beside(knowledge::of(store, tools, &leased)).await?;
        let with = With {
            engine: self.engine,
            sender: Arc::clone(&self.sender),
            stops: Arc::clone(&self.stops),
            ours_until: Arc::clone(&self.ours_until),
            turns: Arc::clone(&self.turns),
            ending: Arc::clone(&self.ending),
            clock,
        };
        let mut groups: BTreeMap<(Crm, &'static str, Lane), Vec<Part>> = BTreeMap::new();
        for (leased, known) in leased.into_iter().zip(known) {
            let effect = &leased.effect;
            let together = kind_of(tools, effect);
            let span = effect_span(&leased);
            let held = Held {
                account: effect.target.account.clone(),
                tool: effect.tool,
                permitted_at: leased.permitted_at,
                is_alone: together.is_none(),
                span: span.clone(),
            };
            self.held.insert(effect.id.clone(), held);
            let key = together.map(|word| (effect.tool, word, Lane::of(effect)));
            let instead = None;
            let part = Part {
                leased,
                known,
                instead,
                span,
            };
            match key {
                Some(key) => groups.entry(key).or_default().push(part),
                None => self
                    .air
                    .flying
                    .push(one(with.clone(), part).map(|landed| vec![landed]).boxed()),
            }
        }
        for ((crm, ..), mut parts) in groups {
            let most = tools.get(crm).map_or(1, |tool| tool.batch_max()).max(1);
            while !parts.is_empty() {
                let later = parts.split_off(parts.len().min(most));
                let mut batch = std::mem::replace(&mut parts, later);
                // One alone knows a condition that a batch does not.
                match (batch.len(), batch.pop()) {
                    (1, Some(part)) => self
                        .air
                        .flying
                        .push(one(with.clone(), part).map(|landed| vec![landed]).boxed()),
                    (_, last) => {
                        batch.extend(last);
                        self.air.flying.push(together(with.clone(), crm, batch).boxed());
                    }
                }
            }
        }
        Ok(begun)
    }

    /// Waits until outcomes are there and settles them; returns early, with nothing settled, when `nudge` comes first.
    pub(crate) async fn settle(&mut self, nudge: impl Future<Output = ()>) -> Result<(), DispatchError> {
        let mut nudge = std::pin::pin!(nudge);
        self.look();
        while self.ended.is_empty() && !self.air.is_empty() {
            tokio::select! {
                landed = self.air.flying.next() => self.air.landed.extend(landed.into_iter().flatten()),
                _ = self.beat.tick() => self.extend().await?,
                () = &mut nudge => return Ok(()),
            }
            self.look();
        }
        let until = Instant::now() + GATHER;
        while let Ok(Some(landed)) = tokio::time::timeout_at(until, self.air.flying.next()).await {
            self.air.landed.extend(landed);
        }
        self.look();
        self.record().await
    }

    /// Takes what attempts came to; one that sent nothing is held no longer, and its lease runs out.
    fn look(&mut self) {
        for (id, outcome) in self.air.landed.drain(..) {
            match outcome {
                Some(outcome) => self.ended.push(outcome),
                None => {
                    self.held.remove(&id);
                }
            }
        }
    }

    async fn record(&mut self) -> Result<(), DispatchError> {
        if self.ended.is_empty() {
            return Ok(());
        }
        // Offered again after a failure, it is taken once: the second time the effect is not leased any more.
        let store = self.engine.store;
        let report = self.air.beside(store.settle_effects(&self.ended)).await?;
        for outcome in self.ended.drain(..) {
            let held = self.held.remove(&outcome.effect);
            if report.refused.contains(&outcome.effect) {
                tracing::warn!(
                    effect = outcome.effect.as_str(),
                    "the lease had ended; somebody else looks it up"
                );
                meters::refused_outcome();
                if let Some(held) = held {
                    held.span.record("result", "lost");
                }
                continue;
            }
            match outcome.result {
                EffectResult::Done(_) => {
                    self.drained.done += 1;
                    if let Some(held) = held {
                        meters::effect_done(held.tool, outcome.at.us() - held.permitted_at.us());
                    }
                }
                EffectResult::Failed { .. } => self.drained.failed += 1,
                EffectResult::Conflict { .. } => self.drained.conflicts += 1,
                EffectResult::Again { .. }
                | EffectResult::NotNow { .. }
                | EffectResult::Withdrawn { .. }
                | EffectResult::Unknown { .. } => {}
            }
        }
        let now = self.engine.config.clock.now();
        self.air.beside(finish_all(store, &report.actions, now)).await?;
        Ok(())
    }

    async fn extend(&mut self) -> Result<(), DispatchError> {
        let from = Instant::now();
        let until = self.clock().await?.now().us();
        let hold = micros(lease_time(self.engine) + settle_time(self.engine));
        let until = Timestamp::from_us(until.saturating_add(hold));
        let held: Vec<(AccountId, EffectId)> = self
            .held
            .iter()
            .map(|(id, held)| (held.account.clone(), id.clone()))
            .collect();
        let store = self.engine.store;
        self.air.beside(store.extend_leases(&self.worker, &held, until)).await?;
        self.ours_from(from);
        Ok(())
    }

    fn ours_from(&self, from: Instant) {
        if let Ok(mut until) = self.ours_until.lock() {
            *until = from + lease_time(self.engine);
        }
    }

    /// Ends what is under way, settles it and gives back the rest; what has not sent anything does not begin any more.
    pub(crate) async fn end(&mut self) -> Result<(), DispatchError> {
        self.ending.store(true, Ordering::Relaxed);
        while !self.is_empty() {
            self.settle(std::future::pending()).await?;
        }
        self.engine.store.release_leases(&self.worker).await?;
        Ok(())
    }
}

impl With<'_> {
    /// Whether anything may still begin.
    fn may_begin(&self) -> bool {
        if self.ending.load(Ordering::Relaxed) {
            return false;
        }
        // A process that was held up longer than its leases must not send what another may have taken over.
        if self.ours_until.lock().is_ok_and(|until| *until <= Instant::now()) {
            tracing::warn!("the lease ended before anything was sent");
            return false;
        }
        true
    }

    /// Asks what is to happen instead of sending, when it has its turn and not before. An error means that nothing may be sent.
    async fn ask(&self, part: &mut Part) -> Result<(), ()> {
        match self.stops.instead(&part.leased, self.clock.now()).await {
            Ok(Some(stopped)) => {
                part.instead = Some(stopped);
                Ok(())
            }
            Ok(None) => {
                let now = self.clock.now();
                part.instead = self.sender.lock().await.instead(&part.leased, now).await;
                Ok(())
            }
            Err(error) => {
                // What cannot be asked about is not sent: its lease runs out, and it is looked up.
                tracing::warn!(error = %error, "what is stopped cannot be read, so nothing is sent");
                Err(())
            }
        }
    }
}

/// With which others an effect may go in one request; none where it goes alone.
fn kind_of(tools: &Registry, effect: &Effect) -> Option<&'static str> {
    tools.get(effect.tool)?.together(effect)
}

/// One attempt with what surrounds it: whether it may be sent is asked about first, retries are spread.
async fn one(with: With<'_>, mut part: Part) -> Landed {
    let id = part.leased.effect.id.clone();
    let (attempts, tool) = (part.leased.attempts, part.leased.effect.tool);
    let span = part.span.clone();
    let landed = async move {
        let _turn = with.turns.acquire().await.ok()?;
        with.ask(&mut part).await.ok()?;
        if !with.may_begin() {
            return None;
        }
        let (limits, clock) = (&with.engine.config.limits, with.clock);
        let begun = clock.now();
        let Part {
            leased,
            known,
            instead,
            span,
        } = part;
        let mut outcome = attempt(with.engine.tools, limits, clock, leased, known, instead).await;
        meters::attempted(tool, word(&outcome.result), outcome.at.us() - begun.us());
        span.record("result", word(&outcome.result));
        spread(&mut outcome, attempts);
        Some(outcome)
    };
    (id, landed.instrument(span).await)
}

/// One attempt of many effects, with what surrounds it.
async fn together(with: With<'_>, crm: Crm, mut parts: Vec<Part>) -> Vec<Landed> {
    let ids: Vec<(EffectId, i64, Span)> = parts
        .iter()
        .map(|part| (part.leased.effect.id.clone(), part.leased.attempts, part.span.clone()))
        .collect();
    let nothing = || ids.iter().map(|(id, ..)| (id.clone(), None)).collect();
    let span = tracing::info_span!("batch", tool = crm.as_str(), effects = ids.len());
    for (.., effect) in &ids {
        effect.follows_from(&span);
    }
    let landed = async {
        let _turn = with.turns.acquire().await.ok()?;
        for part in &mut parts {
            with.ask(part).await.ok()?;
        }
        if !with.may_begin() {
            return None;
        }
        let (limits, clock) = (&with.engine.config.limits, with.clock);
        let tool = with.engine.tools.get(crm)?;
        let begun = clock.now();
        let gate = Gate::new(&with.stops, &with.ours_until, &with.ending, clock, &parts);
        let outcomes = attempt_many(tool.as_ref(), limits, clock, parts, &gate).await;
        let landed = outcomes.into_iter().zip(&ids).map(|(ended, (id, attempts, effect))| {
            let mut settled = gate.settled(ended);
            if let Some(outcome) = &mut settled {
                meters::attempted(crm, word(&outcome.result), outcome.at.us() - begun.us());
                effect.record("result", word(&outcome.result));
                spread(outcome, *attempts);
            }
            (id.clone(), settled)
        });
        Some(landed.collect())
    };
    landed.instrument(span).await.unwrap_or_else(nothing)
}

/// Makes a wait before the next attempt longer by up to a half, so that what failed together does not come back together.
/// Which effect waits how long follows from its id and the attempt.
fn spread(outcome: &mut EffectOutcome, attempts: i64) {
    let (EffectResult::Again { due_at, .. } | EffectResult::Unknown { due_at, .. }) = &mut outcome.result else {
        return;
    };
    let hash = Hash::of_parts(&[outcome.effect.as_str(), &attempts.to_string()]);
    let part = hash
        .bytes()
        .iter()
        .take(2)
        .fold(0_i64, |n, byte| (n << 8) | i64::from(*byte));
    let wait = due_at.us().saturating_sub(outcome.at.us()).max(0);
    *due_at = Timestamp::from_us(
        due_at
            .us()
            .saturating_add(wait / 2 / 65_536 * part + wait / 2 % 65_536 * part / 65_536),
    );
}

fn lease_time(engine: &Engine<'_>) -> Duration {
    Duration::from_millis(u64::try_from(engine.config.limits.lease_ms.max(3)).unwrap_or(3))
}

fn settle_time(engine: &Engine<'_>) -> Duration {
    Duration::from_millis(u64::try_from(engine.config.limits.settle_ms.max(0)).unwrap_or(0))
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(effect: &str, attempts: i64, wait_us: i64) -> i64 {
        let at = Timestamp::from_us(1_700_000_000_000_000);
        let mut outcome = EffectOutcome {
            account: AccountId::new("A"),
            effect: EffectId::new(effect),
            fence: 1,
            begun_at: at,
            result: EffectResult::Again {
                error: String::new(),
                due_at: Timestamp::from_us(at.us() + wait_us),
            },
            ledger: Vec::new(),
            learned: Vec::new(),
            at,
        };
        spread(&mut outcome, attempts);
        let EffectResult::Again { due_at, .. } = outcome.result else {
            panic!("stays what it is");
        };
        due_at.us() - at.us()
    }

    #[test]
    fn what_failed_together_comes_back_apart_and_never_too_early() {
        let wait = 2_000_000;
        let all: std::collections::BTreeSet<i64> = (0..100).map(|n| waits(&format!("eff_{n}"), 1, wait)).collect();
        assert!(all.len() > 90, "{all:?}");
        assert!(all.iter().all(|w| (wait..=wait + wait / 2).contains(w)), "{all:?}");
        let (first, last) = (all.first().unwrap_or(&0), all.last().unwrap_or(&0));
        assert!(last - first > wait / 4, "{all:?}");
        assert_eq!(
            waits("eff_1", 1, wait),
            waits("eff_1", 1, wait),
            "and it can be told beforehand"
        );
        assert_eq!(waits("eff_1", 1, 0), 0);
    }
}
