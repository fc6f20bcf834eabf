//! `autonomy.toml`: who decides what, read and checked. [`super::generate`] turns it into rules.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use toml::Spanned;

use super::super::file::{Problem, did_you_mean, parse, place};
use super::earning::{self, EarnedTable, Earning};
use super::hours::{Calendar, ContactHours, is_zone, parse_hours};
use super::named::{Added, Vocabulary};
use crate::action::{AccountField, ActionKind};
use crate::feature::{CATALOGUE, Unit, definition};
use crate::money::Money;
use crate::number::Micro;
use crate::policy::Settings;
use crate::signal::{Crm, OwnerRole, Tier};
use crate::time::Day;

/// What a cell of the table says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell {
    /// May not happen.
    Never,
    /// Is shown, never written.
    Advise,
    /// Waits for a person with the role.
    Approve(OwnerRole),
    /// Runs by itself; where the needs of `[auto]` are not met, it does not happen.
    Auto,
    /// Runs by itself; where the needs are not met, the role decides.
    AutoElse(OwnerRole),
    /// Runs by itself where people have promoted it ([`Earning`]); where they have not, or the needs are not met, the role decides.
    EarnedElse(OwnerRole),
}

/// What `auto` needs for what a customer sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AutoNeeds {
    /// Line of the first need.
    pub line: usize,
    /// Least share of the health score's weight that is known, per mille, rounded up.
    pub min_confidence_pm: i64,
    /// Greatest revenue a year, in the currency of the policy, rounded as money is.
    pub max_arr: Money,
    /// Greatest age of the newest measured use, days.
    pub max_usage_age_days: i64,
    /// Most feeds that may stand still; none does not ask.
    pub max_stale_feeds: Option<i64>,
}

/// A limit with the line it stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit<T> {
    /// Line from 1.
    pub line: usize,
    /// The limit.
    pub value: T,
}

/// A guard rail of the table: the action never happens where a fact holds or is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// Name.
    pub id: String,
    /// Line from 1.
    pub line: usize,
    /// Why, for people.
    pub why: String,
    /// Actions it is about.
    pub actions: BTreeSet<ActionKind>,
    /// The yes/no fact of the account.
    pub fact: String,
}

/// What a budget counts actions by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Budgeted {
    /// Tier of the account.
    Tier(Tier),
    /// System that the action writes to.
    Tool(Crm),
}

impl Budgeted {
    /// By what, in a word.
    #[must_use]
    pub fn counter(self) -> &'static str {
        match self {
            Budgeted::Tier(_) => "tier",
            Budgeted::Tool(_) => "tool",
        }
    }

    /// Which one, in a word.
    #[must_use]
    pub fn subject(self) -> &'static str {
        match self {
            Budgeted::Tier(tier) => tier.as_str(),
            Budgeted::Tool(tool) => tool.as_str(),
        }
    }

    /// A tier's or a system's word.
    fn from_word(word: &str, named: &Vocabulary) -> Option<Budgeted> {
        let tier = named.tier(word).map(Budgeted::Tier);
        tier.or_else(|| Crm::from_word(word).map(Budgeted::Tool))
    }
}

/// The table as checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Path of the file.
    pub file: String,
    /// Tiers, roles and actions: the built-in ones and those that the file adds.
    pub vocabulary: Vocabulary,
    /// Level and line of every action and tier.
    pub cells: BTreeMap<(ActionKind, Tier), Limit<Cell>>,
    /// Needs of `auto`.
    pub auto: AutoNeeds,
    /// How what says `if earned` is earned, and lost.
    pub earned: BTreeMap<(ActionKind, Tier), Earning>,
    /// How long what runs by itself waits first, so that a person can stop it, minutes; only where the cell says so.
    pub delays: BTreeMap<(ActionKind, Tier), i64>,
    /// Most actions towards a customer in 7 days.
    pub contacts_7_days: Limit<u32>,
    /// Most actions towards one person at a customer in 7 days; no limit where it is not said.
    pub person_7_days: Option<Limit<u32>>,
    /// Contact hours, zones and holidays.
    pub calendar: Calendar,
    /// Most actions that may run in any 24 hours, over the whole book, by what they are counted by.
    pub budgets: BTreeMap<Budgeted, Limit<u32>>,
    /// Account fields that may be written.
    pub fields: Limit<BTreeSet<AccountField>>,
    /// Greatest discount, per mille, rounded down; no limit where it is not said.
    pub max_discount_pm: Option<Limit<i64>>,
    /// Guard rails, in the order of the file.
    pub never: Vec<Guard>,
}

/// Level by tier.
type MatrixRow = BTreeMap<Spanned<String>, Spanned<String>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AutonomyFile {
    #[serde(default)]
    tiers: BTreeMap<Spanned<String>, String>,
    #[serde(default)]
    roles: BTreeMap<Spanned<String>, Vec<Spanned<String>>>,
    #[serde(default)]
    actions: BTreeMap<Spanned<String>, Spanned<Vec<Spanned<String>>>>,
    matrix: BTreeMap<Spanned<String>, Spanned<MatrixRow>>,
    auto: Spanned<AutoTable>,
    limits: LimitsTable,
    #[serde(default)]
    budget: BTreeMap<Spanned<String>, Spanned<u32>>,
    #[serde(default)]
    holidays: BTreeMap<String, Vec<Spanned<String>>>,
    #[serde(default)]
    earned: Vec<EarnedTable>,
    #[serde(default)]
    never: Vec<GuardTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AutoTable {
    min_confidence: Spanned<f64>,
    max_arr: Spanned<String>,
    max_usage_age_days: Spanned<i64>,
    max_stale_feeds: Option<Spanned<i64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsTable {
    contacts_per_account_7_days: Spanned<u32>,
    contacts_per_person_7_days: Option<Spanned<u32>>,
    contact_hours: Option<Spanned<String>>,
    default_time_zone: Option<Spanned<String>>,
    fields_agent_may_write: Spanned<Vec<Spanned<String>>>,
    max_discount_percent: Option<Spanned<f64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GuardTable {
    id: Spanned<String>,
    actions: Vec<Spanned<String>>,
    when: Spanned<String>,
    why: String,
}

/// Reads and checks the table.
pub(in crate::policy) fn compile(
    file: &str,
    text: &str,
    settings: Option<&Settings>,
    problems: &mut Vec<Problem>,
) -> Option<Table> {
    let mut raw: AutonomyFile = parse(file, text, problems)?;
    let before = problems.len();
    let mut wrong = |offset: usize, message: String, help: String| {
        problems.push(Problem::at(file, text, offset, message, help));
    };
    let added = Added {
        tiers: std::mem::take(&mut raw.tiers),
        roles: std::mem::take(&mut raw.roles),
        actions: std::mem::take(&mut raw.actions),
    };
    let named = Vocabulary::read(&added, &mut wrong);
    let (tiers, actions) = (
        || named.tiers().iter().map(|t| t.as_str()),
        || named.actions().map(ActionKind::as_str),
    );
    let mut cells = BTreeMap::new();
    let (mut delays, mut offsets) = (BTreeMap::new(), BTreeMap::new());
    for (name, row) in &raw.matrix {
        let Some(kind) = named.action(name.get_ref()) else {
            let help = did_you_mean(name.get_ref(), actions())
                .unwrap_or_else(|| format!("actions are {}; [actions] adds more", words(actions())));
            wrong(name.span().start, format!("unknown action `{}`", name.get_ref()), help);
            continue;
        };
        for (tier_name, value) in row.get_ref() {
            let Some(tier) = named.tier(tier_name.get_ref()) else {
                let help = did_you_mean(tier_name.get_ref(), tiers())
                    .unwrap_or_else(|| format!("tiers are {}; [tiers] adds more", words(tiers())));
                wrong(
                    tier_name.span().start,
                    format!("unknown tier `{}`", tier_name.get_ref()),
                    help,
                );
                continue;
            };
            match cell(value.get_ref(), &named) {
                Ok((parsed, delay)) => {
                    if let Some(minutes) = delay {
                        delays.insert((kind, tier), minutes);
                    }
                    let line = place(text, value.span().start).0;
                    offsets.insert((kind, tier), value.span().start);
                    cells.insert((kind, tier), Limit { line, value: parsed });
                }
                Err(help) => wrong(value.span().start, format!("`{}` is no level", value.get_ref()), help),
            }
        }
        for tier in named.tiers() {
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
    for kind in named.actions() {
        if !raw.matrix.keys().any(|k| k.get_ref() == kind.as_str()) {
            let message = format!("the table has no row for `{kind}`");
            wrong(0, message, "add it under [matrix]; \"never\" forbids it".to_owned());
        }
    }
    let earned = earning::read(&raw.earned, text, (&cells, &offsets), &named, &mut wrong);
    let auto = raw.auto.get_ref();
    let max_arr = match amount_with_currency(auto.max_arr.get_ref()) {
        None => {
            let message = format!("`{}` is no amount with a currency", auto.max_arr.get_ref());
            wrong(
                auto.max_arr.span().start,
                message,
                "write it like \"25000 EUR\" or \"25k EUR\"".to_owned(),
            );
            None
        }
        // Without a sound scoring.toml nothing is compiled, and its problems are named there.
        Some(amount) => settings.and_then(|s| match s.in_base(amount) {
            Ok(amount) => Some(amount),
            Err(missing) => {
                let message = format!("`max_arr` cannot be compared: missing: {missing}");
                let help = format!("add it, or give the amount in {}", s.base.code());
                wrong(auto.max_arr.span().start, message, help);
                None
            }
        }),
    };
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
    let days = Some(("max_usage_age_days", &auto.max_usage_age_days, "give a number of days"));
    let feeds = auto.max_stale_feeds.as_ref();
    let feeds = feeds.map(|most| ("max_stale_feeds", most, "give a number of feeds; 0 asks for none"));
    for (name, value, help) in days.into_iter().chain(feeds) {
        if *value.get_ref() < 0 {
            wrong(value.span().start, format!("`{name}` is negative"), help.to_owned());
        }
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
    let max_discount_pm = raw.limits.max_discount_percent.as_ref().map(|percent| {
        if !(0.0..=100.0).contains(percent.get_ref()) {
            let message = format!(
                "`max_discount_percent` is {}, which is no percentage",
                percent.get_ref()
            );
            wrong(percent.span().start, message, "give a number from 0 to 100".to_owned());
        }
        Limit {
            line: place(text, percent.span().start).0,
            value: Micro::from_f64(*percent.get_ref()).0.div_euclid(100_000),
        }
    });
    let calendar = calendar(&raw, text, &mut wrong);
    let mut budgets = BTreeMap::new();
    for (name, most) in &raw.budget {
        let Some(by) = Budgeted::from_word(name.get_ref(), &named) else {
            let known = || tiers().chain(Crm::ALL.iter().map(|c| c.as_str()));
            let help = did_you_mean(name.get_ref(), known())
                .unwrap_or_else(|| format!("a budget is for a tier or a system: {}", words(known())));
            wrong(
                name.span().start,
                format!("there is no budget for `{}`", name.get_ref()),
                help,
            );
            continue;
        };
        let line = place(text, name.span().start).0;
        let value = *most.get_ref();
        budgets.insert(by, Limit { line, value });
    }
    let mut never = Vec::new();
    for guard in &raw.never {
        let mut about = BTreeSet::new();
        for action in &guard.actions {
            match named.action(action.get_ref()) {
                Some(kind) => {
                    about.insert(kind);
                }
                None => {
                    let help = did_you_mean(action.get_ref(), actions())
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
            id: guard.id.get_ref().clone(),
            line: place(text, guard.id.span().start).0,
            why: guard.why.clone(),
            actions: about,
            fact: guard.when.get_ref().clone(),
        });
    }
    if problems.len() != before {
        return None;
    }
    let confidence = Micro::from_f64(*auto.min_confidence.get_ref()).0;
    let limits = &raw.limits;
    Some(Table {
        file: file.to_owned(),
        vocabulary: named,
        cells,
        auto: AutoNeeds {
            line: place(text, auto.min_confidence.span().start).0,
            min_confidence_pm: confidence.div_euclid(100_000) + i64::from(confidence % 100_000 != 0),
            max_arr: max_arr?,
            max_usage_age_days: *auto.max_usage_age_days.get_ref(),
            max_stale_feeds: auto.max_stale_feeds.as_ref().map(|most| *most.get_ref()),
        },
        earned,
        delays,
        contacts_7_days: Limit {
            line: place(text, limits.contacts_per_account_7_days.span().start).0,
            value: *limits.contacts_per_account_7_days.get_ref(),
        },
        person_7_days: limits.contacts_per_person_7_days.as_ref().map(|most| Limit {
            line: place(text, most.span().start).0,
            value: *most.get_ref(),
        }),
        calendar,
        budgets,
        fields: Limit {
            line: place(text, limits.fields_agent_may_write.span().start).0,
            value: fields,
        },
        max_discount_pm,
        never,
    })
}

fn words<'a>(list: impl Iterator<Item = &'a str>) -> String {
    list.collect::<Vec<_>>().join(", ")
}

/// Contact hours, zones and holidays of the file.
fn calendar(raw: &AutonomyFile, text: &str, wrong: &mut dyn FnMut(usize, String, String)) -> Calendar {
    let limits = &raw.limits;
    let mut hours = None;
    if let Some(written) = &limits.contact_hours {
        let at = written.span().start;
        match parse_hours(written.get_ref()) {
            Some((from_minute, to_minute)) => {
                let line = place(text, at).0;
                hours = Some(ContactHours {
                    line,
                    from_minute,
                    to_minute,
                });
            }
            None => {
                let message = format!("`{}` are no contact hours", written.get_ref());
                wrong(
                    at,
                    message,
                    "write them like \"08:00-18:00\", the customer's local time".to_owned(),
                );
            }
        }
    }
    if let Some(zone) = &limits.default_time_zone
        && !is_zone(zone.get_ref())
    {
        let message = format!("there is no time zone `{}`", zone.get_ref());
        wrong(
            zone.span().start,
            message,
            "give an IANA name such as \"Europe/Berlin\"".to_owned(),
        );
    }
    let mut holidays: BTreeMap<String, BTreeSet<Day>> = BTreeMap::new();
    for (region, days) in &raw.holidays {
        for day in days {
            match day.get_ref().parse::<Day>() {
                Ok(date) => {
                    holidays.entry(region.clone()).or_default().insert(date);
                }
                Err(_) => {
                    let message = format!("the holiday `{}` of `{region}` is no date", day.get_ref());
                    wrong(day.span().start, message, "write it like \"2026-12-25\"".to_owned());
                }
            }
        }
    }
    Calendar {
        hours,
        default_zone: limits.default_time_zone.as_ref().map(|z| z.get_ref().clone()),
        holidays,
    }
}

/// A cell, and the minutes that what runs by itself waits first.
fn cell(text: &str, named: &Vocabulary) -> Result<(Cell, Option<i64>), String> {
    let role = |name: &str| {
        let known = || named.roles().map(OwnerRole::as_str);
        named.role(name).ok_or_else(|| {
            did_you_mean(name, known()).unwrap_or_else(|| format!("roles are {}; [roles] adds more", words(known())))
        })
    };
    if let Some(name) = text.strip_prefix("approve:") {
        return role(name).map(|role| (Cell::Approve(role), None));
    }
    let (level, otherwise) = match text.split_once(", else approve:") {
        Some((level, name)) => (level, Some(role(name)?)),
        None => (text, None),
    };
    let (level, auto) = match (level.strip_suffix(" if earned"), otherwise) {
        (Some(level), Some(role)) if level.starts_with("auto") => (level, Cell::EarnedElse(role)),
        (Some(_), None) => {
            let help = "until it is earned somebody has to be asked: \"auto if earned, else approve:ROLE\"";
            return Err(help.to_owned());
        }
        (Some(_) | None, _) => (level, otherwise.map_or(Cell::Auto, Cell::AutoElse)),
    };
    match (level, otherwise) {
        ("never", None) => Ok((Cell::Never, None)),
        ("advise", None) => Ok((Cell::Advise, None)),
        ("auto", _) => Ok((auto, None)),
        _ => match level.strip_prefix("auto after ").map(minutes) {
            Some(Some(delay)) => Ok((auto, Some(delay))),
            Some(None) => Err(format!(
                "a delay is a whole number of minutes, hours or days, at most {DELAY_DAYS} days: \"auto after 30m\", \"auto after 4h\", \"auto after 2d\""
            )),
            None => Err(
                "levels are \"never\", \"advise\", \"approve:ROLE\", \"auto\", \"auto after 4h\", both also with \", else approve:ROLE\" or \" if earned, else approve:ROLE\""
                    .to_owned(),
            ),
        },
    }
}

/// The longest delay: what waits longer would be about other facts.
const DELAY_DAYS: i64 = 14;

/// `30m`, `4h` or `2d` in minutes.
pub(in crate::policy) fn minutes(text: &str) -> Option<i64> {
    let units = [('m', 1), ('h', 60), ('d', 1440)];
    let (number, unit) = units
        .iter()
        .find_map(|(letter, unit)| text.strip_suffix(*letter).map(|number| (number, *unit)))?;
    let total = number.parse::<i64>().ok()?.checked_mul(unit)?;
    (1..=DELAY_DAYS * 1440).contains(&total).then_some(total)
}

/// Minutes as people write them in the table.
pub(super) fn delay_text(minutes: i64) -> String {
    if minutes % 1440 == 0 {
        format!("{}d", minutes / 1440)
    } else if minutes % 60 == 0 {
        format!("{}h", minutes / 60)
    } else {
        format!("{minutes}m")
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
