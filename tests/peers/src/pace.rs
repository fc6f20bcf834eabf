//! How work is timed: at most so many, at most so long.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use tokio::sync::Notify;

/// How much an arm does.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Jobs of one figure.
    pub jobs: u64,
    /// How long one figure may take: a slow system does fewer.
    pub most: Duration,
}

/// Keeps so many under way until all are done or the time is over; how many were done, and how long it took.
pub async fn in_flight<F: Future<Output = ()>>(size: Size, many: usize, one: impl Fn(u64) -> F) -> (u64, Duration) {
    let begun = Instant::now();
    let numbers = (0..size.jobs).take_while(|_| begun.elapsed() < size.most);
    let done = futures::stream::iter(numbers)
        .map(one)
        .buffer_unordered(many)
        .fold(0, |done, ()| std::future::ready(done + 1))
        .await;
    (done, begun.elapsed())
}

/// What handlers count: when the first began, and how many have ended.
#[derive(Debug, Clone, Default)]
pub struct Counted(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    first: std::sync::OnceLock<Instant>,
    done: AtomicU64,
    wanted: AtomicU64,
    reached: Notify,
}

impl Counted {
    /// Counts one.
    pub fn one(&self) {
        self.0.first.get_or_init(Instant::now);
        let done = self.0.done.fetch_add(1, Ordering::Relaxed) + 1;
        if done == self.0.wanted.load(Ordering::Relaxed) {
            self.0.reached.notify_one();
        }
    }

    /// Waits until so many have ended, or the time is over, and then until `settled` says that their outcomes are stored. How many
    /// were done, and how long it took from the first on.
    pub async fn wait(&self, wanted: u64, most: Duration, settled: impl AsyncFn(u64) -> bool) -> (u64, Duration) {
        self.0.wanted.store(wanted, Ordering::Relaxed);
        let reached = self.0.done.load(Ordering::Relaxed) >= wanted
            || tokio::time::timeout(most, self.0.reached.notified()).await.is_ok();
        let mut done = self.0.done.load(Ordering::Relaxed);
        let mut took = self.took();
        if reached {
            done = wanted;
            while !settled(wanted).await {
                assert!(self.took() < most * 3, "the outcomes are not stored");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            took = self.took();
        }
        assert!(done > 0, "nothing was done in {most:?}");
        (done, took)
    }

    fn took(&self) -> Duration {
        self.0.first.get().map_or(Duration::ZERO, Instant::elapsed)
    }
}
