//! `tests/*.toml`: what admins expect of the rules, and what the rules say to it.
//!
//! A test is a question with the answer that is expected. The report also says which cells of the table and which rules no test
//! touched: an untested rule is one that nobody will miss when it is gone.

mod plays;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::file::{Problem, did_you_mean, parse, place};
use super::gate::{Cell, Place, Vocabulary};
use super::question::{Given, Mistake, Part, Question, Unnamed};
use super::{Gate, Policies, RuleRef};
use crate::action::ActionKind;
use crate::signal::Tier;
use crate::time::Timestamp;
pub use plays::PlayCase;
pub(super) use plays::unknown as unknown_plays;

/// The time of a test that names none.
pub const NOW: &str = "2026-03-02T12:00:00Z";

/// One test.
#[derive(Debug, Clone)]
pub struct Case {
    /// Its name, unique in its file.
    pub name: String,
    /// File inside the policies folder.
    pub file: String,
    /// Line of its name.
    pub line: usize,
    /// What is asked.
    pub question: Question,
    /// The word that is expected: a verdict, or with an approval `allowed` or `refused`.
    pub expect: String,
    /// A rule that must be among those that led to it.
    pub because: Option<String>,
    /// Line and column of that.
    pub because_at: (usize, usize),
}

type GivenTable = BTreeMap<Spanned<String>, Spanned<toml::Value>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseFile {
    #[serde(default)]
    test: Vec<CaseTable>,
    #[serde(default)]
    play: Vec<plays::PlayTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseTable {
    name: Spanned<String>,
    action: Spanned<String>,
    #[serde(default)]
    account: GivenTable,
    #[serde(default)]
    context: GivenTable,
    approval: Option<GivenTable>,
    expect: Spanned<String>,
    because: Option<Spanned<String>>,
}

struct Reading<'a> {
    file: &'a str,
    text: &'a str,
    problems: &'a mut Vec<Problem>,
}

impl Reading<'_> {
    fn wrong(&mut self, offset: usize, message: impl Into<String>, help: impl Into<String>) {
        let problem = Problem::at(self.file, self.text, offset, message.into(), help.into());
        self.problems.push(problem);
    }

    fn mistake(&mut self, name: usize, value: usize, mistake: Mistake) {
        let offset = match mistake.part {
            Part::Name => name,
            Part::Value => value,
        };
        self.wrong(offset, mistake.message, mistake.help);
    }
}

/// Reads the files of tests.
pub(super) fn read<'a>(
    files: impl Iterator<Item = (&'a String, &'a String)>,
    named: &Vocabulary,
    problems: &mut Vec<Problem>,
) -> (Vec<Case>, Vec<PlayCase>) {
    let (mut cases, mut played) = (Vec::new(), Vec::new());
    for (file, text) in files {
        let name = file.strip_prefix("tests/").and_then(|name| name.strip_suffix(".toml"));
        if name.is_none_or(|name| name.contains('/') || name.is_empty()) {
            problems.push(Problem::whole(
                file,
                "this file is not part of a policy".to_owned(),
                "tests are tests/NAME.toml; move other files away",
            ));
            continue;
        }
        let Some(raw) = parse::<CaseFile>(file, text, problems) else {
            continue;
        };
        let mut reading = Reading { file, text, problems };
        if raw.test.is_empty() && raw.play.is_empty() {
            reading.wrong(
                0,
                "this file holds no test",
                "add a [[test]] or a [[play]], or remove the file",
            );
        }
        let mut lines: BTreeMap<&str, usize> = BTreeMap::new();
        let names = raw.test.iter().map(|table| &table.name);
        for name in names.chain(raw.play.iter().map(|table| &table.name)) {
            let line = place(text, name.span().start).0;
            if let Some(first) = lines.insert(name.get_ref(), line) {
                let message = format!(
                    "two tests are named `{}`; the other stands on line {first}",
                    name.get_ref()
                );
                reading.wrong(name.span().start, message, "give one of the two another name");
            }
        }
        for table in &raw.test {
            let line = place(text, table.name.span().start).0;
            cases.extend(case(&mut reading, table, line, named));
        }
        for table in &raw.play {
            played.extend(plays::read(&mut reading, table));
        }
    }
    (cases, played)
}

fn case(reading: &mut Reading<'_>, table: &CaseTable, line: usize, named: &Vocabulary) -> Option<Case> {
    let before = reading.problems.len();
    let now: Timestamp = NOW.parse().unwrap_or(Timestamp::EPOCH);
    let mut question = match Question::about(table.action.get_ref(), Unnamed::Harmless, now, named) {
        Ok(question) => question,
        Err(mistake) => {
            let at = table.action.span().start;
            reading.mistake(at, at, mistake);
            return None;
        }
    };
    for (facts, place) in [(&table.account, Place::Account), (&table.context, Place::Context)] {
        for (name, value) in facts {
            if let Err(mistake) = question.say(place, name.get_ref(), &Given::from(value.get_ref())) {
                reading.mistake(name.span().start, value.span().start, mistake);
            }
        }
    }
    if let Some(approval) = &table.approval {
        let given: Vec<(&str, Given)> = approval
            .iter()
            .map(|(name, value)| (name.get_ref().as_str(), Given::from(value.get_ref())))
            .collect();
        if let Err((key, mistake)) = question.approve(&given) {
            let at = approval.iter().find(|(name, _)| name.get_ref() == key);
            let (name, value) = at.map_or((0, 0), |(name, value)| (name.span().start, value.span().start));
            reading.mistake(name, value, mistake);
        }
    }
    let expect = table.expect.get_ref();
    if let Some(help) = unexpected(expect, table.approval.is_some(), named) {
        reading.wrong(table.expect.span().start, format!("`{expect}` is no answer here"), help);
    }
    (reading.problems.len() == before).then(|| Case {
        name: table.name.get_ref().clone(),
        file: reading.file.to_owned(),
        line,
        question,
        expect: expect.clone(),
        because: table.because.as_ref().map(|because| because.get_ref().clone()),
        because_at: table
            .because
            .as_ref()
            .map_or((0, 0), |because| place(reading.text, because.span().start)),
    })
}

/// What to write instead of a word that cannot be the answer.
fn unexpected(word: &str, approved: bool, named: &Vocabulary) -> Option<String> {
    let of_verdict = matches!(word, "auto" | "advise" | "never")
        || word
            .strip_prefix("approve:")
            .is_some_and(|role| named.role(role).is_some());
    let of_approval = matches!(word, "allowed" | "refused");
    match approved {
        true if of_approval => None,
        true => Some("with an approval the answer is \"allowed\" or \"refused\"".to_owned()),
        false if of_verdict => None,
        false if of_approval => Some("without an approval the answer is a verdict, such as \"auto\"".to_owned()),
        false => {
            let roles: Vec<&str> = named.roles().map(|role| role.as_str()).collect();
            let roles = roles.join(", ");
            Some(format!(
                "write \"auto\", \"advise\", \"never\" or \"approve:ROLE\"; roles are {roles}"
            ))
        }
    }
}

/// Every name that a verdict may give to a rule.
fn rule_names(gate: &Gate) -> BTreeSet<String> {
    let rules = gate.rules().iter().map(|rule| rule.id.clone());
    let cells = gate.table().cells.keys().map(|(kind, tier)| format!("{kind}:{tier}"));
    let fixed = ["auto", "facts", "roles", "tier-known"].map(str::to_owned);
    rules.chain(cells).chain(fixed).collect()
}

/// Tests that name a rule which is not there: a slip of the pen, or a rule that is gone. The rules are right without it, so that it keeps
/// nothing from being decided.
#[must_use]
pub fn unknown_rules(policies: &Policies) -> Vec<Problem> {
    let known = rule_names(&policies.gate);
    let mut problems = Vec::new();
    for case in &policies.cases {
        let Some(because) = case.because.as_ref().filter(|because| !known.contains(*because)) else {
            continue;
        };
        let help = did_you_mean(because, known.iter().map(String::as_str))
            .unwrap_or_else(|| "rules are named by @id, cells of the table ACTION:TIER, limits limit:NAME".to_owned());
        problems.push(Problem {
            file: case.file.clone(),
            line: case.because_at.0,
            column: case.because_at.1,
            message: format!("there is no rule `{because}`"),
            help,
        });
    }
    problems
}

/// A test that did not get what it expects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failed {
    /// Its name.
    pub name: String,
    /// Its file.
    pub file: String,
    /// Its line.
    pub line: usize,
    /// The word that was expected, with the rule where one was named.
    pub expected: String,
    /// The word it got.
    pub got: String,
    /// The rules that led to it, the decisive one first.
    pub rules: Vec<RuleRef>,
}

/// A cell that no test touched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UncoveredCell {
    /// Action and tier, as rules name the cell.
    pub cell: String,
    /// File of the table.
    pub file: String,
    /// Its line.
    pub line: usize,
}

/// What no test touched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
pub struct Uncovered {
    /// Cells of the table, by action and tier.
    pub cells: Vec<UncoveredCell>,
    /// Other rules, in their order.
    pub rules: Vec<RuleRef>,
}

/// What the tests found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
pub struct CaseReport {
    /// How many tests got what they expect.
    pub passed: usize,
    /// The others, in the order of files and lines.
    pub failed: Vec<Failed>,
    /// What no test touched.
    pub uncovered: Uncovered,
}

/// Asks every test.
#[must_use]
pub fn run(policies: &Policies) -> CaseReport {
    let gate = &policies.gate;
    let mut report = CaseReport::default();
    let mut touched: BTreeSet<usize> = BTreeSet::new();
    let mut cells: BTreeSet<(ActionKind, Tier)> = BTreeSet::new();
    for case in &policies.cases {
        let decided = case.question.decide(gate, &policies.settings);
        let names = |rule: &RuleRef| case.because.as_ref() == Some(&rule.id);
        // A permit of a cell is named by the cell; its own name counts too.
        let by_own_name = || {
            let mut rules = decided.touched.iter().filter_map(|at| gate.rules().get(*at));
            rules.any(|rule| case.because.as_ref() == Some(&rule.id))
        };
        let because = case.because.is_none() || decided.rules.iter().any(names) || by_own_name();
        if let (kind, Some(tier)) = case.question.cell() {
            let cell = format!("{kind}:{tier}");
            if decided.rules.iter().any(|rule| rule.id == cell) {
                cells.insert((kind, tier));
            }
        }
        touched.extend(&decided.touched);
        if decided.word == case.expect && because {
            report.passed += 1;
            continue;
        }
        report.failed.push(Failed {
            name: case.name.clone(),
            file: case.file.clone(),
            line: case.line,
            expected: match &case.because {
                Some(rule) => format!("{} because {rule}", case.expect),
                None => case.expect.clone(),
            },
            got: decided.word,
            rules: decided.rules,
        });
    }
    for case in &policies.play_cases {
        match plays::run(case, &policies.playbooks) {
            None => report.passed += 1,
            Some(failed) => report.failed.push(failed),
        }
    }
    report.uncovered = uncovered(gate, &touched, &cells);
    report
}

fn uncovered(gate: &Gate, touched: &BTreeSet<usize>, named: &BTreeSet<(ActionKind, Tier)>) -> Uncovered {
    let of_rules = touched.iter().filter_map(|at| gate.rules().get(*at)?.cell);
    let cells: BTreeSet<(ActionKind, Tier)> = of_rules.chain(named.iter().copied()).collect();
    let table = gate.table();
    let untouched = table.cells.iter().filter(|(cell, _)| !cells.contains(cell));
    let rules = gate.rules().iter().enumerate().filter(|(at, rule)| {
        // A cell of two rules is touched by either; the other one is named here.
        !touched.contains(at)
            && match rule.cell {
                None => true,
                Some(cell) => {
                    let two = matches!(
                        table.cells.get(&cell).map(|c| c.value),
                        Some(Cell::AutoElse(_) | Cell::EarnedElse(_))
                    );
                    two && cells.contains(&cell)
                }
            }
    });
    Uncovered {
        cells: untouched
            .map(|((kind, tier), cell)| UncoveredCell {
                cell: format!("{kind}:{tier}"),
                file: table.file.clone(),
                line: cell.line,
            })
            .collect(),
        rules: rules
            .map(|(_, rule)| RuleRef {
                id: rule.id.clone(),
                ..RuleRef::from(rule)
            })
            .collect(),
    }
}
