//! Counterexamples: what the solver gives, replayed through the real authorizer and told as people read an account.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::{AuthorizationError, Authorizer, Decision, Entities, EntityUid, EvalResult, PolicyId, PolicySet};
use cedar_policy_symcc::Env;
use perennial_core::action::{AccountField, ActionKind};
use perennial_core::ids::AccountId;
use perennial_core::policy::gate::{Approval, Ask, Facts, Gate, Human, Kind, Place, Presence, TERMS, Term, Value};
use perennial_core::signal::{OwnerRole, Tier};
use perennial_core::time::Timestamp;
use serde::Serialize;

use crate::solver::Unproved;

/// A request that contradicts a promise, in the form that `perennial policy decide` reads. It names the facts that a rule or the promise
/// reads; others make no difference.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Counterexample {
    /// What is to be done.
    pub action: ActionKind,
    /// Facts of the account that are known.
    pub account: BTreeMap<&'static str, serde_json::Value>,
    /// Facts of the request that are known.
    pub context: BTreeMap<&'static str, serde_json::Value>,
    /// The approval of a person, where there is one.
    pub approval: Option<Given>,
    /// Whether every number is one that the program would accept.
    #[serde(skip)]
    pub in_range: bool,
    #[serde(skip)]
    facts: Facts,
    /// Names of the facts that the promise or the rules to blame read.
    #[serde(skip)]
    telling: BTreeSet<&'static str>,
}

/// An approval of a counterexample.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Given {
    /// Who gave it.
    pub by: String,
    /// Their roles.
    pub roles: Vec<OwnerRole>,
    /// Whether they are still with us.
    pub active: bool,
    /// Hash of what they saw.
    pub draft_hash: String,
    /// Until when it counts.
    pub expires_at: String,
    #[serde(skip)]
    expires_ms: i64,
}

/// What the real authorizer answers.
#[derive(Debug, Clone)]
pub(crate) struct Replay {
    /// Allowed, and no rule failed.
    pub(crate) allowed: bool,
    /// The rules that led to it.
    pub(crate) rules: Vec<PolicyId>,
}

impl Replay {
    pub(crate) fn word(&self) -> &'static str {
        if self.allowed { "Allow" } else { "Deny" }
    }
}

fn inexpressible(said: impl ToString) -> Unproved {
    Unproved::Inexpressible { said: said.to_string() }
}

/// Asks the authorizer about a request of the solver. The entities get the action groups of the schema, which the solver leaves out.
pub(crate) fn replay(gate: &Gate, policies: &PolicySet, found: &Env) -> Result<Replay, Unproved> {
    let is_action = |uid: &EntityUid| uid.type_name().basename() == "Action";
    let entities = found.entities.iter().filter(|e| !is_action(&e.uid())).cloned();
    let entities = Entities::from_entities(entities, Some(gate.schema())).map_err(inexpressible)?;
    let response = Authorizer::new().is_authorized(&found.request, policies, &entities);
    let failed = response
        .diagnostics()
        .errors()
        .map(|AuthorizationError::PolicyEvaluationError(error)| error.policy_id().clone());
    let mut failed: Vec<PolicyId> = failed.collect();
    failed.sort();
    let mut rules: Vec<PolicyId> = response.diagnostics().reason().cloned().collect();
    rules.sort();
    Ok(Replay {
        allowed: failed.is_empty() && response.decision() == Decision::Allow,
        rules: if failed.is_empty() { rules } else { failed },
    })
}

/// Least and greatest value of a fact at an account that could exist.
fn plausible_range(term: &Term) -> Option<(i64, i64)> {
    let Kind::Number { min, max } = term.kind else {
        return None;
    };
    Some(match (term.name, min, max) {
        ("arr_minor" | "contract_minor" | "deal_minor", _, _) => (100_000, 500_000_000),
        ("discount_minor" | "change_points" | "change_pm", _, _) => (0, 1000),
        ("term_months", _, _) => (1, 60),
        ("arr_major", _, _) => (1_000, 5_000_000),
        ("contacts_last_7d", _, _) => (0, 20),
        // Days.
        (_, -1_000_000, 1_000_000) => (-365, 3650),
        // Changes and log ratios.
        (_, -1_000_000_000, 1_000_000_000) => (-1000, 1000),
        // Counts.
        (_, 0, 1_000_000_000_000) => (0, 10_000),
        (_, _, _) => (min, max),
    })
}

/// Whether a text of Cedar mentions a name, in whatever way.
pub(crate) fn mentions(text: &str, name: &str) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices(name).any(|(at, _)| {
        let before = text.get(..at).and_then(|t| t.chars().next_back());
        let after = text.get(at + name.len()..).and_then(|t| t.chars().next());
        !before.is_some_and(part) && !after.is_some_and(part)
    })
}

/// Whether a text of Cedar reads a fact.
pub(crate) fn reads(text: &str, name: &str) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices(name).any(|(at, _)| {
        let before = text.get(..at).and_then(|t| t.chars().next_back());
        let after = text.get(at + name.len()..).and_then(|t| t.chars().next());
        before == Some('.') && !after.is_some_and(part)
    })
}

/// The facts of one kind of request that its rules or a promise read.
fn read_facts(gate: &Gate, promise: &str, kind: ActionKind) -> BTreeSet<&'static str> {
    let rules = gate.rules().iter().filter(|rule| {
        let id = PolicyId::new(&rule.id);
        gate.policies_for(kind).is_some_and(|set| set.policy(&id).is_some())
    });
    let texts: Vec<&str> = rules.map(|rule| rule.text.as_str()).chain([promise]).collect();
    let own = |term: &&Term| term.only.is_none_or(|only| only == kind);
    let names = TERMS.iter().filter(own).map(|term| term.name);
    names
        .filter(|name| texts.iter().any(|text| reads(text, name)))
        .collect()
}

/// The condition that numbers are those of an account that could exist, this year.
pub(crate) fn plausible(gate: &Gate, now: Timestamp, promise: &str, kind: ActionKind) -> Option<String> {
    let names = read_facts(gate, promise, kind);
    let mut conditions = Vec::new();
    let now = now.to_string();
    let year: i64 = now.get(..4)?.parse().ok()?;
    let this_year = |path: &str| {
        format!(
            "{path} >= datetime(\"{year:04}-01-01\") && {path} < datetime(\"{:04}-01-01\")",
            year + 1
        )
    };
    for term in TERMS.iter() {
        if term.only.is_some_and(|only| only != kind) {
            continue;
        }
        let holder = match term.place {
            Place::Account => "resource",
            Place::Context => "context",
        };
        let path = format!("{holder}.{}", term.name);
        let condition = match (plausible_range(term), term.kind) {
            (Some((min, max)), _) if names.contains(term.name) || term.presence == Presence::Always => {
                format!("{path} >= {min} && {path} <= {max}")
            }
            (_, Kind::Moment) => this_year(&path),
            (Some(_) | None, _) => continue,
        };
        conditions.push(match term.presence {
            Presence::Always => format!("({condition})"),
            Presence::MayBeUnknown => format!("(if {holder} has {} then {condition} else true)", term.name),
        });
    }
    let expires = this_year("context.approval.expires_at");
    conditions.push(format!("(if context has approval then {expires} else true)"));
    Some(conditions.join(" && "))
}

/// Milliseconds since the epoch of a moment as Cedar prints it: `datetime("1970-01-01").offset(duration("…ms"))`.
pub(crate) fn moment(text: &str) -> Option<i64> {
    if let Some((_, rest)) = text.split_once("duration(\"") {
        return rest.split_once("ms\"")?.0.parse().ok();
    }
    let (_, rest) = text.split_once("datetime(\"")?;
    let at: Timestamp = rest.split_once('"')?.0.parse().ok()?;
    Some(at.us().div_euclid(1000))
}

fn moment_text(ms: i64) -> String {
    Timestamp::from_us(ms.saturating_mul(1000)).to_string()
}

fn value(term: &Term, found: &EvalResult) -> Option<Value> {
    Some(match (term.kind, found) {
        (Kind::Flag, EvalResult::Bool(flag)) => Value::Flag(*flag),
        (Kind::Number { .. }, EvalResult::Long(number)) => Value::Number(*number),
        (Kind::Word, EvalResult::String(word)) => Value::Word(word.clone()),
        (Kind::Tier, EvalResult::EntityUid(uid)) => Value::Tier(Tier::from_word(uid.id().unescaped())?),
        (Kind::Moment, EvalResult::ExtensionValue(text)) => Value::Moment(moment(text)?),
        (Kind::Flag | Kind::Number { .. } | Kind::Word | Kind::Tier | Kind::Moment, _) => return None,
    })
}

fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::Unknown => serde_json::Value::Null,
        Value::Flag(flag) => (*flag).into(),
        Value::Number(number) => (*number).into(),
        Value::Word(word) => word.as_str().into(),
        Value::Tier(tier) => tier.as_str().into(),
        Value::Moment(ms) => moment_text(*ms).into(),
    }
}

fn approval(found: &Env, record: &EvalResult) -> Option<Given> {
    let EvalResult::Record(record) = record else {
        return None;
    };
    let (EvalResult::EntityUid(by), EvalResult::String(draft_hash), EvalResult::ExtensionValue(expires)) =
        (record.get("by")?, record.get("draft_hash")?, record.get("expires_at")?)
    else {
        return None;
    };
    let human = found.entities.get(by)?;
    let roles = match human.attr("roles")?.ok()? {
        EvalResult::Set(set) => set
            .iter()
            .map(|role| match role {
                EvalResult::EntityUid(uid) => OwnerRole::from_word(uid.id().unescaped()),
                _ => None,
            })
            .collect::<Option<BTreeSet<OwnerRole>>>()?,
        _ => return None,
    };
    let EvalResult::Bool(active) = human.attr("active")?.ok()? else {
        return None;
    };
    let expires_ms = moment(expires)?;
    Some(Given {
        by: by.id().unescaped().to_owned(),
        roles: roles.into_iter().collect(),
        active,
        draft_hash: draft_hash.clone(),
        expires_at: moment_text(expires_ms),
        expires_ms,
    })
}

impl Counterexample {
    /// Tells a request of the solver in the words of the vocabulary.
    pub(crate) fn of(
        found: &Env,
        kind: ActionKind,
        gate: &Gate,
        promise: &str,
        blamed: &[PolicyId],
    ) -> Result<Counterexample, Unproved> {
        let unreadable = |what: &str| inexpressible(format!("the counterexample cannot be read: {what}"));
        let account = found
            .request
            .resource()
            .ok_or_else(|| unreadable("it has no account"))?;
        let context = found.request.context().ok_or_else(|| unreadable("it has no context"))?;
        let entity = found.entities.get(account);
        let mut facts = Facts::unknown(AccountId::new(account.id().unescaped()));
        let mut in_range = true;
        let names = read_facts(gate, promise, kind);
        let (mut of_account, mut of_context) = (BTreeMap::new(), BTreeMap::new());
        for term in TERMS.iter() {
            let held = match term.place {
                Place::Account => match entity.and_then(|e| e.attr(term.name)) {
                    Some(held) => Some(held.map_err(inexpressible)?),
                    None => None,
                },
                Place::Context => context.get(term.name),
            };
            let Some(held) = held else { continue };
            let value = value(term, &held).ok_or_else(|| unreadable(term.name))?;
            if names.contains(term.name) || term.place == Place::Context && term.presence == Presence::Always {
                let told = match term.place {
                    Place::Account => &mut of_account,
                    Place::Context => &mut of_context,
                };
                told.insert(term.name, json(&value));
            }
            in_range = facts.set(term.place, term.name, value).is_ok() && in_range;
        }
        if let Some(EvalResult::EntityUid(uid)) = context.get("last_editor") {
            let editor = uid.id().unescaped().to_owned();
            of_context.insert("last_editor", editor.as_str().into());
            facts.last_editor = Some(editor);
        }
        let given = match context.get("approval") {
            Some(record) => Some(approval(found, &record).ok_or_else(|| unreadable("its approval"))?),
            None => None,
        };
        let mut texts = vec![promise];
        texts.extend(
            blamed
                .iter()
                .filter_map(|id| gate.rule(id.as_ref()))
                .map(|rule| rule.text.as_str()),
        );
        let telling = names
            .into_iter()
            .filter(|name| *name == "tier" || texts.iter().any(|text| reads(text, name)));
        Ok(Counterexample {
            action: kind,
            account: of_account,
            context: of_context,
            approval: given,
            in_range,
            telling: telling.chain(["last_editor"]).collect(),
            facts,
        })
    }

    pub(crate) fn tier(&self) -> Option<Tier> {
        match self.facts.get(Place::Account, "tier") {
            Value::Tier(tier) => Some(*tier),
            _ => None,
        }
    }

    /// Asks the gate itself, which makes request and entities anew from facts. What the program would not take as facts
    /// cannot be asked there.
    pub(crate) fn ask_the_gate(&self, gate: &Gate, replay: &Replay) -> Result<(), Unproved> {
        let field = match self.facts.get(Place::Context, "field") {
            Value::Word(word) if self.action == ActionKind::UPDATE_FIELD => match AccountField::from_word(word) {
                Some(field) => Some(field),
                None => return Ok(()),
            },
            _ => None,
        };
        if !self.in_range {
            return Ok(());
        }
        let ask = Ask {
            action: self.action,
            field,
        };
        let approval = self.approval.as_ref().map(|given| Approval {
            by: Human {
                id: given.by.clone(),
                roles: given.roles.iter().copied().collect(),
                active: given.active,
            },
            draft_hash: given.draft_hash.clone(),
            expires_at: given.expires_ms,
        });
        let answer = gate
            .ask_cedar(&self.facts, ask, approval.as_ref())
            .map_err(inexpressible)?;
        if answer.allowed == replay.allowed {
            Ok(())
        } else {
            let replay = if answer.allowed { "Allow" } else { "Deny" }.to_owned();
            Err(Unproved::Disagreement { replay })
        }
    }
}

impl std::fmt::Display for Counterexample {
    /// The request on one line, with the facts that matter to it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let told = |facts: &BTreeMap<&'static str, serde_json::Value>| {
            let facts = facts.iter().filter(|(name, _)| self.telling.contains(**name));
            facts
                .map(|(name, value)| format!("{name} {value}"))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let unknown = TERMS.iter().filter(|term| {
            term.place == Place::Account && self.telling.contains(term.name) && !self.account.contains_key(term.name)
        });
        let mut account = vec![told(&self.account)];
        account.extend(unknown.map(|term| format!("{} unknown", term.name)));
        account.retain(|part| !part.is_empty());
        write!(f, "{}, account {{{}}}", self.action, account.join(", "))?;
        let context = told(&self.context);
        if !context.is_empty() {
            write!(f, ", context {{{context}}}")?;
        }
        match &self.approval {
            None => f.write_str(", no approval"),
            Some(given) => {
                let roles: Vec<&str> = given.roles.iter().map(|role| role.as_str()).collect();
                let active = if given.active { "" } else { ", who has left," };
                write!(
                    f,
                    ", approval by {:?}{active} as {} for draft {:?} until {}",
                    given.by,
                    if roles.is_empty() {
                        "nobody".to_owned()
                    } else {
                        roles.join("+")
                    },
                    given.draft_hash,
                    given.expires_at
                )
            }
        }
    }
}
