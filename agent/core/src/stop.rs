//! The stop button: what people have stopped, and whom it reaches.
//!
//! A stop only ever takes away: nothing is decided by it, and what it holds waits as it stands.

use crate::action::ActionKind;
use crate::ids::AccountId;
use crate::signal::{Crm, Tier};
use crate::time::Timestamp;

/// How far a stop reaches.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopScope {
    /// Everything of the tenant.
    All,
    /// Accounts of a tier.
    Tier(Tier),
    /// Actions of a kind.
    Kind(ActionKind),
    /// Everything that goes to a system.
    Tool(Crm),
    /// One account.
    Account(AccountId),
}

impl StopScope {
    /// The words for it: `all`, `tier`, `kind`, `tool` or `account`, and of what.
    #[must_use]
    pub fn words(&self) -> (&'static str, &str) {
        match self {
            StopScope::All => ("all", ""),
            StopScope::Tier(tier) => ("tier", tier.as_str()),
            StopScope::Kind(kind) => ("kind", kind.as_str()),
            StopScope::Tool(tool) => ("tool", tool.as_str()),
            StopScope::Account(account) => ("account", account.as_str()),
        }
    }

    /// The scope with these words.
    #[must_use]
    pub fn from_words(scope: &str, subject: &str) -> Option<StopScope> {
        match scope {
            "all" => subject.is_empty().then_some(StopScope::All),
            "tier" => Tier::from_word(subject).map(StopScope::Tier),
            "kind" => ActionKind::from_word(subject).map(StopScope::Kind),
            "tool" => Crm::from_word(subject).map(StopScope::Tool),
            "account" => (!subject.is_empty()).then(|| StopScope::Account(AccountId::new(subject))),
            _ => None,
        }
    }

    /// Whether an effect of an action is within it.
    #[must_use]
    pub fn reaches(&self, account: &AccountId, tier: Option<Tier>, kind: ActionKind, tool: Crm) -> bool {
        match self {
            StopScope::All => true,
            StopScope::Tier(stopped) => tier == Some(*stopped),
            StopScope::Kind(stopped) => kind == *stopped,
            StopScope::Tool(stopped) => tool == *stopped,
            StopScope::Account(stopped) => account == stopped,
        }
    }
}

impl std::fmt::Display for StopScope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.words() {
            (scope, "") => f.write_str(scope),
            (scope, subject) => write!(f, "{scope} {subject}"),
        }
    }
}

/// What a person has stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// How far it reaches.
    pub scope: StopScope,
    /// Since when.
    pub since: Timestamp,
    /// Who stopped it.
    pub person: String,
    /// Why.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lead_back_to_the_scope_and_each_reaches_its_own() {
        let account = AccountId::new("A-1");
        let reach = |scope: &StopScope| {
            [
                (Some(Tier::LOW_TOUCH), ActionKind::CREATE_TASK, Crm::Salesforce),
                (Some(Tier::MID_TOUCH), ActionKind::CREATE_NOTE, Crm::HubSpot),
                (None, ActionKind::CREATE_NOTE, Crm::HubSpot),
            ]
            .map(|(tier, kind, tool)| scope.reaches(&account, tier, kind, tool))
        };
        for (scope, expected) in [
            (StopScope::All, [true, true, true]),
            (StopScope::Tier(Tier::LOW_TOUCH), [true, false, false]),
            (StopScope::Kind(ActionKind::CREATE_NOTE), [false, true, true]),
            (StopScope::Tool(Crm::HubSpot), [false, true, true]),
            (StopScope::Account(account.clone()), [true, true, true]),
            (StopScope::Account(AccountId::new("A-2")), [false, false, false]),
        ] {
            let (word, subject) = scope.words();
            assert_eq!(StopScope::from_words(word, subject).as_ref(), Some(&scope));
            assert_eq!(reach(&scope), expected, "{scope}");
        }
        for (word, subject) in [("all", "x"), ("tier", "Golden!"), ("account", ""), ("planet", "mars")] {
            assert_eq!(StopScope::from_words(word, subject), None);
        }
    }
}
