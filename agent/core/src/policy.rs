//! Policies: what admins write, checked and compiled.
//!
//! Promises: a folder either compiles whole or not at all, and then every problem is reported with file, line and column.
//! Unknown keys are errors. The compiled set is immutable and named by the hash of its texts, so an edit never
//! changes the past.

pub mod approvals;
mod cases;
mod exploration;
mod file;
pub mod gate;
mod playbook;
pub mod question;
mod scorecard;
mod scoring;
mod signals;
mod text;
mod trigger;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

pub use approvals::Approvals;
pub use cases::{
    Case, CaseReport, Failed, NOW as CASE_NOW, PlayCase, Uncovered, UncoveredCell, run as run_cases, unknown_rules,
};
pub use exploration::Exploration;
pub use file::Problem;
use gate::Vocabulary;
pub use gate::{Gate, Level, Request, RuleRef, Verdict};
pub use playbook::{ActionText, Discount, Economics, Plan, Playbook, Step, StepText, Subject};
pub(crate) use playbook::{TRIGGER, condition_of, exit_id, read_span};
pub use scorecard::{Bands, FamilyTerms, Index, Measure, Per, RollUp, Scorecard};
pub use scoring::{Capacity, CoverageTerms, FeedLimits, PostureLimits, Risk, RiskInput, Scoring, ValueTerms};
pub use signals::{Limits, SignalsPolicy};
pub use text::Pattern;
pub use trigger::{Matched, Triggers, schema_text};

use crate::decide::Book;
use crate::draft::Templates;
use crate::money::{Currency, Money};
use crate::play::Running;
use crate::replay::{Hash, canonical};

/// What features need of the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Currency in which accounts are compared.
    pub base: Currency,
    /// Units of the base currency for one unit of another.
    pub rates: BTreeMap<Currency, Decimal>,
    /// From this yearly revenue on an account without a tier is strategic, minor units of the base currency.
    pub strategic_from_minor: i64,
    /// From this yearly revenue on it is mid-touch.
    pub mid_touch_from_minor: i64,
    /// Days of measured use that a snapshot holds.
    pub usage_days: i64,
}

impl Settings {
    /// An amount in the base currency.
    ///
    /// # Errors
    /// Names the exchange rate that is missing.
    pub fn in_base(&self, amount: Money) -> Result<Money, String> {
        if amount.currency == self.base {
            return Ok(amount);
        }
        let rate = self.rates.get(&amount.currency).copied();
        rate.and_then(|rate| amount.convert(self.base, rate))
            .ok_or_else(|| format!("exchange rate of {} in scoring.toml [currency.rates]", amount.currency))
    }

    /// The sum of amounts in the base currency.
    ///
    /// # Errors
    /// Names the exchange rate that is missing.
    pub fn sum(&self, amounts: impl Iterator<Item = Money>) -> Result<Money, String> {
        let mut minor = 0_i64;
        for amount in amounts {
            minor = minor.saturating_add(self.in_base(amount)?.minor);
        }
        Ok(Money::new(minor, self.base))
    }
}

/// The texts of a policies folder and a prompts folder: what a bundle hash names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Policy files by path inside their folder, such as `playbooks/qbr-due.toml`.
    pub policies: BTreeMap<String, String>,
    /// Prompt files by path inside their folder, such as `qbr.hbs`.
    pub prompts: BTreeMap<String, String>,
}

impl Content {
    /// The name of exactly these texts.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Hash::of(canonical(self).as_bytes())
    }
}

/// A compiled, immutable set of policies.
pub struct Policies {
    /// Hash of the texts it was compiled from.
    pub content: Hash,
    /// What features need.
    pub settings: Settings,
    /// Scores, value and capacity.
    pub scoring: Scoring,
    /// Who decides what.
    pub gate: Gate,
    /// How people answer what waits for them.
    pub approvals: Approvals,
    /// What could be done, by id.
    pub playbooks: BTreeMap<String, Playbook>,
    /// Compiled conditions of the playbooks.
    pub triggers: Triggers,
    /// Document templates.
    pub templates: Templates,
    /// Playbooks as they were when plays began that still run, compiled when they are first asked for.
    pinned: Mutex<BTreeMap<Hash, Option<Arc<Playbook>>>>,
    /// What admins expect of the rules, in the order of files and lines.
    pub cases: Vec<Case>,
    /// What admins expect of plays, in the order of files and lines.
    pub play_cases: Vec<PlayCase>,
}

impl Policies {
    /// Checks and compiles. Either everything is right, or all problems are returned, in the order of files and lines.
    ///
    /// # Errors
    /// Every problem found.
    pub fn compile(content: &Content) -> Result<Policies, Vec<Problem>> {
        let mut problems = Vec::new();
        let named = Vocabulary::of(content);
        let scoring = required(content, "scoring.toml", &mut problems)
            .and_then(|text| scoring::compile("scoring.toml", text, &named, &mut problems));
        let settings = scoring.as_ref().map(|(_, settings)| settings);
        let table = required(content, "autonomy.toml", &mut problems)
            .and_then(|text| gate::table::compile("autonomy.toml", text, settings, &mut problems));
        let approvals = content.policies.get(approvals::FILE);
        let approvals = approvals.map_or_else(Approvals::default, |text| {
            approvals::compile(text, &named, &mut problems)
        });
        let rules = content.policies.iter().filter(|(path, _)| {
            (path.starts_with("rules/") || path.starts_with("promises/")) && !path.ends_with(".md")
        });
        let rules = rules.map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let gate = Gate::compile(table, &named, &rules, &mut problems);
        let tests = content
            .policies
            .iter()
            .filter(|(path, _)| path.starts_with("tests/") && !path.ends_with(".md"));
        let (cases, play_cases) = cases::read(tests, &named, &mut problems);
        let mut playbooks = BTreeMap::new();
        for (path, text) in &content.policies {
            match path.as_str() {
                // The schema is a copy for editors: what counts is the program's.
                "scoring.toml" | "autonomy.toml" | approvals::FILE | "schema.cedarschema" => {}
                path if ["rules/", "promises/", "tests/"].iter().any(|folder| path.starts_with(folder)) => {}
                _ => match path
                    .strip_prefix("playbooks/")
                    .and_then(|name| name.strip_suffix(".toml"))
                {
                    Some(name) if !name.contains('/') => {
                        let act_from = scoring.as_ref().map_or(0.0, |(s, _)| s.value.act_from);
                        if let Some(playbook) = playbook::compile(name, path, text, (act_from, &named), &mut problems) {
                            playbooks.insert(name.to_owned(), playbook);
                        }
                    }
                    Some(_) | None if path.ends_with(".md") => {}
                    Some(_) | None => problems.push(Problem::whole(
                        path,
                        "this file is not part of a policy".to_owned(),
                        "policies are scoring.toml, autonomy.toml, approvals.toml, playbooks/*.toml, rules/*.cedar, promises/*.cedar and tests/*.toml; move other files away",
                    )),
                },
            }
        }
        if playbooks.is_empty() {
            problems.push(Problem::whole(
                "playbooks",
                "there is no playbook".to_owned(),
                "add at least one file playbooks/NAME.toml; `perennial init` writes the shipped ones",
            ));
        }
        for (id, playbook) in &playbooks {
            for (offset, other) in &playbook.excludes_at {
                if other != id && playbooks.contains_key(other) {
                    continue;
                }
                let (message, help) = if other == id {
                    let help = "take it out; how often a playbook may come again is its cooldown_days".to_owned();
                    ("a playbook cannot exclude itself".to_owned(), help)
                } else {
                    let names = || playbooks.keys().map(String::as_str);
                    let help = file::did_you_mean(other, names())
                        .unwrap_or_else(|| format!("playbooks are {}", names().collect::<Vec<_>>().join(", ")));
                    (format!("there is no playbook `{other}`"), help)
                };
                let text = content.policies.get(&playbook.file).map_or("", String::as_str);
                problems.push(Problem::at(&playbook.file, text, *offset, message, help));
            }
        }
        // One that does not compile is told about already.
        let written = |name: &str| content.policies.contains_key(&format!("playbooks/{name}.toml"));
        cases::unknown_plays(&play_cases, &playbooks, written, &mut problems);
        let triggers = Triggers::compile(
            playbooks.iter().map(|(id, playbook)| trigger::Condition {
                id,
                key: "when",
                when: &playbook.when,
                file: &playbook.file,
                text: content.policies.get(&playbook.file).map_or("", String::as_str),
                offset: playbook.when_offset,
            }),
            &mut problems,
        );
        if let Some(gate) = &gate {
            let everywhere = gate.table().calendar.holidays.get(gate::hours::EVERYWHERE);
            for playbook in playbooks.values_mut() {
                let holidays = everywhere.cloned().unwrap_or_default();
                playbook.plan = playbook.plan.take().map(|plan| plan.with_holidays(holidays));
            }
        }
        let templates = match Templates::compile(&content.prompts) {
            Ok(templates) => Some(templates),
            Err(found) => {
                problems.extend(found.into_iter().map(|p| Problem {
                    file: format!("prompts/{}", p.file),
                    line: p.line,
                    column: p.column,
                    message: p.message,
                    help: p.help.unwrap_or_else(|| "docs/admin/templates shows how".to_owned()),
                }));
                None
            }
        };
        problems.sort_by(|a, b| (&a.file, a.line, a.column, &a.message).cmp(&(&b.file, b.line, b.column, &b.message)));
        match (scoring, gate, triggers, templates) {
            (Some((scoring, settings)), Some(gate), Some(triggers), Some(templates)) if problems.is_empty() => {
                Ok(Policies {
                    content: content.hash(),
                    settings,
                    scoring,
                    gate,
                    approvals,
                    playbooks,
                    triggers,
                    templates,
                    pinned: Mutex::default(),
                    cases,
                    play_cases,
                })
            }
            _ => Err(problems),
        }
    }
}

impl Policies {
    /// The playbook a running play follows: the one it is pinned to. None where that cannot be read any more, because it names
    /// what the policies do not know.
    pub(crate) fn playbook_of<'a>(&'a self, running: &Running) -> Option<Book<'a>> {
        let (id, pinned) = (running.playbook.as_str(), &running.pinned);
        let hash = pinned.hash();
        let in_force = self.playbooks.get(id);
        if let Some(playbook) = in_force.filter(|p| p.plan.as_ref().is_some_and(|plan| plan.hash == hash)) {
            return Some(Book::InForce(playbook));
        }
        let mut known = self.pinned.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let compiled = known.entry(hash).or_insert_with(|| {
            let (file, named) = (format!("playbooks/{id}.toml"), self.gate.vocabulary());
            // Whether it would begin today is no question: it has begun.
            let mut playbook = playbook::compile(id, &file, &pinned.text, (0.0, named), &mut Vec::new())?;
            let plan = playbook.plan.take()?;
            playbook.plan = Some(Plan {
                definition: pinned.clone(),
                hash,
                ..plan
            });
            Some(Arc::new(playbook))
        });
        compiled.clone().map(Book::Pinned)
    }
}

fn required<'a>(content: &'a Content, file: &str, problems: &mut Vec<Problem>) -> Option<&'a str> {
    let text = content.policies.get(file);
    if text.is_none() {
        problems.push(Problem::whole(
            file,
            "this file is missing".to_owned(),
            "`perennial init` writes a complete, commented policies folder",
        ));
    }
    text.map(String::as_str)
}
