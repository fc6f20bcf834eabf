//! `perennial measure`.

mod answers;
mod backtest;
mod coldstart;
mod effects;
mod fit;
mod ope;
mod rank;

use clap::Subcommand;
use perennial_core::detect::Detector;

use super::{Failure, Output};
use crate::config::Config;
use crate::content;
use crate::measure::detect;
use crate::simulate::SimulationOptions;

#[derive(Debug, Subcommand)]
pub(super) enum MeasureCommand {
    /// How people answered what waited for them, and how many canaries they caught
    Answers(answers::AnswersArgs),
    /// How good the renewal risk would have been on renewals that have been decided since
    Backtest(backtest::BacktestArgs),
    /// How good each way of forecasting renewals is with few labels
    Coldstart(coldstart::ColdstartArgs),
    /// Usage drops: planted departures of champions found, and false alarms, on simulated tenants
    Detect(detect::DetectArgs),
    /// What actions bring: shifts of the log odds of renewing from randomised choices, as keys to take over
    Effects(effects::EffectsArgs),
    /// Fit the weights of the risk to renewals that have been decided, as a [risk] table to take over
    Fit(fit::FitArgs),
    /// What another choice of actions would have brought, from a log of randomised ones
    Ope(ope::OpeArgs),
    /// Compare orders of work on made-up worlds where the truth is known
    Rank(rank::RankArgs),
}

pub(super) async fn measure(config: &Config, command: MeasureCommand, output: &Output) -> Result<(), Failure> {
    match command {
        MeasureCommand::Answers(args) => answers::run(config, &args, output).await,
        MeasureCommand::Backtest(args) => backtest::run(config, &args, output).await,
        MeasureCommand::Coldstart(args) => coldstart::run(config, &args, output).await,
        MeasureCommand::Detect(args) => detect_drops(config, &args, output),
        MeasureCommand::Effects(args) => effects::run(config, &args, output).await,
        MeasureCommand::Fit(args) => fit::run(config, &args, output).await,
        MeasureCommand::Ope(args) => ope::run(config, &args, output).await,
        MeasureCommand::Rank(args) => rank::run(config, &args, output),
    }
}

fn detect_drops(config: &Config, args: &detect::DetectArgs, output: &Output) -> Result<(), Failure> {
    if let Some((folder, seed)) = args.export() {
        let written = detect::write_tenant(folder, &SimulationOptions::new(seed)).map_err(|error| {
            let folder = folder.display();
            Failure::failed(format!(
                "`{folder}` cannot be written: {error}; name a folder that can be written to"
            ))
        })?;
        output.line(&format!(
            "{} accounts of seed {seed}; import them with `perennial import {} --mapping examples/mappings/planted.toml`",
            written.accounts.len(),
            folder.display()
        ));
        return Ok(());
    }
    let (_, policies) = content::compile(config)?;
    let signals = policies.scoring.signals.as_ref();
    let limits = signals.and_then(|s| s.detectors.get(&Detector::UsageDrop));
    let (Some(signals), Some(limits)) = (signals, limits) else {
        return Err(Failure::input(
            "`usage_drop` is off: switch it on in scoring.toml [signals]",
        ));
    };
    detect::print(args, &signals.evidence, limits.open, output);
    Ok(())
}
