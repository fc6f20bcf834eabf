//! The verdict: rules are asked without an approval, then with hypothetical approvals of one role after the other, and the first
//! yes says who has to agree. Who approves for real is asked again with the real approval ([`Gate::permits`]).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::facts::{EARNED, moment};
use super::generate::percent;
use super::table::{Cell, delay_text};
use super::vocabulary::{Place, schema_text};
use super::{Answer, Approval, Ask, Effect, FactError, Facts, Gate, Human, Origin, Request, Rule, Value};
use crate::action::{ActionKind, Ground, Permit};
use crate::ids::ActionId;
use crate::money::Money;
use crate::policy::Settings;
use crate::replay::Hash;
use crate::signal::{OwnerRole, Tier, word_enum};

word_enum! {
    /// What may happen without a person. The order is that of strictness.
    Level {
        /// Runs by itself.
        Auto = "auto",
        /// Waits for a person with the role.
        Approve = "approve",
        /// Shown as advice, never written.
        Advise = "advise",
        /// May not happen.
        Never = "never",
    }
}

/// A rule that took part in a verdict.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RuleRef {
    /// Name of the rule.
    pub id: String,
    /// File it stands in.
    pub file: String,
    /// Line it stands on.
    pub line: usize,
    /// What it says, for people.
    pub why: String,
}

/// The answer of the policy to one action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// What may happen.
    pub level: Level,
    /// Who may approve, for `approve`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<OwnerRole>,
    /// For `auto`: how long it waits first, so that a person can stop it, minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_minutes: Option<i64>,
    /// The rules that led to it, the decisive one first.
    pub rules: Vec<RuleRef>,
}

impl Verdict {
    /// The verdict in a word: `auto`, `auto after 4h`, `approve:csm`, `advise` or `never`.
    #[must_use]
    pub fn word(&self) -> String {
        match (self.level, self.role) {
            (Level::Approve, Some(role)) => format!("approve:{role}"),
            (Level::Auto, _) if self.delay_minutes.is_some() => {
                format!("auto after {}", delay_text(self.delay_minutes.unwrap_or_default()))
            }
            (Level::Auto | Level::Approve | Level::Advise | Level::Never, _) => self.level.as_str().to_owned(),
        }
    }

    /// The right to carry out an action without a person, when the verdict is `auto`.
    #[must_use]
    pub fn permit(&self, action: &ActionId, effects: &[crate::action::Effect], content: Hash) -> Option<Permit> {
        if self.level != Level::Auto {
            return None;
        }
        let rule = self
            .rules
            .first()
            .map_or_else(String::new, |r| format!("{}:{}", r.file, r.line));
        Some(Permit::new(action.clone(), effects, Ground::Verdict { content, rule }))
    }

    fn never(rule: RuleRef) -> Verdict {
        Verdict {
            level: Level::Never,
            role: None,
            delay_minutes: None,
            rules: vec![rule],
        }
    }
}

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Our evaluator, compiled from the rules; Cedar for kinds of action it could not compile.
    Direct,
    /// Cedar with every rule, request and entities made anew for each question.
    Cedar,
    /// The same with only the rules whose scope can match the kind of action.
    CedarSliced,
}

/// The way of one question: how far it got, and by which rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routed {
    /// What may happen.
    pub level: Level,
    /// Who may approve, for `approve`.
    pub role: Option<OwnerRole>,
    /// Positions in [`Gate::rules`]: the permits of what may happen; the forbids that even the highest approval meets.
    pub rules: Vec<usize>,
    /// Positions of the forbids that stand while nobody has approved.
    pub unapproved: Vec<usize>,
    /// Positions of rules that failed: then nothing may happen.
    pub failed: Vec<usize>,
}

/// The id of somebody who does not exist; no record's id begins with a control character.
const NOBODY: &str = "\u{1}hypothetical";

impl Gate {
    /// One question, answered once.
    ///
    /// # Errors
    /// [`FactError`] when a fact is missing: then nothing is allowed.
    pub fn answer(
        &self,
        facts: &Facts,
        ask: Ask,
        approval: Option<&Approval>,
        engine: Engine,
    ) -> Result<Answer, FactError> {
        match (engine, self.programs.get(&ask.action), self.by_kind.get(&ask.action)) {
            (Engine::Direct, Some(program), _) => {
                facts.complete(ask)?;
                Ok(program.answer(facts, ask, approval))
            }
            (Engine::Direct | Engine::CedarSliced, _, Some(policies)) => {
                self.ask_policies(policies, facts, ask, approval)
            }
            (Engine::Direct | Engine::Cedar | Engine::CedarSliced, _, _) => self.ask_cedar(facts, ask, approval),
        }
    }

    /// How far one question gets: asked without an approval, then with hypothetical ones, role by role in the order of
    /// [`super::Vocabulary::roles`]. The hypothetical approver is active,
    /// holds one role, is not the last editor, and approves exactly this draft, in time.
    ///
    /// # Errors
    /// [`FactError`] when a fact is missing: then nothing is allowed.
    pub fn route(&self, facts: &Facts, ask: Ask, engine: Engine) -> Result<Routed, FactError> {
        let mut routed = Routed {
            level: Level::Never,
            role: None,
            rules: Vec::new(),
            unapproved: Vec::new(),
            failed: Vec::new(),
        };
        let mut approval: Option<Approval> = None;
        for step in std::iter::once(None).chain(self.vocabulary().roles().map(Some)) {
            if let Some(role) = step {
                let held = approval.get_or_insert_with(|| hypothetical(facts));
                held.by.roles.clear();
                held.by.roles.insert(role);
            }
            let answer = self.answer(facts, ask, approval.as_ref(), engine)?;
            if !answer.failed.is_empty() {
                routed.failed = answer.failed;
                return Ok(routed);
            }
            if answer.allowed {
                routed.level = if step.is_some() { Level::Approve } else { Level::Auto };
                routed.role = step;
                routed.rules = answer.rules;
                return Ok(routed);
            }
            match step {
                None => routed.unapproved = answer.rules,
                Some(_) => routed.rules = answer.rules,
            }
        }
        let cell = self.cell(facts, ask.action);
        if routed.rules.is_empty() && routed.unapproved.is_empty() && cell.is_some_and(|(c, _)| c == Cell::Advise) {
            routed.level = Level::Advise;
        }
        Ok(routed)
    }

    /// The verdict on an action: the strictest of the answers about its kind and about each thing it writes.
    #[must_use]
    pub fn verdict(&self, request: &Request<'_>, settings: &Settings) -> Verdict {
        match Facts::of(request, settings, self.vocabulary()) {
            Ok(facts) => self.verdict_on(&facts, &request.asks(), settings, Engine::Direct),
            Err(error) => Verdict::never(self.fact_rule(&error)),
        }
    }

    /// The same from facts and questions.
    #[must_use]
    pub fn verdict_on(&self, facts: &Facts, asks: &[Ask], settings: &Settings, engine: Engine) -> Verdict {
        let mut found: Vec<(Routed, Ask)> = Vec::with_capacity(asks.len());
        for ask in asks {
            match self.route(facts, *ask, engine) {
                Ok(routed) => found.push((routed, *ask)),
                Err(error) => return Verdict::never(self.fact_rule(&error)),
            }
        }
        let named = self.vocabulary();
        let asked_for: BTreeSet<OwnerRole> = found.iter().filter_map(|(routed, _)| routed.role).collect();
        let strictness = |routed: &Routed| {
            let role = routed.role.map(|role| named.position(role));
            let forbidding = self
                .decisive(routed)
                .map(|rule| (rule.origin, &rule.file, rule.line, &rule.id));
            let forbidding = (routed.level == Level::Never).then_some(forbidding).flatten();
            // Among what never happens a forbid is named before a missing permit, and a guard rail before a limit.
            (
                std::cmp::Reverse(routed.level),
                std::cmp::Reverse(role),
                forbidding.is_none(),
                forbidding,
            )
        };
        let Some((routed, ask)) = found.iter().min_by(|a, b| strictness(&a.0).cmp(&strictness(&b.0))) else {
            return Verdict::never(self.table_rule("unlisted", 1, "what is not listed is denied".to_owned()));
        };
        let role = match routed.level {
            // Roles need not include each other: whoever includes all that are asked for decides.
            Level::Approve => match named.covering_all(&asked_for) {
                Some(role) => Some(role),
                None => {
                    let roles: Vec<&str> = asked_for.iter().map(|role| role.as_str()).collect();
                    let why = format!("no role includes all of {}: add one to [roles]", roles.join(", "));
                    return Verdict::never(self.table_rule("roles", 1, why));
                }
            },
            Level::Auto | Level::Advise | Level::Never => routed.role,
        };
        let delay = match routed.level {
            // The longest of all that the action consists of.
            Level::Auto => asks.iter().filter_map(|ask| self.delay(facts, ask.action)).max(),
            Level::Approve | Level::Advise | Level::Never => None,
        };
        Verdict {
            level: routed.level,
            role,
            delay_minutes: delay,
            rules: self.explain(facts, *ask, routed, settings),
        }
    }

    /// Whether everything that an action consists of may happen with this approval, for real.
    ///
    /// # Errors
    /// The rule that stands in the way.
    pub fn permits(&self, request: &Request<'_>, approval: &Approval, settings: &Settings) -> Result<(), RuleRef> {
        let facts = Facts::of(request, settings, self.vocabulary()).map_err(|error| self.fact_rule(&error))?;
        self.permits_on(&facts, &request.asks(), approval, settings)
    }

    /// The same from facts and questions.
    ///
    /// # Errors
    /// The rule that stands in the way.
    pub fn permits_on(
        &self,
        facts: &Facts,
        asks: &[Ask],
        approval: &Approval,
        settings: &Settings,
    ) -> Result<(), RuleRef> {
        for ask in asks.iter().copied() {
            let answer = self.answer(facts, ask, Some(approval), Engine::Direct);
            let answer = answer.map_err(|error| self.fact_rule(&error))?;
            if answer.allowed {
                continue;
            }
            let routed = Routed {
                level: Level::Never,
                role: None,
                rules: answer.rules,
                unapproved: Vec::new(),
                failed: answer.failed,
            };
            let rule = self.explain(facts, ask, &routed, settings).into_iter().next();
            return Err(rule.unwrap_or_else(|| self.table_rule("unlisted", 1, "no rule permits it".to_owned())));
        }
        Ok(())
    }

    fn delay(&self, facts: &Facts, kind: ActionKind) -> Option<i64> {
        let Value::Tier(tier) = facts.get(Place::Account, "tier") else {
            return None;
        };
        self.table.delays.get(&(kind, *tier)).copied()
    }

    fn cell(&self, facts: &Facts, kind: ActionKind) -> Option<(Cell, usize)> {
        let Value::Tier(tier) = facts.get(Place::Account, "tier") else {
            return None;
        };
        self.table.cells.get(&(kind, *tier)).map(|cell| (cell.value, cell.line))
    }

    /// The rule that is named first.
    fn decisive(&self, routed: &Routed) -> Option<&Rule> {
        let list = if routed.rules.is_empty() {
            &routed.unapproved
        } else {
            &routed.rules
        };
        let rules = list.iter().filter_map(|at| self.rules.get(*at));
        match routed.level {
            // A cell says more than an exception that says the same.
            Level::Auto | Level::Approve => rules.max_by_key(|r| r.origin),
            Level::Advise | Level::Never => rules.min_by_key(|r| (r.origin, &r.file, r.line, &r.id)),
        }
    }

    fn table_rule(&self, id: &str, line: usize, why: String) -> RuleRef {
        RuleRef {
            id: id.to_owned(),
            file: self.table.file.clone(),
            line,
            why,
        }
    }

    fn explain(&self, facts: &Facts, ask: Ask, routed: &Routed, settings: &Settings) -> Vec<RuleRef> {
        if let Some(rule) = routed.failed.first().and_then(|at| self.rules.get(*at)) {
            let why = format!("the rule `{}` fails, and what fails denies", rule.id);
            return vec![RuleRef { why, ..named(rule) }];
        }
        let kind = ask.action;
        match (routed.level, self.decisive(routed)) {
            (Level::Auto, Some(rule)) => vec![named(rule)],
            (Level::Approve, Some(rule)) => {
                let forbids = routed.unapproved.iter().filter_map(|at| self.rules.get(*at));
                let mut rules: Vec<RuleRef> = forbids.map(named).collect();
                if rules.is_empty() && rule.origin == Origin::Cell {
                    match self.cell(facts, kind) {
                        Some((Cell::EarnedElse(_), line)) => {
                            rules.extend(self.not_earned(facts, ask, line));
                            rules.extend(self.auto_unmet(facts, kind, settings));
                        }
                        Some((Cell::AutoElse(_), _)) => rules.extend(self.auto_unmet(facts, kind, settings)),
                        Some((Cell::Never | Cell::Advise | Cell::Approve(_) | Cell::Auto, _)) | None => {}
                    }
                }
                rules.push(named(rule));
                rules
            }
            (Level::Never, Some(rule)) if rule.effect == Effect::Forbid => {
                let why = self.measured(facts, ask, rule).unwrap_or_else(|| rule.why.clone());
                vec![RuleRef { why, ..named(rule) }]
            }
            (Level::Auto | Level::Approve | Level::Advise | Level::Never, _) => self.unpermitted(facts, kind, settings),
        }
    }

    /// A fact that cannot be used, as the rule that denied: it points to the fact in the schema.
    fn fact_rule(&self, error: &FactError) -> RuleRef {
        let line = error.fact().and_then(|fact| {
            let text = schema_text(self.vocabulary());
            let is = |l: &str| l.trim_start().split(['?', ':']).next() == Some(fact) && l.contains(": ");
            text.lines().position(is)
        });
        RuleRef {
            id: "facts".to_owned(),
            file: "schema.cedarschema".to_owned(),
            line: line.map_or(1, |at| at + 1),
            why: error.to_string(),
        }
    }

    /// Why no rule permits it.
    fn unpermitted(&self, facts: &Facts, kind: ActionKind, settings: &Settings) -> Vec<RuleRef> {
        let Value::Tier(tier) = facts.get(Place::Account, "tier") else {
            let why = "the tier of the account is not known, so no rule can be chosen";
            return vec![self.table_rule("tier-known", 1, why.to_owned())];
        };
        let Some((cell, line)) = self.cell(facts, kind) else {
            return vec![self.table_rule("unlisted", 1, "what is not listed is denied".to_owned())];
        };
        let rule = |why: String| self.table_rule(&format!("{kind}:{tier}"), line, why);
        match cell {
            Cell::Never => vec![rule(format!("{kind} never happens for {tier} accounts"))],
            Cell::Advise => vec![rule(format!("{kind} is only advised for {tier} accounts"))],
            Cell::Approve(role) | Cell::AutoElse(role) | Cell::EarnedElse(role) => vec![rule(needs(kind, *tier, role))],
            Cell::Auto => {
                let unmet = self.auto_unmet(facts, kind, settings);
                unmet
                    .into_iter()
                    .chain([rule("and there is no one to ask".to_owned())])
                    .collect()
            }
        }
    }

    /// What a limit says, with the figures of this request.
    fn measured(&self, facts: &Facts, ask: Ask, rule: &Rule) -> Option<String> {
        let number = |name| match facts.get(Place::Context, name) {
            Value::Number(n) => Some(*n),
            _ => None,
        };
        match rule.id.as_str() {
            "limit:contacts" => Some(format!(
                "not now: the customer has had {} contacts in 7 days; the limit is {}",
                number("contacts_last_7d")?,
                self.table.contacts_7_days.value
            )),
            "limit:hours" => {
                let minute = number("local_minute")?;
                Some(format!(
                    "not now: it is {:02}:{:02} on a day {} of the week for the customer; {}",
                    minute / 60,
                    minute % 60,
                    number("local_weekday")?,
                    rule.why
                ))
            }
            "limit:fields" => Some(match ask.field {
                Some(field) => format!("the agent may not write the field `{field}`"),
                None => "it does not say which field it writes".to_owned(),
            }),
            "limit:discount" => {
                let max = percent(self.table.max_discount_pm.as_ref()?.value);
                Some(match number("discount_pm") {
                    Some(discount) => format!("a discount of {} is above {max}", percent(discount)),
                    None => format!("the discount is not known; at most {max}"),
                })
            }
            _ => None,
        }
    }

    /// That what could be earned is not.
    fn not_earned(&self, facts: &Facts, ask: Ask, line: usize) -> Option<RuleRef> {
        let earned = *facts.as_asked(ask).get(Place::Context, EARNED) == Value::Flag(true);
        let why = || "nobody has promoted it yet: `perennial autonomy` says what is missing".to_owned();
        (!earned).then(|| self.table_rule("earned", line, why()))
    }

    /// The condition of `[auto]` that is not met, for what a customer sees.
    fn auto_unmet(&self, facts: &Facts, kind: ActionKind, settings: &Settings) -> Option<RuleRef> {
        if !self.vocabulary().is_customer_facing(kind) {
            return None;
        }
        let auto = &self.table.auto;
        let unmet = |why: String| Some(self.table_rule("auto", auto.line, why));
        match facts.get(Place::Context, "confidence") {
            Value::Number(known) if *known >= auto.min_confidence_pm => {}
            Value::Number(known) => {
                let (known, least) = (percent(*known), percent(auto.min_confidence_pm));
                return unmet(format!("confidence is {known}, below {least}"));
            }
            _ => return unmet("confidence is not known".to_owned()),
        }
        match facts.get(Place::Account, "arr_minor") {
            Value::Number(minor) if *minor <= auto.max_arr.minor => {}
            Value::Number(minor) => {
                let arr = Money::new(*minor, settings.base);
                return unmet(format!("{arr} a year is above {}", auto.max_arr));
            }
            _ => return unmet("the yearly revenue is not known".to_owned()),
        }
        match facts.get(Place::Account, "usage_age_days") {
            Value::Number(age) if *age <= auto.max_usage_age_days => {}
            Value::Number(age) => {
                let most = auto.max_usage_age_days;
                return unmet(format!("the newest use is {age} days old, above {most}"));
            }
            _ => return unmet("no use was ever measured".to_owned()),
        }
        let most = auto.max_stale_feeds?;
        match facts.get(Place::Account, "stale_feeds") {
            Value::Number(stale) if *stale <= most => None,
            Value::Number(stale) => unmet(format!("{stale} of its feeds stand still, above {most}")),
            _ => unmet("`max_stale_feeds` asks for limits of feeds, and scoring.toml has no [feeds]".to_owned()),
        }
    }
}

fn needs(kind: ActionKind, tier: Tier, role: OwnerRole) -> String {
    format!("{kind} for {tier} accounts needs a {role}")
}

impl From<&Rule> for RuleRef {
    fn from(rule: &Rule) -> RuleRef {
        named(rule)
    }
}

/// A rule as verdicts name it: the rules of a cell by the cell.
fn named(rule: &Rule) -> RuleRef {
    let id = match rule.cell {
        Some((kind, tier)) => format!("{kind}:{tier}"),
        None => rule.id.clone(),
    };
    RuleRef {
        id,
        file: rule.file.clone(),
        line: rule.line,
        why: rule.why.clone(),
    }
}

fn hypothetical(facts: &Facts) -> Approval {
    let draft_hash = match facts.get(Place::Context, "draft_hash") {
        Value::Word(hash) => hash.clone(),
        _ => String::new(),
    };
    let now = match facts.get(Place::Context, "now") {
        Value::Moment(now) => *now,
        _ => moment(crate::time::Timestamp::EPOCH),
    };
    Approval {
        by: Human {
            id: NOBODY.to_owned(),
            roles: BTreeSet::new(),
            active: true,
        },
        draft_hash,
        expires_at: now.saturating_add(crate::time::DAY_US / 1000),
    }
}
