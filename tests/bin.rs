//! The program as tests start it.

use std::process::ExitCode;

fn main() -> ExitCode {
    perennial::cli::start()
}
