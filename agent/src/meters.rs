//! What is counted while the engine works, for whoever watches it: names, units, and nothing about customers.
//!
//! Everything here stands in the table of docs/operator/observability; a test holds the two together.

use std::time::Duration;

use metrics::{Unit, counter, gauge, histogram};
use perennial_core::signal::Crm;

/// Ages by which open approvals are counted, in seconds, with their names; what is older is `older`.
pub(crate) const APPROVAL_AGES: [(&str, i64); 5] = [
    ("1h", 3_600),
    ("4h", 4 * 3_600),
    ("1d", 24 * 3_600),
    ("3d", 3 * 24 * 3_600),
    ("7d", 7 * 24 * 3_600),
];
/// The name of what waits longer than all of them.
pub(crate) const OLDER: &str = "older";

/// Results of attempts.
const RESULTS: &[&str] = &[
    "receipt",
    "again",
    "put_off",
    "withdrawn",
    "unknown",
    "conflict",
    "refused",
];

/// An attempt of an effect ended.
pub(crate) fn attempted(tool: Crm, result: &'static str, took_us: i64) {
    counter!("perennial_attempts_total", "tool" => tool.as_str(), "result" => result).increment(1);
    histogram!("perennial_attempt_seconds", "tool" => tool.as_str()).record(seconds(took_us));
}

/// An effect is done, so long after it was permitted.
pub(crate) fn effect_done(tool: Crm, after_us: i64) {
    histogram!("perennial_effect_seconds", "tool" => tool.as_str()).record(seconds(after_us.max(0)));
}

/// An effect was given up without anybody knowing whether it happened.
pub(crate) fn parked() {
    counter!("perennial_parked_total").increment(1);
}

/// An outcome came after the lease had gone to somebody else.
pub(crate) fn refused_outcome() {
    counter!("perennial_outcomes_refused_total").increment(1);
}

/// A CRM was read, or could not be read to its end.
pub(crate) fn read(tool: Crm, result: &'static str) {
    counter!("perennial_readings_total", "tool" => tool.as_str(), "result" => result).increment(1);
}

/// Records that webhooks named were read.
pub(crate) fn read_due(tool: Crm, records: u64) {
    counter!("perennial_due_records_read_total", "tool" => tool.as_str()).increment(records);
}

/// A delivery of a webhook came, and was taken or refused for a reason.
pub(crate) fn delivered(result: &'static str) {
    counter!("perennial_webhooks_total", "result" => result).increment(1);
}

/// The database failed in a way that passes by itself.
pub(crate) fn database_failed() {
    counter!("perennial_database_failures_total").increment(1);
}

/// Accounts were decided about.
pub(crate) fn decided(accounts: u64) {
    counter!("perennial_decisions_total").increment(accounts);
}

/// One account was decided about.
pub(crate) fn decision(took: Duration) {
    histogram!("perennial_decision_seconds").record(took.as_secs_f64());
}

/// What became of spans.
#[cfg_attr(not(feature = "otlp"), expect(dead_code, reason = "there are no spans to send"))]
pub(crate) fn spans(result: &'static str, count: u64) {
    counter!("perennial_spans_total", "result" => result).increment(count);
}

/// How far this machine's clock is before the database's.
pub(crate) fn clock_ahead(us: i64) {
    gauge!("perennial_clock_ahead_seconds").set(seconds(us));
}

/// Whether this worker leads the schedules.
pub(crate) fn leads(leads: bool) {
    gauge!("perennial_leader").set(f64::from(u8::from(leads)));
}

/// Seconds of microseconds.
#[allow(
    clippy::cast_precision_loss,
    reason = "a time for people, exact to the microsecond for 285 years"
)]
pub(crate) fn seconds(us: i64) -> f64 {
    us as f64 / 1_000_000.0
}

/// Makes all counters and histograms known, so that they are there from the start: what has never happened is nought, not absent.
pub(crate) fn begin() {
    describe();
    for tool in Crm::ALL.iter().map(|tool| tool.as_str()) {
        for result in RESULTS {
            counter!("perennial_attempts_total", "tool" => tool, "result" => *result).increment(0);
        }
        for result in ["whole", "failed"] {
            counter!("perennial_readings_total", "tool" => tool, "result" => result).increment(0);
        }
        counter!("perennial_due_records_read_total", "tool" => tool).increment(0);
        let _ = histogram!("perennial_attempt_seconds", "tool" => tool);
        let _ = histogram!("perennial_effect_seconds", "tool" => tool);
    }
    for result in ["taken", "put_off", "unreadable", "unsigned", "stale", "wrong"] {
        counter!("perennial_webhooks_total", "result" => result).increment(0);
    }
    for result in ["sent", "failed", "dropped"] {
        counter!("perennial_spans_total", "result" => result).increment(0);
    }
    counter!("perennial_parked_total").increment(0);
    counter!("perennial_outcomes_refused_total").increment(0);
    counter!("perennial_database_failures_total").increment(0);
    counter!("perennial_decisions_total").increment(0);
    let _ = histogram!("perennial_decision_seconds");
    leads(false);
    clock_ahead(0);
}

fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    for (name, unit, help) in [
        (
            "perennial_attempts_total",
            Unit::Count,
            "Attempts of effects that ended, by CRM and result",
        ),
        (
            "perennial_parked_total",
            Unit::Count,
            "Effects given up without anybody knowing whether they happened",
        ),
        (
            "perennial_outcomes_refused_total",
            Unit::Count,
            "Outcomes that came after their lease had ended",
        ),
        (
            "perennial_database_failures_total",
            Unit::Count,
            "Times the database was away or busy",
        ),
        ("perennial_decisions_total", Unit::Count, "Accounts decided about"),
        (
            "perennial_readings_total",
            Unit::Count,
            "Readings of CRMs that ended, by CRM and result",
        ),
        (
            "perennial_due_records_read_total",
            Unit::Count,
            "Records that webhooks named and that were read",
        ),
        (
            "perennial_webhooks_total",
            Unit::Count,
            "Deliveries of webhooks, by result",
        ),
        (
            "perennial_spans_total",
            Unit::Count,
            "Spans for the collector, by what became of them",
        ),
    ] {
        describe_counter!(name, unit, help);
    }
    for (name, help) in [
        ("perennial_attempt_seconds", "Seconds of an attempt of an effect"),
        (
            "perennial_effect_seconds",
            "Seconds from the permit of an effect until it was done",
        ),
        ("perennial_decision_seconds", "Seconds of deciding about one account"),
    ] {
        describe_histogram!(name, help);
    }
    for (name, help) in [
        (
            "perennial_clock_ahead_seconds",
            "Seconds that this machine's clock is before the database's",
        ),
        ("perennial_leader", "1 when this process leads the schedules"),
        (
            "perennial_database_up",
            "1 when the database answered the last measurement",
        ),
        ("perennial_queue_lanes", "Accounts with something to send now, by CRM"),
        (
            "perennial_queue_age_seconds",
            "Seconds since the first of them could have been sent",
        ),
        ("perennial_effects", "Unfinished effects by state"),
        (
            "perennial_lease_age_seconds",
            "Seconds since the oldest attempt under way began",
        ),
        (
            "perennial_actions_stuck",
            "Actions that a person has to look at, by state",
        ),
        (
            "perennial_approvals",
            "Actions that wait for a person, by how long they have waited",
        ),
        (
            "perennial_approval_age_seconds",
            "Seconds since the longest waiting action is asked about",
        ),
        (
            "perennial_calls_left",
            "Calls of the day that are left, by CRM and lane",
        ),
        ("perennial_breaker_open", "1 while nothing is sent to a CRM that failed"),
        (
            "perennial_workers",
            "Workers that gave a sign of life within 30 seconds",
        ),
        (
            "perennial_workers_silent",
            "Workers of the last day that gave none and did not say good-bye",
        ),
        ("perennial_stops", "Stops that people have set"),
        (
            "perennial_read_age_seconds",
            "Seconds since the latest reading of a CRM began that came to its end",
        ),
        ("perennial_reading_failed", "1 when the latest reading of a CRM failed"),
        ("perennial_ledger_entries", "Entries of the ledger"),
        (
            "perennial_ledger_verified_entries",
            "Entries whose chain this process has followed",
        ),
        (
            "perennial_ledger_broken",
            "1 when the chain of the ledger does not hold",
        ),
        (
            "perennial_ledger_verified_age_seconds",
            "Seconds since the chain was last followed to its end, or since this process began",
        ),
    ] {
        describe_gauge!(name, help);
    }
}
