//! What the stage of a deal or a case means: pipelines are made by people, so a stage is a number whose name, end and chance the
//! account itself must be asked for.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use serde::Deserialize;

use super::{HubSpot, VERSION};
use crate::SendError;
use crate::budget::Lane;
use crate::http::Call;
use crate::reading::{Ask, ReadRow, STAGE, STAGE_LABEL, STAGE_PROBABILITY, STAGE_STATE, known_name};

/// Stages of an object, of all its pipelines, by id.
pub(super) type Stages = BTreeMap<String, Stage>;

/// One stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stage {
    label: String,
    state: &'static str,
    probability: Option<String>,
}

#[derive(Deserialize)]
struct Pipelines {
    results: Vec<Pipeline>,
}

#[derive(Deserialize)]
struct Pipeline {
    #[serde(default)]
    stages: Vec<StageRow>,
}

#[derive(Deserialize)]
struct StageRow {
    id: String,
    #[serde(default)]
    label: String,
    #[serde(default)]
    metadata: Metadata,
}

/// Texts, also where they say a number or whether.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    is_closed: Option<String>,
    probability: Option<String>,
    ticket_state: Option<String>,
}

/// The property that holds the stage of a record.
pub(super) fn property(object: &str) -> Option<&'static str> {
    match object {
        "deals" => Some("dealstage"),
        "tickets" => Some("hs_pipeline_stage"),
        _ => None,
    }
}

/// Whether the meaning of stages is asked for. It is there for deals and cases only.
pub(super) fn are_asked(ask: &Ask) -> Result<bool, SendError> {
    let asked = ask.fields.iter().any(|field| field.starts_with(STAGE));
    if asked && property(&ask.object).is_none() {
        return Err(SendError::refused(
            &ask.object,
            "BAD_NAME",
            "`stage.` stands for the stages of deals and tickets, and these records have none",
            "correct the mapping",
        ));
    }
    Ok(asked)
}

impl HubSpot {
    /// Puts the meaning of each row's stage into its cells. Pipelines are asked for anew where a reading begins.
    pub(super) async fn stage(&self, ask: &Ask, begins: bool, rows: &mut [ReadRow]) -> Result<(), SendError> {
        let Some(property) = property(&ask.object).filter(|_| !rows.is_empty()) else {
            return Ok(());
        };
        let known = {
            let all = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
            all.get(&ask.object).filter(|_| !begins).cloned()
        };
        let stages = match known {
            Some(stages) => stages,
            None => {
                let stages = Arc::new(self.pipelines(&ask.object).await?);
                let mut all = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
                all.insert(ask.object.clone(), Arc::clone(&stages));
                stages
            }
        };
        for row in rows {
            let Some(stage) = row.cells.get(property).and_then(|id| stages.get(id)) else {
                continue;
            };
            row.cells.insert(STAGE_LABEL.to_owned(), stage.label.clone());
            row.cells.insert(STAGE_STATE.to_owned(), stage.state.to_owned());
            if let Some(probability) = &stage.probability {
                row.cells.insert(STAGE_PROBABILITY.to_owned(), probability.clone());
            }
        }
        Ok(())
    }

    async fn pipelines(&self, object: &str) -> Result<Stages, SendError> {
        let call = Call::get(known_name(object), format!("/crm/pipelines/{VERSION}/{object}")).on(Lane::Bulk);
        let pipelines: Pipelines = self.http.send(&call).await?.ok()?.json()?;
        let rows = pipelines.results.into_iter().flat_map(|pipeline| pipeline.stages);
        Ok(rows.map(stage).collect())
    }
}

/// Won where nothing is left to chance, lost where it ended otherwise.
fn stage(row: StageRow) -> (String, Stage) {
    let Metadata {
        is_closed,
        probability,
        ticket_state,
    } = row.metadata;
    let chance = probability.as_deref().and_then(|text| text.parse::<f64>().ok());
    let is_closed = match (is_closed.as_deref(), ticket_state.as_deref()) {
        (Some(text), _) => text == "true",
        (None, Some(state)) => state == "CLOSED",
        (None, None) => chance.is_some_and(|chance| chance <= 0.0 || chance >= 1.0),
    };
    let state = match (is_closed, chance) {
        (false, _) => "open",
        (true, Some(chance)) if chance >= 1.0 => "won",
        (true, Some(_)) => "lost",
        (true, None) => "closed",
    };
    let stage = Stage {
        label: row.label,
        state,
        probability,
    };
    (row.id, stage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_won_where_nothing_is_left_to_chance() {
        let state = |closed: Option<&str>, probability: Option<&str>, ticket: Option<&str>| {
            let text = |value: Option<&str>| value.map(str::to_owned);
            let row = StageRow {
                id: "71".to_owned(),
                label: "Signed".to_owned(),
                metadata: Metadata {
                    is_closed: text(closed),
                    probability: text(probability),
                    ticket_state: text(ticket),
                },
            };
            stage(row).1.state
        };
        assert_eq!(state(Some("true"), Some("1.0"), None), "won");
        assert_eq!(state(Some("true"), Some("0.0"), None), "lost");
        assert_eq!(state(Some("false"), Some("0.9"), None), "open");
        assert_eq!(state(None, Some("1.0"), None), "won");
        assert_eq!(state(None, None, Some("CLOSED")), "closed");
        assert_eq!(state(None, None, Some("OPEN")), "open");
    }
}
