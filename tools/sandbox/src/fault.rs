//! Faults that a test or a demo asks for: the ways a real CRM fails, on demand.
//!
//! Promises: scripted faults are used up in the order they were injected, each `times` times, and only by API requests.
//! Faults by chance come only when asked for, after the scripted ones, and are the same for the same seed and requests.

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
    /// 502 with an HTML body, without effect.
    BadGateway,
    /// The write happens; half of the answer comes at once, the rest late.
    SlowBody {
        /// How late.
        delay: Duration,
    },
    /// Nothing is written; after the delay, which a client will not wait for, the connection is cut.
    StallBeforeCommit {
        /// How long.
        delay: Duration,
    },
    /// The write happens; after the delay the connection is cut.
    StallAfterCommit {
        /// How long.
        delay: Duration,
    },
    /// Every so many rows of the request fail for the moment: `UNABLE_TO_LOCK_ROW`, 423.
    PartialFailure {
        /// 1 fails every row, 2 every second one.
        every: u32,
    },
    /// A person in the CRM writes a field just before the request is handled.
    PersonEdits {
        /// The object.
        object: String,
        /// The record.
        id: String,
        /// The field.
        field: String,
        /// Its new value.
        value: String,
    },
}

impl FaultKind {
    /// The fault of this name, with the milliseconds or rows it needs; nothing when there is none.
    pub(crate) fn named(name: &str, number: u64) -> Option<FaultKind> {
        let delay = Duration::from_millis(number);
        Some(match name {
            "too-many-requests" => FaultKind::TooManyRequests { retry_after_s: None },
            "limit-exhausted" => FaultKind::LimitExhausted,
            "token-expired" => FaultKind::TokenExpired,
            "server-error" => FaultKind::ServerError,
            "unavailable" => FaultKind::Unavailable,
            "bad-gateway" => FaultKind::BadGateway,
            "drop-before-commit" => FaultKind::DropBeforeCommit,
            "drop-after-commit" => FaultKind::DropAfterCommit,
            "stall-before-commit" => FaultKind::StallBeforeCommit { delay },
            "stall-after-commit" => FaultKind::StallAfterCommit { delay },
            "slow" => FaultKind::Slow { delay },
            "slow-body" => FaultKind::SlowBody { delay },
            "truncated-json" => FaultKind::TruncatedJson,
            "partial-failure" => FaultKind::PartialFailure {
                every: u32::try_from(number.max(1)).unwrap_or(1),
            },
            _ => return None,
        })
    }
}

/// Faults by chance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chances {
    seed: u64,
    drawn: u64,
    list: Vec<Chance>,
}

/// One fault by chance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chance {
    /// The server that fails.
    pub system: System,
    /// The requests that may meet the fault.
    pub route: RouteMatch,
    /// How it fails.
    pub kind: FaultKind,
    /// How many requests in a thousand meet it.
    pub per_mille: u32,
}

impl Chances {
    /// These chances, drawn with this seed.
    pub fn new(seed: u64, list: Vec<Chance>) -> Chances {
        Chances { seed, drawn: 0, list }
    }

    /// The fault one request meets, if any. At most one, so that the rates of a route add up.
    pub(crate) fn draw(&mut self, system: System, method: &str, path: &str) -> Option<FaultKind> {
        let mut likely = self
            .list
            .iter()
            .filter(|chance| chance.system == system && chance.route.matches(method, path))
            .peekable();
        likely.peek()?;
        self.drawn += 1;
        let mut left = u32::try_from(mixed(self.seed.wrapping_add(self.drawn)) % 1_000).unwrap_or(0);
        for chance in likely {
            if left < chance.per_mille {
                return Some(chance.kind.clone());
            }
            left -= chance.per_mille;
        }
        None
    }
}

/// SplitMix64: every seed gives numbers that look unrelated.
fn mixed(seed: u64) -> u64 {
    let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
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

#[cfg(test)]
mod tests {
    use super::{Chance, Chances, FaultKind, RouteMatch};
    use crate::record::System;

    #[test]
    fn chances_come_at_their_rate_and_again_the_same_for_the_same_seed() {
        let chance = |kind, per_mille| Chance {
            system: System::Hubspot,
            route: RouteMatch::Any,
            kind,
            per_mille,
        };
        let list = vec![chance(FaultKind::ServerError, 150), chance(FaultKind::Unavailable, 50)];
        let draws = |seed| -> Vec<Option<FaultKind>> {
            let mut chances = Chances::new(seed, list.clone());
            (0..10_000).map(|_| chances.draw(System::Hubspot, "GET", "/")).collect()
        };
        let drawn = draws(7);
        let count = |kind: FaultKind| drawn.iter().filter(|one| **one == Some(kind.clone())).count();
        assert!((1_350..1_650).contains(&count(FaultKind::ServerError)));
        assert!((400..600).contains(&count(FaultKind::Unavailable)));
        assert_eq!(drawn, draws(7));
        assert_ne!(drawn, draws(8));
        let mut other = Chances::new(7, list.clone());
        assert!((0..100).all(|_| other.draw(System::Salesforce, "GET", "/").is_none()));
    }
}
