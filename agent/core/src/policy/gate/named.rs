//! What a policies folder has names for: its tiers, its roles and who includes whom, its actions and their groups.
//!
//! The built-in ones are always there, because code, records and shipped rules speak of them. `[tiers]`, `[roles]` and
//! `[actions]` of `autonomy.toml` add to them; nothing takes one away.
//!
//! An added action is a name for what playbooks do: each thing it writes is still one of the four writes that the hands know,
//! and is asked about under the row of that write too.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use toml::Spanned;

use super::super::Content;
use super::super::file::did_you_mean;
use super::vocabulary::Group;
use crate::action::ActionKind;
use crate::signal::{Crm, OwnerRole, Tier};
use crate::word::well_formed;

/// Most tiers, built-in ones included.
const TIERS_MAX: usize = 32;
/// Most roles: sets of them are kept as bits.
const ROLES_MAX: usize = 64;
/// Most actions.
const ACTIONS_MAX: usize = 128;

/// A role and what it includes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Role {
    role: OwnerRole,
    /// Itself, and all that it includes directly or through another.
    includes: BTreeSet<OwnerRole>,
}

/// An action and the groups it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Action {
    kind: ActionKind,
    group: Group,
    /// Groups of the admin's own.
    own: BTreeSet<String>,
}

/// The names that rules, tests and tables may use for tiers, roles, actions and groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vocabulary {
    tiers: Vec<Tier>,
    /// In the order in which hypothetical approvals are tried: a role after all that it includes.
    roles: Vec<Role>,
    actions: Vec<Action>,
    own_groups: BTreeSet<String>,
}

/// `[tiers]`, `[roles]` and `[actions]` as written.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Added {
    /// Meaning by tier.
    #[serde(default)]
    pub(super) tiers: BTreeMap<Spanned<String>, String>,
    /// What a role includes.
    #[serde(default)]
    pub(super) roles: BTreeMap<Spanned<String>, Vec<Spanned<String>>>,
    /// Groups by action.
    #[serde(default)]
    pub(super) actions: BTreeMap<Spanned<String>, Spanned<Vec<Spanned<String>>>>,
}

/// What a built-in role includes directly.
fn built_in_includes(role: OwnerRole) -> &'static [OwnerRole] {
    match role {
        OwnerRole::CSM_MANAGER => &[OwnerRole::CSM],
        OwnerRole::VP_CS => &[OwnerRole::CSM_MANAGER, OwnerRole::DEAL_DESK],
        _ => &[],
    }
}

fn built_in_group(kind: ActionKind) -> Option<Group> {
    Some(match kind {
        ActionKind::CREATE_TASK => Group::Internal,
        ActionKind::UPDATE_FIELD | ActionKind::UPDATE_OPPORTUNITY | ActionKind::CREATE_NOTE => Group::CrmWrite,
        ActionKind::SEND_EMAIL | ActionKind::SEND_QBR => Group::CustomerFacing,
        ActionKind::SEND_RENEWAL | ActionKind::OFFER_DISCOUNT => Group::Commercial,
        _ => return None,
    })
}

impl Default for Vocabulary {
    /// The built-in names alone.
    fn default() -> Vocabulary {
        Vocabulary::read(&Added::default(), &mut |_, _, _| {})
    }
}

/// Says a problem: byte, what is wrong, what to do.
type Wrong<'w> = dyn FnMut(usize, String, String) + 'w;

const FORM: &str = "a small letter, then letters, digits and `_`, at most 40 in all";

impl Vocabulary {
    /// The names of a policies folder, whatever else is wrong with it.
    #[must_use]
    pub fn of(content: &Content) -> Vocabulary {
        Vocabulary::of_table(content.policies.get("autonomy.toml").map_or("", String::as_str))
    }

    /// The names in the text of `autonomy.toml`, whatever else is wrong with it.
    #[must_use]
    pub fn of_table(text: &str) -> Vocabulary {
        Vocabulary::read(&toml::from_str(text).unwrap_or_default(), &mut |_, _, _| {})
    }

    /// The built-in names and those that are added. What is wrong is said and left out.
    pub(super) fn read(added: &Added, wrong: &mut Wrong<'_>) -> Vocabulary {
        let mut tiers = Tier::BUILT_IN.to_vec();
        for name in added.tiers.keys() {
            let at = name.span().start;
            let word = name.get_ref();
            match Tier::from_word(word) {
                Some(tier) if tiers.contains(&tier) => {
                    wrong(
                        at,
                        format!("the tier `{word}` is there already"),
                        "remove the line".to_owned(),
                    );
                }
                Some(_) if Crm::from_word(word).is_some() => {
                    let help = "[budget] could not tell the two apart: choose another name".to_owned();
                    wrong(at, format!("`{word}` is the name of a CRM"), help);
                }
                Some(_) if tiers.len() >= TIERS_MAX => {
                    wrong(
                        at,
                        format!("more than {TIERS_MAX} tiers"),
                        "take some together".to_owned(),
                    );
                }
                Some(tier) => tiers.push(tier),
                None => wrong(at, format!("`{word}` cannot name a tier"), format!("a name is {FORM}")),
            }
        }
        let roles = roles(added, wrong);
        let (actions, own_groups) = actions(added, wrong);
        Vocabulary {
            tiers,
            roles,
            actions,
            own_groups,
        }
    }

    /// The tiers: built-in ones first.
    #[must_use]
    pub fn tiers(&self) -> &[Tier] {
        &self.tiers
    }

    /// The tier that a word names.
    #[must_use]
    pub fn tier(&self, word: &str) -> Option<Tier> {
        self.tiers.iter().copied().find(|tier| tier.as_str() == word)
    }

    /// The roles in the order in which hypothetical approvals are tried: a role after all that it includes.
    pub fn roles(&self) -> impl DoubleEndedIterator<Item = OwnerRole> + Clone + '_ {
        self.roles.iter().map(|role| role.role)
    }

    /// The role that a word names.
    #[must_use]
    pub fn role(&self, word: &str) -> Option<OwnerRole> {
        self.roles().find(|role| role.as_str() == word)
    }

    /// Whether a role suffices where `needed` is asked for. A role that has no name here suffices nowhere.
    #[must_use]
    pub fn covers(&self, role: OwnerRole, needed: OwnerRole) -> bool {
        let held = self.roles.iter().find(|held| held.role == role);
        held.is_some_and(|held| held.includes.contains(&needed))
    }

    /// The roles that suffice where `needed` is asked for.
    #[must_use]
    pub fn covering(&self, needed: OwnerRole) -> BTreeSet<OwnerRole> {
        self.roles().filter(|role| self.covers(*role, needed)).collect()
    }

    /// The first role that suffices for all of these.
    #[must_use]
    pub fn covering_all(&self, needed: &BTreeSet<OwnerRole>) -> Option<OwnerRole> {
        self.roles()
            .find(|role| needed.iter().all(|needed| self.covers(*role, *needed)))
    }

    /// The position of a role in the order of asking.
    pub(super) fn position(&self, role: OwnerRole) -> usize {
        self.roles().position(|one| one == role).unwrap_or(usize::MAX)
    }

    /// A set of roles as bits. Roles without a name here have none.
    pub(super) fn bits<'r>(&self, roles: impl IntoIterator<Item = &'r OwnerRole>) -> u64 {
        let bit = |role: &OwnerRole| {
            u32::try_from(self.position(*role))
                .ok()
                .and_then(|at| 1_u64.checked_shl(at))
        };
        roles
            .into_iter()
            .fold(0, |bits, role| bits | bit(role).unwrap_or_default())
    }

    /// The actions: built-in ones first.
    pub fn actions(&self) -> impl Iterator<Item = ActionKind> + Clone + '_ {
        self.actions.iter().map(|action| action.kind)
    }

    /// The action that a word names.
    #[must_use]
    pub fn action(&self, word: &str) -> Option<ActionKind> {
        self.actions().find(|kind| kind.as_str() == word)
    }

    /// Groups of the admin's own.
    #[must_use]
    pub fn own_groups(&self) -> &BTreeSet<String> {
        &self.own_groups
    }

    /// The engine's group of an action; none where the action has no name here.
    #[must_use]
    pub fn group(&self, kind: ActionKind) -> Option<Group> {
        self.named(kind).map(|action| action.group)
    }

    /// The groups that an action is in directly, as the schema says it.
    #[must_use]
    pub fn groups(&self, kind: ActionKind) -> Vec<&str> {
        let action = self.named(kind);
        let groups = action.map(|a| std::iter::once(a.group.as_str()).chain(a.own.iter().map(String::as_str)));
        groups.into_iter().flatten().collect()
    }

    /// Whether an action is in a group, directly or through another; groups of the admin's own by their name.
    #[must_use]
    pub fn is_in(&self, kind: ActionKind, group: &str) -> bool {
        self.named(kind).is_some_and(|action| {
            let through = |of: Group| of.as_str() == group;
            through(action.group) || action.group.parent().is_some_and(through) || action.own.contains(group)
        })
    }

    /// Whether the customer sees it. An action that has no name here is taken to be seen: its limits hold.
    #[must_use]
    pub fn is_customer_facing(&self, kind: ActionKind) -> bool {
        self.group(kind)
            .is_none_or(|group| matches!(group, Group::CustomerFacing | Group::Commercial))
    }

    /// Whether it is about money. An action that has no name here is taken to be.
    #[must_use]
    pub fn is_commercial(&self, kind: ActionKind) -> bool {
        self.group(kind).is_none_or(|group| group == Group::Commercial)
    }

    fn named(&self, kind: ActionKind) -> Option<&Action> {
        self.actions.iter().find(|action| action.kind == kind)
    }
}

fn roles(added: &Added, wrong: &mut Wrong<'_>) -> Vec<Role> {
    // Directly included roles, in the order that decides ties: built-in ones as declared, then by name.
    let mut direct: Vec<(OwnerRole, BTreeSet<OwnerRole>, usize)> = OwnerRole::BUILT_IN
        .iter()
        .map(|role| (*role, built_in_includes(*role).iter().copied().collect(), 0))
        .collect();
    for name in added.roles.keys() {
        let (at, word) = (name.span().start, name.get_ref());
        match OwnerRole::from_word(word) {
            Some(role) if direct.iter().any(|(known, _, _)| *known == role) => {}
            Some(_) if direct.len() >= ROLES_MAX => {
                wrong(
                    at,
                    format!("more than {ROLES_MAX} roles"),
                    "take some together".to_owned(),
                );
            }
            Some(role) => direct.push((role, BTreeSet::new(), at)),
            None => wrong(at, format!("`{word}` cannot name a role"), format!("a name is {FORM}")),
        }
    }
    let known: Vec<OwnerRole> = direct.iter().map(|(role, _, _)| *role).collect();
    for (name, list) in &added.roles {
        for one in list {
            let found = known.iter().copied().find(|role| role.as_str() == one.get_ref());
            match (
                found,
                direct.iter_mut().find(|(role, _, _)| role.as_str() == name.get_ref()),
            ) {
                (Some(included), Some((_, includes, at))) => {
                    includes.insert(included);
                    *at = one.span().start;
                }
                (None, _) => {
                    let words = || known.iter().map(|role| role.as_str());
                    let help = did_you_mean(one.get_ref(), words())
                        .unwrap_or_else(|| format!("add it as a row of its own; roles are {}", listed(words())));
                    wrong(one.span().start, format!("unknown role `{}`", one.get_ref()), help);
                }
                (Some(_), None) => {}
            }
        }
    }
    let mut ordered: Vec<Role> = Vec::new();
    while ordered.len() < direct.len() {
        let ready = |ordered: &[Role], role: &(OwnerRole, BTreeSet<OwnerRole>, usize)| {
            let done = |one: OwnerRole| ordered.iter().any(|o| o.role == one);
            !done(role.0) && role.1.iter().all(|included| done(*included))
        };
        let Some((role, includes, _)) = direct.iter().find(|role| ready(&ordered, role)) else {
            let left: Vec<_> = direct
                .iter()
                .filter(|(role, _, _)| !ordered.iter().any(|o| o.role == *role))
                .collect();
            let at = left.iter().map(|(_, _, at)| *at).max().unwrap_or_default();
            let message = format!(
                "roles include each other in a circle: {}",
                listed(left.iter().map(|(role, _, _)| role.as_str()))
            );
            let help = "the one that approves for the other includes it, not both".to_owned();
            wrong(at, message, help);
            break;
        };
        let mut all = BTreeSet::from([*role]);
        for one in includes {
            let held = ordered.iter().find(|o| o.role == *one);
            all.extend(held.iter().flat_map(|o| o.includes.iter().copied()));
        }
        ordered.push(Role {
            role: *role,
            includes: all,
        });
    }
    ordered
}

fn actions(added: &Added, wrong: &mut Wrong<'_>) -> (Vec<Action>, BTreeSet<String>) {
    let mut actions: Vec<Action> = ActionKind::BUILT_IN
        .iter()
        .filter_map(|kind| {
            Some(Action {
                kind: *kind,
                group: built_in_group(*kind)?,
                own: BTreeSet::new(),
            })
        })
        .collect();
    let mut own_groups = BTreeSet::new();
    for (name, groups) in &added.actions {
        let (at, word) = (name.span().start, name.get_ref());
        let mut of_engine = Vec::new();
        let mut own = BTreeSet::new();
        for group in groups.get_ref() {
            match Group::from_word(group.get_ref()) {
                Some(found) => of_engine.push(found),
                None if group_formed(group.get_ref()) => {
                    own.insert(group.get_ref().clone());
                }
                None => {
                    let message = format!("`{}` cannot name a group of actions", group.get_ref());
                    let help = "a group is a capital letter, then letters and digits, at most 40 in all".to_owned();
                    wrong(group.span().start, message, help);
                }
            }
        }
        let known = ActionKind::from_word(word).and_then(|kind| actions.iter_mut().find(|a| a.kind == kind));
        match (known, of_engine.as_slice()) {
            // A built-in action may come into groups of the admin's own; the engine's group stays.
            (Some(known), []) => {
                own_groups.extend(own.iter().cloned());
                known.own.extend(own);
            }
            (Some(known), _) => {
                let message = format!("`{word}` is in {} and stays there", known.group);
                let help = "only groups of your own can be added to a built-in action".to_owned();
                wrong(groups.span().start, message, help);
            }
            (None, [group]) => match ActionKind::from_word(word) {
                Some(_) if actions.len() >= ACTIONS_MAX => {
                    wrong(
                        at,
                        format!("more than {ACTIONS_MAX} actions"),
                        "take some together".to_owned(),
                    );
                }
                Some(kind) => {
                    own_groups.extend(own.iter().cloned());
                    actions.push(Action {
                        kind,
                        group: *group,
                        own,
                    });
                }
                None => wrong(
                    at,
                    format!("`{word}` cannot name an action"),
                    format!("a name is {FORM}"),
                ),
            },
            (None, _) => {
                let message = format!("`{word}` must be in exactly one of the engine's groups");
                let help = format!("name one of {}", listed(Group::ALL.iter().map(|g| g.as_str())));
                wrong(groups.span().start, message, help);
            }
        }
    }
    (actions, own_groups)
}

fn group_formed(word: &str) -> bool {
    let mut lower = word.to_owned();
    if let Some(first) = lower.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    word.starts_with(|c: char| c.is_ascii_uppercase()) && well_formed(&lower) && !word.contains('_')
}

fn listed<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.collect::<Vec<_>>().join(", ")
}
