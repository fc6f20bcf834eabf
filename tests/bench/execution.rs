//! Benchmark of execution without a CRM: what the bookkeeping of an effect costs, with intent, lease, attempt, outcome, receipt and
//! ledger, everything synced to disk; and what holds while much waits, while workers die, while limits and tenants are shared.
//!
//! `cargo bench -p perennial-tests --bench execution -- [EFFECTS] [BACKLOG] [PARKED] [PART..]` (default 20,000 effects, a backlog
//! and parked approvals of 1,000,000), on SQLite with `synchronous = full`, and on the PostgreSQL that `PERENNIAL_TEST_PG` names,
//! or one of its own where its programs are installed, with `fsync` on. Parts: `rates backlog idle crash limit tenants
//! parked apart`;
//! all of them when none is named. With `PERENNIAL_BENCH_ROWS` the figures are also appended to that file as lines of JSON, from
//! which `tests/peers/run` makes one table of ours and others'.

#[path = "execution/apart.rs"]
mod apart;
#[path = "execution/approving.rs"]
mod approving;
#[path = "execution/crash.rs"]
mod crash;
#[path = "execution/limit.rs"]
mod limit;
#[path = "execution/parked.rs"]
mod parked;
#[path = "execution/rates.rs"]
mod rates;
#[path = "execution/rows.rs"]
mod rows;
#[path = "execution/server.rs"]
mod server;
#[path = "execution/tenants.rs"]
mod tenants;
#[path = "execution/work.rs"]
mod work;

use rows::Rows;
use server::Server;

const PARTS: [&str; 8] = [
    "rates", "backlog", "idle", "crash", "limit", "tenants", "parked", "apart",
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let (sizes, parts): (Vec<&String>, Vec<&String>) = args.iter().partition(|a| a.parse::<usize>().is_ok());
    for part in &parts {
        assert!(
            PARTS.contains(&part.as_str()),
            "there is no part `{part}`, only {PARTS:?}"
        );
    }
    let size = |place: usize, default: usize| sizes.get(place).map_or(default, |n| n.parse().expect("a number"));
    let (effects, backlog, parked) = (size(0, 20_000), size(1, 1_000_000), size(2, 1_000_000));
    let does = |part: &str| parts.is_empty() || parts.iter().any(|p| *p == part);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut rows = Rows::open();
    let server = Server::start();
    runtime.block_on(async {
        if let Some(server) = &server {
            println!("PostgreSQL: {}\n", server.settings().await);
        }
        println!("| database | what | workers | figure |\n|---|---|---|---|");
        let temp = tempfile::tempdir().expect("a temporary folder");
        if does("rates") {
            rates::raw(&mut rows, temp.path()).await;
            rates::sqlite(&mut rows, temp.path(), effects).await;
            if let Some(server) = &server {
                rates::postgres(&mut rows, server, effects).await;
            }
        }
        if does("idle") {
            rates::idle(&mut rows, temp.path(), server.as_ref()).await;
        }
        if does("backlog") {
            rates::backlog(&mut rows, temp.path(), server.as_ref(), backlog).await;
        }
        let Some(server) = &server else { return };
        if does("crash") {
            crash::all(&mut rows, server, temp.path()).await;
        }
        if does("limit") {
            limit::all(&mut rows, server, temp.path()).await;
        }
        if does("tenants") {
            tenants::all(&mut rows, server).await;
        }
        if does("apart") {
            apart::all(&mut rows, effects).await;
        }
        if does("parked") {
            parked::all(&mut rows, server, temp.path(), parked).await;
        }
    });
}
