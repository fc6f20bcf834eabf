//! Values that nobody sends: defaults, numbers, compounds, and what the vendor works out from other fields.

use jiff::Span;
use jiff::civil::Date;
use serde_json::Value;

use super::super::check::stamp;
use super::super::schema::{Field, Kind, Object, Preset};
use super::super::user_id;
use crate::world::{Fields, Row, World};

/// The value of any field of a record, those every record has included.
pub(in crate::salesforce) fn value(id: &str, row: &Row, field: &Field) -> Value {
    match field.name {
        "Id" => Value::from(id),
        "IsDeleted" => Value::from(row.deleted),
        "CreatedDate" => Value::from(stamp(row.created)),
        "LastModifiedDate" | "SystemModstamp" => Value::from(stamp(row.modified)),
        "CreatedById" | "LastModifiedById" => Value::from(user_id()),
        "OwnerId" if row.get("OwnerId").is_null() => Value::from(user_id()),
        name => match field.kind {
            Kind::Address(prefix) => address(row, prefix),
            // A checkbox is never empty at the vendor.
            Kind::Boolean if row.get(name).is_null() => Value::from(false),
            Kind::Id
            | Kind::Reference(_)
            | Kind::Text(_)
            | Kind::Long(_)
            | Kind::Email
            | Kind::Phone
            | Kind::Url
            | Kind::Picklist(..)
            | Kind::Number
            | Kind::Integer
            | Kind::Currency
            | Kind::Percent
            | Kind::Boolean
            | Kind::Date
            | Kind::DateTime => row.get(name).clone(),
        },
    }
}

/// The parts of an address under the names they have in the compound.
const ADDRESS: &[(&str, &str)] = &[
    ("city", "City"),
    ("country", "Country"),
    ("geocodeAccuracy", "GeocodeAccuracy"),
    ("latitude", "Latitude"),
    ("longitude", "Longitude"),
    ("postalCode", "PostalCode"),
    ("state", "State"),
    ("street", "Street"),
];

/// Whether a field of this name without its prefix is part of an address.
pub(in crate::salesforce) fn is_part_of_address(name: &str) -> bool {
    ADDRESS.iter().any(|(_, part)| *part == name)
}

/// The compound of an address, null when every part is empty.
fn address(row: &Row, prefix: &str) -> Value {
    let parts: serde_json::Map<String, Value> = ADDRESS
        .iter()
        .map(|(name, field)| ((*name).to_owned(), row.get(&format!("{prefix}{field}")).clone()))
        .collect();
    if parts.values().all(Value::is_null) {
        return Value::Null;
    }
    Value::Object(parts)
}

/// Adds defaults, numbers the vendor gives, and computed fields to a new record.
pub(super) fn complete(world: &World, object: &'static Object, values: &mut Fields) {
    for field in object.all() {
        let default = match field.default {
            Preset::No => continue,
            Preset::Text(text) => Value::from(text),
            Preset::False => Value::from(false),
        };
        if values.get(field.name).is_none_or(Value::is_null) {
            values.insert(field.name.to_owned(), default);
        }
    }
    if object.field("OwnerId").is_some() && object.writable {
        let owner = values.entry("OwnerId".to_owned()).or_insert(Value::Null);
        if owner.is_null() {
            *owner = Value::from(user_id());
        }
    }
    let number = || Value::from(format!("{:08}", world.salesforce.next_id + 1));
    match object.name {
        "Case" => {
            values.insert("CaseNumber".to_owned(), number());
        }
        "Contract" => {
            values.insert("ContractNumber".to_owned(), number());
        }
        _ => {}
    }
    for (name, value) in computed(world, object, values) {
        match name.as_str() {
            "Probability" => {
                values.entry(name).or_insert(value);
            }
            _ => {
                values.insert(name, value);
            }
        }
    }
}

/// The fields the vendor computes from others, for a record that looks like this.
pub(super) fn computed(world: &World, object: &Object, whole: &Fields) -> Vec<(String, Value)> {
    let text = |name: &str| whole.get(name).and_then(Value::as_str).unwrap_or("");
    let own = |name: &str, value: Value| (name.to_owned(), value);
    match object.name {
        "Contact" | "Lead" | "User" => {
            let name = format!("{} {}", text("FirstName"), text("LastName"));
            vec![own("Name", Value::from(name.trim()))]
        }
        "Opportunity" => {
            let (closed, won, chance) = stage(world, text("StageName"));
            vec![
                own("IsClosed", Value::from(closed)),
                own("IsWon", Value::from(won)),
                own("Probability", chance),
            ]
        }
        "Task" => {
            let mut all = vec![own("IsClosed", Value::from(text("Status") == "Completed"))];
            all.extend(account_of(world, text("WhatId"), text("WhoId")));
            all
        }
        "Event" => account_of(world, text("WhatId"), text("WhoId")).into_iter().collect(),
        "Case" => {
            let closed = text("Status") == "Closed";
            let at = match (closed, whole.get("ClosedDate")) {
                (true, Some(at)) if !at.is_null() => at.clone(),
                (true, _) => Value::from(stamp(world.now())),
                (false, _) => Value::Null,
            };
            vec![own("IsClosed", Value::from(closed)), own("ClosedDate", at)]
        }
        "Contract" => {
            let term = whole.get("ContractTerm").and_then(Value::as_i64);
            let end = text("StartDate")
                .parse::<Date>()
                .ok()
                .zip(term)
                .and_then(|(start, months)| {
                    // The contract runs through the day before the same day of the month.
                    start
                        .checked_add(Span::new().try_months(months).ok()?)
                        .ok()?
                        .yesterday()
                        .ok()
                });
            end.map(|end| own("EndDate", Value::from(end.to_string())))
                .into_iter()
                .collect()
        }
        _ => Vec::new(),
    }
}

/// The account an activity belongs to: that of what it is about, else that of the person.
fn account_of(world: &World, what: &str, who: &str) -> Option<(String, Value)> {
    let id = [what, who].into_iter().find_map(|id| {
        let object = world.schema.object_of_id(id).filter(|_| !id.is_empty())?;
        if object.name == "Account" {
            return Some(Value::from(id));
        }
        let account = world.salesforce.row(object.name, id)?.get("AccountId").clone();
        (!account.is_null()).then_some(account)
    })?;
    Some(("AccountId".to_owned(), id))
}

/// Whether a deal in this stage is closed and won, and its chance: what the org's stages say. One that is on no list is open and
/// has none (unverified).
fn stage(world: &World, name: &str) -> (bool, bool, Value) {
    let rows = world
        .salesforce
        .table("OpportunityStage")
        .into_iter()
        .flat_map(|table| table.rows());
    let mut of_name = rows.filter(|(_, row)| row.text("ApiName").eq_ignore_ascii_case(name));
    match of_name.next() {
        Some((_, row)) => {
            let is = |field: &str| row.get(field).as_bool().unwrap_or_default();
            (is("IsClosed"), is("IsWon"), row.get("DefaultProbability").clone())
        }
        None => (false, false, Value::from(0)),
    }
}
