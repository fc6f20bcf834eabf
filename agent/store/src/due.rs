//! Which accounts are due: those that something new is known about since they were last decided about.
//!
//! INVARIANT (no signal is missed): the transaction that stores a signal, gives it its account, or changes an action of
//! an earlier day also marks the account. A mark goes only by [`Store::settle_due`], and only when none came after it.

use std::collections::{BTreeMap, BTreeSet};

use perennial_core::ids::AccountId;
use perennial_core::time::Timestamp;

use crate::Store;
use crate::convert::{limit, time};
use crate::db::{Col, Column, Durability, Statement, Tx, args};
use crate::error::Result;

pub(crate) static MARK: Statement = Statement::rows(
    "marking accounts as due",
    "insert into account_due (tenant_id, account_id, due_us, marks)
     select $1, e.account_id, e.due_us, 1 from {rows} where true
     on conflict (tenant_id, account_id) do update set marks = account_due.marks + 1,
         due_us = case when excluded.due_us < account_due.due_us then excluded.due_us else account_due.due_us end",
    2,
    &[Col::Text("account_id"), Col::Int("due_us")],
);
/// Marks the accounts that [`crate::signals::LINK`] is about to give signals to.
pub(crate) static MARK_LINKED: Statement = Statement::same(
    "marking accounts whose signals are linked",
    "insert into account_due (tenant_id, account_id, due_us, marks)
     select $1, l.account_id, min(l.observed_us), 1 from (
         select s.observed_us, (select t.account_id from signal t
             where t.tenant_id = $1 and t.signal_key = s.via order by t.revision_us desc limit 1) as account_id
         from signal s where s.tenant_id = $1 and s.account_id = '?') as l
     where l.account_id not in ('?', '') group by l.account_id order by l.account_id
     on conflict (tenant_id, account_id) do update set marks = account_due.marks + 1,
         due_us = case when excluded.due_us < account_due.due_us then excluded.due_us else account_due.due_us end",
);
/// Marks the accounts that [`crate::signals::UNLINK`] is about to take signals from.
pub(crate) static MARK_UNLINKED: Statement = Statement::same(
    "marking accounts whose signals are unlinked",
    "with recursive moved(signal_key) as (
         select signal_key from signal_moved where tenant_id = $1
         union
         select s.signal_key from moved m join signal s on s.tenant_id = $1 and s.via = m.signal_key)
     insert into account_due (tenant_id, account_id, due_us, marks)
     select $1, s.account_id, min(s.observed_us), 1 from signal s
     where s.tenant_id = $1 and s.account_id not in ('?', '') and s.via in (select signal_key from moved)
     group by s.account_id order by s.account_id
     on conflict (tenant_id, account_id) do update set marks = account_due.marks + 1,
         due_us = case when excluded.due_us < account_due.due_us then excluded.due_us else account_due.due_us end",
);
pub(crate) static DUE: Statement = Statement::same(
    "looking for accounts that are due",
    "select account_id, due_us, marks from account_due where tenant_id = $1 and due_us <= $2
     order by due_us, account_id limit $3",
);
pub(crate) static SETTLE: Statement = Statement::rows(
    "settling accounts that were due",
    "delete from account_due where tenant_id = $1 and (account_id, marks) in (select e.account_id, e.marks from {rows})",
    2,
    &[Col::Text("account_id"), Col::Int("marks")],
);
pub(crate) static POSTPONE: Statement = Statement::rows(
    "postponing accounts that were due",
    "update account_due set due_us = e.due_us from {rows}
     where account_due.tenant_id = $1 and account_due.account_id = e.account_id and account_due.marks = e.marks",
    2,
    &[Col::Text("account_id"), Col::Int("marks"), Col::Int("due_us")],
);
pub(crate) static SETTLE_ALL: Statement = Statement::same(
    "settling all accounts that were due",
    "delete from account_due where tenant_id = $1 and due_us <= $2",
);

#[cfg(test)]
pub(crate) static ALL: &[&Statement] = &[
    &MARK,
    &MARK_LINKED,
    &MARK_UNLINKED,
    &DUE,
    &SETTLE,
    &POSTPONE,
    &SETTLE_ALL,
];

/// What is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueAccount {
    /// About whom; `None` when what is new concerns the whole portfolio.
    pub account: Option<AccountId>,
    /// The earliest moment at which any of it counts as known.
    pub due_at: Timestamp,
    /// Which marks this stands for.
    marks: i64,
}

/// Marks accounts; each is due at the earliest of its moments.
pub(crate) async fn mark<'a>(
    tx: &mut Tx<'_>,
    tenant: i64,
    accounts: impl Iterator<Item = (&'a str, i64)>,
) -> Result<()> {
    // In the order of their ids, so that two that mark the same accounts never wait for each other in a circle.
    let mut due: BTreeMap<&str, i64> = BTreeMap::new();
    for (account, at) in accounts {
        let held = due.entry(account).or_insert(at);
        *held = at.min(*held);
    }
    if due.is_empty() {
        return Ok(());
    }
    let rows = [Column::text(due.keys().copied()), Column::int(due.values().copied())];
    tx.execute(&MARK, args![tenant], Some(&rows)).await?;
    Ok(())
}

impl Store {
    /// What is due at a moment, the longest due first, at most `rows`. It stays due until [`Store::settle_due`].
    ///
    /// # Errors
    /// What reading brings.
    pub async fn due_accounts(&self, now: Timestamp, rows: u32) -> Result<Vec<DueAccount>> {
        let args = args![self.tenant.0, now.us(), limit(rows)];
        let rows = self.db.fetch(&DUE, args, None).await?;
        rows.iter()
            .map(|row| {
                let account = row.text(0)?;
                Ok(DueAccount {
                    account: (!account.is_empty()).then(|| AccountId::new(account)),
                    due_at: time(row.int(1)?),
                    marks: row.int(2)?,
                })
            })
            .collect()
    }

    /// Accounts that were due have been decided about: they are due again at their next moment, if there is one. What
    /// was marked after it was read stays due.
    ///
    /// # Errors
    /// What writing brings.
    pub async fn settle_due(&self, done: &[(DueAccount, Option<Timestamp>)]) -> Result<()> {
        let id = |due: &DueAccount| due.account.as_ref().map_or("", AccountId::as_str).to_owned();
        let settled: BTreeSet<(String, i64)> = done
            .iter()
            .filter(|(_, next)| next.is_none())
            .map(|(due, _)| (id(due), due.marks))
            .collect();
        let postponed: Vec<(String, i64, i64)> = done
            .iter()
            .filter_map(|(due, next)| next.map(|next| (id(due), due.marks, next.us())))
            .collect();
        let mut tx = self.db.write(Durability::Normal).await?;
        if !settled.is_empty() {
            let rows = [
                Column::text(settled.iter().map(|(account, _)| account.as_str())),
                Column::int(settled.iter().map(|(_, marks)| *marks)),
            ];
            tx.execute(&SETTLE, args![self.tenant.0], Some(&rows)).await?;
        }
        if !postponed.is_empty() {
            let rows = [
                Column::text(postponed.iter().map(|(account, ..)| account.as_str())),
                Column::int(postponed.iter().map(|(_, marks, _)| *marks)),
                Column::int(postponed.iter().map(|(.., at)| *at)),
            ];
            tx.execute(&POSTPONE, args![self.tenant.0], Some(&rows)).await?;
        }
        tx.commit().await
    }

    /// Accounts are due at these moments, because something that is stored becomes known then.
    ///
    /// # Errors
    /// What writing brings.
    pub async fn mark_due(&self, accounts: &[(AccountId, Timestamp)]) -> Result<()> {
        if accounts.is_empty() {
            return Ok(());
        }
        let mut tx = self.db.write(Durability::Normal).await?;
        let marks = accounts.iter().map(|(account, at)| (account.as_str(), at.us()));
        mark(&mut tx, self.tenant.0, marks).await?;
        tx.commit().await
    }

    /// Everything that is due at a moment is about to be read anew, so no mark is needed any more. How many there were.
    ///
    /// # Errors
    /// What writing brings.
    pub async fn settle_all_due(&self, now: Timestamp) -> Result<u64> {
        let mut tx = self.db.write(Durability::Normal).await?;
        let settled = tx.execute(&SETTLE_ALL, args![self.tenant.0, now.us()], None).await?;
        tx.commit().await?;
        Ok(settled)
    }
}
