//! One careful HTTP client for all systems: rate limit before each request, bounded repeats, a circuit breaker, bounded
//! answers.
//!
//! INVARIANT (never resend blindly): a request that could have written something is repeated only when it is certain
//! that it did not: no connection was made, or the vendor said so (429 and its kin). Everything else is
//! [`SendError::Unknown`].
//!
//! INVARIANT (quiet): tracing gets object, status, code, effect id, attempt and duration; never a token, an address with
//! ids, or a body.
//!
//! Long because what is repeated, what is counted and what an answer means are one decision.

pub(crate) mod breaker;
pub(crate) mod carrier;
pub(crate) mod limit;
pub(crate) mod path;
pub(crate) mod scrub;

#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Mutex;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use perennial_core::action::Effect;
use perennial_core::signal::Crm;
use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use crate::auth::{Bearer, Tokens};
use crate::budget::{Allowance, Lane, daily};
use crate::connection::{Base, Connection, ConnectionError};
use crate::error::{Lost, SendError};
use breaker::Breaker;
use carrier::{Carrier, Failure, Network, Raw};
use limit::Limit;

/// First pause between attempts; doubles each time. Long enough for a restarted connection pool, short for a person.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// Longest pause inside one call. A longer wait is the outbox's, which keeps no worker and no lease busy.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What we ask the caller to wait when the vendor names no time.
const WAIT_DEFAULT: Duration = Duration::from_secs(15);

/// Longest wait we believe: a day, after which every budget is renewed.
const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// How many times larger than other answers a page of a bulk job may be: 64 MB by default, 50,000 rows of a kilobyte.
const CSV_BODIES: usize = 8;

/// How a vendor speaks about failure.
#[derive(Clone, Copy)]
pub(crate) struct Dialect {
    pub(crate) crm: Crm,
    /// Reads an error answer; `None` when the body is not the vendor's, as from a proxy.
    pub(crate) fault: fn(StatusCode, &[u8]) -> Option<Fault>,
    /// What a person can do about a code.
    pub(crate) remedy: fn(&str) -> &'static str,
    /// What a person can do about refused credentials.
    pub(crate) token_remedy: &'static str,
    /// Path at which tokens are asked for.
    pub(crate) sign_in: &'static str,
}

/// An error answer of the vendor.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Fault {
    pub(crate) code: String,
    /// May quote what was sent until it is scrubbed.
    pub(crate) message: String,
    /// Set when the vendor only asks for patience: nothing was written.
    pub(crate) wait: Option<Duration>,
    /// Whether it is the calls of the day that are used up, everyone's.
    pub(crate) day_spent: bool,
}

/// What repeating a request would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nature {
    /// Nothing: a read, or a write that is the same however often it is sent.
    Harmless,
    /// Perhaps a second write.
    Write,
}

/// What an answer is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accept {
    Json,
    /// Rows of a bulk job. Refusals are JSON all the same.
    Csv,
}

/// One request.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    /// The second after which nobody may have changed the record; for records without a tag.
    pub(crate) unmodified_since: Option<HeaderValue>,
    /// Rows to upload, as CSV.
    pub(crate) rows: Option<Vec<u8>>,
    /// Path with query, already encoded, starting with a slash.
    pub(crate) path: String,
    pub(crate) if_match: Option<HeaderValue>,
    pub(crate) body: Option<Value>,
    pub(crate) nature: Nature,
    /// Object of the CRM, for messages.
    pub(crate) object: &'static str,
    /// Effect it serves, for tracing.
    pub(crate) effect: Option<&'a str>,
    pub(crate) lane: Lane,
    pub(crate) accept: Accept,
}

impl<'a> Call<'a> {
    pub(crate) fn get(object: &'static str, path: String) -> Call<'a> {
        Call {
            method: Method::GET,
            unmodified_since: None,
            rows: None,
            path,
            if_match: None,
            body: None,
            nature: Nature::Harmless,
            object,
            effect: None,
            lane: Lane::Normal,
            accept: Accept::Json,
        }
    }

    pub(crate) fn write(method: Method, object: &'static str, path: String, body: Value) -> Call<'a> {
        Call {
            method,
            body: Some(body),
            nature: Nature::Write,
            ..Call::get(object, path)
        }
    }

    pub(crate) fn harmless(self) -> Call<'a> {
        Call {
            nature: Nature::Harmless,
            ..self
        }
    }

    pub(crate) fn serving(self, effect: &'a Effect) -> Call<'a> {
        Call {
            effect: Some(effect.id.as_str()),
            lane: Lane::of(effect),
            ..self
        }
    }

    pub(crate) fn on(self, lane: Lane) -> Call<'a> {
        Call { lane, ..self }
    }

    pub(crate) fn csv(self) -> Call<'a> {
        Call {
            accept: Accept::Csv,
            ..self
        }
    }

    fn unknown(&self, source: Lost, why: &str) -> Trouble {
        match self.nature {
            Nature::Write => Trouble::end(SendError::lost(source)),
            Nature::Harmless => Trouble::wait(why, None),
        }
    }
}

/// A complete answer: success, or a refusal in the vendor's own words.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// Set on 4xx, scrubbed of what we sent.
    pub(crate) fault: Option<Fault>,
    object: &'static str,
    nature: Nature,
    remedy: fn(&str) -> &'static str,
}

impl Reply {
    /// Success, or the refusal as an error.
    pub(crate) fn ok(self) -> Result<Reply, SendError> {
        if self.status.is_success() {
            Ok(self)
        } else {
            Err(self.refusal())
        }
    }

    /// The refusal as an error.
    pub(crate) fn refusal(&self) -> SendError {
        let fault = self.fault.clone().unwrap_or_default();
        let code = if fault.code.is_empty() {
            format!("HTTP_{}", self.status.as_u16())
        } else {
            fault.code
        };
        let remedy = (self.remedy)(&code);
        SendError::refused(self.object, &code, &fault.message, remedy)
    }

    /// The body as a documented type.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, SendError> {
        serde_json::from_slice(&self.body).map_err(|_| {
            let what = format!("status {} without the documented body", self.status.as_u16());
            match self.nature {
                Nature::Write => SendError::unreadable(what),
                Nature::Harmless => SendError::refused(
                    self.object,
                    "UNEXPECTED_ANSWER",
                    &what,
                    "check that base_url is the API of the CRM and not a proxy or a login page",
                ),
            }
        })
    }

    /// A header as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Why an attempt failed, and whether another may follow at once.
struct Trouble {
    /// Boxed because an answer passes here far more often.
    error: Box<SendError>,
    again: Again,
    /// How long the CRM takes no calls at all, where it says so.
    spent: Option<Duration>,
}

enum Again {
    No,
    /// After the usual pause, or a longer one that the vendor named.
    After(Duration),
}

impl Trouble {
    fn end(error: SendError) -> Trouble {
        Trouble {
            error: Box::new(error),
            again: Again::No,
            spent: None,
        }
    }

    /// Nothing was written; the vendor may have named a time.
    fn wait(why: &str, named: Option<Duration>) -> Trouble {
        Trouble {
            error: Box::new(SendError::Busy {
                retry_after: named.unwrap_or(WAIT_DEFAULT).min(WAIT_MAX),
                why: why.to_owned(),
            }),
            again: Again::After(named.unwrap_or_default()),
            spent: None,
        }
    }

    /// The same, of a CRM whose calls are used up.
    fn spending(self, fault: Option<&Fault>) -> Trouble {
        let spent = fault.filter(|fault| fault.day_spent).and_then(|fault| fault.wait);
        Trouble { spent, ..self }
    }
}

/// The client of one outside system.
pub(crate) struct Http {
    dialect: Dialect,
    base: Base,
    tokens: Tokens,
    carrier: Box<dyn Carrier>,
    limit: Limit,
    allowance: Allowance,
    breaker: Breaker,
    max_attempts: u32,
    max_body_bytes: usize,
    /// Seeds the jitter, so that workers started together do not pause together.
    jitter: Mutex<u64>,
}

impl Http {
    pub(crate) fn new(connection: &Connection, dialect: Dialect) -> Result<Http, ConnectionError> {
        let base = connection.base()?;
        let network = Network::new(connection, &base)?;
        Http::over(connection, dialect, Box::new(network))
    }

    pub(crate) fn over(
        connection: &Connection,
        dialect: Dialect,
        carrier: Box<dyn Carrier>,
    ) -> Result<Http, ConnectionError> {
        if connection.max_attempts == 0 {
            return Err(ConnectionError::Limit { limit: "max_attempts" });
        }
        for (limit, value) in [
            ("timeout_ms", connection.timeout_ms),
            ("connect_timeout_ms", connection.connect_timeout_ms),
        ] {
            if value == 0 {
                return Err(ConnectionError::Limit { limit });
            }
        }
        if connection.max_body_bytes == 0 {
            return Err(ConnectionError::Limit {
                limit: "max_body_bytes",
            });
        }
        Ok(Http {
            dialect,
            base: connection.base()?,
            tokens: Tokens::new(
                connection.credentials.clone(),
                connection.keeper.clone(),
                dialect.sign_in,
            )?,
            carrier,
            limit: Limit::new(connection.requests_per_second, connection.burst)?,
            allowance: Allowance::new(dialect.crm, connection.budget.clone()),
            breaker: Breaker::new(dialect.crm),
            max_attempts: connection.max_attempts,
            max_body_bytes: connection.max_body_bytes,
            jitter: Mutex::new(RandomState::new().build_hasher().finish()),
        })
    }

    pub(crate) fn base(&self) -> &Base {
        &self.base
    }

    /// Sends a request until there is a complete answer, repeats are used up, or a repeat could write twice.
    pub(crate) async fn send(&self, call: &Call<'_>) -> Result<Reply, SendError> {
        let span = tracing::debug_span!(
            "call",
            tool = self.dialect.crm.as_str(),
            object = call.object,
            method = call.method.as_str(),
            lane = call.lane.as_str(),
            attempts = Empty,
            status = Empty,
            result = Empty
        );
        let sent = self.send_within(call, &span).instrument(span.clone()).await;
        match &sent {
            Ok(reply) => {
                span.record("status", reply.status.as_u16());
                span.record(
                    "result",
                    if reply.status.is_success() {
                        "answered"
                    } else {
                        "refused"
                    },
                );
            }
            Err(error) => {
                span.record("result", error.word());
            }
        }
        sent
    }

    async fn send_within(&self, call: &Call<'_>, span: &Span) -> Result<Reply, SendError> {
        let mut pauses = self.pauses();
        let mut attempt: u32 = 1;
        let mut refused: Option<Bearer> = None;
        loop {
            let remedy = self.dialect.token_remedy;
            let bearer = self
                .tokens
                .bearer(self.carrier.as_ref(), &self.base, refused.as_ref(), remedy)
                .await?;
            span.record("attempts", attempt);
            let trouble = match self.attempt(call, &bearer, attempt).await {
                Ok(reply) => return Ok(reply),
                Err(trouble) => trouble,
            };
            // A refused token wrote nothing, so a new one may be tried, once.
            let is_refusal = matches!(*trouble.error, SendError::Unauthorised { .. });
            if is_refusal && refused.is_none() && self.tokens.is_renewable() {
                refused = Some(bearer);
                continue;
            }
            let Again::After(named) = trouble.again else {
                return Err(*trouble.error);
            };
            match pauses.next() {
                Some(pause) if named <= PAUSE_MAX => sleep(pause.max(named)).await,
                Some(_) | None => return Err(*trouble.error),
            }
            attempt += 1;
        }
    }

    fn pauses(&self) -> impl Iterator<Item = Duration> + use<> {
        let seed = {
            let mut seed = self.jitter.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15); // the golden ratio: consecutive seeds lie far apart
            *seed
        };
        let times = usize::try_from(self.max_attempts.saturating_sub(1)).unwrap_or(usize::MAX);
        ExponentialBuilder::default()
            .with_min_delay(FIRST_PAUSE)
            .with_max_delay(PAUSE_MAX)
            .with_max_times(times)
            .with_jitter()
            .with_jitter_seed(seed)
            .build()
    }

    async fn attempt(&self, call: &Call<'_>, bearer: &Bearer, attempt: u32) -> Result<Reply, Trouble> {
        let ticket = self.breaker.enter().map_err(|retry_after| {
            Trouble::end(SendError::Busy {
                retry_after,
                why: "the CRM failed several times in a row; we pause".to_owned(),
            })
        })?;
        self.allowance.one(call.lane).await.map_err(|none| {
            Trouble::end(SendError::Busy {
                retry_after: none.retry_after,
                why: none.why,
            })
        })?;
        self.limit.ready().await.map_err(|retry_after| {
            Trouble::end(SendError::Busy {
                retry_after,
                why: "too many requests are waiting for our own rate limit".to_owned(),
            })
        })?;
        let request = self.request(call, bearer).map_err(Trouble::end)?;
        let started = Instant::now();
        let answer = self.carrier.carry(request, self.most_bytes(call)).await;
        let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        match answer {
            Ok(raw) => {
                self.allowance.hear(&raw.headers).await;
                let status = raw.status.as_u16();
                // The same code is said of too many long calls at once: then the count of the day has room.
                let has_room = daily(&raw.headers).is_some_and(|(used, limit)| used < limit);
                let result = self.judge(call, raw);
                if let Err(Trouble { spent: Some(wait), .. }) = &result
                    && !has_room
                {
                    self.allowance.spent(*wait).await;
                }
                let code = match &result {
                    Ok(reply) => reply.fault.as_ref().map_or("", |fault| fault.code.as_str()),
                    Err(_) => "",
                };
                tracing::debug!(
                    crm = %self.dialect.crm, object = call.object, effect = call.effect, attempt, status, code, duration_ms,
                    "answer"
                );
                ticket.report(status < 500 && status != 408);
                result
            }
            Err(failure) => {
                let (what, trouble) = match failure {
                    Failure::NotSent(error) => {
                        tracing::debug!(crm = %self.dialect.crm, error = %error.without_url(), "no connection");
                        ("no connection", Trouble::wait("no connection", None))
                    }
                    Failure::Lost(Lost::TooLarge { limit }) => ("answer too large", self.too_large(call, limit)),
                    Failure::Lost(lost) => ("answer lost", call.unknown(lost, "no complete answer came")),
                };
                tracing::debug!(
                    crm = %self.dialect.crm, object = call.object, effect = call.effect, attempt, duration_ms, "{what}"
                );
                ticket.report(false);
                Err(trouble)
            }
        }
    }

    /// Bytes of an answer that are read: pages of a bulk job are large by nature.
    fn most_bytes(&self, call: &Call<'_>) -> usize {
        match call.accept {
            Accept::Json => self.max_body_bytes,
            Accept::Csv => self.max_body_bytes.saturating_mul(CSV_BODIES),
        }
    }

    fn too_large(&self, call: &Call<'_>, limit: usize) -> Trouble {
        Trouble::end(match call.nature {
            Nature::Write => SendError::lost(Lost::TooLarge { limit }),
            Nature::Harmless => SendError::refused(
                call.object,
                "ANSWER_TOO_LARGE",
                &format!("the answer is larger than {limit} bytes"),
                "raise max_body_bytes of this connection",
            ),
        })
    }

    fn request(&self, call: &Call<'_>, bearer: &Bearer) -> Result<reqwest::Request, SendError> {
        let url = Url::parse(&format!("{}{}", self.base.as_str(), call.path)).map_err(|_| {
            SendError::refused(
                call.object,
                "BAD_ADDRESS",
                "the address of the record is not valid",
                "report this",
            )
        })?;
        let mut request = reqwest::Request::new(call.method.clone(), url);
        let headers = request.headers_mut();
        headers.insert(header::AUTHORIZATION, bearer.header.clone());
        headers.insert(
            header::ACCEPT,
            HeaderValue::from_static(match call.accept {
                Accept::Json => "application/json",
                Accept::Csv => "text/csv",
            }),
        );
        if let Some(etag) = &call.if_match {
            headers.insert(header::IF_MATCH, etag.clone());
        }
        if let Some(body) = &call.body {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            *request.body_mut() = Some(body.to_string().into());
        }
        if let Some(rows) = &call.rows {
            let headers = request.headers_mut();
            headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("text/csv; charset=UTF-8"),
            );
            *request.body_mut() = Some(rows.clone().into());
        }
        if let Some(since) = &call.unmodified_since {
            request.headers_mut().insert(header::IF_UNMODIFIED_SINCE, since.clone());
        }
        Ok(request)
    }

    /// What a complete answer means. The only place where a status decides whether we may try again.
    fn judge(&self, call: &Call<'_>, raw: Raw) -> Result<Reply, Trouble> {
        let status = raw.status;
        let number = status.as_u16();
        let most = self.most_bytes(call);
        if raw.body.len() > most {
            return Err(self.too_large(call, most));
        }
        let fault = (status.is_client_error() || status.is_server_error())
            .then(|| (self.dialect.fault)(status, &raw.body))
            .flatten()
            .map(|fault| Fault {
                message: scrub::scrub(&fault.message, call.body.as_ref()),
                ..fault
            });
        let named = retry_after(&raw.headers).or_else(|| fault.as_ref().and_then(|fault| fault.wait));
        let why = || match &fault {
            Some(fault) if !fault.code.is_empty() => fault.code.clone(),
            Some(_) | None => format!("status {number}"),
        };
        match number {
            401 => Err(Trouble::end(SendError::Unauthorised {
                remedy: self.dialect.token_remedy.to_owned(),
            })),
            429 => Err(Trouble::wait(&why(), named).spending(fault.as_ref())),
            408 | 500..=599 => {
                let mut trouble = call.unknown(Lost::Status { status: number }, &why());
                if let (SendError::Busy { retry_after, .. }, Some(named)) = (trouble.error.as_mut(), named) {
                    *retry_after = named.min(WAIT_MAX);
                    trouble.again = Again::After(named);
                }
                Err(trouble)
            }
            400..=499 if fault.as_ref().is_some_and(|fault| fault.wait.is_some()) => {
                Err(Trouble::wait(&why(), named).spending(fault.as_ref()))
            }
            // Without the vendor's own words a refusal may come from anything on the way. 412 needs no words.
            400..=499 if fault.is_none() && number != 412 => Err(self.stranger(call, number)),
            301..=303 | 305..=399 => Err(self.stranger(call, number)),
            200..=299 if call.accept == Accept::Csv && !is_csv(&raw.headers) => {
                let lost = Lost::Unreadable {
                    what: format!("status {number} without rows"),
                };
                Err(call.unknown(lost, "the answer is not CSV"))
            }
            200..=299
                if call.accept == Accept::Json
                    && !raw.body.is_empty()
                    && serde_json::from_slice::<IgnoredAny>(&raw.body).is_err() =>
            {
                let lost = Lost::Unreadable {
                    what: format!("status {number} without valid JSON"),
                };
                Err(call.unknown(lost, "the answer is not valid JSON"))
            }
            _ => Ok(Reply {
                status,
                headers: raw.headers,
                body: raw.body,
                fault,
                object: call.object,
                nature: call.nature,
                remedy: self.dialect.remedy,
            }),
        }
    }

    /// An answer that is not the vendor's. A write may nevertheless have passed; only 307 and 308 say that it did not.
    fn stranger(&self, call: &Call<'_>, status: u16) -> Trouble {
        Trouble::end(
            if call.nature == Nature::Write && !matches!(status, 307 | 308 | 413 | 414 | 431) {
                SendError::lost(Lost::Status { status })
            } else {
                SendError::refused(
                    call.object,
                    &format!("HTTP_{status}"),
                    "the answer does not come from the API of the CRM",
                    "check base_url: it must be the API address itself, without redirect, login page or proxy",
                )
            },
        )
    }
}

fn is_csv(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("text/csv"))
}

/// Seconds of a `Retry-After` header. Dates are ignored: neither vendor sends them.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    Some(Duration::from_secs(text.trim().parse().ok()?).min(WAIT_MAX))
}
