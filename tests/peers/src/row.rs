//! One figure, as a line of JSON: what every arm prints, ours too, and what the table is made of.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A figure, or the reason why there is none.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// Which figure: goals find it by this name.
    pub arm: String,
    /// Who.
    pub system: String,
    /// In which version.
    pub version: String,
    /// On which database.
    pub on: String,
    /// What was done.
    pub work: String,
    /// How many did it, and what a worker is to this system.
    pub workers: String,
    /// The figure; none when it could not be had.
    pub value: Option<f64>,
    /// Of what.
    pub unit: String,
    /// Why there is no figure, or what else is to be known.
    #[serde(default)]
    pub note: String,
}

/// A system on a database.
#[derive(Debug, Clone, Copy)]
pub struct Of {
    /// Who.
    pub system: &'static str,
    /// In which version: the one that `Cargo.toml` pins.
    pub version: &'static str,
    /// On which database.
    pub on: &'static str,
}

impl Of {
    /// Prints a rate.
    pub fn rate(self, arm: &str, work: &str, workers: &str, done: u64, took: Duration) {
        let row = Row {
            arm: arm.to_owned(),
            system: self.system.to_owned(),
            version: self.version.to_owned(),
            on: self.on.to_owned(),
            work: work.to_owned(),
            workers: workers.to_owned(),
            value: Some(done as f64 / took.as_secs_f64()),
            unit: "/s".to_owned(),
            note: String::new(),
        };
        println!("{}", serde_json::to_string(&row).expect("a row"));
    }
}
