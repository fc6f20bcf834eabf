//! Values that no record can have: negative seats, an end before the start, a score outside its scale.

use std::collections::BTreeMap;

use perennial_core::money::Money;
use perennial_core::number::Micro;
use perennial_core::signal::{Fact, MovementKind, SurveyKind};
use perennial_core::time::Day;

/// Metrics that count something and so are never negative.
const COUNTS: &[&str] = &[
    "active_users",
    "seats",
    "core_events",
    "features_used",
    "champion_seen",
    "events",
    "tickets",
    "errors",
];

/// A field of the fact and why its value cannot be.
pub(super) type OutOfBounds = (String, String);

type Checked = Result<(), OutOfBounds>;

/// Checks what a record says against what any record of its kind can say.
pub(super) fn check(fact: &Fact) -> Checked {
    match fact {
        Fact::Account(account) => not_negative("seats", account.seats),
        Fact::Owner(owner) => between("capacity_minutes", owner.capacity_minutes, 0, 1440),
        Fact::Product(product) => money_not_negative("list_price", product.list_price),
        Fact::Contract(contract) => {
            ordered("end", contract.start, contract.end)?;
            ordered("ended", contract.start, contract.ended)?;
            between("notice_days", contract.notice_days, 0, 3660)?;
            between("term_months", contract.term_months, 1, 1200)?;
            money_not_negative("arr", contract.arr)?;
            scale("escalator", contract.escalator, -1, 10)
        }
        Fact::Subscription(subscription) => {
            ordered("end", subscription.start, subscription.end)?;
            ordered("ended", subscription.start, subscription.ended)?;
            between("term_months", subscription.term_months, 1, 1200)?;
            money_not_negative("arr", subscription.arr)?;
            not_negative("seats", subscription.seats)
        }
        Fact::Movement(movement) => match (movement.kind, movement.delta) {
            (Some(MovementKind::Contraction | MovementKind::Churn), Some(delta)) if delta.minor > 0 => Err((
                "delta".to_owned(),
                "a contraction or churn that adds revenue: its amount must be negative".to_owned(),
            )),
            (Some(MovementKind::Expansion | MovementKind::New | MovementKind::Reactivation), Some(delta))
                if delta.minor < 0 =>
            {
                Err((
                    "delta".to_owned(),
                    "a gain that takes revenue away: its amount must be positive".to_owned(),
                ))
            }
            _ => Ok(()),
        },
        Fact::Contact(contact) => ordered("left", contact.since, contact.left),
        Fact::Usage(usage) => usage_values(&usage.values),
        Fact::Ticket(ticket) => {
            if let (Some(opened), Some(closed)) = (ticket.opened, ticket.closed)
                && closed < opened
            {
                return Err(("closed".to_owned(), format!("lies before the start, {opened}")));
            }
            between("severity", ticket.severity, 1, 4)?;
            scale("csat", ticket.csat, 1, 5)?;
            scale("first_response_minutes", ticket.first_response_minutes, 0, 100_000_000)?;
            scale("sentiment", ticket.sentiment, -1, 1)
        }
        Fact::Interaction(interaction) => scale("sentiment", interaction.sentiment, -1, 1),
        Fact::Assignment(_) => Ok(()),
        Fact::Survey(survey) => match survey.kind {
            Some(SurveyKind::Nps) => scale("score", survey.score, 0, 10),
            Some(SurveyKind::Csat) => scale("score", survey.score, 1, 5),
            None => Ok(()),
        },
        Fact::Invoice(invoice) => ordered("due", invoice.issued, invoice.due),
        Fact::Opportunity(opportunity) => {
            ordered("closed", opportunity.opened, opportunity.closed)?;
            money_not_negative("amount", opportunity.amount)
        }
        Fact::ChurnEvent(event) => money_not_negative("refund", event.refund),
        Fact::ScoreOverride(fact) => scale("value", fact.value, 0, 100),
        Fact::Treatment(treatment) => scale("propensity", treatment.propensity, 0, 1),
    }
}

fn usage_values(values: &BTreeMap<String, Micro>) -> Checked {
    if values.is_empty() {
        return Err((String::new(), "no metric has a value".to_owned()));
    }
    for (metric, value) in values {
        if value.0 < 0 && COUNTS.contains(&metric.as_str()) {
            return Err((metric.clone(), "negative, but it counts something".to_owned()));
        }
    }
    Ok(())
}

fn not_negative(field: &str, value: Option<i64>) -> Checked {
    match value {
        Some(value) if value < 0 => Err((field.to_owned(), "negative".to_owned())),
        _ => Ok(()),
    }
}

fn between(field: &str, value: Option<i64>, low: i64, high: i64) -> Checked {
    match value {
        Some(value) if value < low || value > high => Err((field.to_owned(), format!("outside {low} to {high}"))),
        _ => Ok(()),
    }
}

fn scale(field: &str, value: Option<Micro>, low: i64, high: i64) -> Checked {
    match value {
        Some(value) if value < Micro::whole(low) || value > Micro::whole(high) => {
            Err((field.to_owned(), format!("outside {low} to {high}")))
        }
        _ => Ok(()),
    }
}

fn money_not_negative(field: &str, value: Option<Money>) -> Checked {
    match value {
        Some(value) if value.minor < 0 => Err((field.to_owned(), "negative".to_owned())),
        _ => Ok(()),
    }
}

fn ordered(field: &str, start: Option<Day>, end: Option<Day>) -> Checked {
    match (start, end) {
        (Some(start), Some(end)) if end < start => Err((field.to_owned(), format!("lies before the start, {start}"))),
        _ => Ok(()),
    }
}
