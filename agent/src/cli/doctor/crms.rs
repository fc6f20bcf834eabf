//! What `doctor` says of CRMs: whether they answer and are fit for what is written, what was used of the day's calls, when each was
//! last read.

use perennial_core::signal::Crm;
use perennial_core::time::Timestamp;
use perennial_store::Store;
use perennial_tools::{Level, Tool};

use super::Check;
use crate::config::Config;

pub(super) async fn crms(config: &Config, checks: &mut Vec<Check>) {
    let tools = match config.tools() {
        Ok(tools) => tools,
        Err(error) => {
            checks.push(Check::new(Level::Bad, "CRMs", error.to_string(), None));
            return;
        }
    };
    if tools.crms().next().is_none() {
        let remedy = "add [salesforce] or [hubspot] to perennial.toml, or try `perennial sandbox`".to_owned();
        checks.push(Check::new(
            Level::Warn,
            "CRMs",
            "none configured: effects wait",
            Some(remedy),
        ));
    }
    for crm in tools.crms() {
        let Some(tool) = tools.get(crm) else { continue };
        match tool.check().await {
            Ok(findings) => checks.extend(
                findings
                    .into_iter()
                    .map(|f| Check::new(f.level, crm.as_str(), format!("{}: {}", f.subject, f.message), f.remedy)),
            ),
            Err(error) => checks.push(Check::new(Level::Bad, crm.as_str(), error.to_string(), None)),
        }
        mapped(config, tool.as_ref(), checks).await;
    }
}

/// What a mapping reads, held against what the CRM shows us.
async fn mapped(config: &Config, tool: &dyn Tool, checks: &mut Vec<Check>) {
    let crm = tool.crm();
    let mapping = match crate::cli::sync::mapping(config, crm) {
        Ok(mapping) => mapping,
        Err(failure) => {
            checks.push(Check::new(Level::Bad, crm.as_str(), failure.to_string(), None));
            return;
        }
    };
    let mut missing = Vec::new();
    let mut seen = 0;
    for (object, columns) in mapping.objects() {
        match tool.fields(&object).await {
            // Fields of parents and associations are not among the object's own.
            Ok(fields) => {
                seen += columns.len();
                let gone = columns.iter().filter(|c| !c.contains('.') && !fields.contains(*c));
                missing.extend(gone.map(|column| format!("{object}.{column}")));
            }
            Err(error) => missing.push(format!("{object} ({error})")),
        }
    }
    checks.push(if missing.is_empty() {
        let text = format!("mapping: all {seen} columns are there");
        Check::new(Level::Ok, crm.as_str(), text, None)
    } else {
        let text = format!("mapping: not there, or hidden from us: {}", missing.join(", "));
        let remedy = "let the integration user read them, or name others in the mapping".to_owned();
        Check::new(Level::Warn, crm.as_str(), text, Some(remedy))
    });
}

/// The calls of the day, as all processes have counted them.
pub(super) async fn calls(config: &Config, store: &Store, checks: &mut Vec<Check>) {
    let budgets = match store.call_budgets().await {
        Ok(budgets) => budgets,
        Err(error) => {
            checks.push(Check::new(Level::Bad, "calls", error.to_string(), None));
            return;
        }
    };
    for budget in budgets.iter().filter(|budget| budget.resets_at > config.clock.now()) {
        let told = budget.told.map_or("not told".to_owned(), |told| told.to_string());
        let text = format!(
            "{} calls used until {} (the CRM allows: {told})",
            budget.used, budget.resets_at
        );
        let rules = config.call_rules_of(budget.tool);
        let refused = rules.and_then(|rules| budget.refused_until(&rules));
        if let Some(until) = refused.filter(|until| *until > config.clock.now()) {
            let text = format!("it says that its calls are used up; nobody calls it before {until}");
            let remedy = "find who uses the calls, or have the plan allow more".to_owned();
            checks.push(Check::new(Level::Warn, budget.tool.as_str(), text, Some(remedy)));
        }
        checks.push(match budget.warned_at {
            Some(at) => {
                let text = format!("{text}; 80 % were passed at {at}");
                let remedy = "find who uses the calls, or raise daily_calls where the plan allows it".to_owned();
                Check::new(Level::Warn, budget.tool.as_str(), text, Some(remedy))
            }
            None => Check::new(Level::Ok, budget.tool.as_str(), text, None),
        });
    }
}

/// When each CRM was last read, and whether that is as often as it should be.
pub(super) async fn readings(config: &Config, store: &Store, checks: &mut Vec<Check>) {
    let readings = match store.crm_readings().await {
        Ok(readings) => readings,
        Err(error) => {
            checks.push(Check::new(Level::Bad, "reading", error.to_string(), None));
            return;
        }
    };
    let now = config.clock.now();
    let configured = [(Crm::Salesforce, &config.salesforce), (Crm::HubSpot, &config.hubspot)];
    for (crm, _) in configured.into_iter().filter(|(_, access)| access.is_some()) {
        let reading = readings.iter().find(|reading| reading.tool == crm);
        let Some(reading) = reading else {
            let remedy = "perennial sync, or [sync] with `every_s` and a worker".to_owned();
            checks.push(Check::new(Level::Warn, crm.as_str(), "never read", Some(remedy)));
            continue;
        };
        let last = reading
            .read_at
            .map_or("never to its end".to_owned(), |at| at.to_string());
        let (level, text, remedy) = match (&reading.failed, config.sync_every_s) {
            (Some(failed), _) => (
                Level::Warn,
                format!("last read {last}; the reading of {} failed: {failed}", reading.begun_at),
                Some("mend what it says; the next reading goes on where this one ended".to_owned()),
            ),
            (None, Some(every_s)) if is_late(reading.read_at, now, every_s) => (
                Level::Warn,
                format!("last read {last}, although it should be every {every_s} s"),
                Some("see that a worker runs: perennial worker, or perennial run --watch".to_owned()),
            ),
            (None, _) => (Level::Ok, format!("last read {last}"), None),
        };
        checks.push(Check::new(level, crm.as_str(), text, remedy));
    }
}

/// Whether three readings in a row have not come: one may be long, and the next begins when it has ended.
fn is_late(read_at: Option<Timestamp>, now: Timestamp, every_s: u64) -> bool {
    let most_us = i64::try_from(every_s.saturating_mul(3_000_000)).unwrap_or(i64::MAX);
    read_at.is_none_or(|at| now.us().saturating_sub(at.us()) > most_us)
}
