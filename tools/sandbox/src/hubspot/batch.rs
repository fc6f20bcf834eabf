//! Batches of up to 100 records.
//!
//! A create reports per record only when every input carries an `objectWriteTraceId`; otherwise one bad record fails the
//! batch and nothing is written. Update, upsert and read always report per record (unverified for bad values).

use serde_json::{Map, Value, json};

use super::errors::Refusal;
use super::records::Via;
use super::schema::{Kind, Type};
use super::{Family, SYSTEM, batch_reply, body, inputs, properties, records};
use crate::wire::{Call, Reply};
use crate::world::World;

/// Records in one batch, the vendor's limit.
const INPUTS_MAX: usize = 100;

/// `POST /{type}/batch/{verb}`.
pub(super) fn post(
    world: &mut World,
    call: &Call,
    of: &'static Type,
    verb: &str,
    family: Family,
) -> Result<Reply, Refusal> {
    let body = body(call)?;
    let inputs = inputs(&body, INPUTS_MAX)?;
    match verb {
        "read" => read(world, of, &body, &inputs, family),
        "create" => create(world, call, of, &inputs, family),
        "update" => Ok(update(world, call, of, &inputs, family)),
        "upsert" => Ok(upsert(world, call, of, &inputs, family)),
        "archive" => {
            for input in inputs {
                records::archive(world, of, text(input, "id"), &Via::of(call))?;
            }
            Ok(Reply::empty(204))
        }
        _ => Err(Refusal::not_found()),
    }
}

fn text<'a>(input: &'a Map<String, Value>, name: &str) -> &'a str {
    input.get(name).and_then(Value::as_str).unwrap_or("")
}

fn read(
    world: &World,
    of: &'static Type,
    body: &Value,
    inputs: &[&Map<String, Value>],
    family: Family,
) -> Result<Reply, Refusal> {
    let asked: Option<Vec<String>> = body
        .get("properties")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).map(str::to_owned).collect());
    let by = body.get("idProperty").and_then(Value::as_str);
    let mut results = Vec::new();
    let mut missing = Vec::new();
    for input in inputs {
        let id = text(input, "id");
        match records::locate(world, of, id, by) {
            Ok(id) => results.push(records::shown(world, of, &id, asked.as_deref())),
            Err(refusal) if refusal.status == 404 => missing.push(id),
            Err(refusal) => return Err(refusal),
        }
    }
    let errors = if missing.is_empty() {
        Vec::new()
    } else {
        let message = format!(
            "Could not get some {} objects, they may be deleted or not exist. Check that ids are valid.",
            of.singular.to_uppercase()
        );
        vec![Refusal::new(404, "OBJECT_NOT_FOUND", message).entry(json!({ "ids": missing }))]
    };
    Ok(batch_reply(world, family, 200, results, errors))
}

fn create(
    world: &mut World,
    call: &Call,
    of: &'static Type,
    inputs: &[&Map<String, Value>],
    family: Family,
) -> Result<Reply, Refusal> {
    let traced = inputs.iter().all(|input| !text(input, "objectWriteTraceId").is_empty());
    let savepoint = if traced { None } else { Some(world.save(SYSTEM)) };
    let mut results = Vec::new();
    let mut errors = Vec::new();
    let mut first = None;
    for input in inputs {
        match records::create(world, of, input, &Via::of(call)) {
            Ok(id) => {
                let mut one = records::whole(world, of, &id);
                if let Some(trace) = input.get("objectWriteTraceId") {
                    one["objectWriteTraceId"] = trace.clone();
                }
                results.push(one);
            }
            Err(refusal) => {
                errors.push(refusal.entry(json!({ "objectWriteTraceId": [text(input, "objectWriteTraceId")] })));
                first.get_or_insert(refusal);
            }
        }
    }
    match (savepoint, first) {
        (Some(savepoint), Some(refusal)) => {
            world.roll_back(savepoint);
            return Err(refusal);
        }
        (Some(savepoint), None) => world.keep(savepoint),
        (None, _) => {}
    }
    Ok(batch_reply(world, family, 201, results, errors))
}

fn update(world: &mut World, call: &Call, of: &'static Type, inputs: &[&Map<String, Value>], family: Family) -> Reply {
    let mut results = Vec::new();
    let mut errors = Vec::new();
    for input in inputs {
        let id = text(input, "id");
        let by = input.get("idProperty").and_then(Value::as_str);
        let done = records::locate(world, of, id, by).and_then(|id| {
            let sent = properties(input)?;
            records::update(world, of, &id, &sent, &Via::of(call))?;
            Ok((id, sent))
        });
        match done {
            Ok((id, sent)) => results.push(records::written(world, of, &id, &sent)),
            Err(refusal) => errors.push(refusal.entry(context(input))),
        }
    }
    batch_reply(world, family, 200, results, errors)
}

fn upsert(world: &mut World, call: &Call, of: &'static Type, inputs: &[&Map<String, Value>], family: Family) -> Reply {
    let mut results = Vec::new();
    let mut errors = Vec::new();
    for input in inputs {
        match upsert_one(world, call, of, input) {
            Ok((id, new)) => {
                let mut one = records::whole(world, of, &id);
                one["new"] = json!(new);
                if let Some(trace) = input.get("objectWriteTraceId") {
                    one["objectWriteTraceId"] = trace.clone();
                }
                results.push(one);
            }
            Err(refusal) => errors.push(refusal.entry(context(input))),
        }
    }
    batch_reply(world, family, 200, results, errors)
}

fn context(input: &Map<String, Value>) -> Value {
    let mut context = json!({ "ids": [text(input, "id")] });
    if let Some(trace) = input.get("objectWriteTraceId") {
        context["objectWriteTraceId"] = json!([trace]);
    }
    context
}

fn upsert_one(
    world: &mut World,
    call: &Call,
    of: &'static Type,
    input: &Map<String, Value>,
) -> Result<(String, bool), Refusal> {
    let id = text(input, "id");
    let name = text(input, "idProperty");
    if name.is_empty() || name == "hs_object_id" {
        let id = records::locate(world, of, id, None)?;
        records::update(world, of, &id, &properties(input)?, &Via::of(call))?;
        return Ok((id, false));
    }
    if id.is_empty() {
        return Err(Refusal::invalid("Each input of an upsert needs an `id`"));
    }
    let mut sent = properties(input)?;
    let is_email = of.property(name).is_some_and(|property| property.kind == Kind::Email);
    let stored = Value::from(if is_email { id.to_lowercase() } else { id.to_owned() });
    match records::found_by(world, of, name, id)? {
        Some(found) => {
            // The key that found the record also marks the write, as it marks a create.
            sent.entry(name.to_owned()).or_insert(stored);
            records::update(world, of, &found, &sent, &Via::of(call))?;
            Ok((found, false))
        }
        None => {
            sent.entry(name.to_owned()).or_insert(stored);
            let mut whole = input.clone();
            whole.insert("properties".to_owned(), Value::Object(sent.into_iter().collect()));
            Ok((records::create(world, of, &whole, &Via::of(call))?, true))
        }
    }
}
