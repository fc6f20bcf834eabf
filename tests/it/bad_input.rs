//! What goes wrong for people: wrong files, wrong settings, wrong words on the command line, a database that will not.
//!
//! Each case starts the real program on a few small files and holds it to three promises: the error names the place, it
//! names the remedy, and nothing is half done, which is checked byte by byte on everything below the folder of the case.

mod commands;
mod databases;
mod people;
mod policies;
mod refused_imports;
mod rows;
mod settings;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use perennial_tests::{Said, run};
use tempfile::TempDir;

use super::PROGRAM;

/// A mapping of `accounts.csv`.
const ACCOUNTS: &str = r#"source = "crm"

[defaults]
dates = "%Y-%m-%d"
currency = "USD"

[[file]]
path = "accounts.csv"
kind = "account"
key = "id"

[file.fields]
name = "name"
since = "since"
seats = "seats"
"#;

/// Its file, as it should be.
const GOOD_ACCOUNTS: &str = "id,name,since,seats\na1,Alpha,2024-01-31,10\na2,Beta,2024-02-29,5\n";

/// A mapping of `invoices.csv`, with the currency in a column.
const INVOICES: &str = r#"source = "billing"

[defaults]
currency = { column = "currency" }

[[file]]
path = "invoices.csv"
kind = "invoice"
key = "id"
account = "account"
event = "issued"

[file.fields]
issued = "issued"
due = "due"
amount = "amount"
"#;

/// What imports [`ACCOUNTS`].
const IMPORT: &[&str] = &["import", "data", "--mapping", "map.toml"];

/// A folder in which the program is started.
struct Place {
    folder: TempDir,
}

impl Place {
    fn empty() -> Place {
        Place {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn with(files: &[(&str, &str)]) -> Place {
        let place = Place::empty();
        for (name, text) in files {
            place.write(name, text);
        }
        place
    }

    /// Two accounts, imported.
    fn imported() -> Place {
        let place = Place::with(&[("map.toml", ACCOUNTS), ("data/accounts.csv", GOOD_ACCOUNTS)]);
        let _ = place.run(IMPORT).ok();
        place
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Replaces a text that must be there once.
    #[track_caller]
    fn replace(&self, name: &str, old: &str, new: &str) {
        let text = std::fs::read_to_string(self.path().join(name)).unwrap();
        assert_eq!(text.matches(old).count(), 1, "`{old}` in {name}");
        self.write(name, text.replace(old, new));
    }

    fn run(&self, args: &[&str]) -> Said {
        run(PROGRAM, self.path(), args)
    }

    /// Everything below the folder. The shared memory of SQLite is no content, nor is a log without entries.
    fn content(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        fn walk(folder: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                if path.is_dir() {
                    found.insert(path.clone(), b"folder".to_vec());
                    walk(&path, found);
                } else if !name.ends_with("-shm") {
                    let bytes = std::fs::read(&path).unwrap();
                    if !(name.ends_with("-wal") && bytes.is_empty()) {
                        found.insert(path, bytes);
                    }
                }
            }
        }
        let mut found = BTreeMap::new();
        walk(self.path(), &mut found);
        found
    }

    /// Starts the program, which must refuse with this exit code, say all of `says` and change nothing; then once more
    /// with `--json`, where one document must say the same.
    #[track_caller]
    fn refuses(&self, name: &str, args: &[&str], code: i32, says: &[&str]) -> Said {
        let said = self.fails(name, args, code, says);
        let json: Vec<&str> = std::iter::once("--json").chain(args.iter().copied()).collect();
        let again = self.fails(name, &json, code, says);
        let document: serde_json::Value = serde_json::from_str(&again.out)
            .unwrap_or_else(|error| panic!("{name}: not one JSON document: {error}\n{}", again.out));
        let message = document["error"]["message"].as_str().unwrap_or_default();
        assert!(!message.is_empty(), "{name}: no error.message in {document}");
        let document = document["error"].to_string().replace("\\\"", "\"");
        for part in says {
            assert!(
                document.contains(part),
                "{name}: `{part}` is not in the JSON\n{document}"
            );
        }
        said
    }

    /// The same without `--json`, for what the command line itself refuses.
    #[track_caller]
    fn fails(&self, name: &str, args: &[&str], code: i32, says: &[&str]) -> Said {
        let before = self.content();
        let said = self.run(args);
        let text = plain(&said.err);
        assert_eq!(
            said.code, code,
            "{name}: exit code of {args:?}\n{}{}",
            said.out, said.err
        );
        assert!(!text.contains("panicked"), "{name}: {text}");
        for part in says {
            assert!(text.contains(part), "{name}: `{part}` is not in\n{text}");
        }
        let after = self.content();
        let changed: Vec<_> = before
            .keys()
            .chain(after.keys())
            .filter(|path| before.get(*path) != after.get(*path))
            .collect();
        assert!(changed.is_empty(), "{name}: half done: {changed:?} changed by {args:?}");
        said
    }
}

/// A message without the line breaks and bars of its layout.
fn plain(text: &str) -> String {
    let words = text.split_whitespace().filter(|word| *word != "│");
    words.collect::<Vec<_>>().join(" ")
}

/// One case of a table: it starts in a folder of its own with these files.
struct Case {
    name: &'static str,
    files: &'static [(&'static str, &'static str)],
    args: &'static [&'static str],
    code: i32,
    says: &'static [&'static str],
}

impl Case {
    #[track_caller]
    fn check(&self) {
        Place::with(self.files).refuses(self.name, self.args, self.code, self.says);
    }
}
