//! Ids are types. Ids that we make are derived from what they name, so the same cause always has the same id.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::replay::Hash;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Wraps an id as it stands.
            #[must_use]
            pub fn new(id: impl Into<String>) -> $name {
                $name(id.into())
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(
    /// A customer account, by the id its source gives it.
    AccountId
);
text_id!(
    /// A person of ours who looks after accounts, by the id their source gives them.
    OwnerId
);
text_id!(
    /// A system that facts come from, such as `ravenstack` or `salesforce`.
    SourceId
);
text_id!(
    /// The id of one record inside its source.
    ExternalId
);
text_id!(
    /// A playbook, by the name of its file without the ending.
    PlaybookId
);
text_id!(
    /// One decision about one account at one time: `dec_` and 20 hexadecimal digits of its inputs' hash.
    DecisionId
);
text_id!(
    /// One proposed or taken action: `act_` and 20 hexadecimal digits, the same for the same cause on the same day.
    ActionId
);
text_id!(
    /// One play: `ply_` and 20 hexadecimal digits, the same for the same cause on the same day.
    PlayId
);
text_id!(
    /// One effect outside, which is also its idempotency key: `eff_` and 20 hexadecimal digits.
    EffectId
);
text_id!(
    /// One run of the cycle.
    RunId
);

/// Length of the hexadecimal part of ids we derive: 80 bits, so that a billion ids collide with a chance below one in a million.
const DERIVED_DIGITS: usize = 20;

fn derived(prefix: &str, parts: &[&str]) -> String {
    let hash = Hash::of_parts(parts).to_string();
    format!("{prefix}_{}", &hash[..DERIVED_DIGITS])
}

impl DecisionId {
    /// The id of the decision that follows from these inputs.
    #[must_use]
    pub fn derive(account: &AccountId, inputs: &Hash) -> DecisionId {
        DecisionId(derived("dec", &[account.as_str(), &inputs.to_string()]))
    }
}

impl ActionId {
    /// The id of what `playbook` proposes for `account` about `subject` (a contract, a contact, a quarter) on `day`.
    #[must_use]
    pub fn derive(
        tenant: TenantId,
        account: &AccountId,
        playbook: &PlaybookId,
        subject: &str,
        day: crate::time::Day,
    ) -> ActionId {
        ActionId(derived(
            "act",
            &[
                &tenant.0.to_string(),
                account.as_str(),
                playbook.as_str(),
                subject,
                &day.to_string(),
            ],
        ))
    }
}

impl PlayId {
    /// The id of the play that `playbook` begins for `account` about `subject` on `day`.
    #[must_use]
    pub fn derive(
        tenant: TenantId,
        account: &AccountId,
        playbook: &PlaybookId,
        subject: &str,
        day: crate::time::Day,
    ) -> PlayId {
        PlayId(derived(
            "ply",
            &[
                &tenant.0.to_string(),
                account.as_str(),
                playbook.as_str(),
                subject,
                &day.to_string(),
            ],
        ))
    }

    /// What the action of a later step is derived from, in place of its subject: every turn has its own.
    #[must_use]
    pub fn at_turn(&self, subject: &str, turn: u32) -> String {
        format!("{subject}#{}.{turn}", self.0)
    }
}

impl EffectId {
    /// The idempotency key of step `step` of `action`, fixed when the action is decided.
    #[must_use]
    pub fn derive(action: &ActionId, step: u32) -> EffectId {
        EffectId(derived("eff", &[action.as_str(), &step.to_string()]))
    }
}

impl RunId {
    /// The id of a run that starts at `started` for the facts as of `as_of`.
    #[must_use]
    pub fn derive(started: crate::time::Timestamp, as_of: crate::time::Timestamp) -> RunId {
        RunId(derived("run", &[&started.to_string(), &as_of.to_string()]))
    }
}

/// A tenant: one company's accounts, people and policies. Several can share one PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TenantId(pub i64);

impl TenantId {
    /// The tenant of a configuration that names none.
    pub const DEFAULT: TenantId = TenantId(1);
}
