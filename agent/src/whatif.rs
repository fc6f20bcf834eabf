//! What other policies would have made of the past: stored decisions are made again from their inputs, under another
//! bundle, and what the two say of each action is compared.
//!
//! Where only files of the gate differ, the stored proposals are asked about again and nothing is decided anew: what is proposed does
//! not depend on the gate.
//!
//! Promises: nothing is written; the inputs are those that were stored, so what is found is what a run under the other
//! bundle would have come to at that time. Of several decisions about an account on one day the last one counts.
//!
//! Not here: whether a change is wide or narrow for all inputs there could be. That is proved, not replayed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::{TryStreamExt as _, stream};
use perennial_core::decide::{Decision, ENGINE, Inputs, decide, verdicts_again};
use perennial_core::ids::{AccountId, ActionId};
use perennial_core::policy::{Content, Level, Policies, Verdict};
use perennial_core::replay::{Hash, UnreadableText, read};
use perennial_core::time::{Day, Timestamp};
use perennial_store::{DecisionRow, Store, StoreError};
use serde::Serialize;
use tokio::sync::Mutex;

use crate::bundles::changed_files;

/// Accounts whose decisions are held at once.
const PAGE: u32 = 32;
/// Word for an action that one side does not propose.
pub const NOT_PROPOSED: &str = "not proposed";

/// Why stored decisions cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum WhatIfError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stored decision cannot be read.
    #[error(transparent)]
    Unreadable(#[from] UnreadableText),
    /// A thread ended before its time: a defect.
    #[error("a comparing thread stopped unexpectedly: run again, and report this if it happens again")]
    Stopped,
}

/// One action that other policies would have treated otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// About whom.
    pub account: AccountId,
    /// Which.
    pub action: ActionId,
    /// Playbook it comes from.
    pub playbook: String,
    /// What to do.
    pub title: String,
    /// Day it was decided for.
    pub day: Day,
    /// Verdict then: `auto`, `approve:csm` and so on, or `not proposed`.
    pub was: String,
    /// Verdict under the other policies.
    pub now: String,
    /// The decisive rule of the new verdict as `file:line`, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
}

/// How many changes go one way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Way {
    /// Verdict then.
    pub was: String,
    /// Verdict under the other policies.
    pub now: String,
    /// Actions.
    pub actions: u64,
}

/// What the approvals of a time would have been.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Load {
    /// Who approves.
    pub role: String,
    /// Actions that went to this role.
    pub was: u64,
    /// Actions that would have.
    pub now: u64,
}

/// What would have become of a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
pub struct Difference {
    /// Decisions that were looked at.
    pub decisions: u64,
    /// Of these, those that were made again from their inputs.
    pub replayed: u64,
    /// Of these, those whose stored proposals were asked about again: where only files of the gate changed, nothing else can
    /// differ.
    pub asked_again: u64,
    /// Actions that one side or both propose.
    pub actions: u64,
    /// Of these, those that would be treated otherwise.
    pub changed: u64,
    /// Accounts with at least one of these, and how many.
    pub accounts: BTreeMap<AccountId, u64>,
    /// By direction, the most frequent first.
    pub ways: Vec<Way>,
    /// Approvals by role.
    pub approvals: Vec<Load>,
    /// The first ones, by account and day.
    pub examples: Vec<Change>,
}

/// What each side says of one action.
struct Sides {
    playbook: String,
    title: String,
    day: Day,
    was: Option<Verdict>,
    now: Option<Verdict>,
}

type Actions = BTreeMap<ActionId, Sides>;

/// Makes the decisions since a time again, under `policies`; keeps so many examples.
///
/// # Errors
/// [`WhatIfError`].
pub async fn difference(
    store: &Store,
    since: Timestamp,
    (content, policies): (&Content, &Arc<Policies>),
    threads: usize,
    examples: usize,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<Difference, WhatIfError> {
    let pages = stream::try_unfold(None::<AccountId>, move |after| async move {
        let page = store.account_ids(after.as_ref(), PAGE).await?;
        let last = page.last().cloned();
        Ok::<_, WhatIfError>(last.map(|last| (page, Some(last))))
    });
    let gate_only: Mutex<BTreeMap<Hash, bool>> = Mutex::new(BTreeMap::new());
    let gate_only = &gate_only;
    let compared = pages
        .map_ok(|page| async move {
            let rows = store.decisions_since(&page, since).await?;
            let quick = quick(store, gate_only, &rows, content).await?;
            let policies = Arc::clone(policies);
            let work = tokio::task::spawn_blocking(move || compare(rows, &quick, &policies));
            work.await.map_err(|_| WhatIfError::Stopped)?
        })
        .try_buffered(threads.max(1));
    let mut compared = std::pin::pin!(compared);
    let mut found = Difference::default();
    let mut ways: BTreeMap<(String, String), u64> = BTreeMap::new();
    let mut load: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    while let Some(compared) = compared.try_next().await? {
        found.decisions += compared.decisions;
        found.replayed += compared.replayed;
        found.asked_again += compared.asked_again;
        for (account, actions) in compared.accounts {
            take_in(&mut found, &mut ways, &mut load, account, actions, examples);
        }
        progress(found.decisions);
    }
    found.ways = ways
        .into_iter()
        .map(|((was, now), actions)| Way { was, now, actions })
        .collect();
    found.ways.sort_by_key(|way| std::cmp::Reverse(way.actions));
    found.approvals = load
        .into_iter()
        .map(|(role, (was, now))| Load { role, was, now })
        .collect();
    Ok(found)
}

fn take_in(
    found: &mut Difference,
    ways: &mut BTreeMap<(String, String), u64>,
    load: &mut BTreeMap<String, (u64, u64)>,
    account: AccountId,
    actions: Actions,
    examples: usize,
) {
    let word = |verdict: Option<&Verdict>| verdict.map_or_else(|| NOT_PROPOSED.to_owned(), Verdict::word);
    let role = |verdict: Option<&Verdict>| {
        let asked = verdict.filter(|v| v.level == Level::Approve).and_then(|v| v.role);
        asked.map(|role| role.as_str().to_owned())
    };
    for (action, sides) in actions {
        found.actions += 1;
        if let Some(role) = role(sides.was.as_ref()) {
            load.entry(role).or_default().0 += 1;
        }
        if let Some(role) = role(sides.now.as_ref()) {
            load.entry(role).or_default().1 += 1;
        }
        let (was, now) = (word(sides.was.as_ref()), word(sides.now.as_ref()));
        if was == now {
            continue;
        }
        found.changed += 1;
        *found.accounts.entry(account.clone()).or_default() += 1;
        *ways.entry((was.clone(), now.clone())).or_default() += 1;
        if found.examples.len() < examples {
            let rule = sides.now.as_ref().and_then(|v| v.rules.first());
            found.examples.push(Change {
                account: account.clone(),
                action,
                playbook: sides.playbook,
                title: sides.title,
                day: sides.day,
                was,
                now,
                rule: rule.map(|rule| format!("{}:{}", rule.file, rule.line)),
            });
        }
    }
}

/// The policies among those of some decisions that differ from others in files of the gate only.
async fn quick(
    store: &Store,
    known: &Mutex<BTreeMap<Hash, bool>>,
    rows: &[DecisionRow],
    content: &Content,
) -> Result<BTreeSet<Hash>, WhatIfError> {
    let mut quick = BTreeSet::new();
    let mut known = known.lock().await;
    for hash in rows.iter().map(|row| row.content) {
        let gate_only = match known.get(&hash) {
            Some(gate_only) => *gate_only,
            None => {
                // Where the former texts are gone, nothing is known of what changed.
                let former = store.content(&hash).await?;
                let former: Option<Content> = former.map(|text| read("policies", &text)).transpose()?;
                let gate_only = former.is_some_and(|former| {
                    let changed = changed_files(&former, content);
                    let of_gate = |file: &String| file.strip_prefix("policies/").is_some_and(Decision::is_of_gate);
                    changed.iter().all(of_gate)
                });
                known.insert(hash, gate_only);
                gate_only
            }
        };
        if gate_only {
            quick.insert(hash);
        }
    }
    Ok(quick)
}

/// What a page of decisions came to.
#[derive(Default)]
struct Compared {
    decisions: u64,
    replayed: u64,
    asked_again: u64,
    accounts: BTreeMap<AccountId, Actions>,
}

/// Decisions of some accounts, by account what the two sides say. Those of policies that are `quick` are not made again.
fn compare(rows: Vec<DecisionRow>, quick: &BTreeSet<Hash>, policies: &Policies) -> Result<Compared, WhatIfError> {
    let mut compared = Compared {
        decisions: rows.len() as u64,
        ..Compared::default()
    };
    // The last of a day stands for it: the rows come in the order of their facts.
    let mut last: BTreeMap<(AccountId, Day), DecisionRow> = BTreeMap::new();
    for row in rows {
        last.insert((row.account.clone(), row.as_of.day()), row);
    }
    for ((account, day), row) in last {
        let actions = compared.accounts.entry(account).or_default();
        if row.engine == ENGINE && quick.contains(&row.content) {
            compared.asked_again += 1;
            let inputs = || Ok::<_, WhatIfError>(row.inputs.text()?);
            for again in verdicts_again(&row.output.text()?, inputs, policies)? {
                let sides = Sides {
                    playbook: again.playbook.as_str().to_owned(),
                    title: again.title,
                    day,
                    was: Some(again.was),
                    now: Some(again.now),
                };
                actions.insert(again.action, sides);
            }
            continue;
        }
        compared.replayed += 1;
        let stored: Decision = read("decision", &row.output.text()?)?;
        let mut inputs: Inputs = read("inputs", &row.inputs.text()?)?;
        inputs.content = policies.content;
        let again = decide(&inputs, policies);
        let ids: BTreeSet<&ActionId> = stored
            .proposals
            .iter()
            .chain(&again.proposals)
            .map(|p| &p.action)
            .collect();
        for id in ids {
            let was = stored.proposals.iter().find(|p| p.action == *id);
            let now = again.proposals.iter().find(|p| p.action == *id);
            let Some(either) = was.or(now) else { continue };
            let sides = Sides {
                playbook: either.playbook.as_str().to_owned(),
                title: either.title.clone(),
                day,
                was: was.map(|p| p.verdict.clone()),
                now: now.map(|p| p.verdict.clone()),
            };
            actions.insert(id.clone(), sides);
        }
    }
    Ok(compared)
}
