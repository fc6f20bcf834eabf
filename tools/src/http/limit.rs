//! Our own rate limit, asked before each request, on tokio's clock so that tests need no waiting.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::{Instant, sleep};

use crate::connection::ConnectionError;

/// Longest wait for our own permission, a little more than a time-out: whoever waits longer gives the worker back.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Time since the limiter was made.
#[derive(Debug, Clone, Copy)]
struct Elapsed {
    start: Instant,
}

impl Clock for Elapsed {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}

pub(crate) struct Limit {
    clock: Elapsed,
    limiter: RateLimiter<NotKeyed, InMemoryState, Elapsed, NoOpMiddleware<Duration>>,
}

impl Limit {
    pub(crate) fn new(requests_per_second: u32, burst: u32) -> Result<Limit, ConnectionError> {
        let some = |value, limit| NonZeroU32::new(value).ok_or(ConnectionError::Limit { limit });
        let quota =
            Quota::per_second(some(requests_per_second, "requests_per_second")?).allow_burst(some(burst, "burst")?);
        let clock = Elapsed { start: Instant::now() };
        Ok(Limit {
            clock,
            limiter: RateLimiter::direct_with_clock(quota, clock),
        })
    }

    /// Waits for permission, or says how long to stay away.
    pub(crate) async fn ready(&self) -> Result<(), Duration> {
        let start = self.clock.now();
        while let Err(not_until) = self.limiter.check() {
            let wait = not_until.wait_time_from(self.clock.now());
            if self.clock.now().saturating_sub(start) + wait > WAIT_MAX {
                return Err(WAIT_MAX);
            }
            // Timers are exact to a millisecond; waking a moment early would spin.
            sleep(wait.max(Duration::from_millis(1))).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_the_rest_waits_its_turn() {
        let limit = Limit::new(2, 3).expect("a limit");
        let start = Instant::now();
        for _ in 0..3 {
            limit.ready().await.expect("in the burst");
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        for _ in 0..4 {
            limit.ready().await.expect("after a wait");
        }
        let waited = start.elapsed();
        assert!(
            (Duration::from_millis(2000)..Duration::from_millis(2020)).contains(&waited),
            "{waited:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_that_is_too_long_is_told_to_come_back() {
        let limit = Limit::new(1, 1).expect("a limit");
        let calls = (0..40).map(|_| limit.ready());
        let answers = futures_util::future::join_all(calls).await;
        assert!(answers.iter().any(Result::is_err) && answers.iter().filter(|a| a.is_ok()).count() >= 30);
    }

    #[test]
    fn a_limit_of_nothing_is_refused() {
        assert!(Limit::new(0, 1).is_err() && Limit::new(1, 0).is_err());
    }
}
