//! A simulated tenant as the tables that `examples/mappings/planted.toml` imports: what is judged can then go the way of
//! real data. The planted truth is not in them.

use std::path::Path;

use perennial_core::time::Day;

use super::{Segment, SimulatedAccount, Simulation, SimulationOptions};

/// Writes the tables into a folder, which is made where it is missing: accounts with their agreement, movements of revenue,
/// weekly use, and empty tables of actions and arms. Revenue is made up by the seat; an account whose renewal was lost churns
/// in that week, and has no use after it.
///
/// # Errors
/// What writing brings.
pub fn export(folder: &Path, options: &SimulationOptions, simulation: &Simulation) -> Result<(), csv::Error> {
    std::fs::create_dir_all(folder)?;
    let table = |name: &str, header: &[&str]| {
        let mut writer = csv::Writer::from_path(folder.join(name))?;
        writer.write_record(header)?;
        Ok::<_, csv::Error>(writer)
    };
    let mut accounts = table(
        "accounts.csv",
        &[
            "account_id",
            "segment",
            "industry",
            "region",
            "csm_id",
            "customer_since",
            "initial_arr",
            "contract_term_months",
            "auto_renew",
            "escalator",
            "seats_initial",
        ],
    )?;
    let mut movements = table("arr_movements.csv", &["account_id", "date", "movement", "arr_delta"])?;
    let mut usage = table(
        "usage_weekly.csv",
        &[
            "account_id",
            "week_start",
            "seats",
            "active_users",
            "core_events",
            "features_used",
            "champion_seen",
            "tickets",
            "invoice_days_late",
        ],
    )?;
    for (number, account) in simulation.accounts.iter().enumerate() {
        let Some((first, seats)) = first_week(account) else {
            continue;
        };
        let since = options.monday(first);
        let arr = format!("{}.0", seats * 480);
        let segment = match account.segment {
            Segment::Smb => "SMB",
            Segment::Mm => "MM",
            Segment::Ent => "ENT",
        };
        let industry = format!("Industry {}", account.industry);
        let csm = format!("CSM-{:02}", number % 20);
        let auto_renew = account.renewals.first().is_some_and(|r| r.facts.auto_renew);
        accounts.write_record([
            account.id.as_str(),
            segment,
            &industry,
            "EMEA",
            &csm,
            &since.to_string(),
            &arr,
            "12",
            if auto_renew { "True" } else { "False" },
            "0.0",
            &seats.to_string(),
        ])?;
        let opening = if first == 0 { "opening" } else { "new" };
        movements.write_record([account.id.as_str(), &since.to_string(), opening, &arr])?;
        let lost = account.renewals.iter().find(|r| r.churned).map(|r| r.week);
        if let Some(week) = lost {
            let day: Day = options.monday(week);
            movements.write_record([account.id.as_str(), &day.to_string(), "churn", &format!("-{arr}")])?;
        }
        for (week, row) in account.usage.iter().enumerate().take(lost.unwrap_or(usize::MAX)) {
            let Some(row) = row else { continue };
            usage.write_record([
                account.id.as_str(),
                &options.monday(week).to_string(),
                &row.seats.to_string(),
                &row.active_users.to_string(),
                &row.core_events.to_string(),
                &row.features_used.to_string(),
                if row.champion_seen { "1" } else { "0" },
                &row.tickets.to_string(),
                &row.invoice_days_late.map_or_else(String::new, |d| format!("{d}.0")),
            ])?;
        }
    }
    accounts.flush()?;
    movements.flush()?;
    usage.flush()?;
    let actions = [
        "account_id",
        "week_start",
        "action",
        "executed",
        "propensity",
        "engine_arm",
    ];
    table("decisions.csv", &actions)?.flush()?;
    table(
        "assignment.csv",
        &["account_id", "arm", "arr_at_t0", "contract_end_at_t0"],
    )?
    .flush()?;
    Ok(())
}

/// The first week with a row, and the seats in it.
fn first_week(account: &SimulatedAccount) -> Option<(usize, i64)> {
    let weeks = account.usage.iter().enumerate();
    weeks.filter_map(|(week, row)| row.map(|row| (week, row.seats))).next()
}
