//! Earned autonomy from end to end: people approve, the engine proposes, a person promotes, it runs by itself, and undos take it back.

use serde_json::Value;

use crate::approvals::{Office, PEOPLE};

const ROW: &str = "[[earned]]
actions         = [\"createTask\"]
tiers           = [\"low_touch\"]
decisions       = 4
unedited        = 0.75
undone_at_most  = 0.1
window_days     = 90
demote_unedited = 0.5
demote_undone   = 0.2
by              = \"csm_manager\"

# What never happens,";

/// An office where tasks for low touch accounts are to be earned.
fn offices(test: &str, level: &str) -> Vec<Office> {
    let all = Office::all(test);
    for office in &all {
        let row = |level: &str| format!("createTask        = {{ low_touch = \"{level}\"");
        let earned = row(&format!("{level} if earned, else approve:csm"));
        office.edit("autonomy.toml", &row("approve:csm"), &earned);
        office.edit("autonomy.toml", "# What never happens,", ROW);
        office.json(&["policy", "check"]);
    }
    all
}

fn id(item: &Value) -> &str {
    item["id"].as_str().unwrap()
}

/// Tasks for low touch accounts that wait for a csm.
fn waiting(office: &Office) -> Vec<Value> {
    office.waiting(|item| item["tier"] == "low_touch" && item["kind"] == "createTask")
}

/// What `perennial autonomy` says of them.
fn cell(office: &Office) -> Value {
    let all = office.json(&["autonomy"]);
    let is = |cell: &&Value| cell["action"] == "createTask" && cell["tier"] == "low_touch";
    all.as_array().unwrap().iter().find(is).cloned().unwrap()
}

/// What a run at a time says of promotions.
fn run(office: &Office, time: &str) -> (Value, Vec<String>) {
    office.people_at(PEOPLE, time);
    let report = office.json(&["run", "--once", "--as-of", time]);
    let said = report["autonomy"].as_array().cloned().unwrap_or_default();
    let said = said.iter().map(|line| line.as_str().unwrap().to_owned()).collect();
    (report, said)
}

#[track_caller]
fn replays(office: &Office, item: &Value) {
    let said = office.json(&["replay", id(item)]);
    assert_eq!(said["identical"], true, "{said}");
}

/// Kinds of the entries of the ledger about the promotion, in their order.
fn entries(office: &Office) -> Vec<(String, Value)> {
    let file = office.world.folder().join("ledger.jsonl").display().to_string();
    office.go(&["audit", "export", "--to", &file]).ok();
    let text = std::fs::read_to_string(&file).unwrap();
    let entries = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let about = entries.filter(|entry| entry["reference"] == "createTask:low_touch");
    about
        .map(|entry| {
            let body = serde_json::from_str(entry["body"].as_str().unwrap()).unwrap();
            (entry["kind"].as_str().unwrap().to_owned(), body)
        })
        .collect()
}

#[test]
fn what_people_approve_is_promoted_by_a_person_runs_alone_and_is_taken_back_when_it_is_undone() {
    for office in offices("earned", "auto") {
        let first = waiting(&office);
        assert!(first.len() >= 5, "{}", first.len());
        office.people_at(PEOPLE, "2026-09-15T09:00:00Z");
        // Nothing is earned by what is about another tier.
        let other = office.waiting(|item| item["tier"] == "mid_touch" && item["kind"] == "createTask");
        office.json(&["queue", "approve", id(&other[0]), "--as", "ana"]);
        for item in &first[..2] {
            office.json(&["queue", "approve", id(item), "--as", "ana"]);
        }
        // Edited by one, approved by another: an edit.
        office.json(&[
            "queue",
            "edit",
            id(&first[2]),
            "--set",
            "0.subject=Changed",
            "--as",
            "ana",
        ]);
        office.json(&["queue", "approve", id(&first[2]), "--as", "ben"]);
        let before = cell(&office);
        assert_eq!(
            (
                &before["figures"]["decided"],
                &before["figures"]["edited"],
                &before["figures"]["unedited"]
            ),
            (&3.into(), &1.into(), &2.into()),
            "{before}"
        );
        assert_eq!(before["missing"][0], "1 more decisions of people (3 of 4)", "{before}");
        let (_, said) = run(&office, "2026-09-15T10:00:00Z");
        assert!(said.is_empty(), "{said:?}");
        let early = office.go(&["autonomy", "grant", "createTask", "low_touch", "--as", "max"]);
        assert!(early.code == 1 && early.err.contains("is open"), "{}", early.err);

        office.json(&["queue", "approve", id(&first[3]), "--as", "ana"]);
        let (_, said) = run(&office, "2026-09-15T11:00:00Z");
        assert!(
            said[0].contains("`createTask` for low_touch accounts has earned a promotion"),
            "{said:?}"
        );
        assert!(said[1].contains("a promotion waits for a person"), "{said:?}");
        let (_, said) = run(&office, "2026-09-15T11:30:00Z");
        assert_eq!(said.len(), 1, "proposed once: {said:?}");
        let listed = office.go(&["queue", "list"]);
        assert!(listed.err.contains("a promotion waits for a person"), "{}", listed.err);
        let doctor = office.go(&["doctor"]);
        assert!(doctor.out.contains("a promotion waits for a person"), "{}", doctor.out);
        // It is only proposed: nothing runs by it, and not everybody may grant it.
        assert_eq!(cell(&office)["standing"], "proposed");
        let junior = office.go(&["autonomy", "grant", "createTask", "low_touch", "--as", "ana"]);
        assert!(
            junior.code == 1 && junior.err.contains("needs the role csm_manager"),
            "{}",
            junior.err
        );
        let nothing = office.go(&["autonomy", "grant", "createNote", "low_touch", "--as", "max"]);
        assert!(
            nothing.code == 2 && nothing.err.contains("nothing to earn"),
            "{}",
            nothing.err
        );
        let granted = office.json(&["autonomy", "grant", "createTask", "low_touch", "--by", "max"]);
        assert_eq!(
            (&granted["standing"], &granted["by"]),
            (&"granted".into(), &"max".into())
        );
        assert_eq!(granted["figures"]["unedited"], 3);

        // Two months later the next ones run without anybody.
        run(&office, "2026-11-16T08:00:00Z");
        let all = office.json(&["queue", "list", "--all"]);
        let alone: Vec<Value> = all
            .as_array()
            .unwrap()
            .iter()
            .filter(|i| i["tier"] == "low_touch" && i["kind"] == "createTask" && i["verdict"] == "auto")
            .cloned()
            .collect();
        let ran: Vec<&Value> = alone.iter().filter(|i| i["state"] == "executed").collect();
        assert!(!ran.is_empty(), "{all}");
        assert!(waiting(&office).is_empty(), "nobody is asked");
        assert_eq!(cell(&office)["standing"], "granted");
        let (was, is) = (&first[0], ran[0]);
        replays(&office, was);
        replays(&office, is);

        // A person undoes one of them, and at that moment it ends.
        office.people_at(PEOPLE, "2026-11-16T09:00:00Z");
        let card = office.json(&["queue", "show", id(is), "--offline"]);
        let effect = card["effects"][0]["effect"].as_str().unwrap().to_owned();
        let undone = office.go(&["undo", &effect, "--yes", "--as", "ana"]);
        assert!(undone.code == 0 && undone.err.contains("is demoted"), "{}", undone.err);
        let after = cell(&office);
        assert_eq!(after["standing"], "demoted", "{after}");
        assert!(
            after["reason"]
                .as_str()
                .unwrap()
                .contains("were undone, more than 20 %"),
            "{after}"
        );
        assert_eq!(
            after["figures"]["decided"], 0,
            "only what is decided from now on counts: {after}"
        );
        assert!(office.go(&["doctor"]).out.contains("was demoted at"));
        replays(&office, was);
        replays(&office, is);

        // The next ones wait for a person again.
        run(&office, "2027-01-20T08:00:00Z");
        let again = waiting(&office);
        assert!(!again.is_empty());
        let card = office.json(&["queue", "show", id(&again[0]), "--offline"]);
        assert_eq!(card["verdict"], "approve:csm", "{card}");
        replays(&office, &again[0]);

        let entries = entries(&office);
        let kinds: Vec<&str> = entries.iter().map(|(kind, _)| kind.as_str()).collect();
        assert_eq!(kinds, ["promotion_proposed", "promotion_granted", "demoted"]);
        assert_eq!(entries[1].1["by"], "max");
        assert_eq!(entries[2].1["standing"], "demoted");
        assert!(
            entries
                .iter()
                .all(|(_, body)| body["content"].is_string() && body["figures"].is_object())
        );
        office.end();
    }
}

/// An office where tasks that were earned wait for their time, and those tasks.
fn waiting_for_their_time(office: &Office) -> Vec<Value> {
    office.people_at(PEOPLE, "2026-09-15T09:00:00Z");
    for item in &waiting(office)[..4] {
        office.json(&["queue", "approve", id(item), "--as", "ana"]);
    }
    run(office, "2026-09-15T11:00:00Z");
    office.json(&["autonomy", "grant", "createTask", "low_touch", "--as", "vera"]);
    run(office, "2026-11-16T08:00:00Z");
    let all = office.json(&["queue", "list", "--state", "permitted"]);
    let held = all
        .as_array()
        .unwrap()
        .iter()
        .filter(|i| i["verdict"] == "auto after 4h");
    let held: Vec<Value> = held.cloned().collect();
    assert!(!held.is_empty(), "{all}");
    held
}

#[test]
fn what_was_earned_is_sent_when_its_time_has_come() {
    let mut offices = offices("earned_sent", "auto after 4h");
    offices.truncate(1);
    for office in offices {
        let held = waiting_for_their_time(&office);
        run(&office, "2026-11-16T13:00:00Z");
        for item in &held {
            assert_eq!(office.state(id(item)), "executed");
        }
        office.end();
    }
}

#[test]
fn what_still_waits_for_its_time_is_not_sent_when_the_promotion_is_withdrawn() {
    for office in offices("earned_after", "auto after 4h") {
        let before = waiting_for_their_time(&office);
        let created = office.world.created().len();
        let why = office.go(&["autonomy", "withdraw", "createTask", "low_touch", "--as", "ana"]);
        assert!(why.code == 2 && why.err.contains("--reason"), "{}", why.err);
        let pia = office.go(&[
            "autonomy",
            "withdraw",
            "createTask",
            "low_touch",
            "--reason",
            "x",
            "--as",
            "pia",
        ]);
        assert_eq!(pia.code, 1, "{}", pia.err);
        office.json(&[
            "autonomy",
            "withdraw",
            "createTask",
            "low_touch",
            "--reason",
            "new rules",
            "--as",
            "ana",
        ]);
        run(&office, "2026-11-16T13:00:00Z");
        for item in &before {
            let card = office.json(&["queue", "show", id(item), "--offline"]);
            assert_eq!(card["state"], "denied", "{card}");
            assert!(
                card["effects"][0]["error"].as_str().unwrap().contains("approve:csm"),
                "{card}"
            );
        }
        assert_eq!(office.world.created().len(), created, "nothing was sent");
        let entries = entries(&office);
        assert_eq!(entries.last().unwrap().0, "promotion_withdrawn");
        assert!(
            !entries.last().unwrap().1.to_string().contains("new rules"),
            "the ledger keeps the hash"
        );
        office.end();
    }
}

#[test]
fn a_policy_that_takes_the_row_away_ends_the_promotion_and_tests_ask_with_it_and_without() {
    let mut offices = offices("earned_row", "auto");
    offices.truncate(1);
    for office in offices {
        office.edit(
            "tests/table.toml",
            "[[test]]\nname    = \"a task for a low touch customer is written by itself\"\naction  = \"createTask\"\naccount = { tier = \"low_touch\" }\n",
            "[[test]]\nname    = \"a task waits\"\naction  = \"createTask\"\naccount = { tier = \"low_touch\" }\nexpect  = \"approve:csm\"\n\n\
             [[test]]\nname    = \"a task that was earned is written by itself\"\naction  = \"createTask\"\naccount = { tier = \"low_touch\" }\ncontext = { earned = true }\n",
        );
        let said = office.go(&["policy", "test"]);
        let failed = said.out.clone() + &said.err;
        assert!(
            !failed.contains("a task that was earned") && !failed.contains("a task waits"),
            "{failed}"
        );
        assert!(
            !failed.contains("createTask:low_touch:else"),
            "both halves are touched: {failed}"
        );
        office.people_at(PEOPLE, "2026-09-15T09:00:00Z");
        for item in &waiting(&office)[..4] {
            office.json(&["queue", "approve", id(item), "--as", "ana"]);
        }
        run(&office, "2026-09-15T11:00:00Z");
        office.json(&["autonomy", "grant", "createTask", "low_touch", "--as", "max"]);
        let word = "auto if earned, else approve:csm";
        office.edit("autonomy.toml", word, "approve:csm");
        office.edit(
            "autonomy.toml",
            "[[earned]]\nactions         = [\"createTask\"]\ntiers           = [\"low_touch\"]",
            "[[earned]]\nactions = [\"updateOpportunity\"]\ntiers = [\"mid_touch\"]",
        );
        office.edit(
            "autonomy.toml",
            "updateOpportunity = { low_touch = \"auto\", mid_touch = \"approve:csm\"",
            &format!("updateOpportunity = {{ low_touch = \"auto\", mid_touch = \"{word}\""),
        );
        let (_, said) = run(&office, "2026-09-15T12:00:00Z");
        assert!(
            said.iter().any(|line| line.contains("nothing to earn there any more")),
            "{said:?}"
        );
        let kinds: Vec<String> = entries(&office).into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(kinds, ["promotion_proposed", "promotion_granted", "promotion_ended"]);
        office.end();
    }
}
