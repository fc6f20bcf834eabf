//! One tenant with very much to do beside others with little. A worker serves one tenant, so each has one; they share a machine and
//! a server.

use std::sync::Arc;
use std::time::Duration;

use perennial::clock::Clock;
use perennial::config::{Config, Overrides};
use perennial::cycle::Engine;
use perennial::worker;
use perennial_core::action::ActionKind;
use perennial_core::ids::TenantId;
use perennial_store::Store;
use perennial_tests::work;
use perennial_tools::{Registry, Tool};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::approving::Called;
use crate::rows::{Rows, percentile};
use crate::server::Server;
use crate::work::{SF, clock, fill, opened, waiting};

/// Effects of the large tenant.
const MANY: usize = 100_000;
const LARGE: i64 = 1;
const OTHERS: [i64; 3] = [2, 3, 4];
/// Effects of each of the others, one after the other.
const EACH: usize = 200;
const APART: Duration = Duration::from_millis(40);

/// Runs it with calls that take no time, and with those of a CRM.
pub(crate) async fn all(rows: &mut Rows, server: &Server) {
    for call_ms in [0, 50] {
        let url = server.fresh("bench_tenants").await;
        let call = Duration::from_millis(call_ms);
        let solo = others(&url, call, "solo").await;
        let store = opened(&url, LARGE, 4).await;
        fill(&store, MANY, waiting).await;
        let (stop, stopped) = watch::channel(false);
        let large = working(store.clone(), &url, Arc::new(Called::answering_after(call)), stopped);
        let beside = others(&url, call, "beside").await;
        let left = store.effect_counts(None).await.expect("counts").waiting;
        assert!(left > 0, "the large tenant was done too early to disturb anybody");
        stop.send(true).expect("it listens");
        large.await.expect("ends");
        eprintln!("tenants: {left} of {MANY} were left");
        for (name, waits) in [("solo", solo), ("beside", beside)] {
            let what = format!("commit to call, three tenants {name}, calls of {call_ms} ms, p99");
            let arm = format!("ours.tenants.{name}.{call_ms}");
            rows.add(
                &arm,
                "PostgreSQL",
                &what,
                "one a tenant",
                (percentile(&waits, 99), "ms"),
            );
        }
        store.close().await;
    }
    server.gone("bench_tenants").await;
}

/// A worker of a tenant.
fn working(store: Store, url: &str, called: Arc<Called>, stop: watch::Receiver<bool>) -> JoinHandle<()> {
    let overrides = Overrides {
        db: Some(url.to_owned()),
        ..Overrides::default()
    };
    let mut config = Config::load(&overrides).expect("a configuration");
    config.tenant = store.tenant();
    tokio::spawn(async move {
        let tools = Registry::new().with(called as Arc<dyn Tool>);
        let engine = Engine {
            config: &config,
            store: &store,
            tools: &tools,
            stop,
        };
        worker::work(&engine).await.expect("works");
    })
}

/// Milliseconds from the commit of an effect of one of the others to its call, sorted.
async fn others(url: &str, call: Duration, when: &'static str) -> Vec<f64> {
    let mut feeding = Vec::new();
    for tenant in OTHERS {
        let url = url.to_owned();
        feeding.push(tokio::spawn(
            async move { one(&url, TenantId(tenant), call, when).await },
        ));
    }
    let mut waits = Vec::new();
    for feeding in feeding {
        waits.extend(feeding.await.expect("feeds"));
    }
    waits.sort_by(f64::total_cmp);
    waits
}

async fn one(url: &str, tenant: TenantId, call: Duration, when: &str) -> Vec<f64> {
    let store = opened(url, tenant.0, 4).await;
    let called = Arc::new(Called::answering_after(call));
    let (stop, stopped) = watch::channel(false);
    let worker = working(store.clone(), url, Arc::clone(&called), stopped);
    let mut committed = Vec::new();
    for n in 0..EACH {
        let now = Clock::System.now();
        let commit = work::permitted(n, &format!("{when}-{n}"), SF, ActionKind::CREATE_NOTE, now);
        let action = commit.actions[0].row.id.to_string();
        store
            .commit_decisions(&work::run(), &[commit], now)
            .await
            .expect("commits");
        committed.push((action, clock()));
        tokio::time::sleep(APART).await;
    }
    while committed.iter().any(|(action, _)| called.at(action).is_none()) {
        tokio::time::sleep(APART).await;
    }
    stop.send(true).expect("it listens");
    worker.await.expect("ends");
    store.close().await;
    let wait = |(action, at): &(String, std::time::Instant)| {
        let called = called.at(action).expect("was called");
        called.saturating_duration_since(*at).as_secs_f64() * 1_000.0
    };
    committed.iter().map(wait).collect()
}
