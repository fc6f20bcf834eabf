//! Proofs about a gate: that its promises hold for every request there can be, asked of the solver cvc5 through
//! `cedar-policy-symcc`.
//!
//! Promises of this crate:
//!
//! - *Proved* is said only where the solver answered, for every kind of request, that no case contradicts the promise, **and** an
//!   edit that this crate planted to break the promise was found broken (the negative control).
//! - *Broken* is said only with a counterexample that Cedar's real authorizer answers in the same way (the replay).
//! - Everything else is *not proved*, with the reason: the solver is missing, stopped, took too long or did not know; the
//!   control was not found; solver and authorizer disagree.
//!
//! A proof is about the rules. It does not show that the facts in the CRM are right, that a promise says what its author meant, or that
//! everything asks the gate.

mod control;
mod counterexample;
mod difference;
mod narrower;
mod promises;
mod rules;
mod solver;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use cedar_policy::{RequestEnv, Schema};
use perennial_core::action::ActionKind;
use perennial_core::policy::gate::{Gate, Presence, Promise, RuleRef, Term, schema_text_of};
use perennial_core::time::Timestamp;
use serde::Serialize;

pub use counterexample::Counterexample;
pub use difference::{Example, KindChange};
pub use narrower::NotNarrower;
pub use solver::{Unproved, program};

use solver::Worker;

/// How to prove.
#[derive(Debug, Clone)]
pub struct Prover {
    /// The solver's program.
    pub program: PathBuf,
    /// Solver processes that run at the same time.
    pub threads: usize,
    /// Longest time for one question, milliseconds.
    pub timeout_ms: u64,
    /// The present: counterexamples are looked for in its year first.
    pub now: Timestamp,
}

/// Longest time for one question where nothing else is said.
pub const TIMEOUT_MS: u64 = 60_000;

/// A promise that holds for every request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proved {
    /// Its name.
    pub promise: String,
    /// The edit that was planted and found broken.
    pub control: String,
}

/// A promise that does not hold.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Broken {
    /// Its name.
    pub promise: String,
    /// What it promises.
    pub sentence: String,
    /// The rule that is to blame; none where no rule permits what is always to be allowed.
    pub rule: Option<String>,
    /// The file of that rule, else of the table.
    pub file: String,
    /// Its line.
    pub line: usize,
    /// All rules that led to the answer.
    pub rules: Vec<RuleRef>,
    /// A request that contradicts the promise.
    pub counterexample: Counterexample,
    /// What the real authorizer answers to it: `Allow` or `Deny`.
    pub replay: &'static str,
}

/// A promise of which it is not known whether it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotProved {
    /// Its name.
    pub promise: String,
    /// Why it is not known.
    pub why: String,
}

/// Something about one rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleFinding {
    /// Name of the rule.
    pub rule: String,
    /// Its file.
    pub file: String,
    /// Its line.
    pub line: usize,
    /// What was found.
    pub why: String,
}

/// What was found out.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Promises that hold, by name.
    pub proved: Vec<Proved>,
    /// Promises that do not hold, by name: one counterexample each.
    pub broken: Vec<Broken>,
    /// Promises of which it is not known, by name.
    pub not_proved: Vec<NotProved>,
    /// Rules that fail for some request, so that they deny it.
    pub erroring_rules: Vec<RuleFinding>,
    /// Rules that no request can match. They do no harm and no good.
    pub dead_rules: Vec<RuleFinding>,
    /// Rules of which it is not known whether they fail or match.
    pub unchecked_rules: Vec<RuleFinding>,
    /// Questions that went to the solver or were answered without it.
    pub questions: usize,
}

impl Report {
    /// Whether there are promises, all of them are proved, and no rule was found or suspected to fail.
    #[must_use]
    pub fn holds(&self) -> bool {
        !self.proved.is_empty()
            && self.broken.is_empty()
            && self.not_proved.is_empty()
            && self.erroring_rules.is_empty()
            && self.unchecked_rules.is_empty()
    }
}

/// What is to be asked next. Each is done by one worker with a solver of its own.
enum Job<'g> {
    /// All promises that can be about a kind of request.
    Kind(ActionKind),
    /// The negative control of a promise.
    Control(&'g Promise),
    /// Whether a rule, by its position, fails or never matches.
    Rule(usize),
}

/// What one promise got from all jobs.
#[derive(Default)]
struct Standing {
    broken: BTreeMap<ActionKind, Broken>,
    why: BTreeSet<String>,
    control: Option<String>,
    kinds: BTreeSet<ActionKind>,
}

#[derive(Default)]
struct Found {
    promises: BTreeMap<String, Standing>,
    erroring: BTreeMap<usize, RuleFinding>,
    dead: BTreeMap<usize, RuleFinding>,
    unchecked: BTreeMap<usize, RuleFinding>,
    questions: usize,
}

/// What every worker looks at.
pub(crate) struct Ground<'g> {
    pub(crate) gate: &'g Gate,
    /// The schema without the facts that neither a rule nor a promise mentions. What is not mentioned makes no difference to
    /// an answer, so that a proof in these words is one in all, and the solver need not read them with every question.
    pub(crate) schema: Schema,
    /// The kinds of request that the schema has.
    pub(crate) envs: BTreeMap<ActionKind, RequestEnv>,
    pub(crate) now: Timestamp,
    /// The promises that are asked about.
    pub(crate) promises: Vec<&'g Promise>,
}

impl Prover {
    /// Asks everything about a gate: its promises with their negative controls, and each rule.
    #[must_use]
    pub fn prove(&self, gate: &Gate) -> Report {
        let rules = (0..gate.rules().len()).map(Job::Rule).collect();
        self.ask(gate, gate.promises().iter().collect(), rules)
    }

    /// Asks about some promises only, with their negative controls and without the rules by themselves. Names of no promise are
    /// passed over.
    #[must_use]
    pub fn prove_only(&self, gate: &Gate, names: &BTreeSet<String>) -> Report {
        let promises = gate.promises().iter().filter(|promise| names.contains(&promise.id));
        self.ask(gate, promises.collect(), Vec::new())
    }

    fn ask<'g>(&self, gate: &'g Gate, promises: Vec<&'g Promise>, rules: Vec<Job<'g>>) -> Report {
        let schema = mentioned(gate);
        let envs = schema.request_envs().filter_map(|env| {
            let kind = ActionKind::from_word(env.action().id().unescaped())?;
            Some((kind, env))
        });
        let ground = Ground {
            gate,
            envs: envs.collect(),
            schema: schema.clone(),
            now: self.now,
            promises,
        };
        let kinds = ground.gate.vocabulary().actions().map(Job::Kind);
        let controls = ground.promises.iter().copied().map(Job::Control);
        let jobs: Vec<Job<'_>> = kinds.chain(controls).chain(rules).collect();
        let next = AtomicUsize::new(0);
        let found = Mutex::new(Found::default());
        let work = || {
            let mut worker = Worker::new(&self.program, self.timeout_ms);
            while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                do_job(&ground, &mut worker, job, &found);
            }
            with(&found, |f| f.questions += worker.questions);
        };
        std::thread::scope(|scope| {
            for _ in 0..self.threads.clamp(1, jobs.len().max(1)) {
                scope.spawn(work);
            }
        });
        report(
            &ground,
            found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner),
        )
    }
}

/// The schema of a gate with the facts only that every request has or that some rule or promise mentions.
fn mentioned(gate: &Gate) -> Schema {
    let rules = gate.rules().iter().map(|rule| rule.text.as_str());
    let texts: Vec<&str> = rules
        .chain(gate.promises().iter().map(|promise| promise.text.as_str()))
        .collect();
    let keep = |term: &Term| {
        term.presence == Presence::Always || texts.iter().any(|text| counterexample::mentions(text, term.name))
    };
    let text = schema_text_of(gate.vocabulary(), keep);
    // The whole schema does as well where the smaller one does not load.
    Schema::from_cedarschema_str(&text).map_or_else(|_| gate.schema().clone(), |(schema, _)| schema)
}

/// A worker that panicked leaves its findings as they are; what is missing in them is not proved.
fn with<T>(found: &Mutex<Found>, change: impl FnOnce(&mut Found) -> T) -> T {
    let mut found = found.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    change(&mut found)
}

fn do_job(ground: &Ground<'_>, worker: &mut Worker, job: &Job<'_>, found: &Mutex<Found>) {
    match job {
        Job::Kind(kind) => {
            for (promise, answer) in promises::ask(ground, worker, *kind) {
                with(found, |f| {
                    let standing = f.promises.entry(promise.id.clone()).or_default();
                    match answer {
                        promises::Answer::Holds => {
                            standing.kinds.insert(*kind);
                        }
                        promises::Answer::Broken(broken) => {
                            standing.kinds.insert(*kind);
                            standing.broken.insert(*kind, *broken);
                        }
                        promises::Answer::Unproved(why) => {
                            standing.why.insert(why.to_string());
                        }
                    }
                });
            }
        }
        Job::Control(promise) => {
            let done = control::plant(ground, worker, promise);
            with(found, |f| {
                let standing = f.promises.entry(promise.id.clone()).or_default();
                match done {
                    Ok(edit) => standing.control = Some(edit),
                    Err(why) => {
                        standing.why.insert(why.to_string());
                    }
                }
            });
        }
        Job::Rule(at) => {
            let Some(rule) = ground.gate.rules().get(*at) else {
                return;
            };
            let finding = |why: String| RuleFinding {
                rule: rule.id.clone(),
                file: rule.file.clone(),
                line: rule.line,
                why,
            };
            let checked = rules::check(ground, worker, rule);
            with(found, |f| match checked {
                Ok(rules::Checked::Sound) => {}
                Ok(rules::Checked::Dead) => {
                    f.dead.insert(*at, finding("no request can match it".to_owned()));
                }
                Ok(rules::Checked::Fails { kind }) => {
                    f.erroring
                        .insert(*at, finding(format!("it fails for some {kind}, and what fails denies")));
                }
                Err(why) => {
                    f.unchecked.insert(*at, finding(why.to_string()));
                }
            });
        }
    }
}

fn report(ground: &Ground<'_>, mut found: Found) -> Report {
    let mut report = Report {
        questions: found.questions,
        ..Report::default()
    };
    for promise in &ground.promises {
        let id = promise.id.clone();
        let mut standing = found.promises.remove(&id).unwrap_or_default();
        if standing.kinds != *promise.kinds() && standing.why.is_empty() {
            standing.why.insert("not every kind of request was asked".to_owned());
        }
        // The shortest way to see what is wrong: the first kind of request that breaks it, in the order of the table.
        let mut kinds = ground.gate.vocabulary().actions();
        if let Some(broken) = kinds.find_map(|kind| standing.broken.remove(&kind)) {
            report.broken.push(broken);
        } else if !standing.why.is_empty() {
            let why = standing.why.into_iter().collect::<Vec<_>>().join("; ");
            report.not_proved.push(NotProved { promise: id, why });
        } else if let Some(control) = standing.control {
            report.proved.push(Proved { promise: id, control });
        } else {
            let why = Unproved::Control {
                what: "it was not asked".to_owned(),
            }
            .to_string();
            report.not_proved.push(NotProved { promise: id, why });
        }
    }
    let sorted = |list: BTreeMap<usize, RuleFinding>| list.into_values().collect();
    report.erroring_rules = sorted(found.erroring);
    report.dead_rules = sorted(found.dead);
    report.unchecked_rules = sorted(found.unchecked);
    report
}

#[cfg(test)]
mod tests;
