//! `perennial measure`.

mod backtest;
mod rank;

use clap::Subcommand;

use super::{Failure, Output};
use crate::config::Config;

#[derive(Debug, Subcommand)]
pub(super) enum MeasureCommand {
    /// How good the renewal risk would have been on renewals that have been decided since
    Backtest(backtest::BacktestArgs),
    /// Compare orders of work on made-up worlds where the truth is known
    Rank(rank::RankArgs),
}

pub(super) async fn measure(config: &Config, command: MeasureCommand, output: &Output) -> Result<(), Failure> {
    match command {
        MeasureCommand::Backtest(args) => backtest::run(config, &args, output).await,
        MeasureCommand::Rank(args) => rank::run(config, &args, output),
    }
}
