//! The mind of Perennial: every choice the engine makes, as plain functions.
//!
//! Promises: no async, no clock, no randomness, no files, no network, no SQL. Time, seeds and ids come in as
//! arguments; the same inputs give the same bytes on every machine.
//!
//! Deliberately not here: reading facts, writing to a CRM, storing anything. Those live in `agent`, `agent/store` and
//! `tools`, which make no choices of their own.

pub mod action;
pub mod approval;
pub mod backtest;
pub mod bandit;
pub mod candidate;
pub mod decide;
pub mod detect;
mod document;
pub mod draft;
pub mod draw;
pub mod earned;
pub mod effect;
pub mod explore;
pub mod feature;
pub mod fit;
pub mod holdout;
pub mod ids;
pub mod money;
pub mod number;
pub mod ope;
pub mod play;
pub mod policy;
pub mod rank;
pub mod replay;
pub mod score;
pub mod signal;
pub mod snapshot;
pub mod stop;
pub mod time;
pub mod word;
