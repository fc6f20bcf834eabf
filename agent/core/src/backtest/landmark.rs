//! From an account's signals to landmarks: moments before a renewal decision, with what was known then and what came.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use crate::feature::{CATALOGUE, Features, Renewal, Value, compute};
use crate::ids::AccountId;
use crate::policy::{Risk, Settings};
use crate::score::{RISK_FLOOR, risk_input};
use crate::signal::{Fact, FactKind, Signal};
use crate::snapshot::Snapshot;
use crate::time::{Day, Timestamp};

/// Where landmarks are set, and when an outcome counts as known.
#[derive(Debug, Clone)]
pub struct Design {
    /// Weeks before the decision at which it is forecast.
    pub leads_weeks: Vec<i64>,
    /// Lead whose landmarks are searched for leaks.
    pub main_lead_weeks: i64,
    /// Days after the end of the term in which a late renewal still counts as one.
    pub grace_days: i64,
    /// Nothing is known after this day.
    pub until: Day,
}

/// One renewal decision of one account. The account is the grain: it churned when no recurring revenue is left.
#[derive(Debug, Clone, PartialEq)]
pub struct Landmark {
    /// Whose.
    pub account: AccountId,
    /// Day of the decision: the last day for notice where one is agreed, else the end of the term.
    pub decision: Day,
    /// End of the term.
    pub end: Day,
    /// Day on which the outcome was known: the end and the days of grace.
    pub known_by: Day,
    /// No recurring revenue was left then.
    pub churned: bool,
    /// What was known at each lead, the longest lead first.
    pub rows: Vec<LeadRow>,
}

/// What was known at one lead.
#[derive(Debug, Clone, PartialEq)]
pub struct LeadRow {
    /// Weeks before the decision.
    pub lead_weeks: i64,
    /// The landmark.
    pub at: Day,
    /// Yearly recurring revenue, minor units of the policy's currency.
    pub arr_minor: i64,
    /// Inputs of the risk policy in standard deviations from their means; 0, the average, where not known.
    pub inputs: Vec<f64>,
    /// Enough is known for the policy to give a probability.
    pub assessable: bool,
    /// For the search for leaks, at the main lead only: known numbers by feature.
    pub numbers: Vec<(&'static str, f64)>,
    /// For the search for leaks, at the main lead only: fields that are filled, and words that features say.
    pub fields: BTreeSet<String>,
}

/// Terms that one account may have: more than a century of yearly ones.
const TERMS_MAX: usize = 120;

/// Every renewal decision of an account that was observed to its end, the earliest first.
///
/// A decision is taken from the end of the term as it was known since the term began. A lead at which another end was
/// known, or at which there was no recurring revenue, has no row.
#[must_use]
pub fn landmarks(
    account: &AccountId,
    signals: &[Signal],
    design: &Design,
    settings: &Settings,
    risk: &Risk,
) -> Vec<Landmark> {
    let view = View {
        account,
        signals,
        settings,
    };
    let mut leads = design.leads_weeks.clone();
    leads.sort_unstable_by(|a, b| b.cmp(a));
    leads.dedup();
    let mut found = Vec::new();
    let Some(mut today) = signals.iter().map(|s| s.observed_at.day()).min() else {
        return found;
    };
    for _ in 0..TERMS_MAX {
        if today > design.until {
            break;
        }
        let (_, _, renewals) = view.at(today.start(), Need::Agreements);
        let Some((renewal, end)) = next(&renewals) else {
            // Nothing to renew yet: look again when something new is known.
            let later = signals.iter().map(|s| s.observed_at.day()).filter(|day| *day > today);
            let agreement = later.min();
            match agreement {
                Some(day) => today = day,
                None => break,
            }
            continue;
        };
        let known_by = end.plus(design.grace_days);
        if known_by >= design.until {
            break;
        }
        let decision = renewal.notice.unwrap_or(end);
        let rows: Vec<LeadRow> = leads
            .iter()
            .filter_map(|lead| view.row(*lead, decision, end, *lead == design.main_lead_weeks, risk))
            .collect();
        if let Some(first) = rows.first()
            && let Some(churned) = view.outcome(first.at, known_by)
        {
            found.push(Landmark {
                account: account.clone(),
                decision,
                end,
                known_by,
                churned,
                rows,
            });
        }
        today = end.plus(1);
    }
    found
}

/// What became of an account at the next end of a term after a day.
#[derive(Debug, Clone, PartialEq)]
pub struct NextOutcome {
    /// No recurring revenue was left when the days of grace were over.
    pub churned: bool,
    /// Log odds of not renewing by the risk policy, with what was known on the day.
    pub log_odds: f64,
    /// Tier on the day.
    pub tier: Option<String>,
}

/// Why there is no outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoOutcome {
    /// No end of a term longer than a month was known on the day.
    NoTerm,
    /// The term and its days of grace are not over.
    NotOver,
    /// Too little was known on the day to give a risk.
    NoRisk,
    /// The revenue after it is not known.
    NoRevenue,
}

/// The outcome of the next renewal after the start of a day, with what was known of it then.
///
/// # Errors
/// [`NoOutcome`].
pub fn next_outcome(
    account: &AccountId,
    signals: &[Signal],
    day: Day,
    (grace_days, until): (i64, Day),
    settings: &Settings,
    risk: &Risk,
) -> Result<NextOutcome, NoOutcome> {
    let view = View {
        account,
        signals,
        settings,
    };
    let (_, features, renewals) = view.at(day.start(), Need::Everything);
    let (_, end) = next(&renewals).ok_or(NoOutcome::NoTerm)?;
    let known_by = end.plus(grace_days);
    if known_by >= until {
        return Err(NoOutcome::NotOver);
    }
    let (inputs, assessable) = inputs(&features, risk);
    if !assessable {
        return Err(NoOutcome::NoRisk);
    }
    let parts = risk.inputs.iter().zip(&inputs).map(|(input, x)| input.weight * x);
    Ok(NextOutcome {
        churned: view.outcome(day, known_by).ok_or(NoOutcome::NoRevenue)?,
        log_odds: risk.intercept + parts.sum::<f64>(),
        tier: features.text("tier").map(ToOwned::to_owned),
    })
}

/// Inputs of the risk policy in standard deviations from their means, 0 where not known, and whether enough is known for
/// a probability.
fn inputs(features: &Features, risk: &Risk) -> (Vec<f64>, bool) {
    let (mut known, mut all) = (0.0, 0.0);
    let inputs = risk
        .inputs
        .iter()
        .map(|input| {
            all += input.weight.abs();
            risk_input(features, input).map_or(0.0, |x| {
                known += input.weight.abs();
                (x - input.mean) / input.sd
            })
        })
        .collect();
    (inputs, all > 0.0 && known / all >= RISK_FLOOR)
}

/// The nearest end of a term longer than a month, as the features see it.
fn next(renewals: &[Renewal]) -> Option<(&Renewal, Day)> {
    renewals
        .iter()
        .filter(|r| r.term_months.is_none_or(|months| months > 1))
        .find_map(|r| r.end.as_ref().ok().map(|end| (r, *end)))
}

struct View<'a> {
    account: &'a AccountId,
    signals: &'a [Signal],
    settings: &'a Settings,
}

impl View<'_> {
    fn at(&self, as_of: Timestamp, need: Need) -> (Snapshot, Features, Vec<Renewal>) {
        let oldest_use = as_of.plus_days(-self.settings.usage_days - 7);
        let known: Vec<Signal> = self
            .signals
            .iter()
            .filter(|s| s.observed_at <= as_of)
            .filter(|s| s.fact.kind() != FactKind::Usage || (need == Need::Everything && s.event_at >= oldest_use))
            .cloned()
            .map(without_flag)
            .collect();
        let snapshot = Snapshot::of(self.account.clone(), as_of, known, Vec::new(), self.settings.usage_days);
        let (features, renewals) = compute(&snapshot, self.settings);
        (snapshot, features, renewals)
    }

    fn row(&self, lead_weeks: i64, decision: Day, end: Day, main: bool, risk: &Risk) -> Option<LeadRow> {
        let at = decision.plus(-7 * lead_weeks);
        let (snapshot, features, renewals) = self.at(at.start(), Need::Everything);
        let (_, known_end) = next(&renewals)?;
        let arr_minor = features.money("arr").map(|m| m.minor).filter(|minor| *minor > 0)?;
        if known_end != end {
            return None;
        }
        let (inputs, assessable) = inputs(&features, risk);
        let (mut numbers, mut fields) = (Vec::new(), BTreeSet::new());
        if main {
            for definition in CATALOGUE {
                if let Some(number) = features.number(definition.name) {
                    numbers.push((definition.name, number));
                }
                if let Some(Value::Text(word)) = features.known(definition.name) {
                    fields.insert(format!("{}={word}", definition.name));
                }
            }
            filled(&snapshot, &mut fields);
            let flagged = |s: &&Signal| matches!(&s.fact, Fact::Account(account) if account.churned == Some(true));
            if self.signals.iter().filter(flagged).any(|s| s.observed_at <= at.start()) {
                fields.insert("account.churned".to_owned());
            }
        }
        Some(LeadRow {
            lead_weeks,
            at,
            arr_minor,
            inputs,
            assessable,
            numbers,
            fields,
        })
    }

    /// Whether the account had left; `None` where its revenue then is not known.
    fn outcome(&self, since: Day, known_by: Day) -> Option<bool> {
        // Revenue at a moment is that of the movements dated before it, so the day after sees the last day of grace.
        let (snapshot, features, _) = self.at(known_by.plus(1).start(), Need::Agreements);
        let said = snapshot
            .churn_events
            .iter()
            .map(|c| (c.fact.date.unwrap_or(c.at.day()), c.fact.reactivation == Some(true)))
            .filter(|(day, _)| *day > since && *day <= known_by)
            .max();
        let arr = features.money("arr")?.minor;
        Some(arr <= 0 || said.is_some_and(|(_, back)| !back) && snapshot.movements.is_empty())
    }
}

/// What a look at the account is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Everything that was known.
    Everything,
    /// Terms and revenue; measured use, which is most of what there is, is left out.
    Agreements,
}

/// A flag without a date says how things ended. It must not empty the set of renewals, so it is left out; the search for
/// leaks names it.
fn without_flag(mut signal: Signal) -> Signal {
    if let Fact::Account(account) = &mut signal.fact {
        account.churned = None;
    }
    signal
}

/// Names of the fields that some record fills, usage aside; a flag counts when it says yes.
fn filled(snapshot: &Snapshot, fields: &mut BTreeSet<String>) {
    fn add<'a, T: serde::Serialize + 'a>(
        kind: &str,
        list: impl IntoIterator<Item = &'a crate::snapshot::Held<T>>,
        fields: &mut BTreeSet<String>,
    ) {
        for held in list {
            // A fact that has no JSON has no fields; there is none such.
            if let Ok(Json::Object(object)) = serde_json::to_value(&held.fact) {
                for (name, value) in object {
                    match value {
                        Json::Null | Json::Bool(false) => {}
                        Json::Object(inner) if name == "attributes" => {
                            fields.extend(inner.keys().map(|key| format!("{kind}.attributes.{key}")));
                        }
                        Json::Bool(true) | Json::Number(_) | Json::String(_) | Json::Array(_) | Json::Object(_) => {
                            fields.insert(format!("{kind}.{name}"));
                        }
                    }
                }
            }
        }
    }
    add("account", &snapshot.account, fields);
    add("contract", &snapshot.contracts, fields);
    add("subscription", &snapshot.subscriptions, fields);
    add("movement", &snapshot.movements, fields);
    add("contact", &snapshot.contacts, fields);
    add("ticket", &snapshot.tickets, fields);
    add("interaction", &snapshot.interactions, fields);
    add("survey", &snapshot.surveys, fields);
    add("invoice", &snapshot.invoices, fields);
    add("opportunity", &snapshot.opportunities, fields);
    add("churn_event", &snapshot.churn_events, fields);
    add("treatment", &snapshot.treatments, fields);
}
