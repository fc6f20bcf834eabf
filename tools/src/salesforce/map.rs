//! Effects as fields of Salesforce. Pure.

use std::borrow::Cow;
use std::collections::BTreeMap;

use perennial_core::action::{AccountField, DealField, Effect, Priority, Write};
use perennial_core::signal::ContactRole;
use serde_json::{Number, Value};

use super::roles::{CONTACT, CONTACT_ROLE};
use crate::error::SendError;
use crate::fields::Wanted;
use crate::ownership::{FieldRule, WriteMap};
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
    /// What a person is to a deal.
    Role(RolePlan),
}

/// What a person is to be to a deal.
#[derive(Debug, PartialEq)]
pub(super) struct RolePlan {
    pub(super) deal: Place,
    /// The person's record.
    pub(super) contact: String,
    /// The CRM's word.
    pub(super) word: String,
}

/// Where a record is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// By its id.
    Id(String),
    /// By an external id field.
    Key(&'static str, String),
}

/// Where our fields go when no mapping says so.
pub(super) fn writes() -> WriteMap {
    WriteMap::of(
        [
            "Perennial_Health__c",
            "Perennial_Renewal_Risk__c",
            "Perennial_Posture__c",
            "Perennial_Next_Step__c",
            "Perennial_Summary__c",
        ],
        ["NextStep", "StageName"],
        // Values that every org has at the start. There is none for a champion.
        &[
            (ContactRole::EconomicBuyer, "Economic Buyer"),
            (ContactRole::ExecutiveSponsor, "Executive Sponsor"),
        ],
    )
}

pub(super) fn plan(effect: &Effect, writes: &WriteMap) -> Result<Plan, SendError> {
    Ok(match &effect.write {
        Write::UpdateAccount { fields } => Plan::Change {
            object: ACCOUNT,
            place: account_place(effect)?,
            wanted: account(fields, writes)?,
        },
        Write::UpdateOpportunity {
            opportunity,
            crm_id,
            next_step,
            stage,
            seen: _,
        } => {
            let values = [(DealField::NextStep, next_step), (DealField::Stage, stage)];
            let field = |(field, text): (DealField, &Option<String>)| {
                let (rule, text) = (writes.deal.get(&field)?, text.as_ref()?);
                Some(text_field(rule.field.clone(), text, LINE_MAX).ruled(rule))
            };
            let wanted = values.into_iter().filter_map(field).collect();
            Plan::Change {
                object: OPPORTUNITY,
                place: deal_place(opportunity, crm_id.as_deref())?,
                wanted,
            }
        }
        Write::SetContactRole {
            opportunity,
            crm_id,
            contact,
            contact_name: _,
            role,
            seen: _,
        } => Plan::Role(RolePlan {
            deal: deal_place(opportunity, crm_id.as_deref())?,
            contact: record_id(CONTACT, contact)?,
            word: writes.word(CONTACT_ROLE, *role)?.to_owned(),
        }),
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

/// Where a deal is found.
fn deal_place(opportunity: &str, crm_id: Option<&str>) -> Result<Place, SendError> {
    Ok(match crm_id {
        Some(id) => Place::Id(record_id(OPPORTUNITY, id)?),
        None => Place::Key(OPPORTUNITY_KEY, opportunity.to_owned()),
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

fn account(fields: &BTreeMap<AccountField, String>, writes: &WriteMap) -> Result<Vec<Wanted>, SendError> {
    let ruled = fields
        .iter()
        .filter_map(|(field, text)| Some((field, text, writes.account.get(field)?)));
    ruled
        .map(|(field, text, rule)| {
            let wanted = match field {
                AccountField::Health | AccountField::RenewalRisk => number_field(rule, text)?,
                AccountField::Posture | AccountField::NextStep => text_field(rule.field.clone(), text, LINE_MAX),
                AccountField::Summary => text_field(rule.field.clone(), text, BODY_MAX),
            };
            Ok(wanted.ruled(rule))
        })
        .collect()
}

/// Empty is null: Salesforce keeps no empty texts.
fn text_field(name: impl Into<Cow<'static, str>>, text: &str, limit: usize) -> Wanted {
    let wanted = Wanted::fitted(name, fit(text, limit), limit);
    let send = if wanted.text.is_empty() {
        Value::Null
    } else {
        wanted.send
    };
    Wanted { send, ..wanted }
}

fn number_field(rule: &FieldRule, text: &str) -> Result<Wanted, SendError> {
    let trimmed = text.trim();
    let send = if trimmed.is_empty() {
        Value::Null
    } else {
        let number: Number = serde_json::from_str(trimmed).map_err(|_| {
            SendError::refused(
                ACCOUNT,
                "NOT_A_NUMBER",
                &format!("{} takes a number", rule.field),
                "correct the value and approve again",
            )
        })?;
        Value::Number(number)
    };
    Ok(Wanted {
        send,
        ..Wanted::text(rule.field.clone(), trimmed)
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
