//! Several requests in one: composite (one call, with references), batch (independent, each one counts), graphs.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::errors::Refusal;
use super::{SYSTEM, VERSION, body_fields, resource};
use crate::wire::{Call, Content, Reply, pairs};
use crate::world::World;

/// Requests in one composite and in one batch; the first is unverified.
const PARTS_MAX: usize = 25;
/// Queries and collections among the parts of a composite (unverified).
const HEAVY_MAX: usize = 5;
/// Requests of one graph (unverified).
const NODES_MAX: usize = 500;

/// `POST /composite`.
pub(super) fn post(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    let body = body_fields(call)?;
    let parts = list(&body, "compositeRequest")?;
    bounded(parts.len(), PARTS_MAX)?;
    let heavy = parts.iter().filter(|part| {
        let url = text(part, "url");
        url.contains("/query") || url.contains("/composite/sobjects")
    });
    if heavy.count() > HEAVY_MAX {
        let message = format!("At most {HEAVY_MAX} subrequests may be queries or collections");
        return Err(Refusal::bad("LIMIT_EXCEEDED", message));
    }
    let whole = body.get("allOrNone").and_then(Value::as_bool).unwrap_or(false);
    let (answers, _) = run(world, call, parts, whole)?;
    Ok(Reply::json(200, json!({ "compositeResponse": answers })))
}

/// `POST /composite/graph`.
pub(super) fn graphs(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    let body = body_fields(call)?;
    let graphs = list(&body, "graphs")?;
    let nodes: usize = graphs
        .iter()
        .filter_map(|graph| Some(graph.get("compositeRequest")?.as_array()?.len()))
        .sum();
    bounded(nodes, NODES_MAX)?;
    let mut answers = Vec::new();
    for graph in graphs {
        let parts = graph
            .get("compositeRequest")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let (parts, good) = run(world, call, &parts, true)?;
        answers.push(json!({
            "graphId": text(graph, "graphId"), "graphResponse": { "compositeResponse": parts }, "isSuccessful": good,
        }));
    }
    Ok(Reply::json(200, json!({ "graphs": answers })))
}

/// `POST /composite/batch`.
pub(super) fn batch(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    let body = body_fields(call)?;
    let parts = list(&body, "batchRequests")?;
    bounded(parts.len(), PARTS_MAX)?;
    // INVARIANT (each one counts): the request itself was counted once already.
    let more = u32::try_from(parts.len().saturating_sub(1)).unwrap_or(u32::MAX);
    world.salesforce_used = world.salesforce_used.saturating_add(more);
    let halts = body.get("haltOnError").and_then(Value::as_bool).unwrap_or(false);
    let (mut results, mut failed) = (Vec::new(), false);
    for part in parts {
        if halts && failed {
            let refusal = Refusal::new(412, "BATCH_PROCESSING_HALTED", "The batch was halted due to an error");
            results.push(json!({ "statusCode": 412, "result": shown(refusal.reply()) }));
            continue;
        }
        // Addresses here begin with the version.
        let url = text(part, "url").trim_start_matches('/').to_owned();
        let url = match url.strip_prefix("services/data/") {
            Some(rest) => rest.to_owned(),
            None => url,
        };
        let headers = HeaderMap::new();
        let inner = sub_call(
            call,
            text(part, "method"),
            &format!("/services/data/{url}"),
            part.get("richInput"),
            headers,
        );
        let reply = answer(world, &inner);
        failed |= reply.status >= 400;
        results.push(json!({ "statusCode": reply.status, "result": shown(reply) }));
    }
    Ok(Reply::json(200, json!({ "hasErrors": failed, "results": results })))
}

/// Runs parts one after the other. With `whole`, one failure undoes all and says so in every other part.
fn run(world: &mut World, call: &Call, parts: &[Value], whole: bool) -> Result<(Vec<Value>, bool), Refusal> {
    let savepoint = world.save(SYSTEM);
    let mut known: BTreeMap<String, Value> = BTreeMap::new();
    let mut answers = Vec::new();
    let mut failed = false;
    for part in parts {
        let reference = text(part, "referenceId").to_owned();
        if reference.is_empty() || known.contains_key(&reference) {
            world.roll_back(savepoint);
            let message = "Each subrequest needs a referenceId of its own";
            return Err(Refusal::bad("JSON_PARSER_ERROR", message));
        }
        let reply = if whole && failed {
            halted()
        } else {
            let url = filled(text(part, "url"), &known);
            let body = part.get("body").map(|body| deep(body, &known));
            let headers = sub_headers(part);
            match (url, body.transpose()) {
                (Ok(url), Ok(body)) => answer(
                    world,
                    &sub_call(call, text(part, "method"), &url, body.as_ref(), headers),
                ),
                (Err(missing), _) | (_, Err(missing)) => {
                    let message = format!("Invalid reference specified. No value for {missing} found.");
                    Refusal::bad("PROCESSING_HALTED", message).reply()
                }
            }
        };
        failed |= reply.status >= 400;
        let (status, headers) = (reply.status, headers_shown(&reply));
        let body = shown(reply);
        known.insert(reference.clone(), body.clone());
        answers.push(json!({
            "body": body, "httpHeaders": headers, "httpStatusCode": status, "referenceId": reference,
        }));
    }
    if whole && failed {
        world.roll_back(savepoint);
        for answer in &mut answers {
            if answer["httpStatusCode"].as_u64().is_some_and(|status| status < 400) {
                answer["body"] = shown(halted());
                answer["httpStatusCode"] = json!(400);
                answer["httpHeaders"] = json!({});
            }
        }
    } else {
        world.keep(savepoint);
    }
    Ok((answers, !failed))
}

fn halted() -> Reply {
    let message = "The transaction was rolled back since another operation in the same transaction failed.";
    Refusal::bad("PROCESSING_HALTED", message).reply()
}

fn answer(world: &mut World, call: &Call) -> Reply {
    let segments = call.segments();
    let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
    match parts.as_slice() {
        // Only collections may stand inside; one composite in another would have no end.
        ["services", "data", VERSION, "composite"] | ["services", "data", VERSION, "composite", "batch" | "graph"] => {
            Refusal::not_found().reply()
        }
        ["services", "data", VERSION, rest @ ..] => {
            resource(world, call, rest).unwrap_or_else(|refusal| refusal.reply())
        }
        _ => Refusal::not_found().reply(),
    }
}

fn sub_call(outer: &Call, method: &str, url: &str, body: Option<&Value>, mut headers: HeaderMap) -> Call {
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    if let Some(agent) = outer.headers.get("user-agent") {
        headers.insert("user-agent", agent.clone());
    }
    Call {
        method: method.to_ascii_uppercase(),
        path: path.to_owned(),
        query: pairs(query),
        headers,
        body: body.map(|body| Bytes::from(body.to_string())).unwrap_or_default(),
        base_url: outer.base_url.clone(),
    }
}

fn sub_headers(part: &Value) -> HeaderMap {
    let sent = part.get("httpHeaders").and_then(Value::as_object).into_iter().flatten();
    sent.filter_map(|(name, value)| {
        let name = HeaderName::from_bytes(name.to_ascii_lowercase().as_bytes()).ok()?;
        Some((name, HeaderValue::from_str(value.as_str()?).ok()?))
    })
    .collect()
}

fn headers_shown(reply: &Reply) -> Value {
    let named = reply.headers.iter().filter_map(|(name, value)| {
        let shown = match *name {
            "location" => "Location",
            "etag" => "ETag",
            "last-modified" => "Last-Modified",
            _ => return None,
        };
        Some((shown.to_owned(), Value::from(value.as_str())))
    });
    Value::Object(named.collect())
}

fn shown(reply: Reply) -> Value {
    match reply.content {
        Content::Json(body) => body,
        Content::Empty | Content::Html(_) | Content::Csv(_) => Value::Null,
    }
}

/// The text with every `@{reference.path}` filled in, or the reference that has no value.
fn filled(text: &str, known: &BTreeMap<String, Value>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((head, tail)) = rest.split_once("@{") {
        let Some((reference, after)) = tail.split_once('}') else {
            break;
        };
        let missing = || reference.to_owned();
        let (name, path) = reference.split_once('.').ok_or_else(missing)?;
        let mut at = known.get(name).ok_or_else(missing)?;
        for step in path.split(['.', '[']).map(|step| step.trim_end_matches(']')) {
            let inner = match step.parse::<usize>() {
                Ok(position) => at.get(position),
                Err(_) => at.get(step),
            };
            at = inner.ok_or_else(missing)?;
        }
        out.push_str(head);
        match at {
            Value::String(value) => out.push_str(value),
            Value::Null => return Err(missing()),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => out.push_str(&at.to_string()),
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn deep(body: &Value, known: &BTreeMap<String, Value>) -> Result<Value, String> {
    Ok(match body {
        Value::String(text) => Value::from(filled(text, known)?),
        Value::Array(all) => all.iter().map(|one| deep(one, known)).collect::<Result<_, _>>()?,
        Value::Object(map) => {
            let filled: Result<serde_json::Map<String, Value>, String> = map
                .iter()
                .map(|(key, value)| Ok((key.clone(), deep(value, known)?)))
                .collect();
            Value::Object(filled?)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => body.clone(),
    })
}

fn list<'a>(body: &'a crate::world::Fields, name: &str) -> Result<&'a Vec<Value>, Refusal> {
    body.get(name)
        .and_then(Value::as_array)
        .ok_or_else(|| Refusal::bad("JSON_PARSER_ERROR", format!("The request needs a list `{name}`")))
}

fn bounded(count: usize, max: usize) -> Result<(), Refusal> {
    if count > max {
        let message = format!("The request has more than {max} subrequests");
        return Err(Refusal::bad("LIMIT_EXCEEDED", message));
    }
    Ok(())
}

fn text<'a>(from: &'a Value, name: &str) -> &'a str {
    from.get(name).and_then(Value::as_str).unwrap_or("")
}
