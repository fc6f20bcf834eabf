use std::collections::BTreeMap;

use perennial_core::action::{Done, Write};
use perennial_core::signal::ContactRole;
use serde_json::json;

use super::*;
use crate::test_kit::{Say, Server, effect, now, permit};
use crate::{Connection, Tool};

const FIELD: &str = "associations.contacts.7";

fn role() -> Effect {
    effect(
        Crm::HubSpot,
        None,
        Write::SetContactRole {
            opportunity: "opp-1".to_owned(),
            crm_id: Some("5".to_owned()),
            contact: "7".to_owned(),
            contact_name: Some("Ana".to_owned()),
            role: ContactRole::EconomicBuyer,
            seen: None,
        },
    )
}

fn tool(server: &Server) -> HubSpot {
    let mut writes = super::super::map::writes();
    writes.roles = BTreeMap::from([
        (ContactRole::EconomicBuyer, "Economic buyer".to_owned()),
        (ContactRole::Champion, "Champion".to_owned()),
    ]);
    HubSpot::new(Connection {
        writes: Some(writes),
        ..server.connection()
    })
    .expect("a tool")
}

fn number(label: &str) -> u64 {
    match label {
        "Economic buyer" => 35,
        "Champion" => 36,
        _ => 37,
    }
}

/// The people of the deal: one with these labels, or none.
fn people(labels: Option<&[&str]>) -> Say {
    let kinds = |labels: &[&str]| {
        let defined = labels
            .iter()
            .map(|label| json!({"category": "USER_DEFINED", "typeId": number(label), "label": label}));
        let plain = json!({"category": "HUBSPOT_DEFINED", "typeId": 3, "label": null});
        std::iter::once(plain).chain(defined).collect::<Vec<Value>>()
    };
    let other = json!({"toObjectId": 8, "associationTypes": kinds(&["Champion"])});
    let ours = labels.map(|labels| json!({"toObjectId": "7", "associationTypes": kinds(labels)}));
    let to: Vec<Value> = std::iter::once(other).chain(ours).collect();
    Say::Json(
        200,
        json!({"status": "COMPLETE", "results": [{"from": {"id": "5"}, "to": to}]}),
    )
}

fn labels() -> Say {
    let defined = ["Economic buyer", "Champion", "Billing"]
        .map(|label| json!({"category": "USER_DEFINED", "typeId": number(label), "label": label}));
    Say::Json(200, json!({"results": defined}))
}

fn given() -> Say {
    Say::Json(201, json!({"labels": ["Economic buyer"]}))
}

async fn run(server: &Server, known: &Known) -> Result<Receipt, SendError> {
    let effect = role();
    tool(server).execute(permit(&effect), &effect, known, now()).await
}

fn champion() -> Known {
    let mut known = Known::nothing();
    known.accept(FIELD, "Champion");
    known
}

#[tokio::test]
async fn a_label_that_is_there_is_left_alone_and_one_that_is_missing_is_given_and_read_back() {
    let server = Server::script(vec![people(Some(&["Billing", "Economic buyer"]))]).await;
    let receipt = run(&server, &Known::nothing()).await.expect("a receipt");
    assert_eq!((receipt.done, receipt.record.as_str()), (Done::NoChange, "5"));
    assert_eq!(server.seen().len(), 1);

    let server = Server::script(vec![people(None), labels(), given(), people(Some(&["Economic buyer"]))]).await;
    let receipt = run(&server, &Known::nothing()).await.expect("a receipt");
    assert_eq!(
        (receipt.done, receipt.after[FIELD].as_str()),
        (Done::Created, "Economic buyer")
    );
    let put = &server.seen()[2];
    assert_eq!(
        (put.method.as_str(), put.path.as_str()),
        ("PUT", "/crm/objects/2026-09/deals/5/associations/contacts/7")
    );
    assert_eq!(
        put.body,
        json!([{"associationCategory": "USER_DEFINED", "associationTypeId": 35}])
    );
    // Beside a label that is no role it is a change, and that label stays.
    let server = Server::script(vec![
        people(Some(&["Billing"])),
        labels(),
        given(),
        people(Some(&["Billing", "Economic buyer"])),
    ])
    .await;
    let receipt = run(&server, &Known::nothing()).await.expect("a receipt");
    assert_eq!((receipt.done, receipt.before.len()), (Done::Updated, 0));
    // A success that the association does not bear out is none.
    for after in [people(None), people(Some(&[])), people(Some(&["Champion"]))] {
        let server = Server::script(vec![people(None), labels(), given(), after]).await;
        let result = run(&server, &Known::nothing()).await;
        assert!(
            matches!(&result, Err(SendError::Refused { code, .. }) if code == "NOT_APPLIED"),
            "{result:?}"
        );
    }
}

#[tokio::test]
async fn a_role_of_somebody_else_is_a_conflict_and_a_known_one_makes_room_also_when_it_was_half_done() {
    let server = Server::script(vec![people(Some(&["Champion"])), labels()]).await;
    let Err(SendError::Conflict { fields, .. }) = run(&server, &Known::nothing()).await else {
        panic!("a conflict");
    };
    assert_eq!(
        (fields[0].field.as_str(), fields[0].theirs.as_str()),
        (FIELD, "Champion")
    );
    let taken = || Say::Raw(204, vec![], String::new());
    let server = Server::script(vec![
        people(Some(&["Champion"])),
        labels(),
        given(),
        taken(),
        people(Some(&["Economic buyer"])),
    ])
    .await;
    let receipt = run(&server, &champion()).await.expect("a receipt");
    assert_eq!(
        (receipt.done, receipt.before[FIELD].as_str()),
        (Done::Updated, "Champion")
    );
    let archive = &server.seen()[3];
    assert!(archive.path.ends_with("/deals/contacts/batch/labels/archive"));
    assert_eq!(archive.body["inputs"][0]["types"][0]["associationTypeId"], 36);
    // The old one could not be taken: what is there now is ours by half, and doing it again ends it.
    let cut = vec![people(Some(&["Champion"])), labels(), given(), Say::Cut];
    let server = Server::script(cut).await;
    assert!(matches!(
        run(&server, &champion()).await,
        Err(SendError::Unknown { image: Some(_), .. })
    ));
    let both = people(Some(&["Champion", "Economic buyer"]));
    let server = Server::script(vec![both.clone(), labels(), taken(), people(Some(&["Economic buyer"]))]).await;
    run(&server, &champion()).await.expect("a receipt");
    let server = Server::script(vec![both]).await;
    let found = tool(&server).look_up(&role(), now()).await.expect("an answer");
    assert_eq!(found, LookUp::Absent, "by half is not done");
}

#[tokio::test]
async fn a_label_that_nobody_has_made_is_named_with_what_to_do() {
    let none = Say::Json(200, json!({"results": []}));
    let server = Server::script(vec![people(None), none]).await;
    let Err(SendError::Refused { code, remedy, .. }) = run(&server, &Known::nothing()).await else {
        panic!("refused");
    };
    assert_eq!(code, "NO_SUCH_LABEL");
    assert!(remedy.contains("[write.role]"));
    assert_eq!(server.seen().len(), 2, "nothing was written");
}

#[tokio::test]
async fn undoing_leaves_what_others_have_given() {
    let effect = role();
    let server = Server::script(vec![people(None), labels(), given(), people(Some(&["Economic buyer"]))]).await;
    let receipt = run(&server, &Known::nothing()).await.expect("a receipt");
    let gone = || Say::Raw(204, vec![], String::new());
    let undo = async |answers: Vec<Say>| {
        let server = Server::script(answers).await;
        let undone = tool(&server).undo(permit(&effect), &effect, &receipt, now()).await;
        (undone.map(|undone| undone.done), server.lines())
    };
    let (undone, lines) = undo(vec![people(Some(&["Economic buyer"])), gone(), people(None)]).await;
    assert_eq!(undone.expect("a receipt"), Done::Deleted);
    assert_eq!(lines[1], "DELETE /crm/objects/2026-09/deals/5/associations/contacts/7");
    let both = people(Some(&["Billing", "Economic buyer"]));
    let (undone, lines) = undo(vec![both, gone(), people(Some(&["Billing"]))]).await;
    assert_eq!(undone.expect("a receipt"), Done::Updated);
    assert!(lines[1].ends_with("/batch/labels/archive"), "{lines:?}");
    let (undone, lines) = undo(vec![people(Some(&["Champion"]))]).await;
    assert!(matches!(undone, Err(SendError::Conflict { .. })), "{undone:?}");
    assert_eq!(lines.len(), 1);
    let (undone, _) = undo(vec![people(None)]).await;
    assert_eq!(undone.expect("a receipt"), Done::NoChange);
    // A success that took nothing away is none.
    let (undone, _) = undo(vec![
        people(Some(&["Economic buyer"])),
        gone(),
        people(Some(&["Economic buyer"])),
    ])
    .await;
    assert!(matches!(undone, Err(SendError::Refused { .. })), "{undone:?}");
}
