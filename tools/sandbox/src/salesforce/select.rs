//! What a query means for an object: paths resolved to fields, conditions that hold or not, records as they are shown.

mod compare;

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::errors::Refusal;
use super::records;
use super::schema::{Field, Kind, Object, Schema};
use super::soql::{Expr, Function, Item, Literal, Op, Order, Query};
use crate::world::{Crm, Row};
use compare::{fits, order_of};

/// Hops from an object to the field of a parent, the vendor's limit.
const HOPS_MAX: usize = 5;

/// Where records and their objects are found.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) crm: &'a Crm,
    pub(super) schema: &'a Schema,
    /// The text of the query, for messages.
    pub(super) text: &'a str,
}

/// A field of an object, or of a parent reached over references.
#[derive(Debug, Clone)]
pub(super) struct Path {
    hops: Vec<&'static Field>,
    pub(super) field: &'static Field,
}

/// A condition with resolved paths.
#[derive(Debug)]
pub(super) enum Cond {
    And(Vec<Cond>),
    Or(Vec<Cond>),
    Not(Box<Cond>),
    Is { path: Path, op: Op, values: Vec<Value> },
}

/// A sort with its resolved path.
#[derive(Debug)]
pub(super) struct Sort {
    path: Path,
    descending: bool,
    nulls_last: bool,
}

/// One column of what is shown.
#[derive(Debug)]
pub(super) enum Column {
    Path(Path),
    Children {
        name: &'static str,
        object: &'static Object,
        reference: &'static Field,
        query: Box<Plan>,
    },
    TypeOf {
        reference: &'static Field,
        whens: Vec<(&'static Object, Vec<Path>)>,
        otherwise: Vec<String>,
    },
    Aggregate {
        function: Function,
        path: Path,
        name: String,
    },
}

/// A query with everything resolved.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) object: &'static Object,
    pub(super) columns: Vec<Column>,
    pub(super) filter: Option<Cond>,
    pub(super) group: Vec<Path>,
    sorts: Vec<Sort>,
    pub(super) limit: usize,
    pub(super) offset: usize,
}

/// The vendor's three lines: the query, a caret, the place.
fn pointed(text: &str, word: &str, message: &str) -> String {
    let column = text.find(word).unwrap_or(0) + 1;
    format!("\n{text}\n{:>column$}\nERROR at Row:1:Column:{column}\n{message}", "^")
}

pub(super) fn no_object(text: &str, name: &str) -> Refusal {
    let message = format!(
        "sObject type '{name}' is not supported. If you are attempting to use a custom object, be sure to append the '__c' after the entity name. Please reference your WSDL or the describe call for the appropriate names."
    );
    Refusal::bad("INVALID_TYPE", pointed(text, name, &message))
}

fn no_field(place: Place<'_>, object: &Object, path: &str) -> Refusal {
    let message = format!(
        "No such column '{path}' on entity '{}'. If you are attempting to use a custom field, be sure to append the '__c' after the custom field name. Please reference your WSDL or the describe call for the appropriate names.",
        object.name
    );
    Refusal::bad("INVALID_FIELD", pointed(place.text, path, &message))
}

fn no_relation(place: Place<'_>, name: &str) -> Refusal {
    let message = format!(
        "Didn't understand relationship '{name}' in field path. If you are attempting to use a custom relationship, be sure to append the '__r' after the custom relationship name. Please reference your WSDL or the describe call for the appropriate names."
    );
    Refusal::bad("INVALID_FIELD", pointed(place.text, name, &message))
}

fn reference(object: &'static Object, name: &str) -> Option<&'static Field> {
    object
        .all()
        .find(|field| field.relationship().is_some_and(|own| own.eq_ignore_ascii_case(name)))
}

fn path(place: Place<'_>, object: &'static Object, text: &str) -> Result<Path, Refusal> {
    let mut parts: Vec<&str> = text.split('.').collect();
    // A prefix with the object's own name means the object itself.
    if parts.len() > 1
        && parts
            .first()
            .is_some_and(|first| first.eq_ignore_ascii_case(object.name))
    {
        parts.remove(0);
    }
    let last = parts.pop().unwrap_or("");
    if parts.len() > HOPS_MAX {
        return Err(no_relation(place, text));
    }
    let mut objects = vec![object];
    let mut hops = Vec::new();
    for part in parts {
        let found = objects.iter().find_map(|object| reference(object, part));
        let hop = found.ok_or_else(|| no_relation(place, part))?;
        objects = hop
            .targets()
            .iter()
            .filter_map(|name| place.schema.object(name))
            .collect();
        hops.push(hop);
    }
    let field = objects.iter().find_map(|object| object.field(last));
    let field = field.ok_or_else(|| no_field(place, objects.first().copied().unwrap_or(object), last))?;
    Ok(Path { hops, field })
}

/// Resolves a condition, or says which field there is not.
pub(super) fn cond(place: Place<'_>, object: &'static Object, expr: &Expr) -> Result<Cond, Refusal> {
    let all = |parts: &[Expr]| {
        parts
            .iter()
            .map(|part| cond(place, object, part))
            .collect::<Result<_, _>>()
    };
    Ok(match expr {
        Expr::And(parts) => Cond::And(all(parts)?),
        Expr::Or(parts) => Cond::Or(all(parts)?),
        Expr::Not(inner) => Cond::Not(Box::new(cond(place, object, inner)?)),
        Expr::Is { path: text, op, values } => {
            let path = path(place, object, text)?;
            let kind = path.field.kind;
            let wrong = values.iter().any(|value| !fits(kind, value));
            if wrong || matches!(kind, Kind::Long(length) if length > FILTERABLE_MAX) {
                let message = format!("value of filter criterion for field '{text}' must match the type of the field");
                return Err(Refusal::bad("INVALID_FIELD", pointed(place.text, text, &message)));
            }
            Cond::Is {
                path,
                op: *op,
                values: values.iter().map(Literal::to_value).collect(),
            }
        }
    })
}

/// Texts longer than this cannot be filtered by.
const FILTERABLE_MAX: usize = 255;

/// Resolves a query.
pub(super) fn plan(place: Place<'_>, query: &Query, object: &'static Object, items: &[Item]) -> Result<Plan, Refusal> {
    let filter = query
        .filter
        .as_ref()
        .map(|filter| cond(place, object, filter))
        .transpose()?;
    let sort = |order: &Order| {
        Ok(Sort {
            path: path(place, object, &order.path)?,
            descending: order.descending,
            nulls_last: order.nulls_last,
        })
    };
    let sorts = query.order.iter().map(sort).collect::<Result<_, Refusal>>()?;
    let group: Vec<Path> = query
        .group
        .iter()
        .map(|name| path(place, object, name))
        .collect::<Result<_, _>>()?;
    let mut unnamed = 0;
    let columns = items
        .iter()
        .map(|item| column(place, object, item, &mut unnamed))
        .collect::<Result<Vec<_>, _>>()?;
    let grouped = |path: &Path| group.iter().any(|one| one.field.name == path.field.name);
    let aggregates = !group.is_empty() || columns.iter().any(|column| matches!(column, Column::Aggregate { .. }));
    if aggregates
        && let Some(Column::Path(path)) = columns.iter().find(|column| {
            !matches!(column, Column::Aggregate { .. }) && !matches!(column, Column::Path(path) if grouped(path))
        })
    {
        let message = format!("Field must be grouped or aggregated: {}", path.field.name);
        return Err(Refusal::bad(
            "MALFORMED_QUERY",
            pointed(place.text, path.field.name, &message),
        ));
    }
    Ok(Plan {
        object,
        columns,
        filter,
        group,
        sorts,
        limit: query.limit.unwrap_or(usize::MAX),
        offset: query.offset,
    })
}

fn column(place: Place<'_>, object: &'static Object, item: &Item, unnamed: &mut usize) -> Result<Column, Refusal> {
    Ok(match item {
        Item::Field(name) => Column::Path(path(place, object, name)?),
        Item::Children(query) => {
            let (child, reference) = place
                .schema
                .children(object, &query.object)
                .ok_or_else(|| no_relation(place, &query.object))?;
            let super::soql::Select::Items(items) = &query.select else {
                return Err(Refusal::bad("MALFORMED_QUERY", "a child query cannot count"));
            };
            Column::Children {
                name: reference.children.unwrap_or(""),
                object: child,
                reference,
                query: Box::new(plan(place, query, child, items)?),
            }
        }
        Item::TypeOf {
            relation,
            whens,
            otherwise,
        } => {
            let reference = reference(object, relation).ok_or_else(|| no_relation(place, relation))?;
            let mut resolved = Vec::new();
            for (name, fields) in whens {
                let target = place.schema.object(name).ok_or_else(|| no_object(place.text, name))?;
                let paths = fields
                    .iter()
                    .map(|name| path(place, target, name))
                    .collect::<Result<_, _>>()?;
                resolved.push((target, paths));
            }
            Column::TypeOf {
                reference,
                whens: resolved,
                otherwise: otherwise.clone(),
            }
        }
        Item::Aggregate {
            function,
            path: text,
            alias,
        } => {
            let name = alias.clone().unwrap_or_else(|| {
                let name = format!("expr{unnamed}");
                *unnamed += 1;
                name
            });
            Column::Aggregate {
                function: *function,
                path: path(place, object, text)?,
                name,
            }
        }
    })
}

impl Path {
    /// The value for a record.
    pub(super) fn value(&self, place: Place<'_>, id: &str, row: &Row) -> Value {
        let Some((first, rest)) = self.hops.split_first() else {
            return records::value(id, row, self.field);
        };
        let Value::String(mut at) = records::value(id, row, first) else {
            return Value::Null;
        };
        let Some(mut row) = parent(place, &at).map(|(_, row)| row) else {
            return Value::Null;
        };
        for hop in rest {
            let Value::String(next) = records::value(&at, row, hop) else {
                return Value::Null;
            };
            at = next;
            match parent(place, &at) {
                Some((_, found)) => row = found,
                None => return Value::Null,
            }
        }
        records::value(&at, row, self.field)
    }

    /// The name of the column in a CSV.
    pub(super) fn header(&self) -> String {
        let hops = self.hops.iter().filter_map(|hop| hop.relationship());
        hops.chain([self.field.name.to_owned()]).collect::<Vec<_>>().join(".")
    }
}

fn parent<'a>(place: Place<'a>, id: &str) -> Option<(&'static Object, &'a Row)> {
    let object = place.schema.object_of_id(id)?;
    Some((object, place.crm.row(object.name, id)?))
}

impl Sort {
    fn compare(&self, place: Place<'_>, one: (&str, &Row), other: (&str, &Row)) -> Ordering {
        let left = self.path.value(place, one.0, one.1);
        let right = self.path.value(place, other.0, other.1);
        let nulls = if self.nulls_last {
            Ordering::Greater
        } else {
            Ordering::Less
        };
        match (left.is_null(), right.is_null()) {
            (true, true) => Ordering::Equal,
            (true, false) => nulls,
            (false, true) => nulls.reverse(),
            (false, false) => {
                let ordering = order_of(&left, &right).unwrap_or(Ordering::Equal);
                if self.descending { ordering.reverse() } else { ordering }
            }
        }
    }
}

impl Plan {
    /// The rows that are found, in their order, before they are cut by limit and offset.
    pub(super) fn found<'a>(
        &self,
        place: Place<'a>,
        rows: impl Iterator<Item = (&'a str, &'a Row)>,
    ) -> Vec<(&'a str, &'a Row)> {
        let mut found: Vec<(&str, &Row)> = rows
            .filter(|(id, row)| self.filter.as_ref().is_none_or(|filter| filter.holds(place, id, row)))
            .collect();
        if !self.sorts.is_empty() {
            // A stable sort, so that rows which are the same to it stay in the order of their ids.
            found.sort_by(|one, other| {
                let orders = self.sorts.iter().map(|sort| sort.compare(place, *one, *other));
                orders.fold(Ordering::Equal, Ordering::then)
            });
        }
        found
    }

    pub(super) fn is_aggregate(&self) -> bool {
        !self.group.is_empty()
            || self
                .columns
                .iter()
                .any(|column| matches!(column, Column::Aggregate { .. }))
    }

    /// The rows of a grouped query.
    pub(super) fn aggregated(&self, place: Place<'_>, rows: &[(&str, &Row)]) -> Vec<Value> {
        let mut groups: BTreeMap<String, Vec<(&str, &Row)>> = BTreeMap::new();
        if self.group.is_empty() {
            groups.insert(String::new(), rows.to_vec());
        }
        for (id, row) in rows.iter().filter(|_| !self.group.is_empty()) {
            let key: Vec<Value> = self.group.iter().map(|path| path.value(place, id, row)).collect();
            groups.entry(Value::from(key).to_string()).or_default().push((id, row));
        }
        let shown = groups.values().map(|rows| {
            let mut record = Map::new();
            record.insert("attributes".to_owned(), json!({ "type": "AggregateResult" }));
            for column in &self.columns {
                match column {
                    Column::Aggregate { function, path, name } => {
                        let values = rows.iter().map(|(id, row)| path.value(place, id, row));
                        record.insert(
                            name.clone(),
                            reduced(*function, values.filter(|value| !value.is_null()).collect()),
                        );
                    }
                    Column::Path(path) => {
                        let value = rows.first().map(|(id, row)| path.value(place, id, row));
                        record.insert(path.field.name.to_owned(), value.unwrap_or_default());
                    }
                    Column::Children { .. } | Column::TypeOf { .. } => {}
                }
            }
            Value::Object(record)
        });
        shown.collect()
    }

    /// The records for these rows, with their children.
    pub(super) fn shown(&self, place: Place<'_>, rows: &[(&str, &Row)]) -> Vec<Value> {
        let families: Vec<BTreeMap<String, Vec<Value>>> =
            self.columns.iter().map(|column| family(place, column, rows)).collect();
        rows.iter()
            .map(|(id, row)| {
                let mut record = opened(self.object, id);
                for (column, family) in self.columns.iter().zip(&families) {
                    show(place, &mut record, column, family, id, row);
                }
                Value::Object(record)
            })
            .collect()
    }
}

fn opened(object: &Object, id: &str) -> Map<String, Value> {
    let attributes = json!({ "type": object.name, "url": records::url_of(object, id) });
    Map::from_iter([("attributes".to_owned(), attributes)])
}

/// The children of all these parents, by parent.
fn family(place: Place<'_>, column: &Column, parents: &[(&str, &Row)]) -> BTreeMap<String, Vec<Value>> {
    let Column::Children {
        object,
        reference,
        query,
        ..
    } = column
    else {
        return BTreeMap::new();
    };
    let Some(table) = place.crm.table(object.name) else {
        return BTreeMap::new();
    };
    let wanted: std::collections::BTreeSet<&str> = parents.iter().map(|(id, _)| *id).collect();
    let mut families: BTreeMap<String, Vec<(&str, &Row)>> = BTreeMap::new();
    for (id, row) in query.found(place, table.after(None)) {
        if let Value::String(parent) = records::value(id, row, reference)
            && wanted.contains(parent.as_str())
        {
            families.entry(parent).or_default().push((id, row));
        }
    }
    let cut = |rows: Vec<(&str, &Row)>| -> Vec<Value> {
        let rows: Vec<_> = rows.into_iter().skip(query.offset).take(query.limit).collect();
        query.shown(place, &rows)
    };
    families.into_iter().map(|(parent, rows)| (parent, cut(rows))).collect()
}

fn show(
    place: Place<'_>,
    record: &mut Map<String, Value>,
    column: &Column,
    family: &BTreeMap<String, Vec<Value>>,
    id: &str,
    row: &Row,
) {
    match column {
        Column::Path(path) => put(place, record, &path.hops, path.field, id, row),
        Column::Children { name, .. } => {
            let children = family.get(id).filter(|children| !children.is_empty());
            let envelope =
                children.map(|children| json!({ "totalSize": children.len(), "done": true, "records": children }));
            record.insert((*name).to_owned(), envelope.unwrap_or_default());
        }
        Column::TypeOf {
            reference,
            whens,
            otherwise,
        } => {
            let relation = reference.relationship().unwrap_or_default();
            let target = records::value(id, row, reference);
            let found = target.as_str().and_then(|id| Some((id, parent(place, id)?)));
            let nested = found.map(|(id, (object, row))| {
                let mut nested = opened(object, id);
                match whens.iter().find(|(one, _)| one.name == object.name) {
                    Some((_, paths)) => {
                        for path in paths {
                            put(place, &mut nested, &path.hops, path.field, id, row);
                        }
                    }
                    None => {
                        for field in otherwise.iter().filter_map(|name| object.field(name)) {
                            nested.insert(field.name.to_owned(), records::value(id, row, field));
                        }
                    }
                }
                Value::Object(nested)
            });
            record.insert(relation, nested.unwrap_or_default());
        }
        Column::Aggregate { .. } => {}
    }
}

fn put(
    place: Place<'_>,
    record: &mut Map<String, Value>,
    hops: &[&'static Field],
    field: &'static Field,
    id: &str,
    row: &Row,
) {
    let Some((hop, rest)) = hops.split_first() else {
        record.insert(field.name.to_owned(), records::value(id, row, field));
        return;
    };
    let relation = hop.relationship().unwrap_or_default();
    let target = records::value(id, row, hop);
    let found = target.as_str().and_then(|id| Some((id, parent(place, id)?)));
    let Some((id, (object, row))) = found else {
        record.insert(relation, Value::Null);
        return;
    };
    let nested = record
        .entry(relation)
        .or_insert_with(|| Value::Object(opened(object, id)));
    if let Value::Object(nested) = nested {
        put(place, nested, rest, field, id, row);
    }
}

fn reduced(function: Function, values: Vec<Value>) -> Value {
    let numbers = || values.iter().filter_map(Value::as_f64);
    let best = |wanted: Ordering| {
        let mut best: Option<&Value> = None;
        for value in &values {
            if best.is_none_or(|best| order_of(value, best) == Some(wanted)) {
                best = Some(value);
            }
        }
        best.cloned().unwrap_or_default()
    };
    match function {
        Function::Count => Value::from(values.len()),
        Function::CountDistinct => {
            let distinct: std::collections::BTreeSet<String> = values.iter().map(Value::to_string).collect();
            Value::from(distinct.len())
        }
        Function::Sum if values.is_empty() => Value::Null,
        Function::Sum => Value::from(numbers().sum::<f64>()),
        Function::Average if values.is_empty() => Value::Null,
        Function::Average => Value::from(numbers().sum::<f64>() / values.len() as f64),
        Function::Least => best(Ordering::Less),
        Function::Greatest => best(Ordering::Greater),
    }
}
