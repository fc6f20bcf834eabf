//! Access tokens: asked for once however many calls wait for them, kept sealed, renewed before they end where the CRM says when
//! that is, and once when it says that one has ended.
//!
//! INVARIANT (no secret is shown): tokens and keys are [`SecretString`] and marked headers; an error of the sign-in holds the CRM's
//! code and nothing of what was sent or answered.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use futures_util::future::BoxFuture;
use reqwest::header::{self, HeaderValue};
use reqwest::{Method, Request, StatusCode, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::connection::{Base, ConnectionError, bearer};
use crate::error::SendError;
use crate::http::carrier::{Carrier, Failure};

/// A token is renewed when so much of its life is left: longer than any call takes.
const RENEW_BEFORE: Duration = Duration::from_secs(120);
/// Life of an assertion, in seconds: the least that Salesforce advises, and clocks differ.
const ASSERTION_S: i64 = 180;
/// Largest answer of a sign-in that is read: a token and a few words about it.
const ANSWER_BYTES: usize = 64 * 1024;
/// Wait when the sign-in could not be asked.
const TROUBLE_WAIT: Duration = Duration::from_secs(15);

/// How we show who we are.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// A token that somebody else renews: a HubSpot service key, a Salesforce session.
    Token(SecretString),
    /// Salesforce: an assertion signed with our private key. There is no refresh token.
    Jwt {
        /// Key of the external client app.
        client_id: String,
        /// User that we act for.
        user: String,
        /// Audience; the My Domain address of the org.
        audience: String,
        /// RSA private key, PKCS#8 as PEM.
        key: SecretString,
    },
    /// Salesforce: the app acts for the user that its policy names.
    ClientCredentials {
        /// Key of the external client app.
        client_id: String,
        /// Its secret.
        client_secret: SecretString,
    },
    /// Salesforce and HubSpot: the consent of a user.
    Refresh {
        /// Id of the app.
        client_id: String,
        /// Its secret.
        client_secret: SecretString,
        /// What the consent gave.
        refresh_token: SecretString,
    },
}

impl Credentials {
    fn is_renewable(&self) -> bool {
        !matches!(self, Credentials::Token(_))
    }
}

/// A token that is kept for the next process.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Access token.
    pub access: SecretString,
    /// A refresh token that took the place of the configured one.
    pub refresh: Option<SecretString>,
    /// How long the access token still lasts, where the CRM says so.
    pub left: Option<Duration>,
}

/// Where tokens are kept, sealed, and the time of day that assertions need.
pub trait TokenKeeper: Send + Sync + fmt::Debug {
    /// Seconds since 1970.
    fn now_s(&self) -> i64;

    /// The token that was kept last; none where none is or where it cannot be opened.
    fn load(&self) -> BoxFuture<'_, Option<Kept>>;

    /// Keeps a token. Trouble is told in the log: the token is in use all the same.
    fn keep(&self, kept: Kept) -> BoxFuture<'_, ()>;
}

/// A token in use.
#[derive(Clone)]
pub(crate) struct Bearer {
    pub(crate) header: HeaderValue,
    generation: u64,
}

struct Held {
    bearer: Bearer,
    access: SecretString,
    until: Option<Instant>,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    refresh: Option<SecretString>,
    generation: u64,
}

/// The tokens of one client.
pub(crate) struct Tokens {
    credentials: Credentials,
    keeper: Option<Arc<dyn TokenKeeper>>,
    /// Path of the sign-in, such as `/services/oauth2/token`.
    path: &'static str,
    state: Mutex<State>,
}

#[derive(Deserialize)]
struct Answer {
    access_token: SecretString,
    expires_in: Option<u64>,
    refresh_token: Option<SecretString>,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(alias = "status")]
    error: Option<String>,
}

impl Tokens {
    pub(crate) fn new(
        credentials: Credentials,
        keeper: Option<Arc<dyn TokenKeeper>>,
        path: &'static str,
    ) -> Result<Tokens, ConnectionError> {
        let mut state = State::default();
        match &credentials {
            Credentials::Token(token) => state.hold(token.clone(), None)?,
            Credentials::Jwt { key, .. } => {
                private_key(key)?;
                if keeper.is_none() {
                    return Err(ConnectionError::Token {
                        why: "an assertion needs a clock".to_owned(),
                    });
                }
            }
            Credentials::ClientCredentials { .. } | Credentials::Refresh { .. } => {}
        }
        Ok(Tokens {
            credentials,
            keeper,
            path,
            state: Mutex::new(state),
        })
    }

    /// Whether another token can be had after one was refused.
    pub(crate) fn is_renewable(&self) -> bool {
        self.credentials.is_renewable()
    }

    /// The token to send. `refused` is one that the CRM did not take any more.
    ///
    /// INVARIANT (once): who renews holds the lock; all others wait and take what came.
    pub(crate) async fn bearer(
        &self,
        carrier: &dyn Carrier,
        base: &Base,
        refused: Option<&Bearer>,
        remedy: &str,
    ) -> Result<Bearer, SendError> {
        let mut state = self.state.lock().await;
        let is_refused = |held: &Held| refused.is_some_and(|refused| refused.generation == held.bearer.generation);
        let lasts = |held: &Held| {
            held.until
                .is_none_or(|until| until.saturating_duration_since(Instant::now()) > RENEW_BEFORE)
        };
        if let Some(held) = &state.held
            && (!self.is_renewable() || (!is_refused(held) && lasts(held)))
        {
            return Ok(held.bearer.clone());
        }
        // Another process may have renewed it already.
        if let Some(kept) = self.kept().await {
            let known = state.held.as_ref().map(|held| held.access.expose_secret());
            let is_other = known != Some(kept.access.expose_secret());
            let lasts = kept.left.is_none_or(|left| left > RENEW_BEFORE);
            if kept.refresh.is_some() {
                state.refresh = kept.refresh;
            }
            if is_other && lasts {
                state.hold(kept.access, kept.left).map_err(unusable)?;
            }
        }
        if let Some(held) = &state.held
            && !is_refused(held)
            && lasts(held)
        {
            return Ok(held.bearer.clone());
        }
        let answer = self.ask(&state, carrier, base, remedy).await?;
        let left = answer.expires_in.map(Duration::from_secs);
        if answer.refresh_token.is_some() {
            state.refresh = answer.refresh_token;
        }
        state.hold(answer.access_token.clone(), left).map_err(unusable)?;
        if let Some(keeper) = &self.keeper {
            let kept = Kept {
                access: answer.access_token,
                refresh: state.refresh.clone(),
                left,
            };
            keeper.keep(kept).await;
        }
        match &state.held {
            Some(held) => Ok(held.bearer.clone()),
            None => Err(SendError::Unauthorised {
                remedy: remedy.to_owned(),
            }),
        }
    }

    async fn kept(&self) -> Option<Kept> {
        self.keeper.as_ref()?.load().await
    }

    async fn ask(&self, state: &State, carrier: &dyn Carrier, base: &Base, remedy: &str) -> Result<Answer, SendError> {
        let form = self.form(state)?;
        let busy = |why: &str| SendError::Busy {
            retry_after: TROUBLE_WAIT,
            why: why.to_owned(),
        };
        let url =
            Url::parse(&format!("{}{}", base.as_str(), self.path)).map_err(|_| busy("no address to sign in at"))?;
        let mut request = Request::new(Method::POST, url);
        let headers = request.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        *request.body_mut() = Some(form.into());
        let raw = match carrier.carry(request, ANSWER_BYTES).await {
            Ok(raw) => raw,
            Err(Failure::NotSent(_) | Failure::Lost(_)) => return Err(busy("the sign-in did not answer")),
        };
        if raw.status.is_success() {
            return serde_json::from_slice(&raw.body).map_err(|_| busy("the sign-in answered without a token"));
        }
        if raw.status.is_server_error() || raw.status == StatusCode::TOO_MANY_REQUESTS {
            return Err(busy("the sign-in is not available"));
        }
        // Only the code: a description may repeat what was sent.
        let refusal: Option<Refusal> = serde_json::from_slice(&raw.body).ok();
        let plain = |code: &String| code.len() <= 64 && code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let code = refusal.and_then(|refusal| refusal.error).filter(plain);
        let code = code.unwrap_or_else(|| format!("HTTP_{}", raw.status.as_u16()));
        tracing::warn!(%code, "the sign-in was refused");
        Err(SendError::Unauthorised {
            remedy: format!("{remedy} (the sign-in said {code})"),
        })
    }

    fn form(&self, state: &State) -> Result<String, SendError> {
        let pairs: Vec<(&str, String)> = match &self.credentials {
            Credentials::Token(_) => Vec::new(),
            Credentials::Jwt {
                client_id,
                user,
                audience,
                key,
            } => {
                let now = self.keeper.as_ref().map_or(0, |keeper| keeper.now_s());
                let assertion = assertion(key, client_id, user, audience, now).map_err(unusable)?;
                vec![
                    ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer".to_owned()),
                    ("assertion", assertion),
                ]
            }
            Credentials::ClientCredentials {
                client_id,
                client_secret,
            } => vec![
                ("grant_type", "client_credentials".to_owned()),
                ("client_id", client_id.clone()),
                ("client_secret", client_secret.expose_secret().to_owned()),
            ],
            Credentials::Refresh {
                client_id,
                client_secret,
                refresh_token,
            } => vec![
                ("grant_type", "refresh_token".to_owned()),
                ("client_id", client_id.clone()),
                ("client_secret", client_secret.expose_secret().to_owned()),
                (
                    "refresh_token",
                    state
                        .refresh
                        .as_ref()
                        .unwrap_or(refresh_token)
                        .expose_secret()
                        .to_owned(),
                ),
            ],
        };
        let pair = |(name, value): &(&str, String)| format!("{name}={}", crate::http::path::encode(value));
        Ok(pairs.iter().map(pair).collect::<Vec<_>>().join("&"))
    }
}

impl State {
    fn hold(&mut self, access: SecretString, left: Option<Duration>) -> Result<(), ConnectionError> {
        self.generation += 1;
        self.held = Some(Held {
            bearer: Bearer {
                header: bearer(&access)?,
                generation: self.generation,
            },
            access,
            until: left.map(|left| Instant::now() + left),
        });
        Ok(())
    }
}

fn unusable(error: ConnectionError) -> SendError {
    SendError::Unauthorised {
        remedy: error.to_string(),
    }
}

/// The assertion that asks for a token for `user`, valid for some minutes from `now_s` on.
fn assertion(
    key: &SecretString,
    client_id: &str,
    user: &str,
    audience: &str,
    now_s: i64,
) -> Result<String, ConnectionError> {
    let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256"}"#);
    let claims = serde_json::json!({ "iss": client_id, "sub": user, "aud": audience, "exp": now_s + ASSERTION_S });
    let text = format!("{head}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let pair = private_key(key)?;
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature)
        .map_err(|_| ConnectionError::Token {
            why: "the private key cannot sign".to_owned(),
        })?;
    Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// An RSA private key written as PEM.
fn private_key(pem: &SecretString) -> Result<RsaKeyPair, ConnectionError> {
    let wrong = |why: &str| ConnectionError::Token { why: why.to_owned() };
    let pem = pem.expose_secret();
    let inner = pem
        .split_once("-----BEGIN PRIVATE KEY-----")
        .and_then(|(_, rest)| rest.split_once("-----END PRIVATE KEY-----"))
        .map(|(inner, _)| inner)
        .ok_or_else(|| {
            wrong("the private key is not PKCS#8 as PEM: openssl pkcs8 -topk8 -nocrypt -in KEY -out NEW writes it so")
        })?;
    let text: String = inner.split_whitespace().collect();
    let der = STANDARD
        .decode(text)
        .map_err(|_| wrong("the private key is cut or broken"))?;
    RsaKeyPair::from_pkcs8(&der).map_err(|_| wrong("the private key is no RSA key of at least 2,048 bits"))
}

#[cfg(test)]
mod tests;
