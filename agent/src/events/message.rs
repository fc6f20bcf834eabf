//! One message to one event, or the reason why not. Pure: the time and the key of the hashes come in.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use perennial_core::ids::AccountId;
use perennial_core::time::{DAY_US, Timestamp};
use perennial_store::{EventUse, NewEvent};
use serde_json::Value;
use sha2::Sha256;

use super::mapping::EventMapping;

/// Longest id of an account in characters.
const ACCOUNT_CHARACTERS: usize = 200;
/// How far the sender's clock may be ahead before its times are corrected: 60 s, more than clocks that are kept differ.
const AHEAD_US: i64 = 60_000_000;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Track,
    Page,
    Screen,
    Identify,
    Group,
}

impl Kind {
    /// The kind that a word of the interface stands for.
    pub(super) fn from_word(word: &str) -> Option<Kind> {
        match word {
            "track" => Some(Kind::Track),
            "page" => Some(Kind::Page),
            "screen" => Some(Kind::Screen),
            "identify" => Some(Kind::Identify),
            "group" => Some(Kind::Group),
            _ => None,
        }
    }
}

/// Why a message is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Key to blame; empty for the message as a whole.
    pub field: String,
    pub reason: String,
}

impl Refusal {
    pub(super) fn new(field: &str, reason: impl Into<String>) -> Refusal {
        Refusal {
            field: field.to_owned(),
            reason: reason.into(),
        }
    }
}

/// The key of the hashes.
#[derive(Clone)]
pub(super) struct Key(Hmac<Sha256>);

impl Key {
    /// The key made of a salt; nothing when it is empty.
    pub(super) fn new(salt: &str) -> Option<Key> {
        let mac = Hmac::new_from_slice(salt.as_bytes()).ok()?;
        (!salt.is_empty()).then_some(Key(mac))
    }

    /// 128 bits of HMAC-SHA-256 as text, different for each kind of thing.
    fn hash(&self, what: &str, text: &str) -> String {
        let mut mac = self.0.clone();
        mac.update(what.as_bytes());
        mac.update(b"\0");
        mac.update(text.as_bytes());
        let bytes: [u8; 32] = mac.finalize().into_bytes().into();
        URL_SAFE_NO_PAD.encode(bytes.split_at(16).0)
    }
}

/// What all messages of a request have in common.
pub(super) struct Reader<'a> {
    pub mapping: &'a EventMapping,
    pub key: &'a Key,
    pub now: Timestamp,
    /// Days after which an event is too late.
    pub days: i64,
    /// What a batch says for all its messages: `context` and `sentAt`.
    pub shared: &'a Value,
}

impl Reader<'_> {
    /// The event of a message. Nothing when the message says neither use nor an account.
    pub(super) fn read(&self, kind: Kind, raw: &str, message: &Value) -> Result<Option<NewEvent>, Refusal> {
        let at = self.time(message)?;
        let id = match text_of(message.get("messageId")) {
            Some(id) => self.key.hash("message", &id),
            // Without an id the same bytes are the same message.
            None => self.key.hash("bytes", raw),
        };
        let user = self.first(message, self.mapping.user_paths());
        let person = user.map_or_else(String::new, |user| self.key.hash("person", &user));
        let account = match self.first(message, self.mapping.account_paths()) {
            Some(text) => Some(self.account(&text)?),
            None => None,
        };
        let name = match kind {
            Kind::Track => match text_of(message.get("event")) {
                Some(name) => name,
                None => return Err(Refusal::new("event", "a track message without the name of its event")),
            },
            Kind::Page | Kind::Screen => {
                let word = if kind == Kind::Page { "page" } else { "screen" };
                match text_of(message.get("name")) {
                    Some(name) => format!("{word}: {name}"),
                    None => word.to_owned(),
                }
            }
            Kind::Identify | Kind::Group => {
                return match account {
                    None if kind == Kind::Group => Err(Refusal::new("groupId", self.no_account())),
                    None => Ok(None),
                    Some(_) => Ok(Some(NewEvent {
                        message: id,
                        account,
                        person,
                        at,
                        usage: None,
                    })),
                };
            }
        };
        if account.is_none() && person.is_empty() {
            return Err(Refusal::new("", self.no_account()));
        }
        let usage = EventUse {
            feature: self.mapping.feature(&name).map(str::to_owned),
            active: self.mapping.is_active(&name),
        };
        Ok(Some(NewEvent {
            message: id,
            account,
            person,
            at,
            usage: Some(usage),
        }))
    }

    /// Why an event belongs to no account, in the words of the mapping.
    pub(super) fn no_account(&self) -> String {
        let paths = self.mapping.account_paths().iter().map(|path| path.join("."));
        format!(
            "no account: none of {} is there, and no earlier group or identify message named one for this person",
            paths.collect::<Vec<_>>().join(", ")
        )
    }

    /// When it happened: what the message says, corrected only where the sender's clock is known to be ahead.
    fn time(&self, message: &Value) -> Result<Timestamp, Refusal> {
        let said = ["timestamp", "originalTimestamp"].into_iter().find_map(|key| {
            message
                .get(key)
                .filter(|value| !value.is_null())
                .map(|value| (key, value))
        });
        let Some((key, value)) = said else {
            return Ok(self.now);
        };
        let at = moment(value).ok_or_else(|| Refusal::new(key, "not a time such as 2026-01-31T08:00:00Z"))?;
        let sent = message
            .get("sentAt")
            .or_else(|| self.shared.get("sentAt"))
            .and_then(moment);
        // What was sent in the future was sent now: a clock that is behind cannot be told from a late delivery.
        let ahead = sent.map_or(0, |sent| sent.us().saturating_sub(self.now.us()));
        let at = if ahead > AHEAD_US {
            Timestamp::from_us(at.us().saturating_sub(ahead))
        } else {
            at
        };
        if at.us() > self.now.us().saturating_add(DAY_US) {
            return Err(Refusal::new(key, "lies more than a day in the future"));
        }
        if at.day().days_until(self.now.day()) > self.days {
            return Err(Refusal::new(
                key,
                format!(
                    "more than {} days ago (limits.event_days): import it as daily facts",
                    self.days
                ),
            ));
        }
        Ok(at)
    }

    fn account(&self, text: &str) -> Result<AccountId, Refusal> {
        let account = format!("{}{text}", self.mapping.account_prefix());
        let refused = |reason: String| Err(Refusal::new("account", reason));
        if account.chars().count() > ACCOUNT_CHARACTERS {
            return refused(format!(
                "the account's id is longer than {ACCOUNT_CHARACTERS} characters"
            ));
        }
        if account == "?" || account.contains('\0') {
            return refused("this cannot be the id of an account".to_owned());
        }
        Ok(AccountId::new(account))
    }

    /// The text at the first path that leads to one, in the message or in what the batch says for all.
    fn first(&self, message: &Value, paths: &[Vec<String>]) -> Option<String> {
        let find = |root: &Value, path: &[String]| {
            let found = path.iter().try_fold(root, |value, key| value.get(key));
            text_of(found)
        };
        paths
            .iter()
            .find_map(|path| find(message, path).or_else(|| find(self.shared, path)))
    }
}

/// A text that is not empty; a whole number counts as its digits.
pub(super) fn text_of(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Value::Number(number) if !number.is_f64() => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn moment(value: &Value) -> Option<Timestamp> {
    value.as_str()?.trim().parse().ok()
}
