//! `queue edit`: what `--set` changes.

use std::path::PathBuf;

use perennial_core::action::Effect;
use perennial_core::replay::read;
use perennial_store::ActionRow;

use crate::cli::Failure;

/// The effects with what `--set` changes.
pub(super) fn edited(row: &ActionRow, set: &[String]) -> Result<Vec<Effect>, Failure> {
    let mut effects: Vec<Effect> = read("list of effects", &row.effects)?;
    for change in set {
        let (place, text) = change.split_once('=').ok_or_else(|| {
            Failure::input(format!(
                "`{change}` is no change: write STEP.FIELD=TEXT, such as 0.subject=\"…\""
            ))
        })?;
        let (step, field) = place
            .split_once('.')
            .ok_or_else(|| Failure::input(format!("`{place}` names no field: write STEP.FIELD, such as 0.subject")))?;
        let text = match text.strip_prefix('@') {
            Some(path) => {
                let path = PathBuf::from(path);
                std::fs::read_to_string(&path).map_err(|error| {
                    Failure::input(format!(
                        "`{}` cannot be read: {error}; check the path after the @",
                        path.display()
                    ))
                })?
            }
            None => text.to_owned(),
        };
        let known = effects.len();
        let effect = step
            .parse::<usize>()
            .ok()
            .and_then(|s| effects.get_mut(s))
            .ok_or_else(|| {
                Failure::input(format!(
                    "there is no step `{step}`: `queue show` numbers the steps from 0 to {}",
                    known.saturating_sub(1)
                ))
            })?;
        set_field(effect, field, text)?;
    }
    Ok(effects)
}

fn set_field(effect: &mut Effect, field: &str, text: String) -> Result<(), Failure> {
    use perennial_core::action::{AccountField, Priority, Write};
    use perennial_core::signal::ContactRole;
    let unknown = |known: String| Failure::input(format!("this step has no field `{field}`; it has {known}"));
    match &mut effect.write {
        Write::UpdateAccount { fields } => {
            let known = fields.keys().map(|f| f.as_str()).collect::<Vec<_>>().join(", ");
            let place = AccountField::from_word(field)
                .and_then(|f| fields.get_mut(&f))
                .ok_or_else(|| unknown(known))?;
            *place = text;
        }
        Write::CreateTask {
            subject,
            body,
            due,
            priority,
            ..
        } => match field {
            "subject" => *subject = text,
            "body" => *body = text,
            "due" => {
                *due = text
                    .parse()
                    .map_err(|e: perennial_core::time::TimeError| Failure::input(e))?
            }
            "priority" => {
                *priority =
                    Priority::from_word(&text).ok_or_else(|| Failure::input("priorities are high, normal, low"))?;
            }
            _ => return Err(unknown("subject, body, due, priority".to_owned())),
        },
        Write::CreateNote { title, body } => match field {
            "title" => *title = text,
            "body" => *body = text,
            _ => return Err(unknown("title, body".to_owned())),
        },
        Write::UpdateOpportunity { next_step, stage, .. } => match field {
            "next_step" => *next_step = Some(text),
            "stage" => *stage = Some(text),
            _ => return Err(unknown("next_step, stage".to_owned())),
        },
        Write::SetContactRole { role, .. } => match field {
            "role" => {
                let words = || {
                    ContactRole::ALL
                        .iter()
                        .map(|role| role.as_str())
                        .collect::<Vec<_>>()
                        .join(", ")
                };
                *role =
                    ContactRole::from_word(&text).ok_or_else(|| Failure::input(format!("roles are {}", words())))?;
            }
            _ => return Err(unknown("role".to_owned())),
        },
    }
    Ok(())
}
