//! Single HubSpot records: create, read, change, archive, list.

use serde_json::{Map, Value, json};

use super::associations;
use super::errors::Refusal;
use super::schema::{self, Kind, Type};
use super::values::{self, iso};
use super::{SYSTEM, Write, body, properties};
use crate::wire::{Call, Reply};
use crate::world::{Author, Fields, Row, World};

/// Records on one page of a list, the vendor's limit and its default.
const PAGE_MAX: usize = 100;
const PAGE_DEFAULT: usize = 10;

/// Portal number in the addresses of records.
const PORTAL: u32 = 147_000_001;

/// The property that carries the idempotency key of a write.
const MARKER: &str = "perennial_key";

/// `POST /{type}`.
pub(super) fn post(world: &mut World, call: &Call, of: &'static Type) -> Result<Reply, Refusal> {
    let body = body(call)?;
    let map = body.as_object().cloned().unwrap_or_default();
    let id = create(world, of, &map, call.by())?;
    Ok(Reply::json(201, whole(world, of, &id)))
}

/// `GET /{type}/{id}`.
pub(super) fn get(world: &World, call: &Call, of: &'static Type, id: &str) -> Result<Reply, Refusal> {
    let id = locate(world, of, id, call.parameter("idProperty"))?;
    let mut shown = shown(world, of, &id, call.list("properties").as_deref());
    if let Some(types) = call.list("associations") {
        shown["associations"] = associations::nested(world, of, &id, &types)?;
    }
    Ok(Reply::json(200, shown))
}

/// `PATCH /{type}/{id}`.
pub(super) fn patch(world: &mut World, call: &Call, of: &'static Type, id: &str) -> Result<Reply, Refusal> {
    let id = locate(world, of, id, call.parameter("idProperty"))?;
    let body = body(call)?;
    let sent = properties(body.as_object().unwrap_or(&Map::new()))?;
    update(world, of, &id, &sent, call.by())?;
    Ok(Reply::json(200, whole(world, of, &id)))
}

/// `DELETE /{type}/{id}`: archives. Archiving what is not there succeeds too, as at the vendor.
pub(super) fn delete(world: &mut World, call: &Call, of: &'static Type, id: &str) -> Result<Reply, Refusal> {
    archive(world, of, id, call.by())?;
    Ok(Reply::empty(204))
}

/// `GET /{type}`.
pub(super) fn list(world: &World, call: &Call, of: &'static Type) -> Result<Reply, Refusal> {
    let limit = page_limit(call)?;
    let after = match call.parameter("after") {
        None | Some("") => None,
        Some(text) => {
            let number = text.parse::<u64>();
            Some(number.map_err(|_| Refusal::invalid(format!("Invalid value for `after`: {text}")))?)
        }
    };
    let asked = call.list("properties");
    let mut ids = living(world, of);
    ids.retain(|id| after.is_none_or(|after| number(id) >= after));
    let rest = ids.get(limit).cloned();
    ids.truncate(limit);
    let mut results = Vec::with_capacity(ids.len());
    for id in &ids {
        let mut one = shown(world, of, id, asked.as_deref());
        if let Some(types) = call.list("associations") {
            one["associations"] = associations::nested(world, of, id, &types)?;
        }
        results.push(one);
    }
    let mut body = json!({ "results": results });
    if let Some(next) = rest {
        let link = format!("{}{}?limit={limit}&after={next}", call.base_url, call.path);
        body["paging"] = json!({ "next": { "after": next, "link": link } });
    }
    Ok(Reply::json(200, body))
}

fn page_limit(call: &Call) -> Result<usize, Refusal> {
    let Some(text) = call.parameter("limit") else {
        return Ok(PAGE_DEFAULT);
    };
    match text.parse::<usize>() {
        Ok(limit) if (1..=PAGE_MAX).contains(&limit) => Ok(limit),
        Ok(_) | Err(_) => Err(Refusal::invalid(format!(
            "`limit` must be between 1 and {PAGE_MAX}, not {text}"
        ))),
    }
}

/// Ids of the records that are not archived, by number.
pub(super) fn living(world: &World, of: &Type) -> Vec<String> {
    let Some(table) = world.hubspot.table(of.name) else {
        return Vec::new();
    };
    let mut ids: Vec<String> = table
        .rows
        .iter()
        .filter(|(_, row)| !row.deleted)
        .map(|(id, _)| id.clone())
        .collect();
    ids.sort_by_key(|id| number(id));
    ids
}

pub(super) fn number(id: &str) -> u64 {
    id.parse().unwrap_or(u64::MAX)
}

/// The id of a living record, given its id or the value of a unique property.
pub(super) fn locate(world: &World, of: &Type, id: &str, by: Option<&str>) -> Result<String, Refusal> {
    match by {
        None | Some("" | "hs_object_id") => world
            .hubspot
            .row(of.name, id)
            .map(|_| id.to_owned())
            .ok_or_else(Refusal::not_found),
        Some(name) => found_by(world, of, name, id)?.ok_or_else(Refusal::not_found),
    }
}

/// The record with this value in a unique property.
pub(super) fn found_by(world: &World, of: &Type, name: &str, value: &str) -> Result<Option<String>, Refusal> {
    let property = of.property(name).filter(|property| property.unique).ok_or_else(|| {
        Refusal::invalid(format!(
            "{name} is not a unique property of {}",
            of.singular.to_uppercase()
        ))
    })?;
    let value = if property.kind == Kind::Email {
        value.to_lowercase()
    } else {
        value.to_owned()
    };
    Ok(world
        .hubspot
        .table(of.name)
        .and_then(|table| table.find(property.name, &value).into_iter().next()))
}

pub(super) fn next_id(world: &mut World, of: &Type) -> String {
    loop {
        // Real ids have gaps.
        world.hubspot.next_id += 16;
        let id = world.hubspot.next_id.to_string();
        if world
            .hubspot
            .table(of.name)
            .is_none_or(|table| !table.rows.contains_key(&id))
        {
            return id;
        }
    }
}

fn author(by: &str, values: &Fields) -> Author {
    Author {
        by: by.to_owned(),
        marker: values.get(MARKER).and_then(Value::as_str).map(str::to_owned),
    }
}

fn room(world: &World) -> Result<(), Refusal> {
    if world.is_full(SYSTEM) {
        return Err(Refusal::invalid(
            "The limit of records or changes of this sandbox is reached",
        ));
    }
    Ok(())
}

/// Creates a record with its associations and answers its id.
pub(super) fn create(
    world: &mut World,
    of: &'static Type,
    input: &Map<String, Value>,
    by: &str,
) -> Result<String, Refusal> {
    room(world)?;
    let mut values = values::checked(of, &properties(input)?, Write::Create)?;
    complete(of, &mut values);
    values::required(of, &values)?;
    if let Some(pipeline) = of.pipeline {
        values::stage_fits(pipeline, &values)?;
    }
    let wanted = associations::wanted(world, of, input.get("associations"))?;
    if let Some((_, other)) = values::taken(&world.hubspot, of, &values, None) {
        let name = of.singular.get(..1).unwrap_or("").to_uppercase() + of.singular.get(1..).unwrap_or("");
        return Err(Refusal::new(
            409,
            "CONFLICT",
            format!("{name} already exists. Existing ID: {other}"),
        ));
    }
    let id = next_id(world, of);
    let author = author(by, &values);
    world.insert(SYSTEM, of.name, &id, values, Some(&author));
    for (to, to_id, tie) in wanted {
        associations::tie(world, (of, &id), (to, &to_id), tie, &author);
    }
    Ok(id)
}

/// Puts a seeded record in place.
pub(super) fn plant(world: &mut World, of: &'static Type, id: &str, sent: &Fields) -> Result<(), Refusal> {
    let mut values = values::checked(of, sent, Write::Seed)?;
    complete(of, &mut values);
    values::required(of, &values)?;
    if let Some(pipeline) = of.pipeline {
        values::stage_fits(pipeline, &values)?;
    }
    if let Some((property, other)) = values::taken(&world.hubspot, of, &values, None) {
        return Err(Refusal::invalid(format!(
            "{} is also that of record {other}",
            property.name
        )));
    }
    let time = |values: &mut Fields, name: &str| values.remove(name).and_then(|value| value.as_str()?.parse().ok());
    let created = time(&mut values, "createdate").or(time(&mut values, "hs_createdate"));
    let modified = time(&mut values, "hs_lastmodifieddate")
        .or(time(&mut values, "lastmodifieddate"))
        .or(created);
    for name in [
        "hs_object_id",
        "createdate",
        "hs_createdate",
        "hs_lastmodifieddate",
        "lastmodifieddate",
    ] {
        values.remove(name);
    }
    world.insert(SYSTEM, of.name, id, values, None);
    if let Some(row) = world.hubspot.row_mut(of.name, id) {
        row.created = created.unwrap_or(row.created);
        row.modified = modified.unwrap_or(row.modified);
    }
    Ok(())
}

/// Adds what the vendor sets by itself on a new record.
fn complete(of: &Type, values: &mut Fields) {
    if of.property("lifecyclestage").is_some() {
        values
            .entry("lifecyclestage".to_owned())
            .or_insert_with(|| Value::from("lead"));
    }
    if let Some(pipeline) = of.pipeline {
        values
            .entry(pipeline.property.to_owned())
            .or_insert_with(|| Value::from(pipeline.id));
    }
    if of.name == "tasks" {
        values
            .entry("hs_task_status".to_owned())
            .or_insert_with(|| Value::from("NOT_STARTED"));
    }
}

/// Changes a record.
pub(super) fn update(world: &mut World, of: &'static Type, id: &str, sent: &Fields, by: &str) -> Result<(), Refusal> {
    room(world)?;
    let mut values = values::checked(of, sent, Write::Update)?;
    let Some(row) = world.hubspot.row(of.name, id) else {
        return Err(Refusal::not_found());
    };
    unlocked(row)?;
    // INVARIANT (lifecycle never goes back): a backward stage is answered with success and not written.
    if values
        .get("lifecyclestage")
        .is_some_and(|after| values::goes_back(row.get("lifecyclestage"), after))
    {
        values.remove("lifecyclestage");
    }
    let mut after = row.fields.clone();
    after.extend(values.clone());
    values::required(of, &after)?;
    if let Some(pipeline) = of.pipeline {
        values::stage_fits(pipeline, &after)?;
    }
    if let Some((property, _)) = values::taken(&world.hubspot, of, &values, Some(id)) {
        let value = values.get(property.name).and_then(Value::as_str).unwrap_or("");
        let message = format!("{value} already has that value.");
        return Err(Refusal::property(property.name, "CONFLICTING_UNIQUE_VALUE", message));
    }
    let author = author(by, &values);
    world.write(SYSTEM, of.name, id, values, &author);
    Ok(())
}

pub(super) fn archive(world: &mut World, of: &'static Type, id: &str, by: &str) -> Result<(), Refusal> {
    room(world)?;
    let Some(row) = world.hubspot.row(of.name, id) else {
        return Ok(());
    };
    unlocked(row)?;
    world.delete(
        SYSTEM,
        of.name,
        id,
        &Author {
            by: by.to_owned(),
            marker: None,
        },
    );
    Ok(())
}

fn unlocked(row: &Row) -> Result<(), Refusal> {
    if row.locked {
        return Err(Refusal::new(
            423,
            "LOCKED",
            "The record is locked. Wait at least two seconds.",
        ));
    }
    Ok(())
}

/// The value of any property of a record, those every record has included.
pub(super) fn value(of: &Type, id: &str, row: &Row, name: &str) -> Value {
    if name == "hs_object_id" {
        return Value::from(id);
    }
    if name == of.created {
        return Value::from(iso(row.created));
    }
    if name == of.modified {
        return Value::from(iso(row.modified));
    }
    row.get(name).clone()
}

/// A record with every property that has a value, as a write answers it.
pub(super) fn whole(world: &World, of: &Type, id: &str) -> Value {
    let Some(row) = world.hubspot.row(of.name, id) else {
        return Value::Null;
    };
    let mut properties: Map<String, Value> = row.fields.clone().into_iter().collect();
    for name in ["hs_object_id", of.created, of.modified] {
        properties.insert(name.to_owned(), value(of, id, row, name));
    }
    envelope(of, id, row, properties)
}

/// A record with the properties asked for, or the vendor's default ones. Unknown names are passed over.
pub(super) fn shown(world: &World, of: &Type, id: &str, asked: Option<&[String]>) -> Value {
    let Some(row) = world.hubspot.row(of.name, id) else {
        return Value::Null;
    };
    let names: Vec<&str> = match asked {
        None => of.shown.to_vec(),
        Some(names) => names
            .iter()
            .map(String::as_str)
            .filter(|name| of.property(name).is_some())
            .collect(),
    };
    let always = ["hs_object_id", of.created, of.modified];
    let properties = names
        .into_iter()
        .chain(always)
        .map(|name| (name.to_owned(), value(of, id, row, name)))
        .collect();
    envelope(of, id, row, properties)
}

fn envelope(of: &Type, id: &str, row: &Row, properties: Map<String, Value>) -> Value {
    json!({
        "id": id, "properties": properties, "createdAt": iso(row.created), "updatedAt": iso(row.modified),
        "archived": false, "url": format!("https://app.hubspot.com/contacts/{PORTAL}/record/{}/{id}", of.type_id),
    })
}

/// The type that `associations` or a path names.
pub(super) fn type_of(name: &str) -> Result<&'static Type, Refusal> {
    schema::type_named(name).ok_or_else(|| Refusal::invalid(format!("Unable to infer object type from: {name}")))
}
