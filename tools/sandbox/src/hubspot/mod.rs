//! The HubSpot server: the dated and the v3/v4 paths over the same handlers, rate headers, the token check, the seed.
//!
//! Promises: both path families differ only where the vendor's do (207 or 200 on a partial batch, rules of admins). Does
//! not: `archived=true` but for lists, scopes, the making of properties and schemas.

mod associations;
mod batch;
mod errors;
mod meta;
mod records;
mod schema;
mod search;
mod values;

use std::collections::VecDeque;

use serde_json::{Value, json};

use crate::custom::{Access, CustomObject, Rule};
use crate::fault::FaultKind;
use crate::limits::Enforcement;
use crate::record::{Association, System};
use crate::seed::SeedRecord;
use crate::wire::{Call, Reply};
use crate::world::{Author, Case, Crm, Fields, World};
use errors::Refusal;
use schema::Type;
pub(crate) use schema::Types;
use values::Write;

const SYSTEM: System = System::Hubspot;

/// The API version that is served beside v3 and v4.
const DATED: &str = "2026-09";

/// The window of the burst budget.
const BURST_MS: i64 = 10_000;

/// The window of the search budget, and of the headers that tell of the last second.
const SECOND_MS: i64 = 1_000;

/// Ids start here, beyond what fits 32 bits, as in real accounts.
const FIRST_ID: u64 = 421_355_332_800;

/// How the path was spelt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// `/crm/objects/2026-09/..`
    Dated,
    /// `/crm/v3/..` and `/crm/v4/..`
    Numbered,
}

/// When requests came, in milliseconds, as far back as the budgets look.
#[derive(Debug, Default)]
pub(crate) struct Windows {
    calls: VecDeque<i64>,
    searches: VecDeque<i64>,
}

/// Counts one request in a window and answers how many there are in it.
fn count(window: &mut VecDeque<i64>, now: i64, length: i64) -> u32 {
    while window.front().is_some_and(|at| *at <= now - length) {
        window.pop_front();
    }
    window.push_back(now);
    // INVARIANT (a window is bounded): a fixed clock never empties it, so it is cut instead.
    if window.len() > WINDOW_MAX {
        window.pop_front();
    }
    u32::try_from(window.len()).unwrap_or(u32::MAX)
}

/// Requests remembered per window, above every budget the vendor sells.
const WINDOW_MAX: usize = 1_000;

/// A HubSpot without records.
pub(crate) fn empty_crm() -> Crm {
    let mut crm = Crm::new();
    for of in Types::new().all() {
        crm.add_table(of.name, of.indexed(), Case::Matters);
    }
    crm.next_id = FIRST_ID;
    crm
}

/// Answers one request.
pub(crate) fn answer(world: &mut World, call: &Call) -> Reply {
    let segments = call.segments();
    let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
    match (call.method.as_str(), parts.as_slice()) {
        ("POST", ["oauth", "2026-09" | "v1", "token"]) => return meta::issue_token(world, call),
        ("POST", ["oauth", "2026-09" | "v1", "token", verb]) => {
            return meta::about_token(world, call, verb).unwrap_or_else(|refusal| refusal.reply(world));
        }
        _ => {}
    }
    let at = world.now();
    if !world.hubspot_tokens.serves(call.bearer(), at) {
        return unauthenticated().reply(world);
    }
    if world
        .limits
        .hubspot_daily
        .is_some_and(|daily| world.hubspot_used >= daily)
    {
        return too_many("DAILY", "You have reached your daily limit.").reply(world);
    }
    world.hubspot_used += 1;
    let now = at.as_millisecond();
    let used = count(&mut world.windows.calls, now, BURST_MS);
    let max = world.limits.hubspot_burst;
    let is_search = parts.last() == Some(&"search");
    let reply = if world.limits.hubspot_burst_rule == Enforcement::Enforced && used > max {
        // A refused request is not in the window.
        world.windows.calls.pop_back();
        too_many(
            "TEN_SECONDLY_ROLLING",
            "You have reached your ten_secondly_rolling limit.",
        )
        .reply(world)
    } else {
        route(world, call, &parts).unwrap_or_else(|refusal| refusal.reply(world))
    };
    if is_search {
        return reply;
    }
    let secondly = max.div_ceil(10);
    let recent = world
        .windows
        .calls
        .iter()
        .rev()
        .take_while(|at| **at > now - SECOND_MS)
        .count();
    let left = secondly.saturating_sub(u32::try_from(recent).unwrap_or(u32::MAX));
    reply
        .with("x-hubspot-ratelimit-interval-milliseconds", BURST_MS.to_string())
        .with("x-hubspot-ratelimit-max", max.to_string())
        .with("x-hubspot-ratelimit-remaining", max.saturating_sub(used).to_string())
        .with("x-hubspot-ratelimit-secondly", secondly.to_string())
        .with("x-hubspot-ratelimit-secondly-remaining", left.to_string())
}

fn route(world: &mut World, call: &Call, parts: &[&str]) -> Result<Reply, Refusal> {
    let method = call.method.as_str();
    match parts {
        ["crm", "objects", DATED, of, rest @ ..] => {
            let of = named(world, of)?;
            objects(world, call, of, rest, Family::Dated)
        }
        ["crm", "v3" | "v4", "objects", of, rest @ ..] => {
            let of = named(world, of)?;
            objects(world, call, of, rest, Family::Numbered)
        }
        ["crm", "v3", "associations", from, to, "batch", verb] if method == "POST" => {
            let (from, to) = (named(world, from)?, named(world, to)?);
            associations::batch_v3(world, call, from, to, verb)
        }
        ["crm", "associations", DATED, from, to, rest @ ..] | ["crm", "v4", "associations", from, to, rest @ ..] => {
            let (from, to) = (named(world, from)?, named(world, to)?);
            let family = if parts.get(2) == Some(&DATED) {
                Family::Dated
            } else {
                Family::Numbered
            };
            match (method, rest) {
                ("POST", ["batch", verb @ ..]) => associations::batch(world, call, from, to, verb, family),
                ("GET", ["labels"]) => Ok(associations::labels(world, from, to)),
                ("POST", ["labels"]) => associations::define(world, call, from, to),
                _ => Err(Refusal::not_found()),
            }
        }
        ["crm", "properties", DATED, of, rest @ ..] | ["crm", "v3", "properties", of, rest @ ..] if method == "GET" => {
            meta::properties(named(world, of)?, rest)
        }
        ["crm", "pipelines", DATED, of, rest @ ..] | ["crm", "v3", "pipelines", of, rest @ ..] if method == "GET" => {
            meta::pipelines(named(world, of)?, rest)
        }
        ["crm", "owners", DATED, rest @ ..] | ["crm", "v3", "owners", rest @ ..] if method == "GET" => {
            meta::owners(call, rest)
        }
        ["crm-object-schemas", DATED | "v3", "schemas", rest @ ..] if method == "GET" => meta::schemas(world, rest),
        ["account-info", DATED | "v3", "details"] if method == "GET" => Ok(meta::account()),
        ["app-webhooks", DATED, app, rest @ ..] | ["webhooks", "v3", app, rest @ ..] => {
            let reply = world.hooks.answer(call, app, rest);
            reply.ok_or_else(Refusal::not_found)
        }
        _ => Err(Refusal::not_found()),
    }
}

fn objects(world: &mut World, call: &Call, of: &'static Type, rest: &[&str], family: Family) -> Result<Reply, Refusal> {
    match (call.method.as_str(), rest) {
        ("GET", []) => records::list(world, call, of),
        ("POST", []) => records::post(world, call, of),
        ("POST", ["search"]) => {
            if let Some(max) = world.limits.hubspot_searches_per_second {
                let now = world.now().as_millisecond();
                if count(&mut world.windows.searches, now, SECOND_MS) > max {
                    world.windows.searches.pop_back();
                    return Err(too_many("SECONDLY", "You have reached your secondly limit."));
                }
            }
            search::post(world, call, of)
        }
        ("POST", ["batch", verb]) => batch::post(world, call, of, verb, family),
        ("GET", [id]) => records::get(world, call, of, id),
        ("PATCH", [id]) => records::patch(world, call, of, id),
        ("DELETE", [id]) => records::delete(world, call, of, id),
        ("GET", [id, "associations", to]) if family == Family::Numbered => {
            associations::of_one(world, of, id, named(world, to)?)
        }
        ("PUT", [id, "associations", "default", to, to_id]) => {
            let to = named(world, to)?;
            associations::put_default(world, call, (of, id), (to, to_id))
        }
        ("PUT", [id, "associations", to, to_id]) => {
            let to = named(world, to)?;
            associations::put(world, call, (of, id), (to, to_id))
        }
        ("DELETE", [id, "associations", to, to_id]) => {
            let to = named(world, to)?;
            associations::delete(world, call, (of, id), (to, to_id))
        }
        (_, [] | [_] | ["batch", _]) => Err(Refusal::new(405, "METHOD_NOT_ALLOWED", "Method Not Allowed")),
        _ => Err(Refusal::not_found()),
    }
}

fn named(world: &World, of: &str) -> Result<&'static Type, Refusal> {
    let found = world.types.named(of);
    found.ok_or_else(|| Refusal::invalid(format!("Unable to infer object type from: {of}")))
}

fn unauthenticated() -> Refusal {
    let message =
        "Authentication credentials not found or not valid. Send an Authorization header with a bearer token.";
    Refusal::new(401, "INVALID_AUTHENTICATION", message)
}

fn too_many(policy: &'static str, message: &str) -> Refusal {
    let mut refusal = Refusal::new(429, "RATE_LIMITS", message);
    refusal.extra = Some(("policyName", policy));
    refusal
}

/// The answer of an injected fault that refuses a request.
pub(crate) fn fault(world: &mut World, kind: &FaultKind) -> Reply {
    match kind {
        FaultKind::TooManyRequests { retry_after_s } => {
            let refusal = too_many(
                "TEN_SECONDLY_ROLLING",
                "You have reached your ten_secondly_rolling limit.",
            );
            let reply = refusal.reply(world);
            match retry_after_s {
                Some(seconds) => reply.with("retry-after", seconds.to_string()),
                None => reply,
            }
        }
        // The vendor says 429 with the policy DAILY, not 403.
        FaultKind::LimitExhausted => too_many("DAILY", "You have reached your daily limit.").reply(world),
        FaultKind::TokenExpired => unauthenticated().reply(world),
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
        | FaultKind::TruncatedJson => Refusal::new(500, "INTERNAL_ERROR", "internal error").reply(world),
    }
}

/// Writes as a person would, past the HTTP layer.
pub(crate) fn edit(world: &mut World, of: &str, id: &str, fields: Fields, author: Author) -> Result<(), String> {
    let of = world.types.named(of).ok_or("there is no such object type")?;
    if world.hubspot.row(of.name, id).is_none() {
        return Err("there is no such record".to_owned());
    }
    records::update(world, of, id, &fields, &records::Via::person(&author.by)).map_err(|refusal| refusal.message)
}

/// Creates a record as a person would, and answers its id.
pub(crate) fn make(world: &mut World, of: &str, fields: &Fields, by: &str) -> Result<String, String> {
    let of = world.types.named(of).ok_or("there is no such object type")?;
    let input = json!({ "properties": fields });
    let input = input.as_object().cloned().unwrap_or_default();
    records::create(world, of, &input, &records::Via::person(by)).map_err(|refusal| refusal.message)
}

/// Archives a record as a person would.
pub(crate) fn remove(world: &mut World, of: &str, id: &str, by: &str) -> Result<(), String> {
    let of = world.types.named(of).ok_or("there is no such object type")?;
    records::archive(world, of, id, &records::Via::person(by)).map_err(|refusal| refusal.message)
}

/// Says why a rule cannot be taken, or nothing.
pub(crate) fn rule_fits(world: &World, rule: &Rule) -> Result<(), String> {
    let Rule::ConditionalRequired {
        object,
        property,
        required,
        ..
    } = rule
    else {
        return Err("this rule is one of Salesforce".to_owned());
    };
    let of = world
        .types
        .named(object)
        .ok_or_else(|| format!("there is no object type `{object}`"))?;
    match [property, required]
        .into_iter()
        .find(|name| of.property(name).is_none())
    {
        Some(name) => Err(format!("{} has no property `{name}`", of.name)),
        None => Ok(()),
    }
}

/// Takes in custom properties, and the object type when it is new.
pub(crate) fn extend(world: &mut World, custom: &CustomObject) -> Result<(), String> {
    let of = world.types.extend(custom)?;
    world.hubspot.add_table(of.name, of.indexed(), Case::Matters);
    Ok(())
}

/// Changes what may be done with a property. Answers whether there is such a property.
pub(crate) fn allow(world: &mut World, of: &str, name: &str, access: Access) -> bool {
    world.types.allow(of, name, access)
}

/// Puts a record of the seed in place and answers its id.
pub(crate) fn seed(world: &mut World, record: &SeedRecord) -> Result<String, String> {
    let of = world
        .types
        .named(&record.object)
        .ok_or("there is no such object type in this sandbox")?;
    let id = match &record.id {
        Some(id) if !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()) => id.clone(),
        Some(id) => return Err(format!("`{id}` is no HubSpot id, which is decimal digits")),
        None => records::next_id(world, of),
    };
    if world.hubspot.row(of.name, &id).is_some() {
        return Err(format!("the id {id} is there twice"));
    }
    if world.is_full(SYSTEM) {
        return Err("there are too many records".to_owned());
    }
    records::plant(world, of, &id, &record.fields).map_err(|refusal| refusal.message)?;
    world.hubspot.set_locked(of.name, &id, record.locked);
    Ok(id)
}

/// Ties a seeded record to others, once every record is there.
pub(crate) fn seed_associations(world: &mut World, record: &SeedRecord, id: &str) -> Result<(), String> {
    let from = world
        .types
        .named(&record.object)
        .ok_or("there is no such object type in this sandbox")?;
    for wanted in &record.associations {
        let to = world
            .types
            .named(&wanted.object)
            .ok_or_else(|| format!("association with `{}`: there is no such object type", wanted.object))?;
        if world.hubspot.row(to.name, &wanted.id).is_none() {
            return Err(format!(
                "association with {} `{}`: there is no such record",
                to.singular, wanted.id
            ));
        }
        let tie = schema::ties(from, to).first().copied();
        let tie = tie.ok_or_else(|| format!("a {} cannot be associated with a {}", from.singular, to.singular))?;
        let there = Association {
            object: to.name.to_owned(),
            id: wanted.id.clone(),
            type_id: tie.there,
        };
        let back = Association {
            object: from.name.to_owned(),
            id: id.to_owned(),
            type_id: tie.back,
        };
        world.link(SYSTEM, (from.name, id), &there, None);
        world.link(SYSTEM, (to.name, &wanted.id), &back, None);
    }
    Ok(())
}

/// Defines a label for associations between two types of records; answers its number in this direction.
pub(crate) fn define_label(world: &mut World, from: &str, to: &str, label: &str) -> Option<u32> {
    let (from, to) = (world.types.named(from)?, world.types.named(to)?);
    Some(world.types.define(from, to, label, None)?.there)
}

/// The labels that the association of two records has; nothing where there is none.
pub(crate) fn labels_of(world: &World, from: (&str, &str), to: (&str, &str)) -> Option<Vec<&'static str>> {
    let (of, other) = (world.types.named(from.0)?, world.types.named(to.0)?);
    let row = world.hubspot.row(of.name, from.1)?;
    let kinds = row.links.get(&(other.name.to_owned(), to.1.to_owned()))?;
    let ties = world.types.ties(of, other);
    Some(
        ties.iter()
            .filter(|tie| kinds.contains(&tie.there))
            .filter_map(|tie| tie.label)
            .collect(),
    )
}

/// Gives the association of two records exactly these labels, as a person would.
pub(crate) fn set_labels(
    world: &mut World,
    from: (&str, &str),
    to: (&str, &str),
    labels: &[&str],
    author: &Author,
) -> Result<(), String> {
    let of = |name: &str| {
        world
            .types
            .named(name)
            .ok_or_else(|| format!("there is no object `{name}`"))
    };
    let ends = ((of(from.0)?, from.1), (of(to.0)?, to.1));
    associations::set_labels(world, ends.0, ends.1, labels, author)
}

/// The `inputs` of a batch, each an object.
fn inputs(body: &Value, max: usize) -> Result<Vec<&serde_json::Map<String, Value>>, Refusal> {
    let Some(inputs) = body.get("inputs").and_then(Value::as_array) else {
        return Err(Refusal::invalid("Invalid input JSON: `inputs` must be a list"));
    };
    if inputs.len() > max {
        return Err(Refusal::invalid(format!(
            "The maximum number of inputs in one request is {max}"
        )));
    }
    let objects: Option<Vec<_>> = inputs.iter().map(Value::as_object).collect();
    objects.ok_or_else(|| Refusal::invalid("Invalid input JSON: each of `inputs` must be an object"))
}

fn body(call: &Call) -> Result<Value, Refusal> {
    match call.json() {
        Ok(body) if body.is_object() => Ok(body),
        Ok(_) => Err(Refusal::invalid("Invalid input JSON: the body must be an object")),
        Err(message) => Err(Refusal::invalid(format!("Invalid input JSON: {message}"))),
    }
}

/// The `properties` of a write.
fn properties(from: &serde_json::Map<String, Value>) -> Result<Fields, Refusal> {
    match from.get("properties") {
        Some(Value::Object(map)) => Ok(map.clone().into_iter().collect()),
        None => Ok(Fields::new()),
        Some(_) => Err(Refusal::invalid("Invalid input JSON: `properties` must be an object")),
    }
}

/// The answer of a batch. A partial failure is 207 on the numbered paths and 200 on the dated ones.
fn batch_reply(world: &World, family: Family, whole: u16, results: Vec<Value>, errors: Vec<Value>) -> Reply {
    let now = values::iso(world.now());
    let mut body = json!({ "status": "COMPLETE", "results": results, "startedAt": now, "completedAt": now });
    if errors.is_empty() {
        return Reply::json(whole, body);
    }
    body["numErrors"] = json!(errors.len());
    body["errors"] = json!(errors);
    Reply::json(if family == Family::Dated { 200 } else { 207 }, body)
}

/// The properties of a type in the order people are shown them.
pub(crate) fn field_names(types: &Types, of: &str) -> Vec<&'static str> {
    types
        .named(of)
        .map(|of| of.all().map(|property| property.name).collect())
        .unwrap_or_default()
}
