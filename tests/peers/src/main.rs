//! Other systems doing what ours does: jobs or workflows of one step that is an empty function, so that only the bookkeeping is
//! measured. Each arm prints lines of JSON ([`row::Row`]); `peers table` makes one table of them and of ours. Started by `run`.
//!
//! What a worker is differs, so each row says it: queues have workers, workflow engines have calls in flight (8, 16, 32, 64 for
//! 1, 2, 4, 8). Queues are filled before the clock starts; workflows are started while it runs.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

mod apalis;
mod dbos;
mod durare;
mod goals;
mod graphile;
mod pace;
mod postgres;
mod restate;
mod row;
mod table;

use std::path::Path;
use std::time::Duration;

use pace::Size;

/// Workers of each system, one after the other.
const WORKERS: [usize; 4] = [1, 2, 4, 8];
/// Jobs of an account, where a system can keep their order.
const EACH: u64 = 4;
/// Jobs that a worker of a queue has under way.
const AT_ONCE: usize = 64;
/// Jobs measured beside a backlog.
const BESIDE: u64 = 1_500;

/// How many jobs are measured, and how long that may take.
#[derive(Debug, Clone, Copy)]
struct Measured {
    wanted: u64,
    most: Duration,
}

impl Measured {
    fn all(size: Size) -> Measured {
        Measured {
            wanted: size.jobs,
            most: size.most,
        }
    }

    fn beside(size: Size) -> Measured {
        Measured {
            wanted: BESIDE,
            most: size.most,
        }
    }
}

const USAGE: &str = "peers ARM JOBS SECONDS ARGUMENT.., or peers table FILE";

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let waiting = [3_000, 20_000];
    match args[..] {
        ["table", file] => table::print(Path::new(file)),
        [arm, jobs, seconds, ref rest @ ..] => {
            let size = Size {
                jobs: jobs.parse().expect(USAGE),
                most: Duration::from_secs(seconds.parse().expect(USAGE)),
            };
            let folder = tempfile::Builder::new().prefix("peer").tempdir().expect("a folder");
            match (arm, rest) {
                ("dbos", [server]) => {
                    dbos::started(server, size).await;
                    dbos::queued(server, size).await;
                }
                ("durare-sqlite", []) => durare::sqlite(folder.path(), size).await,
                ("durare-postgres", [server]) => durare::postgres(server, size).await,
                ("apalis-sqlite", []) => apalis::sqlite(folder.path(), size, &waiting).await,
                ("apalis-postgres", [server]) => apalis::postgres(server, size, &waiting).await,
                ("graphile", [server]) => graphile::all(server, size, &waiting).await,
                ("restate", [program]) => restate::all(Path::new(program), "1.7.12", folder.path(), size).await,
                _ => panic!("{USAGE}"),
            }
        }
        _ => panic!("{USAGE}"),
    }
}
