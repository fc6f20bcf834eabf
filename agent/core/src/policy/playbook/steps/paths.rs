//! What the steps of a play do together.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Check;
use crate::play::{StepKind, StepShape, Target, WaitTime};

/// What the steps do together: each is reached, no loop runs without time passing, and every way ends.
pub(super) fn paths(check: &mut Check<'_>, steps: &[StepShape], at: &BTreeMap<&str, usize>, has_exits: bool) {
    let by_id: BTreeMap<&str, &StepShape> = steps.iter().map(|s| (s.id.as_str(), s)).collect();
    let next = |id: &str| -> Vec<&str> {
        let targets = by_id.get(id).into_iter().flat_map(|s| s.targets());
        targets
            .filter_map(|target| match target {
                Target::Step(step) => Some(step.as_str()),
                Target::End(_) => None,
            })
            .collect()
    };
    let mut reached: BTreeSet<&str> = BTreeSet::new();
    let mut open: Vec<&str> = steps.first().map(|s| s.id.as_str()).into_iter().collect();
    while let Some(id) = open.pop() {
        if reached.insert(id) {
            open.extend(next(id));
        }
    }
    for step in steps {
        let offset = at.get(step.id.as_str()).copied().unwrap_or(0);
        if !reached.contains(step.id.as_str()) {
            let message = format!("step `{}` is never reached", step.id);
            check.wrong(
                offset,
                message,
                "name it in `next` or `on` of another step, or take it away",
            );
        }
    }
    // A date that has passed lets no time pass.
    let waits = |id: &str| {
        let kind = by_id.get(id).map(|s| &s.kind);
        matches!(kind, Some(StepKind::Wait { time: WaitTime::For(_) }))
    };
    for step in steps.iter().filter(|s| !waits(&s.id)) {
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        let mut open: Vec<&str> = next(&step.id);
        while let Some(id) = open.pop() {
            if !waits(id) && seen.insert(id) {
                open.extend(next(id));
            }
        }
        if seen.contains(step.id.as_str()) {
            let offset = at.get(step.id.as_str()).copied().unwrap_or(0);
            let message = format!("step `{}` comes round again without a wait", step.id);
            check.wrong(offset, message, "put a step with `wait` for some days into the loop");
            break;
        }
    }
    let ends = |id: &str| {
        by_id
            .get(id)
            .is_some_and(|s| s.targets().any(|t| matches!(t, Target::End(_))))
    };
    for step in steps.iter().filter(|_| !has_exits) {
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        let mut open: Vec<&str> = vec![step.id.as_str()];
        let mut found = false;
        while let Some(id) = open.pop() {
            if seen.insert(id) {
                found |= ends(id);
                open.extend(next(id));
            }
        }
        if !found {
            let offset = at.get(step.id.as_str()).copied().unwrap_or(0);
            let message = format!("from step `{}` on the play never ends", step.id);
            check.wrong(
                offset,
                message,
                "let a branch lead to \"end: REASON\", or add [[exits]]",
            );
            break;
        }
    }
}
