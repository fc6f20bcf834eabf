//! Policies and prompts: read from folders or from the program itself, compiled, named by hash.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use perennial_core::policy::gate::Vocabulary;
use perennial_core::policy::{Content, Policies, Problem};

use crate::config::Config;

macro_rules! shipped {
    ($folder:literal: $($file:literal),+ $(,)?) => {
        &[$(($file, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../", $folder, "/", $file)))),+]
    };
}

/// The policies that are built into the program.
pub const POLICIES: &[(&str, &str)] = shipped!("policies":
    "approvals.toml",
    "autonomy.toml",
    "scoring.toml",
    "playbooks/advocacy-ask.toml",
    "playbooks/onboarding-stalled.toml",
    "playbooks/open-escalation.toml",
    "playbooks/qbr-due.toml",
    "playbooks/renewal-at-risk.toml",
    "playbooks/renewal-proposal-due.toml",
    "playbooks/seat-expansion.toml",
    "playbooks/silent-account.toml",
    "playbooks/sponsor-left.toml",
    "playbooks/usage-drop.toml",
    "promises/contact-limit.cedar",
    "promises/discount-ceiling.cedar",
    "promises/discount-needs-deal-desk.cedar",
    "promises/do-not-contact.cedar",
    "promises/four-eyes.cedar",
    "promises/legal-hold.cedar",
    "promises/listed-fields.cedar",
    "promises/no-stale-approval.cedar",
    "promises/strategic-needs-approval.cedar",
    "promises/strategic-needs-senior.cedar",
    "promises/suspected-injection.cedar",
    "promises/tasks-always.cedar",
    "promises/unknown-tier.cedar",
    "promises/unsure-needs-approval.cedar",
    "rules/50-exceptions.cedar",
    "rules/90-never.cedar",
    "schema.cedarschema",
    "tests/approvals.toml",
    "tests/guards.toml",
    "tests/plays.toml",
    "tests/table.toml",
);

/// The prompts that are built into the program.
pub const PROMPTS: &[(&str, &str)] = shipped!("prompts":
    "qbr.hbs",
    "qbr.toml",
    "renewal_proposal.hbs",
    "renewal_proposal.toml",
    "partials/agreements.hbs",
    "partials/prepared.hbs",
);

/// Why there are no policies.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// A folder or file cannot be read.
    #[error("`{}` cannot be read: check the path; `perennial init` writes the shipped policies", .path.display())]
    Unreadable {
        /// What.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The texts are wrong.
    #[error("the policies in `{folder}` are not valid, nothing was decided:\n{}", list(.problems))]
    Invalid {
        /// Where they lie.
        folder: String,
        /// Everything wrong.
        problems: Vec<Problem>,
    },
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(|p| format!("  {p}")).collect::<Vec<_>>().join("\n")
}

/// Files below a folder that count as content: a deeper one and a larger one are refused by name.
const DEPTH_MAX: usize = 2;

/// Reads the texts.
///
/// # Errors
/// [`ContentError::Unreadable`].
pub fn load(config: &Config) -> Result<Content, ContentError> {
    let built_in = |files: &[(&str, &str)]| {
        files
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect()
    };
    Ok(Content {
        policies: match &config.policies {
            Some(folder) => read_folder(folder)?,
            None => built_in(POLICIES),
        },
        prompts: match &config.prompts {
            Some(folder) => read_folder(folder)?,
            None => built_in(PROMPTS),
        },
    })
}

/// The tiers, roles and actions that the policies name, also where they are not right otherwise.
///
/// # Errors
/// [`ContentError::Unreadable`].
pub fn vocabulary(config: &Config) -> Result<Vocabulary, ContentError> {
    Ok(Vocabulary::of(&load(config)?))
}

/// Reads and compiles.
///
/// # Errors
/// [`ContentError`]; every problem at once.
pub fn compile(config: &Config) -> Result<(Content, Policies), ContentError> {
    let content = load(config)?;
    let policies = Policies::compile(&content).map_err(|problems| ContentError::Invalid {
        folder: config
            .policies
            .as_ref()
            .map_or_else(|| "the program".to_owned(), |p| p.display().to_string()),
        problems,
    })?;
    Ok((content, policies))
}

fn read_folder(folder: &Path) -> Result<BTreeMap<String, String>, ContentError> {
    let mut files = BTreeMap::new();
    read_into(folder, "", DEPTH_MAX, &mut files)?;
    Ok(files)
}

fn read_into(
    folder: &Path,
    prefix: &str,
    depth: usize,
    files: &mut BTreeMap<String, String>,
) -> Result<(), ContentError> {
    let unreadable = |path: &Path| {
        let path = path.to_path_buf();
        move |source| ContentError::Unreadable { path, source }
    };
    for entry in std::fs::read_dir(folder).map_err(unreadable(folder))? {
        let path = entry.map_err(unreadable(folder))?.path();
        let name = path
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default();
        // Editors leave hidden files and backups; cases are tests of the content, not content.
        if name.starts_with('.') || name.ends_with('~') || name == "cases" || name == "README.md" {
            continue;
        }
        if path.is_dir() {
            if depth > 1 {
                read_into(&path, &format!("{prefix}{name}/"), depth - 1, files)?;
            } else {
                // Named, so that it is refused and not passed over: somebody put files there for a purpose.
                files.insert(format!("{prefix}{name}/"), String::new());
            }
        } else {
            files.insert(
                format!("{prefix}{name}"),
                std::fs::read_to_string(&path).map_err(unreadable(&path))?,
            );
        }
    }
    Ok(())
}
