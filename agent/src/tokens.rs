//! Tokens of CRMs in the store, sealed with a key that is not in the store.

use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::BoxFuture;
use perennial_core::signal::Crm;
use perennial_store::{SealedToken, Store};
use perennial_tools::{Kept, TokenKeeper};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use crate::clock::Clock;

/// Bytes of the key: AES-256.
const KEY_BYTES: usize = 32;
/// Bytes of a nonce, which stands before what it sealed.
const NONCE_BYTES: usize = 12;

/// The key that seals tokens. `Debug` shows nothing of it.
#[derive(Clone)]
pub struct TokenKey(SecretString);

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenKey")
    }
}

/// A text that is no key. The text itself is not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key of tokens must be 32 random bytes as Base64: openssl rand -base64 32")]
pub struct NotAKey;

impl TokenKey {
    /// Reads a key.
    ///
    /// # Errors
    /// [`NotAKey`].
    pub fn parse(text: &str) -> Result<TokenKey, NotAKey> {
        let text = text.trim();
        let bytes = STANDARD.decode(text).map_err(|_| NotAKey)?;
        if bytes.len() != KEY_BYTES {
            return Err(NotAKey);
        }
        Ok(TokenKey(SecretString::from(text.to_owned())))
    }

    fn key(&self) -> Option<RandomizedNonceKey> {
        let bytes = STANDARD.decode(self.0.expose_secret()).ok()?;
        RandomizedNonceKey::new(&AES_256_GCM, &bytes).ok()
    }

    /// Seals a text for a CRM: it opens only with this key and for this CRM.
    fn seal(&self, crm: Crm, text: &str) -> Option<String> {
        let mut bytes = text.as_bytes().to_vec();
        let nonce = self
            .key()?
            .seal_in_place_append_tag(Aad::from(crm.as_str()), &mut bytes)
            .ok()?;
        let mut sealed = nonce.as_ref().to_vec();
        sealed.extend_from_slice(&bytes);
        Some(STANDARD.encode(sealed))
    }

    fn open(&self, crm: Crm, sealed: &str) -> Option<String> {
        let sealed = STANDARD.decode(sealed).ok()?;
        let (nonce, bytes) = sealed.split_at_checked(NONCE_BYTES)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut bytes = bytes.to_vec();
        let text = self
            .key()?
            .open_in_place(nonce, Aad::from(crm.as_str()), &mut bytes)
            .ok()?;
        String::from_utf8(text.to_vec()).ok()
    }
}

/// What is sealed.
#[derive(Serialize, Deserialize)]
struct Inside {
    access: String,
    refresh: Option<String>,
}

/// Tokens of one CRM in a store. Without a key nothing is kept: each process signs in for itself.
#[derive(Debug)]
pub struct StoreTokens {
    store: Store,
    crm: Crm,
    clock: Clock,
    key: Option<TokenKey>,
}

impl StoreTokens {
    /// Tokens of a CRM.
    #[must_use]
    pub fn new(store: Store, crm: Crm, clock: Clock, key: Option<TokenKey>) -> StoreTokens {
        StoreTokens { store, crm, clock, key }
    }
}

impl TokenKeeper for StoreTokens {
    fn now_s(&self) -> i64 {
        self.clock.now().us().div_euclid(1_000_000)
    }

    fn load(&self) -> BoxFuture<'_, Option<Kept>> {
        Box::pin(async move {
            let key = self.key.as_ref()?;
            let sealed = match self.store.sealed_token(self.crm).await {
                Ok(sealed) => sealed?,
                Err(error) => {
                    tracing::warn!(crm = %self.crm, %error, "the kept token cannot be read");
                    return None;
                }
            };
            let Some(text) = key.open(self.crm, &sealed.sealed) else {
                tracing::warn!(crm = %self.crm, "the kept token does not open with this key: signing in anew");
                return None;
            };
            let inside: Inside = serde_json::from_str(&text).ok()?;
            let left = sealed.expires_at.map(|at| {
                let us = at.us().saturating_sub(self.clock.now().us());
                Duration::from_micros(u64::try_from(us).unwrap_or(0))
            });
            Some(Kept {
                access: SecretString::from(inside.access),
                refresh: inside.refresh.map(SecretString::from),
                left,
            })
        })
    }

    fn keep(&self, kept: Kept) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let Some(key) = &self.key else { return };
            let now = self.clock.now();
            let inside = Inside {
                access: kept.access.expose_secret().to_owned(),
                refresh: kept.refresh.map(|refresh| refresh.expose_secret().to_owned()),
            };
            let sealed = serde_json::to_string(&inside)
                .ok()
                .and_then(|text| key.seal(self.crm, &text));
            let Some(sealed) = sealed else {
                tracing::warn!(crm = %self.crm, "the token cannot be sealed and is not kept");
                return;
            };
            let left_us = |left: Duration| i64::try_from(left.as_micros()).unwrap_or(i64::MAX);
            let until = |left| perennial_core::time::Timestamp::from_us(now.us().saturating_add(left_us(left)));
            let token = SealedToken {
                sealed,
                expires_at: kept.left.map(until),
            };
            if let Err(error) = self.store.put_sealed_token(self.crm, &token, now).await {
                tracing::warn!(crm = %self.crm, %error, "the token cannot be kept");
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_token_opens_only_with_its_key_and_for_its_crm() {
        let key = |byte: u8| TokenKey::parse(&STANDARD.encode([byte; KEY_BYTES])).expect("a key");
        let sealed = key(1).seal(Crm::HubSpot, "pat-secret").expect("sealed");
        assert!(!sealed.contains("pat-secret"));
        assert_ne!(
            key(1).seal(Crm::HubSpot, "pat-secret").as_ref(),
            Some(&sealed),
            "a new nonce each time"
        );
        assert_eq!(key(1).open(Crm::HubSpot, &sealed).as_deref(), Some("pat-secret"));
        assert_eq!(key(2).open(Crm::HubSpot, &sealed), None);
        assert_eq!(key(1).open(Crm::Salesforce, &sealed), None);
        assert_eq!(TokenKey::parse("short").err(), Some(NotAKey));
        assert_eq!(format!("{:?}", key(1)), "TokenKey");
    }
}
