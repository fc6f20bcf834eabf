//! The program as tests start it, or a worker with a tool that only tests have.

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::var_os(perennial_tests::sink::SINK).is_some() {
        return perennial_tests::sink::work();
    }
    perennial::cli::start()
}
