//! Rules compiled from Cedar's own syntax tree to tests over slots, so that a decision needs no request and no entities.
//!
//! INVARIANT (one meaning): a program answers exactly what Cedar answers, rules and failures included. It covers a subset of the
//! language; a rule that leaves it makes [`Program::compile`] give nothing for that kind of action, which is then asked of
//! Cedar. Tests compare both on random facts.

mod compile;

use cedar_policy::Policy;
use cedar_policy::pst::PatternElem;

use super::named::Vocabulary;
use super::{Answer, Approval, Ask, Effect, Facts, Value};
use crate::action::ActionKind;
use crate::signal::Tier;

/// The rules for one kind of action, ready to be answered.
#[derive(Debug, Clone)]
pub struct Program {
    rules: Vec<(usize, Effect, Test)>,
    named: Vocabulary,
}

/// A whole number or a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    Literal(i64),
    Fact(usize),
    ApprovalExpires,
}

/// A text.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Text {
    Literal(String),
    Fact(usize),
    Field,
    ApprovalHash,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compare {
    Equal,
    Less,
    LessOrEqual,
}

/// A condition. Parts are tested from left to right and only as far as needed, as Cedar does.
#[derive(Debug, Clone, PartialEq)]
enum Test {
    Always(bool),
    Known(usize),
    Approved,
    Edited,
    Flag(usize),
    ApproverActive,
    ApproverIsEditor,
    ApproverIs(String),
    EditorIs(String),
    /// The approver holds one of these roles, as bits.
    ApproverAny(u64),
    /// The approver holds all of them.
    ApproverAll(u64),
    AccountIs(String),
    Numbers(Number, Compare, Number),
    NumberIn(Number, Vec<i64>),
    Texts(Text, Text),
    TextIn(Text, Vec<String>),
    Like(Text, Vec<PatternElem>),
    TierIn(usize, Vec<Tier>),
    Same(Box<(Test, Test)>),
    Not(Box<Test>),
    All(Vec<Test>),
    Any(Vec<Test>),
    If(Box<(Test, Test, Test)>),
}

/// A fact was read that is not there: in Cedar the rule fails then.
struct Fails;

/// What a test looks at.
struct View<'a> {
    values: &'a [Value],
    facts: &'a Facts,
    ask: Ask,
    approval: Option<&'a Approval>,
    /// Roles of the approver as bits.
    roles: u64,
}

impl Program {
    /// Compiles the rules that can match a kind, each with its position; nothing where one of them cannot be compiled.
    #[must_use]
    pub fn compile(kind: ActionKind, rules: &[(usize, Effect, Policy)], named: &Vocabulary) -> Option<Program> {
        let rules: Option<Vec<_>> = rules
            .iter()
            .map(|(at, effect, policy)| Some((*at, *effect, compile::policy(kind, policy, named)?)))
            .collect();
        Some(Program {
            rules: rules?,
            named: named.clone(),
        })
    }

    /// How many rules it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// What the rules answer. The facts must be complete for the question ([`Facts::complete`]).
    #[must_use]
    pub fn answer(&self, facts: &Facts, ask: Ask, approval: Option<&Approval>) -> Answer {
        let facts = &*facts.as_asked(ask);
        let view = View {
            values: &facts.values,
            facts,
            ask,
            approval,
            roles: approval.map_or(0, |a| self.named.bits(&a.by.roles)),
        };
        let (mut permits, mut forbids, mut failed) = (Vec::new(), Vec::new(), Vec::new());
        for (at, effect, test) in &self.rules {
            match (test.holds(&view), effect) {
                (Ok(true), Effect::Permit) => permits.push(*at),
                (Ok(true), Effect::Forbid) => forbids.push(*at),
                (Ok(false), _) => {}
                (Err(Fails), _) => failed.push(*at),
            }
        }
        if !failed.is_empty() {
            return Answer {
                failed,
                ..Answer::default()
            };
        }
        let allowed = forbids.is_empty() && !permits.is_empty();
        Answer {
            allowed,
            rules: if allowed { permits } else { forbids },
            failed,
        }
    }
}

impl Number {
    fn read(self, view: &View<'_>) -> Result<i64, Fails> {
        match self {
            Number::Literal(number) => Ok(number),
            Number::Fact(slot) => match view.values.get(slot) {
                Some(Value::Number(n) | Value::Moment(n)) => Ok(*n),
                _ => Err(Fails),
            },
            Number::ApprovalExpires => view.approval.map(|a| a.expires_at).ok_or(Fails),
        }
    }
}

impl Text {
    fn read<'a>(&'a self, view: &View<'a>) -> Result<&'a str, Fails> {
        match self {
            Text::Literal(text) => Ok(text),
            Text::Fact(slot) => match view.values.get(*slot) {
                Some(Value::Word(word)) => Ok(word),
                _ => Err(Fails),
            },
            Text::Field => Ok(view.ask.field_word()),
            Text::ApprovalHash => view.approval.map(|a| a.draft_hash.as_str()).ok_or(Fails),
        }
    }
}

impl Test {
    fn holds(&self, view: &View<'_>) -> Result<bool, Fails> {
        let approval = || view.approval.ok_or(Fails);
        Ok(match self {
            Test::Always(answer) => *answer,
            Test::Known(slot) => !matches!(view.values.get(*slot), Some(Value::Unknown) | None),
            Test::Approved => view.approval.is_some(),
            Test::Edited => view.facts.last_editor.is_some(),
            Test::Flag(slot) => match view.values.get(*slot) {
                Some(Value::Flag(flag)) => *flag,
                _ => return Err(Fails),
            },
            Test::ApproverActive => approval()?.by.active,
            Test::ApproverIsEditor => approval()?.by.id == *view.facts.last_editor.as_ref().ok_or(Fails)?,
            Test::ApproverIs(id) => approval()?.by.id == *id,
            Test::EditorIs(id) => view.facts.last_editor.as_ref().ok_or(Fails)? == id,
            Test::ApproverAny(roles) => {
                approval()?;
                view.roles & roles != 0
            }
            Test::ApproverAll(roles) => {
                approval()?;
                view.roles & roles == *roles
            }
            Test::AccountIs(id) => view.facts.account.as_str() == id,
            Test::Numbers(left, compare, right) => {
                let (left, right) = (left.read(view)?, right.read(view)?);
                match compare {
                    Compare::Equal => left == right,
                    Compare::Less => left < right,
                    Compare::LessOrEqual => left <= right,
                }
            }
            Test::NumberIn(number, list) => list.contains(&number.read(view)?),
            Test::Texts(left, right) => left.read(view)? == right.read(view)?,
            Test::TextIn(text, list) => {
                let text = text.read(view)?;
                list.iter().any(|item| item == text)
            }
            Test::Like(text, pattern) => like(text.read(view)?, pattern),
            Test::TierIn(slot, list) => match view.values.get(*slot) {
                Some(Value::Tier(tier)) => list.contains(tier),
                _ => return Err(Fails),
            },
            Test::Same(pair) => pair.0.holds(view)? == pair.1.holds(view)?,
            Test::Not(inner) => !inner.holds(view)?,
            Test::All(parts) => {
                for part in parts {
                    if !part.holds(view)? {
                        return Ok(false);
                    }
                }
                true
            }
            Test::Any(parts) => {
                for part in parts {
                    if part.holds(view)? {
                        return Ok(true);
                    }
                }
                false
            }
            Test::If(parts) => {
                if parts.0.holds(view)? {
                    parts.1.holds(view)?
                } else {
                    parts.2.holds(view)?
                }
            }
        })
    }
}

/// Whether a text fits a pattern of characters and wildcards: the last wildcard is tried again further on.
fn like(text: &str, pattern: &[PatternElem]) -> bool {
    let text: Vec<char> = text.chars().collect();
    let (mut at, mut want) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while let Some(c) = text.get(at) {
        match pattern.get(want) {
            Some(PatternElem::Wildcard) => {
                retry = Some((at, want));
                want += 1;
            }
            Some(PatternElem::Char(wanted)) if wanted == c => {
                at += 1;
                want += 1;
            }
            Some(PatternElem::Char(_)) | None => match retry {
                Some((from, star)) => {
                    at = from + 1;
                    want = star + 1;
                    retry = Some((at, star));
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(want).all(|p| *p == PatternElem::Wildcard)
}
