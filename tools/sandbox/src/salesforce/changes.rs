//! What changed and what was deleted between two times, by id.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::check::{datetime, stamp};
use super::errors::Refusal;
use super::schema::Object;
use crate::wire::{Call, Reply};
use crate::world::{Row, World};

/// How far back changes are listed, in seconds: 30 days.
const UPDATED_S: i64 = 30 * 24 * 3_600;
/// How far back deletions are listed, in seconds: 15 days.
const DELETED_S: i64 = 15 * 24 * 3_600;
/// Ids in one answer.
const IDS_MAX: usize = 600_000;
const MINUTE_S: i64 = 60;

/// `GET /sobjects/{object}/updated?start=..&end=..`.
pub(super) fn updated(world: &World, call: &Call, object: &'static Object) -> Result<Reply, Refusal> {
    let (start, end) = window(world, call, UPDATED_S)?;
    let rows = within(world, object, start, end, |row| !row.deleted)?;
    let ids: Vec<&str> = rows.into_iter().map(|(id, _)| id).collect();
    Ok(Reply::json(200, json!({ "ids": ids, "latestDateCovered": stamp(end) })))
}

/// `GET /sobjects/{object}/deleted?start=..&end=..`.
pub(super) fn deleted(world: &World, call: &Call, object: &'static Object) -> Result<Reply, Refusal> {
    let (start, end) = window(world, call, DELETED_S)?;
    let rows = within(world, object, start, end, |row| row.deleted)?;
    let records: Vec<Value> = rows
        .into_iter()
        .map(|(id, row)| json!({ "id": id, "deletedDate": stamp(row.modified) }))
        .collect();
    let earliest = minute(world.now().as_second() - DELETED_S);
    Ok(Reply::json(
        200,
        json!({
            "deletedRecords": records, "earliestDateAvailable": stamp(earliest), "latestDateCovered": stamp(end),
        }),
    ))
}

fn within<'a>(
    world: &'a World,
    object: &'static Object,
    start: Timestamp,
    end: Timestamp,
    wanted: impl Fn(&Row) -> bool,
) -> Result<Vec<(&'a str, &'a Row)>, Refusal> {
    let Some(table) = world.salesforce.table(object.name) else {
        return Err(Refusal::not_found());
    };
    let rows: Vec<_> = table
        .rows()
        .filter(|(_, row)| wanted(row) && row.modified >= start && row.modified < end)
        .collect();
    if rows.len() > IDS_MAX {
        return Err(Refusal::bad(
            "EXCEEDED_ID_LIMIT",
            "too many ids; use a shorter range of dates",
        ));
    }
    Ok(rows)
}

/// The two times of a request. Seconds do not count, which is why the end is covered only to its minute.
fn window(world: &World, call: &Call, back_s: i64) -> Result<(Timestamp, Timestamp), Refusal> {
    let time = |name: &str| {
        let text = call.parameter(name).unwrap_or("");
        // A plus that was not escaped comes as a space.
        datetime(&text.replace(' ', "+"))
            .map(|at| at.as_second().div_euclid(MINUTE_S) * MINUTE_S)
            .ok_or_else(|| Refusal::bad("MALFORMED_QUERY", format!("{name} is not a date and time: {text}")))
    };
    // The code of these refusals is unverified; the limits are documented.
    let refused = |message: &str| Err(Refusal::bad("INVALID_REPLICATION_DATE", message));
    let (start, end) = (time("start")?, time("end")?);
    if end - start < MINUTE_S {
        return refused("startDate must be more than one minute before endDate");
    }
    let now = world.now().as_second();
    if start < now - back_s {
        return refused("startDate is before the earliest date available");
    }
    Ok((minute(start), minute(end.min(now))))
}

fn minute(second: i64) -> Timestamp {
    let whole = second.div_euclid(MINUTE_S) * MINUTE_S;
    Timestamp::from_second(whole).unwrap_or(Timestamp::UNIX_EPOCH)
}
