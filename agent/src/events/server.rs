//! The HTTP side: who may send, how much at once, and what is answered.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use futures_util::StreamExt as _;
use perennial_store::{EventStored, Store, StoreError};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::fold::fold;
use super::mapping::EventMapping;
use super::message::{Key, Kind, Reader, Refusal};
use super::refused::{RefusedFile, Turned};
use super::writer::{self, Grouping, Job};
use crate::clock::Clock;
use crate::config::Limits;
use crate::intake::Problem;

/// Bytes of room that even the smallest request takes: what we keep of it beside its body.
const ROOM_MIN: usize = 2 * 1024;
/// Bytes of a refused body that are read and dropped, so that its sender hears the answer.
const DRAIN_BYTES: usize = 4 * 1024 * 1024;
/// Seconds after which a sender that found the queue full should try again.
const RETRY_FULL_SECONDS: &str = "1";
/// Seconds after which a sender that met a database that will not should try again.
const RETRY_STORE_SECONDS: &str = "5";
/// How long a stop waits for requests that are being answered, beyond the time to read them.
const STOP_SPARE: Duration = Duration::from_secs(20);

/// How to listen.
#[derive(Debug, Clone)]
pub struct ListenOptions {
    /// Where; port 0 takes any free one.
    pub address: SocketAddr,
    /// Write keys, any of which lets a sender in.
    pub tokens: Vec<SecretString>,
    /// What events mean.
    pub mapping: EventMapping,
    /// Folder for the file of refused messages.
    pub rejects_dir: PathBuf,
    /// Limits.
    pub limits: Limits,
    /// The present.
    pub clock: Clock,
}

/// Why the server did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum EventsError {
    /// There is no place to listen at.
    #[error(
        "cannot listen at {address}: choose another with --address or `listen` in [events], or stop the program that uses it"
    )]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Something of the mapping or the folders must be mended first.
    #[error("events cannot be received: something must be mended first")]
    NotReady {
        /// Everything that must be mended.
        problems: Vec<Problem>,
    },
    /// Nobody could send: no write key is given.
    #[error("there is no write key: set PERENNIAL_EVENTS_TOKEN, or `token_file` in [events]")]
    NoToken,
    /// The store refused.
    #[error("the events stopped: what was acknowledged stands")]
    Store(#[from] StoreError),
    /// The file of refused messages could not be ended.
    #[error("the file of refused messages could not be written: make room, then start again")]
    Refused(#[source] csv::Error),
    /// The key of the hashes is not usable.
    #[error("the stored key of the hashes is empty: restore a backup of the database")]
    Key,
}

/// What a server received.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Received {
    /// Messages that were new.
    pub stored: u64,
    /// Messages that were there.
    pub duplicate: u64,
    /// Messages that were refused.
    pub rejected: u64,
    /// Requests that were asked to come again: the queue was full, or the database would not.
    pub put_off: u64,
    /// Facts of days that were made.
    pub facts: u64,
    /// File with the refused messages, if there were any.
    pub rejects_file: Option<PathBuf>,
}

#[derive(Default)]
struct Counts {
    stored: AtomicU64,
    duplicate: AtomicU64,
    rejected: AtomicU64,
    put_off: AtomicU64,
    facts: AtomicU64,
}

/// What all requests share.
struct Shared {
    store: Store,
    mapping: EventMapping,
    key: Key,
    /// Hashes of the write keys.
    tokens: Vec<[u8; 32]>,
    limits: Limits,
    clock: Clock,
    room: Arc<Semaphore>,
    refused: RefusedFile,
    counts: Counts,
}

/// A server that listens. Dropping it stops it; [`Listening::stop`] also waits until all is stored.
pub struct Listening {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
    writing: JoinHandle<()>,
    folding: JoinHandle<()>,
}

impl Listening {
    /// Starts to listen. Days that an earlier server left are counted at once.
    ///
    /// # Errors
    /// [`EventsError`].
    pub async fn start(store: Store, options: ListenOptions) -> Result<Listening, EventsError> {
        let tokens: Vec<[u8; 32]> = options
            .tokens
            .iter()
            .filter(|token| !token.expose_secret().is_empty())
            .map(|token| Sha256::digest(token.expose_secret().as_bytes()).into())
            .collect();
        if tokens.is_empty() {
            return Err(EventsError::NoToken);
        }
        let listen = |source| EventsError::Listen {
            address: options.address,
            source,
        };
        let listener = TcpListener::bind(options.address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let key = Key::new(store.event_salt().await?.expose()).ok_or(EventsError::Key)?;
        let limits = options.limits;
        let refused = RefusedFile::create(&options.rejects_dir, options.mapping.source(), limits.event_rejects)
            .map_err(|problems| EventsError::NotReady { problems })?;
        tracing::info!(%address, refused = %refused.path().display(), "events are received");
        let room = limits.event_queue_bytes.clamp(ROOM_MIN, Semaphore::MAX_PERMITS);
        let shared = Arc::new(Shared {
            store: store.clone(),
            mapping: options.mapping,
            key,
            tokens,
            limits,
            clock: options.clock,
            room: Arc::new(Semaphore::new(room)),
            refused,
            counts: Counts::default(),
        });
        // The channel itself has no limit: what is in it holds a part of `room`.
        let (jobs, queue) = mpsc::unbounded_channel();
        let grouping = Grouping {
            events: limits.event_batch,
            wait: Duration::from_millis(limits.event_batch_ms),
        };
        let writing = tokio::spawn(writer::write(store, queue, grouping, options.clock));
        let (stop, stopped) = watch::channel(false);
        let folding = tokio::spawn(fold_at_times(Arc::clone(&shared), stopped.clone()));
        let app = Router::new()
            .route("/healthz", get(health))
            .route("/v1/{route}", post(receive))
            .with_state((Arc::clone(&shared), jobs));
        let serving = tokio::spawn(async move {
            let mut stopped = stopped;
            // A sender that was dropped is a stop too.
            let stop = async move { while !*stopped.borrow_and_update() && stopped.changed().await.is_ok() {} };
            if let Err(error) = axum::serve(listener, app).with_graceful_shutdown(stop).await {
                tracing::error!(error = &error as &dyn std::error::Error, "listening ended");
            }
        });
        Ok(Listening {
            address,
            shared,
            stop,
            serving,
            writing,
            folding,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no further requests, stores what was taken, and counts the days that are over.
    ///
    /// # Errors
    /// [`EventsError::Store`] when the last days could not be counted: the next server will; [`EventsError::Refused`].
    pub async fn stop(self) -> Result<Received, EventsError> {
        self.stop.send_replace(true);
        let patience = Duration::from_millis(self.shared.limits.event_read_ms) + STOP_SPARE;
        let abort = self.serving.abort_handle();
        if tokio::time::timeout(patience, self.serving).await.is_err() {
            abort.abort();
        }
        // All senders of jobs are gone with the requests, so this ends when the queue is empty. A task that panicked has
        // nothing more to store.
        let _ = tokio::time::timeout(patience, self.writing).await;
        let _ = self.folding.await;
        self.shared.fold().await?;
        let rejects_file = self.shared.refused.finish().map_err(EventsError::Refused)?;
        let counts = &self.shared.counts;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Ok(Received {
            stored: read(&counts.stored),
            duplicate: read(&counts.duplicate),
            rejected: read(&counts.rejected),
            put_off: read(&counts.put_off),
            facts: read(&counts.facts),
            rejects_file,
        })
    }
}

async fn fold_at_times(shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let every = Duration::from_millis(shared.limits.event_fold_ms.max(1));
    loop {
        if let Err(error) = shared.fold().await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "days could not be counted now; the next time will"
            );
        }
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            changed = stopped.changed() => {
                if changed.is_err() || *stopped.borrow() {
                    return;
                }
            }
        }
    }
}

impl Shared {
    async fn fold(&self) -> Result<(), StoreError> {
        let days = i64::from(self.limits.event_days);
        let facts = fold(&self.store, &self.mapping, self.clock.now(), days).await?;
        self.counts.facts.fetch_add(facts, Ordering::Relaxed);
        Ok(())
    }

    /// Whether a request names a write key: as the user name of basic authentication, or as a bearer token. Compared by
    /// hashes and against all keys, so that the time tells nothing.
    fn allows(&self, headers: &HeaderMap) -> bool {
        let Some(given) = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()) else {
            return false;
        };
        let token = match given.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim().to_owned(),
            Some((scheme, pair)) if scheme.eq_ignore_ascii_case("basic") => {
                let Ok(pair) = base64::engine::general_purpose::STANDARD.decode(pair.trim()) else {
                    return false;
                };
                let pair = String::from_utf8_lossy(&pair).into_owned();
                pair.split(':').next().unwrap_or_default().to_owned()
            }
            _ => return false,
        };
        let given: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let found = self
            .tokens
            .iter()
            .fold(Choice::from(0), |found, token| found | token.ct_eq(&given));
        found.into()
    }
}

type AppState = (Arc<Shared>, mpsc::UnboundedSender<Job>);

async fn health(State((shared, _)): State<AppState>) -> Response {
    match shared.store.schema_version().await {
        Ok(_) => (StatusCode::OK, axum::Json(json!({ "status": "ok" }))).into_response(),
        Err(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            axum::Json(json!({ "status": "the database does not answer" })),
        )
            .into_response(),
    }
}

/// Refuses a request as a whole. Its body is read to the end and dropped, within bounds, or its sender would see a broken
/// connection instead of the answer.
async fn refuse(shared: &Shared, body: Option<Body>, status: StatusCode, message: &str) -> Response {
    if let Some(body) = body {
        let mut chunks = body.into_data_stream();
        let mut bytes = 0;
        let drain = async {
            while let Some(Ok(chunk)) = chunks.next().await {
                bytes += chunk.len();
                if bytes > DRAIN_BYTES {
                    break;
                }
            }
        };
        // Too slow to be told.
        let _ = tokio::time::timeout(Duration::from_millis(shared.limits.event_read_ms), drain).await;
    }
    let mut response = (status, axum::Json(json!({ "success": false, "message": message }))).into_response();
    let headers = response.headers_mut();
    match status {
        StatusCode::UNAUTHORIZED => {
            headers.insert(
                header::WWW_AUTHENTICATE,
                header::HeaderValue::from_static("Basic realm=\"events\""),
            );
        }
        StatusCode::TOO_MANY_REQUESTS => {
            headers.insert(
                header::RETRY_AFTER,
                header::HeaderValue::from_static(RETRY_FULL_SECONDS),
            );
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            headers.insert(
                header::RETRY_AFTER,
                header::HeaderValue::from_static(RETRY_STORE_SECONDS),
            );
        }
        _ => {}
    }
    response
}

async fn receive(State((shared, jobs)): State<AppState>, Path(route): Path<String>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let shared = &*shared;
    if !shared.allows(&parts.headers) {
        let message = "send a write key as the user name of basic authentication, or as a bearer token";
        return refuse(shared, Some(body), StatusCode::UNAUTHORIZED, message).await;
    }
    let single = Kind::from_word(&route);
    if single.is_none() && route != "batch" {
        let message = "known are /v1/track, /v1/identify, /v1/group, /v1/page, /v1/screen and /v1/batch";
        return refuse(shared, Some(body), StatusCode::NOT_FOUND, message).await;
    }
    if parts.headers.contains_key(header::CONTENT_ENCODING) {
        let message = "send the body as it is, not compressed";
        return refuse(shared, Some(body), StatusCode::UNSUPPORTED_MEDIA_TYPE, message).await;
    }
    let max = if single.is_some() {
        shared.limits.event_bytes
    } else {
        shared.limits.event_body_bytes
    };
    let length = parts
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let too_large = format!("the body is larger than {max} bytes: send less at once");
    if length.is_some_and(|length| length > max) {
        return refuse(shared, Some(body), StatusCode::PAYLOAD_TOO_LARGE, &too_large).await;
    }
    // Room is taken before the first byte is read: what waits for its sender counts as well as what waits for the store.
    let room = u32::try_from(length.unwrap_or(max).max(ROOM_MIN)).unwrap_or(u32::MAX);
    let Ok(room) = Arc::clone(&shared.room).try_acquire_many_owned(room) else {
        shared.counts.put_off.fetch_add(1, Ordering::Relaxed);
        let message = "the queue is full: try again in a second";
        return refuse(shared, Some(body), StatusCode::TOO_MANY_REQUESTS, message).await;
    };
    let read = tokio::time::timeout(Duration::from_millis(shared.limits.event_read_ms), to_bytes(body, max));
    let body = match read.await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return refuse(shared, None, StatusCode::PAYLOAD_TOO_LARGE, &too_large).await,
        Err(_) => {
            return refuse(
                shared,
                None,
                StatusCode::REQUEST_TIMEOUT,
                "the body did not come in time",
            )
            .await;
        }
    };
    let sorted = match sort(shared, single, &body) {
        Ok(sorted) => sorted,
        Err(message) => return refuse(shared, None, StatusCode::BAD_REQUEST, &message).await,
    };
    let Sorted {
        events,
        sources,
        mut turned,
        ignored,
    } = sorted;
    let mut stored = Vec::new();
    if !events.is_empty() {
        let (answer, answered) = oneshot::channel();
        let job = Job {
            events,
            answer,
            _room: room,
        };
        // Either the writer is gone or the store refused: nothing is acknowledged.
        let answered = match jobs.send(job) {
            Ok(()) => answered.await.ok().flatten(),
            Err(_) => None,
        };
        match answered {
            Some(all) => stored = all,
            None => return put_off(shared).await,
        }
    }
    let mut counts = (ignored, 0_u64);
    for (stored, source) in stored.iter().zip(sources) {
        match stored {
            EventStored::New => counts.0 += 1,
            EventStored::Duplicate => counts.1 += 1,
            EventStored::NoAccount => turned.push(source),
        }
    }
    turned.sort_by_key(|message| message.index);
    if let Err(error) = shared.refused.write(&format!("v1/{route}"), &turned) {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "refused messages could not be written down"
        );
        return put_off(shared).await;
    }
    shared.counts.stored.fetch_add(counts.0, Ordering::Relaxed);
    shared.counts.duplicate.fetch_add(counts.1, Ordering::Relaxed);
    shared.counts.rejected.fetch_add(turned.len() as u64, Ordering::Relaxed);
    // A single message that is refused is the sender's mistake; of a batch the others were kept.
    let refused = single.is_some() && !turned.is_empty();
    let status = if refused {
        StatusCode::BAD_REQUEST
    } else {
        StatusCode::OK
    };
    let answer = json!({
        "success": !refused, "stored": counts.0, "duplicate": counts.1,
        "rejected": turned.iter().map(Turned::answer).collect::<Vec<_>>(),
    });
    (status, axum::Json(answer)).into_response()
}

async fn put_off(shared: &Shared) -> Response {
    shared.counts.put_off.fetch_add(1, Ordering::Relaxed);
    let message = "nothing of this request is acknowledged: send it again";
    refuse(shared, None, StatusCode::SERVICE_UNAVAILABLE, message).await
}

/// A batch as it is sent; what else stands in it is not read.
#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow)]
    batch: Vec<&'a RawValue>,
    #[serde(default)]
    context: Value,
    #[serde(default, rename = "sentAt")]
    sent_at: Value,
}

/// The messages of a request.
struct Sorted {
    events: Vec<perennial_store::NewEvent>,
    /// What each event is called where it must be refused after all.
    sources: Vec<Turned>,
    turned: Vec<Turned>,
    /// Messages that say nothing to be stored, such as traits.
    ignored: u64,
}

/// Reads all messages of a body; says what is wrong with it as a whole.
fn sort(shared: &Shared, single: Option<Kind>, body: &Bytes) -> Result<Sorted, String> {
    let broken = |error: serde_json::Error| format!("the body is not the JSON of this route: {error}");
    let (raw, common) = match single {
        Some(_) => (
            vec![serde_json::from_slice::<&RawValue>(body).map_err(broken)?],
            Value::Null,
        ),
        None => {
            let batch: Batch<'_> = serde_json::from_slice(body).map_err(broken)?;
            (
                batch.batch,
                json!({ "context": batch.context, "sentAt": batch.sent_at }),
            )
        }
    };
    let reader = Reader {
        mapping: &shared.mapping,
        key: &shared.key,
        now: shared.clock.now(),
        days: i64::from(shared.limits.event_days),
        shared: &common,
    };
    let mut sorted = Sorted {
        events: Vec::new(),
        sources: Vec::new(),
        turned: Vec::new(),
        ignored: 0,
    };
    for (index, raw) in raw.into_iter().enumerate() {
        let message: Value = serde_json::from_str(raw.get()).map_err(broken)?;
        match one(shared, &reader, single, raw.get(), &message) {
            Ok(Some(event)) => {
                sorted.events.push(event);
                sorted
                    .sources
                    .push(Turned::new(index, &message, Refusal::new("", reader.no_account())));
            }
            Ok(None) => sorted.ignored += 1,
            Err(refusal) => sorted.turned.push(Turned::new(index, &message, refusal)),
        }
    }
    Ok(sorted)
}

fn one(
    shared: &Shared,
    reader: &Reader<'_>,
    single: Option<Kind>,
    raw: &str,
    message: &Value,
) -> Result<Option<perennial_store::NewEvent>, Refusal> {
    if raw.len() > shared.limits.event_bytes {
        let reason = format!("larger than {} bytes", shared.limits.event_bytes);
        return Err(Refusal::new("", reason));
    }
    if !message.is_object() {
        return Err(Refusal::new("", "a message is a JSON object"));
    }
    let kind = match single {
        Some(kind) => kind,
        None => {
            let word = message.get("type").and_then(Value::as_str).unwrap_or_default();
            Kind::from_word(word)
                .ok_or_else(|| Refusal::new("type", "not one of: track, page, screen, identify, group"))?
        }
    };
    reader.read(kind, raw, message)
}
