//! What is counted while the engine works, for whoever watches it: names, units, and nothing about customers.

use perennial_core::signal::Crm;

/// An attempt of an effect ended.
pub(crate) fn attempted(tool: Crm, result: &'static str, took_us: i64) {
    metrics::counter!("perennial_attempts_total", "tool" => tool.as_str(), "result" => result).increment(1);
    metrics::histogram!("perennial_attempt_seconds", "tool" => tool.as_str()).record(seconds(took_us));
}

/// An outcome came after the lease had gone to somebody else.
pub(crate) fn refused_outcome() {
    metrics::counter!("perennial_outcomes_refused_total").increment(1);
}

/// A CRM was read, or could not be read to its end.
pub(crate) fn read(tool: Crm, result: &'static str) {
    metrics::counter!("perennial_readings_total", "tool" => tool.as_str(), "result" => result).increment(1);
}

/// Records that webhooks named were read.
pub(crate) fn read_due(tool: Crm, records: u64) {
    metrics::counter!("perennial_due_records_read_total", "tool" => tool.as_str()).increment(records);
}

/// A delivery of a webhook came, and was taken or refused for a reason.
pub(crate) fn delivered(result: &'static str) {
    metrics::counter!("perennial_webhooks_total", "result" => result).increment(1);
}

/// The database failed in a way that passes by itself.
pub(crate) fn database_failed() {
    metrics::counter!("perennial_database_failures_total").increment(1);
}

/// Accounts were decided about.
pub(crate) fn decided(accounts: u64, took_us: i64) {
    metrics::counter!("perennial_decisions_total").increment(accounts);
    if accounts > 0 {
        // The cost of a page shared among its accounts.
        #[allow(clippy::cast_precision_loss, reason = "a count of accounts of one page")]
        metrics::histogram!("perennial_decision_seconds").record(seconds(took_us) / accounts as f64);
    }
}

/// How far this machine's clock is before the database's.
pub(crate) fn clock_ahead(us: i64) {
    metrics::gauge!("perennial_clock_ahead_seconds").set(seconds(us));
}

/// Whether this worker leads the schedules.
pub(crate) fn leads(leads: bool) {
    metrics::gauge!("perennial_leader").set(f64::from(u8::from(leads)));
}

/// Seconds of microseconds.
#[allow(
    clippy::cast_precision_loss,
    reason = "a time for people, exact to the microsecond for 285 years"
)]
pub(crate) fn seconds(us: i64) -> f64 {
    us as f64 / 1_000_000.0
}
