//! Reading a CRM as a deed that is remembered: when it began, whether it came to its end, and what a webhook said to be read.
//!
//! Promises: whoever reads, by hand or by schedule, leaves the time of it in the store; one leader reads by schedule, and a leader
//! that is lost in the middle harms nothing, because a reading may be repeated at any time. Records that a webhook named are due
//! until they were read after that word of them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use perennial_core::signal::Crm;
use perennial_core::time::Timestamp;
use perennial_store::{Store, StoreError};
use perennial_tools::Tool;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::config::Config;
use crate::cycle::Engine;
use crate::intake::{ImportError, ImportOptions, Mapping, Problem, SyncError, SyncOptions, Synced, sync, sync_due};
use crate::meters;

/// Wait after a reading by schedule that failed, before what webhooks named is tried again: a CRM in trouble is left alone.
const AFTER_TROUBLE: Duration = Duration::from_secs(60);
/// Rounds over what is due within one go: a flood of webhooks must not hold the schedule.
const ROUNDS: u32 = 50;

/// Reads what changed, and keeps when and with what end.
///
/// # Errors
/// [`SyncError`].
pub async fn read(
    store: &Store,
    tool: &dyn Tool,
    mapping: &Mapping,
    options: &SyncOptions,
    now: Timestamp,
) -> Result<Synced, SyncError> {
    let crm = tool.crm();
    store.begin_reading(crm, now).await?;
    let done = sync(store, tool, mapping, options, now).await;
    let failed = done.as_ref().err().map(words);
    store.end_reading(crm, now, failed.as_deref()).await?;
    meters::read(crm, if done.is_ok() { "whole" } else { "failed" });
    done
}

/// Reads what webhooks said to have changed. How many records were due.
///
/// # Errors
/// [`SyncError`]; what was not read stays due.
pub async fn read_due(
    store: &Store,
    tool: &dyn Tool,
    mapping: &Mapping,
    options: &SyncOptions,
    most: u32,
    clock: Clock,
) -> Result<u64, SyncError> {
    let mut read = 0;
    for _ in 0..ROUNDS {
        let due = store.due_records(tool.crm(), most).await?;
        let told = options.stop.as_ref().is_some_and(|stop| *stop.borrow());
        if due.is_empty() || told {
            break;
        }
        sync_due(store, tool, mapping, options, &due, clock.now()).await?;
        read += due.len() as u64;
    }
    meters::read_due(tool.crm(), read);
    Ok(read)
}

/// Whether there is anything to read at some time: a schedule, or webhooks.
#[must_use]
pub fn is_standing(config: &Config) -> bool {
    config.sync_every_s.is_some() || config.webhook.is_some()
}

/// The mapping of a CRM: the file that the configuration names, else the one that is built in.
///
/// # Errors
/// Every problem of the file.
pub fn mapping(config: &Config, crm: Crm) -> Result<Mapping, Vec<Problem>> {
    let (access, builtin, name) = match crm {
        Crm::Salesforce => (
            &config.salesforce,
            include_str!("../../examples/mappings/salesforce.toml"),
            "salesforce.toml",
        ),
        Crm::HubSpot => (
            &config.hubspot,
            include_str!("../../examples/mappings/hubspot.toml"),
            "hubspot.toml",
        ),
    };
    match access.as_ref().and_then(|access| access.mapping.as_ref()) {
        Some(path) => Mapping::load(path),
        None => Mapping::parse(&std::path::Path::new("(built in)").join(name), builtin),
    }
}

/// Where files of rejected rows go.
#[must_use]
pub fn rejects_dir(config: &Config) -> PathBuf {
    if config.data_dir.as_os_str().is_empty() {
        PathBuf::from(".")
    } else {
        config.data_dir.clone()
    }
}

/// An error with its causes, as one line.
fn words(error: &SyncError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Readings of a worker: those that are due now go on beside it, one for each CRM.
pub(crate) struct Readings {
    crms: Vec<Standing>,
    every: Option<Duration>,
    due_records: u32,
    stop: watch::Sender<bool>,
}

/// A CRM that is read by schedule.
struct Standing {
    crm: Crm,
    tool: Arc<dyn Tool>,
    mapping: Mapping,
    options: SyncOptions,
    going: Option<JoinHandle<Result<(), SyncError>>>,
    not_before: Option<Instant>,
}

impl Readings {
    /// What a worker of this engine may have to read; nothing where neither a schedule nor webhooks are configured.
    ///
    /// # Errors
    /// [`ImportError::NotReady`] with the problems of a mapping.
    pub(crate) fn of(engine: &Engine<'_>) -> Result<Readings, ImportError> {
        let (stop, told) = watch::channel(false);
        let mut crms = Vec::new();
        let config = engine.config;
        for crm in engine.tools.crms().filter(|_| is_standing(config)) {
            let Some(tool) = engine.tools.get(crm) else { continue };
            let mapping = mapping(config, crm).map_err(|problems| ImportError::NotReady { problems })?;
            if mapping.objects().is_empty() {
                continue;
            }
            let import = ImportOptions::new(rejects_dir(config));
            crms.push(Standing {
                crm,
                tool,
                mapping,
                options: SyncOptions {
                    stop: Some(told.clone()),
                    standing: true,
                    deleted_every_us: Some(config.deleted_every_s.saturating_mul(1_000_000)),
                    ..SyncOptions::new(import)
                },
                going: None,
                not_before: None,
            });
        }
        Ok(Readings {
            crms,
            every: config.sync_every_s.map(Duration::from_secs),
            due_records: config.limits.due_records.max(1),
            stop,
        })
    }

    /// Begins what is due and has not begun, and hears what has ended. Only for who leads.
    pub(crate) async fn turn(&mut self, store: &Store, clock: Clock) -> Result<(), StoreError> {
        if self.crms.is_empty() {
            return Ok(());
        }
        let readings = store.crm_readings().await?;
        let now = clock.now();
        for standing in &mut self.crms {
            if !standing.is_free().await {
                continue;
            }
            let last = readings.iter().find(|reading| reading.tool == standing.crm);
            let is_due = |every: Duration| {
                let every_us = i64::try_from(every.as_micros()).unwrap_or(i64::MAX);
                last.is_none_or(|last| now.us().saturating_sub(last.begun_at.us()) >= every_us)
            };
            let whole = self.every.is_some_and(is_due);
            let due = !store.due_records(standing.crm, 1).await?.is_empty();
            if whole || due {
                standing.begin(store.clone(), whole, self.due_records, clock);
            }
        }
        Ok(())
    }

    /// Ends what goes on: at its next page, or at once where that takes longer than a CRM may.
    pub(crate) async fn end(&mut self) {
        self.stop.send_replace(true);
        for standing in &mut self.crms {
            if let Some(mut going) = standing.going.take()
                && tokio::time::timeout(STOP_PATIENCE, &mut going).await.is_err()
            {
                going.abort();
            }
        }
        self.stop.send_replace(false);
    }
}

/// How long a reading that was told to stop may take to the end of its page.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

impl Standing {
    /// Whether none goes on and none has just failed.
    async fn is_free(&mut self) -> bool {
        if self.going.as_ref().is_some_and(|going| !going.is_finished()) {
            return false;
        }
        if let Some(ended) = self.going.take() {
            let failed = match ended.await {
                Ok(Ok(())) | Ok(Err(SyncError::Stopped { .. })) => None,
                Ok(Err(error)) => Some(words(&error)),
                Err(error) => Some(error.to_string()),
            };
            if let Some(error) = failed {
                tracing::warn!(crm = %self.crm, error, "a CRM could not be read; it will be tried again");
                self.not_before = Some(Instant::now() + AFTER_TROUBLE);
            }
        }
        self.not_before.is_none_or(|at| at <= Instant::now())
    }

    fn begin(&mut self, store: Store, whole: bool, due_records: u32, clock: Clock) {
        let (tool, mapping, options) = (Arc::clone(&self.tool), self.mapping.clone(), self.options.clone());
        self.going = Some(tokio::spawn(async move {
            // What webhooks named is little and fresh, so it comes first.
            read_due(&store, tool.as_ref(), &mapping, &options, due_records, clock).await?;
            if whole {
                read(&store, tool.as_ref(), &mapping, &options, clock.now()).await?;
            }
            Ok(())
        }));
    }
}
