//! What `doctor` asks about a Salesforce connection.

use std::collections::BTreeSet;

use reqwest::StatusCode;

use super::map::{ACCOUNT, ACCOUNT_KEY, EFFECT_KEY, NOTE, OPPORTUNITY, OPPORTUNITY_KEY, TASK};
use super::roles::CONTACT_ROLE;
use super::stages::told;
use super::wire::{Describe, Limits};
use super::{Salesforce, VERSION, data, sobject};
use crate::budget::Lane;
use crate::http::Call;
use crate::http::path::segment;
use crate::reading::known_name;
use crate::{CreateMissing, Finding, SendError, WriteMap};

/// Share of the daily budget in percent from which we warn.
const BUDGET_WARN_PERCENT: i64 = 80;

impl Salesforce {
    /// The fields of an object that the integration user sees.
    pub(super) async fn visible(&self, object: &str) -> Result<BTreeSet<String>, SendError> {
        let path = format!("{}/describe", sobject(segment(object, object)?.as_ref()));
        let reply = self.http.send(&Call::get(known_name(object), path)).await?;
        let described: Describe = reply.ok()?.json()?;
        Ok(described.fields.into_iter().map(|field| field.name).collect())
    }

    pub(super) async fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let limits = self.http.send(&Call::get("limits", format!("{}/limits", data()))).await;
        let says_usage = limits
            .as_ref()
            .is_ok_and(|reply| reply.header("sforce-limit-info").is_some());
        let limits = match limits {
            Ok(reply) if reply.status == StatusCode::NOT_FOUND => {
                findings.push(Finding::bad(
                    "connection",
                    format!("the org does not answer to API {VERSION}"),
                    "check that base_url is the My Domain address of the org, such as https://example.my.salesforce.com",
                ));
                return findings;
            }
            other => other.and_then(|reply| reply.ok()?.json::<Limits>()),
        };
        match limits {
            Ok(limits) => {
                findings.push(Finding::ok(
                    "connection",
                    format!("{} answers to API {VERSION}", self.http.base()),
                ));
                findings.push(Finding::ok("token", "accepted"));
                findings.push(budget(&limits));
                if !says_usage {
                    findings.push(Finding::warn(
                        "API budget",
                        "answers do not say how many calls of the day are used, so those of others are not counted",
                        "see that nothing between us and the org takes the header Sforce-Limit-Info away",
                    ));
                }
            }
            Err(error @ (SendError::Refused { .. } | SendError::Conflict { .. })) => {
                findings.push(Finding::ok("connection", format!("{} answers", self.http.base())));
                findings.push(Finding::warn(
                    "API budget",
                    error.to_string(),
                    "let the integration user read the limits",
                ));
            }
            Err(error) => {
                findings.push(crate::trouble("connection", &error));
                return findings;
            }
        }
        for (object, fields) in needed(&self.writes) {
            findings.push(self.object(object, &fields).await);
        }
        findings.push(match self.ask_stages(Lane::Normal).await {
            Ok(stages) => Finding::ok("stages", told(&stages)),
            Err(error) => crate::trouble("stages", &error),
        });
        if let Some(finding) = self.roles_there().await {
            findings.push(finding);
        }
        if self.create_missing == CreateMissing::InSandbox {
            findings.push(match self.is_sandbox().await {
                Ok(true) => Finding::ok("accounts", "a sandbox: accounts it does not know are made"),
                Ok(false) => Finding::warn(
                    "accounts",
                    "not a sandbox: accounts it does not know are refused, although in_sandbox is set",
                    "set create_missing_accounts to never, or connect a sandbox",
                ),
                Err(error) => crate::trouble("accounts", &error),
            });
        }
        findings
    }

    /// Whether roles of people in deals may be written, where the mapping has words for any.
    async fn roles_there(&self) -> Option<Finding> {
        if self.writes.roles.is_empty() {
            return None;
        }
        let subject = format!("{CONTACT_ROLE} fields");
        let reply = self
            .http
            .send(&Call::get(CONTACT_ROLE, format!("{}/describe", sobject(CONTACT_ROLE))))
            .await;
        let found = match reply.and_then(|reply| reply.ok()?.json::<Describe>()) {
            Ok(describe) => describe,
            Err(error) => return Some(crate::trouble(&subject, &error)),
        };
        let may = |name: &str| found.fields.iter().any(|field| field.name == name && field.createable);
        let roles: Vec<&str> = self.writes.roles.values().map(String::as_str).collect();
        Some(
            if found.createable && ["OpportunityId", "ContactId", "Role"].into_iter().all(may) {
                Finding::ok(&subject, format!("roles can be written: {}", roles.join(", ")))
            } else {
                Finding::warn(
                    &subject,
                    "the integration user may not give people roles in deals",
                    "let it edit opportunities and their contact roles, or take [write.role] out of the mapping",
                )
            },
        )
    }

    async fn object(&self, object: &'static str, needed: &[&str]) -> Finding {
        let subject = format!("{object} fields");
        let reply = self
            .http
            .send(&Call::get(object, format!("{}/describe", sobject(object))))
            .await;
        let found = match reply.and_then(|reply| reply.ok()?.json::<Describe>()) {
            Ok(describe) => describe,
            Err(error) => return crate::trouble(&subject, &error),
        };
        judge(object, &subject, needed, &found)
    }
}

/// Fields that must be there, by object; the first is the external id.
fn needed(writes: &WriteMap) -> [(&'static str, Vec<&str>); 4] {
    [
        (
            ACCOUNT,
            std::iter::once(ACCOUNT_KEY).chain(writes.account_fields()).collect(),
        ),
        (
            OPPORTUNITY,
            std::iter::once(OPPORTUNITY_KEY).chain(writes.deal_fields()).collect(),
        ),
        (
            TASK,
            vec![
                EFFECT_KEY,
                "Subject",
                "Description",
                "ActivityDate",
                "Priority",
                "Status",
                "WhatId",
            ],
        ),
        (NOTE, vec![EFFECT_KEY, "Title", "Body", "ParentId"]),
    ]
}

/// What is missing in an object. Pure.
fn judge(object: &str, subject: &str, needed: &[&str], found: &Describe) -> Finding {
    let field = |name: &str| found.fields.iter().find(|field| field.name == name);
    let absent: Vec<&str> = needed.iter().copied().filter(|name| field(name).is_none()).collect();
    if !absent.is_empty() {
        let message = format!("not there, or hidden from the integration user: {}", absent.join(", "));
        if object == NOTE {
            return Finding::warn(
                subject,
                format!("{message}; Salesforce gives its classic Note no custom fields, so notes will be refused"),
                "let playbooks use tasks instead of notes in this org",
            );
        }
        return Finding::bad(
            subject,
            message,
            "create these fields and make them visible and editable for the integration user",
        );
    }
    let is_keyed = object == TASK || object == NOTE;
    if is_keyed && !found.createable {
        return Finding::bad(
            subject,
            "the integration user may not create records",
            "give it the create permission on this object",
        );
    }
    // A parent of a note can be set but not changed, so creating is enough for records that we only create.
    let locked: Vec<&str> = needed
        .iter()
        .copied()
        .filter(|name| !field(name).is_some_and(|field| field.updateable || (is_keyed && field.createable)))
        .collect();
    if !locked.is_empty() {
        return Finding::bad(
            subject,
            format!("not writable for the integration user: {}", locked.join(", ")),
            "give it edit access to these fields",
        );
    }
    match needed.first().copied().and_then(field) {
        Some(key) if !key.external_id => Finding::bad(
            subject,
            format!("{} is no external id", key.name),
            "tick External ID on this field",
        ),
        Some(key) if !key.unique => Finding::warn(
            subject,
            format!(
                "{} is not unique: two records may carry the same id, and writes to both are then refused",
                key.name
            ),
            "tick Unique on this field",
        ),
        Some(_) | None => Finding::ok(subject, format!("all {} fields are there and writable", needed.len())),
    }
}

fn budget(limits: &Limits) -> Finding {
    let subject = "API budget";
    let Some(daily) = limits.daily.as_ref().filter(|daily| daily.max > 0) else {
        return Finding::warn(
            subject,
            "the org does not say what is left",
            "let the integration user read the limits",
        );
    };
    let used = daily.max.saturating_sub(daily.remaining);
    let message = format!(
        "{used} of {} calls used in the last 24 hours, by all integrations together",
        daily.max
    );
    if used.saturating_mul(100) >= daily.max.saturating_mul(BUDGET_WARN_PERCENT) {
        Finding::warn(
            subject,
            message,
            "find the integration that spends most, or buy more calls",
        )
    } else {
        Finding::ok(subject, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Level;
    use crate::salesforce::wire::{Budget, DescribedField};

    fn described(names: &[&str]) -> Describe {
        let field = |name: &&str| DescribedField {
            name: (*name).to_owned(),
            updateable: *name != "ParentId",
            createable: true,
            external_id: name.ends_with("Id__c") || name.ends_with("Key__c"),
            unique: true,
            ..DescribedField::default()
        };
        Describe {
            createable: true,
            fields: names.iter().map(field).collect(),
            ..Describe::default()
        }
    }

    #[test]
    fn missing_fields_are_named_with_a_remedy() {
        let writes = crate::salesforce::map::writes();
        let needed = needed(&writes);
        for (object, needed) in &needed {
            assert_eq!(
                judge(object, "x", needed, &described(needed)).level,
                Level::Ok,
                "{object}"
            );
        }
        let (object, of_account) = &needed[0];
        let finding = judge(object, "x", of_account, &described(&of_account[..5]));
        assert_eq!(finding.level, Level::Bad);
        assert!(finding.message.contains("Perennial_Summary__c") && finding.remedy.is_some());
        let (object, of_note) = &needed[3];
        assert_eq!(
            judge(object, "x", of_note, &described(&of_note[1..])).level,
            Level::Warn
        );
    }

    #[test]
    fn a_spent_budget_is_a_warning() {
        let daily = |remaining| Limits {
            daily: Some(Budget {
                max: 100,
                remaining,
                ..Budget::default()
            }),
            ..Limits::default()
        };
        assert_eq!(budget(&daily(21)).level, Level::Ok);
        assert_eq!(budget(&daily(20)).level, Level::Warn);
        assert_eq!(budget(&Limits::default()).level, Level::Warn);
    }
}
