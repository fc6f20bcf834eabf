//! Each rule by itself: whether it can fail, and whether anything can match it.

use cedar_policy::PolicyId;
use cedar_policy_symcc::CompiledPolicy;
use perennial_core::action::ActionKind;
use perennial_core::policy::gate::Rule;

use crate::Ground;
use crate::solver::{Unproved, Worker};

pub(crate) enum Checked {
    /// It never fails, and something matches it.
    Sound,
    /// It never fails, and nothing matches it.
    Dead,
    /// It fails for some request of this kind.
    Fails { kind: ActionKind },
}

pub(crate) fn check(ground: &Ground<'_>, worker: &mut Worker, rule: &Rule) -> Result<Checked, Unproved> {
    let id = PolicyId::new(&rule.id);
    let Some(policy) = ground.gate.policies().policy(&id) else {
        let said = format!("the rule `{}` is not among the policies", rule.id);
        return Err(Unproved::Inexpressible { said });
    };
    let mut matches = false;
    for (kind, env) in &ground.envs {
        let in_scope = ground
            .gate
            .policies_for(*kind)
            .is_some_and(|set| set.policy(&id).is_some());
        if !in_scope {
            continue;
        }
        let compiled = CompiledPolicy::compile(policy, env, &ground.schema).map_err(|error| worker.unproved(error))?;
        if !worker.ask(async |s| s.check_never_errors_opt(&compiled).await)? {
            return Ok(Checked::Fails { kind: *kind });
        }
        matches = matches || !worker.ask(async |s| s.check_never_matches_opt(&compiled).await)?;
    }
    Ok(if matches { Checked::Sound } else { Checked::Dead })
}
