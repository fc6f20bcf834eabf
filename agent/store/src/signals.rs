//! Taking signals in: idempotent, in any order, in any batches.
//!
//! INVARIANT (the set of signals is a function of what came in): one row per record and revision; of two contents of
//! one revision the one with the greater hash stays, whichever came first. The account of a signal that came by way
//! of another record is that of the record's latest revision once [`Store::link_signals`] has run.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use perennial_core::ids::{AccountId, ExternalId, SourceId};
use perennial_core::replay::{Hash, canonical};
use perennial_core::signal::{Fact, FactKind, Signal, SignalKey};
use perennial_core::time::Timestamp;

use crate::Store;
use crate::convert::{corrupt, unsigned};
use crate::db::{Col, Column, Durability, Many, Statement, Tx, args};
use crate::due;
use crate::error::Result;
use crate::fields::Fields;
use crate::ledger;
use crate::rows::{Belongs, Kept, LedgerDraft, LinkReport, NewSignal, Stored};

/// Account of signals of the whole portfolio.
pub(crate) const PORTFOLIO: &str = "";
/// Account of signals whose account is not known yet.
pub(crate) const UNLINKED: &str = "?";
/// How many unlinked signals a report shows.
const EXAMPLES: i64 = 10;

/// All revisions of some records, in one text so that a batch costs one row.
pub(crate) static LOOK_UP: Statement = Statement::rows(
    "looking up signals",
    "select coalesce(string_agg(concat(s.signal_key, s.body_hash, s.revision_us, ':', octet_length(s.account_id), ':',
         octet_length(coalesce(s.via, '')), ':', s.account_id, s.via), ''), '')
     from {rows} cross join signal s where s.tenant_id = $1 and s.signal_key = e.signal_key",
    2,
    &[Col::Text("signal_key")],
);
const SIGNAL: &[Col] = &[
    Col::Text("account_id"),
    Col::Text("signal_key"),
    Col::Int("revision_us"),
    Col::Text("kind"),
    Col::Text("source"),
    Col::Text("external_id"),
    Col::Int("event_us"),
    Col::Int("observed_us"),
    Col::Text("body_hash"),
    Col::Text("via"),
    Col::Text("body"),
];
pub(crate) static INSERT: Statement = Statement::rows(
    "storing signals",
    "insert into signal (tenant_id, account_id, signal_key, revision_us, kind, source, external_id, event_us, observed_us,
         body_hash, via, body)
     select $1, e.account_id, e.signal_key, e.revision_us, e.kind, e.source, e.external_id, e.event_us, e.observed_us,
         e.body_hash, e.via, e.body from {rows}",
    2,
    SIGNAL,
);
pub(crate) static INSERT_MANY: Many = Many::new(
    "storing signals",
    "insert into signal (tenant_id, account_id, signal_key, revision_us, kind, source, external_id, event_us, observed_us,
         body_hash, via, body) values",
    12,
);
pub(crate) static REPLACE: Statement = Statement::rows(
    "replacing signals",
    "update signal set account_id = e.account_id, event_us = e.event_us, observed_us = e.observed_us,
         body_hash = e.body_hash, via = e.via, body = e.body
     from {rows} where signal.tenant_id = $1 and signal.signal_key = e.signal_key and signal.revision_us = e.revision_us",
    2,
    SIGNAL,
);
pub(crate) static MOVED: Statement = Statement::rows(
    "noting records that moved",
    "insert into signal_moved (tenant_id, account_id, signal_key) select $1, '', e.signal_key from {rows} where true
     on conflict (tenant_id, signal_key) do nothing",
    2,
    &[Col::Text("signal_key")],
);
pub(crate) static ANY_MOVED: Statement = Statement::same(
    "looking for records that moved",
    "select count(*) from signal_moved where tenant_id = $1",
);
/// Takes the account away from all that follows a record whose revisions name different accounts.
pub(crate) static UNLINK: Statement = Statement::same(
    "unlinking signals",
    "with recursive moved(signal_key) as (
         select signal_key from signal_moved where tenant_id = $1
         union
         select s.signal_key from moved m join signal s on s.tenant_id = $1 and s.via = m.signal_key)
     update signal set account_id = '?'
     where tenant_id = $1 and account_id <> '?' and via in (select signal_key from moved)",
);
pub(crate) static LINK: Statement = Statement::same(
    "linking signals",
    "update signal set account_id = (select t.account_id from signal t
         where t.tenant_id = $1 and t.signal_key = signal.via order by t.revision_us desc limit 1)
     where tenant_id = $1 and account_id = '?' and coalesce((select t.account_id from signal t
         where t.tenant_id = $1 and t.signal_key = signal.via order by t.revision_us desc limit 1), '?') not in ('?', '')",
);
pub(crate) static COUNT_UNLINKED: Statement = Statement::same(
    "counting unlinked signals",
    "select count(*) from signal where tenant_id = $1 and account_id = '?'",
);
pub(crate) static UNLINKED_EXAMPLES: Statement = Statement::same(
    "reading unlinked signals",
    "select kind || ':' || source || '/' || external_id from signal where tenant_id = $1 and account_id = '?'
     order by signal_key, revision_us limit $2",
);

#[cfg(test)]
pub(crate) static ALL: &[&Statement] = &[
    &LOOK_UP,
    &INSERT,
    &REPLACE,
    &MOVED,
    &ANY_MOVED,
    &UNLINK,
    &LINK,
    &COUNT_UNLINKED,
    &UNLINKED_EXAMPLES,
];

/// A signal as its row: canonical text and hashes made, so that the thread that reads can do what the one that writes
/// need not.
#[derive(Debug)]
pub struct SignalRow {
    signal: SignalHead,
    key: SignalKey,
    body: String,
    body_hash: String,
    via: Option<SignalKey>,
    /// Known account, [`PORTFOLIO`], or [`UNLINKED`] until resolved.
    account: String,
    /// Whether it is new only when it differs from the latest revision.
    restates: bool,
    /// Whether it is new only when a revision of the record is known.
    only_known: bool,
    /// Hash of the body that it would have without what we wrote there ourselves.
    without_ours: Option<String>,
    /// Whether it belongs where the latest known revision of its record does.
    stays: bool,
}

/// What a row says beside its body.
#[derive(Debug)]
struct SignalHead {
    source: SourceId,
    external_id: ExternalId,
    kind: FactKind,
    event_us: i64,
    observed_us: i64,
    revision_us: i64,
}

impl SignalRow {
    /// The row of a signal.
    #[must_use]
    pub fn of(new: NewSignal) -> SignalRow {
        let NewSignal { owner, signal } = new;
        let key = signal.key();
        let body = canonical(&signal.fact);
        let (tag, of) = match &owner {
            Belongs::Account(account) => ("account", account.as_str()),
            Belongs::Via(key) => ("via", key.as_str()),
            Belongs::Portfolio => ("portfolio", ""),
        };
        let body_hash = Hash::of_parts(&[
            &body,
            &signal.event_at.us().to_string(),
            &signal.observed_at.us().to_string(),
            tag,
            of,
        ])
        .short();
        let (account, via) = match owner {
            Belongs::Account(account) => (account.as_str().to_owned(), None),
            Belongs::Via(key) => (UNLINKED.to_owned(), Some(key)),
            Belongs::Portfolio => (PORTFOLIO.to_owned(), None),
        };
        let signal = SignalHead {
            kind: signal.fact.kind(),
            event_us: signal.event_at.us(),
            observed_us: signal.observed_at.us(),
            revision_us: signal.revision_at.us(),
            source: signal.source,
            external_id: signal.external_id,
        };
        SignalRow {
            signal,
            key,
            body,
            body_hash,
            via,
            account,
            restates: false,
            only_known: false,
            without_ours: None,
            stays: false,
        }
    }

    /// The row of a record that is not there any more, wherever it belonged: new only when a revision of it is known that says
    /// something else.
    #[must_use]
    pub fn gone(source: &SourceId, kind: FactKind, external_id: &ExternalId, revision_at: Timestamp) -> SignalRow {
        let signal = Signal {
            source: source.clone(),
            external_id: external_id.clone(),
            event_at: Timestamp::EPOCH,
            observed_at: Timestamp::EPOCH,
            revision_at,
            fact: Fact::Gone(kind),
        };
        let row = SignalRow::of(NewSignal {
            owner: Belongs::Portfolio,
            signal,
        });
        SignalRow { stays: true, ..row }.restating().only_of_known()
    }

    /// The same, counted as a duplicate where it says what the latest stored revision of its record says: for sources that
    /// are asked again and again and give each record as it stands now.
    #[must_use]
    pub fn restating(self) -> SignalRow {
        SignalRow { restates: true, ..self }
    }

    /// New only when a revision of the record is known: what is not there cannot go.
    #[must_use]
    pub fn only_of_known(self) -> SignalRow {
        SignalRow {
            only_known: true,
            ..self
        }
    }

    /// No news when the record differs from its latest revision only by what we wrote there ourselves: `without` is what it
    /// would say with the values from before.
    #[must_use]
    pub fn no_echo(self, without: &SignalRow) -> SignalRow {
        SignalRow {
            without_ours: Some(without.body_hash.clone()),
            ..self
        }
    }

    /// Id of the record in its source.
    #[must_use]
    pub fn external_id(&self) -> &ExternalId {
        &self.signal.external_id
    }

    /// Account that the signal names itself.
    #[must_use]
    pub fn account(&self) -> Option<&str> {
        (self.account != PORTFOLIO && self.via.is_none()).then_some(self.account.as_str())
    }

    fn revision(&self) -> i64 {
        self.signal.revision_us
    }

    fn via(&self) -> Option<&str> {
        self.via.as_ref().map(SignalKey::as_str)
    }
}

/// What is known of one revision of a record.
struct Known {
    body_hash: String,
    account: String,
    via: String,
}

/// Revisions of records, by key, then revision.
type Revisions = HashMap<String, BTreeMap<i64, Known>>;

impl Store {
    /// Stores signals, all or none; says for each, in the order of the batch, what became of it. Any batch size works;
    /// some thousands at a time are fastest, and tens of thousands once the table is larger than the memory.
    ///
    /// A signal whose account is to be found by way of another record gets it now if that record is known, or else by
    /// [`Store::link_signals`], which must run after an import.
    ///
    /// # Errors
    /// What writing brings; nothing of the batch is stored then.
    pub async fn insert_signals(&self, batch: &mut [SignalRow]) -> Result<Vec<Stored>> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let mut tx = self.db.write(Durability::Normal).await?;
        let stored = insert(&mut tx, self.tenant.0, batch).await?;
        tx.commit().await?;
        Ok(stored)
    }

    /// Stores signals that a person's deed brings, together with the entries of the ledger that tell of it.
    ///
    /// # Errors
    /// What writing brings; nothing is stored then.
    pub async fn insert_signals_with(
        &self,
        batch: &mut [SignalRow],
        account: Option<&AccountId>,
        entries: &[LedgerDraft],
        now: Timestamp,
    ) -> Result<Vec<Stored>> {
        let mut tx = self.db.write(Durability::Full).await?;
        let stored = insert(&mut tx, self.tenant.0, batch).await?;
        let head = ledger::lock_head(&mut tx, self.tenant).await?;
        let entries: Vec<_> = entries.iter().map(|entry| (account, now, entry)).collect();
        ledger::append(&mut tx, self.tenant, &head, &entries).await?;
        tx.commit().await?;
        Ok(stored)
    }

    /// Stores signals that must all be new, with an entry of the ledger, in one transaction. Says whether it did: when
    /// one of the records is known already, nothing is stored and nothing is entered.
    ///
    /// # Errors
    /// What writing brings; nothing is stored then.
    pub async fn insert_new_signals(
        &self,
        batch: &mut [SignalRow],
        entry: &LedgerDraft,
        now: Timestamp,
    ) -> Result<bool> {
        let mut tx = self.db.write(Durability::Full).await?;
        // The head of the ledger is the lock of the tenant: two that store the same records come one after the other.
        let head = ledger::lock_head(&mut tx, self.tenant).await?;
        let stored = insert(&mut tx, self.tenant.0, batch).await?;
        if stored.iter().any(|s| *s != Stored::New) {
            return Ok(false);
        }
        ledger::append(&mut tx, self.tenant, &head, &[(None, now, entry)]).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Gives every signal that came by way of another record the account of that record's latest revision, where it
    /// is known. Run it after an import; running it again changes nothing.
    ///
    /// # Errors
    /// What writing brings.
    pub async fn link_signals(&self) -> Result<LinkReport> {
        let mut tx = self.db.write(Durability::Normal).await?;
        let count = |rows: &[crate::db::Row]| rows.first().map_or(Ok(0), |row| row.int(0));
        let mut linked: i64 = 0;
        if count(&tx.fetch(&ANY_MOVED, args![self.tenant.0], None).await?)? > 0 {
            tx.execute(&due::MARK_UNLINKED, args![self.tenant.0], None).await?;
            let taken = tx.execute(&UNLINK, args![self.tenant.0], None).await?;
            linked -= i64::try_from(taken).unwrap_or(0);
        }
        loop {
            // Each round links what hangs on the round before: a usage fact by way of a subscription by way of a contract.
            tx.execute(&due::MARK_LINKED, args![self.tenant.0], None).await?;
            let round = tx.execute(&LINK, args![self.tenant.0], None).await?;
            if round == 0 {
                break;
            }
            linked += i64::try_from(round).unwrap_or(0);
        }
        let unlinked = count(&tx.fetch(&COUNT_UNLINKED, args![self.tenant.0], None).await?)?;
        let examples = tx
            .fetch(&UNLINKED_EXAMPLES, args![self.tenant.0, EXAMPLES], None)
            .await?;
        let examples = examples.iter().map(|row| row.text(0)).collect::<Result<_>>()?;
        tx.commit().await?;
        Ok(LinkReport {
            linked: unsigned(linked),
            unlinked: unsigned(unlinked),
            examples,
        })
    }
}

pub(crate) async fn insert(tx: &mut Tx<'_>, tenant: i64, prepared: &mut [SignalRow]) -> Result<Vec<Stored>> {
    let known = look_up(tx, tenant, prepared).await?;
    let plan = plan(prepared, &known);
    resolve(prepared, &plan, &known);
    let insert: Vec<&SignalRow> = plan.insert.iter().map(|i| &prepared[*i]).collect();
    let replace: Vec<&SignalRow> = plan.replace.iter().map(|i| &prepared[*i]).collect();
    if !insert.is_empty() {
        tx.insert(&INSERT_MANY, &INSERT, tenant, &columns(&insert)).await?;
    }
    if !replace.is_empty() {
        tx.execute(&REPLACE, args![tenant], Some(&columns(&replace))).await?;
    }
    let moved = moved(prepared, &plan, &known);
    if !moved.is_empty() {
        let rows = [Column::text(moved.iter().copied())];
        tx.execute(&MOVED, args![tenant], Some(&rows)).await?;
    }
    let changed = insert.iter().chain(&replace).filter(|s| s.account != UNLINKED);
    let now_due = changed.map(|s| (s.account.as_str(), s.signal.observed_us));
    // What replaces a signal may take it from another account.
    let left = replace.iter().filter_map(|s| {
        let held = known.get(s.key.as_str())?.get(&s.revision())?;
        (held.account != s.account && held.account != UNLINKED).then_some((held.account.as_str(), s.signal.observed_us))
    });
    due::mark(tx, tenant, now_due.chain(left)).await?;
    Ok(plan.stored)
}

async fn look_up(tx: &mut Tx<'_>, tenant: i64, prepared: &[SignalRow]) -> Result<Revisions> {
    let keys: BTreeSet<&str> = prepared
        .iter()
        .flat_map(|signal| std::iter::once(signal.key.as_str()).chain(signal.via()))
        .collect();
    let keys = [Column::text(keys.into_iter())];
    let rows = tx.fetch(&LOOK_UP, args![tenant], Some(&keys)).await?;
    let mut known = Revisions::new();
    let Some(row) = rows.first() else {
        return Ok(known);
    };
    let text = row.text(0)?;
    let mut fields = Fields::of("signal", &text);
    while !fields.at_end() {
        let key = fields.take(22)?;
        let body_hash = fields.take(22)?;
        let revision = fields.number()?;
        let (account, via) = (fields.length()?, fields.length()?);
        let (account, via) = (fields.take(account)?, fields.take(via)?);
        let row = Known {
            body_hash: body_hash.to_owned(),
            account: account.to_owned(),
            via: via.to_owned(),
        };
        known.entry(key.to_owned()).or_default().insert(revision, row);
    }
    if known.keys().any(String::is_empty) {
        return Err(corrupt("signal", &text));
    }
    Ok(known)
}

/// What to do with a batch. Numbers are places in the batch.
struct Plan {
    stored: Vec<Stored>,
    insert: Vec<usize>,
    replace: Vec<usize>,
}

fn plan(prepared: &[SignalRow], known: &Revisions) -> Plan {
    // The signal of this batch that stands for a record and revision so far.
    let mut winners: HashMap<(&str, i64), usize> = HashMap::with_capacity(prepared.len());
    let mut stored = Vec::with_capacity(prepared.len());
    for (i, signal) in prepared.iter().enumerate() {
        let key = (signal.key.as_str(), signal.revision());
        let there = winners
            .get(&key)
            .map(|winner| prepared[*winner].body_hash.as_str())
            .or_else(|| {
                let known = known.get(key.0)?;
                let (_, latest) = known.last_key_value()?;
                let is_echo = signal.without_ours.as_ref() == Some(&latest.body_hash);
                if signal.restates && (latest.body_hash == signal.body_hash || is_echo) {
                    return Some(signal.body_hash.as_str());
                }
                Some(known.get(&key.1)?.body_hash.as_str())
            });
        if signal.only_known && there.is_none() && !known.contains_key(key.0) {
            stored.push(Stored::Duplicate);
            continue;
        }
        let outcome = match there.map(|there| signal.body_hash.as_str().cmp(there)) {
            None => Stored::New,
            Some(std::cmp::Ordering::Equal) => Stored::Duplicate,
            Some(std::cmp::Ordering::Less) => Stored::Conflict { kept: Kept::Existing },
            Some(std::cmp::Ordering::Greater) => Stored::Conflict { kept: Kept::Incoming },
        };
        if matches!(outcome, Stored::New | Stored::Conflict { kept: Kept::Incoming }) {
            winners.insert(key, i);
        }
        stored.push(outcome);
    }
    let mut winners: Vec<usize> = winners.into_values().collect();
    // In the order of the primary key as far as it is known, so that neighbours in the table are written together.
    winners.sort_unstable_by(|a, b| {
        let (a, b) = (&prepared[*a], &prepared[*b]);
        (&a.account, &a.key, a.revision()).cmp(&(&b.account, &b.key, b.revision()))
    });
    let (replace, insert) = winners.into_iter().partition(|i| {
        let signal = &prepared[*i];
        known
            .get(signal.key.as_str())
            .is_some_and(|revisions| revisions.contains_key(&signal.revision()))
    });
    Plan {
        stored,
        insert,
        replace,
    }
}

/// Finds the accounts of signals that came by way of another record, as far as they are known.
fn resolve(prepared: &mut [SignalRow], plan: &Plan, known: &Revisions) {
    for i in plan.insert.iter().chain(&plan.replace) {
        let signal = &mut prepared[*i];
        let latest = known.get(signal.key.as_str()).and_then(BTreeMap::last_key_value);
        if let (true, Some((_, latest))) = (signal.stays, latest) {
            signal.account.clone_from(&latest.account);
        }
    }
    if prepared.iter().all(|signal| signal.via().is_none()) {
        return;
    }
    // Latest revision and account of the records of this batch that say their account themselves.
    let mut latest: HashMap<String, (i64, String)> = HashMap::new();
    for signal in plan.insert.iter().chain(&plan.replace).map(|i| &prepared[*i]) {
        let entry = latest.entry(signal.key.as_str().to_owned());
        let this = (signal.revision(), signal.account.clone());
        let held = entry.or_insert_with(|| this.clone());
        if this.0 > held.0 {
            *held = this;
        }
    }
    for i in plan.insert.iter().chain(&plan.replace) {
        let signal = &prepared[*i];
        let Some(via) = signal.via() else { continue };
        let stored = known.get(via).and_then(|revisions| revisions.last_key_value());
        let account = match (stored, latest.get(via)) {
            (Some((revision, row)), Some((newer, account))) => {
                if newer >= revision {
                    account
                } else {
                    &row.account
                }
            }
            (Some((_, row)), None) => &row.account,
            (None, Some((_, account))) => account,
            (None, None) => continue,
        };
        if account != PORTFOLIO && account != UNLINKED {
            prepared[*i].account = account.clone();
        }
    }
}

/// Records whose revisions do not all belong to the same account, as far as one can see: what hangs on them is linked anew.
fn moved<'a>(prepared: &'a [SignalRow], plan: &Plan, known: &Revisions) -> BTreeSet<&'a str> {
    let mut first: HashMap<&str, (&str, &str)> = HashMap::new();
    let mut moved = BTreeSet::new();
    let same = |a: (&str, &str), b: (&str, &str)| {
        if a.1.is_empty() && b.1.is_empty() {
            a.0 == b.0
        } else {
            a.1 == b.1
        }
    };
    for i in plan.insert.iter().chain(&plan.replace) {
        let signal = &prepared[*i];
        let (key, this) = (
            signal.key.as_str(),
            (signal.account.as_str(), signal.via().unwrap_or("")),
        );
        let differs = !same(*first.entry(key).or_insert(this), this);
        let stored = known.get(key).into_iter().flat_map(BTreeMap::values);
        if differs || stored.into_iter().any(|row| !same((&row.account, &row.via), this)) {
            moved.insert(key);
        }
    }
    moved
}

fn columns<'a>(signals: &[&'a SignalRow]) -> [Column<'a>; 11] {
    let each = || signals.iter();
    [
        Column::text(each().map(|s| s.account.as_str())),
        Column::text(each().map(|s| s.key.as_str())),
        Column::int(each().map(|s| s.revision())),
        Column::text(each().map(|s| s.signal.kind.as_str())),
        Column::text(each().map(|s| s.signal.source.as_str())),
        Column::text(each().map(|s| s.signal.external_id.as_str())),
        Column::int(each().map(|s| s.signal.event_us)),
        Column::int(each().map(|s| s.signal.observed_us)),
        Column::text(each().map(|s| s.body_hash.as_str())),
        Column::opt_text(each().map(|s| s.via())),
        Column::text(each().map(|s| s.body.as_str())),
    ]
}
