//! `perennial measure`.

mod backtest;

use clap::Subcommand;

use super::{Failure, Output};
use crate::config::Config;

#[derive(Debug, Subcommand)]
pub(super) enum MeasureCommand {
    /// How good the renewal risk would have been on renewals that have been decided since
    Backtest(backtest::BacktestArgs),
}

pub(super) async fn measure(config: &Config, command: MeasureCommand, output: &Output) -> Result<(), Failure> {
    match command {
        MeasureCommand::Backtest(args) => backtest::run(config, &args, output).await,
    }
}
