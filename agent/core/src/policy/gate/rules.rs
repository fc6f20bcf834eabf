//! Rules that people write: `rules/50-*.cedar`, exceptions with an owner and an end, and `rules/90-*.cedar`, guard rails that only
//! forbid.
//!
//! A file is read whole: every mistake is named with line and column in it. An exception holds until the end of its `@until`
//! day (UTC) and no longer, whatever its conditions say.

use std::collections::BTreeSet;

use cedar_policy::{
    ActionConstraint, Policy, PolicyId, PolicySet, ValidationError, ValidationMode, ValidationWarning, Validator, pst,
};
use miette::Diagnostic;

use super::super::file::{Problem, did_you_mean, place};
use super::named::Vocabulary;
use super::vocabulary::{Place, TERMS};
use crate::action::ActionKind;
use crate::signal::Tier;
use crate::time::Day;

/// Whether a rule allows or forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Allows, where no other rule forbids.
    Permit,
    /// Forbids, whatever others allow.
    Forbid,
}

/// Where a rule comes from. Of several that forbid, the first in this order is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// `[[never]]` and `rules/90-*.cedar`.
    GuardRail,
    /// `rules/50-*.cedar`.
    Exception,
    /// `[limits]`.
    Limit,
    /// A cell of `[matrix]`.
    Cell,
}

/// One rule, with the place it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Name, unique in the bundle; also the id of its Cedar policy.
    pub id: String,
    /// Allows or forbids.
    pub effect: Effect,
    /// Where it comes from.
    pub origin: Origin,
    /// File inside the policies folder.
    pub file: String,
    /// Line from 1.
    pub line: usize,
    /// Why, for people.
    pub why: String,
    /// Who answers for it; exceptions only.
    pub owner: Option<String>,
    /// Last day on which it holds; exceptions only.
    pub until: Option<Day>,
    /// The cell of the table it was made from.
    pub cell: Option<(ActionKind, Tier)>,
    /// Exactly the Cedar text that is evaluated.
    pub text: String,
}

/// A rule with its parsed policy.
#[derive(Debug, Clone)]
pub(super) struct Parsed {
    pub(super) rule: Rule,
    pub(super) policy: Policy,
}

/// Texts of Cedar's help that are longer are cut.
const HELP_MAX: usize = 200;

/// Replaces comments by spaces, so that places stay and a rule in a comment is no rule.
fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut in_string, mut in_comment) = (false, false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if in_comment {
            in_comment = c != '\n';
        } else if in_string {
            in_string = c != '"';
            if c == '\\' {
                out.push(c);
                out.extend(chars.next());
                continue;
            }
        } else {
            in_string = c == '"';
            in_comment = c == '/' && chars.peek() == Some(&'/');
        }
        if in_comment {
            out.extend(std::iter::repeat_n(' ', c.len_utf8()));
        } else {
            out.push(c);
        }
    }
    out
}

/// A file as it is read: its text, and the problems found so far.
pub(super) struct Reading<'a> {
    pub(super) file: &'a str,
    pub(super) text: &'a str,
    blanked: String,
    pub(super) problems: Vec<Problem>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(file: &'a str, text: &'a str) -> Reading<'a> {
        Reading {
            file,
            text,
            blanked: without_comments(text),
            problems: Vec::new(),
        }
    }

    /// The policies of the file in their order, each as written and with the byte it begins at.
    pub(super) fn policies(&mut self) -> Vec<(Policy, String, usize)> {
        let set = match self.blanked.parse::<PolicySet>() {
            Ok(set) => set,
            Err(errors) => {
                for error in errors.iter() {
                    self.cedar(error, 0, None, None);
                }
                return Vec::new();
            }
        };
        if set.num_of_templates() > 0 {
            let message = "a rule with `?principal` or `?resource` is a template";
            self.wrong(0, message, "name what the rule is about; templates are not used here");
        }
        let mut policies: Vec<&Policy> = set.policies().collect();
        // Cedar numbers them in the order of the file: policy0, policy1 and so on.
        policies.sort_by_key(|p| {
            let id: &str = p.id().as_ref();
            (id.len(), id.to_owned())
        });
        let mut cursor = 0;
        let mut found = Vec::with_capacity(policies.len());
        for policy in policies {
            let written = policy.to_cedar().unwrap_or_default();
            let at = self.blanked.get(cursor..).and_then(|rest| rest.find(&written));
            let start = cursor + at.unwrap_or(0);
            cursor = start + written.len();
            found.push((policy.clone(), written, start));
        }
        found
    }

    pub(super) fn wrong(&mut self, offset: usize, message: impl Into<String>, help: impl Into<String>) {
        let problem = Problem::at(self.file, self.text, offset, message.into(), help.into());
        // Cedar says the same once for every kind of request.
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// Something like `0.8` around a byte.
    fn decimal_at(&self, offset: usize) -> Option<&str> {
        let part = |b: u8| b.is_ascii_digit() || b == b'.';
        let bytes = self.blanked.as_bytes();
        let at = offset.min(bytes.len());
        let before = bytes.get(..at)?.iter().rev().take_while(|b| part(**b)).count();
        let after = bytes.get(at..)?.iter().take_while(|b| part(**b)).count();
        let word = self.blanked.get(at - before..at + after)?;
        let (whole, rest) = word.split_once('.')?;
        (!whole.is_empty() && !rest.is_empty()).then_some(word)
    }

    fn cedar(&mut self, error: &dyn Diagnostic, fallback: usize, name: Option<&str>, help: Option<String>) {
        let offset = error
            .labels()
            .and_then(|mut l| l.next())
            .map_or(fallback, |l| l.offset());
        let said = error.to_string();
        let message = match (name, said.split_once("`, ")) {
            (Some(name), Some((_, rest))) if said.starts_with("for policy `") => format!("rule `{name}`: {rest}"),
            (Some(_) | None, Some(_) | None) => said,
        };
        if name.is_none()
            && let Some(decimal) = self.decimal_at(offset)
        {
            let help = match decimal.parse::<f64>() {
                Ok(share) if share <= 1.0 => {
                    let per_mille = crate::number::Micro::from_f64(share).0 / 1000;
                    format!("rules know whole numbers only; use per mille: {decimal} is {per_mille}")
                }
                Ok(_) | Err(_) => "rules know whole numbers only; use per mille or minor units".to_owned(),
            };
            let message = format!("`{decimal}` is no whole number");
            self.wrong(offset, message, help);
            return;
        }
        let help = help.or_else(|| error.help().map(|h| h.to_string()));
        let mut help = help.unwrap_or_else(|| "policies/schema.cedarschema lists the words that rules know".to_owned());
        if help.len() > HELP_MAX {
            let cut = help
                .char_indices()
                .map(|(at, _)| at)
                .take_while(|at| *at < HELP_MAX)
                .last();
            help.truncate(cut.unwrap_or(0));
            help.push_str(" …");
        }
        self.wrong(offset, message, help);
    }
}

/// What kind of rules a file holds, by its name.
fn class(file: &str) -> Option<Origin> {
    let name = file.strip_prefix("rules/")?.strip_suffix(".cedar")?;
    if name.contains('/') {
        None
    } else if name.starts_with("50-") {
        Some(Origin::Exception)
    } else if name.starts_with("90-") {
        Some(Origin::GuardRail)
    } else {
        None
    }
}

/// Reads one file of rules.
pub(super) fn read(file: &str, text: &str, validator: &Validator, problems: &mut Vec<Problem>) -> Vec<Parsed> {
    let Some(origin) = class(file) else {
        problems.push(Problem::whole(
            file,
            "this file is not part of a policy".to_owned(),
            "rules are rules/50-NAME.cedar (exceptions) and rules/90-NAME.cedar (guard rails)",
        ));
        return Vec::new();
    };
    let mut reading = Reading::new(file, text);
    let mut found = Vec::new();
    for (policy, written, start) in reading.policies() {
        if let Some(parsed) = one(&mut reading, origin, &policy, &written, start, validator) {
            found.push(parsed);
        }
    }
    problems.append(&mut reading.problems);
    found
}

fn one(
    reading: &mut Reading<'_>,
    origin: Origin,
    policy: &Policy,
    written: &str,
    start: usize,
    validator: &Validator,
) -> Option<Parsed> {
    let before = reading.problems.len();
    let said = |key: &str| policy.annotation(key).map(str::trim).filter(|s| !s.is_empty());
    let mut needed: Vec<(&str, &str)> = vec![
        ("id", "a short name, such as @id(\"quiet-quarter\")"),
        ("why", "the reason, as people read it"),
    ];
    if origin == Origin::Exception {
        needed.push(("owner", "who answers for the exception"));
        needed.push((
            "until",
            "the last day on which it holds, such as @until(\"2026-12-31\")",
        ));
    }
    for (key, meaning) in &needed {
        if said(key).is_none() {
            reading.wrong(
                start,
                format!("this rule has no @{key}"),
                format!("add @{key}: {meaning}"),
            );
        }
    }
    for (key, _) in policy.annotations() {
        let known = ["id", "why", "owner", "until"];
        if !known.contains(&key) {
            let help = did_you_mean(key, known.into_iter()).unwrap_or_else(|| "remove it".to_owned());
            reading.wrong(start, format!("unknown annotation @{key}"), help);
        }
    }
    let until = match said("until").map(str::parse::<Day>) {
        Some(Err(error)) => {
            reading.wrong(start, format!("@until: {error}"), "write a day such as 2026-12-31");
            None
        }
        Some(Ok(day)) => Some(day),
        None => None,
    };
    let effect = match policy.effect() {
        cedar_policy::Effect::Permit => Effect::Permit,
        cedar_policy::Effect::Forbid => Effect::Forbid,
    };
    if origin == Origin::GuardRail && effect == Effect::Permit {
        reading.wrong(
            start,
            "a guard rail may only forbid",
            "write `forbid`, or move the rule to rules/50-exceptions.cedar with @owner and @until",
        );
    }
    let id = said("id").unwrap_or("policy").to_owned();
    sense(reading, policy, written, start, &id, validator);
    let own_id = PolicyId::new(&id);
    let text = match until {
        Some(day) => {
            let open = written.trim_end().trim_end_matches(';');
            format!("{open}\nwhen {{ context.now < datetime(\"{}\") }};", day.plus(1))
        }
        None => written.to_owned(),
    };
    let policy = match Policy::parse(Some(own_id), &text) {
        Ok(policy) => Some(policy),
        Err(error) => {
            reading.wrong(
                start,
                format!("this rule does not end as expected: {error}"),
                "end it with `;`",
            );
            None
        }
    };
    let rule = Rule {
        effect,
        origin,
        file: reading.file.to_owned(),
        line: place(reading.text, start).0,
        why: said("why").unwrap_or_default().to_owned(),
        owner: said("owner").map(str::to_owned),
        until,
        cell: None,
        text,
        id,
    };
    (reading.problems.len() == before)
        .then_some(policy)
        .flatten()
        .map(|policy| Parsed { rule, policy })
}

/// Checks what a policy says against the vocabulary.
pub(super) fn sense(
    reading: &mut Reading<'_>,
    policy: &Policy,
    written: &str,
    start: usize,
    id: &str,
    validator: &Validator,
) {
    let before = reading.problems.len();
    if let Ok(pst) = policy.to_pst() {
        for part in parts(&pst) {
            if let Some(operator) = calculates(part) {
                let message = format!("`{operator}` calculates, and a sum may overflow: a rule that fails is no rule");
                let help = "compare facts with numbers; if a derived fact is missing, ask for it";
                reading.wrong(start, message, help);
            }
            if reads_editor(part) {
                let message = "of the last editor only who it was is known";
                let help = "compare `context.last_editor` with a person; roles are known of `context.approval.by`";
                reading.wrong(start, message, help);
            }
            if let Some((name, known)) = unheard_of(part) {
                let at = written.find(&format!("has {name}")).map_or(0, |at| at + "has ".len());
                let help = did_you_mean(name, known.into_iter())
                    .unwrap_or_else(|| "policies/schema.cedarschema lists the facts".to_owned());
                reading.wrong(start + at, format!("there is no fact `{name}`"), help);
            }
        }
    }
    let alone = PolicySet::from_policies([policy.new_id(PolicyId::new(id))]);
    if let Ok(alone) = alone {
        let result = validator.validate(&alone, ValidationMode::Strict);
        for error in result.validation_errors() {
            let help = match error {
                ValidationError::UnsafeOptionalAttributeAccess(_) => Some(
                    "this fact may be unknown: a permit reads it as `resource has FACT && …`, a forbid as `unless { resource has FACT && … }`, so that what is not known forbids"
                        .to_owned(),
                ),
                _ => None,
            };
            reading.cedar(error, start, Some(id), help);
        }
        let never = |w: &ValidationWarning| matches!(w, ValidationWarning::ImpossiblePolicy(_));
        if reading.problems.len() == before && result.validation_warnings().any(never) {
            let help = "nothing fulfils all its conditions; groups of actions are asked with `action in`";
            reading.wrong(start, format!("the rule `{id}` can never hold"), help);
        }
    }
}

/// Every part of a rule's conditions.
fn parts(policy: &pst::Policy) -> Vec<&pst::Expr> {
    let mut found = Vec::new();
    for clause in policy.body().clauses() {
        match clause {
            pst::Clause::When(expr) | pst::Clause::Unless(expr) => collect(expr, &mut found),
        }
    }
    found
}

fn collect<'a>(expr: &'a pst::Expr, found: &mut Vec<&'a pst::Expr>) {
    use pst::Expr;
    found.push(expr);
    match expr {
        Expr::BinaryOp { left, right, .. } => {
            collect(left, found);
            collect(right, found);
        }
        Expr::UnaryOp { expr, .. }
        | Expr::GetAttr { expr, .. }
        | Expr::HasAttr { expr, .. }
        | Expr::Like { expr, .. } => collect(expr, found),
        Expr::Is { expr, in_expr, .. } => {
            collect(expr, found);
            if let Some(inner) = in_expr {
                collect(inner, found);
            }
        }
        Expr::IfThenElse {
            cond,
            then_expr,
            else_expr,
        } => {
            collect(cond, found);
            collect(then_expr, found);
            collect(else_expr, found);
        }
        Expr::Set(list) => list.iter().for_each(|e| collect(e, found)),
        Expr::Record(map) => map.values().for_each(|e| collect(e, found)),
        _ => {}
    }
}

/// The operator of a part that calculates.
fn calculates(part: &pst::Expr) -> Option<&'static str> {
    use pst::{BinaryOp, Expr, UnaryOp};
    match part {
        Expr::BinaryOp { op, .. } => match op {
            BinaryOp::Add => Some("+"),
            BinaryOp::Sub => Some("-"),
            BinaryOp::Mul => Some("*"),
            BinaryOp::Offset => Some("offset"),
            BinaryOp::DurationSince => Some("durationSince"),
            _ => None,
        },
        Expr::UnaryOp { op, expr } => match op {
            UnaryOp::Neg => match expr.as_ref() {
                Expr::Literal(pst::Literal::Long(_)) => None,
                _ => Some("-"),
            },
            UnaryOp::ToDate => Some("toDate"),
            _ => None,
        },
        _ => None,
    }
}

/// A name behind `has` that nothing has. Cedar takes it for a fact that is never there, so that a slip of the pen would switch the
/// rule off.
fn unheard_of(part: &pst::Expr) -> Option<(&str, Vec<&'static str>)> {
    let pst::Expr::HasAttr { expr, attrs } = part else {
        return None;
    };
    let (place, others): (Place, &[&'static str]) = match expr.as_ref() {
        pst::Expr::Var(pst::Var::Resource) => (Place::Account, &[]),
        pst::Expr::Var(pst::Var::Context) => (Place::Context, &["approval", "last_editor"]),
        _ => return None,
    };
    let known: Vec<&'static str> = TERMS
        .iter()
        .filter(|t| t.place == place)
        .map(|t| t.name)
        .chain(others.iter().copied())
        .collect();
    let name = attrs.head.as_str();
    (!known.contains(&name)).then_some((name, known))
}

/// Whether a part reads something of the last editor. Only who that was is known, so in Cedar such a rule would fail.
fn reads_editor(part: &pst::Expr) -> bool {
    let (pst::Expr::GetAttr { expr, .. } | pst::Expr::HasAttr { expr, .. }) = part else {
        return false;
    };
    let pst::Expr::GetAttr { expr: of, attr } = expr.as_ref() else {
        return false;
    };
    matches!(of.as_ref(), pst::Expr::Var(pst::Var::Context)) && attr == "last_editor"
}

/// The kinds of action that a rule can be about, by its scope alone.
pub(super) fn kinds(policy: &Policy, named: &Vocabulary) -> BTreeSet<ActionKind> {
    let of = |uid: &cedar_policy::EntityUid, through_groups: bool| {
        let word = uid.id().unescaped();
        named
            .actions()
            .filter(|kind| kind.as_str() == word || (through_groups && named.is_in(*kind, word)))
            .collect::<Vec<_>>()
    };
    match policy.action_constraint() {
        ActionConstraint::Any => named.actions().collect(),
        ActionConstraint::Eq(uid) => of(&uid, false).into_iter().collect(),
        ActionConstraint::In(list) => list.iter().flat_map(|uid| of(uid, true)).collect(),
    }
}
