//! From accounts to what is randomised: families under one parent, and why some cannot be drawn.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Place, Places, Unit};
use crate::ids::AccountId;
use crate::signal::word_enum;

/// An account, with what is known of it before any treatment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Account.
    pub account: AccountId,
    /// Account it belongs to.
    pub parent: Option<AccountId>,
    /// Market segment.
    pub segment: Option<String>,
    /// Yearly revenue, minor units of one currency; `None` where unknown.
    pub arr_minor: Option<i64>,
    /// Days to its nearest contract end.
    pub due_days: Option<i64>,
    /// Something was proposed, advised or done for it already.
    pub treated: bool,
    /// The arm it has already.
    pub place: Option<Place>,
}

word_enum! {
    /// Why a family is not drawn.
    LeftOut {
        /// The engine proposed or did something for one of its accounts already.
        Treated = "treated",
        /// The revenue of one of its accounts is not known.
        RevenueUnknown = "revenue_unknown",
        /// It pays nothing, so it cannot be retained.
        NoRevenue = "no_revenue",
    }
}

/// Accounts in families.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Families {
    /// What can be drawn, or was: by parent.
    pub units: Vec<Unit>,
    /// Accounts of each family, by parent.
    pub members: BTreeMap<AccountId, Vec<AccountId>>,
    /// Arms there are already, by parent. A family with an account in the holdout is in the holdout.
    pub placed: Places,
    /// Families that cannot be drawn.
    pub left_out: BTreeMap<AccountId, LeftOut>,
    /// Families whose accounts stand in different arms.
    pub split: Vec<AccountId>,
}

/// Puts accounts into families by their topmost parent. Parents in a circle are one family, named by its first id.
#[must_use]
pub fn families(members: &[Member]) -> Families {
    let parents: BTreeMap<&AccountId, &AccountId> = members
        .iter()
        .filter_map(|m| Some((&m.account, m.parent.as_ref()?)))
        .collect();
    let mut by_root: BTreeMap<&AccountId, BTreeMap<&AccountId, &Member>> = BTreeMap::new();
    for member in members {
        let family = by_root.entry(root(&member.account, &parents)).or_default();
        family.insert(&member.account, member);
    }
    let mut found = Families::default();
    for (root, family) in by_root {
        let arms: BTreeSet<Place> = family.values().filter_map(|m| m.place).collect();
        // `Holdout` comes after `Engine`, so the last is the stricter one.
        if let Some(place) = arms.last() {
            found.placed.insert(root.clone(), *place);
        }
        if arms.iter().map(|p| p.arm).collect::<BTreeSet<_>>().len() > 1 {
            found.split.push(root.clone());
        }
        let members = family.keys().map(|id| (*id).clone()).collect();
        found.members.insert(root.clone(), members);
        match unit(root, &family) {
            Ok(unit) => found.units.push(unit),
            Err(why) if arms.is_empty() => {
                found.left_out.insert(root.clone(), why);
            }
            Err(_) => {}
        }
    }
    found
}

/// The topmost parent; in a circle the first id of it.
fn root<'a>(account: &'a AccountId, parents: &BTreeMap<&'a AccountId, &'a AccountId>) -> &'a AccountId {
    let mut path = vec![account];
    let mut top = account;
    while let Some(next) = parents.get(top) {
        if let Some(at) = path.iter().position(|id| id == next) {
            return path[at..].iter().min().copied().unwrap_or(account);
        }
        path.push(next);
        top = next;
    }
    top
}

fn unit(root: &AccountId, family: &BTreeMap<&AccountId, &Member>) -> Result<Unit, LeftOut> {
    if family.values().any(|m| m.treated) {
        return Err(LeftOut::Treated);
    }
    let revenues: Option<Vec<i64>> = family.values().map(|m| m.arr_minor).collect();
    let arr_minor: i64 = revenues.ok_or(LeftOut::RevenueUnknown)?.iter().sum();
    if arr_minor <= 0 {
        return Err(LeftOut::NoRevenue);
    }
    let of_root = family.get(root).and_then(|m| m.segment.clone());
    let segment = of_root.or_else(|| family.values().find_map(|m| m.segment.clone()));
    Ok(Unit {
        account: root.clone(),
        segment: segment.unwrap_or_else(|| "unknown".to_owned()),
        due_days: family.values().filter_map(|m| m.due_days).min(),
        arr_minor,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::Arm;

    fn member(id: &str, parent: Option<&str>, arr: Option<i64>) -> Member {
        Member {
            account: AccountId::new(id),
            parent: parent.map(AccountId::new),
            segment: None,
            arr_minor: arr,
            due_days: None,
            treated: false,
            place: None,
        }
    }

    fn ids(list: &[AccountId]) -> Vec<&str> {
        list.iter().map(AccountId::as_str).collect()
    }

    #[test]
    fn all_that_belongs_to_a_parent_is_one_unit() {
        let mut top = member("p", None, Some(10));
        top.segment = Some("ENT".to_owned());
        let mut child = member("c", Some("p"), Some(20));
        child.due_days = Some(40);
        let mut grandchild = member("g", Some("c"), Some(30));
        grandchild.due_days = Some(12);
        grandchild.segment = Some("SMB".to_owned());
        let found = families(&[grandchild, child, top, member("x", None, Some(5))]);
        assert_eq!(found.units.len(), 2);
        let unit = &found.units[0];
        assert_eq!((unit.account.as_str(), unit.segment.as_str()), ("p", "ENT"));
        assert_eq!((unit.arr_minor, unit.due_days), (60, Some(12)));
        assert_eq!(ids(&found.members[&unit.account]), ["c", "g", "p"]);
        assert_eq!(found.units[1].segment, "unknown");
    }

    #[test]
    fn a_circle_of_parents_is_one_family_and_a_parent_without_record_holds_its_children() {
        let circle = [member("b", Some("a"), Some(1)), member("a", Some("b"), Some(1))];
        let with_tail = [circle[0].clone(), circle[1].clone(), member("c", Some("b"), Some(1))];
        let found = families(&with_tail);
        assert_eq!(ids(&found.members[&AccountId::new("a")]), ["a", "b", "c"]);
        let found = families(&[member("c1", Some("away"), Some(1)), member("c2", Some("away"), Some(1))]);
        assert_eq!(found.units[0].account.as_str(), "away");
        assert_eq!(found.members.len(), 1);
    }

    #[test]
    fn who_was_treated_or_whose_revenue_is_unknown_or_zero_is_left_out_with_the_reason() {
        let mut treated = member("t", Some("p"), Some(10));
        treated.treated = true;
        let list = [
            member("p", None, Some(10)),
            treated,
            member("u", None, None),
            member("z", None, Some(0)),
            member("ok", None, Some(1)),
        ];
        let found = families(&list);
        let why: Vec<(&str, LeftOut)> = found.left_out.iter().map(|(id, why)| (id.as_str(), *why)).collect();
        assert_eq!(
            why,
            [
                ("p", LeftOut::Treated),
                ("u", LeftOut::RevenueUnknown),
                ("z", LeftOut::NoRevenue)
            ]
        );
        assert_eq!(found.units.len(), 1);
    }

    #[test]
    fn a_family_keeps_its_arm_and_one_that_stands_in_both_is_named() {
        let place = |arm| Some(Place { arm, cohort: 1 });
        let mut one = member("c1", Some("p"), Some(1));
        one.place = place(Arm::Holdout);
        one.treated = true;
        let two = member("c2", Some("p"), Some(1));
        let found = families(&[one.clone(), two.clone()]);
        assert_eq!(found.placed[&AccountId::new("p")].arm, Arm::Holdout);
        assert!(found.left_out.is_empty() && found.split.is_empty());
        let mut two = two;
        two.place = place(Arm::Engine);
        let found = families(&[one, two]);
        assert_eq!(found.placed[&AccountId::new("p")].arm, Arm::Holdout);
        assert_eq!(ids(&found.split), ["p"]);
    }
}
