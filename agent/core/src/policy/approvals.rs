//! `approvals.toml`: how people answer what waits for them. How many have to say yes, who is asked when nobody answers, where
//! roles that somebody lent count, and what keeps people from saying yes without reading.
//!
//! The file can only ask for more: who may approve at all stands in the autonomy table and is proved there. A bundle without the file
//! asks one person, and nobody else in time.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use toml::Spanned;

use super::file::{Problem, did_you_mean, parse};
use super::gate::Vocabulary;
use super::gate::table::minutes;
use crate::action::ActionKind;
use crate::signal::{OwnerRole, Tier};

/// Name of the file.
pub const FILE: &str = "approvals.toml";
/// Most people who have to say yes to one action.
const TOGETHER_MAX: usize = 5;
/// Most yeses of a person in 24 hours that can be allowed: more is no limit.
const YESES_MAX: i64 = 1_000;
/// Largest share of drafts that may be canaries: each delays a true one.
const CANARIES_MAX: f64 = 0.1;

/// How people answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Approvals {
    yeses_a_day: Option<u32>,
    reasons: BTreeSet<Tier>,
    canaries: f64,
    together: BTreeMap<(ActionKind, Tier), Vec<OwnerRole>>,
    ask_next: BTreeMap<Tier, i64>,
    lent: Option<BTreeSet<Tier>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ApprovalsFile {
    lent_roles: Option<Vec<Spanned<String>>>,
    yeses_a_day: Option<Spanned<i64>>,
    #[serde(default)]
    yes_needs_reason: Vec<Spanned<String>>,
    canaries: Option<Spanned<f64>>,
    #[serde(default)]
    ask_next: BTreeMap<Spanned<String>, Spanned<String>>,
    #[serde(default)]
    together: BTreeMap<Spanned<String>, BTreeMap<Spanned<String>, RoleList>>,
}

type RoleList = Spanned<Vec<Spanned<String>>>;

impl Approvals {
    /// Whose yes is needed: each of these roles, by another person. `least` is the role that the verdict asks for; it is among
    /// them, or one that includes it is.
    #[must_use]
    pub fn needs(&self, kind: ActionKind, tier: Option<Tier>, least: OwnerRole, named: &Vocabulary) -> Vec<OwnerRole> {
        let listed = tier.and_then(|tier| self.together.get(&(kind, tier)));
        let mut needs = listed.cloned().unwrap_or_default();
        if !needs.iter().any(|role| named.covers(*role, least)) {
            needs.push(least);
        }
        needs
    }

    /// How often one person may say yes within 24 hours; none for as often as they like.
    #[must_use]
    pub fn yeses_a_day(&self) -> Option<u32> {
        self.yeses_a_day
    }

    /// Whether a yes to an action of this tier needs a reason: also where the tier is not known and any tier needs one.
    #[must_use]
    pub fn yes_needs_reason(&self, tier: Option<Tier>) -> bool {
        tier.map_or(!self.reasons.is_empty(), |tier| self.reasons.contains(&tier))
    }

    /// Share of the drafts that wait, from 0 to 1, that are canaries ([`crate::approval::canary`]).
    #[must_use]
    pub fn canaries(&self) -> f64 {
        self.canaries
    }

    /// Minutes after which the next role is asked; none: nobody else is.
    #[must_use]
    pub fn ask_next_minutes(&self, tier: Tier) -> Option<i64> {
        self.ask_next.get(&tier).copied()
    }

    /// Tiers in which the next role is asked in time.
    pub fn ask_next_tiers(&self) -> impl Iterator<Item = (Tier, i64)> + '_ {
        self.ask_next.iter().map(|(tier, minutes)| (*tier, *minutes))
    }

    /// Whether a role that somebody lent counts for accounts of this tier. Where the file does not say, it does not count on
    /// strategic accounts, nor where the tier is not known.
    #[must_use]
    pub fn lent_roles_count(&self, tier: Option<Tier>) -> bool {
        match (tier, &self.lent) {
            (None, _) => false,
            (Some(tier), Some(listed)) => listed.contains(&tier),
            (Some(tier), None) => tier != Tier::STRATEGIC,
        }
    }
}

/// The least senior role that includes `role` and is another one: who is asked next. Of several the first in the order of the
/// vocabulary; none for the most senior.
#[must_use]
pub fn next_role(role: OwnerRole, named: &Vocabulary) -> Option<OwnerRole> {
    named.roles().find(|next| *next != role && named.covers(*next, role))
}

/// Reads the file; what is wrong is said.
pub(super) fn compile(text: &str, named: &Vocabulary, problems: &mut Vec<Problem>) -> Approvals {
    let Some(raw) = parse::<ApprovalsFile>(FILE, text, problems) else {
        return Approvals::default();
    };
    let mut wrong = |offset: usize, message: String, help: String| {
        problems.push(Problem::at(FILE, text, offset, message, help));
    };
    let mut tier = |word: &Spanned<String>| {
        let found = named.tier(word.get_ref());
        if found.is_none() {
            let known = || named.tiers().iter().map(|tier| tier.as_str());
            wrong(
                word.span().start,
                format!("unknown tier `{}`", word.get_ref()),
                did_you_mean(word.get_ref(), known())
                    .unwrap_or_else(|| format!("tiers are {}", known().collect::<Vec<_>>().join(", "))),
            );
        }
        found
    };
    let lent = raw.lent_roles.map(|tiers| tiers.iter().filter_map(&mut tier).collect());
    let reasons = raw.yes_needs_reason.iter().filter_map(&mut tier).collect();
    let mut ask_next = BTreeMap::new();
    let mut times = Vec::new();
    for (name, time) in &raw.ask_next {
        if let Some(tier) = tier(name) {
            times.push((tier, time));
        }
    }
    let mut cells = Vec::new();
    for (action, row) in &raw.together {
        for (name, roles) in row {
            if let Some(tier) = tier(name) {
                cells.push((action, tier, roles));
            }
        }
    }
    let yeses_a_day = raw.yeses_a_day.and_then(|yeses| {
        let most = u32::try_from(*yeses.get_ref())
            .ok()
            .filter(|_| (1..=YESES_MAX).contains(yeses.get_ref()));
        if most.is_none() {
            wrong(
                yeses.span().start,
                format!("{} is no number of yeses a day", yeses.get_ref()),
                format!("give a whole number from 1 to {YESES_MAX}, or leave it out for no limit"),
            );
        }
        most
    });
    let canaries = raw.canaries.map_or(0.0, |share| {
        if (0.0..=CANARIES_MAX).contains(share.get_ref()) {
            return *share.get_ref();
        }
        wrong(
            share.span().start,
            format!("{} is no share of canaries", share.get_ref()),
            format!("give a number from 0.0 to {CANARIES_MAX}: 0.01 for one draft in a hundred"),
        );
        0.0
    });
    for (tier, time) in times {
        match minutes(time.get_ref()) {
            Some(minutes) => {
                ask_next.insert(tier, minutes);
            }
            None => wrong(
                time.span().start,
                format!("`{}` is no time to wait", time.get_ref()),
                "give a whole number of minutes, hours or days, at most 14 days: \"30m\", \"8h\", \"2d\"".to_owned(),
            ),
        }
    }
    let mut together = BTreeMap::new();
    let mut unknown_actions = BTreeSet::new();
    for (action, tier, roles) in cells {
        let Some(kind) = named.action(action.get_ref()) else {
            // Once for a row, however many tiers it names.
            if unknown_actions.insert(action.span().start) {
                let known = || named.actions().map(ActionKind::as_str);
                wrong(
                    action.span().start,
                    format!("unknown action `{}`", action.get_ref()),
                    did_you_mean(action.get_ref(), known())
                        .unwrap_or_else(|| format!("actions are {}", known().collect::<Vec<_>>().join(", "))),
                );
            }
            continue;
        };
        let listed = roles.get_ref();
        if listed.is_empty() || listed.len() > TOGETHER_MAX {
            wrong(
                roles.span().start,
                format!("{} roles are listed", listed.len()),
                format!("list one to {TOGETHER_MAX}: one entry for each person who has to say yes"),
            );
            continue;
        }
        let mut found = Vec::new();
        for word in listed {
            match named.role(word.get_ref()) {
                Some(role) => found.push(role),
                None => {
                    let known = || named.roles().map(OwnerRole::as_str);
                    wrong(
                        word.span().start,
                        format!("unknown role `{}`", word.get_ref()),
                        did_you_mean(word.get_ref(), known())
                            .unwrap_or_else(|| format!("roles are {}", known().collect::<Vec<_>>().join(", "))),
                    );
                }
            }
        }
        found.sort_by_key(|role| role.as_str());
        together.insert((kind, tier), found);
    }
    Approvals {
        yeses_a_day,
        reasons,
        canaries,
        together,
        ask_next,
        lent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Approvals, Vec<String>) {
        let mut problems = Vec::new();
        let found = compile(text, &Vocabulary::default(), &mut problems);
        (found, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn who_has_to_say_yes_is_at_least_the_role_of_the_verdict() {
        let named = Vocabulary::default();
        let text = "[together]\nofferDiscount = { strategic = [\"deal_desk\", \"csm_manager\"] }\n";
        let (approvals, problems) = read(text);
        assert_eq!(problems, Vec::<String>::new());
        let needs = |tier, least| approvals.needs(ActionKind::OFFER_DISCOUNT, tier, least, &named);
        let both = vec![OwnerRole::CSM_MANAGER, OwnerRole::DEAL_DESK];
        assert_eq!(needs(Some(Tier::STRATEGIC), OwnerRole::DEAL_DESK), both);
        assert_eq!(needs(Some(Tier::STRATEGIC), OwnerRole::CSM), both);
        let head = [both.clone(), vec![OwnerRole::VP_CS]].concat();
        assert_eq!(needs(Some(Tier::STRATEGIC), OwnerRole::VP_CS), head);
        assert_eq!(needs(Some(Tier::LOW_TOUCH), OwnerRole::CSM), [OwnerRole::CSM]);
        assert_eq!(needs(None, OwnerRole::CSM), [OwnerRole::CSM]);
    }

    #[test]
    fn the_next_role_is_the_least_senior_that_includes_it() {
        let named = Vocabulary::default();
        assert_eq!(next_role(OwnerRole::CSM, &named), Some(OwnerRole::CSM_MANAGER));
        assert_eq!(next_role(OwnerRole::CSM_MANAGER, &named), Some(OwnerRole::VP_CS));
        assert_eq!(next_role(OwnerRole::DEAL_DESK, &named), Some(OwnerRole::VP_CS));
        assert_eq!(next_role(OwnerRole::VP_CS, &named), None);
    }

    #[test]
    fn lent_roles_do_not_count_on_strategic_accounts_unless_the_file_says_so() {
        let (shipped, _) = read("");
        assert!(shipped.lent_roles_count(Some(Tier::LOW_TOUCH)));
        assert!(!shipped.lent_roles_count(Some(Tier::STRATEGIC)));
        assert!(!shipped.lent_roles_count(None));
        let (wide, problems) = read("lent_roles = [\"strategic\"]\n");
        assert_eq!(problems, Vec::<String>::new());
        assert!(wide.lent_roles_count(Some(Tier::STRATEGIC)));
        assert!(!wide.lent_roles_count(Some(Tier::LOW_TOUCH)));
    }

    #[test]
    fn all_that_is_wrong_is_said_with_its_place() {
        let (_, problems) = read(
            "lent_roles = [\"strategc\"]\n[ask_next]\nmid_touch = \"soon\"\nlow = \"8h\"\n[together]\nofferDiscont = { strategic = \
             [\"vp_cs\"] }\nsendRenewal = { strategic = [] }\nsendQbr = { strategic = [\"vp\"] }\n",
        );
        let expected = [
            "approvals.toml:1:15: unknown tier `strategc`; did you mean `strategic`?",
            "approvals.toml:3:13: `soon` is no time to wait; give a whole number of minutes, hours or days, at most 14 days: \"30m\", \"8h\", \"2d\"",
            "approvals.toml:4:1: unknown tier `low`; tiers are low_touch, mid_touch, strategic",
            "approvals.toml:6:1: unknown action `offerDiscont`; did you mean `offerDiscount`?",
            "approvals.toml:7:29: 0 roles are listed; list one to 5: one entry for each person who has to say yes",
            "approvals.toml:8:26: unknown role `vp`; roles are csm, csm_manager, deal_desk, vp_cs",
        ];
        let mut sorted = problems;
        sorted.sort();
        assert_eq!(sorted, expected);
    }
}
