//! `perennial pull`: another PostgreSQL database as a source, asked again and again.

use std::path::Path;

use perennial::intake::{ImportOptions, Mapping, pull};
use perennial_core::ids::{AccountId, TenantId};
use perennial_core::signal::{Fact, Signal};
use perennial_store::{Options, SourceDatabase, Store};
use perennial_tests::{Database, Said};
use tempfile::TempDir;

const MAPPING: &str = r#"source = "warehouse"

[[query]]
name = "usage"
sql = """
select account_id, day, users, events, updated_at
from usage_daily where updated_at > $1
"""
watermark = "updated_at"
overlap = 60
kind = "usage"
key = ["account_id", "day"]
account = "account_id"

[query.usage]
grain = "day"
start = "day"

[query.usage.values]
active_users = "users"
events = "events"
"#;

const TABLE: &str =
    "create table usage_daily (account_id text, day date, users int, events bigint, updated_at timestamptz);
    insert into usage_daily values
        ('a1', '2026-09-01', 5, 50, '2026-09-02 01:00:00Z'),
        ('a1', '2026-09-02', 6, 60, '2026-09-03 01:00:00Z'),
        ('a2', '2026-09-02', 7, null, '2026-09-03 01:00:00Z'),
        (null, '2026-09-02', 8, 80, '2026-09-03 01:00:00Z')";

struct Place {
    folder: TempDir,
    source: Database,
}

impl Place {
    /// A folder with a configuration, and a source with this table. Nothing where there is no server.
    fn new(test: &str) -> Option<Place> {
        let source = Database::postgres(test)?;
        source.sql(TABLE);
        let place = Place {
            folder: tempfile::tempdir().unwrap(),
            source,
        };
        place.write(
            "perennial.toml",
            "clock = \"2026-09-15T08:00:00Z\"\n[sources.warehouse]\nmapping = \"map.toml\"\n",
        );
        place.write("map.toml", MAPPING);
        Some(place)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn run_at(&self, url: &str, args: &[&str]) -> Said {
        perennial_tests::command(crate::PROGRAM, self.folder.path(), args)
            .env("PERENNIAL_SOURCE_WAREHOUSE_URL", url)
            .output()
            .unwrap()
            .into()
    }

    fn pull(&self, args: &[&str]) -> Said {
        self.run_at(&self.source.url, &[&["--json", "pull", "warehouse"], args].concat())
    }

    /// Read, stored, duplicate and rejected rows of a pull that works.
    #[track_caller]
    fn counts(&self, args: &[&str]) -> [u64; 4] {
        let report = self.pull(args).ok().json();
        ["read", "stored", "duplicate", "rejected"].map(|key| report[key].as_u64().unwrap())
    }

    async fn store(&self) -> Store {
        let url = &Database::sqlite(self.folder.path()).url;
        Store::open_migrated(&url.parse().unwrap(), TenantId::DEFAULT, &Options::default())
            .await
            .unwrap()
    }
}

async fn signals(store: &Store, account: &str) -> Vec<Signal> {
    let id = AccountId::new(account);
    let mut all = store.account_signals(std::slice::from_ref(&id)).await.unwrap();
    let mut signals = all.remove(&id).unwrap_or_default();
    signals.sort_by_key(|signal| (signal.event_at, signal.revision_at));
    signals
}

fn users(signal: &Signal) -> i64 {
    match &signal.fact {
        Fact::Usage(usage) => usage.values["active_users"].0 / 1_000_000,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_source_is_read_from_its_watermark_on_and_restated_rows_become_newer_versions() {
    let Some(place) = Place::new("pull_incremental") else {
        return;
    };
    let report = place.pull(&[]).ok().json();
    assert_eq!(
        report["watermarks"],
        serde_json::json!([["usage", "2026-09-03T01:00:00Z"]])
    );
    assert_eq!(
        (&report["read"], &report["stored"], &report["rejected"]),
        (&4.into(), &3.into(), &1.into())
    );
    let rejects = std::fs::read_to_string(place.folder.path().join("warehouse-rejects.csv")).unwrap();
    assert!(
        rejects.contains("rejected,usage,4,account_id,,an id is empty"),
        "{rejects}"
    );
    // What lies within the overlap is asked for again, and changes nothing.
    assert_eq!(place.counts(&[]), [3, 0, 2, 1]);
    place.source.sql(
        "update usage_daily set users = 9, updated_at = '2026-09-05Z' where account_id = 'a1' and day = '2026-09-01';
         insert into usage_daily values ('a2', '2026-09-04', 1, 1, '2026-09-05Z')",
    );
    place.write(
        "perennial.toml",
        "clock = \"2026-09-16T08:00:00Z\"\n[sources.warehouse]\nmapping = \"map.toml\"\n",
    );
    assert_eq!(place.counts(&[]), [5, 2, 2, 1]);
    assert_eq!(place.counts(&[]), [2, 0, 2, 0], "the watermark has moved on");
    assert_eq!(
        place.counts(&["--full"]),
        [5, 0, 4, 1],
        "the whole once more changes nothing"
    );
    let store = place.store().await;
    let found = signals(&store, "a1").await;
    assert_eq!(found.iter().map(users).collect::<Vec<_>>(), [5, 9, 6]);
    let a2 = signals(&store, "a2").await;
    let Fact::Usage(usage) = &a2[0].fact else {
        panic!("{a2:?}")
    };
    assert!(!usage.values.contains_key("events"), "null is unknown, not zero");
    store.close().await;
}

#[tokio::test]
async fn every_type_that_is_read_arrives_as_it_is_written() {
    let Some(place) = Place::new("pull_types") else { return };
    let names = [
        ("int2", "'-7'::int2", "-7"),
        ("int4", "2147483647", "2147483647"),
        ("int8", "9007199254740993", "9007199254740993"),
        ("float4", "0.1::float4", "0.1"),
        ("float8", "'-1e-7'::float8", "-0.0000001"),
        ("numeric", "12345678901234567890.012300", "12345678901234567890.012300"),
        ("small", "-0.00005", "-0.00005"),
        ("whole", "100000000::numeric", "100000000"),
        ("zero", "0::numeric(9,2)", "0.00"),
        ("truth", "true", "true"),
        ("day", "'1999-12-31'::date", "1999-12-31"),
        (
            "local",
            "'2026-01-31 08:00:00.25'::timestamp",
            "2026-01-31T08:00:00.25Z",
        ),
        (
            "moment",
            "'2026-01-31 08:00:00+02'::timestamptz",
            "2026-01-31T06:00:00Z",
        ),
        (
            "uuid",
            "'12345678-9ABC-def0-1234-56789abcdef0'::uuid",
            "12345678-9abc-def0-1234-56789abcdef0",
        ),
        ("json", "'{\"b\": 1,\"a\":2}'::json", "{\"b\": 1,\"a\":2}"),
        ("jsonb", "'{\"b\": 1,\"a\":2}'::jsonb", "{\"a\": 2, \"b\": 1}"),
        ("word", "' é '::varchar", "é"),
        ("fixed", "'ab'::char(4)", "ab"),
    ];
    let columns: Vec<String> = names
        .iter()
        .map(|(name, sql, _)| format!("{sql} as \"{name}\""))
        .collect();
    let fields: Vec<String> = names
        .iter()
        .map(|(name, ..)| format!("\"{name}\" = \"{name}\""))
        .collect();
    place.write(
        "map.toml",
        &format!(
            "source = \"warehouse\"\n[[query]]\nname = \"all\"\nsql = '''select 'a1' as id, null::text as gone, {}'''\n\
             kind = \"account\"\nkey = \"id\"\n[query.fields]\nname = \"gone\"\n[query.fields.attributes]\n{}\n",
            columns.join(", "),
            fields.join("\n")
        ),
    );
    assert_eq!(place.counts(&[]), [1, 1, 0, 0]);
    let store = place.store().await;
    let found = signals(&store, "a1").await;
    let Fact::Account(account) = &found[0].fact else {
        panic!("{found:?}")
    };
    assert_eq!(account.name, None);
    let attributes = account.attributes.clone().unwrap();
    for (name, _, expected) in names {
        assert_eq!(attributes[name], expected, "{name}");
    }
    store.close().await;
}

#[test]
fn what_keeps_a_source_from_being_read_is_named_and_stores_nothing() {
    let Some(place) = Place::new("pull_refused") else {
        return;
    };
    let refused = |old: &str, new: &str, code: i32, says: &[&str]| {
        assert!(MAPPING.contains(old), "{old}");
        place.write("map.toml", &MAPPING.replacen(old, new, 1));
        let said = place.pull(&[]);
        assert_eq!(said.code, code, "{said:?}");
        let text = said.out.replace("\\\"", "\"");
        for part in says {
            assert!(text.contains(part), "`{part}` is not in {text}");
        }
        assert!(
            !place.folder.path().join("perennial.db").exists(),
            "nothing is half done"
        );
        let doctor = place.run_at(&place.source.url, &["doctor"]);
        assert_eq!(doctor.code, 1, "{doctor:?}");
        assert!(doctor.out.contains("✗ warehouse"), "{}", doctor.out);
    };
    refused(
        "users,",
        "usres,",
        2,
        &["the query `usage` at line 1, column 25", "\"usres\" does not exist"],
    );
    refused("select", "selct", 2, &["syntax error at or near", "line 1, column 1"]);
    refused(
        "\"users\"",
        "\"user\"",
        2,
        &["map.toml:20:16", "gives no column `user`", "did you mean `users`?"],
    );
    refused(
        "watermark = \"updated_at\"",
        "watermark = \"changed_at\"",
        2,
        &["map.toml:9:13", "gives no column `changed_at`"],
    );
    refused(
        "watermark = \"updated_at\"",
        "watermark = \"account_id\"",
        2,
        &["map.toml:9:13", "a column of type text cannot be a watermark"],
    );
    refused("> $1", "is not null", 2, &["has 0 parameters", "$1"]);
    refused("> $1", "> $1 and users > $2", 2, &["has 2 parameters"]);
    refused(
        "day, users",
        "'1 day'::interval as day, users",
        2,
        &[
            "map.toml:12:22",
            "`day` of the query `usage` has the type interval, which is not read",
            "::text",
        ],
    );
    refused(
        "users, events",
        "users, users as events, events",
        2,
        &["`events` stands twice"],
    );
    refused(
        "name = \"usage\"",
        "name = \"Usage\"",
        2,
        &["map.toml:4:8", "`Usage` cannot name a query"],
    );
    refused(
        "watermark = \"updated_at\"\n",
        "",
        2,
        &["`overlap` without `watermark`"],
    );

    place.write("map.toml", MAPPING);
    for (url, code, says) in [
        (
            "postgres://u:hunter2@127.0.0.1:1/x",
            1,
            "the source at `postgres://127.0.0.1:1/x` cannot be reached",
        ),
        ("mysql://u:hunter2@127.0.0.1/x", 2, "not of the form postgres://"),
    ] {
        let said = place.run_at(url, &["pull", "warehouse"]);
        assert_eq!(said.code, code, "{said:?}");
        assert!(said.err.contains(says) && !said.err.contains("hunter2"), "{}", said.err);
    }
    let said = place.run_at(&place.source.url, &["pull", "warehous"]);
    assert!(
        said.code == 2 && said.err.contains("did you mean `warehouse`?"),
        "{said:?}"
    );
    let said = perennial_tests::run(crate::PROGRAM, place.folder.path(), &["pull", "warehouse"]);
    assert!(
        said.code == 2 && said.err.contains("PERENNIAL_SOURCE_WAREHOUSE_URL"),
        "{said:?}"
    );
    let said = perennial_tests::run(
        crate::PROGRAM,
        place.folder.path(),
        &["import", ".", "--mapping", "map.toml"],
    );
    assert!(said.code == 2 && said.err.contains("perennial pull"), "{said:?}");
    assert!(
        !place.folder.path().join("perennial.db").exists(),
        "nothing is half done"
    );
    assert_eq!(place.run_at(&place.source.url, &["doctor"]).code, 0);
}

#[test]
fn a_query_cannot_write_and_cannot_run_for_ever() {
    let Some(place) = Place::new("pull_limits") else { return };
    let with = |sql: &str| {
        let mapping = format!(
            "source = \"warehouse\"\n[[query]]\nname = \"q\"\nsql = '''{sql}'''\nkind = \"account\"\nkey = \"id\"\n"
        );
        place.write("map.toml", &mapping);
        place.pull(&[])
    };
    let said = with("with gone as (delete from usage_daily returning account_id) select account_id as id from gone");
    assert!(said.code == 2 && said.out.contains("read-only transaction"), "{said:?}");
    let config = "[sources.warehouse]\nmapping = \"map.toml\"\n[limits]\nsource_statement_ms = 100\n";
    place.write("perennial.toml", config);
    let said = with("select pg_sleep(60)::text as id");
    assert!(
        said.code == 1 && said.out.contains("took longer than 100 ms"),
        "{said:?}"
    );
    place.write("perennial.toml", "[sources.warehouse]\nmapping = \"map.toml\"\n");
    assert_eq!(
        place.counts_of(&with("select 'a' as id from usage_daily")),
        [4, 1, 3, 0],
        "the rows are still there"
    );
}

impl Place {
    fn counts_of(&self, said: &Said) -> [u64; 4] {
        let report = said.json();
        ["read", "stored", "duplicate", "rejected"].map(|key| report[key].as_u64().unwrap())
    }
}

#[test]
fn a_watermark_of_another_type_is_refused_until_all_is_read_again() {
    let Some(place) = Place::new("pull_type_change") else {
        return;
    };
    assert_eq!(place.counts(&[]), [4, 3, 0, 1]);
    place
        .source
        .sql("alter table usage_daily alter column updated_at type date");
    let said = place.pull(&[]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(
        said.out.contains("was a timestamptz and is a date now") && said.out.contains("--full"),
        "{}",
        said.out
    );
    assert_eq!(place.counts(&["--full"]), [4, 0, 3, 1]);
    let report = place.pull(&[]).ok().json();
    assert_eq!(report["read"], 3, "sixty seconds back is a day back");
}

#[tokio::test]
async fn a_reading_that_breaks_leaves_the_watermark_and_the_next_one_brings_the_rest() {
    let Some(place) = Place::new("pull_breaks") else { return };
    place.source.sql(
        "create table numbered as select n, 'a' || n as id, case when n = 900 then 0 else 1 end as d
         from generate_series(1, 1000) n",
    );
    let text = "source = \"warehouse\"\n[[query]]\nname = \"q\"\n\
        sql = \"select id, n, 1 / d as one from numbered where n > $1\"\nwatermark = \"n\"\n\
        kind = \"account\"\nkey = \"id\"\n[query.fields]\nseats = \"one\"\n";
    let mapping = Mapping::parse(Path::new("map.toml"), text).unwrap();
    let url = Database::sqlite(place.folder.path()).url.parse().unwrap();
    let store = Store::open(&url, TenantId::DEFAULT, &Options::default()).await.unwrap();
    store.migrate().await.unwrap();
    let options = ImportOptions {
        batch_rows: 50,
        ..ImportOptions::new(place.folder.path())
    };
    let now = "2026-09-15T08:00:00Z".parse().unwrap();
    let mut source = SourceDatabase::connect(&place.source.url, 10_000).await.unwrap();
    let broken = pull(&store, &mut source, &mapping, &options, 60_000, false, now)
        .await
        .unwrap_err();
    assert!(broken.to_string().contains("division by zero"), "{broken}");
    assert_eq!(store.watermark("warehouse", "q").await.unwrap(), None);
    let stored = store
        .stats()
        .await
        .unwrap()
        .rows
        .iter()
        .find(|(name, _)| *name == "signal")
        .unwrap()
        .1;
    assert!(stored > 0 && stored < 900, "{stored} rows came before the break");

    place.source.sql("update numbered set d = 1");
    let done = pull(&store, &mut source, &mapping, &options, 60_000, false, now)
        .await
        .unwrap();
    assert_eq!(
        (done.report.read, done.report.stored, done.report.duplicate),
        (1000, 1000 - stored, stored)
    );
    assert_eq!(store.watermark("warehouse", "q").await.unwrap().unwrap().value, 1000);
    let again = pull(&store, &mut source, &mapping, &options, 60_000, false, now)
        .await
        .unwrap();
    assert_eq!(
        (again.report.read, again.report.state_hash),
        (0, done.report.state_hash)
    );
    store.close().await;
}
