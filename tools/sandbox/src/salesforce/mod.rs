//! The Salesforce server: routes under `/services/data/v68.0`, the daily budget, the session check, the seed.
//!
//! Promises: every answer but the version list and the token carries `Sforce-Limit-Info`; errors are arrays.
//! Does not: SOSL, sObject trees, change events, any version but one.

mod auth;
mod bulk;
mod changes;
mod check;
mod collections;
mod composite;
mod describe;
mod errors;
mod ids;
mod query;
mod records;
mod rules;
mod schema;
mod select;
mod soql;

use serde_json::{Value, json};

pub(crate) use bulk::Jobs;
pub(crate) use query::Cursors;
pub(crate) use rules::fits as rule_fits;
pub(crate) use schema::{Schema, keep};

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
    let mut crm = Crm::new();
    for object in Schema::new().objects() {
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
        "TimeZoneSidKey": "Europe/Berlin", "UserType": "Standard",
    });
    world.insert(SYSTEM, "User", &user_id(), fields(user), None);
    let organization = json!({
        "Name": "Perennial Sandbox", "IsSandbox": true, "InstanceName": "SBX1", "Country": "DE",
        "OrganizationType": "Developer Edition", "DefaultLocaleSidKey": "en_US", "LanguageLocaleKey": "en_US",
        "TimeZoneSidKey": "Europe/Berlin", "PrimaryContact": "Perennial Integration", "ReceivesInfoEmails": true,
        "ReceivesAdminInfoEmails": true, "FiscalYearStartMonth": 1, "DefaultAccountAccess": "Edit",
        "DefaultContactAccess": "ControlledByParent", "DefaultOpportunityAccess": "Edit",
        "DefaultLeadAccess": "ReadEditTransfer", "DefaultCaseAccess": "ReadEditTransfer",
        "DefaultCalendarAccess": "HideDetailsInsert", "DefaultPricebookAccess": "ReadSelect",
        "DefaultCampaignAccess": "All", "UiSkin": "Theme3", "SignupCountryIsoCode": "DE", "NumKnowledgeService": 2,
        "WebToCaseDefaultOrigin": "Web", "MonthlyPageViewsUsed": 0, "MonthlyPageViewsEntitlement": 0,
        "TrialExpirationDate": "2030-01-01T00:00:00.000+0000",
    });
    world.insert(
        SYSTEM,
        "Organization",
        &ids::make("00D", ORGANIZATION_ID_NUMBER),
        fields(organization),
        None,
    );
    for (place, (name, chance, forecast)) in (1_u64..).zip(schema::STAGES_AT_START) {
        let stage = json!({
            "MasterLabel": name, "ApiName": name, "IsActive": true, "SortOrder": place, "DefaultProbability": chance,
            "IsClosed": *name == "Closed Won" || *name == "Closed Lost", "IsWon": *name == "Closed Won",
            "ForecastCategoryName": forecast,
        });
        world.insert(
            SYSTEM,
            "OpportunityStage",
            &ids::make("01J", place),
            fields(stage),
            None,
        );
    }
}

/// Answers one request.
pub(crate) fn answer(world: &mut World, call: &Call) -> Reply {
    built_in(world);
    let segments = call.segments();
    let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
    match (call.method.as_str(), parts.as_slice()) {
        ("GET", ["services", "data"]) => return versions(),
        ("POST", ["services", "oauth2", "token"]) => return auth::issue(world, call),
        _ => {}
    }
    let now = world.now();
    if !world.salesforce_tokens.serves(call.bearer(), now) {
        return session_expired();
    }
    bulk::advance(world);
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
        ("GET", ["limits", "recordCount"]) => Ok(record_count(world, call)),
        ("GET", ["sobjects"]) => Ok(describe::global(world, call)),
        ("GET", ["sobjects", object, "describe"]) => Ok(describe::object(world, call, named(world, object)?)),
        ("GET", ["sobjects", object, "updated"]) => changes::updated(world, call, named(world, object)?),
        ("GET", ["sobjects", object, "deleted"]) => changes::deleted(world, call, named(world, object)?),
        ("POST", ["composite"]) => composite::post(world, call),
        ("POST", ["composite", "batch"]) => composite::batch(world, call),
        ("POST", ["composite", "graph"]) => composite::graphs(world, call),
        (_, ["jobs", rest @ ..]) => bulk::answer(world, call, rest),
        ("GET" | "POST", ["composite", "sobjects", object]) => collections::read(world, call, named(world, object)?),
        ("GET", ["query"]) => query::start(world, call, query::Graves::Hidden),
        ("GET", ["queryAll"]) => query::start(world, call, query::Graves::Shown),
        ("GET", ["query" | "queryAll", locator]) => query::more(world, locator),
        ("POST", ["composite", "sobjects"]) => collections::create(world, call),
        ("PATCH", ["composite", "sobjects"]) => collections::update(world, call),
        ("DELETE", ["composite", "sobjects"]) => collections::delete(world, call),
        ("PATCH", ["composite", "sobjects", object, field]) => {
            collections::upsert(world, call, named(world, object)?, field)
        }
        (method, ["sobjects", object, rest @ ..]) => {
            let object = named(world, object)?;
            match (method, rest) {
                ("POST", []) => records::post(world, call, object),
                ("GET", [id]) => records::get(world, call, object, id),
                ("PATCH", [id]) => records::patch(world, call, object, id),
                ("DELETE", [id]) => records::delete(world, call, object, id),
                ("GET", [field, value]) => records::get_by(world, call, object, field, value),
                ("PATCH", [field, value]) => records::patch_by(world, call, object, field, value),
                _ => Err(not_allowed(call)),
            }
        }
        (_, [] | ["limits" | "query" | "queryAll" | "sobjects" | "composite", ..]) => Err(not_allowed(call)),
        _ => Err(Refusal::not_found()),
    }
}

fn not_allowed(call: &Call) -> Refusal {
    let message = format!("HTTP Method '{}' not allowed for this resource", call.method);
    Refusal::new(405, "METHOD_NOT_ALLOWED", message)
}

fn named(world: &World, object: &str) -> Result<&'static schema::Object, Refusal> {
    world.schema.object(object).ok_or_else(Refusal::not_found)
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
        | FaultKind::BadGateway
        | FaultKind::SlowBody { .. }
        | FaultKind::StallBeforeCommit { .. }
        | FaultKind::StallAfterCommit { .. }
        | FaultKind::PartialFailure { .. }
        | FaultKind::PersonEdits { .. }
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
    let names = ["sobjects", "query", "queryAll", "limits", "composite", "jobs"];
    let map = names.map(|name| (name.to_owned(), json!(format!("/services/data/{VERSION}/{name}"))));
    Reply::json(200, Value::Object(map.into_iter().collect()))
}

fn limits(world: &World) -> Reply {
    let max = world.limits.salesforce_daily;
    let remaining = max.saturating_sub(world.salesforce_used);
    Reply::json(
        200,
        json!({
            "DailyApiRequests": { "Max": max, "Remaining": remaining },
            "DailyBulkApiBatches": { "Max": 15_000, "Remaining": 15_000 },
            "DailyBulkV2QueryJobs": { "Max": 10_000, "Remaining": 10_000 },
            "DailyBulkV2QueryFileStorageMB": { "Max": 976_562, "Remaining": 976_562 },
            "DataStorageMB": { "Max": 5, "Remaining": 5 }, "FileStorageMB": { "Max": 20, "Remaining": 20 },
        }),
    )
}

/// Living records of the objects asked for. One without records is left out, as are names that are not known.
fn record_count(world: &World, call: &Call) -> Reply {
    let asked = call.list("sObjects");
    let objects = world.schema.objects().filter(|object| {
        asked
            .as_ref()
            .is_none_or(|names| names.iter().any(|name| name.eq_ignore_ascii_case(object.name)))
    });
    let counts: Vec<Value> = objects
        .filter_map(|object| {
            let count = world.salesforce.table(object.name)?.after(None).count();
            (count > 0).then(|| json!({ "count": count, "name": object.name }))
        })
        .collect();
    Reply::json(200, json!({ "sObjects": counts }))
}

/// Writes as a person would, past the HTTP layer.
pub(crate) fn edit(world: &mut World, object: &str, id: &str, fields: Fields, author: Author) -> Result<(), String> {
    let object = world.schema.object(object).ok_or("there is no such object")?;
    let id = records::locate(world, object, id).map_err(|refusal| refusal.message)?;
    records::update(world, object, &id, &fields, &records::Via::person(&author.by)).map_err(|refusal| refusal.message)
}

/// Creates a record as a person would, and answers its id.
pub(crate) fn make(world: &mut World, object: &str, fields: &Fields, by: &str) -> Result<String, String> {
    let object = world.schema.object(object).ok_or("there is no such object")?;
    records::create(world, object, fields, &records::Via::person(by)).map_err(|refusal| refusal.message)
}

/// Deletes a record as a person would.
pub(crate) fn remove(world: &mut World, object: &str, id: &str, by: &str) -> Result<(), String> {
    let object = world.schema.object(object).ok_or("there is no such object")?;
    let id = records::locate(world, object, id).map_err(|refusal| refusal.message)?;
    records::remove(world, object, &id, &records::Via::person(by)).map_err(|refusal| refusal.message)
}

/// Takes in custom fields, and the object when it is new.
pub(crate) fn extend(world: &mut World, custom: &crate::custom::CustomObject) -> Result<(), String> {
    let object = world.schema.extend(custom)?;
    world.salesforce.add_table(object.name, object.indexed(), Case::Folds);
    world.schema_changed = world.now();
    Ok(())
}

/// Changes what may be done with a field. Answers whether there is such a field.
pub(crate) fn allow(world: &mut World, object: &str, field: &str, access: crate::custom::Access) -> bool {
    world.schema_changed = world.now();
    world.schema.allow(object, field, access)
}

/// Puts a record of the seed in place and answers its id.
pub(crate) fn seed(world: &mut World, record: &SeedRecord) -> Result<String, String> {
    built_in(world);
    let object = world
        .schema
        .object(&record.object)
        .ok_or("there is no such object in this sandbox")?;
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
    let object = world
        .schema
        .object(&record.object)
        .ok_or("there is no such object in this sandbox")?;
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
pub(crate) fn field_names(schema: &Schema, object: &str) -> Vec<&'static str> {
    schema
        .object(object)
        .map(|object| object.all().map(|field| field.name).collect())
        .unwrap_or_default()
}
