//! The PostgreSQL server that is measured on.

use perennial_tests::postgres::PostgresServer;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

/// A server that was given, or one of our own that ends with us.
pub(crate) struct Server {
    address: String,
    _own: Option<PostgresServer>,
}

impl Server {
    /// The server that `PERENNIAL_TEST_PG` names, or a new one; none where its programs are not installed.
    pub(crate) fn start() -> Option<Server> {
        if let Ok(address) = std::env::var("PERENNIAL_TEST_PG") {
            return Some(Server { address, _own: None });
        }
        let own = PostgresServer::start("bench execution")?;
        Some(Server {
            address: own.url(),
            _own: Some(own),
        })
    }

    async fn admin(&self, texts: &[String]) {
        let mut admin = PgConnection::connect(&self.address).await.expect("the server answers");
        for text in texts {
            let text = AssertSqlSafe(text.clone());
            sqlx::query(text).execute(&mut admin).await.expect("a database");
        }
        admin.close().await.expect("closes");
    }

    /// A new database; its address.
    pub(crate) async fn fresh(&self, name: &str) -> String {
        self.gone(name).await;
        self.admin(&[format!("create database {name}")]).await;
        let (server, _) = self.address.rsplit_once('/').expect("an address with a database");
        format!("{server}/{name}")
    }

    /// Removes one.
    pub(crate) async fn gone(&self, name: &str) {
        self.admin(&[format!("drop database if exists {name} with (force)")])
            .await;
    }

    /// What says whether commits are synced.
    pub(crate) async fn settings(&self) -> String {
        let text = "select 'version ' || current_setting('server_version') || ', fsync ' || current_setting('fsync')
            || ', synchronous_commit ' || current_setting('synchronous_commit')
            || ', full_page_writes ' || current_setting('full_page_writes')
            || ', shared_buffers ' || current_setting('shared_buffers')";
        let mut admin = PgConnection::connect(&self.address).await.expect("the server answers");
        let said = sqlx::query_scalar(text).fetch_one(&mut admin).await;
        said.expect("settings")
    }
}
