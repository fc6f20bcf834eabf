//! Checks of the values a write carries, in the order the vendor reports them: names, types, lengths, required, references.

use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::Value;

use super::errors::Refusal;
use super::ids;
use super::schema::{Field, Key, Kind, Object, Restricted, Schema, Writable};
use crate::world::{Crm, Fields};

/// What kind of write the values are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Write {
    Create,
    Update,
    /// The start of the sandbox, where read-only fields may be set too.
    Seed,
}

/// The values of a write under their proper names and in their stored form.
pub(crate) fn values(schema: &Schema, object: &'static Object, sent: &Fields, write: Write) -> Result<Fields, Refusal> {
    let mut accepted = Fields::new();
    for (name, value) in sent {
        if name == "attributes" {
            continue;
        }
        let Some(field) = object.field(name) else {
            let message = format!("No such column '{name}' on sobject of type {}", object.name);
            return Err(Refusal::bad("INVALID_FIELD", message));
        };
        if !may_write(field, write) {
            let message = format!(
                "Unable to create/update fields: {}. Please check the security settings of this field and verify that \
                 it is read/write for your profile or permission set.",
                field.name
            );
            return Err(Refusal::bad("INVALID_FIELD_FOR_INSERT_UPDATE", message).on(field.name));
        }
        accepted.insert(field.name.to_owned(), value_of(schema, object, field, value)?);
    }
    Ok(accepted)
}

fn may_write(field: &Field, write: Write) -> bool {
    match (write, field.writable) {
        (Write::Seed, _) | (_, Writable::Always) | (Write::Create, Writable::OnCreate) => true,
        (Write::Update, Writable::OnCreate) | (Write::Create | Write::Update, Writable::Never) => false,
    }
}

/// Refuses a write that leaves a required field empty.
pub(crate) fn required(object: &'static Object, values: &Fields, write: Write) -> Result<(), Refusal> {
    let missing: Vec<&str> = object
        .all()
        .filter(|field| field.required)
        .filter(|field| match write {
            Write::Create | Write::Seed => values.get(field.name).is_none_or(Value::is_null),
            Write::Update => values.get(field.name).is_some_and(Value::is_null),
        })
        .map(|field| field.name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let message = format!("Required fields are missing: [{}]", missing.join(", "));
    let mut refusal = Refusal::bad("REQUIRED_FIELD_MISSING", message);
    refusal.fields = missing.iter().map(|name| (*name).to_owned()).collect();
    Err(refusal)
}

/// Refuses references to records that are not there.
pub(crate) fn references(crm: &Crm, object: &'static Object, values: &Fields) -> Result<(), Refusal> {
    for field in object.all() {
        let Kind::Reference(targets) = field.kind else { continue };
        let Some(id) = values.get(field.name).and_then(Value::as_str) else {
            continue;
        };
        let found = targets.iter().any(|target| crm.row(target, id).is_some());
        if !found {
            return Err(Refusal::bad("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id").on(field.name));
        }
    }
    Ok(())
}

/// Refuses a value of a unique field that another record has.
pub(crate) fn unique(crm: &Crm, object: &'static Object, values: &Fields, own: Option<&str>) -> Result<(), Refusal> {
    let Some(table) = crm.table(object.name) else {
        return Ok(());
    };
    for field in object.all().filter(|field| field.key == Key::ExternalUnique) {
        let Some(value) = values.get(field.name).and_then(Value::as_str) else {
            continue;
        };
        if let Some(other) = table
            .find(field.name, value)
            .into_iter()
            .find(|id| Some(id.as_str()) != own)
        {
            let message = format!(
                "duplicate value found: {} duplicates value on record with id: {other}",
                field.name
            );
            return Err(Refusal::bad("DUPLICATE_VALUE", message).on(field.name));
        }
    }
    Ok(())
}

fn value_of(schema: &Schema, object: &Object, field: &Field, value: &Value) -> Result<Value, Refusal> {
    if matches!(value, Value::Array(_) | Value::Object(_)) {
        let message = format!("Cannot deserialize the value of {} from a JSON structure", field.name);
        return Err(Refusal::bad("JSON_PARSER_ERROR", message));
    }
    // An empty string is stored as nothing.
    if value.is_null() || value.as_str() == Some("") {
        return Ok(Value::Null);
    }
    let wrong = || {
        let message = format!("{}: value not of required type: {}", field.label, plain(value));
        Refusal::bad("INVALID_TYPE_ON_FIELD_IN_RECORD", message).on(field.name)
    };
    let text = || value.as_str().ok_or_else(wrong);
    match field.kind {
        Kind::Id | Kind::Reference(_) => reference(schema, field, text()?),
        Kind::Address(_) => Err(wrong()),
        Kind::Text(length) | Kind::Long(length) => sized(object, field, text()?, length),
        Kind::Phone => sized(object, field, text()?, PHONE_LENGTH),
        Kind::Url => sized(object, field, text()?, URL_LENGTH),
        Kind::Email => email(object, field, text()?),
        Kind::Picklist(values, restricted) => picklist(field, text()?, values, restricted),
        // A number may come as text (recorded), and is stored as a number.
        Kind::Number | Kind::Currency | Kind::Percent => number(value).ok_or_else(wrong),
        Kind::Integer => integer(value).map(Value::from).ok_or_else(wrong),
        Kind::Boolean => value.as_bool().map(Value::from).ok_or_else(wrong),
        Kind::Date => date(text()?).map(Value::from).ok_or_else(wrong),
        Kind::DateTime => datetime(text()?).map(|at| Value::from(stamp(at))).ok_or_else(wrong),
    }
}

/// Length of phone and web address fields at the vendor.
const PHONE_LENGTH: usize = 40;
const URL_LENGTH: usize = 255;
/// Length of an e-mail field at the vendor.
const EMAIL_LENGTH: usize = 80;
/// Length of a picklist value at the vendor.
const PICKLIST_LENGTH: usize = 255;

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn number(value: &Value) -> Option<Value> {
    match value {
        Value::Number(_) => Some(value.clone()),
        Value::String(text) => {
            let number: f64 = text.trim().parse().ok()?;
            number.is_finite().then(|| Value::from(number))
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn integer(value: &Value) -> Option<i64> {
    // 12.0 is the integer 12 to the vendor.
    value.as_i64().or_else(|| {
        number(value)?
            .as_f64()
            .filter(|number| number.fract() == 0.0)
            .map(|number| number as i64)
    })
}

fn reference(schema: &Schema, field: &Field, text: &str) -> Result<Value, Refusal> {
    let malformed = || {
        let message = format!("{}: id value of incorrect type: {text}", field.label);
        Refusal::bad("MALFORMED_ID", message).on(field.name)
    };
    let id = ids::canonical(text).ok_or_else(malformed)?;
    if let Kind::Reference(targets) = field.kind
        && schema
            .object_of_id(&id)
            .is_some_and(|object| !targets.contains(&object.name))
    {
        return Err(malformed());
    }
    Ok(Value::from(id))
}

fn sized(object: &Object, field: &Field, text: &str, length: usize) -> Result<Value, Refusal> {
    if text.chars().count() > length {
        let start: String = text.chars().take(SHOWN).collect();
        let message = format!(
            "{} {}: data value too large: {start} (max length={length})",
            object.label, field.label
        );
        return Err(Refusal::bad("STRING_TOO_LONG", message).on(field.name));
    }
    Ok(Value::from(text))
}

/// Characters of a refused value that are repeated in the message.
const SHOWN: usize = 255;

fn email(object: &Object, field: &Field, text: &str) -> Result<Value, Refusal> {
    let good = text.split_once('@').is_some_and(|(local, domain)| {
        !local.is_empty() && domain.contains('.') && !domain.contains('@') && !text.contains(char::is_whitespace)
    });
    if !good {
        let message = format!("{}: invalid email address: {text}", field.label);
        return Err(Refusal::bad("INVALID_EMAIL_ADDRESS", message).on(field.name));
    }
    sized(object, field, text, EMAIL_LENGTH)
}

fn picklist(field: &Field, text: &str, values: &[&str], restricted: Restricted) -> Result<Value, Refusal> {
    // The vendor takes any case and stores its own spelling.
    if let Some(value) = values.iter().find(|value| value.eq_ignore_ascii_case(text)) {
        return Ok(Value::from(*value));
    }
    if restricted == Restricted::Yes || text.chars().count() > PICKLIST_LENGTH {
        let message = format!("{}: bad value for restricted picklist field: {text}", field.label);
        return Err(Refusal::bad("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", message).on(field.name));
    }
    Ok(Value::from(text))
}

fn date(text: &str) -> Option<String> {
    // A datetime is taken for a date field; the day counts.
    let day = text.get(..10)?;
    let date: Date = day.parse().ok()?;
    (text.len() == 10 || datetime(text).is_some()).then(|| date.to_string())
}

/// A time as the vendor writes or takes it: RFC 3339, or with an offset without colon.
pub(crate) fn datetime(text: &str) -> Option<Timestamp> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at);
    }
    let (head, offset) = text.split_at_checked(text.len().checked_sub(5)?)?;
    let (sign, digits) = offset.split_at_checked(1)?;
    let (hours, minutes) = digits.split_at_checked(2)?;
    if !matches!(sign, "+" | "-") || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    format!("{head}{sign}{hours}:{minutes}").parse().ok()
}

/// A time as the vendor writes it: whole seconds, and an offset that is not RFC 3339.
pub(crate) fn stamp(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.000+0000").to_string()
}

#[cfg(test)]
mod tests {
    use super::{date, datetime, stamp};

    #[test]
    fn times_read_back_as_they_are_written() {
        let at = datetime("2026-05-01T07:25:37.000+0000").expect("the vendor's own form");
        assert_eq!(stamp(at), "2026-05-01T07:25:37.000+0000");
        assert_eq!(datetime("2026-05-01T07:25:37Z"), Some(at));
        assert_eq!(datetime("2026-05-01T09:25:37.000+0200"), Some(at));
        assert_eq!(datetime("yesterday"), None);
    }

    #[test]
    fn a_date_field_takes_days_that_exist() {
        assert_eq!(date("2026-02-28").as_deref(), Some("2026-02-28"));
        assert_eq!(date("2026-02-30"), None);
        assert_eq!(date("28.02.2026"), None);
    }
}
