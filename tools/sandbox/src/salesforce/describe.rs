//! Describe: the field tables as the vendor shows them, with the same keys on every field.

use serde_json::{Value, json};

use super::VERSION;
use super::records::http_date;
use super::schema::{Field, Key, Kind, Object, Preset, Restricted, Writable};
use crate::wire::{Call, Reply};
use crate::world::World;

/// `GET /sobjects`.
pub(super) fn global(world: &World, call: &Call) -> Reply {
    let objects: Vec<Value> = world.schema.objects().map(summary).collect();
    let body = json!({ "encoding": "UTF-8", "maxBatchSize": 200, "sobjects": objects });
    fresh(world, call, body)
}

/// `GET /sobjects/{object}/describe`.
pub(super) fn object(world: &World, call: &Call, object: &'static Object) -> Reply {
    let mut body = summary(object);
    let base = call.base_url.as_str();
    if let Some(urls) = body["urls"].as_object_mut() {
        for name in ["uiDetailTemplate", "uiEditTemplate"] {
            urls.insert(name.to_owned(), json!(format!("{base}/{{ID}}")));
        }
        urls.insert("uiNewRecord".to_owned(), json!(format!("{base}/{}/e", object.prefix)));
    }
    let children: Vec<Value> = world
        .schema
        .relations(object)
        .map(|(child, field)| {
            json!({
                "cascadeDelete": false, "childSObject": child.name, "deprecatedAndHidden": false, "field": field.name,
                "junctionIdListNames": [], "junctionReferenceTo": [], "relationshipName": field.children,
                "restrictedDelete": false,
            })
        })
        .collect();
    let more = json!({
        "actionOverrides": [], "childRelationships": children, "compactLayoutable": object.writable,
        "defaultImplementation": null, "extendedBy": null, "extendsInterfaces": null,
        "fields": object.all().map(|one| field(object, one)).collect::<Vec<_>>(), "implementedBy": null,
        "implementsInterfaces": null, "listviewable": null, "lookupLayoutable": null, "namedLayoutInfos": [],
        "networkScopeFieldName": null, "recordTypeInfos": record_types(world, object),
        "searchLayoutable": object.writable, "sobjectDescribeOption": "FULL",
        "supportedScopes": [{ "label": format!("All {}", object.plural.to_lowercase()), "name": "everything" }],
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        body[key] = value.clone();
    }
    fresh(world, call, body)
}

/// The master record type, and those that exist as records.
fn record_types(world: &World, object: &'static Object) -> Value {
    if !object.writable || object.field("OwnerId").is_none() {
        return json!([]);
    }
    let one = |id: &str, name: &str, developer: &str, master: bool| {
        json!({
            "active": true, "available": true, "defaultRecordTypeMapping": master, "developerName": developer,
            "master": master, "name": name, "recordTypeId": id,
            "urls": { "layout": format!("/services/data/{VERSION}/sobjects/{}/describe/layouts/{id}", object.name) },
        })
    };
    let table = world.salesforce.table("RecordType");
    let of_object = table.into_iter().flat_map(|table| table.after(None));
    let own = of_object.filter(|(_, row)| row.text("SobjectType") == object.name);
    own.map(|(id, row)| one(id, row.text("Name"), row.text("DeveloperName"), false))
        .chain([one("012000000000000AAA", "Master", "Master", true)])
        .collect()
}

/// The answer, or 304 when the schema is as old as the client says.
fn fresh(world: &World, call: &Call, body: Value) -> Reply {
    let changed = http_date(world.schema_changed);
    let tag = format!("\"{:08x}\"", world.schema_changed.as_second() & 0xffff_ffff);
    let since = call
        .header("if-modified-since")
        .and_then(|sent| jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(sent).ok());
    let known = call.header("if-none-match").map(str::trim) == Some(tag.as_str());
    let reply = if known || since.is_some_and(|since| since.as_second() >= world.schema_changed.as_second()) {
        Reply::empty(304)
    } else {
        Reply::json(200, body)
    };
    reply.with("etag", tag).with("last-modified", changed)
}

fn summary(object: &Object) -> Value {
    let base = format!("/services/data/{VERSION}/sobjects/{}", object.name);
    json!({
        "activateable": false, "associateEntityType": null, "associateParentEntity": null,
        "createable": object.writable, "custom": object.is_custom(), "customSetting": false, "deepCloneable": false,
        "deletable": object.writable, "deprecatedAndHidden": false, "feedEnabled": object.writable,
        "hasSubtypes": false, "isInterface": false, "isSubtype": false, "keyPrefix": object.prefix,
        "label": object.label, "labelPlural": object.plural, "layoutable": object.writable,
        "mergeable": matches!(object.name, "Account" | "Contact" | "Lead"), "mruEnabled": object.writable,
        "name": object.name, "queryable": true, "replicateable": object.writable, "retrieveable": true,
        "searchable": object.writable, "triggerable": object.writable, "undeletable": object.writable,
        "updateable": object.writable,
        "urls": {
            "approvalLayouts": format!("{base}/describe/approvalLayouts"),
            "compactLayouts": format!("{base}/describe/compactLayouts"), "describe": format!("{base}/describe"),
            "layouts": format!("{base}/describe/layouts"), "listviews": format!("{base}/listviews"),
            "quickActions": format!("{base}/quickActions"), "rowTemplate": format!("{base}/{{ID}}"), "sobject": base,
        },
    })
}

/// How a type reads in describe.
struct Shape {
    name: &'static str,
    soap: &'static str,
    length: usize,
    precision: u32,
    scale: u32,
    digits: u32,
}

fn shape(kind: Kind) -> Shape {
    let text = |name, length| Shape {
        name,
        soap: "xsd:string",
        length,
        precision: 0,
        scale: 0,
        digits: 0,
    };
    let plain = |name, soap| Shape {
        name,
        soap,
        length: 0,
        precision: 0,
        scale: 0,
        digits: 0,
    };
    match kind {
        Kind::Id => Shape {
            soap: "tns:ID",
            ..text("id", 18)
        },
        Kind::Reference(_) => Shape {
            soap: "tns:ID",
            ..text("reference", 18)
        },
        Kind::Text(length) => text("string", length),
        Kind::Long(length) => text("textarea", length),
        Kind::Email => text("email", 80),
        Kind::Phone => text("phone", 40),
        Kind::Url => text("url", 255),
        Kind::Picklist(..) => text("picklist", 255),
        Kind::Number => Shape {
            precision: 18,
            scale: 2,
            ..plain("double", "xsd:double")
        },
        Kind::Currency => Shape {
            precision: 18,
            scale: 2,
            ..plain("currency", "xsd:double")
        },
        Kind::Percent => Shape {
            precision: 3,
            ..plain("percent", "xsd:double")
        },
        Kind::Integer => Shape {
            digits: 8,
            ..plain("int", "xsd:int")
        },
        Kind::Boolean => plain("boolean", "xsd:boolean"),
        Kind::Date => plain("date", "xsd:date"),
        Kind::DateTime => plain("datetime", "xsd:dateTime"),
        Kind::Address(_) => plain("address", "urn:address"),
    }
}

/// The compound a part of an address belongs to.
fn compound(object: &'static Object, field: &Field) -> Option<&'static str> {
    object.all().find_map(|one| match one.kind {
        Kind::Address(prefix) if one.name != field.name => {
            let part = field.name.strip_prefix(prefix)?;
            super::records::is_part_of_address(part).then_some(one.name)
        }
        _ => None,
    })
}

fn field(object: &'static Object, field: &Field) -> Value {
    let shape = shape(field.kind);
    let (values, restricted): (&[&str], bool) = match field.kind {
        Kind::Picklist(values, restricted) => (values, restricted == Restricted::Yes),
        Kind::Id
        | Kind::Reference(_)
        | Kind::Text(_)
        | Kind::Long(_)
        | Kind::Email
        | Kind::Phone
        | Kind::Url
        | Kind::Number
        | Kind::Integer
        | Kind::Currency
        | Kind::Percent
        | Kind::Boolean
        | Kind::Date
        | Kind::DateTime
        | Kind::Address(_) => (&[], false),
    };
    let targets = field.targets();
    let (default, defaulted) = match field.default {
        Preset::No => (Value::Null, false),
        Preset::Text(text) => (Value::from(text), true),
        Preset::False => (Value::from(false), true),
    };
    let choices: Vec<Value> = values
        .iter()
        .map(|value| {
            let is_default = field.default == Preset::Text(value);
            json!({ "active": true, "defaultValue": is_default, "label": value, "validFor": null, "value": value })
        })
        .collect();
    let is_boolean = field.kind == Kind::Boolean;
    let is_long = matches!(field.kind, Kind::Long(_) | Kind::Address(_));
    let is_name = field.name == "Name" || (object.name == "Task" && field.name == "Subject");
    let is_key = matches!(field.key, Key::External | Key::ExternalUnique);
    let is_lookup = field.key != Key::No;
    let nillable = !field.required && !is_boolean && field.kind != Kind::Id;
    let first = json!({
        "aggregatable": !is_long && !is_boolean, "aiPredictionField": false,
        "autoNumber": field.name.ends_with("Number") && field.writable == Writable::Never,
        "byteLength": shape.length * 3, "calculated": false, "calculatedFormula": null, "cascadeDelete": false,
        "caseSensitive": false, "compoundFieldName": compound(object, field), "controllerName": null,
        "createable": object.writable && field.writable != Writable::Never, "custom": field.is_custom(),
        "defaultValue": default, "defaultValueFormula": null, "defaultedOnCreate": defaulted || field.name == "OwnerId",
        "dependentPicklist": false, "deprecatedAndHidden": false, "digits": shape.digits,
    });
    let second = json!({
        "displayLocationInDecimal": false, "encrypted": false, "externalId": is_key, "extraTypeInfo": null,
        "filterable": !is_long, "filteredLookupInfo": null, "formulaTreatNullNumberAsZero": false,
        "groupable": !is_long && shape.scale == 0, "highScaleNumber": false, "htmlFormatted": false,
        "idLookup": is_lookup || field.kind == Kind::Id, "inlineHelpText": null, "label": field.label,
    });
    let third = json!({
        "length": shape.length, "mask": null, "maskType": null, "name": field.name, "nameField": is_name,
        "namePointing": targets.len() > 1, "nillable": nillable, "permissionable": field.is_custom(),
        "picklistValues": choices, "polymorphicForeignKey": targets.len() > 1, "precision": shape.precision,
        "queryByDistance": false, "referenceTargetField": null, "referenceTo": targets,
        "relationshipName": field.relationship(), "relationshipOrder": null, "restrictedDelete": false,
        "restrictedPicklist": restricted, "scale": shape.scale, "searchPrefilterable": is_key || !targets.is_empty(),
        "soapType": shape.soap, "sortable": !is_long, "type": shape.name,
        "unique": field.key == Key::ExternalUnique, "updateable": object.writable && field.writable == Writable::Always,
        "writeRequiresMasterRead": false,
    });
    // Three parts, because one would be beyond the depth to which the macro expands.
    let parts = [first, second, third]
        .into_iter()
        .filter_map(|part| part.as_object().cloned())
        .flatten();
    Value::Object(parts.collect())
}
