//! A question as people write it, in a test or as JSON: an action, facts of the account and of the request, an approval or none.
//!
//! Names are those of the vocabulary; one that is not in it is a mistake that says what is known. What a question does not say is
//! unknown, or has the harmless value of [`Unnamed::Harmless`].

use std::collections::{BTreeMap, BTreeSet};

use super::file::did_you_mean;
use super::gate::{Approval, Ask, Engine, Facts, Human, Kind, Place, TERMS, Term, Value, Vocabulary, slot};
use super::{Gate, Level, RuleRef, Settings};
use crate::action::{AccountField, ActionKind};
use crate::ids::AccountId;
use crate::signal::{OwnerRole, Tier};
use crate::time::{DAY_US, Timestamp};

/// A value as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    /// `null`, or the word `unknown`.
    Unknown,
    /// Yes or no.
    Flag(bool),
    /// A whole number.
    Number(i64),
    /// A text, or a moment.
    Text(String),
    /// A list of texts.
    Texts(Vec<String>),
    /// Anything else, by what it is.
    Other(&'static str),
}

impl Given {
    fn is(&self) -> &'static str {
        match self {
            Given::Unknown => "unknown",
            Given::Flag(_) => "yes or no",
            Given::Number(_) => "a whole number",
            Given::Text(_) => "a text",
            Given::Texts(_) => "a list of texts",
            Given::Other(what) => what,
        }
    }
}

impl From<&toml::Value> for Given {
    fn from(value: &toml::Value) -> Given {
        match value {
            toml::Value::String(text) if text == "unknown" => Given::Unknown,
            toml::Value::String(text) => Given::Text(text.clone()),
            toml::Value::Boolean(flag) => Given::Flag(*flag),
            toml::Value::Integer(number) => Given::Number(*number),
            toml::Value::Datetime(at) => Given::Text(at.to_string()),
            toml::Value::Float(_) => Given::Other("a number with a point"),
            toml::Value::Table(_) => Given::Other("a table"),
            toml::Value::Array(list) => {
                let texts = list.iter().map(|item| item.as_str().map(str::to_owned)).collect();
                Option::map_or(texts, Given::Other("a list of other things than texts"), Given::Texts)
            }
        }
    }
}

impl From<&serde_json::Value> for Given {
    fn from(value: &serde_json::Value) -> Given {
        match value {
            serde_json::Value::Null => Given::Unknown,
            serde_json::Value::String(text) if text == "unknown" => Given::Unknown,
            serde_json::Value::String(text) => Given::Text(text.clone()),
            serde_json::Value::Bool(flag) => Given::Flag(*flag),
            serde_json::Value::Number(number) => match number.as_i64() {
                Some(number) => Given::Number(number),
                None => Given::Other("a number that is not whole or too large"),
            },
            serde_json::Value::Object(_) => Given::Other("an object"),
            serde_json::Value::Array(list) => {
                let texts = list.iter().map(|item| item.as_str().map(str::to_owned)).collect();
                Option::map_or(texts, Given::Other("a list of other things than texts"), Given::Texts)
            }
        }
    }
}

/// Which part of `name = value` is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The name.
    Name,
    /// The value.
    Value,
}

/// Something wrong in a question.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}; {help}")]
pub struct Mistake {
    /// Where it is.
    pub part: Part,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
}

fn mistake(part: Part, message: impl Into<String>, help: impl Into<String>) -> Mistake {
    Mistake {
        part,
        message: message.into(),
        help: help.into(),
    }
}

/// What facts are that a question does not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unnamed {
    /// Unknown. Only `draft_hash` and `now`, which every request has and which say nothing by themselves, are filled in.
    Unknown,
    /// Harmless: no yes/no fact of the account holds, nothing is suspected and nobody was contacted. Numbers, tiers and words stay
    /// unknown.
    Harmless,
}

/// A question about one action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    named: Vocabulary,
    facts: Facts,
    ask: Ask,
    approval: Option<Approval>,
}

/// What the rules say to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// `auto`, `approve:ROLE`, `advise` or `never`; with an approval `allowed` or `refused`.
    pub word: String,
    /// What may happen, where there is no approval.
    pub level: Option<Level>,
    /// Who may approve, for `approve`.
    pub role: Option<OwnerRole>,
    /// The rules that led to it, the decisive one first.
    pub rules: Vec<RuleRef>,
    /// Positions in [`Gate::rules`] of all rules that took part.
    pub touched: BTreeSet<usize>,
}

/// The hash of the draft where a question names none.
const DRAFT: &str = "draft";

fn names(list: impl Iterator<Item = &'static str>) -> String {
    list.collect::<Vec<_>>().join(", ")
}

fn milliseconds(text: &str) -> Option<i64> {
    let at: Timestamp = text.parse().ok()?;
    Some(at.us().div_euclid(1000))
}

fn role(word: &str, named: &Vocabulary) -> Result<OwnerRole, Mistake> {
    named.role(word).ok_or_else(|| {
        let all = || named.roles().map(OwnerRole::as_str);
        let help = did_you_mean(word, all()).unwrap_or_else(|| format!("roles are {}", names(all())));
        mistake(Part::Value, format!("unknown role `{word}`"), help)
    })
}

impl Question {
    /// A question about a kind of action, at a time.
    ///
    /// # Errors
    /// [`Mistake`] when there is no such kind.
    pub fn about(action: &str, unnamed: Unnamed, now: Timestamp, named: &Vocabulary) -> Result<Question, Mistake> {
        let kind = named.action(action).ok_or_else(|| {
            let all = || named.actions().map(ActionKind::as_str);
            let help = did_you_mean(action, all()).unwrap_or_else(|| format!("actions are {}", names(all())));
            mistake(Part::Value, format!("unknown action `{action}`"), help)
        })?;
        let mut question = Question {
            named: named.clone(),
            facts: Facts::unknown(AccountId::new("account")),
            ask: Ask {
                action: kind,
                field: None,
            },
            approval: None,
        };
        question.say(Place::Context, "draft_hash", &Given::Text(DRAFT.to_owned()))?;
        question.say(Place::Context, "now", &Given::Text(now.to_string()))?;
        if unnamed == Unnamed::Harmless {
            let own = |t: &&Term| t.kind == Kind::Flag && t.only.is_none_or(|only| only == kind);
            for term in TERMS.iter().filter(own) {
                question.say(term.place, term.name, &Given::Flag(false))?;
            }
            question.say(Place::Context, "contacts_last_7d", &Given::Number(0))?;
        }
        Ok(question)
    }

    /// Says a fact of the account or of the request.
    ///
    /// # Errors
    /// [`Mistake`] when there is no such fact, or it cannot have this value.
    pub fn say(&mut self, place: Place, name: &str, given: &Given) -> Result<(), Mistake> {
        let kind = self.ask.action;
        if (place, name) == (Place::Context, "last_editor") {
            self.facts.last_editor = match given {
                Given::Unknown => None,
                Given::Text(who) => Some(who.clone()),
                _ => {
                    return Err(mistake(
                        Part::Value,
                        format!("`last_editor` is {}", given.is()),
                        "name a person",
                    ));
                }
            };
            return Ok(());
        }
        let Some(term) = slot(place, name).and_then(|at| TERMS.get(at)) else {
            return Err(unknown_fact(place, name, kind));
        };
        if let Some(only) = term.only.filter(|only| *only != kind) {
            let message = format!("`{name}` belongs to {only}, not to {kind}");
            return Err(mistake(Part::Name, message, "remove it, or ask about that action"));
        }
        if (place, name) == (Place::Context, "field") {
            self.ask.field = field(given)?;
            return Ok(());
        }
        let value = value(term, given, &self.named)?;
        self.facts
            .set(place, name, value)
            .map_err(|error| mistake(Part::Value, error.to_string(), term.meaning))
    }

    /// Adds an approval. What it does not say is that of one that counts: an active person, this draft, until a day from now. Call it
    /// after the facts have been said.
    ///
    /// # Errors
    /// The key that is wrong, with the [`Mistake`].
    pub fn approve<'k>(&mut self, given: &[(&'k str, Given)]) -> Result<(), (&'k str, Mistake)> {
        let draft_hash = match self.facts.get(Place::Context, "draft_hash") {
            Value::Word(hash) => hash.clone(),
            _ => String::new(),
        };
        let now = match self.facts.get(Place::Context, "now") {
            Value::Moment(now) => *now,
            _ => 0,
        };
        let mut approval = Approval {
            by: Human {
                id: "approver".to_owned(),
                roles: BTreeSet::new(),
                active: true,
            },
            draft_hash,
            expires_at: now.saturating_add(DAY_US / 1000),
        };
        for (key, given) in given {
            let wrong = |help: &str| {
                let message = format!("`{key}` of the approval is {}", given.is());
                Err((*key, mistake(Part::Value, message, help)))
            };
            match (*key, given) {
                ("by", Given::Text(who)) => approval.by.id.clone_from(who),
                ("by", _) => return wrong("name a person"),
                ("roles", Given::Texts(list)) => {
                    let roles: Result<BTreeSet<OwnerRole>, Mistake> =
                        list.iter().map(|word| role(word, &self.named)).collect();
                    approval.by.roles = roles.map_err(|error| (*key, error))?;
                }
                ("roles", _) => return wrong("give a list, such as [\"csm_manager\"]"),
                ("active", Given::Flag(active)) => approval.by.active = *active,
                ("active", _) => return wrong("give true or false"),
                ("draft_hash", Given::Text(hash)) => approval.draft_hash.clone_from(hash),
                ("draft_hash", _) => return wrong("give a text"),
                ("expires_at", Given::Text(text)) => match milliseconds(text) {
                    Some(at) => approval.expires_at = at,
                    None => return wrong("give a time such as 2026-03-02T12:00:00Z"),
                },
                ("expires_at", _) => return wrong("give a time such as 2026-03-02T12:00:00Z"),
                (other, _) => {
                    let known = ["by", "roles", "active", "draft_hash", "expires_at"];
                    let help = did_you_mean(other, known.into_iter())
                        .unwrap_or_else(|| format!("an approval has {}", known.join(", ")));
                    let message = format!("an approval has no `{other}`");
                    return Err((*key, mistake(Part::Name, message, help)));
                }
            }
        }
        self.approval = Some(approval);
        Ok(())
    }

    /// Kind of action and tier it is about.
    #[must_use]
    pub fn cell(&self) -> (ActionKind, Option<Tier>) {
        let tier = match self.facts.get(Place::Account, "tier") {
            Value::Tier(tier) => Some(*tier),
            _ => None,
        };
        (self.ask.action, tier)
    }

    /// Whether it has an approval.
    #[must_use]
    pub fn is_approved(&self) -> bool {
        self.approval.is_some()
    }

    /// What the rules say.
    #[must_use]
    pub fn decide(&self, gate: &Gate, settings: &Settings) -> Decided {
        let asks = [self.ask];
        let Some(approval) = &self.approval else {
            let verdict = gate.verdict_on(&self.facts, &asks, settings, Engine::Direct);
            let routed = gate.route(&self.facts, self.ask, Engine::Direct);
            let touched = routed.map_or_else(
                |_| BTreeSet::new(),
                |r| r.rules.into_iter().chain(r.unapproved).chain(r.failed).collect(),
            );
            return Decided {
                word: verdict.word(),
                level: Some(verdict.level),
                role: verdict.role,
                rules: verdict.rules,
                touched,
            };
        };
        let answer = gate.answer(&self.facts, self.ask, Some(approval), Engine::Direct);
        let touched: BTreeSet<usize> =
            answer.map_or_else(|_| BTreeSet::new(), |a| a.rules.into_iter().chain(a.failed).collect());
        let (word, rules) = match gate.permits_on(&self.facts, &asks, approval, settings) {
            Ok(()) => {
                let rules = touched.iter().filter_map(|at| gate.rules().get(*at));
                let mut rules: Vec<_> = rules.collect();
                // A cell says more than an exception that says the same.
                rules.sort_by_key(|rule| std::cmp::Reverse(rule.origin));
                ("allowed", rules.into_iter().map(RuleRef::from).collect())
            }
            Err(rule) => ("refused", vec![rule]),
        };
        Decided {
            word: word.to_owned(),
            level: None,
            role: None,
            rules,
            touched,
        }
    }
}

fn unknown_fact(place: Place, name: &str, kind: ActionKind) -> Mistake {
    let own = |t: &&Term| t.place == place && t.only.is_none_or(|only| only == kind);
    let other = match place {
        Place::Account => Place::Context,
        Place::Context => Place::Account,
    };
    let (holder, elsewhere, more) = match place {
        Place::Account => ("account", "context", None),
        Place::Context => ("request", "account", Some("last_editor")),
    };
    let known = || TERMS.iter().filter(own).map(|t| t.name).chain(more);
    let help = if slot(other, name).is_some() {
        format!("it stands under `{elsewhere}`")
    } else {
        did_you_mean(name, known()).unwrap_or_else(|| format!("known are {}", names(known())))
    };
    mistake(Part::Name, format!("there is no fact `{name}` of the {holder}"), help)
}

fn field(given: &Given) -> Result<Option<AccountField>, Mistake> {
    match given {
        Given::Unknown => Ok(None),
        Given::Text(word) => AccountField::from_word(word).map(Some).ok_or_else(|| {
            let all = || AccountField::ALL.iter().map(|f| f.as_str());
            let help = did_you_mean(word, all()).unwrap_or_else(|| format!("fields are {}", names(all())));
            mistake(Part::Value, format!("unknown field `{word}`"), help)
        }),
        _ => Err(mistake(
            Part::Value,
            format!("`field` is {}", given.is()),
            "name a field of the account",
        )),
    }
}

fn value(term: &Term, given: &Given, named: &Vocabulary) -> Result<Value, Mistake> {
    let tiers = || named.tiers().iter().map(|t| t.as_str());
    let wrong = |help: String| Err(mistake(Part::Value, format!("`{}` is {}", term.name, given.is()), help));
    match (term.kind, given) {
        (_, Given::Unknown) => Ok(Value::Unknown),
        (Kind::Flag, Given::Flag(flag)) => Ok(Value::Flag(*flag)),
        (Kind::Number { .. }, Given::Number(number)) => Ok(Value::Number(*number)),
        (Kind::Word, Given::Text(word)) => Ok(Value::Word(word.clone())),
        (Kind::Tier, Given::Text(word)) => named.tier(word).map(Value::Tier).ok_or_else(|| {
            let help = did_you_mean(word, tiers()).unwrap_or_else(|| format!("tiers are {}", names(tiers())));
            mistake(Part::Value, format!("unknown tier `{word}`"), help)
        }),
        (Kind::Moment, Given::Text(text)) => match milliseconds(text) {
            Some(at) => Ok(Value::Moment(at)),
            None => wrong("give a time such as 2026-03-02T12:00:00Z".to_owned()),
        },
        (Kind::Flag, _) => wrong(format!("give true or false: {}", term.meaning)),
        (Kind::Number { .. }, _) => wrong(format!("give a whole number: {}", term.meaning)),
        (Kind::Word, _) => wrong(format!("give a text: {}", term.meaning)),
        (Kind::Tier, _) => wrong(format!("give one of {}", names(tiers()))),
        (Kind::Moment, _) => wrong("give a time such as 2026-03-02T12:00:00Z".to_owned()),
    }
}

/// Reads a question from one JSON object: `action`, `account`, `context` and `approval`, the last three of which may be missing.
///
/// # Errors
/// The first [`Mistake`].
pub fn from_json(text: &str, unnamed: Unnamed, now: Timestamp, named: &Vocabulary) -> Result<Question, Mistake> {
    type Object = BTreeMap<String, serde_json::Value>;
    let object: Object = serde_json::from_str(text).map_err(|error| {
        mistake(
            Part::Value,
            format!("no JSON object: {error}"),
            "write one object on one line",
        )
    })?;
    let known = ["action", "account", "context", "approval"];
    if let Some(other) = object.keys().find(|key| !known.contains(&key.as_str())) {
        let help = did_you_mean(other, known.into_iter()).unwrap_or_else(|| format!("known are {}", known.join(", ")));
        return Err(mistake(Part::Name, format!("unknown key `{other}`"), help));
    }
    let Some(action) = object.get("action").and_then(|a| a.as_str()) else {
        let message = "`action` is missing or no text";
        let all = names(named.actions().map(ActionKind::as_str));
        return Err(mistake(Part::Value, message, format!("actions are {all}")));
    };
    let facts = |key: &str| match object.get(key) {
        None | Some(serde_json::Value::Null) => Ok(None),
        Some(serde_json::Value::Object(map)) => Ok(Some(map)),
        Some(_) => Err(mistake(
            Part::Value,
            format!("`{key}` is no object"),
            "write {\"name\": value, …}",
        )),
    };
    let mut question = Question::about(action, unnamed, now, named)?;
    for (key, place) in [("account", Place::Account), ("context", Place::Context)] {
        for (name, value) in facts(key)?.into_iter().flatten() {
            question.say(place, name, &Given::from(value))?;
        }
    }
    if let Some(approval) = facts("approval")? {
        let given: Vec<(&str, Given)> = approval.iter().map(|(k, v)| (k.as_str(), Given::from(v))).collect();
        question.approve(&given).map_err(|(_, error)| error)?;
    }
    Ok(question)
}
