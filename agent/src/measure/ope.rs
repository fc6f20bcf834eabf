//! Pages through the accounts and lets core make the occasions of each from its logged actions.

use std::collections::BTreeSet;

use perennial_core::ids::AccountId;
use perennial_core::ope::{Choice, LeftOut, Occasion, OwnLeftOut, complete_from, occasions, own_choices};
use perennial_core::policy::Policies;
use perennial_core::signal::FactKind;
use perennial_core::snapshot::Snapshot;
use perennial_core::time::{Day, Timestamp};
use perennial_store::Store;

use super::backtest::{BacktestError, last_day, next_page};

/// What the log holds.
#[derive(Debug, Clone)]
pub struct ActionLog {
    /// Last day of the history.
    pub until: Day,
    /// Day from which on occasions count; `None` where every logged action was executed.
    pub from: Option<Day>,
    /// Accounts looked at.
    pub accounts: u64,
    /// Occasions that can be used.
    pub occasions: Vec<Occasion>,
    /// Those that cannot.
    pub left_out: LeftOut,
}

/// What our own log of choices holds.
#[derive(Debug, Clone)]
pub struct OwnLog {
    /// Last day of the history.
    pub until: Day,
    /// First day of a logged choice.
    pub from: Option<Day>,
    /// Accounts looked at.
    pub accounts: u64,
    /// Choices that can be used.
    pub choices: Vec<Choice>,
    /// Those that cannot.
    pub left_out: OwnLeftOut,
}

/// Reads our own log of choices, from `from` on.
///
/// # Errors
/// [`BacktestError`].
pub async fn own_log(
    store: &Store,
    policies: &Policies,
    page: u32,
    as_of: Timestamp,
    from: Option<Day>,
) -> Result<OwnLog, BacktestError> {
    let (until, accounts) = last_day(store, page, as_of).await?;
    let (mut found, mut left_out, mut first) = (Vec::new(), OwnLeftOut::default(), None);
    let mut after = None;
    while let Some(facts) = next_page(store, page, &mut after).await? {
        let ids: BTreeSet<&AccountId> = facts.iter().map(|(id, _)| id).collect();
        let begin = from.unwrap_or(Day::from_number(0));
        let log = store.choices_of(&ids, begin, as_of.day().plus(1)).await?;
        first = first.into_iter().chain(log.iter().map(|c| c.day)).min();
        for (id, signals) in facts {
            let of_account: Vec<_> = log.iter().filter(|c| c.account == id).cloned().collect();
            if of_account.is_empty() {
                continue;
            }
            let kept = signals
                .into_iter()
                .filter(|s| s.observed_at <= as_of && s.fact.kind() == FactKind::Movement);
            let snapshot = Snapshot::of(id, as_of, kept.collect(), Vec::new(), policies.settings.usage_days);
            let (list, out) = own_choices(&snapshot, &policies.settings, &of_account, until);
            found.extend(list);
            left_out.add(out);
        }
    }
    Ok(OwnLog {
        until,
        from: first,
        accounts,
        choices: found,
        left_out,
    })
}

/// Reads the log of actions of all accounts, from `from` on; by default from the first day on which an action was logged
/// that was not executed.
///
/// # Errors
/// [`BacktestError`].
pub async fn action_log(
    store: &Store,
    policies: &Policies,
    page: u32,
    as_of: Timestamp,
    from: Option<Day>,
) -> Result<ActionLog, BacktestError> {
    let (until, accounts) = last_day(store, page, as_of).await?;
    let mut snapshots = Vec::new();
    let mut after = None;
    while let Some(facts) = next_page(store, page, &mut after).await? {
        for (id, signals) in facts {
            // Actions and revenue are all that is asked for, and a small part of what there is.
            let kept = signals.into_iter().filter(|s| {
                s.observed_at <= as_of && matches!(s.fact.kind(), FactKind::Treatment | FactKind::Movement)
            });
            let snapshot = Snapshot::of(id, as_of, kept.collect(), Vec::new(), policies.settings.usage_days);
            if !snapshot.treatments.is_empty() {
                snapshots.push(snapshot);
            }
        }
    }
    let from = from.or_else(|| snapshots.iter().filter_map(complete_from).min());
    let (mut found, mut left_out) = (Vec::new(), LeftOut::default());
    if let Some(from) = from {
        for snapshot in &snapshots {
            let (list, out) = occasions(snapshot, &policies.settings, from, until);
            found.extend(list);
            left_out.before += out.before;
            left_out.too_recent += out.too_recent;
            left_out.no_revenue += out.no_revenue;
            left_out.incomplete += out.incomplete;
        }
    }
    Ok(ActionLog {
        until,
        from,
        accounts,
        occasions: found,
        left_out,
    })
}
