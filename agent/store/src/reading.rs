//! Reading CRMs: when each was last read, and records that a CRM has said to be changed.
//!
//! INVARIANT (no word is missed): a record that was said to be changed is due until it was read after that. A mark goes only by
//! [`Store::settle_due_records`], and only when none came after it.

use std::collections::BTreeSet;

use perennial_core::signal::Crm;
use perennial_core::time::Timestamp;

use crate::Store;
use crate::convert::{limit, time, word};
use crate::db::{Col, Column, Durability, Statement, args};
use crate::error::Result;

pub(crate) static MARK: Statement = Statement::rows(
    "marking records as due",
    "insert into crm_due (tenant_id, tool, object, record, marks, marked_us)
     select $1, $2, e.object, e.record, 1, $3 from {rows} where true
     on conflict (tenant_id, tool, object, record) do update set marks = crm_due.marks + 1, marked_us = excluded.marked_us",
    4,
    &[Col::Text("object"), Col::Text("record")],
);
pub(crate) static DUE: Statement = Statement::same(
    "looking for records that are due",
    "select object, record, marks from crm_due where tenant_id = $1 and tool = $2 order by object, record limit $3",
);
pub(crate) static SETTLE: Statement = Statement::rows(
    "settling records that were due",
    "delete from crm_due where tenant_id = $1 and tool = $2
         and (object, record, marks) in (select e.object, e.record, e.marks from {rows})",
    3,
    &[Col::Text("object"), Col::Text("record"), Col::Int("marks")],
);
pub(crate) static BEGIN: Statement = Statement::same(
    "recording that a CRM is being read",
    "insert into crm_reading (tenant_id, tool, begun_us, read_us, failed) values ($1, $2, $3, null, null)
     on conflict (tenant_id, tool) do update set begun_us = excluded.begun_us, failed = null",
);
pub(crate) static END: Statement = Statement::same(
    "recording how the reading of a CRM ended",
    "update crm_reading set failed = $4, read_us = case when cast($4 as text) is null then $3 else read_us end
     where tenant_id = $1 and tool = $2 and begun_us = $3",
);
pub(crate) static READINGS: Statement = Statement::same(
    "reading when CRMs were read",
    "select tool, begun_us, read_us, failed from crm_reading where tenant_id = $1 order by tool limit $2",
);

#[cfg(test)]
pub(crate) static ALL: &[&Statement] = &[&MARK, &DUE, &SETTLE, &BEGIN, &END, &READINGS];

/// CRMs there can be, with room.
const CRMS_MAX: u32 = 100;

/// A record that a CRM has said to be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueRecord {
    /// Object of the CRM.
    pub object: String,
    /// Its id there.
    pub record: String,
    /// Which words this stands for.
    marks: i64,
}

/// When a CRM was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrmReading {
    /// Which.
    pub tool: Crm,
    /// When the latest reading began.
    pub begun_at: Timestamp,
    /// When the latest one began that came to its end.
    pub read_at: Option<Timestamp>,
    /// Why the latest one did not.
    pub failed: Option<String>,
}

impl Store {
    /// Records that a CRM says have changed, by object and id: they are due until they are read.
    ///
    /// # Errors
    /// What writing brings; none is marked then.
    pub async fn mark_due_records(
        &self,
        tool: Crm,
        records: &BTreeSet<(String, String)>,
        now: Timestamp,
    ) -> Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        // In the order of their names, so that two that mark the same records never wait for each other in a circle.
        let rows = [
            Column::text(records.iter().map(|(object, _)| object.as_str())),
            Column::text(records.iter().map(|(_, record)| record.as_str())),
        ];
        let mut tx = self.db.write(Durability::Full).await?;
        let args = args![self.tenant.0, tool.as_str(), now.us()];
        tx.execute(&MARK, args, Some(&rows)).await?;
        tx.commit().await
    }

    /// Records that are due, at most `rows`, in the order of their names. They stay due until [`Store::settle_due_records`].
    ///
    /// # Errors
    /// What reading brings.
    pub async fn due_records(&self, tool: Crm, rows: u32) -> Result<Vec<DueRecord>> {
        let args = args![self.tenant.0, tool.as_str(), limit(rows)];
        let rows = self.db.fetch(&DUE, args, None).await?;
        rows.iter()
            .map(|row| {
                Ok(DueRecord {
                    object: row.text(0)?,
                    record: row.text(1)?,
                    marks: row.int(2)?,
                })
            })
            .collect()
    }

    /// Records that were due have been read. What was marked after they were looked up stays due.
    ///
    /// # Errors
    /// What writing brings.
    pub async fn settle_due_records(&self, tool: Crm, read: &[DueRecord]) -> Result<()> {
        if read.is_empty() {
            return Ok(());
        }
        let rows = [
            Column::text(read.iter().map(|due| due.object.as_str())),
            Column::text(read.iter().map(|due| due.record.as_str())),
            Column::int(read.iter().map(|due| due.marks)),
        ];
        let mut tx = self.db.write(Durability::Normal).await?;
        tx.execute(&SETTLE, args![self.tenant.0, tool.as_str()], Some(&rows))
            .await?;
        tx.commit().await
    }

    /// A reading of a CRM begins.
    ///
    /// # Errors
    /// What writing brings.
    pub async fn begin_reading(&self, tool: Crm, at: Timestamp) -> Result<()> {
        let mut tx = self.db.write(Durability::Normal).await?;
        tx.execute(&BEGIN, args![self.tenant.0, tool.as_str(), at.us()], None)
            .await?;
        tx.commit().await
    }

    /// The reading that began at `begun` has come to its end, or has failed. Nothing happens where another has begun since.
    ///
    /// # Errors
    /// What writing brings.
    pub async fn end_reading(&self, tool: Crm, begun: Timestamp, failed: Option<&str>) -> Result<()> {
        let mut tx = self.db.write(Durability::Normal).await?;
        let args = args![self.tenant.0, tool.as_str(), begun.us(), failed];
        tx.execute(&END, args, None).await?;
        tx.commit().await
    }

    /// When each CRM was read, those that ever were.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn crm_readings(&self) -> Result<Vec<CrmReading>> {
        let args = args![self.tenant.0, limit(CRMS_MAX)];
        let rows = self.db.fetch(&READINGS, args, None).await?;
        rows.iter()
            .map(|row| {
                Ok(CrmReading {
                    tool: word("CRM", &row.text(0)?, Crm::from_word)?,
                    begun_at: time(row.int(1)?),
                    read_at: row.opt_int(2)?.map(time),
                    failed: row.opt_text(3)?,
                })
            })
            .collect()
    }
}
