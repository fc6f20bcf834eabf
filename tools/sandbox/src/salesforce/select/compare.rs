//! Conditions that hold or not, and how values stand to each other.

use std::cmp::Ordering;

use serde_json::Value;

use super::super::ids;
use super::super::schema::Kind;
use super::super::soql::{Literal, Op};
use super::{Cond, Place};
use crate::world::Row;

/// Whether a field of this kind can be compared with this value.
pub(super) fn fits(kind: Kind, value: &Literal) -> bool {
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
            | Kind::DateTime
            | Kind::Address(_),
            Literal::Text(_) | Literal::Number(_) | Literal::Boolean(_) | Literal::Time(_),
        ) => false,
    }
}

impl Cond {
    /// Whether a record meets the condition.
    pub(in crate::salesforce) fn holds(&self, place: Place<'_>, id: &str, row: &Row) -> bool {
        match self {
            Cond::And(parts) => parts.iter().all(|part| part.holds(place, id, row)),
            Cond::Or(parts) => parts.iter().any(|part| part.holds(place, id, row)),
            Cond::Not(inner) => !inner.holds(place, id, row),
            Cond::Is { path, op, values } => {
                let actual = path.value(place, id, row);
                let first = values.first().unwrap_or(&Value::Null);
                let ranked = |accepted: &[Ordering]| {
                    !actual.is_null()
                        && !first.is_null()
                        && order_of(&actual, first).is_some_and(|order| accepted.contains(&order))
                };
                let is_one = || {
                    values
                        .iter()
                        .any(|value| order_of(&actual, value) == Some(Ordering::Equal))
                };
                match op {
                    Op::Equal | Op::In => is_one(),
                    Op::NotEqual | Op::NotIn => !is_one(),
                    Op::Less => ranked(&[Ordering::Less]),
                    Op::LessOrEqual => ranked(&[Ordering::Less, Ordering::Equal]),
                    Op::Greater => ranked(&[Ordering::Greater]),
                    Op::GreaterOrEqual => ranked(&[Ordering::Greater, Ordering::Equal]),
                    Op::Like => first
                        .as_str()
                        .is_some_and(|pattern| like(actual.as_str().unwrap_or(""), pattern)),
                }
            }
        }
    }
}

/// How two values stand to each other. Texts compare without case, ids in their long form.
pub(super) fn order_of(one: &Value, other: &Value) -> Option<Ordering> {
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
