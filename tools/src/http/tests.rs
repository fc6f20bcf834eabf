use std::collections::VecDeque;
use std::sync::Arc;

use perennial_core::action::Write;
use perennial_core::signal::Crm;
use secrecy::SecretString;
use serde_json::json;

use super::*;
use crate::test_kit::{Say, Server, TOKEN, effect};

const DIALECT: Dialect = Dialect {
    crm: Crm::Salesforce,
    fault: |_, body| {
        let value: Value = serde_json::from_slice(body).ok()?;
        Some(Fault {
            code: value["code"].as_str()?.to_owned(),
            message: value["message"].as_str().unwrap_or_default().to_owned(),
            wait: value["wait"].as_u64().map(Duration::from_secs),
            day_spent: value["spent"].as_bool().unwrap_or_default(),
        })
    },
    remedy: |_| "mend it",
    sign_in: "/token",
    token_remedy: "renew it",
};

/// Answers from a list, without sockets, so that time can stand still.
struct Script {
    answers: Mutex<VecDeque<Result<Raw, Failure>>>,
    sent: Arc<Mutex<Vec<Instant>>>,
}

impl Carrier for Script {
    fn carry(&self, _: reqwest::Request, _: usize) -> futures_util::future::BoxFuture<'_, Result<Raw, Failure>> {
        self.sent.lock().expect("a lock").push(Instant::now());
        let answer = self.answers.lock().expect("a lock").pop_front();
        Box::pin(async { answer.unwrap_or(Err(Failure::Lost(Lost::TimedOut))) })
    }
}

fn raw(status: u16, body: &str) -> Result<Raw, Failure> {
    Ok(Raw {
        status: StatusCode::from_u16(status).expect("a status"),
        headers: HeaderMap::new(),
        body: body.as_bytes().to_vec(),
    })
}

fn waiting(status: u16, seconds: &'static str) -> Result<Raw, Failure> {
    raw(status, "{}").map(|mut raw| {
        raw.headers.insert("retry-after", HeaderValue::from_static(seconds));
        raw
    })
}

fn not_sent() -> Result<Raw, Failure> {
    let client = reqwest::Client::builder().tls_certs_only([]).build().expect("a client");
    Err(Failure::NotSent(
        client.get("no address").build().expect_err("no address"),
    ))
}

fn connection(base: &str) -> Connection {
    Connection::new(base, SecretString::from(TOKEN))
}

fn scripted(answers: Vec<Result<Raw, Failure>>) -> (Http, Arc<Mutex<Vec<Instant>>>) {
    let sent = Arc::new(Mutex::new(Vec::new()));
    let script = Script {
        answers: Mutex::new(answers.into()),
        sent: Arc::clone(&sent),
    };
    let http = Http::over(&connection("https://acme.example"), DIALECT, Box::new(script)).expect("a client");
    (http, sent)
}

fn get() -> Call<'static> {
    Call::get("Account", "/x".to_owned())
}

fn patch() -> Call<'static> {
    Call::write(
        Method::PATCH,
        "Account",
        "/x".to_owned(),
        json!({"Name": "Northwind Traders"}),
    )
}

fn count(sent: &Mutex<Vec<Instant>>) -> usize {
    sent.lock().expect("a lock").len()
}

#[tokio::test(start_paused = true)]
async fn a_read_is_repeated_on_anything_transient() {
    let answers = vec![raw(503, "<html>"), raw(200, "{\"half\":"), raw(200, "{}")];
    let (http, sent) = scripted(answers);
    assert!(http.send(&get()).await.is_ok());
    assert_eq!(count(&sent), 3);

    let (http, sent) = scripted((0..9).map(|_| raw(500, "")).collect());
    assert!(matches!(http.send(&get()).await, Err(SendError::Busy { .. })));
    assert_eq!(count(&sent), 3, "bounded by max_attempts");
}

#[tokio::test(start_paused = true)]
async fn a_write_is_never_repeated_when_it_may_have_passed() {
    let lost = [
        Err(Failure::Lost(Lost::TimedOut)),
        raw(500, ""),
        raw(503, "<html>busy</html>"),
        raw(502, "{\"code\":\"X\",\"wait\":1}"),
        raw(408, ""),
        raw(200, "<html>"),
        raw(201, "{\"id\":\"0"),
        raw(403, "<html>"),
        raw(302, ""),
    ];
    for answer in lost {
        let shown = format!("{answer:?}");
        let (http, sent) = scripted(vec![answer]);
        let error = http.send(&patch()).await.expect_err("lost");
        assert!(matches!(error, SendError::Unknown { .. }), "{shown}: {error:?}");
        assert_eq!(count(&sent), 1, "{shown}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_is_repeated_when_nothing_was_written() {
    let (http, sent) = scripted(vec![not_sent(), waiting(429, "2"), raw(204, "")]);
    assert!(http.send(&patch()).await.is_ok());
    let sent = sent.lock().expect("a lock").clone();
    assert_eq!(sent.len(), 3);
    let pause = sent[1] - sent[0];
    assert!(
        (FIRST_PAUSE..=FIRST_PAUSE * 2 + Duration::from_millis(2)).contains(&pause),
        "{pause:?}"
    );
    assert!(sent[2] - sent[1] >= Duration::from_secs(2), "Retry-After is obeyed");
}

#[tokio::test(start_paused = true)]
async fn a_long_wait_goes_to_the_caller_at_once() {
    let budget = r#"{"code":"REQUEST_LIMIT_EXCEEDED","message":"spent","wait":900}"#;
    for answer in [raw(403, budget), waiting(429, "900")] {
        let (http, sent) = scripted(vec![answer]);
        let error = http.send(&patch()).await.expect_err("busy");
        let SendError::Busy { retry_after, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!((retry_after.as_secs(), count(&sent)), (900, 1));
    }
    let (http, _) = scripted(vec![waiting(429, "99999999")]);
    let Err(SendError::Busy { retry_after, .. }) = http.send(&get()).await else {
        panic!("busy");
    };
    assert_eq!(retry_after, WAIT_MAX, "no vendor may stop us for longer than a day");
}

#[tokio::test(start_paused = true)]
async fn refusals_are_final_and_quote_no_customer() {
    let body = r#"{"code":"STRING_TOO_LONG","message":"Name: data value too large: Northwind Traders (max 3)"}"#;
    let (http, sent) = scripted(vec![raw(400, body)]);
    let error = http
        .send(&patch())
        .await
        .expect("an answer")
        .ok()
        .expect_err("a refusal");
    assert_eq!(count(&sent), 1);
    let SendError::Refused {
        code, message, remedy, ..
    } = error
    else {
        panic!("{error:?}");
    };
    assert_eq!((code.as_str(), remedy.as_str()), ("STRING_TOO_LONG", "mend it"));
    assert_eq!(message, "Name: data value too large: … (max 3)");

    let (http, _) = scripted(vec![raw(401, "<html>")]);
    assert!(matches!(http.send(&patch()).await, Err(SendError::Unauthorised { .. })));
    let (http, _) = scripted(vec![raw(404, "<html>")]);
    let error = http
        .send(&get())
        .await
        .expect_err("a proxy's 404 is not an absent record");
    assert!(matches!(error, SendError::Refused { .. }), "{error:?}");
    let (http, _) = scripted(vec![raw(308, "")]);
    assert!(matches!(http.send(&patch()).await, Err(SendError::Refused { .. })));
}

#[tokio::test(start_paused = true)]
async fn the_rate_limit_is_asked_before_every_request() {
    let sent = Arc::new(Mutex::new(Vec::new()));
    let script = Script {
        answers: Mutex::new((0..4).map(|_| raw(200, "{}")).collect()),
        sent: Arc::clone(&sent),
    };
    let connection = Connection {
        requests_per_second: 1,
        burst: 1,
        ..connection("https://acme.example")
    };
    let http = Http::over(&connection, DIALECT, Box::new(script)).expect("a client");
    let start = Instant::now();
    for _ in 0..4 {
        http.send(&patch()).await.expect("an answer");
    }
    let at: Vec<u64> = sent
        .lock()
        .expect("a lock")
        .iter()
        .map(|sent| (*sent - start).as_secs())
        .collect();
    assert_eq!(at, [0, 1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_dead_system_is_left_alone_until_a_probe_succeeds() {
    let mut answers: Vec<_> = (0..5).map(|_| raw(500, "")).collect();
    answers.extend([raw(200, "{}"), raw(200, "{}")]);
    let (http, sent) = scripted(answers);
    for _ in 0..5 {
        assert!(matches!(http.send(&patch()).await, Err(SendError::Unknown { .. })));
    }
    let Err(SendError::Busy { retry_after, .. }) = http.send(&patch()).await else {
        panic!("open");
    };
    assert_eq!(count(&sent), 5, "nothing is sent while it is open");
    tokio::time::advance(retry_after).await;
    assert!(http.send(&patch()).await.is_ok());
    assert!(http.send(&patch()).await.is_ok());
}

#[tokio::test]
async fn a_lost_answer_over_the_network_is_unknown_and_sent_once() {
    for say in [
        Say::Cut,
        Say::Hang,
        Say::Half(200, "{\"id\":\"1234567890\"}".to_owned()),
    ] {
        let server = Server::script(vec![say.clone()]).await;
        let connection = Connection {
            timeout_ms: 300,
            ..server.connection()
        };
        let http = Http::new(&connection, DIALECT).expect("a client");
        let error = http.send(&patch()).await.expect_err("lost");
        assert!(matches!(error, SendError::Unknown { .. }), "{say:?}: {error:?}");
        assert_eq!(server.seen().len(), 1, "{say:?}");
    }
}

#[tokio::test]
async fn no_connection_is_busy_even_for_a_write() {
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base = format!("http://{}", gone.local_addr().expect("an address"));
    drop(gone);
    let connection = Connection {
        max_attempts: 2,
        ..connection(&base)
    };
    let http = Http::new(&connection, DIALECT).expect("a client");
    let error = http.send(&patch()).await.expect_err("nobody there");
    assert!(matches!(error, SendError::Busy { .. }), "{error:?}");
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_not_read() {
    let large = format!("\"{}\"", "x".repeat(5_000));
    let server = Server::start(move |_| Say::Raw(200, vec![], large.clone())).await;
    let connection = Connection {
        max_body_bytes: 1_000,
        ..server.connection()
    };
    let http = Http::new(&connection, DIALECT).expect("a client");
    let error = http.send(&get()).await.expect_err("too large");
    assert!(
        matches!(&error, SendError::Refused { code, .. } if code == "ANSWER_TOO_LARGE"),
        "{error:?}"
    );
    let error = http.send(&patch()).await.expect_err("too large");
    assert!(
        matches!(
            error,
            SendError::Unknown {
                source: Lost::TooLarge { limit: 1_000 },
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn a_redirect_does_not_get_the_token() {
    let other = Server::script(vec![]).await;
    let to = vec![("location", other.base.clone())];
    let server = Server::script(vec![Say::Raw(302, to, String::new())]).await;
    let http = Http::new(&server.connection(), DIALECT).expect("a client");
    assert!(http.send(&get()).await.is_err());
    assert!(other.seen().is_empty());
    assert_eq!(server.seen()[0].headers["authorization"], format!("Bearer {TOKEN}"));
}

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("a lock").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn neither_token_nor_customer_shows_in_logs_or_errors() {
    let sink = Sink::default();
    let writer = sink.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let refusal = json!({"code": "BAD", "message": "Northwind Traders is taken"});
    let server = Server::script(vec![Say::Json(400, refusal), Say::Cut]).await;
    let http = Http::new(&server.connection(), DIALECT).expect("a client");
    let note = Write::CreateNote {
        title: String::new(),
        body: String::new(),
    };
    let effect = effect(Crm::Salesforce, None, note);
    let refused = http.send(&patch().serving(&effect)).await.expect("an answer").refusal();
    let lost = http.send(&patch()).await.expect_err("lost");
    let gone = Http::new(&connection("http://127.0.0.1:1"), DIALECT).expect("a client");
    let busy = gone.send(&get()).await.expect_err("nobody there");
    drop(guard);
    let log = String::from_utf8(sink.0.lock().expect("a lock").clone()).expect("text");
    assert!(
        log.contains(effect.id.as_str()) && log.contains("BAD") && log.contains("answer lost"),
        "{log}"
    );
    for text in [log, format!("{refused:?} {refused} {lost:?} {lost} {busy:?} {busy}")] {
        assert!(!text.contains(TOKEN) && !text.contains("Northwind"), "{text}");
    }
}

#[test]
fn limits_of_nothing_are_refused() {
    let broken = |change: fn(&mut Connection)| {
        let mut connection = connection("https://acme.example");
        change(&mut connection);
        let script = Script {
            answers: Mutex::default(),
            sent: Arc::default(),
        };
        Http::over(&connection, DIALECT, Box::new(script))
            .err()
            .expect("refused")
            .to_string()
    };
    assert!(broken(|connection| connection.max_attempts = 0).contains("max_attempts"));
    assert!(broken(|connection| connection.timeout_ms = 0).contains("timeout_ms"));
    assert!(broken(|connection| connection.burst = 0).contains("burst"));
    assert!(broken(|connection| connection.max_body_bytes = 0).contains("max_body_bytes"));
}
