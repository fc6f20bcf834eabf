//! What `doctor` asks about a HubSpot connection.

use std::collections::BTreeSet;

use super::map::{ACCOUNT_KEY, COMPANIES, DEALS, EFFECT_KEY, NOTES, OPPORTUNITY_KEY, TASKS};
use super::wire::{Details, Properties};
use super::{HubSpot, VERSION};
use crate::http::Call;
use crate::http::path::segment;
use crate::reading::known_name;
use crate::{CreateMissing, Finding, SendError, WriteMap};

/// Share of the burst budget in percent from which we warn.
const BURST_WARN_PERCENT: u64 = 80;

impl HubSpot {
    /// The properties of an object that the token may read. Our people have no list of them.
    pub(super) async fn visible(&self, object: &str) -> Result<BTreeSet<String>, SendError> {
        if object == "owners" {
            let known = [
                "id",
                "email",
                "firstName",
                "lastName",
                "userId",
                "archived",
                "createdAt",
                "updatedAt",
            ];
            return Ok(known.into_iter().map(str::to_owned).collect());
        }
        let path = format!("/crm/properties/{VERSION}/{}", segment(object, object)?);
        let reply = self.http.send(&Call::get(known_name(object), path)).await?;
        let found: Properties = reply.ok()?.json()?;
        let names = found.results.into_iter().map(|property| property.name);
        Ok(names.chain(std::iter::once("hs_object_id".to_owned())).collect())
    }

    pub(super) async fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let call = Call::get("account", format!("/account-info/{VERSION}/details"));
        let reply = match self.http.send(&call).await {
            Ok(reply) => reply,
            Err(error) => {
                findings.push(crate::trouble("connection", &error));
                return findings;
            }
        };
        let number = |name: &str| reply.header(name).and_then(|text| text.parse::<u64>().ok());
        let burst = (
            number("x-hubspot-ratelimit-max"),
            number("x-hubspot-ratelimit-remaining"),
        );
        let details = match reply.ok().and_then(|reply| reply.json::<Details>()) {
            Ok(details) => Some(details),
            Err(error @ SendError::Refused { .. }) => {
                findings.push(crate::trouble("account details", &error));
                None
            }
            Err(error) => {
                findings.push(crate::trouble("connection", &error));
                return findings;
            }
        };
        findings.push(Finding::ok(
            "connection",
            format!("{} answers to API {VERSION}", self.http.base()),
        ));
        findings.push(Finding::ok("token", "accepted"));
        findings.push(budget(burst));
        for (object, properties) in needed(&self.writes) {
            findings.push(self.object(object, &properties).await);
        }
        if !self.writes.roles.is_empty() {
            let subject = "association labels";
            findings.push(match self.labels_there().await {
                Ok(gone) if gone.is_empty() => Finding::ok(subject, "all labels for roles in deals are there"),
                Ok(gone) => Finding::warn(
                    subject,
                    format!("not there between deals and contacts: {}", gone.join(", ")),
                    "make these labels in HubSpot, or correct [write.role] of the mapping",
                ),
                Err(error) => crate::trouble(subject, &error),
            });
        }
        if self.create_missing == CreateMissing::InSandbox
            && let Some(details) = details
        {
            findings.push(if details.is_sandbox() {
                Finding::ok("accounts", "a test account: companies it does not know are made")
            } else {
                Finding::warn(
                    "accounts",
                    "not a test account: companies it does not know are refused, although in_sandbox is set",
                    "set create_missing_accounts to never, or connect a test account",
                )
            });
        }
        findings
    }

    async fn object(&self, object: &'static str, needed: &[&str]) -> Finding {
        let subject = format!("{object} properties");
        let reply = self
            .http
            .send(&Call::get(object, format!("/crm/properties/{VERSION}/{object}")))
            .await;
        match reply.and_then(|reply| reply.ok()?.json::<Properties>()) {
            Ok(found) => judge(&subject, needed, &found),
            Err(error) => crate::trouble(&subject, &error),
        }
    }
}

/// Properties that must be there, by object; the first is the unique one that serves as external id.
fn needed(writes: &WriteMap) -> [(&'static str, Vec<&str>); 4] {
    [
        (
            COMPANIES,
            std::iter::once(ACCOUNT_KEY).chain(writes.account_fields()).collect(),
        ),
        (
            DEALS,
            std::iter::once(OPPORTUNITY_KEY).chain(writes.deal_fields()).collect(),
        ),
        (
            TASKS,
            vec![
                EFFECT_KEY,
                "hs_task_subject",
                "hs_task_body",
                "hs_timestamp",
                "hs_task_status",
                "hs_task_priority",
            ],
        ),
        (NOTES, vec![EFFECT_KEY, "hs_note_body", "hs_timestamp"]),
    ]
}

/// What is missing in an object. Pure.
fn judge(subject: &str, needed: &[&str], found: &Properties) -> Finding {
    let property = |name: &str| found.results.iter().find(|property| property.name == name);
    let absent: Vec<&str> = needed.iter().copied().filter(|name| property(name).is_none()).collect();
    if !absent.is_empty() {
        return Finding::bad(
            subject,
            format!("not there: {}", absent.join(", ")),
            "create these properties in HubSpot",
        );
    }
    let locked: Vec<&str> = needed
        .iter()
        .copied()
        .filter(|name| {
            let modification = property(name).and_then(|property| property.modification_metadata.as_ref());
            modification.is_some_and(|modification| modification.read_only_value)
        })
        .collect();
    if !locked.is_empty() {
        return Finding::bad(
            subject,
            format!("read-only: {}", locked.join(", ")),
            "make these properties editable in HubSpot",
        );
    }
    match needed.first().copied().and_then(property) {
        Some(key) if !key.has_unique_value => Finding::bad(
            subject,
            format!(
                "{} does not require unique values, so records cannot be found by it",
                key.name
            ),
            "create the property anew with unique values required; HubSpot cannot change this later",
        ),
        Some(_) | None => Finding::ok(subject, format!("all {} properties are there", needed.len())),
    }
}

fn budget((max, remaining): (Option<u64>, Option<u64>)) -> Finding {
    let subject = "API budget";
    match (max, remaining) {
        (Some(max), Some(remaining)) if max > 0 => {
            let used = max.saturating_sub(remaining);
            let message = format!("{used} of {max} calls used in the present 10 seconds");
            if used.saturating_mul(100) >= max.saturating_mul(BURST_WARN_PERCENT) {
                Finding::warn(
                    subject,
                    message,
                    "lower requests_per_second, or find who else uses this app's token",
                )
            } else {
                Finding::ok(subject, message)
            }
        }
        _ => Finding::warn(
            subject,
            "HubSpot does not say what is left; only our own rate limit holds",
            "set daily_calls to what the plan has, and see that nothing between us and HubSpot takes its headers away",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Level;
    use crate::hubspot::wire::Property;

    fn described(names: &[&str], has_unique_value: bool) -> Properties {
        let property = |name: &&str| Property {
            name: (*name).to_owned(),
            has_unique_value,
            ..Property::default()
        };
        Properties {
            results: names.iter().map(property).collect(),
            ..Properties::default()
        }
    }

    #[test]
    fn missing_and_repeatable_properties_are_named() {
        let needed = &[
            ACCOUNT_KEY,
            "perennial_health",
            "perennial_renewal_risk",
            "perennial_posture",
            "perennial_next_step",
        ][..];
        assert_eq!(judge("x", needed, &described(needed, true)).level, Level::Ok);
        let finding = judge("x", needed, &described(&needed[..4], true));
        assert!(finding.level == Level::Bad && finding.message.contains("perennial_next_step"));
        assert_eq!(judge("x", needed, &described(needed, false)).level, Level::Bad);
    }

    #[test]
    fn a_nearly_spent_burst_is_a_warning() {
        assert_eq!(budget((Some(100), Some(21))).level, Level::Ok);
        assert_eq!(budget((Some(100), Some(20))).level, Level::Warn);
        assert_eq!(budget((None, None)).level, Level::Warn);
    }
}
