//! Content (policies and prompts by hash) and runs.

use perennial_core::ids::RunId;
use perennial_core::replay::Hash;
use perennial_core::time::Timestamp;

use crate::Store;
use crate::convert::{count, hash, time};
use crate::db::{Durability, Row, Statement, args};
use crate::error::{Result, StoreError};
use crate::ledger;
use crate::rows::RunRow;

pub(crate) static PUT_CONTENT: Statement = Statement::same(
    "storing content",
    "insert into content (tenant_id, hash, body) values ($1, $2, $3) on conflict (tenant_id, hash) do nothing",
);
pub(crate) static CONTENT: Statement = Statement::same(
    "reading content",
    "select body from content where tenant_id = $1 and hash = $2",
);
pub(crate) static LIVE_RUN: Statement = Statement::same(
    "looking for a live run",
    "select run_id, started_us, heartbeat_us from run
     where tenant_id = $1 and finished_us is null and run_id <> $2 and heartbeat_us + lease_us > $3
     order by started_us desc, run_id limit 1",
);
pub(crate) static START_RUN: Statement = Statement::same(
    "starting a run",
    "insert into run (tenant_id, run_id, as_of_us, started_us, heartbeat_us, lease_us, content, engine)
     values ($1, $2, $3, $4, $4, $5, $6, $7)
     on conflict (tenant_id, run_id) do update set heartbeat_us = excluded.heartbeat_us, lease_us = excluded.lease_us,
         content = excluded.content, engine = excluded.engine, finished_us = null, summary = null",
);
pub(crate) static HEARTBEAT_RUN: Statement = Statement::same(
    "recording a sign of life",
    "update run set heartbeat_us = $3 where tenant_id = $1 and run_id = $2 and finished_us is null and heartbeat_us <= $3",
);
pub(crate) static FINISH_RUN: Statement = Statement::same(
    "finishing a run",
    "update run set finished_us = $3, summary = $4 where tenant_id = $1 and run_id = $2 and finished_us is null",
);
pub(crate) static LAST_RUN: Statement = Statement::same(
    "reading the last run",
    "select run_id, as_of_us, started_us, heartbeat_us, lease_us, content, engine, finished_us, summary
     from run where tenant_id = $1 order by started_us desc, run_id desc limit 1",
);

#[cfg(test)]
pub(crate) static ALL: &[&Statement] = &[
    &PUT_CONTENT,
    &CONTENT,
    &LIVE_RUN,
    &START_RUN,
    &HEARTBEAT_RUN,
    &FINISH_RUN,
    &LAST_RUN,
];

impl Store {
    /// Stores a bundle of policies and prompts under its hash. Storing it again changes nothing.
    ///
    /// # Errors
    /// What writing brings.
    pub async fn put_content(&self, hash: &Hash, text: &str) -> Result<()> {
        let mut tx = self.db.write(Durability::Full).await?;
        tx.execute(
            &PUT_CONTENT,
            args![self.tenant.0, hash.to_string().as_str(), text],
            None,
        )
        .await?;
        tx.commit().await
    }

    /// The bundle with this hash.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn content(&self, hash: &Hash) -> Result<Option<String>> {
        let row = self
            .db
            .fetch_one(&CONTENT, args![self.tenant.0, hash.to_string().as_str()])
            .await?;
        row.map(|row| row.text(0)).transpose()
    }

    /// Starts a run at `run.started_at`, or takes up again the run with the same id.
    ///
    /// # Errors
    /// [`StoreError::RunInProgress`] when another run of this tenant is alive: not finished, and its last sign of life
    /// is younger than its lease. What writing brings.
    pub async fn start_run(&self, run: &RunRow) -> Result<()> {
        let mut tx = self.db.write(Durability::Full).await?;
        // The head of the ledger is the lock of the tenant: two runs cannot both find the place empty.
        ledger::lock_head(&mut tx, self.tenant).await?;
        let now = run.started_at.us();
        let live = tx
            .fetch(&LIVE_RUN, args![self.tenant.0, run.id.as_str(), now], None)
            .await?;
        if let Some(row) = live.first() {
            return Err(StoreError::RunInProgress {
                run: RunId::new(row.text(0)?),
                started_at: time(row.int(1)?),
                heartbeat_at: time(row.int(2)?),
            });
        }
        let content = run.content.to_string();
        tx.execute(
            &START_RUN,
            args![
                self.tenant.0,
                run.id.as_str(),
                run.as_of.us(),
                now,
                run.lease_us,
                content.as_str(),
                run.engine.as_str(),
            ],
            None,
        )
        .await?;
        tx.commit().await
    }

    /// Records that a run is alive.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such unfinished run. What writing brings.
    pub async fn heartbeat_run(&self, run: &RunId, now: Timestamp) -> Result<()> {
        let mut tx = self.db.write(Durability::Normal).await?;
        let done = tx
            .execute(&HEARTBEAT_RUN, args![self.tenant.0, run.as_str(), now.us()], None)
            .await?;
        tx.commit().await?;
        count("unfinished run", run.as_str(), done)
    }

    /// Ends a run with a summary (JSON text).
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such unfinished run. What writing brings.
    pub async fn finish_run(&self, run: &RunId, summary: &str, now: Timestamp) -> Result<()> {
        let mut tx = self.db.write(Durability::Full).await?;
        let done = tx
            .execute(&FINISH_RUN, args![self.tenant.0, run.as_str(), now.us(), summary], None)
            .await?;
        tx.commit().await?;
        count("unfinished run", run.as_str(), done)
    }

    /// The run that started last.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn last_run(&self) -> Result<Option<RunRow>> {
        let row = self.db.fetch_one(&LAST_RUN, args![self.tenant.0]).await?;
        row.as_ref().map(run_row).transpose()
    }
}

fn run_row(row: &Row) -> Result<RunRow> {
    Ok(RunRow {
        id: RunId::new(row.text(0)?),
        as_of: time(row.int(1)?),
        started_at: time(row.int(2)?),
        heartbeat_at: time(row.int(3)?),
        lease_us: row.int(4)?,
        content: hash(&row.text(5)?)?,
        engine: row.text(6)?,
        finished_at: row.opt_int(7)?.map(time),
        summary: row.opt_text(8)?,
    })
}
