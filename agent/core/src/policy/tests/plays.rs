//! `[[steps]]`: what is wrong with them is said with its place and a remedy.

use super::*;

const FILE: &str = "playbooks/onboarding-stalled.toml";

#[track_caller]
fn says(from: &str, to: &str, place: &str, message: &str, help: &str) {
    let problems = after(FILE, from, to);
    let line = shipped_line(from, to, place);
    let found = problems
        .iter()
        .any(|p| p.starts_with(&format!("{FILE}:{line}:")) && p.contains(message) && p.contains(help));
    assert!(found, "line {line}, {message}, {help}: {problems:#?}");
}

/// The line on which a text stands after the edit.
fn shipped_line(from: &str, to: &str, place: &str) -> usize {
    let text = shipped().policies[FILE].replacen(from, to, 1);
    let at = text.find(place).unwrap_or_else(|| panic!("{place} stands in the file"));
    text[..at].matches('\n').count() + 1
}

#[test]
fn mistakes_in_steps_are_named_with_place_and_remedy() {
    says(
        "next   = \"give-time\"\non     = { rejected = \"end: a p",
        "next   = \"give-tiem\"\non     = { rejected = \"end: a p",
        "give-tiem",
        "there is no step `give-tiem`",
        "did you mean `give-time`?",
    );
    says(
        "failed = \"by-hand\", unanswered = \"escalate\" }",
        "unanswered = \"escalate\" }",
        "id     = \"restart\"",
        "step `restart` does not say where `failed` leads: the CRM may refuse",
        "add on = { failed = ",
    );
    // The branch to `by-hand` goes elsewhere, so nothing leads there.
    says(
        "failed = \"by-hand\"",
        "failed = \"escalate\"",
        "id     = \"by-hand\"",
        "step `by-hand` is never reached",
        "name it in `next` or `on`",
    );
    says(
        "improved = \"more-time\" }",
        "improved = \"look\" }",
        "id          = \"look\"",
        "step `look` comes round again without a wait",
        "put a step with `wait` for some days into the loop",
    );
    says(
        "wait  = \"5 business days\"",
        "wait  = \"5 busines days\"",
        "5 busines days",
        "`5 busines days` is no length of time",
        "5 business days",
    );
    says(
        "rejected = \"end: a person saw",
        "rejcted = \"end: a person saw",
        "rejcted",
        "a step with `action` has no outcome `rejcted`",
        "did you mean `rejected`?",
    );
    says(
        "until = 'resource.seat_utilisation >= 30'\nnext  = \"look\"",
        "until = 'resource.seat_utilization >= 30'\nnext  = \"look\"",
        "seat_utilization",
        "seat_utilization",
        "seat_utilisation",
    );
    says(
        "id    = \"give-time\"",
        "id    = \"look\"",
        "id          = \"look\"",
        "two steps are named `look`",
        "give one of the two another name",
    );
    says(
        "task   = \"The CRM took",
        "check  = 'resource.holdout'\ntask   = \"The CRM took",
        "id     = \"by-hand\"",
        "step `by-hand` is both `check` and `task`",
        "make two steps of it",
    );
    says(
        "within = \"5 business days\"",
        "within = \"5 business days\"\nminutes = 5",
        "minutes = 5",
        "a step with `task` has no `minutes`",
        "it takes within, sla",
    );
    says(
        "improved_by = 5.0\n",
        "",
        "improved = \"more-time\"",
        "`improved` cannot happen without `improved_by`",
        "add improved_by",
    );
    says(
        "[[steps]]\nid     = \"restart\"",
        "[[step]]\nwrite = \"createNote\"\ntitle = \"a\"\nbody = \"b\"\n\n[[steps]]\nid     = \"restart\"",
        "createNote",
        "`[[step]]` beside `[[steps]]` belongs to no step",
        "as [[steps.step]]",
    );
    says(
        "wait  = \"10 business days\"",
        "wait  = \"10 days before renewal_dat\"",
        "renewal_dat\"",
        "`renewal_dat` is no date that is known of an account",
        "did you mean `renewal_date`?",
    );
    says(
        "id      = \"escalate\"\naction  = \"createTask\"",
        "id      = \"escalate\"\naction  = \"offerDiscount\"",
        "\"offerDiscount\"",
        "a step of a play gives no discount",
        "a playbook of one action",
    );
    says(
        "reason = \"the customer has given notice\"",
        "reason = \" \"",
        "reason = \" \"",
        "an exit without a reason",
        "add reason",
    );
}

#[test]
fn a_play_that_never_ends_and_one_that_begins_without_an_action_are_refused() {
    let mut text = shipped().policies[FILE].clone();
    let from = text.find("# A task for the owner").unwrap();
    text.truncate(from);
    let steps = "[[steps]]\nid = \"tell\"\naction = \"createTask\"\nnext = \"rest\"\non = { rejected = \"rest\", failed = \"rest\", unanswered = \"rest\" }\n[[steps.step]]\nwrite = \"createTask\"\nsubject = \"a\"\nbody = \"b\"\n[[steps]]\nid = \"rest\"\nwait = \"7 days\"\nnext = \"tell\"\n";
    let compiled = |text: String| {
        let mut content = shipped();
        content.policies.insert(FILE.to_owned(), text);
        content.policies.remove("tests/plays.toml");
        match Policies::compile(&content) {
            Ok(policies) => Ok(policies.playbooks["onboarding-stalled"].plan.clone().unwrap()),
            Err(problems) => Err(problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")),
        }
    };
    let endless = compiled(format!("{text}{steps}")).unwrap_err();
    assert!(endless.contains("from step `tell` on the play never ends"), "{endless}");
    let exit = "[[exits]]\nwhen = 'resource.churn_notice'\nreason = \"notice\"\n";
    compiled(format!("{text}{steps}{exit}")).expect("an exit ends it");
    let waits_first = steps.replacen(
        "[[steps]]\nid = \"tell\"",
        "[[steps]]\nid = \"first\"\nwait = \"1 day\"\n[[steps]]\nid = \"tell\"",
        1,
    );
    let refused = compiled(format!("{text}{waits_first}{exit}")).unwrap_err();
    assert!(
        refused.contains("a play begins with an action, and step `first` is none"),
        "{refused}"
    );
}

#[test]
fn a_test_of_a_play_names_its_playbook_and_its_events_rightly() {
    let file = "tests/plays.toml";
    let wrong = after(
        file,
        "playbook = \"onboarding-stalled\"",
        "playbook = \"onboarding-staled\"",
    );
    assert!(
        wrong
            .iter()
            .any(|p| p.contains("there is no playbook `onboarding-staled`; did you mean `onboarding-stalled`?")),
        "{wrong:?}"
    );
    let wrong = after(file, "playbook = \"onboarding-stalled\"", "playbook = \"qbr-due\"");
    assert!(
        wrong.iter().any(|p| p.contains("`qbr-due` has no [[steps]]")),
        "{wrong:?}"
    );
    let wrong = after(file, "\"2 days\"", "\"2 dys\"");
    assert!(
        wrong.iter().any(|p| p.contains("nothing happens by `2 dys`")),
        "{wrong:?}"
    );
}

#[test]
fn a_play_that_goes_otherwise_than_expected_fails_its_test() {
    let mut content = shipped();
    let text = content.policies.get_mut("tests/plays.toml").unwrap();
    *text = text.replacen("expect   = \"escalate\"", "expect   = \"more-time\"", 1);
    let policies = Policies::compile(&content).unwrap();
    let report = run_cases(&policies);
    assert_eq!(report.failed.len(), 1, "{:?}", report.failed);
    assert_eq!(
        (report.failed[0].expected.as_str(), report.failed[0].got.as_str()),
        ("more-time", "escalate")
    );
    let all = run_cases(&Policies::compile(&shipped()).unwrap());
    assert!(all.failed.is_empty(), "{:?}", all.failed);
}

#[test]
fn a_definition_is_another_one_with_every_change_of_the_file_or_of_the_holidays() {
    let hash = |content: &Content| {
        Policies::compile(content).unwrap().playbooks["onboarding-stalled"]
            .plan
            .as_ref()
            .unwrap()
            .hash
    };
    let mut edited = shipped();
    let before = hash(&edited);
    assert_eq!(before, hash(&shipped()));
    let text = edited.policies.get_mut(FILE).unwrap();
    *text = text.replace("\"10 business days\"", "\"12 business days\"");
    assert_ne!(before, hash(&edited));
}
