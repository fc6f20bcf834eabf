//! The solver: one process for each worker, reused from question to question and started anew when it stopped.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cedar_policy_symcc::CedarSymCompiler;
use cedar_policy_symcc::err::Error;
use cedar_policy_symcc::solver::{LocalSolver, SolverError};

/// Why something is not proved.
#[derive(Debug, thiserror::Error)]
pub enum Unproved {
    /// The program is not there or does not start.
    #[error(
        "the solver `{}` cannot be started ({source}): install the package cvc5, or name the program in the variable CVC5",
        .program.display()
    )]
    Absent {
        /// What was to be started.
        program: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// No answer in time, or the answer `unknown`.
    #[error("the solver gave no answer within {} s", .timeout_ms / 1000)]
    Unknown {
        /// Longest time for one question, milliseconds.
        timeout_ms: u64,
    },
    /// The process stopped or said what cannot be read.
    #[error("the solver stopped: {said}")]
    Stopped {
        /// What it or the system said.
        said: String,
    },
    /// The rules cannot be put into the solver's words.
    #[error("the rules cannot be put to the solver: {said}")]
    Inexpressible {
        /// What is wrong.
        said: String,
    },
    /// The solver and the authorizer contradict each other.
    #[error("the solver has a counterexample, but the replay answers {replay}: solver and authorizer disagree")]
    Disagreement {
        /// What the authorizer answered.
        replay: String,
    },
    /// An edit that breaks the promise was not found broken.
    #[error("negative control failed: {what}")]
    Control {
        /// How.
        what: String,
    },
}

/// The solver's program: the variable `CVC5`, else `cvc5` on the path.
#[must_use]
pub fn program() -> PathBuf {
    std::env::var_os("CVC5")
        .filter(|name| !name.is_empty())
        .map_or_else(|| PathBuf::from("cvc5"), PathBuf::from)
}

/// How much longer than the solver's own limit a question may take before its process is ended.
const GRACE: Duration = Duration::from_secs(5);

/// The compiler of questions, with its solver.
pub(crate) type Compiler = CedarSymCompiler<LocalSolver>;

/// One worker's solver.
pub(crate) struct Worker {
    program: PathBuf,
    timeout_ms: u64,
    runtime: Option<tokio::runtime::Runtime>,
    solver: Option<Compiler>,
    pub(crate) questions: usize,
}

impl Worker {
    pub(crate) fn new(program: &Path, timeout_ms: u64) -> Worker {
        Worker {
            program: program.to_path_buf(),
            timeout_ms,
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().ok(),
            solver: None,
            questions: 0,
        }
    }

    fn start(&self) -> Result<Compiler, Unproved> {
        let mut command = tokio::process::Command::new(&self.program);
        // The limit is one of each question: `--tlimit` would end the process for all of them.
        command
            .args(["--lang", "smt", &format!("--tlimit-per={}", self.timeout_ms)])
            .kill_on_drop(true);
        let absent = |source| Unproved::Absent {
            program: self.program.clone(),
            source,
        };
        let solver = LocalSolver::from_command(&mut command).map_err(|error| match error {
            SolverError::Io(source) => absent(source),
            SolverError::Solver(_) | SolverError::UnrecognizedSolverOutput(_) | SolverError::SolverMarkedFailed => {
                absent(std::io::Error::other(error.to_string()))
            }
        })?;
        CedarSymCompiler::new(solver).map_err(|error| self.unproved(error))
    }

    /// Asks one question.
    pub(crate) fn ask<T>(
        &mut self,
        question: impl AsyncFnOnce(&mut Compiler) -> Result<T, Error>,
    ) -> Result<T, Unproved> {
        self.questions += 1;
        let runtime = self.runtime.take();
        let Some(runtime) = runtime else {
            let said = "the system gives no more files or processes".to_owned();
            return Err(Unproved::Stopped { said });
        };
        let limit = Duration::from_millis(self.timeout_ms) + GRACE;
        let answer = runtime.block_on(async {
            let mut solver = match self.solver.take() {
                Some(solver) => solver,
                None => self.start()?,
            };
            match tokio::time::timeout(limit, question(&mut solver)).await {
                Ok(Ok(answer)) => {
                    self.solver = Some(solver);
                    Ok(answer)
                }
                Ok(Err(Error::SolverUnknown)) => {
                    self.solver = Some(solver);
                    Err(self.unproved(Error::SolverUnknown))
                }
                // What went wrong may have left words in the pipe: the next question gets a new process.
                Ok(Err(error)) => Err(self.unproved(error)),
                Err(_) => Err(self.unproved(Error::SolverUnknown)),
            }
        });
        self.runtime = Some(runtime);
        answer
    }

    /// Why an error leaves things unproved.
    pub(crate) fn unproved(&self, error: Error) -> Unproved {
        match error {
            Error::SolverUnknown => Unproved::Unknown {
                timeout_ms: self.timeout_ms,
            },
            Error::SolverError(SolverError::Io(source)) => Unproved::Stopped {
                said: source.to_string(),
            },
            Error::SolverError(_) | Error::EncodeError(_) | Error::DecodeModel(_) => Unproved::Stopped {
                said: error.to_string(),
            },
            _ => Unproved::Inexpressible {
                said: error.to_string(),
            },
        }
    }
}
