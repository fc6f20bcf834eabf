//! The conditions of playbooks, in Cedar: typed, checked when loaded, and never true by error.
//!
//! A condition reads facts of the account as `resource.NAME`. One that needs a fact that is not known does not hold, and the
//! missing field is named. Numbers are whole numbers: see the trigger scale in the catalogue of features.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use cedar_policy::{
    Authorizer, Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Policy, PolicyId, PolicySet, Request,
    RestrictedExpression, Schema, ValidationMode, Validator,
};

use miette::Diagnostic;

use super::file::Problem;
use crate::feature::{CATALOGUE, Features, Unit, Value};

/// Compiled conditions.
pub struct Triggers {
    authorizer: Authorizer,
    policies: PolicySet,
    /// Facts that each playbook's condition reads.
    reads: BTreeMap<String, BTreeSet<String>>,
    request: Request,
    uid: EntityUid,
}

/// What holds for an account.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matched {
    /// Playbooks whose condition holds.
    pub holds: BTreeSet<String>,
    /// Playbooks that could not be judged, with the facts they would have needed.
    pub cannot_assess: BTreeMap<String, Vec<String>>,
}

/// A condition as it stands in a file.
pub(super) struct Condition<'a> {
    /// By what it is asked about.
    pub(super) id: &'a str,
    /// The key it stands behind, for messages.
    pub(super) key: &'static str,
    /// What it says.
    pub(super) when: &'a str,
    /// File.
    pub(super) file: &'a str,
    /// Text of the file.
    pub(super) text: &'a str,
    /// Byte of the condition in it.
    pub(super) offset: usize,
}

fn trigger_type(unit: Unit, scale: i64) -> Option<&'static str> {
    match unit {
        Unit::Flag => Some("Bool"),
        Unit::Text => Some("String"),
        Unit::Date | Unit::Money => None,
        Unit::Count
        | Unit::Percent
        | Unit::Score
        | Unit::Days
        | Unit::Ratio
        | Unit::Share
        | Unit::LogRatio
        | Unit::Logit
        | Unit::Points => (scale != 0).then_some("Long"),
    }
}

/// The vocabulary of conditions as a Cedar schema.
#[must_use]
pub fn schema_text() -> String {
    let attributes: Vec<String> = CATALOGUE
        .iter()
        .filter_map(|d| trigger_type(d.unit, d.trigger_scale).map(|t| format!("  {}: {t},", d.name)))
        .collect();
    format!(
        "entity Agent;\nentity Account {{\n{}\n}};\naction consider appliesTo {{ principal: [Agent], resource: [Account], context: {{}} }};\n",
        attributes.join("\n")
    )
}

fn uid(type_name: &str, id: &str) -> Option<EntityUid> {
    let type_name: EntityTypeName = type_name.parse().ok()?;
    Some(EntityUid::from_type_name_and_id(type_name, EntityId::new(id)))
}

impl Triggers {
    pub(super) fn compile<'a>(
        conditions: impl Iterator<Item = Condition<'a>>,
        problems: &mut Vec<Problem>,
    ) -> Option<Triggers> {
        let before = problems.len();
        let internal =
            |what: String| Problem::whole("playbooks", what, "this is a fault of the program: please report it");
        let schema = match Schema::from_cedarschema_str(&schema_text()) {
            Ok((schema, _)) => schema,
            Err(error) => {
                problems.push(internal(format!("the built-in schema does not load: {error}")));
                return None;
            }
        };
        let mut policies = PolicySet::new();
        let mut reads = BTreeMap::new();
        for condition in conditions {
            let Condition { id, file, text, .. } = condition;
            let source = format!("permit(principal, action, resource) when {{ {} }};", condition.when);
            let prefix = "permit(principal, action, resource) when { ".len();
            let policy = match Policy::parse(Some(PolicyId::new(id)), &source) {
                Ok(policy) => policy,
                Err(error) => {
                    let offset = first_offset(&error).unwrap_or(prefix).saturating_sub(prefix);
                    let message = format!("`{}` is not a condition: {error}", condition.key);
                    let help = "write it like 'resource.days_to_renewal <= 90 && resource.risk >= 30'";
                    problems.push(Problem::at(file, text, condition.offset + offset, message, help.into()));
                    continue;
                }
            };
            let used = policy.to_json().map(|json| attributes(&json)).unwrap_or_default();
            reads.insert(id.to_owned(), used);
            let mut alone = PolicySet::new();
            let checked = alone.add(policy.clone()).is_ok();
            let result = Validator::new(schema.clone()).validate(&alone, ValidationMode::Strict);
            for error in result.validation_errors() {
                let offset = first_offset(error).unwrap_or(prefix).saturating_sub(prefix);
                let said = error.to_string();
                let message = said.split_once(": ").map_or(said.clone(), |(_, rest)| rest.to_owned());
                let message = message.replace(&format!("for policy `{id}`, "), "");
                let help = suggestion(error);
                problems.push(Problem::at(file, text, condition.offset + offset, message, help));
            }
            if !checked || policies.add(policy).is_err() {
                problems.push(internal(format!("two conditions are named `{id}`")));
            }
        }
        let (agent, action, account) = (
            uid("Agent", "perennial"),
            uid("Action", "consider"),
            uid("Account", "account"),
        );
        let (Some(agent), Some(action), Some(account)) = (agent, action, account) else {
            problems.push(internal("built-in names do not parse".to_owned()));
            return None;
        };
        let request = match Request::new(agent, action, account.clone(), Context::empty(), Some(&schema)) {
            Ok(request) => request,
            Err(error) => {
                problems.push(internal(format!(
                    "the built-in request does not fit its schema: {error}"
                )));
                return None;
            }
        };
        if problems.len() != before {
            return None;
        }
        Some(Triggers {
            authorizer: Authorizer::new(),
            policies,
            reads,
            request,
            uid: account,
        })
    }

    /// Which playbooks hold for these facts.
    #[must_use]
    pub fn matches(&self, features: &Features) -> Matched {
        let mut attributes = HashMap::new();
        for d in CATALOGUE {
            let Some(value) = features.known(d.name) else { continue };
            let expression = match value {
                Value::Flag(flag) => RestrictedExpression::new_bool(*flag),
                Value::Text(text) => RestrictedExpression::new_string(text.clone()),
                Value::Number(number) => RestrictedExpression::new_long(scaled(number.0, d.trigger_scale)),
                Value::Day(_) | Value::Money(_) => continue,
            };
            attributes.insert(d.name.to_owned(), expression);
        }
        let entity = Entity::new(self.uid.clone(), attributes, std::collections::HashSet::new());
        let entities = entity.ok().and_then(|e| Entities::from_entities([e], None).ok());
        let Some(entities) = entities else {
            // A fact that cannot be handed over decides nothing: every playbook fails closed.
            let all = self
                .reads
                .keys()
                .map(|id| (id.clone(), vec!["facts that can be evaluated".to_owned()]))
                .collect();
            return Matched {
                holds: BTreeSet::new(),
                cannot_assess: all,
            };
        };
        let answer = self.authorizer.is_authorized(&self.request, &self.policies, &entities);
        let mut matched = Matched::default();
        for error in answer.diagnostics().errors() {
            let cedar_policy::AuthorizationError::PolicyEvaluationError(error) = error;
            let id = error.policy_id().to_string();
            let missing: Vec<String> = self
                .reads
                .get(&id)
                .into_iter()
                .flatten()
                .filter_map(|name| {
                    // A fact that is not even unknown comes from a detector, and there are none without their table.
                    let absent = (!features.0.contains_key(name)).then_some("[signals] in scoring.toml");
                    let field = features.missing(name).or(absent)?;
                    Some(format!("{name} (missing: {field})"))
                })
                .collect();
            matched.cannot_assess.insert(id, missing);
        }
        if answer.decision() == cedar_policy::Decision::Allow {
            matched
                .holds
                .extend(answer.diagnostics().reason().map(|id| id.to_string()));
        }
        matched
    }

    /// The facts that a playbook's condition reads.
    #[must_use]
    pub fn reads(&self, playbook: &str) -> Option<&BTreeSet<String>> {
        self.reads.get(playbook)
    }
}

/// Value times scale as a whole number, rounded down.
fn scaled(micro: i64, scale: i64) -> i64 {
    i64::try_from((i128::from(micro) * i128::from(scale)).div_euclid(1_000_000)).unwrap_or(i64::MAX)
}

/// Where Cedar points to, a byte of the text it was given.
fn first_offset(error: &dyn Diagnostic) -> Option<usize> {
    error.labels()?.next().map(|label| label.offset())
}

fn suggestion(error: &dyn Diagnostic) -> String {
    let help = error.help().map(|help| help.to_string());
    help.unwrap_or_else(|| "docs/reference/facts lists the facts and their units".to_owned())
}

/// Names read as `resource.NAME` anywhere in a policy's JSON form.
fn attributes(json: &serde_json::Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    collect(json, &mut found);
    found
}

fn collect(json: &serde_json::Value, found: &mut BTreeSet<String>) {
    match json {
        serde_json::Value::Object(map) => {
            if let Some(access) = map.get(".") {
                let of_resource = access.pointer("/left/Var").and_then(|v| v.as_str()) == Some("resource");
                if let (true, Some(name)) = (of_resource, access.get("attr").and_then(|a| a.as_str())) {
                    found.insert(name.to_owned());
                }
            }
            map.values().for_each(|v| collect(v, found));
        }
        serde_json::Value::Array(list) => list.iter().for_each(|v| collect(v, found)),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => {}
    }
}
