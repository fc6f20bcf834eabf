//! How a command fails: 2 when what it was given is wrong, 1 when something went wrong on the way.

use std::process::ExitCode;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme};
use perennial_core::approval::Refused;
use perennial_store::{SourceError, StoreError};

use super::Output;
use crate::bundles::BundleError;
use crate::config::ConfigError;
use crate::content::ContentError;
use crate::cycle::RunError;
use crate::dispatch::DispatchError;
use crate::events::EventsError;
use crate::intake::{ImportError, Problem, PullError};
use crate::people::PeopleError;
use crate::queue::QueueError;
use crate::whatif::WhatIfError;

/// Why a command failed.
pub struct Failure {
    code: u8,
    error: Box<dyn std::error::Error + Send + Sync>,
    /// The same error with the places in files it is about.
    diagnostic: Option<Box<dyn Diagnostic + Send + Sync>>,
    /// What to do about it, where the message does not say.
    remedy: Option<&'static str>,
    /// Results that `--json` prints although the command failed.
    results: Option<serde_json::Value>,
}

/// What a shell says of a program that a Ctrl-C ended.
const INTERRUPTED: u8 = 130;
const FAILED: u8 = 1;
const BAD_INPUT: u8 = 2;

impl Failure {
    /// Something went wrong on the way.
    pub fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Failure {
        Failure::new(FAILED, error.into())
    }

    /// What the command was given is wrong.
    pub fn input(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Failure {
        Failure::new(BAD_INPUT, error.into())
    }

    fn new(code: u8, error: Box<dyn std::error::Error + Send + Sync>) -> Failure {
        Failure {
            code,
            error,
            diagnostic: None,
            remedy: None,
            results: None,
        }
    }

    fn shown(error: impl Diagnostic + Send + Sync + 'static, problems: &[Problem]) -> Failure {
        let problem = |problem: &Problem| match &problem.help {
            Some(help) => format!("{problem}; {help}"),
            None => problem.to_string(),
        };
        let text = std::iter::once(error.to_string())
            .chain(problems.iter().map(problem))
            .collect::<Vec<_>>()
            .join("; ");
        Failure {
            diagnostic: Some(Box::new(error)),
            ..Failure::new(BAD_INPUT, text.into())
        }
    }

    pub(super) fn remedy(self, remedy: &'static str) -> Failure {
        Failure {
            remedy: Some(remedy),
            ..self
        }
    }

    /// What the command found out before it failed: with `--json` both are one document.
    #[must_use]
    pub fn with_results(self, results: serde_json::Value) -> Failure {
        Failure {
            results: Some(results),
            ..self
        }
    }

    /// A signal stopped the command at a safe point; what there was to say has been said.
    #[must_use]
    pub fn interrupted() -> Failure {
        Failure::new(INTERRUPTED, Box::new(Said))
    }

    /// The command failed and has said so already.
    #[must_use]
    pub fn said() -> Failure {
        Failure::new(FAILED, Box::new(Said))
    }

    /// What the command was given is wrong, and it has said so already.
    #[must_use]
    pub fn said_of_input() -> Failure {
        Failure::new(BAD_INPUT, Box::new(Said))
    }

    /// Prints the error and gives the exit code.
    #[must_use]
    pub fn report(self, output: &Output) -> ExitCode {
        if self.error.is::<Said>() {
            return ExitCode::from(self.code);
        }
        let mut causes = Vec::new();
        let mut next = self.error.source();
        while let Some(cause) = next {
            causes.push(cause.to_string());
            next = cause.source();
        }
        if output.json() {
            let mut document = self.results.unwrap_or_else(|| serde_json::json!({}));
            document["error"] = serde_json::json!({ "message": self.error.to_string(), "causes": causes });
            if let Some(remedy) = self.remedy {
                document["error"]["help"] = remedy.into();
            }
            output.document(&document);
        }
        match self.diagnostic {
            Some(diagnostic) => {
                let theme = if output.colour() {
                    GraphicalTheme::unicode()
                } else {
                    GraphicalTheme::unicode_nocolor()
                };
                let handler = GraphicalReportHandler::new_themed(theme)
                    .with_width(110)
                    .without_cause_chain();
                let mut text = String::new();
                if handler.render_report(&mut text, diagnostic.as_ref()).is_err() {
                    text = self.error.to_string();
                }
                eprintln!("{}", text.trim_end());
            }
            None => {
                eprintln!("error: {}", self.error);
                for cause in causes {
                    eprintln!("  because: {cause}");
                }
                if let Some(remedy) = self.remedy {
                    eprintln!("  help: {remedy}");
                }
            }
        }
        ExitCode::from(self.code)
    }
}

/// Stands for an error that has been shown.
#[derive(Debug, thiserror::Error)]
#[error("stopped")]
struct Said;

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        match &error {
            StoreError::NotFound { .. } => {
                Failure::input(error).remedy("`perennial queue list --all` shows the ids there are")
            }
            StoreError::Ambiguous { .. } | StoreError::NoDirectory { .. } => Failure::input(error),
            StoreError::Unreachable { .. } => {
                Failure::failed(error).remedy("check --db, that the server runs, and that this user may use it")
            }
            StoreError::Corrupt { .. } => {
                Failure::failed(error).remedy("name another database with --db, or restore a backup")
            }
            _ => Failure::failed(error),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Failure {
        match &error {
            ConfigError::Invalid { problems } => {
                let problems = problems.clone();
                Failure::shown(error, &problems)
            }
            ConfigError::Unreadable { .. }
            | ConfigError::Database { .. }
            | ConfigError::Token { .. }
            | ConfigError::NoToken { .. }
            | ConfigError::Secret { .. }
            | ConfigError::Variable { .. }
            | ConfigError::Header { .. }
            | ConfigError::NoSecret { .. } => Failure::input(error),
        }
    }
}

impl From<ContentError> for Failure {
    fn from(error: ContentError) -> Failure {
        Failure::input(error)
    }
}

impl From<BundleError> for Failure {
    fn from(error: BundleError) -> Failure {
        match error {
            BundleError::Content(error) => error.into(),
            BundleError::Store(error) => error.into(),
            BundleError::Unreadable(_)
            | BundleError::Gone(_)
            | BundleError::Outdated { .. }
            | BundleError::Overtaken
            | BundleError::NothingInForce => Failure::failed(error),
            BundleError::NotAnAdmin { .. }
            | BundleError::SamePerson { .. }
            | BundleError::NothingProposed
            | BundleError::OtherProposal { .. }
            | BundleError::NeverInForce { .. }
            | BundleError::Ambiguous { .. } => Failure::input(error),
        }
    }
}

impl From<WhatIfError> for Failure {
    fn from(error: WhatIfError) -> Failure {
        match error {
            WhatIfError::Store(error) => error.into(),
            WhatIfError::Unreadable(_) | WhatIfError::Stopped => Failure::failed(error),
        }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Failure {
        match error {
            RunError::Bundle(error) => error.into(),
            RunError::Store(error) | RunError::Dispatch(DispatchError::Store(error)) => error.into(),
            RunError::Empty => Failure::input(RunError::Empty),
            RunError::Stopped => Failure::failed(RunError::Stopped),
            RunError::Dispatch(error) => Failure::failed(error),
            RunError::Unreadable(error) => Failure::failed(error),
        }
    }
}

impl From<PeopleError> for Failure {
    fn from(error: PeopleError) -> Failure {
        match error {
            PeopleError::Store(error) => error.into(),
            PeopleError::NoPerson
            | PeopleError::Unknown { .. }
            | PeopleError::ToOneself(_)
            | PeopleError::NoRole(_)
            | PeopleError::NoTime { .. }
            | PeopleError::Reason
            | PeopleError::NoDelegation(_) => Failure::input(error),
            PeopleError::NotTheirs { .. } => Failure::failed(error),
        }
    }
}

impl From<QueueError> for Failure {
    fn from(error: QueueError) -> Failure {
        match error {
            QueueError::Store(error) => error.into(),
            QueueError::Content(error) => error.into(),
            QueueError::People(error) => error.into(),
            QueueError::TooJunior { .. } => Failure::input(error),
            // What was typed is wrong, whatever state the action is in.
            QueueError::Refused(Refused::Reason { .. }) => Failure::input(error).remedy("say why with --reason TEXT"),
            QueueError::Refused(Refused::SnoozePast { .. } | Refused::EditShape) => Failure::input(error),
            QueueError::Refused(_)
            | QueueError::Unreadable(_)
            | QueueError::NotNow { .. }
            | QueueError::PolicyChanged { .. } => Failure::failed(error),
        }
    }
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Failure {
        match error {
            ImportError::NotReady { ref problems } => {
                let problems = problems.clone();
                Failure::shown(error, &problems)
            }
            ImportError::Store(_) | ImportError::Read { .. } | ImportError::Rejects { .. } | ImportError::Stopped => {
                Failure::failed(error)
            }
        }
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Failure {
        match error {
            SourceError::NotAnAddress | SourceError::Refused { .. } | SourceError::Parameters { .. } => {
                Failure::input(error)
            }
            SourceError::Unreachable { .. }
            | SourceError::Slow { .. }
            | SourceError::Timeout { .. }
            | SourceError::Lost { .. } => Failure::failed(error),
        }
    }
}

impl From<PullError> for Failure {
    fn from(error: PullError) -> Failure {
        match error {
            PullError::Source(error) => error.into(),
            PullError::Import(error) => error.into(),
            PullError::WatermarkChanged { .. } => Failure::input(error),
        }
    }
}

impl From<EventsError> for Failure {
    fn from(error: EventsError) -> Failure {
        match error {
            // Shown as an import shows them: both name places in files.
            EventsError::NotReady { problems } => ImportError::NotReady { problems }.into(),
            EventsError::Store(error) => error.into(),
            EventsError::Listen { .. } | EventsError::NoToken => Failure::input(error),
            EventsError::Refused(_) | EventsError::Key => Failure::failed(error),
        }
    }
}

impl From<perennial_core::replay::UnreadableText> for Failure {
    fn from(error: perennial_core::replay::UnreadableText) -> Failure {
        Failure::failed(error)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.error, f)
    }
}
