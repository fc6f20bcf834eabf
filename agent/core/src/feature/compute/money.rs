//! Recurring revenue, terms, bills and deals.

use serde::{Deserialize, Serialize};

use super::{Found, Put, Value};
use crate::money::Money;
use crate::policy::Settings;
use crate::signal::{OpportunityKind, OpportunityState, RecordRef, Subscription, Tier};
use crate::snapshot::{Held, Snapshot};
use crate::time::Day;

/// An agreement that is live, with its next end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewal {
    /// Its record.
    pub record: RecordRef,
    /// Product or contract, for people.
    pub label: String,
    /// End of the present term, or the field that is missing to know it.
    pub end: Result<Day, String>,
    /// The end was derived from start and term because the source does not give it.
    pub derived: bool,
    /// Last day for notice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<Day>,
    /// Recurring revenue that it carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arr: Option<Money>,
    /// Renews by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_renew: Option<bool>,
    /// Length of the term.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term_months: Option<i64>,
}

/// Weeks that "lately" means for bills.
const BILLS_DAYS: i64 = 91;

pub(super) fn compute(snapshot: &Snapshot, settings: &Settings, put: &mut Put<'_>) -> Vec<Renewal> {
    let today = snapshot.as_of.day();
    let (arr, ever) = recurring_revenue(snapshot, settings, today);
    let churned = snapshot.account_fact().and_then(|f| f.churned).unwrap_or(false)
        || (ever && matches!(arr.state, super::super::State::Known(Value::Money(Money { minor, .. })) if minor <= 0));
    let amount = match &arr.state {
        super::super::State::Known(Value::Money(money)) => Some(*money),
        super::super::State::Known(_) | super::super::State::Unknown(_) => None,
    };
    let unit = 10_i64.pow(settings.base.exponent());
    put(
        "arr_major",
        match (amount, &arr.state) {
            (Some(money), _) => Found::number(money.minor.div_euclid(unit) as f64),
            (None, super::super::State::Unknown(field)) => Found::unknown(field),
            (None, super::super::State::Known(_)) => Found::unknown("arr"),
        },
    );
    put("arr", arr);
    put(
        "churned",
        Found::known(Value::Flag(churned)).from(snapshot.account.as_ref()),
    );
    put("tier", tier(snapshot, settings, amount));
    let renewals = if churned { Vec::new() } else { renewals(snapshot, today) };
    next_renewal(&renewals, today, put);
    bills(snapshot, today, put);
    deals(snapshot, today, put);
    renewals
}

/// The tier the account's record gives, else the one its recurring revenue falls into.
fn tier(snapshot: &Snapshot, settings: &Settings, arr: Option<Money>) -> Found {
    let derived = arr.map(|arr| {
        if arr.minor >= settings.strategic_from_minor {
            Tier::STRATEGIC
        } else if arr.minor >= settings.mid_touch_from_minor {
            Tier::MID_TOUCH
        } else {
            Tier::LOW_TOUCH
        }
    });
    match snapshot.account_fact().and_then(|f| f.tier).or(derived) {
        Some(tier) => Found::known(Value::Text(tier.as_str().to_owned())).from(snapshot.account.as_ref()),
        None => Found::unknown("account.tier or recurring revenue"),
    }
}

fn is_live(start: Option<Day>, end: Option<Day>, ended: Option<Day>, auto_renew: Option<bool>, today: Day) -> bool {
    let begun = start.is_none_or(|start| start <= today);
    let over = ended.is_some_and(|ended| ended <= today);
    // A term that has passed without word is over, unless it renews by itself.
    let lapsed = end.is_some_and(|end| end < today) && auto_renew != Some(true);
    begun && !over && !lapsed
}

fn live_subscriptions(snapshot: &Snapshot, today: Day) -> impl Iterator<Item = &Held<Subscription>> {
    snapshot.subscriptions.iter().filter(move |s| {
        let f = &s.fact;
        is_live(f.start, f.end, f.ended, f.auto_renew, today) && f.trial != Some(true)
    })
}

/// Recurring revenue in the policy's currency, and whether the account ever had any.
fn recurring_revenue(snapshot: &Snapshot, settings: &Settings, today: Day) -> (Found, bool) {
    let subscriptions_say = snapshot.subscriptions.iter().any(|s| s.fact.arr.is_some());
    let ever_paid = snapshot
        .subscriptions
        .iter()
        .any(|s| s.fact.arr.is_some_and(|a| a.minor > 0));
    if subscriptions_say {
        let live: Vec<_> = live_subscriptions(snapshot, today).collect();
        let sum = settings.sum(live.iter().filter_map(|s| s.fact.arr));
        return (amount(sum).from(live), ever_paid);
    }
    if !snapshot.movements.is_empty() {
        // By definition the revenue at T is the sum of movements dated before T.
        let before: Vec<_> = snapshot.movements.iter().filter(|m| m.at.day() < today).collect();
        let sum = settings.sum(before.iter().filter_map(|m| m.fact.delta));
        let ever = before.iter().any(|m| m.fact.delta.is_some_and(|d| d.minor > 0));
        return (amount(sum).from(before), ever);
    }
    let contracts: Vec<_> = snapshot.contracts.iter().filter(|c| c.fact.arr.is_some()).collect();
    if contracts.is_empty() {
        return (
            Found::unknown("subscription.arr, movement.delta or contract.arr"),
            false,
        );
    }
    let live: Vec<_> = contracts
        .iter()
        .filter(|c| is_live(c.fact.start, c.fact.end, c.fact.ended, c.fact.auto_renew, today))
        .copied()
        .collect();
    let sum = settings.sum(live.iter().filter_map(|c| c.fact.arr));
    (amount(sum).from(live), true)
}

fn amount(sum: Result<Money, String>) -> Found {
    match sum {
        Ok(money) => Found::known(Value::Money(money)),
        Err(missing) => Found::unknown(&missing),
    }
}

/// Live agreements, the nearest end first, those without a known end last.
fn renewals(snapshot: &Snapshot, today: Day) -> Vec<Renewal> {
    let mut list = Vec::new();
    for held in &snapshot.contracts {
        let f = &held.fact;
        if !is_live(f.start, f.end, f.ended, f.auto_renew, today) {
            continue;
        }
        let (end, derived) = next_end(f.start, f.end, f.term_months, f.auto_renew, "contract", today);
        let notice = match (&end, f.notice_days) {
            (Ok(end), Some(days)) => Some(end.plus(-days)),
            (Ok(_) | Err(_), _) => None,
        };
        list.push(Renewal {
            record: held.record.clone(),
            label: format!("contract {}", held.record.external_id),
            end,
            derived,
            notice,
            arr: f.arr,
            auto_renew: f.auto_renew,
            term_months: f.term_months,
        });
    }
    let known_contract = |id: &Option<String>| {
        id.as_ref()
            .is_some_and(|id| snapshot.contracts.iter().any(|c| c.record.external_id.as_str() == id))
    };
    for held in live_subscriptions(snapshot, today).filter(|s| !known_contract(&s.fact.contract)) {
        let f = &held.fact;
        let (end, derived) = next_end(f.start, f.end, f.term_months, f.auto_renew, "subscription", today);
        list.push(Renewal {
            record: held.record.clone(),
            label: f
                .product
                .clone()
                .unwrap_or_else(|| held.record.external_id.as_str().to_owned()),
            end,
            derived,
            notice: None,
            arr: f.arr,
            auto_renew: f.auto_renew,
            term_months: f.term_months,
        });
    }
    list.sort_by(|a, b| match (&a.end, &b.end) {
        (Ok(x), Ok(y)) => (x, &a.record).cmp(&(y, &b.record)),
        (Ok(_), Err(_)) => std::cmp::Ordering::Less,
        (Err(_), Ok(_)) => std::cmp::Ordering::Greater,
        (Err(_), Err(_)) => a.record.cmp(&b.record),
    });
    list
}

/// End of the present term: as given, rolled forward where it renews by itself, else from start and term.
fn next_end(
    start: Option<Day>,
    end: Option<Day>,
    term: Option<i64>,
    auto_renew: Option<bool>,
    kind: &str,
    today: Day,
) -> (Result<Day, String>, bool) {
    let term = term.filter(|months| (1..=1200).contains(months));
    match (end, start, term) {
        (Some(end), _, _) if end >= today => (Ok(end), false),
        (Some(end), _, Some(term)) if auto_renew == Some(true) => (Ok(roll(end, term, today)), true),
        (Some(_), _, _) => (Err(format!("{kind}.term_months")), false),
        // The day before the anniversary is the last day of the term.
        (None, Some(start), Some(term)) => (Ok(roll(start.plus(-1), term, today)), true),
        (None, None, Some(_)) => (Err(format!("{kind}.end or {kind}.start")), false),
        (None, _, None) => (Err(format!("{kind}.end or {kind}.term_months")), false),
    }
}

/// The first end of a term, counted in whole terms from `anchor`, that is not before `today`.
fn roll(anchor: Day, term_months: i64, today: Day) -> Day {
    let months_gone = (anchor.days_until(today).max(0) / 31).max(0);
    let mut terms = months_gone / term_months;
    loop {
        let months = i32::try_from(terms.saturating_mul(term_months)).unwrap_or(i32::MAX);
        let end = anchor.plus_months(months);
        if (end >= today && end > anchor) || months > 24_000 {
            return end;
        }
        terms += 1;
    }
}

fn next_renewal(renewals: &[Renewal], today: Day, put: &mut Put<'_>) {
    let yearly = |r: &&Renewal| r.term_months.is_none_or(|months| months > 1);
    let next = renewals
        .iter()
        .filter(yearly)
        .find_map(|r| r.end.as_ref().ok().map(|end| (r, *end)));
    let Some((renewal, end)) = next else {
        let missing = renewals
            .iter()
            .find_map(|r| r.end.as_ref().err().cloned())
            .unwrap_or_else(|| "a live agreement with a term longer than a month".to_owned());
        for name in [
            "days_to_renewal",
            "renewal_date",
            "term_months",
            "contract_value",
            "days_to_notice",
            "notice_date",
            "auto_renew",
        ] {
            put(name, Found::unknown(&missing));
        }
        return;
    };
    let with = |mut found: Found| {
        found.records.push(renewal.record.clone());
        found
    };
    put("days_to_renewal", with(Found::number(today.days_until(end) as f64)));
    put("renewal_date", with(Found::known(Value::Day(end))));
    put(
        "term_months",
        match renewal.term_months {
            Some(months) => with(Found::number(months as f64)),
            None => Found::unknown("contract.term_months"),
        },
    );
    put(
        "contract_value",
        match (renewal.arr, renewal.term_months) {
            (Some(arr), Some(months)) => match arr.minor.checked_mul(months) {
                Some(minor) => with(Found::known(Value::Money(Money::new(minor / 12, arr.currency)))),
                None => Found::unknown("an amount that can be"),
            },
            (Some(_), None) => Found::unknown("contract.term_months"),
            (None, _) => Found::unknown("contract.arr"),
        },
    );
    match renewal.notice {
        Some(notice) => {
            put("days_to_notice", with(Found::number(today.days_until(notice) as f64)));
            put("notice_date", with(Found::known(Value::Day(notice))));
        }
        None => {
            put("days_to_notice", Found::unknown("contract.notice_days"));
            put("notice_date", Found::unknown("contract.notice_days"));
        }
    }
    put(
        "auto_renew",
        match renewal.auto_renew {
            Some(flag) => with(Found::known(Value::Flag(flag))),
            None => Found::unknown("contract.auto_renew"),
        },
    );
}

fn bills(snapshot: &Snapshot, today: Day, put: &mut Put<'_>) {
    let lately = today.plus(-BILLS_DAYS);
    let late: Vec<_> = snapshot
        .invoices
        .iter()
        .filter_map(|i| {
            let due = i.fact.due?;
            let settled = i.fact.paid.unwrap_or(today);
            (settled >= lately && due <= today).then(|| (i, due.days_until(settled).max(0)))
        })
        .collect();
    let measured: Vec<_> = snapshot
        .usage
        .iter()
        .filter(|u| u.fact.start >= lately)
        .filter_map(|u| u.fact.values.get("invoice_days_late").map(|days| (u, days.to_f64())))
        .collect();
    let worst_bill = late.iter().map(|(_, days)| *days as f64).reduce(f64::max);
    let worst_measured = measured.iter().map(|(_, days)| *days).reduce(f64::max);
    let worst = match (worst_bill, worst_measured) {
        (Some(a), Some(b)) => Some(a.max(b)),
        (a, b) => a.or(b),
    };
    put(
        "days_late",
        match worst {
            Some(days) => Found::number(days)
                .from(late.iter().map(|l| l.0))
                .from(measured.iter().map(|m| m.0)),
            None => Found::unknown("invoice.due"),
        },
    );
}

fn deals(snapshot: &Snapshot, today: Day, put: &mut Put<'_>) {
    let open: Vec<_> = snapshot
        .opportunities
        .iter()
        .filter(|o| o.fact.state == Some(OpportunityState::Open))
        .collect();
    put(
        "opportunities_open",
        Found::number(open.len() as f64).from(open.iter().copied()),
    );
    let oldest = open.iter().filter_map(|o| o.fact.opened).min();
    put(
        "opportunity_age_days",
        match oldest {
            Some(day) => Found::number(day.days_until(today) as f64).from(open.iter().copied()),
            None => Found::unknown("opportunity.opened of an open deal"),
        },
    );
    for (name, kind) in [
        ("renewal_opportunity", OpportunityKind::Renewal),
        ("expansion_opportunity", OpportunityKind::Expansion),
    ] {
        let of_kind: Vec<_> = open.iter().filter(|o| o.fact.kind == Some(kind)).copied().collect();
        put(name, Found::known(Value::Flag(!of_kind.is_empty())).from(of_kind));
    }
}
