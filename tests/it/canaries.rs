//! What keeps people from saying yes without reading: drafts with a planted mistake, a number of yeses a day, reasons.

use perennial_core::action::{ActionState, Effect};
use perennial_core::approval::canary;
use perennial_core::ids::TenantId;
use perennial_core::replay::{canonical, read};
use perennial_store::{ActionRow, LedgerDraft, OpenCanary, QueueFilter, Store};
use perennial_tests::{copy_folder, root};
use serde_json::{Value, json};

use crate::approvals::{Office, PEOPLE, id};
use crate::crms::wait;
use crate::world::DEMO_TIME;

/// The canaries that wait, with their actions.
fn planted(office: &Office) -> Vec<(ActionRow, OpenCanary)> {
    wait(async {
        let url = office.world.database().parse().unwrap();
        let store = Store::open(&url, TenantId::DEFAULT, &perennial_store::Options::default())
            .await
            .unwrap();
        let filter = QueueFilter {
            states: vec![ActionState::Pending],
            ..QueueFilter::default()
        };
        let mut found = Vec::new();
        for row in store.queue(&filter).await.unwrap() {
            if let Some(canary) = store.open_canary(&row).await.unwrap() {
                found.push((row, canary));
            }
        }
        store.close().await;
        found
    })
}

/// Plants a canary in an action that waits; whether it holds anything that can be got wrong.
fn plant(office: &Office, id: &str) -> bool {
    wait(async {
        let url = office.world.database().parse().unwrap();
        let store = Store::open(&url, TenantId::DEFAULT, &perennial_store::Options::default())
            .await
            .unwrap();
        let row = store.action(id).await.unwrap();
        let effects: Vec<Effect> = read("effects", &row.effects).unwrap();
        let canary = canary::plant(&row.id, &effects);
        if let Some(canary) = &canary {
            let entry = LedgerDraft {
                kind: "canary".to_owned(),
                reference: id.to_owned(),
                body: "{}".to_owned(),
            };
            let text = canonical(&canary.effects);
            let put = store
                .plant_canary(&row, &text, &canary.defect, &entry, row.updated_at)
                .await;
            assert!(put.unwrap());
        }
        store.close().await;
        canary.is_some()
    })
}

/// What an action would write, as a card shows it.
fn shown(office: &Office, id: &str) -> String {
    office.json(&["queue", "show", id, "--offline"])["writes"].to_string()
}

fn answers(office: &Office) -> Value {
    office.json(&["measure", "answers"])["people"].clone()
}

#[test]
fn a_canary_is_never_sent_and_the_true_draft_waits_after_any_answer() {
    for office in Office::all("canaries") {
        assert!(planted(&office).is_empty(), "none without a word of the policies");
        office.edit("approvals.toml", "# canaries = 0.01 ", "canaries = 0.1 #");
        office.go(&["run", "--once", "--as-of", DEMO_TIME]).ok();
        let canaries = planted(&office);
        assert!(canaries.len() >= 3, "{} canaries", canaries.len());
        let waiting = office.waiting(|_| true).len();
        assert!(canaries.len() * 4 < waiting, "{} of {waiting}", canaries.len());
        office.go(&["run", "--once", "--as-of", DEMO_TIME]).ok();
        assert_eq!(planted(&office).len(), canaries.len(), "a repeated run plants nothing");
        let before = (office.world.created().len(), office.world.updates());
        let (first, second, third) = (&canaries[0], &canaries[1], &canaries[2]);

        // A person without the role learns nothing of it.
        let refused = office.go(&["queue", "approve", first.0.id.as_str(), "--as", "pia"]);
        assert!(refused.code == 1 && !refused.err.contains("canary"), "{}", refused.err);

        // A yes misses it.
        assert!(
            shown(&office, first.0.id.as_str()).contains(&first.1.defect.is),
            "what is shown has the mistake"
        );
        let told = office.json(&["queue", "approve", first.0.id.as_str(), "--as", "vera"]);
        assert_eq!(told["state"], "pending", "{told}");
        let sentence = told["canary"].as_str().unwrap();
        assert!(
            sentence.contains("Nothing was sent") && sentence.contains(&first.1.defect.is),
            "{sentence}"
        );
        assert_eq!(told["effects"], json!([]), "nothing is in the outbox");
        assert!(
            !shown(&office, first.0.id.as_str()).contains(&first.1.defect.is),
            "the true draft is back"
        );

        // A no catches it, and is no answer to the action.
        let told = office.json(&[
            "queue",
            "reject",
            second.0.id.as_str(),
            "--reason",
            "wrong customer",
            "--as",
            "max",
        ]);
        assert_eq!(told["state"], "pending", "{told}");
        assert!(told["canary"].as_str().unwrap().contains("well caught"), "{told}");

        // An edit that leaves the mistake misses it, as nobody can say yes to one's own edit otherwise.
        let defect = &third.1.defect;
        let same = format!("{}.{}=as it was: {}", defect.step, defect.field, defect.is);
        let told = office.json(&["queue", "edit", third.0.id.as_str(), "--set", &same, "--as", "max"]);
        assert!(told["canary"].as_str().unwrap().contains("missed"), "{told}");
        office.go(&["run", "--once", "--as-of", DEMO_TIME]).ok();
        let after = (office.world.created().len(), office.world.updates());
        assert_eq!(after, before, "nothing was sent, not even by the next run");
        assert_eq!(
            planted(&office).len(),
            canaries.len() - 3,
            "once in the life of an action"
        );

        // The true drafts are answered like any other.
        let done = office.json(&["queue", "approve", first.0.id.as_str(), "--as", "vera"]);
        assert_eq!(
            (&done["state"], &done["canary"]),
            (&json!("executed"), &Value::Null),
            "{done}"
        );
        let done = office.json(&["queue", "reject", second.0.id.as_str(), "--reason", "no", "--as", "max"]);
        assert_eq!(done["state"], "rejected", "{done}");
        let (created, updated) = (office.world.created().len(), office.world.updates());
        assert!(created + updated > before.0 + before.1);

        let people = answers(&office);
        let of = |who: &str| {
            people
                .as_array()
                .unwrap()
                .iter()
                .find(|p| p["person"] == who)
                .unwrap()
                .clone()
        };
        let (vera, max) = (of("vera"), of("max"));
        assert_eq!(
            (&vera["yes"], &vera["canaries_missed"]),
            (&json!(1), &json!(1)),
            "{vera}"
        );
        assert_eq!((&max["no"], &max["edits"]), (&json!(1), &json!(0)), "{max}");
        assert_eq!(
            (&max["canaries_caught"], &max["canaries_missed"]),
            (&json!(1), &json!(1)),
            "{max}"
        );
        let said = office.world.text(&["measure", "answers"]);
        assert!(said.contains("vera caught less than 95 %"), "{said}");
        office.end();
    }
}

#[test]
fn canaries_among_several_items_are_told_apart_from_what_was_approved() {
    for office in Office::all("canaries_several") {
        let waiting = office.waiting(|item| item["kind"] == "createTask" && item["tier"] != "strategic");
        let alike = |one: &Value, other: &Value| ["playbook", "verdict"].iter().all(|key| one[key] == other[key]);
        let pairs = waiting
            .iter()
            .flat_map(|one| waiting.iter().map(move |other| (one, other)));
        let mut pairs = pairs.filter(|(one, other)| id(one) != id(other) && alike(one, other));
        let (canary, other) = pairs.find(|(one, _)| plant(&office, id(one))).expect("two of one kind");
        let said = office.go(&[
            "queue",
            "approve",
            id(canary),
            id(other),
            "--count",
            "2",
            "--as",
            "vera",
        ]);
        assert_eq!(said.code, 1, "{}", said.err);
        let results = said.json();
        assert!(results[0]["error"].as_str().unwrap().contains("canary"), "{results}");
        assert_eq!(
            (&results[1]["state"], &results[1]["error"]),
            (&json!("executed"), &Value::Null),
            "{results}"
        );
        office.end();
    }
}

#[test]
fn whoever_has_said_yes_often_enough_today_asks_a_colleague() {
    for office in Office::all("yeses_a_day") {
        office.edit("approvals.toml", "# yeses_a_day = 80 ", "yeses_a_day = 2 #");
        let items = office.waiting(|item| item["verdict"] == "approve:csm");
        assert!(items.len() >= 4, "{}", items.len());
        for item in &items[..2] {
            office.json(&["queue", "approve", id(item), "--later", "--as", "ana"]);
        }
        let third = office.go(&["queue", "approve", id(&items[2]), "--later", "--as", "ana"]);
        assert!(third.code == 1 && third.err.contains("yeses_a_day"), "{}", third.err);
        assert_eq!(office.state(id(&items[2])), "pending");
        // A no is no yes, and a colleague has their own.
        office.json(&["queue", "reject", id(&items[3]), "--reason", "no", "--as", "ana"]);
        office.json(&["queue", "approve", id(&items[2]), "--later", "--as", "ben"]);
        // A day later there is room again, where the item has not expired.
        office.people_at(PEOPLE, "2026-09-16T08:00:01Z");
        let next = office.waiting(|item| item["verdict"] == "approve:csm");
        office.json(&[
            "queue",
            "approve",
            id(next.first().expect("one that still waits")),
            "--later",
            "--as",
            "ana",
        ]);
        office.end();
    }
}

#[test]
fn where_a_yes_needs_a_reason_none_counts_without_one() {
    for office in Office::all("yes_reason") {
        office.edit(
            "approvals.toml",
            "# yes_needs_reason = [\"strategic\"]",
            "yes_needs_reason = [\"mid_touch\"] #",
        );
        let mid = office.waiting(|item| item["tier"] == "mid_touch").remove(0);
        for reason in [None, Some("  ")] {
            let args = ["queue", "approve", id(&mid), "--later", "--as", "vera"];
            let with: Vec<&str> = reason.iter().flat_map(|reason| ["--reason", *reason]).collect();
            let said = office.go(&[&args[..], &with].concat());
            assert!(said.code == 2 && said.err.contains("needs a reason"), "{}", said.err);
        }
        let args = [
            "queue",
            "approve",
            id(&mid),
            "--later",
            "--reason",
            "checked the contract",
            "--as",
            "vera",
        ];
        office.json(&args);
        let card = office.json(&["queue", "show", id(&mid), "--offline"]).to_string();
        assert!(card.contains("checked the contract"), "{card}");
        let low = office.waiting(|item| item["tier"] == "low_touch").remove(0);
        office.json(&["queue", "approve", id(&low), "--later", "--as", "vera"]);
        office.end();
    }
}

#[test]
fn what_is_wrong_with_these_keys_is_said() {
    let temp = tempfile::tempdir().unwrap();
    let policies = temp.path().join("policies");
    copy_folder(&root().join("policies"), &policies);
    for (line, expected) in [
        ("yeses_a_day = 0", "0 is no number of yeses a day"),
        ("canaries = 0.2", "0.2 is no share of canaries"),
        ("yes_needs_reason = [\"hightouch\"]", "unknown tier `hightouch`"),
    ] {
        std::fs::write(policies.join("approvals.toml"), format!("{line}\n")).unwrap();
        let policies = policies.display().to_string();
        let said = perennial_tests::run(
            crate::PROGRAM,
            temp.path(),
            &["policy", "check", "--policies", &policies],
        );
        let all = format!("{}{}", said.out, said.err);
        assert!(
            said.code != 0 && all.contains(expected) && all.contains("approvals.toml:1"),
            "{all}"
        );
    }
}
