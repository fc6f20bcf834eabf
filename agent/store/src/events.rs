//! Events of the product that customers use: what is kept of them, and the days that must be counted again.
//!
//! INVARIANT (an event counts once): a message has one row, whoever delivers it how often; the first delivery stays.
//! INVARIANT (no event is forgotten): the row of an event and the mark on its day are one transaction, and a day's mark
//! is taken away in the transaction that stores the fact made of all rows of the day.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use perennial_core::ids::AccountId;
use perennial_core::time::{Day, Timestamp};

use crate::Store;
use crate::convert::{day, limit, time, unsigned};
use crate::db::{Col, Column, Durability, Statement, Tx, args};
use crate::error::Result;
use crate::rows::NewSignal;
use crate::signals::{self, SignalRow};
use crate::url::Secret;

pub(crate) static MAKE_SALT: Statement = Statement::differ(
    "making the key of the hashes",
    "insert into event_salt (tenant_id, salt) values ($1, lower(hex(randomblob(32)))) on conflict (tenant_id) do nothing",
    "insert into event_salt (tenant_id, salt) values ($1, replace(concat(gen_random_uuid(), gen_random_uuid()), '-', ''))
     on conflict (tenant_id) do nothing",
);
pub(crate) static SALT: Statement = Statement::same(
    "reading the key of the hashes",
    "select salt from event_salt where tenant_id = $1",
);
/// The latest event that names a person's account decides, in whatever order they come.
pub(crate) static JOIN: Statement = Statement::rows(
    "storing the accounts of people",
    "insert into event_person (tenant_id, account_id, person, at_us) select $1, e.account_id, e.person, e.at_us
     from {rows} where true
     on conflict (tenant_id, person) do update set account_id = excluded.account_id, at_us = excluded.at_us
         where excluded.at_us > event_person.at_us",
    2,
    &[Col::Text("account_id"), Col::Text("person"), Col::Int("at_us")],
);
pub(crate) static PERSONS: Statement = Statement::rows(
    "looking up the accounts of people",
    "select p.person, p.account_id from {rows} cross join event_person p where p.tenant_id = $1 and p.person = e.person",
    2,
    &[Col::Text("person")],
);
pub(crate) static INSERT: Statement = Statement::rows(
    "storing events",
    "insert into event_key (tenant_id, account_id, message, day, person, feature, active, received_us)
     select $1, e.account_id, e.message, e.day, e.person, e.feature, e.active, e.received_us from {rows} where true
     on conflict (tenant_id, message) do nothing returning message",
    2,
    &[
        Col::Text("account_id"),
        Col::Text("message"),
        Col::Int("day"),
        Col::Text("person"),
        Col::Text("feature"),
        Col::Int("active"),
        Col::Int("received_us"),
    ],
);
pub(crate) static TOUCH: Statement = Statement::rows(
    "marking days with events",
    "insert into event_day (tenant_id, account_id, day, version, folded_version, revision_us)
     select $1, e.account_id, e.day, 1, 0, 0 from {rows} where true
     on conflict (tenant_id, account_id, day) do update set version = event_day.version + 1",
    2,
    &[Col::Text("account_id"), Col::Int("day")],
);
pub(crate) static OPEN: Statement = Statement::differ(
    "looking for days to count",
    "select account_id, day, version, revision_us from event_day
     where tenant_id = $1 and version > folded_version and day < $2 order by day, account_id limit $3",
    "select account_id, day, version, revision_us from event_day
     where tenant_id = $1 and version > folded_version and day < $2 order by day, account_id limit $3 for update",
);
pub(crate) static COUNT: Statement = Statement::rows(
    "counting events",
    "select e.account_id, e.day, count(*), count(distinct case when k.active = 1 and k.person <> '' then k.person end),
         count(case when k.feature <> '' then 1 end), count(distinct case when k.feature <> '' then k.feature end),
         max(k.received_us)
     from {rows} cross join event_key k where k.tenant_id = $1 and k.day = e.day and k.account_id = e.account_id
     group by e.account_id, e.day",
    2,
    &[Col::Text("account_id"), Col::Int("day")],
);
pub(crate) static FOLDED: Statement = Statement::rows(
    "marking days as counted",
    "update event_day set folded_version = e.version, revision_us = e.revision_us
     from {rows} where event_day.tenant_id = $1 and event_day.account_id = e.account_id and event_day.day = e.day",
    2,
    &[
        Col::Text("account_id"),
        Col::Int("day"),
        Col::Int("version"),
        Col::Int("revision_us"),
    ],
);
pub(crate) static FORGET_KEYS: Statement = Statement::same(
    "forgetting old events",
    "delete from event_key where tenant_id = $1 and day < $2",
);
pub(crate) static FORGET_DAYS: Statement = Statement::same(
    "forgetting old days of events",
    "delete from event_day where tenant_id = $1 and day < $2",
);

#[cfg(test)]
pub(crate) static ALL: &[&Statement] = &[
    &MAKE_SALT,
    &SALT,
    &JOIN,
    &PERSONS,
    &INSERT,
    &TOUCH,
    &OPEN,
    &COUNT,
    &FOLDED,
    &FORGET_KEYS,
    &FORGET_DAYS,
];

/// An event on its way in. Whoever makes one has replaced ids of messages and people by keyed hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// Hash of the message's id: what makes two deliveries one event.
    pub message: String,
    /// Account that the event names; where it names none, the person's.
    pub account: Option<AccountId>,
    /// Hash of the person's id; empty when the event names nobody.
    pub person: String,
    /// When it happened.
    pub at: Timestamp,
    /// What it says of use; nothing when it only says which account a person belongs to.
    pub usage: Option<EventUse>,
}

/// What an event says of use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventUse {
    /// Feature that was used.
    pub feature: Option<String>,
    /// Whether it makes the person an active user of the day.
    pub active: bool,
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventStored {
    /// It is new and is stored, or it says which account a person belongs to.
    New,
    /// It was there.
    Duplicate,
    /// Neither it nor an earlier event of its person names an account: it was not stored.
    NoAccount,
}

/// What all events of an account on one day come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventDay {
    /// Account.
    pub account: AccountId,
    /// Day in UTC.
    pub day: Day,
    /// Events.
    pub events: u64,
    /// Different people with at least one event that makes them active.
    pub active_users: u64,
    /// Events that are use of a feature.
    pub feature_events: u64,
    /// Different features used.
    pub features_used: u64,
    /// When the last of these events came in.
    pub received_at: Timestamp,
    /// Version of the fact to be made: later than that of every earlier fact of the day.
    pub revision_at: Timestamp,
}

/// A day that must be counted.
struct Open {
    version: i64,
    revision_us: i64,
}

impl Store {
    /// The tenant's key for hashes of people and messages: 64 random digits, made when first asked for.
    ///
    /// # Errors
    /// What writing brings.
    pub async fn event_salt(&self) -> Result<Secret> {
        let mut tx = self.db.write(Durability::Full).await?;
        tx.execute(&MAKE_SALT, args![self.tenant.0], None).await?;
        let rows = tx.fetch(&SALT, args![self.tenant.0], None).await?;
        let salt = rows.first().map_or_else(|| Ok(String::new()), |row| row.text(0))?;
        tx.commit().await?;
        Ok(Secret::new(salt))
    }

    /// Stores events, all in one transaction that survives a power cut; says for each, in their order, what became of it.
    /// Storing one again changes nothing.
    ///
    /// # Errors
    /// What writing brings; nothing of the batch is stored then.
    pub async fn insert_events(&self, events: &[NewEvent], now: Timestamp) -> Result<Vec<EventStored>> {
        let mut tx = self.db.write(Durability::Full).await?;
        let tenant = self.tenant.0;
        join(&mut tx, tenant, events).await?;
        let accounts = accounts(&mut tx, tenant, events).await?;
        // In the order of the key, so that two writers wait for one another and never in a circle.
        let mut rows: BTreeMap<&str, (&NewEvent, &EventUse, &AccountId)> = BTreeMap::new();
        for event in events {
            if let (Some(usage), Some(account)) = (&event.usage, account_of(event, &accounts)) {
                rows.entry(&event.message).or_insert((event, usage, account));
            }
        }
        let columns = [
            Column::text(rows.values().map(|(.., account)| account.as_str())),
            Column::text(rows.keys().copied()),
            Column::int(rows.values().map(|(event, ..)| i64::from(event.at.day().number()))),
            Column::text(rows.values().map(|(event, ..)| event.person.as_str())),
            Column::text(
                rows.values()
                    .map(|(_, usage, _)| usage.feature.as_deref().unwrap_or("")),
            ),
            Column::int(rows.values().map(|(_, usage, _)| i64::from(usage.active))),
            Column::int(rows.values().map(|_| now.us())),
        ];
        let mut new = HashSet::new();
        if !rows.is_empty() {
            for row in tx.fetch(&INSERT, args![tenant], Some(&columns)).await? {
                new.insert(row.text(0)?);
            }
        }
        let days: BTreeSet<(&str, i64)> = rows
            .iter()
            .filter(|(message, _)| new.contains(**message))
            .map(|(_, (event, _, account))| (account.as_str(), i64::from(event.at.day().number())))
            .collect();
        if !days.is_empty() {
            let columns = [
                Column::text(days.iter().map(|(account, _)| *account)),
                Column::int(days.iter().map(|(_, day)| *day)),
            ];
            tx.execute(&TOUCH, args![tenant], Some(&columns)).await?;
        }
        tx.commit().await?;
        Ok(events
            .iter()
            .map(|event| match (&event.usage, account_of(event, &accounts)) {
                (_, None) => EventStored::NoAccount,
                (None, Some(_)) => EventStored::New,
                // The first of a message counts; what follows in the same batch is a repetition.
                (Some(_), Some(_)) if new.remove(&event.message) => EventStored::New,
                (Some(_), Some(_)) => EventStored::Duplicate,
            })
            .collect())
    }

    /// Makes the facts of up to `days` account days before `before` whose events changed since the last time, and stores
    /// them; says how many there were. Call it until there are none.
    ///
    /// # Errors
    /// What writing brings; nothing is stored then.
    pub async fn fold_event_days(
        &self,
        before: Day,
        days: u32,
        now: Timestamp,
        fact: impl Fn(EventDay) -> NewSignal,
    ) -> Result<u64> {
        let mut tx = self.db.write(Durability::Full).await?;
        let tenant = self.tenant.0;
        let found = tx
            .fetch(&OPEN, args![tenant, i64::from(before.number()), limit(days)], None)
            .await?;
        let mut open: BTreeMap<(String, i64), Open> = BTreeMap::new();
        for row in &found {
            // A clock that was set back must not make the newer fact the older one.
            let revision_us = now.us().max(row.int(3)?.saturating_add(1));
            let version = row.int(2)?;
            open.insert((row.text(0)?, row.int(1)?), Open { version, revision_us });
        }
        if open.is_empty() {
            return Ok(0);
        }
        let keys = [
            Column::text(open.keys().map(|(account, _)| account.as_str())),
            Column::int(open.keys().map(|(_, day)| *day)),
        ];
        let mut signals = Vec::with_capacity(open.len());
        for row in tx.fetch(&COUNT, args![tenant], Some(&keys)).await? {
            let key = (row.text(0)?, row.int(1)?);
            let Some(Open { revision_us, .. }) = open.get(&key) else {
                continue;
            };
            signals.push(SignalRow::of(fact(EventDay {
                account: AccountId::new(key.0),
                day: day(key.1),
                events: unsigned(row.int(2)?),
                active_users: unsigned(row.int(3)?),
                feature_events: unsigned(row.int(4)?),
                features_used: unsigned(row.int(5)?),
                received_at: time(row.int(6)?),
                revision_at: time(*revision_us),
            })));
        }
        signals::insert(&mut tx, tenant, &mut signals).await?;
        let [accounts, numbers] = keys;
        let done = [
            accounts,
            numbers,
            Column::int(open.values().map(|open| open.version)),
            Column::int(open.values().map(|open| open.revision_us)),
        ];
        tx.execute(&FOLDED, args![tenant], Some(&done)).await?;
        tx.commit().await?;
        Ok(open.len() as u64)
    }

    /// Forgets the events of days before `before`: their facts stay as they are. Count all days first.
    ///
    /// # Errors
    /// What writing brings; nothing is forgotten then.
    pub async fn forget_events(&self, before: Day) -> Result<u64> {
        let mut tx = self.db.write(Durability::Normal).await?;
        let before = i64::from(before.number());
        let gone = tx.execute(&FORGET_KEYS, args![self.tenant.0, before], None).await?;
        tx.execute(&FORGET_DAYS, args![self.tenant.0, before], None).await?;
        tx.commit().await?;
        Ok(gone)
    }
}

/// The account of an event: its own, else its person's.
fn account_of<'a>(event: &'a NewEvent, persons: &'a HashMap<String, AccountId>) -> Option<&'a AccountId> {
    event.account.as_ref().or_else(|| persons.get(&event.person))
}

/// Notes which account people belong to, where events say so.
async fn join(tx: &mut Tx<'_>, tenant: i64, events: &[NewEvent]) -> Result<()> {
    let mut latest: BTreeMap<&str, (i64, &str)> = BTreeMap::new();
    for event in events
        .iter()
        .filter(|event| event.usage.is_none() && !event.person.is_empty())
    {
        if let Some(account) = &event.account {
            let this = (event.at.us(), account.as_str());
            let held = latest.entry(&event.person).or_insert(this);
            *held = this.max(*held);
        }
    }
    if latest.is_empty() {
        return Ok(());
    }
    let columns = [
        Column::text(latest.values().map(|(_, account)| *account)),
        Column::text(latest.keys().copied()),
        Column::int(latest.values().map(|(at, _)| *at)),
    ];
    tx.execute(&JOIN, args![tenant], Some(&columns)).await?;
    Ok(())
}

/// The accounts of people whose events name none.
async fn accounts(tx: &mut Tx<'_>, tenant: i64, events: &[NewEvent]) -> Result<HashMap<String, AccountId>> {
    let persons: BTreeSet<&str> = events
        .iter()
        .filter(|event| event.account.is_none() && !event.person.is_empty())
        .map(|event| event.person.as_str())
        .collect();
    if persons.is_empty() {
        return Ok(HashMap::new());
    }
    let columns = [Column::text(persons.into_iter())];
    let rows = tx.fetch(&PERSONS, args![tenant], Some(&columns)).await?;
    rows.iter()
        .map(|row| Ok((row.text(0)?, AccountId::new(row.text(1)?))))
        .collect()
}
