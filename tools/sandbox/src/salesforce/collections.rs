//! Collections: up to 200 records in one request, each with its own result, in the order of the request.

use serde_json::{Value, json};

use super::errors::Refusal;
use super::records::{self, MayCreate, Upserted, Via};
use super::schema::{Key, Object, Schema};
use super::{SYSTEM, body_fields};
use crate::wire::{Call, Reply};
use crate::world::{Fields, World};

/// Records in one request, the vendor's limit.
const RECORDS_MAX: usize = 200;

/// Runs of records of one type in one request, the vendor's limit.
const RUNS_MAX: usize = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// One bad record undoes all.
    UndoesAll,
    /// The others stay.
    StandsAlone,
}

/// `POST /composite/sobjects`.
pub(super) fn create(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    let (records, failure) = mixed(call)?;
    Ok(each(world, records, failure, |world, record| {
        let id = records::create(world, typed(&world.schema, &record)?, &record, &Via::of(call))?;
        Ok(json!({ "id": id, "success": true, "errors": [] }))
    }))
}

/// `PATCH /composite/sobjects`.
pub(super) fn update(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    let (records, failure) = mixed(call)?;
    Ok(each(world, records, failure, |world, mut record| {
        let object = typed(&world.schema, &record)?;
        let missing = || Refusal::bad("MISSING_ARGUMENT", "Id not specified in an update call");
        let id = take_id(&mut record).ok_or_else(missing)?;
        let id = records::locate(world, object, &id)?;
        records::update(world, object, &id, &record, &Via::of(call))?;
        Ok(json!({ "id": id, "success": true, "errors": [] }))
    }))
}

/// `PATCH /composite/sobjects/{object}/{field}`.
pub(super) fn upsert(world: &mut World, call: &Call, object: &'static Object, field: &str) -> Result<Reply, Refusal> {
    let (records, failure) = listed(call)?;
    let known = object
        .field(field)
        .filter(|field| field.key != Key::No || field.name == "Id");
    known.ok_or_else(|| records::no_external(field))?;
    Ok(each(world, records, failure, |world, mut record| {
        if typed(&world.schema, &record).is_ok_and(|of| of.name != object.name) {
            let message = "All records of an upsert must be of the type in the address";
            return Err(Refusal::bad("INVALID_TYPE", message));
        }
        record.remove("attributes");
        if field.eq_ignore_ascii_case("Id") {
            return match take_id(&mut record) {
                None => {
                    let id = records::create(world, object, &record, &Via::of(call))?;
                    Ok(json!({ "id": id, "success": true, "errors": [], "created": true }))
                }
                Some(id) => {
                    let id = records::locate(world, object, &id)?;
                    records::update(world, object, &id, &record, &Via::of(call))?;
                    Ok(json!({ "id": id, "success": true, "errors": [], "created": false }))
                }
            };
        }
        let name = record.keys().find(|name| name.eq_ignore_ascii_case(field)).cloned();
        let value = name
            .and_then(|name| record.remove(&name))
            .and_then(|value| value.as_str().map(str::to_owned));
        let missing = || Refusal::bad("MISSING_ARGUMENT", format!("{field} not specified"));
        let value = value.ok_or_else(missing)?;
        match records::upsert(world, object, field, &value, &record, MayCreate::Yes, &Via::of(call))? {
            Upserted::Created(id) => Ok(json!({ "id": id, "success": true, "errors": [], "created": true })),
            Upserted::Updated(id) => Ok(json!({ "id": id, "success": true, "errors": [], "created": false })),
            Upserted::Several(ids) => {
                let message = format!(
                    "{field}: more than one record found for external id field: [{}]",
                    ids.join(", ")
                );
                Err(Refusal::bad("DUPLICATE_EXTERNAL_ID", message))
            }
        }
    }))
}

/// `GET /composite/sobjects/{object}?ids=..&fields=..`, or the same as a body with POST.
pub(super) fn read(world: &World, call: &Call, object: &'static Object) -> Result<Reply, Refusal> {
    let (ids, names) = if call.method == "POST" {
        let body = body_fields(call)?;
        let list = |name: &str| -> Vec<String> {
            let all = body.get(name).and_then(Value::as_array).into_iter().flatten();
            all.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        (list("ids"), list("fields"))
    } else {
        (
            call.list("ids").unwrap_or_default(),
            call.list("fields").unwrap_or_default(),
        )
    };
    if ids.len() > READ_MAX {
        return Err(Refusal::bad(
            "LIMIT_EXCEEDED",
            format!("The request has more than {READ_MAX} ids"),
        ));
    }
    let mut fields = Vec::with_capacity(names.len());
    for name in &names {
        let field = object.field(name).ok_or_else(|| {
            let message = format!("No such column '{name}' on sobject of type {}", object.name);
            Refusal::bad("INVALID_FIELD", message)
        })?;
        fields.push(field);
    }
    let shown = ids.iter().map(|id| {
        // What is not there is null, in its place.
        let Ok(id) = records::locate(world, object, id) else {
            return Value::Null;
        };
        let Some(row) = world.salesforce.row(object.name, &id) else {
            return Value::Null;
        };
        let mut record = json!({ "attributes": { "type": object.name, "url": records::url_of(object, &id) } });
        for field in &fields {
            record[field.name] = records::value(&id, row, field);
        }
        record
    });
    Ok(Reply::json(200, shown.collect()))
}

/// Records one request may read (unverified).
const READ_MAX: usize = 2_000;

/// `DELETE /composite/sobjects?ids=..`.
pub(super) fn delete(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    let ids = call.list("ids").unwrap_or_default();
    within(ids.len())?;
    let failure = failure(call.parameter("allOrNone") == Some("true"));
    let records = ids
        .into_iter()
        .map(|id| Fields::from([("id".to_owned(), Value::from(id))]))
        .collect();
    Ok(each(world, records, failure, |world, mut record| {
        let text = take_id(&mut record).unwrap_or_default();
        let object = super::ids::canonical(&text).and_then(|id| world.schema.object_of_id(&id));
        let object = object.ok_or_else(|| Refusal::bad("MALFORMED_ID", format!("malformed id {text}")))?;
        let id = records::locate(world, object, &text)?;
        records::remove(world, object, &id, &Via::of(call))?;
        Ok(json!({ "id": id, "success": true, "errors": [] }))
    }))
}

fn each(
    world: &mut World,
    records: Vec<Fields>,
    failure: Failure,
    mut write: impl FnMut(&mut World, Fields) -> Result<Value, Refusal>,
) -> Reply {
    let savepoint = match failure {
        Failure::UndoesAll => Some(world.save(SYSTEM)),
        Failure::StandsAlone => None,
    };
    let results: Vec<Result<Value, Refusal>> = records.into_iter().map(|record| write(world, record)).collect();
    let failed = results.iter().any(Result::is_err);
    let undone = match savepoint {
        Some(savepoint) if failed => {
            world.roll_back(savepoint);
            true
        }
        Some(savepoint) => {
            world.keep(savepoint);
            false
        }
        None => false,
    };
    let rows = results.into_iter().map(|result| match result {
        Err(refusal) => refusal.row(),
        Ok(_) if undone => Refusal::bad(
            "ALL_OR_NONE_OPERATION_ROLLED_BACK",
            "Record rolled back because not all records were valid and the request was using AllOrNone header",
        )
        .row(),
        Ok(row) => row,
    });
    Reply::json(200, rows.collect())
}

fn failure(all_or_none: bool) -> Failure {
    if all_or_none {
        Failure::UndoesAll
    } else {
        Failure::StandsAlone
    }
}

fn within(count: usize) -> Result<(), Refusal> {
    if count > RECORDS_MAX {
        // The code is unverified; the limit is documented.
        return Err(Refusal::bad(
            "LIMIT_EXCEEDED",
            format!("The request has more than {RECORDS_MAX} records"),
        ));
    }
    Ok(())
}

fn listed(call: &Call) -> Result<(Vec<Fields>, Failure), Refusal> {
    let mut body = body_fields(call)?;
    let all_or_none = body.get("allOrNone").and_then(Value::as_bool).unwrap_or(false);
    let Some(Value::Array(records)) = body.remove("records") else {
        return Err(Refusal::bad("JSON_PARSER_ERROR", "The request needs a list `records`"));
    };
    within(records.len())?;
    let mut rows = Vec::with_capacity(records.len());
    for record in records {
        let Value::Object(map) = record else {
            return Err(Refusal::bad("JSON_PARSER_ERROR", "Each of `records` must be an object"));
        };
        rows.push(map.into_iter().collect());
    }
    Ok((rows, failure(all_or_none)))
}

fn mixed(call: &Call) -> Result<(Vec<Fields>, Failure), Refusal> {
    let (records, failure) = listed(call)?;
    let types: Vec<Option<&str>> = records
        .iter()
        .map(|record| record.get("attributes")?.get("type")?.as_str())
        .collect();
    let changes = types
        .iter()
        .zip(types.iter().skip(1))
        .filter(|(one, next)| one != next)
        .count();
    if changes >= RUNS_MAX {
        let message = format!("The request has more than {RUNS_MAX} chunks of records of one type");
        return Err(Refusal::bad("LIMIT_EXCEEDED", message));
    }
    Ok((records, failure))
}

fn typed(schema: &Schema, record: &Fields) -> Result<&'static Object, Refusal> {
    let name = record
        .get("attributes")
        .and_then(|attributes| attributes.get("type"))
        .and_then(Value::as_str);
    name.and_then(|name| schema.object(name)).ok_or_else(|| {
        let message = format!("sObject type '{}' is not supported.", name.unwrap_or(""));
        Refusal::bad("INVALID_TYPE", message)
    })
}

fn take_id(record: &mut Fields) -> Option<String> {
    let name = record.keys().find(|name| name.eq_ignore_ascii_case("id")).cloned()?;
    record.remove(&name)?.as_str().map(str::to_owned)
}
