//! The prover: the shipped promises hold, each of them is found broken by a slip of an admin, and nothing is called proved when the
//! solver lies, is missing, stops or takes too long.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use perennial_core::policy::Content;
use perennial_prove::{Prover, Report, TIMEOUT_MS, program};
use perennial_tests::gate::{built_in, compiled, extended};
use perennial_tests::skipped;

fn with_program(program: PathBuf) -> Prover {
    Prover {
        program,
        threads: 2,
        timeout_ms: TIMEOUT_MS,
        now: "2026-03-02T12:00:00Z".parse().unwrap(),
    }
}

/// The prover with the real solver, or nothing after saying that `test` is skipped.
pub(crate) fn prover(test: &str) -> Option<Prover> {
    let program = program();
    match Command::new(&program).arg("--version").output() {
        Ok(said) if said.status.success() => Some(with_program(program)),
        Ok(_) | Err(_) => {
            skipped(test, "no solver: install cvc5, or name it in CVC5");
            None
        }
    }
}

fn only(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[track_caller]
fn edited(file: &str, old: &str, new: &str) -> Content {
    let mut content = built_in();
    let text = content.policies.get_mut(file).unwrap();
    assert_eq!(text.matches(old).count(), 1, "`{old}` in {file}");
    *text = text.replace(old, new);
    content
}

#[test]
fn the_shipped_promises_are_proved_with_a_control_each_and_no_rule_is_dead_or_fails() {
    let Some(prover) = prover("the_shipped_promises_are_proved") else {
        return;
    };
    let policies = compiled(&built_in());
    let report = prover.prove(&policies.gate);
    assert!(report.holds(), "{report:#?}");
    assert!(report.proved.len() >= 8 && report.proved.len() == policies.gate.promises().len());
    assert!(report.proved.iter().all(|p| !p.control.is_empty()));
    assert!(report.dead_rules.is_empty(), "{:?}", report.dead_rules);
}

/// A slip of an admin: a file, what stands in it, what somebody wrote instead, the promise it breaks, the rule that is to blame.
struct Break {
    file: &'static str,
    old: &'static str,
    new: &'static str,
    promise: &'static str,
    rule: Option<&'static str>,
    place: &'static str,
}

const BREAKS: &[Break] = &[
    Break {
        file: "autonomy.toml",
        old: "mid_touch = \"approve:csm\", strategic = \"approve:csm_manager\" }\nsendRenewal",
        new: "mid_touch = \"approve:csm\", strategic = \"auto\" }\nsendRenewal",
        promise: "strategic-needs-approval",
        rule: Some("sendQbr:strategic"),
        place: "autonomy.toml:12",
    },
    Break {
        file: "rules/50-exceptions.cedar",
        old: "// @id(\"quiet-quarter-end\")",
        new: "@id(\"fast-qbr\") @why(\"Reviews are late.\") @owner(\"o\") @until(\"2027-12-31\")\npermit (principal, action == \
              Action::\"sendQbr\", resource is Account)\nwhen { context has confidence && context.confidence >= 990 };\n//",
        promise: "strategic-needs-approval",
        rule: Some("fast-qbr"),
        place: "rules/50-exceptions.cedar:4",
    },
    Break {
        file: "autonomy.toml",
        old: "strategic = \"approve:csm_manager\" }\nsendQbr",
        new: "strategic = \"approve:csm\" }\nsendQbr",
        promise: "strategic-needs-senior",
        rule: Some("sendEmail:strategic"),
        place: "autonomy.toml:11",
    },
    Break {
        file: "autonomy.toml",
        old: "{ low_touch = \"approve:deal_desk\"",
        new: "{ low_touch = \"approve:csm_manager\"",
        promise: "discount-needs-deal-desk",
        rule: Some("offerDiscount:low_touch"),
        place: "autonomy.toml:14",
    },
    Break {
        file: "autonomy.toml",
        old: "max_discount_percent        = 20",
        new: "max_discount_percent        = 25",
        promise: "discount-ceiling",
        rule: Some("offerDiscount:"),
        place: "autonomy.toml:14",
    },
    Break {
        file: "rules/90-never.cedar",
        old: "unless { resource has do_not_contact && !resource.do_not_contact };",
        new: "when { resource has do_not_contact && resource.do_not_contact };",
        promise: "do-not-contact",
        rule: Some("send"),
        place: "autonomy.toml:",
    },
    Break {
        file: "rules/90-never.cedar",
        old: "Action::\"updateField\", Action::\"updateOpportunity\"]",
        new: "Action::\"updateField\"]",
        promise: "legal-hold",
        rule: Some("updateOpportunity:"),
        place: "autonomy.toml:10",
    },
    Break {
        file: "rules/90-never.cedar",
        old: "(context.approval.draft_hash != context.draft_hash ||\n     context.approval",
        new: "(context.approval",
        promise: "no-stale-approval",
        rule: Some(""),
        place: "autonomy.toml:",
    },
    Break {
        file: "rules/90-never.cedar",
        old: "context.approval.expires_at <= context.now",
        new: "context.approval.expires_at < context.now",
        promise: "no-stale-approval",
        rule: Some(""),
        place: "autonomy.toml:",
    },
    Break {
        file: "rules/90-never.cedar",
        old: " ||\n     !context.approval.by.active)",
        new: ")",
        promise: "no-stale-approval",
        rule: Some(""),
        place: "autonomy.toml:",
    },
    Break {
        file: "rules/90-never.cedar",
        old: "context has last_editor && context.approval.by == context.last_editor };",
        new: "context has last_editor && context.approval.by == context.last_editor &&\n       resource has tier };",
        promise: "four-eyes",
        rule: None,
        place: "",
    },
    Break {
        file: "rules/90-never.cedar",
        old: "context.approval.by == context.last_editor };",
        new: "context.approval.by == context.last_editor && context.contacts_last_7d > 0 };",
        promise: "four-eyes",
        rule: Some(""),
        place: "autonomy.toml:",
    },
    Break {
        file: "rules/90-never.cedar",
        old: "action in [Action::\"CustomerFacing\", Action::\"CrmWrite\"], resource is Account)\nwhen",
        new: "action in Action::\"CustomerFacing\", resource is Account)\nwhen",
        promise: "suspected-injection",
        rule: Some(""),
        place: "autonomy.toml:",
    },
    Break {
        file: "rules/50-exceptions.cedar",
        old: "// @id(\"quiet-quarter-end\")",
        new: "@id(\"all-seven\") @why(\"w\") @owner(\"o\") @until(\"2027-12-31\")\npermit (principal, action, resource is \
              Account)\nunless { resource has tier };\n//",
        promise: "unknown-tier",
        rule: Some("all-seven"),
        place: "rules/50-exceptions.cedar:4",
    },
    Break {
        file: "autonomy.toml",
        old: "contacts_per_account_7_days = 3",
        new: "contacts_per_account_7_days = 10",
        promise: "contact-limit",
        rule: Some("send"),
        place: "autonomy.toml:",
    },
    Break {
        file: "autonomy.toml",
        old: "min_confidence     = 80 ",
        new: "min_confidence     = 8 ",
        promise: "unsure-needs-approval",
        rule: Some("sendEmail:low_touch"),
        place: "autonomy.toml:11",
    },
];

#[test]
fn slips_of_admins_break_the_promise_they_should_and_the_replay_allows_it() {
    let Some(prover) = prover("slips_of_admins_break_the_promise_they_should") else {
        return;
    };
    let mut harmless = 0;
    for slip in BREAKS {
        let policies = compiled(&edited(slip.file, slip.old, slip.new));
        let report = prover.prove_only(&policies.gate, &only(&[slip.promise]));
        let Some(rule) = slip.rule else {
            // The tier is known wherever something is permitted, so this edit is no slip: the promise still holds.
            assert!(report.holds(), "{}: {report:#?}", slip.promise);
            harmless += 1;
            continue;
        };
        assert_eq!(report.broken.len(), 1, "{}: {report:#?}", slip.promise);
        let broken = &report.broken[0];
        assert_eq!((broken.promise.as_str(), broken.replay), (slip.promise, "Allow"));
        assert!(!report.holds());
        let blamed = broken.rule.as_deref().unwrap_or("nobody");
        assert!(blamed.starts_with(rule), "{}: {blamed}", slip.promise);
        let place = format!("{}:{}", broken.file, broken.line);
        assert!(place.starts_with(slip.place), "{}: {place}", slip.promise);
        assert!(
            broken.counterexample.in_range,
            "{}: {}",
            slip.promise, broken.counterexample
        );
    }
    assert_eq!((harmless, BREAKS.len()), (1, 16));
}

#[test]
fn a_forbid_that_is_too_wide_breaks_the_promise_of_tasks_and_is_named() {
    let Some(prover) = prover("a_forbid_that_is_too_wide_breaks_the_promise_of_tasks") else {
        return;
    };
    let policies = compiled(&edited(
        "rules/90-never.cedar",
        "forbid (principal, action in [Action::\"CustomerFacing\", Action::\"CrmWrite\"], resource is Account)\nwhen",
        "forbid (principal, action, resource is Account)\nwhen",
    ));
    let report = prover.prove_only(&policies.gate, &only(&["tasks-always"]));
    let broken = &report.broken[0];
    assert_eq!(
        (broken.rule.as_deref(), broken.replay),
        (Some("suspected-injection"), "Deny")
    );
    assert!(broken.file == "rules/90-never.cedar" && broken.line > 1, "{broken:?}");
    // And where nothing permits it, the row of the table is named.
    let policies = compiled(&edited(
        "autonomy.toml",
        "createTask        = { low_touch = \"auto\", mid_touch = \"auto\"",
        "createTask        = { low_touch = \"auto\", mid_touch = \"never\"",
    ));
    let report = prover.prove_only(&policies.gate, &only(&["tasks-always"]));
    let broken = &report.broken[0];
    assert_eq!((broken.rule.as_deref(), broken.line, broken.replay), (None, 7, "Deny"));
}

#[test]
fn a_rule_that_nothing_can_match_is_named_dead() {
    let Some(prover) = prover("a_rule_that_nothing_can_match_is_named_dead") else {
        return;
    };
    let mut content = built_in();
    content.policies.insert(
        "rules/90-dead.cedar".to_owned(),
        "@id(\"dead\") @why(\"w\")\nforbid (principal, action == Action::\"createNote\", resource is Account)\n\
         when { context.contacts_last_7d > 5 && context.contacts_last_7d < 3 };\n"
            .to_owned(),
    );
    let report = prover.prove(&compiled(&content).gate);
    let dead: Vec<&str> = report.dead_rules.iter().map(|rule| rule.rule.as_str()).collect();
    assert_eq!(dead, ["dead"]);
    assert!(report.holds(), "a dead rule does no harm: {report:#?}");
}

#[test]
fn a_promise_about_nothing_is_not_proved() {
    let Some(prover) = prover("a_promise_about_nothing_is_not_proved") else {
        return;
    };
    let mut content = built_in();
    content.policies.insert(
        "promises/empty.cedar".to_owned(),
        "@never(\"Nothing.\")\npermit (principal, action, resource is Account)\n\
         when { context.contacts_last_7d > 5 && context.contacts_last_7d < 3 };\n"
            .to_owned(),
    );
    let report = prover.prove_only(&compiled(&content).gate, &only(&["empty"]));
    assert!(report.proved.is_empty() && report.broken.is_empty(), "{report:#?}");
    assert!(
        report.not_proved[0].why.contains("negative control failed"),
        "{report:#?}"
    );
}

/// A program that stands in for the solver.
fn script(folder: &Path, text: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let path = folder.join("solver");
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[track_caller]
fn nothing_is_proved(report: &Report, why: &str) {
    assert!(
        report.proved.is_empty() && report.broken.is_empty() && !report.holds(),
        "{report:#?}"
    );
    assert!(!report.not_proved.is_empty());
    for open in &report.not_proved {
        assert!(open.why.contains(why), "`{why}` is not in {open:?}");
    }
}

#[test]
fn a_solver_that_always_says_yes_proves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let policies = compiled(&built_in());
    let names = only(&["do-not-contact", "four-eyes", "strategic-needs-approval"]);
    let yes = script(
        folder.path(),
        "while read -r line; do case \"$line\" in *check-sat*) echo unsat;; esac; done",
    );
    let report = with_program(yes).prove_only(&policies.gate, &names);
    assert_eq!(report.not_proved.len(), 3);
    nothing_is_proved(&report, "negative control failed");
}

#[test]
fn a_solver_that_says_yes_to_the_planted_edit_proves_nothing_although_all_else_is_right() {
    let Some(real) = prover("a_solver_that_says_yes_to_the_planted_edit_proves_nothing") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let policies = compiled(&built_in());
    let names = only(&["four-eyes"]);
    // It answers rightly until the first case is found; from then on it says yes.
    let text = format!(
        "'{}' \"$@\" | sed -u -e '/^sat$/{{x;s/^/1/;/^11/{{x;s/.*/unsat/;b;}};x;}}'",
        real.program.display()
    );
    let liar = Prover {
        threads: 1,
        ..with_program(script(folder.path(), &text))
    };
    let report = liar.prove_only(&policies.gate, &names);
    nothing_is_proved(&report, "although the planted edit breaks it");
}

#[test]
fn without_a_solver_with_a_dead_one_and_with_a_slow_one_nothing_is_proved_and_the_reason_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let policies = compiled(&built_in());
    let names = only(&["four-eyes", "tasks-always"]);
    let absent = with_program(folder.path().join("nowhere"));
    nothing_is_proved(&absent.prove_only(&policies.gate, &names), "install the package cvc5");
    let dead = with_program(script(folder.path(), "exit 3"));
    nothing_is_proved(&dead.prove_only(&policies.gate, &names), "the solver stopped");
    let unsure = "while read -r line; do case \"$line\" in *check-sat*) echo unknown;; esac; done";
    let unsure = with_program(script(folder.path(), unsure));
    nothing_is_proved(&unsure.prove_only(&policies.gate, &names), "no answer within 60 s");
}

#[test]
fn promises_hold_for_added_tiers_and_actions_and_a_promise_about_one_is_found_broken() {
    let Some(prover) = prover("promises_hold_for_added_tiers_and_actions") else {
        return;
    };
    let mut content = extended();
    content.policies.insert(
        "promises/surveys.cedar".to_owned(),
        "@never(\"No survey goes to a customer who buys on the site.\")\n\
         permit (principal, action in Action::\"Surveys\", resource is Account)\n\
         when { resource has tier && resource.tier == Tier::\"self_serve\" };\n"
            .to_owned(),
    );
    let policies = compiled(&content);
    let report = prover.prove(&policies.gate);
    let broken: Vec<(&str, Option<&str>)> = report
        .broken
        .iter()
        .map(|b| (b.promise.as_str(), b.rule.as_deref()))
        .collect();
    // Two promises list the roles that count, and a role that includes one of them is not on their list.
    let expected = [
        ("discount-needs-deal-desk", "offerDiscount:"),
        ("strategic-needs-senior", "sendEmail:strategic"),
        ("surveys", "sendSurvey:self_serve"),
    ];
    assert_eq!(broken.len(), expected.len(), "{broken:?}");
    for ((promise, rule), (expected, blamed)) in broken.iter().zip(expected) {
        assert_eq!(*promise, expected);
        assert!(rule.is_some_and(|rule| rule.starts_with(blamed)), "{broken:?}");
    }
    assert_eq!(report.proved.len() + 3, policies.gate.promises().len(), "{report:#?}");
}

#[test]
fn promises_are_proved_whatever_is_promoted_and_a_promise_that_a_promotion_breaks_is_found() {
    let Some(prover) = prover("promises_are_proved_whatever_is_promoted") else {
        return;
    };
    let field = "updateField       = { low_touch = \"auto\", mid_touch = \"approve:csm\"";
    let to_earn = field.replace("\"approve:csm\"", "\"auto if earned, else approve:csm\"");
    let mut content = edited("autonomy.toml", field, &to_earn);
    content.policies.get_mut("autonomy.toml").unwrap().push_str(
        "\n[[earned]]\nactions = [\"updateField\"]\ntiers = [\"mid_touch\"]\ndecisions = 50\nunedited = 0.95\nundone_at_most = 0.02\n\
         window_days = 90\ndemote_unedited = 0.85\ndemote_undone = 0.05\nby = \"csm_manager\"\n",
    );
    let policies = compiled(&content);
    let report = prover.prove(&policies.gate);
    assert!(report.holds(), "{report:#?}");
    // It speaks of accounts that the check does not look at: only a proof finds them.
    content.policies.insert(
        "promises/sick.cedar".to_owned(),
        "@never(\"No field of a sick mid touch account is changed without a person.\")\n\
         permit (principal, action == Action::\"updateField\", resource is Account)\n\
         when { resource has tier && resource.tier == Tier::\"mid_touch\" && resource has health && resource.health < 20 &&\n\
                !(context has approval) };\n"
            .to_owned(),
    );
    let policies = compiled(&content);
    let report = prover.prove_only(&policies.gate, &only(&["sick"]));
    assert_eq!(report.broken.len(), 1, "{report:#?}");
    let broken = &report.broken[0];
    assert_eq!(
        (broken.replay, broken.rule.as_deref()),
        ("Allow", Some("updateField:mid_touch"))
    );
    assert!(
        broken.counterexample.to_string().contains("earned true"),
        "{}",
        broken.counterexample
    );
    // A change of what is needed is no matter of proof, so a second person looks at it.
    let mut easier = content.clone();
    let text = easier.policies.get_mut("autonomy.toml").unwrap();
    *text = text.replace("decisions = 50", "decisions = 5");
    let said = prover.narrower(&policies.gate, &compiled(&easier).gate).unwrap_err();
    assert!(said.to_string().contains("what is needed to earn autonomy"), "{said}");
    let mut moved = content.clone();
    let text = moved.policies.get_mut("autonomy.toml").unwrap();
    *text = text.replace("\n[[earned]]", "\n# moved by a line\n[[earned]]");
    prover.narrower(&policies.gate, &compiled(&moved).gate).unwrap();
}

/// An edit of the shipped rules, and whether it allows something new.
const EDITS: &[(&str, &str, &str, bool)] = &[
    (
        "autonomy.toml",
        "sendQbr           = { low_touch = \"advise\", mid_touch = \"approve:csm\"",
        "sendQbr           = { low_touch = \"advise\", mid_touch = \"approve:csm_manager\"",
        false,
    ),
    (
        "autonomy.toml",
        "createNote        = { low_touch = \"auto\"",
        "createNote        = { low_touch = \"never\"",
        false,
    ),
    (
        "autonomy.toml",
        "max_discount_percent        = 20",
        "max_discount_percent        = 15",
        false,
    ),
    (
        "autonomy.toml",
        "min_confidence     = 80 ",
        "min_confidence     = 90 ",
        false,
    ),
    ("autonomy.toml", "\"posture\", ", "", false),
    (
        "rules/90-never.cedar",
        "resource has sev1_open && resource.sev1_open > 0\n};\n",
        "resource has sev1_open && resource.sev1_open >= 0\n};\n",
        false,
    ),
    (
        "autonomy.toml",
        "createNote        = { low_touch = \"auto\", mid_touch = \"auto\", strategic = \"approve:csm\"",
        "createNote        = { low_touch = \"auto\", mid_touch = \"auto\", strategic = \"auto\"",
        true,
    ),
    (
        "autonomy.toml",
        "sendQbr           = { low_touch = \"advise\"",
        "sendQbr           = { low_touch = \"approve:csm\"",
        true,
    ),
    (
        "autonomy.toml",
        "max_discount_percent        = 20",
        "max_discount_percent        = 20.1",
        true,
    ),
    (
        "autonomy.toml",
        "max_usage_age_days = 14",
        "max_usage_age_days = 15",
        true,
    ),
    (
        "rules/90-never.cedar",
        "unless { resource has legal_hold && !resource.legal_hold };",
        "when { resource has legal_hold && resource.legal_hold };",
        true,
    ),
];

#[test]
fn narrowing_edits_are_proved_narrower_and_widening_ones_are_not_each_with_an_example_that_replays() {
    let Some(prover) = prover("narrowing_edits_are_proved_narrower") else {
        return;
    };
    let shipped = compiled(&built_in());
    assert!(prover.difference(&shipped.gate, &shipped.gate).is_empty());
    for (file, old, new, widens) in EDITS {
        let edited = compiled(&edited(file, old, new));
        let narrower = prover.narrower(&shipped.gate, &edited.gate);
        assert_eq!(narrower.is_err(), *widens, "{new}: {narrower:?}");
        let changes = prover.difference(&shipped.gate, &edited.gate);
        assert!(!changes.is_empty(), "{new}");
        assert!(changes.iter().all(|c| c.not_known.is_none()), "{changes:#?}");
        assert_eq!(
            changes.iter().any(|c| c.gains.is_some()),
            *widens,
            "{new}: {changes:#?}"
        );
        let loses = changes.iter().any(|c| c.loses.is_some());
        assert!(loses || *widens, "{new}: {changes:#?}");
        for change in &changes {
            for example in change.gains.iter().chain(&change.loses) {
                assert!(
                    !example.rules.is_empty() && example.told.starts_with(change.action.as_str()),
                    "{example:?}"
                );
            }
        }
    }
    // What is counted beside the rules, and other names, are never proved narrower.
    for (old, new, says) in [
        (
            "contacts_per_account_7_days = 3",
            "contacts_per_account_7_days = 2",
            "no matter of proof",
        ),
        (
            "[matrix]\n",
            "[roles]\nlegal = []\n[matrix]\n",
            "tiers, roles or actions are changed",
        ),
    ] {
        let edited = compiled(&edited("autonomy.toml", old, new));
        let said = prover.narrower(&shipped.gate, &edited.gate).unwrap_err().to_string();
        assert!(said.contains(says), "{said}");
    }
}

#[test]
fn the_solver_is_told_the_limit_of_a_question_and_none_of_its_life() {
    let folder = tempfile::tempdir().unwrap();
    let told = folder.path().join("told");
    let solver = script(folder.path(), &format!("echo \"$@\" >> '{}'; exit 3", told.display()));
    let policies = compiled(&built_in());
    let report = with_program(solver).prove_only(&policies.gate, &only(&["four-eyes"]));
    nothing_is_proved(&report, "the solver stopped");
    let told = std::fs::read_to_string(told).unwrap();
    for line in told.lines() {
        assert!(line.contains(&format!("--tlimit-per={TIMEOUT_MS}")), "{line}");
        assert!(!line.contains("--tlimit="), "{line}");
    }
    assert!(told.lines().count() > 0);
}
