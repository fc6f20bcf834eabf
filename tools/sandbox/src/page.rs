//! The pages for people: what is in both CRMs, one object, one record with its history.
//!
//! Promises: everything shown is escaped by the template; nothing on a page can change anything. Needs no token, because
//! only this machine can ask.

use std::collections::BTreeMap;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value;

use crate::record::{Change, System};
use crate::serve::Server;
use crate::wire::{Call, Reply};
use crate::world::{Row, World};
use crate::{hubspot, salesforce};

/// Rows of a table on one page. More is not read by people; the API pages through all.
const ROWS_MAX: usize = 500;
/// Changes on the first page.
const LATEST_MAX: usize = 25;
/// Changes on the page of a record.
const HISTORY_MAX: usize = 500;
/// Letters of a value in a table.
const CELL_MAX: usize = 90;
/// Fields that make a column of an object's table, besides the id.
const COLUMNS: &[&str] = &[
    "Name",
    "name",
    "dealname",
    "subject",
    "Subject",
    "Title",
    "hs_task_subject",
    "hs_note_body",
    "email",
    "Email",
    "firstname",
    "lastname",
    "StageName",
    "dealstage",
    "Status",
    "hs_task_status",
    "Amount",
    "amount",
    "CloseDate",
    "closedate",
    "NextStep",
    "hs_next_step",
    "Perennial_Health__c",
    "perennial_health",
    "Perennial_Renewal_Risk__c",
    "perennial_renewal_risk",
    "Perennial_Next_Step__c",
    "perennial_next_step",
    "Perennial_Posture__c",
    "perennial_posture",
    "lifecyclestage",
    "domain",
];
/// Columns in one table, so that it fits a screen.
const COLUMNS_MAX: usize = 6;

/// Whether a path is one of ours and not the vendor's.
pub(crate) fn is_page(call: &Call) -> bool {
    call.path == "/" || call.path == "/favicon.ico" || call.path == "/records" || call.path.starts_with("/records/")
}

/// Answers a page.
pub(crate) fn answer(world: &World, server: &Server, call: &Call) -> Reply {
    let segments = call.segments();
    let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
    let page = match parts.as_slice() {
        [] | ["records"] => Some(index(world, server)),
        ["records", object] => table(world, server, object),
        ["records", object, id] => record(world, server, object, id),
        _ => None,
    };
    let reply = match page {
        Some(page) => Reply::html(200, page.into_string()),
        None => Reply::html(404, missing(server).into_string()),
    };
    // Scripts cannot run even if one got past the escaping.
    reply
        .with(
            "content-security-policy",
            "default-src 'none'; style-src 'unsafe-inline'; img-src data:",
        )
        .with("cache-control", "no-store")
        .with("x-content-type-options", "nosniff")
}

/// The body of an injected 503, as from a load balancer in front of the vendor.
pub(crate) fn unavailable() -> String {
    html! {
        (DOCTYPE)
        html { head { title { "Service Unavailable" } } body { h1 { "503 Service Unavailable" } p { "Try again later." } } }
    }
    .into_string()
}

const STYLE: &str = "
:root{--ink:#1d2430;--soft:#5b6675;--line:#e1e5ec;--page:#f5f6f9;--card:#fff;--accent:#1f5fbf;--sf:#0176d3;--hs:#d9512c;
--was:#9b2c2c;--wasbg:#fdecec;--now:#1c6b3c;--nowbg:#e6f5ec}
@media (prefers-color-scheme:dark){:root{--ink:#e6e9ef;--soft:#9aa5b5;--line:#2c3440;--page:#12161c;--card:#1a2029;
--accent:#7fb0ff;--sf:#4aa8f0;--hs:#ff8a66;--was:#ff9d9d;--wasbg:#3a1f22;--now:#8ce0ac;--nowbg:#183324}}
*{box-sizing:border-box}body{margin:0;background:var(--page);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}
.bar{background:#f6c344;color:#2b2100;padding:.45rem 1.5rem;font-weight:600;font-size:.9rem}
main{max-width:72rem;margin:0 auto;padding:1.5rem}a{color:var(--accent);text-decoration:none}a:hover{text-decoration:underline}
h1{font-size:1.6rem;margin:.2rem 0 .4rem;overflow-wrap:anywhere}h2{font-size:1.1rem;margin:2rem 0 .7rem}
.crumbs,.soft{color:var(--soft);font-size:.9rem}.two{display:grid;grid-template-columns:repeat(auto-fit,minmax(20rem,1fr));gap:1.2rem;margin-top:1.2rem}
.card{background:var(--card);border:1px solid var(--line);border-radius:10px;overflow-x:auto}
.card>h2{margin:0;padding:.8rem 1rem;border-bottom:1px solid var(--line)}.card>p{margin:0;padding:.6rem 1rem}
table{width:100%;border-collapse:collapse}th,td{padding:.5rem 1rem;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}
tr:last-child td,tr:last-child th{border-bottom:0}thead th{color:var(--soft);font-weight:600;font-size:.8rem;white-space:nowrap}
tbody th{font-weight:500;color:var(--soft);width:16rem;white-space:nowrap}td{overflow-wrap:anywhere}
.n{text-align:right;font-variant-numeric:tabular-nums}code,.id{font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,monospace}
.tag{display:inline-block;padding:.05rem .55rem;border-radius:99px;border:1px solid currentColor;font-size:.75rem;font-weight:600}
.Salesforce{color:var(--sf)}.HubSpot{color:var(--hs)}
.was{color:var(--was);background:var(--wasbg);padding:.05rem .3rem;border-radius:4px;text-decoration:line-through;white-space:pre-wrap}
.now{color:var(--now);background:var(--nowbg);padding:.05rem .3rem;border-radius:4px;white-space:pre-wrap}
.who{white-space:nowrap;font-weight:600}.who.program{color:var(--soft);font-weight:400}
.word{white-space:nowrap;color:var(--soft)}.field{color:var(--soft)}.over{color:var(--was);font-size:.85rem}
.marker{margin-top:.2rem;font-size:.85rem;color:var(--soft)}.empty{padding:.6rem 1rem;color:var(--soft);font-size:.9rem}
.key{display:flex;gap:1.2rem;flex-wrap:wrap;margin:.2rem 0 .8rem}
.text{white-space:pre-wrap}.none{color:var(--soft)}time{white-space:nowrap}
";

fn frame(title: &str, body: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · Perennial Sandbox" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                div.bar { "Sandbox: made-up records on this machine. Nothing here reaches a real CRM." }
                main { (body) }
            }
        }
    }
}

fn missing(server: &Server) -> Markup {
    frame(
        "Not found",
        html! {
            h1 { "Not found" }
            p { "There is no such object or record in the " (server.system) " sandbox. " a href="/" { "See what there is." } }
        },
    )
}

fn index(world: &World, server: &Server) -> Markup {
    let changes = world.changes();
    frame(
        "Overview",
        html! {
            h1 { "Sandbox" }
            p.soft {
                "You are on the " (server.system) " server at " code { (server.base_url) } ". The other one is at "
                a href=(server.other_url) { (server.other_url) } "."
            }
            div.two {
                @for system in [System::Salesforce, System::Hubspot] { (objects(world, system)) }
            }
            h2 { "Latest changes" }
            div.card {
                @if changes.is_empty() { p.none { "Nothing has been written since the start." } }
                @else { (history(world, changes.iter().rev().take(LATEST_MAX), Where::Shown, &BTreeMap::new())) }
            }
            @if changes.len() > LATEST_MAX {
                p.soft { "The latest " (LATEST_MAX) " of " (changes.len()) " changes." }
            }
        },
    )
}

fn objects(world: &World, system: System) -> Markup {
    let mut changed: BTreeMap<&str, usize> = BTreeMap::new();
    for change in world.changes().iter().filter(|change| change.system == system) {
        *changed.entry(change.object.as_str()).or_default() += 1;
    }
    let all: Vec<(&str, usize, usize)> = world
        .crm(system)
        .objects()
        .map(|(object, table)| {
            (
                object,
                table.after(None).count(),
                changed.get(object).copied().unwrap_or(0),
            )
        })
        .collect();
    let (used, empty): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, living, changed)| living + changed > 0);
    html! {
        div.card {
            h2 { span class={ "tag " (system) } { (system) } }
            @if !used.is_empty() {
                table {
                    thead { tr { th { "Object" } th.n { "Records" } th.n { "Changes" } } }
                    tbody {
                        @for (object, living, changed) in &used {
                            tr {
                                td { a href={ "/records/" (object) } { (object) } }
                                td.n { (living) }
                                td.n { (changed) }
                            }
                        }
                    }
                }
            }
            @if !empty.is_empty() {
                div.empty {
                    "Without records: "
                    @for (at, (object, ..)) in empty.iter().enumerate() {
                        @if at > 0 { ", " }
                        a href={ "/records/" (object) } { (object) }
                    }
                }
            }
        }
    }
}

/// The system an object is in. The names of the two never meet.
fn system_of(world: &World, object: &str) -> Option<System> {
    [System::Salesforce, System::Hubspot]
        .into_iter()
        .find(|system| world.crm(*system).table(object).is_some())
}

fn table(world: &World, server: &Server, object: &str) -> Option<Markup> {
    let system = system_of(world, object)?;
    let table = world.crm(system).table(object)?;
    let rows: Vec<(&str, &Row)> = table.after(None).collect();
    let used = |name: &&&str| rows.iter().any(|(_, row)| row.fields.contains_key(**name));
    let columns: Vec<&str> = COLUMNS.iter().filter(used).take(COLUMNS_MAX).copied().collect();
    Some(frame(
        object,
        html! {
            p.crumbs { a href="/" { "Sandbox" } " / " (system) }
            h1 { (object) " " span class={ "tag " (system) } { (system) } }
            p.soft {
                (rows.len()) " records"
                @if rows.len() > ROWS_MAX { ", the first " (ROWS_MAX) " are shown" }
                " · " (server.base_url)
            }
            div.card {
                @if rows.is_empty() { p.none { "No records." } }
                @else {
                    table {
                        thead { tr {
                            th { "Id" }
                            @for column in &columns { th { (column) } }
                            th { "Changed" }
                        } }
                        tbody {
                            @for (id, row) in rows.iter().take(ROWS_MAX) {
                                tr {
                                    td { a.id href={ "/records/" (object) "/" (id) } { (id) } }
                                    @for column in &columns { td { (cell(row.get(column))) } }
                                    td { (time(row.modified)) }
                                }
                            }
                        }
                    }
                }
            }
        },
    ))
}

fn cell(value: &Value) -> String {
    let text = plain(value);
    if text.chars().count() <= CELL_MAX {
        return text;
    }
    text.chars().take(CELL_MAX).chain("…".chars()).collect()
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

fn time(at: jiff::Timestamp) -> Markup {
    html! { time datetime=(at) { (at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()) } }
}

fn record(world: &World, server: &Server, object: &str, id: &str) -> Option<Markup> {
    let system = system_of(world, object)?;
    // A deleted record keeps its page, because its history is what someone will look for.
    let row = world.crm(system).table(object)?.get(id)?;
    let title = title(row).unwrap_or(id);
    let changes = world.history(row);
    let names = match system {
        System::Salesforce => salesforce::field_names(&world.schema, object),
        System::Hubspot => hubspot::field_names(&world.types, object),
    };
    let mut writers: BTreeMap<&str, usize> = BTreeMap::new();
    for change in &changes {
        *writers.entry(change.by.as_str()).or_default() += 1;
    }
    let filled = names.iter().filter(|name| row.fields.contains_key(**name));
    Some(frame(
        title,
        html! {
            p.crumbs { a href="/" { "Sandbox" } " / " a href={ "/records/" (object) } { (object) } " / " span.id { (id) } }
            h1 { (title) " " span class={ "tag " (system) } { (system) } }
            p.soft {
                "created " (time(row.created)) " · changed " (time(row.modified))
                @if row.locked { " · locked: every write is refused" }
                @if row.deleted { " · deleted" }
                " · " (server.base_url)
            }
            h2 { "History" }
            @if !changes.is_empty() {
                p.key.soft {
                    @for (by, count) in &writers { span { span class={ "who" @if is_program(by) { " program" } } { (by) } " " (count) @if *count == 1 { " change" } @else { " changes" } } }
                    span { a href={ "/sandbox/changes?object=" (object) "&id=" (id) } { "as JSON" } }
                }
            }
            div.card {
                @if changes.is_empty() { p.none { "Nothing has been written to this record since the start." } }
                @else { (history(world, changes.iter().rev().take(HISTORY_MAX), Where::Hidden, &replaced(&changes))) }
            }
            h2 { "Fields" }
            div.card {
                table { tbody {
                    @for name in filled { tr { th { (name) } td.text { (plain(row.get(name))) } } }
                } }
            }
            @if !row.links.is_empty() {
                h2 { "Associations" }
                div.card {
                    table { tbody {
                        @for ((to, to_id), types) in &row.links {
                            tr {
                                th { (to) }
                                td { a.id href={ "/records/" (to) "/" (to_id) } { (to_id) } }
                                td.soft { "type " (types.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")) }
                            }
                        }
                    } }
                }
            }
        },
    ))
}

/// Fields that name a record, the first one that is filled counts.
const TITLES: &[&str] = &[
    "Name",
    "name",
    "dealname",
    "Subject",
    "subject",
    "Title",
    "hs_task_subject",
    "email",
];

fn title(row: &Row) -> Option<&str> {
    TITLES.iter().map(|name| row.text(name)).find(|text| !text.is_empty())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Where {
    Shown,
    Hidden,
}

/// Programs call themselves `name/version`; people have names.
fn is_program(by: &str) -> bool {
    by.contains('/')
}

/// Whose value each of these changes replaced, by number of the change and field, where it was somebody else's.
fn replaced(changes: &[Change]) -> BTreeMap<(u64, &str), &str> {
    let mut last: BTreeMap<&str, &str> = BTreeMap::new();
    let mut replaced = BTreeMap::new();
    for change in changes {
        for field in &change.fields {
            let before = last.insert(field.field.as_str(), change.by.as_str());
            if let Some(other) = before.filter(|other| *other != change.by) {
                replaced.insert((change.number, field.field.as_str()), other);
            }
        }
    }
    replaced
}

fn history<'a>(
    world: &World,
    changes: impl Iterator<Item = &'a Change>,
    place: Where,
    replaced: &BTreeMap<(u64, &str), &str>,
) -> Markup {
    html! {
        table {
            thead { tr {
                th { "When" } th { "Who" }
                @if place == Where::Shown { th { "Record" } }
                th { "What" } th { "Before → after" }
            } }
            tbody {
                @for change in changes {
                    tr {
                        td { (time(change.at)) }
                        td { span class={ "who" @if is_program(&change.by) { " program" } } { (change.by) } }
                        @if place == Where::Shown {
                            @let row = world.crm(change.system).table(&change.object).and_then(|table| table.get(&change.record_id));
                            td {
                                a href={ "/records/" (change.object) "/" (change.record_id) } {
                                    (row.and_then(title).unwrap_or(&change.record_id))
                                }
                                div { span class={ "tag " (change.system) } { (change.system) } " " span.soft { (change.object) } }
                            }
                        }
                        td.word { (change.kind.word()) }
                        td {
                            @if change.fields.is_empty() { span.none { "no field changed" } }
                            @for field in &change.fields {
                                div {
                                    span.field { (field.field) } " "
                                    @if !field.before.is_null() { span.was { (cell(&field.before)) } " → " }
                                    @if field.after.is_null() { span.none { "empty" } }
                                    @else { span.now { (cell(&field.after)) } }
                                    @if let Some(other) = replaced.get(&(change.number, field.field.as_str())) {
                                        " " span.over { "replaces what " (other) " wrote" }
                                    }
                                }
                            }
                            @if let Some(marker) = &change.marker { div.marker { "request marker " code { (marker) } } }
                        }
                    }
                }
            }
        }
    }
}
