//! Which policies and prompts are in force, who put them there, and which are offered.
//!
//! INVARIANT (one bundle at a time): what is in force is the last row, and a row is only appended by whoever saw the one
//! before it.

use perennial_core::replay::Hash;
use perennial_core::time::Timestamp;

use crate::Store;
use crate::convert::{hash, limit, time};
use crate::db::{Durability, Row, Statement, args};
use crate::error::Result;
use crate::ledger;
use crate::rows::LedgerDraft;

pub(crate) static LAST: Statement = Statement::same(
    "reading which policies are in force",
    "select hash, at_us, proposed_by, confirmed_by, why, seq from live_content
     where tenant_id = $1 order by seq desc limit $2",
);
pub(crate) static APPEND: Statement = Statement::same(
    "putting policies in force",
    "insert into live_content (tenant_id, seq, hash, at_us, proposed_by, confirmed_by, why)
     values ($1, $2, $3, $4, $5, $6, $7)",
);
pub(crate) static OFFER: Statement = Statement::same(
    "offering policies",
    "insert into offered_content (tenant_id, kind, hash, at_us, person, why, until_us) values ($1, $2, $3, $4, $5, $6, $7)
     on conflict (tenant_id, kind) do update set hash = excluded.hash, at_us = excluded.at_us, person = excluded.person,
         why = excluded.why, until_us = excluded.until_us",
);
pub(crate) static OFFERED: Statement = Statement::same(
    "reading which policies are offered",
    "select hash, at_us, person, why, until_us from offered_content where tenant_id = $1 and kind = $2",
);
pub(crate) static WITHDRAW: Statement = Statement::same(
    "withdrawing policies",
    "delete from offered_content where tenant_id = $1 and kind = $2",
);

#[cfg(test)]
pub(crate) static ALL: &[&Statement] = &[&LAST, &APPEND, &OFFER, &OFFERED, &WITHDRAW];

/// Policies and prompts that were put in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveContent {
    /// Which.
    pub hash: Hash,
    /// When.
    pub at: Timestamp,
    /// Who wanted them.
    pub proposed_by: String,
    /// The second person, where one was needed.
    pub confirmed_by: Option<String>,
    /// Why.
    pub why: String,
}

/// What an offer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfferKind {
    /// Waits for a second person.
    Proposal,
    /// Is tried out beside what is in force.
    Shadow,
    /// Was to come into force and was refused; `why` is the reason.
    Refused,
}

impl OfferKind {
    fn word(self) -> &'static str {
        match self {
            OfferKind::Proposal => "proposal",
            OfferKind::Shadow => "shadow",
            OfferKind::Refused => "refused",
        }
    }
}

/// Policies and prompts that are not in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedContent {
    /// Which.
    pub hash: Hash,
    /// Since when.
    pub at: Timestamp,
    /// Whose offer it is.
    pub person: String,
    /// Why.
    pub why: String,
    /// When it ends by itself.
    pub until: Option<Timestamp>,
}

impl Store {
    /// What is in force; `None` before anything was put there.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn live_content(&self) -> Result<Option<LiveContent>> {
        Ok(self.live_history(1).await?.into_iter().next())
    }

    /// What was put in force, the latest first, at most `rows`.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn live_history(&self, rows: u32) -> Result<Vec<LiveContent>> {
        let rows = self.db.fetch(&LAST, args![self.tenant.0, limit(rows)], None).await?;
        rows.iter().map(live).collect()
    }

    /// Puts policies in force in place of `former`, with an entry of the ledger, and withdraws the proposal that led to
    /// it. Says whether it did: not when something else has been put in force meanwhile.
    ///
    /// # Errors
    /// What writing brings; nothing changes then.
    pub async fn put_live(&self, former: Option<Hash>, live: &LiveContent, entry: &LedgerDraft) -> Result<bool> {
        let mut tx = self.db.write(Durability::Full).await?;
        let head = ledger::lock_head(&mut tx, self.tenant).await?;
        let rows = tx.fetch(&LAST, args![self.tenant.0, 1_i64], None).await?;
        let last = rows
            .first()
            .map(|row| Ok((hash(&row.text(0)?)?, row.int(5)?)))
            .transpose()?;
        if last.map(|(hash, _)| hash) != former {
            tx.commit().await?;
            return Ok(false);
        }
        let seq = last.map_or(0, |(_, seq)| seq) + 1;
        let hash = live.hash.to_string();
        let args = args![
            self.tenant.0,
            seq,
            hash.as_str(),
            live.at.us(),
            live.proposed_by.as_str(),
            live.confirmed_by.as_deref(),
            live.why.as_str(),
        ];
        tx.execute(&APPEND, args, None).await?;
        tx.execute(&WITHDRAW, args![self.tenant.0, OfferKind::Proposal.word()], None)
            .await?;
        ledger::append(&mut tx, self.tenant, &head, &[(None, live.at, entry)]).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Offers policies, in place of an earlier offer of the kind, with an entry of the ledger.
    ///
    /// # Errors
    /// What writing brings; nothing changes then.
    pub async fn offer_content(&self, kind: OfferKind, offer: &OfferedContent, entry: &LedgerDraft) -> Result<()> {
        let mut tx = self.db.write(Durability::Full).await?;
        let head = ledger::lock_head(&mut tx, self.tenant).await?;
        let hash = offer.hash.to_string();
        let args = args![
            self.tenant.0,
            kind.word(),
            hash.as_str(),
            offer.at.us(),
            offer.person.as_str(),
            offer.why.as_str(),
            offer.until.map(Timestamp::us),
        ];
        tx.execute(&OFFER, args, None).await?;
        ledger::append(&mut tx, self.tenant, &head, &[(None, offer.at, entry)]).await?;
        tx.commit().await
    }

    /// The offer of a kind.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn offered_content(&self, kind: OfferKind) -> Result<Option<OfferedContent>> {
        let row = self.db.fetch_one(&OFFERED, args![self.tenant.0, kind.word()]).await?;
        row.map(|row| {
            Ok(OfferedContent {
                hash: hash(&row.text(0)?)?,
                at: time(row.int(1)?),
                person: row.text(2)?,
                why: row.text(3)?,
                until: row.opt_int(4)?.map(time),
            })
        })
        .transpose()
    }

    /// Withdraws the offer of a kind, with an entry of the ledger.
    ///
    /// # Errors
    /// What writing brings; nothing changes then.
    pub async fn withdraw_content(&self, kind: OfferKind, entry: &LedgerDraft, now: Timestamp) -> Result<()> {
        let mut tx = self.db.write(Durability::Full).await?;
        let head = ledger::lock_head(&mut tx, self.tenant).await?;
        tx.execute(&WITHDRAW, args![self.tenant.0, kind.word()], None).await?;
        ledger::append(&mut tx, self.tenant, &head, &[(None, now, entry)]).await?;
        tx.commit().await
    }
}

fn live(row: &Row) -> Result<LiveContent> {
    Ok(LiveContent {
        hash: hash(&row.text(0)?)?,
        at: time(row.int(1)?),
        proposed_by: row.text(2)?,
        confirmed_by: row.opt_text(3)?,
        why: row.text(4)?,
    })
}
