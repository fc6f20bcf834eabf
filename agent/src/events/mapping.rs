//! What events mean: whose account, which people, which features. Read from TOML and checked as a whole.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use perennial_core::ids::SourceId;
use serde::Deserialize;
use toml::Spanned;

use crate::intake::Problem;

/// Most names of events in one mapping.
const NAMES_MAX: usize = 10_000;
/// Longest name of a source in bytes.
const SOURCE_BYTES: usize = 64;

/// A mapping of events that has been checked.
#[derive(Debug, Clone)]
pub struct EventMapping {
    source: SourceId,
    account: Vec<Vec<String>>,
    user: Vec<Vec<String>>,
    account_prefix: String,
    active: Names<()>,
    features: Names<String>,
    has_features: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MappingFile {
    source: Spanned<String>,
    account: Option<Vec<Spanned<String>>>,
    user: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    account_prefix: String,
    active: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    features: BTreeMap<Spanned<String>, Vec<Spanned<String>>>,
}

/// Names of events, and beginnings of names.
#[derive(Debug, Clone)]
struct Names<T> {
    whole: BTreeMap<String, T>,
    beginnings: BTreeMap<String, T>,
}

impl<T: Clone> Names<T> {
    fn new() -> Names<T> {
        Names {
            whole: BTreeMap::new(),
            beginnings: BTreeMap::new(),
        }
    }

    /// Adds a name; a star at its end stands for any rest. Says what stood there before.
    fn add(&mut self, name: &str, value: T) -> Option<T> {
        match name.strip_suffix('*') {
            Some(beginning) => self.beginnings.insert(beginning.to_owned(), value),
            None => self.whole.insert(name.to_owned(), value),
        }
    }

    /// What stands for a name: the whole name before a beginning, a longer beginning before a shorter.
    fn get(&self, name: &str) -> Option<&T> {
        let longest = || {
            let fits = self
                .beginnings
                .iter()
                .filter(|(beginning, _)| name.starts_with(*beginning));
            fits.max_by_key(|(beginning, _)| beginning.len())
                .map(|(_, value)| value)
        };
        self.whole.get(name).or_else(longest)
    }
}

impl EventMapping {
    /// Reads a mapping file.
    ///
    /// # Errors
    /// Every problem of the file that can be told apart.
    pub fn load(path: &Path) -> Result<EventMapping, Vec<Problem>> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            vec![Problem::of_file(
                path,
                format!("the mapping of events cannot be read: {error}"),
                Some("name a TOML file that this user may read in [events], `mapping`".to_owned()),
            )]
        })?;
        EventMapping::parse(path, &text)
    }

    /// Reads the text of a mapping; `path` names it in problems.
    ///
    /// # Errors
    /// Every problem of the text that can be told apart.
    pub fn parse(path: &Path, text: &str) -> Result<EventMapping, Vec<Problem>> {
        let shared: Arc<str> = Arc::from(text);
        let at = |span: Range<usize>, message: String, help: &str| {
            Problem::at(path, &shared, span, message, Some(help.to_owned()))
        };
        let raw: MappingFile = toml::from_str(text).map_err(|error| {
            let span = error.span().unwrap_or(0..0);
            let help = "known: `source`, `account`, `user`, `account_prefix`, `active` and the table [features]";
            vec![at(span, error.message().to_owned(), help)]
        })?;
        let mut problems = Vec::new();
        let source = raw.source.get_ref();
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
        if source.is_empty() || source.len() > SOURCE_BYTES || !source.chars().all(fits) {
            let help = "use up to 64 small letters, digits, `-` and `_`";
            problems.push(at(raw.source.span(), format!("`{source}` cannot name a source"), help));
        }
        let mut paths = |given: Option<Vec<Spanned<String>>>, default: &[&str]| -> Vec<Vec<String>> {
            let split = |path: &str| path.split('.').map(str::to_owned).collect::<Vec<_>>();
            let Some(given) = given else {
                return default.iter().map(|path| split(path)).collect();
            };
            for path in &given {
                if path.get_ref().split('.').any(str::is_empty) {
                    let help = "write keys with points between them, such as \"context.groupId\"";
                    problems.push(at(path.span(), format!("`{}` names no key", path.get_ref()), help));
                }
            }
            given.iter().map(|path| split(path.get_ref())).collect()
        };
        let account = paths(raw.account, &["context.groupId", "groupId"]);
        let user = paths(raw.user, &["userId"]);
        let mut active = Names::new();
        match raw.active {
            None => {
                active.add("*", ());
            }
            Some(names) => {
                for name in names {
                    active.add(name.get_ref(), ());
                }
            }
        }
        let mut features = Names::new();
        let mut names = 0;
        let has_features = !raw.features.is_empty();
        for (feature, events) in &raw.features {
            for event in events {
                names += 1;
                let word = feature.get_ref();
                if word.is_empty() || word.contains('\0') {
                    problems.push(at(feature.span(), "a feature without a name".to_owned(), "name it"));
                }
                if let Some(other) = features.add(event.get_ref(), word.clone()) {
                    let message = format!("`{}` is use of `{other}` already", event.get_ref());
                    problems.push(at(event.span(), message, "name each event once"));
                }
            }
        }
        if names > NAMES_MAX {
            let message = format!("more than {NAMES_MAX} names of events");
            problems.push(at(0..0, message, "use beginnings with a star, such as \"Report *\""));
        }
        if !problems.is_empty() {
            problems.sort_by_key(|problem| (problem.line, problem.column));
            return Err(problems);
        }
        Ok(EventMapping {
            source: SourceId::new(source.clone()),
            account,
            user,
            account_prefix: raw.account_prefix,
            active,
            features,
            has_features,
        })
    }

    /// The source that the facts come from.
    #[must_use]
    pub fn source(&self) -> &SourceId {
        &self.source
    }

    /// Whether any event is use of a feature: without, how many features are used is unknown.
    #[must_use]
    pub fn has_features(&self) -> bool {
        self.has_features
    }

    pub(super) fn account_paths(&self) -> &[Vec<String>] {
        &self.account
    }

    pub(super) fn user_paths(&self) -> &[Vec<String>] {
        &self.user
    }

    pub(super) fn account_prefix(&self) -> &str {
        &self.account_prefix
    }

    pub(super) fn is_active(&self, event: &str) -> bool {
        self.active.get(event).is_some()
    }

    pub(super) fn feature(&self, event: &str) -> Option<&str> {
        self.features.get(event).map(String::as_str)
    }
}
