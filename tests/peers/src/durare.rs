//! The crate `durare`: a workflow of one step, started and awaited, on SQLite and on PostgreSQL, as it configures itself.

use std::path::Path;

use durare::{DurableContext, DurableEngine, Result, WorkflowOptions};

use crate::pace::{Size, in_flight};
use crate::row::Of;
use crate::{WORKERS, postgres};

#[durare::step]
async fn nothing(ctx: &DurableContext, n: u64) -> Result<u64> {
    Ok(n)
}

#[durare::workflow]
async fn one_step(ctx: DurableContext, n: u64) -> Result<u64> {
    nothing(&ctx, n).await
}

async fn measure(of: Of, arm: &str, url: &str, many: usize, size: Size) {
    let engine = DurableEngine::connect(url)
        .await
        .expect("connects")
        .build()
        .await
        .expect("an engine");
    let (done, took) = in_flight(size, many, |n| {
        let engine = &engine;
        async move {
            let options = WorkflowOptions::with_id(format!("w-{n}"));
            let handle = engine.start_with(OneStep, n, options).await.expect("starts");
            handle.await.expect("runs");
        }
    })
    .await;
    of.rate(
        arm,
        "workflow of one step, started and awaited",
        &format!("{many} in flight, 1 process"),
        done,
        took,
    );
    engine.shutdown(std::time::Duration::from_secs(5)).await.expect("ends");
}

/// On SQLite, with its own `synchronous = normal`.
pub async fn sqlite(folder: &Path, size: Size) {
    let of = Of {
        system: "durare",
        version: "0.5.0",
        on: "SQLite, synchronous = normal",
    };
    for workers in WORKERS {
        let many = workers * 8;
        let url = format!("sqlite://{}", folder.join(format!("durare-{many}.db")).display());
        measure(of, "durare.sqlite", &url, many, size).await;
    }
}

/// On PostgreSQL.
pub async fn postgres(server: &str, size: Size) {
    let of = Of {
        system: "durare",
        version: "0.5.0",
        on: "PostgreSQL",
    };
    for workers in WORKERS {
        let url = postgres::fresh(server, "peer_durare").await;
        measure(of, "durare.postgres", &url, workers * 8, size).await;
    }
    postgres::gone(server, "peer_durare").await;
}
