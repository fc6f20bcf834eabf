//! `perennial listen`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::output::{Need, open};
use super::{Failure, Output};
use crate::config::Config;
use crate::events::{EventMapping, EventsError, ListenOptions, Listening};

#[derive(Debug, Args)]
pub(super) struct ListenArgs {
    /// Where to listen; port 0 takes any free one [default: `listen` in [events], else 127.0.0.1:8017]
    #[arg(long, value_name = "ADDRESS:PORT")]
    address: Option<SocketAddr>,
    /// Folder for the file of refused messages [default: the data directory]
    #[arg(long, value_name = "DIR")]
    rejects: Option<PathBuf>,
}

pub(super) async fn listen(config: &Config, args: &ListenArgs, output: &Output) -> Result<(), Failure> {
    let Some(access) = &config.events else {
        return Err(Failure::input(
            "events are not configured: add [events] with `mapping` to perennial.toml",
        ));
    };
    let mapping = EventMapping::load(&access.mapping).map_err(|problems| EventsError::NotReady { problems })?;
    let tokens = access.tokens()?;
    let rejects = args.rejects.clone().unwrap_or_else(|| config.data_dir.clone());
    let rejects_dir = if rejects.as_os_str().is_empty() {
        PathBuf::from(".")
    } else {
        rejects
    };
    let store = open(config, Need::Create).await?;
    let options = ListenOptions {
        address: args.address.unwrap_or(access.address),
        tokens,
        mapping,
        rejects_dir,
        limits: config.limits,
        clock: config.clock,
    };
    let mut stop = super::stop_signal();
    let listening = Listening::start(store.clone(), options).await?;
    // One line, so that a program that starts this can read it and go on.
    output.line(&serde_json::json!({ "url": format!("http://{}", listening.address()) }).to_string());
    // The channel closes only when the signal task ends, which is a stop too.
    let _ = stop.changed().await;
    let received = listening.stop().await?;
    store.close().await;
    if output.json() {
        output.line(&serde_json::json!({ "received": received }).to_string());
        return Ok(());
    }
    output.line(&format!(
        "{} messages stored, {} duplicate, {} rejected; {} requests put off; {} facts of days made",
        received.stored, received.duplicate, received.rejected, received.put_off, received.facts
    ));
    if let Some(file) = &received.rejects_file {
        output.line(&format!("rejected messages, with field and reason: {}", file.display()));
    }
    Ok(())
}
