//! Records of the sandbox in a file, so that it can be started again where it was.

use std::collections::BTreeMap;
use std::path::Path;

use perennial_sandbox::{Sandbox, Seed, SeedAssociation, SeedRecord, System};
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    salesforce: Vec<Line>,
    hubspot: Vec<Line>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    object: String,
    id: String,
    fields: BTreeMap<String, Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    associations: Vec<(String, String)>,
}

/// Why records could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CrmFileError {
    /// The file cannot be read or written.
    #[error("`{path}` cannot be read or written: {source}")]
    Io {
        /// File.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is not what `demo` writes.
    #[error("`{path}` holds no records: name a file that `perennial demo` or `perennial sandbox` wrote")]
    Content {
        /// File.
        path: String,
        /// Where it is wrong.
        #[source]
        source: serde_json::Error,
    },
}

/// Objects that are kept. Users and the organisation are built into the sandbox.
const SALESFORCE: &[&str] = &["Account", "Contact", "Opportunity", "Task", "Case", "Contract", "Note"];
const HUBSPOT: &[&str] = &["companies", "contacts", "deals", "tickets", "notes", "tasks"];

/// Writes all records of a running sandbox.
///
/// # Errors
/// [`CrmFileError`].
pub fn write(path: &Path, running: &Sandbox, salesforce: System, hubspot: System) -> Result<(), CrmFileError> {
    let lines = |system: System, objects: &[&str]| -> Vec<Line> {
        objects
            .iter()
            .flat_map(|object| {
                running.records(system, object).into_iter().map(|r| Line {
                    object: (*object).to_owned(),
                    id: r.id,
                    fields: r.fields,
                    associations: r.associations.into_iter().map(|a| (a.object, a.id)).collect(),
                })
            })
            .collect()
    };
    let file = File {
        salesforce: lines(salesforce, SALESFORCE),
        hubspot: lines(hubspot, HUBSPOT),
    };
    let name = path.display().to_string();
    let text = serde_json::to_string(&file).map_err(|source| CrmFileError::Content {
        path: name.clone(),
        source,
    })?;
    std::fs::write(path, text).map_err(|source| CrmFileError::Io { path: name, source })
}

/// Reads records to start a sandbox with.
///
/// # Errors
/// [`CrmFileError`].
pub fn read(path: &Path) -> Result<Seed, CrmFileError> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|source| CrmFileError::Io {
        path: name.clone(),
        source,
    })?;
    let file: File = serde_json::from_str(&text).map_err(|source| CrmFileError::Content { path: name, source })?;
    let records = |lines: Vec<Line>| {
        lines
            .into_iter()
            .map(|line| SeedRecord {
                object: line.object,
                id: Some(line.id),
                fields: line.fields,
                associations: line
                    .associations
                    .into_iter()
                    .map(|(object, id)| SeedAssociation { object, id })
                    .collect(),
                locked: false,
            })
            .collect()
    };
    Ok(Seed {
        salesforce: records(file.salesforce),
        hubspot: records(file.hubspot),
    })
}
