//! What the configuration says about sources: other databases, and events over HTTP. Secrets are read when they are
//! needed, so that a command that needs none runs without.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde::Deserialize;
use toml::Spanned;

use super::ConfigError;

/// Address at which events are received unless another is named: this machine only.
const LISTEN: &str = "127.0.0.1:8017";
/// Environment variable with the write keys of events, several with commas between them.
pub(crate) const EVENTS_TOKEN: &str = "PERENNIAL_EVENTS_TOKEN";

/// Another database that records are read from.
#[derive(Debug, Clone)]
pub struct SourceAccess {
    /// Mapping with its queries.
    pub mapping: PathBuf,
    url_file: Option<PathBuf>,
    name: String,
}

/// Events over HTTP.
#[derive(Debug, Clone)]
pub struct EventAccess {
    /// Where to listen.
    pub address: SocketAddr,
    /// Mapping of events.
    pub mapping: PathBuf,
    token_file: Option<PathBuf>,
}

/// `[sources.NAME]` as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SourceTable {
    mapping: PathBuf,
    url_file: Option<PathBuf>,
}

/// `[events]` as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsTable {
    listen: Option<Spanned<String>>,
    mapping: PathBuf,
    token_file: Option<PathBuf>,
}

/// Says what is wrong with a place of the file, and how to mend it.
pub(super) type Wrong<'a> = &'a mut dyn FnMut(std::ops::Range<usize>, String, &str);

/// The sources of the file, by name.
pub(super) fn sources(
    raw: BTreeMap<Spanned<String>, SourceTable>,
    home: &Path,
    wrong: Wrong<'_>,
) -> BTreeMap<String, SourceAccess> {
    let mut sources = BTreeMap::new();
    for (name, table) in raw {
        let span = name.span();
        let name = name.into_inner();
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
        if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
            let help = "use up to 64 small letters, digits, `-` and `_`";
            wrong(span, format!("`{name}` cannot name a source"), help);
        }
        let access = SourceAccess {
            mapping: home.join(table.mapping),
            url_file: table.url_file.map(|file| home.join(file)),
            name: name.clone(),
        };
        sources.insert(name, access);
    }
    sources
}

/// Where and how events are received.
pub(super) fn events(raw: Option<EventsTable>, home: &Path, wrong: Wrong<'_>) -> Option<EventAccess> {
    let raw = raw?;
    let (text, span) = match &raw.listen {
        Some(text) => (text.get_ref().as_str(), text.span()),
        None => (LISTEN, 0..0),
    };
    let address = match text.parse() {
        Ok(address) => address,
        Err(_) => {
            let help = "write it like 127.0.0.1:8017, with the number of the machine's address and a port";
            wrong(span, format!("`{text}` is no address to listen at"), help);
            return None;
        }
    };
    Some(EventAccess {
        address,
        mapping: home.join(raw.mapping),
        token_file: raw.token_file.map(|file| home.join(file)),
    })
}

impl SourceAccess {
    /// Environment variable with the address of the database.
    #[must_use]
    pub fn variable(&self) -> String {
        let name = self.name.to_ascii_uppercase().replace('-', "_");
        format!("PERENNIAL_SOURCE_{name}_URL")
    }

    /// The address of the database, which may hold a password.
    ///
    /// # Errors
    /// [`ConfigError::Secret`] or [`ConfigError::NoSecret`].
    pub fn url(&self) -> Result<SecretString, ConfigError> {
        let what = format!("the address of the source `{}`", self.name);
        secret(what, &self.variable(), self.url_file.as_deref(), "url_file").map(SecretString::from)
    }
}

impl EventAccess {
    /// The write keys, any of which lets a sender in: one a line of the file, or between commas in the environment.
    ///
    /// # Errors
    /// [`ConfigError::Secret`] or [`ConfigError::NoSecret`].
    pub fn tokens(&self) -> Result<Vec<SecretString>, ConfigError> {
        let what = "the write key of events".to_owned();
        let text = secret(what.clone(), EVENTS_TOKEN, self.token_file.as_deref(), "token_file")?;
        let tokens: Vec<SecretString> = text
            .split([',', '\n'])
            .map(str::trim)
            .filter(|token| !token.is_empty())
            .map(|token| SecretString::from(token.to_owned()))
            .collect();
        if tokens.is_empty() {
            return Err(ConfigError::NoSecret {
                what,
                variable: EVENTS_TOKEN.to_owned(),
                key: "token_file",
            });
        }
        Ok(tokens)
    }
}

/// A secret from the environment, else from a file.
pub(super) fn secret(
    what: String,
    variable: &str,
    file: Option<&Path>,
    key: &'static str,
) -> Result<String, ConfigError> {
    let variable = variable.to_owned();
    match (std::env::var(&variable).ok(), file) {
        (Some(text), _) => Ok(text.trim().to_owned()),
        (None, Some(path)) => match std::fs::read_to_string(path) {
            Ok(text) => Ok(text.trim().to_owned()),
            Err(source) => Err(ConfigError::Secret {
                what,
                path: path.to_owned(),
                variable,
                key,
                source,
            }),
        },
        (None, None) => Err(ConfigError::NoSecret { what, variable, key }),
    }
}
