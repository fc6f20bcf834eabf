//! Arguments of a statement, and batches of rows as each database takes them.

use sqlx::Arguments as _;
use sqlx::postgres::PgArguments;
use sqlx::sqlite::SqliteArguments;

/// A value bound to a parameter.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Arg<'a> {
    Int(i64),
    OptInt(Option<i64>),
    Text(&'a str),
    OptText(Option<&'a str>),
    Bytes(&'a [u8]),
}

impl From<i64> for Arg<'_> {
    fn from(value: i64) -> Self {
        Arg::Int(value)
    }
}

impl From<Option<i64>> for Arg<'_> {
    fn from(value: Option<i64>) -> Self {
        Arg::OptInt(value)
    }
}

impl<'a> From<&'a str> for Arg<'a> {
    fn from(value: &'a str) -> Self {
        Arg::Text(value)
    }
}

impl<'a> From<Option<&'a str>> for Arg<'a> {
    fn from(value: Option<&'a str>) -> Self {
        Arg::OptText(value)
    }
}

/// Arguments of a statement.
macro_rules! args {
    ($($value:expr),* $(,)?) => { &[$($crate::args::Arg::from($value)),*] };
}
pub(crate) use args;

/// One column of values of a batch.
#[derive(Debug)]
pub(crate) enum Column<'a> {
    Text(Vec<&'a str>),
    OptText(Vec<Option<&'a str>>),
    Int(Vec<i64>),
    OptInt(Vec<Option<i64>>),
    Bytes(Vec<&'a [u8]>),
}

impl<'a> Column<'a> {
    pub(crate) fn text(values: impl Iterator<Item = &'a str>) -> Column<'a> {
        Column::Text(values.collect())
    }

    pub(crate) fn opt_text(values: impl Iterator<Item = Option<&'a str>>) -> Column<'a> {
        Column::OptText(values.collect())
    }

    pub(crate) fn int(values: impl Iterator<Item = i64>) -> Column<'a> {
        Column::Int(values.collect())
    }

    pub(crate) fn bytes(values: impl Iterator<Item = &'a [u8]>) -> Column<'a> {
        Column::Bytes(values.collect())
    }

    pub(crate) fn opt_int(values: impl Iterator<Item = Option<i64>>) -> Column<'a> {
        Column::OptInt(values.collect())
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Column::Text(values) => values.len(),
            Column::OptText(values) => values.len(),
            Column::Int(values) => values.len(),
            Column::OptInt(values) => values.len(),
            Column::Bytes(values) => values.len(),
        }
    }

    /// The values from one row on.
    pub(crate) fn from(&self, row: usize) -> Column<'a> {
        match self {
            Column::Text(values) => Column::Text(values[row..].to_vec()),
            Column::OptText(values) => Column::OptText(values[row..].to_vec()),
            Column::Int(values) => Column::Int(values[row..].to_vec()),
            Column::OptInt(values) => Column::OptInt(values[row..].to_vec()),
            Column::Bytes(values) => Column::Bytes(values[row..].to_vec()),
        }
    }

    pub(crate) fn cell(&self, row: usize) -> Arg<'a> {
        match self {
            Column::Text(values) => Arg::Text(values[row]),
            Column::OptText(values) => Arg::OptText(values[row]),
            Column::Int(values) => Arg::Int(values[row]),
            Column::OptInt(values) => Arg::OptInt(values[row]),
            Column::Bytes(values) => Arg::Bytes(values[row]),
        }
    }
}

/// A batch as JSON, an array of arrays, for `json_each`.
fn json_rows(columns: &[Column<'_>]) -> String {
    let rows = columns.first().map_or(0, Column::len);
    debug_assert!(columns.iter().all(|column| column.len() == rows));
    let mut out = Vec::with_capacity(16 + rows * columns.len() * 24);
    out.push(b'[');
    for row in 0..rows {
        out.extend_from_slice(if row == 0 { b"[" } else { b",[" });
        for (i, column) in columns.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            // Writing to a vector cannot fail.
            let _ = match column.cell(row) {
                Arg::Int(value) | Arg::OptInt(Some(value)) => serde_json::to_writer(&mut out, &value),
                Arg::Text(value) | Arg::OptText(Some(value)) => serde_json::to_writer(&mut out, value),
                Arg::OptInt(None) | Arg::OptText(None) => serde_json::to_writer(&mut out, &()),
                // JSON has no bytes: hexadecimal, which `rows_sqlite` takes back.
                Arg::Bytes(value) => serde_json::to_writer(&mut out, &hex(value)),
            };
        }
        out.push(b']');
    }
    out.push(b']');
    String::from_utf8(out).unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |half: u8| char::from(DIGITS[usize::from(half)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

pub(crate) fn add_sqlite(out: &mut SqliteArguments, arg: Arg<'_>) -> sqlx::Result<()> {
    match arg {
        Arg::Int(value) => out.add(value),
        Arg::OptInt(value) => out.add(value),
        Arg::Text(value) => out.add(value),
        Arg::OptText(value) => out.add(value),
        Arg::Bytes(value) => out.add(value),
    }
    .map_err(sqlx::Error::Encode)
}

pub(crate) fn sqlite_args(args: &[Arg<'_>], rows: Option<&[Column<'_>]>) -> sqlx::Result<SqliteArguments> {
    let mut out = SqliteArguments::default();
    for arg in args {
        add_sqlite(&mut out, *arg)?;
    }
    if let Some(columns) = rows {
        out.add(json_rows(columns)).map_err(sqlx::Error::Encode)?;
    }
    Ok(out)
}

pub(crate) fn postgres_args(args: &[Arg<'_>], rows: Option<&[Column<'_>]>) -> sqlx::Result<PgArguments> {
    let mut out = PgArguments::default();
    for arg in args {
        match arg {
            Arg::Int(value) => out.add(*value),
            Arg::OptInt(value) => out.add(*value),
            Arg::Text(value) => out.add(*value),
            Arg::OptText(value) => out.add(*value),
            Arg::Bytes(value) => out.add(*value),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    for column in rows.unwrap_or(&[]) {
        match column {
            Column::Text(values) => out.add(values),
            Column::OptText(values) => out.add(values),
            Column::Int(values) => out.add(values),
            Column::OptInt(values) => out.add(values),
            Column::Bytes(values) => out.add(values),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(out)
}
