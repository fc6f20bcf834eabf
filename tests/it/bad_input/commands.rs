//! Wrong words on the command line, and commands that would write where somebody else's things lie.

use std::net::TcpListener;

use super::{Case, PROGRAM, Place};

#[test]
fn the_command_line_names_the_wrong_word_and_the_right_one() {
    let place = Place::imported();
    let cases: &[(&str, &[&str], &[&str])] = &[
        (
            "an unknown command",
            &["imprt"],
            &["unrecognized subcommand 'imprt'", "import"],
        ),
        (
            "an unknown flag",
            &["run", "--onec"],
            &["unexpected argument '--onec'", "'--once'"],
        ),
        ("a run without saying how often", &["run"], &["--once", "--help"]),
        (
            "a run both once and again and again",
            &["run", "--once", "--every", "1h"],
            &["'--once' cannot be used with '--every <DURATION>'"],
        ),
        (
            "a duration in another unit",
            &["run", "--every", "5x"],
            &[
                "'--every <DURATION>'",
                "`5x` is no duration: write a number with s, m, h or d, such as 15m",
            ],
        ),
        (
            "a duration without a number",
            &["run", "--every", "m"],
            &["`m` is no duration", "such as 15m"],
        ),
        (
            "no time at all between runs",
            &["run", "--every", "0s"],
            &["`0s` is no duration", "such as 15m"],
        ),
        (
            "a negative duration",
            &["run", "--every=-5m"],
            &["`-5m` is no duration", "such as 15m"],
        ),
        (
            "a time in words",
            &["run", "--once", "--as-of", "tomorrow"],
            &["'--as-of <TIME>'", "`tomorrow` is not a time: write it like 2026-01-31"],
        ),
        (
            "a day that does not exist",
            &["run", "--once", "--as-of", "2026-02-30"],
            &[
                "'--as-of <TIME>'",
                "`2026-02-30` is not a time: write it like 2026-01-31",
            ],
        ),
        (
            "an import without a mapping",
            &["import", "data"],
            &["--mapping <FILE>", "--help"],
        ),
        (
            "a state of the queue that is none",
            &["queue", "list", "--state", "open"],
            &["'--state <STATE>'", "states are denied, advised, pending"],
        ),
        (
            "a port beyond the last",
            &["sandbox", "--salesforce-port", "99999"],
            &["'--salesforce-port <PORT>'", "0..=65535"],
        ),
        (
            "a demo of no accounts",
            &["demo", "--accounts", "0"],
            &["'--accounts <ACCOUNTS>'", "1..=1000000"],
        ),
    ];
    for (name, args, says) in cases {
        place.fails(name, args, 2, says);
        let said = perennial_tests::run(PROGRAM, place.path(), &[*args, &["--json"]].concat());
        let message = said.json()["error"]["message"].as_str().map(str::to_owned);
        assert!(message.is_some_and(|m| !m.is_empty()), "{name}: {said:?}");
    }
}

#[test]
fn ids_that_nothing_has_are_refused_with_the_command_that_shows_ids() {
    let place = Place::imported();
    let actions = [
        "there is no action `act_0000`",
        "`perennial queue list --all` shows the ids",
    ];
    for args in [
        &["explain", "act_0000"][..],
        &["queue", "show", "act_0000"],
        &["queue", "approve", "act_0000", "--as", "x"],
        &["queue", "retry", "act_0000", "--as", "x"],
        &["replay", "act_0000"],
    ] {
        place.refuses("an unknown action", args, 2, &actions);
    }
    place.refuses(
        "an unknown decision",
        &["replay", "dec_0000"],
        2,
        &["there is no decision `dec_0000`", "`perennial queue show`"],
    );
    place.refuses(
        "an unknown account",
        &["account", "show", "nobody"],
        2,
        &[
            "there is no account `nobody`",
            "`perennial account list` shows those there are",
        ],
    );
}

#[test]
fn a_port_that_is_taken_is_named() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let place = Place::empty();
    for (flag, server) in [("--salesforce-port", "Salesforce"), ("--hubspot-port", "HubSpot")] {
        let taken = format!("port {port} for the {server} sandbox is taken");
        place.refuses(
            server,
            &["sandbox", flag, &port],
            2,
            &[&taken, "stop the program that uses it, or choose another port"],
        );
    }
}

#[test]
fn commands_that_write_leave_other_peoples_things_alone() {
    let cases = [
        Case {
            name: "init where a configuration lies",
            files: &[("perennial.toml", "our_name = \"Ours\"\n")],
            args: &["init"],
            code: 2,
            says: &["perennial.toml` exists already: init overwrites nothing; choose an empty folder"],
        },
        Case {
            name: "init where one policy lies",
            files: &[("mine/policies/scoring.toml", "# mine\n")],
            args: &["init", "mine"],
            code: 2,
            says: &["`mine/policies/scoring.toml` exists already", "choose an empty folder"],
        },
        Case {
            name: "init under a file",
            files: &[("mine", "a file\n")],
            args: &["init", "mine/folder"],
            code: 1,
            says: &[
                "`mine/folder/perennial.toml` cannot be written",
                "check the folder and its disk",
            ],
        },
        Case {
            name: "demo into a folder of somebody else",
            files: &[("mine/letter.txt", "dear diary\n")],
            args: &["demo", "--dir", "mine"],
            code: 2,
            says: &["`mine` exists and is not a demo's folder: choose another with --dir"],
        },
        Case {
            name: "demo into a file",
            files: &[("mine", "a file\n")],
            args: &["demo", "--dir", "mine"],
            code: 1,
            says: &["`mine` cannot be written", "choose another folder with --dir"],
        },
        Case {
            name: "records for the sandbox that are missing",
            files: &[],
            args: &["sandbox", "--records", "crm.json"],
            code: 2,
            says: &["`crm.json` cannot be read"],
        },
        Case {
            name: "records for the sandbox that are none",
            files: &[("crm.json", "{\"salesforce\": 1}\n")],
            args: &["sandbox", "--records", "crm.json"],
            code: 2,
            says: &[
                "`crm.json` holds no records",
                "name a file that `perennial demo`",
                "line 1 column",
            ],
        },
    ];
    for case in &cases {
        case.check();
    }
}

#[test]
fn the_demo_refuses_a_database_that_holds_accounts_before_it_writes_anything() {
    let place = Place::imported();
    place.refuses(
        "a database with accounts",
        &["--db", "sqlite:perennial.db", "demo", "--dir", "show"],
        2,
        &["refuses a database that holds accounts: give an empty one, or leave --db out"],
    );
}

#[test]
fn a_ledger_cannot_be_exported_under_a_file() {
    let place = Place::imported();
    place.refuses(
        "a path under a file",
        &["audit", "export", "--to", "map.toml/ledger.jsonl"],
        1,
        &[
            "`map.toml/ledger.jsonl` cannot be written",
            "name another file with --to",
        ],
    );
}
