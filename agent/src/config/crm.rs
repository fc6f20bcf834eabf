//! How to reach a CRM, and how to sign in there.

use std::path::{Path, PathBuf};

use perennial_core::signal::Crm;
use perennial_tools::{Credentials, WriteMap};
use secrecy::SecretString;
use serde::Deserialize;
use toml::Spanned;

use super::ConfigError;
use crate::intake::{Mapping, Problem};
use crate::tokens::TokenKey;

/// Calls a day of the smallest Salesforce edition, until a header says how many there really are.
const SALESFORCE_DAILY_CALLS: u64 = 15_000;
/// Calls a day of the smallest HubSpot plan: with OAuth no header ever says how many there are.
const HUBSPOT_DAILY_CALLS: u64 = 250_000;

/// Environment variable with the key that seals tokens.
const TOKEN_KEY: &str = "PERENNIAL_TOKEN_KEY";

/// How to reach a CRM.
#[derive(Debug, Clone)]
pub struct CrmAccess {
    /// Root of its API.
    pub base_url: String,
    /// How we show who we are.
    pub credentials: Credentials,
    /// File that says what is read and written there; none for the one that is built in.
    pub mapping: Option<PathBuf>,
    /// What it says about writing; none for the fields that the adapter proposes.
    pub writes: Option<WriteMap>,
    /// Calls a day that we allow ourselves, where somebody said so.
    pub daily_calls: Option<u64>,
    /// Calls a day to go by until the CRM says how many it allows.
    pub crm_daily_calls: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AccessTable {
    pub(super) base_url: Spanned<String>,
    token_file: Option<PathBuf>,
    auth: Option<Auth>,
    client_id: Option<String>,
    client_secret_file: Option<PathBuf>,
    user: Option<String>,
    audience: Option<String>,
    key_file: Option<PathBuf>,
    refresh_token_file: Option<PathBuf>,
    mapping: Option<PathBuf>,
    daily_calls: Option<u64>,
}

/// How to sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Auth {
    /// A token that somebody else renews.
    #[default]
    Token,
    /// An assertion signed with a private key (Salesforce).
    Jwt,
    /// The app acts for the user of its policy (Salesforce).
    ClientCredentials,
    /// The consent of a user.
    RefreshToken,
}

/// Environment variables of a CRM: address and token.
fn variables(crm: Crm) -> (&'static str, &'static str) {
    match crm {
        Crm::Salesforce => ("PERENNIAL_SALESFORCE_URL", "PERENNIAL_SALESFORCE_TOKEN"),
        Crm::HubSpot => ("PERENNIAL_HUBSPOT_URL", "PERENNIAL_HUBSPOT_TOKEN"),
    }
}

/// Reads the access to a CRM; none where it has no address.
pub(super) fn access(crm: Crm, table: Option<AccessTable>, home: &Path) -> Result<Option<CrmAccess>, ConfigError> {
    let (url_variable, _) = variables(crm);
    let url = std::env::var(url_variable)
        .ok()
        .or_else(|| table.as_ref().map(|t| t.base_url.get_ref().clone()));
    let Some(base_url) = url else { return Ok(None) };
    let mapping = table
        .as_ref()
        .and_then(|t| t.mapping.as_ref())
        .map(|file| home.join(file));
    let writes = match &mapping {
        Some(path) => Mapping::load(path)
            .map_err(|problems| ConfigError::Invalid { problems })?
            .writes(),
        None => None,
    };
    Ok(Some(CrmAccess {
        credentials: credentials(crm, table.as_ref(), &base_url, home)?,
        base_url,
        mapping,
        writes,
        daily_calls: table.and_then(|t| t.daily_calls),
        crm_daily_calls: match crm {
            Crm::Salesforce => SALESFORCE_DAILY_CALLS,
            Crm::HubSpot => HUBSPOT_DAILY_CALLS,
        },
    }))
}

fn credentials(crm: Crm, table: Option<&AccessTable>, base_url: &str, home: &Path) -> Result<Credentials, ConfigError> {
    let auth = table.and_then(|t| t.auth).unwrap_or_default();
    let file = |of: fn(&AccessTable) -> Option<&PathBuf>| table.and_then(of).map(|file| home.join(file));
    let upper = crm.as_str().to_ascii_uppercase();
    let secret = |what: &str, word: &str, file: Option<PathBuf>, key| {
        let variable = format!("PERENNIAL_{upper}_{word}");
        let text = super::access::secret(format!("{what} of {crm}"), &variable, file.as_deref(), key)?;
        Ok::<_, ConfigError>(SecretString::from(text))
    };
    let needed = |key: &str, text: Option<&String>| {
        text.cloned().ok_or_else(|| ConfigError::Invalid {
            problems: vec![Problem::of_file(
                Path::new(super::FILE_NAME),
                format!("[{crm}] has no `{key}`, which this `auth` needs"),
                Some(format!("add `{key} = \"..\"` to [{crm}]")),
            )],
        })
    };
    let client_id = || needed("client_id", table.and_then(|t| t.client_id.as_ref()));
    let client_secret = || {
        let file = file(|t| t.client_secret_file.as_ref());
        secret("the client secret", "CLIENT_SECRET", file, "client_secret_file")
    };
    if crm == Crm::HubSpot && matches!(auth, Auth::Jwt | Auth::ClientCredentials) {
        return Err(ConfigError::Invalid {
            problems: vec![Problem::of_file(
                Path::new(super::FILE_NAME),
                "HubSpot has no such `auth`",
                Some("write \"token\" for a service key, or \"refresh_token\" for OAuth".to_owned()),
            )],
        });
    }
    Ok(match auth {
        Auth::Token => Credentials::Token(token(crm, file(|t| t.token_file.as_ref()))?),
        Auth::Jwt => Credentials::Jwt {
            client_id: client_id()?,
            user: needed("user", table.and_then(|t| t.user.as_ref()))?,
            audience: table
                .and_then(|t| t.audience.clone())
                .unwrap_or_else(|| base_url.trim_end_matches('/').to_owned()),
            key: secret("the private key", "KEY", file(|t| t.key_file.as_ref()), "key_file")?,
        },
        Auth::ClientCredentials => Credentials::ClientCredentials {
            client_id: client_id()?,
            client_secret: client_secret()?,
        },
        Auth::RefreshToken => {
            let file = file(|t| t.refresh_token_file.as_ref());
            Credentials::Refresh {
                client_id: client_id()?,
                client_secret: client_secret()?,
                refresh_token: secret("the refresh token", "REFRESH_TOKEN", file, "refresh_token_file")?,
            }
        }
    })
}

fn token(crm: Crm, file: Option<PathBuf>) -> Result<SecretString, ConfigError> {
    let (_, variable) = variables(crm);
    let token = match (std::env::var(variable).ok(), file) {
        (Some(token), _) => token,
        (None, Some(path)) => std::fs::read_to_string(&path).map_err(|source| ConfigError::Token {
            crm,
            path,
            variable,
            source,
        })?,
        (None, None) => return Err(ConfigError::NoToken { crm, variable }),
    };
    Ok(SecretString::from(token.trim().to_owned()))
}

/// The key that seals tokens, where one is given.
pub(super) fn token_key(file: Option<PathBuf>, home: &Path) -> Result<Option<TokenKey>, ConfigError> {
    if file.is_none() && std::env::var(TOKEN_KEY).is_err() {
        return Ok(None);
    }
    let file = file.map(|file| home.join(file));
    let text = super::access::secret(
        "the key of tokens".to_owned(),
        TOKEN_KEY,
        file.as_deref(),
        "token_key_file",
    )?;
    let key = TokenKey::parse(&text).map_err(|wrong| ConfigError::Invalid {
        problems: vec![Problem::of_file(Path::new(super::FILE_NAME), wrong.to_string(), None)],
    })?;
    Ok(Some(key))
}
