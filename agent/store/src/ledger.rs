//! The ledger: a chain of entries, one per tenant, each with the hash of the one before.
//!
//! Entries are appended inside the transaction of what they record, with the head locked, so that the chain has no gap
//! and no fork. Verifying needs no more than [`entry_hash`] and the entries in order.

use perennial_core::ids::{AccountId, TenantId};
use perennial_core::replay::Hash;
use perennial_core::time::Timestamp;

use crate::Store;
use crate::convert::{hash, limit, time};
use crate::db::{Col, Column, Durability, Row, Statement, Tx, args};
use crate::error::{Result, StoreError};
use crate::rows::{LedgerDraft, LedgerEntry, LedgerHead};

pub(crate) static MAKE_HEAD: Statement = Statement::same(
    "making the head of the ledger",
    "insert into ledger_head (tenant_id, seq, hash, action_seq) values ($1, 0, $2, 0) on conflict (tenant_id) do nothing",
);
pub(crate) static LOCK_HEAD: Statement = Statement::differ(
    "locking the head of the ledger",
    "select seq, hash, action_seq from ledger_head where tenant_id = $1",
    "select seq, hash, action_seq from ledger_head where tenant_id = $1 for update",
);
/// INVARIANT (no fork): only from the place that was read. The key of the ledger alone would not forbid one place at two times.
pub(crate) static MOVE_HEAD: Statement = Statement::same(
    "moving the head of the ledger",
    "update ledger_head set seq = $2, hash = $3 where tenant_id = $1 and seq = $4",
);
pub(crate) static MOVE_ACTIONS: Statement = Statement::same(
    "numbering actions",
    "update ledger_head set action_seq = $2 where tenant_id = $1",
);
pub(crate) static APPEND: Statement = Statement::rows(
    "writing the ledger",
    "insert into ledger (tenant_id, account_id, seq, at_us, kind, reference, body, previous_hash, hash)
     select $1, e.account_id, e.seq, e.at_us, e.kind, e.reference, e.body, e.previous_hash, e.hash from {rows}",
    2,
    &[
        Col::Text("account_id"),
        Col::Int("seq"),
        Col::Int("at_us"),
        Col::Text("kind"),
        Col::Text("reference"),
        Col::Text("body"),
        Col::Text("previous_hash"),
        Col::Text("hash"),
    ],
);
pub(crate) static HEAD: Statement = Statement::same(
    "reading the head of the ledger",
    "select seq, hash from ledger_head where tenant_id = $1",
);
pub(crate) static PAGE: Statement = Statement::same(
    "reading the ledger",
    "select account_id, seq, at_us, kind, reference, body, previous_hash, hash from ledger
     where tenant_id = $1 and seq > $2 order by seq limit $3",
);

#[cfg(test)]
pub(crate) static ALL: &[&Statement] = &[&MAKE_HEAD, &LOCK_HEAD, &MOVE_HEAD, &MOVE_ACTIONS, &APPEND, &HEAD, &PAGE];

/// Hash of an entry: over previous hash, place, time in microseconds, kind, account (empty for none), reference and
/// body, each with its length before it. Does not read `entry.hash`.
#[must_use]
pub fn entry_hash(entry: &LedgerEntry) -> Hash {
    Hash::of_parts(&[
        &entry.previous.to_string(),
        &entry.seq.to_string(),
        &entry.at.us().to_string(),
        &entry.kind,
        entry.account.as_ref().map_or("", AccountId::as_str),
        &entry.reference,
        &entry.body,
    ])
}

/// The head, locked until the transaction ends.
pub(crate) struct Head {
    pub(crate) seq: i64,
    pub(crate) hash: Hash,
    pub(crate) action_seq: i64,
}

/// Locks the head of the ledger, which is also the lock of the tenant.
pub(crate) async fn lock_head(tx: &mut Tx<'_>, tenant: TenantId) -> Result<Head> {
    loop {
        let rows = tx.fetch(&LOCK_HEAD, args![tenant.0], None).await?;
        if let Some(row) = rows.first() {
            return Ok(Head {
                seq: row.int(0)?,
                hash: hash(&row.text(1)?)?,
                action_seq: row.int(2)?,
            });
        }
        let zero = Hash::ZERO.to_string();
        tx.execute(&MAKE_HEAD, args![tenant.0, zero.as_str()], None).await?;
    }
}

/// Moves the last number of an action.
pub(crate) async fn move_actions(tx: &mut Tx<'_>, tenant: TenantId, action_seq: i64) -> Result<()> {
    tx.execute(&MOVE_ACTIONS, args![tenant.0, action_seq], None).await?;
    Ok(())
}

/// Appends entries after `head`, all in one statement.
pub(crate) async fn append(
    tx: &mut Tx<'_>,
    tenant: TenantId,
    head: &Head,
    drafts: &[(Option<&AccountId>, Timestamp, &LedgerDraft)],
) -> Result<()> {
    if drafts.is_empty() {
        return Ok(());
    }
    let (mut seq, mut previous) = (head.seq, head.hash);
    let mut hashes = Vec::with_capacity(drafts.len() + 1);
    hashes.push(previous.to_string());
    for (account, at, draft) in drafts {
        seq += 1;
        previous = Hash::of_parts(&[
            hashes.last().map_or("", String::as_str),
            &seq.to_string(),
            &at.us().to_string(),
            &draft.kind,
            account.map_or("", AccountId::as_str),
            &draft.reference,
            &draft.body,
        ]);
        hashes.push(previous.to_string());
    }
    let rows = [
        Column::text(drafts.iter().map(|(account, ..)| account.map_or("", AccountId::as_str))),
        Column::int(head.seq + 1..=seq),
        Column::int(drafts.iter().map(|(_, at, _)| at.us())),
        Column::text(drafts.iter().map(|(.., draft)| draft.kind.as_str())),
        Column::text(drafts.iter().map(|(.., draft)| draft.reference.as_str())),
        Column::text(drafts.iter().map(|(.., draft)| draft.body.as_str())),
        Column::text(hashes[..drafts.len()].iter().map(String::as_str)),
        Column::text(hashes[1..].iter().map(String::as_str)),
    ];
    tx.execute(&APPEND, args![tenant.0], Some(&rows)).await?;
    let last = previous.to_string();
    let moved = tx
        .execute(&MOVE_HEAD, args![tenant.0, seq, last.as_str(), head.seq], None)
        .await?;
    if moved != 1 {
        return Err(StoreError::Corrupt {
            what: "ledger",
            detail: format!("entry {} was written although the head was locked", head.seq + 1),
        });
    }
    Ok(())
}

impl Store {
    /// Appends entries about an account, or about the whole portfolio, in their own transaction.
    ///
    /// # Errors
    /// What writing brings.
    pub async fn append_ledger(
        &self,
        account: Option<&AccountId>,
        drafts: &[LedgerDraft],
        now: Timestamp,
    ) -> Result<()> {
        let mut tx = self.db.write(Durability::Full).await?;
        let head = lock_head(&mut tx, self.tenant).await?;
        let drafts: Vec<_> = drafts.iter().map(|draft| (account, now, draft)).collect();
        append(&mut tx, self.tenant, &head, &drafts).await?;
        tx.commit().await
    }

    /// Entries after a place, in order, at most `rows`.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn ledger_page(&self, after_seq: i64, rows: u32) -> Result<Vec<LedgerEntry>> {
        let rows = self
            .db
            .fetch(&PAGE, args![self.tenant.0, after_seq, limit(rows)], None)
            .await?;
        rows.iter().map(entry).collect()
    }

    /// Where the ledger ends.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn ledger_head(&self) -> Result<LedgerHead> {
        let row = self.db.fetch_one(&HEAD, args![self.tenant.0]).await?;
        row.map_or(
            Ok(LedgerHead {
                seq: 0,
                hash: Hash::ZERO,
            }),
            |row| {
                Ok(LedgerHead {
                    seq: row.int(0)?,
                    hash: hash(&row.text(1)?)?,
                })
            },
        )
    }
}

pub(crate) fn entry(row: &Row) -> Result<LedgerEntry> {
    let account = row.text(0)?;
    Ok(LedgerEntry {
        account: (!account.is_empty()).then(|| AccountId::new(account)),
        seq: row.int(1)?,
        at: time(row.int(2)?),
        kind: row.text(3)?,
        reference: row.text(4)?,
        body: row.text(5)?,
        previous: hash(&row.text(6)?)?,
        hash: hash(&row.text(7)?)?,
    })
}
