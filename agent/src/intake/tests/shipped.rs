//! The mappings that are shipped: they load, and on the real data sets their sums are exact.

use std::path::PathBuf;

use super::super::{ImportReport, Mapping};
use super::{Bench, rejects, sums};

fn mapping(name: &str) -> Mapping {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../examples/mappings")
        .join(name);
    Mapping::load(&path).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

/// The folder of a data set; nothing, said aloud, where it is not at hand.
fn data(test: &str, name: &str) -> Option<PathBuf> {
    let shared = std::env::var("PERENNIAL_SHARED").unwrap_or_else(|_| "../shared".to_owned());
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(shared);
    let dir = root.join("datasets").join(name);
    if dir.is_dir() {
        return Some(dir);
    }
    println!("SKIPPED {test}: no data sets at {}", root.display());
    None
}

async fn import(bench: &Bench, dir: &std::path::Path, mapping: &Mapping) -> ImportReport {
    let store = bench.store().await;
    super::super::import(&store, dir, mapping, &bench.options(), |_| {})
        .await
        .expect("an import")
}

/// Imports twice: the first time with these sums, the second time without any change.
async fn check(
    dir: PathBuf,
    mapping: &Mapping,
    files: &[(u64, u64, u64, u64)],
    conflicts: u64,
) -> (Bench, ImportReport) {
    let bench = Bench::new(&[]);
    let first = import(&bench, &dir, mapping).await;
    let seen = first
        .files
        .iter()
        .map(|file| (file.read, file.stored, file.duplicate, file.rejected))
        .collect::<Vec<_>>();
    assert_eq!(seen, files, "{:#?}", rejects(&first).iter().take(5).collect::<Vec<_>>());
    assert_eq!(first.conflicts, conflicts);
    assert_eq!((first.orphans, first.unlinked), (0, 0));
    assert_eq!(first.warnings, Vec::<String>::new());
    sums(&first);
    let second = import(&bench, &dir, mapping).await;
    assert_eq!(
        sums(&second),
        (first.read, 0, first.stored + first.duplicate, first.rejected, conflicts)
    );
    assert_eq!(second.state_hash, first.state_hash);
    (bench, first)
}

#[test]
fn shipped_mappings_load() {
    for name in ["ravenstack.toml", "planted.toml", "crm_opps.toml"] {
        mapping(name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ravenstack_sums() {
    let mapping = mapping("ravenstack.toml");
    let Some(dir) = data("ravenstack_sums", "ravenstack") else {
        return;
    };
    let files = [
        (500, 500, 0, 0),
        (5_000, 5_000, 0, 0),
        (25_000, 24_979, 21, 0),
        (2_000, 2_000, 0, 0),
        (600, 600, 0, 0),
    ];
    let (_bench, report) = check(dir, &mapping, &files, 21).await;
    assert_eq!(sums(&report), (33_100, 33_079, 21, 0, 21));
    assert!(
        rejects(&report)
            .iter()
            .all(|row| row[0] == "conflict" && row[1] == "ravenstack_feature_usage.csv")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn planted_sums() {
    let mapping = mapping("planted.toml");
    let Some(dir) = data("planted_sums", "planted-42") else {
        return;
    };
    let files = [
        (800, 800, 0, 0),
        (800, 800, 0, 0),
        (800, 17, 783, 0),
        (4_825, 4_825, 0, 0),
        (83_664, 83_664, 0, 0),
        (7_374, 7_374, 0, 0),
        (662, 662, 0, 0),
    ];
    let (_bench, report) = check(dir, &mapping, &files, 0).await;
    assert_eq!(sums(&report), (98_925, 98_142, 783, 0, 0));
    assert_eq!(report.rejects_file, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn crm_opps_sums() {
    let mapping = mapping("crm_opps.toml");
    let Some(dir) = data("crm_opps_sums", "crm_opps") else {
        return;
    };
    let files = [(85, 85, 0, 0), (7, 7, 0, 0), (35, 35, 0, 0), (8_800, 7_375, 0, 1_425)];
    let (_bench, report) = check(dir, &mapping, &files, 0).await;
    assert_eq!(sums(&report), (8_927, 7_502, 0, 1_425, 0));
    assert!(
        rejects(&report)
            .iter()
            .all(|row| row[3] == "account" && row[5] == "the account is empty")
    );
}
