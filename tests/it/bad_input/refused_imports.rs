//! What is wrong before the first row: the import is refused as a whole, with every problem at once, and not even a
//! database is made.

use super::{ACCOUNTS, Case, GOOD_ACCOUNTS, IMPORT, Place};

const DATA: (&str, &str) = ("data/accounts.csv", GOOD_ACCOUNTS);
const MAP: (&str, &str) = ("map.toml", ACCOUNTS);

#[test]
fn an_import_whose_files_do_not_fit_stores_nothing_and_makes_no_database() {
    let cases = [
        Case {
            name: "the CSV file is missing",
            files: &[MAP, ("data/acounts.csv", GOOD_ACCOUNTS)],
            args: IMPORT,
            code: 2,
            says: &[
                "map.toml:8:8",
                "there is no file `accounts.csv` in `data`",
                "did you mean `acounts.csv`?",
            ],
        },
        Case {
            name: "a column is missing",
            files: &[
                MAP,
                ("data/accounts.csv", "id,nmae,since,seats\na1,Alpha,2024-01-31,10\n"),
            ],
            args: IMPORT,
            code: 2,
            says: &[
                "map.toml:13:8",
                "`accounts.csv` has no column `name`",
                "did you mean `nmae`?",
            ],
        },
        Case {
            name: "two columns are missing, both are named",
            files: &[MAP, ("data/accounts.csv", "id,name\na1,Alpha\n")],
            args: IMPORT,
            code: 2,
            says: &[
                "2 problems",
                "no column `since`",
                "no column `seats`",
                "known: `id`, `name`",
            ],
        },
        Case {
            name: "a column stands there twice",
            files: &[MAP, ("data/accounts.csv", "id,name,since,name,seats\n")],
            args: IMPORT,
            code: 2,
            says: &[
                "data/accounts.csv",
                "the column `name` stands there twice",
                "mend the first line",
            ],
        },
        Case {
            name: "another delimiter",
            files: &[
                MAP,
                ("data/accounts.csv", "id;name;since;seats\na1;Alpha;2024-01-31;10\n"),
            ],
            args: IMPORT,
            code: 2,
            says: &["`accounts.csv` has no column `id`", "set `delimiter`"],
        },
        Case {
            name: "a quote in the header is never closed",
            files: &[
                MAP,
                ("data/accounts.csv", "id,\"name,since,seats\na1,Alpha,2024-01-31,10\n"),
            ],
            args: IMPORT,
            code: 2,
            says: &[
                "the header of `data/accounts.csv`",
                "the quote opened on line 1",
                "close it",
            ],
        },
        Case {
            name: "the folder holds no data file",
            files: &[MAP, ("data/readme.txt", "nothing here\n")],
            args: IMPORT,
            code: 2,
            says: &[
                "data: the folder holds no CSV file and no file of JSON Lines",
                "`map.toml` expects `accounts.csv`",
            ],
        },
        Case {
            name: "the folder is a file",
            files: &[MAP, ("data", "id,name\n")],
            args: IMPORT,
            code: 2,
            says: &["data: the folder cannot be read", "name a folder that exists"],
        },
        Case {
            name: "the folder does not exist",
            files: &[MAP],
            args: IMPORT,
            code: 2,
            says: &["data: the folder cannot be read", "name a folder that exists"],
        },
        Case {
            name: "the mapping does not exist",
            files: &[DATA],
            args: IMPORT,
            code: 2,
            says: &[
                "map.toml: the mapping cannot be read",
                "name a TOML file",
                "examples/mappings",
            ],
        },
        Case {
            name: "the folder for rejects is a file",
            files: &[MAP, DATA, ("out", "text\n")],
            args: &["import", "data", "--mapping", "map.toml", "--rejects", "out"],
            code: 2,
            says: &[
                "out: rejected rows cannot be written here",
                "name a directory that this user may write",
            ],
        },
        Case {
            name: "the folder for rejects lies under a file",
            files: &[MAP, DATA, ("out", "text\n")],
            args: &["import", "data", "--mapping", "map.toml", "--rejects", "out/rejects"],
            code: 2,
            says: &["out/rejects: rejected rows cannot be written here", "name a directory"],
        },
    ];
    for case in &cases {
        case.check();
    }
}

#[test]
fn utf_16_is_named_as_what_it_is() {
    let place = Place::with(&[MAP]);
    let text: Vec<u8> = GOOD_ACCOUNTS.encode_utf16().flat_map(u16::to_le_bytes).collect();
    place.write("data/accounts.csv", [b"\xff\xfe".as_slice(), &text].concat());
    place.refuses(
        "a file in UTF-16",
        IMPORT,
        2,
        &[
            "map.toml:8:8",
            "`data/accounts.csv` is UTF-16, which is not read",
            "save it as UTF-8",
        ],
    );
}

/// A mapping that differs in one place.
#[track_caller]
fn mapping(name: &str, old: &str, new: &str, says: &[&str]) {
    let place = Place::with(&[MAP, DATA]);
    place.replace("map.toml", old, new);
    place.refuses(name, IMPORT, 2, says);
}

#[test]
fn a_mapping_that_is_wrong_is_refused_with_line_column_and_the_nearest_word() {
    mapping(
        "an unknown key of the mapping",
        "source =",
        "sources = [\"crm\"]\nsource =",
        &[
            "map.toml:1:1",
            "unknown key `sources` in the mapping",
            "did you mean `source`?",
        ],
    );
    mapping(
        "an unknown key of a file",
        "key = \"id\"",
        "key = \"id\"\nkinds = \"account\"",
        &[
            "map.toml:11:1",
            "unknown key `kinds` in [[file]]",
            "did you mean `kind`?",
        ],
    );
    mapping(
        "an unknown key of the defaults",
        "dates =",
        "date =",
        &["map.toml:4:1", "unknown key `date`", "did you mean `dates`?"],
    );
    mapping(
        "an unknown field",
        "seats = \"seats\"",
        "seat = \"seats\"",
        &[
            "map.toml:15:1",
            "records of kind `account` have no field `seat`",
            "did you mean `seats`?",
        ],
    );
    mapping(
        "an unknown kind of fact",
        "kind = \"account\"",
        "kind = \"acount\"",
        &["map.toml:9:8", "unknown kind `acount`", "did you mean `account`?"],
    );
    mapping(
        "a kind of fact that is like no other",
        "kind = \"account\"",
        "kind = \"weather\"",
        &["map.toml:9:8", "unknown kind `weather`", "known: `account`, `owner`"],
    );
    mapping(
        "a currency that is none",
        "currency = \"USD\"",
        "currency = \"USB\"",
        &[
            "map.toml:5:12",
            "`USB` is not an ISO 4217 currency code",
            "did you mean \"USD\"?",
        ],
    );
    mapping(
        "an encoding that is none",
        "currency = \"USD\"",
        "encoding = \"latin-2\"",
        &["map.toml:5:12", "unknown encoding `latin-2`", "did you mean `latin-1`?"],
    );
    mapping(
        "a date format without a year",
        "dates = \"%Y-%m-%d\"",
        "dates = \"%m-%d\"",
        &["map.toml:4:9", "the format `%m-%d`", "such as \"%d/%m/%Y\""],
    );
    mapping(
        "a path that leaves the folder",
        "path = \"accounts.csv\"",
        "path = \"../accounts.csv\"",
        &[
            "map.toml:8:8",
            "leaves the folder of the import",
            "name a file inside the folder",
        ],
    );
    mapping(
        "a source that cannot be a name",
        "source = \"crm\"",
        "source = \"../crm\"",
        &["map.toml:1:10", "cannot name a source", "small letters"],
    );
    mapping(
        "no key",
        "key = \"id\"\n",
        "",
        &["map.toml:7:1", "[[file]] has no `key`", "name the column"],
    );
}

#[test]
fn a_mapping_that_is_not_toml_is_refused_with_its_first_lines_only() {
    let place = Place::with(&[DATA]);
    let rows: String = (0..2_000).map(|n| format!("a{n},Alpha,2024-01-31,10\n")).collect();
    place.write("map.toml", rows);
    let says = &["map.toml:1:3", "not TOML", "examples/mappings"];
    let said = place.refuses("a data file given as mapping", IMPORT, 2, says);
    assert!(
        said.err.lines().count() < 100,
        "{} lines of errors",
        said.err.lines().count()
    );
}

#[test]
fn an_empty_mapping_says_what_it_needs() {
    let place = Place::with(&[DATA, ("map.toml", "")]);
    place.refuses(
        "an empty mapping",
        IMPORT,
        2,
        &["map.toml:1:1", "has no `source`", "has no `file`", "add one [[file]]"],
    );
}

#[test]
fn an_import_that_is_refused_leaves_what_is_stored_as_it_was() {
    let place = Place::imported();
    let before = place.run(&["--json", "account", "list"]).ok().out;
    place.write("data/accounts.csv", "id,nmae,since,seats\na9,Nine,2024-01-31,9\n");
    place.refuses(
        "a column is missing now",
        IMPORT,
        2,
        &["map.toml:13:8", "no column `name`"],
    );
    place.write("data/accounts.csv", GOOD_ACCOUNTS);
    place.refuses(
        "the folder for rejects is a file now",
        &["import", "data", "--mapping", "map.toml", "--rejects", "map.toml"],
        2,
        &["map.toml: rejected rows cannot be written here", "name a directory"],
    );
    assert_eq!(place.run(&["--json", "account", "list"]).ok().out, before);
}
