//! Why there is no configuration.

use std::path::PathBuf;

use perennial_core::signal::Crm;

use crate::intake::Problem;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("`{}` cannot be read: check the path given with --config", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is wrong.
    #[error("the configuration is not valid")]
    Invalid {
        /// Everything wrong.
        #[related]
        problems: Vec<Problem>,
    },
    /// The database address is wrong.
    #[error("`{given}` is no database: write sqlite:PATH or postgres://USER@HOST/NAME")]
    Database {
        /// What was given.
        given: String,
    },
    /// A token cannot be read.
    #[error("the token of {crm} cannot be read from `{}`: check token_file, or set {variable}", .path.display())]
    Token {
        /// Which CRM.
        crm: Crm,
        /// The file.
        path: PathBuf,
        /// Environment variable that would do instead.
        variable: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// No token is given.
    #[error("{crm} has a base_url and no token: set {variable}, or token_file in [{crm}]")]
    NoToken {
        /// Which CRM.
        crm: Crm,
        /// Environment variable.
        variable: &'static str,
    },
    /// A secret of a source cannot be read.
    #[error("{what} cannot be read from `{}`: check `{key}`, or set {variable}", .path.display())]
    Secret {
        /// Which.
        what: String,
        /// The file.
        path: PathBuf,
        /// Environment variable that would do instead.
        variable: String,
        /// Key of the configuration that names the file.
        key: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A secret of a source is given nowhere.
    #[error("{what} is not given: set {variable}, or name a file with `{key}`")]
    NoSecret {
        /// Which.
        what: String,
        /// Environment variable.
        variable: String,
        /// Key of the configuration that would name a file.
        key: &'static str,
    },
    /// A variable of the environment holds what cannot be used.
    #[error("{variable} {why}: {help}")]
    Variable {
        /// Which.
        variable: String,
        /// What is wrong, without what it holds.
        why: String,
        /// What to do.
        help: &'static str,
    },
    /// A header for the collector is given nowhere.
    #[error("the header `{header}` of [telemetry] has no value: set {variable}, or take it out of `headers`")]
    Header {
        /// Which.
        header: String,
        /// Environment variable.
        variable: String,
    },
}
