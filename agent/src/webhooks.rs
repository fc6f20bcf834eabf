//! Webhooks of HubSpot: received, checked, and turned into records that are due.
//!
//! Promises: nothing is taken that HubSpot did not sign, lately and for our address; what is acknowledged is stored, so that it is read
//! although this process is killed; a delivery that comes twice or late changes nothing but the time of the next reading. The
//! values that an event carries are not used: the record is read as it is now, by its id, past the index that search goes by.
//!
//! Deliberately not here: reading (the worker that leads does it, or `perennial sync`), and subscriptions, which a person makes in HubSpot.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use perennial_core::signal::Crm;
use perennial_store::Store;
use perennial_tools::hubspot::webhook::{self, Forged};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::meters;

/// Largest delivery: a hundred events, each with a value as long as a property may be.
const BODY_MAX: usize = 8 * 1024 * 1024;
/// Deliveries that are read and stored at once; HubSpot sends ten at a time unless told otherwise.
const AT_ONCE: usize = 16;
/// Longest wait for the body of a delivery: HubSpot gives up after five seconds.
const READ_MAX: Duration = Duration::from_secs(5);
/// How long a stop waits for deliveries that are being answered.
const STOP_MAX: Duration = Duration::from_secs(10);

/// How to receive.
#[derive(Debug, Clone)]
pub struct WebhookOptions {
    /// Where to listen; port 0 takes any free one.
    pub address: SocketAddr,
    /// The address that HubSpot sends to and signs.
    pub public_url: String,
    /// Client secret of the app that sends.
    pub secret: SecretString,
    /// Objects that are read; events of others are passed over.
    pub objects: BTreeSet<String>,
    /// The present.
    pub clock: Clock,
}

/// Why webhooks are not received.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// There is no place to listen at.
    #[error("cannot listen at {address}: choose another `listen` in [webhook], or stop the program that uses it")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Everybody could sign.
    #[error("the client secret of HubSpot's webhooks is empty")]
    NoSecret,
}

/// What was received.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Delivered {
    /// Deliveries that were taken.
    pub taken: u64,
    /// Events in them.
    pub events: u64,
    /// Events that say nothing we follow, or are of objects that are not read.
    pub ignored: u64,
    /// Deliveries that were refused, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// Deliveries that were asked to come again: the database would not.
    pub put_off: u64,
}

struct Shared {
    store: Store,
    options: WebhookOptions,
    room: Semaphore,
    taken: AtomicU64,
    events: AtomicU64,
    ignored: AtomicU64,
    put_off: AtomicU64,
    refused: Mutex<BTreeMap<&'static str, u64>>,
}

/// A receiver that listens. Dropping it stops it.
pub struct Webhooks {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Webhooks {
    /// Starts to listen.
    ///
    /// # Errors
    /// [`WebhookError`].
    pub async fn start(store: Store, options: WebhookOptions) -> Result<Webhooks, WebhookError> {
        if options.secret.expose_secret().is_empty() {
            return Err(WebhookError::NoSecret);
        }
        let listen = |source| WebhookError::Listen {
            address: options.address,
            source,
        };
        let listener = TcpListener::bind(options.address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        tracing::info!(%address, "webhooks are received");
        let shared = Arc::new(Shared {
            store,
            options,
            room: Semaphore::new(AT_ONCE),
            taken: AtomicU64::new(0),
            events: AtomicU64::new(0),
            ignored: AtomicU64::new(0),
            put_off: AtomicU64::new(0),
            refused: Mutex::new(BTreeMap::new()),
        });
        // Any path: which one HubSpot sends to is its and the proxy's affair, and the signature says whether it was meant.
        let app = Router::new()
            .route("/healthz", get(|| async { "alive\n" }))
            .route("/", post(receive))
            .route("/{*path}", post(receive))
            .with_state(Arc::clone(&shared));
        let (stop, mut stopped) = watch::channel(false);
        let serving = tokio::spawn(async move {
            // A sender that was dropped is a stop too.
            let stop = async move { while !*stopped.borrow_and_update() && stopped.changed().await.is_ok() {} };
            if let Err(error) = axum::serve(listener, app).with_graceful_shutdown(stop).await {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "webhooks are not received any more"
                );
            }
        });
        Ok(Webhooks {
            address,
            shared,
            stop,
            serving,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was received so far.
    #[must_use]
    pub fn delivered(&self) -> Delivered {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let refused = self.shared.refused.lock().unwrap_or_else(PoisonError::into_inner);
        Delivered {
            taken: read(&self.shared.taken),
            events: read(&self.shared.events),
            ignored: read(&self.shared.ignored),
            refused: refused.clone(),
            put_off: read(&self.shared.put_off),
        }
    }

    /// Takes no further deliveries and ends those that are being answered.
    pub async fn stop(mut self) -> Delivered {
        self.stop.send_replace(true);
        if tokio::time::timeout(STOP_MAX, &mut self.serving).await.is_err() {
            self.serving.abort();
        }
        self.delivered()
    }
}

async fn receive(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    // The semaphore is never closed.
    let Ok(_room) = shared.room.acquire().await else {
        return answer(StatusCode::SERVICE_UNAVAILABLE, "stopping");
    };
    let (parts, body) = request.into_parts();
    let read = tokio::time::timeout(READ_MAX, to_bytes(body, BODY_MAX)).await;
    let Ok(Ok(body)) = read else {
        return answer(StatusCode::BAD_REQUEST, "the body did not come, or is too large");
    };
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let verified = webhook::verify(
        &shared.options.secret,
        &shared.options.public_url,
        &body,
        header("x-hubspot-signature-v3"),
        header("x-hubspot-request-timestamp"),
        shared.options.clock.now(),
    );
    match verified {
        Ok(()) => take(&shared, &body).await,
        Err(forged) => refuse(&shared, forged),
    }
}

/// Refuses what HubSpot did not sign. The answer does not say why: whoever tries learns nothing.
fn refuse(shared: &Shared, forged: Forged) -> Response {
    tracing::warn!(reason = forged.as_str(), "a webhook was refused");
    meters::delivered(forged.as_str());
    let mut refused = shared.refused.lock().unwrap_or_else(PoisonError::into_inner);
    *refused.entry(forged.as_str()).or_default() += 1;
    answer(StatusCode::UNAUTHORIZED, "not signed by the app we know")
}

async fn take(shared: &Shared, body: &Bytes) -> Response {
    let Some(delivery) = webhook::read(body) else {
        meters::delivered("unreadable");
        return answer(StatusCode::BAD_REQUEST, "not a list of events");
    };
    let read = |changed: &webhook::Changed| shared.options.objects.contains(&changed.object);
    let (known, others): (BTreeSet<_>, BTreeSet<_>) = delivery.changed.into_iter().partition(read);
    let named = known
        .into_iter()
        .map(|changed| (changed.object, changed.record))
        .collect();
    let now = shared.options.clock.now();
    if let Err(error) = shared.store.mark_due_records(Crm::HubSpot, &named, now).await {
        // HubSpot sends it again.
        tracing::warn!(%error, "a webhook could not be kept");
        meters::delivered("put_off");
        shared.put_off.fetch_add(1, Ordering::Relaxed);
        return answer(StatusCode::SERVICE_UNAVAILABLE, "send it again");
    }
    meters::delivered("taken");
    shared.taken.fetch_add(1, Ordering::Relaxed);
    shared.events.fetch_add(delivery.events, Ordering::Relaxed);
    let ignored = delivery.ignored + others.len() as u64;
    shared.ignored.fetch_add(ignored, Ordering::Relaxed);
    answer(StatusCode::OK, "taken")
}

fn answer(status: StatusCode, message: &str) -> Response {
    (status, axum::Json(json!({ "message": message }))).into_response()
}
