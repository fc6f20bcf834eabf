//! `[[step]]`: one write of a playbook, as it is written and checked.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::super::file::did_you_mean;
use super::{Check, Step};
use crate::action::{AccountField, Priority};
use crate::signal::{ContactRole, OpportunityKind};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StepTable {
    pub(super) write: Spanned<String>,
    pub(super) subject: Option<Spanned<String>>,
    pub(super) body: Option<Spanned<String>>,
    pub(super) priority: Option<Spanned<String>>,
    pub(super) title: Option<Spanned<String>>,
    pub(super) fields: Option<BTreeMap<Spanned<String>, Spanned<String>>>,
    pub(super) which: Option<Spanned<String>>,
    pub(super) next_step: Option<Spanned<String>>,
    pub(super) stage: Option<String>,
    pub(super) role: Option<Spanned<String>>,
}

pub(super) fn step(check: &mut Check<'_>, raw: &StepTable, has_document: bool) -> Option<Step> {
    let at = raw.write.span().start;
    let allowed: &[&str] = match raw.write.get_ref().as_str() {
        "updateField" => &["fields"],
        "createTask" => &["subject", "body", "priority"],
        "createNote" => &["title", "body"],
        "updateOpportunity" => &["which", "next_step", "stage"],
        "setContactRole" => &["which", "role"],
        other => {
            let known = [
                "updateField",
                "createTask",
                "createNote",
                "updateOpportunity",
                "setContactRole",
            ];
            let help =
                did_you_mean(other, known.into_iter()).unwrap_or_else(|| format!("use one of {}", known.join(", ")));
            check.wrong(at, format!("unknown write `{other}`"), help);
            return None;
        }
    };
    let present = [
        ("fields", raw.fields.is_some()),
        ("subject", raw.subject.is_some()),
        ("body", raw.body.is_some()),
        ("priority", raw.priority.is_some()),
        ("title", raw.title.is_some()),
        ("which", raw.which.is_some()),
        ("next_step", raw.next_step.is_some()),
        ("stage", raw.stage.is_some()),
        ("role", raw.role.is_some()),
    ];
    for (key, _) in present.iter().filter(|(key, there)| *there && !allowed.contains(key)) {
        check.wrong(
            at,
            format!("`{}` has no `{key}`", raw.write.get_ref()),
            format!("it takes {}", allowed.join(", ")),
        );
    }
    let need = |check: &mut Check<'_>, key: &str, value: &Option<Spanned<String>>| match value {
        Some(text) => check.pattern(text),
        None => {
            check.wrong(
                at,
                format!("`{}` needs `{key}`", raw.write.get_ref()),
                format!("add {key} = \"…\""),
            );
            None
        }
    };
    match raw.write.get_ref().as_str() {
        "updateField" => {
            let mut fields = BTreeMap::new();
            for (name, value) in raw.fields.iter().flatten() {
                let field = check.word("field", name, AccountField::ALL, AccountField::as_str);
                if let (Some(field), Some(pattern)) = (field, check.pattern(value)) {
                    fields.insert(field, pattern);
                }
            }
            if raw.fields.as_ref().is_none_or(BTreeMap::is_empty) {
                check.wrong(
                    at,
                    "`updateField` needs `fields`".to_owned(),
                    "add fields = { next_step = \"…\" }",
                );
            }
            Some(Step::UpdateField(fields))
        }
        "createTask" => {
            let subject = need(check, "subject", &raw.subject);
            let body = need(check, "body", &raw.body);
            let priority = match &raw.priority {
                Some(word) => check.word("priority", word, Priority::ALL, Priority::as_str),
                None => Some(Priority::Normal),
            };
            Some(Step::CreateTask {
                subject: subject?,
                body: body?,
                priority: priority?,
            })
        }
        "createNote" => {
            let title = need(check, "title", &raw.title);
            let body = match (&raw.body, has_document) {
                (Some(_), _) => Some(need(check, "body", &raw.body)?),
                (None, true) => None,
                (None, false) => {
                    let help = "add body = \"…\", or document = \"qbr\" at the top of the file";
                    check.wrong(at, "a note needs a `body` or a document".to_owned(), help);
                    None
                }
            };
            Some(Step::CreateNote { title: title?, body })
        }
        "setContactRole" => {
            let which = which(check, raw);
            let role = match &raw.role {
                Some(word) => check.word("role", word, ContactRole::ALL, ContactRole::as_str),
                None => {
                    let help = "add role = \"economic_buyer\", \"champion\" or \"executive_sponsor\"";
                    check.wrong(at, "`setContactRole` needs `role`".to_owned(), help);
                    None
                }
            };
            Some(Step::SetContactRole {
                which: which?,
                role: role?,
            })
        }
        _ => {
            let which = which(check, raw);
            let next_step = match &raw.next_step {
                Some(text) => Some(check.pattern(text)?),
                None => None,
            };
            if next_step.is_none() && raw.stage.is_none() {
                check.wrong(
                    at,
                    "`updateOpportunity` changes nothing".to_owned(),
                    "add next_step or stage",
                );
            }
            Some(Step::UpdateOpportunity {
                which: which?,
                next_step,
                stage: raw.stage.clone(),
            })
        }
    }
}

/// The kind of deal that a step is about.
fn which(check: &mut Check<'_>, raw: &StepTable) -> Option<OpportunityKind> {
    match &raw.which {
        Some(word) => check.word("kind of deal", word, OpportunityKind::ALL, OpportunityKind::as_str),
        None => {
            check.wrong(
                raw.write.span().start,
                format!("`{}` needs `which`", raw.write.get_ref()),
                "add which = \"renewal\" or \"expansion\"",
            );
            None
        }
    }
}
