//! Limits that hold across all actions: what an action needs room in, and what it takes, when it is permitted.
//!
//! The rules of the gate judge one action by what is known; two that are decided apart would each find the other absent. So
//! the same limits are also holds, which whoever permits an action has counted and taken in one transaction.

use super::table::Budgeted;
use super::{Addressee, Gate, RuleRef};
use crate::action::{ActionKind, Effect};
use crate::ids::{AccountId, PlaybookId};
use crate::policy::Policies;
use crate::signal::Tier;
use crate::time::DAY_US;

/// Days that the limits of contacts look back.
const CONTACT_DAYS: i64 = 7;

/// A limit across actions as it concerns one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Across {
    /// What is counted: `account`, `contact`, `playbook`, `tier` or `tool`.
    pub counter: &'static str,
    /// Of whom or what.
    pub subject: String,
    /// There is no room once so many other actions have a place; none: only a place is taken.
    pub room: Option<u32>,
    /// How long its place counts after its last effect, microseconds; none: it takes no place.
    pub window_us: Option<i64>,
    /// The rule that stands in the way where there is no room.
    pub rule: RuleRef,
}

/// What is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Account.
    pub account: &'a AccountId,
    /// Kind of the action.
    pub kind: ActionKind,
    /// Playbook that proposes it.
    pub playbook: &'a PlaybookId,
    /// Tier of the account, where known.
    pub tier: Option<Tier>,
    /// What it writes.
    pub effects: &'a [Effect],
    /// Whom it addresses.
    pub whom: &'a Addressee,
}

/// The limits that hold across actions, as they concern one of them.
#[must_use]
pub fn across(policies: &Policies, asked: &Asked<'_>) -> Vec<Across> {
    let mut list = Vec::new();
    // What writes nothing takes nothing.
    if asked.effects.is_empty() {
        return list;
    }
    let gate = &policies.gate;
    let account = asked.account.as_str();
    if gate.vocabulary().is_customer_facing(asked.kind) {
        let table = gate.table();
        let most = &table.contacts_7_days;
        let window_us = Some(CONTACT_DAYS * DAY_US);
        list.push(Across {
            counter: "account",
            subject: account.to_owned(),
            room: Some(most.value),
            window_us,
            rule: rule(
                gate,
                "limit:contacts",
                most.line,
                format!("not now: at most {} contacts in 7 days", most.value),
            ),
        });
        if let (Some(most), Some(contact)) = (&table.person_7_days, &asked.whom.contact) {
            let why = format!("not now: at most {} contacts with one person in 7 days", most.value);
            list.push(Across {
                counter: "contact",
                subject: format!("{account}/{contact}"),
                room: Some(most.value),
                window_us,
                rule: rule(gate, "limit:contacts-of-person", most.line, why),
            });
        }
    }
    list.extend(exclusions(policies, asked));
    for (by, most) in &gate.table().budgets {
        let concerned = match by {
            Budgeted::Tier(tier) => asked.tier == Some(*tier),
            Budgeted::Tool(tool) => asked.effects.iter().any(|effect| effect.tool == *tool),
        };
        if concerned {
            let why = format!(
                "not now: at most {} actions for {} in 24 hours",
                most.value,
                by.subject()
            );
            list.push(Across {
                counter: by.counter(),
                subject: by.subject().to_owned(),
                room: Some(most.value),
                window_us: Some(DAY_US),
                rule: rule(gate, &format!("budget:{}", by.subject()), most.line, why),
            });
        }
    }
    list
}

/// Playbooks that do not go together: each takes a place that the other must not find.
fn exclusions(policies: &Policies, asked: &Asked<'_>) -> Vec<Across> {
    let (account, own) = (asked.account.as_str(), asked.playbook.as_str());
    let mut list = Vec::new();
    for other in policies.playbooks.values() {
        let Some(days) = excludes(policies, own, other.id.as_str()) else {
            continue;
        };
        let (file, line) = exclusion_place(policies, own, other.id.as_str());
        let rule = RuleRef {
            id: format!("excludes:{}", other.id),
            file,
            line,
            why: format!("not now: not within {days} days of an action of `{}`", other.id),
        };
        let place = |of: &str, against: &str| format!("{account}/{of}/{against}");
        list.push(Across {
            counter: "playbook",
            subject: place(own, other.id.as_str()),
            room: None,
            window_us: Some(days.saturating_mul(DAY_US)),
            rule: rule.clone(),
        });
        list.push(Across {
            counter: "playbook",
            subject: place(other.id.as_str(), own),
            room: Some(1),
            window_us: None,
            rule,
        });
    }
    list
}

/// For how many days two playbooks exclude each other, whichever of them says so.
#[must_use]
pub fn excludes(policies: &Policies, one: &str, other: &str) -> Option<i64> {
    let says = |a: &str, b: &str| {
        let playbook = policies.playbooks.get(a)?;
        playbook.excludes.contains(b).then_some(playbook.excludes_days)
    };
    says(one, other).max(says(other, one))
}

fn exclusion_place(policies: &Policies, one: &str, other: &str) -> (String, usize) {
    let of = |a: &str, b: &str| policies.playbooks.get(a).filter(|p| p.excludes.contains(b));
    of(one, other)
        .or_else(|| of(other, one))
        .map_or_else(|| ("playbooks".to_owned(), 1), |p| (p.file.clone(), p.excludes_line))
}

fn rule(gate: &Gate, id: &str, line: usize, why: String) -> RuleRef {
    RuleRef {
        id: id.to_owned(),
        file: gate.table().file.clone(),
        line,
        why,
    }
}
