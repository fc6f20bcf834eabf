//! `perennial listen`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use perennial_core::signal::Crm;
use perennial_store::Store;

use super::output::{Need, open};
use super::worker::ProbeArgs;
use super::{Failure, Output};
use crate::config::{Config, EventAccess, WebhookAccess};
use crate::events::{EventMapping, EventsError, ListenOptions, Listening, Received};
use crate::reading::rejects_dir;
use crate::webhooks::{Delivered, WebhookOptions, Webhooks};

#[derive(Debug, Args)]
pub(super) struct ListenArgs {
    /// Where to listen for events; port 0 takes any free one [default: `listen` in [events], else 127.0.0.1:8017]
    #[arg(long, value_name = "ADDRESS:PORT")]
    address: Option<SocketAddr>,
    /// Where to listen for webhooks of HubSpot [default: `listen` in [webhook], else 127.0.0.1:8018]
    #[arg(long, value_name = "ADDRESS:PORT")]
    webhook_address: Option<SocketAddr>,
    /// Folder for the file of refused messages [default: the data directory]
    #[arg(long, value_name = "DIR")]
    rejects: Option<PathBuf>,
    #[command(flatten)]
    probes: ProbeArgs,
}

pub(super) async fn listen(config: &Config, args: &ListenArgs, output: &Output) -> Result<(), Failure> {
    if config.events.is_none() && config.webhook.is_none() {
        return Err(Failure::input(
            "events are not configured, nor webhooks: add [events] with `mapping` to perennial.toml, or [webhook] with `public_url`",
        ));
    }
    let events = config.events.as_ref().map(|access| event_options(config, access, args));
    let events = events.transpose()?;
    let webhooks = config
        .webhook
        .as_ref()
        .map(|access| webhook_options(config, access, args));
    let webhooks = webhooks.transpose()?;
    let store = open(config, Need::Create).await?;
    let probes = args.probes.start(config, &store).await?;
    let mut stop = super::stop_signal();
    let (listening, receiving) = start(&store, events, webhooks).await?;
    // One line, so that a program that starts this can read it and go on.
    let url = |address: SocketAddr| format!("http://{address}");
    let mut places = serde_json::Map::new();
    if let Some(listening) = &listening {
        places.insert("url".to_owned(), url(listening.address()).into());
    }
    if let Some(receiving) = &receiving {
        places.insert("webhooks".to_owned(), url(receiving.address()).into());
    }
    output.line(&serde_json::Value::Object(places).to_string());
    // The channel closes only when the signal task ends, which is a stop too.
    let _ = stop.changed().await;
    let delivered = match receiving {
        Some(receiving) => Some(receiving.stop().await),
        None => None,
    };
    let received = match listening {
        Some(listening) => Some(listening.stop().await?),
        None => None,
    };
    drop(probes);
    store.close().await;
    if output.json() {
        let mut all = serde_json::Map::new();
        all.extend(received.map(|received| ("received".to_owned(), serde_json::json!(received))));
        all.extend(delivered.map(|delivered| ("delivered".to_owned(), serde_json::json!(delivered))));
        output.line(&serde_json::Value::Object(all).to_string());
        return Ok(());
    }
    if let Some(received) = &received {
        print(received, output);
    }
    if let Some(delivered) = &delivered {
        print_webhooks(delivered, output);
    }
    Ok(())
}

fn event_options(config: &Config, access: &EventAccess, args: &ListenArgs) -> Result<ListenOptions, Failure> {
    let mapping = EventMapping::load(&access.mapping).map_err(|problems| EventsError::NotReady { problems })?;
    Ok(ListenOptions {
        address: args.address.unwrap_or(access.address),
        tokens: access.tokens()?,
        mapping,
        rejects_dir: args.rejects.clone().unwrap_or_else(|| rejects_dir(config)),
        limits: config.limits,
        clock: config.clock,
    })
}

fn webhook_options(config: &Config, access: &WebhookAccess, args: &ListenArgs) -> Result<WebhookOptions, Failure> {
    let objects = super::sync::mapping(config, Crm::HubSpot)?.objects();
    Ok(WebhookOptions {
        address: args.webhook_address.unwrap_or(access.address),
        public_url: access.public_url.clone(),
        secret: access.secret()?,
        objects: objects.into_iter().map(|(object, _)| object).collect(),
        clock: config.clock,
    })
}

async fn start(
    store: &Store,
    events: Option<ListenOptions>,
    webhooks: Option<WebhookOptions>,
) -> Result<(Option<Listening>, Option<Webhooks>), Failure> {
    let listening = match events {
        Some(options) => Some(Listening::start(store.clone(), options).await?),
        None => None,
    };
    let receiving = match webhooks {
        Some(options) => Some(Webhooks::start(store.clone(), options).await.map_err(Failure::failed)?),
        None => None,
    };
    Ok((listening, receiving))
}

fn print(received: &Received, output: &Output) {
    output.line(&format!(
        "{} messages stored, {} duplicate, {} rejected; {} requests put off; {} facts of days made",
        received.stored, received.duplicate, received.rejected, received.put_off, received.facts
    ));
    if let Some(file) = &received.rejects_file {
        output.line(&format!("rejected messages, with field and reason: {}", file.display()));
    }
}

fn print_webhooks(delivered: &Delivered, output: &Output) {
    let refused: u64 = delivered.refused.values().sum();
    output.line(&format!(
        "webhooks: {} deliveries taken with {} events, {} of them ignored; {refused} refused, {} put off",
        delivered.taken, delivered.events, delivered.ignored, delivered.put_off
    ));
    for (reason, count) in &delivered.refused {
        output.line(&format!("  refused as {reason}: {count}"));
    }
}
