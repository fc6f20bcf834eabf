//! Commits in groups: what waits together is stored together, and nobody is answered before.

use std::time::Duration;

use perennial_store::{EventStored, NewEvent, Store};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::clock::Clock;

/// The events of one request on their way to the store.
pub(super) struct Job {
    pub events: Vec<NewEvent>,
    /// What became of each; nothing when the store refused them all.
    pub answer: oneshot::Sender<Option<Vec<EventStored>>>,
    /// The request's part of the queue, held until it is stored even if the sender has gone away.
    pub _room: OwnedSemaphorePermit,
}

/// How to write.
pub(super) struct Grouping {
    /// Events of one commit, as far as requests can be kept whole.
    pub events: usize,
    /// How long the first of a group waits for others.
    pub wait: Duration,
}

/// Writes until nobody can send any more and all is written.
pub(super) async fn write(store: Store, mut jobs: mpsc::UnboundedReceiver<Job>, grouping: Grouping, clock: Clock) {
    while let Some(first) = jobs.recv().await {
        let mut count = first.events.len();
        let mut group = vec![first];
        let wait = tokio::time::sleep(grouping.wait);
        tokio::pin!(wait);
        while count < grouping.events {
            tokio::select! {
                biased;
                job = jobs.recv() => match job {
                    Some(job) => {
                        count += job.events.len();
                        group.push(job);
                    }
                    None => break,
                },
                () = &mut wait => break,
            }
        }
        commit(&store, group, clock).await;
    }
}

async fn commit(store: &Store, group: Vec<Job>, clock: Clock) {
    let mut events = Vec::new();
    let mut waiting = Vec::with_capacity(group.len());
    for job in group {
        waiting.push((job.events.len(), job.answer, job._room));
        events.extend(job.events);
    }
    let stored = match store.insert_events(&events, clock.now()).await {
        Ok(stored) => Some(stored),
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                events = events.len(),
                "events could not be stored; their senders are asked to try again"
            );
            None
        }
    };
    let mut rest = stored.as_deref().unwrap_or_default();
    for (count, answer, _room) in waiting {
        let own = stored.as_ref().map(|_| {
            let (own, others) = rest.split_at(count.min(rest.len()));
            rest = others;
            own.to_vec()
        });
        // A sender that has gone away will send again; the messages are known then.
        let _ = answer.send(own);
    }
}
