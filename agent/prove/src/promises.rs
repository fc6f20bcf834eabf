//! Promises, one kind of request after the other.

use cedar_policy::{Policy, PolicyId, PolicySet, RequestEnv};
use cedar_policy_symcc::{CompiledPolicySet, Env};
use perennial_core::action::ActionKind;
use perennial_core::policy::gate::{Promise, PromiseKind};

use crate::counterexample::{self, Counterexample, Replay};
use crate::solver::{Unproved, Worker};
use crate::{Broken, Ground};

/// What is known of one promise about one kind of request.
pub(crate) enum Answer {
    Holds,
    Broken(Box<Broken>),
    Unproved(Unproved),
}

/// Every promise that can be about a kind. The rules are put into the solver's words once.
pub(crate) fn ask<'g>(ground: &Ground<'g>, worker: &mut Worker, kind: ActionKind) -> Vec<(&'g Promise, Answer)> {
    let about: Vec<&Promise> = ground
        .promises
        .iter()
        .copied()
        .filter(|promise| promise.kinds().contains(&kind))
        .collect();
    if about.is_empty() {
        return Vec::new();
    }
    let unproved = |said: String| Answer::Unproved(Unproved::Inexpressible { said });
    let Some(env) = ground.envs.get(&kind) else {
        let none = || unproved(format!("the schema has no request of the kind {kind}"));
        return about.into_iter().map(|promise| (promise, none())).collect();
    };
    // All rules, not only those whose scope seems to match: a proof takes nothing for granted.
    let rules = match CompiledPolicySet::compile(ground.gate.policies(), env, &ground.schema) {
        Ok(rules) => rules,
        Err(error) => {
            let said = error.to_string();
            return about
                .into_iter()
                .map(|promise| (promise, unproved(said.clone())))
                .collect();
        }
    };
    let mut answers = Vec::with_capacity(about.len());
    for promise in about {
        let answer = match one(ground, worker, promise, kind, env, &rules) {
            Ok(None) => Answer::Holds,
            Ok(Some(broken)) => Answer::Broken(Box::new(broken)),
            Err(why) => Answer::Unproved(why),
        };
        answers.push((promise, answer));
    }
    answers
}

fn one(
    ground: &Ground<'_>,
    worker: &mut Worker,
    promise: &Promise,
    kind: ActionKind,
    env: &RequestEnv,
    rules: &CompiledPolicySet,
) -> Result<Option<Broken>, Unproved> {
    let gate = ground.gate;
    let cases = cases(ground, promise.policy(), env)?;
    // Only the answer without ranges is a proof.
    let Some(found) = contradicted(worker, promise.kind, &cases, rules)? else {
        return Ok(None);
    };
    // A counterexample that could be a real account is easier to understand; where there is none, the other one counts too.
    let plausible = plausible(ground, promise, kind).and_then(|policy| {
        let cases = cases_of(ground, &policy, env).ok()?;
        contradicted(worker, promise.kind, &cases, rules).ok().flatten()
    });
    let found = plausible.unwrap_or(found);
    let replay = counterexample::replay(gate, gate.policies(), &found)?;
    expected(promise.kind, &replay)?;
    let counterexample = Counterexample::of(&found, kind, gate, &promise.text, &replay.rules)?;
    counterexample.ask_the_gate(gate, &replay)?;
    Ok(Some(broken(ground, promise, kind, counterexample, &replay)))
}

/// The promise with one more condition: that the numbers are those of an account that could exist, this year.
fn plausible(ground: &Ground<'_>, promise: &Promise, kind: ActionKind) -> Option<Policy> {
    let conditions = counterexample::plausible(ground.gate, ground.now, &promise.text, kind)?;
    let open = promise.text.trim_end().trim_end_matches(';');
    Policy::parse(
        Some(PolicyId::new(&promise.id)),
        format!("{open}\nwhen {{ {conditions} }};"),
    )
    .ok()
}

/// Whether the replay contradicts the promise as the solver says.
pub(crate) fn expected(kind: PromiseKind, replay: &Replay) -> Result<(), Unproved> {
    let as_said = match kind {
        PromiseKind::Never => replay.allowed,
        PromiseKind::Always => !replay.allowed,
    };
    if as_said {
        Ok(())
    } else {
        let replay = replay.word().to_owned();
        Err(Unproved::Disagreement { replay })
    }
}

fn cases_of(ground: &Ground<'_>, policy: &Policy, env: &RequestEnv) -> Result<CompiledPolicySet, String> {
    let set = PolicySet::from_policies([policy.clone()]).map_err(|error| error.to_string())?;
    CompiledPolicySet::compile(&set, env, &ground.schema).map_err(|error| error.to_string())
}

/// The cases of a promise in the solver's words.
pub(crate) fn cases(ground: &Ground<'_>, policy: &Policy, env: &RequestEnv) -> Result<CompiledPolicySet, Unproved> {
    cases_of(ground, policy, env).map_err(|said| Unproved::Inexpressible { said })
}

/// A request that contradicts a promise, where there is one.
pub(crate) fn contradicted(
    worker: &mut Worker,
    kind: PromiseKind,
    cases: &CompiledPolicySet,
    rules: &CompiledPolicySet,
) -> Result<Option<Env>, Unproved> {
    match kind {
        PromiseKind::Never => worker.ask(async |s| s.check_disjoint_with_counterexample_opt(cases, rules).await),
        PromiseKind::Always => worker.ask(async |s| s.check_implies_with_counterexample_opt(cases, rules).await),
    }
}

fn broken(
    ground: &Ground<'_>,
    promise: &Promise,
    kind: ActionKind,
    counterexample: Counterexample,
    replay: &Replay,
) -> Broken {
    let gate = ground.gate;
    let rules = replay.rules.iter().filter_map(|id| {
        let id: &PolicyId = id;
        let name: &str = id.as_ref();
        gate.rule(name)
    });
    let mut rules: Vec<_> = rules.collect();
    // What a person wrote as an exception is to blame before a cell that says the same.
    rules.sort_by_key(|rule| (rule.origin, &rule.file, rule.line, &rule.id));
    let (rule, file, line) = match rules.first() {
        Some(rule) => (Some(rule.id.clone()), rule.file.clone(), rule.line),
        None => {
            // No rule permits it: the row of the table is where one could.
            let table = gate.table();
            let row = table
                .cells
                .iter()
                .find(|((k, tier), _)| *k == kind && counterexample.tier().is_none_or(|known| known == *tier));
            (None, table.file.clone(), row.map_or(1, |(_, cell)| cell.line))
        }
    };
    Broken {
        promise: promise.id.clone(),
        sentence: promise.sentence.clone(),
        rule,
        file,
        line,
        rules: rules
            .iter()
            .map(|rule| perennial_core::policy::gate::RuleRef {
                id: rule.id.clone(),
                file: rule.file.clone(),
                line: rule.line,
                why: rule.why.clone(),
            })
            .collect(),
        counterexample,
        replay: replay.word(),
    }
}
