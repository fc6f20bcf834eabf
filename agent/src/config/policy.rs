//! What the configuration says about policies: where those in force come from, and who may change them.

use serde::Deserialize;
use toml::Spanned;

use super::access::Wrong;

/// Where the policies come from that runs decide by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PolicySource {
    /// The folder as it stands: for trying out, and for one person who edits and runs.
    #[default]
    Folder,
    /// What somebody put in force with `perennial policy apply`.
    Applied,
}

/// `[policy]`.
#[derive(Debug, Clone)]
pub struct PolicyAccess {
    /// Where they come from.
    pub source: PolicySource,
    /// Who may change them; everybody who may decide where nobody is named.
    pub admins: Vec<String>,
    /// Only what is proved comes into force.
    pub prove: bool,
}

/// `[policy]` as written.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicyTable {
    source: Option<Spanned<String>>,
    #[serde(default)]
    admins: Vec<String>,
    prove: Option<bool>,
}

pub(super) fn policy(raw: PolicyTable, wrong: Wrong<'_>) -> PolicyAccess {
    let source = match &raw.source {
        None => PolicySource::default(),
        Some(word) => match word.get_ref().as_str() {
            "folder" => PolicySource::Folder,
            "applied" => PolicySource::Applied,
            other => {
                let help = "write \"folder\" or \"applied\"";
                wrong(word.span(), format!("`{other}` is no source of policies"), help);
                PolicySource::default()
            }
        },
    };
    PolicyAccess {
        source,
        admins: raw.admins,
        prove: raw.prove.unwrap_or(true),
    }
}
