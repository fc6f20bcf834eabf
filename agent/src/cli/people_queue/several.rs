//! `queue approve` of several items: only of one rule and of little risk, each by the way of a single one.

use perennial_core::action::ActionState;
use perennial_core::signal::Tier;
use perennial_store::{ActionRow, Store};
use serde_json::json;

use super::{By, carry_out, deciding, yes};
use crate::cli::{Failure, Output};
use crate::config::Config;
use crate::queue::{Decided, decide};

/// Most items of one command: what is approved together has to be read.
const ITEMS_MAX: usize = 50;

/// How all of them are approved.
pub(super) struct How<'a> {
    pub(super) by: &'a By,
    pub(super) reason: Option<&'a str>,
    /// Whether what is due is carried out at once.
    pub(super) run_now: bool,
}

pub(super) async fn approve(
    config: &Config,
    store: &Store,
    ids: &[String],
    count: Option<usize>,
    how: &How<'_>,
    output: &Output,
) -> Result<(), Failure> {
    let mut rows: Vec<ActionRow> = Vec::new();
    for id in ids {
        let row = store.action(id).await?;
        if rows.iter().all(|known| known.id != row.id) {
            rows.push(row);
        }
    }
    let (who, people, policies) = deciding(config, store, how.by).await?;
    let commercial = |row: &ActionRow| policies.gate.vocabulary().is_commercial(row.kind);
    alike(&rows, commercial)?;
    if count != Some(rows.len()) {
        return Err(Failure::input(format!(
            "these are {} items: say --count {} to approve all of them",
            rows.len(),
            rows.len()
        )));
    }
    let mut results = Vec::new();
    for row in &rows {
        let done = decide(config, store, row, &yes(row, how.reason)?, (&who, &people), &policies).await;
        results.push((row, done.map_err(|error| error.to_string())));
    }
    if how.run_now
        && results
            .iter()
            .any(|(_, done)| matches!(done, Ok(d) if d.state == ActionState::Permitted))
    {
        carry_out(
            config,
            store,
            rows.iter().map(|row| row.as_of).max().unwrap_or(config.clock.now()),
        )
        .await?;
    }
    let (mut documents, mut refused) = (Vec::new(), 0);
    for (row, done) in results {
        let after = store.action(row.id.as_str()).await?;
        let crm = after.state == ActionState::Failed;
        refused += usize::from(done.is_err() || crm);
        let (still, error) = match done {
            // A yes to a canary is none.
            Ok(Decided { canary: Some(told), .. }) => {
                refused += 1;
                (Vec::new(), Some(told))
            }
            Ok(decided) => (decided.still, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        if output.json() {
            documents.push(json!({
                "id": after.id,
                "state": after.state,
                "by": who.id,
                "still_needed": still,
                "error": error,
            }));
        } else {
            let why = error.map_or_else(String::new, |error| format!(": {error}"));
            output.line(&format!("{} is {}{why}", after.id, after.state));
        }
    }
    if output.json() {
        output.document(&documents);
    } else {
        output.line(&format!(
            "{} of {} approved by {}",
            rows.len() - refused,
            rows.len(),
            who.id
        ));
    }
    if refused > 0 { Err(Failure::said()) } else { Ok(()) }
}

/// Items may be approved together where one look is enough: one playbook, one verdict, no strategic account, nothing about money.
fn alike(rows: &[ActionRow], commercial: impl Fn(&ActionRow) -> bool) -> Result<(), Failure> {
    let [first, ..] = rows else {
        return Err(Failure::input("name the items to approve"));
    };
    if rows.len() > ITEMS_MAX {
        return Err(Failure::input(format!(
            "at most {ITEMS_MAX} items are approved together"
        )));
    }
    for row in rows {
        let why = if row.playbook != first.playbook || row.verdict != first.verdict {
            format!(
                "{} is of {} ({}), {} of {} ({})",
                first.id, first.playbook, first.verdict, row.id, row.playbook, row.verdict
            )
        } else if row.tier.is_none_or(|tier| tier == Tier::STRATEGIC) {
            format!(
                "{} is about a strategic account, or one whose tier is not known",
                row.id
            )
        } else if commercial(row) {
            format!("{} is about money", row.id)
        } else {
            continue;
        };
        return Err(Failure::input(format!(
            "these cannot be approved together: {why}; approve them one by one"
        )));
    }
    Ok(())
}
