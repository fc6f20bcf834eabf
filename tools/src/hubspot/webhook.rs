//! Webhooks of HubSpot: whether a delivery is HubSpot's own, and which records it says have changed. Pure.
//!
//! Signature version 3: HMAC-SHA256 with the app's secret over method, public address, body and time. Deliveries repeat and come in
//! any order, so of an event only the record is taken; what it holds now is read.

use std::collections::BTreeSet;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use perennial_core::time::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

/// Oldest delivery that is taken, in milliseconds: HubSpot's own word is five minutes. The same into the future, because clocks differ.
pub const AGE_MAX_MS: i64 = 5 * 60 * 1_000;

/// Characters of an address that HubSpot signs as they are, and not as percent and two digits.
const DECODED: &[(&str, &str)] = &[
    ("%3A", ":"),
    ("%2F", "/"),
    ("%3F", "?"),
    ("%40", "@"),
    ("%21", "!"),
    ("%24", "$"),
    ("%27", "'"),
    ("%28", "("),
    ("%29", ")"),
    ("%2A", "*"),
    ("%2C", ","),
    ("%3B", ";"),
];

/// Types of events of a record that are followed, behind the point: what it holds, what it hangs on, whether it is there.
const FOLLOWED: &[&str] = &[
    "creation",
    "propertyChange",
    "deletion",
    "privacyDeletion",
    "restore",
    "merge",
    "associationChange",
];

/// Why a delivery is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Forged {
    /// A header is missing or cannot be read.
    #[error("the signature or its time is missing")]
    Unsigned,
    /// Older than five minutes, or as far in the future.
    #[error("the time of the signature is not within five minutes of ours")]
    Stale,
    /// Signed with another secret, or for another address or body.
    #[error("the signature does not fit")]
    Wrong,
}

impl Forged {
    /// Every reason.
    pub const ALL: [Forged; 3] = [Forged::Unsigned, Forged::Stale, Forged::Wrong];

    /// The word for it in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Forged::Unsigned => "unsigned",
            Forged::Stale => "stale",
            Forged::Wrong => "wrong",
        }
    }
}

/// A record that changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Changed {
    /// Object of the CRM, such as `companies`.
    pub object: String,
    /// Id of the record.
    pub record: String,
}

/// What a delivery says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Delivery {
    /// Records that changed, each once.
    pub changed: BTreeSet<Changed>,
    /// Events in it.
    pub events: u64,
    /// Events that say nothing we follow.
    pub ignored: u64,
}

/// Whether a delivery was signed by HubSpot for this address, lately. The comparison takes the same time wherever it differs.
///
/// # Errors
/// [`Forged`].
pub fn verify(
    secret: &SecretString,
    url: &str,
    body: &[u8],
    signature: Option<&str>,
    timestamp: Option<&str>,
    now: Timestamp,
) -> Result<(), Forged> {
    let (Some(signature), Some(timestamp)) = (signature, timestamp) else {
        return Err(Forged::Unsigned);
    };
    let signature = STANDARD.decode(signature.trim()).map_err(|_| Forged::Unsigned)?;
    let at_ms: i64 = timestamp.trim().parse().map_err(|_| Forged::Unsigned)?;
    let now_ms = now.us().div_euclid(1_000);
    if now_ms.abs_diff(at_ms) > AGE_MAX_MS.unsigned_abs() {
        return Err(Forged::Stale);
    }
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
    let fits = |url: &str| {
        let mut signed = Vec::with_capacity(4 + url.len() + body.len() + timestamp.len());
        signed.extend_from_slice(b"POST");
        signed.extend_from_slice(url.as_bytes());
        signed.extend_from_slice(body);
        signed.extend_from_slice(timestamp.trim().as_bytes());
        hmac::verify(&key, &signed, &signature).is_ok()
    };
    if fits(&decoded(url)) || fits(url) {
        Ok(())
    } else {
        Err(Forged::Wrong)
    }
}

fn decoded(url: &str) -> String {
    let mut text = url.to_owned();
    for (escape, plain) in DECODED {
        text = text.replace(escape, plain).replace(&escape.to_ascii_lowercase(), plain);
    }
    text
}

/// What a delivery says; nothing when it is not a list of events.
#[must_use]
pub fn read(body: &[u8]) -> Option<Delivery> {
    let events: Vec<Value> = serde_json::from_slice(body).ok()?;
    let mut delivery = Delivery::default();
    for event in &events {
        delivery.events += 1;
        let changed = changed(event);
        if changed.is_empty() {
            delivery.ignored += 1;
        }
        delivery.changed.extend(changed);
    }
    Some(delivery)
}

/// The records that an event is about: both of a merge, and both ends of an association where it names them.
fn changed(event: &Value) -> Vec<Changed> {
    let Some((object, kind)) = event
        .get("subscriptionType")
        .and_then(Value::as_str)
        .and_then(|text| text.split_once('.'))
    else {
        return Vec::new();
    };
    if !FOLLOWED.contains(&kind) {
        return Vec::new();
    }
    let type_id = event.get("objectTypeId").and_then(Value::as_str);
    let Some(object) = plural(object, type_id) else {
        return Vec::new();
    };
    let one = ["objectId", "primaryObjectId", "newObjectId", "fromObjectId"]
        .iter()
        .filter_map(|name| id(event.get(name)?));
    let merged = event.get("mergedObjectIds").and_then(Value::as_array);
    let merged = merged.into_iter().flatten().filter_map(id);
    one.chain(merged)
        .map(|record| Changed {
            object: object.to_owned(),
            record,
        })
        .collect()
}

/// Ids are numbers in events, and texts of digits elsewhere.
fn id(value: &Value) -> Option<String> {
    let text = match value {
        Value::Number(number) => number.as_u64()?.to_string(),
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    let is_id = !text.is_empty() && text.len() <= 20 && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_id && text != "0").then_some(text)
}

/// The name of a type of records as its address has it.
fn plural<'a>(object: &'a str, type_id: Option<&'a str>) -> Option<&'a str> {
    Some(match (object, type_id) {
        ("company", _) | ("object", Some("0-2")) => "companies",
        ("contact", _) | ("object", Some("0-1")) => "contacts",
        ("deal", _) | ("object", Some("0-3")) => "deals",
        ("ticket", _) | ("object", Some("0-5")) => "tickets",
        ("line_item", _) | ("object", Some("0-8")) => "line_items",
        ("task", _) | ("object", Some("0-27")) => "tasks",
        ("note", _) | ("object", Some("0-46")) => "notes",
        ("call", _) | ("object", Some("0-48")) => "calls",
        ("email", _) | ("object", Some("0-49")) => "emails",
        ("meeting", _) | ("object", Some("0-47")) => "meetings",
        // Custom types go by their number in addresses too.
        ("object", Some(custom)) if custom.starts_with("2-") => custom,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy";

    fn signed(secret: &str, url: &str, body: &str, at_ms: i64) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        STANDARD.encode(hmac::sign(&key, format!("POST{url}{body}{at_ms}").as_bytes()))
    }

    fn judge(secret: &str, url: &str, body: &str, at_ms: i64, now_ms: i64) -> Result<(), Forged> {
        let signature = signed(secret, "https://one.example/hubspot?a=/b", "[]", at_ms);
        verify(
            &SecretString::from(SECRET),
            url,
            body.as_bytes(),
            Some(&signature),
            Some(&at_ms.to_string()),
            Timestamp::from_us(now_ms * 1_000),
        )
    }

    #[test]
    fn only_the_right_secret_address_body_and_time_are_taken() {
        let (url, now) = ("https://one.example/hubspot?a=/b", 1_795_000_000_000);
        assert_eq!(judge(SECRET, url, "[]", now, now), Ok(()));
        assert_eq!(
            judge(SECRET, "https://one.example/hubspot?a=%2Fb", "[]", now, now),
            Ok(())
        );
        assert_eq!(judge("another", url, "[]", now, now), Err(Forged::Wrong));
        assert_eq!(
            judge(SECRET, "https://two.example/hubspot", "[]", now, now),
            Err(Forged::Wrong)
        );
        assert_eq!(judge(SECRET, url, "[ ]", now, now), Err(Forged::Wrong));
        assert_eq!(judge(SECRET, url, "[]", now - AGE_MAX_MS, now), Ok(()));
        assert_eq!(judge(SECRET, url, "[]", now - AGE_MAX_MS - 1, now), Err(Forged::Stale));
        assert_eq!(judge(SECRET, url, "[]", now + AGE_MAX_MS + 1, now), Err(Forged::Stale));
        assert_eq!(
            judge(SECRET, url, "[]", now / 1_000, now),
            Err(Forged::Stale),
            "seconds"
        );
        let secret = SecretString::from(SECRET);
        let at = Timestamp::from_us(now * 1_000);
        let text = now.to_string();
        assert_eq!(
            verify(&secret, url, b"[]", None, Some(&text), at),
            Err(Forged::Unsigned)
        );
        assert_eq!(
            verify(&secret, url, b"[]", Some("eA=="), None, at),
            Err(Forged::Unsigned)
        );
        assert_eq!(
            verify(&secret, url, b"[]", Some("?"), Some(&text), at),
            Err(Forged::Unsigned)
        );
    }

    #[test]
    fn each_record_is_named_once_and_what_is_not_followed_is_counted() {
        let body = br#"[{"subscriptionType":"company.propertyChange","objectId":123},
            {"subscriptionType":"company.deletion","objectId":123},
            {"subscriptionType":"contact.merge","primaryObjectId":5,"mergedObjectIds":[6,7]},
            {"subscriptionType":"object.creation","objectTypeId":"0-3","objectId":"421355332816"},
            {"subscriptionType":"conversation.newMessage","objectId":1}, {"objectId":2}, 7]"#;
        let read = read(body).expect("events");
        let names: Vec<String> = read
            .changed
            .iter()
            .map(|one| format!("{} {}", one.object, one.record))
            .collect();
        assert_eq!(
            names,
            [
                "companies 123",
                "contacts 5",
                "contacts 6",
                "contacts 7",
                "deals 421355332816"
            ]
        );
        assert_eq!((read.events, read.ignored), (7, 3));
        assert_eq!(super::read(b"{}"), None);
    }
}
