//! Worker processes that are killed: how long until somebody else has carried on with the accounts they held.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use perennial::clock::Clock;
use perennial_core::action::ActionKind;
use perennial_sandbox::{Options, Sandbox};
use perennial_tests::sink::{SINK, WORKING};
use perennial_tests::{command, work};
use sqlx::{Connection as _, PgConnection};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::rows::Rows;
use crate::server::Server;
use crate::work::{SF, opened};

const PROGRAM: &str = env!("CARGO_BIN_EXE_perennial-under-test");
/// Accounts with work, and effects of each of them: so few that nobody waits in line, because what is measured is the lease.
const ACCOUNTS: usize = 64;
const EACH: usize = 4;
/// The effect of an account that its dead worker held, and the one after it.
const OF_ACCOUNTS: &str = "select r.account_id, min(r.at_us) from receipt r
    where r.account_id = any($1) and r.at_us > $2 group by r.account_id";
const HELD: &str = "select account_id from outbox where state = 'leased' and worker like $1";

/// A worker process, once it has begun to work.
pub(crate) async fn started(url: &str, sandbox: &Sandbox, folder: &Path) -> Child {
    let mut command = command(PROGRAM, folder, &[]);
    command
        .env(SINK, "marker")
        .env("PERENNIAL_DB", url)
        .env("PERENNIAL_SALESFORCE_URL", &sandbox.salesforce().url)
        .env("PERENNIAL_SALESFORCE_TOKEN", &sandbox.salesforce().token)
        .env("PERENNIAL_HUBSPOT_URL", &sandbox.hubspot().url)
        .env("PERENNIAL_HUBSPOT_TOKEN", &sandbox.hubspot().token)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut command = Command::from(command);
    command.kill_on_drop(true);
    let mut child = command.spawn().expect("a worker");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let line = lines.next_line().await.expect("a line");
    assert_eq!(line.as_deref(), Some(WORKING), "it ended before it began");
    child
}

/// With leases of a second, and with those that are the default.
pub(crate) async fn all(rows: &mut Rows, server: &Server, folder: &Path) {
    let short = "[limits]\nlease_ms = 1000\nsettle_ms = 500\neffects_per_lease = 8\n";
    let longest = resumed(server, folder, short, 5).await;
    let what = "kill -9 to the account's next effect, longest of 5 kills, leases of 1 s and 0.5 s to settle";
    rows.add("ours.crash", "PostgreSQL", what, "2 processes", (longest, "s"));
    let default = "[limits]\neffects_per_lease = 8\n";
    let longest = resumed(server, folder, default, 1).await;
    let what = "the same, 1 kill, the default leases of 10 s and 2 s to settle";
    rows.add("ours.crash.default", "PostgreSQL", what, "2 processes", (longest, "s"));
}

/// The longest time in seconds from a kill until an account that the dead had held had an outcome.
async fn resumed(server: &Server, folder: &Path, limits: &str, times: usize) -> f64 {
    let folder = folder.join("crash");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("perennial.toml"), limits).expect("writes");
    let url = server.fresh("bench_crash").await;
    let sandbox = Sandbox::start(Options::default()).await.expect("servers");
    let store = opened(&url, 1, 4).await;
    let mut look = PgConnection::connect(&url).await.expect("connects");
    let (mut longest, mut accounts, mut time) = (0.0_f64, 0, 0);
    let mut kills = 0;
    while kills < times {
        let mut doomed = started(&url, &sandbox, &folder).await;
        let other = started(&url, &sandbox, &folder).await;
        let name = format!("worker-{}-%", doomed.id().expect("it runs"));
        let held = async |look: &mut PgConnection| -> Vec<String> {
            let held = sqlx::query_scalar(HELD).bind(&name).fetch_all(look).await;
            held.expect("accounts")
        };
        // In the middle of its work; what the other takes first is not there for it.
        while held(&mut look).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
            if store.effect_counts(None).await.expect("counts").waiting == 0 {
                time += 1;
                let now = Clock::System.now();
                let one = |n: usize| {
                    let subject = format!("{time}-{n}");
                    work::permitted(n % ACCOUNTS, &subject, SF, ActionKind::CREATE_NOTE, now)
                };
                let commits: Vec<_> = (0..ACCOUNTS * EACH).map(one).collect();
                store
                    .commit_decisions(&work::run(), &commits, now)
                    .await
                    .expect("commits");
            }
        }
        doomed.kill().await.expect("dies");
        let killed = Clock::System.now().us();
        let held = held(&mut look).await;
        loop {
            let left = store.effect_counts(None).await.expect("counts");
            let found = sqlx::query_as(OF_ACCOUNTS).bind(&held).bind(killed);
            let found: Vec<(String, i64)> = found.fetch_all(&mut look).await.expect("receipts");
            // What the dead had just handed in may have been the last of its account.
            if found.len() == held.len() || left.waiting + left.unknown == 0 {
                accounts += found.len();
                kills += usize::from(!found.is_empty());
                let last = found.iter().map(|(_, at)| *at).max().unwrap_or(killed);
                #[expect(clippy::cast_precision_loss, reason = "seconds for people")]
                let seconds = (last - killed) as f64 / 1_000_000.0;
                longest = longest.max(seconds);
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        drop(other);
    }
    assert!(accounts > 0, "the dead held nothing, so nothing was shown");
    eprintln!("crash: {accounts} accounts were held by the dead");
    look.close().await.expect("closes");
    store.close().await;
    sandbox.shutdown().await;
    server.gone("bench_crash").await;
    longest
}
