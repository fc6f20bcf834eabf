//! Single records: create, read, change, delete, and upsert by external id.

mod computed;

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use serde_json::{Value, json};

use super::check::{self, Write};
use super::errors::Refusal;
use super::rules;
use super::schema::{Key, Object};
use super::{CREATE, SYSTEM, UPDATE, VERSION, body_fields, ids};
use crate::wire::{Call, Reply};
use crate::world::{Author, Fields, Row, World};
use computed::{complete, computed};
pub(super) use computed::{is_part_of_address, value};

/// `POST /sobjects/{object}`.
pub(super) fn post(world: &mut World, call: &Call, object: &'static Object) -> Result<Reply, Refusal> {
    let id = create(world, object, &body_fields(call)?, &Via::of(call))?;
    let body = json!({ "id": id, "success": true, "errors": [] });
    Ok(Reply::json(201, body).with("location", url_of(object, &id)))
}

/// `GET /sobjects/{object}/{id}`.
pub(super) fn get(world: &World, call: &Call, object: &'static Object, id: &str) -> Result<Reply, Refusal> {
    let id = locate(world, object, id)?;
    shown(world, call, object, &id)
}

/// `GET /sobjects/{object}/{field}/{value}`.
pub(super) fn get_by(
    world: &World,
    call: &Call,
    object: &'static Object,
    field: &str,
    value: &str,
) -> Result<Reply, Refusal> {
    match found_by(world, object, field, value)?.as_slice() {
        [] => Err(no_external(value)),
        [id] => shown(world, call, object, id),
        several => Ok(choices(object, several)),
    }
}

/// `PATCH /sobjects/{object}/{id}`.
pub(super) fn patch(world: &mut World, call: &Call, object: &'static Object, id: &str) -> Result<Reply, Refusal> {
    let id = locate(world, object, id)?;
    preconditions(world, call, object, &id)?;
    update(world, object, &id, &body_fields(call)?, &Via::of(call))?;
    Ok(Reply::empty(204))
}

/// `PATCH /sobjects/{object}/{field}/{value}`.
pub(super) fn patch_by(
    world: &mut World,
    call: &Call,
    object: &'static Object,
    field: &str,
    value: &str,
) -> Result<Reply, Refusal> {
    let may_create = if call.parameter("updateOnly") == Some("true") {
        MayCreate::No
    } else {
        MayCreate::Yes
    };
    let body = body_fields(call)?;
    if field.eq_ignore_ascii_case("Id") {
        let id = locate(world, object, value)?;
        update(world, object, &id, &body, &Via::of(call))?;
        return Ok(Reply::json(
            200,
            json!({ "id": id, "success": true, "errors": [], "created": false }),
        ));
    }
    if let [id] = found_by(world, object, field, value)?.as_slice() {
        preconditions(world, call, object, id)?;
    }
    match upsert(world, object, field, value, &body, may_create, &Via::of(call))? {
        Upserted::Created(id) => {
            let body = json!({ "id": id, "success": true, "errors": [], "created": true });
            Ok(Reply::json(201, body).with("location", url_of(object, &id)))
        }
        Upserted::Updated(id) => Ok(Reply::json(
            200,
            json!({ "id": id, "success": true, "errors": [], "created": false }),
        )),
        Upserted::Several(ids) => Ok(choices(object, &ids)),
    }
}

/// `DELETE /sobjects/{object}/{id}`.
pub(super) fn delete(world: &mut World, call: &Call, object: &'static Object, id: &str) -> Result<Reply, Refusal> {
    let id = locate(world, object, id)?;
    remove(world, object, &id, &Via::of(call))?;
    Ok(Reply::empty(204))
}

/// The address of a record, as it stands in `attributes`.
pub(super) fn url_of(object: &Object, id: &str) -> String {
    format!("/services/data/{VERSION}/sobjects/{}/{id}", object.name)
}

fn choices(object: &Object, ids: &[String]) -> Reply {
    Reply::json(300, ids.iter().map(|id| Value::from(url_of(object, id))).collect())
}

pub(super) fn no_external(value: &str) -> Refusal {
    let message = format!("Provided external ID field does not exist or is not accessible: {value}");
    Refusal::new(404, "NOT_FOUND", message)
}

fn shown(world: &World, call: &Call, object: &'static Object, id: &str) -> Result<Reply, Refusal> {
    let Some(row) = world.salesforce.row(object.name, id) else {
        return Err(Refusal::not_found());
    };
    if object.name == "Account"
        && call
            .header("if-none-match")
            .is_some_and(|sent| sent.trim() == etag(id, row))
    {
        return Ok(Reply::empty(304).with("etag", etag(id, row)));
    }
    let asked = call.list("fields");
    let mut body = serde_json::Map::new();
    body.insert(
        "attributes".to_owned(),
        json!({ "type": object.name, "url": url_of(object, id) }),
    );
    match asked {
        None => body.extend(object.all().map(|field| (field.name.to_owned(), value(id, row, field)))),
        Some(names) => {
            for name in names {
                let Some(field) = object.field(&name) else {
                    let message = format!("No such column '{name}' on sobject of type {}", object.name);
                    return Err(Refusal::bad("INVALID_FIELD", message));
                };
                body.insert(field.name.to_owned(), value(id, row, field));
            }
            body.insert("Id".to_owned(), json!(id));
        }
    }
    let mut reply = Reply::json(200, Value::Object(body));
    if object.name == "Account" {
        reply = reply.with("etag", etag(id, row));
    }
    Ok(reply.with("last-modified", http_date(row.modified)))
}

/// The tag of one state of a row. Opaque to clients, who must send it back whole.
fn etag(id: &str, row: &Row) -> String {
    format!("\"{id}.{:x}=--gzip\"", row.version)
}

pub(super) fn http_date(at: Timestamp) -> String {
    rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&at)
        .unwrap_or_default()
}

fn preconditions(world: &World, call: &Call, object: &'static Object, id: &str) -> Result<(), Refusal> {
    let Some(row) = world.salesforce.row(object.name, id) else {
        return Err(Refusal::not_found());
    };
    // The codes of these two refusals are unverified; the statuses are documented.
    let failed = || {
        Refusal::new(
            412,
            "PRECONDITION_FAILED",
            "The record does not meet the precondition of the request",
        )
    };
    let malformed = |name: &str| Refusal::bad("MALFORMED_HEADER", format!("The header {name} cannot be read"));
    if object.name == "Account"
        && let Some(sent) = call.header("if-match")
    {
        let tags: Vec<&str> = sent.split(',').map(str::trim).collect();
        if !tags
            .iter()
            .all(|tag| *tag == "*" || (tag.len() >= 2 && tag.starts_with('"') && tag.ends_with('"')))
        {
            return Err(malformed("If-Match"));
        }
        if !tags.iter().any(|tag| *tag == "*" || *tag == etag(id, row)) {
            return Err(failed());
        }
    }
    if let Some(sent) = call.header("if-unmodified-since") {
        let since = rfc2822::DateTimeParser::new()
            .parse_timestamp(sent)
            .map_err(|_| malformed("If-Unmodified-Since"))?;
        // Whole seconds: the header cannot say more, which is why the vendor calls it weak.
        if row.modified.as_second() > since.as_second() {
            return Err(failed());
        }
    }
    Ok(())
}

/// The 18-character id of a living record of this object.
pub(super) fn locate(world: &World, object: &'static Object, text: &str) -> Result<String, Refusal> {
    let malformed = || {
        Refusal::bad(
            "MALFORMED_ID",
            format!("{} ID: id value of incorrect type: {text}", object.label),
        )
    };
    let id = ids::canonical(text).ok_or_else(malformed)?;
    if !id.starts_with(object.prefix) {
        return Err(malformed());
    }
    match world.salesforce.table(object.name).and_then(|table| table.get(&id)) {
        Some(row) if row.deleted => Err(Refusal::new(404, "ENTITY_IS_DELETED", "entity is deleted")),
        Some(_) => Ok(id),
        None => Err(Refusal::not_found()),
    }
}

fn found_by(world: &World, object: &'static Object, field: &str, value: &str) -> Result<Vec<String>, Refusal> {
    let known = object
        .field(field)
        .filter(|field| field.key != Key::No)
        .ok_or_else(|| no_external(field))?;
    Ok(world
        .salesforce
        .table(object.name)
        .map(|table| table.find(known.name, value))
        .unwrap_or_default())
}

/// Whether an upsert may make a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MayCreate {
    Yes,
    No,
}

/// What an upsert did.
#[derive(Debug)]
pub(super) enum Upserted {
    Created(String),
    Updated(String),
    /// Several records match; nothing was written.
    Several(Vec<String>),
}

/// Creates or changes the record with this external id.
pub(super) fn upsert(
    world: &mut World,
    object: &'static Object,
    field: &str,
    value: &str,
    sent: &Fields,
    may_create: MayCreate,
    via: &Via,
) -> Result<Upserted, Refusal> {
    let ids = found_by(world, object, field, value)?;
    let name = object.field(field).map_or(field, |known| known.name);
    if sent.keys().any(|key| key.eq_ignore_ascii_case(name)) {
        let message = format!("The {name} field should not be specified in the sobject data.");
        return Err(Refusal::bad("INVALID_FIELD", message).on(name));
    }
    match ids.as_slice() {
        [] if may_create == MayCreate::No => Err(no_external(value)),
        [] => {
            let mut fields = sent.clone();
            fields.insert(name.to_owned(), Value::from(value));
            create(world, object, &fields, via).map(Upserted::Created)
        }
        [id] => {
            // The key that found the record also marks the write, as it marks a create.
            let author = Author {
                by: via.by.clone(),
                marker: (name == MARKER).then(|| value.to_owned()),
            };
            update_as(world, object, id, sent, author, via)?;
            Ok(Upserted::Updated(id.clone()))
        }
        several => Ok(Upserted::Several(several.to_vec())),
    }
}

/// The field that carries the idempotency key of a write.
const MARKER: &str = "Perennial_Key__c";

/// Who writes, and what the request asks of duplicate rules.
#[derive(Debug, Clone)]
pub(super) struct Via {
    pub(super) by: String,
    pub(super) duplicates: Duplicates,
}

/// What `Sforce-Duplicate-Rule-Header` says. All is false by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Duplicates {
    pub(super) allow_save: bool,
    pub(super) details: bool,
}

impl Via {
    pub(super) fn of(call: &Call) -> Via {
        let header = call.header("sforce-duplicate-rule-header").unwrap_or("");
        let says = |name: &str| {
            header.split(';').any(|part| {
                part.split_once('=')
                    .is_some_and(|(key, value)| key.trim() == name && value.trim().eq_ignore_ascii_case("true"))
            })
        };
        Via {
            by: call.by().to_owned(),
            duplicates: Duplicates {
                allow_save: says("allowSave"),
                details: says("includeRecordDetails"),
            },
        }
    }

    /// A person, whose clicks meet the same rules.
    pub(super) fn person(name: &str) -> Via {
        Via {
            by: name.to_owned(),
            duplicates: Duplicates::default(),
        }
    }
}

fn author(via: &Via, values: &Fields) -> Author {
    let marker = values.get(MARKER).and_then(Value::as_str).map(str::to_owned);
    Author {
        by: via.by.clone(),
        marker,
    }
}

fn writable(world: &mut World, object: &Object) -> Result<(), Refusal> {
    if world.row_fails() {
        return Err(Refusal::bad(
            "UNABLE_TO_LOCK_ROW",
            "unable to obtain exclusive access to this record",
        ));
    }
    if !object.writable {
        let message = format!("entity type {} does not support this operation", object.name);
        return Err(Refusal::bad("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", message));
    }
    if world.is_full(SYSTEM) {
        return Err(Refusal::bad("STORAGE_LIMIT_EXCEEDED", "storage limit exceeded"));
    }
    Ok(())
}

pub(super) fn next_id(world: &mut World, object: &Object) -> String {
    loop {
        world.salesforce.next_id += 1;
        let id = ids::make(object.prefix, world.salesforce.next_id);
        // A seed may have chosen this id.
        if world
            .salesforce
            .table(object.name)
            .is_none_or(|table| table.get(&id).is_none())
        {
            return id;
        }
    }
}

/// The fields with every reference that is given by an external id of the parent turned into an id.
fn related(world: &World, object: &'static Object, sent: &Fields) -> Result<Fields, Refusal> {
    let mut fields = Fields::new();
    for (name, value) in sent {
        let reference = object
            .all()
            .find(|field| field.relationship().is_some_and(|own| own.eq_ignore_ascii_case(name)));
        let (Some(reference), Value::Object(parent)) = (reference, value) else {
            fields.insert(name.clone(), value.clone());
            continue;
        };
        let key = parent.iter().find(|(name, _)| *name != "attributes");
        let Some((key, Value::String(wanted))) = key else {
            let message = format!("{name} needs one external id of its record");
            return Err(Refusal::bad("INVALID_FIELD", message));
        };
        let targets = reference
            .targets()
            .iter()
            .filter_map(|target| world.schema.object(target));
        let mut found = Vec::new();
        for target in targets.filter(|target| target.field(key).is_some()) {
            found.extend(found_by(world, target, key, wanted)?);
        }
        let [id] = found.as_slice() else {
            let message = format!(
                "Foreign key external ID: {wanted} not found for field {key} in entity {}",
                reference.targets().first().unwrap_or(&"")
            );
            return Err(Refusal::bad("INVALID_FIELD", message));
        };
        fields.insert(reference.name.to_owned(), Value::from(id.as_str()));
    }
    Ok(fields)
}

/// Creates a record and answers its id.
pub(super) fn create(world: &mut World, object: &'static Object, sent: &Fields, via: &Via) -> Result<String, Refusal> {
    writable(world, object)?;
    let sent = related(world, object, sent)?;
    let mut values = check::values(&world.schema, object, &sent, CREATE)?;
    check::required(object, &values, CREATE)?;
    check::references(&world.salesforce, object, &values)?;
    check::unique(&world.salesforce, object, &values, None)?;
    complete(world, object, &mut values);
    rules::check(world, object, None, &values, via)?;
    let id = next_id(world, object);
    let author = author(via, &values);
    world.insert(SYSTEM, object.name, &id, values, Some(&author));
    Ok(id)
}

/// Puts a seeded record in place. References are checked later, when every record is there.
pub(super) fn plant(world: &mut World, object: &'static Object, id: &str, sent: &Fields) -> Result<(), Refusal> {
    let mut values = check::values(&world.schema, object, sent, Write::Seed)?;
    check::required(object, &values, Write::Seed)?;
    check::unique(&world.salesforce, object, &values, None)?;
    let time = |values: &Fields, name: &str| values.get(name).and_then(Value::as_str).and_then(check::datetime);
    let created = time(&values, "CreatedDate");
    let modified = time(&values, "LastModifiedDate")
        .or(time(&values, "SystemModstamp"))
        .or(created);
    for name in [
        "Id",
        "IsDeleted",
        "CreatedDate",
        "LastModifiedDate",
        "SystemModstamp",
        "CreatedById",
        "LastModifiedById",
    ] {
        values.remove(name);
    }
    let own = values.clone();
    complete(world, object, &mut values);
    // What the seed says outright stands, also where the vendor would compute it.
    values.extend(own);
    world.insert(SYSTEM, object.name, id, values, None);
    if let Some(row) = world.salesforce.row_mut(object.name, id) {
        row.created = created.unwrap_or(row.created);
        row.modified = modified.unwrap_or(row.modified);
    }
    Ok(())
}

/// Changes a record.
pub(super) fn update(
    world: &mut World,
    object: &'static Object,
    id: &str,
    sent: &Fields,
    via: &Via,
) -> Result<(), Refusal> {
    let author = author(via, sent);
    update_as(world, object, id, sent, author, via)
}

fn update_as(
    world: &mut World,
    object: &'static Object,
    id: &str,
    sent: &Fields,
    author: Author,
    via: &Via,
) -> Result<(), Refusal> {
    writable(world, object)?;
    let sent = related(world, object, sent)?;
    let mut values = check::values(&world.schema, object, &sent, UPDATE)?;
    unlocked(world, object, id)?;
    check::required(object, &values, UPDATE)?;
    check::references(&world.salesforce, object, &values)?;
    check::unique(&world.salesforce, object, &values, Some(id))?;
    let mut whole = world
        .salesforce
        .row(object.name, id)
        .map(|row| row.fields.clone())
        .unwrap_or_default();
    whole.extend(values.clone());
    // The chance follows the stage only when the stage moves; a person's own estimate stays.
    let moves_stage = values.contains_key("StageName");
    for (name, computed) in computed(world, object, &whole) {
        if whole.get(&name) != Some(&computed) && (moves_stage || name != "Probability") {
            values.entry(name).or_insert(computed);
        }
    }
    whole.extend(values.clone());
    rules::check(world, object, Some(id), &whole, via)?;
    world.write(SYSTEM, object.name, id, values, &author);
    Ok(())
}

/// Deletes a record.
pub(super) fn remove(world: &mut World, object: &'static Object, id: &str, via: &Via) -> Result<(), Refusal> {
    writable(world, object)?;
    unlocked(world, object, id)?;
    world.delete(
        SYSTEM,
        object.name,
        id,
        &Author {
            by: via.by.clone(),
            marker: None,
        },
    );
    Ok(())
}

fn unlocked(world: &mut World, object: &Object, id: &str) -> Result<(), Refusal> {
    if world.busy(SYSTEM, object.name, id) {
        let message = format!("unable to obtain exclusive access to this record or 1 records: {id}");
        return Err(Refusal::bad("UNABLE_TO_LOCK_ROW", message));
    }
    if world.salesforce.row(object.name, id).is_some_and(|row| row.locked) {
        return Err(Refusal::bad("ENTITY_IS_LOCKED", "the entity is locked for editing"));
    }
    Ok(())
}
