//! The order of work over the whole book: every action that could be done, as of a time, decided anew and written nowhere.
//!
//! Promises: the order is that of `core::rank`: what waiting loses a minute, the largest first; what cannot be valued last;
//! ties by id. Of an account only its rows are kept. Here stands no choice of its own: proposals and verdicts are those
//! that a run would make.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::StreamExt as _;
use perennial_core::action::ActionKind;
use perennial_core::candidate::EvidenceLine;
use perennial_core::decide::Proposal;
use perennial_core::feature::label;
use perennial_core::ids::{AccountId, ActionId, OwnerId, PlaybookId};
use perennial_core::money::Currency;
use perennial_core::number::Micro;
use perennial_core::policy::{Level, Policies};
use perennial_core::rank::order_of;
use perennial_core::time::{Day, Timestamp};
use perennial_store::Store;
use serde::Serialize;

use crate::config::Config;
use crate::cycle::{Considered, OwnActions, Pages, RunError, draw_chances};

/// One action with its place among all. Amounts are minor units of `currency`, the one that the policy compares accounts
/// in; `null` is not known.
#[derive(Debug, Clone, Serialize)]
pub struct RankedAction {
    /// Account.
    pub account: AccountId,
    /// What to do: the kind, a row of the autonomy table.
    pub action: ActionKind,
    /// Expected value if it is done now.
    pub value_minor: Option<i64>,
    /// Minutes of a person that the playbook takes.
    pub minutes: i64,
    /// Probability of not renewing that the value was computed from, 0 to 1.
    pub probability: Option<f64>,
    /// By how much the action is expected to lower that probability.
    pub uplift: Option<f64>,
    /// Chance with which its account's draw of the day takes it, 0 to 1, before the day's minutes: 1 where it needs no draw;
    /// `None` where it does not run by itself.
    pub propensity: Option<f64>,
    /// Place over the whole book, from 1; `None` where policy forbids it.
    pub rank: Option<u64>,
    /// Our person in charge.
    pub owner: Option<OwnerId>,
    /// Why, in sentences: cause, evidence, rule and verdict with file and line.
    pub reasons: Vec<String>,
    /// Id that a run would give it on that day.
    pub action_id: ActionId,
    /// Playbook it comes from.
    pub playbook: PlaybookId,
    /// What it is about.
    pub subject: String,
    /// What to do, to whom, by when.
    pub title: String,
    /// Account's name.
    pub account_name: String,
    /// Expected value if it is done at the next review instead.
    pub next_value_minor: Option<i64>,
    /// What waiting until the next review loses, major units a minute: the order.
    pub per_minute: Option<f64>,
    /// Currency of the amounts.
    pub currency: Currency,
    /// Yearly revenue.
    pub arr_minor: Option<i64>,
    /// What policy lets happen.
    pub level: Level,
    /// The same with the role that approves.
    pub verdict: String,
    /// By when.
    pub due: Day,
    /// The action of an earlier run that does the same and still waits.
    pub waiting: Option<ActionId>,
    /// The order, exactly.
    #[serde(skip)]
    per_minute_micro: Option<Micro>,
}

/// What to rank.
#[derive(Debug, Clone)]
pub struct RankOptions {
    /// Facts up to here.
    pub as_of: Timestamp,
    /// The past is asked about: how our own actions stood then is not known, so none of them counts.
    pub past: bool,
    /// Actions that policy forbids too, at the end and without a place.
    pub denied: bool,
}

/// All that could be done, in order.
#[derive(Debug, Clone)]
pub struct Ranking {
    /// Actions in their order; those that policy forbids last.
    pub actions: Vec<RankedAction>,
    /// Everybody who looks after an account, and everybody we have a record of, each also by name.
    pub people: BTreeSet<(OwnerId, Option<String>)>,
}

/// The actions of an account as rows without a place.
pub(crate) fn rows<'c>(
    considered: &'c Considered,
    policies: &Policies,
    denied: bool,
) -> impl Iterator<Item = RankedAction> + use<'c> {
    let proposals = considered.decision.proposals.iter();
    let base = policies.settings.base;
    let chances = draw_chances(&considered.decision, policies);
    proposals
        .filter(move |p| denied || p.verdict.level != Level::Never)
        .map(move |p| RankedAction {
            propensity: chances.get(&p.action).copied(),
            ..row(considered, p, base)
        })
}

fn row(considered: &Considered, proposal: &Proposal, base: Currency) -> RankedAction {
    let decision = &considered.decision;
    let worth = proposal.worth.as_ref();
    let probability = decision.scores.risk.probability_micro;
    let same = considered
        .open
        .iter()
        .filter(|p| p.playbook == proposal.playbook && p.subject == proposal.subject);
    RankedAction {
        account: decision.account.clone(),
        action: proposal.kind,
        value_minor: worth.map(|w| w.value_minor),
        minutes: worth.map_or(proposal.minutes, |w| w.minutes),
        probability: probability.map(Micro::to_f64),
        // Without a probability there is nothing that could fall.
        uplift: worth
            .filter(|w| w.risk_micro.is_some())
            .map(|w| w.risk_fall_micro.to_f64()),
        propensity: None,
        rank: None,
        owner: proposal.owner.clone(),
        reasons: reasons(proposal),
        action_id: proposal.action.clone(),
        playbook: proposal.playbook.clone(),
        subject: proposal.subject.clone(),
        title: proposal.title.clone(),
        account_name: considered.inputs.snapshot.name().trim().to_owned(),
        next_value_minor: worth.map(|w| w.next_minor),
        per_minute: worth.map(|w| w.per_minute_micro.to_f64()),
        currency: worth.map_or(base, |w| w.currency),
        arr_minor: decision.features.money("arr").map(|m| m.minor),
        level: proposal.verdict.level,
        verdict: proposal.verdict.word(),
        due: proposal.due,
        waiting: same.map(|p| p.action.clone()).min(),
        per_minute_micro: worth.map(|w| w.per_minute_micro),
    }
}

fn reasons(proposal: &Proposal) -> Vec<String> {
    let mut reasons = vec![proposal.because.clone()];
    if let Some(missing) = &proposal.worth_missing {
        reasons.push(format!("what it is worth cannot be said: {missing} is missing"));
    }
    reasons.extend(proposal.evidence.iter().map(evidence));
    reasons.push(format!(
        "playbook {}: its condition at {} holds",
        proposal.playbook, proposal.rule
    ));
    reasons.extend(proposal.verdict.rules.iter().map(|rule| {
        let verdict = proposal.verdict.word();
        format!("policy says {verdict}: {} ({}:{})", rule.why, rule.file, rule.line)
    }));
    reasons
}

fn evidence(line: &EvidenceLine) -> String {
    let fact = label(&line.fact);
    let Some(record) = line.records.first() else {
        return format!("{fact}: {}", line.value);
    };
    let more = match line.records_total.saturating_sub(1) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{fact}: {} (by {record}{more})", line.value)
}

/// Whether an action comes before another: what may happen before what may not, then the order of `core::rank`.
pub(crate) fn order(a: &RankedAction, b: &RankedAction) -> Ordering {
    let denied = |r: &RankedAction| r.level == Level::Never;
    denied(a)
        .cmp(&denied(b))
        .then_with(|| order_of((a.per_minute_micro, &a.action_id), (b.per_minute_micro, &b.action_id)))
}

/// Sorts actions and gives each its place.
pub(crate) fn place(actions: &mut [RankedAction]) {
    actions.sort_by(order);
    for (at, action) in (1..).zip(actions.iter_mut()) {
        action.rank = (action.level != Level::Never).then_some(at);
    }
}

/// Ranks the whole book. Writes nothing; `progress` is told how many accounts have been decided.
///
/// # Errors
/// [`RunError`], and [`RunError::Empty`] where there are no accounts.
pub async fn rank(
    config: &Config,
    store: &Store,
    policies: &Arc<Policies>,
    options: &RankOptions,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<Ranking, RunError> {
    let own = if options.past {
        OwnActions::None
    } else {
        OwnActions::Ended
    };
    let pages = Pages::open(config, store, policies, &[options.as_of], own).await?;
    let denied = options.denied;
    let shared = Arc::clone(policies);
    let decided = pages.decide(store, move |_, at_all_times| {
        let considered = at_all_times.next().filter(Considered::is_known)?;
        let rows: Vec<RankedAction> = rows(&considered, &shared, denied).collect();
        Some((considered.decision.owner, rows))
    });
    let mut decided = std::pin::pin!(decided);
    let (mut actions, mut owners, mut accounts) = (Vec::new(), BTreeSet::new(), 0);
    while let Some(page) = decided.next().await {
        let page = page?;
        accounts += page.len() as u64;
        for (owner, rows) in page.into_iter().flatten() {
            owners.extend(owner);
            actions.extend(rows);
        }
        progress(accounts);
    }
    if accounts == 0 {
        return Err(RunError::Empty);
    }
    place(&mut actions);
    let portfolio = pages.portfolio();
    owners.extend(portfolio.owners.keys().map(OwnerId::new));
    let named = |id: OwnerId| {
        let name = portfolio.owners.get(id.as_str()).and_then(|o| o.name.clone());
        (id, name)
    };
    Ok(Ranking {
        actions,
        people: owners.into_iter().map(named).collect(),
    })
}
