//! Faults that a test or a demo asks for: the ways a real CRM fails, on demand.
//!
//! Promises: faults are used up in the order they were injected, each `times` times, and only by API requests. A share of
//! all requests fails where a test asks for it, by draws from its seed. Does not: anything that cannot be repeated.

use std::time::Duration;

use crate::record::System;

/// Faults waiting at one time. Beyond this the oldest is forgotten: a test that injects more has lost count.
pub(crate) const FAULTS_MAX: usize = 1_000;

/// The longest a slow answer may take, so that a demo cannot hang for good.
pub(crate) const SLOW_MAX: Duration = Duration::from_secs(600);

/// One fault to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The server that fails.
    pub system: System,
    /// The requests that meet the fault.
    pub route: RouteMatch,
    /// How it fails.
    pub kind: FaultKind,
    /// How many requests meet it.
    pub times: u32,
}

/// Which requests meet a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteMatch {
    /// Every API request.
    Any,
    /// Requests of this method whose path starts so.
    Route {
        /// `GET`, `POST`, ..; case does not matter.
        method: String,
        /// The beginning of the path, such as `/services/data/v68.0/sobjects/Account`.
        prefix: String,
    },
}

impl RouteMatch {
    /// Requests of this method whose path starts so.
    pub fn route(method: impl Into<String>, prefix: impl Into<String>) -> RouteMatch {
        RouteMatch::Route {
            method: method.into(),
            prefix: prefix.into(),
        }
    }

    fn matches(&self, method: &str, path: &str) -> bool {
        match self {
            RouteMatch::Any => true,
            RouteMatch::Route { method: wanted, prefix } => {
                wanted.eq_ignore_ascii_case(method) && path.starts_with(prefix.as_str())
            }
        }
    }
}

/// The ways to fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultKind {
    /// 429 without effect. `Retry-After` is sent when given.
    TooManyRequests {
        /// Seconds for the `Retry-After` header.
        retry_after_s: Option<u64>,
    },
    /// 403 with the vendor's body for an exhausted daily budget, without effect.
    LimitExhausted,
    /// 401 as for a dead session, without effect.
    TokenExpired,
    /// 500 with a JSON body, without effect.
    ServerError,
    /// 503 with an HTML body, without effect.
    Unavailable,
    /// The connection is cut before anything is written.
    DropBeforeCommit,
    /// The write happens, then the connection is cut: the client cannot know.
    DropAfterCommit,
    /// The write happens, the answer comes late.
    Slow {
        /// How late.
        delay: Duration,
    },
    /// The write happens, the JSON of the answer ends in the middle.
    TruncatedJson,
}

/// A share of all API requests fails, drawn from a seed: the same requests in the same order meet the same faults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreliable {
    /// Where the draws begin.
    pub seed: u64,
    /// Of 1,000 requests, so many fail without effect: half of them are cut, half are answered 503.
    pub before_permille: u16,
    /// Of 1,000 requests, so many take effect and then the connection is cut.
    pub after_permille: u16,
}

impl Unreliable {
    /// The fault of the next request, if it meets one.
    pub(crate) fn draw(&mut self) -> Option<FaultKind> {
        // SplitMix64 (Steele, Lea and Flood 2014).
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.seed;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        let (of_1000, coin) = ((bits >> 1) % 1_000, bits & 1 == 0);
        if of_1000 < u64::from(self.after_permille) {
            Some(FaultKind::DropAfterCommit)
        } else if of_1000 < u64::from(self.after_permille) + u64::from(self.before_permille) {
            Some(if coin {
                FaultKind::DropBeforeCommit
            } else {
                FaultKind::Unavailable
            })
        } else {
            None
        }
    }
}

/// Takes the first waiting fault that this request meets.
pub(crate) fn take(waiting: &mut Vec<Fault>, system: System, method: &str, path: &str) -> Option<FaultKind> {
    let at = waiting
        .iter()
        .position(|fault| fault.system == system && fault.times > 0 && fault.route.matches(method, path))?;
    let fault = waiting.get_mut(at)?;
    fault.times -= 1;
    let kind = fault.kind.clone();
    if fault.times == 0 {
        waiting.remove(at);
    }
    Some(kind)
}
