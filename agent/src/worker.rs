//! A worker: carries out effects until it is told to stop. Any number of them work on one PostgreSQL, one on a SQLite file.
//!
//! Promises: a database that goes away and comes back is survived; what is under way when a worker is told to stop is
//! ended and settled; of all workers one leads and does what only one should (items that wake or expire), and losing the
//! lead in the middle harms nothing, because each such change is made only where nothing changed before it; a schema that
//! becomes newer than this program can work with ends the worker, after what is under way. The one that leads also reads the
//! CRMs by schedule, and what webhooks said to have changed.

use std::time::Duration;

use perennial_core::draw::Stream;
use perennial_core::earned::Standing;
use perennial_core::time::Timestamp;
use perennial_store::{StoreError, Wakes};
use tokio::time::Instant;

use crate::bundles::{self, BundleError};
use crate::cycle::Engine;
use crate::dispatch::{DispatchError, Drained, Pump, finish_settled};
use crate::earned;
use crate::meters;
use crate::reading::Readings;

/// Role of the worker that does what only one should.
pub const SCHEDULES: &str = "schedules";
/// Time between two signs of life, and two attempts to lead.
const TURN: Duration = Duration::from_secs(2);
/// How long a lead holds without a sign of life.
const LEAD: Duration = Duration::from_secs(10);
/// A worker that was not seen for so long is not counted any more.
pub const ALIVE: Duration = Duration::from_secs(30);
/// A worker that was not seen for so long is forgotten.
const FORGET: Duration = Duration::from_secs(24 * 3600);
/// Looks for what is due where word of new work comes by itself, and where it does not.
const POLL_WITH_WORD: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];
const POLL: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(150)];
/// Time between two looks at what was promoted.
const REVIEW: Duration = Duration::from_secs(60);
/// Pauses after the database failed: the first, and the longest.
const RETRY: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(5)];
/// Attempts to settle what was under way when the worker was told to stop and the database is away.
const LAST_TRIES: u32 = 10;
/// Microseconds of difference between two clocks that are worth a word.
pub const SKEW_US: i64 = 2_000_000;

/// Works until `engine.stop` turns true.
///
/// # Errors
/// [`DispatchError`] that does not pass by itself: the schema is another one, a stored text cannot be read.
pub async fn work(engine: &Engine<'_>) -> Result<Drained, DispatchError> {
    let begun = engine.config.clock.now();
    let name = format!("worker-{}-{}", std::process::id(), begun.us());
    let readings = Readings::of(engine).map_err(DispatchError::Mapping)?;
    let mut worker = Worker {
        engine,
        pump: Pump::new(engine, name.clone()),
        readings,
        wakes: None,
        draw: Stream::new(0, &[&name]),
        turn_at: None,
        leads: false,
        warned_at: None,
        reviewed_at: None,
        stop: engine.stop.clone(),
        outdated: None,
    };
    let mut failures = 0;
    loop {
        let stopping = *engine.stop.borrow() || worker.outdated.is_some();
        match worker.round(stopping).await {
            Ok(Round::Ended) => match worker.outdated.take() {
                Some(error) => return Err(error.into()),
                None => break,
            },
            Ok(Round::Worked) => failures = 0,
            Ok(Round::Idle) => {
                failures = 0;
                worker.wait().await;
            }
            Err(error) if passes(&error) => {
                failures += 1;
                meters::database_failed();
                if failures == 1 {
                    tracing::warn!(error = %error, "the database is away; what is due stays due");
                }
                if stopping && failures > LAST_TRIES {
                    tracing::warn!("the database stays away; what was under way is looked up by whoever comes next");
                    break;
                }
                worker.wakes = None;
                let most = RETRY[0].saturating_mul(1 << failures.min(5)).min(RETRY[1]);
                let pause = worker.between(RETRY[0], most);
                worker.pause(pause, stopping).await;
            }
            Err(error) => return Err(error),
        }
    }
    worker.readings.end().await;
    let drained = worker.pump.drained;
    // Best effort: who is gone is forgotten after a while anyway, and a lead runs out.
    let gone = async {
        engine.store.forget_worker(&name).await?;
        engine.store.resign(SCHEDULES, &name).await
    };
    if let Err(error) = gone.await {
        tracing::warn!(error = %error, "the end of this worker could not be recorded");
    }
    Ok(drained)
}

enum Round {
    Worked,
    Idle,
    Ended,
}

struct Worker<'a> {
    engine: &'a Engine<'a>,
    pump: Pump<'a>,
    readings: Readings,
    wakes: Option<Wakes>,
    draw: Stream,
    turn_at: Option<Instant>,
    leads: bool,
    warned_at: Option<Instant>,
    reviewed_at: Option<Instant>,
    stop: tokio::sync::watch::Receiver<bool>,
    /// The schema has gone on without this program.
    outdated: Option<StoreError>,
}

impl Worker<'_> {
    async fn round(&mut self, stopping: bool) -> Result<Round, DispatchError> {
        if stopping {
            self.pump.end().await?;
            return Ok(Round::Ended);
        }
        if self.turn_at.is_none_or(|at| at <= Instant::now()) {
            self.turn().await?;
            self.turn_at = Some(Instant::now() + TURN);
        }
        if self.wakes.is_none() {
            self.wakes = Some(self.engine.store.wakes().await?);
        }
        let begun = self.pump.fill().await?;
        if self.pump.is_empty() {
            return Ok(if begun == 0 { Round::Idle } else { Round::Worked });
        }
        // Slow attempts hold nobody up: there is room for others as soon as word of them comes.
        let nudge = self.between(POLL[0], POLL[1]);
        let mut stop = self.stop.clone();
        self.pump
            .settle(async {
                tokio::select! {
                    () = tokio::time::sleep(nudge) => {}
                    _ = stop.changed() => {}
                }
            })
            .await?;
        Ok(Round::Worked)
    }

    /// What is done from time to time: a sign of life, and what only the leader does.
    async fn turn(&mut self) -> Result<(), DispatchError> {
        let store = self.engine.store;
        self.pump.reload();
        let now = self.pump.clock().await?.now();
        let ahead_us = self.pump.ahead_us();
        meters::clock_ahead(ahead_us);
        let warn = self.warned_at.is_none_or(|at| at.elapsed() > FORGET);
        if ahead_us.abs() > SKEW_US && warn {
            self.warned_at = Some(Instant::now());
            tracing::warn!(
                seconds = ahead_us / 1_000_000,
                "this machine's clock is not that of the database; leases and due times go by the database's"
            );
        }
        match self.pump.beside(store.check_version()).await {
            Err(error @ StoreError::Version { .. }) => {
                tracing::warn!(error = %error, "this worker ends");
                self.outdated = Some(error);
                return Ok(());
            }
            checked => checked?,
        }
        let worker = self.pump.worker().to_owned();
        let seen = async {
            store
                .see_worker(&worker, ahead_us, env!("CARGO_PKG_VERSION"), now)
                .await?;
            store.lead(SCHEDULES, &worker, now, later(now, LEAD)).await
        };
        let leads = self.pump.beside(seen).await?;
        let was = self.leads;
        if leads.is_some() != self.leads {
            self.leads = leads.is_some();
            tracing::info!(leads = self.leads, "schedules");
        }
        meters::leads(self.leads);
        if was && !self.leads {
            // Another leads, and reads; what goes on here would only be done twice.
            self.pump.beside(self.readings.end()).await;
        }
        if self.leads {
            let engine = self.engine;
            let review_due = self.reviewed_at.is_none_or(|at| at.elapsed() > REVIEW);
            if review_due {
                self.reviewed_at = Some(Instant::now());
            }
            let clock = self.pump.clock().await?;
            self.pump.beside(self.readings.turn(store, clock)).await?;
            let scheduled = async {
                crate::queue::housekeeping(store, now).await?;
                finish_settled(store, now).await?;
                store.forget_dead_workers(earlier(now, FORGET)).await?;
                if review_due {
                    review(engine, now).await?;
                }
                Ok::<(), DispatchError>(())
            };
            self.pump.beside(scheduled).await?;
        }
        Ok(())
    }

    /// Until there may be something to do.
    async fn wait(&mut self) {
        // A due time comes without word, so the looks go on, only less often.
        let [least, most] = if self.engine.store.sends_word() {
            POLL_WITH_WORD
        } else {
            POLL
        };
        let pause = self.between(least, most);
        let word = async {
            match &mut self.wakes {
                Some(wakes) => wakes.next(self.engine.store).await,
                None => std::future::pending().await,
            }
        };
        let mut stop = self.stop.clone();
        let lost = tokio::select! {
            word = word => word.is_err(),
            () = tokio::time::sleep(pause) => false,
            _ = stop.changed() => false,
        };
        if lost {
            self.wakes = None;
        }
    }

    async fn pause(&mut self, time: Duration, stopping: bool) {
        let mut stop = self.stop.clone();
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            _ = stop.changed(), if !stopping => {}
        }
    }

    /// A time between two, drawn: workers that began together do not look together.
    fn between(&mut self, least: Duration, most: Duration) -> Duration {
        least + most.saturating_sub(least).mul_f64(self.draw.fraction())
    }
}

/// Takes promotions back that were not deserved, where there are any. Proposing new ones has time until the next run.
async fn review(engine: &Engine<'_>, now: Timestamp) -> Result<(), DispatchError> {
    let standings = engine.store.standings().await?;
    if !standings
        .values()
        .any(|promotion| promotion.standing == Standing::Granted)
    {
        return Ok(());
    }
    let policies = match bundles::in_force(engine.config, engine.store).await {
        Ok((_, policies)) => policies,
        Err(BundleError::Store(error)) => return Err(error.into()),
        Err(error) => {
            tracing::warn!(error = %error, "what was promoted is not looked at: the policies cannot be read");
            return Ok(());
        }
    };
    earned::review(engine.store, &policies, now).await?;
    Ok(())
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    Timestamp::from_us(
        now.us()
            .saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)),
    )
}

/// The time before another one.
#[must_use]
pub fn earlier(now: Timestamp, by: Duration) -> Timestamp {
    Timestamp::from_us(
        now.us()
            .saturating_sub(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)),
    )
}

/// Whether an error is one that passes by itself: the database is away or busy.
pub(crate) fn passes(error: &DispatchError) -> bool {
    match error {
        DispatchError::Store(error) => error.passes(),
        DispatchError::Unreadable(_) | DispatchError::Mapping(_) => false,
    }
}
