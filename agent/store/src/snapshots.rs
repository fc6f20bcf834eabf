//! Reading signals back: by account, for the portfolio, and as one hash over all of them.

use std::collections::{BTreeMap, BTreeSet};

use perennial_core::ids::{AccountId, ExternalId, SourceId};
use perennial_core::replay::Hash;
use perennial_core::signal::{FactKind, Signal};
use perennial_core::time::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::Store;
use crate::convert::{corrupt, json, limit, time, unsigned};
use crate::db::{Col, Column, Statement, args};
use crate::error::Result;
use crate::fields::Fields;
use crate::signals::PORTFOLIO;

/// Signals of a page of the hash: about 2 MB of text.
const HASH_PAGE: i64 = 20_000;

/// One row an account: what a row costs in the driver is paid by the account, not by the signal.
pub(crate) static BY_ACCOUNT: Statement = Statement::rows(
    "reading signals",
    "select e.account_id, (select string_agg(concat(octet_length(s.source), ':', octet_length(s.external_id), ':',
         octet_length(s.body), ':', s.event_us, ':', s.observed_us, ':', s.revision_us, ':',
         s.source, s.external_id, s.body), '')
         from signal s where s.tenant_id = $1 and s.account_id = e.account_id)
     from {rows}",
    2,
    &[Col::Text("account_id")],
);
/// As [`BY_ACCOUNT`], measured use only.
pub(crate) static USE_BY_ACCOUNT: Statement = Statement::rows(
    "reading measured use",
    "select e.account_id, (select string_agg(concat(octet_length(s.source), ':', octet_length(s.external_id), ':',
         octet_length(s.body), ':', s.event_us, ':', s.observed_us, ':', s.revision_us, ':',
         s.source, s.external_id, s.body), '')
         from signal s where s.tenant_id = $1 and s.account_id = e.account_id and s.kind = 'usage')
     from {rows}",
    2,
    &[Col::Text("account_id")],
);
/// As [`BY_ACCOUNT`], the accounts' own records only.
pub(crate) static RECORD_BY_ACCOUNT: Statement = Statement::rows(
    "reading account records",
    "select e.account_id, (select string_agg(concat(octet_length(s.source), ':', octet_length(s.external_id), ':',
         octet_length(s.body), ':', s.event_us, ':', s.observed_us, ':', s.revision_us, ':',
         s.source, s.external_id, s.body), '')
         from signal s where s.tenant_id = $1 and s.account_id = e.account_id and s.kind = 'account')
     from {rows}",
    2,
    &[Col::Text("account_id")],
);
pub(crate) static ACCOUNT_IDS: Statement = Statement::same(
    "reading accounts",
    "select distinct account_id from signal
     where tenant_id = $1 and kind = 'account' and account_id > $2 and account_id <> '?' order by account_id limit $3",
);
pub(crate) static ACCOUNTS_KNOWN: Statement = Statement::same(
    "reading since when accounts are known",
    "select account_id, min(observed_us) from signal
     where tenant_id = $1 and kind = 'account' and account_id > $2 and account_id <> '?'
     group by account_id order by account_id limit $3",
);
/// Goes through all signals: a run asks only where the policy limits the age of feeds, and once a day.
pub(crate) static DELIVERIES: Statement = Statement::same(
    "looking when sources delivered",
    "select kind, source, min(observed_us) from signal
     where tenant_id = $1 and account_id not in ('', '?') and kind in ('usage', 'ticket', 'invoice', 'survey', 'interaction')
     group by kind, source, observed_us / 86400000000",
);
/// Goes from account to account by the index instead of through all signals.
pub(crate) static ORPHANS: Statement = Statement::same(
    "looking for accounts without an account record",
    "with recursive known(account_id) as (
         select min(account_id) from signal where tenant_id = $1 and account_id > ''
         union all
         select (select min(s.account_id) from signal s where s.tenant_id = $1 and s.account_id > k.account_id)
         from known k where k.account_id is not null)
     select count(*) over (), k.account_id from known k
     where k.account_id is not null and k.account_id <> '?' and not exists (
         select 1 from signal f where f.tenant_id = $1 and f.account_id = k.account_id and f.kind = 'account')
     order by k.account_id limit $2",
);
/// Where a page of the hash ends. No row: it is the last page.
pub(crate) static HASH_PAGE_END: Statement = Statement::same(
    "hashing signals",
    "select account_id, signal_key, revision_us from signal
     where tenant_id = $1 and (account_id, signal_key, revision_us) > ($2, $3, $4)
     order by account_id, signal_key, revision_us limit 1 offset $5",
);
/// What the hash covers, from behind one row up to another, as one text.
pub(crate) static HASH_PAGE_TEXT: Statement = Statement::same(
    "hashing signals",
    "select string_agg(concat(signal_key, body_hash, revision_us, ':', octet_length(account_id), ':', account_id), ''
         order by account_id, signal_key, revision_us)
     from signal
     where tenant_id = $1 and (account_id, signal_key, revision_us) > ($2, $3, $4)
         and (account_id, signal_key, revision_us) <= ($5, $6, $7)",
);
/// As [`HASH_PAGE_TEXT`], to the last row.
pub(crate) static HASH_LAST_TEXT: Statement = Statement::same(
    "hashing signals",
    "select string_agg(concat(signal_key, body_hash, revision_us, ':', octet_length(account_id), ':', account_id), ''
         order by account_id, signal_key, revision_us)
     from signal where tenant_id = $1 and (account_id, signal_key, revision_us) > ($2, $3, $4)",
);

#[cfg(test)]
pub(crate) static ALL: &[&Statement] = &[
    &BY_ACCOUNT,
    &USE_BY_ACCOUNT,
    &RECORD_BY_ACCOUNT,
    &ACCOUNT_IDS,
    &ACCOUNTS_KNOWN,
    &DELIVERIES,
    &ORPHANS,
    &HASH_PAGE_END,
    &HASH_PAGE_TEXT,
    &HASH_LAST_TEXT,
];

/// A day on which records of a kind and source became known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Kind of record.
    pub kind: FactKind,
    /// Source.
    pub source: String,
    /// When the first of that day became known.
    pub first: Timestamp,
}

impl Store {
    /// Every day on which a source brought something about an account, for the kinds whose age a policy can limit. What no
    /// account is known for does not count.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn deliveries(&self) -> Result<Vec<Delivery>> {
        let rows = self.db.fetch(&DELIVERIES, args![self.tenant.0], None).await?;
        rows.iter()
            .map(|row| {
                let kind = row.text(0)?;
                Ok(Delivery {
                    kind: FactKind::from_word(&kind).ok_or_else(|| corrupt("kind", &kind))?,
                    source: row.text(1)?,
                    first: time(row.int(2)?),
                })
            })
            .collect()
    }

    /// A hash over all signals: record, revision, content and account, in the order of account, key and revision. The
    /// same for the same set of signals, whatever their order and batches, on every database. Reads page by page;
    /// signals that come in meanwhile may or may not count.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn state_hash(&self) -> Result<Hash> {
        let mut hasher = Sha256::new();
        let (mut account, mut key, mut revision) = (String::new(), String::new(), i64::MIN);
        loop {
            let from = args![self.tenant.0, account.as_str(), key.as_str(), revision, HASH_PAGE - 1];
            let end = self.db.fetch_one(&HASH_PAGE_END, from).await?;
            let Some(end) = end else {
                let last = self.db.fetch_one(&HASH_LAST_TEXT, &from[..4]).await?;
                if let Some(text) = last.map(|row| row.opt_text(0)).transpose()?.flatten() {
                    hasher.update(text.as_bytes());
                }
                break;
            };
            let end = (end.text(0)?, end.text(1)?, end.int(2)?);
            let (tenant, to) = (self.tenant.0, (end.0.as_str(), end.1.as_str(), end.2));
            let page = args![tenant, account.as_str(), key.as_str(), revision, to.0, to.1, to.2];
            if let Some(row) = self.db.fetch_one(&HASH_PAGE_TEXT, page).await? {
                hasher.update(row.opt_text(0)?.unwrap_or_default().as_bytes());
            }
            (account, key, revision) = end;
        }
        let digest: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        crate::convert::hash(&digest)
    }

    /// Accounts that have an account record, after `after`, in the order of the bytes of their ids, at most `rows`.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn account_ids(&self, after: Option<&AccountId>, rows: u32) -> Result<Vec<AccountId>> {
        let after = after.map_or("", AccountId::as_str);
        let rows = self
            .db
            .fetch(&ACCOUNT_IDS, args![self.tenant.0, after, limit(rows)], None)
            .await?;
        rows.iter().map(|row| Ok(AccountId::new(row.text(0)?))).collect()
    }

    /// As [`Store::account_ids`], each with the time at which its account record could first be known.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn accounts_known(&self, after: Option<&AccountId>, rows: u32) -> Result<Vec<(AccountId, Timestamp)>> {
        let after = after.map_or("", AccountId::as_str);
        let rows = self
            .db
            .fetch(&ACCOUNTS_KNOWN, args![self.tenant.0, after, limit(rows)], None)
            .await?;
        rows.iter()
            .map(|row| Ok((AccountId::new(row.text(0)?), time(row.int(1)?))))
            .collect()
    }

    /// Accounts that signals speak of but that have no account record: how many, and the first `rows` of them.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn orphans(&self, rows: u32) -> Result<(u64, Vec<AccountId>)> {
        let found = self
            .db
            .fetch(&ORPHANS, args![self.tenant.0, limit(rows.max(1))], None)
            .await?;
        let total = found.first().map_or(Ok(0), |row| row.int(0))?;
        let mut accounts = found
            .iter()
            .map(|row| Ok(AccountId::new(row.text(1)?)))
            .collect::<Result<Vec<_>>>()?;
        accounts.truncate(rows as usize);
        Ok((unsigned(total), accounts))
    }

    /// All signals of some accounts, each account's in the order of event, kind, source, external id and revision.
    /// Accounts without signals are absent. Some hundreds of accounts at a time are fastest.
    ///
    /// # Errors
    /// [`crate::StoreError::Corrupt`] when a stored signal cannot be read. What reading brings.
    pub async fn account_signals(&self, accounts: &[AccountId]) -> Result<BTreeMap<AccountId, Vec<Signal>>> {
        self.signals_by(&BY_ACCOUNT, accounts).await
    }

    /// The signals of some accounts that are measured use, otherwise as [`Store::account_signals`].
    ///
    /// # Errors
    /// As [`Store::account_signals`].
    pub async fn account_use(&self, accounts: &[AccountId]) -> Result<BTreeMap<AccountId, Vec<Signal>>> {
        self.signals_by(&USE_BY_ACCOUNT, accounts).await
    }

    /// The records of some accounts themselves, otherwise as [`Store::account_signals`].
    ///
    /// # Errors
    /// As [`Store::account_signals`].
    pub async fn account_records(&self, accounts: &[AccountId]) -> Result<BTreeMap<AccountId, Vec<Signal>>> {
        self.signals_by(&RECORD_BY_ACCOUNT, accounts).await
    }

    async fn signals_by(
        &self,
        statement: &'static Statement,
        accounts: &[AccountId],
    ) -> Result<BTreeMap<AccountId, Vec<Signal>>> {
        let ids: BTreeSet<&str> = accounts.iter().map(AccountId::as_str).collect();
        if ids.is_empty() {
            return Ok(BTreeMap::new());
        }
        let rows = [Column::text(ids.into_iter())];
        let rows = self.db.fetch(statement, args![self.tenant.0], Some(&rows)).await?;
        let mut found = BTreeMap::new();
        for row in rows {
            if let Some(text) = row.opt_text(1)? {
                found.insert(AccountId::new(row.text(0)?), read_signals(&text)?);
            }
        }
        Ok(found)
    }

    /// All signals of the whole portfolio (our people, our products), in the order of event, kind, source, external id
    /// and revision.
    ///
    /// # Errors
    /// As [`Store::account_signals`].
    pub async fn portfolio_signals(&self) -> Result<Vec<Signal>> {
        let account = AccountId::new(PORTFOLIO);
        let mut found = self.account_signals(std::slice::from_ref(&account)).await?;
        Ok(found.remove(&account).unwrap_or_default())
    }
}

fn read_signals(text: &str) -> Result<Vec<Signal>> {
    let mut fields = Fields::of("signal", text);
    let mut signals = Vec::new();
    while !fields.at_end() {
        let (source, external_id, body) = (fields.length()?, fields.length()?, fields.length()?);
        let (event, observed, revision) = (fields.number()?, fields.number()?, fields.number()?);
        let (source, external_id, body) = (fields.take(source)?, fields.take(external_id)?, fields.take(body)?);
        if body.is_empty() {
            return Err(corrupt("signal", source));
        }
        signals.push(Signal {
            source: SourceId::new(source),
            external_id: ExternalId::new(external_id),
            event_at: time(event),
            observed_at: time(observed),
            revision_at: time(revision),
            fact: json("signal", body)?,
        });
    }
    signals.sort_by(|a, b| {
        let order = |s: &Signal| (s.event_at, s.fact.kind());
        order(a)
            .cmp(&order(b))
            .then_with(|| (&a.source, &a.external_id, a.revision_at).cmp(&(&b.source, &b.external_id, b.revision_at)))
    });
    Ok(signals)
}
