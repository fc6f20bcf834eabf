//! The gate: whether an action may happen by itself, with whose approval, or not at all.
//!
//! The table `autonomy.toml` is compiled to Cedar rules that carry its lines; people add rules of their own. Promises:
//!
//! - What is not permitted is denied, and a forbid beats every permit.
//! - A rule that fails, a fact out of range and a request that does not fit its schema deny ([`Verdict`] says so).
//! - Who must approve is asked, not coded: with hypothetical approvals of one role after the other.
//! - Decisions use an evaluator of our own that is compiled from the same parsed rules ([`direct`]); tests hold it equal to
//!   Cedar, and what it cannot compile is asked of Cedar.
//!
//! It does not read files, and it does not prove anything: [`Gate::schema`], [`Gate::policies`] and [`Gate::rules`] are what a
//! prover needs.

mod before;
mod cedar;
pub mod direct;
mod earning;
mod facts;
mod generate;
pub mod hours;
mod injection;
pub mod limits;
mod named;
mod promises;
mod rules;
pub(super) mod table;
mod verdict;
mod vocabulary;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use cedar_policy::{Authorizer, Policy, PolicyId, PolicySet, Schema, Validator};

pub use before::Before;
pub use earning::Earning;
pub use facts::{Approval, Ask, FactError, Facts, Human, Request, Value};
pub use generate::{Generated, generate};
pub use hours::{Addressee, Calendar, ContactHours, LocalTime, Sending};
pub use named::Vocabulary;
pub use promises::{Promise, PromiseKind};
pub use rules::{Effect, Origin, Rule};
pub use table::{AutoNeeds, Budgeted, Cell, Guard, Limit, Table};
pub use verdict::{Engine, Level, Routed, RuleRef, Verdict};
pub use vocabulary::{Group, Kind, Place, Presence, TERMS, Term, schema_text, schema_text_of, slot};

use super::file::Problem;
use crate::action::ActionKind;
use crate::time::Day;

/// The compiled rules of a policies folder. Immutable.
pub struct Gate {
    table: Table,
    rules: Vec<Rule>,
    by_id: BTreeMap<String, usize>,
    schema: Schema,
    policies: PolicySet,
    /// Only the rules whose scope can match the kind.
    by_kind: BTreeMap<ActionKind, PolicySet>,
    programs: BTreeMap<ActionKind, direct::Program>,
    promises: Vec<Promise>,
    authorizer: Authorizer,
}

/// What the rules answer to one question.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// Whether it may happen.
    pub allowed: bool,
    /// Positions in [`Gate::rules`] of the rules that led to it, rising: permits of an allowed action, forbids of a
    /// forbidden one, none where no rule permits.
    pub rules: Vec<usize>,
    /// Positions of the rules that failed, rising. Where there is one, nothing is allowed.
    pub failed: Vec<usize>,
}

impl Gate {
    /// Compiles a checked table and files of rules and promises by path, such as `rules/90-never.cedar`.
    pub(super) fn compile(
        table: Option<Table>,
        named: &Vocabulary,
        files: &BTreeMap<&str, &str>,
        problems: &mut Vec<Problem>,
    ) -> Option<Gate> {
        let before = problems.len();
        let fault = |what: String| Problem::whole("rules", what, "this is a fault of the program: please report it");
        let schema = match Schema::from_cedarschema_str(&schema_text(named)) {
            Ok((schema, _)) => schema,
            Err(error) => {
                problems.push(fault(format!("the built-in schema does not load: {error}")));
                return None;
            }
        };
        let validator = Validator::new(schema.clone());
        let (promised, files): (BTreeMap<_, _>, BTreeMap<_, _>) =
            files.iter().partition(|(file, _)| file.starts_with("promises/"));
        let promises = promises::read(&promised, &validator, named, problems);
        let mut from_files = Vec::new();
        for (file, text) in &files {
            from_files.extend(rules::read(file, text, &validator, problems));
        }
        // The files are checked even where the table is wrong: every problem is named at once.
        let table = table?;
        let mut parsed = Vec::new();
        for made in generate(&table) {
            let id = PolicyId::new(&made.id);
            match Policy::parse(Some(id), &made.text) {
                Ok(policy) => parsed.push(rules::Parsed {
                    rule: Rule {
                        effect: match policy.effect() {
                            cedar_policy::Effect::Permit => Effect::Permit,
                            cedar_policy::Effect::Forbid => Effect::Forbid,
                        },
                        origin: match (made.cell, made.id.starts_with("limit:")) {
                            (Some(_), _) => Origin::Cell,
                            (None, true) => Origin::Limit,
                            (None, false) => Origin::GuardRail,
                        },
                        file: table.file.clone(),
                        line: made.line,
                        why: made.why,
                        owner: None,
                        until: None,
                        cell: made.cell,
                        text: made.text,
                        id: made.id,
                    },
                    policy,
                }),
                Err(error) => problems.push(fault(format!(
                    "the rule made for `{}` does not parse: {error}",
                    made.id
                ))),
            }
        }
        parsed.append(&mut from_files);
        let mut gate = Gate {
            table,
            rules: Vec::with_capacity(parsed.len()),
            by_id: BTreeMap::new(),
            schema,
            policies: PolicySet::new(),
            by_kind: named.actions().map(|kind| (kind, PolicySet::new())).collect(),
            programs: BTreeMap::new(),
            promises,
            authorizer: Authorizer::new(),
        };
        let mut sources: BTreeMap<ActionKind, Vec<(usize, Effect, Policy)>> = BTreeMap::new();
        for rules::Parsed { rule, policy } in parsed {
            if let Some(first) = gate.by_id.get(&rule.id).and_then(|at| gate.rules.get(*at)) {
                let message = format!(
                    "two rules are named `{}`; the other stands at {}:{}",
                    rule.id, first.file, first.line
                );
                problems.push(Problem {
                    file: rule.file.clone(),
                    line: rule.line,
                    column: 1,
                    message,
                    help: "give one of the two another name".to_owned(),
                });
                continue;
            }
            let at = gate.rules.len();
            for kind in rules::kinds(&policy, named) {
                if let Some(set) = gate.by_kind.get_mut(&kind) {
                    // The ids are unique, which is all that `add` asks.
                    let _ = set.add(policy.clone());
                }
                sources.entry(kind).or_default().push((at, rule.effect, policy.clone()));
            }
            let _ = gate.policies.add(policy);
            gate.by_id.insert(rule.id.clone(), at);
            gate.rules.push(rule);
        }
        for kind in named.actions() {
            let rules = sources.remove(&kind).unwrap_or_default();
            if let Some(program) = direct::Program::compile(kind, &rules, named) {
                gate.programs.insert(kind, program);
            }
        }
        if problems.len() == before {
            earning::against_promises(&gate, problems);
        }
        (problems.len() == before).then_some(gate)
    }

    /// The table as written.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The names of tiers, roles, actions and groups.
    #[must_use]
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.table.vocabulary
    }

    /// Every rule: those of the table first, then those of the files in the order of their paths.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// A rule by its name.
    #[must_use]
    pub fn rule(&self, id: &str) -> Option<&Rule> {
        self.by_id.get(id).and_then(|at| self.rules.get(*at))
    }

    /// What must never or always hold of these rules, by the path of its file.
    #[must_use]
    pub fn promises(&self) -> &[Promise] {
        &self.promises
    }

    /// The schema that requests, entities and rules fit.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// All rules as Cedar policies; the id of each is the name of its rule.
    #[must_use]
    pub fn policies(&self) -> &PolicySet {
        &self.policies
    }

    /// Only the policies whose scope can match a kind of action.
    #[must_use]
    pub fn policies_for(&self, kind: ActionKind) -> Option<&PolicySet> {
        self.by_kind.get(&kind)
    }

    /// The kinds of action that the direct evaluator answers; the others are asked of Cedar.
    pub fn direct_kinds(&self) -> impl Iterator<Item = ActionKind> + '_ {
        self.programs.keys().copied()
    }

    /// Exceptions that have ended before `today`: they hold no longer, and are to be taken out.
    #[must_use]
    pub fn expired(&self, today: Day) -> Vec<Problem> {
        let ended = self.rules.iter().filter_map(|rule| {
            let until = rule.until.filter(|until| *until < today)?;
            Some(Problem {
                file: rule.file.clone(),
                line: rule.line,
                column: 1,
                message: format!("the exception `{}` ended on {until}", rule.id),
                help: "take it out, or give it a new @until".to_owned(),
            })
        });
        ended.collect()
    }
}
