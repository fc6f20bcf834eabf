//! Families of accounts as the latest decisions leave them: who belongs to whom by the account records, how healthy each is by
//! its latest decision.
//!
//! Nothing is decided or written here, and no decision depends on it: the score of a family is computed by core where it is
//! read. So it does not matter in which order accounts were decided.

use std::collections::BTreeMap;

use perennial_core::decide::Decision;
use perennial_core::ids::AccountId;
use perennial_core::replay::read;
use perennial_core::score::{FamilyMember, FamilyTree};
use perennial_core::snapshot::Snapshot;
use perennial_core::time::Timestamp;
use perennial_store::{Store, StoreError};

/// Accounts read at once.
const PAGE: u32 = 500;

/// Why families cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FamiliesError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stored decision cannot be read.
    #[error("a stored decision cannot be read: {0}")]
    Decision(String),
}

/// All accounts with what families need of them.
#[derive(Debug, Clone)]
pub struct FamilyBook {
    /// Records up to here: the latest time of a decision.
    pub as_of: Timestamp,
    /// Accounts in the order of their ids.
    pub members: Vec<FamilyMember>,
    /// Accounts that nothing was decided about yet; nothing is known of their health.
    pub not_decided: u64,
}

/// Every account as its latest decision leaves it; `None` while nothing is decided.
///
/// # Errors
/// [`FamiliesError`].
pub async fn read_all(store: &Store) -> Result<Option<FamilyBook>, FamiliesError> {
    let mut numbers = BTreeMap::new();
    let (mut as_of, mut not_decided) = (None, 0);
    let mut after: Option<AccountId> = None;
    loop {
        let page = store.account_ids(after.as_ref(), PAGE).await?;
        let Some(last) = page.last().cloned() else { break };
        let found = decided(store, &page).await?;
        not_decided += (page.len() - found.len()) as u64;
        as_of = found.values().map(|d| d.as_of).max().max(as_of);
        numbers.extend(found);
        after = Some(last);
    }
    let Some(as_of) = as_of else { return Ok(None) };
    let mut members = links(store, as_of).await?;
    fill(&mut members, &numbers);
    Ok(Some(FamilyBook {
        as_of,
        members,
        not_decided,
    }))
}

/// The family that an account belongs to: of all accounts the links, of its own family the numbers too.
///
/// # Errors
/// [`FamiliesError`].
pub async fn read_one(
    store: &Store,
    account: &AccountId,
    as_of: Timestamp,
) -> Result<Vec<FamilyMember>, FamiliesError> {
    let mut members = links(store, as_of).await?;
    let family: Vec<AccountId> = {
        let tree = FamilyTree::of(&members);
        tree.accounts_of(tree.top(account)).into_iter().cloned().collect()
    };
    let mut numbers = BTreeMap::new();
    for page in family.chunks(PAGE as usize) {
        numbers.extend(decided(store, page).await?);
    }
    fill(&mut members, &numbers);
    Ok(members)
}

/// What a decision says of an account for its family.
struct Numbers {
    as_of: Timestamp,
    arr_minor: Option<i64>,
    health: Option<perennial_core::number::Micro>,
    churned: bool,
}

async fn decided(store: &Store, accounts: &[AccountId]) -> Result<BTreeMap<AccountId, Numbers>, FamiliesError> {
    let mut found = BTreeMap::new();
    for (id, row) in store.latest_decisions(accounts).await? {
        let unreadable = |error: &dyn std::fmt::Display| FamiliesError::Decision(format!("{}: {error}", row.id));
        let text = row.output.text().map_err(|error| unreadable(&error))?;
        let decision: Decision = read("decision", &text).map_err(|error| unreadable(&error))?;
        let numbers = Numbers {
            as_of: decision.as_of,
            arr_minor: decision.features.money("arr").map(|m| m.minor),
            health: decision.scores.health.score_micro,
            churned: decision.features.flag("churned") == Some(true),
        };
        found.insert(id, numbers);
    }
    Ok(found)
}

fn fill(members: &mut [FamilyMember], numbers: &BTreeMap<AccountId, Numbers>) {
    for member in members {
        if let Some(known) = numbers.get(&member.account) {
            member.arr_minor = known.arr_minor;
            member.health_micro = known.health;
            member.churned = known.churned;
        }
    }
}

/// All accounts that were known by a time, with their parents by then and no numbers.
async fn links(store: &Store, as_of: Timestamp) -> Result<Vec<FamilyMember>, StoreError> {
    let mut members = Vec::new();
    let mut after: Option<AccountId> = None;
    loop {
        let page = store.account_ids(after.as_ref(), PAGE).await?;
        let Some(last) = page.last().cloned() else { break };
        for (account, signals) in store.account_records(&page).await? {
            let snapshot = Snapshot::of(account.clone(), as_of, signals, Vec::new(), 0);
            let Some(fact) = snapshot.account_fact() else { continue };
            members.push(FamilyMember {
                parent: fact.parent.clone(),
                account,
                arr_minor: None,
                health_micro: None,
                churned: false,
            });
        }
        after = Some(last);
    }
    Ok(members)
}
