//! The one handler behind both ports: read the request, meet a fault, let the vendor's module answer, show pages.
//!
//! Promises: an answer is computed under one lock and without waiting, so every request sees and leaves a whole state.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::Response;
use serde_json::{Value, json};

use crate::fault::{self, FaultKind, SLOW_MAX};
use crate::mutation::{self, Wire};
use crate::record::{CallLine, System};
use crate::wire::{BODY_MAX, Call, Cut, Keep, PATH_MAX, Reply, pairs};
use crate::world::{Author, World};
use crate::{control, hubspot, page, salesforce};

/// What all requests of one server share.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) system: System,
    pub(crate) world: Arc<Mutex<World>>,
    pub(crate) base_url: Arc<str>,
    pub(crate) other_url: Arc<str>,
}

/// The world, also after a panic elsewhere: a sandbox that still answers is worth more than a clean one that does not.
pub(crate) fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers any request.
pub(crate) async fn answer(
    State(server): State<Server>,
    ConnectInfo(cut): ConnectInfo<Cut>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let whole = parts
        .uri
        .path_and_query()
        .map(|path| path.as_str().to_owned())
        .unwrap_or_default();
    let line = CallLine {
        system: server.system,
        method: parts.method.as_str().to_owned(),
        path: whole,
        status: None,
    };
    if line.path.len() > PATH_MAX {
        return refused(&server, line, 414, "the address is too long");
    }
    let Ok(body) = to_bytes(body, BODY_MAX).await else {
        return refused(&server, line, 413, "the body is too large");
    };
    let call = Call {
        method: line.method.clone(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().map(pairs).unwrap_or_default(),
        headers: parts.headers,
        body,
        base_url: server.base_url.to_string(),
    };
    if call.method == "GET" && page::is_page(&call) {
        return page::answer(&lock(&server.world), &server, &call).into_response(Keep::All);
    }
    if control::is_control(&call) {
        return control::answer(&mut lock(&server.world), &server, &call).into_response(Keep::All);
    }
    api(&server, &cut, line, &call).await
}

async fn api(server: &Server, cut: &Cut, line: CallLine, call: &Call) -> Response {
    let (reply, after, latency) = {
        let mut world = lock(&server.world);
        let fault = match fault::take(&mut world.faults, server.system, &call.method, &call.path) {
            Some(fault) => Some(fault),
            None => world
                .chances
                .as_mut()
                .and_then(|chances| chances.draw(server.system, &call.method, &call.path)),
        };
        let (reply, after) = meet(server, &mut world, call, fault);
        let status = if after.is_cut() { None } else { Some(reply.status) };
        world.note_call(CallLine { status, ..line });
        (reply, after, world.latency)
    };
    // INVARIANT (nobody waits under the lock): the answer is complete before anything sleeps.
    if !latency.is_zero() {
        tokio::time::sleep(latency.min(SLOW_MAX)).await;
    }
    match after {
        After::Nothing => reply.into_response(Keep::All),
        After::Halve => reply.into_response(Keep::Half),
        After::Cut(delay) => {
            if !delay.is_zero() {
                tokio::time::sleep(delay.min(SLOW_MAX)).await;
            }
            cut.cut();
            Reply::empty(500).into_response(Keep::All)
        }
        After::Wait(delay) => {
            tokio::time::sleep(delay.min(SLOW_MAX)).await;
            reply.into_response(Keep::All)
        }
        After::Drip(delay) => reply.into_response(Keep::Drip(delay.min(SLOW_MAX))),
    }
}

#[derive(PartialEq, Eq)]
enum After {
    Nothing,
    Halve,
    /// The connection is cut, after this long.
    Cut(Duration),
    Wait(Duration),
    /// Half of the body comes this late.
    Drip(Duration),
}

impl After {
    fn is_cut(&self) -> bool {
        matches!(self, After::Cut(_))
    }
}

fn meet(server: &Server, world: &mut World, call: &Call, fault: Option<FaultKind>) -> (Reply, After) {
    let Some(fault) = fault else {
        return route(server.system, world, call);
    };
    match fault {
        FaultKind::DropBeforeCommit => (Reply::empty(500), After::Cut(Duration::ZERO)),
        FaultKind::DropAfterCommit => (route(server.system, world, call).0, After::Cut(Duration::ZERO)),
        FaultKind::StallBeforeCommit { delay } => (Reply::empty(500), After::Cut(delay)),
        FaultKind::StallAfterCommit { delay } => (route(server.system, world, call).0, After::Cut(delay)),
        FaultKind::Slow { delay } => (route(server.system, world, call).0, After::Wait(delay)),
        FaultKind::SlowBody { delay } => (route(server.system, world, call).0, After::Drip(delay)),
        FaultKind::TruncatedJson => (route(server.system, world, call).0, After::Halve),
        FaultKind::Unavailable => (Reply::html(503, page::unavailable()), After::Nothing),
        FaultKind::BadGateway => (Reply::html(502, page::unavailable()), After::Nothing),
        FaultKind::PartialFailure { every } => {
            world.failing = Some((every, 0));
            let answered = route(server.system, world, call);
            world.failing = None;
            answered
        }
        FaultKind::PersonEdits {
            object,
            id,
            field,
            value,
        } => {
            let fields = [(field, Value::from(value))].into();
            let author = Author {
                by: "a person".to_owned(),
                marker: None,
            };
            let edited = match server.system {
                System::Salesforce => salesforce::edit(world, &object, &id, fields, author),
                System::Hubspot => hubspot::edit(world, &object, &id, fields, author),
            };
            if let Err(message) = edited {
                tracing::warn!(system = %server.system, message, "the person's edit was refused");
            }
            route(server.system, world, call)
        }
        FaultKind::TooManyRequests { .. }
        | FaultKind::LimitExhausted
        | FaultKind::TokenExpired
        | FaultKind::ServerError => {
            let reply = match server.system {
                System::Salesforce => salesforce::fault(world, &fault),
                System::Hubspot => hubspot::fault(world, &fault),
            };
            (reply, After::Nothing)
        }
    }
}

fn route(system: System, world: &mut World, call: &Call) -> (Reply, After) {
    let whole: fn(&mut World, &Call) -> Reply = match system {
        System::Salesforce => salesforce::answer,
        System::Hubspot => hubspot::answer,
    };
    match world.mutation {
        Some(mutation) if mutation.system() == system => {
            let (reply, wire) = mutation::answer(world, mutation, call, whole);
            let after = match wire {
                Wire::Whole => After::Nothing,
                Wire::Cut => After::Cut(Duration::ZERO),
                Wire::Half => After::Halve,
            };
            (reply, after)
        }
        Some(_) | None => (whole(world, call), After::Nothing),
    }
}

fn refused(server: &Server, line: CallLine, status: u16, message: &str) -> Response {
    tracing::debug!(system = %server.system, status, message, "refused before reading");
    lock(&server.world).note_call(CallLine {
        status: Some(status),
        ..line
    });
    let body = match server.system {
        System::Salesforce => json!([{ "message": message, "errorCode": "REQUEST_TOO_LARGE" }]),
        System::Hubspot => json!({ "status": "error", "message": message, "category": "VALIDATION_ERROR" }),
    };
    Reply::json(status, body)
        .with("connection", "close")
        .into_response(Keep::All)
}
