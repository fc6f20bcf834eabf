//! Values of PostgreSQL as the texts that mappings read. Exact: no number goes through a float that was not one.

use std::fmt::Write as _;

use perennial_core::time::{DAY_US, Day, Timestamp};
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgTypeInfo, PgValueFormat, PgValueRef};
use sqlx::{TypeInfo as _, ValueRef as _};

use crate::watermark::{Watermark, WatermarkKind};

/// PostgreSQL counts from 2000-01-01.
const EPOCH_DAYS: i64 = 10_957;
const EPOCH_US: i64 = EPOCH_DAYS * DAY_US;
const OID_INT8: u32 = 20;
const OID_DATE: u32 = 1082;
const OID_TIMESTAMP: u32 = 1114;
const OID_TIMESTAMPTZ: u32 = 1184;
/// Signs of a `numeric`.
const NEGATIVE: u16 = 0x4000;
const POSITIVE: u16 = 0;

/// Whether values of a type are read.
pub(super) fn readable(info: &PgTypeInfo) -> bool {
    matches!(
        info.name(),
        "TEXT"
            | "VARCHAR"
            | "CHAR"
            | "NAME"
            | "INT2"
            | "INT4"
            | "INT8"
            | "FLOAT4"
            | "FLOAT8"
            | "NUMERIC"
            | "BOOL"
            | "DATE"
            | "TIMESTAMP"
            | "TIMESTAMPTZ"
            | "UUID"
            | "JSON"
            | "JSONB"
    )
}

/// The watermark that a type can be.
pub(super) fn watermark_kind(info: &PgTypeInfo) -> Option<WatermarkKind> {
    match info.name() {
        "INT2" | "INT4" | "INT8" => Some(WatermarkKind::Number),
        "DATE" => Some(WatermarkKind::Date),
        "TIMESTAMP" => Some(WatermarkKind::Timestamp),
        "TIMESTAMPTZ" => Some(WatermarkKind::TimestampTz),
        _ => None,
    }
}

/// The type of a watermark's parameter.
pub(super) fn type_info(kind: WatermarkKind) -> PgTypeInfo {
    PgTypeInfo::with_oid(Oid(match kind {
        WatermarkKind::Number => OID_INT8,
        WatermarkKind::Date => OID_DATE,
        WatermarkKind::Timestamp => OID_TIMESTAMP,
        WatermarkKind::TimestampTz => OID_TIMESTAMPTZ,
    }))
}

/// A watermark in the binary form of its type. The least value stands for the beginning of all times.
pub(super) fn encode(watermark: Watermark) -> Vec<u8> {
    let value = watermark.value;
    match watermark.kind {
        WatermarkKind::Number => value.to_be_bytes().to_vec(),
        WatermarkKind::Date => {
            let days = i32::try_from(value.saturating_sub(EPOCH_DAYS)).unwrap_or(i32::MIN);
            days.to_be_bytes().to_vec()
        }
        WatermarkKind::Timestamp | WatermarkKind::TimestampTz => value.saturating_sub(EPOCH_US).to_be_bytes().to_vec(),
    }
}

fn array<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

/// Days since 1970; nothing for infinity.
fn days(bytes: &[u8]) -> Option<i64> {
    let days = i32::from_be_bytes(array(bytes)?);
    (days != i32::MIN && days != i32::MAX).then(|| i64::from(days) + EPOCH_DAYS)
}

/// Microseconds since 1970; nothing for infinity.
fn microseconds(bytes: &[u8]) -> Option<i64> {
    let us = i64::from_be_bytes(array(bytes)?);
    (us != i64::MIN && us != i64::MAX).then(|| us.saturating_add(EPOCH_US))
}

/// The watermark of a row; nothing for null and infinity, which are before and after everything.
pub(super) fn watermark(raw: &PgValueRef<'_>) -> Option<i64> {
    if raw.is_null() {
        return None;
    }
    let bytes = raw.as_bytes().ok()?;
    match raw.type_info().name() {
        "INT2" => Some(i64::from(i16::from_be_bytes(array(bytes)?))),
        "INT4" => Some(i64::from(i32::from_be_bytes(array(bytes)?))),
        "INT8" => Some(i64::from_be_bytes(array(bytes)?)),
        "DATE" => days(bytes),
        "TIMESTAMP" | "TIMESTAMPTZ" => microseconds(bytes),
        _ => None,
    }
}

/// A value as text; nothing for null and for what is not readable.
pub(super) fn text(raw: &PgValueRef<'_>) -> Option<String> {
    if raw.is_null() {
        return None;
    }
    if raw.format() == PgValueFormat::Text {
        return raw.as_str().ok().map(str::to_owned);
    }
    let bytes = raw.as_bytes().ok()?;
    let utf8 = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
    match raw.type_info().name() {
        "TEXT" | "VARCHAR" | "CHAR" | "NAME" | "JSON" => utf8(bytes),
        // A version before the text.
        "JSONB" => utf8(bytes.get(1..)?),
        "INT2" => Some(i16::from_be_bytes(array(bytes)?).to_string()),
        "INT4" => Some(i32::from_be_bytes(array(bytes)?).to_string()),
        "INT8" => Some(i64::from_be_bytes(array(bytes)?).to_string()),
        "FLOAT4" => Some(f32::from_be_bytes(array(bytes)?).to_string()),
        "FLOAT8" => Some(f64::from_be_bytes(array(bytes)?).to_string()),
        "NUMERIC" => numeric(bytes),
        "BOOL" => Some((bytes.first()? != &0).to_string()),
        "DATE" => Some(match days(bytes).and_then(|days| i32::try_from(days).ok()) {
            Some(days) => Day::from_number(days).to_string(),
            None => "infinity".to_owned(),
        }),
        "TIMESTAMP" | "TIMESTAMPTZ" => Some(match microseconds(bytes) {
            Some(us) => Timestamp::from_us(us).to_string(),
            None => "infinity".to_owned(),
        }),
        "UUID" => uuid(bytes),
        _ => None,
    }
}

fn uuid(bytes: &[u8]) -> Option<String> {
    let bytes: [u8; 16] = array(bytes)?;
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        write!(text, "{byte:02x}").ok()?;
    }
    Some(text)
}

/// A `numeric`: groups of four digits, of which the first has the weight of 10,000 to a power.
fn numeric(bytes: &[u8]) -> Option<String> {
    let words: Vec<u16> = bytes
        .chunks(2)
        .map(|pair| array(pair).map(u16::from_be_bytes))
        .collect::<Option<_>>()?;
    let [_, weight, sign, scale, groups @ ..] = words.as_slice() else {
        return None;
    };
    if !matches!(*sign, POSITIVE | NEGATIVE) {
        // NaN and the infinities: no number.
        return Some("NaN".to_owned());
    }
    let weight = i32::from(weight.cast_signed());
    let group = |power: i32| {
        let index = usize::try_from(weight - power).ok();
        index.and_then(|index| groups.get(index)).copied().unwrap_or(0)
    };
    let mut text = String::new();
    if *sign == NEGATIVE {
        text.push('-');
    }
    write!(text, "{}", group(weight.max(0))).ok()?;
    for power in (0..weight.max(0)).rev() {
        write!(text, "{:04}", group(power)).ok()?;
    }
    let scale = usize::from(*scale);
    if scale > 0 {
        let mut fraction = String::new();
        let mut power = -1;
        while fraction.len() < scale {
            write!(fraction, "{:04}", group(power)).ok()?;
            power -= 1;
        }
        text.push('.');
        text.push_str(fraction.get(..scale)?);
    }
    Some(text)
}
