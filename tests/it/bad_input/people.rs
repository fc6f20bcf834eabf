//! What people do with what waits for them: a refused verb changes nothing, in the queue, the outbox or the ledger.

use std::sync::OnceLock;

use perennial_tests::{copy_folder, run};
use serde_json::Value;

use super::{PROGRAM, Place};

/// The demo is made once; each test works on a copy.
fn demo() -> Place {
    static MADE: OnceLock<tempfile::TempDir> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let _ = run(PROGRAM, folder.path(), &["demo", "--dir", "demo"]).ok();
        folder
    });
    let place = Place::empty();
    copy_folder(&made.path().join("demo"), place.path());
    place
}

/// Id of the first waiting action with this kind and verdict.
#[track_caller]
fn waiting(place: &Place, kind: &str, verdict: &str) -> String {
    let queue = place.run(&["--json", "queue", "list"]).ok().json();
    let fits = |item: &&Value| item["kind"] == kind && item["verdict"] == verdict;
    let item = queue.as_array().unwrap().iter().find(fits);
    item.unwrap_or_else(|| panic!("the demo has no {kind} with {verdict}: {queue}"))["id"]
        .as_str()
        .unwrap()
        .to_owned()
}

const CSM: &str = "Priya Raman";

/// Brings what was written into the database file itself, by a command that only reads and closes it in order: what
/// follows can then be compared byte by byte.
fn settle(place: &Place, action: &str) {
    let _ = place.run(&["replay", action]).ok();
}

#[test]
fn a_person_who_may_not_decide_changes_nothing() {
    let place = demo();
    let task = waiting(&place, "createTask", "approve:csm");
    let review = waiting(&place, "sendQbr", "approve:csm_manager");
    place.refuses(
        "nobody decides",
        &["queue", "approve", &task],
        2,
        &["who decides? give --as NAME, set `user` in the configuration, or PERENNIAL_USER"],
    );
    place.refuses(
        "an unknown person",
        &["queue", "approve", &task, "--as", "Mallory"],
        2,
        &[
            "`Mallory` is nobody we know",
            "add them to [people] in the configuration",
            "known: ",
            "Priya Raman",
        ],
    );
    place.refuses(
        "a person without the role",
        &["queue", "approve", &review, "--as", CSM],
        1,
        &["may not approve this: it needs the role csm_manager"],
    );
    place.refuses(
        "an abbreviation of many ids",
        &["queue", "approve", "act_", "--as", CSM],
        2,
        &["`act_` stands for several, such as act_", "write more of the id"],
    );
}

#[test]
fn a_rule_about_a_person_stops_their_approval_and_no_other() {
    let place = demo();
    let task = waiting(&place, "createTask", "approve:csm");
    let own = Place::empty();
    let _ = own.run(&["init"]).ok();
    let rule = "\n@id(\"on-leave\")\n@why(\"Priya is on leave.\")\nforbid (principal, action, resource is Account)\n\
                when { context has approval && context.approval.by == Human::\"OWN-04\" };\n";
    let file = "policies/rules/90-never.cedar";
    let text = std::fs::read_to_string(own.path().join(file)).unwrap();
    own.write(file, format!("{text}{rule}"));
    let policies = own.path().join("policies").display().to_string();
    let approve = |by| {
        [
            "--policies",
            &policies,
            "queue",
            "approve",
            &task,
            "--later",
            "--as",
            by,
        ]
        .map(str::to_owned)
    };
    let by_priya = approve(CSM);
    let by_priya: Vec<&str> = by_priya.iter().map(String::as_str).collect();
    let says = [
        "policy has changed: this is now `never`",
        "Priya is on leave. at rules/90-never.cedar:",
    ];
    place.refuses("a person on leave", &by_priya, 1, &says);
    let by_another = approve("Daniel Okafor");
    let by_another: Vec<&str> = by_another.iter().map(String::as_str).collect();
    let _ = place.run(&by_another).ok();
}

#[test]
fn a_verb_that_lacks_its_words_changes_nothing() {
    let place = demo();
    let task = waiting(&place, "createTask", "approve:csm");
    place.fails(
        "no reason",
        &["queue", "reject", &task, "--as", CSM],
        2,
        &["--reason <REASON>"],
    );
    for reason in ["", "  "] {
        place.refuses(
            "an empty reason",
            &["queue", "reject", &task, "--as", CSM, "--reason", reason],
            2,
            &["rejecting needs a reason", "say why with --reason TEXT"],
        );
    }
    let snooze = |until: &'static str| {
        [
            "queue", "snooze", &task, "--as", CSM, "--reason", "later", "--until", until,
        ]
    };
    place.refuses(
        "a snooze into the past",
        &snooze("2020-01-01"),
        2,
        &["a snooze must end after now (2026-09-15"],
    );
    place.fails(
        "a snooze until some day",
        &snooze("soon"),
        2,
        &["'--until <UNTIL>'", "`soon` is not a time"],
    );
    place.refuses(
        "a retry of what has not failed",
        &["queue", "retry", &task, "--as", CSM],
        1,
        &["this action is pending; retrying needs one that failed"],
    );
}

#[test]
fn an_edit_of_what_is_not_there_changes_nothing() {
    let place = demo();
    let task = waiting(&place, "createTask", "approve:csm");
    let cases: &[(&str, &str, &[&str])] = &[
        (
            "an unknown field",
            "0.colour=red",
            &["no field `colour`; it has subject, body, due, priority"],
        ),
        (
            "an unknown step",
            "9.subject=x",
            &["there is no step `9`", "`queue show` numbers the steps from 0 to"],
        ),
        (
            "a step in words",
            "first.subject=x",
            &["there is no step `first`", "numbers the steps from 0"],
        ),
        (
            "no step",
            "subject=x",
            &["`subject` names no field: write STEP.FIELD, such as 0.subject"],
        ),
        (
            "no text",
            "0.subject",
            &["`0.subject` is no change: write STEP.FIELD=TEXT"],
        ),
        (
            "a date that is none",
            "0.due=friday",
            &["`friday` is not a date: write it like 2026-01-31"],
        ),
        (
            "a priority that is none",
            "0.priority=urgent",
            &["priorities are high, normal, low"],
        ),
        (
            "a file that is missing",
            "0.body=@letter.txt",
            &["`letter.txt` cannot be read", "check the path after the @"],
        ),
    ];
    for (name, set, says) in cases {
        place.refuses(name, &["queue", "edit", &task, "--as", CSM, "--set", set], 2, says);
    }
}

#[test]
fn what_was_approved_is_not_approved_again() {
    let place = demo();
    let task = waiting(&place, "createTask", "approve:csm");
    let _ = place.run(&["queue", "approve", &task, "--as", CSM, "--later"]).ok();
    settle(&place, &task);
    place.refuses(
        "approved twice",
        &["queue", "approve", &task, "--as", CSM],
        1,
        &["this action is permitted; approving needs one that waits for a person"],
    );
    place.refuses(
        "edited after the approval",
        &["queue", "edit", &task, "--as", CSM, "--set", "0.subject=Other"],
        1,
        &["this action is permitted; editing needs one that"],
    );
}

#[test]
fn who_changed_it_last_may_not_approve_it() {
    let place = demo();
    let task = waiting(&place, "createTask", "approve:csm");
    let _ = place
        .run(&["queue", "edit", &task, "--as", CSM, "--set", "0.subject=Other words"])
        .ok();
    settle(&place, &task);
    place.refuses(
        "four eyes",
        &["queue", "approve", &task, "--as", CSM],
        1,
        &["changed this last and may not also approve it; another person with the role must"],
    );
}

#[test]
fn an_altered_ledger_is_found_at_the_altered_entry() {
    let place = demo();
    let ledger = place.run(&["audit", "export"]).ok().out;
    let entry: Value = serde_json::from_str(ledger.lines().nth(2).unwrap()).unwrap();
    let body = entry["body"].as_str().unwrap();
    // The text lies in the file as it is; one letter of it is changed there, behind the back of the program.
    let path = place.path().join("perennial.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let places: Vec<usize> = (0..bytes.len() - body.len())
        .filter(|at| bytes[*at..].starts_with(body.as_bytes()))
        .collect();
    assert!(!places.is_empty(), "the body is in the file");
    let digit = body.rfind(|c: char| c.is_ascii_digit()).unwrap();
    for at in places {
        bytes[at + digit] = if bytes[at + digit] == b'0' { b'1' } else { b'0' };
    }
    std::fs::write(&path, bytes).unwrap();
    place.refuses(
        "one digit",
        &["audit", "verify"],
        1,
        &["the ledger is broken at entry 3: its content was altered"],
    );
    let report = place.run(&["--json", "audit", "verify"]).json();
    assert_eq!(report["broken"]["seq"], 3, "{report}");
    assert_eq!(report["intact"], false);
}
