//! Templates that are wrong on purpose, and what is said about them.

use super::*;

/// The problems of a review template, as text.
fn problems(template: &str) -> String {
    with(&[("qbr.hbs", template)])
}

fn with(changes: &[(&str, &str)]) -> String {
    let mut files = content();
    for (file, text) in changes {
        files.insert((*file).to_owned(), (*text).to_owned());
    }
    match Templates::compile(&files) {
        Ok(_) => "no problem".to_owned(),
        Err(problems) => problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
    }
}

#[test]
fn names_that_lead_nowhere_are_found_even_in_a_condition() {
    insta::assert_snapshot!(problems(
        "# {{acount_name}}\n\n{{#if acount_name}}x{{/if}}\n{{#each contracts}}\n- {{#if x}}{{else}}{{prodct}}{{/if}} {{account_name}} {{../account_name}}\n{{/each}}\n\
         {{contracts.product}} {{this}} {{@first}} {{../x}} {{#each highlights}}{{this}}{{/each}}\n"
    ), @r##"
    qbr.hbs:1:5: the document declares no slot `acount_name` (did you mean `account_name`?)
    qbr.hbs:3:7: the document declares no slot `acount_name` (did you mean `account_name`?)
    qbr.hbs:5:9: the document declares no slot `x` in the lines of `contracts` (`qbr.toml` lists what the document may use; add a [[slot]] there)
    qbr.hbs:5:22: the document declares no slot `prodct` in the lines of `contracts` (did you mean `product`?)
    qbr.hbs:5:40: the document declares no slot `account_name` in the lines of `contracts` (`account_name` belongs to the whole document: write `../account_name`)
    qbr.hbs:7:3: `contracts` is a list (write `{{#each contracts}}` and name the slot inside)
    qbr.hbs:7:25: `this` stands outside any list
    qbr.hbs:7:34: `@first` stands outside any list
    qbr.hbs:7:45: `../x` leads out of the document
    qbr.hbs:7:74: `this` is a group of slots (write one of them: highlights.text)
    "##);
}

#[test]
fn figures_are_printed_with_their_evidence_only() {
    insta::assert_snapshot!(problems(
        "{{fig \"active_user_now\"}} {{fig active_users_now}} {{active_users_now}} {{fig account_name}}\n\
         {{#if nps}}x{{/if}} {{#known \"npss\" \"csat\"}}x{{/known}} {{fig \"nps\" show=\"big\"}} {{fig \"nps\" \"csat\"}}\n\
         {{#each highlights}}{{text}}{{/each}} {{say account_name}} {{#positive \"nps\" \"csat\"}}{{/positive}} {{known \"nps\"}}\n\
         {{#each contracts}}{{seats}} {{fig \"contracts.seats\"}} {{fig seets}} {{renews_itself}}{{/each}}"
    ), @r##"
    qbr.hbs:1:8: the document declares no figure `active_user_now` (did you mean `active_users_now`?)
    qbr.hbs:1:54: `active_users_now` is a figure (write `{{fig active_users_now}}`)
    qbr.hbs:1:79: `account_name` is not a figure (figures carry evidence; a name or a day of the input is printed without `fig`)
    qbr.hbs:2:7: `nps` is a figure (write `{{#known nps}}`: a figure that is zero is still known)
    qbr.hbs:2:31: the document declares no figure `npss` (did you mean `nps`?)
    qbr.hbs:2:69: `show=…` means nothing here (`fig` knows `show="size"` (without the sign) and `show="signed"`)
    qbr.hbs:2:84: `fig` prints one thing (write `{{fig …}}` with one name)
    qbr.hbs:3:23: `text` is a sentence with figures (write `{{say text}}`)
    qbr.hbs:3:45: `account_name` is not a sentence (`say` prints a sentence with figures)
    qbr.hbs:3:63: `positive` needs to know what it is about (write `{{#positive …}}` with one name)
    qbr.hbs:3:102: `known` opens a block (write `{{#known …}}` and close it with `{{/known}}`)
    qbr.hbs:4:22: `seats` is a figure (write `{{fig seats}}`)
    qbr.hbs:4:37: the document declares no figure `contracts.seats` (`qbr.toml` lists what the document may use; add a [[figure]] there)
    qbr.hbs:4:62: the document declares no slot `seets` in the lines of `contracts` (did you mean `seats`?)
    qbr.hbs:4:72: `renews_itself` is true or false (write `{{#if renews_itself}}…{{/if}}`)
    "##);
}

#[test]
fn what_may_be_empty_is_printed_inside_a_condition() {
    insta::assert_snapshot!(problems(
        "{{owner_name}} {{#if owner_name}}{{owner_name}}{{else}}{{owner_name}}{{/if}} {{contact.name}}\n\
         {{#if contact}}{{contact.name}} {{contact.title}}{{/if}} {{contracts}} {{contact}}"
    ), @r##"
    qbr.hbs:1:3: `owner_name` is optional and may be empty here (put `{{#if …}}` around it, with `{{else}}` for when `owner_name` is not known)
    qbr.hbs:1:58: `owner_name` is optional and may be empty here (put `{{#if …}}` around it, with `{{else}}` for when `owner_name` is not known)
    qbr.hbs:1:80: `contact` is optional and may be empty here (put `{{#if …}}` around it, with `{{else}}` for when `contact` is not known)
    qbr.hbs:2:35: `contact.title` is optional and may be empty here (put `{{#if …}}` around it, with `{{else}}` for when `contact.title` is not known)
    qbr.hbs:2:60: `contracts` is a list (write `{{#each contracts}}`)
    qbr.hbs:2:74: `contact` is a group of slots (write one of them: contact.name, contact.title)
    "##);
}

#[test]
fn digits_markup_and_invisible_characters_are_refused() {
    insta::assert_snapshot!(problems(
        "# {{account_name}} in Q3\n\nup 12.5% and ٣\n{{{account_name}}} {{&account_name}}\n<b>x</b> a\u{200B}b {{!-- 5 <b> --}} {{! 6 }}"
    ), @r##"
    qbr.hbs:1:24: a digit is typed into the template (a number in a document is a figure with evidence: write `{{fig "…"}}`, or say it in words)
    qbr.hbs:3:4: a digit is typed into the template (a number in a document is a figure with evidence: write `{{fig "…"}}`, or say it in words)
    qbr.hbs:3:14: a digit is typed into the template (a number in a document is a figure with evidence: write `{{fig "…"}}`, or say it in words)
    qbr.hbs:4:1: `{{{` and `{{&` print text as markup, which is refused (write `{{…}}`: customer text is always shown as text)
    qbr.hbs:4:20: `{{{` and `{{&` print text as markup, which is refused (write `{{…}}`: customer text is always shown as text)
    qbr.hbs:5:1: HTML in a template (templates are Markdown; the page is made from it)
    qbr.hbs:5:5: HTML in a template (templates are Markdown; the page is made from it)
    qbr.hbs:5:11: an invisible character (U+200B) (delete it)
    "##);
}

#[test]
fn unknown_words_and_partials_are_named() {
    insta::assert_snapshot!(problems(
        "{{figg \"nps\"}}\n{{#knwon \"nps\"}}x{{/knwon}}\n{{> preparde}} {{> prepared contact}}\n{{#with contact}}{{/with}}\n\
         {{#if (eq a b)}}{{/if}} {{lookup a b}} {{log \"x\"}} {{#each contracts as |c|}}x{{/each}}\n{{#if}}x{{/if}} {{#if \"nps\"}}{{/if}}"
    ), @r##"
    qbr.hbs:1:3: there is no helper `figg` (did you mean `fig`?)
    qbr.hbs:2:4: there is no block `knwon` (did you mean `known`?)
    qbr.hbs:3:5: there is no partial `preparde` (did you mean `prepared`?)
    qbr.hbs:3:20: a partial takes no arguments here (a partial sees what the line around it sees)
    qbr.hbs:4:4: there is no block `with` (there are: each, if, known, negative, positive, unless)
    qbr.hbs:5:1: brackets inside a tag are not used here (use a block, such as `{{#known "nps" "csat"}}` for any of several)
    qbr.hbs:5:27: there is no helper `lookup`
    qbr.hbs:5:42: there is no helper `log`
    qbr.hbs:5:55: `as |…|` is not used here (inside the block, write the name of the slot)
    qbr.hbs:6:4: `if` needs to know what it is about (write `{{#if …}}` with one name)
    qbr.hbs:6:24: `"nps"` is not the name of a slot (write the name of a slot without quotes)
    "##);
}

#[test]
fn blocks_are_reported_where_they_open() {
    insta::assert_snapshot!(problems("a\n{{#if contact}}\nb\n{{#known \"nps\"}}\nc\n"), @r##"
    qbr.hbs:2:1: the block `{{#if}}` is never closed (add `{{/if}}` where it should end)
    qbr.hbs:4:1: the block `{{#known}}` is never closed (add `{{/known}}` where it should end)
    "##);
    insta::assert_snapshot!(problems("{{#if contact}}\n{{#known \"nps\"}}\nc\n{{/if}}\n{{/each}}{{else}}"), @r##"
    qbr.hbs:4:1: `{{/if}}` stands where `{{/known}}` should: `{{#known}}` was opened on line 2 (close `known` first)
    qbr.hbs:5:1: `{{/each}}` closes a block that was never opened
    qbr.hbs:5:10: `{{else}}` stands outside any block
    "##);
    insta::assert_snapshot!(problems("a\n  {{account_name"), @r##"qbr.hbs:2:3: a tag is never closed (end it with `}}`)"##);
    insta::assert_snapshot!(problems("{{!-- a"), @r##"qbr.hbs:1:1: a comment is never closed (end it with `--}}`)"##);
    insta::assert_snapshot!(problems("a {{account name!}} {{#*inline \"x\"}}{{/inline}} {{^}}"), @r##"
    qbr.hbs:1:21: blocks that define or fill partials are not used here (put the text into a file of `partials/` and write `{{> name}}`)
    qbr.hbs:1:49: `{{^}}` is hard to read (write `{{else}}`)
    "##);
}

#[test]
fn partials_are_checked_where_they_are_used() {
    insta::assert_snapshot!(with(&[
        ("qbr.hbs", "{{> line}}{{#each contracts}}{{> line}}{{/each}}{{> loop_a}}"),
        ("partials/line.hbs", "text\n {{product}}\n"),
        ("partials/loop_a.hbs", "{{> loop_b}}"),
        ("partials/loop_b.hbs", "{{> loop_a}} {{#each contracts}}{{../account_name}}{{/each}}"),
        ("partials/Bad.hbs", ""),
        ("qbr2.hbs", ""),
    ]), @r##"
    partials/Bad.hbs:1:1: a partial is named in small letters and `_`, and not like a document
    partials/line.hbs:2:4: `contracts.product` is optional and may be empty here (put `{{#if …}}` around it, with `{{else}}` for when `contracts.product` is not known)
    partials/line.hbs:2:4: the document declares no slot `product` (did you mean `products`?)
    partials/loop_b.hbs:1:5: the partial `loop_a` includes itself
    partials/loop_b.hbs:1:35: `../account_name` is not used inside a partial
    qbr2.hbs:1:1: there is no document `qbr2` (documents are qbr.hbs, renewal_proposal.hbs; shared text goes into `partials/`)
    "##);
}

#[test]
fn declarations_are_checked_against_what_the_engine_offers() {
    insta::assert_snapshot!(with(&[("qbr.hbs", "# x"), ("qbr.toml", "document = \"qbrs\"\n[[figure]]\nname = \"npss\"\nkind = \"score\"\nrequired = false\nlabel = \"x\"\nmeaning = \"x\"\n[[figure]]\nname = \"nps\"\nkind = \"count\"\nrequired = false\nlabel = \"x\"\nmeaning = \"x\"\n[[slot]]\nname = \"tier\"\nkind = \"text\"\nrequired = false\nmeaning = \"x\"\n[[slot]]\nname = \"tier\"\nkind = \"text\"\nrequired = false\nmeaning = \"x\"\n")]), @r##"
    qbr.toml:1:12: this file declares `qbrs` but its name says `qbr` (write document = "qbr")
    qbr.toml:3:8: the engine offers no figure `npss` (did you mean `nps`?)
    qbr.toml:10:8: `nps` is a figure of kind `score`, not `count` (write kind = "score")
    qbr.toml:20:8: the slot `tier` is declared twice
    "##);
    insta::assert_snapshot!(with(&[("qbr.toml", "document = \"qbr\"\n[[slot]]\nnam = \"tier\"\n")]), @r##"qbr.toml:3:1: unknown field `nam`, expected one of `name`, `kind`, `required`, `meaning`"##);
    let mut files = content();
    files.remove("renewal_proposal.hbs");
    let problems = Templates::compile(&files).expect_err("a file is missing");
    insta::assert_snapshot!(problems[0], @r##"renewal_proposal.hbs:1:1: the file is missing: `renewal_proposal` needs a template and a list of its inputs"##);
}
