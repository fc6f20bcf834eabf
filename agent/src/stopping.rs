//! The stop button: who stops what, and who lets it go on.
//!
//! Anybody we know may stop; letting go on asks for a role, because it makes things happen.

use perennial_core::approval::Person;
use perennial_core::policy::gate::Vocabulary;
use perennial_core::replay::canonical;
use perennial_core::signal::OwnerRole;
use perennial_core::stop::{Stop, StopScope};
use perennial_core::time::Timestamp;
use perennial_store::{LedgerDraft, Store, StoreError};

/// Why nothing was stopped or let go on.
#[derive(Debug, thiserror::Error)]
pub enum StoppingError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A reason is what others read who find things stopped.
    #[error("give a --reason: whoever finds this stopped wants to know why")]
    NoReason,
    /// It is stopped already.
    #[error("`{scope}` is stopped since {since} by {person}: {reason}")]
    Already {
        /// What.
        scope: String,
        /// Since when.
        since: Timestamp,
        /// Who.
        person: String,
        /// Why.
        reason: String,
    },
    /// It is not stopped.
    #[error("`{scope}` is not stopped; stopped is {stopped}")]
    NotStopped {
        /// What.
        scope: String,
        /// What is.
        stopped: String,
    },
    /// Letting go on asks for a role.
    #[error("`{person}` may stop but not let go on: that needs the role {needed} or above")]
    NotAllowed {
        /// Who.
        person: String,
        /// Role.
        needed: OwnerRole,
    },
}

/// A stop as people read it.
#[must_use]
pub fn sentence(stop: &Stop) -> String {
    format!(
        "{} since {} by {}: {}",
        stop.scope, stop.since, stop.person, stop.reason
    )
}

/// Role that may let a scope go on: what reaches across accounts is a matter of whoever answers for all of them.
#[must_use]
pub fn needed(scope: &StopScope) -> OwnerRole {
    match scope {
        StopScope::All | StopScope::Tier(_) | StopScope::Tool(_) | StopScope::Kind(_) => OwnerRole::VP_CS,
        StopScope::Account(_) => OwnerRole::CSM_MANAGER,
    }
}

/// Stops a scope.
///
/// # Errors
/// [`StoppingError`]; nothing changes then.
pub async fn stop(
    store: &Store,
    scope: StopScope,
    person: &Person,
    reason: &str,
    now: Timestamp,
) -> Result<Stop, StoppingError> {
    if reason.trim().is_empty() {
        return Err(StoppingError::NoReason);
    }
    let stop = Stop {
        scope,
        since: now,
        person: person.id.clone(),
        reason: reason.trim().to_owned(),
    };
    let entry = entry("stop", &stop.scope, person, reason);
    if store.stop(&stop, &entry).await? {
        return Ok(stop);
    }
    let stops = store.stops().await?;
    match stops.into_iter().find(|known| known.scope == stop.scope) {
        Some(known) => Err(StoppingError::Already {
            scope: known.scope.to_string(),
            since: known.since,
            person: known.person,
            reason: known.reason,
        }),
        // Let go on at the same moment: stopping it again is a new wish.
        None => Err(StoppingError::NotStopped {
            scope: stop.scope.to_string(),
            stopped: "nothing any more: say it again".to_owned(),
        }),
    }
}

/// Lets a scope go on. `named` says which roles include which.
///
/// # Errors
/// [`StoppingError`]; nothing changes then.
pub async fn resume(
    store: &Store,
    scope: &StopScope,
    (person, named): (&Person, &Vocabulary),
    reason: &str,
    now: Timestamp,
) -> Result<(), StoppingError> {
    if reason.trim().is_empty() {
        return Err(StoppingError::NoReason);
    }
    let needed = needed(scope);
    if !person.roles.iter().any(|role| named.covers(*role, needed)) {
        return Err(StoppingError::NotAllowed {
            person: person.id.clone(),
            needed,
        });
    }
    if store
        .resume(scope, &entry("resume", scope, person, reason), now)
        .await?
    {
        return Ok(());
    }
    let stops = store.stops().await?;
    let stopped: Vec<String> = stops.iter().map(|stop| stop.scope.to_string()).collect();
    Err(StoppingError::NotStopped {
        scope: scope.to_string(),
        stopped: if stopped.is_empty() {
            "nothing".to_owned()
        } else {
            stopped.join(", ")
        },
    })
}

/// The reason is ours, about our own work; it holds what the person wrote, so the ledger keeps its hash alone.
fn entry(kind: &str, scope: &StopScope, person: &Person, reason: &str) -> LedgerDraft {
    let (word, subject) = scope.words();
    let body = serde_json::json!({
        "by": person.id,
        "reason": perennial_core::replay::Hash::of(reason.trim().as_bytes()),
        "scope": word,
        "subject": subject,
    });
    LedgerDraft {
        kind: kind.to_owned(),
        reference: scope.to_string(),
        body: canonical(&body),
    }
}
