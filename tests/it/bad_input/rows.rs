//! A bad row costs that row: every row read is stored, a duplicate or rejected, and each reject says where and why.

use super::{ACCOUNTS, INVOICES, Place};

/// Rows of a file and what must become of them.
struct Rows {
    name: &'static str,
    text: &'static [u8],
    /// Stored, duplicate, rejected.
    counts: [u64; 3],
    /// Outcome, line, field, and a part of the reason.
    rejects: &'static [(&'static str, u64, &'static str, &'static str)],
}

const REJECTED: &str = "rejected";
const CONFLICT: &str = "conflict";

#[track_caller]
fn check(mapping: &str, file: &str, case: &Rows) -> serde_json::Value {
    let name = case.name;
    let place = Place::with(&[("map.toml", mapping)]);
    place.write(&format!("data/{file}"), case.text);
    let said = place.run(&["import", "data", "--mapping", "map.toml", "--json"]);
    assert_eq!(said.code, 0, "{name}: {said:?}");
    let report = said.json();
    let count = |key: &str| report[key].as_u64().unwrap();
    assert_eq!(
        ["stored", "duplicate", "rejected"].map(count),
        case.counts,
        "{name}: {report}"
    );
    assert_eq!(count("read"), case.counts.iter().sum::<u64>(), "{name}: the sum");
    let found = match report["rejects_file"].as_str() {
        Some(path) => rejects(&place, path),
        None => Vec::new(),
    };
    assert_eq!(found.len(), case.rejects.len(), "{name}: {found:?}");
    for (row, (outcome, line, field, reason)) in found.iter().zip(case.rejects) {
        let line = line.to_string();
        assert_eq!(
            [&row[0], &row[1], &row[2], &row[3]],
            [*outcome, file, line.as_str(), *field],
            "{name}: {row:?}"
        );
        assert!(row[5].contains(reason), "{name}: `{reason}` is not in `{}`", &row[5]);
    }
    if found.is_empty() {
        let csv = std::fs::read_dir(place.path()).unwrap().filter(|entry| {
            entry
                .as_ref()
                .unwrap()
                .path()
                .extension()
                .is_some_and(|extension| extension == "csv")
        });
        assert_eq!(csv.count(), 0, "{name}: a rejects file without a reject");
    }
    // Again: nothing is new, and what was refused is refused again.
    let again = place
        .run(&["import", "data", "--mapping", "map.toml", "--json"])
        .ok()
        .json();
    assert_eq!(again["stored"], 0, "{name}: a repeated import stores nothing");
    assert_eq!(again["rejected"], report["rejected"], "{name}");
    assert_eq!(
        again["state_hash"], report["state_hash"],
        "{name}: a repeated import changes nothing"
    );
    report
}

fn rejects(place: &Place, path: &str) -> Vec<csv::StringRecord> {
    let mut reader = csv::Reader::from_path(place.path().join(path)).unwrap();
    let header = ["outcome", "file", "line", "field", "value", "reason", "row"];
    assert_eq!(reader.headers().unwrap(), header.as_slice());
    reader.records().map(Result::unwrap).collect()
}

#[test]
fn a_bad_account_row_is_rejected_with_its_line_field_and_reason() {
    let cases = [
        Rows {
            name: "a date in another format",
            text: b"id,name,since,seats\na1,Alpha,2024-01-31,10\na2,Beta,31/01/2024,5\n",
            counts: [1, 0, 1],
            rejects: &[(REJECTED, 3, "since", "fits none of the formats %Y-%m-%d")],
        },
        Rows {
            name: "30 February",
            text: b"id,name,since,seats\na1,Alpha,2026-02-30,10\na2,Beta,2024-01-31,5\n",
            counts: [1, 0, 1],
            rejects: &[(REJECTED, 2, "since", "fits none of the formats")],
        },
        Rows {
            name: "a year that nobody means",
            text: b"id,name,since,seats\na1,Alpha,0024-01-31,10\n",
            counts: [0, 0, 1],
            rejects: &[(REJECTED, 2, "since", "outside 1900 to 2199: look at the date format")],
        },
        Rows {
            name: "negative seats",
            text: b"id,name,since,seats\na1,Alpha,2024-01-31,-3\n",
            counts: [0, 0, 1],
            rejects: &[(REJECTED, 2, "seats", "negative")],
        },
        Rows {
            name: "a number word",
            text: b"id,name,since,seats\na1,Alpha,2024-01-31,ten\n",
            counts: [0, 0, 1],
            rejects: &[(REJECTED, 2, "seats", "not a number with `.` before the decimals")],
        },
        Rows {
            name: "half a seat",
            text: b"id,name,since,seats\na1,Alpha,2024-01-31,1.5\n",
            counts: [0, 0, 1],
            rejects: &[(REJECTED, 2, "seats", "not a whole number")],
        },
        Rows {
            name: "a number beyond 64 bits",
            text: b"id,name,since,seats\na1,Alpha,2024-01-31,99999999999999999999\n",
            counts: [0, 0, 1],
            rejects: &[(REJECTED, 2, "seats", "too large")],
        },
        Rows {
            name: "a row without its id",
            text: b"id,name,since,seats\n,Alpha,2024-01-31,10\na2,Beta,2024-01-31,5\n",
            counts: [1, 0, 1],
            rejects: &[(REJECTED, 2, "id", "an id is empty")],
        },
        Rows {
            name: "two rows of one id that disagree",
            text: b"id,name,since,seats\na1,Alpha,2024-01-31,10\na1,Other,2024-01-31,10\n",
            counts: [1, 1, 0],
            rejects: &[(
                CONFLICT,
                3,
                "key",
                "same id as another row with different content; kept",
            )],
        },
        Rows {
            name: "the same row twice",
            text: b"id,name,since,seats\na1,Alpha,2024-01-31,10\na1,Alpha,2024-01-31,10\n",
            counts: [1, 1, 0],
            rejects: &[],
        },
        Rows {
            name: "a row with too few columns",
            text: b"id,name,since,seats\na1,Alpha,2024-01-31\na2,Beta,2024-01-31,5\n",
            counts: [1, 0, 1],
            rejects: &[(REJECTED, 2, "", "3 columns instead of the 4 of the header")],
        },
        Rows {
            name: "a row with too many columns",
            text: b"id,name,since,seats\na1,Alpha, Inc,2024-01-31,10\na2,Beta,2024-01-31,5\n",
            counts: [1, 0, 1],
            rejects: &[(REJECTED, 2, "", "5 columns instead of the 4 of the header")],
        },
        Rows {
            name: "a quote that is never closed costs its row and not the file",
            text: b"id,name,since,seats\na1,Alpha,2024-01-31,10\na2,\"Beta,2024-01-31,5\na3,Gamma,2024-01-31,5\n",
            counts: [2, 0, 1],
            rejects: &[(
                REJECTED,
                3,
                "",
                "the quote opened on line 3 is not closed before the end of the file",
            )],
        },
        Rows {
            name: "the line of a quote that opens in the second line of a row",
            text: b"id,name,since,seats\na1,\"Al\npha\",\"2024-01-31,10\na2,Beta,2024-01-31,5\n",
            counts: [1, 0, 1],
            rejects: &[(REJECTED, 2, "", "the quote opened on line 3 is not closed")],
        },
        Rows {
            name: "text after a closing quote",
            text: b"id,name,since,seats\na1,\"Alpha\" Inc,2024-01-31,10\na2,Beta,2024-01-31,5\n",
            counts: [1, 0, 1],
            rejects: &[(
                REJECTED,
                2,
                "",
                "text follows the closing quote of the field that opened on line 2: double",
            )],
        },
        Rows {
            name: "Latin-1 bytes under a mapping that says UTF-8",
            text: b"id,name,since,seats\na1,Caf\xe9,2024-01-31,10\na2,Beta,2024-01-31,5\n",
            counts: [1, 0, 1],
            rejects: &[(
                REJECTED,
                2,
                "name",
                "byte 4 of this cell is not UTF-8: set `encoding` to \"latin-1\"",
            )],
        },
        Rows {
            name: "a NUL character",
            text: b"id,name,since,seats\na1,Al\0pha,2024-01-31,10\na2,Beta,2024-01-31,5\n",
            counts: [1, 0, 1],
            rejects: &[(REJECTED, 2, "name", "contains the character U+0000: remove it")],
        },
        Rows {
            name: "a byte order mark is no part of the first column",
            text: b"\xef\xbb\xbfid,name,since,seats\na1,Alpha,2024-01-31,10\n",
            counts: [1, 0, 0],
            rejects: &[],
        },
        Rows {
            name: "CRLF and blank lines, with the line of the bad row",
            text: b"id,name,since,seats\r\na1,Alpha,2024-01-31,10\r\n\r\na2,Beta,2024-01-31,-5\r\n",
            counts: [1, 0, 1],
            rejects: &[(REJECTED, 4, "seats", "negative")],
        },
        Rows {
            name: "no line end after the last row",
            text: b"id,name,since,seats\na1,Alpha,2024-01-31,10",
            counts: [1, 0, 0],
            rejects: &[],
        },
    ];
    for case in &cases {
        check(ACCOUNTS, "accounts.csv", case);
    }
}

#[test]
fn a_bad_invoice_row_is_rejected_with_its_line_field_and_reason() {
    let cases = [
        Rows {
            name: "a currency that is none",
            text: b"id,account,issued,due,amount,currency\ni1,a1,2025-01-01,2025-02-01,5,XXQ\n",
            counts: [0, 0, 1],
            rejects: &[(
                REJECTED,
                2,
                "currency",
                "not an ISO 4217 currency code such as USD or EUR",
            )],
        },
        Rows {
            name: "more decimals than the currency has",
            text: b"id,account,issued,due,amount,currency\ni1,a1,2025-01-01,,12.345,USD\ni2,a1,2025-01-01,,1.5,JPY\n",
            counts: [0, 0, 2],
            rejects: &[
                (
                    REJECTED,
                    2,
                    "amount",
                    "`12.345` cannot be held in USD: at most 2 decimals",
                ),
                (REJECTED, 3, "amount", "`1.5` cannot be held in JPY"),
            ],
        },
        Rows {
            name: "an amount in words",
            text: b"id,account,issued,due,amount,currency\ni1,a1,2025-01-01,,twelve,USD\n",
            counts: [0, 0, 1],
            rejects: &[(REJECTED, 2, "amount", "not a number with `.` before the decimals")],
        },
        Rows {
            name: "a decimal comma",
            text: b"id,account,issued,due,amount,currency\ni1,a1,2025-01-01,,\"12,50\",EUR\n",
            counts: [0, 0, 1],
            rejects: &[(REJECTED, 2, "amount", "not a number with `.` before the decimals")],
        },
        Rows {
            name: "no account",
            text: b"id,account,issued,due,amount,currency\ni1,,2025-01-01,,5,USD\n",
            counts: [0, 0, 1],
            rejects: &[(REJECTED, 2, "account", "the account is empty")],
        },
        Rows {
            name: "no time at which it happened",
            text: b"id,account,issued,due,amount,currency\ni1,a1,,,5,USD\n",
            counts: [0, 0, 1],
            rejects: &[(REJECTED, 2, "issued", "the time it happened is empty")],
        },
        Rows {
            name: "due before it was issued",
            text: b"id,account,issued,due,amount,currency\ni1,a1,2025-03-01,2025-02-01,5,USD\n",
            counts: [0, 0, 1],
            rejects: &[(REJECTED, 2, "due", "lies before the start, 2025-03-01")],
        },
    ];
    for case in &cases {
        check(INVOICES, "invoices.csv", case);
    }
}

#[test]
fn facts_of_an_unknown_account_are_stored_and_the_warning_names_file_and_line() {
    let case = Rows {
        name: "an account without a record",
        text: b"id,account,issued,due,amount,currency\ni1,zz,2025-01-01,,5,USD\n",
        counts: [1, 0, 0],
        rejects: &[],
    };
    let report = check(INVOICES, "invoices.csv", &case);
    assert_eq!(report["orphans"], 1, "{report}");
    let warning = report["warnings"][0].as_str().unwrap();
    assert!(
        warning.contains("`zz` (invoices.csv:2)") && warning.contains("import their accounts"),
        "{warning}"
    );
}

#[test]
fn latin_1_reads_the_same_as_utf_8_when_the_mapping_says_so() {
    let case = |text| Rows {
        name: "an accent",
        text,
        counts: [1, 0, 0],
        rejects: &[],
    };
    let latin = ACCOUNTS.replace("[defaults]\n", "[defaults]\nencoding = \"latin-1\"\n");
    let latin = check(
        &latin,
        "accounts.csv",
        &case(b"id,name,since,seats\na1,Caf\xe9,2024-01-31,10\n"),
    );
    let utf8 = check(
        ACCOUNTS,
        "accounts.csv",
        &case("id,name,since,seats\na1,Café,2024-01-31,10\n".as_bytes()),
    );
    assert_eq!(latin["state_hash"], utf8["state_hash"]);
}

#[test]
fn a_header_without_rows_is_imported_with_a_warning_that_names_the_file() {
    let case = Rows {
        name: "a header only",
        text: b"id,name,since,seats\n",
        counts: [0, 0, 0],
        rejects: &[],
    };
    let report = check(ACCOUNTS, "accounts.csv", &case);
    assert_eq!(report["warnings"][0], "`accounts.csv` has no rows");
    let empty = check(
        ACCOUNTS,
        "accounts.csv",
        &Rows {
            name: "no byte at all",
            text: b"",
            ..case
        },
    );
    assert_eq!(empty["warnings"][0], "`accounts.csv` has no rows");
}

#[test]
fn a_file_that_nobody_maps_is_named_with_a_remedy() {
    let place = Place::with(&[
        ("map.toml", ACCOUNTS),
        ("data/accounts.csv", super::GOOD_ACCOUNTS),
        ("data/extra.csv", "a\n1\n"),
    ]);
    let report = place
        .run(&["--json", "import", "data", "--mapping", "map.toml"])
        .ok()
        .json();
    let warning = report["warnings"][0].as_str().unwrap();
    assert_eq!(
        warning,
        "`extra.csv` is not imported: map it, or list it under `ignore` with a reason"
    );
}

#[test]
fn a_huge_field_costs_its_row_and_only_its_beginning_is_repeated() {
    for bytes in [70_000, 3_000_000] {
        let place = Place::with(&[("map.toml", ACCOUNTS)]);
        let huge = "x".repeat(bytes);
        place.write(
            "data/accounts.csv",
            format!(
                "id,name,since,seats\na1,{huge},2024-01-31,10\na2,\"{huge}\",2024-01-31,10\na3,Gamma,2024-01-31,5\n"
            ),
        );
        let report = place
            .run(&["--json", "import", "data", "--mapping", "map.toml"])
            .ok()
            .json();
        assert_eq!(report["stored"], 1, "{report}");
        assert_eq!(report["rejected"], 2, "{report}");
        let rows = rejects(&place, report["rejects_file"].as_str().unwrap());
        for (row, line) in rows.iter().zip(["2", "3"]) {
            assert_eq!([&row[1], &row[2]], ["accounts.csv", line]);
            assert!(
                row[5].contains("65536 bytes") && row[5].contains("raise `max_field_bytes`"),
                "{}",
                &row[5]
            );
            assert!(row[6].len() < 11_000, "{} bytes of the row are repeated", row[6].len());
        }
    }
}

#[test]
fn an_id_longer_than_a_key_can_hold_is_rejected() {
    let place = Place::with(&[("map.toml", ACCOUNTS)]);
    place.write(
        "data/accounts.csv",
        format!("id,name,since,seats\n{},Alpha,2024-01-31,10\n", "é".repeat(201)),
    );
    let report = place
        .run(&["--json", "import", "data", "--mapping", "map.toml"])
        .ok()
        .json();
    assert_eq!(report["rejected"], 1, "{report}");
    let rows = rejects(&place, report["rejects_file"].as_str().unwrap());
    assert_eq!(&rows[0][3], "id");
    assert_eq!(&rows[0][5], "an id is longer than 200 characters");
    assert!(rows[0][4].chars().count() <= 81, "the value is cut: {}", &rows[0][4]);
}
