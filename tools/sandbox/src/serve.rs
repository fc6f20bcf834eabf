//! The one handler behind both ports: read the request, meet a fault, let the vendor's module answer, show pages.
//!
//! Promises: an answer is computed under one lock and without waiting, so every request sees and leaves a whole state.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::to_bytes;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::Response;
use serde_json::json;

use crate::fault::{self, FaultKind, SLOW_MAX};
use crate::record::{CallLine, System};
use crate::wire::{BODY_MAX, Call, Cut, Keep, PATH_MAX, Reply, pairs};
use crate::world::World;
use crate::{hubspot, page, salesforce};

/// What all requests of one server share.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) system: System,
    pub(crate) world: Arc<Mutex<World>>,
    pub(crate) token: Arc<str>,
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
    api(&server, &cut, line, &call).await
}

async fn api(server: &Server, cut: &Cut, line: CallLine, call: &Call) -> Response {
    let (reply, after) = {
        let mut world = lock(&server.world);
        let fault = fault::take(&mut world.faults, server.system, &call.method, &call.path);
        let fault = fault.or_else(|| world.unreliable.as_mut().and_then(fault::Unreliable::draw));
        let (reply, after) = meet(server, &mut world, call, fault);
        let status = if after == After::Cut { None } else { Some(reply.status) };
        world.note_call(CallLine { status, ..line });
        (reply, after)
    };
    match after {
        After::Nothing => reply.into_response(Keep::All),
        After::Halve => reply.into_response(Keep::Half),
        After::Cut => {
            cut.cut();
            Reply::empty(500).into_response(Keep::All)
        }
        After::Wait(delay) => {
            tokio::time::sleep(delay.min(SLOW_MAX)).await;
            reply.into_response(Keep::All)
        }
    }
}

#[derive(PartialEq, Eq)]
enum After {
    Nothing,
    Halve,
    Cut,
    Wait(std::time::Duration),
}

fn meet(server: &Server, world: &mut World, call: &Call, fault: Option<FaultKind>) -> (Reply, After) {
    let Some(fault) = fault else {
        return (route(server, world, call), After::Nothing);
    };
    match fault {
        FaultKind::DropBeforeCommit => (Reply::empty(500), After::Cut),
        FaultKind::DropAfterCommit => (route(server, world, call), After::Cut),
        FaultKind::Slow { delay } => (route(server, world, call), After::Wait(delay)),
        FaultKind::TruncatedJson => (route(server, world, call), After::Halve),
        FaultKind::Unavailable => (Reply::html(503, page::unavailable()), After::Nothing),
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

fn route(server: &Server, world: &mut World, call: &Call) -> Reply {
    match server.system {
        System::Salesforce => salesforce::answer(world, call, &server.token),
        System::Hubspot => hubspot::answer(world, call, &server.token),
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
