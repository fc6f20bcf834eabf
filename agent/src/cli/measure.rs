//! `perennial measure`: how well the methods do on histories whose truth is known.

use clap::Subcommand;

use super::{Failure, Output};
use crate::measure::detect;

#[derive(Debug, Subcommand)]
pub(super) enum MeasureCommand {
    /// Usage drops: planted departures of champions found, and false alarms, on simulated tenants
    Detect(detect::DetectArgs),
}

pub(super) fn measure(command: &MeasureCommand, output: &Output) -> Result<(), Failure> {
    match command {
        MeasureCommand::Detect(args) => detect::print(args, output),
    }
    Ok(())
}
