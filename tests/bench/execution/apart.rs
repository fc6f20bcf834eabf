//! What row-level security costs: the same work as the superuser, whom it does not hold, and as a role that owns nothing.

use std::time::Duration;

use perennial_core::ids::TenantId;
use perennial_store::{Options, Store};
use perennial_tests::postgres::PostgresServer;

use crate::rows::Rows;
use crate::work::{execute, intend};

/// Turns in which two ways of doing the same are measured.
const TURNS: i64 = 5;

/// In turns, each time as a tenant that is new, on a server of its own. The figure is the middle one of the ratios of the turns.
pub(crate) async fn all(rows: &mut Rows, effects: usize) {
    let Some(server) = PostgresServer::start("bench execution, row-level security") else {
        return;
    };
    let store = Store::open(
        &server.url().parse().expect("a database"),
        TenantId::DEFAULT,
        &Options::default(),
    )
    .await;
    let store = store.expect("opens");
    store.migrate().await.expect("migrates");
    store.close().await;
    server.sql(
        "create role perennial_app login; grant usage on schema public to perennial_app; \
         grant select, insert, update, delete on all tables in schema public to perennial_app",
    );
    for batch in [16, 128] {
        let mut ratios = Vec::new();
        for turn in 0..TURNS {
            let mut took = [Duration::ZERO; 2];
            // Who goes first changes, so that neither always finds the warmer server.
            for arm in [turn % 2, 1 - turn % 2] {
                let url = if arm == 0 {
                    server.url()
                } else {
                    server.url_as("perennial_app")
                };
                let tenant = 1_000 + i64::from(batch) * 100 + turn * 2 + arm;
                let url = url.parse().expect("a database");
                let store = Store::open_migrated(&url, TenantId(tenant), &Options::default()).await;
                let store = store.expect("opens");
                let held = store.tenants_not_apart().await.expect("reads").is_none();
                assert_eq!(held, arm == 1, "who is held by row-level security");
                let intending = intend(&store, 0, effects).await;
                let (done, executing) = execute(vec![store], batch, effects as u64).await;
                assert_eq!(done, effects as u64, "all of it is done");
                took[usize::from(arm == 1)] = intending + executing;
            }
            ratios.push(took[1].as_secs_f64() / took[0].as_secs_f64());
        }
        ratios.sort_by(f64::total_cmp);
        let what = format!(
            "row-level security in force against without it, {batch} together (turns between {:.2} and {:.2})",
            ratios[0],
            ratios[ratios.len() - 1]
        );
        rows.add(
            "ours.postgres.apart",
            "PostgreSQL",
            &what,
            "1",
            (ratios[ratios.len() / 2], "times the time"),
        );
    }
}
