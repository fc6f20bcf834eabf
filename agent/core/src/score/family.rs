//! Families: the health of a parent account with all accounts that belong to it, as one number.
//!
//! Promises: the score is the exact sum of what its accounts add; the order of the input changes nothing; what is not known
//! is counted beside the score and never taken for zero. Parents without a record and circles are reported, not followed.
//!
//! Not here: proposals. An account is decided alone; a family is computed where it is read.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::card::shares;
use super::{Band, band_of};
use crate::ids::AccountId;
use crate::number::Micro;
use crate::policy::{Bands, FamilyTerms, RollUp};
use crate::signal::word_enum;

/// An account, with what a family needs of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FamilyMember {
    /// Account.
    pub account: AccountId,
    /// Account it belongs to.
    pub parent: Option<AccountId>,
    /// Yearly revenue, minor units of one currency; `None` where unknown.
    pub arr_minor: Option<i64>,
    /// Its health, 0 to 100; `None` where it cannot be assessed.
    pub health_micro: Option<Micro>,
    /// Has left: it belongs to its family and counts in no number.
    pub churned: bool,
}

/// The score of a family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Family {
    /// The account at its head.
    pub account: AccountId,
    /// How the accounts became one number.
    pub roll_up: RollUp,
    /// 0 to 100, the exact sum of what the accounts add; `None` when it cannot be said.
    pub score_micro: Option<Micro>,
    /// Band of the score, by the limits of health.
    pub band: Option<Band>,
    /// How much of it is known.
    pub coverage: FamilyCoverage,
    /// The accounts, the head too: what adds most first, then by id.
    pub parts: Vec<FamilyPart>,
    /// Why there is no score.
    pub missing: Option<String>,
}

/// How much of a family is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FamilyCoverage {
    /// Accounts that have not left.
    pub accounts: usize,
    /// Of these, those whose health is known.
    pub known: usize,
    /// Accounts that have left; they are in no other number.
    pub churned: usize,
    /// Yearly revenue, minor units; `None` where that of one account is not known.
    pub arr_minor: Option<i64>,
    /// Yearly revenue of the accounts whose health is known; `None` where that of one of them is not known.
    pub arr_known_minor: Option<i64>,
    /// Share that is known, 1 is all: of the revenue, or of the accounts where a revenue is not known or all is zero.
    pub share_micro: Micro,
}

/// One account of a family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FamilyPart {
    /// Account.
    pub account: AccountId,
    /// The account right above it; `None` for the head.
    pub parent: Option<AccountId>,
    /// Yearly revenue, minor units.
    pub arr_minor: Option<i64>,
    /// Its health.
    pub health_micro: Option<Micro>,
    /// Has left.
    pub churned: bool,
    /// What it adds to the family's score.
    pub adds_micro: Micro,
}

word_enum! {
    /// What is wrong with the parent of an account.
    FamilyFaultKind {
        /// There is no record of the parent: the account stands for itself.
        ParentMissing = "parent_missing",
        /// The account is, through its parents, its own parent: it is in no family.
        Circle = "circle",
        /// Its parents lead into a circle: it is in no family.
        BelowCircle = "below_circle",
    }
}

/// An account whose parent cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct FamilyFault {
    /// Account.
    pub account: AccountId,
    /// What its record names as parent.
    pub parent: AccountId,
    /// What is wrong.
    pub kind: FamilyFaultKind,
}

/// Who belongs to whom.
#[derive(Debug)]
pub struct FamilyTree<'m> {
    members: BTreeMap<&'m AccountId, &'m FamilyMember>,
    children: BTreeMap<&'m AccountId, BTreeSet<&'m AccountId>>,
    faults: Vec<FamilyFault>,
    /// Accounts in a circle or below one.
    lost: BTreeSet<&'m AccountId>,
}

impl<'m> FamilyTree<'m> {
    /// The tree of some accounts. Of an account that is given twice the last one counts.
    #[must_use]
    pub fn of(members: &'m [FamilyMember]) -> FamilyTree<'m> {
        let members: BTreeMap<&AccountId, &FamilyMember> = members.iter().map(|m| (&m.account, m)).collect();
        let mut children: BTreeMap<&AccountId, BTreeSet<&AccountId>> = BTreeMap::new();
        let mut faults = Vec::new();
        let mut reached: Vec<&AccountId> = Vec::new();
        for (id, member) in &members {
            match &member.parent {
                Some(parent) if members.contains_key(parent) => {
                    children.entry(parent).or_default().insert(*id);
                }
                Some(parent) => {
                    faults.push(fault(id, parent, FamilyFaultKind::ParentMissing));
                    reached.push(id);
                }
                None => reached.push(id),
            }
        }
        let mut lost: BTreeSet<&AccountId> = members.keys().copied().collect();
        while let Some(id) = reached.pop() {
            lost.remove(id);
            reached.extend(children.get(id).into_iter().flatten());
        }
        let circle = circles(&lost, &members);
        for id in &lost {
            let kind = if circle.contains(id) {
                FamilyFaultKind::Circle
            } else {
                FamilyFaultKind::BelowCircle
            };
            let parent = members.get(id).and_then(|m| m.parent.as_ref());
            faults.extend(parent.map(|parent| fault(id, parent, kind)));
        }
        faults.sort();
        FamilyTree {
            members,
            children,
            faults,
            lost,
        }
    }

    /// What is wrong with parents, in the order of accounts.
    #[must_use]
    pub fn faults(&self) -> &[FamilyFault] {
        &self.faults
    }

    /// Topmost accounts that have others below them, in the order of their ids.
    pub fn heads(&self) -> impl Iterator<Item = &'m AccountId> + '_ {
        let is_top = |id: &&AccountId| self.above(id).is_none();
        self.children
            .keys()
            .copied()
            .filter(|id| !self.lost.contains(id))
            .filter(is_top)
    }

    /// The account right above another, where it can be followed.
    #[must_use]
    pub fn above(&self, account: &AccountId) -> Option<&'m AccountId> {
        let parent = self.members.get(account)?.parent.as_ref()?;
        let known = self.members.contains_key(parent) && !self.lost.contains(account);
        known.then_some(parent)
    }

    /// The topmost account above another, itself where there is none.
    #[must_use]
    pub fn top<'a>(&self, account: &'a AccountId) -> &'a AccountId
    where
        'm: 'a,
    {
        let mut top = account;
        // Whoever is lost has nobody above, so this ends.
        while let Some(parent) = self.above(top) {
            top = parent;
        }
        top
    }

    /// An account and all below it; nothing for an account in a circle or below one.
    #[must_use]
    pub fn accounts_of(&self, head: &AccountId) -> BTreeSet<&'m AccountId> {
        let mut found = BTreeSet::new();
        let Some((head, _)) = self.members.get_key_value(head) else {
            return found;
        };
        if self.lost.contains(*head) {
            return found;
        }
        let mut open = vec![*head];
        while let Some(id) = open.pop() {
            found.insert(id);
            open.extend(self.children.get(id).into_iter().flatten());
        }
        found
    }

    /// The score of an account with all below it; `None` when nothing is below it.
    #[must_use]
    pub fn family(&self, head: &AccountId, terms: &FamilyTerms, bands: Bands) -> Option<Family> {
        let ids = self.accounts_of(head);
        (ids.len() > 1).then(|| {
            let members: Vec<&FamilyMember> = ids.iter().filter_map(|id| self.members.get(id).copied()).collect();
            family(head, &members, terms, bands)
        })
    }
}

/// Of accounts that each have one parent among them, those that are their own forebears: what is left when whoever has no
/// child is taken away, again and again.
fn circles<'m>(
    lost: &BTreeSet<&'m AccountId>,
    members: &BTreeMap<&'m AccountId, &'m FamilyMember>,
) -> BTreeSet<&'m AccountId> {
    let above = |id: &AccountId| members.get(id).and_then(|m| m.parent.as_ref());
    let mut children: BTreeMap<&AccountId, usize> = BTreeMap::new();
    for parent in lost.iter().filter_map(|id| above(id)) {
        *children.entry(parent).or_default() += 1;
    }
    let mut left = lost.clone();
    let mut childless: Vec<&AccountId> = lost.iter().copied().filter(|id| !children.contains_key(id)).collect();
    while let Some(id) = childless.pop() {
        left.remove(id);
        let Some(parent) = above(id) else { continue };
        let count = children.entry(parent).or_default();
        *count = count.saturating_sub(1);
        if *count == 0 {
            childless.push(parent);
        }
    }
    left
}

fn fault(account: &AccountId, parent: &AccountId, kind: FamilyFaultKind) -> FamilyFault {
    FamilyFault {
        account: account.clone(),
        parent: parent.clone(),
        kind,
    }
}

fn family(head: &AccountId, members: &[&FamilyMember], terms: &FamilyTerms, bands: Bands) -> Family {
    let live: Vec<&FamilyMember> = members.iter().copied().filter(|m| !m.churned).collect();
    let coverage = coverage(&live, members.len() - live.len());
    let (shares, mut missing) = match shares(terms.roll_up, live.iter().map(|m| (m.health_micro, m.arr_minor))) {
        Ok(shares) => (shares, None),
        Err(missing) => (vec![0.0; live.len()], Some(missing)),
    };
    // A share is a quotient: it may miss its limit by a rounding.
    let percent = coverage.share_micro.to_f64() * 100.0;
    if coverage.known == 0 {
        missing = Some("the health of any of its accounts".to_owned());
    } else if percent + 1e-4 < terms.unknown_below {
        missing = Some(format!(
            "the health of more of its accounts: {percent:.0} % is known, {} % is needed",
            terms.unknown_below
        ));
    }
    let adds: BTreeMap<&AccountId, Micro> = live
        .iter()
        .zip(&shares)
        .map(|(m, share)| {
            let health = m.health_micro.unwrap_or_default().to_f64();
            (&m.account, Micro::from_f64(health * share))
        })
        .collect();
    let mut parts: Vec<FamilyPart> = members
        .iter()
        .map(|m| FamilyPart {
            account: m.account.clone(),
            parent: m.parent.clone().filter(|_| m.account != *head),
            arr_minor: m.arr_minor,
            health_micro: m.health_micro,
            churned: m.churned,
            adds_micro: adds.get(&m.account).copied().unwrap_or_default(),
        })
        .collect();
    parts.sort_by(|a, b| (b.adds_micro, &a.account).cmp(&(a.adds_micro, &b.account)));
    // INVARIANT (a score is the sum of its contributions).
    let sum = Micro(parts.iter().map(|p| p.adds_micro.0).sum());
    let score_micro = missing.is_none().then_some(sum);
    Family {
        account: head.clone(),
        roll_up: terms.roll_up,
        score_micro,
        band: score_micro.map(|score| band_of(score, bands)),
        coverage,
        parts,
        missing,
    }
}

fn coverage(live: &[&FamilyMember], churned: usize) -> FamilyCoverage {
    let known: Vec<&FamilyMember> = live.iter().copied().filter(|m| m.health_micro.is_some()).collect();
    let sum = |members: &[&FamilyMember]| members.iter().try_fold(0_i64, |sum, m| sum.checked_add(m.arr_minor?));
    let (arr_minor, arr_known_minor) = (sum(live), sum(&known));
    let share = match arr_minor.filter(|all| *all > 0).zip(arr_known_minor) {
        Some((all, known)) => known as f64 / all as f64,
        None => known.len() as f64 / live.len().max(1) as f64,
    };
    FamilyCoverage {
        accounts: live.len(),
        known: known.len(),
        churned,
        arr_minor,
        arr_known_minor,
        share_micro: Micro::from_f64(share),
    }
}

#[cfg(test)]
mod tests;
