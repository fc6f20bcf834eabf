//! Spans of ours as spans of OpenTelemetry.
//!
//! INVARIANT (only what is named): of a span its name and the fields in [`ATTRIBUTES`] are taken: ids that we derive, kinds,
//! counts, outcomes. Whatever somebody adds to a span later stays here until it is named, and log lines never leave this way.
//!
//! INVARIANT (ids that last): what an effect follows from is known by ids that the database keeps, so a trace needs no context to be
//! stored beside an effect. The trace of a run is twelve zeros and the 20 digits of the run's id; the span of a decision is the
//! first 16 digits of the decision's id. Whoever carries out an effect, in whatever process and week, names its decision's span as
//! the parent. That is why this is not `tracing-opentelemetry`, which draws all ids by itself.
//!
//! The share of what is sent counts decisions: one that is sent is sent with all that follows from it, wherever that happens.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use perennial_core::replay::Hash;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::{FilterFn, LevelFilter, filter_fn};
use tracing_subscriber::layer::{Context, Filter, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::export::Queue;
use crate::clock::Clock;

/// Fields that leave the process.
const ATTRIBUTES: &[&str] = &[
    "accounts",
    "action",
    "actions",
    "approve",
    "attempt",
    "attempts",
    "auto",
    "crm",
    "decision",
    "decisions_new",
    "effect",
    "effects",
    "kind",
    "lane",
    "method",
    "never",
    "object",
    "pages",
    "proposals",
    "reason",
    "result",
    "run",
    "state",
    "status",
    "tool",
    "verb",
];
/// Characters of a value at most: ids and words are shorter.
const VALUE_MAX: usize = 80;
/// Links of a span at most.
const LINKS_MAX: usize = 8;
/// Results that a person may have to look at.
const TROUBLE: &[&str] = &["refused", "unknown", "conflict", "failed", "lost"];

/// Takes note of spans and gives those that ended to the queue.
pub(super) struct Spans {
    queue: Arc<Queue>,
    share: f64,
    scope: InstrumentationScope,
    drawn: RandomState,
    count: std::sync::atomic::AtomicU64,
}

/// Where a span is.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Place {
    trace: TraceId,
    span: SpanId,
    is_sent: bool,
}

impl Place {
    fn context(&self, is_remote: bool) -> SpanContext {
        let flags = if self.is_sent {
            TraceFlags::SAMPLED
        } else {
            TraceFlags::default()
        };
        SpanContext::new(self.trace, self.span, flags, is_remote, TraceState::NONE)
    }
}

/// What is noted of a span that goes on.
struct Noted {
    begun: SystemTime,
    place: Place,
    parent: SpanId,
    is_remote: bool,
    values: Values,
    links: Vec<Link>,
}

/// Fields of a span.
#[derive(Default)]
struct Values(Vec<KeyValue>);

impl Values {
    fn put(&mut self, field: &Field, value: Value) {
        let Some(name) = ATTRIBUTES.iter().find(|name| **name == field.name()) else {
            return;
        };
        match self.0.iter_mut().find(|known| known.key.as_str() == *name) {
            Some(known) => known.value = value,
            None => self.0.push(KeyValue::new(*name, value)),
        }
    }

    fn text(&self, name: &str) -> Option<String> {
        let found = self.0.iter().find(|known| known.key.as_str() == name)?;
        Some(found.value.as_str().into_owned())
    }
}

impl Visit for Values {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::from(value.chars().take(VALUE_MAX).collect::<String>()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::from(i64::try_from(value).unwrap_or(i64::MAX)));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::from(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if ATTRIBUTES.contains(&field.name()) {
            self.record_str(field, &format!("{value:?}"));
        }
    }
}

impl Spans {
    pub(super) fn new(queue: Arc<Queue>, share: f64) -> Spans {
        Spans {
            queue,
            share,
            scope: InstrumentationScope::builder("perennial")
                .with_version(env!("CARGO_PKG_VERSION"))
                .build(),
            drawn: RandomState::new(),
            count: std::sync::atomic::AtomicU64::new(0),
        }
    }

    /// Spans of ours, and no log lines.
    pub(super) fn filter<S>() -> impl Filter<S> {
        let ours: FilterFn<fn(&Metadata<'_>) -> bool> =
            filter_fn(|metadata: &Metadata<'_>| metadata.is_span() && metadata.target().starts_with("perennial"));
        ours.with_max_level_hint(LevelFilter::DEBUG)
    }

    /// A number that no other span has: drawn with the process, counted within it.
    fn number(&self) -> u64 {
        let mut hasher = self.drawn.build_hasher();
        hasher.write_u64(self.count.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        hasher.finish().max(1)
    }

    /// Whether what belongs to an id is sent: the same everywhere.
    fn is_sent(&self, id: SpanId) -> bool {
        is_within(id, self.share)
    }

    /// The place of a span that begins, its parent and whether that may be in another process.
    fn begin(&self, name: &str, values: &Values, local: Option<Place>) -> (Place, SpanId, bool) {
        let own = SpanId::from_bytes(self.number().to_be_bytes());
        match (name, values.text("run"), values.text("decision"), local) {
            ("run", Some(run), ..) => {
                let place = Place {
                    trace: trace_of(&run),
                    span: span_of(&run),
                    is_sent: true,
                };
                (place, SpanId::INVALID, false)
            }
            (_, Some(run), Some(decision), _) => {
                let parent = span_of(&decision);
                let place = Place {
                    trace: trace_of(&run),
                    span: own,
                    is_sent: self.is_sent(parent),
                };
                (place, parent, true)
            }
            (_, _, _, Some(local)) => {
                let place = Place { span: own, ..local };
                (place, local.span, false)
            }
            (_, _, _, None) => {
                let low = u128::from(self.number());
                let trace = TraceId::from_bytes(((u128::from(self.number()) << 64) | low).to_be_bytes());
                let is_sent = self.is_sent(own);
                let place = Place {
                    trace,
                    span: own,
                    is_sent,
                };
                (place, SpanId::INVALID, false)
            }
        }
    }
}

/// The trace of a run: its 20 digits after twelve zeros.
fn trace_of(run: &str) -> TraceId {
    let digits = run.strip_prefix("run_").filter(|digits| digits.len() == 20);
    let found = digits.and_then(|digits| TraceId::from_hex(&format!("{digits:0>32}")).ok());
    found.filter(|id| *id != TraceId::INVALID).unwrap_or_else(|| {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&Hash::of(run.as_bytes()).bytes()[..16]);
        TraceId::from_bytes(bytes)
    })
}

/// The span of a decision or a run: the first 16 digits of its id.
fn span_of(id: &str) -> SpanId {
    let digits = id.split_once('_').map_or("", |(_, digits)| digits);
    let found = digits.get(..16).and_then(|digits| SpanId::from_hex(digits).ok());
    found.filter(|id| *id != SpanId::INVALID).unwrap_or_else(|| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&Hash::of(id.as_bytes()).bytes()[..8]);
        SpanId::from_bytes(bytes)
    })
}

/// Whether an id lies within a share of all ids.
#[allow(
    clippy::cast_precision_loss,
    reason = "a share need not be exact to the last of 64 bits"
)]
fn is_within(id: SpanId, share: f64) -> bool {
    let place = u64::from_be_bytes(id.to_bytes()) as f64 / u64::MAX as f64;
    share >= 1.0 || place < share
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut values = Values::default();
        attributes.record(&mut values);
        let place_of = |noted: Option<&Noted>| noted.map(|noted| noted.place);
        let local = span
            .parent()
            .and_then(|parent| place_of(parent.extensions().get::<Noted>()));
        let (place, parent, is_remote) = self.begin(span.name(), &values, local);
        // Who carries something out is another trace than what it follows from, most often.
        let other = local.filter(|local| local.trace != place.trace);
        let noted = Noted {
            begun: at(Clock::System),
            place,
            parent,
            is_remote,
            values,
            links: other
                .map(|local| Link::with_context(local.context(false)))
                .into_iter()
                .collect(),
        };
        span.extensions_mut().insert(noted);
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut extensions = span.extensions_mut();
        let Some(noted) = extensions.get_mut::<Noted>() else {
            return;
        };
        record.record(&mut noted.values);
        // Which decision it is shows when it is made: nothing is below it by then.
        if span.name() == "decision"
            && let Some(decision) = noted.values.text("decision")
        {
            noted.place.span = span_of(&decision);
            noted.place.is_sent = self.is_sent(noted.place.span);
        }
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, context: Context<'_, S>) {
        let (Some(span), Some(before)) = (context.span(id), context.span(follows)) else {
            return;
        };
        let Some(place) = before.extensions().get::<Noted>().map(|noted| noted.place) else {
            return;
        };
        if let Some(noted) = span.extensions_mut().get_mut::<Noted>()
            && noted.links.len() < LINKS_MAX
        {
            noted.links.push(Link::with_context(place.context(false)));
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        let Some(noted) = span.extensions_mut().remove::<Noted>() else {
            return;
        };
        if !noted.place.is_sent {
            return;
        }
        let result = noted.values.text("result").unwrap_or_default();
        let mut links = SpanLinks::default();
        links.links = noted.links;
        self.queue.put(SpanData {
            span_context: noted.place.context(false),
            parent_span_id: noted.parent,
            parent_span_is_remote: noted.is_remote,
            span_kind: match span.name() {
                "call" => SpanKind::Client,
                "effect" => SpanKind::Consumer,
                _ => SpanKind::Internal,
            },
            name: span.name().into(),
            start_time: noted.begun,
            end_time: at(Clock::System),
            attributes: noted.values.0,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links,
            status: match TROUBLE.iter().find(|word| **word == result) {
                Some(word) => Status::error(*word),
                None => Status::Unset,
            },
            instrumentation_scope: self.scope.clone(),
        });
    }
}

fn at(clock: Clock) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(u64::try_from(clock.now().us()).unwrap_or(0))
}

#[cfg(test)]
mod tests;
