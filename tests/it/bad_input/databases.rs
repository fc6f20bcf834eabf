//! A database that will not: none, a wrong one, a locked one, a full one.

use std::io::Write as _;
use std::process::{Command, Stdio};

use perennial_tests::{command, skipped};

use super::{ACCOUNTS, Case, GOOD_ACCOUNTS, IMPORT, PROGRAM, Place};

const DATA: (&str, &str) = ("data/accounts.csv", GOOD_ACCOUNTS);
const MAP: (&str, &str) = ("map.toml", ACCOUNTS);
const REACHED_NOT: &str = "postgres://me:hunter2@127.0.0.1:1/customers";

#[test]
fn a_place_that_cannot_be_a_database_is_refused_and_nothing_is_made_there() {
    let cases = [
        Case {
            name: "an unknown scheme, and its password is not repeated",
            files: &[MAP, DATA],
            args: &[
                "--db",
                "mysql://me:hunter2@db/x",
                "import",
                "data",
                "--mapping",
                "map.toml",
            ],
            code: 2,
            says: &[
                "`mysql://…@db/x` is no database",
                "write sqlite:PATH or postgres://USER@HOST/NAME",
            ],
        },
        Case {
            name: "a folder",
            files: &[MAP, DATA],
            args: &["--db", "sqlite:data", "import", "data", "--mapping", "map.toml"],
            code: 2,
            says: &[
                "`data` is a folder, not a database",
                "name a file, such as --db sqlite:data/perennial.db",
            ],
        },
        Case {
            name: "a folder that does not exist, with a folder for rejects that would have been made",
            files: &[MAP, DATA],
            args: &[
                "--db",
                "sqlite:nowhere/x.db",
                "import",
                "data",
                "--mapping",
                "map.toml",
                "--rejects",
                "new",
            ],
            code: 2,
            says: &["the directory `nowhere` does not exist: create it, or give another place"],
        },
        Case {
            name: "a path under a file",
            files: &[MAP, DATA],
            args: &[
                "--db",
                "sqlite:map.toml/x.db",
                "import",
                "data",
                "--mapping",
                "map.toml",
            ],
            code: 2,
            says: &[
                "the directory `map.toml` does not exist",
                "give another place for the database",
            ],
        },
        Case {
            name: "a file that is no database",
            files: &[
                MAP,
                DATA,
                (
                    "notes.db",
                    "These are my notes, they are no database. Do not lose them.\n",
                ),
            ],
            args: &["--db", "sqlite:notes.db", "import", "data", "--mapping", "map.toml"],
            code: 1,
            says: &[
                "`sqlite:notes.db`",
                "file is not a database",
                "name another database with --db",
            ],
        },
        Case {
            name: "no database yet",
            files: &[],
            args: &["--db", "sqlite:new.db", "run", "--once"],
            code: 2,
            says: &[
                "there is no database at `new.db`: import data first",
                "or name another with --db",
            ],
        },
        Case {
            name: "no database yet to look for people's work in",
            files: &[],
            args: &["queue", "list"],
            code: 2,
            says: &[
                "there is no database at `perennial.db`",
                "perennial import DIR --mapping FILE",
            ],
        },
    ];
    for case in &cases {
        case.check();
    }
}

#[test]
fn a_data_directory_that_is_a_file_is_named() {
    let place = Place::with(&[MAP, DATA, ("perennial.toml", "data_dir = \"map.toml\"\n")]);
    place.refuses(
        "the data directory is a file",
        IMPORT,
        2,
        &["map.toml", "name a directory that this user may write"],
    );
}

#[test]
fn a_run_on_a_database_without_accounts_says_import_first() {
    let place = Place::with(&[MAP, ("data/accounts.csv", "id,name,since,seats\n")]);
    let _ = place.run(IMPORT).ok();
    // The refused run itself is on record, so the file may change; nothing is decided.
    let known = |place: &Place| {
        [
            &["account", "list"][..],
            &["queue", "list", "--all"],
            &["audit", "export"],
        ]
        .map(|args| place.run(args).ok().out)
    };
    let before = known(&place);
    for args in [&["run", "--once"][..], &["--json", "run", "--once"]] {
        let said = place.run(args);
        assert_eq!(said.code, 2, "{said:?}");
        assert!(
            said.err.contains("there are no accounts: import some first"),
            "{}",
            said.err
        );
        assert!(said.err.contains("perennial import DIR --mapping FILE"), "{}", said.err);
    }
    assert_eq!(known(&place), before);
}

#[test]
fn a_server_that_does_not_answer_is_named_without_its_password() {
    let place = Place::with(&[MAP, DATA]);
    let args = ["--db", REACHED_NOT, "import", "data", "--mapping", "map.toml"];
    let says = [
        "the database `postgres://127.0.0.1:1/customers` cannot be reached",
        "onnection refused",
        "check --db, that the server runs",
    ];
    let said = place.fails("no server", &args, 1, &says);
    assert!(!said.err.contains("hunter2"), "{}", said.err);
}

/// Starts `sqlite3` on the database of a place, or says that a test is skipped.
fn sqlite3(test: &str, place: &Place) -> Option<std::process::Child> {
    let mut sqlite3 = Command::new("sqlite3");
    sqlite3.arg(place.path().join("perennial.db"));
    match sqlite3.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() {
        Ok(child) => Some(child),
        Err(_) => {
            skipped(test, "there is no program sqlite3");
            None
        }
    }
}

#[test]
fn a_database_that_another_program_holds_is_named_and_the_import_can_be_repeated() {
    let place = Place::imported();
    place.write("perennial.toml", "[limits]\nbusy_timeout_ms = 50\n");
    place.write(
        "data/accounts.csv",
        "id,name,since,seats\na3,Gamma,2024-01-31,10\na4,Delta,2024-01-31,-1\n",
    );
    let Some(mut holder) = sqlite3("a_database_that_another_program_holds", &place) else {
        return;
    };
    let mut input = holder.stdin.take().unwrap();
    writeln!(input, "begin immediate;\n.print held").unwrap();
    input.flush().unwrap();
    // The holder says when it holds the lock, so that nothing has to be slept for.
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(holder.stdout.take().unwrap()), &mut line).unwrap();
    assert_eq!(line.trim(), "held");
    place.refuses(
        "locked",
        IMPORT,
        1,
        &["`sqlite:perennial.db` is locked by another process: wait for it to finish or stop it, then try again"],
    );
    drop(input);
    assert!(holder.wait().unwrap().success());
    let report = place
        .run(&["--json", "import", "data", "--mapping", "map.toml"])
        .ok()
        .json();
    assert_eq!([&report["stored"], &report["rejected"]], [1, 1], "{report}");
}

#[test]
fn a_newer_schema_is_left_alone() {
    let place = Place::imported();
    let Some(mut sqlite3) = sqlite3("a_newer_schema_is_left_alone", &place) else {
        return;
    };
    let mut input = sqlite3.stdin.take().unwrap();
    writeln!(
        input,
        "insert into schema_version (version, name, hash) select 900, '0900_later', hash from schema_version limit 1;"
    )
    .unwrap();
    drop(input);
    if !sqlite3.wait().unwrap().success() {
        panic!("the table of schema versions has other columns");
    }
    let says = [
        "the database has schema version 900, this program knows",
        "use a newer version of perennial",
    ];
    for args in [&["run", "--once"][..], IMPORT, &["queue", "list"], &["db", "migrate"]] {
        place.refuses("a newer schema", args, 1, &says);
    }
}

#[test]
fn a_full_database_says_so_and_a_repeated_import_with_more_room_equals_a_clean_one() {
    let mut rows = "id,name,since,seats\n".to_owned();
    for n in 0..12_000 {
        rows.push_str(&format!("a{n:05},{},2024-01-31,{n}\n", "Name ".repeat(20)));
    }
    let json: &[&str] = &["--json", "import", "data", "--mapping", "map.toml"];
    let place = Place::with(&[MAP]);
    place.write("data/accounts.csv", &rows);
    place.write("perennial.toml", "[limits]\ndatabase_max_bytes = 4000000\n");
    let said = place.run(json);
    assert_eq!(said.code, 1, "{said:?}");
    let error = said.json()["error"].to_string();
    for part in [
        "what was stored before stands, repeat it",
        "`sqlite:perennial.db` has no room left",
        "raise the limit",
    ] {
        assert!(error.contains(part), "`{part}` is not in {error}");
    }
    let left: Vec<_> = place
        .content()
        .into_keys()
        .filter(|path| path.ends_with("crm-rejects.csv"))
        .collect();
    assert!(left.is_empty(), "a rejects file without a reject: {left:?}");
    let bytes = std::fs::metadata(place.path().join("perennial.db")).unwrap().len();
    assert!(bytes <= 4_000_000, "{bytes} bytes");

    std::fs::remove_file(place.path().join("perennial.toml")).unwrap();
    let repeated = place.run(json).ok().json();
    let clean = Place::with(&[MAP]);
    clean.write("data/accounts.csv", &rows);
    let clean = clean.run(json).ok().json();
    assert_eq!(clean["stored"], 12_000, "{clean}");
    assert_eq!(repeated["read"], 12_000);
    assert_eq!(
        repeated["stored"].as_u64().unwrap() + repeated["duplicate"].as_u64().unwrap(),
        12_000,
        "{repeated}"
    );
    assert_eq!(repeated["state_hash"], clean["state_hash"]);
}

#[test]
fn a_limit_too_small_for_the_schema_leaves_no_half_schema() {
    let place = Place::with(&[MAP, DATA, ("perennial.toml", "[limits]\ndatabase_max_bytes = 8192\n")]);
    let said = place.run(IMPORT);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(
        said.err.contains("`sqlite:perennial.db` has no room left"),
        "{}",
        said.err
    );
    std::fs::remove_file(place.path().join("perennial.toml")).unwrap();
    let report = place
        .run(&["--json", "import", "data", "--mapping", "map.toml"])
        .ok()
        .json();
    assert_eq!(report["stored"], 2, "{report}");
}

#[test]
fn a_pipe_that_closes_early_ends_the_program_quietly() {
    let place = Place::imported();
    let mut child = command(PROGRAM, place.path(), &["--help"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(
        !String::from_utf8_lossy(&output.stderr).contains("panicked"),
        "{output:?}"
    );
}
