//! Months of attempts and of the ledger on PostgreSQL: made ahead, filled, and dropped; and what guards the numbers that no key
//! guards any more.

use perennial_core::action::{ActionState, EffectState};
use perennial_core::ids::TenantId;
use perennial_core::replay::Hash;
use perennial_core::signal::Crm;
use perennial_core::time::Timestamp;
use sqlx::{Connection as _, Row as _};

use super::bed::{action, at, commit, run_id, script};
use super::effects::outcome;
use super::{Bed, both};
use crate::db::{Column, Durability, args};
use crate::ledger::{Head, append};
use crate::migrate::MIGRATIONS;
use crate::*;

both!(
    rows_go_where_their_month_is_and_months_that_are_over_go_as_a_whole,
    what_has_no_month_yet_is_kept_and_moves_when_it_is_made,
    several_make_months_at_once_while_others_write,
    outcomes_look_into_their_own_month_only,
    the_head_of_the_ledger_moves_only_from_where_it_was_read,
    a_fence_grows_only_from_what_was_read,
    the_schema_before_comes_over_whole_and_its_programs_go_on,
    large_reads_of_plays_keep_no_plan,
    a_lease_reads_no_rows_of_other_tenants,
);

const MINUTE: i64 = 60_000_000;
const SF: &[Crm] = &[Crm::Salesforce];

/// The fifteenth of a month, counted from January 2024.
fn month(number: usize) -> Timestamp {
    let text = format!("{}-{:02}-15T12:00:00Z", 2024 + number / 12, number % 12 + 1);
    text.parse().expect("a time")
}

/// The address of a PostgreSQL, none on SQLite.
fn server(bed: &Bed) -> Option<String> {
    match &bed.url {
        DatabaseUrl::Sqlite(_) => None,
        DatabaseUrl::Postgres(secret) => Some(secret.expose().to_owned()),
    }
}

async fn texts(url: &str, text: impl Into<String>) -> Vec<String> {
    let mut connection = sqlx::PgConnection::connect(url).await.expect("connects");
    let rows = sqlx::raw_sql(sqlx::AssertSqlSafe(text.into()))
        .fetch_all(&mut connection)
        .await
        .expect("reads");
    rows.iter().map(|row| row.get::<String, _>(0)).collect()
}

async fn of_tenant(bed: &Bed, tenant: i64) -> Store {
    Store::open_migrated(&bed.url, TenantId(tenant), &Options::default())
        .await
        .expect("opens")
}

/// Begins an attempt of a new effect in a month, and ends it as `result` says.
async fn attempt(store: &Store, number: usize, result: Option<EffectResult>) {
    let action = action(number, "a", ActionState::Permitted, SF);
    let commits = [commit(number, "a", vec![action])];
    store
        .commit_decisions(&run_id(), &commits, month(number))
        .await
        .expect("commits");
    let leases = store
        .lease_effects("w", SF, 1, month(number), MINUTE)
        .await
        .expect("leases");
    assert_eq!(leases.len(), 1, "{number}");
    assert_eq!(leases[0].begun_at, month(number));
    let result = result.unwrap_or(EffectResult::Failed {
        error: "refused".to_owned(),
    });
    let report = store
        .settle_effects(&[EffectOutcome {
            at: month(number),
            ..outcome(&leases[0], result)
        }])
        .await
        .expect("settles");
    assert_eq!(report.refused, []);
}

const PARTS: &str = "select c.relname::text from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = 'attempt'::regclass and c.relname ~ '_202[45]_' order by 1";
/// Rows that are not in the part of their month.
const ASTRAY: &str = "select a.effect_id from attempt a where a.tableoid::regclass::text
        <> 'attempt_' || to_char(to_timestamp(a.begun_us / 1000000) at time zone 'UTC', 'YYYY_MM')
    union all select l.kind from ledger l where l.tableoid::regclass::text
        <> 'ledger_' || to_char(to_timestamp(l.at_us / 1000000) at time zone 'UTC', 'YYYY_MM')";

async fn rows_go_where_their_month_is_and_months_that_are_over_go_as_a_whole(bed: Bed) {
    for number in 0..14 {
        bed.store.make_months(month(number)).await.expect("makes");
        // The third is in doubt, and has to stay.
        let lost = EffectResult::Unknown {
            error: "no answer".to_owned(),
            due_at: month(100),
            image: None,
        };
        attempt(&bed.store, number, (number == 2).then_some(lost)).await;
    }
    let ended = |number: usize| {
        let id = action(number, "a", ActionState::Permitted, SF).row.id;
        let store = bed.store.clone();
        async move {
            let attempts = store.attempts_of(&id).await.expect("reads");
            attempts.into_iter().map(|a| a.result).collect::<Vec<_>>()
        }
    };
    assert_eq!(
        ended(13).await,
        [Some(EffectState::Failed.as_str().to_owned())],
        "its end is written in its month"
    );
    let url = server(&bed);
    if let Some(url) = &url {
        assert_eq!(texts(url, ASTRAY).await, Vec::<String>::new());
        assert_eq!(texts(url, PARTS).await.len(), 17, "14 months and those ahead");
    }
    // Another tenant's attempt in the tenth month.
    let other = of_tenant(&bed, 2).await;
    attempt(&other, 9, None).await;
    let old = |number: usize| Prune {
        attempts: Some(month(number)),
        ..Prune::default()
    };
    let pruned = bed.store.prune(&old(9), month(14)).await.expect("prunes");
    assert_eq!(pruned.attempts, 8, "all before but the one in doubt");
    if let Some(url) = &url {
        let parts = texts(url, PARTS).await;
        assert_eq!(parts[..2], ["attempt_2024_03", "attempt_2024_10"], "{parts:?}");
    }
    assert_eq!(ended(2).await.len(), 1);
    assert_eq!(bed.store.prune(&old(11), month(14)).await.expect("prunes").attempts, 2);
    if let Some(url) = &url {
        let parts = texts(url, PARTS).await;
        assert_eq!(
            parts[..3],
            ["attempt_2024_03", "attempt_2024_10", "attempt_2024_12"],
            "another tenant's month stays"
        );
    }
    let id = action(9, "a", ActionState::Permitted, SF).row.id;
    assert_eq!(ended(9).await.len(), 0);
    assert_eq!(other.attempts_of(&id).await.expect("reads").len(), 1);
    assert_eq!(other.prune(&old(11), month(14)).await.expect("prunes").attempts, 1);
    if let Some(url) = &url {
        let parts = texts(url, PARTS).await;
        assert_eq!(parts[..2], ["attempt_2024_03", "attempt_2024_12"], "{parts:?}");
    }
    other.close().await;
}

async fn what_has_no_month_yet_is_kept_and_moves_when_it_is_made(bed: Bed) {
    // A clock that is far ahead, as nobody made months for.
    attempt(&bed.store, 400, None).await;
    let other = of_tenant(&bed, 2).await;
    attempt(&other, 400, None).await;
    let made = bed.store.make_months(month(400)).await.expect("makes");
    let again = bed.store.make_months(month(400)).await.expect("makes");
    let id = action(400, "a", ActionState::Permitted, SF).row.id;
    for store in [&bed.store, &other] {
        assert_eq!(store.attempts_of(&id).await.expect("reads").len(), 1);
    }
    other.close().await;
    let Some(url) = server(&bed) else {
        assert_eq!((made, again), (0, 0));
        return;
    };
    assert_eq!((made, again), (8, 0));
    assert_eq!(texts(&url, ASTRAY).await, Vec::<String>::new());
}

async fn several_make_months_at_once_while_others_write(bed: Bed) {
    let makers: Vec<_> = (0..3)
        .map(|_| {
            let store = bed.store.clone();
            tokio::spawn(async move {
                loop {
                    match store.make_months(month(20)).await {
                        // The others took long, on a busy machine.
                        Err(error) if error.passes() => {}
                        made => return made,
                    }
                }
            })
        })
        .collect();
    for number in 0..40 {
        let draft = LedgerDraft {
            kind: "test".to_owned(),
            reference: String::new(),
            body: "{}".to_owned(),
        };
        let when = month(20 + number % 4);
        bed.store.append_ledger(None, &[draft], when).await.expect("writes");
    }
    let mut made = 0;
    for maker in makers {
        made += maker.await.expect("runs").expect("makes");
    }
    let entries = bed.store.ledger_page(0, 100).await.expect("reads");
    let places: Vec<i64> = entries.iter().map(|entry| entry.seq).collect();
    assert_eq!(places, (1..=40).collect::<Vec<_>>());
    for pair in entries.windows(2) {
        assert_eq!(pair[1].previous, pair[0].hash);
    }
    if let Some(url) = server(&bed) {
        assert_eq!(made, 8, "each month once");
        assert_eq!(texts(&url, ASTRAY).await, Vec::<String>::new());
    }
}

async fn outcomes_look_into_their_own_month_only(bed: Bed) {
    let Some(url) = server(&bed) else { return };
    for number in 0..6 {
        bed.store.make_months(month(number)).await.expect("makes");
        attempt(&bed.store, number, None).await;
    }
    let from = month(3).us();
    let scanned = async |statement: &'static crate::db::Statement, values: String| {
        let text = statement.text(crate::dialect::Dialect::Postgres);
        let lines = texts(
            &url,
            format!(
                "set plan_cache_mode = force_generic_plan; prepare s as {text}; explain (analyze, costs off) execute s({values})"
            ),
        );
        let lines = lines.await;
        let scans = lines
            .iter()
            .filter(|line| line.contains("Scan") && line.contains(" on attempt_"));
        scans.map(|line| line.trim().to_owned()).collect::<Vec<_>>()
    };
    let values = format!("1, {from}, {from}, '{{A}}', '{{e}}', '{{1}}', '{{1}}', '{{done}}', '{{null}}'");
    let scans = scanned(&crate::leases::END_ATTEMPTS, values).await;
    assert!(scans.len() == 1 && scans[0].contains("attempt_2024_04"), "{scans:?}");
    let lines = texts(
        &url,
        format!("explain select count(*) from ledger where tenant_id = 1 and at_us between {from} and {from}"),
    )
    .await;
    let scans = lines.iter().filter(|line| line.contains(" on ledger_")).count();
    assert_eq!(scans, 1, "{lines:?}");
}

async fn the_head_of_the_ledger_moves_only_from_where_it_was_read(bed: Bed) {
    let draft = LedgerDraft {
        kind: "test".to_owned(),
        reference: String::new(),
        body: "{}".to_owned(),
    };
    bed.store
        .append_ledger(None, std::slice::from_ref(&draft), at(0))
        .await
        .expect("writes");
    // What a second writer would do that did not wait for the lock. Its time is another, so no key stands in its way.
    let mut tx = bed.store.db.write(Durability::Full).await.expect("opens");
    let stale = Head {
        seq: 0,
        hash: Hash::ZERO,
        action_seq: 0,
    };
    let forked = append(&mut tx, TenantId::DEFAULT, &stale, &[(None, at(1), &draft)]).await;
    drop(tx);
    match server(&bed) {
        Some(_) => assert!(matches!(forked, Err(StoreError::Corrupt { .. })), "{forked:?}"),
        None => assert!(forked.is_err(), "the key of a whole table forbids it there"),
    }
    assert_eq!(bed.store.ledger_page(0, 9).await.expect("reads").len(), 1);
}

async fn a_fence_grows_only_from_what_was_read(bed: Bed) {
    attempt(&bed.store, 1, None).await;
    let action = action(1, "a", ActionState::Permitted, SF);
    let effect = &action.outbox[0].effect;
    let take = async |fence: i64| {
        let mut tx = bed.store.db.write(Durability::Full).await.expect("opens");
        let rows = [
            Column::text(std::iter::once(effect.target.account.as_str())),
            Column::text(std::iter::once(effect.id.as_str())),
            Column::int(std::iter::once(0)),
            Column::int(std::iter::once(fence)),
        ];
        let args = args![TenantId::DEFAULT.0, at(9).us(), "w"];
        let taken = tx.execute(&crate::leases::TAKE, args, Some(&rows)).await;
        tx.commit().await.expect("commits");
        taken.expect("runs")
    };
    assert_eq!(take(1).await, 0, "that number was given out");
    assert_eq!(take(2).await, 1);
    assert_eq!(take(2).await, 0, "and only once");
}

/// Statements as programs of schema 17 have them, by what they do.
const OF_SCHEMA_17: [&str; 6] = [
    "insert into attempt (tenant_id, account_id, effect_id, fence, worker, begun_us)
     select 1, e.account_id, e.effect_id, e.fence, 'old', 1741000000000000
     from unnest('{A}'::text[], '{old}'::text[], '{1}'::bigint[]) with ordinality as e(account_id, effect_id, fence, at)",
    "update attempt set ended_us = e.ended_us, result = e.result, error = e.error
     from unnest('{A}'::text[], '{old}'::text[], '{1}'::bigint[], '{2}'::bigint[], '{done}'::text[], '{null}'::text[])
         with ordinality as e(account_id, effect_id, fence, ended_us, result, error, at)
     where attempt.tenant_id = 1 and attempt.account_id = e.account_id and attempt.effect_id = e.effect_id
         and attempt.fence = e.fence",
    "insert into receipt (tenant_id, account_id, effect_id, fence, at_us, body)
     select 1, 'A', 'old', 1, 1700000000000000, '{}' where true on conflict (tenant_id, account_id, effect_id) do nothing",
    "insert into ledger (tenant_id, account_id, seq, at_us, kind, reference, body, previous_hash, hash)
     values (1, '', 1000, 1700000000000000, 'old', '', '', '', '')",
    "update ledger_head set seq = 1000, hash = '' where tenant_id = 1",
    "delete from attempt where tenant_id = 1 and (account_id, effect_id, fence) in (
         select a.account_id, a.effect_id, a.fence from attempt a
         where a.tenant_id = 1 and a.begun_us < 1600000000000000 and exists (
             select 1 from outbox o where o.tenant_id = 1 and o.account_id = a.account_id and o.effect_id = a.effect_id
                 and o.state in ('done', 'failed', 'withdrawn'))
         order by a.begun_us limit 10)",
];

/// Two tenants, the schema before, and a role that owns it and is no superuser: the server shows it one tenant's rows at a time.
async fn the_schema_before_comes_over_whole_and_its_programs_go_on(bed: Bed) {
    let Some(url) = server(&bed) else { return };
    let (server, schema) = url.split_once("options=-csearch_path%3D").expect("an address");
    let server = server.trim_end_matches(['?', '&']).to_owned();
    let (before, owner, app) = (
        format!("before_{schema}"),
        format!("owner_of_{schema}"),
        format!("app_of_{schema}"),
    );
    script(
        &server,
        format!(
            "create role {owner} login; create role {app} login; create schema {before} authorization {owner};
             grant usage on schema {before} to {app}"
        ),
    )
    .await;
    let (scheme, rest) = server.split_once("://").expect("an address");
    let host = rest.split_once('@').map_or(rest, |(_, host)| host);
    let mark = if host.contains('?') { '&' } else { '?' };
    let address = |role: &str| format!("{scheme}://{role}@{host}{mark}options=-csearch_path%3D{before}");
    let opened = async |role: &str, tenant| {
        let address = DatabaseUrl::Postgres(Secret::new(address(role)));
        Store::open(&address, TenantId(tenant), &Options::default())
            .await
            .expect("opens")
    };
    let store = opened(&owner, 1).await;
    let here = MIGRATIONS
        .iter()
        .position(|m| m.name == "0019_partitions")
        .expect("it is there");
    store.apply(&MIGRATIONS[..here]).await.expect("migrates");
    let inside = format!("{server}{mark}options=-csearch_path%3D{before}");
    let of = |tenant| {
        format!(
            "insert into attempt (tenant_id, account_id, effect_id, fence, worker, begun_us)
                 select {tenant}, 'A' || n, 'e' || n, 1, 'w',
                     cast(extract(epoch from timestamp '2025-01-15' + make_interval(months => n % 14)) as bigint) * 1000000 + n
                 from generate_series(1, 140) n;
             insert into ledger (tenant_id, account_id, seq, at_us, kind, reference, body, previous_hash, hash)
                 select {tenant}, '', n, (1700000000 + n * 86400)::bigint * 1000000, 'k', '', '', '', '' from generate_series(1, 100) n;
             insert into attempt (tenant_id, account_id, effect_id, fence, worker, begun_us) values ({tenant}, 'A', 'far', 1, 'w',
                 9000000000000000);"
        )
    };
    script(
        &inside,
        format!(
            "{} {} grant select, insert on all tables in schema {before} to {app}",
            of(1),
            of(2)
        ),
    )
    .await;
    store.apply(&MIGRATIONS[..=here]).await.expect("migrates");
    let counts = texts(
        &inside,
        "select tenant_id || ' ' || count(*) from attempt group by tenant_id
         union all select tenant_id || ' ' || count(*) from ledger group by tenant_id order by 1",
    )
    .await;
    assert_eq!(counts, ["1 100", "1 141", "2 100", "2 141"]);
    let astray = texts(&inside, ASTRAY).await;
    assert_eq!(astray, ["far", "far"], "what a wrong clock dated is kept apart");
    // The program before.
    let known = i64::try_from(here).expect("a few");
    store.check_as(known).await.expect("may go on");
    for statement in OF_SCHEMA_17 {
        script(&inside, statement.to_owned()).await;
    }
    let old = texts(&inside, "select result from attempt where effect_id = 'old'").await;
    assert_eq!(old, ["done"]);
    // The app's role has what it had, sees its tenant only, in a part named by itself too, and makes no months.
    let named = |tenant: i64| format!("{}%20-cperennial.tenant%3D{tenant}", address(&app));
    let seen = "select count(*)::text from attempt union all select count(*)::text from ledger";
    assert_eq!(texts(&named(2), seen).await, ["141", "100"]);
    script(&inside, format!("grant select on attempt_2025_03 to {app}")).await;
    let seen = "select count(*)::text from attempt_2025_03";
    assert_eq!(texts(&named(2), seen).await, ["10"], "of 21");
    assert_eq!(texts(&address(&app), seen).await, ["0"]);
    let for_app = opened(&app, 2).await;
    assert_eq!(for_app.make_months(month(60)).await.expect("is no error"), 0);
    // The owner makes them, and moves what every tenant had there.
    let made = store.make_months("2255-03-01T00:00:00Z".parse().expect("a time")).await;
    assert_eq!(made.expect("makes"), 8);
    assert_eq!(texts(&inside, ASTRAY).await, Vec::<String>::new());
    store.close().await;
    for_app.close().await;
    script(
        &server,
        format!("drop schema {before} cascade; drop owned by {owner}, {app}; drop role {owner}, {app}"),
    )
    .await;
}

async fn large_reads_of_plays_keep_no_plan(bed: Bed) {
    if server(&bed).is_none() {
        return;
    }
    // One connection, so that it is the one that is asked about.
    let options = Options {
        readers: 1,
        ..Options::default()
    };
    let store = Store::open(&bed.url, TenantId::DEFAULT, &options).await.expect("opens");
    let account = super::bed::account_id(1);
    for _ in 0..7 {
        store
            .running_plays(std::slice::from_ref(&account))
            .await
            .expect("reads");
        store.fallen_plays(9).await.expect("reads");
        let two = ["a", "b"].map(|subject| action(1, subject, ActionState::Permitted, SF).row.id);
        store.plays_of_actions(&two).await.expect("reads");
        store.due_accounts(at(0), 9).await.expect("reads");
    }
    static KEPT: crate::db::Statement = crate::db::Statement::same(
        "reading what is kept",
        "select count(*) filter (where statement like '%play' || ' p %'), count(*) filter (where statement like '%account' || '_due%')
         from pg_prepared_statements",
    );
    let row = store.db.fetch_one(&KEPT, args![]).await.expect("reads").expect("a row");
    assert_eq!((row.int(0).expect("a number"), row.int(1).expect("a number")), (0, 1));
    store.close().await;
}

/// The claim of one tenant costs the same whatever waits at another.
async fn a_lease_reads_no_rows_of_other_tenants(bed: Bed) {
    let Some(url) = server(&bed) else { return };
    attempt(&of_tenant(&bed, 2).await, 1, None).await;
    script(
        &url,
        "insert into account_lane (tenant_id, account_id, tool, ready_us, held)
             select 1, 'B' || n, 'salesforce', n, '' from generate_series(1, 100000) n;
         insert into account_lane (tenant_id, account_id, tool, ready_us, held)
             select 2, 'C' || n, 'salesforce', n, '' from generate_series(1, 50) n;
         analyze account_lane"
            .to_owned(),
    )
    .await;
    let text = crate::leases::LOCK_READY.text(crate::dialect::Dialect::Postgres);
    let lines = texts(
        &url,
        format!(
            "set plan_cache_mode = force_generic_plan; prepare s as {text};
             explain (analyze, buffers, costs off) execute s(2, 'salesforce', 1000000, 20)"
        ),
    )
    .await;
    let pages = lines
        .iter()
        .find_map(|line| line.trim().strip_prefix("Buffers: shared hit="));
    let pages: u64 = pages
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|n| n.parse().ok())
        .expect("a number of pages");
    assert!(pages < 100, "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains("Rows Removed")), "{lines:?}");
}
