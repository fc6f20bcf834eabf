//! Effects as properties of HubSpot. Pure. Every value is a text; an empty text clears.

use std::borrow::Cow;
use std::collections::BTreeMap;

use perennial_core::action::{AccountField, DealField, Effect, Priority, Write};
use perennial_core::signal::ContactRole;
use perennial_core::time::Timestamp;

use super::roles::CONTACTS;
use crate::error::SendError;
use crate::fields::Wanted;
use crate::ownership::{FieldRule, WriteMap};
use crate::text::{Fitted, fit, fit_html, html_lines, inert};

pub(super) const COMPANIES: &str = "companies";
pub(super) const DEALS: &str = "deals";
pub(super) const TASKS: &str = "tasks";
pub(super) const NOTES: &str = "notes";

/// Unique properties that serve as external ids.
pub(super) const ACCOUNT_KEY: &str = "perennial_account_id";
pub(super) const OPPORTUNITY_KEY: &str = "perennial_opportunity_id";
pub(super) const EFFECT_KEY: &str = "perennial_key";

/// What a task's title shows in lists, in characters.
const LINE_MAX: usize = 255;
/// What a property holds, in characters.
const TEXT_MAX: usize = 65_536;
/// Longest id, in digits.
const ID_MAX: usize = 20;
/// Noon: the due moment then lies on the due day in every time zone but the outermost.
const NOON_HOURS: i64 = 12;

const HOUR_MS: i64 = 3_600_000;

/// What an effect wants of which object.
#[derive(Debug, PartialEq)]
pub(super) enum Plan {
    /// Properties of a record that exists.
    Change {
        object: &'static str,
        place: Place,
        wanted: Vec<Wanted>,
    },
    /// A record of ours on the company, found by the effect's id.
    Keyed { object: &'static str, wanted: Vec<Wanted> },
    /// What a person is to a deal.
    Role(RolePlan),
}

/// What a person is to be to a deal.
#[derive(Debug, PartialEq)]
pub(super) struct RolePlan {
    pub(super) deal: Place,
    /// The person's record.
    pub(super) contact: String,
    /// The label.
    pub(super) word: String,
}

/// Where a record is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// By its id.
    Id(String),
    /// By a unique property.
    Key(&'static str, String),
}

/// Where our fields go when no mapping says so.
pub(super) fn writes() -> WriteMap {
    WriteMap::of(
        [
            "perennial_health",
            "perennial_renewal_risk",
            "perennial_posture",
            "perennial_next_step",
            "perennial_summary",
        ],
        ["hs_next_step", "dealstage"],
        // Labels are made by people: there are none at the start.
        &[],
    )
}

/// `at` stands on notes as their time, where HubSpot asks for one.
pub(super) fn plan(effect: &Effect, writes: &WriteMap, at: Timestamp) -> Result<Plan, SendError> {
    Ok(match &effect.write {
        Write::UpdateAccount { fields } => Plan::Change {
            object: COMPANIES,
            place: company_place(effect)?,
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
            let property = |(field, text): (DealField, &Option<String>)| {
                let (rule, text) = (writes.deal.get(&field)?, text.as_ref()?);
                Some(text_property(rule.field.clone(), text).ruled(rule))
            };
            let wanted = values.into_iter().filter_map(property).collect();
            Plan::Change {
                object: DEALS,
                place: deal_place(opportunity, crm_id.as_deref())?,
                wanted,
            }
        }
        Write::SetContactRole {
            opportunity,
            crm_id,
            contact,
            role,
            ..
        } => Plan::Role(role_of(opportunity, crm_id.as_deref(), contact, *role, writes)?),
        Write::CreateTask {
            subject,
            body,
            due,
            priority,
            // People are not mapped yet: the task has no owner in HubSpot.
            assignee: _,
        } => {
            let due_ms = due.start().us() / 1_000 + NOON_HOURS * HOUR_MS;
            Plan::Keyed {
                object: TASKS,
                wanted: vec![
                    Wanted::fitted("hs_task_subject", fit(subject, LINE_MAX), LINE_MAX),
                    Wanted::fitted("hs_task_body", mapped(fit_html(body, TEXT_MAX), inert), TEXT_MAX),
                    Wanted::text("hs_timestamp", due_ms.to_string()),
                    Wanted::text("hs_task_status", "NOT_STARTED"),
                    Wanted::text(
                        "hs_task_priority",
                        match priority {
                            Priority::High => "HIGH",
                            Priority::Normal => "MEDIUM",
                            Priority::Low => "LOW",
                        },
                    ),
                    Wanted::text(EFFECT_KEY, effect.id.as_str()),
                ],
            }
        }
        Write::CreateNote { title, body } => Plan::Keyed {
            object: NOTES,
            wanted: vec![
                note_body(title, body),
                Wanted::text("hs_timestamp", (at.us() / 1_000).to_string()),
                Wanted::text(EFFECT_KEY, effect.id.as_str()),
            ],
        },
    })
}

/// What a person is to be to a deal, where an effect is about that.
pub(super) fn role_plan(effect: &Effect, writes: &WriteMap) -> Result<Option<RolePlan>, SendError> {
    match &effect.write {
        Write::SetContactRole {
            opportunity,
            crm_id,
            contact,
            role,
            ..
        } => role_of(opportunity, crm_id.as_deref(), contact, *role, writes).map(Some),
        Write::UpdateAccount { .. }
        | Write::UpdateOpportunity { .. }
        | Write::CreateTask { .. }
        | Write::CreateNote { .. } => Ok(None),
    }
}

fn role_of(
    opportunity: &str,
    crm_id: Option<&str>,
    contact: &str,
    role: ContactRole,
    writes: &WriteMap,
) -> Result<RolePlan, SendError> {
    Ok(RolePlan {
        deal: deal_place(opportunity, crm_id)?,
        contact: record_id(CONTACTS, contact)?,
        word: writes.word(DEALS, role)?.to_owned(),
    })
}

/// Where a deal is found.
fn deal_place(opportunity: &str, crm_id: Option<&str>) -> Result<Place, SendError> {
    Ok(match crm_id {
        Some(id) => Place::Id(record_id(DEALS, id)?),
        None => Place::Key(OPPORTUNITY_KEY, opportunity.to_owned()),
    })
}

/// Where the company of an effect is found.
pub(super) fn company_place(effect: &Effect) -> Result<Place, SendError> {
    Ok(match &effect.target.crm_id {
        Some(id) => Place::Id(record_id(COMPANIES, id)?),
        None => Place::Key(ACCOUNT_KEY, effect.target.account.as_str().to_owned()),
    })
}

/// Properties of a company that is made in a sandbox.
pub(super) fn new_company(effect: &Effect) -> [Wanted; 2] {
    let account = effect.target.account.as_str();
    let name = effect.target.account_name.trim();
    [
        text_property("name", if name.is_empty() { account } else { name }),
        Wanted::text(ACCOUNT_KEY, account),
    ]
}

fn account(fields: &BTreeMap<AccountField, String>, writes: &WriteMap) -> Result<Vec<Wanted>, SendError> {
    let ruled = fields
        .iter()
        .filter_map(|(field, text)| Some((field, text, writes.account.get(field)?)));
    ruled
        .map(|(field, text, rule)| {
            let wanted = match field {
                AccountField::Health | AccountField::RenewalRisk => number_property(rule, text)?,
                AccountField::Posture | AccountField::NextStep | AccountField::Summary => {
                    text_property(rule.field.clone(), text)
                }
            };
            Ok(wanted.ruled(rule))
        })
        .collect()
}

fn text_property(name: impl Into<Cow<'static, str>>, text: &str) -> Wanted {
    Wanted::fitted(name, fit(text, TEXT_MAX), TEXT_MAX)
}

fn number_property(rule: &FieldRule, text: &str) -> Result<Wanted, SendError> {
    let trimmed = text.trim();
    if trimmed.is_empty() || serde_json::from_str::<serde_json::Number>(trimmed).is_ok() {
        return Ok(Wanted::text(rule.field.clone(), trimmed));
    }
    Err(SendError::refused(
        COMPANIES,
        "NOT_A_NUMBER",
        &format!("{} takes a number", rule.field),
        "correct the value and approve again",
    ))
}

fn mapped(fitted: Fitted, map: impl Fn(&str) -> String) -> Fitted {
    Fitted {
        text: map(&fitted.text),
        was: fitted.was,
    }
}

/// Title and text as HTML in which nothing of either is markup.
fn note_body(title: &str, body: &str) -> Wanted {
    let title = html_lines(&fit(title.trim(), LINE_MAX).text);
    let head = if title.is_empty() {
        String::new()
    } else {
        format!("<strong>{title}</strong><br><br>")
    };
    let room = TEXT_MAX.saturating_sub(head.encode_utf16().count());
    let body = mapped(fit_html(body, room), |text| format!("{head}{}", html_lines(text)));
    Wanted::fitted("hs_note_body", body, TEXT_MAX)
}

/// A record id: digits.
pub(super) fn record_id(object: &str, id: &str) -> Result<String, SendError> {
    let id = id.trim();
    if (1..=ID_MAX).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_digit()) {
        Ok(id.to_owned())
    } else {
        Err(SendError::refused(
            object,
            "BAD_ID",
            "the record id is not a number",
            "correct the CRM id of this account or deal in the import",
        ))
    }
}
