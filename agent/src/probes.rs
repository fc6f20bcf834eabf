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
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use perennial_store::{Store, StoreError};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::meters::seconds;

/// Seconds of the buckets of all histograms: from a write on the same machine to a CRM that takes its time.
const BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];
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
    pub async fn start(port: u16, store: Store, clock: Clock) -> Result<Probes, ProbesError> {
        let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let failed = |source| ProbesError::Listen {
            address: wanted,
            source,
        };
        let listener = TcpListener::bind(wanted).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let recorder = PrometheusBuilder::new().set_buckets(BUCKETS)?.build_recorder();
        let handle = recorder.handle();
        // A second start in one process (tests) records where the first does.
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("metrics of this process are recorded elsewhere");
        }
        describe();
        let shared = Arc::new(Shared {
            handle,
            store,
            clock,
            measured: Mutex::new(None),
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
    clock: Clock,
    measured: Mutex<Option<Instant>>,
}

async fn ready(State(shared): State<Arc<Shared>>) -> (StatusCode, String) {
    match within(shared.store.schema_version()).await {
        Ok(version) => (StatusCode::OK, format!("ready, schema {version}\n")),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

async fn rendered(State(shared): State<Arc<Shared>>) -> String {
    let mut measured = shared.measured.lock().await;
    if measured.is_none_or(|at| at.elapsed() >= MEASURE) {
        let up = within(measure(&shared)).await;
        metrics::gauge!("perennial_database_up").set(f64::from(u8::from(up.is_ok())));
        *measured = Some(Instant::now());
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
    let now = match (shared.clock, shared.store.clock().await?) {
        (Clock::System, Some(shown)) => shown,
        (clock, _) => clock.now(),
    };
    let state = shared.store.queue_state(now).await?;
    let stops = shared.store.stops().await?;
    let since = |at: Option<perennial_core::time::Timestamp>| seconds(at.map_or(0, |at| now.us() - at.us()).max(0));
    for tool in perennial_core::signal::Crm::ALL {
        let found = state.ready.iter().find(|(name, ..)| name == tool.as_str());
        let (lanes, oldest) = found.map_or((0, None), |(_, lanes, at)| (*lanes, Some(*at)));
        metrics::gauge!("perennial_queue_lanes", "tool" => tool.as_str()).set(count(lanes));
        metrics::gauge!("perennial_queue_age_seconds", "tool" => tool.as_str()).set(since(oldest));
    }
    metrics::gauge!("perennial_effects", "state" => "waiting").set(count(state.waiting));
    metrics::gauge!("perennial_effects", "state" => "leased").set(count(state.leased));
    metrics::gauge!("perennial_effects", "state" => "unknown").set(count(state.unknown));
    metrics::gauge!("perennial_lease_age_seconds").set(since(state.oldest_lease));
    metrics::gauge!("perennial_stops").set(count(stops.len() as u64));
    for reading in shared.store.crm_readings().await? {
        let tool = reading.tool.as_str();
        if let Some(at) = reading.read_at {
            metrics::gauge!("perennial_read_age_seconds", "tool" => tool).set(since(Some(at)));
        }
        let failed = f64::from(u8::from(reading.failed.is_some()));
        metrics::gauge!("perennial_reading_failed", "tool" => tool).set(failed);
    }
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "counts below 2^53")]
fn count(n: u64) -> f64 {
    n as f64
}

fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_counter!(
        "perennial_attempts_total",
        "Attempts of effects that ended, by CRM and result"
    );
    describe_histogram!("perennial_attempt_seconds", "Seconds of an attempt of an effect");
    describe_counter!(
        "perennial_outcomes_refused_total",
        "Outcomes that came after their lease had ended"
    );
    describe_counter!(
        "perennial_database_failures_total",
        "Times the database was away or busy"
    );
    describe_counter!("perennial_decisions_total", "Accounts decided about");
    describe_histogram!(
        "perennial_decision_seconds",
        "Seconds to read and decide about an account"
    );
    describe_gauge!(
        "perennial_clock_ahead_seconds",
        "Seconds that this machine's clock is before the database's"
    );
    describe_gauge!("perennial_leader", "1 when this process leads the schedules");
    describe_gauge!(
        "perennial_database_up",
        "1 when the database answered the last measurement"
    );
    describe_gauge!("perennial_queue_lanes", "Accounts with something to send now, by CRM");
    describe_gauge!(
        "perennial_queue_age_seconds",
        "Seconds since the first of them could have been sent"
    );
    describe_gauge!("perennial_effects", "Unfinished effects by state");
    describe_gauge!(
        "perennial_lease_age_seconds",
        "Seconds since the oldest attempt under way began"
    );
    describe_gauge!("perennial_stops", "Stops that people have set");
    describe_gauge!(
        "perennial_read_age_seconds",
        "Seconds since the latest reading of a CRM began that came to its end"
    );
    describe_gauge!("perennial_reading_failed", "1 when the latest reading of a CRM failed");
    describe_counter!(
        "perennial_readings_total",
        "Readings of CRMs that ended, by CRM and result"
    );
    describe_counter!(
        "perennial_due_records_read_total",
        "Records that webhooks named and that were read"
    );
    describe_counter!("perennial_webhooks_total", "Deliveries of webhooks, by result");
}
