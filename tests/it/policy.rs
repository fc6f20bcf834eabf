//! The commands around the policies, on copies of the shipped folder: `perennial policy check`, `test`, `prove`, `decide`, `schema`, `fmt`.

mod mistakes;

use std::io::Write as _;
use std::process::Stdio;

use perennial_tests::{Said, command, run};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::PROGRAM;

/// A folder with the shipped policies and prompts as files.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn shipped() -> Folder {
        let folder = tempfile::tempdir().unwrap();
        let _ = run(PROGRAM, folder.path(), &["init"]).ok();
        Folder(folder)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.path().join(name)).unwrap()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.path().join(name), text).unwrap();
    }

    /// Replaces the first place where a text stands.
    #[track_caller]
    pub(crate) fn replace(&self, name: &str, old: &str, new: &str) {
        let text = self.read(name);
        assert!(text.contains(old), "`{old}` is not in {name}");
        self.write(name, &text.replacen(old, new, 1));
    }

    pub(crate) fn run(&self, args: &[&str]) -> Said {
        run(PROGRAM, self.0.path(), args)
    }

    /// A command with text on its standard input.
    fn feed(&self, args: &[&str], text: &str) -> Said {
        let mut child = command(PROGRAM, self.0.path(), args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        child.wait_with_output().unwrap().into()
    }
}

#[test]
fn the_shipped_policies_pass_check_and_test_and_every_cell_and_rule_is_touched() {
    let folder = Folder::shipped();
    let check = folder.run(&["--json", "policy", "check"]).ok().json();
    assert_eq!(check, json!({ "ok": true, "problems": [], "warnings": [] }));
    let test = folder.run(&["--json", "policy", "test"]).ok().json();
    assert_eq!((&test["ok"], &test["failed"]), (&json!(true), &json!([])), "{test}");
    assert!(test["passed"].as_u64().unwrap() >= 50, "{test}");
    assert_eq!(test["uncovered"], json!({ "cells": [], "rules": [] }));
}

#[test]
fn a_test_that_fails_names_its_line_what_it_got_and_which_rule() {
    let folder = Folder::shipped();
    folder.replace(
        "policies/autonomy.toml",
        "strategic = \"approve:csm_manager\" }\nsendRenewal",
        "strategic = \"approve:csm\" }\nsendRenewal",
    );
    let said = folder.run(&["--json", "policy", "test"]);
    assert_eq!(said.code, 1);
    let failed = &said.json()["failed"];
    let text = folder.read("policies/tests/table.toml");
    let name = "a business review for a strategic customer needs a csm manager";
    let line = text.lines().position(|l| l.contains(name)).unwrap() + 1;
    let one = failed.as_array().unwrap().iter().find(|f| f["name"] == name).unwrap();
    assert_eq!((&one["file"], &one["line"]), (&json!("tests/table.toml"), &json!(line)));
    assert_eq!(one["expected"], "approve:csm_manager because sendQbr:strategic");
    assert_eq!(
        (&one["got"], &one["rules"][0]["id"]),
        (&json!("approve:csm"), &json!("sendQbr:strategic"))
    );
    assert_eq!(
        (&one["rules"][0]["file"], &one["rules"][0]["line"]),
        (&json!("autonomy.toml"), &json!(12))
    );
    let said = folder.run(&["policy", "test"]);
    assert!(
        said.code == 1 && said.out.contains(&format!("FAILED tests/table.toml:{line}: {name}")),
        "{said:?}"
    );
}

#[test]
fn a_test_that_gets_its_answer_from_another_rule_fails() {
    let folder = Folder::shipped();
    folder.replace(
        "policies/tests/guards.toml",
        "because = \"do-not-contact\"",
        "because = \"legal-hold\"",
    );
    let said = folder.run(&["--json", "policy", "test"]);
    assert_eq!((said.code, said.json()["failed"].as_array().unwrap().len()), (1, 1));
}

#[test]
fn cells_and_rules_that_no_test_touches_are_named() {
    let folder = Folder::shipped();
    let text = folder.read("policies/tests/guards.toml");
    folder.write(
        "policies/tests/table.toml",
        text.split("[[test]]")
            .take(2)
            .collect::<Vec<_>>()
            .join("[[test]]")
            .as_str(),
    );
    folder.write(
        "policies/tests/guards.toml",
        "[[test]]\nname = \"a task\"\naction = \"createTask\"\naccount = { tier = \"low_touch\" }\nexpect = \"auto\"\n",
    );
    folder.write("policies/tests/approvals.toml", "[[test]]\nname = \"another\"\naction = \"createTask\"\naccount = { tier = \"mid_touch\" }\nexpect = \"auto\"\n");
    let test = folder.run(&["--json", "policy", "test"]).ok().json();
    let cells = test["uncovered"]["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 22, "{test}");
    assert!(
        cells
            .iter()
            .any(|c| c["cell"] == "offerDiscount:strategic" && c["line"] == 14),
        "{test}"
    );
    let rules = test["uncovered"]["rules"].as_array().unwrap();
    assert!(
        rules
            .iter()
            .any(|r| r["id"] == "four-eyes" && r["file"] == "rules/90-never.cedar"),
        "{test}"
    );
    assert!(rules.iter().all(|r| r["id"] != "do-not-contact"), "{test}");
}

#[test]
fn decide_answers_a_line_with_a_line_and_names_what_it_does_not_know() {
    let folder = Folder::shipped();
    let known = json!({ "contacts_last_7d": 0, "injection_suspected": false });
    let account = json!({ "tier": "strategic", "do_not_contact": false, "legal_hold": false });
    let lines = [
        json!({ "action": "sendQbr", "account": account, "context": known }),
        json!({ "action": "sendQbr", "account": account, "context": known, "approval": { "roles": ["csm_manager"] } }),
        json!({ "action": "sendQbr", "account": account, "context": known, "approval": { "roles": ["csm"] } }),
        json!({ "action": "sendQbr", "account": { "tier": "strategic" }, "context": known }),
        json!({ "action": "createTask", "account": { "tier": "strategic" } }),
    ];
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let answers = |said: &Said| -> Vec<Value> { said.out.lines().map(|l| serde_json::from_str(l).unwrap()).collect() };
    let said = folder.feed(&["policy", "decide"], &text).ok();
    let got = answers(&said);
    let verdicts: Vec<(&str, Option<&str>, &str)> = got
        .iter()
        .map(|a| {
            (
                a["verdict"].as_str().unwrap(),
                a["role"].as_str(),
                a["rules"][0]["id"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        verdicts,
        [
            ("approve", Some("csm_manager"), "sendQbr:strategic"),
            ("allowed", None, "sendQbr:strategic"),
            ("refused", None, "sendQbr:strategic"),
            // What a request does not name is unknown, and what is not known forbids.
            ("never", None, "do-not-contact"),
            ("never", None, "facts"),
        ]
    );
    assert_eq!(
        (&got[0]["rules"][0]["file"], &got[0]["rules"][0]["line"]),
        (&json!("autonomy.toml"), &json!(12))
    );
    // The same words, where the unnamed is taken for harmless.
    let said = folder.feed(&["policy", "decide", "--harmless"], &text).ok();
    assert_eq!(answers(&said)[4]["verdict"], "auto");
    // A line that is wrong spoils only itself.
    let wrong = [
        ("{\"action\": \"sendMail\"}", "did you mean `sendEmail`?"),
        (
            "{\"action\": \"sendEmail\", \"account\": {\"teir\": \"low_touch\"}}",
            "did you mean `tier`?",
        ),
        (
            "{\"action\": \"sendEmail\", \"account\": {\"zzzzzzzz\": 1}}",
            "known are ",
        ),
        (
            "{\"action\": \"sendEmail\", \"context\": {\"tier\": \"low_touch\"}}",
            "it stands under `account`",
        ),
        (
            "{\"action\": \"sendEmail\", \"context\": {\"confidence\": 0.8}}",
            "whole number",
        ),
        (
            "{\"action\": \"sendEmail\", \"context\": {\"confidence\": 1001}}",
            "outside 0 to 1000",
        ),
        (
            "{\"action\": \"sendEmail\", \"context\": {\"discount_pm\": 1}}",
            "belongs to offerDiscount",
        ),
        (
            "{\"action\": \"sendEmail\", \"approval\": {\"role\": \"csm\"}}",
            "did you mean `roles`?",
        ),
        (
            "{\"action\": \"sendEmail\", \"aproval\": {}}",
            "did you mean `approval`?",
        ),
        ("not JSON", "no JSON object"),
    ];
    let text: String = wrong
        .iter()
        .map(|(line, _)| format!("{line}\n"))
        .chain([lines[0].to_string()])
        .collect();
    let said = folder.feed(&["--json", "policy", "decide"], &text);
    assert_eq!(said.code, 2);
    let got = answers(&said);
    assert_eq!(got.len(), wrong.len() + 1);
    for ((line, part), answer) in wrong.iter().zip(&got) {
        let error = answer["error"].as_str().unwrap_or_else(|| panic!("{line}: {answer}"));
        assert!(error.contains(part), "{line}: {error}");
    }
    assert_eq!(got[wrong.len()]["verdict"], "approve");
}

#[test]
fn prove_prints_a_broken_promise_with_rule_request_and_replay_and_fails() {
    let Some(prover) = crate::prove::prover("prove_prints_a_broken_promise") else {
        return;
    };
    let folder = Folder::shipped();
    let solver = prover.program.to_str().unwrap().to_owned();
    let run = |args: &[&str]| {
        let start: Vec<&str> = ["policy", "prove", "--solver", &solver]
            .iter()
            .chain(args)
            .copied()
            .collect();
        folder.run(&start)
    };
    let _ = run(&["four-eyes", "discount-ceiling"]).ok();
    folder.replace(
        "policies/autonomy.toml",
        "max_discount_percent        = 20",
        "max_discount_percent        = 30",
    );
    let said = run(&["four-eyes", "discount-ceiling"]);
    assert_eq!(said.code, 1);
    assert!(said.out.contains("proved four-eyes | control: "), "{said:?}");
    let line = said.out.lines().find(|l| l.starts_with("BROKEN ")).unwrap();
    assert!(line.starts_with("BROKEN discount-ceiling by offerDiscount:"), "{line}");
    assert!(
        line.contains("(autonomy.toml:14) | offerDiscount, account {") && line.ends_with("| replay: Allow"),
        "{line}"
    );
    let said = run(&["--json", "four-eyes", "discount-ceiling"]);
    let json = said.json();
    assert_eq!(
        (said.code, &json["ok"], &json["proved"]),
        (1, &json!(false), &json!(["four-eyes"]))
    );
    let broken = &json["broken"][0];
    assert_eq!(
        (&broken["promise"], &broken["replay"]),
        (&json!("discount-ceiling"), &json!("Allow"))
    );
    // The counterexample is a request that `decide` answers in the same way.
    let said = folder
        .feed(&["policy", "decide"], &format!("{}\n", broken["counterexample"]))
        .ok();
    let answer: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(answer["verdict"], "allowed", "{answer} to {broken}");
    let said = run(&["four-eys"]);
    assert!(
        said.code == 2 && said.err.contains("there is no promise `four-eys`"),
        "{said:?}"
    );
}

#[test]
fn prove_without_a_solver_says_what_to_install_and_fails() {
    let folder = Folder::shipped();
    let said = folder.run(&["--json", "policy", "prove", "--solver", "./nowhere"]);
    let json = said.json();
    assert_eq!(
        (said.code, &json["ok"], &json["proved"]),
        (1, &json!(false), &json!([]))
    );
    let open = json["not_proved"].as_array().unwrap();
    assert!(open.len() >= 8);
    assert!(
        open.iter()
            .all(|o| o["why"].as_str().unwrap().contains("install the package cvc5")),
        "{json}"
    );
}

#[test]
fn formatting_names_what_would_change_changes_it_once_and_changes_no_meaning() {
    let folder = Folder::shipped();
    let _ = folder.run(&["policy", "fmt"]).ok();
    let _ = folder.run(&["policy", "fmt", "--check"]).ok();
    folder.replace("policies/promises/four-eyes.cedar", " && ", "   &&   ");
    let said = folder.run(&["--json", "policy", "fmt", "--check"]);
    assert_eq!(
        (said.code, &said.json()["files"]),
        (1, &json!(["promises/four-eyes.cedar"]))
    );
    let before = folder.read("policies/promises/four-eyes.cedar");
    let _ = folder.run(&["policy", "fmt"]).ok();
    assert_ne!(folder.read("policies/promises/four-eyes.cedar"), before);
    let _ = folder.run(&["policy", "fmt", "--check"]).ok();
    let _ = folder.run(&["policy", "check"]).ok();
}

/// Whether a value of TOML fits a schema of the form that `perennial policy schema` prints. Says the first path that does not.
fn fits(schema: &Value, value: &toml::Value, path: &str) -> Result<(), String> {
    if let Some(any) = schema["anyOf"].as_array() {
        let fitting = any.iter().any(|one| fits(one, value, path).is_ok());
        return if fitting {
            Ok(())
        } else {
            Err(format!("{path}: {value:?}"))
        };
    }
    if let Some(word) = schema["const"].as_str() {
        return if value.as_str() == Some(word) {
            Ok(())
        } else {
            Err(format!("{path}: {value:?}"))
        };
    }
    if let Some(words) = schema["enum"].as_array() {
        let known = words.iter().any(|word| word.as_str() == value.as_str());
        return if known {
            Ok(())
        } else {
            Err(format!("{path}: {value:?} is not in {words:?}"))
        };
    }
    let of_type = match schema["type"].as_str().unwrap_or_default() {
        "string" => value.is_str(),
        "integer" => value.is_integer(),
        "number" => value.is_integer() || value.is_float(),
        "boolean" => value.is_bool(),
        "array" => value.is_array(),
        "object" => value.is_table(),
        other => panic!("{path}: the schema has the type `{other}`"),
    };
    if !of_type {
        return Err(format!("{path}: {value:?} is no {}", schema["type"]));
    }
    for item in value.as_array().into_iter().flatten() {
        fits(&schema["items"], item, path)?;
    }
    let Some(table) = value.as_table() else { return Ok(()) };
    for (key, inner) in table {
        let path = format!("{path}.{key}");
        match (&schema["properties"][key], &schema["additionalProperties"]) {
            (Value::Null, Value::Object(_)) => fits(&schema["additionalProperties"], inner, &path)?,
            (Value::Null, _) => return Err(format!("{path} is not in the schema")),
            (of, _) => fits(of, inner, &path)?,
        }
    }
    for key in schema["required"].as_array().into_iter().flatten() {
        let key = key.as_str().unwrap();
        if !table.contains_key(key) {
            return Err(format!("{path}.{key} is missing"));
        }
    }
    Ok(())
}

#[test]
fn the_schemas_fit_every_shipped_file_and_refuse_a_slip_of_the_pen() {
    let mut seen = 0;
    for (_, of, schema) in perennial::cli::json_schemas(&perennial_core::policy::gate::Vocabulary::default()) {
        let (start, end) = of.split_once('*').unwrap_or((of, ""));
        for (name, text) in perennial::content::POLICIES {
            if !(name.starts_with(start) && name.ends_with(end)) {
                continue;
            }
            seen += 1;
            let value = toml::Value::Table(text.parse().unwrap());
            fits(&schema, &value, name).unwrap();
            let mut bent = value.as_table().unwrap().clone();
            let (key, inner) = bent.iter().next().map(|(k, v)| (k.clone(), v.clone())).unwrap();
            bent.remove(&key);
            bent.insert(format!("{key}x"), inner);
            assert!(fits(&schema, &toml::Value::Table(bent), name).is_err(), "{name}");
        }
    }
    assert!(seen >= 15, "{seen}");
}

/// The names of the fields of every table that the program reads, by the name of the struct.
fn keys_of(source: &str) -> Vec<String> {
    let mut keys = Vec::new();
    let mut inside = false;
    let mut read = false;
    for line in source.lines() {
        if line.starts_with("#[derive(Deserialize)]") {
            read = true;
        } else if line.starts_with("struct ") || line.starts_with("pub(super) struct ") {
            inside = std::mem::take(&mut read);
        } else if line == "}" {
            inside = false;
        } else if inside && let Some((name, _)) = line.trim().split_once(": ") {
            let name = name.trim_start_matches("pub(super) ").trim_start_matches('_');
            keys.push(name.to_owned());
        }
    }
    keys
}

#[test]
fn every_key_that_the_program_reads_is_in_a_schema() {
    let all: String = perennial::cli::json_schemas(&perennial_core::policy::gate::Vocabulary::default())
        .iter()
        .map(|(_, _, schema)| schema.to_string())
        .collect();
    let mut seen = 0;
    for file in [
        "gate/table",
        "scoring",
        "scorecard",
        "signals",
        "playbook",
        "playbook/steps",
        "playbook/writes",
        "cases",
        "cases/plays",
    ] {
        let path = perennial_tests::root().join(format!("agent/core/src/policy/{file}.rs"));
        for key in keys_of(&std::fs::read_to_string(path).unwrap()) {
            seen += 1;
            assert!(
                all.contains(&format!("\"{key}\":")),
                "`{key}` of {file}.rs is in no schema"
            );
        }
    }
    assert!(seen > 80, "{seen}");
}

#[test]
fn schemas_are_written_beside_the_files_and_are_no_part_of_the_policies() {
    let folder = Folder::shipped();
    let hash = |folder: &Folder| folder.run(&["doctor"]).out.split("name ").nth(1).unwrap()[..12].to_owned();
    let before = hash(&folder);
    let said = folder.run(&["--json", "policy", "schema", "--write"]).ok().json();
    assert!(
        said["files"]
            .as_array()
            .unwrap()
            .contains(&json!(".schemas/tests.json")),
        "{said}"
    );
    let _ = folder.run(&["policy", "check"]).ok();
    assert_eq!(hash(&folder), before);
    assert!(folder.read("policies/.taplo.toml").contains("playbooks/*.toml"));
    let cedar = folder.run(&["policy", "schema", "cedar"]).ok().out;
    assert_eq!(cedar.trim_end(), folder.read("policies/schema.cedarschema").trim_end());
}
