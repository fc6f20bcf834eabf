//! A circuit breaker: after several failures in a row nothing is sent for a while, then one request tries.
//!
//! It spares a system that is down and workers that would wait for time-outs. Refusals are no failures: a system that
//! says no is alive.

use std::sync::Mutex;
use std::time::Duration;

use perennial_core::signal::Crm;
use tokio::time::Instant;

/// Failures in a row that open it: more than one call's own repeats, so that one bad call alone does not.
const FAILURES_MAX: u32 = 5;

/// First pause. Most restarts and failovers pass in half a minute.
const PAUSE_FIRST: Duration = Duration::from_secs(30);

/// Longest pause, reached by doubling: an outage is noticed as over within five minutes.
const PAUSE_MAX: Duration = Duration::from_secs(300);

#[derive(Debug)]
enum State {
    /// Requests pass.
    Closed { failures: u32 },
    /// Nothing passes before `until`.
    Open { until: Instant, pause: Duration },
    /// One request is under way to find out.
    Probing,
}

#[derive(Debug)]
pub(crate) struct Breaker {
    crm: Crm,
    state: Mutex<State>,
}

/// The right to send one request. Dropped without a report, as when the caller gives up, it counts for nothing.
#[derive(Debug)]
pub(crate) struct Ticket<'a> {
    breaker: &'a Breaker,
    probe: Option<Duration>,
    reported: bool,
}

impl Breaker {
    pub(crate) fn new(crm: Crm) -> Breaker {
        let state = State::Closed { failures: 0 };
        show(crm, &state);
        Breaker {
            crm,
            state: Mutex::new(state),
        }
    }

    /// The right to send, or how long to wait.
    pub(crate) fn enter(&self) -> Result<Ticket<'_>, Duration> {
        let mut state = self.lock();
        let probe = match *state {
            State::Closed { .. } => None,
            State::Open { until, pause } => {
                let left = until.saturating_duration_since(Instant::now());
                if !left.is_zero() {
                    return Err(left);
                }
                *state = State::Probing;
                Some(pause)
            }
            State::Probing => return Err(PAUSE_FIRST),
        };
        Ok(Ticket {
            breaker: self,
            probe,
            reported: false,
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // A poisoned lock holds a state all the same.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Ticket<'_> {
    /// Whether the system is alive.
    pub(crate) fn report(mut self, alive: bool) {
        self.reported = true;
        let mut state = self.breaker.lock();
        *state = match (&*state, self.probe, alive) {
            (_, Some(_), true) => State::Closed { failures: 0 },
            (_, Some(pause), false) => open((pause * 2).min(PAUSE_MAX)),
            (State::Closed { .. }, None, true) => State::Closed { failures: 0 },
            (State::Closed { failures }, None, false) if failures + 1 >= FAILURES_MAX => {
                tracing::warn!(failures = failures + 1, "circuit breaker opened");
                open(PAUSE_FIRST)
            }
            (State::Closed { failures }, None, false) => State::Closed { failures: failures + 1 },
            // A straggler from before it opened: only the probe decides.
            (State::Open { .. } | State::Probing, None, _) => return,
        };
        show(self.breaker.crm, &state);
    }
}

/// Tells a monitor: 1 while nothing is sent, also while one request tries.
fn show(crm: Crm, state: &State) {
    let open = match state {
        State::Closed { .. } => 0.0,
        State::Open { .. } | State::Probing => 1.0,
    };
    metrics::gauge!("perennial_breaker_open", "tool" => crm.as_str()).set(open);
}

fn open(pause: Duration) -> State {
    State::Open {
        until: Instant::now() + pause,
        pause,
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if let (false, Some(pause)) = (self.reported, self.probe) {
            // The next caller probes instead.
            *self.breaker.lock() = State::Open {
                until: Instant::now(),
                pause,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    fn fail(breaker: &Breaker) {
        breaker.enter().expect("closed").report(false);
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_failures_in_a_row_and_closes_after_a_good_probe() {
        let breaker = Breaker::new(Crm::Salesforce);
        for _ in 0..FAILURES_MAX - 1 {
            fail(&breaker);
        }
        breaker.enter().expect("closed").report(true);
        for _ in 0..FAILURES_MAX {
            fail(&breaker);
        }
        assert_eq!(breaker.enter().err(), Some(PAUSE_FIRST));
        advance(PAUSE_FIRST).await;
        let probe = breaker.enter().expect("one probe may pass");
        assert!(breaker.enter().is_err(), "only one");
        probe.report(true);
        assert!(breaker.enter().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_bad_probe_doubles_the_pause_up_to_the_limit() {
        let breaker = Breaker::new(Crm::Salesforce);
        for _ in 0..FAILURES_MAX {
            fail(&breaker);
        }
        let mut pauses = Vec::new();
        for _ in 0..5 {
            let pause = breaker.enter().expect_err("open");
            pauses.push(pause.as_secs());
            advance(pause).await;
            breaker.enter().expect("probe").report(false);
        }
        assert_eq!(pauses, [30, 60, 120, 240, 300]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_is_given_up_lets_the_next_one_try() {
        let breaker = Breaker::new(Crm::Salesforce);
        for _ in 0..FAILURES_MAX {
            fail(&breaker);
        }
        advance(PAUSE_FIRST).await;
        drop(breaker.enter().expect("probe"));
        breaker.enter().expect("the next probe").report(true);
        assert!(breaker.enter().is_ok());
    }
}
