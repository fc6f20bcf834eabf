//! How to reach one outside system, with every limit that holds on the way.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

use crate::auth::{Credentials, TokenKeeper};
use crate::budget::Budget;
use crate::ownership::WriteMap;
use crate::reading::BulkReading;

/// How to reach one outside system. `Debug` shows no secret.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Root of the API without a path of its own, such as `https://example.my.salesforce.com`. Plain `http` only to this
    /// machine.
    pub base_url: String,
    /// How we show who we are.
    pub credentials: Credentials,
    /// Where tokens are kept for the next process; none keeps them in memory.
    pub keeper: Option<Arc<dyn TokenKeeper>>,
    /// Requests per second that we allow ourselves, from 1.
    pub requests_per_second: u32,
    /// Requests that may leave at once after a pause, from 1.
    pub burst: u32,
    /// Longest wait for a whole answer, in milliseconds.
    pub timeout_ms: u64,
    /// Longest wait for a connection, in milliseconds.
    pub connect_timeout_ms: u64,
    /// Attempts per request where a repeat is harmless, from 1.
    pub max_attempts: u32,
    /// Whether an account that the CRM does not know may be made.
    pub create_missing_accounts: CreateMissing,
    /// What we call ourselves.
    pub user_agent: String,
    /// Largest answer that is read, in bytes.
    pub max_body_bytes: usize,
    /// Where our fields go and who owns them; none for the fields that the CRM's adapter proposes.
    pub writes: Option<WriteMap>,
    /// The count of calls that is shared with other processes; none for one that is alone.
    pub budget: Option<Arc<dyn Budget>>,
    /// How very many records are written.
    pub bulk_writing: BulkWriting,
    /// How objects with many records are read.
    pub bulk_reading: BulkReading,
}

/// How very many records are written: by a job of the CRM where it has such. Only Salesforce has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BulkWriting {
    /// Records of one object from which on a job is worth its requests; 0 for never.
    pub from_records: usize,
    /// Milliseconds before the first look whether a job has ended; doubled with every look.
    pub first_pause_ms: u64,
}

impl Default for BulkWriting {
    fn default() -> BulkWriting {
        BulkWriting {
            from_records: 2_000,
            first_pause_ms: 1_000,
        }
    }
}

/// Whether an account that the CRM does not know may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateMissing {
    /// Never: a person links it.
    Never,
    /// Where the CRM itself says that it is a sandbox.
    InSandbox,
}

impl Connection {
    /// Half of HubSpot's smallest burst budget (100 in 10 s), so that other users of the token have room; larger plans may
    /// raise it.
    pub const REQUESTS_PER_SECOND: u32 = 5;
    /// Two effects of up to five requests each may start at once.
    pub const BURST: u32 = 10;
    /// Longer than any ordinary write takes, shorter than a worker's lease.
    pub const TIMEOUT_MS: u64 = 20_000;
    /// A healthy handshake is far below a second.
    pub const CONNECT_TIMEOUT_MS: u64 = 5_000;
    /// First try and two repeats: what does not pass then is for the outbox to wait for.
    pub const MAX_ATTEMPTS: u32 = 3;
    /// The description of a large Salesforce object is one to two megabytes.
    pub const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;

    /// A connection with a token and the limits above, which makes no accounts.
    #[must_use]
    pub fn new(base_url: impl Into<String>, token: SecretString) -> Connection {
        Connection::with(base_url, Credentials::Token(token))
    }

    /// The same with other credentials.
    #[must_use]
    pub fn with(base_url: impl Into<String>, credentials: Credentials) -> Connection {
        Connection {
            base_url: base_url.into(),
            credentials,
            keeper: None,
            requests_per_second: Connection::REQUESTS_PER_SECOND,
            burst: Connection::BURST,
            timeout_ms: Connection::TIMEOUT_MS,
            connect_timeout_ms: Connection::CONNECT_TIMEOUT_MS,
            max_attempts: Connection::MAX_ATTEMPTS,
            create_missing_accounts: CreateMissing::Never,
            user_agent: concat!("perennial/", env!("CARGO_PKG_VERSION")).to_owned(),
            max_body_bytes: Connection::MAX_BODY_BYTES,
            writes: None,
            bulk_writing: BulkWriting::default(),
            budget: None,
            bulk_reading: BulkReading::default(),
        }
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    pub(crate) fn base(&self) -> Result<Base, ConnectionError> {
        Base::parse(&self.base_url)
    }
}

/// The header that carries a token, marked so that it shows in no debug output.
pub(crate) fn bearer(token: &SecretString) -> Result<HeaderValue, ConnectionError> {
    let token = token.expose_secret().trim();
    if token.is_empty() {
        return Err(ConnectionError::Token {
            why: "it is empty".to_owned(),
        });
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| ConnectionError::Token {
        why: "it has characters that a header cannot carry".to_owned(),
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// Why a connection cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The address is not usable.
    #[error("base_url `{url}` is not usable: {why}")]
    BaseUrl {
        /// The address, without any credentials in it.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// The token is not usable. The token itself is not shown.
    #[error("the token is not usable: {why}")]
    Token {
        /// What is wrong.
        why: String,
    },
    /// A limit makes no sense.
    #[error("{limit} must be at least 1")]
    Limit {
        /// Which.
        limit: &'static str,
    },
    /// The HTTP client cannot be built.
    #[error("the HTTP client cannot be built")]
    Client(#[source] reqwest::Error),
}

/// A checked base address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Base {
    /// Without a slash at the end.
    text: String,
    loopback: bool,
}

impl Base {
    fn parse(text: &str) -> Result<Base, ConnectionError> {
        // A refused address may hold credentials, so it is shown only when it has no place for them.
        let wrong = |why: &str| ConnectionError::BaseUrl {
            url: if text.contains('@') {
                "(hidden)".to_owned()
            } else {
                text.chars().take(100).collect()
            },
            why: why.to_owned(),
        };
        let url = Url::parse(text.trim()).map_err(|_| wrong("write it like https://example.my.salesforce.com"))?;
        let host = url.host_str().ok_or_else(|| wrong("it has no host"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("it holds credentials; put the token where secrets are kept"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("it must end after the host"));
        }
        let bare = host.trim_matches(['[', ']']);
        let loopback = host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        match url.scheme() {
            "https" => {}
            "http" if loopback => {}
            "http" => return Err(wrong("plain http would show the token to the network; use https")),
            _ => return Err(wrong("use https")),
        }
        Ok(Base {
            text: url.as_str().trim_end_matches('/').to_owned(),
            loopback,
        })
    }

    /// The address, without a slash at the end.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is on this machine, which means the sandbox.
    pub(crate) fn is_loopback(&self) -> bool {
        self.loopback
    }

    /// Where the sandbox shows a record.
    pub(crate) fn sandbox_page(&self, object: &str, record: &str) -> String {
        format!("{}/records/{object}/{record}", self.text)
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(base_url: &str) -> String {
        Base::parse(base_url).expect_err("must be refused").to_string()
    }

    #[test]
    fn plain_http_goes_only_to_this_machine() {
        for good in [
            "http://127.0.0.1:8080",
            "http://[::1]:1/",
            "http://localhost",
            "https://acme.my.salesforce.com/",
        ] {
            let base = Base::parse(good).expect("usable");
            assert!(!base.as_str().ends_with('/'), "{base}");
        }
        assert!(refused("http://acme.example").contains("https"));
        assert!(refused("ftp://acme.example").contains("https"));
        assert!(!Base::parse("https://acme.example").expect("usable").is_loopback());
    }

    #[test]
    fn an_address_with_credentials_is_refused_and_not_repeated() {
        let text = refused("https://me:hunter2@acme.example");
        assert!(!text.contains("hunter2"), "{text}");
        assert!(refused("https://acme.example/?token=1").contains("end after the host"));
    }

    #[test]
    fn the_token_shows_nowhere() {
        let connection = Connection::new("https://acme.example", SecretString::from("s3cret-token"));
        assert!(!format!("{connection:?}").contains("s3cret"));
        assert!(!format!("{:?}", bearer(&SecretString::from("s3cret-token")).expect("a header")).contains("s3cret"));
        let refused = bearer(&SecretString::from("s3c\nret")).expect_err("must be refused");
        assert!(!refused.to_string().contains("s3c"));
    }
}
