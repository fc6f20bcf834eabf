//! Very many approvals that wait: what each costs a worker, and what they cost those that are answered.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use perennial::clock::Clock;
use perennial::cycle::Engine;
use perennial::worker;
use perennial_core::action::{ActionKind, ActionState};
use perennial_core::signal::OwnerRole;
use perennial_sandbox::{Options, Sandbox};
use perennial_store::{DecisionCommit, Store};
use perennial_tests::work;
use perennial_tools::{Registry, Tool};

use crate::approving::{Book, Called, waits};
use crate::crash::started;
use crate::rows::{Rows, percentile};
use crate::server::Server;
use crate::work::{EACH, SF, clock, fill, opened, us};

/// How long a worker lives before its memory is read: several of its turns.
const LIVES: Duration = Duration::from_secs(7);
/// Approvals that are answered.
const ANSWERED: usize = 400;
/// Other actions of accounts whose approvals wait.
const OTHERS: usize = 500;

/// An action that waits for a person.
fn pending(n: usize) -> DecisionCommit {
    let mut commit = work::permitted(n / EACH, &format!("parked-{n}"), SF, ActionKind::CREATE_NOTE, us(0));
    // Only what was permitted has an intent.
    commit.ledger.truncate(1);
    for action in &mut commit.actions {
        action.row.state = ActionState::Pending;
        action.row.verdict = "approve:csm".to_owned();
        action.row.role = Some(OwnerRole::CSM);
        action.outbox.clear();
    }
    commit
}

/// Runs it.
pub(crate) async fn all(rows: &mut Rows, server: &Server, folder: &Path, parked: usize) {
    let folder = folder.join("parked");
    std::fs::create_dir_all(&folder).expect("a folder");
    let url = server.fresh("bench_parked").await;
    let sandbox = Sandbox::start(Options::default()).await.expect("servers");
    opened(&url, 1, 1).await.close().await;
    let without = resident(&url, &sandbox, &folder).await;
    let book = Book::of(&url, &folder, ANSWERED).await;
    let begun = clock();
    fill(&book.store, parked, pending).await;
    eprintln!(
        "parked: {parked} made in {:.0?}, {} more wait in the book",
        begun.elapsed(),
        book.all
    );
    let with = resident(&url, &sandbox, &folder).await;
    sandbox.shutdown().await;
    #[expect(clippy::cast_precision_loss, reason = "bytes for people")]
    let bytes = with.saturating_sub(without) as f64 / parked as f64;
    let what =
        format!("memory of a worker for each of {parked} parked approvals ({without} bytes without, {with} with)");
    rows.add("ours.parked.bytes", "PostgreSQL", &what, "1 process", (bytes, "bytes"));
    answered(rows, &book, parked).await;
    book.store.close().await;
    server.gone("bench_parked").await;
}

/// Bytes that a worker process had in memory at most.
async fn resident(url: &str, sandbox: &Sandbox, folder: &Path) -> u64 {
    let mut child = started(url, sandbox, folder).await;
    tokio::time::sleep(LIVES).await;
    let file = format!("/proc/{}/status", child.id().expect("it runs"));
    let status = std::fs::read_to_string(file).expect("a system that tells how much memory a process has");
    child.kill().await.expect("ends");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|text| text.trim().strip_suffix(" kB"));
    kib.expect("a figure").parse::<u64>().expect("a number") * 1024
}

/// Answers some while others wait and the same accounts have other work.
async fn answered(rows: &mut Rows, book: &Book, parked: usize) {
    let called = Arc::new(Called::answering_after(Duration::ZERO));
    let tools = Registry::new().with(Arc::clone(&called) as Arc<dyn Tool>);
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let engine = Engine {
        config: &book.config,
        store: &book.store,
        tools: &tools,
        stop: stopped,
    };
    let approving = async {
        let approved = book.approve_all().await;
        let waits = waits(&called, &approved).await;
        let others = others(&book.store, &called, book.config.clock, parked).await;
        stop.send(true).expect("the worker listens");
        (waits, others)
    };
    let (worked, ([yes, committed], others)) = tokio::join!(worker::work(&engine), approving);
    worked.expect("works");
    for (name, what, waits) in [
        ("yes", "from a yes, its checks included, to the call", yes),
        ("start", "from the committed yes to the call", committed),
    ] {
        for (part, percent) in [("p50", 50), ("p99", 99)] {
            let what = format!("{what}, {parked} parked, {part}");
            let arm = format!("ours.parked.{name}.{part}");
            rows.add(&arm, "PostgreSQL", &what, "1", (percentile(&waits, percent), "ms"));
        }
    }
    let what = format!("other actions of {OTHERS} accounts with parked approvals, carried out within 10 s");
    rows.add("ours.parked.others", "PostgreSQL", &what, "1", (others, "%"));
}

/// Gives accounts with parked approvals something else to do: the share of it that is done.
async fn others(store: &Store, called: &Called, clock: Clock, parked: usize) -> f64 {
    let now = clock.now();
    let accounts = parked / EACH;
    let one = |n: usize| {
        let account = n * accounts / OTHERS;
        work::permitted(account, &format!("other-{n}"), SF, ActionKind::CREATE_NOTE, now)
    };
    let commits: Vec<DecisionCommit> = (0..OTHERS).map(one).collect();
    store
        .commit_decisions(&work::run(), &commits, now)
        .await
        .expect("commits");
    let actions = || commits.iter().flat_map(|commit| &commit.actions);
    let done = || {
        actions()
            .filter(|action| called.at(action.row.id.as_str()).is_some())
            .count()
    };
    for _ in 0..500 {
        if done() == OTHERS {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    #[expect(clippy::cast_precision_loss, reason = "a share for people")]
    let share = done() as f64 / OTHERS as f64 * 100.0;
    share
}
