//! Reservations: the places that permitted actions take of limits which hold across playbooks, runs and workers.
//!
//! INVARIANT (no limit is exceeded): places are counted and taken in the transaction that puts an action's effects into the
//! outbox, while the ledger's head is locked, which is the lock of the tenant. A place is held as long as an effect of
//! its action is open, and for its window after the last of them was settled. So, of all actions with an effect in one
//! window, the one that was permitted last has counted all the others.

use std::collections::{BTreeMap, BTreeSet};

use perennial_core::ids::{AccountId, ActionId, TenantId};
use perennial_core::time::Timestamp;

use crate::convert::unsigned;
use crate::db::{Col, Column, Statement, Tx, args};
use crate::error::Result;
use crate::rows::{EffectOutcome, Hold, NoRoom, SettledAction};

/// The end of a place whose action is not settled.
const OPEN: i64 = i64::MAX;

const ACTION: &[Col] = &[Col::Text("account_id"), Col::Text("action_id")];

pub(crate) static COUNT: Statement = Statement::rows(
    "counting reservations",
    "select e.counter, e.subject, (select count(*) from reservation r where r.tenant_id = $1 and r.counter = e.counter
         and r.subject = e.subject and r.until_us > $2)
     from {rows}",
    3,
    &[Col::Text("counter"), Col::Text("subject")],
);
pub(crate) static OWN: Statement = Statement::rows(
    "reading the reservations of actions",
    "select r.action_id, r.counter, r.subject from {rows} cross join reservation r
     where r.tenant_id = $1 and r.account_id = e.account_id and r.action_id = e.action_id and r.until_us > $2",
    3,
    ACTION,
);
pub(crate) static KNOWN: Statement = Statement::rows(
    "looking for actions that are stored",
    "select a.action_id from {rows} cross join action a
     where a.tenant_id = $1 and a.account_id = e.account_id and a.action_id = e.action_id",
    2,
    ACTION,
);
pub(crate) static TAKE: Statement = Statement::rows(
    "reserving",
    "insert into reservation (tenant_id, account_id, action_id, counter, subject, window_us, until_us)
     select $1, e.account_id, e.action_id, e.counter, e.subject, e.window_us, $2 from {rows} where true
     on conflict (tenant_id, account_id, action_id, counter, subject) do update
         set window_us = excluded.window_us, until_us = excluded.until_us",
    3,
    &[
        Col::Text("account_id"),
        Col::Text("action_id"),
        Col::Text("counter"),
        Col::Text("subject"),
        Col::Int("window_us"),
    ],
);
/// What is settled counts on for its window.
pub(crate) static END: Statement = Statement::rows(
    "ending reservations",
    "update reservation set until_us = e.at_us + window_us from {rows}
     where reservation.tenant_id = $1 and reservation.account_id = e.account_id and reservation.action_id = e.action_id
         and reservation.until_us = $2",
    3,
    &[Col::Text("account_id"), Col::Text("action_id"), Col::Int("at_us")],
);
/// What was taken back before anything was sent counts no more.
pub(crate) static RELEASE: Statement = Statement::rows(
    "releasing reservations",
    "delete from reservation where tenant_id = $1 and (account_id, action_id) in (
         select e.account_id, e.action_id from {rows})",
    2,
    ACTION,
);

#[cfg(test)]
pub(crate) static ALL: &[&Statement] = &[&COUNT, &OWN, &KNOWN, &TAKE, &END, &RELEASE];

/// An action that is about to be permitted.
pub(crate) struct Wanted<'a> {
    pub(crate) account: &'a AccountId,
    pub(crate) action: &'a ActionId,
    pub(crate) holds: &'a [Hold],
}

fn of<'a>(wanted: impl Iterator<Item = (&'a AccountId, &'a ActionId)> + Clone) -> [Column<'a>; 2] {
    [
        Column::text(wanted.clone().map(|(account, _)| account.as_str())),
        Column::text(wanted.map(|(_, action)| action.as_str())),
    ]
}

/// Which of some actions are stored already.
pub(crate) async fn known(
    tx: &mut Tx<'_>,
    tenant: TenantId,
    actions: &[(&AccountId, &ActionId)],
) -> Result<BTreeSet<String>> {
    if actions.is_empty() {
        return Ok(BTreeSet::new());
    }
    let rows = of(actions.iter().copied());
    let rows = tx.fetch(&KNOWN, args![tenant.0], Some(&rows)).await?;
    rows.iter().map(|row| row.text(0)).collect()
}

/// Which of these actions find no room, in order: those before count for those behind. Call it while the ledger's head is
/// locked. Nothing is taken yet.
pub(crate) async fn check(
    tx: &mut Tx<'_>,
    tenant: TenantId,
    wanted: &[Wanted<'_>],
    now: Timestamp,
) -> Result<Vec<NoRoom>> {
    let asked: BTreeSet<(&str, &str)> = wanted
        .iter()
        .flat_map(|w| w.holds)
        .filter(|hold| hold.room.is_some())
        .map(|hold| (hold.counter.as_str(), hold.subject.as_str()))
        .collect();
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let rows = [
        Column::text(asked.iter().map(|(counter, _)| *counter)),
        Column::text(asked.iter().map(|(_, subject)| *subject)),
    ];
    let mut taken: BTreeMap<(String, String), u64> = BTreeMap::new();
    for row in &tx.fetch(&COUNT, args![tenant.0, now.us()], Some(&rows)).await? {
        taken.insert((row.text(0)?, row.text(1)?), unsigned(row.int(2)?));
    }
    let rows = of(wanted.iter().map(|w| (w.account, w.action)));
    let mut own: BTreeSet<(String, String, String)> = BTreeSet::new();
    for row in &tx.fetch(&OWN, args![tenant.0, now.us()], Some(&rows)).await? {
        own.insert((row.text(0)?, row.text(1)?, row.text(2)?));
    }
    let mut refused = Vec::new();
    for w in wanted {
        let key = |hold: &Hold| (hold.counter.clone(), hold.subject.clone());
        let mine = |hold: &Hold| own.contains(&(w.action.to_string(), hold.counter.clone(), hold.subject.clone()));
        let others = |hold: &Hold| {
            let all = taken.get(&key(hold)).copied().unwrap_or_default();
            all.saturating_sub(u64::from(mine(hold)))
        };
        let full = w
            .holds
            .iter()
            .position(|hold| hold.room.is_some_and(|room| others(hold) >= u64::from(room)));
        match full {
            Some(hold) => refused.push(NoRoom {
                action: w.action.clone(),
                hold,
            }),
            None => {
                for hold in w.holds.iter().filter(|h| h.window_us.is_some() && !mine(h)) {
                    *taken.entry(key(hold)).or_default() += 1;
                }
            }
        }
    }
    Ok(refused)
}

/// Takes the places of actions that are permitted.
pub(crate) async fn take(tx: &mut Tx<'_>, tenant: TenantId, wanted: &[Wanted<'_>]) -> Result<()> {
    // An action that names a place twice takes it once.
    let mut places: BTreeMap<(&str, &str, &str, &str), i64> = BTreeMap::new();
    for w in wanted {
        for hold in w.holds {
            if let Some(window) = hold.window_us {
                let key = (
                    w.account.as_str(),
                    w.action.as_str(),
                    hold.counter.as_str(),
                    hold.subject.as_str(),
                );
                let held = places.entry(key).or_insert(window);
                *held = window.max(*held);
            }
        }
    }
    if places.is_empty() {
        return Ok(());
    }
    let rows = [
        Column::text(places.keys().map(|key| key.0)),
        Column::text(places.keys().map(|key| key.1)),
        Column::text(places.keys().map(|key| key.2)),
        Column::text(places.keys().map(|key| key.3)),
        Column::int(places.values().copied()),
    ];
    tx.execute(&TAKE, args![tenant.0, OPEN], Some(&rows)).await?;
    Ok(())
}

/// Gives back the places of an action that was withdrawn.
pub(crate) async fn release(tx: &mut Tx<'_>, tenant: TenantId, account: &AccountId, action: &ActionId) -> Result<()> {
    let rows = of(std::iter::once((account, action)));
    tx.execute(&RELEASE, args![tenant.0], Some(&rows)).await?;
    Ok(())
}

/// Lets the places of settled actions end: at once where nothing was sent, else after their window.
pub(crate) async fn settle(
    tx: &mut Tx<'_>,
    tenant: TenantId,
    actions: &[SettledAction],
    outcomes: &[&EffectOutcome],
) -> Result<()> {
    let (withdrawn, ended): (Vec<&SettledAction>, Vec<&SettledAction>) = actions.iter().partition(|a| a.withdrawn);
    if !withdrawn.is_empty() {
        let rows = of(withdrawn.iter().map(|a| (&a.account, &a.action)));
        tx.execute(&RELEASE, args![tenant.0], Some(&rows)).await?;
    }
    if ended.is_empty() {
        return Ok(());
    }
    let at = |account: &AccountId| {
        let of_account = outcomes.iter().filter(|o| o.account == *account);
        of_account.map(|o| o.at.us()).max().unwrap_or_default()
    };
    let [account, action] = of(ended.iter().map(|a| (&a.account, &a.action)));
    let rows = [account, action, Column::int(ended.iter().map(|a| at(&a.account)))];
    tx.execute(&END, args![tenant.0, OPEN], Some(&rows)).await?;
    Ok(())
}
