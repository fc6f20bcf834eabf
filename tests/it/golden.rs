//! Golden decode: every recorded body goes through the adapters' wire types and back without losing a key, and every
//! recorded request asked of the sandbox is answered with the same status, keys and JSON types.
//!
//! The recordings lie outside of the project, under `$PERENNIAL_SHARED/crm`; without them the tests say so and stop. What
//! does not match is counted and explained by name; anything else fails.

mod decode;
mod recorded;
mod replay;
mod shape;
mod signature;

use std::path::PathBuf;

use perennial_tests::{root, skipped};

/// The folder of the recordings, or nothing, said aloud.
fn folder(test: &str) -> Option<PathBuf> {
    let shared = std::env::var_os("PERENNIAL_SHARED").map_or_else(|| root().join("../shared"), PathBuf::from);
    let folder = shared.join("crm");
    if folder.join("hs-recorded").is_dir() {
        return Some(folder);
    }
    skipped(test, &format!("no recordings at {}", folder.display()));
    None
}
