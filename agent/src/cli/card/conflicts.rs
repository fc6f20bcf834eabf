//! Edits of others that an action met.

use perennial_store::ConflictRow;
use serde_json::{Value, json};

use crate::cli::Output;

/// A conflict as JSON.
pub(super) fn json(conflict: &ConflictRow) -> Value {
    json!({
        "effect": conflict.effect,
        "object": conflict.object,
        "record": conflict.record,
        "field": conflict.field.field,
        "known": conflict.field.known,
        "theirs": conflict.field.theirs,
        "ours": conflict.field.ours,
        "at": conflict.at,
        "resolution": conflict.resolution,
        "by": conflict.person,
    })
}

/// Edits of others that an action met: both values, and what a person can say.
pub(super) fn show(conflicts: &[ConflictRow], output: &Output) {
    if conflicts.is_empty() {
        return;
    }
    output.heading("somebody else changed the record");
    let shown = |text: &str| {
        if text.is_empty() {
            "(empty)".to_owned()
        } else {
            text.to_owned()
        }
    };
    for conflict in conflicts {
        let field = &conflict.field;
        output.line(&format!("{} {} {}", conflict.object, conflict.record, field.field));
        let known = field
            .known
            .as_deref()
            .map_or_else(|| "never read here".to_owned(), shown);
        output.line(&format!("  decided on  {known}"));
        output.line(&format!("  theirs      {}", shown(&field.theirs)));
        output.line(&format!("  ours        {}", shown(&field.ours)));
        match (&conflict.resolution, &conflict.person) {
            (Some(whose), Some(person)) => output.line(&format!("  {person} decided for {whose}")),
            _ => output.line("  `queue approve` writes ours over it, `queue reject` keeps theirs"),
        }
    }
}
