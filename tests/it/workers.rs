//! Workers as processes and within one: the stop button under load, an account that is stuck, schedules, probes.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Duration;

use perennial::clock::Clock;
use perennial::config::{Config, Overrides};
use perennial::cycle::Engine;
use perennial::worker;
use perennial_core::action::{ActionKind, ActionState, Done, Effect, Permit, Receipt};
use perennial_core::ids::{AccountId, TenantId};
use perennial_core::signal::Crm;
use perennial_core::time::Timestamp;
use perennial_sandbox::{Options, Sandbox, System};
use perennial_store::{DecisionCommit, Store};
use perennial_tests::sink::SINK;
use perennial_tests::{Database, Said, command, work};
use perennial_tools::{Answer, Known, LookUp, Registry, SendError, Tool};

use crate::PROGRAM;

const SF: &[Crm] = &[Crm::Salesforce];

pub(crate) async fn opened(url: &str) -> Store {
    let limits = perennial::config::Limits::default().store();
    let store = Store::open(&url.parse().unwrap(), TenantId::DEFAULT, &limits)
        .await
        .unwrap();
    store.migrate().await.unwrap();
    store
}

pub(crate) async fn commit(store: &Store, commits: &[DecisionCommit]) {
    store
        .commit_decisions(&work::run(), commits, Clock::System.now())
        .await
        .unwrap();
}

pub(crate) fn many(accounts: usize, each: usize, due: Timestamp) -> Vec<DecisionCommit> {
    (0..accounts * each)
        .map(|n| work::permitted(n % accounts, &n.to_string(), SF, ActionKind::CREATE_NOTE, due))
        .collect()
}

/// A worker with the sink of markers, or, with arguments, the program.
fn started(folder: &Path, url: &str, sandbox: &Sandbox, args: &[&str]) -> Child {
    started_as(PROGRAM, folder, url, sandbox, args)
}

pub(crate) fn started_as(program: &str, folder: &Path, url: &str, sandbox: &Sandbox, args: &[&str]) -> Child {
    let mut command = command(program, folder, args);
    if args.is_empty() {
        command.env(SINK, "marker");
    }
    command
        .env("PERENNIAL_DB", url)
        .env("PERENNIAL_SALESFORCE_URL", &sandbox.salesforce().url)
        .env("PERENNIAL_SALESFORCE_TOKEN", &sandbox.salesforce().token)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

pub(crate) fn tasks(sandbox: &Sandbox) -> Vec<String> {
    let records = sandbox.records(System::Salesforce, "Task");
    records
        .iter()
        .map(|r| r.fields["Subject"].as_str().unwrap().to_owned())
        .collect()
}

/// Waits until something holds; what is waited for must come by itself.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..3_000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("waited in vain: {what}");
}

pub(crate) fn said(folder: &Path, url: &str, args: &[&str]) -> Said {
    command(PROGRAM, folder, args)
        .args(["--db", url])
        .output()
        .unwrap()
        .into()
}

#[test]
fn a_stop_holds_workers_under_load_and_their_successors_and_nothing_is_lost() {
    let temp = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for db in Database::both("stop_under_load", temp.path()) {
        runtime.block_on(stopped(temp.path(), &db.url));
    }
}

async fn stopped(folder: &Path, url: &str) {
    let people = "[people]\nmia = [\"csm\"]\nvera = [\"vp_cs\"]\n";
    std::fs::write(
        folder.join("perennial.toml"),
        format!("{people}[limits]\neffects_per_lease = 4\nbatched_per_lease = 4\nlease_ms = 1000\nsettle_ms = 200\n"),
    )
    .unwrap();
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let store = opened(url).await;
    let commits = many(100, 6, Clock::System.now());
    commit(&store, &commits).await;
    let mut workers = vec![started(folder, url, &sandbox, &[])];
    if store.sends_word() {
        workers.push(started(folder, url, &sandbox, &[]));
    }
    until("work", async || tasks(&sandbox).len() > 10).await;
    let args = ["--all", "--reason", "something is wrong"];
    let stop = said(folder, url, &[&["stop", "--as", "mia"], &args[..]].concat()).ok();
    let stopped_at = Clock::System.now();
    assert!(stop.out.contains("stopped: all"), "{stop:?}");
    // What was begun ends; then nothing is under way any more.
    until("nothing under way", async || {
        store.queue_state(Clock::System.now()).await.unwrap().leased == 0
    })
    .await;
    let held = tasks(&sandbox).len();
    assert!(held < commits.len(), "the stop came too late to show anything");
    // Neither they nor those that take their place send anything, over several looks.
    workers.iter_mut().for_each(|w| w.kill().unwrap());
    workers.push(started(folder, url, &sandbox, &[]));
    let mut seen = BTreeSet::new();
    until("a new worker that lives on", async || {
        let alive = store.workers(stopped_at, 10).await.unwrap();
        seen.extend(alive.iter().filter(|w| w.begun_at > stopped_at).map(|w| w.seen_at));
        seen.len() > 1
    })
    .await;
    assert_eq!(tasks(&sandbox).len(), held);
    let late = sandbox
        .records(System::Salesforce, "Task")
        .into_iter()
        .filter(|r| r.history[0].at.as_microsecond() > stopped_at.us() + 1_000_000);
    assert_eq!(late.count(), 0, "nothing is sent a second after a stop");
    for args in [&["queue", "list"][..], &["doctor"][..]] {
        let said = said(folder, url, args);
        assert!(
            format!("{}{}", said.out, said.err).contains("something is wrong"),
            "{args:?}: {said:?}"
        );
    }
    let twice = said(folder, url, &[&["stop", "--as", "vera"], &args[..]].concat());
    assert!(twice.code == 1 && twice.err.contains("by mia"), "{twice:?}");
    let refused = said(folder, url, &[&["resume", "--as", "mia"], &args[..]].concat());
    assert!(
        refused.code == 1 && refused.err.contains("needs the role vp_cs"),
        "{refused:?}"
    );
    assert_eq!(tasks(&sandbox).len(), held);
    said(folder, url, &[&["resume", "--as", "vera"], &args[..]].concat()).ok();
    until("the rest", async || {
        store.effect_counts(None).await.unwrap().done == commits.len() as u64
    })
    .await;
    let found = tasks(&sandbox);
    assert_eq!(found.len(), commits.len(), "each once");
    assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), commits.len());
    said(folder, url, &["audit", "verify"]).ok();
    workers.iter_mut().for_each(|w| {
        let _ = w.kill();
        w.wait().unwrap();
    });
    store.close().await;
    sandbox.shutdown().await;
}

/// A tool that never gets through to one account.
struct Stuck(AccountId);

impl Tool for Stuck {
    fn crm(&self) -> Crm {
        Crm::Salesforce
    }

    perennial_tests::carries_out_only!();

    fn execute<'a>(
        &'a self,
        _permit: Permit,
        effect: &'a Effect,
        _known: &'a Known,
        at: Timestamp,
    ) -> Answer<'a, Receipt> {
        Box::pin(async move {
            if effect.target.account == self.0 {
                return Err(SendError::Busy {
                    retry_after: Duration::ZERO,
                    why: "maintenance".to_owned(),
                });
            }
            Ok(Receipt {
                tool: Crm::Salesforce,
                done: Done::Created,
                object: "Note".to_owned(),
                record: effect.id.to_string(),
                url: String::new(),
                before: std::collections::BTreeMap::new(),
                after: std::collections::BTreeMap::new(),
                at,
            })
        })
    }

    fn look_up<'a>(&'a self, _effect: &'a Effect, _at: Timestamp) -> Answer<'a, LookUp> {
        Box::pin(async { Ok(LookUp::Absent) })
    }
}

#[test]
fn a_stuck_account_stops_no_other_and_is_parked_and_the_leader_expires_what_nobody_answers() {
    let temp = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for db in Database::both("stuck_account", temp.path()) {
        runtime.block_on(stuck(&db.url));
    }
}

async fn stuck(url: &str) {
    let overrides = Overrides {
        db: Some(url.to_owned()),
        ..Overrides::default()
    };
    let mut config = Config::load(&overrides).unwrap();
    config.limits.effect_attempts = 4;
    config.limits.settle_ms = 20;
    config.limits.effects_per_lease = 4;
    config.limits.batched_per_lease = 4;
    let store = opened(url).await;
    let now = Clock::System.now();
    let commits = many(20, 2, now);
    commit(&store, &commits).await;
    let mut unanswered = work::permitted(30, "unanswered", SF, ActionKind::CREATE_NOTE, now);
    for action in &mut unanswered.actions {
        action.row.state = ActionState::Pending;
        action.row.expires_at = Some(Timestamp::from_us(now.us() - 1));
        action.outbox.clear();
    }
    commit(&store, std::slice::from_ref(&unanswered)).await;
    let tools = Registry::new().with(Arc::new(Stuck(work::account(0))));
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let engine = Engine {
        config: &config,
        store: &store,
        tools: &tools,
        stop: stopped,
    };
    let watching = async {
        until("all settled", async || {
            let counts = store.effect_counts(None).await.unwrap();
            counts.done == 38 && counts.failed == 2
        })
        .await;
        let expired = unanswered.actions[0].row.id.as_str();
        until("expired", async || {
            store.action(expired).await.unwrap().state == ActionState::Expired
        })
        .await;
        stop.send(true).unwrap();
    };
    let (drained, ()) = tokio::join!(worker::work(&engine), watching);
    let drained = drained.unwrap();
    assert_eq!((drained.done, drained.failed), (38, 2));
    for commit in commits.iter().filter(|c| c.decision.account == work::account(0)) {
        let id = &commit.actions[0].row.id;
        assert_eq!(store.action(id.as_str()).await.unwrap().state, ActionState::Failed);
        let effects = store.effects_of(id).await.unwrap();
        assert_eq!(effects[0].attempts, 4, "{effects:?}");
        assert!(
            effects[0].error.as_ref().unwrap().contains("given up after 4 attempts"),
            "{effects:?}"
        );
        let history = store.attempts_of(id).await.unwrap();
        assert_eq!(history.len(), 4, "{history:?}");
        assert!(
            history.iter().all(|a| a.ended_at.is_some() && a.error.is_some()),
            "{history:?}"
        );
        assert!(history.windows(2).all(|w| w[0].begun_at < w[1].begun_at), "{history:?}");
    }
    assert_eq!(
        store.workers(Timestamp::from_us(0), 10).await.unwrap(),
        [],
        "who ended is gone"
    );
    store.close().await;
}

#[test]
fn probes_tell_of_health_readiness_and_what_was_done() {
    let temp = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let db = Database::sqlite(temp.path());
        let store = opened(&db.url).await;
        let sandbox = Sandbox::start(Options::default()).await.unwrap();
        let mut child = started(temp.path(), &db.url, &sandbox, &["worker", "--metrics-port", "0"]);
        let mut line = String::new();
        BufReader::new(child.stderr.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let base = line
            .trim()
            .strip_prefix("metrics at ")
            .unwrap()
            .strip_suffix("/metrics")
            .unwrap()
            .to_owned();
        assert!(base.starts_with("http://127.0.0.1:"), "{base}");
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let get = async |path: &str| client.get(format!("{base}{path}")).send().await.unwrap();
        assert_eq!(get("/healthz").await.status(), 200);
        let ready = get("/readyz").await;
        assert_eq!(ready.status(), 200);
        assert!(ready.text().await.unwrap().starts_with("ready"));
        // There is no such account in the CRM, so it is refused: an attempt all the same.
        commit(&store, &many(1, 1, Clock::System.now())).await;
        until("an attempt", async || {
            let text = get("/metrics").await.text().await.unwrap();
            text.contains("perennial_attempts_total{tool=\"salesforce\"")
        })
        .await;
        let text = get("/metrics").await.text().await.unwrap();
        for name in [
            "perennial_attempt_seconds_bucket",
            "perennial_database_up 1",
            "perennial_queue_lanes",
            "perennial_queue_age_seconds",
            "perennial_lease_age_seconds",
            "perennial_effects{state=\"unknown\"}",
            "perennial_stops 0",
            "perennial_leader 1",
            "perennial_clock_ahead_seconds",
        ] {
            assert!(text.contains(name), "{name} is missing in {text}");
        }
        assert!(
            !text.contains("A-000000") && !text.contains("Customer"),
            "no customer in {text}"
        );
        child.kill().unwrap();
        child.wait().unwrap();
        // A worker whose clock is far off is named.
        store
            .see_worker("w-skewed", 7_500_000, "0.1.0", Clock::System.now())
            .await
            .unwrap();
        let doctor = said(temp.path(), &db.url, &["doctor"]);
        assert!(
            doctor
                .out
                .contains("the clock of w-skewed is 7.5 s before the database's"),
            "{doctor:?}"
        );
        store.close().await;
        sandbox.shutdown().await;
    });
}

#[test]
fn a_worker_whose_log_nobody_reads_any_more_ends_in_order_all_the_same() {
    let temp = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let db = Database::sqlite(temp.path());
        let store = opened(&db.url).await;
        let sandbox = Sandbox::start(Options::default()).await.unwrap();
        let mut child = started(temp.path(), &db.url, &sandbox, &["worker"]);
        until("a worker", async || {
            !store.workers(Timestamp::from_us(0), 10).await.unwrap().is_empty()
        })
        .await;
        drop(child.stderr.take());
        let mut terminate = std::process::Command::new("kill");
        let terminate = terminate.args(["-TERM", &child.id().to_string()]).status();
        assert!(terminate.unwrap().success());
        let mut ended = None;
        until("its end", async || {
            ended = child.try_wait().unwrap();
            ended.is_some()
        })
        .await;
        assert!(ended.unwrap().success(), "{ended:?}");
        store.close().await;
        sandbox.shutdown().await;
    });
}

#[test]
fn a_copy_into_the_other_kind_of_database_and_back_is_the_same_and_goes_on() {
    let temp = tempfile::tempdir().unwrap();
    let Some(postgres) = Database::postgres("db_copy") else {
        return;
    };
    let folder = temp.path();
    let data = crate::world::demo_data(folder);
    let sqlite = Database::sqlite(folder);
    crate::world::import(folder, &data, "demo", &sqlite.url);
    let run = |url: &str| {
        let args = ["run", "--once", "--as-of", crate::world::DEMO_TIME, "--json"];
        said(folder, url, &args).ok().json()
    };
    let first = run(&sqlite.url);
    let back = format!("sqlite:{}", folder.join("back.db").display());
    let mut documents = Vec::new();
    for (from, to) in [(&sqlite.url, &postgres.url), (&postgres.url, &back)] {
        let args = ["db", "copy", "--from", from, "--to", to, "--json"];
        let copied: Said = command(PROGRAM, folder, &args).output().unwrap().into();
        documents.push(copied.ok().json());
    }
    assert_eq!(documents[0], documents[1]);
    assert!(documents[0]["rows"].as_u64().unwrap() > 1_000, "{}", documents[0]);
    let page = |url: &str| said(folder, url, &["queue", "list", "--all", "--json"]).ok().json();
    for url in [&postgres.url, &back] {
        assert_eq!(page(url), page(&sqlite.url));
        said(folder, url, &["audit", "verify"]).ok();
        let again = run(url);
        assert_eq!(
            (&again["decisions_hash"], &again["decisions_new"]),
            (&first["decisions_hash"], &0.into())
        );
    }
    let item = page(&back)[0]["id"].as_str().unwrap().to_owned();
    let replayed = said(folder, &back, &["replay", &item, "--json"]).ok().json();
    assert_eq!(replayed["identical"], true);
    let full = ["db", "copy", "--from", &sqlite.url, "--to", &postgres.url];
    let refused: Said = command(PROGRAM, folder, &full).output().unwrap().into();
    assert!(refused.code != 0 && refused.err.contains("is not empty"), "{refused:?}");
}
