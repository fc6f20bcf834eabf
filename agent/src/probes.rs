//! What a supervisor and a monitor ask: `/healthz`, `/readyz` and `/metrics`, at 127.0.0.1 only.
//!
//! Promises: an answer within seconds also while the database is away; the queue is measured at most every ten seconds,
//! however often somebody asks. Nothing here names a customer.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use perennial_core::signal::Crm;
use perennial_core::time::Timestamp;
use perennial_store::{Store, StoreError};
use perennial_tools::Lane;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::config::Config;
use crate::ledger::Chain;
use crate::meters::{self, APPROVAL_AGES, OLDER, seconds};
use crate::worker::{ALIVE, earlier};

/// Seconds of the buckets of histograms: from a write on the same machine to a CRM that takes its time.
const BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];
/// Seconds of the buckets of an effect's whole way: it may wait for office hours, or for a CRM that is away.
const LONG_BUCKETS: &[f64] = &[
    0.05, 0.25, 1.0, 5.0, 30.0, 120.0, 600.0, 3_600.0, 14_400.0, 86_400.0, 604_800.0,
];
/// Entries of the ledger whose chain is followed with one measurement.
const LEDGER_ROWS: u32 = 5_000;
/// Workers that are counted at most.
const WORKERS: u32 = 1_000;
/// A worker that was silent for longer is no news.
const SILENT: Duration = Duration::from_secs(24 * 3_600);
/// The database may take so long to answer a probe.
const ANSWER: Duration = Duration::from_secs(2);
/// The queue is measured no more often.
const MEASURE: Duration = Duration::from_secs(10);
/// What was recorded is gathered so often, also when nobody asks.
const GATHER: Duration = Duration::from_secs(5);

/// Why there are no probes.
#[derive(Debug, thiserror::Error)]
pub enum ProbesError {
    /// The port is not to be had.
    #[error(
        "cannot listen at {address}: choose another --metrics-port (0 takes any free one), or stop the program that uses it"
    )]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Something else in this process records already: a defect.
    #[error("metrics cannot be recorded")]
    Recorder(#[from] BuildError),
}

/// Probes that are answered. Dropping it ends that.
pub struct Probes {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Probes {
    /// Where.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Begins to answer at a port of 127.0.0.1; 0 takes any free one.
    ///
    /// # Errors
    /// [`ProbesError`].
    pub async fn start(port: u16, store: Store, config: &Config) -> Result<Probes, ProbesError> {
        let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let failed = |source| ProbesError::Listen {
            address: wanted,
            source,
        };
        let listener = TcpListener::bind(wanted).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let long = Matcher::Full("perennial_effect_seconds".to_owned());
        let recorder = PrometheusBuilder::new()
            .set_buckets(BUCKETS)?
            .set_buckets_for_metric(long, LONG_BUCKETS)?
            .build_recorder();
        let handle = recorder.handle();
        // A second start in one process (tests) records where the first does.
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("metrics of this process are recorded elsewhere");
        }
        meters::begin();
        let shared = Arc::new(Shared {
            handle,
            store,
            config: config.clone(),
            measured: Mutex::new(Measured {
                at: None,
                chain: Chain::new(),
                whole_at: Instant::now(),
            }),
        });
        let gathering = Arc::clone(&shared);
        let router = Router::new()
            .route("/healthz", get(|| async { "alive\n" }))
            .route("/readyz", get(ready))
            .route("/metrics", get(rendered))
            .with_state(shared);
        let serving = tokio::spawn(async move {
            let gather = async {
                loop {
                    tokio::time::sleep(GATHER).await;
                    gathering.handle.run_upkeep();
                }
            };
            tokio::select! {
                ended = axum::serve(listener, router) => if let Err(error) = ended {
                    tracing::error!(error = %error, "probes are not answered any more");
                },
                () = gather => {}
            }
        });
        Ok(Probes { address, serving })
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

struct Shared {
    handle: PrometheusHandle,
    store: Store,
    config: Config,
    measured: Mutex<Measured>,
}

/// What is known from one measurement to the next.
struct Measured {
    at: Option<Instant>,
    /// How far the ledger was followed.
    chain: Chain,
    /// When it was last followed to its end; before that, when this process began.
    whole_at: Instant,
}

async fn ready(State(shared): State<Arc<Shared>>) -> (StatusCode, String) {
    let checked = async {
        shared.store.check_version().await?;
        shared.store.schema_version().await
    };
    match within(checked).await {
        Ok(version) => (StatusCode::OK, format!("ready, schema {version}\n")),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

async fn rendered(State(shared): State<Arc<Shared>>) -> String {
    let mut measured = shared.measured.lock().await;
    if measured.at.is_none_or(|at| at.elapsed() >= MEASURE) {
        let up = within(measure(&shared)).await;
        let up = match up {
            Ok(()) => within(follow_ledger(&shared, &mut measured)).await,
            Err(why) => Err(why),
        };
        metrics::gauge!("perennial_database_up").set(f64::from(u8::from(up.is_ok())));
        measured.at = Some(Instant::now());
    }
    drop(measured);
    shared.handle.render()
}

async fn within<T>(answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, String> {
    match tokio::time::timeout(ANSWER, answer).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the database does not answer".to_owned()),
    }
}

async fn measure(shared: &Shared) -> Result<(), StoreError> {
    let now = match (shared.config.clock, shared.store.clock().await?) {
        (Clock::System, Some(shown)) => shown,
        (clock, _) => clock.now(),
    };
    effects(shared, now).await?;
    people(shared, now).await?;
    crms(shared, now).await?;
    workers(shared, now).await
}

fn since(now: Timestamp, at: Option<Timestamp>) -> f64 {
    seconds(at.map_or(0, |at| now.us() - at.us()).max(0))
}

async fn effects(shared: &Shared, now: Timestamp) -> Result<(), StoreError> {
    let state = shared.store.queue_state(now).await?;
    let stops = shared.store.stops().await?;
    for tool in Crm::ALL {
        let found = state.ready.iter().find(|(name, ..)| name == tool.as_str());
        let (lanes, oldest) = found.map_or((0, None), |(_, lanes, at)| (*lanes, Some(*at)));
        metrics::gauge!("perennial_queue_lanes", "tool" => tool.as_str()).set(count(lanes));
        metrics::gauge!("perennial_queue_age_seconds", "tool" => tool.as_str()).set(since(now, oldest));
    }
    metrics::gauge!("perennial_effects", "state" => "waiting").set(count(state.waiting));
    metrics::gauge!("perennial_effects", "state" => "leased").set(count(state.leased));
    metrics::gauge!("perennial_effects", "state" => "unknown").set(count(state.unknown));
    metrics::gauge!("perennial_lease_age_seconds").set(since(now, state.oldest_lease));
    metrics::gauge!("perennial_stops").set(count(stops.len() as u64));
    Ok(())
}

async fn people(shared: &Shared, now: Timestamp) -> Result<(), StoreError> {
    let times =
        APPROVAL_AGES.map(|(_, age_s)| Timestamp::from_us(now.us().saturating_sub(age_s.saturating_mul(1_000_000))));
    let state = shared.store.people_state(times).await?;
    let names = APPROVAL_AGES.iter().map(|(name, _)| *name).chain([OLDER]);
    for (name, actions) in names.zip(state.asked) {
        metrics::gauge!("perennial_approvals", "age" => name).set(count(actions));
    }
    metrics::gauge!("perennial_approval_age_seconds").set(since(now, state.asked_since));
    metrics::gauge!("perennial_actions_stuck", "state" => "failed").set(count(state.failed));
    metrics::gauge!("perennial_actions_stuck", "state" => "conflict").set(count(state.conflict));
    Ok(())
}

async fn crms(shared: &Shared, now: Timestamp) -> Result<(), StoreError> {
    let budgets = shared.store.call_budgets().await?;
    for tool in Crm::ALL.iter().copied() {
        let Some(rules) = shared.config.call_rules_of(tool) else {
            continue;
        };
        // A day that is over, and a CRM that nobody has called yet, have all of it.
        let budget = budgets.iter().find(|budget| budget.tool == tool);
        let today = budget.filter(|budget| budget.resets_at > now);
        for lane in Lane::ALL {
            let whole = rules.of_day(budget.and_then(|budget| budget.told));
            let left = today.map_or(whole.saturating_mul(lane.share_percent()) / 100, |budget| {
                budget.left_within(&rules, lane.share_percent())
            });
            metrics::gauge!("perennial_calls_left", "tool" => tool.as_str(), "lane" => lane.as_str()).set(count(left));
        }
    }
    for reading in shared.store.crm_readings().await? {
        let tool = reading.tool.as_str();
        if let Some(at) = reading.read_at {
            metrics::gauge!("perennial_read_age_seconds", "tool" => tool).set(since(now, Some(at)));
        }
        let failed = f64::from(u8::from(reading.failed.is_some()));
        metrics::gauge!("perennial_reading_failed", "tool" => tool).set(failed);
    }
    Ok(())
}

async fn workers(shared: &Shared, now: Timestamp) -> Result<(), StoreError> {
    let workers = shared.store.workers(earlier(now, SILENT), WORKERS).await?;
    let alive = earlier(now, ALIVE);
    let living = workers.iter().filter(|worker| worker.seen_at > alive).count();
    metrics::gauge!("perennial_workers").set(count(living as u64));
    metrics::gauge!("perennial_workers_silent").set(count((workers.len() - living) as u64));
    Ok(())
}

/// Follows the ledger a little further: a break shows without anybody asking for a verification.
async fn follow_ledger(shared: &Shared, measured: &mut Measured) -> Result<(), StoreError> {
    measured.chain.follow(&shared.store, LEDGER_ROWS).await?;
    let chain = &measured.chain;
    if chain.is_whole() {
        measured.whole_at = Instant::now();
    }
    let entries = |seq: i64| count(u64::try_from(seq).unwrap_or(0));
    metrics::gauge!("perennial_ledger_entries").set(entries(chain.head));
    metrics::gauge!("perennial_ledger_verified_entries").set(entries(chain.seq));
    metrics::gauge!("perennial_ledger_broken").set(f64::from(u8::from(chain.broken.is_some())));
    metrics::gauge!("perennial_ledger_verified_age_seconds").set(measured.whole_at.elapsed().as_secs_f64());
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "counts below 2^53")]
fn count(n: u64) -> f64 {
    n as f64
}
