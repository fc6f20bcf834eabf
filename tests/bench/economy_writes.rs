//! Benchmark of call economy: changed records on their way into a CRM, against the least calls that the API allows.
//!
//! `cargo bench -p perennial-tests --bench economy_writes -- [RECORDS] [LATENCY_MS]` (default 5,000 records, 50 ms a call). Each
//! record is compared with what is there, written, and read back; the simulators count the calls. The least is what remains when
//! each of the three is done with the largest request that the vendor documents ([`least`]). A composite request, which wraps up to
//! five collections in one call (unverified), is not counted on.

use std::time::Duration;

use perennial_core::signal::Crm;
use perennial_tests::Database;
use perennial_tests::batches::{By, book, bulk_tool, change_all, least};

fn main() {
    let args: Vec<usize> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .map(|a| a.parse().expect("a number"))
        .collect();
    let records = args.first().copied().unwrap_or(5_000);
    let latency_ms = args.get(1).copied().unwrap_or(50);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(all(records, latency_ms));
}

async fn all(records: usize, latency_ms: usize) {
    println!("{records} changed records, {latency_ms} ms a call\n");
    println!(
        "| CRM | written by | effects a lease | calls | least | calls / least | records/s |\n|---|---|---|---|---|---|---|"
    );
    for crm in [Crm::Salesforce, Crm::HubSpot] {
        let all = u32::try_from(records).expect("a lease");
        for (by, lease) in [
            (By::Batches, Some(200)),
            (By::Batches, Some(all)),
            (By::Batches, None),
            (By::Job, None),
        ] {
            if crm == Crm::HubSpot && by == By::Job {
                continue;
            }
            let crms = book(records).await;
            crms.set_latency(Duration::from_millis(latency_ms as u64));
            let temp = tempfile::tempdir().expect("a folder");
            let db = Database::sqlite(temp.path());
            let tool = bulk_tool(&crms, crm, if by == By::Job { 2_000 } else { 0 });
            let took = change_all(&crms, tool, &db.url, temp.path(), records, lease).await;
            assert_eq!(took.drained.done, records as u64, "all of it is done: {:?}", took.calls);
            let (calls, least) = (took.all(), least(crm, records, by));
            #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
            let (ratio, rate) = (calls as f64 / least as f64, records as f64 / took.time.as_secs_f64());
            let by = if by == By::Job { "job" } else { "batches" };
            let lease = lease.map_or_else(|| "as shipped".to_owned(), |lease| lease.to_string());
            println!("| {crm} | {by} | {lease} | {calls} | {least} | {ratio:.2} | {rate:.0} |");
            crms.shutdown().await;
        }
    }
}
