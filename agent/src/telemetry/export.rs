//! The way of spans to a collector: a bounded queue, batches by the SDK of OpenTelemetry on a thread of its own, one attempt a batch.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry_otlp::{RetryPolicy, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanExporter, SpanProcessor as _};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use secrecy::ExposeSecret as _;
use tracing::Subscriber;
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::LookupSpan;

use super::TelemetryError;
use super::spans::Spans;
use crate::config::TelemetryAccess;
use crate::meters;

/// Spans that wait at most, about a kilobyte each: more are dropped and counted.
const QUEUE_MAX: usize = 16_384;
/// Spans of one request.
const BATCH: usize = 512;
/// A span waits no longer for others to share its request.
const GATHER: Duration = Duration::from_secs(1);
/// A collector may take so long to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// The end of a command waits no longer for a collector.
const END: Duration = Duration::from_secs(2);

/// Spans that wait to be sent.
pub(super) struct Queue {
    batches: BatchSpanProcessor,
    state: Arc<State>,
}

/// How sending goes.
#[derive(Default)]
struct State {
    waiting: AtomicUsize,
    dropped: AtomicU64,
    is_named: AtomicBool,
    is_full_named: AtomicBool,
}

impl Queue {
    /// Takes a span, if there is room.
    pub(super) fn put(&self, span: SpanData) {
        if self.state.waiting.fetch_add(1, Ordering::AcqRel) >= QUEUE_MAX {
            self.state.waiting.fetch_sub(1, Ordering::AcqRel);
            self.state.dropped.fetch_add(1, Ordering::Relaxed);
            meters::spans("dropped", 1);
            return;
        }
        self.batches.on_end(span);
    }
}

/// Spans are sent, until the end.
pub(crate) struct Exporting {
    queue: Arc<Queue>,
}

impl Exporting {
    /// Sends what waits, for a moment.
    pub(crate) fn end(self) {
        // What a collector did not take by then is lost, as the exporter has said.
        let _ = self.queue.batches.shutdown_with_timeout(END);
    }
}

/// Begins to send; gives the layer that takes note of spans.
pub(super) fn start<S>(
    access: &TelemetryAccess,
) -> Result<(Exporting, impl Layer<S> + Send + Sync + use<S>), TelemetryError>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(client(access)?)
        .with_endpoint(&access.endpoint)
        .with_timeout(ANSWER)
        // Spans are not the record: the ledger is. A batch that failed makes room for the next one.
        .with_retry_policy(RetryPolicy::disabled())
        .build()
        .map_err(|error| TelemetryError::Client(error.into()))?;
    let state = Arc::new(State::default());
    let told = Told {
        exporter,
        state: Arc::clone(&state),
        endpoint: access.endpoint.clone(),
    };
    let config = BatchConfigBuilder::default()
        // One more than may wait, so that what is dropped is dropped and counted here.
        .with_max_queue_size(QUEUE_MAX + 1)
        .with_max_export_batch_size(BATCH)
        .with_scheduled_delay(GATHER)
        .build();
    let mut batches = BatchSpanProcessor::builder(told).with_batch_config(config).build();
    let resource = Resource::builder()
        .with_service_name(access.service.clone())
        .with_attribute(opentelemetry::KeyValue::new(
            "service.version",
            env!("CARGO_PKG_VERSION"),
        ))
        .build();
    batches.set_resource(&resource);
    let queue = Arc::new(Queue { batches, state });
    let spans = Spans::new(Arc::clone(&queue), access.share).with_filter(Spans::filter());
    Ok((Exporting { queue }, spans))
}

/// A client that sends the headers of the configuration. It has a runtime of its own: make and drop it outside of ours.
fn client(access: &TelemetryAccess) -> Result<reqwest::blocking::Client, TelemetryError> {
    let mut headers = HeaderMap::new();
    for (name, value) in access.headers()? {
        let name = HeaderName::try_from(name).map_err(|error| TelemetryError::Client(error.into()))?;
        let mut value =
            HeaderValue::try_from(value.expose_secret()).map_err(|error| TelemetryError::Client(error.into()))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    let client = reqwest::blocking::Client::builder()
        .timeout(ANSWER)
        .connect_timeout(END)
        .redirect(reqwest::redirect::Policy::none())
        .default_headers(headers);
    // A collector on this machine is asked directly, whatever proxy the rest goes through.
    let is_local = ["http://127.0.0.1", "http://localhost", "http://[::1]"]
        .iter()
        .any(|local| access.endpoint.starts_with(local));
    let client = if is_local { client.no_proxy() } else { client };
    client.build().map_err(|error| TelemetryError::Client(error.into()))
}

/// Whether a collector takes spans: sends none and looks at the answer. It blocks.
///
/// # Errors
/// What is wrong, as a sentence.
pub(crate) fn check(access: &TelemetryAccess) -> Result<(), String> {
    let client = client(access).map_err(|error| error.to_string())?;
    // A request with no spans is no bytes.
    let request = client
        .post(&access.endpoint)
        .header("content-type", "application/x-protobuf")
        .body(Vec::new());
    match request.send() {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) => Err(format!("it answers with status {}", answer.status().as_u16())),
        Err(error) if error.is_timeout() => Err("it does not answer in time".to_owned()),
        Err(_) => Err("it cannot be reached".to_owned()),
    }
}

/// An exporter that counts, and says once that it cannot send.
struct Told<E> {
    exporter: E,
    state: Arc<State>,
    endpoint: String,
}

impl<E> fmt::Debug for Told<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Told")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

impl<E: SpanExporter> SpanExporter for Told<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        self.state.waiting.fetch_sub(spans, Ordering::AcqRel);
        let sent = self.exporter.export(batch).await;
        let count = u64::try_from(spans).unwrap_or(0);
        match &sent {
            Ok(()) => meters::spans("sent", count),
            Err(error) => {
                meters::spans("failed", count);
                if !self.state.is_named.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        endpoint = self.endpoint,
                        %error,
                        "the collector takes no spans; they are lost and work goes on; this is said once"
                    );
                }
            }
        }
        if self.state.dropped.load(Ordering::Relaxed) > 0 && !self.state.is_full_named.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                most = QUEUE_MAX,
                "more spans wait than may: the rest is lost, see perennial_spans_total; set `sample` in [telemetry] lower"
            );
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
