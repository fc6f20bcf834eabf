//! From Cedar's syntax tree to tests. What is not in the subset gives nothing.

use cedar_policy::Policy;
use cedar_policy::pst::{
    ActionConstraint, BinaryOp, Clause, EntityOrSlot, EntityUID, Expr, Literal, PrincipalConstraint,
    ResourceConstraint, UnaryOp, Var,
};

use super::super::cedar::AGENT;
use super::super::facts::FIELD;
use super::super::named::Vocabulary;
use super::super::vocabulary::{Kind, Place, TERMS, Term, slot};
use super::{Compare, Number, Test, Text};
use crate::action::ActionKind;
use crate::signal::{OwnerRole, Tier};
use crate::time::{Day, Timestamp};

/// A policy as one test, its scope included.
pub(super) fn policy(kind: ActionKind, policy: &Policy, named: &Vocabulary) -> Option<Test> {
    let compiler = Compiler { kind, named };
    let pst = policy.to_pst().ok()?;
    let body = pst.body();
    let principal = match &body.principal {
        PrincipalConstraint::Any => Test::Always(true),
        PrincipalConstraint::Is(of) => Test::Always(of.to_string() == "Agent"),
        PrincipalConstraint::Eq(EntityOrSlot::Entity(one)) | PrincipalConstraint::In(EntityOrSlot::Entity(one)) => {
            Test::Always(is_agent(one))
        }
        PrincipalConstraint::IsIn(of, EntityOrSlot::Entity(one)) => {
            Test::Always(of.to_string() == "Agent" && is_agent(one))
        }
        PrincipalConstraint::Eq(EntityOrSlot::Slot(_))
        | PrincipalConstraint::In(EntityOrSlot::Slot(_))
        | PrincipalConstraint::IsIn(_, EntityOrSlot::Slot(_)) => return None,
    };
    let action = match &body.action {
        ActionConstraint::Any => true,
        ActionConstraint::Eq(one) => is_action(one, kind),
        ActionConstraint::In(list) => list.iter().any(|one| compiler.is_action_in(one)),
    };
    let resource = match &body.resource {
        ResourceConstraint::Any => Test::Always(true),
        ResourceConstraint::Is(of) => Test::Always(of.to_string() == "Account"),
        ResourceConstraint::Eq(EntityOrSlot::Entity(one)) | ResourceConstraint::In(EntityOrSlot::Entity(one)) => {
            account(one)
        }
        ResourceConstraint::IsIn(of, EntityOrSlot::Entity(one)) if of.to_string() == "Account" => account(one),
        ResourceConstraint::IsIn(_, EntityOrSlot::Entity(_)) => Test::Always(false),
        ResourceConstraint::Eq(EntityOrSlot::Slot(_))
        | ResourceConstraint::In(EntityOrSlot::Slot(_))
        | ResourceConstraint::IsIn(_, EntityOrSlot::Slot(_)) => return None,
    };
    let mut parts = vec![principal, Test::Always(action), resource];
    for clause in body.clauses() {
        parts.push(match clause {
            Clause::When(expr) => compiler.test(expr)?,
            Clause::Unless(expr) => not(compiler.test(expr)?),
        });
    }
    Some(all(parts))
}

fn is_of(one: &EntityUID, type_name: &str) -> bool {
    one.ty.to_string() == type_name
}

fn is_agent(one: &EntityUID) -> bool {
    is_of(one, "Agent") && one.eid == AGENT
}

fn is_action(one: &EntityUID, kind: ActionKind) -> bool {
    is_of(one, "Action") && one.eid == kind.as_str()
}

fn account(one: &EntityUID) -> Test {
    if is_of(one, "Account") {
        Test::AccountIs(one.eid.to_string())
    } else {
        Test::Always(false)
    }
}

fn not(test: Test) -> Test {
    match test {
        Test::Always(answer) => Test::Always(!answer),
        Test::Not(inner) => *inner,
        other => Test::Not(Box::new(other)),
    }
}

/// All of them: what is always true is left out, and nothing behind what is never true is looked at.
fn all(parts: Vec<Test>) -> Test {
    let mut flat = Vec::new();
    for part in parts {
        match part {
            Test::Always(true) => {}
            Test::Always(false) => {
                flat.push(Test::Always(false));
                break;
            }
            Test::All(inner) => flat.extend(inner),
            other => flat.push(other),
        }
    }
    if flat.is_empty() {
        return Test::Always(true);
    }
    if flat.len() == 1
        && let Some(only) = flat.pop()
    {
        return only;
    }
    Test::All(flat)
}

fn any(parts: Vec<Test>) -> Test {
    let mut flat = Vec::new();
    for part in parts {
        match part {
            Test::Always(false) => {}
            Test::Always(true) => {
                flat.push(Test::Always(true));
                break;
            }
            Test::Any(inner) => flat.extend(inner),
            other => flat.push(other),
        }
    }
    if flat.is_empty() {
        return Test::Always(false);
    }
    if flat.len() == 1
        && let Some(only) = flat.pop()
    {
        return only;
    }
    Test::Any(flat)
}

/// What an attribute stands for.
enum Attribute {
    Fact(usize, &'static Term),
    Field,
    Approval,
    Editor,
    Approver,
    ApproverRoles,
    ApproverActive,
    ApprovalHash,
    ApprovalExpires,
}

struct Compiler<'v> {
    kind: ActionKind,
    named: &'v Vocabulary,
}

impl Compiler<'_> {
    fn is_action_in(&self, one: &EntityUID) -> bool {
        is_action(one, self.kind) || (is_of(one, "Action") && self.named.is_in(self.kind, &one.eid))
    }

    fn attribute(&self, expr: &Expr) -> Option<Attribute> {
        let Expr::GetAttr { expr: of, attr } = expr else {
            return None;
        };
        match of.as_ref() {
            Expr::Var(var) => self.top(var, attr),
            inner @ Expr::GetAttr { .. } => match (self.attribute(inner)?, attr.as_str()) {
                (Attribute::Approval, "by") => Some(Attribute::Approver),
                (Attribute::Approval, "draft_hash") => Some(Attribute::ApprovalHash),
                (Attribute::Approval, "expires_at") => Some(Attribute::ApprovalExpires),
                (Attribute::Approver, "roles") => Some(Attribute::ApproverRoles),
                (Attribute::Approver, "active") => Some(Attribute::ApproverActive),
                (_, _) => None,
            },
            _ => None,
        }
    }

    fn top(&self, var: &Var, name: &str) -> Option<Attribute> {
        let place = match var {
            Var::Resource => Place::Account,
            Var::Context => Place::Context,
            Var::Principal | Var::Action => return None,
        };
        match (place, name) {
            (Place::Context, "approval") => return Some(Attribute::Approval),
            (Place::Context, "last_editor") => return Some(Attribute::Editor),
            (Place::Account | Place::Context, _) => {}
        }
        let at = slot(place, name)?;
        let term = TERMS.get(at)?;
        if term.only.is_some_and(|only| only != self.kind) {
            return None;
        }
        if term.place == Place::Context && term.name == FIELD {
            return Some(Attribute::Field);
        }
        Some(Attribute::Fact(at, term))
    }

    fn number(&self, expr: &Expr) -> Option<Number> {
        match expr {
            Expr::Literal(Literal::Long(number)) => Some(Number::Literal(*number)),
            Expr::UnaryOp { op: UnaryOp::Neg, expr } => match expr.as_ref() {
                Expr::Literal(Literal::Long(number)) => number.checked_neg().map(Number::Literal),
                _ => None,
            },
            Expr::UnaryOp {
                op: UnaryOp::Datetime,
                expr,
            } => match expr.as_ref() {
                Expr::Literal(Literal::String(text)) => moment(text).map(Number::Literal),
                _ => None,
            },
            _ => match self.attribute(expr)? {
                Attribute::Fact(at, term) => match term.kind {
                    Kind::Number { .. } | Kind::Moment => Some(Number::Fact(at)),
                    Kind::Flag | Kind::Word | Kind::Tier => None,
                },
                Attribute::ApprovalExpires => Some(Number::ApprovalExpires),
                _ => None,
            },
        }
    }

    fn text(&self, expr: &Expr) -> Option<Text> {
        match expr {
            Expr::Literal(Literal::String(text)) => Some(Text::Literal(text.to_string())),
            _ => match self.attribute(expr)? {
                Attribute::Fact(at, term) if term.kind == Kind::Word => Some(Text::Fact(at)),
                Attribute::Field => Some(Text::Field),
                Attribute::ApprovalHash => Some(Text::ApprovalHash),
                _ => None,
            },
        }
    }

    fn tier(&self, expr: &Expr) -> Option<usize> {
        match self.attribute(expr)? {
            Attribute::Fact(at, term) if term.kind == Kind::Tier => Some(at),
            _ => None,
        }
    }

    fn equal(&self, left: &Expr, right: &Expr) -> Option<Test> {
        if let (Some(left), Some(right)) = (self.number(left), self.number(right)) {
            return Some(Test::Numbers(left, Compare::Equal, right));
        }
        if let (Some(left), Some(right)) = (self.text(left), self.text(right)) {
            return Some(Test::Texts(left, right));
        }
        for (one, other) in [(left, right), (right, left)] {
            if let (Some(at), Some(tier)) = (self.tier(one), tier_literal(other)) {
                return Some(Test::TierIn(at, vec![tier]));
            }
            if let (Expr::Var(var), Expr::Literal(Literal::EntityUID(uid))) = (one, other) {
                return match var {
                    Var::Principal => Some(Test::Always(is_agent(uid))),
                    Var::Action => Some(Test::Always(is_action(uid, self.kind))),
                    Var::Resource => Some(account(uid)),
                    Var::Context => None,
                };
            }
            if let (Some(Attribute::Approver), Some(Attribute::Editor)) = (self.attribute(one), self.attribute(other)) {
                return Some(Test::ApproverIsEditor);
            }
            if let Some(uid) = uid_literal(other).filter(|uid| is_of(uid, "Human")) {
                match self.attribute(one) {
                    Some(Attribute::Approver) => return Some(Test::ApproverIs(uid.eid.to_string())),
                    Some(Attribute::Editor) => return Some(Test::EditorIs(uid.eid.to_string())),
                    _ => {}
                }
            }
        }
        Some(Test::Same(Box::new((self.test(left)?, self.test(right)?))))
    }

    fn is_in(&self, left: &Expr, right: &Expr) -> Option<Test> {
        let uids: Vec<&EntityUID> = match right {
            Expr::Literal(Literal::EntityUID(uid)) => vec![uid],
            Expr::Set(list) => list.iter().map(|e| uid_literal(e)).collect::<Option<_>>()?,
            _ => return None,
        };
        match left {
            Expr::Var(Var::Action) => Some(Test::Always(uids.iter().any(|u| self.is_action_in(u)))),
            Expr::Var(Var::Principal) => Some(Test::Always(uids.iter().any(|u| is_agent(u)))),
            Expr::Var(Var::Resource) => Some(any(uids.into_iter().map(account).collect())),
            _ => {
                let at = self.tier(left)?;
                let tiers: Option<Vec<Tier>> = uids.into_iter().map(tier_of).collect();
                Some(Test::TierIn(at, tiers?))
            }
        }
    }

    fn contains(&self, set: &Expr, item: &Expr) -> Option<Test> {
        if let Some(Attribute::ApproverRoles) = self.attribute(set) {
            return Some(Test::ApproverAny(self.named.bits([&role_literal(item)?])));
        }
        let Expr::Set(list) = set else { return None };
        if let Some(at) = self.tier(item) {
            let tiers: Option<Vec<Tier>> = list.iter().map(|e| tier_literal(e)).collect();
            return Some(Test::TierIn(at, tiers?));
        }
        if let Some(text) = self.text(item) {
            let words: Option<Vec<String>> = list
                .iter()
                .map(|e| match e.as_ref() {
                    Expr::Literal(Literal::String(word)) => Some(word.to_string()),
                    _ => None,
                })
                .collect();
            return Some(Test::TextIn(text, words?));
        }
        let number = self.number(item)?;
        let numbers: Option<Vec<i64>> = list
            .iter()
            .map(|e| match self.number(e) {
                Some(Number::Literal(n)) => Some(n),
                Some(Number::Fact(_) | Number::ApprovalExpires) | None => None,
            })
            .collect();
        Some(Test::NumberIn(number, numbers?))
    }

    /// Bits of a set of roles.
    fn roles(&self, set: &Expr) -> Option<u64> {
        let Expr::Set(list) = set else { return None };
        let roles: Option<Vec<OwnerRole>> = list.iter().map(|e| role_literal(e)).collect();
        Some(self.named.bits(&roles?))
    }

    fn test(&self, expr: &Expr) -> Option<Test> {
        match expr {
            Expr::Literal(Literal::Bool(answer)) => Some(Test::Always(*answer)),
            Expr::UnaryOp { op: UnaryOp::Not, expr } => Some(not(self.test(expr)?)),
            Expr::BinaryOp { op, left, right } => self.binary(*op, left, right),
            Expr::GetAttr { .. } => match self.attribute(expr)? {
                Attribute::Fact(at, term) if term.kind == Kind::Flag => Some(Test::Flag(at)),
                Attribute::ApproverActive => Some(Test::ApproverActive),
                _ => None,
            },
            Expr::HasAttr { expr, attrs } => match (expr.as_ref(), attrs.tail.is_empty()) {
                (Expr::Var(var), true) => match self.top(var, &attrs.head)? {
                    Attribute::Fact(at, _) => Some(Test::Known(at)),
                    Attribute::Field => Some(Test::Always(true)),
                    Attribute::Approval => Some(Test::Approved),
                    Attribute::Editor => Some(Test::Edited),
                    _ => None,
                },
                (_, _) => None,
            },
            Expr::Like { expr, pattern } => Some(Test::Like(self.text(expr)?, pattern.clone())),
            Expr::Is {
                expr,
                entity_type,
                in_expr: None,
            } => match expr.as_ref() {
                Expr::Var(Var::Principal) => Some(Test::Always(entity_type.to_string() == "Agent")),
                Expr::Var(Var::Resource) => Some(Test::Always(entity_type.to_string() == "Account")),
                _ => None,
            },
            Expr::IfThenElse {
                cond,
                then_expr,
                else_expr,
            } => Some(Test::If(Box::new((
                self.test(cond)?,
                self.test(then_expr)?,
                self.test(else_expr)?,
            )))),
            _ => None,
        }
    }

    fn binary(&self, op: BinaryOp, left: &Expr, right: &Expr) -> Option<Test> {
        let numbers =
            |left: &Expr, compare, right: &Expr| Some(Test::Numbers(self.number(left)?, compare, self.number(right)?));
        match op {
            BinaryOp::And => Some(all(vec![self.test(left)?, self.test(right)?])),
            BinaryOp::Or => Some(any(vec![self.test(left)?, self.test(right)?])),
            BinaryOp::Eq => self.equal(left, right),
            BinaryOp::NotEq => Some(not(self.equal(left, right)?)),
            BinaryOp::Less => numbers(left, Compare::Less, right),
            BinaryOp::LessEq => numbers(left, Compare::LessOrEqual, right),
            BinaryOp::Greater => numbers(right, Compare::Less, left),
            BinaryOp::GreaterEq => numbers(right, Compare::LessOrEqual, left),
            BinaryOp::In => self.is_in(left, right),
            BinaryOp::Contains => self.contains(left, right),
            BinaryOp::ContainsAny => match self.attribute(left) {
                Some(Attribute::ApproverRoles) => Some(Test::ApproverAny(self.roles(right)?)),
                _ => None,
            },
            BinaryOp::ContainsAll => match self.attribute(left) {
                Some(Attribute::ApproverRoles) => Some(Test::ApproverAll(self.roles(right)?)),
                _ => None,
            },
            _ => None,
        }
    }
}

fn uid_literal(expr: &Expr) -> Option<&EntityUID> {
    match expr {
        Expr::Literal(Literal::EntityUID(uid)) => Some(uid),
        _ => None,
    }
}

fn tier_of(uid: &EntityUID) -> Option<Tier> {
    is_of(uid, "Tier").then(|| Tier::from_word(&uid.eid)).flatten()
}

fn tier_literal(expr: &Expr) -> Option<Tier> {
    uid_literal(expr).and_then(tier_of)
}

fn role_literal(expr: &Expr) -> Option<OwnerRole> {
    let uid = uid_literal(expr)?;
    is_of(uid, "Role").then(|| OwnerRole::from_word(&uid.eid)).flatten()
}

/// Milliseconds of a day or of a time in UTC; other forms that Cedar knows are left to Cedar.
fn moment(text: &str) -> Option<i64> {
    if let Ok(day) = text.parse::<Day>() {
        return Some(super::super::facts::moment(day.start()));
    }
    if !text.ends_with('Z') || !matches!(text.len(), 20 | 24) {
        return None;
    }
    text.parse::<Timestamp>().ok().map(super::super::facts::moment)
}
