//! For tests: effects with permits, and a tiny HTTP server that does as it is told and remembers what it was asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use perennial_core::action::{ActionState, Effect, Permit, Target, Write, effects_hash};
use perennial_core::approval::{Asks, Event, Item, Need, Person, apply};
use perennial_core::ids::{AccountId, ActionId, EffectId};
use perennial_core::replay::Hash;
use perennial_core::signal::{Crm, OwnerRole};
use perennial_core::time::Timestamp;
use secrecy::SecretString;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::Connection;

pub(crate) const TOKEN: &str = "t0ken-that-must-not-show";

/// A moment for receipts.
pub(crate) fn now() -> Timestamp {
    "2026-11-21T08:00:00Z".parse().expect("a time")
}

pub(crate) fn effect(tool: Crm, crm_id: Option<&str>, write: Write) -> Effect {
    let action = ActionId::new("act_1");
    Effect {
        id: EffectId::derive(&action, 0),
        action,
        step: 0,
        tool,
        target: Target {
            account: AccountId::new("A/1 ü"),
            account_name: "Northwind Traders".to_owned(),
            crm_id: crm_id.map(str::to_owned),
        },
        write,
    }
}

/// A permit as it comes: approved, stored, verified.
pub(crate) fn permit(effect: &Effect) -> Permit {
    let effects = vec![effect.clone()];
    let item = Item {
        action: effect.action.clone(),
        state: ActionState::Pending,
        effects: effects.clone(),
        needs: vec![Need {
            role: OwnerRole::CSM,
            sufficient: [OwnerRole::CSM].into(),
        }],
        votes: Vec::new(),
        own_roles_only: true,
        asks: Asks::default(),
        last_editor: None,
        expires_at: None,
        content: Hash::ZERO,
    };
    let person = Person {
        id: "ana".to_owned(),
        roles: vec![OwnerRole::CSM],
        lent: Vec::new(),
    };
    let seen = effects_hash(&effects);
    let step = apply(&item, &Event::Approve { seen, reason: None }, Some(&person), now()).expect("approved");
    let record = step.permit.expect("a permit").record().clone();
    record.verify(effect, &effects).expect("covered")
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// With query.
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Value,
}

/// What to answer.
#[derive(Debug, Clone)]
pub(crate) enum Say {
    Json(u16, Value),
    /// Status, headers, body.
    Raw(u16, Vec<(&'static str, String)>, String),
    /// Close the connection without a word.
    Cut,
    /// Promise a whole body and send half of it.
    Half(u16, String),
    /// Say nothing and keep the connection.
    Hang,
}

pub(crate) struct Server {
    pub(crate) base: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(handler: impl Fn(&Seen) -> Say + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let handler = Arc::new(handler);
        let task = tokio::spawn({
            let seen = Arc::clone(&seen);
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let (seen, handler) = (Arc::clone(&seen), Arc::clone(&handler));
                    tokio::spawn(async move { serve(stream, &seen, handler.as_ref()).await });
                }
            }
        });
        Server { base, seen, task }
    }

    /// Answers from a list, one after the other.
    pub(crate) async fn script(answers: Vec<Say>) -> Server {
        let answers = Mutex::new(std::collections::VecDeque::from(answers));
        Server::start(move |_| {
            let next = answers.lock().expect("a lock").pop_front();
            next.unwrap_or(Say::Raw(599, vec![], "the script is over".to_owned()))
        })
        .await
    }

    pub(crate) fn connection(&self) -> Connection {
        Connection {
            timeout_ms: 1_500,
            requests_per_second: 1_000,
            burst: 1_000,
            ..Connection::new(self.base.clone(), SecretString::from(TOKEN))
        }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("a lock").clone()
    }

    /// Methods and paths, as one line each.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.seen()
            .iter()
            .map(|seen| format!("{} {}", seen.method, seen.path))
            .collect()
    }

    /// Requests that could have written.
    pub(crate) fn writes(&self) -> usize {
        self.seen().iter().filter(|seen| seen.method != "GET").count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, seen: &Mutex<Vec<Seen>>, handler: &(impl Fn(&Seen) -> Say + Sync)) {
    let Some(request) = receive(&mut stream).await else {
        return;
    };
    seen.lock().expect("a lock").push(request.clone());
    let (status, headers, body, sent) = match handler(&request) {
        Say::Json(status, body) => {
            let body = body.to_string();
            let sent = body.len();
            (
                status,
                vec![("content-type", "application/json".to_owned())],
                body,
                sent,
            )
        }
        Say::Raw(status, headers, body) => {
            let sent = body.len();
            (status, headers, body, sent)
        }
        Say::Half(status, body) => {
            let sent = body.len() / 2;
            (status, vec![], body, sent)
        }
        Say::Cut => return,
        Say::Hang => {
            tokio::time::sleep(std::time::Duration::from_secs(60)).await;
            return;
        }
    };
    let mut head = format!("HTTP/1.1 {status} x\r\nconnection: close\r\n");
    if status != 204 {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(&body.as_bytes()[..sent]).await;
    let _ = stream.shutdown().await;
}

async fn receive(stream: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length: usize = headers
        .get("content-length")
        .map_or(0, |text| text.parse().expect("a length"));
    while bytes.len() < head_end + 4 + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let body = serde_json::from_slice(&bytes[head_end + 4..]).unwrap_or(Value::Null);
    Some(Seen {
        method,
        path,
        headers,
        body,
    })
}
