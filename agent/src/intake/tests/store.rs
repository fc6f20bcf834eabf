//! Imports into a store: the same state whatever the order, and nothing before everything is ready.

use std::path::Path;

use perennial_core::money::Money;
use perennial_core::number::Micro;
use perennial_core::signal::{Fact, Tier};

use super::{Bench, ImportError, facts, parsed, rejects, signals, sums};

const MAPPING: &str = r#"
source = "shop"
[defaults]
currency = "USD"
[[file]]
path = "accounts.csv"
kind = "account"
key = "id"
event = "since"
[file.fields]
name = "name"
tier = { column = "plan", values = { S = "low_touch", L = "strategic" } }
attributes = { colour = "colour" }
[[file]]
path = "accounts.csv"
kind = "contract"
key = "id"
account = "id"
event = "since"
[file.fields]
start = "since"
arr = { column = "mrr", times = 12 }
[[file]]
path = "subs.csv"
kind = "subscription"
key = "sub"
account = "id"
event = "start"
[file.fields]
start = "start"
[[file]]
path = "use.csv"
kind = "usage"
key = ["sub", "day", "what"]
account = { via = "subscription", column = "sub" }
[file.usage]
grain = "day"
start = "day"
product = "what"
values = { events = "n" }
"#;

const ACCOUNTS: &str = "id,name,plan,since,mrr,colour\nA1,Ant,S,2024-01-01,10.50,red\nA2,Bee,L,2024-02-01,20,\n";
const SUBS: &str = "sub,id,start\nS1,A1,2024-01-01\nS2,A2,2024-02-01\nS3,A9,2024-02-01\n";
const USE: &str = "sub,day,what,n\nS1,2024-03-01,x,1\nS1,2024-03-01,y,2\nS2,2024-03-01,x,3\nS8,2024-03-01,x,4\nS1,2024-03-01,x,1\nS1,2024-03-01,y,5\n";

fn bench() -> Bench {
    Bench::new(&[
        ("accounts.csv", ACCOUNTS.as_bytes()),
        ("subs.csv", SUBS.as_bytes()),
        ("use.csv", USE.as_bytes()),
    ])
}

/// Problems of an import that must not have stored anything.
#[track_caller]
fn not_ready(bench: &Bench, mapping: &str, expect: &[&str]) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let store = bench.store().await;
        let before = store.state_hash().await.expect("a hash");
        let problems = match bench.import_into(&store, mapping).await {
            Err(ImportError::NotReady { problems }) => problems,
            other => panic!("{other:?}"),
        };
        let shown = problems
            .iter()
            .map(|problem| format!("{problem:?}"))
            .collect::<Vec<_>>();
        for (shown, expect) in shown.iter().zip(expect) {
            assert!(shown.contains(expect), "\n{shown}\n{expect}");
        }
        assert_eq!(shown.len(), expect.len(), "{shown:#?}");
        assert_eq!(store.state_hash().await.expect("a hash"), before);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_become_facts_and_the_sums_are_exact() {
    let bench = bench();
    bench.file("notes.csv", b"a\n1\n");
    let store = bench.store().await;
    let report = bench.import_into(&store, MAPPING).await.expect("an import");
    assert_eq!(sums(&report), (13, 11, 2, 0, 1));
    let counts = report.files.iter().map(|file| (file.read, file.stored, file.duplicate));
    assert_eq!(counts.collect::<Vec<_>>(), [(2, 2, 0), (2, 2, 0), (3, 3, 0), (6, 4, 2)]);

    let ant = signals(&store, "A1").await;
    let seen = facts(&ant);
    assert_eq!(ant.len(), 5, "{seen:#?}");
    assert!(seen.iter().any(|fact| matches!(fact, Fact::Account(account)
        if account.name.as_deref() == Some("Ant")
            && account.tier == Some(Tier::LOW_TOUCH)
            && account.attributes.as_ref().is_some_and(|all| all["colour"] == "red"))));
    assert!(seen.iter().any(|fact| matches!(fact, Fact::Contract(contract)
        if contract.arr == Some(Money::new(12_600, "USD".parse().expect("USD"))) && contract.end.is_none())));
    let usage = ant
        .iter()
        .find(|signal| signal.external_id.as_str() == "S1|2024-03-01|x")
        .expect("usage by way of the subscription");
    assert_eq!(usage.event_at.to_string(), "2024-03-01T00:00:00Z");
    assert_eq!(usage.observed_at.to_string(), "2024-03-02T00:00:00Z");
    assert!(matches!(&usage.fact, Fact::Usage(usage)
        if usage.values["events"] == Micro::whole(1) && usage.product.as_deref() == Some("x")));

    let rejects = rejects(&report);
    assert_eq!(rejects.len(), 1);
    assert_eq!(rejects[0][..5], ["conflict", "use.csv", "7", "key", "S1|2024-03-01|y"]);
    assert!(rejects[0][5].starts_with("same id as another row with different content; kept "));
    let warnings = report.warnings.join("\n");
    assert!(warnings.contains("`notes.csv` is not imported"), "{warnings}");
    assert!(warnings.contains("`A9` (subs.csv:4)"), "{warnings}");
    assert!(
        warnings.contains("1 rows name a record that is not known"),
        "{warnings}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn importing_again_changes_nothing() {
    let bench = bench();
    let store = bench.store().await;
    let first = bench.import_into(&store, MAPPING).await.expect("an import");
    let second = bench.import_into(&store, MAPPING).await.expect("an import");
    assert_eq!(sums(&second), (13, 0, 13, 0, 1));
    assert_eq!(first.state_hash, second.state_hash);
    assert_ne!(first.rejects_file, second.rejects_file);
}

#[tokio::test(flavor = "multi_thread")]
async fn shuffled_doubled_and_split_files_give_the_same_state() {
    let expect = bench().import(MAPPING).await.expect("an import").state_hash;
    let reversed = |text: &str| {
        let (header, rows) = text.split_once('\n').expect("a header");
        let mut rows = rows.lines().collect::<Vec<_>>();
        rows.reverse();
        format!("{header}\r\n{}\r\n{}", rows.join("\r\n"), rows.join("\r\n"))
    };
    let other = Bench::new(&[
        ("accounts.csv", reversed(ACCOUNTS).as_bytes()),
        ("subs.csv", reversed(SUBS).as_bytes()),
        ("use.csv", reversed(USE).as_bytes()),
    ]);
    assert_eq!(other.import(MAPPING).await.expect("an import").state_hash, expect);

    // The second half first, in batches of one row: usage comes before its subscription.
    let split = Bench::new(&[]);
    let store = split.store().await;
    for second in [true, false] {
        for (name, text) in [("accounts.csv", ACCOUNTS), ("subs.csv", SUBS), ("use.csv", USE)] {
            let (header, rows) = text.split_once('\n').expect("a header");
            let rows = rows.lines().collect::<Vec<_>>();
            let (front, back) = rows.split_at(rows.len() / 2);
            let half = if second { back } else { front };
            split.file(name, format!("{header}\n{}\n", half.join("\n")).as_bytes());
        }
        let mut options = split.options();
        options.batch_rows = 1;
        super::super::import(&store, &split.dir(), &parsed(MAPPING), &options, |_| {})
            .await
            .expect("an import");
    }
    assert_eq!(store.state_hash().await.expect("a hash"), expect);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_export_becomes_the_newer_version() {
    let bench = bench();
    let store = bench.store().await;
    let mut options = bench.options();
    let mapping = parsed(MAPPING);
    for as_of in ["2024-06-01", "2024-07-01"] {
        options.as_of = Some(as_of.parse().expect("a time"));
        let report = super::super::import(&store, &bench.dir(), &mapping, &options, |_| {})
            .await
            .expect("an import");
        assert_eq!(report.read, 13);
    }
    let ant = signals(&store, "A1").await;
    assert!(
        ant.iter()
            .any(|signal| signal.revision_at.to_string() == "2024-07-01T00:00:00Z")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn encodings_marks_and_line_ends_do_not_matter() {
    let mapping = |extra: &str| {
        format!(
            "source = \"t\"\n[defaults]\n{extra}\n[[file]]\npath = \"a.csv\"\nkind = \"account\"\nkey = \"id\"\nfields = {{ name = \"näme\" }}\n"
        )
    };
    let mut hashes = Vec::new();
    for (content, extra) in [
        (&b"id,n\xc3\xa4me\n1,Caf\xc3\xa9\n"[..], ""),
        (b"\xef\xbb\xbfid,n\xc3\xa4me\r\n1,\"Caf\xc3\xa9\"\r\n", ""),
        (
            b" id ; n\xe4me \n 1 ; Caf\xe9 \n",
            "encoding = \"latin-1\"\ndelimiter = \";\"",
        ),
        (
            b"id\tn\xe4me\n1\tCaf\xe9",
            "encoding = \"windows-1252\"\ndelimiter = \"\\t\"",
        ),
    ] {
        let report = Bench::new(&[("a.csv", content)])
            .import(&mapping(extra))
            .await
            .expect("an import");
        assert_eq!(sums(&report), (1, 1, 0, 0, 0));
        hashes.push(report.state_hash);
    }
    assert!(hashes.iter().all(|hash| *hash == hashes[0]));

    let bench = Bench::new(&[("a.csv", b"id,n\xc3\xa4me\n1,Caf\xe9\n2,ok\n")]);
    let report = bench.import(&mapping("")).await.expect("an import");
    assert_eq!(sums(&report), (2, 1, 0, 1, 0));
    assert!(rejects(&report)[0][5].contains("byte 4 of this cell is not UTF-8"));
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_quotes_and_huge_fields_cost_their_rows_only() {
    let huge = format!(
        "id,name\n1,\"open\n2,x\n3,{}\n4,y\n5,\"open again\n",
        "z".repeat(100_000)
    );
    let bench = Bench::new(&[("a.csv", huge.as_bytes())]);
    let mapping =
        "source = \"t\"\n[[file]]\npath = \"a.csv\"\nkind = \"account\"\nkey = \"id\"\nfields = { name = \"name\" }\n";
    let report = bench.import(mapping).await.expect("an import");
    assert_eq!(sums(&report), (5, 2, 0, 3, 0));
    let seen = rejects(&report);
    let lines = seen.iter().map(|row| row[2].as_str()).collect::<Vec<_>>();
    assert_eq!(lines, ["2", "4", "6"]);
    assert!(
        seen[0][5].contains("the quote opened on line 2 is not closed within 65536 bytes"),
        "{seen:?}"
    );
    assert!(seen[2][5].contains("the quote opened on line 6 is not closed before the end"));
    assert!(seen[1][6].len() < 11_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_without_rows_are_a_warning() {
    let bench = Bench::new(&[
        ("accounts.csv", b"id,name,plan,since,mrr,colour\r\n"),
        ("subs.csv", b""),
        ("use.csv", USE.as_bytes()),
    ]);
    let report = bench.import(MAPPING).await.expect("an import");
    assert_eq!(report.read, 6);
    assert!(
        report
            .warnings
            .iter()
            .any(|warning| warning == "`subs.csv` has no rows")
    );
    assert!(report.rejects_file.is_some(), "the conflict is written down");
}

#[test]
fn nothing_is_stored_before_everything_is_there() {
    let bench = bench();
    std::fs::remove_file(bench.dir().join("use.csv")).expect("a file");
    bench.file("uses.csv", b"a\n");
    bench.file("subs.csv", b"sub,id,begin\nS1,A1,2024-01-01\n");
    not_ready(
        &bench,
        MAPPING,
        &[
            "map.toml:28:9: `subs.csv` has no column `start`",
            "map.toml:30:9: `subs.csv` has no column `start`",
            "there is no file `use.csv`",
        ],
    );
    bench.file("subs.csv", b"sub,id,start,id\n");
    bench.file("use.csv", b"sub;day;what;n\n");
    not_ready(
        &bench,
        &MAPPING.replace("key = [\"sub\", \"day\", \"what\"]", "key = \"sub\""),
        &[
            "the column `id` stands there twice",
            "`use.csv` has no column `sub` (help: the header is the one text `sub;day;what;n`: set `delimiter`)",
            "no column",
            "no column",
            "no column",
            "no column",
        ],
    );
    bench.file("subs.csv", b"\"sub,id,start\n");
    bench.file("use.csv", b"\xff\xfes\0u\0");
    not_ready(&bench, MAPPING, &["the quote opened on line 1", "is UTF-16"]);
}

#[test]
fn folders_that_cannot_serve_are_named() {
    not_ready(
        &Bench::new(&[]),
        MAPPING,
        &["the folder holds no CSV file and no file of JSON Lines"],
    );
    let bench = bench();
    std::fs::remove_dir_all(bench.dir()).expect("a folder");
    not_ready(&bench, MAPPING, &["the folder cannot be read"]);
    let bench = self::bench();
    std::fs::write(bench.root.path().join("rejects"), b"a file").expect("a file");
    not_ready(&bench, MAPPING, &["rejected rows cannot be written here"]);
    assert!(Path::new(&bench.root.path().join("rejects")).is_file());
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_reaches_the_end() {
    let bench = bench();
    let mut last = None;
    let store = bench.store().await;
    super::super::import(&store, &bench.dir(), &parsed(MAPPING), &bench.options(), |progress| {
        last = Some((progress.rows, progress.bytes, progress.bytes_total));
    })
    .await
    .expect("an import");
    let total = (2 * ACCOUNTS.len() + SUBS.len() + USE.len()) as u64;
    assert_eq!(last, Some((13, total, total)));
}

#[tokio::test]
async fn roles_in_deals_are_read_and_words_without_a_role_say_nothing() {
    use perennial_core::signal::ContactRole;
    const MAPPING: &str = r#"
source = "test"
[[file]]
path = "people.csv"
kind = "contact"
key = "id"
account = "account"
[file.fields]
name = "id"
deal_roles = { column = "roles", values = { Buyer = "economic_buyer", Fan = "champion" } }
"#;
    let text = "id,account,roles\n1,a,\"d1=Buyer\nd1=Fan\nd2=Other\nd3=user\"\n2,a,d3=Other\n3,a,Buyer\n4,a,\n";
    let bench = Bench::new(&[("people.csv", text.as_bytes())]);
    let store = bench.store().await;
    let report = bench.import_into(&store, MAPPING).await.expect("imports");
    assert_eq!(sums(&report), (4, 3, 0, 1, 0));
    assert!(rejects(&report)[0].iter().any(|cell| cell.contains("without `=`")));
    let roles = |fact: &Fact| match fact {
        Fact::Contact(person) => {
            let all = person.roles_in_deals();
            all.map(|(deal, role)| (deal.to_owned(), role)).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    let stored = signals(&store, "a").await;
    let mut all: Vec<_> = facts(&stored).into_iter().map(roles).collect();
    all.sort();
    let first = vec![
        ("d1".to_owned(), ContactRole::Champion),
        ("d3".to_owned(), ContactRole::User),
    ];
    assert_eq!(
        all,
        [vec![], vec![], first],
        "of two roles in one deal the first in their order counts"
    );
}
