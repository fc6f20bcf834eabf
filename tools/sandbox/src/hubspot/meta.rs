//! What HubSpot tells about itself: properties, pipelines, owners, the account, a token.

use serde_json::{Value, json};

use super::errors::Refusal;
use super::schema::{Kind, LIFECYCLE, OWNERS, Pipeline, Property, Type};
use crate::wire::{Call, Reply};

/// Seconds an OAuth token lives at the vendor. Tokens of the sandbox never end by themselves.
const TOKEN_S: u32 = 1_800;

/// Rows built into an account say this is when they were made.
const EPOCH: &str = "1970-01-01T00:00:00Z";

/// `GET /crm/properties/../{type}[/{name}]`.
pub(super) fn properties(of: &'static Type, rest: &[&str]) -> Result<Reply, Refusal> {
    match rest {
        [] => {
            let all: Vec<Value> = of.all().map(|one| property(of, one)).collect();
            Ok(Reply::json(200, json!({ "results": all })))
        }
        [name] => {
            let found = of.property(name).ok_or_else(Refusal::not_found)?;
            Ok(Reply::json(200, property(of, found)))
        }
        _ => Err(Refusal::not_found()),
    }
}

fn property(of: &Type, property: &Property) -> Value {
    let stages: Vec<&str>;
    let (kind, shown, options): (&str, &str, &[&str]) = match property.kind {
        Kind::Text(_) => ("string", "text", &[]),
        Kind::Number => ("number", "number", &[]),
        Kind::Boolean => ("bool", "booleancheckbox", &["true", "false"]),
        Kind::DateTime => ("datetime", "date", &[]),
        Kind::Options(options) => ("enumeration", "select", options),
        Kind::Lifecycle => ("enumeration", "radio", LIFECYCLE),
        Kind::Owner => ("enumeration", "select", &[]),
        Kind::Email => ("string", "text", &[]),
        Kind::Pipeline | Kind::Stage => {
            let of_pipeline = |pipeline: &Pipeline| {
                if property.kind == Kind::Pipeline {
                    return vec![pipeline.id];
                }
                pipeline.stages.iter().map(|stage| stage.id).collect()
            };
            stages = of.pipeline.map(of_pipeline).unwrap_or_default();
            ("enumeration", "radio", &stages)
        }
    };
    let options: Vec<Value> = options
        .iter()
        .enumerate()
        .map(|(at, value)| json!({ "label": value, "value": value, "displayOrder": at, "hidden": false }))
        .collect();
    let ours = property.name.starts_with("perennial_");
    json!({
        "name": property.name, "label": property.label, "type": kind, "fieldType": shown, "description": "",
        "groupName": if ours { "perennial".to_owned() } else { format!("{}information", of.singular) },
        "options": options, "displayOrder": -1, "calculated": false, "externalOptions": property.kind == Kind::Owner,
        "hasUniqueValue": property.unique, "hidden": false, "hubspotDefined": !ours, "formField": !property.read_only,
        "archived": false, "dataSensitivity": "non_sensitive",
        "modificationMetadata": {
            "archivable": ours, "readOnlyDefinition": !ours, "readOnlyValue": property.read_only,
        },
    })
}

/// `GET /crm/pipelines/../{type}[/{id}]`.
pub(super) fn pipelines(of: &'static Type, rest: &[&str]) -> Result<Reply, Refusal> {
    match (rest, of.pipeline) {
        ([], pipeline) => {
            let all: Vec<Value> = pipeline.into_iter().map(shown).collect();
            Ok(Reply::json(200, json!({ "results": all })))
        }
        ([id], Some(pipeline)) if *id == pipeline.id => Ok(Reply::json(200, shown(pipeline))),
        ([id, "stages"], Some(pipeline)) if *id == pipeline.id => {
            Ok(Reply::json(200, json!({ "results": shown(pipeline)["stages"] })))
        }
        _ => Err(Refusal::not_found()),
    }
}

fn shown(pipeline: &Pipeline) -> Value {
    let stages: Vec<Value> = pipeline
        .stages
        .iter()
        .enumerate()
        .map(|(at, stage)| {
            let metadata = match stage.probability {
                Some(probability) => json!({ "isClosed": stage.closed.to_string(), "probability": probability }),
                None => json!({
                    "isClosed": stage.closed.to_string(), "ticketState": if stage.closed { "CLOSED" } else { "OPEN" },
                }),
            };
            json!({
                "id": stage.id, "label": stage.label, "displayOrder": at, "metadata": metadata,
                "createdAt": EPOCH, "updatedAt": EPOCH, "writePermissions": "CRM_PERMISSIONS_ENFORCEMENT",
                "archived": false,
            })
        })
        .collect();
    json!({
        "id": pipeline.id, "label": pipeline.label, "displayOrder": 0, "stages": stages,
        "createdAt": EPOCH, "updatedAt": EPOCH, "archived": false,
    })
}

/// `GET /crm/owners/..[/{id}]`.
pub(super) fn owners(call: &Call, rest: &[&str]) -> Result<Reply, Refusal> {
    let owner = |one: &(&str, &str, &str, &str)| {
        let (id, email, first, last) = one;
        json!({
            "id": id, "email": email, "type": "PERSON", "firstName": first, "lastName": last, "userId": 72_000_000,
            "createdAt": EPOCH, "updatedAt": EPOCH, "archived": false,
        })
    };
    match rest {
        [] => {
            let email = call.parameter("email").filter(|email| !email.is_empty());
            let all = OWNERS
                .iter()
                .filter(|one| email.is_none_or(|email| one.1.eq_ignore_ascii_case(email)));
            Ok(Reply::json(
                200,
                json!({ "results": all.map(owner).collect::<Vec<_>>() }),
            ))
        }
        [id] => {
            let found = OWNERS.iter().find(|one| one.0 == *id).ok_or_else(Refusal::not_found)?;
            Ok(Reply::json(200, owner(found)))
        }
        _ => Err(Refusal::not_found()),
    }
}

/// `GET /account-info/../details`.
pub(super) fn account() -> Reply {
    Reply::json(
        200,
        json!({
            "portalId": 147_000_001, "accountType": "SANDBOX", "timeZone": "UTC", "utcOffset": "+00:00",
            "utcOffsetMilliseconds": 0, "companyCurrency": "EUR", "additionalCurrencies": [],
            "uiDomain": "app.hubspot.com", "dataHostingLocation": "sandbox",
        }),
    )
}

/// `POST /oauth/../token`.
pub(super) fn issue_token(call: &Call, token: &str) -> Reply {
    let form = call.form();
    let grant = form
        .iter()
        .find(|(key, _)| key == "grant_type")
        .map(|(_, value)| value.as_str());
    match grant {
        Some("refresh_token" | "authorization_code" | "client_credentials") => Reply::json(
            200,
            json!({
                "access_token": token, "refresh_token": "sandbox-refresh", "expires_in": TOKEN_S,
                "token_type": "bearer",
            }),
        ),
        _ => Reply::json(
            400,
            json!({ "status": "BAD_GRANT_TYPE", "message": "unknown grant_type" }),
        ),
    }
}
