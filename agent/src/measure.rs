//! Measurements: over the whole book, and on made-up worlds where the truth is known. They read, and write nothing.

pub mod backtest;
pub mod coldstart;
pub mod detect;
pub mod effects;
pub mod ope;
pub mod rank;
