//! Access tokens: which are good, for how long, and for how many requests.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

/// When tokens end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TokenRule {
    /// How long a token lives; for good when absent.
    pub lifetime: Option<Duration>,
    /// How many requests a token serves before it is refused; without end when absent. This is how a token ends in the
    /// middle of a batch.
    pub requests: Option<u32>,
}

/// What an app must show to get a token. Without it any client is taken at its word.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct App {
    /// The client id (Salesforce: consumer key).
    pub client_id: String,
    /// The client secret.
    pub client_secret: String,
    /// The one good refresh token.
    pub refresh_token: String,
    /// The user a JWT must name (Salesforce).
    pub username: String,
    /// The RSA public key that JWTs are signed for, as DER; signatures are not checked without it.
    pub public_key: Option<Vec<u8>>,
}

#[derive(Debug, Clone, Copy)]
struct Session {
    ends: Option<Timestamp>,
    left: Option<u32>,
}

/// The tokens of one system.
#[derive(Debug)]
pub(crate) struct Tokens {
    prefix: &'static str,
    first: String,
    good: BTreeMap<String, Session>,
    rule: TokenRule,
    issued: u64,
    /// How often a token was asked for and given.
    pub(crate) given: u64,
}

impl Tokens {
    pub(crate) fn new(prefix: &'static str) -> Tokens {
        Tokens {
            prefix,
            first: String::new(),
            good: BTreeMap::new(),
            rule: TokenRule::default(),
            issued: 0,
            given: 0,
        }
    }

    /// Takes the token the sandbox starts with.
    pub(crate) fn start(&mut self, token: &str) {
        token.clone_into(&mut self.first);
        let endless = Session { ends: None, left: None };
        self.good.insert(token.to_owned(), endless);
    }

    /// Sets when tokens end, from now on and for those that are good now.
    pub(crate) fn set_rule(&mut self, rule: TokenRule, now: Timestamp) {
        self.rule = rule;
        let session = self.session(now);
        for good in self.good.values_mut() {
            *good = session;
        }
    }

    /// Ends every token.
    pub(crate) fn expire(&mut self) {
        self.good.clear();
    }

    fn session(&self, now: Timestamp) -> Session {
        let ends = self.rule.lifetime.and_then(|lifetime| now.checked_add(lifetime).ok());
        Session {
            ends,
            left: self.rule.requests,
        }
    }

    /// A good token: the first one while it is good for ever, else a new one.
    pub(crate) fn issue(&mut self, now: Timestamp) -> String {
        self.given += 1;
        if self.rule == TokenRule::default() && self.good.contains_key(&self.first) {
            return self.first.clone();
        }
        self.issued += 1;
        let token = format!("{}{}-{}", self.prefix, self.first, self.issued);
        let session = self.session(now);
        self.good.insert(token.clone(), session);
        token
    }

    /// Whether a request with this token is served. Counts it.
    pub(crate) fn serves(&mut self, token: &str, now: Timestamp) -> bool {
        let Some(session) = self.good.get_mut(token) else {
            return false;
        };
        if session.ends.is_some_and(|ends| now >= ends) || session.left == Some(0) {
            self.good.remove(token);
            return false;
        }
        if let Some(left) = &mut session.left {
            *left -= 1;
        }
        true
    }

    /// Seconds a token lives, as an answer tells.
    pub(crate) fn lifetime_s(&self, otherwise: u64) -> u64 {
        self.rule.lifetime.map_or(otherwise, |lifetime| lifetime.as_secs())
    }
}

impl Tokens {
    /// Whether a token would be served. Does not count as a request.
    pub(crate) fn is_good(&self, token: &str, now: Timestamp) -> bool {
        self.good
            .get(token)
            .is_some_and(|session| session.ends.is_none_or(|ends| now < ends) && session.left != Some(0))
    }

    /// Ends one token.
    pub(crate) fn revoke(&mut self, token: &str) {
        self.good.remove(token);
    }

    /// Whether this is the token that the sandbox told whoever started it. Rights to its controls do not end.
    pub(crate) fn is_first(&self, token: &str) -> bool {
        !self.first.is_empty() && token == self.first
    }
}
