//! Pages through the accounts, lets core make the landmarks of each, and evaluates them.
//!
//! Promises: one page of accounts is in memory at a time, and beside it the landmarks: a few hundred bytes for each renewal
//! decision and lead.

use perennial_core::backtest::{Design, Finding, Landmark, LeakCheck, Report, Terms, evaluate, landmarks};
use perennial_core::ids::AccountId;
use perennial_core::policy::Policies;
use perennial_core::signal::Signal;
use perennial_core::time::{Day, Timestamp};
use perennial_store::{Store, StoreError};

/// How to back-test.
#[derive(Debug, Clone)]
pub struct BacktestOptions {
    /// Leads of the curve, in weeks; the main one is added.
    pub leads_weeks: Vec<i64>,
    /// Days of grace for a late renewal.
    pub grace_days: i64,
    /// Facts observed up to here.
    pub as_of: Timestamp,
    /// Fields that somebody vouches for.
    pub accepted: Vec<String>,
    /// How to evaluate.
    pub terms: Terms,
}

/// What came out.
#[derive(Debug, Clone)]
pub struct Backtest {
    /// Last day of the history.
    pub until: Day,
    /// Accounts looked at.
    pub accounts: u64,
    /// Fields that give the outcome away: while there are any, the figures mean nothing.
    pub leaks: Vec<Finding>,
    /// The figures.
    pub report: Report,
}

/// Why there is no back-test.
#[derive(Debug, thiserror::Error)]
pub enum BacktestError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nothing was imported.
    #[error("there are no accounts: import some first, for example `perennial import DIR --mapping FILE`")]
    Empty,
    /// The work was stopped from outside.
    #[error("a measuring thread stopped unexpectedly: run again, and report this if it happens again")]
    Stopped,
}

/// Runs the back-test.
///
/// # Errors
/// [`BacktestError`]. Too little history is no error: the report says so.
pub async fn backtest(
    store: &Store,
    policies: &Policies,
    page: u32,
    options: &BacktestOptions,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<Backtest, BacktestError> {
    let main = options.terms.lead_weeks;
    let leads = std::iter::once(main)
        .chain(options.leads_weeks.iter().copied())
        .collect();
    let back = look_back(
        store,
        policies,
        page,
        (leads, main, options.grace_days),
        options.as_of,
        progress,
    )
    .await?;
    let (risk, terms, found) = (policies.scoring.risk.clone(), options.terms, back.landmarks);
    let report = tokio::task::spawn_blocking(move || evaluate(&found, &risk, &terms))
        .await
        .map_err(|_| BacktestError::Stopped)?;
    Ok(Backtest {
        until: back.until,
        accounts: back.accounts,
        leaks: back.check.findings(&options.accepted),
        report,
    })
}

/// The renewals that have been decided, as they looked before.
pub struct LookBack {
    /// Last day of the history.
    pub until: Day,
    /// Accounts looked at.
    pub accounts: u64,
    /// Renewal decisions with what was known at each lead.
    pub landmarks: Vec<Landmark>,
    /// The search for fields that give the outcome away.
    pub check: LeakCheck,
}

/// Pages through the accounts and makes their landmarks. `leads` are all leads in weeks, the main one of them, and the days
/// of grace for a late renewal.
///
/// # Errors
/// [`BacktestError`].
pub async fn look_back(
    store: &Store,
    policies: &Policies,
    page: u32,
    leads: (Vec<i64>, i64, i64),
    as_of: Timestamp,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<LookBack, BacktestError> {
    let (until, accounts) = last_day(store, page, as_of).await?;
    let design = Design {
        leads_weeks: leads.0,
        main_lead_weeks: leads.1,
        grace_days: leads.2,
        until,
    };
    let (mut found, mut check): (Vec<Landmark>, LeakCheck) = (Vec::new(), LeakCheck::default());
    let (mut after, mut done) = (None, 0);
    while let Some(facts) = next_page(store, page, &mut after).await? {
        done += facts.len() as u64;
        // Deciding is work for a thread of its own; the policies stay where they are.
        let (settings, risk, design) = (policies.settings.clone(), policies.scoring.risk.clone(), design.clone());
        let page = tokio::task::spawn_blocking(move || {
            facts
                .iter()
                .flat_map(|(id, signals)| landmarks(id, signals, &design, &settings, &risk))
                .collect::<Vec<_>>()
        })
        .await
        .map_err(|_| BacktestError::Stopped)?;
        for mut landmark in page {
            check.take(&mut landmark);
            found.push(landmark);
        }
        progress(done);
    }
    Ok(LookBack {
        until,
        accounts,
        landmarks: found,
        check,
    })
}

/// Signals of a page of accounts, in the order of ids.
type Facts = Vec<(AccountId, Vec<Signal>)>;

async fn next_page(store: &Store, rows: u32, after: &mut Option<AccountId>) -> Result<Option<Facts>, StoreError> {
    let ids = store.account_ids(after.as_ref(), rows).await?;
    let Some(last) = ids.last().cloned() else {
        return Ok(None);
    };
    let mut signals = store.account_signals(&ids).await?;
    *after = Some(last);
    Ok(Some(
        ids.into_iter()
            .map(|id| {
                let signals = signals.remove(&id).unwrap_or_default();
                (id, signals)
            })
            .collect(),
    ))
}

/// The last day on which anything was observed, up to `as_of`: what lies after it is not known, whatever the clock says.
async fn last_day(store: &Store, page: u32, as_of: Timestamp) -> Result<(Day, u64), BacktestError> {
    let (mut after, mut accounts) = (None, 0);
    let mut last: Option<Timestamp> = None;
    while let Some(facts) = next_page(store, page, &mut after).await? {
        accounts += facts.len() as u64;
        let seen = facts.iter().flat_map(|(_, signals)| signals).map(|s| s.observed_at);
        last = seen.filter(|at| *at <= as_of).max().max(last);
    }
    last.map(|at| (at.day(), accounts)).ok_or(BacktestError::Empty)
}
