//! Single HubSpot records: create, read, change, archive, list.

use serde_json::{Map, Value, json};

use super::associations;
use super::errors::Refusal;
use super::schema::{Computed, Kind, Type};
use super::values::{self, iso};
use super::{Family, SYSTEM, Write, body, properties};
use crate::custom::Rule;
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
    let id = create(world, of, &map, &Via::of(call))?;
    Ok(Reply::json(201, whole(world, of, &id)))
}

/// `GET /{type}/{id}`.
pub(super) fn get(world: &World, call: &Call, of: &'static Type, id: &str) -> Result<Reply, Refusal> {
    let id = locate(world, of, id, call.parameter("idProperty"))?;
    let mut shown = shown(world, of, &id, call.list("properties").as_deref());
    nest(world, call, of, &id, &mut shown)?;
    Ok(Reply::json(200, shown))
}

/// Adds the associations a read asks for. A record without any has no such key.
fn nest(world: &World, call: &Call, of: &'static Type, id: &str, shown: &mut Value) -> Result<(), Refusal> {
    if let Some(types) = call.list("associations") {
        let nested = associations::nested(world, of, id, &types)?;
        if nested.as_object().is_some_and(|nested| !nested.is_empty()) {
            shown["associations"] = nested;
        }
    }
    Ok(())
}

/// `PATCH /{type}/{id}`.
pub(super) fn patch(world: &mut World, call: &Call, of: &'static Type, id: &str) -> Result<Reply, Refusal> {
    let id = locate(world, of, id, call.parameter("idProperty"))?;
    let body = body(call)?;
    let sent = properties(body.as_object().unwrap_or(&Map::new()))?;
    update(world, of, &id, &sent, &Via::of(call))?;
    Ok(Reply::json(200, written(world, of, &id, &sent)))
}

/// `DELETE /{type}/{id}`: archives. Archiving what is not there succeeds too, as at the vendor.
pub(super) fn delete(world: &mut World, call: &Call, of: &'static Type, id: &str) -> Result<Reply, Refusal> {
    archive(world, of, id, &Via::of(call))?;
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
    // The place of the next page is the id it begins with, so the last one of this page is that minus one.
    let before = after
        .and_then(|after| after.checked_sub(1))
        .map(|after| after.to_string());
    let archived = match call.parameter("archived") {
        None | Some("" | "false") => false,
        Some("true") => true,
        Some(other) => return Err(Refusal::invalid(format!("Invalid value for `archived`: {other}"))),
    };
    let (mut rows, before) = (Vec::new(), before.as_deref());
    if let Some(table) = world.hubspot.table(of.name) {
        if archived {
            rows.extend(table.graves_after(before).take(limit + 1));
        } else {
            rows.extend(table.after(before).take(limit + 1));
        }
    }
    let rest = rows.get(limit).map(|(id, _)| *id);
    rows.truncate(limit);
    let mut results = Vec::with_capacity(rows.len());
    for (id, row) in &rows {
        let mut one = shown_row(of, id, row, asked.as_deref());
        if archived {
            one["archived"] = json!(true);
            one["archivedAt"] = json!(iso(row.modified));
        } else {
            nest(world, call, of, id, &mut one)?;
        }
        results.push(one);
    }
    let mut body = json!({ "results": results });
    if let Some(next) = rest {
        let more = if archived { "&archived=true" } else { "" };
        let link = format!("{}{}?limit={limit}&after={next}{more}", call.base_url, call.path);
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
            .is_none_or(|table| table.get(&id).is_none())
        {
            return id;
        }
    }
}

/// Who writes, and by which family of paths: the dated one enforces the rules of admins.
#[derive(Debug, Clone)]
pub(super) struct Via {
    by: String,
    family: Family,
}

impl Via {
    pub(super) fn of(call: &Call) -> Via {
        let dated = call.path.split('/').any(|part| part == super::DATED);
        Via {
            by: call.by().to_owned(),
            family: if dated { Family::Dated } else { Family::Numbered },
        }
    }

    /// A person, whose clicks meet the rules of admins too.
    pub(super) fn person(name: &str) -> Via {
        Via {
            by: name.to_owned(),
            family: Family::Dated,
        }
    }
}

/// Refuses a record that lacks what a rule of an admin asks for. The older paths know no such rules.
fn ruled(world: &World, of: &Type, whole: &Fields, via: &Via) -> Result<(), Refusal> {
    if via.family == Family::Numbered {
        return Ok(());
    }
    for rule in &world.rules {
        let Rule::ConditionalRequired {
            object,
            property,
            value,
            required,
        } = rule
        else {
            continue;
        };
        let applies = object == of.name && whole.get(property).and_then(Value::as_str) == Some(value.as_str());
        if applies && whole.get(required).is_none_or(Value::is_null) {
            let message = format!("{required} is required when {property} is {value}.");
            return Err(Refusal::property(required, "REQUIRED_FIELD", message));
        }
    }
    Ok(())
}

fn author(via: &Via, values: &Fields) -> Author {
    Author {
        by: via.by.clone(),
        marker: values.get(MARKER).and_then(Value::as_str).map(str::to_owned),
    }
}

fn room(world: &mut World) -> Result<(), Refusal> {
    if world.row_fails() {
        return Err(Refusal::new(
            423,
            "LOCKED",
            "The record is locked. Wait at least two seconds.",
        ));
    }
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
    via: &Via,
) -> Result<String, Refusal> {
    room(world)?;
    let mut values = values::checked(of, &properties(input)?, Write::Create)?;
    complete(of, &mut values);
    values::required(of, &values)?;
    if let Some(pipeline) = of.pipeline {
        values::stage_fits(pipeline, &values)?;
    }
    ruled(world, of, &values, via)?;
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
    let author = author(via, &values);
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
    // A deal may be made without a stage, and then has no pipeline either (recorded).
    if let Some(pipeline) = of.pipeline
        && (of.name != "deals" || values.contains_key(pipeline.stage_property))
    {
        values
            .entry(pipeline.property.to_owned())
            .or_insert_with(|| Value::from(pipeline.id));
    }
    // A company without an address of its own gets its domain (recorded).
    if of.name == "companies"
        && let Some(domain) = values.get("domain").cloned()
    {
        values.entry("website".to_owned()).or_insert(domain);
    }
    if of.name == "tasks" {
        values
            .entry("hs_task_status".to_owned())
            .or_insert_with(|| Value::from("NOT_STARTED"));
    }
}

/// Changes a record.
pub(super) fn update(world: &mut World, of: &'static Type, id: &str, sent: &Fields, via: &Via) -> Result<(), Refusal> {
    room(world)?;
    let mut values = values::checked(of, sent, Write::Update)?;
    let busy = world.busy(SYSTEM, of.name, id);
    let Some(row) = world.hubspot.row(of.name, id) else {
        return Err(Refusal::not_found());
    };
    unlocked(row, busy)?;
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
    ruled(world, of, &after, via)?;
    if let Some((property, _)) = values::taken(&world.hubspot, of, &values, Some(id)) {
        let value = values.get(property.name).and_then(Value::as_str).unwrap_or("");
        let message = format!("{value} already has that value.");
        return Err(Refusal::property(property.name, "CONFLICTING_UNIQUE_VALUE", message));
    }
    let author = author(via, &values);
    world.write(SYSTEM, of.name, id, values, &author);
    Ok(())
}

pub(super) fn archive(world: &mut World, of: &'static Type, id: &str, via: &Via) -> Result<(), Refusal> {
    room(world)?;
    let busy = world.busy(SYSTEM, of.name, id);
    let Some(row) = world.hubspot.row(of.name, id) else {
        return Ok(());
    };
    unlocked(row, busy)?;
    world.delete(
        SYSTEM,
        of.name,
        id,
        &Author {
            by: via.by.clone(),
            marker: None,
        },
    );
    Ok(())
}

fn unlocked(row: &Row, busy: bool) -> Result<(), Refusal> {
    if row.locked || busy {
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
    match of.property(name).map(|property| property.kind) {
        Some(Kind::Computed(how)) => computed(of, id, row, how),
        // Deals have both names of their creation.
        None | Some(_) if name == "hs_createdate" && of.name == "deals" => Value::from(iso(row.created)),
        None | Some(_) => row.get(name).clone(),
    }
}

fn computed(of: &Type, id: &str, row: &Row, how: Computed) -> Value {
    let text = |name: &str| Some(row.text(name)).filter(|text| !text.is_empty());
    let found = match how {
        Computed::Fixed(text) => Some(text.to_owned()),
        Computed::Copy(name) => text(name).map(str::to_owned),
        Computed::Domain(name) => text(name).and_then(|text| Some(text.split_once('@')?.1.to_owned())),
        Computed::Html(name) => {
            text(name).map(|text| format!("<html>\n<head></head>\n<body>\n{text}\n</body>\n</html>"))
        }
        Computed::Past(name, yes, no) => {
            let past = text(name)
                .and_then(|text| text.parse().ok())
                .is_some_and(|at: jiff::Timestamp| at < row.modified);
            Some(if past { yes } else { no }.to_owned())
        }
        Computed::Created => Some(iso(row.created)),
        Computed::CreatedMs => Some(row.created.as_millisecond().to_string()),
        Computed::Touched => (row.modified > row.created).then(|| iso(row.modified)),
        Computed::Id => Some(id.to_owned()),
        Computed::Coordinates => Some(format!("{}-{id}", of.type_id)),
        Computed::FullName => {
            let name = format!("{} {}", row.text("firstname"), row.text("lastname"));
            Some(name.trim()).filter(|name| !name.is_empty()).map(str::to_owned)
        }
    };
    found.map_or(Value::Null, Value::from)
}

/// A record with every property that has a value, as a create answers it.
pub(super) fn whole(world: &World, of: &'static Type, id: &str) -> Value {
    let Some(row) = world.hubspot.row(of.name, id) else {
        return Value::Null;
    };
    let properties: Map<String, Value> = of
        .all()
        .map(|property| (property.name.to_owned(), value(of, id, row, property.name)))
        .filter(|(_, value)| !value.is_null())
        .collect();
    envelope(of, id, row, properties)
}

/// Properties that the answer to an update carries beside those that were sent (recorded).
const BESIDE: &[&str] = &[
    "hs_object_source",
    "hs_object_source_id",
    "hs_object_source_label",
    "hs_pipeline",
    "hs_v2_date_entered_current_stage",
    "hs_v2_time_in_current_stage",
    "hs_is_unworked",
    "notes_last_updated",
    "lifecyclestage",
];

/// A record as an update answers it: what was sent, and not everything else.
pub(super) fn written(world: &World, of: &Type, id: &str, sent: &Fields) -> Value {
    let Some(row) = world.hubspot.row(of.name, id) else {
        return Value::Null;
    };
    let beside = BESIDE.iter().copied().filter(|name| of.property(name).is_some());
    let always = ["hs_object_id", of.created, of.modified];
    let sent = sent.keys().map(String::as_str);
    let properties: Map<String, Value> = beside
        .map(|name| (name, value(of, id, row, name)))
        .filter(|(_, value)| !value.is_null())
        .chain(
            always
                .into_iter()
                .chain(sent)
                .map(|name| (name, value(of, id, row, name))),
        )
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    envelope(of, id, row, properties)
}

/// A record with the properties asked for, or the vendor's default ones. Unknown names are passed over.
pub(super) fn shown(world: &World, of: &Type, id: &str, asked: Option<&[String]>) -> Value {
    match world.hubspot.row(of.name, id) {
        Some(row) => shown_row(of, id, row, asked),
        None => Value::Null,
    }
}

/// The same for a row at hand, which may be an earlier state of the record.
pub(super) fn shown_row(of: &Type, id: &str, row: &Row, asked: Option<&[String]>) -> Value {
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
