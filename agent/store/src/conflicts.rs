//! What is known of fields of a CRM that we write, and conflicts with people's edits.
//!
//! INVARIANT (one memory): what was written, and what was seen, changes what is known in the transaction that records the
//! attempt or the reading.

use std::collections::BTreeMap;

use perennial_core::ids::{AccountId, ActionId, EffectId};
use perennial_core::signal::Crm;
use perennial_core::time::Timestamp;

use crate::Store;
use crate::convert::{time, word};
use crate::db::{Col, Column, Durability, Row, Statement, Tx, args};
use crate::error::Result;
use crate::rows::{ApprovalRow, EffectOutcome, EffectResult};

pub(crate) static LEARN: Statement = Statement::rows(
    "storing what is known of fields",
    "insert into known_field (tenant_id, account_id, tool, subject, field, value, ours, since_us, before)
     select $1, e.account_id, e.tool, e.subject, e.field, e.value, e.ours, e.since_us, '' from {rows} where true
     on conflict (tenant_id, account_id, tool, subject, field) do update set
         before = case when known_field.value = excluded.value then known_field.before else known_field.value end,
         since_us = case when known_field.value = excluded.value then known_field.since_us else excluded.since_us end,
         ours = case when known_field.value = excluded.value and known_field.ours = 1 then 1 else excluded.ours end,
         value = excluded.value",
    2,
    &[
        Col::Text("account_id"),
        Col::Text("tool"),
        Col::Text("subject"),
        Col::Text("field"),
        Col::Text("value"),
        Col::Int("ours"),
        Col::Int("since_us"),
    ],
);
/// From a conflict a field is known of, not its value: what is known already stays.
pub(crate) static WATCH: Statement = Statement::rows(
    "storing that fields are known of",
    "insert into known_field (tenant_id, account_id, tool, subject, field, value, ours, since_us, before)
     select $1, e.account_id, e.tool, e.subject, e.field, e.value, e.ours, e.since_us, '' from {rows} where true
     on conflict (tenant_id, account_id, tool, subject, field) do nothing",
    2,
    &[
        Col::Text("account_id"),
        Col::Text("tool"),
        Col::Text("subject"),
        Col::Text("field"),
        Col::Text("value"),
        Col::Int("ours"),
        Col::Int("since_us"),
    ],
);
pub(crate) static KNOWN: Statement = Statement::rows(
    "reading what is known of fields",
    "select k.account_id, k.tool, k.subject, k.field, k.value, k.ours, k.since_us, k.before
     from {rows} cross join known_field k where k.tenant_id = $1 and k.account_id = e.account_id
     order by k.account_id, k.tool, k.subject, k.field",
    2,
    &[Col::Text("account_id")],
);
pub(crate) static RECORD: Statement = Statement::rows(
    "storing conflicts",
    "insert into conflict (tenant_id, account_id, action_id, effect_id, object, record, field, known, theirs, ours, at_us)
     select $1, e.account_id, e.action_id, e.effect_id, e.object, e.record, e.field, e.known, e.theirs, e.ours, e.at_us
     from {rows} where true
     on conflict (tenant_id, account_id, effect_id, field) do update set object = excluded.object,
         record = excluded.record, known = excluded.known, theirs = excluded.theirs, ours = excluded.ours,
         at_us = excluded.at_us, resolution = null, person = null, resolved_us = null",
    2,
    &[
        Col::Text("account_id"),
        Col::Text("action_id"),
        Col::Text("effect_id"),
        Col::Text("object"),
        Col::Text("record"),
        Col::Text("field"),
        Col::Text("known"),
        Col::Text("theirs"),
        Col::Text("ours"),
        Col::Int("at_us"),
    ],
);
pub(crate) static SETTLE: Statement = Statement::same(
    "settling conflicts",
    "update conflict set resolution = $3, person = $4, resolved_us = $5
     where tenant_id = $1 and action_id = $2 and resolution is null",
);
pub(crate) static OVER: Statement = Statement::rows(
    "reading settled conflicts",
    "select c.effect_id, c.field, c.theirs from {rows} cross join conflict c
     where c.tenant_id = $1 and c.account_id = e.account_id and c.effect_id = e.effect_id and c.resolution = 'ours'",
    2,
    &[Col::Text("account_id"), Col::Text("effect_id")],
);
pub(crate) static OF_ACTION: Statement = Statement::same(
    "reading the conflicts of an action",
    "select account_id, action_id, effect_id, object, record, field, known, theirs, ours, at_us, resolution, person
     from conflict where tenant_id = $1 and action_id = $2 order by effect_id, field",
);
pub(crate) static PUT_IMAGES: Statement = Statement::rows(
    "storing what changes found",
    "insert into write_image (tenant_id, account_id, effect_id, at_us, body)
     select $1, e.account_id, e.effect_id, e.at_us, e.body from {rows} where true
     on conflict (tenant_id, account_id, effect_id) do update set at_us = excluded.at_us, body = excluded.body",
    2,
    &[
        Col::Text("account_id"),
        Col::Text("effect_id"),
        Col::Int("at_us"),
        Col::Text("body"),
    ],
);

#[cfg(test)]
pub(crate) static ALL: &[&Statement] = &[&LEARN, &WATCH, &KNOWN, &RECORD, &SETTLE, &OVER, &OF_ACTION, &PUT_IMAGES];

/// A value of a field that became known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Learned {
    /// In which system.
    pub tool: Crm,
    /// Of what: empty for the account itself, else the external id of the deal.
    pub subject: String,
    /// Field of the CRM.
    pub field: String,
    /// Value; empty for an empty field.
    pub value: String,
    /// Whether we wrote it.
    pub ours: bool,
}

/// What is known of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownField {
    /// Account.
    pub account: AccountId,
    /// The value, and who put it there.
    pub what: Learned,
    /// When it was first seen or written.
    pub since: Timestamp,
    /// The value that was known until then.
    pub before: String,
}

/// A field that somebody else changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConflictField {
    /// Field of the CRM.
    pub field: String,
    /// What the decision took it to hold; none where it was never known.
    pub known: Option<String>,
    /// What it holds; empty for nothing.
    pub theirs: String,
    /// What we would write.
    pub ours: String,
}

/// A conflict as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConflictRow {
    /// Account.
    pub account: AccountId,
    /// Action that waits for a person.
    pub action: ActionId,
    /// Effect that was not carried out.
    pub effect: EffectId,
    /// Object of the CRM.
    pub object: String,
    /// Record id there.
    pub record: String,
    /// The field and its values.
    pub field: ConflictField,
    /// When it was found.
    pub at: Timestamp,
    /// Whose value a person decided for: `ours` or `theirs`; none while nobody has.
    pub resolution: Option<String>,
    /// Who decided.
    pub person: Option<String>,
}

impl Store {
    /// What is known of the fields of some accounts.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn known_fields<'a>(&self, accounts: impl Iterator<Item = &'a AccountId>) -> Result<Vec<KnownField>> {
        let accounts: std::collections::BTreeSet<&str> = accounts.map(AccountId::as_str).collect();
        let rows = [Column::text(accounts.into_iter())];
        let rows = self.db.fetch(&KNOWN, args![self.tenant.0], Some(&rows)).await?;
        rows.iter().map(known).collect()
    }

    /// Stores what was read of fields.
    ///
    /// # Errors
    /// What writing brings.
    pub async fn learn_fields(&self, seen: &[(AccountId, Learned)], now: Timestamp) -> Result<()> {
        let mut tx = self.db.write(Durability::Normal).await?;
        let seen: Vec<_> = seen
            .iter()
            .map(|(account, learned)| (account.as_str(), learned, now.us()))
            .collect();
        put(&mut tx, &LEARN, self.tenant.0, &seen).await?;
        tx.commit().await
    }

    /// The values that people decided to write over, of some effects: effect, field, their value.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn decided_over<'a>(
        &self,
        effects: impl Iterator<Item = (&'a AccountId, &'a EffectId)>,
    ) -> Result<Vec<(EffectId, String, String)>> {
        let effects: Vec<(&AccountId, &EffectId)> = effects.collect();
        let rows = [
            Column::text(effects.iter().map(|(account, _)| account.as_str())),
            Column::text(effects.iter().map(|(_, effect)| effect.as_str())),
        ];
        let rows = self.db.fetch(&OVER, args![self.tenant.0], Some(&rows)).await?;
        rows.iter()
            .map(|row| Ok((EffectId::new(row.text(0)?), row.text(1)?, row.text(2)?)))
            .collect()
    }

    /// The conflicts of an action, settled ones too.
    ///
    /// # Errors
    /// What reading brings.
    pub async fn conflicts_of(&self, action: &ActionId) -> Result<Vec<ConflictRow>> {
        let args = args![self.tenant.0, action.as_str()];
        let rows = self.db.fetch(&OF_ACTION, args, None).await?;
        rows.iter()
            .map(|row| {
                Ok(ConflictRow {
                    account: AccountId::new(row.text(0)?),
                    action: ActionId::new(row.text(1)?),
                    effect: EffectId::new(row.text(2)?),
                    object: row.text(3)?,
                    record: row.text(4)?,
                    field: ConflictField {
                        field: row.text(5)?,
                        known: row.opt_text(6)?,
                        theirs: row.text(7)?,
                        ours: row.text(8)?,
                    },
                    at: time(row.int(9)?),
                    resolution: row.opt_text(10)?,
                    person: row.opt_text(11)?,
                })
            })
            .collect()
    }
}

fn known(row: &Row) -> Result<KnownField> {
    Ok(KnownField {
        account: AccountId::new(row.text(0)?),
        what: Learned {
            tool: word("CRM", &row.text(1)?, Crm::from_word)?,
            subject: row.text(2)?,
            field: row.text(3)?,
            value: row.text(4)?,
            ours: row.int(5)? == 1,
        },
        since: time(row.int(6)?),
        before: row.text(7)?,
    })
}

/// Stores what became known; of two values of one field the later one in the list.
pub(crate) async fn put(
    tx: &mut Tx<'_>,
    statement: &'static Statement,
    tenant: i64,
    learned: &[(&str, &Learned, i64)],
) -> Result<()> {
    let mut latest = BTreeMap::new();
    for (account, l, at) in learned {
        let key = (*account, l.tool.as_str(), l.subject.as_str(), l.field.as_str());
        latest.insert(key, (l.value.as_str(), l.ours, *at));
    }
    if latest.is_empty() {
        return Ok(());
    }
    let rows = [
        Column::text(latest.keys().map(|key| key.0)),
        Column::text(latest.keys().map(|key| key.1)),
        Column::text(latest.keys().map(|key| key.2)),
        Column::text(latest.keys().map(|key| key.3)),
        Column::text(latest.values().map(|value| value.0)),
        Column::int(latest.values().map(|value| i64::from(value.1))),
        Column::int(latest.values().map(|value| value.2)),
    ];
    tx.execute(statement, args![tenant], Some(&rows)).await?;
    Ok(())
}

/// What attempts learned.
pub(crate) async fn learn(tx: &mut Tx<'_>, tenant: i64, settled: &[(&EffectOutcome, String, i64)]) -> Result<()> {
    let (mut values, mut fields) = (Vec::new(), Vec::new());
    for (outcome, ..) in settled {
        let all = match &outcome.result {
            EffectResult::Conflict { .. } => &mut fields,
            EffectResult::Done(_)
            | EffectResult::Again { .. }
            | EffectResult::Unknown { .. }
            | EffectResult::NotNow { .. }
            | EffectResult::Withdrawn { .. }
            | EffectResult::Failed { .. } => &mut values,
        };
        for learned in &outcome.learned {
            all.push((outcome.account.as_str(), learned, outcome.at.us()));
        }
    }
    put(tx, &LEARN, tenant, &values).await?;
    put(tx, &WATCH, tenant, &fields).await
}

/// The conflicts that attempts met, and what changes found whose answers were lost.
pub(crate) async fn record(tx: &mut Tx<'_>, tenant: i64, settled: &[(&EffectOutcome, String, i64)]) -> Result<()> {
    let mut met = Vec::new();
    let mut images = Vec::new();
    for (outcome, action, _) in settled {
        match &outcome.result {
            EffectResult::Conflict {
                object, record, fields, ..
            } => met.extend(fields.iter().map(|field| (*outcome, action, object, record, field))),
            EffectResult::Unknown { image: Some(image), .. } => images.push((*outcome, image.as_str())),
            EffectResult::Done(_)
            | EffectResult::Again { .. }
            | EffectResult::Unknown { image: None, .. }
            | EffectResult::NotNow { .. }
            | EffectResult::Withdrawn { .. }
            | EffectResult::Failed { .. } => {}
        }
    }
    if !met.is_empty() {
        let rows = [
            Column::text(met.iter().map(|m| m.0.account.as_str())),
            Column::text(met.iter().map(|m| m.1.as_str())),
            Column::text(met.iter().map(|m| m.0.effect.as_str())),
            Column::text(met.iter().map(|m| m.2.as_str())),
            Column::text(met.iter().map(|m| m.3.as_str())),
            Column::text(met.iter().map(|m| m.4.field.as_str())),
            Column::opt_text(met.iter().map(|m| m.4.known.as_deref())),
            Column::text(met.iter().map(|m| m.4.theirs.as_str())),
            Column::text(met.iter().map(|m| m.4.ours.as_str())),
            Column::int(met.iter().map(|m| m.0.at.us())),
        ];
        tx.execute(&RECORD, args![tenant], Some(&rows)).await?;
    }
    if !images.is_empty() {
        let rows = [
            Column::text(images.iter().map(|(outcome, _)| outcome.account.as_str())),
            Column::text(images.iter().map(|(outcome, _)| outcome.effect.as_str())),
            Column::int(images.iter().map(|(outcome, _)| outcome.at.us())),
            Column::text(images.iter().map(|(_, image)| *image)),
        ];
        tx.execute(&PUT_IMAGES, args![tenant], Some(&rows)).await?;
    }
    Ok(())
}

/// What a person's decision about an action says about its conflicts: an approval writes ours, a rejection keeps theirs.
pub(crate) async fn settle(tx: &mut Tx<'_>, tenant: i64, action: &ActionId, approval: &ApprovalRow) -> Result<()> {
    let resolution = match approval.verb.as_str() {
        "approve" => "ours",
        "reject" => "theirs",
        _ => return Ok(()),
    };
    let (person, at) = (approval.person.as_str(), approval.at.us());
    tx.execute(&SETTLE, args![tenant, action.as_str(), resolution, person, at], None)
        .await?;
    Ok(())
}
