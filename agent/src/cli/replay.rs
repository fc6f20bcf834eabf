//! `perennial replay`.

use perennial_core::decide::{ENGINE, Inputs, decide};
use perennial_core::ids::DecisionId;
use perennial_core::policy::{Content, Policies};
use perennial_core::replay::{Hash, canonical, read};
use serde::Serialize;

use super::output::{Need, open};
use super::{Failure, Output};
use crate::config::Config;

#[derive(Serialize)]
struct ReplayReport {
    decision: DecisionId,
    account: String,
    as_of: String,
    engine: String,
    identical: bool,
    stored: Hash,
    rebuilt: Hash,
    /// Where the two first differ, in bytes.
    first_difference: Option<usize>,
}

pub(super) async fn replay(config: &Config, id: &str, output: &Output) -> Result<(), Failure> {
    let store = open(config, Need::Existing).await?;
    let decision = if id.starts_with("act_") {
        store.action(id).await?.decision
    } else {
        DecisionId::new(id)
    };
    let row = store.decision(&decision).await?.ok_or_else(|| {
        Failure::input(format!(
            "there is no decision `{id}`: `perennial queue show` and `account show` give the ids"
        ))
    })?;
    let text = store.content(&row.content).await?.ok_or_else(|| {
        Failure::failed(format!(
            "the policies `{}` of this decision are not in the database",
            row.content
        ))
    })?;
    if row.engine != ENGINE {
        let text = format!(
            "this decision was made by {}, this program is {ENGINE}: replay it with that version",
            row.engine
        );
        return Err(Failure::failed(text));
    }
    let content: Content = read("content", &text)?;
    let policies = Policies::compile(&content)
        .map_err(|problems| Failure::failed(format!("the stored policies do not compile: {}", problems.len())))?;
    let (stored_inputs, stored_output) = (row.inputs.text()?, row.output.text()?);
    let inputs: Inputs = read("inputs", &stored_inputs)?;
    let rebuilt = canonical(&decide(&inputs, &policies));
    let sound = Hash::of(stored_inputs.as_bytes()) == row.inputs_hash && content.hash() == row.content;
    let identical = sound && rebuilt == stored_output;
    let difference = rebuilt.bytes().zip(stored_output.bytes()).position(|(a, b)| a != b);
    let report = ReplayReport {
        decision: row.id,
        account: row.account.as_str().to_owned(),
        as_of: row.as_of.to_string(),
        engine: row.engine,
        identical,
        stored: row.output_hash,
        rebuilt: Hash::of(rebuilt.as_bytes()),
        first_difference: if identical {
            None
        } else {
            Some(difference.unwrap_or(rebuilt.len().min(stored_output.len())))
        },
    };
    store.close().await;
    if identical {
        if output.json() {
            output.document(&report);
        } else {
            output.line(&format!(
                "{} of {} as of {}: rebuilt byte for byte ({})",
                report.decision, report.account, report.as_of, report.stored
            ));
        }
        return Ok(());
    }
    let results = serde_json::to_value(&report).map_err(Failure::failed)?;
    let failure = Failure::failed(format!(
        "{} differs from what is stored, first at byte {}: stored {}, rebuilt {}",
        report.decision,
        report.first_difference.unwrap_or_default(),
        report.stored,
        report.rebuilt
    ));
    Err(failure.with_results(results))
}
