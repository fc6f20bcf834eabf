//! The words that rules may use: facts of an account, facts of a request, actions and their groups, tiers and roles.
//!
//! The Cedar schema is generated from them, from the names of the folder ([`Vocabulary`]) and from the model, so a rule cannot name what the program does not know. What may be
//! unknown is an optional attribute: the validator then makes whoever reads it say what happens when it is not there.

use std::fmt::Write as _;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::action::ActionKind;
use crate::feature::{CATALOGUE, Definition, Unit};
use crate::signal::word_enum;

use super::facts::{EARNED, FIELD};
use super::named::Vocabulary;

word_enum! {
    /// Groups of actions, for rules about more than one.
    Group {
        /// Work for our own people.
        Internal = "Internal",
        /// Changes of records in the CRM.
        CrmWrite = "CrmWrite",
        /// What a customer sees.
        CustomerFacing = "CustomerFacing",
        /// What a customer sees and that is about money; part of `CustomerFacing`.
        Commercial = "Commercial",
    }
}

impl Group {
    /// The group it is part of.
    #[must_use]
    pub fn parent(self) -> Option<Group> {
        match self {
            Group::Commercial => Some(Group::CustomerFacing),
            Group::Internal | Group::CrmWrite | Group::CustomerFacing => None,
        }
    }
}

/// Where a fact stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Of the account: `resource.NAME`.
    Account,
    /// Of the request: `context.NAME`.
    Context,
}

/// What a fact is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Yes or no.
    Flag,
    /// A whole number in a range. A value outside is no fact: nothing is decided on it.
    Number {
        /// Least value.
        min: i64,
        /// Greatest value.
        max: i64,
    },
    /// A word or text.
    Word,
    /// A tier.
    Tier,
    /// A point in time, milliseconds since 1970-01-01T00:00:00Z.
    Moment,
}

/// Whether a fact is always there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// A request without it is refused before any rule is asked.
    Always,
    /// May be unknown: rules read it behind `has`.
    MayBeUnknown,
}

/// One fact that rules may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term {
    /// Name in rules.
    pub name: &'static str,
    /// Where it stands.
    pub place: Place,
    /// What it is.
    pub kind: Kind,
    /// Whether it is always there.
    pub presence: Presence,
    /// The one action that has it, where not all have.
    pub only: Option<ActionKind>,
    /// What it says, with its unit.
    pub meaning: &'static str,
}

/// Greatest revenue a year that is taken for true, minor units: a million millions.
const ARR_MINOR_MAX: i64 = 100_000_000_000_000;
/// Greatest change of a number that is taken for true.
const CHANGE_MAX: i64 = 1_000_000_000;

const fn context(name: &'static str, kind: Kind, presence: Presence, meaning: &'static str) -> Term {
    Term {
        name,
        place: Place::Context,
        kind,
        presence,
        only: None,
        meaning,
    }
}

const fn only(kind: ActionKind, term: Term) -> Term {
    Term {
        only: Some(kind),
        ..term
    }
}

/// Facts of the request.
const CONTEXT: &[Term] = &[
    context(
        "confidence",
        Kind::Number { min: 0, max: 1000 },
        Presence::MayBeUnknown,
        "share of the health score's weight that is known, per mille, rounded down",
    ),
    context(
        "contacts_last_7d",
        Kind::Number { min: 0, max: 1_000_000 },
        Presence::Always,
        "actions towards the customer that were permitted or done in the last 7 days",
    ),
    context(
        "draft_hash",
        Kind::Word,
        Presence::Always,
        "hash of exactly what would be written",
    ),
    context(
        EARNED,
        Kind::Flag,
        Presence::MayBeUnknown,
        "people have promoted this action for this tier, and nothing has taken that back since: what the table calls `if earned`",
    ),
    context(
        "injection_suspected",
        Kind::Flag,
        Presence::Always,
        "the text to be written holds characters that people cannot see, or words that give orders to a program",
    ),
    context(
        "local_holiday",
        Kind::Flag,
        Presence::MayBeUnknown,
        "the table calls the day of `local_minute` a holiday in the customer's region",
    ),
    context(
        "local_minute",
        Kind::Number { min: 0, max: 1439 },
        Presence::MayBeUnknown,
        "minutes since midnight on the customer's clock when it would reach them: the next moment within contact hours when it is \
         decided or approved, the present when it is sent; not known where their time zone is not",
    ),
    context(
        "local_weekday",
        Kind::Number { min: 1, max: 7 },
        Presence::MayBeUnknown,
        "the customer's day of the week at `local_minute`, 1 for Monday to 7 for Sunday",
    ),
    context(
        "now",
        Kind::Moment,
        Presence::Always,
        "the as-of time of a decision; the present when a person approves",
    ),
    context(
        "playbook",
        Kind::Word,
        Presence::MayBeUnknown,
        "the playbook that proposes it, by the name of its file",
    ),
    context(
        "contact_role",
        Kind::Word,
        Presence::MayBeUnknown,
        "what the person at the customer is whom it addresses: champion, executive_sponsor, economic_buyer, admin, user or detractor",
    ),
    only(
        ActionKind::OFFER_DISCOUNT,
        context(
            "discount_pm",
            Kind::Number { min: 0, max: 1000 },
            Presence::MayBeUnknown,
            "discount on the yearly revenue, per mille, rounded up",
        ),
    ),
    only(
        ActionKind::OFFER_DISCOUNT,
        context(
            "discount_minor",
            Kind::Number {
                min: 0,
                max: ARR_MINOR_MAX,
            },
            Presence::MayBeUnknown,
            "the same as an amount a year, minor units of the policy's currency, rounded up",
        ),
    ),
    only(
        ActionKind::UPDATE_FIELD,
        context(
            "change_pm",
            Kind::Number {
                min: 0,
                max: CHANGE_MAX,
            },
            Presence::MayBeUnknown,
            "largest change of a number among the fields that the action writes, per mille of what the account's attribute of the same \
             name says, rounded up",
        ),
    ),
    only(
        ActionKind::UPDATE_FIELD,
        context(
            "change_points",
            Kind::Number {
                min: 0,
                max: CHANGE_MAX,
            },
            Presence::MayBeUnknown,
            "the same in whole points, rounded up",
        ),
    ),
    only(
        ActionKind::UPDATE_FIELD,
        context(
            "overwrites",
            Kind::Flag,
            Presence::MayBeUnknown,
            "one of the fields holds something else now, by the account's attribute of the same name",
        ),
    ),
    only(
        ActionKind::UPDATE_FIELD,
        context(
            FIELD,
            Kind::Word,
            Presence::Always,
            "the account field that would be written",
        ),
    ),
    only(
        ActionKind::UPDATE_OPPORTUNITY,
        context(
            "deal_minor",
            Kind::Number {
                min: 0,
                max: ARR_MINOR_MAX,
            },
            Presence::MayBeUnknown,
            "largest amount of the deals that would be changed, minor units of the policy's currency",
        ),
    ),
    only(
        ActionKind::UPDATE_OPPORTUNITY,
        context(
            "stage_changes",
            Kind::Flag,
            Presence::MayBeUnknown,
            "the stage of a deal would be changed, not only its next step",
        ),
    ),
];

fn account_term(d: &Definition) -> Option<Term> {
    let number = |min: i64, max: i64| (d.trigger_scale != 0).then_some(Kind::Number { min, max });
    let scale = d.trigger_scale;
    let kind = match d.unit {
        Unit::Flag => Some(Kind::Flag),
        Unit::Text if d.name == "tier" => Some(Kind::Tier),
        Unit::Text => Some(Kind::Word),
        Unit::Date | Unit::Money => None,
        Unit::Score => number(0, 100 * scale),
        Unit::Count | Unit::Share | Unit::Ratio => number(0, 1_000_000_000_000),
        Unit::Days => number(-1_000_000, 1_000_000),
        Unit::Percent | Unit::LogRatio | Unit::Logit | Unit::Points => number(-1_000_000_000, 1_000_000_000),
    };
    Some(Term {
        name: d.name,
        place: Place::Account,
        kind: kind?,
        presence: Presence::MayBeUnknown,
        only: None,
        meaning: d.meaning,
    })
}

/// Every fact, in the order of place and name. The position of a fact is its slot in [`super::Facts`].
pub static TERMS: LazyLock<Vec<Term>> = LazyLock::new(|| {
    let mut terms: Vec<Term> = CATALOGUE.iter().filter_map(account_term).collect();
    terms.push(Term {
        name: "arr_minor",
        place: Place::Account,
        kind: Kind::Number {
            min: 0,
            max: ARR_MINOR_MAX,
        },
        presence: Presence::MayBeUnknown,
        only: None,
        meaning: "yearly recurring revenue in minor units of the policy's currency",
    });
    terms.push(Term {
        name: "contract_minor",
        place: Place::Account,
        kind: Kind::Number {
            min: 0,
            max: ARR_MINOR_MAX,
        },
        presence: Presence::MayBeUnknown,
        only: None,
        meaning: "value of the agreement with the next end over its term, minor units of the policy's currency",
    });
    terms.extend(CONTEXT);
    terms.sort_by_key(|t| (t.place, t.name));
    terms
});

/// The slot of a fact.
#[must_use]
pub fn slot(place: Place, name: &str) -> Option<usize> {
    TERMS.binary_search_by(|t| (t.place, t.name).cmp(&(place, name))).ok()
}

fn type_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Flag => "Bool",
        Kind::Number { .. } => "Long",
        Kind::Word => "String",
        Kind::Tier => "Tier",
        Kind::Moment => "datetime",
    }
}

fn attribute(text: &mut String, term: &Term) {
    let mark = match term.presence {
        Presence::Always => "",
        Presence::MayBeUnknown => "?",
    };
    let range = match term.kind {
        Kind::Number { min, max } => format!(" ({min} to {max})"),
        Kind::Flag | Kind::Word | Kind::Tier | Kind::Moment => String::new(),
    };
    let _ = writeln!(text, "  // {}{range}", term.meaning);
    let _ = writeln!(text, "  {}{mark}: {},", term.name, type_of(term.kind));
}

fn quoted<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.map(|w| format!("\"{w}\"")).collect::<Vec<_>>().join(", ")
}

/// The schema that every rule is checked against, as Cedar writes it. `policies/schema.cedarschema` is a copy for editors.
#[must_use]
pub fn schema_text(named: &Vocabulary) -> String {
    schema_text_of(named, |_| true)
}

/// The same with some of the facts only.
#[must_use]
pub fn schema_text_of(named: &Vocabulary, keep: impl Fn(&Term) -> bool) -> String {
    let mut text = String::from(
        "// The words that rules may use. Generated from the program; a copy for editors, changing it changes nothing.\n\
         // A fact with `?` may be unknown: read it behind `has`.\n\n",
    );
    let _ = writeln!(
        text,
        "entity Tier enum [{}];",
        quoted(named.tiers().iter().map(|t| t.as_str()))
    );
    let _ = writeln!(
        text,
        "entity Role enum [{}];",
        quoted(named.roles().map(|r| r.as_str()))
    );
    text.push_str("\nentity Agent;\nentity Human {\n  roles: Set<Role>,\n  active: Bool,\n};\nentity Account {\n");
    for term in TERMS.iter().filter(|t| t.place == Place::Account && keep(t)) {
        attribute(&mut text, term);
    }
    text.push_str(
        "};\n\n// Roles are those of the person, never words of the approval.\ntype Approval = {\n  by: Human,\n  \
         // hash of what the person saw\n  draft_hash: String,\n  expires_at: datetime,\n};\n\n",
    );
    for group in Group::ALL {
        match group.parent() {
            Some(parent) => {
                let _ = writeln!(text, "action {group} in [{parent}];");
            }
            None => {
                let _ = writeln!(text, "action {group};");
            }
        }
    }
    for group in named.own_groups() {
        let _ = writeln!(text, "action {group};");
    }
    let mut shared: Vec<ActionKind> = Vec::new();
    for kind in named.actions() {
        if CONTEXT.iter().any(|t| t.only == Some(kind)) {
            let _ = writeln!(
                text,
                "\naction {kind} in [{}] appliesTo {{\n  principal: [Agent], resource: [Account], context: {{",
                named.groups(kind).join(", ")
            );
            context_of(&mut text, Some(kind), &keep);
            text.push_str("} };\n");
        } else {
            shared.push(kind);
        }
    }
    text.push_str("\ntype Asked = {\n");
    context_of(&mut text, None, &keep);
    text.push_str("};\n");
    for kind in shared {
        let _ = writeln!(
            text,
            "action {kind} in [{}] appliesTo {{ principal: [Agent], resource: [Account], context: Asked }};",
            named.groups(kind).join(", ")
        );
    }
    text
}

fn context_of(text: &mut String, kind: Option<ActionKind>, keep: &impl Fn(&Term) -> bool) {
    let own = |t: &&Term| t.place == Place::Context && (t.only.is_none() || t.only == kind) && keep(t);
    for term in TERMS.iter().filter(own) {
        attribute(text, term);
    }
    text.push_str("  // who changed the draft last\n  last_editor?: Human,\n");
    text.push_str("  // the approval of a person, where there is one\n  approval?: Approval,\n");
}
