//! What HubSpot tells about itself: properties, pipelines, owners, the account, a token.

use serde_json::{Value, json};

use super::errors::Refusal;
use super::schema::{Kind, LIFECYCLE, OWNERS, Pipeline, Property, Type};
use crate::wire::{Call, Reply};
use crate::world::World;

/// Seconds an OAuth token lives at the vendor. Those of the sandbox end only when a rule says so.
const TOKEN_S: u64 = 1_800;

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
        Kind::Email | Kind::Computed(_) => ("string", "text", &[]),
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
    let mut body = json!({
        "name": property.name, "label": property.label, "type": kind, "fieldType": shown, "description": "",
        "groupName": if ours { "perennial".to_owned() } else { format!("{}information", of.singular) },
        "options": options, "displayOrder": -1, "calculated": matches!(property.kind, Kind::Computed(_)), "externalOptions": property.kind == Kind::Owner,
        "hasUniqueValue": property.unique, "hidden": false, "hubspotDefined": !ours, "formField": !property.read_only,
        "createdAt": EPOCH, "updatedAt": EPOCH, "dataSensitivity": "non_sensitive",
        "modificationMetadata": {
            "archivable": ours, "readOnlyDefinition": !ours, "readOnlyValue": property.read_only,
        },
    });
    if matches!(property.name, "annualrevenue" | "amount" | "price") {
        body["showCurrencySymbol"] = json!(true);
    }
    body
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
            "id": id, "email": email, "type": "PERSON", "firstName": first, "lastName": last, "userId": 72_000_000, "userIdIncludingInactive": 72_000_000,
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

/// `GET /crm-object-schemas/../schemas[/{type}]`: the custom object types.
pub(super) fn schemas(world: &World, rest: &[&str]) -> Result<Reply, Refusal> {
    let shown = |of: &'static Type| {
        let properties: Vec<Value> = of.all().map(|one| property(of, one)).collect();
        let associations: Vec<Value> = world
            .types
            .all()
            .flat_map(|to| {
                super::schema::ties(of, to).into_iter().map(move |tie| {
                    json!({
                        "id": tie.there.to_string(), "fromObjectTypeId": of.type_id, "toObjectTypeId": to.type_id,
                        "name": format!("{}_to_{}", of.singular, to.singular),
                    })
                })
            })
            .collect();
        json!({
            "id": of.type_id.trim_start_matches("2-"), "objectTypeId": of.type_id, "name": of.name,
            "fullyQualifiedName": format!("p147000001_{}", of.name), "archived": false, "createdAt": EPOCH,
            "updatedAt": EPOCH, "labels": { "singular": of.singular, "plural": of.name },
            "requiredProperties": of.all().filter(|one| one.required).map(|one| one.name).collect::<Vec<_>>(),
            "searchableProperties": [], "primaryDisplayProperty": of.properties.first().map(|one| one.name),
            "secondaryDisplayProperties": [], "properties": properties, "associations": associations,
        })
    };
    match rest {
        [] => {
            let all: Vec<Value> = world.types.all().filter(|of| of.is_custom()).map(shown).collect();
            Ok(Reply::json(200, json!({ "results": all })))
        }
        [name] => {
            let of = world.types.named(name).ok_or_else(Refusal::not_found)?;
            Ok(Reply::json(200, shown(of)))
        }
        _ => Err(Refusal::not_found()),
    }
}

/// `POST /oauth/../token`. Parameters count in the form body only.
pub(super) fn issue_token(world: &mut World, call: &Call) -> Reply {
    let form = call.form();
    let said = |name: &str| {
        let found = form.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).unwrap_or("")
    };
    let app = world.hubspot_app.as_ref();
    let refuse = |status: &str, message: &str| Reply::json(400, json!({ "status": status, "message": message }));
    match said("grant_type") {
        "refresh_token" | "authorization_code" | "client_credentials" => {}
        _ => return refuse("BAD_GRANT_TYPE", "unknown grant_type"),
    }
    if let Some(app) = app {
        if said("client_id") != app.client_id || said("client_secret") != app.client_secret {
            return refuse("BAD_CLIENT_ID", "missing or unknown client id");
        }
        if said("grant_type") == "refresh_token" && said("refresh_token") != app.refresh_token {
            return refuse("BAD_REFRESH_TOKEN", "missing or invalid refresh token");
        }
    }
    let refresh = app.map_or_else(|| "sandbox-refresh".to_owned(), |app| app.refresh_token.clone());
    let now = world.now();
    let token = world.hubspot_tokens.issue(now);
    Reply::json(
        200,
        json!({
            "access_token": token, "refresh_token": refresh, "expires_in": world.hubspot_tokens.lifetime_s(TOKEN_S),
            "token_type": "bearer",
        }),
    )
}

/// `POST /oauth/../token/introspect` and `/token/revoke`.
pub(super) fn about_token(world: &mut World, call: &Call, verb: &str) -> Result<Reply, Refusal> {
    let form = call.form();
    let token = form
        .iter()
        .find(|(key, _)| key == "token")
        .map_or("", |(_, value)| value.as_str());
    let good = world.hubspot_tokens.is_good(token, world.now());
    match verb {
        "introspect" => Ok(Reply::json(
            200,
            json!({ "active": good, "token_type": "access_token", "hub_id": 147_000_001, "app_id": 18_221_010 }),
        )),
        "revoke" => {
            world.hubspot_tokens.revoke(token);
            Ok(Reply::empty(204))
        }
        _ => Err(Refusal::not_found()),
    }
}
