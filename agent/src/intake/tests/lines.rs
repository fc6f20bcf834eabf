//! Files of JSON Lines: the same mapping, the same sums, the same care for one bad row.

use super::*;

const USAGE: &str = r#"
source = "product"
[[file]]
path = "usage.jsonl"
kind = "usage"
key = ["account.id", "day"]
account = "account.id"
[file.usage]
grain = "day"
start = "day"
[file.usage.values]
active_users = "counts.users"
events = { column = "counts.events", default = "0" }
minutes = "minutes"
"#;

#[tokio::test]
async fn nested_keys_are_read_and_every_line_is_stored_or_rejected_with_its_place() {
    let text = concat!(
        "\u{feff}{\"account\":{\"id\":\"a1\"},\"day\":\"2026-01-31\",\"counts\":{\"users\":3,\"events\":null}}\r\n",
        "\n",
        "{\"account\":{\"id\":17},\"day\":\"2026-01-31\",\"counts\":{\"users\":\" 4 \"},\"minutes\":0.100}\n",
        "{\"account.id\":\"a3\",\"day\":\"2026-01-31\",\"counts\":{\"users\":5}}\n",
        "{\"account\":{\"id\":\"a1\"},\"day\":\"2026-01-31\",\"counts\":{\"users\":3,\"events\":null}}\n",
        "{\"account\":{\"id\":\"a1\"},\"day\"\n",
        "[1, 2]\n",
        "{\"account\":{\"id\":\"a4\"},\"day\":\"31.01.2026\",\"counts\":{\"users\":5}}\n",
        "{\"account\":{\"id\":\"a4\"},\"day\":\"2026-01-31\",\"counts\":[5]}\n",
        "{\"account\":{\"id\":\"a4\"},\"day\":\"2026-01-31\",\"counts\":{\"users\":{\"all\":5}}}\n",
        "{\"account\":{},\"day\":\"2026-01-31\",\"counts\":{\"users\":5}}\n",
        "{\"account\":{\"id\":\"a\\u0000b\"},\"day\":\"2026-01-31\",\"counts\":{\"users\":5}}\n",
        "{\"account\":{\"id\":\"a5\"},\"day\":\"2026-01-31\",\"counts\":{\"users\":12345678901234567890123}}"
    );
    let bench = Bench::new(&[("usage.jsonl", text.as_bytes())]);
    let store = bench.store().await;
    let report = bench.import_into(&store, USAGE).await.expect("imports");
    assert_eq!(sums(&report), (12, 4, 1, 7, 0));
    let places: Vec<[String; 3]> = rejects(&report)
        .iter()
        .map(|row| [row[2].clone(), row[3].clone(), row[5].clone()])
        .collect();
    let starts = [
        ("6", "", "not a JSON object: EOF while parsing an object at column"),
        ("7", "", "not a JSON object: invalid type: sequence"),
        ("8", "day", "fits none of the formats"),
        (
            "10",
            "counts.users",
            "an object, not a single value: name a key inside it",
        ),
        ("11", "account.id", "an id is empty"),
        ("12", "account.id", "contains the character U+0000"),
        ("13", "counts.users", ""),
    ];
    assert_eq!(places.len(), starts.len(), "{places:#?}");
    for (found, (line, field, reason)) in places.iter().zip(starts) {
        assert!(
            found[0] == line && found[1] == field && found[2].starts_with(reason),
            "{found:?}"
        );
    }
    let found = signals(&store, "17").await;
    assert_eq!(found[0].external_id.as_str(), "17|2026-01-31");
    let Fact::Usage(usage) = &found[0].fact else {
        panic!("{found:?}")
    };
    let values: Vec<_> = usage.values.iter().map(|(k, v)| (k.as_str(), v.0)).collect();
    assert_eq!(
        values,
        [("active_users", 4_000_000), ("events", 0), ("minutes", 100_000)]
    );
    // Importing it again changes nothing.
    let again = bench.import_into(&store, USAGE).await.expect("imports");
    assert_eq!(sums(&again), (12, 0, 5, 7, 0));
    assert_eq!(again.state_hash, report.state_hash);
}

#[tokio::test]
async fn a_key_that_no_line_has_is_a_warning_and_a_line_that_is_too_long_costs_that_line() {
    let mut text = b"{\"account\":{\"id\":\"a1\"},\"day\":\"2026-01-31\",\"counts\":{\"users\":3}}\n".to_vec();
    text.extend_from_slice(format!("{{\"x\":\"{}\"}}\n", "y".repeat(2 * 1024 * 1024)).as_bytes());
    text.extend_from_slice(b"{\"account\":{\"id\":\"a2\"},\"day\":\"2026-01-31\",\"counts\":{\"users\":3}}\n");
    let bench = Bench::new(&[("usage.jsonl", &text), ("other.ndjson", b"{}")]);
    let report = bench.import(USAGE).await.expect("imports");
    assert_eq!(sums(&report), (3, 2, 0, 1, 0));
    let rows = rejects(&report);
    assert_eq!(
        (rows[0][2].as_str(), rows[0][5].as_str()),
        ("2", "the row is longer than 1048576 bytes")
    );
    let said = report.warnings.join("\n");
    for part in [
        "`usage.jsonl` has no `counts.events` in any row",
        "`usage.jsonl` has no `minutes` in any row",
        "`other.ndjson` is not imported",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert!(!said.contains("counts.users"), "{said}");
}

#[tokio::test]
async fn json_in_another_encoding_is_refused_before_the_first_row() {
    let bench = Bench::new(&[("usage.jsonl", b"{}")]);
    let mapping = USAGE.replace("[file.usage]", "[file.defaults]\nencoding = \"latin-1\"\n[file.usage]");
    let Err(ImportError::NotReady { problems }) = bench.import(&mapping).await else {
        panic!("imports")
    };
    assert!(
        problems[0]
            .to_string()
            .contains("`usage.jsonl` is JSON, which is always UTF-8"),
        "{problems:?}"
    );
}
