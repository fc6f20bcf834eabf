//! Search: groups of filters, one sort, pages up to ten thousand results.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::{Value, json};

use super::errors::Refusal;
use super::schema::{Kind, Type};
use super::{body, records};
use crate::wire::{Call, Reply};
use crate::world::{Row, World};

/// Results on one page, and without a wish.
const PAGE_MAX: usize = 200;
const PAGE_DEFAULT: usize = 10;
/// Results one query can page through.
const RESULTS_MAX: usize = 10_000;
/// Groups in one query, filters in one group, filters in all.
const GROUPS_MAX: usize = 5;
const FILTERS_MAX: usize = 6;
const FILTERS_TOTAL_MAX: usize = 18;
/// Values of one IN filter. The vendor's number is not documented for this version; 100 is its older one.
const VALUES_MAX: usize = 100;

struct Filter {
    property: String,
    kind: Kind,
    op: Op,
    values: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Op {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Between,
    In,
    NotIn,
    Has,
    HasNot,
    Token,
    NotToken,
}

/// `POST /{type}/search`.
pub(super) fn post(world: &World, call: &Call, of: &'static Type) -> Result<Reply, Refusal> {
    let body = body(call)?;
    let groups = groups(of, &body)?;
    let limit = match body.get("limit") {
        None | Some(Value::Null) => PAGE_DEFAULT,
        Some(limit) => within(limit)?,
    };
    let after = match body.get("after") {
        None | Some(Value::Null) => 0,
        Some(Value::String(text)) if text.is_empty() => 0,
        Some(after) => {
            let number = after
                .as_u64()
                .or_else(|| after.as_str().and_then(|text| text.parse().ok()));
            let number = number.and_then(|number| usize::try_from(number).ok());
            number.ok_or_else(|| Refusal::invalid("`after` must be an integer"))?
        }
    };
    if after.saturating_add(limit) > RESULTS_MAX {
        return Err(Refusal::invalid(format!(
            "A search cannot page past {RESULTS_MAX} results"
        )));
    }
    let wanted: Option<Vec<String>> = body
        .get("properties")
        .and_then(Value::as_array)
        .map(|names| {
            names
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .filter(|names| !names.is_empty());
    let text = body.get("query").and_then(Value::as_str).map(str::to_lowercase);
    let lag_end = world
        .limits
        .hubspot_search_lag
        .and_then(|lag| world.now().checked_sub(lag).ok());
    let table = world.hubspot.table(of.name);
    // Every group asks for ids beyond one: rows up to the least of them need not be looked at.
    let floor = groups
        .iter()
        .map(|group| group.iter().find_map(Filter::floor))
        .collect::<Option<Vec<&str>>>()
        .and_then(|floors| {
            floors
                .into_iter()
                .min_by_key(|id| id.parse::<u64>().unwrap_or(u64::MAX))
        });
    let sort = sort(of, &body)?.filter(|(name, _, down)| *down || name != "hs_object_id");
    // Paging by id is asked for thousands of times over: nothing but the page is put together then.
    let by_id = sort.is_none() && text.is_none() && lag_end.is_none() && floor.is_some();
    if by_id && groups.len() == 1 && groups.iter().all(|group| group.len() == 1) {
        let rows = || table.into_iter().flat_map(|table| table.after(floor));
        let total = rows().count();
        let page = rows().skip(after).take(limit);
        let page = page.map(|(id, row)| (id, Cow::Borrowed(row)));
        return Ok(answer(of, page, wanted.as_deref(), after + limit, total));
    }
    let rows = table.into_iter().flat_map(|table| table.after(floor));
    let mut found: Vec<(&str, Cow<'_, Row>)> = rows
        .filter_map(|(id, row)| Some((id, indexed(world, row, lag_end)?)))
        .filter(|(_, row)| text.as_ref().is_none_or(|text| mentions(row, text)))
        .filter(|(id, row)| {
            groups.is_empty()
                || groups
                    .iter()
                    .any(|group| group.iter().all(|filter| filter.holds(of, id, row)))
        })
        .collect();
    if let Some((property, kind, descending)) = sort {
        found.sort_by(|one, other| {
            let left = records::value(of, one.0, &one.1, &property);
            let right = records::value(of, other.0, &other.1, &property);
            // Records without the property come last in both directions.
            match (left.as_str(), right.as_str()) {
                (Some(left), Some(right)) => {
                    let ordering = order(kind, left, right);
                    if descending { ordering.reverse() } else { ordering }
                }
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => Ordering::Equal,
            }
        });
    }
    let total = found.len();
    let page = found.into_iter().skip(after).take(limit);
    Ok(answer(of, page, wanted.as_deref(), after + limit, total))
}

fn answer<'a>(
    of: &Type,
    page: impl Iterator<Item = (&'a str, Cow<'a, Row>)>,
    wanted: Option<&[String]>,
    next: usize,
    total: usize,
) -> Reply {
    let results: Vec<Value> = page.map(|(id, row)| records::shown_row(of, id, &row, wanted)).collect();
    let mut answer = json!({ "total": total, "results": results });
    if next < total {
        answer["paging"] = json!({ "next": { "after": next.to_string() } });
    }
    Reply::json(200, answer)
}

/// A row as the index knows it: with a lag, as it stood that long ago.
fn indexed<'a>(world: &World, row: &'a Row, lag_end: Option<jiff::Timestamp>) -> Option<Cow<'a, Row>> {
    match lag_end {
        Some(end) if row.modified > end => world.as_of(row, end).map(Cow::Owned),
        Some(_) | None => Some(Cow::Borrowed(row)),
    }
}

fn within(limit: &Value) -> Result<usize, Refusal> {
    let number = limit
        .as_u64()
        .or_else(|| limit.as_str().and_then(|text| text.parse().ok()));
    match number.and_then(|number| usize::try_from(number).ok()) {
        Some(limit) if (1..=PAGE_MAX).contains(&limit) => Ok(limit),
        Some(_) | None => Err(Refusal::invalid(format!("`limit` must be between 1 and {PAGE_MAX}"))),
    }
}

fn mentions(row: &Row, text: &str) -> bool {
    row.fields
        .values()
        .filter_map(Value::as_str)
        .any(|value| value.to_lowercase().contains(text))
}

fn groups(of: &Type, body: &Value) -> Result<Vec<Vec<Filter>>, Refusal> {
    let lists = body
        .get("filterGroups")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let mut groups = Vec::new();
    for group in &lists {
        let filters = group
            .get("filters")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        if filters.len() > FILTERS_MAX {
            return Err(Refusal::invalid(format!(
                "A group may have at most {FILTERS_MAX} filters"
            )));
        }
        groups.push(
            filters
                .iter()
                .map(|one| filter(of, one))
                .collect::<Result<Vec<_>, _>>()?,
        );
    }
    if groups.len() > GROUPS_MAX {
        return Err(Refusal::invalid(format!(
            "A search may have at most {GROUPS_MAX} filter groups"
        )));
    }
    if groups.iter().map(Vec::len).sum::<usize>() > FILTERS_TOTAL_MAX {
        return Err(Refusal::invalid(format!(
            "A search may have at most {FILTERS_TOTAL_MAX} filters"
        )));
    }
    Ok(groups)
}

fn filter(of: &Type, sent: &Value) -> Result<Filter, Refusal> {
    let name = sent.get("propertyName").and_then(Value::as_str).unwrap_or("");
    let property = of.property(name).ok_or_else(|| {
        Refusal::property(
            name,
            "PROPERTY_DOESNT_EXIST",
            format!("There was a problem with the request: no property {name}"),
        )
    })?;
    let operator = sent.get("operator").and_then(Value::as_str).unwrap_or("");
    let op = match operator {
        "EQ" => Op::Equal,
        "NEQ" => Op::NotEqual,
        "LT" => Op::Less,
        "LTE" => Op::LessOrEqual,
        "GT" => Op::Greater,
        "GTE" => Op::GreaterOrEqual,
        "BETWEEN" => Op::Between,
        "IN" => Op::In,
        "NOT_IN" => Op::NotIn,
        "HAS_PROPERTY" => Op::Has,
        "NOT_HAS_PROPERTY" => Op::HasNot,
        "CONTAINS_TOKEN" => Op::Token,
        "NOT_CONTAINS_TOKEN" => Op::NotToken,
        other => return Err(Refusal::invalid(format!("Unknown operator {other}"))),
    };
    let one = |key: &str| sent.get(key).and_then(Value::as_str).map(str::to_owned);
    let values = match op {
        Op::Has | Op::HasNot => Some(Vec::new()),
        Op::In | Op::NotIn => sent
            .get("values")
            .and_then(Value::as_array)
            .map(|values| values.iter().filter_map(Value::as_str).map(str::to_owned).collect()),
        Op::Between => one("value").zip(one("highValue")).map(|(low, high)| vec![low, high]),
        Op::Equal
        | Op::NotEqual
        | Op::Less
        | Op::LessOrEqual
        | Op::Greater
        | Op::GreaterOrEqual
        | Op::Token
        | Op::NotToken => one("value").map(|value| vec![value]),
    };
    let values = values.ok_or_else(|| Refusal::invalid(format!("The operator {operator} needs a value")))?;
    if values.len() > VALUES_MAX {
        return Err(Refusal::invalid(format!(
            "A filter may have at most {VALUES_MAX} values"
        )));
    }
    Ok(Filter {
        property: name.to_owned(),
        kind: kind_of(name, property.kind),
        op,
        values,
    })
}

/// Ids are numbers although their type is text, which is what paging by id relies on.
fn kind_of(name: &str, kind: Kind) -> Kind {
    if name == "hs_object_id" { Kind::Number } else { kind }
}

impl Filter {
    /// The id beyond which all matches lie, when the filter says so.
    fn floor(&self) -> Option<&str> {
        let is_floor = self.property == "hs_object_id" && self.op == Op::Greater;
        let first = self.values.first().filter(|_| is_floor)?;
        (!first.is_empty() && first.bytes().all(|byte| byte.is_ascii_digit())).then_some(first.as_str())
    }

    fn holds(&self, of: &Type, id: &str, row: &Row) -> bool {
        if self.property == of.modified
            && let Some(wanted) = self.values.first().and_then(|text| instant(text))
        {
            // The most frequent filter of all, without writing and reading a time for each record.
            let order = row.modified.as_millisecond().cmp(&wanted);
            match self.op {
                Op::Less => return order == Ordering::Less,
                Op::LessOrEqual => return order != Ordering::Greater,
                Op::Greater => return order == Ordering::Greater,
                Op::GreaterOrEqual => return order != Ordering::Less,
                Op::Equal
                | Op::NotEqual
                | Op::Between
                | Op::In
                | Op::NotIn
                | Op::Has
                | Op::HasNot
                | Op::Token
                | Op::NotToken => {}
            }
        }
        let value = records::value(of, id, row, &self.property);
        let actual = value.as_str();
        let first = self.values.first().map_or("", String::as_str);
        let ranked =
            |accepted: &[Ordering]| actual.is_some_and(|actual| accepted.contains(&order(self.kind, actual, first)));
        let among = || {
            actual.is_some_and(|actual| {
                self.values
                    .iter()
                    .any(|one| order(self.kind, actual, one) == Ordering::Equal)
            })
        };
        match self.op {
            Op::Has => actual.is_some(),
            Op::HasNot => actual.is_none(),
            Op::Equal | Op::In => among(),
            // A record without the property is not one of the values either.
            Op::NotEqual | Op::NotIn => !among(),
            Op::Less => ranked(&[Ordering::Less]),
            Op::LessOrEqual => ranked(&[Ordering::Less, Ordering::Equal]),
            Op::Greater => ranked(&[Ordering::Greater]),
            Op::GreaterOrEqual => ranked(&[Ordering::Greater, Ordering::Equal]),
            Op::Between => {
                let high = self.values.get(1).map_or("", String::as_str);
                ranked(&[Ordering::Greater, Ordering::Equal])
                    && actual.is_some_and(|actual| order(self.kind, actual, high) != Ordering::Greater)
            }
            Op::Token => actual.is_some_and(|actual| has_token(actual, first)),
            Op::NotToken => !actual.is_some_and(|actual| has_token(actual, first)),
        }
    }
}

fn order(kind: Kind, one: &str, other: &str) -> Ordering {
    match kind {
        Kind::Number => match (one.parse::<f64>(), other.parse::<f64>()) {
            (Ok(one), Ok(other)) => one.total_cmp(&other),
            (Ok(_) | Err(_), _) => one.cmp(other),
        },
        Kind::DateTime => instant(one).cmp(&instant(other)),
        Kind::Text(_)
        | Kind::Boolean
        | Kind::Options(_)
        | Kind::Lifecycle
        | Kind::Owner
        | Kind::Email
        | Kind::Pipeline
        | Kind::Stage
        | Kind::Computed(_) => one.to_lowercase().cmp(&other.to_lowercase()),
    }
}

/// Filters give times in milliseconds or as ISO.
fn instant(text: &str) -> Option<i64> {
    let day = || {
        text.parse::<jiff::civil::Date>()
            .ok()
            .and_then(|day| format!("{day}T00:00:00Z").parse().ok())
    };
    let iso = || {
        text.parse::<jiff::Timestamp>()
            .ok()
            .or_else(day)
            .map(|at: jiff::Timestamp| at.as_millisecond())
    };
    text.parse().ok().or_else(iso)
}

/// Whether every word of the wish begins, ends or is a word of the text; `*` stands for the rest of a word.
fn has_token(text: &str, wish: &str) -> bool {
    let text = text.to_lowercase();
    let words: Vec<&str> = text
        .split(|letter: char| !letter.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    let wish = wish.to_lowercase();
    let mut parts = wish
        .split(|letter: char| !letter.is_alphanumeric() && letter != '*')
        .filter(|part| !part.is_empty());
    parts.all(|part| {
        let bare = part.trim_matches('*');
        words
            .iter()
            .any(|word| match (part.starts_with('*'), part.ends_with('*')) {
                (true, true) => word.contains(bare),
                (true, false) => word.ends_with(bare),
                (false, true) => word.starts_with(bare),
                (false, false) => *word == bare,
            })
    })
}

fn sort(of: &Type, body: &Value) -> Result<Option<(String, Kind, bool)>, Refusal> {
    let sorts = body.get("sorts").and_then(Value::as_array).cloned().unwrap_or_default();
    if sorts.len() > 1 {
        return Err(Refusal::invalid("A search may have at most one sort"));
    }
    let Some(sort) = sorts.first() else { return Ok(None) };
    // The older way is the bare name, with a minus for descending.
    let (name, descending) = match sort.as_str() {
        Some(text) => (text.trim_start_matches('-'), text.starts_with('-')),
        None => (
            sort.get("propertyName").and_then(Value::as_str).unwrap_or(""),
            sort.get("direction").and_then(Value::as_str) == Some("DESCENDING"),
        ),
    };
    let property = of
        .property(name)
        .ok_or_else(|| Refusal::invalid(format!("Cannot sort by {name}: no such property")))?;
    Ok(Some((
        property.name.to_owned(),
        kind_of(name, property.kind),
        descending,
    )))
}

#[cfg(test)]
mod tests {
    use super::has_token;

    #[test]
    fn a_token_is_a_whole_word_unless_a_star_says_otherwise() {
        assert!(has_token("Hooli Cloud Ltd", "cloud"));
        assert!(!has_token("Hooli Cloud Ltd", "clou"));
        assert!(has_token("Hooli Cloud Ltd", "clou*"));
        assert!(has_token("Hooli Cloud Ltd", "*oud"));
        assert!(has_token("Hooli Cloud Ltd", "hooli ltd"));
    }
}
