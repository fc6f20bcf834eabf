//! Tenants on one PostgreSQL: what the server itself keeps apart, for a role that is no superuser.

use perennial_core::ids::TenantId;
use sqlx::{Connection as _, Row as _};

use super::bed::{account, account_id, script};
use super::{Bed, both};
use crate::*;

both!(the_server_keeps_tenants_apart);

async fn number(url: &str, text: &'static str) -> i64 {
    let mut connection = sqlx::PgConnection::connect(url).await.expect("connects");
    let row = sqlx::query(text).fetch_one(&mut connection).await.expect("reads");
    row.get(0)
}

async fn the_server_keeps_tenants_apart(bed: Bed) {
    let DatabaseUrl::Postgres(secret) = &bed.url else {
        // A file is for one tenant; that a second one sees nothing there either is tested in `health`.
        return;
    };
    let url = secret.expose().to_owned();
    let uncovered = number(
        &url,
        "select count(*) from pg_class c join pg_attribute a on a.attrelid = c.oid
         where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p') and a.attname = 'tenant_id'
             and c.relname <> 'worker' and not (c.relrowsecurity and c.relforcerowsecurity
                 and exists (select 1 from pg_policy p where p.polrelid = c.oid))",
    );
    assert_eq!(uncovered.await, 0, "each table with tenants keeps them apart");
    assert!(
        bed.store.tenants_not_apart().await.expect("reads").is_some(),
        "a superuser"
    );

    let schema = url.rsplit("%3D").next().expect("a schema").to_owned();
    let role = format!("role_of_{schema}");
    script(
        &url,
        format!(
            "create role {role} login; grant usage on schema {schema} to {role};
             grant select, insert, update, delete on all tables in schema {schema} to {role}"
        ),
    )
    .await;
    let (scheme, rest) = url.split_once("://").expect("an address");
    let host = rest.split_once('@').map_or(rest, |(_, host)| host);
    let plain = format!("{scheme}://{role}@{host}");
    let address = DatabaseUrl::Postgres(Secret::new(plain.clone()));
    let opened = async |tenant| {
        let store = Store::open_migrated(&address, TenantId(tenant), &Options::default()).await;
        store.expect("opens")
    };
    let (one, two) = (opened(1).await, opened(2).await);
    assert_eq!(one.tenants_not_apart().await.expect("reads"), None);
    one.insert_new(&[account(1)]).await.expect("stores");
    two.insert_new(&[account(1), account(2)]).await.expect("stores");
    let as_tenant = |tenant: i64| format!("{plain}%20-cperennial.tenant%3D{tenant}");
    const ROWS: &str = "select count(*) from signal";
    assert_eq!(number(&url, ROWS).await, 3, "what a superuser sees");
    assert_eq!(
        number(&as_tenant(1), ROWS).await,
        1,
        "without naming the tenant in the query"
    );
    assert_eq!(number(&as_tenant(2), ROWS).await, 2);
    assert_eq!(number(&plain, ROWS).await, 0, "who says no tenant sees nothing");
    script(&as_tenant(2), "delete from signal".to_owned()).await;
    assert_eq!(one.account_ids(None, 9).await.expect("reads"), [account_id(1)]);
    let mut connection = sqlx::PgConnection::connect(&as_tenant(2)).await.expect("connects");
    let foreign = sqlx::query(
        "insert into watermark (tenant_id, source, query, kind, value, updated_us) values (1, 's', 'q', 'number', 1, 1)",
    );
    let refused = foreign
        .execute(&mut connection)
        .await
        .expect_err("another tenant's row");
    assert!(refused.to_string().contains("row-level security"), "{refused}");
    connection.close().await.expect("closes");
    one.close().await;
    two.close().await;
    script(&url, format!("drop owned by {role}; drop role {role}")).await;
}
