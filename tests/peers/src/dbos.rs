//! The crate `dbos`: a workflow of one step, started here and awaited, and its queue with one workflow of an account at a time.

use std::time::{Duration, Instant};

use dbos::{Config, DBOS, Enqueue, QueueConflict, QueueOptions, StartOptions, step};

use crate::pace::{Counted, Size, in_flight};
use crate::row::Of;
use crate::{EACH, WORKERS, postgres};

const OF: Of = Of {
    system: "dbos (Rust)",
    version: "0.5.0",
    on: "PostgreSQL",
};

async fn nothing() -> dbos::Result<()> {
    Ok(())
}

async fn one(_: u64) -> dbos::Result<()> {
    step("nothing", nothing).await
}

async fn counting(counted: Counted) -> dbos::Result<()> {
    step("nothing", nothing).await?;
    counted.one();
    Ok(())
}

fn config(url: &str, connections: u32) -> Config {
    Config {
        app_version: Some("1".to_owned()),
        max_connections: connections,
        ..Config::new("peers", url)
    }
}

/// Started in this process and awaited.
pub async fn started(server: &str, size: Size) {
    for workers in WORKERS {
        let url = postgres::fresh(server, "peer_dbos").await;
        let many = workers * 8;
        let dbos = DBOS::new(config(&url, 32));
        let one = dbos.register_workflow("one", one).expect("registers");
        dbos.launch().await.expect("launches");
        let (done, took) = in_flight(size, many, |n| {
            let one = &one;
            async move { one.run(n).await.expect("runs") }
        })
        .await;
        OF.rate(
            "dbos",
            "workflow of one step, started and awaited",
            &format!("{many} in flight, 1 process"),
            done,
            took,
        );
        dbos.shutdown().await;
    }
    postgres::gone(server, "peer_dbos").await;
}

/// Through its queue, one workflow of an account at a time.
pub async fn queued(server: &str, size: Size) {
    let url = postgres::fresh(server, "peer_dbos").await;
    let counted = Counted::default();
    let filler = DBOS::new(Config {
        listen_queues: Some(Vec::new()),
        ..config(&url, 32)
    });
    let work = filler.register_workflow("one", one).expect("registers");
    filler.launch().await.expect("launches");
    let options = QueueOptions {
        partition_concurrency: Some(1),
        worker_concurrency: Some(64),
        polling_interval: Duration::from_millis(100),
        ..QueueOptions::default()
    };
    filler
        .register_queue("work", options, QueueConflict::AlwaysUpdate)
        .await
        .expect("a queue");
    let fill = Size {
        jobs: size.jobs.min(2_000),
        most: Duration::from_secs(600),
    };
    let (filled, _) = in_flight(fill, 32, |n| {
        let work = &work;
        async move {
            let account = format!("A-{}", n / EACH);
            let queue = Enqueue {
                partition_key: Some(&account),
                ..Enqueue::new("work")
            };
            work.start_with(
                n,
                StartOptions {
                    queue: Some(queue),
                    ..StartOptions::default()
                },
            )
            .await
            .expect("enqueues");
        }
    })
    .await;
    filler.shutdown().await;
    let worker = DBOS::new(config(&url, 32));
    let count = counted.clone();
    worker
        .register_workflow("one", move |_: u64| counting(count.clone()))
        .expect("registers");
    let begun = Instant::now();
    worker.launch().await.expect("launches");
    let (done, took) = counted.wait(filled, size.most, async |_| true).await;
    let waited = begun.elapsed().max(took);
    OF.rate(
        "dbos.queue",
        "its queue, one workflow of an account at a time",
        "1 process, 64 at once",
        done,
        waited,
    );
    worker.shutdown().await;
    postgres::gone(server, "peer_dbos").await;
}
