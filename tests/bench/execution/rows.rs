//! Figures, as a table for people and as lines of JSON for the table beside others.

use std::fs::File;
use std::io::Write as _;
use std::time::Duration;

/// Where figures go.
pub(crate) struct Rows {
    file: Option<File>,
}

impl Rows {
    /// With the file that `PERENNIAL_BENCH_ROWS` names.
    pub(crate) fn open() -> Rows {
        let file = std::env::var_os("PERENNIAL_BENCH_ROWS").map(|name| {
            let opened = File::options().create(true).append(true).open(&name);
            opened.unwrap_or_else(|error| panic!("{}: {error}", name.display()))
        });
        Rows { file }
    }

    /// A rate.
    pub(crate) fn rate(&mut self, arm: &str, on: &str, what: &str, workers: &str, done: u64, took: Duration) {
        self.add(arm, on, what, workers, (rate(done, took), "/s"));
    }

    /// Any figure with its unit.
    pub(crate) fn add(&mut self, arm: &str, on: &str, what: &str, workers: &str, (value, unit): (f64, &str)) {
        let shown = if unit == "/s" {
            format!("{value:.0}")
        } else {
            format!("{value:.2}")
        };
        println!("| {on} | {what} | {workers} | {shown} {unit} |");
        if let Some(file) = &mut self.file {
            let row = serde_json::json!({
                "arm": arm,
                "system": "Perennial",
                "version": env!("CARGO_PKG_VERSION"),
                "on": on,
                "work": what,
                "workers": workers,
                "value": value,
                "unit": unit,
            });
            writeln!(file, "{row}").expect("the rows can be written");
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn rate(n: u64, time: Duration) -> f64 {
    n as f64 / time.as_secs_f64()
}

/// The value below which a share of sorted ones lies.
pub(crate) fn percentile(sorted: &[f64], percent: usize) -> f64 {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}
