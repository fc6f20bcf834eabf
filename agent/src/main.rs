//! Arguments, then configuration, then the command. Nothing else.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    perennial::cli::main(perennial::cli::Cli::parse())
}
