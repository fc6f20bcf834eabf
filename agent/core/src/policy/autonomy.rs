//! `autonomy.toml`: who decides what. Everything that is not allowed is denied.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::file::{Problem, did_you_mean, parse, place};
use crate::action::{AccountField, ActionKind, Effect, Ground, Permit, Write};
use crate::feature::{CATALOGUE, Features, Unit, definition};
use crate::ids::ActionId;
use crate::money::Money;
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
    /// The rules that led to it, the decisive one first.
    pub rules: Vec<RuleRef>,
}

impl Verdict {
    /// The verdict in a word: `auto`, `approve:csm`, `advise` or `never`.
    #[must_use]
    pub fn word(&self) -> String {
        match (self.level, self.role) {
            (Level::Approve, Some(role)) => format!("approve:{role}"),
            (Level::Auto | Level::Approve | Level::Advise | Level::Never, _) => self.level.as_str().to_owned(),
        }
    }

    /// The right to carry out an action without a person, when the verdict is `auto`.
    #[must_use]
    pub fn permit(&self, action: &ActionId, effects: &[Effect], content: Hash) -> Option<Permit> {
        if self.level != Level::Auto {
            return None;
        }
        let rule = self
            .rules
            .first()
            .map_or_else(String::new, |r| format!("{}:{}", r.file, r.line));
        Some(Permit::new(action.clone(), effects, Ground::Verdict { content, rule }))
    }
}

/// What a verdict is asked about.
#[derive(Debug)]
pub struct Request<'a> {
    /// Kind of the action as a whole.
    pub kind: ActionKind,
    /// Everything it would write.
    pub writes: Vec<&'a Write>,
    /// What is known of the account.
    pub features: &'a Features,
    /// Actions towards the customer in the last 7 days.
    pub contacts_7_days: u32,
}

/// The compiled table.
#[derive(Debug, Clone)]
pub struct Autonomy {
    file: String,
    cells: BTreeMap<(ActionKind, Tier), (Cell, usize)>,
    auto: AutoNeeds,
    limits: Limits,
    never: Vec<Guard>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cell {
    Never,
    Advise,
    Approve(OwnerRole),
    Auto,
    AutoElse(OwnerRole),
}

#[derive(Debug, Clone)]
struct AutoNeeds {
    line: usize,
    min_confidence: f64,
    max_arr: Money,
    max_usage_age_days: f64,
}

#[derive(Debug, Clone)]
struct Limits {
    contacts_line: usize,
    contacts_7_days: u32,
    fields_line: usize,
    fields: BTreeSet<AccountField>,
}

#[derive(Debug, Clone)]
struct Guard {
    rule: RuleRef,
    actions: BTreeSet<ActionKind>,
    fact: String,
}

/// Level by tier.
type MatrixRow = BTreeMap<Spanned<String>, Spanned<String>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AutonomyFile {
    matrix: BTreeMap<Spanned<String>, Spanned<MatrixRow>>,
    auto: Spanned<AutoTable>,
    limits: LimitsTable,
    #[serde(default)]
    never: Vec<GuardTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AutoTable {
    min_confidence: Spanned<f64>,
    max_arr: Spanned<String>,
    max_usage_age_days: Spanned<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsTable {
    contacts_per_account_7_days: Spanned<u32>,
    fields_agent_may_write: Spanned<Vec<Spanned<String>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GuardTable {
    id: Spanned<String>,
    actions: Vec<Spanned<String>>,
    when: Spanned<String>,
    why: String,
}

impl ActionKind {
    /// Whether the customer sees it.
    #[must_use]
    pub fn is_customer_facing(self) -> bool {
        match self {
            ActionKind::SendEmail | ActionKind::SendQbr | ActionKind::SendRenewal | ActionKind::OfferDiscount => true,
            ActionKind::CreateTask
            | ActionKind::UpdateField
            | ActionKind::UpdateOpportunity
            | ActionKind::CreateNote => false,
        }
    }
}

pub(super) fn compile(file: &str, text: &str, problems: &mut Vec<Problem>) -> Option<Autonomy> {
    let raw: AutonomyFile = parse(file, text, problems)?;
    let before = problems.len();
    let mut wrong = |offset: usize, message: String, help: String| {
        problems.push(Problem::at(file, text, offset, message, help));
    };
    let mut cells = BTreeMap::new();
    for (name, row) in &raw.matrix {
        let Some(kind) = ActionKind::from_word(name.get_ref()) else {
            let help = did_you_mean(name.get_ref(), ActionKind::ALL.iter().map(|k| k.as_str()))
                .unwrap_or_else(|| format!("actions are {}", words(ActionKind::ALL.iter().map(|k| k.as_str()))));
            wrong(name.span().start, format!("unknown action `{}`", name.get_ref()), help);
            continue;
        };
        for (tier_name, value) in row.get_ref() {
            let Some(tier) = Tier::from_word(tier_name.get_ref()) else {
                let help = did_you_mean(tier_name.get_ref(), Tier::ALL.iter().map(|t| t.as_str()))
                    .unwrap_or_else(|| format!("tiers are {}", words(Tier::ALL.iter().map(|t| t.as_str()))));
                wrong(
                    tier_name.span().start,
                    format!("unknown tier `{}`", tier_name.get_ref()),
                    help,
                );
                continue;
            };
            match cell(value.get_ref()) {
                Ok(parsed) => {
                    cells.insert((kind, tier), (parsed, place(text, value.span().start).0));
                }
                Err(help) => wrong(value.span().start, format!("`{}` is no level", value.get_ref()), help),
            }
        }
        for tier in Tier::ALL {
            if !row.get_ref().keys().any(|k| k.get_ref() == tier.as_str()) {
                let message = format!("`{kind}` says nothing about the tier `{tier}`");
                wrong(
                    row.span().start,
                    message,
                    format!("add {tier} = \"never\" if it must not happen there"),
                );
            }
        }
    }
    for kind in ActionKind::ALL {
        if !raw.matrix.keys().any(|k| k.get_ref() == kind.as_str()) {
            let message = format!("the table has no row for `{kind}`");
            wrong(0, message, "add it under [matrix]; \"never\" forbids it".to_owned());
        }
    }
    let auto = raw.auto.get_ref();
    let max_arr = amount_with_currency(auto.max_arr.get_ref());
    if max_arr.is_none() {
        let message = format!("`{}` is no amount with a currency", auto.max_arr.get_ref());
        wrong(
            auto.max_arr.span().start,
            message,
            "write it like \"25000 EUR\" or \"25k EUR\"".to_owned(),
        );
    }
    if !(0.0..=100.0).contains(auto.min_confidence.get_ref()) {
        let message = format!(
            "`min_confidence` is {}, which is no percentage",
            auto.min_confidence.get_ref()
        );
        wrong(
            auto.min_confidence.span().start,
            message,
            "give a number from 0 to 100".to_owned(),
        );
    }
    if *auto.max_usage_age_days.get_ref() < 0 {
        let at = auto.max_usage_age_days.span().start;
        wrong(
            at,
            "`max_usage_age_days` is negative".to_owned(),
            "give a number of days".to_owned(),
        );
    }
    let mut fields = BTreeSet::new();
    for field in raw.limits.fields_agent_may_write.get_ref() {
        match AccountField::from_word(field.get_ref()) {
            Some(known) => {
                fields.insert(known);
            }
            None => {
                let help = did_you_mean(field.get_ref(), AccountField::ALL.iter().map(|f| f.as_str()))
                    .unwrap_or_else(|| format!("fields are {}", words(AccountField::ALL.iter().map(|f| f.as_str()))));
                wrong(field.span().start, format!("unknown field `{}`", field.get_ref()), help);
            }
        }
    }
    let mut never = Vec::new();
    for guard in &raw.never {
        let mut actions = BTreeSet::new();
        for action in &guard.actions {
            match ActionKind::from_word(action.get_ref()) {
                Some(kind) => {
                    actions.insert(kind);
                }
                None => {
                    let help = did_you_mean(action.get_ref(), ActionKind::ALL.iter().map(|k| k.as_str()))
                        .unwrap_or_else(|| "see the rows of [matrix]".to_owned());
                    wrong(
                        action.span().start,
                        format!("unknown action `{}`", action.get_ref()),
                        help,
                    );
                }
            }
        }
        if definition(guard.when.get_ref()).is_none_or(|d| d.unit != Unit::Flag) {
            let flags = CATALOGUE.iter().filter(|d| d.unit == Unit::Flag).map(|d| d.name);
            let help = did_you_mean(guard.when.get_ref(), flags)
                .unwrap_or_else(|| "docs/reference/facts lists the yes/no facts".to_owned());
            wrong(
                guard.when.span().start,
                format!("`{}` is no yes/no fact", guard.when.get_ref()),
                help,
            );
        }
        never.push(Guard {
            rule: RuleRef {
                id: guard.id.get_ref().clone(),
                file: file.to_owned(),
                line: place(text, guard.id.span().start).0,
                why: guard.why.clone(),
            },
            actions,
            fact: guard.when.get_ref().clone(),
        });
    }
    if problems.len() != before {
        return None;
    }
    Some(Autonomy {
        file: file.to_owned(),
        cells,
        auto: AutoNeeds {
            line: place(text, raw.auto.get_ref().min_confidence.span().start).0,
            min_confidence: *auto.min_confidence.get_ref(),
            max_arr: max_arr?,
            max_usage_age_days: *auto.max_usage_age_days.get_ref() as f64,
        },
        limits: Limits {
            contacts_line: place(text, raw.limits.contacts_per_account_7_days.span().start).0,
            contacts_7_days: *raw.limits.contacts_per_account_7_days.get_ref(),
            fields_line: place(text, raw.limits.fields_agent_may_write.span().start).0,
            fields,
        },
        never,
    })
}

fn words<'a>(list: impl Iterator<Item = &'a str>) -> String {
    list.collect::<Vec<_>>().join(", ")
}

fn cell(text: &str) -> Result<Cell, String> {
    let role = |name: &str| {
        OwnerRole::from_word(name).ok_or_else(|| {
            did_you_mean(name, OwnerRole::ALL.iter().map(|r| r.as_str()))
                .unwrap_or_else(|| format!("roles are {}", words(OwnerRole::ALL.iter().map(|r| r.as_str()))))
        })
    };
    match text {
        "never" => Ok(Cell::Never),
        "advise" => Ok(Cell::Advise),
        "auto" => Ok(Cell::Auto),
        _ => match (text.strip_prefix("approve:"), text.strip_prefix("auto, else approve:")) {
            (Some(name), _) => role(name).map(Cell::Approve),
            (None, Some(name)) => role(name).map(Cell::AutoElse),
            (None, None) => Err(
                "levels are \"never\", \"advise\", \"approve:ROLE\", \"auto\", \"auto, else approve:ROLE\"".to_owned(),
            ),
        },
    }
}

/// `25k EUR` or `25000 EUR`.
fn amount_with_currency(text: &str) -> Option<Money> {
    let (number, code) = text.rsplit_once(' ')?;
    let currency = code.parse().ok()?;
    let number = number.trim();
    match number.strip_suffix('k') {
        Some(thousands) => {
            let money = Money::parse(thousands, currency).ok()?;
            money.minor.checked_mul(1000).map(|minor| Money::new(minor, currency))
        }
        None => Money::parse(number, currency).ok(),
    }
}

impl Autonomy {
    /// The verdict on an action: the strictest of what the table says about the action and about each thing it writes,
    /// after the guard rails and limits.
    #[must_use]
    pub fn verdict(&self, request: &Request<'_>, settings: &super::Settings) -> Verdict {
        let tier = request.features.text("tier").and_then(Tier::from_word);
        let Some(tier) = tier else {
            return self.deny(
                "tier-known",
                1,
                "the tier of the account is not known, so no rule can be chosen",
            );
        };
        let mut kinds: Vec<ActionKind> = vec![request.kind];
        kinds.extend(request.writes.iter().map(|w| w.kind()));
        for guard in &self.never {
            let holds = request.features.flag(&guard.fact);
            // A fact that is not known fails closed.
            if kinds.iter().any(|k| guard.actions.contains(k)) && holds != Some(false) {
                return Verdict {
                    level: Level::Never,
                    role: None,
                    rules: vec![guard.rule.clone()],
                };
            }
        }
        let customer_sees = kinds.iter().any(|k| k.is_customer_facing());
        if customer_sees && request.contacts_7_days >= self.limits.contacts_7_days {
            let why = format!(
                "the customer has had {} contacts in 7 days; the limit is {}",
                request.contacts_7_days, self.limits.contacts_7_days
            );
            return self.deny("limit:contacts", self.limits.contacts_line, &why);
        }
        for write in &request.writes {
            if let Write::UpdateAccount { fields } = write
                && let Some(field) = fields.keys().find(|f| !self.limits.fields.contains(f))
            {
                let why = format!("the agent may not write the field `{field}`");
                return self.deny("limit:fields", self.limits.fields_line, &why);
            }
        }
        let mut verdicts: Vec<Verdict> = kinds
            .iter()
            .map(|kind| self.cell_verdict(*kind, tier, request, settings))
            .collect();
        verdicts.sort_by_key(|v| std::cmp::Reverse((v.level, v.role.map(seniority))));
        let mut strictest = verdicts.swap_remove(0);
        if let (Level::Approve, Some(role)) = (strictest.level, strictest.role) {
            // Deal desk and manager do not include each other: where both are asked for, the head of both decides.
            let asks = |r: OwnerRole| verdicts.iter().any(|v| v.role == Some(r)) || role == r;
            if asks(OwnerRole::DealDesk) && asks(OwnerRole::CsmManager) {
                strictest.role = Some(OwnerRole::VpCs);
            }
        }
        strictest
    }

    fn cell_verdict(&self, kind: ActionKind, tier: Tier, request: &Request<'_>, settings: &super::Settings) -> Verdict {
        let Some((cell, line)) = self.cells.get(&(kind, tier)) else {
            return self.deny("unlisted", 1, "what is not listed is denied");
        };
        let rule = |why: String| RuleRef {
            id: format!("{kind}:{tier}"),
            file: self.file.clone(),
            line: *line,
            why,
        };
        let of = |level, role, rules| Verdict { level, role, rules };
        match cell {
            Cell::Never => of(
                Level::Never,
                None,
                vec![rule(format!("{kind} never happens for {tier} accounts"))],
            ),
            Cell::Advise => of(
                Level::Advise,
                None,
                vec![rule(format!("{kind} is only advised for {tier} accounts"))],
            ),
            Cell::Approve(role) => of(
                Level::Approve,
                Some(*role),
                vec![rule(format!("{kind} for {tier} accounts needs a {role}"))],
            ),
            Cell::Auto | Cell::AutoElse(_) => match (self.auto_unmet(kind, request, settings), cell) {
                (None, _) => of(
                    Level::Auto,
                    None,
                    vec![rule(format!("{kind} runs by itself for {tier} accounts"))],
                ),
                (Some(unmet), Cell::AutoElse(role)) => of(
                    Level::Approve,
                    Some(*role),
                    vec![unmet, rule(format!("otherwise a {role} approves"))],
                ),
                (Some(unmet), Cell::Auto | Cell::Never | Cell::Advise | Cell::Approve(_)) => of(
                    Level::Never,
                    None,
                    vec![unmet, rule("and there is no one to ask".to_owned())],
                ),
            },
        }
    }

    /// The condition of `[auto]` that is not met, for what a customer sees.
    fn auto_unmet(&self, kind: ActionKind, request: &Request<'_>, settings: &super::Settings) -> Option<RuleRef> {
        if !kind.is_customer_facing() {
            return None;
        }
        let unmet = |why: String| {
            Some(RuleRef {
                id: "auto".to_owned(),
                file: self.file.clone(),
                line: self.auto.line,
                why,
            })
        };
        let f = request.features;
        match f.number("health_confidence") {
            Some(confidence) if confidence >= self.auto.min_confidence => {}
            Some(confidence) => {
                return unmet(format!(
                    "confidence is {confidence:.0} %, below {:.0} %",
                    self.auto.min_confidence
                ));
            }
            None => return unmet("confidence is not known".to_owned()),
        }
        match (f.money("arr"), settings.in_base(self.auto.max_arr)) {
            (Some(arr), Ok(max)) if arr.minor <= max.minor => {}
            (Some(arr), Ok(max)) => return unmet(format!("{arr} a year is above {max}")),
            (None, _) => return unmet("the yearly revenue is not known".to_owned()),
            (_, Err(missing)) => return unmet(format!("missing: {missing}")),
        }
        match f.number("usage_age_days") {
            Some(age) if age <= self.auto.max_usage_age_days => None,
            Some(age) => unmet(format!(
                "the newest use is {age:.0} days old, above {:.0}",
                self.auto.max_usage_age_days
            )),
            None => unmet("no use was ever measured".to_owned()),
        }
    }

    fn deny(&self, id: &str, line: usize, why: &str) -> Verdict {
        let rule = RuleRef {
            id: id.to_owned(),
            file: self.file.clone(),
            line,
            why: why.to_owned(),
        };
        Verdict {
            level: Level::Never,
            role: None,
            rules: vec![rule],
        }
    }
}

/// Order of roles for the strictest of several: csm below manager and deal desk, below the head.
fn seniority(role: OwnerRole) -> u8 {
    match role {
        OwnerRole::Csm => 0,
        OwnerRole::CsmManager => 1,
        OwnerRole::DealDesk => 2,
        OwnerRole::VpCs => 3,
    }
}
