//! Running a query: find, page. A cursor holds which records later pages will show, and shows them as they are then.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::errors::Refusal;
use super::select::{self, Place, Plan};
use super::soql::{self, Select};
use super::{SYSTEM, VERSION, ids};
use crate::limits::SALESFORCE_PAGE;
use crate::wire::{Call, Reply};
use crate::world::{Row, World};

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

/// Open queries.
#[derive(Debug, Default)]
pub(crate) struct Cursors {
    opened: u64,
    open: VecDeque<Cursor>,
}

/// What later pages of a query will show.
#[derive(Debug)]
struct Cursor {
    id: String,
    text: String,
    size: usize,
    ids: Vec<String>,
    opened: jiff::Timestamp,
}

/// How long a cursor lives, in seconds.
const CURSOR_S: i64 = 2 * 24 * 3_600;

/// A query that has been read, resolved and run.
pub(super) struct Found<'a> {
    pub(super) plan: Plan,
    pub(super) rows: Vec<(&'a str, &'a Row)>,
    pub(super) place: Place<'a>,
}

/// Reads and runs a query; nothing for `count()`, whose number is beside it.
pub(super) fn run<'a>(world: &'a World, text: &'a str, graves: Graves) -> Result<(Option<Found<'a>>, usize), Refusal> {
    let query = soql::parse(text).map_err(|message| Refusal::bad("MALFORMED_QUERY", message))?;
    let schema = &world.schema;
    let object = schema
        .object(&query.object)
        .ok_or_else(|| select::no_object(text, &query.object))?;
    let place = Place {
        crm: world.crm(SYSTEM),
        schema,
        text,
    };
    let items: &[soql::Item] = match &query.select {
        Select::Count => &[],
        Select::Items(items) => items,
    };
    let plan = select::plan(place, &query, object, items)?;
    let Some(table) = place.crm.table(object.name) else {
        return Err(Refusal::not_found());
    };
    // A role that was deleted by itself is in no recycle bin, so nobody sees it any more.
    let shown = graves == Graves::Shown && object.name != "OpportunityContactRole";
    let all = table.rows().filter(|(_, row)| shown || !row.deleted);
    let rows = plan.found(place, all).into_iter();
    let rows: Vec<_> = if plan.is_aggregate() {
        rows.collect()
    } else {
        rows.skip(plan.offset).take(plan.limit).collect()
    };
    let count = rows.len();
    Ok(match query.select {
        Select::Count => (None, count),
        Select::Items(_) => (Some(Found { plan, rows, place }), count),
    })
}

/// `GET /query?q=..`.
pub(super) fn start(world: &mut World, call: &Call, graves: Graves) -> Result<Reply, Refusal> {
    let text = call
        .parameter("q")
        .ok_or_else(|| Refusal::bad("MALFORMED_QUERY", "A query string has to be specified"))?
        .to_owned();
    let (found, count) = run(world, &text, graves)?;
    let Some(found) = found else {
        return Ok(Reply::json(
            200,
            json!({ "totalSize": count, "done": true, "records": [] }),
        ));
    };
    if found.plan.is_aggregate() {
        let rows = found.plan.aggregated(found.place, &found.rows);
        let rows: Vec<Value> = rows
            .into_iter()
            .skip(found.plan.offset)
            .take(found.plan.limit)
            .collect();
        return Ok(Reply::json(
            200,
            json!({ "totalSize": rows.len(), "done": true, "records": rows }),
        ));
    }
    let size = page_size(call).min(world.limits.salesforce_page.max(1));
    let first = found.rows.get(..size).unwrap_or(&found.rows);
    let records = found.plan.shown(found.place, first);
    if count <= size {
        return Ok(page(&records, count, 0, ""));
    }
    let ids: Vec<String> = found.rows.iter().map(|(id, _)| (*id).to_owned()).collect();
    world.cursors.opened += 1;
    let id = ids::make("0r8", world.cursors.opened);
    let reply = page(&records, count, 0, &id);
    if world.cursors.open.len() >= CURSORS_MAX {
        world.cursors.open.pop_front();
    }
    let opened = world.now();
    world.cursors.open.push_back(Cursor {
        id,
        text,
        size,
        ids,
        opened,
    });
    Ok(reply)
}

/// `GET /query/{locator}`.
pub(super) fn more(world: &World, locator: &str) -> Result<Reply, Refusal> {
    let gone = || Refusal::bad("INVALID_QUERY_LOCATOR", "invalid query locator");
    let (id, offset) = locator.split_once('-').ok_or_else(gone)?;
    let offset: usize = offset.parse().map_err(|_| gone())?;
    let now = world.now().as_second();
    let cursor = world
        .cursors
        .open
        .iter()
        .find(|open| open.id == id && now - open.opened.as_second() <= CURSOR_S)
        .ok_or_else(gone)?;
    let count = cursor.ids.len();
    let Some(ids) = cursor
        .ids
        .get(offset..count.min(offset + cursor.size))
        .filter(|ids| !ids.is_empty())
    else {
        return Err(gone());
    };
    let query = soql::parse(&cursor.text).map_err(|_| gone())?;
    let (object, Select::Items(items)) = (world.schema.object(&query.object).ok_or_else(gone)?, &query.select) else {
        return Err(gone());
    };
    let place = Place {
        crm: world.crm(SYSTEM),
        schema: &world.schema,
        text: &cursor.text,
    };
    let plan = select::plan(place, &query, object, items)?;
    let table = place.crm.table(object.name).ok_or_else(gone)?;
    let rows: Vec<(&str, &Row)> = ids
        .iter()
        .filter_map(|id| Some((id.as_str(), table.get(id)?)))
        .collect();
    Ok(page(&plan.shown(place, &rows), count, offset, id))
}

fn page_size(call: &Call) -> usize {
    let options = call.header("sforce-query-options").unwrap_or("");
    let asked = options
        .split(',')
        .find_map(|part| part.trim().strip_prefix("batchSize=")?.trim().parse().ok());
    asked.unwrap_or(SALESFORCE_PAGE).clamp(PAGE_MIN, SALESFORCE_PAGE)
}

fn page(records: &[Value], count: usize, offset: usize, cursor: &str) -> Reply {
    let end = offset + records.len();
    let done = end >= count;
    let mut body = json!({ "totalSize": count, "done": done, "records": records });
    if !done {
        body["nextRecordsUrl"] = json!(format!("/services/data/{VERSION}/query/{cursor}-{end}"));
    }
    Reply::json(200, body)
}
