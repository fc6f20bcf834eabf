//! Narrow reads for the cycle: what it needs of many actions and effects, without their texts.

use std::collections::{BTreeMap, BTreeSet};

use perennial_core::action::{ActionKind, ActionState};
use perennial_core::ids::{AccountId, ActionId, OwnerId, PlaybookId};
use perennial_core::money::Currency;
use perennial_core::number::Micro;
use perennial_core::rank::DayItem;
use perennial_core::signal::Crm;
use perennial_core::snapshot::PriorAction;
use perennial_core::time::Day;

use crate::Store;
use crate::convert::{time, word};
use crate::db::{Col, Column, Row, Statement, args};
use crate::error::Result;

pub(crate) static WAITING: Statement = Statement::same(
    "reading what waits for people",
    "select account_id, action_id, owner_id, minutes, rank_micro from action
     where tenant_id = $1 and state in ('pending', 'edited') order by account_id, action_id",
);
pub(crate) static WAITING_OF: Statement = Statement::rows(
    "reading what waits for some people",
    "select a.account_id, a.action_id, a.owner_id, a.minutes, a.rank_micro from {rows} cross join action a
     where a.tenant_id = $1 and a.owner_id = e.owner_id and a.state in ('pending', 'edited')
     order by a.account_id, a.action_id",
    2,
    &[Col::Text("owner_id")],
);
pub(crate) static WAITING_OF_NOBODY: Statement = Statement::same(
    "reading what waits for nobody in particular",
    "select account_id, action_id, owner_id, minutes, rank_micro from action
     where tenant_id = $1 and owner_id is null and state in ('pending', 'edited') order by account_id, action_id",
);
/// Of the plan of a day, what runs or ran: it takes its minutes whatever is planned later.
pub(crate) static UNDER_WAY: Statement = Statement::rows(
    "reading what of the day is under way",
    "select p.account_id, p.action_id, p.owner_id, a.minutes from {rows} cross join day_plan p
     join action a on a.tenant_id = $1 and a.account_id = p.account_id and a.action_id = p.action_id
     where p.tenant_id = $1 and p.owner_id = e.owner_id and p.as_of_us >= $2 and p.as_of_us < $3
         and a.state in ('permitted', 'executed', 'failed')
     order by p.owner_id, p.position",
    4,
    &[Col::Text("owner_id")],
);
pub(crate) static PRIOR: Statement = Statement::rows(
    "reading what accounts have seen",
    "select a.account_id, a.action_id, a.playbook, a.subject, a.kind, a.state, a.as_of_us, a.snoozed_us from action a
     where a.tenant_id = $1 and a.account_id in (select e.account_id from {rows}) order by a.account_id, a.action_id",
    2,
    &[Col::Text("account_id")],
);
pub(crate) static NEXT_DUE: Statement = Statement::same(
    "looking for the next effect that is due",
    "select min(ready_us) from account_lane where tenant_id = $1 and tool = $2 and ready_us is not null",
);

#[cfg(test)]
pub(crate) static ALL: &[&Statement] = &[&WAITING, &WAITING_OF, &WAITING_OF_NOBODY, &UNDER_WAY, &PRIOR, &NEXT_DUE];

/// An action that takes a person's time, without its texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingItem {
    /// About whom.
    pub account: AccountId,
    /// Which.
    pub action: ActionId,
    /// In whose queue it is.
    pub owner: Option<OwnerId>,
    /// Minutes it takes.
    pub minutes: i64,
    /// Value that waiting loses a minute, in millionths of a major unit.
    pub rank_micro: Option<i64>,
}

impl WaitingItem {
    /// The item as work of a day; its gain is the rank times the minutes, in minor units of `currency`.
    #[must_use]
    pub fn day_item(&self, currency: Currency) -> DayItem {
        let unit = 10_i64.pow(currency.exponent());
        let gain = |rank: i64| i128::from(rank) * i128::from(self.minutes) * i128::from(unit) / 1_000_000;
        DayItem {
            action: self.action.clone(),
            account: self.account.clone(),
            gain_minor: self
                .rank_micro
                .map(|rank| i64::try_from(gain(rank)).unwrap_or(i64::MAX)),
            per_minute_micro: self.rank_micro.map(Micro),
            minutes: self.minutes,
        }
    }
}

impl Store {
    /// Everything that waits for people, in order of accounts and ids.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn waiting(&self) -> Result<Vec<WaitingItem>> {
        let rows = self.db.fetch(&WAITING, args![self.tenant.0], None).await?;
        rows.iter().map(waiting_item).collect()
    }

    /// What waits for some people, `None` for what nobody owns; for each person in order of accounts and ids.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn waiting_of(&self, people: &BTreeSet<Option<OwnerId>>) -> Result<Vec<WaitingItem>> {
        let named: BTreeSet<&str> = people.iter().flatten().map(OwnerId::as_str).collect();
        let mut rows = Vec::new();
        if !named.is_empty() {
            let columns = [Column::text(named.into_iter())];
            rows = self.db.fetch(&WAITING_OF, args![self.tenant.0], Some(&columns)).await?;
        }
        if people.contains(&None) {
            rows.extend(self.db.fetch(&WAITING_OF_NOBODY, args![self.tenant.0], None).await?);
        }
        rows.iter().map(waiting_item).collect()
    }

    /// What of a day's plan is under way or done, for some people: it has its place whatever is planned later.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn under_way(&self, people: &BTreeSet<Option<OwnerId>>, day: Day) -> Result<Vec<WaitingItem>> {
        let names: BTreeSet<&str> = people
            .iter()
            .map(|person| person.as_ref().map_or("", OwnerId::as_str))
            .collect();
        let columns = [Column::text(names.into_iter())];
        let args = args![self.tenant.0, day.start().us(), day.plus(1).start().us()];
        let rows = self.db.fetch(&UNDER_WAY, args, Some(&columns)).await?;
        rows.iter()
            .map(|row| {
                let owner = row.text(2)?;
                Ok(WaitingItem {
                    account: AccountId::new(row.text(0)?),
                    action: ActionId::new(row.text(1)?),
                    owner: (!owner.is_empty()).then(|| OwnerId::new(owner)),
                    minutes: row.int(3)?,
                    rank_micro: None,
                })
            })
            .collect()
    }

    /// What some accounts have seen of us, for their snapshots. Accounts without actions are absent.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn prior_actions(&self, accounts: &[AccountId]) -> Result<BTreeMap<AccountId, Vec<PriorAction>>> {
        let ids: BTreeSet<&str> = accounts.iter().map(AccountId::as_str).collect();
        let rows = [Column::text(ids.into_iter())];
        let rows = self.db.fetch(&PRIOR, args![self.tenant.0], Some(&rows)).await?;
        let mut found: BTreeMap<AccountId, Vec<PriorAction>> = BTreeMap::new();
        for row in &rows {
            found
                .entry(AccountId::new(row.text(0)?))
                .or_default()
                .push(PriorAction {
                    action: ActionId::new(row.text(1)?),
                    playbook: PlaybookId::new(row.text(2)?),
                    subject: row.text(3)?,
                    kind: word("kind of action", &row.text(4)?, ActionKind::from_word)?,
                    state: word("state of an action", &row.text(5)?, ActionState::from_word)?,
                    day: time(row.int(6)?).day(),
                    snoozed_until: row.opt_int(7)?.map(time),
                });
        }
        Ok(found)
    }

    /// Whether some effect for one of these systems may be carried out before a moment (microseconds since the epoch).
    ///
    /// # Errors
    /// What reading brings.
    pub async fn has_due_before(&self, tools: &[Crm], before_us: i64) -> Result<bool> {
        for tool in tools {
            let rows = self
                .db
                .fetch(&NEXT_DUE, args![self.tenant.0, tool.as_str()], None)
                .await?;
            let next = rows.first().map(|row| row.opt_int(0)).transpose()?.flatten();
            if next.is_some_and(|due| due < before_us) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn waiting_item(row: &Row) -> Result<WaitingItem> {
    Ok(WaitingItem {
        account: AccountId::new(row.text(0)?),
        action: ActionId::new(row.text(1)?),
        owner: row.opt_text(2)?.map(OwnerId::new),
        minutes: row.int(3)?,
        rank_micro: row.opt_int(4)?,
    })
}
