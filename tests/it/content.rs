//! What is built into the program is what lies in the folders.

use std::collections::BTreeMap;
use std::path::Path;

use perennial::content::{POLICIES, PROMPTS};

fn files(folder: &Path, prefix: &str, found: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "cases" {
                files(&path, &format!("{prefix}{name}/"), found);
            }
        } else if name != "README.md" {
            found.insert(format!("{prefix}{name}"), std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_file_of_policies_and_prompts_is_built_in_unchanged() {
    for (folder, built_in) in [("policies", POLICIES), ("prompts", PROMPTS)] {
        let mut found = BTreeMap::new();
        files(&perennial_tests::root().join(folder), "", &mut found);
        let built_in: BTreeMap<String, String> = built_in
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect();
        assert_eq!(
            found.keys().collect::<Vec<_>>(),
            built_in.keys().collect::<Vec<_>>(),
            "{folder}"
        );
        assert_eq!(found, built_in, "{folder}");
    }
}
