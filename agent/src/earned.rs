//! Earned autonomy as a deed: cells of the table are looked at, promotions proposed and taken back, and people say yes or no to them.
//!
//! Promises: nothing is promoted without a person who may; each change stands in the ledger, with the figures it was judged by.

use std::collections::BTreeMap;

use perennial_core::approval::Person;
use perennial_core::earned::{
    Ended, Finding, Judged, Promotion, Segment, Standing, in_force, judge, measure, with_kind,
};
use perennial_core::policy::Policies;
use perennial_core::policy::gate::{Cell, Earning};
use perennial_core::replay::{Hash, canonical};
use perennial_core::signal::{OwnerRole, Tier};
use perennial_core::time::Timestamp;
use perennial_store::{LedgerDraft, PromotionRow, Store, StoreError};

/// Actions of a tier that are looked at, the newest first.
const ENDED_MAX: u32 = 20_000;
/// Days that figures are shown of where nothing is to be earned.
const SHOWN_DAYS: i64 = 90;

/// Why a promotion did not change.
#[derive(Debug, thiserror::Error)]
pub enum EarnedError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The table has nothing to earn there.
    #[error("there is nothing to earn for `{0}`: its cell in autonomy.toml does not say `if earned`")]
    NotEarnable(Segment),
    /// It stands elsewhere.
    #[error("the promotion of `{segment}` is {standing}; {verb} needs one that is {needs}")]
    Standing {
        /// Of what.
        segment: Segment,
        /// Where it stands.
        standing: Standing,
        /// What was tried.
        verb: &'static str,
        /// What it would have to be.
        needs: Standing,
    },
    /// What it was proposed for does not hold any more.
    #[error("`{segment}` is not earned any more: {}", missing.join("; "))]
    NotMet {
        /// Of what.
        segment: Segment,
        /// What is missing.
        missing: Vec<String>,
    },
    /// The person's own roles do not suffice.
    #[error(
        "{person} may not do this: {verb} `{segment}` needs the role {needed} or one that includes it, and lent roles do not count"
    )]
    Role {
        /// Who tried.
        person: String,
        /// What was tried.
        verb: &'static str,
        /// Of what.
        segment: Segment,
        /// The least role.
        needed: OwnerRole,
    },
    /// A reason is missing.
    #[error("give a --reason: whoever asks later why it was {0} wants to know")]
    Reason(&'static str),
    /// Somebody else changed it at the same moment.
    #[error("the promotion of `{0}` changed at the same moment; look at it again")]
    Stale(Segment),
}

/// What a person says about a promotion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saying {
    /// Yes to what is proposed.
    Grant,
    /// No to what is proposed.
    Refuse,
    /// No longer to what is in force.
    Withdraw,
}

impl Saying {
    fn words(self) -> (&'static str, &'static str, Standing, Standing) {
        match self {
            Saying::Grant => ("granting", "granted", Standing::Proposed, Standing::Granted),
            Saying::Refuse => ("refusing", "refused", Standing::Proposed, Standing::Refused),
            Saying::Withdraw => ("withdrawing", "withdrawn", Standing::Granted, Standing::Withdrawn),
        }
    }
}

/// A cell of the table, with what became of its actions.
#[derive(Debug, Clone)]
pub struct Looked {
    /// Which.
    pub segment: Segment,
    /// How it is earned; none where the table has nothing to earn there.
    pub earning: Option<Earning>,
    /// Where its promotion stands.
    pub promotion: Promotion,
    /// The row behind it.
    pub row: Option<PromotionRow>,
    /// What was counted, and what follows.
    pub judged: Judged,
}

/// A change that the engine made by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Of what.
    pub segment: Segment,
    /// Where it stands now.
    pub standing: Standing,
    /// Why, in words.
    pub why: String,
}

impl Moved {
    /// The change as people read it.
    #[must_use]
    pub fn sentence(&self) -> String {
        let Segment { action, tier } = self.segment;
        match self.standing {
            Standing::Proposed => format!("`{action}` for {tier} accounts has earned a promotion: {}", self.why),
            Standing::Demoted => format!(
                "`{action}` for {tier} accounts is demoted and asks people again: {}",
                self.why
            ),
            Standing::Open => format!(
                "the promotion of `{action}` for {tier} accounts is not proposed any more: {}",
                self.why
            ),
            Standing::Granted | Standing::Refused | Standing::Withdrawn => {
                format!(
                    "the promotion of `{action}` for {tier} accounts is {}: {}",
                    self.standing, self.why
                )
            }
        }
    }
}

/// What is promoted and may count by these policies.
///
/// # Errors
/// What reading brings.
pub(crate) async fn promoted(store: &Store, policies: &Policies) -> Result<Vec<Segment>, StoreError> {
    let earned = &policies.gate.table().earned;
    if earned.is_empty() {
        return Ok(Vec::new());
    }
    Ok(in_force(&store.standings().await?, earned))
}

/// What waits for a person to grant or refuse it, as sentences.
///
/// # Errors
/// What reading brings.
pub async fn waiting(store: &Store) -> Result<Vec<String>, StoreError> {
    let rows = store.promotions().await?;
    let proposed = rows
        .into_iter()
        .filter(|row| row.promotion.standing == Standing::Proposed);
    let sentences = proposed.map(|row| {
        let Segment { action, tier } = row.segment;
        format!(
            "a promotion waits for a person: `{action}` for {tier} accounts, since {}; perennial autonomy grant {action} {tier}",
            row.promotion.since
        )
    });
    Ok(sentences.collect())
}

/// Looks at every cell that can be earned, and moves what has to move: proposes, takes a proposal back, and demotes. What the policies
/// do not have any more ends. Says what it moved.
///
/// # Errors
/// What the database brings; what was moved before stands.
pub async fn review(store: &Store, policies: &Policies, now: Timestamp) -> Result<Vec<Moved>, StoreError> {
    let earned = &policies.gate.table().earned;
    let rows = stored(store).await?;
    let (mut moved, mut past) = (Vec::new(), Past::default());
    for (segment, row) in &rows {
        let held = matches!(row.promotion.standing, Standing::Proposed | Standing::Granted);
        if held && !earned.contains_key(&(segment.action, segment.tier)) {
            let why = "the policies have nothing to earn there any more".to_owned();
            moved.extend(
                shift(
                    store,
                    policies,
                    row.promotion,
                    (*segment, Standing::Withdrawn, why),
                    &row.figures,
                    now,
                )
                .await?,
            );
        }
    }
    for ((action, tier), earning) in earned {
        let segment = Segment {
            action: *action,
            tier: *tier,
        };
        let promotion = rows.get(&segment).map_or(Promotion::NEW, |row| row.promotion);
        let ended = past.of(store, segment, earning.window_days, now).await?;
        let judged = judge(earning, promotion, &ended, now);
        let (to, why) = match &judged.finding {
            Finding::Stays => continue,
            Finding::Propose => {
                let figures = &judged.figures;
                let why = format!("{} of {} approved unedited", figures.unedited, figures.decided);
                (Standing::Proposed, why)
            }
            Finding::Lapse => (Standing::Open, judged.missing.join("; ")),
            Finding::Demote(why) => (Standing::Demoted, why.clone()),
        };
        moved.extend(shift(store, policies, promotion, (segment, to, why), &judged.figures, now).await?);
    }
    for change in &moved {
        tracing::info!(standing = %change.standing, segment = %change.segment, "promotion");
    }
    Ok(moved)
}

/// Whether one of these changes alters what may run by itself.
pub(crate) fn alters(moved: &[Moved]) -> bool {
    moved
        .iter()
        .any(|change| matches!(change.standing, Standing::Demoted | Standing::Withdrawn))
}

async fn stored(store: &Store) -> Result<BTreeMap<Segment, PromotionRow>, StoreError> {
    Ok(store
        .promotions()
        .await?
        .into_iter()
        .map(|row| (row.segment, row))
        .collect())
}

/// What has ended, each tier read once, as far back as is asked for.
#[derive(Default)]
struct Past {
    tiers: BTreeMap<Tier, (i64, Vec<Ended>)>,
}

impl Past {
    /// What has ended in a cell within some days at the least.
    async fn of(
        &mut self,
        store: &Store,
        segment: Segment,
        days: i64,
        now: Timestamp,
    ) -> Result<Vec<Ended>, StoreError> {
        let read = self.tiers.get(&segment.tier).is_some_and(|(read, _)| *read >= days);
        if !read {
            let ended = store
                .ended_actions(segment.tier, now.plus_days(-days), ENDED_MAX)
                .await?;
            self.tiers.insert(segment.tier, (days, ended));
        }
        let all = self.tiers.get(&segment.tier).map_or(&[][..], |(_, ended)| ended);
        Ok(with_kind(all, segment.action))
    }
}

/// Moves a promotion by the engine's own judgement.
async fn shift(
    store: &Store,
    policies: &Policies,
    from: Promotion,
    (segment, to, why): (Segment, Standing, String),
    figures: &perennial_core::earned::Figures,
    now: Timestamp,
) -> Result<Option<Moved>, StoreError> {
    let row = PromotionRow {
        segment,
        promotion: from.becomes(to, now),
        person: None,
        reason: Some(why.clone()),
        content: policies.content,
        figures: *figures,
    };
    let kind = match to {
        Standing::Proposed => "promotion_proposed",
        Standing::Open => "promotion_lapsed",
        Standing::Demoted => "demoted",
        Standing::Granted | Standing::Refused | Standing::Withdrawn => "promotion_ended",
    };
    let done = store.change_promotion(from, &row, &entry(kind, policies, &row)).await?;
    let standing = to;
    Ok(done.then_some(Moved { segment, standing, why }))
}

/// Why the engine moved it stands in the entry in its own words; of a person's reason the ledger keeps the hash alone.
fn entry(kind: &str, policies: &Policies, row: &PromotionRow) -> LedgerDraft {
    let table = policies.gate.table();
    let earning = table.earned.get(&(row.segment.action, row.segment.tier));
    let mut body = serde_json::json!({
        "content": row.content,
        "figures": row.figures,
        "standing": row.promotion.standing,
    });
    if let Some(earning) = earning {
        body["rule"] = serde_json::json!(format!("{}:{}", table.file, earning.line));
    }
    match (&row.person, &row.reason) {
        (Some(person), reason) => {
            body["by"] = serde_json::json!(person);
            body["reason"] = serde_json::json!(Hash::of(reason.as_deref().unwrap_or_default().as_bytes()));
        }
        (None, Some(why)) => body["why"] = serde_json::json!(why),
        (None, None) => {}
    }
    LedgerDraft {
        kind: kind.to_owned(),
        reference: row.segment.to_string(),
        body: canonical(&body),
    }
}

/// A person grants, refuses or withdraws a promotion. A grant is judged again: what is not met any more is not granted.
///
/// # Errors
/// [`EarnedError`]; nothing changes then.
pub async fn say(
    store: &Store,
    policies: &Policies,
    (segment, saying): (Segment, Saying),
    person: &Person,
    reason: &str,
    now: Timestamp,
) -> Result<PromotionRow, EarnedError> {
    let (verb, done, needs, to) = saying.words();
    let table = policies.gate.table();
    let at = (segment.action, segment.tier);
    let earning = table.earned.get(&at).ok_or(EarnedError::NotEarnable(segment))?;
    // Taking back is for everybody who could approve one of them.
    let needed = match (saying, table.cells.get(&at).map(|cell| cell.value)) {
        (Saying::Withdraw, Some(Cell::EarnedElse(role))) => role,
        (Saying::Grant | Saying::Refuse | Saying::Withdraw, _) => earning.by,
    };
    if !person.roles.iter().any(|role| table.vocabulary.covers(*role, needed)) {
        return Err(EarnedError::Role {
            person: person.id.clone(),
            verb,
            segment,
            needed,
        });
    }
    let reason = reason.trim();
    if reason.is_empty() && saying != Saying::Grant {
        return Err(EarnedError::Reason(done));
    }
    let promotion = stored(store)
        .await?
        .get(&segment)
        .map_or(Promotion::NEW, |row| row.promotion);
    if promotion.standing != needs {
        return Err(EarnedError::Standing {
            segment,
            standing: promotion.standing,
            verb,
            needs,
        });
    }
    let ended = Past::default().of(store, segment, earning.window_days, now).await?;
    let judged = judge(earning, promotion, &ended, now);
    if saying == Saying::Grant && !judged.missing.is_empty() {
        let missing = judged.missing;
        return Err(EarnedError::NotMet { segment, missing });
    }
    let row = PromotionRow {
        segment,
        promotion: promotion.becomes(to, now),
        person: Some(person.id.clone()),
        reason: (!reason.is_empty()).then(|| reason.to_owned()),
        content: policies.content,
        figures: judged.figures,
    };
    let kind = format!("promotion_{done}");
    if store
        .change_promotion(promotion, &row, &entry(&kind, policies, &row))
        .await?
    {
        return Ok(row);
    }
    Err(EarnedError::Stale(segment))
}

/// Every cell in which something ended lately or something can be earned, by kind and tier. Writes nothing.
///
/// # Errors
/// What reading brings.
pub async fn look(store: &Store, policies: &Policies, now: Timestamp) -> Result<Vec<Looked>, StoreError> {
    let table = policies.gate.table();
    let mut rows = stored(store).await?;
    let (mut all, mut past) = (Vec::new(), Past::default());
    for (action, tier) in table.cells.keys() {
        let segment = Segment {
            action: *action,
            tier: *tier,
        };
        let row = rows.remove(&segment);
        let promotion = row.as_ref().map_or(Promotion::NEW, |row| row.promotion);
        let earning = table.earned.get(&(*action, *tier)).cloned();
        let days = earning.as_ref().map_or(SHOWN_DAYS, |earning| earning.window_days);
        let ended = past.of(store, segment, days, now).await?;
        let judged = match &earning {
            Some(earning) => judge(earning, promotion, &ended, now),
            None => Judged {
                figures: measure(&ended, now.plus_days(-days)),
                missing: Vec::new(),
                finding: Finding::Stays,
            },
        };
        if earning.is_some() || row.is_some() || judged.figures.ended > 0 {
            all.push(Looked {
                segment,
                earning,
                promotion,
                row,
                judged,
            });
        }
    }
    Ok(all)
}
