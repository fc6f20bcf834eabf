//! The engine of Perennial: it reads, calls the mind, commits, and lets the hands act. It makes no choices of its own.

pub mod bundles;
mod calls;
pub mod changes;
pub mod cli;
pub mod clock;
pub mod config;
pub mod content;
pub mod cycle;
pub mod demo;
pub mod dispatch;
pub mod earned;
pub mod events;
pub mod families;
pub mod history;
pub mod holdout;
pub mod intake;
mod limits;
pub mod measure;
mod meters;
pub mod people;
pub mod plays;
pub mod probes;
pub mod queue;
pub mod ranking;
pub mod reading;
pub mod simulate;
pub mod stopping;
mod tokens;
pub mod walk;
pub mod webhooks;
pub mod whatif;
pub mod worker;

pub use calls::{CallsLeft, StoreBudget};
pub use tokens::{NotAKey, StoreTokens, TokenKey};

/// The mind makes and drops many small texts: this allocator is made for that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
