//! Attempts of many effects that one tool carries out together.
//!
//! Promises: what is unknown is looked up before anything is sent; each effect has its own permit, verified one by one; before
//! each request that writes it is asked anew what is stopped and whether the leases still are ours. It chooses nothing.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::BoxFuture;
use perennial_core::action::{Effect, EffectState};
use perennial_core::ids::EffectId;
use perennial_store::{EffectOutcome, EffectResult, LeasedEffect};
use perennial_tools::{Go, Job, Known, LookUp, Tool};
use tokio::time::Instant;
use tracing::Span;

use super::stops::Stops;
use super::{after, after_look_up, knowledge, outcome};
use crate::clock::Clock;
use crate::config::Limits;

/// One effect of a batch.
pub(super) struct Part {
    pub(super) leased: LeasedEffect,
    pub(super) known: Known,
    /// What happens where it may not be sent now.
    pub(super) instead: Option<EffectResult>,
    /// Where its attempt is told of.
    pub(super) span: Span,
}

/// Carries out effects together; one outcome each, in their order.
pub(super) async fn attempt_many(
    tool: &dyn Tool,
    limits: &Limits,
    clock: Clock,
    parts: Vec<Part>,
    go: &dyn Go,
) -> Vec<EffectOutcome> {
    let mut results: Vec<Option<EffectResult>> = parts.iter().map(|_| None).collect();
    let unknown = |part: &Part| part.leased.state == EffectState::Unknown;
    let asked: Vec<usize> = (0..parts.len())
        .filter(|n| parts.get(*n).is_some_and(unknown))
        .collect();
    if !asked.is_empty() {
        let effects = asked
            .iter()
            .filter_map(|n| parts.get(*n))
            .map(|part| &part.leased.effect);
        let looked = tool.look_up_many(effects.collect(), clock.now()).await;
        for (n, looked) in asked.into_iter().zip(looked) {
            let (Some(part), Some(result)) = (parts.get(n), results.get_mut(n)) else {
                continue;
            };
            *result = match looked {
                Ok(LookUp::Done(receipt)) => {
                    let image = part.leased.image.as_deref();
                    Some(EffectResult::Done(knowledge::completed(receipt, image)))
                }
                Ok(LookUp::Absent) => None,
                Err(error) => Some(after_look_up(error, part.leased.attempts, limits, clock.now())),
            };
        }
    }
    let (mut places, mut jobs) = (Vec::new(), Vec::new());
    for (n, part) in parts.iter().enumerate() {
        let Some(result) = results.get_mut(n).filter(|result| result.is_none()) else {
            continue;
        };
        let Part {
            leased, known, instead, ..
        } = part;
        let verified = leased.permit.clone().verify(&leased.effect, &leased.all);
        match (instead, verified) {
            (Some(instead), _) => *result = Some(instead.clone()),
            (None, Err(wrong)) => {
                *result = Some(EffectResult::Failed {
                    error: wrong.to_string(),
                });
            }
            (None, Ok(permit)) => {
                places.push(n);
                let effect = &leased.effect;
                jobs.push(Job { permit, effect, known });
            }
        }
    }
    if !jobs.is_empty() {
        let answers = tool.execute_many(jobs, go, clock.now()).await;
        for (n, answer) in places.into_iter().zip(answers) {
            let (Some(part), Some(result)) = (parts.get(n), results.get_mut(n)) else {
                continue;
            };
            *result = Some(match answer {
                Ok(receipt) => EffectResult::Done(receipt),
                Err(error) => after(error, part.leased.attempts, limits, clock.now()),
            });
        }
    }
    let ended = parts.iter().zip(results).map(|(part, result)| {
        // An effect that the tool gave no answer for may have been sent.
        let result = result.unwrap_or_else(|| EffectResult::Unknown {
            error: "the tool gave no answer".to_owned(),
            due_at: clock.now(),
            image: None,
        });
        outcome(&part.leased, result, clock)
    });
    ended.collect()
}

/// Asks before each request that writes, and keeps what it held back.
pub(super) struct Gate<'a> {
    stops: &'a Stops,
    ours_until: &'a Mutex<Instant>,
    ending: &'a AtomicBool,
    clock: Clock,
    leased: BTreeMap<EffectId, LeasedEffect>,
    held: Mutex<BTreeMap<EffectId, Option<EffectResult>>>,
}

impl<'a> Gate<'a> {
    pub(super) fn new(
        stops: &'a Stops,
        ours_until: &'a Mutex<Instant>,
        ending: &'a AtomicBool,
        clock: Clock,
        parts: &[Part],
    ) -> Gate<'a> {
        let leased = parts
            .iter()
            .map(|part| (part.leased.effect.id.clone(), part.leased.clone()));
        Gate {
            stops,
            ours_until,
            ending,
            clock,
            leased: leased.collect(),
            held: Mutex::new(BTreeMap::new()),
        }
    }

    /// What an attempt came to; for what was held back what is to happen instead, or nothing where its lease runs out.
    pub(super) fn settled(&self, ended: EffectOutcome) -> Option<EffectOutcome> {
        let held = match self.held.lock() {
            Ok(mut held) => held.remove(&ended.effect),
            Err(_) => return None,
        };
        match held {
            None => Some(ended),
            // Nothing was sent of it.
            Some(instead) => Some(outcome(self.leased.get(&ended.effect)?, instead?, self.clock)),
        }
    }

    /// Whether an effect may be sent; else what is to happen instead.
    async fn instead(&self, effect: &Effect) -> Result<(), Option<EffectResult>> {
        // What has sent nothing when the worker ends is given back.
        if self.ending.load(Ordering::Relaxed) {
            return Err(None);
        }
        // A process that was held up longer than its leases must not send what another may have taken over.
        if self.ours_until.lock().is_ok_and(|until| *until <= Instant::now()) {
            tracing::warn!("the lease ended before anything was sent");
            return Err(None);
        }
        let Some(leased) = self.leased.get(&effect.id) else {
            return Err(None);
        };
        match self.stops.instead(leased, self.clock.now()).await {
            Ok(None) => Ok(()),
            Ok(Some(stopped)) => Err(Some(stopped)),
            Err(error) => {
                // What cannot be asked about is not sent: its lease runs out, and it is looked up.
                tracing::warn!(error = %error, "what is stopped cannot be read, so nothing is sent");
                Err(None)
            }
        }
    }
}

impl Go for Gate<'_> {
    fn may<'a>(&'a self, effects: &'a [&'a Effect]) -> BoxFuture<'a, Vec<bool>> {
        Box::pin(async move {
            let mut may = Vec::with_capacity(effects.len());
            for effect in effects {
                let instead = self.instead(effect).await;
                may.push(instead.is_ok());
                if let (Err(instead), Ok(mut held)) = (instead, self.held.lock()) {
                    held.insert(effect.id.clone(), instead);
                }
            }
            may
        })
    }

    fn halted<'a>(&'a self, effects: &'a [&'a Effect]) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            for effect in effects {
                if self.instead(effect).await.is_err() {
                    return true;
                }
            }
            false
        })
    }
}
