//! What records of service say: touches, onboarding, cases, surveys, moods, bills.

use super::weeks::mean;
use super::{Known, Reading};
use crate::signal::{RecordRef, SurveyKind};
use crate::snapshot::Held;
use crate::time::Day;

/// Days since the last touch between us and the customer.
pub(super) fn silence<'a>(known: &Known<'a>, day: Day, opened: Option<Day>) -> Result<Reading<'a>, String> {
    let last = known
        .snapshot
        .interactions
        .iter()
        .filter(|i| i.at.day() <= day)
        .max_by(|a, b| (a.at, &a.record).cmp(&(b.at, &b.record)))
        .ok_or("interaction")?;
    Ok(Reading {
        gone: opened.is_some_and(|opened| last.at.day() > opened),
        records: vec![&last.record],
        ..Reading::of(last.at.day().days_until(day) as f64)
    })
}

/// Days after the start in which onboarding is judged.
const ONBOARDING_DAYS: std::ops::RangeInclusive<i64> = 30..=120;

/// Share of the seats that are active, 30 to 120 days after the start.
pub(super) fn onboarding<'a>(known: &Known<'a>, day: Day, _opened: Option<Day>) -> Result<Reading<'a>, String> {
    let snapshot = known.snapshot;
    let starts = snapshot.contracts.iter().filter_map(|c| c.fact.start);
    let starts = starts.chain(snapshot.subscriptions.iter().filter_map(|s| s.fact.start));
    let start = snapshot.account_fact().and_then(|a| a.since).or_else(|| starts.min());
    let age = start.ok_or("account.since")?.days_until(day);
    if !ONBOARDING_DAYS.contains(&age) {
        return Ok(Reading {
            gone: age > *ONBOARDING_DAYS.end(),
            ..Reading::of(1.0)
        });
    }
    let shares = known.weeks.values(day, 0, 4, |w| {
        let (active, seats) = w.active.zip(w.seats)?;
        (seats > 0.0).then(|| active / seats)
    });
    let share = mean(&shares, 3).ok_or("usage.active_users and usage.seats of 3 of the last 4 weeks")?;
    Ok(Reading {
        records: known.weeks.records(day, 4),
        ..Reading::of(share)
    })
}

/// Open cases that are of severity 1 or escalated.
pub(super) fn escalation<'a>(known: &Known<'a>, day: Day, _opened: Option<Day>) -> Result<Reading<'a>, String> {
    if known.snapshot.tickets.is_empty() {
        return Err("ticket".to_owned());
    }
    let opened = |t: &Held<crate::signal::Ticket>| t.fact.opened.unwrap_or(t.at).day();
    let mut open: Vec<(Day, &'a RecordRef)> = known
        .snapshot
        .tickets
        .iter()
        .filter(|t| t.fact.severity == Some(1) || t.fact.escalated == Some(true))
        .filter(|t| opened(t) <= day && t.fact.closed.is_none_or(|closed| closed.day() > day))
        .map(|t| (opened(t), &t.record))
        .collect();
    open.sort_by(|a, b| b.cmp(a));
    Ok(Reading {
        cause: open.last().map(|t| t.0),
        gone: open.is_empty(),
        records: open.iter().map(|t| t.1).collect(),
        ..Reading::of(open.len() as f64)
    })
}

/// Days for which the newest answer speaks, and within which the one before must lie.
const ANSWER_DAYS: (i64, i64) = (182, 548);

/// Fall from one answer to the next of the same kind, as points of 10: the larger of promoter score and satisfaction.
pub(super) fn survey<'a>(known: &Known<'a>, day: Day, _opened: Option<Day>) -> Result<Reading<'a>, String> {
    let fall = |kind: SurveyKind, scale: f64| {
        let mut answers: Vec<_> = known
            .snapshot
            .surveys
            .iter()
            .filter(|s| s.fact.kind == Some(kind) && s.at.day() <= day)
            .filter_map(|s| Some((s.at, &s.record, s.fact.score?.to_f64() * 10.0 / scale)))
            .collect();
        answers.sort_by(|a, b| (b.0, b.1).cmp(&(a.0, a.1)));
        let (last, before) = (answers.first()?, answers.get(1)?);
        let speaks = last.0.day().days_until(day) <= ANSWER_DAYS.0 && before.0.day().days_until(day) <= ANSWER_DAYS.1;
        speaks.then(|| Reading {
            baseline: Some(before.2),
            cause: Some(last.0.day()),
            subject: Some(kind.to_string()),
            records: vec![last.1, before.1],
            ..Reading::of(before.2 - last.2)
        })
    };
    [fall(SurveyKind::Nps, 10.0), fall(SurveyKind::Csat, 5.0)]
        .into_iter()
        .flatten()
        .max_by(|a, b| a.value.total_cmp(&b.value))
        .ok_or_else(|| "survey: two answers of one kind, the newer in the last 26 weeks".to_owned())
}

/// Days that "now" means for moods, and those up to which "before" reaches.
const MOOD_DAYS: (i64, i64) = (56, 364);
/// Moods that must be known now and before.
const MOODS: (usize, usize) = (2, 3);

/// Mean mood in the cases and touches of the last 8 weeks, less that of the 44 weeks before them.
pub(super) fn sentiment<'a>(known: &Known<'a>, day: Day, _opened: Option<Day>) -> Result<Reading<'a>, String> {
    let cases = known.snapshot.tickets.iter();
    let cases = cases.filter_map(|t| Some((t.at.day(), t.fact.sentiment?.to_f64(), &t.record)));
    let touches = known.snapshot.interactions.iter();
    let touches = touches.filter_map(|i| Some((i.at.day(), i.fact.sentiment?.to_f64(), &i.record)));
    let moods: Vec<(Day, f64, &'a RecordRef)> = cases.chain(touches).collect();
    let within = |days: std::ops::Range<i64>, enough: usize| {
        let of = moods.iter().filter(|(at, ..)| days.contains(&at.days_until(day)));
        mean(&of.map(|(_, mood, _)| *mood).collect::<Vec<f64>>(), enough)
    };
    let now = within(0..MOOD_DAYS.0, MOODS.0).ok_or("ticket.sentiment or interaction.sentiment, two of 8 weeks")?;
    let before = within(MOOD_DAYS.0..MOOD_DAYS.1, MOODS.1)
        .ok_or("ticket.sentiment or interaction.sentiment, three of the 44 weeks before")?;
    let mut recent: Vec<(Day, &'a RecordRef)> = moods
        .iter()
        .filter(|(at, ..)| (0..MOOD_DAYS.0).contains(&at.days_until(day)))
        .map(|(at, _, record)| (*at, *record))
        .collect();
    recent.sort_by(|a, b| b.cmp(a));
    Ok(Reading {
        baseline: Some(before),
        records: recent.into_iter().map(|(_, record)| record).collect(),
        ..Reading::of(now - before)
    })
}

/// Days by which the oldest bill that is due and not paid is late.
pub(super) fn payment<'a>(known: &Known<'a>, day: Day, _opened: Option<Day>) -> Result<Reading<'a>, String> {
    let bills: Vec<_> = known
        .snapshot
        .invoices
        .iter()
        .filter_map(|i| Some((i.fact.due?, &i.record, i.fact.paid)))
        .collect();
    if bills.is_empty() {
        return Err("invoice.due".to_owned());
    }
    let mut late: Vec<(Day, &'a RecordRef)> = bills
        .into_iter()
        .filter(|(due, _, paid)| *due < day && paid.is_none_or(|paid| paid > day))
        .map(|(due, record, _)| (due, record))
        .collect();
    late.sort();
    let days = late.first().map_or(0, |(due, _)| due.days_until(day));
    Ok(Reading {
        gone: late.is_empty(),
        records: late.iter().rev().map(|l| l.1).collect(),
        ..Reading::of(days as f64)
    })
}
