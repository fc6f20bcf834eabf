//! `queue delegate`, `delegations`, `undelegate`.

use perennial_core::time::Timestamp;
use perennial_store::{DelegationRow, Store};
use serde_json::{Value, json};

use super::By;
use crate::cli::{Failure, Output, time_argument};
use crate::config::Config;
use crate::people::{self, People};

/// Delegations that are listed.
const ROWS: u32 = 1_000;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct DelegateArgs {
    /// To whom: id, name or mail address
    #[arg(long, value_name = "PERSON")]
    to: String,
    /// From when on [default: now]
    #[arg(long, value_parser = time_argument)]
    from: Option<Timestamp>,
    /// Until when
    #[arg(long, value_parser = time_argument)]
    until: Timestamp,
    /// Why
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    by: By,
}

pub(super) async fn delegate(
    config: &Config,
    store: &Store,
    args: &DelegateArgs,
    output: &Output,
) -> Result<(), Failure> {
    let now = config.clock.now();
    let people = People::read(config, store).await?;
    let giver = people.person(config, store, args.by.person.as_deref()).await?;
    let time = (args.from.unwrap_or(now), args.until);
    let row = people::delegate(store, &people, (&giver.id, &args.to), time, &args.reason, now).await?;
    show(&row, output);
    Ok(())
}

pub(super) async fn list(config: &Config, store: &Store, output: &Output) -> Result<(), Failure> {
    let rows = store.delegations(config.clock.now(), ROWS).await?;
    if output.json() {
        output.document(&rows.iter().map(document).collect::<Vec<_>>());
    } else if rows.is_empty() {
        output.line("nobody has lent roles to anybody");
    } else {
        output.table(
            &[
                "id",
                "whose roles",
                "who may use them",
                "from",
                "until",
                "taken back",
                "why",
            ],
            rows.iter().map(|row| {
                vec![
                    row.id.clone(),
                    row.giver.clone(),
                    row.receiver.clone(),
                    row.from.to_string(),
                    row.until.to_string(),
                    row.revoked_at.map_or_else(String::new, |at| at.to_string()),
                    row.reason.clone(),
                ]
            }),
        );
    }
    Ok(())
}

pub(super) async fn revoke(config: &Config, store: &Store, id: &str, by: &By, output: &Output) -> Result<(), Failure> {
    let people = People::read(config, store).await?;
    let who = people.person(config, store, by.person.as_deref()).await?;
    let row = people::revoke(store, &who.id, id, config.clock.now()).await?;
    show(&row, output);
    Ok(())
}

fn show(row: &DelegationRow, output: &Output) {
    if output.json() {
        output.document(&document(row));
        return;
    }
    match row.revoked_at {
        None => output.line(&format!(
            "{} may use the roles of {} from {} until {} ({})",
            row.receiver, row.giver, row.from, row.until, row.id
        )),
        Some(at) => output.line(&format!(
            "{} may not use the roles of {} any more, since {at} ({})",
            row.receiver, row.giver, row.id
        )),
    }
}

fn document(row: &DelegationRow) -> Value {
    json!({
        "id": row.id,
        "whose": row.giver,
        "to": row.receiver,
        "from": row.from,
        "until": row.until,
        "reason": row.reason,
        "revoked_at": row.revoked_at,
    })
}
