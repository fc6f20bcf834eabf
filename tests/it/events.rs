//! Events over HTTP: who may send, what is acknowledged, what becomes of it when the server is killed.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use perennial::clock::Clock;
use perennial::config::Limits;
use perennial::events::{EventMapping, ListenOptions, Listening};
use perennial_core::ids::{AccountId, TenantId};
use perennial_core::signal::{Fact, Usage};
use perennial_store::{Options, Store};
use perennial_tests::Database;
use reqwest::StatusCode;
use secrecy::SecretString;
use serde_json::{Value, json};

const MAPPING: &str = r#"
source = "product"
account = ["context.groupId", "groupId"]

[features]
reports = ["Report *"]
"#;
const TOKEN: &str = "a-write-key-of-some-length";
const NOW: &str = "2026-09-15T08:00:00Z";

async fn store(url: &str) -> Store {
    let store = Store::open(&url.parse().unwrap(), TenantId::DEFAULT, &Options::default())
        .await
        .unwrap();
    store.migrate().await.unwrap();
    store
}

async fn start(store: &Store, folder: &Path, limits: Limits) -> Listening {
    let options = ListenOptions {
        address: "127.0.0.1:0".parse().unwrap(),
        tokens: vec![SecretString::from(TOKEN.to_owned())],
        mapping: EventMapping::parse(Path::new("events.toml"), MAPPING).unwrap(),
        rejects_dir: folder.to_owned(),
        limits,
        clock: Clock::starting(NOW.parse().unwrap()),
    };
    Listening::start(store.clone(), options).await.unwrap()
}

async fn post(address: SocketAddr, route: &str, body: String) -> (StatusCode, Value) {
    let sent = reqwest::Client::new()
        .post(format!("http://{address}/v1/{route}"))
        .basic_auth(TOKEN, Some(""))
        .body(body)
        .send()
        .await
        .unwrap();
    let status = sent.status();
    (status, sent.json().await.unwrap())
}

fn track(id: &str, user: &str, account: &str, at: &str) -> Value {
    json!({
        "type": "track", "messageId": id, "event": "Report Opened", "userId": user, "timestamp": at,
        "context": { "groupId": account }, "properties": { "secret": "s3cret" },
    })
}

/// The newest fact of each day of an account.
async fn use_of(store: &Store, account: &str) -> Vec<Usage> {
    let id = AccountId::new(account);
    let mut signals = store
        .account_signals(std::slice::from_ref(&id))
        .await
        .unwrap()
        .remove(&id)
        .unwrap_or_default();
    signals.sort_by(|a, b| (a.event_at, b.revision_at).cmp(&(b.event_at, a.revision_at)));
    signals.dedup_by_key(|signal| signal.event_at);
    let facts = signals.into_iter().map(|signal| match signal.fact {
        Fact::Usage(usage) => usage,
        other => panic!("{other:?}"),
    });
    facts.collect()
}

fn values(usage: &Usage) -> Vec<(&str, i64)> {
    usage
        .values
        .iter()
        .map(|(k, v)| (k.as_str(), v.0 / 1_000_000))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_become_the_facts_of_their_days_on_both_databases() {
    let folder = tempfile::tempdir().unwrap();
    for database in Database::both("events_become_facts", folder.path()) {
        let store = store(&database.url).await;
        let server = start(&store, folder.path(), Limits::default()).await;
        let address = server.address();
        let batch = json!({ "batch": [
            { "type": "identify", "userId": "u9", "traits": { "email": "person@example.com" } },
            { "type": "group", "messageId": "g", "userId": "u9", "groupId": "a1", "timestamp": "2026-09-01T00:00:00Z" },
            track("m1", "u1", "a1", "2026-09-13T10:00:00Z"),
            track("m2", "u2", "a1", "2026-09-13T23:59:59Z"),
            track("m2", "u2", "a1", "2026-09-13T23:59:59Z"),
            track("m3", "u2", "a1", "2026-09-14T00:00:00Z"),
            { "type": "page", "messageId": "m4", "userId": "u9", "timestamp": "2026-09-14T01:00:00Z" },
            { "type": "track", "messageId": "m5", "userId": "u1", "timestamp": "2026-09-14T01:00:00Z" },
            { "type": "alias", "messageId": "m6", "userId": "u1" },
            7,
            track("m8", "u1", "a1", "2026-09-15T07:00:00Z"),
        ]});
        let (status, answer) = post(address, "batch", batch.to_string()).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        assert_eq!(
            (&answer["success"], &answer["stored"], &answer["duplicate"]),
            (&json!(true), &json!(7), &json!(1))
        );
        let rejected: Vec<_> = answer["rejected"]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| (r["index"].as_u64().unwrap(), r["messageId"].as_str().unwrap_or("-")))
            .collect();
        assert_eq!(rejected, [(7, "m5"), (8, "m6"), (9, "-")]);
        let (status, answer) = post(address, "track", json!({ "userId": "u1" }).to_string()).await;
        assert_eq!((status, &answer["success"]), (StatusCode::BAD_REQUEST, &json!(false)));
        let received = server.stop().await.unwrap();
        assert_eq!((received.stored, received.duplicate, received.rejected), (7, 1, 4));
        assert_eq!(received.facts, 2, "the day that is not over has no fact");
        let found = use_of(&store, "a1").await;
        let day = |users, events, core| {
            vec![
                ("active_users", users),
                ("core_events", core),
                ("events", events),
                ("features_used", 1),
            ]
        };
        assert_eq!(
            found.iter().map(values).collect::<Vec<_>>(),
            [day(2, 2, 2), day(2, 2, 1)]
        );

        // What was refused is written down, and nothing of it or of the database names a person.
        let file = std::fs::read_to_string(received.rejects_file.unwrap()).unwrap();
        assert_eq!(file.lines().count(), 5, "{file}");
        assert!(file.contains("rejected,v1/batch,9,type,,\"not one of: track"), "{file}");
        for secret in ["u1", "person@example.com", "s3cret"] {
            assert!(!file.contains(secret), "{file}");
        }
        if database.kind == "sqlite" {
            for name in ["perennial.db", "perennial.db-wal"] {
                let bytes = std::fs::read(folder.path().join(name)).unwrap_or_default();
                let text = String::from_utf8_lossy(&bytes).into_owned();
                assert!(
                    !text.contains("person@example.com") && !text.contains("s3cret"),
                    "{name}"
                );
            }
        }

        // The same again, by another server: nothing changes, and a late event changes its own day.
        let before = store.state_hash().await.unwrap();
        let server = start(&store, folder.path(), Limits::default()).await;
        let (_, answer) = post(server.address(), "batch", batch.to_string()).await;
        assert_eq!((&answer["stored"], &answer["duplicate"]), (&json!(2), &json!(6)));
        assert_eq!(server.stop().await.unwrap().facts, 0);
        assert_eq!(store.state_hash().await.unwrap(), before);
        let server = start(&store, folder.path(), Limits::default()).await;
        let late = track("m7", "u3", "a1", "2026-09-13T05:00:00Z");
        assert_eq!(
            post(server.address(), "track", late.to_string()).await.0,
            StatusCode::OK
        );
        assert_eq!(server.stop().await.unwrap().facts, 1);
        let found = use_of(&store, "a1").await;
        assert_eq!(
            found.iter().map(values).collect::<Vec<_>>(),
            [day(3, 3, 3), day(2, 2, 1)]
        );
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_large_bodies_and_rubbish_are_refused_and_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&Database::sqlite(folder.path()).url).await;
    let server = start(&store, folder.path(), Limits::default()).await;
    let root = format!("http://{}", server.address());
    let client = reqwest::Client::new();
    let good = track("m1", "u1", "a1", "2026-09-14T10:00:00Z").to_string();
    let url = format!("{root}/v1/track");

    let health = client.get(format!("{root}/healthz")).send().await.unwrap();
    assert_eq!(health.status(), StatusCode::OK);
    for stranger in [
        client.post(&url),
        client.post(&url).basic_auth("a-write-key-of-some-lengtH", Some("")),
        client.post(&url).basic_auth("", Some(TOKEN)),
        client.post(&url).bearer_auth("x"),
        client.post(&url).header("authorization", "Basic ***"),
        client.post(&url).header("authorization", TOKEN),
    ] {
        let answer = stranger.body(good.clone()).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        assert!(answer.headers().contains_key("www-authenticate"));
    }
    let large = |bytes: usize| json!({ "batch": [{ "type": "track", "padding": "x".repeat(bytes) }] }).to_string();
    let (status, answer) = post(server.address(), "batch", large(600 * 1024)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(answer["message"].as_str().unwrap().contains("512000 bytes"), "{answer}");
    // Without a length the limit holds all the same.
    let address = server.address();
    let said = tokio::task::spawn_blocking(move || chunked(address, 10, 64 * 1024))
        .await
        .unwrap();
    assert!(said.starts_with("HTTP/1.1 413"), "{said}");
    // One large event of a batch costs that event only.
    let mixed = json!({ "batch": [
        { "type": "track", "padding": "x".repeat(33 * 1024) },
        track("m2", "u1", "a1", "2026-09-14T10:00:00Z"),
    ]});
    let (status, answer) = post(server.address(), "batch", mixed.to_string()).await;
    assert_eq!((status, &answer["stored"]), (StatusCode::OK, &json!(1)));
    assert_eq!(answer["rejected"][0]["reason"], "larger than 32768 bytes");

    for (route, body, status) in [
        ("batch", "", StatusCode::BAD_REQUEST),
        ("batch", "{\"batch\": [", StatusCode::BAD_REQUEST),
        ("batch", "{\"batch\": 5}", StatusCode::BAD_REQUEST),
        ("batch", "[]", StatusCode::BAD_REQUEST),
        ("track", "\u{0}\u{1}", StatusCode::BAD_REQUEST),
        ("track", "[1]", StatusCode::BAD_REQUEST),
        ("import", "{}", StatusCode::NOT_FOUND),
    ] {
        assert_eq!(
            post(server.address(), route, body.to_owned()).await.0,
            status,
            "{route} {body}"
        );
    }
    let deep = format!("{{\"batch\":[{}1{}]}}", "[".repeat(5_000), "]".repeat(5_000));
    assert_eq!(post(server.address(), "batch", deep).await.0, StatusCode::BAD_REQUEST);
    let packed = client
        .post(&url)
        .bearer_auth(TOKEN)
        .header("content-encoding", "gzip")
        .body("x");
    assert_eq!(
        packed.send().await.unwrap().status(),
        StatusCode::UNSUPPORTED_MEDIA_TYPE
    );

    let answer = client.post(&url).bearer_auth(TOKEN).body(good).send().await.unwrap();
    assert_eq!(
        answer.status(),
        StatusCode::OK,
        "a bearer token is as good as basic authentication"
    );
    let received = server.stop().await.unwrap();
    assert_eq!((received.stored, received.facts), (2, 1));
}

/// Sends a body in chunks without a length, the last of them only after the answer.
fn chunked(address: SocketAddr, chunks: usize, bytes: usize) -> String {
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let head = format!(
        "POST /v1/batch HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    connection.write_all(head.as_bytes()).unwrap();
    for _ in 0..chunks {
        // The server may have stopped reading.
        let _ = write!(connection, "{bytes:x}\r\n{}\r\n", "x".repeat(bytes));
    }
    let mut said = [0; 12];
    let read = connection.read(&mut said).unwrap_or(0);
    String::from_utf8_lossy(&said[..read]).into_owned()
}

/// Sends the head of a request and waits until the server asks for its body: its room is taken then.
fn head_only(address: SocketAddr, length: usize) -> TcpStream {
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(
        connection,
        "POST /v1/batch HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: {length}\r\n\
         expect: 100-continue\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut line = [0; 25];
    connection.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"HTTP/1.1 100 Continue\r\n\r\n");
    connection
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_asks_senders_to_wait_and_takes_them_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&Database::sqlite(folder.path()).url).await;
    let limits = Limits {
        event_queue_bytes: 8 * 1024,
        ..Limits::default()
    };
    let server = start(&store, folder.path(), limits).await;
    let address = server.address();
    let mut body = json!({ "batch": [track("m1", "u1", "a1", "2026-09-14T10:00:00Z")] }).to_string();
    body.push_str(&" ".repeat(7 * 1024 - body.len()));
    let length = body.len();
    let mut slow = tokio::task::spawn_blocking(move || head_only(address, length))
        .await
        .unwrap();

    let other = json!({ "batch": [track("m2", "u2", "a1", "2026-09-14T10:00:00Z")] }).to_string();
    let answer = reqwest::Client::new()
        .post(format!("http://{address}/v1/batch"))
        .bearer_auth(TOKEN)
        .body(other.clone())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.headers()["retry-after"], "1");

    let said = tokio::task::spawn_blocking(move || {
        slow.write_all(body.as_bytes()).unwrap();
        let mut said = String::new();
        slow.read_to_string(&mut said).unwrap();
        said
    });
    let said = said.await.unwrap();
    assert!(said.starts_with("HTTP/1.1 200 OK"), "{said}");
    assert_eq!(
        post(address, "batch", other).await.0,
        StatusCode::OK,
        "there is room again"
    );
    let received = server.stop().await.unwrap();
    assert_eq!((received.stored, received.put_off), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_stops_in_the_middle_gives_its_room_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&Database::sqlite(folder.path()).url).await;
    let limits = Limits {
        event_queue_bytes: 8 * 1024,
        event_read_ms: 50,
        ..Limits::default()
    };
    let server = start(&store, folder.path(), limits).await;
    let address = server.address();
    let said = tokio::task::spawn_blocking(move || {
        let mut slow = head_only(address, 7 * 1024);
        let mut said = String::new();
        slow.read_to_string(&mut said).unwrap();
        said
    });
    assert!(said.await.unwrap().starts_with("HTTP/1.1 408"));
    let body = track("m2", "u2", "a1", "2026-09-14T10:00:00Z").to_string();
    assert_eq!(post(address, "track", body).await.0, StatusCode::OK);
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_on_one_database_count_a_message_once() {
    let folder = tempfile::tempdir().unwrap();
    for database in Database::both("two_servers", folder.path()) {
        let (one, two) = (store(&database.url).await, store(&database.url).await);
        let servers = [
            start(&one, folder.path(), Limits::default()).await,
            start(&two, folder.path(), Limits::default()).await,
        ];
        let mut sending = Vec::new();
        for i in 0..40 {
            let id = |n: usize| format!("m{}", (i * 5 + n) % 100);
            let messages: Vec<Value> = (0..10)
                .map(|n| track(&id(n), &format!("u{}", id(n)), "a1", "2026-09-14T10:00:00Z"))
                .collect();
            let body = json!({ "batch": messages }).to_string();
            sending.push(tokio::spawn(post(servers[i % 2].address(), "batch", body)));
        }
        let mut new = 0;
        for sent in sending {
            let (status, answer) = sent.await.unwrap();
            assert_eq!(status, StatusCode::OK, "{answer}");
            new += answer["stored"].as_u64().unwrap();
        }
        assert_eq!(new, 100, "{}", database.kind);
        for server in servers {
            server.stop().await.unwrap();
        }
        let found = use_of(&one, "a1").await;
        assert_eq!(values(&found[0])[0], ("active_users", 100));
        one.close().await;
        two.close().await;
    }
}

// ------------------------------------------------------------------------------------------------ as a process

const CONFIG: &str = r#"clock = "2026-09-15T08:00:00Z"

[events]
listen = "127.0.0.1:0"
mapping = "events.toml"
token_file = "events.token"
"#;

fn place() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("perennial.toml", CONFIG),
        ("events.toml", MAPPING),
        ("events.token", "another-key\na-write-key-of-some-length\n"),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn listen(folder: &Path) -> (Child, SocketAddr) {
    let mut command: Command = perennial_tests::command(crate::PROGRAM, folder, &["listen"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    let said: Value = serde_json::from_str(&line).unwrap();
    let address = said["url"]
        .as_str()
        .unwrap()
        .trim_start_matches("http://")
        .parse()
        .unwrap();
    (child, address)
}

fn terminate(mut child: Child) {
    let done = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(done.success());
    assert!(child.wait().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_server_acknowledged_is_in_the_facts_and_sending_it_again_changes_nothing() {
    const MESSAGES: usize = 600;
    const KILLED_AFTER: usize = 150;
    let folder = place();
    let (mut child, address) = listen(folder.path());
    let (heard, mut hears) = tokio::sync::mpsc::unbounded_channel();
    for sender in 0..6 {
        let heard = heard.clone();
        tokio::spawn(async move {
            let client = reqwest::Client::new();
            for i in (sender..MESSAGES).step_by(6) {
                let body = track(&format!("m{i}"), &format!("u{i}"), "a1", "2026-09-14T10:00:00Z").to_string();
                let sent = client
                    .post(format!("http://{address}/v1/track"))
                    .bearer_auth(TOKEN)
                    .body(body);
                match sent.send().await {
                    Ok(answer) if answer.status() == StatusCode::OK => heard.send(i).unwrap(),
                    // The server is gone.
                    Ok(_) | Err(_) => return,
                }
            }
        });
    }
    drop(heard);
    let mut acknowledged = BTreeSet::new();
    while let Some(i) = hears.recv().await {
        acknowledged.insert(i);
        if acknowledged.len() == KILLED_AFTER {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
    assert!(
        (KILLED_AFTER..MESSAGES).contains(&acknowledged.len()),
        "killed in the middle"
    );

    // A server that starts counts what the killed one left.
    terminate(listen(folder.path()).0);
    let store = store(&Database::sqlite(folder.path()).url).await;
    let users = |found: &[Usage]| values(&found[0])[0].1;
    let counted = users(&use_of(&store, "a1").await);
    assert!(
        counted >= acknowledged.len() as i64 && counted < MESSAGES as i64,
        "{} were acknowledged, {counted} are counted",
        acknowledged.len()
    );
    let (child, address) = listen(folder.path());
    let again: Vec<Value> = acknowledged
        .iter()
        .map(|i| track(&format!("m{i}"), &format!("u{i}"), "a1", "2026-09-14T10:00:00Z"))
        .collect();
    let (_, answer) = post(address, "batch", json!({ "batch": again }).to_string()).await;
    assert_eq!(
        answer["duplicate"],
        json!(acknowledged.len()),
        "every acknowledged message is known"
    );
    assert_eq!(answer["stored"], json!(0));
    let all: Vec<Value> = (0..MESSAGES)
        .map(|i| track(&format!("m{i}"), &format!("u{i}"), "a1", "2026-09-14T10:00:00Z"))
        .collect();
    let (_, answer) = post(address, "batch", json!({ "batch": all }).to_string()).await;
    assert_eq!(answer["stored"], json!(MESSAGES as i64 - counted));
    terminate(child);
    assert_eq!(users(&use_of(&store, "a1").await), MESSAGES as i64);
    let before = store.state_hash().await.unwrap();
    let (child, address) = listen(folder.path());
    post(address, "batch", json!({ "batch": all }).to_string()).await;
    terminate(child);
    assert_eq!(store.state_hash().await.unwrap(), before);
}

#[test]
fn listen_names_what_is_missing() {
    let folder = place();
    let fails = |says: &[&str]| {
        let said = perennial_tests::run(crate::PROGRAM, folder.path(), &["listen"]);
        assert_eq!(said.code, 2, "{said:?}");
        for part in says {
            assert!(said.err.contains(part), "`{part}` is not in {}", said.err);
        }
        assert!(!folder.path().join("perennial.db").exists(), "nothing is half done");
    };
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("events.token", "\n");
    fails(&[
        "the write key of events is not given",
        "PERENNIAL_EVENTS_TOKEN",
        "token_file",
    ]);
    std::fs::remove_file(folder.path().join("events.token")).unwrap();
    fails(&["the write key of events cannot be read from", "events.token"]);
    write("events.toml", "source = \"p\"\nusr = []\n");
    fails(&["events.toml:2:1", "unknown field `usr`"]);
    std::fs::remove_file(folder.path().join("events.toml")).unwrap();
    fails(&["events.toml", "cannot be read"]);
    write(
        "perennial.toml",
        "[events]\nmapping = \"events.toml\"\nlisten = \"8017\"\n",
    );
    fails(&[
        "perennial.toml:3:10",
        "`8017` is no address to listen at",
        "127.0.0.1:8017",
    ]);
    write("perennial.toml", "");
    fails(&["events are not configured", "[events]"]);
}
