//! Negative controls: an edit that must break a promise is planted, and the same questions must find it broken.
//!
//! A promise that no request is about, a question that is put wrongly and a solver that always says yes would all look like a proof
//! otherwise. For `@never` the edit is a permit for everything; where guard rails still forbid a request that the promise is
//! about, they are taken out, because a permit cannot beat a forbid. For `@always` it is a forbid for everything.

use std::collections::BTreeSet;

use cedar_policy::{Effect, Policy, PolicyId, PolicySet, RequestEnv};
use cedar_policy_symcc::{CompiledPolicy, CompiledPolicySet};
use perennial_core::action::ActionKind;
use perennial_core::policy::gate::{Promise, PromiseKind};

use crate::Ground;
use crate::counterexample;
use crate::promises::{cases, contradicted, expected};
use crate::solver::{Unproved, Worker};

/// Name of the planted rule: no rule of people begins like this.
const PLANTED: &str = "\u{1}planted";

/// Plants an edit that breaks a promise and looks whether it is found broken. Says which edit it was.
pub(crate) fn plant(ground: &Ground<'_>, worker: &mut Worker, promise: &Promise) -> Result<String, Unproved> {
    let kinds = ground.gate.vocabulary().actions();
    for kind in kinds.filter(|kind| promise.kinds().contains(kind)) {
        let Some(env) = ground.envs.get(&kind) else { continue };
        if let Some(edit) = on(ground, worker, promise, kind, env)? {
            return Ok(edit);
        }
    }
    let what = "the solver finds no request that the promise is about, so that nothing can break it";
    Err(Unproved::Control { what: what.to_owned() })
}

fn failed(what: impl Into<String>) -> Unproved {
    Unproved::Control { what: what.into() }
}

/// The same for one kind of request; nothing where the promise is about no request of it.
fn on(
    ground: &Ground<'_>,
    worker: &mut Worker,
    promise: &Promise,
    kind: ActionKind,
    env: &RequestEnv,
) -> Result<Option<String>, Unproved> {
    let gate = ground.gate;
    let inexpressible = |said: String| Unproved::Inexpressible { said };
    let alone = CompiledPolicy::compile(promise.policy(), env, &ground.schema)
        .map_err(|error| inexpressible(error.to_string()))?;
    let case = worker.ask(async |s| s.check_never_matches_with_counterexample_opt(&alone).await)?;
    let Some(case) = case else { return Ok(None) };
    let text = match promise.kind {
        PromiseKind::Never => "permit (principal, action, resource);",
        PromiseKind::Always => "forbid (principal, action, resource);",
    };
    let planted = Policy::parse(Some(PolicyId::new(PLANTED)), text).map_err(|e| inexpressible(e.to_string()))?;
    let with = |without: &BTreeSet<PolicyId>| {
        let kept = gate.policies().policies().filter(|p| !without.contains(p.id()));
        PolicySet::from_policies(kept.cloned().chain([planted.clone()])).map_err(|e| inexpressible(e.to_string()))
    };
    let mut removed = BTreeSet::new();
    if promise.kind == PromiseKind::Never {
        // The rules that forbid this very case are its guards.
        let replay = counterexample::replay(gate, &with(&removed)?, &case)?;
        if !replay.allowed {
            let forbids = |id: &PolicyId| {
                let policy = gate.policies().policy(id);
                policy.is_some_and(|p| p.effect() == Effect::Forbid)
            };
            removed.extend(replay.rules.iter().filter(|id| forbids(id)).cloned());
        }
    }
    let edited = with(&removed)?;
    let replay = counterexample::replay(gate, &edited, &case)?;
    if expected(promise.kind, &replay).is_err() {
        return Err(failed(format!(
            "the planted edit does not break it: the replay answers {}",
            replay.word()
        )));
    }
    let rules = CompiledPolicySet::compile(&edited, env, &ground.schema).map_err(|e| inexpressible(e.to_string()))?;
    let cases = cases(ground, promise.policy(), env)?;
    let Some(found) = contradicted(worker, promise.kind, &cases, &rules)? else {
        return Err(failed(format!(
            "the solver calls the promise kept for {kind} although the planted edit breaks it"
        )));
    };
    let replay = counterexample::replay(gate, &edited, &found)?;
    if expected(promise.kind, &replay).is_err() {
        return Err(failed(format!(
            "the counterexample to the planted edit is answered {} by the authorizer",
            replay.word()
        )));
    }
    let names: Vec<String> = removed
        .iter()
        .map(|id| format!("`{}`", AsRef::<str>::as_ref(id)))
        .collect();
    Ok(Some(match promise.kind {
        PromiseKind::Always => format!("{kind}: a forbid for everything"),
        PromiseKind::Never if names.is_empty() => format!("{kind}: a permit for everything"),
        PromiseKind::Never => format!("{kind}: a permit for everything, without {}", names.join(" and ")),
    }))
}
