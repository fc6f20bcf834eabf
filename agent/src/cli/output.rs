//! Where results go, and how they look.

use std::io::{IsTerminal as _, Write as _};

use comfy_table::{ContentArrangement, Table, presets};
use perennial_core::money::{Currency, Money};
use perennial_store::DatabaseUrl;
use serde::Serialize;

use super::Failure;
use crate::config::Config;

/// Standard output and its manners.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
    colour: bool,
}

impl Output {
    /// Colours only on a terminal and only where nobody objects.
    #[must_use]
    pub fn new(json: bool, no_color: bool) -> Output {
        let colour = !no_color && std::env::var_os("NO_COLOR").is_none() && std::io::stdout().is_terminal();
        Output { json, colour }
    }

    /// Whether one JSON document is wanted.
    #[must_use]
    pub fn json(&self) -> bool {
        self.json
    }

    /// Whether colours are wanted.
    #[must_use]
    pub fn colour(&self) -> bool {
        self.colour
    }

    /// Prints a JSON document.
    pub fn document(&self, value: &impl Serialize) {
        let text = serde_json::to_string_pretty(value).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"));
        self.line(&text);
    }

    /// Prints a line. A reader that went away (`| head`) ends the program quietly.
    pub fn line(&self, text: &str) {
        if writeln!(std::io::stdout(), "{text}").is_err() {
            std::process::exit(0);
        }
    }

    /// Bold, where colours are wanted.
    #[must_use]
    pub fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    /// Quiet, where colours are wanted.
    #[must_use]
    pub fn dim(&self, text: &str) -> String {
        self.paint("2", text)
    }

    /// A heading with a line under it.
    pub fn heading(&self, text: &str) {
        self.line("");
        self.line(&self.bold(text));
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    /// A plain table.
    pub fn table(&self, header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) {
        let mut table = Table::new();
        table
            .load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Dynamic);
        if !std::io::stdout().is_terminal() {
            table.set_width(TABLE_WIDTH);
        }
        table.set_header(header.iter().map(|h| self.bold(h)));
        let mut any = false;
        for row in rows {
            any = true;
            table.add_row(row);
        }
        if any {
            let text: Vec<String> = table.lines().map(|l| l.trim_end().to_owned()).collect();
            self.line(&text.join("\n"));
        }
    }
}

/// Width of tables where there is no terminal to ask.
const TABLE_WIDTH: u16 = 130;

/// An amount of minor units for people.
pub(crate) fn amount(minor: Option<i64>, currency: Option<&str>) -> String {
    match (minor, currency.and_then(|code| code.parse::<Currency>().ok())) {
        (Some(minor), Some(currency)) => Money::new(whole(minor, currency), currency).to_string(),
        (Some(_), None) | (None, _) => "not known".to_owned(),
    }
}

/// Cents do not help anybody in a list.
fn whole(minor: i64, currency: Currency) -> i64 {
    let unit = 10_i64.pow(currency.exponent());
    if minor.abs() < 100 * unit {
        minor
    } else {
        minor / unit * unit
    }
}

/// Progress on standard error, only where a person watches and nobody asked for JSON.
pub(crate) fn progress_bar(output: &Output, message: &'static str) -> indicatif::ProgressBar {
    if output.json() || !std::io::stderr().is_terminal() {
        return indicatif::ProgressBar::hidden();
    }
    let bar = indicatif::ProgressBar::new_spinner();
    bar.set_message(message);
    bar.enable_steady_tick(std::time::Duration::from_millis(120));
    bar
}

/// Whether a database may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// It must be there.
    Existing,
    /// It is made where it is missing.
    Create,
}

/// Opens the database. A new one gets its schema at once; an older one is migrated only by `db migrate`.
pub(crate) async fn open(config: &Config, need: Need) -> Result<perennial_store::Store, Failure> {
    use perennial_store::Store;
    if let DatabaseUrl::Sqlite(path) = &config.database
        && path.is_dir()
    {
        let text = format!(
            "`{}` is a folder, not a database: name a file, such as --db sqlite:{}",
            path.display(),
            path.join("perennial.db").display()
        );
        return Err(Failure::input(text));
    }
    if let (DatabaseUrl::Sqlite(path), Need::Existing) = (&config.database, need)
        && !path.exists()
    {
        let text = format!(
            "there is no database at `{}`: import data first (`perennial import DIR --mapping FILE`), or name another with --db",
            path.display()
        );
        return Err(Failure::input(text));
    }
    if let (DatabaseUrl::Sqlite(path), Need::Create) = (&config.database, need) {
        // The data directory is ours to make; another place is the user's choice and must exist.
        if path.parent() == Some(config.data_dir.as_path()) && !config.data_dir.as_os_str().is_empty() {
            std::fs::create_dir_all(&config.data_dir).map_err(|error| {
                Failure::failed(format!(
                    "the data directory `{}` cannot be made: {error}",
                    config.data_dir.display()
                ))
            })?;
        }
    }
    let store = Store::open(&config.database, config.tenant, &config.limits.store()).await?;
    if store.schema_version().await? == 0 {
        store.migrate().await?;
        return Ok(store);
    }
    store.close().await;
    Ok(Store::open_migrated(&config.database, config.tenant, &config.limits.store()).await?)
}
