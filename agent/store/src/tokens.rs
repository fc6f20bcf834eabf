//! Access tokens of CRMs, as sealed texts: the key is not here.

use perennial_core::signal::Crm;
use perennial_core::time::Timestamp;

use crate::Store;
use crate::convert::time;
use crate::db::{Durability, Statement, args};
use crate::error::Result;

pub(crate) static READ: Statement = Statement::same(
    "reading a token",
    "select sealed, expires_us from crm_token where tenant_id = $1 and tool = $2",
);
pub(crate) static WRITE: Statement = Statement::same(
    "storing a token",
    "insert into crm_token (tenant_id, tool, sealed, expires_us, updated_us) values ($1, $2, $3, $4, $5)
     on conflict (tenant_id, tool) do update set sealed = excluded.sealed, expires_us = excluded.expires_us,
         updated_us = excluded.updated_us",
);

#[cfg(test)]
pub(crate) static ALL: &[&Statement] = &[&READ, &WRITE];

/// A token that only its key opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedToken {
    /// The sealed text.
    pub sealed: String,
    /// When it ends, where the CRM says so.
    pub expires_at: Option<Timestamp>,
}

impl Store {
    /// The token of a CRM.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn sealed_token(&self, tool: Crm) -> Result<Option<SealedToken>> {
        let row = self.db.fetch_one(&READ, args![self.tenant.0, tool.as_str()]).await?;
        row.map(|row| {
            Ok(SealedToken {
                sealed: row.text(0)?,
                expires_at: row.opt_int(1)?.map(time),
            })
        })
        .transpose()
    }

    /// Stores the token of a CRM in place of an earlier one.
    ///
    /// # Errors
    /// What writing brings.
    pub async fn put_sealed_token(&self, tool: Crm, token: &SealedToken, now: Timestamp) -> Result<()> {
        let mut tx = self.db.write(Durability::Full).await?;
        let expires = token.expires_at.map(Timestamp::us);
        let args = args![self.tenant.0, tool.as_str(), token.sealed.as_str(), expires, now.us()];
        tx.execute(&WRITE, args, None).await?;
        tx.commit().await
    }
}
