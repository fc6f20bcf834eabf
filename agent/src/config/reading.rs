//! When CRMs are read without being asked to, and where webhooks of HubSpot are received.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde::Deserialize;
use toml::Spanned;

use super::ConfigError;
use super::access::{Wrong, secret};

/// Address at which webhooks are received unless another is named: this machine only, behind a proxy with TLS.
const LISTEN: &str = "127.0.0.1:8018";
/// Environment variable with the client secret of the app that sends them.
const SECRET: &str = "PERENNIAL_HUBSPOT_WEBHOOK_SECRET";

/// Webhooks of HubSpot.
#[derive(Debug, Clone)]
pub struct WebhookAccess {
    /// Where to listen.
    pub address: SocketAddr,
    /// The address that HubSpot sends to and signs, whatever stands between it and us.
    pub public_url: String,
    secret_file: Option<PathBuf>,
}

/// `[webhook]` as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WebhookTable {
    listen: Option<Spanned<String>>,
    public_url: Spanned<String>,
    secret_file: Option<PathBuf>,
}

/// `[sync]` as written.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct SyncTable {
    every_s: Option<Spanned<u64>>,
    deleted_every_s: Option<Spanned<u64>>,
}

/// Shortest time between two readings: each costs some calls of the day, 8,640 at ten seconds and one object.
const EVERY_LEAST_S: u64 = 10;
/// Time between two listings of what was deleted: HubSpot lists all that ever was, 100 records a call.
const DELETED_EVERY_S: u64 = 3_600;
/// Longest one: a CRM that is read less often than once a week is read by hand.
const EVERY_MOST_S: u64 = 7 * 24 * 3_600;

impl SyncTable {
    /// Seconds between two readings.
    pub(super) fn every(&self, wrong: Wrong<'_>) -> Option<u64> {
        let every = self.every_s.as_ref()?;
        let seconds = *every.get_ref();
        if !(EVERY_LEAST_S..=EVERY_MOST_S).contains(&seconds) {
            let message = format!("`every_s` is not between {EVERY_LEAST_S} and {EVERY_MOST_S} seconds");
            let help = "write 300 for every five minutes, or leave [sync] out";
            wrong(every.span(), message, help);
        }
        Some(seconds)
    }

    /// Seconds between two listings of what was deleted; 0 for one at each reading.
    pub(super) fn deleted_every(&self, wrong: Wrong<'_>) -> i64 {
        let Some(every) = &self.deleted_every_s else {
            return DELETED_EVERY_S.cast_signed();
        };
        let seconds = *every.get_ref();
        if seconds > EVERY_MOST_S {
            let message = format!("`deleted_every_s` is more than {EVERY_MOST_S} seconds");
            wrong(
                every.span(),
                message,
                "write 3600 for once an hour, or 0 for at each reading",
            );
        }
        seconds.min(EVERY_MOST_S).cast_signed()
    }
}

/// Where webhooks are received.
pub(super) fn webhook(raw: Option<WebhookTable>, home: &Path, wrong: Wrong<'_>) -> Option<WebhookAccess> {
    let raw = raw?;
    let (text, span) = match &raw.listen {
        Some(text) => (text.get_ref().as_str(), text.span()),
        None => (LISTEN, 0..0),
    };
    let address: Option<SocketAddr> = text.parse().ok();
    if address.is_none() {
        let help = "write it like 127.0.0.1:8018, with the number of the machine's address and a port";
        wrong(span, format!("`{text}` is no address to listen at"), help);
    }
    let span = raw.public_url.span();
    let public_url = raw.public_url.into_inner();
    if !public_url.starts_with("https://") && !public_url.starts_with("http://127.0.0.1") {
        let help = "write the target URL of the app in HubSpot, such as https://hooks.example.com/hubspot";
        wrong(span, "`public_url` is no https address".to_owned(), help);
    }
    Some(WebhookAccess {
        address: address?,
        public_url,
        secret_file: raw.secret_file.map(|file| home.join(file)),
    })
}

impl WebhookAccess {
    /// The client secret of the app.
    ///
    /// # Errors
    /// [`ConfigError::Secret`] or [`ConfigError::NoSecret`], also where it is empty.
    pub fn secret(&self) -> Result<SecretString, ConfigError> {
        let what = "the client secret of HubSpot's webhooks".to_owned();
        let text = secret(what.clone(), SECRET, self.secret_file.as_deref(), "secret_file")?;
        if text.is_empty() {
            return Err(ConfigError::NoSecret {
                what,
                variable: SECRET.to_owned(),
                key: "secret_file",
            });
        }
        Ok(SecretString::from(text))
    }
}
