//! `perennial worker`.

use clap::Args;

use super::output::{Need, open};
use super::run::stop_signal;
use super::{Failure, Output};
use crate::config::Config;
use crate::cycle::Engine;
use crate::probes::Probes;
use crate::worker::work;

#[derive(Debug, Args)]
pub(super) struct WorkerArgs {
    #[command(flatten)]
    probes: ProbeArgs,
}

#[derive(Debug, Args)]
pub(super) struct ProbeArgs {
    /// Answer /metrics, /healthz and /readyz at this port of 127.0.0.1; 0 takes any free one [default: none]
    #[arg(long, value_name = "PORT")]
    metrics_port: Option<u16>,
}

impl ProbeArgs {
    /// Begins to answer probes, where that was asked for, and says where.
    pub(super) async fn start(
        &self,
        config: &Config,
        store: &perennial_store::Store,
    ) -> Result<Option<Probes>, Failure> {
        let Some(port) = self.metrics_port else { return Ok(None) };
        let probes = Probes::start(port, store.clone(), config)
            .await
            .map_err(Failure::failed)?;
        eprintln!("metrics at http://{}/metrics", probes.address());
        Ok(Some(probes))
    }
}

pub(super) async fn worker(config: &Config, args: &WorkerArgs, output: &Output) -> Result<(), Failure> {
    let store = open(config, Need::Existing).await?;
    // First, so that what the tools tell is recorded from the beginning.
    let probes = args.probes.start(config, &store).await?;
    let tools = config.tools_of(&store).map_err(Failure::input)?;
    if tools.crms().next().is_none() {
        eprintln!("! no CRM is configured, so effects wait: see docs/operator/configuration");
    }
    let engine = Engine {
        config,
        store: &store,
        tools: &tools,
        stop: stop_signal(),
    };
    let worked = work(&engine).await;
    drop(probes);
    store.close().await;
    let drained = worked.map_err(Failure::failed)?;
    if output.json() {
        output.document(&serde_json::json!({ "done": drained.done, "failed": drained.failed }));
    } else {
        output.line(&format!("effects: {} done, {} failed", drained.done, drained.failed));
    }
    Ok(())
}
