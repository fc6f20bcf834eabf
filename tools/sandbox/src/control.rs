//! The same as JSON, for programs that are not in Rust: `/sandbox/..` on either server.
//!
//! Promises: reading needs no token, because only this machine can ask; changing needs the token the server told when it
//! started, so that no page in a browser can do it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::fault::{Chance, Chances, FAULTS_MAX, Fault, FaultKind, RouteMatch};
use crate::mutation::Mutation;
use crate::record::{Change, System};
use crate::serve::Server;
use crate::token::TokenRule;
use crate::webhook::Webhooks;
use crate::wire::{Call, Reply};
use crate::world::World;

/// Changes in one answer.
const CHANGES_SHOWN: usize = 10_000;

pub(crate) fn is_control(call: &Call) -> bool {
    call.path == "/sandbox" || call.path.starts_with("/sandbox/")
}

pub(crate) fn answer(world: &mut World, server: &Server, call: &Call) -> Reply {
    let segments = call.segments();
    let parts: Vec<&str> = segments.iter().skip(1).map(String::as_str).collect();
    if call.method == "GET" {
        return match parts.as_slice() {
            ["changes"] => changes(world, call),
            ["calls"] => calls(world, server.system),
            ["mutations"] => mutations(),
            _ => no(
                404,
                "there are /sandbox/changes, /sandbox/calls and /sandbox/mutations to read",
            ),
        };
    }
    let tokens = match server.system {
        System::Salesforce => &world.salesforce_tokens,
        System::Hubspot => &world.hubspot_tokens,
    };
    if !tokens.is_first(call.bearer()) {
        return no(401, "send the token that the server told when it started");
    }
    match (call.method.as_str(), parts.as_slice()) {
        ("DELETE", ["faults"]) => {
            world.faults.clear();
            world.chances = None;
            Reply::empty(204)
        }
        ("POST", ["faults"]) => done(faults(world, server.system, call)),
        ("POST", ["settings"]) => done(settings(world, server.system, call)),
        _ => no(
            404,
            "there are POST and DELETE /sandbox/faults, and POST /sandbox/settings",
        ),
    }
}

fn done(outcome: Result<(), String>) -> Reply {
    match outcome {
        Ok(()) => Reply::empty(204),
        Err(message) => no(400, &message),
    }
}

fn no(status: u16, message: &str) -> Reply {
    Reply::json(status, json!({ "message": message }))
}

fn changes(world: &World, call: &Call) -> Reply {
    let wanted = |change: &&Change| {
        call.parameter("object").is_none_or(|object| change.object == object)
            && call.parameter("id").is_none_or(|id| change.record_id == id)
            && call.parameter("by").is_none_or(|by| change.by == by)
    };
    let after: u64 = call.parameter("after").and_then(|text| text.parse().ok()).unwrap_or(0);
    let shown: Vec<Value> = world
        .changes()
        .iter()
        .filter(|change| change.number > after)
        .filter(wanted)
        .take(CHANGES_SHOWN)
        .map(|change| {
            let fields: Vec<Value> = change
                .fields
                .iter()
                .map(|field| json!({ "field": field.field, "before": field.before, "after": field.after }))
                .collect();
            json!({
                "number": change.number, "system": change.system.to_string(), "object": change.object,
                "id": change.record_id, "kind": change.kind.word(), "fields": fields, "at": change.at.to_string(),
                "by": change.by, "marker": change.marker,
            })
        })
        .collect();
    Reply::json(200, json!({ "changes": shown }))
}

fn calls(world: &World, system: System) -> Reply {
    let own = world.tally.iter().filter(|((one, _), _)| *one == system);
    let counts: serde_json::Map<String, Value> = own.map(|((_, route), count)| (route.clone(), json!(count))).collect();
    Reply::json(200, json!({ "calls": counts }))
}

fn mutations() -> Reply {
    let all: Vec<Value> = Mutation::ALL
        .iter()
        .map(|one| json!({ "name": one.name(), "what": one.what(), "system": one.system().to_string() }))
        .collect();
    Reply::json(200, json!({ "mutations": all }))
}

fn body(call: &Call) -> Result<Value, String> {
    call.json().and_then(|body| {
        if body.is_object() {
            Ok(body)
        } else {
            Err("the body must be a JSON object".to_owned())
        }
    })
}

fn faults(world: &mut World, system: System, call: &Call) -> Result<(), String> {
    let body = body(call)?;
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    let number = |name: &str| body.get(name).and_then(Value::as_u64);
    let name = text("kind").ok_or("`kind` is missing, such as `unavailable`")?;
    let extra = number("delay_ms").or(number("every")).unwrap_or(1);
    let kind = FaultKind::named(name, extra).ok_or_else(|| format!("there is no fault `{name}`"))?;
    let route = match (text("method"), text("prefix")) {
        (None, None) => RouteMatch::Any,
        (method, prefix) => RouteMatch::route(
            method.ok_or("`method` is missing beside `prefix`")?,
            prefix.unwrap_or("/"),
        ),
    };
    if let Some(per_mille) = number("per_mille") {
        let per_mille = u32::try_from(per_mille.min(1_000)).unwrap_or(1_000);
        let seed = number("seed").unwrap_or(1);
        let chance = Chance {
            system,
            route,
            kind,
            per_mille,
        };
        world.chances = Some(Chances::new(seed, vec![chance]));
        return Ok(());
    }
    if world.faults.len() >= FAULTS_MAX {
        return Err(format!("{FAULTS_MAX} faults wait already"));
    }
    let times = u32::try_from(number("times").unwrap_or(1)).unwrap_or(1);
    if times > 0 {
        world.faults.push(Fault {
            system,
            route,
            kind,
            times,
        });
    }
    Ok(())
}

fn settings(world: &mut World, system: System, call: &Call) -> Result<(), String> {
    let body = body(call)?;
    for (name, value) in body.as_object().into_iter().flatten() {
        let number = || value.as_u64().ok_or_else(|| format!("`{name}` must be a whole number"));
        let small = || number().map(|number| u32::try_from(number).unwrap_or(u32::MAX));
        match name.as_str() {
            "latency_ms" => world.latency = Duration::from_millis(number()?),
            "salesforce_daily" => world.limits.salesforce_daily = small()?,
            "hubspot_daily" => world.limits.hubspot_daily = Some(small()?),
            "hubspot_search_lag_ms" => world.limits.hubspot_search_lag = Some(Duration::from_millis(number()?)),
            "hubspot_searches_per_second" => world.limits.hubspot_searches_per_second = Some(small()?),
            "token_requests" => {
                let rule = TokenRule {
                    lifetime: None,
                    requests: Some(small()?),
                };
                let now = world.now();
                match system {
                    System::Salesforce => world.salesforce_tokens.set_rule(rule, now),
                    System::Hubspot => world.hubspot_tokens.set_rule(rule, now),
                }
            }
            "webhooks" => {
                let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
                let (target, secret) = (text("target"), text("secret"));
                if !target.starts_with("http://127.0.0.1:") {
                    return Err("webhooks go to http://127.0.0.1:PORT/.. only".to_owned());
                }
                world.hooks.rule = Some(Webhooks::new(target, secret));
            }
            "mutation" => {
                let name = value.as_str().unwrap_or("");
                world.mutation = match Mutation::named(name) {
                    None if !name.is_empty() => return Err(format!("there is no mutation `{name}`")),
                    found => found,
                };
            }
            _ => return Err(format!("there is no setting `{name}`")),
        }
    }
    Ok(())
}
