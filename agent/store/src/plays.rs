//! Plays: where each stands, the steps it took, and what it is pinned to.
//!
//! INVARIANT (no step twice): a play is changed only where its version is the one that the change was made from, and a turn
//! has one row. The transaction that settles an action also moves the play that waits for it.

mod statements;

use std::collections::{BTreeMap, BTreeSet};

use perennial_core::ids::{AccountId, ActionId, OwnerId, PlayId, PlaybookId, TenantId};
use perennial_core::number::Micro;
use perennial_core::play::{Asked, Definition, Left, Life, Outcome};
use perennial_core::replay::{Hash, canonical};
use perennial_core::signal::{OwnerRole, Tier};
use perennial_core::time::{Day, Timestamp};

use crate::Store;
use crate::convert::{day, hash, json, limit, time, word};
use crate::db::{Column, Durability, Row, Tx, args};
use crate::due;
use crate::error::{Result, StoreError};
use crate::ledger;
use crate::rows::LedgerDraft;
#[cfg(test)]
pub(crate) use statements::ALL;
use statements::{
    BEGIN, BY_IDS, BY_PREFIX, DEFINITIONS, DUE, FALLEN, MOVE, OF_ACCOUNT, OF_ACTION, OF_ACTIONS, OPEN, OVERDUE,
    PUT_DEFINITIONS, RUNNING_OF, STEPS, STEPS_OF,
};

/// How many ids an ambiguous prefix shows.
const MATCHES: i64 = 5;
/// Steps of one play that are read.
const STEPS_MOST: i64 = 10_000;
/// Rows of a list that says no limit.
const LIST_LIMIT: u32 = 1_000;

/// One play.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlayRow {
    /// About whom.
    pub account: AccountId,
    /// Which.
    pub id: PlayId,
    /// Playbook.
    pub playbook: PlaybookId,
    /// What it is about.
    pub subject: String,
    /// What it is pinned to.
    pub definition: Hash,
    /// Who was in charge of the account when it began.
    pub owner: Option<OwnerId>,
    /// Tier of the account when it began.
    pub tier: Option<Tier>,
    /// When it began.
    pub begun_at: Timestamp,
    /// Day of the decision that began it.
    pub begun_on: Day,
    /// Health when it began.
    pub health: Option<Micro>,
    /// Grows by one with every change.
    pub version: i64,
    /// Where it stands.
    pub life: Life,
    /// Role that is asked about it, since it is overdue.
    pub asked_role: Option<OwnerRole>,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// A change of a play, with all that goes with it. The caller got it from `perennial_core::play::step`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlayChange {
    /// The play as it is afterwards. `version` is the one it was changed from; 0 for one that begins.
    pub row: PlayRow,
    /// Steps it leaves, in order.
    pub left: Vec<Left>,
    /// Action of the first of these, for its history.
    pub action: Option<ActionId>,
    /// What it is pinned to, for one that begins.
    pub definition: Option<Definition>,
    /// Whether the account is to be decided about, because of where the play stands now.
    pub decide: bool,
    /// Entries for the ledger.
    pub ledger: Vec<LedgerDraft>,
}

/// Which plays to list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PlayFilter {
    /// Those of an account, ended ones too; none: all that run.
    pub account: Option<AccountId>,
    /// At most so many; 0 means 1,000.
    pub limit: u32,
}

/// One step that a play took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlayStepRow {
    /// Its number.
    pub turn: u32,
    /// Its name.
    pub step: String,
    /// When it was entered.
    pub entered_at: Timestamp,
    /// When it was left; none while it lasts.
    pub left_at: Option<Timestamp>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Its action.
    pub action: Option<ActionId>,
}

/// Applies changes of different plays. Gives the plays that were changed: one that somebody else changed meanwhile, or
/// that runs already, is not among them, and nothing of its change is stored. The caller appends the entries of the ledger.
pub(crate) async fn apply(
    tx: &mut Tx<'_>,
    tenant: TenantId,
    changes: &[&PlayChange],
    at: Timestamp,
) -> Result<BTreeSet<PlayId>> {
    let mut applied = BTreeSet::new();
    let (begun, moved): (Vec<&PlayChange>, Vec<&PlayChange>) =
        changes.iter().copied().partition(|c| c.row.version == 0);
    if !begun.is_empty() {
        put_definitions(tx, tenant, &begun, at).await?;
        for row in &tx
            .fetch(&BEGIN, args![tenant.0], Some(&columns_of_begin(&begun, &texts(&begun))))
            .await?
        {
            applied.insert(PlayId::new(row.text(0)?));
        }
    }
    if !moved.is_empty() {
        for row in &tx
            .fetch(&MOVE, args![tenant.0], Some(&columns_of_move(&moved, &texts(&moved))))
            .await?
        {
            applied.insert(PlayId::new(row.text(0)?));
        }
    }
    let done: Vec<&PlayChange> = changes
        .iter()
        .copied()
        .filter(|c| applied.contains(&c.row.id))
        .collect();
    put_steps(tx, tenant, &done).await?;
    let marks = done
        .iter()
        .filter(|c| c.decide)
        .map(|c| (c.row.account.as_str(), at.us()));
    due::mark(tx, tenant.0, marks).await?;
    Ok(applied)
}

/// The entries of the ledger of changes that were applied.
pub(crate) fn entries<'a>(
    changes: &[&'a PlayChange],
    applied: &BTreeSet<PlayId>,
    at: Timestamp,
) -> Vec<(Option<&'a AccountId>, Timestamp, &'a LedgerDraft)> {
    let done = changes.iter().copied().filter(|c| applied.contains(&c.row.id));
    done.flat_map(|c| c.ledger.iter().map(move |draft| (Some(&c.row.account), at, draft)))
        .collect()
}

async fn put_definitions(tx: &mut Tx<'_>, tenant: TenantId, begun: &[&PlayChange], at: Timestamp) -> Result<()> {
    let mut definitions: BTreeMap<String, (&str, String)> = BTreeMap::new();
    for change in begun {
        if let Some(definition) = &change.definition {
            let hash = change.row.definition.to_string();
            definitions
                .entry(hash)
                .or_insert_with(|| (change.row.playbook.as_str(), canonical(definition)));
        }
    }
    if definitions.is_empty() {
        return Ok(());
    }
    let rows = [
        Column::text(definitions.keys().map(String::as_str)),
        Column::text(definitions.values().map(|(playbook, _)| *playbook)),
        Column::text(definitions.values().map(|(_, body)| body.as_str())),
    ];
    tx.execute(&PUT_DEFINITIONS, args![tenant.0, at.us()], Some(&rows))
        .await?;
    Ok(())
}

/// Texts that columns borrow: definition, life.
fn texts(changes: &[&PlayChange]) -> Vec<(String, String)> {
    let each = changes
        .iter()
        .map(|c| (c.row.definition.to_string(), canonical(&c.row.life)));
    each.collect()
}

fn step_of(row: &PlayRow) -> &str {
    row.life.standing().map_or("", |s| s.step.as_str())
}

fn entered(row: &PlayRow) -> i64 {
    match &row.life {
        Life::Running(standing) => standing.entered.us(),
        Life::Ended { at, .. } => at.us(),
    }
}

fn action_of(row: &PlayRow) -> Option<&str> {
    match row.life.standing()?.asked.as_ref()? {
        Asked::Action { action, .. } => Some(action.as_str()),
        Asked::Task { .. } => None,
    }
}

fn overdue(row: &PlayRow) -> i64 {
    i64::from(row.life.standing().is_some_and(|s| s.overdue))
}

fn ended(row: &PlayRow) -> (Option<i64>, Option<&str>) {
    match &row.life {
        Life::Running(_) => (None, None),
        Life::Ended { reason, at, .. } => (Some(at.us()), Some(reason.as_str())),
    }
}

fn columns_of_begin<'a>(changes: &'a [&'a PlayChange], texts: &'a [(String, String)]) -> [Column<'a>; 20] {
    let each = || changes.iter().map(|c| &c.row);
    [
        Column::text(each().map(|r| r.account.as_str())),
        Column::text(each().map(|r| r.id.as_str())),
        Column::text(each().map(|r| r.playbook.as_str())),
        Column::text(each().map(|r| r.subject.as_str())),
        Column::text(texts.iter().map(|(definition, _)| definition.as_str())),
        Column::opt_text(each().map(|r| r.owner.as_ref().map(OwnerId::as_str))),
        Column::opt_text(each().map(|r| r.tier.map(Tier::as_str))),
        Column::int(each().map(|r| r.begun_at.us())),
        Column::int(each().map(|r| i64::from(r.begun_on.number()))),
        Column::opt_int(each().map(|r| r.health.map(|h| h.0))),
        Column::int(each().map(|r| i64::from(r.life.turn()))),
        Column::text(each().map(step_of)),
        Column::int(each().map(entered)),
        Column::text(texts.iter().map(|(_, life)| life.as_str())),
        Column::opt_text(each().map(action_of)),
        Column::opt_int(each().map(|r| r.life.due().map(Timestamp::us))),
        Column::int(each().map(overdue)),
        Column::opt_int(each().map(|r| ended(r).0)),
        Column::opt_text(each().map(|r| ended(r).1)),
        Column::int(each().map(|r| r.updated_at.us())),
    ]
}

fn columns_of_move<'a>(changes: &'a [&'a PlayChange], texts: &'a [(String, String)]) -> [Column<'a>; 14] {
    let each = || changes.iter().map(|c| &c.row);
    [
        Column::text(each().map(|r| r.account.as_str())),
        Column::text(each().map(|r| r.id.as_str())),
        Column::int(each().map(|r| r.version)),
        Column::int(each().map(|r| i64::from(r.life.turn()))),
        Column::text(each().map(step_of)),
        Column::int(each().map(entered)),
        Column::text(texts.iter().map(|(_, life)| life.as_str())),
        Column::opt_text(each().map(action_of)),
        Column::opt_int(each().map(|r| r.life.due().map(Timestamp::us))),
        Column::int(each().map(overdue)),
        Column::opt_text(each().map(|r| r.asked_role.map(OwnerRole::as_str))),
        Column::opt_int(each().map(|r| ended(r).0)),
        Column::opt_text(each().map(|r| ended(r).1)),
        Column::int(each().map(|r| r.updated_at.us())),
    ]
}

/// A row of `play_step`.
struct StepOf<'a> {
    account: &'a str,
    play: &'a str,
    turn: i64,
    step: &'a str,
    entered: i64,
    left: Option<i64>,
    outcome: Option<&'static str>,
    action: Option<&'a str>,
}

async fn put_steps(tx: &mut Tx<'_>, tenant: TenantId, changes: &[&PlayChange]) -> Result<()> {
    let mut steps: Vec<StepOf<'_>> = Vec::new();
    for change in changes {
        let (account, play) = (change.row.account.as_str(), change.row.id.as_str());
        let at = change.row.updated_at.us();
        for (i, left) in change.left.iter().enumerate() {
            steps.push(StepOf {
                account,
                play,
                turn: i64::from(left.turn),
                step: &left.step,
                entered: at,
                left: Some(at),
                outcome: left.outcome.map(Outcome::as_str),
                action: change.action.as_ref().filter(|_| i == 0).map(ActionId::as_str),
            });
        }
        if let Some(standing) = change.row.life.standing() {
            steps.push(StepOf {
                account,
                play,
                turn: i64::from(standing.turn),
                step: &standing.step,
                entered: standing.entered.us(),
                left: None,
                outcome: None,
                action: action_of(&change.row),
            });
        }
    }
    if steps.is_empty() {
        return Ok(());
    }
    let rows = [
        Column::text(steps.iter().map(|s| s.account)),
        Column::text(steps.iter().map(|s| s.play)),
        Column::int(steps.iter().map(|s| s.turn)),
        Column::text(steps.iter().map(|s| s.step)),
        Column::int(steps.iter().map(|s| s.entered)),
        Column::opt_int(steps.iter().map(|s| s.left)),
        Column::opt_text(steps.iter().map(|s| s.outcome)),
        Column::opt_text(steps.iter().map(|s| s.action)),
    ];
    tx.execute(&STEPS, args![tenant.0], Some(&rows)).await?;
    Ok(())
}

impl Store {
    /// Changes plays, each of them once, in one transaction. Gives those that were changed: what somebody else changed meanwhile
    /// stays as it is.
    ///
    /// # Errors
    /// What writing brings; nothing changes then.
    pub async fn change_plays(&self, changes: &[PlayChange], at: Timestamp) -> Result<BTreeSet<PlayId>> {
        if changes.is_empty() {
            return Ok(BTreeSet::new());
        }
        let changes: Vec<&PlayChange> = changes.iter().collect();
        let mut tx = self.db.write(Durability::Full).await?;
        let head = ledger::lock_head(&mut tx, self.tenant).await?;
        let applied = apply(&mut tx, self.tenant, &changes, at).await?;
        ledger::append(&mut tx, self.tenant, &head, &entries(&changes, &applied, at)).await?;
        tx.commit().await?;
        Ok(applied)
    }

    /// Running plays of some accounts, each account's in the order of their ids. Accounts without any are absent.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn running_plays(&self, accounts: &[AccountId]) -> Result<BTreeMap<AccountId, Vec<PlayRow>>> {
        if accounts.is_empty() {
            return Ok(BTreeMap::new());
        }
        let ids: BTreeSet<&str> = accounts.iter().map(AccountId::as_str).collect();
        let rows = [Column::text(ids.into_iter())];
        let mut found: BTreeMap<AccountId, Vec<PlayRow>> = BTreeMap::new();
        for row in &self.db.fetch(&RUNNING_OF, args![self.tenant.0], Some(&rows)).await? {
            let play = play_row(row)?;
            found.entry(play.account.clone()).or_default().push(play);
        }
        Ok(found)
    }

    /// Plays by their accounts and ids; what is not there is absent.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn plays_by_id(&self, ids: &BTreeSet<(AccountId, PlayId)>) -> Result<BTreeMap<PlayId, PlayRow>> {
        if ids.is_empty() {
            return Ok(BTreeMap::new());
        }
        let rows = [
            Column::text(ids.iter().map(|(account, _)| account.as_str())),
            Column::text(ids.iter().map(|(_, play)| play.as_str())),
        ];
        let rows = self.db.fetch(&BY_IDS, args![self.tenant.0], Some(&rows)).await?;
        rows.iter()
            .map(|row| play_row(row).map(|play| (play.id.clone(), play)))
            .collect()
    }

    /// The running play that an action is the step of.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn play_of_action(&self, action: &ActionId) -> Result<Option<PlayRow>> {
        let args = args![self.tenant.0, action.as_str()];
        self.db
            .fetch_one(&OF_ACTION, args)
            .await?
            .as_ref()
            .map(play_row)
            .transpose()
    }

    /// The running plays that some actions are the steps of; an action of none is absent.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn plays_of_actions(&self, actions: &[ActionId]) -> Result<BTreeMap<ActionId, PlayRow>> {
        if let [action] = actions {
            let row = self.play_of_action(action).await?;
            return Ok(row.map(|row| (action.clone(), row)).into_iter().collect());
        }
        let mut found = BTreeMap::new();
        if actions.is_empty() {
            return Ok(found);
        }
        let ids: BTreeSet<&str> = actions.iter().map(ActionId::as_str).collect();
        let rows = [Column::text(ids.into_iter())];
        for row in &self.db.fetch(&OF_ACTIONS, args![self.tenant.0], Some(&rows)).await? {
            found.entry(ActionId::new(row.text(14)?)).or_insert(play_row(row)?);
        }
        Ok(found)
    }

    /// The play with this id, or the only one whose id begins so.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Ambiguous`]. What reading brings.
    pub async fn play(&self, id_or_prefix: &str) -> Result<PlayRow> {
        // The greatest character follows everything that can stand in an id.
        let end = format!("{id_or_prefix}\u{10ffff}");
        let args = args![self.tenant.0, id_or_prefix, end.as_str(), MATCHES];
        let rows = self.db.fetch(&BY_PREFIX, args, None).await?;
        let mut found = rows.iter().map(play_row).collect::<Result<Vec<_>>>()?;
        let exact = found.first().is_some_and(|play| play.id.as_str() == id_or_prefix);
        if found.len() > 1 && !exact {
            return Err(StoreError::Ambiguous {
                prefix: id_or_prefix.to_owned(),
                matches: found.iter().map(|play| play.id.to_string()).collect(),
            });
        }
        if found.is_empty() {
            return Err(StoreError::NotFound {
                what: "play",
                name: id_or_prefix.to_owned(),
            });
        }
        Ok(found.swap_remove(0))
    }

    /// Running plays that time moves by `now`, the longest due first, at most `rows`.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn due_plays(&self, now: Timestamp, rows: u32) -> Result<Vec<PlayRow>> {
        let args = args![self.tenant.0, now.us(), limit(rows)];
        self.db.fetch(&DUE, args, None).await?.iter().map(play_row).collect()
    }

    /// Running plays whose action ended without moving them, with the state of the action as a word, at most `rows`.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn fallen_plays(&self, rows: u32) -> Result<Vec<(PlayRow, String)>> {
        let args = args![self.tenant.0, limit(rows)];
        let rows = self.db.fetch(&FALLEN, args, None).await?;
        rows.iter().map(|row| Ok((play_row(row)?, row.text(14)?))).collect()
    }

    /// Running plays that are overdue and about which nobody else was asked yet, at most `rows`.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn overdue_plays(&self, rows: u32) -> Result<Vec<PlayRow>> {
        let args = args![self.tenant.0, limit(rows)];
        self.db
            .fetch(&OVERDUE, args, None)
            .await?
            .iter()
            .map(play_row)
            .collect()
    }

    /// Plays: all that run, the longest at their step first; or those of an account, the latest first.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn plays(&self, filter: &PlayFilter) -> Result<Vec<PlayRow>> {
        let rows = if filter.limit == 0 { LIST_LIMIT } else { filter.limit };
        let rows = match &filter.account {
            Some(account) => {
                let args = args![self.tenant.0, account.as_str(), limit(rows)];
                self.db.fetch(&OF_ACCOUNT, args, None).await?
            }
            None => self.db.fetch(&OPEN, args![self.tenant.0, limit(rows)], None).await?,
        };
        rows.iter().map(play_row).collect()
    }

    /// What a play did so far, in order.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn play_steps(&self, play: &PlayRow) -> Result<Vec<PlayStepRow>> {
        let args = args![self.tenant.0, play.account.as_str(), play.id.as_str(), STEPS_MOST];
        let rows = self.db.fetch(&STEPS_OF, args, None).await?;
        rows.iter()
            .map(|row| {
                Ok(PlayStepRow {
                    turn: u32::try_from(row.int(0)?).unwrap_or(u32::MAX),
                    step: row.text(1)?,
                    entered_at: time(row.int(2)?),
                    left_at: row.opt_int(3)?.map(time),
                    outcome: row
                        .opt_text(4)?
                        .map(|text| word("outcome of a step", &text, Outcome::from_word))
                        .transpose()?,
                    action: row.opt_text(5)?.map(ActionId::new),
                })
            })
            .collect()
    }

    /// What plays are pinned to, by its hash; what is not there is absent.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn play_definitions(&self, hashes: &BTreeSet<Hash>) -> Result<BTreeMap<Hash, Definition>> {
        if hashes.is_empty() {
            return Ok(BTreeMap::new());
        }
        let texts: Vec<String> = hashes.iter().map(Hash::to_string).collect();
        let rows = [Column::text(texts.iter().map(String::as_str))];
        let rows = self.db.fetch(&DEFINITIONS, args![self.tenant.0], Some(&rows)).await?;
        rows.iter()
            .map(|row| Ok((hash(&row.text(0)?)?, json("definition of a play", &row.text(1)?)?)))
            .collect()
    }
}

fn play_row(row: &Row) -> Result<PlayRow> {
    Ok(PlayRow {
        account: AccountId::new(row.text(0)?),
        id: PlayId::new(row.text(1)?),
        playbook: PlaybookId::new(row.text(2)?),
        subject: row.text(3)?,
        definition: hash(&row.text(4)?)?,
        owner: row.opt_text(5)?.map(OwnerId::new),
        tier: row
            .opt_text(6)?
            .map(|text| word("tier", &text, Tier::from_word))
            .transpose()?,
        begun_at: time(row.int(7)?),
        begun_on: day(row.int(8)?),
        health: row.opt_int(9)?.map(Micro),
        version: row.int(10)?,
        life: json("state of a play", &row.text(11)?)?,
        asked_role: row
            .opt_text(12)?
            .map(|text| word("role", &text, OwnerRole::from_word))
            .transpose()?,
        updated_at: time(row.int(13)?),
    })
}
