//! Describe: the field tables as the vendor shows them, with the same keys on every field.

use serde_json::{Value, json};

use super::VERSION;
use super::errors::Refusal;
use super::schema::{Field, Key, Kind, OBJECTS, Object, Preset, Restricted, Writable};
use crate::wire::Reply;

/// `GET /sobjects`.
pub(super) fn global() -> Reply {
    let objects: Vec<Value> = OBJECTS.iter().map(summary).collect();
    Reply::json(
        200,
        json!({ "encoding": "UTF-8", "maxBatchSize": 200, "sobjects": objects }),
    )
}

/// `GET /sobjects/{object}/describe`.
pub(super) fn object(object: &'static Object) -> Result<Reply, Refusal> {
    let mut body = summary(object);
    body["fields"] = object.all().map(|one| field(object, one)).collect();
    body["childRelationships"] = json!([]);
    body["recordTypeInfos"] = json!([]);
    body["supportedScopes"] = json!([{ "label": "Everything", "name": "everything" }]);
    Ok(Reply::json(200, body))
}

fn summary(object: &Object) -> Value {
    let base = format!("/services/data/{VERSION}/sobjects/{}", object.name);
    json!({
        "name": object.name, "label": object.label, "labelPlural": format!("{}s", object.label),
        "keyPrefix": object.prefix, "custom": false, "customSetting": false, "activateable": false,
        "createable": object.writable, "updateable": object.writable, "deletable": object.writable,
        "undeletable": false, "mergeable": false, "queryable": true, "retrieveable": true, "searchable": false,
        "replicateable": false, "triggerable": false, "layoutable": false, "deprecatedAndHidden": false,
        "hasSubtypes": false, "isSubtype": false, "mruEnabled": false, "feedEnabled": false,
        "urls": { "sobject": base, "describe": format!("{base}/describe"), "rowTemplate": format!("{base}/{{ID}}") },
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
    }
}

fn field(object: &Object, field: &Field) -> Value {
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
        | Kind::DateTime => (&[], false),
    };
    let targets: &[&str] = if let Kind::Reference(targets) = field.kind {
        targets
    } else {
        &[]
    };
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
    let is_long = matches!(field.kind, Kind::Long(_));
    let is_name = field.name == "Name" || (object.name == "Task" && field.name == "Subject");
    let is_key = field.key != Key::No;
    let nillable = !field.required && !is_boolean && field.kind != Kind::Id;
    let first = json!({
        "aggregatable": !is_long && !is_boolean, "aiPredictionField": false,
        "autoNumber": field.name.ends_with("Number") && field.writable == Writable::Never,
        "byteLength": shape.length * 3, "calculated": false, "calculatedFormula": null, "cascadeDelete": false,
        "caseSensitive": false, "compoundFieldName": null, "controllerName": null,
        "createable": object.writable && field.writable != Writable::Never, "custom": field.is_custom(),
        "defaultValue": default, "defaultValueFormula": null, "defaultedOnCreate": defaulted || field.name == "OwnerId",
        "dependentPicklist": false, "deprecatedAndHidden": false, "digits": shape.digits,
    });
    let second = json!({
        "displayLocationInDecimal": false, "encrypted": false, "externalId": is_key, "extraTypeInfo": null,
        "filterable": !is_long, "filteredLookupInfo": null, "formulaTreatNullNumberAsZero": false,
        "groupable": !is_long && shape.scale == 0, "highScaleNumber": false, "htmlFormatted": false,
        "idLookup": is_key || field.kind == Kind::Id, "inlineHelpText": null, "label": field.label,
    });
    let third = json!({
        "length": shape.length, "mask": null, "maskType": null, "name": field.name, "nameField": is_name,
        "namePointing": targets.len() > 1, "nillable": nillable, "permissionable": field.is_custom(),
        "picklistValues": choices, "polymorphicForeignKey": targets.len() > 1, "precision": shape.precision,
        "queryByDistance": false, "referenceTargetField": null, "referenceTo": targets,
        "relationshipName": field.relationship(), "relationshipOrder": null, "restrictedDelete": false,
        "restrictedPicklist": restricted, "scale": shape.scale, "searchPrefilterable": is_key,
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
