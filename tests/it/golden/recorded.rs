//! Reads the recordings: YAML cassettes, JSON exchanges, bare bodies.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

/// One recorded request with its answer.
#[derive(Debug, Clone)]
pub(super) struct Exchange {
    /// File, and the position in it.
    pub(super) source: String,
    pub(super) method: String,
    /// Path with query, percent-encoded as recorded.
    pub(super) path: String,
    pub(super) request: Option<String>,
    pub(super) status: u16,
    /// Whether the status is the vendor's own.
    pub(super) has_vendor_status: bool,
    /// The body; nothing for what was built from a template.
    pub(super) body: Option<String>,
}

fn files(folder: &Path, ending: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|own| own == ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

/// Every distinct exchange of the Salesforce cassettes, and how many there are in all.
pub(super) fn cassettes(folder: &Path) -> (Vec<Exchange>, usize) {
    let mut seen = BTreeSet::new();
    let (mut all, mut count) = (Vec::new(), 0);
    for path in files(&folder.join("sf-cumulusci-vcr"), "yaml") {
        let text = std::fs::read_to_string(&path).unwrap();
        // One cassette was edited by hand and holds two answers under one key; the last is the whole one.
        let options = serde_saphyr::options! { duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins };
        let read = serde_saphyr::from_str_with_options(&text, options);
        let file: Value = read.unwrap_or_else(|source| panic!("{}: {source}", path.display()));
        let single = vec![file.clone()];
        let interactions = file["interactions"].as_array().unwrap_or(&single);
        for (at, one) in interactions.iter().enumerate() {
            // An included file is read as a file of its own.
            if one.get("include_file").is_some() {
                continue;
            }
            count += 1;
            let uri = one["request"]["uri"].as_str().unwrap();
            let body = match &one["response"]["body"] {
                Value::String(text) => Some(text.clone()),
                other => other["string"].as_str().map(str::to_owned),
            };
            let exchange = Exchange {
                source: format!("{}#{}", name(&path), at + 1),
                method: one["request"]["method"].as_str().unwrap().to_owned(),
                path: uri.split_once(".com").unwrap().1.to_owned(),
                request: one["request"]["body"].as_str().map(str::to_owned),
                status: u16::try_from(one["response"]["status"]["code"].as_u64().unwrap()).unwrap(),
                has_vendor_status: true,
                body,
            };
            let key = (
                exchange.method.clone(),
                exchange.path.clone(),
                exchange.request.clone(),
                exchange.body.clone(),
            );
            if seen.insert(key) {
                all.push(exchange);
            }
        }
    }
    (all, count)
}

/// The HubSpot exchanges.
pub(super) fn hubspot(folder: &Path) -> Vec<Exchange> {
    let mut all = Vec::new();
    for path in files(&folder.join("hs-recorded"), "json") {
        let file: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        for (at, one) in file.iter().enumerate() {
            let params = one["request"]["params"].as_object();
            let query: Vec<String> = params
                .into_iter()
                .flatten()
                .map(|(key, value)| format!("{key}={}", value.as_str().unwrap()))
                .collect();
            let bare = one["path"].as_str().unwrap();
            let path_and_query = if query.is_empty() {
                bare.to_owned()
            } else {
                format!("{bare}?{}", query.join("&"))
            };
            let headers = one["headers"].as_object().unwrap();
            all.push(Exchange {
                source: format!("{}#{}", name(&path), at + 1),
                method: one["method"].as_str().unwrap().to_owned(),
                path: path_and_query,
                request: one["request"].get("data").map(Value::to_string),
                status: u16::try_from(one["status"].as_u64().unwrap()).unwrap(),
                has_vendor_status: headers.keys().any(|key| key.starts_with("x-hubspot-")),
                body: match &one["response"] {
                    Value::String(text) if text.is_empty() => None,
                    other => Some(uncut(other).to_string()),
                },
            });
        }
    }
    all
}

/// The answer without the row by which whoever kept it marks a list that they cut.
fn uncut(response: &Value) -> Value {
    let mut response = response.clone();
    if let Some(rows) = response.get_mut("results").and_then(Value::as_array_mut) {
        rows.retain(|row| row.get("__truncated_from__").is_none());
    }
    response
}

/// The bare bodies: file name and text.
pub(super) fn fixtures(folder: &Path) -> Vec<(String, String)> {
    files(&folder.join("sf-restforce-fixtures"), "json")
        .iter()
        .map(|path| (name(path), std::fs::read_to_string(path).unwrap()))
        .collect()
}
