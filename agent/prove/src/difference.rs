//! What a change of the rules means: which kinds of request gain or lose, with an example of each.
//!
//! An example is a request that one side allows and the other does not, found by the solver and answered so by the real
//! authorizer. Where the solver finds none, there is none; what could not be found out is said.

use std::collections::BTreeMap;

use cedar_policy::{PolicySet, RequestEnv};
use cedar_policy_symcc::{CompiledPolicySet, Env};
use perennial_core::action::ActionKind;
use perennial_core::policy::gate::{Gate, RuleRef};
use serde::Serialize;

use crate::Prover;
use crate::counterexample::{self, Counterexample};
use crate::solver::{Unproved, Worker};

/// What becomes of one kind of request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KindChange {
    /// The kind.
    pub action: ActionKind,
    /// A request that is allowed now and was not, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gains: Option<Example>,
    /// A request that was allowed and is not now, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loses: Option<Example>,
    /// Why it is not known whether it gains or loses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_known: Option<String>,
}

/// A request that one side allows and the other does not.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Example {
    /// The request, as `perennial policy decide` reads it.
    pub request: Counterexample,
    /// The same on one line.
    pub told: String,
    /// The rules of the side that allows it.
    pub rules: Vec<RuleRef>,
}

/// The rules that can match a kind, as they are written.
fn texts(gate: &Gate, kind: ActionKind) -> BTreeMap<&str, &str> {
    let about = gate.policies_for(kind);
    let of_kind = |id: &str| about.is_some_and(|set| set.policy(&cedar_policy::PolicyId::new(id)).is_some());
    let rules = gate.rules().iter().filter(|rule| of_kind(&rule.id));
    rules.map(|rule| (rule.id.as_str(), body(&rule.text))).collect()
}

/// What a rule does, without its annotations: a line that moves is no change.
fn body(text: &str) -> &str {
    let at = ["permit (", "forbid (", "permit(", "forbid("];
    let start = at.iter().filter_map(|word| text.find(word)).min();
    start.and_then(|start| text.get(start..)).unwrap_or(text)
}

impl Prover {
    /// Which kinds of request gain or lose by a change of the rules. Kinds whose rules are the same are left out, and those of which
    /// neither holds.
    #[must_use]
    pub fn difference(&self, former: &Gate, new: &Gate) -> Vec<KindChange> {
        // A thread of its own: the caller may be in the middle of other work that must not wait for itself.
        std::thread::scope(|scope| scope.spawn(|| self.ask_difference(former, new)).join()).unwrap_or_default()
    }

    fn ask_difference(&self, former: &Gate, new: &Gate) -> Vec<KindChange> {
        let mut worker = Worker::new(&self.program, self.timeout_ms);
        let mut changes = Vec::new();
        for env in new.schema().request_envs() {
            let Some(kind) = ActionKind::from_word(env.action().id().unescaped()) else {
                continue;
            };
            if texts(former, kind) == texts(new, kind) {
                continue;
            }
            let sides = Sides {
                prover: self,
                former,
                new,
                kind,
                env: &env,
            };
            let (gains, loses) = (
                sides.only(&mut worker, Side::New),
                sides.only(&mut worker, Side::Former),
            );
            let not_known = gains.as_ref().err().or(loses.as_ref().err()).map(ToString::to_string);
            let (gains, loses) = (gains.ok().flatten(), loses.ok().flatten());
            if gains.is_some() || loses.is_some() || not_known.is_some() {
                changes.push(KindChange {
                    action: kind,
                    gains,
                    loses,
                    not_known,
                });
            }
        }
        let known = |kind: ActionKind| new.vocabulary().actions().any(|k| k == kind);
        for kind in former.vocabulary().actions().filter(|kind| !known(*kind)) {
            changes.push(KindChange {
                action: kind,
                gains: None,
                loses: None,
                not_known: Some("the action is no longer named, so nothing of it is allowed".to_owned()),
            });
        }
        changes
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Former,
    New,
}

struct Sides<'a> {
    prover: &'a Prover,
    former: &'a Gate,
    new: &'a Gate,
    kind: ActionKind,
    env: &'a RequestEnv,
}

impl Sides<'_> {
    fn gate(&self, side: Side) -> &Gate {
        match side {
            Side::Former => self.former,
            Side::New => self.new,
        }
    }

    fn compiled(&self, rules: &PolicySet) -> Result<CompiledPolicySet, Unproved> {
        // Both in the words of the new schema.
        CompiledPolicySet::compile(rules, self.env, self.new.schema()).map_err(|error| Unproved::Inexpressible {
            said: error.to_string(),
        })
    }

    /// A request that only this side allows.
    fn only(&self, worker: &mut Worker, side: Side) -> Result<Option<Example>, Unproved> {
        let other = match side {
            Side::Former => Side::New,
            Side::New => Side::Former,
        };
        let (one, others) = (self.gate(side), self.gate(other));
        let beyond = self.compiled(others.policies())?;
        let all = self.compiled(one.policies())?;
        let Some(found) = worker.ask(async |s| s.check_implies_with_counterexample_opt(&all, &beyond).await)? else {
            return Ok(None);
        };
        // One that could be a real account is easier to understand.
        let found = self.plausible(worker, one, &beyond).unwrap_or(found);
        let replay = counterexample::replay(self.new, one.policies(), &found)?;
        let against = counterexample::replay(self.new, others.policies(), &found)?;
        if !replay.allowed || against.allowed {
            let replay = format!("{} before {}", replay.word(), against.word());
            return Err(Unproved::Disagreement { replay });
        }
        let request = Counterexample::of(&found, self.kind, one, "", &replay.rules)?;
        let rules = replay.rules.iter().filter_map(|id| one.rule(id.as_ref()));
        Ok(Some(Example {
            told: request.to_string(),
            request,
            rules: rules.map(RuleRef::from).collect(),
        }))
    }

    fn plausible(&self, worker: &mut Worker, one: &Gate, beyond: &CompiledPolicySet) -> Option<Env> {
        let conditions = counterexample::plausible(one, self.prover.now, "", self.kind)?;
        let text = format!("forbid (principal, action, resource is Account)\nunless {{ {conditions} }};");
        let bound = cedar_policy::Policy::parse(Some(cedar_policy::PolicyId::new("\u{1}plausible")), text).ok()?;
        let bounded = PolicySet::from_policies(one.policies().policies().cloned().chain([bound])).ok()?;
        let bounded = self.compiled(&bounded).ok()?;
        worker
            .ask(async |s| s.check_implies_with_counterexample_opt(&bounded, beyond).await)
            .ok()
            .flatten()
    }
}
