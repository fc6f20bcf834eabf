//! Questions to Cedar: request and entities are built with the schema, which also brings the groups of actions.

use std::collections::{HashMap, HashSet};

use cedar_policy::{
    AuthorizationError, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicySet,
    RestrictedExpression,
};

use super::facts::FIELD;
use super::named::Vocabulary;
use super::vocabulary::{Place, TERMS};
use super::{Answer, Approval, Ask, FactError, Facts, Gate, Human, Value};
use crate::signal::OwnerRole;

/// Id of the one agent.
pub(super) const AGENT: &str = "perennial";

fn uid(type_name: &str, id: &str) -> Result<EntityUid, FactError> {
    let name = type_name.parse::<EntityTypeName>();
    let name = name.map_err(|e| FactError::Refused { said: e.to_string() })?;
    Ok(EntityUid::from_type_name_and_id(name, EntityId::new(id)))
}

/// A moment as Cedar writes it.
pub(super) fn moment_text(ms: i64) -> Option<String> {
    let at = jiff::Timestamp::from_millisecond(ms).ok()?;
    Some(at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string())
}

fn moment(ms: i64) -> Result<RestrictedExpression, FactError> {
    let text = moment_text(ms).ok_or_else(|| FactError::Refused {
        said: format!("{ms} is no time"),
    })?;
    Ok(RestrictedExpression::new_datetime(text))
}

fn expression(value: &Value) -> Result<Option<RestrictedExpression>, FactError> {
    Ok(Some(match value {
        Value::Unknown => return Ok(None),
        Value::Flag(flag) => RestrictedExpression::new_bool(*flag),
        Value::Number(number) => RestrictedExpression::new_long(*number),
        Value::Word(word) => RestrictedExpression::new_string(word.clone()),
        Value::Tier(tier) => RestrictedExpression::new_entity_uid(uid("Tier", tier.as_str())?),
        Value::Moment(ms) => moment(*ms)?,
    }))
}

/// A role that has no name in the policies counts for nothing, so it is left out.
fn human(human: &Human, named: &Vocabulary) -> Result<Entity, FactError> {
    let roles: Result<Vec<RestrictedExpression>, FactError> = human
        .roles
        .iter()
        .filter(|role| named.role(role.as_str()).is_some())
        .map(|role: &OwnerRole| Ok(RestrictedExpression::new_entity_uid(uid("Role", role.as_str())?)))
        .collect();
    let attributes = HashMap::from([
        ("roles".to_owned(), RestrictedExpression::new_set(roles?)),
        ("active".to_owned(), RestrictedExpression::new_bool(human.active)),
    ]);
    let refused = |said: String| FactError::Refused { said };
    Entity::new(uid("Human", &human.id)?, attributes, HashSet::new()).map_err(|e| refused(e.to_string()))
}

impl Gate {
    /// A question as Cedar takes it.
    ///
    /// # Errors
    /// [`FactError`] when a fact is missing or Cedar refuses the request: then nothing is allowed.
    pub fn request(
        &self,
        facts: &Facts,
        ask: Ask,
        approval: Option<&Approval>,
    ) -> Result<(cedar_policy::Request, Entities), FactError> {
        facts.complete(ask)?;
        let facts = &*facts.as_asked(ask);
        let refused = |said: String| FactError::Refused { said };
        let mut account: HashMap<String, RestrictedExpression> = HashMap::new();
        let mut context: Vec<(String, RestrictedExpression)> = Vec::new();
        for (term, value) in TERMS.iter().zip(&facts.values) {
            if term.only.is_some_and(|kind| kind != ask.action) || term.name == FIELD {
                continue;
            }
            let Some(value) = expression(value)? else { continue };
            match term.place {
                Place::Account => {
                    account.insert(term.name.to_owned(), value);
                }
                Place::Context => context.push((term.name.to_owned(), value)),
            }
        }
        if TERMS.iter().any(|t| t.name == FIELD && t.only == Some(ask.action)) {
            let field = RestrictedExpression::new_string(ask.field_word().to_owned());
            context.push((FIELD.to_owned(), field));
        }
        let resource = uid("Account", facts.account.as_str())?;
        let entity = Entity::new(resource.clone(), account, HashSet::new());
        let mut entities = vec![entity.map_err(|e| refused(e.to_string()))?];
        if let Some(editor) = &facts.last_editor {
            context.push((
                "last_editor".to_owned(),
                RestrictedExpression::new_entity_uid(uid("Human", editor)?),
            ));
        }
        if let Some(approval) = approval {
            entities.push(human(&approval.by, self.vocabulary())?);
            let by = RestrictedExpression::new_entity_uid(uid("Human", &approval.by.id)?);
            let record = RestrictedExpression::new_record([
                ("by".to_owned(), by),
                (
                    "draft_hash".to_owned(),
                    RestrictedExpression::new_string(approval.draft_hash.clone()),
                ),
                ("expires_at".to_owned(), moment(approval.expires_at)?),
            ]);
            context.push(("approval".to_owned(), record.map_err(|e| refused(e.to_string()))?));
        }
        let entities = Entities::from_entities(entities, Some(&self.schema)).map_err(|e| refused(e.to_string()))?;
        let context = Context::from_pairs(context).map_err(|e| refused(e.to_string()))?;
        let request = cedar_policy::Request::new(
            uid("Agent", AGENT)?,
            uid("Action", ask.action.as_str())?,
            resource,
            context,
            Some(&self.schema),
        );
        Ok((request.map_err(|e| refused(e.to_string()))?, entities))
    }

    /// What Cedar answers, asked with every rule.
    ///
    /// # Errors
    /// [`FactError`] when a fact is missing or Cedar refuses the request: then nothing is allowed.
    pub fn ask_cedar(&self, facts: &Facts, ask: Ask, approval: Option<&Approval>) -> Result<Answer, FactError> {
        self.ask_policies(&self.policies, facts, ask, approval)
    }

    /// What Cedar answers, asked with a set of rules of this gate, such as [`Gate::policies_for`].
    ///
    /// # Errors
    /// [`FactError`] when a fact is missing or Cedar refuses the request: then nothing is allowed.
    pub fn ask_policies(
        &self,
        policies: &PolicySet,
        facts: &Facts,
        ask: Ask,
        approval: Option<&Approval>,
    ) -> Result<Answer, FactError> {
        let (request, entities) = self.request(facts, ask, approval)?;
        let response = self.authorizer.is_authorized(&request, policies, &entities);
        let position = |id: &cedar_policy::PolicyId| {
            let id: &str = id.as_ref();
            self.by_id.get(id).copied().unwrap_or(usize::MAX)
        };
        let mut failed: Vec<usize> = response
            .diagnostics()
            .errors()
            .map(|AuthorizationError::PolicyEvaluationError(error)| position(error.policy_id()))
            .collect();
        failed.sort_unstable();
        if !failed.is_empty() {
            return Ok(Answer {
                failed,
                ..Answer::default()
            });
        }
        let mut rules: Vec<usize> = response.diagnostics().reason().map(position).collect();
        rules.sort_unstable();
        Ok(Answer {
            allowed: response.decision() == Decision::Allow,
            rules,
            failed,
        })
    }
}
