//! How files write their values: `[defaults]`, `[file.defaults]`, and the same keys on a single field.

use std::ops::Range;

use perennial_core::money::Currency;

use super::super::problem::{help_with_words, nearest};
use super::super::text::Encoding;
use super::super::value::{Format, TimeFormat};
use super::Column;
use super::toml::{Node, Reading, Section};

/// Keys of `[defaults]` and `[file.defaults]`.
pub(super) const KEYS: &[&str] = &[
    "currency",
    "dates",
    "datetimes",
    "booleans",
    "numbers",
    "empty",
    "encoding",
    "delimiter",
    "account_prefix",
    "max_field_bytes",
];

/// Those of them that a single field may override.
pub(super) const FIELD_KEYS: &[&str] = &["currency", "dates", "datetimes", "booleans", "numbers", "empty"];

/// A format and the currency of its amounts.
#[derive(Debug, Clone, Default)]
pub(super) struct Style {
    pub format: Format,
    pub currency: Option<CurrencyFrom>,
}

#[derive(Debug, Clone)]
pub(super) enum CurrencyFrom {
    Fixed(Currency),
    Column(Column),
}

/// The style that `section` makes of `style`: what it does not say stays.
pub(super) fn read(reading: &mut Reading<'_>, section: &Section<'_>, mut style: Style) -> Style {
    let format = &mut style.format;
    if let Some(node) = section.get("currency")
        && let Some(currency) = currency(reading, node)
    {
        style.currency = Some(currency);
    }
    if let Some(node) = section.get("dates") {
        time_formats(reading, node, "dates", &mut format.dates);
    }
    if let Some(node) = section.get("datetimes") {
        time_formats(reading, node, "datetimes", &mut format.datetimes);
    }
    if let Some(node) = section.get("booleans") {
        booleans(reading, node, format);
    }
    if let Some(node) = section.get("numbers") {
        numbers(reading, node, format);
    }
    if let Some(node) = section.get("empty")
        && let Some(texts) = reading.texts(node, "empty")
    {
        format.empty = texts.into_iter().map(|(text, _)| text.trim().to_owned()).collect();
        // A cell without any text is unknown whatever the mapping says: there is nothing to read.
        format.empty.push(String::new());
    }
    if let Some(node) = section.get("encoding")
        && let Some(word) = reading.text(node, "encoding")
    {
        match Encoding::from_word(&word) {
            Some(encoding) => format.encoding = encoding,
            None => reading.problem(
                node.span(),
                format!("unknown encoding `{word}`"),
                help_with_words(&word, Encoding::WORDS),
            ),
        }
    }
    if let Some(node) = section.get("delimiter")
        && let Some(text) = reading.text(node, "delimiter")
    {
        match text.as_bytes() {
            [byte] if byte.is_ascii() && !b"\"\r\n".contains(byte) => format.delimiter = *byte,
            _ => reading.problem(
                node.span(),
                "`delimiter` must be one ASCII character",
                "write \",\" or \";\" or \"\\t\"",
            ),
        }
    }
    if let Some(node) = section.get("account_prefix")
        && let Some(prefix) = reading.text(node, "account_prefix")
    {
        format.account_prefix = prefix;
    }
    if let Some(node) = section.get("max_field_bytes")
        && let Some(bytes) = reading.integer(node, "max_field_bytes", 64, 16 * 1024 * 1024)
    {
        format.max_field_bytes = usize::try_from(bytes).unwrap_or(format.max_field_bytes);
    }
    style
}

fn currency(reading: &mut Reading<'_>, node: &Node<'_>) -> Option<CurrencyFrom> {
    if node.get_ref().is_table() {
        let section = reading.table(node, "currency", "`currency`".to_owned())?;
        reading.only(&section, &["column"]);
        let column = reading.required(&section, "column", "name the column with the currency code")?;
        let name = reading.text(column, "column")?;
        return Some(CurrencyFrom::Column(Column {
            name,
            span: column.span(),
            index: 0,
        }));
    }
    let code = reading.text(node, "currency")?;
    match code.parse::<Currency>() {
        Ok(currency) => Some(CurrencyFrom::Fixed(currency)),
        Err(error) => {
            let common = [
                "USD", "EUR", "GBP", "JPY", "CHF", "CAD", "AUD", "INR", "CNY", "SEK", "BRL", "SGD",
            ];
            let help = match nearest(&code, common) {
                Some(word) => format!("did you mean \"{word}\"?"),
                None => "write the three capital letters, such as \"USD\"".to_owned(),
            };
            reading.problem(node.span(), error.to_string(), help);
            None
        }
    }
}

fn time_formats(reading: &mut Reading<'_>, node: &Node<'_>, key: &str, into: &mut Vec<TimeFormat>) {
    let Some(texts) = reading.texts(node, key) else {
        return;
    };
    if texts.is_empty() {
        reading.problem(
            node.span(),
            format!("`{key}` names no format"),
            "write one, such as \"%Y-%m-%d\"",
        );
        return;
    }
    let mut formats = Vec::new();
    for (text, span) in texts {
        match TimeFormat::from_text(&text, key == "datetimes") {
            Ok(format) => formats.push(format),
            Err(reason) => reading.problem(
                span,
                format!("the format `{text}` {reason}"),
                "use %Y %y %m %d %H %M %S %b %z as strftime does, such as \"%d/%m/%Y\"",
            ),
        }
    }
    *into = formats;
}

fn booleans(reading: &mut Reading<'_>, node: &Node<'_>, format: &mut Format) {
    let Some(section) = reading.table(node, "booleans", "`booleans`".to_owned()) else {
        return;
    };
    reading.only(&section, &["true", "false"]);
    let mut words = |key: &str| -> Option<Vec<String>> {
        let node = reading.required(&section, key, "list the texts for both `true` and `false`")?;
        let texts = reading.texts(node, key)?;
        Some(texts.into_iter().map(|(text, _)| text).collect())
    };
    let (Some(yes), Some(no)) = (words("true"), words("false")) else {
        return;
    };
    if let Some(both) = yes.iter().find(|word| no.contains(word)) {
        reading.problem(node.span(), format!("`{both}` stands for both true and false"), "");
    }
    (format.yes, format.no) = (yes, no);
}

fn numbers(reading: &mut Reading<'_>, node: &Node<'_>, format: &mut Format) {
    let Some(section) = reading.table(node, "numbers", "`numbers`".to_owned()) else {
        return;
    };
    reading.only(&section, &["decimal", "thousands"]);
    let mut mark = |key: &str| -> Option<(Option<char>, Range<usize>)> {
        let node = section.get(key)?;
        let text = node.get_ref().as_str();
        let mut characters = text.unwrap_or("too long").chars();
        match (characters.next(), characters.next()) {
            (mark, None) if !mark.is_some_and(|mark| mark.is_ascii_digit() || "+-".contains(mark)) => {
                Some((mark, node.span()))
            }
            _ => {
                let help = "write one character, such as \".\" or \",\"; no mark between thousands is \"\"";
                reading.problem(node.span(), format!("`{key}` must be one character"), help);
                None
            }
        }
    };
    let (decimal, thousands) = (mark("decimal"), mark("thousands"));
    match decimal {
        Some((Some(decimal), _)) => format.decimal = decimal,
        Some((None, span)) => reading.problem(span, "`decimal` is empty", "write \".\" or \",\""),
        None => {}
    }
    if let Some((thousands, _)) = thousands {
        format.thousands = thousands;
    }
    if format.thousands == Some(format.decimal) {
        reading.problem(node.span(), "`decimal` and `thousands` are the same mark", "");
    }
}
