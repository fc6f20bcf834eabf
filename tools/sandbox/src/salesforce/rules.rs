//! Rules of the org: validation rules and duplicate rules, set by whoever runs the sandbox.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::errors::Refusal;
use super::records::{self, Via};
use super::schema::Object;
use super::select::{self, Place};
use super::{SYSTEM, soql};
use crate::custom::Rule;
use crate::world::{Fields, Row, World};

/// Says why a rule cannot be taken, or nothing.
pub(crate) fn fits(world: &World, rule: &Rule) -> Result<(), String> {
    let named = |object: &str| {
        let found = world.schema.object(object);
        found.ok_or_else(|| format!("there is no object `{object}`"))
    };
    match rule {
        Rule::Validation { object, condition, .. } => {
            let expr = soql::condition(condition)?;
            let place = Place {
                crm: world.crm(SYSTEM),
                schema: &world.schema,
                text: condition,
            };
            select::cond(place, named(object)?, &expr).map_err(|refusal| refusal.message)?;
            Ok(())
        }
        Rule::Duplicate { object, fields } => {
            let object = named(object)?;
            match fields.iter().find(|name| object.field(name).is_none()) {
                Some(name) => Err(format!("{} has no field `{name}`", object.name)),
                None => Ok(()),
            }
        }
        Rule::ConditionalRequired { .. } => Err("this rule is one of HubSpot".to_owned()),
    }
}

/// Refuses a record that would look like this. `own` is absent for a new one.
pub(super) fn check(
    world: &World,
    object: &'static Object,
    own: Option<&str>,
    whole: &Fields,
    via: &Via,
) -> Result<(), Refusal> {
    for rule in &world.rules {
        match rule {
            Rule::Validation {
                object: of,
                condition,
                message,
            } if object.name.eq_ignore_ascii_case(of) => validation(world, object, condition, message, whole)?,
            Rule::Duplicate { object: of, fields } if object.name.eq_ignore_ascii_case(of) => {
                if !via.duplicates.allow_save {
                    duplicate(world, object, own, fields, whole, via)?;
                }
            }
            Rule::Validation { .. } | Rule::Duplicate { .. } | Rule::ConditionalRequired { .. } => {}
        }
    }
    Ok(())
}

fn validation(
    world: &World,
    object: &'static Object,
    condition: &str,
    message: &str,
    whole: &Fields,
) -> Result<(), Refusal> {
    let place = Place {
        crm: world.crm(SYSTEM),
        schema: &world.schema,
        text: condition,
    };
    // The condition was read when the rule was set; a field that was hidden since cannot be in an error either.
    let Ok(cond) = soql::condition(condition)
        .map_err(|_| ())
        .and_then(|expr| select::cond(place, object, &expr).map_err(|_| ()))
    else {
        return Ok(());
    };
    let row = Row::draft(whole.clone(), world.now());
    if cond.holds(place, "", &row) {
        return Err(Refusal::bad("FIELD_CUSTOM_VALIDATION_EXCEPTION", message));
    }
    Ok(())
}

fn duplicate(
    world: &World,
    object: &'static Object,
    own: Option<&str>,
    fields: &[String],
    whole: &Fields,
    via: &Via,
) -> Result<(), Refusal> {
    let wanted: BTreeMap<&str, String> = fields
        .iter()
        .filter_map(|name| {
            let field = object.field(name)?;
            Some((field.name, whole.get(field.name)?.as_str()?.to_lowercase()))
        })
        .collect();
    if wanted.len() < fields.len() {
        return Ok(());
    }
    let Some(table) = world.salesforce.table(object.name) else {
        return Ok(());
    };
    let same = |row: &Row| {
        wanted
            .iter()
            .all(|(name, value)| row.text(name).to_lowercase() == *value)
    };
    let found: Vec<&str> = table
        .after(None)
        .filter(|(id, row)| Some(*id) != own && same(row))
        .map(|(id, _)| id)
        .collect();
    if found.is_empty() {
        return Ok(());
    }
    let records: Vec<Value> = found
        .iter()
        .map(|id| {
            let mut record =
                json!({ "attributes": { "type": object.name, "url": records::url_of(object, id) }, "Id": id });
            if via.duplicates.details
                && let Some(row) = table.get(id)
            {
                for name in wanted.keys() {
                    record[*name] = row.get(name).clone();
                }
            }
            json!({ "additionalInformation": [], "fieldDiffs": [], "matchConfidence": 100.0, "record": record })
        })
        .collect();
    // The text is the admin's, in the admin's language; only the code may be relied on.
    let message = "Verwenden Sie einen dieser Datensätze?";
    let rule = format!("{}_Duplicates", object.name);
    let mut refusal = Refusal::bad("DUPLICATES_DETECTED", message);
    refusal.more = Some((
        "duplicateResult",
        json!({
            "allowSave": true, "duplicateRule": rule, "duplicateRuleEntityType": object.name, "errorMessage": message,
            "matchResults": [{
                "entityType": object.name, "errors": [], "matchEngine": "ExactMatchEngine", "matchRecords": records,
                "rule": rule, "size": found.len(), "success": true,
            }],
        }),
    ));
    Err(refusal)
}
