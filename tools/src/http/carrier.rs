//! What brings a request to the network and back. A trait only so that tests can do without sockets where time matters.

use std::time::Duration;

use futures_util::future::BoxFuture;
use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use reqwest::{Client, Request, Response, StatusCode};

use crate::connection::{Base, Connection, ConnectionError};
use crate::error::Lost;

/// Connections idle for longer are closed by us: half of what common load balancers allow, so that a write seldom meets
/// a connection that was closed under it and becomes unknown.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// A complete answer as it came.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// No complete answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// There was no connection, so nothing was sent.
    NotSent(reqwest::Error),
    /// Something may have been sent.
    Lost(Lost),
}

pub(crate) trait Carrier: Send + Sync {
    /// Reads at most `limit` bytes of the answer.
    fn carry(&self, request: Request, limit: usize) -> BoxFuture<'_, Result<Raw, Failure>>;
}

/// The real network.
pub(crate) struct Network {
    client: Client,
}

impl Network {
    pub(crate) fn new(connection: &Connection, base: &Base) -> Result<Network, ConnectionError> {
        let mut builder = Client::builder()
            // A redirect would carry the token to an address nobody checked.
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .https_only(!base.is_loopback())
            .timeout(connection.timeout())
            .connect_timeout(Duration::from_millis(connection.connect_timeout_ms))
            .pool_idle_timeout(IDLE_MAX)
            .user_agent(connection.user_agent.as_str());
        if base.is_loopback() {
            builder = builder.no_proxy();
            if base.as_str().starts_with("http://") {
                // Plain http needs no certificates, and a small container has none.
                builder = builder.tls_certs_only([]);
            }
        }
        Ok(Network {
            client: builder.build().map_err(ConnectionError::Client)?,
        })
    }

    async fn body(mut response: Response, limit: usize) -> Result<Vec<u8>, Failure> {
        let too_large = || Failure::Lost(Lost::TooLarge { limit });
        if response.content_length().is_some_and(|length| length > limit as u64) {
            return Err(too_large());
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(lost)? {
            if body.len() + chunk.len() > limit {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

impl Carrier for Network {
    fn carry(&self, request: Request, limit: usize) -> BoxFuture<'_, Result<Raw, Failure>> {
        Box::pin(async move {
            let mut response = self.client.execute(request).await.map_err(|error| {
                if error.is_connect() || error.is_builder() {
                    Failure::NotSent(error.without_url())
                } else {
                    lost(error)
                }
            })?;
            let status = response.status();
            let headers = std::mem::take(response.headers_mut());
            let body = Network::body(response, limit).await?;
            Ok(Raw { status, headers, body })
        })
    }
}

fn lost(error: reqwest::Error) -> Failure {
    Failure::Lost(if error.is_timeout() {
        Lost::TimedOut
    } else {
        Lost::Transport(error.without_url())
    })
}
