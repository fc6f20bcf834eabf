//! HubSpot webhooks: events queued by every change, delivered signed, in batches, again when refused.
//!
//! Promises: nothing is sent by itself; a call of [`crate::Sandbox::deliver_webhooks`] sends what is due once. Addresses
//! other than this machine's are refused. Does not: subscriptions per property. Timing, order and retries of the vendor
//! are unverified.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Value, json};

use crate::mutation::Mutation;
use crate::record::{Change, ChangeKind};
use crate::signature;
use crate::wire::{Call, Reply};

/// Events in one delivery.
const BATCH_MAX: usize = 100;
/// Deliveries of one event, the first included.
const ATTEMPTS_MAX: u32 = 11;
/// How long a receiver may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Events that wait at one time; beyond it the oldest are forgotten.
const QUEUE_MAX: usize = 200_000;
/// Numbers of the account and of subscriptions, made up.
const PORTAL: u64 = 147_000_001;
const SUBSCRIPTION: u64 = 3_000_001;

/// Where webhooks go, and how badly they behave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhooks {
    /// The address of the receiver, on this machine: `http://127.0.0.1:PORT/path`.
    pub target: String,
    /// The public address that is signed, when a proxy stands before the receiver.
    pub public_url: Option<String>,
    /// The client secret that signs.
    pub secret: String,
    /// Every so many events one is delivered twice; never when 0.
    pub repeat_every: u32,
    /// Whether the events of a delivery come in another order than they happened.
    pub reorder: bool,
}

impl Webhooks {
    /// Well-behaved webhooks to this address, signed with this secret.
    pub fn new(target: impl Into<String>, secret: impl Into<String>) -> Webhooks {
        Webhooks {
            target: target.into(),
            public_url: None,
            secret: secret.into(),
            repeat_every: 0,
            reorder: false,
        }
    }
}

/// One delivery and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Events in it.
    pub events: usize,
    /// The attempt, from 0.
    pub attempt: u32,
    /// The status answered; `None` when there was no answer in time.
    pub status: Option<u16>,
}

#[derive(Debug, Clone)]
struct Event {
    /// The number of the change, to take it back with.
    change: u64,
    attempt: u32,
    body: Value,
}

/// Webhooks and the events that wait.
#[derive(Debug, Default)]
pub(crate) struct Hooks {
    pub(crate) rule: Option<Webhooks>,
    app: u64,
    numbered: u64,
    waiting: VecDeque<Event>,
}

/// A delivery that is ready to be sent.
#[derive(Debug)]
pub(crate) struct Packed {
    url: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    events: Vec<Event>,
    attempt: u32,
}

impl Hooks {
    /// Queues the events of a change.
    pub(crate) fn note(&mut self, change: &Change) {
        if self.rule.is_none() {
            return;
        }
        let singular = singular(&change.object);
        match change.kind {
            ChangeKind::Create => self.push(
                change,
                json!({ "subscriptionType": format!("{singular}.creation"), "changeFlag": "NEW" }),
            ),
            ChangeKind::Delete => self.push(
                change,
                json!({ "subscriptionType": format!("{singular}.deletion"), "changeFlag": "DELETED" }),
            ),
            ChangeKind::Update => {
                for field in &change.fields {
                    let value = field.after.as_str().unwrap_or("");
                    self.push(
                        change,
                        json!({
                            "subscriptionType": format!("{singular}.propertyChange"), "propertyName": field.field,
                            "propertyValue": value,
                        }),
                    );
                }
            }
            ChangeKind::Associate => {
                self.push(
                    change,
                    json!({ "subscriptionType": format!("{singular}.associationChange") }),
                );
            }
        }
    }

    fn push(&mut self, change: &Change, own: Value) {
        self.numbered += 1;
        let is_person = !change.by.contains('/');
        let mut body = json!({
            "eventId": self.numbered, "subscriptionId": SUBSCRIPTION, "portalId": PORTAL, "appId": self.app,
            "occurredAt": change.at.as_millisecond(), "attemptNumber": 0,
            "objectId": change.record_id.parse::<u64>().unwrap_or(0),
            "changeSource": if is_person { "CRM_UI" } else { "INTEGRATION" }, "sourceId": change.by,
        });
        for (key, value) in own.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        if self.waiting.len() >= QUEUE_MAX {
            self.waiting.pop_front();
        }
        self.waiting.push_back(Event {
            change: change.number,
            attempt: 0,
            body,
        });
    }

    /// Takes back the events of changes behind this one, which were undone.
    pub(crate) fn forget_after(&mut self, change: u64) {
        self.waiting.retain(|event| event.change <= change);
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Everything that is due, in signed deliveries.
    pub(crate) fn pack(&mut self, now_ms: i64, mutation: Option<Mutation>) -> Vec<Packed> {
        let Some(rule) = self.rule.clone() else {
            return Vec::new();
        };
        let mut events: Vec<Event> = Vec::new();
        for (at, event) in self.waiting.drain(..).enumerate() {
            let again = rule.repeat_every > 0 && (at as u64 + 1).is_multiple_of(u64::from(rule.repeat_every));
            if again || mutation == Some(Mutation::HsWebhookTwice) {
                events.push(event.clone());
            }
            if mutation != Some(Mutation::HsWebhookLost) {
                events.push(event);
            }
        }
        // One delivery holds events of one attempt, as its number stands in each.
        events.sort_by_key(|event| event.attempt);
        let groups = events.chunk_by(|one, next| one.attempt == next.attempt);
        let chunks: Vec<Vec<Event>> = groups
            .flat_map(|group| group.chunks(BATCH_MAX))
            .map(<[Event]>::to_vec)
            .collect();
        chunks
            .into_iter()
            .map(|mut events| {
                if rule.reorder || mutation == Some(Mutation::HsWebhookReordered) {
                    events.reverse();
                }
                packed(&rule, events, now_ms, mutation)
            })
            .collect()
    }

    /// Keeps what was refused for another attempt.
    pub(crate) fn came_back(&mut self, packed: Packed) {
        for mut event in packed.events {
            event.attempt += 1;
            event.body["attemptNumber"] = json!(event.attempt);
            if event.attempt < ATTEMPTS_MAX {
                self.waiting.push_back(event);
            }
        }
    }

    /// `/app-webhooks/2026-09/{app}/..` and `/webhooks/v3/{app}/..`.
    pub(crate) fn answer(&mut self, call: &Call, app: &str, rest: &[&str]) -> Option<Reply> {
        let settings = |rule: Option<&Webhooks>| {
            json!({
                "targetUrl": rule.map_or("", |rule| rule.target.as_str()),
                "throttling": { "period": "SECONDLY", "maxConcurrentRequests": 10 },
                "createdAt": "1970-01-01T00:00:00Z", "updatedAt": "1970-01-01T00:00:00Z",
            })
        };
        match (call.method.as_str(), rest) {
            ("GET", ["settings"]) => Some(Reply::json(200, settings(self.rule.as_ref()))),
            ("PUT", ["settings"]) => {
                self.app = app.parse().ok()?;
                let body = call.json().ok()?;
                let target = body.get("targetUrl")?.as_str()?.to_owned();
                let secret = self.rule.as_ref().map(|rule| rule.secret.clone()).unwrap_or_default();
                self.rule = Some(Webhooks::new(target, secret));
                Some(Reply::json(200, settings(self.rule.as_ref())))
            }
            ("GET", ["subscriptions"]) => Some(Reply::json(200, json!({ "results": [] }))),
            _ => None,
        }
    }
}

fn packed(rule: &Webhooks, events: Vec<Event>, now_ms: i64, mutation: Option<Mutation>) -> Packed {
    let bodies: Vec<&Value> = events.iter().map(|event| &event.body).collect();
    let body = json!(bodies).to_string().into_bytes();
    let stamp = match mutation {
        Some(Mutation::HsWebhookStale) => now_ms - STALE_MS,
        Some(Mutation::HsWebhookSeconds) => now_ms / 1_000,
        Some(_) | None => now_ms,
    };
    let stamp = stamp.to_string();
    let uri = rule.public_url.as_deref().unwrap_or(&rule.target);
    let secret = match mutation {
        Some(Mutation::HsWebhookForged) => "another secret",
        Some(_) | None => rule.secret.as_str(),
    };
    let headers = vec![
        ("content-type", "application/json".to_owned()),
        ("user-agent", "HubSpot Webhooks".to_owned()),
        ("x-hubspot-signature", signature::v1(secret, &body)),
        ("x-hubspot-signature-version", "v1".to_owned()),
        (
            "x-hubspot-signature-v3",
            signature::v3(secret, "POST", uri, &body, &stamp),
        ),
        ("x-hubspot-request-timestamp", stamp),
    ];
    Packed {
        url: rule.target.clone(),
        headers,
        body,
        attempt: events.first().map_or(0, |event| event.attempt),
        events,
    }
}

/// Age of a delivery that a receiver must refuse: more than five minutes.
const STALE_MS: i64 = 6 * 60 * 1_000;

/// Sends one delivery and answers it back with its outcome.
pub(crate) async fn send(client: &reqwest::Client, packed: Packed) -> (Packed, Delivery) {
    let mut request = client.post(&packed.url).timeout(PATIENCE).body(packed.body.clone());
    for (name, value) in &packed.headers {
        request = request.header(*name, value);
    }
    let status = match request.send().await {
        Ok(response) => Some(response.status().as_u16()),
        Err(source) => {
            tracing::debug!(%source, "a webhook found no answer");
            None
        }
    };
    let delivery = Delivery {
        events: packed.events.len(),
        attempt: packed.attempt,
        status,
    };
    (packed, delivery)
}

/// The name of an object type in the name of an event.
fn singular(object: &str) -> &str {
    match object {
        "companies" => "company",
        other => other.strip_suffix('s').unwrap_or(other),
    }
}
