//! Measurements over the whole book: they read, and write nothing.

pub mod backtest;
