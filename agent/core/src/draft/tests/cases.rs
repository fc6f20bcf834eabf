//! Every shipped template with every shipped case.

use super::*;

/// Elements of a page: what follows each `<` of its body. The sanitiser writes `&lt;` for any `<` of a text, so this
/// finds all there are.
fn elements(html: &str) -> Vec<&str> {
    let body = html
        .split_once("<main")
        .expect("a main part")
        .1
        .split_once('>')
        .expect("its end")
        .1;
    let body = body.split_once("</main>").expect("its end").0;
    body.split('<')
        .skip(1)
        .map(|part| part.split('>').next().unwrap_or_default())
        .collect()
}

fn name(element: &str) -> &str {
    element.trim_start_matches('/').split(' ').next().unwrap_or_default()
}

/// The text of a page without its elements.
fn text(html: &str) -> String {
    let body = html.split_once("<main").expect("a main part").1;
    let mut out = String::new();
    for part in body.split('<').skip(1) {
        out.push_str(part.split_once('>').map_or("", |(_, text)| text));
    }
    out.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&nbsp;", "\u{a0}")
        .replace("&amp;", "&")
}

#[test]
fn every_case_renders_and_is_grounded() {
    let templates = templates();
    for name in ["full", "minimal"] {
        for &kind in DocumentKind::ALL {
            let input = case(name);
            let draft = render(&templates, kind, &input).expect("a draft");
            assert_eq!(check(&draft, &input), [], "{name} {kind}\n{}", draft.markdown);
            assert_eq!(draft, render(&templates, kind, &input).expect("the same draft"));
            assert_eq!(
                draft,
                serde_json::from_str(&serde_json::to_string(&draft).expect("json")).expect("a draft")
            );
        }
    }
}

#[test]
fn the_full_review_reads_like_this() {
    let draft = render(&templates(), DocumentKind::Qbr, &case("full")).expect("a draft");
    insta::assert_snapshot!("qbr_full", draft.markdown);
}

#[test]
fn the_full_proposal_reads_like_this() {
    let draft = render(&templates(), DocumentKind::RenewalProposal, &case("full")).expect("a draft");
    insta::assert_snapshot!("renewal_proposal_full", draft.markdown);
}

#[test]
fn what_is_not_known_is_said_and_never_zero() {
    let mut both = String::new();
    for &kind in DocumentKind::ALL {
        let draft = render(&templates(), kind, &case("minimal")).expect("a draft");
        assert!(draft.evidence.is_empty());
        both.push_str(draft.body());
        both.push_str("\n\n=====\n\n");
    }
    assert!(!both.replace("2026", "").contains('0'), "{both}");
    insta::assert_snapshot!("minimal", both);
}

#[test]
fn a_page_marks_each_figure_with_its_evidence() {
    let draft = render(&templates(), DocumentKind::Qbr, &case("full")).expect("a draft");
    let figure = draft
        .evidence
        .iter()
        .find(|line| line.label == "Active users, this period")
        .expect("a figure");
    let data = format!(
        "<data class=\"figure\" value=\"1240\" data-evidence=\"{}\" title=\"usage:demo/daily, 12 records, as of 30 September 2026\">1,240</data>",
        figure.id
    );
    assert!(draft.html.contains(&data), "{}", draft.html);
    assert_eq!(
        draft.html.matches("<data ").count(),
        draft.body().matches("[^ev_").count()
    );
    assert_eq!(draft.html.matches("<tr id=\"ev_").count(), draft.evidence.len());
    assert!(draft.html.contains("<html lang=\"en\">") && draft.html.contains("@page"));
    assert!(!draft.html.contains("http:") && !draft.html.contains("https:") && !draft.html.contains("url("));
    assert!(
        !draft.html.contains("[^") && !draft.html.contains("**"),
        "{}",
        draft.html
    );
    assert_eq!(
        draft.title,
        "Quarterly business review: Northwind Logistics 3PL, Q3 2026"
    );
}

#[test]
fn hostile_text_appears_as_text_and_makes_nothing() {
    let mut input = case("hostile");
    input.products[0] = "x<i>|*_`#[](".repeat(1_000);
    let allowed = [
        "bdi",
        "blockquote",
        "data",
        "h1",
        "h2",
        "li",
        "p",
        "section",
        "strong",
        "sup",
        "table",
        "tbody",
        "td",
        "th",
        "thead",
        "tr",
        "ul",
    ];
    let plain = render(&templates(), DocumentKind::Qbr, &without_text(&input)).expect("a draft");
    for &kind in DocumentKind::ALL {
        let draft = render(&templates(), kind, &input).expect("a draft");
        for element in elements(&draft.html) {
            assert!(allowed.contains(&name(element)), "<{element}> in {kind}");
            for word in ["href", "src", "onerror", "javascript:"] {
                let attributes = element.split_once(" title=").map_or(element, |(before, _)| before);
                assert!(!attributes.contains(word), "<{element}> in {kind}");
            }
        }
        let shown = text(&draft.html);
        assert!(
            shown.contains("<script>alert(1)</script> | a\\|b *b* _i_ `c` # h ![x](https://evil.example/p.png)"),
            "{shown}"
        );
        assert!(
            shown.contains("[^ev_0000000000] [^1]: note <img src=x onerror=alert(3)> &lt;b&gt; ~~s~~"),
            "{shown}"
        );
        assert!(
            shown.contains("{{fig \"arr\"}} bbub".replace("bbub", "obbub").as_str()),
            "{shown}"
        );
        assert!(shown.contains("- list # heading --- [^ev_x]: note"), "{shown}");
        assert!(!draft.markdown.contains('\u{202E}') && !draft.markdown.contains('\u{200B}'));
        if kind == DocumentKind::Qbr {
            assert!(shown.contains(&"x<i>|*_`#[](".repeat(1_000)));
            // The same elements in the same order as with harmless text.
            let names = |html| {
                elements(html)
                    .into_iter()
                    .map(name)
                    .filter(|n| *n != "bdi")
                    .collect::<Vec<_>>()
                    .join(" ")
            };
            assert_eq!(names(&draft.html), names(&plain.html));
        }
        let title = draft
            .html
            .split_once("<title>")
            .expect("a title")
            .1
            .split_once("</title>")
            .expect("its end")
            .0;
        assert!(!title.contains('<') && title.contains("&lt;script&gt;"));
        // Addresses are shown but a person is told; numbers of names pass, as does everything else.
        let findings = check(&draft, &input);
        assert!(
            findings.iter().all(|finding| finding.kind == FindingKind::Address),
            "{findings:#?}"
        );
    }
}

/// The hostile case with every text replaced by a harmless word.
fn without_text(input: &DraftInput) -> DraftInput {
    let mut input = input.clone();
    let word = || "word".to_owned();
    input.account_name = word();
    input.our_name = Some(word());
    input.owner_name = Some(word());
    input.contact = Some(ContactLine {
        name: word(),
        title: Some(word()),
    });
    input.products.iter_mut().for_each(|product| *product = word());
    input
        .contracts
        .iter_mut()
        .for_each(|contract| contract.product = word());
    let clear = |statement: &mut Statement| {
        for piece in &mut statement.pieces {
            if !matches!(piece, Piece::Figure(_)) {
                *piece = Piece::Words(" word ".to_owned());
            }
        }
    };
    input.highlights.iter_mut().chain(&mut input.questions).for_each(clear);
    input.goals.iter_mut().for_each(|goal| {
        clear(&mut goal.text);
        goal.state = Some(word());
    });
    input.risks.iter_mut().for_each(|risk| {
        clear(&mut risk.text);
        clear(&mut risk.proposal);
    });
    input.dates.iter_mut().for_each(|line| clear(&mut line.text));
    input.next_steps.iter_mut().for_each(|step| {
        clear(&mut step.text);
        step.who = Some(word());
    });
    input
}

#[test]
fn right_to_left_names_stand_apart_from_figures() {
    let draft = render(&templates(), DocumentKind::Qbr, &case("hostile")).expect("a draft");
    assert!(draft.html.contains("<bdi>שלום עולם 12 | مرحبا</bdi>"), "{}", draft.html);
}

#[test]
fn cases_are_run_before_a_set_is_taken() {
    let mut cases = BTreeMap::new();
    for name in ["full", "minimal", "hostile"] {
        cases.insert(
            format!("cases/{name}.json"),
            serde_json::to_string(&case(name)).expect("json"),
        );
    }
    assert_eq!(templates().check_cases(&cases), []);
    let mut input = case("minimal");
    input.account_name = " ".to_owned();
    let cases = BTreeMap::from([
        ("cases/a.json".to_owned(), serde_json::to_string(&input).expect("json")),
        ("cases/b.json".to_owned(), "{\n \"acount\": 1}".to_owned()),
    ]);
    let problems = templates().check_cases(&cases);
    let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(text.len(), 3);
    assert_eq!(
        text[0],
        "cases/a.json:1:1: `qbr` is not made from this case: the document needs `account_name`"
    );
    assert!(
        text[2].starts_with("cases/b.json:2:9: the case cannot be read: unknown field `acount`"),
        "{}",
        text[2]
    );
}

#[test]
fn the_same_input_gives_the_same_bytes_every_time() {
    let (templates, input) = (templates(), case("full"));
    let first = render(&templates, DocumentKind::Qbr, &input).expect("a draft").hash;
    for _ in 0..20 {
        assert_eq!(
            render(&templates, DocumentKind::Qbr, &input).expect("a draft").hash,
            first
        );
    }
}

#[test]
fn the_content_hash_follows_the_content() {
    let mut files = content();
    let before = Templates::compile(&files).expect("templates").hash();
    files.insert("cases/other.json".to_owned(), "{}".to_owned());
    files.insert("README.md".to_owned(), "9".to_owned());
    assert_eq!(Templates::compile(&files).expect("templates").hash(), before);
    files.get_mut("qbr.hbs").expect("a template").push_str("\nThank you.\n");
    assert_ne!(Templates::compile(&files).expect("templates").hash(), before);
}
