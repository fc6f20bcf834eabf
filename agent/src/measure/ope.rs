//! Pages through the accounts and lets core make the occasions of each from its logged actions.

use perennial_core::ope::{LeftOut, Occasion, complete_from, occasions};
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
