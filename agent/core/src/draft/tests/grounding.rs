//! What the check finds in a draft that was tampered with.

use super::*;

fn kinds(findings: &[Finding]) -> Vec<FindingKind> {
    findings.iter().map(|finding| finding.kind).collect()
}

/// What the check says about the full review after one edit of its text.
#[track_caller]
fn after(from: &str, to: &str) -> Vec<FindingKind> {
    let input = case("full");
    let draft = render(&templates(), DocumentKind::Qbr, &input).expect("a draft");
    assert!(draft.body().contains(from), "no `{from}` in\n{}", draft.body());
    kinds(&check(&draft.edited(&draft.markdown.replacen(from, to, 1)), &input))
}

#[test]
fn an_edit_that_changes_no_figure_passes() {
    assert_eq!(after("What stood out", "What we noticed"), []);
    assert_eq!(after("The first answer came", "**The first answer** came"), []);
}

#[test]
fn a_number_without_evidence_is_found() {
    assert_eq!(
        after("What stood out", "These 3 things stood out"),
        [FindingKind::Number]
    );
    assert_eq!(after("What stood out", "What ٣ stood out"), [FindingKind::Number]);
    assert_eq!(after("What stood out", "In 2026 this stood out"), [FindingKind::Number]);
    assert_eq!(after("What stood out", "By 30 September 2026 this stood out"), []);
    // A name with a digit does not free the digit.
    assert_eq!(after("What stood out", "2 things stood out"), [FindingKind::Number]);
}

#[test]
fn a_changed_figure_is_found() {
    let found = after("1,240[^", "1,250[^");
    assert_eq!(found, [FindingKind::Value, FindingKind::Number]);
    assert_eq!(after("1,240[^", "91,240[^"), [FindingKind::Value, FindingKind::Number]);
    assert_eq!(after("1,240[^", "[^"), [FindingKind::Value]);
}

#[test]
fn a_figure_cut_from_its_evidence_is_found() {
    let input = case("full");
    let draft = render(&templates(), DocumentKind::Qbr, &input).expect("a draft");
    let id = &draft.evidence[0].id;
    assert_eq!(after(&format!("[^{id}]"), ""), [FindingKind::Number]);
    assert_eq!(after(&format!("[^{id}]"), "[^ev_unknown]")[0], FindingKind::Evidence);
}

#[test]
fn evidence_that_the_input_lacks_or_has_otherwise_is_found() {
    let mut input = case("full");
    let draft = render(&templates(), DocumentKind::Qbr, &input).expect("a draft");
    let FigureSlot::Known(figure) = input.figures.get_mut("active_users_now").expect("a figure") else {
        panic!("known");
    };
    figure.value = FigureValue::Count(1_239);
    assert_eq!(kinds(&check_stored(&draft, &input)), [FindingKind::Value]);
    input.figures.remove("active_users_now");
    assert_eq!(kinds(&check_stored(&draft, &input)), [FindingKind::Evidence]);
}

#[test]
fn markup_addresses_and_invisible_characters_are_found() {
    assert_eq!(
        after("What stood out", "[What](https://a.example) stood out"),
        [FindingKind::Markup]
    );
    assert_eq!(
        after("What stood out", "![What](a.png) stood out"),
        [FindingKind::Markup]
    );
    assert!(after("What stood out", "<b>What</b> stood out").contains(&FindingKind::Markup));
    assert_eq!(after("What stood out", "See https://a.example"), [FindingKind::Address]);
    assert_eq!(after("What stood out", "Write to x@a.example"), [FindingKind::Address]);
    assert_eq!(after("What stood out", "What\u{200B} stood out"), [FindingKind::Hidden]);
}

#[test]
fn an_edit_cannot_bring_elements_into_the_page() {
    let input = case("full");
    let draft = render(&templates(), DocumentKind::Qbr, &input).expect("a draft");
    let edit = "<script>x</script>\n\n<div onclick=x>y</div>\n\n[l](javascript:x) ![i](https://a.example/i.png)\n\nWhat stood out";
    let html = draft.edited(&draft.markdown.replacen("What stood out", edit, 1)).html;
    for element in ["<script", "<div", "<a ", "<img"] {
        assert!(!html.contains(element), "{element}");
    }
    assert!(html.contains("&lt;script&gt;x&lt;/script&gt;"));
}

#[test]
fn parts_that_do_not_belong_together_are_found() {
    let input = case("full");
    let good = render(&templates(), DocumentKind::Qbr, &input).expect("a draft");
    let mut draft = good.clone();
    draft.html = draft.html.replace("1,240", "1,250");
    assert_eq!(kinds(&check_stored(&draft, &input)), [FindingKind::Stale]);
    let mut draft = good.clone();
    draft.markdown.push_str("More.\n");
    assert!(kinds(&check_stored(&draft, &input)).contains(&FindingKind::Stale));
    assert_eq!(
        kinds(&check(&good.edited("# Title only"), &input)),
        [FindingKind::Empty]
    );
}

#[test]
fn a_total_that_is_not_the_sum_is_found() {
    let mut input = case("full");
    let FigureSlot::Known(figure) = input.figures.get_mut("arr_proposed").expect("a figure") else {
        panic!("known");
    };
    figure.value = FigureValue::Money(crate::money::Money::new(19_080_001, "EUR".parse().expect("a currency")));
    let draft = render(&templates(), DocumentKind::RenewalProposal, &input).expect("a draft");
    assert_eq!(kinds(&check_stored(&draft, &input)), [FindingKind::Sum]);
}

#[test]
fn inputs_that_cannot_stand_in_a_document_are_refused() {
    let templates = templates();
    let refused = |change: &dyn Fn(&mut DraftInput)| {
        let mut input = case("full");
        change(&mut input);
        render(&templates, DocumentKind::Qbr, &input)
            .expect_err("refused")
            .to_string()
    };
    let figure = |evidence: &str, value: FigureValue| {
        FigureSlot::Known(Figure {
            evidence: evidence.to_owned(),
            value,
            as_of: "2026-09-30".parse().expect("a moment"),
            source: "x".to_owned(),
        })
    };
    insta::assert_snapshot!([
        refused(&|input| input.account_name = " \u{200B}".to_owned()),
        refused(&|input| input.highlights = vec![Statement::words("Twice as many as the 5 before")]),
        refused(&|input| input.highlights = vec![Statement { pieces: vec![Piece::Figure("nothing".to_owned())] }]),
        refused(&|input| drop(input.figures.insert("nps".into(), figure("ev_1]", FigureValue::Count(1))))),
        refused(&|input| drop(input.figures.insert("nps".into(), figure("ev_1", FigureValue::Count(1))))),
        refused(&|input| drop(input.figures.insert("odd".into(), figure("ev_1", FigureValue::Text(" ".into()))))),
    ].join("\n"), @r##"
    the document needs `account_name`
    the words `Twice as many as the 5 before` of `highlights.0.text` hold a number without evidence
    the statement `highlights.0.text` refers to a figure `nothing` that the input does not have
    the figure `nps` carries `ev_1]`, which is not an evidence id such as `ev_3f9a2c11d0`
    the figure `nps` is of kind `count` where `score` is declared
    the figure `odd` is blank: a figure that is not known is given as unknown
    "##);
}
