//! Benchmark of API calls: what it costs to read a whole book for the first time, against the least that the API allows, and how many
//! records a second come with 50 ms for every call.
//!
//! `cargo bench -p perennial-tests --bench economy -- [ACCOUNTS] [CONTACTS]` (default 100,000 and 400,000), against the local servers,
//! into SQLite. How the least is counted says `tests/economy.rs`. The aim is 1.1 of it.

use std::time::{Duration, Instant};

use perennial_core::signal::Crm;
use perennial_tests::economy::{Book, Shelf};

/// What every call takes at least.
const LATENCY: Duration = Duration::from_millis(50);

fn main() {
    let args: Vec<u64> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .map(|a| a.parse().expect("a number"))
        .collect();
    let arg = |place: usize, default: u64| args.get(place).copied().unwrap_or(default);
    let book = Book {
        accounts: arg(0, 100_000),
        contacts: arg(1, 400_000),
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    println!(
        "first reading of {} accounts and {} contacts, {} ms a call",
        book.accounts,
        book.contacts,
        LATENCY.as_millis()
    );
    println!("| CRM | calls | least | ratio | seconds | records/s |\n|---|---|---|---|---|---|");
    for crm in Crm::ALL {
        runtime.block_on(first_reading(*crm, book));
    }
    // Changed records, and what writing them costs, have their own table below this line.
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn clock() -> Instant {
    Instant::now()
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
async fn first_reading(crm: Crm, book: Book) {
    let shelf = Shelf::of(crm, book).await;
    shelf.crms.set_latency(LATENCY);
    let begun = clock();
    let read = shelf.read().await;
    let took = begun.elapsed().as_secs_f64();
    assert_eq!(
        read.report.stored,
        book.accounts + book.contacts,
        "every record came once"
    );
    let calls: u64 = shelf.calls().values().sum();
    let least = book.least(crm);
    println!(
        "| {crm} | {calls} | {least} | {:.3} | {took:.1} | {:.0} |",
        calls as f64 / least as f64,
        read.report.stored as f64 / took
    );
    for (route, count) in shelf.calls() {
        println!("  {count:>6} {route}");
    }
}
