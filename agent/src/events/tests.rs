//! What a message becomes, and what a mapping of events refuses.

use std::path::Path;

use perennial_core::time::Timestamp;
use serde_json::{Value, json};

use super::EventMapping;
use super::message::{Key, Kind, Reader};

const MAPPING: &str = r#"
source = "product"
account = ["context.groupId", "properties.workspace"]
user = ["userId", "anonymousId"]
active = ["Report *", "page*"]

[features]
reports = ["Report *"]
exports = ["Report Exported"]
"#;

fn mapping(text: &str) -> EventMapping {
    EventMapping::parse(Path::new("events.toml"), text).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

/// Account, whether a person is named, day, feature and whether the person is active; or the reason.
fn read_shared(kind: Kind, message: &Value, shared: &Value) -> Result<Option<Value>, String> {
    let mapping = mapping(MAPPING);
    let key = Key::new("salt").expect("a key");
    let reader = Reader {
        mapping: &mapping,
        key: &key,
        now: at("2026-09-15T12:00:00Z"),
        days: 35,
        shared,
    };
    let event = reader
        .read(kind, &message.to_string(), message)
        .map_err(|refusal| format!("{}: {}", refusal.field, refusal.reason))?;
    Ok(event.map(|event| {
        json!([
            event.account.as_ref().map(|a| a.as_str()),
            !event.person.is_empty(),
            event.at.to_string(),
            event.usage.as_ref().and_then(|u| u.feature.clone()),
            event.usage.as_ref().map(|u| u.active),
        ])
    }))
}

fn read(kind: Kind, message: Value) -> Result<Option<Value>, String> {
    read_shared(kind, &message, &Value::Null)
}

#[test]
fn a_message_names_account_person_day_feature_and_activity() {
    let track = json!({
        "event": "Report Opened", "userId": "u1", "timestamp": "2026-09-14T23:59:59+01:00",
        "context": { "groupId": "a1" }, "properties": { "workspace": "other" },
    });
    let expected = json!(["a1", true, "2026-09-14T22:59:59Z", "reports", true]);
    assert_eq!(read(Kind::Track, track), Ok(Some(expected)));
    let exported = json!({ "event": "Report Exported", "anonymousId": "x", "properties": { "workspace": 17 } });
    let expected = json!(["17", true, "2026-09-15T12:00:00Z", "exports", true]);
    assert_eq!(
        read(Kind::Track, exported),
        Ok(Some(expected)),
        "a whole name counts before a beginning"
    );
    let other = json!({ "event": "Logged Out", "userId": "u1" });
    let expected = json!([null, true, "2026-09-15T12:00:00Z", null, false]);
    assert_eq!(read(Kind::Track, other), Ok(Some(expected)));
    let page = json!({ "name": "Home", "userId": "u1" });
    let expected = json!([null, true, "2026-09-15T12:00:00Z", null, true]);
    assert_eq!(read(Kind::Page, page), Ok(Some(expected)));
    let group = json!({ "userId": "u1", "properties": { "workspace": "a1" }, "traits": { "name": "Alpha" } });
    let expected = json!(["a1", true, "2026-09-15T12:00:00Z", null, null]);
    assert_eq!(read(Kind::Group, group), Ok(Some(expected)));
    assert_eq!(read(Kind::Identify, json!({ "userId": "u1", "traits": {} })), Ok(None));
    let shared = json!({ "context": { "groupId": "a2" } });
    let expected = json!(["a2", true, "2026-09-15T12:00:00Z", null, false]);
    let bare = json!({ "event": "x", "userId": "u1" });
    assert_eq!(read_shared(Kind::Track, &bare, &shared), Ok(Some(expected)));
}

#[test]
fn a_message_that_cannot_be_counted_is_refused_with_its_key_and_the_reason() {
    let refused = |message: Value, says: &str| {
        let reason = read(Kind::Track, message.clone()).expect_err(says);
        assert!(reason.contains(says), "{reason}");
    };
    refused(json!({ "userId": "u1" }), "event: a track message without the name");
    refused(
        json!({ "event": "x" }),
        "no account: none of context.groupId, properties.workspace",
    );
    refused(
        json!({ "event": "x", "userId": "u1", "timestamp": "yesterday" }),
        "timestamp: not a time",
    );
    refused(
        json!({ "event": "x", "userId": "u1", "timestamp": 5 }),
        "timestamp: not a time",
    );
    refused(
        json!({ "event": "x", "userId": "u1", "timestamp": "2026-09-16T12:00:01Z" }),
        "more than a day in the future",
    );
    refused(
        json!({ "event": "x", "userId": "u1", "originalTimestamp": "2026-08-10T00:00:00Z" }),
        "more than 35 days ago",
    );
    refused(
        json!({ "event": "x", "userId": "u1", "context": { "groupId": "x".repeat(201) } }),
        "longer than 200 characters",
    );
    refused(
        json!({ "event": "x", "userId": "u1", "context": { "groupId": "a\u{0}b" } }),
        "cannot be the id of an account",
    );
    assert!(read(Kind::Group, json!({ "userId": "u1" })).is_err());
}

#[test]
fn a_clock_that_is_ahead_is_corrected_and_a_late_delivery_keeps_its_day() {
    let when = |timestamp: &str, sent: &str| {
        let message = json!({ "event": "x", "userId": "u1", "timestamp": timestamp, "sentAt": sent });
        read(Kind::Track, message).expect("an event").expect("an event")[2].clone()
    };
    // A day ahead, and one hour before it was sent.
    assert_eq!(
        when("2026-09-16T11:00:00Z", "2026-09-16T12:00:00Z"),
        "2026-09-15T11:00:00Z"
    );
    assert_eq!(
        when("2026-09-01T10:00:00Z", "2026-09-01T10:00:05Z"),
        "2026-09-01T10:00:00Z"
    );
}

#[test]
fn hashes_depend_on_the_salt_and_the_same_person_is_not_the_same_message() {
    let hashes = |salt: &str| {
        let mapping = mapping(MAPPING);
        let key = Key::new(salt).expect("a key");
        let reader = Reader {
            mapping: &mapping,
            key: &key,
            now: at("2026-09-15T12:00:00Z"),
            days: 35,
            shared: &Value::Null,
        };
        let message = json!({ "event": "x", "userId": "same", "messageId": "same" });
        let event = reader
            .read(Kind::Track, "raw", &message)
            .expect("reads")
            .expect("an event");
        (event.person, event.message)
    };
    let (person, message) = hashes("one");
    assert_eq!(hashes("one"), (person.clone(), message.clone()));
    assert_ne!(person, message);
    assert_ne!(hashes("two").0, person);
    assert_eq!(person.len(), 22);
    assert!(Key::new("").is_none());
}

#[test]
fn a_mapping_of_events_names_each_mistake_with_its_place() {
    let wrong = |text: &str, place: &str, says: &str| {
        let problems = EventMapping::parse(Path::new("events.toml"), text).expect_err(says);
        let said = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(
            said.contains(&format!("events.toml:{place}: ")) && said.contains(says),
            "{said}"
        );
    };
    wrong("source = \"Product\"\n", "1:10", "`Product` cannot name a source");
    wrong("source = \"p\"\nacount = [\"x\"]\n", "2:1", "unknown field `acount`");
    wrong("source = \"p\"\naccount = [\"a..b\"]\n", "2:12", "`a..b` names no key");
    wrong(
        "source = \"p\"\n[features]\na = [\"x\"]\nb = [\"x\"]\n",
        "4:6",
        "`x` is use of `a` already",
    );
    wrong("source = \"p\n", "1:12", "invalid basic string");
}
