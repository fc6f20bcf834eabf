//! What fills one field: a column, a constant, and how it is read.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use perennial_core::signal::Crm;
use rust_decimal::Decimal;

use super::super::problem::{help_with_words, quoted};
use super::super::value::{Converter, Format, Shape, Value};
use super::format::{self, CurrencyFrom, Style};
use super::toml::{Node, Reading, Section};
use super::{Column, From, Spec};

const KEYS: &[&str] = &["column", "value", "values", "default", "times", "plus_days", "system"];

/// Reads what fills the field `name` of this shape.
pub(super) fn spec(
    reading: &mut Reading<'_>,
    node: &Node<'_>,
    name: &str,
    shape: Shape,
    style: &Style,
) -> Option<Spec> {
    if node.get_ref().is_str() {
        let column = column(reading, node, name)?;
        let converter = converter(reading, node.span(), name, shape, style)?;
        return Some(Spec {
            from: From::Column(column),
            converter,
            values: BTreeMap::new(),
            closed: false,
            default: None,
            currency: currency_column(shape, style),
        });
    }
    let section = match node.get_ref().as_table() {
        Some(_) => reading.table(node, name, format!("field `{name}`"))?,
        None => {
            let help = "write a column name, or a table such as { column = \"..\" } or { value = \"..\" }";
            reading.problem(node.span(), format!("`{name}` must name a column"), help);
            return None;
        }
    };
    reading.only(&section, &[KEYS, format::FIELD_KEYS].concat());
    let style = format::read(reading, &section, style.clone());
    let mut converter = converter(reading, section.span.clone(), name, shape, &style)?;
    options(reading, &section, name, &mut converter);
    // Constants are written the way TOML and this guide write values, whatever the files do.
    let plain = Converter {
        format: Arc::new(Format {
            account_prefix: converter.format.account_prefix.clone(),
            named: Arc::clone(&reading.named),
            ..Format::default()
        }),
        times: None,
        plus_days: 0,
        ..converter.clone()
    };
    let (values, closed) = values(reading, &section, name, &plain);
    let default = section
        .get("default")
        .and_then(|node| constant(reading, node, "default", &plain));
    let from = match (section.get("column"), section.get("value")) {
        (Some(node), None) => From::Column(column(reading, node, "column")?),
        (None, Some(node)) => From::Constant(constant(reading, node, "value", &plain)?),
        (Some(_), Some(_)) | (None, None) => {
            let message = format!("field `{name}` must have either `column` or `value`");
            reading.problem(section.span.clone(), message, "name the column, or give the constant");
            return None;
        }
    };
    if matches!(shape, Shape::DealRoles) && (matches!(from, From::Constant(_)) || default.is_some()) {
        let message = format!("`{name}` cannot be the same for everybody");
        reading.problem(
            section.span.clone(),
            message,
            "name the column that has it: { column = \"roles.deals\" }",
        );
    }
    if matches!(from, From::Constant(_)) {
        for key in ["values", "default", "times", "plus_days"] {
            if section.get(key).is_some() {
                let message = format!("`{key}` has no effect on a constant");
                reading.problem(section.span.clone(), message, "leave it out");
            }
        }
    }
    Some(Spec {
        from,
        converter,
        values,
        closed,
        default,
        currency: currency_column(shape, &style),
    })
}

/// A column named by a text.
pub(super) fn column(reading: &mut Reading<'_>, node: &Node<'_>, key: &str) -> Option<Column> {
    let name = reading.text(node, key)?;
    Some(Column {
        name: name.trim().to_owned(),
        span: node.span(),
        index: 0,
    })
}

/// One or several columns.
pub(super) fn columns(reading: &mut Reading<'_>, node: &Node<'_>, key: &str) -> Option<Vec<Column>> {
    let texts = reading.texts(node, key)?;
    if texts.is_empty() || texts.iter().any(|(name, _)| name.trim().is_empty()) {
        reading.problem(node.span(), format!("`{key}` names no column"), "");
        return None;
    }
    let column = |(name, span): (String, Range<usize>)| Column {
        name: name.trim().to_owned(),
        span,
        index: 0,
    };
    Some(texts.into_iter().map(column).collect())
}

fn converter(
    reading: &mut Reading<'_>,
    span: Range<usize>,
    name: &str,
    shape: Shape,
    style: &Style,
) -> Option<Converter> {
    let currency = match (&style.currency, shape) {
        (None, Shape::Money) => {
            let help = "set `currency` in [defaults], or write { column = \"..\", currency = \"USD\" }";
            reading.problem(span, format!("the amount `{name}` has no currency"), help);
            return None;
        }
        (Some(CurrencyFrom::Fixed(currency)), Shape::Money) => Some(*currency),
        _ => None,
    };
    Some(Converter {
        shape,
        format: Arc::new(style.format.clone()),
        currency,
        times: None,
        plus_days: 0,
        system: None,
    })
}

fn currency_column(shape: Shape, style: &Style) -> Option<Column> {
    match (&style.currency, shape) {
        (Some(CurrencyFrom::Column(column)), Shape::Money) => Some(column.clone()),
        _ => None,
    }
}

/// The options that only some shapes have.
fn options(reading: &mut Reading<'_>, section: &Section<'_>, name: &str, converter: &mut Converter) {
    let shape = converter.shape;
    let mut option = |key: &str, fits: bool| {
        let node = section.get(key)?;
        if !fits {
            let message = format!("`{key}` has no meaning for `{name}`, which is a {}", shape.name());
            reading.problem(node.span(), message, "leave it out");
        }
        fits.then_some(node)
    };
    let is_number = matches!(shape, Shape::Integer | Shape::Number | Shape::Money);
    let is_time = matches!(shape, Shape::Day | Shape::Moment);
    let times = option("times", is_number);
    let plus_days = option("plus_days", is_time);
    let system = option("system", matches!(shape, Shape::Crm));
    option("currency", matches!(shape, Shape::Money));
    if let Some(node) = times
        && let Some(text) = reading.scalar(node, "times")
    {
        match Decimal::from_str_exact(&text) {
            Ok(number) if !number.is_zero() => converter.times = Some(number),
            _ => reading.problem(
                node.span(),
                format!("`times` is not a number other than 0: `{text}`"),
                "",
            ),
        }
    }
    if let Some(node) = plus_days {
        converter.plus_days = reading.integer(node, "plus_days", -3660, 3660).unwrap_or_default();
    }
    if matches!(shape, Shape::Crm) {
        let words = Crm::ALL.iter().map(|crm| crm.as_str()).collect::<Vec<_>>();
        match system {
            None => {
                let message = format!("field `{name}` does not say which CRM the id is from");
                reading.problem(
                    section.span.clone(),
                    message,
                    format!("add `system`: {}", quoted(&words)),
                );
            }
            Some(node) => {
                let word = reading.text(node, "system").unwrap_or_default();
                converter.system = Crm::from_word(&word);
                if converter.system.is_none() {
                    let help = help_with_words(&word, &words);
                    reading.problem(node.span(), format!("unknown CRM `{word}`"), help);
                }
            }
        }
    }
}

fn values(
    reading: &mut Reading<'_>,
    section: &Section<'_>,
    name: &str,
    plain: &Converter,
) -> (BTreeMap<String, Value>, bool) {
    let Some(table) = section
        .get("values")
        .and_then(|node| reading.table(node, "values", format!("`values` of `{name}`")))
    else {
        return (BTreeMap::new(), false);
    };
    let mut values = BTreeMap::new();
    for (text, _, node) in table.pairs() {
        if let Some(value) = constant(reading, node, text, plain) {
            values.insert(text.trim().to_owned(), value);
        }
    }
    // A name or id that is not listed stays as it is; a word, number or date must be listed, or it would be read by two rules.
    let closed = !matches!(plain.shape, Shape::Text | Shape::Account | Shape::Owner | Shape::Crm);
    (values, closed)
}

/// A value written in the mapping itself.
fn constant(reading: &mut Reading<'_>, node: &Node<'_>, key: &str, plain: &Converter) -> Option<Value> {
    let text = reading.scalar(node, key)?;
    match plain.convert(&text) {
        Ok(value) => Some(value),
        Err(reason) => {
            let help = match plain.shape {
                Shape::Word(_) | Shape::Tier | Shape::Role | Shape::DealRoles => help_with_words(&text, &plain.words()),
                Shape::Day | Shape::Moment => "write it like \"2026-01-31\"".to_owned(),
                Shape::Bool => "write true or false".to_owned(),
                Shape::Text
                | Shape::Account
                | Shape::Owner
                | Shape::Integer
                | Shape::Number
                | Shape::Money
                | Shape::Crm
                | Shape::Attributes => String::new(),
            };
            reading.problem(
                node.span(),
                format!("`{text}` is no {}: {reason}", plain.shape.name()),
                help,
            );
            None
        }
    }
}
