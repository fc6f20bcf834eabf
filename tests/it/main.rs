//! One integration binary.

#![allow(clippy::unwrap_used, missing_docs)]

mod account;
mod approvals;
mod architecture;
mod backup;
mod bad_input;
mod bundles;
mod content;
#[cfg(unix)]
mod crash;
mod crm_batches;
mod crm_converge;
mod crm_people;
mod crm_read;
mod crm_sync;
mod crms;
mod detect;
mod docs;
mod earned;
mod economy;
mod events;
mod explore;
mod fit;
mod gate;
mod golden;
mod history;
mod holdout;
mod leases;
mod mutation;
mod pictures;
mod pipeline;
mod plays;
mod policy;
mod prove;
mod ravenstack;
mod scores;
mod sequences;
mod sources;
mod upgrade;
mod watch;
#[cfg(unix)]
mod workers;
mod world;
mod year;

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_perennial-under-test");
