//! Associations: directional numbers between two records, always made and removed in both directions.

use serde_json::{Map, Value, json};

use super::errors::Refusal;
use super::records::locate;
use super::schema::{self, Tie, Type};
use super::{Family, SYSTEM, batch_reply, body, inputs};
use crate::record::Association;
use crate::wire::{Call, Reply};
use crate::world::{Author, World};

/// Records whose associations one request may read.
const READ_MAX: usize = 1_000;
/// Associations one request may make (unverified).
const CREATE_MAX: usize = 2_000;

type End<'a> = (&'static Type, &'a str);

/// `PUT /{type}/{id}/associations/default/{toType}/{toId}`.
pub(super) fn put_default(world: &mut World, call: &Call, from: End<'_>, to: End<'_>) -> Result<Reply, Refusal> {
    both_exist(world, from, to)?;
    let ties = world.types.ties(from.0, to.0);
    let tie_of = ties.first().copied().ok_or_else(|| no_tie(from.0, to.0))?;
    tie(world, from, to, tie_of, &author(call));
    let one = |from: &str, to: &str, number: u32| {
        json!({
            "from": { "id": from }, "to": { "id": to },
            "associationSpec": { "associationCategory": tie_of.category, "associationTypeId": number },
        })
    };
    let results = vec![one(from.1, to.1, tie_of.there), one(to.1, from.1, tie_of.back)];
    Ok(batch_reply(world, Family::Dated, 200, results, Vec::new()))
}

/// `PUT /{type}/{id}/associations/{toType}/{toId}` with the kinds in the body.
pub(super) fn put(world: &mut World, call: &Call, from: End<'_>, to: End<'_>) -> Result<Reply, Refusal> {
    both_exist(world, from, to)?;
    let types = call
        .json()
        .map_err(|message| Refusal::invalid(format!("Invalid input JSON: {message}")))?;
    for chosen in chosen(world, from.0, to.0, &types)? {
        tie(world, from, to, chosen, &author(call));
    }
    Ok(Reply::json(201, made(world, from, to)))
}

/// What the making of an association answers.
fn made(world: &World, from: End<'_>, to: End<'_>) -> Value {
    let all = targets(world, from.0, from.1, to.0);
    let target = all.iter().find(|target| target["toObjectId"] == to.1);
    let kinds = target.and_then(|target| target["associationTypes"].as_array());
    let labels: Vec<&Value> = kinds
        .into_iter()
        .flatten()
        .map(|kind| &kind["label"])
        .filter(|label| !label.is_null())
        .collect();
    json!({
        "fromObjectTypeId": from.0.type_id, "fromObjectId": from.1,
        "toObjectTypeId": to.0.type_id, "toObjectId": to.1, "labels": labels,
    })
}

/// `DELETE /{type}/{id}/associations/{toType}/{toId}`.
pub(super) fn delete(world: &mut World, call: &Call, from: End<'_>, to: End<'_>) -> Result<Reply, Refusal> {
    untie(world, from, to, &author(call));
    Ok(Reply::empty(204))
}

/// `GET /crm/v4/objects/{type}/{id}/associations/{toType}`.
pub(super) fn of_one(world: &World, from: &'static Type, id: &str, to: &'static Type) -> Result<Reply, Refusal> {
    let id = locate(world, from, id, None)?;
    Ok(Reply::json(200, json!({ "results": targets(world, from, &id, to) })))
}

/// `POST /crm/associations/../{from}/{to}/batch/{verb}`.
pub(super) fn batch(
    world: &mut World,
    call: &Call,
    from: &'static Type,
    to: &'static Type,
    verb: &[&str],
    family: Family,
) -> Result<Reply, Refusal> {
    let body = body(call)?;
    match verb {
        ["read"] => read(world, from, to, &inputs(&body, READ_MAX)?, family),
        ["create"] => each(
            world,
            call,
            (from, to),
            &inputs(&body, CREATE_MAX)?,
            family,
            Kinds::Said,
        ),
        ["associate", "default"] => each(
            world,
            call,
            (from, to),
            &inputs(&body, CREATE_MAX)?,
            family,
            Kinds::Default,
        ),
        ["archive"] => {
            for input in inputs(&body, CREATE_MAX)? {
                let tos = input.get("to").and_then(Value::as_array).cloned().unwrap_or_default();
                for target in &tos {
                    untie(
                        world,
                        (from, end(input.get("from"))),
                        (to, end(Some(target))),
                        &author(call),
                    );
                }
            }
            Ok(Reply::empty(204))
        }
        ["labels", "archive"] => {
            for input in inputs(&body, CREATE_MAX)? {
                let (one, other) = (end(input.get("from")), end(input.get("to")));
                for tie in chosen(world, from, to, input.get("types").unwrap_or(&Value::Null))? {
                    let author = author(call);
                    // Without its unlabelled kind an association is none (documented).
                    if world.types.ties(from, to).first() == Some(&tie) {
                        untie(world, (from, one), (to, other), &author);
                        continue;
                    }
                    world.unlink_one(SYSTEM, (from.name, one), (to.name, other), tie.there, &author);
                    world.unlink_one(SYSTEM, (to.name, other), (from.name, one), tie.back, &author);
                }
            }
            Ok(Reply::empty(204))
        }
        _ => Err(Refusal::not_found()),
    }
}

/// `GET /crm/associations/../{from}/{to}/labels`.
pub(super) fn labels(world: &World, from: &Type, to: &Type) -> Reply {
    let all: Vec<Value> = world.types.ties(from, to).iter().map(definition).collect();
    Reply::json(200, json!({ "results": all }))
}

fn definition(tie: &Tie) -> Value {
    json!({ "category": tie.category, "typeId": tie.there, "label": tie.label })
}

/// `POST /crm/associations/../{from}/{to}/labels`: answers both directions.
pub(super) fn define(world: &mut World, call: &Call, from: &Type, to: &Type) -> Result<Reply, Refusal> {
    let body = body(call)?;
    let text = |name: &str| {
        body.get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.trim().is_empty())
    };
    let (Some(label), Some(_)) = (text("label"), text("name")) else {
        return Err(Refusal::invalid("`label` and `name` are required"));
    };
    let made = world.types.define(from, to, label, text("inverseLabel"));
    let tie = made.ok_or_else(|| {
        Refusal::invalid(format!(
            "The label {label} cannot be defined: there is one already, or there are too many"
        ))
    })?;
    let back = world
        .types
        .ties(to, from)
        .into_iter()
        .find(|other| other.there == tie.back);
    let both: Vec<Value> = std::iter::once(tie).chain(back).map(|tie| definition(&tie)).collect();
    Ok(Reply::json(200, json!({ "results": both })))
}

/// Gives the association of two records exactly these labels, as a person does on the page of a record; makes it where it is not there.
pub(super) fn set_labels(
    world: &mut World,
    from: End<'_>,
    to: End<'_>,
    labels: &[&str],
    author: &Author,
) -> Result<(), String> {
    both_exist(world, from, to).map_err(|refusal| refusal.message)?;
    let ties = world.types.ties(from.0, to.0);
    let default = ties.first().copied().ok_or("there is no such association")?;
    tie(world, from, to, default, author);
    let is_wanted = |tie: &Tie| {
        tie.label
            .is_some_and(|own| labels.iter().any(|label| own.eq_ignore_ascii_case(label)))
    };
    if let Some(unknown) = labels.iter().find(|label| {
        !ties
            .iter()
            .any(|tie| tie.label.is_some_and(|own| own.eq_ignore_ascii_case(label)))
    }) {
        return Err(format!("there is no label `{unknown}`"));
    }
    for one in ties.iter().filter(|tie| tie.category == schema::DEFINED_BY_PEOPLE) {
        if is_wanted(one) {
            tie(world, from, to, *one, author);
        } else {
            world.unlink_one(SYSTEM, (from.0.name, from.1), (to.0.name, to.1), one.there, author);
            world.unlink_one(SYSTEM, (to.0.name, to.1), (from.0.name, from.1), one.back, author);
        }
    }
    Ok(())
}

/// `POST /crm/v3/associations/{from}/{to}/batch/{verb}`: associations by name, which the dated paths do not take.
pub(super) fn batch_v3(
    world: &mut World,
    call: &Call,
    from: &'static Type,
    to: &'static Type,
    verb: &str,
) -> Result<Reply, Refusal> {
    let body = body(call)?;
    let inputs = inputs(&body, CREATE_MAX)?;
    let name = |from: &Type, to: &Type| format!("{}_to_{}", from.singular, to.singular);
    let mut results = Vec::new();
    let mut errors = Vec::new();
    for input in inputs {
        let (one, other) = (end(input.get("from")), end(input.get("to")));
        match verb {
            "create" => {
                let said = input.get("type").and_then(Value::as_str).unwrap_or("");
                let known = world.types.ties(from, to);
                let tie_of = known
                    .iter()
                    .find(|tie| said == name(from, to) || said == tie.there.to_string());
                let good = tie_of
                    .copied()
                    .ok_or_else(|| Refusal::invalid(format!("Invalid association type: {said}")))
                    .and_then(|tie| both_exist(world, (from, one), (to, other)).map(|()| tie));
                match good {
                    Ok(tie_of) => {
                        tie(world, (from, one), (to, other), tie_of, &author(call));
                        // Both directions come back (recorded).
                        results.push(json!({
                            "from": { "id": other }, "to": { "id": one }, "type": name(to, from),
                        }));
                        results.push(json!({
                            "from": { "id": one }, "to": { "id": other }, "type": name(from, to),
                        }));
                    }
                    Err(refusal) => errors.push(refusal.entry(json!({ "fromObjectId": [one], "toObjectId": [other] }))),
                }
            }
            "read" => {
                let id = end(input.get("id"));
                let found: Vec<Value> = targets(world, from, id, to)
                    .iter()
                    .map(|target| json!({ "id": target["toObjectId"], "type": name(from, to) }))
                    .collect();
                if !found.is_empty() {
                    results.push(json!({ "from": { "id": id }, "to": found }));
                }
            }
            "archive" => untie(world, (from, one), (to, other), &author(call)),
            _ => return Err(Refusal::not_found()),
        }
    }
    match verb {
        "archive" => Ok(Reply::empty(204)),
        "create" => Ok(batch_reply(world, Family::Numbered, 201, results, errors)),
        _ => Ok(batch_reply(world, Family::Numbered, 200, results, errors)),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kinds {
    Said,
    Default,
}

fn each(
    world: &mut World,
    call: &Call,
    types: (&'static Type, &'static Type),
    inputs: &[&Map<String, Value>],
    family: Family,
    kinds: Kinds,
) -> Result<Reply, Refusal> {
    let (from, to) = types;
    let mut results = Vec::new();
    let mut errors = Vec::new();
    for input in inputs {
        let (one, other) = ((from, end(input.get("from"))), (to, end(input.get("to"))));
        let ties = both_exist(world, one, other).and_then(|()| match kinds {
            Kinds::Default => world
                .types
                .ties(from, to)
                .first()
                .map(|tie| vec![*tie])
                .ok_or_else(|| no_tie(from, to)),
            Kinds::Said => chosen(world, from, to, input.get("types").unwrap_or(&Value::Null)),
        });
        match ties {
            Ok(ties) => {
                for one_tie in ties {
                    tie(world, one, other, one_tie, &author(call));
                }
                results.push(made(world, one, other));
            }
            Err(refusal) => {
                errors.push(refusal.entry(json!({ "fromObjectId": [one.1], "toObjectId": [other.1] })));
            }
        }
    }
    Ok(batch_reply(world, family, 200, results, errors))
}

fn read(
    world: &World,
    from: &'static Type,
    to: &'static Type,
    inputs: &[&Map<String, Value>],
    family: Family,
) -> Result<Reply, Refusal> {
    let mut results = Vec::new();
    let mut errors = Vec::new();
    for input in inputs {
        let id = end(input.get("id"));
        let found = world.hubspot.row(from.name, id).map(|_| targets(world, from, id, to));
        match found {
            Some(targets) if !targets.is_empty() => results.push(json!({ "from": { "id": id }, "to": targets })),
            Some(_) | None => {
                let message = format!("No {} is associated with {} {id}.", to.singular, from.singular);
                let mut entry = Refusal::new(404, "OBJECT_NOT_FOUND", message).entry(json!({ "fromObjectId": [id] }));
                entry["subCategory"] = json!("crm.associations.NO_ASSOCIATIONS_FOUND");
                errors.push(entry);
            }
        }
    }
    Ok(batch_reply(world, family, 200, results, errors))
}

fn end(value: Option<&Value>) -> &str {
    let inner = value.and_then(|value| value.get("id")).or(value);
    inner.and_then(Value::as_str).unwrap_or("")
}

fn author(call: &Call) -> Author {
    Author {
        by: call.by().to_owned(),
        marker: None,
    }
}

fn no_tie(from: &Type, to: &Type) -> Refusal {
    Refusal::invalid(format!(
        "No association type exists from {} to {}",
        from.singular, to.singular
    ))
}

fn both_exist(world: &World, from: End<'_>, to: End<'_>) -> Result<(), Refusal> {
    locate(world, from.0, from.1, None)?;
    locate(world, to.0, to.1, None)?;
    Ok(())
}

/// The kinds a request names. A number of the other direction is refused.
fn chosen(world: &World, from: &Type, to: &Type, types: &Value) -> Result<Vec<Tie>, Refusal> {
    let Some(types) = types.as_array().filter(|types| !types.is_empty()) else {
        return Err(Refusal::invalid("At least one association type is needed"));
    };
    let known = world.types.ties(from, to);
    let tie = |kind: &Value| {
        let number = kind.get("associationTypeId").and_then(Value::as_u64);
        let category = kind.get("associationCategory").and_then(Value::as_str);
        let found = known
            .iter()
            .find(|tie| Some(u64::from(tie.there)) == number && category == Some(tie.category));
        found.copied().ok_or_else(|| {
            let message = format!(
                "The association type {} ({}) does not go from {} to {}",
                number.unwrap_or_default(),
                category.unwrap_or("no category"),
                from.singular,
                to.singular
            );
            Refusal::invalid(message)
        })
    };
    types.iter().map(tie).collect()
}

/// The associations a create asks for, checked before anything is written.
pub(super) fn wanted(
    world: &World,
    from: &'static Type,
    sent: Option<&Value>,
) -> Result<Vec<(&'static Type, String, Tie)>, Refusal> {
    let mut all = Vec::new();
    for one in sent.and_then(Value::as_array).into_iter().flatten() {
        let id = end(one.get("to"));
        let types = one.get("types").unwrap_or(&Value::Null);
        // The other type is not said; the number of the kind tells it.
        let found = world
            .types
            .all()
            .find_map(|to| chosen(world, from, to, types).ok().map(|ties| (to, ties)));
        let Some((to, ties)) = found else {
            return Err(Refusal::invalid(format!(
                "The association types for {id} do not start at a {}",
                from.singular
            )));
        };
        if world.hubspot.row(to.name, id).is_none() {
            let message = format!("The {} {id} to associate with does not exist", to.singular);
            return Err(Refusal::invalid(message));
        }
        all.extend(ties.into_iter().map(|tie| (to, id.to_owned(), tie)));
    }
    Ok(all)
}

/// Ties two records in both directions. What has a label of people's has the unlabelled kind too, as reading shows (unverified that
/// making it is what adds it).
pub(super) fn tie(world: &mut World, from: End<'_>, to: End<'_>, tie: Tie, author: &Author) {
    if tie.category == schema::DEFINED_BY_PEOPLE
        && tie.label.is_some()
        && let Some(plain) = world.types.ties(from.0, to.0).first().copied()
    {
        link(world, from, to, plain, author);
    }
    link(world, from, to, tie, author);
}

fn link(world: &mut World, from: End<'_>, to: End<'_>, tie: Tie, author: &Author) {
    let there = Association {
        object: to.0.name.to_owned(),
        id: to.1.to_owned(),
        type_id: tie.there,
    };
    let back = Association {
        object: from.0.name.to_owned(),
        id: from.1.to_owned(),
        type_id: tie.back,
    };
    world.link(SYSTEM, (from.0.name, from.1), &there, Some(author));
    world.link(SYSTEM, (to.0.name, to.1), &back, Some(author));
}

fn untie(world: &mut World, from: End<'_>, to: End<'_>, author: &Author) {
    world.unlink(SYSTEM, (from.0.name, from.1), (to.0.name, to.1), author);
    world.unlink(SYSTEM, (to.0.name, to.1), (from.0.name, from.1), author);
}

/// The records of one type a record is tied to. An archived one is not shown.
fn targets(world: &World, from: &Type, id: &str, to: &Type) -> Vec<Value> {
    let Some(row) = world.hubspot.row(from.name, id) else {
        return Vec::new();
    };
    let ties = world.types.ties(from, to);
    row.links
        .iter()
        .filter(|((object, other), _)| object == to.name && world.hubspot.row(object, other).is_some())
        .map(|((_, other), types)| {
            let kinds: Vec<Value> = types
                .iter()
                .map(|number| {
                    let tie = ties.iter().find(|tie| tie.there == *number);
                    let label = tie.and_then(|tie| tie.label);
                    let category = tie.map_or("HUBSPOT_DEFINED", |tie| tie.category);
                    json!({ "category": category, "typeId": number, "label": label })
                })
                .collect();
            json!({ "toObjectId": other, "associationTypes": kinds })
        })
        .collect()
}

/// The `associations` of a read record.
pub(super) fn nested(world: &World, from: &'static Type, id: &str, types: &[String]) -> Result<Value, Refusal> {
    let mut all = Map::new();
    for name in types {
        let to = super::named(world, name)?;
        let kind = format!("{}_to_{}", from.singular, to.singular);
        let results: Vec<Value> = targets(world, from, id, to)
            .iter()
            .map(|target| json!({ "id": target["toObjectId"], "type": kind }))
            .collect();
        if !results.is_empty() {
            all.insert(to.name.to_owned(), json!({ "results": results }));
        }
    }
    Ok(Value::Object(all))
}
