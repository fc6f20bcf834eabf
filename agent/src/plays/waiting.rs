//! What actions that come to their end do to the plays that wait for them.

use std::collections::BTreeMap;

use perennial_core::action::ActionState;
use perennial_core::ids::ActionId;
use perennial_core::play::Definition;
use perennial_core::replay::Hash;
use perennial_core::time::Timestamp;
use perennial_store::{PlayChange, PlayRow, Store, StoreError};

use super::{changed_by, definitions, event_of};

/// The plays that wait for some actions, read at once: most actions are the step of none, and cost nothing more.
pub(crate) struct Waiting {
    rows: BTreeMap<ActionId, PlayRow>,
    known: BTreeMap<Hash, Definition>,
}

impl Waiting {
    /// Those of some actions.
    pub(crate) async fn for_actions(store: &Store, actions: &[ActionId]) -> Result<Waiting, StoreError> {
        Waiting::over(store, store.plays_of_actions(actions).await?).await
    }

    pub(super) async fn over(store: &Store, rows: BTreeMap<ActionId, PlayRow>) -> Result<Waiting, StoreError> {
        let known = definitions(store, rows.values()).await?;
        Ok(Waiting { rows, known })
    }

    /// What a new state of an action does to the play that waits for it: part of the same transaction.
    pub(crate) fn follow(
        &self,
        action: &ActionId,
        state: ActionState,
        conflict: bool,
        now: Timestamp,
    ) -> Option<PlayChange> {
        let event = event_of(action, state, conflict)?;
        let row = self.rows.get(action)?;
        let definition = self.known.get(&row.definition)?;
        changed_by(row, &definition.shape, &event, now)
    }
}
