//! What is kept of a choice: what could have run by itself, with which chance, and what did.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::action::ActionKind;
use crate::ids::{AccountId, ActionId, OwnerId, PlaybookId};
use crate::number::Micro;
use crate::replay::Hash;
use crate::signal::Tier;
use crate::time::{Day, Timestamp};

/// One account on one day, as its owner's day was planned first. What runs by itself only: whether a person approves is
/// no draw of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedChoice {
    /// About whom.
    pub account: AccountId,
    /// The day.
    pub day: Day,
    /// Whose day; `None` for an account that nobody owns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<OwnerId>,
    /// Facts up to here.
    pub as_of: Timestamp,
    /// Hash of the policies and prompts.
    pub content: Hash,
    /// Seed of the draws; `None` where exploration is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Tier of the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// Probability of not renewing before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk_micro: Option<Micro>,
    /// What could have run, in the order of ids.
    pub options: Vec<LoggedOption>,
}

/// One action of a choice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedOption {
    /// Which.
    pub action: ActionId,
    /// Playbook it comes from.
    pub playbook: PlaybookId,
    /// Kind.
    pub kind: ActionKind,
    /// What it is about.
    pub subject: String,
    /// Probability of being executed: of a place in the day, after the draw, one action an account, and capacity.
    pub propensity_micro: Micro,
    /// It got that place and ran by itself.
    pub executed: bool,
    /// It was drawn, or another of its account was; `None` where it took part in no draw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drawn: Option<bool>,
}

impl LoggedChoice {
    /// Whether there is something to keep: an action was executed, or could have been but for chance.
    #[must_use]
    pub fn tells(&self) -> bool {
        self.options.iter().any(|o| {
            o.executed || o.drawn.is_some() || (o.propensity_micro > Micro::ZERO && o.propensity_micro < Micro::ONE)
        })
    }

    /// Whether chance had a say in it.
    #[must_use]
    pub fn by_chance(&self) -> bool {
        self.options
            .iter()
            .any(|o| o.drawn.is_some() || (o.propensity_micro > Micro::ZERO && o.propensity_micro < Micro::ONE))
    }
}

/// Account, playbook and subject of what another was drawn instead of.
pub type Resting = BTreeSet<(AccountId, PlaybookId, String)>;

/// What rests: it was not drawn in one of these choices. If it were done the next day, everybody would have both, and
/// nothing could be learned.
#[must_use]
pub fn resting(choices: &[LoggedChoice]) -> Resting {
    let mut found = Resting::new();
    for choice in choices {
        let lost = choice.options.iter().filter(|o| o.drawn == Some(false));
        found.extend(lost.map(|o| (choice.account.clone(), o.playbook.clone(), o.subject.clone())));
    }
    found
}
