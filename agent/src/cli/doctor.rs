//! `perennial doctor`: what is right, what is not, and how to mend it.

mod crms;

use std::collections::BTreeSet;

use perennial_core::earned::Standing;
use perennial_core::policy::Policies;
use perennial_core::policy::gate::Vocabulary;
use perennial_core::replay::Hash;
use perennial_core::signal::Fact;
use perennial_store::{DatabaseUrl, SourceDatabase, Store, StoreError};
use perennial_tools::Level;
use secrecy::ExposeSecret as _;
use serde::Serialize;

use self::crms::{calls, crms, readings};
use super::output::{Need, open};
use super::{Failure, Output};
use crate::bundles::{self, BundleError};
use crate::clock::Clock;
use crate::config::{Config, Overrides, PolicySource};
use crate::content;
use crate::events::EventMapping;
use crate::intake::{Mapping, check_queries};
use crate::meters::seconds;
use crate::worker::{ALIVE, SCHEDULES, SKEW_US, earlier};

#[derive(Serialize)]
struct Check {
    level: &'static str,
    subject: String,
    message: String,
    remedy: Option<String>,
}

impl Check {
    fn new(level: Level, subject: &str, message: impl Into<String>, remedy: Option<String>) -> Check {
        let level = match level {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Bad => "bad",
        };
        Check {
            level,
            subject: subject.to_owned(),
            message: message.into(),
            remedy,
        }
    }
}

pub(super) async fn doctor(overrides: &Overrides, output: &Output) -> Result<(), Failure> {
    let config = Config::load(overrides)?;
    let mut checks = Vec::new();
    let place = config
        .file
        .as_ref()
        .map_or_else(|| "none, defaults are in force".to_owned(), |f| f.display().to_string());
    checks.push(Check::new(Level::Ok, "configuration", place, None));
    policies(&config, &mut checks);
    database(&config, &mut checks).await;
    crms(&config, &mut checks).await;
    sources(&config, &mut checks).await;
    events(&config, &mut checks);
    webhook(&config, &mut checks);
    collector(&config, &mut checks).await;
    checks.push(Check::new(Level::Ok, "clock", config.clock.now().to_string(), None));
    checks.push(Check::new(Level::Ok, "limits", limits(&config), None));
    let bad = checks.iter().filter(|c| c.level == "bad").count();
    let results = serde_json::json!({ "ok": bad == 0, "checks": checks });
    if output.json() {
        if bad == 0 {
            output.document(&results);
        }
    } else {
        for check in &checks {
            let mark = match check.level {
                "ok" => "✓",
                "warn" => "!",
                _ => "✗",
            };
            output.line(&format!("{mark} {:<14} {}", check.subject, check.message));
            if let Some(remedy) = &check.remedy {
                output.line(&format!("  {:<14} → {remedy}", ""));
            }
        }
    }
    match bad {
        0 => Ok(()),
        1 => Err(Failure::failed("1 thing needs mending").with_results(results)),
        many => Err(Failure::failed(format!("{many} things need mending")).with_results(results)),
    }
}

fn policies(config: &Config, checks: &mut Vec<Check>) {
    let place = config
        .policies
        .as_ref()
        .map_or_else(|| "built in".to_owned(), |p| p.display().to_string());
    match content::compile(config) {
        Ok((_, policies)) => {
            let hash = policies.content.to_string();
            let text = format!("{place}: {} playbooks, name {}", policies.playbooks.len(), &hash[..12]);
            checks.push(Check::new(Level::Ok, "policies", text, None));
        }
        Err(error) => {
            let remedy = "mend the lines named above; nothing is decided with policies that are not valid".to_owned();
            checks.push(Check::new(Level::Bad, "policies", error.to_string(), Some(remedy)));
        }
    }
}

/// Which policies decide, which were refused last, and whether records name roles that the policies do not know.
async fn in_force(config: &Config, store: &Store, checks: &mut Vec<Check>) {
    let short = |hash: Hash| hash.to_string().chars().take(12).collect::<String>();
    let bad = |error: &dyn std::fmt::Display, remedy: &str| {
        Check::new(Level::Bad, "in force", error.to_string(), Some(remedy.to_owned()))
    };
    let in_force = bundles::in_force(config, store).await;
    let right = in_force.is_ok();
    match in_force {
        Ok((_, policies)) => {
            let text = match (config.policy.source, store.live_content().await) {
                (PolicySource::Folder, _) => format!("{}: the folder as it stands", short(policies.content)),
                (PolicySource::Applied, Ok(Some(live))) => format!(
                    "{} since {}, by {}{}: {}",
                    short(live.hash),
                    live.at,
                    live.proposed_by,
                    live.confirmed_by.map_or_else(String::new, |who| format!(" and {who}")),
                    live.why
                ),
                (PolicySource::Applied, _) => short(policies.content),
            };
            checks.push(Check::new(Level::Ok, "in force", text, None));
            roles(store, policies.gate.vocabulary(), checks).await;
            if let Err(error) = promotions(store, &policies, checks).await {
                checks.push(bad(&error, "check the database"));
            }
        }
        // What is wrong with the folder, the check of the policies has said with its lines.
        Err(BundleError::Content(_)) => {}
        Err(error) => checks.push(bad(&error, "mend the policies; until then nothing is decided")),
    }
    match bundles::last_refused(store).await {
        Ok(Some(refused)) => {
            let text = format!(
                "{} at {} by {}: {}",
                short(refused.hash),
                refused.at,
                refused.person,
                refused.why
            );
            // A folder that is right by now needs nobody.
            let mended = right && config.policy.source == PolicySource::Folder;
            let (level, remedy) = if mended {
                (Level::Ok, None)
            } else {
                let remedy = "what was in force stayed so; see `perennial policy check`".to_owned();
                (Level::Warn, Some(remedy))
            };
            checks.push(Check::new(level, "last refused", text, remedy));
        }
        Ok(None) => {}
        Err(error) => checks.push(bad(&error, "check the database")),
    }
}

/// What waits to be promoted, and what was taken back.
async fn promotions(store: &Store, policies: &Policies, checks: &mut Vec<Check>) -> Result<(), StoreError> {
    for waits in crate::earned::waiting(store).await? {
        let remedy = "perennial autonomy shows the figures; grant or refuse it".to_owned();
        checks.push(Check::new(Level::Warn, "autonomy", waits, Some(remedy)));
    }
    let rows = store.promotions().await?;
    let granted = rows.iter().filter(|row| row.promotion.standing == Standing::Granted);
    let granted: Vec<String> = granted.map(|row| row.segment.to_string()).collect();
    for row in rows.iter().filter(|row| row.promotion.standing == Standing::Demoted) {
        let why = row.reason.as_deref().unwrap_or_default();
        let text = format!("{} was demoted at {}: {why}", row.segment, row.promotion.since);
        let remedy = "people are asked again; what they decide since then counts for the next promotion".to_owned();
        checks.push(Check::new(Level::Warn, "autonomy", text, Some(remedy)));
    }
    let earnable = policies.gate.table().earned.len();
    if earnable > 0 {
        let text = format!(
            "{earnable} cells can be earned, {} promoted{}",
            granted.len(),
            if granted.is_empty() {
                String::new()
            } else {
                format!(": {}", granted.join(", "))
            }
        );
        checks.push(Check::new(Level::Ok, "autonomy", text, None));
    }
    Ok(())
}

/// People with a role that the policies do not know: it counts for nothing.
async fn roles(store: &Store, named: &Vocabulary, checks: &mut Vec<Check>) {
    let Ok(signals) = store.portfolio_signals().await else {
        return;
    };
    let unknown: BTreeSet<String> = signals
        .into_iter()
        .filter_map(|signal| match signal.fact {
            Fact::Owner(owner) => owner.role,
            _ => None,
        })
        .filter(|role| named.role(role.as_str()).is_none())
        .map(|role| role.to_string())
        .collect();
    if !unknown.is_empty() {
        let words = unknown.into_iter().collect::<Vec<_>>().join(", ");
        let text = format!("people have roles that the policies do not name: {words}");
        let remedy = "add them under [roles] of autonomy.toml, or mend the records; until then they approve nothing";
        checks.push(Check::new(Level::Warn, "roles", text, Some(remedy.to_owned())));
    }
}

async fn database(config: &Config, checks: &mut Vec<Check>) {
    if let DatabaseUrl::Sqlite(path) = &config.database
        && !path.exists()
    {
        let remedy = "perennial import DIR --mapping FILE makes it".to_owned();
        let text = format!("none yet at {}", path.display());
        checks.push(Check::new(Level::Warn, "database", text, Some(remedy)));
        return;
    }
    let store = match open(config, Need::Existing).await {
        Ok(store) => store,
        Err(failure) => {
            let remedy =
                "check --db, the server and the permissions; `perennial db migrate` brings an old schema up".to_owned();
            checks.push(Check::new(Level::Bad, "database", failure.to_string(), Some(remedy)));
            return;
        }
    };
    match (store.stats().await, store.write_check().await) {
        (Ok(stats), Ok(())) => {
            let rows: Vec<String> = stats
                .rows
                .iter()
                .filter(|(_, n)| *n > 0)
                .map(|(name, n)| format!("{n} {name}"))
                .collect();
            let text = format!(
                "{}, schema {}, {} kB: {}",
                stats.database,
                stats.schema_version,
                stats.bytes / 1024,
                if rows.is_empty() {
                    "empty".to_owned()
                } else {
                    rows.join(", ")
                }
            );
            checks.push(Check::new(Level::Ok, "database", text, None));
            let used = config.limits.database_max_bytes;
            if used > 0 && stats.bytes * 100 >= used * 80 {
                let text = format!("{} % of limits.database_max_bytes is used", stats.bytes * 100 / used);
                checks.push(Check::new(
                    Level::Warn,
                    "database",
                    text,
                    Some("raise the limit or make room".to_owned()),
                ));
            }
        }
        (Err(error), _) | (_, Err(error)) => {
            let remedy = "check the permissions of the file, its folder and its disk".to_owned();
            checks.push(Check::new(Level::Bad, "database", error.to_string(), Some(remedy)));
        }
    }
    match store.tenants_not_apart().await {
        Ok(Some(tenants)) if tenants > 1 => {
            let text = format!("{tenants} tenants share this database, and our role sees the rows of all of them");
            let remedy = "connect with a role that is no superuser and has no BYPASSRLS: see docs/operator/databases";
            checks.push(Check::new(Level::Warn, "database", text, Some(remedy.to_owned())));
        }
        Ok(_) => {}
        Err(error) => checks.push(Check::new(Level::Bad, "database", error.to_string(), None)),
    }
    calls(config, &store, checks).await;
    readings(config, &store, checks).await;
    in_force(config, &store, checks).await;
    match store.effect_counts(None).await {
        Ok(counts) if counts.unknown + counts.failed > 0 => {
            let text = format!(
                "{} effects failed, {} have an unknown outcome",
                counts.failed, counts.unknown
            );
            let remedy = "perennial queue list --state failed".to_owned();
            checks.push(Check::new(Level::Warn, "effects", text, Some(remedy)));
        }
        Ok(counts) => {
            let text = format!("{} done, {} waiting", counts.done, counts.waiting);
            checks.push(Check::new(Level::Ok, "effects", text, None));
        }
        Err(error) => checks.push(Check::new(Level::Bad, "effects", error.to_string(), None)),
    }
    if let Err(error) = execution(config, &store, checks).await {
        checks.push(Check::new(Level::Bad, "workers", error.to_string(), None));
    }
}

/// Workers that `doctor` names.
const WORKERS: u32 = 1_000;

async fn execution(config: &Config, store: &Store, checks: &mut Vec<Check>) -> Result<(), StoreError> {
    for stop in store.stops().await? {
        let remedy = "perennial resume, with the same scope, by somebody who may".to_owned();
        checks.push(Check::new(
            Level::Warn,
            "stopped",
            crate::stopping::sentence(&stop),
            Some(remedy),
        ));
    }
    let own = config.clock.now();
    let shown = store.clock().await?.filter(|_| matches!(config.clock, Clock::System));
    let now = shown.unwrap_or(own);
    let ahead_us = own.us() - now.us();
    if ahead_us.abs() > SKEW_US {
        checks.push(skewed("this machine", ahead_us));
    }
    let workers = store.workers(earlier(now, ALIVE), WORKERS).await?;
    for worker in workers.iter().filter(|worker| worker.ahead_us.abs() > SKEW_US) {
        checks.push(skewed(&worker.worker, worker.ahead_us));
    }
    let text = match store.leader(SCHEDULES, now).await? {
        Some(leader) => format!("{} alive, {leader} leads", workers.len()),
        None => format!("{} alive, nobody leads", workers.len()),
    };
    checks.push(Check::new(Level::Ok, "workers", text, None));
    Ok(())
}

fn skewed(who: &str, ahead_us: i64) -> Check {
    let side = if ahead_us > 0 { "before" } else { "behind" };
    let text = format!(
        "the clock of {who} is {:.1} s {side} the database's",
        seconds(ahead_us.abs())
    );
    let remedy = "set it by the network (NTP); leases and due times go by the database's clock meanwhile".to_owned();
    Check::new(Level::Warn, "clock", text, Some(remedy))
}

async fn sources(config: &Config, checks: &mut Vec<Check>) {
    for (name, access) in &config.sources {
        let named = content::vocabulary(config).unwrap_or_default();
        let mapping = match Mapping::load_with(&access.mapping, &named) {
            Ok(mapping) => mapping,
            Err(problems) => {
                for problem in problems {
                    checks.push(Check::new(Level::Bad, name, problem.to_string(), problem.help));
                }
                continue;
            }
        };
        let found = async {
            let url = access.url()?;
            let ms = config.limits.source_connect_ms;
            let mut database = SourceDatabase::connect(url.expose_secret(), ms).await?;
            let queries = check_queries(&mut database, &mapping).await?;
            Ok::<_, Failure>(format!("{queries} queries understood by {}", database.place()))
        };
        match found.await {
            Ok(text) => checks.push(Check::new(Level::Ok, name, text, None)),
            Err(failure) => checks.push(Check::new(Level::Bad, name, failure.to_string(), None)),
        }
    }
}

/// Shortest write key that cannot be guessed in any time that counts: 16 random characters.
const KEY_CHARACTERS: usize = 16;

fn events(config: &Config, checks: &mut Vec<Check>) {
    let Some(access) = &config.events else { return };
    match EventMapping::load(&access.mapping) {
        Ok(mapping) => {
            let text = format!("received at {} as source {}", access.address, mapping.source());
            checks.push(Check::new(Level::Ok, "events", text, None));
        }
        Err(problems) => {
            for problem in problems {
                checks.push(Check::new(Level::Bad, "events", problem.to_string(), problem.help));
            }
        }
    }
    match access.tokens() {
        Ok(tokens) => {
            let short = tokens
                .iter()
                .filter(|token| token.expose_secret().chars().count() < KEY_CHARACTERS)
                .count();
            let text = format!("{} write keys", tokens.len());
            if short > 0 {
                let text = format!("{text}, {short} of them shorter than {KEY_CHARACTERS} characters");
                let remedy = "make a random one: openssl rand -hex 16".to_owned();
                checks.push(Check::new(Level::Warn, "events", text, Some(remedy)));
            } else {
                checks.push(Check::new(Level::Ok, "events", text, None));
            }
        }
        Err(error) => checks.push(Check::new(Level::Bad, "events", error.to_string(), None)),
    }
    if !access.address.ip().is_loopback() {
        let text = format!(
            "{} can be reached from other machines, without encryption",
            access.address
        );
        let remedy = "listen at 127.0.0.1 and put a proxy with TLS before it".to_owned();
        checks.push(Check::new(Level::Warn, "events", text, Some(remedy)));
    }
}

fn webhook(config: &Config, checks: &mut Vec<Check>) {
    let Some(access) = &config.webhook else { return };
    match access.secret() {
        Ok(_) => {
            let text = format!("received at {} for {}", access.address, access.public_url);
            checks.push(Check::new(Level::Ok, "webhooks", text, None));
        }
        Err(error) => checks.push(Check::new(Level::Bad, "webhooks", error.to_string(), None)),
    }
    if config.hubspot.is_none() {
        let remedy = "add [hubspot], or take [webhook] out".to_owned();
        let text = "webhooks of HubSpot are received, and no HubSpot is configured to read from";
        checks.push(Check::new(Level::Bad, "webhooks", text, Some(remedy)));
    }
    if !access.address.ip().is_loopback() {
        let text = format!(
            "{} can be reached from other machines, without encryption",
            access.address
        );
        let remedy = "listen at 127.0.0.1 and put a proxy with TLS before it".to_owned();
        checks.push(Check::new(Level::Warn, "webhooks", text, Some(remedy)));
    }
}

/// Whether the collector takes spans. Without it everything goes on, so nothing is wrong that must be mended.
#[cfg(feature = "otlp")]
async fn collector(config: &Config, checks: &mut Vec<Check>) {
    let Some(access) = config.telemetry.clone() else { return };
    let text = format!("spans go to {} as {}", access.endpoint, access.service);
    // The client blocks, and has a runtime of its own.
    let asked = tokio::task::spawn_blocking(move || crate::telemetry::export::check(&access)).await;
    checks.push(match asked.unwrap_or_else(|error| Err(error.to_string())) {
        Ok(()) => Check::new(Level::Ok, "collector", text, None),
        Err(why) => {
            let remedy = "start the collector, or mend `otlp` (OTLP over HTTP, most often port 4318) and `headers`";
            Check::new(
                Level::Warn,
                "collector",
                format!("{text}, and {why}"),
                Some(remedy.to_owned()),
            )
        }
    });
}

#[cfg(not(feature = "otlp"))]
async fn collector(_config: &Config, checks: &mut Vec<Check>) {
    if std::env::var_os("OTEL_EXPORTER_OTLP_ENDPOINT").is_some() {
        let text = "OTEL_EXPORTER_OTLP_ENDPOINT is set, and this program was built without OTLP";
        let remedy = "build it with `--features otlp`, or unset the variable".to_owned();
        checks.push(Check::new(Level::Warn, "collector", text, Some(remedy)));
    }
}

fn limits(config: &Config) -> String {
    let l = &config.limits;
    format!(
        "{} accounts a batch, {} threads, {} effects ({} that go together) a lease of {} s, {} attempts, {} rows in a queue, {} MB an answer",
        l.accounts_per_batch,
        l.decide_threads(),
        l.effects_per_lease,
        l.batched_per_lease,
        l.lease_ms / 1000,
        l.effect_attempts,
        l.queue_rows,
        l.body_max_bytes / 1024 / 1024
    )
}
