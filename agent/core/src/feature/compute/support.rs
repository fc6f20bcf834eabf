//! Support cases, surveys and notices of leaving.

use super::{Found, Put, Value};
use crate::signal::SurveyKind;
use crate::snapshot::Snapshot;

/// Days that "lately" means for the number of cases.
const CASES_DAYS: i64 = 91;
/// Days over which satisfaction is averaged.
const CSAT_DAYS: i64 = 182;
/// Days for which a promoter score speaks.
const NPS_DAYS: i64 = 365;
/// Days for which a notice of leaving is news.
const NOTICE_DAYS: i64 = 180;

pub(super) fn compute(snapshot: &Snapshot, seats: Option<f64>, put: &mut Put<'_>) {
    tickets(snapshot, seats, put);
    voice(snapshot, put);
    notices(snapshot, put);
}

fn tickets(snapshot: &Snapshot, seats: Option<f64>, put: &mut Put<'_>) {
    let today = snapshot.as_of.day();
    let open: Vec<_> = snapshot.tickets.iter().filter(|t| t.fact.closed.is_none()).collect();
    let sev1: Vec<_> = open.iter().filter(|t| t.fact.severity == Some(1)).copied().collect();
    let escalated: Vec<_> = open
        .iter()
        .filter(|t| t.fact.severity == Some(1) || t.fact.escalated == Some(true))
        .copied()
        .collect();
    let lately: Vec<_> = snapshot
        .tickets
        .iter()
        .filter(|t| t.at.day().days_until(today) <= CASES_DAYS)
        .collect();
    put(
        "tickets_open",
        Found::number(open.len() as f64).from(open.iter().copied()),
    );
    put("sev1_open", Found::number(sev1.len() as f64).from(sev1));
    put(
        "escalations_open",
        Found::number(escalated.len() as f64).from(escalated.iter().copied()),
    );
    let oldest = escalated.iter().map(|t| t.at.day().days_until(today)).max();
    put(
        "escalation_days",
        match oldest {
            Some(days) => Found::number(days as f64).from(escalated),
            None => Found::unknown("an open escalation"),
        },
    );
    let measured: Vec<_> = snapshot
        .usage
        .iter()
        .filter(|u| u.fact.start.days_until(today) <= CASES_DAYS && u.fact.values.contains_key("tickets"))
        .collect();
    let from_usage: f64 = measured
        .iter()
        .filter_map(|u| u.fact.values.get("tickets"))
        .map(|v| v.to_f64())
        .sum();
    let count = lately.len() as f64 + from_usage;
    let known = !snapshot.tickets.is_empty() || !measured.is_empty();
    let gap = "ticket, or usage.tickets";
    put(
        "tickets_13w",
        if known {
            Found::number(count)
                .from(lately.iter().copied())
                .from(measured.iter().copied())
        } else {
            Found::unknown(gap)
        },
    );
    put(
        "ticket_pressure",
        match seats {
            Some(seats) if known && seats >= 1.0 => {
                Found::number(count / libm::sqrt(seats)).from(lately).from(measured)
            }
            Some(_) | None => Found::unknown(if known { "seats" } else { gap }),
        },
    );
}

fn voice(snapshot: &Snapshot, put: &mut Put<'_>) {
    let today = snapshot.as_of.day();
    let recent = |at: crate::time::Timestamp, days: i64| at.day().days_until(today) <= days;
    let cases: Vec<_> = snapshot
        .tickets
        .iter()
        .filter(|t| t.fact.csat.is_some() && recent(t.fact.closed.unwrap_or(t.at), CSAT_DAYS))
        .collect();
    let surveys: Vec<_> = snapshot
        .surveys
        .iter()
        .filter(|s| s.fact.kind == Some(SurveyKind::Csat) && s.fact.score.is_some() && recent(s.at, CSAT_DAYS))
        .collect();
    let scores: Vec<f64> = cases
        .iter()
        .filter_map(|t| t.fact.csat)
        .chain(surveys.iter().filter_map(|s| s.fact.score))
        .map(|v| v.to_f64())
        .collect();
    put(
        "csat",
        if scores.is_empty() {
            Found::unknown("ticket.csat or survey of kind csat in the last 26 weeks")
        } else {
            Found::number(scores.iter().sum::<f64>() / scores.len() as f64)
                .from(cases)
                .from(surveys)
        },
    );
    let nps = snapshot
        .surveys
        .iter()
        .filter(|s| s.fact.kind == Some(SurveyKind::Nps) && recent(s.at, NPS_DAYS))
        .max_by(|a, b| (a.at, &a.record).cmp(&(b.at, &b.record)));
    match nps.and_then(|held| held.fact.score.map(|score| (held, score))) {
        Some((held, score)) => {
            put("nps", Found::known(Value::Number(score)).from(Some(held)));
            put(
                "nps_age_days",
                Found::number(held.at.day().days_until(today) as f64).from(Some(held)),
            );
        }
        None => {
            put("nps", Found::unknown("survey of kind nps in the last year"));
            put("nps_age_days", Found::unknown("survey of kind nps in the last year"));
        }
    }
}

fn notices(snapshot: &Snapshot, put: &mut Put<'_>) {
    let today = snapshot.as_of.day();
    let newest = snapshot
        .churn_events
        .iter()
        .filter(|e| e.at.day().days_until(today) <= NOTICE_DAYS)
        .max_by(|a, b| (a.at, &a.record).cmp(&(b.at, &b.record)));
    let given = newest.filter(|e| e.fact.reactivation != Some(true));
    put("churn_notice", Found::known(Value::Flag(given.is_some())).from(given));
    put(
        "churn_notice_days",
        match given {
            Some(event) => Found::number(event.at.day().days_until(today) as f64).from(Some(event)),
            None => Found::unknown("no notice of leaving in the last 180 days"),
        },
    );
}
