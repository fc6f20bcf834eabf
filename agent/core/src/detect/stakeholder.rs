//! Changes among the people at the customer, with and without a role.
//!
//! Promises: records of one person (the same mail address or the same name) are one person, and a person gives at most
//! one change, the gravest. A record that was merely replaced is no departure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::weeks::{WEEK_DAYS, Weeks, median};
use super::{Known, Reading};
use crate::signal::{Contact, ContactRole, RecordRef, word_enum};
use crate::snapshot::{Held, Snapshot};
use crate::time::{Day, Timestamp};

word_enum! {
    /// What changed, the gravest first.
    ChangeKind {
        /// Left, as the record says.
        Left = "left",
        /// Mail to them bounces.
        MailBounced = "mail_bounced",
        /// No longer has the role they had.
        RoleEnded = "role_ended",
        /// The champion has not logged in for three weeks after weekly use.
        ChampionAway = "champion_away",
        /// Has another job title.
        TitleChanged = "title_changed",
        /// Was in touch regularly, and is no longer.
        WentSilent = "went_silent",
        /// A senior person who was not there before.
        NewExecutive = "new_executive",
    }
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change<'a> {
    /// What.
    pub kind: ChangeKind,
    /// Who, for people.
    pub person: String,
    /// Since when.
    pub day: Day,
    /// The record that says so.
    pub record: &'a RecordRef,
}

/// Days for which a change is news.
const NEWS_DAYS: i64 = 60;
/// A senior person is new when somebody else was known so many days before.
const NEWCOMER_DAYS: i64 = 30;
/// Touches that make somebody regular, and the median days between them at the most.
const REGULAR: (usize, i64) = (4, 14);
/// Silence counts from three usual gaps on, and never before so many days: people go on leave.
const LEAVE_DAYS: i64 = 28;
/// Weeks back to which the newest absence of the champion is looked for.
const AWAY_WEEKS: i64 = 32;
/// Weeks without the champion that count, the weeks looked at before, and in how many of them they were there.
const CHAMPION: (i64, i64, usize) = (3, 8, 6);

/// All records of one person, and the touches with them.
pub(super) struct Person<'a> {
    records: Vec<&'a Held<Contact>>,
    /// In the order of time.
    touches: Vec<(Timestamp, &'a RecordRef)>,
}

fn words(text: Option<&str>) -> Option<String> {
    let words: Vec<String> = text?.split_whitespace().map(str::to_lowercase).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// People by their records: the same mail address or the same name is the same person.
pub(super) fn people(snapshot: &Snapshot) -> Vec<Person<'_>> {
    // Number of the person that an address or a name, or a record's id, stands for.
    let mut known: BTreeMap<(bool, String), usize> = BTreeMap::new();
    let mut people: Vec<Person<'_>> = Vec::new();
    for held in &snapshot.contacts {
        let email = words(held.fact.email.as_deref()).map(|email| (true, email));
        let name = words(held.fact.name.as_deref()).map(|name| (false, name));
        let of = |key: &Option<(bool, String)>| key.as_ref().and_then(|key| known.get(key)).copied();
        let (by_email, by_name) = (of(&email), of(&name));
        let number = by_email.or(by_name).unwrap_or(people.len());
        if number == people.len() {
            people.push(Person {
                records: Vec::new(),
                touches: Vec::new(),
            });
        }
        if let Some(other) = by_name.filter(|other| *other != number) {
            // A record that joins two: what stood for the one stands for the other.
            let moved = people
                .get_mut(other)
                .map(|p| std::mem::take(&mut p.records))
                .unwrap_or_default();
            people[number].records.extend(moved);
            known.values_mut().filter(|n| **n == other).for_each(|n| *n = number);
        }
        people[number].records.push(held);
        known.extend(email.into_iter().chain(name).map(|key| (key, number)));
    }
    people.retain(|p| !p.records.is_empty());
    let ids: BTreeMap<&str, usize> = people
        .iter()
        .enumerate()
        .flat_map(|(number, p)| p.records.iter().map(move |r| (r.record.external_id.as_str(), number)))
        .collect();
    for touch in &snapshot.interactions {
        let person = touch.fact.contact.as_deref().and_then(|contact| ids.get(contact));
        if let Some(person) = person.and_then(|number| people.get_mut(*number)) {
            person.touches.push((touch.at, &touch.record));
        }
    }
    people.iter_mut().for_each(|p| p.touches.sort());
    people
}

fn gone(contact: &Contact) -> Option<Day> {
    contact.left.or(contact.bounced)
}

impl<'a> Person<'a> {
    fn name(&self) -> String {
        let named = |pick: fn(&Contact) -> Option<&String>| self.records.iter().find_map(|r| pick(&r.fact)).cloned();
        named(|c| c.name.as_ref())
            .or_else(|| named(|c| c.email.as_ref()))
            .or_else(|| self.records.first().map(|r| r.record.external_id.as_str().to_owned()))
            .unwrap_or_default()
    }

    fn is_live(&self) -> bool {
        self.records.iter().any(|r| gone(&r.fact).is_none())
    }

    fn has_role(&self, role: ContactRole) -> bool {
        self.records.iter().any(|r| r.fact.has_role(role))
    }

    fn is_senior(&self) -> bool {
        self.has_role(ContactRole::ExecutiveSponsor)
            || self.has_role(ContactRole::EconomicBuyer)
            || self
                .records
                .iter()
                .any(|r| r.fact.title.as_deref().is_some_and(is_senior))
    }

    /// First day on which they are known; `None` where no record has a date.
    fn known_since(&self) -> Option<Day> {
        let of = |r: &&Held<Contact>| {
            let seen = (r.at > Timestamp::EPOCH).then(|| r.at.day());
            r.fact.since.or(seen)
        };
        self.records.iter().filter_map(of).min()
    }

    fn change(&self, kind: ChangeKind, day: Day, record: &'a RecordRef) -> Change<'a> {
        Change {
            kind,
            person: self.name(),
            day,
            record,
        }
    }

    /// They left, or mail to them bounces, and no other record of theirs is live.
    fn departure(&self) -> Option<Change<'a>> {
        if self.is_live() {
            return None;
        }
        let (day, held) = self
            .records
            .iter()
            .filter_map(|r| gone(&r.fact).map(|day| (day, *r)))
            .max_by_key(|(day, r)| (*day, &r.record))?;
        let kind = if held.fact.left.is_some() {
            ChangeKind::Left
        } else {
            ChangeKind::MailBounced
        };
        Some(self.change(kind, day, &held.record))
    }

    /// Title or role differ between the versions of a record, or between two dated records of the person.
    fn new_words(&self, snapshot: &'a Snapshot) -> Vec<Change<'a>> {
        let mut found = Vec::new();
        let live: Vec<&'a Held<Contact>> = self
            .records
            .iter()
            .filter(|r| gone(&r.fact).is_none())
            .copied()
            .collect();
        for held in &live {
            let versions: Vec<_> = snapshot
                .contact_history
                .iter()
                .filter(|v| v.record == held.record)
                .collect();
            for pair in versions.windows(2) {
                let (before, after) = (&pair[0].fact, &pair[1].fact);
                let titles = words(before.title.as_deref()).zip(words(after.title.as_deref()));
                if titles.is_some_and(|(before, after)| before != after) {
                    found.push(self.change(ChangeKind::TitleChanged, pair[1].at.day(), &held.record));
                }
                // Who is something else in another deal too is still what they were.
                let is_over = |role: ContactRole| after.role != Some(role) && !after.has_role(role);
                if before.role.is_some_and(is_over) {
                    found.push(self.change(ChangeKind::RoleEnded, pair[1].at.day(), &held.record));
                }
            }
        }
        let mut dated: Vec<(Day, String, &'a Held<Contact>)> = live
            .iter()
            .filter_map(|r| Some((r.fact.since?, words(r.fact.title.as_deref())?, *r)))
            .collect();
        dated.sort_by(|a, b| (a.0, &a.2.record).cmp(&(b.0, &b.2.record)));
        for pair in dated.windows(2) {
            if pair[0].1 != pair[1].1 && pair[0].0 < pair[1].0 {
                found.push(self.change(ChangeKind::TitleChanged, pair[1].0, &pair[1].2.record));
            }
        }
        found
    }

    /// Was in touch every two weeks or more often, and has been silent for three times as long as usual.
    fn silence(&self, snapshot: &'a Snapshot) -> Option<Change<'a>> {
        let touches: Vec<(Day, &'a RecordRef)> = self.touches.iter().map(|(at, record)| (at.day(), *record)).collect();
        let (last, record) = *touches.last()?;
        let recent = &touches[touches.len().saturating_sub(REGULAR.0 * 2)..];
        let gaps: Vec<f64> = recent.windows(2).map(|w| w[0].0.days_until(w[1].0) as f64).collect();
        let usual = median(gaps).filter(|_| touches.len() >= REGULAR.0)? as i64;
        let silent_from = last.plus((usual * 3).max(LEAVE_DAYS));
        // Where nobody at all was in touch later, the feed may have stopped, or it is silence of us.
        let feed_lives = snapshot.interactions.iter().any(|i| i.at.day() > last);
        (usual <= REGULAR.1 && feed_lives && silent_from <= snapshot.as_of.day())
            .then(|| self.change(ChangeKind::WentSilent, silent_from, record))
    }
}

/// Whether a job title is that of somebody who decides about budgets.
fn is_senior(title: &str) -> bool {
    const SENIOR: [&str; 15] = [
        "chief",
        "ceo",
        "cfo",
        "cto",
        "coo",
        "cio",
        "cmo",
        "cro",
        "ciso",
        "cpo",
        "vp",
        "svp",
        "evp",
        "president",
        "founder",
    ];
    let words: Vec<String> = title
        .split(|c: char| !c.is_alphanumeric())
        .map(str::to_lowercase)
        .filter(|w| !w.is_empty())
        .collect();
    let pair = |a: &str, b: &str| words.windows(2).any(|w| w[0] == a && w[1] == b);
    words.iter().any(|w| SENIOR.contains(&w.as_str())) || pair("managing", "director") || pair("head", "of")
}

/// The first day on which the champion had been away for three weeks after weekly use, in the newest such absence.
fn champion_away(snapshot: &Snapshot, weeks: &Weeks<'_>) -> Option<Day> {
    let end = snapshot.as_of.day().week_start();
    let seen = |monday: Day| weeks.at(monday).and_then(|w| w.champion);
    (0..=AWAY_WEEKS).map(|k| end.plus(-WEEK_DAYS * k)).find(|after| {
        let week = |k: i64| seen(after.plus(-WEEK_DAYS * (k + 1)));
        let away = (0..CHAMPION.0).all(|k| week(k).is_some_and(|seen| seen <= 0.0));
        let just_now = week(CHAMPION.0).is_some_and(|seen| seen > 0.0);
        let usual = (CHAMPION.0..CHAMPION.0 + CHAMPION.1)
            .filter(|k| week(*k).is_some_and(|seen| seen > 0.0))
            .count();
        away && just_now && usual >= CHAMPION.2
    })
}

/// Changes among the people of an account, one a person, the newest first. Those of before the last 60 days, and those
/// that lie ahead, are left out.
#[must_use]
pub fn changes(snapshot: &Snapshot) -> Vec<Change<'_>> {
    let all = of(snapshot, &people(snapshot), &Weeks::of(snapshot));
    news(&all, snapshot.as_of.day()).into_iter().cloned().collect()
}

/// All changes by the number of the person, those that are no news any more too.
pub(super) fn of<'a>(snapshot: &'a Snapshot, people: &[Person<'a>], weeks: &Weeks<'a>) -> Vec<(usize, Change<'a>)> {
    let today = snapshot.as_of.day();
    let away = champion_away(snapshot, weeks);
    let first_known = people.iter().filter_map(Person::known_since).min();
    let mut found: Vec<(usize, Change<'a>)> = Vec::new();
    for (number, person) in people.iter().enumerate() {
        found.extend(person.departure().map(|c| (number, c)));
        found.extend(person.new_words(snapshot).into_iter().map(|c| (number, c)));
        if person.is_live() {
            found.extend(person.silence(snapshot).map(|c| (number, c)));
            let champion = person.has_role(ContactRole::Champion);
            let held = person.records.first().map(|r| &r.record);
            if let (Some(day), true, Some(record)) = (away, champion, held) {
                found.push((number, person.change(ChangeKind::ChampionAway, day, record)));
            }
            let newcomer = person
                .known_since()
                .zip(first_known)
                .filter(|(day, first)| first.days_until(*day) > NEWCOMER_DAYS);
            if let (Some((day, _)), true, Some(record)) = (newcomer, person.is_senior(), held) {
                found.push((number, person.change(ChangeKind::NewExecutive, day, record)));
            }
        }
    }
    // A champion whom no contact stands for is a person too.
    let known_champion = people.iter().any(|p| p.has_role(ContactRole::Champion));
    if let (Some(day), false) = (away, known_champion)
        && let Some(record) = weeks.at(day.plus(-WEEK_DAYS)).and_then(|w| w.records.first().copied())
    {
        let change = Change {
            kind: ChangeKind::ChampionAway,
            person: "the champion".to_owned(),
            day,
            record,
        };
        found.push((people.len(), change));
    }
    found.retain(|(_, change)| change.day <= today);
    found
}

/// What is news on a day: of the last 60 days, the gravest and then the newest change of each person, the newest first.
fn news<'c, 'a>(all: &'c [(usize, Change<'a>)], day: Day) -> Vec<&'c Change<'a>> {
    let mut by_person: BTreeMap<usize, &'c Change<'a>> = BTreeMap::new();
    for (number, change) in all {
        if !(0..=NEWS_DAYS).contains(&change.day.days_until(day)) {
            continue;
        }
        let graver = |now: &&Change<'a>| (change.kind, now.day) < (now.kind, change.day);
        if by_person.get(number).is_none_or(graver) {
            by_person.insert(*number, change);
        }
    }
    let mut changes: Vec<&Change<'a>> = by_person.into_values().collect();
    changes.sort_by(|a, b| (b.day, a.kind, a.record).cmp(&(a.day, b.kind, b.record)));
    changes
}

/// How many changes there were in the 60 days before a day.
pub(super) fn read<'a>(known: &Known<'a>, day: Day, _opened: Option<Day>) -> Result<Reading<'a>, String> {
    if known.snapshot.contacts.is_empty() && known.changes.is_empty() {
        return Err("contact".to_owned());
    }
    let news = news(&known.changes, day);
    let text: Vec<String> = news.iter().map(|c| format!("{}: {}", c.person, c.kind)).collect();
    Ok(Reading {
        cause: news.first().map(|c| c.day),
        gone: news.is_empty(),
        subject: (!text.is_empty()).then(|| text.join("; ")),
        records: news.iter().map(|c| c.record).collect(),
        ..Reading::of(news.len() as f64)
    })
}

/// Share of the touches of 26 weeks that one person has; 1 where one live person is known.
pub(super) fn read_single<'a>(known: &Known<'a>, day: Day, _opened: Option<Day>) -> Result<Reading<'a>, String> {
    const ENGAGEMENT_DAYS: i64 = 182;
    const ENOUGH: usize = 5;
    let live: Vec<&Person<'a>> = known
        .people
        .iter()
        .filter(|p| p.records.iter().any(|r| gone(&r.fact).is_none_or(|gone| gone > day)))
        .filter(|p| p.known_since().is_none_or(|since| since <= day))
        .collect();
    if let [one] = live.as_slice() {
        return Ok(Reading {
            subject: Some(one.name()),
            records: one.records.iter().map(|r| &r.record).collect(),
            ..Reading::of(1.0)
        });
    }
    if live.is_empty() {
        return Err("contact".to_owned());
    }
    let mut touches: Vec<(usize, &Person<'a>, Vec<&'a RecordRef>)> = live
        .into_iter()
        .map(|person| {
            let touches: Vec<&'a RecordRef> = person
                .touches
                .iter()
                .rev()
                .filter(|(at, _)| (0..=ENGAGEMENT_DAYS).contains(&at.day().days_until(day)))
                .map(|(_, record)| *record)
                .collect();
            (touches.len(), person, touches)
        })
        .collect();
    let total: usize = touches.iter().map(|t| t.0).sum();
    if total < ENOUGH {
        return Err("interaction.contact of 5 touches in 26 weeks".to_owned());
    }
    // The stable sort keeps the order of records where two have as many.
    touches.sort_by_key(|t| std::cmp::Reverse(t.0));
    let Some((most, person, records)) = touches.into_iter().next() else {
        return Err("contact".to_owned());
    };
    Ok(Reading {
        subject: Some(person.name()),
        records,
        ..Reading::of(most as f64 / total as f64)
    })
}
