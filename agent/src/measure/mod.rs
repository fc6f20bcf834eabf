//! Measurements of the methods on histories whose truth is known. They read no database and change nothing.

pub mod detect;
