//! Benchmark of approvals: how long from a person's yes to the moment at which the CRM's adapter is called.
//!
//! `cargo bench -p perennial-tests --bench approve -- [PENDING]` (default 1,000; at least so many actions wait): a worker stands by while one after the other
//! is approved, on SQLite, and on PostgreSQL where `PERENNIAL_TEST_PG` names a server.

#[path = "execution/approving.rs"]
mod approving;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use approving::{Book, Called, waits};
use perennial::cycle::Engine;
use perennial::worker::work;
use perennial_tests::Database;
use perennial_tools::{Registry, Tool};

fn main() {
    let args: Vec<usize> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .map(|a| a.parse().expect("a number"))
        .collect();
    let pending = args.first().copied().unwrap_or(1_000);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    println!(
        "| database | waiting | approved | from | p50, ms | p99, ms | longest, ms |\n|---|---|---|---|---|---|---|"
    );
    for kind in ["SQLite", "PostgreSQL"] {
        let temp = tempfile::tempdir().expect("a temporary folder");
        let database = match kind {
            "SQLite" => Some(Database::sqlite(temp.path())),
            _ => Database::postgres("approve"),
        };
        if let Some(database) = database {
            runtime.block_on(measure(kind, &database.url, temp.path(), pending));
        }
    }
}

async fn measure(kind: &str, url: &str, folder: &Path, pending: usize) {
    let book = Book::of(url, folder, pending).await;
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
        stop.send(true).expect("the worker listens");
        waits
    };
    let (worked, took) = tokio::join!(work(&engine), approving);
    worked.expect("works");
    for (from, took) in ["the yes", "its commit"].iter().zip(&took) {
        let at = |share: usize| took[(took.len() * share / 100).min(took.len() - 1)];
        println!(
            "| {kind} | {} | {} | {from} | {:.1} | {:.1} | {:.1} |",
            book.all,
            took.len(),
            at(50),
            at(99),
            at(100)
        );
    }
    book.store.close().await;
}
