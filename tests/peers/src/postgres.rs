//! Databases of a server that was given.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

/// A new database on the server; its address.
pub async fn fresh(server: &str, name: &str) -> String {
    let mut admin = PgConnection::connect(server).await.expect("the server answers");
    for text in [
        format!("drop database if exists {name} with (force)"),
        format!("create database {name}"),
    ] {
        sqlx::query(AssertSqlSafe(text))
            .execute(&mut admin)
            .await
            .expect("a new database");
    }
    admin.close().await.expect("closes");
    let (address, _) = server.rsplit_once('/').expect("an address with a database");
    format!("{address}/{name}")
}

/// Removes one.
pub async fn gone(server: &str, name: &str) {
    let mut admin = PgConnection::connect(server).await.expect("the server answers");
    let text = format!("drop database if exists {name} with (force)");
    sqlx::query(AssertSqlSafe(text))
        .execute(&mut admin)
        .await
        .expect("drops");
    admin.close().await.expect("closes");
}

/// One number.
pub async fn number(pool: &sqlx::PgPool, text: &'static str) -> i64 {
    sqlx::query_scalar(text).fetch_one(pool).await.expect("a number")
}
