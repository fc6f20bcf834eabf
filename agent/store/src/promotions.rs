//! Promotions of kinds of action for tiers, and what they are judged by.
//!
//! INVARIANT (each change once): a promotion changes only from the standing that was judged, together with its entry of the ledger.

use std::collections::{BTreeMap, BTreeSet};

use perennial_core::action::ActionKind;
use perennial_core::earned::{End, Ended, Figures, Promotion, Segment, Standing};
use perennial_core::ids::ActionId;
use perennial_core::replay::{Hash, canonical};
use perennial_core::signal::Tier;
use perennial_core::time::Timestamp;

use crate::Store;
use crate::convert::{corrupt, hash, json, limit, time};
use crate::db::{Durability, Row, Statement, args};
use crate::error::Result;
use crate::ledger;
use crate::rows::LedgerDraft;

/// The reading of promotions ends here: there is one for each cell of the table at the most.
const PROMOTIONS_MAX: i64 = 10_000;

pub(crate) static PROMOTIONS: Statement = Statement::same(
    "reading promotions",
    "select kind, tier, state, since_us, counts_after_us, person, reason, content, figures from promotion
     where tenant_id = $1 order by kind, tier limit $2",
);
/// What an action writes is told by the form of its effects: inside a text the quotes would be escaped.
pub(crate) static ENDED: Statement = Statement::same(
    "reading what has ended",
    "select a.action_id, a.state, a.updated_us, a.kind,
         case when a.effects like '%\"write\":{\"create_task\":%' then 1 else 0 end,
         case when a.effects like '%\"write\":{\"update_account\":%' then 1 else 0 end,
         case when a.effects like '%\"write\":{\"update_opportunity\":%' or a.effects like '%\"write\":{\"set_contact_role\":%'
             then 1 else 0 end,
         case when a.effects like '%\"write\":{\"create_note\":%' then 1 else 0 end,
         (select max(p.at_us) from approval p where p.tenant_id = a.tenant_id and p.account_id = a.account_id
             and p.action_id = a.action_id and p.verb in ('approve', 'reject')),
         (select count(*) from approval p where p.tenant_id = a.tenant_id and p.account_id = a.account_id
             and p.action_id = a.action_id and p.verb in ('edit', 'hold')),
         (select min(u.at_us) from outbox o
             join undone u on u.tenant_id = o.tenant_id and u.account_id = o.account_id and u.effect_id = o.effect_id
             where o.tenant_id = a.tenant_id and o.action_id = a.action_id),
         (select count(*) from conflict c where c.tenant_id = a.tenant_id and c.action_id = a.action_id)
     from action a
     where a.tenant_id = $1 and a.tier = $2 and a.state in ('executed', 'rejected', 'expired') and a.updated_us > $3
     order by a.updated_us desc limit $4",
);
pub(crate) static PUT: Statement = Statement::same(
    "storing a promotion",
    "insert into promotion (tenant_id, kind, tier, state, since_us, counts_after_us, person, reason, content, figures)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) on conflict (tenant_id, kind, tier) do nothing",
);
pub(crate) static CHANGE: Statement = Statement::same(
    "changing a promotion",
    "update promotion set state = $4, since_us = $5, counts_after_us = $6, person = $7, reason = $8, content = $9, figures = $10
     where tenant_id = $1 and kind = $2 and tier = $3 and state = $11 and since_us = $12",
);

#[cfg(test)]
pub(crate) static ALL: &[&Statement] = &[&PROMOTIONS, &ENDED, &PUT, &CHANGE];

/// A promotion as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromotionRow {
    /// Of what.
    pub segment: Segment,
    /// Where it stands.
    pub promotion: Promotion,
    /// Who brought it there; none where the engine did.
    pub person: Option<String>,
    /// Why, in the person's or the engine's words.
    pub reason: Option<String>,
    /// Policies that it was judged by.
    pub content: Hash,
    /// What was counted then.
    pub figures: Figures,
}

impl Store {
    /// All promotions that are stored, by kind and tier.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn promotions(&self) -> Result<Vec<PromotionRow>> {
        let args = args![self.tenant.0, PROMOTIONS_MAX];
        let rows = self.db.fetch(&PROMOTIONS, args, None).await?;
        rows.iter().map(promotion).collect()
    }

    /// Where the promotions stand.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn standings(&self) -> Result<BTreeMap<Segment, Promotion>> {
        let rows = self.promotions().await?;
        Ok(rows.into_iter().map(|row| (row.segment, row.promotion)).collect())
    }

    /// The actions for accounts of a tier that ended after a moment, the newest first, at most `most`.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn ended_actions(&self, tier: Tier, after: Timestamp, most: u32) -> Result<Vec<Ended>> {
        let args = args![self.tenant.0, tier.as_str(), after.us(), limit(most)];
        let rows = self.db.fetch(&ENDED, args, None).await?;
        rows.iter().map(ended).collect()
    }

    /// Changes a promotion from the standing that it had when it was judged, with an entry of the ledger. Says whether it did: not
    /// when somebody else has changed it meanwhile.
    ///
    /// # Errors
    /// What writing brings; nothing changes then.
    pub async fn change_promotion(&self, from: Promotion, to: &PromotionRow, entry: &LedgerDraft) -> Result<bool> {
        let mut tx = self.db.write(Durability::Full).await?;
        let head = ledger::lock_head(&mut tx, self.tenant).await?;
        let (kind, tier) = (to.segment.action.as_str(), to.segment.tier.as_str());
        let (state, since) = (to.promotion.standing.as_str(), to.promotion.since.us());
        let (content, figures) = (to.content.to_string(), canonical(&to.figures));
        let done = if from == Promotion::NEW {
            let args = args![
                self.tenant.0,
                kind,
                tier,
                state,
                since,
                to.promotion.counts_after.us(),
                to.person.as_deref(),
                to.reason.as_deref(),
                content.as_str(),
                figures.as_str()
            ];
            tx.execute(&PUT, args, None).await?
        } else {
            let args = args![
                self.tenant.0,
                kind,
                tier,
                state,
                since,
                to.promotion.counts_after.us(),
                to.person.as_deref(),
                to.reason.as_deref(),
                content.as_str(),
                figures.as_str(),
                from.standing.as_str(),
                from.since.us()
            ];
            tx.execute(&CHANGE, args, None).await?
        };
        if done == 0 {
            return Ok(false);
        }
        ledger::append(&mut tx, self.tenant, &head, &[(None, to.promotion.since, entry)]).await?;
        tx.commit().await?;
        Ok(true)
    }
}

fn promotion(row: &Row) -> Result<PromotionRow> {
    let (kind, tier, state) = (row.text(0)?, row.text(1)?, row.text(2)?);
    Ok(PromotionRow {
        segment: Segment {
            action: ActionKind::from_word(&kind).ok_or_else(|| corrupt("kind of a promotion", &kind))?,
            tier: Tier::from_word(&tier).ok_or_else(|| corrupt("tier of a promotion", &tier))?,
        },
        promotion: Promotion {
            standing: Standing::from_word(&state).ok_or_else(|| corrupt("state of a promotion", &state))?,
            since: time(row.int(3)?),
            counts_after: time(row.int(4)?),
        },
        person: row.opt_text(5)?,
        reason: row.opt_text(6)?,
        content: hash(&row.text(7)?)?,
        figures: json("figures of a promotion", &row.text(8)?)?,
    })
}

/// The columns that tell what an action writes.
const WRITES: [(usize, ActionKind); 4] = [
    (4, ActionKind::CREATE_TASK),
    (5, ActionKind::UPDATE_FIELD),
    (6, ActionKind::UPDATE_OPPORTUNITY),
    (7, ActionKind::CREATE_NOTE),
];

fn ended(row: &Row) -> Result<Ended> {
    let (state, kind) = (row.text(1)?, row.text(3)?);
    let own = ActionKind::from_word(&kind).ok_or_else(|| corrupt("kind of an action that has ended", &kind))?;
    let mut kinds = BTreeSet::from([own]);
    for (column, written) in WRITES {
        if row.int(column)? > 0 {
            kinds.insert(written);
        }
    }
    Ok(Ended {
        action: ActionId::new(row.text(0)?),
        kinds,
        end: End::from_word(&state).ok_or_else(|| corrupt("state of an action that has ended", &state))?,
        at: time(row.int(2)?),
        decided: row.opt_int(8)?.map(time),
        changed: row.int(9)? > 0,
        undone: row.opt_int(10)?.map(time),
        conflict: row.int(11)? > 0,
    })
}
