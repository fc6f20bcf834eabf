//! The schema is the same on both databases, and every statement is understood by both.

use super::{Bed, both};
use crate::db::{Statement, args};
use crate::dialect::Dialect;
use crate::health::{TABLES, all_statements};
use crate::migrate::MIGRATIONS;

both!(every_statement_is_understood, tables_have_the_columns_of_the_migrations);

static COLUMNS: Statement = Statement::differ(
    "reading the schema",
    "select m.name, c.name from sqlite_master m, pragma_table_info(m.name) c where m.type = 'table' order by m.name, c.cid",
    "select table_name::text, column_name::text from information_schema.columns where table_schema = current_schema()
     order by table_name, ordinal_position",
);

/// Tables and columns as a migration writes them.
fn written(dialect: Dialect) -> Vec<(String, String)> {
    let mut columns = Vec::new();
    for migration in MIGRATIONS {
        let mut table = None;
        for line in migration.texts[dialect as usize].lines() {
            if let Some((name, column)) = line
                .strip_prefix("alter table ")
                .and_then(|rest| rest.split_once(" add column "))
            {
                let column = column.split_whitespace().next().unwrap_or_default();
                columns.push((name.to_owned(), column.to_owned()));
            } else if let Some(name) = line.strip_prefix("create table ") {
                table = name.split_whitespace().next();
            } else if line.starts_with(')') {
                table = None;
            } else if let (Some(table), Some(column)) = (table, line.split_whitespace().next())
                && !matches!(column, "primary" | "unique" | "--")
            {
                columns.push((table.to_owned(), column.to_owned()));
            }
        }
    }
    // It is there before the first migration, and belongs to no tenant.
    columns.retain(|(table, _)| table != "schema_version");
    columns.sort_by(|a, b| a.0.cmp(&b.0));
    columns
}

#[test]
fn both_migrations_write_the_same_tables_and_columns() {
    let (sqlite, postgres) = (written(Dialect::Sqlite), written(Dialect::Postgres));
    assert_eq!(sqlite, postgres);
    let mut tables: Vec<&str> = sqlite.iter().map(|(table, _)| table.as_str()).collect();
    tables.dedup();
    assert_eq!(tables, TABLES);
    for table in TABLES {
        let columns: Vec<&str> = sqlite
            .iter()
            .filter(|(name, _)| name == table)
            .map(|(_, c)| c.as_str())
            .collect();
        assert_eq!(columns[0], "tenant_id", "{table}");
        let portfolio_wide = [
            "content",
            "crm_budget",
            "crm_due",
            "crm_reading",
            "crm_token",
            "run",
            "ledger_head",
            "event_salt",
            "watermark",
            "live_content",
            "offered_content",
            "worker",
            "leader",
            "stop",
            "delegation",
            "play_definition",
            "promotion",
        ]
        .contains(table);
        assert!(portfolio_wide || columns[1] == "account_id", "{table}");
    }
}

async fn tables_have_the_columns_of_the_migrations(bed: Bed) {
    let rows = bed.store.db.fetch(&COLUMNS, args![], None).await.expect("reads");
    let mut found: Vec<(String, String)> = rows
        .iter()
        .map(|row| (row.text(0).expect("a table"), row.text(1).expect("a column")))
        .filter(|(table, _)| table != "schema_version" && !table.starts_with("sqlite_"))
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(found, written(bed.store.db.dialect()));
}

#[tokio::test]
async fn the_insert_of_many_rows_is_understood() {
    let bed = Bed::sqlite().await;
    let text = Box::leak(format!("explain {}", crate::signals::INSERT_MANY.text()).into_boxed_str());
    let mut tx = bed.store.db.write(crate::db::Durability::Full).await.expect("opens");
    tx.script("explaining", text).await.expect("is understood");
}

/// A statement that goes through a whole table, or through all of a tenant, is slow only once the table is large. Those
/// that must are named here.
#[tokio::test]
async fn no_statement_reads_a_whole_table_unless_it_must() {
    const MUST: &[&str] = &[
        "counting rows",
        "counting effects",
        "clearing the day plan",
        "hashing signals",
        "unlinking signals",
        "marking accounts whose signals are unlinked",
        "reading the schema's version",
        "looking for the table of versions",
        "measuring the database",
        "looking for records that moved",
        // Few rows in their indexes: runs that are not finished.
        "looking for a live run",
        // A person lets things go on: rare, and every lane may have waited for it.
        "looking at stopped lanes again",
        // Asked every ten seconds at most, of what is unfinished.
        "measuring the queue",
        "measuring what is unfinished",
        "measuring leases",
        // Once a run, and only where the policies limit the age of feeds.
        "looking when sources delivered",
        // Few rows: what people lent each other.
        "listing delegations",
        // Few rows: the processes of one installation.
        "forgetting dead workers",
        "reading which workers live",
        "reading which workers are older",
    ];
    let bed = Bed::sqlite().await;
    let mut slow = Vec::new();
    for statement in all_statements().filter(|statement| !MUST.contains(&statement.doing)) {
        let text = format!("explain query plan {}", statement.text(Dialect::Sqlite));
        let explain = Box::leak(Box::new(Statement::same(
            "explaining",
            Box::leak(text.into_boxed_str()),
        )));
        let plan = bed.store.db.fetch(explain, args![], None).await.expect("is understood");
        let steps: Vec<String> = plan.iter().map(|step| step.text(3).expect("a step")).collect();
        // In the order of an index, a limit ends the reading.
        let ends = statement.text(Dialect::Sqlite).contains(" limit ")
            && !steps
                .iter()
                .any(|step| step.starts_with("USE TEMP B-TREE FOR ORDER BY"));
        for step in &steps {
            let table = TABLES.iter().any(|table| step.starts_with(&format!("SCAN {table}")));
            let one_row = step.contains("ledger_head") || step.contains("event_salt");
            if table || (!one_row && step.ends_with("(tenant_id=?)") && !ends) {
                slow.push(format!("{}: {step}", statement.doing));
            }
        }
    }
    assert_eq!(slow, Vec::<String>::new());
}

/// How many parameters a text has.
fn parameters(text: &str) -> usize {
    let numbers = text.split('$').skip(1).map(|rest| {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap_or(0)
    });
    numbers.max().unwrap_or(0)
}

async fn every_statement_is_understood(bed: Bed) {
    let mut count = 0;
    for statement in all_statements() {
        let dialect = bed.store.db.dialect();
        let text = statement.text(dialect);
        let keywords = text.split('\'').step_by(2).collect::<String>();
        assert_eq!(keywords, keywords.to_lowercase(), "lower case");
        assert!(
            text.contains("tenant_id")
                || text.contains("schema")
                // Those of every tenant: a migration concerns them all.
                || statement.doing.starts_with("reading which workers")
                || text.contains("pragma_table_info")
                || !text.contains(" from ")
                || !text.contains("$1")
        );
        let explain: &'static str = Box::leak(match dialect {
            Dialect::Sqlite => format!("explain {text}").into_boxed_str(),
            Dialect::Postgres => {
                let nulls = vec!["null"; parameters(text)].join(", ");
                let nulls = if nulls.is_empty() { nulls } else { format!("({nulls})") };
                format!("prepare s{count} as {text}; explain execute s{count}{nulls}").into_boxed_str()
            }
        });
        let mut tx = bed.store.db.write(crate::db::Durability::Full).await.expect("opens");
        let done = tx.script(statement.doing, explain).await;
        assert!(done.is_ok(), "{done:?}: {text}");
        count += 1;
    }
    assert!(count > 60, "{count}");
}
