//! What needs no solver; proofs themselves are tested in `tests/it/prove.rs`.

use super::counterexample::{mentions, moment, reads};

#[test]
fn a_fact_is_read_only_where_its_whole_name_stands_behind_a_dot() {
    let text = "when { resource has arr_minor && resource.arr_minor < 3 && context.confidence_x > 1 }";
    assert!(reads(text, "arr_minor"));
    assert!(!reads(text, "arr") && !reads(text, "confidence") && !reads(text, "minor"));
}

#[test]
fn a_moment_is_read_in_both_forms_that_cedar_prints() {
    assert_eq!(
        moment("(datetime(\"1970-01-01\")).offset(duration(\"-1ms\"))"),
        Some(-1)
    );
    assert_eq!(moment("datetime(\"1970-01-02\")"), Some(86_400_000));
    assert_eq!(moment("soon"), None);
}

#[test]
fn a_name_is_mentioned_as_a_whole_word_however_it_is_written() {
    let text = "unless { resource has legal_hold || resource[\"tier\"] == x } when { context.confidence > 1 }";
    for name in ["legal_hold", "tier", "confidence"] {
        assert!(mentions(text, name), "{name}");
    }
    assert!(!mentions(text, "legal") && !mentions(text, "hold") && !mentions(text, "confidence_pm"));
}
