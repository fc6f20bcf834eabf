//! Arguments, then configuration, then the command. Nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    perennial::cli::start()
}
