//! Two local HTTP servers that behave like Salesforce REST v68.0 and HubSpot 2026-09, for the demo and the tests.
//!
//! They answer the part of both APIs that Perennial's adapters use, keep their state in memory, check what they are
//! sent as strictly as the vendors do, keep a history of every record, and show it all on a page for people.
//!
//! Promises: only the loopback address is served; the same requests at the same clock give the same state; faults, lag and
//! mutations happen only when asked for. Does not: store anything on disk, run triggers, or model sharing. Where the
//! vendor's behaviour is not documented, the code says "unverified".

mod control;
mod custom;
mod fault;
mod hubspot;
mod limits;
mod mutation;
mod page;
mod record;
mod salesforce;
mod seed;
mod serve;
pub mod signature;
mod switches;
mod token;
mod webhook;
mod wire;
mod world;

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use custom::{Access, CustomField, CustomObject, FieldKind, Rule};
pub use fault::{Chance, Chances, Fault, FaultKind, RouteMatch};
pub use limits::{Clock, Enforcement, Limits};
pub use mutation::{Mutation, Owed};
pub use record::{Association, CallLine, Change, ChangeKind, FieldChange, Record, System};
pub use seed::{Seed, SeedAssociation, SeedRecord};
pub use switches::RuleError;
pub use token::{App, TokenRule};
pub use webhook::{Delivery, Webhooks};

use serve::{Server, lock};
use wire::{Cut, CuttingListener};
use world::{Author, World};

/// How long [`Sandbox::shutdown`] waits for requests that are being answered.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(2);

/// How to start the servers.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Port of the Salesforce server; 0 takes any free one.
    pub salesforce_port: u16,
    /// Port of the HubSpot server; 0 takes any free one.
    pub hubspot_port: u16,
    /// Records that exist at the start.
    pub seed: Seed,
    /// Where the servers take the time from.
    pub clock: Clock,
    /// The bearer tokens of Salesforce and HubSpot; made up when absent.
    pub token: Option<(String, String)>,
    /// Custom objects and fields, which the seed may already use.
    pub custom: Vec<(System, CustomObject)>,
}

/// Where one server listens and what it wants to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Such as `http://127.0.0.1:8101`, without a trailing slash.
    pub url: String,
    /// The bearer token of API requests.
    pub token: String,
}

/// Why the servers did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another program listens there.
    #[error(
        "port {port} for the {system} sandbox is taken; stop the program that uses it, or choose another port (0 takes any free one)"
    )]
    PortTaken {
        /// The server that wanted the port.
        system: System,
        /// The port.
        port: u16,
    },
    /// The system does not let us listen.
    #[error("cannot listen on port {port} for the {system} sandbox")]
    Listen {
        /// The server that wanted the port.
        system: System,
        /// The port.
        port: u16,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A custom object or field cannot be there.
    #[error("{system} custom object {position} (`{object}`): {message}")]
    Custom {
        /// The CRM.
        system: System,
        /// Position in the list, from 1.
        position: usize,
        /// The object named.
        object: String,
        /// What is wrong.
        message: String,
    },
    /// A record of the seed would be refused by the vendor.
    #[error("{system} seed record {position} (`{object}`): {message}")]
    Seed {
        /// The half of the seed.
        system: System,
        /// Position in the list, from 1.
        position: usize,
        /// The object named.
        object: String,
        /// What is wrong.
        message: String,
    },
}

/// Why [`Sandbox::edit`] changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{system} `{object}` `{id}`: {message}")]
pub struct EditError {
    /// The CRM.
    pub system: System,
    /// The object named.
    pub object: String,
    /// The record named.
    pub id: String,
    /// What is wrong.
    pub message: String,
}

/// The running servers. Dropping it stops them.
#[derive(Debug)]
pub struct Sandbox {
    world: Arc<Mutex<World>>,
    salesforce: Address,
    hubspot: Address,
    stop: watch::Sender<()>,
    servers: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("World")
            .field("changes", &self.changes().len())
            .finish_non_exhaustive()
    }
}

impl Sandbox {
    /// Loads the seed and starts both servers. Must run inside a tokio runtime.
    pub async fn start(options: Options) -> Result<Sandbox, StartError> {
        let mut world = World::new(options.clock);
        for (position, (system, custom)) in options.custom.iter().enumerate() {
            let taken = match system {
                System::Salesforce => salesforce::extend(&mut world, custom),
                System::Hubspot => hubspot::extend(&mut world, custom),
            };
            taken.map_err(|message| StartError::Custom {
                system: *system,
                position: position + 1,
                object: custom.name.clone(),
                message,
            })?;
        }
        load(&mut world, System::Salesforce, &options.seed.salesforce)?;
        load(&mut world, System::Hubspot, &options.seed.hubspot)?;
        let world = Arc::new(Mutex::new(world));

        let (salesforce_listener, salesforce_url) = listen(System::Salesforce, options.salesforce_port).await?;
        let (hubspot_listener, hubspot_url) = listen(System::Hubspot, options.hubspot_port).await?;
        let (salesforce_token, hubspot_token) = options
            .token
            .unwrap_or_else(|| (made_up("sandbox-salesforce"), made_up("sandbox-hubspot")));
        let salesforce = Address {
            url: salesforce_url,
            token: salesforce_token,
        };
        let hubspot = Address {
            url: hubspot_url,
            token: hubspot_token,
        };

        {
            let mut world = lock(&world);
            world.salesforce_tokens.start(&salesforce.token);
            world.hubspot_tokens.start(&hubspot.token);
        }
        let (stop, stopped) = watch::channel(());
        let server = |system, own: &Address, other: &Address| Server {
            system,
            world: world.clone(),
            base_url: own.url.as_str().into(),
            other_url: other.url.as_str().into(),
        };
        let servers = vec![
            serve_on(
                salesforce_listener,
                server(System::Salesforce, &salesforce, &hubspot),
                stopped.clone(),
            ),
            serve_on(
                hubspot_listener,
                server(System::Hubspot, &hubspot, &salesforce),
                stopped,
            ),
        ];
        tracing::info!(salesforce = salesforce.url, hubspot = hubspot.url, "sandbox is up");
        Ok(Sandbox {
            world,
            salesforce,
            hubspot,
            stop,
            servers,
        })
    }

    /// Where the Salesforce server is.
    pub fn salesforce(&self) -> &Address {
        &self.salesforce
    }

    /// Where the HubSpot server is.
    pub fn hubspot(&self) -> &Address {
        &self.hubspot
    }

    /// Stops both servers and waits, within bounds, for requests that are being answered.
    pub async fn shutdown(mut self) {
        let _ = self.stop.send(());
        for server in std::mem::take(&mut self.servers) {
            let abort = server.abort_handle();
            if tokio::time::timeout(SHUTDOWN_WAIT, server).await.is_err() {
                abort.abort();
            }
        }
    }

    /// The living records of an object, by id. Empty when there is no such object.
    pub fn records(&self, system: System, object: &str) -> Vec<Record> {
        let world = lock(&self.world);
        let Some(table) = world.crm(system).table(object) else {
            return Vec::new();
        };
        table.after(None).map(|(id, row)| world.record(id, row)).collect()
    }

    /// One living record.
    pub fn record(&self, system: System, object: &str, id: &str) -> Option<Record> {
        let world = lock(&self.world);
        world.crm(system).row(object, id).map(|row| world.record(id, row))
    }

    /// All writes since the start, in order. Seeding is not a write.
    pub fn changes(&self) -> Vec<Change> {
        lock(&self.world).changes().to_vec()
    }

    /// The latest answered API requests, oldest first.
    pub fn calls(&self) -> Vec<CallLine> {
        lock(&self.world).calls.clone()
    }

    /// Adds a fault behind those that are waiting.
    pub fn inject(&self, fault: Fault) {
        if fault.times == 0 {
            return;
        }
        let mut world = lock(&self.world);
        if world.faults.len() >= fault::FAULTS_MAX {
            world.faults.remove(0);
        }
        world.faults.push(fault);
    }

    /// Forgets all faults that have not happened yet.
    pub fn clear_faults(&self) {
        lock(&self.world).faults.clear();
    }

    /// Changes the vendors' budgets. Requests already counted stay counted.
    pub fn set_limits(&self, limits: Limits) {
        lock(&self.world).limits = limits;
    }

    /// Changes the time.
    pub fn set_clock(&self, clock: Clock) {
        lock(&self.world).clock = clock;
    }

    /// Locks or unlocks a record. Answers whether there is such a record.
    pub fn set_locked(&self, system: System, object: &str, id: &str, locked: bool) -> bool {
        lock(&self.world).crm_mut(system).set_locked(object, id, locked)
    }

    /// Defines a label for HubSpot associations between two types of records; answers its number in this direction, or nothing where it
    /// cannot be defined.
    pub fn define_label(&self, from: &str, to: &str, label: &str) -> Option<u32> {
        hubspot::define_label(&mut lock(&self.world), from, to, label)
    }

    /// Labels of the association of two HubSpot records, each as type and id; nothing where they are not associated.
    pub fn labels(&self, from: (&str, &str), to: (&str, &str)) -> Option<Vec<&'static str>> {
        hubspot::labels_of(&lock(&self.world), from, to)
    }

    /// Gives the association of two HubSpot records exactly these labels, as a person would, and makes it where there is none.
    pub fn set_labels(&self, from: (&str, &str), to: (&str, &str), labels: &[&str], by: &str) -> Result<(), EditError> {
        let author = Author {
            by: by.to_owned(),
            marker: None,
        };
        let done = hubspot::set_labels(&mut lock(&self.world), from, to, labels, &author);
        done.map_err(|message| EditError {
            system: System::Hubspot,
            object: from.0.to_owned(),
            id: from.1.to_owned(),
            message,
        })
    }

    /// Writes fields as a person in the CRM would, with the vendor's checks but without a request. Null clears.
    pub fn edit(
        &self,
        system: System,
        object: &str,
        id: &str,
        fields: BTreeMap<String, Value>,
        by: &str,
    ) -> Result<(), EditError> {
        let mut world = lock(&self.world);
        let author = Author {
            by: by.to_owned(),
            marker: None,
        };
        let done = match system {
            System::Salesforce => salesforce::edit(&mut world, object, id, fields, author),
            System::Hubspot => hubspot::edit(&mut world, object, id, fields, author),
        };
        done.map_err(|message| EditError {
            system,
            object: object.to_owned(),
            id: id.to_owned(),
            message,
        })
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.stop.send(());
        for server in &self.servers {
            server.abort();
        }
    }
}

fn load(world: &mut World, system: System, records: &[SeedRecord]) -> Result<(), StartError> {
    let failed = |position: usize, message: String| StartError::Seed {
        system,
        position: position + 1,
        object: records
            .get(position)
            .map(|record| record.object.clone())
            .unwrap_or_default(),
        message,
    };
    let mut ids = Vec::with_capacity(records.len());
    for (position, record) in records.iter().enumerate() {
        let loaded = match system {
            System::Salesforce => salesforce::seed(world, record),
            System::Hubspot => hubspot::seed(world, record),
        };
        ids.push(loaded.map_err(|message| failed(position, message))?);
    }
    // References only after every record is in place, so that the order of the seed does not matter.
    for (position, (record, id)) in records.iter().zip(&ids).enumerate() {
        let tied = match system {
            System::Salesforce => salesforce::seed_references(world, record, id),
            System::Hubspot => hubspot::seed_associations(world, record, id),
        };
        tied.map_err(|message| failed(position, message))?;
    }
    Ok(())
}

async fn listen(system: System, port: u16) -> Result<(TcpListener, String), StartError> {
    let failed = |source: io::Error| {
        if source.kind() == io::ErrorKind::AddrInUse {
            return StartError::PortTaken { system, port };
        }
        StartError::Listen { system, port, source }
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(failed)?;
    let url = listener
        .local_addr()
        .map(|address| format!("http://{address}"))
        .map_err(failed)?;
    Ok((listener, url))
}

fn serve_on(listener: TcpListener, server: Server, mut stopped: watch::Receiver<()>) -> JoinHandle<()> {
    let router = Router::new().fallback(serve::answer).with_state(server);
    let service = router.into_make_service_with_connect_info::<Cut>();
    let running = axum::serve(CuttingListener(listener), service).with_graceful_shutdown(async move {
        // An error means that the sender is gone, which is the same wish.
        let _ = stopped.changed().await;
    });
    tokio::spawn(async move {
        if let Err(source) = running.await {
            tracing::error!(%source, "sandbox server ended");
        }
    })
}

/// A token nobody can guess from outside this process. The standard hasher is seeded by the system.
fn made_up(prefix: &str) -> String {
    let part = || RandomState::new().build_hasher().finish();
    format!("{prefix}-{:016x}{:016x}", part(), part())
}
