//! People edit records that the program writes: with the whole program, from the run to the queue and back.

use perennial_core::ids::{AccountId, TenantId};
use perennial_core::signal::Crm;
use perennial_core::time::Timestamp;
use perennial_sandbox::System;
use perennial_store::{Learned, Store};
use serde_json::Value;

use crate::world::{World, worlds};

/// A field of a record in a CRM.
struct Place {
    crm: Crm,
    system: System,
    object: String,
    record: String,
    field: String,
}

impl Place {
    fn new(tool: &str, object: &str, record: &str, field: &str) -> Place {
        let crm = Crm::from_word(tool).unwrap();
        let system = match crm {
            Crm::Salesforce => System::Salesforce,
            Crm::HubSpot => System::Hubspot,
        };
        Place {
            crm,
            system,
            object: object.to_owned(),
            record: record.to_owned(),
            field: field.to_owned(),
        }
    }

    /// What stands there, as text.
    fn live(&self, world: &World) -> String {
        let record = world.crms.record(self.system, &self.object, &self.record).unwrap();
        match record.fields.get(&self.field) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string().trim_end_matches(".0").to_owned(),
        }
    }

    /// A person writes there; what they wrote, as text.
    fn edit(&self, world: &World) -> String {
        let lower = self.field.to_lowercase();
        let number = lower.contains("health") || lower.contains("risk");
        let value = match (number, self.crm) {
            (true, Crm::Salesforce) => Value::from(33),
            (true, Crm::HubSpot) => Value::from("33"),
            (false, _) => Value::from("as Ann sees it"),
        };
        let fields = [(self.field.clone(), value)].into();
        world
            .crms
            .edit(self.system, &self.object, &self.record, fields, "Ann")
            .unwrap();
        self.live(world)
    }
}

/// Executed changes of account fields: effect and place of the first field.
fn updates(world: &World) -> Vec<(String, Place)> {
    let all = world.go(&["queue", "list", "--all"]).ok().json();
    let mut found = Vec::new();
    for item in all
        .as_array()
        .unwrap()
        .iter()
        .filter(|item| item["state"] == "executed")
    {
        let card = world
            .go(&["queue", "show", item["id"].as_str().unwrap(), "--offline"])
            .ok()
            .json();
        for effect in card["effects"].as_array().unwrap() {
            let receipt = &effect["receipt"];
            if receipt["done"] == "updated" {
                let field = receipt["after"].as_object().unwrap().keys().next().unwrap();
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                let place = Place::new(
                    &text(&effect["tool"]),
                    &text(&receipt["object"]),
                    &text(&receipt["record"]),
                    field,
                );
                found.push((text(&effect["effect"]), place));
            }
        }
    }
    found
}

#[test]
fn what_was_written_is_undone_once_and_not_where_somebody_has_changed_it_since() {
    for world in worlds("undone") {
        world.run().ok();
        let done = updates(&world);
        assert!(done.len() >= 2, "{} changes", done.len());
        let (effect, place) = &done[0];
        let written = place.live(&world);
        let asked = world.go(&["undo", effect, "--as", "OWN-01"]).ok().json();
        assert_eq!(asked["result"], "not_confirmed", "{asked}");
        assert_eq!(
            asked["fields"][&place.field]["now"].as_str(),
            Some(written.as_str()),
            "{asked}"
        );
        assert_eq!(place.live(&world), written);
        let undone = world.go(&["undo", effect, "--as", "OWN-01", "--yes"]).ok().json();
        assert_eq!(
            (&undone["result"], &undone["deletes"]),
            (&"undone".into(), &false.into()),
            "{undone}"
        );
        let then = undone["fields"][&place.field]["then"].as_str().unwrap();
        assert_eq!(place.live(&world), then);
        assert_ne!(then, written);
        let again = world.go(&["undo", effect, "--yes", "--as", "OWN-01"]).ok().json();
        assert_eq!(again["result"], "already_undone", "{again}");

        let (effect, place) = &done[1];
        let theirs = place.edit(&world);
        let refused = world.go(&["undo", effect, "--yes", "--as", "OWN-01"]);
        assert_eq!(refused.code, 1, "{refused:?}");
        let refused = refused.json();
        assert_eq!(refused["result"], "changed_since", "{refused}");
        assert_eq!(refused["changed"][0]["field"], place.field.as_str());
        assert_eq!(refused["changed"][0]["now"], theirs.as_str());
        assert_eq!(place.live(&world), theirs);

        // A task that was made is deleted.
        let task = world
            .crms
            .changes()
            .into_iter()
            .find_map(|change| change.marker)
            .unwrap();
        let deleted = world.go(&["undo", &task, "--yes", "--as", "OWN-01"]).ok().json();
        assert_eq!(
            (&deleted["result"], &deleted["deletes"]),
            (&"undone".into(), &true.into()),
            "{deleted}"
        );
        let verified = world.go(&["audit", "verify"]).ok().json();
        assert_eq!(verified["intact"], true, "{verified}");
        world.end();
    }
}

#[test]
fn an_edit_of_somebody_else_waits_in_the_queue_with_both_values() {
    for world in worlds("conflict") {
        world.run().ok();
        let list = world.go(&["queue", "list"]).ok().json();
        let waiting = list
            .as_array()
            .unwrap()
            .iter()
            .filter(|item| item["verdict"] == "approve:csm");
        let found = waiting.into_iter().find_map(|item| {
            let id = item["id"].as_str().unwrap();
            let card = world.go(&["queue", "show", id]).ok().json();
            let write =
                card["writes"].as_array().unwrap().iter().find(|write| {
                    write["write"]["update_account"].is_object() && write["live"]["record"].is_string()
                })?;
            let live = &write["live"];
            let field = live["fields"].as_object().unwrap().keys().next().unwrap().clone();
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let place = Place::new(
                &text(&write["tool"]),
                &text(&live["object"]),
                &text(&live["record"]),
                &field,
            );
            let ours = text(&live["fields"][&field]["after"]);
            Some((id.to_owned(), text(&item["account"]), place, ours))
        });
        let (id, account, place, ours) = found.expect("a change of fields that waits");
        // We wrote there before, and a person has changed it since.
        let learned = Learned {
            tool: place.crm,
            subject: String::new(),
            field: place.field.clone(),
            value: "what we wrote".to_owned(),
            ours: true,
        };
        learn(&world, &account, learned);
        let theirs = place.edit(&world);
        let met = world.go(&["queue", "approve", &id, "--as", "OWN-01"]).ok().json();
        assert_eq!(met["state"], "pending", "{met}");
        assert_eq!(place.live(&world), theirs, "not written over");
        let card = world.go(&["queue", "show", &id]).ok().json();
        let conflict = card["conflicts"]
            .as_array()
            .unwrap()
            .iter()
            .find(|conflict| conflict["field"] == place.field.as_str())
            .unwrap();
        assert_eq!(conflict["theirs"], theirs.as_str(), "{conflict}");
        assert_eq!(conflict["ours"], ours.as_str(), "{conflict}");
        assert_eq!(conflict["known"], "what we wrote");
        assert!(conflict["resolution"].is_null());
        let said = world.text(&["queue", "show", &id]);
        assert!(
            said.contains("somebody else changed the record") && said.contains(&theirs),
            "{said}"
        );
        let done = world.go(&["queue", "approve", &id, "--as", "OWN-01"]).ok().json();
        assert_eq!(done["state"], "executed", "{done}");
        assert_eq!(place.live(&world), ours);
        let card = world.go(&["queue", "show", &id, "--offline"]).ok().json();
        assert_eq!(card["conflicts"][0]["resolution"], "ours", "{}", card["conflicts"]);
        world.end();
    }
}

fn learn(world: &World, account: &str, learned: Learned) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async {
            let url = world.database().parse().unwrap();
            let store = Store::open(&url, TenantId::DEFAULT, &perennial_store::Options::default())
                .await
                .unwrap();
            let at = Timestamp::from_us(1_700_000_000_000_000);
            store
                .learn_fields(&[(AccountId::new(account), learned)], at)
                .await
                .unwrap();
            store.close().await;
        });
}
