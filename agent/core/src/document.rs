//! What a document about an account is made of: figures from features and records, sentences about what stands out.
//!
//! Promises: every figure carries the evidence id of a feature, or of a record for what a single record says; amounts
//! are in the currency of the agreement, never converted in front of a customer.

use std::collections::BTreeMap;

use crate::candidate::{Known, addressee, next_renewal};
use crate::draft::{
    ContactLine, ContractLine, DateLine, DocumentKind, Draft, DraftInput, Figure, FigureSlot, FigureValue, Period,
    Piece, RiskLine, Statement, StepLine, check, clean, proposed_arr, render, term_total, uplift,
};
use crate::feature::{Feature, State, Value};
use crate::money::Money;
use crate::number::Micro;
use crate::policy::Policies;
use crate::replay::{Hash, canonical};
use crate::signal::{RecordRef, Tier};
use crate::time::{Day, Timestamp};

/// Days a business review looks back.
const PERIOD_DAYS: i64 = 91;
/// Days an offer stands at most; it never outlives the notice date.
const OFFER_DAYS: i64 = 30;

/// Drafts a document.
///
/// # Errors
/// Says in a sentence why it cannot be drafted: a required figure is missing, or the text fails its own check.
pub(crate) fn draft(kind: DocumentKind, known: &Known<'_>, policies: &Policies) -> Result<Draft, String> {
    let input = input(kind, known);
    let draft = render(&policies.templates, kind, &input).map_err(|error| error.to_string())?;
    let findings = check(&draft, &input);
    match findings.first() {
        None => Ok(draft),
        Some(first) => Err(format!("the {} fails its check: {}", kind.title(), first.message)),
    }
}

fn input(kind: DocumentKind, known: &Known<'_>) -> DraftInput {
    let snapshot = &known.inputs.snapshot;
    let today = snapshot.as_of.day();
    let contracts = contracts(known);
    let figures = figures(kind, known, &contracts);
    let notice = known.features.day("notice_date");
    let offer_end = today.plus(OFFER_DAYS);
    DraftInput {
        account_name: snapshot.name().trim().to_owned(),
        tier: known.features.text("tier").and_then(Tier::from_word),
        period: Period {
            from: today.plus(-PERIOD_DAYS),
            to: today,
        },
        prepared_on: today,
        valid_until: (kind == DocumentKind::RenewalProposal).then(|| {
            notice
                .filter(|day| *day > today)
                .map_or(offer_end, |day| day.min(offer_end))
        }),
        our_name: known.inputs.our_name.clone(),
        owner_name: known.inputs.owner.as_ref().and_then(|o| o.name.clone()),
        contact: addressee(snapshot).and_then(|c| {
            c.fact.name.clone().map(|name| ContactLine {
                name,
                title: c.fact.title.clone(),
            })
        }),
        highlights: highlights(&figures),
        risks: risks(known, &figures),
        // The proposal's own template says what happens when; the review has only this list.
        dates: if kind == DocumentKind::Qbr {
            dates(&figures)
        } else {
            Vec::new()
        },
        next_steps: next_steps(kind, known),
        questions: Vec::new(),
        goals: Vec::new(),
        products: products(known),
        contracts,
        figures,
    }
}

/// What a feature says, as a figure.
fn from_feature(known: &Known<'_>, name: &str, value: impl FnOnce(&Value) -> Option<FigureValue>) -> FigureSlot {
    let Some(feature) = known.features.0.get(name) else {
        return FigureSlot::unknown(name.replace('_', " "));
    };
    match &feature.state {
        State::Unknown(field) => FigureSlot::unknown(field.clone()),
        State::Known(found) => match value(found) {
            Some(value) => FigureSlot::Known(Figure {
                evidence: feature.evidence.clone(),
                value,
                as_of: feature.as_of.unwrap_or(known.inputs.snapshot.as_of),
                source: source(feature),
            }),
            None => FigureSlot::unknown(name.replace('_', " ")),
        },
    }
}

fn source(feature: &Feature) -> String {
    match (feature.records.first(), feature.records_total) {
        (Some(record), 1) => clean(&record.to_string()),
        (Some(record), total) => clean(&format!("{record}, {total} records in all")),
        (None, _) => "computed by the scoring policy".to_owned(),
    }
}

/// What one record says, as a figure with an evidence id of its own.
fn from_record(
    known: &Known<'_>,
    record: &RecordRef,
    name: &str,
    value: Option<FigureValue>,
    missing: &str,
) -> FigureSlot {
    let Some(value) = value else {
        return FigureSlot::unknown(missing);
    };
    let account = known.inputs.snapshot.account_id.as_str();
    let hash = Hash::of_parts(&[account, &record.to_string(), name, &canonical(&value)]).to_string();
    FigureSlot::Known(Figure {
        evidence: format!("ev_{}", &hash[..10]),
        value,
        as_of: known.inputs.snapshot.as_of,
        source: clean(&record.to_string()),
    })
}

fn count(value: &Value) -> Option<FigureValue> {
    match value {
        Value::Number(n) => Some(FigureValue::Count(libm::round(n.to_f64()) as i64)),
        Value::Flag(_) | Value::Text(_) | Value::Day(_) | Value::Money(_) => None,
    }
}

/// Features in percent are hundredths; a figure is a ratio.
fn percent(value: &Value) -> Option<FigureValue> {
    match value {
        Value::Number(n) => Some(FigureValue::Percent(Micro(libm::round(n.0 as f64 / 1e5) as i64 * 1000))),
        Value::Flag(_) | Value::Text(_) | Value::Day(_) | Value::Money(_) => None,
    }
}

fn points(value: &Value) -> Option<FigureValue> {
    match value {
        Value::Number(n) => Some(FigureValue::Score(Micro(
            libm::round(n.0 as f64 / 1e5) as i64 * 100_000,
        ))),
        Value::Flag(_) | Value::Text(_) | Value::Day(_) | Value::Money(_) => None,
    }
}

fn whole_points(value: &Value) -> Option<FigureValue> {
    match value {
        Value::Number(n) => Some(FigureValue::Score(Micro::whole(libm::round(n.to_f64()) as i64))),
        Value::Flag(_) | Value::Text(_) | Value::Day(_) | Value::Money(_) => None,
    }
}

fn date(value: &Value) -> Option<FigureValue> {
    match value {
        Value::Day(day) => Some(FigureValue::Date(*day)),
        Value::Flag(_) | Value::Text(_) | Value::Number(_) | Value::Money(_) => None,
    }
}

fn days(value: &Value) -> Option<FigureValue> {
    match value {
        Value::Number(n) => Some(FigureValue::Days(libm::round(n.to_f64()) as i64)),
        Value::Flag(_) | Value::Text(_) | Value::Day(_) | Value::Money(_) => None,
    }
}

fn figures(kind: DocumentKind, known: &Known<'_>, contracts: &[ContractLine]) -> BTreeMap<String, FigureSlot> {
    let mut out = BTreeMap::new();
    let mut feature = |name: &str, fact: &str, read: fn(&Value) -> Option<FigureValue>| {
        out.insert(name.to_owned(), from_feature(known, fact, read));
    };
    feature("active_users_now", "active_users", count);
    feature("active_users_before", "active_users_before", count);
    feature("active_users_change", "active_users_change", percent);
    feature("seats", "seats", count);
    feature("seat_utilisation", "seat_utilisation", percent);
    feature("features_used_now", "features_used", count);
    feature("features_used_before", "features_used_before", count);
    feature("tickets_open", "tickets_open", count);
    feature("tickets_escalated", "escalations_open", count);
    feature("nps", "nps", whole_points);
    feature("csat", "csat", points);
    feature("health", "health", whole_points);
    feature("renewal_date", "renewal_date", date);
    feature("term_end", "renewal_date", date);
    feature("notice_date", "notice_date", date);
    feature("days_to_renewal", "days_to_renewal", days);
    support(known, &mut out);
    touches(known, &mut out);
    if kind == DocumentKind::RenewalProposal {
        offer(known, contracts, &mut out);
    } else {
        out.insert("arr".to_owned(), total(known, contracts, |c| &c.arr, "arr"));
    }
    out
}

fn in_period(at: Timestamp, today: Day) -> bool {
    let age = at.day().days_until(today);
    (0..=PERIOD_DAYS).contains(&age)
}

/// A figure counted over records of one kind.
fn counted(known: &Known<'_>, name: &str, records: &[&RecordRef], known_at_all: bool, missing: &str) -> FigureSlot {
    if !known_at_all {
        return FigureSlot::unknown(missing);
    }
    let value = FigureValue::Count(i64::try_from(records.len()).unwrap_or(i64::MAX));
    derived(known, name, value, records)
}

fn derived(known: &Known<'_>, name: &str, value: FigureValue, records: &[&RecordRef]) -> FigureSlot {
    let account = known.inputs.snapshot.account_id.as_str();
    let as_of = known.inputs.snapshot.as_of;
    let hash = Hash::of_parts(&[account, name, &canonical(&value), &as_of.to_string()]).to_string();
    let source = match (records.first(), records.len()) {
        (None, _) => "no record in the period".to_owned(),
        (Some(record), 1) => clean(&record.to_string()),
        (Some(record), total) => clean(&format!("{record}, {total} records in all")),
    };
    FigureSlot::Known(Figure {
        evidence: format!("ev_{}", &hash[..10]),
        value,
        as_of,
        source,
    })
}

fn support(known: &Known<'_>, out: &mut BTreeMap<String, FigureSlot>) {
    let snapshot = &known.inputs.snapshot;
    let today = snapshot.as_of.day();
    let any = !snapshot.tickets.is_empty();
    let opened: Vec<&RecordRef> = snapshot
        .tickets
        .iter()
        .filter(|t| in_period(t.at, today))
        .map(|t| &t.record)
        .collect();
    let closed: Vec<&RecordRef> = snapshot
        .tickets
        .iter()
        .filter(|t| t.fact.closed.is_some_and(|at| in_period(at, today)))
        .map(|t| &t.record)
        .collect();
    let missing = "support cases";
    out.insert(
        "tickets_opened".to_owned(),
        counted(known, "tickets_opened", &opened, any, missing),
    );
    out.insert(
        "tickets_closed".to_owned(),
        counted(known, "tickets_closed", &closed, any, missing),
    );
    let answered: Vec<_> = snapshot
        .tickets
        .iter()
        .filter(|t| in_period(t.at, today))
        .filter_map(|t| t.fact.first_response_minutes.map(|m| (&t.record, m)))
        .collect();
    let slot = if answered.is_empty() {
        FigureSlot::unknown("first answers to support cases in this period")
    } else {
        let mean = answered.iter().map(|(_, m)| m.to_f64()).sum::<f64>() / answered.len() as f64;
        let value = FigureValue::Minutes(Micro::whole(libm::round(mean) as i64));
        let records: Vec<&RecordRef> = answered.iter().map(|(r, _)| *r).collect();
        derived(known, "first_response_minutes", value, &records)
    };
    out.insert("first_response_minutes".to_owned(), slot);
}

fn touches(known: &Known<'_>, out: &mut BTreeMap<String, FigureSlot>) {
    use crate::signal::InteractionKind;
    let snapshot = &known.inputs.snapshot;
    let today = snapshot.as_of.day();
    let list = &snapshot.interactions;
    let recent: Vec<&RecordRef> = list
        .iter()
        .filter(|i| in_period(i.at, today))
        .map(|i| &i.record)
        .collect();
    out.insert(
        "interactions".to_owned(),
        counted(
            known,
            "interactions",
            &recent,
            !list.is_empty(),
            "records of meetings and calls",
        ),
    );
    let review = list
        .iter()
        .filter(|i| matches!(i.fact.kind, Some(InteractionKind::Qbr | InteractionKind::Ebr)))
        .max_by(|a, b| (a.at, &a.record).cmp(&(b.at, &b.record)));
    let slot = match review {
        Some(held) => from_record(
            known,
            &held.record,
            "last_qbr",
            Some(FigureValue::Date(held.at.day())),
            "",
        ),
        None => FigureSlot::unknown("an earlier business review"),
    };
    out.insert("last_qbr".to_owned(), slot);
    let since = snapshot
        .account
        .as_ref()
        .and_then(|held| held.fact.since.map(|day| (held, day)));
    let slot = match since {
        Some((held, day)) => from_record(known, &held.record, "customer_since", Some(FigureValue::Date(day)), ""),
        None => FigureSlot::unknown("the first day as a customer"),
    };
    out.insert("customer_since".to_owned(), slot);
}

/// Live agreements. Products of a contract stand in its place when they carry the prices.
fn contracts(known: &Known<'_>) -> Vec<ContractLine> {
    let snapshot = &known.inputs.snapshot;
    let mut lines = Vec::new();
    for renewal in known.renewals {
        let contract = snapshot.contracts.iter().find(|c| c.record == renewal.record);
        let escalator = contract.and_then(|c| c.fact.escalator).filter(|e| e.0 > 0);
        let start = contract.and_then(|c| c.fact.start);
        let children: Vec<_> = snapshot
            .subscriptions
            .iter()
            .filter(|s| match contract {
                Some(c) => s.fact.contract.as_deref() == Some(c.record.external_id.as_str()),
                None => s.record == renewal.record,
            })
            .filter(|s| s.fact.ended.is_none() && s.fact.trial != Some(true))
            .collect();
        let common =
            |record: &RecordRef, product: String, seats: Option<i64>, arr: Option<Money>, start: Option<Day>| {
                let line = |name: &str, value: Option<FigureValue>, missing: &str| {
                    from_record(known, record, name, value, missing)
                };
                ContractLine {
                    product,
                    seats: line("seats", seats.map(FigureValue::Count), "seats of the agreement"),
                    arr: line("arr", arr.map(FigureValue::Money), "price of the agreement"),
                    arr_proposed: line(
                        "arr_proposed",
                        arr.and_then(|a| proposed_arr(a, escalator)).map(FigureValue::Money),
                        "price of the agreement",
                    ),
                    start: line("start", start.map(FigureValue::Date), "start of the agreement"),
                    end: match &renewal.end {
                        Ok(end) => line("end", Some(FigureValue::Date(*end)), ""),
                        Err(field) => FigureSlot::unknown(field.clone()),
                    },
                    notice_date: line(
                        "notice_date",
                        renewal.notice.map(FigureValue::Date),
                        "notice period of the agreement",
                    ),
                    escalator: line("escalator", escalator.map(FigureValue::Percent), "a contractual rise"),
                    term: line(
                        "term",
                        renewal.term_months.map(FigureValue::Months),
                        "term of the agreement",
                    ),
                    auto_renew: renewal.auto_renew,
                }
            };
        if children.is_empty() {
            lines.push(common(&renewal.record, renewal.label.clone(), None, renewal.arr, start));
        }
        for held in children {
            let product = held.fact.product.clone().unwrap_or_else(|| renewal.label.clone());
            let begun = held.fact.start.or(start);
            lines.push(common(&held.record, product, held.fact.seats, held.fact.arr, begun));
        }
    }
    lines
}

fn money(slot: &FigureSlot) -> Option<Money> {
    match slot.known()?.value {
        FigureValue::Money(money) => Some(money),
        FigureValue::Count(_)
        | FigureValue::Percent(_)
        | FigureValue::Score(_)
        | FigureValue::Date(_)
        | FigureValue::Days(_)
        | FigureValue::Minutes(_)
        | FigureValue::Months(_)
        | FigureValue::Text(_) => None,
    }
}

/// The sum of the agreements' amounts, when all are known and of one currency.
fn sum(contracts: &[ContractLine], pick: fn(&ContractLine) -> &FigureSlot) -> Option<Money> {
    let mut amounts = contracts.iter().map(|c| money(pick(c)));
    let first = amounts.next()??;
    amounts.try_fold(first, |sum, next| {
        let next = next.filter(|n| n.currency == sum.currency)?;
        Some(Money::new(sum.minor.checked_add(next.minor)?, sum.currency))
    })
}

fn total(
    known: &Known<'_>,
    contracts: &[ContractLine],
    pick: fn(&ContractLine) -> &FigureSlot,
    name: &str,
) -> FigureSlot {
    let records: Vec<&RecordRef> = known.renewals.iter().map(|r| &r.record).collect();
    match sum(contracts, pick) {
        Some(money) => derived(known, name, FigureValue::Money(money), &records),
        None => FigureSlot::unknown("one price in one currency for every agreement"),
    }
}

fn offer(known: &Known<'_>, contracts: &[ContractLine], out: &mut BTreeMap<String, FigureSlot>) {
    let records: Vec<&RecordRef> = known.renewals.iter().map(|r| &r.record).collect();
    let slot = |name: &str, value: Option<FigureValue>, missing: &str| match value {
        Some(value) => derived(known, name, value, &records),
        None => FigureSlot::unknown(missing),
    };
    let arr = sum(contracts, |c| &c.arr);
    let proposed = sum(contracts, |c| &c.arr_proposed);
    let renewal = next_renewal(known.renewals);
    let months = renewal.and_then(|r| r.term_months);
    let start = renewal.and_then(|r| r.end.as_ref().ok().map(|end| end.plus(1)));
    let end = start
        .zip(months)
        .and_then(|(start, m)| i32::try_from(m).ok().map(|m| start.plus_months(m).plus(-1)));
    let change = arr
        .zip(proposed)
        .and_then(|(a, b)| b.minor.checked_sub(a.minor).map(|minor| Money::new(minor, a.currency)));
    let price = "one price in one currency for every agreement";
    let term = "term of the agreement";
    let mut put = |name: &str, value: Option<FigureValue>, missing: &str| {
        out.insert(name.to_owned(), slot(name, value, missing));
    };
    put("arr", arr.map(FigureValue::Money), price);
    put("arr_proposed", proposed.map(FigureValue::Money), price);
    put("arr_change", change.map(FigureValue::Money), price);
    put(
        "uplift",
        arr.zip(proposed)
            .and_then(|(a, b)| uplift(a, b))
            .map(FigureValue::Percent),
        price,
    );
    put("term_months", months.map(FigureValue::Months), term);
    put("term_start", start.map(FigureValue::Date), "end of the present term");
    put("term_end", end.map(FigureValue::Date), term);
    let whole = proposed.zip(months).and_then(|(p, m)| term_total(p, m));
    put("total_proposed", whole.map(FigureValue::Money), term);
}

fn products(known: &Known<'_>) -> Vec<String> {
    let today = known.inputs.snapshot.as_of.day();
    let mut names: Vec<String> = known
        .inputs
        .snapshot
        .subscriptions
        .iter()
        .filter(|s| s.fact.ended.is_none_or(|d| d > today))
        .filter_map(|s| s.fact.product.clone())
        .collect();
    names.sort();
    names.dedup();
    names
}

fn words(text: &str) -> Piece {
    Piece::Words(text.to_owned())
}

fn figure(name: &str) -> Piece {
    Piece::Figure(name.to_owned())
}

fn sign(figures: &BTreeMap<String, FigureSlot>, name: &str) -> Option<std::cmp::Ordering> {
    figures.get(name)?.known()?.value.sign()
}

fn highlights(figures: &BTreeMap<String, FigureSlot>) -> Vec<Statement> {
    let mut list = Vec::new();
    if sign(figures, "active_users_change") == Some(std::cmp::Ordering::Greater) {
        let pieces = vec![
            words("Weekly active users changed by "),
            figure("active_users_change"),
            words(" to "),
            figure("active_users_now"),
            words("."),
        ];
        list.push(Statement { pieces });
    }
    if sign(figures, "nps") == Some(std::cmp::Ordering::Greater) {
        list.push(Statement {
            pieces: vec![words("The newest promoter score is "), figure("nps"), words(".")],
        });
    }
    list
}

fn risks(known: &Known<'_>, figures: &BTreeMap<String, FigureSlot>) -> Vec<RiskLine> {
    let mut list = Vec::new();
    if sign(figures, "active_users_change") == Some(std::cmp::Ordering::Less) {
        list.push(RiskLine {
            text: Statement {
                pieces: vec![
                    words("Weekly active users changed by "),
                    figure("active_users_change"),
                    words("."),
                ],
            },
            proposal: Statement::words("We would like to find out with you which teams use it less, and why."),
        });
    }
    if known.features.flag("sponsor_gap") == Some(true) {
        list.push(RiskLine {
            text: Statement::words("The person who sponsored this on your side has left."),
            proposal: Statement::words("We would like to meet the person who takes this over."),
        });
    }
    if sign(figures, "tickets_escalated") == Some(std::cmp::Ordering::Greater) {
        list.push(RiskLine {
            text: Statement {
                pieces: vec![words("Open escalations: "), figure("tickets_escalated"), words(".")],
            },
            proposal: Statement::words("We bring a plan with a date for each."),
        });
    }
    list
}

fn dates(figures: &BTreeMap<String, FigureSlot>) -> Vec<DateLine> {
    [
        ("notice_date", "Last day for notice"),
        ("renewal_date", "End of the present term"),
    ]
    .into_iter()
    .filter_map(|(name, text)| {
        let on = figures.get(name)?.clone();
        on.known()?;
        Some(DateLine {
            text: Statement::words(text),
            on,
        })
    })
    .collect()
}

fn next_steps(kind: DocumentKind, known: &Known<'_>) -> Vec<StepLine> {
    let who = known.inputs.owner.as_ref().and_then(|o| o.name.clone());
    let text = match kind {
        DocumentKind::Qbr => "Agree on a date for the review",
        DocumentKind::RenewalProposal => "Go through this proposal together",
    };
    vec![StepLine {
        text: Statement::words(text),
        who,
        due: FigureSlot::unknown("a date agreed with you"),
    }]
}
