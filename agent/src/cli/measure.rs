//! `perennial measure`.

mod backtest;
mod coldstart;
mod effects;
mod fit;
mod ope;
mod rank;

use clap::Subcommand;

use super::{Failure, Output};
use crate::config::Config;
use crate::measure::detect;

#[derive(Debug, Subcommand)]
pub(super) enum MeasureCommand {
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
        MeasureCommand::Backtest(args) => backtest::run(config, &args, output).await,
        MeasureCommand::Coldstart(args) => coldstart::run(config, &args, output).await,
        MeasureCommand::Detect(args) => {
            detect::print(&args, output);
            Ok(())
        }
        MeasureCommand::Effects(args) => effects::run(config, &args, output).await,
        MeasureCommand::Fit(args) => fit::run(config, &args, output).await,
        MeasureCommand::Ope(args) => ope::run(config, &args, output).await,
        MeasureCommand::Rank(args) => rank::run(config, &args, output),
    }
}
