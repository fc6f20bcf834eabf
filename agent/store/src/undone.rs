//! Effects that people undid.

use perennial_core::action::{Effect, Receipt};
use perennial_core::ids::{AccountId, ActionId, EffectId};
use perennial_core::replay::canonical;
use perennial_core::time::Timestamp;

use crate::Store;
use crate::conflicts::{self, Learned};
use crate::convert::{json, time};
use crate::db::{Durability, Statement, args};
use crate::error::{Result, StoreError};
use crate::ledger;
use crate::rows::LedgerDraft;

/// How many ids an ambiguous beginning shows.
const MATCHES: i64 = 6;

pub(crate) static SENT: Statement = Statement::same(
    "reading an effect",
    "select o.effect, o.action_id, r.body, u.body, u.person, u.at_us from outbox o
     left join receipt r on r.tenant_id = o.tenant_id and r.account_id = o.account_id and r.effect_id = o.effect_id
     left join undone u on u.tenant_id = o.tenant_id and u.account_id = o.account_id and u.effect_id = o.effect_id
     where o.tenant_id = $1 and o.effect_id >= $2 and o.effect_id < $3 order by o.effect_id limit $4",
);
pub(crate) static PUT: Statement = Statement::same(
    "storing what was undone",
    "insert into undone (tenant_id, account_id, effect_id, at_us, person, body) values ($1, $2, $3, $4, $5, $6)
     on conflict (tenant_id, account_id, effect_id) do nothing",
);

#[cfg(test)]
pub(crate) static ALL: &[&Statement] = &[&SENT, &PUT];

/// An effect with what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentEffect {
    /// What.
    pub effect: Effect,
    /// Its action.
    pub action: ActionId,
    /// What the tool answered, once done.
    pub receipt: Option<Receipt>,
    /// How it was undone, once it was.
    pub undone: Option<UndoRow>,
}

/// An effect that a person undid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndoRow {
    /// Who.
    pub person: String,
    /// When.
    pub at: Timestamp,
    /// What the tool answered.
    pub receipt: Receipt,
}

impl Store {
    /// The effect with this id, or the only one whose id begins so.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Ambiguous`]; what reading brings.
    pub async fn sent_effect(&self, id_or_prefix: &str) -> Result<SentEffect> {
        let end = format!("{id_or_prefix}\u{10ffff}");
        let args = args![self.tenant.0, id_or_prefix, end.as_str(), MATCHES];
        let rows = self.db.fetch(&SENT, args, None).await?;
        let mut found = Vec::new();
        for row in &rows {
            let undone = match (row.opt_text(3)?, row.opt_text(4)?, row.opt_int(5)?) {
                (Some(body), Some(person), Some(at)) => Some(UndoRow {
                    person,
                    at: time(at),
                    receipt: json("receipt", &body)?,
                }),
                _ => None,
            };
            found.push(SentEffect {
                effect: json("effect", &row.text(0)?)?,
                action: ActionId::new(row.text(1)?),
                receipt: row.opt_text(2)?.map(|text| json("receipt", &text)).transpose()?,
                undone,
            });
        }
        let exact = found
            .first()
            .is_some_and(|sent| sent.effect.id.as_str() == id_or_prefix);
        if found.len() > 1 && !exact {
            return Err(StoreError::Ambiguous {
                prefix: id_or_prefix.to_owned(),
                matches: found
                    .into_iter()
                    .map(|sent| sent.effect.id.as_str().to_owned())
                    .collect(),
            });
        }
        found.into_iter().next().ok_or_else(|| StoreError::NotFound {
            what: "effect",
            name: id_or_prefix.to_owned(),
        })
    }

    /// Records that an effect was undone, with what became known and the entries of the ledger.
    ///
    /// # Errors
    /// What writing brings.
    pub async fn put_undone(
        &self,
        (account, effect): (&AccountId, &EffectId),
        undone: &UndoRow,
        learned: &[Learned],
        entries: &[LedgerDraft],
    ) -> Result<()> {
        let mut tx = self.db.write(Durability::Full).await?;
        let head = ledger::lock_head(&mut tx, self.tenant).await?;
        let at = undone.at.us();
        let body = canonical(&undone.receipt);
        let args = args![
            self.tenant.0,
            account.as_str(),
            effect.as_str(),
            at,
            undone.person.as_str(),
            body.as_str()
        ];
        tx.execute(&PUT, args, None).await?;
        let seen: Vec<_> = learned.iter().map(|learned| (account.as_str(), learned, at)).collect();
        conflicts::put(&mut tx, &conflicts::LEARN, self.tenant.0, &seen).await?;
        let entries: Vec<_> = entries.iter().map(|entry| (Some(account), undone.at, entry)).collect();
        ledger::append(&mut tx, self.tenant, &head, &entries).await?;
        tx.commit().await
    }
}
