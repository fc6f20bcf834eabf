//! Workers: who lives, who leads, what wakes them, and the clock that they share.

use perennial_core::ids::TenantId;
use perennial_core::time::Timestamp;
use sqlx::postgres::{PgListener, PgPoolOptions};

use crate::Store;
use crate::convert::{limit, time, unsigned};
use crate::db::{Durability, Pools, Statement, Tx, args};
use crate::dialect::Dialect;
use crate::error::Result;

pub(crate) static CLOCK: Statement = Statement::differ(
    "reading the database's clock",
    // The clock of a file is that of whoever opened it.
    "select null",
    "select cast(extract(epoch from clock_timestamp()) * 1000000 as bigint)",
);
/// One wake-up a transaction, whatever it stored: the same notice twice in one transaction is one.
pub(crate) static WAKE: Statement = Statement::differ(
    "waking workers",
    "select $1",
    "select cast(pg_notify('perennial_' || cast(cast($1 as bigint) as text), '') as text)",
);
pub(crate) static SEE: Statement = Statement::same(
    "recording that a worker lives",
    "insert into worker (tenant_id, worker, begun_us, seen_us, ahead_us, engine, knows) values ($1, $2, $3, $3, $4, $5, $6)
     on conflict (tenant_id, worker) do update set seen_us = excluded.seen_us, ahead_us = excluded.ahead_us",
);
pub(crate) static SEEN: Statement = Statement::same(
    "reading which workers live",
    "select worker, begun_us, seen_us, ahead_us, engine from worker where tenant_id = $1 and seen_us > $2
     order by worker limit $3",
);
pub(crate) static FORGET: Statement = Statement::same(
    "forgetting a worker",
    "delete from worker where tenant_id = $1 and worker = $2",
);
pub(crate) static FORGET_DEAD: Statement = Statement::same(
    "forgetting dead workers",
    "delete from worker where tenant_id = $1 and seen_us <= $2",
);
pub(crate) static LEAD: Statement = Statement::same(
    "taking the lead",
    "insert into leader (tenant_id, role, holder, until_us, fence) values ($1, $2, $3, $4, 1)
     on conflict (tenant_id, role) do update set
         fence = leader.fence + case when leader.holder = excluded.holder then 0 else 1 end,
         holder = excluded.holder, until_us = excluded.until_us
     where leader.holder = excluded.holder or leader.until_us <= $5
     returning fence",
);
pub(crate) static RESIGN: Statement = Statement::same(
    "giving up the lead",
    "delete from leader where tenant_id = $1 and role = $2 and holder = $3",
);
pub(crate) static LEADER: Statement = Statement::same(
    "reading who leads",
    "select holder from leader where tenant_id = $1 and role = $2 and until_us > $3",
);
/// Of the lanes that could be worked on: how many, and since when the first is.
pub(crate) static READY: Statement = Statement::same(
    "measuring the queue",
    "select tool, count(*), min(ready_us) from account_lane
     where tenant_id = $1 and ready_us <= $2 and held = '' group by tool order by tool",
);
pub(crate) static UNFINISHED: Statement = Statement::same(
    "measuring what is unfinished",
    "select state, count(*) from outbox where tenant_id = $1 and state in ('waiting', 'leased', 'unknown') group by state",
);
pub(crate) static OLDEST_LEASE: Statement = Statement::same(
    "measuring leases",
    "select min(a.begun_us) from outbox o
     join attempt a on a.tenant_id = o.tenant_id and a.account_id = o.account_id and a.effect_id = o.effect_id
         and a.fence = o.fence
     where o.tenant_id = $1 and o.state = 'leased'",
);

#[cfg(test)]
pub(crate) static ALL: &[&Statement] = &[
    &CLOCK,
    &WAKE,
    &SEE,
    &SEEN,
    &FORGET,
    &FORGET_DEAD,
    &LEAD,
    &RESIGN,
    &LEADER,
    &READY,
    &UNFINISHED,
    &OLDEST_LEASE,
];

/// Tells the workers of a tenant that there may be something for them, once this transaction is committed.
pub(crate) async fn wake(tx: &mut Tx<'_>, tenant: TenantId) -> Result<()> {
    if tx.dialect() == Dialect::Postgres {
        tx.fetch(&WAKE, args![tenant.0], None).await?;
    }
    Ok(())
}

/// A worker as it last said it lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerRow {
    /// Which.
    pub worker: String,
    /// Since when.
    pub begun_at: Timestamp,
    /// Last sign of life.
    pub seen_at: Timestamp,
    /// Microseconds that its clock is before the database's; negative when it is behind.
    pub ahead_us: i64,
    /// Version of the engine.
    pub engine: String,
}

/// What waits and what is under way.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QueueState {
    /// By tool: lanes that could be worked on now, and since when the first of them could.
    pub ready: Vec<(String, u64, Timestamp)>,
    /// Effects that wait for a worker, a CRM or their time.
    pub waiting: u64,
    /// Effects whose answer was lost.
    pub unknown: u64,
    /// Effects that a worker has.
    pub leased: u64,
    /// Begin of the attempt that takes longest.
    pub oldest_lease: Option<Timestamp>,
}

/// Word that there may be something to do. Where the database cannot send any, none ever comes.
#[derive(Debug)]
pub struct Wakes {
    listener: Option<PgListener>,
}

impl Wakes {
    /// Waits for word. It also comes when the connection was lost for a moment, because some may have been missed.
    ///
    /// # Errors
    /// [`crate::StoreError`] when the connection is lost and cannot be had again; ask for new [`Store::wakes`] later.
    pub async fn next(&mut self, store: &Store) -> Result<()> {
        match &mut self.listener {
            None => std::future::pending().await,
            Some(listener) => match listener.try_recv().await {
                Ok(_) => Ok(()),
                Err(source) => Err(store.db.fail("waiting for word", source)),
            },
        }
    }
}

impl Store {
    /// Whether word of new work comes by itself ([`Store::wakes`]).
    #[must_use]
    pub fn sends_word(&self) -> bool {
        matches!(self.db.pools, Pools::Postgres(_))
    }

    /// Listens for word of new work. On SQLite none ever comes: look again from time to time.
    ///
    /// # Errors
    /// What connecting brings.
    pub async fn wakes(&self) -> Result<Wakes> {
        let Pools::Postgres(pool) = &self.db.pools else {
            return Ok(Wakes { listener: None });
        };
        let fail = |source| self.db.fail("listening for word", source);
        // A connection of its own: it is never given back, and the others are for work.
        let options = pool.connect_options().as_ref().clone();
        let own = PgPoolOptions::new().max_connections(1).connect_lazy_with(options);
        let mut listener = PgListener::connect_with(&own).await.map_err(fail)?;
        listener
            .listen(&format!("perennial_{}", self.tenant.0))
            .await
            .map_err(fail)?;
        Ok(Wakes {
            listener: Some(listener),
        })
    }

    /// The database's clock, where it has one of its own; on SQLite there is none but the caller's.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn clock(&self) -> Result<Option<Timestamp>> {
        let row = self.db.fetch_one(&CLOCK, args![]).await?;
        Ok(row.map(|row| row.opt_int(0)).transpose()?.flatten().map(time))
    }

    /// Records that a worker lives, and how far its clock is before the database's.
    ///
    /// # Errors
    /// What writing brings.
    pub async fn see_worker(&self, worker: &str, ahead_us: i64, engine: &str, now: Timestamp) -> Result<()> {
        let mut tx = self.db.write(Durability::Normal).await?;
        let args = args![
            self.tenant.0,
            worker,
            now.us(),
            ahead_us,
            engine,
            crate::migrate::VERSION
        ];
        tx.execute(&SEE, args, None).await?;
        tx.commit().await
    }

    /// Workers seen after a time, by name, at most `rows`.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn workers(&self, after: Timestamp, rows: u32) -> Result<Vec<WorkerRow>> {
        let args = args![self.tenant.0, after.us(), limit(rows)];
        let rows = self.db.fetch(&SEEN, args, None).await?;
        rows.iter()
            .map(|row| {
                Ok(WorkerRow {
                    worker: row.text(0)?,
                    begun_at: time(row.int(1)?),
                    seen_at: time(row.int(2)?),
                    ahead_us: row.int(3)?,
                    engine: row.text(4)?,
                })
            })
            .collect()
    }

    /// Forgets a worker that has ended.
    ///
    /// # Errors
    /// What writing brings.
    pub async fn forget_worker(&self, worker: &str) -> Result<()> {
        let mut tx = self.db.write(Durability::Normal).await?;
        tx.execute(&FORGET, args![self.tenant.0, worker], None).await?;
        tx.commit().await
    }

    /// Forgets workers that gave no sign of life after a time.
    ///
    /// # Errors
    /// What writing brings.
    pub async fn forget_dead_workers(&self, until: Timestamp) -> Result<()> {
        let mut tx = self.db.write(Durability::Normal).await?;
        tx.execute(&FORGET_DEAD, args![self.tenant.0, until.us()], None).await?;
        tx.commit().await
    }

    /// Takes or keeps the lead of a role until a time. Gives its fence, which grows with every new holder; `None` while
    /// somebody else holds it.
    ///
    /// # Errors
    /// What writing brings.
    pub async fn lead(&self, role: &str, holder: &str, now: Timestamp, until: Timestamp) -> Result<Option<i64>> {
        let mut tx = self.db.write(Durability::Normal).await?;
        let args = args![self.tenant.0, role, holder, until.us(), now.us()];
        let rows = tx.fetch(&LEAD, args, None).await?;
        tx.commit().await?;
        rows.first().map(|row| row.int(0)).transpose()
    }

    /// Gives up the lead of a role, so that another may take it at once.
    ///
    /// # Errors
    /// What writing brings.
    pub async fn resign(&self, role: &str, holder: &str) -> Result<()> {
        let mut tx = self.db.write(Durability::Normal).await?;
        tx.execute(&RESIGN, args![self.tenant.0, role, holder], None).await?;
        tx.commit().await
    }

    /// Who leads a role at a time.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn leader(&self, role: &str, now: Timestamp) -> Result<Option<String>> {
        let row = self.db.fetch_one(&LEADER, args![self.tenant.0, role, now.us()]).await?;
        row.map(|row| row.text(0)).transpose()
    }

    /// What waits and what is under way at a time.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn queue_state(&self, now: Timestamp) -> Result<QueueState> {
        let rows = self.db.fetch(&READY, args![self.tenant.0, now.us()], None).await?;
        let mut state = QueueState::default();
        for row in &rows {
            state
                .ready
                .push((row.text(0)?, unsigned(row.int(1)?), time(row.int(2)?)));
        }
        if let Some(row) = self.db.fetch_one(&OLDEST_LEASE, args![self.tenant.0]).await? {
            state.oldest_lease = row.opt_int(0)?.map(time);
        }
        for row in &self.db.fetch(&UNFINISHED, args![self.tenant.0], None).await? {
            let count = unsigned(row.int(1)?);
            match row.text(0)?.as_str() {
                "waiting" => state.waiting = count,
                "leased" => state.leased = count,
                _ => state.unknown = count,
            }
        }
        Ok(state)
    }
}
