//! What the stage of a deal means: the rows of `OpportunityStage`, which the org's admins make, and the deal's own record.
//!
//! Promises: whether a deal is closed or won is read, never told from the name of its stage; a stage that the org does not have, or
//! has no more, is refused before anything is sent. Salesforce itself takes any text as a stage.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use perennial_core::action::{DealField, Effect, Write};
use serde::Deserialize;

use super::map::OPPORTUNITY;
use super::wire::QueryPage;
use super::{Salesforce, data};
use crate::budget::Lane;
use crate::http::Call;
use crate::http::path::encode;
use crate::reading::{Ask, ReadRow, STAGE, STAGE_LABEL, STAGE_PROBABILITY, STAGE_STATE};
use crate::{FieldOwner, SendError};

/// The object whose rows are the stages of an org.
pub(super) const STAGES: &str = "OpportunityStage";

/// The field of a deal that holds its stage.
const STAGE_FIELD: &str = "StageName";

/// Fields of a deal that say what its stage means.
pub(super) const STAGE_FIELDS: [&str; 4] = [STAGE_FIELD, "IsClosed", "IsWon", "Probability"];

/// Stages by the name that records hold.
pub(super) type Stages = BTreeMap<String, Stage>;

/// One stage. Of two rows with one name, an old one and a new one, the one in use counts.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Stage {
    api_name: String,
    master_label: String,
    is_active: bool,
    is_closed: bool,
    is_won: bool,
    #[serde(default)]
    default_probability: Option<f64>,
    #[serde(default)]
    forecast_category_name: Option<String>,
    #[serde(default)]
    sort_order: Option<i64>,
}

impl Salesforce {
    /// Whether the stage that an effect sets is one that the org has.
    ///
    /// # Errors
    /// [`SendError::Refused`] where it is not; nothing was sent but the question for the stages.
    pub(super) async fn check_stage(&self, effect: &Effect) -> Result<(), SendError> {
        let Write::UpdateOpportunity { stage: Some(stage), .. } = &effect.write else {
            return Ok(());
        };
        let rule = self.writes.deal.get(&DealField::Stage);
        if !rule.is_some_and(|rule| rule.field == STAGE_FIELD && rule.owner != FieldOwner::Crm)
            || stage.trim().is_empty()
        {
            return Ok(());
        }
        let known = self.stages.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if known.is_some_and(|stages| judge(&stages, stage).is_ok()) {
            return Ok(());
        }
        // It may have been made, or taken into use again, since they were asked for.
        let stages = self.ask_stages(Lane::of(effect)).await?;
        judge(&stages, stage)
    }

    /// The stages as they are now.
    pub(super) async fn ask_stages(&self, lane: Lane) -> Result<Arc<Stages>, SendError> {
        let question = format!(
            "SELECT ApiName, MasterLabel, IsActive, IsClosed, IsWon, DefaultProbability, ForecastCategoryName, SortOrder \
             FROM {STAGES} ORDER BY SortOrder"
        );
        let path = format!("{}/query?q={}", data(), encode(&question));
        let page: QueryPage<Stage> = self.http.send(&Call::get(STAGES, path).on(lane)).await?.ok()?.json()?;
        if !page.done || page.total_size > page.records.len() as u64 {
            return Err(super::read::unexpected(
                STAGES,
                "a question says that it found more than it shows",
            ));
        }
        let stages = Arc::new(by_name(page.records));
        *self.stages.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&stages));
        Ok(stages)
    }

    /// Puts the meaning of each row's stage into its cells, where it is asked for. How a deal ended the deal itself says; what people call
    /// its stage is asked for anew where a reading begins.
    pub(super) async fn staged(&self, ask: &Ask, begins: bool, rows: &mut [ReadRow]) -> Result<(), SendError> {
        if !ask.fields.iter().any(|field| field.starts_with(STAGE)) {
            return Ok(());
        }
        if ask.object != OPPORTUNITY {
            return Err(SendError::refused(
                &ask.object,
                "BAD_NAME",
                "`stage.` stands for the stages of opportunities, and these records have none",
                "correct the mapping",
            ));
        }
        let mut stages = None;
        if ask.fields.iter().any(|field| field == STAGE_LABEL) && !rows.is_empty() {
            let known = self.stages.lock().unwrap_or_else(PoisonError::into_inner).clone();
            stages = Some(match known.filter(|_| !begins) {
                Some(stages) => stages,
                None => self.ask_stages(Lane::Bulk).await?,
            });
        }
        rows.iter_mut().for_each(|row| explain(row, stages.as_deref()));
        Ok(())
    }
}

fn by_name(rows: Vec<Stage>) -> Stages {
    let mut stages = Stages::new();
    for stage in rows {
        let there = stages
            .entry(stage.api_name.to_lowercase())
            .or_insert_with(|| stage.clone());
        if stage.is_active && !there.is_active {
            *there = stage;
        }
    }
    stages
}

/// Whether a stage may be set.
fn judge(stages: &Stages, wanted: &str) -> Result<(), SendError> {
    let wanted = wanted.trim();
    let refused = |code, message: String, remedy: String| Err(SendError::refused(STAGES, code, &message, remedy));
    let mut in_use: Vec<&Stage> = stages.values().filter(|stage| stage.is_active).collect();
    in_use.sort_by_key(|stage| (stage.sort_order, stage.api_name.as_str()));
    let names: Vec<&str> = in_use.iter().map(|stage| stage.api_name.as_str()).collect();
    let remedy = format!("set one of its stages: {}", names.join(", "));
    match stages.get(&wanted.to_lowercase()) {
        Some(stage) if stage.is_active => Ok(()),
        Some(_) => refused(
            "INACTIVE_STAGE",
            "the stage is not in use any more in this org".to_owned(),
            remedy,
        ),
        None => match in_use
            .iter()
            .find(|stage| stage.master_label.eq_ignore_ascii_case(wanted))
        {
            Some(stage) => refused(
                "UNKNOWN_STAGE",
                "that is what people call a stage, not its name".to_owned(),
                format!("set `{}`", stage.api_name),
            ),
            None => refused("UNKNOWN_STAGE", "the org has no such stage".to_owned(), remedy),
        },
    }
}

/// What the org's stages are, in a line.
pub(super) fn told(stages: &Stages) -> String {
    let count = |fits: fn(&Stage) -> bool| stages.values().filter(|stage| stage.is_active && fits(stage)).count();
    let forecast = count(|stage| stage.forecast_category_name.is_some() && stage.default_probability.is_some());
    format!(
        "{} stages in use, {} of them closed and {} won; {forecast} have a chance and a forecast category",
        count(|_| true),
        count(|stage| stage.is_closed),
        count(|stage| stage.is_won),
    )
}

fn explain(row: &mut ReadRow, stages: Option<&Stages>) {
    let [name, is_closed, is_won, probability] = STAGE_FIELDS.map(|field| row.cells.get(field).cloned());
    let state = match (is_closed.as_deref(), is_won.as_deref()) {
        (_, Some("true")) => Some("won"),
        (Some("true"), _) => Some("lost"),
        (Some("false"), _) => Some("open"),
        (_, _) => None,
    };
    let state = state.map(str::to_owned);
    let stage = name.as_ref().and_then(|name| stages?.get(&name.to_lowercase()));
    let label = stage.map(|stage| stage.master_label.clone()).or(name);
    for (column, value) in [
        (STAGE_LABEL, label),
        (STAGE_STATE, state),
        (STAGE_PROBABILITY, probability),
    ] {
        if let Some(value) = value {
            row.cells.insert(column.to_owned(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(name: &str, label: &str, active: bool, sort: i64) -> Stage {
        Stage {
            api_name: name.to_owned(),
            master_label: label.to_owned(),
            is_active: active,
            is_closed: false,
            is_won: false,
            default_probability: Some(10.0),
            forecast_category_name: Some("Pipeline".to_owned()),
            sort_order: Some(sort),
        }
    }

    fn code(answer: Result<(), SendError>) -> (String, String) {
        match answer {
            Ok(()) => (String::new(), String::new()),
            Err(SendError::Refused { code, remedy, .. }) => (code, remedy),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_a_stage_in_use_may_be_set_and_the_refusal_says_which_there_are() {
        let stages = by_name(vec![
            stage("Talk", "Talking", true, 2),
            stage("Old", "Old", false, 3),
            stage("Old", "Old", true, 4),
            stage("Gone", "Gone", false, 5),
            stage("Start", "Start", true, 1),
        ]);
        assert!(judge(&stages, "talk").is_ok() && judge(&stages, "Old").is_ok());
        assert_eq!(code(judge(&stages, "Gone")).0, "INACTIVE_STAGE");
        assert_eq!(
            code(judge(&stages, "Talking")),
            ("UNKNOWN_STAGE".to_owned(), "set `Talk`".to_owned())
        );
        let (code, remedy) = code(judge(&stages, "Closed Won"));
        assert_eq!(code, "UNKNOWN_STAGE");
        assert!(remedy.ends_with("Start, Talk, Old"), "{remedy}");
    }

    #[test]
    fn the_record_itself_says_how_a_deal_ended_and_the_org_what_its_stage_is_called() {
        let stages = by_name(vec![stage("Signed", "Unterschrieben", true, 1)]);
        let explained = |is_closed: &str, is_won: &str, stages: Option<&Stages>| {
            let pairs = [("StageName", "Signed"), ("IsClosed", is_closed), ("IsWon", is_won)];
            let cells = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let mut row = ReadRow {
                cells: cells.into(),
                ..ReadRow::gone("Id", "006000000000001AAA")
            };
            explain(&mut row, stages);
            (row.cells["stage.state"].clone(), row.cells["stage.label"].clone())
        };
        let (won, label) = explained("true", "true", Some(&stages));
        assert_eq!((won.as_str(), label.as_str()), ("won", "Unterschrieben"));
        assert_eq!(
            explained("true", "false", None),
            ("lost".to_owned(), "Signed".to_owned())
        );
        assert_eq!(explained("false", "false", None).0, "open");
    }
}
