//! What truly differs between SQLite and PostgreSQL: the shape of a batch, error codes, pragmas. The few statements with
//! two texts stand beside their family and are made by `Statement::differ`.

use crate::db::Col;
use crate::error::StoreError;

/// Which database. The number is the place of its text in a statement with two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite = 0,
    Postgres = 1,
}

pub(crate) const BEGIN_IMMEDIATE: &str = "begin immediate";
pub(crate) const SYNCHRONOUS_FULL: &str = "pragma synchronous = full";
pub(crate) const SYNCHRONOUS_NORMAL: &str = "pragma synchronous = normal";

/// A batch on SQLite: one parameter, JSON. Materialised, because else each column would write out its row's text anew.
pub(crate) fn rows_sqlite(first: usize, columns: &[Col]) -> String {
    let mut out = format!("(with raw(at, v) as materialized (select key, value from json_each(${first})) select at");
    for (i, column) in columns.iter().enumerate() {
        // Without the cast the planner takes no index of a column that is compared with it.
        let value = match column {
            Col::Text(_) => format!("cast(v ->> {i} as text)"),
            Col::Int(_) => format!("cast(v ->> {i} as integer)"),
            Col::Bytes(_) => format!("unhex(v ->> {i})"),
        };
        out.push_str(&format!(", {value} as {}", column.name()));
    }
    out.push_str(" from raw) as e");
    out
}

/// A batch on PostgreSQL: one array a column.
pub(crate) fn rows_postgres(first: usize, columns: &[Col]) -> String {
    let mut arrays = String::new();
    let mut names = String::new();
    for (i, column) in columns.iter().enumerate() {
        let kind = match column {
            Col::Text(_) => "text",
            Col::Int(_) => "bigint",
            Col::Bytes(_) => "bytea",
        };
        if i > 0 {
            arrays.push_str(", ");
        }
        arrays.push_str(&format!("${}::{kind}[]", first + i));
        names.push_str(column.name());
        names.push_str(", ");
    }
    format!("unnest({arrays}) with ordinality as e({names}at)")
}

/// What an error of the driver asks of the caller.
pub(crate) fn classify(dialect: Dialect, place: &str, doing: &'static str, source: sqlx::Error) -> StoreError {
    let place = place.to_owned();
    if matches!(
        source,
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolClosed
    ) {
        return StoreError::Unreachable { place, source };
    }
    if matches!(source, sqlx::Error::PoolTimedOut) {
        return match dialect {
            Dialect::Sqlite => StoreError::Locked { place, source },
            Dialect::Postgres => StoreError::Unreachable { place, source },
        };
    }
    let code = source
        .as_database_error()
        .and_then(|error| error.code().map(|code| code.into_owned()));
    let Some(code) = code else {
        return StoreError::Other { doing, source };
    };
    match dialect {
        // The low byte of an extended result code is the primary one.
        Dialect::Sqlite => match code.parse::<i64>().unwrap_or(0) & 0xff {
            5 | 6 => StoreError::Locked { place, source },
            8 => StoreError::ReadOnly { place, source },
            13 => StoreError::Full { place, source },
            14 => StoreError::Unreachable { place, source },
            11 | 26 => StoreError::Corrupt {
                what: "database",
                detail: format!("`{place}`: {source}"),
            },
            _ => StoreError::Other { doing, source },
        },
        Dialect::Postgres => match code.as_str() {
            "55P03" | "40P01" => StoreError::Locked { place, source },
            "25006" | "42501" => StoreError::ReadOnly { place, source },
            "53100" => StoreError::Full { place, source },
            "3D000" | "53300" => StoreError::Unreachable { place, source },
            code if code.starts_with("08") || code.starts_with("28") || code.starts_with("57P") => {
                StoreError::Unreachable { place, source }
            }
            _ => StoreError::Other { doing, source },
        },
    }
}
