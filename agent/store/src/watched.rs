//! What a monitor asks: how long people have been asked, what they have to look at, and where an action comes from. It reads only.

use perennial_core::ids::{ActionId, RunId};
use perennial_core::time::Timestamp;

use crate::Store;
use crate::convert::{time, unsigned};
use crate::db::{Statement, args};
use crate::error::Result;

/// How many actions wait, since when the first, and how many of them for no longer than each of five times.
pub(crate) static ASKED: Statement = Statement::same(
    "measuring what waits for people",
    "select count(*), min(asked_us), count(case when asked_us >= $2 then 1 end), count(case when asked_us >= $3 then 1 end),
         count(case when asked_us >= $4 then 1 end), count(case when asked_us >= $5 then 1 end),
         count(case when asked_us >= $6 then 1 end)
     from action where tenant_id = $1 and asked_us is not null",
);
pub(crate) static STUCK: Statement = Statement::same(
    "measuring what did not go through",
    "select state, count(*) from action where tenant_id = $1 and state in ('failed', 'conflict') group by state",
);
pub(crate) static RUN_OF: Statement = Statement::same(
    "reading the run of an action",
    "select run_id from action where tenant_id = $1 and action_id = $2",
);

#[cfg(test)]
pub(crate) static ALL: &[&Statement] = &[&ASKED, &STUCK, &RUN_OF];

/// What waits for people, and what they have to look at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PeopleState {
    /// Since when the action that waits longest has been asked about, of the role that is asked now.
    pub asked_since: Option<Timestamp>,
    /// Actions that wait, by how long: up to each of the times asked about, and in the last place all that wait longer.
    pub asked: [u64; 6],
    /// Actions whose effects failed.
    pub failed: u64,
    /// Actions that would have written over somebody's edit.
    pub conflict: u64,
}

impl Store {
    /// What waits for people since when. `since` are five times, the latest first, between which actions are counted.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn people_state(&self, since: [Timestamp; 5]) -> Result<PeopleState> {
        let [a, b, c, d, e] = since.map(Timestamp::us);
        let mut state = PeopleState::default();
        if let Some(row) = self.db.fetch_one(&ASKED, args![self.tenant.0, a, b, c, d, e]).await? {
            state.asked_since = row.opt_int(1)?.map(time);
            let mut before = 0;
            for (place, count) in state.asked.iter_mut().enumerate() {
                // The last place is for all, the others for what waits no longer than their time.
                let upto = if place == since.len() { 0 } else { place + 2 };
                let upto = unsigned(row.int(upto)?);
                *count = upto.saturating_sub(before);
                before = upto;
            }
        }
        for row in &self.db.fetch(&STUCK, args![self.tenant.0], None).await? {
            let count = unsigned(row.int(1)?);
            match row.text(0)?.as_str() {
                "failed" => state.failed = count,
                _ => state.conflict = count,
            }
        }
        Ok(state)
    }

    /// The run in which an action came to be.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn run_of(&self, action: &ActionId) -> Result<Option<RunId>> {
        let row = self
            .db
            .fetch_one(&RUN_OF, args![self.tenant.0, action.as_str()])
            .await?;
        row.map(|row| Ok(RunId::new(row.text(0)?))).transpose()
    }
}
