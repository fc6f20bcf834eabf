//! Actions: storing new ones, listing them, and changing their state.

use std::collections::{BTreeMap, BTreeSet};

use perennial_core::action::{ActionKind, ActionState};
use perennial_core::ids::{AccountId, ActionId, DecisionId, OwnerId, PlaybookId, RunId, TenantId};
use perennial_core::signal::{OwnerRole, Tier};
use perennial_core::time::Timestamp;

use crate::Store;
use crate::convert::{day, limit, time, word};
use crate::db::{Col, Column, Row, Statement, Tx, args};
use crate::error::{Result, StoreError};
use crate::ledger::{self, Head};
use crate::rows::{ActionRow, NewAction, QueueFilter};

/// Rows of a queue whose filter says no limit.
const QUEUE_LIMIT: u32 = 1_000;
/// How many ids an ambiguous prefix shows.
const MATCHES: i64 = 5;

/// Every column of an action that [`action_row`] reads.
macro_rules! select_actions {
    () => {
        "select a.account_id, a.action_id, a.decision_id, a.kind, a.playbook, a.subject, a.state, a.version, a.title,
             a.owner_id, a.tier, a.role, a.verdict, a.value_minor, a.currency, a.minutes, a.rank_micro, a.due_day,
             a.as_of_us, a.expires_us, a.snoozed_us, a.last_editor, p.position, a.card, a.effects, a.updated_us, a.asked_role,
             a.asked_us
         from action a left join day_plan p
             on p.tenant_id = a.tenant_id and p.account_id = a.account_id and p.action_id = a.action_id
         where a.tenant_id = $1 and "
    };
}
pub(crate) use select_actions;

macro_rules! by_rank {
    () => {
        " and ($5 = 0 or a.kind in (select e.kind from {rows})) order by a.rank_micro desc nulls last, a.action_id limit $4"
    };
}

const ACTION: &[Col] = &[
    Col::Text("account_id"),
    Col::Text("action_id"),
    Col::Int("place"),
    Col::Text("run_id"),
    Col::Text("decision_id"),
    Col::Text("kind"),
    Col::Text("playbook"),
    Col::Text("subject"),
    Col::Text("state"),
    Col::Text("title"),
    Col::Text("owner_id"),
    Col::Text("tier"),
    Col::Text("role"),
    Col::Text("verdict"),
    Col::Int("value_minor"),
    Col::Text("currency"),
    Col::Int("minutes"),
    Col::Int("rank_micro"),
    Col::Int("due_day"),
    Col::Int("as_of_us"),
    Col::Int("expires_us"),
    Col::Int("snoozed_us"),
    Col::Text("last_editor"),
    Col::Text("card"),
    Col::Text("effects"),
];
const KIND: &[Col] = &[Col::Text("kind")];

pub(crate) static INSERT: Statement = Statement::rows(
    "storing actions",
    "insert into action (tenant_id, account_id, action_id, seq, run_id, decision_id, kind, playbook, subject, state, version,
         title, owner_id, tier, role, verdict, value_minor, currency, minutes, rank_micro, due_day, as_of_us, expires_us,
         snoozed_us, last_editor, updated_us, card, effects, asked_us)
     select $1, e.account_id, e.action_id, $2 + e.place, e.run_id, e.decision_id, e.kind, e.playbook, e.subject, e.state, 1,
         e.title, e.owner_id, e.tier, e.role, e.verdict, e.value_minor, e.currency, e.minutes, e.rank_micro, e.due_day,
         e.as_of_us, e.expires_us, e.snoozed_us, e.last_editor, $3, e.card, e.effects,
         case when e.state in ('pending', 'edited') then cast($3 as bigint) end
     from {rows} where true on conflict do nothing returning action_id, seq",
    4,
    ACTION,
);
/// Planned anew, like those about plays: the first run makes all actions, the next steps concern a few of them.
/// An action that nobody has touched follows what is known now. One that runs by itself is told so when it is new, or
/// never: what people see must not begin to run under their eyes.
pub(crate) static REFRESH: Statement = Statement::rows(
    "bringing actions up to date",
    "update action set decision_id = e.decision_id, state = e.state, version = version + 1, title = e.title,
         owner_id = case when action.reassigned = 1 then action.owner_id else e.owner_id end, tier = e.tier,
         role = e.role, verdict = e.verdict, value_minor = e.value_minor, currency = e.currency, minutes = e.minutes,
         rank_micro = e.rank_micro, due_day = e.due_day, updated_us = $2, card = e.card, effects = e.effects,
         asked_us = case when e.state = 'pending' then coalesce(action.asked_us, cast($2 as bigint)) end
     from {rows}
     where action.tenant_id = $1 and action.account_id = e.account_id and action.action_id = e.action_id
         and action.state in ('pending', 'advised', 'denied') and e.state in ('pending', 'advised', 'denied')
         and action.last_editor is null and action.card <> e.card",
    3,
    ACTION,
)
.anew();
pub(crate) static SUPERSEDE: Statement = Statement::rows(
    "superseding actions",
    "update action set state = 'superseded', version = version + 1, updated_us = $2 from {rows}
     where action.tenant_id = $1 and action.account_id = e.account_id and action.action_id = e.action_id
         and action.state in ('pending', 'edited', 'snoozed', 'deferred', 'advised')",
    3,
    &[Col::Text("account_id"), Col::Text("action_id")],
)
.anew();
pub(crate) static OF_ACCOUNTS: Statement = Statement::rows(
    "reading the actions of accounts",
    concat!(
        select_actions!(),
        "a.account_id in (select e.account_id from {rows}) order by a.account_id, a.seq"
    ),
    2,
    &[Col::Text("account_id")],
);
pub(crate) static BY_PREFIX: Statement = Statement::same(
    "looking for an action",
    concat!(
        select_actions!(),
        "a.action_id >= $2 and a.action_id < $3 order by a.action_id limit $4"
    ),
);
/// One state at a time, so that the index gives the order and the limit ends the search.
pub(crate) static QUEUE: Statement = Statement::rows(
    "reading the queue",
    concat!(select_actions!(), "a.state = $2 and $3 = ''", by_rank!()),
    6,
    KIND,
);
pub(crate) static QUEUE_OF_OWNER: Statement = Statement::rows(
    "reading a person's queue",
    concat!(select_actions!(), "a.state = $2 and a.owner_id = $3", by_rank!()),
    6,
    KIND,
);
pub(crate) static QUEUE_OF_ACCOUNT: Statement = Statement::rows(
    "reading an account's queue",
    concat!(select_actions!(), "a.state = $2 and a.account_id = $3", by_rank!()),
    6,
    KIND,
);
pub(crate) static DUE_WAKES: Statement = Statement::same(
    "looking for snoozed actions that are due",
    concat!(
        select_actions!(),
        "a.state = 'snoozed' and a.snoozed_us <= $2 order by a.snoozed_us, a.action_id limit $3"
    ),
);
pub(crate) static DUE_EXPIRIES: Statement = Statement::same(
    "looking for actions that expire",
    concat!(
        select_actions!(),
        "a.state in ('pending', 'edited', 'snoozed', 'deferred') and a.expires_us is not null and a.expires_us <= $2
         order by a.expires_us, a.action_id limit $3"
    ),
);

#[cfg(test)]
pub(crate) static ALL: &[&Statement] = &[
    &INSERT,
    &REFRESH,
    &SUPERSEDE,
    &OF_ACCOUNTS,
    &BY_PREFIX,
    &QUEUE,
    &QUEUE_OF_OWNER,
    &QUEUE_OF_ACCOUNT,
    &DUE_WAKES,
    &DUE_EXPIRIES,
];

/// Stores actions that are new and gives their ids and numbers; brings those up to date that nobody has touched.
pub(crate) async fn insert(
    tx: &mut Tx<'_>,
    tenant: TenantId,
    head: &Head,
    actions: &[(&RunId, &NewAction)],
    now: Timestamp,
) -> Result<BTreeMap<String, i64>> {
    if actions.is_empty() {
        return Ok(BTreeMap::new());
    }
    let count = i64::try_from(actions.len()).unwrap_or(i64::MAX);
    let each = || actions.iter().map(|(_, action)| &action.row);
    let rows = [
        Column::text(each().map(|a| a.account.as_str())),
        Column::text(each().map(|a| a.id.as_str())),
        Column::int(1..=count),
        Column::text(actions.iter().map(|(run, _)| run.as_str())),
        Column::text(each().map(|a| a.decision.as_str())),
        Column::text(each().map(|a| a.kind.as_str())),
        Column::text(each().map(|a| a.playbook.as_str())),
        Column::text(each().map(|a| a.subject.as_str())),
        Column::text(each().map(|a| a.state.as_str())),
        Column::text(each().map(|a| a.title.as_str())),
        Column::opt_text(each().map(|a| a.owner.as_ref().map(OwnerId::as_str))),
        Column::opt_text(each().map(|a| a.tier.map(Tier::as_str))),
        Column::opt_text(each().map(|a| a.role.map(OwnerRole::as_str))),
        Column::text(each().map(|a| a.verdict.as_str())),
        Column::opt_int(each().map(|a| a.value_minor)),
        Column::opt_text(each().map(|a| a.currency.as_deref())),
        Column::int(each().map(|a| a.minutes)),
        Column::opt_int(each().map(|a| a.rank_micro)),
        Column::int(each().map(|a| i64::from(a.due.number()))),
        Column::int(each().map(|a| a.as_of.us())),
        Column::opt_int(each().map(|a| a.expires_at.map(Timestamp::us))),
        Column::opt_int(each().map(|a| a.snoozed_until.map(Timestamp::us))),
        Column::opt_text(each().map(|a| a.last_editor.as_deref())),
        Column::text(each().map(|a| a.card.as_str())),
        Column::text(each().map(|a| a.effects.as_str())),
    ];
    let stored = tx
        .fetch(&INSERT, args![tenant.0, head.action_seq, now.us()], Some(&rows))
        .await?;
    ledger::move_actions(tx, tenant, head.action_seq.saturating_add(count)).await?;
    if stored.len() < actions.len() {
        tx.execute(&REFRESH, args![tenant.0, now.us()], Some(&rows)).await?;
    }
    stored.iter().map(|row| Ok((row.text(0)?, row.int(1)?))).collect()
}

/// Lets actions that wait, and advice, give way; how many did.
pub(crate) async fn supersede(
    tx: &mut Tx<'_>,
    tenant: TenantId,
    actions: &[(&str, &str)],
    now: Timestamp,
) -> Result<u64> {
    if actions.is_empty() {
        return Ok(0);
    }
    let rows = [
        Column::text(actions.iter().map(|(account, _)| *account)),
        Column::text(actions.iter().map(|(_, action)| *action)),
    ];
    tx.execute(&SUPERSEDE, args![tenant.0, now.us()], Some(&rows)).await
}

impl Store {
    /// All actions of some accounts, each account's in the order of creation. Accounts without actions are absent.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn actions_of(&self, accounts: &[AccountId]) -> Result<BTreeMap<AccountId, Vec<ActionRow>>> {
        let ids: BTreeSet<&str> = accounts.iter().map(AccountId::as_str).collect();
        let rows = [Column::text(ids.into_iter())];
        let rows = self.db.fetch(&OF_ACCOUNTS, args![self.tenant.0], Some(&rows)).await?;
        let mut found: BTreeMap<AccountId, Vec<ActionRow>> = BTreeMap::new();
        for row in &rows {
            let action = action_row(row)?;
            found.entry(action.account.clone()).or_default().push(action);
        }
        Ok(found)
    }

    /// The action with this id, or the only one whose id begins so.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Ambiguous`]. What reading brings.
    pub async fn action(&self, id_or_prefix: &str) -> Result<ActionRow> {
        // The greatest character follows everything that can stand in an id.
        let end = format!("{id_or_prefix}\u{10ffff}");
        let args = args![self.tenant.0, id_or_prefix, end.as_str(), MATCHES];
        let rows = self.db.fetch(&BY_PREFIX, args, None).await?;
        let mut found = rows.iter().map(action_row).collect::<Result<Vec<_>>>()?;
        let exact = found.first().is_some_and(|action| action.id.as_str() == id_or_prefix);
        if found.len() > 1 && !exact {
            return Err(StoreError::Ambiguous {
                prefix: id_or_prefix.to_owned(),
                matches: found.iter().map(|action| action.id.to_string()).collect(),
            });
        }
        if found.is_empty() {
            return Err(StoreError::NotFound {
                what: "action",
                name: id_or_prefix.to_owned(),
            });
        }
        Ok(found.swap_remove(0))
    }

    /// Actions by rank, highest first, those without a rank last, then by id.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn queue(&self, filter: &QueueFilter) -> Result<Vec<ActionRow>> {
        let rows = if filter.limit == 0 { QUEUE_LIMIT } else { filter.limit };
        let kinds: BTreeSet<&str> = filter.kinds.iter().map(|kind| kind.as_str()).collect();
        let chosen = i64::from(!kinds.is_empty());
        let kinds = [Column::text(kinds.into_iter())];
        let states: BTreeSet<ActionState> = if filter.states.is_empty() {
            ActionState::ALL.iter().copied().collect()
        } else {
            filter.states.iter().copied().collect()
        };
        let (statement, whose) = match (&filter.account, &filter.owner) {
            (Some(account), _) => (&QUEUE_OF_ACCOUNT, account.as_str()),
            (None, Some(owner)) => (&QUEUE_OF_OWNER, owner.as_str()),
            (None, None) => (&QUEUE, ""),
        };
        // An account has few actions, so its owner can be looked at afterwards.
        let both = filter.owner.as_ref().filter(|_| filter.account.is_some());
        let limit_sql = if both.is_some() { i64::MAX } else { limit(rows) };
        // By id, because an action may change its state between two of these reads.
        let mut found: BTreeMap<ActionId, ActionRow> = BTreeMap::new();
        for state in states {
            let args = args![self.tenant.0, state.as_str(), whose, limit_sql, chosen];
            for row in &self.db.fetch(statement, args, Some(&kinds)).await? {
                let action = action_row(row)?;
                if both.is_none_or(|owner| action.owner.as_ref() == Some(owner)) {
                    found.insert(action.id.clone(), action);
                }
            }
        }
        let mut found: Vec<ActionRow> = found.into_values().collect();
        // Stable: equal ranks stay in the order of their ids. `None` is less than any rank.
        found.sort_by_key(|action| std::cmp::Reverse(action.rank_micro));
        found.truncate(rows as usize);
        Ok(found)
    }

    /// Snoozed actions whose time has come, earliest first, at most `rows`.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn due_wakes(&self, now: Timestamp, rows: u32) -> Result<Vec<ActionRow>> {
        let args = args![self.tenant.0, now.us(), limit(rows)];
        self.db
            .fetch(&DUE_WAKES, args, None)
            .await?
            .iter()
            .map(action_row)
            .collect()
    }

    /// Actions that wait for a person and whose time is over, earliest first, at most `rows`.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn due_expiries(&self, now: Timestamp, rows: u32) -> Result<Vec<ActionRow>> {
        let args = args![self.tenant.0, now.us(), limit(rows)];
        self.db
            .fetch(&DUE_EXPIRIES, args, None)
            .await?
            .iter()
            .map(action_row)
            .collect()
    }
}

pub(crate) fn action_row(row: &Row) -> Result<ActionRow> {
    let optional = |column| row.opt_text(column);
    Ok(ActionRow {
        account: AccountId::new(row.text(0)?),
        id: ActionId::new(row.text(1)?),
        decision: DecisionId::new(row.text(2)?),
        kind: word("kind of action", &row.text(3)?, ActionKind::from_word)?,
        playbook: PlaybookId::new(row.text(4)?),
        subject: row.text(5)?,
        state: word("state of an action", &row.text(6)?, ActionState::from_word)?,
        version: row.int(7)?,
        title: row.text(8)?,
        owner: optional(9)?.map(OwnerId::new),
        tier: optional(10)?
            .map(|text| word("tier", &text, Tier::from_word))
            .transpose()?,
        role: optional(11)?
            .map(|text| word("role", &text, OwnerRole::from_word))
            .transpose()?,
        verdict: row.text(12)?,
        value_minor: row.opt_int(13)?,
        currency: optional(14)?,
        minutes: row.int(15)?,
        rank_micro: row.opt_int(16)?,
        due: day(row.int(17)?),
        as_of: time(row.int(18)?),
        expires_at: row.opt_int(19)?.map(time),
        snoozed_until: row.opt_int(20)?.map(time),
        last_editor: optional(21)?,
        day_position: row.opt_int(22)?,
        card: row.text(23)?,
        effects: row.text(24)?,
        updated_at: time(row.int(25)?),
        asked_role: optional(26)?
            .map(|text| word("role", &text, OwnerRole::from_word))
            .transpose()?,
        asked_since: row.opt_int(27)?.map(time),
    })
}
