//! Measurements that say how well the engine's choices do, on made-up worlds where the truth is known. They read nothing
//! of the database and change nothing.

pub mod rank;
