//! Wrong policies and prompts: nothing is decided, and every wrong line is named.

use super::Place;

/// The shipped policies beside two imported accounts.
fn place() -> Place {
    let place = Place::imported();
    let _ = place.run(&["init"]).ok();
    place
}

#[track_caller]
fn changed(name: &str, file: &str, old: &str, new: &str, says: &[&str]) {
    let place = place();
    place.replace(file, old, new);
    place.refuses(name, &["run", "--once"], 2, says);
}

#[test]
fn an_unknown_word_in_a_policy_is_refused_with_its_place_and_the_nearest_known_word() {
    changed(
        "an unknown key in scoring.toml",
        "policies/scoring.toml",
        "\nusage_days =",
        "\nusage_dys =",
        &[
            "scoring.toml:20:1",
            "unknown field `usage_dys`",
            "did you mean `usage_days`?",
        ],
    );
    changed(
        "an unknown key in autonomy.toml",
        "policies/autonomy.toml",
        "\nmax_arr ",
        "\nmax_ar ",
        &[
            "autonomy.toml:18:1",
            "unknown field `max_ar`",
            "did you mean `max_arr`?",
        ],
    );
    changed(
        "an unknown action in the matrix",
        "policies/autonomy.toml",
        "\ncreateTask ",
        "\ncreatTask ",
        &[
            "autonomy.toml:7:1",
            "unknown action `creatTask`",
            "did you mean `createTask`?",
            "no row for `createTask`",
        ],
    );
    changed(
        "an unknown key in a playbook",
        "policies/playbooks/usage-drop.toml",
        "\nowner ",
        "\nonwer ",
        &[
            "playbooks/usage-drop.toml:2:1",
            "unknown field `onwer`",
            "did you mean `owner`?",
        ],
    );
    changed(
        "a condition on a fact that does not exist",
        "policies/playbooks/usage-drop.toml",
        "resource.usage_drop_open &&",
        "resource.usage_drp_open &&",
        &[
            "playbooks/usage-drop.toml:3:",
            "`usage_drp_open`",
            "did you mean `usage_drop_open`?",
        ],
    );
    changed(
        "a slot that does not exist",
        "policies/playbooks/usage-drop.toml",
        "Ask {contact} of",
        "Ask {contcat} of",
        &[
            "playbooks/usage-drop.toml:9:17",
            "unknown slot `contcat`",
            "did you mean `contact`?",
        ],
    );
    changed(
        "a template with a slot that is not declared",
        "prompts/qbr.hbs",
        "{{account_name}}, {{period.name}}",
        "{{acount_name}}, {{period.name}}",
        &[
            "prompts/qbr.hbs:2:",
            "declares no slot `acount_name`",
            "did you mean `account_name`?",
        ],
    );
    changed(
        "a policy that is not TOML",
        "policies/autonomy.toml",
        "\n[auto]",
        "\n[auto",
        &["autonomy.toml:16:", "nothing was decided", "see the shipped file"],
    );
}

#[test]
fn a_policies_folder_that_is_no_policies_folder_is_refused() {
    let place = place();
    place.write("empty/.keep", "");
    let run = |folder| ["--policies", folder, "run", "--once"];
    place.refuses(
        "it is missing",
        &run("nowhere"),
        2,
        &[
            "`nowhere` cannot be read: check the path",
            "`perennial init` writes the shipped policies",
        ],
    );
    place.refuses(
        "it is a file",
        &run("perennial.toml"),
        2,
        &["`perennial.toml` cannot be read: check the path", "`perennial init`"],
    );
    place.refuses(
        "it is empty",
        &run("empty"),
        2,
        &[
            "`empty`",
            "autonomy.toml: this file is missing",
            "scoring.toml: this file is missing",
            "there is no playbook",
        ],
    );
    place.write("policies/notes.txt", "remember the milk\n");
    place.refuses(
        "a stray file lies in it",
        &run("policies"),
        2,
        &["notes.txt: this file is not part of a policy", "move other files away"],
    );
    std::fs::remove_file(place.path().join("policies/notes.txt")).unwrap();
    place.write("policies/playbooks/old/usage-drop.toml", "");
    place.refuses(
        "a folder lies deeper than playbooks do",
        &run("policies"),
        2,
        &[
            "playbooks/old/: this file is not part of a policy",
            "move other files away",
        ],
    );
}

#[test]
fn doctor_names_the_same_line_and_fails() {
    let place = place();
    place.replace("policies/scoring.toml", "\nusage_days =", "\nusage_dys =");
    let said = place.run(&["doctor"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(
        said.out.contains("scoring.toml:20:1") && said.out.contains("mend the lines named above"),
        "{}",
        said.out
    );
    let report = place.run(&["--json", "doctor"]);
    assert_eq!(report.code, 1);
    assert_eq!(report.json()["error"]["message"], "1 thing needs mending");
    assert_eq!(report.json()["ok"], false);
}
