//! What is known when a rule is asked: every fact in its slot, checked against its range.
//!
//! A fact that is not known is absent, never zero. One outside its range is no fact: it is refused here, and then nothing is decided
//! on it, because a rule that compares it would give an answer that means nothing.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::before::{self, Before};
use super::hours::LocalTime;
use super::named::Vocabulary;
use super::vocabulary::{Kind, Place, Presence, TERMS, Term, slot};
use crate::action::{AccountField, ActionKind, Write};
use crate::feature::{Features, Value as Known};
use crate::ids::AccountId;
use crate::number::Micro;
use crate::policy::Settings;
use crate::replay::Hash;
use crate::signal::{ContactRole, OwnerRole, Tier};
use crate::time::Timestamp;

/// A fact's value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Value {
    /// Not known.
    #[default]
    Unknown,
    /// Yes or no.
    Flag(bool),
    /// A whole number in the unit that the vocabulary names.
    Number(i64),
    /// A word or text.
    Word(String),
    /// A tier.
    Tier(Tier),
    /// Milliseconds since 1970-01-01T00:00:00Z.
    Moment(i64),
}

/// A fact that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FactError {
    /// Not in the vocabulary.
    #[error("there is no fact `{name}`; policies/schema.cedarschema lists them")]
    NoSuchFact {
        /// What was named.
        name: String,
    },
    /// A value of another kind.
    #[error("the fact `{name}` cannot be {value}")]
    OtherKind {
        /// Fact.
        name: &'static str,
        /// What it was to be.
        value: String,
    },
    /// A number or time that cannot be true.
    #[error("the fact `{name}` is {value}, outside {min} to {max}: mend the record it comes from")]
    OutOfRange {
        /// Fact.
        name: &'static str,
        /// What it was.
        value: i64,
        /// Least value.
        min: i64,
        /// Greatest value.
        max: i64,
    },
    /// What every request has is not there.
    #[error("the fact `{name}` is missing, without which nothing is asked")]
    Missing {
        /// Fact.
        name: &'static str,
    },
    /// Cedar does not take the request; a fault of the program.
    #[error("the request does not fit the schema: {said}")]
    Refused {
        /// What Cedar says.
        said: String,
    },
}

impl FactError {
    /// The fact it is about, where it is about one.
    #[must_use]
    pub fn fact(&self) -> Option<&str> {
        match self {
            FactError::NoSuchFact { name } => Some(name),
            FactError::OtherKind { name, .. } | FactError::OutOfRange { name, .. } | FactError::Missing { name } => {
                Some(name)
            }
            FactError::Refused { .. } => None,
        }
    }
}

/// Times that Cedar and people can write: the years 1 to 9999.
const MOMENT_MIN: i64 = -62_135_596_800_000;
const MOMENT_MAX: i64 = 253_402_207_200_000;

/// Milliseconds since the epoch, rounded down.
pub(super) fn moment(at: Timestamp) -> i64 {
    at.us().div_euclid(1000)
}

/// One question: may this kind of action happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ask {
    /// Kind.
    pub action: ActionKind,
    /// The account field, for `updateField`: it is asked once for each.
    pub field: Option<AccountField>,
}

/// A person as rules see them. Roles are read fresh from the people's records, never from words of an approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Human {
    /// Id.
    pub id: String,
    /// Roles.
    pub roles: BTreeSet<OwnerRole>,
    /// Still with us.
    pub active: bool,
}

/// The approval of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// Who gave it.
    pub by: Human,
    /// Hash of what they saw.
    pub draft_hash: String,
    /// Until when it counts, milliseconds since the epoch.
    pub expires_at: i64,
}

/// The facts of one account and one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Account they are about.
    pub account: AccountId,
    /// Who changed the draft last.
    pub last_editor: Option<String>,
    /// Kinds of action that are promoted for the account's tier. A question about one of them sees the fact `earned` as true, one
    /// about another kind as it is said in the slot.
    pub earned: Vec<ActionKind>,
    pub(super) values: Vec<Value>,
}

/// What a verdict is asked about.
#[derive(Debug)]
pub struct Request<'a> {
    /// Account.
    pub account: &'a AccountId,
    /// Kind of the action as a whole.
    pub kind: ActionKind,
    /// Everything it would write.
    pub writes: Vec<&'a Write>,
    /// What is known of the account.
    pub features: &'a Features,
    /// The playbook that proposes it.
    pub playbook: Option<&'a str>,
    /// The customer's clock when it would reach them; none where their zone is not known.
    pub local: Option<LocalTime>,
    /// Actions towards the customer in the last 7 days.
    pub contacts_7_days: u32,
    /// What the person at the customer is whom it addresses, where known.
    pub contact_role: Option<ContactRole>,
    /// What stands where it would write, where known.
    pub before: Option<&'a Before>,
    /// Discount on the yearly revenue, 0 to 1, where the action offers one.
    pub discount: Option<f64>,
    /// Hash of what would be written.
    pub draft: Hash,
    /// The as-of time of a decision; the present when a person approves.
    pub now: Timestamp,
    /// Who changed the draft last.
    pub last_editor: Option<&'a str>,
    /// Kinds of action that people have promoted for the account's tier.
    pub earned: &'a [ActionKind],
}

impl Request<'_> {
    /// The questions it consists of: its kind and each thing it writes, fields one by one.
    #[must_use]
    pub fn asks(&self) -> Vec<Ask> {
        let fields = self.writes.iter().filter_map(|w| match w {
            Write::UpdateAccount { fields } => Some(fields.keys()),
            Write::CreateTask { .. } | Write::CreateNote { .. } | Write::UpdateOpportunity { .. } => None,
        });
        let mut fields: Vec<AccountField> = fields.flatten().copied().collect();
        fields.sort_unstable();
        fields.dedup();
        let mut asks: Vec<Ask> = Vec::new();
        let kinds = std::iter::once(self.kind).chain(self.writes.iter().map(|w| w.kind()));
        for action in kinds {
            let with = |field| Ask { action, field };
            let new: Vec<Ask> = match action {
                ActionKind::UPDATE_FIELD if !fields.is_empty() => fields.iter().map(|f| with(Some(*f))).collect(),
                _ => vec![with(None)],
            };
            for ask in new {
                if !asks.contains(&ask) {
                    asks.push(ask);
                }
            }
        }
        asks
    }
}

/// Value times scale as a whole number, rounded down.
fn scaled(micro: i64, scale: i64) -> i64 {
    i64::try_from((i128::from(micro) * i128::from(scale)).div_euclid(1_000_000)).unwrap_or(i64::MAX)
}

impl Facts {
    /// Facts of an account of which nothing is known.
    #[must_use]
    pub fn unknown(account: AccountId) -> Facts {
        Facts {
            account,
            last_editor: None,
            earned: Vec::new(),
            values: vec![Value::Unknown; TERMS.len()],
        }
    }

    /// Says a fact. Its kind and range are checked.
    ///
    /// # Errors
    /// [`FactError`] when there is no such fact, or it cannot have this value.
    pub fn set(&mut self, place: Place, name: &str, value: Value) -> Result<(), FactError> {
        let no_such = || FactError::NoSuchFact { name: name.to_owned() };
        let at = slot(place, name).ok_or_else(no_such)?;
        let (Some(term), Some(held)) = (TERMS.get(at), self.values.get_mut(at)) else {
            return Err(no_such());
        };
        fits(term, &value)?;
        *held = value;
        Ok(())
    }

    /// A fact's value.
    #[must_use]
    pub fn get(&self, place: Place, name: &str) -> &Value {
        let held = slot(place, name).and_then(|at| self.values.get(at));
        held.unwrap_or(&Value::Unknown)
    }

    /// The facts of a request. Numbers are rounded against the agent: what speaks for it down, a discount up.
    ///
    /// A tier that has no name in the policies is not known.
    ///
    /// # Errors
    /// [`FactError::OutOfRange`] names the fact that cannot be true.
    pub fn of(request: &Request<'_>, settings: &Settings, named: &Vocabulary) -> Result<Facts, FactError> {
        let mut facts = Facts::unknown(request.account.clone());
        for d in crate::feature::CATALOGUE {
            if slot(Place::Account, d.name).is_none() {
                continue;
            }
            let value = match request.features.known(d.name) {
                Some(Known::Flag(flag)) => Value::Flag(*flag),
                Some(Known::Number(number)) => Value::Number(scaled(number.0, d.trigger_scale)),
                Some(Known::Text(text)) if d.name == "tier" => named.tier(text).map_or(Value::Unknown, Value::Tier),
                Some(Known::Text(text)) => Value::Word(text.clone()),
                Some(Known::Day(_) | Known::Money(_)) | None => continue,
            };
            facts.set(Place::Account, d.name, value)?;
        }
        let in_base = |name| {
            request
                .features
                .money(name)
                .and_then(|money| settings.in_base(money).ok())
        };
        let arr = in_base("arr");
        if let Some(arr) = arr {
            facts.set(Place::Account, "arr_minor", Value::Number(arr.minor))?;
        }
        if let Some(value) = in_base("contract_value") {
            facts.set(Place::Account, "contract_minor", Value::Number(value.minor))?;
        }
        if let Some(Known::Number(percent)) = request.features.known("health_confidence") {
            facts.set(Place::Context, "confidence", Value::Number(scaled(percent.0, 10)))?;
        }
        if let Some(share) = request.discount {
            // In millionths first, where 0.2 is exactly 0.2; then up.
            let per_mille = Micro::from_f64(share).0.div_euclid(1000) + i64::from(Micro::from_f64(share).0 % 1000 != 0);
            facts.set(Place::Context, "discount_pm", Value::Number(per_mille))?;
            if let Some(arr) = arr {
                let (share, whole) = (i128::from(Micro::from_f64(share).0), 1_000_000_i128);
                let amount = share.saturating_mul(i128::from(arr.minor));
                let up = amount.div_euclid(whole) + i128::from(amount.rem_euclid(whole) != 0);
                let minor = i64::try_from(up).unwrap_or(i64::MAX);
                facts.set(Place::Context, "discount_minor", Value::Number(minor))?;
            }
        }
        if let Some(role) = request.contact_role {
            facts.set(Place::Context, "contact_role", Value::Word(role.as_str().to_owned()))?;
        }
        if let Some(before) = request.before {
            before::say(&mut facts, &request.writes, before, settings)?;
        }
        let contacts = Value::Number(i64::from(request.contacts_7_days));
        facts.set(Place::Context, "contacts_last_7d", contacts)?;
        if let Some(playbook) = request.playbook {
            facts.set(Place::Context, "playbook", Value::Word(playbook.to_owned()))?;
        }
        if let Some(local) = request.local {
            facts.set(Place::Context, "local_minute", Value::Number(local.minute))?;
            facts.set(Place::Context, "local_weekday", Value::Number(local.weekday))?;
            facts.set(Place::Context, "local_holiday", Value::Flag(local.holiday))?;
        }
        facts.set(Place::Context, "draft_hash", Value::Word(request.draft.to_string()))?;
        facts.set(Place::Context, "now", Value::Moment(moment(request.now)))?;
        let suspected = super::injection::suspected(request.writes.iter().copied());
        facts.set(Place::Context, "injection_suspected", Value::Flag(suspected))?;
        facts.set(Place::Context, EARNED, Value::Flag(false))?;
        facts.earned = request.earned.to_vec();
        facts.last_editor = request.last_editor.map(str::to_owned);
        Ok(facts)
    }

    /// The facts as a question sees them: what is earned is another matter for each kind of action that an action consists of.
    #[must_use]
    pub fn as_asked(&self, ask: Ask) -> Cow<'_, Facts> {
        let held = slot(Place::Context, EARNED).filter(|_| self.earned.contains(&ask.action));
        let Some(at) = held else {
            return Cow::Borrowed(self);
        };
        let mut facts = self.clone();
        if let Some(value) = facts.values.get_mut(at) {
            *value = Value::Flag(true);
        }
        Cow::Owned(facts)
    }

    /// Whether everything is there that the question needs.
    ///
    /// # Errors
    /// [`FactError::Missing`] names the first fact that is not.
    pub fn complete(&self, ask: Ask) -> Result<(), FactError> {
        let needed = |t: &Term| t.presence == Presence::Always && t.only.is_none_or(|kind| kind == ask.action);
        let missing = TERMS.iter().zip(&self.values).find(|(term, value)| {
            needed(term) && **value == Value::Unknown && !(term.name == FIELD && term.place == Place::Context)
        });
        match missing {
            Some((term, _)) => Err(FactError::Missing { name: term.name }),
            None => Ok(()),
        }
    }
}

/// The fact that depends on the question: whether the kind of action is promoted.
pub(super) const EARNED: &str = "earned";

/// The fact that is part of the question: the account field.
pub(super) const FIELD: &str = "field";

impl Ask {
    /// The account field as rules see it; an `updateField` that names no field has an empty one, which no list holds.
    #[must_use]
    pub fn field_word(&self) -> &'static str {
        self.field.map_or("", AccountField::as_str)
    }
}

fn fits(term: &Term, value: &Value) -> Result<(), FactError> {
    let range = |value: i64, min: i64, max: i64| {
        if (min..=max).contains(&value) {
            Ok(())
        } else {
            let name = term.name;
            Err(FactError::OutOfRange { name, value, min, max })
        }
    };
    match (term.kind, value) {
        (_, Value::Unknown) | (Kind::Flag, Value::Flag(_)) | (Kind::Word, Value::Word(_)) => Ok(()),
        (Kind::Tier, Value::Tier(_)) => Ok(()),
        (Kind::Number { min, max }, Value::Number(n)) => range(*n, min, max),
        (Kind::Moment, Value::Moment(ms)) => range(*ms, MOMENT_MIN, MOMENT_MAX),
        (Kind::Flag | Kind::Number { .. } | Kind::Word | Kind::Tier | Kind::Moment, _) => Err(FactError::OtherKind {
            name: term.name,
            value: format!("{value:?}"),
        }),
    }
}
