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

/// What the history holds to measure on.
#[derive(Debug, Clone)]
pub struct Gathered {
    /// Last day of the history.
    pub until: Day,
    /// Accounts looked at.
    pub accounts: u64,
    /// Fields that give the outcome away.
    pub leaks: Vec<Finding>,
    /// Every renewal decision with full follow-up, by account.
    pub landmarks: Vec<Landmark>,
}

/// Which landmarks to make.
#[derive(Debug, Clone)]
pub struct GatherOptions {
    /// Leads in weeks; the main one is added.
    pub leads_weeks: Vec<i64>,
    /// Lead whose landmarks are searched for leaks.
    pub main_lead_weeks: i64,
    /// Days of grace for a late renewal.
    pub grace_days: i64,
    /// Facts observed up to here.
    pub as_of: Timestamp,
    /// Fields that somebody vouches for.
    pub accepted: Vec<String>,
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
    let wanted = GatherOptions {
        leads_weeks: options.leads_weeks.clone(),
        main_lead_weeks: options.terms.lead_weeks,
        grace_days: options.grace_days,
        as_of: options.as_of,
        accepted: options.accepted.clone(),
    };
    let gathered = gather(store, policies, page, &wanted, progress).await?;
    let (risk, terms) = (policies.scoring.risk.clone(), options.terms);
    let found = gathered.landmarks;
    let report = tokio::task::spawn_blocking(move || evaluate(&found, &risk, &terms))
        .await
        .map_err(|_| BacktestError::Stopped)?;
    Ok(Backtest {
        until: gathered.until,
        accounts: gathered.accounts,
        leaks: gathered.leaks,
        report,
    })
}

/// Makes the landmarks of all accounts and searches them for leaks.
///
/// # Errors
/// [`BacktestError`].
pub async fn gather(
    store: &Store,
    policies: &Policies,
    page: u32,
    options: &GatherOptions,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<Gathered, BacktestError> {
    let (until, accounts) = last_day(store, page, options.as_of).await?;
    let design = Design {
        leads_weeks: std::iter::once(options.main_lead_weeks)
            .chain(options.leads_weeks.iter().copied())
            .collect(),
        main_lead_weeks: options.main_lead_weeks,
        grace_days: options.grace_days,
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
    Ok(Gathered {
        until,
        accounts,
        leaks: check.findings(&options.accepted),
        landmarks: found,
    })
}

/// Signals of a page of accounts, in the order of ids.
pub(super) type Facts = Vec<(AccountId, Vec<Signal>)>;

pub(super) async fn next_page(
    store: &Store,
    rows: u32,
    after: &mut Option<AccountId>,
) -> Result<Option<Facts>, StoreError> {
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
pub(super) async fn last_day(store: &Store, page: u32, as_of: Timestamp) -> Result<(Day, u64), BacktestError> {
    let (mut after, mut accounts) = (None, 0);
    let mut last: Option<Timestamp> = None;
    while let Some(facts) = next_page(store, page, &mut after).await? {
        accounts += facts.len() as u64;
        let seen = facts.iter().flat_map(|(_, signals)| signals).map(|s| s.observed_at);
        last = seen.filter(|at| *at <= as_of).max().max(last);
    }
    last.map(|at| (at.day(), accounts)).ok_or(BacktestError::Empty)
}
