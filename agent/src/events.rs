//! Events of the product that customers use, received over HTTP and counted into facts of a day.
//!
//! The address speaks the tracking interface that product analytics libraries speak: `POST /v1/track`, `/v1/identify`,
//! `/v1/group`, `/v1/page`, `/v1/screen` and `/v1/batch`. A mapping says which account an event belongs to, what makes
//! a person an active user, and which events are use of which feature.
//!
//! Promises: an event is acknowledged only after it is stored; a message counts once, whoever delivers it how often; a
//! late event changes the day on which it happened; memory is bounded, and a full queue says so with 429; what is
//! refused is named in the answer and written to a file. No id of a person and no trait is kept, only keyed hashes.
//!
//! INVARIANT (acknowledged means stored): the only way to an answer of success leads through [`writer`], which answers
//! after its transaction.
//!
//! Deliberately not here: SQL, and choices about what use means.

mod fold;
mod mapping;
mod message;
mod refused;
mod server;
mod writer;

#[cfg(test)]
mod tests;

pub use mapping::EventMapping;
pub use server::{EventsError, ListenOptions, Listening, Received};
