//! The clock and the vendors' budgets, both chosen by the caller.

use std::time::Duration;

use jiff::Timestamp;

/// Where the servers take the time from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Clock {
    /// The clock of the machine.
    #[default]
    System,
    /// Always this instant, until [`crate::Sandbox::set_clock`].
    Fixed(Timestamp),
}

impl Clock {
    #[allow(
        clippy::disallowed_methods,
        reason = "the one place of this crate that asks the machine for the time"
    )]
    pub(crate) fn now(self) -> Timestamp {
        match self {
            Clock::System => Timestamp::now(),
            Clock::Fixed(at) => at,
        }
    }
}

/// The budgets of the two vendors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Salesforce requests until `REQUEST_LIMIT_EXCEEDED`. The sandbox counts from its start and never resets.
    pub salesforce_daily: u32,
    /// Rows on a page of a Salesforce query at most. The vendor's most is 2,000, and it may give fewer whenever it likes.
    pub salesforce_page: usize,
    /// HubSpot requests per ten seconds that the rate headers tell of.
    pub hubspot_burst: u32,
    /// Whether HubSpot requests beyond the burst get a 429.
    pub hubspot_burst_rule: Enforcement,
    /// HubSpot searches per second, when limited. The vendor allows 5.
    pub hubspot_searches_per_second: Option<u32>,
    /// HubSpot requests until 429 with the policy `DAILY`, when limited. The sandbox counts from its start.
    pub hubspot_daily: Option<u32>,
    /// How far the search of HubSpot lags behind writes. The vendor says "a few moments".
    pub hubspot_search_lag: Option<Duration>,
}

/// Whether a budget is only shown or also enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Enforcement {
    /// Headers tell of the budget, nothing is refused.
    #[default]
    Shown,
    /// Requests beyond the budget are refused.
    Enforced,
}

/// Most rows on a page of a Salesforce query.
pub(crate) const SALESFORCE_PAGE: usize = 2_000;

/// Daily requests of a Salesforce developer org.
const SALESFORCE_DAILY: u32 = 15_000;

/// Requests per ten seconds of a HubSpot private app with a Professional subscription.
const HUBSPOT_BURST: u32 = 190;

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            salesforce_daily: SALESFORCE_DAILY,
            salesforce_page: SALESFORCE_PAGE,
            hubspot_burst: HUBSPOT_BURST,
            hubspot_burst_rule: Enforcement::Shown,
            hubspot_searches_per_second: None,
            hubspot_daily: None,
            hubspot_search_lag: None,
        }
    }
}
