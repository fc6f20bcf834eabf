//! The crate `graphile_worker`: jobs of a filled queue, with and without its local queue, and one after the other for each account.

use std::time::Duration;

use graphile_worker::{
    IntoTaskHandlerResult, JobSpec, LocalQueueConfig, RawJobSpec, TaskHandler, WorkerContext, WorkerOptions,
};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use crate::pace::{Counted, Size};
use crate::row::Of;
use crate::{AT_ONCE, EACH, Measured, WORKERS, postgres};

const OF: Of = Of {
    system: "graphile_worker (Rust)",
    version: "0.14.1",
    on: "PostgreSQL",
};
const LEFT: &str = "select count(*) from graphile_worker._private_jobs";

#[derive(Deserialize, Serialize)]
struct Nothing {
    n: u64,
}

impl TaskHandler for Nothing {
    const IDENTIFIER: &'static str = "nothing";

    async fn run(self, ctx: WorkerContext) -> impl IntoTaskHandlerResult {
        if let Some(counted) = ctx.get_ext::<Counted>() {
            counted.one();
        }
        Ok::<(), String>(())
    }
}

#[derive(Clone, Copy, PartialEq)]
enum How {
    Plain,
    Local,
    Ordered,
}

fn options(pool: &PgPool, how: How, counted: &Counted) -> WorkerOptions {
    let options = WorkerOptions::default()
        .pg_pool(pool.clone())
        .schema("graphile_worker")
        .concurrency(AT_ONCE)
        .poll_interval(Duration::from_millis(10))
        .listen_os_shutdown_signals(false)
        .add_extension(counted.clone())
        .define_job::<Nothing>();
    match how {
        How::Plain => options,
        How::Local | How::Ordered => options
            .local_queue(LocalQueueConfig::default().with_size(500))
            .complete_job_batch_delay(Duration::from_millis(5)),
    }
}

async fn fill(pool: &PgPool, how: How, jobs: u64) {
    let filler = options(pool, How::Plain, &Counted::default())
        .init()
        .await
        .expect("migrates");
    let utils = filler.create_utils();
    for begin in (0..jobs).step_by(2_000) {
        let jobs: Vec<RawJobSpec> = (begin..jobs.min(begin + 2_000))
            .map(|n| RawJobSpec {
                identifier: "nothing".to_owned(),
                payload: serde_json::json!({ "n": n }),
                spec: match how {
                    How::Ordered => JobSpec::builder().queue_name(format!("A-{}", n / EACH)).build(),
                    How::Plain | How::Local => JobSpec::default(),
                },
            })
            .collect();
        utils.add_raw_jobs(&jobs).await.expect("fills");
    }
}

/// Does `measured` of `jobs` with so many workers.
async fn drain(server: &str, how: How, workers: usize, jobs: u64, measured: Measured) -> (u64, Duration) {
    let url = postgres::fresh(server, "peer_graphile").await;
    let connections = u32::try_from(workers * 8 + 4).expect("few");
    let pool = PgPoolOptions::new()
        .max_connections(connections)
        .connect(&url)
        .await
        .expect("connects");
    fill(&pool, how, jobs).await;
    let counted = Counted::default();
    let mut running = Vec::new();
    for _ in 0..workers {
        let worker = std::sync::Arc::new(options(&pool, how, &counted).init().await.expect("a worker"));
        let run = std::sync::Arc::clone(&worker);
        running.push((worker, tokio::spawn(async move { run.run().await })));
    }
    let all = measured.wanted == jobs;
    let settled = async |_: u64| !all || postgres::number(&pool, LEFT).await == 0;
    let result = counted.wait(measured.wanted, measured.most, settled).await;
    for (worker, mut task) in running {
        worker.request_shutdown();
        // Its parts go on asking a pool that is closed: it ends by itself, as far as it can.
        if tokio::time::timeout(Duration::from_secs(5), &mut task).await.is_err() {
            task.abort();
        }
    }
    pool.close().await;
    result
}

/// All of it.
pub async fn all(server: &str, size: Size, waiting: &[u64]) {
    let at_once = |workers: usize| format!("{workers}, {AT_ONCE} jobs at once each, 1 process");
    for workers in WORKERS {
        let plain = Measured::all(Size {
            jobs: size.jobs / 4,
            ..size
        });
        let (done, took) = drain(server, How::Plain, workers, plain.wanted, plain).await;
        OF.rate(
            "graphile_rs.plain",
            "jobs of a filled queue",
            &at_once(workers),
            done,
            took,
        );
    }
    for (arm, work, how) in [
        (
            "graphile_rs.local",
            "jobs of a filled queue, local queue of 500",
            How::Local,
        ),
        ("graphile_rs.ordered", "the same, one queue an account", How::Ordered),
    ] {
        for workers in WORKERS {
            let (done, took) = drain(server, how, workers, size.jobs, Measured::all(size)).await;
            OF.rate(arm, work, &at_once(workers), done, took);
        }
    }
    for &waiting in waiting {
        let measured = Measured::beside(size);
        let (done, took) = drain(server, How::Plain, 1, waiting + measured.wanted, measured).await;
        OF.rate(
            "graphile_rs.waiting",
            &format!("jobs while {waiting} wait"),
            &at_once(1),
            done,
            took,
        );
    }
    postgres::gone(server, "peer_graphile").await;
}
