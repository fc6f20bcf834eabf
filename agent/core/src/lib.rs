//! The mind of Perennial: every choice the engine makes, as plain functions.
//!
//! Promises: no async, no clock, no randomness, no files, no network, no SQL. Time, seeds and ids come in as
//! arguments; the same inputs give the same bytes on every machine.
//!
//! Deliberately not here: reading facts, writing to a CRM, storing anything. Those live in `agent`, `agent/store` and
//! `tools`, which make no choices of their own.

pub mod action;
pub mod approval;
pub mod ids;
pub mod money;
pub mod number;
pub mod replay;
pub mod signal;
pub mod time;
