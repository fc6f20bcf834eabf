//! Reads accounts for the holdout, and stores the arms that core drew. Chooses nothing.

use std::collections::BTreeMap;

use perennial_core::action::ActionState;
use perennial_core::feature;
use perennial_core::holdout::{Families, HoldoutError, Member, Place, Places, Share, Unit, assign, families, hash};
use perennial_core::ids::{AccountId, ExternalId, SourceId};
use perennial_core::money::Money;
use perennial_core::number::Micro;
use perennial_core::policy::Policies;
use perennial_core::replay::{Hash, canonical};
use perennial_core::signal::{Assignment, Fact, Signal};
use perennial_core::snapshot::{PriorAction, Snapshot};
use perennial_core::time::Timestamp;
use perennial_store::{Belongs, LedgerDraft, NewSignal, SignalRow, Store, StoreError};
use serde::Serialize;

/// Accounts read at once.
const PAGE: u32 = 500;
/// Source of the assignments that we draw.
const SOURCE: &str = "perennial";
/// Word of the ledger for a drawn cohort.
const LEDGER_KIND: &str = "holdout";

/// Why no holdout is drawn.
#[derive(Debug, thiserror::Error)]
pub enum AssignError {
    /// What core refuses.
    #[error(transparent)]
    Refused(#[from] HoldoutError),
    /// Everybody has an arm.
    #[error(
        "nobody moves: all {0} families that can be drawn have an arm already, so another seed or share changes nothing"
    )]
    Fixed(usize),
    /// A family stands in both arms.
    #[error("accounts of the family `{0}` stand in different arms: mend the imported assignments first")]
    Split(AccountId),
    /// Somebody else stored an assignment meanwhile.
    #[error("another assignment was stored meanwhile; nothing was changed")]
    Overtaken,
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What an account brings to the draw, and to the record of it.
struct Known {
    member: Member,
    arr: Option<Money>,
    contract_end: Option<perennial_core::time::Day>,
    assigned: Option<(Assignment, Timestamp)>,
}

/// All accounts as of a time, in families.
pub struct Book {
    known: BTreeMap<AccountId, Known>,
    /// The families.
    pub families: Families,
}

/// A cohort that has its arms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cohort {
    /// Number, from 1.
    pub cohort: u32,
    /// Seed of the draw, where it is ours.
    pub seed: Option<i64>,
    /// Share held out, where it is ours.
    pub share_micro: Option<Micro>,
    /// Families.
    pub units: usize,
    /// Hash of the arms now.
    pub hash: Hash,
    /// Whether that is the hash that was stored when they were drawn; `None` for an imported cohort without one.
    pub unchanged: Option<bool>,
}

/// What was drawn.
pub struct Drawn {
    /// The new arms, by parent.
    pub places: Places,
    /// Hash of the new arms.
    pub hash: Hash,
    /// Number of the new cohort.
    pub cohort: u32,
    /// Accounts that get the arm their family has already.
    pub joined: usize,
    /// Facts to store.
    rows: Vec<SignalRow>,
    entry: LedgerDraft,
}

/// Whether something of it may have reached the account or a person.
fn touched(action: &PriorAction) -> bool {
    match action.state {
        ActionState::Denied | ActionState::Superseded | ActionState::Rejected | ActionState::Expired => false,
        ActionState::Advised
        | ActionState::Pending
        | ActionState::Edited
        | ActionState::Snoozed
        | ActionState::Deferred
        | ActionState::Permitted
        | ActionState::Executed
        | ActionState::Failed => true,
    }
}

impl Book {
    /// Reads the accounts as of a time.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn read(store: &Store, policies: &Policies, as_of: Timestamp) -> Result<Book, StoreError> {
        let mut known = BTreeMap::new();
        let mut after: Option<AccountId> = None;
        loop {
            let page = store.account_ids(after.as_ref(), PAGE).await?;
            let Some(last) = page.last().cloned() else { break };
            let mut signals = store.account_signals(&page).await?;
            let prior = store.prior_actions(&page).await?;
            for id in page {
                let treated = prior.get(&id).is_some_and(|list| list.iter().any(touched));
                let signals = signals.remove(&id).unwrap_or_default();
                known.insert(id.clone(), of_account(id, signals, treated, policies, as_of));
            }
            after = Some(last);
        }
        let members: Vec<Member> = known.values().map(|k| k.member.clone()).collect();
        Ok(Book {
            families: families(&members),
            known,
        })
    }

    /// Draws arms for the families that have none, and gives theirs to accounts that joined a family since.
    ///
    /// # Errors
    /// When nobody is left to draw, or a family stands in both arms.
    pub fn draw(&self, share: Share, seed: i64, as_of: Timestamp) -> Result<Drawn, AssignError> {
        if let Some(split) = self.families.split.first() {
            return Err(AssignError::Split(split.clone()));
        }
        let placed = &self.families.placed;
        let places = match assign(&self.families.units, placed, share, seed.unsigned_abs()) {
            Ok(places) => places,
            Err(HoldoutError::Nobody) if !placed.is_empty() => Places::new(),
            Err(error) => return Err(error.into()),
        };
        let cohort = places.values().next().map_or(0, |p| p.cohort);
        let name = hash(&places);
        let units: BTreeMap<&AccountId, &Unit> = self.families.units.iter().map(|u| (&u.account, u)).collect();
        let mut rows = Vec::new();
        let mut joined = 0;
        for (root, members) in &self.families.members {
            let (place, new) = match (places.get(root), placed.get(root)) {
                (Some(place), _) => (place, true),
                (None, Some(place)) => (place, false),
                (None, None) => continue,
            };
            for account in members {
                let Some(known) = self.known.get(account).filter(|k| k.member.place.is_none()) else {
                    continue;
                };
                joined += usize::from(!new);
                let fact = Assignment {
                    arm: Some(place.arm),
                    arr: known.arr,
                    contract_end: known.contract_end,
                    segment: units.get(root).map(|u| u.segment.clone()),
                    unit: Some(root.clone()),
                    cohort: Some(i64::from(place.cohort)),
                    seed: new.then_some(seed),
                    share: new.then(|| Micro::from_f64(share.fraction())),
                    hash: new.then(|| name.to_string()),
                };
                rows.push(row(account, fact, as_of));
            }
        }
        if rows.is_empty() {
            return Err(AssignError::Fixed(placed.len()));
        }
        let body = canonical(&serde_json::json!({
            "cohort": cohort, "hash": name, "joined": joined, "seed": seed, "share_percent": 100 / share.block(),
            "units": places.len(),
        }));
        Ok(Drawn {
            hash: name,
            cohort,
            joined,
            rows,
            entry: LedgerDraft {
                kind: LEDGER_KIND.to_owned(),
                reference: name.to_string(),
                body,
            },
            places,
        })
    }

    /// The families that have an arm, with what was known of them when they were drawn.
    #[must_use]
    pub fn assigned(&self) -> (Vec<Unit>, Places) {
        let mut units: BTreeMap<&AccountId, Unit> = BTreeMap::new();
        for (root, members) in &self.families.members {
            for known in members.iter().filter_map(|id| self.known.get(id)) {
                let Some((fact, at)) = &known.assigned else { continue };
                let due_days = fact.contract_end.map(|end| at.day().days_until(end));
                let segment = fact.segment.as_ref().or(known.member.segment.as_ref());
                let unit = units.entry(root).or_insert_with(|| Unit {
                    account: root.clone(),
                    segment: segment.cloned().unwrap_or_else(|| "unknown".to_owned()),
                    due_days: None,
                    arr_minor: 0,
                });
                unit.arr_minor += fact.arr.map_or(0, |a| a.minor);
                unit.due_days = match (unit.due_days, due_days) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (one, other) => one.or(other),
                };
            }
        }
        (units.into_values().collect(), self.families.placed.clone())
    }

    /// The cohorts there are.
    #[must_use]
    pub fn cohorts(&self) -> Vec<Cohort> {
        let mut cohorts: BTreeMap<u32, Places> = BTreeMap::new();
        for (root, place) in &self.families.placed {
            cohorts.entry(place.cohort).or_default().insert(root.clone(), *place);
        }
        let facts = || {
            self.known
                .values()
                .filter_map(|k| k.assigned.as_ref())
                .map(|(fact, _)| fact)
        };
        cohorts
            .into_iter()
            .map(|(cohort, places)| {
                let drawn = facts().find(|f| cohort_of(f) == cohort && f.hash.is_some());
                let now = hash(&places);
                Cohort {
                    cohort,
                    seed: drawn.and_then(|f| f.seed),
                    share_micro: drawn.and_then(|f| f.share),
                    units: places.len(),
                    hash: now,
                    unchanged: drawn.and_then(|f| f.hash.as_ref()).map(|was| *was == now.to_string()),
                }
            })
            .collect()
    }
}

impl Cohort {
    /// Whether it was drawn with this share and seed.
    #[must_use]
    pub fn is_of(&self, share: Share, seed: i64) -> bool {
        self.seed == Some(seed) && self.share_micro == Some(Micro::from_f64(share.fraction()))
    }
}

impl Drawn {
    /// Stores the arms and their hash in the ledger, all or nothing.
    ///
    /// # Errors
    /// What writing brings; or that somebody else was faster.
    pub async fn store(mut self, store: &Store, now: Timestamp) -> Result<(), AssignError> {
        if store.insert_new_signals(&mut self.rows, &self.entry, now).await? {
            Ok(())
        } else {
            Err(AssignError::Overtaken)
        }
    }

    /// Accounts that get an arm.
    #[must_use]
    pub fn accounts(&self) -> usize {
        self.rows.len()
    }
}

fn cohort_of(fact: &Assignment) -> u32 {
    fact.cohort.and_then(|c| u32::try_from(c).ok()).unwrap_or(1)
}

fn row(account: &AccountId, fact: Assignment, as_of: Timestamp) -> SignalRow {
    SignalRow::of(NewSignal {
        owner: Belongs::Account(account.clone()),
        signal: Signal {
            source: SourceId::new(SOURCE),
            external_id: ExternalId::new(account.as_str()),
            event_at: as_of,
            observed_at: as_of,
            revision_at: Timestamp::EPOCH,
            fact: Fact::Assignment(fact),
        },
    })
}

fn of_account(id: AccountId, signals: Vec<Signal>, treated: bool, policies: &Policies, as_of: Timestamp) -> Known {
    // An arm counts from whenever it was fixed: a draw for an earlier day must not give another.
    let assigned = signals.iter().find_map(|s| match &s.fact {
        Fact::Assignment(fact) if fact.arm.is_some() => Some((fact.clone(), s.event_at)),
        _ => None,
    });
    let snapshot = Snapshot::of(id.clone(), as_of, signals, Vec::new(), policies.settings.usage_days);
    let (features, renewals) = feature::compute(&snapshot, &policies.settings);
    let arr = features.money("arr");
    let contract_end = renewals.iter().filter_map(|r| r.end.as_ref().ok()).min().copied();
    let fact = snapshot.account_fact();
    let member = Member {
        parent: fact.and_then(|f| f.parent.clone()),
        segment: fact
            .and_then(|f| f.segment.clone())
            .or_else(|| features.text("tier").map(str::to_owned)),
        arr_minor: arr.map(|a| a.minor),
        due_days: contract_end.map(|end| as_of.day().days_until(end)),
        treated,
        place: assigned.as_ref().and_then(|(fact, _)| {
            Some(Place {
                arm: fact.arm?,
                cohort: cohort_of(fact),
            })
        }),
        account: id,
    };
    Known {
        member,
        arr,
        contract_end,
        assigned,
    }
}
