//! The Salesforce server: routes under `/services/data/v68.0`, the daily budget, the session check, the seed.
//!
//! Promises: every answer but the version list and the token carries `Sforce-Limit-Info`; errors are arrays.
//! Does not: Bulk 2.0, composite with subrequests, SOSL, change events.

mod check;
mod collections;
mod describe;
mod errors;
mod ids;
mod query;
mod records;
mod schema;
mod soql;

use serde_json::{Value, json};

pub(crate) use query::Cursors;

use crate::fault::FaultKind;
use crate::record::System;
use crate::seed::SeedRecord;
use crate::wire::{Call, Reply};
use crate::world::{Author, Case, Crm, Fields, World};
use check::Write;
use errors::Refusal;

/// The API version that is served.
const VERSION: &str = "v68.0";

const SYSTEM: System = System::Salesforce;

/// The integration user who owns and writes everything, and the one row of Organization.
const USER_ID_NUMBER: u64 = 1;
const ORGANIZATION_ID_NUMBER: u64 = 1;

fn user_id() -> String {
    ids::make("005", USER_ID_NUMBER)
}

/// A Salesforce without records but for its user and its organization.
pub(crate) fn empty_crm() -> Crm {
    let mut crm = Crm::new(SYSTEM);
    for object in schema::OBJECTS {
        crm.add_table(object.name, object.indexed(), Case::Folds);
    }
    // Ids of records start behind those of the built-in rows.
    crm.next_id = 100;
    crm
}

/// The rows every org has. Separate from [`empty_crm`] because inserting needs the clock.
fn built_in(world: &mut World) {
    if world.salesforce.row("User", &user_id()).is_some() {
        return;
    }
    let fields = |value: Value| -> Fields {
        match value {
            Value::Object(map) => map.into_iter().collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Fields::new(),
        }
    };
    let user = json!({
        "Username": "integration@sandbox.example", "FirstName": "Perennial", "LastName": "Integration",
        "Name": "Perennial Integration", "Email": "integration@sandbox.example", "IsActive": true,
    });
    world.insert(SYSTEM, "User", &user_id(), fields(user), None);
    let organization = json!({
        "Name": "Perennial Sandbox", "IsSandbox": true, "InstanceName": "SBX1",
        "OrganizationType": "Developer Edition", "DefaultLocaleSidKey": "en_US",
    });
    world.insert(
        SYSTEM,
        "Organization",
        &ids::make("00D", ORGANIZATION_ID_NUMBER),
        fields(organization),
        None,
    );
}

/// Answers one request.
pub(crate) fn answer(world: &mut World, call: &Call, token: &str) -> Reply {
    built_in(world);
    let segments = call.segments();
    let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
    match (call.method.as_str(), parts.as_slice()) {
        ("GET", ["services", "data"]) => return versions(),
        ("POST", ["services", "oauth2", "token"]) => return issue_token(world, call, token),
        _ => {}
    }
    if !call.bears(token) {
        return session_expired();
    }
    if world.salesforce_used >= world.limits.salesforce_daily {
        return with_usage(world, limit_exceeded());
    }
    world.salesforce_used += 1;
    let reply = match parts.as_slice() {
        ["services", "data", VERSION, rest @ ..] => {
            resource(world, call, rest).unwrap_or_else(|refusal| refusal.reply())
        }
        _ => Refusal::not_found().reply(),
    };
    with_usage(world, reply)
}

fn with_usage(world: &World, reply: Reply) -> Reply {
    let usage = format!("api-usage={}/{}", world.salesforce_used, world.limits.salesforce_daily);
    reply.with("sforce-limit-info", usage)
}

fn resource(world: &mut World, call: &Call, path: &[&str]) -> Result<Reply, Refusal> {
    match (call.method.as_str(), path) {
        ("GET", []) => Ok(resources()),
        ("GET", ["limits"]) => Ok(limits(world)),
        ("GET", ["sobjects"]) => Ok(describe::global()),
        ("GET", ["sobjects", object, "describe"]) => describe::object(named(object)?),
        ("GET", ["query"]) => query::start(world, call, query::Graves::Hidden),
        ("GET", ["queryAll"]) => query::start(world, call, query::Graves::Shown),
        ("GET", ["query" | "queryAll", locator]) => query::more(world, locator),
        ("POST", ["composite", "sobjects"]) => collections::create(world, call),
        ("PATCH", ["composite", "sobjects"]) => collections::update(world, call),
        ("DELETE", ["composite", "sobjects"]) => collections::delete(world, call),
        ("PATCH", ["composite", "sobjects", object, field]) => collections::upsert(world, call, named(object)?, field),
        ("POST", ["sobjects", object]) => records::post(world, call, named(object)?),
        ("GET", ["sobjects", object, id]) => records::get(world, call, named(object)?, id),
        ("PATCH", ["sobjects", object, id]) => records::patch(world, call, named(object)?, id),
        ("DELETE", ["sobjects", object, id]) => records::delete(world, call, named(object)?, id),
        ("GET", ["sobjects", object, field, value]) => records::get_by(world, call, named(object)?, field, value),
        ("PATCH", ["sobjects", object, field, value]) => records::patch_by(world, call, named(object)?, field, value),
        (_, [] | ["limits" | "query" | "queryAll" | "sobjects", ..] | ["composite", "sobjects", ..]) => {
            let message = format!("HTTP Method '{}' not allowed for this resource", call.method);
            Err(Refusal::new(405, "METHOD_NOT_ALLOWED", message))
        }
        _ => Err(Refusal::not_found()),
    }
}

fn named(object: &str) -> Result<&'static schema::Object, Refusal> {
    schema::object(object).ok_or_else(Refusal::not_found)
}

/// The answer of an injected fault that refuses a request.
pub(crate) fn fault(world: &mut World, kind: &FaultKind) -> Reply {
    let reply = match kind {
        FaultKind::LimitExhausted => limit_exceeded(),
        FaultKind::TokenExpired => return session_expired(),
        FaultKind::TooManyRequests { retry_after_s } => {
            let reply = Refusal::new(429, "REQUEST_LIMIT_EXCEEDED", "Too many requests.").reply();
            match retry_after_s {
                Some(seconds) => reply.with("retry-after", seconds.to_string()),
                None => reply,
            }
        }
        FaultKind::ServerError
        | FaultKind::Unavailable
        | FaultKind::DropBeforeCommit
        | FaultKind::DropAfterCommit
        | FaultKind::Slow { .. }
        | FaultKind::TruncatedJson => Refusal::new(500, "UNKNOWN_EXCEPTION", "An unexpected error occurred.").reply(),
    };
    with_usage(world, reply)
}

fn session_expired() -> Reply {
    Refusal::new(401, "INVALID_SESSION_ID", "Session expired or invalid").reply()
}

fn limit_exceeded() -> Reply {
    Refusal::new(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.").reply()
}

fn versions() -> Reply {
    let version = |label: &str, number: &str| json!({ "label": label, "url": format!("/services/data/v{number}"), "version": number });
    Reply::json(
        200,
        json!([version("Summer '26", "67.0"), version("Winter '27", "68.0")]),
    )
}

fn resources() -> Reply {
    let names = ["sobjects", "query", "queryAll", "limits", "composite"];
    let map = names.map(|name| (name.to_owned(), json!(format!("/services/data/{VERSION}/{name}"))));
    Reply::json(200, Value::Object(map.into_iter().collect()))
}

fn limits(world: &World) -> Reply {
    let max = world.limits.salesforce_daily;
    let remaining = max.saturating_sub(world.salesforce_used);
    Reply::json(
        200,
        json!({ "DailyApiRequests": { "Max": max, "Remaining": remaining } }),
    )
}

fn issue_token(world: &World, call: &Call, token: &str) -> Reply {
    let form = call.form();
    let given = |name: &str| form.iter().any(|(key, value)| key == name && !value.is_empty());
    let refuse = |error: &str, why: &str| Reply::json(400, json!({ "error": error, "error_description": why }));
    let grant = form
        .iter()
        .find(|(key, _)| key == "grant_type")
        .map(|(_, value)| value.as_str());
    match grant {
        Some("client_credentials" | "refresh_token")
            if !given("client_id") && call.header("authorization").is_none() =>
        {
            refuse("invalid_client_id", "client identifier invalid")
        }
        Some("refresh_token") if !given("refresh_token") => refuse("invalid_grant", "expired access/refresh token"),
        Some("client_credentials" | "refresh_token") => Reply::json(
            200,
            json!({
                "access_token": token,
                "signature": "c2FuZGJveA==",
                "scope": "api refresh_token",
                "instance_url": call.base_url,
                "id": format!("{}/id/{}/{}", call.base_url, ids::make("00D", ORGANIZATION_ID_NUMBER), user_id()),
                "token_type": "Bearer",
                "issued_at": world.now().as_millisecond().to_string(),
            }),
        ),
        _ => refuse("unsupported_grant_type", "grant type not supported"),
    }
}

/// Writes as a person would, past the HTTP layer.
pub(crate) fn edit(world: &mut World, object: &str, id: &str, fields: Fields, author: Author) -> Result<(), String> {
    let object = schema::object(object).ok_or("there is no such object")?;
    let id = records::locate(world, object, id).map_err(|refusal| refusal.message)?;
    records::update(world, object, &id, &fields, &author.by).map_err(|refusal| refusal.message)
}

/// Puts a record of the seed in place and answers its id.
pub(crate) fn seed(world: &mut World, record: &SeedRecord) -> Result<String, String> {
    built_in(world);
    let object = schema::object(&record.object).ok_or("there is no such object in this sandbox")?;
    let id = match &record.id {
        Some(text) => ids::canonical(text)
            .filter(|id| id.starts_with(object.prefix))
            .ok_or_else(|| {
                format!(
                    "`{text}` is no id of this object (prefix {}, 15 or 18 characters)",
                    object.prefix
                )
            })?,
        None => records::next_id(world, object),
    };
    if world.salesforce.row(object.name, &id).is_some() {
        return Err(format!("the id {id} is there twice"));
    }
    if world.is_full(SYSTEM) {
        return Err("there are too many records".to_owned());
    }
    records::plant(world, object, &id, &record.fields)
        .map_err(|refusal| format!("{}: {}", refusal.code, refusal.message))?;
    world.salesforce.set_locked(object.name, &id, record.locked);
    Ok(id)
}

/// Checks what a seeded record refers to, once every record is there.
pub(crate) fn seed_references(world: &World, record: &SeedRecord, id: &str) -> Result<(), String> {
    if !record.associations.is_empty() {
        return Err("Salesforce records have no associations; set a reference field".to_owned());
    }
    let object = schema::object(&record.object).ok_or("there is no such object in this sandbox")?;
    let fields = world
        .salesforce
        .row(object.name, id)
        .map(|row| row.fields.clone())
        .unwrap_or_default();
    check::references(&world.salesforce, object, &fields)
        .map_err(|refusal| format!("{} in {}", refusal.message, refusal.fields.join(", ")))
}

/// The fields of a JSON object body.
fn body_fields(call: &Call) -> Result<Fields, Refusal> {
    match call.json() {
        Ok(Value::Object(map)) => Ok(map.into_iter().collect()),
        Ok(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => Err(Refusal::bad(
            "JSON_PARSER_ERROR",
            "The request body must be a JSON object",
        )),
        Err(message) => Err(Refusal::bad("JSON_PARSER_ERROR", message)),
    }
}

/// Which rules a write follows; named here so that the modules share one word.
const CREATE: Write = Write::Create;
const UPDATE: Write = Write::Update;

/// The fields of an object in the order people are shown them.
pub(crate) fn field_names(object: &str) -> Vec<&'static str> {
    schema::object(object)
        .map(|object| object.all().map(|field| field.name).collect())
        .unwrap_or_default()
}
