//! The program as tests start it.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    perennial::cli::main(perennial::cli::Cli::parse())
}
