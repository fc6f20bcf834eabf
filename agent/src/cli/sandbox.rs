//! `perennial sandbox`.

use std::path::PathBuf;

use clap::Args;
use perennial_sandbox::{Clock, Options, Sandbox, Seed, StartError, System};
use perennial_tools::Credentials;
use secrecy::ExposeSecret as _;

use super::{Failure, Output};
use crate::config::{Config, Overrides};
use crate::demo::crm_file;

/// Between two deliveries of webhooks, when somebody asked for them.
const WEBHOOK_PAUSE: std::time::Duration = std::time::Duration::from_secs(1);

#[derive(Debug, Args)]
pub(super) struct SandboxArgs {
    /// Port of the Salesforce server; 0 lets the system choose [default: that of base_url where it is this machine, else 0]
    #[arg(long, value_name = "PORT")]
    salesforce_port: Option<u16>,
    /// Port of the HubSpot server
    #[arg(long, value_name = "PORT")]
    hubspot_port: Option<u16>,
    /// Records to start with, as `demo` writes them
    #[arg(long, value_name = "FILE")]
    records: Option<PathBuf>,
}

pub(super) async fn sandbox(args: &SandboxArgs, overrides: &Overrides, output: &Output) -> Result<(), Failure> {
    let config = Config::load(overrides)?;
    let seed = match &args.records {
        Some(path) => crm_file::read(path).map_err(Failure::input)?,
        None => Seed::default(),
    };
    let from_config = |access: &Option<crate::config::CrmAccess>| -> (u16, Option<String>) {
        match access {
            Some(access) if access.base_url.starts_with("http://127.0.0.1:") => {
                let port = access
                    .base_url
                    .rsplit(':')
                    .next()
                    .and_then(|p| p.trim_end_matches('/').parse().ok());
                (port.unwrap_or(0), token_of(&access.credentials))
            }
            Some(_) | None => (0, None),
        }
    };
    let (salesforce_port, salesforce_token) = from_config(&config.salesforce);
    let (hubspot_port, hubspot_token) = from_config(&config.hubspot);
    let options = Options {
        salesforce_port: args.salesforce_port.unwrap_or(salesforce_port),
        hubspot_port: args.hubspot_port.unwrap_or(hubspot_port),
        seed,
        clock: Clock::System,
        token: salesforce_token.zip(hubspot_token),
        custom: Vec::new(),
    };
    let running = Sandbox::start(options).await.map_err(started)?;
    let (salesforce, hubspot) = (running.salesforce().clone(), running.hubspot().clone());
    // One line, so that a program that starts this can read it and go on.
    let document = serde_json::json!({
        "salesforce": { "url": salesforce.url, "token": salesforce.token },
        "hubspot": { "url": hubspot.url, "token": hubspot.token },
    });
    output.line(&document.to_string());
    if !output.json() {
        eprintln!(
            "the records can be seen at {} and {}; Ctrl-C ends it",
            salesforce.url, hubspot.url
        );
        eprintln!(
            "to use it:  export PERENNIAL_SALESFORCE_URL={} PERENNIAL_SALESFORCE_TOKEN={}",
            salesforce.url, salesforce.token
        );
        eprintln!(
            "            export PERENNIAL_HUBSPOT_URL={} PERENNIAL_HUBSPOT_TOKEN={}",
            hubspot.url, hubspot.token
        );
    }
    let mut stop = super::run::stop_signal();
    loop {
        tokio::select! {
            // The channel closes only when the signal task ends, which is a stop too.
            _ = stop.changed() => break,
            () = tokio::time::sleep(WEBHOOK_PAUSE) => {
                let refused = running.deliver_webhooks().await.iter().filter(|one| one.status != Some(200)).count();
                if refused > 0 {
                    tracing::warn!(refused, "webhook deliveries were not taken; they are tried again");
                }
            }
        }
    }
    if let Some(path) = &args.records {
        crm_file::write(path, &running, System::Salesforce, System::Hubspot).map_err(Failure::failed)?;
    }
    running.shutdown().await;
    Ok(())
}

/// A port that is taken is the caller's to change.
pub(crate) fn started(error: StartError) -> Failure {
    match &error {
        StartError::PortTaken { .. } | StartError::Seed { .. } | StartError::Custom { .. } => Failure::input(error),
        StartError::Listen { .. } => Failure::failed(error),
    }
}

/// The token that a local server is to take: only a fixed one is known beforehand.
fn token_of(credentials: &Credentials) -> Option<String> {
    match credentials {
        Credentials::Token(token) => Some(token.expose_secret().to_owned()),
        Credentials::Jwt { .. } | Credentials::ClientCredentials { .. } | Credentials::Refresh { .. } => None,
    }
}
