//! Why something cannot be done with an action.

use super::roles;
use crate::action::ActionState;
use crate::signal::OwnerRole;
use crate::time::Timestamp;

/// Why an event does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The state does not allow it.
    #[error("this action is {state}; {verb} needs one that {needs}")]
    State {
        /// Where it stands.
        state: ActionState,
        /// What was tried.
        verb: &'static str,
        /// What it would have to be.
        needs: &'static str,
    },
    /// The person's roles do not suffice.
    #[error("{person} may not approve this: it needs the role {needs}")]
    Role {
        /// Who tried.
        person: String,
        /// The least role that may.
        needs: OwnerRole,
    },
    /// The person changed it last.
    #[error("{person} changed this last and may not also approve it; another person with the role must")]
    FourEyes {
        /// Who tried.
        person: String,
    },
    /// The person has said yes to this content, or the person whose roles they would use has.
    #[error("{person} has approved this already; somebody else must: {}", roles(needs))]
    Twice {
        /// Who tried.
        person: String,
        /// Whose yes is still needed.
        needs: Vec<OwnerRole>,
    },
    /// The person has said yes as often as one may.
    #[error(
        "{person} has said yes as often as one person may in 24 hours (`yeses_a_day` in approvals.toml); a colleague may, or {person} later"
    )]
    Budget {
        /// Who tried.
        person: String,
    },
    /// The content is not what the person saw.
    #[error("the action changed since it was shown; look at it again, then approve")]
    Stale,
    /// The time is over.
    #[error("the action expired at {at}; the next run proposes it again if it still holds")]
    Expired {
        /// When.
        at: Timestamp,
    },
    /// A reason is missing.
    #[error("{verb} needs a reason")]
    Reason {
        /// What was tried.
        verb: &'static str,
    },
    /// An edit may change texts and values, not which effects there are.
    #[error("an edit may change what is written, not add, remove or redirect effects")]
    EditShape,
    /// A snooze must end in the future.
    #[error("a snooze must end after now ({now})")]
    SnoozePast {
        /// Present time.
        now: Timestamp,
    },
}
