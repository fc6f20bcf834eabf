//! Checks of property values. On the wire every value is a string or null; an empty string clears.

use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::Value;

use super::errors::Refusal;
use super::schema::{Kind, LIFECYCLE, OWNERS, Pipeline, Property, Type, Types};
use crate::world::{Crm, Fields};

/// A time as the vendor writes it.
pub(super) fn iso(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// What kind of write the values are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Write {
    Create,
    Update,
    /// The start of the sandbox, where read-only properties may be set and other JSON types are turned into strings.
    Seed,
}

/// The properties of a write in their stored form; null clears.
pub(super) fn checked(of: &Type, sent: &Fields, write: Write) -> Result<Fields, Refusal> {
    let mut accepted = Fields::new();
    let mut refusals = Vec::new();
    for (name, value) in sent {
        match one(of, name, value, write) {
            Ok(value) => {
                accepted.insert(name.clone(), value);
            }
            Err(refusal) => refusals.push(refusal),
        }
    }
    match refusals.into_iter().reduce(together) {
        Some(refusal) => Err(refusal),
        None => Ok(accepted),
    }
}

/// The vendor tells of all bad values at once.
fn together(mut one: Refusal, other: Refusal) -> Refusal {
    one.errors.extend(other.errors);
    one
}

/// Refuses a record that lacks a property it needs.
pub(super) fn required(of: &Type, whole: &Fields) -> Result<(), Refusal> {
    let missing: Vec<&str> = of
        .all()
        .filter(|property| property.required && whole.get(property.name).is_none_or(Value::is_null))
        .map(|property| property.name)
        .collect();
    let Some(first) = missing.first() else { return Ok(()) };
    let message = format!(
        "Error creating {}. Some required properties were not set.",
        of.singular.to_uppercase()
    );
    let mut refusal = Refusal::property(first, "REQUIRED_FIELD", message.as_str());
    refusal.message = message.clone();
    refusal.errors = vec![serde_json::json!({
        "message": message, "code": "REQUIRED_FIELD", "context": { "properties": missing },
    })];
    Err(refusal)
}

/// The id of another record with the same value in a unique property, with the property.
pub(super) fn taken(crm: &Crm, of: &Type, values: &Fields, own: Option<&str>) -> Option<(&'static Property, String)> {
    let table = crm.table(of.name)?;
    of.properties
        .iter()
        .filter(|property| property.unique)
        .find_map(|property| {
            let value = values.get(property.name)?.as_str()?;
            let other = table
                .find(property.name, value)
                .into_iter()
                .find(|id| Some(id.as_str()) != own)?;
            Some((property, other))
        })
}

/// Refuses a stage that is not one of its pipeline's.
pub(super) fn stage_fits(pipeline: &Pipeline, whole: &Fields) -> Result<(), Refusal> {
    let Some(stage) = whole.get(pipeline.stage_property).and_then(Value::as_str) else {
        return Ok(());
    };
    if pipeline.stages.iter().any(|known| known.id == stage) {
        return Ok(());
    }
    let known: Vec<&str> = pipeline.stages.iter().map(|stage| stage.id).collect();
    let message = format!("{stage} was not one of the allowed options: [{}]", known.join(", "));
    Err(Refusal::property(pipeline.stage_property, "INVALID_OPTION", message))
}

/// Whether a lifecycle stage would go back, which the vendor answers with success and ignores.
pub(super) fn goes_back(before: &Value, after: &Value) -> bool {
    let rank = |value: &Value| LIFECYCLE.iter().position(|stage| Some(*stage) == value.as_str());
    match (rank(before), rank(after)) {
        (Some(before), Some(after)) => after < before,
        (None, _) | (_, None) => false,
    }
}

fn one(of: &Type, name: &str, value: &Value, write: Write) -> Result<Value, Refusal> {
    let Some(property) = of.property(name) else {
        let message = format!("Property \"{name}\" does not exist");
        return Err(Refusal::property(name, "PROPERTY_DOESNT_EXIST", message));
    };
    if property.read_only && write != Write::Seed {
        let message = format!("\"{name}\" is a read only property; its value cannot be set.");
        return Err(Refusal::property(name, "READ_ONLY_VALUE", message));
    }
    let text = match value {
        Value::Null => return Ok(Value::Null),
        Value::String(text) => text.clone(),
        // Numbers and booleans are taken and stored as text (recorded).
        Value::Number(_) | Value::Bool(_) => value.to_string(),
        Value::Array(_) | Value::Object(_) => {
            let message = format!("Invalid input JSON: the value of \"{name}\" must be a string or null");
            return Err(Refusal::property(name, "INVALID_JSON", message));
        }
    };
    if text.is_empty() {
        return Ok(Value::Null);
    }
    stored(property, &text).map(Value::from)
}

fn stored(property: &Property, text: &str) -> Result<String, Refusal> {
    let name = property.name;
    let option = |known: &[&str]| {
        if known.contains(&text) {
            return Ok(text.to_owned());
        }
        let message = format!("{text} was not one of the allowed options: [{}]", known.join(", "));
        Err(Refusal::property(name, "INVALID_OPTION", message))
    };
    match property.kind {
        Kind::Text(length) => {
            if text.chars().count() > length {
                let message = format!("\"{name}\" was too long: at most {length} characters are allowed");
                return Err(Refusal::property(name, "PROPERTY_VALUE_TOO_LONG", message));
            }
            Ok(text.to_owned())
        }
        Kind::Number => match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(text.to_owned()),
            Ok(_) | Err(_) => Err(Refusal::property(
                name,
                "INVALID_NUMBER",
                format!("{text} was not a valid number."),
            )),
        },
        Kind::Boolean => option(&["true", "false"]),
        Kind::DateTime => {
            let refusal = || Refusal::property(name, "INVALID_LONG", format!("{text} was not a valid long."));
            time(text).ok_or_else(refusal)
        }
        Kind::Options(known) => option(known),
        Kind::Lifecycle => option(LIFECYCLE),
        Kind::Owner => {
            if OWNERS.iter().any(|(id, ..)| *id == text) {
                return Ok(text.to_owned());
            }
            Err(Refusal::property(
                name,
                "INVALID_OWNER_ID",
                format!("The owner {text} does not exist."),
            ))
        }
        Kind::Email => {
            let good = text.split_once('@').is_some_and(|(local, domain)| {
                !local.is_empty() && domain.contains('.') && !text.contains(char::is_whitespace)
            });
            if good {
                // The vendor stores addresses in lower case.
                return Ok(text.to_lowercase());
            }
            Err(Refusal::property(
                name,
                "INVALID_EMAIL",
                format!("Email address {text} is invalid"),
            ))
        }
        Kind::Pipeline => {
            let known = Types::new();
            if known
                .all()
                .filter_map(|one| one.pipeline)
                .filter(|pipeline| pipeline.property == name)
                .any(|pipeline| pipeline.id == text)
            {
                return Ok(text.to_owned());
            }
            Err(Refusal::property(
                name,
                "INVALID_OPTION",
                format!("The pipeline {text} does not exist."),
            ))
        }
        // Read-only, so only a seed comes here; what it says is passed over when the property is read.
        Kind::Computed(_) => Ok(text.to_owned()),
        // Checked with the pipeline, once the record is known.
        Kind::Stage => Ok(text.to_owned()),
    }
}

/// A time as it is stored: what came as ISO stays, milliseconds and days become ISO.
fn time(text: &str) -> Option<String> {
    if text.parse::<Timestamp>().is_ok() {
        return Some(text.to_owned());
    }
    if let Ok(millisecond) = text.parse::<i64>() {
        return Timestamp::from_millisecond(millisecond).ok().map(iso);
    }
    let day: Date = text.parse().ok()?;
    (text.len() == 10).then(|| format!("{day}T00:00:00Z"))
}

#[cfg(test)]
mod tests {
    use super::{iso, time};

    #[test]
    fn times_come_as_iso_as_milliseconds_and_as_days() {
        assert_eq!(time("2026-03-12T10:00:00Z").as_deref(), Some("2026-03-12T10:00:00Z"));
        assert_eq!(time("1773300826615").as_deref(), Some("2026-03-12T07:33:46.615Z"));
        assert_eq!(time("2026-12-31").as_deref(), Some("2026-12-31T00:00:00Z"));
        assert_eq!(time("soon"), None);
    }

    #[test]
    fn whole_seconds_keep_their_three_zeros() {
        assert_eq!(
            iso("2026-03-12T10:00:00Z".parse().expect("a time")),
            "2026-03-12T10:00:00.000Z"
        );
    }
}
