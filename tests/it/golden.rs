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

use std::collections::BTreeMap;
use std::path::PathBuf;

use perennial_tests::{root, skipped};

/// Prints `file#number: reason` lines by reason, with the numbers of each file behind it.
fn grouped(word: &str, lines: &[String]) {
    let mut reasons: BTreeMap<&str, BTreeMap<&str, Vec<&str>>> = BTreeMap::new();
    for line in lines {
        let (source, reason) = line.split_once(": ").unwrap_or((line, ""));
        let (file, number) = source.split_once('#').unwrap_or((source, ""));
        reasons.entry(reason).or_default().entry(file).or_default().push(number);
    }
    for (reason, files) in reasons {
        let count: usize = files.values().map(Vec::len).sum();
        println!("  {word}, {count}: {reason}");
        for (file, numbers) in files {
            println!("    {file} {}", numbers.join(" "));
        }
    }
}

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
