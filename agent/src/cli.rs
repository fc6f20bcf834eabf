//! The command line: thin commands around the engine. Results go to standard output, logs and progress to standard error.

mod account;
mod audit;
mod autonomy;
mod bundle;
mod card;
mod coverage;
mod database;
mod doctor;
mod error;
mod holdout;
mod import;
mod init;
mod listen;
mod measure;
mod output;
mod people_queue;
mod plays;
mod policy;
mod pull;
mod rank;
mod replay;
mod run;
mod sandbox;
mod signals;
mod stop;
mod sync;
mod undo;
mod walk;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use perennial_core::time::Timestamp;

use crate::config::{Config, Overrides};
pub use error::Failure;
pub use output::Output;
pub(crate) use output::amount as amount_text;
pub use policy::json_schemas;
pub(crate) use run::stop_signal;
pub(crate) use sandbox::started as sandbox_started;

/// Perennial watches every customer account, ranks the next best actions, does what policy lets it do by itself, and
/// asks a person for the rest.
#[derive(Debug, Parser)]
#[command(name = "perennial", version, propagate_version = true, max_term_width = 110)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Global {
    /// Database: sqlite:PATH or postgres://USER@HOST/NAME [default: perennial.db in the data directory]
    #[arg(long, global = true, value_name = "URL")]
    db: Option<String>,
    /// Folder of the policies; prompts lie beside it [default: ./policies, else the built-in ones]
    #[arg(long, global = true, value_name = "DIR")]
    policies: Option<PathBuf>,
    /// Configuration file [default: ./perennial.toml where there is one]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One JSON document on standard output instead of text
    #[arg(long, global = true)]
    json: bool,
    /// No colours (NO_COLOR works too)
    #[arg(long, global = true)]
    no_color: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a commented configuration, the policies and the prompts into a folder
    Init(init::InitArgs),
    /// Show the main job on a made-up portfolio: no key, no network, no database server
    Demo(crate::demo::DemoArgs),
    /// Check configuration, database, policies and CRMs, and say how to mend what is wrong
    Doctor,
    /// Read files of CSV or JSON Lines by a mapping; safe to repeat
    Import(import::ImportArgs),
    /// Read records from another database by queries of a mapping; safe to repeat
    Pull(pull::PullArgs),
    /// Read what changed in the CRMs, deletions too, by their mappings; safe to repeat
    Sync(sync::SyncArgs),
    /// Receive events of the product over HTTP and count them into facts of a day, and webhooks of HubSpot
    Listen(listen::ListenArgs),
    /// Decide about every account, do what policy lets run by itself, queue the rest
    Run(run::RunArgs),
    /// Carry out effects until told to stop; any number at once on PostgreSQL
    Worker(worker::WorkerArgs),
    /// Hold everything, or a part of it, within a second; what was begun is ended, the rest waits
    Stop(stop::StopArgs),
    /// Let go on what was stopped
    Resume(stop::StopArgs),
    /// What to do next over the whole book, the most valuable minute first; decides anew and writes nothing
    Rank(rank::RankArgs),
    /// What waits for people
    #[command(subcommand)]
    Queue(people_queue::QueueCommand),
    /// Plays that run: where each stands and whom it waits for
    Plays(plays::PlaysArgs),
    /// One play: show it, mark its task as done, end it
    #[command(subcommand)]
    Play(plays::PlayCommand),
    /// Accounts with their scores
    #[command(subcommand)]
    Account(account::AccountCommand),
    /// Who looks after what: accounts, revenue and load by tier and person, and what nobody looks after
    Coverage(coverage::CoverageArgs),
    /// What has changed at which accounts, since when: usage drops, people who left, late bills, seats running out
    Signals(signals::SignalsArgs),
    /// Why an action was proposed, and why it may or may not run
    Explain {
        /// Action id, or the beginning of one
        action: String,
    },
    /// Check, test and prove the policies, see what they would do, and put them in force
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// How actions did, by kind and tier, and which of them have earned to run by themselves
    Autonomy(autonomy::AutonomyArgs),
    /// Take back what was written into a CRM: shows the change first, and refuses where somebody has changed it since
    Undo(undo::UndoArgs),
    /// The ledger of everything decided and done
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// How good the engine's judgement is: on history, and on made-up worlds where the truth is known
    #[command(subcommand)]
    Measure(measure::MeasureCommand),
    /// Make a decision again from its stored inputs and compare it byte for byte
    Replay {
        /// Decision id, or the id of an action
        id: String,
    },
    /// Accounts that are left untreated, so that what the engine brings can be measured
    #[command(subcommand)]
    Holdout(holdout::HoldoutCommand),
    /// Run local Salesforce and HubSpot servers to try things on
    Sandbox(sandbox::SandboxArgs),
    /// The database
    #[command(subcommand)]
    Db(database::DbCommand),
    /// Print completions for a shell
    Completions {
        /// Shell
        shell: clap_complete::Shell,
    },
}

/// Reads a time given on the command line.
fn time_argument(text: &str) -> Result<Timestamp, String> {
    text.parse::<Timestamp>().map_err(|error| error.to_string())
}

/// Reads the arguments, runs the command and says how it ended: 0 done, 1 failed, 2 bad usage or bad input.
#[must_use]
pub fn start() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => main(cli),
        Err(error) => usage(&error),
    }
}

fn main(cli: Cli) -> ExitCode {
    let output = Output::new(cli.global.json, cli.global.no_color);
    start_logging();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::failed(error).report(&output),
    };
    match runtime.block_on(dispatch(cli, &output)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(&output),
    }
}

/// Says what is wrong with the arguments, or the help that was asked for. A caller that asked for JSON gets one document too.
fn usage(error: &clap::Error) -> ExitCode {
    let asked = std::env::args_os().any(|argument| argument == "--json");
    if asked && error.use_stderr() {
        let text = error.to_string();
        let mut lines = text.lines().filter(|line| !line.trim().is_empty());
        let message = lines.next().unwrap_or_default().trim_start_matches("error: ");
        let help: Vec<&str> = lines.map(str::trim).collect();
        Output::new(true, true)
            .document(&serde_json::json!({ "error": { "message": message, "causes": [], "help": help.join("; ") } }));
    }
    // A reader that went away cannot be told.
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// Logs go to standard error, quiet unless `PERENNIAL_LOG` (a filter such as `info`) says otherwise.
fn start_logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("PERENNIAL_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    // A second start in one process (tests) keeps the first.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .try_init();
}

async fn dispatch(cli: Cli, output: &Output) -> Result<(), Failure> {
    let overrides = Overrides {
        config: cli.global.config,
        db: cli.global.db,
        policies: cli.global.policies,
    };
    match cli.command {
        Command::Init(args) => init::init(&args, output),
        Command::Demo(args) => crate::demo::demo(&args, &overrides, output).await,
        Command::Doctor => doctor::doctor(&overrides, output).await,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "perennial", &mut script);
            output.line(String::from_utf8_lossy(&script).trim_end());
            Ok(())
        }
        Command::Sandbox(args) => sandbox::sandbox(&args, &overrides, output).await,
        Command::Import(args) => import::import(&config(&overrides)?, &args, output).await,
        Command::Pull(args) => pull::run(&config(&overrides)?, &args, output).await,
        Command::Sync(args) => sync::run(&config(&overrides)?, &args, output).await,
        Command::Listen(args) => listen::listen(&config(&overrides)?, &args, output).await,
        Command::Run(args) => run::run(&config(&overrides)?, &args, output).await,
        Command::Worker(args) => worker::worker(&config(&overrides)?, &args, output).await,
        Command::Stop(args) => stop::stop(&config(&overrides)?, &args, output).await,
        Command::Resume(args) => stop::resume(&config(&overrides)?, &args, output).await,
        Command::Rank(args) => rank::ranked(&config(&overrides)?, &args, output).await,
        Command::Queue(command) => people_queue::queue(&config(&overrides)?, command, output).await,
        Command::Plays(args) => plays::plays(&config(&overrides)?, &args, output).await,
        Command::Play(command) => plays::play(&config(&overrides)?, &command, output).await,
        Command::Account(command) => account::account(&config(&overrides)?, command, output).await,
        Command::Coverage(args) => coverage::coverage(&config(&overrides)?, &args, output).await,
        Command::Signals(args) => signals::signals(&config(&overrides)?, &args, output).await,
        Command::Explain { action } => card::explain(&config(&overrides)?, &action, output).await,
        Command::Policy(command) => policy::policy(&config(&overrides)?, command, output).await,
        Command::Autonomy(args) => autonomy::autonomy(&config(&overrides)?, &args, output).await,
        Command::Undo(args) => undo::undo(&config(&overrides)?, &args, output).await,
        Command::Audit(command) => audit::audit(&config(&overrides)?, command, output).await,
        Command::Measure(command) => measure::measure(&config(&overrides)?, command, output).await,
        Command::Replay { id } => replay::replay(&config(&overrides)?, &id, output).await,
        Command::Holdout(command) => holdout::holdout(&config(&overrides)?, command, output).await,
        Command::Db(command) => database::db(&config(&overrides)?, &command, output).await,
    }
}

fn config(overrides: &Overrides) -> Result<Config, Failure> {
    Ok(Config::load(overrides)?)
}

/// The command line as clap knows it, for the generated reference.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}
