//! Effects as fields of Salesforce. Pure.

use std::collections::BTreeMap;

use perennial_core::action::{AccountField, Effect, Priority, Write};
use serde_json::{Number, Value};

use crate::error::SendError;
use crate::fields::Wanted;
use crate::text::fit;

pub(super) const ACCOUNT: &str = "Account";
pub(super) const OPPORTUNITY: &str = "Opportunity";
pub(super) const TASK: &str = "Task";
pub(super) const NOTE: &str = "Note";

/// External id fields.
pub(super) const ACCOUNT_KEY: &str = "Perennial_Account_Id__c";
pub(super) const OPPORTUNITY_KEY: &str = "Perennial_Opportunity_Id__c";
pub(super) const EFFECT_KEY: &str = "Perennial_Key__c";

/// What a text field and `Task.Subject` hold, in characters.
const LINE_MAX: usize = 255;
/// What `Note.Title` holds, in characters.
const TITLE_MAX: usize = 80;
/// What descriptions, note bodies and our long text field hold, in characters.
const BODY_MAX: usize = 32_000;

/// What an effect wants of which object.
#[derive(Debug, PartialEq)]
pub(super) enum Plan {
    /// Fields of a record that exists.
    Change {
        object: &'static str,
        place: Place,
        wanted: Vec<Wanted>,
    },
    /// A record of ours under the account, found by the effect's id.
    Keyed {
        object: &'static str,
        /// Field that points to the account.
        parent: &'static str,
        wanted: Vec<Wanted>,
    },
}

/// Where a record is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// By its id.
    Id(String),
    /// By an external id field.
    Key(&'static str, String),
}

pub(super) fn plan(effect: &Effect) -> Result<Plan, SendError> {
    Ok(match &effect.write {
        Write::UpdateAccount { fields } => Plan::Change {
            object: ACCOUNT,
            place: account_place(effect)?,
            wanted: account(fields)?,
        },
        Write::UpdateOpportunity {
            opportunity,
            crm_id,
            next_step,
            stage,
        } => {
            let mut wanted = Vec::new();
            if let Some(text) = next_step {
                wanted.push(text_field("NextStep", text, LINE_MAX));
            }
            if let Some(stage) = stage {
                wanted.push(text_field("StageName", stage, LINE_MAX));
            }
            Plan::Change {
                object: OPPORTUNITY,
                place: match crm_id {
                    Some(id) => Place::Id(record_id(OPPORTUNITY, id)?),
                    None => Place::Key(OPPORTUNITY_KEY, opportunity.clone()),
                },
                wanted,
            }
        }
        Write::CreateTask {
            subject,
            body,
            due,
            priority,
            // People are not mapped yet: the CRM gives the task to the integration user.
            assignee: _,
        } => Plan::Keyed {
            object: TASK,
            parent: "WhatId",
            wanted: vec![
                text_field("Subject", subject, LINE_MAX),
                text_field("Description", body, BODY_MAX),
                Wanted::text("ActivityDate", due.to_string()),
                Wanted::text(
                    "Priority",
                    match priority {
                        Priority::High => "High",
                        Priority::Normal => "Normal",
                        Priority::Low => "Low",
                    },
                ),
                Wanted::text("Status", "Not Started"),
            ],
        },
        Write::CreateNote { title, body } => Plan::Keyed {
            object: NOTE,
            parent: "ParentId",
            wanted: vec![
                text_field("Title", title, TITLE_MAX),
                text_field("Body", body, BODY_MAX),
            ],
        },
    })
}

/// Where the account of an effect is found.
pub(super) fn account_place(effect: &Effect) -> Result<Place, SendError> {
    Ok(match &effect.target.crm_id {
        Some(id) => Place::Id(record_id(ACCOUNT, id)?),
        None => Place::Key(ACCOUNT_KEY, effect.target.account.as_str().to_owned()),
    })
}

/// Name of an account that is made in a sandbox.
pub(super) fn account_name(effect: &Effect) -> Wanted {
    let name = effect.target.account_name.trim();
    text_field(
        "Name",
        if name.is_empty() {
            effect.target.account.as_str()
        } else {
            name
        },
        LINE_MAX,
    )
}

fn account(fields: &BTreeMap<AccountField, String>) -> Result<Vec<Wanted>, SendError> {
    fields
        .iter()
        .map(|(field, text)| {
            Ok(match field {
                AccountField::Health => number_field("Perennial_Health__c", text)?,
                AccountField::RenewalRisk => number_field("Perennial_Renewal_Risk__c", text)?,
                AccountField::Posture => text_field("Perennial_Posture__c", text, LINE_MAX),
                AccountField::NextStep => text_field("Perennial_Next_Step__c", text, LINE_MAX),
                AccountField::Summary => text_field("Perennial_Summary__c", text, BODY_MAX),
            })
        })
        .collect()
}

/// Empty is null: Salesforce keeps no empty texts.
fn text_field(name: &'static str, text: &str, limit: usize) -> Wanted {
    let wanted = Wanted::fitted(name, fit(text, limit), limit);
    let send = if wanted.text.is_empty() {
        Value::Null
    } else {
        wanted.send
    };
    Wanted { send, ..wanted }
}

fn number_field(name: &'static str, text: &str) -> Result<Wanted, SendError> {
    let trimmed = text.trim();
    let send = if trimmed.is_empty() {
        Value::Null
    } else {
        let number: Number = serde_json::from_str(trimmed).map_err(|_| {
            SendError::refused(
                ACCOUNT,
                "NOT_A_NUMBER",
                &format!("{name} takes a number"),
                "correct the value and approve again",
            )
        })?;
        Value::Number(number)
    };
    Ok(Wanted {
        send,
        ..Wanted::text(name, trimmed)
    })
}

/// A record id: 15 or 18 letters and digits.
pub(super) fn record_id(object: &str, id: &str) -> Result<String, SendError> {
    let id = id.trim();
    if matches!(id.len(), 15 | 18) && id.bytes().all(|b| b.is_ascii_alphanumeric()) {
        Ok(id.to_owned())
    } else {
        Err(SendError::refused(
            object,
            "BAD_ID",
            "the record id is not 15 or 18 letters and digits",
            "correct the CRM id of this account or deal in the import",
        ))
    }
}
