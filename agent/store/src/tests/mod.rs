//! Every test here runs on SQLite in a temporary file, and on PostgreSQL where `PERENNIAL_TEST_PG` names a server.

mod asked;
mod bed;
mod crm;
mod decisions;
mod effects;
mod events;
mod health;
mod limits;
mod plays;
mod promotions;
mod races;
mod schema;
mod signals;
mod tenants;
mod workers;

pub(crate) use bed::{Bed, both};
