//! Tests over the shipped templates and cases, and over small templates that are wrong on purpose.

mod cases;
mod grounding;
mod lint;
mod values;

use std::collections::BTreeMap;
use std::path::Path;

use super::*;

/// The content folder as the engine reads it: path inside the folder, text.
fn content() -> BTreeMap<String, String> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../prompts"));
    let mut files = BTreeMap::new();
    for folder in ["", "partials"] {
        for entry in std::fs::read_dir(root.join(folder)).expect("the content folder is there") {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                let name = path.strip_prefix(root).expect("inside").to_string_lossy().into_owned();
                files.insert(name, std::fs::read_to_string(&path).expect("text"));
            }
        }
    }
    files
}

fn templates() -> Templates {
    match Templates::compile(&content()) {
        Ok(templates) => templates,
        Err(problems) => panic!(
            "{}",
            problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        ),
    }
}

/// A case of the content folder.
fn case(name: &str) -> DraftInput {
    let path = format!("{}/../../prompts/cases/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("the case is there");
    serde_json::from_str(&text).expect("the case is an input")
}
