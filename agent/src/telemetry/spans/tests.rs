use super::*;

#[test]
fn ids_of_traces_are_those_of_runs_and_decisions_and_last() {
    assert_eq!(
        trace_of("run_0123456789abcdef0123").to_string(),
        "0000000000000123456789abcdef0123"
    );
    assert_eq!(span_of("dec_0123456789abcdef0123").to_string(), "0123456789abcdef");
    assert_eq!(span_of("run_fedcba98765432100123").to_string(), "fedcba9876543210");
    // Ids of another form have a place too, the same each time.
    for odd in ["run_1", "", "run_zz23456789abcdef0123"] {
        assert_ne!(trace_of(odd), TraceId::INVALID);
        assert_eq!(trace_of(odd), trace_of(odd));
        assert_ne!(span_of(odd), SpanId::INVALID);
        assert_eq!(span_of(odd), span_of(odd));
    }
    assert_ne!(span_of("dec_1"), span_of("dec_2"));
}

#[test]
fn a_share_is_a_share_of_ids_and_grows_with_it() {
    let ids: Vec<SpanId> = (0..2_000).map(|n| span_of(&n.to_string())).collect();
    let within = |share: f64| ids.iter().filter(|id| is_within(**id, share)).count();
    assert_eq!(within(0.0), 0);
    assert_eq!(within(1.0), ids.len());
    let tenth = within(0.1);
    assert!((140..=260).contains(&tenth), "{tenth} of 2,000");
    let both = ids.iter().filter(|id| is_within(**id, 0.1) && !is_within(**id, 0.3));
    assert_eq!(both.count(), 0, "what is within a share is within a greater one");
}
