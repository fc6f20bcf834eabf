//! The whole book, page by page: what is known of each account, and what follows from it, at one time or at several.
//!
//! Every command that decides takes this way: a run commits what it is given, others keep a few numbers of it.
//!
//! Promises: an account's signals are read once, however many times are asked about; nothing is written; no more than
//! some pages are held at once, whatever the caller keeps. What is decided as of a time depends on nothing that was first
//! known later.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use perennial_core::action::ActionState;
use perennial_core::decide::{Decision, Inputs, decide};
use perennial_core::detect::Peers;
use perennial_core::earned::Segment;
use perennial_core::feature::{self, Feeds};
use perennial_core::ids::{AccountId, ActionId, TenantId};
use perennial_core::number::Micro;
use perennial_core::play::Asked;
use perennial_core::policy::Policies;
use perennial_core::score::{BAND_WEEKS, computed_health, settles};
use perennial_core::signal::{Crm, Signal};
use perennial_core::snapshot::{Portfolio, PriorAction, Snapshot};
use perennial_core::time::Timestamp;
use perennial_store::{Store, StoreError};

use super::{RunError, feeds, peers};
use crate::config::Config;
use crate::plays::{self, RunningPlay};

/// Accounts whose signals are read at once at the least.
const PAGE_MIN: u32 = 16;

/// Which of our own earlier actions the accounts have seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OwnActions {
    /// All, as they stand now: what is open is not proposed again.
    AsTheyStand,
    /// Those that have ended: what still waits takes part with what is new.
    Ended,
    /// None: how an action stood in the past is not known today, only how it stands now.
    None,
}

/// An account at one time.
pub(crate) struct Considered {
    /// What was known.
    pub(crate) inputs: Inputs,
    /// What follows.
    pub(crate) decision: Decision,
    /// Our actions that are open and were left out of the inputs.
    pub(crate) open: Arc<Vec<PriorAction>>,
    /// Our actions of the same day that wait and are not proposed any more.
    pub(crate) gone: Vec<ActionId>,
    /// When something that is stored becomes known, later on the day; only for the last of the times.
    pub(crate) next: Option<Timestamp>,
}

impl Considered {
    /// Whether the account's own record was known by then; without it there is no account yet.
    pub(crate) fn is_known(&self) -> bool {
        self.inputs.snapshot.account.is_some()
    }
}

/// The same for every account at one time.
#[derive(Clone)]
struct Moment {
    as_of: Timestamp,
    portfolio: Arc<Portfolio>,
    peers: Peers,
    feeds: Feeds,
}

/// What we did and do with an account.
struct Own {
    earlier: Vec<PriorAction>,
    plays: Vec<RunningPlay>,
}

struct Shared {
    tenant: TenantId,
    default_crm: Crm,
    our_name: Option<String>,
    policies: Arc<Policies>,
    own: OwnActions,
    /// What people have promoted; nothing where our own actions do not count.
    promoted: Vec<Segment>,
    moments: Vec<Moment>,
    /// An account is looked at as of the last moment at which something became known of it.
    live: bool,
}

/// The book, ready to be gone through.
pub(crate) struct Pages {
    shared: Arc<Shared>,
    /// Accounts whose use makes the index of peers.
    peer_accounts: Arc<BTreeSet<AccountId>>,
    /// Accounts of a page.
    size: u32,
    /// Pages that are read and decided at once.
    ahead: usize,
}

impl Pages {
    /// Prepares the times: our people and products, and what peers did, as known by each.
    pub(crate) async fn open(
        config: &Config,
        store: &Store,
        policies: &Arc<Policies>,
        times: &[Timestamp],
        own: OwnActions,
    ) -> Result<Pages, StoreError> {
        let batch = config.limits.accounts_per_batch.max(1);
        let people = store.portfolio_signals().await?;
        let peers = peers::peers(store, policies, times, batch).await?;
        let feeds = feeds::feeds(store, policies, times).await?;
        let promoted = match own {
            OwnActions::None => Vec::new(),
            OwnActions::AsTheyStand | OwnActions::Ended => crate::earned::promoted(store, policies).await?,
        };
        let moments = times
            .iter()
            .zip(peers.indices)
            .zip(feeds)
            .map(|((as_of, peers), feeds)| Moment {
                as_of: *as_of,
                portfolio: Arc::new(Portfolio::of(*as_of, people.clone())),
                peers,
                feeds,
            });
        let times = u32::try_from(times.len()).unwrap_or(u32::MAX).max(1);
        Ok(Pages {
            shared: Arc::new(Shared {
                tenant: store.tenant(),
                default_crm: config.default_crm,
                our_name: config.our_name.clone(),
                policies: Arc::clone(policies),
                own,
                promoted,
                moments: moments.collect(),
                live: false,
            }),
            peer_accounts: Arc::new(peers.accounts),
            // What is kept of an account grows with the times.
            size: (batch / times).max(PAGE_MIN.min(batch)),
            ahead: config.limits.decide_threads(),
        })
    }

    /// The same book at the present: each account as of the last moment at which something became known of it, on the
    /// day of `now`, which must be that of the last of the times.
    pub(crate) fn live(&self, now: Timestamp) -> Pages {
        let shared = &self.shared;
        let moments = shared.moments.iter().map(|m| Moment {
            as_of: now,
            ..m.clone()
        });
        Pages {
            shared: Arc::new(Shared {
                tenant: shared.tenant,
                default_crm: shared.default_crm,
                our_name: shared.our_name.clone(),
                policies: Arc::clone(&shared.policies),
                own: shared.own,
                promoted: shared.promoted.clone(),
                moments: moments.collect(),
                live: true,
            }),
            peer_accounts: Arc::clone(&self.peer_accounts),
            size: self.size,
            ahead: self.ahead,
        }
    }

    /// Whether an account's use is in the index of peers.
    pub(super) fn is_peer(&self, account: &AccountId) -> bool {
        self.peer_accounts.contains(account)
    }

    /// What peers did, at the last of the times.
    pub(super) fn peers(&self) -> Option<&Peers> {
        self.shared.moments.last().map(|m| &m.peers)
    }

    /// When the sources last delivered, at the last of the times.
    pub(super) fn feeds(&self) -> Option<&Feeds> {
        self.shared.moments.last().map(|m| &m.feeds)
    }

    /// What people have promoted.
    pub(super) fn promoted(&self) -> &[Segment] {
        &self.shared.promoted
    }

    /// Our people and products as of the last of the times.
    pub(crate) fn portfolio(&self) -> Arc<Portfolio> {
        self.shared
            .moments
            .last()
            .map(|m| Arc::clone(&m.portfolio))
            .unwrap_or_default()
    }

    /// Goes through all accounts in the order of their ids. `keep` is given one account at all times, in their order,
    /// each of them made when it is asked for, on one of several threads; what it gives comes back in the order of
    /// accounts.
    pub(crate) fn decide<'s, T, K>(
        &'s self,
        store: &'s Store,
        keep: K,
    ) -> impl Stream<Item = Result<Vec<T>, RunError>> + 's
    where
        T: Send + 'static,
        K: Fn(&AccountId, &mut dyn Iterator<Item = Considered>) -> T + Clone + Send + Sync + 'static,
    {
        let size = self.size;
        let pages = stream::try_unfold(None::<AccountId>, move |after| async move {
            let page = store.account_ids(after.as_ref(), size).await?;
            let last = page.last().cloned();
            Ok::<_, StoreError>(last.map(|last| (page, Some(last))))
        });
        pages
            .map(move |page| {
                let keep = keep.clone();
                async move {
                    match page {
                        Ok(page) => self.decide_page(store, page, keep).await,
                        Err(error) => Err(RunError::Store(error)),
                    }
                }
            })
            .buffered(self.ahead)
    }

    /// Some accounts, as [`Pages::decide`] all of them.
    pub(super) async fn decide_page<T, K>(
        &self,
        store: &Store,
        page: Vec<AccountId>,
        keep: K,
    ) -> Result<Vec<T>, RunError>
    where
        T: Send + 'static,
        K: Fn(&AccountId, &mut dyn Iterator<Item = Considered>) -> T + Send + 'static,
    {
        let mut signals = store.account_signals(&page).await?;
        let mut earlier = match self.shared.own {
            OwnActions::None => Default::default(),
            OwnActions::AsTheyStand | OwnActions::Ended => store.prior_actions(&page).await?,
        };
        let mut running = match self.shared.own {
            OwnActions::None => Default::default(),
            OwnActions::AsTheyStand | OwnActions::Ended => plays::running(store, &self.shared.policies, &page).await?,
        };
        let facts: Vec<(AccountId, Vec<Signal>, Own)> = page
            .into_iter()
            .map(|id| {
                let signals = signals.remove(&id).unwrap_or_default();
                let own = Own {
                    earlier: earlier.remove(&id).unwrap_or_default(),
                    plays: running.remove(&id).unwrap_or_default(),
                };
                (id, signals, own)
            })
            .collect();
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_blocking(move || {
            facts
                .into_iter()
                .map(|(id, signals, own)| {
                    let mut at_all_times = shared.at_all_times(&id, signals, own);
                    keep(&id, &mut at_all_times)
                })
                .collect()
        })
        .await
        .map_err(|_| RunError::Stopped)
    }
}

impl Shared {
    fn at_all_times<'s>(
        &'s self,
        id: &'s AccountId,
        mut signals: Vec<Signal>,
        own: Own,
    ) -> impl Iterator<Item = Considered> + 's {
        let Own { earlier, mut plays } = own;
        let (open, ended) = match self.own {
            OwnActions::Ended => {
                // What a play asks for takes part like what is new, so it asks again.
                for play in &mut plays {
                    play.running.standing.asked = None;
                }
                earlier.into_iter().partition(|p| p.state.is_open())
            }
            OwnActions::AsTheyStand | OwnActions::None => (Vec::new(), earlier),
        };
        let open = Arc::new(open);
        let last = self.moments.len().saturating_sub(1);
        let bands = self.policies.scoring.health.bands;
        self.moments.iter().enumerate().map(move |(at, moment)| {
            let next = (at == last)
                .then(|| Snapshot::next_known(&signals, moment.as_of))
                .flatten();
            // The last of the times takes them away, where nothing is asked about the weeks before.
            let known = if at == last && bands.width <= 0.0 {
                std::mem::take(&mut signals)
            } else if at == last {
                signals.clone()
            } else {
                known_by(&signals, moment.as_of)
            };
            let mut inputs = self.inputs(id.clone(), moment, known, ended.clone(), &plays);
            let mut decision = decide(&inputs, &self.policies);
            // Of what is promoted for other tiers the decision has seen nothing.
            let tier = decision.features.text("tier");
            inputs.earned.retain(|segment| Some(segment.tier.as_str()) == tier);
            if decision.band_needs_past(&self.policies) {
                inputs.health_before = self.health_before(id, inputs.snapshot.as_of, &signals);
                decision.hold_band(&inputs, &self.policies);
            }
            let today = inputs.snapshot.as_of.day();
            let given_up = ended.iter().filter(|p| {
                let waits = p.state.waits()
                    || matches!(
                        p.state,
                        ActionState::Snoozed | ActionState::Deferred | ActionState::Advised
                    );
                p.day == today && waits && !decision.proposals.iter().any(|new| new.action == p.action)
            });
            let given_up = given_up.map(|p| p.action.clone());
            // What a play that ends had put before people is not theirs to answer any more.
            let of_plays = decision.plays.iter().filter(|m| m.life.standing().is_none());
            let of_plays = of_plays.filter_map(|m| {
                let ending = plays.iter().find(|play| play.running.play == m.play)?;
                match &ending.running.standing.asked {
                    Some(Asked::Action { action, .. }) => Some(action.clone()),
                    Some(Asked::Task { .. }) | None => None,
                }
            });
            Considered {
                gone: given_up.chain(of_plays).collect(),
                next,
                inputs,
                decision,
                open: Arc::clone(&open),
            }
        })
    }

    fn inputs(
        &self,
        id: AccountId,
        moment: &Moment,
        signals: Vec<Signal>,
        prior: Vec<PriorAction>,
        plays: &[RunningPlay],
    ) -> Inputs {
        let as_of = if self.live {
            Snapshot::last_known(&signals, moment.as_of)
        } else {
            moment.as_of
        };
        let snapshot = Snapshot::of(id, as_of, signals, prior, self.policies.settings.usage_days);
        let owner = snapshot
            .account_fact()
            .and_then(|a| a.owner.as_ref())
            .and_then(|owner| moment.portfolio.owners.get(owner.as_str()))
            .cloned();
        Inputs {
            tenant: self.tenant,
            content: self.policies.content,
            default_crm: self.default_crm,
            our_name: self.our_name.clone(),
            snapshot,
            owner,
            peers: moment.peers.clone(),
            feeds: moment.feeds.clone(),
            earned: self.promoted.clone(),
            health_before: Vec::new(),
            // One that began today does not keep a second run from coming to what the first one came to.
            plays: plays
                .iter()
                .filter(|play| play.begun_on < as_of.day())
                .map(|play| play.running.clone().as_of(as_of.day()))
                .collect(),
        }
    }

    /// Health at the starts of the weeks before a day, the newest first, back to the first that settles the band. It is
    /// taken at the starts of days, so that it is the same all day.
    fn health_before(&self, id: &AccountId, as_of: Timestamp, signals: &[Signal]) -> Vec<Micro> {
        let Policies { settings, scoring, .. } = &*self.policies;
        let mut before = Vec::new();
        for week in 1..=BAND_WEEKS {
            let then = as_of.day().start().plus_days(-7 * week);
            let known = known_by(signals, then);
            let snapshot = Snapshot::of(id.clone(), then, known, Vec::new(), settings.usage_days);
            let (features, _) = feature::compute(&snapshot, settings);
            if let Some(health) = computed_health(&features, scoring, then) {
                before.push(health);
                if settles(health, scoring.health.bands) {
                    break;
                }
            }
        }
        before
    }
}

/// What was known by a time. The snapshot would leave out the rest by itself; this spares copying it.
fn known_by(signals: &[Signal], as_of: Timestamp) -> Vec<Signal> {
    signals.iter().filter(|s| s.observed_at <= as_of).cloned().collect()
}

/// What `pick` makes of the decision about each account that was known at a time, page by page; none of our own actions
/// counts.
///
/// # Errors
/// [`RunError`], and [`RunError::Empty`] where there are no accounts.
pub(crate) async fn each_at<T: Send + 'static>(
    config: &Config,
    store: &Store,
    policies: &Arc<Policies>,
    as_of: Timestamp,
    pick: fn(&Decision) -> T,
    take: &mut (dyn FnMut(Vec<T>) + Send),
) -> Result<(), RunError> {
    let pages = Pages::open(config, store, policies, &[as_of], OwnActions::None).await?;
    let decided = pages.decide(store, move |_, at_all_times| {
        let considered = at_all_times.next().filter(Considered::is_known)?;
        Some(pick(&considered.decision))
    });
    let mut decided = std::pin::pin!(decided);
    let mut any = false;
    while let Some(page) = decided.try_next().await? {
        any = true;
        take(page.into_iter().flatten().collect());
    }
    if any { Ok(()) } else { Err(RunError::Empty) }
}
