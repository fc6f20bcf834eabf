//! Spans as a collector gets them: their tree, over processes too; no customer text; and a collector that goes away or was never
//! there changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead as _;
use std::net::{SocketAddr, TcpListener as Silent};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Attribute;
use opentelemetry_proto::tonic::trace::v1::Span;
use perennial_tests::{Database, Said};
use prost::Message as _;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::world::{DEMO_TIME, World, worlds};

/// What a collector was sent.
#[derive(Default)]
struct Got {
    bodies: Vec<Bytes>,
    headers: Vec<HeaderMap>,
    spans: Vec<Span>,
    resources: BTreeSet<(String, String)>,
}

/// A collector on this machine.
struct Collector {
    runtime: Runtime,
    address: SocketAddr,
    got: Arc<Mutex<Got>>,
    serving: JoinHandle<()>,
}

async fn take(State(got): State<Arc<Mutex<Got>>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let Ok(request) = ExportTraceServiceRequest::decode(body.clone()) else {
        return StatusCode::BAD_REQUEST;
    };
    let mut got = got.lock().unwrap();
    for of_resource in request.resource_spans {
        for attribute in of_resource.resource.iter().flat_map(|r| &r.attributes) {
            if let Some(Attribute::StringValue(text)) = attribute.value.as_ref().and_then(|v| v.value.as_ref()) {
                got.resources.insert((attribute.key.clone(), text.clone()));
            }
        }
        got.spans
            .extend(of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
    }
    got.bodies.push(body);
    got.headers.push(headers);
    StatusCode::OK
}

impl Collector {
    fn start() -> Collector {
        let runtime = Runtime::new().unwrap();
        let got = Arc::new(Mutex::new(Got::default()));
        let router = Router::new()
            .route("/v1/traces", post(take))
            .with_state(Arc::clone(&got));
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let serving = runtime.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Collector {
            runtime,
            address,
            got,
            serving,
        }
    }

    fn table(&self) -> String {
        format!("[telemetry]\notlp = \"http://{}\"\n", self.address)
    }

    /// All spans so far.
    fn spans(&self) -> Vec<Span> {
        self.got.lock().unwrap().spans.clone()
    }

    fn clear(&self) {
        *self.got.lock().unwrap() = Got::default();
    }

    /// It goes away in the middle of everything.
    fn kill(self) {
        self.serving.abort();
        self.runtime.shutdown_timeout(Duration::from_secs(5));
    }
}

fn named<'a>(spans: &'a [Span], name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

/// An attribute as text.
fn attribute(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|known| known.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Attribute::StringValue(text) => Some(text.clone()),
        Attribute::IntValue(number) => Some(number.to_string()),
        other => panic!("{key} is {other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The span of a decision, by its id, as the document says.
fn span_of(id: &str) -> String {
    id.split_once('_').unwrap().1[..16].to_owned()
}

/// The trace of a run, by its id, as the document says.
fn trace_of(run: &str) -> String {
    format!("000000000000{}", run.strip_prefix("run_").unwrap())
}

/// Each span that is below another one is so in its trace; gives the number of spans.
#[track_caller]
fn the_tree_holds(spans: &[Span]) -> usize {
    let places: BTreeSet<(&[u8], &[u8])> = spans.iter().map(|s| (&s.trace_id[..], &s.span_id[..])).collect();
    assert_eq!(places.len(), spans.len(), "no span has the id of another");
    for span in spans {
        let parent = (&span.trace_id[..], &span.parent_span_id[..]);
        assert!(
            span.parent_span_id.is_empty() || places.contains(&parent),
            "{} is below nothing: {span:?}",
            span.name
        );
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano, "{span:?}");
    }
    spans.len()
}

#[test]
fn a_run_is_one_trace_with_a_span_for_each_decision_and_effects_below_them() {
    for world in worlds("spans_of_a_run") {
        let collector = Collector::start();
        world.configure(&format!(
            "{}service = \"cs\"\nheaders = {{ authorization = \"TEST_OTLP\" }}\n",
            collector.table()
        ));
        let mut run = world.command(&["run", "--once", "--as-of", DEMO_TIME]);
        let report = Said::from(run.env("TEST_OTLP", "Bearer for-the-collector").output().unwrap())
            .ok()
            .json();
        let spans = collector.spans();
        the_tree_holds(&spans);
        let run_id = report["run"].as_str().unwrap();
        let trace = trace_of(run_id);
        let runs = named(&spans, "run");
        assert_eq!(runs.len(), 1);
        assert_eq!(hex(&runs[0].trace_id), trace);
        assert_eq!(hex(&runs[0].span_id), span_of(run_id));
        assert_eq!(attribute(runs[0], "accounts"), Some(report["accounts"].to_string()));
        assert_eq!(attribute(runs[0], "result").as_deref(), Some("whole"));
        let decisions = named(&spans, "decision");
        assert_eq!(decisions.len() as u64, report["decisions"].as_u64().unwrap());
        let mut ids = BTreeSet::new();
        for decision in &decisions {
            let id = attribute(decision, "decision").unwrap();
            assert_eq!(hex(&decision.span_id), span_of(&id));
            assert_eq!(decision.parent_span_id, runs[0].span_id);
            assert_eq!(hex(&decision.trace_id), trace);
            ids.insert(id);
        }
        assert_eq!(ids.len(), decisions.len());
        let proposals = decisions.iter().filter_map(|d| attribute(d, "approve"));
        let waiting: u64 = proposals.map(|count| count.parse::<u64>().unwrap()).sum();
        assert_eq!(waiting, report["actions"]["waiting"].as_u64().unwrap());
        let effects = named(&spans, "effect");
        let done = effects
            .iter()
            .filter(|e| attribute(e, "result").as_deref() == Some("receipt"));
        assert_eq!(done.count() as u64, report["effects"]["done"].as_u64().unwrap());
        assert!(effects.len() > 3, "{effects:?}");
        for effect in &effects {
            let decision = attribute(effect, "decision").unwrap();
            assert!(ids.contains(&decision), "{effect:?}");
            assert_eq!(hex(&effect.parent_span_id), span_of(&decision));
            assert_eq!(hex(&effect.trace_id), trace);
            assert!(attribute(effect, "effect").unwrap().starts_with("eff_"), "{effect:?}");
        }
        let calls = named(&spans, "call");
        let senders: BTreeSet<&[u8]> = effects
            .iter()
            .chain(&named(&spans, "batch"))
            .map(|span| &span.span_id[..])
            .collect();
        let sending = calls.iter().filter(|call| senders.contains(&call.parent_span_id[..]));
        assert!(sending.count() > 0, "{calls:?}");
        assert!(
            calls.iter().all(|call| attribute(call, "status").is_some()),
            "{calls:?}"
        );
        let got = collector.got.lock().unwrap();
        assert!(
            got.headers
                .iter()
                .all(|h| h["authorization"] == "Bearer for-the-collector")
        );
        assert!(got.resources.contains(&("service.name".to_owned(), "cs".to_owned())));
        drop(got);
        world.end();
    }
}

#[test]
fn what_a_person_approves_later_is_below_the_decision_of_the_earlier_run() {
    for world in worlds("spans_of_an_approval") {
        let collector = Collector::start();
        world.configure(&format!("clock = \"{DEMO_TIME}\"\n{}", collector.table()));
        let report = world.go(&["run", "--once"]).ok().json();
        let trace = trace_of(report["run"].as_str().unwrap());
        let decisions: BTreeMap<String, Vec<u8>> = named(&collector.spans(), "decision")
            .into_iter()
            .map(|span| (attribute(span, "decision").unwrap(), span.span_id.clone()))
            .collect();
        collector.clear();
        let queue = world.go(&["queue", "list"]).ok().json();
        let approved = queue.as_array().unwrap().iter().find(|item| {
            let id = item["id"].as_str().unwrap();
            let person = item["owner"].as_str().unwrap_or_default();
            item["state"] == "pending" && world.go(&["queue", "approve", id, "--as", person]).code == 0
        });
        let id = approved.unwrap()["id"].as_str().unwrap();
        let spans = collector.spans();
        let mine: Vec<&Span> = spans
            .iter()
            .filter(|s| attribute(s, "action").as_deref() == Some(id))
            .collect();
        let approval = mine.iter().find(|s| s.name == "approval").unwrap();
        assert_eq!(attribute(approval, "verb").as_deref(), Some("approve"));
        assert_eq!(attribute(approval, "result").as_deref(), Some("permitted"));
        let below = spans.iter().filter(|s| s.parent_span_id == approval.span_id);
        assert_eq!(below.map(|s| s.name.as_str()).collect::<Vec<_>>(), ["validation"]);
        assert!(mine.iter().any(|s| s.name == "effect"), "{mine:?}");
        for span in mine {
            let decision = attribute(span, "decision").unwrap();
            assert_eq!(span.parent_span_id, decisions[&decision], "{span:?}");
            assert_eq!(hex(&span.trace_id), trace);
            // The parent was in a process that has ended: the flag says so.
            assert_eq!(span.flags & 0x300, 0x300, "{span:?}");
        }
        world.end();
    }
}

#[test]
fn a_share_is_sent_whole_or_not_at_all() {
    let temp = tempfile::tempdir().unwrap();
    let world = World::new(Database::sqlite(temp.path()), temp);
    let collector = Collector::start();
    world.configure(&format!("{}sample = 0.4\n", collector.table()));
    let report = world.run().ok().json();
    let spans = collector.spans();
    the_tree_holds(&spans);
    let decisions = named(&spans, "decision");
    let all = report["decisions"].as_u64().unwrap();
    let (least, most) = (all / 5, all * 3 / 5);
    assert!(
        (least..=most).contains(&(decisions.len() as u64)),
        "{} of {all}",
        decisions.len()
    );
    assert_eq!(named(&spans, "run").len(), 1, "the run is there in any case");
    collector.clear();
    let mut none = world.command(&["run", "--once", "--as-of", DEMO_TIME]);
    let none = none.env("OTEL_TRACES_SAMPLER", "always_off").output().unwrap();
    Said::from(none).ok();
    let names: BTreeSet<String> = collector.spans().into_iter().map(|span| span.name).collect();
    assert_eq!(names, BTreeSet::from(["run".to_owned()]));
    world.end();
}

/// Texts of customers in the demo's files: names, addresses and titles that are long enough to be found by accident nowhere.
fn texts_of_customers(world: &World) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(world.folder().join("data")).unwrap() {
        let mut reader = csv::Reader::from_path(entry.unwrap().path()).unwrap();
        let titles = reader.headers().unwrap().clone();
        let wanted = [
            "name", "email", "title", "subject", "text", "body", "comment", "quote", "notes",
        ];
        for row in reader.records() {
            for (title, value) in titles.iter().zip(&row.unwrap()) {
                if wanted.iter().any(|word| title.contains(word)) && value.len() >= 10 && value.contains([' ', '@']) {
                    found.insert(value.to_owned());
                }
            }
        }
    }
    found
}

#[test]
fn no_text_of_a_customer_and_no_secret_is_in_spans_or_in_the_fullest_log() {
    let temp = tempfile::tempdir().unwrap();
    let world = World::new(Database::sqlite(temp.path()), temp);
    let collector = Collector::start();
    world.configure(&format!(
        "clock = \"{DEMO_TIME}\"\n{}headers = {{ x-key = \"TEST_OTLP\" }}\n",
        collector.table()
    ));
    let secret = "canary-of-the-collector";
    let mut logs = String::new();
    let mut go = |args: &[&str]| {
        let mut command = world.command(args);
        let said = Said::from(
            command
                .env("TEST_OTLP", secret)
                .env("PERENNIAL_LOG", "trace")
                .output()
                .unwrap(),
        );
        logs.push_str(&said.err);
        said
    };
    go(&["run", "--once"]).ok();
    let queue = go(&["queue", "list"]).ok().json();
    let mut texts = texts_of_customers(&world);
    assert!(texts.len() > 100, "{texts:?}");
    let mut approved = 0;
    for item in queue.as_array().unwrap() {
        let id = item["id"].as_str().unwrap();
        let shown = go(&["queue", "show", id]).ok().json();
        // What we drafted for them is theirs too.
        strings(&shown["drafts"], &mut texts);
        let person = item["owner"].as_str().unwrap_or_default();
        if approved < 3 && go(&["queue", "approve", id, "--as", person]).code == 0 {
            approved += 1;
        }
    }
    assert_eq!(approved, 3);
    go(&["queue", "list", "--all"]).ok();
    texts.insert(secret.to_owned());
    texts.insert(world.crms.salesforce().token.clone());
    texts.insert(world.crms.hubspot().token.clone());
    let got = collector.got.lock().unwrap();
    let names: BTreeSet<&str> = got.spans.iter().map(|span| span.name.as_str()).collect();
    for name in ["run", "decision", "effect", "approval", "call"] {
        assert!(names.contains(name), "{names:?}");
    }
    assert!(
        logs.contains("eff_") && logs.contains("decision"),
        "the log is a full one"
    );
    let sent: String = got.bodies.iter().map(|body| String::from_utf8_lossy(body)).collect();
    for text in &texts {
        assert!(!sent.contains(text.as_str()), "`{text}` left by a span");
        let place = logs.find(text.as_str());
        assert!(
            place.is_none(),
            "`{text}` is in the log: {}",
            logs.lines()
                .find(|line| line.contains(text.as_str()))
                .unwrap_or_default()
        );
    }
    // Whoever adds an attribute says so in the documents.
    let page = std::fs::read_to_string(perennial_tests::root().join("docs/src/operator/observability.md")).unwrap();
    for span in &got.spans {
        for attribute in &span.attributes {
            let row = page
                .lines()
                .find(|line| line.starts_with(&format!("| `{}` |", span.name)));
            let row = row.unwrap_or_else(|| panic!("the document does not name {}", span.name));
            assert!(
                row.contains(&format!("`{}`", attribute.key)),
                "{} of {}",
                attribute.key,
                span.name
            );
        }
        assert!(span.events.is_empty(), "log lines do not leave with spans: {span:?}");
    }
    drop(got);
    world.end();
}

fn strings(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => {
            let long = text.lines().filter(|line| line.len() >= 30 && line.contains(' '));
            found.extend(long.map(ToOwned::to_owned));
        }
        Value::Array(all) => all.iter().for_each(|value| strings(value, found)),
        Value::Object(all) => all.values().for_each(|value| strings(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Runs with a collector at an address that does not take spans; gives the hash of the decisions.
fn run_without_collector(address: SocketAddr) -> (Value, String) {
    let temp = tempfile::tempdir().unwrap();
    let world = World::new(Database::sqlite(temp.path()), temp);
    world.configure(&format!("[telemetry]\notlp = \"http://{address}\"\n"));
    let said = world.run().ok();
    let report = said.json();
    world.everything_happened_once(world.created().len());
    world.end();
    (report, said.err)
}

#[test]
fn a_collector_that_is_not_there_or_says_nothing_is_named_once_and_changes_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let world = World::new(Database::sqlite(temp.path()), temp);
    let plain = world.run().ok();
    assert!(!plain.err.contains("collector"), "{}", plain.err);
    let plain = plain.json();
    // Its port was taken a moment ago, and nobody listens there now.
    let collector = Collector::start();
    let gone = collector.address;
    collector.kill();
    // Connections to it are made and never answered.
    let silent = Silent::bind("127.0.0.1:0").unwrap();
    for (address, is_named) in [(gone, true), (silent.local_addr().unwrap(), false)] {
        let (report, err) = run_without_collector(address);
        for key in ["decisions_hash", "actions", "effects"] {
            assert_eq!(report[key], plain[key], "{key}");
        }
        // Who waits for an answer has not been refused by the time the command ends.
        let named = err.matches("the collector takes no spans").count();
        assert_eq!(named, usize::from(is_named), "{err}");
    }
    world.end();
}

#[cfg(unix)]
#[test]
fn a_collector_that_dies_in_the_middle_costs_spans_only() {
    use crate::workers::{commit, many, opened, started_as, until};
    use perennial::clock::Clock;
    use perennial_sandbox::{Options, Sandbox};

    let temp = tempfile::tempdir().unwrap();
    let db = Database::sqlite(temp.path());
    let collector = Collector::start();
    std::fs::write(temp.path().join("perennial.toml"), collector.table()).unwrap();
    let runtime = Runtime::new().unwrap();
    let (mut worker, store, sandbox) = runtime.block_on(async {
        let store = opened(&db.url).await;
        let sandbox = Sandbox::start(Options::default()).await.unwrap();
        let worker = started_as(crate::PROGRAM, temp.path(), &db.url, &sandbox, &["worker"]);
        (worker, store, sandbox)
    });
    let commits = many(20, 2, Clock::System.now());
    let (first, second) = commits.split_at(20);
    let all_ended = |most: u64| {
        let store = &store;
        async move || {
            let counts = store.effect_counts(None).await.unwrap();
            counts.waiting + counts.unknown == 0 && counts.done + counts.failed == most
        }
    };
    runtime.block_on(async {
        commit(&store, first).await;
        until("the first effects", all_ended(20)).await;
        until("their spans", async || named(&collector.spans(), "effect").len() == 20).await;
    });
    collector.kill();
    runtime.block_on(async {
        commit(&store, second).await;
        until("the second effects", all_ended(40)).await;
    });
    let terminate = std::process::Command::new("kill")
        .args(["-TERM", &worker.id().to_string()])
        .status();
    assert!(terminate.unwrap().success());
    assert!(
        worker.wait().unwrap().success(),
        "a termination signal ends it in order"
    );
    let err: Vec<String> = std::io::BufReader::new(worker.stderr.take().unwrap())
        .lines()
        .map(Result::unwrap)
        .collect();
    let named = err.iter().filter(|line| line.contains("the collector takes no spans"));
    assert_eq!(named.count(), 1, "{err:?}");
    runtime.block_on(async {
        store.close().await;
        sandbox.shutdown().await;
    });
}

#[test]
fn what_is_wrong_with_the_collector_is_said_by_the_command_and_by_doctor() {
    let temp = tempfile::tempdir().unwrap();
    let world = World::new(Database::sqlite(temp.path()), temp);
    let collector = Collector::start();
    world.configure(&format!(
        "{}headers = {{ authorization = \"TEST_OTLP\" }}\n",
        collector.table()
    ));
    let said = world.run();
    assert_eq!(said.code, 2, "{said:?}");
    let text = said.json()["error"]["message"].to_string();
    assert!(
        text.contains("authorization") && text.contains("set TEST_OTLP"),
        "{text}"
    );
    let doctor = |world: &World| {
        let mut command = world.command(&["doctor"]);
        let said = Said::from(command.env("TEST_OTLP", "key").output().unwrap());
        let document = said.json();
        let results = if document["checks"].is_array() {
            document
        } else {
            document["results"].clone()
        };
        let check = results["checks"]
            .as_array()
            .unwrap()
            .iter()
            .find(|c| c["subject"] == "collector");
        check.unwrap_or_else(|| panic!("{said:?}")).clone()
    };
    assert_eq!(doctor(&world)["level"], "ok");
    assert!(collector.spans().is_empty(), "a question sends nothing");
    collector.kill();
    let check = doctor(&world);
    assert_eq!(check["level"], "warn", "{check}");
    assert!(check["message"].to_string().contains("cannot be reached"), "{check}");
    world.configure("[telemetry]\notlp = \"collector:4318\"\n");
    let said = world.run();
    assert!(said.code == 2 && said.err.contains("http://127.0.0.1:4318"), "{said:?}");
    world.end();
}
