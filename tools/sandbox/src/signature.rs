//! Signatures of HubSpot webhooks, all three versions, as a receiver must be able to check them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// Version 3: Base64 of HMAC-SHA256 over method, address, body and the milliseconds of the timestamp header.
pub fn v3(secret: &str, method: &str, uri: &str, body: &[u8], timestamp_ms: &str) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else {
        // A key of any length is taken.
        return String::new();
    };
    mac.update(method.as_bytes());
    mac.update(uri.as_bytes());
    mac.update(body);
    mac.update(timestamp_ms.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

/// Version 2: hexadecimal SHA-256 over secret, method, address and body.
pub fn v2(secret: &str, method: &str, uri: &str, body: &[u8]) -> String {
    hash(&[secret.as_bytes(), method.as_bytes(), uri.as_bytes(), body])
}

/// Version 1: hexadecimal SHA-256 over secret and body.
pub fn v1(secret: &str, body: &[u8]) -> String {
    hash(&[secret.as_bytes(), body])
}

fn hash(parts: &[&[u8]]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
