//! Following the ledger's chain: all at once, or as far as there is time for.

use perennial_core::replay::Hash;
use perennial_store::{LedgerEntry, Store, StoreError, entry_hash};

/// How far the chain was followed, and whether it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chain {
    /// Last entry that holds together with all before it.
    pub(crate) seq: i64,
    /// Its hash.
    pub(crate) hash: Hash,
    /// Entries that the head says there are.
    pub(crate) head: i64,
    /// Entry at which the chain is broken, and why.
    pub(crate) broken: Option<(i64, String)>,
}

impl Chain {
    pub(crate) fn new() -> Chain {
        Chain {
            seq: 0,
            hash: Hash::ZERO,
            head: 0,
            broken: None,
        }
    }

    /// Whether it was followed to where the head was.
    pub(crate) fn is_whole(&self) -> bool {
        self.broken.is_none() && self.seq >= self.head
    }

    /// Goes on by at most `rows` entries; says whether there is more. A break is kept: what follows it proves nothing.
    pub(crate) async fn follow(&mut self, store: &Store, rows: u32) -> Result<bool, StoreError> {
        // Read before the entries, so that what is appended meanwhile is no entry too many.
        let head = store.ledger_head().await?;
        self.head = head.seq;
        if self.broken.is_some() {
            return Ok(false);
        }
        if self.seq == head.seq {
            if self.hash != head.hash {
                self.broken = Some((self.seq, "the head names another entry than the last one".to_owned()));
            }
            return Ok(false);
        }
        let page = if self.seq < head.seq {
            store.ledger_page(self.seq, rows).await?
        } else {
            Vec::new()
        };
        if page.is_empty() {
            let why = format!("the head says {} entries, {} are there", head.seq, self.seq);
            self.broken = Some((self.seq + 1, why));
            return Ok(false);
        }
        for entry in page {
            if let Some(why) = wrong(&entry, self.seq, self.hash) {
                self.broken = Some((entry.seq, why));
                return Ok(false);
            }
            (self.seq, self.hash) = (entry.seq, entry.hash);
            if self.seq == head.seq && self.hash != head.hash {
                self.broken = Some((self.seq, "the head names another entry than the last one".to_owned()));
                return Ok(false);
            }
        }
        // Entries after the head of before are new, or too many: the head of next time says which.
        Ok(self.seq != head.seq)
    }
}

fn wrong(entry: &LedgerEntry, last: i64, previous: Hash) -> Option<String> {
    if entry.seq != last + 1 {
        return Some(format!("entries {} to {} are missing", last + 1, entry.seq - 1));
    }
    if entry.previous != previous {
        return Some("it does not follow the entry before it".to_owned());
    }
    (entry_hash(entry) != entry.hash).then(|| "its content was altered".to_owned())
}
