//! The one place that reads the clock. Everything else is given the time.

use std::time::Instant;

use perennial_core::time::Timestamp;

/// Where the present comes from.
#[derive(Debug, Clone, Copy)]
pub enum Clock {
    /// The machine's clock.
    System,
    /// A clock that showed `from` when it was made and goes on from there: for demonstrations and tests.
    From {
        /// What it showed.
        from: Timestamp,
        /// When it was made.
        made: Instant,
    },
}

impl Clock {
    /// A clock that shows `from` now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    pub fn starting(from: Timestamp) -> Clock {
        Clock::From {
            from,
            made: Instant::now(),
        }
    }

    /// The present.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    pub fn now(&self) -> Timestamp {
        match self {
            Clock::System => {
                let since = std::time::SystemTime::now()
                    .duration_since(std::time::UNIX_EPOCH)
                    .unwrap_or_default();
                Timestamp::from_us(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
            }
            Clock::From { from, made } => {
                Timestamp::from_us(from.us() + i64::try_from(made.elapsed().as_micros()).unwrap_or(0))
            }
        }
    }
}
