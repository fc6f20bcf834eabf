//! `perennial account diff`: why the scores of an account moved between two dates.

use perennial_core::feature::label;
use perennial_core::ids::AccountId;
use perennial_core::number::Micro;
use perennial_core::score::{Change, ChangeTerm, change};
use perennial_core::time::Timestamp;
use perennial_store::Store;
use serde_json::{Value, json};

use super::{no_account, points, signed};
use crate::cli::{Failure, Output};
use crate::config::Config;
use crate::content;
use crate::history::{History, Past};

pub(super) async fn diff(
    config: &Config,
    store: &Store,
    id: &AccountId,
    (from, to): (Timestamp, Timestamp),
    output: &Output,
) -> Result<(), Failure> {
    let (_, policies) = content::compile(config)?;
    let Some(history) = History::read(store, id).await? else {
        return Err(no_account(id));
    };
    let (before, after) = (history.at(from, &policies), history.at(to, &policies));
    let changes = changes(&before, &after);
    if output.json() {
        let scores: serde_json::Map<String, Value> = changes
            .iter()
            .map(|(name, _, change)| ((*name).to_owned(), change_json(change)))
            .collect();
        output.document(
            &json!({ "account": id, "from": from, "to": to, "policies": policies.content, "scores": scores }),
        );
        return Ok(());
    }
    output.line(&output.bold(&format!("{id}  from {from} to {to}")));
    output.line(&output.dim("both dates by the policies as they are now; what was first observed later is left out"));
    for (name, unit, change) in &changes {
        print(name, unit, change, output);
    }
    Ok(())
}

fn changes(before: &Past, after: &Past) -> [(&'static str, &'static str, Change); 3] {
    let (a, b) = (&before.scores, &after.scores);
    [
        (
            "health",
            "points",
            change(
                (a.health.score_micro, &a.health.contributions, &before.features),
                (b.health.score_micro, &b.health.contributions, &after.features),
            ),
        ),
        (
            "risk",
            "log odds",
            change(
                (a.risk.probability_micro, &a.risk.contributions, &before.features),
                (b.risk.probability_micro, &b.risk.contributions, &after.features),
            ),
        ),
        (
            "expansion",
            "points",
            change(
                (a.expansion.score_micro, &a.expansion.contributions, &before.features),
                (b.expansion.score_micro, &b.expansion.contributions, &after.features),
            ),
        ),
    ]
}

fn change_json(change: &Change) -> Value {
    let terms: Vec<Value> = change
        .terms
        .iter()
        .map(|t| {
            json!({
                "fact": t.fact,
                "before": t.before,
                "after": t.after,
                "adds_before": t.adds_before_micro.to_f64(),
                "adds_after": t.adds_after_micro.to_f64(),
                "change": t.change_micro.to_f64(),
                "new_records": t.new_records,
            })
        })
        .collect();
    json!({
        "before": change.before_micro.map(Micro::to_f64),
        "after": change.after_micro.map(Micro::to_f64),
        "terms": terms,
    })
}

fn print(name: &str, unit: &str, change: &Change, output: &Output) {
    let percent = |value: Option<Micro>| {
        value.map_or_else(
            || "cannot assess".to_owned(),
            |v| format!("{} %", Micro(v.0 * 100).display(1)),
        )
    };
    let told = |value: Option<Micro>| match (name, value) {
        ("risk", value) => percent(value),
        (_, Some(value)) => value.display(1),
        (_, None) => points(None),
    };
    let total = Micro(change.terms.iter().map(|t| t.change_micro.0).sum());
    output.heading(&format!(
        "{name}: {} to {} (moved by {} {unit})",
        told(change.before_micro),
        told(change.after_micro),
        signed(total, 2)
    ));
    if change.terms.is_empty() {
        output.line("nothing it is made of changed");
        return;
    }
    output.table(
        &["moved", "fact", "before", "after", "new records"],
        change.terms.iter().map(cells),
    );
}

fn cells(term: &ChangeTerm) -> Vec<String> {
    let not_known = || "not known".to_owned();
    let shown: Vec<String> = term.new_records.iter().take(2).map(ToString::to_string).collect();
    let more = term.new_records.len().saturating_sub(shown.len());
    let mut records = shown.join(", ");
    if more > 0 {
        records.push_str(&format!(" and {more} more"));
    }
    vec![
        signed(term.change_micro, 2),
        label(&term.fact),
        term.before.clone().unwrap_or_else(not_known),
        term.after.clone().unwrap_or_else(not_known),
        records,
    ]
}
