//! Spans of the cycle: a run, and below it each decision. They hold ids, counts and outcomes.

use perennial_core::ids::{DecisionId, RunId};
use perennial_core::policy::Level;
use perennial_core::time::Timestamp;
use tokio::time::Instant;
use tracing::Span;
use tracing::field::Empty;

use super::{Considered, Decided, RunReport};

/// The span of a run: what follows from it is below it, whoever does it and when.
pub(super) fn run_span(run: &RunId) -> Span {
    tracing::info_span!(
        parent: None,
        "run",
        run = run.as_str(),
        accounts = Empty,
        decisions_new = Empty,
        auto = Empty,
        approve = Empty,
        result = Empty
    )
}

/// Notes in a run's span what it came to.
pub(super) fn ended(span: &Span, report: &RunReport) {
    span.record("accounts", report.accounts);
    span.record("decisions_new", report.decisions_new);
    span.record("auto", report.actions.auto);
    span.record("approve", report.actions.waiting);
    span.record("result", if report.interrupted { "interrupted" } else { "whole" });
}

/// Decides about one account below the span of a run, and takes note of the time. With it comes when something stored becomes known
/// later on the day.
pub(super) fn decided_below(
    run: &Span,
    at_all_times: &mut dyn Iterator<Item = Considered>,
) -> Option<(Option<Decided>, Option<Timestamp>)> {
    let span = tracing::debug_span!(
        parent: run,
        "decision",
        decision = Empty,
        proposals = Empty,
        auto = Empty,
        approve = Empty,
        never = Empty
    );
    let begun = Instant::now();
    let within = span.enter();
    let considered = at_all_times.next()?;
    let next = considered.next;
    let decided = Decided::of(considered);
    drop(within);
    if let Some(decided) = &decided {
        crate::meters::decision(begun.elapsed());
        if !span.is_disabled() {
            let decision = &decided.decision;
            let of = |level| decision.proposals.iter().filter(|p| p.verdict.level == level).count();
            let id = DecisionId::derive(&decision.account, &decided.inputs_hash);
            span.record("decision", id.as_str());
            span.record("proposals", decision.proposals.len());
            span.record("auto", of(Level::Auto));
            span.record("approve", of(Level::Approve));
            span.record("never", of(Level::Never));
        }
    }
    Some((decided, next))
}
