//! Running a query: filter, order, page. Cursors hold what later pages will show.

use std::cmp::Ordering;
use std::collections::VecDeque;

use serde_json::{Map, Value, json};

use super::errors::Refusal;
use super::schema::{self, Field, Kind, Object};
use super::soql::{self, Expr, Literal, Op, Order, Select};
use super::{SYSTEM, VERSION, ids, records};
use crate::wire::{Call, Reply};
use crate::world::{Crm, Row, World};

/// Rows on one page, the vendor's largest and default size.
const PAGE_MAX: usize = 2_000;
/// The smallest page a client may ask for with `Sforce-Query-Options`.
const PAGE_MIN: usize = 200;
/// Cursors that are held; opening one more forgets the oldest. The vendor holds them for two days.
const CURSORS_MAX: usize = 100;

/// Whether deleted rows are seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Graves {
    Hidden,
    Shown,
}

/// Open queries: id, page size, all rows.
#[derive(Debug, Default)]
pub(crate) struct Cursors {
    opened: u64,
    open: VecDeque<(String, usize, Vec<Value>)>,
}

/// `GET /query?q=..`.
pub(super) fn start(world: &mut World, call: &Call, graves: Graves) -> Result<Reply, Refusal> {
    let text = call
        .parameter("q")
        .ok_or_else(|| Refusal::bad("MALFORMED_QUERY", "A query string has to be specified"))?;
    let query = soql::parse(text).map_err(|message| Refusal::bad("MALFORMED_QUERY", message))?;
    let object = schema::object(&query.object).ok_or_else(|| no_object(text, &query.object))?;
    if let Some(filter) = &query.filter {
        known(text, object, filter)?;
    }
    for order in &query.order {
        resolve(text, object, &order.path)?;
    }
    let crm = world.crm(SYSTEM);
    let Some(table) = crm.table(object.name) else {
        return Err(Refusal::not_found());
    };
    let mut rows: Vec<(&str, &Row)> = table
        .rows
        .iter()
        .filter(|(_, row)| graves == Graves::Shown || !row.deleted)
        .filter(|(id, row)| {
            query
                .filter
                .as_ref()
                .is_none_or(|filter| holds(crm, object, id, row, filter))
        })
        .map(|(id, row)| (id.as_str(), row))
        .collect();
    rows.sort_by(|one, other| {
        let by_order = query
            .order
            .iter()
            .map(|order| compare(crm, object, *one, *other, order));
        by_order
            .fold(Ordering::Equal, Ordering::then)
            .then_with(|| one.0.cmp(other.0))
    });
    let rows = rows
        .into_iter()
        .skip(query.offset)
        .take(query.limit.unwrap_or(usize::MAX));
    let fields = match &query.select {
        Select::Count => {
            return Ok(Reply::json(
                200,
                json!({ "totalSize": rows.count(), "done": true, "records": [] }),
            ));
        }
        Select::Fields(fields) => fields,
    };
    for path in fields {
        resolve(text, object, path)?;
    }
    let records: Vec<Value> = rows.map(|(id, row)| shown(crm, object, id, row, fields)).collect();
    let size = page_size(call);
    if records.len() <= size {
        return Ok(page(&records, 0, size, ""));
    }
    world.cursors.opened += 1;
    let cursor = ids::make("0r8", world.cursors.opened);
    let reply = page(&records, 0, size, &cursor);
    if world.cursors.open.len() >= CURSORS_MAX {
        world.cursors.open.pop_front();
    }
    world.cursors.open.push_back((cursor, size, records));
    Ok(reply)
}

/// `GET /query/{locator}`.
pub(super) fn more(world: &World, locator: &str) -> Result<Reply, Refusal> {
    let gone = || Refusal::bad("INVALID_QUERY_LOCATOR", "invalid query locator");
    let (id, offset) = locator.split_once('-').ok_or_else(gone)?;
    let offset: usize = offset.parse().map_err(|_| gone())?;
    let (_, size, records) = world
        .cursors
        .open
        .iter()
        .find(|(open, ..)| open == id)
        .ok_or_else(gone)?;
    if offset >= records.len() {
        return Err(gone());
    }
    Ok(page(records, offset, *size, id))
}

fn page_size(call: &Call) -> usize {
    let options = call.header("sforce-query-options").unwrap_or("");
    let asked = options
        .split(',')
        .find_map(|part| part.trim().strip_prefix("batchSize=")?.trim().parse().ok());
    asked.unwrap_or(PAGE_MAX).clamp(PAGE_MIN, PAGE_MAX)
}

fn page(records: &[Value], offset: usize, size: usize, cursor: &str) -> Reply {
    let end = records.len().min(offset.saturating_add(size));
    let done = end == records.len();
    let rows = records.get(offset..end).unwrap_or_default();
    let mut body = json!({ "totalSize": records.len(), "done": done, "records": rows });
    if !done {
        body["nextRecordsUrl"] = json!(format!("/services/data/{VERSION}/query/{cursor}-{end}"));
    }
    Reply::json(200, body)
}

/// The vendor's three lines: the query, a caret, the place.
fn pointed(text: &str, word: &str, message: &str) -> String {
    let column = text.find(word).unwrap_or(0) + 1;
    format!("\n{text}\n{:>column$}\nERROR at Row:1:Column:{column}\n{message}", "^")
}

fn no_object(text: &str, name: &str) -> Refusal {
    let message = format!(
        "sObject type '{name}' is not supported. If you are attempting to use a custom object, be sure to append the '__c' after the entity name."
    );
    Refusal::bad("INVALID_TYPE", pointed(text, name, &message))
}

/// A field of the object, or of the one record a reference of it points to.
enum Path {
    Own(&'static Field),
    Parent {
        reference: &'static Field,
        targets: &'static [&'static str],
        field: &'static Field,
    },
}

fn path_of(object: &Object, path: &str) -> Option<Path> {
    let Some((parent, name)) = path.split_once('.') else {
        return object.field(path).map(Path::Own);
    };
    let is_parent = |field: &&'static Field| field.relationship().is_some_and(|own| own.eq_ignore_ascii_case(parent));
    let reference = object.all().find(is_parent)?;
    let Kind::Reference(targets) = reference.kind else {
        return None;
    };
    let field = targets
        .iter()
        .filter_map(|target| schema::object(target))
        .find_map(|target| target.field(name))?;
    Some(Path::Parent {
        reference,
        targets,
        field,
    })
}

fn resolve(text: &str, object: &Object, path: &str) -> Result<Path, Refusal> {
    // A prefix with the object's own name means the object itself.
    let path = path
        .strip_prefix(object.name)
        .and_then(|rest| rest.strip_prefix('.'))
        .unwrap_or(path);
    path_of(object, path).ok_or_else(|| {
        let message = format!(
            "No such column '{path}' on entity '{}'. If you are attempting to use a custom field, be sure to append the \
             '__c' after the custom field name.",
            object.name
        );
        Refusal::bad("INVALID_FIELD", pointed(text, path, &message))
    })
}

fn known(text: &str, object: &Object, expr: &Expr) -> Result<(), Refusal> {
    match expr {
        Expr::And(parts) | Expr::Or(parts) => parts.iter().try_for_each(|part| known(text, object, part)),
        Expr::Not(inner) => known(text, object, inner),
        Expr::Is { path, values, .. } => {
            let kind = match resolve(text, object, path)? {
                Path::Own(field) | Path::Parent { field, .. } => field.kind,
            };
            let wrong = values.iter().any(|value| !fits(kind, value));
            if wrong || matches!(kind, Kind::Long(_)) {
                let message = format!("value of filter criterion for field '{path}' must match the type of the field");
                return Err(Refusal::bad("INVALID_FIELD", pointed(text, path, &message)));
            }
            Ok(())
        }
    }
}

fn fits(kind: Kind, value: &Literal) -> bool {
    match (kind, value) {
        (_, Literal::Null) => true,
        (Kind::Number | Kind::Integer | Kind::Currency | Kind::Percent, Literal::Number(_)) => true,
        (Kind::Boolean, Literal::Boolean(_)) => true,
        (Kind::Date, Literal::Time(text)) => text.len() == 10,
        (Kind::DateTime, Literal::Time(text)) => text.len() > 10,
        (
            Kind::Id
            | Kind::Reference(_)
            | Kind::Text(_)
            | Kind::Long(_)
            | Kind::Email
            | Kind::Phone
            | Kind::Url
            | Kind::Picklist(..),
            Literal::Text(_),
        ) => true,
        (
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
            | Kind::DateTime,
            Literal::Text(_) | Literal::Number(_) | Literal::Boolean(_) | Literal::Time(_),
        ) => false,
    }
}

fn value_at(crm: &Crm, object: &Object, id: &str, row: &Row, path: &str) -> Value {
    let path = path
        .strip_prefix(object.name)
        .and_then(|rest| rest.strip_prefix('.'))
        .unwrap_or(path);
    match path_of(object, path) {
        None => Value::Null,
        Some(Path::Own(field)) => records::value(id, row, field.name),
        Some(Path::Parent {
            reference,
            targets,
            field,
        }) => {
            let parent = records::value(id, row, reference.name);
            let Some(parent_id) = parent.as_str() else {
                return Value::Null;
            };
            let found = targets.iter().find_map(|target| crm.row(target, parent_id));
            found
                .map(|row| records::value(parent_id, row, field.name))
                .unwrap_or_default()
        }
    }
}

fn holds(crm: &Crm, object: &Object, id: &str, row: &Row, expr: &Expr) -> bool {
    match expr {
        Expr::And(parts) => parts.iter().all(|part| holds(crm, object, id, row, part)),
        Expr::Or(parts) => parts.iter().any(|part| holds(crm, object, id, row, part)),
        Expr::Not(inner) => !holds(crm, object, id, row, inner),
        Expr::Is { path, op, values } => {
            let actual = value_at(crm, object, id, row, path);
            let order = |literal: &Literal| order_of(&actual, &literal.to_value());
            let first = values.first().unwrap_or(&Literal::Null);
            let ranked = |accepted: &[Ordering]| {
                !actual.is_null()
                    && *first != Literal::Null
                    && order(first).is_some_and(|order| accepted.contains(&order))
            };
            let is_one = || values.iter().any(|value| order(value) == Some(Ordering::Equal));
            match op {
                Op::Equal | Op::In => is_one(),
                Op::NotEqual | Op::NotIn => !is_one(),
                Op::Less => ranked(&[Ordering::Less]),
                Op::LessOrEqual => ranked(&[Ordering::Less, Ordering::Equal]),
                Op::Greater => ranked(&[Ordering::Greater]),
                Op::GreaterOrEqual => ranked(&[Ordering::Greater, Ordering::Equal]),
                Op::Like => matches!(first, Literal::Text(pattern) if like(actual.as_str().unwrap_or(""), pattern)),
            }
        }
    }
}

/// How two values stand to each other. Texts compare without case, ids in their long form.
fn order_of(one: &Value, other: &Value) -> Option<Ordering> {
    match (one, other) {
        (Value::Null, Value::Null) => Some(Ordering::Equal),
        (Value::String(one), Value::String(other)) => {
            // INVARIANT (ids tell case apart): what reads as an id on both sides is compared exactly.
            if let (Some(one), Some(other)) = (ids::canonical(one), ids::canonical(other)) {
                return Some(one.cmp(&other));
            }
            Some(one.to_lowercase().cmp(&other.to_lowercase()))
        }
        (Value::Bool(one), Value::Bool(other)) => Some(one.cmp(other)),
        (Value::Number(one), Value::Number(other)) => one.as_f64()?.partial_cmp(&other.as_f64()?),
        (
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_),
        ) => None,
    }
}

/// `%` stands for any text, `_` for one letter. Linear in both: the last `%` is the only place to go back to.
fn like(text: &str, pattern: &str) -> bool {
    let text: Vec<char> = text.to_lowercase().chars().collect();
    let pattern: Vec<char> = pattern.to_lowercase().chars().collect();
    let (mut at, mut in_pattern) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while at < text.len() {
        match pattern.get(in_pattern) {
            Some('%') => {
                in_pattern += 1;
                back = Some((in_pattern, at));
            }
            Some(letter) if *letter == '_' || text.get(at) == Some(letter) => {
                at += 1;
                in_pattern += 1;
            }
            Some(_) | None => {
                let Some((after, from)) = back else { return false };
                in_pattern = after;
                at = from + 1;
                back = Some((after, at));
            }
        }
    }
    pattern
        .get(in_pattern..)
        .is_none_or(|rest| rest.iter().all(|letter| *letter == '%'))
}

fn compare(crm: &Crm, object: &Object, one: (&str, &Row), other: (&str, &Row), order: &Order) -> Ordering {
    let left = value_at(crm, object, one.0, one.1, &order.path);
    let right = value_at(crm, object, other.0, other.1, &order.path);
    match (left.is_null(), right.is_null()) {
        (true, true) => Ordering::Equal,
        (true, false) => {
            if order.nulls_last {
                Ordering::Greater
            } else {
                Ordering::Less
            }
        }
        (false, true) => {
            if order.nulls_last {
                Ordering::Less
            } else {
                Ordering::Greater
            }
        }
        (false, false) => {
            let ordering = order_of(&left, &right).unwrap_or(Ordering::Equal);
            if order.descending { ordering.reverse() } else { ordering }
        }
    }
}

fn shown(crm: &Crm, object: &'static Object, id: &str, row: &Row, fields: &[String]) -> Value {
    let mut record = Map::new();
    record.insert(
        "attributes".to_owned(),
        json!({ "type": object.name, "url": records::url_of(object, id) }),
    );
    for path in fields {
        match path_of(
            object,
            path.strip_prefix(object.name)
                .and_then(|rest| rest.strip_prefix('.'))
                .unwrap_or(path),
        ) {
            None => {}
            Some(Path::Own(field)) => {
                record.insert(field.name.to_owned(), records::value(id, row, field.name));
            }
            Some(Path::Parent {
                reference,
                targets,
                field,
            }) => {
                let relation = reference.relationship().unwrap_or(reference.name);
                let parent = records::value(id, row, reference.name);
                let found = parent.as_str().and_then(|parent_id| {
                    targets.iter().find_map(|target| {
                        let target = schema::object(target)?;
                        Some((target, parent_id, crm.row(target.name, parent_id)?))
                    })
                });
                let Some((target, parent_id, parent_row)) = found else {
                    record.insert(relation.to_owned(), Value::Null);
                    continue;
                };
                let start =
                    || json!({ "attributes": { "type": target.name, "url": records::url_of(target, parent_id) } });
                let nested = record.entry(relation.to_owned()).or_insert_with(start);
                nested[field.name] = records::value(parent_id, parent_row, field.name);
            }
        }
    }
    Value::Object(record)
}

#[cfg(test)]
mod tests {
    use super::like;

    #[test]
    fn like_knows_both_wildcards_and_no_case() {
        assert!(like("Umbrella GmbH", "umb%"));
        assert!(like("Umbrella GmbH", "%gmbh"));
        assert!(like("Umbrella GmbH", "%bre%h"));
        assert!(like("cat", "c_t"));
        assert!(!like("cart", "c_t"));
        assert!(!like("", "_"));
        assert!(like("", "%"));
    }
}
