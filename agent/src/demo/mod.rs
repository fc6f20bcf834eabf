//! The demo: a made-up portfolio of customers, local CRMs, a fixed clock, and the main job from import to drafts.

pub mod crm_file;
pub mod portfolio;
mod story;

use std::path::{Path, PathBuf};

use clap::Args;
use perennial_core::ids::TenantId;
use perennial_core::signal::Crm;
use perennial_core::time::Timestamp;
use perennial_sandbox::{Address, Clock as SandboxClock, Options, Sandbox, System};
use perennial_store::{DatabaseUrl, QueueFilter, Store};
use tokio::sync::watch;

use crate::cli::{Failure, Output};
use crate::config::{Config, Limits, Overrides};
use crate::cycle::{Engine, RunOptions, RunReport, run_once};
use crate::intake::{ImportError, ImportOptions, ImportReport, Mapping, import};
use portfolio::{PortfolioOptions, Summary};

/// Options of `perennial demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Number of accounts
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub accounts: u32,
    /// Folder for everything the demo makes; an earlier demo in it is replaced
    #[arg(long, default_value = "perennial-demo")]
    pub dir: PathBuf,
    /// Keep the CRM servers running at the end, to look at their pages
    #[arg(long)]
    pub stay: bool,
}

/// File that marks a folder as the demo's own.
const MARK: &str = ".perennial-demo";
/// The mapping of the made-up files.
const MAPPING: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/mappings/demo.toml"));
/// Actions that the demo's summary reads at most.
const ACTIONS_READ: u32 = 20_000;
/// Documents written as files at most.
const DOCUMENTS_WRITTEN: usize = 50;

/// Everything the story is told from.
pub(crate) struct Told {
    pub(crate) dir: PathBuf,
    pub(crate) summary: Summary,
    pub(crate) imported: ImportReport,
    pub(crate) run: RunReport,
    pub(crate) actions: Vec<perennial_store::ActionRow>,
    pub(crate) effects: Vec<perennial_store::EffectRow>,
    pub(crate) documents: Vec<PathBuf>,
    pub(crate) named: perennial_core::policy::gate::Vocabulary,
    pub(crate) people: std::collections::BTreeMap<String, perennial_core::signal::Owner>,
    pub(crate) crms: [(Crm, Address); 2],
}

/// Makes the portfolio, imports it, runs once against local CRMs, and tells what happened.
///
/// # Errors
/// Says what could not be written, started or read.
pub async fn demo(args: &DemoArgs, overrides: &Overrides, output: &Output) -> Result<(), Failure> {
    // Nothing half done: whatever the demo refuses, it refuses before it writes.
    ours(&args.dir)?;
    if let Some(database) = Config::given_database(overrides)? {
        refuse_accounts(&database, &args.dir).await?;
    }
    fresh(&args.dir)?;
    let options = PortfolioOptions {
        accounts: args.accounts,
        ..PortfolioOptions::default()
    };
    let now = Timestamp::from_us(options.as_of.start().us() + 8 * 3_600_000_000);
    let data = args.dir.join("data");
    make_dir(&data)?;
    let summary = portfolio::write_csv(&options, &data).map_err(Failure::failed)?;
    write(&args.dir.join("mapping.toml"), MAPPING)?;
    let at = jiff::Timestamp::from_microsecond(now.us()).map_err(Failure::failed)?;
    let running = Sandbox::start(Options {
        salesforce_port: 0,
        hubspot_port: 0,
        seed: portfolio::crm_seed(&options),
        clock: SandboxClock::Fixed(at),
        ..Options::default()
    })
    .await
    .map_err(crate::cli::sandbox_started)?;
    running.set_limits(perennial_sandbox::Limits {
        salesforce_daily: 5_000_000,
        ..perennial_sandbox::Limits::default()
    });
    let config_file = args.dir.join("perennial.toml");
    write(&config_file, &configuration(now, &running))?;
    secret(&args.dir.join("salesforce.token"), &running.salesforce().token)?;
    secret(&args.dir.join("hubspot.token"), &running.hubspot().token)?;
    let config = Config::load(&Overrides {
        config: Some(config_file),
        db: overrides.db.clone(),
        policies: overrides.policies.clone(),
    })?;
    let store = empty_store(&config).await?;
    let told = main_job(args, &config, &store, &running, summary, now).await?;
    crm_file::write(
        &args.dir.join("crm.json"),
        &running,
        System::Salesforce,
        System::Hubspot,
    )
    .map_err(Failure::failed)?;
    story::tell(&told, args.stay, output);
    if args.stay {
        let mut stop = crate::cli::stop_signal();
        // The channel closes only when the signal task ends, which is a stop too.
        let _ = stop.changed().await;
        crm_file::write(
            &args.dir.join("crm.json"),
            &running,
            System::Salesforce,
            System::Hubspot,
        )
        .map_err(Failure::failed)?;
    }
    store.close().await;
    running.shutdown().await;
    Ok(())
}

async fn main_job(
    args: &DemoArgs,
    config: &Config,
    store: &Store,
    running: &Sandbox,
    summary: Summary,
    now: Timestamp,
) -> Result<Told, Failure> {
    let mapping =
        Mapping::load(&args.dir.join("mapping.toml")).map_err(|problems| ImportError::NotReady { problems })?;
    let import_options = ImportOptions::new(args.dir.clone());
    let imported = import(store, &args.dir.join("data"), &mapping, &import_options, |_| {}).await?;
    let tools = config.tools_of(store).map_err(Failure::input)?;
    let (_keep, stop) = watch::channel(false);
    let engine = Engine {
        config,
        store,
        tools: &tools,
        stop,
    };
    let run = run_once(
        &engine,
        &RunOptions {
            as_of: now,
            live: false,
            dry_run: false,
        },
        &mut |_| {},
    )
    .await?;
    let filter = QueueFilter {
        limit: ACTIONS_READ,
        ..QueueFilter::default()
    };
    let actions = store.queue(&filter).await?;
    let documents = write_documents(store, &actions, &args.dir.join("drafts")).await?;
    let mut effects = Vec::new();
    for action in actions.iter().filter(|a| a.verdict == "auto").take(100) {
        effects.extend(store.effects_of(&action.id).await?);
    }
    let people = perennial_core::snapshot::Portfolio::of(now, store.portfolio_signals().await?).owners;
    Ok(Told {
        dir: args.dir.clone(),
        summary,
        imported,
        run,
        actions,
        effects,
        documents,
        named: crate::content::vocabulary(config).map_err(Failure::failed)?,
        people,
        crms: [
            (Crm::Salesforce, running.salesforce().clone()),
            (Crm::HubSpot, running.hubspot().clone()),
        ],
    })
}

/// A folder of our own: made, or emptied when an earlier demo made it. Anything else is left alone.
fn fresh(dir: &Path) -> Result<(), Failure> {
    if dir.join(MARK).exists() {
        std::fs::remove_dir_all(dir).map_err(|e| unwritable(dir, &e))?;
    }
    make_dir(dir)?;
    write(
        &dir.join(MARK),
        "Made by `perennial demo`, which may delete this folder.\n",
    )
}

/// Refuses a folder that holds what no demo made.
fn ours(dir: &Path) -> Result<(), Failure> {
    let empty = !dir.exists()
        || std::fs::read_dir(dir)
            .map_err(|e| unwritable(dir, &e))?
            .next()
            .is_none();
    if empty || dir.join(MARK).exists() {
        return Ok(());
    }
    let text = format!(
        "`{}` exists and is not a demo's folder: choose another with --dir",
        dir.display()
    );
    Err(Failure::input(text))
}

/// Refuses a database that holds accounts. One that lies in the demo's own folder goes with the folder.
async fn refuse_accounts(database: &DatabaseUrl, dir: &Path) -> Result<(), Failure> {
    if let DatabaseUrl::Sqlite(path) = database
        && (!path.exists() || path.starts_with(dir))
    {
        return Ok(());
    }
    let store = Store::open(database, TenantId::DEFAULT, &Limits::default().store()).await?;
    no_accounts(&store).await?;
    store.close().await;
    Ok(())
}

async fn no_accounts(store: &Store) -> Result<(), Failure> {
    if store.schema_version().await? == 0 || store.account_ids(None, 1).await?.is_empty() {
        return Ok(());
    }
    Err(Failure::input(
        "the demo refuses a database that holds accounts: give an empty one, or leave --db out",
    ))
}

/// The demo never touches a database that holds something.
async fn empty_store(config: &Config) -> Result<Store, Failure> {
    let store = Store::open(&config.database, config.tenant, &config.limits.store()).await?;
    no_accounts(&store).await?;
    store.migrate().await?;
    Ok(store)
}

fn configuration(now: Timestamp, running: &Sandbox) -> String {
    format!(
        "# Made by `perennial demo`. The clock stands still between commands, the CRMs are servers on this machine.\n\
         clock = \"{now}\"\nour_name = \"Perennial Demo Ltd\"\n\n\
         [crm]\ndefault = \"salesforce\"\n\n\
         [salesforce]\nbase_url = \"{}\"\ntoken_file = \"salesforce.token\"\n\n\
         [hubspot]\nbase_url = \"{}\"\ntoken_file = \"hubspot.token\"\n",
        running.salesforce().url,
        running.hubspot().url
    )
}

async fn write_documents(
    store: &Store,
    actions: &[perennial_store::ActionRow],
    dir: &Path,
) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for action in actions {
        if files.len() >= DOCUMENTS_WRITTEN {
            break;
        }
        for draft in store.drafts_of(&action.id).await? {
            make_dir(dir)?;
            let name = format!(
                "{}-{}.{}",
                draft.kind.replace('_', "-"),
                file_word(action.account.as_str()),
                draft.format
            );
            let path = dir.join(name);
            write(&path, &draft.text)?;
            if draft.format == "html" {
                files.push(path);
            }
        }
    }
    Ok(files)
}

/// An id as part of a file name.
fn file_word(id: &str) -> String {
    id.chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' })
        .collect()
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!(
        "`{}` cannot be written: {error}; choose another folder with --dir",
        path.display()
    ))
}

fn make_dir(path: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(path).map_err(|e| unwritable(path, &e))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|e| unwritable(path, &e))
}

/// A file that only its owner may read.
fn secret(path: &Path, text: &str) -> Result<(), Failure> {
    write(path, text)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(|e| unwritable(path, &e))?;
    }
    Ok(())
}
